"""The effect of each switch: differences of returns between two rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.results.cells import Row, load_finished
from vgm2p.io.text import grid
from vgm2p.report.estimates import difference
from vgm2p.report.runs import final_values
from vgm2p.report.tables import best_way
from vgm2p.run.folder import Way

BEST = "best"  # the way to act with the highest mean


@dataclass(frozen=True)
class Question:
    """A comparison of two rows.

    Attributes:
        text: the difference between the rows.
        row: label of the row with the change.
        against: label of the row without the change.
        acting: way to act of `row`; None: its default; BEST: the one with the highest mean return.
        acting_against: way to act of `against`, likewise.
    """

    text: str
    row: str
    against: str
    acting: Way = None
    acting_against: Way = None


WITHIN = "within `vgm2p_chosen`"
QUESTIONS = [
    Question("one condition per transition instead of one per agent", "vgm2p_team", "vgm2p"),
    Question("the same, both in their best way to act", "vgm2p_team", "vgm2p", BEST, BEST),
    Question("quieter start noise: 0.5 against 1", "vgm2p", "vgm2p", 0.5, 1.0),
    Question("a summed instead of an independent critic (Fig. 2)", "vgm2p", "vgm2p_independent"),
    Question("guidance: omega 3 against 1 (Fig. 3)", "vgm2p", "vgm2p_omega1"),
    Question(f"a critic that reaches its level, {WITHIN}", "vgm2p_chosen", "plus_slow_critic"),
    Question(f"class 1 from the better half only, {WITHIN}", "vgm2p_chosen", "plus_best_share_1"),
    Question(f"leaving out only what is clearly worse, {WITHIN}", "vgm2p_chosen", "plus_margin_0"),
    Question(f"class 0 at a tenth of its weight, {WITHIN}", "vgm2p_chosen", "plus_class0_weight_1"),
    Question(f"compared with stored actions, {WITHIN}", "vgm2p_chosen", "plus_baseline_sample"),
    Question(f"no guidance, {WITHIN}", "vgm2p_chosen", "plus_omega_3"),
    Question(f"the critic alone instead of critic and outcome, {WITHIN}", "vgm2p_chosen", "plus_judge_both"),
    Question(f"one condition per transition, {WITHIN}", "vgm2p_chosen", "plus_per_agent"),
    Question(f"the best of four by the own critic, {WITHIN}", "vgm2p_chosen", "plus_best_of_1"),
]


def answers(runs: Path, experiments: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the section with the differences of returns and their intervals for QUESTIONS; [] if there are none."""
    by_label = {row.label: row for row in rows}
    lines = [["what changes", *experiments]]
    for question in QUESTIONS:
        cells = [_answer(runs, experiment, by_label, question) for experiment in experiments]
        if any(cells):
            lines.append([question.text, *cells])
    if len(lines) == 1:
        return []
    return [
        "## What moves the paper's VGM2P\n\nDifferences of the mean return, 95 % interval; empty: not run.",
        grid(lines),
    ]


def _answer(runs: Path, experiment: str, rows: dict[str, Row], question: Question) -> str:
    sides = []
    for label, acting in ((question.row, question.acting), (question.against, question.acting_against)):
        found = load_finished(runs, experiment, [rows[label]])
        if not found:
            return ""
        own = found[0].results["act_noise"]
        way = best_way(found) if acting == BEST else own if acting is None else acting
        sides.append(final_values(found, way))
    centre, low, high = difference(*sides)
    return f"{centre:.0f} [{low:.0f}, {high:.0f}]"
