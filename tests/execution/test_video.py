"""A film: its caption, and the episode that it shows."""

import numpy as np
import pytest
import torch

from tests.corridor import Corridor
from vgm2p.execution.rollout import RandomActor
from vgm2p.execution.video import Scene, captioned, play

pytest.importorskip("PIL", reason="needs the extra video")


def test_a_caption_is_a_line_at_the_top():
    picture = np.full((60, 200, 3), 90, np.uint8)
    shown = captioned(picture, "seed 3  return 12.5")
    assert shown.shape == picture.shape and (shown[30:] == 90).all()
    assert shown[:20].max() == 255 and shown[:20].min() == 0
    assert (captioned(picture, "seed 3  return 99.5") != shown).any()


def test_the_end_of_a_long_caption_is_kept():
    picture = np.zeros((60, 200, 3), np.uint8)
    long, longer = (captioned(picture, name * "n" + "  return 12.5") for name in (60, 90))
    np.testing.assert_array_equal(long, longer)
    assert (captioned(picture, 60 * "n" + "  return 12.6") != long).any()


def test_the_policy_sees_the_episode_on_its_own_device():
    class Elsewhere:
        """Acts on another device, without numbers, as a policy on CUDA does."""

        obs_mean = torch.zeros(2, device="meta")

        def act(self, seen, memory, key, acting=None):
            assert {x.device.type for x in (seen.obs, seen.legal, seen.reward)} == {"meta"}
            with pytest.raises(RuntimeError, match="META"):  # noise is drawn there too, where this device has none
                key.normal("start", (1, 2, 3))
            return torch.ones((1, 1, 2), dtype=torch.long), memory

    assert play(Elsewhere(), Corridor(True), Scene(0, [0]), lambda step, total: None).steps == 4


def test_an_episode_is_shown_to_its_end():
    env, numbers = Corridor(False, length=1100), []
    shown = play(RandomActor(env.spec), env, Scene(0, [0]), lambda step, total: numbers.append(step))
    assert shown.steps == 1100 and numbers == list(range(1100))
