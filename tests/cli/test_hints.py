"""Hints about names and keys that do not exist: near ones, and the command that shows all, in one short line."""

import contextlib
import io
import re
import shlex

import pytest

from tests.cli.answers import answer
from vgm2p.cli import main
from vgm2p.config.compose import options
from vgm2p.io.shell import program

NAMED = ("experiment", "algo", "env", "data", "protocol", "net", "optim", "trainer", "logger", "callbacks", "tuned")
ADDED = ("sweep", "variant", "recipe")


@pytest.mark.parametrize("group", [*NAMED, *(f"+{group}" for group in ADDED)])
def test_an_unknown_name_gets_near_ones_and_the_command_that_lists_all(group):
    code, line = answer(["fit", *(["-m"] if group == "+sweep" else []), f"{group}=nosuch"])
    assert code == 2 and len(line.rstrip()) <= 200 and " ... " not in line
    found = re.search(r"unknown (\w+) 'nosuch'; (known|nearest): ([^;]*?)(?:; `(.*)` lists all)?\n", line)
    known = options(found[1])
    words = found[3].split(", ")
    assert set(words) <= set(known)
    assert len(words) == (len(known) if found[2] == "known" else 3)
    if found[2] == "nearest":
        assert found[4] == f"{program()} fit --help {found[1]}"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("experiment=hopper", "nearest: mamujoco_3hopper_"),
        ("algo.temperatur=1", "did you mean 'algo.cql.temperature'? algo=omar has it"),
        ("trainer.max_epochs=3", "counts batches or optimiser steps, which are not updates; use updates"),
        ("algo.list=1", "fit --help` shows the keys"),
        ("temperature=3", "fit --help` shows the keys"),
        ("epochs=3", "fit --help` shows the keys"),
        ("list", "'list' is not key=value; `"),
        ("data.batchsise=1", "did you mean 'data.batch_size'?"),
    ],
)
def test_a_hint_is_near_or_names_the_command_that_shows_all(word, hint):
    code, line = answer(["fit", word])
    assert code == 2 and hint in line and len(line.rstrip()) <= 200


def test_an_action_of_data_is_no_command():
    code, line = answer(["list"])
    assert (code, line) == (2, f"vgm2p: unknown command 'list'; did you mean `{program()} data list`?\n")


def test_the_help_of_a_group_shows_what_each_file_is():
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["fit", "--help", "net", "sweep"]) == 0
    lines = text.getvalue().splitlines()
    assert lines[0] == "## net" and "  net=small  Small networks, which two CPU cores train in minutes." in lines
    assert any(line.startswith("  +sweep=table1") for line in lines)
    with contextlib.redirect_stdout(text):
        assert main(["fit", "--help"]) == 0
    assert re.search(r"## experiment=quickstart; others: \d+, e.g. mamujoco_2ant", text.getvalue())
    commands = re.findall(r"`([^`]* -m vgm2p fit --help [^`=]*)`", text.getvalue())
    assert {shlex.split(command)[-1] for command in commands} >= {"experiment", "data", "net", "recipe"}
