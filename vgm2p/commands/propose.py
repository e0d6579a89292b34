"""`vgm2p estimate propose=true`: the effective sample size and the way to act that the data speak for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vgm2p.commands.progress import Progress
from vgm2p.commands.subjects import Subject, dataset
from vgm2p.config.compose import resolved
from vgm2p.config.nodes import settings_of
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.store.effective_size import kept_choice
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError
from vgm2p.execution.evaluation import acting_of, ways
from vgm2p.execution.imitation import best_episodes, compare
from vgm2p.io.files import sha256_file
from vgm2p.io.text import say
from vgm2p.report.proposals import OWN, Looked, content, proposed, table
from vgm2p.report.values import simulated
from vgm2p.run.folder import write_json
from vgm2p.run.lock import kept_output
from vgm2p.run.ways import MODE, SHARED, Way, in_order, way_text
from vgm2p.signals import StopFlag

# Ways to act that are compared if none are named, beside the policy's own: by whether actions are discrete.
COMPARED: dict[bool, tuple[float | str, ...]] = {False: (1.0, 0.5, 0.25, 0.0, SHARED), True: (1.0, SHARED, MODE)}
STOPPED = "stopped; nothing was proposed"
OF_CRITICS = ("gamma", "share", "critics", "updates", "batch", "draws", "net", "lr", "tau")


def propose(subjects: Sequence[Subject], settings: EstimateSettings, stop: StopFlag) -> None:
    """Print which effective sample size to train with and, for every policy, how it should act.

    Raises ConfigError for a key of the critics: there are none.
    """
    usual = settings_of(resolved("estimate", ["run=any"]), EstimateSettings)
    if unread := [name for name in OF_CRITICS if getattr(settings, name) != getattr(usual, name)]:
        raise ConfigError(f"propose=true fits no critics and does not read {unread[0]}=; leave it out")
    _, store = dataset(subjects, settings)
    summary = store.summary
    say(f"data         {summary['name']}: {len(store.returns)} episodes, {summary['transitions']} transitions")
    ess = kept_choice(store, store.cache).ess
    if not subjects:
        say(f"proposal     data.sampling=return data.ess={ess:g}")
        return
    stop.graceful = True
    say(f"compared     with what was done in the {len(best_episodes(store)[0])} episodes of the highest returns")
    for one in subjects:
        name = str(one.folder.path)
        looked = _looked(one, store, settings, stop)
        chosen = proposed(name, looked)
        acting = "" if chosen.way is None else f" act_noise={way_text(chosen.way)}"
        say(f"\n{table(name, looked, chosen, store.spec.discrete)}\n")
        seeds = one.policy.algorithm.seeds
        if lost := [seed for s, seed in enumerate(seeds) if any(s not in each.sound for each in looked)]:
            say(f"note         seeds without numbers, which do not count: {', '.join(map(str, lost))}")
        whose = f"  for {name}" if len(subjects) > 1 else ""
        say(f"proposal     data.sampling=return data.ess={ess:g}{acting}{whose}")
        path = one.folder.path / (OWN if settings.data is None else f"proposal-{summary['digest'][:8]}.json")
        _keep(path, content(looked, chosen, ess, _facts(one, store, settings)), stop)


def _looked(one: Subject, store: TransitionStore, settings: EstimateSettings, stop: StopFlag) -> list[Looked]:
    """Return what a policy does in every way to act."""
    policy = one.policy
    results = one.folder.read_results() if one.folder.results.is_file() else None
    asked: list[Way] = in_order(one.ways) if settings.ways else ways(policy.algorithm, COMPARED[store.spec.discrete])
    found = []
    for way in asked or [None]:
        progress = Progress(f"{one.folder.path}{'' if way is None else f', act_noise {way_text(way)}'}", stop, STOPPED)
        alike = compare(
            policy.algorithm,
            store,
            settings.seed,
            acting_of(way, policy.algorithm),
            partial(progress, "step"),
        )
        measured = simulated(results, policy.update, way)
        found.append(Looked(way, alike.errors.tolist(), alike.likelihoods.tolist(), measured))
    return found


def _facts(one: Subject, store: TransitionStore, settings: EstimateSettings) -> dict[str, Any]:
    return {
        "algorithm": one.policy.settings.algorithm,
        "checkpoint_sha256": sha256_file(one.policy.path),
        "updates": one.policy.update,
        "data_digest": store.summary["digest"],
        "seed": settings.seed,
    }


def _keep(path: Path, found: dict[str, Any], stop: StopFlag) -> None:
    with kept_output(path, say, stop.check) as keep:
        if keep:
            write_json(path, found)
            say(f"written to   {path}")
