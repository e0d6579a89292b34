"""The end of a run: the final evaluation with several kinds of acting noise, and results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vgm2p.envs.base import Episode, Evaluation, Unplayed, Unsound, VectorEnv
from vgm2p.errors import RolloutStopped
from vgm2p.execution.evaluation import Watch, evaluate, own_way, ways
from vgm2p.execution.frozen import frozen_seeds
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.report.statistics import by_measure, references, statistics
from vgm2p.run.checkpoint import checkpoint_name
from vgm2p.run.folder import episode_row, kept_failures, write_json
from vgm2p.run.marks import final_marks
from vgm2p.run.ways import Way
from vgm2p.training.module import OfflineModule
from vgm2p.training.run import Run

RANDOM_SEED = 0


def evaluate_finally(
    run: Run, module: OfflineModule, data: Mapping[str, Any], achieved: Mapping[str, Sequence[float]]
) -> tuple[dict[str, Any], list[Episode]]:
    """Evaluate the trained policy and write results.json.

    The results contain no time and no speed, so the files of a resumed run equal those of an uninterrupted run.

    Args:
        run: the run. Without an environment, the results contain no returns of the policy.
        module: the trained module, after its last update.
        data: summary of the dataset.
        achieved: measure (`return`, `won`, `score`) -> values of the dataset's episodes.

    Returns:
        The results, and the episodes of the algorithm's default way to act.

    Raises:
        Interrupted: if a signal arrived.
    """
    results = _description(run, module, data, achieved)
    episodes: list[Episode] = []
    if run.env is not None:
        evaluated, episodes, unsound = _in_every_way(run, run.env, module)
        results |= evaluated
        further = [each for each in unsound if each.seed not in results["diverged_seeds"]]
        results["diverged_seeds"] += [each.seed for each in further]
        results["diverged"] += [each.line for each in further]
    results["logs"] = final_marks(run.folder)
    write_json(run.folder.results, results)
    return results, episodes


def write_without_returns(
    run: Run, module: OfflineModule, data: Mapping[str, Any], achieved: Mapping[str, Sequence[float]], line: str
) -> None:
    """Write the results.json of a run in which every seed diverged, `line` says how. It has no returns.

    Nothing is written where the last update has no checkpoint: the same command then trains again. The other arguments
    are those of `evaluate_finally`.
    """
    if not (run.folder.checkpoints / checkpoint_name(module.done)).exists():
        return
    results = _description(run, module, data, achieved)
    results["diverged_seeds"] = list(module.algorithm.seeds)
    results["diverged"] = results["diverged"] or [line]
    results["logs"] = final_marks(run.folder)
    write_json(run.folder.results, results)


def _description(
    run: Run, module: OfflineModule, data: Mapping[str, Any], achieved: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return the entries of results.json that need no evaluation."""
    algorithm, settings = module.algorithm, run.settings
    frozen = frozen_seeds(algorithm)
    return {
        "experiment": settings.experiment,
        "algorithm": settings.algorithm,
        "environment": algorithm.spec.env_id,
        "data": settings.data["name"],
        "data_digest": data["digest"],
        "seeds": list(algorithm.seeds),
        "diverged_seeds": [each.seed for each in frozen],
        "diverged": [each.line for each in frozen],
        "decentralised": algorithm.decentralised,
        "updates": module.done,
        **({} if data["sampling"] is None else {"sampling": data["sampling"]}),
        "dataset_episodes": len(achieved["return"]),
        **references("dataset", achieved),
    }


def _in_every_way(
    run: Run, env: VectorEnv, module: OfflineModule
) -> tuple[dict[str, Any], list[Episode], list[Unsound]]:
    """Return entries of results.json, the episodes of the default way to act, and the seeds without a result."""
    settings, stop, update = run.settings, run.stop.requested, module.done
    algorithm, count = module.algorithm, settings.eval_episodes
    own = own_way(algorithm)
    log = run.folder.log_episodes()
    log.truncate(update - 1)
    played: dict[Way, Evaluation] = {}
    missing: list[Unplayed] = []  # of the random policy
    try:
        for way in ways(algorithm, settings.eval_acting):
            watch = Watch(f"act_noise {way}", run.say)
            played[way] = evaluate(algorithm, env, update, count, stop, way, watch, settings.eval_precision)
        random = rollout(RandomActor(env.spec), env, 0, [RANDOM_SEED], count, stop, unplayed=missing)
    except RolloutStopped:
        raise run.stop.interruption("stopped in the final evaluation; the same command repeats it") from None
    log.append([episode_row(update, episode, way) for way, done in played.items() for episode in done.episodes])
    by_way = [{"act_noise": way, **statistics(done.episodes, done.unplayed)} for way, done in played.items()]
    short = {f"act_noise {way}": done.unplayed for way, done in played.items()} | {"random policy": missing}
    for name, unplayed in short.items():
        for line in kept_failures(run.folder.path, unplayed, f"final-{name}".replace(" ", "-")):
            run.say(f"final evaluation ({name}) is short: {line}")
    unsound = {each.seed: each for done in played.values() for each in done.unsound}
    for each in unsound.values():
        run.say(f"diverged     {each.line}; it has no result")
    results = {
        **statistics(played[own].episodes, played[own].unplayed),
        "act_noise": own,
        "by_act_noise": by_way,
        **references("random", by_measure(random)),
    }
    return results, played[own].episodes, list(unsound.values())
