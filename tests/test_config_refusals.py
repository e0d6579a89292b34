"""Wrong configurations are refused in one line, before anything is loaded."""

import re

import pytest
import yaml

from tests.test_config import composed
from vgm2p.config.build import make_env, refuse_missing
from vgm2p.config.nodes import arguments, settings_of
from vgm2p.config.settings import FitSettings
from vgm2p.errors import ConfigError


@pytest.mark.parametrize(
    ("env", "asked", "line"),
    [
        ("smac/3m", "video", "video=true: env=smac/3m draws no pictures; replay=true saves a replay"),
        ("robotics/3hopper", "video", "video=true: env=robotics/3hopper draws no pictures"),
        ("mamujoco/3hopper", "replay", "replay=true: env=mamujoco/3hopper saves no replays; video=true makes a video"),
    ],
)
def test_pictures_and_replays_that_an_environment_cannot_make_are_refused_without_it(env, asked, line):
    node = composed(f"env={env}")["env"]
    with pytest.raises(ConfigError, match=re.escape(line)):
        refuse_missing(node, env, **{"video": False, "replay": False, asked: True})
    if ";" in line:  # it names what the environment can make
        other = {"video": "replay", "replay": "video"}[asked]
        refuse_missing(node, env, **{"video": False, "replay": False, other: True})


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("+nonsense=1", "unknown key 'nonsense'"),
        ("+trainer.max_time=1", "use updates"),
        ("+trainer.limit_train_batches=3", "use updates"),
        ("+trainer.logger=true", "set by the program"),
        ("+trainer.strategy=ddp", "set by the program"),
        ("+trainer.profilr=simple", "did you mean 'profiler'"),
        ("seeds=true", "seeds must be a whole number from 1, got True"),
        ("block_updates=fast", "block_updates must be auto or a whole number from 1, got 'fast'"),
        ("eval_async=maybe", "eval_async must be auto or true or false"),
        ("compare=[[1]]", "compare must be text"),
        ("algo=null", "algo must be keys with values"),
        ("callbacks=null", "callbacks must be keys with values"),
    ],
)
def test_wrong_values_are_refused(word, line):
    config = composed()
    key, value = word.lstrip("+").split("=")
    node = config
    for part in key.split(".")[:-1]:
        node = node[part]
    node[key.split(".")[-1]] = yaml.safe_load(value)
    with pytest.raises(ConfigError, match=re.escape(line)):
        settings_of(config, FitSettings)


class Foreign:
    """Not a class of ours: a user's environment may take any number."""

    def __init__(
        self, offset: float = 0.0, start: int = 0, sizes: list[int] = (), table: dict[str, float] | None = None
    ):
        self.offset, self.start, self.sizes, self.table = offset, start, sizes, table


def test_a_users_class_takes_negative_numbers_lists_and_dicts():
    node = {"offset": -0.5, "start": -3, "sizes": [0, -1], "table": {"a": -1.0}}
    assert arguments(Foreign, node, "env") == node
    for wrong in ({"offset": "far"}, {"sizes": 3}, {"sizes": ["x"]}, {"table": [1]}, {"start": True}, {"nothing": 1}):
        with pytest.raises(ConfigError, match=f"env.{next(iter(wrong))}"):
            arguments(Foreign, wrong, "env")


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (None, "env._target_ must name a class"),
        ("nowhere.Env", "no module 'nowhere'"),
        ("os.mkdir", "is not a class"),
        ("vgm2p.types.Spec", "is no environment"),
    ],
)
def test_a_class_that_is_no_environment_is_refused(target, line):
    with pytest.raises(ConfigError, match=re.escape(line)):
        make_env({"_target_": target})


def test_a_node_may_not_name_code_inside():
    for key, value in (("_partial_", True), ("env_kwargs", {"a": [{"_target_": "os.mkdir"}]})):
        node = {**composed("env=mamujoco/3hopper")["env"], key: value}
        with pytest.raises(ConfigError, match=f"env.{key}.*this node contains data, no code"):
            make_env(node)
