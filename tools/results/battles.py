"""`make results-smax`: battles of SMAX (discrete actions), on data that this machine records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.results.cells import Plan, Row

SETS = {"smax_3m": "3m", "smax_2s3z": "2s3z"}
SIZE = (
    "updates=6000",
    "eval_every=3000",
    "eval_episodes=100",
    "seeds=5",
    "eval_acting=[1,0]",
    "net.width=128",
    "net.depth=3",
    "optim.lr=1e-3",
    "optim.decay_updates=6000",
    "logger.tensorboard=null",
)
CRITIC = "algo.critic.depth=2"
# Settings for battles of 14 to 70 steps with returns from 0 to 2: a discount, a reward scale that Q can learn, and more
# candidates, since there are few actions. Chosen on smax_3m alone (docs/results.md).
BATTLE = (
    "algo.judge=both",
    "algo.best_share=1",
    "algo.margin=0",
    "algo.class0_weight=1",
    "algo.omega=3",
    "algo.baseline=sample",
    "algo.expectile=0.7",
    "algo.gamma=0.98",
    "algo.critic.reward_scale=1",
    "algo.acting.best_of=16",
    "algo.acting.noise=1",
)
CLONES = [
    Row("bc_gaussian", ("algo=bc_gaussian", "algo.decode=argmax"), 1, SIZE),
    Row("bc_flow", ("algo=bc_flow",), 2, SIZE),
    Row("bc_meanflow", ("algo=bc_meanflow",), 2, SIZE),
]
GUIDED = [
    Row("plus_battle", ("algo=vgm2p_plus", CRITIC, *BATTLE), 7, SIZE),
    Row("vgm2p", ("algo=vgm2p", CRITIC), 4, SIZE),
    Row("plus_battle_history4", ("algo=vgm2p_plus", CRITIC, *BATTLE, "algo.history=4"), 8, SIZE),
    Row("vgm2p_plus", ("algo=vgm2p_plus", CRITIC), 6, SIZE),
    Row("vgm2p_team", ("algo=vgm2p", CRITIC, "algo.advantage=team"), 4, SIZE),
]
ROWS = [*CLONES, *GUIDED]
CLONE = CLONES[0]  # the categorical clone: the reference of the value baselines
VALUES = [
    Row("ma_bcq", ("algo=ma_bcq", CRITIC), 4, SIZE),
    Row("ma_cql", ("algo=ma_cql", CRITIC), 4, SIZE),
    Row("ma_bcq_threshold_0.8", ("algo=ma_bcq", CRITIC, "algo.threshold=0.8"), 4, SIZE),
    Row("ma_bcq_all_legal", ("algo=ma_bcq", CRITIC, "algo.mask_at_eval=false"), 4, SIZE),
]
PARTS: Plan = {"battles": [(list(SETS), ROWS)], "values": [(list(SETS), [CLONE, *VALUES])]}


def record(scenario: str) -> int:
    """Collect a dataset, unless its file exists. Return the exit code."""
    target = Path(os.environ.get("VGM2P_DATA", "data")) / "smax" / f"{scenario}_mixed.h5"
    if target.is_file():
        return 0
    words = ["collect", f"env=smax/{scenario}", "recipe=mixed", f"out={target}"]
    return subprocess.run([sys.executable, "-m", "vgm2p", *words], check=False).returncode
