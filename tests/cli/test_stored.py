"""Checkpoints and run folders of somebody else are data, never code: the file that an attack creates must not exist."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

import vgm2p
from tests.cli.answers import TINY
from tests.run.runs import environment, program, succeeded
from vgm2p.config.stored import named_classes, stored_words
from vgm2p.errors import DataError
from vgm2p.run.checkpoint import digest_path

SECRET = "hf_9f8e7d6c"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    succeeded(program(folder, "fit", *TINY, "out=run"))
    return folder / "run"


def put(config, dotted, value):
    """Set a value below nested dicts and lists."""
    *path, last = dotted.split(".")
    for part in path:
        config = config[int(part) if isinstance(config, list) else part]
    config[last] = value


CALL = {"_target_": "os.mkdir", "path": "canary"}
HOSTILE = {  # what -> (place in the stored configuration, value)
    "nested node": ("algo.times", {**CALL}),
    "node in a node": ("algo.times.law", {**CALL}),
    "class of the algorithm": ("algo._target_", "os.mkdir"),
    "class that is no yaml's": ("env._target_", "vgm2p.envs.workers.Worker"),
    "worker factory": (
        "env",
        {
            "_target_": "vgm2p.envs.workers.Worker",
            "factory": "os:mkdir",
            "arguments": {"path": "canary"},
            "environment": {},
        },
    ),
    "argument of the environment": ("env.env_kwargs", {"xml_file": {**CALL}}),
    "item of a list": ("env.env_kwargs", {"parts": [1, [{**CALL}]]}),
    "source": ("data.source", {**CALL}),
    "item of the source": ("data.source.paths", [{**CALL}]),
    "open for writing": ("algo.net", {"_target_": "builtins.open", "file": "canary", "mode": "w"}),
    "pickle": ("algo.optim", {"_target_": "torch.load", "f": "evil.pt", "weights_only": False}),
    "partial": ("algo._partial_", True),
    "positional": ("algo._args_", ["canary"]),
    "not recursive": ("env._recursive_", False),
    "converted": ("algo.net._convert_", "all"),
    "interpolation": ("algo.gamma", "${oc.env:HF_TOKEN}"),
    "interpolation in a list": ("compare", ["${oc.env:HF_TOKEN}"]),
    "interpolation in a key": ("env.env_kwargs", {"${oc.env:HF_TOKEN}": 1}),
    "logger": ("logger", {"mine": {**CALL}}),
    "callback": ("callbacks", {"mine": {**CALL}}),
    "key of its own": ("x", {**CALL}),
    "module that gymnasium would import": ("env.env_id", "evil:HalfCheetah-v5"),
    "module of a parallel environment": (
        "env",
        {"_target_": "vgm2p.envs.pettingzoo.PettingZoo", "module": "evil", "episode_limit": 5, "view": "native"},
    ),
    "tensor": ("algo.gamma", torch.ones(1)),
    "no node": ("algo", "os.mkdir"),
    "no configuration": (None, ["os.mkdir"]),
    "no seed": ("seed", "one"),
}


def poisoned(honest, folder, place, value):
    """Copy a run with one value of its checkpoint's configuration changed; return the checkpoint."""
    shutil.copytree(honest, folder)
    path = sorted((folder / "checkpoints").glob("*.ckpt"))[-1]
    content = torch.load(path, weights_only=True)
    if place is None:
        content["vgm2p"]["config"] = value
    else:
        put(content["vgm2p"]["config"], place, value)
    torch.save(content, path)
    digest_path(path).unlink()
    return path


EVIL = "import os\nos.mkdir('canary')\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a module that must not be imported."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("what", HOSTILE)
def test_a_checkpoint_that_could_name_code_is_not_loaded(what, honest, place):
    path = poisoned(honest, place / "run", *HOSTILE[what])
    with pytest.raises(DataError, match=r"update-000000004\.ckpt") as error:
        vgm2p.load(path)
    assert SECRET not in str(error.value)
    assert "evil" not in sys.modules
    assert not (place / "canary").exists()


# the same answers from the commands, all cases in one process: "<exit code> <lines on stderr>" each
RUN_ALL = """
import contextlib, io, json, sys
from vgm2p.cli import main
for words in json.load(sys.stdin):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    print(json.dumps([words, code, errors.getvalue()]))
"""


def answers(folder, commands):
    """Return (words, exit code, standard error) of commands in a process whose working folder is `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(commands),
        env={**environment(), "HF_TOKEN": SECRET, "SECRET": SECRET},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def holds_secret(folder):
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_no_command_runs_what_a_checkpoint_names(honest, place):
    commands = []
    for number, (where, value) in enumerate(HOSTILE.values()):
        path = poisoned(honest, place / f"run{number}", where, value)
        commands.append(["evaluate", f"ckpt={path}", "episodes=1", "act_noise=1", "out=evaluated"])
        commands.append(["collect", f"policy={path}", "episodes=1", "out=x.h5"])
    for words, code, errors in answers(place, commands):
        assert code == 65, (words, errors)
        assert errors.count("\n") == 1, (words, errors)
        assert SECRET not in errors
    assert not (place / "canary").exists()
    assert not holds_secret(place)


WORDS = [
    "+hydra.callbacks.x._target_=evil.X",
    "hydra.run.dir=canary",
    "hydra/launcher=joblib",
    "hydra.searchpath=[file://.]",
    "+x=${oc.env:SECRET}",
    "label=${oc.env:SECRET}",
    'label="${oc.env:SECRET}"',
    "eval_every=${updates}",
    "~algo.gamma",
    "++algo.gamma=0.5",
    "+algo.mine={_target_:os.mkdir,path:canary}",
    "algo._target_=os.mkdir",
    "algo.times={_target_:os.mkdir,path:canary}",
    "algo.net.width={_target_:os.mkdir,path:canary}",
    "data.source={_target_:os.mkdir,path:canary}",
    "data.source._target_=os.mkdir",
    "callbacks.mine={_target_:os.mkdir,path:canary}",
    "logger.csv._target_=os.mkdir",
    "experiment=../../evil",
    "algo=../evil",
    "algo@data=bc_flow",
    "seed=1,2",
    "seed=range(1,3)",
    "nonsense=1",
    "updates",
    "label='\x1b[2J'",
    "[",
    "--multirun",
]


def with_words(honest, folder, words):
    """Copy a run whose manifest says that it was started with these words."""
    shutil.copytree(honest, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["overrides"] = words
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_words_of_a_manifest_can_only_set_values(honest, place):
    (place / "evil.yaml").write_text("# @package _global_\nhydra:\n  run:\n    dir: canary\n")
    odd = [*([*TINY, word] for word in WORDS), "fit", [1], None, {"a": 1}, ["updates=4"] * 100_000]
    for number, words in enumerate(odd):
        with_words(honest, place / f"run{number}", words)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for number, (_, code, errors) in enumerate(
        answers(place, [["fit", f"resume=run{number}", "updates=6"] for number in range(len(odd))])
    ):
        assert code == 65, (odd[number], errors)
        assert errors[:-1].isprintable() and f"run{number}/manifest.json" in errors, (odd[number], errors)
    assert not (place / "canary").exists()
    assert "evil" not in sys.modules
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert not holds_secret(place)


def test_words_of_an_honest_manifest_keep_their_values(tmp_path):
    words = [
        "seed=3",
        "algo.omega=0.5",
        "optim.lr=1e-4",
        "data.name='a \"b\", {c} ü'",
        "data.source.paths=[a.h5,'b, c.h5',\"d\\\\\"]",
        "env.env_kwargs={a: 1, b: {c: [x, null, true], d\\:e: 0.5}}",
        "optim.clip_norm=null",
        "evaluate=none",
        "label='true'",
        "env=mamujoco/6halfcheetah",
        "experiment=quickstart",
        "out=elsewhere",
        "resume=no",
    ]
    parse = OverridesParser.create().parse_overrides
    old = {each.key_or_group: each.value() for each in parse(words)}
    values, more = stored_words(words, tmp_path)
    new = {each.key_or_group: each.value() for each in parse(values)}
    assert more == []
    assert new == {key: value for key, value in old.items() if key not in ("out", "resume")}
    assert new["label"] == "true"


def test_the_environment_is_not_written_into_files(tmp_path):
    commands = [
        ["fit", *TINY, "out=run", word]
        for word in ("+x=${oc.env:SECRET}", "label=${oc.env:SECRET}", "data.name=x${oc.decode:${oc.env:SECRET}}")
    ]
    for words, code, errors in answers(tmp_path, commands):
        assert code == 2 and errors.count("\n") == 1, (words, errors)
        assert "environment variables" in errors and SECRET not in errors
    assert not holds_secret(tmp_path)


OWN_LOGGER = """
from lightning.pytorch.loggers.csv_logs import CSVLogger

class Mine(CSVLogger):
    def __init__(self, token):
        assert token == "hf_9f8e7d6c"
        super().__init__("logged")
"""


def test_keys_of_a_users_logger_are_not_written_into_files(tmp_path):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    yaml = "defaults:\n  - default\n  - _self_\nmine:\n  _target_: mine.Mine\n  token: ${oc.env:SECRET}\n"
    (tmp_path / "conf" / "logger" / "mine.yaml").write_text(yaml)
    (tmp_path / "mine.py").write_text(OWN_LOGGER)
    ((_, code, errors),) = answers(tmp_path, [["fit", *TINY, "logger=mine", "out=run"]])
    assert code == 0, errors
    assert (tmp_path / "logged").is_dir()
    assert holds_secret(tmp_path) == [tmp_path / "mine.py"]


def test_classes_are_those_that_yaml_files_name(tmp_path, monkeypatch):
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("_target_: mine.Mine\nnet:\n  _target_: os.mkdir\n")
    (tmp_path / "conf" / "algo" / "broken.yaml").write_text("a: [\n")
    monkeypatch.chdir(tmp_path)
    assert {"mine.Mine", "vgm2p.algos.vgm2p.VGM2P", "vgm2p.algos.vgm2p_fm.VGM2PFlowMatching"} <= named_classes("algo")
    assert "os.mkdir" not in named_classes("algo")
    assert "vgm2p.envs.base.NoSimulator" in named_classes("env")
    assert "vgm2p.datamodules.sources.recorded.Files" in named_classes("data")
    assert not [name for name in named_classes("env") if "workers" in name]
