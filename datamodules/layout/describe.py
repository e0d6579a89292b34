"""What a dataset contains, as text and as a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.constant import constant_features, constant_line
from vgm2p.datamodules.layout.facts import facts_of
from vgm2p.datamodules.layout.outcomes import achieved
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.sampling import ESS, by_return, sampling_line
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION, Columns
from vgm2p.io.files import refuse_foreign, written_aside
from vgm2p.io.text import decimals, name, one_line, shown

ENDS = {TERMINAL: "terminal", TIMEOUT: "time limit", TRUNCATION: "truncated", INCOMPLETE: "incomplete"}
DRAWN_BY = "vgm2p data show"
BARS = 12
WIDTH = 40
FINEST = 9  # most decimals of an edge


def describe(path: Path) -> str:
    """Return the text of `data show` for one dataset. Raises MissingInput or DataError."""
    columns = read(path)
    attributes, episodes = columns.attributes, columns.episodes
    returns, lengths = episodes["return"], episodes["length"]
    mean, deviation, low, high = (shown(v) for v in (returns.mean(), returns.std(), returns.min(), returns.max()))
    digits = decimals(returns)
    quantiles = " / ".join(f"{q:.{digits}f}" for q in np.percentile(returns, [5, 25, 50, 75, 95]))
    ends = Counter(ENDS[int(end)] for end in episodes["end"])
    kind = "discrete" if attributes["discrete"] else "continuous"
    acting = int(columns.steps["has_action"].sum())
    lines = {
        "dataset": f"{name(attributes['name'])}  ({path}, {path.stat().st_size / 1e6:.1f} MB)",
        "task": f"{attributes['env_id']}{_arguments(attributes)}, {attributes['n_agents']} agents, "
        f"{kind} actions of width {attributes['action_dim']}",
        "recorded with": _versions(attributes),
        "episodes": f"{len(returns)}, transitions {acting}, ends: " + ", ".join(f"{k} {n}" for k, n in ends.items()),
        "return": f"{mean} +- {deviation} (min {low}, max {high}); 5/25/50/75/95 %: {quantiles}",
        "victories": _victories(columns),
        "by return": f"data.sampling=return data.ess={ESS} gives {sampling_line(by_return(columns, ESS).facts)}",
        "length": f"mean {lengths.mean():.1f} (min {lengths.min()}, max {lengths.max()})",
        "actions": _actions(columns),
        "legal": _legal(columns),
        "features": constant_line(constant_features(columns)),
        "coverage": f"{coverage(columns):.2f} of the observation-action rows are distinct",
        "behaviours": _behaviours(columns),
        "digest": str(attributes["content_sha256"]),
    }
    text = [f"{title:14} {one_line(value)}" for title, value in lines.items() if value]
    text += [f"{'conversion':14} {one_line(notice)}" for notice in facts_of(columns).get("notices", [])]
    return "\n".join([*text, "", *_histogram(returns), ""])


def _arguments(attributes: dict[str, Any]) -> str:
    given = str(attributes["env_kwargs"])
    return "" if given == "{}" else f" {given}"


def _versions(attributes: dict[str, Any]) -> str:
    names = ("gymnasium_version", "mujoco_version")
    return " ".join(f"{name} {attributes[name]}" for name in names if name in attributes)


def _victories(columns: Columns) -> str:
    found = achieved(columns)
    won = f"{found['won'].mean():.1%} of the episodes are won" if "won" in found else ""
    return won + (f", mean score {shown(found['score'].mean())}" if "score" in found else "")


def _actions(columns: Columns) -> str:
    actions = columns.steps["actions"][columns.steps["has_action"].astype(bool)]
    if columns.attributes["discrete"]:
        counts = np.bincount(actions.reshape(-1), minlength=int(columns.attributes["action_dim"]))
        return "counts " + " ".join(map(str, counts.tolist()))
    low, high = actions.min((0, 2)), actions.max((0, 2))
    ranges = " ".join(f"[{a:.2f}, {b:.2f}]" for a, b in zip(low, high, strict=True))
    return f"per agent {ranges}; share at the bounds {float((np.abs(actions) >= 1.0).mean()):.2f}"


def _legal(columns: Columns) -> str:
    if "legal_actions" not in columns.steps:
        return ""
    legal = columns.steps["legal_actions"][columns.steps["has_action"].astype(bool)]
    choices = legal.sum(-1)
    span = f"{int(choices.min())} to {int(choices.max())}"
    return f"{choices.mean():.1f} actions on average, {span}; every stored action is legal"


def coverage(columns: Columns) -> float:
    """Return how many steps have distinct (joint observation, joint action) pairs, as a share of all steps (SACo)."""
    steps, acting = columns.steps, columns.steps["has_action"].astype(bool)
    seen = steps["robot_observation" if "robot_observation" in steps else "observations"]
    rows = np.flatnonzero(acting).tolist()
    return len({hash(seen[row].tobytes() + steps["actions"][row].tobytes()) for row in rows}) / len(rows)


def _behaviours(columns: Columns) -> str:
    if "behaviour" not in columns.episodes or "behaviours" not in columns.attributes:
        return ""
    names = json.loads(columns.attributes["behaviours"])
    if not names:  # the recorder did not say
        return ""
    counts = Counter(columns.episodes["behaviour"].tolist())
    return ", ".join(f"{_behaviour(names[index])} x{count}" for index, count in sorted(counts.items()))


def _behaviour(record: dict[str, Any]) -> str:
    return f"{record['policy']} noise {record['noise']:g}" if record.get("noise") else str(record["policy"])


def _histogram(returns: NDArray[Any]) -> list[str]:
    counts, edges = np.histogram(returns, bins=BARS, range=_span(returns, BARS))
    digits = max(decimals(edges), min(FINEST, -math.floor(math.log10(edges[1] - edges[0]))))  # edges differ as text
    return [
        f"{edges[i]:9.{digits}f} .. {edges[i + 1]:7.{digits}f}  {'#' * round(WIDTH * count / counts.max())} {count}"
        for i, count in enumerate(counts)
    ]


def _span(values: NDArray[Any], bars: int) -> tuple[float, float]:
    """Return where the bars of a histogram begin and end; around values too close for so many bars, it is wider."""
    low, high = float(values.min()), float(values.max())
    steps = 4 * bars * float(np.spacing(max(abs(low), abs(high))))  # of the float format, four for a bar
    more = 0.0 if high - low >= steps else max(0.5, steps)
    return low - more, high + more


def picture(path: Path, target: Path) -> None:
    """Write a PNG file with histograms of the episodes' returns and lengths.

    Raises MissingInput or DataError, and StorageError in place of a file that this function did not write.
    """
    from matplotlib.figure import Figure  # not pyplot: it would change the backend of a program that calls us

    refuse_foreign(target, (DRAWN_BY.encode(),), "out", DRAWN_BY)
    columns = read(path)
    figure = Figure(figsize=(9, 3.4))
    left, right = figure.subplots(1, 2)
    for axis, values, measure in (
        (left, columns.episodes["return"], "return"),
        (right, columns.episodes["length"], "length"),
    ):
        axis.hist(values, bins=30, range=_span(values, 30), color="#0072B2")
        axis.set_xlabel(f"episode {measure}")
        axis.set_ylabel("episodes")
        axis.axvline(float(values.mean()), color="#D55E00", linestyle="--", label=f"mean {values.mean():.0f}")
        axis.legend(frameon=False)
    figure.suptitle(name(columns.attributes["name"]), parse_math=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as temporary:
        figure.savefig(temporary, format="png", dpi=130, bbox_inches="tight", metadata={"Software": DRAWN_BY})
