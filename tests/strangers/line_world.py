"""An example of a user's environment: two agents push a point along a line; the reward is minus its distance from 1."""

import numpy as np

from vgm2p.envs.base import Frame, Step
from vgm2p.types import Spec


class LineWorld:
    """The point moves by a tenth of the sum of the agents' actions; an episode ends after `episode_limit` steps."""

    max_active = None

    def __init__(self, episode_limit: int = 8, view: str = "native") -> None:
        self.spec, self.versions = Spec(2, 2, 1, False, None, episode_limit, view, "line"), {"line": "1"}

    def make(self, n_envs):
        self.x, self.t = np.zeros(n_envs, np.float32), np.zeros(n_envs, int)

    def frame(self):
        seen = np.stack([self.x, self.t / self.spec.episode_limit], -1).astype(np.float32)
        return Frame(np.repeat(seen[:, None], 2, 1))

    def reset(self, seeds):
        for row, seed in enumerate(seeds):
            if seed is not None:
                self.x[row], self.t[row] = np.random.default_rng(seed).uniform(-1, 1), 0
        return self.frame()

    def step(self, actions, active):
        self.x += np.where(active, 0.1 * actions.sum((1, 2)), 0.0).astype(np.float32)
        self.t += active
        cut, no = active & (self.t >= self.spec.episode_limit), np.zeros_like(active)
        return Step(self.frame(), np.where(active, -np.abs(1.0 - self.x), 0.0).astype(np.float64), no, cut, no.copy())

    def close(self):
        pass
