"""Fetching through the real hub client from a server that misbehaves: the right file or one line, never a poisoned cache."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.datamodules.sources.hub_server import Hub, serve
from tests.run import zygote

VAULTS = Path(__file__).parents[2] / "data" / "vaults" / "fixture"
ZIP = "prior_work/fixture/smac_v1/3m.zip"
ID = "fixture/smac_v1/3m/Good"


@pytest.fixture
def place(tmp_path):
    record = {
        "id": ID,
        "source": "fixture",
        "env": "smac_v1",
        "scenario": "3m",
        "uid": "Good",
        "hub_path": ZIP,
        "n_agents": 3,
        "action_kind": "discrete",
        "episode_limit": 60,
        "layout": "native",
        "obs_dim": 30,
        "n_actions": 9,
        "episodes": 40,
        "vault_rows": 1055,
        "return_mean": 9.8765625,
        "return_std": 3.0227724811669816,
    }
    other = {
        **record,
        "id": "fixture/smac_v1/3m/Poor",
        "uid": "Poor",
        "episodes": 6,
        "vault_rows": 124,
        "return_mean": None,
    }
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"datasets": [record, other]}))
    return tmp_path


def pinned(place, digest):
    """Write a digest of the zip into the catalogue."""
    path = place / "catalogue.yaml"
    records = yaml.safe_load(path.read_text())["datasets"]
    path.write_text(yaml.safe_dump({"datasets": [{**record, "zip_sha256": digest} for record in records]}))


def hub_of(**options):
    return Hub({ZIP: (VAULTS / "smac_v1" / "3m.zip").read_bytes()}, **options)


def start(place, server, *words, action="convert", **environment):
    address = "http://127.0.0.1:9" if server is None else f"http://127.0.0.1:{server.server_port}"
    env = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(place / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        **environment,
    }
    keys = [f"root={place / 'root'}", f"cache={place / 'cache'}", f"catalogue={place / 'catalogue.yaml'}"]
    return zygote.Child(["data", action, *(words or [ID]), *keys], place, env)


def run(place, server, *words, **options):
    process = start(place, server, *words, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def converted(place):
    return place / "cache" / f"{ID}.h5"


def failed(result, code, place):
    assert result[0] == code, result
    lines = result[2].strip().splitlines()
    assert len([line for line in lines if line.startswith("vgm2p: ")]) == 1, result[2]
    assert "Traceback" not in result[2]
    assert len(lines[-1]) <= 210
    assert not converted(place).exists()
    return lines[-1]


def test_first_contact_pins_commit_size_and_hash_and_the_second_asks_nobody(place):
    hub = hub_of()
    server = serve(hub)
    code, out, err = run(place, server)
    assert code == 0, err
    assert "fetching" in out and "free" in out
    pin = json.loads((place / "root" / "hub.lock.json").read_text())[ZIP]
    assert pin["commit"] == "c" * 40 and pin["size"] == len(hub.files[ZIP]) and len(pin["sha256"]) == 64
    asked = len(hub.served)
    converted(place).unlink()
    assert run(place, server)[0] == 0
    assert len(hub.served) == asked
    assert run(place, server, "fixture/smac_v1/3m/Poor", HF_HUB_OFFLINE="1")[0] == 0
    server.shutdown()
    code, out, err = run(place, None, action="check")
    assert code == 0 and "agrees with the card" in out, out + err


def test_the_token_of_the_hub_is_written_to_no_file(place):
    server = serve(hub_of())
    code, out, err = run(place, server, HF_TOKEN="hf_0123456789abcdefSECRET")
    server.shutdown()
    assert code == 0, err
    written = [path for path in place.rglob("*") if path.is_file()]
    assert converted(place) in written
    assert not [path for path in written if b"SECRET" in path.read_bytes()]
    assert "SECRET" not in out + err


slow = pytest.mark.slow


@pytest.mark.parametrize("cut", [pytest.param(0.0, marks=slow), 0.5, pytest.param(0.99, marks=slow)])
def test_a_cut_transfer_is_resumed_or_repeated(cut, place):
    hub = hub_of(cut=cut)
    result = run(place, serve(hub))
    if result[0] != 0:  # the client gave up: the same command goes on
        failed(result, 69, place)
        result = run(place, serve(hub))
    assert result[0] == 0, result
    assert converted(place).exists()


@slow
def test_wrong_content_of_the_right_size_is_fetched_once_more(place):
    hub = hub_of(wrong=1)
    code, out, err = run(place, serve(hub))
    assert code == 0, err
    assert "fetching again" in out
    assert hub.transfers() == 2


def test_wrong_content_twice_is_refused_and_leaves_no_poison(place):
    hub = hub_of(wrong=2)
    line = failed(run(place, serve(hub)), 65, place)
    assert "twice" in line
    assert run(place, serve(hub))[0] == 0


@slow
def test_a_page_instead_of_the_file_is_refused(place):
    result = run(place, serve(hub_of(page=True)))
    assert result[0] in (65, 69), result
    failed(result, result[0], place)


@pytest.mark.parametrize(
    "status", [pytest.param(401, marks=slow), 403, pytest.param(404, marks=slow), pytest.param(500, marks=slow)]
)
def test_refusals_say_what_to_place_where(status, place):
    line = failed(run(place, serve(hub_of(status=status))), 69, place)
    assert str(place / "root" / "raw" / "fixture" / "smac_v1" / "3m.zip")[-40:] in line


@slow
def test_a_file_that_moved_is_missing(place):
    hub = hub_of()
    hub.files = {"elsewhere.zip": hub.files[ZIP]}
    assert "no such file any more" in failed(run(place, serve(hub)), 66, place)


@slow
def test_a_stalled_connection_ends(place):
    hub = hub_of(stall=30.0)
    failed(run(place, serve(hub)), 69, place)
    hub.stall = 0.0
    assert run(place, serve(hub))[0] == 0


@slow
def test_a_changed_revision_does_not_change_what_was_pinned(place):
    hub = hub_of()
    server = serve(hub)
    assert run(place, server, action="fetch")[0] == 0
    hub.commit, hub.files = "d" * 40, {ZIP: b"other"}
    assert run(place, server)[0] == 0
    assert json.loads((place / "root" / "hub.lock.json").read_text())[ZIP]["commit"] == "c" * 40
    result = run(place, server, f"revision={'d' * 40}", "fixture/smac_v1/3m/Poor")
    assert result[0] == 65 and "not a zip" in result[2]


def test_two_processes_fetch_and_convert_once(place):
    hub = hub_of()
    server = serve(hub)
    both = [start(place, server) for _ in range(2)]
    outs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert hub.transfers() == 1
    assert sum("converting" in out for out, _ in outs) == 1


def test_offline_without_a_copy_names_the_place_and_a_file_put_there_works(place):
    target = place / "root" / "raw" / "fixture" / "smac_v1" / "3m.zip"
    line = failed(run(place, None, HF_HUB_OFFLINE="1"), 66, place)
    assert str(target)[-40:] in line
    target.parent.mkdir(parents=True)
    shutil.copy(VAULTS / "smac_v1" / "3m.zip", target)
    assert run(place, None, HF_HUB_OFFLINE="1")[0] == 0
    assert run(place, None, action="list")[1].count("converted") == 1


def test_no_space_is_said_before_the_transfer(place):
    hub = hub_of()
    size = 10**15
    hub.announced[ZIP] = (size, "0" * 64)
    line = failed(run(place, serve(hub)), 74, place)
    assert "free" in line
    assert hub.transfers() == 0


def test_a_zip_that_the_catalogue_does_not_pin_is_refused_before_the_transfer(place):
    hub = hub_of()
    pinned(place, "0" * 64)
    assert "the catalogue pins 000000000000" in failed(run(place, serve(hub)), 65, place)
    assert hub.transfers() == 0
    pinned(place, hub.facts(ZIP)[1])
    assert run(place, serve(hub))[0] == 0


def test_a_pinned_digest_holds_for_a_zip_placed_by_hand_too(place):
    target = place / "root" / "raw" / "fixture" / "smac_v1" / "3m.zip"
    target.parent.mkdir(parents=True)
    shutil.copy(VAULTS / "smac_v1" / "3m.zip", target)
    pinned(place, "0" * 64)
    for action in ("convert", "fetch"):
        assert "catalogue: 000000000000" in failed(run(place, None, action=action, HF_HUB_OFFLINE="1"), 65, place)


def test_space_is_counted_where_it_is_written(place, monkeypatch):
    """Once per file system: the zip in the hub's cache, the vault and our file in data.cache."""
    from vgm2p.datamodules.sources.catalogue import entry_of
    from vgm2p.datamodules.sources.hub import Hub as Client
    from vgm2p.datamodules.sources.hub import Pin
    from vgm2p.errors import StorageError

    entry, pin = entry_of(ID, str(place / "catalogue.yaml")), Pin("c" * 40, 1000, None)
    other = Path("/dev/shm")
    if other.stat().st_dev == place.stat().st_dev:
        pytest.skip("needs a second file system")
    free = {place.stat().st_dev: 0, other.stat().st_dev: 0}
    usage = lambda path: type("Usage", (), {"free": free[os.stat(path).st_dev]})()  # noqa: E731
    monkeypatch.setattr("vgm2p.datamodules.sources.hub.shutil.disk_usage", usage)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hf"))
    for cache, here, there, fits in (
        (other / "cache", 1101, 2641, True),
        (other / "cache", 1099, 10**9, False),
        (other / "cache", 10**9, 2639, False),
        (place / "cache", 3741, 0, True),
        (place / "cache", 3739, 0, False),
    ):
        free.update({place.stat().st_dev: here, other.stat().st_dev: there})
        client = Client(Path("/nowhere/root"), cache, None, lambda line: None)
        if fits:
            client._plan(entry, pin)
        else:
            with pytest.raises(StorageError, match="needed"):
                client._plan(entry, pin)
