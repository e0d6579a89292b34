"""Conversion of genuine vaults against their ground truth, and of vaults written by the tests."""

import json
import sys

import numpy as np
import pytest
import torch

import vgm2p.datamodules.layout.reading
import vgm2p.datamodules.layout.writing
import vgm2p.datamodules.vaults.vault
from tests.datamodules.vaults.truths import ENDS, ROOT, TRUTHS, converted
from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.datamodules.vaults.boundaries import Flags, find_boundaries
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.envs.observation import robot_of_omiga
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.rng import UpdateKey
from vgm2p.types import Needs


@pytest.mark.parametrize("path", TRUTHS, ids=str)
def test_every_number_of_the_truth_is_met(path, tmp_path):
    truth, digest, columns = converted(path, tmp_path / "x.h5")
    assert columns.attributes["content_sha256"] == digest
    hashes = json.loads(columns.attributes["vault_sha256"])
    assert {name.replace("/", "."): facts["sha256_le_c_order"] for name, facts in truth["arrays"].items()} == hashes
    wanted = [e for e in truth["episodes"] if e["transitions"]]
    episodes, steps = columns.episodes, columns.steps
    assert episodes["length"].tolist() == [e["transitions"] for e in wanted]
    assert [int(x) for x in episodes["end"]] == [ENDS[e["end_kind"]] if e["complete"] else 3 for e in wanted]
    assert episodes["return"].tolist() == [e["return"] for e in wanted]
    keep = np.concatenate([np.arange(e["start"], e["start"] + e["transitions"]) for e in wanted])
    scenario, uid = path.name.split(".")[:2]
    vault = Vault(ROOT / path.parent / f"{scenario}.vlt" / uid)
    leaves = {
        "observations": "observations",
        "actions": "actions",
        "state": "infos.state",
        "legal_actions": "infos.legals",
    }
    for column, leaf in leaves.items():
        if column in steps:
            original = np.concatenate([rows for _, rows in vault.slabs(leaf)])[keep]
            assert np.array_equal(steps[column], original.astype(steps[column].dtype)), column
            assert np.array_equal(steps[column].astype(original.dtype), original), column
    assert int(steps["terminal"].sum()) == sum(e["end_kind"] == "terminal" for e in wanted if e["complete"])


@pytest.mark.parametrize("path", TRUTHS, ids=str)
def test_chunking_and_repetition_do_not_change_the_hash(path, tmp_path, monkeypatch):
    first = converted(path, tmp_path / "a.h5")[1]
    monkeypatch.setattr(vgm2p.datamodules.layout.writing, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(vgm2p.datamodules.layout.reading, "SLAB_BYTES", 5000)
    monkeypatch.setattr(vgm2p.datamodules.vaults.vault, "SLAB_BYTES", 1)
    assert converted(path, tmp_path / "b.h5")[1] == first
    assert (tmp_path / "a.h5").read_bytes() != (tmp_path / "b.h5").read_bytes()


def test_declared_layouts_and_shapes_are_checked_not_believed(tmp_path):
    native, marked = (next(p for p in TRUTHS if name in str(p)) for name in ("3m.Good", "Expert"))
    for path, changes, word in (
        (native, {"layout": "delimiter_row"}, "rows are native"),
        (marked, {"layout": "native"}, "rows are delimiter_row"),
        (native, {"n_agents": 4}, "agents is 3"),
        (native, {"action_kind": "continuous"}, "kind of actions"),
        (native, {"obs_dim": 31}, "observation width"),
        (native, {"episode_limit": 40}, "exceeds the limit"),
    ):
        with pytest.raises(DataError, match=word):
            converted(path, tmp_path / "x.h5", **changes)
    assert list(tmp_path.iterdir()) == []


def test_rows_after_the_last_flag_cannot_outlast_the_limit(tmp_path):
    arrays = smac_like(120)
    arrays["terminals"][60:] = 0
    write_vault(tmp_path / "v", arrays)
    entry = Entry(
        id="a/b/c/d",
        source="a",
        env="b",
        scenario="c",
        uid="d",
        hub_path="x",
        n_agents=3,
        action_kind="discrete",
        episode_limit=20,
        layout="native",
    )
    with pytest.raises(DataError, match="follow the last end flag"):
        Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", entry).run()


def test_vectors_that_are_no_zscores_are_refused(tmp_path):
    with pytest.raises(DataError, match="not z-scored vectors"):
        converted(TRUTHS[0], tmp_path / "x.h5", obs_preprocessed="z-scored")


def test_discrete_vaults_need_legal_actions(tmp_path):
    arrays = smac_like(40)
    del arrays["infos.legals"]
    write_vault(tmp_path / "v", arrays)
    with pytest.raises(DataError, match="discrete actions without"):
        Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()


def test_padding_is_the_same_in_every_slab(tmp_path, monkeypatch):
    monkeypatch.setattr(vgm2p.datamodules.vaults.vault, "SLAB_BYTES", 1)
    arrays = smac_like(200_000, discrete=False)
    arrays["observations"][:, 2, 4:] = -np.inf
    arrays["observations"][150_000:, 2, 3:] = -np.inf
    write_vault(tmp_path / "v", arrays)
    with pytest.raises(DataError, match="-inf is in the observations of some rows"):
        Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()


def test_a_card_that_disagrees_is_told(tmp_path):
    lines = []
    converted(TRUTHS[0], tmp_path / "x.h5", lines.append, episodes=7, return_mean=1e6)
    assert any("episodes is" in line and "catalogue says 7" in line for line in lines)
    assert any("return_mean" in line for line in lines)


def test_omiga_vectors_load_as_published_or_as_the_robot_behind_them(tmp_path):
    path = next(p for p in TRUTHS if "Expert" in str(p))
    _, _, columns = converted(path, tmp_path / "x.h5")
    stored = torch.from_numpy(columns.steps["observations"])
    key = UpdateKey([0]).at(3)
    index = key.integers("batch", (64,), len(stored))
    batches = {}
    for view in ("omiga", "raw_onehot"):
        store = TransitionStore.load([tmp_path / "x.h5"], view=view, timeouts="terminal")
        assert (store.spec.obs_dim, store.spec.state_dim) == (23, 17)
        batches[view] = store.draw(key.at(3), 64, Needs(frozenset(("state",))))
    assert torch.equal(batches["omiga"].obs, stored[index])
    robot = robot_of_omiga(stored, 6)
    assert torch.equal(batches["raw_onehot"].obs[..., :17], robot[index][:, :, None].expand(-1, -1, 6, -1))
    assert torch.equal(batches["raw_onehot"].state, robot[index])
    assert batches["omiga"].action.abs().max() == 1.0
    assert columns.steps["actions"].max() > 1.0
    assert json.loads(columns.attributes["facts"])["recovery_error"] < 1e-4
    with pytest.raises(ConfigError, match="omiga's vectors"):
        TransitionStore.load([tmp_path / "x.h5"], view="native", timeouts="terminal")


def test_unpadded_rewards_and_ends_of_hand_made_flags():
    def flags(ends, rows=6, idle=()):
        marks = np.isin(np.arange(rows), ends)
        none = np.zeros((rows, 1), bool)
        return Flags(marks[:, None], none, np.ones(rows, np.float32), None, np.isin(np.arange(rows), idle))

    found = find_boundaries(flags([2, 5], idle=[2, 5]), Declared("auto", 2), "x")
    assert (found.layout, found.episodes.length.tolist(), found.episodes.end.tolist()) == (
        "delimiter_row",
        [2, 2],
        [1, 1],
    )
    assert found.keep.tolist() == [True, True, False] * 2
    found = find_boundaries(flags([2, 3, 5], idle=[2, 3, 5]), Declared("delimiter_row", 2), "x")
    assert found.episodes.length.tolist() == [2, 1] and "1 episodes of a delimiter row" in found.notices[1]
    assert find_boundaries(flags([1, 5]), Declared("auto", 4), "x").episodes.end.tolist() == [0, 1]
    with pytest.raises(DataError, match="no end flag is set for all agents in any of 6 rows"):
        find_boundaries(flags([]), Declared("auto"), "x")


def test_agents_paid_differently_and_padding_are_kept(tmp_path):
    arrays = smac_like(40, discrete=False)
    arrays["rewards"][:, 1] += 1.0
    arrays["observations"][:, 2, 3:] = -np.inf
    write_vault(tmp_path / "v", arrays)
    Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    columns = read(tmp_path / "x.h5", verify="full")
    np.testing.assert_allclose(columns.steps["rewards"], arrays["rewards"].mean(1), rtol=1e-6)
    assert np.array_equal(columns.steps["agent_rewards"], arrays["rewards"])
    assert (columns.steps["observations"][:, 2, 3:] == 0).all()
    assert json.loads(columns.attributes["facts"])["obs_valid"] == [5, 5, 3]


@pytest.mark.parametrize("slab", [1 << 24, 1])
def test_a_state_that_says_nothing_is_told(slab, tmp_path, monkeypatch):
    monkeypatch.setattr(vgm2p.datamodules.vaults.vault, "SLAB_BYTES", slab)
    arrays = smac_like(400)
    ends = np.flatnonzero(arrays["terminals"][:, 0])
    episode = np.searchsorted(ends, np.arange(400))
    alive = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    told = []
    for name, state, still, constant in (
        ("moves", alive, 0, 0),
        ("reset", alive[episode], len(ends), 0),
        ("one moves", np.where((episode == 3)[:, None], alive, alive[episode]), len(ends) - 1, 0),
        ("one entry", np.concatenate([alive, np.ones((400, 2), np.float32)], 1), 0, 2),
        ("nothing", np.ones((400, 3), np.float32), len(ends), 3),
    ):
        write_vault(tmp_path / name, {**arrays, "infos.state": state})
        told.clear()
        Converter(Vault(tmp_path / name), tmp_path / f"{name}.h5", None, told.append).run()
        facts = json.loads(read(tmp_path / f"{name}.h5").attributes["facts"])
        assert facts.get("state_still_episodes", 0) == still, name
        assert facts.get("state_constant_entries", 0) == constant, name
        assert any(f"in {still} of {len(ends)} episodes" in line for line in told) == bool(still)
        assert any(f"{constant} of" in line and "entries" in line for line in told) == bool(constant)


def test_reading_without_tensorstore_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(MissingInput, match=r"pip install tensorstore"):
        Vault(ROOT / "smac_v1" / "3m.vlt" / "Poor")
