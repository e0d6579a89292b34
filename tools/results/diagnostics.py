"""The table of diagnostics, from the last log of every run with a critic."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from vgm2p.io.text import grid
from vgm2p.report.runs import Run
from vgm2p.run.folder import RunFolder


def diagnostics(runs: Sequence[Run]) -> str:
    """Return a table with a line per run whose log has `q_mean` (means over seeds). Empty without such a run."""
    lines = [["last log", "Q / its fixed point", "class 1", "agents agree", "by chance", "clipped"]]
    for run in runs:
        last = last_log(run)
        if "q_mean" in last:
            values: list[float | None] = [last["q_mean"] / last["q_fixed_point"]]
            one = last.get("c1_fraction")
            values += [one, last.get("c_agreement"), None if one is None else one**2 + (1 - one) ** 2]
            values.append(last.get("clipped"))
            lines.append([run.key[1], *("" if value is None else f"{value:.2f}" for value in values)])
    return grid(lines) if len(lines) > 1 else ""


def last_log(run: Run) -> dict[str, float]:
    """Return the columns of metrics.csv at the last update, means over the seeds."""
    rows = RunFolder(run.folder).log_metrics().rows()
    last = [row for row in rows if row["update"] == rows[-1]["update"]]
    return {name: mean(float(row[name]) for row in last) for name in last[0] if last[0][name]}
