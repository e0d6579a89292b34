"""The learning rate falls over all updates of a run; a run that goes on past the end of its schedule says so."""

import contextlib
import io
import re
import shlex

import pytest
import torch

from tests.cli.answers import TINY
from tests.run.runs import content, same_bits
from vgm2p.cli import main
from vgm2p.config.compose import composed
from vgm2p.errors import ConfigError
from vgm2p.groups import Optim, over_run
from vgm2p.nn.optim import SeedAdam


def fit(out, *words):
    """Run `fit` in this process; return what it prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["fit", *TINY, "algo=bc_gaussian", f"out={out}", *words]) == 0
    return text.getvalue()


def policy(out):
    return content(out)["state_dict"]


@pytest.mark.parametrize("experiment", ["quickstart", "quickstart_discrete"])
def test_the_quick_start_decays_over_its_updates(experiment):
    config = composed("fit", [f"experiment={experiment}"])
    assert config["optim"]["decay_updates"] == config["algo"]["optim"]["decay_updates"] == "updates"
    assert over_run(config["algo"], config["updates"])["optim"]["decay_updates"] == config["updates"]


def test_the_numbers_are_those_of_a_schedule_with_this_number(tmp_path):
    fit(tmp_path / "a")
    fit(tmp_path / "b", "optim.decay_updates=4")
    fit(tmp_path / "c", "optim.decay_updates=5")
    assert same_bits(policy(tmp_path / "a"), policy(tmp_path / "b")) == []
    assert same_bits(policy(tmp_path / "a"), policy(tmp_path / "c"))


def test_more_updates_train_on_and_say_what_happens_to_the_rate(tmp_path):
    fit(tmp_path)
    first = policy(tmp_path)
    text = fit(tmp_path, "updates=8")
    assert (
        "schedule     the policy's learning rate was falling to 0 over 4 updates; now it is falling to 0 over 8 updates, "
        "and goes on at 0.0005. A new run of 8 updates gives other numbers"
    ) in text
    assert same_bits(first, policy(tmp_path))


def test_a_schedule_that_has_ended_is_said_and_mended_by_the_printed_command(tmp_path):
    text = fit(tmp_path, "optim.decay_updates=4")
    assert "warning" not in text
    first = policy(tmp_path)
    text = fit(tmp_path, "optim.decay_updates=4", "updates=6")
    assert "warning      the policy's learning rate is 0 after update 4: it learns nothing in the last 2" in text
    frozen = policy(tmp_path)
    assert [line for line in same_bits(first, frozen) if "clock" not in line] == [".updates"]
    printed = re.search(r"train on +.* fit (.*)", text)[1]
    text = fit(tmp_path, *shlex.split(printed)[len(TINY) :])
    assert "was falling to 0 over 4 updates; now it is falling to 0 over 12 updates" in text and "warning" not in text
    assert len(same_bits(frozen, policy(tmp_path))) > 2


def test_only_a_run_that_goes_on_may_change_its_schedule(tmp_path, capfd):
    fit(tmp_path)
    assert main(["fit", *TINY, "algo=bc_gaussian", f"out={tmp_path}", "optim.decay_updates=9"]) == 2
    assert "optim.decay_updates: updates -> 9" in capfd.readouterr().err


def test_a_network_without_a_run_needs_a_number():
    with pytest.raises(ConfigError, match="give a number"):
        SeedAdam([torch.nn.Parameter(torch.zeros(1, 2))], Optim(decay_updates="updates"))
