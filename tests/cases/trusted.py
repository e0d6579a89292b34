"""Helpers of the tests of what a resumed run trusts."""

import pytest
import torch

from vgm2p.run.checkpoint import digest_path

TOTAL, ENDED = 60, 50  # checkpoints of 40 and 50 updates are kept in the run that ended at 50


def refused(done, *words):
    """Check that a command ended with one line that has these words."""
    assert done.returncode == 65, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and len(done.stderr) <= 208, done.stderr
    for word in words:
        assert word in done.stderr
    assert "internal error" not in done.stderr


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path, change):
    """Change the content of a checkpoint, whose digest then is right."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    digest_path(path).unlink()


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


def some_slow(cases, fast):
    """Return the cases as parameters; those that are not among `fast` are slow."""
    return [case if case in fast else slow(*case) for case in cases]
