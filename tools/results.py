"""`make results`: the learning experiments through the product's own multirun and report, into docs/results.md.

Resumable: finished cells are skipped. `python -m tools.results [--runs DIR] [--jobs N] [--only PART] [--write]`.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from vgm2p.config.build import config_folder, register_resolvers
from vgm2p.run.fingerprint import differences
from vgm2p.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SIZE = (
    "updates=10000",
    "eval_every=2500",
    "eval_episodes=20",
    "seeds=5",
    "eval_acting=[1,0.5,0.25,0,shared]",
    "algo.width=128",
    "algo.depth=3",
    "algo.lr=1e-3",
    "algo.lr_decay_updates=10000",
    "logger.tensorboard=false",
)
BUDGET = ("updates", "eval_episodes", "eval_acting")  # of SIZE, what two runs of the same training may differ in
CRITIC = ["algo.critic_depth=2"]
REPLAY = ["recorded_6halfcheetah_medium_replay", "recorded_3hopper_medium_replay"]
MEDIUM = ["recorded_6halfcheetah_medium", "recorded_3hopper_medium"]
EXPERT = ["recorded_6halfcheetah_medium_expert", "recorded_3hopper_medium_expert"]
BUNDLED = ["quickstart"]


@dataclass(frozen=True)
class Row:
    """A line of a table: label, overrides, CPU minutes of a 6-agent cell (five seeds, one core), common settings."""

    label: str
    overrides: tuple[str, ...]
    minutes: int
    size: tuple[str, ...] = SIZE


def row(label: str, algo: str, minutes: int, *overrides: str) -> Row:
    """Return a row; value-based algorithms get the smaller critic of this size."""
    return Row(label, (f"algo={algo}", *(CRITIC if algo.startswith("vgm2p") else ()), *overrides), minutes)


MAIN = [
    row("vgm2p_plus", "vgm2p_plus", 9),
    row("bc_meanflow", "bc_meanflow", 5),
    row("vgm2p", "vgm2p", 11),
    row("bc_gaussian", "bc_gaussian", 3),
    row("bc_flow", "bc_flow", 6),
    row("vgm2p_team", "vgm2p", 11, "algo.advantage=team"),
    row("vgm2p_fm", "vgm2p_fm", 20),
    row("bc_meanflow_best25", "bc_meanflow", 5, "data.best_share=0.25"),
]
SWITCHES = [
    row("plus_best_share_1", "vgm2p_plus", 9, "algo.best_share=1"),
    row("plus_margin_0", "vgm2p_plus", 9, "algo.margin=0"),
    row("plus_class0_weight_1", "vgm2p_plus", 9, "algo.class0_weight=1"),
    row("plus_baseline_sample", "vgm2p_plus", 11, "algo.baseline=sample"),
    row("plus_omega_3", "vgm2p_plus", 11, "algo.omega=3"),
    row("plus_per_agent", "vgm2p_plus", 9, "algo.advantage=agent"),
    row("plus_slow_critic", "vgm2p_plus", 9, "algo.reward_scale=1", "algo.tau=0.005"),
    row("plus_judge_both", "vgm2p_plus", 10, "algo.judge=both"),
    row("plus_best_of_1", "vgm2p_plus", 8, "algo.best_of=1"),
]
PAPER = [
    row("vgm2p_independent", "vgm2p", 11, "algo.mixer=independent"),
    *(row(f"vgm2p_omega{omega}", "vgm2p", 11, f"algo.omega={omega}") for omega in (1, 5, 10, 20)),
]
PARTS: dict[str, list[tuple[list[str], list[Row]]]] = {
    "main": [(REPLAY, MAIN), (MEDIUM, MAIN), (EXPERT, MAIN), (BUNDLED, MAIN)],
    "switches": [(REPLAY, SWITCHES)],
    "ablations": [(REPLAY, PAPER)],
}


def cells(parts: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield (experiment, row) of every cell, in the order of running."""
    for part in parts:
        for experiments, rows in PARTS[part]:
            yield from ((experiment, line) for line, experiment in itertools.product(rows, experiments))


def main() -> int:
    """Print the plan, run what is missing, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--write", action="store_true", help="write docs/results.md from what is finished, run nothing")
    options = parser.parse_args()
    parts = options.only or list(PARTS)
    plan(parts, options.runs, options.jobs)
    code = 0
    if not options.write:
        for part in parts:
            for experiments, rows in PARTS[part]:
                for line in rows:
                    code = max(code, run(experiments, line, options.runs, options.jobs))
    from tools.results_page import write

    write(options.runs, ROOT / "docs")
    return code


def plan(parts: list[str], runs: Path, jobs: int) -> None:
    """Print how much there is to do."""
    every = list(cells(parts))
    missing = [(experiment, line) for experiment, line in every if not finished(runs, experiment, line)]
    cost = sum(
        line.minutes * (1.0 if "cheetah" in experiment or experiment == "quickstart" else 0.7)
        for experiment, line in missing
    )
    print(
        f"{len(every)} cells of 5 seeds ({', '.join(parts)}), {len(missing)} to run, {jobs} at a time: "
        f"about {cost / jobs:.0f} minutes",
        flush=True,
    )


def finished(runs: Path, experiment: str, line: Row) -> bool:
    """Whether a cell has results, of the settings that it would be run with now."""
    folder = RunFolder(runs / experiment / line.label)
    if not folder.results.is_file():
        return False
    was, now = folder.read_manifest()["config"], settings(experiment, line)
    return not differences(was, now) and all(was[key] == now[key] for key in BUDGET)


@cache
def settings(experiment: str, line: Row) -> dict[str, Any]:
    """Return the configuration of a cell."""
    register_resolvers()
    words = [f"experiment={experiment}", *line.overrides, *line.size, "out=."]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        cfg = compose("fit", overrides=words)
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def command(experiments: list[str], line: Row, runs: Path, jobs: int) -> list[str]:
    """Return the multirun of a row."""
    out = f"out={runs}/${{hydra:runtime.choices.experiment}}/{line.label}"
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    words = [f"experiment={','.join(experiments)}", *line.overrides, *line.size, f"label={line.label}"]
    return [sys.executable, "-m", "vgm2p", "fit", "-m", *words, "compare=[]", out, *launcher]


def run(experiments: list[str], line: Row, runs: Path, jobs: int) -> int:
    """Run the missing cells of a row; return the exit code. `fit` refuses a folder with results of other settings."""
    missing = [experiment for experiment in experiments if not finished(runs, experiment, line)]
    if not missing:
        return 0
    print(f"{line.label}: {', '.join(missing)}", flush=True)
    return subprocess.run(command(missing, line, runs, jobs), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
