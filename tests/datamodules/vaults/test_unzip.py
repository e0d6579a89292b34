"""Hostile zips are refused before a byte is written outside the temporary folder."""

import stat
import struct
import zipfile

import pytest

from vgm2p.datamodules.vaults.unzip import unzip
from vgm2p.errors import DataError, MissingInput

GOOD = {"3m.vlt/Good/metadata.json": b"{}", "3m.vlt/Good/manifest.ocdbt": b"m", "3m.vlt/Good/d/0": b"x"}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def linked(path):
    zipped(path, GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("3m.vlt/Good/d/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")


def patched(path, offset_in_header, value, members=GOOD):
    """Change a field of every central directory entry."""
    zipped(path, members)
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + offset_in_header : at + offset_in_header + len(value)] = value
        at += 4
    path.write_bytes(data)


def renamed(path, name):
    """Put a name into the zip that zipfile itself would not write."""
    other = "#" * len(name)
    zipped(path, {**GOOD, other: b"evil"})
    path.write_bytes(path.read_bytes().replace(other.encode(), name.encode()))


HOSTILE = {
    "absolute": lambda path: renamed(path, "/tmp/evil"),
    "parent": lambda path: renamed(path, "3m.vlt/Good/../../../evil"),
    "drive": lambda path: renamed(path, "C:/evil"),
    "backslash": lambda path: renamed(path, "3m.vlt\\Good\\..\\evil"),
    "nul": lambda path: renamed(path, "3m.vlt/Good/d/x\0.txt"),
    "link": linked,
    "case": lambda path: zipped(path, {**GOOD, "3m.vlt/good/D/0": b"y", "3M.vlt/Good/d/0": b"z"}),
    "encrypted": lambda path: patched(path, 8, struct.pack("<H", 1)),
    "bomb": lambda path: zipped(path, {**GOOD, "3m.vlt/Good/d/1": bytes(1 << 22)}),
    "understated": lambda path: patched(path, 24, struct.pack("<I", 1), {**GOOD, "3m.vlt/Good/d/1": bytes(range(250))}),
    "truncated": lambda path: path.write_bytes(zipped(path, GOOD).read_bytes()[:-30]),
    "page": lambda path: path.write_bytes(b"<html>not found</html>"),
    "crowd": lambda path: zipped(path, {f"{i}": b"" for i in range(100_001)}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_writes_nothing(kind, tmp_path):
    source, target = tmp_path / "in" / "x.zip", tmp_path / "deep" / "out"
    source.parent.mkdir()
    HOSTILE[kind](source)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError) as caught:
        unzip(source, ["Good"], target)
    assert len(caught.value.line) <= 200
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("root", ["3m.vlt/", "", "wrapped/3m.vlt/"])
def test_vaults_are_found_whatever_the_root_is_called(root, tmp_path):
    members = {
        f"{root}{uid}/{name}": uid.encode()
        for uid in ("Good", "Poor")
        for name in ("metadata.json", "manifest.ocdbt", "d/0")
    }
    source = zipped(
        tmp_path / "x.zip", {**members, "__MACOSX/3m.vlt/Good/metadata.json": b"junk", "3m.vlt/.DS_Store": b"junk"}
    )
    found = unzip(source, ["Good"], tmp_path / "out")
    assert (found["Good"] / "d" / "0").read_bytes() == b"Good"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Good"]


def test_a_missing_uid_is_named_with_what_there_is(tmp_path):
    with pytest.raises(MissingInput, match="'Medium'; it has Good"):
        unzip(zipped(tmp_path / "x.zip", GOOD), ["Medium"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
