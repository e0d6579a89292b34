"""Types that all rooms share: the task, the batch, statistics of the data, and the interface of an actor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

VIEWS_WITH_AGENT_ID = ("raw_onehot", "omiga")
NO_ENVIRONMENT = "own/"  # begins the `env_id` of data that name no environment


@dataclass(frozen=True)
class Spec:
    """One task. The data declare a Spec and the environment declares one; all fields must agree.

    Attributes:
        n_agents: number of agents N.
        obs_dim: width O of one agent's observation; includes the agent's one-hot if the view has one.
        action_dim: A, the width of one agent's action if continuous, the number of actions if discrete.
        discrete: whether actions are indices.
        state_dim: width of the global state, or None.
        episode_limit: number of steps after which an episode is truncated.
        view: how observations are built: `raw_onehot`, `omiga` (both end in the agent's one-hot) or `native`.
        env_id: environment identifier, for example `HalfCheetah-v5`. Begins with `NO_ENVIRONMENT` if data name none.
        env_kwargs: arguments that the environment was made with, and what else makes its task another one: an
            `action_split`, `observation_split` or `reward` that is not the default.
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
        """Whether observations already end in the agent's one-hot. If not, `Encoding.encode` adds it."""
        return self.view in VIEWS_WITH_AGENT_ID

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of plain values, as checkpoints and manifests store it."""
        return dataclasses.asdict(self)

    def differences(self, other: Spec) -> list[str]:
        """Return a text `field: mine != theirs` for each field that differs."""
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
    """Transitions drawn for one update, with leading axes (S, B). A field that `Needs` or the data lack is None.

    Attributes:
        obs: (S, B, N, O) float32.
        action: (S, B, N, A) float32 in [-1, 1], or (S, B, N) int64.
        reward: (S, B) float32 team reward: one number per transition, not one per agent.
        next_obs: (S, B, N, O) float32.
        bootstrap: (S, B) float32, 0 where the TD target has no next value: terminal, or a time limit without successor.
        valid: (S, B) float32, 0 where the TD loss must leave the row out; cloning losses use every row.
        next_action: same shape as `action`.
        legal: (S, B, N, A) bool, discrete only.
        next_legal: (S, B, N, A) bool, discrete only.
        state: (S, B, D) or (S, B, N, D) float32.
        next_state: same shape as `state`.
        return_to_go: (S, B) float32 discounted return from this step on.
        return_seen: (S, B) float32 in (0, 1]: recorded share of `return_to_go`, 1 unless the episode was cut.
        episode_rank: (S, B) float32 in (0, 1]: share of the data's steps in episodes with an equal or smaller return.
        past_obs: (S, B, P, N, O) float32, the P = history - 1 observations before `obs`, oldest first.
        past_action: as `action` with an axis P after B: the actions at `past_obs`.
        past_seen: (S, B, P) float32, 0 before the start of the episode; the other `past_` fields are undefined there.
        window_obs: (S, B, L, N, O) float32, a window of L = history + ahead steps. `obs` is its step history - 1.
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
    return_seen: Tensor | None = None
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
        """Split tensors with an extra leading axis (K, S, B, ...) into K batches."""
        columns = [repeat(None) if value is None else value.unbind(0) for value in vars(self).values()]
        return [Batch(*parts) for parts in zip(*columns, strict=False)]

    def to(self, *args: Any) -> Batch:
        """Move or cast the floating-point tensors; indices and masks stay unchanged."""
        return self.map(lambda tensor: tensor.to(*args) if tensor.is_floating_point() else tensor)

    def seed(self, s: int) -> Batch:
        """Return the batch of seed number `s`, with a seed axis of length 1."""
        return self.map(lambda tensor: tensor[s : s + 1])

    def first(self, rows: int) -> Batch:
        """Return the batch of the first `rows` of its rows (axis B)."""
        return self.map(lambda tensor: tensor[:, :rows])


@dataclass(frozen=True)
class Needs:
    """What an update reads from the data.

    Attributes:
        fields: optional fields of `Batch`: `next_action`, `state`, `next_state`, `return_to_go`, `return_seen`,
            `episode_rank`.
        history: number of past steps, including the present step; 1 means no memory.
        ahead: number of future steps, for planners. Above 0, the batch has `window_` fields, but no `past_` fields.
    """

    fields: frozenset[str] = frozenset()
    history: int = 1
    ahead: int = 0


@dataclass(frozen=True)
class Survey:
    """Statistics of a dataset. The quantiles are computed when they are called.

    Attributes:
        mean: (O,) means that standardise observations; zeros for features that are not standardised.
        std: (O,) standard deviations, likewise; ones for features that are not standardised.
        obs_quantiles: K -> (O, K): K quantiles, from 0 to 1, of every feature of the standardised observations.
        action_quantiles: K -> (A, K), the same for every component of continuous actions; None for discrete actions.
        return_quantile: share in [0, 1] -> () quantile of `return_to_go` over the rows.
        return_moments: () mean and () standard deviation of `return_to_go` over the rows, weighted by `return_seen`^2.
    """

    mean: Tensor
    std: Tensor
    obs_quantiles: Callable[[int], Tensor]
    action_quantiles: Callable[[int], Tensor] | None
    return_quantile: Callable[[float], Tensor]
    return_moments: Callable[[], tuple[Tensor, Tensor]]


@dataclass
class Seen:
    """What an actor sees before a step of E episodes, for S seeds.

    Attributes:
        obs: (S, E, N, O) float32.
        legal: (S, E, N, A) bool, discrete actions only.
        reward: (S, E) float32 team reward of the previous step, zeros at the first step; None if the caller has none.
        active: (S, E) bool, episodes that still run; None: all of them.
    """

    obs: Tensor
    legal: Tensor | None = None
    reward: Tensor | None = None
    active: Tensor | None = None

    def expand(self, seeds: int) -> Seen:
        """Return a view in which S = `seeds` seeds see the episodes of one seed."""

        return self._map(lambda x: x.expand(seeds, *x.shape[1:]))

    def to(self, device: Any) -> Seen:
        """Return the same on another device."""
        return self._map(lambda x: x.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Seen:
        rest = (None if x is None else function(x) for x in (self.legal, self.reward, self.active))
        return Seen(function(self.obs), *rest)


@dataclass(frozen=True)
class Acting:
    """How an algorithm acts that generates actions from noise, or that has probabilities of discrete actions.

    Attributes:
        noise: standard deviation of the start noise; 1 in the paper.
        shared: whether all agents draw the same start noise from a common seed (still decentralised).
        steps: number of sampling steps; 1 in VGM2P's Algorithm 2.
        best_of: number of candidates per agent; the agent's own Q chooses the best. 1 in Algorithm 2.
        sample: whether a discrete action is drawn from its probabilities; else it is the most likely one.
        beta: weight of the algorithm's verdict A (`algos.verdict`) on discrete actions: the probabilities pi(a) become
            proportional to pi(a) exp(beta A(a) / std(A)); 0: none.
    """

    noise: float = 1.0
    shared: bool = False
    steps: int = 1
    best_of: int = 1
    sample: bool = False
    beta: float = 0.0

    @property
    def passes(self) -> int:
        """Number of sampling steps: the probabilities for `sample` and `beta` are those of one step from noise."""
        return 1 if self.sample or self.beta > 0.0 else self.steps


class Randomness(Protocol):
    """Random tensors as a pure function of (seed, update, purpose), or of (seed, update, episode, step, purpose)."""

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
        """Return N(0, 1) float32 of shape (S, *shape), for large draws that are not kept (ancestral sampling)."""
        ...


class Actor(Protocol):
    """The interface of a trained algorithm for evaluation."""

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return actions (S, E, N, A) or (S, E, N) and the memory of the next step.

        Args:
            seen: what the agents see now. In a decentralised actor, agent i uses only its own observation and memory.
            memory: the memory that the previous step returned; None at the start of the episodes.
            key: random numbers of this step.
            acting: how to act; None: the actor's default.
        """
        ...


def has_choice(legal: Tensor | None) -> Tensor | None:
    """Return whether an agent has at least two legal actions: (S, ..., A) bool -> (S, ...) bool; None if all have.

    A dead agent has one. Rows without a choice teach a policy nothing. They are in no class share, and in no mean of a
    policy loss of behaviour cloning or of a flow policy; in the two terms of MAC-Flow's student, they have no gradient.
    """
    return None if legal is None else legal.sum(-1) > 1


def per_seed_mean(x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Average over all axes except the seed axis: (S, ...) -> (S,). Every loss uses it.

    With `rows`, bool of the shape of x, only those that are True count. Without one, the mean of a seed is 0.
    """
    if rows is not None:
        from torch import finfo  # here, because torch is slow to import, and many commands do without it

        counted = rows.to(x.dtype)
        return per_seed_mean(x * counted) / per_seed_mean(counted).clamp(min=finfo(x.dtype).tiny)
    return x.flatten(1).mean(1) if x.dim() > 1 else x
