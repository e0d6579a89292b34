"""MA-ICQ: implicit constraint Q-learning for several agents (arXiv 2106.03400).

Critic and policy see stored actions only: the target takes the stored next action, and the policy clones stored actions
with weights exp(A^i / beta) / Z. Steps 1 to 6 are those of docs/algorithms/ma_icq.md.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from vgm2p.algos.diagnostics import ess, weight_levels
from vgm2p.algos.encoding import masked
from vgm2p.algos.parts import batch_softmax, unit, value_at
from vgm2p.algos.weighted_cloning import Info, WeightedCloning, refuse_zero
from vgm2p.types import Batch, Needs, Randomness, has_choice, per_seed_mean


class MAICQ(WeightedCloning):
    r"""Q_tot = sum_i k^i(x) Q^i, with weights k^i >= 0 that add up to 1.

    Args:
        task: spec and seeds.
        beta: temperature of the policy's weights.
        standardise: whether advantages are divided by their standard deviation in the batch.
        target_weight: `softmax`: the next value is multiplied by its weight exp(Q / target_beta) / Z; `none`: by 1.
        target_beta: temperature of the target's weights.
        of_cloning: arguments of `WeightedCloning`.
    """

    normalised = True
    needs = Needs(frozenset({"next_action"}))

    def __init__(
        self,
        *task: Any,
        beta: float = 1.0,
        standardise: bool = True,
        target_weight: Literal["softmax", "none"] = "none",
        target_beta: float = 1000.0,
        **of_cloning: Any,
    ) -> None:
        refuse_zero(beta=beta, target_beta=target_beta)
        super().__init__(*task, **of_cloning)
        self.beta, self.standardise = beta, standardise
        self.target_beta = target_beta if target_weight == "softmax" else None

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Step the critic, then the policy by the new critic."""
        o, next_o = self.encode_pair(batch)
        following, target_info = self.following(batch, next_o)  # steps 1 and 2
        critic_loss, critic_info = self.critic_loss(batch, o, following)
        self.minimise("critic", critic_loss)  # step 3
        weight, weight_info = self.weights(batch, o)  # steps 4 and 5
        policy_loss, policy_info = self.clone(batch, o, weight)
        self.minimise("policy", policy_loss)  # step 6
        for target in self.targets:
            target.follow(self.tau)
        return critic_info | target_info | weight_info | policy_info

    @torch.no_grad()
    def following(self, batch: Batch, next_o: Tensor) -> tuple[Tensor, Info]:
        """Return w sum_i kbar^i(x') Qbar^i(o'^i, a'^i) for the stored a' and its weight w: (S, B)."""
        assert batch.next_action is not None, "the batch lacks a field of `needs`"
        q = self.target_mixer.mix(self.q(self.target_critic, next_o, batch.next_action), self.joint(batch.next_obs))
        value = q.mean(1)
        if self.target_beta is None:
            return value, {}
        followed = batch.valid * batch.bootstrap  # rows without a next action must not count in Z
        w = batch_softmax(value, self.target_beta, followed)
        return w * value, {"target_ess": ess(w) / per_seed_mean(followed).clamp(min=torch.finfo(w.dtype).tiny)}

    @torch.no_grad()
    def weights(self, batch: Batch, o: Tensor) -> tuple[Tensor, Info]:
        """Return N k^i(x) min(exp(A^i / beta) / Z, cap): (S, B, N)."""
        advantage = self.advantage(batch, o)
        raw = batch_softmax(unit(advantage, has_choice(batch.legal)) if self.standardise else advantage, self.beta)
        k, _ = self.mixer(self.joint(batch.obs))
        weight = self.spec.n_agents * k * raw.clamp(max=self.weight_cap)
        return weight, weight_levels(weight, raw > self.weight_cap)

    @torch.no_grad()
    def advantage(self, batch: Batch, o: Tensor) -> Tensor:
        """Return A^i = Q^i(o, a) - V^i (S, B, N).

        V^i is the policy's mean of Q^i over the legal actions, or Q^i of the middle of a continuous policy.
        """
        if self.spec.discrete:
            q: Tensor = self.critic(o).mean(1)  # (S, B, N, A)
            pi = torch.softmax(masked(self.policy(o), batch.legal), -1)
            legal_q = q if batch.legal is None else q.masked_fill(~batch.legal, 0.0)
            return value_at(q.unsqueeze(1), batch.action)[:, 0] - (pi * legal_q).sum(-1)
        actions = torch.stack([batch.action, self.greedy(o, None)], dim=2)
        q = self.critic(o.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)  # (S, C, B, 2, N)
        return (q[:, :, :, 0] - q[:, :, :, 1]).mean(1)
