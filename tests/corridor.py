"""A corridor that needs memory: the right action at its end depends on an observation, or an action, at its beginning."""

from __future__ import annotations

import numpy as np
import torch

from vgm2p.commands.collect import columns_of
from vgm2p.envs.base import Frame, Step, episode_seed
from vgm2p.execution.recorder import Recorder
from vgm2p.execution.rollout import rollout
from vgm2p.types import Spec

WAIT, LEFT, RIGHT = range(3)


class Corridor:
    """Two agents, `length` steps, reward at the end: the share of agents whose last action is the right one.

    cue: each agent is shown a side at its first step, and nothing afterwards. echo: nothing is shown, the last action
    must repeat the agent's own first one. Continuous actions mean a side by their sign. Implements `VectorEnv`.
    """

    max_active = None

    def __init__(self, discrete, task="cue", length=4):
        self.task, self.length = task, length
        self.spec = Spec(2, 2, 3 if discrete else 1, discrete, None, length, "native", f"corridor-{task}")

    def make(self, n_envs):
        self.time, self.side = np.zeros(n_envs, int), np.zeros((n_envs, 2))

    def reset(self, seeds):
        for e, seed in enumerate(seeds):
            if seed is not None:
                self.time[e] = 0
                self.side[e] = np.random.default_rng(seed).choice([-1.0, 1.0], 2) if self.task == "cue" else 0.0
        return self.frame()

    def frame(self):
        first, last = self.time == 0, self.time == self.length - 1
        shown = np.where(first[:, None], self.side, 0.0) if self.task == "cue" else np.zeros_like(self.side)
        obs = np.stack([shown, np.broadcast_to(last[:, None], shown.shape)], -1).astype(np.float32)
        turning = last | (first & (self.task == "echo"))
        legal = np.where(turning[:, None, None], [[[False, True, True]]], [[[True, False, False]]])
        return Frame(obs, np.repeat(legal, 2, 1) if self.spec.discrete else None)

    def step(self, actions, active):
        taken = np.array([0.0, -1.0, 1.0])[actions] if self.spec.discrete else np.sign(actions[..., 0])
        if self.task == "echo":
            self.side = np.where((active & (self.time == 0))[:, None], taken, self.side)
        last = active & (self.time == self.length - 1)
        reward = np.where(last, (taken == self.side).mean(-1), 0.0)
        self.time += active
        return Step(self.frame(), reward, last, np.zeros_like(last), np.zeros_like(last))

    def close(self):
        pass


class Guide:
    """Knows the way by keeping the first step in mind; with `lost` it turns at random at the end."""

    def __init__(self, spec, task, lost=False):
        self.spec, self.task, self.lost = spec, task, lost

    def act(self, seen, memory, key, acting=None):
        obs = seen.obs
        coin = key.uniform("coin", tuple(obs.shape[1:3])).sub(0.5).sign()
        if memory is None:
            memory = obs[..., 0] if self.task == "cue" else coin
            side = torch.zeros_like(coin) if self.task == "cue" else coin
        else:
            side = (coin if self.lost else memory) * obs[..., 1]
        if self.spec.discrete:
            return torch.where(side == 0, WAIT, torch.where(side < 0, LEFT, RIGHT)), memory
        return side.unsqueeze(-1), memory


def recorded(env, actor, episodes):
    """Return the columns of recorded episodes, as `collect` writes them."""
    recorder = Recorder(env)
    rollout(actor, recorder, 0, [0], episodes)
    tapes = [recorder.episodes[episode_seed(number)] for number in range(episodes)]
    spec = env.spec
    attributes = {
        "name": spec.env_id,
        "env_id": spec.env_id,
        "env_kwargs": "{}",
        "n_agents": 2,
        "action_dim": spec.action_dim,
        "discrete": int(spec.discrete),
        "episode_limit": spec.episode_limit,
    }
    return columns_of(tapes, 0, spec, attributes)
