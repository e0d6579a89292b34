"""What every algorithm is: one whole gradient step on a batch, and actions from local observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vgm2p.algos.encoding import Encoding
from vgm2p.errors import ConfigError
from vgm2p.optim import Follower, LossScale, Optim, SeedAdam
from vgm2p.seeds import initialise
from vgm2p.types import Acting, Batch, Needs, Randomness, Seen, Spec, Survey


class Algorithm(Encoding):
    """Base of all algorithms; equations are written over (S, ..., N, A), S being independent seeds.

    A subclass writes `update` and `execute`; one whose memory or rows are of another kind writes `act` instead of
    `execute`. Class attributes declare what it supports; other pairs are refused before anything is loaded.

    Args:
        spec: the task.
        seeds: training seeds; seed s of a joint run computes what a single run with that seed computes.
        history: steps that an agent remembers, the present one included; 1 is memoryless.

    Attributes:
        needs: what `update` reads of the data.
        acting: how it acts; None for an algorithm that starts from no noise and has one way to act.
        alive: (S,) bool, False for a seed whose loss was not finite: it is frozen for good.
        clock: () int64, updates done, on the device: delays and periods are computed from it and masked, not branched.
    """

    supports_discrete: ClassVar[bool] = True
    supports_continuous: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    max_seeds: ClassVar[int | None] = None
    decentralised: ClassVar[bool] = True  # agent i acts from row i and its own memory alone
    rates_candidates: ClassVar[bool] = False  # whether `acting.best_of` has a meaning
    fits: ClassVar[str] = "policy_loss"  # the diagnostic that must fall on data that can be fitted
    needs: Needs = Needs()
    acting: Acting | None = None
    gamma: float = 0.0  # discount, of algorithms that have one

    def __init__(self, spec: Spec, seeds: Sequence[int], history: int = 1) -> None:
        super().__init__(spec, seeds, history)
        if not isinstance(getattr(type(self), "needs", None), property):
            self.needs = replace(type(self).needs, history=history)
        self.optimisers: dict[str, SeedAdam] = {}
        self.followers: list[Follower] = []
        self.loss_scale: LossScale | None = None
        self.register_buffer("alive", torch.ones(len(self.seeds), dtype=torch.bool))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.alive: Tensor
        self.clock: Tensor

    # --- what a subclass writes ------------------------------------------------------------------------------------
    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one whole gradient step on (S, B, ...) data; return detached diagnostics of shape (S,)."""
        raise NotImplementedError

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Map encoded observations (S, E, N, id_dim) and legal (S, E, N, A) to actions (S, E, N, A) or (S, E, N)."""
        raise NotImplementedError

    def survey(self, survey: Survey) -> None:
        """Take statistics of the data into buffers, which travel in the checkpoint; here: how to standardise."""
        self.set_statistics(survey.mean, survey.std)

    # --- what a run calls ------------------------------------------------------------------------------------------
    def step(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one update and move the clock."""
        info = self.update(batch, key)
        self.clock += 1
        return info

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Map what S x E x N agents see to actions, agent i from row i and its own memory alone.

        Args:
            seen: observations (S, E, N, O), legal actions (S, E, N, A), rewards and episodes that still run.
            memory: what the previous step of these episodes returned; None begins them.
            key: randomness of this step.
            acting: a way to act other than the algorithm's own.

        Returns:
            Actions (S, E, N, A) or (S, E, N), and the memory (S, E, N, P * frame_dim), None for history = 1.
        """
        obs = seen.obs
        if memory is None and self.history > 1:
            memory = obs.new_zeros(*obs.shape[:-1], (self.history - 1) * self.frame_dim)
        action = self.execute(self.encode(obs, memory), seen.legal, key, acting or self.acting or Acting())
        return action, self.advance(memory, obs, action)

    # --- tools for `update` ----------------------------------------------------------------------------------------
    def act_by(self, acting: Acting) -> None:
        """Set the algorithm's own way to act. Raises ConfigError where it cannot choose among candidates."""
        if acting.best_of != 1 and not self.rates_candidates:
            raise ConfigError("algo.acting.best_of needs a critic that rates candidates; use 1, or algo=vgm2p_plus")
        self.acting = acting

    def make_optimiser(self, name: str, modules: Iterable[nn.Module], optim: Optim) -> SeedAdam:
        """Initialise the modules per (seed, role) and give them one Adam."""
        members = nn.ModuleList(modules)
        initialise(members, self.seeds, name)
        self.optimisers[name] = SeedAdam(members.parameters(), optim)
        return self.optimisers[name]

    def follow(self, module: nn.Module, online: SeedAdam) -> Follower:
        """Make `module` a gradient-free copy that can follow the optimiser's parameters."""
        module.requires_grad_(False)
        self.followers.append(Follower(module, online))
        return self.followers[-1]

    def minimise(self, name: str, loss: Tensor, due: Tensor | None = None) -> None:
        """Step optimiser `name` on loss (S,), where `due` (() or (S,) bool, None: always) says so.

        A seed whose loss is not finite is frozen for good; others go on.
        """
        self.alive &= torch.isfinite(loss.detach())
        self.optimisers[name].minimise(loss, self.alive if due is None else self.alive & due)

    def every(self, period: int) -> Tensor:
        """Return () bool: whether this update is number period, 2 period, ... (a delayed policy, a hard copy)."""
        return (self.clock + 1) % period == 0

    def state(self) -> list[Tensor]:
        """Return every tensor that `update` changes: parameters, buffers, steps and moments."""
        steps = [
            t for optimiser in self.optimisers.values() for entry in optimiser.state.values() for t in entry.values()
        ]
        return [*self.parameters(), *self.buffers(), *steps]

    def scale_losses(self) -> None:
        """Give every seed its own dynamic loss scale (float16 on CUDA)."""
        self.loss_scale = LossScale(len(self.seeds)).to(self.alive.device)
        for optimiser in self.optimisers.values():
            optimiser.loss_scale = self.loss_scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Algorithm:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers.values():
            optimiser.rebind()
        for follower in self.followers:
            follower.rebind()
        return self
