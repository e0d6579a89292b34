"""`vgm2p evaluate`: roll out a trained policy again, with several kinds of acting noise."""

from __future__ import annotations

import hashlib
import json
import math
import re
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import torch

from vgm2p.config.build import TARGET, class_of, make_env, refuse_missing
from vgm2p.config.checks import check_policy
from vgm2p.config.words import EvaluateSettings
from vgm2p.envs.base import NoSimulator, VectorEnv
from vgm2p.errors import ConfigError, Interrupted, MissingInput, RolloutStopped, StorageError
from vgm2p.execution.evaluation import USUAL, Watch, evaluate, known, own_way, refuse_others, ways
from vgm2p.execution.frozen import frozen_seeds
from vgm2p.execution.rollout import Unplayable
from vgm2p.execution.trained import TrainedPolicy, load
from vgm2p.execution.video import Scene, record, save_replay
from vgm2p.io.files import refuse_foreign, refuse_link, remove_stale, sha256_file, written_aside
from vgm2p.io.text import command, decimals, grid, say, shown
from vgm2p.report.evaluations import environment_part
from vgm2p.report.statistics import statistics
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.exported import DOCUMENT
from vgm2p.run.folder import EPISODE_FIELDS, episode_row, json_text, kept_failures, read_json
from vgm2p.run.lock import OutputLock
from vgm2p.run.ways import SHARED, Way
from vgm2p.signals import StopFlag
from vgm2p.types import NO_ENVIRONMENT


def run(settings: EvaluateSettings, stop: StopFlag) -> Path:
    """Evaluate the policy of a run, an export or the hub, and return the folder of the evaluation.

    Raises ConfigError for settings that do not fit the policy.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: torch finds no CUDA device; use device=cpu")
    policy = load(settings.policy, settings.device)
    node, name = _named_env(policy, settings)
    refuse_missing(node, name, settings.video, settings.replay)
    refuse_others(settings.ways, policy.algorithm, policy.settings.algorithm)
    if settings.out is not None:
        _check_target(Path(settings.out), policy)
    if settings.env is None and policy.spec.env_id.startswith(NO_ENVIRONMENT):
        raise ConfigError(
            f"{policy.path}: its data name no environment; give one of conf/env (ours or yours) with env=<name>, or "
            "judge the policy from data alone:",
            command("estimate", f"run={settings.policy}"),
        )
    with closing(_environment(policy, node)) as env:
        return _roll_out(policy, env, settings, stop)


def _check_target(out: Path, policy: TrainedPolicy) -> None:
    """Raise ConfigError or StorageError if a folder holds a run, an export, or files that no evaluation wrote.

    An evaluation of the same weights is replaced.
    """
    for name, what in (("manifest.json", "a run"), (DOCUMENT, "an export")):
        if (out / name).exists():
            raise ConfigError(f"out={out} is the folder of {what}; its files would be lost; choose another folder")
    refuse_foreign(out / "episodes.csv", (",".join(EPISODE_FIELDS).encode(),), "out", "evaluation")
    refuse_foreign(out / "results.json", (b'{\n "by_act_noise":',), "out", "evaluation")
    if (out / "results.json").exists():
        before = read_json(out / "results.json", "the evaluation")
        if before.get("checkpoint_sha256") != sha256_file(policy.path):
            raise StorageError(
                f"out={out} holds an evaluation of another policy ({before.get('checkpoint')}); choose another out=, "
                "or delete it"
            )


def _environment(policy: TrainedPolicy, node: dict[str, Any]) -> VectorEnv:
    """Build an environment. Raises ConfigError if its task is not that of the policy."""
    try:
        env = make_env(node)
    except MissingInput as error:
        if class_of(node, "env") is not NoSimulator:
            raise
        raise MissingInput(f"{error.line}; give env=<yours>, an environment of {policy.spec.env_id}") from None
    with ExitStack() as unless_it_fits:
        unless_it_fits.callback(env.close)
        check_policy(policy.spec, env.spec)
        unless_it_fits.pop_all()
    return env


def _named_env(policy: TrainedPolicy, settings: EvaluateSettings) -> tuple[dict[str, Any], str]:
    """Return the node and the name of the environment, with the requested `workers` and `timeout`.

    Raises ConfigError if it takes no such key.
    """
    asked = settings.environment(policy.spec.view)
    node, name = (policy.settings.env, policy.settings.environment) if asked is None else (asked, str(asked[TARGET]))
    given = {"workers": settings.workers, "timeout": settings.timeout}
    chosen = {key: value for key, value in given.items() if value is not None}
    unknown = [key for key in chosen if key not in node]
    if unknown:
        raise ConfigError(f"{unknown[0]}={chosen[unknown[0]]}: env={name} has no such key")
    return {**node, **chosen}, name


def _roll_out(policy: TrainedPolicy, env: VectorEnv, settings: EvaluateSettings, stop: StopFlag) -> Path:
    out = Path(settings.out or _default_out(policy, env, settings))
    if settings.out is None:
        for folder in (out.parent, out):  # the run folder may come from somebody else
            refuse_link(folder)
    out.mkdir(parents=True, exist_ok=True)
    say(f"policy {policy.origin or policy.path}, {policy.update} updates, seeds {list(policy.algorithm.seeds)}")
    own = own_way(policy.algorithm)
    every = (*USUAL[policy.spec.discrete], SHARED)
    named = dict.fromkeys(known(way, policy.algorithm) for way in settings.ways)  # two names may mean one way
    chosen: list[Way] = [*named] or ways(policy.algorithm, every)
    stop.graceful = True
    rows, lines, results = [], [], []
    lost = {each.seed: each.line for each in frozen_seeds(policy.algorithm)}
    for way in chosen:
        watch = Watch(f"act_noise {way}", say)
        try:
            done = evaluate(policy.algorithm, env, policy.update, settings.episodes, stop.requested, way, watch)
        except Unplayable as error:
            for line in kept_failures(out, [error.failure], str(way)):
                say(line)
            raise
        except RolloutStopped:
            with suppress(OSError):  # it has files, or is not there
                out.rmdir()
            raise stop.interruption("stopped in an evaluation; nothing was written") from None
        rows += [episode_row(policy.update, episode, way) for episode in done.episodes]
        for line in kept_failures(out, done.unplayed, str(way)):
            say(f"evaluation (act_noise {way}) is short: {line}")
        lost |= {each.seed: each.line for each in done.unsound}
        found = statistics(done.episodes, done.unplayed)
        results.append({"act_noise": way, **found})
        lines.append(_cells(way, own, found))
    for line in lost.values():
        say(f"diverged     {line}; it has no result")
    with OutputLock(out / "results.json", say, wait=stop.check):
        if settings.out is not None:  # another process may have written it meanwhile
            _check_target(out, policy)
        for name in ("results.json", "episodes.csv", "episode0.mp4", "episode0.SC2Replay"):
            remove_stale(out, name)
        # both aside, so that an earlier evaluation stays whole where the disk is full
        with written_aside(out / "results.json") as text, written_aside(out / "episodes.csv") as table:
            log = CsvLog(table)
            log.append(rows)
            found = {"by_act_noise": results, "diverged_seeds": sorted(lost), "log": log.mark()}
            text.write_text(json_text(_record(policy, env, settings) | found))
        say(grid([list(lines[0]), *(list(line.values()) for line in lines)]))
        try:
            if settings.video or settings.replay:
                stop.let_through()  # the results are written
                _show(policy, env, settings, out)
        except (Interrupted, RolloutStopped):
            raise stop.interruption(f"stopped before the film was complete; the results are in {out}") from None
    say(f"written to   {out}")
    return out


def _show(policy: TrainedPolicy, env: VectorEnv, settings: EvaluateSettings, out: Path) -> None:
    """Write the film and the replay that the user asked for, and print what they show."""
    title, seeds, own = policy.settings.algorithm, policy.algorithm.seeds, own_way(policy.algorithm)
    for word, name, write in (("video", "episode0.mp4", record), ("replay", "episode0.SC2Replay", save_replay)):
        if getattr(settings, word):
            film = write(policy.algorithm, env, out / name, Scene(policy.update, seeds, name=title))
            say(
                f"{word:<12} {out / name}: {title}, seed {seeds[0]}, act_noise {own}, {film.steps} steps, "
                f"return {shown(film.return_)}"
            )


def _record(policy: TrainedPolicy, env: VectorEnv, settings: EvaluateSettings) -> dict[str, Any]:
    """Return what was evaluated, and where: by this, a report knows with which results it compares."""
    node, name = _named_env(policy, settings)
    return {
        "checkpoint": str(policy.origin or policy.path),
        "checkpoint_sha256": sha256_file(policy.path),
        "updates": policy.update,
        "seeds": list(policy.algorithm.seeds),
        "own": own_way(policy.algorithm),
        "environment": name if settings.env is None else env.spec.env_id,
        "env": environment_part(node),
        "environment_versions": dict(env.versions),
    }


def _default_out(policy: TrainedPolicy, env: VectorEnv, settings: EvaluateSettings) -> Path:
    """Return the folder of an evaluation. With chosen ways to act or another environment than that of the run, it has
    another name, so that it replaces no other.
    """
    ways, other = "".join(f"-{way}" for way in settings.ways), ""
    if settings.env is not None:
        keys = json.dumps(environment_part(_named_env(policy, settings)[0]), sort_keys=True, default=str)
        digest = hashlib.sha256(keys.encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.-]+", "-", env.spec.env_id)
        other = f"-{name}-{digest}"
    return policy.home / "evaluations" / f"update-{policy.update}-n{settings.episodes}{ways}{other}"


def _cells(way: Way, own: Way, found: dict[str, Any]) -> dict[str, str]:
    """Return a row of the table as column -> text; with victories if the environment has them."""
    low, high = found["return_ci95"]
    name = "none" if way is None else f"{way}" + (" (own)" if way == own else "") + (" !" if found["unplayed"] else "")
    digits = decimals((found["return_mean"], low, high))
    bounds = "" if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"
    cells = {"act_noise": name}
    if found["win_rate"] is not None:
        rate_low, rate_high = found["win_rate_ci95"]
        cells["won"] = f"{found['win_rate']:.0%} [{rate_low:.0%}, {rate_high:.0%}]"
    cells |= {"return": shown(found["return_mean"]), "95 % interval": bounds}
    per_seed = " ".join(f"{value:.{digits}f}" for value in found["per_seed"])
    return {**cells, "length": f"{found['length_mean']:.0f}", "per seed": per_seed}
