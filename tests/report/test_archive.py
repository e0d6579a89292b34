"""Finished cells are packed and unpacked without loss, and without the folders of the machine that ran them."""

import zipfile

import pytest

from tests.report.finished_runs import write_run
from tools.results import battles
from tools.results.archive import FILES
from tools.results.baselines import PARTS, SHORT_ROWS
from tools.results.baselines_page import HOPPER
from tools.results.cells import finished, keep_finished, load_finished, resized, restore
from vgm2p.report.runs import final_values
from vgm2p.run.folder import RunFolder

ROW = {row.label: row for row in SHORT_ROWS}["ma_td3bc"]


def kept(tmp_path, name="first"):
    """Return the folder of the runs with one finished cell, and the folder of the packed cells."""
    runs, archive = tmp_path / name, tmp_path / "cells"
    places = {"out": str(runs / HOPPER / ROW.label), "data.root": "/secret/data", "data.cache": "/secret/data/cache"}
    write_run(runs, HOPPER, ROW, [None], lambda way, seed, episode: (seed + episode / 7, ""), places)
    keep_finished(PARTS, list(PARTS), runs, archive)
    return runs, archive


def test_a_packed_cell_is_finished_elsewhere_and_has_the_same_values(tmp_path):
    runs, archive = kept(tmp_path)
    restore(PARTS, list(PARTS), tmp_path / "other", archive)
    assert finished(tmp_path / "other", HOPPER, ROW)
    before, after = (final_values(load_finished(place, HOPPER, [ROW]), None) for place in (runs, tmp_path / "other"))
    assert before == after
    assert before[1][0] == 1.0


def test_no_folder_of_the_machine_is_packed(tmp_path):
    _, archive = kept(tmp_path)
    with zipfile.ZipFile(archive / HOPPER / f"{ROW.label}.zip") as packed:
        text = "".join(packed.read(name).decode() for name in FILES)
    assert "/secret" not in text
    assert str(tmp_path) not in text
    assert '"root": "$VGM2P_DATA"' in text
    assert '"cache": "$VGM2P_CACHE"' in text


def test_data_files_below_a_relative_folder_are_found_and_keys_keep_their_names(tmp_path):
    """The files of SMAX's data are named with their folder, which is `data` unless VGM2P_DATA says otherwise."""
    runs, archive = tmp_path / "runs", tmp_path / "cells"
    named = {"data.root": "data", "data.source.paths": ["data/smax/3m_mixed.h5"]}
    named["data.source.command"] = "vgm2p collect env=smax/3m recipe=mixed out=data/smax/3m_mixed.h5"
    write_run(runs, "smax_3m", battles.CLONE, [None], lambda way, seed, episode: (1.0, 1), named)
    keep_finished(battles.PARTS, ["values"], runs, archive)
    restore(battles.PARTS, ["values"], tmp_path / "other", archive)
    assert finished(tmp_path / "other", "smax_3m", battles.CLONE)
    data = RunFolder(tmp_path / "other" / "smax_3m" / "bc_gaussian").read_manifest()["config"]["data"]
    assert data["source"]["paths"] == ["$VGM2P_DATA/smax/3m_mixed.h5"]
    assert data["source"]["command"].endswith("out=$VGM2P_DATA/smax/3m_mixed.h5")


def test_packing_twice_gives_the_same_bytes_and_unpacking_keeps_a_folder_that_exists(tmp_path):
    runs, archive = kept(tmp_path)
    path = archive / HOPPER / f"{ROW.label}.zip"
    was = path.read_bytes()
    restore(PARTS, list(PARTS), tmp_path / "other", archive)
    keep_finished(PARTS, list(PARTS), tmp_path / "other", archive)
    assert path.read_bytes() == was
    (runs / HOPPER / ROW.label / "results.json").unlink()
    restore(PARTS, list(PARTS), runs, archive)
    assert not finished(runs, HOPPER, ROW)


def test_a_kill_while_a_cell_is_unpacked_or_finished_loses_nothing(tmp_path):
    runs, archive = kept(tmp_path)
    place = tmp_path / "other" / HOPPER / ROW.label
    path = archive / HOPPER / f"{ROW.label}.zip"
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(FILES[0], "{}")  # the other files are missing: reading them fails half-way
    with pytest.raises(KeyError):
        restore(PARTS, list(PARTS), tmp_path / "other", archive)
    assert not place.exists()
    path.write_bytes(whole)
    restore(PARTS, list(PARTS), tmp_path / "other", archive)
    assert sorted(each.name for each in place.iterdir()) == sorted(FILES)
    (runs / HOPPER / ROW.label / "timing.json").unlink()
    assert not finished(runs, HOPPER, ROW)
    keep_finished(PARTS, list(PARTS), runs, archive)
    assert path.read_bytes() == whole


def test_a_size_gets_other_numbers_for_keys_that_it_has():
    assert resized(("updates=10", "logger.x=a=b"), {"updates": 40}) == ("updates=40", "logger.x=a=b")
    with pytest.raises(KeyError, match="update"):
        resized(("updates=10",), {"update": 40})
