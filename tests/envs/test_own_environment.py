"""A user's own environment: one file and one yaml in her folder pass the whole contract; the program is not touched."""

import os
import re
import subprocess
import sys

from tests.house import ROOT
from tests.run.runs import environment

YAML = """
_target_: line.Line
goal: 2
episode_limit: 6
"""
FILE = '''
import numpy as np

from vgm2p.envs.base import Frame, Step
from vgm2p.errors import ServiceError
from vgm2p.types import Spec


class Line:
    """Two agents step left or right; the task ends when both stand at the goal."""

    max_active, versions = None, {"line": "1"}

    def __init__(self, goal, episode_limit):
        self.goal = goal
        self.spec = Spec(2, 1, 2, True, 2, episode_limit, "native", "line")
        self.make(1)

    def make(self, n_envs):
        self.place, self.time = np.zeros((n_envs, 2), np.float32), np.zeros(n_envs, int)

    def reset(self, seeds):
        for e, seed in enumerate(seeds):
            if seed is not None:
                self.place[e], self.time[e] = np.random.default_rng(seed).integers(-1, 2, 2), 0
        return self.frame()

    def frame(self):
        legal = np.ones((*self.place.shape, 2), bool)
        return Frame(self.place[..., None].copy(), legal, self.place.copy())

    def step(self, actions, active):
        self.place += np.where(active[:, None], 2 * actions - 1, 0)
        self.time += active
        arrived = active & (self.place == self.goal).all(1)
        cut = active & ~arrived & (self.time >= self.spec.episode_limit)
        return Step(self.frame(), np.where(arrived, 1.0, 0.0), arrived, cut, np.zeros_like(cut), {"won": arrived})

    def render(self, index=0):
        raise ServiceError("a line has no picture; drop video")

    def close(self):
        pass
'''


def test_an_own_environment_passes_the_contract_and_a_wrong_one_does_not(tmp_path):
    (tmp_path / "conf" / "env").mkdir(parents=True)
    for name in ("line", "merged"):
        (tmp_path / "conf" / "env" / f"{name}.yaml").write_text(YAML.replace("line", name))
    (tmp_path / "line.py").write_text(FILE)
    (tmp_path / "merged.py").write_text(FILE.replace("arrived, cut, np", "arrived | cut, cut, np"))
    env = environment() | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", str(ROOT / "tests/envs/test_contract.py")]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    passed = set(re.findall(r"^PASSED \S+::(test_\w+)\[line\]", done.stdout, re.MULTILINE))
    assert len(passed) == 10, done.stdout
    assert re.findall(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE) == [
        "test_episodes_end_once_and_at_the_limit_by_truncation[merged]",
        "test_the_limit_ends_no_task_and_changes_nothing_before[merged]",
    ]
