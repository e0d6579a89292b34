"""`vgm2p.fit`, `evaluate`, `collect`, `load` and `results` in a program: the same as the commands, and a good guest."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import vgm2p
from tests.cli.answers import answer
from tests.run.runs import differences, environment
from vgm2p.errors import ConfigError, MissingInput

TINY = {
    "compare": [],
    "updates": 20,
    "log_every": 10,
    "eval_every": 10,
    "eval_episodes": 2,
    "net": {"width": 8, "depth": 1},
    "data.batch_size": 4,
    "callbacks": {"plot": None},
    "logger.tensorboard": None,
    "env": "line",
    "data": "files",
    "data.source.paths": ["line.h5"],
    "data.view": "native",
    "quiet": True,
}


@pytest.fixture
def place(project):
    """A working folder with an own environment, and a dataset recorded in it."""
    made = vgm2p.collect("line.h5", env="line", policy="random", episodes=8, quiet=True, **{"data.view": "native"})
    assert made == Path("line.h5")
    return project


def state():
    """Return what a guest must leave as it was."""
    numbers = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    loggers = [logging.getLogger(name) for name in (None, "lightning", "lightning.pytorch", "hydra")]
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "signals": [signal.getsignal(each) for each in signal.valid_signals() if each not in (9, 19)],
        "threads": torch.get_num_threads(),
        "random numbers": numbers,
        "warnings": list(warnings.filters),
        "loggers": [(each.level, list(each.handlers)) for each in loggers],
        "running": {each.name for each in threading.enumerate() if not each.daemon},
    }


def test_fit_is_the_command_and_leaves_the_process_as_it_was(place):
    torch.set_num_threads(1)
    vgm2p.fit  # noqa: B018 - the libraries are imported now
    before = state()
    run = vgm2p.fit(algo="bc_flow", out="python", **TINY, seeds=2, trainer={"threads": 2})
    assert state() == before
    words = [f"net.{key}={value}" for key, value in TINY["net"].items()]
    words += ["callbacks.plot=null", "compare=[]", "data.source.paths=[line.h5]", "logger.tensorboard=null"]
    kept = [
        key
        for key in TINY
        if key not in ("net", "callbacks", "compare", "data.source.paths", "logger.tensorboard", "quiet")
    ]
    words += [f"{key}={TINY[key]}" for key in kept]
    assert answer(["fit", "algo=bc_flow", "out=command", "seeds=2", "trainer.threads=2", *words]) == (0, "")
    assert differences(place / "python", place / "command") == []
    results = json.loads((place / "command" / "results.json").read_text())
    assert [each.act_noise for each in run.returns] == [1.0, 0.5, 0.0]
    for found, entry in zip(run.returns, results["by_act_noise"], strict=True):
        assert (found.mean, list(found.interval)) == (entry["return_mean"], entry["return_ci95"])
        assert (list(found.per_seed), found.episodes, found.win_rate) == (entry["per_seed"], 4, None)
    assert run.own == run.returns[0]
    assert (run.seeds, run.updates, run.env_id, run.diverged) == ((0, 1), 20, "line", ())
    assert "act_noise 0.0: return" in str(run)
    command = json.loads((place / "python" / "manifest.json").read_text())["command"]
    assert command[-2:] == ["seeds=2", "trainer.threads=2"]
    assert "net.width=8" in command


def test_a_run_is_loaded_evaluated_and_continued(place):
    run = vgm2p.fit(algo="bc_gaussian", **TINY)
    assert vgm2p.results("runs/last") == vgm2p.results(run)
    assert vgm2p.results(run) == run
    assert vgm2p.fit(algo="bc_gaussian", **TINY) == run  # finished: nothing is trained again
    assert run.policy().act(np.zeros((2, 2))).shape == vgm2p.load(run).act(np.ones((2, 2))).shape == (2, 1)
    before = state()
    played = vgm2p.evaluate(run, episodes=1, quiet=True)
    assert state() == before
    assert played.folder == run.folder / "evaluations" / "update-20-n1"
    assert played.updates == 20
    assert len(played.returns) == len(run.returns) == 1
    assert np.isnan(played.returns[0].interval).all()
    assert "nan" not in str(played)
    further = vgm2p.fit(algo="bc_gaussian", **TINY | {"updates": 30})
    assert (further.folder, further.updates) == (run.folder, 30)


def test_a_thread_that_is_not_the_main_one_trains_too(place):
    found = []
    threads = [
        threading.Thread(target=lambda seed=seed: found.append(vgm2p.fit(algo="bc_gaussian", **TINY, seed=seed)))
        for seed in (3, 4)
    ]
    before = state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state() == before
    assert sorted(run.seeds for run in found) == [(3,), (4,)]


WRONG = {
    "an unknown algorithm": (
        lambda: vgm2p.fit(algo="vgm3p"),
        ConfigError,
        "unknown algo 'vgm3p'; did you mean 'vgm2p'?",
    ),
    "an unknown key": (lambda: vgm2p.fit(updatse=1), ConfigError, "unknown key 'updatse'; did you mean 'updates'?"),
    "a nested key": (
        lambda: vgm2p.fit(net={"widht": 1}),
        ConfigError,
        "unknown key 'net.widht'; did you mean 'net.width'?",
    ),
    "a wrong value": (lambda: vgm2p.fit(updates="many"), ConfigError, "updates must be a whole number"),
    "several algorithms": (lambda: vgm2p.fit(algo=["vgm2p", "omar"]), ConfigError, "algo takes one name"),
    "several seeds": (lambda: vgm2p.fit(seed="0,1"), ConfigError, "seed must be a whole number from 0, got '0,1'"),
    "an object": (lambda: vgm2p.fit(net=object()), ConfigError, "net is a object; give text, a number"),
    "a key of Hydra": (lambda: vgm2p.fit(**{"hydra.launcher": "joblib"}), ConfigError, "not the name of a key"),
    "a key with a space": (lambda: vgm2p.fit(**{"a b": 1}), ConfigError, "'a b' is not the name of a key"),
    "arrays as data": (lambda: vgm2p.fit(data=[{"obs": 1}]), ConfigError, "write arrays with vgm2p.write_dataset"),
    "a number as a run": (lambda: vgm2p.load(5), ConfigError, "run is a int; give a run folder"),
    "nothing as a run": (lambda: vgm2p.results(None), ConfigError, "run is a NoneType; give a run folder"),
    "no run to load": (lambda: vgm2p.load("nowhere"), MissingInput, "nowhere: not a run folder or checkpoint file"),
    "no run to evaluate": (lambda: vgm2p.evaluate("nowhere"), MissingInput, "nowhere: not a run folder"),
    "no results": (lambda: vgm2p.results("nowhere"), MissingInput, "nowhere: the run has no results.json"),
    "no dataset": (
        lambda: vgm2p.fit(data="files", **{"data.source.paths": ["x.h5"]}, evaluate="none", compare=[]),
        MissingInput,
        "x.h5: no such dataset",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_user_does_wrong_is_one_error_of_one_line(what, tmp_path, monkeypatch, capsys):
    call, kind, says = WRONG[what]
    monkeypatch.chdir(tmp_path)
    before = state()
    with pytest.raises(vgm2p.UserError) as error:
        call()
    assert type(error.value) is kind
    assert says in str(error.value)
    assert str(error.value) == error.value.line
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""
    assert state() == before
    assert not [path for path in tmp_path.rglob("*") if path.name != "runs"]


def test_signals_save_the_run_and_go_to_the_handlers_of_the_program(place):
    def until(signum):
        """Return the keys of a long run that gets a signal in its first block."""
        bell = {"_target_": "tests.api.bell.Bell", "signum": int(signum)}
        return {**TINY, "updates": 10_000, "callbacks": {"plot": None, "bell": bell}}

    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python starts; a command of another test had its own
    with pytest.raises(KeyboardInterrupt, match=r"stopped after update \d+, state saved; the same"):
        vgm2p.fit(algo="bc_gaussian", out="stopped", **until(signal.SIGINT))
    assert len(list((place / "stopped" / "checkpoints").glob("*.ckpt"))) == 1
    got = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: got.append(signum))
    try:
        mine = signal.getsignal(signal.SIGTERM)
        with pytest.raises(vgm2p.UserError, match="state saved"):
            vgm2p.fit(algo="bc_gaussian", out="ended", **until(signal.SIGTERM))
        assert got == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_file_in_place_of_a_dataset_is_read_with_the_vectors_that_it_stores(place):
    names = ("data", "data.source.paths", "data.view")
    keys = {key: value for key, value in TINY.items() if key not in names}
    run = vgm2p.fit(algo="bc_gaussian", **keys, data="line.h5")
    assert run == vgm2p.fit(algo="bc_gaussian", **TINY)
    (place / "a b").mkdir()
    shutil.copy("line.h5", "a b/$x,1.h5")
    assert vgm2p.fit(algo="bc_gaussian", **keys, data=Path("a b/$x,1.h5")).returns == run.returns
    words = [f"net.{key}={value}" for key, value in TINY["net"].items()]
    code, text = answer(
        ["fit", "algo=bc_gaussian", "data=a b/$x,1.h5", "data.view=raw_onehot", "env=line", *words, "compare=[]"]
    )
    assert code == 2
    assert "data.view=raw_onehot: line stores the agents' own vectors; use native" in text
    with pytest.raises(vgm2p.UserError, match=r"nowhere\.h5: no such dataset file"):
        vgm2p.fit(data="nowhere.h5")


def test_pictures_do_not_change_the_backend_of_the_program(place):
    script = f"""
import matplotlib, vgm2p
matplotlib.use("svg")
keys = {TINY!r} | {{"callbacks": {{}}}}
run = vgm2p.fit(algo="bc_gaussian", **keys)
assert (run.folder / "plots" / "learning.png").is_file()
print(matplotlib.get_backend(), matplotlib.rcParams["text.parse_math"])
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "svg True\n"


def test_the_hydra_of_the_program_stays(tmp_path, monkeypatch):
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    with initialize_config_dir(version_base=None, config_dir=str(tmp_path)):
        with pytest.raises(vgm2p.UserError):
            vgm2p.fit(updatse=1)
        assert compose("mine").a == 1
        assert not HydraConfig.initialized()


def test_the_package_is_imported_in_no_time():
    script = "import sys, vgm2p; print(sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'hydra', 'lightning', 'h5py')))"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(vgm2p.__all__) <= set(dir(vgm2p))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        vgm2p.fitt  # noqa: B018
