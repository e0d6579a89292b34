"""What the proposals of `vgm2p estimate propose=true` cost: against the best choice that the simulator knows.

    python -m tools.proposal_validation <run folders or globs> [--out proposal-validation]

Candidates are runs on the same dataset that differ in `data.ess`, each in several ways to act. Reads what `estimate
propose=true` and `fit` have left in the folders (proposal.json, results.json, manifest.json) and runs nothing; a run
that was trained with another size than the proposed one needs no proposal. Compares the proposal, and rules that look
at no data, with the candidate that returns most. Writes <out>.md and <out>.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vgm2p.datamodules.layout.sampling import ESS
from vgm2p.errors import DataError, MissingInput, UserError
from vgm2p.io.files import write_atomic
from vgm2p.io.text import grid, shown
from vgm2p.report.proposals import OWN
from vgm2p.report.runs import expand
from vgm2p.run.folder import RunFolder, read_json, write_json
from vgm2p.run.ways import Way, way_text


@dataclass(frozen=True)
class Candidate:
    """A run in one way to act.

    Attributes:
        ess: effective sample size that it was trained with.
        way: how it acts.
        returned: mean return in the simulator, over seeds and episodes.
        proposed_ess: the size that was proposed for its dataset; None: not known from this run.
        proposed_way: the way to act that was proposed for this run, likewise.
    """

    ess: float
    way: Way
    returned: float
    proposed_ess: float | None
    proposed_way: Way


Rule = Callable[[Candidate], bool]
RULES: dict[str, Rule] = {
    "proposal": lambda c: c.ess == c.proposed_ess and c.way == c.proposed_way,
    "proposed size, noise 1": lambda c: c.ess == c.proposed_ess and c.way == 1.0,
    "proposed size, noise 0": lambda c: c.ess == c.proposed_ess and c.way == 0.0,
    f"{ESS:g}, noise 1": lambda c: c.ess == ESS and c.way == 1.0,
    f"{ESS:g}, noise 0": lambda c: c.ess == ESS and c.way == 0.0,
    "1, noise 1": lambda c: c.ess == 1.0 and c.way == 1.0,
}


def candidates(folder: Path) -> tuple[str, list[Candidate]]:
    """Return dataset and algorithm of a run, and its candidates. Raises UserError where it has none."""
    run = RunFolder(folder)
    results, data = run.read_results(), run.read_manifest()["config"]["data"]
    proposal = read_json(folder / OWN, "the proposal") if (folder / OWN).is_file() else {}
    try:
        about = [(x["data_digest"], x["updates"]) for x in (results, proposal) if x]
        if about[0] != about[-1]:
            raise MissingInput(f"{folder}: its proposal is about other data or another checkpoint than its results")
        if data["ess"] == "auto":
            raise MissingInput(f"{folder}: trained with data.ess=auto; a candidate has a size of its own")
        ess = 1.0 if data["sampling"] == "uniform" else float(data["ess"])
        size, way = proposal.get("ess"), proposal.get("act_noise")
        found = [
            Candidate(ess, entry["act_noise"], float(entry["return_mean"]), size, way)
            for entry in results["by_act_noise"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: proposal or results are damaged, or nobody evaluated it ({error})") from error
    if not found:
        raise MissingInput(f"{folder}: nobody evaluated it")
    return f"{results['data']}, {results['algorithm']}", found


def with_size(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates of a dataset with the size that was proposed for it; it is the same for all its runs."""
    sizes = {one.proposed_ess for one in found} - {None}
    size = sizes.pop() if len(sizes) == 1 else None
    return [replace(one, proposed_ess=size) for one in found]


def loss(found: Sequence[Candidate], rule: Rule) -> float | None:
    """Return what a rule's candidate loses to the best one, as a share of the best return.

    None: the rule chooses no candidate or several, or the best return is not above 0.
    """
    chosen = [one for one in found if rule(one)]
    best = max(one.returned for one in found)
    return None if len(chosen) != 1 or best <= 0.0 else (best - chosen[0].returned) / best


def page(groups: dict[str, list[Candidate]]) -> tuple[str, dict[str, Any]]:
    """Return a table of all datasets for people, and the losses of every rule."""
    lines = [["dataset, algorithm", "candidates", "best", "proposal", *RULES]]
    losses: dict[str, list[float | None]] = {name: [] for name in RULES}
    for data, found in groups.items():
        best = max(found, key=lambda one: one.returned)
        chosen = ", ".join(_named(one) for one in found if RULES["proposal"](one))
        for name, rule in RULES.items():
            losses[name].append(loss(found, rule))
        cells = [_share(losses[name][-1]) for name in RULES]
        lines.append([data, str(len(found)), _named(best), chosen or "no such run", *cells])
    known = {name: [x for x in values if x is not None] for name, values in losses.items()}
    means = {name: float(np.mean(values)) if values else None for name, values in known.items()}
    ends = [f"{_share(means[name])} of {len(known[name])}" if known[name] else "" for name in RULES]
    lines.append(["mean loss, of how many datasets", "", "", "", *ends])
    return grid(lines), {"datasets": list(groups), "losses": losses, "mean": means}


def _named(one: Candidate) -> str:
    way = "" if one.way is None else f", noise {way_text(one.way)}"
    return f"{shown(one.returned)} ({one.ess:g}{way})"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def main(words: Sequence[str] | None = None) -> int:
    """Print and write the comparison; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.proposal_validation")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("proposal-validation"))
    options = parser.parse_args(words)
    groups: dict[str, list[Candidate]] = {}
    try:
        folders = expand(options.runs)
    except UserError as error:
        print(error.line, file=sys.stderr)
        return error.exit_code
    for folder in folders:
        try:
            name, found = candidates(folder)
        except UserError as error:
            print(f"left out: {error.line}", file=sys.stderr)
            continue
        groups.setdefault(name, []).extend(found)
    groups = {name: with_size(found) for name, found in groups.items()}
    for name in [name for name, found in groups.items() if found[0].proposed_ess is None]:
        print(f"left out: {name}: no proposal, or several sizes were proposed", file=sys.stderr)
        del groups[name]
    if not groups:
        print("none of these folders has both a proposal and a return of the simulator", file=sys.stderr)
        return MissingInput.exit_code
    text, numbers = page(groups)
    print(text)
    write_atomic(options.out.with_suffix(".md"), text + "\n")
    write_json(options.out.with_suffix(".json"), numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
