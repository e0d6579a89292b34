"""Episodes of StarCraft II in slots. Each slot with an episode has a game in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.envs.base import Frame, Step
from vgm2p.envs.smac_game import Moment
from vgm2p.envs.smac_install import WORKER_ENVIRONMENT
from vgm2p.envs.workers import Lost, Pool
from vgm2p.errors import ConfigError, ServiceError
from vgm2p.io.files import write_atomic
from vgm2p.types import Acting, Actor, Randomness, Seen, Spec

FACTORY = "vgm2p.envs.smac_game:Game"
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
    draws = False

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
        self._advice = np.zeros((n_envs, spec.n_agents), np.int64)
        self._worker: dict[int, int] = {}  # slot -> game
        self._played: dict[int, int] = {}  # slot -> game of its last episode
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
                self._played[slot] = self._worker.pop(slot)
                self._lost.pop(slot, None)
        info = {"won": won, "cause": cause, "log": log, **numbers}
        return Step(self._frame(), reward, terminated, truncated, fault, info)

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Raise ServiceError: the game runs without a display and draws nothing."""
        raise ServiceError("SMAC cannot draw pictures: the game runs without a display; remove video=true")

    def save_replay(self, path: Path, index: int = 0) -> None:
        """Write the replay of the game that has played the episode of slot `index`, from the game's start on.

        Raises ServiceError if the game gives none.
        """
        number = self._played[index]
        (answer,) = self.pool.ask({number: ("replay",)}, self.timeout, self.stop).values()
        if isinstance(answer, Lost):
            raise ServiceError(f"the game saved no replay ({answer.cause}); run `vgm2p doctor`")
        write_atomic(path, answer)

    def heuristic(self) -> Actor:
        """Return smacv2's heuristic for the agents. The games start again, and advise from then on."""
        self.close()
        self.pool = Pool(FACTORY, {**self.pool.arguments, "advise": True}, WORKER_ENVIRONMENT)
        return Heuristic(self)

    @property
    def advice(self) -> NDArray[np.int64]:
        """Actions of the heuristic for all slots (E, N)."""
        return self._advice.copy()

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
        self._advice[slot] = 0 if moment.advice is None else moment.advice

    def _blank(self, slot: int) -> None:
        self._obs[slot], self._state[slot] = 0.0, 0.0
        self._legal[slot], self._advice[slot] = np.arange(self.spec.action_dim) == 0, 0

    def _frame(self) -> Frame:
        return Frame(self._obs.copy(), self._legal.copy(), self._state.copy())


class Heuristic:
    """The actions that the games advise (`vgm2p.envs.smac_advice`), for one seed (implements `Actor`)."""

    def __init__(self, env: SMAC) -> None:
        self.env = env

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return actions (1, E, N)."""
        return torch.from_numpy(self.env.advice).unsqueeze(0).to(seen.obs.device), memory
