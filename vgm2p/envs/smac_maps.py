"""Sizes of SMAC's tasks: agents, step limits, observations and states. They are known without smacv2 and the game."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgm2p.errors import ConfigError, nearest
from vgm2p.types import Spec

MOVES = 4
NO_ATTACK = 6  # number of actions without a target: no-op, stop, four moves
FLAT_MAP = "32x32_flat"  # the file that all maps of SMACv2 use
LIMIT_V2 = 200
DEATH, VICTORY = 10.0, 200.0  # points [SMAC]
DIFFICULTIES = (*"123456789", "A")
USUAL_GAME = {"difficulty": "7", "step_mul": 8, "move_amount": 2.0}  # [SMAC]
SCALE = 20.0  # return of a victory without regeneration [SMAC]


@dataclass(frozen=True)
class Map:
    """A map of SMACv1.

    Attributes:
        agents: number of agents.
        enemies: number of enemies.
        limit: number of steps after which an episode is truncated.
        races: first letters of the races of agents and enemies; P (protoss) has shields.
        types: width of the one-hot of the unit type; 0 if all units have the same type.
        toughness: health and shields of all enemies together; their units are in the comment.
    """

    agents: int
    enemies: int
    limit: int
    races: str
    types: int
    toughness: int


# [smacv2, smac_maps.py; enemies: SMAC, Table 1]
MAPS = {
    "3m": Map(3, 3, 60, "TT", 0, 135),  # 3 marines
    "8m": Map(8, 8, 120, "TT", 0, 360),  # 8 marines
    "25m": Map(25, 25, 150, "TT", 0, 1125),  # 25 marines
    "5m_vs_6m": Map(5, 6, 70, "TT", 0, 270),  # 6 marines
    "8m_vs_9m": Map(8, 9, 120, "TT", 0, 405),  # 9 marines
    "10m_vs_11m": Map(10, 11, 150, "TT", 0, 495),  # 11 marines
    "27m_vs_30m": Map(27, 30, 180, "TT", 0, 1350),  # 30 marines
    "MMM": Map(10, 10, 150, "TT", 3, 715),  # 1 medivac, 2 marauders, 7 marines
    "MMM2": Map(10, 12, 180, "TT", 3, 885),  # 1 medivac, 3 marauders, 8 marines
    "2s3z": Map(5, 5, 120, "PP", 2, 770),  # 2 stalkers, 3 zealots
    "3s5z": Map(8, 8, 150, "PP", 2, 1230),  # 3 stalkers, 5 zealots
    "3s5z_vs_3s6z": Map(8, 9, 170, "PP", 2, 1380),  # 3 stalkers, 6 zealots
    "3s_vs_3z": Map(3, 3, 150, "PP", 0, 450),  # 3 zealots
    "3s_vs_4z": Map(3, 4, 200, "PP", 0, 600),  # 4 zealots
    "3s_vs_5z": Map(3, 5, 250, "PP", 0, 750),  # 5 zealots
    "1c3s5z": Map(9, 9, 180, "PP", 3, 1580),  # 1 colossus, 3 stalkers, 5 zealots
    "2m_vs_1z": Map(2, 1, 150, "TP", 0, 150),  # 1 zealot
    "corridor": Map(6, 24, 400, "PZ", 0, 840),  # 24 zerglings
    "6h_vs_8z": Map(6, 8, 150, "ZP", 0, 1200),  # 8 zealots
    "2s_vs_1sc": Map(2, 1, 300, "PZ", 0, 300),  # 1 spine crawler
    "so_many_baneling": Map(7, 32, 100, "PZ", 0, 960),  # 32 banelings
    "bane_vs_bane": Map(24, 24, 200, "ZZ", 2, 820),  # 20 zerglings, 4 banelings
    "2c_vs_64zg": Map(2, 64, 400, "PZ", 0, 2240),  # 64 zerglings
}


@dataclass(frozen=True)
class Race:
    """A race of SMACv2, configured as in OG-MARL's data; protoss is not in these data, and is configured as in smacv2.

    Attributes:
        units: share of each unit type in a team.
        exceptions: a team may not consist only of these unit types.
    """

    units: Mapping[str, float]
    exceptions: tuple[str, ...]


RACES = {
    "terran": Race({"marine": 0.45, "marauder": 0.45, "medivac": 0.1}, ("baneling",)),
    "zerg": Race({"zergling": 0.45, "baneling": 0.1, "hydralisk": 0.45}, ("baneling",)),
    "protoss": Race({"stalker": 0.45, "zealot": 0.45, "colossus": 0.1}, ()),
}
TYPES_V2 = 3
# health + shield of a unit [StarCraft II 4.10]
TOUGHNESS = {
    "marine": 45,
    "marauder": 125,
    "medivac": 150,
    "zergling": 35,
    "baneling": 30,
    "hydralisk": 90,
    "stalker": 160,
    "zealot": 150,
    "colossus": 350,
}


def map_of(name: str) -> Map:
    """Return a map of SMACv1. Raises ConfigError for an unknown name."""
    if name not in MAPS:
        raise ConfigError(f"env.map_name={name} is no map of SMAC{nearest(name, MAPS)}")
    return MAPS[name]


def race_of(name: str) -> Race:
    """Return a race of SMACv2. Raises ConfigError for an unknown name."""
    if name not in RACES:
        raise ConfigError(f"env.race={name} is no race of SMACv2{nearest(name, RACES)}")
    return RACES[name]


def check_units(units: Any, usual: Race) -> None:
    """Raise ConfigError unless `units` has a share for each unit type of the race, and the shares sum to 1."""
    named = isinstance(units, Mapping) and units.keys() == usual.units.keys()
    # numpy has the same tolerance for probabilities, but would raise its error later, in the process of the game
    if not named or not all(map(_is_share, units.values())) or abs(sum(units.values()) - 1.0) > 1e-8:
        names = ", ".join(usual.units)
        raise ConfigError(f"env.units={units} must give {names} a share from 0 each, with sum 1")


def check_exceptions(exceptions: Any, units: Mapping[str, float], usual: Race) -> None:
    """Raise ConfigError unless `exceptions` is a list of known unit types that still allows a team."""
    known = [*usual.units, *(name for name in usual.exceptions if name not in usual.units)]
    if not isinstance(exceptions, list) or not all(name in known for name in exceptions):
        raise ConfigError(f"env.exceptions={exceptions} must be a list of {', '.join(known)}, or []")
    if not any(share > 0 and name not in exceptions for name, share in units.items()):
        raise ConfigError(f"env.exceptions={exceptions} allows no team; remove a unit type with a share above 0")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def game_keys(difficulty: int | str, step_mul: int, move_amount: float) -> dict[str, Any]:
    """Return keyword arguments of smacv2's StarCraft2Env. Raises ConfigError for values that it does not take."""
    if str(difficulty) not in DIFFICULTIES:
        raise ConfigError(f"env.difficulty={difficulty} must be one of {', '.join(DIFFICULTIES)}; 7 is SMAC's")
    if step_mul < 1 or not 0.0 < move_amount < math.inf:
        raise ConfigError(f"env.step_mul and env.move_amount must be positive, got {step_mul} and {move_amount}")
    return {"difficulty": str(difficulty), "step_mul": step_mul, "move_amount": float(move_amount)}


def unusual(given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the usual ones; they are part of the task."""
    return {key: value for key, value in given.items() if value != usual[key]}


def spec_v1(name: str, env_kwargs: Mapping[str, Any] | None = None) -> Spec:
    """Return the task of a SMACv1 map, with the name that OG-MARL's vaults use. Raises ConfigError.

    `env_kwargs`: the settings that differ from those of SMAC.
    """
    facts = map_of(name)
    return _spec(f"smac_v1/{name}", facts, heals=name.startswith("MMM"), position=0, env_kwargs=env_kwargs)


def spec_v2(race: str, units: int, enemies: int, env_kwargs: Mapping[str, Any] | None = None) -> Spec:
    """Return a task of SMACv2, with the name that OG-MARL's vaults use. Raises ConfigError for an unknown race.

    `env_kwargs`: the settings that differ from those of OG-MARL.
    """
    race_of(race)
    facts = Map(units, enemies, LIMIT_V2, 2 * race[0].upper(), TYPES_V2, toughness=0)
    return _spec(f"smac_v2/{race}_{units}_vs_{enemies}", facts, race == "terran", position=2, env_kwargs=env_kwargs)


def _spec(env_id: str, facts: Map, heals: bool, position: int, env_kwargs: Mapping[str, Any] | None = None) -> Spec:
    """Return the spec. Observation: moves, enemies, other allies, the agent itself. State: units and last actions."""
    n, m, types = facts.agents, facts.enemies, facts.types
    ally_shield, enemy_shield = (int(race == "P") for race in facts.races)
    actions = NO_ATTACK + (max(n, m) if heals else m)
    obs = MOVES + m * (5 + enemy_shield + types) + (n - 1) * (5 + ally_shield + types)
    obs += 1 + ally_shield + position + types
    state = n * (4 + ally_shield + types) + m * (3 + enemy_shield + types) + n * actions
    return Spec(
        n_agents=n,
        obs_dim=obs,
        action_dim=actions,
        discrete=True,
        state_dim=state,
        episode_limit=facts.limit,
        view="native",
        env_id=env_id,
        env_kwargs=dict(env_kwargs or {}),
    )


def worth_v2(units: Mapping[str, float], exceptions: Sequence[str], agents: int, enemies: int) -> float:
    """Return the expected points of a victory over a random team of enemies, as smacv2 draws it.

    A unit is worth its health, its shield and DEATH points [smacv2, starcraft2.py, init_units and reward_battle]. The
    enemies are copies of the agents. If they are fewer, some agents have no copy; if they are more, the others are a
    second random team [smacv2, distributions.py, WeightedTeamsDistribution].
    """
    tough = min(agents, enemies) * _mean_toughness(units, exceptions, agents)
    if enemies > agents:
        tough += (enemies - agents) * _mean_toughness(units, exceptions, enemies - agents)
    return tough + enemies * DEATH + VICTORY


def _mean_toughness(units: Mapping[str, float], exceptions: Sequence[str], size: int) -> float:
    """Return the mean toughness of a unit in a team of `size`. A team of exceptions only is drawn again."""
    every = sum(share * TOUGHNESS[name] for name, share in units.items())
    excepted = {name: share for name, share in units.items() if name in exceptions}
    share = sum(excepted.values())
    if share == 0.0:
        return every
    among = sum(part * TOUGHNESS[name] for name, part in excepted.items()) / share
    again = share**size
    return (every - again * among) / (1.0 - again)
