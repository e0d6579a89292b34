"""vgm2p: offline multi-agent reinforcement learning with VGM2P and its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from vgm2p.execution.trained import TrainedPolicy


def load(run: str, **options: Any) -> TrainedPolicy:
    """Load the trained policy of a run folder, a checkpoint file, an exported folder, or the Hugging Face hub.

    Args:
        run: a folder or file, or `hub:<owner>/<name>[@<commit, tag or branch>]`.
        options: `device`; see `vgm2p.execution.trained.load`, which also says what is raised.
    """
    from vgm2p.execution.trained import load as load_policy

    return load_policy(run, **options)
