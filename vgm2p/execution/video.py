"""Records one episode as an mp4 video. This episode is not part of any result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgm2p.envs.base import VectorEnv, episode_seed
from vgm2p.errors import Diverged, ServiceError, StorageError
from vgm2p.execution.actions import policy_name, usable
from vgm2p.execution.guard import guarded
from vgm2p.io.files import room, written_aside
from vgm2p.rng import ActKey
from vgm2p.types import Actor, Seen

FILM: dict[str, Any] = {"format": "FFMPEG", "fps": 20, "macro_block_size": 8, "ffmpeg_log_level": "quiet"}


def record(
    actor: Actor, env: VectorEnv, path: Path, update: int, seeds: list[int], episode: int = 0, steps: int = 1000
) -> int:
    """Write an episode of the first seed's policy to `path`, and return its number of steps (at most `steps`).

    Raises:
        ServiceError: if the machine cannot draw or has no ffmpeg, or if the environment fails.
        StorageError: if the film is not written completely.
    """
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg
    except ImportError as error:
        raise ServiceError("video needs imageio-ffmpeg; run `pip install imageio imageio-ffmpeg`") from error
    with written_aside(path, path.suffix) as temporary:
        try:
            with imageio.get_writer(temporary, **FILM) as writer:
                film: Any = writer
                played = play(actor, env, update, seeds, episode, steps, lambda: film.append_data(env.render(0)))
            frames, _ = imageio_ffmpeg.count_frames_and_secs(temporary)
        except (OSError, RuntimeError) as error:  # ffmpeg has ended, or cannot read what it has written
            if not _of_ffmpeg(error):
                raise
            raise StorageError(_incomplete(path, temporary)) from error
        if frames != played or not _ends_with_a_box(temporary):
            raise StorageError(_incomplete(path, temporary))
    return played


def _of_ffmpeg(error: Exception) -> bool:
    """Return whether imageio or imageio_ffmpeg has raised `error`, not the environment."""
    return "ffmpeg" in str(error).lower() or "number of frames" in str(error)


def _ends_with_a_box(path: Path) -> bool:
    """Return whether an mp4 file is not cut off: it is a sequence of boxes, each begins with its length (4 bytes)."""
    size, place = path.stat().st_size, 0
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            length = int.from_bytes(file.read(4), "big")
            if length < 8:
                return False
            place += length
    return place == size


def _incomplete(path: Path, temporary: Path) -> str:
    """Return the line about a film that could not be written completely. Most often, the disk is full."""
    written = temporary.stat().st_size
    return f"{path}: ffmpeg could not write the film ({room(path)}, more than {written} bytes needed); free space"


def save_replay(
    actor: Actor, env: VectorEnv, path: Path, update: int, seeds: list[int], episode: int = 0, steps: int = 1000
) -> int:
    """Play an episode of the first seed's policy in a new game, write its replay to `path`, return its number of steps.

    Raises ServiceError if the environment fails. The environment has a method `save_replay`.
    """
    env.close()  # a replay begins where the game began
    done = play(actor, env, update, seeds, episode, steps, lambda: None)
    saver: Any = env
    saver.save_replay(path)
    return done


def play(
    actor: Actor,
    env: VectorEnv,
    update: int,
    seeds: list[int],
    episode: int,
    steps: int,
    before: Callable[[], None],
) -> int:
    """Play an episode of the first seed's policy, and return its number of steps (at most `steps`).

    `before` is called ahead of every step. Raises ServiceError if the environment fails.
    """
    env = guarded(env)
    env.make(1)
    frame = env.reset([episode_seed(episode)])
    key, memory = ActKey(seeds, update, [episode]), None
    reward = np.zeros(1)
    for step in range(steps):
        before()
        obs = torch.from_numpy(frame.obs).expand(len(seeds), 1, -1, -1)
        legal = None if frame.legal is None else torch.from_numpy(frame.legal).expand(len(seeds), 1, -1, -1)
        with torch.inference_mode():
            seen = Seen(obs, legal, torch.from_numpy(reward).float().expand(len(seeds), 1))
            action, memory = actor.act(seen, memory, key.at(step))
        actions, bad = usable(actor, action, env.spec, len(seeds), len(seeds))
        if bad[0]:
            raise Diverged(f"policy of {policy_name(actor)}, seed {seeds[0]}: an action is not finite at step {step}")
        result = env.step(actions[:1], np.ones(1, bool))
        frame, reward = result.frame, result.reward
        if result.fault[0]:
            raise ServiceError(f"environment {env.spec.env_id} failed in the episode to be shown; try again")
        if result.terminated[0] or result.truncated[0]:
            return step + 1
    return steps
