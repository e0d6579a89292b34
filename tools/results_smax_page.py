"""The SMAX section of docs/results.md, from finished runs and the recorded data alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.results import Row, finished
from tools.results_page import halves, save
from tools.results_smax import CLONES, GUIDED, ROWS, SETS, SIZE
from vgm2p.datamodules.layout.schema import read
from vgm2p.io.text import grid
from vgm2p.report.runs import Run, final_values, load_run
from vgm2p.report.stats import Seeds, difference, interval, mean, rate_interval
from vgm2p.report.tables import bounds
from vgm2p.run.folder import Acting


@dataclass(frozen=True)
class Cell:
    """A method acting in one way: won (0 or 1) and return of every seed's episodes."""

    label: str
    acting: Acting
    won: Seeds
    returns: Seeds

    @property
    def name(self) -> str:
        """Label and way to act."""
        return self.label if self.acting is None else f"{self.label} ({self.acting:g})"


def write(runs: Path, docs: Path) -> None:
    """Replace the section by what is finished below `runs`; what is missing is named."""
    parts = [_head()]
    for experiment in SETS:
        parts += _set(runs, experiment)
    missing = [
        f"{experiment}: {line.label}" for experiment in SETS for line in ROWS if not finished(runs, experiment, line)
    ]
    if missing:
        parts.append("Not run yet: " + ", ".join(f"`{name}`" for name in missing) + ".")
    robots, _ = halves(docs)
    docs.mkdir(parents=True, exist_ok=True)
    save(docs, robots, "\n\n".join(parts))


def _head() -> str:
    commands = "\n".join(f"| `{line.label}` | `{' '.join(line.overrides)}` |" for line in ROWS)
    return f"""# Battles: SMAX

Written by `make results-smax`. Data: the environment's heuristic at noise 0, 0.1 and 0.3, recorded on the machine
itself ([smax.md](smax.md)); no table of the paper. One network and budget for every row, fixed before the runs:
`{" ".join(SIZE)}`. Five training seeds in one run, a hundred episodes per seed and way to act (its noise in brackets),
the same starts for everybody. Intervals: 95 % bootstrap over seeds, then episodes, with the starts drawn once for all.
`plus_battle` was chosen on `smax_3m` (two or three seeds, about fifteen variants), so what it is ahead there is on the
set of its choice (on 400 other starts: [smax.md](smax.md#on-other-starts)); no setting was chosen on `smax_2s3z`; what
was tried there, for an explanation, stands in [smax.md](smax.md).
`vgm2p_plus` runs as it is, with a critic scaled for robots' long episodes; `plus_battle` has the scale of battles.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}"""


def _set(runs: Path, experiment: str) -> list[str]:
    done = {line.label: load_run(runs / experiment / line.label) for line in ROWS if finished(runs, experiment, line)}
    if not done:
        return []
    first = next(iter(done.values()))
    data, versions = first.manifest["data"], first.manifest["environment_versions"]
    cells = [cell for label, run in done.items() for cell in cells_of(label, run)]
    lines = [["", "win rate", "return", "win rate per seed"], _random(first), *behaviours(first)]
    lines += [_line(cell) for cell in cells]
    text = (
        f"{data['episodes']} episodes, {data['transitions']} transitions, digest `{data['digest'][:16]}`; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; {first.manifest['device']}."
    )
    return [f"## {experiment}", text, grid(lines), *_differences(cells)]


def cells_of(label: str, run: Run) -> list[Cell]:
    """Return one cell per way to act of a run's last evaluation."""
    return [
        Cell(label, way if isinstance(way, float) else None, final_values([run], way, "won"), final_values([run], way))
        for way in run.final["return"]
    ]


def behaviours(run: Run) -> list[list[str]]:
    """Return a line per behaviour of the recorded data: a battle is won where its last reward holds the 1 for it."""
    path = Path(run.manifest["config"]["data"]["source"]["paths"][0])
    if not path.is_file():
        return []
    columns = read(path)
    episodes = columns.episodes
    last = columns.steps["rewards"][episodes["start"] + episodes["length"] - 1]
    won, returns = (last >= 1.0).astype(float), episodes["return"]
    found = []
    for index, record in enumerate(json.loads(columns.attributes["behaviours"])):
        mine = episodes["behaviour"] == index
        name = f"data: {record['policy']}, noise {record['noise']:g} ({mine.sum()} episodes)"
        found.append(_line(Cell(name, None, [won[mine]], [returns[mine]])))
    return [*found, _line(Cell("data", None, [won], [returns]))]


def _random(run: Run) -> list[str]:
    results = run.results
    return ["random policy", "", bounds((results["random_return_mean"], *results["random_return_ci95"]), 2), ""]


def _line(cell: Cell) -> list[str]:
    seeds = " ".join(f"{np.mean(values):.2f}" for values in cell.won) if len(cell.won) > 1 else ""
    won = bounds((mean(cell.won), *rate_interval(cell.won)), 2)
    return [cell.name, won, bounds((mean(cell.returns), *interval(cell.returns)), 2), seeds]


def _differences(cells: list[Cell]) -> list[str]:
    """Compare the guided row that wins most with every clone, each in its best way."""
    best = _best(cells, GUIDED)
    rivals = [_best(cells, [line]) for line in CLONES]
    if best is None or not any(rivals):
        return []
    lines = [["difference", "win rate", "return"]]
    for rival in filter(None, rivals):
        sides = ((best.won, rival.won), (best.returns, rival.returns))
        found = [bounds(difference(*pair), 2) for pair in sides]
        lines.append([f"{best.name} - {rival.name}", *found])
    note = (
        "Differences of the guided row and way that win most, against every clone in its best way; both are chosen on "
        "these episodes, the former among more, which no interval knows of:"
    )
    return [note, grid(lines)]


def _best(cells: list[Cell], rows: list[Row]) -> Cell | None:
    labels = [line.label for line in rows]
    return max((cell for cell in cells if cell.label in labels), key=lambda cell: mean(cell.won), default=None)


if __name__ == "__main__":
    write(Path("runs/results"), Path("docs"))
