"""`make results-smax`: battles of SMAX (discrete actions), on data that this machine records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.results.cells import Plan, Row

SETS = {"smax_3m": "3m", "smax_2s3z": "2s3z"}
RANDOM_TEAMS = {"smax_smacv2_5_units": "smacv2_5_units", "smax_smacv2_10_units": "smacv2_10_units"}
BUDGET = (
    "updates=6000",
    "eval_every=3000",
    "eval_episodes=100",
    "seeds=5",
    "net.width=128",
    "net.depth=3",
    "optim.lr=1e-3",
    "optim.decay_updates=6000",
    "logger.tensorboard=null",
)
# The ways to act that an algorithm of a kind has. The value baselines have one, whatever their cells were asked for.
SIZE = (*BUDGET, "eval_acting=[1,mode,sample]")
GUIDED_SIZE = (*BUDGET, "eval_acting=[1,mode,sample,judged]")
ONE_WAY = (*BUDGET, "eval_acting=[1,0]")
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
# A judge of realised returns needs more rows than the policy (docs/algorithms/vgm2p_realised.md).
MANY_ROWS = ("data.batch_size=256", "algo.policy_rows=64", "algo.judge.depth=2")
VELOCITY = "algo.predict=v"  # the paper's letter
HISTORY = "algo.history=4"
CLONES = [
    Row("bc_gaussian", ("algo=bc_gaussian", "algo.decode=argmax"), 2, SIZE),
    Row("bc_flow", ("algo=bc_flow",), 3, SIZE),
    Row("bc_meanflow", ("algo=bc_meanflow",), 3, SIZE),
    Row("bc_flow_v", ("algo=bc_flow", VELOCITY), 3, SIZE),
    Row("bc_meanflow_v", ("algo=bc_meanflow", VELOCITY), 3, SIZE),
]
GUIDED = [
    Row("vgm2p", ("algo=vgm2p", CRITIC), 5, GUIDED_SIZE),
    Row("vgm2p_realised", ("algo=vgm2p_realised", *MANY_ROWS), 12, GUIDED_SIZE),
    Row("vgm2p_v", ("algo=vgm2p", CRITIC, VELOCITY), 5, GUIDED_SIZE),
    Row("plus_battle", ("algo=vgm2p_chosen", CRITIC, *BATTLE), 8, GUIDED_SIZE),
    Row("plus_battle_history4", ("algo=vgm2p_chosen", CRITIC, *BATTLE, HISTORY), 9, GUIDED_SIZE),
    Row("vgm2p_chosen", ("algo=vgm2p_chosen", CRITIC), 6, GUIDED_SIZE),
    Row("vgm2p_fm", ("algo=vgm2p_fm", CRITIC), 8, GUIDED_SIZE),
]
ROWS = [*CLONES, *GUIDED]
CLONE, MEANFLOW, VGM2P = CLONES[0], CLONES[2], GUIDED[0]  # CLONE, the categorical clone, is the reference of all tables
WITH_HISTORY = [
    Row(f"{row.label}_history4", (*row.overrides, HISTORY), row.minutes + 1, row.size)
    for row in (CLONE, MEANFLOW, VGM2P)
]
RANDOM_TEAM_ROWS = [CLONE, MEANFLOW, VGM2P, *WITH_HISTORY]
VALUES = [
    Row("ma_bcq", ("algo=ma_bcq", CRITIC), 4, ONE_WAY),
    Row("ma_cql", ("algo=ma_cql", CRITIC), 4, ONE_WAY),
    Row("ma_bcq_threshold_0.8", ("algo=ma_bcq", CRITIC, "algo.threshold=0.8"), 4, ONE_WAY),
    Row("ma_bcq_all_legal", ("algo=ma_bcq", CRITIC, "algo.mask_at_eval=false"), 4, ONE_WAY),
]
PARTS: Plan = {
    "battles": [(list(SETS), ROWS)],
    "random": [(list(RANDOM_TEAMS), RANDOM_TEAM_ROWS)],
    "values": [(list(SETS), [CLONE, *VALUES])],
}
SCENARIOS = {"battles": SETS, "random": RANDOM_TEAMS, "values": SETS}  # part -> experiments, and their scenarios


def record(scenario: str) -> int:
    """Collect a dataset, unless its file exists. Return the exit code."""
    target = Path(os.environ.get("VGM2P_DATA", "data")) / "smax" / f"{scenario}_mixed.h5"
    if target.is_file():
        return 0
    words = ["collect", f"env=smax/{scenario}", "recipe=mixed", f"out={target}"]
    return subprocess.run([sys.executable, "-m", "vgm2p", *words], check=False).returncode
