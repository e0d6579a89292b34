"""What run folders say about themselves. A stranger may have written them, so every entry may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vgm2p.io.text import name, shell_words, shown
from vgm2p.report.estimates import played
from vgm2p.report.runs import Run
from vgm2p.report.variants import simulators

UNKNOWN = "not recorded"


def experiment_facts(runs: Sequence[Run]) -> dict[str, str]:
    """Return title -> text about what the runs of one experiment have in common, or how they differ."""
    seeds = sorted({seed for run in runs for seed in run.evaluated})
    tables = [values for run in runs for table in run.final["return"].values() for values in table.values()]
    return {
        "dataset": each_once(_dataset(run) for run in runs),
        "digest of the data": each_once(name(run.results["data_digest"])[:16] for run in runs),
        "recorded episodes": each_once(_recorded(run) for run in runs),
        "environment": each_once(_environment(run) for run in runs),
        "updates": each_once(str(run.results["updates"]) for run in runs),
        "seeds": numbers(seeds),
        "episodes per seed": " or ".join(map(str, sorted({len(played(values)) for values in tables}))),
    }


def each_once(texts: Iterable[str], most: int = 4) -> str:
    """Return different texts once each, at most `most` of them."""
    found = list(dict.fromkeys(texts))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def numbers(values: Sequence[int]) -> str:
    """Return whole numbers in ascending order as text; a row without gaps as first to last."""
    if len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values[:20])) + (" ..." if len(values) > 20 else "")


def _data(run: Run) -> Mapping[str, Any]:
    found = run.manifest.get("data")
    return found if isinstance(found, Mapping) else {}


def _dataset(run: Run) -> str:
    found = _data(run).get("name", run.results.get("data"))
    return name(found) if isinstance(found, str) else UNKNOWN


def _recorded(run: Run) -> str:
    data = _data(run)
    episodes, steps, mean = (data.get(key) for key in ("episodes", "transitions", "return_mean"))
    if not isinstance(episodes, int) or not isinstance(steps, int):
        return UNKNOWN
    middle = f", mean return {shown(mean)}" if isinstance(mean, float) else ""
    return f"{episodes} ({steps} steps{middle})"


def _environment(run: Run) -> str:
    spec = run.manifest.get("spec")
    found = spec.get("env_id") if isinstance(spec, Mapping) else None
    known = name(found) if isinstance(found, str) else name(run.results.get("environment", UNKNOWN))
    agents = spec.get("n_agents") if isinstance(spec, Mapping) else None
    return f"{known}, {agents} agents" if isinstance(agents, int) else known


def versions(run: Run) -> dict[str, str]:
    """Return name -> version of the program, its packages and the simulator."""
    git = run.manifest.get("git")
    found = {name(key): name(value) for key, value in run.manifest.get("versions", {}).items()}
    if isinstance(git, Mapping) and isinstance(git.get("commit"), str):
        found["commit of vgm2p"] = name(git["commit"])[:12] + (" (modified)" if git.get("modified") else "")
    found |= {
        f"{name(key).removeprefix('version of ')} (simulator)": name(value) for key, value in simulators(run).items()
    }
    return found


def typed(run: Run) -> str | None:
    """Return the command that repeats a run, on any machine; None if its folder does not hold it."""
    words = run.manifest["config"].get("overrides")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return f"python -m vgm2p {shell_words('fit', *(word for word in words if not word.startswith('resume=')))}"


def text_of(run: Run, key: str) -> str:
    """Return an entry of the manifest as text."""
    found = run.manifest.get(key)
    return name(found) if isinstance(found, str | int) else UNKNOWN
