"""Small planners in float64, with a fitted normaliser and agents that meet."""

import torch

from tests.algos.cases import F64, SPECS
from tests.support import random_batch
from vgm2p.algos.planner import Planner
from vgm2p.groups import Net
from vgm2p.nn.unet import Numbers, UNetSize
from vgm2p.rng import UpdateKey
from vgm2p.types import Survey

METHODS = {
    "madiff_c": {"attention": True, "visible": "all"},
    "madiff_d": {"attention": True, "visible": "one"},
    "dof": {"attention": False, "visible": "all", "weighted": True},
}
CASES = [(method, kind) for method in METHODS for kind in SPECS]
NOW, L = 4, 8
TINY = {"net": UNetSize(8, [1, 2], 3), "inverse": Net(6, 1, "relu"), "history": NOW + 1, "horizon": L - NOW}
G = torch.Generator().manual_seed(2)
DATA = torch.rand(9, generator=G).sort().values * 4 - 2  # quantiles of every feature; those of feature 1 are all equal


def survey(discrete, scale=4.0):
    knots = torch.stack([DATA + 0.1 * d for d in range(5)])
    knots[1] = 0.25

    def quantiles(table):
        return lambda count: torch.nn.functional.interpolate(table[None], count, mode="linear", align_corners=True)[0]

    actions = None if discrete else quantiles(torch.stack([DATA / 3, DATA / 2]))
    moments = torch.tensor(scale / 2), torch.tensor(scale)
    return Survey(
        torch.zeros(5),
        torch.ones(5),
        quantiles(knots),
        actions,
        lambda share: torch.tensor(scale * share / 0.99),
        lambda: moments,
    )


def made(method, kind, seeds=(0,), **options):
    planner = Planner(SPECS[kind], list(seeds), **{**METHODS[method], **TINY, **options})
    planner.survey(survey(kind == "discrete"))
    for module in planner.modules():
        if isinstance(module, Numbers):  # let the agents meet, and give their noise different weights
            module.value.data += torch.arange(module.value.numel() / len(seeds)) + 0.7
    return planner.double()


def example(method, kind, source=0, **options):
    planner = made(method, kind, **options)
    batch = random_batch(SPECS[kind], rows=4, source=source, dtype=F64, needs=planner.needs)
    if kind == "discrete":  # padded steps have illegal actions
        batch.window_legal.scatter_(-1, (batch.window_action[..., None] + 1) % 4, False)
        for b, t in (1 - batch.window_real[0]).nonzero().tolist():
            batch.window_legal[0, b, t] = False
    return planner, batch, UpdateKey([0]).at(3)
