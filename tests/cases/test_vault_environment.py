"""A vault of one's own and its environment: what is advised works, and nothing is advised that cannot work."""

import re
import shlex

import numpy as np
import pytest

from tests.cases.vaults import said
from tests.cli.answers import TINY
from tests.datamodules.vaults.vault_writer import even_arrays, write_vault

ROBOT = "env=robotics/6halfcheetah"
TASK = ["data.source.env_id=mamujoco_v1/HalfCheetah/6x1/obsk1", "data.source.episode_limit=1000"]


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """A vault with the shapes of the robot ROBOT."""
    arrays = even_arrays(agents=6, width=9)
    arrays["actions"] = arrays["actions"][..., :1]
    arrays["infos.state"] = np.random.default_rng(1).normal(size=(60, 17)).astype(np.float32)
    return write_vault(tmp_path_factory.mktemp("own") / "cheetah.vlt" / "Good", arrays)


def fit(vault, run, *words):
    return said(
        "fit", *TINY, "data=vault", f"data.source.path={vault}", f"data.cache={vault.parent}", f"out={run}", *words
    )


def test_a_run_on_data_without_an_environment_is_not_told_to_evaluate(vault, tmp_path):
    code, text, errors = fit(vault, tmp_path / "run", "algo=bc_gaussian")
    assert code == 0, errors
    assert "evaluate again" not in text and "evaluate run=" not in text
    advised = shlex.split(re.search(r"estimate it .* (estimate run=.*)", text)[1])
    small = ["updates=2", "batch=8", "net.width=8", "net.depth=1", "device=cpu"]
    code, text, errors = said(*advised, *small)
    assert code == 0, errors
    code, _, line = said("evaluate", f"run={tmp_path / 'run'}", "episodes=1")
    text, _, advised = line.strip().rpartition(" -m vgm2p ")
    assert code == 2 and "its data name no environment; give one of conf/env (ours or yours) with env=<name>" in text, (
        line
    )
    assert said(*shlex.split(advised), *small)[0] == 0
    code, text, _ = said("report", tmp_path / "run")
    assert code == 66 and "estimate run=" in text and "evaluate" not in text


def test_an_environment_that_the_data_do_not_name_is_asked_for(vault, tmp_path):
    code, _, line = fit(vault, tmp_path / "run", "evaluate=auto", ROBOT)
    assert code == 2 and TASK[0] in line
    code, _, line = fit(vault, tmp_path / "run", "evaluate=auto", ROBOT, TASK[0])
    assert code == 2 and "episode_limit: 12 != 1000" in line


@pytest.mark.slow
def test_a_vault_that_names_its_environment_is_evaluated_later(vault, tmp_path):
    code, text, errors = fit(vault, tmp_path / "run", *TASK, ROBOT, "algo=bc_gaussian")
    assert code == 0, errors
    advised = shlex.split(re.search(r"evaluate again .* (evaluate run=\S+)", text)[1])
    code, text, errors = said(*advised, "episodes=1", f"out={tmp_path / 'again'}")
    assert code == 0, errors


def test_a_run_with_another_environment_than_that_of_the_data_says_so(vault, tmp_path):
    assert fit(vault, tmp_path / "run", *TASK, "algo=bc_gaussian")[0] == 0
    code, _, line = said("evaluate", f"run={tmp_path / 'run'}", "episodes=1")
    assert code == 2 and "does not fit the policy: obs_dim: 9 != 23" in line
