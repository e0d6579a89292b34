"""Which columns of metrics.csv are drawn, under which title, and on which axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["loss", "share", "value"]


@dataclass(frozen=True)
class Panel:
    """A chart of diagnostics.

    Attributes:
        title: what it shows.
        columns: column of metrics.csv -> its name in the legend. Without the first column, there is no chart.
        kind: a `loss` has a logarithmic axis if all its values are positive; a `share` has an axis from 0 to 1.
        agents: columns that begin so are the values of single agents.
    """

    title: str
    columns: Mapping[str, str]
    kind: Kind = "value"
    agents: str | None = None

    @property
    def first(self) -> str:
        """The first column."""
        return next(iter(self.columns))

    def logarithmic(self, values: Iterable[float]) -> bool:
        """Return whether the axis for these values is logarithmic."""
        return self.kind == "loss" and all(value > 0 for value in values)


def _one(title: str, column: str, kind: Kind = "value") -> Panel:
    return Panel(title, {column: "mean"}, kind)


PANELS = (
    _one("policy loss", "policy_loss", "loss"),
    _one("loss of the predicted plan", "plan_loss", "loss"),
    _one("loss of the inverse model", "inverse_loss", "loss"),
    _one("critic loss", "critic_loss", "loss"),
    _one("TD loss", "td_loss", "loss"),
    Panel("Q value", {"q_mean": "mean Q", "q_fixed_point": "fixed point of Q"}),
    Panel("share of actions of class 1 (better than usual)", {"c1_fraction": "all agents"}, "share", "c1_fraction_"),
    _one("share of agent pairs of one class", "c_agreement", "share"),
    _one("standard deviation of the advantage", "adv_std"),
    Panel(
        "standard deviation of actions",
        {"draw_std": "of the policy's draws", "residual_std": "of the data around them"},
    ),
    _one("share of the policy's actions on the bounds", "clipped", "share"),
    _one("distance to the stored actions", "clone_loss", "loss"),
    _one("weight of Q in the policy loss", "q_weight"),
    _one("share of legal actions that are kept", "kept", "share"),
    _one("conservative penalty on the critic", "penalty"),
    _one("share of searched actions that are better", "search_wins", "share"),
    _one("distance to the searched actions", "search_distance", "loss"),
    _one("value loss", "value_loss", "loss"),
    _one("explained variance of the value", "value_explained"),
    _one("loss of the predicted effect", "effect_loss", "loss"),
    _one("correlation of effect and residual", "effect_correlation"),
    _one("effective sample share of the policy's weights", "ess", "share"),
    _one("effective sample share of the target's weights", "target_ess", "share"),
    _one("share of clamped weights", "clamped", "share"),
    _one("largest weight", "weight_max"),
    _one("share of stored actions on the bounds", "saturated", "share"),
)


def panels_of(columns: Iterable[str]) -> list[Panel]:
    """Return the charts for a file with these columns."""
    present = set(columns)
    return [panel for panel in PANELS if panel.first in present]
