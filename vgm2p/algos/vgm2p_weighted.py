r"""VGM2P with the exponential condition of Eq. 9: one weighted clone in place of two classes. Not in the paper.

Eq. 9 gives an action the condition c = 1 with probability exp((Q - max Q) / lambda). The policy of class 1 is then
mu(a | o) exp(Q / lambda) / Z. Here it is learnt alone, as a weighted clone of the data. Its weight has two factors: the
return of the episode, exp(R / T), which is drawn and not weighed, and the advantage of the action, exp(kappa z). One
number, the effective sample size `ess`, gives T and kappa. docs/algorithms/vgm2p_weighted.md derives both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vgm2p.algos.diagnostics import deviation
from vgm2p.algos.realised import RealisedJudge, fields
from vgm2p.algos.stages import JudgeSettings, stage
from vgm2p.algos.verdict import SPREAD_RATE, Judging
from vgm2p.errors import ConfigError
from vgm2p.flows.head import Predict
from vgm2p.flows.meanflow import cloning_rows, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import AverageVelocity
from vgm2p.seeds import broadcast
from vgm2p.types import Acting, Batch, Randomness, Spec, Survey, has_choice, per_seed_mean

Info = dict[str, Tensor]


class VGM2PWeighted(Judging):
    r"""min E_{(o, a) ~ exp(R / T)} [w^i || u - sg[v - (k - r) du/dk] ||^2], w^i = exp(kappa z^i) / mean.

    z^i is the standardised advantage of the stored action, by a judge of realised returns that never learnt from its
    episode. kappa = trust sqrt(ln(1 / ess)): trust is the judge's correlation with what happened, in [0, 1].

    Every argument is a key of `conf/algo/vgm2p_weighted.yaml`. Raises ConfigError if `ess` or `trust` is out of range,
    or if the learning rate decays to 0 before the policy's first step.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        judge: JudgeSettings = JudgeSettings(),
        history: int = 1,
        gamma: float = 0.995,
        ess: float = 0.1,
        trust: float | None = None,
        predict: Predict = "x",
        times: Times = Times(),
        acting: Acting = Acting(),
    ) -> None:
        if not 0.0 < ess <= 1.0:
            raise ConfigError(f"algo.ess must be above 0 and at most 1, got {ess}; 1 draws all steps alike")
        if trust is not None and not 0.0 <= trust <= 1.0:
            raise ConfigError(f"algo.trust must lie between 0 and 1, got {trust}; null measures it")
        super().__init__(spec, seeds, history)
        self.needs = replace(self.needs, fields=fields(spec, halves=True), by_return=ess)
        self.gamma, self.times = gamma, self.predict_by(predict, times)
        self.act_by(acting)
        self.policy = AverageVelocity(len(self.seeds), self.id_dim, spec.action_dim, 0, net, head=self.head)
        self.make_optimiser("policy", [self.policy], stage(optim, judge.updates))
        self.judge = RealisedJudge(self, net, optim, judge, halves=True)
        self.warm_up, self.sharpness, self.measures_trust = judge.updates, math.sqrt(math.log(1.0 / ess)), trust is None
        self.register_buffer("trust", torch.full((len(self.seeds),), 0.0 if trust is None else trust))
        self.trust: Tensor

    def survey(self, survey: Survey) -> None:
        """Store the scale of the returns, too."""
        super().survey(survey)
        self.judge.survey(survey)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Take a step of the judge on the rows drawn all alike, and one of the policy on those drawn by return."""
        o, alike = self.encode(batch.obs, self.past(batch)), batch.obs.shape[1] // 2
        usual = self.usual(batch, o, key)
        _, judge_info = self.judge.learn(self, batch.first(alike), o[:, :alike], usual[:, :alike])
        self.measure(judge_info["effect_correlation"])
        batch, o = batch.after(alike), o[:, alike:]
        weight, weight_info = self.weights(batch, o, usual[:, alike:])
        policy_loss, policy_info = self.policy_loss(o, self.represent(batch.action), weight, key, batch.legal)
        self.minimise("policy", policy_loss, self.clock >= self.warm_up)
        return judge_info | self.noted(weight_info) | policy_info

    @torch.no_grad()
    def usual(self, batch: Batch, o: Tensor, key: Randomness) -> Tensor:
        """Return an action of the policy, or its probabilities if it has them: (S, B, N, A) (Alg. 1 line 8)."""
        z = start_noise(key, o, self.spec.action_dim, Acting(), purpose="imagine")
        x = meanflow_sample(self.policy, z, o, None, 1, batch.legal)
        return x if self.has_probabilities else self.to_action(x, batch.legal)

    @torch.no_grad()
    def measure(self, correlation: Tensor) -> None:
        """Move `trust` towards the judge's correlation with the residuals of episodes that it never learnt from."""
        if self.measures_trust:
            rate = (1.0 / (self.clock + 1).to(self.trust.dtype)).clamp(min=SPREAD_RATE)
            self.trust.lerp_(correlation.clamp(min=0.0).to(self.trust.dtype), rate)

    @torch.no_grad()
    def weights(self, batch: Batch, o: Tensor, usual: Tensor) -> tuple[Tensor, Info]:
        """Return exp(kappa z) over its mean, for the rows with a choice, else 0: (S, B, N), and diagnostics."""
        adv = self.judge.verdict(self, batch, o, usual)
        choice = has_choice(batch.legal)
        std = deviation(adv, choice)
        kappa = self.trust.to(adv.dtype) * self.sharpness
        logits = adv * broadcast(kappa / std.clamp(min=1e-8), adv)
        if choice is not None:
            logits = logits.masked_fill(~choice, torch.finfo(adv.dtype).min)
        weight = torch.exp(logits - broadcast(logits.flatten(1).amax(1), logits))
        if choice is not None:
            weight = weight * choice
        weight = weight / broadcast(per_seed_mean(weight, choice).clamp(min=1e-8), weight)
        info = {"trust": self.trust.clone(), "adv_std": std, "weight_max": weight.flatten(1).amax(1)}
        return weight, info | {"ess": 1.0 / per_seed_mean(weight.square(), choice).clamp(min=1e-8)}

    def policy_loss(
        self, o: Tensor, action: Tensor, weight: Tensor, key: Randomness, legal: Tensor | None = None
    ) -> tuple[Tensor, Info]:
        """Eq. 10 per seed (S,) with weights (S, B, N), and diagnostics."""
        rows, u = cloning_rows(self.policy, action, o, self.times, key, legal=legal)
        loss = per_seed_mean(weight * rows, has_choice(legal))
        return loss, {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Alg. 2: map noise to an action in one pass, then clip (discrete: legal argmax)."""
        z = start_noise(key, o, self.spec.action_dim, acting)
        x = self.weighed(meanflow_sample(self.policy, z, o, None, acting.passes, legal), o, legal, acting)
        return self.decide(x, legal, key, acting)

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return A(o, a) of both networks: (S, 2, ..., N)."""
        return self.judge.rate(o, action)

    def rate_all(self, o: Tensor) -> Tensor:
        """Return the mean A(o, .) of all discrete actions, in one pass: (S, ..., N, A)."""
        every: Tensor = self.judge.effect(o)
        return every.mean(1)
