"""Makes our sweepers and launchers known to Hydra, under the names that its users know."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from vgm2p.config.sweeps.planned import Hooks, Planned

MODULE = "hydra_plugins.vgm2p"  # Hydra builds plugins only if their module has such a name


def install(hooks: Hooks) -> None:
    """Replace Hydra's basic sweeper, and those parts of its plugins that a run of hours needs in another form."""
    Plugins.instance()  # registers the nodes of installed plugins, which are replaced here
    Planned.hooks = hooks
    _register("hydra/sweeper", "basic", Planned, max_batch_size=None, params=None)


def _register(group: str, name: str, plugin: type[Plugin], **keys: Any) -> None:
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
