"""How far the actions of an exported graph are from those of `TrainedPolicy.act`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgm2p.execution.trained import TrainedPolicy
from vgm2p.export.draws import Watched
from vgm2p.export.graph import Graph
from vgm2p.rng import ActKey
from vgm2p.types import Seen

Function = Callable[[dict[str, Tensor]], Tensor]  # inputs (1, ...) by name -> actions (1, ...)
STEPS = 6  # of the episode that is compared


def onnx_function(path: Path) -> Function:
    """Return an ONNX file as a function, computed by onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def act(inputs: dict[str, Tensor]) -> Tensor:
        (action,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(action)

    return act


def torch_function(path: Path) -> Function:
    """Return a file of `torch.export` that this program has just written as a function."""
    module = torch.export.load(path).module()

    def act(inputs: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            action: Tensor = module(*inputs.values())
        return action

    return act


def largest_difference(policy: TrainedPolicy, graph: Graph, function: Function, steps: int = STEPS) -> float:
    """Return the largest |difference| to `policy.act` in an episode of random observations, with the same noise.

    Args:
        policy: the policy of one seed, which acts as the graph does (`Graph.acting`).
        graph: the graph that was exported.
        function: the exported file.
        steps: length of the episode. It should be longer than the policy's memory.
    """
    spec, history, rng = policy.spec, policy.algorithm.history, np.random.default_rng(0)
    mean, std = policy.algorithm.obs_mean.numpy(), policy.algorithm.obs_std.numpy()
    key = ActKey(policy.algorithm.seeds, policy.update, [0])
    seen: list[Tensor] = []
    done: list[Tensor] = []
    largest = 0.0
    policy.reset()
    for step in range(steps):
        obs = (mean + std * rng.normal(size=(spec.n_agents, spec.obs_dim))).astype(np.float32)
        legal = rng.random((spec.n_agents, spec.action_dim)) < 0.7
        legal[:, rng.integers(spec.action_dim)] = True
        action = torch.as_tensor(policy.act(obs, legal if spec.discrete else None))
        inputs = {"obs": torch.from_numpy(obs)}
        if history > 1:
            inputs |= _past(seen, done, history - 1, inputs["obs"], action)
        inputs["legal"] = torch.from_numpy(legal)
        given = {name: _of(graph, name, tensor) for name, tensor in inputs.items()}
        given |= _noise(graph, key.at(step))
        found = function({each.name: given[each.name].unsqueeze(0) for each in graph.inputs})[0]
        wanted = action if graph.agent is None else action[graph.agent]
        largest = max(largest, float((found - wanted).abs().max()))
        seen.append(inputs["obs"])
        done.append(action)
    return largest


def _past(seen: list[Tensor], done: list[Tensor], past: int, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
    """Return the inputs for the last `past` steps; zeros stand for steps before the start of the episode."""
    missing = max(0, past - len(seen))
    return {
        "past_obs": torch.stack([torch.zeros_like(obs)] * missing + seen[-past:]),
        "past_action": torch.stack([torch.zeros_like(action)] * missing + done[-past:]),
        "past_seen": torch.tensor([0.0] * missing + [1.0] * (past - missing)),
    }


def _of(graph: Graph, name: str, tensor: Tensor) -> Tensor:
    """Return a team's tensor for the graph: whole, or the part of its agent."""
    if graph.agent is None or name == "past_seen":
        return tensor
    return tensor[:, graph.agent] if name in ("past_obs", "past_action") else tensor[graph.agent]


def _noise(graph: Graph, key: ActKey) -> dict[str, Tensor]:
    """Return the random numbers that `act` draws in a step; for an agent's narrow graph, those of this agent."""
    policy, spec = graph.algorithm, graph.spec
    watched = Watched(key)
    obs = torch.zeros(1, 1, spec.n_agents, spec.obs_dim)
    legal = torch.ones(1, 1, spec.n_agents, spec.action_dim, dtype=torch.bool) if spec.discrete else None
    with torch.inference_mode():
        policy.act(Seen(obs, legal), None, watched, graph.acting)
    values = {name: watched.values[draw.purpose][0].clone() for name, draw in graph.draws.items()}
    return {
        name: value[..., [graph.agent if value.shape[-2] > 1 else 0], :] if graph.narrow else value
        for name, value in values.items()
    }
