"""SMAC's tasks without smacv2 and the game: sizes, the data that belong to them, and what is said where they cannot be played."""

from pathlib import Path

import pytest

from datamodules.catalogue import Entry, catalogue
from datamodules.convert import Converter
from datamodules.store import TransitionStore
from datamodules.vault import Vault
from tests.test_config import EXPERIMENTS, composed
from vgm2p.envs import smac_install
from vgm2p.envs.smac_maps import MAPS, RACES, spec_v1, spec_v2, worth_v2
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.identity import run_name

VAULTS = Path(__file__).parents[1] / "data" / "vaults" / "fixture"
# [OG-MARL's vaults]: agents, observation, state, actions, limit
SIZES = {"3m": (3, 30, 48, 9, 60), "8m": (8, 80, 168, 14, 120), "2s3z": (5, 80, 120, 11, 120),
         "5m_vs_6m": (5, 55, 98, 12, 70), "terran_5_vs_5": (5, 82, 120, 11, 200), "zerg_5_vs_5": (5, 82, 120, 11, 200),
         "terran_10_vs_10": (10, 162, 290, 16, 200)}  # fmt: skip


def task(name):
    """Return the task of a scenario: a map of SMACv1, or `<race>_<n>_vs_<m>` of SMACv2."""
    race, *numbers = name.replace("_vs", "").split("_")
    return spec_v2(race, *map(int, numbers)) if race in RACES else spec_v1(name)


def sizes(spec):
    return spec.n_agents, spec.obs_dim, spec.state_dim, spec.action_dim, spec.episode_limit


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_published_data(name):
    assert sizes(task(name)) == SIZES[name]


def table1():
    return [entry for entry in catalogue().values() if entry.paper_table == 1]


@pytest.mark.parametrize("entry", table1(), ids=lambda entry: entry.id)
def test_the_catalogue_names_the_same_tasks(entry):
    """The id that a converted vault gets, and its sizes, are the environment's."""
    spec = task(entry.scenario)
    assert (entry.env_id, {}) == (spec.env_id, spec.env_kwargs)
    assert sizes(spec) == (entry.n_agents, entry.obs_dim, entry.state_dim, entry.n_actions, entry.episode_limit)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("smac")])
def test_every_smac_experiment_plays_what_its_data_were_recorded_in(name):
    config = composed(f"experiment={name}")
    env, entry = config["env"], catalogue()[config["data"]["source"]["id"]]
    if "map_name" in env:
        assert spec_v1(env["map_name"]).env_id == entry.env_id
    else:
        assert spec_v2(env["race"], env["n_units"], env["n_enemies"]).env_id == entry.env_id
        usual = RACES[env["race"]]
        assert (env["units"], env["exceptions"], env["reflected"]) == (dict(usual.units), list(usual.exceptions), 0.5)


def test_there_is_an_experiment_for_each_dataset_of_the_table():
    found = {composed(f"experiment={name}")["data"]["source"]["id"] for name in EXPERIMENTS if name.startswith("smac")}
    assert found == {entry.id for entry in table1()} and len(found) == 15


@pytest.mark.parametrize("uid", ["Good", "Poor"])
def test_a_converted_vault_matches_its_environment(uid, tmp_path):
    pytest.importorskip("tensorstore")
    entry = Entry(
        id=f"og_marl/smac_v1/3m/{uid}", source="og_marl", env="smac_v1", scenario="3m", uid=uid, hub_path="",
        n_agents=3, action_kind="discrete", episode_limit=60, layout="native",
    )  # fmt: skip
    Converter(Vault(VAULTS / "smac_v1" / "3m.vlt" / uid), tmp_path / "x.h5", entry).run()
    assert (
        TransitionStore.load([tmp_path / "x.h5"], view="native", timeouts="terminal").spec.differences(spec_v1("3m"))
        == []
    )


def test_workers_and_timeouts_do_not_make_another_run():
    base = composed("experiment=smacv1_3m_good")
    assert run_name(composed("experiment=smacv1_3m_good", "env.workers=7", "env.timeout=9")) == run_name(base)
    assert run_name(composed("experiment=smacv1_3m_good", "env.map_name=8m")) != run_name(base)


def test_unknown_maps_and_races_are_named_with_their_nearest():
    with pytest.raises(ConfigError, match="5m_vs_6m"):
        spec_v1("5m_vs_6")
    with pytest.raises(ConfigError, match="terran"):
        spec_v2("terrans", 5, 5)


def test_the_worth_of_an_average_team():
    assert worth_v2(RACES["terran"].units, 5) == pytest.approx(200 + 5 * (10 + 0.45 * 45 + 0.45 * 125 + 0.1 * 150))


def test_what_is_missing_is_said_in_one_line_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    with pytest.raises(MissingInput, match=r"no StarCraft II .*SC2.4.10.zip"):
        smac_install.game_build()
    program = tmp_path / "Versions/Base75689/SC2_x64"
    program.parent.mkdir(parents=True)
    program.write_text("")
    with pytest.raises(MissingInput, match="no StarCraft II"):  # not executable
        smac_install.game_build()
    program.chmod(0o755)
    assert smac_install.game_build() == 75689
    with pytest.raises(MissingInput, match=r"3m.SC2Map .*make smac-maps"):
        smac_install.require_map("3m")
    for name in (*MAPS, "32x32_flat"):
        path = tmp_path / f"Maps/SMAC_Maps/{name}.SC2Map"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        assert smac_install.require_map(name) == path
