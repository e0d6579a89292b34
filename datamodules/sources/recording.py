"""Robot recordings (format 1): read, judged as a whole, and brought into our layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.layout.attributes import parsed
from vgm2p.datamodules.layout.consistency import check_returns
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.foreign import not_ours
from vgm2p.datamodules.layout.numbers import SLACK, first_place
from vgm2p.datamodules.layout.opening import opened
from vgm2p.datamodules.layout.pieces import attributes_of as attributes_in
from vgm2p.datamodules.layout.pieces import judged, virtual_files
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns
from vgm2p.errors import DataError
from vgm2p.io.files import sha256_file

FORMAT = 1  # format_version of a recording
# array -> kinds of its type, and its shape: T steps, E episodes, E + 1 offsets, any width
FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "observations": ("f", ("T", "width")),
    "actions": ("f", ("T", "width")),
    "rewards": ("f", ("T",)),
    "terminations": ("bu", ("T",)),
    "truncations": ("bu", ("T",)),
    "final_observations": ("f", ("E", "width")),
    "episode_offsets": ("iu", ("E + 1",)),
    "episode_returns": ("f", ("E",)),
    "episode_seeds": ("iu", ("E",)),
    "episode_behaviours": ("iu", ("E",)),
}
KINDS = {"f": "floats", "iu": "whole numbers", "bu": "flags"}
FURTHER = {"episode_ids": ("iu", ("T",)), "episode_lengths": ("iu", ("E",))}  # compared if they are there
KEPT_ATTRIBUTES = ("robot", "agent_conf", "behaviours", "seed", "gymnasium_version", "mujoco_version")
COUNTS = ("n_agents", "actions_per_agent", "max_episode_steps")
TEXTS = ("name", "robot", "agent_conf", "env_id", "env_kwargs", "behaviours", "gymnasium_version", "mujoco_version")
MEND = "correct the recording"

Arrays = dict[str, NDArray[Any]]


def is_recording(path: Path) -> bool:
    """Return whether an HDF5 file calls itself a robot recording. Raises as `opened`."""
    with opened(path) as file:
        return "format_version" in file.attrs and "schema_version" not in file.attrs


def read_recording(source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and attributes of a recording.

    Raises:
        DataError: if it is damaged, is no recording of format 1, or contradicts itself. The line names `source`.
        MissingInput: if it does not exist or may not be read.
    """
    with opened(source) as file:
        attributes = _attributes(source, file)
        fields = {**FIELDS, **{name: rule for name, rule in FURTHER.items() if name in file}}
        absent = [name for name in fields if file.get(name, getlink=True) is None]
        if absent:
            raise _wrong(source, f"the array '{absent[0]}' is missing")
        found = judged(source, file, fields)
        _check_shapes(source, found, fields, attributes)
        arrays = {name: dataset[...] for name, dataset in found.items()}
    _check_episodes(source, arrays, attributes)
    _check_numbers(source, arrays)
    with np.errstate(over="raise"):
        return {name: _narrow(source, name, array) for name, array in arrays.items()}, attributes


def digest_of(source: Path) -> str:
    """Return the SHA-256 of a recording, and of the files of its virtual datasets. Raises as `opened`."""
    with opened(source) as file:
        places = set[Path]().union(*(virtual_files(source, file[name]) for name in FIELDS if _is_array(file, name)))
    parts = [sha256_file(place) for place in (source, *sorted(places))]
    return parts[0] if len(parts) == 1 else hashlib.sha256("+".join(parts).encode()).hexdigest()


def _is_array(file: h5py.File, name: str) -> bool:
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)


def columns_of(arrays: Arrays, attributes: dict[str, Any], source_hash: str) -> Columns:
    """Return a recording in our layout, with a row for the final observation of each episode."""
    offsets = arrays["episode_offsets"].astype(np.int64)
    fell = arrays["terminations"][offsets[1:] - 1].astype(bool)
    episodes = Episodes(np.diff(offsets), np.where(fell, TERMINAL, TIMEOUT), finals=True)
    agents, per_agent = attributes["n_agents"], attributes["actions_per_agent"]
    steps = {
        "robot_observation": episodes.spread(arrays["observations"], arrays["final_observations"]),
        "actions": episodes.spread(arrays["actions"].reshape(-1, agents, per_agent)),
        "rewards": episodes.spread(arrays["rewards"]),
    }
    known: dict[str, NDArray[Any]] = {
        "seed": arrays["episode_seeds"].astype(np.int64),
        "behaviour": arrays["episode_behaviours"].astype(np.int8),
    }
    return episodes.columns(steps, attributes_of(attributes, source_hash), known)


def attributes_of(attributes: dict[str, Any], source_hash: str) -> dict[str, Any]:
    """Return the attributes of our layout for the attributes of a recording."""
    return {
        "name": attributes["name"],
        "source": "recorded",
        "source_sha256": source_hash,
        "n_agents": attributes["n_agents"],
        "action_dim": attributes["actions_per_agent"],
        "discrete": 0,
        "episode_limit": attributes["max_episode_steps"],
        "env_id": attributes["env_id"],
        "env_kwargs": json.dumps(json.loads(attributes["env_kwargs"]), sort_keys=True),
        **{key: attributes[key] for key in KEPT_ATTRIBUTES},
    }


def _wrong(source: Path, what: str) -> DataError:
    return DataError(f"{source}: {what}; {MEND}")


def _attributes(source: Path, file: h5py.File) -> dict[str, Any]:
    """Return the attributes with Python's numbers. Raises DataError for one that is missing or has another type."""
    given = attributes_in(source, file)
    attributes = {key: value.item() if isinstance(value, np.number) else value for key, value in given.items()}
    if "format_version" not in attributes:
        raise not_ours(source, file) if "schema_version" not in attributes else _wrong(source, "already in our layout")
    if attributes["format_version"] != FORMAT:
        raise _wrong(source, f"format_version is {attributes['format_version']!r}, this program reads {FORMAT}")
    for key in (*TEXTS, *COUNTS, "seed"):
        if key not in attributes:
            raise _wrong(source, f"the attribute '{key}' is missing")
        value: Any = attributes[key]
        if not isinstance(value, str if key in TEXTS else int):
            wanted = "text" if key in TEXTS else "a whole number"
            raise _wrong(source, f"the attribute '{key}' is {type(value).__name__} {str(value)[:40]!r}, not {wanted}")
        if isinstance(value, int) and key in COUNTS and value < 1:
            raise _wrong(source, f"the attribute '{key}' is {value}, not a whole number from 1")
    for key in ("env_kwargs", "behaviours"):
        parsed(source, attributes, key)
    return attributes


def _check_shapes(
    source: Path,
    found: Mapping[str, h5py.Dataset],
    fields: Mapping[str, tuple[str, tuple[str, ...]]],
    attributes: Mapping[str, Any],
) -> None:
    """Check types and shapes of the arrays, before they are read."""
    for name, (kinds, axes) in fields.items():
        if found[name].dtype.kind not in kinds or len(found[name].shape) != len(axes):
            form = f"{found[name].dtype} of shape {found[name].shape}"
            raise _wrong(source, f"'{name}' is {form}, not {KINDS[kinds]} with axes {', '.join(axes)}")
    steps, episodes = found["rewards"].shape[0], found["episode_returns"].shape[0]
    if not steps or not episodes:
        raise _wrong(source, "it has no episode")
    sizes = {"T": steps, "E": episodes, "E + 1": episodes + 1}
    for name, (_, axes) in fields.items():
        rows = found[name].shape[0]
        if rows != sizes[axes[0]]:
            raise _wrong(
                source, f"'{name}' has {rows} rows, but {steps} steps and {episodes} episodes need {sizes[axes[0]]}"
            )
    width, final = found["observations"].shape[1], found["final_observations"].shape[1]
    if width != final or not width:
        raise _wrong(source, f"'observations' has width {width}, 'final_observations' {final}")
    agents, per_agent = attributes["n_agents"], attributes["actions_per_agent"]
    if found["actions"].shape[1] != agents * per_agent:
        raise _wrong(
            source, f"'actions' has width {found['actions'].shape[1]}, not {agents} agents x {per_agent} actions"
        )


def _check_episodes(source: Path, arrays: Arrays, attributes: Mapping[str, Any]) -> None:
    """Check offsets, flags, lengths, ids and returns against one another."""
    offsets, steps = arrays["episode_offsets"].astype(np.int64), len(arrays["rewards"])
    lengths = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != steps or (lengths < 1).any():
        raise _wrong(source, f"'episode_offsets' does not divide the {steps} steps into episodes of at least one step")
    for name in ("terminations", "truncations"):
        if arrays[name].max() > 1:
            raise _wrong(source, f"'{name}' is {arrays[name].max()} in {first_place(arrays[name] > 1)}")
    flagged = arrays["terminations"].astype(bool) | arrays["truncations"].astype(bool)
    wanted = np.zeros(steps, bool)
    wanted[offsets[1:] - 1] = True
    if (flagged != wanted).any():
        raise _wrong(source, f"the end flags contradict episode_offsets, first in {first_place(flagged != wanted)}")
    limit, longest = attributes["max_episode_steps"], int(lengths.argmax())
    if lengths[longest] > limit:
        raise _wrong(source, f"episode {longest} has {lengths[longest]} steps, max_episode_steps is {limit}")
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    for name, truth in (("episode_lengths", lengths), ("episode_ids", numbers)):
        if name in arrays and (arrays[name] != truth).any():
            raise _wrong(source, f"'{name}' contradicts episode_offsets, first in {first_place(arrays[name] != truth)}")
    behaviours, known = arrays["episode_behaviours"], len(json.loads(attributes["behaviours"]))
    if behaviours.min() < 0 or behaviours.max() >= (known or 128):
        raise _wrong(source, f"'episode_behaviours' reaches {behaviours.max()}, the attribute 'behaviours' has {known}")


def _check_numbers(source: Path, arrays: Arrays) -> None:
    """Check that numbers are finite, actions in [-1, 1] and returns the sums of the rewards."""
    for name in ("observations", "final_observations", "actions", "rewards"):
        finite = np.isfinite(arrays[name])
        if not finite.all():
            raise _wrong(source, f"'{name}' holds NaN or infinity, first in {first_place(~finite)}")
    beyond = np.abs(arrays["actions"]) > 1.0 + SLACK
    if beyond.any():
        largest = float(np.abs(arrays["actions"]).max())
        raise _wrong(source, f"actions reach {largest:.3f}, outside [-1, 1], first in {first_place(beyond)}")
    check_returns(source, arrays["rewards"], arrays["episode_offsets"][:-1].astype(np.int64), arrays["episode_returns"])


def _narrow(source: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return floating-point numbers as float32. Raises DataError if one is too large for that."""
    if array.dtype.kind != "f":
        return array
    try:
        return array.astype(np.float32)
    except FloatingPointError:
        raise _wrong(source, f"'{name}' holds numbers that float32 cannot hold") from None
