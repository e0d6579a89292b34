"""`vgm2p estimate propose=true`: the effective sample size and the way to act that the data speak for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vgm2p.commands.subjects import Subject, dataset
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.store.effective_size import kept_choice
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.execution.evaluation import acting_of, ways
from vgm2p.execution.imitation import best_episodes, errors
from vgm2p.io.files import remove_stale, sha256_file
from vgm2p.io.text import say
from vgm2p.report.proposals import OWN, Looked, content, proposed, table
from vgm2p.report.tables import way_text
from vgm2p.report.values import simulated
from vgm2p.run.folder import Way, write_json
from vgm2p.run.lock import OutputLock
from vgm2p.signals import StopFlag

NOISES = (1.0, 0.5, 0.25, 0.0)  # ways to act that are compared if none are named, with continuous actions

Report = Callable[[str, int, int], None]  # what is done, how many of them, of how many


def propose(
    subjects: Sequence[Subject], settings: EstimateSettings, stop: StopFlag, report: Callable[[str], Report]
) -> None:
    """Print which effective sample size to train with and, for every policy, how it should act."""
    _, store = dataset(subjects, settings)
    summary = store.summary
    say(f"data         {summary['name']}: {len(store.returns)} episodes, {summary['transitions']} transitions")
    ess = kept_choice(store, store.cache).ess
    stop.graceful = True
    if subjects:
        say(f"imitation    of the {len(best_episodes(store)[0])} episodes with the highest returns, drawn by return")
    for one in subjects:
        way = _way(one, store, ess, settings, stop, report(str(one.folder.path)))
        acting = "" if way is None else f" act_noise={way_text(way)}"
        say(f"proposal     data.sampling=return data.ess={ess:g}{acting}")
    if not subjects:
        say(f"proposal     data.sampling=return data.ess={ess:g}")


def _way(
    one: Subject, store: TransitionStore, ess: float, settings: EstimateSettings, stop: StopFlag, report: Report
) -> Way:
    """Compare the ways to act of a policy, print and write them, and return the proposed one."""
    policy, folder = one.policy, one.folder
    results = folder.read_results() if folder.results.is_file() else None
    asked = settings.ways or ("auto" if policy.spec.discrete else NOISES)
    looked = []
    for way in one.ways if settings.ways else ways(policy.algorithm, asked):
        acting = acting_of(way, policy.algorithm)
        found = errors(
            policy.algorithm, store, settings.draws, settings.seed, acting, lambda *step: report("step", *step)
        )
        looked.append(Looked(way, found.tolist(), simulated(results, policy.update, way)))
    facts = {
        "algorithm": policy.settings.algorithm,
        "checkpoint_sha256": sha256_file(policy.path),
        "updates": policy.update,
        "data_digest": store.summary["digest"],
        "draws": settings.draws,
        "seed": settings.seed,
    }
    path = folder.path / OWN
    with OutputLock(path, say, wait=stop.check):
        remove_stale(path.parent, path.name)
        write_json(path, content(looked, ess, facts))
    say(f"written to   {path}\n\n{table(str(folder.path), looked, policy.spec.discrete)}\n")
    return proposed(looked).way
