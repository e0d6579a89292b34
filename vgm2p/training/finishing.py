"""What a run does after results.json is written: loggers, readers of the results, timing.json, in this order.

timing.json comes last. So if it lacks the session that reached the end, a kill came between, and the same command makes
up what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning import Callback
from lightning.pytorch.loggers import Logger

from vgm2p.envs.base import Episode
from vgm2p.errors import UserError
from vgm2p.run.folder import RunFolder, episode_of, read_json, write_json
from vgm2p.run.ways import way_of
from vgm2p.training.logs import log_evaluation
from vgm2p.training.parts import ResultsReader, make_callbacks, make_loggers
from vgm2p.training.run import Run


def publish(
    callbacks: Iterable[Callback],
    loggers: Sequence[Logger],
    results: Mapping[str, Any],
    episodes: Sequence[Episode],
) -> None:
    """Send the final evaluation to the loggers, and the results to callbacks that read them.

    `episodes` are those of the algorithm's default way to act; empty without an environment.
    """
    if episodes:
        log_evaluation(loggers, results["updates"], episodes)
    for callback in callbacks:
        if isinstance(callback, ResultsReader):
            callback.on_results(results)


def is_complete(folder: RunFolder, updates: int) -> bool:
    """Return whether a finished run did everything that follows results.json."""
    sessions = sessions_of(folder)
    return bool(sessions) and sessions[-1].get("to") == updates


def make_up(run: Run) -> None:
    """Do what follows results.json, for a finished run that was killed before. Raises DataError for damaged files."""
    results = run.folder.read_results()
    rows = [row for row in run.folder.log_episodes().rows() if int(row["update"]) == results["updates"]]
    episodes = [episode_of(row) for row in rows if way_of(row["act_noise"]) == results.get("act_noise")]
    loggers, status = make_loggers(run), "failed"
    try:
        publish(make_callbacks(run), loggers, results, episodes)
        status = "success"
    finally:
        close(loggers, status)
    write_timing(run, results["updates"], 0.0, 0.0)


def close(loggers: Sequence[Logger], status: str) -> None:
    """Let the loggers write the rest of their data, and end experiments that stay open (Weights & Biases).

    `status` is `success` or `failed`, as in Lightning.
    """
    for logger in loggers:
        logger.finalize(status)
        finish = getattr(getattr(logger, "experiment", None), "finish", None)
        if callable(finish):
            finish()


def sessions_of(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the sessions of timing.json; none if it does not exist or is damaged."""
    try:
        found = read_json(folder.timing, "the run").get("sessions")
    except UserError:
        return []
    return found if isinstance(found, list) and all(isinstance(each, dict) for each in found) else []


def write_timing(run: Run, last: int, training: float, total: float) -> None:
    """Add this session to timing.json, the only file that holds times. A damaged file is begun anew, and that is said.

    Args:
        run: the run.
        last: number of updates after this session.
        training: seconds of training, including evaluations during training.
        total: seconds of training and final evaluation.
    """
    first, before = run.point.update, sessions_of(run.folder)
    if not before and run.folder.timing.exists():
        run.say(f"{run.folder.timing} is damaged: it is begun anew, without the times of earlier sessions")
    session: dict[str, Any] = {"from": first, "to": last, "fit_seconds": training, "total_seconds": total}
    session["updates_per_second"] = (last - first) / training if training else None
    write_json(run.folder.timing, {"sessions": [*before, session]})
