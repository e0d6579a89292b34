"""OMAR against slow references in float64 (tolerance 1e-10), and its special cases."""

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, close, make
from tests.algos.conservative_cases import FEW, acted, case, rated, trained
from vgm2p.algos.ma_cql import MACQL
from vgm2p.algos.omar import OMAR, Search
from vgm2p.errors import ConfigError


def slow_search(algorithm, batch, b, i, draws, search):
    """OMAR's search for one row: (action, value); draws are numbers N(0, 1), or actions for `uniform`."""
    mean, deviation, elites = torch.zeros(2, dtype=F64), torch.full((2,), search.sigma, dtype=F64), []
    for drawn in draws:
        pool = [*elites, *((mean + deviation * z).clamp(-1, 1) if search.kind == "cem" else z for z in drawn)]
        pool.sort(key=lambda action: -float(rated(algorithm, batch.obs, b, i, action, 0).detach()))
        elites = pool[: search.elites]
        mean, deviation = torch.stack(elites).mean(0), torch.stack(elites).std(0, correction=1) + 1e-10
    return elites[0], rated(algorithm, batch.obs, b, i, elites[0], 0)


@pytest.mark.parametrize("kind", ["cem", "uniform"])
@pytest.mark.parametrize("source", range(3))
def test_omars_policy_loss(source, kind):
    search = Search(kind, iterations=3, samples=6, elites=3, sigma=0.8)
    algorithm, batch, key = case(OMAR, "continuous", source, c=0.4, search=search)
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), key)
    key.at(source)
    if kind == "cem":
        draws = [key.normal(f"search_{number}", (8, 6, 3, 2))[0].to(F64) for number in range(3)]
    else:
        draws = [2 * key.uniform("search_uniform", (8, 18, 3, 2))[0].to(F64) - 1]
    total, wins, distance = 0.0, 0, 0.0
    for b, i in ref.rows(batch):
        action = acted(algorithm.policy, algorithm, batch.obs, b, i)
        found, value = slow_search(algorithm, batch, b, i, [drawn[b, :, i] for drawn in draws], search)
        own = rated(algorithm, batch.obs, b, i, action, 0)
        better = found if value > own else action
        wins, distance = wins + int(value > own), distance + (better - action).abs().mean()
        total += 0.4 * ((action - better) ** 2).mean() - 0.6 * own + 1e-3 * (action**2).mean()
    close(loss, total / 24)
    close(info["search_wins"], wins / 24)
    close(info["search_distance"], distance / 24)


@pytest.mark.parametrize("rating", ["min", "first"])
def test_omar_with_c_0_is_ma_cql_with_one_target_per_agent(rating):
    mine = trained(make(OMAR, "continuous", c=0.0, cql=FEW, rating=rating))
    theirs = trained(make(MACQL, "continuous", mixer="independent", cql=FEW, rating=rating))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    other = trained(make(OMAR, "continuous", c=0.1, cql=FEW, rating=rating))
    assert any(not torch.equal(other[name], theirs[name]) for name in theirs)


def test_a_search_without_a_better_action_does_not_move_the_policy():
    algorithm, batch, key = case(OMAR, "continuous", 0, c=1.0)
    algorithm.rated = lambda o, action: -(action - algorithm.policy(o)).square().sum(-1)  # the policy is the best
    action = algorithm.policy(algorithm.encode(batch.obs))
    better, info = algorithm.rectify(algorithm.encode(batch.obs), action.detach(), key)
    assert torch.equal(better, action)
    assert info["search_wins"] == 0.0
    loss, _ = algorithm.policy_loss(batch, algorithm.encode(batch.obs), key.at(1))
    gradient = torch.autograd.grad(loss.sum(), list(algorithm.policy.parameters()))
    l2 = torch.autograd.grad(1e-3 * action.square().mean(), list(algorithm.policy.parameters()))
    for seen, wanted in zip(gradient, l2, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["cem", "uniform"])
def test_the_chosen_action_is_never_rated_below_the_policys(kind):
    algorithm, batch, key = case(OMAR, "continuous", 1, search=Search(kind))
    o = algorithm.encode(batch.obs)
    action = algorithm.policy(o).detach()
    better, info = algorithm.rectify(o, action, key)
    assert (algorithm.rated(o, better) >= algorithm.rated(o, action)).all()
    assert (better.abs() <= 1.0).all()
    assert 0.0 < info["search_wins"] <= 1.0


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"algo\.c must lie between 0 and 1, got 1\.5"):
        make(OMAR, "continuous", c=1.5)
    for elites in (1, 21):
        with pytest.raises(ConfigError, match=rf"algo\.search\.elites must lie between 2 and .* got {elites}"):
            Search(elites=elites)
