"""VGM2P with a judge of realised returns in place of a bootstrapped critic (docs/algorithms/vgm2p_realised.md).

Not the paper's algorithm. Condition: c^i = 1[A(o^i, a^i) >= E_pi A(o^i, .)]. A, the effect of an agent's action, is the
regression of what the recorded team gained in that step (`realised.py`). Policy, guidance and execution are VGM2P's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vgm2p.algos.parts import CriticSettings
from vgm2p.algos.realised import JudgeSettings, RealisedJudge, fields, stage
from vgm2p.algos.verdict import Baseline
from vgm2p.algos.vgm2p import VGM2P, Info
from vgm2p.flows.head import Predict
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.nn.mlp import Net
from vgm2p.optim import Optim
from vgm2p.types import Acting, Batch, Randomness, Spec, Survey

SAMPLES = 4  # baseline samples where the network has no probabilities


class VGM2PRealised(VGM2P):
    r"""V: min (G - V(s))^2; A: min (A(o^i, a^i) - delta)^2, delta = r + gamma V(s') - V(s); policy: VGM2P's Eq. 11.

    Every argument is a key of `conf/algo/vgm2p_realised.yaml`. Raises ConfigError if the learning rate decays to 0
    before the policy's first step.
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
        omega: float = 1.0,
        baseline_samples: Baseline | None = None,
        times: Times = Times(),
        predict: Predict | None = "v",
        acting: Acting = Acting(),
    ) -> None:
        if baseline_samples is None:
            baseline_samples = "exact" if spec.discrete and predict != "v" else SAMPLES
        super().__init__(
            spec,
            seeds,
            net=net,
            optim=stage(optim, judge.updates),
            history=history,
            gamma=gamma,
            omega=omega,
            baseline_samples=baseline_samples,
            times=times,
            predict=predict,
            acting=acting,
        )
        self.needs = replace(self.needs, fields=fields(spec))
        self.judge = RealisedJudge(self, net, optim, judge)
        self.before = judge.updates

    def make_judge(self, net: Net, optim: Optim, critic: CriticSettings) -> None:
        """Make no critic."""

    def survey(self, survey: Survey) -> None:
        """Store the scale of the returns, too."""
        super().survey(survey)
        self.judge.survey(survey)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Take a step of V, of A, and of the policy, each if its turn has come."""
        o, action = self.encode(batch.obs, self.past(batch)), self.represent(batch.action)
        effect, judge_info = self.judge.learn(self, batch, o)
        c, condition_info = self.condition(batch, o, action, self.baselines(batch, o, key), effect.unsqueeze(1))
        policy_loss, policy_info = self.policy_loss(o, action, c, key, batch.legal)
        self.minimise("policy", policy_loss, self.clock >= self.before)
        return judge_info | condition_info | policy_info

    @torch.no_grad()
    def baselines(self, batch: Batch, o: Tensor, key: Randomness) -> Tensor:
        """Return K actions of the policy, or, for an exact baseline, its probabilities (K = 1): (S, B, K, N, A)."""
        assert self.acting is not None
        rows = o.unsqueeze(2).expand(-1, -1, self.baseline_samples, -1, -1)
        legal = None if batch.legal is None else batch.legal.unsqueeze(2)
        z = start_noise(key, rows, self.spec.action_dim, Acting(), purpose="imagine")
        x = self.sample(z, rows, 1 if self.exact else self.acting.steps, legal)
        return x if self.exact else self.to_action(x, legal)

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return A(o, a): (S, 1, ..., N)."""
        return self.judge.rate(o, action)

    def rate_all(self, o: Tensor) -> Tensor:
        """Return A(o, .) of all discrete actions, in one pass: (S, ..., N, A)."""
        every: Tensor = self.judge.effect(o)
        return every.mean(1)
