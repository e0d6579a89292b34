"""A search over keys with Optuna: trials are cells, a failed trial does not end it, and the best one is printed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from vgm2p.config.sweeps.planned import Planned, keep
from vgm2p.config.sweeps.workers import make_launcher
from vgm2p.errors import ConfigError, DataError, StorageError
from vgm2p.io.text import command, say, shown
from vgm2p.run.folder import read_json, write_json
from vgm2p.run.lock import OutputLock

OBJECTIVES = ("estimate", "evaluation")


class Search(Sweeper):
    """Optuna's Hydra sweeper, whose trials are kept in a JSON file.

    Args:
        objective: the return that is searched for: `estimate` (`vgm2p estimate`, from data alone) or `evaluation` (the
            last evaluation of the run).
        estimate: keys of `vgm2p estimate`, such as updates.
        storage: the file; None: trials are forgotten. The URL of a database is left to Optuna.
        n_trials: number of trials, with those of the file.
        keys: other keys of Optuna's sweeper.
    """

    def __init__(
        self, objective: str, estimate: Mapping[str, Any], storage: str | None, n_trials: int, **keys: Any
    ) -> None:
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

        is_file = storage is not None and "://" not in storage
        self.objective, self.n_trials, self.proposes = objective, n_trials, bool(estimate.get("propose"))
        words = sorted(f"{key}={value}" for key, value in estimate.items())
        self.asked = {"objective": objective} | ({"estimate": words} if objective == "estimate" else {})
        self.file = Path(str(storage)) if is_file else None
        self.optuna = OptunaSweeper(storage=None if is_file else storage, n_trials=n_trials, **keys).sweeper

    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher. Optuna's own file of results goes to the folder of the sweep, which is deleted."""
        aside = config.copy()
        with open_dict(aside):
            aside.hydra.sweep.dir = str(Planned.hooks.sweep.folder)
        self.optuna.setup(hydra_context=hydra_context, task_function=task_function, config=aside)
        self.launcher = make_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Do the trials that are missing, and print the best one with the command that trains it.

        Raises:
            ConfigError: if no trial has a return, for another objective, or if Optuna refuses the search.
            DataError: if the file of the trials is damaged.
            StorageError: if the storage cannot be used, or if another search uses it.
        """
        import optuna

        self._check()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with contextlib.ExitStack() as stack:
            if self.file is not None:
                if not self.file.parent.exists():
                    self.file.parent.mkdir(parents=True)
                    stack.callback(remove_if_empty, self.file.parent)  # the search may be refused
                stack.enter_context(OutputLock(self.file, say))
            self._search(arguments)

    def _check(self) -> None:
        """Raise ConfigError for a key with a value that Optuna would refuse late."""
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"hydra.sweeper.objective must be {' or '.join(OBJECTIVES)}, got {self.objective!r}")
        if self.proposes:
            raise ConfigError("hydra.sweeper.estimate.propose: a search compares estimates; remove it")
        for name, number in (("n_trials", self.n_trials), ("n_jobs", self.optuna.n_jobs)):
            if not isinstance(number, int) or number < 1:
                raise ConfigError(f"hydra.sweeper.{name} must be a whole number from 1, got {number!r}")
        if self.optuna._get_directions() not in (["maximize"], ["minimize"]):
            raise ConfigError(f"hydra.sweeper.direction must be maximize or minimize, got {self.optuna.direction!r}")

    def _search(self, arguments: list[str]) -> None:
        import optuna

        impl = self.optuna
        study = self._study()
        others: list[dict[str, Any]] = []
        if self.file is not None:
            with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
                others = self._recall(study, arguments)
        kept = impl.launcher = Kept(self.launcher, self.asked, study, self.file, others)
        done = sum(trial.state.is_finished() for trial in study.trials)
        impl.n_trials = max(0, self.n_trials - done)
        say(f"search       {self.n_trials} trials by their {self.objective} return: {done} are done")
        if self.objective == "evaluation":
            say("warning      the best of many evaluations is too high by chance: judge it on fresh episodes")
        if impl.n_trials:
            try:
                impl.sweep(arguments)
            except ValueError as error:
                if not kept.launched:
                    raise _refusal(error) from error
                # otherwise, no trial has a return, which is told below
            except RuntimeError as error:
                if "Study.stop" not in str(error):
                    raise
                kept.tell()  # the last trial of a grid has failed; Optuna's sweeper does not expect this
        self._print_best(study)

    def _study(self) -> Any:
        """Open the study, or begin it, so that Optuna's sweeper finds it."""
        import optuna

        impl = self.optuna
        if impl.storage is None:
            impl.storage = optuna.storages.InMemoryStorage()
        impl.study_name = impl.study_name or "search"
        try:
            return optuna.create_study(
                study_name=impl.study_name, storage=impl.storage, directions=impl._get_directions(), load_if_exists=True
            )
        except Exception as error:  # those of SQLAlchemy and of the database
            line = " ".join(f"{type(error).__name__} {error}".split())[:90]
            raise StorageError(
                f"hydra.sweeper.storage={impl.storage}: Optuna cannot use it ({line}); name a file that ends in .json"
            ) from error

    def _recall(self, study: Any, arguments: list[str]) -> list[dict[str, Any]]:
        """Add the trials of the file to the study. Returns those of another search, which are left out.

        A trial of an earlier version does not say by which return it was judged: its words are compared alone.
        """
        import optuna
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        assert self.file is not None
        if not self.file.exists():
            return []
        try:
            space, words = create_params_from_overrides([*self.optuna._parse_sweeper_params_config(), *arguments])
        except ValueError as error:
            raise _refusal(error) from error
        entries: Any = read_json(self.file, "the search").get("trials")
        states = optuna.trial.TrialState
        others: list[dict[str, Any]] = []
        for entry in entries if isinstance(entries, list) else [{}]:
            try:
                value = None if entry["value"] is None else float(entry["value"])
                trial = optuna.trial.create_trial(
                    params=entry["params"],
                    distributions={name: each for name, each in space.items() if name not in words},
                    user_attrs=entry["words"],
                    value=value,
                    state=states.FAIL if value is None else states.COMPLETE,
                )
                asked = {key: entry[key] for key in ("objective", "estimate") if key in entry}
            except (TypeError, KeyError) as error:
                raise DataError(f"{self.file}: damaged; delete it, or name another hydra.sweeper.storage") from error
            except ValueError:
                others.append(entry)
                continue
            if entry["words"] != words or asked not in ({}, self.asked):
                others.append(entry)
                continue
            study.add_trial(trial)
        if others:
            say(f"search       {len(others)} trials in {self.file} are of another search, and are left out")
        return others

    def _print_best(self, study: Any) -> None:
        try:
            best = study.best_trial
        except ValueError:
            raise ConfigError("no trial of the search has a return; see the failures above") from None
        given = sorted({**best.params, **best.user_attrs}.items())  # a file of trials does not keep their order
        keys = {key: value for key, value in given if key != "+sweep"}
        words = [f"{key}={value}" for key, value in keys.items() if key != "compare"]
        others = [word for word in words if not word.startswith(("seed=", "seeds="))]
        say(f"\nbest         trial {best.number} of {len(study.trials)}: {self.objective} return {shown(best.value)}")
        say(f"train it     `{command('fit', *words, 'compare=[]')}`")
        say(f"other seeds  `{command('fit', '-m', *others, 'seed=1,2,3')}`")
        if self.objective == "evaluation":
            say("judge it     on the other seeds, or with more episodes: evaluate run=<its folder> episodes=100")


class Kept(Launcher):
    """A launcher whose outcomes are kept. It starts nothing after a signal.

    Args:
        launcher: the launcher.
        asked: the return that is searched for, as the file of the trials has it.
        study: the search.
        file: where the trials are written; None: nowhere.
        others: trials of other searches, which stay in the file.
    """

    def __init__(
        self,
        launcher: Launcher,
        asked: Mapping[str, Any],
        study: Any,
        file: Path | None,
        others: Sequence[Mapping[str, Any]],
    ) -> None:
        self.launcher, self.asked, self.study, self.file = launcher, asked, study, file
        self.trials = [*others, *(self._entry(trial, trial.value) for trial in study.trials)]
        self.launched = 0  # trials
        self.newest: dict[int, float | None] = {}  # number of a trial of the newest batch -> its return

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Do nothing: the launcher is ready."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run trials, and return their outcomes. Equal trials are one run: two processes cannot share its folder.

        Raises Interrupted if a signal arrived; trials that it has stopped are not kept, and those that ended are.
        """
        stop = Planned.hooks.stop
        asked = self.study.trials[-len(job_overrides) :]
        self.launched += len(job_overrides)
        self.newest = {}
        once = list(dict.fromkeys(map(tuple, job_overrides)))
        ended = list(self.launcher.launch(once, initial_job_idx))
        keep(Planned.hooks.sweep, initial_job_idx, ended)
        returns = [ended[once.index(tuple(words))] for words in job_overrides]
        for trial, words, found in zip(asked, job_overrides, returns, strict=True):
            value = found.return_value.objective
            if value is None and stop.requested():
                continue
            self.newest[trial.number] = value
            self.trials.append(self._entry(trial, value))
            text = "failed" if value is None else f"{self.asked['objective']} return {shown(value)}"
            say(f"trial        {text}: {' '.join(words)}")
        if self.file is not None:
            write_json(self.file, {"trials": self.trials})
        if stop.requested():
            raise stop.interruption("the search was stopped; the same command continues it, if it has a storage")
        return returns

    def _entry(self, trial: Any, value: float | None) -> dict[str, Any]:
        return {"params": trial.params, "words": trial.user_attrs, "value": value, **self.asked}

    def tell(self) -> None:
        """Tell the study how the trials of the newest batch ended, where it does not know it."""
        import optuna

        states = optuna.trial.TrialState
        for number, value in self.newest.items():
            if not self.study.trials[number].state.is_finished():
                self.study.tell(number, value, states.FAIL if value is None else states.COMPLETE)


def _refusal(error: ValueError) -> ConfigError:
    return ConfigError(f"the search cannot begin: {' '.join(str(error).split())[:150]}")


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if nothing is in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def keys() -> dict[str, Any]:
    """Return the keys of the sweeper with their defaults."""
    from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf

    found: Any = OmegaConf.to_container(OmegaConf.structured(OptunaSweeperConf))
    changed = {"direction": "maximize", "n_jobs": 1, "max_failure_rate": 1.0, "objective": "estimate", "estimate": {}}
    return {name: value for name, value in found.items() if name != "_target_"} | changed
