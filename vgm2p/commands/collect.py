"""`vgm2p collect`: records a dataset in our layout, from any environment and a mixture of policies. Resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.config.build import make_env
from vgm2p.config.words import CollectSettings
from vgm2p.datamodules.layout.combine import concatenate
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.envs.base import VectorEnv, episode_seed, heuristic
from vgm2p.envs.observation import VIEWS
from vgm2p.errors import ConfigError, RolloutStopped
from vgm2p.execution.recorder import Recorder, Tape
from vgm2p.execution.rollout import RandomActor, Unplayable, rollout
from vgm2p.execution.trained import load
from vgm2p.io.files import refuse_existing, remove_stale, sha256_file
from vgm2p.io.text import say, shown
from vgm2p.run.folder import kept_failures
from vgm2p.run.lock import OutputLock
from vgm2p.signals import StopFlag
from vgm2p.types import Acting, Actor, Randomness, Seen, Spec

Say = Callable[[str], None]
PART_STEPS = 20_000  # largest number of steps of a resumable part: 20 episodes of a robot, 200 of a battle


@dataclass(frozen=True)
class Component:
    """A part of the mixture.

    Attributes:
        policy: run folder, checkpoint file, `heuristic` or `random`.
        noise: exploration noise (see `Behaviour`).
        episodes: number of episodes.
    """

    policy: str
    noise: float
    episodes: int


@dataclass(frozen=True)
class Source:
    """A component with its policy. The policy is loaded once; if its run trains further, the dataset does not change.

    Attributes:
        component: the component.
        actor: its policy.
        update: number of updates of the policy; the noise depends on it.
        digest: SHA-256 of its checkpoint; None for `heuristic` and `random`.
    """

    component: Component
    actor: Actor
    update: int
    digest: str | None

    @property
    def name(self) -> str:
        """Policy and noise, for messages."""
        return f"{self.component.policy} noise {self.component.noise:g}"


class Behaviour:
    """The policy of a run's first seed with exploration noise (implements `Actor` for one seed).

    Continuous actions: N(0, noise^2) is added, then the action is clipped. Discrete actions: with probability `noise`,
    an agent takes a random legal action. The random numbers depend on (episode, step) only.
    """

    def __init__(self, actor: Actor, seeds: int, noise: float, spec: Spec) -> None:
        self.actor, self.seeds, self.noise, self.spec = actor, seeds, noise, spec
        self.random = RandomActor(spec)

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return actions (1, E, N, A) or (1, E, N), and the memory with the executed actions."""
        action, memory = self.actor.act(seen.expand(self.seeds), memory, key, acting)
        if self.noise == 0.0:
            return action[:1], memory
        done = self._explore(action[:1], seen, key)
        if isinstance(self.actor, Algorithm):
            memory = self.actor.amend(memory, done.expand_as(action))
        return done, memory

    def _explore(self, action: Tensor, seen: Seen, key: Randomness) -> Tensor:
        if self.spec.discrete:
            if isinstance(self.actor, RandomActor):
                return action  # already uniform over the legal actions
            explored, _ = self.random.act(seen, None, key)
            dice = key.uniform("explore", tuple(action.shape[1:]))
            return torch.where(dice < self.noise, explored, action)
        return (action + self.noise * key.normal("explore", tuple(action.shape[1:]))).clamp(-1.0, 1.0)


def components(settings: CollectSettings) -> list[Component]:
    """Return the mixture. Raises ConfigError if the lists have different lengths."""
    policies = settings.policy if isinstance(settings.policy, list) else [settings.policy]
    spread = {
        key: value if isinstance(value, list) else [value] * len(policies)
        for key, value in (("noise", settings.noise), ("episodes", settings.episodes))
    }
    for key, values in spread.items():
        if len(values) != len(policies):
            raise ConfigError(f"{key} has {len(values)} entries for {len(policies)} policies; give one, or one each")
    return [Component(str(p), float(n), c) for p, n, c in zip(policies, *spread.values(), strict=True)]


def collect(settings: CollectSettings, stop: StopFlag, say: Say) -> Path:
    """Record the mixture and return the file of the dataset.

    Episodes are written in parts. After a stop, the same command continues with the next part. Raises UserError.
    """
    mixture = components(settings)
    refuse_existing(settings.target)
    with closing(make_env(settings.env)) as env:
        sources = [loaded(component, env) for component in mixture]
        settings.target.parent.mkdir(parents=True, exist_ok=True)
        with OutputLock(settings.target, say):
            refuse_existing(settings.target)  # another process may have just finished it
            return _collect(settings, sources, env, stop, say)


def _collect(settings: CollectSettings, sources: Sequence[Source], env: VectorEnv, stop: StopFlag, say: Say) -> Path:
    target = settings.target
    provenance = _provenance(settings, sources, env)
    parts = target.with_name(f".{target.stem}.{_digest(provenance)[:12]}.parts")
    parts.mkdir(exist_ok=True)
    remove_stale(parts)
    say(f"environment  {env.spec.env_id}, {env.spec.n_agents} agents; parts in {parts}")
    stop.graceful = True
    found, first = [], settings.first_episode
    for index, source in enumerate(sources):
        pieces = _component(index, source, first, env, parts, stop, say)
        found += pieces
        first += source.component.episodes
        returns = np.concatenate([piece.episodes["return"] for piece in pieces])
        say(f"{source.name}: {len(returns)} episodes, return {shown(returns.mean())}")
    columns = concatenate(found)
    columns.attributes = {**provenance, "name": settings.name or target.stem}
    digest = write(target, columns)
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    transitions = int(columns.steps["has_action"].sum())
    say(f"written to   {target} ({len(columns.episodes['start'])} episodes, {transitions} transitions, {digest[:12]})")
    return target


def loaded(component: Component, env: VectorEnv) -> Source:
    """Load the policy of a component. Raises as `vgm2p.load`, and ConfigError if its task is not that of `env`."""
    spec = env.spec
    if component.policy == "random":
        return Source(component, RandomActor(spec), 0, None)
    if component.policy == "heuristic":
        return Source(component, Behaviour(heuristic(env), 1, component.noise, spec), 0, None)
    policy = load(component.policy)
    differ = policy.spec.differences(spec)
    if differ:
        raise ConfigError(f"{component.policy} was trained for another task: {differ[0]} (policy != env)")
    actor = Behaviour(policy.algorithm, len(policy.algorithm.seeds), component.noise, spec)
    return Source(component, actor, policy.update, sha256_file(policy.path))


def _component(
    index: int, source: Source, first: int, env: VectorEnv, parts: Path, stop: StopFlag, say: Say
) -> list[Columns]:
    """Return the parts of one component. Parts that an earlier attempt has written are read, the others recorded."""
    found: list[Columns] = []
    last, size = first + source.component.episodes, max(1, PART_STEPS // env.spec.episode_limit)
    for start in range(first, last, size):
        numbers = list(range(start, min(start + size, last)))
        part = parts / f"{numbers[0]}-{numbers[-1]}.h5"
        if not part.exists():
            tapes = _record(source, env, numbers, parts, stop, say)
            write(part, columns_of(tapes, index, env.spec, {"name": part.stem, **_task(env.spec)}))
            say(f"{source.component.policy}: episodes {numbers[0]} to {numbers[-1]}")
        found.append(read(part, verify="full"))
    return found


def _record(source: Source, env: VectorEnv, numbers: list[int], parts: Path, stop: StopFlag, say: Say) -> list[Tape]:
    recorder = Recorder(env)
    try:
        rollout(source.actor, recorder, source.update, [0], numbers, stop.requested)
    except Unplayable as error:
        for line in kept_failures(parts.parent, [error.failure], "collect"):
            say(line)
        raise
    except RolloutStopped:
        raise stop.interruption("stopped; finished parts are kept, and the same command continues") from None
    return [recorder.episodes[episode_seed(number)] for number in numbers]


def _provenance(settings: CollectSettings, sources: Sequence[Source], env: VectorEnv) -> dict[str, Any]:
    policies = [{**asdict(source.component), "checkpoint_sha256": source.digest} for source in sources]
    return {
        **_task(env.spec),
        "source": "collect",
        "behaviours": json.dumps(policies, sort_keys=True),
        "versions": json.dumps(env.versions, sort_keys=True),
        "first_episode": settings.first_episode,
    }


def _task(spec: Spec) -> dict[str, Any]:
    return {
        "env_id": spec.env_id,
        "env_kwargs": json.dumps(spec.env_kwargs, sort_keys=True),
        "n_agents": spec.n_agents,
        "action_dim": spec.action_dim,
        "discrete": int(spec.discrete),
        "episode_limit": spec.episode_limit,
    }


def _digest(provenance: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()


def columns_of(tapes: Sequence[Tape], behaviour: int, spec: Spec, attributes: dict[str, Any]) -> Columns:
    """Return recorded episodes in our layout.

    Of a robot, its own observation is stored. The views of the agents are built when the dataset is loaded.
    """
    episodes = Episodes(
        length=np.array([len(tape.rewards) for tape in tapes]),
        end=np.array([TERMINAL if tape.terminated else TIMEOUT for tape in tapes]),
        finals=True,
    )

    def per_step(values: Iterable[Any], dtype: type[np.generic]) -> NDArray[Any]:
        return episodes.spread(np.stack(list(values)).astype(dtype))

    def per_row(frames: Iterable[list[NDArray[Any]]], dtype: type[np.generic]) -> NDArray[Any]:
        return np.concatenate([np.stack(rows) for rows in frames]).astype(dtype)

    robot = spec.view in VIEWS
    steps = {
        "actions": per_step((a for tape in tapes for a in tape.actions), np.int16 if spec.discrete else np.float32),
        "rewards": per_step((r for tape in tapes for r in tape.rewards), np.float32),
    }
    if robot:
        steps["robot_observation"] = per_row((tape.state for tape in tapes), np.float32)
    else:
        steps["observations"] = per_row((tape.obs for tape in tapes), np.float32)
    if not robot and tapes[0].state:
        steps["state"] = per_row((tape.state for tape in tapes), np.float32)
    if tapes[0].legal:
        steps["legal_actions"] = per_row((tape.legal for tape in tapes), np.uint8)
    known: dict[str, NDArray[Any]] = {
        "seed": np.array([tape.seed for tape in tapes], np.int64),
        "behaviour": np.full(len(tapes), behaviour, np.int8 if behaviour < 128 else np.int32),
    }
    return episodes.columns(steps, attributes, known)


def run(settings: CollectSettings, stop: StopFlag) -> Path:
    """Record the dataset that the configuration describes, and return its file."""
    return collect(settings, stop, say)
