"""A loaded policy refuses arguments that are not one step of its task, acts in batches, and says what it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import continuous_spec, discrete_spec
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.config.settings import PolicySettings
from vgm2p.errors import ConfigError, Diverged
from vgm2p.execution.trained import TrainedPolicy, load
from vgm2p.groups import Net

OBS, LEGAL = np.zeros((3, 5), np.float32), np.ones((3, 4), bool)
SETTINGS = PolicySettings("bc_gaussian", "toy", 0, 2, {}, {}, None, "32-true")


def policy(spec, cls=BCGaussian, **keys):
    return TrainedPolicy(cls(spec, [0, 1], net=Net(8, 1), **keys).eval(), SETTINGS, 0, Path("x.ckpt"))


CONTINUOUS = {
    "one agent": ({"obs": OBS[0]}, r"obs has shape \(5,\); give \(3, 5\)"),
    "several steps of several episodes": (
        {"obs": np.zeros((2, 4, 3, 5))},
        r"obs has shape \(2, 4, 3, 5\); give \(3, 5\)",
    ),
    "no episode": ({"obs": np.zeros((0, 3, 5))}, r"obs has shape \(0, 3, 5\)"),
    "a row too few": ({"obs": OBS[:2]}, r"obs has shape \(2, 5\); give \(3, 5\), all agents, or \(E, 3, 5\)"),
    "a batch with a row too few": ({"obs": np.zeros((4, 2, 5))}, r"obs has shape \(4, 2, 5\)"),
    "one agent of many": ({"obs": OBS[:1]}, r"give \(3, 5\)"),
    "a wide observation": ({"obs": np.zeros((3, 6))}, r"give \(3, 5\)"),
    "NaN": ({"obs": np.where(np.arange(15).reshape(3, 5) == 7, np.nan, OBS)}, r"not finite \(agent 1\); look"),
    "infinity in a batch": ({"obs": np.stack([OBS, OBS + np.inf])}, r"not finite \(agent 0 of episode 1\)"),
    "text": ({"obs": "here"}, r"obs: give an array of numbers of shape \(3, 5\)"),
    "complex numbers": ({"obs": OBS * 1j}, "obs: give an array of numbers"),
    "rows of different lengths": ({"obs": [[1.0], [1.0, 2.0]]}, "obs: give an array of numbers"),
    "a seed too many": ({"obs": OBS, "seed": 2}, "seed=2: the run has 2 seeds; give a position from 0 to 1"),
    "a negative seed": ({"obs": OBS, "seed": -1}, "seed=-1"),
    "a reward per agent": ({"obs": OBS, "reward": OBS[:, 0]}, r"reward has shape \(3,\); give \(\)"),
    "legal actions": ({"obs": OBS, "legal": LEGAL}, "legal: leave out the legal actions of toy"),
}
DISCRETE = {
    "no legal actions": ({"obs": OBS}, "legal: give the legal actions of toy"),
    "an agent without a legal action": (
        {"obs": OBS, "legal": LEGAL & [[1], [0], [1]]},
        r"no action \(agent 1\); at least one",
    ),
    "numbers in place of truth values": (
        {"obs": OBS, "legal": LEGAL * 3},
        r"legal holds 3 \(agent 0\); give True or False",
    ),
    "legal actions of another batch": (
        {"obs": np.stack([OBS] * 2), "legal": LEGAL},
        r"legal has shape \(3, 4\); give \(2, 3, 4\)",
    ),
    "legal actions of one agent": ({"obs": OBS, "legal": LEGAL[0]}, r"legal has shape \(4,\); give \(3, 4\)"),
}


@pytest.mark.parametrize("what", CONTINUOUS)
def test_what_is_no_step_of_the_task_is_refused(what):
    arguments, line = CONTINUOUS[what]
    with pytest.raises(ConfigError, match=line):
        policy(continuous_spec()).act(**arguments)


@pytest.mark.parametrize("what", DISCRETE)
def test_discrete_actions_need_legal_ones(what):
    arguments, line = DISCRETE[what]
    with pytest.raises(ConfigError, match=line):
        policy(discrete_spec()).act(**arguments)


def test_lists_numbers_and_tensors_are_accepted():
    actor = policy(continuous_spec())
    assert np.array_equal(actor.act(OBS.tolist(), seed=1), actor.act(torch.zeros(3, 5), seed=np.int64(1), reward=1))
    assert policy(discrete_spec()).act(OBS.astype(int), LEGAL.astype(np.uint8)).shape == (3,)


@pytest.mark.parametrize("spec", [continuous_spec(), discrete_spec()], ids=["continuous", "discrete"])
def test_a_row_of_a_batch_acts_as_its_episode_alone(spec):
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(4, 3, spec.n_agents, spec.obs_dim))  # of three episodes
    legal = rng.random((4, 3, spec.n_agents, 4)) > 0.3
    legal[..., 0] = True
    actor = policy(spec, BCFlow, history=3)
    masks = legal if spec.discrete else [None] * 4
    together = np.stack([actor.act(obs, mask, seed=1) for obs, mask in zip(steps, masks, strict=True)])
    for episode in range(3):
        actor.reset(episode)
        own = legal[:, episode] if spec.discrete else masks
        alone = np.stack([actor.act(obs, mask, seed=1) for obs, mask in zip(steps[:, episode], own, strict=True)])
        assert alone.shape == together[:, episode].shape
        assert np.allclose(alone, together[:, episode], atol=1e-6)
    actor.reset()
    again = actor.act(steps[0], masks[0], seed=1)
    assert np.array_equal(again, together[0])


def test_the_number_of_episodes_stays_until_the_reset():
    actor = policy(continuous_spec(), history=2)
    assert actor.act(np.stack([OBS] * 2), reward=[0.0, 1.0]).shape == (2, 3, 2)
    with pytest.raises(ConfigError, match=r"obs has 1 episodes, but 2 have begun; call reset\(\)"):
        actor.act(OBS)
    actor.reset()
    assert actor.act(OBS).shape == (3, 2)


@pytest.mark.parametrize("number", [-1, "0", 1.5, True, None])
def test_an_episode_is_a_whole_number_from_0(number):
    with pytest.raises(ConfigError, match="give the number of an episode, a whole number from 0"):
        policy(continuous_spec()).reset(number)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:1", None])
def test_a_device_that_is_not_there_is_named(tmp_path, device):
    with pytest.raises(ConfigError, match=f"device={device}: this machine has cpu and .* CUDA devices"):
        load(tmp_path, device)


def test_a_policy_that_diverged_does_not_act():
    actor = policy(continuous_spec())
    with torch.no_grad():
        for weight in actor.algorithm.parameters():
            weight[1] = torch.nan
    assert np.isfinite(actor.act(OBS, seed=0)).all()
    with pytest.raises(Diverged, match="an action of seed 1 is not finite"):
        actor.act(OBS, seed=1)


def test_a_policy_says_what_it_is():
    shown = repr(policy(continuous_spec()))
    assert shown == (
        "TrainedPolicy(bc_gaussian on toy: obs (3, 5), action (3, 2) continuous, -1 to 1, update 0, seeds [0, 1])"
    )
    assert "action (3,) discrete, 0 to 3" in repr(policy(discrete_spec()))
