"""Adam with a seed axis: each seed has its own step count, learning rate, loss scale and gradient clipping.

`SeedAdam` is an ordinary `torch.optim.Optimizer`. Its state_dict has torch's layout per parameter (`step`, `exp_avg`,
`exp_avg_sq`), so Lightning and other optimisers can read it. The parameters are views of one flat tensor, so one
`lerp_` updates a Polyak target. Gradients are not accumulated: every backward pass makes new tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vgm2p.errors import ConfigError
from vgm2p.groups import Optim
from vgm2p.seeds import broadcast, per_seed_norm


def flatten(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Copy the parameters one after another into a flat tensor, make them views of it, and return it."""
    flat = torch.cat([p.detach().flatten() for p in parameters])
    for p, piece in zip(parameters, split(flat, parameters), strict=True):
        p.data = piece
    return flat


def split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return views of `flat` with the shapes of `like`, in order."""
    pieces = torch.split_with_sizes(flat, [p.numel() for p in like])
    return [piece.view_as(p) for piece, p in zip(pieces, like, strict=True)]


def multiply(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply every tensor (S, ...) in place by a factor per seed (S,)."""
    for tensor in tensors:
        tensor.mul_(broadcast(factor, tensor))


def clip(grads: list[Tensor], limit: float) -> None:
    """Scale the gradients of one seed in place so that their common Euclidean norm is at most `limit`."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    torch._foreach_mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))


class Follower:
    """A target network that follows an online network: target <- (1 - tau) target + tau online (Polyak averaging).

    Args:
        module: the target network, with the parameters of the online network. It takes over their values.
        online: optimiser of the online network.
    """

    def __init__(self, module: nn.Module, online: SeedAdam) -> None:
        self.parameters = list(module.parameters())
        self.online = online
        self.flat = flatten(self.parameters)
        self.flat.copy_(online.flat)  # a copy that was made before `make_optimiser` has other values

    def rebind(self) -> None:
        """Flatten the parameters again. Call it after the module moved to another device or dtype."""
        self.flat = flatten(self.parameters)

    @torch.no_grad()
    def follow(self, tau: float | Tensor) -> None:
        """Do one Polyak step with rate `tau`: a float, or a tensor () on the device if the rate changes."""
        self.flat.lerp_(self.online.flat, tau)


class LossScale(nn.Module):
    """Dynamic loss scale per seed for float16 (CUDA): halved on overflow, doubled after `interval` steps without one.

    The rule is that of `torch.amp.GradScaler` [PyTorch documentation], but only the seed with the overflow skips its
    step.
    """

    def __init__(self, seeds: int, initial: float = 2.0**16, interval: int = 2000) -> None:
        super().__init__()
        self.interval = interval
        self.register_buffer("scale", torch.full((seeds,), initial))
        self.register_buffer("clean", torch.zeros(seeds))
        self.scale: Tensor
        self.clean: Tensor

    @torch.no_grad()
    def update(self, overflow: Tensor, stepped: Tensor) -> None:
        """Update the scales of the seeds that stepped, without waiting for the device.

        Args:
            overflow: (S,) bool, whether the gradients have overflowed.
            stepped: (S,) bool, whether the seed's step was due. The scale of another seed stays as it is.
        """
        overflow = overflow & stepped
        clean = torch.where(overflow, torch.zeros_like(self.clean), self.clean + stepped.to(self.clean.dtype))
        grown = clean >= self.interval
        factor = torch.where(overflow, 0.5, torch.where(grown, 2.0, 1.0))
        self.scale.mul_(factor)
        self.clean.copy_(torch.where(grown, torch.zeros_like(clean), clean))


class SeedAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with a seed axis; betas and eps are optax's defaults.

    Args:
        parameters: tensors (S, ...).
        optim: learning rate, decay and clipping.
        loss_scale: scale per seed for float16, or None.
        betas: decay rates of the first and the second moment.
        eps: constant added to the denominator.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optim: Optim,
        loss_scale: LossScale | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if isinstance(optim.decay_updates, str):
            raise ConfigError("optim.decay_updates=updates needs a run, whose updates are known; give a number here")
        self.parameters = list(parameters)
        self.decay_updates, self.clip_norm, self.loss_scale = optim.decay_updates, optim.clip_norm, loss_scale
        super().__init__(self.parameters, {"lr": optim.lr, "betas": betas, "eps": eps})
        self.seeds = self.parameters[0].shape[0]
        self.steps = torch.zeros(self.seeds)
        self.rebind()

    def rebind(self) -> None:
        """Flatten parameters and moments on the device and dtype of the parameters. Call it after `module.to`."""
        fresh = not self.state
        like = self.parameters
        self.flat = flatten(like)
        self.steps = self.steps.to(self.flat.device)
        moments = [torch.zeros_like(self.flat) for _ in range(2)]
        if not fresh:
            for flat, name in zip(moments, ("exp_avg", "exp_avg_sq"), strict=True):
                flat.copy_(torch.cat([self.state[p][name].flatten() for p in like]))
        first, second = (split(flat, like) for flat in moments)
        for p, m, v in zip(like, first, second, strict=True):
            self.state[p] = {"step": self.steps, "exp_avg": m, "exp_avg_sq": v}
        # per seed: parameters, first and second moments, all changed in place by the Adam kernel
        self._rows = [[[x.detach()[s] for x in xs] for xs in (like, first, second)] for s in range(self.seeds)]

    def minimise(self, loss: Tensor, alive: Tensor) -> None:
        """Take one step on loss (S,) for the seeds with `alive` (S,) bool; the others keep parameters and moments."""
        self.zero_grad()
        scaled = loss if self.loss_scale is None else loss * self.loss_scale.scale
        with torch.autocast(loss.device.type, enabled=False):  # otherwise a float32 network would be cast in this pass
            torch.autograd.backward(scaled.sum())
        with torch.no_grad():
            self._step(alive)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients; the next backward pass makes new tensors."""
        for p in self.parameters:  # torch's own function costs more than the rest of a small network's step
            p.grad = None

    def learning_rates(self) -> Sequence[float | Tensor]:
        """Return the learning rate of the next step for each seed. A decaying rate is a tensor () on the device."""
        initial = self.param_groups[0]["lr"]
        if self.decay_updates is None:
            return [initial] * self.seeds
        share = (self.steps / self.decay_updates).clamp(max=1.0)
        rates: Tensor = initial * 0.5 * (1.0 + torch.cos(torch.pi * share))
        return rates.unbind()

    def _step(self, alive: Tensor) -> None:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        skip = ~alive
        if self.loss_scale is not None:
            multiply(grads, 1.0 / self.loss_scale.scale)
            overflow = ~torch.isfinite(per_seed_norm(grads))
            self.loss_scale.update(overflow, alive)
            skip = skip | overflow
        rates = self.learning_rates()
        skipped = skip.to(self.steps.dtype)
        self.steps.add_(1.0 - skipped)
        for s, mine in enumerate(map(list, zip(*(grad.unbind() for grad in grads), strict=True))):
            if self.clip_norm is not None:
                clip(mine, self.clip_norm)
            # the kernel computes the bias correction of a skipped seed, too: step 0 would make it divide by zero
            self._adam(s, mine, rates[s], self.steps[s].clamp(min=1.0), skipped[s])

    def _adam(self, s: int, grads: list[Tensor], rate: float | Tensor, step: Tensor, skipped: Tensor) -> None:
        group = self.param_groups[0]
        torch._fused_adam_(
            *(self._rows[s][0], grads, self._rows[s][1], self._rows[s][2], [], [step] * len(grads)),
            lr=rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            found_inf=skipped,
        )

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step of every seed with the present gradients, for callers that ran `backward` themselves."""
        with torch.no_grad():
            self._step(torch.ones(self.seeds, dtype=torch.bool, device=self.flat.device))

    def state_dict(self) -> dict[str, Any]:
        """Return torch's layout with copies of the tensors. (Saving a view would save the whole flat tensor.)"""
        state = super().state_dict()
        state["state"] = {
            index: {name: value.clone() for name, value in entry.items()} for index, entry in state["state"].items()
        }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy a state_dict into the flat tensors. Raises ValueError if a shape differs from that of the parameter."""
        entries = state_dict["state"]
        for index, p in enumerate(self.parameters):
            for name, mine in self.state[p].items():
                theirs = entries[index][name]
                if theirs.shape != mine.shape:
                    raise ValueError(f"optimiser state {index}.{name} has shape {tuple(theirs.shape)}")
                mine.copy_(theirs)
