"""One StarCraft II game through smacv2, in a worker process of its own (`vgm2p.envs.workers`).

`Repairs` changes smacv2 where evaluation needs it; each method says what it changes and why (summary: docs/smac.md).
This file does not import torch, so that a worker starts in half a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SEEN = -1  # smacv2 hides enemies without a tag: any number will do
ENDING = 1.0  # seconds that a game with a broken connection gets to end, so that the cause can name its exit code


class GameDied(Exception):
    """The game does not answer any more, or has never done so."""


@dataclass(frozen=True)
class Moment:
    """The state of a game after a reset or a step.

    Attributes:
        obs: (N, O) float32.
        legal: (N, A) bool.
        state: (D,) float32.
        reward: that of smacv2; on the maps of SMACv1 that of SMACv1.
        terminated: won, lost or drawn.
        truncated: the step limit was reached undecided.
        won: whether it was won.
        dead_allies: dead agents.
        dead_enemies: dead enemies.
        score: sum of the rewards so far on a fixed scale, on which `worth` points are 20.
    """

    obs: NDArray[np.float32]
    legal: NDArray[np.bool_]
    state: NDArray[np.float32]
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    won: bool = False
    dead_allies: int = 0
    dead_enemies: int = 0
    score: float = 0.0


class Game:
    """A task of smacv2; the game starts at the first reset.

    Args:
        arguments: keyword arguments of smacv2's StarCraft2Env.
        capabilities: SMACv2's distributions of teams and start positions; None for the maps of SMACv1.
        worth: points of a won episode, for the score; None: those of the enemies on the map.
    """

    def __init__(self, arguments: Mapping[str, Any], capabilities: dict[str, Any] | None, worth: float | None) -> None:
        bind_games_to_this_process()
        self._worth = worth
        self._points = self._scale = 0.0
        if capabilities is None:
            self.game = self._task = repaired()(**arguments)
        else:
            from smacv2.env import StarCraftCapabilityEnvWrapper

            self._task = StarCraftCapabilityEnvWrapper(**arguments, capability_config=capabilities)
            self.game = self._task.env = repaired()(**arguments, capability_config=capabilities)

    def reset(self, seed: int) -> Moment:
        """Start an episode whose draws depend on `seed`; the game itself is seeded once, when it starts."""
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  smacv2 draws from it
        for index, (holder, name) in enumerate(generators(self._task)):
            setattr(holder, name, np.random.default_rng([seed, index]))
        self.game._seed = seed % 2**32
        self._task.reset()  # after a failed spawn it tries again and returns None
        self._scale, self._points = self.game.reward_scale_rate / (self._worth or worth(self.game)), 0.0
        return self._moment()

    def step(self, actions: Sequence[int]) -> Moment:
        """Act for all agents. Raises GameDied if the game does."""
        timeouts = self.game.timeouts
        reward, over, info = self._task.step(list(actions))
        if not info:  # how smacv2 reports a crash, beside reward 0 and the episode's end
            raise GameDied("smacv2 reports a crash")
        truncated = self.game.timeouts > timeouts
        self._points += float(reward) * self.game.max_reward / self.game.reward_scale_rate
        return self._moment(
            reward=float(reward),
            terminated=bool(over) and not truncated,
            truncated=truncated,
            won=bool(info["battle_won"]),
            dead_allies=int(info["dead_allies"]),
            dead_enemies=int(info["dead_enemies"]),
            score=self._points * self._scale,
        )

    def _moment(self, **result: Any) -> Moment:
        obs = np.stack(self._task.get_obs()).astype(np.float32)
        legal = np.array(self._task.get_avail_actions(), bool)
        return Moment(obs, legal, np.asarray(self._task.get_state(), np.float32), **result)


class Repairs:
    """Mixed in before smacv2's StarCraft2Env."""

    scaled = False

    def reset(self: Any, episode_config: Mapping[str, Any] | None = None) -> Any:
        """Count episodes that were given up or whose units did not appear; set the reward's scale once.

        As long as smacv2 has counted no episode, it starts another game at each reset and loses the one that runs.
        It also adds the enemies' health to `max_reward` each time that it looks at them.
        """
        if self._sc2_proc is not None:
            self._episode_count = max(1, self._episode_count)
        smacv2: Any = super()
        smacv2.reset(episode_config or {})
        if not self.scaled:
            self.scaled, self.max_reward = True, worth(self)

    def full_restart(self: Any) -> None:
        """Raise GameDied in place of a restart: the worker's parent starts a new process and repeats the episode."""
        process = self._sc2_proc._proc
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
        raise GameDied(exit_message(process) or "the game does not answer")

    def reward_battle(self: Any) -> float:
        """Return |damage + deaths| on SMACv1's maps, as SMACv1 does: health that enemies regain counts as damage.

        smacv2 gives 0 for a step with a negative sum. It returns that sum where the allies' share is switched off.
        """
        smacv2: Any = super()
        if self.map_type.endswith("_gen") or not self.reward_only_positive:
            return float(smacv2.reward_battle())
        share = self.reward_negative_scale
        self.reward_only_positive, self.reward_negative_scale = False, 0.0
        paid = abs(float(smacv2.reward_battle()))
        self.reward_only_positive, self.reward_negative_scale = True, share
        return paid

    def get_unit_type_id(self: Any, unit: Any, ally: bool) -> int:
        """Number allied types of SMACv1's maps as SMACv1 does; smacv2 applies the enemies' ids to them."""
        if ally and not self.map_type.endswith("_gen"):
            return int(unit.unit_type - self._min_unit_type)
        smacv2: Any = super()
        return int(smacv2.get_unit_type_id(unit, ally))

    def get_obs(self: Any) -> list[NDArray[np.float32]]:
        """Let agents of SMACv1's maps see each enemy in sight, as SMACv1 does.

        smacv2 hides an agent's enemies whenever no agent has seen a later enemy of the list.
        """
        if not self.map_type.endswith("_gen"):
            self.obs_enemies[:] = 1
            self.enemy_tags = [SEEN] * self.n_enemies
        smacv2: Any = super()
        found: list[NDArray[np.float32]] = smacv2.get_obs()
        return found


def repaired() -> Any:
    """Return smacv2's StarCraft2Env with `Repairs`."""
    from smacv2.env import StarCraft2Env

    return type("RepairedStarCraft2Env", (Repairs, StarCraft2Env), {})


def worth(game: Any) -> float:
    """Return the points of a victory over the enemies on the map: damage, deaths and the bonus."""
    tough = sum(unit.health_max + unit.shield_max for unit in game.enemies.values())
    return float(tough + game.n_enemies * game.reward_death_value + game.reward_win)


def generators(task: Any) -> Iterator[tuple[Any, str]]:
    """Yield (holder, attribute) of every numpy generator in the distributions of SMACv2, in a fixed order."""
    holders = list(getattr(task, "env_key_to_distribution_map", {}).values())
    while holders:
        holder = holders.pop(0)
        for name, value in vars(holder).items():
            if isinstance(value, np.random.Generator):
                yield holder, name
            elif type(value).__module__ == type(holder).__module__:
                holders.append(value)


def bind_games_to_this_process() -> None:
    """Make games end with their worker, and report games that end before they answer.

    The Linux kernel kills a game whose worker dies. pysc2 alone would wait 90 s for a game that ended before pysc2
    looked at it for the first time.
    """
    from pysc2.lib import sc_process

    prctl = ctypes.CDLL(None).prctl

    def launch(process: Any, run_config: Any, args: list[str], **unused: Any) -> Any:
        with game_log().open("wb") as log:
            return subprocess.Popen(
                args,
                cwd=run_config.cwd,
                env=run_config.env,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def running(process: Any) -> bool:
        message = exit_message(process._proc) if process._proc else None
        if message is not None:
            raise GameDied(message)
        return process._proc is not None

    sc_process.StarcraftProcess._launch = launch
    sc_process.StarcraftProcess.running = property(running)


def game_log() -> Path:
    """Return the file into which the game of this process prints."""
    return Path(tempfile.gettempdir()) / "game.log"


def exit_message(process: Any) -> str | None:
    """Return the exit code of a game and the last line that it printed; None while it runs."""
    code = process.poll()
    if code is None:
        return None
    last = game_log().read_text(errors="replace")[-2000:].strip().splitlines()[-1:]
    return f"exit code {code}" + "".join(f": {line.removeprefix(f'{process.args[0]}: ')}" for line in last)
