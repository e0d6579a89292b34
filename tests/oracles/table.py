"""An oracle is a number with a tolerance. pytest checks the oracles, and `make oracles` prints them as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Oracle:
    name: str
    what: str
    run: Callable[[], Any]
    tolerance: str
    accept: Callable[[float], bool]

    def check(self) -> tuple[float, bool]:
        seen = self.run()
        seen = float(seen.detach() if hasattr(seen, "detach") else seen)
        return seen, bool(self.accept(seen))


def print_table(oracles: Iterable[Oracle]) -> bool:
    """Print id / seen / tolerance per oracle and return whether all hold."""
    good = True
    print(f"{'id':8} {'oracle':52} {'seen':>12}  tolerance")
    for oracle in oracles:
        seen, held = oracle.check()
        good &= held
        print(
            f"{oracle.name:8} {oracle.what:52} {seen:12.3g}  {oracle.tolerance}{'' if held else '   FAILED'}",
            flush=True,
        )
    return good
