"""VGM2P with a judge of realised returns in place of a bootstrapped critic (docs/algorithms/vgm2p_realised.md).

Not the paper's algorithm. Condition: c^i = 1[A(o^i, a^i) >= E_mu A(o^i, .)]. A, the effect of an agent's action, is the
regression of what the recorded team gained in that step (`realised.py`). mu is the clone of the data: the same network
under a third condition. Policy, guidance and execution are VGM2P's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vgm2p.algos.parts import CriticSettings, drop_labels
from vgm2p.algos.realised import JudgeSettings, RealisedJudge, fields, stage
from vgm2p.algos.verdict import Baseline
from vgm2p.algos.vgm2p import VGM2P, Info, Legal, Loss
from vgm2p.errors import ConfigError
from vgm2p.flows.head import Predict
from vgm2p.flows.meanflow import meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.fast.kernels import one_hot
from vgm2p.types import Acting, Batch, Randomness, Spec, Survey

ANY = 2  # value of the condition of all actions: under it, the policy is the clone of the data
SAMPLES = 4  # baseline samples where the network has no probabilities


class VGM2PRealised(VGM2P):
    r"""V: min (G - V(s))^2; A: min (A(o^i, a^i) - delta)^2, delta = r + gamma V(s') - V(s); policy: VGM2P's Eq. 11.

    Every argument is a key of `conf/algo/vgm2p_realised.yaml`. Raises ConfigError if the learning rate decays to 0
    before the policy's first step, or if `label_dropout` or `policy_rows` is out of range.
    """

    classes = 3

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
        policy_rows: int | None = None,
        label_dropout: float = 0.1,
        baseline_samples: Baseline | None = None,
        times: Times = Times(),
        predict: Predict | None = "v",
        acting: Acting = Acting(),
    ) -> None:
        if not 0.0 < label_dropout < 1.0:
            raise ConfigError(f"algo.label_dropout must lie between 0 and 1, got {label_dropout}: it trains the clone")
        if policy_rows is not None and policy_rows < 1:
            raise ConfigError(f"algo.policy_rows must be at least 1, got {policy_rows}; null takes all rows of a batch")
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
        self.start_judge(net, optim, judge)
        self.warm_up, self.policy_rows, self.label_dropout = judge.updates, policy_rows, label_dropout

    def make_judge(self, net: Net, optim: Optim, critic: CriticSettings) -> None:
        """Make no critic."""

    def start_judge(self, net: Net, optim: Optim, settings: JudgeSettings) -> None:
        """Make the judge, and ask for the fields that it reads."""
        self.needs = replace(self.needs, fields=fields(self.spec))
        self.judge = RealisedJudge(self, net, optim, settings)

    def survey(self, survey: Survey) -> None:
        """Store the scale of the returns, too."""
        super().survey(survey)
        self.judge.survey(survey)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Take a step of V, of A, and of the policy, each if its turn has come."""
        o = self.encode(batch.obs, self.past(batch))
        effect, judge_info = self.judge.learn(self, batch, o)
        if self.policy_rows is not None:  # rows are independent draws: the first ones are as good as any
            batch, o, effect = batch.first(self.policy_rows), o[:, : self.policy_rows], effect[:, : self.policy_rows]
        action = self.represent(batch.action)
        c, condition_info = self.condition(batch, o, action, self.baselines(batch, o, key), effect.unsqueeze(1))
        policy_loss, policy_info = self.policy_loss(o, action, c, key, batch.legal)
        self.minimise("policy", policy_loss, self.clock >= self.warm_up)
        return judge_info | condition_info | policy_info

    @torch.no_grad()
    def baselines(self, batch: Batch, o: Tensor, key: Randomness) -> Tensor:
        """Return K actions of the clone, or, for an exact baseline, its probabilities (K = 1): (S, B, K, N, A)."""
        assert self.acting is not None
        rows = o.unsqueeze(2).expand(-1, -1, self.baseline_samples, -1, -1)
        legal = None if batch.legal is None else batch.legal.unsqueeze(2)
        z = start_noise(key, rows, self.spec.action_dim, Acting(), purpose="imagine")
        clone = one_hot(torch.full(rows.shape[:-1], ANY, device=o.device), self.classes, o.dtype)
        x = meanflow_sample(self.policy, z, rows, clone, 1 if self.exact else self.acting.steps, legal)
        return x if self.exact else self.to_action(x, legal)

    def policy_loss(self, o: Tensor, action: Tensor, c: Tensor, key: Randomness, legal: Legal = None) -> Loss:
        """Eq. 11, after a share of the conditions was replaced by ANY (CFGRL)."""
        return super().policy_loss(o, action, drop_labels(c, ANY, self.label_dropout, key), key, legal)

    @torch.no_grad()
    def guide(self, v: Tensor, a_k: Tensor, k: Tensor, o: Tensor, c: Tensor, legal: Legal) -> Tensor:
        """Eq. 11; the clone is not guided."""
        return torch.where((c == ANY).unsqueeze(-1), v, super().guide(v, a_k, k, o, c, legal))

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return A(o, a): (S, 1, ..., N)."""
        return self.judge.rate(o, action)

    def rate_all(self, o: Tensor) -> Tensor:
        """Return A(o, .) of all discrete actions, in one pass: (S, ..., N, A)."""
        every: Tensor = self.judge.effect(o)
        return every.mean(1)
