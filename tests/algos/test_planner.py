"""Planners: losses against loops in float64, what a plan knows, seeds, windows from memory and from disk."""

import math

import pytest
import torch

from tests.algos.cases import F64, SPECS
from tests.algos.planner_cases import CASES, METHODS, NOW, TINY, G, L, example
from tests.datamodules.datasets import without_finals
from tests.datamodules.equivalence import both
from tests.nn.plain_unet import plain_unet
from tests.support import random_batch, small_columns
from vgm2p.algos.planner import Planner
from vgm2p.algos.windows import given
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.rng import UpdateKey


def share(value, knots):
    """Return 2 F(value) - 1 by a walk through the knots; a constant feature passes."""
    knots = knots.tolist()
    if knots[0] == knots[-1]:
        return value
    value = min(max(value, knots[0]), knots[-1])
    below = max(i for i, knot in enumerate(knots) if knot <= value)
    if below == len(knots) - 1:
        return 1.0
    part = (value - knots[below]) / (knots[below + 1] - knots[below])
    low, high = (float(torch.tensor(rank / (len(knots) - 1))) for rank in (below, below + 1))  # float32, as the buffers
    return 2.0 * (low + part * (high - low)) - 1.0


def described(planner, obs):
    """Return windows (B, L, N, D) of features in [-1, 1] and one-hots, for obs (B, L, N, O)."""
    rows = []
    for at in obs.reshape(-1, *obs.shape[-2:]):
        for i, o in enumerate(at):
            features = [share(float(v), knots) for v, knots in zip(o, planner.obs_cdf.knots, strict=False)]
            rows.append(features + [float(i == j) for j in range(len(at))])
    return torch.tensor(rows, dtype=F64).reshape(*obs.shape[:3], -1)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_loss_of_the_noise(method, kind):
    planner, batch, key = example(method, kind)
    window = planner.describe(batch.window_obs)
    known = given(window, planner.views.drawn(window, key), NOW)
    loss = planner.plan_loss(window, known, batch.return_to_go / planner.goal.scale, key)
    again, N = UpdateKey([0]).at(3), planner.spec.n_agents
    x0 = described(planner, batch.window_obs[0])
    torch.testing.assert_close(window[0], x0, rtol=0, atol=1e-10)
    one = again.integers("visible", (4,), N)[0] if method == "madiff_d" else [None] * 4
    level, eps = again.integers("level", (4,), 200)[0], again.normal("noise", tuple(x0.shape))[0].double()
    keep = (again.uniform("keep", (4, N))[0] >= 0.25).double()
    total, count = 0.0, 0
    for b in range(4):
        abar, visible = planner.schedule.abar[int(level[b])], [one[b] is None or i == one[b] for i in range(N)]
        kept, rest = (torch.tensor(math.sqrt(v)).double() for v in (abar, 1 - abar))  # float32, as the buffers
        x, counts = torch.zeros_like(x0[b]), torch.zeros(L, N)
        for t in range(L):
            for i in range(N):
                if t < NOW or (t == NOW and visible[i]):
                    x[t, i] = x0[b, t, i] if visible[i] else 0.0
                else:
                    x[t, i], counts[t, i] = kept * x0[b, t, i] + rest * eps[b, t, i], 1.0
        aim = (batch.return_to_go[0, b] / 4.0).expand(N)
        found = plain_unet(planner.online.unet, x, level[b], aim, keep[b])
        for i in range(N):
            w = planner.online.weight.value[0] if method == "dof" else None
            hat = found[:, i] if w is None else found[:, i] * w[i] / w.sum()
            total = total + (counts[:, i, None] * (hat - eps[b, :, i]).square()).sum() / counts.sum()
        count += 1
    torch.testing.assert_close(loss[0], total / count / x0.shape[-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_loss_of_the_actions(method, kind):
    planner, batch, key = example(method, kind)
    window = planner.describe(batch.window_obs)
    visible = planner.views.drawn(window, key)
    loss = planner.inverse_loss(batch, window, given(window, visible, NOW).free)
    total, count = 0.0, 0
    for b in range(4):
        for t in range(L - 1):
            for i in range(planner.spec.n_agents):
                generated = t + 1 > NOW or (t + 1 == NOW and not visible[0, b, i])
                if not generated or not batch.window_real[0, b, t] or not batch.window_real[0, b, t + 1]:
                    continue
                pair = torch.cat([window[0, b, t, i], window[0, b, t + 1, i]])
                inverse = planner.online.inverse
                h = torch.relu(inverse.hidden[0].weight[0] @ pair + inverse.hidden[0].bias[0])
                head, action = inverse.output.weight[0] @ h + inverse.output.bias[0], batch.window_action[0, b, t, i]
                if kind == "discrete":
                    legal = batch.window_legal[0, b, t, i]
                    total = total + head[legal].exp().sum().log() - head[action]
                else:
                    wanted = [share(float(a), knots) for a, knots in zip(action, planner.action_cdf.knots, strict=True)]
                    total = total + (head - torch.tensor(wanted, dtype=F64)).square().mean()
                count += 1
    assert 0 < count < 4 * (L - NOW) * planner.spec.n_agents
    torch.testing.assert_close(loss[0], total / count, rtol=0, atol=1e-10)


def test_both_losses_count_half_and_one_optimiser_trains_all():
    planner, batch, key = example("madiff_d", "continuous")
    info = planner.step(batch, key)
    assert set(info) == {"plan_loss", "inverse_loss"}
    assert list(planner.optimisers) == ["planner"]
    plain, other, key = example("madiff_d", "continuous")
    window = plain.describe(other.window_obs)
    known = given(window, plain.views.drawn(window, key), NOW)
    plan_loss = plain.plan_loss(window, known, other.return_to_go / plain.goal.scale, key)
    (0.5 * (plan_loss + plain.inverse_loss(other, window, known.free))).sum().backward()
    for one, two in zip(planner.online.parameters(), plain.online.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_known_steps_do_not_count(method):
    """The noise of a known step is neither target nor input; what a hidden agent did before is no input."""
    planner, batch, key = example(method, "continuous")
    window = planner.describe(batch.window_obs)
    visible = planner.views.drawn(window, key)
    known = given(window, visible, NOW)
    noise = UpdateKey([0]).at(3).normal("noise", tuple(window.shape[1:]))

    class Key(UpdateKey):
        def normal(self, purpose, shape):
            return super().normal(purpose, shape) + 9.0 * known.fixed

    def loss(window, key):
        total = batch.return_to_go / 4.0
        return planner.plan_loss(window, given(window, visible, NOW), total, key.at(3))

    usual = loss(window, UpdateKey([0]))
    assert not torch.equal(noise, Key([0]).at(3).normal("noise", tuple(window.shape[1:])))
    assert torch.equal(loss(window, Key([0])), usual)
    past = window.clone()
    past[:, :, :NOW][~visible[:, :, None].expand(-1, -1, NOW, -1)] += 1.0
    assert torch.equal(loss(past, UpdateKey([0])), usual)
    past[:, :, :NOW] += 1.0
    assert not torch.equal(loss(past, UpdateKey([0])), usual)


def test_the_known_part_is_imposed_exactly():
    window = torch.randn(1, 2, L, 3, 5, generator=G)
    visible = torch.tensor([[[True, True, True], [False, True, False]]])
    known = given(window, visible, NOW)
    x = known.impose(torch.full_like(window, 7.0))
    assert torch.equal(x[0, 0, : NOW + 1], window[0, 0, : NOW + 1])
    assert torch.equal(x[0, 1, : NOW + 1, 1], window[0, 1, : NOW + 1, 1])
    assert (x[0, 1, :NOW, [0, 2]] == 0.0).all()
    assert (x[0, 1, NOW, [0, 2]] == 7.0).all()
    assert (x[:, :, NOW + 1 :] == 7.0).all()
    assert torch.equal(known.impose(x), x)
    assert torch.equal(known.free, (x == 7.0).all(-1).to(x.dtype))


def test_the_pair_that_ends_in_a_stored_final_observation_trains_the_inverse_model():
    pairs = {}
    for finals in (True, False):
        columns = small_columns(lengths=(3, 3)) if finals else without_finals(small_columns(lengths=(3, 3)))
        store = TransitionStore.hold(columns, "raw_onehot", "none", "terminal")
        planner = Planner(store.spec, [0], **METHODS["madiff_c"], **TINY)
        store.provide(planner.needs, planner.gamma)
        batch = store.draw(UpdateKey([0]).at(0), 64, planner.needs)
        real = batch.window_real[..., NOW:]
        pairs[finals] = int((real[..., :-1] * real[..., 1:]).sum())
    assert pairs[True] == pairs[False] + 64  # one more for every row


def test_windows_from_memory_and_from_disk_train_alike(tmp_path):
    results = []
    for store in both(tmp_path, [small_columns()]):
        planner = Planner(store.spec, [0, 1], **METHODS["madiff_d"], **TINY)
        planner.survey(store.survey(planner.gamma))
        store.provide(planner.needs, planner.gamma)
        key = UpdateKey([0, 1])
        for update in range(3):
            planner.step(store.draw(key.at(update), 8, planner.needs), key)
        results.append(planner.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


@pytest.mark.parametrize("method", METHODS)
def test_several_seeds_are_single_runs_to_the_bit(method):
    def build(seeds):
        return Planner(SPECS["discrete"], seeds, **METHODS[method], **TINY)

    joint, singles = build([0, 1]), [build([s]) for s in range(2)]
    key, keys = UpdateKey([0, 1]), [UpdateKey([s]) for s in range(2)]
    for update in range(3):
        batch = random_batch(SPECS["discrete"], 2, rows=7, source=update, needs=joint.needs)
        joint.step(batch, key.at(update))
        for s, single in enumerate(singles):
            single.step(batch.seed(s), keys[s].at(update))
    for s, single in enumerate(singles):
        for (name, one), two in zip(joint.named_parameters(), single.parameters(), strict=True):
            assert torch.equal(one[s], two[0]), name


def test_the_averaged_networks_begin_as_a_plain_average():
    planner, batch, key = example("dof", "discrete", ema=0.75)
    seen = []
    for update in range(5):
        planner.step(batch, key.at(update))
        seen.append(planner.online.weight.value.detach().clone())
    mean = sum(seen[:4]) / 4
    torch.testing.assert_close(planner.averaged.weight.value, 0.75 * mean + 0.25 * seen[4], rtol=1e-6, atol=0)
