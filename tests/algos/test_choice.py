"""Rows without a choice, of dead agents or with one legal action, are in no policy loss and in no class share."""

import pytest
import torch

from tests.algos.cases import F64, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.bc_diffusion import BCDiffusion
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.flows.flow_matching import cloning_loss
from vgm2p.rng import UpdateKey

DISCRETE = SPECS["discrete"]
GUIDED = (VGM2P, VGM2PFlowMatching, VGM2PSwitches)
CASES = [
    (BCGaussian, {}),
    (BCDiffusion, {}),
    *((cls, {"predict": p}) for cls in (BCFlow, BCMeanFlow, MACFlow, *GUIDED) for p in "vx"),
]


def loss_and_network(algorithm, batch):
    o, action, key = algorithm.encode(batch.obs), algorithm.represent(batch.action), UpdateKey([0])
    if isinstance(algorithm, BCGaussian):
        return algorithm.policy_loss(batch), algorithm.policy
    if isinstance(algorithm, MACFlow):  # its flow
        return cloning_loss(algorithm.teacher, action, o, algorithm.times, key, batch.legal), algorithm.teacher
    if isinstance(algorithm, GUIDED):
        c = torch.arange(24).reshape(1, 8, 3) % 2
        return algorithm.policy_loss(o, action, c, key, batch.legal)[0], algorithm.policy
    found = algorithm.policy_loss(o, action, key, batch.legal)
    return found if isinstance(algorithm, BCFlow | BCDiffusion) else found[0], algorithm.policy


def dead_batch(dead):
    """A batch in which the agents in `dead` (8, 3) can do one thing only, and the others anything."""
    batch = random_batch(DISCRETE, dtype=F64)
    batch.legal = torch.where(dead.unsqueeze(-1), torch.arange(4) == 3, True)[None]
    batch.action = torch.where(dead, 3, batch.action)
    return batch


def some():
    return torch.rand(8, 3, generator=torch.Generator().manual_seed(3)) < 0.4


@pytest.mark.parametrize(("cls", "options"), CASES, ids=str)
def test_the_policy_loss_is_the_mean_over_the_rows_with_a_choice(cls, options):
    algorithm, batch, dead = make(cls, "discrete", **options), dead_batch(some()), some()
    found = []
    for shift in (0.0, 5.0):  # what dead agents see does not matter
        batch.obs = batch.obs + shift * dead.unsqueeze(-1)
        loss, network = loss_and_network(algorithm, batch)
        found.append([loss, *torch.autograd.grad(loss.sum(), list(network.parameters()))])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    batch.legal = torch.where(dead.unsqueeze(-1), torch.arange(4) >= 2, True)[None]  # now all have a choice
    assert abs(loss_and_network(algorithm, batch)[0] - found[1][0]) > 1e-3


@pytest.mark.parametrize(("cls", "options"), CASES, ids=str)
def test_a_batch_without_any_choice_has_loss_0_and_no_gradient(cls, options):
    algorithm = make(cls, "discrete", **options)
    loss, network = loss_and_network(algorithm, dead_batch(torch.ones(8, 3, dtype=torch.bool)))
    assert loss == 0.0
    for gradient in torch.autograd.grad(loss.sum(), list(network.parameters())):
        assert (gradient == 0.0).all()


def test_class_0_keeps_its_weight_among_the_rows_with_a_choice():
    dead, c = some(), torch.arange(24).reshape(1, 8, 3) % 2
    algorithm, batch = make(VGM2PSwitches, "discrete", class0_weight=0.1, predict="x"), dead_batch(some())
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    losses = []
    for label in (0, 1):  # the mean over the rows of each class, by marking all others as without a choice
        batch.legal = torch.where((dead | (c[0] != label)).unsqueeze(-1), torch.arange(4) == 3, True)[None]
        losses.append(algorithm.policy_loss(o, action, c, UpdateKey([0]), batch.legal)[0])
    batch.legal = torch.where(dead.unsqueeze(-1), torch.arange(4) == 3, True)[None]
    counts = [int(((c[0] == label) & ~dead).sum()) for label in (0, 1)]
    total = 0.1 * counts[0] * losses[0] + counts[1] * losses[1]
    wanted = total / (0.1 * counts[0] + counts[1])
    close(algorithm.policy_loss(o, action, c, UpdateKey([0]), batch.legal)[0].detach(), wanted.item())


@pytest.mark.parametrize("cls", GUIDED)
def test_the_shares_count_rows_with_a_choice(cls):
    algorithm, dead = make(cls, "discrete"), some()
    dead[:, 2] = True
    batch = dead_batch(dead)
    o, action = algorithm.encode(batch.obs), algorithm.represent(batch.action)
    _, baselines = algorithm.imagine(batch, o, algorithm.encode(batch.next_obs), UpdateKey([0]))
    q = algorithm.critic(o, action)
    adv, _ = algorithm.advantage(o, action, baselines, q)
    c, info = algorithm.condition(batch, o, action, baselines, q)
    assert c[0][dead].all()
    living = ~dead
    close(info["c1_fraction"], c[0][living].double().mean())
    close(info["adv_mean"], adv[0][living].mean())
    close(info["adv_std"], adv[0][living].std(correction=0))
    close(info["c1_fraction_0"], c[0, :, 0][living[:, 0]].double().mean())
    assert info["c1_fraction_2"] == 0.0
    pairs = [c[0, b, 0] == c[0, b, 1] for b in range(8) if living[b, :2].all()]
    close(info["c_agreement"], torch.stack(pairs).double().mean())
