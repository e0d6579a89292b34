"""Every yaml file composes, explains each of its keys, and names existing classes; every experiment builds its algorithm."""

import dataclasses
import inspect
import itertools
import re
from typing import get_type_hints

import pytest
import yaml

from vgm2p.config import compose
from vgm2p.config.build import algorithm_class, class_of, is_discrete, make_algorithm, make_data, without_target
from vgm2p.config.checks import check_pair, check_spec
from vgm2p.config.nodes import arguments, settings_of, to_plain
from vgm2p.config.settings import FitSettings, training_part
from vgm2p.config.words import SETTINGS
from vgm2p.errors import ConfigError
from vgm2p.run.fingerprint import Change, differences, run_name
from vgm2p.types import Spec

CONF = compose.config_folder()
FILES = sorted(CONF.rglob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides):
    names = {
        "experiment": "e",
        "algorithm": "a",
        "algo_name": "a",
        "environment": "v",
        "protocol": "paper",
        "tuned": None,
    }
    return {**compose.composed("fit", overrides), **names, "overrides": []}


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
    settings = settings_of(config, FitSettings)
    cls = algorithm_class(settings.algo)
    spec = Spec(2, 5, 3, False, 3, 10, "raw_onehot", "toy")
    check_pair(cls, spec, 1, name)
    assert make_algorithm(settings.policy, spec).spec is spec
    assert make_data(settings.data).batch_size == 64
    assert make_data(settings.data).source.discrete is is_discrete(settings.env) is not None
    arguments(class_of(settings.env, "env"), without_target(settings.env, "env"), "env", least=0)


# null in the yaml: the kind of actions decides. Without the key, as in older run folders, a policy is what it was: predict=v
BY_KIND = ("predict", "times")


@pytest.mark.parametrize("path", sorted((CONF / "algo").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_algorithms_yaml_has_every_argument_and_no_other(path):
    node = composed(f"algo={path.stem}", "experiment=recorded_3hopper_medium")["algo"]
    cls = class_of(node, "algo")
    own = set()
    for c in (c for c in cls.__mro__ if "__init__" in vars(c) and c.__module__.startswith("vgm2p.algos")):
        parameters = inspect.signature(c.__init__).parameters.values()
        own |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break  # the keys of its base classes are no keys of this one
    missing = own - node.keys()
    defaults = inspect.signature(cls.__init__).parameters
    assert not missing, f"{missing} cannot be seen in the yaml"
    if path.stem in (
        "vgm2p",
        "vgm2p_switches",
        "bc_flow",
        "bc_meanflow",
        "vgm2p_realised",
        "bc_gaussian",
        "bc_mse",
    ):  # the yaml of the class itself: same defaults
        for key, value in node.items():
            if key in defaults and key not in BY_KIND:
                default = defaults[key].default
                assert (default == type(default)(**value)) if isinstance(value, dict) else default == value, key


PAPER = {
    "net": {"width": 512, "depth": 4, "activation": "gelu"},
    "optim": {"lr": 3e-4, "decay_updates": None, "clip_norm": None},
    "critic": {"members": 2, "depth": None, "layer_norm": True, "tau": 0.005, "reward_scale": 1.0},
    "acting": {"noise": 1.0, "shared": False, "steps": 1, "best_of": 1, "sample": False, "beta": 0.0},
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


def name_of(*overrides):
    return run_name(training_part(composed(*overrides)))


def test_keys_that_came_later_change_neither_the_name_of_a_run_nor_the_run():
    now, before = training_part(composed()), training_part(composed())
    del before["data"]["sampling"], before["data"]["ess"]
    assert now["data"]["sampling"] == "auto" and run_name(before) == run_name(now) and differences(before, now) == []
    other = training_part(composed("data.sampling=return"))
    assert run_name(other) != run_name(now)
    for algo in ("vgm2p", "vgm2p_plus"):  # what `auto` means, the algorithm says; a name does not know it
        assert name_of("data.sampling=uniform", f"algo={algo}") != name_of(f"algo={algo}")
    assert list(map(str, differences(before, other))) == ["data.sampling: uniform -> return"]


def test_the_run_folder_depends_on_what_changes_training_and_on_nothing_else():
    base = name_of()
    for same in (
        "updates=7",
        "eval_every=3",
        "log_every=2",
        "callbacks.progress.seconds=3",
        "logger.tensorboard=null",
        "data.root=/x",
        "block_updates=9",
        "compare=[]",
    ):
        assert name_of(same) == base, same
    for same in ("trainer.threads=3", "+trainer.profiler=simple", "data.max_resident=1", "label=x"):
        assert name_of(same) == base, same
    for other in ("algo.omega=4", "data.batch_size=9", "trainer.precision=bf16-mixed", "seeds=2", "env.n_agents=3"):
        assert name_of(other) != base, other
    old, new = training_part(composed()), training_part(composed("algo.omega=4"))
    assert differences(old, new) == [Change("algo.omega", 1.0, 4)]


TRAINS = {"seed", "seeds", "algo", "net", "optim", "data", "env", "trainer"}  # a new key that trains must be added here


def test_the_keys_that_change_training_are_these():
    part = training_part(composed())
    assert part.keys() == TRAINS
    assert part["trainer"].keys() == {"precision", "tf32"}
    assert not {"root", "cache", "verify", "max_resident"} & part["data"].keys()
    source = training_part(composed("data=recorded_3hopper_medium"))["data"]["source"]
    assert source.keys() == {"_target_", "names"}
    assert not {"net", "optim"} & part["algo"].keys()  # they are the run's own
    assert not {"workers", "timeout"} & training_part(composed("env=smac/3m"))["env"].keys()


@pytest.mark.parametrize("command", SETTINGS)
def test_settings_and_yaml_have_the_same_keys(command):
    """A yaml key without a field, or the reverse, is a mistake; so it is in the groups that have settings."""
    assert fields_of(SETTINGS[command]) == leaves_of(compose.composed(command), SETTINGS[command])


def fields_of(kind, prefix=""):
    found, hints = set(), get_type_hints(kind)
    for each in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[each.name]):
            found |= fields_of(hints[each.name], f"{prefix}{each.name}.")
        elif not each.metadata.get("composed") and not each.metadata.get("rest"):
            found.add(prefix + each.name)
    return found


def leaves_of(config, kind, prefix=""):
    found, hints = set(), get_type_hints(kind)
    for name, value in config.items():
        inner = hints.get(name)
        found |= leaves_of(value, inner, f"{prefix}{name}.") if dataclasses.is_dataclass(inner) else {prefix + name}
    return found


def test_settings_come_back_from_the_plain_containers_that_they_were_made_of():
    config = composed("+trainer.profiler=simple", "label=7")
    settings = settings_of(config, FitSettings)
    assert settings.trainer.lightning == {"profiler": "simple"}
    assert settings.label == "7"
    assert to_plain(settings) == {**config, "label": "7"}
    assert settings_of(to_plain(settings), FitSettings) == settings


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
    ranges = {key: re.search(r"interval\((.*?)\)", str(value)) for key, value in params.items()}  # of a search
    keys, values = (
        list(params),
        [(found[1] if (found := ranges[key]) else str(params[key])).split(",") for key in params],
    )
    folders = set()
    cells = list(itertools.product(*values))
    for cell in cells[:: max(1, len(cells) // 12)]:
        config = composed(*(f"{key}={value}" for key, value in zip(keys, cell, strict=True)))
        settings_of(config, FitSettings)
        folders.add((cell[0], config["label"], run_name(training_part(config))))
    assert len(folders) == len(cells[:: max(1, len(cells) // 12)])
