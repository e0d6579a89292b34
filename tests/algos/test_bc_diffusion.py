"""BC(Diffusion): its loss against a reference, its samplers, and what it shares with the other cloned policies."""

import math

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SIZE, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.bc_diffusion import BCDiffusion
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.errors import ConfigError
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Acting, Seen


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("kind", SPECS)
def test_the_loss_against_loops(kind, source):
    algorithm, batch = (
        make(BCDiffusion, kind, levels=7, acting=Acting(steps=2)),
        random_batch(SPECS[kind], source=source, dtype=F64),
    )
    key = UpdateKey([0]).at(source)
    loss = algorithm.policy_loss(algorithm.encode(batch.obs), algorithm.represent(batch.action), key)
    key.at(source)
    level = key.integers("level", tuple(batch.obs.shape[1:3]), 7)
    width = SPECS[kind].action_dim
    eps = key.normal("flow_noise", (*batch.obs.shape[1:3], width)).to(F64)
    total = 0.0
    for b, i in ref.rows(batch):
        a, oid = ref.vector(algorithm, batch.action[0, b, i]), ref.encode(algorithm, batch.obs[0, b, i], i)
        x0 = torch.where(a > 0, 1.0, -1.0).to(F64) if kind == "discrete" else a
        k = level[0, b, i]
        x = algorithm.schedule.signal[k] * x0 + algorithm.schedule.noise[k] * eps[0, b, i]
        seen = ref.plain_mlp(algorithm.policy.mlp, torch.cat([x, k.to(F64).reshape(1) / 7, oid]))
        total += ((seen - eps[0, b, i]) ** 2).mean()
    close(loss, total / len(ref.rows(batch)))


def acted(algorithm, batch, acting=None, episodes=None):
    key = ActKey([0], 0, range(batch.obs.shape[1]) if episodes is None else episodes)
    with torch.inference_mode():
        return algorithm.act(Seen(batch.obs, batch.legal), None, key, acting)[0]


@pytest.mark.parametrize("kind", SPECS)
def test_it_acts_as_ten_ddim_steps_by_hand(kind):
    algorithm, batch = make(BCDiffusion, kind), random_batch(SPECS[kind], rows=2, dtype=F64)
    z = ActKey([0], 0, range(2)).normal("act", (2, 3, SPECS[kind].action_dim)).to(F64)
    abar = algorithm.schedule.abar
    for b, i in ref.rows(batch):
        x, oid = z[0, b, i], ref.encode(algorithm, batch.obs[0, b, i], i)
        for k in range(99, 0, -10):
            eps = ref.plain_mlp(algorithm.policy.mlp, torch.cat([x, torch.tensor([k / 100], dtype=F64), oid]))
            x0 = ((x - math.sqrt(1 - abar[k]) * eps) / math.sqrt(abar[k])).clamp(-1, 1)
            kept = abar[k - 10] if k > 10 else 1.0
            x = math.sqrt(kept) * x0 + math.sqrt(1 - kept) * eps
        wanted = x.masked_fill(~batch.legal[0, b, i], -torch.inf).argmax() if kind == "discrete" else x.clamp(-1, 1)
        torch.testing.assert_close(acted(algorithm, batch)[0, b, i], wanted, rtol=0, atol=1e-10)


def test_the_start_noise_decides_under_ddim_and_does_not_alone_under_ddpm():
    batch, silent = random_batch(SPECS["continuous"], rows=4, dtype=F64), Acting(noise=0.0, steps=10)
    for sampler, same in (("ddim", True), ("ddpm", False)):
        algorithm = make(BCDiffusion, "continuous", sampler=sampler)
        first, second = (acted(algorithm, batch, silent, range(n, n + 4)) for n in (0, 4))
        assert torch.equal(first, second) is same
        assert torch.equal(first, acted(algorithm, batch, silent))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_agents_that_share_their_noise_and_see_the_same_act_alike(sampler):
    algorithm = make(BCDiffusion, "continuous", sampler=sampler)
    with torch.no_grad():
        algorithm.policy.mlp.hidden[0].weight[..., -3:] = 0.0  # the agent's one-hot
    batch = random_batch(SPECS["continuous"], rows=4, dtype=F64)
    batch.obs = batch.obs[:, :, :1].expand_as(batch.obs)
    for shared in (True, False):
        action = acted(algorithm, batch, Acting(steps=10, shared=shared))
        assert torch.allclose(action[:, :, :1], action, rtol=0, atol=1e-12) is shared


def test_more_steps_than_levels_are_refused_before_training():
    with pytest.raises(ConfigError, match="5 levels cannot take 10 sampling steps"):
        make(BCDiffusion, "continuous", levels=5)


@pytest.mark.parametrize("kind", SPECS)
def test_cloned_policies_differ_in_the_generative_model_alone(kind):
    """The same network with the same initial weights as BC(FM); more inputs only where the model has more of them."""
    ours, flow, meanflow, vgm2p = (cls(SPECS[kind], [0], **SIZE) for cls in (BCDiffusion, BCFlow, BCMeanFlow, VGM2P))
    assert type(ours.policy) is type(flow.policy)
    for name, value in flow.named_parameters():
        assert torch.equal(value, dict(ours.named_parameters())[name])
    inputs = [each.policy.mlp.hidden[0].weight.shape[-1] for each in (ours, flow, meanflow, vgm2p)]
    more = [width - inputs[0] for width in inputs]
    assert more == [0, 0, 1, 1 + vgm2p.classes]  # a level or a time; two times; two times and a condition
    tails = [[tuple(p.shape) for p in each.policy.parameters()][1:] for each in (ours, flow, meanflow, vgm2p)]
    assert tails[0] == tails[1] == tails[2] == tails[3]
    assert ours.needs == flow.needs == meanflow.needs
    assert ours.optimisers.keys() == flow.optimisers.keys()
    batch = random_batch(SPECS[kind])
    scores = torch.randn(1, 8, 3, SPECS[kind].action_dim)
    assert torch.equal(ours.encode(batch.obs), meanflow.encode(batch.obs))
    assert torch.equal(ours.to_action(scores, batch.legal), flow.to_action(scores, batch.legal))
