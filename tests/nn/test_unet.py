"""The temporal U-Net: against plain loops, seeds, agents, the return, sizes, half precision."""

import pytest
import torch

from tests.nn.plain_unet import plain_unet
from vgm2p.errors import ConfigError
from vgm2p.groups import Net
from vgm2p.nn.plan import PlanNetworks
from vgm2p.nn.unet import Numbers, UNet, UNetSize
from vgm2p.seeds import initialise

F64 = torch.float64
SIZE = UNetSize(8, [1, 2, 4], 3)
S, B, L, N, D = 2, 3, 8, 3, 5


def net(seeds=range(S), attention=True, gate=0.7, size=SIZE):
    made = UNet(len(seeds), D, size, attention)
    initialise([made], list(seeds), "planner")
    for module in made.modules():
        if isinstance(module, Numbers):
            module.value.data.fill_(gate)
    return made.double()


def inputs():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(S, B, L, N, D, generator=g, dtype=F64)
    level = torch.randint(200, (S, B), generator=g).double()
    return x, level, torch.randn(S, B, N, generator=g, dtype=F64), (torch.rand(S, B, N, generator=g) > 0.3).double()


@pytest.mark.parametrize("attention", [True, False])
def test_it_is_the_network_in_plain_loops(attention):
    made, (x, level, total, keep) = net(attention=attention), inputs()
    with torch.no_grad():
        found = made(x, level, total, keep)
        for s in range(S):
            for b in range(B):
                wanted = plain_unet(made, x[s, b], level[s, b], total[s, b], keep[s, b], s)
                torch.testing.assert_close(found[s, b], wanted, rtol=0, atol=1e-10)


def test_the_frequencies_fall_from_one_to_a_ten_thousandth():
    found = net(size=UNetSize(128, [1, 2])).condition.frequencies
    torch.testing.assert_close(found, 1e-4 ** (torch.arange(64, dtype=F64) / 63), rtol=1e-6, atol=0)


def test_several_seeds_are_single_runs_to_the_bit():
    made, given = net(), inputs()
    found = made(*given)
    found.square().sum().backward()
    for s in range(S):
        alone = net([s])
        own = alone(*(each[s : s + 1] for each in given))
        own.square().sum().backward()
        assert torch.equal(found[s], own[0])
        for (name, one), two in zip(made.named_parameters(), alone.parameters(), strict=True):
            assert torch.equal(one.grad[s], two.grad[0]), name


def test_agents_have_no_order():
    made, (x, level, total, keep) = net(), inputs()
    order = torch.tensor([2, 0, 1])
    shuffled = made(x[:, :, :, order], level, total[..., order], keep[..., order])
    torch.testing.assert_close(shuffled, made(x, level, total, keep)[:, :, :, order], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("attention", "gate", "leaks"), [(True, 0.0, False), (False, 0.0, False), (True, 1.0, True)])
def test_an_agent_sees_others_only_through_the_attention(attention, gate, leaks):
    made, (x, *rest) = net(attention=attention, gate=gate), inputs()
    changed = x.clone()
    changed[:, :, :, 1] += 1.0
    moved = (made(changed, *rest) - made(x, *rest)).abs().amax((0, 1, 2, 4))
    assert moved[1] > 0.1
    assert (moved[[0, 2]] > 0.01).all() if leaks else (moved[[0, 2]] == 0.0).all()


def test_a_hidden_return_is_not_known():
    made, (x, level, total, keep) = net(), inputs()
    hidden = torch.zeros_like(keep)
    assert torch.equal(made(x, level, total, hidden), made(x, level, total + 3.0, hidden))
    assert not torch.equal(made(x, level, total, 1 - hidden), made(x, level, total + 3.0, 1 - hidden))


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.2])
def test_guidance_in_one_pass_is_that_of_two(weight):
    made = PlanNetworks(S, N, D, 2, SIZE, Net(8, 1), True, True)
    initialise([made], range(S), "planner")
    made, (x, _, total, _) = made.double(), inputs()
    level = x.new_full((S, B), 30.0)
    with_return, without = (made.noise(x, level, total, torch.full_like(total, k)) for k in (1.0, 0.0))
    wanted = without + weight * (with_return - without)
    torch.testing.assert_close(made.guided(x, 30, total, weight), wanted, rtol=0, atol=1e-13)


def test_weights_of_the_noise_count_by_their_ratio():
    plain, weighted = (PlanNetworks(S, N, D, 2, SIZE, Net(8, 1), False, w).double() for w in (False, True))
    for each in (plain, weighted):
        initialise([each], range(S), "planner")
    given = inputs()
    assert sum(p.numel() for p in weighted.parameters()) - sum(p.numel() for p in plain.parameters()) == S * N
    torch.testing.assert_close(weighted.noise(*given), plain.noise(*given) / N, rtol=0, atol=1e-14)
    weighted.weight.value.data.fill_(4.0)
    torch.testing.assert_close(weighted.noise(*given), plain.noise(*given) / N, rtol=0, atol=1e-14)
    weighted.weight.value.data.copy_(torch.tensor([1.0, 2.0, 5.0]))
    share = torch.tensor([1.0, 2.0, 5.0], dtype=F64) / 8
    torch.testing.assert_close(weighted.noise(*given), plain.noise(*given) * share[:, None], rtol=0, atol=1e-14)


def test_bfloat16_stays_near_and_returns_float32():
    made, given = net().float(), [each.float() for each in inputs()]
    exact = made(*given)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rough = made(*given)
    assert rough.dtype == torch.float32
    assert 0.0 < (rough - exact).abs().max() < 0.1


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"width": 12}, "width must be a multiple of 8"),
        ({"levels": []}, "levels is empty"),
        ({"width": 8, "levels": [1, 1]}, "must be a multiple of 16"),
        ({"kernel": 4}, "odd number"),
    ],
)
def test_a_size_that_cannot_work_is_refused(size, words):
    with pytest.raises(ConfigError, match=words):
        UNetSize(**size)


def test_attention_needs_a_last_level_that_it_can_split():
    small = UNetSize(8, [1])
    with pytest.raises(ConfigError, match=r"last of algo.net.levels is 8 x 1; give a multiple of 16"):
        UNet(1, 4, small, attention=True)
    UNet(1, 4, small, attention=False)
