"""BC(MF): behaviour cloning with an unconditional MeanFlow policy (VGM2P Eq. 10, arXiv 2604.08174).

Eq. 10 prints the sample velocity inside the integral; the average velocity needs the marginal one, of which the sample
velocity is the Monte-Carlo stand-in (docs/algorithms/vgm2p.md). Acts in one network pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.flows.meanflow import meanflow_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times, point, velocity
from vgm2p.nn.mlp import Net
from vgm2p.nn.policy import AverageVelocity
from vgm2p.types import Batch, Randomness, Spec, per_seed_mean


class BCMeanFlow(Algorithm):
    r"""min_theta E || u_theta(a_k, r, k, o) - sg[v - (k - r) du/dk] ||^2 with v = eps - a.

    Args:
        spec: the task.
        seeds: training seeds.
        width: hidden units.
        depth: hidden layers.
        lr: Adam's learning rate.
        lr_decay_updates: null, or updates over which lr falls to 0 along a cosine.
        clip_norm: null, or largest gradient norm per seed.
        history: steps that an agent remembers, the present one included.
        times: law of the time pair (k, r).
        adaptive_power: p of the adaptive row weight; 0 is the paper.
        steps: sampling steps at execution; 1 is Alg. 2.
        act_noise: scale of the start noise at execution; 1 is Alg. 2.
        act_noise_shared: whether all agents draw the same start noise from a common seed.
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
        times: Times | None = None,
        adaptive_power: float = 0.0,
        steps: int = 1,
        act_noise: float = 1.0,
        act_noise_shared: bool = False,
    ) -> None:
        super().__init__(spec, seeds, history)
        self.times, self.adaptive_power, self.steps = times or Times(), adaptive_power, steps
        self.act_noise, self.act_noise_shared = act_noise, act_noise_shared
        self.policy = AverageVelocity(len(self.seeds), self.id_dim, spec.action_dim, 0, Net(width, depth))
        self.make_optimiser("policy", [self.policy], lr, decay_updates=lr_decay_updates, clip_norm=clip_norm)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one step on Eq. 10."""
        loss, info = self.policy_loss(self.encode(batch.obs, self.past(batch)), self.represent(batch.action), key)
        self.minimise("policy", loss)
        return info

    def policy_loss(self, oid: Tensor, action: Tensor, key: Randomness) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 10 per seed (S,) for oid (S, B, N, O) and action vectors (S, B, N, A)."""
        k, r = self.times.pair(key, action)
        eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
        a_k, v = point(action, eps, k), velocity(action, eps)
        rows, u = meanflow_loss(self.policy, a_k, v, k, r, oid, None, self.adaptive_power)
        loss = per_seed_mean(rows)
        return loss, {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    def execute(self, oid: Tensor, legal: Tensor | None, key: Randomness) -> Tensor:
        """Alg. 2: a = z - u(z, 0, 1, o), clipped, or the legal argmax."""
        z = start_noise(key, oid, self.spec.action_dim, self.act_noise, self.act_noise_shared)
        return self.decide(self.harden(meanflow_sample(self.policy, z, oid, None, self.steps), legal))
