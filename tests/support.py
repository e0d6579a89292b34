"""Small real tasks, batches and datasets for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns
from vgm2p.types import Batch, Needs, Spec

HERE = Path(__file__).parent
RECORDED = HERE / "data" / "recorded"
PAST = 2  # remembered steps in a batch: history = 3


def continuous_spec(n_agents=3, obs_dim=5, action_dim=2, state_dim=None) -> Spec:
    return Spec(n_agents, obs_dim, action_dim, False, state_dim, 10, "native", "toy")


def discrete_spec(n_agents=3, obs_dim=5, actions=4, state_dim=None) -> Spec:
    return Spec(n_agents, obs_dim, actions, True, state_dim, 10, "native", "toy")


def random_batch(spec: Spec, seeds=1, rows=8, source=0, dtype=torch.float32, needs=Needs()) -> Batch:
    """Every optional field; a window in the place of the past where `needs.ahead` asks for one."""
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
    batch.return_seen = 1.0 - 0.9 * batch.episode_rank.to(dtype)
    if spec.discrete:
        batch.next_action = batch.next_legal.float().argmax(-1)
    else:
        batch.next_action = normal(*shape, spec.action_dim).clamp(-1, 1)
    if spec.state_dim is not None:
        batch.state, batch.next_state = (normal(seeds, rows, spec.state_dim) for _ in range(2))

    def actions(steps):
        size = (seeds, rows, steps, spec.n_agents)
        if spec.discrete:
            return torch.randint(spec.action_dim, size, generator=g)
        return normal(*size, spec.action_dim).clamp(-1, 1)

    age = torch.randint(PAST + 1, (seeds, rows, 1), generator=g)  # steps since the episode began
    if not needs.ahead:
        batch.past_obs = normal(seeds, rows, PAST, spec.n_agents, spec.obs_dim)
        batch.past_action = actions(PAST)
        batch.past_seen = (torch.arange(PAST, 0, -1) <= age).to(dtype)
        return batch
    length = needs.history + needs.ahead
    batch.window_obs = normal(seeds, rows, length, spec.n_agents, spec.obs_dim)
    batch.window_obs[:, :, needs.history - 1] = batch.obs
    batch.window_action = actions(length)
    batch.window_action[:, :, needs.history - 1] = batch.action
    batch.window_real = (torch.arange(length) >= needs.history - 1 - age).to(dtype)
    if spec.discrete:
        batch.window_legal = torch.ones(seeds, rows, length, spec.n_agents, spec.action_dim, dtype=torch.bool)
    return batch


def small_columns(seed=0, lengths=(4, 7, 5), agents=2, width=3) -> Columns:
    """A tiny robot dataset: the last episode ends at the limit of 5, the others terminate; final observations stored."""
    rng = np.random.default_rng(seed)
    ends = [TERMINAL] * (len(lengths) - 1) + [TIMEOUT]
    episodes = Episodes(np.array(lengths), np.array(ends), finals=True)
    total, acting = episodes.total, episodes.has_action
    steps = {
        "robot_observation": rng.normal(size=(total, width)).astype(np.float32),
        "actions": (rng.uniform(-1, 1, size=(total, agents, 1)) * acting[:, None, None]).astype(np.float32),
        "rewards": (rng.normal(size=total) * acting).astype(np.float32),
    }
    attributes = {
        "name": "small",
        "n_agents": agents,
        "action_dim": 1,
        "discrete": 0,
        "episode_limit": max(60, *lengths),
        "env_id": "toy",
        "env_kwargs": "{}",
    }
    return episodes.columns(steps, attributes)
