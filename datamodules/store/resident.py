"""The resident dataset: everything on the training device, a batch is a few gathers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgm2p.datamodules.layout.combine import best, check_same_task, concatenate, select
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, Columns, read
from vgm2p.datamodules.layout.task import spec_of
from vgm2p.datamodules.store.returns import episode_ranks, returns_to_go
from vgm2p.envs.observation import agents_view, in_slabs, robot_of_omiga, statistics
from vgm2p.errors import ConfigError, nearest
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, Needs, Randomness, Spec

PER_STEP = {"return_to_go", "episode_rank"}  # optional fields with one number per acting row
AHEAD = 2048  # rows gathered at once, those of the next updates too: the calls cost more than the copying does
PLAIN = Needs()
VIEWS_BYTES = 1 << 30  # agents' views of a robot are built once at loading if they take no more, else per batch


@dataclass(frozen=True)
class Ending:
    """What follows the last step of an episode: (bootstrap, valid) without, and with, a stored final observation."""

    cut: tuple[float, float]
    stored: tuple[float, float]


# data.timeouts -> what follows a time limit; a terminal step is always (0, 1)
TIMEOUTS = {
    "bootstrap": Ending(cut=(0.0, 0.0), stored=(1.0, 1.0)),
    "terminal": Ending(cut=(0.0, 1.0), stored=(0.0, 1.0)),
    "drop": Ending(cut=(0.0, 0.0), stored=(0.0, 0.0)),
    "self": Ending(cut=(1.0, 1.0), stored=(1.0, 1.0)),
}


class TransitionStore:
    """Transitions of one or several files in device memory.

    Observations are held once; the successor of row t is row t + 1, which for the last step of an episode is its
    final observation. Where none is stored, the row is its own successor and `timeouts` decides what it is worth.
    """

    def __init__(self, columns: Columns, view: str, obs_norm: str, timeouts: str, files: list[Path]) -> None:
        self.spec: Spec = spec_of(columns, view)
        self._columns, self._files = columns, files
        self._options = (view, obs_norm, timeouts)
        rows = np.flatnonzero(columns.steps["has_action"])
        self._zscored = columns.attributes.get("stored_view") == "omiga"
        self._robot = "robot_observation" in columns.steps or self._zscored
        self.columns: dict[str, Tensor] = _transitions(columns, rows, timeouts)
        self._view_per_batch = False
        self._ready: tuple[tuple[Any, ...], int, list[Batch]] | None = None  # request, first update, batches
        self._hold(columns)
        n_agents, obs_dim = self.spec.n_agents, self.spec.obs_dim
        self.statistics = statistics(self._seen, len(rows), n_agents, obs_dim, view, obs_norm)

    def _hold(self, columns: Columns) -> None:
        """Put what is observed, done and legal into `columns`."""
        steps, agents = columns.steps, self.spec.n_agents
        observed = torch.from_numpy(steps["observations" if "observations" in steps else "robot_observation"])
        action = torch.from_numpy(steps["actions"])
        self.columns["action"] = action if self.spec.discrete else action.clamp(-1.0, 1.0)
        self.columns["observation"] = observed.flatten(1)
        if "legal_actions" in steps:
            self.columns["legal"] = torch.from_numpy(steps["legal_actions"])
        if not self._robot:
            if "state" in steps:
                self.columns["state"] = torch.from_numpy(steps["state"])
            return
        robot = in_slabs(lambda rows: robot_of_omiga(rows, agents), observed) if self._zscored else observed
        self.columns["state"] = robot
        if self._zscored and self.spec.view == "omiga":
            return
        self._view_per_batch = len(robot) * agents * self.spec.obs_dim * 4 > VIEWS_BYTES
        built = robot
        if not self._view_per_batch:
            built = in_slabs(lambda rows: agents_view(rows, agents, self.spec.view).flatten(1), robot)
        self.columns["observation"] = built

    @classmethod
    def load(
        cls,
        paths: list[Path],
        view: str = "raw_onehot",
        obs_norm: str = "auto",
        timeouts: str = "bootstrap",
        verify: str = "auto",
    ) -> TransitionStore:
        """Read, verify and join the files in order.

        Raises:
            DataError: if a file is damaged, or the files record different tasks.
            ConfigError: on an unknown view, obs_norm, timeouts or verify.
        """
        check_timeouts(timeouts)
        parts = [read(path, verify) for path in paths]
        check_same_task(paths, parts, view)
        return cls(concatenate(parts), view, obs_norm, timeouts, paths)

    @property
    def resident(self) -> bool:
        """Whether batches are made on the training device, so that an update can be captured with its draw."""
        return True

    def to(self, device: torch.device | str) -> TransitionStore:
        """Move every column to `device`."""
        self.columns = {name: column.to(device) for name, column in self.columns.items()}
        self._ready = None
        return self

    def close(self) -> None:
        """End what prepares batches: nothing does."""

    def provide(self, needs: Needs, gamma: float) -> None:
        """Make what `needs` asks for and no column holds: it is derived from whole episodes (docs/algorithms/vgm2p.md).

        Args:
            needs: what updates will read; of its fields, `return_to_go` and `episode_rank` are made here. With
                `next_action`, rows that bootstrap from a stored final observation become invalid: nothing was done
                there.
            gamma: discount of `return_to_go`; ConfigError unless below 1.
        """
        if "return_to_go" in needs.fields:
            if not 0.0 <= gamma < 1.0:
                raise ConfigError(f"algo.gamma={gamma}: returns-to-go need a discount below 1")
            self._add("return_to_go", returns_to_go(self._columns, gamma, cut_ends=self._options[2] == "terminal"))
        if "episode_rank" in needs.fields:
            self._add("episode_rank", episode_ranks(self._columns))
        if "next_action" in needs.fields:
            self._add("valid_with_next_action", self._valid_with_next_action())

    def _valid_with_next_action(self) -> Any:
        """Return `valid` (n,) float32, 0 also where a row bootstraps from a successor without a stored action."""
        following, scalars = self.columns["rows"][:, 1].cpu().numpy(), self.columns["scalars"].cpu().numpy()
        acts = self._columns.steps["has_action"][following] == 1
        return np.where((scalars[:, 1] > 0) & ~acts, np.float32(0.0), scalars[:, 2])

    def _add(self, name: str, values: Any) -> None:
        self.columns[name] = torch.from_numpy(values).to(self.columns["scalars"].device)
        self._ready = None

    def draw(self, key: Randomness, batch_size: int, needs: Needs = PLAIN) -> Batch:
        """Draw rows i.i.d. from all rows with an action: a Batch with leading axes (S, B), no host synchronisation.

        Args:
            key: randomness of this update.
            batch_size: B.
            needs: optional fields to fill; with a history of H, `past_obs`, `past_action` and `past_seen` hold the
                H - 1 steps before each row.
        """
        count = len(self.columns["rows"])
        if not isinstance(key, UpdateKey):
            return self._gathered(key.integers("batch", (batch_size,), count), needs)
        request, update = (key.seeds, batch_size, needs), key.update
        if self._ready is None or self._ready[0] != request or not 0 <= update - self._ready[1] < len(self._ready[2]):
            most = max(1, AHEAD // (len(key.seeds) * batch_size))
            index = key.integers_ahead("batch", (batch_size,), count, most)
            self._ready = request, update, self._gathered(index, needs).unbind()
        return self._ready[2][update - self._ready[1]]

    def _gathered(self, index: Tensor, needs: Needs) -> Batch:
        """Return the transitions at positions (..., S, B) among acting rows."""
        pair = at(self.columns["rows"], index)  # (..., 2): the row and its successor
        row, following = pair.unbind(-1)
        obs, next_obs = self._observe(pair).unbind(-3)
        reward, bootstrap, valid = at(self.columns["scalars"], index).unbind(-1)
        batch = Batch(obs, self._act(row), reward, next_obs, bootstrap, valid)
        if self.spec.discrete:
            batch.legal, batch.next_legal = self._take("legal", pair).bool().unbind(-3)
        if "next_action" in needs.fields:
            batch.next_action = self._act(following)
            batch.valid = at(self.columns["valid_with_next_action"], index)
        if "state" in needs.fields:
            batch.state = self._state(row)
        if "next_state" in needs.fields:
            batch.next_state = self._state(following)
        for name in PER_STEP & needs.fields:
            setattr(batch, name, at(self.columns[name], index))
        if needs.history > 1:
            self._look_back(batch, row, needs.history - 1)
        return batch

    def best_episodes(self, share: float) -> TransitionStore:
        """Return a store of the `share` (above 0, at most 1) of episodes with the highest return; else ConfigError."""
        chosen = best(self._columns, share)
        return TransitionStore(select(self._columns, chosen), *self._options, self._files)

    @property
    def summary(self) -> dict[str, Any]:
        """Return what run headers and reports say of the data."""
        returns = self._columns.episodes["return"]
        return {
            "name": self._columns.attributes["name"],
            "files": [path.name for path in self._files],
            "episodes": len(returns),
            "transitions": len(self.columns["rows"]),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_mean": float(self._columns.episodes["length"].mean()),
            "digest": str(self._columns.attributes["content_sha256"]),
            "bytes": sum(column.numel() * column.element_size() for column in self.columns.values()),
        }

    @property
    def returns(self) -> list[float]:
        """Return the undiscounted return of every episode."""
        return [float(value) for value in self._columns.episodes["return"]]

    def _take(self, name: str, rows: Tensor) -> Tensor:
        """Return rows of a column, whatever the shape of `rows`."""
        return at(self.columns[name], rows)

    def _seen(self, start: int, stop: int) -> Tensor:
        """Return what was observed in acting rows start .. stop - 1, as `statistics` takes it."""
        rows = self.columns["rows"][start:stop, 0]
        return self._take("state", rows) if self._robot else self._observe(rows)

    def _observe(self, rows: Tensor) -> Tensor:
        found = self._take("observation", rows)
        if self._view_per_batch:
            return agents_view(found, self.spec.n_agents, self.spec.view)
        return found.view(*rows.shape, self.spec.n_agents, self.spec.obs_dim)

    def _act(self, row: Tensor) -> Tensor:
        found = self._take("action", row)
        return found.long() if self.spec.discrete else found

    def _look_back(self, batch: Batch, row: Tensor, steps: int) -> None:
        back = torch.arange(steps, 0, -1, device=row.device)  # oldest first
        before = (row.unsqueeze(-1) - back).clamp(min=0)
        batch.past_obs, batch.past_action = self._observe(before), self._act(before)
        batch.past_seen = (at(self.columns["t"], row).unsqueeze(-1) >= back).to(batch.reward.dtype)

    def _state(self, row: Tensor) -> Tensor:
        return self._take("state", row)


def at(column: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a column, whatever the shape of `rows`; indexing would do the same, slower."""
    return column.index_select(0, rows.flatten()).view(*rows.shape, *column.shape[1:])


def check_timeouts(timeouts: str) -> None:
    """Raise ConfigError for a value of `data.timeouts` that is none."""
    if timeouts not in TIMEOUTS:
        raise ConfigError(f"data.timeouts='{timeouts}' is unknown{nearest(timeouts, TIMEOUTS)}")


def _transitions(columns: Columns, rows: Any, timeouts: str) -> dict[str, Tensor]:
    """Return rows (n, 2) = acting rows and successors, scalars (n, 3) = their reward, bootstrap, valid, and t (R,)."""
    steps, episodes = columns.steps, columns.episodes
    following = rows + 1
    bootstrap, valid = np.ones(len(rows), np.float32), np.ones(len(rows), np.float32)
    position = np.cumsum(steps["has_action"]) - 1  # row -> position among acting rows
    for start, length, count, end in zip(
        *(episodes[name].tolist() for name in ("start", "length", "rows", "end")), strict=True
    ):
        if length == 0:
            continue
        last, stored = position[start + length - 1], count > length
        if not stored:
            following[last] = rows[last]
        bootstrap[last], valid[last] = _worth(end, stored, timeouts)
    scalars = np.stack([steps["rewards"][rows], bootstrap, valid], 1)
    pairs, t = torch.from_numpy(np.stack([rows, following], 1)), torch.from_numpy(steps["t"])
    return {"rows": pairs, "scalars": torch.from_numpy(scalars), "t": t}


def _worth(end: int, stored: bool, timeouts: str) -> tuple[float, float]:
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
