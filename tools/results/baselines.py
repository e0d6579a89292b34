"""`make results-baselines`: value and generative baselines, VGM2P and plain cloning, with two budgets of updates."""

from __future__ import annotations

from tools.results.cells import Plan, Row, resized
from tools.results.robots import BUNDLED, EXPERT, MEDIUM, REPLAY, rows_of

LONGER = 4  # factor of the updates in the larger budget
# The cells of this command and of the table about robots are the same.
BASELINES = rows_of("ma_td3bc", "omiga", "ma_icq", "ma_cql", "omar")
GENERATIVE = rows_of("bc_diffusion", "mac_flow", "om2p")
OURS = rows_of("vgm2p_chosen", "bc_meanflow", "vgm2p", "bc_gaussian")


def longer(row: Row) -> Row:
    """Return the row with LONGER times the updates."""
    budget = {"updates": 10_000, "eval_every": 2_500, "optim.decay_updates": 10_000}
    size = resized(row.size, {key: LONGER * number for key, number in budget.items()})
    return Row(f"{row.label}_x{LONGER}", row.overrides, LONGER * row.minutes, size)


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

DRAWN = rows_of("vgm2p_plus", "bc_mse_return")
SHORT_ROWS = [*DRAWN, *BASELINES, *OURS, *GENERATIVE]
LONG_ROWS = [longer(row) for row in [*BASELINES, *OURS]]
PARTS: Plan = {
    "replay": [(REPLAY, SHORT_ROWS)],
    "expert": [(EXPERT, SHORT_ROWS)],
    "longer": [(REPLAY, LONG_ROWS)],
    "planners": [(EXPERT, PLANNERS)],
    "drawn": [(MEDIUM, DRAWN), (BUNDLED, DRAWN)],
}
