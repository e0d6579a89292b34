"""Hostile checkpoints and run folders."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.cli.test_stored import HOSTILE, WORDS, put
from tests.hostile.place import Hostile, Place
from vgm2p.run.checkpoint import digest_path

Change = Callable[[Path, Place], None]


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("update-*.ckpt"))[-1]


def checkpoint(change: Callable[[dict[str, Any]], Any], command: str = "evaluate") -> Callable[[Place], list[str]]:
    """A command on a run whose checkpoint was changed."""

    def make(place: Place) -> list[str]:
        path = newest(place.run())
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
        digest_path(path).unlink()
        return words_of(command, path)

    return make


def words_of(command: str, path: Path) -> list[str]:
    return {
        "evaluate": ["evaluate", f"ckpt={path}", "episodes=1", "act_noise=1"],
        "collect": ["collect", f"policy={path}", "episodes=1", "out=x.h5"],
        "estimate": ["estimate", f"run={path.parent.parent}", "updates=2", "critics=1"],
        "fit": ["fit", f"resume={path.parent.parent}", "updates=8"],
        "report": ["report", str(path.parent.parent), "html=page.html"],
        "again": ["evaluate", f"run={path.parent.parent}", "episodes=1", "act_noise=1"],
    }[command]


def stored(place: str | None, value: Any) -> Callable[[dict[str, Any]], Any]:
    """Change one value of the stored configuration."""

    def change(content: dict[str, Any]) -> None:
        if place is None:
            content["vgm2p"]["config"] = value
        else:
            put(content["vgm2p"]["config"], place, value)

    return change


def folder(change: Change, command: str = "fit", run: str = "trained") -> Callable[[Place], list[str]]:
    """A command on a run folder that was changed."""

    def make(place: Place) -> list[str]:
        path = place.run(run)
        change(path, place)
        return words_of(command, newest(path) if (path / "checkpoints").is_dir() else path / "checkpoints" / "x")

    return make


def words(*more: str) -> Change:
    """Words that the manifest says the run was started with."""

    def change(run: Path, place: Place) -> None:
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["config"]["overrides"] = [*manifest["config"]["overrides"], *more]
        (run / "manifest.json").write_text(json.dumps(manifest))

    return change


def linked(name: str, target: str) -> Change:
    """A link in the run folder, to a file or folder of the user."""

    def change(run: Path, place: Place) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(target if target.startswith("/") else place.home / target)

    return change


def fifo(name: str) -> Change:
    def change(run: Path, place: Place) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def sparse(name: str, begin: str = "") -> Change:
    def change(run: Path, place: Place) -> None:
        with open(run / name, "w") as file:
            file.write(begin)
            file.truncate(1 << 40)

    return change


def text(name: str, content: str) -> Change:
    return lambda run, place: (run / name).write_text(content) and None


def each(*changes: Change) -> Change:
    return lambda run, place: [change(run, place) for change in changes] and None


def fifo_checkpoint(run: Path, place: Place) -> None:
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    os.mkfifo(run / "checkpoints" / "update-000000004.ckpt")


def packed(run: Path, place: Place) -> None:
    """A zip of a megabyte that holds a gigabyte."""
    path = newest(run)
    digest_path(path).unlink()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(f"{path}.new", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        with new.open("archive/data/999", "w", force_zip64=True) as part:
            for _ in range(1 << 10):
                part.write(bytes(1 << 20))
    os.replace(f"{path}.new", path)


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch $CANARY",)


class Zeros:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (8 << 30,)


def fifo_model(place: Place) -> list[str]:
    os.mkfifo(place.here / "robot.xml")
    return checkpoint(stored("env.env_kwargs", {"xml_file": str(place.here / "robot.xml")}))(place)


def pickled(run: Path, place: Place) -> None:
    torch.save({"vgm2p": {"config": Call()}, "state_dict": {}}, newest(run))
    digest_path(newest(run)).unlink()


def many(content: dict[str, Any]) -> None:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    content["vgm2p"]["config"]["compare"] = value


def itself(content: dict[str, Any]) -> None:
    value: list[Any] = []
    value.append(value)
    content["vgm2p"]["config"]["env"]["env_kwargs"] = {"a": value}


def long_name(content: dict[str, Any]) -> None:
    content["vgm2p"]["config"]["algo"]["x" * 30_000_000] = 1


def huge_spec(content: dict[str, Any]) -> None:
    content["vgm2p"]["spec"]["obs_dim"] = 10**8


CHECKPOINTS = [
    *(Hostile(f"checkpoint: {what}", checkpoint(stored(*change))) for what, change in HOSTILE.items()),
    *(
        Hostile(f"policy of collect: {what}", checkpoint(stored(*HOSTILE[what]), "collect"))
        for what in list(HOSTILE)[:4]
    ),
    Hostile("checkpoint: keywords at any depth", checkpoint(stored("env.env_kwargs", {"a": [{"b": {"_args_": [1]}}]}))),
    Hostile("checkpoint: a resolver in a path", checkpoint(stored("data.root", "${oc.env:HF_TOKEN}"), "estimate")),
    Hostile("checkpoint: escape codes", checkpoint(stored("algo.\x1b[2J\x1b]0;x\x07", 1))),
    Hostile("checkpoint: a name of 30 MB", checkpoint(long_name)),
    Hostile("checkpoint: lists of lists of one list", checkpoint(many)),
    Hostile("checkpoint: lists of lists, resumed", checkpoint(many, "fit")),
    Hostile("checkpoint: a list in itself", checkpoint(itself)),
    Hostile(
        "checkpoint: huge network", checkpoint(stored("algo.net", {"width": 50000, "depth": 3, "activation": "gelu"}))
    ),
    Hostile(
        "checkpoint: deep network", checkpoint(stored("algo.net", {"width": 8, "depth": 10**9, "activation": "gelu"}))
    ),
    Hostile("checkpoint: many seeds", checkpoint(stored("seeds", 10**9))),
    Hostile("checkpoint: wide observations", checkpoint(huge_spec)),
    Hostile("checkpoint: bytes of 8 GB", checkpoint(lambda content: content["vgm2p"].update(more=Zeros()))),
    Hostile("checkpoint: a pickle that calls", folder(pickled, "again")),
    Hostile("checkpoint: compressed", folder(packed, "again")),
    Hostile("checkpoint: FIFO", folder(fifo_checkpoint, "again")),
    Hostile("checkpoint: FIFO as model of the robot", fifo_model),
    Hostile("checkpoint: endless", folder(linked("checkpoints/update-000000004.ckpt", "/dev/zero"), "again")),
    Hostile(
        "checkpoint: a file of the user",
        folder(linked("checkpoints/update-000000009.ckpt", "notes.txt"), "again"),
        works=True,
    ),
    Hostile(
        "checkpoint: FIFO as digest", folder(fifo("checkpoints/update-000000004.ckpt.sha256"), "again"), works=True
    ),
    Hostile("checkpoint: a terabyte of nothing", folder(sparse("checkpoints/update-000000004.ckpt"), "again")),
]
FOLDERS = [
    *(Hostile(f"words: {word}", folder(words(word))) for word in WORDS),
    Hostile(
        "words: module of a parallel environment", folder(words("env=pettingzoo", "env.module=evil", "evaluate=auto"))
    ),
    Hostile("words: module before a colon", folder(words("env.env_id=evil:HalfCheetah-v5", "evaluate=auto"))),
    Hostile("words: module in a dict", folder(words("++env.env_kwargs={a: 'evil:x'}"))),
    Hostile("words: escaped and alive", folder(words('label="\\\\${oc.env:SECRET}"'))),
    Hostile("lock is a link", folder(linked(".lock", "notes.txt"))),
    Hostile("words: a hundred thousand", folder(words(*["updates=4"] * 100_000))),
    Hostile("lock is a FIFO", folder(fifo(".lock"))),
    Hostile("lock is deep", folder(text(".lock", "[" * 100_000)), works=True),
    Hostile("lock of a terabyte", folder(sparse(".lock")), works=True),
    Hostile(
        "log of metrics is a link", folder(each(linked("metrics.csv", "notes.txt"), words("log_every=4"))), works=True
    ),
    Hostile("log of episodes is a link", folder(linked("episodes.csv", "episodes.csv"), run="evaluated")),
    Hostile(
        "log of a comparison is a link",
        folder(each(linked("compare-bc_flow.log", "notes.txt"), words("compare=[bc_flow]"))),
        works=True,
    ),
    Hostile("results are a link", folder(linked("results.json", "results.json"))),
    Hostile("results are a link, reported", folder(linked("results.json", "results.json"), "report")),
    Hostile("manifest is a link", folder(linked("manifest.json", "notes.txt"))),
    Hostile("checkpoints are the user's", folder(linked("checkpoints", "checkpoints"))),
    Hostile("plots are the user's", folder(linked("plots", "plots"))),
    Hostile("events are the user's", folder(linked("tensorboard", "."))),
    Hostile("evaluations are the user's", folder(linked("evaluations", "."), "again")),
    Hostile("one evaluation is the user's", folder(linked("evaluations/update-4-n1-1", "."), "again")),
    Hostile("manifest is a FIFO", folder(fifo("manifest.json"))),
    Hostile("manifest is a FIFO, reported", folder(fifo("manifest.json"), "report")),
    Hostile("results are a FIFO", folder(fifo("results.json"))),
    Hostile("timing is a FIFO", folder(fifo("timing.json")), works=True),
    Hostile("metrics are a FIFO", folder(fifo("metrics.csv"))),
    Hostile("episodes are a FIFO", folder(fifo("episodes.csv"), "report", "evaluated")),
    Hostile("manifest of a terabyte", folder(sparse("manifest.json", "{"), "report")),
    Hostile("metrics of a terabyte", folder(sparse("metrics.csv", "update,seed\n"))),
    Hostile("manifest of a hundred thousand brackets", folder(text("manifest.json", "[" * 10**5))),
    Hostile("results of a hundred thousand brackets", folder(text("results.json", '{"a":' * 10**5), "report")),
    Hostile("manifest that is endless", folder(linked("manifest.json", "/dev/zero"))),
]
