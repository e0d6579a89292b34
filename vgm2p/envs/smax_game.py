"""SMAX games as compiled functions; the only file that knows jax and jaxmarl.

Every function is compiled once per scenario, for GAMES games; more are played GAMES at a time. So no size of evaluation
compiles anything anew, and a game's numbers cannot depend on how many others there are.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError, MissingInput, nearest

GAMES = 32  # on one core 0.41 ms per step of 3m; 16 games take 0.29 ms, 64 take 0.92 ms
STOP = 4  # the only action of the dead
REMEDY = "run `make install-smax` and use .venv-smax/bin/python (docs/smax.md)"
Tree = Any  # nested arrays of jax, leading axis GAMES


@dataclass(frozen=True)
class Game:
    """A scenario: its sizes and its compiled functions. Arrays have a leading axis of GAMES games.

    Attributes:
        n_agents: allies N.
        obs_dim: width O of an ally's observation.
        n_enemies: enemies; ally action STOP + 1 + j attacks enemy j.
        state_dim: width D of the world state.
        empty: games that were never begun.
        fresh_memory: the heuristic's memory at the start of an episode.
        begin: (games, seed (G,) uint32, fresh (G,) bool) -> games, view; begins the fresh ones.
        advance: (games, action (G, N) int32, active (G,) bool) -> games, view, outcome; steps the active ones.
        heuristic: (memory, obs, legal, seed (G, N) uint32) -> action (G, N), memory.
        radius: of every unit type, in map units.
        health: of every unit type, full.
        size: width and height of the map.
    """

    n_agents: int
    obs_dim: int
    n_enemies: int
    state_dim: int
    empty: Tree
    fresh_memory: Tree
    begin: Callable[..., Tree]
    advance: Callable[..., Tree]
    heuristic: Callable[..., Tree]
    radius: NDArray[np.float32]
    health: NDArray[np.float32]
    size: tuple[int, int]


@functools.cache
def game(scenario: str) -> Game:
    """Return a scenario's game; compiled functions are shared by all environments of the process.

    Raises:
        MissingInput: if jaxmarl is not installed.
        ConfigError: on an unknown scenario.
    """
    jax, smax = _packages()
    known = smax.smax_env.MAP_NAME_TO_SCENARIO
    if scenario not in known:
        raise ConfigError(f"env.scenario='{scenario}' is unknown{nearest(scenario, known)}")
    env = smax.HeuristicEnemySMAX(scenario=known[scenario])
    begin, advance = _dynamics(jax, env)
    memory, heuristic = _behaviour(jax, smax, env)
    seeds, fresh = np.zeros(GAMES, np.uint32), np.zeros(GAMES, bool)
    start = jax.eval_shape(lambda seed: env.reset(_key(jax, seed))[1], np.uint32(0))
    shapes = (jax.ShapeDtypeStruct((2,), np.uint32), start)
    empty = jax.tree.map(lambda leaf: np.zeros((GAMES, *leaf.shape), leaf.dtype), shapes)
    _, (obs, legal, state) = jax.eval_shape(begin, empty, seeds, fresh)
    return Game(
        n_agents=env.num_agents,
        obs_dim=obs.shape[-1],
        n_enemies=legal.shape[-1] - STOP - 1,
        state_dim=state.shape[-1],
        empty=empty,
        fresh_memory=memory,
        begin=begin,
        advance=advance,
        heuristic=heuristic,
        radius=np.asarray(env.unit_type_radiuses),
        health=np.asarray(env.unit_type_health),
        size=(env.map_width, env.map_height),
    )


def versions() -> dict[str, str]:
    """Return the versions that decide a game."""
    return {name: version(name) for name in ("jaxmarl", "jax")}


def _key(jax: Any, seed: Any) -> Any:
    return jax.random.PRNGKey(seed, impl="threefry2x32")


def _dynamics(jax: Any, env: Any) -> tuple[Callable[..., Tree], Callable[..., Tree]]:
    """Return `begin` and `advance`, for GAMES games.

    A game is (key, state of the package). Random numbers of a step depend on (key, step) alone. Games that do not begin
    or step keep their state, hence their last frame.
    """
    jnp = jax.numpy
    allies = env.num_agents

    def chosen(new_wanted: Any, new: Tree, old: Tree) -> Tree:
        # the type is that of `old`: what `reset` and `step_env` return differs in weak types, and would compile twice
        return jax.tree.map(lambda a, b: jnp.where(new_wanted, a, b).astype(b.dtype), new, old)

    def view(state: Tree) -> Tree:
        obs, legal = env.get_obs(state), env.get_avail_actions(state)
        seen = jnp.stack([obs[agent] for agent in env.agents])
        allowed = jnp.stack([legal[agent] for agent in env.agents]).astype(bool)
        return seen, allowed, env.get_world_state(state)

    def begin(games: Tree, seed: Any, fresh: Any) -> Tree:
        key = _key(jax, seed)
        _, state = env.reset(jax.random.fold_in(key, 0))
        games = chosen(fresh, (key, state), games)
        return games, view(games[1])

    def advance(games: Tree, action: Any, active: Any) -> Tree:
        key, before = games
        now = jax.random.fold_in(key, before.state.step + 1)
        _, after, reward, _, _ = env.step_env(now, before, dict(zip(env.agents, action, strict=True)))
        after = chosen(active, after, before)
        alive = after.state.unit_alive
        outcome = (
            jnp.where(active, reward[env.agents[0]], 0.0),
            allies - alive[:allies].sum(),
            env.num_enemies - alive[allies:].sum(),
        )
        return (key, after), view(after), outcome

    return jax.jit(jax.vmap(begin)), jax.jit(jax.vmap(advance))


def _behaviour(jax: Any, smax: Any, env: Any) -> tuple[Tree, Callable[..., Tree]]:
    """Return the heuristic's first memory and the heuristic of every ally of GAMES games."""
    jnp, module = jax.numpy, smax.heuristic_enemy
    policy = module.create_heuristic_policy(env._env, 0)
    first = module.get_heuristic_policy_initial_state()
    units = (GAMES, env.num_agents)
    memory = jax.tree.map(lambda leaf: np.full((*units, *np.shape(leaf)), leaf, jnp.asarray(leaf).dtype), first)

    def heuristic(memory: Tree, obs: Any, legal: Any, seed: Any) -> Tree:
        action, after = policy(_key(jax, seed), memory, obs)
        # the package also moves the dead, and shoots at a range that rounding may have moved
        action = jnp.where(legal[action], action, STOP)
        return action, jax.tree.map(lambda new, old: new.astype(old.dtype), after, memory)

    return memory, jax.jit(jax.vmap(jax.vmap(heuristic)))


def _packages() -> tuple[Any, Any]:
    """Return jax and `jaxmarl.environments.smax`: on the CPU, products on one thread, silent."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    try:
        with _silence():
            import jax

            jax.config.update("jax_enable_x64", False)
            import jaxmarl.environments.smax as smax
    except ImportError as error:
        raise MissingInput(f"SMAX needs jaxmarl ({' '.join(str(error).split())[:60]}); {REMEDY}") from error
    return jax, smax


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard printed text; undo that jaxmarl replaces `sys.stdout` by `sys.__stdout__`."""
    names = ("stdout", "stderr", "__stdout__", "__stderr__")
    held = {name: getattr(sys, name) for name in names}
    for name in names:
        setattr(sys, name, io.StringIO())
    try:
        yield
    finally:
        for name, stream in held.items():
            setattr(sys, name, stream)
