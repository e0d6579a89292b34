"""Datasets on which a draw by return should fail: what changes, and that nothing else does."""

import subprocess
import sys

import numpy as np
import pytest

from tests.support import small_columns
from tools.testbed import CASES, FEW, FEWEST, TWO, main
from vgm2p.datamodules.layout.episodes import returns_of
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.writing import write
from vgm2p.errors import ConfigError

LENGTHS = [5 + 3 * (number % 4) for number in range(24)]


@pytest.fixture
def columns():
    found = small_columns(1, LENGTHS)
    found.attributes["content_sha256"] = "some data"
    found.episodes["behaviour"] = np.repeat([0, *TWO], 8).astype(np.int32)
    return found


@pytest.mark.parametrize("name", CASES)
def test_rewards_and_returns_agree_and_what_was_done_stays(columns, name):
    made = CASES[name](columns)
    found = returns_of(made.steps["rewards"], made.episodes["start"])
    assert made.episodes["return"] == pytest.approx(found, abs=1e-5)
    assert (made.steps["rewards"][made.steps["has_action"] == 0] == 0).all()
    assert made.steps["rewards"].dtype == columns.steps["rewards"].dtype
    kept = {row.tobytes() for row in columns.steps["actions"]}
    assert {row.tobytes() for row in made.steps["actions"]} <= kept


def test_luck_is_half_of_the_variance_and_the_same_in_every_step(columns):
    bonus = CASES["luck"](columns).steps["rewards"].astype(float) - columns.steps["rewards"]
    start, length = columns.episodes["start"], columns.episodes["length"]
    for first, count in zip(start, length, strict=True):
        assert np.ptp(bonus[first : first + count]) < 1e-6
    assert (bonus[start] * length).std() == pytest.approx(columns.episodes["return"].std(), rel=0.4)


def test_sparse_pays_the_better_half_at_the_end(columns):
    made, returns = CASES["sparse"](columns), columns.episodes["return"]
    assert np.array_equal(made.episodes["return"], (returns > np.median(returns)).astype(float))
    assert np.count_nonzero(made.steps["rewards"]) == 12


def test_few_alike_and_two_are_episodes_of_the_recording(columns):
    assert len(CASES["few"](columns).episodes["return"]) == FEW
    two = CASES["two"](columns).episodes
    means = [two["return"][two["behaviour"] == one].mean() for one in TWO]
    assert len(two["return"]) == 16 and means[0] == pytest.approx(means[1], abs=1e-5)
    columns.episodes["return"][8:16] = 7.0  # of the first of these
    assert set(CASES["alike"](columns).episodes["behaviour"]) == {TWO[0]}


def test_a_case_that_the_dataset_does_not_allow_is_left_out(columns, tmp_path, capsys):
    columns.episodes["behaviour"][:] = np.arange(24)
    for name, says in (("alike", f"has {FEWEST} episodes"), ("two", "lacks the behaviour policies")):
        columns.episodes["behaviour"][:] = np.arange(24) + (0 if name == "alike" else 100)
        with pytest.raises(ConfigError, match=says):
            CASES[name](columns)
    del columns.attributes["content_sha256"]
    write(tmp_path / "x.h5", columns)
    main(tmp_path / "x.h5", tmp_path / "bed")
    assert {path.stem for path in (tmp_path / "bed").iterdir()} == {"small_luck", "small_sparse", "small_few"}
    assert read(tmp_path / "bed" / "small_sparse.h5", "full").episodes["return"].max() == 1.0
    assert "left out alike" in capsys.readouterr().err


def test_episodes_without_a_step_are_left_out(columns, tmp_path):
    empty = small_columns(1, [0, *LENGTHS])
    empty.episodes["behaviour"] = np.repeat([0, *TWO], [9, 8, 8]).astype(np.int32)
    for name, given in (("with", empty), ("without", columns)):
        given.attributes.pop("content_sha256", None)
        write(tmp_path / f"{name}.h5", given)
        main(tmp_path / f"{name}.h5", tmp_path / name)
    made = read(tmp_path / "with" / "small_sparse.h5")
    assert len(made.episodes["length"]) == len(LENGTHS) and made.episodes["length"].min() > 0


def test_a_wrong_path_is_one_line_and_makes_no_folder(tmp_path):
    words = ["-m", "tools.testbed", str(tmp_path / "no.h5"), str(tmp_path / "bed")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "no.h5" in done.stderr
    assert not (tmp_path / "bed").exists()
