"""What a resumed run and a report trust: logs, manifests, times and results that were changed or lost."""

import json
import os

import pytest

from tests.cases.trusted import ENDED, edit, files, refused, slow, some_slow
from tests.run.runs import differences, results, run, succeeded
from vgm2p.errors import DataError, StorageError
from vgm2p.run.csv_log import LARGEST_LOG, LARGEST_MARKED, CsvLog

# --- logs


def line_of(content, update):
    return next(i for i, line in enumerate(content) if line.startswith(b"%d," % update))


def change(content, at):
    content[at] = content[at].replace(b"\n", b"1\n")


def lose(content, at):
    del content[at]


def double(content, at):
    content.insert(at, content[at])


def garbage(content, at):
    content[at] = b"\xff\x00 no row\n"


def fewer_cells(content, at):
    content[at] = content[at].split(b",")[0] + b"\n"


def empty(content, at):
    content.insert(at, b"\n")


DAMAGES = [change, lose, double, garbage, fewer_cells, empty]
LOGS = {"metrics.csv": 14, "episodes.csv": 20}  # update of a row before both checkpoints


def damage(out, name, kind, update):
    path = out / name
    content = path.read_bytes().splitlines(keepends=True)
    kind(content, line_of(content, update))
    path.write_bytes(b"".join(content))


CASES = [(name, kind) for name in LOGS for kind in DAMAGES if (name, kind) != ("episodes.csv", double)]
FAST = [("metrics.csv", lose), ("metrics.csv", garbage), ("episodes.csv", change), ("episodes.csv", garbage)]


@pytest.mark.parametrize(("name", "kind"), some_slow(CASES, FAST))
def test_a_changed_row_ends_the_run_in_one_line_and_nothing_is_lost(out, name, kind):
    damage(out, name, kind, LOGS[name])
    before = files(out)
    refused(run(out), f"rows of {name} were changed or lost", "restore")
    assert files(out) == before


@pytest.mark.parametrize("name", LOGS)
def test_a_lost_log_ends_the_run_in_one_line(out, name):
    (out / name).unlink()
    refused(run(out), f"{name} is missing")


@pytest.mark.parametrize(("name", "kind", "update"), [("metrics.csv", change, 42), ("episodes.csv", double, 20)])
def test_a_row_changed_after_the_rows_of_an_older_checkpoint_goes_back_to_it(out, whole, name, kind, update):
    damage(out, name, kind, update)
    done = succeeded(run(out))
    assert "skipped" in done.stdout and f"rows of {name} were changed or lost" in done.stdout
    assert "continuing after update 40" in done.stdout
    assert differences(whole, out) == []


@pytest.mark.parametrize("name", LOGS)
def test_rows_after_the_checkpoint_are_cut_whatever_they_are(out, whole, name):
    with (out / name).open("ab") as file:
        file.write(b"57,0,1.5\n\xff\x00\n58")
    succeeded(run(out))
    assert differences(whole, out) == []


def test_a_run_whose_folder_moved_goes_on(out, whole, tmp_path):
    moved = out.rename(tmp_path / "moved")
    succeeded(run(moved))
    assert differences(whole, moved) == []


@pytest.mark.parametrize("name", ["logs", "froze", "window"])
def test_a_checkpoint_that_lacks_something_is_not_taken(out, name):
    for path in sorted((out / "checkpoints").glob("*.ckpt")):
        edit(path, lambda content: content["vgm2p"].pop(name))
    refused(run(out), "cannot go on")


@pytest.mark.parametrize(("name", "kind"), some_slow(CASES, [("metrics.csv", change), ("episodes.csv", lose)]))
def test_a_finished_run_whose_log_changed_says_so(out, name, kind):
    damage(out, name, kind, LOGS[name])
    refused(run(out, updates=ENDED), name, "not as it was when the run ended")


def test_results_are_compared_with_the_episodes(out):
    content = results(out)
    content["return_mean"] += 1
    (out / "results.json").write_text(json.dumps(content))
    refused(run(out, updates=ENDED), "results.json", "'return_mean' is not that of episodes.csv")


# --- manifest and times


def test_the_manifest_keeps_the_commands_of_all_sessions(out):
    for updates in (52, 54):
        succeeded(run(out, updates=updates))
    manifest = json.loads((out / "manifest.json").read_text())
    commands = [*manifest["earlier_commands"], manifest["command"]]
    asked = [word for command in commands for word in command if word.startswith("updates=")]
    assert asked == ["updates=50", "updates=52", "updates=54"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", None),
        ("data", 3),
        slow("spec", []),
        slow("versions", {"torch": 2}),
        slow("environment_versions", "x"),
        slow("earlier_commands", 7),
        slow("earlier_environment_versions", [3]),
    ],
)
def test_a_damaged_manifest_is_one_line(out, key, value):
    path = out / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    refused(run(out), "manifest.json")


@pytest.mark.parametrize("content", ["{", *map(slow, ["", "[]", "{}", '{"sessions": 3}', '{"sessions": [1]}'])])
def test_damaged_times_are_begun_anew(out, content):
    (out / "timing.json").write_text(content)
    done = succeeded(run(out, updates=51))
    assert done.stdout.count("timing.json is damaged: it is begun anew") == 1
    assert [each["to"] for each in json.loads((out / "timing.json").read_text())["sessions"]] == [51]


def test_logs_are_marked_and_cut_to_the_byte(tmp_path):
    log = CsvLog(tmp_path / "x.csv")
    empty_mark = log.mark()
    for update in (5, 10):
        log.append([{"update": update, "seed": s, "loss": update / 3} for s in range(2)])
    mark, earlier, content = log.mark(), log.mark(before=10), log.path.read_bytes()
    assert log.agrees(empty_mark) and log.agrees(mark) and log.agrees(earlier)
    log.path.write_bytes(content + b"11,")
    assert log.agrees(mark)
    log.cut(earlier["bytes"])
    assert log.path.read_bytes() == content[: content.index(b"10,")]
    assert log.agrees(earlier) and not log.agrees(mark)
    for odd in ({}, {"bytes": -1, "sha256": ""}, {"bytes": "5", "sha256": mark["sha256"]}):
        assert not log.agrees(odd)


def test_a_log_with_too_many_rows_to_read_is_still_marked(tmp_path):
    """A run that logs often must not end because of it; only readers of all rows refuse."""
    log = CsvLog(tmp_path / "x.csv")
    log.append([{"update": 5, "loss": 0.5}])
    begin, size = log.mark(), LARGEST_LOG + 1
    os.truncate(log.path, size)
    assert log.too_large and log.agrees(begin)
    mark = log.mark()
    assert mark["bytes"] == size and log.agrees(mark)
    with pytest.raises(DataError, match="too many"):
        log.rows()
    log.cut(begin["bytes"])
    assert log.mark() == begin and not log.too_large
    os.truncate(log.path, LARGEST_MARKED + 1)
    with pytest.raises(DataError, match="log_every"):
        log.mark()


def test_the_cut_of_a_log_follows_no_link(tmp_path):
    mine = tmp_path / "thesis.txt"
    mine.write_text("update,loss\n5,0.5\n")
    (tmp_path / "x.csv").symlink_to(mine)
    with pytest.raises(StorageError, match="is a link"):
        CsvLog(tmp_path / "x.csv").cut(3)
    assert mine.read_text() == "update,loss\n5,0.5\n"


def test_a_pipe_in_the_place_of_a_log_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match="no plain file"):
        CsvLog(tmp_path / "x.csv").rows()
