"""docs/baselines.md: the baselines compared with VGM2P, and with their authors' code on the same data."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.results.baselines import LONG_ROWS, LONGER, PARTS, PLANNER_SIZE, PLANNERS, SHORT_ROWS
from tools.results.cells import cells, command_table, finished, load_finished
from tools.results.diagnostics import diagnostics
from tools.results.robots import BUNDLED, EXPERT, MEDIUM, REPLAY, SIZE
from vgm2p.io.files import write_atomic
from vgm2p.io.text import grid
from vgm2p.report.curves import curves
from vgm2p.report.estimates import interval, mean
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import bounds, table
from vgm2p.run.ways import Way

HEAD = """# Baselines

`make results-baselines` writes this page ({done} of {total} cells finished). All rows but the planners have the same
network size and budget, fixed before the runs: `{size}`. Rows with `_x{longer}` have {longer} times the updates. Each
of these runs trains five seeds. Every seed is evaluated for twenty episodes; the starts are the same for all seeds
and rows. Intervals are 95 % bootstrap intervals over seeds, then episodes. The data are our own recordings, so no
table here reproduces one of the paper.

`ma_cql` and `omar` use two candidate actions of each kind in the place of the ten of their authors: ten make an
update about ten times as dear as one of `vgm2p`. `omiga` has the discount of its authors, 0.99.

`vgm2p_plus` and `bc_mse_return` clone steps that are drawn by the return of their episode, as unequally as
`data.ess=auto` chooses ([data](data.md#which-steps-are-drawn)). `vgm2p_plus` acts without start noise. The two medium
sets and the quick start have only these two rows here; [results](results.md) has others of the same size and budget.

The planners have a size and a budget of their own, which a CPU can afford: `{planner_size}`. With so few updates and
one seed, their rows do not show what planners can reach.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}"""
REFERENCE = """## Beside the authors' code

The authors' own update code ran on the same transitions and in the same simulator, with one training seed and ten
episodes, at the same size and 10 000 updates (OMAR: 5 000). `+-` is the deviation over the episodes of that one policy.
"reached": our interval overlaps that range, or lies above it. With one seed of theirs, this is a coarse check, and no
test of equality. The median stands beside the mean because returns can have two modes: a robot that falls, and one that
does not. The authors' code of `ma_td3bc` is that of the offline-marl-recipe, whose defaults differ
([ma_td3bc](algorithms/ma_td3bc.md)). Their behaviour cloning is
deterministic and learns by squared error; `bc_gaussian` learns a standard deviation, too."""


@dataclass(frozen=True)
class Reference:
    """A result of the code of an algorithm's authors: mean and standard deviation of the return over episodes.

    `way` is the scale of the start noise; None for an algorithm without noise.
    """

    experiment: str
    label: str
    value: float
    deviation: float
    way: Way = None


CHEETAH, HOPPER = REPLAY
REFERENCES = [
    Reference(CHEETAH, "bc_gaussian", -6.8, 0.4),
    Reference(CHEETAH, "ma_td3bc", -6.4, 0.6),
    Reference(CHEETAH, "omiga", 1738.0, 1674.0),
    Reference(HOPPER, "bc_gaussian", 46.0, 1.0),
    Reference(HOPPER, "ma_td3bc", 402.0, 443.0),
    Reference(HOPPER, "omiga", 42.0, 2.0),
    Reference(HOPPER, "omar", 42.0, 1.0),
    Reference(CHEETAH, "mac_flow", 922.0, 190.0, 1.0),
    Reference(CHEETAH, "mac_flow", 2664.0, 576.0, 0.5),
    Reference(CHEETAH, "mac_flow", 2788.0, 220.0, 0.0),
    Reference(HOPPER, "mac_flow", 97.0, 153.0, 1.0),
    Reference(HOPPER, "mac_flow", 132.0, 260.0, 0.5),
    Reference(HOPPER, "mac_flow", 45.0, 1.0, 0.0),
]


def write(runs: Path, docs: Path) -> None:
    """Write the page from the finished cells below `runs`. The page lists the missing cells."""
    every = list(cells(PARTS, list(PARTS)))
    missing = [(experiment, row.label) for experiment, row in every if not finished(runs, experiment, row)]
    head = HEAD.format(
        done=len(every) - len(missing),
        total=len(every),
        size=" ".join(SIZE),
        longer=LONGER,
        planner_size=" ".join(PLANNER_SIZE),
        commands=command_table([*SHORT_ROWS, *PLANNERS]),
    )
    parts = [head, *_beside_authors(runs)]
    for experiment in (*REPLAY, *EXPERT, *MEDIUM, *BUNDLED):
        parts += _experiment(runs, experiment, {row.label for name, row in every if name == experiment}, docs)
    if missing:
        labels = {name: [label for experiment, label in missing if experiment == name] for name, _ in missing}
        parts.append(
            "## Not run yet\n\n" + "\n".join(f"- {name}: {', '.join(found)}" for name, found in labels.items())
        )
    docs.mkdir(parents=True, exist_ok=True)
    write_atomic(docs / "baselines.md", "\n\n".join(parts) + "\n")
    print(f"written to {docs / 'baselines.md'}")


def _experiment(runs: Path, experiment: str, planned: Container[str], docs: Path) -> list[str]:
    """Return the tables and pictures of a set. A row that is not planned for it may be in `runs`, but is not shown."""
    parts: list[str] = []
    for rows, suffix in ((SHORT_ROWS, ""), (LONG_ROWS, f"-x{LONGER}"), (PLANNERS, "-planners")):
        found = load_finished(runs, experiment, [row for row in rows if row.label in planned])
        if found:
            picture = f"results/baselines-{experiment}{suffix}.png"
            (docs / "results").mkdir(parents=True, exist_ok=True)
            curves(found, docs / picture)
            parts += [
                f"## {experiment}{suffix}",
                table(found),
                diagnostics(found),
                f"![returns over updates]({picture})",
            ]
    return [part for part in parts if part]


def _beside_authors(runs: Path) -> list[str]:
    rows = {row.label: row for row in SHORT_ROWS}
    lines = [["set", "row", "act_noise", "ours", "median", "authors' code", ""]]
    for reference in REFERENCES:
        lines += [
            _compared(run, reference) for run in load_finished(runs, reference.experiment, [rows[reference.label]])
        ]
    return [REFERENCE, grid(lines)] if len(lines) > 1 else []


def _compared(run: Run, reference: Reference) -> list[str]:
    values = final_values([run], reference.way)
    low, high = interval(values)
    verdict = "reached" if high >= reference.value - reference.deviation else "not reached"
    theirs = f"{reference.value:g} +- {reference.deviation:g}"
    middle = f"{median(value for episodes in values for value in episodes):.0f}"
    ours = bounds((mean(values), low, high), 0)
    way = "" if reference.way is None else f"{reference.way:g}"
    return [reference.experiment, reference.label, way, ours, middle, theirs, verdict]
