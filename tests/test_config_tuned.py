"""Settings per dataset (conf/tuned): which file is taken, what wins over it, and what is refused."""

import re

import pytest

from vgm2p.config import compose
from vgm2p.config.build import build_algorithm
from vgm2p.config.compose import file_keys, tuned_file
from vgm2p.errors import ConfigError
from vgm2p.types import Spec

ROBOTS = {"6halfcheetah": 0.3, "2ant": 0.1, "3hopper": 0.2}
QUALITIES = {"expert": (0.5, 2.5), "medium": (0.7, 0.5), "medium_replay": (0.9, 2.5), "medium_expert": (0.7, 0.5)}
DATA = sorted(path.stem for path in (compose.config_folder() / "experiment").glob("*_*_*.yaml"))
ROBOT_DATA = [name for name in DATA if name.startswith(("mamujoco", "recorded"))]
SPEC = Spec(2, 5, 3, False, None, 10, "native", "toy")


def algo(*words):
    return compose.composed("fit", ["net.width=4", "net.depth=1", *words])["algo"]


@pytest.mark.parametrize("name", ROBOT_DATA)
def test_every_robot_dataset_has_the_settings_of_its_robot_and_its_quality(name):
    _, robot, quality = name.split("_", 2)
    node = algo(f"experiment={name}", "algo=omar")
    assert (node["c"], node["cql"]["weight"], node["cql"]["sigma"]) == (*QUALITIES[quality], 0.2)
    node = algo(f"experiment={name}", "algo=ma_cql")
    assert (node["cql"]["weight"], node["cql"]["sigma"]) == (None, ROBOTS[robot])
    for node in (algo(f"experiment={name}", f"algo={each}") for each in ("omar", "ma_cql")):
        build_algorithm(node, SPEC, [0])


@pytest.mark.parametrize("name", ["madiff_c", "madiff_d", "dof"])
def test_planners_have_windows_and_targets_of_their_task(name):
    for data in ("smacv1_2s3z_good", "smacv1_2s3z_poor", "smax_2s3z"):
        node = algo(f"experiment={data}", f"algo={name}")
        assert (node["history"], node["horizon"], node["goal"]["target"]) == (9, 20, 1.0)
    for data, target in (("smacv1_3m_good", 1.0), ("mamujoco_2ant_expert", 1.0), ("recorded_3hopper_medium", 0.9)):
        node = algo(f"experiment={data}", f"algo={name}")
        assert (node["history"], node["horizon"], node["goal"]["target"]) == (None, None, target)
        assert (node["net"]["width"], node["net"]["levels"]) == (128, [1, 4, 8])
        small = algo(f"experiment={data}", f"algo={name}", "+variant=small_planner")
        assert small == {**node, "net": {"width": 64, "levels": [1, 2, 4], "kernel": 5}}
    assert algo(f"algo={name}")["net"] == {"width": 64, "levels": [1, 2, 4], "kernel": 5}  # the quick start's data


def test_the_choice_follows_data_that_an_experiment_or_the_command_line_chooses():
    assert algo("algo=omar")["c"] == 0.9  # the quick start's data
    assert algo("algo=omar", "data=recorded_6halfcheetah_expert")["c"] == 0.5
    assert algo("algo=omar", "experiment=recorded_3hopper_medium")["c"] == 0.7
    assert algo("algo=omar", "experiment=recorded_3hopper_medium", "data=recorded_3hopper_expert")["c"] == 0.5


def test_the_command_line_wins():
    node = algo("experiment=recorded_3hopper_expert", "algo=omar", "algo.c=0.25")
    assert (node["c"], node["cql"]["weight"]) == (0.25, 2.5)
    node = algo("experiment=recorded_3hopper_expert", "algo=omar", "tuned=none")
    assert (node["c"], node["cql"]["weight"]) == (0.7, 0.5)
    assert algo("experiment=smax_3m", "algo=omar", "tuned=omar/medium_replay")["c"] == 0.9


@pytest.mark.parametrize("name", ["vgm2p", "vgm2p_chosen", "bc_gaussian"])
def test_an_algorithm_without_such_files_is_unaffected(name):
    words = ("experiment=recorded_3hopper_expert", f"algo={name}")
    assert algo(*words) == algo(*words, "tuned=none")


def test_a_file_that_was_asked_for_must_exist():
    usual = {"algo": "omar", "data": "mine", "tuned": "omar/mine"}
    assert tuned_file(usual) is None
    assert tuned_file({**usual, "tuned": "none"}) is None
    assert tuned_file({**usual, "tuned": "omar/expert"}) == "omar/expert"
    with pytest.raises(ConfigError, match=r"conf/tuned/omar/mine\.yaml must begin with the line '# @package algo'"):
        tuned_file(usual, {"c": 0.5})
    with pytest.raises(ConfigError, match=r"unknown tuned 'omar/exprt'; did you mean 'omar/expert'\?"):
        tuned_file({**usual, "tuned": "omar/exprt"})


def test_the_keys_of_a_file_are_known():
    assert file_keys("tuned", "omar/recorded_3hopper_expert") == ["c", "cql.weight"]
    assert file_keys("tuned", "ma_cql/mamujoco_2ant_medium") == ["cql.sigma"]


def test_every_file_belongs_to_an_algorithm_and_is_of_use():
    """A file for a dataset that does not exist would never be read."""
    known = {name: set(compose.options(name)) for name in ("algo", "data")}
    used = set()
    for path in (compose.config_folder() / "tuned").glob("*/*.yaml"):
        assert path.parent.name in known["algo"]
        assert path.read_text().startswith("# @package algo\n")
        used |= set(re.findall(r"^  - (\S+)$", path.read_text(), re.MULTILINE))
        if path.stem in known["data"]:
            used.add(f"{path.parent.name}/{path.stem}")
    assert used >= set(compose.options("tuned")) - {"none"}


def test_a_users_own_file_counts_and_its_wrong_key_is_an_error(tmp_path, monkeypatch):
    own = tmp_path / "conf" / "tuned" / "omar"
    own.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (own / "smax_3m.yaml").write_text("# @package algo\nc: 0.125\n")
    assert algo("experiment=smax_3m", "algo=omar")["c"] == 0.125
    for text, wrong in (("coe: 0.5\n", "algo.coe"), ("cql:\n  lambda: 5\n", "algo.cql.lambda")):
        (own / "smax_3m.yaml").write_text(f"# @package algo\n{text}")
        with pytest.raises(ConfigError, match=f"unknown key '{wrong}'"):
            build_algorithm(algo("experiment=smax_3m", "algo=omar"), SPEC, [0])
