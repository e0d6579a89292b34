"""docs/smax_baselines.md: MA-BCQ and MA-CQL beside the categorical clone, on the battles of SMAX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.results.battles import BUDGET, CLONE, PARTS, VALUES
from tools.results.battles_page import MethodResult, behaviours, default_result, rates
from tools.results.cells import cells, command_table, finished, load_finished
from tools.results.diagnostics import last_log
from vgm2p.io.files import write_atomic
from vgm2p.io.text import grid
from vgm2p.report.estimates import rate_difference
from vgm2p.report.runs import Run
from vgm2p.report.tables import bounds

ROWS = [CLONE, *VALUES]
HEAD = """# Value baselines on SMAX

`python -m tools.results battles --only values` runs the cells of this page and writes it ({done} of {total} cells
finished{commits}). The data are those of the SMAX tables of [results](results.md): battles of the heuristic at noise 0,
0.1 and 0.3. No table here reproduces one of the paper. Size, budget and seeds are those of the SMAX tables, too:
`{size}`.

The settings of `ma_bcq` and `ma_cql` are those of their files; none was chosen on these battles. The row
`ma_bcq_threshold_0.8` was added when the result of `ma_bcq` on `smax_2s3z` was known. Its threshold was chosen there,
between 0.6 and 0.8, with the weights of `ma_bcq`, on these starts and a hundred others
([why `ma_bcq` loses](notes/smax.md)). So its result on `smax_2s3z` is no independent
test; the notes have one on 300 further starts. `ma_bcq_all_legal` is trained as `ma_bcq`, but chooses among all legal
actions.

The value baselines act in one way, without noise. The clone's default way is `mode`, which has none either; it is the
side of every comparison. Every seed is evaluated for a hundred episodes; the starts are the same for all seeds and
rows. Intervals are 95 % bootstrap intervals over seeds, then episodes, with one draw of starts for all seeds. `*`: the
interval excludes 0.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}"""
DIFFERENCES = "Differences of win rates, to all data and to `{clone}` (paired by start):"
DIAGNOSTICS = """Diagnostics at the end of training, means over seeds. `Q`: the team's value of the stored actions. Its
fixed point: mean reward divided by one minus the mean discount. The `Q` of the data's policy ends there, if no penalty
moves it. Kept: the share of the legal actions that MA-BCQ keeps. Penalty: lambda times the penalty of MA-CQL."""


def write(runs: Path, docs: Path) -> None:
    """Write the page from the finished cells below `runs`. The page lists the missing cells."""
    every = list(cells(PARTS, ["values"]))
    missing = [f"- {experiment}: {row.label}" for experiment, row in every if not finished(runs, experiment, row)]
    experiments = dict.fromkeys(experiment for experiment, _ in every)
    found = {experiment: load_finished(runs, experiment, ROWS) for experiment in experiments}
    states = [run.manifest["git"] for done in found.values() for run in done]
    commits = sorted({state["commit"][:8] for state in states if state})
    head = HEAD.format(
        done=len(every) - len(missing),
        total=len(every),
        commits=f"; commit {', '.join(commits)}" if commits else "",
        size=" ".join(BUDGET),
        commands=command_table(ROWS),
    )
    parts = [head]
    for done in filter(None, found.values()):
        parts += [*rates(done), *_differences(done), *_diagnostics(done)]
    if missing:
        parts.append("## Not run yet\n\n" + "\n".join(missing))
    docs.mkdir(parents=True, exist_ok=True)
    write_atomic(docs / "smax_baselines.md", "\n\n".join(parts) + "\n")
    print(f"written to {docs / 'smax_baselines.md'}")


def _differences(done: Sequence[Run]) -> list[str]:
    """Return every row minus all data, and every value baseline minus the clone."""
    results = {run.key[1]: default_result(run) for run in done}
    data, clone = behaviours(done[0])[-1:], results.get(CLONE.label)
    lines = [["row", "minus the data", f"minus {CLONE.label}"]]
    for label, result in results.items():
        rivals = (data[0] if data else None, clone if label != CLONE.label else None)
        lines.append([label, *(_gap(result, rival) for rival in rivals)])
    return [DIFFERENCES.format(clone=CLONE.label), grid(lines)]


def _gap(result: MethodResult, rival: MethodResult | None) -> str:
    if rival is None:
        return ""
    found = rate_difference(result.won, rival.won)
    return bounds(found, 2) + ("*" if found[1] > 0 or found[2] < 0 else "")


def _diagnostics(done: Sequence[Run]) -> list[str]:
    columns = {"Q": "q_mean", "its fixed point": "q_fixed_point", "kept": "kept", "penalty": "penalty"}
    lines = [["last log", *columns]]
    for run in done:
        last = last_log(run)
        if "q_mean" in last:
            values = [last.get(name) for name in columns.values()]
            lines.append([run.key[1], *("" if value is None else f"{value:.2f}" for value in values)])
    return [DIAGNOSTICS, grid(lines)] if len(lines) > 1 else []
