"""`make test-data`: single flipped bits in vaults, converted files and flat files: detected, or the content is equal."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cli.flips import flips as flips_in_file
from tests.cli.flips import same_columns
from tests.datamodules.vaults.truths import ROOT
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.published import VaultFolder
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import UserError

VAULTS = sorted(path.parent for path in ROOT.rglob("manifest.ocdbt"))


def silent(line: str) -> None:
    """Say nothing."""


def trials(files: list[Path], count: int, attempt: Callable[[], bool]) -> tuple[int, int]:
    """Flip `count` random bits of several files, one at a time; return (detected, silently different).

    Bits are drawn evenly over all bytes. `attempt` returns whether the content is equal, or raises.
    """
    rng, detected, different = random.Random(7), 0, 0
    originals = [path.read_bytes() for path in files]
    for _ in range(count):
        [(path, original)] = rng.choices(
            list(zip(files, originals, strict=True)), weights=[len(content) for content in originals]
        )
        damaged = bytearray(original)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            different += not attempt()
        except UserError:
            detected += 1
        path.write_bytes(original)
    return detected, different


def vault(folder: Path, scratch: Path, count: int) -> tuple[int, int]:
    """Flip bits of a vault that was converted before; its converted file is made again each time."""
    copy = scratch / "vaults" / folder.parent.name / folder.name
    shutil.copytree(folder, copy)
    source = VaultFolder(str(copy), str(scratch / "cache"), silent)
    wanted = read(source.resolve()[0]).attributes["content_sha256"]

    def attempt() -> bool:
        target = source.target  # another one where a marker file is damaged
        target.unlink(missing_ok=True)
        return read(source.resolve()[0]).attributes["content_sha256"] == wanted

    return trials([path for path in copy.rglob("*") if path.is_file()], count, attempt)


def flat(path: Path, scratch: Path, count: int) -> tuple[int, int]:
    """Flip bits of flat files; a damaged one is made again, so that none may ever be mapped."""
    view = "omiga" if read(path).attributes["stored_view"] == "omiga" else "native"
    told: list[str] = []

    def load() -> dict[str, bytes]:
        store = TransitionStore.map([path], scratch, view, "auto", "terminal", "auto", told.append)
        return {name: array.tobytes() for name, array in store.rows.wide.items()}

    truth = load()

    def attempt() -> bool:
        told.clear()
        same = load() == truth
        if same and told:
            raise UserError("found")
        return same

    files = [each for each in (scratch / "flat").iterdir() if not each.name.endswith(".lock")]
    return trials(files, count, attempt)


def table(count: int, scratch: Path) -> list[tuple[str, int, int]]:
    """Return (what, detected, silent) for every vault of the tests, its converted file and its flat files."""
    rows = []
    for number, folder in enumerate(VAULTS):
        name, place = "/".join(folder.relative_to(ROOT).parts), scratch / str(number)
        path = VaultFolder(str(folder), str(place / "own"), silent).resolve()[0]
        rows.append((f"vault {name}", *vault(folder, place, count)))
        rows.append((f"HDF5 of {name}", *flips_in_file(path, count, lambda p: read(p, verify="auto"), same_columns)))
        rows.append((f"flat files of {name}", *flat(path, place, count)))
    return rows


if __name__ == "__main__":
    flipped = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        found = table(flipped, Path(folder))
    for what, detected, different in found:
        harmless = flipped - detected - different
        print(f"{what:52} {flipped} flips: {detected} detected, {harmless} harmless, {different} silent")
    sys.exit(any(different for *_, different in found))
