"""A user's own environment: one Python file and one yaml file pass the whole contract, without a change of the program."""

import os
import re
import subprocess
import sys

from tests.house import ROOT
from tests.run.runs import environment

STRANGERS = ROOT / "tests" / "strangers"
ENDS = "no, cut, no.copy())"
WRONG = {
    "merged": "cut, cut, no.copy())",  # the limit is told as an end of the task, too
    "mistaken": "cut, no, no.copy())",  # the limit is told as an end of the task instead
}


def failed(said, name):
    return set(re.findall(rf"^FAILED \S+::(test_\w+)\[{name}\]", said, re.MULTILINE))


def test_an_own_environment_passes_the_contract_and_wrong_ones_do_not(tmp_path):
    (tmp_path / "conf" / "env").mkdir(parents=True)
    yaml, code = (STRANGERS / "conf/env/line.yaml").read_text(), (STRANGERS / "line_world.py").read_text()
    assert ENDS in code
    for name, ends in {"line_world": ENDS, **WRONG}.items():
        (tmp_path / f"{name}.py").write_text(code.replace(ENDS, ends))
        (tmp_path / f"conf/env/{name}.yaml").write_text(yaml.replace("line_world", name))
    env = environment() | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "CONTRACT_ENVS": ",".join(["line_world", *WRONG]),
    }
    words = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", str(ROOT / "tests/envs/test_contract.py")]
    said = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True).stdout
    passed = re.findall(r"^PASSED \S+::(test_\w+)\[line_world\]", said, re.MULTILINE)
    assert len(passed) == 10, said
    assert failed(said, "line_world") == set()
    limit = "test_the_step_limit_does_not_terminate_and_changes_no_step_before_it"
    assert failed(said, "merged") == {limit, "test_episodes_end_once_and_at_the_limit_by_truncation"}
    assert failed(said, "mistaken") == {limit}
