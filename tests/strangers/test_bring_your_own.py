"""docs/bring_your_own.md: its files are written to a folder, and its commands work there, in their order."""

import re
import shlex
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.cli.answers import answer
from vgm2p.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bring_your_own.md").read_text()
TINY = [
    *("updates=20", "eval_every=20", "eval_episodes=1", "eval_acting=[]", "compare=[]", "net.width=8", "net.depth=1"),
    *("data.batch_size=8", "logger.tensorboard=null", "callbacks.plot=null", "trainer.threads=1"),
]
SMALL = {"fit": TINY, "estimate": ["updates=20", "draws=1"], "evaluate": ["episodes=1"], "collect": ["episodes=3"]}
MODULES = ("record", "tag", "cloning", "norms")


def section(title):
    """Return the text below a heading, to the next heading of its level."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all files of the page, in which the commands start."""
    for name, code in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.S):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VGM2P_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def run(command):
    """Run one command of the page, with a smaller budget, and return what it prints."""
    words = shlex.split(command)
    if words[1].endswith(".py"):
        exec(Path(words[1]).read_text(), {})
        return ""
    assert words[:3] == ["python", "-m", "vgm2p"]
    output = StringIO()
    with redirect_stdout(output):
        assert main([*words[3:], *SMALL.get(words[3], [])]) == 0
    return output.getvalue()


def commands(title):
    return [line for block in re.findall(r"```bash\n(.*?)```", section(title), re.S) for line in block.splitlines()]


@pytest.mark.slow
def test_own_data(place):
    printed = [run(command) for command in commands("Data")]
    assert "ok    content" in printed[1]
    assert "| measured return" in printed[3]
    assert (place / "runs/last/estimate.json").exists()


def test_own_environments(place):
    pytest.importorskip("pettingzoo")
    printed = [run(command) for command in commands("Environment")]
    assert len(printed) == 5
    assert "| 30 " in printed[2]  # steps of an episode of the trained policy, or it caught the point before
    assert "environment  tag" in printed[1]


@pytest.mark.slow
def test_own_algorithm_and_callback(place):
    printed = [run(command) for command in (*commands("Algorithm"), *commands("Callback"))]
    assert "algorithm    cloning (cloning.Cloning)" in printed[0]
    assert "| cloning " in printed[1]
    assert "update 10: the weights have norm" in printed[2]


def test_somebody_elses_run_does_not_import_a_module_that_no_yaml_names(place):
    pytest.importorskip("pettingzoo")
    for command in commands("Environment")[:2]:
        run(command)
    (place / "conf/env/tag.yaml").unlink()
    sys.modules.pop("tag", None)
    code, text = answer(["evaluate", "run=runs/last", "episodes=1"])
    assert (code, text.count("\n")) == (65, 1)
    assert "env.module=tag: no file of conf/env/ (ours or yours) names this module" in text
    assert "tag" not in sys.modules


def test_the_page_shows_every_file_that_it_names():
    shown = re.findall(r"```(?:python|yaml)\n# (\S+)\n", PAGE)
    named = re.search(r"my_project/\n(.*?)\n\n", PAGE, re.S)[1].split()
    assert sorted(shown) == sorted(named)
