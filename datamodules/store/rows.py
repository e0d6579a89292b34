"""The interface of a row source: observations, actions, legal actions and states of rows in memory or on disk."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.envs.observation import agents_view, robot_of_omiga
from vgm2p.types import Spec


class RowSource(Protocol):
    """Access to the wide columns of a dataset. `rows` is always an int64 tensor (...) of row numbers on `device`.

    Attributes:
        spec: the task of the data.
    """

    spec: Spec

    @property
    def resident(self) -> bool:
        """Whether rows are gathered on the training device."""
        ...

    @property
    def device(self) -> torch.device:
        """The device on which rows are gathered."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of memory that the columns take."""
        ...

    def observations(self, rows: Tensor) -> Tensor:
        """Return the observations of all agents: (..., N, O) float32."""
        ...

    def actions(self, rows: Tensor) -> Tensor:
        """Return the actions of all agents: (..., N, A) float32 in [-1, 1], or (..., N) int64."""
        ...

    def legal(self, rows: Tensor) -> Tensor:
        """Return a mask of the legal actions: (..., N, A) bool. Only for discrete actions."""
        ...

    def states(self, rows: Tensor) -> Tensor:
        """Return global states: (..., D) or (..., N, D) float32."""
        ...

    def scanning(self) -> AbstractContextManager[None]:
        """Return a context for one pass over all rows in order, with calls of `scan`."""
        ...

    def scan(self, rows: Tensor) -> Tensor:
        """Return robot observations (..., D). If the data have none: the agents' own observations (..., N, O)."""
        ...

    def choose(self, kept: NDArray[Any]) -> RowSource:
        """Return a source of the rows `kept`, numbered from 0."""
        ...

    def to(self, device: torch.device) -> None:
        """Prepare for training on `device`."""
        ...


@dataclass(frozen=True)
class Views:
    """Rules that build observations from the stored columns.

    Attributes:
        spec: the task, with the requested view.
        stored: `robot`, `omiga` or `native` (`layout.task.stored_as`).
    """

    spec: Spec
    stored: str

    @property
    def has_robot(self) -> bool:
        """Whether the robot's observation is stored or can be recovered."""
        return self.stored != "native"

    @property
    def built(self) -> bool:
        """Whether the agents' vectors are built from the robot's observation. If not, they are used as stored."""
        return self.stored == "robot" or (self.stored == "omiga" and self.spec.view != "omiga")

    def robot(self, stored: Tensor) -> Tensor:
        """Return robot observations (..., D) from the stored ones: (..., D), or OMIGA's vectors (..., N, O)."""
        return robot_of_omiga(stored, self.spec.n_agents) if self.stored == "omiga" else stored

    def of_robot(self, robot: Tensor) -> Tensor:
        """Return the agents' vectors (..., N, O) for robot observations (..., D)."""
        return agents_view(robot, self.spec.n_agents, self.spec.view)


def take(column: Tensor, rows: Tensor) -> Tensor:
    """Return rows (..., *) of a column (R, *), for `rows` (...). `column[rows]` gives the same, but is slower."""
    return column.index_select(0, rows.flatten()).view(*rows.shape, *column.shape[1:])
