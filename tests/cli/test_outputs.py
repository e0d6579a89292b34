"""What a command may replace, and what it does in folders that it cannot write."""

import errno
import json
import os

import pytest

from tests.cli.answers import TINY, answer
from tests.support import small_columns
from vgm2p.cli import main
from vgm2p.datamodules.layout.writing import write

FEW = ["episodes=1", "act_noise=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("outputs")
    for name, words in (("a", ["algo=bc_flow"]), ("b", ["algo=bc_meanflow"])):
        assert answer(["fit", *TINY, *words, f"out={place / name}"]) == (0, "")
    return place


@pytest.fixture
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)
    return runs


def test_an_evaluation_is_replaced_by_one_of_the_same_weights_however_they_are_named(here, monkeypatch):
    (here / "deeper").mkdir()
    (here / "last").symlink_to("a")
    assert answer(["evaluate", "run=last", *FEW, "out=e"]) == (0, "")
    assert answer(["evaluate", "run=a", *FEW, "out=e"]) == (0, "")
    monkeypatch.chdir(here / "deeper")
    assert answer(["evaluate", "run=../a", *FEW, "out=../e"]) == (0, "")
    monkeypatch.chdir(here)
    (here / "last").unlink()
    (here / "last").symlink_to("b")
    before = (here / "e/results.json").read_bytes()
    code, text = answer(["evaluate", "run=last", *FEW, "out=e"])
    assert code == 74 and text.count("\n") == 1 and "holds an evaluation of another policy" in text
    assert (here / "e/results.json").read_bytes() == before


def test_a_report_is_written_twice_and_a_run_goes_on_in_its_own_folder(here, capsys):
    assert answer(["evaluate", "run=a", *FEW]) == (0, "")
    for _ in range(2):
        assert answer(["report", "a", "out=r", "html=r/page.html"]) == (0, "")
    assert main(["fit", "resume=b", f"out={here / 'b'}", "updates=8"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("other algorithm")]
    assert lines and not any(word in line for line in lines for word in ("out=", "resume="))


def test_pictures_of_files_with_one_name_are_two(tmp_path):
    for folder in ("p", "q"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.h5", small_columns(1, [3, 4]))
    words = ["data", "show", str(tmp_path / "p/x.h5"), str(tmp_path / "q/x.h5"), f"out={tmp_path / 'pictures'}"]
    for _ in range(2):
        assert answer(words) == (0, "")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["x-2.png", "x.png"]
    (tmp_path / "pictures/x.png").write_text("mine")
    code, text = answer(words)
    assert code == 74 and "x.png exists" in text and (tmp_path / "pictures/x.png").read_text() == "mine"


def test_a_proposal_is_printed_where_it_cannot_be_kept(here, monkeypatch, capsys):
    real = os.open

    def read_only(name, flags, *more, **named):
        if str(name).endswith(".proposal.json.lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        return real(name, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    assert main(["estimate", "run=a", "propose=true", "act_noise=[1,0]"]) == 0
    said = capsys.readouterr().out
    assert "proposal     data.sampling=return" in said and "printed, and not kept" in said
    assert not (here / "a/proposal.json").exists()


def test_a_file_named_twice_counts_once(tmp_path, capsys):
    write(tmp_path / "x.h5", small_columns(1, [3, 4]))
    words = [f"data.source.paths=[{tmp_path / 'x.h5'},{tmp_path / 'x.h5'}]", f"out={tmp_path / 'run'}"]
    assert main(["fit", *TINY, "algo=bc_mse", "data=files", *words]) == 0
    said = capsys.readouterr().out
    assert "taken once: 1 of 2" in said and "2 episodes" in said


def test_info_has_its_usual_value():
    assert answer(["fit", "--info"]) == (0, "")


def test_a_cell_whose_key_is_not_read_is_refused_before_the_first_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [word for word in TINY if not word.startswith("compare=")]
    code = main(["fit", "-m", *words, "algo=vgm2p,vgm2p_plus", "algo.omega=1,3"])
    said = capsys.readouterr()
    assert code == 2 and "algo=vgm2p_plus does not read it" in said.out + said.err
    assert len(list(tmp_path.glob("runs/*/vgm2p/*"))) == 2 and not list(tmp_path.glob("runs/*/vgm2p_plus"))


def test_the_last_run_is_no_comparison_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGM2P_FOLDER_FILE", str(tmp_path / "compare.json"))  # as the main run starts it
    assert answer(["fit", *TINY, "algo=bc_mse"]) == (0, "")
    assert json.loads((tmp_path / "compare.json").read_text())["folder"].startswith("runs/quickstart/bc_mse/")
    assert not (tmp_path / "runs/last").is_symlink()
    assert answer(["fit", *TINY, "algo=bc_mse"]) == (0, "")
    assert (tmp_path / "runs/last").is_symlink()
