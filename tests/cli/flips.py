"""Single flipped bits in datasets and checkpoints: a flip is detected, or the loaded content is the same bit for bit."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.answers import TINY, answer
from tests.cli.wrong_runs import checkpoint
from tests.run.runs import same_bits
from tests.support import small_columns
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.errors import DataError
from vgm2p.run.checkpoint import digest_path, read_checkpoint


def flips(path: Path, count: int, load: Callable[[Path], Any], same: Callable[[Any, Any], bool]) -> tuple[int, int]:
    """Flip `count` random bits of a file, one at a time; return (detected, silently different)."""
    original, rng = path.read_bytes(), random.Random(7)
    truth = load(path)
    detected = silent = 0
    for _ in range(count):
        damaged = bytearray(original)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            silent += not same(load(path), truth)
        except DataError:
            detected += 1
    path.write_bytes(original)
    return detected, silent


def same_columns(a: Columns, b: Columns) -> bool:
    pairs = zip(a.arrays(), b.arrays(), strict=True)
    return a.attributes == b.attributes and all(
        x == y and p.dtype == q.dtype and np.array_equal(p, q) for (x, p), (y, q) in pairs
    )


def trials(each: int, folder: Path) -> list[tuple[str, int, int, int]]:
    """Return (file, flips, detected, silent) for datasets and checkpoints."""
    small, bundled = folder / "small.h5", folder / "bundled.h5"
    write(small, small_columns())
    bundled.write_bytes(Bundled().resolve()[0].read_bytes())
    code, text = answer(["fit", *TINY, f"out={folder / 'run'}"])
    assert code == 0, text
    kept, bare = checkpoint(folder / "run"), folder / "update-000000004.ckpt"
    bare.write_bytes(kept.read_bytes())
    assert digest_path(kept).exists()
    assert not digest_path(bare).exists()
    rows = []
    for name, path in (("dataset, small", small), ("dataset, bundled", bundled)):
        rows.append((name, each, *flips(path, each, lambda p: read(p, verify="auto"), same_columns)))
    for name, path in (("checkpoint with its digest", kept), ("checkpoint alone", bare)):
        rows.append((name, each, *flips(path, each, read_checkpoint, lambda a, b: not same_bits(a, b))))
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = trials(int(sys.argv[1]), Path(scratch))
    for name, count, detected, silent in found:
        print(f"{name:28} {count} flips: {detected} detected, {count - detected - silent} harmless, {silent} silent")
    sys.exit(any(silent for *_, silent in found))
