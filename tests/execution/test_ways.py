"""Ways to act: which ones an algorithm has, how they are named, what they set."""

import pytest
import torch

from tests.report.finished_runs import write_run
from tests.support import continuous_spec, discrete_spec, random_batch
from tools.results.cells import Row
from vgm2p.algos.bc_flow import BCFlow
from vgm2p.algos.bc_gaussian import BCGaussian
from vgm2p.algos.bc_meanflow import BCMeanFlow
from vgm2p.algos.mac_flow import MACFlow
from vgm2p.algos.vgm2p import VGM2P
from vgm2p.algos.vgm2p_realised import VGM2PRealised
from vgm2p.algos.vgm2p_switches import VGM2PSwitches
from vgm2p.errors import ConfigError
from vgm2p.execution.evaluation import BETA, acting_of, own_way, refuse_others, ways
from vgm2p.groups import Net
from vgm2p.report.runs import load_run
from vgm2p.report.tables import table
from vgm2p.rng import ActKey
from vgm2p.types import Acting, Seen

SPECS = {"continuous": continuous_spec(), "discrete": discrete_spec()}


def make(cls, kind, **options):
    return cls(SPECS[kind], [0], net=Net(8, 2), **options)


X = {"predict": "x"}
SAMPLED = {**X, "acting": Acting(sample=True)}
CASES = [
    (BCMeanFlow, "continuous", {}, "auto", [1.0, 0.5, 0.0]),
    (BCMeanFlow, "continuous", {}, [0.25, "mode", "sample", "shared"], [1.0, 0.25, 0.0, "shared"]),
    (BCMeanFlow, "discrete", X, "auto", [1.0, "mode", "sample"]),
    (BCMeanFlow, "discrete", X, [0.5, 0], [1.0, 0.5, "mode"]),
    (BCMeanFlow, "discrete", {}, "auto", [1.0, "mode"]),  # a velocity has no probabilities
    (BCMeanFlow, "discrete", SAMPLED, [], ["sample"]),
    (BCGaussian, "discrete", {}, "auto", ["mode", "sample"]),
    (BCGaussian, "discrete", {"decode": "sample"}, ["shared", 0.5], ["sample"]),
    (BCGaussian, "continuous", {}, "auto", [None]),
    (MACFlow, "discrete", {}, "auto", [1.0, "mode", "sample"]),  # its probabilities have no verdict
    (VGM2P, "discrete", X, "auto", [1.0, "mode", "sample", "judged"]),
    (VGM2P, "discrete", {}, ["judged"], [1.0]),
    (VGM2P, "discrete", {**X, "acting": Acting(beta=2.0)}, [], ["judged"]),
    (VGM2PRealised, "discrete", X, ["judged", 0], [1.0, "mode", "judged"]),
    (VGM2P, "continuous", X, ["judged"], [1.0]),
    (MACFlow, "continuous", {}, "auto", [1.0, 0.5, 0.0]),
    (BCMeanFlow, "continuous", {"acting": Acting(shared=True)}, "auto", [1.0, 0.5, 0.0, "shared"]),
]


@pytest.mark.parametrize(("cls", "kind", "options", "asked", "wanted"), CASES)
def test_the_ways_of_an_algorithm(cls, kind, options, asked, wanted):
    algorithm = make(cls, kind, **options)
    assert ways(algorithm, asked) == wanted
    assert own_way(algorithm) in wanted
    assert acting_of(own_way(algorithm), algorithm) in (algorithm.acting, None)  # as a deployed policy acts


def test_a_way_that_an_algorithm_lacks_is_refused_by_name():
    for cls, kind, way in (
        (BCMeanFlow, "discrete", "sample"),
        (BCGaussian, "discrete", 0.5),
        (BCGaussian, "continuous", 0),
        (BCMeanFlow, "discrete", "judged"),
        (VGM2P, "discrete", "judged"),
    ):
        with pytest.raises(ConfigError, match=f"act_noise={way}: algo=name"):
            refuse_others([way], make(cls, kind), "name")
    refuse_others(["mode", "sample", 0], make(BCGaussian, "discrete"), "name")


@pytest.mark.parametrize("cls", [BCFlow, BCMeanFlow, BCGaussian])
def test_the_mode_has_no_chance_and_a_sample_has(cls):
    algorithm = make(cls, "discrete", **({} if cls is BCGaussian else X))
    batch = random_batch(SPECS["discrete"], rows=1)
    seen = Seen(batch.obs.expand(1, 200, 3, 5), batch.legal.expand(1, 200, 3, 4))
    kinds = {}
    for way in ("mode", "sample"):
        with torch.inference_mode():
            action, _ = algorithm.act(seen, None, ActKey([0], 0, range(200)), acting_of(way, algorithm))
        kinds[way] = len(action.unique(dim=1)[0])
        assert seen.legal.gather(-1, action.unsqueeze(-1)).all()
    assert kinds["mode"] == 1 < kinds["sample"]


def test_names_replace_what_the_run_itself_does():
    own = make(BCMeanFlow, "discrete", predict="x", acting=Acting(noise=0.3, steps=4, sample=True))
    assert own.acting.noise == 1.0
    assert acting_of("mode", own) == Acting(noise=0.0, steps=4)
    assert acting_of(0.5, own) == Acting(noise=0.5, steps=4)
    assert acting_of("shared", own) == Acting(noise=1.0, shared=True, steps=4)
    assert acting_of("sample", own) == Acting(noise=1.0, steps=4, sample=True)
    assert acting_of("sample", own).passes == 1
    best = make(VGM2PSwitches, "discrete", predict="x", acting=Acting(noise=0.3, steps=4, best_of=4))
    assert acting_of("judged", best) == Acting(noise=0.0, steps=4, beta=BETA)
    assert acting_of("judged", best).passes == 1
    assert acting_of("sample", best).best_of == 1
    shared = make(BCMeanFlow, "continuous", acting=Acting(shared=True))
    assert not acting_of(1.0, shared).shared and acting_of("shared", shared) == shared.acting
    judged = make(VGM2P, "discrete", predict="x", acting=Acting(beta=3.0))
    assert acting_of("judged", judged) == judged.acting == Acting(noise=0.0, beta=3.0)
    assert acting_of("mode", judged) == Acting(noise=0.0)
    assert acting_of(None, own) is None


def test_a_report_shows_the_ways_of_discrete_actions_side_by_side(tmp_path):
    outcomes = {1.0: 3.0, "mode": 5.0, "sample": 2.0}
    row = Row("bc_meanflow", ("algo=bc_meanflow",), 1, ())
    write_run(tmp_path, "recorded_3hopper_medium", row, list(outcomes), lambda way, seed, episode: (outcomes[way], ""))
    write_run(
        tmp_path,
        "recorded_3hopper_medium",
        Row("bc_gaussian", ("algo=bc_gaussian",), 1, ()),
        ["mode", "sample"],
        lambda way, seed, episode: (outcomes[way], ""),
    )
    runs = [load_run(tmp_path / "recorded_3hopper_medium" / name) for name in ("bc_meanflow", "bc_gaussian")]
    lines = table(runs).splitlines()
    header = next(line for line in lines if line.startswith("| return"))
    assert [cell.strip() for cell in header.split("|")[2:5]] == ["act_noise 1", "mode", "sample"]
    shown = {
        line.split("|")[1].strip(): [cell.strip()[:1] for cell in line.split("|")[2:5]] for line in lines if "|" in line
    }
    assert shown["bc_meanflow"] == ["3", "5", "2"]
    assert shown["bc_gaussian"] == ["", "5", "2"]


@pytest.mark.parametrize("acting", [Acting(0.5, shared=True), Acting(1.0, shared=True, sample=True)])
def test_one_noise_for_all_agents_has_scale_1(acting):
    with pytest.raises(ConfigError, match=r"algo.acting.shared=true needs algo.acting.noise=1"):
        make(BCMeanFlow, "discrete", predict="x", acting=acting)
