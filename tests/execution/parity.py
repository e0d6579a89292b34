"""`make test-export`: how far the actions of exported graphs are from those of `act`, for every algorithm."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.algos.test_contract import PAIRS, build, train
from vgm2p.commands.export import FUNCTIONS
from vgm2p.config.settings import PolicySettings
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.export import formats
from vgm2p.export.graph import Graph, Who
from vgm2p.export.parity import largest_difference
from vgm2p.io.text import grid

TOLERANCE = 1e-6
CASES = {case.id: case.values for case in PAIRS}
SETTINGS = PolicySettings("toy", "toy", 0, 1, {}, {}, None, "32-true")
AGENT = 1


@dataclass(frozen=True)
class Line:
    """A line of the table: largest difference per format, and whether the batch may have any size."""

    case: str
    who: Who
    differences: dict[str, float]
    dynamic: bool


def policy_of(case: str) -> TrainedPolicy:
    """Return a policy that was trained for some updates on random data."""
    name, spec = CASES[case]
    algorithm = build(name, spec)
    train(algorithm, spec, 3)
    return TrainedPolicy(algorithm.eval(), SETTINGS, 3, Path("x.ckpt"))


def compared(case: str, folder: Path) -> Iterator[Line]:
    """Export the team's policy and, if it is decentralised, an agent's; compare each with `act`."""
    policy = policy_of(case)
    for who in ("team", AGENT) if policy.decentralised else ("team",):
        graph = Graph(policy, policy.algorithm.acting, who)
        program, dynamic = formats.traced(graph)
        files = {form: folder / f"{who}{ending}" for form, ending in formats.ENDINGS.items()}
        formats.write_onnx(program, graph, files["onnx"])
        formats.write_torch(program, files["torch"])
        found = {form: largest_difference(policy, graph, FUNCTIONS[form](path)) for form, path in files.items()}
        yield Line(case, who, found, dynamic)


def main(cases: list[str]) -> int:
    """Print the table for some cases; none: for all. Return the number of lines above the tolerance."""
    table, wrong = [["algorithm", "for", "onnx", "torch", "batch"]], 0
    for case in cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            for line in compared(case, Path(folder)):
                numbers = [f"{line.differences[form]:.1e}" for form in ("onnx", "torch")]
                table.append([case, f"{line.who}", *numbers, "any" if line.dynamic else "1"])
                wrong += not max(line.differences.values()) <= TOLERANCE
                print(*table[-1], file=sys.stderr, flush=True)
    print(grid(table))
    print(f"{len(table) - 1} graphs in two formats, {wrong} above {TOLERANCE:g}")
    return wrong


if __name__ == "__main__":
    raise SystemExit(min(main(sys.argv[1:]), 1))
