"""A user's own algorithm: what she can get wrong is refused, or does what she means."""

import copy

import pytest
import torch

from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.algos.contract import Algorithm
from vgm2p.algos.ma_icq import MAICQ
from vgm2p.algos.parts import unit
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.nn.held import held
from vgm2p.nn.mlp import MLP
from vgm2p.nn.value import Critic
from vgm2p.training.module import Diagnostics
from vgm2p.training.session import discount_of
from vgm2p.types import Needs, has_choice, per_seed_mean

SEEDS = [0, 1]


class Regression(Algorithm):
    """Its target network is made before its optimiser."""

    def __init__(self, spec, seeds, history=1):
        super().__init__(spec, seeds, history)
        self.policy = MLP((len(seeds),), self.id_dim, spec.action_dim, Net(8, 1))
        self.target = copy.deepcopy(self.policy)
        self.follow(self.target, self.make_optimiser("policy", [self.policy], Optim()))

    def error(self, batch):
        return (self.policy(self.encode(batch.obs)) - batch.action).square()


@pytest.fixture
def regression():
    return Regression(continuous_spec(), SEEDS)


def test_a_target_starts_as_its_network_whatever_the_order(regression):
    for target, online in zip(regression.target.parameters(), regression.policy.parameters(), strict=True):
        assert torch.equal(target, online)


def test_a_loss_that_mixes_the_seeds_is_refused(regression):
    error = regression.error(random_batch(regression.spec, len(SEEDS)))
    for loss in (error.mean(), error.flatten(1).mean(1, keepdim=True)):
        with pytest.raises(ValueError, match=r"the loss 'policy' has shape .*per_seed_mean"):
            regression.minimise("policy", loss)
    regression.minimise("policy", per_seed_mean(error))


def test_returns_to_go_need_a_discount(regression):
    assert discount_of(regression) == 0.0
    regression.needs = Needs(frozenset({"return_to_go"}))
    with pytest.raises(ConfigError, match=r"set self\.gamma"):
        discount_of(regression)
    regression.gamma = 0.0
    assert discount_of(regression) == 0.0


def test_a_history_in_the_class_is_not_dropped():
    class Remembers(Regression):
        needs = Needs(history=3)

    with pytest.raises(ValueError, match="Remembers has a history"):
        Remembers(continuous_spec(), SEEDS)
    assert Remembers(continuous_spec(), SEEDS, history=3).needs.history == 3


@pytest.mark.parametrize("hold", [False, True])
def test_second_derivatives_are_refused_and_plain_has_them(hold):
    torch.manual_seed(0)
    critic = Critic(2, 1, 3, 2, Net(8, 2))
    for parameter in critic.parameters():
        parameter.data.normal_()
    o, a = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 2, requires_grad=True)
    with held(critic) if hold else torch.enable_grad(), pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(critic(o, a).sum(), a, create_graph=True)
    mlp, x = MLP((2,), 3, 1, Net(8, 1)), torch.randn(2, 5, 3, requires_grad=True)
    for parameter in mlp.parameters():
        parameter.data.normal_()
    (slope,) = torch.autograd.grad(mlp.plain(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), x)[0].abs().max() > 0


def test_diagnostics_keep_no_graph():
    kept, w = Diagnostics(), torch.ones(2, requires_grad=True)
    for _ in range(2):
        kept.add({"loss": w * 2.0})
        kept.count += 1
    assert not kept.sums["loss"].requires_grad and kept.means() == {"loss": [2.0, 2.0]}


def test_rows_without_a_choice_change_no_temperature():
    x = torch.randn(2, 1000, 3, generator=torch.Generator().manual_seed(0))
    rows = torch.rand(2, 1000, 3, generator=torch.Generator().manual_seed(1)) < 0.2
    found = unit(x.masked_fill(~rows, 0.0), rows)
    for s in range(2):
        torch.testing.assert_close(found[s][rows[s]].std(correction=0), torch.tensor(1.0))
    assert torch.equal(unit(x), x / x.flatten(1).std(1).reshape(2, 1, 1))


def test_icq_weights_are_those_of_the_living_agents():
    """Dead agents scale the weights of an agent by one factor, but not their temperature."""
    spec = discrete_spec()
    algorithm = MAICQ(spec, SEEDS, net=Net(8, 1))
    batch = random_batch(spec, len(SEEDS))
    o = algorithm.encode(batch.obs)
    dead = torch.zeros_like(batch.action, dtype=torch.bool)
    dead[:, ::2] = True
    only = torch.zeros_like(batch.legal)
    only[..., 0] = True
    batch.legal = torch.where(dead.unsqueeze(-1), only, torch.ones_like(batch.legal))
    batch.action = batch.action.masked_fill(dead, 0)
    algorithm.weight_cap = float("inf")
    advantage, (weight, _) = algorithm.advantage(batch, o), algorithm.weights(batch, o)
    assert torch.equal(has_choice(batch.legal), ~dead)
    k, _ = algorithm.mixer(algorithm.joint(batch.obs))
    for s in range(len(SEEDS)):
        expected = advantage[s, 1::2] / advantage[s, 1::2].std(correction=0) / algorithm.beta
        found = (weight / k)[s, 1::2].log()
        torch.testing.assert_close(found - found[:1], expected - expected[:1], atol=1e-4, rtol=1e-4)
