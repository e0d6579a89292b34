"""Charts of training diagnostics: their means are of the same seeds at every point, and left-out seeds are named."""

from vgm2p.report.looks import looks
from vgm2p.report.page.charts import Drawn
from vgm2p.report.page.diagnostics import diagnostic_charts
from vgm2p.report.runs import Run


def run(folder, losses):
    """Return a run with a policy loss: seed -> update -> number."""
    folder.mkdir()
    rows = [f"{update},{seed},{loss}" for seed, each in losses.items() for update, loss in each.items()]
    (folder / "metrics.csv").write_text("\n".join(["update,seed,policy_loss", *rows, ""]))
    return Run(folder, {}, {}, "m")


def charts(*runs):
    return diagnostic_charts(Drawn("e0", {"m": runs}, looks(["m"]), {"m": 0}, 400))


def test_a_mean_is_of_all_seeds_at_every_point(tmp_path):
    often = run(tmp_path / "often", {0: dict.fromkeys(range(100, 1001, 100), 1.0)})
    (chart,), notices = charts(often, run(tmp_path / "seldom", {1: {500: 3.0, 1000: 5.0}}))
    (line,) = chart.lines
    assert (line.x, line.y, line.low, line.high) == ([500, 1000], [2.0, 3.0], [1.0, 1.0], [3.0, 5.0])
    assert notices == []


def test_a_line_ends_where_a_seed_is_no_longer_finite_and_a_seed_that_never_was_is_named(tmp_path):
    losses = {0: {1: 1.0, 2: 2.0, 3: 3.0}, 1: {1: 3.0, 2: 4.0, 3: "nan"}, 2: {1: "nan", 2: "inf", 3: "nan"}}
    (chart,), notices = charts(run(tmp_path / "run", losses))
    (line,) = chart.lines
    assert (line.x, line.y) == ([1, 2], [2.0, 3.0])
    assert notices == [f"{tmp_path / 'run'}: seed 2 has no finite policy_loss; the charts show the other seeds"]


def test_seeds_without_a_common_update_have_no_line_and_that_is_said(tmp_path):
    found, notices = charts(run(tmp_path / "a", {0: {10: 1.0}}), run(tmp_path / "b", {1: {20: 1.0}}))
    assert found == []
    assert notices == ["no line of m for the policy loss: its seeds have no update in common"]
    assert charts(run(tmp_path / "c", {0: {10: "nan"}})) == ([], [])
