"""One StarCraft II game through smacv2, in a worker process of its own (`vgm2p.envs.workers`).

smacv2 is repaired where evaluation needs it; what is changed and why stands at each method of `Repairs`, and
docs/smac.md sums it up. No torch here: a worker starts in half a second.
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
SOMEBODY = -1
ENDING = 1.0  # seconds that a game whose connection broke gets to end, for the cause to name its exit code


class GameDied(Exception):
    """The game does not answer any more, or has never done so."""


@dataclass(frozen=True)
class Moment:
    """What a reset or step ends in.

    Attributes:
        obs: (N, O) float32.
        legal: (N, A) bool.
        state: (D,) float32.
        reward: as smacv2 pays it; on the maps of SMACv1 as SMACv1 does.
        terminated: won, lost or drawn.
        truncated: the step limit was reached undecided.
        won: whether it was won.
        dead_allies: dead agents.
        dead_enemies: dead enemies.
        score: the rewards of the episode so far with a fixed scale, 20 for as many points as `worth`.
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
        worth: points of a won episode, for the score; None: those of the enemies that stand there.
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
        """Let episodes count that were given up, or whose units did not appear, and set the reward's scale once.

        Until an episode counts, smacv2 starts another game at each reset and forgets the one that runs, and adds up
        the enemies' health in `max_reward` as often as it looks at them.
        """
        if self._sc2_proc is not None:
            self._episode_count = max(1, self._episode_count)
        smacv2: Any = super()
        smacv2.reset(episode_config or {})
        if not self.scaled:
            self.scaled, self.max_reward = True, worth(self)

    def full_restart(self: Any) -> None:
        """Leave restarts to the worker's parent, which takes a new process and repeats the episode."""
        process = self._sc2_proc._proc
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
        raise GameDied(last_words(process) or "the game does not answer")

    def reward_battle(self: Any) -> float:
        """Pay health and shields that enemies of SMACv1's maps regain like damage, as SMACv1 does: |damage + deaths|.

        smacv2 pays nothing for a step whose sum is negative. Without the share of the allies it returns that sum.
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

        smacv2 blanks an agent's enemies whenever a later one in its list has been seen by nobody.
        """
        if not self.map_type.endswith("_gen"):
            self.obs_enemies[:] = 1
            self.enemy_tags = [SOMEBODY] * self.n_enemies
        smacv2: Any = super()
        found: list[NDArray[np.float32]] = smacv2.get_obs()
        return found


def repaired() -> Any:
    """Return smacv2's StarCraft2Env with `Repairs`."""
    from smacv2.env import StarCraft2Env

    return type("RepairedStarCraft2Env", (Repairs, StarCraft2Env), {})


def worth(game: Any) -> float:
    """Return the points of a victory over the enemies that stand there: damage, deaths and the bonus."""
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
    """Make pysc2's games end with their worker, and those that end before they answer say so at once.

    The kernel kills a game whose worker dies (Linux), where nobody is left to do it. pysc2 waits 90 s for a game that
    has ended before its first look at it.
    """
    from pysc2.lib import sc_process

    prctl = ctypes.CDLL(None).prctl

    def launch(process: Any, run_config: Any, args: list[str], **unused: Any) -> Any:
        with said().open("wb") as log:
            return subprocess.Popen(
                args,
                cwd=run_config.cwd,
                env=run_config.env,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def running(process: Any) -> bool:
        words = last_words(process._proc) if process._proc else None
        if words is not None:
            raise GameDied(words)
        return process._proc is not None

    sc_process.StarcraftProcess._launch = launch
    sc_process.StarcraftProcess.running = property(running)


def said() -> Path:
    """Return where the game of this process writes what it has to say."""
    return Path(tempfile.gettempdir()) / "game.log"


def last_words(process: Any) -> str | None:
    """Return the exit code of a game and the last line that it wrote, None while it runs."""
    code = process.poll()
    if code is None:
        return None
    last = said().read_text(errors="replace")[-2000:].strip().splitlines()[-1:]
    return f"exit code {code}" + "".join(f": {line.removeprefix(f'{process.args[0]}: ')}" for line in last)
