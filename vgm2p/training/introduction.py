"""The first lines that a run prints: what it uses, and what has changed since an earlier session of the same run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vgm2p.config.compose import file_keys
from vgm2p.config.settings import PAPER
from vgm2p.datamodules.layout.constant import constant_line
from vgm2p.datamodules.layout.sampling import sampling_line
from vgm2p.errors import DataError
from vgm2p.io.text import shown
from vgm2p.nn.fast.kernels import bfloat16_gain
from vgm2p.run.fingerprint import leaves
from vgm2p.run.folder import RunFolder
from vgm2p.training.run import Run


def introduce(run: Run, record: Mapping[str, Any], block: int, memory: str, remark: str | None) -> None:
    """Print what a run uses.

    Args:
        run: the run.
        record: content of its manifest.
        block: number of updates per block.
        memory: text that says where the dataset is held.
        remark: what the algorithm says about settings that depart from its paper.
    """
    settings, say, data = run.settings, run.say, record["data"]
    versions = " ".join(f"{name} {version}" for name, version in record["environment_versions"].items())
    say(f"algorithm    {settings.algorithm} ({settings.algo['_target_']})")
    if remark is not None:
        say(f"note         {remark}")
    if settings.protocol != PAPER:
        net, lr, batch = settings.net, settings.optim.lr, settings.data.get("batch_size")
        say(f"protocol     {settings.protocol}: {net.depth} x {net.width} {net.activation}, lr {lr:g}, batch {batch}")
    if settings.tuned is not None:
        values = dict(leaves(settings.algo))
        chosen = ", ".join(f"{key} {values.get(key)}" for key in file_keys("tuned", settings.tuned))
        say(f"tuned        conf/tuned/{settings.tuned}.yaml, where you say nothing else: {chosen}")
    say(
        f"data         {settings.data['name']}: {data['episodes']} episodes, {data['transitions']} transitions, "
        f"mean return {shown(data['return_mean'])}, digest {data['digest'][:12]}"
    )
    if data["sampling"] is not None:
        say(f"sampling     by return: {sampling_line(data['sampling'])}")
    if data["constant_features"]:
        say(f"constant     {constant_line(data['constant_features'])}")
    say(f"memory       {memory}")
    say(f"environment  {record['spec']['env_id']} {versions}" if versions else "environment  none (evaluate=none)")
    precision = settings.trainer.precision + (" with TF32" if settings.trainer.tf32 else "")
    say(
        f"device       {record['device']}, precision {precision}, threads {record['threads']}, "
        f"K={block}, S={settings.seeds} (seed {settings.seed})"
    )
    decay = settings.optim.decay_updates
    if isinstance(decay, int) and decay < settings.updates:
        say(
            f"warning      the policy's learning rate is 0 after update {decay}: it learns nothing in the last "
            f"{settings.updates - decay}; optim.decay_updates=updates lets the rate fall over all updates"
        )
    if settings.seeds > 1 and run.device.type == "cpu":
        say("hint         to use several cores, train seeds in parallel: `vgm2p fit -m seed=0,1 hydra/launcher=joblib`")
    if settings.trainer.precision == "bf16-mixed" and run.device.type == "cpu" and bfloat16_gain() < 1.0:
        say(
            f"hint         this CPU multiplies bfloat16 at {bfloat16_gain():.1f} times the speed of float32: "
            "trainer.precision=32-true is faster"
        )
    going = f"continuing after update {run.point.update}" if run.point.checkpoint else "starting"
    say(f"folder       {run.folder.path} ({going}, {settings.updates} updates)")


def compare_with_before(run: Run, record: dict[str, Any]) -> None:
    """Compare with the manifest of an earlier session, if there is one.

    Prints another schedule of the learning rate, which a run with more updates may have. Prints which of device,
    threads and versions have changed, those of the simulator included. Results are the same bit for bit only if none
    has. Adds to the record the commands of earlier sessions, and the versions of their simulators.

    Raises:
        DataError: if the earlier session trained on other data, or drew them otherwise.
    """
    if not run.folder.manifest.exists():
        return
    before = run.folder.read_manifest()
    if isinstance(before.get("command"), list):
        record["earlier_commands"] = [*before.get("earlier_commands", []), before["command"]]
    refuse_other_digest(run.folder, record["data"]["digest"])
    if run.point.checkpoint is None:
        return
    _compare_draws(run, before.get("data", {}).get("sampling"), record["data"]["sampling"])
    if line := _schedule_line(run, before["config"]):
        run.say(line)
    found = [(key, before.get(key), record[key]) for key in ("device", "threads")]
    for part in ("versions", "environment_versions"):
        found += [(name, before.get(part, {}).get(name), value) for name, value in record[part].items()]
    changed = [f"{name} {was} -> {now}" for name, was, now in dict.fromkeys(found) if was is not None and was != now]
    if changed:
        run.say(f"changed      {', '.join(changed)}: the results may differ from those of an uninterrupted run")
    earlier, last = before.get("earlier_environment_versions", []), before.get("environment_versions", {})
    if last and last != record["environment_versions"]:
        earlier = [*earlier, last]
    if earlier:
        record["earlier_environment_versions"] = earlier


def refuse_other_digest(folder: RunFolder, digest: str) -> None:
    """Raise DataError if the run in `folder` was trained on data with another digest."""
    before = str(folder.read_manifest().get("data", {}).get("digest"))
    if before != digest:
        raise DataError(
            f"{folder.path} was trained on data {before[:12]}, not {digest[:12]}; restore the file, or use another out="
        )


def _compare_draws(run: Run, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raise DataError if `data.ess=auto` chooses another effective sample size than in the earlier session."""
    if before is not None and now is not None and not math.isclose(before["ess"], now["ess"], rel_tol=1e-6):
        raise DataError(
            f"{run.folder.path} was trained with an effective sample size of {before['ess']:.3g}, and data.ess=auto "
            f"now chooses {now['ess']:.3g}: restore the file ess-*.json in data.cache, or use another out"
        )


def _schedule_line(run: Run, before: Mapping[str, Any]) -> str | None:
    """Return what a run that goes on says about a schedule that is not that of its last session."""
    optim, total = before.get("optim"), before.get("updates")
    then = optim.get("decay_updates") if isinstance(optim, Mapping) else None
    then, now = _fall(then, total), _fall(run.settings.optim.decay_updates, run.settings.updates)
    if then == now:
        return None
    rate = run.settings.optim.rate_after(run.point.update, run.settings.updates)
    return (
        f"schedule     the policy's learning rate was {then}; now it is {now}, and goes on at {rate:.3g}. A new run "
        f"of {run.settings.updates} updates gives other numbers"
    )


def _fall(decay: Any, total: Any) -> str:
    return "constant" if decay is None else f"falling to 0 over {total if decay == 'updates' else decay} updates"
