"""Learnt mixers against loops, and their monotonicity."""

import pytest
import torch
import torch.nn.functional as F

from vgm2p.nn.mixing import Monotonic
from vgm2p.seeds import initialise

F64 = torch.float64


def mixer(seeds=2, agents=3):
    made = Monotonic(seeds, 5, agents, embed=4, hidden=6)
    initialise([made], range(seeds), "mixer")
    generator = torch.Generator().manual_seed(1)
    for p in made.parameters():
        p.data = p.data + 0.1 * torch.randn(p.shape, generator=generator)
    return made.double()


def inputs(seeds=2, agents=3):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(seeds, 2, 4, 3, agents, generator=generator, dtype=F64)
    return q, torch.randn(seeds, 4, 5, generator=generator, dtype=F64)


def plain(mlp, x, s):
    h = x
    for layer in mlp.hidden:
        h = F.relu(layer.weight[s] @ h + layer.bias[s])
    return mlp.output.weight[s] @ h + mlp.output.bias[s]


def test_monotonic_is_qmix():
    made, (q, x) = mixer(), inputs()
    seen = made(q, x)
    assert seen.shape == (2, 2, 4, 3)
    for s, c, b, k in torch.cartesian_prod(*(torch.arange(n) for n in seen.shape)).tolist():
        first = plain(made.first, x[s, b], s).reshape(3, 4).abs()
        hidden = F.elu(q[s, c, b, k] @ first + plain(made.first_bias, x[s, b], s))
        wanted = hidden @ plain(made.second, x[s, b], s).abs() + plain(made.second_bias, x[s, b], s)[0]
        torch.testing.assert_close(seen[s, c, b, k], wanted, rtol=0, atol=1e-12)


def test_monotonic_never_falls_when_an_agents_value_rises():
    made, (q, x) = mixer(), inputs()
    q.requires_grad_()
    (slope,) = torch.autograd.grad(made(q, x).sum(), q)
    assert (slope >= 0.0).all()
    assert (slope > 0.0).any()


def test_the_products_of_a_mixer_stay_in_float32():
    made, (q, x) = mixer().float(), (t.float() for t in inputs())
    exact = made(300.0 + q, x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = made(300.0 + q, x)
    assert rough.dtype == torch.float32
    spread = exact.std(3)
    assert ((exact - rough).std(3) < 0.1 * spread).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seeds_of_a_mixer_are_independent(seed):
    both, (q, x) = mixer(), inputs()
    alone = Monotonic(1, 5, 3, embed=4, hidden=6).double()
    for mine, theirs in zip(alone.parameters(), both.parameters(), strict=True):
        mine.data = theirs.data[seed : seed + 1]
    torch.testing.assert_close(alone(q[seed : seed + 1], x[seed : seed + 1])[0], both(q, x)[seed], rtol=0, atol=1e-13)
