"""SMAC's tasks without smacv2 and the game: sizes, their datasets, and the messages if they cannot be played."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from tests.test_config import EXPERIMENTS, composed
from vgm2p.commands.doctor import checks
from vgm2p.config.settings import training_part
from vgm2p.datamodules.sources.catalogue import Entry, catalogue
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.envs import smac_install
from vgm2p.envs.smac import SMACv1, SMACv2
from vgm2p.envs.smac_maps import MAPS, RACES, check_exceptions, spec_v1, spec_v2, worth_v2
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.io.shell import runnable
from vgm2p.run.fingerprint import run_name

ROOT = Path(__file__).parents[2]
VAULTS = ROOT / "tests" / "data" / "vaults" / "fixture"
# [OG-MARL's vaults]: agents, observation, state, actions, limit
SIZES = {
    "3m": (3, 30, 48, 9, 60),
    "8m": (8, 80, 168, 14, 120),
    "2s3z": (5, 80, 120, 11, 120),
    "5m_vs_6m": (5, 55, 98, 12, 70),
    "3s5z_vs_3s6z": (8, 136, 230, 15, 170),
    "terran_5_vs_5": (5, 82, 120, 11, 200),
    "zerg_5_vs_5": (5, 82, 120, 11, 200),
    "terran_10_vs_10": (10, 162, 290, 16, 200),
}


def task(name):
    """Return the task of a scenario: a map of SMACv1, or `<race>_<n>_vs_<m>` of SMACv2."""
    race, *numbers = name.replace("_vs", "").split("_")
    return spec_v2(race, *map(int, numbers)) if race in RACES else spec_v1(name)


def sizes(spec):
    return spec.n_agents, spec.obs_dim, spec.state_dim, spec.action_dim, spec.episode_limit


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_published_data(name):
    assert sizes(task(name)) == SIZES[name]


def published():
    """The sets of SMAC in OG-MARL's core: those of the paper's Table 1, three of 3s5z_vs_3s6z, and one of terran."""
    return [entry for entry in catalogue().values() if (entry.source, entry.env[:5]) == ("og_marl", "smac_")]


@pytest.mark.parametrize("entry", published(), ids=lambda entry: entry.id)
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


def test_there_is_an_experiment_with_32_episodes_for_each_published_dataset():
    configs = [composed(f"experiment={name}") for name in EXPERIMENTS if name.startswith("smac")]
    found = {config["data"]["source"]["id"] for config in configs}
    assert found == {entry.id for entry in published()} and len(found) == 19
    assert {config["eval_episodes"] for config in configs} == {32}


@pytest.mark.parametrize("uid", ["Good", "Poor"])
def test_a_converted_vault_matches_its_environment(uid, tmp_path):
    pytest.importorskip("tensorstore")
    entry = Entry(
        id=f"og_marl/smac_v1/3m/{uid}",
        source="og_marl",
        env="smac_v1",
        scenario="3m",
        uid=uid,
        hub_path="",
        n_agents=3,
        action_kind="discrete",
        episode_limit=60,
        layout="native",
    )
    Converter(Vault(VAULTS / "smac_v1" / "3m.vlt" / uid), tmp_path / "x.h5", entry).run()
    assert (
        TransitionStore.load([tmp_path / "x.h5"], view="native", timeouts="terminal").spec.differences(spec_v1("3m"))
        == []
    )


def test_workers_and_timeouts_do_not_make_another_run():
    base = composed("experiment=smacv1_3m_good")
    assert run_name(training_part(composed("experiment=smacv1_3m_good", "env.workers=7", "env.timeout=9"))) == run_name(
        training_part(base)
    )
    assert run_name(training_part(composed("experiment=smacv1_3m_good", "env.map_name=8m"))) != run_name(
        training_part(base)
    )


def test_unknown_maps_and_races_are_named_with_their_nearest():
    with pytest.raises(ConfigError, match="5m_vs_6m"):
        spec_v1("5m_vs_6")
    with pytest.raises(ConfigError, match="terran"):
        spec_v2("terrans", 5, 5)


def test_the_worth_of_an_average_team():
    assert worth_v2(RACES["terran"].units, [], 5, 5) == pytest.approx(
        200 + 5 * (10 + 0.45 * 45 + 0.45 * 125 + 0.1 * 150)
    )


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({"marine": 1.0}, "marauder"),
        ({"marine": "a", "marauder": 0.5, "medivac": 0.5}, "'marine': 'a'"),
        ({"marine": 1.5, "marauder": -0.5, "medivac": 0.0}, "-0.5"),
        ([0.5, 0.4, 0.1], "marine"),
        ({"marine": float("nan"), "marauder": 0.5, "medivac": 0.5}, "nan"),
        ({"marine": True, "marauder": 0, "medivac": 0}, "True"),
        ({"marine": 0.333333, "marauder": 0.333333, "medivac": 0.333333}, "sum 1"),
        (3, "env.units=3"),
    ],
)
def test_wrong_shares_are_refused(units, said):
    with pytest.raises(ConfigError, match="a share from 0 each, with sum 1") as error:
        SMACv2("terran", 5, 5, units=units)
    assert said in error.value.line


@pytest.mark.parametrize(
    ("race", "units", "exceptions", "said"),
    [
        ("terran", None, ["zealot"], "must be a list of marine, marauder, medivac, baneling, or"),
        ("protoss", None, ["baneling"], "must be a list of stalker"),
        ("terran", None, "baneling", "must be a list"),
        ("terran", None, [["marine"]], "must be a list"),
        ("terran", None, {"marine": 1}, "must be a list"),
        ("terran", None, ["marine", "marauder", "medivac"], "allows no team"),
        ("zerg", {"zergling": 0, "baneling": 1, "hydralisk": 0}, ["baneling"], "allows no team"),
    ],
)
def test_exceptions_that_are_unknown_or_allow_no_team_are_refused(race, units, exceptions, said):
    with pytest.raises(ConfigError, match=said):
        SMACv2(race, 5, 5, units=units, exceptions=exceptions)


def taken(race, exceptions):
    """Whether the exceptions of a race pass the check."""
    try:
        check_exceptions(exceptions, RACES[race].units, RACES[race])
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("race", "exceptions"), [("terran", ["baneling"]), ("terran", ["medivac"]), ("zerg", [])])
def test_exceptions_of_og_marl_and_of_smacv2_and_none_are_accepted(race, exceptions):
    assert taken(race, exceptions)
    assert not taken(race, [*exceptions, "nobody"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"difficulty": 10}, "env.difficulty=10 must be one of 1, 2"), ({"step_mul": 0}, "env.step_mul and")],
)
def test_wrong_keys_of_the_game_are_refused(keys, said):
    for make in (functools.partial(SMACv1, "3m"), functools.partial(SMACv2, "zerg", 5, 5)):
        with pytest.raises(ConfigError, match=said):
            make(**keys)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for SC2PATH."""
    monkeypatch.setenv("SC2PATH", str(tmp_path / "my game"))
    return tmp_path / "my game"


@pytest.fixture
def far(monkeypatch):
    """A path of 80 characters for SC2PATH, where nothing is."""
    monkeypatch.setenv("SC2PATH", "/" + 79 * "x")
    return "/" + 79 * "x"


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_missing_parts_are_reported_in_one_line_with_a_command(place):
    with pytest.raises(MissingInput, match="lacks StarCraft II; run `make sc2 SC2PATH="):
        smac_install.game_build()
    program = place / "Versions/Base75689/SC2_x64"
    put(program)
    with pytest.raises(MissingInput, match="lacks StarCraft II"):  # not executable
        smac_install.game_build()
    program.chmod(0o755)
    assert smac_install.game_build() == 75689
    with pytest.raises(MissingInput, match=r"lacks 3m.SC2Map, 8m.SC2Map; run `make smac-maps SC2PATH="):
        smac_install.require_maps(["3m", "8m"])
    for name in (*MAPS, "32x32_flat"):
        put(place / f"Maps/SMAC_Maps/{name}.SC2Map")
        smac_install.require_maps([name])


def test_shortened_lines_keep_the_command_that_helps(far):
    """Also with what `fit` says after it."""
    with pytest.raises(MissingInput) as error:
        smac_install.game_build()
    command = f"`make sc2 SC2PATH={far}` (docs/smac.md)"
    assert error.value.line.endswith(command)
    assert command in MissingInput(f"{error.value.line}; evaluate=none trains without evaluation").line


def test_all_missing_parts_are_reported_together(far, monkeypatch):
    monkeypatch.setattr(smac_install, "PACKAGES", ("no_such_package", "nor_this_one"))
    with pytest.raises(MissingInput) as error:
        smac_install.require("3m")
    assert error.value.line == (
        "SMAC lacks no_such_package, StarCraft II, 3m.SC2Map; "
        f"run {runnable(f'`make install-smac sc2 smac-maps SC2PATH={far}`')} (docs/smac.md)"
    )


def test_the_doctor_names_every_missing_map(place):
    put(place / "Maps/SMAC_Maps/8m.SC2Map")
    probe = next(probe for name, _, probe in checks(str(place)) if name == "smac maps")
    with pytest.raises(
        MissingInput, match=r"lacks 3m.SC2Map, 2s3z.SC2Map, 5m_vs_6m.SC2Map, 3s5z_vs_3s6z.SC2Map, 32x32_flat"
    ):
        probe()


@pytest.fixture
def download(tmp_path):
    """The address of an archive with a game, as Blizzard packs it."""
    inside = zipfile.ZipInfo("StarCraftII/Versions/Base75689/SC2_x64")
    inside.external_attr = 0o100755 << 16
    with zipfile.ZipFile(tmp_path / "game.zip", "w") as archive:
        archive.writestr(inside, "#!/bin/sh\n")
        archive.writestr("StarCraftII/Maps/read me", "")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/game.zip"
        server.shutdown()


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("unzip")), reason="needs make and unzip")
def test_make_sc2_puts_the_game_where_it_is_looked_for(place, download):
    """Beside maps that are there; a download that fails leaves nothing behind."""
    put(place / "Maps/SMAC_Maps/3m.SC2Map")

    def make(address):
        command = ["make", "-C", str(ROOT), "sc2", f"SC2PATH={place}", f"SC2_ZIP={address}"]
        return subprocess.run(command, capture_output=True, env={**os.environ, "no_proxy": "127.0.0.1"}).returncode

    assert make(f"{download}.gone") != 0
    assert [path.name for path in place.iterdir()] == ["Maps"]
    assert make(download) == 0
    assert smac_install.game_build() == 75689
    assert sorted(path.name for path in place.iterdir()) == ["Maps", "Versions"]
    smac_install.require_maps(["3m"])
