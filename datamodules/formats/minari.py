"""Reader for Minari's HDF5 storage: a group `episode_<number>` for each episode, and `metadata.json` beside the file.

A group holds `observations` (L + 1, D), `actions` (L, K), `rewards`, `terminations` and `truncations` (L,) of an
episode of L steps [Minari, minari/dataset/_storages/hdf5_storage.py]. The metadata name the environment, its step
limit, and the bounds of its actions.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.formats.found import REPAIR, Found, about_scale, ends_of, flat, limit_of, require_form
from vgm2p.datamodules.layout.opening import RESTORE, opened
from vgm2p.datamodules.layout.pieces import judged, require_plausible
from vgm2p.datamodules.layout.reading import require_memory
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.numbers import Judge
from vgm2p.errors import DataError
from vgm2p.io.files import read_small

DATA, METADATA = "main_data.hdf5", "metadata.json"
FLAGS = ("terminations", "truncations")
LARGEST = 1 << 22  # bytes of the metadata

Episode = dict[str, NDArray[Any]]


def minari_file(folder: Path) -> Path | None:
    """Return the data file of a folder that holds a Minari dataset, or None. Raises DataError if it is no HDF5 file."""
    for place in (folder / "data", folder):
        if (place / DATA).is_file():
            return place / DATA
        if (place / METADATA).is_file() and (kind := _metadata(place / METADATA).get("data_format")):
            raise DataError(f"{place}: Minari data in the format {str(kind)[:20]}; write them with data_format='hdf5'")
    return None


def read_minari(path: Path, declared: Declared) -> Found:
    """Return the steps of a file.

    Our environments map actions in [-1, 1] to the bounds of the robot. So actions are mapped the other way here, by the
    bounds in the metadata, unless `action_scale` is declared.

    Raises:
        DataError: if groups are missing or damaged, if an episode goes on behind an end flag, or if observations or
            actions are no vectors of numbers. The line names the episode, and the row in it.
        MissingInput: if the file does not exist or may not be read.
        OutOfMemory: if the arrays do not fit into memory.
    """
    episodes = _episodes(path)
    beside = path.with_name(METADATA)
    metadata = _metadata(beside) if beside.is_file() else {}
    task = _decoded(beside, metadata.get("env_spec"))
    length = np.array([len(each["rewards"]) for each in episodes])
    stored = task.get("max_episode_steps")
    limit, notices = limit_of(path, length, declared.episode_limit, stored if isinstance(stored, int) else None)
    flags = [np.array([each[name][-1] for each in episodes]) for name in FLAGS]
    end = ends_of(flags[0], length, flags[1], limit)
    joined = {
        name: np.concatenate([each[name] for each in episodes]) for name in ("observations", "actions", "rewards")
    }
    if (bounds := _bounds(beside, metadata, joined["actions"].shape[1])) is None:
        notices += about_scale(joined["actions"], declared)
    elif declared.action_scale is None:
        joined["actions"] = _scaled(joined["actions"], *bounds, notices)
    final = np.cumsum(length + 1) - 1  # the rows of `observations` behind the last steps
    inside = np.ones(len(joined["observations"]), bool)
    inside[final] = False
    return Found(
        observations=joined["observations"][inside],
        actions=joined["actions"],
        rewards=joined["rewards"],
        length=length,
        end=end,
        finals=joined["observations"][final],
        limit=limit,
        rows=np.arange(int(length.sum())),
        attributes=_attributes(metadata, task),
        notices=notices,
    )


def _episodes(path: Path) -> list[Episode]:
    """Return the arrays of all episodes, in the order of their numbers. Raises as `read_minari`."""
    with opened(path) as file:
        numbers = sorted(int(name[8:]) for name in file if re.fullmatch(r"episode_\d+", name))
        if numbers != list(range(len(numbers))) or not numbers:
            raise DataError(f"{path}: the episodes are not numbered from 0 to {len(numbers) - 1}; {RESTORE}")
        found = [_outline(path, file, number) for number in numbers]
        everything = {f"{number}/{name}": array for number, each in enumerate(found) for name, array in each.items()}
        require_plausible(path, list(everything.values()))
        require_memory(path, everything)
        return [_episode(path, number, each) for number, each in enumerate(found)]


def _outline(path: Path, file: h5py.File, number: int) -> dict[str, h5py.Dataset]:
    """Return the arrays of one episode. Their forms are checked, and nothing is read."""
    names = ("observations", "actions", "rewards", *FLAGS)
    group = f"episode_{number}"
    if not isinstance(file.get(group, getlink=True), h5py.HardLink) or not isinstance(file[group], h5py.Group):
        raise DataError(f"{path}: '{group}' is no group of arrays; {RESTORE}")
    if missing := [name for name in names if name not in set(file[group])]:  # names only: a link is not followed
        raise DataError(f"{path}: '{group}/{missing[0]}' is missing; {RESTORE}")
    found = {name: judged(path, file, [f"{group}/{name}"])[f"{group}/{name}"] for name in names}
    steps = len(found["rewards"]) if found["rewards"].shape else 0
    require_form(path, f"{group}/observations", found["observations"], "f", (steps + 1, None))
    require_form(path, f"{group}/actions", found["actions"], "f", (steps, None))
    for name in ("rewards", *FLAGS):
        require_form(path, f"{group}/{name}", found[name], "fbiu", (steps,))
    return found


def _episode(path: Path, number: int, found: dict[str, h5py.Dataset]) -> Episode:
    """Read and judge one episode. Raises DataError."""
    judge = Judge(str(path), -1, REPAIR)
    arrays: Episode = {}
    for name, dataset in found.items():
        rows, leaf = dataset[...], f"episode_{number}/{name}"
        places = np.arange(len(rows))
        arrays[name] = judge.binary(flat(rows), places, leaf) if name in FLAGS else judge.float32(rows, places, leaf)
    early = np.flatnonzero((arrays[FLAGS[0]] | arrays[FLAGS[1]])[:-1])
    if len(early):
        raise DataError(f"{path}: episode_{number} goes on behind its end flag in row {early[0]}; {REPAIR}")
    return arrays


def _metadata(path: Path) -> dict[str, Any]:
    return _decoded(path, read_small(path, LARGEST).decode(errors="replace"))


def _decoded(path: Path, text: Any) -> dict[str, Any]:
    """Return the JSON object in a text; empty if there is no text. Raises DataError if it is no object."""
    if text is None:
        return {}
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object where one must be; {RESTORE}, or move it away")
    return found


def _bounds(path: Path, metadata: dict[str, Any], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the bounds (K,) of the action space in the metadata; None if it names no finite ones. Raises DataError."""
    space = _decoded(path, metadata.get("action_space"))
    try:
        low, high = (np.asarray(space.get(name), np.float64) for name in ("low", "high"))
    except (TypeError, ValueError, OverflowError):
        return None
    fits = low.shape == high.shape == (width,) and bool((np.isfinite(low) & np.isfinite(high) & (low < high)).all())
    return (low, high) if fits else None


def _scaled(
    actions: NDArray[np.float32], low: NDArray[np.float64], high: NDArray[np.float64], notices: list[str]
) -> NDArray[np.float32]:
    """Return actions (n, K) mapped from their bounds (K,) to [-1, 1], as `envs.spaces.within` maps them back."""
    if (low == -1.0).all() and (high == 1.0).all():
        return actions
    notices.append(
        f"actions are mapped to [-1, 1] from the bounds in {METADATA}, {low.min():.4g} to {high.max():.4g} "
        "(action_scale=1 keeps them as stored)"
    )
    with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and the rules refuse it
        return ((actions - (high / 2 + low / 2)) / (high / 2 - low / 2)).astype(np.float32)


def _attributes(metadata: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a dataset: its name, its environment and the arguments of the environment."""
    found: dict[str, Any] = {}
    if isinstance(name := metadata.get("dataset_id"), str) and name:
        found["name"] = name
    if isinstance(version := metadata.get("minari_version"), str):
        found["minari_version"] = version
    if isinstance(env_id := task.get("id"), str) and env_id:
        found["env_id"] = env_id
        given = task.get("kwargs")
        kept = {key: value for key, value in given.items() if key != "render_mode"} if isinstance(given, dict) else {}
        found["env_kwargs"] = json.dumps(kept, sort_keys=True)
    return found
