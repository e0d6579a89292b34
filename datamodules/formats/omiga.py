"""Reader for the MA-MuJoCo files that the authors of OMIGA publish: a table of rows of N agents.

`o` and `s` (T, N, O) are observations and states, `a` (T, N, A) actions, `r` (T, 1) rewards, `d` (T, 1) end flags. A
row with an end flag holds the reset of the next episode, zero actions and a zero reward: it is no step [OMIGA,
datasets/offline_dataset.py]. The time limit sets the same flag as a true end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgm2p.datamodules.formats.found import REPAIR, Found, flat, require_form
from vgm2p.datamodules.layout.opening import opened
from vgm2p.datamodules.layout.pieces import judged
from vgm2p.datamodules.layout.reading import require_memory
from vgm2p.datamodules.vaults.boundaries import Flags, find_boundaries
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.leaves import RECOVERY, rebuilding_error
from vgm2p.datamodules.vaults.numbers import Judge
from vgm2p.errors import DataError

NAMES = ("o", "s", "a", "r", "d")


def read_omiga(path: Path, declared: Declared) -> Found:
    """Return the steps of a file. `declared.layout` says whether rows with an end flag are steps.

    Raises:
        DataError: if arrays are damaged or contradict one another or the declared layout. The line names the row.
        MissingInput: if the file does not exist or may not be read.
        OutOfMemory: if the arrays do not fit into memory.
    """
    arrays = _arrays(path)
    seen, state, acted, reward = (arrays[name] for name in ("o", "s", "a", "r"))
    steps, agents = seen.shape[:2]
    idle = (acted == 0).reshape(steps, -1).all(1) & (reward == 0)
    ended = arrays["d"].astype(bool)[:, None]
    found = find_boundaries(Flags(ended, np.zeros_like(ended), reward, None, idle), declared, str(path))
    kept = found.keep
    zscored = rebuilding_error(seen, agents) <= RECOVERY
    notices = [*found.notices, *([] if zscored else ["observations are taken as stored: they are no z-scored vectors"])]
    return Found(
        observations=seen[kept],
        actions=acted[kept],
        rewards=reward[kept],
        length=found.episodes.length,
        end=found.episodes.end,
        finals=None,
        limit=found.limit,
        rows=np.flatnonzero(kept),
        attributes={"layout": found.layout, "stored_view": "omiga" if zscored else "native"},
        notices=notices,
        steps={} if zscored else {"state": state[kept]},
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays: `r` and `d` with shape (T,), numbers as float32. Raises as `read_omiga`."""
    with opened(path) as file:
        if absent := [name for name in NAMES if name not in set(file)]:
            raise DataError(f"{path}: '{absent[0]}' is missing; a file of OMIGA holds {', '.join(NAMES)}")
        found = judged(path, file, NAMES)
        shape = found["o"].shape
        if len(shape) != 3:
            raise DataError(f"{path}: 'o' has shape {shape}, not (rows, agents, width); see docs/data.md")
        for name in NAMES:
            wide = name in ("o", "s", "a")
            one = len(found[name].shape) == 2
            form = (*shape[:2], None) if wide else (shape[0], 1)[: 1 + one]
            require_form(path, name, found[name], "f" if wide else "fbiu", form)
        require_memory(path, found)
        raw = {name: dataset[...] for name, dataset in found.items()}
    judge, numbers = Judge(str(path), shape[1], REPAIR), np.arange(shape[0])
    arrays: dict[str, NDArray[Any]] = {name: judge.float32(raw[name], numbers, name) for name in ("o", "s", "a")}
    arrays["r"] = judge.float32(flat(raw["r"]), numbers, "r")
    arrays["d"] = judge.binary(flat(raw["d"]), numbers, "d")
    return arrays
