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
from vgm2p.groups import Net, Optim
from vgm2p.rng import UpdateKey
from vgm2p.types import Batch, Spec

WIDTH, ACTIONS, ROWS, TESTED, FOLLOWED = 47, 10, 150_000, 4000, 0.8
READ = 8  # numbers of an observation on which the rule depends
UPDATES, BATCH, SEEDS, DRAWS = 6000, 320, 2, 32
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
    algorithm = cls(TASK, range(SEEDS), net=Net(128, 3), optim=Optim(1e-3, decay_updates=UPDATES), **options)
    key = UpdateKey(range(SEEDS))
    for update in range(UPDATES):
        row = key.at(update).integers("batch", (BATCH,), ROWS)
        nothing = torch.zeros(SEEDS, BATCH)
        o = obs[row].unsqueeze(2)
        batch = Batch(o, action[row], nothing, o, nothing, nothing, legal=legal[row].unsqueeze(2))
        algorithm.update(batch, key)
    return algorithm


@torch.no_grad()
def vector(name, noise, steps=1):
    """What the policies make of start noise (TESTED, 10): (S, TESTED, 10), probabilities if the network predicts x."""
    algorithm, (obs, legal, _, _) = trained(name), problem()
    o = algorithm.encode(obs[ROWS:, None].expand(SEEDS, -1, -1, -1))
    legal = legal[ROWS:, None].expand(SEEDS, -1, -1, -1)
    if name == "categorical":
        return torch.softmax(algorithm.policy(o).masked_fill(~legal, -torch.inf), -1)[:, :, 0]
    z = noise[:, None].expand(SEEDS, -1, -1, -1)
    sample = meanflow_sample if name.startswith("MF") else euler_sample
    return sample(algorithm.policy, z, o, None, steps, legal)[:, :, 0]


def start(scale=1.0, source=5):
    return scale * torch.randn(TESTED, ACTIONS, generator=torch.Generator().manual_seed(source))


def decided(name, noise):
    """The actions of the policies (S, TESTED, 1) for start noise; FM takes 10 steps."""
    scores = vector(name, noise, 1 if name.startswith("MF") else 10)
    return scores.masked_fill(~problem()[1][ROWS:], -torch.inf).argmax(-1, keepdim=True)


def score(name, scale):
    """Mean probability of the chosen action, as a share of that of the best one."""
    p = problem()[2][ROWS:].expand(SEEDS, -1, -1)
    return float((p.gather(-1, decided(name, start(scale)))[..., 0] / p.amax(-1)).mean())


def distance(name):
    """Mean total variation between the data's distribution and the one of acting=sample: of one pass from full noise."""
    p = sum(vector(name, start(1.0, draw)) for draw in range(DRAWS)) / DRAWS
    return float(0.5 * (p - problem()[2][ROWS:]).abs().sum(-1).mean())


def distance_of_the_most_likely(name):
    """The same of the actions that are taken with a full noise draw."""
    counts = sum(torch.nn.functional.one_hot(decided(name, start(1.0, draw))[..., 0], ACTIONS) for draw in range(DRAWS))
    return float(0.5 * (counts / DRAWS - problem()[2][ROWS:]).abs().sum(-1).mean())


def rows_of(kind):
    """Scores as the categorical clone's or better, total variation at most 1.1 times its own."""
    return [
        Oracle(
            f"LA-{kind}-s",
            f"{kind} that predicts x, discrete: score - clone's",
            lambda: score(f"{kind} x", 0.0) - score("categorical", 0.0),
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
    print("kind         score: mode  one draw   distance: sample  one draw")
    for name in KINDS:
        shown = [score(name, 0.0), score(name, 1.0), distance(name), distance_of_the_most_likely(name)]
        print(f"{name:12} " + "  ".join(f"{x:.3f}" for x in shown), flush=True)
