"""`make results`: the experiments and rows of the tables about robots."""

from __future__ import annotations

from tools.results.cells import Plan, Row

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
CRITIC = ["algo.critic.depth=2"]
REPLAY = ["recorded_6halfcheetah_medium_replay", "recorded_3hopper_medium_replay"]
MEDIUM = ["recorded_6halfcheetah_medium", "recorded_3hopper_medium"]
EXPERT = ["recorded_6halfcheetah_medium_expert", "recorded_3hopper_medium_expert"]
BUNDLED = ["quickstart"]


def row(label: str, algo: str, minutes: int, *overrides: str) -> Row:
    """Return a row; value-based algorithms get the smaller critic of this size."""
    critic = CRITIC if algo.startswith("vgm2p") else ()
    return Row(label, (f"algo={algo}", *critic, *overrides), minutes, SIZE)


MAIN = [
    row("vgm2p_chosen", "vgm2p_chosen", 9),
    row("bc_meanflow", "bc_meanflow", 5),
    row("vgm2p", "vgm2p", 11),
    row("bc_gaussian", "bc_gaussian", 3),
    row("bc_flow", "bc_flow", 6),
    row("vgm2p_team", "vgm2p", 11, "algo.advantage=team"),
    row("vgm2p_fm", "vgm2p_fm", 20),
    row("bc_meanflow_best25", "bc_meanflow", 5, "data.best_share=0.25"),
]
SWITCHES = [
    row("plus_best_share_1", "vgm2p_chosen", 9, "algo.best_share=1"),
    row("plus_margin_0", "vgm2p_chosen", 9, "algo.margin=0"),
    row("plus_class0_weight_1", "vgm2p_chosen", 9, "algo.class0_weight=1"),
    row("plus_baseline_sample", "vgm2p_chosen", 11, "algo.baseline=sample"),
    row("plus_omega_3", "vgm2p_chosen", 11, "algo.omega=3"),
    row("plus_per_agent", "vgm2p_chosen", 9, "algo.advantage=agent"),
    row("plus_slow_critic", "vgm2p_chosen", 9, "algo.critic.reward_scale=1", "algo.critic.tau=0.005"),
    row("plus_judge_both", "vgm2p_chosen", 10, "algo.judge=both"),
    row("plus_best_of_1", "vgm2p_chosen", 8, "algo.acting.best_of=1"),
]
PAPER = [
    row("vgm2p_independent", "vgm2p", 11, "algo.mixer=independent"),
    *(row(f"vgm2p_omega{omega}", "vgm2p", 11, f"algo.omega={omega}") for omega in (1, 5, 10, 20)),
]
PARTS: Plan = {
    "main": [(REPLAY, MAIN), (MEDIUM, MAIN), (EXPERT, MAIN), (BUNDLED, MAIN)],
    "switches": [(REPLAY, SWITCHES)],
    "ablations": [(REPLAY, PAPER)],
}
