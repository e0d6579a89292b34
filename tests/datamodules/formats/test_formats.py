"""Converted files equal the rows of D4RL, Minari and OMIGA files, whatever the lengths, ends and splits."""

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.answers import TINY, answer
from tests.datamodules.formats.writers import d4rl, episodes, minari, omiga
from vgm2p.cli import main
from vgm2p.config.checks import check_policy, check_spec
from vgm2p.datamodules.formats.convert import ForeignFile
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.datamodules.layout.task import spec_of
from vgm2p.envs.gymnasium_vector import GymnasiumTeam
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.envs.spaces import within
from vgm2p.errors import ConfigError
from vgm2p.types import NO_ENVIRONMENT

LISTS = {"action_split": [[2, 0], [3, 1]], "observation_split": [[4, 0, 1], [3]]}
ENDS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([TERMINAL, TRUNCATION])), min_size=1, max_size=5)


def converted(path: Path, kind: str, **declared):
    """Convert a file into a new one, check it as `data check` does, and return its columns."""
    target = path.with_name(f"{path.stem}-new.h5")
    target.unlink(missing_ok=True)
    lines = []
    ForeignFile(path, kind, path.parent / "cache", lines.append, declared).convert_to(target)
    assert [line for line in check(target) if not line[1]] == []
    return read(target), lines


def episodes_of(columns):
    """Yield (first row, number of steps, number of rows, end) of every episode."""
    table = columns.episodes
    return list(zip(*(table[name].tolist() for name in ("start", "length", "rows", "end")), strict=True))


def seen_by(agent: int, vector, declared):
    """What an agent sees of the joint vector, written by hand for LISTS."""
    if "observation_split" not in declared:
        return vector
    return np.array([vector[4], vector[0], vector[1]] if agent == 0 else [vector[3], 0, 0], "f4")


def done_by(agent: int, joint, declared):
    if "action_split" not in declared:
        return joint[2 * agent : 2 * agent + 2]
    return joint[[2, 0]] if agent == 0 else joint[[3, 1]]


def compare(columns, truth, declared, finals):
    """Compare every number of a converted file of two agents with the episodes, row by row."""
    steps, found = columns.steps, episodes_of(columns)
    assert len(found) == len(truth)
    limit = columns.attributes["episode_limit"]
    for (start, length, rows, end), each in zip(found, truth, strict=True):
        assert (length, rows) == (len(each.rewards), len(each.rewards) + finals)
        wanted = TIMEOUT if each.end == TRUNCATION and length == limit else each.end
        assert end == wanted
        for step in range(rows):
            row = start + step
            vector = each.observations[step]
            if "robot_observation" in steps:
                assert np.array_equal(steps["robot_observation"][row], vector)
            else:
                assert np.array_equal(steps["state"][row], vector)
                for agent in range(2):
                    assert np.array_equal(steps["observations"][row, agent], seen_by(agent, vector, declared))
            assert steps["has_action"][row] == (step < length)
            if step < length:
                assert steps["rewards"][row] == each.rewards[step]
                for agent in range(2):
                    assert np.array_equal(steps["actions"][row, agent], done_by(agent, each.actions[step], declared))


@settings(max_examples=40, deadline=None)
@given(ENDS, st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from([{"agents": 2}, LISTS]))
def test_a_d4rl_file_keeps_every_row(tmp_path_factory, ends, tail, following, both, declared):
    lengths, kinds = zip(*ends, strict=True)
    truth = episodes([*lengths, *([tail] if tail else [])], [*kinds, *([INCOMPLETE] if tail else [])])
    path = d4rl(tmp_path_factory.mktemp("d4rl") / "x.hdf5", truth, following=following)
    more = {"episode_limit": 6} if both else {}
    columns, _ = converted(path, "D4RL", **declared, **more)
    assert columns.attributes["episode_limit"] == (6 if both else max(*lengths, tail))
    compare(columns, truth, declared, finals=following)


def test_without_timeouts_an_episode_is_cut_at_the_declared_limit_as_d4rl_does(tmp_path):
    truth = episodes([4, 2, 4, 4, 1], [TRUNCATION, TERMINAL, TRUNCATION, TERMINAL, INCOMPLETE])
    path = d4rl(tmp_path / "x.hdf5", truth, cuts=False)
    columns, lines = converted(path, "D4RL", agents=2, episode_limit=4)
    compare(columns, truth, {}, finals=True)
    assert any("there is no 'timeouts'" in line for line in lines)


def test_a_terminal_at_the_step_limit_stays_a_terminal(tmp_path):
    path = d4rl(tmp_path / "x.hdf5", episodes([3, 3], [TERMINAL, TRUNCATION]))
    columns, _ = converted(path, "D4RL", agents=2, episode_limit=3)
    assert columns.episodes["end"].tolist() == [TERMINAL, TIMEOUT]


@pytest.mark.parametrize("declared", [{"agents": 2}, LISTS], ids=["parts", "lists"])
def test_a_dataset_of_minari_keeps_every_row(tmp_path, monkeypatch, declared):
    pytest.importorskip("minari")
    truth = episodes([3, 5, 1, *[2] * 9], [TERMINAL, *[TRUNCATION] * 11])  # more than ten: episode_10 after episode_9
    folder = minari(tmp_path, truth, monkeypatch)
    columns, _ = converted(folder / "data" / "main_data.hdf5", "Minari", **declared)
    compare(columns, truth, declared, finals=True)
    assert columns.attributes["name"] == "team/test-v0"


def test_minari_names_the_environment_and_its_limit(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    truth = episodes([20, 7], [TRUNCATION, TRUNCATION], width=17, actions=6)
    folder = minari(tmp_path, truth, monkeypatch, env="HalfCheetah-v5", limit=20)
    columns, _ = converted(folder / "data" / "main_data.hdf5", "Minari", agents=6)
    assert (columns.attributes["env_id"], columns.attributes["episode_limit"]) == ("HalfCheetah-v5", 20)
    assert columns.episodes["end"].tolist() == [TIMEOUT, TRUNCATION]
    own, _ = converted(folder / "data" / "main_data.hdf5", "Minari", agents=6, env_id="Mine-v0", episode_limit=30)
    assert (own.attributes["env_id"], own.attributes["episode_limit"]) == ("Mine-v0", 30)


@pytest.mark.parametrize(("low", "high"), [(-0.4, 0.4), ([-0.4, -3.0, 0.0, -1.0], [0.4, 3.0, 2.0, 1.0])])
def test_what_the_robot_did_is_what_the_environment_does_again(low, high, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    from gymnasium.spaces import Box

    space = Box(*(np.broadcast_to(np.float32(bound), (4,)) for bound in (low, high)), (4,))
    truth = episodes([5], [TRUNCATION])
    truth[0].actions[:] = space.low + (truth[0].actions + 1) / 2 * (space.high - space.low)
    truth[0].actions[0] = space.high
    path = minari(tmp_path, truth, monkeypatch, bounds=(low, high)) / "data" / "main_data.hdf5"
    columns, lines = converted(path, "Minari", agents=2)
    acted = columns.steps["actions"][:5].reshape(5, 4)
    assert (acted[0] == 1.0).all() and any("mapped to [-1, 1] from the bounds" in line for line in lines)
    assert np.allclose([within(space, action) for action in acted], truth[0].actions, atol=1e-6)
    stored, lines = converted(path, "Minari", agents=2, action_scale=1.0, clip=True)
    assert np.array_equal(stored.steps["actions"][:5].reshape(5, 4), truth[0].actions)
    assert not any("bounds" in line for line in lines)


@pytest.mark.parametrize(
    "space", [None, "{}", '{"low": [0], "high": "x"}', '{"low": [[], [0]], "high": 1}', '{"low": null}']
)
def test_small_actions_without_known_bounds_get_a_hint(space, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    truth = episodes([5], [TRUNCATION])
    truth[0].actions[:] *= 0.4
    path = minari(tmp_path, truth, monkeypatch) / "data" / "main_data.hdf5"
    beside = path.with_name("metadata.json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"action_space": space}))
    for each, kind in ((path, "Minari"), (d4rl(tmp_path / "x.hdf5", truth), "D4RL")):
        columns, lines = converted(each, kind, agents=2)
        assert np.array_equal(columns.steps["actions"][:5].reshape(5, 4), truth[0].actions)
        assert any("set action_scale=<bound>" in line for line in lines)
        assert not any("<bound>" in line for line in converted(each, kind, agents=2, action_scale=0.4)[1])


def test_minari_in_another_storage_format_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    code, text = answer(["data", "convert", str(tmp_path), "agents=2"])
    assert (code, text.count("\n")) == (65, 1)
    assert "write them with data_format='hdf5'" in text


def test_changed_metadata_of_minari_are_read_again(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    path = minari(tmp_path, episodes([4], [TRUNCATION]), monkeypatch) / "data" / "main_data.hdf5"
    source = ForeignFile(path, "Minari", tmp_path / "cache", print, {"agents": 2})
    first, beside = source.renew(), path.with_name("metadata.json")
    assert source.renew() == first
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"dataset_id": "team/renamed-v0"}))
    second = source.renew()
    names = [read(file).attributes["name"] for file in (first, second)]
    assert names == ["team/test-v0", "team/renamed-v0"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans())
def test_a_file_of_omiga_keeps_every_step(tmp_path_factory, lengths, zscored):
    path = tmp_path_factory.mktemp("omiga") / "x.hdf5"
    truth = omiga(path, lengths, zscored=zscored)
    columns, _ = converted(path, "OMIGA", episode_limit=6)
    assert columns.attributes["stored_view"] == ("omiga" if zscored else "native")
    for (start, length, rows, end), each in zip(episodes_of(columns), truth, strict=True):
        assert length == rows == len(each.rewards)
        assert end == (TIMEOUT if length == 6 else TERMINAL)
        for name, array in (("observations", each.observations), ("actions", each.actions), ("rewards", each.rewards)):
            assert np.array_equal(columns.steps[name][start : start + length], array)
    assert ("state" in columns.steps) is not zscored


def test_the_split_of_gymnasium_robotics_is_that_of_its_environment(tmp_path):
    """The robot's own episode, converted by the name of the split, is what the agents of our environment see and do."""
    pytest.importorskip("gymnasium_robotics")
    from vgm2p.envs.robotics import RoboticsMAMuJoCo

    env = RoboticsMAMuJoCo("Ant", "2x4", episode_limit=4)
    rng = np.random.default_rng(0)
    frame = env.reset([3])
    states, seen, rewards, done = [frame.state[0]], [frame.obs[0]], [], []
    for _ in range(4):
        done.append(rng.uniform(-1, 1, (1, 2, 4)).astype("f4"))
        step = env.step(done[-1], np.ones(1, bool))
        states.append(step.frame.state[0]), seen.append(step.frame.obs[0]), rewards.append(step.reward[0])
    joint = np.zeros((4, 8), "f4")
    joint[:, [2, 3, 4, 5]], joint[:, [6, 7, 0, 1]] = np.array(done)[:, 0, 0], np.array(done)[:, 0, 1]
    truth = episodes([4], [TRUNCATION], width=105, actions=8)
    truth[0].observations[:], truth[0].actions[:], truth[0].rewards[:] = states, joint, rewards
    columns, _ = converted(d4rl(tmp_path / "x.hdf5", truth), "D4RL", env_id=env.spec.env_id)
    assert np.array_equal(columns.steps["observations"], np.array(seen))
    assert np.array_equal(columns.steps["actions"][:4], np.array(done)[:, 0])
    assert np.array_equal(columns.steps["state"], np.array(states))
    env.close()


def test_data_of_a_split_fit_the_environment_with_this_split_alone(tmp_path):
    path = d4rl(tmp_path / "x.hdf5", episodes([3], [TRUNCATION], width=17, actions=6))
    task, split = {"env_id": "HalfCheetah-v5", "episode_limit": 1000}, [[0, 3], [1, 4], [2, 5]]
    crossed, parts = (
        spec_of(converted(path, "D4RL", **task, **team)[0], "raw_onehot")
        for team in ({"action_split": split}, {"agents": 3})
    )
    assert crossed == GymnasiumTeam("HalfCheetah-v5", action_split=split, view="raw_onehot").spec
    assert parts == MAMuJoCo("HalfCheetah-v5", 3, "raw_onehot").spec
    with pytest.raises(ConfigError, match="data and env do not match: env_kwargs"):
        check_spec(crossed, parts)
    own = replace(crossed, env_id=f"{NO_ENVIRONMENT}x")  # a policy of data that name no environment
    check_policy(own, crossed)
    with pytest.raises(ConfigError, match="does not fit the policy: env_kwargs"):
        check_policy(own, parts)


def test_a_policy_trains_on_converted_files_with_the_printed_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    d4rl(tmp_path / "one.hdf5", episodes([6, 5], [TERMINAL, TRUNCATION]))
    omiga(tmp_path / "team.hdf5", [6, 5])
    for words in (["one.hdf5", "agents=2"], ["team.hdf5"]):
        output = StringIO()
        with redirect_stdout(output):
            assert main(["data", "convert", *words]) == 0
        line = next(line for line in output.getvalue().splitlines() if line.startswith("train on it"))
        fit = [word.strip("'") for word in line.split()]
        fit = fit[fit.index("fit") :]
        assert answer([*fit, *TINY, "updates=20", "algo=bc_gaussian", f"out={words[0]}-run"]) == (0, "")


def test_the_second_conversion_uses_the_first_and_another_team_gets_another_file(tmp_path):
    path = d4rl(tmp_path / "x.hdf5", episodes([4], [TRUNCATION]))
    first = [ForeignFile(path, "D4RL", tmp_path / "cache", print, {"agents": n}).renew() for n in (2, 2, 4)]
    assert first[0] == first[1] != first[2]
    kept = first[0].stat().st_mtime_ns
    damaged = bytearray(first[2].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first[2].write_bytes(damaged)
    again = [ForeignFile(path, "D4RL", tmp_path / "cache", print, {"agents": n}).renew() for n in (2, 4)]
    assert [path.stat().st_mtime_ns for path in again[:1]] == [kept]
    assert read(again[1], verify="full").attributes["n_agents"] == 4
