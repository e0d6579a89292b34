"""Rows in memory, on the training device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.datamodules.layout.rules import observed_in
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.task import spec_of, stored_as
from vgm2p.datamodules.store.rows import Views, take
from vgm2p.envs.observation import in_slabs

VIEWS_BYTES = 1 << 30  # larger views of the agents are built per batch, smaller ones once at loading


class ResidentRows:
    """A `RowSource` of tensors. Values that depend on single rows (views, clamped actions) are computed at loading.

    Args:
        columns: name -> column: `action`, `observation` and, if the data have them, `legal` and `state`. `observation`
            is the robot's observation if `per_batch`, otherwise the agents' vectors side by side.
        views: rules that build observations.
        per_batch: whether the agents' vectors are built from the robot's observation for each batch.
    """

    def __init__(self, columns: dict[str, Tensor], views: Views, per_batch: bool) -> None:
        self.spec, self.columns = views.spec, columns
        self._views, self._per_batch = views, per_batch

    @classmethod
    def of(cls, dataset: Columns, view: str) -> ResidentRows:
        """Return the source of a dataset in memory. Raises ConfigError if it has no such view."""
        views, steps = Views(spec_of(dataset, view), stored_as(dataset)), dataset.steps
        name = observed_in(steps)
        assert name is not None  # `rules.check_layout` has checked this
        observed, action = torch.from_numpy(steps[name]), torch.from_numpy(steps["actions"])
        columns = {
            "action": action if views.spec.discrete else action.clamp(-1.0, 1.0),
            "observation": observed.flatten(1),
        }
        if "legal_actions" in steps:
            columns["legal"] = torch.from_numpy(steps["legal_actions"])
        if views.has_robot:
            columns["state"] = in_slabs(views.robot, observed) if views.stored == "omiga" else observed
        elif "state" in steps:
            columns["state"] = torch.from_numpy(steps["state"])
        return cls(columns, views, _build_views(columns, views))

    @property
    def resident(self) -> bool:
        """True: rows are gathered on the training device, so a draw can be captured with its update."""
        return True

    @property
    def device(self) -> torch.device:
        """The device of the columns."""
        return self.columns["action"].device

    @property
    def bytes(self) -> int:
        """Bytes of memory that the columns take."""
        columns = {id(column): column for column in self.columns.values()}  # observations may be the states
        return sum(column.numel() * column.element_size() for column in columns.values())

    def observations(self, rows: Tensor) -> Tensor:
        """Return the observations of all agents: (..., N, O) float32."""
        found = take(self.columns["observation"], rows)
        if self._per_batch:
            return self._views.of_robot(found)
        return found.view(*rows.shape, self.spec.n_agents, self.spec.obs_dim)

    def actions(self, rows: Tensor) -> Tensor:
        """Return the actions of all agents: (..., N, A) float32 in [-1, 1], or (..., N) int64."""
        found = take(self.columns["action"], rows)
        return found.long() if self.spec.discrete else found

    def legal(self, rows: Tensor) -> Tensor:
        """Return a mask of the legal actions: (..., N, A) bool."""
        return take(self.columns["legal"], rows).bool()

    def states(self, rows: Tensor) -> Tensor:
        """Return global states: (..., D) or (..., N, D) float32."""
        return take(self.columns["state"], rows)

    def scanning(self) -> AbstractContextManager[None]:
        """Return an empty context: a pass over rows in memory needs no preparation."""
        return nullcontext()

    def scan(self, rows: Tensor) -> Tensor:
        """Return robot observations (..., D), or the agents' own (..., N, O)."""
        return self.states(rows) if self._views.has_robot else self.observations(rows)

    def choose(self, kept: NDArray[Any]) -> ResidentRows:
        """Return a source with a copy of the rows `kept`, numbered from 0."""
        rows = torch.from_numpy(kept).to(self.device)
        columns = {name: take(column, rows) for name, column in self.columns.items()}
        return ResidentRows(columns, self._views, self._per_batch and _build_views(columns, self._views))

    def to(self, device: torch.device) -> None:
        """Move every column to `device`. Columns that are the same tensor stay the same."""
        moved = {id(column): column.to(device) for column in self.columns.values()}
        self.columns = {name: moved[id(column)] for name, column in self.columns.items()}


def _build_views(columns: dict[str, Tensor], views: Views) -> bool:
    """Set the column `observation` if it is built from the robot's observation.

    Return whether each batch must build the agents' vectors, because storing them would take too much memory.
    """
    if not views.built:
        return False
    robot, spec = columns["state"], views.spec
    per_batch = len(robot) * spec.n_agents * spec.obs_dim * 4 > VIEWS_BYTES
    columns["observation"] = robot if per_batch else in_slabs(lambda rows: views.of_robot(rows).flatten(1), robot)
    return per_batch
