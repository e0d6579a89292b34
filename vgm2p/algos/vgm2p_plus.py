"""VGM2P+: clones what was better than usual, where the data can tell it (docs/algorithms/vgm2p_plus.md).

Not the paper's algorithm. Its condition comes from recorded returns, and no critic is bootstrapped. Continuous actions:
the returns of whole episodes tell. The steps are drawn by return, all of them are class 1, and the policy is their
clone. Discrete actions: single steps tell. All steps are drawn alike, and the realised judge gives the condition, as in
`vgm2p_realised`. In both cases the network predicts the clean action, and acts in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm, Draws
from vgm2p.algos.realised import JudgeSettings
from vgm2p.algos.vgm2p import Info, Legal
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.flows.head import Predict
from vgm2p.flows.meanflow import cloning_loss, meanflow_sample
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import AverageVelocity
from vgm2p.types import Acting, Batch, Randomness, Spec, Survey, per_seed_mean


class VGM2PPlus(VGM2PRealised):
    r"""Continuous: min E_{R-drawn} || u - sg[v - (k-r) du/dk] ||^2 (Eq. 10); discrete: `vgm2p_realised`.

    Every argument is a key of `conf/algo/vgm2p_plus.yaml`. Raises ConfigError as `VGM2PRealised`.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        judge: JudgeSettings = JudgeSettings(),
        predict: Predict | None = "x",
        acting: Acting = Acting(noise=0.0),
        **of_both: Any,
    ) -> None:
        stages = judge if spec.discrete else JudgeSettings()  # without a judge, the policy does not wait for it
        super().__init__(spec, seeds, judge=stages, predict=predict, acting=acting, **of_both)

    @classmethod
    def draws(cls, discrete: bool) -> Draws:
        """Return `return` for continuous actions. The judge of discrete actions learns from all steps alike."""
        return "uniform" if discrete else "return"

    @classmethod
    def unread(cls, discrete: bool) -> tuple[str, ...]:
        """Return the keys of the judge and of the guidance for continuous actions."""
        return () if discrete else ("judge", "gamma", "omega", "policy_rows", "label_dropout", "baseline_samples")

    def make_policy(self, net: Net) -> nn.Module:
        """Return the network u(a_k, r, k, o, c). With continuous actions it has no c: there is one class only."""
        classes = self.classes if self.spec.discrete else 0
        return AverageVelocity(len(self.seeds), self.id_dim, self.spec.action_dim, classes, net, head=self.head)

    def start_judge(self, net: Net, optim: Optim, settings: JudgeSettings) -> None:
        """Make the judge of discrete actions."""
        if self.spec.discrete:
            super().start_judge(net, optim, settings)

    def survey(self, survey: Survey) -> None:
        """Store the statistics of the observations and, for the judge, of the returns."""
        if self.spec.discrete:
            super().survey(survey)
        else:
            Algorithm.survey(self, survey)

    def update(self, batch: Batch, key: Randomness) -> Info:
        """Take one gradient step: on Eq. 10, or on the judge and Eq. 11."""
        return super().update(batch, key) if self.spec.discrete else self.clone(batch, key)

    def clone(self, batch: Batch, key: Randomness) -> Info:
        """Take one gradient step on Eq. 10, as `bc_meanflow` does."""
        o = self.encode(batch.obs, self.past(batch))
        loss, u = cloning_loss(self.policy, self.represent(batch.action), o, self.times, key)  # type: ignore[arg-type]
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach(), "u_abs": per_seed_mean(u.abs())}

    def sample(self, z: Tensor, o: Tensor, steps: int, legal: Legal = None) -> Tensor:
        """Eq. 12, under c = 1 if there are classes."""
        c = self.class_one(o) if self.spec.discrete else None
        return meanflow_sample(self.policy, z, o, c, steps, legal)
