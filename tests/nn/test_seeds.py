"""Initial weights are a function of (seed, role), not of attribute names, and equal those of earlier versions."""

import hashlib

import pytest
import torch
from torch import nn

from tests.algos.test_contract import SPECS, build
from vgm2p.groups import Net
from vgm2p.nn.linear import Linear
from vgm2p.nn.mlp import MLP
from vgm2p.nn.value import Critic
from vgm2p.rng import glorot_limit
from vgm2p.seeds import SeededLayer, initialise, roles

# digests of what each optimiser trains, before the first update: 2 seeds, width 16, depth 2
FIRST_WEIGHTS = {
    ("vgm2p", "continuous"): {"policy": "3a0aa649a6319181", "critic": "5a5ad0f79ed56b62"},
    ("vgm2p", "discrete"): {"policy": "6a83dc4579534a4e", "critic": "f675cc3968f580e4"},
    ("bc_gaussian", "continuous"): {"policy": "e06c1b5b677540c7"},
    ("bc_flow", "continuous"): {"policy": "d95900ac29dc4498"},
    ("bc_flow", "discrete"): {"policy": "964951dd80a59b4f"},
    ("bc_meanflow", "continuous"): {"policy": "01488e1ccefc9f00"},
    ("bc_meanflow", "discrete"): {"policy": "e66cbfaf2cb4197e"},
}


def digest(parameters):
    content = b"".join(parameter.detach().numpy().tobytes() for parameter in parameters)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@pytest.mark.parametrize(("name", "kind"), FIRST_WEIGHTS)
def test_initial_weights_are_those_of_earlier_versions(name, kind):
    algorithm = build(name, SPECS[kind](), seeds=2)
    assert {
        optimiser: digest(content.parameters) for optimiser, content in algorithm.optimisers.items()
    } == FIRST_WEIGHTS[name, kind]


def test_layers_of_one_algorithm_never_share_random_numbers():
    algorithm = build("vgm2p_chosen judge=both baseline=expectile", SPECS["continuous"](), seeds=2)
    layers = [layer for layer in algorithm.modules() if isinstance(layer, Linear) and layer.weight.requires_grad]
    met, matrices = set(), [matrix for layer in layers for matrix in layer.weight.detach().flatten(0, -3)]
    for matrix in matrices:
        unit = matrix / glorot_limit(*matrix.shape)  # the numbers as they were drawn, U(-1, 1)
        met.add(tuple((unit.flatten()[:3] * 1e4).round().tolist()))
    layers_of_a_network, networks = 3, {"policy": 1, "critic": 2, "value": 1, "usual": 1}
    assert set(algorithm.optimisers) == set(networks)
    assert len(met) == len(matrices) == 2 * layers_of_a_network * sum(networks.values())


class Renamed(nn.Module):
    """A critic whose body is called something else and lies deeper."""

    def __init__(self):
        super().__init__()
        self.note = nn.Identity()
        self.inner = nn.ModuleDict({"judge": nn.Sequential(nn.Flatten(0, 0), MLP((2, 2), 6, 1, Net(8, 2), True))})


def test_renaming_and_wrapping_attributes_changes_no_weight():
    critic, renamed = Critic(2, 2, 4, 2, Net(8, 2)), Renamed()
    initialise([critic], [3, 4], "critic")
    initialise([renamed], [3, 4], "critic")
    pairs = list(zip(critic.parameters(), renamed.parameters(), strict=True))
    assert len(pairs) == 10
    assert all(torch.equal(one, two) for one, two in pairs)


def test_roles_of_today_and_of_several_bodies_and_layers_in_one_module():
    def net():
        return MLP((1,), 3, 2, Net(4, 1))

    shared = net()
    modules = [net(), nn.ModuleDict({"a": net(), "b": Linear((1,), 2, 2), "c": net(), "d": shared}), shared]
    assert [role for role, _ in roles(modules, "x")] == [
        "x.0.hidden.0",
        "x.0.output",
        "x.1.mlp.hidden.0",
        "x.1.mlp.output",
        "x.1.linear",
        "x.1.mlp[1].hidden.0",
        "x.1.mlp[1].output",
        "x.1.mlp[2].hidden.0",
        "x.1.mlp[2].output",
    ]


def test_parameters_that_are_not_initialised_per_seed_are_refused():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = MLP((2,), 3, 2, Net(4, 1))
            self.last = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"optimiser 'policy': parameter 'last\.weight' of Head belongs to no layer"):
        initialise([Head()], [0, 1], "policy")


def test_a_parameter_without_the_seed_axis_is_refused():
    with pytest.raises(ValueError, match=r"'hidden.0.weight' of MLP has shape \(3, 4, 3\).* length 2"):
        initialise([MLP((3,), 3, 2, Net(4, 1))], [0, 1], "policy")


def test_a_users_layer_is_initialised_like_ours():
    class Spread(SeededLayer):
        def __init__(self):
            super().__init__()
            self.log_std = nn.Parameter(torch.empty(2, 3))

        @torch.no_grad()
        def initialise(self, seeds, role):
            for row, seed in zip(self.log_std, seeds, strict=True):
                row.fill_(float(seed) + len(role))

    module = nn.ModuleList([MLP((2,), 3, 2, Net(4, 1)), Spread()])
    initialise([module], [5, 9], "policy")
    assert module[1].log_std[:, 0].tolist() == [5.0 + len("policy.0.layer"), 9.0 + len("policy.0.layer")]
