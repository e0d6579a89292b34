"""The groups `net` and `optim` of the configuration. To read them, torch is not needed: it is slow to import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vgm2p.errors import ConfigError


@dataclass(frozen=True)
class Net:
    """Size of a network.

    Attributes:
        width: number of units of a hidden layer [VGM2P Table 3: 512].
        depth: number of hidden layers [VGM2P Table 3: 4]; 0 gives a linear network.
        activation: activation of the hidden layers; `gelu` is the tanh form [code of MAC-Flow and FQL].
    """

    width: int = 512
    depth: int = field(default=4, metadata={"least": 0})
    activation: Literal["gelu", "relu"] = "gelu"


@dataclass(frozen=True)
class Optim:
    """Settings of Adam; the group `optim` of the configuration.

    Attributes:
        lr: Adam's learning rate [VGM2P Table 3: 3e-4].
        decay_updates: number of steps in which a cosine schedule takes the rate to 0, where it stays; None: constant;
            `updates`: as many as the run has, a number that `over_run` puts in before a network is built.
        clip_norm: largest gradient norm per seed; None: no clipping.
    """

    lr: float = 3e-4
    decay_updates: int | Literal["updates"] | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a rate or a norm of 0, with which nothing is learnt."""
        for name in ("lr", "clip_norm"):
            if getattr(self, name) == 0:
                raise ConfigError(f"optim.{name} must be above 0, got 0: nothing would be learnt")

    def rate_after(self, updates: int, total: int) -> float:
        """Return the decaying learning rate after `updates` of the `total` updates of a run."""
        if self.decay_updates is None:
            return self.lr
        decay = total if self.decay_updates == "updates" else self.decay_updates
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * min(updates / decay, 1.0)))

    def in_every(self, delay: int) -> Optim:
        """Return the settings of an optimiser that takes a step in every `delay`-th update: its rate falls as fast."""
        if not isinstance(self.decay_updates, int):
            return self
        return replace(self, decay_updates=max(1, self.decay_updates // delay))


def over_run(node: Any, updates: Any) -> Any:
    """Return a node of a configuration in which `decay_updates: updates` is the number of updates of the run."""
    if not isinstance(node, Mapping):
        return node
    return {
        name: updates if name == "decay_updates" and value == "updates" else over_run(value, updates)
        for name, value in node.items()
    }
