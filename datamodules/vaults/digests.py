"""SHA-256 digests of a vault's files, which reveal damage that the files' own checksums miss.

OCDBT's trees have checksums, but its blosc chunks have none, and the checksums of a zip are lost when it is unpacked.
`unzip` therefore stores the digests in the vault's folder. For a vault that was placed by hand, the first conversion
stores them beside the converted file. Later conversions compare the files with the stored digests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from vgm2p.datamodules.vaults.vault import MARKERS
from vgm2p.errors import DataError
from vgm2p.io.files import sha256_file, write_atomic

DIGEST_FILE = "vgm2p.sha256.json"  # in the folder of a vault that `unzip` unpacked


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a vault, by its path in the folder. The file of digests is left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGEST_FILE)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def write_digests(path: Path, digests: Mapping[str, str]) -> None:
    """Write digests to a file. Raises OSError if this fails."""
    write_atomic(path, json.dumps(dict(digests), indent=0, sort_keys=True))


def verify_digests(
    folder: Path, beside: Path, say: Callable[[str], None], again: str = "fetch the vault again"
) -> Callable[[], None]:
    """Compare a vault with its stored digests. Return a function that stores them if there were none.

    Call the returned function when the converted file is verified, before it gets its name.

    Args:
        folder: folder of one uid.
        beside: file of digests of a vault that was placed by hand.
        say: function that receives a line for the user if no digests are stored.
        again: what the user can do about damage.

    Raises:
        DataError: if a file differs from its digest.
    """
    inside = folder / DIGEST_FILE
    found = digests_of(folder)
    wanted = _read(inside if inside.is_file() else beside)
    replaced = wanted is not None and any(wanted.get(name) != found.get(name) for name in MARKERS)
    if wanted is None or (replaced and not inside.is_file()):  # the user may put another vault in the same place
        say(f"{folder.name}: placed by hand; damage that happened before this conversion cannot be detected")
        return lambda: write_digests(beside, found)
    changed = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
    if changed:
        raise DataError(f"{folder}: {changed[0]} differs from its stored digest, so it is damaged; {again}")
    return lambda: None


def _read(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        return {str(name): str(digest) for name, digest in content.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: damaged; delete it if the vault itself is intact") from error
