"""The contracts that every room shares: what a task is, what a batch is, what an actor does."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol

from torch import Tensor

VIEWS_WITH_AGENT_ID = ("raw_onehot", "omiga")


@dataclass(frozen=True)
class Spec:
    """One task, as data or environment declare it; both must agree field by field.

    Attributes:
        n_agents: number of agents N.
        obs_dim: width O of one agent's observation vector, agent one-hot included where the view has one.
        action_dim: continuous: components per agent; discrete: number of actions.
        discrete: whether actions are indices.
        state_dim: width of the global state, or None.
        episode_limit: steps after which an episode is cut (truncated).
        view: how observations are built: `raw_onehot`, `omiga` (both end in the agent's one-hot) or `native`.
        env_id: environment identifier, for example `HalfCheetah-v5`.
        env_kwargs: arguments that the environment was made with.
    """

    n_agents: int
    obs_dim: int
    action_dim: int
    discrete: bool
    state_dim: int | None
    episode_limit: int
    view: str
    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def has_agent_id(self) -> bool:
        """Whether observations already end in the agent's one-hot; networks add one only where they do not."""
        return self.view in VIEWS_WITH_AGENT_ID

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, as checkpoints and manifests store them."""
        return dataclasses.asdict(self)

    def differences(self, other: Spec) -> list[str]:
        """Return one `field: mine != theirs` text per field that differs."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {_show(mine[name])} != {_show(theirs[name])}"
            for name in mine
            if _show(mine[name]) != _show(theirs[name])
        ]


def _show(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@dataclass
class Batch:
    """Transitions drawn for one update; leading axes (S, B), every optional field None where the data lack it.

    Attributes:
        obs: (S, B, N, O) float32.
        action: (S, B, N, A) float32 in [-1, 1], or (S, B, N) int64.
        reward: (S, B) team reward, counted once.
        next_obs: (S, B, N, O) float32.
        bootstrap: (S, B) float32, 0 where no value follows (terminal, or a time limit without successor).
        valid: (S, B) float32, 0 where the row must not enter the TD loss; cloning losses use every row.
        next_action: same shape as `action`.
        legal: (S, B, N, A) bool, discrete only.
        next_legal: (S, B, N, A) bool, discrete only.
        state: (S, B, D) or (S, B, N, D) float32.
        next_state: same shape as `state`.
        return_to_go: (S, B) float32 discounted return from this step on.
        episode_rank: (S, B) float32 in (0, 1], the share of the data's steps in episodes that return as much or less.
        past_obs: (S, B, P, N, O) float32, the P observations before `obs`, oldest first.
        past_action: as `action` with an axis P after B: what was done at `past_obs`.
        past_seen: (S, B, P) float32, 0 where the episode had not begun; such rows hold anything.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    bootstrap: Tensor
    valid: Tensor
    next_action: Tensor | None = None
    legal: Tensor | None = None
    next_legal: Tensor | None = None
    state: Tensor | None = None
    next_state: Tensor | None = None
    return_to_go: Tensor | None = None
    episode_rank: Tensor | None = None
    past_obs: Tensor | None = None
    past_action: Tensor | None = None
    past_seen: Tensor | None = None

    def map(self, function: Any) -> Batch:
        """Apply `function` to every tensor that is present."""
        mapped: dict[str, Any] = {
            name: None if value is None else function(value) for name, value in vars(self).items()
        }
        return Batch(**mapped)

    def unbind(self) -> list[Batch]:
        """Return the batches along a leading axis of batches."""
        columns = [repeat(None) if value is None else value.unbind(0) for value in vars(self).values()]
        return [Batch(*parts) for parts in zip(*columns, strict=False)]

    def to(self, *args: Any) -> Batch:
        """Move or cast the floating tensors (indices and masks keep their type)."""
        return self.map(lambda tensor: tensor.to(*args) if tensor.is_floating_point() else tensor)

    def seed(self, s: int) -> Batch:
        """Return the batch of seed `s` alone, its leading axis kept with length 1."""
        return self.map(lambda tensor: tensor[s : s + 1])


class Randomness(Protocol):
    """Random tensors as a pure function of what the key stands for (seed and update, or seed, episode and step)."""

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 of shape (S, *shape)."""
        ...

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return U[0, 1) float32 of shape (S, *shape)."""
        ...

    def integers(self, purpose: str, shape: tuple[int, ...], high: int) -> Tensor:
        """Return int64 in [0, high) of shape (S, *shape)."""
        ...


class Actor(Protocol):
    """What evaluation needs of a trained algorithm."""

    def act(self, obs: Tensor, legal: Tensor | None, memory: Any, key: Randomness) -> tuple[Tensor, Any]:
        """Map (S, E, N, O) observations to (S, E, N, A) or (S, E, N) actions, each agent from its own row."""
        ...


def per_seed_mean(x: Tensor) -> Tensor:
    """Average everything but the leading seed axis: (S, ...) -> (S,). The one reduction of every loss."""
    return x.flatten(1).mean(1) if x.dim() > 1 else x
