"""`bench rollout`: ten episodes in lockstep, beside a call per agent, ten-step sampling and several seeds at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_fm import VGM2PFlowMatching
from vgm2p.bench.timing import in_turn, machine, ratio, settings, timer, write
from vgm2p.envs.base import VectorEnv
from vgm2p.envs.mujoco import MAMuJoCo
from vgm2p.envs.smax import SMAX
from vgm2p.errors import ConfigError, nearest
from vgm2p.execution.rollout import RandomActor, in_precision, rollout
from vgm2p.groups import Net
from vgm2p.io.text import grid, say
from vgm2p.rng import ActKey
from vgm2p.types import Seen

DEFAULTS: dict[str, Any] = {
    "env": "6halfcheetah",
    "episodes": 10,
    "seeds": 1,
    "steps": 100,
    "rounds": 5,
    "width": 512,
    "depth": 4,
    "threads": 1,
    "out": "bench",
}
GAMES = "fake_sc2"  # a stand-in for StarCraft II, with options of its own
# name -> environment with episodes of at most so many steps
ENVIRONMENTS: dict[str, Callable[[int], VectorEnv]] = {
    "6halfcheetah": lambda steps: MAMuJoCo("HalfCheetah-v5", 6, "raw_onehot", episode_limit=steps),
    "smax_3m": functools.partial(SMAX, "3m"),
    "smax_smacv2_10_units": functools.partial(SMAX, "smacv2_10_units"),
}


def main(words: Sequence[str]) -> None:
    """Print environment steps per CPU second. Raises MissingInput without the environment's packages."""
    if f"env={GAMES}" in words:
        from vgm2p.bench.games import games

        games([word for word in words if word != f"env={GAMES}"])
        return
    options = settings(words, DEFAULTS)
    options["env"] = options["env"].replace("/", "_")  # smax/3m, as the other commands have it
    if options["env"] not in ENVIRONMENTS:
        known = [*ENVIRONMENTS, GAMES]
        raise ConfigError(f"bench: env='{options['env']}' is unknown{nearest(options['env'], known)}")
    torch.set_num_threads(options["threads"])
    say(f"machine {machine()}")
    runs = versions(lambda: ENVIRONMENTS[options["env"]](options["steps"]), options)
    steps = {name: run() for name, run in runs.items()}
    found = in_turn({name: timer(run, "cpu") for name, run in runs.items()}, options["rounds"], 1)
    say(table(found, steps))
    if options["seeds"] > 1:
        say(seeds_line(found, options))
    content = {"machine": machine(), "options": options, "times": found, "steps": steps}
    write(options["out"], f"rollout-{options['env']}", content)


def versions(new: Callable[[], VectorEnv], options: Mapping[str, Any]) -> dict[str, Callable[[], int]]:
    """Return the versions to compare: functions that play all episodes and return the number of environment steps.

    Versions with other numbers of copies have their own environment, so that none makes copies while it is timed.
    """
    env = new()
    net = Net(options["width"], options["depth"])
    policy, flow = VGM2P(env.spec, [0], net=net), VGM2PFlowMatching(env.spec, [0], net=net)
    random = RandomActor(env.spec)
    actors: dict[str, Any] = {
        "one step": (policy, None),
        "one step, bf16": (policy, torch.bfloat16),
        "ten steps (FM)": (flow, None),
        "random policy": (random, None),
    }
    runs = {name: lockstep(actor, env, options, [0], dtype) for name, (actor, dtype) in actors.items()}
    if options["seeds"] > 1:
        seeds = list(range(options["seeds"]))
        many = new()
        several = {"one step": VGM2P(env.spec, seeds, net=net), "random policy": random}
        runs |= {
            _several(name, options): lockstep(actor, many, options, seeds, None) for name, actor in several.items()
        }
    if env.spec.has_agent_id:  # else the network tells agents by their position among all of them
        runs["one call per agent"] = per_agent(policy, new(), options)
    return runs


def table(found: Mapping[str, Mapping[str, Any]], steps: Mapping[str, int]) -> str:
    """Return environment steps per CPU second, and how many times those of the last version."""
    base = "one call per agent" if "one call per agent" in found else "one step"
    lines = [["lockstep rollout", "env steps per CPU second", f"x {base.removeprefix('one ')}"]]
    speeds = {name: steps[name] / result["ms"] * 1e3 for name, result in found.items()}
    for name, speed in speeds.items():
        times = ratio(found, base, name) * steps[name] / steps[base]
        lines.append([name, f"{speed:.0f}", f"{times:.1f}"])
    return grid(lines)


def seeds_line(found: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]) -> str:
    """Return the cost of several seeds at once relative to one: with a policy each, and with random actions."""
    times = {
        name: found[_several(name, options)]["wall_ms"] / found[name]["wall_ms"]
        for name in ("one step", "random policy")
    }
    what, policies, simulator = (
        f"{options['seeds']} seeds x {options['episodes']} episodes",
        times["one step"],
        times["random policy"],
    )
    return f"{what} take {policies:.2f} times the wall time of one seed ({simulator:.2f} times with random actions)"


def _several(name: str, options: Mapping[str, Any]) -> str:
    return f"{name}, {options['seeds']} seeds"


def lockstep(
    actor: Any, env: VectorEnv, options: Mapping[str, Any], seeds: Sequence[int], dtype: torch.dtype | None
) -> Callable[[], int]:
    """Return a function that rolls all episodes out, one policy call per step, and returns the steps taken."""

    def run() -> int:
        with in_precision("cpu", dtype):
            return sum(episode.length for episode in rollout(actor, env, 0, seeds, options["episodes"]))

    return run


def per_agent(policy: VGM2P, env: VectorEnv, options: Mapping[str, Any]) -> Callable[[], int]:
    """Return a function that rolls episodes out one by one, with a policy call for every agent."""

    def run() -> int:
        env.make(1)
        for episode in range(options["episodes"]):
            frame = env.reset([episode])
            key = ActKey([0], 0, [episode])
            for step in range(options["steps"]):
                actions = np.empty((1, env.spec.n_agents, env.spec.action_dim), np.float32)
                for i in range(env.spec.n_agents):
                    obs = torch.from_numpy(frame.obs[None, :, i : i + 1])
                    with torch.inference_mode():
                        action, _ = policy.act(Seen(obs), None, key.at(step))
                    actions[:, i] = action[0, :, 0].numpy()
                frame = env.step(actions, np.ones(1, bool)).frame
        return int(options["episodes"] * options["steps"])

    return run
