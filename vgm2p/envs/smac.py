"""SMACv1 and SMACv2: games of StarCraft II in worker processes. Each game plays one episode at a time."""

from __future__ import annotations

from vgm2p.envs.smac_install import require
from vgm2p.envs.smac_maps import (
    FLAT_MAP,
    USUAL_GAME,
    check_exceptions,
    check_units,
    game_keys,
    race_of,
    spec_v1,
    spec_v2,
    unusual,
    worth_v2,
)
from vgm2p.envs.smac_slots import SMAC
from vgm2p.errors import ConfigError

# [OG-MARL]. For equal teams, only p of SMACv2's start positions matters; smacv2 overwrites n_enemies
START = {"dist_type": "surrounded_and_reflect", "n_enemies": 5, "map_x": 32, "map_y": 32}
ARGUMENTS_V2 = {
    "debug": False,
    "conic_fov": False,
    "obs_own_pos": True,
    "use_unit_ranges": True,
    "min_attack_range": 2,
}


class SMACv1(SMAC):
    """A map of SMACv1. The defaults are those of `oxwhirl/smac`.

    Args:
        map_name: name of the map, for example `3m`.
        difficulty: of the game's own player, 1 to 9 or A.
        step_mul: game steps per action.
        move_amount: length of a move.
        workers: number of games that run at the same time.
        timeout: time in seconds within which a game must answer.

    Raises:
        ConfigError: for an unknown map or difficulty.
        MissingInput: if smacv2, StarCraft II or the map is missing.
    """

    def __init__(
        self,
        map_name: str,
        difficulty: int | str = 7,
        step_mul: int = 8,
        move_amount: float = 2.0,
        workers: int = 2,
        timeout: float = 120.0,
    ) -> None:
        keys = game_keys(difficulty, step_mul, move_amount)
        spec = spec_v1(map_name, unusual(keys, USUAL_GAME))
        game = {"arguments": {"map_name": map_name, **keys}, "capabilities": None, "worth": None}
        super().__init__(spec, game, require(map_name), workers, timeout)


class SMACv2(SMAC):
    """Random teams of a race at random start positions. The defaults are those of OG-MARL's data.

    Args:
        race: terran, zerg or protoss.
        n_units: number of agents.
        n_enemies: number of enemies.
        units: share of each unit type in a team; None: as in OG-MARL.
        exceptions: a team may not consist only of these unit types; None: as in OG-MARL.
        reflected: probability of reflected start positions; otherwise the start positions are surrounded.
        difficulty: of the game's own player, 1 to 9 or A.
        step_mul: game steps per action.
        move_amount: length of a move.
        workers: number of games that run at the same time.
        timeout: time in seconds within which a game must answer.

    Raises:
        ConfigError: for an unknown race, wrong shares, or exceptions that allow no team.
        MissingInput: if smacv2, StarCraft II or the map is missing.
    """

    def __init__(
        self,
        race: str,
        n_units: int,
        n_enemies: int,
        units: dict[str, float] | None = None,
        exceptions: list[str] | None = None,
        reflected: float = 0.5,
        difficulty: int | str = 7,
        step_mul: int = 8,
        move_amount: float = 2.0,
        workers: int = 2,
        timeout: float = 120.0,
    ) -> None:
        if min(n_units, n_enemies) < 1 or not 0.0 <= reflected <= 1.0:
            raise ConfigError(
                f"env.n_units, n_enemies must be >= 1, reflected in [0, 1], got {n_units}, {n_enemies}, {reflected}"
            )
        usual = race_of(race)
        units = dict(usual.units) if units is None else units
        exceptions = list(usual.exceptions) if exceptions is None else exceptions
        check_units(units, usual)
        check_exceptions(exceptions, units, usual)
        keys = game_keys(difficulty, step_mul, move_amount)
        given = {"units": units, "exceptions": exceptions, "reflected": reflected, **keys}
        theirs = {"units": dict(usual.units), "exceptions": list(usual.exceptions), "reflected": 0.5, **USUAL_GAME}
        spec = spec_v2(race, n_units, n_enemies, unusual(given, theirs))
        team = {
            "dist_type": "weighted_teams",
            "unit_types": list(units),
            "weights": list(units.values()),
            "exception_unit_types": exceptions,
            "observe": True,
        }
        capabilities = {
            "n_units": n_units,
            "n_enemies": n_enemies,
            "team_gen": team,
            "start_positions": {**START, "p": reflected},
        }
        arguments = {"map_name": f"10gen_{race}", **ARGUMENTS_V2, **keys}
        expected = worth_v2(units, exceptions, n_units, n_enemies)
        game = {"arguments": arguments, "capabilities": capabilities, "worth": expected}
        super().__init__(spec, game, require(FLAT_MAP), workers, timeout)
