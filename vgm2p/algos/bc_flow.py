"""BC(FM): behaviour cloning with flow matching (VGM2P Eq. 2, arXiv 2604.08174); acts in 10 Euler steps (Sec. 5.4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.flows.flow_matching import euler_sample, flow_matching_loss
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times, point, velocity
from vgm2p.nn.mlp import Net
from vgm2p.nn.policy import Velocity
from vgm2p.types import Batch, Randomness, Spec, per_seed_mean


class BCFlow(Algorithm):
    r"""min_theta E || v_theta(a_k, k, o) - (eps - a) ||^2, k ~ U(0, 1).

    Args:
        spec: the task.
        seeds: training seeds.
        width: hidden units.
        depth: hidden layers.
        lr: Adam's learning rate.
        lr_decay_updates: null, or updates over which lr falls to 0 along a cosine.
        clip_norm: null, or largest gradient norm per seed.
        history: steps that an agent remembers, the present one included.
        times: law of the time k.
        steps: Euler steps at execution.
        act_noise: scale of the start noise at execution.
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
        steps: int = 10,
        act_noise: float = 1.0,
        act_noise_shared: bool = False,
    ) -> None:
        super().__init__(spec, seeds, history)
        self.times, self.steps = times or Times(), steps
        self.act_noise, self.act_noise_shared = act_noise, act_noise_shared
        self.policy = Velocity(len(self.seeds), self.id_dim, spec.action_dim, 0, Net(width, depth))
        self.make_optimiser("policy", [self.policy], lr, decay_updates=lr_decay_updates, clip_norm=clip_norm)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one step on Eq. 2."""
        loss = self.policy_loss(self.encode(batch.obs, self.past(batch)), self.represent(batch.action), key)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, oid: Tensor, action: Tensor, key: Randomness) -> Tensor:
        """Eq. 2 per seed (S,) for oid (S, B, N, O) and action vectors (S, B, N, A)."""
        k = self.times.one(key, action)
        eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
        v = self.policy(point(action, eps, k), k, oid, None)
        return per_seed_mean(flow_matching_loss(v, velocity(action, eps)))

    def execute(self, oid: Tensor, legal: Tensor | None, key: Randomness) -> Tensor:
        """Integrate the learnt field from noise to an action, then clip, or take the legal argmax."""
        z = start_noise(key, oid, self.spec.action_dim, self.act_noise, self.act_noise_shared)
        return self.decide(self.harden(euler_sample(self.policy, z, oid, None, self.steps), legal))
