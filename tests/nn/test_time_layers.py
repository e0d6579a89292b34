"""Convolutions, group norms and attention with a seed axis, against torch's own layers with the same weights."""

import pytest
import torch
from torch import nn

from vgm2p.groups import Optim
from vgm2p.nn.attention import Attention
from vgm2p.nn.conv import Conv, GroupNorm, fold, unfold
from vgm2p.nn.optim import SeedAdam
from vgm2p.seeds import initialise

S = 3


def rows(*size, seed=0, dtype=torch.float64):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def made(layer, seeds=range(S)):
    initialise([layer], list(seeds), "net")
    return layer.double()


def alone(make, s):
    """The layer of a single run with seed s."""
    return made(make(1), [s])


class Folded(nn.Module):
    """A layer of folded rows for x (S, R, channels, L)."""

    def __init__(self, seeds, make):
        super().__init__()
        self.seeds, self.layer = seeds, make(seeds)

    def forward(self, x):
        return unfold(self.layer(fold(x)), self.seeds)


# 20 and 7 channels: oneDNN sums them in another order in a grouped convolution
LAYERS = {
    "conv": (lambda n: Folded(n, lambda s: Conv(s, 20, 7, 5)), (8, 20, 4)),
    "strided": (lambda n: Folded(n, lambda s: Conv(s, 20, 16, 3, stride=2)), (8, 20, 4)),
    "up": (lambda n: Folded(n, lambda s: Conv(s, 20, 16, 4, stride=2, up=True)), (8, 20, 4)),
    "pointwise": (lambda n: Folded(n, lambda s: Conv(s, 16, 24, 1)), (70, 16, 12)),
    "group norm": (lambda n: Folded(n, lambda s: GroupNorm(s, 16)), (5, 16, 9)),
    "attention": (lambda n: Attention(n, 20, 4, 8), (70, 5, 20)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_three_seeds_are_three_single_runs_to_the_bit(make, shape, dtype):
    x = rows(S, *shape, dtype=dtype).requires_grad_()
    joint = made(make(S)).to(dtype)
    y = joint(x)
    y.square().sum().backward()
    for s in range(S):
        single, own = alone(make, s).to(dtype), x[s : s + 1].detach().requires_grad_()
        found = single(own)
        found.square().sum().backward()
        assert torch.equal(y[s], found[0])
        assert torch.equal(x.grad[s], own.grad[0])
        for one, two in zip(joint.parameters(), single.parameters(), strict=True):
            assert torch.equal(one[s], two[0])
            assert torch.equal(one.grad[s], two.grad[0])


def same(ours, theirs, x, pairs):
    """Assert equal values, and equal gradients of the input and of every pair of parameters."""
    found = []
    for run in (ours, theirs):
        own = x.clone().requires_grad_()
        y = run(own)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        found.append((y, own.grad))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
    for one, two in pairs:
        torch.testing.assert_close(one.grad.view_as(two), two.grad, rtol=0, atol=1e-11)


def copied(ours, theirs):
    """Give torch's layer the weights of the single seed of ours; return the pairs."""
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    for one, two in pairs:
        two.data.copy_(one[0])
    return pairs


@pytest.mark.parametrize(("up", "kernel", "stride"), [(False, 5, 1), (False, 3, 2), (True, 4, 2), (False, 1, 1)])
def test_a_convolution_is_torchs_with_its_initial_scale(up, kernel, stride):
    ours = made(Conv(1, 4, 6, kernel, stride, up), [0])
    kind = nn.ConvTranspose1d if up else nn.Conv1d
    theirs = kind(4, 6, kernel, stride, padding=(kernel - 1) // 2).double()
    same(ours, theirs, rows(5, 4, 12), copied(ours, theirs))
    bound = kind(400, 600, kernel).weight.abs().max().item()
    found = made(Conv(1, 400, 600, kernel, stride, up), [0])
    assert found.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert 0.9 * bound < found.bias.abs().max().item() <= bound * 1.01


def test_a_grouped_convolution_as_on_a_gpu_is_the_one_seed_by_seed():
    for conv in (made(Conv(S, 4, 6, 5)), made(Conv(S, 4, 6, 4, stride=2, up=True))):
        x = fold(rows(S, 7, 4, 12))
        together = conv.convolve(x, conv.weight.flatten(0, 1), conv.bias.flatten(), S)
        torch.testing.assert_close(together, conv(x), rtol=0, atol=1e-13)


def test_group_norm_is_torchs():
    ours, theirs = made(GroupNorm(1, 16), [0]), nn.GroupNorm(8, 16).double()
    with torch.no_grad():
        ours.weight.copy_(rows(1, 16, seed=1))
        ours.bias.copy_(rows(1, 16, seed=2))
    same(ours, theirs, rows(5, 16, 9), copied(ours, theirs))
    with pytest.raises(ValueError, match="multiple of 8"):
        GroupNorm(1, 12)


def test_attention_is_torchs_and_knows_no_order_of_agents():
    ours = made(Attention(1, 6, heads=2, head_dim=3), [0])
    theirs = nn.MultiheadAttention(6, 2, batch_first=True).double()
    pairs = [
        (ours.project.weight, theirs.in_proj_weight),
        (ours.project.bias, theirs.in_proj_bias),
        (ours.output.weight, theirs.out_proj.weight),
        (ours.output.bias, theirs.out_proj.bias),
    ]
    for one, two in pairs:
        two.data.copy_(one[0])
    x = rows(1, 4, 5, 6)
    same(ours, lambda own: theirs(own[0], own[0], own[0])[0][None], x, pairs)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(ours(x[:, :, order]), ours(x)[:, :, order], rtol=0, atol=1e-12)


def test_weights_of_a_layer_are_a_function_of_seed_and_role():
    net = nn.ModuleList([Conv(2, 4, 4, 3), Conv(2, 4, 4, 3), Attention(2, 4, 2, 2)])
    initialise([net], [5, 9], "net")
    again = Conv(1, 4, 4, 3)
    again.initialise([9], "net.0.conv[1]")
    assert torch.equal(net[1].weight[1], again.weight[0])
    assert torch.equal(net[1].bias[1], again.bias[0])
    weights = [net[0].weight[0], net[0].weight[1], net[1].weight[0], net[1].weight[1]]
    assert len({weight.flatten()[0].item() for weight in weights}) == 4
    assert not torch.equal(net[2].project.weight[0, :4], net[2].output.weight[0])


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
