"""Makes our sweepers and launchers known to Hydra, under the names that its users know."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from vgm2p.config.sweeps.planned import Hooks, Planned
from vgm2p.config.sweeps.ray_tasks import KEYS, Ray
from vgm2p.config.sweeps.search import Search
from vgm2p.config.sweeps.search import keys as search_keys
from vgm2p.config.sweeps.slurm import Slurm
from vgm2p.config.sweeps.slurm import keys as slurm_keys

MODULE = "hydra_plugins.vgm2p"  # Hydra builds plugins only if their module has such a name


def install(hooks: Hooks) -> None:
    """Replace Hydra's basic sweeper, and those parts of its plugins that a run of hours needs in another form."""
    Plugins.instance()  # registers the nodes of installed plugins, which are replaced here
    Planned.hooks = hooks
    _register("hydra/sweeper", "basic", Planned, {"max_batch_size": None, "params": None})
    if find_spec("optuna") is not None and find_spec("hydra_plugins.hydra_optuna_sweeper") is not None:
        _register("hydra/sweeper", "optuna", Search, search_keys())
    if find_spec("ray") is not None:
        _register("hydra/launcher", "ray", Ray, KEYS)
    if find_spec("submitit") is not None and find_spec("hydra_plugins.hydra_submitit_launcher") is not None:
        _register("hydra/launcher", "submitit_slurm", Slurm, slurm_keys())


def _register(group: str, name: str, plugin: type[Plugin], keys: Mapping[str, Any]) -> None:
    """Register a plugin as a class of `MODULE`, which is no file: the program has one package, `vgm2p`."""
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    module = sys.modules.setdefault(MODULE, ModuleType(MODULE))
    package.vgm2p = module  # type: ignore[attr-defined]
    setattr(module, plugin.__name__, plugin)
    own, plugin.__module__ = plugin.__module__, MODULE
    Plugins.instance().register(plugin)
    plugin.__module__ = own  # workers import it from where it is
    node = {"_target_": f"{MODULE}.{plugin.__name__}", **keys}
    ConfigStore.instance().store(group=group, name=name, node=node, provider="vgm2p")
