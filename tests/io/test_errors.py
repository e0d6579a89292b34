"""A line of an error keeps what is wrong and how to mend it, also with long paths."""

from __future__ import annotations

import pytest

from vgm2p.errors import MAX_LINE, DataError, nearest


def test_the_first_folders_of_a_long_path_are_left_out_before_any_other_word():
    path = "/a" * 120 + "/mine.vlt/Good"
    line = DataError(f"{path}: no end flag is set; set episode_limit=<steps>").line
    assert len(line) == MAX_LINE
    assert line.startswith("...") and line.endswith("/mine.vlt/Good: no end flag is set; set episode_limit=<steps>")


def test_the_middle_of_a_text_without_paths_is_left_out():
    line = DataError("wrong " + "word " * 100 + "mend it").line
    assert len(line) <= MAX_LINE and line.startswith("wrong word") and line.endswith("mend it")


def test_a_short_line_stays_as_it_is():
    assert DataError("/a/b/c.h5: empty file").line == "/a/b/c.h5: empty file"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("boot", ["bootstrap", "drop", "self"], "; did you mean 'bootstrap'?"),
        ("3n", ["2s3z", "3m", "8m"], "; did you mean '3m'?"),
        ("batchsize", ["batch_size", "best_share"], "; did you mean 'batch_size'?"),
        ("list", ["fit", "data", "report"], "; known: data, fit, report"),
        ("smax", [f"smax_{n}" for n in range(40)], "; nearest: smax_0, smax_1, smax_2; `every` lists all"),
    ],
)
def test_the_nearest_words(word, known, hint):
    assert nearest(word, known, "every") == hint
