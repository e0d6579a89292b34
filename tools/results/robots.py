"""`make results`: the experiments and rows of the table about robots."""

from __future__ import annotations

from tools.results.cells import Plan, Row, resized

SIZE = (
    "updates=10000",
    "eval_every=2500",
    "eval_episodes=20",
    "seeds=5",
    "eval_acting=[1,0.5,0.25,0,shared]",
    "net.width=128",
    "net.depth=3",
    "optim.lr=1e-3",
    "optim.decay_updates=10000",
    "logger.tensorboard=null",
)
CRITIC = ("algo.critic.depth=2",)  # the critic of this size; of algorithms that have one
REPLAY = ["recorded_6halfcheetah_medium_replay", "recorded_3hopper_medium_replay"]
MEDIUM = ["recorded_6halfcheetah_medium", "recorded_3hopper_medium"]
EXPERT = ["recorded_6halfcheetah_medium_expert", "recorded_3hopper_medium_expert"]
BUNDLED = ["quickstart"]
SETS = [*REPLAY, *MEDIUM, *EXPERT, *BUNDLED]
DRAWN = ("data.sampling=return", "data.ess=0.1")
# The authors draw ten candidates of each kind, which makes an update ten times as dear as one of VGM2P.
TWO_CANDIDATES = "algo.cql.samples=2"


def clone(label: str, minutes: int, *words: str) -> Row:
    """Return a row without a critic."""
    return Row(label, words, minutes, SIZE)


def judged(label: str, algo: str, minutes: int, *words: str) -> Row:
    """Return a row of an algorithm with a critic."""
    return Row(label, (f"algo={algo}", *CRITIC, *words), minutes, SIZE)


PLUS = clone("vgm2p_plus", 3, "algo=vgm2p_plus")
CLONES = [
    clone("bc_gaussian", 2, "algo=bc_gaussian"),
    clone("bc_mse", 2, "algo=bc_mse"),
    clone("bc_diffusion", 6, "algo=bc_diffusion"),
    clone("bc_flow", 4, "algo=bc_flow"),
    clone("bc_flow_x", 4, "algo=bc_flow", "algo.predict=x"),
    clone("bc_meanflow", 3, "algo=bc_meanflow"),
    clone("bc_meanflow_x", 3, "algo=bc_meanflow", "algo.predict=x"),
]
DRAWN_CLONES = [
    *(clone(f"{row.label}_10", row.minutes, *row.overrides, *DRAWN) for row in CLONES),
    clone("bc_mse_return", 3, "algo=bc_mse", "data.sampling=return", "data.ess=auto"),
    clone("bc_meanflow_best25", 3, "algo=bc_meanflow", "data.best_share=0.25"),
]
VARIANTS = [
    judged("vgm2p", "vgm2p", 6),
    judged("vgm2p_fm", "vgm2p_fm", 10),
    judged("vgm2p_team", "vgm2p", 6, "algo.advantage=team"),
    judged("vgm2p_chosen", "vgm2p_chosen", 9),
]
BASELINES = [
    judged("ma_td3bc", "ma_td3bc", 6),
    judged("omiga", "omiga", 5, "algo.gamma=0.99"),
    judged("ma_icq", "ma_icq", 4),
    judged("ma_cql", "ma_cql", 13, TWO_CANDIDATES),
    judged("omar", "omar", 20, TWO_CANDIDATES),
    judged("mac_flow", "mac_flow", 12),
    judged("om2p", "om2p", 15),
]
GROUPS = {
    "clones": CLONES,
    "clones of good episodes": DRAWN_CLONES,
    "VGM2P and its variants": VARIANTS,
    "other algorithms": BASELINES,
}
MAIN = [PLUS, *(row for rows in GROUPS.values() for row in rows)]
ABLATIONS = [
    judged("vgm2p_independent", "vgm2p", 6, "algo.mixer=independent"),
    *(judged(f"vgm2p_omega{omega}", "vgm2p", 6, f"algo.omega={omega}") for omega in (1, 5, 10, 20)),
]
# The paper's networks, and a tenth of its updates: for a GPU.
BUDGET = {"updates": 50_000, "eval_every": 12_500, "optim.decay_updates": 50_000}
LARGE = resized(SIZE, {**BUDGET, "net.width": 512, "net.depth": 4})


def rows_of(*labels: str) -> list[Row]:
    """Return rows of the main table. Raises KeyError for an unknown label."""
    known = {row.label: row for row in MAIN}
    return [known[label] for label in labels]


LARGE_ROWS = [
    Row(f"{row.label}_large", tuple(word for word in row.overrides if word not in CRITIC), 16 * 5 * row.minutes, LARGE)
    for row in rows_of("vgm2p_plus", "bc_mse", "bc_meanflow", "bc_meanflow_x_10", "vgm2p", "vgm2p_chosen", "omiga")
]
PARTS: Plan = {
    "main": [(SETS, MAIN)],
    "ablations": [(REPLAY, ABLATIONS)],
    "large": [(REPLAY, LARGE_ROWS)],
}
