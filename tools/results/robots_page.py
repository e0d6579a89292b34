"""The half of docs/results.md about robots, and its picture, written from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.results import robots_text as text
from tools.results.cells import Row, cells, command_table, finished, load_finished
from tools.results.page import halves, save
from tools.results.rivals import own, shown, verdicts
from tools.results.robots import ABLATIONS, CRITIC, GROUPS, LARGE_ROWS, MAIN, PARTS, PLUS, REPLAY, SETS, SIZE
from tools.results.robots_picture import draw
from vgm2p.io.text import grid
from vgm2p.report.estimates import mean
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import best_way
from vgm2p.run.folder import RunFolder, read_json
from vgm2p.run.ways import Way, way_text

Found = Mapping[str, Mapping[str, Run]]  # experiment -> label -> finished run
SHOWN_VERSIONS = ("torch", "mujoco", "gymnasium", "numpy")


def write(runs: Path, docs: Path) -> None:
    """Write this half of the page from the finished cells below `runs`. The page lists the missing cells."""
    every = list(cells(PARTS, list(PARTS)))
    missing = [(experiment, row.label) for experiment, row in every if not finished(runs, experiment, row)]
    found = {experiment: {run.key[1]: run for run in load_finished(runs, experiment, MAIN)} for experiment in SETS}
    parts = [_head(runs, len(every) - len(missing), len(every)), text.TABLE, _table(found, MAIN)]
    if any(found.values()):
        (docs / "results").mkdir(parents=True, exist_ok=True)
        draw(found, docs / "results" / "robots.png")
        parts.append(text.FIGURE)
    parts += _gaps(found)
    for title, rows in ((text.ABLATIONS, ABLATIONS), (text.LARGE, LARGE_ROWS)):
        some = {experiment: {run.key[1]: run for run in load_finished(runs, experiment, rows)} for experiment in REPLAY}
        if any(some.values()):
            parts += [title, _table(some, rows)]
    parts.append(text.ROWS.format(commands=command_table([*MAIN, *ABLATIONS, *LARGE_ROWS])))
    if missing:
        parts.append(text.MISSING + "\n".join(_grouped(missing)))
    _, battles = halves(docs)
    save(docs, "\n\n".join(parts), battles)


def _grouped(missing: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for all experiments that lack the same rows."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(experiment for experiment, _ in missing):
        labels = tuple(label for experiment, label in missing if experiment == name)
        sets.setdefault(labels, []).append(_short(name))
    return [f"- {', '.join(names)}: {', '.join(labels)}" for labels, names in sets.items()]


def _head(runs: Path, done: int, total: int) -> str:
    found = [run for experiment, row in cells(PARTS, list(PARTS)) for run in load_finished(runs, experiment, [row])]
    return text.HEAD.format(
        done=done,
        total=total,
        size=" ".join(SIZE),
        critic=" ".join(CRITIC),
        versions=_versions(found) if found else "",
    )


def _table(found: Found, rows: Sequence[Row]) -> str:
    """Return a table with a line per row that was run, and a column per dataset."""
    rows = [row for row in rows if any(row.label in runs for runs in found.values())]
    lines = [["row", *map(_short, found)], ["mean of the data", *(_data(runs) for runs in found.values())]]
    lines += [[row.label, *(_returns(runs.get(row.label)) for runs in found.values())] for row in rows]
    return grid(lines)


def _short(experiment: str) -> str:
    return experiment.removeprefix("recorded_")


def _data(runs: Mapping[str, Run]) -> str:
    return next((f"{run.results['dataset_return_mean']:.0f}" for run in runs.values()), "")


def _returns(run: Run | None) -> str:
    """Return the mean return in the own way to act and, in brackets, in the best one."""
    if run is None:
        return ""
    own, best = run.results["act_noise"], best_way([run])
    cell, most = f"{_mean(run, own):.0f}", f"{_mean(run, best):.0f}"
    return cell if cell == most else f"{cell} ({most} at {way_text(best)})"


def _mean(run: Run, way: Way) -> float:
    return mean(final_values([run], way))


def _gaps(found: Found) -> list[str]:
    """Return vgm2p_plus minus the best row of every group, on every dataset that has it, and what follows from it."""
    lines = [["set", PLUS.label, *(part for name in GROUPS for part in (f"best of {name}", "difference"))]]
    against: dict[str, tuple[Run, list[Run]]] = {}
    for experiment, runs in found.items():
        plus = runs.get(PLUS.label)
        if plus is None:
            continue
        line = [_short(experiment), f"{mean(own(plus)):.0f}"]
        for rows in GROUPS.values():
            rivals = [runs[row.label] for row in rows if row.label in runs]
            line += shown(plus, rivals) if rivals else ["", ""]
        lines.append(line)
        if others := [run for run in runs.values() if run is not plus]:
            against[_short(experiment)] = (plus, others)
    return [text.GAPS, grid(lines), text.SUMMARY, verdicts(against)] if against else []


def _versions(found: Sequence[Run]) -> str:
    versions, states = found[0].manifest["versions"], [run.manifest["git"] for run in found]
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions)
    commits = sorted({state["commit"][:8] for state in states if state})
    unknown = f"{states.count(None)} of {len(states)} cells come from exports of the tree, which record no commit"
    code = [f"commits {', '.join(commits)}"] if commits else []
    code += [unknown] if None in states else []
    devices = sorted({str(run.manifest["device"]) for run in found})
    hours = sum(_seconds(run) for run in found) / 3600
    return (
        f"Versions: {shown}; device {', '.join(devices)}; {'; '.join(code)}. "
        f"Together the cells took {hours:.1f} hours of one process, beside other work."
    )


def _seconds(run: Run) -> float:
    """Return how long a cell took, including pauses of the machine."""
    sessions = read_json(RunFolder(run.folder).timing, "the run")["sessions"]
    return sum(session["total_seconds"] for session in sessions)  # type: ignore[no-any-return]
