"""SMAX: sizes, rules, ends, seeds, one compilation, and a policy trained on heuristic data and evaluated.

Needs jaxmarl: `make test-smax`.
"""

import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("jaxmarl", reason="jaxmarl is not installed here; `make test-smax` runs these tests")

import jax

from tests.run.runs import program, succeeded
from tools.make_bundled_battles import GRID, NAME
from vgm2p.commands.collect import Behaviour
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.envs.base import episode_seed
from vgm2p.envs.smax import SMAX
from vgm2p.envs.smax_game import GAMES, NOTICE, STOP
from vgm2p.errors import ConfigError
from vgm2p.execution.recorder import Recorder
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.rng import ActKey
from vgm2p.types import Seen

SIZES = {
    "3m": (3, 75, 72, 8),
    "8m": (8, 205, 192, 13),
    "2s3z": (5, 127, 120, 10),
    "5m_vs_6m": (5, 140, 132, 11),
    "smacv2_5_units": (5, 127, 120, 10),
    "smacv2_10_units": (10, 257, 240, 15),
}
ALWAYS = np.ones(1, bool)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def env():
    return SMAX("3m")


def tapes(env, actor, episodes, slots=100):
    """Whole episodes by number."""
    recorder = Recorder(env)
    rollout(actor, recorder, 0, [0], episodes, slots=slots)
    return {number: recorder.episodes[episode_seed(number)] for number in episodes}


def same(one, other):
    return (one.rewards, one.terminated) == (other.rewards, other.terminated) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("obs", "state", "legal", "actions")
    )


@pytest.mark.parametrize("scenario", SIZES)
def test_sizes(scenario):
    spec = SMAX(scenario).spec
    assert (spec.n_agents, spec.obs_dim, spec.state_dim, spec.action_dim) == SIZES[scenario]
    assert (spec.discrete, spec.view, spec.episode_limit) == (True, "native", 100)


def test_an_unknown_scenario_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean '2s3z'"):
        SMAX("2s3zz")


def test_an_episode_depends_on_its_seed_alone(env):
    """Whatever slot it has, whoever plays beside it, in whatever order and how many of them."""
    whole = tapes(env, RandomActor(env.spec), range(GAMES + 8))
    for numbers, slots in (([GAMES + 3, 5], 2), ([5], 1), (range(4, GAMES + 7), 100)):
        found = tapes(env, RandomActor(env.spec), numbers, slots)
        assert all(same(found[number], whole[number]) for number in numbers)
    starts = {tape.obs[0].tobytes() for tape in whole.values()}
    assert len(starts) == len(whole)


def test_another_policy_meets_the_same_start(env):
    one, other = (tapes(env, actor, [3])[3] for actor in (RandomActor(env.spec), env.heuristic()))
    assert np.array_equal(one.obs[0], other.obs[0]) and not same(one, other)


def test_enemies_act_the_same_if_the_allies_do(env):
    tape = tapes(env, RandomActor(env.spec), [11])[11]
    env.make(3)
    env.reset([None, tape.seed, 5])
    for action, reward, obs in zip(tape.actions, tape.rewards, tape.obs[1:], strict=True):
        result = env.step(np.tile(action, (3, 1)), np.array([False, True, True]))
        assert result.reward[1] == reward and np.array_equal(result.frame.obs[1], obs)
    assert result.terminated[1]


@pytest.mark.parametrize("scenario", ["3m", "5m_vs_6m", "smacv2_5_units"])
def test_rewards_counts_and_ends_agree(scenario):
    """The state names every unit's health: what the step says of the dead and of victory must follow from it."""
    env = SMAX(scenario)
    allies, enemies = env.spec.n_agents, env.spec.action_dim - STOP - 1
    count = 40
    env.make(count)
    frame, active = env.reset(range(count)), np.ones(count, bool)
    actor, memory, key = env.heuristic(), None, ActKey([0], 0, range(count))
    seen = {"won": 0, "lost": 0}
    for step in range(100):
        before = health(frame.state, allies + enemies)
        assert np.array_equal(before[active, :allies] == 0, dead(frame)[active])
        action, memory = actor.act(
            Seen(*(torch.from_numpy(x)[None] for x in (frame.obs, frame.legal))), memory, key.at(step)
        )
        result = env.step(action[0].numpy(), active)
        left = health(result.frame.state, allies + enemies)
        ally, enemy = left[:, :allies] > 0, left[:, allies:] > 0
        won = active & ~enemy.any(1) & ally.any(1)
        assert np.array_equal(result.info["won"], won)
        assert np.array_equal(result.info["dead_allies"], active * (~ally).sum(1))
        assert np.array_equal(result.info["dead_enemies"], active * (~enemy).sum(1))
        assert np.array_equal(result.terminated, active & (~ally.any(1) | ~enemy.any(1)))
        hurt = (before[:, allies:] - left[:, allies:]).sum(1) / enemies
        np.testing.assert_allclose(result.reward, active * (hurt + won), atol=1e-5)
        assert not result.fault.any()
        seen["won"] += won.sum()
        seen["lost"] += (result.terminated & ~won).sum()
        active &= ~(result.terminated | result.truncated)
        frame = result.frame
    assert not active.any() and seen["lost"] > 0
    assert seen["won"] > 0 or scenario == "5m_vs_6m"


def health(state, units):
    """Return (E, units): every unit's share of its health, the first of its features in the world state."""
    return state[:, : -2 * units].reshape(len(state), units, -1)[..., 0]


def dead(frame):
    """Return (E, N): agents that may do nothing but stop; the living may always move."""
    only_stop = frame.legal.sum(-1) == 1
    assert frame.legal[..., STOP].all()
    assert frame.legal[~only_stop][:, :STOP].all()
    assert not frame.obs[only_stop].any()
    return only_stop


def test_a_truncated_battle_begins_like_a_full_one():
    env = SMAX("3m", episode_limit=3)
    whole = tapes(SMAX("3m"), RandomActor(env.spec), [0])[0]
    cut = tapes(env, RandomActor(env.spec), [0])[0]
    assert not cut.terminated and whole.terminated and cut.rewards == whole.rewards[:3]


def test_every_number_of_slots_runs_the_same_program():
    env = SMAX("5m_vs_6m")
    rollout(env.heuristic(), env, 0, [0], 1)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    for episodes, seeds in ((1, [0]), (10, [0]), (GAMES + 1, [0]), (10, [0, 1, 2])):
        rollout(env.heuristic(), SMAX("5m_vs_6m"), 0, seeds, episodes)
    assert compiled == []
    jax.jit(lambda x: x * 3.25)(1.0)
    assert compiled  # the count counts


def test_a_first_compilation_is_announced_and_its_code_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    words = ("collect", "env=smax/2s3z", "policy=random", "episodes=1")
    first, again = (succeeded(program(tmp_path, *words, f"out={name}.h5")) for name in "ab")
    assert (first.stderr, again.stderr) == (NOTICE + "\n", "")
    assert list(tmp_path.glob("vgm2p/jax/*"))


@pytest.mark.parametrize("scenario", ["3m", "2s3z"])
def test_the_heuristic_wins_about_half(scenario):
    env = SMAX(scenario)
    actor = Behaviour(env.heuristic(), 1, 0.0, env.spec)
    won = sum(bool(episode.won) for episode in rollout(actor, env, 0, [0], 200))
    expected, spread = 0.48, math.sqrt(0.48 * 0.52 / 200)
    assert abs(won / 200 - expected) < 4 * spread


def test_noise_costs_victories_and_stays_legal(env):
    rates = []
    for noise in (0.0, 0.1, 0.3):
        found = rollout(Behaviour(env.heuristic(), 1, noise, env.spec), env, 0, [0], 200)
        rates.append(sum(bool(episode.won) for episode in found) / 200)
    assert rates[0] > rates[1] > rates[2]
    for tape in tapes(env, Behaviour(env.heuristic(), 1, 0.5, env.spec), range(20)).values():
        legal = np.stack(tape.legal[:-1])
        assert np.take_along_axis(legal, np.stack(tape.actions)[..., None], -1).all()


def test_the_heuristic_depends_on_episode_and_step_alone(env):
    actor = Behaviour(env.heuristic(), 1, 0.2, env.spec)
    whole, part = tapes(env, actor, range(GAMES + 4)), tapes(env, actor, [GAMES + 2, 1], slots=1)
    assert all(same(part[number], whole[number]) for number in part)


def test_the_map_shows_the_living(env):
    env.make(1)
    env.reset([4])
    picture = env.render()
    blue, red = picture[..., 2] > 60, picture[..., 0] > 60
    assert picture.dtype == np.uint8 and blue[:, :160].any() and red[:, 160:].any()
    assert not blue[:, 160:].any()


def test_bundled_battles_are_reproduced():
    columns, env = read(Bundled(NAME, discrete=True).resolve()[0]), SMAX("2s3z")
    for episode in (0, 64, 128):
        start, length = (int(columns.episodes[name][episode]) for name in ("start", "length"))
        stored = {name: column[start : start + length + 1] for name, column in columns.steps.items()}
        env.make(1)
        frames, rewards = [env.reset([int(columns.episodes["seed"][episode])])], []
        for action in stored["actions"][:length]:
            result = env.step(action[None], ALWAYS)
            frames.append(result.frame)
            rewards.append(result.reward[0])
        np.testing.assert_allclose(rewards, stored["rewards"][:length], atol=1e-6)
        for name, found in (("observations", "obs"), ("state", "state")):
            exact = np.stack([getattr(frame, found)[0] for frame in frames])
            np.testing.assert_allclose(stored[name], exact, atol=0.51 / GRID)
        assert np.array_equal(stored["legal_actions"], np.stack([frame.legal[0] for frame in frames]))


def test_the_discrete_quick_start_trains_on_the_bundled_battles(tmp_path):
    done = succeeded(program(tmp_path, "fit", "experiment=quickstart_discrete", *SMALL, "compare=[bc_gaussian]"))
    assert "bundled_2s3z: 129 episodes" in done.stdout
    assert all(f"\n| {name} " in done.stdout.split("| won")[1] for name in ("vgm2p", "bc_gaussian"))


SMALL = ("net.width=16", "net.depth=1", "eval_episodes=3", "eval_every=20", "checkpoint_every=20", "updates=40")
RECORD = ("collect", "env=smax/3m", "recipe=mixed", "episodes=[220,30,30]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("smax")
    done = succeeded(program(place, *RECORD, "out=data/smax/3m_mixed.h5"))
    assert "ubmodule" not in done.stdout + done.stderr and done.stderr in ("", NOTICE + "\n")
    return place


@pytest.mark.parametrize("algo", ["bc_gaussian", "bc_meanflow", "vgm2p_chosen"])
def test_from_heuristic_data_to_an_evaluated_policy(folder, algo):
    done = succeeded(program(folder, "fit", "experiment=smax_3m", *SMALL, f"algo={algo}", "seeds=2", f"out={algo}"))
    assert "smax/3m jaxmarl" in done.stdout
    succeeded(program(folder, "evaluate", f"run={algo}", "episodes=3"))
    rows = (folder / algo / "episodes.csv").read_text().splitlines()
    won = rows[0].split(",").index("won")
    assert {row.split(",")[won] for row in rows[1:]} <= {"0", "1"}


def test_a_missing_dataset_names_the_command_that_records_it(folder):
    done = program(folder, "fit", "experiment=smax_8m", *SMALL)
    assert done.returncode == 66
    assert "vgm2p collect env=smax/8m recipe=mixed out=data/smax/8m_mixed.h5" in done.stderr


def test_a_killed_collection_goes_on_and_ends_with_the_same_file(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "vgm2p", *RECORD, "out=k.h5"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("heuristic: episodes"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "k.h5").exists() and list(folder.glob(".k.*.parts/*.h5"))
    assert program(folder, *RECORD, "out=k.h5", "name=3m_mixed").returncode == 0
    assert (folder / "k.h5").read_bytes() == (folder / "data/smax/3m_mixed.h5").read_bytes()
    steps = read(folder / "k.h5", verify="full").steps
    assert steps["actions"].dtype == np.int16 and steps["legal_actions"].dtype == np.uint8
