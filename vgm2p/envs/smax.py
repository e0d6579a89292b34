"""SMAX: battles of JaxMARL, similar to StarCraft, against heuristic enemies. Results are not comparable with SMAC.

Actions: 0 to 3 move, 4 stops (the only action of the dead), 5 + j attacks enemy j. Reward: the share of the enemies'
health that the step removed, and 1 for a victory. See docs/smax.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.envs.base import Frame, Step
from vgm2p.envs.smax_game import GAMES, STOP, Game, game, versions
from vgm2p.errors import ConfigError
from vgm2p.types import Acting, Actor, Randomness, Seen, Spec

PIXELS = 320
GROUND, ALLY, ENEMY = (24, 24, 24), (70, 130, 230), (220, 80, 60)


class SMAX:
    """E battles that step together (implements `VectorEnv`).

    Enemies act by JaxMARL's heuristic. A battle is a function of its seed and the allies' actions. A slot whose battle
    has ended keeps its final frame until it is reset.

    Args:
        scenario: name of a scenario of JaxMARL, for example `3m`.
        episode_limit: number of steps after which an episode is truncated.

    Raises:
        MissingInput: if jaxmarl is not installed.
        ConfigError: for an unknown scenario, or a limit below 1.
    """

    discrete = True
    max_active: int | None = None

    def __init__(self, scenario: str, episode_limit: int = 100) -> None:
        if episode_limit < 1:
            raise ConfigError(f"env.episode_limit must be at least 1, got {episode_limit}")
        self._game: Game = game(scenario)
        self.spec = Spec(
            n_agents=self._game.n_agents,
            obs_dim=self._game.obs_dim,
            action_dim=STOP + 1 + self._game.n_enemies,
            discrete=self.discrete,
            state_dim=self._game.state_dim,
            episode_limit=episode_limit,
            view="native",
            env_id=f"smax/{scenario}",
        )
        self.make(1)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that determine a battle."""
        return versions()

    def make(self, n_envs: int) -> None:
        """Change the number of slots to `n_envs`. Running battles are discarded."""
        blocks = -(-n_envs // GAMES)
        slots, spec = blocks * GAMES, self.spec
        self._count, self._blocks = n_envs, [self._game.empty] * blocks
        self._obs = np.zeros((slots, spec.n_agents, spec.obs_dim), np.float32)
        self._legal = np.zeros((slots, spec.n_agents, spec.action_dim), bool)
        self._state = np.zeros((slots, self._game.state_dim), np.float32)
        self._steps = np.zeros(slots, int)

    def reset(self, seeds: Sequence[int | None]) -> Frame:
        """Start a battle in every slot whose seed is not None (seeds are taken modulo 2^32)."""
        fresh = self._padded([seed is not None for seed in seeds], bool)
        numbers = self._padded([(seed or 0) % 2**32 for seed in seeds], np.uint32)
        views = []
        for b, rows in self._touched(fresh):
            self._blocks[b], view = self._game.begin(self._blocks[b], numbers[rows], fresh[rows])
            views.append((rows, view))
        self._see(views)
        self._steps[fresh] = 0
        return self._frame()

    def step(self, actions: NDArray[Any], active: NDArray[np.bool_]) -> Step:
        """Step active slots with actions (E, N); `info` has `won` (E,) bool, `dead_allies`, `dead_enemies` (E,) int."""
        on, chosen = self._padded(active, bool), self._padded(actions, np.int32)
        reward, fallen, killed = np.zeros(len(on)), np.zeros(len(on), int), np.zeros(len(on), int)
        views, outcomes = [], []
        for b, rows in self._touched(on):  # jax returns before a block is computed, so blocks are computed in parallel
            self._blocks[b], view, outcome = self._game.advance(self._blocks[b], chosen[rows], on[rows])
            views.append((rows, view))
            outcomes.append((rows, outcome))
        self._see(views)
        for rows, outcome in outcomes:
            reward[rows], fallen[rows], killed[rows] = outcome
        self._steps += on
        lost, beaten = on & (fallen == self._game.n_agents), on & (killed == self._game.n_enemies)
        truncated = on & ~lost & ~beaten & (self._steps >= self.spec.episode_limit)
        info = {"won": beaten & ~lost, "dead_allies": fallen * on, "dead_enemies": killed * on}
        E = self._count
        return Step(
            self._frame(),
            reward[:E],
            (lost | beaten)[:E],
            truncated[:E],
            np.zeros(E, bool),
            {name: values[:E] for name, values in info.items()},
        )

    def heuristic(self) -> Actor:
        """Return JaxMARL's heuristic policy for the allies."""
        return Heuristic(self._game)

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """Return the map of slot `index` (PIXELS, PIXELS, 3): allies blue, enemies red, darker with less health."""
        state = self._blocks[index // GAMES][1].state
        fields = (state.unit_positions, state.unit_types, state.unit_health, state.unit_alive)
        positions, kinds, health, alive = (np.asarray(field)[index % GAMES] for field in fields)
        picture = np.full((PIXELS, PIXELS, 3), GROUND, np.uint8)
        width, height = self._game.size
        y, x = np.mgrid[height : 0 : PIXELS * 1j, 0 : width : PIXELS * 1j]
        for i in np.flatnonzero(alive).tolist():
            disc = np.hypot(x - positions[i, 0], y - positions[i, 1]) <= self._game.radius[kinds[i]]
            share = 0.4 + 0.6 * health[i] / self._game.health[kinds[i]]
            colour = ALLY if i < self._game.n_agents else ENEMY
            picture[disc] = (share * np.array(colour)).astype(np.uint8)
        return picture

    def close(self) -> None:
        """Discard the battles."""
        self.make(1)

    def _padded(self, values: Any, dtype: Any) -> NDArray[Any]:
        """Pad values (E, ...) with zeros to whole blocks of games."""
        given = np.asarray(values, dtype)
        return np.concatenate([given, np.zeros((len(self._steps) - len(given), *given.shape[1:]), dtype)])

    def _touched(self, mask: NDArray[np.bool_]) -> Iterator[tuple[int, slice]]:
        """Yield (block number, rows) of every block that has a True in `mask`."""
        for b in range(len(self._blocks)):
            rows = slice(b * GAMES, (b + 1) * GAMES)
            if mask[rows].any():
                yield b, rows

    def _see(self, views: Sequence[tuple[slice, Any]]) -> None:
        for rows, view in views:
            self._obs[rows], self._legal[rows], self._state[rows] = view

    def _frame(self) -> Frame:
        E = self._count
        return Frame(self._obs[:E].copy(), self._legal[:E].copy(), self._state[:E].copy())


class Heuristic:
    """JaxMARL's heuristic for the allies (implements `Actor`): shoots the closest enemy, or walks towards the enemies.

    Every agent uses its own observation, and a memory of its target. Random numbers depend on (episode, step) only.
    """

    def __init__(self, of: Game) -> None:
        self._game = of

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return (S, E, N) actions."""
        obs, legal = seen.obs, seen.legal
        assert legal is not None
        seeds = key.integers("heuristic", tuple(obs.shape[1:3]), 2**31)
        views, allowed, numbers = (x.flatten(0, 1).cpu().numpy() for x in (obs, legal, seeds))
        count, games = len(views), range(0, len(views), GAMES)
        held = memory or [self._game.fresh_memory for _ in games]
        actions, kept = [], []
        for start, before in zip(games, held, strict=True):
            rows = (_filled(x[start : start + GAMES]) for x in (views, allowed, numbers.astype(np.uint32)))
            action, after = self._game.heuristic(before, *rows)
            actions.append(np.asarray(action))
            kept.append(after)
        chosen = torch.from_numpy(np.concatenate(actions)[:count].astype(np.int64))
        return torch.unflatten(chosen, 0, tuple(obs.shape[:2])).to(obs.device), kept


def _filled(rows: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([rows, np.zeros((GAMES - len(rows), *rows.shape[1:]), rows.dtype)])
