"""Turns Hydra's configuration into plain containers, and finds the folders of yaml files."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

import vgm2p
from vgm2p.config.settings import PAPER, training_part
from vgm2p.config.typed import paths_at_home
from vgm2p.errors import ConfigError, nearest
from vgm2p.run.fingerprint import leaves, run_name

LONGEST_NAME = 60  # characters of a folder that is named after data
SWEEP = "+sweep="
PACKAGE = Path(vgm2p.__file__).resolve().parent


def config_folder() -> Path:
    """Return our folder `conf/`, in a checkout or in an installed package."""
    return (PACKAGE / "conf").resolve()


def config_folders() -> list[Path]:
    """Return our `conf/` and, if the working folder has one, the user's own."""
    own = Path.cwd() / "conf"
    return [config_folder(), own] if own.is_dir() and own.resolve() != config_folder() else [config_folder()]


def groups() -> list[str]:
    """Return the names of the configuration groups."""
    return sorted({path.name for folder in config_folders() for path in folder.iterdir() if path.is_dir()})


def options(group: str) -> list[str]:
    """Return the names of the yaml files in a group, including the user's own."""
    folders = [folder / group for folder in config_folders()]
    found = {path.relative_to(folder).with_suffix("") for folder in folders for path in folder.rglob("*.yaml")}
    return sorted(str(path) for path in found)


def search_path() -> list[str]:
    """Return the word that adds the user's `./conf`. Our files come first, so the user's cannot replace them.

    The path is relative, because Hydra's grammar does not allow all characters that a folder name may have.
    """
    return ["hydra.searchpath=[file://conf]"] if len(config_folders()) > 1 else []


def composed(command: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """Return the configuration of a command as plain containers, without starting a run.

    Raises Hydra's errors for words that Hydra refuses.
    """
    out = ["out=."] if command == "fit" else []
    with _hydra():
        config = compose(command, overrides=[*out, *words, *search_path()])
        return paths_at_home(OmegaConf.to_container(config, resolve=True))  # type: ignore[no-any-return]


def resolved(command: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a run that starts without Hydra's `main`, as `resolve` does. Raises as `composed`.

    Args:
        command: the command.
        words: its words, as `hydra_words` returns them.
    """
    with _hydra():
        whole = compose(command, overrides=list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        config = copy.deepcopy(whole)
        with read_write(config), open_dict(config):
            del config["hydra"]
        return resolve(config)


@contextmanager
def _hydra() -> Iterator[None]:
    """Initialise Hydra for our `conf/`. Afterwards its global state is what it was: the caller may use Hydra, too."""
    register_resolvers()
    config, version = HydraConfig.instance(), VersionBase.instance()
    before = GlobalHydra.instance().hydra, config.cfg, version.version_base
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            yield
    finally:
        GlobalHydra.instance().hydra, config.cfg, version.version_base = before


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration of a run as plain containers. For `fit`, it has the names of the chosen groups, too."""
    config: dict[str, Any] = paths_at_home(OmegaConf.to_container(cfg, resolve=True))
    hydra_config = HydraConfig.get()
    if hydra_config.job.config_name != "fit":
        return config
    choices = hydra_config.runtime.choices
    trainer = config["trainer"]
    if isinstance(trainer, dict) and trainer.get("threads") == "auto" and "joblib" in hydra_config.launcher["_target_"]:
        trainer["threads"] = 1  # the parallel jobs share the cores
    words = typed_words(hydra_config)
    if hydra_config.mode == RunMode.MULTIRUN and not any(word.lstrip("+").startswith("compare=") for word in words):
        config["compare"] = []  # the cells of a sweep are compared with each other
    protocol = protocol_of(choices, words, config.get("protocol"))
    named = config["label"] or choices["algo"]
    return {
        **config,
        "experiment": experiment_of(choices, words, config["data"]),
        "algorithm": named if protocol == PAPER else f"{named} ({protocol})",
        "algo_name": choices["algo"],
        "environment": choices["env"],
        "protocol": protocol,
        "tuned": tuned_file(choices, config.get("tuned")),
        "overrides": words,
    }


def typed_words(hydra_config: Any) -> list[str]:
    """Return the words of a run as Hydra read them. (Access to an element would unescape the `\\${` in it.)

    A sweep's file that says only how cells are started is no word of the cell: its command works alone.
    """
    words: list[str] = OmegaConf.to_container(hydra_config.overrides.task)  # type: ignore[assignment]
    return [word for word in words if not (word.startswith(SWEEP) and starts_only(word.removeprefix(SWEEP)))]


def starts_only(name: str) -> bool:
    """Return whether a file of `conf/sweep` says only how the cells of a sweep are started."""
    paths = [folder / "sweep" / f"{name}.yaml" for folder in config_folders()]
    found = next((path for path in paths if path.is_file()), None)
    return found is not None and {*(yaml.safe_load(found.read_text()) or {})} <= {"hydra", "defaults"}


def experiment_of(choices: Mapping[str, Any], words: Sequence[str], data: Any) -> str:
    """Return the name of a run's experiment in folders and tables: that of the file, or of the user's own data.

    Args:
        choices: group -> name of the chosen file.
        words: the words that the user typed.
        data: the node `data`. Its source names the run if the user chose data, and no experiment.
    """
    chosen = str(choices["experiment"])
    typed = {word.lstrip("+~").partition("=")[0] for word in words}
    own = any(key in ("data", "data.name") or key.startswith("data.source") for key in typed)
    if "experiment" in typed or not own or not isinstance(data, Mapping):
        return chosen
    source = data.get("source")
    places = [source.get(key) for key in ("paths", "path")] if isinstance(source, Mapping) else []
    given = next((place for place in places if place), None)
    paths = given if isinstance(given, list) else [given] if given else []
    usual = not paths or data.get("name") != choices["data"]  # with data.name=, it is the user's
    name = str(data.get("name")) if usual else "+".join(Path(str(path)).stem for path in paths)
    name = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:LONGEST_NAME] or "own"
    return f"{name}_{chosen}" if name in options("experiment") else name


def protocol_of(choices: Mapping[str, Any], words: Sequence[str] = (), misplaced: Any = None) -> str:
    """Return the name of a run's protocol.

    Args:
        choices: group -> name of the chosen file.
        words: the words that the user typed.
        misplaced: keys in the file `conf/protocol/<name>.yaml`; the settings must lie in `<name>/<algo>.yaml`.

    Raises:
        ConfigError: if the protocol has no file for the algorithm. Also if the user typed a file that sets the same
            keys as the protocol: the protocol would overwrite them without notice.
    """
    name, algo = str(choices["protocol"]), choices["algo"]
    if misplaced:
        raise ConfigError(f"conf/protocol/{name}.yaml may not set keys; move them to conf/protocol/{name}/<algo>.yaml")
    if name == PAPER:
        return name
    known = [file.removeprefix(f"{name}/") for file in options("protocol") if file.startswith(f"{name}/")]
    if algo not in known:
        raise ConfigError(f"protocol={name} has no settings for algo={algo}, only for {', '.join(known) or 'none'}")
    own = file_keys("protocol", f"{name}/{algo}")
    for group, node in (("net", "net"), ("optim", "optim"), ("tuned", "algo")):
        if any(word.startswith(f"{group}=") for word in words) and choices[group] in options(group):
            lost = [key for key in (f"{node}.{key}" for key in file_keys(group, choices[group])) if key in own]
            if lost:
                raise ConfigError(
                    f"{group}={choices[group]} and protocol={name} both set {', '.join(lost)}; "
                    f"set keys instead of the file, e.g. {lost[0]}=<value>"
                )
    return name


def tuned_file(choices: Mapping[str, Any], misplaced: Any = None) -> str | None:
    """Return the file of `conf/tuned` that a run uses, or None.

    Args:
        choices: group -> name of the chosen file.
        misplaced: keys that the file set outside of `algo`.

    Raises:
        ConfigError: if the user named a file that does not exist. (Hydra ignores it, because most datasets have no
            file.) Also if the file sets keys outside of `algo`.
    """
    name, usual = choices["tuned"], f"{choices['algo']}/{choices['data']}"
    if misplaced is not None:
        raise ConfigError(
            f"conf/tuned/{name}.yaml must begin with the line '# @package algo', so that it sets keys of algo"
        )
    if name in options("tuned"):
        return None if name == "none" else str(name)
    if name != usual:
        raise ConfigError(f"unknown tuned '{name}'{nearest(str(name), options('tuned'), 'vgm2p fit --help tuned')}")
    return None


def file_keys(group: str, name: str) -> list[str]:
    """Return the dotted keys that a yaml file of a group sets, including those of the files in its defaults."""
    paths = (folder / group / f"{name}.yaml" for folder in config_folders())
    node = yaml.safe_load(next(path for path in paths if path.is_file()).read_text()) or {}
    bases = [base for base in node.pop("defaults", []) if base != "_self_"]
    inherited = [key for base in bases for key in file_keys(group, base)]
    return list(dict.fromkeys([*inherited, *(key for key, _ in leaves(node))]))


def run_folder(*, _root_: DictConfig) -> str:
    """Resolver of `out`: returns runs/<experiment>/<label or algo>/<run name>."""
    hydra_config = HydraConfig.get()
    choices = hydra_config.runtime.choices
    keys = [str(key) for key in _root_ if key not in ("out", "hydra", "logger", "callbacks")]  # these may name `out`
    config: dict[str, Any] = OmegaConf.to_container(OmegaConf.masked_copy(_root_, keys), resolve=True)  # type: ignore[assignment]
    named = _root_.get("label") or choices["algo"]
    experiment = experiment_of(choices, typed_words(hydra_config), config["data"])
    return f"runs/{experiment}/{named}/{run_name(training_part(config))}"


def register_resolvers() -> None:
    """Register the resolver `${run_folder:}` in OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
