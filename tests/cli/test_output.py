"""Output that cannot be written: one line, the documented exit code, and no noise when Python exits."""

import os
import subprocess
import sys

import pytest


def command(words, **streams):
    """Run the program with buffered output, as a shell does. Return its exit code and standard error."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    line = [sys.executable, "-m", "vgm2p", *words]
    done = subprocess.run(line, env=environment, text=True, **{"stderr": subprocess.PIPE, **streams})
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["bench", "step", "--help"], ["fit", "--help"]])
def test_a_full_output_is_one_line(words):
    with open("/dev/full", "w") as full:
        code, said = command(words, stdout=full)
    assert (code, said) == (74, "vgm2p: standard output: No space left on device; send it to another file\n")


@pytest.mark.parametrize("words", [["--help"], ["bench", "step", "--help"], ["fit", "--help"]])
def test_a_reader_that_has_gone_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        assert command(words, stdout=gone) == (141, "")


def test_an_error_that_cannot_be_shown_keeps_its_exit_code():
    with open("/dev/full", "w") as full:
        assert command(["nonsense"], stdout=subprocess.PIPE, stderr=full) == (2, None)
