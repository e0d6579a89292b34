"""The end of a run: final evaluation at several noises, results.json, plots, the table, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vgm2p.envs.base import Episode, VectorEnv
from vgm2p.errors import RolloutStopped
from vgm2p.execution.evaluation import evaluate, ways
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.report.curves import run_plot
from vgm2p.report.estimates import interval, per_seed, rate_interval
from vgm2p.report.metrics import Deviation, InterquartileMean, Mean, Total, WinRate
from vgm2p.report.runs import load_runs
from vgm2p.report.tables import table
from vgm2p.report.variants import condition_warnings, name_variants
from vgm2p.run.folder import RunFolder, Way, episode_row, write_json
from vgm2p.signals import StopFlag
from vgm2p.training.module import OfflineModule

RANDOM_SEED = 0


class Finish:
    """Evaluates the trained policy, writes results and plots, and prints the table.

    Results hold no time and no speed, so that a resumed run's files equal an uninterrupted one's.
    """

    def __init__(
        self,
        folder: RunFolder,
        env: VectorEnv | None,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        data_returns: Sequence[float],
        stop: StopFlag,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.env, self.config, self.data = folder, env, config, data
        self.data_returns, self.stop, self.say = list(data_returns), stop, say

    def __call__(self, module: OfflineModule) -> None:
        """Finish a run whose last update is done. Raises Interrupted when a signal asks to stop."""
        results = self._results(module)
        write_json(self.folder.results, results)
        if self.config["callbacks"]["plot"]:
            run_plot(self.folder.path)

    def _results(self, module: OfflineModule) -> dict[str, Any]:
        algorithm, config = module.algorithm, self.config
        frozen = [seed for seed, alive in zip(algorithm.seeds, algorithm.alive.tolist(), strict=True) if not alive]
        results: dict[str, Any] = {
            "experiment": config["experiment"],
            "algorithm": config["algorithm"],
            "environment": algorithm.spec.env_id,
            "data": config["data"]["name"],
            "data_digest": self.data["digest"],
            "seeds": list(algorithm.seeds),
            "diverged_seeds": frozen,
            "updates": module.done,
            "dataset_return_mean": average(self.data_returns),
            "dataset_return_ci95": interval([self.data_returns]),
            "dataset_episodes": len(self.data_returns),
        }
        if self.env is not None:
            results |= self._evaluated(module)
        return results

    def _evaluated(self, module: OfflineModule) -> dict[str, Any]:
        own = module.algorithm.acting
        noise = None if own is None else own.noise
        log, rows, by_noise = self.folder.log_episodes(), [], []
        log.truncate(module.done - 1)
        for way in ways(own, self.config["eval_acting"]):
            episodes = self._episodes(module, way)
            rows += [episode_row(module.done, episode, way) for episode in episodes]
            by_noise.append({"act_noise": way, **statistics(episodes)})
        random = self._random()
        log.append(rows)
        headline = next(entry for entry in by_noise if entry["act_noise"] == noise)
        return {
            **{key: value for key, value in headline.items() if key != "act_noise"},
            "act_noise": noise,
            "by_act_noise": by_noise,
            "random_return_mean": random["return_mean"],
            "random_return_ci95": random["return_ci95"],
        }

    def _episodes(self, module: OfflineModule, way: Way) -> list[Episode]:
        assert self.env is not None
        env, count, precision = self.env, self.config["eval_episodes"], self.config["eval_precision"]
        return self._guarded(
            lambda: evaluate(module.algorithm, env, module.done, count, self.stop.requested, way, precision=precision)
        )

    def _random(self) -> dict[str, Any]:
        env, count = self.env, self.config["eval_episodes"]
        assert env is not None
        actor = RandomActor(env.spec)
        return statistics(self._guarded(lambda: rollout(actor, env, 0, [RANDOM_SEED], count, self.stop.requested)))

    def _guarded(self, run: Callable[[], list[Episode]]) -> list[Episode]:
        try:
            return run()
        except RolloutStopped:
            raise self.stop.interruption("stopped in the final evaluation; the same command repeats it") from None


def statistics(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return means, deviations, intervals and per-seed values of finished episodes."""
    seeds = sorted({episode.seed for episode in episodes})
    position = torch.tensor([seeds.index(episode.seed) for episode in episodes])
    returns = torch.tensor([episode.return_ for episode in episodes], dtype=torch.float64)
    lengths = torch.tensor([episode.length for episode in episodes], dtype=torch.float64)
    faults = torch.tensor([episode.faults for episode in episodes])
    means = _compute(Mean(len(seeds)), position, returns)
    middles = _compute(InterquartileMean(len(seeds)), position, returns)
    deviations = _compute(Deviation(len(seeds)), position, returns)
    grouped = per_seed([(episode.seed, episode.return_) for episode in episodes])
    extra = {
        f"{name}_mean": average(_compute(Mean(len(seeds)), position, torch.tensor([e.extra[name] for e in episodes])))
        for name in episodes[0].extra
    }
    return {
        "episodes": len(episodes),
        "return_mean": average(means),
        "return_std": float(returns.std(correction=0)),
        "return_std_per_seed": deviations,
        "return_iqm": average(middles),
        "return_ci95": interval(list(grouped.values())),
        "per_seed": means,
        "length_mean": average(_compute(Mean(len(seeds)), position, lengths)),
        **_win_rate(episodes, position, len(seeds)),
        **extra,
        "faults": int(sum(_compute(Total(len(seeds)), position, faults))),
    }


def _win_rate(episodes: Sequence[Episode], position: torch.Tensor, seeds: int) -> dict[str, Any]:
    """Return the mean of the seeds' rates with its interval, and theirs (Wilson's); None alone without victories."""
    if any(episode.won is None for episode in episodes):
        return {"win_rate": None}
    metric = WinRate(seeds)
    rates = _compute(metric, position, torch.tensor([float(bool(episode.won)) for episode in episodes]))
    outcomes = per_seed([(episode.seed, float(bool(episode.won))) for episode in episodes])
    return {
        "win_rate": average(rates),
        "win_rate_ci95": list(rate_interval(list(outcomes.values()))),
        "win_rate_per_seed": rates,
        "win_rate_per_seed_ci95": [list(bounds) for bounds in metric.intervals()],
    }


def average(values: Sequence[float]) -> float:
    """Return the mean of per-seed values."""
    return sum(values) / len(values)


def _compute(metric: Any, position: torch.Tensor, values: torch.Tensor) -> list[float]:
    metric.update(position, values)
    computed: list[float] = metric.compute().reshape(-1).tolist()  # torchmetrics drops the axis of a single seed
    return computed


def show(folder: RunFolder, compared: Sequence[Path], say: Callable[[str], None]) -> None:
    """Print the table of a finished run and its comparison runs, and the commands that go on from here."""
    loaded, unfinished = load_runs([folder.path, *compared])
    runs, repeated = name_variants(loaded)
    for notice in (*unfinished, *repeated, *condition_warnings(runs)):
        say(notice)
    if "return_mean" in folder.read_results():
        say("\n" + table(runs))
    if (folder.plots / "learning.png").exists():
        say(f"\nlearning curve   {folder.plots / 'learning.png'}")
    say(f"run folder       {folder.path}")
    say(f"evaluate again   python -m vgm2p evaluate run={folder.path} episodes=100")
    config = folder.read_manifest()["config"]
    same = [word for word in config["overrides"] if not word.startswith(("updates=", "resume="))]
    other = [word for word in same if not word.startswith(("algo=", "algo.", "label=", "out="))]
    say("train on         " + " ".join(["python -m vgm2p fit", *same, f"updates={2 * config['updates']}"]))
    say("other algorithm  " + " ".join(["python -m vgm2p fit", *other, "algo=bc_flow"]))
