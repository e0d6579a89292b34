"""Whom `vgm2p estimate` judges, and on which dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vgm2p.config.build import make_data
from vgm2p.config.settings import Node
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.offline import OfflineDataModule
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.execution.evaluation import known, own_way, refuse_others
from vgm2p.execution.frozen import frozen_seeds
from vgm2p.execution.trained import TrainedPolicy, load
from vgm2p.io.text import say
from vgm2p.run.folder import RunFolder
from vgm2p.run.ways import Way

DATA = ("view", "timeouts")  # keys of a dataset, beside its source, in which runs must agree to be ranked on it
PLACES = ("root", "cache")  # keys of a source that change no number
ALL_ALIKE = {"best_share": None, "sampling": "uniform", "ess": None}  # every step, each as often as the others


@dataclass(frozen=True)
class Subject:
    """A policy to be judged: its run folder, and the ways to act that were asked for, or its own."""

    policy: TrainedPolicy
    folder: RunFolder
    ways: list[Way]


def subject(path: Path, settings: EstimateSettings) -> Subject:
    """Return a trained policy; a seed of it that froze is named. Raises UserError."""
    policy = load(path, settings.device)
    for each in frozen_seeds(policy.algorithm):
        say(f"warning: {path}: {each.line}; its value is no result")
    refuse_others(settings.ways, policy.algorithm, policy.settings.algorithm)
    ways: list[Way] = [known(way, policy.algorithm) for way in settings.ways]
    return Subject(policy, RunFolder(path if path.is_dir() else policy.home), ways or [own_way(policy.algorithm)])


def dataset(subjects: Sequence[Subject], settings: EstimateSettings) -> tuple[OfflineDataModule, TransitionStore]:
    """Load the dataset that was named, or that of the runs. Raises UserError, also where it is of another task."""
    data, store = _loaded(subjects, settings)
    for one in subjects:
        differ = one.policy.spec.differences(store.spec)
        if differ:
            raise ConfigError(f"{one.folder.path} was trained for another task than data=: {differ[0]}")
    return data, store


def _loaded(subjects: Sequence[Subject], settings: EstimateSettings) -> tuple[OfflineDataModule, TransitionStore]:
    node = settings.data
    if node is None:
        nodes = [_own_data(one) for one in subjects]
        for one, other in zip(subjects, nodes, strict=True):
            if _identity(other) != _identity(nodes[0]):
                first = subjects[0].folder.path
                raise ConfigError(f"{one.folder.path} and {first} were trained on different data; name one, data=")
        _refuse_changed(subjects)
        node = nodes[0]
    data: OfflineDataModule = make_data(node)
    data.device = torch.device(settings.device)
    with _moved():
        return data, data.store.to(settings.device)


def _refuse_changed(subjects: Sequence[Subject]) -> None:
    """Raise DataError if the files of a run's dataset hold other data than in its training."""
    seen: dict[str, str] = {}  # the data of many runs are the same
    for one in (one for one in subjects if one.folder.manifest.is_file()):
        about, node = one.folder.read_manifest().get("data"), one.policy.settings.data
        before = about.get("digest") if isinstance(about, Mapping) else None
        if not isinstance(before, str) or node is None:
            continue
        with _moved():
            now = seen[str(node)] = seen.get(str(node)) or make_data(node).digest()
        if now != before:
            raise DataError(
                f"{one.folder.path} was trained on data {before[:12]}, and their files now hold {now[:12]}; "
                "restore them, or name the data with data="
            )


@contextmanager
def _moved() -> Iterator[None]:
    """Say how to name data that are no longer where a run had them."""
    try:
        yield
    except MissingInput as error:
        raise MissingInput(f"{error.line}; data= names the data where they are now") from None


def _own_data(one: Subject) -> Node:
    """Return the node of a run's dataset, all of its steps alike. Raises MissingInput."""
    node = one.policy.settings.data
    if node is None:
        raise MissingInput(f"{one.policy.path}: does not say what it was trained on; name the data with data=")
    return node | {key: value for key, value in ALL_ALIKE.items() if key in node}


def _identity(node: Node) -> dict[str, Any]:
    source = {key: value for key, value in node["source"].items() if key not in PLACES}
    return {"source": source} | {key: node.get(key) for key in DATA}
