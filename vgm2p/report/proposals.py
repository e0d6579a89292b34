"""Which way to act `vgm2p estimate propose=true` proposes, and the table of what it looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgm2p.errors import DataError
from vgm2p.io.text import grid, markdown, shown
from vgm2p.run.ways import Way, way_text

OWN = "proposal.json"
TIE = 0.01  # errors count as equal if they differ by at most this share
# Nats of the likelihood: half of what a team loses that agrees by chance on one of two conventions, log 2.
TOLERANCE = 0.5 * math.log(2.0)


@dataclass(frozen=True)
class Looked:
    """A policy in one way to act, beside the best recorded episodes.

    Attributes:
        way: how it acts.
        errors: (S) per training seed, how far its actions are from those that were recorded; NaN: it gave no numbers.
        likelihoods: (S) log likelihood of the team's recorded actions, in nats.
        simulator: seed -> return in the simulator; None where nobody evaluated the run in this way to act.
    """

    way: Way
    errors: list[float]
    likelihoods: list[float]
    simulator: dict[int, float] | None

    @property
    def sound(self) -> list[int]:
        """The seeds whose policy gave numbers."""
        return [s for s, pair in enumerate(zip(self.errors, self.likelihoods, strict=True)) if np.isfinite(pair).all()]

    @property
    def error(self) -> float:
        """Mean over the sound seeds."""
        return float(np.mean([self.errors[s] for s in self.sound]))

    @property
    def likelihood(self) -> float:
        """Mean over the sound seeds."""
        return float(np.mean([self.likelihoods[s] for s in self.sound]))


def proposed(name: str, looked: Sequence[Looked]) -> Looked:
    """Return the way to act that does together what was done together, with the least error.

    A way whose likelihood is below the largest one by more than `TOLERANCE` is left out. Of the others, it is the first
    one with an error as small as the smallest (`TIE`): in the usual order, that with the most noise. Raises DataError
    if the policy `name` gives no numbers.
    """
    sound = [one for one in looked if one.sound]
    if not sound:
        raise DataError(f"{name}: the policy gives no numbers; it has diverged")
    most = max(one.likelihood for one in sound)
    together = [one for one in sound if one.likelihood >= most - TOLERANCE]
    least = min(one.error for one in together)
    return next(one for one in together if one.error <= (1.0 + TIE) * least)


def table(name: str, looked: Sequence[Looked], chosen: Looked, discrete: bool) -> str:
    """Return the ways to act of a policy as a table; the proposed one has a mark."""
    kind = "share of other actions" if discrete else "squared error"
    lines = [["policy", "act_noise", kind, "log likelihood of the team", "measured return"]]
    for one in looked:
        way = "" if one.way is None else way_text(one.way)
        measured = "" if one.simulator is None else shown(float(np.mean(list(one.simulator.values()))))
        numbers = [f"{one.error:.4g}", f"{one.likelihood:.2f}"] if one.sound else ["diverged"] * 2
        lines.append([markdown(name), way + (" <" if one is chosen else ""), *numbers, measured])
    return grid(lines)


def content(looked: Sequence[Looked], chosen: Looked, ess: float, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a proposal for programs: `facts` says of what, and what it depends on."""
    entries = [{"act_noise": one.way, "errors": one.errors, "likelihoods": one.likelihoods} for one in looked]
    return {**facts, "ess": ess, "act_noise": chosen.way, "by_act_noise": entries}
