"""Columns read straight from the file are those that HDF5 reads."""

import os

import h5py
import numpy as np
import pytest

from vgm2p.datamodules.layout.chunks import Column, is_plain, workers


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"fletcher32": True},
        {"fletcher32": True, "compression": "gzip"},
        {"fletcher32": True, "shuffle": True},
        {},
        {"chunks": None},
        {"chunks": (7, 1, 5), "fletcher32": True},
        {"dtype": ">f4", "fletcher32": True},
    ],
)
def test_columns_are_read_whoever_made_them(options, check, tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float32)
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=data, **{"chunks": (7, 3, 5), **options})
        file.create_dataset("never written", (100, 3, 5), "<f4", chunks=(7, 3, 5), fletcher32=True)
    with h5py.File(tmp_path / "x.h5") as file, workers(2) as pool:
        for name, wanted in (("x", data), ("never written", np.zeros_like(data))):
            column = Column(file[name], check)
            found, tasks = column.load(pool)
            assert all(task.result() is None for task in tasks)
            assert np.array_equal(found, wanted) and found.dtype == np.dtype("<f4")
            for size in (1, 500, 10**6):
                assert np.array_equal(np.concatenate(list(column.slabs(size))), wanted)
        assert is_plain(file["x"]) == (options == {"fletcher32": True})


def test_a_flip_in_a_plain_chunk_is_found_where_checksums_are_compared(tmp_path):
    path = tmp_path / "x.h5"
    data = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float32)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=data, chunks=(30, 3, 5), fletcher32=True)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    at = whole.find(data[:30].tobytes())
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[at + int(rng.integers(30 * 60 + 4))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with h5py.File(path) as file, pytest.raises(OSError, match="filter returned failure"):
            Column(file["x"], check=True).read(0, np.empty((30, 3, 5), np.float32))


def test_a_file_cut_off_in_a_chunk_is_refused_where_no_checksum_is_compared(tmp_path):
    path = tmp_path / "x.h5"
    data = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float32)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=data, chunks=(50, 3, 5), fletcher32=True)
    with h5py.File(path) as file:
        column, last = Column(file["x"], check=False), file["x"].id.get_chunk_info_by_coord((50, 0, 0)).byte_offset
        os.truncate(path, last + 100)
        with pytest.raises(OSError, match="shorter than its chunks"):
            column.read(50, np.empty((50, 3, 5), np.float32))
