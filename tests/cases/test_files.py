"""Files that are not what they should be: each cause has its own line and its own remedy, and nothing is read first."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cases import inputs
from tests.cases.inputs import NAME, on_file, on_recordings, own, recording, refused, shown
from tests.cli.answers import answer
from tests.run.runs import environment
from vgm2p.datamodules.layout.foreign import HOW
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import attributes_hash
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.finder import data_files
from vgm2p.datamodules.sources.recorded import Files
from vgm2p.errors import DataError, MissingInput, OutOfMemory
from vgm2p.io.files import require_folder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
READ = {"d4rl": "D4RL", "minari": "Minari", "omiga": "OMIGA"}
NOT_READ = {"robomimic": "robomimic", "pymarl": "pymarl"}
COMMANDS = {
    "show": lambda folder, path: ["data", "show", path],
    "convert": lambda folder, path: ["data", "convert", path],
    "fit": on_file,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("layout", NOT_READ)
def test_the_layout_of_another_program_is_named(layout, command, tmp_path):
    path = tmp_path / "x.hdf5"
    getattr(inputs, layout)(path)
    refused(COMMANDS[command](tmp_path, path), 65, NOT_READ[layout], HOW)


@pytest.mark.parametrize("command", ["show", "fit"])
@pytest.mark.parametrize("layout", READ)
def test_the_command_that_is_printed_converts_a_file_of_another_program(layout, command, tmp_path):
    path = tmp_path / "x y.hdf5"
    getattr(inputs, layout)(path)
    code, text = answer([str(word) for word in COMMANDS[command](tmp_path, path)])
    assert (code, text.count("\n")) == (65, 1)
    assert READ[layout] in text
    words = shlex.split(text.partition(" convert it")[2].partition(":")[2])
    assert answer(words[words.index("data") :]) == (0, "")
    assert answer(["data", "check", str(tmp_path / "x y_converted.h5")]) == (0, "")


def test_the_folder_of_minari_is_enough(tmp_path):
    (tmp_path / "D4RL" / "data").mkdir(parents=True)
    (tmp_path / "D4RL" / "data" / "metadata.json").write_text("{}")
    inputs.minari(tmp_path / "D4RL" / "data" / "main_data.hdf5")
    for words in (["data", "show", str(tmp_path / "D4RL")], on_file(tmp_path, tmp_path / "D4RL")):
        code, text = answer([str(word) for word in words])
        assert (code, text.count("\n")) == (65, 1)
        assert "main_data.hdf5" in text
    assert answer(["data", "convert", str(tmp_path / "D4RL"), "agents=2", f"out={tmp_path / 'x.h5'}"]) == (0, "")


def test_the_page_that_a_refusal_names_shows_how_to_write_the_layout(tmp_path, monkeypatch):
    heading, code = re.search(r"## (Data of another program)\n.*?```python\n(.*?)```", PAGE.read_text(), re.S).groups()
    assert heading in HOW
    inputs.d4rl(tmp_path / "halfcheetah_medium-v2.hdf5")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert answer(["data", "check", "mine.h5"])[0] == 0
    assert answer([*on_file(tmp_path, tmp_path / "mine.h5"), "data.timeouts=terminal"]) == (0, "")


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def listening(path):
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))


SPECIAL = {fifo: "a FIFO", device: "a device", listening: "a socket"}


@pytest.mark.parametrize("make", SPECIAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_plain_file_is_refused_at_once(make, linked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{NAME}.hdf5"
    make(tmp_path / "other" if linked else path)
    if linked:
        path.symlink_to("other")
    for words in (["data", "show", path], ["data", "convert", path], on_file(tmp_path, path)):
        refused(words, 65, SPECIAL[make], "plain file")
    refused(on_recordings(tmp_path, tmp_path), 65, SPECIAL[make])
    assert answer(["data", "check", str(path)])[0] == 65
    refused(["data", "list", f"catalogue={path}"], 65, SPECIAL[make])


def test_a_folder_where_a_file_must_be_and_a_dangling_link_say_so(tmp_path):
    (tmp_path / f"{NAME}.hdf5").mkdir()
    refused(on_recordings(tmp_path, tmp_path), 66, "is not below data.root")
    (tmp_path / "x.h5").symlink_to("gone.h5")
    for words in (["data", "show", tmp_path / "x.h5"], on_file(tmp_path, tmp_path / "x.h5")):
        refused(words, 66, "x.h5: a link to gone.h5, which does not exist")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    refused(on_file(tmp_path, tmp_path / "loop.h5"), 66, "loop.h5", "check the path")


CONTENTS = {
    "empty": (b"", "empty file"),
    "text": (b"x" * 999, "another kind of file"),
    "zip": (b"PK" + bytes(99), "kind"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_a_file_that_is_no_hdf5_is_never_called_damaged(what, tmp_path):
    content, says = CONTENTS[what]
    (tmp_path / "x.h5").write_bytes(content)
    assert "damaged" not in refused(["data", "show", tmp_path / "x.h5"], 65, says)


def test_an_own_file_that_is_damaged_is_never_to_be_fetched_again(tmp_path):
    write(tmp_path / "x.h5", own())
    data = bytearray((tmp_path / "x.h5").read_bytes())
    at = data.find(own().steps["rewards"].tobytes()[:64])
    data[at] ^= 1
    (tmp_path / "x.h5").write_bytes(data)
    line = refused(["data", "show", tmp_path / "x.h5"], 65, "damaged", "restore it from a copy, or make it again")
    assert "fetch" not in line and "convert" not in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_or_folder_without_permission_names_the_command_that_mends_it(tmp_path):
    write(tmp_path / "x.h5", own())
    (tmp_path / "x.h5").chmod(0)
    assert refused(["data", "show", tmp_path / "x.h5"], 66, "no permission").endswith(
        f"`chmod u+r {tmp_path / 'x.h5'}`"
    )
    recording(tmp_path / f"{NAME}.hdf5")
    (tmp_path / "cache").mkdir(mode=0o500)
    refused(on_recordings(tmp_path, tmp_path), 74, "cache: no permission", "data.cache")


def test_a_cache_that_cannot_be_made_says_which_key_to_set(tmp_path):
    recording(tmp_path / f"{NAME}.hdf5")
    (tmp_path / "cache").write_text("")
    refused(
        on_recordings(tmp_path, tmp_path), 74, "cache: File exists; set cache= (fit: data.cache=) to a writable folder"
    )


WRITER = "import h5py, sys, time; f = h5py.File(sys.argv[1], 'a', libver=sys.argv[2]); f['a'] = [1.0]; f.flush(); print(1, flush=True); time.sleep(60)"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_that_another_program_writes_or_a_killed_one_left(version, tmp_path):
    path = tmp_path / "my set.h5"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), version], stdout=subprocess.PIPE)
    writer.stdout.readline()
    says = ("another program is writing it, or was killed", f"h5clear -s '{path}'")
    refused(["data", "show", path], 65, *says)
    writer.kill()
    writer.wait()
    if version == "latest":  # the earliest format does not mark a file that is open
        refused(["data", "show", path], 65, *says)
        refused(on_file(tmp_path, path), 65, *says)


def bomb(path: Path, rows: int, chunk: int) -> None:
    """A small file in our layout that declares `rows` rows, in chunks of `chunk` rows, one of them written."""
    columns = own()
    with h5py.File(path, "w") as file:
        for name, array in columns.arrays():
            if name.startswith("episodes/"):
                file[name] = array
                continue
            shape = (rows, *array.shape[1:])
            column = file.create_dataset(name, shape, array.dtype, chunks=(chunk, *array.shape[1:]), compression="gzip")
            column.id.write_direct_chunk((0,) * len(shape), b"x" * 100)
        attributes = {**columns.attributes, "schema_version": 1, "content_sha256": "0" * 64}
        file.attrs.update({**attributes, "attributes_sha256": attributes_hash(attributes), "complete": 1})


@pytest.mark.parametrize("chunk", [1000, 10**7])
def test_a_small_file_that_declares_huge_arrays_is_refused_before_it_is_read(chunk, tmp_path):
    path = tmp_path / "bomb.h5"
    bomb(path, 10**10, chunk)
    assert path.stat().st_size < 100_000
    for words in (["data", "show", path], on_file(tmp_path, path)):
        refused(words, 65, "bomb.h5", "GB")
    assert answer(["data", "check", str(path)])[0] == 65


def test_a_recording_that_declares_huge_arrays_is_refused_before_it_is_read(tmp_path):
    path = recording(tmp_path / f"{NAME}.hdf5", observations=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("observations", (120, 10**9), "f4", chunks=(1, 10**6), compression="gzip")
    refused(on_recordings(tmp_path, tmp_path), 65, "declares 480 GB of arrays")


LITTLE = """
import resource, sys
from pathlib import Path
import vgm2p.cli, vgm2p.commands.data
from tests.cli.answers import answer
words = ["data", "show", sys.argv[1]], ["data", "convert", sys.argv[2], "cache=" + sys.argv[3]]
answer(["data", "check"])
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (12 << 20),) * 2)
for each in words:
    print(*answer(each))
"""


@pytest.mark.slow
def test_too_little_memory_is_no_damage_and_no_converted_file_is_deleted_for_it(tmp_path):
    source = recording(tmp_path / "x.hdf5", episodes=300, length=1000)
    assert answer(["data", "convert", str(source), f"cache={tmp_path}"])[0] == 0
    (made,) = tmp_path.glob("x-*.h5")
    before = made.read_bytes()
    words = [sys.executable, "-c", LITTLE, str(made), str(source), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 2 and all(line.startswith("71 ") and "memory" in line for line in lines), (lines, done.stderr)
    assert "damaged" not in done.stdout and made.read_bytes() == before


def test_the_finder_skips_hidden_files_takes_both_endings_and_follows_links(tmp_path):
    (tmp_path / "mac" / ".hidden").mkdir(parents=True)
    write(tmp_path / "mac" / "mine.hdf5", own())
    for name in ("._mine.h5", ".mine.h5", ".hidden/mine.h5"):
        (tmp_path / "mac" / name).write_bytes(b"\x00\x05\x16\x07" + bytes(4000))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "mac")
    (tmp_path / "set" / "circle").symlink_to(tmp_path / "set")
    write(tmp_path / "set" / "B.H5", own())
    assert [path.name for path in data_files(tmp_path / "set")] == ["B.H5", "mine.hdf5"]
    assert answer(["data", "show", str(tmp_path / "mac")]) == (0, "")
    told = shown(Files([str(tmp_path / "mac")]).resolve)
    assert told == f"files        {tmp_path / 'mac' / 'mine.hdf5'}\n"
    (tmp_path / "mac" / "newest.h5").symlink_to(tmp_path / "mac" / "mine.hdf5")  # these episodes count once
    assert shown(Files([str(tmp_path / "mac")]).resolve) == told
    assert answer(on_file(tmp_path, tmp_path / "mac")) == (0, "")
    (tmp_path / "none").mkdir()
    (tmp_path / "uid").mkdir()
    for name in ("metadata.json", "manifest.ocdbt"):
        (tmp_path / "uid" / name).write_text("")
    refused(on_file(tmp_path, tmp_path / "uid"), 66, "a vault", "data=vault data.source.path=")
    refused(on_file(tmp_path, tmp_path / "none"), 66, "no HDF5 file in this folder")


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_memory_that_runs_out_while_a_file_is_read_is_told_as_that(error, tmp_path, monkeypatch):
    write(tmp_path / "x.h5", own())

    def fails(*words, **more):
        raise error

    monkeypatch.setattr(np, "empty", fails)
    with pytest.raises(OutOfMemory, match="not enough memory"):
        read(tmp_path / "x.h5")


def test_a_folder_in_the_way_of_a_file_is_told(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(MissingInput, match="no such dataset"):
        read(tmp_path / "x" / "y.h5")
    with pytest.raises(DataError, match="a folder, where a file is expected"):
        read(tmp_path)
    require_folder(tmp_path / "new" / "one", "unused")
    assert (tmp_path / "new" / "one").is_dir()
