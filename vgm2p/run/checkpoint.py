"""Checkpoints that survive kill -9, full disks and flipped bits.

A checkpoint `update-000000500.ckpt` is first written to a temporary file in the same folder, then synced to disk and
renamed. Then it is read again and compared with its digest, which `update-000000500.ckpt.sha256` holds (in the format
of `sha256sum -c`). Older checkpoints are deleted only after that. Lightning's own atomic save is not used: it writes to
the system's temporary folder, and loses the previous file when the disk is full.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from vgm2p.errors import DataError, MissingInput, StorageError
from vgm2p.io.files import room, sha256_file, write_atomic, written_aside
from vgm2p.io.text import warn_once
from vgm2p.run.pickled import refuse_calls

FORMAT = 1  # of the entry `vgm2p` of a checkpoint
SHARED = 4  # how many tensors may share their memory, on average; with stride 0, one stored number stands for many
MOST_VALUES, DEEPEST = 1_000_000, 100  # values of the plain containers in a checkpoint, and how deep they are nested
NAME = re.compile(r"update-(\d{9})\.ckpt$")


def checkpoint_name(update: int) -> str:
    """Return the file name of the checkpoint after `update` updates."""
    return f"update-{update:09d}.ckpt"


def update_of(path: Path) -> int:
    """Return the number of updates from the name of a checkpoint. Raises DataError for another file name."""
    match = NAME.search(path.name)
    if match is None:
        raise DataError(f"{path}: not named update-<9 digits>.ckpt, so not a checkpoint of this program")
    return int(match.group(1))


class DurableCheckpointIO(CheckpointIO):
    """Writes, reads and deletes checkpoint files for Lightning. If a save fails, the old file stays."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path` and its digest beside it. Raises StorageError if that fails."""
        target = Path(path)
        try:
            with written_aside(target) as temporary:
                torch.save(checkpoint, temporary)
                digest = sha256_file(temporary)
        except RuntimeError as error:  # torch.save reports a full disk as a RuntimeError of its zip writer
            raise StorageError(
                f"{target}: could not be written ({room(target, _size(checkpoint))}); the previous checkpoint is intact"
            ) from error
        if sha256_file(target) != digest:
            raise StorageError(f"{target}: the content differs from what was written; check the disk")
        write_digest(target, digest)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Verify and read a checkpoint (`read_checkpoint`)."""
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint and its digest."""
        for file in (Path(path), digest_path(Path(path))):
            file.unlink(missing_ok=True)


def _size(content: Any) -> int:
    """Return the memory of the tensors in a nested structure, in bytes, as if each had its own memory."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return sum(_size(part) for part in parts)


def digest_path(path: Path) -> Path:
    """Return the file that holds a checkpoint's digest."""
    return path.with_name(path.name + ".sha256")


def write_digest(path: Path, digest: str) -> None:
    """Write the SHA-256 of a checkpoint beside it."""
    write_atomic(digest_path(path), f"{digest}  {path.name}\n")


def digest_disagrees(path: Path) -> bool:
    """Return whether a checkpoint has a digest that is not its own."""
    recorded = digest_path(path)
    if not recorded.is_file():
        return False
    words = recorded.read_text(errors="replace").split()
    return not words or words[0] != sha256_file(path)


def verify(path: Path) -> None:
    """Compare a checkpoint with its digest. Without a digest, or if they differ, check the checksums inside the file.

    So a damaged digest does not discard a good checkpoint. A line then says which of both is damaged.

    Raises:
        MissingInput: if the file does not exist.
        DataError: if it is damaged.
    """
    if not path.is_file():
        raise MissingInput(f"{path}: no such checkpoint; give a run folder or a file named update-<9 digits>.ckpt")
    try:
        with zipfile.ZipFile(path) as archive:
            swollen = _swollen(archive, path.stat().st_size)
            if not swollen and digest_path(path).is_file() and not digest_disagrees(path):
                return
            broken = None if swollen else archive.testzip()
    except Exception as error:  # for other kinds of files, zipfile raises many types of errors
        raise DataError(f"{path}: damaged, cut off or not a checkpoint; use another checkpoint of the run") from error
    if swollen:
        raise DataError(f"{path}: its parts are larger or smaller than the file; use a checkpoint that you trust")
    if broken:
        raise DataError(f"{path}: damaged at '{broken}'; use another checkpoint of the run")
    if digest_path(path).is_file():
        warn_once(f"{digest_path(path)} is damaged: the checkpoint's own checksums are right, and it is used")


def _swollen(archive: zipfile.ZipFile, size: int) -> bool:
    """Return whether an archive would take more memory than its `size` in bytes, or is mostly empty space.

    torch writes all parts uncompressed, at multiples of 64 bytes.
    """
    parts = archive.infolist()
    total = sum(part.file_size for part in parts)
    packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
    return packed or not total <= size <= total + 4096 * (len(parts) + 1)


def too_many(content: Any) -> bool:
    """Return whether plain containers hold too many values, or too long texts. (A list can contain itself.)"""
    left, count = [(content, 0)], 0
    while left and count <= MOST_VALUES:
        node, depth = left.pop()
        inner = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
        if depth > DEEPEST:
            return True
        count += len(node) // 16 if isinstance(node, str) else len(inner)
        left += [(each, depth + 1) for each in inner]
    return count > MOST_VALUES


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify a checkpoint and return its content: tensors and plain containers. No code in the file is executed.

    Raises:
        MissingInput: if the file does not exist.
        DataError: if it is damaged, or is not a checkpoint of this program.
    """
    verify(path)
    try:
        refuse_calls(path)
        content = torch.load(path, map_location=map_location, weights_only=True)
    except DataError:
        raise
    except Exception as error:  # for other kinds of files, torch raises many types of errors
        raise DataError(f"{path}: cannot be read as a checkpoint ({type(error).__name__}); use another one") from error
    if not isinstance(content, dict) or not isinstance(content.get("vgm2p"), dict):
        raise DataError(f"{path}: a checkpoint of another program; give one that `vgm2p fit` wrote")
    if any(map(too_many, content.values())):
        raise DataError(f"{path}: holds too many values for a checkpoint; use a checkpoint that you trust")
    if _size(content) > SHARED * path.stat().st_size:
        raise DataError(f"{path}: its tensors are far larger than the file; use a checkpoint that you trust")
    written = content["vgm2p"].get("format", FORMAT)
    if written != FORMAT:
        raise DataError(f"{path}: has format {written}, this version reads {FORMAT}; use the version that wrote it")
    return content


def newest_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint in `folder` that is not damaged, and a line for each newer one that is."""
    notices: list[str] = []
    for path in sorted(folder.glob("update-*.ckpt"), reverse=True):
        try:
            verify(path)
        except DataError as error:
            notices.append(error.line)
            continue
        return path, notices
    return None, notices


def put_aside(folder: Path, intact: Path | None) -> list[str]:
    """Rename checkpoints that are newer than `intact` to `*.aside`, because the run will write these names again.

    Returns their names.
    """
    newer = [path for path in sorted(folder.glob("update-*.ckpt")) if intact is None or path.name > intact.name]
    for path in newer:
        for file in filter(Path.is_file, (path, digest_path(path))):
            file.replace(file.with_name(file.name + ".aside"))
    return [path.name for path in newer]


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints except the newest `keep`. Call it only after the newest one was verified."""
    io = DurableCheckpointIO()
    for path in sorted(folder.glob("update-*.ckpt"))[:-keep]:
        io.remove_checkpoint(path)
