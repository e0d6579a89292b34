"""Weighted cloning, the common part of OMIGA and MA-ICQ: the policy imitates stored actions, better ones more.

A critic Q^i(o^i, a^i) per agent, shared by the agents, is mixed into the team's value by weights w_i(x) of the joint
observation x. It sees stored actions only, so it never judges an action that the data do not hold.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.diagnostics import q_levels
from vgm2p.algos.encoding import masked
from vgm2p.algos.parts import CriticSettings, log_softmax_at, tanh_normal_log_prob, td_loss, value_at
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.nn.mixing import Weighted
from vgm2p.nn.mlp import MLP
from vgm2p.nn.policy import TanhNormal
from vgm2p.nn.value import ActionValues, Critic
from vgm2p.types import Acting, Batch, Randomness, Spec, per_seed_mean

Info = dict[str, Tensor]


class WeightedCloning(Algorithm):
    r"""min_pi -E[weight^i log pi(a^i | o^i)], the weights being those of the algorithm.

    Continuous actions: pi is a tanh-normal, the critic takes (o, a). Discrete actions: pi is categorical over the legal
    actions, the critic gives the values of all actions, of which only legal ones are read.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the networks.
        optim: how they are optimised; the critic's rate does not decay.
        critic: the critic; the mean of its members is used.
        history: steps that an agent remembers, the present one included.
        gamma: discount per step.
        weight_cap: largest weight of a stored action.
        action_eps: stored continuous actions are moved this far into (-1, 1).
        mixer_hidden: width of the mixer's hidden layer.
    """

    normalised: ClassVar[bool] = False  # whether the mixer's weights add up to 1, without b(x)

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(members=1),
        history: int = 1,
        gamma: float = 0.995,
        weight_cap: float = 100.0,
        action_eps: float = 1e-3,
        mixer_hidden: int = 64,
    ) -> None:
        super().__init__(spec, seeds, history)
        refuse_zero(weight_cap=weight_cap, action_eps=action_eps)
        self.gamma, self.weight_cap, self.action_eps = gamma, weight_cap, action_eps
        self.tau, self.reward_scale = critic.tau, critic.reward_scale
        S, N, A = len(self.seeds), spec.n_agents, spec.action_dim
        self.policy = MLP((S,), self.id_dim, A, net) if spec.discrete else TanhNormal(S, self.id_dim, A, net)
        self.make_optimiser("policy", [self.policy], optim)
        kind = ActionValues if spec.discrete else Critic
        size = replace(net, depth=critic.depth or net.depth)
        self.critic = kind(S, critic.members, self.id_dim, A, size, critic.layer_norm)
        self.mixer = Weighted(S, N * spec.obs_dim, N, mixer_hidden, not self.normalised, self.normalised)
        online = self.make_optimiser("critic", [self.critic, self.mixer], replace(optim, decay_updates=None))
        self.target_critic, self.target_mixer = copy.deepcopy((self.critic, self.mixer))
        self.targets = [self.follow(nn.ModuleList([self.target_critic, self.target_mixer]), online)]

    @classmethod
    def unread(cls, discrete: bool) -> tuple[str, ...]:
        """Return what only the density of continuous actions needs."""
        return ("action_eps",) if discrete else ()

    # --- values ------------------------------------------------------------------------------------------------------
    def q(self, critic: nn.Module, o: Tensor, action: Tensor) -> Tensor:
        """Return Q^i(o, a) of stored actions (S, B, N, A) or (S, B, N): (S, C, B, N)."""
        values: Tensor = value_at(critic(o), action) if self.spec.discrete else critic(o, action)
        return values

    def critic_loss(self, batch: Batch, o: Tensor, following: Tensor) -> tuple[Tensor, Info]:
        """Return (Q_tot(x, a) - [r + gamma * following])^2 over the rows with a target: (S,).

        `following` (S, B) is the team's value at the next step; every member of the critic regresses on it.
        """
        q = self.mixer.mix(self.q(self.critic, o, batch.action), self.joint(batch.obs))
        reward, discount = self.reward_scale * batch.reward, self.gamma * batch.bootstrap
        loss = td_loss(q.unsqueeze(-1), reward, (discount * following).unsqueeze(-1), batch.valid, "sum")
        return loss, {"critic_loss": loss.detach()} | q_levels(q.detach(), "mean", reward, discount, batch.valid)

    # --- the policy --------------------------------------------------------------------------------------------------
    def log_prob(self, o: Tensor, action: Tensor, legal: Tensor | None) -> Tensor:
        """Return log pi(a | o) for stored actions: (S, B, N)."""
        if self.spec.discrete:
            return log_softmax_at(masked(self.policy(o), legal), action)
        mean, log_std = self.policy(o)
        return tanh_normal_log_prob(action, mean, log_std, self.action_eps)

    def clone(self, batch: Batch, o: Tensor, weight: Tensor) -> tuple[Tensor, Info]:
        """Return -mean_{b,i} weight^i log pi(a^i | o^i) per seed (S,) for weights (S, B, N) without gradient."""
        loss = -per_seed_mean(weight * self.log_prob(o, batch.action, batch.legal))
        info = {"policy_loss": loss.detach()}
        if not self.spec.discrete:
            moved = batch.action.abs() > 1.0 - self.action_eps
            info["saturated"] = per_seed_mean(moved.to(o.dtype))
        return loss, info

    def greedy(self, o: Tensor, legal: Tensor | None) -> Tensor:
        """Return the middle of pi, tanh(mean(o)) (S, ..., A), or its likeliest legal action (S, ...)."""
        if self.spec.discrete:
            return masked(self.policy(o), legal).argmax(-1)
        return torch.tanh(self.policy(o)[0])

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Act greedily."""
        return self.greedy(o, legal)


def refuse_zero(**values: float) -> None:
    """Raise ConfigError for the first key of the algorithm that must be above 0 and is not."""
    for name, value in values.items():
        if value <= 0.0:
            raise ConfigError(f"algo.{name} must be above 0, got {value}")
