"""`make results-smax`: battles of SMAX (discrete actions), on data that this machine records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.results.cells import Plan, Row

SETS = {"smax_3m": "3m", "smax_2s3z": "2s3z"}  # settings of vgm2p_plus were chosen on 2s3z
UNSEEN = {"smax_8m": "8m", "smax_5m_vs_6m": "5m_vs_6m"}  # no setting was chosen on them
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
# A judge of realised returns needs more rows than the policy (docs/algorithms/vgm2p_realised.md).
MANY_ROWS = ("data.batch_size=256", "algo.policy_rows=64", "algo.judge.depth=2")
VELOCITY = "algo.predict=v"  # the paper's letter
BY_RETURN = ("data.sampling=return", "data.ess=0.1")
HISTORY = "algo.history=4"
CLONE = Row("bc_gaussian", ("algo=bc_gaussian", "algo.decode=argmax"), 2, SIZE)  # the categorical clone
MEANFLOW = Row("bc_meanflow", ("algo=bc_meanflow",), 3, SIZE)
VGM2P = Row("vgm2p", ("algo=vgm2p", CRITIC), 5, GUIDED_SIZE)
PLUS = Row("vgm2p_plus", ("algo=vgm2p_plus", *MANY_ROWS), 12, GUIDED_SIZE)
ROWS = [
    CLONE,
    Row("bc_flow", ("algo=bc_flow",), 3, SIZE),
    MEANFLOW,
    Row("bc_gaussian_10", (*CLONE.overrides, *BY_RETURN), 2, SIZE),
    Row("bc_meanflow_10", (*MEANFLOW.overrides, *BY_RETURN), 3, SIZE),
    VGM2P,
    PLUS,
]
PAPER = [
    Row("bc_flow_v", ("algo=bc_flow", VELOCITY), 3, SIZE),
    Row("bc_meanflow_v", ("algo=bc_meanflow", VELOCITY), 3, SIZE),
    Row("vgm2p_v", ("algo=vgm2p", CRITIC, VELOCITY), 5, GUIDED_SIZE),
    Row("vgm2p_fm", ("algo=vgm2p_fm", CRITIC), 8, GUIDED_SIZE),
]
WITH_HISTORY = [
    Row(f"{row.label}_history4", (*row.overrides, HISTORY), row.minutes + 1, row.size)
    for row in (CLONE, MEANFLOW, VGM2P)
]
VALUES = [
    Row("ma_bcq", ("algo=ma_bcq", CRITIC), 4, ONE_WAY),
    Row("ma_cql", ("algo=ma_cql", CRITIC), 4, ONE_WAY),
    Row("ma_bcq_threshold_0.8", ("algo=ma_bcq", CRITIC, "algo.threshold=0.8"), 4, ONE_WAY),
    Row("ma_bcq_all_legal", ("algo=ma_bcq", CRITIC, "algo.mask_at_eval=false"), 4, ONE_WAY),
]
PARTS: Plan = {
    "battles": [(list(SETS), [*ROWS, *PAPER])],
    "unseen": [(list(UNSEEN), ROWS)],
    "random": [(list(RANDOM_TEAMS), [*ROWS, *WITH_HISTORY])],
    "values": [(list(SETS), [CLONE, *VALUES]), (list(UNSEEN), [CLONE, *VALUES[:2]])],
}
PAGE = ("battles", "unseen", "random")  # the parts of docs/results.md
SCENARIOS = {**SETS, **UNSEEN, **RANDOM_TEAMS}


def data_file(scenario: str) -> Path:
    """Return the path of a recorded dataset."""
    return Path(os.environ.get("VGM2P_DATA", "data")) / "smax" / f"{scenario}_mixed.h5"


def record(scenario: str) -> None:
    """Collect a dataset, unless its file exists. If that fails, `collect` says why, and there is no file."""
    target = data_file(scenario)
    if not target.is_file():
        words = ["collect", f"env=smax/{scenario}", "recipe=mixed", f"out={target}"]
        subprocess.run([sys.executable, "-m", "vgm2p", *words], check=False)
