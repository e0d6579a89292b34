"""Protocols (conf/protocol): what protocol=source sets, what wins over it, and what is refused."""

import pytest

from vgm2p.config import compose
from vgm2p.config.build import algorithm_class, build_algorithm, make_data
from vgm2p.config.compose import file_keys, protocol_of
from vgm2p.config.help import help_page
from vgm2p.config.settings import training_part
from vgm2p.errors import ConfigError
from vgm2p.run.fingerprint import leaves, run_name
from vgm2p.types import Spec

SOURCE = [name.removeprefix("source/") for name in compose.options("protocol") if name.startswith("source/")]
EVERY = {  # what every file sets, so that nothing of an experiment is left in it
    *("updates", "net.width", "net.depth", "net.activation", "optim.lr", "optim.decay_updates", "optim.clip_norm"),
    *("data.batch_size", "algo.gamma", "algo.critic.members", "algo.critic.depth", "algo.critic.layer_norm"),
    *("algo.critic.tau", "algo.critic.reward_scale"),
}
PLANNERS = ("madiff_c", "madiff_d", "dof")  # no critic, and a network of their own
OF_PLANNERS = {
    *("updates", "optim.lr", "optim.decay_updates", "optim.clip_norm", "data.batch_size", "algo.gamma"),
    *("algo.net.width", "algo.net.levels", "algo.net.kernel", "algo.goal.scale", "algo.acting.steps"),
}
FACTS = {  # what the authors' code has
    "ma_td3bc": {"updates": 1_000_000, "data.batch_size": 256, "optim.lr": 3e-4, "optim.clip_norm": None},
    "ma_bcq": {"updates": 1_000_000, "data.batch_size": 64, "optim.lr": 3e-4, "algo.logit_penalty": 0.01},
    "ma_cql": {"updates": 100_000, "data.batch_size": 256, "optim.clip_norm": 0.5, "algo.mixer": "independent"},
    "omar": {"updates": 100_000, "data.batch_size": 256, "optim.clip_norm": 0.5, "algo.search.elites": 5},
    "omiga": {"updates": 1_000_000, "data.batch_size": 128, "optim.lr": 5e-4, "optim.clip_norm": 1.0},
    "om2p": {"updates": 1_000_000, "data.batch_size": 256, "optim.lr": 3e-4, "algo.normalise_q": False},
    "mac_flow": {"updates": 500_000, "data.batch_size": 640, "optim.lr": 3e-4, "algo.teacher_steps": 10},
}
LARGE = ("mac_flow", "om2p")  # the authors of the others have 2 x 256 with ReLU, without LayerNorm


def composed(*words):
    return compose.composed("fit", words)


def flat(*words):
    return dict(leaves(composed(*words)))


def choices(**given):
    return {"protocol": "source", "algo": "omar", "net": "paper", "optim": "paper", "tuned": "none"} | given


@pytest.mark.parametrize("name", SOURCE)
def test_every_file_is_complete_and_makes_its_algorithm(name):
    planner = name in PLANNERS
    assert set(file_keys("protocol", f"source/{name}")) >= (OF_PLANNERS if planner else EVERY)
    config = composed(f"algo={name}", "protocol=source", *(["algo.net.width=8"] if planner else []))
    discrete = not algorithm_class(config["algo"]).supports_continuous
    algorithm = build_algorithm(config["algo"], Spec(2, 5, 3, discrete, None, 10, "native", "toy"), [0])
    assert algorithm.gamma == config["algo"]["gamma"] == (0.995 if name == "mac_flow" else 0.99)
    assert make_data(config["data"]).batch_size == config["data"]["batch_size"]


@pytest.mark.parametrize("name", FACTS)
def test_the_settings_are_those_of_the_authors_code(name):
    values = flat("experiment=recorded_3hopper_expert", f"algo={name}", "protocol=source")
    assert {key: values[key] for key in FACTS[name]} == FACTS[name]
    size = (values["net.width"], values["net.depth"], values["net.activation"], values["algo.critic.layer_norm"])
    assert size == ((512, 4, "gelu", True) if name in LARGE else (256, 2, "relu", False))


@pytest.mark.parametrize("name", PLANNERS)
def test_planners_have_the_authors_settings_for_smac(name):
    values = flat("experiment=smacv1_3m_good", f"algo={name}", "protocol=source")
    updates = 500_000 if name == "dof" else 1_000_000
    assert (values["updates"], values["optim.lr"], values["data.batch_size"]) == (updates, 2e-4, 64)
    assert (values["algo.goal.scale"], values["algo.goal.rtg"], values["algo.sampler"]) == (20.0, True, "ddpm")
    assert (values["algo.acting.steps"], values["algo.acting.noise"], values["algo.net.width"]) == (200, 0.5, 128)


def test_the_default_is_the_papers_protocol():
    for words in (("algo=ma_td3bc",), ("algo=omar", "experiment=recorded_3hopper_medium"), ("experiment=smax_3m",)):
        assert composed(*words) == composed(*words, "protocol=paper")


def test_it_comes_after_experiments_and_the_command_line_after_it():
    assert flat("algo=ma_td3bc")["optim.lr"] == 1e-3  # the quick start
    values = flat("algo=ma_td3bc", "protocol=source")
    assert (values["optim.lr"], values["optim.decay_updates"], values["updates"]) == (3e-4, None, 1_000_000)
    own = flat("algo=ma_td3bc", "protocol=source", "net.width=7", "algo.gamma=0.9", "updates=3")
    assert {key for key in own if own[key] != values[key]} >= {"net.width", "algo.net.width", "algo.gamma", "updates"}
    assert (own["net.width"], own["algo.gamma"], own["updates"], own["net.depth"]) == (7, 0.9, 3, 2)


def test_weights_per_dataset_are_kept_where_they_are_the_authors_own():
    values = flat("experiment=recorded_3hopper_expert", "algo=omar", "protocol=source")
    assert (values["algo.c"], values["algo.cql.weight"]) == (0.5, 2.5)
    words = ("experiment=recorded_6halfcheetah_expert", "algo=ma_cql")
    assert [flat(*words, *more)["algo.cql.sigma"] for more in ((), ("protocol=source",))] == [0.3, 0.2]


def test_a_run_is_identified_by_the_values_alone():
    """The same keys typed one by one make the same run."""
    values = flat("algo=ma_td3bc", "protocol=source")
    typed = [
        f"{key}={'null' if values[key] is None else values[key]}" for key in file_keys("protocol", "source/ma_td3bc")
    ]
    names = [
        run_name(training_part(composed("algo=ma_td3bc", *words))) for words in ([], ["protocol=source"], [*typed])
    ]
    assert names[0] != names[1] == names[2]


def test_an_algorithm_without_such_settings_is_refused_and_those_with_them_are_named():
    assert protocol_of(choices(protocol="paper", algo="vgm2p")) == "paper"
    assert protocol_of(choices()) == "source"
    with pytest.raises(ConfigError, match=f"no settings for algo=vgm2p, only for {', '.join(SOURCE)}$"):
        protocol_of(choices(algo="vgm2p"))


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"net": "small"}, "net=small and protocol=source both set net.width, net.depth, net.activation; set keys"),
        ({"optim": "paper"}, "e.g. optim.lr=<value>"),
        ({"algo": "ma_cql", "tuned": "ma_cql/ant"}, "tuned=ma_cql/ant and protocol=source both set algo.cql.sigma;"),
    ],
)
def test_a_typed_file_that_would_have_no_effect_is_refused(chosen, says):
    group = list(chosen)[-1]
    assert protocol_of(choices(**chosen), ["seed=1"]) == "source"  # an experiment chose it
    with pytest.raises(ConfigError) as error:
        protocol_of(choices(**chosen), ["seed=1", f"{group}={chosen[group]}"])
    assert says in error.value.line
    assert protocol_of(choices(**{**chosen, "protocol": "paper"}), [f"{group}={chosen[group]}"]) == "paper"
    assert protocol_of(choices(tuned="omar/expert"), ["tuned=omar/expert"]) == "source"  # it sets other keys


def test_a_users_own_protocol_needs_one_file_per_algorithm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "conf" / "protocol" / "mine"
    own.mkdir(parents=True)
    (own.parent / "mine.yaml").write_text("# Settings of our laboratory.\n")
    (own / "vgm2p.yaml").write_text("algo:\n  omega: 7\n")
    assert flat("algo=vgm2p", "protocol=mine")["algo.omega"] == 7
    assert protocol_of(choices(protocol="mine", algo="vgm2p", net="small"), ["net=small"]) == "mine"
    with pytest.raises(ConfigError, match=r"conf/protocol/mine\.yaml may not set keys"):
        protocol_of(choices(protocol="mine", algo="vgm2p"), [], {"algo": {"omega": 7}})


def test_the_help_page_shows_the_protocol():
    page = help_page("fit", ["algo=ma_td3bc"])
    assert "## protocol=paper; others: source\n" in page
    assert "main.py: d4rl.qlearning_dataset" not in page
    page = help_page("fit", ["algo=ma_td3bc", "protocol=source"])
    assert "## protocol=source; others: paper\n" in page
    assert "## protocol=source/ma_td3bc; others: " in page
    assert "main.py: d4rl.qlearning_dataset" in page
