"""Finished runs that the tests of several commands read."""

import pytest

from tests.run.runs import SMALL, run, succeeded


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two finished runs of different algorithms, with plots."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("vgm2p_chosen", "bc_gaussian"):
        succeeded(run(folder / name, algo=name, callbacks__plot=None, **SMALL))
    return folder
