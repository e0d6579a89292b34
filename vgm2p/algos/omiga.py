"""OMIGA: offline multi-agent RL with implicit global-to-local value regularisation (arXiv 2307.11620).

A penalty on the distance of the joint policy from the data, with weight alpha, gives every agent a problem of its own:
V^i = (alpha / w^i) log E exp(w^i Q^i / alpha) over the data's actions, and pi^i ~ data * exp(w^i (Q^i - V^i) / alpha).
The product of these policies solves the joint problem, and sum_i w^i V^i + b is its value. Steps 1 to 6 are those of
docs/algorithms/omiga.md.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.algos.diagnostics import weight_levels
from vgm2p.algos.parts import CriticSettings
from vgm2p.algos.weighted_cloning import Info, WeightedCloning, refuse_zero
from vgm2p.groups import Net, Optim
from vgm2p.nn.value import Value
from vgm2p.seeds import broadcast
from vgm2p.types import Batch, Randomness, per_seed_mean

Z_MAX = 10.0  # exp is not followed beyond it [authors' code]


class OMIGA(WeightedCloning):
    r"""Weights exp(z^i), z^i = w^i(x) (Q^i(o^i, a^i) - V^i(o^i)) / alpha. One mixer, w(x) and b(x), serves Q and V.

    Args:
        task: spec and seeds.
        net: size of the networks.
        optim: how they are optimised; the rate of critic and value does not decay.
        critic: the critic; V has its depth and LayerNorm.
        alpha: temperature; the smaller, the further the policy leaves the data.
        v_loss: what follows exp(z) above z = 10: its tangent (`linear`), or a constant (`source`).
        clip_norm: largest gradient norm of each optimiser and seed where `optim` sets none; None: no limit.
        of_cloning: arguments of `WeightedCloning`.
    """

    def __init__(
        self,
        *task: Any,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(members=1),
        alpha: float = 10.0,
        v_loss: Literal["linear", "source"] = "linear",
        clip_norm: float | None = 1.0,
        **of_cloning: Any,
    ) -> None:
        refuse_zero(alpha=alpha)
        optim = replace(optim, clip_norm=clip_norm if optim.clip_norm is None else optim.clip_norm)
        super().__init__(*task, net=net, optim=optim, critic=critic, **of_cloning)
        self.alpha, self.linear = alpha, v_loss == "linear"
        size = replace(net, depth=critic.depth or net.depth)
        self.value = Value(len(self.seeds), self.id_dim, size, critic.layer_norm)
        online = self.make_optimiser("value", [self.value], replace(optim, decay_updates=None))
        self.target_value = copy.deepcopy(self.value)
        self.targets.append(self.follow(self.target_value, online))

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Compute all three losses, then take all steps."""
        o, next_o = self.encode_pair(batch)
        critic_loss, critic_info = self.critic_loss(batch, o, self.following(batch, next_o))  # steps 1 and 2
        w, q, v = self.judge(batch, o)
        value_loss = regression(w, q, v, self.alpha, self.linear)  # steps 3 to 5
        weight, weight_info = self.weights(w * (q - v.detach()) / self.alpha)
        policy_loss, policy_info = self.clone(batch, o, weight)  # step 6
        for name, loss in (("policy", policy_loss), ("critic", critic_loss), ("value", value_loss)):
            self.minimise(name, loss)
        for target in self.targets:
            target.follow(self.tau)
        return critic_info | {"value_loss": value_loss.detach()} | weight_info | policy_info

    @torch.no_grad()
    def following(self, batch: Batch, next_o: Tensor) -> Tensor:
        """Return sum_i wbar^i(x') Vbar^i(o'^i) + bbar(x'): (S, B)."""
        v = self.target_value(next_o).unsqueeze(1)
        return self.target_mixer.mix(v, self.joint(batch.next_obs))[:, 0]

    def judge(self, batch: Batch, o: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return wbar^i(x), Qbar^i(o, a) and, with gradient, V^i(o): (S, B, N) each."""
        with torch.no_grad():
            w, _ = self.target_mixer(self.joint(batch.obs))
            q = self.q(self.target_critic, o, batch.action).mean(1)
        return w, q, self.value(o)

    def weights(self, z: Tensor) -> tuple[Tensor, Info]:
        """Return min(exp(z), cap) for z (S, B, N), and what explains it."""
        limit = math.log(self.weight_cap)
        weight = torch.exp(z.clamp(max=limit))
        return weight, weight_levels(weight, z > limit)


def regression(w: Tensor, q: Tensor, v: Tensor, alpha: float, linear: bool = True) -> Tensor:
    """Return E[exp(z) + w v / alpha] e^-m (S,), whose minimum over v has E[exp(z)] = 1: v = V^i.

    m, the largest z of the seed's batch, keeps numbers small. A constant in the place of exp(z) above 10 leaves a
    gradient that moves v away from q; the tangent moves it towards q.

    Args:
        w: (S, B, N) weights of the agents.
        q: (S, B, N) values of the stored actions.
        v: (S, B, N) with gradient.
        alpha: temperature.
        linear: whether the tangent of exp follows above z = 10.
    """
    z = w * (q - v) / alpha
    exponent = z.clamp(max=Z_MAX) if linear else z.clamp(-Z_MAX, Z_MAX)
    m = broadcast(exponent.detach().flatten(1).amax(1).clamp(min=-1.0), z)
    e = torch.exp(exponent - m)
    if linear:
        e = e * (1.0 + F.relu(z - Z_MAX))
    return per_seed_mean(e + torch.exp(-m) * w * v / alpha)
