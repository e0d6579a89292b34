"""docs/results.md and its pictures, from finished runs alone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from vgm2p.build import claim_packages

claim_packages()

from tools.results import CRITIC, EXPERT, MAIN, MEDIUM, PAPER, PARTS, REPLAY, SIZE, SWITCHES, Row, cells, finished  # noqa: E402
from tools.results_why import diagnostics, why  # noqa: E402
from vgm2p.io.files import write_atomic  # noqa: E402
from vgm2p.report.collect import Run, final_values, load_run, pooled  # noqa: E402
from vgm2p.report.curves import curves  # noqa: E402
from vgm2p.report.grid import grid  # noqa: E402
from vgm2p.report.stats import difference, mean  # noqa: E402
from vgm2p.report.tables import best_way, table, versus  # noqa: E402

RIVALS = ("bc_gaussian", "bc_flow", "bc_meanflow", "vgm2p")
SHORT = (*RIVALS, "vgm2p_plus")
SMAX = "<!-- from here on: make results-smax -->"
SETS = [*REPLAY, *MEDIUM, *EXPERT, "quickstart"]
DIAGNOSTICS = """Diagnostics at the end. Level: what Q drifts to is the mean reward over one minus the discount, 1 is there. Class 1: the
share of actions called better than usual; agreement: pairs of agents with the same condition in a transition, beside what
independent draws of that share would give. Clipped: components of generated actions on the bounds."""
TITLES = {"quickstart": "bundled_6halfcheetah (`experiment=quickstart`)"}


def write(runs: Path, docs: Path) -> None:
    """Write the page for whatever is finished below `runs`; what is missing is named."""
    every = list(cells(list(PARTS)))
    missing = [(experiment, line.label) for experiment, line in every if not finished(runs, experiment, line)]
    pictures = docs / "results"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_head(runs, len(every) - len(missing), len(every)), *_short(runs)]
    for experiment in SETS:
        parts += _main(runs, experiment, pictures)
    parts += why(runs, REPLAY, [*MAIN, *SWITCHES, *PAPER])
    parts += _switches(runs)
    parts += _paper(runs)
    if missing:
        names = sorted({f"{experiment}: {label}" for experiment, label in missing})
        parts.append("## Not run yet\n\n" + "\n".join(f"- {name}" for name in names))
    _, others = halves(docs)
    save(docs, "\n\n".join(parts), others)


def halves(docs: Path) -> tuple[str, str]:
    """Return what `make results` wrote, and what `make results-smax` wrote; each leaves the other's part alone."""
    page = docs / "results.md"
    first, _, second = (page.read_text() if page.is_file() else "").partition(SMAX)
    return first.strip(), second.strip()


def save(docs: Path, robots: str, battles: str) -> None:
    """Write the page."""
    parts = [robots, SMAX, battles] if battles else [robots]
    write_atomic(docs / "results.md", "\n\n".join(parts) + "\n")
    print(f"written to {docs / 'results.md'}")


def _runs(runs: Path, experiment: str, rows: list[Row]) -> list[Run]:
    return [load_run(runs / experiment / line.label) for line in rows if finished(runs, experiment, line)]


def _head(runs: Path, done: int, total: int) -> str:
    commands = "\n".join(f"| `{line.label}` | `{' '.join(line.overrides)}` |" for line in [*MAIN, *SWITCHES, *PAPER])
    first = next(iter(sorted(runs.glob("*/*/results.json"))), None)
    versions = "" if first is None else _versions(load_run(first.parent))
    return f"""# What it learns

Written by `make results` ({done} of {total} cells finished). One network and budget for every row, fixed before the runs:
`{" ".join(SIZE)}`; algorithms with a critic: `{" ".join(CRITIC)}`. Five training seeds in one run, twenty episodes per seed
and way to act, the same twenty starts for everybody. Intervals: 95 % bootstrap over seeds, then episodes. Nothing here was
trained with the paper's 4 x 512 networks or its 500 000 updates; these sets are our recordings and no table of the paper.

`vgm2p_plus` was chosen on the two medium-replay sets (seeds 0 and 1, ten episodes) and frozen. It is the fourth choice:
those before it lost to cloning on medium-expert data, so those sets are not untouched, though no switch was chosen on them
([how](algorithms/vgm2p.md#how-it-was-chosen)).

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}

{versions}"""


def _short(runs: Path) -> list[str]:
    """Return vgm2p_plus beside the best of the rows that it has to beat, set by set, everybody in the best way to act."""
    lines = [["set", "data", *SHORT, "vgm2p_plus - the best of the others", "of its return"]]
    for experiment in SETS:
        found = {run.key[1]: run for run in _runs(runs, experiment, MAIN)}
        if not set(SHORT) <= found.keys():
            continue
        values = {name: final_values([run], best_way([run])) for name, run in found.items()}
        best = max(RIVALS, key=lambda name: mean(values[name]))
        centre, low, high = difference(values["vgm2p_plus"], values[best])
        shown = [f"{mean(values[name]):.0f}" for name in SHORT]
        data = f"{found[best].results['dataset_return_mean']:.0f}"
        share = f"{centre / mean(values[best]):+.0%}"
        lines.append([experiment, data, *shown, f"{centre:.0f} [{low:.0f}, {high:.0f}]", share])
    if len(lines) == 1:
        return []
    return ["## In short\n\nMean returns, everybody in the best way to act (chosen on these episodes).", grid(lines)]


def _versions(run: Run) -> str:
    versions = run.manifest["versions"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "mujoco", "gymnasium", "numpy") if name in versions
    )
    return f"Versions: {shown}; device {run.manifest['device']}."


def _main(runs: Path, experiment: str, pictures: Path) -> list[str]:
    found = _runs(runs, experiment, MAIN)
    if not found:
        return []
    text = [f"## {TITLES.get(experiment, experiment)}", _data(found[0]), table(found)]
    if any(run.key[1] == "vgm2p_plus" for run in found) and len(pooled(found)) > 1:
        text.append("Differences, each method acting in its best way (chosen on these episodes, for both sides):")
        text.append(versus(found, "vgm2p_plus", best=True))
    explained = diagnostics(found)
    if explained:
        text += [DIAGNOSTICS, explained]
    curves(found, pictures / f"{experiment}.png")
    shutil.copy(runs / experiment / found[0].key[1] / "plots" / "learning.png", pictures / f"{experiment}-run.png")
    text.append(f"![returns over updates](results/{experiment}.png)")
    text.append(f"![diagnostics of {found[0].key[1]}](results/{experiment}-run.png)")
    return text


def _data(run: Run) -> str:
    data = run.manifest["data"]
    return f"{data['episodes']} episodes, {data['transitions']} transitions, digest `{data['digest'][:16]}`."


def _switches(runs: Path) -> list[str]:
    text: list[str] = []
    for experiment in REPLAY:
        found = _runs(runs, experiment, [MAIN[0], *SWITCHES])
        if len(found) > 1:
            text += [f"### {experiment}", table(found), versus(found, "vgm2p_plus")]
    return ["## The switches of vgm2p_plus, one changed at a time", *text] if text else []


def _paper(runs: Path) -> list[str]:
    text: list[str] = []
    for experiment in REPLAY:
        found = _runs(runs, experiment, [line for line in MAIN if line.label == "vgm2p"] + PAPER)
        if len(found) > 1:
            text += [f"### {experiment}", table(found)]
    return ["## The paper's ablations: mixer (Fig. 2) and omega (Fig. 3)", *text] if text else []


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/results"), Path(__file__).resolve().parents[1] / "docs")
