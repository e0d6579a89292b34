"""Convolutions, group norms and attention with a seed axis, against torch's own layers with the same weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vgm2p.nn.attention import Attention
from vgm2p.nn.conv import Conv, GroupNorm, fold, unfold
from vgm2p.optim import Optim, SeedAdam
from vgm2p.seeds import initialise

S = 3


def rows(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(layer, seeds=range(S)):
    initialise([layer], list(seeds), "net")
    return layer.double()


def alone(make, s):
    """The layer of a single run with seed s."""
    return made(make(1), [s])


LAYERS = {
    "conv": lambda seeds: Conv(seeds, 4, 6, 5),
    "strided": lambda seeds: Conv(seeds, 4, 6, 3, stride=2),
    "up": lambda seeds: Conv(seeds, 4, 6, 4, stride=2, up=True),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_convolution_of_three_seeds_is_three_convolutions(make):
    joint, x = made(make(S)), rows(S, 7, 4, 12)
    y = unfold(joint(fold(x)), S)
    y.square().sum().backward()
    for s in range(S):
        single = alone(make, s)
        assert torch.equal(single.weight[0], joint.weight[s])
        ours = unfold(single(fold(x[s : s + 1])), 1)[0]
        ours.square().sum().backward()
        torch.testing.assert_close(y[s], ours, rtol=0, atol=1e-13)
        torch.testing.assert_close(joint.weight.grad[s], single.weight.grad[0], rtol=0, atol=1e-11)
        torch.testing.assert_close(joint.bias.grad[s], single.bias.grad[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize(("up", "kernel", "stride"), [(False, 5, 1), (False, 3, 2), (True, 4, 2)])
def test_a_convolution_is_torchs_with_its_initial_scale(up, kernel, stride):
    ours = made(Conv(1, 4, 6, kernel, stride, up), [0])
    kind = nn.ConvTranspose1d if up else nn.Conv1d
    theirs = kind(4, 6, kernel, stride, padding=(kernel - 1) // 2).double()
    theirs.weight.data.copy_(ours.weight[0])
    theirs.bias.data.copy_(ours.bias[0])
    x = rows(5, 4, 12)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-13)
    bound = kind(400, 600, kernel).weight.abs().max().item()
    found = made(Conv(1, 400, 600, kernel, stride, up), [0]).weight.abs().max().item()
    assert found == pytest.approx(bound, rel=0.01)


def test_group_norm_keeps_seeds_apart_and_is_torchs():
    joint = made(GroupNorm(S, 16))
    with torch.no_grad():
        joint.weight.copy_(rows(S, 16, seed=1))
        joint.bias.copy_(rows(S, 16, seed=2))
    x = rows(S, 5, 16, 9)
    y = unfold(joint(fold(x)), S)
    for s in range(S):
        wanted = F.group_norm(x[s], 8, joint.weight[s], joint.bias[s])
        torch.testing.assert_close(y[s], wanted, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="multiple of 8"):
        GroupNorm(1, 12)


def test_attention_is_torchs_and_knows_no_order_of_agents():
    ours = made(Attention(1, 6, heads=2, head_dim=3), [0])
    theirs = nn.MultiheadAttention(6, 2, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight[0])
        theirs.in_proj_bias.copy_(ours.project.bias[0])
        theirs.out_proj.weight.copy_(ours.output.weight[0])
        theirs.out_proj.bias.copy_(ours.output.bias[0])
    x = rows(1, 4, 5, 6)
    y = ours(x)
    torch.testing.assert_close(y[0], theirs(x[0], x[0], x[0])[0], rtol=0, atol=1e-12)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(ours(x[:, :, order]), y[:, :, order], rtol=0, atol=1e-12)


def test_attention_of_three_seeds_is_three_attentions():
    joint, x = made(Attention(S, 6, heads=2, head_dim=3)), rows(S, 4, 5, 6)
    y = joint(x)
    for s in range(S):
        torch.testing.assert_close(y[s], alone(lambda n: Attention(n, 6, 2, 3), s)(x[s : s + 1])[0], rtol=0, atol=1e-13)


def test_one_optimiser_serves_all_of_them_and_freezes_a_seed():
    layers = nn.ModuleList([Conv(S, 4, 8, 3), GroupNorm(S, 8), Attention(S, 8, 2, 4)])
    initialise(layers, list(range(S)), "net")
    optimiser = SeedAdam(layers.parameters(), Optim(lr=1e-2))
    before = [p.detach().clone() for p in layers.parameters()]
    conv, norm, attention = layers
    h = unfold(norm(conv(fold(rows(S, 5, 4, 6).float()))), S)  # (S, R, 8, L): time steps play the agents
    loss = attention(h.transpose(2, 3)).square().flatten(1).sum(1)
    optimiser.minimise(loss, torch.tensor([True, False, True]))
    for old, new in zip(before, layers.parameters(), strict=True):
        assert torch.equal(old[1], new[1])
        assert not torch.equal(old[0], new[0])
