"""VGM2P(FM): VGM2P with a flow-matching policy (arXiv 2604.08174 Sec. 5.4).

Critic, condition and guidance are the same. The network learns the instantaneous velocity v(a_k, k, o, c). The next
action a', the baselines and the executed actions integrate it in 10 Euler steps.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vgm2p.algos.vgm2p import VGM2P, Legal, Rows
from vgm2p.errors import ConfigError
from vgm2p.flows.flow_matching import euler_sample, flow_matching_loss
from vgm2p.flows.path import OneTime, Times
from vgm2p.groups import Net
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.nn.policy import Velocity
from vgm2p.types import Acting


class VGM2PFlowMatching(VGM2P):
    r"""Policy: min || v_theta(a_k, k, o, c) - sg[omega (eps - a) + (1 - omega) v_theta(a_k, k, o, 1)] ||^2.

    Raises:
        ConfigError: if `times.order` or `times.equal_fraction` is set; they exist for MeanFlow only.
    """

    def __init__(
        self, *task: Any, times: Times = Times(), acting: Acting = Acting(steps=10), **of_the_paper: Any
    ) -> None:
        super().__init__(*task, times=times, acting=acting, **of_the_paper)
        plain = Times()
        changed = [key for key in ("order", "equal_fraction") if getattr(times, key) != getattr(plain, key)]
        if changed:
            raise ConfigError(f"algo.times.{changed[0]} is for MeanFlow; flow matching has one time: remove this key")
        t = self.times
        self.times = OneTime(t.law, mean=t.mean, std=t.std, least=t.least)  # k ~ U(0, 1), as in BC(FM)

    def make_policy(self, net: Net) -> nn.Module:
        """Return the network v(a_k, k, o, c)."""
        return Velocity(len(self.seeds), self.id_dim, self.spec.action_dim, self.classes, net, self.head)

    def marginal(self, a_k: Tensor, k: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Tensor:
        """Return v(a_k, k, o, c)."""
        v: Tensor = self.policy(a_k, k, o, one_hot(c, self.classes, o.dtype), legal)
        return v

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Rows:
        """Return flow-matching row losses (S, B, N) and the predicted velocity (S, B, N, A); r is not used."""
        guided = self.omega != 1.0
        rows, y = flow_matching_loss(self.policy, a_k, v, k, o, c, legal, guided)  # type: ignore[arg-type]
        return rows, self.head.velocity(y, a_k, k, legal)

    def sample(self, z: Tensor, o: Tensor, steps: int, legal: Legal = None) -> Tensor:
        """Integrate the velocity of c = 1 from noise z (S, ..., A) to an action vector (S, ..., A)."""
        return euler_sample(self.policy, z, o, self.class_one(o), steps, legal)
