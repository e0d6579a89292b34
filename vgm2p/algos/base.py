"""What every algorithm is: one whole gradient step on a batch, and actions from local observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vgm2p.errors import ConfigError, nearest
from vgm2p.nn.kernels import one_hot
from vgm2p.optim import Follower, LossScale, SeedAdam
from vgm2p.seeds import initialise
from vgm2p.types import Batch, Randomness, Spec


class Algorithm(nn.Module):
    """Base of all algorithms; equations are written over (S, ..., N, A), S being independent seeds.

    Class attributes declare what the algorithm supports; `build` refuses other pairs before anything is loaded.

    Args:
        spec: the task.
        seeds: training seeds; seed s of a joint run computes what a single run with that seed computes.
    """

    supports_discrete: ClassVar[bool] = True
    supports_continuous: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    max_seeds: ClassVar[int | None] = None
    fields: tuple[str, ...] = ()  # optional Batch fields that `update` reads
    gamma: float  # discount, of algorithms that have one

    def __init__(self, spec: Spec, seeds: Sequence[int]) -> None:
        super().__init__()
        self.spec, self.seeds = spec, tuple(seeds)
        self.optimisers: dict[str, SeedAdam] = {}
        self.followers: list[Follower] = []
        self.loss_scale: LossScale | None = None
        self.register_buffer("obs_mean", torch.zeros(spec.obs_dim))
        self.register_buffer("obs_std", torch.ones(spec.obs_dim))
        self.register_buffer("alive", torch.ones(len(self.seeds), dtype=torch.bool))
        self.obs_mean: Tensor
        self.obs_std: Tensor
        self.alive: Tensor

    # --- the contract -----------------------------------------------------------------------------------------------

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one whole gradient step on (S, B, ...) data; return detached diagnostics of shape (S,)."""
        raise NotImplementedError

    def act(self, obs: Tensor, legal: Tensor | None, memory: Any, key: Randomness) -> tuple[Tensor, Any]:
        """Map obs (S, E, N, O) and legal (S, E, N, A) to actions (S, E, N, A) or (S, E, N); agent i sees row i only."""
        raise NotImplementedError

    # --- shared parts -----------------------------------------------------------------------------------------------

    @property
    def id_dim(self) -> int:
        """Width of the encoded observation: agent one-hots are added where the view has none."""
        return self.spec.obs_dim + (0 if self.spec.has_agent_id else self.spec.n_agents)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise observations by (O,) statistics of the dataset; they travel in the checkpoint."""
        self.obs_mean.copy_(mean)
        self.obs_std.copy_(std)

    def encode(self, obs: Tensor) -> Tensor:
        """Standardise obs (..., N, O) and append the agent's one-hot if the view has none: (..., N, id_dim)."""
        x = (obs - self.obs_mean) / self.obs_std
        if self.spec.has_agent_id:
            return x
        identity = torch.eye(self.spec.n_agents, dtype=x.dtype, device=x.device)
        return torch.cat([x, identity.expand(*x.shape[:-1], -1)], dim=-1)

    def represent(self, action: Tensor) -> Tensor:
        """Return the vector that networks see: continuous as stored; indices (..., N) as one-hots in {0, 1}^A."""
        if not self.spec.discrete:
            return action
        return one_hot(action, self.spec.action_dim, self.obs_mean.dtype)

    def harden(self, x: Tensor, legal: Tensor | None) -> Tensor:
        """Turn a generated vector (..., A) into an action: clipped to [-1, 1], or one-hot of the legal argmax."""
        if not self.spec.discrete:
            return x.clamp(-1.0, 1.0)
        return one_hot(masked(x, legal).argmax(-1), x.shape[-1], x.dtype)

    def decide(self, x: Tensor) -> Tensor:
        """Return environment actions for action vectors (..., A): themselves, or their indices."""
        return x.argmax(-1) if self.spec.discrete else x

    def make_optimiser(self, name: str, modules: Iterable[nn.Module], lr: float, **options: Any) -> SeedAdam:
        """Initialise the modules per (seed, name) and give them one Adam."""
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


def masked(x: Tensor, legal: Tensor | None) -> Tensor:
    """Return scores (..., A) with -inf where not legal."""
    return x if legal is None else x.masked_fill(~legal, -torch.inf)


def choose(key: str, value: str, options: Mapping[str, Any] | Sequence[str]) -> str:
    """Return `value` if it is one of `options`. Raises ConfigError naming the config key and the nearest option."""
    if value not in options:
        raise ConfigError(f"algo.{key}='{value}' is unknown{nearest(str(value), list(options))}")
    return value
