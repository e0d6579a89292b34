"""Our runs in the cells of a table of the paper: which ones count, and how far they are from the published number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vgm2p.config.compose import composed
from vgm2p.config.settings import PAPER, training_part
from vgm2p.io.text import command, name
from vgm2p.report.estimates import FIXED_SEED, NO_INTERVAL, Seeds, interval, mean, resampled_means
from vgm2p.report.paper.published import AVERAGE, SEEDS, Number, Published, published
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import Cell
from vgm2p.report.variants import group_by_settings, without_seeds
from vgm2p.run.fingerprint import differences

DRAWS = 20  # draws of the paper's mean for each bootstrap sample of ours
MOST_NAMED = 3  # largest number of settings in a line about a run that is left out
Compose = Callable[[str, str], dict[str, Any]]  # experiment, algorithm -> configuration


@dataclass(frozen=True)
class PaperCell:
    """One dataset and algorithm of a table of the paper.

    Attributes:
        published: the number of the paper.
        runs: our runs with the settings of the paper; their seeds count together.
    """

    published: Published
    runs: tuple[Run, ...] = ()

    @property
    def ours(self) -> list[list[float]]:
        """Returns of every seed's episodes, in each run's own way to act."""
        return [values for run in self.runs for values in final_values([run], run.results["act_noise"])]

    @property
    def seeds(self) -> list[int]:
        """Our training seeds."""
        return sorted({seed for run in self.runs for seed in run.evaluated})

    @property
    def missing(self) -> list[int]:
        """The seeds to train until there are as many as in the paper."""
        have = self.seeds
        free = [seed for seed in range(SEEDS + len(have)) if seed not in have]
        return free[: max(0, SEEDS - len(have))]

    def command(self) -> str:
        """Return the command that fills the cell; empty if it is full."""
        if not self.missing:
            return ""
        words = [f"experiment={self.published.experiment}", f"algo={self.published.algorithm}"]
        return command("fit", "-m", *words, f"seed={','.join(map(str, self.missing))}")

    def value(self) -> Cell | None:
        """Return the mean of ours with its 95 % interval; None without runs."""
        ours = self.ours
        return (mean(ours), *interval(ours)) if ours else None

    def difference(self) -> Cell | None:
        """Return ours minus the paper with a 95 % interval; None without runs."""
        return difference_to(self.ours, self.published.mean, self.published.std) if self.ours else None


def difference_to(ours: Seeds, theirs: float, std: float | None) -> Cell:
    """Return mean(ours) - theirs and the ends of its 95 % interval.

    Two errors add: that of our mean, by bootstrap over seeds, then episodes; and that of the paper's mean, which is
    std / sqrt(6) times a draw from Student's distribution with 5 degrees of freedom. NaN without a standard deviation,
    and for a single episode of ours.
    """
    centre = mean(ours) - theirs
    if std is None or sum(map(len, ours)) == 1:
        return (centre, *NO_INTERVAL)
    own = np.tile(resampled_means(ours), DRAWS)
    draws = np.random.default_rng([FIXED_SEED, SEEDS]).standard_t(SEEDS - 1, size=len(own))
    low, high = np.percentile(own - theirs - draws * std / math.sqrt(SEEDS), [2.5, 97.5])
    return centre, float(low), float(high)


def standard(experiment: str, algorithm: str) -> dict[str, Any]:
    """Return the configuration of `fit experiment=... algo=...`: the settings of the paper, where it gives them."""
    return composed("fit", [f"experiment={experiment}", f"algo={algorithm}"])


def cells_of(number: Number, runs: Sequence[Run], compose: Compose = standard) -> tuple[list[PaperCell], list[str]]:
    """Return the cells of a table of the paper with our runs, and a line for every run that is left out.

    A run counts if all its settings that change training are those of `compose`, seeds excepted.
    """
    found, lines, others = [], [], dict.fromkeys(run.key[0] for run in runs)
    for each in published(number):
        if each.row == AVERAGE:
            continue
        others.pop(each.experiment, None)
        chosen, more = standard_runs(runs, each.experiment, each.algorithm, compose)
        found.append(PaperCell(each, tuple(chosen)))
        lines += more
    columns = {each.algorithm for each in published(number) if each.row != AVERAGE}
    without = dict.fromkeys(a for run in runs if run.key[0] not in others and (a := algorithm_of(run)) not in columns)
    if without:
        lines.append(f"not in table {number}: runs of the algorithms {', '.join(map(name, without))}")
    if others:
        lines.append(f"not in table {number}: runs of {', '.join(others)}")
    return found, lines


def standard_runs(
    runs: Sequence[Run], experiment: str, algorithm: str, compose: Compose = standard
) -> tuple[list[Run], list[str]]:
    """Return the runs of an experiment and algorithm with the settings of `compose`, and a line for each left out.

    Each seed is there once. The runs are named after the algorithm, also those with a label.
    """
    mine = [run for run in runs if run.key[0] == experiment and algorithm_of(run) == algorithm]
    reference = compose(experiment, algorithm) if mine else {}
    reasons = [(run, unlike(run, reference)) for run in mine]
    lines = [f"left out: {run.folder}: {reason}" for run, reason in reasons if reason]
    chosen, more = _one_variant([replace(run, name=algorithm) for run, reason in reasons if not reason])
    return chosen, lines + more


def unlike(run: Run, reference: dict[str, Any]) -> str:
    """Return how the settings of a run differ from those of a cell; empty if they do not."""
    config = run.manifest["config"]
    protocol = config.get("protocol", PAPER)
    if protocol != PAPER:
        return f"protocol={name(protocol)}; the table has protocol={PAPER}"
    changed = [
        name(str(change))
        for change in differences(training_part(reference), training_part(config))
        if change.key not in ("seed", "seeds")
    ]
    if run.results["updates"] != reference["updates"]:
        changed.append(f"updates: {reference['updates']} -> {run.results['updates']}")
    more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
    return f"other settings than the table's: {'; '.join(changed[:MOST_NAMED])}{more}" if changed else ""


def algorithm_of(run: Run) -> str:
    """Return the algorithm of a run, also if it has a label."""
    stored = run.manifest["config"].get("algo_name", run.results["algorithm"])
    return str(stored).partition(" (")[0]


def _one_variant(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs with the data of the first one, each seed once, and a line for every run or seed left out."""
    groups = group_by_settings(runs)
    lines = [f"left out: {run.folder}: other data than {groups[0][0].folder}" for group in groups[1:] for run in group]
    chosen: list[Run] = []
    known: set[int] = set()
    for run in groups[0] if groups else []:
        repeated = known & set(run.evaluated)
        if repeated:
            seeds = ", ".join(map(str, sorted(repeated)))
            lines.append(f"left out: seeds {seeds} of {run.folder}; another run has them with the same settings")
        known |= set(run.evaluated)
        if repeated != set(run.evaluated):
            chosen.append(without_seeds(run, repeated))
    return chosen, lines
