"""A line of an error keeps what is wrong and how to mend it, also with long paths."""

from __future__ import annotations

from vgm2p.errors import MAX_LINE, DataError


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
