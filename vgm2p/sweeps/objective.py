"""The return by which a search over keys compares its runs: an estimate from data alone, or the last evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vgm2p.commands import estimate
from vgm2p.config.compose import composed
from vgm2p.config.hydra_errors import explained
from vgm2p.config.nodes import settings_of
from vgm2p.config.quoting import quoted
from vgm2p.config.words import EstimateSettings
from vgm2p.errors import DataError, MissingInput
from vgm2p.run.folder import RunFolder
from vgm2p.signals import StopFlag


def return_of(folder: Path, kind: str, words: Sequence[str], stop: StopFlag) -> float:
    """Return the return of a finished run, with the run's own way to act or the first one that `words` name.

    Args:
        folder: its run folder.
        kind: `estimate` or `evaluation`.
        words: words for `vgm2p estimate`.
        stop: the flag that ends an estimate.

    Raises:
        MissingInput: if the run has no evaluation.
        DataError: if its estimate means nothing.
    """
    run = RunFolder(folder)
    if kind == "evaluation":
        found = run.read_results().get("return_mean")
        if found is None:
            raise MissingInput(f"{folder}: no evaluation to search by; use hydra.sweeper.objective=estimate")
        return float(found)
    given = [f"run={quoted(str(folder))}", *words]
    values = explained("estimate", lambda: composed("estimate", given))
    one = estimate.run(settings_of(values, EstimateSettings), stop)[0]
    if not one.usable:
        raise DataError(f"{folder}: its estimate means nothing ({one.warnings()[0]}); see docs/estimate.md")
    return float(one.returned(None)[0])
