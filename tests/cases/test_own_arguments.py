"""Attack 12: a user's environment takes arguments of every kind, from yaml files and from the command line."""

import sys

from tests.cli.answers import TINY, answer

WORLD = """
from __future__ import annotations
from collections.abc import Mapping
from tests.strangers.line_world import LineWorld

SEEN = []

class World(LineWorld):
    def __init__(self, shift: float = 0.0, options: dict[str, float] | None = None, places: list[float] = (),
                 tree: Mapping[str, object] = {}, pairs: list[list[int]] = (), odd: Nowhere = None, address: str = "",
                 episode_limit: int = 8, view: str = "native"):
        SEEN.append([shift, options, places, tree, pairs, odd, address])
        super().__init__(episode_limit, view)
"""
YAML = """_target_: own_world.World
view: ${data.view}
shift: -0.5
options: {a: -1.5, b: 2}
places: [-1.0, -2]
tree: {a: {b: [1, {c: -3.5}]}}
pairs: [[-1, 2], [3]]
odd: {x: -1}
address: tcp://localhost:80
"""


def test_a_users_environment_takes_dicts_lists_and_negative_numbers(tmp_path, monkeypatch):
    here = tmp_path
    monkeypatch.chdir(here)
    (here / "conf" / "env").mkdir(parents=True)
    (here / "own_world.py").write_text(WORLD)
    (here / "conf" / "env" / "own.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(str(here))
    collect = ["collect", "env=own", "data.view=native", "policy=random", "episodes=3"]
    assert answer([*collect, "out=a.h5"]) == (0, "")
    seen = sys.modules.pop("own_world").SEEN
    tree = {"a": {"b": [1, {"c": -3.5}]}}
    assert seen == [[-0.5, {"a": -1.5, "b": 2}, [-1.0, -2], tree, [[-1, 2], [3]], {"x": -1}, "tcp://localhost:80"]]
    changed = ["env.shift=-2.5", "env.options={a: -3, c: 1.5}", "env.places=[-4,5]", "env.address=12:30"]
    fit = [
        *(word for word in TINY if not word.startswith("evaluate")),
        "env=own",
        "data=files",
        "data.source.paths=[a.h5]",
        "data.view=native",
    ]
    assert answer(["fit", *fit, *changed, "out=run"]) == (0, "")
    assert answer(["fit", "resume=run", "updates=6"]) == (0, "")
    assert answer(["evaluate", "run=run", "episodes=1"]) == (0, "")
    seen = sys.modules.pop("own_world").SEEN
    assert len(seen) == 3
    assert all(each[:3] == [-2.5, {"a": -3, "b": 2, "c": 1.5}, [-4, 5]] and each[-1] == "12:30" for each in seen)
