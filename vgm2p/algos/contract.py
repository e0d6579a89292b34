"""What every algorithm is: one whole gradient step on a batch, and actions from local observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vgm2p.algos.encoding import Encoding
from vgm2p.errors import ConfigError, nearest
from vgm2p.optim import Follower, LossScale, SeedAdam
from vgm2p.seeds import initialise
from vgm2p.types import Batch, Randomness, Spec


class Algorithm(Encoding):
    """Base of all algorithms; equations are written over (S, ..., N, A), S being independent seeds.

    Class attributes declare what the algorithm supports; `build` refuses other pairs before anything is loaded.

    Args:
        spec: the task.
        seeds: training seeds; seed s of a joint run computes what a single run with that seed computes.
        history: steps that an agent remembers, the present one included; 1 is memoryless.
    """

    supports_discrete: ClassVar[bool] = True
    supports_continuous: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    max_seeds: ClassVar[int | None] = None
    fields: tuple[str, ...] = ()  # optional Batch fields that `update` reads
    gamma: float = 0.0  # discount, of algorithms that have one

    def __init__(self, spec: Spec, seeds: Sequence[int], history: int = 1) -> None:
        super().__init__(spec, seeds, history)
        self.optimisers: dict[str, SeedAdam] = {}
        self.followers: list[Follower] = []
        self.loss_scale: LossScale | None = None
        self.register_buffer("alive", torch.ones(len(self.seeds), dtype=torch.bool))
        self.alive: Tensor

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one whole gradient step on (S, B, ...) data; return detached diagnostics of shape (S,)."""
        raise NotImplementedError

    def execute(self, oid: Tensor, legal: Tensor | None, key: Randomness) -> Tensor:
        """Map encoded observations (S, E, N, id_dim) and legal (S, E, N, A) to actions (S, E, N, A) or (S, E, N)."""
        raise NotImplementedError

    def act(self, obs: Tensor, legal: Tensor | None, memory: Any, key: Randomness) -> tuple[Tensor, Any]:
        """Map obs (S, E, N, O) and legal (S, E, N, A) to actions, agent i from row i and its own memory alone.

        Args:
            obs: what the agents see now.
            legal: which actions they may take, or None.
            memory: what the previous step of these episodes returned; None begins them.
            key: randomness of this step.

        Returns:
            Actions (S, E, N, A) or (S, E, N), and the memory (S, E, N, P * frame_dim), None for history = 1.
        """
        if memory is None and self.history > 1:
            memory = obs.new_zeros(*obs.shape[:-1], (self.history - 1) * self.frame_dim)
        action = self.execute(self.encode(obs, memory), legal, key)
        return action, self.advance(memory, obs, action)

    def make_optimiser(self, name: str, modules: Iterable[nn.Module], lr: float, **options: Any) -> SeedAdam:
        """Initialise the modules per (seed, role) and give them one Adam."""
        members = nn.ModuleList(modules)
        initialise(members, self.seeds, name)
        self.optimisers[name] = SeedAdam(members.parameters(), lr, **options)
        return self.optimisers[name]

    def follow(self, module: nn.Module, online: SeedAdam) -> Follower:
        """Make `module` a gradient-free copy that can follow the optimiser's parameters."""
        module.requires_grad_(False)
        self.followers.append(Follower(module, online))
        return self.followers[-1]

    def minimise(self, name: str, loss: Tensor) -> None:
        """Step optimiser `name` on loss (S,). A seed whose loss is not finite is frozen for good; others go on."""
        self.alive &= torch.isfinite(loss.detach())
        self.optimisers[name].minimise(loss, self.alive)

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
        super()._apply(fn, recurse)
        for optimiser in self.optimisers.values():
            optimiser.rebind()
        for follower in self.followers:
            follower.rebind()
        return self


def choose(key: str, value: str, options: Mapping[str, Any] | Sequence[str]) -> str:
    """Return `value` if it is one of `options`. Raises ConfigError naming the config key and the nearest option."""
    if value not in options:
        raise ConfigError(f"algo.{key}='{value}' is unknown{nearest(str(value), list(options))}")
    return value
