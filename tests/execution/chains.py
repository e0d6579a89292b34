"""Chains of states with two agents whose values are known in closed form, and policies that are tables."""

from __future__ import annotations

import numpy as np
import torch

from vgm2p.algos.contract import Algorithm
from vgm2p.config.compose import composed
from vgm2p.config.nodes import settings_of
from vgm2p.config.words import EstimateSettings
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns, content_hash
from vgm2p.datamodules.store.transitions import TransitionStore

GAMMA = 0.9
PAYS = np.array([[[0.0, 1.0], [2.0, -1.0], [0.5, 3.0]], [[1.0, 0.0], [-2.0, 4.0], [0.0, 1.0]]])  # agent, state, action
STATES = 3
FORBIDDEN = (1, 1, 1)  # agent, state, action, where actions are masked


def step(state, actions, ends):
    """Return reward (team, once) and the next state; None where the task ends.

    Agent 0 moves on with action 1 and returns to the first state with action 0; agent 1 is only paid.
    """
    reward = np.mean([PAYS[agent, state, action] for agent, action in enumerate(actions)])
    following = state + 1 if actions[0] else 0
    if following == STATES:
        return reward, None if ends else 0
    return reward, following


def chain(ends, episodes=150, limit=8, seed=0, masked=False) -> Columns:
    """Return episodes of uniformly random agents: `ends`, the last state is terminal, else it leads to the first one."""
    rng = np.random.default_rng(seed)
    rows, starts, lengths, kinds = [], [], [], []
    for _ in range(episodes):
        starts.append(len(rows))
        state, t = int(rng.integers(STATES)), 0
        while state is not None and t < limit:
            actions = rng.integers(2, size=2)
            if masked and state == FORBIDDEN[1]:
                actions[FORBIDDEN[0]] = 1 - FORBIDDEN[2]
            reward, following = step(state, actions, ends)
            rows.append((state, *actions, reward, 1, t))
            state, t = following, t + 1
        rows.append((STATES if state is None else state, 0, 0, 0.0, 0, t))
        lengths.append(t)
        kinds.append(TERMINAL if state is None else TIMEOUT)
    return _columns(np.array(rows, float), starts, lengths, kinds, limit, masked)


def _columns(rows, starts, lengths, kinds, limit, masked) -> Columns:
    total = len(rows)
    seen = np.eye(STATES + 1, dtype=np.float32)[rows[:, 0].astype(int)]
    terminal, timeout = np.zeros(total, np.uint8), np.zeros(total, np.uint8)
    for start, length, kind in zip(starts, lengths, kinds, strict=True):
        (terminal if kind == TERMINAL else timeout)[start + length - 1] = 1
    legal = np.ones((total, 2, 2), np.uint8)
    if masked:
        agent, state, action = FORBIDDEN
        legal[rows[:, 0] == state, agent, action] = 0
    steps = {
        "observations": np.repeat(seen[:, None], 2, 1),
        "actions": rows[:, 1:3].astype(np.int16),
        "rewards": rows[:, 3].astype(np.float32),
        "terminal": terminal,
        "timeout": timeout,
        "has_action": rows[:, 4].astype(np.uint8),
        "t": rows[:, 5].astype(np.int32),
        "legal_actions": legal,
    }
    episodes = {
        "start": np.array(starts, np.int64),
        "rows": np.array(lengths, np.int32) + 1,
        "length": np.array(lengths, np.int32),
        "return": np.add.reduceat(steps["rewards"].astype(np.float64), starts),
        "end": np.array(kinds, np.uint8),
    }
    attributes = {"name": "chain", "n_agents": 2, "action_dim": 2, "discrete": 1, "episode_limit": limit}
    columns = Columns(steps, episodes, {**attributes, "env_id": "chain", "env_kwargs": "{}"})
    columns.attributes["content_sha256"] = content_hash(columns)
    return columns


def held_in_memory(columns) -> TransitionStore:
    return TransitionStore.hold(columns, "native", "none", "bootstrap")


def exact(table, ends) -> np.ndarray:
    """Return V (states,) of a policy: table (agents, states) of probabilities of action 1."""
    pays, moves = np.zeros(STATES), np.zeros((STATES, STATES))
    for state in range(STATES):
        for first in (0, 1):
            for second in (0, 1):
                chance = np.prod([p if a else 1 - p for p, a in zip(table[:, state], (first, second), strict=True)])
                reward, following = step(state, (first, second), ends)
                pays[state] += chance * reward
                if following is not None:
                    moves[state, following] += chance
    return np.linalg.solve(np.eye(STATES) - GAMMA * moves, pays)


class Tables(Algorithm):
    """Policies that are tables: probabilities of action 1 for seeds, agents and states, (S, N, states)."""

    def __init__(self, spec, tables):
        super().__init__(spec, range(len(tables)))
        padded = np.concatenate([tables, np.zeros((*np.shape(tables)[:2], 1))], -1)  # a terminal state has no action
        self.register_buffer("chances", torch.tensor(padded, dtype=torch.float32))

    def execute(self, o, legal, key, acting):
        state = o[..., : STATES + 1]  # (S, E, N, states)
        chance = (state * self.chances[:, None]).sum(-1)
        action = (key.uniform("coin", tuple(chance.shape[1:])) < chance).long()
        allowed = legal.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return torch.where(allowed, action, 1 - action)


def settings(*words) -> EstimateSettings:
    size = ["net.width=16", "net.depth=1", "updates=500", "batch=64", "critics=2", "share=0.3", "tau=0.1", "lr=1e-2"]
    return settings_of(composed("estimate", ["run=x", f"gamma={GAMMA}", *size, *words]), EstimateSettings)
