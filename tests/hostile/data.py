"""Hostile data files and catalogues, and names that must not reach a terminal, a table or a plot as they are."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.cli.answers import TINY
from tests.hostile.place import Hostile, Place
from tests.hostile.runs import Call, fifo, folder, linked
from tests.support import small_columns
from vgm2p.datamodules.layout.writing import write

NAMES = {
    "escape codes": "\x1b[2J\x1b]0;owned\x07name\x9b31m",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "columns": "a|b|c\n| x | y |",
    "formula": "=cmd|' /C calc'!A0",
    "formula with @": "@SUM(1+1)*cmd|' /C calc'!A0",
    "link": "[name](javascript:alert(1)) ![](http://evil.example/x.png)",
    "mathematics": "$\\frac{1}{$ and $\\undefined$",
    "other direction": "\u202egnp.exe\u2066\u200b",
    "very long": "name" * 100_000,
    "half a character": "\ud83d name",
}


def file(change: Callable[[Path, Place], None], *command: str) -> Callable[[Place], list[str]]:
    """A command on a data file."""

    def make(place: Place) -> list[str]:
        path = place.here / "set.h5"
        write(path, small_columns())
        change(path, place)
        return [word.replace("FILE", str(path)) for word in command or ("data", "show", "FILE")]

    return make


def fit(change: Callable[[Path, Place], None]) -> Callable[[Place], list[str]]:
    return file(change, "fit", *TINY, "data=files", "data.source.paths=[FILE]", "out=new")


def attributes(**values: Any) -> Callable[[Path, Place], None]:
    """A file of our layout whose attributes say other things; its hash is right."""

    def change(path: Path, place: Place) -> None:
        columns = small_columns()
        columns.attributes |= values
        path.unlink()
        write(path, columns)

    return change


def raw(**values: str) -> Callable[[Path, Place], None]:
    """A file whose attributes our writer would refuse."""

    def change(path: Path, place: Place) -> None:
        with h5py.File(path, "a") as opened:
            for name, value in values.items():
                opened.attrs.create(name, value.encode(), dtype=h5py.string_dtype())

    return change


def special(path: Path, place: Place) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path, place: Place) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def bomb(path: Path, place: Place) -> None:
    """A file of some kilobytes that declares forty gigabytes."""
    with h5py.File(path, "a") as opened:
        for name in ("steps/rewards", "steps/has_action"):
            kind = opened[name].dtype
            del opened[name]
            opened.create_dataset(name, shape=(10**10,), dtype=kind, chunks=(1 << 20,), compression="gzip")


def objects(path: Path, place: Place) -> None:
    """A pickle in a column of objects."""
    with h5py.File(path, "a") as opened:
        del opened["steps/rewards"]
        opened["steps/rewards"] = np.void(pickle.dumps(Call()))
        opened.attrs["name"] = np.void(pickle.dumps(Call()))


def elsewhere(path: Path, place: Place) -> None:
    """Columns that are external: the content of another file of the user."""
    with h5py.File(path, "a") as opened:
        del opened["steps/rewards"]
        source = place.home / "notes.txt"
        opened.create_dataset("steps/rewards", shape=(4,), dtype="f4", external=[(str(source), 0, 16)])


def link(path: Path, place: Place) -> None:
    with h5py.File(path, "a") as opened:
        del opened["steps/rewards"]
        opened["steps/rewards"] = h5py.ExternalLink("/dev/zero", "/x")


def numpy_pickle(path: Path, place: Place) -> None:
    with open(path, "wb") as opened:
        np.save(opened, np.array([Call()], dtype=object), allow_pickle=True)


def catalogue(text: str) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        (place.here / "mine.yaml").write_text(text)
        return ["data", "list", "catalogue=mine.yaml"]

    return make


def vault(metadata: Any) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        where = place.here / "vault"
        where.mkdir()
        (where / "manifest.ocdbt").write_bytes(b"\x0c\xdb\x3a\x2a" + bytes(60))
        if metadata is None:
            os.mkfifo(where / "metadata.json")
        else:
            (where / "metadata.json").write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
        return ["data", "convert", str(where)]

    return make


def zipped(member: str, mode: int = 0o100644) -> Callable[[Place], list[str]]:
    """A placed archive with a member that lies outside, or is a link."""

    def make(place: Place) -> list[str]:
        target = place.here / "data" / "raw" / "og_marl" / "smac_v1" / "3m.zip"
        target.parent.mkdir(parents=True)
        with zipfile.ZipFile(target, "w") as archive:
            info = zipfile.ZipInfo(member.replace("HOME", str(place.home)))
            info.external_attr = mode << 16
            archive.writestr(info, "../../../../../home/notes.txt")
        return ["data", "convert", "og_marl/smac_v1/3m/Good"]

    return make


def shape(text: str) -> dict[str, Any]:
    return {"version": 1.2, "structure_shape": {"rewards": text}, "structure_dtype": {"rewards": "float32"}}


def renamed(value: str, key: str) -> Callable[[Place], list[str]]:
    """A report of a run that has an odd name."""

    def change(run: Path, place: Place) -> None:
        content = json.loads((run / "results.json").read_text())
        content[key] = value
        (run / "results.json").write_text(json.dumps(content))

    return folder(change, "report", "evaluated")


def labelled(value: str) -> Callable[[Place], list[str]]:
    """An evaluation of a checkpoint whose stored names are odd."""

    def make(place: Place) -> list[str]:
        run = place.run("evaluated")
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["environment_versions"] = {value: value}
        manifest["config"]["protocol"] = value
        (run / "manifest.json").write_text(json.dumps(manifest))
        other = place.here / "other"
        shutil.copytree(run, other)
        manifest["environment_versions"] = {value: "2"}
        (other / "manifest.json").write_text(json.dumps(manifest))
        return ["report", str(run), str(other), "html=page.html"]

    return make


LAUGHS = (
    "a0: &a0 [x,x]\n"
    + "".join(f"a{i}: &a{i} [*a{i - 1},*a{i - 1}]\n" for i in range(1, 60))
    + "datasets: [{id: *a59}]\n"
)
DATA = [
    Hostile("data: FIFO", file(special)),
    Hostile("data: FIFO, checked", file(special, "data", "check", "FILE")),
    Hostile("data: FIFO, trained on", fit(special)),
    Hostile("data: endless", file(endless)),
    Hostile("data: declares forty gigabytes", file(bomb)),
    Hostile("data: declares forty gigabytes, trained on", fit(bomb)),
    Hostile("data: pickle in a column", file(objects)),
    Hostile("data: pickle of numpy", file(numpy_pickle)),
    Hostile("data: a column of another file", file(elsewhere)),
    Hostile("data: a link to another file", file(link)),
    Hostile(
        "data: code in the arguments",
        file(attributes(env_kwargs='{"_target_": "os.mkdir", "path": "canary"}')),
        works=True,
    ),
    Hostile("data: module before a colon", fit(attributes(env_id="evil:HalfCheetah-v5")), works=True),
    Hostile(
        "data: module before a colon, played",
        file(
            attributes(env_id="evil:X"),
            "fit",
            *TINY,
            "evaluate=auto",
            "data=files",
            "data.source.paths=[FILE]",
            "out=new",
        ),
    ),
    Hostile("data: resolver in the name", fit(attributes(name="${oc.env:HF_TOKEN}")), works=True),
    Hostile("data: arguments of many brackets", file(raw(env_kwargs="[" * 50_000))),
    Hostile("data: behaviours of many brackets", file(raw(behaviours="[" * 50_000))),
    Hostile("catalogue: code", catalogue("datasets:\n- !!python/object/apply:os.mkdir [canary]\n")),
    Hostile("catalogue: lists of lists of one list", catalogue(LAUGHS)),
    Hostile("catalogue: resolver", catalogue("datasets: ['${oc.env:HF_TOKEN}']\n")),
    Hostile("vault: code in a shape", vault(shape("(__import__('os').mkdir('canary'),)"))),
    Hostile("vault: many brackets in a shape", vault(shape("(" * 10**5))),
    Hostile("vault: many brackets", vault("[" * 10**5)),
    Hostile("vault: metadata is a FIFO", vault(None)),
    Hostile(
        "vault: name of a type with escape codes", vault({**shape("(1, 5)"), "structure_dtype": {"rewards": "\x1b[2J"}})
    ),
    Hostile("archive: member above", zipped("../../../../home/notes.txt")),
    Hostile("archive: absolute member", zipped("HOME/notes.txt")),
    Hostile("archive: link", zipped("3m.vlt/Good/manifest.ocdbt", 0o120777)),
]
SHOWN = [
    *(Hostile(f"algorithm: {what}", renamed(value, "algorithm"), works=True) for what, value in NAMES.items()),
    *(Hostile(f"experiment: {what}", renamed(value, "experiment"), works=True) for what, value in NAMES.items()),
    *(
        Hostile(
            f"dataset: {what}",
            file(attributes(name=value.replace("\ud83d", "")), "data", "show", "FILE", "out=shown"),
            works=True,
        )
        for what, value in NAMES.items()
    ),
    *(Hostile(f"simulator, protocol: {what}", labelled(value), works=True) for what, value in list(NAMES.items())[:4]),
    Hostile(
        "output is a link",
        lambda place: [*folder(linked("x", "notes.txt"), "report", "evaluated")(place), "out=report"],
        works=True,
    ),
    Hostile("place of the last run is a folder", folder(fifo("x"), "again"), works=True),
]
