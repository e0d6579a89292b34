"""The plan of a sweep of `fit`, before its first cell begins, and its joint table at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from vgm2p.commands.fit import refuse_diverged, resume_point, with_draws
from vgm2p.config.build import algorithm_class, make_data
from vgm2p.config.settings import FitSettings
from vgm2p.config.sweeps.planned import Cell
from vgm2p.datamodules.sources.published import Published
from vgm2p.errors import ConfigError, Diverged, ServiceError, UserError
from vgm2p.io.text import say
from vgm2p.report.runs import check_finished, load_runs
from vgm2p.report.tables import table
from vgm2p.report.variants import condition_warnings, name_variants
from vgm2p.run.checkpoint import update_of
from vgm2p.run.folder import RunFolder, format_seconds
from vgm2p.run.resume_point import is_finished
from vgm2p.run.sweep import Outcome, Sweep
from vgm2p.signals import StopFlag
from vgm2p.training.finishing import is_complete, sessions_of

SHOWN = 3  # lines about single runs, above the joint table; failed cells with the same message


def choose(cells: Sequence[Cell], sweep: Sweep, stop: StopFlag) -> list[Cell]:
    """Print the plan of a sweep of `fit`, keep the outcomes that are known now, and return the cells to be started.

    Cells that are refused, that are finished, or whose data must come from a hub that does not answer are not started.
    """
    cells = _with_own_folders(cells)
    remaining: list[tuple[Cell, FitSettings]] = []
    finished: list[FitSettings] = []
    for number, cell in enumerate(cells):
        known = _known(cell)
        if known is None:
            remaining.append((cell, cell.settings))
            continue
        sweep.note(f"known-{number:06}", known)
        if known.code:
            print(f"vgm2p: {known.line}", file=sys.stderr, flush=True)
        if known.code in (0, Diverged.exit_code):
            finished.append(cell.settings)
    _print_plan(len(cells), [settings for _, settings in remaining], finished)
    stop.check()
    missing = _unreachable([settings for _, settings in remaining])
    for number, (cell, settings) in enumerate(remaining):
        if line := missing.get(_source(settings)):
            sweep.note(f"missing-{number:06}", Outcome(ServiceError.exit_code, line, cell.job.out, cell.job.words))
    if missing:
        lost = sum(_source(settings) in missing for _, settings in remaining)
        say(f"sweep        {lost} cells need data that cannot be fetched now, and are not started")
    return [cell for cell, settings in remaining if _source(settings) not in missing]


def _with_own_folders(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells, each once. A cell is refused if an earlier one has the same folder and other words."""
    first: dict[str, Cell] = {}
    found: list[Cell] = []
    for cell in cells:
        earlier = cell if cell.settings is None else first.setdefault(cell.settings.out, cell)
        if earlier is cell:
            found.append(cell)
        elif sorted(earlier.job.words) != sorted(cell.job.words):
            line = (
                f"{cell.settings.out} is the folder of an earlier cell, too; leave out out=, or sweep over other keys"
            )
            found.append(replace(cell, settings=None, refused=ConfigError(line)))
    return found


def _known(cell: Cell) -> Outcome | None:
    """Return the outcome of a cell that is refused or finished; None: it must be run."""

    def ended(error: UserError) -> Outcome:
        return Outcome(error.exit_code, error.line, cell.job.out, cell.job.words)

    if cell.refused is not None:
        return ended(cell.refused)
    settings: FitSettings = cell.settings
    folder = RunFolder(Path(settings.out))
    try:
        if settings.resume == "no" or not is_finished(folder, settings.updates):
            return None
        if not is_complete(folder, settings.updates):
            return None
        check_finished(folder)
        refuse_diverged(folder)
        settings, _ = with_draws(settings, algorithm_class(settings.algo))
        resume_point(settings, folder, make_data(settings.data))  # refuses a run with other settings or other data
    except UserError as error:
        return ended(error)
    return Outcome(0, "", cell.job.out, cell.job.words)


def _print_plan(total: int, remaining: Sequence[FitSettings], finished: Sequence[FitSettings]) -> None:
    left = [max(0, settings.updates - _done(Path(settings.out))) for settings in remaining]
    begun = sum(updates < settings.updates for updates, settings in zip(left, remaining, strict=True))
    refused = total - len(remaining) - len(finished)
    parts = [(len(finished), "finished"), (begun, "begun"), (len(remaining) - begun, "to begin"), (refused, "refused")]
    counts = ", ".join(f"{count} {what}" for count, what in parts if count)
    say(f"sweep        {total} cells: {counts}; {sum(left)} updates to do")
    if not remaining:
        return
    seconds = _seconds_per_update(finished)
    if not seconds:
        say("cost         not known before a cell has finished; the same command tells it then")
        return
    usual = fmean(seconds.values())
    whole = sum(
        updates * seconds.get(settings.algorithm, usual) for updates, settings in zip(left, remaining, strict=True)
    )
    say(f"cost         about {format_seconds(whole)} in one process, at the speed of the finished cells")


def _done(folder: Path) -> int:
    """Return the update of the newest checkpoint in a run folder; 0 if there is none."""
    return max((update_of(path) for path in RunFolder(folder).checkpoints.glob("update-*.ckpt")), default=0)


def _seconds_per_update(finished: Sequence[FitSettings]) -> Mapping[str, float]:
    """Return algorithm -> seconds per update, evaluations included."""
    found: dict[str, list[float]] = {}
    for settings in finished:
        sessions = sessions_of(RunFolder(Path(settings.out)))
        updates = sum(session["to"] - session["from"] for session in sessions)
        if updates:
            seconds = sum(session["total_seconds"] for session in sessions)
            found.setdefault(settings.algorithm, []).append(seconds / updates)
    return {name: fmean(values) for name, values in found.items()}


def _source(settings: FitSettings) -> str:
    return repr(sorted(settings.data["source"].items(), key=str)) if "source" in settings.data else ""


def _unreachable(cells: Sequence[FitSettings]) -> dict[str, str]:
    """Return source -> why it is missing, for datasets that must be fetched from a hub that does not answer.

    The hub is asked once. Other errors are left to the cells.
    """
    missing: dict[str, str] = {}
    for source in {_source(settings): settings for settings in cells}.values():
        try:
            published = make_data(source.data).source
            if not isinstance(published, Published) or not published.must_ask():
                continue
        except UserError:
            continue
        if missing:
            missing[_source(source)] = published.not_here("the hub does not answer")
            continue
        try:
            published.hub.ask(published.entry)
        except UserError as error:
            missing[_source(source)] = error.line
        else:
            break
    return missing


def conclude(outcomes: Sequence[Outcome], table_too: bool) -> int:
    """Print the joint table of the finished cells and the list of failed ones. Returns the largest exit code."""
    folders = list(dict.fromkeys(Path(one.out) for one in outcomes if one.out is not None and one.code in (0, 70)))
    if table_too and len(outcomes) > 1:
        _print_table([folder for folder in folders if (folder / "results.json").exists()])
    failed = [outcome for outcome in outcomes if outcome.code]
    if not failed:
        return 0
    print(f"\n{len(failed)} failed:", file=sys.stderr)
    common = set.intersection(*(set(outcome.overrides) for outcome in outcomes)) if len(outcomes) > 1 else set()
    alike: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in failed:
        alike.setdefault((outcome.code, outcome.line), []).append(outcome)
    for (code, line), cells in alike.items():
        for outcome in cells[:SHOWN]:
            words = " ".join(word for word in outcome.overrides if word not in common)
            print(f"  exit {code}  {words}  {line}", file=sys.stderr)
        if len(cells) > SHOWN:
            print(f"  ... and {len(cells) - SHOWN} more cells with this message", file=sys.stderr)
    return max(outcome.code for outcome in failed)


def _print_table(folders: Sequence[Path]) -> None:
    if not folders:
        return
    loaded, left_out = load_runs(folders)
    runs, repeated = name_variants(loaded)
    notices = [*left_out, *repeated, *condition_warnings(runs)]
    say(f"\nsweep        {len(folders)} cells finished")
    for notice in notices[:SHOWN]:
        say(notice)
    if len(notices) > SHOWN:
        say(f"... and {len(notices) - SHOWN} more lines of this kind")
    if runs:
        say("\n" + table(runs))
