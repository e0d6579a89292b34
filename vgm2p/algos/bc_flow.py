"""BC(FM): behaviour cloning with flow matching (VGM2P Eq. 2, arXiv 2604.08174); acts in 10 Euler steps (Sec. 5.4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.flows.flow_matching import cloning_loss, euler_sample
from vgm2p.flows.head import Predict
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import Velocity
from vgm2p.types import Acting, Batch, Randomness, Spec


class BCFlow(Algorithm):
    r"""min_theta E || v_theta(a_k, k, o) - (eps - a) ||^2, k ~ U(0, 1).

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the network.
        optim: settings of Adam.
        history: number of steps that an agent sees, including the present step.
        times: distribution of the time k.
        predict: what the network predicts (`flows.head`); None: the clean action if actions are discrete.
        acting: scale and sharing of the start noise, number of Euler steps.
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
        acting: Acting = Acting(steps=10),
    ) -> None:
        super().__init__(spec, seeds, history)
        self.times = self.predict_by(predict, times)
        self.act_by(acting)
        self.policy = Velocity(len(self.seeds), self.id_dim, spec.action_dim, 0, net, self.head)
        self.make_optimiser("policy", [self.policy], optim)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one gradient step on Eq. 2."""
        o = self.encode(batch.obs, self.past(batch))
        loss = self.policy_loss(o, self.represent(batch.action), key, batch.legal)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, o: Tensor, action: Tensor, key: Randomness, legal: Tensor | None = None) -> Tensor:
        """Eq. 2 per seed (S,) for o (S, B, N, O), action vectors and legal (S, B, N, A)."""
        return cloning_loss(self.policy, action, o, self.times, key, legal)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Integrate the learnt velocity from noise to an action vector. Clip it (discrete: take the legal argmax)."""
        z = start_noise(key, o, self.spec.action_dim, acting)
        return self.decide(euler_sample(self.policy, z, o, None, acting.passes, legal), legal, key, acting)
