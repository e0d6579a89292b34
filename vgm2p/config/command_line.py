"""Translates the words that a user types into Hydra's words, so that file names need no extra quotes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from vgm2p.config.compose import config_folders, search_path
from vgm2p.config.own_data import with_own_files
from vgm2p.config.quoting import CALL, literal, quoted
from vgm2p.config.settings import GROUPS
from vgm2p.config.stored import stored_words
from vgm2p.config.typed import at_home, exists, typed
from vgm2p.config.words import SETTINGS
from vgm2p.errors import ConfigError, DataError, nearest
from vgm2p.io.text import command as command_of
from vgm2p.run.folder import RunFolder

POSITIONAL = {
    "data": "files",
    "report": "runs",
    "estimate": "runs",
}  # command -> key that collects arguments without `key=`
WITH_DATA = ("fit", "estimate")  # commands with the group `data`
NEEDS_VALUE, INFO = ("--cfg", "-c", "--package", "-p"), ("--info", "-i")
WITH_VALUE = (*NEEDS_VALUE, *INFO)  # options of Hydra with a value in the next word
MULTIRUN = ("-m", "--multirun")  # options that start several runs
OF_SWEEPS = (
    "+sweep=",
    "hydra.mode=",
    "hydra/launcher=",
    "hydra/sweeper=",
    "hydra.launcher.",
    "hydra.sweeper.",
    "hydra.sweep.",
)
OPTIONS = (*MULTIRUN, "--resolve", "--run", "-r", "--hydra-help", "--version")  # options without a value


def hydra_words(command: str, line: list[str]) -> list[str]:
    """Return the words for Hydra. Raises UserError for a word that is wrong or not allowed."""
    several = any(word in MULTIRUN for word in line)
    given = _with_positional(command, line)
    if command in WITH_DATA:
        given = with_own_files(given, several)
    words = [typed(_grouped(word), several) for word in given]
    options: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if before not in WITH_VALUE:
            _check(command, word)
        (options if before in WITH_VALUE or word in (*WITH_VALUE, *OPTIONS) else rest).append(word)
    if words and words[-1] in NEEDS_VALUE:
        raise ConfigError(f"{words[-1]} needs a value, the next word; see `vgm2p {command} --help`")
    if words and words[-1] in INFO:
        options.append("all")  # its usual value; without one, Hydra would take the next word
    if "--resolve" in options and not any(word in ("--cfg", "-c") for word in options):
        raise ConfigError("--resolve is for a configuration that is shown; add --cfg job")
    if any(word in WITH_VALUE for word in options):  # they show one configuration
        options = [word for word in options if word not in MULTIRUN]
    elif not several:
        _refuse_sweep(command, rest)
    # Hydra's parser does not take words on both sides of an option
    return [*options, *(_with_resumed(rest) if command == "fit" else rest), *search_path()]


def _refuse_sweep(command: str, words: list[str]) -> None:
    """Raise ConfigError for words that say how several runs are started, where one run is started."""
    for word in words:
        if word.startswith(OF_SWEEPS):
            raise ConfigError(f"{word} is for several runs, which -m starts:", command_of(command, "-m", *words))


def _check(command: str, word: str) -> None:
    """Raise ConfigError for a word that is neither `key=value` nor an option, or that calls a resolver."""
    if word.startswith("-") and word not in (*WITH_VALUE, *OPTIONS):
        raise ConfigError(f"unknown option '{word}'; see `vgm2p {command} --help`")
    key, equals, value = word.partition("=")
    _check_group(command, word, key.lstrip("+~"), value)
    if not word.startswith(("-", "~")) and not (equals and key.lstrip("+")):
        known = [each.name for each in dataclasses.fields(SETTINGS[command]) if not each.metadata.get("composed")]
        raise ConfigError(f"'{word}' is not key=value{_meant(word, known, command) if not equals else ''}")
    if CALL.search(word) and not word.startswith("hydra."):
        raise ConfigError(f"'{word}' would store environment variables in files; let the shell insert the value")


def _check_group(command: str, word: str, key: str, value: str) -> None:
    """Raise ConfigError unless a word that chooses a file of conf/, or of Hydra's own, names one."""
    if key == "hydra":
        raise ConfigError(f"'{word}' is no key: the keys of Hydra have a dot; remove it")
    if key not in GROUPS and not key.startswith("hydra/"):
        return
    if word.startswith("~") and key not in ("logger", "callbacks"):
        raise ConfigError(f"'{word}': {key} cannot be removed; {key}=<name> chooses another one")
    if value in ("null", "''", '""') or value.startswith("["):
        several = f"several runs: `vgm2p {command} -m {key}=<name>,<name>`"
        raise ConfigError(f"{key} takes one name, got {value}; {several if value.startswith('[') else 'remove it'}")


def _meant(word: str, known: Sequence[str], command: str) -> str:
    """Return the hint about a word without `=`: the key that it is or nearly is, else the command that shows all."""
    if word in known:
        return f"; write {word}=<value>"
    hint = nearest(word, known)
    return hint if "mean" in hint else f"; `vgm2p {command} --help` shows the keys"


def _grouped(word: str) -> str:
    """Return a word in Hydra's spelling: `env=smax_3m` is `env=smax/3m`, `sweep=x` is `+sweep=x`."""
    if word.startswith("sweep="):
        return f"+{word}"
    folder, underscore, name = word.removeprefix("env=").partition("_")
    known = word.startswith("env=") and any((at / "env" / folder / f"{name}.yaml").is_file() for at in config_folders())
    return f"env={folder}/{name}" if underscore and known else word


def _with_positional(command: str, words: list[str]) -> list[str]:
    """Turn `data show a b` into `action=show files=[a,b]`, and `report a b` into `runs=[a,b]`."""
    if command not in POSITIONAL:
        return words
    bare: list[str] = []
    rest: list[str] = []
    keys = {each.name for each in dataclasses.fields(SETTINGS[command])}
    for before, word in zip(["", *words], words, strict=False):
        named = "=" in word and (word.partition("=")[0] in keys or not exists(word))
        option = word in (*WITH_VALUE, *OPTIONS) or before in WITH_VALUE
        flag = option or (word.startswith("-") and not exists(word))
        (rest if named or flag else bare).append(word)
    if command == "data" and bare:
        rest.append(f"action={bare.pop(0)}")
    if bare:
        rest.append(f"{POSITIONAL[command]}=[{','.join(quoted(at_home(word)) for word in bare)}]")
    return rest


def _with_resumed(words: list[str]) -> list[str]:
    """For `resume=<run folder>`, put the words of that run first, and use its folder as `out`.

    Raises DataError if the run has words that the user must type again; its message contains the command.
    """
    named = [word for word in words if word.startswith("resume=") and word not in ("resume=auto", "resume=no")]
    if not named:
        return words
    value = OverridesParser.create().parse_override(named[-1]).value()
    if not isinstance(value, str) or not value:
        raise ConfigError(f"'{named[-1]}': resume takes auto, no or a run folder")
    folder = RunFolder(Path(literal(value)))
    for word in (word for word in words if word.startswith("out=")):
        place = Path(literal(str(OverridesParser.create().parse_override(word).value())))
        if place.resolve() != folder.path.resolve():
            raise ConfigError(f"resume={folder.path} continues in this folder; remove out={place}")
    config = folder.read_manifest().get("config")
    values, more = stored_words(config.get("overrides") if isinstance(config, dict) else None, folder.manifest)
    untyped = [word for word in more if word not in words]
    if untyped:
        raise DataError(
            f"{folder.manifest}: '{untyped[0]}' does more than set a value; if you trust it, type it again:",
            command_of("fit", *words, *untyped),
        )
    return [*values, *(word for word in words if word not in named), f"out={quoted(str(folder.path))}"]
