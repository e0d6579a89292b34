"""Trained policies, loaded from files; used by `vgm2p evaluate` and `vgm2p.load`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgm2p.algos.contract import Algorithm
from vgm2p.config.build import make_algorithm
from vgm2p.config.settings import PolicySettings
from vgm2p.config.stored import everything, stored_acting, stored_policy, stored_spec
from vgm2p.errors import ConfigError, DataError, Diverged, MissingInput
from vgm2p.execution.observed import seen_by
from vgm2p.io.text import say
from vgm2p.rng import ActKey
from vgm2p.run.belonging import PREFIX
from vgm2p.run.checkpoint import newest_intact, read_checkpoint
from vgm2p.run.exported import DOCUMENT, is_export, read_export
from vgm2p.run.hub import SCHEME, Reference, fetch_policy, reference_of
from vgm2p.types import Spec


class TrainedPolicy:
    """A trained algorithm that acts from local observations, in one episode or in several that began together.

    Attributes:
        algorithm: the algorithm with its weights, for all seeds.
        settings: settings from which it was built.
        spec: the task.
        update: number of updates of the weights.
        path: the checkpoint file, or the `export.json` of an exported policy.
        origin: repository and commit of a policy from the Hugging Face hub, else None.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        settings: PolicySettings,
        update: int,
        path: Path,
        origin: Reference | None = None,
    ) -> None:
        self.algorithm, self.settings, self.update, self.path, self.origin = algorithm, settings, update, path, origin
        self.spec: Spec = algorithm.spec
        self.reset()

    def __repr__(self) -> str:
        """Return algorithm, task, shapes, number of updates and seeds."""
        spec = self.spec
        kind = f"discrete, 0 to {spec.action_dim - 1}" if spec.discrete else "continuous, -1 to 1"
        action = (spec.n_agents,) if spec.discrete else (spec.n_agents, spec.action_dim)
        return (
            f"TrainedPolicy({self.settings.algorithm} on {spec.env_id}: obs ({spec.n_agents}, {spec.obs_dim}), "
            f"action {action} {kind}, update {self.update}, seeds {list(self.algorithm.seeds)})"
        )

    @property
    def home(self) -> Path:
        """The folder in which commands write by default: that of the run or export, and below `runs/hub`."""
        if self.origin is not None:  # the hub's cache is not ours
            return self.origin.folder
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent

    @property
    def decentralised(self) -> bool:
        """Whether agent i uses only its own observation and memory."""
        return self.algorithm.decentralised

    def reset(self, episode: int = 0) -> None:
        """Start an episode, or a batch of episodes: clear the memory.

        Call it before the first step of every episode. The number of episodes E is that of the next `act`, and stays
        until the next `reset`. Row e of a batch uses the noise of evaluation episode `episode` + e. A batch has one
        clock: its episodes begin together. When one has ended, leave its row in (repeat its last observation, and
        ignore its actions) until all have ended.

        Raises:
            ConfigError: if `episode` is no whole number from 0.
        """
        if isinstance(episode, bool) or not isinstance(episode, int | np.integer) or episode < 0:
            raise ConfigError(f"reset({episode!r}): give the number of an episode, a whole number from 0")
        self._first = int(episode)
        self._key: ActKey | None = None
        self._memory: Any = None
        self._step = 0

    def act(self, obs: Any, legal: Any = None, seed: int = 0, reward: Any = None) -> NDArray[Any]:
        """Return the agents' actions in the present step: floats in [-1, 1], or indices for discrete actions.

        Args:
            obs: (N, O) observations of all agents, as the environment gives them, or (E, N, O) of E episodes. A
                decentralised agent i uses only row i.
            legal: (N, A) or (E, N, A) bool, for discrete actions only.
            seed: position of the acting policy among the S seeds of the run (not the seed's value).
            reward: team reward of the previous step, () or (E,); only planners with `goal.rtg` need it.

        Returns:
            (N, A) floats or (N,) indices; for E episodes (E, N, A) or (E, N).

        Raises:
            ConfigError: if an argument has another shape, is missing, or is not finite; if an agent has no legal
                action; if the number of episodes has changed since `reset`.
            Diverged: if an action is not finite, because the training of this seed diverged.
        """
        S = len(self.algorithm.seeds)
        if seed not in range(S):
            raise ConfigError(f"seed={seed}: the run has {S} seeds; give a position from 0 to {S - 1}")
        seen = seen_by(self.spec, obs, legal, reward)
        device, episodes = self.algorithm.obs_mean.device, seen.obs.shape[1]
        if self._key is None:
            numbers = range(self._first, self._first + episodes)
            self._key = ActKey(self.algorithm.seeds, self.update, numbers, device)
        elif episodes != len(self._key.episodes):
            begun = len(self._key.episodes)
            raise ConfigError(f"obs has {episodes} episodes, but {begun} have begun; call reset() before a new batch")
        with torch.inference_mode():
            action, self._memory = self.algorithm.act(seen.to(device).expand(S), self._memory, self._key.at(self._step))
        self._step += 1
        chosen: NDArray[Any] = action[seed].cpu().numpy()
        if not np.isfinite(chosen).all():
            raise Diverged(f"{self.path}: an action of seed {self.algorithm.seeds[seed]} is not finite; train it again")
        return chosen if np.ndim(obs) == 3 else chosen[0]


def load(run: str | Path, device: str = "cpu") -> TrainedPolicy:
    """Load a trained policy. Nothing is unpickled, and no code of a file is executed.

    Args:
        run: a run folder, of which the newest intact checkpoint counts; a checkpoint file; a folder that `vgm2p export`
            wrote; or `hub:<owner>/<name>[@<commit, tag or branch>]` on the Hugging Face hub.
        device: where the weights go.

    Raises:
        MissingInput: if there is no checkpoint.
        DataError: if it is damaged, does not fit its own configuration, or could execute code (`stored_policy`).
        ConfigError: if this machine does not have the device.
    """
    _require_device(device)
    path, origin = find_policy(run)
    content = read_export(path, device) if path.name == DOCUMENT else read_checkpoint(path, device)
    ours = content["vgm2p"]
    settings = stored_policy(ours.get("config"), path)
    if path.name == DOCUMENT:
        settings = replace(settings, data=None)  # an export does not say where the data are
    spec = stored_spec(ours.get("spec"), path)
    state, update = content.get("state_dict"), ours.get("updates")
    if not isinstance(state, dict) or type(update) is not int or update < 0:
        raise DataError(f"{path}: has no weights or no number of updates; use the run's own files")
    weights = {name[len(PREFIX) :]: value for name, value in state.items() if str(name).startswith(PREFIX)}
    if not _fits(settings, spec, weights):
        raise DataError(f"{path}: weights do not fit algo={settings.algorithm}; use the run's own files")
    algorithm = make_algorithm(settings, spec)
    try:
        algorithm.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: weights do not fit algo={settings.algorithm}; use the run's own files") from error
    if ours.get("acting") is not None:  # an export may act in another way than the run
        algorithm.act_by(stored_acting(ours["acting"], path))
    return TrainedPolicy(algorithm.to(device).eval(), settings, update, path, origin)


def _require_device(device: str) -> None:
    """Raise ConfigError for a device that is neither `cpu` nor a CUDA device of this machine."""
    kind, _, number = str(device).partition(":")
    gpus = torch.cuda.device_count()
    if kind == "cpu" and not number:
        return
    if kind == "cuda" and (number or "0") in map(str, range(gpus)):
        return
    raise ConfigError(f"device={device}: this machine has cpu and {gpus} CUDA devices; give one of them")


def _fits(settings: PolicySettings, spec: Spec, weights: Mapping[str, Any]) -> bool:
    """Return whether weights have the shapes that the settings describe, before memory is allocated for them."""
    counts = [value for key, value in everything(settings.algo) if key.endswith("depth") and isinstance(value, int)]
    if max(counts, default=0) > len(weights) or settings.seeds > max(map(_length, weights.values()), default=0):
        return False
    try:
        with torch.device("meta"):
            expected = make_algorithm(settings, spec).state_dict()
    except Exception:  # an algorithm of the user may need real memory; building it then raises its own error
        return True
    return {name: value.shape for name, value in expected.items()} == {
        name: getattr(value, "shape", None) for name, value in weights.items()
    }


def _length(value: Any) -> int:
    return len(value) if isinstance(value, torch.Tensor) and value.ndim else 0


def find_policy(run: str | Path) -> tuple[Path, Reference | None]:
    """Return the file of a policy, and where on the hub it is from. Arguments and errors as `load`."""
    if str(run).startswith(SCHEME):
        return fetch_policy(reference_of(str(run)), say)
    return find_checkpoint(Path(os.path.expanduser(run))), None


def find_checkpoint(run: Path) -> Path:
    """Return `run` if it is a file, an export's description, or a run's newest intact checkpoint. Raises as `load`.

    A line is printed for each newer checkpoint that is damaged.
    """
    if run.is_file():
        return run
    if is_export(run):
        return run / DOCUMENT
    folder = run / "checkpoints"
    if not folder.is_dir():
        raise MissingInput(f"{run}: not a run folder or checkpoint file; give the folder that `vgm2p fit` printed")
    path, notices = newest_intact(folder)
    if path is None and notices:
        raise DataError(notices[0])
    if path is None:
        raise MissingInput(f"{folder}: no checkpoint yet; train first with `vgm2p fit`")
    for line in notices:
        say(f"{line} ({path.name} is used)")
    return path
