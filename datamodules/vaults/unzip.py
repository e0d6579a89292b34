"""Unpack the wanted uids of a downloaded zip. Nothing is unpacked before all its members are found harmless."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vgm2p.datamodules.vaults.digests import DIGEST_FILE, write_digests
from vgm2p.datamodules.vaults.vault import MARKERS
from vgm2p.errors import DataError, MissingInput
from vgm2p.io.files import sync

MAX_MEMBERS = 100_000
MAX_RATIO = 200  # unpacked size of a member, relative to its packed size
MAX_BYTES = 64 << 30  # unpacked size of all members
COPY_BYTES = 1 << 20
IGNORED = ("__MACOSX/", ".DS_Store")


def unzip(source: Path, uids: Sequence[str], target: Path) -> dict[str, Path]:
    """Unpack the vaults of `uids` into `target`/<uid> and return their folders.

    A vault is a folder with the two marker files, anywhere in the zip. The name of the folder is the uid. Its files and
    their digests (`vaults.digests`) are written into a temporary folder, which is renamed at the end.

    Raises:
        DataError: if the zip is damaged, or a member leads out of the folder, is encrypted, or would be too large.
        MissingInput: if the zip has no vault with a wanted uid.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = checked(archive, source)
            roots = _roots(members)
            missing = [uid for uid in uids if uid not in roots]
            if missing:
                raise MissingInput(
                    f"{source}: holds no vault '{missing[0]}'; it has {', '.join(sorted(roots)) or 'none'}"
                )
            return {uid: _unpack(archive, members, roots[uid], target / uid, source) for uid in uids}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise DataError(f"{source}: damaged, or not a zip ({str(error)[:60]}); delete it and fetch it again") from error


def checked(archive: zipfile.ZipFile, source: Path) -> list[zipfile.ZipInfo]:
    """Return the members, without ignored ones. Raises DataError, which names the first member that is not harmless."""
    members = [info for info in archive.infolist() if not any(part in info.filename for part in IGNORED)]
    if len(members) > MAX_MEMBERS:
        raise DataError(f"{source}: {len(members)} members, more than {MAX_MEMBERS}; not unpacked")
    seen: set[str] = set()
    for info in members:
        fault = _fault(info) or (
            "there twice, apart from upper and lower case" if info.filename.lower() in seen else None
        )
        if fault:
            raise DataError(f"{source}: member {ascii(info.filename)[:60]} is {fault}; not unpacked")
        seen.add(info.filename.lower())
    if sum(info.file_size for info in members) > MAX_BYTES:
        raise DataError(f"{source}: would unpack to more than {MAX_BYTES >> 30} GiB; not unpacked")
    return members


def _fault(info: zipfile.ZipInfo) -> str | None:
    # zipfile cuts names at a NUL and replaces separators; `orig_filename` is the name in the zip
    name = info.orig_filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in parts or "\\" in name or "\0" in name:
        return "outside its folder"
    mode = info.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.file_size > MAX_RATIO * max(info.compress_size, 1024):
        return f"compressed by more than a factor of {MAX_RATIO}"
    return None


def _roots(members: Sequence[zipfile.ZipInfo]) -> dict[str, str]:
    """Return uid -> path of its folder in the zip, as a prefix of names."""
    names = {info.filename for info in members}
    prefixes = [name.removesuffix(MARKERS[0]) for name in names if PurePosixPath(name).name == MARKERS[0]]
    return {PurePosixPath(prefix).name: prefix for prefix in sorted(prefixes) if prefix + MARKERS[1] in names}


def _unpack(
    archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], prefix: str, target: Path, source: Path
) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    digests = {}
    try:
        for info in members:
            if info.filename.startswith(prefix) and not info.is_dir():
                name = info.filename.removeprefix(prefix)
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                digests[name] = _copy(archive, info, path, source)
        write_digests(temporary / DIGEST_FILE, digests)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, source: Path) -> str:
    """Write one member and return its SHA-256. Raises DataError if it is longer than the zip's header says."""
    written, digest = 0, hashlib.sha256()
    with archive.open(info) as packed, open(path, "wb") as file:
        while block := packed.read(COPY_BYTES):
            written += len(block)
            if written > info.file_size:
                raise DataError(
                    f"{source}: member {ascii(info.filename)[:60]} is longer than the zip's header says; not unpacked"
                )
            file.write(block)
            digest.update(block)
    return digest.hexdigest()
