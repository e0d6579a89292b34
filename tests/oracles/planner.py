"""Oracles of the planners: noise levels, samplers with the exact noise, the network, and two agents that must agree."""

from __future__ import annotations

import functools

import torch

from tests.flows.gaussian import moments
from tests.oracles.one_state import above, below, moment_rows, near
from tests.oracles.table import Oracle
from vgm2p.algos.goal import GoalSettings
from vgm2p.algos.planner import Planner
from vgm2p.flows.diffusion import Schedule
from vgm2p.groups import Net, Optim
from vgm2p.nn.plan import PlanNetworks
from vgm2p.nn.unet import Numbers, UNet, UNetSize
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.seeds import initialise
from vgm2p.types import Acting, Batch, Seen, Spec

F64 = torch.float64
SCHEDULE = Schedule(200)
LEADING, ALL = SCHEDULE.grid(15, "leading"), SCHEDULE.grid(200)
LEVELS = {0: 0.999745, 50: 0.841358, 100: 0.486052, 150: 0.138840, 182: 0.017445}
BETAS = {0: 0.000255, 1: 0.000376, 2: 0.000498, 197: 0.555511, 198: 0.749985, 199: 0.999}
MOMENTS = [
    ("DDPM, 200 steps", lambda: moments(SCHEDULE, ALL, ancestral=True), 0.30000, 0.19182),
    ("DDPM, 200 steps, start 0.5", lambda: moments(SCHEDULE, ALL, 0.5, ancestral=True), 0.30000, 0.19182),
    ("DDIM, 15 leading steps", lambda: moments(SCHEDULE, LEADING), 0.29343, 0.16572),
    ("DDIM, 15 leading steps, start 0.5", lambda: moments(SCHEDULE, LEADING, 0.5), 0.29343, 0.08286),
    ("DDIM, 15 trailing steps", lambda: moments(SCHEDULE, SCHEDULE.grid(15)), 0.29999, 0.15884),
]


def beta(level):
    return 1.0 - SCHEDULE.abar[level] / (SCHEDULE.abar[level - 1] if level else 1.0)


def parameters(attention):
    """Number of parameters of the noise model at the paper's size and D = 60; nothing is allocated."""
    with torch.device("meta"):
        model = UNet(1, 60, UNetSize(), attention)
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def network(gate, attention=True):
    """A noise model, and an example of its inputs: (model, x, level, total, keep)."""
    made = UNet(1, 6, UNetSize(16, [1, 2, 4]), attention)
    initialise([made], [0], "planner")
    for module in made.modules():
        if isinstance(module, Numbers):
            module.value.fill_(gate)
    generator = torch.Generator().manual_seed(0)
    x, total = torch.randn(1, 8, 8, 4, 6, generator=generator), torch.randn(1, 8, 4, generator=generator)
    level, keep = torch.arange(8.0)[None] * 20, torch.ones(1, 8, 4)
    return made.double(), x.double(), level.double(), total.double(), keep.double()


@torch.no_grad()
def order():
    """Change of the noise if the agents come in another order."""
    made, x, level, total, keep = network(0.7)
    turn = torch.tensor([2, 0, 3, 1])
    return (
        (made(x[:, :, :, turn], level, total[..., turn], keep) - made(x, level, total, keep)[:, :, :, turn]).abs().max()
    )


@torch.no_grad()
def leak(gate, attention=True):
    """Change of the other agents' noise if the window of one agent is shifted."""
    made, x, *rest = network(gate, attention)
    changed = x.clone()
    changed[:, :, :, 1] += 1.0
    return (made(changed, *rest) - made(x, *rest))[:, :, :, [0, 2, 3]].abs().max()


@torch.no_grad()
def hidden_return():
    made, x, level, total, keep = network(0.7)
    return (made(x, level, total, 0 * keep) - made(x, level, total + 5.0, 0 * keep)).abs().max()


def weights():
    """The learnt weights of DoF at their start: the noise is that of Concat, divided by N."""
    concat, weighted = (PlanNetworks(1, 4, 6, 1, UNetSize(16, [1, 2, 4]), Net(4, 1), False, w) for w in (False, True))
    for each in (concat, weighted):
        initialise([each], [0], "planner")
    _, *given = network(0.7)
    with torch.no_grad():
        return (weighted.double().noise(*given) - concat.double().noise(*given) / 4).abs().max()


def windows(rows, generator):
    """Two agents that see 0 now; then both see +.5, or both see -.5. The action is what is seen next."""
    sign = 2.0 * torch.randint(2, (1, rows, 1, 1, 1), generator=generator) - 1.0
    window = (0.5 * sign).repeat(1, 1, 4, 2, 1)
    window[:, :, 0] = 0.0
    zeros = torch.zeros(1, rows, 2, 1)
    action = torch.cat([window[:, :, 1:], window[:, :, -1:]], 2)
    batch = Batch(zeros, action[:, :, 0], zeros[..., 0, 0], zeros, zeros[..., 0, 0], torch.ones(1, rows))
    batch.window_obs, batch.window_action, batch.window_real = window, action, torch.ones(1, rows, 4)
    batch.return_to_go = torch.zeros(1, rows)
    return batch


METHODS = {
    "MADiff-C": {"attention": True, "visible": "all"},
    "MADiff-D": {"attention": True, "visible": "one"},
    "DoF": {"attention": False, "visible": "all", "weighted": True},
}


@functools.cache
@torch.enable_grad()
def agreement(method):
    """Actions (2000, 2) of a trained planner."""
    spec = Spec(2, 1, 1, False, None, 4, "native", "toy")
    planner = Planner(
        spec,
        [0],
        **METHODS[method],
        net=UNetSize(32, [1, 2], 3),
        inverse=Net(32, 1, "relu"),
        history=1,
        horizon=4,
        ema=0.99,
        optim=Optim(1e-3),
        goal=GoalSettings(guidance=1.0),
        levels=100,
        spacing="trailing",
    )
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(800):
        planner.step(windows(128, generator), key.at(update))
    with torch.inference_mode():
        seen = Seen(torch.zeros(1, 2000, 2, 1))
        return planner.act(seen, None, ActKey([0], 0, range(2000)), Acting(1.0, steps=20))[0][0, :, :, 0]


def same_sign(method):
    x = agreement(method)
    return (x[:, 0].sign() == x[:, 1].sign()).float().mean()


def size(method):
    return agreement(method).abs().mean()


@functools.cache
@torch.enable_grad()
def inverse_error():
    """Test error of the inverse model on o' = .9 o + B a, with D = 6 and A = 2."""
    spec = Spec(1, 6, 2, False, None, 4, "raw_onehot", "toy")
    small = {"net": UNetSize(16, [1], 3), "history": 1, "horizon": 2}
    planner = Planner(spec, [0], **small, visible="all", optim=Optim(1e-3))
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 6, generator=generator)

    def loss(rows):
        obs, action = (
            torch.randn(1, rows, 1, 6, generator=generator),
            2 * torch.rand(1, rows, 1, 2, generator=generator) - 1,
        )
        window = torch.stack([obs, 0.9 * obs + action @ matrix], 2)
        zeros = torch.zeros(1, rows)
        batch = Batch(obs, action, zeros, obs, zeros, zeros)
        batch.window_action, batch.window_real = torch.stack([action, action], 2), torch.ones(1, rows, 2)
        return planner.inverse_loss(batch, window, torch.ones(1, rows, 2, 1))

    for _ in range(1000):
        planner.minimise("planner", loss(256))
    return loss(4000)


def one_legal():
    """Loss and gradient of the inverse model where each agent has one legal action."""
    planner = Planner(
        Spec(1, 6, 3, True, None, 4, "raw_onehot", "toy"), [0], net=UNetSize(16, [1], 3), history=1, horizon=2
    )
    batch = windows(4, torch.Generator().manual_seed(0))
    batch.window_action, batch.window_real = torch.ones(1, 4, 2, 1, dtype=torch.int64), torch.ones(1, 4, 2)
    batch.window_legal = torch.zeros(1, 4, 2, 1, 3, dtype=torch.bool)
    batch.window_legal[..., 1] = True
    loss = planner.inverse_loss(batch, torch.ones(1, 4, 2, 1, 6), torch.ones(1, 4, 2, 1))
    grads = torch.autograd.grad(loss.sum(), list(planner.online.inverse.parameters()))
    return loss.abs().sum() + sum(grad.abs().sum() for grad in grads)


PLANNER = [
    *(
        Oracle(f"PL1-{k}", f"200 levels: abar at {k}", lambda k=k: SCHEDULE.abar[k], f"{v:g}", near(v, 1e-6))
        for k, v in LEVELS.items()
    ),
    *(
        Oracle(f"PL2-{k}", f"200 levels: beta at {k}", lambda k=k: beta(k), f"{v:g}", near(v, 1e-6))
        for k, v in BETAS.items()
    ),
    *moment_rows("PL3", MOMENTS, 2e-5),
    Oracle(
        "PL4a", "MADiff, D = 60: parameters - 64 306 111", lambda: parameters(True) - 64_306_111, "= 0", near(0, 0.5)
    ),
    Oracle("PL4b", "DoF, D = 60: parameters - 59 776 444", lambda: parameters(False) - 59_776_444, "= 0", near(0, 0.5)),
    Oracle("PL5", "agents in another order: change", order, "< 1e-13", below(1e-13)),
    Oracle("PL6a", "leak between agents at the start, MADiff", lambda: leak(0.0), "= 0", lambda v: v == 0),
    Oracle("PL6b", "leak between agents, DoF", lambda: leak(0.7, False), "= 0", lambda v: v == 0),
    Oracle("PL6c", "leak between agents, gate .7, MADiff", lambda: leak(0.7), "> .01", above(0.01)),
    Oracle("PL7", "a hidden return: change of the noise", hidden_return, "= 0", lambda v: v == 0),
    Oracle("PL8", "WConcat at its start = Concat / N", weights, "< 1e-14", below(1e-14)),
    Oracle("PL9", "one legal action: inverse loss and gradient", one_legal, "= 0", lambda v: v == 0),
]
COORDINATION = [
    Oracle("PL10a", "two agents agree: MADiff-C", lambda: same_sign("MADiff-C"), "> .95", above(0.95)),
    Oracle("PL10b", "two agents agree: MADiff-D", lambda: same_sign("MADiff-D"), "in (.35, .65)", near(0.5, 0.15)),
    Oracle("PL10c", "two agents agree: DoF", lambda: same_sign("DoF"), "in (.35, .65)", near(0.5, 0.15)),
    *(
        Oracle(
            f"PL11{letter}", f"same: mean |action|, {name}", lambda name=name: size(name), ".5 +- .05", near(0.5, 0.05)
        )
        for letter, name in zip("abc", METHODS, strict=True)
    ),
    Oracle("PL12", "inverse model of o' = .9 o + B a: error", inverse_error, "< 2e-3", below(2e-3)),
]
