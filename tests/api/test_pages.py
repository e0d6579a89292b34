"""The Python examples of README.md and docs/python.md run as they stand, one after another, at a budget of seconds."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vgm2p
from vgm2p.datamodules.store.transitions import TransitionStore

ROOT = Path(__file__).parents[2]
SMALL = {
    "net": {"width": 8, "depth": 1},
    "callbacks.plot": None,
    "logger.tensorboard": None,
    "eval_acting": [],
    "quiet": True,
}


def examples(page):
    """Return the ```python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make every run and evaluation of the examples small, whatever budget they ask for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TransitionStore, "spec", property(lambda store: replace(store.rows.spec, episode_limit=60)))
    fit, evaluate = vgm2p.fit, vgm2p.evaluate
    budget = {"updates": 4, "eval_every": 4, "eval_episodes": 1, "data.batch_size": 4}

    def small_fit(**keys):
        if "updatse" in keys:
            return fit(**keys)
        short = {} if "env" in keys else {"env.episode_limit": 60}
        return fit(**keys | SMALL | budget | short)

    monkeypatch.setitem(vgm2p.__dict__, "fit", small_fit)
    monkeypatch.setitem(
        vgm2p.__dict__, "evaluate", lambda run, **keys: evaluate(run, **{**keys, "episodes": 1, "quiet": True})
    )


@pytest.mark.parametrize("page", ["README.md", pytest.param("docs/python.md", marks=pytest.mark.slow)])
def test_the_examples_of_a_page_run(page, small, capsys):
    if page == "README.md":  # the page has trained with a command before
        vgm2p.fit(algo="bc_gaussian", compare=[])
    else:
        pytest.importorskip("onnxruntime", reason="the page acts with ONNX (pip install 'vgm2p[export]')")
        pytest.importorskip("onnxscript", reason="the page exports to ONNX (pip install 'vgm2p[export]')")
    found = examples(page)
    assert found
    names = {}
    for example in found:
        exec(compile(example, page, "exec"), names)
    shown = capsys.readouterr()
    assert "TrainedPolicy(" in shown.out
    assert "Traceback" not in shown.err
    if page == "docs/python.md":
        assert "unknown key 'updatse'; did you mean 'updates'?" in shown.out
        assert names["actions"].shape == (16, 3, 2)
        assert len(vgm2p.read_dataset("best.h5")) == 10
        other = next(example for example in found if "InferenceSession" in example)
        blocked = "import sys; sys.modules['vgm2p'] = sys.modules['torch'] = sys.modules['lightning'] = None\n"
        alone = subprocess.run([sys.executable, "-c", blocked + other], capture_output=True, text=True, check=True)
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", alone.stdout)]
        assert np.allclose(numbers, vgm2p.load("team").act(np.ones((3, 4))).reshape(-1), atol=1e-5)
        walk = [example for example in found if '"team' in example]
        assert sum(bool(line.strip()) for example in walk for line in example.splitlines()) <= 12
