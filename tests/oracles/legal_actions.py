"""A toy of discrete actions with a known distribution: are flow policies that predict the clean action good clones?

150 000 rows of one agent with 10 actions, 6 of them legal on average. A rule picks the best legal action of a random
network, which reads 8 of the 47 observed numbers. The data follow it with probability 0.8, and else take a random legal
action.
"""

from __future__ import annotations

import functools

import torch

from tests.oracles.table import Oracle
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.flows.flow_matching import euler_sample
from vgm2p.flows.meanflow import meanflow_sample
from vgm2p.flows.path import Times
from vgm2p.nn.mlp import Net
from vgm2p.optim import Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, Spec

WIDTH, ACTIONS, ROWS, TESTED, FOLLOWED = 47, 10, 150_000, 4000, 0.8
READ = 8  # numbers of an observation on which the rule depends
UPDATES, BATCH = 6000, 320
TASK = Spec(1, WIDTH, ACTIONS, True, None, 100, "native", "toy")
BY_KIND = {"predict": None, "times": Times(None)}  # the defaults of conf/: x, and late times
KINDS = {
    "categorical": (BCGaussian, {}),
    "FM x": (BCFlow, BY_KIND),
    "MF x": (BCMeanFlow, BY_KIND),
    "FM v": (BCFlow, {}),
    "MF v": (BCMeanFlow, {}),
}


@functools.cache
def problem():
    """Observations (R, 47), legal (R, 10) and the probabilities of the actions (R, 10); the last TESTED are for tests."""
    g = torch.Generator().manual_seed(0)
    rows = ROWS + TESTED
    obs = torch.randn(rows, WIDTH, generator=g)
    legal = torch.rand(rows, ACTIONS, generator=g) < 0.6
    legal[torch.arange(rows), torch.randint(ACTIONS, (rows,), generator=g)] = True
    first, second = torch.randn(READ, 32, generator=g) / READ**0.5, torch.randn(32, ACTIONS, generator=g)
    best = (torch.tanh(obs[:, :READ] @ first) @ second).masked_fill(~legal, -torch.inf).argmax(-1)
    p = (1.0 - FOLLOWED) * legal / legal.sum(-1, keepdim=True)
    p[torch.arange(rows), best] += FOLLOWED
    return obs, legal, p, torch.multinomial(p, 1, generator=g)


@functools.cache
@torch.enable_grad()
def trained(name):
    cls, options = KINDS[name]
    obs, legal, _, action = problem()
    algorithm = cls(TASK, [0], net=Net(128, 3), optim=Optim(1e-3, decay_updates=UPDATES), **options)
    key = UpdateKey([0])
    for update in range(UPDATES):
        row = key.at(update).integers("batch", (BATCH,), ROWS)
        nothing = torch.zeros(1, BATCH)
        o = obs[row].unsqueeze(2)
        batch = Batch(o, action[row], nothing, o, nothing, nothing, legal=legal[row].unsqueeze(2))
        algorithm.update(batch, key)
    return algorithm


@torch.no_grad()
def vector(name, noise):
    """What the policy makes of start noise (TESTED, 10) before an action is chosen; probabilities, if it has some."""
    algorithm, (obs, legal, _, _) = trained(name), problem()
    o = algorithm.encode(obs[None, ROWS:, None])
    legal = legal[None, ROWS:, None]
    if name == "categorical":
        return torch.softmax(algorithm.policy(o).masked_fill(~legal, -torch.inf), -1)[0, :, 0]
    sample, steps = (meanflow_sample, 1) if name.startswith("MF") else (euler_sample, 10)
    return sample(algorithm.policy, noise[None, :, None], o, None, steps, legal)[0, :, 0]


def start(scale=1.0, source=5):
    return scale * torch.randn(TESTED, ACTIONS, generator=torch.Generator().manual_seed(source))


def score(name, scale):
    """Mean probability of the chosen action, as a share of that of the best one."""
    _, legal, p, _ = (x[ROWS:] for x in problem())
    chosen = vector(name, start(scale)).masked_fill(~legal, -torch.inf).argmax(-1, keepdim=True)
    return float((p.gather(-1, chosen)[:, 0] / p.amax(-1)).mean())


def distance(name, scale=1.0):
    """Mean total variation between the distribution that the head gives for one noise and that of the data."""
    p = problem()[2][ROWS:]
    return float(0.5 * (vector(name, start(scale)) - p).abs().sum(-1).mean())


def played_distance(name, draws=64):
    """The same for the actions that the policy takes with a full noise draw."""
    _, legal, p, _ = (x[ROWS:] for x in problem())
    counts = torch.zeros_like(p)
    for draw in range(draws):
        chosen = vector(name, start(1.0, draw)).masked_fill(~legal, -torch.inf).argmax(-1, keepdim=True)
        counts.scatter_add_(-1, chosen, torch.ones_like(counts[:, :1]))
    return float(0.5 * (counts / draws - p).abs().sum(-1).mean())


def rows_of(kind):
    """Scores as the categorical clone's or better, total variation at most 1.1 times its own."""
    return [
        Oracle(
            f"LA-{kind}-s",
            f"{kind} that predicts x, discrete: score - clone's",
            lambda: min(score(f"{kind} x", scale) for scale in (0.0, 1.0)) - score("categorical", 0.0),
            ">= 0",
            lambda v: v >= 0.0,
        ),
        Oracle(
            f"LA-{kind}-d",
            f"{kind} that predicts x, discrete: distance / clone's",
            lambda: distance(f"{kind} x") / distance("categorical"),
            "<= 1.1",
            lambda v: v <= 1.1,
        ),
    ]


LEGAL_ACTIONS = [oracle for kind in ("FM", "MF") for oracle in rows_of(kind)]

if __name__ == "__main__":
    torch.set_num_threads(1)
    print("kind          score z0   score z1   distance of the head z0   z1   of the actions played z1")
    for name in KINDS:
        shown = [score(name, 0.0), score(name, 1.0), distance(name, 0.0), distance(name), played_distance(name)]
        print(f"{name:12} " + "  ".join(f"{x:.3f}" for x in shown), flush=True)
