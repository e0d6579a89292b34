"""A parallel environment as a user of PettingZoo writes it, with all that its rules allow.

Three agents have observations of different widths, and different numbers of actions. They can leave. Legal actions stand
in the observations or in the infos.
"""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import ParallelEnv


class Walk(ParallelEnv):
    """Agents walk on a line; each step pays an agent its place. Those beyond `goal` leave, as does `quitter` at step 2."""

    metadata = {"name": "walk_v0", "render_modes": ["rgb_array"]}  # noqa: RUF012  # as PettingZoo wants it

    def __init__(self, masks="info", continuous=False, goal=9.0, quitter="b", cut=None, stuck=False, render_mode=None):
        self.masks, self.continuous, self.goal, self.quitter = masks, continuous, goal, quitter
        self.cut, self.stuck, self.render_mode = cut, stuck, render_mode
        self.possible_agents = ["a", "b", "c"]
        self.widths = {"a": 3, "b": 5, "c": 4}
        self.counts = {"a": 3, "b": 2, "c": 4}
        self.agents = []

    def observation_space(self, agent):
        vector = Box(-np.inf, np.inf, (self.widths[agent],), np.float32)
        mask = Box(0, 1, (self.counts[agent],), np.int8)
        return Dict({"observation": vector, "action_mask": mask}) if self.masks == "observation" else vector

    def action_space(self, agent):
        if self.continuous:
            return Box(np.array([-1, 0], "f4"), np.array([1, 4], "f4"))
        return Discrete(self.counts[agent], start=1)

    def reset(self, seed=None, options=None):
        rng, self.t = np.random.default_rng(seed), 0
        self.agents = list(self.possible_agents)
        self.place = {agent: rng.uniform(0, 1) for agent in self.agents}
        self.last = dict.fromkeys(self.agents)
        return self.seen()

    def mask(self, agent):
        """The first action is not legal in odd steps."""
        found = np.ones(self.counts[agent], np.int8)
        found[0] = self.t % 2 == 0
        return found * (not self.stuck)

    def seen(self):
        seen, infos = {}, {}
        for agent in self.agents:
            vector = np.arange(self.widths[agent], dtype="f4")
            vector[0], vector[-1] = self.place[agent], self.t
            masked = {"observation": vector, "action_mask": self.mask(agent)}
            seen[agent] = masked if self.masks == "observation" else vector
            infos[agent] = {"action_mask": self.mask(agent)} if self.masks == "info" else {}
        return seen, infos

    def step(self, actions):
        assert set(actions) == set(self.agents), "an agent that left, or none for one that acts"
        self.t, self.last = self.t + 1, actions
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action), (agent, action)
            self.place[agent] += float(np.sum(action)) if self.continuous else int(action) - 1
        seen, infos = self.seen()
        rewards = {agent: float(self.place[agent]) for agent in self.agents}
        ends = {a: self.place[a] > self.goal or (a == self.quitter and self.t == 2) for a in self.agents}
        cuts = dict.fromkeys(self.agents, self.t == self.cut)
        self.agents = [agent for agent in self.agents if not (ends[agent] or cuts[agent])]
        return seen, rewards, ends, cuts, infos

    def state(self):
        return np.array([*self.place.values(), self.t], "f4")

    def render(self):
        picture = np.zeros((8, 16, 3), np.uint8)
        picture[0, : int(self.t) + 1] = 255
        return picture


parallel_env = Walk
