"""An exported policy on disk: `export.json`, which describes it, and the files beside it.

Somebody else may have written the folder. Nothing in it is executed or unpickled: the description is JSON, the weights
are safetensors, and every file that is read has the SHA-256 that the description names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vgm2p.errors import DataError
from vgm2p.io.files import read_small, require_file, sha256_file
from vgm2p.io.text import name as shown
from vgm2p.run.belonging import PREFIX
from vgm2p.run.checkpoint import too_many

DOCUMENT, WEIGHTS = "export.json", "policy.safetensors"
KIND, FORMAT = "vgm2p policy", 1
LARGEST = 1 << 22  # bytes of export.json
FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)  # names of files: no folders
DIGEST = re.compile(r"[0-9a-f]{64}")


def is_export(folder: Path) -> bool:
    """Return whether a folder holds an exported policy."""
    return (folder / DOCUMENT).is_file()


def read_document(path: Path) -> dict[str, Any]:
    """Return the content of export.json. `files` in it maps plain names to `sha256` and `size`.

    Raises:
        MissingInput: if there is no such file.
        DataError: if it is no description of an exported policy, or is damaged.
    """
    require_file(path, f"no {DOCUMENT} here; give a folder that `vgm2p export` wrote")
    try:
        content = json.loads(read_small(path, LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}); export or fetch the policy again") from None
    if not isinstance(content, dict) or content.get("kind") != KIND or too_many(content):
        raise DataError(f"{path}: no description of an exported policy; give a folder that `vgm2p export` wrote")
    if content.get("format") != FORMAT:
        wrong = shown(content.get("format"))
        raise DataError(f"{path}: has format {wrong}, this version reads {FORMAT}; use the version that wrote it")
    files = content.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise DataError(f"{path}: names no {WEIGHTS}; export or fetch the policy again")
    for file, facts in files.items():
        if not _is_fine(file, facts):
            raise DataError(f"{path}: names the file '{shown(file)}' in a wrong way; use an export that you trust")
    return content


def _is_fine(file: str, facts: Any) -> bool:
    """Return whether an entry of `files` has a plain name, a digest and a size."""
    if not FILE.fullmatch(file) or not isinstance(facts, dict):
        return False
    digest, size = facts.get("sha256"), facts.get("size")
    return isinstance(digest, str) and bool(DIGEST.fullmatch(digest)) and type(size) is int and size >= 0


def verify_file(folder: Path, file: str, document: Mapping[str, Any]) -> Path:
    """Return the path of a file of an export after comparing size and SHA-256.

    Raises:
        MissingInput: if the file does not exist.
        DataError: if it is not as it was when the policy was exported.
    """
    path, facts = folder / file, document["files"][file]
    require_file(path, "missing; export or fetch the policy again")
    if path.stat().st_size != facts["size"] or sha256_file(path) != facts["sha256"]:
        raise DataError(f"{path}: not as it was exported (SHA-256 differs); export or fetch the policy again")
    return path


def read_export(path: Path, device: str) -> dict[str, Any]:
    """Return what `run.checkpoint.read_checkpoint` returns, from the export.json and the weights beside it.

    Raises:
        MissingInput: if a file is missing.
        DataError: if a file is damaged or was changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    document = read_document(path)
    ours, weights = document.get("vgm2p"), verify_file(path.parent, WEIGHTS, document)
    if not isinstance(ours, dict):
        raise DataError(f"{path}: has no settings; export or fetch the policy again")
    try:
        state: dict[str, torch.Tensor] = load_file(weights, device)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{weights}: no safetensors ({type(error).__name__}); export or fetch it again") from None
    return {"vgm2p": ours, "state_dict": {f"{PREFIX}{name}": tensor for name, tensor in state.items()}}
