"""`vgm2p fit`: load, check, train or continue, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import Callback

from vgm2p.algos.contract import Algorithm
from vgm2p.callbacks.checkpoint import Checkpoint
from vgm2p.callbacks.evaluate import Evaluate
from vgm2p.callbacks.logs import MetricsLog
from vgm2p.callbacks.progress import Progress
from vgm2p.config.build import algorithm_class, make_algorithm, make_data, make_env
from vgm2p.config.checks import check_machine, check_pair, check_spec
from vgm2p.config.nodes import settings_of, to_plain
from vgm2p.config.settings import FitSettings, training_part
from vgm2p.datamodules.offline import Blocks, OfflineDataModule
from vgm2p.envs.base import VectorEnv
from vgm2p.errors import ConfigError, DataError, MissingInput, ServiceError
from vgm2p.execution.beside import Evaluator
from vgm2p.io.processes import end_with_parent
from vgm2p.io.text import say, shown
from vgm2p.report.summary import summarise
from vgm2p.run.checkpoint import newest_intact, put_aside, update_of
from vgm2p.run.fingerprint import differences
from vgm2p.run.folder import RunFolder, read_json, write_json
from vgm2p.run.lock import FolderLock
from vgm2p.run.resume_point import ResumePoint, cut_logs, find_resume_point, is_finished
from vgm2p.signals import StopFlag
from vgm2p.training.capture import wanted
from vgm2p.training.comparisons import Comparisons, compared_with, report_folder
from vgm2p.training.final_evaluation import Finish
from vgm2p.training.manifest import device_name, manifest
from vgm2p.training.module import OfflineModule
from vgm2p.training.trainer import BLOCK, make_trainer, quiet, set_threads


def run(settings: FitSettings, stop: StopFlag) -> None:
    """Run one configuration to its end in its folder. Raises UserError subclasses only, for what a user can cause."""
    stop.graceful = False  # a run before this one, in the same process, may have set it
    end_with_parent()
    config = to_plain(settings)
    check_machine(settings.trainer)
    config = {**config, "compare": compared_with(config)}
    quiet()
    algorithm_type = algorithm_class(config["algo"])
    folder = RunFolder(Path(config["out"]))
    env = None if is_finished(folder, config["updates"]) else _environment(config, algorithm_type)
    folder.create()
    report_folder(folder.path)
    with FolderLock(folder.path, say):
        folder.clean()
        point = find_resume_point(
            folder,
            settings.updates,
            settings.resume,
            lambda before: differences(training_part(before), training_part(config)),
        )
        for notice in point.notices:
            say(f"skipped {notice}")
        for name in [] if point.finished else put_aside(folder.checkpoints, point.checkpoint):
            say(f"put aside {name}")
        if point.finished:
            say(f"finished before: {folder.path}")
        with Comparisons(config, folder.path, say) as comparisons:
            if not point.finished:
                env = env or _environment(config, algorithm_type)
                with closing(env) if env is not None else nullcontext():
                    train(config, folder, point, env, algorithm_type, stop)
            comparisons.wait(stop.requested)
            if stop.requested():
                raise stop.interruption("stopped while waiting for comparison runs; the same command goes on")
            summarise(folder, comparisons.folders, say)


def _environment(config: dict[str, Any], algorithm_type: type[Algorithm]) -> VectorEnv | None:
    """Build the environment, if any is wanted, before data are fetched: a machine without it can still train."""
    if config["evaluate"] == "none":
        return None
    try:
        env = make_env(config["env"])
    except MissingInput as error:
        raise MissingInput(f"{error.line}; evaluate=none trains without evaluation") from None
    check_pair(algorithm_type, env.spec, config["seeds"], config["algorithm"])
    return env


def train(
    config: dict[str, Any],
    folder: RunFolder,
    point: ResumePoint,
    env: VectorEnv | None,
    algorithm_type: type[Algorithm],
    stop: StopFlag,
) -> None:
    """Load data, train what is missing, evaluate and write the results."""
    threads = set_threads(config)
    data: OfflineDataModule = make_data(config["data"])
    data.device = torch.device(device_name(config["trainer"]["accelerator"]).split()[0])
    store = data.store
    _check_capture(config, store.resident)
    if env is not None:
        check_spec(store.spec, env.spec)
    check_pair(algorithm_type, store.spec, config["seeds"], config["algorithm"])
    algorithm = make_algorithm(settings_of(config, FitSettings).policy, store.spec)
    algorithm.survey(store.survey(algorithm.gamma))
    store.provide(algorithm.needs, algorithm.gamma)
    record = manifest(config, algorithm.spec, store.summary, env.versions if env else {}, threads)
    _same_data(folder, record)
    if point.checkpoint is not None:
        _same_machine(folder, record)
    module = OfflineModule(algorithm, store, data.batch_size, config, stop.requested)
    cut_logs(folder, point.update)
    write_json(folder.manifest, record)
    block = BLOCK[record["device"].split()[0]] if config["block_updates"] == "auto" else config["block_updates"]
    _introduce(config, record, store.summary, folder, point, block, data.memory)
    finish = Finish(folder, env, config, store.summary, data.returns, stop, say)
    aside = wanted(config["eval_async"], torch.device(record["device"].split()[0])) and env is not None
    beside = Evaluator(config, algorithm.spec.to_dict()) if aside else None
    trainer = make_trainer(config, make_callbacks(config, folder, env, stop, beside))
    total = config["updates"]
    intervals = [config["eval_every"], config["checkpoint_every"], config["logger"]["every"]]
    data.schedule(lambda: Blocks(module.done, total, block, intervals))
    stop.graceful = True
    started = time.monotonic()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=point.checkpoint, weights_only=True)
    except ServiceError as error:
        kept, _ = newest_intact(folder.checkpoints)
        place = f"update {update_of(kept)}" if kept else "the beginning"
        raise ServiceError(
            f"{error.line}; the same command goes on from {place} (evaluate=none: unevaluated)"
        ) from None
    seconds = time.monotonic() - started
    finish(module)
    write_timing(folder, point.update, module.done, seconds, time.monotonic() - started)


def write_timing(folder: RunFolder, first: int, last: int, training: float, total: float) -> None:
    """Add this session to timing.json, the only file that knows of time."""
    sessions = read_json(folder.timing, "the run")["sessions"] if folder.timing.exists() else []
    session: dict[str, Any] = {"from": first, "to": last, "fit_seconds": training, "total_seconds": total}
    session["updates_per_second"] = (last - first) / training if training else None
    write_json(folder.timing, {"sessions": [*sessions, session]})


def make_callbacks(
    config: Mapping[str, Any], folder: RunFolder, env: VectorEnv | None, stop: StopFlag, beside: Evaluator | None
) -> list[Callback]:
    """Return the callbacks in the order that durability needs: logs, evaluation, checkpoint, progress."""
    tensorboard = folder.path / "tensorboard" if config["logger"]["tensorboard"] else None
    logs = MetricsLog(folder.log_metrics(), config["logger"]["every"], tensorboard)
    total = config["updates"]
    evaluation = None
    if env is not None:
        evaluation = Evaluate(
            env,
            folder.log_episodes(),
            config["eval_every"],
            config["eval_episodes"],
            total,
            stop.requested,
            say,
            config["eval_precision"],
            beside,
        )
    drain = evaluation.drain if evaluation is not None else lambda done: True
    save = Checkpoint(folder.checkpoints, config["checkpoint_every"], total, config["checkpoint_keep"], stop, drain)
    progress = Progress(total, logs, evaluation, config["callbacks"]["progress_seconds"])
    return [part for part in (logs, evaluation, progress, save) if part is not None]


def _check_capture(config: Mapping[str, Any], resident: bool) -> None:
    """Say that data on disk are not captured; raise ConfigError where capture was asked for."""
    if resident:
        return
    if config["trainer"]["capture"] is True:
        raise ConfigError("trainer.capture=true needs resident data; raise data.max_resident, or use auto (eager)")
    if wanted(config["trainer"]["capture"], torch.device(device_name(config["trainer"]["accelerator"]).split()[0])):
        say("capture      off: updates on data mapped from disk run eagerly")


def _same_data(folder: RunFolder, record: Mapping[str, Any]) -> None:
    if not folder.manifest.exists():
        return
    before, now = folder.read_manifest()["data"]["digest"], record["data"]["digest"]
    if before != now:
        raise DataError(
            f"{folder.path} was trained on data {before[:12]}, now {now[:12]}; restore the file or use another out="
        )


def _same_machine(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Say where a run goes on otherwise than it went before: the same bits are promised under the same conditions."""
    before = folder.read_manifest()
    found = [(key, before.get(key), record[key]) for key in ("device", "threads")]
    found += [(name, before.get("versions", {}).get(name), new) for name, new in record["versions"].items()]
    changed = [f"{name} {old} -> {new}" for name, old, new in found if old is not None and old != new]
    if changed:
        say(f"otherwise    {', '.join(changed)}: from here on, not the bits of an uninterrupted run")


def _introduce(
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    data: Mapping[str, Any],
    folder: RunFolder,
    point: ResumePoint,
    block: int,
    memory: str,
) -> None:
    versions = " ".join(f"{name} {version}" for name, version in record["environment_versions"].items())
    say(f"algorithm    {config['algorithm']} ({config['algo']['_target_']})")
    say(
        f"data         {config['data']['name']}: {data['episodes']} episodes, {data['transitions']} transitions, "
        f"mean return {shown(data['return_mean'])}, digest {data['digest'][:12]}"
    )
    say(f"memory       {memory}")
    say(f"environment  {record['spec']['env_id']} {versions}" if versions else "environment  none (evaluate=none)")
    precision = config["trainer"]["precision"] + (" with TF32" if config["trainer"].get("tf32") else "")
    say(
        f"device       {record['device']}, precision {precision}, threads {record['threads']}, "
        f"K={block}, S={config['seeds']} (seed {config['seed']})"
    )
    if config["seeds"] > 1 and record["device"] == "cpu":
        say("hint         on a CPU several seeds are cheaper as processes: fit -m seed=0,1,... hydra/launcher=joblib")
    going = f"continuing after update {point.update}" if point.checkpoint else "starting"
    say(f"folder       {folder.path} ({going}, {config['updates']} updates)")
