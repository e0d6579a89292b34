"""What `python -m tests.readme` does not run as it stands, with the reason: the only place for such exceptions.

The first rule whose pattern is found in a command, or in the name of a page and the text of a Python program, applies.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

COMPOSED = "composed"  # the configuration is composed and printed, and nothing is run
LEFT = "left out"


@dataclass(frozen=True)
class Rule:
    """An exception: the pattern of a command, what is done in its place, and why. `keys` are appended to the command."""

    pattern: str
    how: str
    why: str
    keys: tuple[str, ...] = ()


def _without(variable: str) -> bool:
    return variable not in os.environ


RULES = [
    Rule(
        r"<[\w ,]+>| \.\.\.|\w\|\w|<command>",
        LEFT,
        "a pattern with a place for the reader's words; its command must exist",
    ),
    Rule(r"^source ", LEFT, "changes the reader's shell; .ci/run works in such an environment"),
    Rule(r"^pip ", LEFT, "installs packages; .ci/run does it by `make install`, tests/test_packaging.py by the wheel"),
    Rule(r"^docker ", LEFT, "needs a container engine; tests/test_docker.py runs the steps of the Dockerfile"),
    Rule(r"^vgm2p \w+$", LEFT, "the name of a command in the text"),
    Rule(r"^tensorboard ", LEFT, "runs until it is stopped"),
    Rule(r"^python -m tests\.oracles", LEFT, "takes minutes; `make oracles` runs it"),
    Rule(
        r"^python \w+\.py|env=tag|algo=cloning",
        LEFT,
        "needs files of the page; tests/strangers/test_bring_your_own.py runs them",
    ),
    Rule(
        r"data=files .*data.view=native evaluate=none",
        LEFT,
        "reads what the program of the page wrote; the tests of the pages run both",
    ),
    Rule(
        r"env.module=pettingzoo",
        LEFT,
        "needs games of PettingZoo and pygame; tests/envs steps another of its environments",
    ),
    Rule(r"data convert .*(-v2|-v0|expert)", LEFT, "needs a file of the reader; tests/datamodules converts such files"),
    Rule(r"^python -m http\.server", LEFT, "runs until it is stopped"),
    Rule(r"^python -m pytest", LEFT, "`make test` and `make test-slow` run the tests"),
    Rule(r"^python -m tools\.(peers|results)", LEFT, "needs the authors' code, or hours"),
    Rule(r"^python -m tools\.estimate_validation", LEFT, "needs finished results; tests/cli has its parts"),
    Rule(r"experiment=smacv|env=smac/", COMPOSED, "needs StarCraft II; `make test-smac` plays with a stand-in"),
    Rule(
        r"experiment=smax_|env=smax/", COMPOSED, "needs JAX and recorded battles; `make test-smax` records and trains"
    ),
    Rule(
        r"data=vault|data convert mpe", COMPOSED, "needs a vault of the reader; tests/datamodules converts such vaults"
    ),
    Rule(r"hydra/launcher=ray", LEFT, "needs the extra ray; `make test-ray` runs such sweeps"),
    Rule(r"^docs/python.md ", LEFT, "trains for its whole budget; tests/api/test_pages.py runs it with a small one"),
    Rule(r"[+]sweep=", COMPOSED, "takes days, and needs internet; tests/run has small sweeps"),
    Rule(r"experiment=mamujoco_", COMPOSED, "needs internet; tests/datamodules has a stand-in for the hub"),
    Rule(r"logger=(wandb|mlflow)", COMPOSED, "needs an account or a package; tests/run has the loggers' interface"),
    Rule(r"bench loop", "shrunk", "takes a minute", ("rounds=1", "count=2", "width=16", "depth=1")),
    Rule(r"video=true", "shrunk", "needs a display driver; tests/envs draws where there is one", ("video=false",)),
    Rule(r"docs/data.md.*h5py.File", LEFT, "needs a file of D4RL; tests/datamodules writes such a file"),
]
if _without("VGM2P_DATA"):
    RULES.append(Rule(r"=recorded_", COMPOSED, "needs the recordings: VGM2P_DATA is not set"))


def rule_for(text: str) -> Rule | None:
    """Return the exception for a command or program, if there is one."""
    return next((rule for rule in RULES if re.search(rule.pattern, text, re.S)), None)
