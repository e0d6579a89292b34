"""Conversion as a job: what is made again, what is left alone, full disks, kills, memory."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from tests.support import small_columns
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.published import VaultFolder
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.errors import StorageError


def test_vaults_of_ones_own_are_told_apart_and_made_again_when_they_change(tmp_path):
    files = []
    for place, rows in (("a", 40), ("b", 80)):
        write_vault(tmp_path / place / "3m.vlt" / "Good", smac_like(rows))
        files += VaultFolder(str(tmp_path / place / "3m.vlt" / "Good"), str(tmp_path / "cache"), print).resolve()
    assert [len(read(path).steps["t"]) for path in files] == [40, 80]
    shutil.rmtree(tmp_path / "a" / "3m.vlt" / "Good")
    write_vault(tmp_path / "a" / "3m.vlt" / "Good", smac_like(60))
    again = VaultFolder(str(tmp_path / "a" / "3m.vlt" / "Good"), str(tmp_path / "cache"), print)
    assert len(read(again.resolve()[0]).steps["t"]) == 60


def test_temporary_files_of_others_stay(tmp_path):
    for name in (".precious.tmp", ".other.h5.0123abcd.tmp", ".x.h5.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".x.h5.89abcdef.tmp").mkdir()
    write(tmp_path / "x.h5", small_columns())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".other.h5.0123abcd.tmp",
        ".precious.tmp",
        ".x.h5.89abcdef.tmp",
        "x.h5",
    ]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    write_vault(tmp_path / "v", smac_like(40))
    monkeypatch.setattr("vgm2p.io.files.shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(StorageError, match=r"needed; .*set cache= or out= \(fit: data.cache=\)"):
        Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    assert not (tmp_path / "x.h5").exists()


def test_a_killed_conversion_leaves_nothing_and_the_next_is_the_same(tmp_path):
    write_vault(tmp_path / "v", smac_like(60_000))
    command = [
        sys.executable,
        "-c",
        (
            "import sys, time; from pathlib import Path;"
            "from vgm2p.datamodules.vaults.vault import Vault; from vgm2p.datamodules.vaults.convert import Converter;"
            "Converter(Vault(Path(sys.argv[1])), Path(sys.argv[2]), None, lambda l: print(l, flush=True)).run()"
        ),
        str(tmp_path / "v"),
        str(tmp_path / "out" / "x.h5"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "x.h5").exists()
    assert subprocess.run(command, stdout=subprocess.PIPE, check=False).returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.h5"]
    again = Converter(Vault(tmp_path / "v"), tmp_path / "y.h5", None).run()
    assert read(tmp_path / "out" / "x.h5").attributes["content_sha256"] == again


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.disk_usage("/tmp").free < 12e9, reason="needs 12 GB of disk")
def test_a_vault_of_two_gigabytes_streams_in_little_memory(tmp_path):
    from tests.datamodules.vaults.vault_writer import copy_plainly

    rows = 1_400_000
    write_vault(tmp_path / "v", smac_like(rows, agents=8, width=40))
    raw = sum(8 * x for x in (40, 1, 1, 1, 1, 4)) * 4 * rows
    assert raw > 2e9
    script = (
        "import sys, time; from pathlib import Path;"
        "from vgm2p.datamodules.vaults.vault import Vault; from vgm2p.datamodules.vaults.convert import Converter;"
        # not getrusage: that maximum outlives exec, and the parent has just written 2 GB
        "peak = lambda: int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1]) / 1024;"
        "before, began = peak(), time.monotonic(); Converter(Vault(Path(sys.argv[1])), Path(sys.argv[2]), None).run();"
        "print(peak() - before, time.monotonic() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "v"), str(tmp_path / "x.h5")],
        capture_output=True,
        text=True,
        check=True,
    )
    memory, ours = (float(word) for word in done.stdout.split())
    began = time.monotonic()
    copy_plainly(tmp_path / "v", tmp_path / "plain.h5")
    plain = time.monotonic() - began
    print(
        f"peak above baseline {memory:.0f} MB; throughput {plain / ours:.2f} of a plain copy ({raw / 1e9:.2f} GB in {ours:.0f} s)"
    )
    assert 10 < memory < 500
