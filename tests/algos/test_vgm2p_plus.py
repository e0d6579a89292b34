"""VGM2P+: its two special cases to the last bit, how its steps are drawn, and runs from before its name was used."""

import pytest
import torch

from tests.run.runs import run, succeeded
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.realised import JudgeSettings
from vgm2p.algos.vgm2p_plus import VGM2PPlus
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.config.build import algorithm_class, make_data
from vgm2p.config.compose import composed
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.run.fingerprint import differences
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


def data_of(*words):
    return make_data(composed("fit", ["experiment=quickstart", *words])["data"])


def test_it_draws_episodes_by_return_where_actions_are_continuous():
    assert [kind.draws(False) for kind in (VGM2PPlus, VGM2PRealised, BCMeanFlow)] == ["return", "uniform", "uniform"]
    assert VGM2PPlus.draws(True) == "uniform"
    data = data_of("data.ess=0.2")
    data.draw_as("return")
    assert (data.sampling, data.ess) == ("return", 0.2) and data.store.sampling.ess == pytest.approx(0.2)


def test_what_the_user_sets_comes_first():
    data = data_of("data.sampling=uniform")
    data.draw_as("return")
    assert data.store.sampling is None
    data = data_of("data.sampling=return")
    data.draw_as("uniform")
    assert data.store.sampling.ess == pytest.approx(0.1)


def test_a_store_that_is_loaded_already_is_drawn_from_by_return_too():
    data = data_of("data.ess=0.5")
    assert data.store.sampling is None
    data.draw_as("return")
    assert data.store.sampling.ess == pytest.approx(0.5)


def test_an_effective_size_without_draws_by_return_is_refused():
    with pytest.raises(ConfigError, match=r"data\.ess=0\.2 has no effect"):
        data_of("data.ess=0.2").draw_as("uniform")
    with pytest.raises(ConfigError, match=r"data\.ess=0\.2 has no effect"):
        data_of("data.ess=0.2", "data.sampling=uniform")


def test_one_word_gives_the_clone_of_steps_drawn_by_return(tmp_path):
    words = {"algo": "vgm2p_plus", "data__ess": 0.2}
    said = succeeded(run(tmp_path / "plus", **words)).stdout
    assert "by return: temperature" in said and "effective sample size 0.2 of the steps" in said
    clone = {"algo": "bc_meanflow", "algo__predict": "x", "data__sampling": "return", "data__ess": 0.2}
    succeeded(run(tmp_path / "clone", **clone))
    plus, clone = ((tmp_path / name / "episodes.csv").read_text() for name in ("plus", "clone"))
    assert plus == clone and plus.count("\n") > 1


def test_a_run_from_before_the_name_was_used_is_still_what_it_was():
    now = composed("fit", ["experiment=quickstart", "algo=vgm2p_chosen"])
    before = {**now, "algo": {**now["algo"], "_target_": "vgm2p.algos.vgm2p_plus.VGM2PPlus"}}
    assert algorithm_class(before["algo"]) is VGM2PSwitches and differences(before, now) == []
    new = composed("fit", ["experiment=quickstart", "algo=vgm2p_plus"])
    assert algorithm_class(new["algo"]) is VGM2PPlus
