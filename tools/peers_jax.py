"""The update of MAC-Flow's authors in a process of its own, driven by `tools.peers` over standard input and output.

    python peers_jax.py <clone of the authors' repository> <settings as JSON>

It needs jax, flax, optax, distrax and ml_collections, and nothing of this package. Each line `run <n>` on standard
input makes it run n updates on one random batch and print the milliseconds of CPU and wall time per update.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import types
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

STEPS = 2  # per window: their policy's losses use every step, their critic's all but the last


def with_ids(obs: Any) -> Any:
    """Put the agents' one-hots before observations (B, T, N, O)."""
    agents = obs.shape[2]
    return jnp.concatenate([jnp.broadcast_to(jnp.eye(agents), (*obs.shape[:3], agents)), obs], -1)


def agent_of(clone: str, settings: dict[str, Any], batch: dict[str, Any]) -> Any:
    """Return their agent. Their repository lacks the module `util`; it gets the functions that the update calls."""
    util = types.ModuleType("util")
    util.batch_concat_agent_id_to_obs = with_ids  # type: ignore[attr-defined]
    util.switch_two_leading_dims = lambda x: jnp.swapaxes(x, 0, 1)  # type: ignore[attr-defined]
    sys.modules["util"] = util
    sys.path.insert(0, clone)
    module = importlib.import_module("agents.macflow")
    config = module.get_config()
    config.actor_hidden_dims = config.value_hidden_dims = (settings["width"],) * settings["depth"]
    names = [f"agent_{i}" for i in range(settings["agents"])]
    return module.MACFlowAgent.create(0, batch["observations"], batch["actions"], names, config)


def batch_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return random windows (B, T, N, ...) with as many rows B x T as our batch."""
    shape = (settings["rows"] // STEPS, STEPS, settings["agents"])
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "observations": jax.random.normal(keys[0], (*shape, settings["obs"])),
        "actions": jax.random.uniform(keys[1], (*shape, settings["actions"]), minval=-1.0),
        "rewards": jnp.broadcast_to(jax.random.normal(keys[2], (*shape[:2], 1)), shape),
        "terminals": jnp.zeros(shape),
    }


def main() -> None:
    """Answer the lines on standard input."""
    settings = json.loads(sys.argv[2])
    batch = batch_of(settings)
    agent = agent_of(sys.argv[1], settings, batch)
    for line in sys.stdin:
        count = int(line.split()[1])
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(count):
            agent, info = agent.update(batch, 0)
        jax.block_until_ready((agent.network.params, info))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(1e3 * cpu / count, 1e3 * wall / count, flush=True)


if __name__ == "__main__":
    main()
