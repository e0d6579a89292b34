"""VGM2P+: its two special cases to the last bit, how its steps are drawn, and runs from before its name was used."""

import pytest
import torch

from tests.run.runs import run, succeeded
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.realised import JudgeSettings
from vgm2p.algos.vgm2p_plus import VGM2PPlus
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.config.build import make_data
from vgm2p.config.compose import composed
from vgm2p.config.draws import draws_of, for_others
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Acting, Seen

SEEDS, SETTINGS = [3, 5], {"net": Net(16, 2), "optim": Optim(1e-2, 50), "history": 3}


def learnt(algorithm, spec):
    """Return the actions of an algorithm after five updates, and its parameters."""
    batches, key = [random_batch(spec, len(SEEDS), 32, source) for source in range(5)], UpdateKey(SEEDS)
    for update, batch in enumerate(batches):
        algorithm.step(batch, key.at(update))
    seen = Seen(batches[0].obs, batches[0].legal)
    actions, _ = algorithm.act(seen, None, ActKey(SEEDS, 5, range(32)), Acting())
    return [actions, *algorithm.policy.parameters()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("predict", ["x", "v"])
def test_with_continuous_actions_it_is_the_clone_whatever_the_judge_is_told(predict):
    spec, judge = continuous_spec(), JudgeSettings(value_updates=40)
    plus = VGM2PPlus(spec, SEEDS, judge=judge, label_dropout=0.5, policy_rows=4, predict=predict, **SETTINGS)
    assert plus.needs == BCMeanFlow(spec, SEEDS, **SETTINGS).needs and plus.warm_up == 0
    clone = BCMeanFlow(spec, SEEDS, predict=predict, **SETTINGS)
    assert same(learnt(plus, spec), learnt(clone, spec))


def test_with_discrete_actions_it_is_the_realised_judge():
    spec = discrete_spec()
    plus, judged = (kind(spec, SEEDS, policy_rows=16, predict="x", **SETTINGS) for kind in (VGM2PPlus, VGM2PRealised))
    assert same(learnt(plus, spec), learnt(judged, spec))


def drawn(kind, discrete, *words):
    node = draws_of(composed("fit", ["experiment=quickstart", *words])["data"], kind, discrete)
    return node["sampling"], node["ess"]


def test_it_draws_episodes_by_return_where_actions_are_continuous():
    assert drawn(VGM2PPlus, False) == ("return", "auto")
    assert drawn(VGM2PPlus, False, "data.ess=0.2") == ("return", 0.2)
    assert drawn(VGM2PPlus, False, "data.sampling=return") == ("return", "auto")
    assert drawn(VGM2PPlus, False, "data.sampling=uniform") == ("uniform", None)
    assert drawn(VGM2PPlus, True) == ("uniform", None)
    assert drawn(VGM2PPlus, None) == ("auto", None)


def test_others_draw_all_steps_alike_unless_the_user_says_otherwise():
    for kind in (VGM2PRealised, BCMeanFlow):
        assert drawn(kind, None) == drawn(kind, False) == ("uniform", None)
        assert drawn(kind, True, "data.sampling=return") == ("return", None)
        with pytest.raises(ConfigError, match=r"data\.ess=0\.2 has no effect"):
            drawn(kind, None, "data.ess=0.2")


def test_the_words_for_other_algorithms_have_no_size_that_would_have_no_effect():
    assert for_others(["seed=1", "++data.ess=0.1"]) == ["seed=1"]
    assert for_others(["data.ess=0.1", "+data.sampling=return"]) == ["data.ess=0.1", "+data.sampling=return"]
    assert for_others(["algo=omar", "tuned=omar/expert", "+algo.c=1", "~algo.c", "updates=3"]) == ["updates=3"]


def test_a_dataset_that_is_loaded_before_the_kind_of_actions_is_known_is_drawn_from_by_return():
    data = make_data(composed("fit", ["experiment=quickstart", "data.ess=0.5"])["data"])
    assert data.store.sampling is None
    data.draw_as("return")
    assert data.store.sampling.ess == pytest.approx(0.5)


def test_one_word_gives_the_clone_of_steps_drawn_by_return(tmp_path):
    words = {"algo": "vgm2p_plus", "data__ess": 0.2}
    said = succeeded(run(tmp_path / "plus", **words)).stdout
    assert "by return: temperature" in said and "effective sample size 0.2 of the steps" in said
    clone = {"algo": "bc_meanflow", "algo__predict": "x", "data__sampling": "return", "data__ess": 0.2}
    clone["algo__acting__noise"] = 0
    succeeded(run(tmp_path / "clone", **clone))
    plus, clone = ((tmp_path / name / "episodes.csv").read_text() for name in ("plus", "clone"))
    assert plus == clone and plus.count("\n") > 1
