"""`bench rollout env=fake_sc2`: several StarCraft II games at once, where the game is the limit.

The game is the tests' stand-in, which sleeps at every step as long as a slow game would take.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgm2p.bench.timing import Timer, in_turn, machine, ratio, settings, write
from vgm2p.envs.smac import SMACv1
from vgm2p.errors import ConfigError, MissingInput
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.io.scratch import scratch_folder
from vgm2p.io.text import grid, say

DEFAULTS: dict[str, Any] = {"workers": 2, "episodes": 4, "delay": 0.1, "rounds": 3, "out": "bench"}
STEPS = 60  # of an episode of 3m against enemies that do not fight


def games(words: Sequence[str]) -> None:
    """Print environment steps per second with one game and with several. Raises MissingInput without smacv2."""
    options = settings(words, DEFAULTS)
    if options["workers"] < 2:
        raise ConfigError(f"bench: workers={options['workers']}: several games are compared with one, give 2 or more")
    try:
        stand_in = importlib.import_module("tests.envs.fake_sc2")
    except ImportError as error:
        raise MissingInput(
            "env=fake_sc2 needs a checkout: start `bench` in its folder (tests/envs/fake_sc2.py)"
        ) from error
    with scratch_folder("bench") as folder:
        os.environ["SC2PATH"] = str(stand_in.install(Path(folder) / "sc2", enemy="idle", delay=options["delay"]))
        envs = {f"{count} at once": SMACv1("3m", workers=count) for count in (1, options["workers"])}
        found = in_turn(
            {name: by_the_clock(env, options["episodes"]) for name, env in envs.items()}, options["rounds"], 1
        )
        for env in envs.values():
            env.close()
    one, several = found
    lines = [["games", "env steps per second", "x one game"]]
    for name, result in found.items():
        speed = options["episodes"] * STEPS / result["wall_ms"] * 1e3
        lines.append([name, f"{speed:.1f}", f"{ratio(found, one, name):.2f}"])
    say(grid(lines))
    content = {"machine": machine(), "options": options, "times": found, "ratio": ratio(found, one, several)}
    write(options["out"], "rollout-fake_sc2", content)


def by_the_clock(env: SMACv1, episodes: int) -> Timer:
    """Return a timer of whole episodes by wall time: the work is done in other processes."""
    actor = RandomActor(env.spec)

    def measure(count: int) -> tuple[float, float]:
        start = time.perf_counter()
        for _ in range(count):
            rollout(actor, env, 0, [0], episodes)
        taken = 1e3 * (time.perf_counter() - start) / count
        return taken, taken

    return measure
