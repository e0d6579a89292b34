"""Runs on dataset files that are damaged, break a rule, or belong to another task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.cli.answers import TINY
from tests.support import small_columns
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import store, write
from vgm2p.datamodules.sources.recorded import Bundled


def dataset(change: Callable[[Path], None], *words: str) -> Callable[[Path], list[str]]:
    """A run on a damaged copy of the bundled data."""

    def prepare(scratch: Path) -> list[str]:
        path = scratch / "set.h5"
        change(path)
        source = ["data.source._target_=vgm2p.datamodules.sources.recorded.Files", f"+data.source.paths=[{path}]"]
        return ["fit", *TINY, f"out={scratch / 'run'}", *source, *words]

    return prepare


def truncated(share: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = Bundled().resolve()[0].read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return change


def flipped(path: Path) -> None:
    data = bytearray(Bundled().resolve()[0].read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edited(edit: Callable[[Columns], None]) -> Callable[[Path], None]:
    """A well-formed file with correct hashes whose content breaks a rule."""

    def change(path: Path) -> None:
        columns = small_columns()
        edit(columns)
        store(path, columns)

    return change


def set_step(name: str, index, value) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns.steps[name][index] = value

    return edit


def drop(name: str) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        del columns.steps[name]

    return edit


def retype(name: str, dtype) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns.steps[name] = columns.steps[name].astype(dtype)

    return edit


def shorten(columns: Columns) -> None:
    columns.steps["rewards"] = columns.steps["rewards"][:-1]


def break_episodes(columns: Columns) -> None:
    columns.episodes["start"][1] += 1


def wrong_agents(columns: Columns) -> None:
    columns.attributes["n_agents"] = 3


def newer(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 99


def incomplete(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        del file.attrs["complete"]


def changed_attribute(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        file.attrs["episode_limit"] = 11


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def shortened_view(path: Path) -> None:
    """Correct content, other task than the environment's."""
    columns = read(Bundled().resolve()[0], verify="never")
    columns.attributes = {**columns.attributes, "env_id": "HalfCheetah-v4"}
    columns.attributes.pop("attributes_sha256")
    columns.attributes.pop("complete")
    write(path, columns)
