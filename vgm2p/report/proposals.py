"""Which way to act `vgm2p estimate propose=true` proposes, and the table of what it looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgm2p.io.text import grid, markdown, shown
from vgm2p.report.tables import way_text
from vgm2p.run.folder import Way

OWN = "proposal.json"
TIE = 0.01  # errors count as equal if they differ by at most this share


@dataclass(frozen=True)
class Looked:
    """A policy in one way to act, beside the best recorded episodes.

    Attributes:
        way: how it acts.
        errors: (S) per training seed, how far its actions are from those that were recorded.
        simulator: return per seed in the simulator; None where nobody evaluated the run in this way to act.
    """

    way: Way
    errors: list[float]
    simulator: list[float] | None

    @property
    def error(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.errors))


def proposed(looked: Sequence[Looked]) -> Looked:
    """Return the first way to act with an error as small as the smallest (`TIE`): that with the most noise."""
    most = (1.0 + TIE) * min(one.error for one in looked)
    return next(one for one in looked if one.error <= most)


def table(name: str, looked: Sequence[Looked], discrete: bool) -> str:
    """Return the ways to act of a policy as a table; the proposed one has a mark."""
    kind = "share of other actions" if discrete else "squared error"
    lines = [["policy", "act_noise", f"{kind} on the best episodes", "measured return"]]
    chosen = proposed(looked)
    for one in looked:
        way = "" if one.way is None else way_text(one.way)
        measured = "" if one.simulator is None else shown(float(np.mean(one.simulator)))
        lines.append([markdown(name), way, f"{one.error:.4g}" + (" <" if one is chosen else ""), measured])
    return grid(lines)


def content(looked: Sequence[Looked], ess: float, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a proposal for programs: `facts` says of what, and what it depends on."""
    entries = [{"act_noise": one.way, "errors": one.errors} for one in looked]
    return {**facts, "ess": ess, "act_noise": proposed(looked).way, "by_act_noise": entries}
