"""vgm2p: offline multi-agent reinforcement learning with VGM2P and its baselines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # at run time, `__getattr__` imports them: `import vgm2p` alone takes no time
    from vgm2p.api.calls import collect, evaluate, export_policy, fit, load, results
    from vgm2p.api.datasets import read_dataset, write_dataset
    from vgm2p.errors import UserError

HOMES = {
    **dict.fromkeys(("collect", "evaluate", "export_policy", "fit", "load", "results"), "vgm2p.api.calls"),
    **dict.fromkeys(("read_dataset", "write_dataset"), "vgm2p.api.datasets"),
    "UserError": "vgm2p.errors",
}
__all__ = [
    "UserError",
    "__version__",
    "collect",
    "evaluate",
    "export_policy",
    "fit",
    "load",
    "read_dataset",
    "results",
    "write_dataset",
]


def __getattr__(name: str) -> Any:
    """Import a function of the package when it is first used."""
    if name not in HOMES:
        raise AttributeError(f"module 'vgm2p' has no attribute '{name}'")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
