"""The base class of all algorithms: one gradient step on a batch, and actions from observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from vgm2p.algos.acting import supported
from vgm2p.algos.encoding import Encoding
from vgm2p.flows.head import VELOCITY, Head, Predict
from vgm2p.flows.path import Times
from vgm2p.groups import Optim
from vgm2p.nn.optim import Follower, LossScale, SeedAdam
from vgm2p.seeds import initialise
from vgm2p.types import Acting, Batch, Needs, Randomness, Seen, Spec, Survey

T = TypeVar("T")
Draws = Literal["uniform", "return"]  # steps: all alike, or by the return of their episode
PREDICTS_X = "departs from the paper: the network predicts the clean action; algo.predict=v is the paper's form"


class Algorithm(Encoding):
    """Base of all algorithms. Equations are written on tensors (S, ..., N, A); the S seeds are independent.

    A subclass writes `update` and `execute`. If its memory or its inputs have another form, it writes `act` in place of
    `execute`. Class attributes declare what it supports. A task that it does not support is refused before training.

    Args:
        spec: the task.
        seeds: training seeds. Each seed computes the same numbers as a single run with this seed.
        history: number of steps that an agent sees, including the present step; 1 means no memory.

    Attributes:
        needs: what `update` reads from the data.
        acting: default way to act; None for an algorithm that acts in one way only.
        alive: (S,) bool, False for a seed whose loss was not finite. Such a seed is frozen for the rest of the run.
        remark: one line about settings that depart from the algorithm's paper, for the first lines of a run.
        clock: () int64 on the device, number of updates done. Use it in masks, never in a Python branch.
    """

    supports_discrete: ClassVar[bool] = True
    supports_continuous: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    max_seeds: ClassVar[int | None] = None
    decentralised: bool = True  # agent i uses only its own observation and memory
    rates_candidates: ClassVar[bool] = False  # whether `acting.best_of` may be above 1
    starts_from_noise: ClassVar[bool] = True  # whether `acting.noise` matters, if there is an `acting`
    fits: ClassVar[str] = "policy_loss"  # the diagnostic that must fall in training, if the data can be fitted
    warm_up: int = 0  # number of updates at the start in which the policy does not learn
    needs: Needs = Needs()
    acting: Acting | None = None
    has_probabilities: bool = False  # whether `acting.sample` is possible
    has_verdict: ClassVar[bool] = False  # whether it rates actions: with probabilities, `acting.beta` is possible
    head: Head = VELOCITY  # what the output of a flow network means
    gamma: float = 0.0  # discount, in Survey and `return_to_go`, too; an algorithm without one sets none
    remark: str | None = None

    def __init__(self, spec: Spec, seeds: Sequence[int], history: int = 1) -> None:
        super().__init__(spec, seeds, history)
        if not isinstance(getattr(type(self), "needs", None), property):
            if type(self).needs.history not in (1, history):
                raise ValueError(f"needs of {type(self).__name__} has a history; give it to Algorithm.__init__ instead")
            self.needs = replace(type(self).needs, history=history)
        self.optimisers: dict[str, SeedAdam] = {}
        self.froze: dict[str, Tensor] = {}  # optimiser -> (S,) clock at which its loss froze the seed, -1: it did not
        self.followers: list[Follower] = []
        self.loss_scale: LossScale | None = None
        self.register_buffer("alive", torch.ones(len(self.seeds), dtype=torch.bool))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.alive: Tensor
        self.clock: Tensor

    # --- what a subclass writes ------------------------------------------------------------------------------------
    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one complete gradient step on a batch (S, B, ...). Return detached diagnostics, each (S,)."""
        raise NotImplementedError

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Map encoded observations (S, E, N, id_dim) and legal (S, E, N, A) to actions (S, E, N, A) or (S, E, N)."""
        raise NotImplementedError

    @classmethod
    def draws(cls, discrete: bool) -> Draws:
        """Return what `data.sampling=auto` means for this algorithm and kind of actions."""
        return "uniform"

    @classmethod
    def unread(cls, discrete: bool) -> tuple[str, ...]:
        """Return the keys of its yaml file that have no effect with this kind of actions; typing one is refused."""
        return ()

    def survey(self, survey: Survey) -> None:
        """Store statistics of the data in buffers, so that checkpoints hold them. Here: mean and standard deviation."""
        self.set_statistics(survey.mean, survey.std)

    # --- what a run calls ------------------------------------------------------------------------------------------
    def step(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one update and advance the clock."""
        info = self.update(batch, key)
        self.clock += 1
        return info

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Map the observations of S x E x N agents to actions. Agent i uses only its own observation and memory.

        Args:
            seen: observations (S, E, N, O), legal actions (S, E, N, A), rewards and episodes that still run.
            memory: the memory that the previous step returned; None at the start of the episodes.
            key: random numbers of this step.
            acting: how to act; None: the default of the algorithm.

        Returns:
            Actions (S, E, N, A) or (S, E, N), and the memory (S, E, N, P * frame_dim), which is None if history = 1.
        """
        obs = seen.obs
        if memory is None and self.history > 1:
            memory = obs.new_zeros(*obs.shape[:-1], (self.history - 1) * self.frame_dim)
        action = self.execute(self.encode(obs, memory), seen.legal, key, acting or self.acting or Acting())
        return action, self.advance(memory, obs, action)

    # --- tools for `update` ----------------------------------------------------------------------------------------
    def act_by(self, acting: Acting) -> None:
        """Set the default way to act. Raises ConfigError if it is not supported (`acting.supported`)."""
        self.acting = supported(acting, self.rates_candidates, self.has_probabilities, self.has_verdict)

    def by_kind(self, given: T | None, continuous: T, discrete: T) -> T:
        """Return a setting: the given value, or, if it is None, the one for the task's kind of actions."""
        return given if given is not None else discrete if self.spec.discrete else continuous

    def predict_by(self, predict: Predict | None, times: Times) -> Times:
        """Set what a flow network predicts, `head`; None: `x` for discrete actions, else `v`. Return its times."""
        self.head = Head(self.by_kind(predict, "v", "x"), self.spec.discrete)
        self.has_probabilities = self.head.clean and self.spec.discrete
        self.remark = PREDICTS_X if self.head.clean else None
        return times.suited(self.head)

    def make_optimiser(self, name: str, modules: Iterable[nn.Module], optim: Optim) -> SeedAdam:
        """Initialise the modules from (seed, role), and return one Adam for all of them (`vgm2p.seeds.initialise`).

        A name stands for one role: with the name of an earlier optimiser, the new modules take the place of its own.
        """
        members = nn.ModuleList(modules)
        initialise(members, self.seeds, name)
        self.optimisers[name] = SeedAdam(members.parameters(), optim)
        self.froze[name] = torch.full((len(self.seeds),), -1, dtype=torch.int64)
        return self.optimisers[name]

    def follow(self, module: nn.Module, online: SeedAdam) -> Follower:
        """Make `module` a target network without gradients, which follows the network that `online` trains.

        It starts with the values of that network.
        """
        module.requires_grad_(False)
        self.followers.append(Follower(module, online))
        return self.followers[-1]

    def minimise(self, name: str, loss: Tensor, due: Tensor | None = None) -> None:
        """Take a step of optimiser `name` on loss (S,).

        A seed whose loss is not finite is frozen for the rest of the run; the other seeds continue. `due`, () or (S,)
        bool, tells which seeds take the step; None: all.

        Raises:
            ValueError: for a loss of another shape, which would mix the seeds.
        """
        if loss.shape != self.alive.shape:
            raise ValueError(f"the loss '{name}' has shape {tuple(loss.shape)}, not (S,); use `types.per_seed_mean`")
        finite = loss.detach().abs() < torch.inf
        self.froze[name].masked_fill_(self.alive > finite, self.clock)
        alive = self.alive.logical_and_(finite)
        self.optimisers[name].minimise(loss, alive if due is None else alive & due)

    def every(self, period: int) -> Tensor:
        """Return () bool, true in every `period`-th update; for delayed policy updates or hard target copies."""
        return (self.clock + 1) % period == 0

    def state(self) -> list[Tensor]:
        """Return every tensor that `update` changes: parameters, buffers, steps and moments."""
        entries = [entry for optimiser in self.optimisers.values() for entry in optimiser.state.values()]
        steps = [tensor for entry in entries for tensor in entry.values()]
        return [*self.parameters(), *self.buffers(), *steps, *self.froze.values()]

    def scale_losses(self) -> None:
        """Give every seed its own dynamic loss scale (float16 on CUDA)."""
        self.loss_scale = LossScale(len(self.seeds)).to(self.alive.device)
        for optimiser in self.optimisers.values():
            optimiser.loss_scale = self.loss_scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Algorithm:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.froze = {name: fn(clock) for name, clock in self.froze.items()}
        for optimiser in self.optimisers.values():
            optimiser.rebind()
        for follower in self.followers:
            follower.rebind()
        return self
