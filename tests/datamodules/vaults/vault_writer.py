"""Vaults written by the tests in the published form (Zarr v2 in OCDBT), with tensorstore alone."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import tensorstore as ts

from vgm2p.datamodules.vaults.vault import Vault

NOMINAL = 10**13


def smac_like(rows, agents=3, width=5, actions=4, discrete=True, seed=0):
    """Leaf -> (T, ...) with episodes of 4 to 20 rows; the last row ends one."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 21, rows // 4)
    ends = np.unique(np.append(np.cumsum(lengths)[np.cumsum(lengths) < rows] - 1, rows - 1))
    legal = rng.random((rows, agents, actions)) < 0.7
    legal[..., 0] = True
    arrays = {
        "observations": rng.integers(-16, 17, (rows, agents, width)).astype(np.float32) / 16,
        "rewards": np.repeat(rng.integers(0, 256, (rows, 1)).astype(np.float32) / 256, agents, 1),
        "terminals": np.zeros((rows, agents), np.float32),
        "truncations": np.zeros((rows, agents), np.float32),
    }
    arrays["terminals"][ends] = 1
    if discrete:
        scores = rng.random(legal.shape, np.float32)
        scores[~legal] = -1
        arrays["actions"] = scores.argmax(-1).astype(np.int32)
        arrays["infos.legals"] = legal.astype(np.float32)
    else:
        arrays["actions"] = rng.uniform(-1, 1, (rows, agents, 2)).astype(np.float32)
    return arrays


def write_vault(folder: Path, arrays, index=None) -> Path:
    """Write leaves as one uid of a vault; return its folder. `index`: the number of rows that the vault claims."""
    folder.mkdir(parents=True)
    rows = len(arrays["rewards"])
    for name, array in {**arrays, "vault_index": None}.items():
        if array is None:
            shape, chunks, dtype, path = [1], [1], "<i4", "vault_index/"
        else:
            per_row = int(np.prod(array.shape[1:]))
            shape = [1, NOMINAL, *array.shape[1:]]
            chunks = [1, max(1, (1 << 20) // per_row), *array.shape[1:]]
            dtype, path = array.dtype.str, f"{name}./"
        kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}, "path": path}
        metadata = {
            "shape": shape,
            "chunks": chunks,
            "dtype": dtype,
            "compressor": {"id": "gzip", "level": 5}
            if array is not None
            else {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        }
        store = ts.open({"driver": "zarr", "kvstore": kvstore, "metadata": metadata}, create=True).result()
        if array is None:
            store[0].write(np.int32(rows if index is None else index)).result()
            continue
        step = chunks[1] * 4
        for start in range(0, rows, step):
            store[0, start : min(start + step, rows)].write(array[start : start + step]).result()
    structure = {"structure_shape": {}, "structure_dtype": {}}
    for name, array in arrays.items():
        for kind, text in (("structure_shape", str((1, *array.shape))), ("structure_dtype", array.dtype.name)):
            node = structure[kind]
            *parents, last = name.split(".")
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = text
    (folder / "metadata.json").write_text(json.dumps({"version": 1.2, **structure}))
    return folder


def copy_plainly(folder: Path, target: Path):
    """Copy every leaf to HDF5 as one would by hand: a chunk at a time, one after another."""
    vault = Vault(folder)
    with h5py.File(target, "w", libver="latest") as file:
        for name, leaf in vault.leaves.items():
            store = vault._opened(name)
            step = store.chunk_layout.read_chunk.shape[1]
            dataset = file.create_dataset(
                name, (vault.rows, *leaf.shape), leaf.dtype, chunks=(min(step, vault.rows), *leaf.shape)
            )
            for start in range(0, vault.rows, step):
                stop = min(start + step, vault.rows)
                dataset[start:stop] = store[0, start:stop].read().result()


def even_arrays(lengths=(12,) * 5, agents=3, width=5, actions=None, seed=0):
    """Leaf -> (T, ...) with episodes of the given lengths. `actions`: number of discrete actions; None: continuous ones."""
    rng = np.random.default_rng(seed)
    rows, ends = sum(lengths), np.cumsum(lengths) - 1
    arrays = {
        "observations": rng.normal(size=(rows, agents, width)).astype(np.float32),
        "rewards": np.repeat(rng.normal(size=(rows, 1)).astype(np.float32), agents, 1),
        "terminals": np.zeros((rows, agents), np.float32),
        "truncations": np.zeros((rows, agents), np.float32),
    }
    arrays["terminals"][ends] = 1
    if actions is None:
        return {**arrays, "actions": rng.uniform(-1, 1, (rows, agents, 2)).astype(np.float32)}
    legal = rng.random((rows, agents, actions)) < 0.7
    legal[..., 0] = True
    scores = np.where(legal, rng.random(legal.shape), -1)
    return {**arrays, "actions": scores.argmax(-1).astype(np.int32), "infos.legals": legal.astype(np.float32)}
