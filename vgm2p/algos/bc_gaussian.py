"""BC(Gaussian): behaviour cloning by maximum likelihood (VGM2P Sec. 5, first baseline).

Continuous actions: N(mu(o), sigma(o)^2), log sigma clamped to [-5, 2]; acts by its mean. Discrete actions: categorical
over the legal actions, in the loss as well. Network, optimiser and budget are VGM2P's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.algos.contract import Algorithm, choose
from vgm2p.algos.encoding import masked
from vgm2p.nn.mlp import MLP, Net
from vgm2p.types import Batch, Randomness, Spec, per_seed_mean

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class BCGaussian(Algorithm):
    r"""min_theta E[-log pi_theta(a^i | o^i)], parameters shared by the agents.

    Args:
        spec: the task.
        seeds: training seeds.
        width: hidden units.
        depth: hidden layers.
        lr: Adam's learning rate.
        lr_decay_updates: null, or updates over which lr falls to 0 along a cosine.
        clip_norm: null, or largest gradient norm per seed.
        history: steps that an agent remembers, the present one included.
        decode: discrete actions: `argmax` removes the data's exploration noise, `sample` reproduces it.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        width: int = 512,
        depth: int = 4,
        lr: float = 3e-4,
        lr_decay_updates: int | None = None,
        clip_norm: float | None = None,
        history: int = 1,
        decode: str = "argmax",
    ) -> None:
        super().__init__(spec, seeds, history)
        self.decode = choose("decode", decode, ("argmax", "sample"))
        outputs = spec.action_dim if spec.discrete else 2 * spec.action_dim
        self.policy = MLP((len(self.seeds),), self.id_dim, outputs, Net(width, depth))
        self.make_optimiser("policy", [self.policy], lr, decay_updates=lr_decay_updates, clip_norm=clip_norm)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one maximum-likelihood step."""
        loss = self.policy_loss(batch)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood per seed (S,)."""
        head = self.policy(self.encode(batch.obs, self.past(batch)))
        if self.spec.discrete:
            return per_seed_mean(-log_softmax_at(masked(head, batch.legal), batch.action))
        mean, log_std = self.gaussian(head)
        return per_seed_mean(gaussian_nll(batch.action, mean, log_std))

    def gaussian(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """Split network output (..., 2A) into the mean and the clamped log standard deviation."""
        mean, log_std = head.chunk(2, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def execute(self, oid: Tensor, legal: Tensor | None, key: Randomness) -> Tensor:
        """Act by the mean, clipped; discrete: by the likeliest legal action, or by a Gumbel-max sample."""
        head = self.policy(oid)
        if not self.spec.discrete:
            return self.harden(self.gaussian(head)[0], None)
        if self.decode == "sample":
            uniform = key.uniform("act", tuple(head.shape[1:])).to(head.dtype)
            head = head - torch.log(-torch.log(uniform.clamp(1e-12, 1.0 - 1e-7)))
        return masked(head, legal).argmax(-1)


def gaussian_nll(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return -log N(action; mean, exp(log_std)^2) per component."""
    return 0.5 * ((action - mean) * torch.exp(-log_std)).square() + log_std + 0.5 * math.log(2.0 * math.pi)


def log_softmax_at(logits: Tensor, action: Tensor) -> Tensor:
    """Return log softmax(logits)[action] for logits (..., A) and indices (...)."""
    return F.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
