"""VGM2P with switches that the paper does not have. With every switch off, it is the paper's update.

The condition: class 1 holds the actions of the better episodes, except those that the critic rates clearly worse than
usual. `judge` can replace the critic's advantage by the outcome of the stored action, or add it. The outcome is the
return-to-go minus an expectile of the returns-to-go from this observation (docs/algorithms/vgm2p.md).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from vgm2p.algos.parts import CriticSettings, best_rated, drop_labels, expectile_loss, unit
from vgm2p.algos.vgm2p import BETTER, VGM2P, WORSE, Info, Legal, Loss, Rows
from vgm2p.errors import ConfigError
from vgm2p.flows.meanflow import meanflow_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.groups import Net, Optim
from vgm2p.nn.value import Value
from vgm2p.types import Acting, Batch, Randomness, has_choice, per_seed_mean

NULL = 2  # value of c that means "no condition"; it exists only with `uncond: null`
UNCONDITIONAL = {"one": BETTER, "zero": WORSE, "null": NULL}


class VGM2PSwitches(VGM2P):
    """Condition: c = 1[A >= -margin * std(A)] * 1[the episode is among the best `best_share`].

    `conf/algo/vgm2p_switches.yaml` lists every switch and its source. Raises ConfigError if switches contradict.
    """

    rates_candidates = True

    def __init__(
        self,
        *task: Any,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(),
        best_share: float = 1.0,
        margin: float = 0.0,
        class0_weight: float = 1.0,
        judge: Literal["critic", "return", "both"] = "critic",
        return_expectile: float = 0.7,
        baseline: Literal["sample", "expectile"] = "sample",
        td_target: Literal["policy", "expectile"] = "policy",
        expectile: float = 0.7,
        uncond: Literal["one", "zero", "null"] = "one",
        label_dropout: float = 0.1,
        guide_class0: bool = True,
        adaptive_power: float = 0.0,
        ema: float = 0.0,
        reuse_q: bool = False,
        bf16_derivative: bool = False,
        **of_the_paper: Any,
    ) -> None:
        super().__init__(*task, net=net, optim=optim, critic=critic, **of_the_paper)
        self.best_share, self.margin, self.class0_weight = best_share, margin, class0_weight
        self.judge, self.return_expectile, self.expectile = judge, return_expectile, expectile
        self.in_sample_baseline, self.in_sample_target = baseline == "expectile", td_target == "expectile"
        self.uncond, self.label_dropout, self.guide_class0 = UNCONDITIONAL[uncond], label_dropout, guide_class0
        self.adaptive_power, self.ema = adaptive_power, ema
        self.reuse_q, self.bf16_derivative = reuse_q, bf16_derivative
        self._refuse_contradictions()
        episodes = {"episode_rank"} if best_share < 1.0 else set()
        outcomes = {"return_to_go"} if judge != "critic" else set()
        self.needs = replace(self.needs, fields=frozenset(episodes | outcomes))
        if self.in_sample_baseline:
            self.baseline_samples, self.exact = 0, False
        if self.uncond == NULL:
            self.classes = 3
            self.policy = self.make_policy(net)
            self.make_optimiser("policy", [self.policy], optim)
        self.averaged_policy = copy.deepcopy(self.policy) if ema else self.policy
        self.average = self.follow(self.averaged_policy, self.optimisers["policy"]) if ema else None
        size, steady = replace(net, depth=critic.depth or net.depth), replace(optim, decay_updates=None)
        self.value: Value | None = None
        if self.in_sample_baseline or self.in_sample_target:
            self.value = Value(len(self.seeds), self.id_dim, size, critic.layer_norm)
            self.make_optimiser("value", [self.value], steady)
        self.usual: Value | None = None
        if judge != "critic":
            self.usual = Value(len(self.seeds), self.id_dim, size, critic.layer_norm)
            self.make_optimiser("usual", [self.usual], steady)

    def _refuse_contradictions(self) -> None:
        if not 0.0 < self.best_share <= 1.0:
            raise ConfigError(f"algo.best_share must be above 0 and at most 1, got {self.best_share}")
        if not 0.0 <= self.class0_weight <= 1.0:
            raise ConfigError(f"algo.class0_weight must lie between 0 and 1, got {self.class0_weight}")
        if self.class0_weight == 0.0 and self.uncond == WORSE and self.omega != 1.0:
            raise ConfigError(
                "algo.uncond=zero guides by class 0, which algo.class0_weight=0 does not train; set one of them"
            )
        if self.reuse_q and self.exact and not self.in_sample_baseline:
            raise ConfigError("algo.reuse_q=true needs sampled actions: set algo.baseline_samples to a number")
        if self.against_value and (self.margin != 0.0 or self.judge != "critic"):
            raise ConfigError("algo.threshold=value compares A with V; set algo.margin=0 and algo.judge=critic")

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Do a step of V(o), then one of Algorithm 1, then a Polyak step of the averaged policy."""
        if self.value is not None:
            o, action = self.encode(batch.obs, self.past(batch)), self.represent(batch.action)
            self.minimise("value", self.value_loss(self.value, o, action))
        info = super().update(batch, key)
        if self.average is not None:
            self.average.follow(1.0 - self.ema)
        return info

    def value_loss(self, value: Value, o: Tensor, action: Tensor) -> Tensor:
        """Expectile regression of V^i to the target critic (IQL), if `baseline` or `td_target` is expectile: (S,)."""
        with torch.no_grad():
            q = self.target_critic(o, action).mean(1)
        return expectile_loss(q - value(o), self.expectile)

    def next_value(self, next_o: Tensor, next_action: Tensor) -> Tensor:
        """Qbar^i(o', a'), or the in-sample V^i(o'): (S, B, N)."""
        if self.in_sample_target and self.value is not None:
            v: Tensor = self.value(next_o)
            return v
        return super().next_value(next_o, next_action)

    @torch.no_grad()
    def advantage(self, o: Tensor, action: Tensor, baselines: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^i, V^i (S, B, N); `reuse_q`: Q(o, a) before the critic's step; `baseline=expectile`: learnt V^i."""
        if self.in_sample_baseline and self.value is not None:
            value = self.value(o)
            return (q if self.reuse_q else self.critic(o, action)).mean(1) - value, value
        if not self.reuse_q:
            return super().advantage(o, action, baselines, q)
        value = self.critic(o.unsqueeze(2).expand(*baselines.shape[:-1], -1), baselines).mean(3).mean(1)
        return q.mean(1) - value, value

    def is_better(self, batch: Batch, o: Tensor, adv: Tensor, value: Tensor) -> Tensor:
        """Return the judge's decision, False outside the best episodes: (S, B, N) bool. Also trains V_G one step."""
        if self.against_value or (self.margin == 0.0 and self.judge == "critic"):
            better = super().is_better(batch, o, adv, value)
        else:
            better = unit(self.judged(batch, o, adv), has_choice(batch.legal)) >= -self.margin
        if self.best_share == 1.0:
            return better
        assert batch.episode_rank is not None, "the batch lacks a field of `needs`"
        return better & (batch.episode_rank > 1.0 - self.best_share).unsqueeze(-1)

    def judged(self, batch: Batch, o: Tensor, adv: Tensor) -> Tensor:
        """Return the judge's score (S, B, N): A_Q, or A_G, or A_Q / std(A_Q) + A_G / std(A_G)."""
        if self.usual is None:
            return adv
        outcome, choice = self.learn_outcome(batch, o, self.usual), has_choice(batch.legal)
        return outcome if self.judge == "return" else unit(adv, choice) + unit(outcome, choice)

    def learn_outcome(self, batch: Batch, o: Tensor, usual: Value) -> Tensor:
        """Do one step of V_G, the expectile of the returns-to-go. Return A_G (S, B, N) from before this step."""
        assert batch.return_to_go is not None, "the batch lacks a field of `needs`"
        paid = (1.0 - self.gamma) * batch.return_to_go.unsqueeze(-1)  # on the scale of one reward: V_G learns faster
        error = paid - usual(o)
        self.minimise("usual", expectile_loss(error, self.return_expectile))
        outcome: Tensor = error.detach()
        return outcome.mean(-1, keepdim=True).expand_as(outcome) if self.team else outcome

    def policy_loss(self, o: Tensor, action: Tensor, c: Tensor, key: Randomness, legal: Legal = None) -> Loss:
        """Eq. 11; with `uncond: null`, a share of the conditions is first replaced by NULL (CFGRL)."""
        if self.uncond == NULL:
            c = drop_labels(c, NULL, self.label_dropout, key)
        return super().policy_loss(o, action, c, key, legal)

    @torch.no_grad()
    def guide(self, v: Tensor, a_k: Tensor, k: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Tensor:
        """v_g = omega v + (1 - omega) u(a_k, k, k, o, uncond); rows without guidance keep v."""
        if self.omega == 1.0:
            return v
        guided = torch.lerp(self.marginal(a_k, k, o, torch.full_like(c, self.uncond), legal), v, self.omega)
        plain = c == NULL if self.guide_class0 else c != BETTER
        return torch.where(plain.unsqueeze(-1), v, guided)

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Rows:
        """Row losses (S, B, N) and u; class 0 has a smaller weight, and the mean over the rows with a choice is 1."""
        power, half, choice = self.adaptive_power, self.bf16_derivative, has_choice(legal)
        rows, u = meanflow_loss(self.policy, a_k, v, k, r, o, c, power, half, legal)  # type: ignore[arg-type]
        weight = (1.0 - (1.0 - self.class0_weight) * c[..., WORSE]) * (1.0 if choice is None else choice)
        mean = per_seed_mean(weight, choice).clamp(min=torch.finfo(rows.dtype).tiny)  # 0 if no row has a weight
        return rows * (weight / mean.reshape(-1, 1, 1)), u

    def sample(self, z: Tensor, o: Tensor, steps: int, legal: Legal = None) -> Tensor:
        """Eq. 12 under c = 1, by the averaged policy if there is one."""
        return meanflow_sample(self.averaged_policy, z, o, self.class_one(o), steps, legal)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Algorithm 2; with `best_of` = n, each agent takes the one of n candidates that its own Q^i rates highest."""
        o = o.unsqueeze(2).expand(-1, -1, acting.best_of, -1, -1)  # (S, E, n, N, O)
        z = start_noise(key, o, self.spec.action_dim, acting)
        legal = None if legal is None else legal.unsqueeze(2)
        p = self.weighed(self.sample(z, o, acting.passes, legal), o, legal, acting)
        actions = self.represent(self.decide(p, legal, key, acting))
        chosen = actions[:, :, 0] if acting.best_of == 1 else best_rated(actions, self.critic(o, actions).mean(1))
        return self.to_env(chosen)
