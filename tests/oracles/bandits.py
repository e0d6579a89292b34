"""Statistical oracles of improvement: how much a policy gains from a known value, or from one learnt from rewards."""

from __future__ import annotations

import functools

import torch

from tests.oracles.one_state import above, batch_of, below, near, noise, observe, spec
from tests.oracles.table import Oracle
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.parts import CriticSettings
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Seen


class KnownValue(VGM2PSwitches):
    """VGM2P with its switches; its advantage comes from the bandit's true value, `frozen` from the behaviour's."""

    truth = staticmethod(lambda action: action)
    frozen: str | None = None

    def advantage(self, oid, action, baselines, q=None):
        if self.frozen == "sample":
            baselines = torch.rand_like(baselines) * 2 - 1
        value = self.truth(baselines[..., 0]).mean(2)
        if self.frozen == "mean":
            value = torch.zeros_like(value)
        return self.truth(action[..., 0]) - value, value


def quadratic(action):
    return -((action - 0.3) ** 2)


@functools.cache
def bandit(truth, steps, omega=1.0, frozen=None, width=32, depth=2, lr=1e-3, guide_class0=True, label=None):
    """Train on behaviour U(-1, 1); return (E[a], E[Q(a)], mean share of class 1 over the last 200 updates)."""
    torch.manual_seed(1)  # another stream than the behaviour's
    algorithm = KnownValue(
        spec(actions=1),
        [0],
        net=Net(width, depth),
        optim=Optim(lr),
        critic=CriticSettings(members=1),
        omega=omega,
        guide_class0=guide_class0,
    )
    algorithm.truth, algorithm.frozen = truth, frozen
    generator, key, shares = torch.Generator().manual_seed(0), UpdateKey([0]), []
    oid = algorithm.encode(observe(128))
    for update in range(steps):
        action = torch.rand(128, 1, 1, generator=generator) * 2 - 1
        batch = batch_of(action)
        _, baselines = algorithm.imagine(batch, oid, oid, key.at(update))
        c, info = algorithm.condition(batch, oid, batch.action, baselines, None)
        c = c if label is None else torch.full_like(c, label)
        shares.append(float(info["c1_fraction"]))
        loss, _ = algorithm.policy_loss(oid, batch.action, c, key)
        algorithm.minimise("policy", loss)
    with torch.no_grad():
        action = algorithm.sample(noise(4000, 1), algorithm.encode(observe(4000)), 1)
    return float(action.mean()), float(truth(action).mean()), sum(shares[-200:]) / 200


def identity(action):
    return action


@functools.cache
def two_agents(mixer, steps=1600):
    """a1 ~ U(-1,1), a2 = clip(a1 + .4 N), r = -(a1-.5)^2 - 3 (a2+.5)^2: return of the trained policy (mixer None: BC)."""
    cls, options = (BCMeanFlow, {}) if mixer is None else (VGM2P, {"mixer": mixer})
    algorithm = cls(spec(agents=2, actions=1), [0], net=Net(48, 3), **options)
    if mixer is not None:
        algorithm.optimisers["critic"].param_groups[0]["lr"] = 1e-3
    generator, key = torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(steps):
        action = recorded(128, generator)
        algorithm.update(batch_of(action.unsqueeze(-1), reward(action)), key.at(update))
    with torch.no_grad():
        acted, _ = algorithm.act(Seen(observe(4000, 2)), None, UpdateKey([9]))
    return float(reward(acted[0, :, :, 0]).mean())


def recorded(rows, generator):
    """Joint actions (rows, 2) of the game of two agents."""
    first = torch.rand(rows, generator=generator) * 2 - 1
    second = (first + 0.4 * torch.randn(rows, generator=generator)).clamp(-1, 1)
    return torch.stack([first, second], 1)


def reward(action):
    return -((action[:, 0] - 0.5) ** 2) - 3 * (action[:, 1] + 0.5) ** 2


BANDITS = [
    Oracle("10.4a", "Q = a: cloning, E[a]", lambda: bandit(identity, 4000, label=1)[0], "0 +- .08", near(0.0, 0.08)),
    Oracle(
        "10.4b",
        "Q = a: frozen one-sample baseline, E[a]",
        lambda: bandit(identity, 4000, frozen="sample")[0],
        "in [.25, .40]",
        near(0.325, 0.075),
    ),
    Oracle(
        "10.4c",
        "Q = a: frozen mean baseline, E[a]",
        lambda: bandit(identity, 4000, frozen="mean")[0],
        "in [.43, .57]",
        near(0.5, 0.07),
    ),
    Oracle("10.4d", "Q = a: live baseline, E[a]", lambda: bandit(identity, 2000)[0], "> .5", above(0.5)),
    Oracle(
        "10.4e",
        "Q = a: E[a] - (1 - 2 c1)",
        lambda: bandit(identity, 2000)[0] - (1 - 2 * bandit(identity, 2000)[2]),
        "0 +- .08",
        near(0.0, 0.08),
    ),
    Oracle(
        "10.4f",
        "interior optimum, omega 3, E[Q]",
        lambda: bandit(quadratic, 2000, omega=3.0, depth=3, lr=3e-4)[1],
        "> -.10",
        above(-0.10),
    ),
    Oracle(
        "10.4g",
        "same minus cloning",
        lambda: (
            bandit(quadratic, 2000, omega=3.0, depth=3, lr=3e-4)[1]
            - bandit(quadratic, 2000, depth=3, lr=3e-4, label=1)[1]
        ),
        "> .15",
        above(0.15),
    ),
    Oracle(
        "10.4h",
        "omega 20, guide_class0=false, E[Q]",
        lambda: bandit(quadratic, 3000, omega=20.0, depth=3, lr=3e-4, guide_class0=False)[1],
        "> -.15",
        above(-0.15),
    ),
    Oracle("10.6a", "two agents, mean mixer, return", lambda: two_agents("mean"), "> -.35", above(-0.35)),
    Oracle("10.6b", "two agents, independent mixer, return", lambda: two_agents("independent"), "< -.5", below(-0.5)),
    Oracle("10.6c", "two agents, cloning, return", lambda: two_agents(None), "< -1.3", below(-1.3)),
]
