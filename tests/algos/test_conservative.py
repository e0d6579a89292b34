"""Conservative penalties against loops in float64; candidates; illegal actions."""

import math

import pytest
import torch

from tests.support import discrete_spec, random_batch
from vgm2p.algos.conservative import candidates, joint_actions, legal_penalty, rate, sampled_penalty
from vgm2p.rng import UpdateKey

F64 = torch.float64


def close(seen, wanted):
    torch.testing.assert_close(seen, torch.as_tensor(wanted, dtype=F64), rtol=0, atol=1e-10)


def values(*shape, source=0):
    return 3.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(source), dtype=F64)


def chosen_of(q, action):
    return q.gather(-1, action[:, None, ..., None].expand(*q.shape[:-1], 1)).squeeze(-1)


@pytest.mark.parametrize("source", range(3))
def test_legal_penalty(source):
    batch = random_batch(discrete_spec(), seeds=2, source=source)
    q = values(2, 3, *batch.action.shape[1:], 4, source=source)
    seen = legal_penalty(q, chosen_of(q, batch.action), batch.legal)
    for s, c, b, i in torch.cartesian_prod(*(torch.arange(n) for n in seen.shape)).tolist():
        row = [float(q[s, c, b, i, a]) for a in range(4) if batch.legal[s, b, i, a]]
        close(seen[s, c, b, i], math.log(sum(map(math.exp, row))) - q[s, c, b, i, batch.action[s, b, i]])


def test_without_a_mask_every_action_is_legal():
    q = values(1, 2, 5, 3, 4)
    every = torch.ones(1, 5, 3, 4, dtype=torch.bool)
    assert torch.equal(legal_penalty(q, q[..., 0], None), legal_penalty(q, q[..., 0], every))


def test_one_legal_action_has_no_penalty_and_no_gradient():
    """A dead agent has one legal action; its neighbours' penalties do not change."""
    batch = random_batch(discrete_spec())
    batch.legal[0, :, 0] = False
    batch.legal[0, :, 0, 1], batch.action[0, :, 0] = True, 1
    for dtype in (torch.float32, F64):
        q = values(1, 2, 8, 3, 4).to(dtype).requires_grad_()
        seen = legal_penalty(q, chosen_of(q, batch.action), batch.legal)
        (gradient,) = torch.autograd.grad(seen.sum(), q)
        assert (seen[..., 0] == 0.0).all()
        assert (gradient[:, :, :, 0] == 0.0).all()
        assert (seen[..., 1:] != 0.0).any()


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_illegal_values_never_matter(extreme):
    batch = random_batch(discrete_spec())
    q = values(1, 2, 8, 3, 4)
    wild = torch.where(batch.legal.unsqueeze(1), q, extreme).requires_grad_()
    seen = legal_penalty(wild, chosen_of(wild, batch.action), batch.legal)
    assert torch.equal(seen, legal_penalty(q, chosen_of(q, batch.action), batch.legal))
    (gradient,) = torch.autograd.grad(seen.sum(), wild)
    assert (gradient[~batch.legal.unsqueeze(1).expand_as(gradient)] == 0.0).all()


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("source", range(3))
def test_sampled_penalty(source, temperature):
    q, chosen = values(2, 2, 4, 6, 3, source=source), values(2, 2, 4, 3, source=source + 9)
    log_density = values(2, 4, 6, 3, source=source + 20)
    seen = sampled_penalty(q, chosen, log_density, temperature)
    for s, c, b, i in torch.cartesian_prod(*(torch.arange(n) for n in seen.shape)).tolist():
        terms = [math.exp(float(q[s, c, b, k, i] - log_density[s, b, k, i]) / temperature) for k in range(6)]
        close(seen[s, c, b, i], temperature * math.log(sum(terms)) - chosen[s, c, b, i])


def test_candidates_are_of_three_kinds():
    now, following = (values(2, 5, 3, 2, source=s).clamp(-1, 1) for s in (0, 1))
    actions, log_density = candidates(now, following, 4, 0.2, UpdateKey([0, 1]))
    assert actions.shape == (2, 5, 12, 3, 2)
    assert log_density.shape == (2, 5, 12, 3)
    assert (actions.abs() <= 1.0).all()
    key = UpdateKey([0, 1])
    uniform, noise = key.uniform("cql_uniform", (5, 4, 3, 2)), key.normal("cql_now", (5, 4, 3, 2))
    later = key.normal("cql_next", (5, 4, 3, 2))
    normal = torch.distributions.Normal(torch.zeros((), dtype=F64), 0.2)
    close(actions[:, :, :4], 2 * uniform.double() - 1)
    assert (log_density[:, :, :4] == -2 * math.log(2.0)).all()
    for k, (mean, drawn) in enumerate(((now, noise), (following, later)), start=1):
        part = slice(4 * k, 4 * k + 4)
        close(actions[:, :, part], (mean.unsqueeze(2) + 0.2 * drawn.double()).clamp(-1, 1))
        close(log_density[:, :, part], normal.log_prob(0.2 * drawn.double()).sum(-1))


def test_candidates_of_a_row_are_rated_at_its_own_observation():
    o, actions = values(2, 5, 3, 4), values(2, 5, 6, 3, 2, source=1)

    def critic(o, a):
        return (o.sum(-1) + 10.0 * a.sum(-1)).unsqueeze(1)

    seen = rate(critic, o, actions)
    close(seen[:, 0], o.sum(-1).unsqueeze(2) + 10.0 * actions.sum(-1))


def test_joint_actions_are_legal_spread_evenly_and_end_with_the_stored_one():
    batch = random_batch(discrete_spec(), rows=40)
    drawn = joint_actions(batch.action, batch.legal, 200, UpdateKey([0]))
    assert drawn.shape == (1, 40, 201, 3)
    assert torch.equal(drawn[:, :, -1], batch.action)
    legal = batch.legal.unsqueeze(2).expand(-1, -1, 201, -1, -1)
    assert legal.gather(-1, drawn.unsqueeze(-1)).all()
    three = batch.legal.sum(-1) == 3  # agents with three legal actions take each in a third of the draws
    counts = torch.nn.functional.one_hot(drawn[:, :, :-1], 4).sum(2)[three]
    expected, seen = 200 / 3, counts[batch.legal[three]].double()
    assert (seen - expected).abs().max() < 5 * math.sqrt(200 * 2 / 9)
    assert abs(float(seen.mean()) - expected) < 1e-9
