"""Records one episode as an mp4 video, with its return in the picture. This episode is not part of any result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgm2p.envs.base import VectorEnv, episode_seed
from vgm2p.errors import Diverged, ServiceError, StorageError
from vgm2p.execution.actions import policy_name, usable
from vgm2p.execution.guard import guarded
from vgm2p.io.files import room, written_aside
from vgm2p.rng import ActKey
from vgm2p.types import Actor, Seen

FONT, MARGIN = 14, 4  # size of the caption's letters and its distance to the edge, in pixels
FILM: dict[str, Any] = {"format": "FFMPEG", "fps": 20, "macro_block_size": 8, "ffmpeg_log_level": "quiet"}


@dataclass(frozen=True)
class Scene:
    """The episode to show.

    Attributes:
        update: number of updates of the policy.
        seeds: the training seeds; the first one acts.
        episode: number of the episode.
        name: who acts, for the caption.
    """

    update: int
    seeds: Sequence[int]
    episode: int = 0
    name: str = ""


@dataclass(frozen=True)
class Shown:
    """An episode that was shown: number of steps, and return."""

    steps: int
    return_: float


def record(actor: Actor, env: VectorEnv, path: Path, scene: Scene) -> Shown:
    """Write a film of an episode to `path`. Every picture says who acts, the seed, the step and the return so far.

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

                def show(step: int, total: float) -> None:
                    text = f"{scene.name}  seed {scene.seeds[0]}  step {step}  return {total:.1f}".strip()
                    film.append_data(captioned(env.render(0), text))

                played = play(actor, env, scene, show)
            frames, _ = imageio_ffmpeg.count_frames_and_secs(temporary)
        except (OSError, RuntimeError) as error:  # ffmpeg has ended, or cannot read what it has written
            if not _of_ffmpeg(error):
                raise
            raise StorageError(_incomplete(path, temporary)) from error
        if frames != played.steps or not _ends_with_a_box(temporary):
            raise StorageError(_incomplete(path, temporary))
    return played


def captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) with a line of text on a dark bar at its top."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(FONT)
    while draw.textlength(text, font) > image.width - 2 * MARGIN and len(text) > 1:
        text = text[1:]  # the number at the end is what matters
    draw.rectangle((0, 0, image.width, FONT + 2 * MARGIN), fill=(0, 0, 0))
    draw.text((MARGIN, MARGIN // 2), text, fill=(255, 255, 255), font=font)
    return np.asarray(image)


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


def save_replay(actor: Actor, env: VectorEnv, path: Path, scene: Scene) -> Shown:
    """Play an episode in a new game, and write its replay to `path`. The environment has a method `save_replay`.

    Raises ServiceError if the environment fails.
    """
    env.close()  # a replay begins where the game began
    done = play(actor, env, scene, lambda step, total: None)
    saver: Any = env
    saver.save_replay(path)
    return done


def play(actor: Actor, env: VectorEnv, scene: Scene, before: Callable[[int, float], None]) -> Shown:
    """Play an episode. An actor with `obs_mean`, as our algorithms have it, acts on the device of that tensor.

    `before` is called ahead of every step, with its number and the return so far. Raises ServiceError if the
    environment fails.
    """
    env, seeds = guarded(env), scene.seeds
    device = getattr(actor, "obs_mean", torch.empty(0)).device
    env.make(1)
    frame = env.reset([episode_seed(scene.episode)])
    key, memory = ActKey(seeds, scene.update, [scene.episode], device), None
    reward, total = np.zeros(1), 0.0
    step = 0
    while True:  # a guarded environment ends the episode at its limit
        before(step, total)
        obs = torch.from_numpy(frame.obs).expand(len(seeds), 1, -1, -1)
        legal = None if frame.legal is None else torch.from_numpy(frame.legal).expand(len(seeds), 1, -1, -1)
        with torch.inference_mode():
            seen = Seen(obs, legal, torch.from_numpy(reward).float().expand(len(seeds), 1))
            action, memory = actor.act(seen.to(device), memory, key.at(step))
        actions, bad = usable(actor, action, env.spec, len(seeds), len(seeds))
        if bad[0]:
            raise Diverged(f"policy of {policy_name(actor)}, seed {seeds[0]}: an action is not finite at step {step}")
        result = env.step(actions[:1], np.ones(1, bool))
        frame, reward = result.frame, result.reward
        total += float(result.reward[0])
        step += 1
        if result.fault[0]:
            raise ServiceError(f"environment {env.spec.env_id} failed in the episode to be shown; try again")
        if result.terminated[0] or result.truncated[0]:
            return Shown(step, total)
