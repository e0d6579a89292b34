"""Cut three episodes out of each recording for the tests, in the format of the recordings.

`python tools/cut_recordings.py <folder of recordings> <target folder>`
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np

PER_STEP = ("observations", "actions", "rewards", "terminations", "truncations", "episode_ids")
COUNT = 3


def cut(source: Path, target: Path) -> None:
    """Copy three episodes of different lengths: the shortest, and those after one and two eighths of the lengths."""
    with h5py.File(source) as old, h5py.File(target, "w", libver="latest") as new:
        offsets, lengths = old["episode_offsets"][...], old["episode_lengths"][...]
        chosen = np.sort(np.argsort(lengths, kind="stable")[:: max(1, len(lengths) // 8)][:COUNT])
        rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in chosen])
        for name, dataset in old.items():
            values = dataset[...]
            if name in PER_STEP:
                values = values[rows]
            elif name != "episode_offsets":
                values = values[chosen]
            if name == "episode_ids":
                values = np.repeat(np.arange(len(chosen)), lengths[chosen]).astype(values.dtype)
            if name == "episode_offsets":
                values = np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(values.dtype)
            new.create_dataset(
                name, data=values, compression="gzip", compression_opts=9, shuffle=True, track_times=False
            )
        for key, value in old.attrs.items():
            new.attrs[key] = value


def main(source: Path, target: Path) -> None:
    """Cut every recording in the folder `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.hdf5")):
        cut(path, target / path.name)
        print(path.name, (target / path.name).stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
