"""The numbers of the paper's tables, from vgm2p/data/published-results.csv (its sources: vgm2p/data/README.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import vgm2p

Number = Literal[1, 2]
SOURCE = "VGM2P (arXiv 2604.08174v1)"
SEEDS = 6  # of the paper: a number is mean ± standard deviation over six seeds, of ten episodes each
EPISODES = 10
AVERAGE = "Average"
ALGORITHMS = {  # column of the paper's tables -> name of our algorithm
    "BC(Gaussian)": "bc_gaussian",
    "BC(Diffusion)": "bc_diffusion",
    "BC(FM)": "bc_flow",
    "BC(MF)": "bc_meanflow",
    "MA-BCQ": "ma_bcq",
    "MA-CQL": "ma_cql",
    "MA-TD3BC": "ma_td3bc",
    "MA-ICQ": "ma_icq",
    "OMAR": "omar",
    "OMIGA": "omiga",
    "MADiff": "madiff_d",
    "DoF": "dof",
    "MAC-Flow": "mac_flow",
    "VGM2P": "vgm2p",
}


@dataclass(frozen=True)
class Published:
    """A number of the paper.

    Attributes:
        group: the benchmark: smac_v1, smac_v2 or mamujoco.
        row: the dataset, as a table shows it; `Average` for the mean of a group.
        experiment: name of our experiment on this dataset; empty for an average.
        column: the algorithm, as the paper names it.
        mean: mean return over the seeds.
        std: standard deviation over the seeds; None for an average.
    """

    group: str
    row: str
    experiment: str
    column: str
    mean: float
    std: float | None

    @property
    def algorithm(self) -> str:
        """Name of our algorithm."""
        return ALGORITHMS[self.column]


@cache
def published(number: Number) -> tuple[Published, ...]:
    """Return the numbers of a table of the paper, row by row; the averages of the groups come last."""
    place = Path(vgm2p.__file__).resolve().parent / "data" / "published-results.csv"
    with place.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["source"], row["table"]) == (SOURCE, f"Table {number}")]
    return tuple(
        Published(
            row["environment"],
            AVERAGE if row["dataset"] == AVERAGE else f"{row['scenario']} {row['dataset']}",
            "" if row["dataset"] == AVERAGE else _experiment(row["environment"], row["scenario"], row["dataset"]),
            row["algorithm"],
            float(row["mean"]),
            float(row["std"]) if row["std"] else None,
        )
        for row in rows
    )


def _experiment(environment: str, scenario: str, dataset: str) -> str:
    """Return the name of our experiment on a dataset of the paper."""
    quality = dataset.lower().replace("-", "_")
    if environment == "smac_v2":  # terran_5_vs_5 -> smacv2_terran5v5
        return f"smacv2_{scenario.replace('_vs_', 'v').replace('_', '')}"
    return f"{environment.replace('_', '')}_{scenario}_{quality}"
