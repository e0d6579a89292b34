"""VGM2P: Value-Guidance MeanFlow Policy (arXiv 2604.08174; Algorithms 1 and 2, Eq. 9 to 13).

Behaviour cloning with a MeanFlow policy u(a_k, r, k, o, c) under the condition c = 1 ("this action is better than
usual"), judged by a critic whose values are summed over the agents. Flow time: k = 0 data, k = 1 noise. What the paper
leaves open, and what was decided, stands in docs/algorithms/vgm2p.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm, choose
from vgm2p.algos.diagnostics import on_bounds, q_levels, shares
from vgm2p.algos.parts import MIXERS, best_rated, drop_labels, expectile_loss, stack_copies, td_loss
from vgm2p.flows.meanflow import meanflow_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times, point, velocity
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.nn.mlp import Net
from vgm2p.nn.policy import AverageVelocity
from vgm2p.nn.value import Critic, Value
from vgm2p.types import Batch, Randomness, Spec, per_seed_mean

WORSE, BETTER, NULL = 0, 1, 2  # values of the condition c; NULL exists under `uncond: null` only
Info = dict[str, Tensor]
Opinion = Callable[[Tensor], Tensor]
UNCONDITIONAL = {"one": BETTER, "zero": WORSE, "null": NULL}


class VGM2P(Algorithm):
    r"""Critic: min (mean_i Q^i - [r + gamma mean_i Qbar^i(o', a')])^2; policy: min || u - sg[v_g - (k-r) du/dk] ||^2.

    Every argument is a key of `conf/algo/vgm2p.yaml`, which gives its meaning and source.
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
        gamma: float = 0.995,
        tau: float = 0.005,
        n_critics: int = 2,
        critic_depth: int | None = None,
        critic_norm: bool = True,
        mixer: str = "mean",
        omega: float = 3.0,
        guide_class0: bool = True,
        uncond: str = "one",
        label_dropout: float = 0.1,
        advantage: str = "agent",
        threshold: str = "zero",
        baseline: str = "sample",
        baseline_samples: int = 1,
        expectile: float = 0.7,
        td_target: str = "policy",
        times: Times | None = None,
        adaptive_power: float = 0.0,
        ema: float = 0.0,
        steps: int = 1,
        act_noise: float = 1.0,
        act_noise_shared: bool = False,
        best_of: int = 1,
        reward_scale: float = 1.0,
        reuse_q: bool = False,
        bf16_derivative: bool = False,
    ) -> None:

        super().__init__(spec, seeds, history)
        self.gamma, self.tau, self.scale, self.mixer = gamma, tau, reward_scale, choose("mixer", mixer, MIXERS)
        self.omega, self.guide_class0, self.label_dropout = omega, guide_class0, label_dropout
        self.uncond = UNCONDITIONAL[choose("uncond", uncond, UNCONDITIONAL)]
        self.team = choose("advantage", advantage, ("agent", "team")) == "team"
        self.against_value = choose("threshold", threshold, ("zero", "value")) == "value"
        self.in_sample_baseline = choose("baseline", baseline, ("sample", "expectile")) == "expectile"
        self.in_sample_target = choose("td_target", td_target, ("policy", "expectile")) == "expectile"
        self.baseline_samples, self.expectile, self.ema = baseline_samples, expectile, ema
        self.times, self.adaptive_power, self.steps = times or Times(), adaptive_power, steps
        self.act_noise, self.act_noise_shared, self.best_of = act_noise, act_noise_shared, best_of
        self.reuse_q, self.bf16_derivative, self.classes = reuse_q, bf16_derivative, 3 if self.uncond == NULL else 2

        S, layers, options = len(self.seeds), critic_depth or depth, {"clip_norm": clip_norm}
        self.policy = self.make_policy(Net(width, depth))
        online = self.make_optimiser("policy", [self.policy], lr, decay_updates=lr_decay_updates, **options)
        self.critic = Critic(S, n_critics, self.id_dim, spec.action_dim, Net(width, layers), critic_norm)
        online_critic = self.make_optimiser("critic", [self.critic], lr, **options)
        self.target_critic = copy.deepcopy(self.critic)
        self.target = self.follow(self.target_critic, online_critic)
        self.averaged_policy = copy.deepcopy(self.policy) if ema else self.policy
        self.average = self.follow(self.averaged_policy, online) if ema else None
        self.value = None
        if self.in_sample_baseline or self.in_sample_target:
            self.value = Value(S, self.id_dim, Net(width, layers))
            self.make_optimiser("value", [self.value], lr, **options)

    def make_policy(self, net: Net) -> nn.Module:
        """Return the network u(a_k, r, k, o, c)."""
        return AverageVelocity(len(self.seeds), self.id_dim, self.spec.action_dim, self.classes, net)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """One pass through Algorithm 1: critic, condition, policy, target."""
        (oid, next_oid), action = self.encode_pair(batch), self.represent(batch.action)
        if self.value is not None:
            self.minimise("value", self.value_loss(oid, action))
        next_action, baselines = self.imagine(batch, oid, next_oid, key)
        critic_loss, q, critic_info = self.critic_loss(batch, oid, action, next_oid, next_action)
        self.minimise("critic", critic_loss)
        known, opinion = q if self.reuse_q else None, self.second_opinion(batch, oid)
        c, condition_info = self.condition(oid, action, baselines, known, opinion)
        policy_loss, policy_info = self.policy_loss(oid, action, c, key)
        self.minimise("policy", policy_loss)
        self.target.follow(self.tau)
        if self.average is not None:
            self.average.follow(1.0 - self.ema)
        return critic_info | condition_info | policy_info | on_bounds(next_action, self.spec.discrete)

    @torch.no_grad()
    def imagine(self, batch: Batch, oid: Tensor, next_oid: Tensor, key: Randomness) -> tuple[Tensor, Tensor]:
        """Alg. 1 lines 5 and 8, in one pass: a' ~ pi(o', 1) (S, B, N, A), K baselines a^ ~ pi(o, 1) (S, B, K, N, A)."""
        copies = 0 if self.in_sample_baseline else self.baseline_samples
        rows = stack_copies(next_oid, oid, copies)
        legal = None if batch.legal is None else stack_copies(batch.next_legal, batch.legal, copies)
        z = start_noise(key, rows, self.spec.action_dim, 1.0, shared=False, purpose="imagine")
        actions = self.harden(self.sample(self.averaged_policy, z, rows), legal)
        return actions[:, :, 0], actions[:, :, 1:]

    def critic_loss(
        self, batch: Batch, oid: Tensor, action: Tensor, next_oid: Tensor, next_action: Tensor
    ) -> tuple[Tensor, Tensor, Info]:
        """Eq. 13, reward once and bootstrap mask inside (docs/algorithms/vgm2p.md): (S,); Q(o, a) (S, C, B, N)."""
        with torch.no_grad():
            next_value = self.target_critic(next_oid, next_action).mean(1)
            if self.in_sample_target and self.value is not None:
                next_value = self.value(next_oid)
            discounted = self.gamma * batch.bootstrap.unsqueeze(-1) * next_value
        q, reward = self.critic(oid, action), self.scale * batch.reward
        loss = td_loss(q, reward, discounted, batch.valid, self.mixer)
        levels = q_levels(q.detach(), reward, self.gamma * batch.bootstrap, batch.valid)
        return loss, q.detach(), {"critic_loss": loss.detach()} | levels

    def value_loss(self, oid: Tensor, action: Tensor) -> Tensor:
        """Expectile regression of V^i on the target critic (IQL), for `baseline` or `td_target` = expectile: (S,)."""
        assert self.value is not None
        with torch.no_grad():
            q = self.target_critic(oid, action).mean(1)
        return expectile_loss(q - self.value(oid), self.expectile)

    @torch.no_grad()
    def condition(
        self, oid: Tensor, action: Tensor, baselines: Tensor, q: Tensor | None = None, opinion: Opinion | None = None
    ) -> tuple[Tensor, Info]:
        """c^i = 1[A^i >= 0] (Alg. 1 line 9, Sec. 3.3): (S, B, N) int64; q: a known Q(o, a) (S, C, B, N)."""
        adv, value = self.advantage(oid, action, baselines, q)
        if self.team:
            adv, value = (x.mean(-1, keepdim=True).expand_as(x) for x in (adv, value))
        better = adv >= (value if self.against_value else 0.0) if opinion is None else opinion(adv)
        return better.long(), shares(better, adv)

    def second_opinion(self, batch: Batch, oid: Tensor) -> Opinion | None:
        """Return what makes c of advantages, both (S, B, N), in the place of A >= 0; the paper has nothing there."""

    def advantage(self, oid: Tensor, action: Tensor, baselines: Tensor, q: Tensor | None) -> tuple[Tensor, Tensor]:
        """A^i = Q^i(o, a) - V^i, V^i = mean_K Q^i(o, a^) or the expectile value; both (S, B, N)."""
        if self.in_sample_baseline and self.value is not None:
            value, chosen = self.value(oid), self.critic(oid, action) if q is None else q
            return chosen.mean(1) - value, value
        actions = baselines if q is not None else torch.cat([action.unsqueeze(2), baselines], dim=2)
        values = self.critic(oid.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)  # (S, C, B, 1 + K or K, N)
        if q is None:
            q, values = values[:, :, :, 0], values[:, :, :, 1:]
        value = values.mean(3).mean(1)
        return q.mean(1) - value, value

    def policy_loss(self, oid: Tensor, action: Tensor, c: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Eq. 11 per seed (S,) for action vectors (S, B, N, A) and conditions (S, B, N)."""
        k, r = self.times.pair(key, action)
        eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
        a_k = point(action, eps, k)
        c = drop_labels(c, NULL, self.label_dropout, key) if self.uncond == NULL else c
        v_g = self.guide(velocity(action, eps), a_k, k, oid, c)
        rows, u = self.flow_loss(a_k, v_g, k, r, oid, one_hot(c, self.classes, oid.dtype))
        loss = per_seed_mean(rows)
        return loss, {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    @torch.no_grad()
    def guide(self, v: Tensor, a_k: Tensor, k: Tensor, oid: Tensor, c: Tensor) -> Tensor:
        """v_g = omega v + (1 - omega) v(a_k, k, o, uncond) (Eq. 11); rows without guidance keep v."""
        if self.omega == 1.0:
            return v
        guided = torch.lerp(self.marginal(a_k, k, oid, torch.full_like(c, self.uncond)), v, self.omega)
        plain = c == NULL if self.guide_class0 else c != BETTER
        return torch.where(plain.unsqueeze(-1), v, guided)

    # --- what the flow-matching variant replaces -------------------------------------------------------------------
    def marginal(self, a_k: Tensor, k: Tensor, oid: Tensor, c: Tensor) -> Tensor:
        """Return the instantaneous velocity of condition c: u(a_k, k, k, o, c)."""
        return self.policy(a_k, k, k, oid, one_hot(c, self.classes, oid.dtype))

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, oid: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """MeanFlow row losses (S, B, N) and u."""
        power, half = self.adaptive_power, self.bf16_derivative
        return meanflow_loss(self.policy, a_k, v, k, r, oid, c, power, half)  # type: ignore[arg-type]

    def sample(self, net: nn.Module, z: Tensor, oid: Tensor) -> Tensor:
        """Eq. 12 under c = 1: z - u(z, 0, 1, o, 1) (one step)."""
        better = torch.full(oid.shape[:-1], BETTER, device=oid.device)
        return meanflow_sample(net, z, oid, one_hot(better, self.classes, oid.dtype), self.steps)

    def execute(self, oid: Tensor, legal: Tensor | None, key: Randomness) -> Tensor:
        """Algorithm 2; with `best_of` n each agent keeps the candidate that its own Q^i rates highest."""
        oid = oid.unsqueeze(2).expand(-1, -1, self.best_of, -1, -1)  # (S, E, n, N, O)
        z = start_noise(key, oid, self.spec.action_dim, self.act_noise, self.act_noise_shared)
        actions = self.harden(self.sample(self.averaged_policy, z, oid), None if legal is None else legal.unsqueeze(2))
        chosen = actions[:, :, 0] if self.best_of == 1 else best_rated(actions, self.critic(oid, actions).mean(1))
        return self.decide(chosen)
