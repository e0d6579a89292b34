"""SMAX games as compiled functions. This is the only file that imports jax and jaxmarl.

Every function is compiled once per scenario, for a block of GAMES games. More games are played in several blocks. So a
different number of games needs no new compilation, and does not change the numbers of a game. JAX keeps the compiled
code in the user's cache folder, for later processes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.errors import ConfigError, MissingInput, nearest
from vgm2p.io.files import cache_folder

GAMES = 32  # a step of 3m takes 0.41 ms on one core; with 16 games 0.29 ms, with 64 games 0.92 ms
STOP = 4  # the only action of the dead
REMEDY = "run `make install-smax` (docs/smax.md)"
# JAX's events before and after a function is compiled (4 s and more) or read from the cache (less than 1 s).
LOWERED, COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"
PATIENCE = 2.0
NOTICE = "SMAX         compiling its battles (only the first time on a machine: 10 seconds to 2 minutes)"
Tree = Any  # nested arrays of jax, leading axis GAMES


@dataclass(frozen=True)
class Game:
    """A scenario with its sizes and compiled functions. Arrays have a leading axis G of GAMES games.

    Attributes:
        n_agents: number of allies N.
        obs_dim: width O of an ally's observation.
        n_enemies: number of enemies; ally action STOP + 1 + j attacks enemy j.
        state_dim: width D of the global state.
        empty: a block of games that have not started.
        fresh_memory: memory of the heuristic at the start of an episode.
        begin: (games, seed (G,) uint32, fresh (G,) bool) -> games, view. Starts the games that are `fresh`.
        advance: (games, action (G, N) int32, active (G,) bool) -> games, view, outcome. Steps the `active` games.
        heuristic: (memory, obs, legal, seed (G, N) uint32) -> action (G, N), memory.
        radius: radius of every unit type, in map units.
        health: full health of every unit type.
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
    """Return the game of a scenario. All environments of the process share its compiled functions.

    Raises:
        MissingInput: if jaxmarl is not installed.
        ConfigError: for an unknown scenario.
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
    """Return the versions of the packages that determine a game."""
    return {name: version(name) for name in ("jaxmarl", "jax")}


def _key(jax: Any, seed: Any) -> Any:
    return jax.random.PRNGKey(seed, impl="threefry2x32")


def _dynamics(jax: Any, env: Any) -> tuple[Callable[..., Tree], Callable[..., Tree]]:
    """Return `begin` and `advance`, for GAMES games.

    A game is (key, JaxMARL's state). Random numbers of a step depend on (key, step) only. A game that does not start or
    step keeps its state, and so its last frame.
    """
    jnp = jax.numpy
    allies = env.num_agents

    def chosen(new_wanted: Any, new: Tree, old: Tree) -> Tree:
        # cast to the dtype of `old`: `reset` and `step_env` return different weak types, which would compile twice
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
    """Return the initial memory and the function of the heuristic, for all allies of GAMES games."""
    jnp, module = jax.numpy, smax.heuristic_enemy
    policy = module.create_heuristic_policy(env._env, 0)
    first = module.get_heuristic_policy_initial_state()
    units = (GAMES, env.num_agents)
    memory = jax.tree.map(lambda leaf: np.full((*units, *np.shape(leaf)), leaf, jnp.asarray(leaf).dtype), first)

    def heuristic(memory: Tree, obs: Any, legal: Any, seed: Any) -> Tree:
        action, after = policy(_key(jax, seed), memory, obs)
        # JaxMARL's heuristic also moves the dead, and rounding may let it shoot slightly beyond the range
        action = jnp.where(legal[action], action, STOP)
        return action, jax.tree.map(lambda new, old: new.astype(old.dtype), after, memory)

    return memory, jax.jit(jax.vmap(jax.vmap(heuristic)))


@functools.cache
def _packages() -> tuple[Any, Any]:
    """Import jax and `jaxmarl.environments.smax`, for the CPU with one thread, without printed text. Return both."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    try:
        with _silence():
            import jax

            jax.config.update("jax_enable_x64", False)
            import jaxmarl.environments.smax as smax
    except ImportError as error:
        raise MissingInput(f"SMAX needs jaxmarl ({' '.join(str(error).split())[:60]}); {REMEDY}") from error
    _announce_compilation(jax)
    return jax, smax


def _announce_compilation(jax: Any) -> None:
    """From now on, print NOTICE on stderr as soon as a compilation takes longer than PATIENCE; once per process."""
    waiting: list[threading.Timer] = []

    @functools.cache
    def notice() -> None:
        print(NOTICE, file=sys.stderr, flush=True)

    def listen(event: str, *_: Any, **__: Any) -> None:
        if event == LOWERED:
            waiting.append(threading.Timer(PATIENCE, notice))
            waiting[-1].daemon = True
            waiting[-1].start()
        elif event == COMPILED:
            while waiting:
                waiting.pop().cancel()

    jax.monitoring.register_event_duration_secs_listener(listen)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard printed text. Restore `sys.stdout`, because jaxmarl replaces it by `sys.__stdout__`."""
    names = ("stdout", "stderr", "__stdout__", "__stderr__")
    held = {name: getattr(sys, name) for name in names}
    for name in names:
        setattr(sys, name, io.StringIO())
    try:
        yield
    finally:
        for name, stream in held.items():
            setattr(sys, name, stream)
