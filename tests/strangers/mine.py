"""An example of a user's algorithm, similar to OMIGA (arXiv 2307.11620), with the stored next action in its target.

It has a learnt mixer over the joint observation, a state value, and a stochastic policy.
"""

import copy

import torch
from torch import nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.omiga import regression
from vgm2p.algos.parts import gaussian_nll
from vgm2p.groups import Net, Optim
from vgm2p.nn.mlp import MLP
from vgm2p.nn.value import Critic, Value
from vgm2p.types import Needs, per_seed_mean


class Mine(Algorithm):
    """Q_tot = sum_i w_i(x) q_i(o_i, a_i) + b(x), w_i >= 0; the policy clones with weights exp(w_i (q_i - v_i) / alpha)."""

    supports_discrete = False
    needs = Needs(frozenset({"next_action"}))
    fits = "policy_loss"

    def __init__(
        self,
        spec,
        seeds,
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        history: int = 1,
        gamma: float = 0.99,
        alpha: float = 10.0,
        tau: float = 0.005,
        cap: float = 100.0,
    ):
        super().__init__(spec, seeds, history)
        self.gamma, self.alpha, self.tau, self.cap = gamma, alpha, tau, cap
        S, agents = len(self.seeds), spec.n_agents
        self.policy = MLP((S,), self.id_dim, 2 * spec.action_dim, net)
        self.q = Critic(S, 1, self.id_dim, spec.action_dim, net)
        self.v = Value(S, self.id_dim, net)
        self.mixer = MLP((S,), agents * spec.obs_dim, agents + 1, Net(16, 1))
        self.make_optimiser("policy", [self.policy], optim)
        online = self.make_optimiser("critic", [self.q, self.mixer], optim)
        self.make_optimiser("value", [self.v], optim)
        self.target = copy.deepcopy(nn.ModuleList([self.q, self.mixer]))
        self.follower = self.follow(self.target, online)

    def mix(self, mixer, obs, q):
        """Return Q_tot (S, B) and the weights (S, B, N)."""
        head = mixer(self.joint(obs))
        w, b = head[..., :-1].abs(), head[..., -1]
        return (w * q).sum(-1) + b, w

    def update(self, batch, key):
        (o, next_o), a = self.encode_pair(batch), batch.action
        target_q, target_mixer = self.target
        with torch.no_grad():
            following, _ = self.mix(target_mixer, batch.next_obs, target_q(next_o, batch.next_action)[:, 0])
            y = batch.reward + self.gamma * batch.bootstrap * following
            q_bar = target_q(o, a)[:, 0]
            _, w_bar = self.mix(target_mixer, batch.obs, q_bar)
        q_tot, _ = self.mix(self.mixer, batch.obs, self.q(o, a)[:, 0])
        critic_loss = per_seed_mean(batch.valid * (q_tot - y).square())
        z = w_bar * (q_bar - self.v(o)) / self.alpha
        value_loss = regression(w_bar, q_bar, self.v(o), self.alpha)
        mean, log_std = self.policy(o).chunk(2, -1)
        log_std = log_std.clamp(-5.0, 2.0)
        weight = torch.exp(z.detach()).clamp(max=self.cap)
        policy_loss = per_seed_mean(weight * gaussian_nll(a, mean, log_std).sum(-1))
        for name, loss in (("policy", policy_loss), ("critic", critic_loss), ("value", value_loss)):
            self.minimise(name, loss)
        self.follower.follow(self.tau)
        return {
            "policy_loss": policy_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
        }

    def execute(self, o, legal, key, acting):
        return self.to_action(self.policy(o).chunk(2, -1)[0], legal)
