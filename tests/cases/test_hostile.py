"""Attacks 1 to 5: foreign files execute nothing, change no file of the user, and are shown only escaped."""

import csv
import io
import json
import os

import pytest

from tests.cli.answers import answer
from tests.hostile.__main__ import run
from tests.hostile.data import DATA, NAMES, SHOWN
from tests.hostile.runs import CHECKPOINTS, FOLDERS
from vgm2p.errors import ConfigError, DataError, StorageError
from vgm2p.io.files import read_small, refuse_link
from vgm2p.io.text import csv_cell, markdown, name, plain
from vgm2p.run.csv_log import CsvLog
from vgm2p.run.folder import RunFolder, read_json


@pytest.mark.slow
@pytest.mark.parametrize("part", ["CHECKPOINTS", "FOLDERS", "DATA", "SHOWN"])
def test_every_hostile_input_is_answered_without_harm(part, tmp_path, capsys):
    cases = {"CHECKPOINTS": CHECKPOINTS, "FOLDERS": FOLDERS, "DATA": DATA, "SHOWN": SHOWN}[part]
    assert len(cases) >= 10
    assert run(cases, tmp_path) == 0, capsys.readouterr().out


@pytest.mark.parametrize("what", NAMES)
def test_a_name_is_one_line_of_printable_characters(what):
    value = NAMES[what]
    for shown in (name(value), markdown(value), csv_cell(value), plain(ConfigError(value).line)):
        assert shown.isprintable() and len(shown) <= 250
        shown.encode()
    assert ConfigError(value).line.isprintable()


def test_a_name_has_no_meaning_in_markdown_and_spreadsheets():
    assert markdown("a|b <b> `c` [d](e) [1]") == r"a\|b \<b> \`c\` \[d](e) [1]"
    for formula in ("=1+1", "+1+cmd|x", "-1+1", "@SUM(1)", "＝1", "\t=1"):
        assert csv_cell(formula).startswith("'")
    for number in ("-1.5", "+3", "1e5", "-inf", "name", "a=b", "vgm2p (source)"):
        assert csv_cell(number) == number
    (row,) = csv.reader(io.StringIO(f'"{csv_cell("=cmd|x")}",2'))
    assert row == ["'=cmd|x", "2"]


def test_small_files_are_plain_and_small(tmp_path):
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "deep.json").write_text("[" * 10**5)
    with open(tmp_path / "huge.json", "w") as file:
        file.truncate(1 << 40)
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        with pytest.raises(DataError):
            read_json(path, "the run")
        if path.name != "deep.json":
            with pytest.raises(DataError):
                CsvLog(path).rows()
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "nothing")


@pytest.mark.parametrize("inside", ["checkpoints", "plots", "evaluations", "tensorboard"])
def test_folders_of_a_run_are_no_links(inside, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / inside).symlink_to(tmp_path / "home")
    with pytest.raises(StorageError, match="links are not followed"), RunFolder(tmp_path / "run").made():
        pass
    with pytest.raises(StorageError, match="is a link"):
        refuse_link(tmp_path / "run" / inside)
    refuse_link(tmp_path / "run")


def test_output_through_a_catalogue_is_escaped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    entry = {"id": "x\x1b[2J|y", "source": "s", "env": "e", "scenario": "c", "uid": "u", "hub_path": "h", "n_agents": 2}
    entry |= {"action_kind": "discrete", "episode_limit": 9, "layout": "l"}
    (tmp_path / "mine.yaml").write_text(json.dumps({"datasets": [entry]}))
    assert answer(["data", "list", "x", "catalogue=mine.yaml"])[0] == 0
