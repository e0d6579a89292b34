"""Every yaml composes, explains each of its keys, and names what exists; every experiment makes its algorithm."""

import inspect
import itertools
import re

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from vgm2p.config.build import algorithm_class, config_folder, make_algorithm, register_resolvers
from vgm2p.config.checks import check, check_pair, check_spec, check_target
from vgm2p.errors import ConfigError
from vgm2p.run.fingerprint import differences, run_name, training_part
from vgm2p.types import Spec

CONF = config_folder()
FILES = sorted(CONF.rglob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides):
    register_resolvers()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("fit", overrides=["out=x", *overrides])
    config = OmegaConf.to_container(cfg, resolve=True)
    return {**config, "experiment": "e", "algorithm": "a", "environment": "v", "overrides": []}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_is_explained(path):
    """Each `key: value` line has a comment above or beside it; the file itself begins with one."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    explained, skip = True, None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if skip is not None and (line.startswith(" " * (skip + 1)) or line.lstrip().startswith("- ")):
            continue
        skip = None
        key = re.match(r"\s*([A-Za-z_][\w/@]*):", line)
        if line.lstrip().startswith("#") or not line.strip():
            explained = line.lstrip().startswith("#")
            continue
        if not key:
            continue
        if key[1] in ("defaults", "hydra"):
            skip = indent
        elif key[1] not in ("_target_", "name", "source", "root", "cache", "algo", "env", "data") or indent == 0:
            named = key[1] in ("_target_", "name", "source")
            group = line.rstrip().endswith(":") and indent == 0  # a group of keys explained one by one
            # in experiments the values are those of the file's first line
            assert explained or "#" in line or named or group or path.parent.name == "experiment", f"line {number + 1}"
        explained = False


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_valid_and_makes_its_algorithm(name):
    config = composed(f"experiment={name}", "net.width=4", "net.depth=1")
    check(config)
    cls = algorithm_class(config)
    spec = Spec(2, 5, 3, False, 3, 10, "raw_onehot", "toy")
    check_pair(cls, spec, 1, name)
    assert make_algorithm(config, spec).spec is spec
    for group in ("data", "env"):
        check_target(config[group], group, get_class(config[group]["_target_"]))


@pytest.mark.parametrize("path", sorted((CONF / "algo").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_algorithms_yaml_has_every_argument_and_no_other(path):
    node = composed(f"algo={path.stem}", "experiment=recorded_3hopper_medium")["algo"]
    cls = get_class(node["_target_"])
    own = {
        name
        for c in cls.__mro__
        if "__init__" in vars(c) and c.__module__.startswith("vgm2p.algos")
        for name, p in inspect.signature(c.__init__).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
    missing = own - node.keys()
    defaults = inspect.signature(cls.__init__).parameters
    assert not missing, f"{missing} cannot be seen in the yaml"
    if path.stem in (
        "vgm2p",
        "vgm2p_switches",
        "bc_flow",
        "bc_meanflow",
        "bc_gaussian",
    ):  # the yaml of the class itself: same defaults
        for key, value in node.items():
            if key in defaults:
                default = defaults[key].default
                assert (default == type(default)(**value)) if isinstance(value, dict) else default == value, key


PAPER = {
    "net": {"width": 512, "depth": 4, "activation": "gelu"},
    "optim": {"lr": 3e-4, "decay_updates": None, "clip_norm": None},
    "critic": {"members": 2, "depth": None, "layer_norm": True, "tau": 0.005, "reward_scale": 1.0},
    "acting": {"noise": 1.0, "shared": False, "steps": 1, "best_of": 1},
    "gamma": 0.995,
    "omega": 3.0,
    "advantage": "agent",
    "threshold": "zero",
    "baseline_samples": 1,
    "mixer": "mean",
}


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("recorded")])
def test_the_papers_settings_are_the_defaults(name):
    config = composed(f"experiment={name}")
    assert {key: config["algo"][key] for key in PAPER} == PAPER
    assert config["data"]["batch_size"] == 64
    assert (config["updates"], config["eval_episodes"]) == (500_000, 10)


def test_swapping_the_algorithm_changes_nothing_else():
    one = composed("experiment=recorded_6halfcheetah_medium")
    two = composed("experiment=recorded_6halfcheetah_medium", "algo=bc_flow")
    assert {key: value for key, value in one.items() if key != "algo"} == {
        key: value for key, value in two.items() if key != "algo"
    }
    for key in ("net", "optim"):
        assert one["algo"][key] == two["algo"][key]


def test_the_run_folder_depends_on_what_changes_training_and_on_nothing_else():
    base = composed()
    for same in ("updates=7", "eval_every=3", "logger.every=2", "data.root=/x", "block_updates=9", "compare=[]"):
        assert run_name(composed(same)) == run_name(base), same
    for other in ("algo.omega=4", "data.batch_size=9", "trainer.precision=bf16-mixed", "seeds=2", "env.n_agents=3"):
        assert run_name(composed(other)) != run_name(base), other
    assert differences(base, composed("algo.omega=4")) == ["algo.omega: 1.0 -> 4"]
    assert "updates" not in training_part(base)


def test_runs_from_before_there_was_tf32_go_on_and_are_checked():
    now = composed()
    before = {**now, "trainer": {key: value for key, value in now["trainer"].items() if key != "tf32"}}
    check(before)
    assert run_name(now) == run_name(before)
    assert differences(before, composed("trainer.tf32=true")) == ["trainer.tf32: None -> True"]


def test_every_field_of_the_task_is_compared():
    spec = Spec(2, 5, 3, False, 3, 10, "raw_onehot", "toy", {"a": 1})
    changed = {
        "n_agents": 3,
        "obs_dim": 6,
        "action_dim": 1,
        "discrete": True,
        "state_dim": None,
        "episode_limit": 9,
        "view": "omiga",
        "env_id": "other",
        "env_kwargs": {},
    }
    assert set(changed) == set(spec.to_dict())
    for name, value in changed.items():
        with pytest.raises(ConfigError, match=name):
            check_spec(spec, Spec(**{**spec.to_dict(), name: value}))
    check_spec(spec, Spec(**spec.to_dict()))


def test_yaml_holds_no_duplicate_keys():
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node):
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return yaml.SafeLoader.construct_mapping(loader, node)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for path in FILES:
        yaml.load(path.read_text(), Strict)


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_cell_of_a_sweep_composes_to_a_run_of_its_own(path):
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    keys, values = list(params), [str(value).split(",") for value in params.values()]
    folders = set()
    cells = list(itertools.product(*values))
    for cell in cells[:: max(1, len(cells) // 12)]:
        config = composed(*(f"{key}={value}" for key, value in zip(keys, cell, strict=True)))
        check(config)
        folders.add((cell[0], config["label"], run_name(config)))
    assert len(folders) == len(cells[:: max(1, len(cells) // 12)])
