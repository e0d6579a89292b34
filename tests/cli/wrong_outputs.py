"""Commands whose output would replace files of the user, and words that choose no file of conf/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.answers import Wrong
from tests.cli.wrong_keys import command, fit
from tests.cli.wrong_runs import nothing, with_run
from vgm2p.run.exported import DOCUMENT


def over(name: str, *words: str, run: bool = False) -> Callable[[Path], list[str]]:
    """A command about the user's own file `mine/<name>`; `{mine}` stands for its folder, `{run}` for that of a run."""

    def prepare(scratch: Path) -> list[str]:
        mine = scratch / "mine"
        mine.mkdir()
        (mine / name).write_text("my own notes")
        given = with_run(nothing, *words)(scratch) if run else list(words)
        return [word.replace("{mine}", str(mine)) for word in given]

    return prepare


def evaluated(*names: str) -> list[Wrong]:
    words = ("evaluate", "run={run}", "episodes=1", "out={{mine}}")
    return [Wrong(f"evaluate over {name}", over(name, *words, run=True), 74, f"mine/{name} exists") for name in names]


OUTPUTS = [
    *(
        Wrong(f"report over {name}", over(name, "report", "/nowhere", "out={mine}"), 74, "no report has written it")
        for name in ("table.md", "table.csv", "curves.png")
    ),
    Wrong(
        "table of the paper over a file",
        over("table2.csv", "report", "table=2", "out={mine}"),
        74,
        "no report has written it",
    ),
    *evaluated("results.json", "episodes.csv"),
    Wrong(
        "evaluate into an export",
        over(DOCUMENT, "evaluate", "run={run}", "episodes=1", "out={{mine}}", run=True),
        2,
        "is the folder of an export",
    ),
    Wrong(
        "evaluate into a run",
        with_run(nothing, "evaluate", "run={run}", "episodes=1", "out={run}"),
        2,
        "is the folder of a run",
    ),
    Wrong(
        "ranking over a file",
        over("x.json", "estimate", "{run}", "act_noise=[0,1]", "out={{mine}}/x.json", run=True),
        74,
        "no estimate has written it",
    ),
    Wrong(
        "ranking that is no ranking",
        over("x.h5", "estimate", "{run}", "act_noise=[0,1]", "out={{mine}}/x.h5", run=True),
        2,
        "ends in .json",
    ),
    Wrong(
        "resume elsewhere",
        with_run(nothing, "fit", "resume={run}", "out=elsewhere", "updates=8"),
        2,
        "continues in this folder; remove out=elsewhere",
    ),
    Wrong("list for a group", fit("algo=[bc_mse,bc_flow]"), 2, "algo takes one name, got [bc_mse,bc_flow]"),
    Wrong("several names without -m", fit("algo=bc_mse,bc_flow"), 2, "algo takes one name; -m starts several runs"),
    Wrong("group of nothing", fit("net=null"), 2, "unknown net 'null'"),
    Wrong("group removed", fit("~algo"), 2, "algo cannot be removed"),
    Wrong("no hydra", fit("hydra=null"), 2, "'hydra=null' is no key"),
    Wrong("launcher of nothing", fit("-m", "hydra/launcher=null"), 2, "hydra/launcher takes one name, got null"),
    Wrong("mode of a sweep", command("fit", "hydra.mode=MULTIRUN"), 2, "is for several runs, which -m starts"),
    Wrong("resolve what is not shown", fit("--resolve"), 2, "add --cfg job"),
    Wrong("option without its value", fit("--cfg"), 2, "--cfg needs a value"),
    Wrong("no data files", fit("data=files", "data.source.paths=[]"), 2, "data.source.paths is empty"),
    Wrong("label out of its folder", fit("label=../../x"), 2, "label=../../x is a part of the run folder"),
    Wrong("label of the folder above", fit("label=.."), 2, "label=.. is a part"),
]
