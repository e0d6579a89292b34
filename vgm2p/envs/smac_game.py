"""One StarCraft II game, played through smacv2 in a worker process (`vgm2p.envs.workers`).

`Repairs` changes smacv2 where evaluation needs it. Each of its methods says what it changes and why (summary:
docs/smac.md). This file does not import torch, so a worker starts in half a second.
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

from vgm2p.envs.smac_advice import advice, prepare

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SEEN = -1  # a tag for enemies: smacv2 hides enemies without a tag, and accepts any number
ENDING = 1.0  # seconds to wait for the end of a game with a broken connection; then the exit code is known


class GameDied(Exception):
    """The game does not answer."""


@dataclass(frozen=True)
class Moment:
    """The state of a game after a reset or a step.

    Attributes:
        obs: (N, O) float32.
        legal: (N, A) bool.
        state: (D,) float32.
        reward: reward of smacv2 with a constant scale; on the maps of SMACv1, the reward of SMACv1.
        terminated: whether the battle was won, lost or drawn.
        truncated: whether the step limit was reached before that.
        won: whether the battle was won.
        dead_allies: number of dead agents.
        dead_enemies: number of dead enemies.
        score: sum of the rewards so far.
        advice: (N,) actions of the heuristic, if the game was made with `advise`.
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
    advice: NDArray[np.int64] | None = None


class Game:
    """A task of smacv2. The game starts at the first reset.

    Args:
        arguments: keyword arguments of smacv2's StarCraft2Env.
        capabilities: SMACv2's distributions of teams and start positions; None for the maps of SMACv1.
        worth: points that are a reward of 20; None: those of a victory over the enemies on the map.
        advise: whether moments hold the actions of the heuristic.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        capabilities: dict[str, Any] | None,
        worth: float | None,
        advise: bool = False,
    ) -> None:
        bind_games_to_this_process()
        self._score, self._advise = 0.0, advise
        if capabilities is None:
            self.game = self._task = repaired()(**arguments)
        else:
            from smacv2.env import StarCraftCapabilityEnvWrapper

            self._task = StarCraftCapabilityEnvWrapper(**arguments, capability_config=capabilities)
            self.game = self._task.env = repaired()(**arguments, capability_config=capabilities)
        self.game.expected_worth = worth

    def reset(self, seed: int) -> Moment:
        """Start an episode. Its random draws depend on `seed`; the game itself gets a seed only when it starts."""
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  smacv2 draws from it
        for index, (holder, name) in enumerate(generators(self._task)):
            setattr(holder, name, np.random.default_rng([seed, index]))
        self.game._seed = seed % 2**32
        self._task.reset()  # if units fail to appear, it tries again and returns None
        self._score = 0.0
        prepare(self.game)
        return self._moment()

    def step(self, actions: Sequence[int]) -> Moment:
        """Do the actions of all agents. Raises GameDied if the game does not answer."""
        timeouts = self.game.timeouts
        reward, over, info = self._task.step(list(actions))
        if not info:  # smacv2 reports a crash by an empty info, reward 0 and the end of the episode
            raise GameDied("smacv2 reports a crash")
        truncated = self.game.timeouts > timeouts
        self._score += float(reward)
        return self._moment(
            reward=float(reward),
            terminated=bool(over) and not truncated,
            truncated=truncated,
            won=bool(info["battle_won"]),
            dead_allies=int(info["dead_allies"]),
            dead_enemies=int(info["dead_enemies"]),
            score=self._score,
        )

    def _moment(self, **result: Any) -> Moment:
        obs = np.stack(self._task.get_obs()).astype(np.float32)
        legal = np.array(self._task.get_avail_actions(), bool)
        state = np.asarray(self._task.get_state(), np.float32)
        return Moment(obs, legal, state, advice=advice(self.game) if self._advise else None, **result)

    def replay(self) -> bytes:
        """Return the replay of all episodes since the game started."""
        with tempfile.TemporaryDirectory() as folder:
            self.game.replay_dir = folder
            self._task.save_replay()
            (file,) = Path(folder).iterdir()
            return file.read_bytes()


class Repairs:
    """Mixin that precedes smacv2's StarCraft2Env in the order of base classes.

    Attributes:
        expected_worth: points that are a reward of 20; None: those of a victory over the enemies on the map.
    """

    expected_worth: float | None = None
    scaled = False

    def reset(self: Any, episode_config: Mapping[str, Any] | None = None) -> Any:
        """Count unfinished episodes and those whose units did not appear, and set the scale of the reward once.

        While smacv2 has counted no episode, each reset starts another game and loses the running one. It also adds the
        enemies' health to `max_reward` again and again. And in SMACv2, the first random team of a process would
        determine the scale of all its rewards.
        """
        if self._sc2_proc is not None:
            self._episode_count = max(1, self._episode_count)
        smacv2: Any = super()
        smacv2.reset(episode_config or {})
        if not self.scaled:
            self.scaled, self.max_reward = True, self.expected_worth or worth(self)

    def full_restart(self: Any) -> None:
        """Raise GameDied instead of a restart. The worker's parent starts a new process and repeats the episode."""
        process = self._sc2_proc._proc
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
        raise GameDied(exit_message(process) or "the game does not answer")

    def reward_battle(self: Any) -> float:
        """On SMACv1's maps, return |damage + deaths| as SMACv1 does: regained health of enemies counts as damage.

        smacv2 returns 0 if the sum is negative. It returns the sum itself if the share of the allies is switched off;
        this method uses that.
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
        """On SMACv1's maps, number the unit types of allies as SMACv1 does. smacv2 uses the ids of the enemies."""
        if ally and not self.map_type.endswith("_gen"):
            return int(unit.unit_type - self._min_unit_type)
        smacv2: Any = super()
        return int(smacv2.get_unit_type_id(unit, ally))

    def get_obs(self: Any) -> list[NDArray[np.float32]]:
        """On SMACv1's maps, let agents see every enemy in sight, as SMACv1 does.

        smacv2 hides enemies from an agent if no agent has seen an enemy that comes later in the list.
        """
        if not self.map_type.endswith("_gen"):
            self.obs_enemies[:] = 1
            self.enemy_tags = [SEEN] * self.n_enemies
        smacv2: Any = super()
        found: list[NDArray[np.float32]] = smacv2.get_obs()
        return found


def repaired() -> Any:
    """Return the class of smacv2's StarCraft2Env with `Repairs`."""
    from smacv2.env import StarCraft2Env

    return type("RepairedStarCraft2Env", (Repairs, StarCraft2Env), {})


def worth(game: Any) -> float:
    """Return the points of a victory over the enemies on the map: damage, deaths and the bonus for the victory."""
    tough = sum(unit.health_max + unit.shield_max for unit in game.enemies.values())
    return float(tough + game.n_enemies * game.reward_death_value + game.reward_win)


def generators(task: Any) -> Iterator[tuple[Any, str]]:
    """Yield (object, attribute name) of every numpy generator in SMACv2's distributions, in a fixed order."""
    holders = list(getattr(task, "env_key_to_distribution_map", {}).values())
    while holders:
        holder = holders.pop(0)
        for name, value in vars(holder).items():
            if isinstance(value, np.random.Generator):
                yield holder, name
            elif type(value).__module__ == type(holder).__module__:
                holders.append(value)


def bind_games_to_this_process() -> None:
    """Make a game end with its worker, and report a game that ends before it answers.

    The Linux kernel kills a game whose worker dies. Without this function, pysc2 waits 90 s for a game that ended
    before pysc2's first check.
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
    """Return the log file of the game of this process."""
    return Path(tempfile.gettempdir()) / "game.log"


def exit_message(process: Any) -> str | None:
    """Return the exit code of a game and its last printed line; None while the game runs."""
    code = process.poll()
    if code is None:
        return None
    last = game_log().read_text(errors="replace")[-2000:].strip().splitlines()[-1:]
    return f"exit code {code}" + "".join(f": {line.removeprefix(f'{process.args[0]}: ')}" for line in last)
