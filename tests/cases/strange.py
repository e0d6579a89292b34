"""A user's environment and algorithm with a mistake that a key chooses, and data with extreme numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tests.house import ROOT
from tests.run.runs import program
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.schema import TIMEOUT
from vgm2p.datamodules.layout.writing import write

WORLD = """
import numpy as np
from line_world import LineWorld


class World(LineWorld):
    def __init__(self, fault: str = "none", at: int = 3, episode_limit: int | None = 8, view: str = "native") -> None:
        super().__init__(episode_limit, view)
        self.fault, self.at = fault, at

    def reset(self, seeds):
        if self.fault == "reset":
            raise KeyError("no such level")
        return super().reset(seeds)

    def step(self, actions, active):
        result = super().step(actions, active)
        if self.fault == "never":
            result.truncated[:] = False
        if self.fault == "list":
            result.reward = list(result.reward)
        if self.fault == "wide":
            result.frame.obs = np.repeat(result.frame.obs, 2, -1)
        for e in np.flatnonzero(active & (self.t == self.at)):
            if self.fault == "raise":
                raise RuntimeError("the motor is broken")
            if self.fault in ("nan", "inf"):
                result.reward[e] = float(self.fault)
            if self.fault == "obs":
                result.frame.obs[e, 1, 0] = np.inf
            if self.fault == "memory":
                raise MemoryError
        return result
"""
POLICY = """
import torch
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.groups import Net, Optim


class Policy(BCGaussian):
    def __init__(
        self, spec, seeds, *, net: Net = Net(), optim: Optim = Optim(), history: int = 1, fault: str = "none", of: int = 1
    ):
        super().__init__(spec, seeds, history=history, net=net, optim=optim)
        self.fault, self.of = fault, of

    def minimise(self, name, loss, due=None):
        if self.fault == "loss":
            sick = torch.tensor([seed == self.of for seed in self.seeds]) & (self.clock >= 4)
            loss = loss + torch.where(sick, torch.inf, 0.0)
        if self.fault == "update":
            raise ValueError("batch of wrong size")
        super().minimise(name, loss, due)

    def execute(self, o, legal, key, acting):
        action = super().execute(o, legal, key, acting)
        if self.fault == "blank":
            sick = torch.tensor([seed == self.of for seed in self.seeds])
            action = torch.where(sick.view(-1, 1, 1, 1), torch.nan, action)
        return action[..., :0] if self.fault == "shape" else action
"""
KEYS = ["updates=10", "eval_every=5", "eval_episodes=2", "eval_acting=[]", "compare=[]", "data.batch_size=8"]
SMALL = ["net.width=8", "net.depth=1", "block_updates=5", "logger.tensorboard=null", "callbacks.plot=null"]


def place(folder: Path) -> Path:
    """Write a user's modules and conf, and data for his environment."""
    for group, name, keys in (
        ("env", "world", "view: ${data.view}\nfault: none\nat: 3\nepisode_limit: 8\n"),
        ("algo", "policy", "net: ${net}\noptim: ${optim}\nfault: none\nof: 1\n"),
    ):
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / f"{name}.yaml").write_text(f"_target_: {name}.{name.capitalize()}\n{keys}")
    (folder / "world.py").write_text(WORLD)
    (folder / "policy.py").write_text(POLICY)
    (folder / "line_world.py").write_text((ROOT / "tests/strangers/line_world.py").read_text())
    line_data(folder / "line.h5")
    return folder


def line_data(path: Path, scale: float = 1.0, shift: float = 0.0) -> None:
    """Write 6 episodes of random actions in the user's environment; rewards times `scale`, observations plus `shift`."""
    rng = np.random.default_rng(0)
    episodes = Episodes(np.full(6, 8), np.full(6, TIMEOUT), finals=True)
    acting = episodes.has_action
    steps = {
        "observations": (rng.normal(size=(episodes.total, 2, 2)) + shift).astype(np.float32),
        "actions": (rng.uniform(-1, 1, (episodes.total, 2, 1)) * acting[:, None, None]).astype(np.float32),
        "rewards": (rng.normal(size=episodes.total) * acting * scale).astype(np.float32),
    }
    task = {"n_agents": 2, "action_dim": 1, "discrete": 0, "episode_limit": 8, "env_id": "line", "env_kwargs": "{}"}
    write(path, episodes.columns(steps, {"name": "line", **task}))


def command(folder: Path, *words: str, **variables: str):
    return program(folder, *words, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}", **variables)


def fit(folder: Path, out: str, *words: str, data: str = "line.h5", **variables: str):
    """Run `fit` in the user's environment, with his algorithm unless a word chooses another."""
    source = ["data=files", f"data.source.paths=[{data}]", "data.view=native", "env=world", "algo=policy"]
    kept = [word for word in source if not any(w.startswith(f"{word.partition('=')[0]}=") for w in words)]
    return command(folder, "fit", *KEYS, *SMALL, *kept, f"out={out}", *words, **variables)
