"""Callbacks and loggers by `_target_`: a user's besides ours, in a safe order; wrong ones give one line."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint

from tests.run.kills import SLOW_SAVE, kill_in_save
from tests.run.runs import SMALL, differences, program, run, start, succeeded, words
from tests.strangers.watching import Notebook, Watch
from tests.test_config import composed
from vgm2p.callbacks.evaluate import Evaluate
from vgm2p.callbacks.loggers import MetricsCsv, TensorBoard
from vgm2p.callbacks.progress import Progress
from vgm2p.config.nodes import settings_of
from vgm2p.config.settings import FitSettings
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.run.folder import RunFolder
from vgm2p.run.resume_point import ResumePoint
from vgm2p.signals import StopFlag
from vgm2p.training.parts import check_parts, intervals, make_callbacks, make_loggers
from vgm2p.training.run import Run

STRANGERS = "tests.strangers.watching"


def own(place: Path) -> dict[str, str]:
    """Return the keys of a stranger's callback and logger that write below `place`."""
    return {
        "+callbacks.mine._target_": f"{STRANGERS}.Watch",
        "+callbacks.mine.path": str(place / "watched.json"),
        "+callbacks.mine.every": "9",
        "+logger.mine._target_": f"{STRANGERS}.Notebook",
        "+logger.mine.path": str(place / "notes.jsonl"),
    }


def notes(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "notes.jsonl").read_text().splitlines()]


def test_a_users_callback_and_logger_change_nothing_and_go_on_after_a_kill(tmp_path):
    plain, whole, cut = tmp_path / "plain", tmp_path / "whole", tmp_path / "cut"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for out, keys in ((plain, {}), (whole, own(tmp_path / "one"))):
        succeeded(run(out, **keys))
    assert differences(plain, whole) == []
    kill_in_save(start(cut, SLOW_SAVE, **own(tmp_path / "two")), 4)
    done = succeeded(run(cut, **own(tmp_path / "two")))
    assert "continuing after update" in done.stdout
    assert differences(whole, cut) == []
    watched = [(tmp_path / name / "watched.json").read_text() for name in ("one", "two")]
    assert json.loads(watched[0])["seen"] == [9, 18, 27, 36, 45, 54]  # blocks end at multiples of its `every`
    assert watched[0] == watched[1]


def test_parts_of_the_working_folder_get_numbers_and_settings(tmp_path):
    shutil.copyfile(Path(__file__).parents[1] / "strangers" / "watching.py", tmp_path / "watching.py")
    keys = ["+callbacks.mine._target_=watching.Watch", "+callbacks.mine.path=watched.json"]
    keys += ["+logger.mine._target_=watching.Notebook", "+logger.mine.path=notes.jsonl", "logger.csv=null"]
    succeeded(program(tmp_path, *words(tmp_path / "run", **SMALL, seeds=2, env__episode_limit=1000), *keys))
    assert json.loads((tmp_path / "watched.json").read_text())["seen"] == [10, 20]
    assert not (tmp_path / "run" / "metrics.csv").exists()
    first, *rest = notes(tmp_path)
    assert first["settings"]["algo"]["_target_"] == "vgm2p.algos.vgm2p_plus.VGM2PPlus"
    steps = {name: [note["step"] for note in rest if name in note.get("metrics", {})] for name in NAMES}
    evaluated = [0, 10, 20]
    assert steps == dict(zip(NAMES, ([7, 14, 20], evaluated, evaluated), strict=True))
    assert not [name for note in rest for name in note.get("metrics", {}) if "seed" in name]
    assert rest[-1] == {"status": "success"}
    final = next(note["metrics"] for note in reversed(rest) if "evaluation/return" in note.get("metrics", {}))
    results = RunFolder(tmp_path / "run").read_results()
    assert final["evaluation/return"] == pytest.approx(results["return_mean"])
    assert [final[f"evaluation/return_{end}"] for end in ("low", "high")] == pytest.approx(results["return_ci95"])


NAMES = ("train/policy_loss", "evaluation/return", "evaluation/return_low")


def test_keys_of_lightnings_trainer_reach_it(tmp_path):
    done = succeeded(run(tmp_path / "run", **SMALL, **{"+trainer.profiler": "simple"}))
    assert "Profiler Report" in done.stdout + done.stderr
    done = run(tmp_path / "other", **SMALL, **{"+trainer.profiler": "nonsense"})
    assert done.returncode == 2
    assert done.stderr.startswith("vgm2p: trainer: ") and done.stderr.count("\n") == 1


def test_a_callback_that_ends_training_early_leaves_a_run_that_goes_on(tmp_path):
    out = tmp_path / "run"
    done = run(out, **{"+callbacks.mine._target_": "tests.run.test_parts.EndsEarly", **SMALL})
    assert done.returncode == 2
    assert "ended training after update 7 of 20" in done.stderr and done.stderr.count("\n") == 1
    done = succeeded(run(out, **SMALL))
    assert "continuing after update 7" in done.stdout


class EndsEarly(Callback):
    def on_train_batch_end(self, trainer, *unused):
        trainer.should_stop = True


class Late(Checkpoint):
    pass


class Nothing:
    pass


class Broken(Callback):
    def __init__(self):
        raise ZeroDivisionError("by\nzero")


def settings(*changes: str) -> FitSettings:
    return settings_of(composed(*changes), FitSettings)


def made(tmp_path, *changes: str) -> Run:
    env = SimpleNamespace(spec=None)
    return Run(settings(*changes), RunFolder(tmp_path), ResumePoint(), torch.device("cpu"), env, StopFlag())


def test_evaluation_is_first_and_what_saves_is_last_in_any_order_of_nodes(tmp_path):
    run_ = made(tmp_path, f"+callbacks.mine={{_target_:{STRANGERS}.Watch,path:x,every:9}}")
    nodes = {"late": {"_target_": "tests.run.test_parts.Late"}, **dict(reversed(run_.settings.callbacks.items()))}
    run_ = replace(run_, settings=replace(run_.settings, callbacks=nodes))
    parts = make_callbacks(run_)
    assert [type(part).__name__ for part in parts] == [
        *("Evaluate", "Watch", "LearningCurve", "Progress"),
        *("Late", "SaveCheckpoint"),
    ]
    assert 9 in intervals(parts)


def test_parts_are_changed_left_out_and_replaced_by_keys(tmp_path):
    ours = make_callbacks(made(tmp_path, "callbacks.progress.seconds=5", "callbacks.plot=null"))
    assert [part.seconds for part in ours if isinstance(part, Progress)] == [5]
    assert [type(part).__name__ for part in ours] == ["Evaluate", "Progress", "SaveCheckpoint"]
    replaced = make_callbacks(made(tmp_path, "callbacks.evaluate._target_=tests.run.test_parts.EndsEarly"))
    assert not [part for part in replaced if isinstance(part, Evaluate)]
    assert [type(part) for part in make_loggers(made(tmp_path))] == [MetricsCsv, TensorBoard]
    for key in ("~logger.tensorboard", "logger.tensorboard=null", "logger.tensorboard=false"):
        assert [type(part) for part in make_loggers(made(tmp_path, key))] == [MetricsCsv]


def test_a_run_without_environment_has_no_evaluation(tmp_path):
    run_ = made(tmp_path)
    without = replace(run_, env=None)
    assert not [part for part in make_callbacks(without) if isinstance(part, Evaluate)]


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        ("+callbacks.mine._target_=nowhere.Callback", ConfigError, "no module 'nowhere'"),
        ("+callbacks.mine._target_=tests.strangers.watching.Wach", ConfigError, "has no attribute 'Wach'"),
        ("+callbacks.mine._target_=tests.run.test_parts.Nothing", ConfigError, "is no Callback of `lightning`"),
        ("+callbacks.mine._target_=tests.strangers.watching.Notebook", ConfigError, "is no Callback"),
        ("+logger.mine._target_=tests.strangers.watching.Watch", ConfigError, "is no Logger"),
        ("+logger.mine._target_=tests.run.test_parts.made", ConfigError, "is not a class"),
        (
            f"+callbacks.mine={{_target_:{STRANGERS}.Watch,inner:{{_target_:nowhere.Inner}}}}",
            ConfigError,
            "callbacks.mine.inner._target_=nowhere.Inner: no module 'nowhere' in the working folder",
        ),
        ("+trainer.profiler._target_=nowhere.Profiler", ConfigError, "trainer.profiler._target_=nowhere.Profiler: no"),
        ("+logger.every=7", ConfigError, "logger.every names no class"),
        ("+callbacks.mine.every=7", ConfigError, "callbacks.mine names no class"),
        ("+callbacks.mine._target_=lightning.pytorch.callbacks.EarlyStopping", ConfigError, "does not count updates"),
        ("+callbacks.mine._target_=lightning.pytorch.callbacks.ModelCheckpoint", ConfigError, "checkpoint_every"),
        ("+callbacks.mine._target_=lightning.pytorch.callbacks.EMAWeightAveraging", ConfigError, "count updates"),
    ],
)
def test_a_class_that_cannot_be_used_is_named_before_anything_is_built(key, kind, says):
    with pytest.raises(kind) as error:
        check_parts(settings(key))
    assert says in error.value.line and "\n" not in error.value.line


@pytest.mark.parametrize(
    ("keys", "kind", "says"),
    [
        (["callbacks.progress.seconds=often"], ConfigError, "callbacks.progress.seconds must be a number"),
        (["callbacks.progress.seconds=-1"], ConfigError, "callbacks.progress.seconds must be a number from 0"),
        (["+callbacks.progress.second=1"], ConfigError, "did you mean 'seconds'"),
        (["+callbacks.plot.size=1"], ConfigError, "unknown key 'callbacks.plot.size'"),
        (["+callbacks.plot._partial_=true"], ConfigError, "callbacks.plot._partial_ is not allowed"),
        (["+callbacks.mine._target_=tests.run.test_parts.Broken"], ConfigError, "ZeroDivisionError: by"),
        (["+callbacks.mine._target_=tests.run.test_parts.Late", "+callbacks.mine.x=1"], ConfigError, "unknown key"),
        (["logger=wandb"], MissingInput, "logger.wandb needs the package wandb"),
        (["logger=mlflow"], MissingInput, "mlflow"),
        (["+logger.mine._target_=lightning.pytorch.loggers.CometLogger"], MissingInput, "comet"),
    ],
)
def test_a_part_that_cannot_be_built_is_named_in_one_line(tmp_path, keys, kind, says):
    run_ = made(tmp_path, *keys)
    check_parts(run_.settings)
    with pytest.raises(kind) as error:
        make_callbacks(run_)
        make_loggers(run_)
    assert says in error.value.line and "\n" not in error.value.line


def test_a_module_that_needs_a_missing_package_says_which(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import not_there_at_all\n")
    (tmp_path / "wrong.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    with pytest.raises(MissingInput, match="the package not_there_at_all"):
        check_parts(settings("+callbacks.mine._target_=needy.Callback"))
    with pytest.raises(ConfigError, match=r"cannot be imported \(SyntaxError"):
        check_parts(settings("+callbacks.mine._target_=wrong.Callback"))


def test_nested_nodes_become_objects(tmp_path):
    node = "{_target_:tests.run.test_parts.Keeps,inner:{_target_:fractions.Fraction,numerator:1,denominator:2}}"
    (part,) = [part for part in make_callbacks(made(tmp_path, f"+callbacks.mine={node}")) if isinstance(part, Keeps)]
    assert part.inner == 0.5


class Keeps(Callback):
    def __init__(self, inner):
        self.inner = inner


def test_the_users_callback_and_logger_are_plain_lightning():
    assert {Watch.__module__, Notebook.__module__} == {STRANGERS}
    assert "vgm2p" not in Path(Watch.__init__.__code__.co_filename).read_text().split('"""')[2]
