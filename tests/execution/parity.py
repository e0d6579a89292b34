"""`make test-export`: how far the actions of exported graphs are from those of `act`, for every algorithm."""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.algos.test_contract import PAIRS, build, train
from vgm2p.commands.export import FUNCTIONS
from vgm2p.config.settings import PolicySettings
from vgm2p.execution.trained import TrainedPolicy
from vgm2p.export import formats
from vgm2p.export.graph import Graph, Who
from vgm2p.export.parity import Function, largest_difference
from vgm2p.io.text import grid

TOLERANCE = 1e-6
# Many passes, each divided by the small share of signal in the noise: rounding alone makes a difference above TOLERANCE.
# Both the file and `act` are rounded. So their difference may be some times that of `act` to the exact action.
ROUNDED = ("madiff_c-continuous", "madiff_d-continuous")
ROUNDINGS = 4.0
CASES = {case.id: case.values for case in PAIRS}
SETTINGS = PolicySettings("toy", "toy", 0, 1, {}, {}, None, "32-true")
AGENT = 1
FILES = ("onnx", "torch")


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        case: algorithm, kind of actions and settings.
        who: the team, or the number of an agent.
        differences: format -> largest difference to `act`.
        rounding: largest difference of `act` to the same computation in float64.
        dynamic: whether the batch may have any size.
    """

    case: str
    who: Who
    differences: dict[str, float]
    rounding: float
    dynamic: bool

    @property
    def allowed(self) -> float:
        """The largest difference to `act` that a file may have."""
        return ROUNDINGS * self.rounding if self.case in ROUNDED else TOLERANCE

    @property
    def wrong(self) -> bool:
        """Whether a file is too far from `act`, or `act` from the exact action."""
        near = all(difference <= self.allowed for difference in self.differences.values())
        return not (near and self.rounding <= TOLERANCE)


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
        yield Line(case, who, found, largest_difference(policy, graph, exact(graph)), dynamic)


def exact(graph: Graph) -> Function:
    """Return a graph as a function that computes in float64."""
    double = copy.deepcopy(graph)
    for tensor in (*double.parameters(), *double.buffers()):
        tensor.data = tensor.data.double() if tensor.is_floating_point() else tensor.data

    def act(inputs: dict[str, Tensor]) -> Tensor:
        given = [each.double() if each.is_floating_point() else each for each in inputs.values()]
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                action: Tensor = double(*given)
        finally:
            torch.set_default_dtype(torch.float32)
        return action

    return act


def main(cases: list[str]) -> int:
    """Print the table for some cases; none: for all. Return the number of lines that are wrong."""
    table, above, wrong = [["algorithm", "for", *FILES, "float64", "batch"]], 0, 0
    for case in cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            for line in compared(case, Path(folder)):
                numbers = [f"{each:.1e}" for each in (*(line.differences[form] for form in FILES), line.rounding)]
                table.append([case, f"{line.who}", *numbers, "any" if line.dynamic else "1"])
                wrong += line.wrong
                above += not all(difference <= TOLERANCE for difference in line.differences.values())
                print(*table[-1], file=sys.stderr, flush=True)
    print(grid(table))
    print(f"{len(table) - 1} graphs in two formats, {above} above {TOLERANCE:g}, {wrong} farther than float32 explains")
    return wrong


if __name__ == "__main__":
    raise SystemExit(min(main(sys.argv[1:]), 1))
