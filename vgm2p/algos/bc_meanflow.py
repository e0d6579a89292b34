"""BC(MF): behaviour cloning with an unconditional MeanFlow policy (VGM2P Eq. 10, arXiv 2604.08174).

Eq. 10 has the sample velocity inside the integral. The average velocity needs the marginal velocity there; the sample
velocity is its Monte-Carlo estimate (docs/algorithms/vgm2p.md). The policy acts in one network pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.flows.head import Predict
from vgm2p.flows.meanflow import cloning_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import AverageVelocity
from vgm2p.types import Acting, Batch, Randomness, Spec, per_seed_mean


class BCMeanFlow(Algorithm):
    r"""min_theta E || u_theta(a_k, r, k, o) - sg[v - (k - r) du/dk] ||^2 with v = eps - a.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the network.
        optim: settings of Adam.
        history: number of steps that an agent sees, including the present step.
        times: distribution of the time pair (k, r).
        predict: what the network predicts (`flows.head`); None: the clean action if actions are discrete.
        adaptive_power: p of the weight 1 / (loss + eps)^p of a row; 0 in the paper.
        acting: scale and sharing of the start noise, number of sampling steps; Alg. 2 has scale 1 and one step.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        history: int = 1,
        times: Times = Times(),
        predict: Predict | None = "v",
        adaptive_power: float = 0.0,
        acting: Acting = Acting(),
    ) -> None:
        super().__init__(spec, seeds, history)
        self.times, self.adaptive_power = self.predict_by(predict, times), adaptive_power
        self.act_by(acting)
        self.policy = AverageVelocity(len(self.seeds), self.id_dim, spec.action_dim, 0, net, head=self.head)
        self.make_optimiser("policy", [self.policy], optim)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one gradient step on Eq. 10."""
        o = self.encode(batch.obs, self.past(batch))
        loss, info = self.policy_loss(o, self.represent(batch.action), key, batch.legal)
        self.minimise("policy", loss)
        return info

    def policy_loss(
        self, o: Tensor, action: Tensor, key: Randomness, legal: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 10 per seed (S,), and diagnostics, for o (S, B, N, O), action vectors and legal (S, B, N, A)."""
        loss, u = cloning_loss(self.policy, action, o, self.times, key, self.adaptive_power, legal)
        return loss, {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Alg. 2: a = z - u(z, 0, 1, o), then clip (discrete: legal argmax)."""
        z = start_noise(key, o, self.spec.action_dim, acting)
        return self.decide(meanflow_sample(self.policy, z, o, None, acting.passes, legal), legal, key, acting)
