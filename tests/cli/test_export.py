"""`vgm2p export`: the folder, what is in it, who can read it, and what is refused."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vgm2p
from tests.cli.answers import answer
from tests.run import zygote
from tests.run.runs import environment
from vgm2p.cli import main
from vgm2p.execution.evaluation import acting_of
from vgm2p.export import formats
from vgm2p.export.draws import Given
from vgm2p.io.text import shell_words
from vgm2p.run.exported import DOCUMENT, WEIGHTS
from vgm2p.types import Seen

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
needs_onnx = pytest.mark.skipif(bool(formats.lacking("onnx")), reason="needs pip install 'vgm2p[export]'")
FORBIDDEN = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(name)

sys.meta_path.insert(0, Forbidden())
"""


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """An export of a policy that starts from noise, with the default keys."""
    out = tmp_path_factory.mktemp("exported") / "export"
    words = [] if not formats.lacking("onnx") else ["formats=[safetensors,torch]"]
    code, text = answer(["export", f"run={trained / 'vgm2p_chosen'}", f"out={out}", *words])
    assert code == 0, text
    return out


def alone(script: str, folder: Path, forbidden: list[str]) -> str:
    """Run a script in a process that cannot import some packages; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN.format(forbidden=forbidden) + script],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_folder_is_loaded_and_acts_as_the_run_does(trained, exported):
    run, own = vgm2p.load(str(trained / "vgm2p_chosen")), vgm2p.load(str(exported))
    assert own.algorithm.acting == run.algorithm.acting and own.home == exported
    assert own.algorithm.state_dict().keys() == run.algorithm.state_dict().keys()
    for step in range(3):
        obs = np.random.default_rng(step).normal(size=(6, 23))
        assert np.array_equal(own.act(obs), run.act(obs))


def test_export_json_describes_the_policy_and_names_no_folder(trained, exported):
    text = (exported / DOCUMENT).read_text()
    found = json.loads(text)
    manifest = json.loads((trained / "vgm2p_chosen" / "manifest.json").read_text())
    assert found["vgm2p"]["spec"] == manifest["spec"] and found["data"]["digest"] == manifest["data"]["digest"]
    assert len(found["statistics"]["obs_mean"]) == 23 and found["act"]["act_noise"] == found["results"]["act_noise"]
    assert found["commands"]["train"].startswith("vgm2p fit ")
    for graph in found["graphs"]:
        assert graph["largest_difference"] <= 1e-6
        assert [each["name"] for each in graph["inputs"]] == ["obs", "noise"]
    for part in (str(trained), str(exported), str(Path.home()), sys.prefix):
        assert not [path for path in exported.iterdir() if part.encode() in path.read_bytes()]


def test_an_older_checkpoint_has_no_results_of_the_last_one(trained, tmp_path):
    run = shutil.copytree(trained / "bc_gaussian", tmp_path / "run")
    old, last = sorted((run / "checkpoints").glob("*.ckpt"))[-2:]
    words = ["export", "formats=safetensors"]
    assert answer([*words, f"run={last}", f"out={tmp_path / 'last'}"]) == (0, "")
    assert json.loads((tmp_path / "last" / DOCUMENT).read_text())["results"]["updates"] == 20
    assert answer([*words, f"run={old}", f"out={tmp_path / 'old'}"]) == (0, "")
    last.write_bytes(last.read_bytes()[:100])
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*words, f"run={run}", f"out={tmp_path / 'damaged'}"]) == 0
    assert re.search(rf"{last.name}: damaged.*\({old.name} is used\)", said.getvalue())
    for name in ("old", "damaged"):
        found = json.loads((tmp_path / name / DOCUMENT).read_text())
        assert found["vgm2p"]["updates"] == 10 and found["results"] is None and found["data"]
        assert "no evaluation of this checkpoint" in (tmp_path / name / "README.md").read_text()


@needs_onnx
def test_the_script_of_the_page_acts_without_vgm2p_and_torch(exported):
    script = re.search(r"```python\n(import json\n.*?)```", PAGE.read_text(), re.S)[1]
    lines = [line for line in script.splitlines() if line]
    assert len(lines) <= 10
    script = script.replace("runs/last/export", str(exported)) + "\nnp.savez('acted', action=action, **noise)"
    alone(script, exported.parent, ["vgm2p", "torch", "lightning", "onnx"])
    acted = np.load(exported.parent / "acted.npz")
    noise = torch.from_numpy(acted["noise"])
    policy = vgm2p.load(str(exported)).algorithm
    with torch.no_grad():
        own, _ = policy.act(Seen(torch.zeros(1, 1, 6, 23)), None, Given({"act": noise}))
    assert np.abs(own[0].numpy() - acted["action"]).max() <= 1e-6


def test_the_torch_file_needs_torch_alone(exported):
    shapes = [each["shape"] for each in json.loads((exported / DOCUMENT).read_text())["graphs"][-1]["inputs"]]
    script = f"""
import torch
act = torch.export.load("{exported / "policy.pt2"}").module()
print([tuple(act(*(torch.zeros(batch, *shape[1:]) for shape in {shapes})).shape) for batch in (1, 4)])
"""
    assert alone(script, exported.parent, ["vgm2p", "lightning"]) == "[(1, 6, 1), (4, 6, 1)]\n"


def test_a_way_to_act_and_an_agent_are_chosen(trained, tmp_path):
    out = tmp_path / "out"
    words = ["export", f"run={trained / 'vgm2p_chosen'}", f"out={out}", "formats=torch"]
    assert answer([*words, "agent=[2,0]", "act_noise=0"]) == (0, "")
    assert {path.name for path in out.iterdir()} == {DOCUMENT, "README.md", WEIGHTS, "agent0.pt2", "agent2.pt2"}
    graphs = json.loads((out / DOCUMENT).read_text())["graphs"]
    assert [(each["agent"], [one["name"] for one in each["inputs"]]) for each in graphs] == [(2, ["obs"]), (0, ["obs"])]
    policy = vgm2p.load(str(out))
    assert policy.algorithm.acting == acting_of(0.0, vgm2p.load(str(trained / "vgm2p_chosen")).algorithm)
    obs = np.random.default_rng(0).normal(size=(6, 23)).astype(np.float32)
    own = torch.export.load(out / "agent2.pt2").module()(torch.from_numpy(obs[2:3]))
    assert np.abs(own.detach().numpy()[0] - policy.act(obs)[2]).max() <= 1e-6
    assert answer([*words[:-1], "formats=safetensors"]) == (0, "")  # an earlier export is replaced as a whole
    assert {path.name for path in out.iterdir()} == {DOCUMENT, "README.md", WEIGHTS}


def test_what_is_no_export_stays_as_it_is(trained, tmp_path):
    out = tmp_path / "mine"
    words = ["export", f"run={trained / 'bc_gaussian'}", f"out={out}", "formats=safetensors"]
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    code, text = answer(words)
    assert code == 74 and "is no export" in text and [path.name for path in tmp_path.iterdir()] == ["mine"]
    (out / "notes.txt").unlink()
    left = tmp_path / ".mine.0123abcd.tmp"
    left.mkdir()
    (left / "half").write_text("of a process that was killed")
    assert answer(words) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (out / "evaluations").mkdir()
    code, text = answer(words)
    assert code == 74 and "'evaluations'" in text
    (out / "evaluations").rmdir()
    (out / WEIGHTS).write_bytes((out / WEIGHTS).read_bytes()[:-1])
    code, text = answer(["evaluate", f"run={out}"])
    assert code == 65 and "not as it was exported" in text
    link = tmp_path / "link"
    link.symlink_to(out)
    code, text = answer([*words[:2], f"out={link}", "formats=safetensors"])
    assert code == 74 and "is a link" in text


def test_the_remedy_for_a_missing_package_is_a_command_of_this_python(trained, tmp_path):
    without = "import sys\nsys.modules['onnx'] = None\n"
    words = ["export", f"run={trained / 'bc_gaussian'}", f"out={tmp_path / 'export'}"]
    variables = {**environment(), "PATH": str(tmp_path)}  # here is no pip
    remedy = f"`{shell_words(sys.executable)} -m pip install 'vgm2p[export]'`"
    done = zygote.run([*words, "formats=onnx"], tmp_path, variables, tmp_path, without)
    assert done.returncode == 66 and done.stderr.endswith(f"; install it: {remedy}\n")
    done = zygote.run(words, tmp_path, variables, tmp_path, without)
    assert done.returncode == 0 and f"the package onnx is missing ({remedy})\n" in done.stdout
