"""A run with protocol=source: what it prints and stores, and its name in tables."""

import pytest

from tests.run.runs import program, run, succeeded
from vgm2p.run.folder import RunFolder

TINY = {"updates": 2, "eval_every": 2, "checkpoint_every": 2, "algo": "ma_td3bc"}
WORDS = [f"{key}={value}" for key, value in TINY.items()]


def methods(text):
    """The names of the methods in a table."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][3:]


def test_a_run_stores_its_protocol_and_every_table_shows_it(tmp_path):
    """The command line wins over the protocol in width and depth."""
    source, paper = tmp_path / "source", tmp_path / "paper"
    done = succeeded(run(source, protocol="source", **TINY))
    assert "protocol     source: 1 x 16 relu, lr 0.0003, batch 8" in done.stdout
    assert methods(done.stdout) == ["ma_td3bc (source)"]
    assert "(source) trained with protocol=source" in done.stdout
    (again,) = [line for line in done.stdout.splitlines() if line.startswith("train on")]
    assert "protocol=source" in again
    (other,) = [line for line in done.stdout.splitlines() if line.startswith("other algorithm")]
    assert "protocol=" not in other
    stored = RunFolder(source).read_manifest()["config"]
    assert (stored["protocol"], stored["algo"]["gamma"], stored["net"]["width"]) == ("source", 0.99, 16)

    done = succeeded(run(paper, **TINY))
    assert RunFolder(paper).read_manifest()["config"]["protocol"] == "paper"
    assert "protocol  " not in done.stdout
    assert "protocol=" not in done.stdout

    done = succeeded(program(tmp_path, "report", str(source), str(paper), "versus=ma_td3bc (source)"))
    assert "ma_td3bc (source) - ma_td3bc " in done.stdout
    assert "different conditions" in done.stdout
    rows = (tmp_path / "report" / "table.csv").read_text().splitlines()
    assert {row.split(",")[1] for row in rows} >= {"ma_td3bc (source)", "ma_td3bc"}


@pytest.mark.slow
def test_a_comparison_run_has_the_protocol_where_its_algorithm_has_settings(tmp_path):
    """The algorithm of the run itself is not trained twice."""
    given = ["protocol=source", "compare=[ma_td3bc,bc_gaussian]", "eval_episodes=1", "eval_acting=[]"]
    size = ["net.width=8", "data.batch_size=4", "callbacks.plot=null", "logger.tensorboard=null"]
    done = succeeded(program(tmp_path, "fit", *WORDS, *given, *size))
    assert methods(done.stdout) == ["ma_td3bc (source)", "bc_gaussian"]


def test_a_run_goes_on_under_its_protocol(tmp_path):
    assert run(tmp_path / "run", protocol="source", evaluate="none", **TINY).returncode == 0
    succeeded(program(tmp_path, "fit", f"resume={tmp_path / 'run'}", "updates=3"))
    stored = RunFolder(tmp_path / "run").read_manifest()["config"]
    assert (stored["protocol"], stored["updates"]) == ("source", 3)
