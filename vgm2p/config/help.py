"""`vgm2p <command> --help`: every key with its comment in the yaml files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vgm2p.config.compose import config_folder, config_folders, options, register_resolvers, search_path
from vgm2p.config.settings import GROUPS

# group -> prefix of its keys, where this is not the name of the group
NODES = {"tuned": "algo", "experiment": "", "protocol": "", "recipe": ""}
OPTIONAL = ("tuned", "protocol@_global_")  # groups whose chosen file may not exist
ADDED = ("sweep", "variant", "recipe")  # groups of which no file is chosen by default
MOST_OTHERS = 25  # names that are listed beside the chosen one
HIDDEN = ("defaults:", "hydra:")  # blocks of a yaml file that are not keys of the command


def help_page(command: str, words: Sequence[str]) -> str:
    """Return the keys of a command, and of the yaml files that its words choose. Raises Hydra's errors."""
    chosen = _choices(command, words)
    parts = [f"vgm2p {command} [key=value ...]", _keys(config_folder() / f"{command}.yaml")]
    for choice in sorted(chosen, key=_place):
        group, name = choice.partition("@")[0], chosen[choice]
        node = NODES.get(group, group)
        keys = f"; keys begin with {node}." if node else ""
        parts.append(f"## {group}={name}; {_others(command, group, name)}{keys}")
        parts += map(_keys, _files(group, name) if name != "null" else [])
    if command == "fit":
        parts.append(
            "What the files of a group are: `vgm2p fit --help algo net`. "
            "Further groups: `vgm2p fit --help sweep variant recipe`.\n"
            "To see the keys of another file, name it: `vgm2p fit --help algo=vgm2p`; several runs: "
            "`vgm2p fit -m algo=vgm2p,bc_flow seed=0,1`"
        )
    return "\n\n".join(parts)


def _others(command: str, group: str, name: str) -> str:
    others = [other for other in options(group) if other != name and not _of_one_algorithm(group, other)]
    if len(others) > MOST_OTHERS:
        return f"others: {len(others)}, e.g. {', '.join(others[:3])} (`vgm2p {command} --help {group}` lists all)"
    return f"others: {', '.join(others) or 'none'}"


def group_page(group: str) -> str:
    """Return the names of the files of a group, each with the first line of its comments."""
    names = [name for name in options(group) if not _of_one_algorithm(group, name)]
    width = max(map(len, names), default=0)
    sign = "+" if group in ADDED else ""
    lines = [f"  {sign}{group}={name:<{width}}  {_first_comment(group, name)}".rstrip() for name in names]
    return "\n".join([f"## {group}", *lines])


def _first_comment(group: str, name: str) -> str:
    lines = _files(group, name)[-1].read_text().splitlines()
    comments = [line[1:].strip() for line in lines if line.startswith("#") and not line.startswith("# @")]
    return comments[0].partition(". ")[0] if comments else ""


def _choices(command: str, words: Sequence[str]) -> dict[str, str]:
    """Return group -> file name, for the given words."""
    register_resolvers()
    GlobalHydra.instance().clear()
    out = ["out=."] if command == "fit" else []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose(command, overrides=[*out, *words, *search_path()], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    chosen = {str(group): str(name or "null") for group, name in choices.items() if not str(group).startswith("hydra")}
    return {
        choice: name
        for choice, name in chosen.items()
        if choice not in OPTIONAL or name in options(choice.partition("@")[0])
    }


def _of_one_algorithm(group: str, name: str) -> bool:
    """Return whether a file is that of a protocol for one algorithm; a user does not type its name."""
    return group == "protocol" and "/" in name


def _place(choice: str) -> int:
    """Return the position of a group on the page."""
    group = choice.partition("@")[0]
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _files(group: str, name: str) -> list[Path]:
    """Return the yaml file of a choice, after the files of its group from which it inherits."""
    path = next(path for folder in config_folders() if (path := folder / group / f"{name}.yaml").is_file())
    listed = (yaml.safe_load(path.read_text()) or {}).get("defaults", [])
    bases = [each for each in listed if isinstance(each, str) and each != "_self_"]
    return [*(found for base in bases for found in _files(group, base)), path]


def _keys(path: Path) -> str:
    """Return the text of a yaml file without the `HIDDEN` blocks."""
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
