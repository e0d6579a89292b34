"""The contracts that every room shares: what a task is, what a batch is, what an actor does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
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
        window_obs: (S, B, L, N, O) float32, L = history + ahead steps around `obs`, which is step history - 1 of them.
            Steps outside the episode repeat its first or last row; a stored final observation counts as the last row.
        window_action: as `action` with an axis L after B; zeros at a final observation, for which no action is stored.
        window_legal: (S, B, L, N, A) bool, discrete only.
        window_real: (S, B, L) float32, 0 where the step lies outside the episode; a stored final observation is inside.
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
    window_obs: Tensor | None = None
    window_action: Tensor | None = None
    window_legal: Tensor | None = None
    window_real: Tensor | None = None

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


@dataclass(frozen=True)
class Needs:
    """What an update reads of the data.

    Attributes:
        fields: optional fields of `Batch`: `next_action`, `state`, `next_state`, `return_to_go`, `episode_rank`.
        history: steps up to now, the present one included; 1 is memoryless.
        ahead: steps after now (planners); above 0 the batch holds windows in the place of the past.
    """

    fields: frozenset[str] = frozenset()
    history: int = 1
    ahead: int = 0


@dataclass(frozen=True)
class Survey:
    """Statistics of a dataset, computed when they are asked for.

    Attributes:
        mean: (O,) by which observations are standardised; zeros where they are not.
        std: (O,) likewise; ones where they are not.
        obs_quantiles: K -> (O, K), the quantiles 0 to 1 of every feature of the standardised observations.
        action_quantiles: K -> (A, K) of every component of continuous actions; None for discrete ones.
        return_quantile: share in [0, 1] -> () quantile of `return_to_go` over the rows.
    """

    mean: Tensor
    std: Tensor
    obs_quantiles: Callable[[int], Tensor]
    action_quantiles: Callable[[int], Tensor] | None
    return_quantile: Callable[[float], Tensor]


@dataclass
class Seen:
    """What a rollout shows to an actor before a step of E episodes, for S seeds.

    Attributes:
        obs: (S, E, N, O) float32.
        legal: (S, E, N, A) bool, discrete actions only.
        reward: (S, E) float32 team reward of the step before, zeros at the first one; None where nobody counts it.
        active: (S, E) bool, episodes that still run; None: all of them.
    """

    obs: Tensor
    legal: Tensor | None = None
    reward: Tensor | None = None
    active: Tensor | None = None

    def expand(self, seeds: int) -> Seen:
        """Show the episodes of one seed to S seeds."""

        def wide(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.expand(seeds, *x.shape[1:])

        return Seen(self.obs.expand(seeds, *self.obs.shape[1:]), wide(self.legal), wide(self.reward), wide(self.active))


@dataclass(frozen=True)
class Acting:
    """One way to act of an algorithm that starts from noise.

    Attributes:
        noise: scale of the start noise; 1 is the paper's.
        shared: whether all agents draw the same start noise from a common seed (still decentralised).
        steps: sampling steps; 1 is VGM2P's Algorithm 2.
        best_of: candidates per agent, of which its own Q chooses the best; 1 is Algorithm 2.
    """

    noise: float = 1.0
    shared: bool = False
    steps: int = 1
    best_of: int = 1


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

    def fresh(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return N(0, 1) float32 of shape (S, *shape), for large draws that are not kept (ancestral noise)."""
        ...


class Actor(Protocol):
    """What evaluation needs of a trained algorithm."""

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return actions (S, E, N, A) or (S, E, N) and the memory of the next step.

        Args:
            seen: what the agents see now; a decentralised actor's agent i acts from row i alone.
            memory: what the previous step of these episodes returned; None begins them.
            key: randomness of this step.
            acting: a way to act other than the actor's own.
        """
        ...


def per_seed_mean(x: Tensor) -> Tensor:
    """Average everything but the leading seed axis: (S, ...) -> (S,). The one reduction of every loss."""
    return x.flatten(1).mean(1) if x.dim() > 1 else x
