"""Fetches an exported policy from the Hugging Face hub, pinned to a commit.

Two files are fetched: export.json and the weights. Their names are ours, never those that a file names. The hub's
client keeps them in its cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vgm2p.errors import ConfigError, DataError, MissingInput, ServiceError
from vgm2p.io.files import require_space
from vgm2p.io.hub import answered, forget, offline
from vgm2p.run.exported import DOCUMENT, LARGEST, WEIGHTS, read_document, verify_file

SCHEME = "hub:"
REFERENCE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)  # repository, and revision if there is one
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """A policy on the hub: repository, and commit, tag or branch."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}@{self.revision}"

    @property
    def folder(self) -> Path:
        """The folder in which commands write about this policy."""
        return Path("runs") / "hub" / f"{self.repository.replace('/', '--')}-{self.revision[:12]}"


def reference_of(text: str) -> Reference:
    """Return the reference in a text `hub:<owner>/<name>[@<revision>]`. Raises ConfigError for another text."""
    found = REFERENCE.fullmatch(text.removeprefix(SCHEME))
    if found is None or ".." in text:
        raise ConfigError(f"hub takes <owner>/<name>, or <owner>/<name>@<commit, tag or branch>, got '{text}'")
    return Reference(found[1], found[2] or "main")


def fetch_policy(asked: Reference, say: Callable[[str], None]) -> tuple[Path, Reference]:
    """Return the export.json of a policy in the hub's cache, with its weights beside it, and the commit.

    A copy in the cache is used if the hub cannot be reached, or need not be asked.

    Raises:
        ServiceError: if the hub cannot be reached or refuses, and there is no copy.
        MissingInput: if the hub does not have the file or the revision.
        DataError: if a file is too large, damaged, or not as it was exported.
    """
    path = _cached(asked, DOCUMENT) if COMMIT.fullmatch(asked.revision) else None
    try:
        path = path or _download(asked, DOCUMENT)
    except (ServiceError, MissingInput) as error:
        path = _cached(asked, DOCUMENT)
        if path is None or (isinstance(error, MissingInput) and not offline()):
            raise
        say(f"{asked.repository}: the hub is not asked or does not answer; the copy in the cache is used")
    commit = path.parent.name  # the cache has a folder per commit
    if not COMMIT.fullmatch(commit):
        raise DataError(f"{asked}: the hub's client gives no commit; give one: {asked.repository}@<commit>")
    pinned, document = Reference(asked.repository, commit), read_document(path)
    for again in (False, True):
        weights = (None if again else _cached(pinned, WEIGHTS)) or _download(
            pinned, WEIGHTS, document["files"][WEIGHTS]["size"]
        )
        try:
            verify_file(path.parent, WEIGHTS, document)
            break
        except DataError:
            forget(weights)
            if again:
                raise DataError(
                    f"{pinned}: {WEIGHTS} is not the file that {DOCUMENT} names (SHA-256); ask its owner"
                ) from None
    say(f"policy of the hub: {pinned}")
    return path, pinned


def _cached(asked: Reference, name: str) -> Path | None:
    """Return a file in the hub's cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(asked.repository, name, revision=asked.revision)
    return Path(found) if isinstance(found, str) else None


def _download(asked: Reference, name: str, size: int | None = None) -> Path:
    """Download a file. Before that, compare what the hub says about its size with `size`; None: at most `LARGEST`."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.constants import HF_HUB_CACHE

    def unreachable(why: str) -> str:
        return f"{asked}: {why}; look at the connection, or name a folder that `vgm2p export` wrote"

    if offline():
        raise MissingInput(unreachable("HF_HUB_OFFLINE is set, and the cache has no copy"))

    def transfer() -> Path:
        facts = get_hf_file_metadata(hf_hub_url(asked.repository, name, revision=asked.revision))
        found = facts.size or 0
        if found > LARGEST if size is None else found != size:
            expected = f"at most {LARGEST} are" if size is None else f"{size} are"
            raise DataError(
                f"{asked}: {name} has {found} bytes where {expected} expected; use a repository that you trust"
            )
        cache = Path(HF_HUB_CACHE)
        require_space(next(each for each in (cache, *cache.parents) if each.exists()), found, "set HF_HOME")
        return Path(str(hf_hub_download(asked.repository, name, revision=asked.revision)))

    absent = f"{asked}: the hub has no {name} there; give a repository that `vgm2p export hub=...` made"
    return answered(transfer, asked.repository, unreachable, absent)
