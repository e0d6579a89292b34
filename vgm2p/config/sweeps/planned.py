"""The sweeper: composes every cell first, so that a plan can be made, and starts those that the plan has chosen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from vgm2p.config.build import algorithm_class, is_discrete
from vgm2p.config.checks import check_keys
from vgm2p.config.compose import resolve
from vgm2p.config.hydra_errors import explained
from vgm2p.config.job import Job, cell_name, this_job
from vgm2p.config.nodes import settings_of
from vgm2p.config.settings import FitSettings, training_part
from vgm2p.config.sweeps.workers import make_launcher
from vgm2p.config.words import SETTINGS
from vgm2p.errors import ConfigError, UserError
from vgm2p.io.text import say
from vgm2p.run.fingerprint import run_name
from vgm2p.run.sweep import Outcome, Sweep
from vgm2p.signals import StopFlag

SECONDS = 10.0  # between lines of progress
SEED = "seed="
OF_SEED = re.compile(r"\$\{[^}]*seed")  # an interpolation that may use the seed


@dataclass(frozen=True)
class Cell:
    """A cell of a sweep.

    Attributes:
        job: its words and its folder.
        overrides: the words for Hydra's launcher.
        settings: its settings; None if they are refused.
        refused: why they are refused.
    """

    job: Job
    overrides: list[str]
    settings: Any
    refused: UserError | None = None


@dataclass(frozen=True)
class Hooks:
    """What the program does in a sweep, beside Hydra.

    Attributes:
        sweep: where the outcomes of the cells are kept.
        stop: tells whether a signal asked to stop.
        choose: gets all cells, and returns those to be started.
    """

    sweep: Sweep
    stop: StopFlag
    choose: Callable[[Sequence[Cell]], list[Cell]]


class Planned(Sweeper):
    """Every combination of the given values, like Hydra's basic sweeper. All cells are composed before one starts.

    `hooks` is set before Hydra makes the sweeper. No `multirun.yaml` is written.

    Args:
        max_batch_size: number of cells that the launcher gets at once; None: all.
        params: key -> values, beside those of the command line.
    """

    hooks: Hooks
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = make_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep. Raises Hydra's errors for words that it refuses, and Interrupted while cells are composed."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra executes this module once more

        size = self.max_batch_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ConfigError(f"hydra.sweeper.max_batch_size must be a whole number from 1, or null, got {size!r}")
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        batches = BasicSweeper.split_arguments(parser.parse_overrides(words), self.max_batch_size)
        chosen = self.hooks.choose(self._composed([words for batch in batches for words in batch]))
        size = self.max_batch_size or max(1, len(chosen))
        for begun in range(0, len(chosen), size):
            batch = [cell.overrides for cell in chosen[begun : begun + size]]
            keep(self.hooks.sweep, begun, self.launcher.launch(batch, initial_job_idx=begun))

    def _composed(self, cells: list[list[str]]) -> list[Cell]:
        """Return the cells with their settings. Says how far it is, because hundreds of cells take a while."""
        found: list[Cell] = []
        last = time.monotonic()
        first_seeds: dict[tuple[str, ...], FirstSeed | None] = {}
        for words in cells:
            if self.hooks.stop.requested():
                raise self.hooks.stop.interruption("stopped before the first cell began; nothing was changed")
            others = tuple(word for word in words if not word.startswith(SEED))
            first = first_seeds.get(others)
            if first is not None:
                found.append(first.with_seed(words))
            else:
                cell, first_seeds[others] = self._cell(words)
                found.append(cell)
            if time.monotonic() - last > SECONDS and len(found) < len(cells):
                last = time.monotonic()
                say(f"sweep        {len(found)} of {len(cells)} cells are composed")
        return found

    def _cell(self, words: list[str]) -> tuple[Cell, FirstSeed | None]:
        """Compose a cell. Returns it, and what cells need that differ from it in their seed."""
        assert self.config is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, words)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = 0
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            with open_dict(config):
                del config["hydra"]
            job = this_job(config)
            try:
                values = explained(job.command, lambda: resolve(config))
                cell = Cell(job, words, settings_of(values, SETTINGS[job.command]))
                if isinstance(fit := cell.settings, FitSettings):  # before the first cell begins
                    check_keys(algorithm_class(fit.algo), is_discrete(fit.env), fit.overrides, fit.algorithm)
            except UserError as error:
                return Cell(job, words, None, error), None
            uses_seed = OF_SEED.search(repr(OmegaConf.to_container(config)))
            names_out = any(word.lstrip("+").startswith("out=") for word in words)
            derivable = not (uses_seed or names_out) and job.command == "fit"
            derivable = derivable and any(word.startswith(SEED) for word in words)
            return cell, FirstSeed(cell, values) if derivable and named_by_settings(values) else None
        finally:
            HydraConfig.instance().cfg = before


@dataclass(frozen=True)
class FirstSeed:
    """A composed cell, from which cells that differ in `seed` alone follow. To compose each of them takes long.

    Attributes:
        cell: the cell.
        values: its configuration as plain containers.
    """

    cell: Cell
    values: dict[str, Any]

    def with_seed(self, words: list[str]) -> Cell:
        """Return the cell with these words."""
        (word,) = (word for word in words if word.startswith(SEED))
        typed = [word if each.startswith(SEED) else each for each in self.cell.job.words]
        values = {**self.values, "seed": yaml.safe_load(word.removeprefix(SEED)), "overrides": typed}
        try:
            values["out"] = str(Path(values["out"]).parent / run_name(training_part(values)))
            settings = settings_of(values, FitSettings)
        except UserError as error:
            return Cell(replace(self.cell.job, words=typed, out=None), words, None, error)
        return Cell(replace(self.cell.job, words=typed, out=values["out"]), words, settings)


def named_by_settings(values: Mapping[str, Any]) -> bool:
    """Return whether the run folder has the name that follows from the settings, so that another seed has another."""
    return Path(values["out"]).name == run_name(training_part(values))


def keep(sweep: Sweep, first: int, returns: Sequence[JobReturn]) -> None:
    """Keep the outcomes of cells that a launcher has returned, the first of which has this number."""
    for number, returned in enumerate(returns, first):
        outcome = returned.return_value
        assert isinstance(outcome, Outcome)
        sweep.note(cell_name(number), outcome)
