"""The part of docs/results.md that explains: diagnostics of finished runs, and what each switch is worth."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import mean

from tools.results import Row, finished
from vgm2p.io.text import grid
from vgm2p.report.runs import Run, final_values, load_run
from vgm2p.report.stats import difference
from vgm2p.report.tables import best_way
from vgm2p.run.folder import Acting

# What is compared, to tell what moves the paper's result: (question, row and way to act, against row and way to act);
# the way is None for the algorithm's own, "best" for the one with the highest mean.
QUESTIONS: list[tuple[str, tuple[str, Acting], tuple[str, Acting]]] = [
    ("one condition per transition instead of one per agent", ("vgm2p_team", None), ("vgm2p", None)),
    ("the same, both in their best way to act", ("vgm2p_team", "best"), ("vgm2p", "best")),
    ("quieter start noise: 0.5 against 1", ("vgm2p", 0.5), ("vgm2p", 1.0)),
    ("a summed instead of an independent critic (Fig. 2)", ("vgm2p", None), ("vgm2p_independent", None)),
    ("guidance: omega 3 against 1 (Fig. 3)", ("vgm2p", None), ("vgm2p_omega1", None)),
    ("a critic that reaches its level, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_slow_critic", None)),
    ("class 1 from the better half only, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_best_share_1", None)),
    ("leaving out only what is clearly worse, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_margin_0", None)),
    ("class 0 at a tenth of its weight, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_class0_weight_1", None)),
    ("compared with stored actions, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_baseline_sample", None)),
    ("no guidance, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_omega_3", None)),
    (
        "the critic alone instead of critic and outcome, within `vgm2p_plus`",
        ("vgm2p_plus", None),
        ("plus_judge_both", None),
    ),
    ("one condition per transition, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_per_agent", None)),
    ("the best of four by the own critic, within `vgm2p_plus`", ("vgm2p_plus", None), ("plus_best_of_1", None)),
]


def diagnostics(runs: list[Run]) -> str:
    """Return a table of what the last log of every run with a critic says, mean over its seeds."""
    lines = [["last log", "Q / the level it drifts to", "class 1", "agents agree", "by chance", "clipped"]]
    for run in runs:
        last = _last(run.folder)
        if "q_mean" in last:
            one, level = last["c1_fraction"], last["q_mean"] / last["q_fixed_point"]
            cells = [level, one, last["c_agreement"], one**2 + (1 - one) ** 2]
            clipped = f"{last['clipped']:.2f}" if "clipped" in last else ""
            lines.append([run.key[1], *(f"{cell:.2f}" for cell in cells), clipped])
    return grid(lines) if len(lines) > 1 else ""


def _last(folder: Path) -> dict[str, float]:
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    end = [row for row in rows if row["update"] == rows[-1]["update"]]
    return {name: mean(float(row[name]) for row in end) for name in end[0] if end[0][name]}


def why(runs: Path, experiments: list[str], rows: list[Row]) -> list[str]:
    """Return the section that answers QUESTIONS with differences of returns and their intervals."""
    labels = {line.label: line for line in rows}
    lines = [["what changes", *experiments]]
    for question, first, second in QUESTIONS:
        cells = [_difference(runs, experiment, labels, first, second) for experiment in experiments]
        if any(cells):
            lines.append([question, *cells])
    if len(lines) == 1:
        return []
    return [
        "## What moves the paper's VGM2P\n\nDifferences of the mean return, 95 % interval; empty: not run.",
        grid(lines),
    ]


def _difference(
    runs: Path, experiment: str, labels: dict[str, Row], first: tuple[str, Acting], second: tuple[str, Acting]
) -> str:
    sides = []
    for label, way in (first, second):
        if not finished(runs, experiment, labels[label]):
            return ""
        run = load_run(runs / experiment / label)
        chosen = best_way([run]) if way == "best" else run.results["act_noise"] if way is None else way
        sides.append(final_values([run], chosen))
    centre, low, high = difference(*sides)
    return f"{centre:.0f} [{low:.0f}, {high:.0f}]"
