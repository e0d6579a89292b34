"""What export.json says about a policy: settings, task, inputs of the graphs, results and data of its run, versions."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import vgm2p
from vgm2p.config.settings import PLACES
from vgm2p.errors import MissingInput
from vgm2p.execution.evaluation import own_way
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.export.formats import OUTPUT
from vgm2p.export.graph import Graph
from vgm2p.io.files import sha256_file
from vgm2p.run.exported import FORMAT, KIND
from vgm2p.run.folder import RunFolder
from vgm2p.types import Acting

PACKAGES = ("torch", "numpy", "safetensors", "onnx", "onnxscript", "onnxruntime")
CONFIG = (  # keys of a run's configuration that describe the policy, and none of its machine
    *("experiment", "algorithm", "environment", "protocol", "tuned", "updates"),
    *("seed", "seeds", "algo", "net", "optim", "data", "env"),
)
RESULTS = (  # entries of results.json
    *("experiment", "algorithm", "environment", "decentralised", "seeds", "diverged_seeds", "updates", "act_noise"),
    *("episodes", "return_mean", "return_ci95", "win_rate", "win_rate_ci95", "per_seed", "by_act_noise"),
    *("data", "data_digest", "dataset_return_mean", "dataset_return_ci95", "random_return_mean", "random_return_ci95"),
)
SUMMARY = (  # entries of the data's summary in manifest.json
    *("name", "digest", "episodes", "transitions", "length_mean"),
    *("return_mean", "return_std", "return_min", "return_max"),
)
OF_THIS_MACHINE = ("out", "resume", "label", "logger", "callbacks", *(f"data.{key}" for key in PLACES))  # keys of words
FOLDERS = re.compile(r"(?<=[=\[,\"'])[~/][^\],=\"']*/")  # in a word, before the names of files


@dataclass(frozen=True)
class Written:
    """A graph that was written: its file, format, and how far its actions are from those of `act`."""

    file: str
    form: str
    graph: Graph
    dynamic: bool
    difference: float


def describe(
    policy: TrainedPolicy, acting: Acting | None, config: Mapping[str, Any], graphs: Sequence[Written]
) -> dict[str, Any]:
    """Return the content of export.json, without the digests of the files.

    Args:
        policy: the policy of one seed.
        acting: how it acts; None: in its only way.
        config: the configuration in its checkpoint.
        graphs: the graphs that were written.
    """
    algorithm, run = policy.algorithm, RunFolder(policy.home)
    manifest, results = _of_run(run)
    if results.get("updates") != policy.update:  # of other weights: the run went on after this checkpoint
        results = {}
    settings = {
        **_without_places(config),
        "seed": policy.settings.seed,
        "seeds": 1,
        "trainer": {"precision": policy.settings.precision},
    }
    acts = None if acting is None else asdict(acting)
    return {
        "kind": KIND,
        "format": FORMAT,
        "vgm2p": {"config": settings, "spec": policy.spec.to_dict(), "updates": policy.update, "acting": acts},
        "seed": policy.settings.seed,
        "statistics": {"obs_mean": algorithm.obs_mean.tolist(), "obs_std": algorithm.obs_std.tolist()},
        "act": {
            "act_noise": own_way(algorithm),
            "decentralised": policy.decentralised,
            "history": algorithm.history,
            "actions": "indices" if policy.spec.discrete else "numbers in [-1, 1]",
        },
        "graphs": [_graph(each) for each in graphs],
        "results": {name: results[name] for name in RESULTS if name in results} or None,
        "data": {name: manifest["data"][name] for name in SUMMARY if name in manifest.get("data", {})} or None,
        "versions": _versions(manifest),
        "commands": {"train": _training(manifest)},
        "source": {"checkpoint": policy.path.name, "sha256": sha256_file(policy.path)},
    }


def _of_run(run: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and results of a run; empty where the checkpoint lies alone, or the run has no results yet."""
    found: list[dict[str, Any]] = []
    for read in (run.read_manifest, run.read_results):
        try:
            found.append(read())
        except MissingInput:
            found.append({})
    return found[0], found[1]


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that describes the policy. Folders of this machine are left out."""
    kept = {name: config[name] for name in CONFIG if name in config}
    data = kept.get("data")
    if isinstance(data, dict):
        kept["data"] = {name: value for name, value in data.items() if name not in PLACES}
        source = data.get("source")
        if isinstance(source, dict):
            kept["data"]["source"] = {
                name: [Path(str(path)).name for path in value] if isinstance(value, list) else value
                for name, value in source.items()
                if f"source.{name}" not in PLACES
            }
    return kept


def _graph(each: Written) -> dict[str, Any]:
    """Return the description of a graph for those who call it."""
    batch: str | int = "batch" if each.dynamic else 1
    spec, agent = each.graph.spec, each.graph.agent
    shape = [batch, *([] if agent is not None else [spec.n_agents]), *([] if spec.discrete else [spec.action_dim])]
    inputs = [
        {"name": one.name, "dtype": one.dtype, "shape": [batch, *one.shape], "meaning": one.meaning}
        for one in each.graph.inputs
    ]
    return {
        "file": each.file,
        "format": each.form,
        "agent": "team" if agent is None else agent,
        "inputs": inputs,
        "output": {"name": OUTPUT, "dtype": "int64" if spec.discrete else "float32", "shape": shape},
        "largest_difference": each.difference,
    }


def _versions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return versions: of this export, of the training, and of the environment."""
    here = {"python": platform.python_version(), "vgm2p": vgm2p.__version__}
    for name in PACKAGES:
        try:
            here[name] = version(name)
        except PackageNotFoundError:
            continue
    trained, environment = manifest.get("versions", {}), manifest.get("environment_versions", {})
    return {"export": here, "training": trained, "environment": environment}


def _training(manifest: Mapping[str, Any]) -> str | None:
    """Return the command that trains the run again, without folders of this machine; None if it is not known."""
    words = manifest.get("config", {}).get("overrides")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    kept = []
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if not any(key == other or key.startswith(f"{other}.") for other in OF_THIS_MACHINE):
            kept.append(FOLDERS.sub("", word))
    return shlex.join(["vgm2p", "fit", *kept])
