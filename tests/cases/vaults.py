"""Converts made vaults with the program, in this process."""

import contextlib
import io
from pathlib import Path

import numpy as np

from tests.cli.answers import TINY
from tests.datamodules.vaults.vault_writer import even_arrays, write_vault
from vgm2p.cli import main
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read

ENDS = np.arange(11, 60, 12)  # last rows of the episodes of `even_arrays()`


def said(*words):
    """Run the program; return its exit code, standard output and standard error."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([str(word) for word in words])
    return code, out.getvalue(), errors.getvalue().strip()


def converted(folder, arrays, *words):
    """Write a vault and convert it; return the dataset and the printed text."""
    write_vault(folder / "mine.vlt" / "Good", arrays)
    code, text, errors = said("data", "convert", folder / "mine.vlt" / "Good", f"cache={folder / 'cache'}", *words)
    assert code == 0, errors
    path = Path(next(line.split()[-1] for line in text.splitlines() if line.startswith("ready")))
    assert all(good for _, good, _ in check(path))
    return read(path, verify="full"), text


def refused(folder, arrays, *words, fit=False):
    """Write a vault and convert it; return the line of the refusal. With `fit`, that must say the same."""
    vault, cache = folder / "mine.vlt" / "Good", folder / "cache"
    write_vault(vault, arrays)
    code, _, line = said("data", "convert", vault, f"cache={cache}", *words)
    assert code == 65, line
    assert "mine.vlt/Good" in line and len(line) <= 207 and "fetch" not in line, line
    if fit:
        keys = [f"data.source.path={vault}", f"data.cache={cache}", *(f"data.source.{word}" for word in words)]
        assert said("fit", *TINY, "data=vault", f"out={folder / 'run'}", *keys)[0::2] == (65, line)
        assert not (folder / "run").exists()
    assert [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    return line


def idle_ends(actions=4):
    arrays = even_arrays(actions=actions)
    arrays["actions"][ENDS] = 0
    arrays["rewards"][:] = 0
    arrays["rewards"][ENDS - 1] = 1
    return arrays
