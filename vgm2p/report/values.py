"""Estimates of policies without a simulator, as estimate.json holds them: what they say, and when they say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgm2p.errors import DataError
from vgm2p.io.text import shown
from vgm2p.report.ranking import Array, bounds95, resampled_values
from vgm2p.run.folder import read_json
from vgm2p.run.ways import Way, way_title

SLACK = 0.05  # of the range of possible values, by which a critic may leave it
ROUNDING = 1e-6  # of a value
STILL = 0.1  # of an interval's width: what moves by more has not settled
OWN = "estimate.json"


@dataclass(frozen=True)
class Estimate:
    """A policy in one way to act, as critics see it.

    Attributes:
        name: of the policy, for tables.
        way: how it acts.
        seeds: its S training seeds.
        table: (S, C, E) values of seeds, critics and held-out first steps.
        drift: (S,) by how much the mean moved at last.
        factor: returns per value.
        support: least and largest value that the rewards of the data allow.
        best: the largest value of an episode of the data.
        simulator: seed -> return in the simulator; None where nobody evaluated the run in this way to act.
        question: what was asked; estimates are comparable where it is the same.
    """

    name: str
    way: Way
    seeds: list[int]
    table: Array
    drift: list[float]
    factor: float
    support: tuple[float, float]
    best: float
    simulator: dict[int, float] | None
    question: Mapping[str, Any]

    @property
    def usable(self) -> bool:
        """Whether the values of all seeds are possible ones."""
        return not any(self.outside(s) for s in range(len(self.seeds)))

    def outside(self, s: int) -> int:
        """Return how many critics of a seed left the range of possible values, or hold no number."""
        low, high = self.support
        slack = SLACK * (high - low)
        means = self.table[s].mean(-1)
        return int((~((means >= low - slack) & (means <= high + slack))).sum())

    def moving(self, s: int) -> bool:
        """Return whether the value of a seed still moved when the fit ended, by more than `STILL` of its interval."""
        value, below, above = self.value(s)
        return bool(abs(self.drift[s]) > max(STILL * (above - below), ROUNDING * abs(value)))

    @property
    def settled(self) -> bool:
        """Whether the values of all seeds had stopped moving when the fit ended."""
        return not any(self.moving(s) for s in range(len(self.seeds)))

    def value(self, s: int | None = None) -> tuple[float, float, float]:
        """Return the mean value of a seed, or of all, with its 95 % interval over critics and starts (and seeds)."""
        part = self.table if s is None else self.table[s : s + 1]
        return (float(part.mean()), *bounds95(resampled_values([part])[0]))

    def returned(self, s: int | None = None) -> tuple[float, float, float]:
        """Return `value` on the scale of returns."""
        mean, low, high = (self.factor * x for x in self.value(s))
        return mean, low, high

    def warnings(self) -> list[str]:
        """Return one line for everything that makes the estimate doubtful."""
        lines = []
        low, high = (shown(x) for x in self.support)
        for s, seed in enumerate(self.seeds):
            where = f"{self.name}, seed {seed}"
            if count := self.outside(s):
                lines.append(
                    f"warning: {where}: {count} of {self.table.shape[1]} critics left [{low}, {high}], the values that "
                    "the data's rewards allow: this estimate means nothing"
                )
                continue
            if self.moving(s):
                lines.append(f"note: {where}: the value still moves (by {shown(self.drift[s])}); raise updates=")
            if self.value(s)[0] > self.best:
                lines.append(f"note: {where}: above the best episode of the data ({shown(self.best)}): extrapolated")
        return lines


def summary(estimate: Estimate) -> dict[str, Any]:
    """Return the numbers of an estimate for people and programs; no numbers where it means nothing."""

    def numbers(s: int | None, good: bool) -> dict[str, Any]:
        value, returned = estimate.value(s), estimate.returned(s)
        return {
            "value": value[0] if good else None,
            "value_ci95": list(value[1:]) if good else None,
            "return": returned[0] if good else None,
            "return_ci95": list(returned[1:]) if good else None,
        }

    per_seed = [
        {"seed": seed, "critics_outside": estimate.outside(s), "drift": estimate.drift[s]}
        | numbers(s, not estimate.outside(s))
        for s, seed in enumerate(estimate.seeds)
    ]
    return numbers(None, estimate.usable) | {"per_seed": per_seed, "warnings": estimate.warnings()}


def read_estimates(path: Path, name: str, results: Mapping[str, Any] | None) -> list[Estimate]:
    """Return all estimates of an estimate.json. Raises MissingInput or DataError; arguments as `estimates_of`."""
    try:
        return estimates_of(read_json(path, "the run"), name, results)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}); delete it, and estimate the run again") from error


def estimates_of(
    content: Mapping[str, Any], name: str, results: Mapping[str, Any] | None, ways: Sequence[Way] | None = None
) -> list[Estimate]:
    """Return what an estimate.json holds, in its order. Raises KeyError, TypeError or ValueError where it is damaged.

    Args:
        content: of the file.
        name: of the run, for tables.
        results: of the simulator, results.json; None where there are none.
        ways: to act, of which estimates are wanted; None: all of the file.
    """
    entries = [entry for entry in content["by_act_noise"] if ways is None or entry["act_noise"] in ways]
    titles = [name if len(entries) == 1 else f"{name} ({way_title(entry['act_noise'])})" for entry in entries]
    return [_estimate(content, entry, title, results) for entry, title in zip(entries, titles, strict=True)]


def _estimate(content: Mapping[str, Any], entry: Mapping[str, Any], name: str, results: Any) -> Estimate:
    way = entry["act_noise"]
    low, high = content["support"]
    table = np.array(entry["table"], float)
    if table.ndim != 3 or len(table) != len(content["seeds"]):
        raise ValueError("table")
    return Estimate(
        name,
        way,
        [int(seed) for seed in content["seeds"]],
        table,
        [float("nan") if x is None else float(x) for x in entry["drift"]],
        float(content["factor"]),
        (float(low), float(high)),
        float(content["best_value"]),
        simulated(results, content["updates"], way),
        content["question"],
    )


def simulated(results: Mapping[str, Any] | None, updates: int, way: Way) -> dict[int, float] | None:
    """Return seed -> return of a way to act, of a results.json that is about these updates; else None."""
    if results is None or results.get("updates") != updates:
        return None
    for entry in results.get("by_act_noise", []):
        if entry["act_noise"] == way:
            seeds, values = entry.get("evaluated_seeds", results["seeds"]), entry["per_seed"]
            if len(seeds) != len(values):  # of an earlier version, which did not say whose values these are
                return None
            return {int(seed): float(value) for seed, value in zip(seeds, values, strict=True)}
    return None
