"""`vgm2p data list|fetch|convert|show|check`: datasets by id, glob, configuration name, file or vault folder."""

from __future__ import annotations

import glob
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vgm2p.config.build import make_data
from vgm2p.config.compose import composed, options
from vgm2p.config.quoting import quoted
from vgm2p.config.words import DataSettings
from vgm2p.datamodules.formats.convert import TEAM, ForeignFile, format_of
from vgm2p.datamodules.formats.minari import minari_file
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.describe import describe, picture
from vgm2p.datamodules.layout.episodes import figures
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.catalogue import Entry, catalogue, select
from vgm2p.datamodules.sources.finder import data_files
from vgm2p.datamodules.sources.published import Published, VaultFolder
from vgm2p.datamodules.sources.recorded import Bundled, RecordingFile
from vgm2p.datamodules.sources.recording import is_recording
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.vault import no_vault, vaults_below
from vgm2p.errors import ConfigError, DataError, MissingInput, UserError, nearest
from vgm2p.io.files import refuse_existing, require_file
from vgm2p.io.text import command, grid, markdown, say
from vgm2p.run.lock import OutputLock
from vgm2p.signals import StopFlag

Say = Callable[[str], None]
Origin = Published | VaultFolder | RecordingFile | ForeignFile


def data_command(settings: DataSettings, stop: StopFlag, say: Say) -> None:
    """Run one action. Raises UserError. An action on several files or datasets first processes all of them."""
    action = settings.action
    if action == "list":
        say(listing(select(settings.files or ["*"], settings.catalogue), settings))
    elif action == "convert" and settings.out is not None:
        _convert_to(Path(settings.out), _origins(settings, say), stop, say)
    elif action in ("fetch", "convert"):
        _each(action, _origins(settings, say), say)
    else:
        paths = [path for name in settings.files for path in locate(name, settings)] or Bundled().resolve()
        _show(paths, settings, say) if action == "show" else _check(paths, settings, say)


def listing(entries: list[Entry], settings: DataSettings) -> str:
    """Return the table of `data list`."""
    lines = [["id", "agents", "steps", "episodes", "return", "raw GB", "table", "here"]]
    for entry in entries:
        returned = "?" if entry.return_mean is None else f"{entry.return_mean:.1f} +- {entry.return_std:.1f}"
        raw = entry.uncompressed_bytes_estimate
        size = "?" if raw is None else f"{raw / 1e9:.2f}"
        lines.append(
            [
                markdown(entry.id),
                str(entry.n_agents),
                str(entry.transitions or "?"),
                str(entry.episodes or "?"),
                returned,
                size,
                str(entry.paper_table or ""),
                _published(entry, settings, say).state,
            ]
        )
    return f"{grid(lines)}\n{len(entries)} of {len(catalogue(settings.catalogue))} datasets"


def locate(name: str, settings: DataSettings) -> list[Path]:
    """Return the HDF5 files of a name: a path, glob, vault folder, id, or file of `conf/data/`.

    Raises MissingInput if there is none; the message names the command that makes it.
    """
    literal = Path(name).exists() or Path(name).is_symlink()  # its name may contain brackets, which are no glob then
    if found := [Path(name)] if literal else sorted(Path(match) for match in glob.glob(name, recursive=True)):
        return [path for each in found for path in _files_of(each, settings)]
    if name in options("data"):
        return _configured(name, settings)
    try:
        entries = select([name], settings.catalogue)
    except ConfigError as error:
        close = nearest(name, options("data"))
        raise MissingInput(f"{name}: no file, dataset or id of this name{close if 'mean' in close else ''}") from error
    files = [_published(entry, settings, say).target for entry in entries]
    ready = [path for path in files if path.is_file()]
    if not ready:
        raise MissingInput(f"{entries[0].id} is not converted yet; convert it:", command("data", "convert", name))
    return ready


def _files_of(path: Path, settings: DataSettings) -> list[Path]:
    """Return a file, the converted files of a vault folder, or the HDF5 files below another folder."""
    if not path.is_dir():
        return [path]
    if vaults := vaults_below(path):
        ready = [file for folder in vaults for file in VaultFolder(str(folder), settings.cache).conversions]
        if not ready:
            raise MissingInput(
                f"{path}: this vault is not converted yet; convert it:", command("data", "convert", path)
            )
        return ready
    files = data_files(path)
    if not files:
        raise MissingInput(f"{path}: no vault and no HDF5 file below this folder; give another folder")
    return files


def _configured(name: str, settings: DataSettings) -> list[Path]:
    places = [f"data.root={quoted(settings.root)}", f"data.cache={quoted(settings.cache)}"]
    found: list[Path] = make_data(composed("fit", [f"data={name}", *places])["data"]).source.resolve()
    return found


def _origins(settings: DataSettings, say: Say) -> list[Origin]:
    """Return the datasets that `fetch` and `convert` process. Raises ConfigError or MissingInput for a wrong name."""
    if not settings.files:
        raise ConfigError(f"data {settings.action} needs ids, globs or vault folders; see `vgm2p data list`")
    Declared(**{key: value for key, value in settings.declared.items() if key not in TEAM})  # refuses wrong values
    found: list[Origin] = []
    for name in settings.files:
        file = minari_file(Path(name)) if Path(name).is_dir() else Path(name)
        if file is not None and file.exists():
            found += [_file(file, settings, say)]
            continue
        vaults = vaults_below(Path(name)) if Path(name).is_dir() else []
        if vaults and settings.revision is not None:
            raise ConfigError(f"revision= is for published datasets; {name} is your own vault: remove revision=")
        published = [] if vaults else _selected(name, settings)
        if settings.declared and not vaults:
            key = next(iter(settings.declared))
            raise ConfigError(f"{key}= is for your own data; the catalogue describes {name}: remove {key}=")
        if team := [key for key in TEAM if key in settings.declared]:
            raise ConfigError(f"{team[0]}= is for files of one agent; the vault {name} has a team: remove {team[0]}=")
        found += [VaultFolder(str(folder), settings.cache, say, **settings.declared) for folder in vaults]
        found += [_published(entry, settings, say) for entry in published]
    return found


def _selected(name: str, settings: DataSettings) -> list[Entry]:
    """Return the entries of an id or glob. Raises ConfigError; MissingInput if it is a folder without a vault."""
    try:
        return select([name], settings.catalogue)
    except ConfigError:
        if Path(name).is_dir():
            raise no_vault(Path(name)) from None
        raise


def _file(path: Path, settings: DataSettings, say: Say) -> RecordingFile | ForeignFile:
    """Return the origin for a file: a recording, or a file of another program. Raises UserError, also for a zip."""
    require_file(path, "no such file")
    if zipfile.is_zipfile(path):
        place = f"{settings.root}/raw/<source>/<env>/<scenario>.zip"
        raise MissingInput(
            f"{path}: a zip; unpack it and give the folder of one uid, or move a published zip to {place} and give "
            "its id"
        )
    if settings.action == "convert" and (kind := format_of(path)):
        return ForeignFile(path, kind, Path(settings.cache), say, settings.declared)
    if not is_recording(path):
        read(path)  # raises an error that names the layout of another program
        raise ConfigError(f"{path}: in our layout already; give it to `fit` with data=files data.source.paths=[<file>]")
    if settings.declared:
        key = next(iter(settings.declared))
        raise ConfigError(f"{path}: a robot recording says all that {key}= could; remove {key}=")
    return RecordingFile(path, Path(settings.cache), say)


def _published(entry: Entry, settings: DataSettings, say: Say) -> Published:
    return Published(entry.id, settings.root, settings.cache, settings.revision, settings.catalogue, say)


def _convert_to(target: Path, origins: list[Origin], stop: StopFlag, say: Say) -> None:
    """Convert one dataset into a new file. Raises UserError."""
    if len(origins) != 1:
        raise ConfigError(f"out= names one file, but there are {len(origins)} datasets; name one dataset")
    if target.suffix != ".h5":
        raise ConfigError(f"data convert needs out=<file>.h5, got {str(target)!r}")
    refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with OutputLock(target, say, wait=stop.check):
        refuse_existing(target)  # another process may have just finished it
        say(f"ready        {origins[0].convert_to(target)}")


def _each(action: str, origins: list[Origin], say: Say) -> None:
    """Fetch or convert one dataset after another. A failure is printed; after all datasets, the last one is raised."""
    failed: UserError | None = None
    for origin in origins:
        try:
            path = origin.fetch() if action == "fetch" and isinstance(origin, Published) else origin.renew()
            say(f"ready        {path}")
        except UserError as error:
            if len(origins) == 1:
                raise
            say(f"FAIL         {error.line}")
            failed = error
    if failed is not None:
        raise failed


def _show(paths: list[Path], settings: DataSettings, say: Say) -> None:
    taken: set[str] = set()
    for path in paths:
        say(describe(path))
        if settings.out:
            name = next(name for name in _names(path.stem) if name not in taken)
            taken.add(name)
            target = Path(settings.out) / f"{name}.png"
            picture(path, target)
            say(f"picture      {target}")


def _names(stem: str) -> Iterator[str]:
    """Yield names for the picture of a file: its own, then with numbers, because other files may have the same one."""
    yield stem
    yield from (f"{stem}-{number}" for number in itertools.count(2))


def _check(paths: list[Path], settings: DataSettings, say: Say) -> None:
    bad = 0
    for path in paths:
        lines = check(path)
        for what, good, detail in [*lines, *(_card(path, settings) if lines[0][1] else ())]:
            say(f"{'ok  ' if good else 'FAIL'}  {what:12}  {detail}")
            bad += not good
    if bad:
        raise DataError(f"{bad} of the checks above failed; each of their lines says what to do")


def _card(path: Path, settings: DataSettings) -> list[tuple[str, bool, str]]:
    """Compare a converted dataset with its entry in the catalogue."""
    columns = read(path)
    name = str(columns.attributes["name"])
    entry = catalogue(settings.catalogue).get(name)
    if entry is None:
        return []
    lines = entry.differences(figures(columns.episodes))
    return [("catalogue", False, line) for line in lines] or [("catalogue", True, f"agrees with the card of {name}")]


def run(settings: DataSettings, stop: StopFlag) -> None:
    """Run the action of the settings."""
    data_command(settings, stop, say)
