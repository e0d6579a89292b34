"""What a finished run prints: a table with its comparison runs, its files, and the next commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vgm2p.config.draws import for_others
from vgm2p.io.text import command
from vgm2p.report.curves import curves
from vgm2p.report.runs import load_run, load_runs, playable, pooled
from vgm2p.report.tables import table
from vgm2p.report.variants import condition_warnings, name_variants
from vgm2p.run.folder import RunFolder


def summarise(folder: RunFolder, compared: Sequence[Path], say: Callable[[str], None], writable: bool = True) -> None:
    """Print the table of a finished run and its comparison runs, and the next commands.

    If the run has a picture, and the folder is writable, the curves of all compared methods are drawn, too.

    Raises MissingInput or DataError if a file is missing or damaged.
    """
    own = [load_run(folder.path)] if "return_mean" in folder.read_results() else []
    others, unfinished = load_runs([*([] if own else [folder.path]), *compared])
    runs, repeated = name_variants([*own, *others])
    for notice in (*unfinished, *repeated, *condition_warnings(runs)):
        say(notice)
    if own:
        say("\n" + table(runs))
    if (folder.plots / "learning.png").exists():
        say(f"\nlearning curve   {folder.plots / 'learning.png'}")
        together = folder.plots / "comparison.png"
        if len(pooled(runs)) > 1 and writable:
            curves(runs, together)
            say(f"all methods      {together}")
    say(f"run folder       {folder.path}")
    stored = folder.read_manifest()["config"]
    if playable(folder.read_results().get("environment"), stored.get("env")):
        say(f"evaluate again   {command('evaluate', f'run={folder.path}', 'episodes=100')}")
    else:
        say(f"estimate it      {command('estimate', f'run={folder.path}')}")
    typed = stored.get("overrides", [])
    words = [word for word in typed if isinstance(word, str) and not word.startswith("resume=")]
    say(f"train on         {command('fit', *_longer(folder, stored, words))}")
    algo = "bc_gaussian" if "algo=bc_flow" in words else "bc_flow"
    say(f"other algorithm  {command('fit', *for_others(words), f'algo={algo}')}")


def _longer(folder: RunFolder, stored: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """Return the words with which a run goes on for as many updates again, at a learning rate that is not 0."""
    total = 2 * folder.read_results()["updates"]
    decay = (stored.get("optim") or {}).get("decay_updates")
    if isinstance(decay, int) and decay < total:  # another schedule would have another folder
        kept = [word for word in words if not word.startswith(("updates=", "optim.decay_updates=", "out="))]
        return [*kept, f"updates={total}", "optim.decay_updates=updates", f"out={folder.path}"]
    return [*(word for word in words if not word.startswith("updates=")), f"updates={total}"]
