"""`make results-baselines`: value and generative baselines, VGM2P and plain cloning, with two budgets of updates."""

from __future__ import annotations

from tools.results import robots
from tools.results.cells import Plan, Row
from tools.results.robots import BUNDLED, CRITIC, EXPERT, MEDIUM, REPLAY, SIZE

LONGER = 4  # factor of the updates in the larger budget
# The authors draw ten candidates of each kind, which makes an update ten times as dear as one of VGM2P.
TWO_CANDIDATES = "algo.cql.samples=2"


def _row(label: str, algo: str, minutes: int, *overrides: str) -> Row:
    return Row(label, (f"algo={algo}", *CRITIC, *overrides), minutes, SIZE)


BASELINES = [
    _row("ma_td3bc", "ma_td3bc", 8),
    _row("omiga", "omiga", 5, "algo.gamma=0.99"),
    _row("ma_icq", "ma_icq", 5),
    _row("ma_cql", "ma_cql", 20, TWO_CANDIDATES),
    _row("omar", "omar", 35, TWO_CANDIDATES),
]
GENERATIVE = [
    Row("bc_diffusion", ("algo=bc_diffusion",), 6, SIZE),
    _row("mac_flow", "mac_flow", 12),
    _row("om2p", "om2p", 15),
]
OURS = [row for row in robots.MAIN if row.label in ("bc_gaussian", "bc_meanflow", "vgm2p", "vgm2p_chosen")]


def longer(row: Row) -> Row:
    """Return the row with LONGER times the updates."""
    numbers = {"updates": 10_000, "eval_every": 2_500, "optim.decay_updates": 10_000}
    size = [word for word in row.size if word.partition("=")[0] not in numbers]
    words = (*size, *(f"{key}={LONGER * number}" for key, number in numbers.items()))
    return Row(f"{row.label}_x{LONGER}", row.overrides, LONGER * row.minutes, words)


# Planners are dear on a CPU: a narrower network, a shorter window, five sampling steps, one seed and fewer updates.
PLANNER = ("+variant=small_planner", "algo.net.width=32", "algo.history=5", "algo.horizon=4", "algo.acting.steps=5")
PLANNER_SIZE = (
    "updates=4000",
    "eval_every=4000",
    "eval_episodes=10",
    "seeds=1",
    "eval_acting=[0.5]",
    "optim.decay_updates=4000",
    "logger.tensorboard=null",
)
PLANNERS = [Row(name, (f"algo={name}", *PLANNER), 17, PLANNER_SIZE) for name in ("madiff_c", "madiff_d", "dof")]

DRAWN = [
    Row("vgm2p_plus", ("algo=vgm2p_plus",), 5, SIZE),
    Row("bc_mse_return", ("algo=bc_mse", "data.sampling=return", "data.ess=auto"), 3, SIZE),
]
SHORT_ROWS = [*DRAWN, *BASELINES, *OURS, *GENERATIVE]
LONG_ROWS = [longer(row) for row in [*BASELINES, *OURS]]
PARTS: Plan = {
    "replay": [(REPLAY, SHORT_ROWS)],
    "expert": [(EXPERT, SHORT_ROWS)],
    "longer": [(REPLAY, LONG_ROWS)],
    "planners": [(EXPERT, PLANNERS)],
    "drawn": [(MEDIUM, DRAWN), (BUNDLED, DRAWN)],
}
