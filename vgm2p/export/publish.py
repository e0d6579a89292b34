"""Pushes an exported policy to the Hugging Face hub, in one commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vgm2p.errors import ConfigError, ServiceError
from vgm2p.export.card import CARD
from vgm2p.io.hub import answered, offline
from vgm2p.run.exported import DOCUMENT, verify_file

GRAPH = re.compile(r"(policy|agent\d+)\.(onnx|pt2)")  # files of an earlier export that are deleted


def push(folder: Path, document: Mapping[str, Any], repository: str, private: bool, say: Callable[[str], None]) -> None:
    """Push the files of an export, and delete graphs of an earlier one.

    The token is that of the hub's client: HF_TOKEN, or that of `hf auth login`.

    Raises:
        ServiceError: if the hub cannot be reached or refuses.
        ConfigError: if the repository is public but `private` was asked for.
        DataError: if a file was changed after the export.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    def unreachable(why: str) -> str:
        return f"hub={repository}: {why}; set HF_TOKEN to a token that may write; {folder} is complete"

    if offline():
        raise ServiceError(f"hub={repository}: HF_HUB_OFFLINE is set; remove this variable; {folder} is complete")
    names = [DOCUMENT, CARD, *document["files"]]
    for name in document["files"]:
        verify_file(folder, name, document)
    api = HfApi()

    def transfer() -> str:
        api.create_repo(repository, private=private or None, exist_ok=True)
        found = api.model_info(repository)
        if private and found.private is False:
            raise ConfigError(f"hub={repository} exists and is public; change it on the hub, or remove private=true")
        present = [each.rfilename for each in found.siblings or []]
        old = [name for name in present if GRAPH.fullmatch(name) and name not in names]
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names),
            *(CommitOperationDelete(path_in_repo=name) for name in old),
        ]
        made = api.create_commit(repository, operations, commit_message="Policy exported by vgm2p")
        return str(made.oid)

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        commit = answered(transfer, repository, unreachable, unreachable("the hub does not have it"))
    finally:
        if shown:  # the bars of the user's own program
            enable_progress_bars()
    say(f"pushed to    {api.endpoint}/{repository}, commit {commit}")
