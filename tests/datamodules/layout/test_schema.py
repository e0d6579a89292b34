"""Content hashes, and which files are hashed again."""

import os
import time

import numpy as np
import pytest

from tests.support import small_columns
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import ContentHash, content_hash
from vgm2p.datamodules.layout.writing import write


@pytest.mark.parametrize("chunk", [64, 1 << 12, 1 << 21])
@pytest.mark.parametrize("compress", [False, True])
def test_the_content_hash_does_not_see_chunks_or_compression(chunk, compress, tmp_path, monkeypatch):
    monkeypatch.setattr("vgm2p.datamodules.layout.writing.CHUNK_BYTES", chunk)
    columns = small_columns()
    assert write(tmp_path / "x.h5", columns, compress=compress) == content_hash(columns)
    assert content_hash(read(tmp_path / "x.h5", verify="full")) == content_hash(columns)


def test_one_changed_value_changes_the_content_hash():
    before = content_hash(small_columns())
    for table, name in (("steps", "rewards"), ("steps", "actions"), ("episodes", "return")):
        columns = small_columns()
        array = getattr(columns, table)[name]
        array.reshape(-1)[-2] = np.nextafter(array.reshape(-1)[-2], 9, dtype=array.dtype)
        assert content_hash(columns) != before


def test_a_verified_file_is_hashed_once_and_again_when_it_changed(tmp_path, monkeypatch):
    hashed = []
    real = ContentHash.hexdigest
    monkeypatch.setattr(ContentHash, "hexdigest", lambda content: hashed.append(1) or real(content))
    path = tmp_path / "x.h5"
    write(path, small_columns())
    hashed.clear()
    read(path)
    read(path)
    assert len(hashed) == 1
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    read(path)
    assert len(hashed) == 2
    read(path, verify="full")
    assert len(hashed) == 3
