"""`bench rollout`: ten HalfCheetah episodes in lockstep, beside a call per agent and ten-step sampling.

`env=` picks another environment, with options of its own.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.bench.timing import in_turn, machine, ratio, settings, timer, write
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.envs.rollout import RandomActor, acting, rollout
from vgm2p.errors import ConfigError, nearest
from vgm2p.report.grid import grid
from vgm2p.rng import ActKey

ENVIRONMENTS = {"halfcheetah": "vgm2p.bench.rollout:robots", "fake_sc2": "vgm2p.bench.games:games"}
DEFAULTS: dict[str, Any] = {
    "episodes": 10, "steps": 100, "rounds": 5, "width": 512, "depth": 4, "threads": 1, "out": "bench",
}  # fmt: skip


def main(words: Sequence[str]) -> None:
    """Measure the environment of `env=`. Raises ConfigError for an unknown one, MissingInput without its packages."""
    named = [word.removeprefix("env=") for word in words if word.startswith("env=")]
    name = named[-1] if named else "halfcheetah"
    if name not in ENVIRONMENTS:
        raise ConfigError(f"bench rollout has env={', '.join(ENVIRONMENTS)}, got '{name}'{nearest(name, ENVIRONMENTS)}")
    pkgutil.resolve_name(ENVIRONMENTS[name])([word for word in words if not word.startswith("env=")])


def robots(words: Sequence[str]) -> None:
    """Print environment steps per CPU second. Raises MissingInput without gymnasium and mujoco."""
    options = settings(words, DEFAULTS)
    torch.set_num_threads(options["threads"])
    print(f"machine {machine()}")
    env = MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot", episode_limit=options["steps"])
    size = {"width": options["width"], "depth": options["depth"]}
    policy, flow = VGM2P(env.spec, [0], **size), VGM2PFlowMatching(env.spec, [0], **size)
    actors = {"one step": (policy, None), "one step, bf16": (policy, torch.bfloat16), "ten steps (FM)": (flow, None),
              "random policy": (RandomActor(env.spec), None)}  # fmt: skip
    timers = {name: timer(lockstep(actor, env, options, dtype), "cpu") for name, (actor, dtype) in actors.items()}
    timers["one call per agent"] = timer(per_agent(policy, env, options), "cpu")
    found = in_turn(timers, options["rounds"], 1)
    total = options["episodes"] * options["steps"]
    lines = [["lockstep rollout", "env steps per CPU second", "x call per agent"]]
    for name, result in found.items():
        speed = ratio(found, "one call per agent", name)
        lines.append([name, f"{total / result['ms'] * 1e3:.0f}", f"{speed:.1f}"])
    print(grid(lines))
    write(options["out"], "rollout", {"machine": machine(), "options": options, "times": found})


def lockstep(actor: Any, env: MAMuJoCo, options: dict[str, Any], dtype: torch.dtype | None) -> Callable[[], Any]:
    """Return a function that rolls all episodes out, one policy call per step."""

    def run() -> Any:
        with acting("cpu", dtype):
            return rollout(actor, env, 0, [0], options["episodes"])

    return run


def per_agent(policy: VGM2P, env: MAMuJoCo, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that rolls episodes out one by one, with a policy call for every agent."""

    def run() -> None:
        env.make(1)
        for episode in range(options["episodes"]):
            frame = env.reset([episode])
            key = ActKey([0], 0, [episode])
            for step in range(options["steps"]):
                actions = np.empty((1, env.spec.n_agents, env.spec.action_dim), np.float32)
                for i in range(env.spec.n_agents):
                    obs = torch.from_numpy(frame.obs[None, :, i : i + 1])
                    with torch.inference_mode():
                        action, _ = policy.act(obs, None, None, key.at(step))
                    actions[:, i] = action[0, :, 0].numpy()
                frame = env.step(actions, np.ones(1, bool)).frame

    return run
