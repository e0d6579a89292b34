"""The benchmark program: versions agree before they are timed; tables and JSON are written. Times are not tested."""

import json
import subprocess
import sys

import pytest
import torch

from tests.run.runs import environment
from vgm2p.bench.shapes import SHAPES, SyntheticData
from vgm2p.bench.step import CRITICS, compare, prepared
from vgm2p.bench.timing import in_turn, ratio, settings
from vgm2p.cli import main
from vgm2p.errors import ConfigError

SMALL = ["width=16", "depth=2", "rounds=1", "count=1"]


@pytest.mark.parametrize("critic", CRITICS)
def test_step_compares_all_versions_at_every_shape(critic, tmp_path, capsys):
    assert main(["bench", "step", *SMALL, f"critic={critic}", "jax=none", f"out={tmp_path}"]) == 0
    table = capsys.readouterr().out
    for name in ("reference", "float32", "bf16-mixed", "bf16 all reuse_q"):
        assert f"| {name}" in table
    found = json.loads((tmp_path / f"step-cpu-{critic}.json").read_text())
    assert set(found["results"]) == set(SHAPES)
    losses = found["results"]["3m"]["losses"]
    for one, two in zip(losses["reference"], losses["float32"], strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def test_a_version_with_other_losses_is_not_timed():
    with pytest.raises(RuntimeError, match="hc float32 differs from the reference in update 1"):
        compare([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.1]], 1e-4, "hc float32")


def test_the_steps_draw_new_data():
    seen = []
    data = SyntheticData(SHAPES["hc"].spec)

    def update(batch, key):
        seen.append(batch.reward)
        return {"critic_loss": torch.zeros(1), "policy_loss": torch.zeros(1)}

    _, step = prepared(update, data, {"device": "cpu", "batch": 8}, None)
    step()
    assert len(seen) == 4
    assert not torch.equal(seen[2], seen[3])


def test_ratios_come_from_the_same_round():
    found = in_turn({"a": iter_timer([1, 2, 4, 8]), "b": iter_timer([9, 1, 1, 2])}, 3, 1)
    assert found["a"]["ms"] == 4
    assert ratio(found, "a", "b") == 4


def iter_timer(values):
    values = iter(values)
    return lambda count: (next(values), 0.0)


def test_unknown_settings_are_named():
    assert settings(["rounds=3", "shapes=hc,3m"], {"rounds": 1, "shapes": ["hc"]})["shapes"] == ["hc", "3m"]
    with pytest.raises(ConfigError, match="did you mean 'rounds'"):
        settings(["round=3"], {"rounds": 1})
    with pytest.raises(ConfigError, match="rounds must be int"):
        settings(["rounds=x"], {"rounds": 1})


@pytest.mark.parametrize(
    "words",
    [
        ["rollout", "episodes=1", "seeds=2", "steps=3", "rounds=1", "width=8", "depth=1"],
        ["data", "transitions=2000", "load=3000", "rounds=1"],
        ["loop", "rounds=1", "count=3", "width=8", "depth=1"],
        ["act", "rounds=1", "width=8", "depth=1", "planner_width=8", "levels=1,2"],
        ["gpu", "device=cpu", "rounds=1", "count=2", "width=8", "depth=1", "checks=3"],
    ],
    ids=lambda words: words[0],
)
def test_the_other_benchmarks_print_a_table(words, tmp_path, capsys):
    assert main(["bench", *words, f"out={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "|--" in out
    assert len(list(tmp_path.glob("*.json"))) == 1
    if words[0] == "gpu":
        assert "after 3 updates: bit-equal" in out


def test_torch_and_numpy_are_enough_for_step(tmp_path):
    blocked = "lightning hydra omegaconf h5py gymnasium mujoco matplotlib torchmetrics tensorboard psutil tqdm".split()  # noqa: SIM905
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); "
        f"from vgm2p.cli import main; sys.exit(main(['bench', 'step', 'shapes=hc', 'jax=none', 'out=.', *{SMALL!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| float32 " in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bench"], "bench has step, loop"),
        (["bench", "stepp"], "did you mean 'step'"),
        (["bench", "step", "critic=x"], "critic is single or default"),
        (["bench", "rollout", "env=smax_3n"], "did you mean 'smax_3m'"),
        (["bench", "act", "rounds=0"], "rounds must be 1 or more, got 0"),
        (["bench", "act", "levels=1,a"], "levels must be whole numbers"),
        (["bench", "loop", "device=tpu"], "device must be cpu or cuda, got 'tpu'"),
        (["bench", "data", "transitions=500"], "transitions must be 1000 (one episode) or more, got 500"),
    ],
)
def test_wrong_words_are_answered_by_one_line(words, says, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
