"""The transitions of a dataset: their rows, rewards, bootstrap masks, and positions in their episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgm2p.datamodules.layout.sampling import Sampling, by_return
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, Columns
from vgm2p.datamodules.store.returns import episode_ranks, returns_seen, returns_to_go
from vgm2p.datamodules.store.rows import take
from vgm2p.errors import ConfigError, nearest
from vgm2p.types import Needs

TICKS = 2**40  # parts into which the probabilities of drawn transitions are divided: integers, so equal on every device
PER_TRANSITION = frozenset(
    ("return_to_go", "return_seen", "episode_rank")
)  # optional fields of a batch that are columns of the table


@dataclass(frozen=True)
class Ending:
    """(bootstrap, valid) of the last step of an episode.

    Attributes:
        cut: values if no final observation is stored.
        stored: values if a final observation is stored.
    """

    cut: tuple[float, float]
    stored: tuple[float, float]


# data.timeouts -> the last step before a time limit; a terminal step always has (0, 1)
TIMEOUTS = {
    "bootstrap": Ending(cut=(0.0, 0.0), stored=(1.0, 1.0)),
    "terminal": Ending(cut=(0.0, 1.0), stored=(0.0, 1.0)),
    "drop": Ending(cut=(0.0, 0.0), stored=(0.0, 0.0)),
    "self": Ending(cut=(1.0, 1.0), stored=(1.0, 1.0)),
}


class TransitionTable:
    """Narrow columns of n transitions over R rows, on the device where rows are gathered.

    The successor of row r is row r + 1. For the last step of an episode, this is the final observation. If no final
    observation is stored, the row is its own successor, and `timeouts` decides whether the target bootstraps from it.

    `columns` holds:
        rows: (n, 2) int64, the row and its successor.
        scalars: (n, 3) float32, reward, bootstrap and valid.
        t: (R,) int32, number of the step in its episode.

    `provide` adds, as needed:
        return_to_go, return_seen, episode_rank: (n,) float32.
        valid_with_next_action: (n,) float32, like `valid`, but 0 if the row bootstraps from a final observation,
            because no action is stored for it.
        left: (R,) int32, number of rows after this one in its episode.
        has_action: (R,) bool, False for final observations.

    `draw_by_return` adds:
        edges: (n,) int64, the sums of the transitions' probabilities up to each of them, in units of 1 / TICKS.

    Args:
        dataset: the dataset. Its wide columns are not used.
        timeouts: key of TIMEOUTS. ConfigError if it needs final observations that are not stored.
    """

    def __init__(self, dataset: Columns, timeouts: str) -> None:
        self.timeouts = timeouts
        self._dataset = dataset
        self.columns = _transitions(dataset, timeouts)

    def __len__(self) -> int:
        return len(self.columns["rows"])

    @property
    def bytes(self) -> int:
        """Bytes of memory that the columns take."""
        return sum(column.numel() * column.element_size() for column in self.columns.values())

    def draw_by_return(self, ess: float) -> Sampling:
        """Let transitions of episodes with high returns be drawn more often. Raises as `sampling.by_return`."""
        found = by_return(self._dataset, ess)
        self._add("edges", edges_of(np.repeat(found.probabilities, self._dataset.episodes["length"])))
        return found

    @property
    def numbers(self) -> int:
        """How many numbers a draw chooses from."""
        return TICKS if "edges" in self.columns else len(self)

    def drawn(self, numbers: Tensor) -> Tensor:
        """Return the transitions (...) of uniform draws (...) from [0, `numbers`)."""
        if "edges" not in self.columns:
            return numbers
        return at_numbers(self.columns["edges"], numbers)

    def take(self, name: str, index: Tensor) -> Tensor:
        """Return entries (...) of a column. `index` counts transitions or rows, as the column does."""
        return take(self.columns[name], index)

    def to(self, device: torch.device) -> None:
        """Move every column to `device`."""
        self.columns = {name: column.to(device) for name, column in self.columns.items()}

    def provide(self, needs: Needs, gamma: float) -> None:
        """Make the columns for `needs`. Raises ConfigError if it contains `return_to_go` and `gamma` is not below 1."""
        steps, episodes = self._dataset.steps, self._dataset.episodes
        if "return_to_go" in needs.fields:
            self._add("return_to_go", self.returns_to_go(gamma))
        if "return_seen" in needs.fields:
            self._add("return_seen", self.returns_seen(gamma))
        if "episode_rank" in needs.fields:
            self._add("episode_rank", episode_ranks(self._dataset))
        if "next_action" in needs.fields:
            rows, scalars = (self.columns[name].cpu().numpy() for name in ("rows", "scalars"))
            unknown = (scalars[:, 1] > 0) & (steps["has_action"][rows[:, 1]] == 0)
            self._add("valid_with_next_action", np.where(unknown, np.float32(0.0), scalars[:, 2]))
        if needs.ahead:
            self._add("left", np.repeat(episodes["rows"], episodes["rows"]) - 1 - steps["t"])
            self._add("has_action", steps["has_action"].astype(bool))

    def returns_to_go(self, gamma: float) -> Any:
        """Return the returns-to-go (n,) float32. Raises ConfigError if `gamma` is not below 1."""
        return returns_to_go(self._dataset, _below_1(gamma), timeouts_are_terminal=self.timeouts == "terminal")

    def returns_seen(self, gamma: float) -> Any:
        """Return the recorded shares of the returns-to-go (n,) float32. Raises as `returns_to_go`."""
        return returns_seen(self._dataset, _below_1(gamma), timeouts_are_terminal=self.timeouts == "terminal")

    def _add(self, name: str, values: Any) -> None:
        self.columns[name] = torch.from_numpy(values).to(self.columns["scalars"].device)


def edges_of(weights: Any) -> Any:
    """Return the sums of the transitions' weights (n,) up to each of them, in units of 1 / TICKS of all: (n,) int64."""
    sums = np.cumsum(weights)
    return np.rint(sums / sums[-1] * TICKS).astype(np.int64)


def at_numbers(edges: Tensor, numbers: Tensor) -> Tensor:
    """Return the transitions (...) of numbers (...) from [0, TICKS), for `edges_of` the transitions (n,)."""
    return torch.searchsorted(edges, numbers.contiguous(), right=True)


def _below_1(gamma: float) -> float:
    if not 0.0 <= gamma < 1.0:
        raise ConfigError(f"algo.gamma={gamma}: returns-to-go need a discount below 1")
    return gamma


def check_timeouts(timeouts: str) -> None:
    """Raise ConfigError for an unknown value of `data.timeouts`."""
    if timeouts not in TIMEOUTS:
        raise ConfigError(f"data.timeouts='{timeouts}' is unknown{nearest(timeouts, TIMEOUTS)}")


def _transitions(dataset: Columns, timeouts: str) -> dict[str, Tensor]:
    steps, episodes = dataset.steps, dataset.episodes
    rows = np.flatnonzero(steps["has_action"])
    following = rows + 1
    bootstrap, valid = np.ones(len(rows), np.float32), np.ones(len(rows), np.float32)
    position = np.cumsum(steps["has_action"]) - 1  # row -> its transition
    for start, length, count, end in zip(
        *(episodes[name].tolist() for name in ("start", "length", "rows", "end")), strict=True
    ):
        if length == 0:
            continue
        last, stored = position[start + length - 1], count > length
        if not stored:
            following[last] = rows[last]
        bootstrap[last], valid[last] = _after_the_last(end, stored, timeouts)
    scalars = np.stack([steps["rewards"][rows], bootstrap, valid], 1)
    pairs, t = torch.from_numpy(np.stack([rows, following], 1)), torch.from_numpy(steps["t"])
    return {"rows": pairs, "scalars": torch.from_numpy(scalars), "t": t}


def _after_the_last(end: int, stored: bool, timeouts: str) -> tuple[float, float]:
    """Return (bootstrap, valid) of the last step of an episode that ended as `end`."""
    if end == TERMINAL:
        return 0.0, 1.0
    if end == INCOMPLETE:
        return (1.0, 1.0) if stored else (0.0, 0.0)
    if timeouts == "bootstrap" and not stored:
        raise ConfigError(
            "data.timeouts=bootstrap needs stored final observations, which this file lacks; use terminal or drop"
        )
    ending = TIMEOUTS[timeouts]
    return ending.stored if stored else ending.cut
