"""Exported graphs act as `act` does, for every algorithm; they take a batch, and contain no path of this machine."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.execution.parity import CASES, compared, policy_of
from vgm2p.errors import ConfigError
from vgm2p.export import formats
from vgm2p.export.graph import Graph
from vgm2p.export.parity import onnx_function

pytestmark = pytest.mark.skipif(bool(formats.lacking("onnx")), reason="needs pip install 'vgm2p[export]'")

QUICK = ("bc_gaussian-discrete",)  # tests/cli/test_export.py has a policy that starts from noise


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_graphs_act_as_the_policy_does(case, tmp_path):
    for line in compared(case, tmp_path):
        assert not line.wrong, line
        assert line.dynamic


def test_rows_of_a_batch_act_by_themselves_and_no_file_names_this_machine(tmp_path):
    policy = policy_of("bc_gaussian-discrete-history")
    graph = Graph(policy, policy.algorithm.acting, 1)
    assert [each.name for each in graph.inputs] == ["obs", "past_obs", "past_action", "past_seen", "legal"]
    program, dynamic = formats.traced(graph)
    assert dynamic
    formats.write_onnx(program, graph, tmp_path / "a.onnx")
    formats.write_torch(program, tmp_path / "a.pt2")
    for path in tmp_path.iterdir():
        assert not re.search(rb"site-packages|\.py\b|" + str(Path.cwd()).encode(), path.read_bytes()), path
    rng = np.random.default_rng(0)
    batch = {each.name: torch.from_numpy(rng.normal(size=(5, *each.shape)).astype(np.float32)) for each in graph.inputs}
    batch |= {
        "past_action": torch.from_numpy(rng.integers(4, size=(5, 2))),
        "legal": torch.ones(5, 4, dtype=torch.bool),
    }
    batch["past_seen"] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    act = onnx_function(tmp_path / "a.onnx")
    rows = [act({name: tensor[i : i + 1] for name, tensor in batch.items()}) for i in range(5)]
    assert torch.equal(act(batch), torch.cat(rows))
    for pieces in (torch.export.load(tmp_path / "a.pt2").module()(*batch.values()), graph(*batch.values())):
        assert torch.equal(pieces, act(batch))


def test_a_centralised_policy_has_no_graph_for_one_agent():
    policy = policy_of("madiff_c-discrete")
    with pytest.raises(ConfigError, match="centralised"):
        Graph(policy, policy.algorithm.acting, 0)


def test_an_agent_beyond_the_team_is_refused():
    policy = policy_of("bc_gaussian-discrete")
    with pytest.raises(ConfigError, match="agents 0 to 2"):
        Graph(policy, policy.algorithm.acting, 3)
