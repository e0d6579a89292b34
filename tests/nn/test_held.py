"""Policy losses through a critic in `held`: the inputs have the same gradients, the weights have none."""

import pytest
import torch

from vgm2p.groups import Net
from vgm2p.nn.fast import body
from vgm2p.nn.held import held
from vgm2p.nn.value import Critic
from vgm2p.seeds import initialise


@pytest.fixture(params=[True, False], ids=["group by group", "all at once as on a GPU"])
def grouped(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["layer_norm", "plain"])
def critic(request, grouped, monkeypatch):
    made = Critic(2, 2, 4, 3, Net(8, 2), request.param)
    initialise([made], [0, 1], "critic")
    monkeypatch.setattr(body, "group_by_group", lambda device: grouped)
    return made


def gradient(critic, action):
    action = action.clone().requires_grad_()
    critic(torch.ones(2, 5, 3, 4), action).square().sum().backward()
    return action.grad


def test_the_inputs_gradient_is_the_same_and_weights_get_none(critic, monkeypatch):
    action = torch.linspace(-1, 1, 90).reshape(2, 5, 3, 3)
    wanted = gradient(critic, action)
    assert all(parameter.grad is not None for parameter in critic.parameters())
    critic.zero_grad(set_to_none=True)
    calls = []
    real = body.weight_gradient
    monkeypatch.setattr(body, "weight_gradient", lambda *given: calls.append(1) or real(*given))
    with held(critic):
        found = gradient(critic, action)
    assert torch.equal(found, wanted)
    assert calls == []
    assert all(parameter.grad is None for parameter in critic.parameters())
    gradient(critic, action)
    assert calls


def test_parameters_want_gradients_again_afterwards(critic):
    first = next(critic.parameters())
    first.requires_grad_(False)
    with pytest.raises(RuntimeError, match="inside"), held(critic), held(critic):
        assert not any(parameter.requires_grad for parameter in critic.parameters())
        raise RuntimeError("inside")
    assert [parameter.requires_grad for parameter in critic.parameters()][:2] == [False, True]
