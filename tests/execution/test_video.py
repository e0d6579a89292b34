"""The caption of a film."""

import numpy as np
import pytest

from vgm2p.execution.video import captioned

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
