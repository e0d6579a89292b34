"""A converted file is that of the requested revision, and of the present rules of conversion."""

import json
import shutil

import h5py

from tests.datamodules.sources.hub_server import serve
from tests.datamodules.sources.test_hub import ID, VAULTS, ZIP, converted, failed, hub_of, place, run

__all__ = ["place"]  # the fixture


def test_a_converted_file_is_of_the_revision_that_is_asked_for(place):
    hub = hub_of()
    server = serve(hub)
    assert run(place, server)[0] == 0
    assert run(place, None, f"revision={'c' * 40}", ID)[0] == 0
    assert run(place, server, "revision=main", ID)[0] == 0
    for words, environment, says in (
        (f"revision={'d' * 40}", {}, f"was made from commit {'c' * 40}"),
        ("revision=main", {"HF_HUB_OFFLINE": "1"}, "names no commit"),
    ):
        code, _, err = run(place, server, words, ID, **environment)
        assert code == 2 and says in err, err
    hub.commit = "e" * 40
    assert run(place, server, "revision=main", ID)[0] == 2
    converted(place).unlink()
    assert run(place, server, "revision=main", ID)[0] == 0
    assert json.loads((place / "root" / "hub.lock.json").read_text())[ZIP]["commit"] == "c" * 40


def test_a_file_that_other_rules_made_is_made_again(place):
    server = serve(hub_of())
    assert run(place, server)[0] == 0
    with h5py.File(converted(place), "r+") as file:
        file.attrs["conversion_rules"] = "1"
    out = run(place, server)[1]
    assert "converting" in out
    with h5py.File(converted(place)) as file:
        assert file.attrs["conversion_rules"].decode() != "1"


def test_a_revision_of_a_zip_that_was_placed_by_hand_is_refused_before_it_is_converted(place):
    target = place / "root" / "raw" / "fixture" / "smac_v1" / "3m.zip"
    target.parent.mkdir(parents=True)
    shutil.copy(VAULTS / "smac_v1" / "3m.zip", target)
    for action in ("convert", "fetch"):
        result = run(place, None, f"revision={'c' * 40}", ID, action=action)
        assert "move it away, or drop revision=" in failed(result, 2, place)
    target.unlink()
    assert run(place, serve(hub_of()), f"revision={'c' * 40}", ID)[0] == 0
