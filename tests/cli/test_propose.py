"""`vgm2p estimate propose=true` on real runs: what it prints, writes and refuses; the validation beside it."""

import json
import shutil

import pytest

from tests.cli.answers import TINY, answer
from tests.cli.test_estimate import simulated
from tools.proposal_validation import main as validate
from vgm2p.cli import main
from vgm2p.datamodules.store import effective_size
from vgm2p.run.folder import RunFolder, write_json
from vgm2p.run.ways import way_text

SIZES = ("0.1", "0.5")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs without evaluation: two that differ in `data.ess`, and one without noise."""
    folder = tmp_path_factory.mktemp("runs")
    words = {size: ["algo=bc_flow", "data.sampling=return", f"data.ess={size}"] for size in SIZES}
    for name, chosen in (words | {"plain": ["algo=bc_gaussian"]}).items():
        assert answer(["fit", *TINY, *chosen, f"out={folder / name}"]) == (0, "")
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    monkeypatch.setattr(effective_size, "UPDATES", 20)
    monkeypatch.setattr(effective_size, "PROBES", 1024)
    monkeypatch.setattr(effective_size, "METHOD", "a test's")  # no choice of this test is found by others
    monkeypatch.chdir(tmp_path)


def test_ways_to_act_are_compared_and_the_proposal_can_be_typed(runs, tmp_path, capsys):
    shutil.copytree(runs / "0.1", "run")
    simulated(tmp_path / "run", [10.0])
    assert main(["estimate", "run=run", "propose=true"]) == 0
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")] for line in shown.splitlines() if line.startswith("| run ")]
    assert [row[2].strip(" <") for row in rows] == ["1", "0.5", "0.25", "0", "shared"]
    assert [row[5] for row in rows] == ["10.0", "", "", "", ""]
    found = json.loads((tmp_path / "run" / "proposal.json").read_text())
    (line,) = [line for line in shown.splitlines() if line.startswith("proposal ")]
    acting = way_text(found["act_noise"])
    assert line.split()[1:] == ["data.sampling=return", f"data.ess={found['ess']:g}", f"act_noise={acting}"]
    assert [row[2] for row in rows if row[2].endswith(" <")] == [f"{acting} <"]
    assert found["ess"] in effective_size.CANDIDATES
    before = (tmp_path / "run" / "proposal.json").read_bytes()
    assert answer(["estimate", "run", "propose=true", "act_noise=[0,shared,0.5,0.25,1,0]"]) == (0, "")  # in any order
    assert (tmp_path / "run" / "proposal.json").read_bytes() == before
    typed = [word for word in line.split()[1:] if not word.startswith("act_noise")]
    assert answer(["fit", *TINY, "algo=bc_flow", *typed, "out=next"]) == (0, "")


def test_other_data_have_a_proposal_of_their_own(runs, tmp_path):
    shutil.copytree(runs / "0.1", "run")
    assert answer(["estimate", "run", "propose=true", "data=bundled_6halfcheetah", "act_noise=1"]) == (0, "")
    assert not (tmp_path / "run" / "proposal.json").exists()
    assert len(list((tmp_path / "run").glob("proposal-????????.json"))) == 1


def test_where_there_is_one_way_to_act_the_size_alone_is_proposed(runs, capsys):
    shutil.copytree(runs / "plain", "run")
    assert main(["estimate", "run", "propose=true"]) == 0
    assert next(line for line in capsys.readouterr().out.splitlines() if "proposal  " in line).count("=") == 2


def test_data_alone_have_a_size(capsys):
    assert main(["estimate", "data=bundled_6halfcheetah", "propose=true"]) == 0
    assert "proposal     data.sampling=return data.ess=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["propose=true"], "estimate needs run=<run folder> or runs=[<run folder>,...]"),
        (["data=bundled_6halfcheetah"], "estimate needs run=<run folder>"),
        (["run={0.1}", "propose=true", "out=x.json"], "a proposal is written to proposal.json"),
        (["run={0.1}", "propose=often"], "propose"),
        (["run={0.1}", "propose=true", "data=bundled_2s3z"], "was trained for another task"),
        (["run={plain}", "propose=true", "act_noise=0"], "does not start from noise"),
        (["data=bundled_6halfcheetah", "propose=true", "act_noise=0"], "act_noise= is for a policy"),
        (["run={0.1}", "propose=true", "gamma=0.5"], "does not read gamma=; leave it out"),
        (["run={0.1}", "propose=true", "share=0.2", "net.width=7"], "does not read share=; leave it out"),
        (["run={0.1}", "propose=true", "net.width=7"], "does not read net=; leave it out"),
    ],
)
def test_wrong_words_are_one_line(words, says, runs):
    places = {name: str(runs / name) for name in (*SIZES, "plain")}
    for name, place in places.items():
        words = [word.replace(f"{{{name}}}", place) for word in words]
    code, text = answer(["estimate", *words])
    assert code == 2 and text.count("\n") == 1 and says in text, text


def test_the_validation_says_what_the_proposal_loses(runs, tmp_path, capsys):
    returns = {"0.1": {1.0: 100.0, 0.25: 60.0}, "0.5": {1.0: 80.0, 0.25: 90.0}}
    for size, found in returns.items():
        run = RunFolder(shutil.copytree(runs / size, tmp_path / size))
        entries = [{"act_noise": way, "return_mean": value} for way, value in found.items()]
        write_json(run.results, run.read_results() | {"by_act_noise": entries})
        looked = {"by_act_noise": [{"act_noise": way} for way in found], "ess": 0.5, "act_noise": 0.25}
        about = {key: run.read_results()[key] for key in ("data_digest", "updates")}
        write_json(run.path / "proposal.json", looked | about)
    assert validate([*SIZES, "--out", "valid"]) == 0
    shown = capsys.readouterr().out
    assert "| 100.0 (0.1, noise 1) | 90.0 (0.5, noise 0.25) |" in shown and "| 10.0% of 1 " in shown
    found = json.loads((tmp_path / "valid.json").read_text())["mean"]
    expected = {"proposal": 0.1, "proposed size, noise 1": 0.2, "proposed size, noise 0": None}
    expected |= {"0.1, noise 1": 0.0, "0.1, noise 0": None, "1, noise 1": None}
    assert found == pytest.approx(expected)
    other = json.loads((tmp_path / "0.1" / "proposal.json").read_text()) | {"data_digest": "another"}
    write_json(tmp_path / "0.1" / "proposal.json", other)
    (tmp_path / "0.5" / "proposal.json").unlink()
    assert validate(["0.5", "0.1"]) == 66
    said = capsys.readouterr().err
    assert "about other data" in said and "no proposal" in said
    assert validate(["nothere"]) == 66
