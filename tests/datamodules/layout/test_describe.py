"""What `data show` prints and draws."""

import numpy as np
import pytest

import vgm2p
from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from vgm2p.datamodules.layout.describe import coverage, describe, picture
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.vault import Vault


def test_show_tells_episodes_returns_actions_and_draws(tmp_path):
    path = Bundled().resolve()[0]
    page = describe(path)
    assert "HalfCheetah-v5" in page
    assert "episodes       50, transitions 50000, ends: time limit 50" in page
    assert "return         960.7" in page
    picture(path, tmp_path / "sub" / "x.png")
    assert (tmp_path / "sub" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_on_a_discrete_dataset_counts_legal_and_distinct_rows(tmp_path):
    arrays = {name: np.concatenate([array, array]) for name, array in smac_like(40).items()}
    write_vault(tmp_path / "v", arrays)
    Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    assert coverage(read(tmp_path / "x.h5")) == 0.5
    page = describe(tmp_path / "x.h5")
    choices = arrays["infos.legals"].sum(-1)
    assert f"{choices.mean():.1f} actions on average, {choices.min():.0f} to {choices.max():.0f}" in page
    assert "0.50 of the observation-action rows" in page


@pytest.mark.parametrize("last", [(1e-13, 0.0), (2e16, 2e16), (0.0, 0.0), (0.0, 0.2)])
def test_returns_that_are_very_close_or_equal_have_bars_with_edges_that_differ(tmp_path, last):
    episodes = [
        {
            "obs": np.ones((2, 1, 3)),
            "action": np.zeros((2, 1, 1)),
            "reward": np.array([1000.0, end]),
            "terminated": True,
        }
        for end in last
    ]
    vgm2p.write_dataset(tmp_path / "x.h5", episodes)
    bars = [line.split() for line in describe(tmp_path / "x.h5").splitlines() if " .. " in line]
    assert len({low for low, *_ in bars}) == len(bars) == 12
    assert sum(int(bar[-1]) for bar in bars) == 2
    picture(tmp_path / "x.h5", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
