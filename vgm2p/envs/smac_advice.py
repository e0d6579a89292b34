"""What smacv2's heuristic would do. It runs in the process of a game, so it imports no torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING, STOP = 0, 1
AIR = 54  # medivac, the only flying unit of SMAC's enemies [s2client-api, sc2_typeenums.h]


def prepare(game: Any) -> None:
    """Let the heuristic forget its targets, and walk towards a target that is out of range (`heuristic_rest`)."""
    game.heuristic_rest, game.heuristic_targets = True, [None] * game.n_agents


def advice(game: Any) -> NDArray[np.int64]:
    """Return an available action for each agent (N,): attack the closest enemy, heal the closest ally, or walk there.

    An agent knows the positions of all enemies, also of those out of its sight. The rule is smacv2's
    (`StarCraft2Env.get_agent_action_heuristic`) with three repairs: the dead do nothing; an unavailable action becomes
    stop; marauders do not choose medivacs, which they cannot hit. (smacv2 compares the ids of allies there.)
    """
    chosen = np.full(game.n_agents, NOTHING)
    for agent, unit in game.agents.items():
        if unit.health == 0:
            continue
        if unit.unit_type == game.marauder_id:
            game.heuristic_targets[agent] = closest_on_the_ground(game, unit)
            if game.heuristic_targets[agent] is None:
                chosen[agent] = STOP
                continue
        _, action = game.get_agent_action_heuristic(agent, NOTHING)
        chosen[agent] = action if game.get_avail_agent_actions(agent)[action] and action != NOTHING else STOP
    return chosen


def closest_on_the_ground(game: Any, unit: Any) -> int | None:
    """Return the closest living enemy that does not fly; None if there is none."""
    targets = {
        enemy: math.hypot(other.pos.x - unit.pos.x, other.pos.y - unit.pos.y)
        for enemy, other in game.enemies.items()
        if other.health > 0 and other.unit_type != AIR
    }
    return min(targets, key=lambda enemy: targets[enemy]) if targets else None
