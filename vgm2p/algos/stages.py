"""Settings of a judge, and the stages in which it and the policy learn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vgm2p.errors import ConfigError
from vgm2p.groups import Optim


@dataclass(frozen=True)
class JudgeSettings:
    """Settings of the judge.

    Attributes:
        depth: number of hidden layers of V and A; None: as many as the policy has.
        layer_norm: whether a LayerNorm follows every hidden layer.
        lr: learning rate of V and A; None: that of the policy.
        value_updates: number of updates at the start in which V alone learns; 0: V learns in every update.
        effect_updates: number of updates after these in which A alone learns; 0: A learns in every update after these.
    """

    depth: int | None = None
    layer_norm: bool = True
    lr: float | None = None
    value_updates: int = field(default=0, metadata={"least": 0})
    effect_updates: int = field(default=0, metadata={"least": 0})

    @property
    def updates(self) -> int:
        """Number of updates before the policy learns."""
        return self.value_updates + self.effect_updates


def stage(optim: Optim, start: int, updates: int = 0) -> Optim:
    """Return the settings of a network that learns from update `start` on: in `updates` updates, or, if 0, to the last.

    A learning rate that decays reaches 0 at the end. Raises ConfigError if it would have decayed before the start.
    """
    if not isinstance(optim.decay_updates, int):
        return optim
    if optim.decay_updates <= start + updates:
        raise ConfigError(
            f"algo.judge: stages of {start + updates} updates leave none for the policy: it learns nothing in "
            f"them, and its rate is 0 after {optim.decay_updates}; make value_updates and effect_updates smaller"
        )
    return replace(optim, decay_updates=updates or optim.decay_updates - start)
