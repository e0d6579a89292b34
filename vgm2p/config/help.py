"""`vgm2p <command> --help`: every key with its comment, as the yaml files have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vgm2p.config.compose import config_folder, config_folders, options, register_resolvers, search_path
from vgm2p.config.settings import GROUPS

NODES = {"tuned": "algo"}  # groups whose keys belong to another one
HIDDEN = ("defaults:", "hydra:")  # blocks of a file that are no keys


def help_page(command: str, words: Sequence[str]) -> str:
    """Return the keys of a command, and of the files that its words choose. Raises what Hydra raises."""
    chosen = _choices(command, words)
    parts = [f"vgm2p {command} [key=value ...]", _keys(config_folder() / f"{command}.yaml")]
    for group in sorted(chosen, key=lambda each: GROUPS.index(each) if each in GROUPS else len(GROUPS)):
        others = ", ".join(name for name in options(group) if name != chosen[group])
        prefix = "" if group in ("experiment", "recipe") else f"; keys begin with {NODES.get(group, group)}."
        parts.append(f"## {group}={chosen[group]}; others: {others or 'none'}{prefix}")
        parts += map(_keys, _files(group, chosen[group]) if chosen[group] != "null" else [])
    parts.append(
        "Keys of another file: name it, e.g. vgm2p fit --help algo=vgm2p; several runs: fit -m algo=a,b seed=0,1"
    )
    return "\n\n".join(parts)


def _choices(command: str, words: Sequence[str]) -> dict[str, str]:
    """Return group -> file name, as the words choose them."""
    register_resolvers()
    GlobalHydra.instance().clear()
    out = ["out=."] if command == "fit" else []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose(command, overrides=[*out, *words, *search_path()], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    chosen = {str(group): str(name or "null") for group, name in choices.items() if not str(group).startswith("hydra")}
    return {group: name for group, name in chosen.items() if group != "tuned" or name in options(group)}


def _files(group: str, name: str) -> list[Path]:
    """Return the yaml file of a choice after those of its group that it is made of."""
    path = next(path for folder in config_folders() if (path := folder / group / f"{name}.yaml").is_file())
    listed = (yaml.safe_load(path.read_text()) or {}).get("defaults", [])
    bases = [each for each in listed if isinstance(each, str) and each != "_self_"]
    return [*(found for base in bases for found in _files(group, base)), path]


def _keys(path: Path) -> str:
    """Return the text of a yaml file without the blocks that are no keys."""
    kept: list[str] = []
    hidden = False
    for line in path.read_text().splitlines():
        if line.startswith(HIDDEN):
            hidden = True
        elif line and not line.startswith((" ", "-")):
            hidden = False
        if not hidden:
            kept.append(line)
    return "\n".join(kept).strip()
