"""Two agents that must agree, and data in which half of the episodes follow one convention and half the other.

    python -m tools.conventions <folder>      # writes agree.h5, agree.py and conf/env/agree.yaml
    cd <folder> && python -m vgm2p fit env=agree data=agree.h5

In every step, the team gains 1 if both actions have the same sign. Nothing that an agent sees tells the convention. The
recorded agents agree in nearly every step, so all episodes are about equally good, and no draw by return can choose one
convention. What policies learn from it: docs/algorithms/vgm2p_plus.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv  # type: ignore[import-untyped]

import vgm2p
from vgm2p.errors import UserError

STEPS, EPISODES, NOISE = 20, 100, 0.2
AGENTS = ("left", "right")
YAML = f"""_target_: vgm2p.envs.pettingzoo.PettingZoo
module: agree
episode_limit: {STEPS}
env_kwargs: {{}}
reward: mean
view: ${{data.view}}
"""


class Agree(ParallelEnv):  # type: ignore[misc]
    """The game. What an agent sees is noise, and the number of the step."""

    metadata = {"name": "agree_v0", "render_modes": []}  # noqa: RUF012
    possible_agents = list(AGENTS)  # noqa: RUF012

    def observation_space(self, agent: str) -> Box:
        """Two numbers."""
        return Box(-np.inf, np.inf, (2,), np.float32)

    def action_space(self, agent: str) -> Box:
        """One number; its sign counts."""
        return Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        """Begin an episode."""
        self.random, self.time, self.agents = np.random.default_rng(seed), 0, list(AGENTS)
        return self.seen(), {agent: {} for agent in self.agents}

    def seen(self) -> dict[str, Any]:
        """Return what the agents see."""
        return {agent: np.array([self.random.normal(), self.time / STEPS], np.float32) for agent in AGENTS}

    def step(self, actions: dict[str, Any]) -> Any:
        """Return 1 for both agents if their actions have the same sign."""
        self.time += 1
        signs = {bool(action[0] > 0) for action in actions.values()}
        rewards = dict.fromkeys(AGENTS, float(len(signs) == 1))
        never = dict.fromkeys(AGENTS, False)
        return self.seen(), rewards, never, never, {agent: {} for agent in AGENTS}


parallel_env = Agree


def episodes() -> list[dict[str, Any]]:
    """Return the data: episode e follows convention e mod 2."""
    random, found = np.random.default_rng(0), []
    for number in range(EPISODES):
        sign = 1.0 if number % 2 else -1.0
        action = (sign * 0.6 + NOISE * random.normal(size=(STEPS, 2, 1))).clip(-1.0, 1.0)
        time = np.broadcast_to(np.arange(STEPS + 1)[:, None] / STEPS, (STEPS + 1, 2))
        obs = np.stack([random.normal(size=(STEPS + 1, 2)), time], -1)
        agreed = (action[:, 0, 0] > 0) == (action[:, 1, 0] > 0)
        found.append(
            {"obs": obs, "action": action, "reward": agreed.astype(float), "terminated": False, "truncated": True}
        )
    return found


def main(folder: Path) -> None:
    """Write the data, and what the program needs to find the game."""
    (folder / "conf" / "env").mkdir(parents=True, exist_ok=True)
    vgm2p.write_dataset(folder / "agree.h5", episodes(), episode_limit=STEPS, env_id="agree")
    (folder / "conf" / "env" / "agree.yaml").write_text(YAML)
    shutil.copy(__file__, folder / "agree.py")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.conventions")
    parser.add_argument("folder", type=Path)
    try:
        main(parser.parse_args().folder)
    except UserError as error:
        sys.exit(error.line)
