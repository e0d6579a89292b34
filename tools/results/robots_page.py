"""The half of docs/results.md about robots, and its pictures, written from finished runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.results import robots_text as text
from tools.results.cells import cells, command_table, finished, load_finished
from tools.results.diagnostics import diagnostics
from tools.results.page import halves, save
from tools.results.questions import answers
from tools.results.robots import CRITIC, EXPERT, MAIN, MEDIUM, PAPER, PARTS, REPLAY, SIZE, SWITCHES
from vgm2p.io.text import grid
from vgm2p.report.curves import curves
from vgm2p.report.estimates import Seeds, difference, mean
from vgm2p.report.runs import Run, final_values, pooled
from vgm2p.report.tables import best_way, bounds, table, versus
from vgm2p.run.folder import RunFolder, read_json

RIVALS = ("bc_gaussian", "bc_flow", "bc_meanflow", "vgm2p")
SHORT = (*RIVALS, "vgm2p_chosen")
OTHERS = ("vgm2p_team", "vgm2p_fm", "bc_meanflow_best25")
SEEN_SEEDS, SEEN_STARTS = 2, 10  # the first of each were used to choose vgm2p_chosen
SETS = [*REPLAY, *MEDIUM, *EXPERT, "quickstart"]
TITLES = {"quickstart": "bundled_6halfcheetah (`experiment=quickstart`)"}
SHOWN_VERSIONS = ("torch", "mujoco", "gymnasium", "numpy")


def write(runs: Path, docs: Path) -> None:
    """Write this half of the page from the finished cells below `runs`. The page lists the missing cells."""
    every = list(cells(PARTS, list(PARTS)))
    missing = [(experiment, row.label) for experiment, row in every if not finished(runs, experiment, row)]
    pictures = docs / "results"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_head(runs, len(every) - len(missing), len(every)), *_in_short(runs)]
    for experiment in SETS:
        parts += _experiment(runs, experiment, pictures)
    parts += answers(runs, SETS, [*MAIN, *SWITCHES, *PAPER])
    parts += _switches(runs)
    parts += _paper(runs)
    if missing:
        names = sorted({f"{experiment}: {label}" for experiment, label in missing})
        parts.append("## Not run yet\n\n" + "\n".join(f"- {name}" for name in names))
    _, battles = halves(docs)
    save(docs, "\n\n".join(parts), battles)


def _head(runs: Path, done: int, total: int) -> str:
    found = [run for experiment, row in cells(PARTS, list(PARTS)) for run in load_finished(runs, experiment, [row])]
    return text.HEAD.format(
        done=done,
        total=total,
        size=" ".join(SIZE),
        critic=" ".join(CRITIC),
        commands=command_table([*MAIN, *SWITCHES, *PAPER]),
        versions=_versions(found) if found else "",
    )


def _in_short(runs: Path) -> list[str]:
    """Return comparisons of vgm2p_chosen: with its rivals, all rows, and on seeds and starts unseen by its choice."""
    targets = [["set", "data", *SHORT, "vgm2p_chosen - best of the four", "in % of that row"]]
    others = [["set", "vgm2p_chosen as set (0.25)", *OTHERS, "vgm2p_chosen - best of all rows"]]
    unseen = [["set", *SHORT, "vgm2p_chosen - best of the four"]]
    for experiment in SETS:
        found = {run.key[1]: run for run in load_finished(runs, experiment, MAIN)}
        if not set(SHORT) <= found.keys():
            continue
        values = {name: final_values([run], best_way([run])) for name, run in found.items()}
        data, plus = f"{found['vgm2p'].results['dataset_return_mean']:.0f}", found["vgm2p_chosen"]
        gap, best = _gap(values, RIVALS)
        share = f"{mean(values['vgm2p_chosen']) / mean(values[best]) - 1:+.0%}"
        targets.append([experiment, data, *_means(values, SHORT), gap, share])
        own = final_values([plus], plus.results["act_noise"])
        gap, best = _gap(values, [name for name in found if name != "vgm2p_chosen"])
        others.append([experiment, f"{mean(own):.0f}", *_means(values, OTHERS), f"{gap} {best}"])
        if experiment in REPLAY:
            held = {name: [episodes[SEEN_STARTS:] for episodes in values[name][SEEN_SEEDS:]] for name in SHORT}
            unseen.append([experiment, *_means(held, SHORT), _gap(held, RIVALS)[0]])
    if len(targets) == 1:
        return []
    return [text.IN_SHORT, grid(targets), text.OTHER_ROWS, grid(others), text.UNSEEN, grid(unseen)]


def _means(values: Mapping[str, Seeds], names: Sequence[str]) -> list[str]:
    return [f"{mean(values[name]):.0f}" if name in values else "" for name in names]


def _gap(values: Mapping[str, Seeds], rivals: Sequence[str]) -> tuple[str, str]:
    """Return vgm2p_chosen minus the best of `rivals`, with a * if the interval excludes 0, and the name of the best."""
    best = max(rivals, key=lambda name: mean(values[name]))
    found = difference(values["vgm2p_chosen"], values[best])
    return bounds(found, 0) + ("*" if found[1] > 0 or found[2] < 0 else ""), best


def _versions(found: Sequence[Run]) -> str:
    versions, states = found[0].manifest["versions"], [run.manifest["git"] for run in found]
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions)
    commits = sorted({state["commit"][:8] for state in states if state})
    unknown = f"{states.count(None)} of {len(states)} cells come from exports of the tree, over several days, "
    code = [f"commits {', '.join(commits)}"] if commits else []
    code += [unknown + "which record no commit"] if None in states else []
    hours = sum(_seconds(run) for run in found) / 3600
    return (
        f"Versions: {shown}; device {found[0].manifest['device']}; {'; '.join(code)}. "
        f"Together the cells took {hours:.1f} hours of one process. Two ran at a time, beside other work."
    )


def _seconds(run: Run) -> float:
    """Return how long a cell took, including pauses of the machine."""
    sessions = read_json(RunFolder(run.folder).timing, "the run")["sessions"]
    return sum(session["total_seconds"] for session in sessions)  # type: ignore[no-any-return]


def _experiment(runs: Path, experiment: str, pictures: Path) -> list[str]:
    """Return the section of a dataset, and write its two pictures."""
    found = load_finished(runs, experiment, MAIN)
    if not found:
        return []
    parts = [f"## {TITLES.get(experiment, experiment)}", _data(found[0]), table(found)]
    if any(run.key[1] == "vgm2p_chosen" for run in found) and len(pooled(found)) > 1:
        parts += [text.DIFFERENCES, versus(found, "vgm2p_chosen", best=True)]
    explained = diagnostics(found)
    if explained:
        parts += [text.DIAGNOSTICS, explained]
    curves(found, pictures / f"{experiment}.png")
    picture = runs / experiment / found[0].key[1] / "plots" / "learning.png"
    if picture.exists():  # an unpacked cell has none: the one that was copied earlier stays
        shutil.copy(picture, pictures / f"{experiment}-run.png")
    parts.append(f"![returns over updates](results/{experiment}.png)")
    parts.append(f"![diagnostics of {found[0].key[1]}](results/{experiment}-run.png)")
    return parts


def _data(run: Run) -> str:
    data = run.manifest["data"]
    return f"{data['episodes']} episodes, {data['transitions']} transitions, digest `{data['digest'][:16]}`."


def _switches(runs: Path) -> list[str]:
    parts: list[str] = []
    for experiment in REPLAY:
        found = load_finished(runs, experiment, [MAIN[0], *SWITCHES])
        if len(found) > 1:
            parts += [f"### {experiment}", table(found), versus(found, "vgm2p_chosen")]
    return ["## The switches of vgm2p_chosen, one changed at a time", *parts] if parts else []


def _paper(runs: Path) -> list[str]:
    parts: list[str] = []
    for experiment in REPLAY:
        found = load_finished(runs, experiment, [row for row in MAIN if row.label == "vgm2p"] + PAPER)
        if len(found) > 1:
            parts += [f"### {experiment}", table(found), diagnostics(found)]
    return ["## The paper's ablations: mixer (Fig. 2) and omega (Fig. 3)", *parts] if parts else []
