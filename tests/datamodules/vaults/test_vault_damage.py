"""Damaged vaults: one line of the right kind, or the same content; never a silent change."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.answers import TINY
from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from tests.run.runs import environment
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.published import VaultFolder
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.digests import DIGEST_FILE, verify_digests
from vgm2p.datamodules.vaults.unzip import unzip
from vgm2p.datamodules.vaults.vault import Vault
from vgm2p.errors import DataError, MissingInput, UserError

DAMAGES = {
    "no metadata": lambda v: (v / "metadata.json").unlink(),
    "no manifest": lambda v: (v / "manifest.ocdbt").unlink(),
    "metadata cut": lambda v: (v / "metadata.json").write_text((v / "metadata.json").read_text()[:40]),
    "metadata code": lambda v: (v / "metadata.json").write_text(
        (v / "metadata.json").read_text().replace("(1, 40, 3)", "print(1)")
    ),
    "other version": lambda v: (v / "metadata.json").write_text(
        (v / "metadata.json").read_text().replace('"version": 1.2', '"version": 2.0')
    ),
    "other type": lambda v: (v / "metadata.json").write_text(
        (v / "metadata.json").read_text().replace("float32", "float64", 1)
    ),
    "empty manifest": lambda v: (v / "manifest.ocdbt").write_bytes(b""),
    "manifest flipped": lambda v: flip(v / "manifest.ocdbt", 20),
    "no data": lambda v: shutil.rmtree(v / "d"),
    "data emptied": lambda v: largest(v).write_bytes(b""),
    "data cut": lambda v: largest(v).write_bytes(largest(v).read_bytes()[: largest(v).stat().st_size // 2]),
}


def flip(path, at, bit=1):
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(data)


def largest(folder):
    return max((path for path in (folder / "d").iterdir()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_vault_is_one_line(kind, tmp_path):
    write_vault(tmp_path / "v", smac_like(40))
    DAMAGES[kind](tmp_path / "v")
    with pytest.raises(UserError) as caught:
        Converter(Vault(tmp_path / "v"), tmp_path / "out" / "x.h5", None).run()
    assert isinstance(caught.value, DataError | MissingInput)
    assert len(caught.value.line) <= 200
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("field", ["illegal action", "NaN reward", "NaN observation", "flags gone"])
def test_content_that_breaks_the_rules_is_one_line(field, tmp_path):
    arrays = smac_like(40)
    if field == "illegal action":
        arrays["infos.legals"][7, 1] = 0
        arrays["infos.legals"][7, 1, (arrays["actions"][7, 1] + 1) % 4] = 1
    elif field == "flags gone":
        arrays["terminals"][:] = 0
    else:
        arrays["rewards" if "reward" in field else "observations"][9] = np.nan
    write_vault(tmp_path / "v", arrays)
    with pytest.raises(DataError) as caught:
        Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    assert len(caught.value.line) <= 200
    assert not (tmp_path / "x.h5").exists()


def test_bit_flips_in_a_vault_are_detected_or_harmless(tmp_path):
    write_vault(tmp_path / "v", smac_like(40))
    wanted = Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    rng, silent, detected = np.random.default_rng(0), 0, 0
    files = [path for path in (tmp_path / "v").rglob("*") if path.is_file() and path.suffix != ".json"]
    for _ in range(60):
        path = files[rng.integers(len(files))]
        at, bit = int(rng.integers(path.stat().st_size)), 1 << int(rng.integers(8))
        flip(path, at, bit)
        try:
            found = Converter(Vault(tmp_path / "v"), tmp_path / "y.h5", None).run()
            silent += found != wanted
        except UserError:
            detected += 1
        flip(path, at, bit)
    assert silent == 0
    assert detected > 0


def test_flips_in_metadata_are_one_line_of_the_right_kind(tmp_path):
    write_vault(tmp_path / "v", smac_like(40))
    wanted = Converter(Vault(tmp_path / "v"), tmp_path / "x.h5", None).run()
    path, rng, lines = tmp_path / "v" / "metadata.json", np.random.default_rng(1), []
    for _ in range(150):
        at, bit = int(rng.integers(path.stat().st_size)), 1 << int(rng.integers(8))
        flip(path, at, bit)
        try:
            assert Converter(Vault(tmp_path / "v"), tmp_path / "y.h5", None).run() == wanted
        except DataError as error:
            lines.append(error.line)
        flip(path, at, bit)
    assert lines and all(len(line) <= 200 and str(tmp_path) in line for line in lines)


def test_convert_mends_a_damaged_file(tmp_path):
    write_vault(tmp_path / "v.vlt" / "Good", smac_like(40))
    source = VaultFolder(str(tmp_path / "v.vlt" / "Good"), str(tmp_path / "cache"), lambda line: None)
    path = source.resolve()[0]
    wanted = read(path).attributes["content_sha256"]
    flip(path, path.stat().st_size // 2)
    assert source.renew() == path
    assert read(path, verify="full").attributes["content_sha256"] == wanted


def test_a_vault_placed_by_hand_is_recorded_and_a_later_flip_is_named(tmp_path):
    write_vault(tmp_path / "v.vlt" / "Good", smac_like(40))
    told = []
    source = VaultFolder(str(tmp_path / "v.vlt" / "Good"), str(tmp_path / "cache"), told.append)
    path = source.resolve()[0]
    assert sum("placed by hand" in line for line in told) == 1
    told.clear()
    path.unlink()
    source.resolve()
    assert not any("placed by hand" in line for line in told)
    path.unlink()
    broken = largest(tmp_path / "v.vlt" / "Good")
    flip(broken, broken.stat().st_size // 2)
    with pytest.raises(DataError, match=f"{broken.name} differs from its stored digest"):
        source.resolve()
    assert not path.exists()


def test_an_unpacked_vault_carries_its_digests(tmp_path):
    write_vault(tmp_path / "raw" / "3m.vlt" / "Good", smac_like(40))
    shutil.make_archive(str(tmp_path / "3m"), "zip", tmp_path / "raw")
    folder = unzip(tmp_path / "3m.zip", ["Good"], tmp_path / "out")["Good"]
    told = []
    verify_digests(folder, tmp_path / "none.json", told.append)()
    assert told == [] and not (tmp_path / "none.json").exists()
    (folder / "d" / "extra").write_bytes(b"x")
    with pytest.raises(DataError, match="d/extra differs from its stored digest"):
        verify_digests(folder, tmp_path / "none.json", told.append)
    (folder / "d" / "extra").unlink()
    (folder / DIGEST_FILE).write_text("[")
    with pytest.raises(DataError, match="damaged"):
        verify_digests(folder, tmp_path / "none.json", told.append)


FULL = """
import os, resource, sys
from pathlib import Path
from vgm2p.cli import main
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


def on_a_full_disk(limit, *words):
    """Run the program where no file may grow beyond `limit`: return exit code and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), *map(str, words)], capture_output=True, text=True, env=environment()
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]  # before it, matplotlib may miss its font cache


@pytest.mark.parametrize(
    "share", [0.0002, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.01, 0.5)), 0.9999]
)
def test_a_disk_that_fills_in_the_middle_is_one_line(share, tmp_path):
    folder, cache = tmp_path / "v.vlt" / "Good", tmp_path / "cache"
    write_vault(folder, smac_like(8000))
    size = VaultFolder(str(folder), str(tmp_path / "other"), print).resolve()[0].stat().st_size
    code, line = on_a_full_disk(int(share * size), "data", "convert", folder, f"cache={cache}")
    assert code == 74, line
    remedy = "free space there, or choose another folder (fit: data.cache=)"
    assert line == f"vgm2p: {cache / 'own'}: File too large; {remedy}"
    assert [path for path in (cache / "own").iterdir() if path.suffix != ".lock"] == []


def test_a_disk_that_fills_under_flat_files_is_one_line(tmp_path):
    words = [*TINY, f"out={tmp_path / 'run'}", f"data.cache={tmp_path}", "data.max_resident=1", "evaluate=none"]
    code, line = on_a_full_disk(1 << 20, "fit", *words)
    assert code == 74, line
    assert line.startswith(f"vgm2p: {tmp_path / 'flat'}: File too large")
    assert line.endswith("; free space, or set data.cache")
    assert [path.suffix for path in (tmp_path / "flat").iterdir()] == [".lock"]
