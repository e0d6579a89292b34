"""Sources of datasets: recordings of single robots, files in our layout, and the bundled datasets."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import vgm2p
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns, content_hash
from vgm2p.datamodules.layout.writing import write
from vgm2p.errors import DataError, MissingInput
from vgm2p.io.files import sha256_file
from vgm2p.run.lock import one_at_a_time

FORMAT = 1  # format_version of a recording
FIELDS = (
    "observations",
    "actions",
    "rewards",
    "terminations",
    "truncations",
    "final_observations",
    "episode_offsets",
    "episode_returns",
    "episode_seeds",
    "episode_behaviours",
)
KEPT_ATTRIBUTES = ("robot", "agent_conf", "behaviours", "seed", "gymnasium_version", "mujoco_version")


class Recorded:
    """Recordings `<name>.hdf5` of a robot, concatenated in the given order. Each is converted to our layout once.

    Args:
        root: folder of the recordings. Its subfolders are searched, too.
        names: names of the recordings, without `.hdf5`.
        cache: folder of converted files.
    """

    discrete = False

    def __init__(self, root: str, names: list[str], cache: str) -> None:
        self.root, self.names, self.cache = Path(root), names, Path(cache)

    def resolve(self) -> list[Path]:
        """Return the converted files.

        Raises:
            MissingInput: if a recording is not below `root`. The line says where to place it.
            DataError: if a recording is damaged.
        """
        return [self._converted(name) for name in self.names]

    def _converted(self, name: str) -> Path:
        source = self._find(name)
        self.cache.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.cache / f".{name}.lock", name, print):
            target = self.cache / f"{name}-{sha256_file(source)[:8]}.h5"
            if not target.is_file():
                convert(source, target)
        return target

    def _find(self, name: str) -> Path:
        found = sorted(self.root.rglob(f"{name}.hdf5")) if self.root.is_dir() else []
        if not found:
            raise MissingInput(
                f"recording {name}.hdf5 is not below data.root={self.root}; place it there, or set data.root="
            )
        return found[0]


class Files:
    """HDF5 files in our layout.

    Args:
        paths: paths and globs.
        command: command that records the file, for the error message about a missing file.
        discrete: whether actions are indices, where that is known before the file exists.
    """

    def __init__(self, paths: list[str], command: str | None = None, discrete: bool | None = None) -> None:
        self.paths, self.command, self.discrete = paths, command, discrete

    def resolve(self) -> list[Path]:
        """Return the files. The matches of a glob are sorted. Raises MissingInput if a path or glob matches no file."""
        found: list[Path] = []
        for pattern in self.paths:
            literal = Path(
                pattern
            ).exists()  # the name of a file may contain brackets, which mean something else in a glob
            matches = [pattern] if literal else sorted(glob.glob(pattern, recursive=True))
            if not matches:
                remedy = f"run `{self.command}`" if self.command else "give an HDF5 file in our layout, or a glob"
                raise MissingInput(f"{pattern}: no such dataset file; {remedy}")
            found += [Path(match) for match in matches]
        return found


class Bundled:
    """A dataset that ships with the package.

    Args:
        name: name of its file in `vgm2p/data`, without `.h5`.
        discrete: whether actions are indices.
    """

    def __init__(self, name: str = "6halfcheetah_quickstart", discrete: bool = False) -> None:
        self.name, self.discrete = name, discrete

    def resolve(self) -> list[Path]:
        """Return the path of its file. Raises MissingInput if there is none."""
        path = Path(vgm2p.__file__).resolve().parent / "data" / f"{self.name}.h5"
        if not path.is_file():
            raise MissingInput(
                f"data.source.name={self.name}: the package has no such dataset; see vgm2p/data/README.md"
            )
        return [path]


def convert(source: Path, target: Path) -> None:
    """Convert a recording, then read the file back and verify it. Raises DataError if one of the two is damaged."""
    arrays, attributes = read_recording(source)
    columns = columns_of(arrays, attributes, sha256_file(source))
    written = write(target, columns)
    if content_hash(read(target, verify="full")) != written:
        target.unlink()
        raise DataError(f"{target}: the file read back differs from the data written; check the disk")


def read_recording(source: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and attributes of a recording. Raises DataError if it is damaged or has another format."""
    try:
        with h5py.File(source, "r", locking=False) as file:
            attributes = {
                key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
            }
            missing = [name for name in FIELDS if name not in file]
            arrays = {} if missing else {name: file[name][...] for name in FIELDS}
    except Exception as error:  # h5py raises errors of many classes for damaged files
        cause = " ".join(str(error).split())
        raise DataError(f"{source}: cannot be read ({cause[:90]}); copy the recording again") from error
    if missing or attributes.get("format_version") != FORMAT:
        raise DataError(
            f"{source}: not a robot recording of format {FORMAT} ({(missing or ['format_version'])[0]} missing)"
        )
    _check_flags(source, arrays)
    return arrays, attributes


def _check_flags(source: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Raise DataError unless the last step of each episode, and no other step, carries an end flag."""
    flagged = np.flatnonzero(arrays["terminations"] | arrays["truncations"])
    if not np.array_equal(flagged, arrays["episode_offsets"][1:] - 1):
        raise DataError(f"{source}: the end flags contradict episode_offsets; copy the recording again")


def columns_of(arrays: dict[str, NDArray[Any]], attributes: dict[str, Any], source_hash: str) -> Columns:
    """Return a recording in our layout, with a row for the final observation of each episode."""
    offsets = arrays["episode_offsets"]
    fell = arrays["terminations"][offsets[1:] - 1]
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
