"""`vgm2p export`: write a trained policy as files that other programs can read, and push them to the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vgm2p.config.words import FORMATS, ExportSettings, listed
from vgm2p.errors import ConfigError, DataError, Diverged, MissingInput, StorageError
from vgm2p.execution.actions import unsound_weights
from vgm2p.execution.evaluation import acting_of, known, refuse_others
from vgm2p.execution.trained import TrainedPolicy, load
from vgm2p.export import formats
from vgm2p.export.card import CARD, card
from vgm2p.export.document import Written, describe
from vgm2p.export.graph import Graph, one_seed
from vgm2p.export.parity import largest_difference, onnx_function, torch_function
from vgm2p.export.publish import push
from vgm2p.io.files import refuse_link, sha256_file
from vgm2p.io.folders import folder_aside
from vgm2p.io.text import command, grid, say
from vgm2p.report.runs import playable
from vgm2p.run.checkpoint import read_checkpoint
from vgm2p.run.exported import DOCUMENT, WEIGHTS, is_export, read_document
from vgm2p.run.folder import write_json
from vgm2p.run.hub import SCHEME
from vgm2p.run.lock import OutputLock
from vgm2p.signals import StopFlag

MOST = 1e-4  # difference of an exported graph's actions to those of `act` that rounding explains
FUNCTIONS = {"onnx": onnx_function, "torch": torch_function}


def run(settings: ExportSettings, stop: StopFlag) -> Path:
    """Export the policy of a run folder or checkpoint file, and return the folder of the export.

    Raises ConfigError for settings that do not fit the policy.
    """
    source = Path(settings.run or "").expanduser()
    if is_export(source) or source.name == DOCUMENT or (settings.run or "").startswith(SCHEME):
        raise ConfigError(f"run={settings.run} is an export already; name the run folder that it came from")
    forms = _formats(settings)
    policy = load(source, "cpu")
    _check_acting(settings, policy)
    chosen = one_seed(policy, _seed(settings, policy))
    way = settings.act_noise
    acting = chosen.algorithm.acting if way is None else acting_of(known(way, chosen.algorithm), chosen.algorithm)
    if acting is not None:
        chosen.algorithm.act_by(acting)
    out = Path(settings.out or policy.home / "export").expanduser()
    _refuse_other(out)
    acts = [form for form in forms if form in FUNCTIONS]
    if not acts and settings.whose != ["team"]:
        raise ConfigError(f"agent={settings.agent}: the weights are those of the team; add onnx or torch to formats")
    graphs = [Graph(chosen, acting, who) for who in settings.whose] if acts else []
    out.parent.mkdir(parents=True, exist_ok=True)
    with OutputLock(out, say, wait=stop.check), folder_aside(out) as folder:
        written = [each for graph in graphs for each in _written(folder, graph, acts, chosen)]
        formats.write_weights(chosen.algorithm, folder / WEIGHTS)
        config = read_checkpoint(policy.path)["vgm2p"]["config"]
        document = describe(chosen, acting, config, written)
        files = sorted(path for path in folder.iterdir())
        document["files"] = {path.name: {"sha256": sha256_file(path), "size": path.stat().st_size} for path in files}
        write_json(folder / DOCUMENT, document)
        (folder / CARD).write_text(card(document, settings.hub))
    _tell(out, chosen, written)
    if settings.hub is not None:
        push(out, document, settings.hub, settings.private, say)
        if playable(chosen.spec.env_id, chosen.settings.env):
            say(f"evaluate it  {command('evaluate', f'hub={settings.hub}')}")
    return out


def _formats(settings: ExportSettings) -> list[str]:
    """Return the formats to write. Raises MissingInput if one was asked for whose packages are not installed."""
    asked = listed(settings.formats)
    for form in asked or FORMATS:
        lacking = formats.lacking(form)
        if lacking and asked:
            missing = f"formats: {form} needs the package {lacking[0]}, which is missing"
            raise MissingInput(f"{missing}; install it: `pip install 'vgm2p[export]'`")
        if lacking:
            say(f"{form:<12} left out: the package {lacking[0]} is missing (`pip install 'vgm2p[export]'`)")
    return [form for form in asked or FORMATS if not formats.lacking(form)]


def _seed(settings: ExportSettings, policy: TrainedPolicy) -> int:
    """Return the training seed to export. Raises ConfigError if the run does not have it, Diverged if it diverged."""
    seeds = policy.algorithm.seeds
    unsound = unsound_weights(policy.algorithm, seeds)
    usable = [seed for s, seed in enumerate(seeds) if bool(policy.algorithm.alive[s]) and s not in unsound]
    if settings.seed is not None and settings.seed not in seeds:
        raise ConfigError(f"seed={settings.seed}: the run has the seeds {', '.join(map(str, seeds))}; name one of them")
    if not usable or settings.seed not in (None, *usable):
        which = f"seed {settings.seed}" if usable else "every seed"
        instead = f"export another one: seed={usable[0]}" if usable else "train it again"
        raise Diverged(f"{policy.path}: {which} diverged, its policy is of no use; {instead}")
    return usable[0] if settings.seed is None else settings.seed


def _check_acting(settings: ExportSettings, policy: TrainedPolicy) -> None:
    """Raise ConfigError for a way to act that the algorithm does not have."""
    refuse_others(listed(settings.act_noise), policy.algorithm, policy.settings.algorithm)


def _refuse_other(out: Path) -> None:
    """Raise StorageError or DataError if `out` is there and is not an export, or holds more than the export."""
    refuse_link(out)
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not is_export(out)):
        raise StorageError(f"{out} exists and is no export; choose another folder with out=")
    if is_export(out):
        known_files = {DOCUMENT, CARD, *read_document(out / DOCUMENT)["files"]}
        more = sorted({path.name for path in out.iterdir()} - known_files)
        if more:
            raise StorageError(f"{out} holds '{more[0]}', which belongs to an earlier export; choose another out=")


def _written(folder: Path, graph: Graph, forms: Sequence[str], policy: TrainedPolicy) -> Iterator[Written]:
    """Write a graph in some formats, and compare each with `act`. Raises DataError if one acts in another way."""
    who, (program, dynamic) = "policy" if graph.agent is None else f"agent{graph.agent}", formats.traced(graph)
    for form in forms:
        path = folder / f"{who}{formats.ENDINGS[form]}"
        if form == "onnx":
            formats.write_onnx(program, graph, path)
        else:
            formats.write_torch(program, path)
        difference = largest_difference(policy, graph, FUNCTIONS[form](path))
        if not difference <= MOST:
            line = f"algo={policy.settings.algorithm} as a graph differs from act by {difference:.2g}"
            raise DataError(f"{path.name}: {line}; use formats=[safetensors]")
        yield Written(path.name, form, graph, dynamic, difference)


def _tell(out: Path, policy: TrainedPolicy, written: Sequence[Written]) -> None:
    """Print what was written, and what to do with it."""
    say(f"policy       {policy.settings.algorithm}, seed {policy.settings.seed}, {policy.update} updates")
    lines: list[list[str]] = [["file", "acts for", "inputs", "batch", "largest difference to act"]]
    for each in written:
        who = "the team" if each.graph.agent is None else f"agent {each.graph.agent}"
        names = " ".join(one.name for one in each.graph.inputs)
        lines.append([each.file, who, names, "any" if each.dynamic else "1", f"{each.difference:.1e}"])
    if written:
        say(grid(lines))
    say(f"written to   {out}")
    if playable(policy.spec.env_id, policy.settings.env):
        say(f"evaluate it  {command('evaluate', f'run={out}')}")
