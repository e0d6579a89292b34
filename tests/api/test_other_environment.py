"""A run that was trained without an environment is evaluated in one that the user names, where the tasks agree."""

import json

import numpy as np

import vgm2p
from tests.cli.answers import answer

TINY = {
    "algo": "bc_gaussian",
    "compare": [],
    "updates": 4,
    "net": {"width": 8, "depth": 1},
    "data": "files",
    "data.source.paths": ["mine.h5"],
    "data.view": "native",
    "data.batch_size": 4,
    "logger.tensorboard": None,
    "env": "none",
    "evaluate": "none",
    "out": "run",
    "quiet": True,
}


def write(env_id, width=2):
    """Write episodes of the length of the line world, with observations of `width` numbers."""
    rng = np.random.default_rng(0)
    episodes = [
        {
            "obs": rng.normal(size=(9, 2, width)),
            "action": rng.uniform(-1, 1, size=(8, 2, 1)),
            "reward": rng.normal(size=8),
            "truncated": True,
        }
        for _ in range(4)
    ]
    vgm2p.write_dataset("mine.h5", episodes, env_id=env_id, overwrite=True)


def test_data_of_a_known_task_are_evaluated_in_its_environment(project):
    write("line")
    run = vgm2p.fit(**TINY)
    assert run.returns == ()
    code, text = answer(["evaluate", "run=run", "episodes=2"])
    assert code == 66
    assert "this data's simulator is not part of vgm2p; give env=<yours>, an environment of line" in text
    assert answer(["evaluate", "run=run", "env=line", "episodes=2"]) == (0, "")
    (place,) = (project / "run/evaluations").glob("update-4-n2-line-*")  # a digest of the environment's keys
    found = json.loads((place / "results.json").read_text())
    assert (found["environment"], found["by_act_noise"][0]["episodes"]) == ("line", 2)
    assert found["by_act_noise"][0]["length_mean"] == 8
    assert (
        vgm2p.evaluate(run, env="line", episodes=2, out="again", quiet=True).returns[0].mean
        == found["by_act_noise"][0]["return_mean"]
    )
    code, text = answer(["evaluate", "run=run", "env=line", "env.episode_limit=9"])
    assert code == 2
    assert "the environment line does not fit the policy: episode_limit: 8 != 9 (policy != environment)" in text
    code, text = answer(["evaluate", "run=run", "env=line", "data.view=raw_onehot"])
    assert code == 2
    assert 'view: "native" != "raw_onehot"' in text


def test_data_that_name_no_environment_fit_every_name_and_no_other_shape(project):
    write(None)
    vgm2p.fit(**TINY)
    code, text = answer(["evaluate", "run=run"])
    assert code == 2
    assert "its data name no environment; give one of conf/env (ours or yours) with env=<name>" in text
    assert answer(["evaluate", "run=run", "env=line", "episodes=1"]) == (0, "")
    write(None, width=3)
    vgm2p.fit(**TINY | {"out": "wide"})
    code, text = answer(["evaluate", "run=wide", "env=line", "episodes=1"])
    assert code == 2
    assert "does not fit the policy: obs_dim: 3 != 2" in text
    code, text = answer(["evaluate", "run=wide", "env=lin"])
    assert code == 2
    assert "unknown env 'lin'; did you mean 'line'?" in text
