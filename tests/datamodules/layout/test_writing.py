"""HDF5 is written to its end whatever comes between."""

import os
import signal

import h5py
import numpy as np
import pytest

from vgm2p.datamodules.layout.writing import Sink, make_dataset, new_hdf5
from vgm2p.errors import Interrupted
from vgm2p.signals import StopFlag


@pytest.fixture
def installed():
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    flag = StopFlag()
    flag.install()
    yield flag
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_a_signal_is_not_lost_where_something_goes_wrong_meanwhile(tmp_path, installed):
    with pytest.raises(Interrupted), new_hdf5(tmp_path / "x.h5"):
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("bad data")
    assert signal.getsignal(signal.SIGINT) == installed._handle


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_write_waits_until_the_library_can_close_its_file(
    signum, checked, tmp_path, monkeypatch, installed
):
    plain, rows = Sink.write, np.arange(3000.0)

    def write(self, data):
        os.kill(os.getpid(), signum)
        return plain(self, data)

    monkeypatch.setattr(Sink, "write", write)
    with pytest.raises(Interrupted), new_hdf5(tmp_path / "x.h5") as (file, check):
        make_dataset(file, "x", 3000, (), np.dtype(float))[:] = rows
        file.flush()
        if checked:
            check()
            raise AssertionError("went on")
    assert signal.getsignal(signum) == installed._handle
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][:], rows)
