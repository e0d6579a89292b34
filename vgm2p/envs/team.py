"""How the joint vectors of one agent are split among a team: which entries of action and observation are whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """A split of joint vectors among N agents.

    Attributes:
        actions: for each agent, its entries of the joint action. All agents have the same number A of them.
        observations: for each agent, its entries of the joint observation. Shorter vectors are padded with zeros at
            the end, to the width O of the longest. None: every agent sees the whole observation.
    """

    actions: tuple[tuple[int, ...], ...]
    observations: tuple[tuple[int, ...], ...] | None = None

    @property
    def n_agents(self) -> int:
        """N, the number of agents."""
        return len(self.actions)

    def arguments(self, width: int) -> dict[str, Any]:
        """Return the entries of `Spec.env_kwargs` that tell this split from others.

        Equal parts of the action, in order, and the whole observation for everybody are no entries.

        Args:
            width: width D of the joint observation.
        """
        entries = [entry for each in self.actions for entry in each]
        found = {"action_split": self.actions} if entries != sorted(entries) else {}
        if self.observations is not None and set(self.observations) != {tuple(range(width))}:
            found["observation_split"] = self.observations
        return {key: [list(each) for each in split] for key, split in found.items()}

    def split_actions(self, joint: NDArray[Any]) -> NDArray[Any]:
        """Return the actions (..., N, A) of the agents for joint actions (..., N * A)."""
        return joint[..., np.array(self.actions)]

    def join_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the joint actions (..., N * A) for the actions (..., N, A) of the agents."""
        joint = np.empty((*actions.shape[:-2], actions.shape[-2] * actions.shape[-1]), actions.dtype)
        joint[..., np.array(self.actions).reshape(-1)] = actions.reshape(joint.shape)
        return joint

    def observe(self, joint: NDArray[Any]) -> NDArray[Any]:
        """Return the vectors (..., N, O) that the agents see of joint observations (..., D). Needs `observations`."""
        assert self.observations is not None
        longest = max(map(len, self.observations))
        padding = joint.shape[-1]  # the place of a zero behind the vector
        places = np.array([[*each, *[padding] * (longest - len(each))] for each in self.observations])
        zero = np.zeros((*joint.shape[:-1], 1), joint.dtype)
        return np.concatenate([joint, zero], -1)[..., places]


def team_of(
    agents: int | None,
    action_split: Sequence[Any] | None,
    observation_split: Sequence[Any] | None,
    actions: int,
    width: int,
) -> Team:
    """Return the split that a user names.

    Args:
        agents: number of agents. Without `action_split`, they share the joint action in equal parts, in order.
        action_split: for each agent, its entries of the joint action, such as [[0, 1], [2, 3]].
        observation_split: for each agent, its entries of the joint observation. None: every agent sees all of it.
        actions: width of the joint action.
        width: width of the joint observation.

    Raises:
        ConfigError: if the two lists and `agents` contradict one another or the widths, or if nothing names a split.
    """
    if action_split is None:
        if agents is None:
            raise ConfigError(
                f"who does which of the {actions} actions? name the team: agents=<n>, or action_split=[[0],[1],...]"
            )
        if actions % agents:
            raise ConfigError(
                f"agents={agents} cannot share the {actions} actions equally; give action_split=[[0],[1],...]"
            )
        each = actions // agents
        action_split = [list(range(agent * each, agent * each + each)) for agent in range(agents)]
    split = _lists("action_split", action_split, actions)
    if agents is not None and agents != len(split):
        raise ConfigError(f"agents={agents}, but action_split has {len(split)} lists; give one of the two")
    if sorted(entry for each in split for entry in each) != list(range(actions)):
        raise ConfigError(f"action_split must hold each of the {actions} actions (0 to {actions - 1}) exactly once")
    if len(sizes := {len(each) for each in split}) > 1:
        raise ConfigError(f"action_split gives agents {min(sizes)} to {max(sizes)} actions; give all the same number")
    if observation_split is None:
        return Team(split)
    seen = _lists("observation_split", observation_split, width)
    if len(seen) != len(split):
        raise ConfigError(f"observation_split has {len(seen)} lists for {len(split)} agents; give one for each agent")
    return Team(split, seen)


def _lists(name: str, given: Sequence[Any], width: int) -> tuple[tuple[int, ...], ...]:
    """Return lists of entries below `width` as tuples. Raises ConfigError."""
    good = bool(given) and all(isinstance(each, Sequence) and not isinstance(each, str) and each for each in given)
    entries = [entry for each in given for entry in each] if good else [None]
    if not all(isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < width for entry in entries):
        raise ConfigError(f"{name} must be a list of entries (0 to {width - 1}) for each agent, such as [[0,1],[2,3]]")
    return tuple(tuple(each) for each in given)
