"""SeedAdam against torch's Adam, seed by seed; schedules, clipping, loss scales and frozen seeds."""

import math

import pytest
import torch
from torch import nn

from vgm2p.groups import Optim
from vgm2p.nn.optim import Follower, LossScale, SeedAdam

S = 3


def pair(**options):
    """SeedAdam over S seeds, and one torch Adam per seed on copies."""
    generator = torch.Generator().manual_seed(0)
    stacked = [nn.Parameter(torch.randn(S, *shape, generator=generator).double()) for shape in ((4, 2), (4,))]
    singles = [[nn.Parameter(p[s].detach().clone()) for p in stacked] for s in range(S)]
    loss_scale = options.pop("loss_scale", None)
    ours = SeedAdam(stacked, Optim(1e-2, **options), loss_scale)
    return ours, stacked, singles, [torch.optim.Adam(single, 1e-2) for single in singles]


def losses(parameters, update):
    """A different quadratic per seed and update: (S,)."""
    scale = torch.arange(1, S + 1).double()
    return scale * sum(((p - 0.1 * update) ** 2).flatten(1).sum(1) for p in parameters)


def loss_of(single, s, update):
    return (s + 1) * sum(((p - 0.1 * update) ** 2).sum() for p in single)


def assert_equal(stacked, singles, seeds=range(S), atol=1e-12):
    for s in seeds:
        for p, single in zip(stacked, singles[s], strict=True):
            torch.testing.assert_close(p[s], single, atol=atol, rtol=1e-12)


@pytest.mark.parametrize("decay", [None, 30])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_every_seed_is_adam(decay, clip):
    ours, stacked, singles, adams = pair(decay_updates=decay, clip_norm=clip)
    alive = torch.ones(S, dtype=torch.bool)
    for update in range(40):
        ours.minimise(losses(stacked, update), alive)
        for s, adam in enumerate(adams):
            if decay:
                adam.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * min(1.0, update / decay)))
            adam.zero_grad()
            loss_of(singles[s], s, update).backward()
            if clip:
                nn.utils.clip_grad_norm_(singles[s], clip)
            adam.step()
    assert_equal(stacked, singles, atol=1e-7 if decay else 1e-12)  # the schedule is computed in float32


def test_a_frozen_seed_stays_and_the_others_go_on():
    ours, stacked, singles, adams = pair()
    before = [p[1].clone() for p in stacked]
    for update in range(5):
        loss = losses(stacked, update) * torch.tensor([1.0, float("nan"), 1.0])
        ours.minimise(loss, torch.tensor([True, False, True]))
        for s in (0, 2):
            adams[s].zero_grad()
            loss_of(singles[s], s, update).backward()
            adams[s].step()
    assert_equal(stacked, singles, (0, 2))
    assert all(torch.equal(p[1], old) for p, old in zip(stacked, before, strict=True))
    assert ours.steps.tolist() == [5, 0, 5]


def test_state_has_torchs_layout_and_continues_bit_for_bit():
    ours, stacked, *_ = pair(decay_updates=50)
    alive = torch.ones(S, dtype=torch.bool)
    for update in range(3):
        ours.minimise(losses(stacked, update), alive)
    saved, weights = ours.state_dict(), [p.detach().clone() for p in stacked]
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert saved["state"][0]["exp_avg"].shape == stacked[0].shape
    assert saved["state"][0]["exp_avg"].untyped_storage().nbytes() == stacked[0].numel() * 8
    for update in range(3, 6):
        ours.minimise(losses(stacked, update), alive)
    other, copies, *_ = pair(decay_updates=50)
    for p, weight in zip(copies, weights, strict=True):
        p.data.copy_(weight)
    other.load_state_dict(saved)
    for update in range(3, 6):
        other.minimise(losses(copies, update), alive)
    assert all(torch.equal(a, b) for a, b in zip(stacked, copies, strict=True))


def test_state_of_another_shape_is_refused():
    ours, *_ = pair()
    state = ours.state_dict()
    state["state"][0]["exp_avg"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"0\.exp_avg"):
        ours.load_state_dict(state)


def test_loss_scale_does_not_change_steps_and_an_overflow_skips_its_seed_alone():
    scale = LossScale(S, initial=2.0**10, interval=4).double()
    ours, stacked, singles, adams = pair(loss_scale=scale)
    alive = torch.ones(S, dtype=torch.bool)
    for update in range(6):
        overflows = update == 2
        loss = losses(stacked, update)
        if overflows:
            loss = loss * torch.tensor([1.0, float("inf"), 1.0])
        ours.minimise(loss, alive)
        for s, adam in enumerate(adams):
            if overflows and s == 1:
                continue
            adam.zero_grad()
            loss_of(singles[s], s, update).backward()
            adam.step()
    assert_equal(stacked, singles)
    assert ours.steps.tolist() == [6, 5, 6]
    # four clean steps double a scale, an overflow halves it and starts the count anew
    assert scale.scale.tolist() == [2.0**11, 2.0**9, 2.0**11]
    assert scale.clean.tolist() == [2, 3, 2]


def test_a_step_that_is_not_due_changes_no_loss_scale():
    scale = LossScale(S, initial=2.0**10, interval=2).double()
    ours, stacked, *_ = pair(loss_scale=scale)
    due = torch.tensor([True, False, True])
    for _ in range(2):
        ours.minimise(losses(stacked, 0) * torch.tensor([1.0, float("inf"), 1.0]), due)
    assert scale.scale.tolist() == [2.0**11, 2.0**10, 2.0**11] and scale.clean.tolist() == [0, 0, 0]


def test_a_follower_moves_by_tau_and_survives_a_move():
    ours, stacked, *_ = pair()
    target = nn.ParameterList([nn.Parameter(torch.full_like(p, math.nan)) for p in stacked])
    follower = Follower(target, ours)
    before = [p.detach().clone() for p in stacked]
    for p, online in zip(target, before, strict=True):
        assert torch.equal(p, online)
    ours.minimise(losses(stacked, 0), torch.ones(S, dtype=torch.bool))
    follower.follow(0.25)
    moved = [0.75 * old + 0.25 * online for old, online in zip(before, stacked, strict=True)]
    for p, expected in zip(target, moved, strict=True):
        torch.testing.assert_close(p, expected)
    target.float()
    follower.rebind()
    assert follower.flat.dtype == torch.float32
    torch.testing.assert_close(target[1], moved[1].float())
