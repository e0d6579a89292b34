"""Layers with a seed axis against torch's layers, per seed and member; derivatives against torch.func and float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vgm2p.groups import Net
from vgm2p.nn.fast.activation import by_two_kernels, chain_, gelu, value_and_derivative
from vgm2p.nn.fast.body import Body, infer, joined, work
from vgm2p.nn.fast.kernels import bfloat16_gain
from vgm2p.nn.linear import LayerNorm, Linear
from vgm2p.nn.mlp import FEW_ROWS, MLP
from vgm2p.nn.value import Critic
from vgm2p.rng import glorot_limit
from vgm2p.seeds import initialise

DOUBLE = torch.float64


def filled(module):
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=DOUBLE) * 0.3
    return module


def plain(mlp, *index):
    """The ordinary torch network with the weights of one seed (and member)."""
    layers = []
    norms = list(mlp.norms) or [None] * len(mlp.hidden)
    for layer, norm in zip(mlp.hidden, norms, strict=True):
        out, into = layer.weight.shape[-2:]
        dense = nn.Linear(into, out, dtype=DOUBLE)
        dense.weight.data, dense.bias.data = layer.weight[index].detach(), layer.bias[index].detach()
        layers += [dense, nn.GELU("tanh")]
        if norm is not None:
            normal = nn.LayerNorm(out, eps=1e-6, dtype=DOUBLE)
            normal.weight.data, normal.bias.data = norm.weight[index].detach(), norm.bias[index].detach()
            layers.append(normal)
    last = nn.Linear(*mlp.output.weight.shape[-1:-3:-1], dtype=DOUBLE)
    last.weight.data, last.bias.data = mlp.output.weight[index].detach(), mlp.output.bias[index].detach()
    return nn.Sequential(*layers, last)


@pytest.mark.parametrize("lead", [(1,), (3,), (1, 2), (3, 2)])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_stack_equals_its_members(lead, layer_norm):
    mlp = filled(MLP(lead, 4, 2, Net(8, 2), layer_norm))
    x = torch.randn(lead[0], 5, 3, 4, dtype=DOUBLE)
    y = mlp(x)
    assert y.shape == (*lead, 5, 3, 2)
    with torch.no_grad():  # the path without autograd has kernels of its own
        torch.testing.assert_close(mlp(x), y, atol=1e-14, rtol=1e-12)
    for index in torch.cartesian_prod(*map(torch.arange, lead)).reshape(-1, len(lead)).tolist():
        torch.testing.assert_close(y[tuple(index)], plain(mlp, *index)(x[index[0]]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("grouped", [True, False])  # as on a CPU, and as on a GPU
def test_one_member_alone_gives_what_it_gives_in_its_stack(grouped, monkeypatch):
    monkeypatch.setattr("vgm2p.nn.fast.body.group_by_group", lambda device: grouped)
    mlp, x = filled(MLP((3, 2), 4, 2, Net(8, 2), True)), torch.randn(3, 5, 4, dtype=DOUBLE, requires_grad=True)
    for member in range(2):
        whole, alone = mlp(x)[:, member], mlp(x, member)
        torch.testing.assert_close(alone, whole, atol=1e-14, rtol=1e-12)
        wanted, found = (torch.autograd.grad(y.square().sum(), [x, *mlp.parameters()]) for y in (whole, alone))
        for mine, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-13, rtol=1e-12)
        with torch.inference_mode():
            torch.testing.assert_close(mlp(x, member), whole, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("lead", [(1,), (3,)])
def test_the_tangent_is_that_of_torch_func(lead):
    mlp = filled(MLP(lead, 4, 2, Net(8, 3)))
    x, dx = (torch.randn(lead[0], 6, 4, dtype=DOUBLE) for _ in range(2))
    dx[..., 3] = 0.0  # so that a tangent of the first three columns says the same
    y, dy = mlp.value_and_tangent(x, dx)
    expected = torch.func.jvp(mlp.plain, (x,), (dx,))
    narrow = mlp.value_and_tangent(x, dx[..., :3])[1]
    torch.testing.assert_close(narrow, expected[1], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(y, expected[0], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(dy, expected[1], atol=1e-12, rtol=1e-12)
    assert y.requires_grad
    assert not dy.requires_grad


def test_layer_norm_bodies_have_no_tangent_rule():
    with pytest.raises(ValueError, match="LayerNorm"):
        MLP((1,), 3, 2, Net(4, 1), layer_norm=True).value_and_tangent(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))


def test_gelu_its_derivative_and_its_gradient():
    z = torch.linspace(-8, 8, 401, dtype=DOUBLE, requires_grad=True)
    value, derivative = value_and_derivative(z.detach().clone())
    truth = F.gelu(z, approximate="tanh")
    (slope,) = torch.autograd.grad(truth.sum(), z)
    torch.testing.assert_close(value, truth.detach(), atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(derivative, slope, atol=1e-13, rtol=1e-11)
    torch.testing.assert_close(gelu(z), truth.detach(), atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_of_a_gpu_give_what_those_of_a_cpu_give(dtype):
    z = torch.linspace(-6, 6, 1001).to(dtype)
    for one, two in zip(value_and_derivative(z.clone()), by_two_kernels(z), strict=True):
        assert one.dtype == two.dtype == dtype
        torch.testing.assert_close(one, two, atol=4e-6 if dtype == torch.float32 else 1e-2, rtol=0.0)


def test_gelu_saturates_without_nan_in_float32():
    z = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4])
    value, derivative = value_and_derivative(z)
    assert torch.equal(value, torch.tensor([0.0, 0.0, 0.0, 50.0, 1e4]).copysign(value))
    assert torch.equal(derivative.abs(), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_stacked_layer_norm_on_members():
    norm = filled(LayerNorm((2, 3), 5))
    x = torch.randn(6, 4, 5, dtype=DOUBLE)
    y = norm(x)
    for g in range(6):
        s, m = divmod(g, 3)
        expected = F.layer_norm(x[g], (5,), norm.weight[s, m], norm.bias[s, m], 1e-6)
        torch.testing.assert_close(y[g], expected)


def test_initial_weights_are_glorot_uniform_and_a_function_of_seed_and_name():
    joint, single = Linear((2, 2), 40, 30), Linear((1, 2), 40, 30)
    initialise([joint], [5, 9], "x")
    initialise([single], [9], "x")
    assert torch.equal(joint.weight[1], single.weight[0])
    assert not torch.equal(joint.weight[0], joint.weight[1])
    assert not torch.equal(joint.weight[0, 0], joint.weight[0, 1])
    limit = glorot_limit(40, 30)
    assert joint.weight.abs().max() <= limit
    assert joint.weight.abs().max() > 0.95 * limit
    assert joint.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert joint.bias.abs().sum() == 0
    initialise([other := Linear((1, 2), 40, 30)], [9], "y")
    assert not torch.equal(other.weight, single.weight)


LEADS = [(1,), (3,), (1, 2), (3, 2)]
NETS = [Net(8, 2), Net(8, 2, "relu"), Net(8, 0)]


def gradients(mlp, run, x):
    y = run(x)
    return y, torch.autograd.grad(
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum(), [x, *mlp.parameters()]
    )


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("grouped", [True, False])  # as on a CPU, and as on a GPU
@pytest.mark.parametrize("net", NETS, ids=str)
def test_the_written_backward_pass_is_that_of_autograd(net, lead, layer_norm, grouped, monkeypatch):
    mlp = filled(MLP(lead, 4, 2, net, layer_norm))
    monkeypatch.setattr("vgm2p.nn.fast.body.group_by_group", lambda device: grouped)
    x = torch.randn(lead[0], 5, 3, 4, dtype=DOUBLE, requires_grad=True)
    y, mine = gradients(mlp, mlp, x)
    expected, theirs = gradients(mlp, mlp.plain, x)
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=1e-12)
    for one, two in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-11, rtol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), expected, atol=1e-12, rtol=1e-12)
    if not mlp.norms:
        dx = torch.randn_like(x)
        dx[..., 3] = 0.0  # so that a tangent of the first three columns says the same
        truth = torch.func.jvp(mlp.plain, (x.detach(),), (dx,))
        for tangent in (dx, dx[..., :3]):
            for one, two in zip(mlp.value_and_tangent(x.detach(), tangent), truth, strict=True):
                torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-12)


def test_a_body_without_hidden_layers_is_a_linear_map():
    mlp = filled(MLP((2,), 4, 3, Net(8, 0)))
    x = torch.randn(2, 5, 4, dtype=DOUBLE)
    expected = torch.einsum("soi,sbi->sbo", mlp.output.weight, x) + mlp.output.bias[:, None]
    torch.testing.assert_close(mlp(x), expected, atol=1e-13, rtol=1e-12)


def test_gradients_of_relu_are_those_of_torch_where_the_input_is_zero_too():
    z = torch.tensor([-1.0, 0.0, 2.0, float("inf")], requires_grad=True)
    g = torch.tensor([3.0, 5.0, -7.0, 2.0])
    (slope,) = torch.autograd.grad(z.relu(), z, g.clone())
    assert torch.equal(chain_(g, z.detach().relu(), "relu"), slope)


@pytest.mark.parametrize("fused", [True, False])
def test_layers_without_gradient_equal_their_plain_form_with_and_without_onednn(fused, monkeypatch):
    monkeypatch.setattr("vgm2p.nn.fast.kernels.has_fused_gelu", lambda dtype: fused)
    mlp = filled(MLP((1,), 4, 2, Net(64, 3))).float()
    x = torch.randn(1, 50, 4)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), mlp.plain(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("net", NETS, ids=str)
def test_acting_gives_what_training_computes_for_few_rows_and_many(net, rows, layer_norm):
    mlp = filled(MLP((3, 2), 4, 2, net, layer_norm))
    x = torch.randn(3, rows, 4, dtype=DOUBLE)
    expected = mlp(x)
    with torch.inference_mode():
        torch.testing.assert_close(mlp(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_half_precision_is_the_same_group_by_group_and_all_at_once(activation, dtype, layer_norm):
    mlp = filled(MLP((2, 2), 4, 3, Net(32, 2, activation), layer_norm)).float()
    found = {}
    for grouped in (True, False):  # the second is what CUDA runs
        x = torch.linspace(-1, 1, 2 * 50 * 4).reshape(2, 50, 4).requires_grad_()
        _, parameters, _, _ = mlp._prepared(x)
        y = Body.apply(mlp.shape, dtype, grouped, x, None, *parameters)[0]
        assert y.dtype == torch.float32
        found[grouped] = [y.detach(), *torch.autograd.grad(y.square().mean(), [x, *parameters])]
        with torch.inference_mode():
            units = work(mlp.shape, dtype, grouped, x, None, parameters)
            acted = joined([infer(a, ps, mlp.shape) for a, _, ps in units], grouped)
        torch.testing.assert_close(acted, y.detach(), atol=0.03 * y.abs().max().item(), rtol=0)
    share = 0.03 if activation == "gelu" else 0.3  # the slope of ReLU jumps, and roundings decide on which side
    for one, two in zip(found[True], found[False], strict=True):
        assert (one - two).norm() <= share * two.norm()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_bf16_regions_give_float32_results_and_gradients_near_those_in_float32(layer_norm):
    mlp = filled(MLP((1, 2), 4, 2, Net(32, 2), layer_norm)).float()
    x = torch.randn(1, 50, 4, requires_grad=True)
    y, exact = gradients(mlp, mlp, x)
    with torch.autocast("cpu", torch.bfloat16):
        half, rough = gradients(mlp, mlp, x)
    assert half.dtype == torch.float32
    assert not torch.equal(half, y)
    torch.testing.assert_close(half, y, atol=0.05 * y.abs().max().item(), rtol=0)
    for one, two in zip(rough, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - two).norm() <= 0.03 * two.norm()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_bf16_regions_leave_the_plain_forms_output_layer_in_float32_too(layer_norm):
    mlp = filled(MLP((1, 2), 4, 2, Net(32, 2), layer_norm)).float()
    mlp.output.bias.data.fill_(700.0)  # neighbours in bfloat16 are 4 apart there
    x = torch.randn(1, 50, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        fast, mine = gradients(mlp, mlp, x)
        slow, theirs = gradients(mlp, mlp.plain, x)
    assert fast.dtype == slow.dtype == torch.float32
    torch.testing.assert_close(slow, fast, atol=0.05 * (fast - 700).abs().max().item(), rtol=0)
    for one, two in zip(mine, theirs, strict=True):
        assert (one - two).norm() <= 0.03 * two.norm()


def test_bf16_regions_tell_values_apart_that_lie_far_from_zero():
    critic = Critic(1, 1, 4, 2, Net(64, 2))
    initialise([critic], [0], "critic")
    critic.mlp.output.bias.data.fill_(700.0)  # neighbours in bfloat16 are 4 apart there
    oid, action, baseline = torch.randn(1, 2000, 4), torch.randn(1, 2000, 2), torch.randn(1, 2000, 2)
    with torch.no_grad():
        exact = critic(oid, action) - critic(oid, baseline)
        with torch.autocast("cpu", torch.bfloat16):
            rough = critic(oid, action) - critic(oid, baseline)
    assert 0.1 < exact.std() < 2.0
    assert ((exact >= 0) == (rough >= 0)).float().mean() > 0.97
    torch.testing.assert_close(rough, exact, atol=0.1 * exact.std().item(), rtol=0)


def test_a_value_and_derivative_of_many_pieces_is_that_of_one(monkeypatch):
    z = torch.randn(7, 33, dtype=torch.float64)
    whole = value_and_derivative(z.clone())
    monkeypatch.setattr("vgm2p.nn.fast.activation.PIECE", 10)
    for one, two in zip(whole, value_and_derivative(z), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)  # the ends of vectors round otherwise


def test_the_gain_of_bfloat16_is_measured_on_one_thread_and_the_threads_are_restored():
    before = torch.get_num_threads()
    assert 0.01 < bfloat16_gain(rounds=2) < 100.0
    assert torch.get_num_threads() == before
