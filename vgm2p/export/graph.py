"""One step of a trained policy as a function of tensors: from raw observations to the environment's actions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.encoding import Encoding
from vgm2p.config.build import make_algorithm
from vgm2p.errors import ConfigError
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.export.draws import LAWS, Draw, Given, Watched, needed
from vgm2p.nn.agents import PerAgent
from vgm2p.rng import ActKey
from vgm2p.types import Acting, Seen

Who = Literal["team"] | int
DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class Input:
    """An input of a graph: its name, its type, its shape after the axis of the batch, and what it is."""

    name: str
    dtype: Literal["float32", "int64", "bool"]
    shape: tuple[int, ...]
    meaning: str


def one_seed(policy: TrainedPolicy, seed: int) -> TrainedPolicy:
    """Return the policy of one seed. It has the weights and the random numbers of this seed in the run.

    Args:
        policy: a run's policies.
        seed: the training seed itself, not its position.
    """
    position = policy.algorithm.seeds.index(seed)
    settings = replace(policy.settings, seed=seed, seeds=1)
    algorithm = make_algorithm(settings, policy.spec)
    state = policy.algorithm.state_dict()
    for name, own in algorithm.state_dict().items():
        own.copy_(state[name] if state[name].shape == own.shape else state[name][position : position + 1])
    return TrainedPolicy(algorithm.eval(), settings, policy.update, policy.path)


class Graph(nn.Module):
    """Maps the inputs (B, ...) of a step to actions: (B, N, A) or (B, N); of one agent (B, A) or (B,).

    Args:
        policy: a policy of one seed.
        acting: how it acts; None: in its only way.
        who: `team`, or the number of an agent. An agent's graph has inputs without the axis of the agents.

    Attributes:
        inputs: the inputs in order.

    Raises:
        ConfigError: if the policy cannot act as a function of these inputs.
    """

    def __init__(self, policy: TrainedPolicy, acting: Acting | None, who: Who) -> None:
        super().__init__()
        self.algorithm = policy.algorithm.requires_grad_(False)
        self.acting, self.spec = acting, policy.spec
        self.agent = None if who == "team" else int(who)
        self._refuse(policy.settings.algorithm)
        self.narrow = self.agent is not None and agents_alike(self.algorithm)
        self.draws: dict[str, Draw] = {}
        watched = Watched(ActKey(self.algorithm.seeds, policy.update, [0]).at(0))
        with torch.no_grad():
            self._act(
                {each.name: torch.ones(1, *each.shape, dtype=DTYPES[each.dtype]) for each in self.inputs}, watched
            )
        self.draws = needed(watched.draws, acting)

    @property
    def inputs(self) -> list[Input]:
        """The inputs in the order of `forward`."""
        spec, past = self.spec, self.algorithm.history - 1
        team = () if self.agent is not None else (spec.n_agents,)
        action, whose = (() if spec.discrete else (spec.action_dim,)), "of each agent" if team else "of the agent"
        found = [
            Input("obs", "float32", (*team, spec.obs_dim), f"present observation {whose}, as the environment gives it")
        ]
        if past:
            found.append(
                Input("past_obs", "float32", (past, *team, spec.obs_dim), "observations before it, oldest first")
            )
        if past and self.algorithm.remembers_actions:
            kind: Literal["int64", "float32"] = "int64" if spec.discrete else "float32"
            found.append(Input("past_action", kind, (past, *team, *action), "actions that were done at past_obs"))
        if past:
            found.append(Input("past_seen", "float32", (past,), "0 for steps before the start of the episode, else 1"))
        if spec.discrete:
            found.append(Input("legal", "bool", (*team, spec.action_dim), "which actions are legal now"))
        noise = [Input(name, "float32", draw.shape, LAWS[draw.law]) for name, draw in self.draws.items()]
        return [*found, *noise]

    def forward(self, *given: Tensor) -> Tensor:
        """Return the actions for the inputs, given in the order of `inputs`."""
        named = {each.name: tensor for each, tensor in zip(self.inputs, given, strict=True)}
        return self._act(named, Given({draw.purpose: named[name] for name, draw in self.draws.items()}))

    def examples(self, batch: int) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes."""
        return tuple(torch.ones(batch, *each.shape, dtype=DTYPES[each.dtype]) for each in self.inputs)

    def _act(self, named: dict[str, Tensor], key: Given | Watched) -> Tensor:
        """Return the actions for named inputs (B, ...)."""
        algorithm, wide = self.algorithm, {name: self._team(name, tensor) for name, tensor in named.items()}
        obs, legal = wide["obs"], wide.get("legal")
        memory: Any = None
        if "past_obs" in wide:
            done = wide.get("past_action", wide["past_seen"])
            memory = algorithm.recall(obs, wide["past_obs"], done, wide["past_seen"])
        if not self.narrow:
            action, _ = algorithm.act(Seen(obs, legal), memory, key, self.acting)
            return action[0] if self.agent is None else action[0][:, self.agent]
        rows = slice(self.agent, self.agent + 1)  # type: ignore[operator]
        o = algorithm.encode(obs, memory)[:, :, rows]
        legal = None if legal is None else legal[:, :, rows]
        return algorithm.execute(o, legal, key, self.acting or Acting())[0][:, 0]

    def _team(self, name: str, tensor: Tensor) -> Tensor:
        """Return an input with the axis of the seeds and, for one agent, zeros (legal: True) for the other agents."""
        agent_axis = {"obs": 1, "past_obs": 2, "past_action": 2, "legal": 1}.get(name)
        if self.agent is not None and agent_axis is not None:
            own = torch.arange(self.spec.n_agents) == self.agent
            own = own.reshape(*[1] * agent_axis, -1, *[1] * (tensor.dim() - agent_axis))
            wide = tensor.unsqueeze(agent_axis)
            tensor = wide | ~own if tensor.dtype == torch.bool else wide * own
        return tensor.unsqueeze(0)

    def _refuse(self, name: str) -> None:
        """Raise ConfigError for a policy that cannot act as a function of these inputs."""
        algorithm, goal = self.algorithm, getattr(self.algorithm, "goal", None)
        if self.agent is not None and not algorithm.decentralised:
            raise ConfigError(
                f"agent={self.agent}: algo={name} is centralised: all agents act together; use agent=team"
            )
        if self.agent is not None and self.agent >= self.spec.n_agents:
            raise ConfigError(
                f"agent={self.agent}: the team has agents 0 to {self.spec.n_agents - 1}; name one of them"
            )
        if goal is not None and goal.settings.rtg:
            raise ConfigError("algo.goal.rtg=true sums rewards while it acts, no graph can; use formats=[safetensors]")
        if type(algorithm).act is not Algorithm.act and type(algorithm).recall is Encoding.recall:
            raise ConfigError(f"algo={name} has its own act; give it recall() too, or use formats=[safetensors]")


def agents_alike(algorithm: Algorithm) -> bool:
    """Return whether `execute` treats every agent alike, so that an agent's row can go through it alone."""
    own_networks = any(isinstance(module, PerAgent) for module in algorithm.modules())
    ours = type(algorithm).__module__.startswith("vgm2p.") and type(algorithm).act is Algorithm.act
    return ours and not own_networks
