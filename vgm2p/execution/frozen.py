"""Seeds that are frozen because a loss was not finite: which, and since when."""

from __future__ import annotations

from dataclasses import dataclass

from vgm2p.algos.contract import Algorithm


@dataclass(frozen=True)
class Frozen:
    """A seed that froze.

    Attributes:
        seed: the training seed.
        update: the update in which it happened, from 1; None if the checkpoint does not tell.
        loss: the optimiser whose loss was not finite, for example `critic`; None if the checkpoint does not tell.
    """

    seed: int
    update: int | None
    loss: str | None

    @property
    def line(self) -> str:
        """What happened, in one line."""
        if self.update is None:
            return f"seed {self.seed} is frozen: a loss of it was not finite"
        return f"seed {self.seed} froze at update {self.update}: its {self.loss} loss is not finite"


def frozen_seeds(algorithm: Algorithm) -> list[Frozen]:
    """Return the seeds that are frozen. Waits for the device."""
    alive = algorithm.alive.tolist()
    if all(alive):
        return []
    clocks = {name: clock.tolist() for name, clock in algorithm.froze.items()}
    found = []
    for position in (position for position, lives in enumerate(alive) if not lives):
        first = next(((clock[position] + 1, name) for name, clock in clocks.items() if clock[position] >= 0), None)
        found.append(Frozen(algorithm.seeds[position], *(first or (None, None))))
    return found
