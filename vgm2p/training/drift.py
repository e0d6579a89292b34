"""Signs that a policy drifts away from the data while all losses are finite: each seed is warned of once a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from vgm2p.training.module import OfflineModule

SMALLEST_CLASS = 0.02  # share of class 1 below which its policy has almost no data
MOST_CLIPPED = 0.99  # share of generated action components on the bounds
REMEDY = "lower optim.lr, and algo.omega if the algorithm has it"
LARGEST_VELOCITY = 1e3  # mean size of the average velocity; that of standardised actions is about 1


def signs(means: Mapping[str, Sequence[float]], position: int) -> list[str]:
    """Return what is suspicious in the diagnostics (name -> S numbers) of the seed at a position of the seed axis."""
    here = {name: values[position] for name, values in means.items()}
    found = []
    if here.get("c1_fraction", 1.0) < SMALLEST_CLASS:
        found.append(f"class 1 has {here['c1_fraction']:.1%} of the actions: its policy has almost no data")
    if here.get("clipped", 0.0) > MOST_CLIPPED:
        found.append(f"{here['clipped']:.1%} of the generated action components lie on the bounds")
    if here.get("u_abs", 0.0) > LARGEST_VELOCITY:
        found.append(f"the mean size of the average velocity is {here['u_abs']:.2g}: the policy diverges")
    return found


class Drift(Callback):
    """Prints a warning at the first log of a seed that has one of the `signs`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._told: set[int] = set()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *unused: Any) -> None:
        """Look at the diagnostics of the last log."""
        assert isinstance(pl_module, OfflineModule)
        for position, seed in enumerate(pl_module.algorithm.seeds):
            found = [] if seed in self._told else signs(pl_module.logged, position)
            if found:
                self._told.add(seed)
                self.say(f"warning      seed {seed}, update {pl_module.done}: {'; '.join(found)}; {REMEDY}")
