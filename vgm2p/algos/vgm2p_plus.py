"""VGM2P+: VGM2P whose condition also looks at what the recorded episode came to. Not the paper's algorithm.

Within a state, a critic ranks actions; over a whole episode, the recorded return tells which behaviour an action
belongs to. So class 1 is what was done in the better episodes and what the critic does not call clearly worse than
usual. The critic's verdict can also be replaced or joined by the outcome of the stored action: its return-to-go minus
an expectile of the returns-to-go seen from that observation (docs/algorithms/vgm2p.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vgm2p.algos.contract import choose
from vgm2p.algos.parts import expectile_loss
from vgm2p.algos.vgm2p import VGM2P, WORSE, Opinion
from vgm2p.errors import ConfigError
from vgm2p.nn.mlp import Net
from vgm2p.nn.value import Value
from vgm2p.types import Batch, per_seed_mean


class VGM2PPlus(VGM2P):
    r"""Condition: c = 1[A_Q >= -margin * std(A_Q)] * 1[the episode is among the best `best_share`].

    Args:
        best_share: class 1 comes from the best episodes that hold at least this share of the data's steps; 1: from all.
        margin: how much worse than usual may still count, in deviations of what is judged.
        class0_weight: weight of class 0 in the policy's loss; the paper: 1. Execution asks for class 1 alone.
        judge: what is judged: `critic` (A_Q), `return` (A_G = (1 - gamma) G - V_G(o), V_G an expectile of
            it) or `both` (A_Q / std(A_Q) + A_G / std(A_G)).
        return_expectile: expectile that V_G regresses.
        hyperparameters: those of VGM2P.
    """

    def __init__(
        self,
        *args: Any,
        width: int = 512,
        depth: int = 4,
        lr: float = 3e-4,
        critic_depth: int | None = None,
        best_share: float = 0.5,
        margin: float = 0.5,
        class0_weight: float = 0.1,
        judge: str = "critic",
        return_expectile: float = 0.7,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(*args, width=width, depth=depth, lr=lr, critic_depth=critic_depth, **hyperparameters)
        if not 0.0 < best_share <= 1.0:
            raise ConfigError(f"algo.best_share must be above 0 and at most 1, got {best_share}")
        if not 0.0 <= class0_weight <= 1.0:
            raise ConfigError(f"algo.class0_weight must lie between 0 and 1, got {class0_weight}")
        if class0_weight == 0.0 and self.uncond == WORSE and self.omega != 1.0:
            raise ConfigError(
                "algo.uncond=zero guides by class 0, which algo.class0_weight=0 does not train; set one of them"
            )
        if self.against_value:
            raise ConfigError(
                "algo.threshold=value is not for vgm2p_plus, which compares A with its spread; use algo=vgm2p"
            )
        self.judge = choose("judge", judge, ("critic", "return", "both"))
        self.best_share, self.margin, self.return_expectile = best_share, margin, return_expectile
        self.class0_weight = class0_weight
        self.fields = ("episode_rank",) if best_share < 1.0 else ()
        self.usual: Value | None = None
        if self.judge != "critic":
            self.fields += ("return_to_go",)
            self.usual = Value(len(self.seeds), self.id_dim, Net(width, critic_depth or depth))
            self.make_optimiser("usual", [self.usual], lr, clip_norm=hyperparameters.get("clip_norm"))

    def second_opinion(self, batch: Batch, oid: Tensor) -> Opinion:
        """Return c = the judge's verdict where the episode is good; V_G makes one step if the judge asks it."""
        outcome, good = None, torch.ones_like(batch.reward, dtype=torch.bool)
        if self.usual is not None:
            outcome = self.learn_outcome(batch, oid, self.usual)
        if self.best_share < 1.0:
            assert batch.episode_rank is not None, "the batch lacks `fields`"
            good = batch.episode_rank > 1.0 - self.best_share

        def opinion(adv: Tensor) -> Tensor:
            judged = adv if outcome is None else outcome if self.judge == "return" else unit(adv) + unit(outcome)
            return (unit(judged) >= -self.margin) & good.unsqueeze(-1)

        return opinion

    def learn_outcome(self, batch: Batch, oid: Tensor, usual: Value) -> Tensor:
        """Train V_G one step; return A_G (S, B, N) as it was before that step."""
        assert batch.return_to_go is not None, "the batch lacks `fields`"
        paid = (1.0 - self.gamma) * batch.return_to_go.unsqueeze(-1)  # reward per step, so that V_G learns fast
        error = paid - usual(oid)
        self.minimise("usual", expectile_loss(error, self.return_expectile))
        outcome = error.detach()
        return outcome.mean(-1, keepdim=True).expand_as(outcome) if self.team else outcome

    def flow_loss(self, a_k: Tensor, v: Tensor, k: Tensor, r: Tensor, oid: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Row losses (S, B, N), class 0 weighed down; they average to those of a mean with these weights."""
        rows, u = super().flow_loss(a_k, v, k, r, oid, c)
        weight = 1.0 - (1.0 - self.class0_weight) * c[..., WORSE]
        mean = per_seed_mean(weight).clamp(min=torch.finfo(rows.dtype).tiny)  # 0 where nothing is better, weight 0
        return rows * (weight / mean.reshape(-1, 1, 1)), u


def unit(x: Tensor) -> Tensor:
    """Divide (S, ...) by its deviation per seed."""
    deviation = x.flatten(1).std(1).clamp(min=1e-8)
    return x / deviation.reshape(-1, *[1] * (x.dim() - 1))
