"""Tables of estimates without a simulator: each beside what the data and the simulator say, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError, StorageError
from vgm2p.io.files import refuse_foreign
from vgm2p.io.text import decimals, grid, markdown, shown
from vgm2p.report.estimates import interval
from vgm2p.report.ranking import (
    Array,
    chance_of_best,
    chance_of_more,
    rank_correlation,
    rank_correlations,
    resampled_values,
)
from vgm2p.report.tables import bounds
from vgm2p.report.values import Estimate

BEGINS = b'{\n "left_out":'  # the first bytes of the file of a ranking
FEWEST = 3  # policies for which a rank correlation is shown


def check_ranking(path: Path) -> None:
    """Raise ConfigError or StorageError unless a ranking can be written here: a new file, or an earlier ranking.

    Its folder is made, so that nothing is computed in vain.
    """
    if path.suffix != ".json":
        raise ConfigError(f"out={path}: the file of a ranking ends in .json; for example out=order.json")
    refuse_foreign(path, (BEGINS,), "out", "estimate")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: {error.strerror}; choose another out=") from error


def table(estimates: Sequence[Estimate], gamma: float, values: Array, returns: Array, held: NDArray[np.int64]) -> str:
    """Return a table of estimates, with the data's own numbers below.

    Args:
        estimates: on one dataset.
        gamma: discount of the values.
        values: discounted return of every episode, NaN for empty ones.
        returns: undiscounted ones.
        held: numbers of the episodes at whose starts the estimates were read.
    """
    lines = [["policy", "seed", f"value, gamma {gamma:g}", "as a return", "measured return"]]
    for one in estimates:
        lines += [_line(one, s) for s in range(len(one.seeds))]
        if len(one.seeds) > 1:
            lines.append(_line(one, None))
    factor = estimates[0].factor
    usable = np.flatnonzero(np.isfinite(values))
    for name, chosen in ((f"data: the same {len(held)} episodes", held), (f"data: all {len(usable)} episodes", usable)):
        cells = [_around(values[chosen]), _around(factor * values[chosen]), _around(returns[chosen])]
        lines.append([name, "", *cells])
    notes = (
        "value: discounted return from the first step, mean [95 % interval over critics and starts; of all seeds: over "
        f"seeds, too]. As a return: value x {factor:.3g}, which is steps over discounted steps of the data's episodes. "
        "Measured return: in the simulator, or recorded."
    )
    return f"{grid(lines)}\n\n{notes}"


def _line(one: Estimate, s: int | None) -> list[str]:
    good = one.usable if s is None else not one.outside(s)
    cells = [_bounds(one.value(s)), _bounds(one.returned(s))] if good else ["diverged", "diverged"]
    found = [value for seed, value in (one.simulator or {}).items() if s is None or seed == one.seeds[s]]
    measured = shown(float(np.mean(found))) if found else ""
    return [markdown(one.name), "all" if s is None else str(one.seeds[s]), *cells, measured]


def _around(values: Array) -> str:
    return _bounds((float(values.mean()), *interval([values.tolist()])))


def _bounds(cell: tuple[float, float, float]) -> str:
    mean, low, high = cell
    return shown(mean) if low == mean == high else bounds(cell, decimals(cell))  # one start and one critic: no interval


def order(estimates: Sequence[Estimate]) -> tuple[dict[str, Any], str]:
    """Return the order of policies, best first, with how sure it is: for programs, and as text.

    Estimates that mean nothing have no place in it. As long as a value still moves, the order has no chances: they
    would hold the spread of the critics, and not how far the fit is from its end.
    """
    ranked = sorted((one for one in estimates if one.usable), key=lambda one: -one.value()[0])
    left_out = [one.name for one in estimates if not one.usable]
    if len(ranked) < 2:
        return {"ranking": [], "left_out": left_out}, "no ranking: fewer than two estimates mean something"
    samples = resampled_values([one.table for one in ranked])
    moving = [one.name for one in ranked if not one.settled]
    best: list[float | None] = [None] * len(ranked) if moving else [*chance_of_best(samples)]
    more = [[None if moving else chance_of_more(a, b) for b in samples] for a in samples]
    lines = [["rank", "policy", "as a return", "best", "above the next", "measured return"]]
    found: list[dict[str, Any]] = []
    for i, one in enumerate(ranked):
        following = _chance(more[i][i + 1]) if i + 1 < len(ranked) else ""
        measured = None if one.simulator is None else float(np.mean(list(one.simulator.values())))
        cells = [markdown(one.name), _bounds(one.returned()), _chance(best[i]), following]
        lines.append([str(i + 1), *cells, "" if measured is None else shown(measured)])
        entry = {"policy": one.name, "act_noise": one.way, "value": one.value()[0], "return": one.returned()[0]}
        found.append({**entry, "chance_of_best": best[i], "measured_return": measured, "above": more[i]})
    parts = [f"left out, since it means nothing: {', '.join(left_out)}"] if left_out else []
    note = "best, above the next: chances from one bootstrap of critics and starts for all policies"
    if moving:
        note = f"the order may change, and has no chances: values still move ({', '.join(moving)}); raise updates="
    parts += [grid(lines), note]
    agreement = _agreement(ranked, samples)
    if agreement is not None:
        parts.append(
            f"rank correlation with the simulator: {agreement['rank_correlation']:.2f} "
            f"[{agreement['ci95'][0]:.2f}, {agreement['ci95'][1]:.2f}] over {agreement['policies']} policies"
        )
    return {"ranking": found, "left_out": left_out, "simulator": agreement}, "\n\n".join(parts)


def _chance(share: float | None) -> str:
    return "?" if share is None else f"{share:.0%}"


def _agreement(ranked: Sequence[Estimate], samples: Array) -> dict[str, Any] | None:
    """Return the rank correlation of estimates and simulator; the interval is over the estimates' bootstrap alone."""
    known = [i for i, one in enumerate(ranked) if one.simulator is not None]
    if len(known) < FEWEST:
        return None
    measured = [float(np.mean(list((ranked[i].simulator or {}).values()))) for i in known]
    centre = rank_correlation([ranked[i].value()[0] for i in known], measured)
    return {"rank_correlation": centre, "ci95": rank_correlations(samples[known], measured), "policies": len(known)}
