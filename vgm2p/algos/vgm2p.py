"""VGM2P: Value-Guidance MeanFlow Policy (arXiv 2604.08174; Algorithms 1 and 2, Eq. 9 to 13).

A MeanFlow policy u(a_k, r, k, o, c) clones the data under a condition c, and acts with c = 1: "this action is better
than usual". A critic, whose values are mixed over the agents, decides which actions are better. Flow time: k = 0 is
data, k = 1 is noise. docs/algorithms/vgm2p.md tells what the paper leaves open and what we chose.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from vgm2p.algos.diagnostics import on_bounds, q_levels, shares
from vgm2p.algos.parts import CriticSettings, Mixer, stack_copies, td_loss
from vgm2p.algos.verdict import Baseline, Judging, against_expectation, against_samples, baseline_of
from vgm2p.flows.head import Predict
from vgm2p.flows.meanflow import meanflow_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times, point, velocity
from vgm2p.groups import Net, Optim
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.nn.policy import AverageVelocity
from vgm2p.nn.value import Critic
from vgm2p.types import Acting, Batch, Randomness, Spec, has_choice, per_seed_mean

WORSE, BETTER = 0, 1  # values of the condition c
Info = dict[str, Tensor]
Loss = tuple[Tensor, Info]  # of each seed (S,), and diagnostics
Rows = tuple[Tensor, Tensor]  # row losses (S, B, N), and the predicted velocities (S, B, N, A)
Legal = Tensor | None  # (S, ..., N, A) bool for discrete actions


class VGM2P(Judging):
    r"""Critic: min (mean_i Q^i - [r + gamma mean_i Qbar^i(o', a')])^2; policy: min || u - sg[v_g - (k-r) du/dk] ||^2.

    Every argument is a key of `conf/algo/vgm2p.yaml`, which gives its meaning and source. `VGM2PSwitches` has more.
    """

    classes = 2

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(),
        history: int = 1,
        gamma: float = 0.995,
        mixer: Mixer = "mean",
        omega: float = 3.0,
        advantage: Literal["agent", "team"] = "agent",
        threshold: Literal["zero", "value"] = "zero",
        baseline_samples: Baseline = 1,
        times: Times = Times(),
        predict: Predict | None = "v",
        acting: Acting = Acting(),
    ) -> None:
        super().__init__(spec, seeds, history)
        self.gamma, self.mixer, self.omega, self.times = gamma, mixer, omega, self.predict_by(predict, times)
        self.team, self.against_value = advantage == "team", threshold == "value"
        self.baseline_samples, self.exact = baseline_of(baseline_samples, self.has_probabilities)
        self.act_by(acting)
        self.policy = self.make_policy(net)
        self.make_optimiser("policy", [self.policy], optim)
        self.make_judge(net, optim, critic)

    def make_judge(self, net: Net, optim: Optim, critic: CriticSettings) -> None:
        """Make what judges actions: the critic, and its target."""
        self.tau, self.reward_scale = critic.tau, critic.reward_scale
        size, widths = replace(net, depth=critic.depth or net.depth), (self.id_dim, self.spec.action_dim)
        self.critic = Critic(len(self.seeds), critic.members, *widths, size, critic.layer_norm)
        online = self.make_optimiser("critic", [self.critic], replace(optim, decay_updates=None))
        self.target_critic = copy.deepcopy(self.critic)
        self.target = self.follow(self.target_critic, online)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Do one gradient step of Algorithm 1."""
        (o, next_o), action = self.encode_pair(batch), self.represent(batch.action)
        next_action, baselines = self.imagine(batch, o, next_o, key)  # lines 5 and 8
        critic_loss, q, critic_info = self.critic_loss(batch, o, action, next_o, next_action)
        self.minimise("critic", critic_loss)  # Eq. 13
        c, condition_info = self.condition(batch, o, action, baselines, q)  # line 9
        policy_loss, policy_info = self.policy_loss(o, action, c, key, batch.legal)
        self.minimise("policy", policy_loss)  # line 10, Eq. 11
        self.target.follow(self.tau)
        return critic_info | condition_info | policy_info | on_bounds(next_action, self.spec.discrete)

    @torch.no_grad()
    def imagine(self, batch: Batch, o: Tensor, next_o: Tensor, key: Randomness) -> tuple[Tensor, Tensor]:
        """Alg. 1 lines 5 and 8, in one pass: a' ~ pi(o', 1) (S, B, N, A), K baselines a^ ~ pi(o, 1) (S, B, K, N, A).

        With an exact baseline, the probabilities pi(. | o, 1) of one pass take the place of the K baselines: K = 1.
        """
        rows = stack_copies(next_o, o, self.baseline_samples)
        legal = None if batch.legal is None else stack_copies(batch.next_legal, batch.legal, self.baseline_samples)
        z = start_noise(key, rows, self.spec.action_dim, Acting(), purpose="imagine")
        assert self.acting is not None
        if self.exact:
            p = self.sample(z[:, :, 1:], rows[:, :, 1:], 1, None if legal is None else legal[:, :, 1:])
            x = self.sample(z[:, :, 0], next_o, self.acting.steps, batch.next_legal)
            return self.to_action(x, batch.next_legal), p
        actions = self.to_action(self.sample(z, rows, self.acting.steps, legal), legal)
        return actions[:, :, 0], actions[:, :, 1:]

    def critic_loss(
        self, batch: Batch, o: Tensor, action: Tensor, next_o: Tensor, next_action: Tensor
    ) -> tuple[Tensor, Tensor, Info]:
        """Return the loss (S,) of Eq. 13 with a bootstrap mask (docs/algorithms/vgm2p.md), and Q(o, a) (S, C, B, N)."""
        with torch.no_grad():
            discounted = self.gamma * batch.bootstrap.unsqueeze(-1) * self.next_value(next_o, next_action)
        q, reward = self.critic(o, action), self.reward_scale * batch.reward
        loss = td_loss(q, reward, discounted, batch.valid, self.mixer)
        levels = q_levels(q.detach(), self.mixer, reward, self.gamma * batch.bootstrap, batch.valid)
        return loss, q.detach(), {"critic_loss": loss.detach()} | levels

    def next_value(self, next_o: Tensor, next_action: Tensor) -> Tensor:
        """Return Qbar^i(o', a'), the mean of the target critic's members (Eq. 13): (S, B, N)."""
        q: Tensor = self.target_critic(next_o, next_action)
        return q.mean(1)

    def condition(self, batch: Batch, o: Tensor, action: Tensor, baselines: Tensor, q: Tensor) -> tuple[Tensor, Info]:
        """c^i = 1[A^i >= 0] (Eq. 9 in the form of Alg. 1 line 9 and Sec. 3.3): (S, B, N) int64, and diagnostics."""
        adv, value = self.advantage(o, action, baselines, q)
        self.note(adv, has_choice(batch.legal))
        if self.team:
            adv, value = (x.mean(-1, keepdim=True).expand_as(x) for x in (adv, value))
        better = self.is_better(batch, o, adv, value)
        return better.long(), shares(better, adv, has_choice(batch.legal))

    @torch.no_grad()
    def advantage(self, o: Tensor, action: Tensor, baselines: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """A^i = Q^i(o, a) - V^i with V^i = mean_K Q^i(o, a^) (Alg. 1 line 8); returns A and V, both (S, B, N).

        With an exact baseline, V^i = sum_a pi(a | o, 1) Q^i(o, a). Q is the critic after its step of this update. `q`
        (S, C, B, N) is Q(o, a) before this step; not used here.
        """
        if self.exact:
            return against_expectation(self.rate_all(o), action, baselines[:, :, 0])
        return against_samples(self.rate, o, action, baselines)

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return the verdict on actions (S, ..., N, A), here Q^i(o, a) of every member: (S, C, ..., N)."""
        q: Tensor = self.critic(o, action)
        return q

    def is_better(self, batch: Batch, o: Tensor, adv: Tensor, value: Tensor) -> Tensor:
        """Return A >= 0 (Sec. 3.3), or A >= V (Alg. 1 line 9 as printed): (S, B, N) bool."""
        return adv >= (value if self.against_value else 0.0)

    def policy_loss(self, o: Tensor, action: Tensor, c: Tensor, key: Randomness, legal: Legal = None) -> Loss:
        """Eq. 11 per seed (S,), and diagnostics, for action vectors, legal (S, B, N, A) and conditions (S, B, N)."""
        k, r = self.times.pair(key, action)
        eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
        a_k, v = point(action, eps, k), velocity(action, eps)  # (1 - k) a + k eps, eps - a
        v_g = self.guide(v, a_k, k, o, c, legal)
        rows, u = self.flow_loss(a_k, v_g, k, r, o, one_hot(c, self.classes, o.dtype), legal)
        loss = per_seed_mean(rows, has_choice(legal))
        return loss, {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    @torch.no_grad()
    def guide(self, v: Tensor, a_k: Tensor, k: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Tensor:
        """v_g = omega v + (1 - omega) u(a_k, k, k, o, 1) (Eq. 11)."""
        if self.omega == 1.0:
            return v
        return torch.lerp(self.marginal(a_k, k, o, torch.full_like(c, BETTER), legal), v, self.omega)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Algorithm 2: map noise to an action vector under c = 1, then clip (discrete: legal argmax)."""
        z = start_noise(key, o, self.spec.action_dim, acting)
        x = self.weighed(self.sample(z, o, acting.passes, legal), o, legal, acting)
        return self.decide(x, legal, key, acting)

    # --- what the flow-matching variant replaces -------------------------------------------------------------------
    def make_policy(self, net: Net) -> nn.Module:
        """Return the network u(a_k, r, k, o, c)."""
        return AverageVelocity(len(self.seeds), self.id_dim, self.spec.action_dim, self.classes, net, head=self.head)

    def marginal(self, a_k: Tensor, k: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Tensor:
        """Return the instantaneous velocity of condition c: u(a_k, k, k, o, c)."""
        v: Tensor = self.policy(a_k, k, k, o, one_hot(c, self.classes, o.dtype), legal)
        return v

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Rows:
        """|| u - sg[v_g - (k - r) du/dk] ||^2 (Eq. 11) per row (S, B, N), and u (S, B, N, A)."""
        return meanflow_loss(self.policy, a_k, v, k, r, o, c, legal=legal)  # type: ignore[arg-type]

    def sample(self, z: Tensor, o: Tensor, steps: int, legal: Legal = None) -> Tensor:
        """Eq. 12 under c = 1; with one step z - u(z, 0, 1, o, 1): (S, ..., A)."""
        return meanflow_sample(self.policy, z, o, self.class_one(o), steps, legal)

    def class_one(self, o: Tensor) -> Tensor:
        """Return the one-hot condition 1 for o (S, ..., O): (S, ..., classes)."""
        return one_hot(torch.full(o.shape[:-1], BETTER, device=o.device), self.classes, o.dtype)
