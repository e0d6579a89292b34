"""`vgm2p estimate`: how good trained policies are, from data alone, and how sure their order is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vgm2p.commands.progress import Progress
from vgm2p.commands.propose import propose
from vgm2p.commands.subjects import Subject, dataset, subject
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError, UserError
from vgm2p.execution.estimate import Evidence, estimate, evidence
from vgm2p.execution.evaluation import acting_of
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.io.files import sha256_file
from vgm2p.io.text import say
from vgm2p.report.runs import expand
from vgm2p.report.value_tables import check_ranking, order, table
from vgm2p.report.values import OWN, Estimate, estimates_of, read_estimates, summary
from vgm2p.run.folder import read_json, write_json
from vgm2p.run.lock import kept_output
from vgm2p.run.ways import Way
from vgm2p.signals import StopFlag

SETTINGS = ("gamma", "share", "critics", "updates", "batch", "draws", "lr", "tau", "seed")  # what estimates depend on
STOPPED = "stopped; estimates that were finished are kept, and the same command goes on"
STOPPED_UNKEPT = "stopped; nothing is kept"


def run(settings: EstimateSettings, stop: StopFlag) -> list[Estimate]:
    """Estimate policies, print what was found, and rank them where there are several.

    Returns one estimate per policy and way to act, in the order of the settings; none of a proposal.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda is not usable here; use cpu")
    subjects = [subject(path, settings) for path in expand(settings.names)]
    if settings.propose:
        propose(subjects, settings, stop)
        return []
    several = sum(len(one.ways) for one in subjects) > 1
    if settings.out is not None:
        if not several:
            raise ConfigError("out= is for a ranking; name several runs, or several ways to act")
        check_ranking(Path(settings.out))
    data, store = dataset(subjects, settings)
    found = evidence(store, settings)
    episodes, read_at = len(store.returns), len(found.held)
    say(f"data         {store.summary['name']}: {episodes} episodes, {store.summary['transitions']} transitions")
    say(f"memory       {data.memory}")
    say(f"critics      learn from {episodes - read_at} episodes, and are read at the first steps of {read_at}")
    stop.graceful = True
    estimates = [e for one in subjects for e in _estimates(one, store, found, settings, stop)]
    say("\n" + table(estimates, settings.gamma, found.values, found.returns, found.held))
    for line in (line for one in estimates for line in one.warnings()):
        say(line)
    if several:
        ranking, text = order(estimates)
        say("\n" + text)
        if settings.out is not None:
            write_json(Path(settings.out), ranking | {"question": _question(store, settings)})
            say(f"written to   {settings.out}")
    return estimates


def _question(store: TransitionStore, settings: EstimateSettings) -> dict[str, Any]:
    """Return what an estimate depends on beside the policy."""
    asked = {key: getattr(settings, key) for key in SETTINGS}
    return {**asked, "net": asdict(settings.net), "data_digest": store.summary["digest"], **store.reading}


def _estimates(
    one: Subject, store: TransitionStore, found: Evidence, settings: EstimateSettings, stop: StopFlag
) -> list[Estimate]:
    """Return the estimates of a policy in its ways to act; those that were made before are read from its folder."""
    policy, question = one.policy, _question(store, settings)
    name = OWN if settings.data is None else f"estimate-{question['data_digest'][:8]}.json"
    path, digest = one.folder.path / name, sha256_file(policy.path)
    results = one.folder.read_results() if one.folder.results.is_file() else None
    title = str(one.folder.path)

    def looked_up() -> tuple[dict[str, Any], list[Way]]:
        content = _before(path, question, digest) or _content(policy, store, found, question, digest)
        return content, [way for way in one.ways if way not in [e["act_noise"] for e in content["by_act_noise"]]]

    content, missing = looked_up()
    if not missing:
        say(f"found before {path}")
        return estimates_of(content, title, results, one.ways)
    with kept_output(path, say, stop.check) as keep:
        content, missing = looked_up()  # again: another process may have just written it
        for way in missing:
            progress = Progress(title, stop, STOPPED if keep else STOPPED_UNKEPT)
            values = estimate(policy.algorithm, store, found, settings, acting_of(way, policy.algorithm), progress)
            entry = {"act_noise": way, "table": values.table.tolist(), "drift": values.drift.tolist()}
            content["by_act_noise"].append(entry)
            entry.update(summary(*estimates_of(content, title, results, [way])))
            if keep:
                write_json(path, content)
    if keep:
        say(f"written to   {path}")
    return estimates_of(content, title, results, one.ways)


def _before(path: Path, question: Mapping[str, Any], digest: str) -> dict[str, Any] | None:
    """Return the content of an estimate.json that answers the same question about the same weights."""
    if not path.is_file():
        return None
    try:
        content = read_json(path, "the run")
        read_estimates(path, "", None)
    except UserError:
        return None  # damaged: it is written again
    return content if (content["question"], content.get("checkpoint_sha256")) == (question, digest) else None


def _content(
    policy: TrainedPolicy, store: TransitionStore, found: Evidence, question: Mapping[str, Any], digest: str
) -> dict[str, Any]:
    return {
        "algorithm": policy.settings.algorithm,
        "checkpoint": policy.path.name,
        "checkpoint_sha256": digest,
        "updates": policy.update,
        "seeds": list(policy.algorithm.seeds),
        "data": store.summary["name"],
        "question": dict(question),
        "held_out": found.held.tolist(),
        "factor": found.factor,
        "support": list(found.support),
        "best_value": float(found.best),
        "data_value_mean": float(found.values[found.held].mean()),
        "data_return_mean": float(found.returns[found.held].mean()),
        "by_act_noise": [],
    }
