"""`ess: auto`: the effective sample size of a draw by return, chosen without a simulator.

The smaller the size, the better are the episodes that are drawn, and the fewer. More episodes help a clone of the best
ones as long as they behave alike; where they behave differently, the clone averages them. So clones of several draws
are compared: how well they predict what the best episodes did, in steps that they did not learn. See docs/data.md.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_mse import BCSquaredError
from vgm2p.datamodules.layout.sampling import ESS, by_return
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.store.gather import gather
from vgm2p.datamodules.store.rows import RowSource
from vgm2p.datamodules.store.table import TICKS, TransitionTable, at_numbers, edges_of
from vgm2p.errors import DataError
from vgm2p.groups import Net, Optim
from vgm2p.io.files import read_small, write_atomic
from vgm2p.io.text import say
from vgm2p.nn.fast.kernels import one_thread
from vgm2p.rng import UpdateKey, generator
from vgm2p.types import Batch, Needs, Spec, Survey

CANDIDATES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)  # the last one tells which episodes are the best
UPDATES, ROWS, NET, RATE = 2000, 64, Net(128, 3), 1e-3  # of the clones, one for each candidate
PARTS, HELD_OUT = 20, 5  # an episode of mean length has 20 parts; every fifth part is not learnt
PROBES, AT_ONCE = 8192, 1024  # rows of the best episodes on which the clones are compared
TIE = 0.01  # errors count as equal if they differ by at most this share
METHOD = 5  # increase it if the choice may change


class Stored(Protocol):
    """What the choice reads from a `TransitionStore`."""

    rows: RowSource
    dataset: Columns
    table: TransitionTable

    @property
    def spec(self) -> Spec:
        """The task of the data."""
        ...

    def survey(self, gamma: float) -> Survey:
        """Return the statistics of the data."""
        ...


@dataclass(frozen=True)
class Choice:
    """The chosen effective sample size.

    Attributes:
        errors: of the clone of each candidate on the best episodes: mean squared error, or cross-entropy of discrete
            actions. Empty if the data do not tell: no step to compare, or errors that are not finite.
    """

    errors: tuple[float, ...]

    @property
    def ess(self) -> float:
        """The largest candidate with an error as small as the smallest (`TIE`); `ESS` if there are no errors."""
        if not self.errors:
            return ESS
        most = (1.0 + TIE) * min(self.errors)
        return max(ess for ess, error in zip(CANDIDATES, self.errors, strict=True) if error <= most)

    @property
    def line(self) -> str:
        """The choice and the errors as text."""
        if not self.errors:
            return f"draws        effective sample size {self.ess:g}: the data do not tell which is best"
        errors = ", ".join(f"{ess:g}: {error:.4g}" for ess, error in zip(CANDIDATES, self.errors, strict=True))
        return f"draws        effective sample size {self.ess:g}: the most data without a larger error ({errors})"


def kept_choice(store: Stored, cache: Path | None) -> Choice:
    """Return `choose`, from the file in `cache` if an earlier call left one there. A folder may be read-only."""
    path = None if cache is None else cache / f"ess-{_name(store)}.json"
    choice = None if path is None else _read(path)
    if choice is None:
        say("draws        choosing the effective sample size, once for these data (about 20 seconds)")
        choice = choose(store)
        if path is not None:
            _keep(choice, path)
    say(choice.line)
    return choice


def _name(store: Stored) -> str:
    """Return what tells apart all that the choice depends on."""
    seen = store.survey(0.0)
    digest = str(store.dataset.attributes["content_sha256"])
    words = repr((METHOD, digest, store.spec.view, seen.mean.tolist(), seen.std.tolist()))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _read(path: Path) -> Choice | None:
    """Return the choice that a file holds; None if there is no file, or it is damaged."""
    try:
        kept = json.loads(read_small(path))["errors"]
        errors = tuple(float(error) for error in kept)
    except (OSError, DataError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    sound = isinstance(kept, list) and len(errors) in (0, len(CANDIDATES)) and _finite(errors)
    return Choice(errors) if sound else None


def _finite(errors: Iterable[float]) -> bool:
    return all(0.0 <= error < math.inf for error in errors)


def _keep(choice: Choice, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"errors": list(choice.errors)}))
    except OSError as error:
        say(f"draws        the choice is not kept for the next run: {error}")


def choose(store: Stored) -> Choice:
    """Compare one clone of each candidate's draw on the best episodes, in steps that it did not learn."""
    held = held_out(store)
    lengths = store.dataset.episodes["length"]
    weights = [np.repeat(by_return(store.dataset, ess).probabilities, lengths) for ess in CANDIDATES]
    learnt = [np.where(held, 0.0, weight) for weight in weights]
    probed = np.where(held, weights[-1], 0.0)
    if any(weight.sum() == 0.0 for weight in (*learnt, probed)):
        return Choice(())
    with one_thread():
        clone = clones(store, [_edges(weight) for weight in learnt])
        errors = tuple(errors_of(store, clone, _edges(probed)))
    return Choice(errors if _finite(errors) else ())


def held_out(store: Stored) -> NDArray[np.bool_]:
    """Return which transitions no clone learns: every fifth part, (n,). A short episode may have none or only these."""
    lengths = store.dataset.episodes["length"].astype(np.int64)
    part = max(1, int(np.ceil(lengths.mean() / PARTS)))
    t = store.dataset.steps["t"][store.dataset.steps["has_action"].astype(bool)]
    episode = np.repeat(np.arange(len(lengths)), lengths)
    return np.asarray((t // part + episode) % HELD_OUT == 0)


def _edges(weight: Any) -> Tensor:
    return torch.from_numpy(edges_of(weight))


def clones(store: Stored, edges: list[Tensor]) -> BCSquaredError | BCGaussian:
    """Train one clone for each draw, given by the `edges_of` its transitions (n,). The seeds are the draws.

    All have the same first weights and random numbers, so equal draws give equal clones.
    """
    kind = BCGaussian if store.spec.discrete else BCSquaredError
    clone: BCSquaredError | BCGaussian = kind(store.spec, [0] * len(edges), net=NET, optim=Optim(RATE, UPDATES))
    clone.survey(store.survey(0.0))
    clone.to(store.rows.device)
    source, key = generator("cpu", "ess"), UpdateKey([0] * len(edges), store.rows.device)
    for update in range(UPDATES):
        numbers = torch.randint(TICKS, (ROWS,), generator=source)
        drawn = torch.stack([at_numbers(draw, numbers) for draw in edges])
        clone.step(_batch(store, drawn), key.at(update))
    return clone


@torch.no_grad()
def errors_of(store: Stored, clone: BCSquaredError | BCGaussian, edges: Tensor) -> list[float]:
    """Return the loss of each clone on rows of one draw, the same for all."""
    numbers = torch.randint(TICKS, (PROBES,), generator=generator("cpu", "ess probes"))
    total = torch.zeros(len(clone.seeds), device=store.rows.device)
    for part in torch.split(at_numbers(edges, numbers), AT_ONCE):
        total += clone.policy_loss(_batch(store, part.expand(len(clone.seeds), -1)))
    return [float(value) for value in (total * AT_ONCE / PROBES).cpu()]


def _batch(store: Stored, drawn: Tensor) -> Batch:
    return gather(store.rows, store.table, drawn.to(store.rows.device), Needs())
