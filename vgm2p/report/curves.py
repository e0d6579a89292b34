"""Learning curves of several runs, and the plot of one run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from vgm2p.io.files import written_aside
from vgm2p.io.text import warn_once
from vgm2p.report.estimates import interval, mean
from vgm2p.report.runs import Run, data_mean, final_values, load_run, pooled, ways_of
from vgm2p.run.folder import RunFolder, Way

matplotlib.rcParams["text.parse_math"] = False  # a name from a file is text, also between dollar signs
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
# (marker, line) of the first seven methods in a panel, of the next seven, and so on
STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
# title -> columns of metrics.csv: the first is drawn solid, the second dashed. Without its first column, no panel
PANELS: dict[str, tuple[str, ...]] = {
    "policy loss": ("policy_loss",),
    "error of the predicted noise": ("plan_loss",),
    "loss of the inverse model": ("inverse_loss",),
    "critic loss": ("critic_loss",),
    "Q (dashed: its fixed point)": ("q_mean", "q_fixed_point"),
    "share of class 1": ("c1_fraction",),
    "agent pairs with equal class": ("c_agreement",),
    "standard deviation of the advantage": ("adv_std",),
    "actions on the bounds": ("clipped",),
    "distance to the stored actions": ("clone_loss",),
    "weight of Q": ("q_weight",),
    "share of legal actions kept": ("kept",),
    "TD loss": ("td_loss",),
    "penalty on the critic": ("penalty",),
    "share of searched actions that are better": ("search_wins",),
    "distance to the searched action": ("search_distance",),
    "value loss": ("value_loss",),
    "explained variance of the value": ("value_explained",),
    "loss of the effect": ("effect_loss",),
    "correlation of effect and residual": ("effect_correlation",),
    "effective share of the policy's weights": ("ess",),
    "effective share of the target's weights": ("target_ess",),
    "share of clamped weights": ("clamped",),
    "largest weight": ("weight_max",),
    "stored actions on the bounds": ("saturated",),
}
SHARES = ("c1_fraction", "c_agreement", "clipped", "kept", "search_wins", "ess", "target_ess", "clamped", "saturated")
COLUMNS = 4


def curves(runs: Sequence[Run], path: Path) -> None:
    """Draw the mean return over updates of every method, with 95 % bands, in one panel per experiment."""
    groups = pooled(runs)
    experiments = list(dict.fromkeys(key[0] for key in groups))
    figure, axes = plt.subplots(len(experiments), 1, figsize=(8, 4.2 * len(experiments)), squeeze=False)
    for axis, experiment in zip(axes[:, 0], experiments, strict=True):
        draw_panel(axis, experiment, {key[1]: group for key, group in groups.items() if key[0] == experiment})
    _save(figure, path)


def draw_panel(axis: Any, experiment: str, algorithms: dict[str, list[Run]]) -> None:
    """Draw the curves of one experiment. Every method (name -> its runs) has its own colour, line and marker."""
    looks = itertools.cycle(itertools.product(STYLES, COLOURS))
    for ((marker, line), colour), (name, group) in zip(looks, algorithms.items(), strict=False):
        merged: dict[int, list[list[float]]] = {}
        for run in group:
            for update, seeds in run.curve.items():
                merged.setdefault(update, []).extend(seeds.values())
        updates = sorted(merged)
        bands = np.array([(mean(merged[u]), *interval(merged[u])) for u in updates])
        axis.plot(updates, bands[:, 0], line, marker=marker, markersize=4, color=colour, label=_label(name, group))
        axis.fill_between(updates, bands[:, 1], bands[:, 2], color=colour, alpha=0.18, linewidth=0)
    _references(axis, next(iter(algorithms.values()))[0].results)
    axis.set_title(experiment)
    axis.set_xlabel("updates")
    axis.set_ylabel("return (95 % band)")
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def _label(name: str, group: Sequence[Run]) -> str:
    """Return the name of a method, with the number of its seeds that diverged."""
    lost = sum(len(run.diverged) for run in group)
    return f"{name} (x: {lost} diverged)" if lost else name


def _references(axis: Any, results: dict[str, Any]) -> None:
    data = data_mean(results, "score" if "score_mean" in results else "return")  # scores are returns on one scale
    if data is not None:
        axis.axhline(data, color="0.35", linestyle="--", linewidth=1, label="dataset mean")
    axis.axhline(results["random_return_mean"], color="0.6", linestyle=":", linewidth=1, label="random policy")
    axis.grid(alpha=0.25)


def run_plot(folder: Path) -> Path:
    """Draw `plots/learning.png` of one run, with its return and its training diagnostics. Return the path."""
    place = RunFolder(folder)
    log = place.log_metrics()
    metrics = [] if log.too_large else log.rows()
    if log.too_large:
        warn_once(f"{log.path} is too large for a picture of its diagnostics; a larger log_every gives fewer rows")
    present = {title: names for title, names in PANELS.items() if metrics and names[0] in metrics[0]}
    run = load_run(folder) if "return_mean" in place.read_results() else None
    ways = ways_of([run]) if run else []
    count = len(present) + (run is not None) + (len(ways) > 1)
    if not count:
        return place.plots / "learning.png"
    rows = -(-count // COLUMNS)
    figure, axes = plt.subplots(
        rows, min(count, COLUMNS), figsize=(4 * max(2, min(count, COLUMNS)), 3.6 * rows), squeeze=False
    )
    figure.subplots_adjust(hspace=0.4, wspace=0.25)
    panels = list(axes.flat)
    for axis in panels[count:]:
        axis.axis("off")
    if run:
        draw_panel(panels.pop(0), run.key[0], {run.key[1]: [run]})
        axes[0][0].legend(loc="best", frameon=False, fontsize=8)
    if run and len(ways) > 1:
        draw_ways(panels.pop(0), run, ways)
    for axis, (title, names) in zip(panels, present.items(), strict=False):
        _diagnostic(axis, title, names, metrics)
    path = place.plots / "learning.png"
    _save(figure, path)
    return path


def draw_ways(axis: Any, run: Run, ways: Sequence[Way]) -> None:
    """Draw the final win rate, or else the final return, in every way to act, with its 95 % interval."""
    measure = "won" if run.final.get("won") else "return"
    values = [final_values([run], way, measure) for way in ways]
    middle = [mean(found) for found in values]
    bounds = np.array([interval(found) for found in values]).T
    axis.errorbar(range(len(ways)), middle, np.abs(bounds - middle), fmt="o", color=COLOURS[0], capsize=3)
    axis.set_xticks(range(len(ways)), [f"{way:g}" if isinstance(way, float) else str(way) for way in ways])
    axis.set_xlim(-0.5, len(ways) - 0.5)
    axis.set_title(f"{'win rate' if measure == 'won' else 'return'} at the end, by way to act")
    axis.grid(alpha=0.25)


def _diagnostic(axis: Any, title: str, names: Sequence[str], metrics: list[dict[str, str]]) -> None:
    for colour, seed in zip(COLOURS * 10, sorted({row["seed"] for row in metrics}), strict=False):
        mine = [row for row in metrics if row["seed"] == seed]
        updates = [int(row["update"]) for row in mine]
        for name, style in zip(names, ("-", "--"), strict=False):
            axis.plot(updates, [float(row[name]) for row in mine], style, color=colour, linewidth=1.2)
        if names[0] == "c1_fraction":
            _agents(axis, mine, updates, colour)
    axis.set_title(title)
    axis.set_xlabel("updates")
    axis.grid(alpha=0.25)
    if names[0] in SHARES:
        axis.set_ylim(-0.03, 1.03)


def _agents(axis: Any, rows: list[dict[str, str]], updates: list[int], colour: str) -> None:
    for name in [name for name in rows[0] if name.startswith("c1_fraction_")]:
        axis.plot(updates, [float(row[name]) for row in rows], color=colour, linewidth=0.5, alpha=0.5)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
