"""The end of a run: the final evaluation in several ways to act, results.json and the plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vgm2p.envs.base import Episode, VectorEnv
from vgm2p.errors import RolloutStopped
from vgm2p.execution.evaluation import evaluate, ways
from vgm2p.execution.rollout import RandomActor, rollout
from vgm2p.report.curves import run_plot
from vgm2p.report.estimates import interval
from vgm2p.report.statistics import average, statistics
from vgm2p.run.folder import RunFolder, Way, episode_row, write_json
from vgm2p.signals import StopFlag
from vgm2p.training.module import OfflineModule

RANDOM_SEED = 0


class Finish:
    """Evaluates the trained policy and writes results and plots.

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
