"""`vgm2p.write_dataset` takes episodes of arrays and names what is wrong; `read_dataset` gives them back."""

import numpy as np
import pytest
import torch

import vgm2p
from vgm2p.datamodules.layout.reading import digest_of, read
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT, TRUNCATION
from vgm2p.errors import ConfigError, DataError, StorageError

N, WIDTH, A = 3, 4, 2


def episode(T=5, finals=1, discrete=False, seed=0, **changes):
    """Return an episode of random arrays in double precision; a change to None removes a name."""
    rng = np.random.default_rng(seed)
    made = {
        "obs": rng.normal(size=(T + finals, N, WIDTH)),
        "action": rng.integers(A, size=(T, N)) if discrete else rng.uniform(-1, 1, size=(T, N, A)),
        "reward": rng.normal(size=T),
        "terminated": False,
        "truncated": True,
    }
    if discrete:
        made["legal"] = np.ones((T + finals, N, A), bool)
    return {name: value for name, value in (made | changes).items() if value is not None}


def same(first, second):
    """Whether two episodes are equal, as stored in float32."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert np.array_equal(np.asarray(value, np.float32), np.asarray(second[name], np.float32)), name
    return True


def state_of(T=5):
    return np.random.default_rng(1).normal(size=(T + 1, 7))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("finals", [0, 1])
def test_episodes_come_back_as_they_were_written(tmp_path, discrete, finals):
    given = [
        episode(5, finals, discrete, 1, terminated=True, truncated=False),
        episode(3, finals, discrete, 2, truncated=np.array([0, 0, 1])),
        episode(8, finals, discrete, 3),
        episode(2, finals, discrete, 4, truncated=False),
    ]
    path = vgm2p.write_dataset(tmp_path / "a.h5", iter(given), env_id="mine", env_kwargs={"size": 3}, episode_limit=8)
    found = vgm2p.read_dataset(path)
    assert read(path).episodes["end"].tolist() == [TERMINAL, TRUNCATION, TIMEOUT, INCOMPLETE]
    assert len(found) == 4
    assert all(
        same({**one, "truncated": bool(np.max(one["truncated"]))}, two) for one, two in zip(given, found, strict=True)
    )
    assert (found.attributes["env_id"], found.attributes["episode_limit"]) == ("mine", 8)
    again = vgm2p.write_dataset(tmp_path / "b.h5", found, **found.task)
    assert digest_of(again) == digest_of(path)


def test_actions_beyond_1_come_back_with_their_limit(tmp_path):
    given = episode(action=np.full((5, N, A), -2.5))
    path = vgm2p.write_dataset(tmp_path / "a.h5", [given], action_limit=np.float64(2.5))
    found = vgm2p.read_dataset(path)
    again = vgm2p.write_dataset(tmp_path / "b.h5", found, **found.task)
    assert digest_of(again) == digest_of(path) and same(given, vgm2p.read_dataset(again)[0])
    for limit, says in (
        (2.0, r"outside \[-2, 2\]"),
        (0, "'action_limit' is 0, not a number above 0"),
        ("3", "not a num"),
    ):
        with pytest.raises(DataError, match=says):
            vgm2p.write_dataset(tmp_path / "c.h5", [given], action_limit=limit)


def test_further_arrays_are_kept(tmp_path):
    rewards = np.arange(15.0).reshape(5, 3)
    given = episode(state=state_of(), reward=rewards, seed=17)
    found = vgm2p.read_dataset(vgm2p.write_dataset(tmp_path / "a.h5", [given]))[0]
    assert same(given, found)
    columns = read(tmp_path / "a.h5")
    assert columns.steps["rewards"][:5].tolist() == rewards.mean(1).tolist()
    assert columns.attributes["env_id"] == "own/a"
    assert columns.attributes["episode_limit"] == 5
    equal = vgm2p.write_dataset(tmp_path / "b.h5", [episode(reward=np.repeat(rewards[:, :1], N, 1))])
    assert "agent_rewards" not in read(equal).steps
    robot = episode(obs=None, robot_observation=np.ones((6, 9)), state=None)
    assert same(robot, vgm2p.read_dataset(vgm2p.write_dataset(tmp_path / "c.h5", [robot]))[0])


def test_without_a_mask_all_actions_are_legal(tmp_path):
    path = vgm2p.write_dataset(tmp_path / "a.h5", [episode(discrete=True, legal=None)], n_actions=5)
    assert vgm2p.read_dataset(path)[0]["legal"].shape == (6, N, 5)
    assert vgm2p.read_dataset(path)[0]["legal"].all()


def at(array, *place, value):
    changed = array.copy()
    changed[place] = value
    return changed


GOOD, INDICES = episode(), episode(discrete=True)
WRONG = {
    "NaN in an observation": (
        {"obs": at(GOOD["obs"], 2, 1, value=np.nan)},
        "'observations' holds NaN or infinity, first in step 2 of episode 1 (row 8), agent 1",
    ),
    "an observation beyond float32": ({"obs": GOOD["obs"] * 1e300}, "infinity, first in step 0 of episode 1 (row 6)"),
    "an action out of range": (
        {"action": at(GOOD["action"], 4, 2, 0, value=1.5)},
        "actions reach 1.500, which is outside [-1, 1], first in step 4 of episode 1 (row 10), agent 2",
    ),
    "a reward that is NaN": ({"reward": at(GOOD["reward"], 3, value=np.nan)}, "step 3 of episode 1 (row 9)"),
    "an agent less": ({"obs": GOOD["obs"][:, :2]}, "episode 1: obs has shape (6, 2, 4); give (any, 3, any)"),
    "another number of agents": (
        {"obs": GOOD["obs"][:, :2], "action": GOOD["action"][:, :2]},
        "episode 1: N is 2, but 3 in episode 0",
    ),
    "another width": ({"obs": GOOD["obs"][..., :3]}, "episode 1: the shape of obs is (3, 3), but (3, 4) in episode 0"),
    "too few rows": ({"obs": GOOD["obs"][:4]}, "episode 1: obs has 4 rows for 5 actions; give 5, or 6 with the last"),
    "no final observation": (
        {"obs": GOOD["obs"][:5]},
        "episode 1: the final observation is missing, but given in episode 0",
    ),
    "rewards of another length": ({"reward": GOOD["reward"][:4]}, "episode 1: reward has shape (4,); give (5,)"),
    "no reward": ({"reward": None}, "episode 1: 'reward' is missing"),
    "no action": ({"action": None}, "episode 1: 'action' is missing"),
    "no observation": ({"obs": None}, "episode 1: give 'obs' (T, N, O), or 'robot_observation' (T, D)"),
    "a misspelt name": ({"rewards": GOOD["reward"]}, "episode 1: unknown name 'rewards'; did you mean 'reward'?"),
    "a name of other programs": (
        {"obs": None, "observations": GOOD["obs"]},
        "episode 1: unknown name 'observations'; it is called 'obs' here",
    ),
    "no steps": ({"action": GOOD["action"][:0]}, "episode 1: action has no steps; leave this episode out"),
    "actions of the other kind": (
        {"action": INDICES["action"], "legal": INDICES["legal"]},
        "episode 1: the kind of actions is discrete, but continuous in episode 0",
    ),
    "a seed in one episode": ({"seed": 3}, "episode 1: seed is given, but missing in episode 0"),
    "text": ({"reward": ["a"] * 5}, "episode 1: reward has type <U1; give an array of numbers"),
    "ragged rows": ({"obs": [[1.0], [1.0, 2.0]]}, "episode 1: obs has type object; give an array of numbers"),
    "ragged rewards": ({"reward": [[1], [0, 1]]}, "episode 1: reward has type object; give an array of numbers"),
    "ragged actions": ({"action": [[1], [0, 1]]}, "episode 1: action has type object; give an array of numbers"),
    "a ragged state": ({"state": [[1], [0, 1]]}, "episode 1: state has type object; give an array of numbers"),
    "a ragged flag": ({"truncated": [[1], [0, 1]]}, "episode 1: truncated must be True or False, or (5,) of them"),
    "a tensor with gradients": ({"reward": torch.zeros(5, requires_grad=True)}, "episode 1: reward has type object"),
    "actions without a width": (
        {"action": GOOD["action"][..., 0]},
        "and type float64; give (T, N, A), or indices of type int",
    ),
    "an early end": (
        {"terminated": [0, 1, 0, 0, 0]},
        "episode 1: terminated is True in step 1, and the last step is 4",
    ),
    "a flag that is none": ({"truncated": 2}, "episode 1: truncated must be True or False, or (5,) of them"),
    "a mask for numbers": ({"legal": INDICES["legal"]}, "episode 1: legal actions belong to discrete actions"),
    "a seed that is none": ({"seed": 0.5}, "episode 1: seed is 0.5; give a whole number"),
    "a ragged seed": ({"seed": [[1], [0, 1]]}, "episode 1: seed is of type object"),
    "a seed beyond int64": ({"seed": 2**63}, f"episode 1: seed is {2**63}; give a whole number from -2**63 to"),
    "a seed without end": ({"seed": 10**5000}, "episode 1: seed is of type object and shape (); give a whole number"),
    "a state of another length": ({"state": state_of()[:3]}, "episode 1: state has shape (3, 7); give (6, any)"),
}
WRONG_INDICES = {
    "an action that is not legal": (
        {"legal": at(INDICES["legal"], 2, 1, INDICES["action"][2, 1], value=False)},
        "1 stored actions are not legal, first in step 2 of episode 1 (row 8), agent 1",
    ),
    "an index too large": (
        {"action": at(INDICES["action"], 1, 2, value=2)},
        "action is 2 in step 1, agent 2; give indices from 0",
    ),
    "an index that a cast would hide": (
        {"action": at(INDICES["action"], 1, 2, value=1 << 16)},
        "action is 65536 in step 1, agent 2",
    ),
    "a mask that a cast would hide": (
        {"legal": at(INDICES["legal"].astype(int), 3, 0, 1, value=256)},
        "legal is 256 in step 3, agent 0; give True or False",
    ),
    "no mask": ({"legal": None}, "episode 1: discrete actions need 'legal' (T, N, A), or n_actions="),
    "a mask of another width": ({"legal": np.ones((6, N, 4))}, "episode 1: A is 4, but 2 in episode 0"),
    "no legal action at the end": (
        {"legal": at(INDICES["legal"], 5, value=False)},
        "a final observation has no legal action, first in step 5 of episode 1 (row 11), agent 0",
    ),
}


def refuse(tmp_path, good, changes, says):
    wrong = {name: value for name, value in (good | changes).items() if value is not None}
    with pytest.raises(DataError) as error:
        vgm2p.write_dataset(tmp_path / "a.h5", [good, wrong])
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_with_episode_step_and_agent(what, tmp_path):
    refuse(tmp_path, GOOD, *WRONG[what])


@pytest.mark.parametrize("what", WRONG_INDICES)
def test_wrong_indices_and_masks_are_named(what, tmp_path):
    refuse(tmp_path, INDICES, *WRONG_INDICES[what])


def test_a_file_is_replaced_only_if_that_is_said(tmp_path):
    path = vgm2p.write_dataset(tmp_path / "a.h5", [GOOD])
    before = path.read_bytes()
    with pytest.raises(StorageError, match="exists; choose another path, or give overwrite=True"):
        vgm2p.write_dataset(path, [GOOD, GOOD])
    with pytest.raises(DataError, match="the attribute episode_limit is 3"):
        vgm2p.write_dataset(path, [GOOD], episode_limit=3, overwrite=True)
    assert path.read_bytes() == before
    vgm2p.write_dataset(path, [GOOD, GOOD], overwrite=True)
    assert len(vgm2p.read_dataset(path)) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_other_mistakes_are_one_line(tmp_path):
    for call, kind, says in (
        (lambda: vgm2p.write_dataset(tmp_path / "a.npz", [GOOD]), ConfigError, "ends with .h5 or .hdf5"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", []), DataError, "there is no episode"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", [[1, 2]]), DataError, "episode 0: this is a list; give a dict"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", GOOD), ConfigError, "episodes is a dict; give a list"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", 5), ConfigError, "episodes is a int; give a list"),
        (lambda: vgm2p.write_dataset(5, [GOOD]), ConfigError, "path is a int; give the name of a file"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", [GOOD], n_actions=2), DataError, "these are continuous"),
        (lambda: vgm2p.write_dataset(tmp_path / "a.h5", [GOOD], env_kwargs={"a": {1}}), DataError, "stored as JSON"),
        (lambda: vgm2p.read_dataset(None), ConfigError, "path is a NoneType"),
        (lambda: vgm2p.read_dataset(tmp_path / "b.h5"), vgm2p.UserError, "no such dataset"),
    ):
        with pytest.raises(kind) as error:
            call()
        assert says in str(error.value)


@pytest.mark.parametrize("count", ["2", 2.0, True, 0, -1, 1 << 15])
def test_a_wrong_number_of_actions_is_named(tmp_path, count):
    with pytest.raises(DataError, match=r"n_actions is .*; give a whole number from 1 to 32767"):
        vgm2p.write_dataset(tmp_path / "a.h5", [episode(discrete=True, legal=None)], n_actions=count)


def test_the_home_folder_and_numbers_of_numpy_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    kwargs = {"speed": np.float32(0.5), "place": np.arange(2)}
    written = vgm2p.write_dataset(
        "~/a.h5", [episode(discrete=True, legal=None)], n_actions=np.int64(2), env_kwargs=kwargs
    )
    assert written == tmp_path / "home" / "a.h5"
    assert vgm2p.read_dataset("~/a.h5").task["env_kwargs"] == {"speed": 0.5, "place": [0, 1]}
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


def test_own_arrays_are_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vgm2p.write_dataset("mine.h5", [episode(seed=number, finals=1) for number in range(4)])
    keys = {"data": "files", "data.source.paths": ["mine.h5"], "data.view": "native", "evaluate": "none", "compare": []}
    tiny = {"updates": 4, "net": {"width": 8, "depth": 1}, "data.batch_size": 4, "logger.tensorboard": None}
    run = vgm2p.fit(algo="bc_flow", **keys, **tiny)
    assert (run.returns, run.own, run.random_return) == ((), None, None)
    assert run.env_id == "own/mine"
    assert run.policy().act(GOOD["obs"][0]).shape == (N, A)
    (other,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("other algorithm")]
    assert other.endswith("algo=bc_gaussian")
    folder = vgm2p.export_policy(run, formats="safetensors")
    assert "evaluate" not in capsys.readouterr().out  # the data name no environment
    assert "vgm2p evaluate run=<this folder> env=<name> episodes=100" in (folder / "README.md").read_text()


def test_hints_after_training_without_an_environment_name_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vgm2p.write_dataset("mine.h5", [episode(seed=number, finals=1) for number in range(4)], env_id="Mine-v0")
    tiny = {"updates": 4, "net": {"width": 8, "depth": 1}, "data.batch_size": 4, "logger.tensorboard": None}
    run = vgm2p.fit(algo="bc_flow", data="mine.h5", env="none", evaluate="none", compare=[], **tiny)
    vgm2p.export_policy(run, formats="safetensors")
    told = capsys.readouterr().out
    assert "vgm2p evaluate" not in told
    assert f"vgm2p estimate run={run.folder.relative_to(tmp_path)}" in told
