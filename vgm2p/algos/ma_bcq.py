"""MA-BCQ: discrete BCQ (Fujimoto et al., arXiv 1910.01708) for a team, with the agents' values summed (VDN).

A policy G clones the behaviour. A target may use only actions that are at least `threshold` times as likely under G as
the most likely one. So the value of an action that is rare in the data enters no target. When acting, an agent chooses
among the same actions. Our choices and their sources: docs/algorithms/ma_bcq.md.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from vgm2p.algos.encoding import masked
from vgm2p.algos.parts import CriticSettings, log_softmax_at
from vgm2p.algos.value_learner import Info, ValueLearner
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.nn.mlp import MLP
from vgm2p.types import Acting, Batch, Randomness, per_seed_mean


class MABCQ(ValueLearner):
    r"""a' = argmax Q^i(o', a) over the legal a with G(a | o') >= threshold max_a G(a | o'); G: min -log G(a^i | o^i).

    Every argument is a key of `conf/algo/ma_bcq.yaml`; the yaml gives its meaning and source. Other arguments are those
    of `ValueLearner`. Raises ConfigError for a threshold outside [0, 1].
    """

    supports_continuous = False

    def __init__(
        self,
        *task: Any,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(members=1),
        threshold: float = 0.3,
        mask_at_eval: bool = True,
        huber: bool = False,
        logit_penalty: float = 0.0,
        **of_the_learner: Any,
    ) -> None:
        super().__init__(*task, net=net, optim=optim, critic=critic, **of_the_learner)
        if not 0.0 <= threshold <= 1.0:
            raise ConfigError(f"algo.threshold must lie between 0 and 1, got {threshold}")
        self.log_threshold = math.log(threshold) if threshold > 0.0 else -math.inf
        self.mask_at_eval, self.huber, self.logit_penalty = mask_at_eval, huber, logit_penalty
        self.behaviour = MLP((len(self.seeds),), self.id_dim, self.spec.action_dim, net)
        self.make_optimiser("policy", [self.behaviour], optim)

    def allowed(self, o: Tensor, legal: Tensor | None) -> Tensor:
        """Return the legal actions that are likely enough under G: (S, ..., N, A) bool."""
        return self.kept(self.behaviour(o), legal)

    def kept(self, logits: Tensor, legal: Tensor | None) -> Tensor:
        """Return whether G(a) / max G >= threshold: logits (..., N, A) -> (..., N, A) bool.

        It compares differences of logits, so nothing is divided by zero. The most likely legal action is always kept. A
        row without legal actions keeps none.
        """
        logits = masked(logits, legal)
        likely = logits >= logits.amax(-1, keepdim=True) + self.log_threshold
        return likely if legal is None else likely & legal

    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return -log G(a | o) + logit_penalty g^2 (S,) for the logits g: means over rows, agents and legal actions."""
        logits = self.behaviour(o)
        kept = self.kept(logits.detach(), batch.legal).to(logits.dtype)
        possible = self.spec.action_dim if batch.legal is None else per_seed_mean(batch.legal.to(logits.dtype).sum(-1))
        info = {"kept": per_seed_mean(kept.sum(-1)) / possible}
        clone = per_seed_mean(-log_softmax_at(masked(logits, batch.legal), batch.action))
        of_legal = logits if batch.legal is None else logits.masked_fill(~batch.legal, 0.0)
        return clone + self.logit_penalty * per_seed_mean(of_legal.square().sum(-1)) / possible, info

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Return the kept action with the highest Q; without `mask_at_eval`, the legal action with the highest Q."""
        return super().execute(o, self.allowed(o, legal) if self.mask_at_eval else legal, key, acting)
