"""The card of an exported policy, README.md: what the hub shows about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vgm2p.io.text import decimals, grid, markdown
from vgm2p.run.exported import DOCUMENT, WEIGHTS
from vgm2p.types import NO_ENVIRONMENT

CARD = "README.md"


def card(document: Mapping[str, Any], hub: str | None) -> str:
    """Return the text of the card.

    Args:
        document: content of export.json.
        hub: repository on the hub; None: the commands name a folder.
    """
    spec, trained = document["vgm2p"]["spec"], document["vgm2p"]["config"]
    algorithm, task = trained["algorithm"], spec["env_id"]
    load, word = (f"hub:{hub}", f"hub={hub}") if hub else ("<this folder>", "run=<this folder>")
    train = document["commands"]["train"]
    env = " env=<name>" if task.startswith(NO_ENVIRONMENT) else ""
    again = f"\n{train}   # train it again" if train else ""
    return f"""{_header(algorithm, task)}
# {markdown(algorithm)} on {markdown(task)}

The policy of a team of {spec["n_agents"]} agents. vgm2p has trained it from recorded data alone (offline multi-agent
reinforcement learning): {document["vgm2p"]["updates"]} updates, seed {trained["seed"]}.

## Results

{_results(document)}

## Data

{_data(document)}

## Use it

```python
import vgm2p

policy = vgm2p.load("{load}")
policy.reset()
action = policy.act(obs{", legal" if spec["discrete"] else ""})
```

`obs` has the shape ({spec["n_agents"]}, {spec["obs_dim"]}).

```bash
vgm2p evaluate {word}{env} episodes=100{again}
```

Without vgm2p: the ONNX and `.pt2` files take raw observations. `{DOCUMENT}` describes their inputs, the task, and the
statistics of the observations. The weights are safetensors (`{WEIGHTS}`). vgm2p unpickles nothing here, and checks the
SHA-256 of each file that it reads.
"""


def _header(algorithm: str, task: str) -> str:
    """Return the yaml that the hub reads."""
    tags = ["multi-agent-reinforcement-learning", "offline-reinforcement-learning", algorithm, task]
    lines = [f"- {json.dumps(tag)}" for tag in tags]
    return "\n".join(["---", "library_name: vgm2p", "pipeline_tag: reinforcement-learning", "tags:", *lines, "---", ""])


def _results(document: Mapping[str, Any]) -> str:
    """Return the table of the run's last evaluation."""
    results = document["results"]
    if not results or not results.get("by_act_noise"):
        return "The run has no evaluation of this checkpoint."
    own, lines = document["act"]["act_noise"], [["act_noise", "return", "95 % interval", "won", "episodes"]]
    for each in results["by_act_noise"]:
        way, rate = each["act_noise"], each.get("win_rate")
        bounds = [bound for bound in each["return_ci95"] if bound is not None]  # none for a single episode
        digits = decimals(bounds or [each["return_mean"]])
        name = ("none" if way is None else str(way)) + (" (own)" if way == own else "")
        interval = "" if not bounds else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
        won = "" if rate is None else f"{rate:.0%}"
        lines.append([name, f"{each['return_mean']:.{digits}f}", interval, won, str(each["episodes"])])
    seeds = results.get("seeds", [])
    note = f"Mean over {len(seeds)} training seed{'s' if len(seeds) != 1 else ''} ({', '.join(map(str, seeds))})"
    several = f"; this policy is seed {document['seed']}" if len(seeds) > 1 else ""
    return f"{grid(lines)}\n\n{note}{several}. Intervals: bootstrap over seeds, then episodes."


def _data(document: Mapping[str, Any]) -> str:
    """Return a line about the data."""
    data = document["data"]
    if not data:
        return "The run does not say which data it was trained on."
    return (
        f"{markdown(data['name'])}: {data['episodes']} episodes, {data['transitions']} transitions, mean return "
        f"{data['return_mean']:.1f}. Digest `{markdown(data['digest'])}`."
    )
