"""Columns read straight from the file are those that HDF5 reads."""

import h5py
import numpy as np
import pytest

from vgm2p.datamodules.layout.chunks import Column, fletcher32, is_plain, workers


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 4097, 100_001, (1 << 20) + 3])
@pytest.mark.parametrize("fill", [0, 255, None])
def test_our_checksum_is_that_of_hdf5(size, fill, tmp_path):
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    if fill is not None:
        data[:] = fill
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=data, chunks=(size,), fletcher32=True)
    with h5py.File(tmp_path / "x.h5") as file:  # reading a raw chunk that was not flushed is undefined
        assert fletcher32(data) == int.from_bytes(file["x"].id.read_direct_chunk((0,))[1][-4:], "little")


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
def test_columns_are_read_whoever_made_them(options, tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float32)
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=data, **{"chunks": (7, 3, 5), **options})
        file.create_dataset("never written", (100, 3, 5), "<f4", chunks=(7, 3, 5), fletcher32=True)
    with h5py.File(tmp_path / "x.h5") as file, workers(2) as pool:
        for name, wanted in (("x", data), ("never written", np.zeros_like(data))):
            column = Column(file[name])
            found, tasks = column.load(pool)
            assert all(task.result() is None for task in tasks)
            assert np.array_equal(found, wanted) and found.dtype == np.dtype("<f4")
            for size in (1, 500, 10**6):
                assert np.array_equal(np.concatenate(list(column.slabs(size))), wanted)
        assert is_plain(file["x"]) == (options == {"fletcher32": True})


def test_every_flip_in_a_plain_chunk_is_found(tmp_path):
    path = tmp_path / "x.h5"
    data = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float32)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=data, chunks=(30, 3, 5), fletcher32=True)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    at = whole.find(data[:30].tobytes())
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[at + int(rng.integers(30 * 60 + 4))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with h5py.File(path) as file, pytest.raises(OSError, match="checksum of rows 0 to 29"):
            Column(file["x"]).read(0, np.empty((30, 3, 5), np.float32))
