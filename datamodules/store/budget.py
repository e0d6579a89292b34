"""The choice between memory and disk: compares the memory that a dataset needs with `data.max_resident`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from vgm2p.datamodules.layout.reading import outline
from vgm2p.datamodules.layout.task import spec_of, stored_as
from vgm2p.datamodules.store.flat import UNUSED, WIDE
from vgm2p.datamodules.store.resident import VIEWS_BYTES
from vgm2p.datamodules.store.rows import Views
from vgm2p.errors import ConfigError
from vgm2p.io.limits import free_memory

SHARE = 0.5  # share of the free memory for the dataset; networks, evaluation and other processes need the rest
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True)
class Plan:
    """Whether the dataset is held in memory (`resident`), and a line for the user that says why."""

    resident: bool
    line: str


def choose(paths: list[Path], view: str, max_resident: int | str, device: torch.device) -> Plan:
    """Choose between memory and disk.

    Raises:
        ConfigError: if `max_resident` is not a size, or a file has no such view.
        MissingInput, DataError: as `reading.read`.
    """
    need = sum(footprint(path, view) for path in paths)
    limit, why = allowed(max_resident, device)
    if need <= limit:
        return Plan(True, f"{human(need)} resident, of {human(limit)} at most ({why})")
    return Plan(False, f"mapped from disk, batches prepared ahead: {human(need)} exceed {human(limit)} ({why})")


def human(size: float) -> str:
    """Return a number of bytes as text, in GB or MB."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def allowed(max_resident: int | str, device: torch.device) -> tuple[float, str]:
    """Return the number of bytes that a dataset may take, and the origin of this number."""
    if max_resident != "auto":
        return parse(max_resident), "data.max_resident"
    free, where = free_memory(), "free memory"
    if device.type == "cuda":  # the columns are read into host memory and then copied to the device
        on_device = torch.cuda.mem_get_info(device)[0]
        free, where = min((free, where), (on_device, "the device's free memory"))
    return SHARE * free, f"half of {where}"


def parse(size: int | str) -> int:
    """Return a size such as `4GiB`, `500 MB`, `1e9` or 1000 in bytes. Raises ConfigError if it is not a size."""
    found = re.fullmatch(r"\s*(\d+\.?\d*(?:e\d+)?)\s*([kmgt]?i?)b?\s*", str(size).lower())
    if found is None or found[2] not in UNITS:
        raise ConfigError(f"data.max_resident must be auto, bytes, or a size such as 4GiB or 500MB, got '{size}'")
    return int(float(found[1]) * UNITS[found[2]])


def footprint(path: Path, view: str) -> int:
    """Return the bytes that a resident file takes: its columns, and what is computed from them at loading."""
    columns = outline(path, (*WIDE, *UNUSED))
    spec, steps = spec_of(columns, view), columns.steps
    read = sum(array.dtype.itemsize * array.size for array in steps.values())
    rows, views = len(steps["t"]), spec.n_agents * spec.obs_dim * 4
    found = Views(spec, stored_as(columns))
    if found.stored == "omiga":
        read += rows * (spec.state_dim or 0) * 4
    if found.built and rows * views <= VIEWS_BYTES:
        read += rows * views
    return read + rows * 28  # per row: two row numbers (int64), reward, bootstrap and valid (float32)
