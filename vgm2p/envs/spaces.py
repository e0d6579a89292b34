"""What the adapters for environments of other libraries make of gymnasium's spaces: vectors, indices, scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError

MOST_AXES = 2  # an observation with more is an image


def vector_width(space: Any, what: str) -> int:
    """Return the width of the flattened vectors of a Box. Raises ConfigError for another space, and for images."""
    from gymnasium.spaces import Box

    if not isinstance(space, Box):
        raise ConfigError(
            f"{what} is a {type(space).__name__}; only a Box of numbers is supported: wrap the environment"
        )
    if len(space.shape) > MOST_AXES:
        raise ConfigError(f"{what} has shape {space.shape}, an image; only vectors are supported: wrap the environment")
    return max(1, math.prod(space.shape))


class TeamActions:
    """The actions of N agents, of one kind and of one width.

    Continuous policies act in [-1, 1], which is mapped linearly to the bounds of each Box. The numbers of discrete
    actions may differ; actions that an agent does not have are never legal.

    Args:
        spaces: a Box or a Discrete space for each agent.
        names: names of the agents, for messages.

    Raises:
        ConfigError: for other spaces, both kinds in one team, continuous actions of unequal width or without bounds.
    """

    def __init__(self, spaces: Sequence[Any], names: Sequence[str]) -> None:
        from gymnasium.spaces import Box, Discrete

        kinds = {type(space).__name__ for space in spaces}
        self.discrete = all(isinstance(space, Discrete) for space in spaces)
        if not self.discrete and not all(isinstance(space, Box) for space in spaces):
            raise ConfigError(
                f"the actions are {' and '.join(sorted(kinds))}; all agents need a Box, or all a Discrete space"
            )
        self._spaces = list(spaces)
        if self.discrete:
            self.counts = [int(space.n) for space in spaces]
            self.width = max(self.counts)
            return
        widths = [max(1, math.prod(space.shape)) for space in spaces]
        if len(set(widths)) > 1:
            raise ConfigError(f"the agents have {widths} continuous actions; all must have the same number: wrap them")
        self.width = widths[0]
        for name, space in zip(names, spaces, strict=True):
            if not (np.isfinite(space.low).all() and np.isfinite(space.high).all() and (space.low < space.high).all()):
                raise ConfigError(
                    f"the actions of {name} have no finite bounds; wrap the environment to give them some"
                )

    def legal(self, agent: int, mask: Any = None) -> NDArray[np.bool_]:
        """Return which discrete actions (A,) are legal: those of a mask, or all that the agent has.

        Raises ConfigError for a mask of another length.
        """
        found, count = np.zeros(self.width, bool), self.counts[agent]
        if mask is not None and np.size(mask) != count:
            raise ConfigError(
                f"an action mask of agent {agent} has {np.size(mask)} entries for {count} actions; correct it"
            )
        found[:count] = True if mask is None else np.asarray(mask, bool).reshape(-1)
        return found

    def to_env(self, agent: int, action: Any) -> Any:
        """Return the action that the environment takes: an index, or numbers within the bounds of the Box."""
        space = self._spaces[agent]
        if self.discrete:
            return space.dtype.type(space.start + int(action))
        return within(space, action)


def within(space: Any, action: NDArray[Any]) -> NDArray[Any]:
    """Return the point of a Box for numbers in [-1, 1], mapped linearly to its bounds. Others are clipped first."""
    inside = np.clip(action, -1.0, 1.0).reshape(space.shape)
    if not ((space.low == -1.0).all() and (space.high == 1.0).all()):  # equal bounds: not a bit may change
        inside = space.low + (inside.astype(np.float64) + 1.0) / 2.0 * (space.high.astype(np.float64) - space.low)
    found: NDArray[Any] = inside.astype(space.dtype)
    return found
