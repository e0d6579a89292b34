"""The commands of `make test-crash`: their inputs, and what of their outputs must be the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.datamodules.vaults.vault_writer import smac_like, write_vault
from tests.run.runs import differences, words
from tests.run.runs import run as fit

RUN = Path("runs") / "x" / "run"
SHORTEST = {
    "updates": 4,
    "eval_every": 2,
    "checkpoint_every": 2,
    "checkpoint_keep": 1,
    "log_every": 1,
    "block_updates": 2,
    "eval_acting": "[1]",
    "env__episode_limit": 60,
    "callbacks__plot": None,
}


@dataclass(frozen=True)
class Subject:
    """A command.

    Attributes:
        name: its name.
        words: its words.
        prepare: makes its inputs in a folder.
        differences: compares two folders after the command.
        keeps: whether it refuses to replace its output.
    """

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Path], object]
    differences: Callable[[Path, Path], list[str]]
    keeps: bool = False


def prepared(subject: Subject, folder: Path, name: str) -> Path:
    """Return a folder with the inputs of a command. They are made once."""
    source = folder / f"inputs of {subject.name}"
    if not source.exists():
        source.mkdir()
        subject.prepare(source)
    return shutil.copytree(source, folder / name)


def same(*patterns: str) -> Callable[[Path, Path], list[str]]:
    """Return a function that tells which files of these patterns differ in two folders."""

    def found(folder: Path) -> dict[str, bytes]:
        paths = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def compare(whole: Path, place: Path) -> list[str]:
        one, two = found(whole), found(place)
        assert one, patterns
        return [f"{name} differs" for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]

    return compare


def same_run(whole: Path, place: Path) -> list[str]:
    last = [] if (place / "runs" / "last").is_symlink() else ["no runs/last"]
    return differences(whole / RUN, place / RUN) + same("runs/x/run/plots/*.png")(whole, place) + last


def trained(folder: Path) -> None:
    done = fit(folder / "run", **SHORTEST | {"callbacks__plot": "null"})
    assert done.returncode == 0, done.stderr


def vault(folder: Path) -> None:
    write_vault(folder / "v", smac_like(40))


SUBJECTS = {
    each.name: each
    for each in (
        Subject("fit", tuple(words(RUN, **SHORTEST)), lambda folder: None, same_run),
        Subject(
            "evaluate", ("evaluate", "run=run", "episodes=1", "act_noise=[1]"), trained, same("run/evaluations/*/*")
        ),
        Subject("report", ("report", "run", "out=report"), trained, same("report/*")),
        Subject(
            "collect",
            ("collect", "policy=random", "episodes=2", "env=mamujoco/3hopper", "out=k.h5"),
            lambda folder: None,
            same("*.h5"),
            keeps=True,
        ),
        Subject("convert", ("data", "convert", "v", "cache=cache"), vault, same("cache/**/*.h5")),
    )
}
