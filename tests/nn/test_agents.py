"""Networks of each agent, computed together, against one network per agent."""

import pytest
import torch

from vgm2p.groups import Net
from vgm2p.nn.agents import PerAgent, network
from vgm2p.nn.mlp import MLP
from vgm2p.seeds import initialise

F64 = torch.float64
SEEDS, AGENTS = 2, 3


def filled(lead, layer_norm=False):
    module = PerAgent(lead, AGENTS, 4, 2, Net(8, 2), layer_norm)
    initialise([module], range(SEEDS), "x")
    return module.double()


def single(stack, agent, members):
    """The networks of one agent as an `MLP` of their own, with shared parameters."""
    alone = MLP((SEEDS, members) if members > 1 else (SEEDS,), 4, 2, Net(8, 2), bool(stack.norms)).double()
    values = {
        name: value[:, agent * members : (agent + 1) * members] if members > 1 else value[:, agent]
        for name, value in stack.named_parameters()
    }
    return lambda *inputs: torch.func.functional_call(alone, values, inputs)


@pytest.mark.parametrize("grouped", [True, False])  # as on a CPU, and as on a GPU
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("middle", [(), (5,), (5, 4)])
def test_each_agent_has_its_own_networks(middle, members, layer_norm, grouped, monkeypatch):
    monkeypatch.setattr("vgm2p.nn.fast.body.group_by_group", lambda device: grouped)
    stack = filled((SEEDS, members) if members > 1 else (SEEDS,), layer_norm)
    x = torch.randn(SEEDS, *middle, AGENTS, 4, dtype=F64, requires_grad=True)
    y = stack(x)
    parts = [single(stack, i, members)(x[..., i : i + 1, :]) for i in range(AGENTS)]
    wanted = torch.cat(parts, dim=-2)
    assert y.shape == (SEEDS, *([members] if members > 1 else []), *middle, AGENTS, 2)
    weight = torch.linspace(-1, 1, y.numel(), dtype=F64).view_as(y)
    found, expected = (torch.autograd.grad((out * weight).sum(), [x, *stack.parameters()]) for out in (y, wanted))
    for mine, theirs in zip((y, *found), (wanted, *expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-13)
    with torch.inference_mode():
        torch.testing.assert_close(stack(x), wanted, rtol=0, atol=1e-13)
    for member in range(members if members > 1 else 0):
        torch.testing.assert_close(stack(x, member), y[:, member], rtol=0, atol=1e-14)


def test_the_tangent_is_that_of_torch_func():
    stack = filled((SEEDS,))
    x, dx = (torch.randn(SEEDS, 5, AGENTS, 4, dtype=F64) for _ in range(2))
    for mine, theirs in zip(stack.value_and_tangent(x, dx), torch.func.jvp(stack.plain, (x,), (dx,)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_agents_share_a_network_where_nobody_counts_them():
    shared, own = network((1,), None, 4, 2, Net(8, 2)), network((1,), AGENTS, 4, 2, Net(8, 2))
    counts = [sum(p.numel() for p in each.parameters()) for each in (shared, own)]
    assert counts[1] == AGENTS * counts[0]
    initialise([own], [0], "x")
    first = own.hidden[0].weight[0]
    assert not torch.equal(first[0], first[1])
