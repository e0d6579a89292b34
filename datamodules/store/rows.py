"""What a row source is: what was seen, done and legal in given rows, whether they lie in memory or on disk."""

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
    """The wide columns of a dataset. `rows` is an int64 tensor (...) of row numbers on `device`.

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
        """Where rows are gathered."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that the columns take."""
        ...

    def observations(self, rows: Tensor) -> Tensor:
        """Return what every agent saw: (..., N, O) float32."""
        ...

    def actions(self, rows: Tensor) -> Tensor:
        """Return what every agent did: (..., N, A) float32 in [-1, 1], or (..., N) int64."""
        ...

    def legal(self, rows: Tensor) -> Tensor:
        """Return which actions were legal: (..., N, A) bool; discrete actions only."""
        ...

    def states(self, rows: Tensor) -> Tensor:
        """Return global states: (..., D) or (..., N, D) float32."""
        ...

    def scanning(self) -> AbstractContextManager[None]:
        """Return a context for one pass over all rows in their order, made of calls of `scan`."""
        ...

    def scan(self, rows: Tensor) -> Tensor:
        """Return robot observations (..., D), or where no robot is behind the data, the agents' own (..., N, O)."""
        ...

    def choose(self, kept: NDArray[Any]) -> RowSource:
        """Return a source of the rows `kept`, numbered from 0."""
        ...

    def to(self, device: torch.device) -> None:
        """Prepare for training on `device`."""
        ...


@dataclass(frozen=True)
class Views:
    """How observations are made of what is stored.

    Attributes:
        spec: the task, with the view asked for.
        stored: `robot`, `omiga` or `native` (`layout.task.stored_as`).
    """

    spec: Spec
    stored: str

    @property
    def has_robot(self) -> bool:
        """Whether a robot's observation is behind the agents' vectors."""
        return self.stored != "native"

    @property
    def built(self) -> bool:
        """Whether agents' vectors are built of the robot's observation, and not stored."""
        return self.stored == "robot" or (self.stored == "omiga" and self.spec.view != "omiga")

    def robot(self, stored: Tensor) -> Tensor:
        """Return robot observations (..., D) for stored ones: (..., D), or omiga's vectors (..., N, O)."""
        return robot_of_omiga(stored, self.spec.n_agents) if self.stored == "omiga" else stored

    def of_robot(self, robot: Tensor) -> Tensor:
        """Return agents' vectors (..., N, O) for robot observations (..., D)."""
        return agents_view(robot, self.spec.n_agents, self.spec.view)


def take(column: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a column, whatever the shape of `rows`; indexing would do the same, slower."""
    return column.index_select(0, rows.flatten()).view(*rows.shape, *column.shape[1:])
