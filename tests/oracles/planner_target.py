"""A statistical oracle of the planners: from random data, a high target return gives better episodes than a low one."""

from __future__ import annotations

import functools

import torch

from tests.oracles.one_state import above
from tests.oracles.table import Oracle
from tests.strangers.line_world import LineWorld
from vgm2p.algos.goal import GoalSettings
from vgm2p.algos.planner import Planner
from vgm2p.execution.rollout import rollout
from vgm2p.groups import Net, Optim
from vgm2p.nn.unet import UNetSize
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch

STEPS, ROWS = 8, 64


def planner(target):
    """DoF, which plans a whole episode; returns of about -16 to 0 are divided by 5."""
    return Planner(
        LineWorld().spec,
        [0],
        attention=False,
        visible="all",
        weighted=True,
        net=UNetSize(16, [1, 2]),
        inverse=Net(64, 2, "relu"),
        history=1,
        horizon=STEPS,
        ema=0.99,
        optim=Optim(1e-3),
        goal=GoalSettings(target=target, scale=5.0),
    )


def random_windows(generator):
    """A batch of windows from episodes with random actions."""
    action = 2.0 * torch.rand(ROWS, STEPS, 2, 1, generator=generator) - 1.0
    x = torch.cat([2.0 * torch.rand(ROWS, 1, generator=generator) - 1.0, 0.1 * action.sum((2, 3))], 1).cumsum(1)
    obs = torch.stack([x, torch.arange(STEPS + 1).expand_as(x) / STEPS], -1)[:, :, None].expand(-1, -1, 2, -1)
    reward = -(1.0 - x[:, 1:]).abs()
    start = torch.randint(STEPS, (ROWS, 1), generator=generator)
    at = start + torch.arange(STEPS)
    inside, row = at.clamp(max=STEPS), torch.arange(ROWS)[:, None]
    discount = 0.99 ** (torch.arange(STEPS) - start) * (torch.arange(STEPS) >= start)
    zeros = torch.zeros(1, ROWS)
    batch = Batch(obs[None, :, 0], action[None, :, 0], zeros, obs[None, :, 0], zeros, zeros)
    batch.window_obs, batch.window_real = obs[row, inside][None], (at <= STEPS).float()[None]
    batch.window_action = action[row, inside.clamp(max=STEPS - 1)][None]
    batch.return_to_go = (discount * reward).sum(1)[None]
    return batch


@functools.cache
@torch.enable_grad()
def trained():
    made, generator, key = planner(0.0), torch.Generator().manual_seed(0), UpdateKey([0])
    for update in range(1200):
        made.step(random_windows(generator), key.at(update))
    return made.state_dict()


def mean_return(target):
    made = planner(target)
    made.load_state_dict(trained())
    episodes = rollout(made, LineWorld(), 0, [0], 100)
    return sum(episode.return_ for episode in episodes) / len(episodes)


TARGET = [
    Oracle(
        "PL13",
        "line world: return for target -2, minus that for -14",
        lambda: mean_return(-0.4) - mean_return(-2.8),
        "> 2",
        above(2.0),
    )
]
