"""A row in its own way to act against the best of its rivals, each in its best way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vgm2p.report.estimates import Seeds, difference, mean, rate_difference
from vgm2p.report.runs import Run, final_values
from vgm2p.report.tables import bounds
from vgm2p.run.ways import Way

ABOVE, BELOW, ALIKE = "lies above 0", "lies below 0", "contains 0"


def best(rivals: Sequence[Run], measure: str = "return") -> tuple[Run, Way]:
    """Return the rival, and its way to act, with the highest mean; of equals the first one."""
    every = [(run, way) for run in rivals for way in run.final[measure]]
    return max(every, key=lambda found: mean(final_values([found[0]], found[1], measure)))


def own(run: Run, measure: str = "return") -> Seeds:
    """Return the values of a run in its own way to act."""
    return final_values([run], run.results["act_noise"], measure)


def gap(run: Run, rivals: Sequence[Run], measure: str = "return") -> tuple[float, float, float]:
    """Return the mean difference to the best rival and the ends of its 95 % interval."""
    rival, way = best(rivals, measure)
    subtract = rate_difference if measure == "won" else difference
    return subtract(own(run, measure), final_values([rival], way, measure))


def shown(run: Run, rivals: Sequence[Run], measure: str = "return", digits: int = 0) -> list[str]:
    """Return two cells of a table: the best rival, and the difference to it, with `*` if the interval excludes 0."""
    rival, way = best(rivals, measure)
    low, high = (found := gap(run, rivals, measure))[1:]
    value = mean(final_values([rival], way, measure))
    return [f"{value:.{digits}f} {rival.key[1]}", bounds(found, digits) + ("*" if low > 0 or high < 0 else "")]


def verdicts(sets: Mapping[str, tuple[Run, Sequence[Run]]], measure: str = "return") -> str:
    """Return the lines of a list: where the interval of the difference lies above 0, below 0, or contains 0."""
    found: dict[str, list[str]] = {ABOVE: [], BELOW: [], ALIKE: []}
    for name, (run, rivals) in sets.items():
        _, low, high = gap(run, rivals, measure)
        found[ABOVE if low > 0 else BELOW if high < 0 else ALIKE].append(name)
    return "\n".join(f"- {verdict}: {', '.join(names) or 'none'}" for verdict, names in found.items())
