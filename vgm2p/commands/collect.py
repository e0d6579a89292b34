"""`vgm2p collect`: datasets of our layout from any environment and any mixture of policies, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.config.build import make_env
from vgm2p.config.words import CollectSettings
from vgm2p.datamodules.layout.combine import concatenate
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import TERMINAL, TIMEOUT, Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.envs.base import VectorEnv, heuristic
from vgm2p.envs.observation import VIEWS
from vgm2p.errors import ConfigError, RolloutStopped, StorageError
from vgm2p.execution.recorder import Recorder, Tape
from vgm2p.execution.rollout import RandomActor, episode_seed, rollout
from vgm2p.execution.trained import load
from vgm2p.io.files import remove_stale, sha256_file
from vgm2p.io.text import say, shown
from vgm2p.signals import StopFlag
from vgm2p.types import Acting, Actor, Randomness, Seen, Spec

Say = Callable[[str], None]
PART_STEPS = 20_000  # of a resumable part, if its episodes reach the limit: 20 episodes of a robot, 200 of a battle


@dataclass(frozen=True)
class Component:
    """A part of the mixture: a policy (run folder, checkpoint, `heuristic` or `random`), its noise, its episodes."""

    policy: str
    noise: float
    episodes: int


@dataclass(frozen=True)
class Source:
    """A component with its policy, loaded once: a run that trains on meanwhile changes nothing.

    Attributes:
        component: as asked for.
        actor: what acts.
        update: updates behind it, part of the noise's key.
        digest: SHA-256 of its checkpoint, None for `heuristic` and `random`.
    """

    component: Component
    actor: Actor
    update: int
    digest: str | None

    @property
    def name(self) -> str:
        """Policy and noise."""
        return f"{self.component.policy} noise {self.component.noise:g}"


class Behaviour:
    """A policy's first seed, exploring: N(0, noise^2) added and clipped, or random legal actions at rate `noise`.

    Implements `Actor` for one seed; numbers depend on (episode, step) alone.
    """

    def __init__(self, actor: Actor, seeds: int, noise: float, spec: Spec) -> None:
        self.actor, self.seeds, self.noise, self.spec = actor, seeds, noise, spec
        self.random = RandomActor(spec)

    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Return (1, E, N, A) or (1, E, N) for what one seed sees."""
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
                return action  # uniform over the legal actions already
            explored, _ = self.random.act(seen, None, key)
            dice = key.uniform("explore", tuple(action.shape[1:]))
            return torch.where(dice < self.noise, explored, action)
        return (action + self.noise * key.normal("explore", tuple(action.shape[1:]))).clamp(-1.0, 1.0)


def components(settings: CollectSettings) -> list[Component]:
    """Return the mixture. Raises ConfigError where the lists do not match or a number makes no sense."""
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
    """Record the mixture and return the dataset's file.

    Episodes are written in parts; the same command goes on where a stopped one ended. Raises UserError only.
    """
    mixture = components(settings)
    if settings.target.exists():
        raise StorageError(f"{settings.target} exists; choose another out=, or delete it")
    with closing(make_env(settings.env)) as env:
        return _collect(settings, mixture, env, stop, say)


def _collect(settings: CollectSettings, mixture: Sequence[Component], env: VectorEnv, stop: StopFlag, say: Say) -> Path:
    target = settings.target
    sources = [loaded(component, env) for component in mixture]
    provenance = _provenance(settings, sources, env)
    parts = target.with_name(f".{target.stem}.{_digest(provenance)[:12]}.parts")
    parts.mkdir(parents=True, exist_ok=True)
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
    """Load a component's policy. Raises as `vgm2p.load`, and ConfigError if it cannot act in `env`."""
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
    """Return the parts of one component, recorded or left from an earlier attempt."""
    found: list[Columns] = []
    last, size = first + source.component.episodes, max(1, PART_STEPS // env.spec.episode_limit)
    for start in range(first, last, size):
        numbers = list(range(start, min(start + size, last)))
        part = parts / f"{numbers[0]}-{numbers[-1]}.h5"
        if not part.exists():
            tapes = _record(source, env, numbers, stop)
            write(part, columns_of(tapes, index, env.spec, {"name": part.stem, **_task(env.spec)}))
            say(f"{source.component.policy}: episodes {numbers[0]} to {numbers[-1]}")
        found.append(read(part, verify="full"))
    return found


def _record(source: Source, env: VectorEnv, numbers: list[int], stop: StopFlag) -> list[Tape]:
    recorder = Recorder(env)
    try:
        rollout(source.actor, recorder, source.update, [0], numbers, stop.requested)
    except RolloutStopped:
        raise stop.interruption("stopped; finished parts are kept, and the same command goes on") from None
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
    """Return recorded episodes in our layout; robots are stored as such, their views are built at loading."""
    lengths = np.array([len(tape.rewards) for tape in tapes])
    rows = lengths + 1
    start = np.cumsum(rows) - rows
    final, total = start + lengths, int(rows.sum())
    acting = np.ones(total, np.uint8)
    acting[final] = 0
    terminal, timeout = np.zeros(total, np.uint8), np.zeros(total, np.uint8)
    ended = np.array([tape.terminated for tape in tapes])
    terminal[(final - 1)[ended]] = 1
    timeout[(final - 1)[~ended]] = 1

    def spread(values: list[Any], dtype: Any) -> Any:
        found = np.zeros((total, *np.shape(values[0])), dtype)
        found[acting.astype(bool)] = np.stack(values)
        return found

    robot = spec.view in VIEWS
    steps = {
        "actions": spread([a for tape in tapes for a in tape.actions], np.int16 if spec.discrete else np.float32),
        "rewards": spread([r for tape in tapes for r in tape.rewards], np.float32),
        "terminal": terminal,
        "timeout": timeout,
        "has_action": acting,
        "t": (np.arange(total) - np.repeat(start, rows)).astype(np.int32),
    }
    seen = [(tape.state if robot else tape.obs) for tape in tapes]
    steps["robot_observation" if robot else "observations"] = np.concatenate([np.stack(x) for x in seen]).astype("<f4")
    if not robot and tapes[0].state:
        steps["state"] = np.concatenate([np.stack(tape.state) for tape in tapes]).astype("<f4")
    if tapes[0].legal:
        steps["legal_actions"] = np.concatenate([np.stack(tape.legal) for tape in tapes]).astype(np.uint8)
    episodes = {
        "start": start.astype(np.int64),
        "rows": rows.astype(np.int32),
        "length": lengths.astype(np.int32),
        "return": np.add.reduceat(steps["rewards"].astype(np.float64), start),
        "end": np.where(ended, TERMINAL, TIMEOUT).astype(np.uint8),
        "seed": np.array([tape.seed for tape in tapes], np.int64),
        "behaviour": np.full(len(tapes), behaviour, np.int8),
    }
    return Columns(steps, episodes, attributes)


def run(settings: CollectSettings, stop: StopFlag) -> None:
    """Record what the configuration asks for."""
    collect(settings, stop, say)
