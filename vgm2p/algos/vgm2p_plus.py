"""VGM2P+: VGM2P whose condition also looks at what the recorded episode went on to pay. Not the paper's algorithm.

Within a state, a critic ranks actions; over a whole episode, the recorded return tells which gait an action belongs to.
The outcome of a stored action is its return-to-go minus an expectile of the returns-to-go seen from that observation,
and the condition asks whether critic and outcome together speak for it (docs/algorithms/vgm2p.md).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vgm2p.algos.base import choose
from vgm2p.algos.parts import expectile_loss
from vgm2p.algos.vgm2p import VGM2P, Opinion
from vgm2p.errors import ConfigError
from vgm2p.nn.value import Value
from vgm2p.types import Batch


class VGM2PPlus(VGM2P):
    r"""Condition: c = 1[A_Q / std(A_Q) + A_G / std(A_G) >= 0], A_G = (1 - gamma) G - V_G(o), V_G an expectile of it.

    Args:
        judge: `critic` (A_Q alone, the paper), `return` (A_G alone) or `both`.
        return_expectile: expectile that V_G regresses.
        hyperparameters: those of VGM2P.
    """

    def __init__(
        self, *args: Any, width: int = 512, depth: int = 4, lr: float = 3e-4, critic_depth: int | None = None,
        judge: str = "both", return_expectile: float = 0.7, **hyperparameters: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, width=width, depth=depth, lr=lr, critic_depth=critic_depth, **hyperparameters)
        self.judge = choose("judge", judge, ("critic", "return", "both"))
        self.return_expectile = return_expectile
        self.usual: Value | None = None
        if self.judge != "critic":
            self.fields = ("return_to_go",)
            self.usual = Value(len(self.seeds), self.id_dim, width, critic_depth or depth)
            self.make_optimiser("usual", [self.usual], lr, clip_norm=hyperparameters.get("clip_norm"))
            if self.against_value:
                raise ConfigError("algo.threshold=value compares A_Q with Q; it needs algo.judge=critic")

    def second_opinion(self, batch: Batch, oid: Tensor) -> Opinion | None:
        """Train V_G one step and join A_G (S, B, N), as it was before that step, to the critic's advantage."""
        if self.usual is None:
            return None
        assert batch.return_to_go is not None, "the batch lacks `fields`"
        paid = (1.0 - self.gamma) * batch.return_to_go.unsqueeze(-1)  # reward per step, so that V_G learns fast
        error = paid - self.usual(oid)
        self.minimise("usual", expectile_loss(error, self.return_expectile))
        outcome = error.detach()
        outcome = outcome.mean(-1, keepdim=True).expand_as(outcome) if self.team else outcome
        return lambda adv: outcome if self.judge == "return" else unit(adv) + unit(outcome)


def unit(x: Tensor) -> Tensor:
    """Divide (S, ...) by its deviation per seed."""
    deviation = x.flatten(1).std(1).clamp(min=1e-8)
    return x / deviation.reshape(-1, *[1] * (x.dim() - 1))
