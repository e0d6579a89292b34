"""Small real tasks, batches and datasets for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns
from vgm2p.types import Batch, Spec

HERE = Path(__file__).parent
RECORDED = HERE / "data" / "recorded"
PAST = 2  # remembered steps in a batch: history = 3


def continuous_spec(n_agents=3, obs_dim=5, action_dim=2) -> Spec:
    return Spec(n_agents, obs_dim, action_dim, False, None, 10, "native", "toy")


def discrete_spec(n_agents=3, obs_dim=5, actions=4) -> Spec:
    return Spec(n_agents, obs_dim, actions, True, None, 10, "native", "toy")


def random_batch(spec: Spec, seeds=1, rows=8, source=0, dtype=torch.float32) -> Batch:
    g = torch.Generator().manual_seed(source)
    shape = (seeds, rows, spec.n_agents)

    def normal(*size):
        return torch.randn(*size, generator=g, dtype=torch.float64).to(dtype)

    batch = Batch(
        obs=normal(*shape, spec.obs_dim),
        action=normal(*shape, spec.action_dim).clamp(-1, 1),
        reward=normal(seeds, rows),
        next_obs=normal(*shape, spec.obs_dim),
        bootstrap=(torch.rand(seeds, rows, generator=g) > 0.2).to(dtype),
        valid=(torch.rand(seeds, rows, generator=g) > 0.2).to(dtype),
    )
    if spec.discrete:
        for name in ("legal", "next_legal"):
            legal = torch.rand(*shape, spec.action_dim, generator=g) > 0.4
            legal[..., 0] |= ~legal.any(-1)
            setattr(batch, name, legal)
        scores = torch.rand(*shape, spec.action_dim, generator=g).masked_fill(~batch.legal, -1.0)
        batch.action = scores.argmax(-1)
    batch.return_to_go = 10 * normal(seeds, rows)
    batch.episode_rank = torch.rand(seeds, rows, generator=g)
    past = (seeds, rows, PAST, spec.n_agents)
    batch.past_obs = normal(*past, spec.obs_dim)
    if spec.discrete:
        batch.past_action = torch.randint(spec.action_dim, past, generator=g)
    else:
        batch.past_action = normal(*past, spec.action_dim).clamp(-1, 1)
    age = torch.randint(PAST + 1, (seeds, rows, 1), generator=g)  # steps since the episode began
    batch.past_seen = (torch.arange(PAST, 0, -1) <= age).to(dtype)
    return batch


def small_columns(seed=0, lengths=(4, 7, 5), agents=2, width=3) -> Columns:
    """A tiny robot dataset: the last episode ends at the limit of 5, the others terminate; final observations stored."""
    rng = np.random.default_rng(seed)
    rows = np.array(lengths) + 1
    total = int(rows.sum())
    start = np.cumsum(rows) - rows
    final = start + np.array(lengths)
    acting = np.ones(total, np.uint8)
    acting[final] = 0
    steps = {
        "robot_observation": rng.normal(size=(total, width)).astype(np.float32),
        "actions": (rng.uniform(-1, 1, size=(total, agents, 1)) * acting[:, None, None]).astype(np.float32),
        "rewards": (rng.normal(size=total) * acting).astype(np.float32),
        "terminal": np.zeros(total, np.uint8),
        "timeout": np.zeros(total, np.uint8),
        "has_action": acting,
        "t": (np.arange(total) - np.repeat(start, rows)).astype(np.int32),
    }
    ends = np.array([TERMINAL] * (len(lengths) - 1) + [TIMEOUT], np.uint8)
    for e, end in enumerate(ends):
        steps["terminal" if end == TERMINAL else "timeout"][final[e] - 1] = 1
    episodes = {
        "start": start.astype(np.int64),
        "rows": rows.astype(np.int32),
        "length": np.array(lengths, np.int32),
        "return": np.add.reduceat(steps["rewards"].astype(np.float64), start),
        "end": ends,
    }
    attributes = {
        "name": "small",
        "n_agents": agents,
        "action_dim": 1,
        "discrete": 0,
        "episode_limit": 10,
        "env_id": "toy",
        "env_kwargs": "{}",
    }
    return Columns(steps, episodes, attributes)
