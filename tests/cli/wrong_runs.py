"""Commands on run folders and checkpoints that are damaged, from other programs, in use, or on a full disk."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

from tests.cli.answers import TINY, Wrong, answer


def with_run(change: Callable[[Path], None], *words: str) -> Callable[[Path], list[str]]:
    """A command about a finished run that something was done to; `{run}` stands for its folder."""

    def prepare(scratch: Path) -> list[str]:
        run = scratch / "run"
        code, text = answer(["fit", *TINY, f"out={run}"])
        assert code == 0, text
        change(run)
        return [word.format(run=run) for word in words]

    return prepare


def nothing(run: Path) -> None:
    """Leave the run as it is."""


def checkpoint(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("*.ckpt"))[-1]


def flip_checkpoint(run: Path) -> None:
    data = bytearray(checkpoint(run).read_bytes())
    data[len(data) // 3] ^= 16
    checkpoint(run).write_bytes(data)


def cut_checkpoint(run: Path) -> None:
    checkpoint(run).write_bytes(checkpoint(run).read_bytes()[:1000])


def text_checkpoint(run: Path) -> None:
    checkpoint(run).write_text("hello")
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def other_weights(run: Path) -> None:
    """A checkpoint whose weights belong to another algorithm."""
    import torch

    content = torch.load(checkpoint(run), weights_only=True)
    content["vgm2p"]["config"]["algo"] = {"_target_": "vgm2p.algos.bc_flow.BCFlow", "net": {"width": 8, "depth": 1}}
    torch.save(content, checkpoint(run))
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def foreign_checkpoint(run: Path) -> None:
    import torch

    torch.save({"state_dict": {}}, checkpoint(run))
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def cut_manifest(run: Path) -> None:
    (run / "manifest.json").write_text("{")


def empty_manifest(run: Path) -> None:
    (run / "manifest.json").write_text("{}")


def occupied(scratch: Path) -> list[str]:
    run = scratch / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("mine")
    return ["fit", *TINY, f"out={run}"]


def foreign_results(scratch: Path) -> list[str]:
    run = scratch / "run"
    run.mkdir()
    (run / "results.json").write_text("{}")
    return ["fit", *TINY, f"out={run}"]


def file_in_the_way(scratch: Path) -> list[str]:
    (scratch / "file").write_text("x")
    return ["fit", *TINY, f"out={scratch / 'file' / 'run'}"]


HELD: list[object] = []  # locks of this process, until it ends


def locked(scratch: Path) -> list[str]:
    from vgm2p.run.lock import FolderLock

    run = scratch / "run"
    run.mkdir()
    HELD.append(FolderLock(run).__enter__())
    return ["fit", *TINY, f"out={run}"]


def full_disk(scratch: Path) -> list[str]:
    """A run whose second save meets a disk that takes no more: here a limit on the size of files."""
    run = scratch / "run"
    code, text = answer(["fit", *TINY, f"out={run}"])
    assert code == 0, text
    room = checkpoint(run).stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return ["fit", *TINY, f"out={run}", "updates=8"]


def game(*words: str) -> Callable[[Path], list[str]]:
    return lambda scratch: ["fit", *TINY, f"out={scratch / 'run'}", "env=smac/3m", "evaluate=auto", *words]


GAMES = [
    Wrong("unknown SMAC map", game("env.map_name=3n"), 2, "did you mean '3m'"),
    Wrong("difficulty beyond A", game("env.difficulty=B"), 2, "env.difficulty=B must be one of 1, 2"),
    Wrong("a game that does not move", game("env.step_mul=0"), 2, "env.step_mul"),
    Wrong("replay of a robot", with_run(nothing, "evaluate", "run={run}", "replay=true"), 2, "saves no replays"),
    Wrong("data show of nothing", lambda scratch: ["data", "show", "nowhere.h5"], 66, "nowhere.h5"),
]
