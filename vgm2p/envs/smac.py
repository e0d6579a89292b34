"""SMACv1 and SMACv2: games of StarCraft II in worker processes. Each game plays one episode at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.envs.base import Frame, Step
from vgm2p.envs.smac_game import Moment
from vgm2p.envs.smac_install import WORKER_ENVIRONMENT, require
from vgm2p.envs.smac_maps import FLAT_MAP, check_exceptions, check_units, race_of, spec_v1, spec_v2, worth_v2
from vgm2p.envs.workers import Lost, Pool
from vgm2p.errors import ConfigError, ServiceError
from vgm2p.types import Spec

FACTORY = "vgm2p.envs.smac_game:Game"
# [OG-MARL]. For equal teams, only p of SMACv2's start positions matters; smacv2 overwrites n_enemies
START = {"dist_type": "surrounded_and_reflect", "n_enemies": 5, "map_x": 32, "map_y": 32}
ARGUMENTS_V2 = {
    "debug": False,
    "conic_fov": False,
    "obs_own_pos": True,
    "use_unit_ranges": True,
    "min_attack_range": 2,
}
NUMBERS = ("dead_allies", "dead_enemies", "score")


class SMAC:
    """Episodes of one task in slots. At most `workers` slots are active at the same time (implements `VectorEnv`).

    `Step.info` has `won` (E,) bool; `dead_allies`, `dead_enemies`, `score` (E,) float64; `cause`, `log` (E,) of faults.

    Args:
        spec: the task.
        game: arguments of `vgm2p.envs.smac_game.Game`.
        versions: versions of the packages and of the game.
        workers: number of games that run at the same time.
        timeout: time in seconds within which a game must answer; the start of a game takes 5 to 30.

    Raises:
        ConfigError: if `workers` or `timeout` is not positive.
    """

    discrete = True

    def __init__(
        self, spec: Spec, game: Mapping[str, Any], versions: Mapping[str, str], workers: int, timeout: float
    ) -> None:
        if workers < 1 or timeout <= 0:
            raise ConfigError(f"env.workers and env.timeout must be positive, got {workers} and {timeout:g}")
        self.spec, self.timeout = spec, float(timeout)
        self.max_active: int | None = workers
        self._games = range(workers)
        self._versions = dict(versions)
        self.stop: Callable[[], bool] = lambda: False
        self.pool = Pool(FACTORY, game, WORKER_ENVIRONMENT)
        self.make(1)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of smacv2, pysc2 and the game."""
        return dict(self._versions)

    def make(self, n_envs: int) -> None:
        """Change the number of slots to `n_envs`. Running games are kept for the next episodes."""
        spec = self.spec
        self._obs = np.zeros((n_envs, spec.n_agents, spec.obs_dim), np.float32)
        self._legal = np.zeros((n_envs, spec.n_agents, spec.action_dim), bool)
        self._legal[..., 0] = True  # a slot without a game needs a legal action, which is not played
        self._state = np.zeros((n_envs, spec.state_dim or 0), np.float32)
        self._worker: dict[int, int] = {}  # slot -> game
        self._lost: dict[int, Lost] = {}  # slot -> why its episode could not start

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start episodes. If an episode cannot start, the first step of its slot reports a fault.

        Raises ServiceError if there are not enough games.
        """
        for slot, seed in enumerate(seeds):
            if seed is not None:
                self._worker.pop(slot, None)
                self._lost.pop(slot, None)
        for slot, seed in enumerate(seeds):
            if seed is not None:
                self._worker[slot] = self._free()
        requests = {self._worker[slot]: ("reset", int(seed)) for slot, seed in enumerate(seeds) if seed is not None}
        answers = self.pool.ask(requests, self.timeout, self.stop)
        for slot, seed in enumerate(seeds):
            if seed is not None:
                answer = answers[self._worker[slot]]
                if isinstance(answer, Lost):
                    self._lost[slot] = answer
                    self._blank(slot)
                else:
                    self._place(slot, answer)
        return self._frame()

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step active slots with actions (E, N). Raises ServiceError for an illegal action."""
        count = len(self._obs)
        reward = np.zeros(count)
        terminated, truncated, fault, won = (np.zeros(count, bool) for _ in range(4))
        numbers = {name: np.zeros(count) for name in NUMBERS}
        cause, log = np.full(count, "", object), np.full(count, "", object)
        slots = np.flatnonzero(active).tolist()
        playing = [slot for slot in slots if slot not in self._lost]
        for slot in playing:
            self._check(slot, actions[slot])
        requests = {self._worker[slot]: ("step", [int(a) for a in actions[slot]]) for slot in playing}
        answers = self.pool.ask(requests, self.timeout, self.stop)
        for slot in slots:
            answer = self._lost[slot] if slot in self._lost else answers[self._worker[slot]]
            if isinstance(answer, Lost):
                fault[slot], cause[slot], log[slot] = True, answer.cause, answer.log
                self._blank(slot)
            else:
                self._place(slot, answer)
                reward[slot], won[slot] = answer.reward, answer.won
                terminated[slot], truncated[slot] = answer.terminated, answer.truncated
                for name in NUMBERS:
                    numbers[name][slot] = getattr(answer, name)
            if fault[slot] or terminated[slot] or truncated[slot]:
                self._worker.pop(slot, None)
                self._lost.pop(slot, None)
        info = {"won": won, "cause": cause, "log": log, **numbers}
        return Step(self._frame(), reward, terminated, truncated, fault, info)

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Raise ServiceError: the game runs without a display and draws nothing."""
        raise ServiceError("SMAC cannot draw pictures: the game runs without a display; remove video=true")

    def close(self) -> None:
        """End the games. A later reset starts new ones."""
        self.pool.close()
        self.make(len(self._obs))

    def _free(self) -> int:
        free = set(self._games) - set(self._worker.values())
        if not free:
            raise ServiceError(f"env.workers={self.max_active}: all games are in use; raise env.workers")
        return min(free)

    def _check(self, slot: int, actions: NDArray[Any]) -> None:
        for agent, action in enumerate(actions.tolist()):
            if not (0 <= action < self.spec.action_dim and self._legal[slot, agent, action]):
                raise ServiceError(
                    f"agent {agent} chose action {action}, which {self.spec.env_id} does not allow now; "
                    "act() must choose legal actions"
                )

    def _place(self, slot: int, moment: Moment) -> None:
        self._obs[slot], self._legal[slot], self._state[slot] = moment.obs, moment.legal, moment.state

    def _blank(self, slot: int) -> None:
        self._obs[slot], self._state[slot] = 0.0, 0.0
        self._legal[slot] = np.arange(self.spec.action_dim) == 0

    def _frame(self) -> Frame:
        return Frame(self._obs.copy(), self._legal.copy(), self._state.copy())


class SMACv1(SMAC):
    """A map of SMACv1, with the default settings of `oxwhirl/smac` (difficulty 7, 8 game steps per action).

    Args:
        map_name: name of the map, for example `3m`.
        workers: number of games that run at the same time.
        timeout: time in seconds within which a game must answer.

    Raises:
        ConfigError: for an unknown map.
        MissingInput: if smacv2, StarCraft II or the map is missing.
    """

    def __init__(self, map_name: str, workers: int = 2, timeout: float = 120.0) -> None:
        spec = spec_v1(map_name)
        game = {"arguments": {"map_name": map_name}, "capabilities": None, "worth": None}
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
        given = {"units": units, "exceptions": exceptions, "reflected": reflected}
        theirs = {"units": dict(usual.units), "exceptions": list(usual.exceptions), "reflected": 0.5}
        spec = spec_v2(race, n_units, n_enemies, {key: given[key] for key in given if given[key] != theirs[key]})
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
        arguments = {"map_name": f"10gen_{race}", **ARGUMENTS_V2}
        expected = worth_v2(units, exceptions, n_units, n_enemies)
        game = {"arguments": arguments, "capabilities": capabilities, "worth": expected}
        super().__init__(spec, game, require(FLAT_MAP), workers, timeout)
