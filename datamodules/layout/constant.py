"""Features of the observation that never change in a dataset. Standardisation cannot scale them."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from vgm2p.datamodules.layout.rules import observed_in
from vgm2p.datamodules.layout.schema import Columns

MOST = 8  # number of ranges that a line lists


def constant_features(columns: Columns) -> list[int]:
    """Return the numbers of the stored features that are equal in every step, and for every agent that has its own."""
    name = observed_in(columns.steps)
    assert name is not None  # `rules.check_layout` has checked this
    values = columns.steps[name]
    same = np.ones(values.shape[-1], bool)
    first = values[int(np.argmax(columns.steps["has_action"]))].reshape(-1, values.shape[-1])[0]
    acting = np.flatnonzero(columns.steps["has_action"])
    for rows in np.array_split(acting, max(1, values.size >> 20)):  # little memory beside the dataset
        same &= (values[rows].reshape(-1, values.shape[-1]) == first).all(0)
    return [int(number) for number in np.flatnonzero(same)]


def constant_line(numbers: list[int]) -> str:
    """Return a line that names constant features, as in `(3, 8-10)`, or an empty text if there are none."""
    if not numbers:
        return ""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    shown = ", ".join(texts[:MOST]) + (", ..." if len(texts) > MOST else "")
    return f"{len(numbers)} features never change in these data ({shown}); standardisation gives them deviation 1"
