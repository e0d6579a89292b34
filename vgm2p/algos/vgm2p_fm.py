"""VGM2P(FM): VGM2P with a flow-matching policy (arXiv 2604.08174 Sec. 5.4).

Same critic, condition and guidance; the network learns the instantaneous velocity v(a_k, k, o, c), and a', the
baselines and execution integrate it in `steps` = 10 Euler steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vgm2p.algos.vgm2p import BETTER, VGM2P
from vgm2p.errors import ConfigError
from vgm2p.flows.flow_matching import euler_sample, flow_matching_loss
from vgm2p.flows.path import OneTime, Times
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.nn.mlp import Net
from vgm2p.nn.policy import Velocity


class VGM2PFlowMatching(VGM2P):
    r"""Policy: min || v_theta(a_k, k, o, c) - sg[omega (eps - a) + (1 - omega) v_theta(a_k, k, o, 1)] ||^2.

    Raises:
        ConfigError: if a key is set that only an average velocity has a meaning for.
    """

    def __init__(self, *args: Any, steps: int = 10, **hyperparameters: Any) -> None:
        super().__init__(*args, steps=steps, **hyperparameters)
        plain = Times()
        settings = {
            "adaptive_power": self.adaptive_power != 0.0,
            "bf16_derivative": self.bf16_derivative,
            "times.order": self.times.order != plain.order,
            "times.equal_fraction": self.times.equal_fraction != plain.equal_fraction,
        }
        key = next((key for key, changed in settings.items() if changed), None)
        if key is not None:
            raise ConfigError(f"algo.{key} belongs to MeanFlow; flow matching has one time and no derivative: leave it")
        self.times = OneTime(self.times.law, mean=self.times.mean, std=self.times.std)  # k ~ U(0, 1), as BC(FM)

    def make_policy(self, net: Net) -> nn.Module:
        """Return the network v(a_k, k, o, c)."""
        return Velocity(len(self.seeds), self.id_dim, self.spec.action_dim, self.classes, net)

    def marginal(self, a_k: Tensor, k: Tensor, oid: Tensor, c: Tensor) -> Tensor:
        """Return v(a_k, k, o, c)."""
        return self.policy(a_k, k, oid, one_hot(c, self.classes, oid.dtype))

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, oid: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Flow-matching row losses (S, B, N) and v; the second time r is not used."""
        predicted = self.policy(a_k, k, oid, c)
        return flow_matching_loss(predicted, v), predicted.detach()

    def sample(self, net: nn.Module, z: Tensor, oid: Tensor) -> Tensor:
        """Integrate the field of c = 1 from noise to an action vector."""
        better = torch.full(oid.shape[:-1], BETTER, device=oid.device)
        return euler_sample(net, z, oid, one_hot(better, self.classes, oid.dtype), self.steps)
