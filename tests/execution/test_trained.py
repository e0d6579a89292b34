"""A loaded policy refuses arguments that are not one step of its task."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import continuous_spec, discrete_spec
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.config.settings import PolicySettings
from vgm2p.errors import ConfigError
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.groups import Net

OBS, LEGAL = np.zeros((3, 5), np.float32), np.ones((3, 4), bool)
SETTINGS = PolicySettings("bc_gaussian", "toy", 0, 2, {}, {}, None, "32-true")


def policy(spec):
    return TrainedPolicy(BCGaussian(spec, [0, 1], net=Net(8, 1)).eval(), SETTINGS, 0, Path("x.ckpt"))


CONTINUOUS = {
    "one agent": ({"obs": OBS[0]}, r"obs has shape \(5,\); give \(3, 5\)"),
    "several steps": ({"obs": np.stack([OBS] * 4)}, r"obs has shape \(4, 3, 5\); give \(3, 5\)"),
    "one agent of many": ({"obs": OBS[:1]}, r"give \(3, 5\)"),
    "a wide observation": ({"obs": np.zeros((3, 6))}, r"give \(3, 5\)"),
    "NaN": ({"obs": OBS * np.nan}, "obs has values that are not finite"),
    "text": ({"obs": "here"}, r"obs: give an array of numbers of shape \(3, 5\)"),
    "rows of different lengths": ({"obs": [[1.0], [1.0, 2.0]]}, "obs: give an array of numbers"),
    "a seed too many": ({"obs": OBS, "seed": 2}, "seed=2: the run has 2 seeds; give a position from 0 to 1"),
    "a negative seed": ({"obs": OBS, "seed": -1}, "seed=-1"),
    "a reward per agent": ({"obs": OBS, "reward": OBS[:, 0]}, r"reward has shape \(3,\); give \(\)"),
    "legal actions": ({"obs": OBS, "legal": LEGAL}, "legal: leave out the legal actions of toy"),
}
DISCRETE = {
    "no legal actions": ({"obs": OBS}, "legal: give the legal actions of toy"),
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
