"""A user's mistake gives one line and an exit code, and no file is lost (`make test-errors` prints all cases)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.answers import answer, judge
from tests.cli.flips import trials
from tests.cli.wrong import ALL, CASES
from tests.cli.wrong_keys import KEYS
from tests.run.runs import environment
from vgm2p.cli import console


@pytest.mark.parametrize("case", [*CASES, *KEYS[::8]], ids=lambda case: case.what.replace(" ", "-"))
def test_wrong_input_is_answered_by_one_line(case):
    with tempfile.TemporaryDirectory() as scratch:  # short: lines are cut at 200 characters
        code, line, complaint = judge(case, Path(scratch))
    assert not complaint, f"{complaint}: exit {code}: {line}"


def test_there_are_enough_different_wrong_inputs():
    assert len({case.what for case in ALL}) == len(ALL) >= 250


def test_flipped_bits_are_detected_or_harmless(tmp_path):
    for name, count, detected, silent in trials(20, tmp_path):
        assert silent == 0, name
        assert detected > 0.3 * count, name


def test_debug_mode_shows_where(monkeypatch):
    monkeypatch.setenv("VGM2P_DEBUG", "1")
    _, text = answer(["fitt"])
    assert "Traceback" in text
    assert text.rstrip().splitlines()[-1].startswith("vgm2p: unknown command")


def test_the_program_itself_exits_with_the_code_and_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "vgm2p", "fit", "algo=vgm3p"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr == "vgm2p: unknown algo 'vgm3p'; did you mean 'vgm2p'?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["fit", "--cfg", "job"], ["--version"], []])
def test_help_is_no_error(words):
    code, text = answer(words)
    assert code == 0
    assert text == ""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["bench", "act"], ["fit", "--cfg", "job"]], ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(tmp_path, words):
    variables = {**environment(), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "vgm2p", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=tmp_path, env=variables, stdout=full, stderr=subprocess.PIPE, text=True)
    line = "vgm2p: standard output: No space left on device; send it to another file\n"
    assert (done.returncode, done.stderr) == (74, line)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 141), (["nonsense"], 2)], ids=["output", "errors"])
def test_a_closed_or_full_stream_changes_no_exit_code(tmp_path, words, code):
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vgm2p", *words],
            cwd=tmp_path,
            env={**environment(), "PYTHONUNBUFFERED": ""},
            stdout=write,
            stderr=full if words == ["nonsense"] else subprocess.PIPE,
            text=True,
        )
    os.close(write)
    assert done.returncode == code and not done.stderr


def test_the_script_finds_modules_in_the_working_folder_as_python_m_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["the folder of the script", *sys.path])
    monkeypatch.setattr(sys, "argv", ["vgm2p", "--version"])
    with pytest.raises(SystemExit) as end:
        console()
    assert end.value.code == 0
    assert sys.path[:2] == [str(tmp_path), "the folder of the script"]
