"""`vgm2p report` on real runs: which runs it shows, pools, distinguishes and leaves out."""

import functools
import shutil

import pytest

from tests.report.finished_runs import sign
from tests.run.runs import program, succeeded
from vgm2p.errors import ConfigError
from vgm2p.report.estimates import wilson
from vgm2p.report.runs import load_runs
from vgm2p.report.summary import summarise
from vgm2p.report.tables import versus
from vgm2p.report.variants import condition_warnings, name_variants
from vgm2p.run.folder import RunFolder, write_json


def test_report_writes_a_table_and_curves_of_runs(trained, tmp_path):
    succeeded(program(tmp_path, "report", str(trained / "*"), "versus=bc_gaussian", "acting=best"))
    table = (tmp_path / "report" / "table.md").read_text()
    for name in ("random policy", "dataset mean", "vgm2p_chosen", "bc_gaussian", "bc_gaussian - vgm2p_chosen ("):
        assert name in table
    rows = (tmp_path / "report" / "table.csv").read_text().splitlines()
    mean = RunFolder(trained / "vgm2p_chosen").read_results()["by_act_noise"][0]["return_mean"]
    line = next(row for row in rows if ",vgm2p_chosen,1.0,return," in row)
    assert float(line.split(",")[4]) == pytest.approx(mean, rel=1e-5)
    assert (tmp_path / "report" / "curves.png").stat().st_size > 5_000


def test_a_run_with_comparison_runs_ends_with_a_picture_of_all_methods(trained, tmp_path):
    own, other, said = tmp_path / "own", trained / "bc_gaussian", []
    shutil.copytree(trained / "vgm2p_chosen", own)
    together = own / "plots" / "comparison.png"
    summarise(RunFolder(own), [other], said.append, writable=False)
    summarise(RunFolder(own), [], said.append)
    assert not together.exists()
    summarise(RunFolder(own), [other], said.append)
    assert together.stat().st_size > 5_000
    assert f"all methods      {together}" in said


def changed(source, target, seeds, settings=None):
    """Copy a finished run as if it had been trained with other seeds, or other settings (dotted key -> value)."""
    shutil.copytree(source, target)
    folder = RunFolder(target)
    manifest, results = folder.read_manifest(), folder.read_results()
    for key, value in (settings or {}).items():
        *groups, name = key.split(".")
        places = [groups, ["algo", *groups]] if groups[0] in ("net", "optim") else [groups]
        for place in places:  # an algorithm holds what its group says
            functools.reduce(dict.__getitem__, place, manifest["config"])[name] = value
    write_json(folder.manifest, manifest)
    ways = [entry | {"episodes": entry["episodes"] * len(seeds)} for entry in results["by_act_noise"]]
    write_json(folder.results, results | {"seeds": seeds, "by_act_noise": ways})
    rows = [row | {"seed": str(seed)} for row in folder.log_episodes().rows() for seed in seeds]
    folder.episodes.unlink()
    folder.log_episodes().append(rows)
    sign(folder)
    return target


def test_report_pools_seeds_counts_none_twice_and_tells_other_settings_apart(trained, tmp_path):
    own = trained / "bc_gaussian"
    far = {"optim.lr": 1e-5, "net.width": 99, "net.depth": 9, "optim.clip_norm": 7.0}
    changed(own, tmp_path / "a-copy", [0])
    changed(own, tmp_path / "b-seeds", [0, 7])
    changed(own, tmp_path / "c-slow", [0], {"optim.lr": 1e-5})
    changed(own, tmp_path / "d-far", [0], far)
    changed(own, tmp_path / "e-far", [1], far)
    done = succeeded(
        program(
            tmp_path,
            "report",
            str(own),
            *["a-copy", "b-seeds", "c-slow", "d-far", "e-far"],
            "versus=bc_gaussian optim.lr=1e-05",
        )
    )
    left_out = [line for line in done.stdout.splitlines() if line.startswith("left out")]
    assert left_out == [
        f"left out: seeds 0 of {name}; {own} has them with the same settings" for name in ("a-copy", "b-seeds")
    ]
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
    methods = {row[1]: len(row[-2].split()) for row in rows if len(row) > 3 and row[1].startswith("bc_gaussian")}
    assert methods == {"bc_gaussian optim.lr=0.001": 2, "bc_gaussian optim.lr=1e-05": 1, "bc_gaussian d-far": 2}
    assert "bc_gaussian optim.lr=1e-05 - bc_gaussian optim.lr=0.001" in done.stdout


def test_very_different_runs_in_folders_with_one_name_have_different_names(trained, tmp_path):
    own = trained / "bc_gaussian"
    for place, width in (("x", 98), ("y", 99)):
        (tmp_path / place).mkdir()
        changed(
            own,
            tmp_path / place / "run",
            [0],
            {"optim.lr": 1e-5, "net.width": width, "net.depth": 9, "optim.clip_norm": 7.0},
        )
    runs, notices = name_variants(load_runs([own, tmp_path / "x" / "run", tmp_path / "y" / "run"])[0])
    assert not notices
    assert len({run.name for run in runs}) == 3


def test_a_setting_that_one_run_lacks_is_a_difference(trained, tmp_path):
    other = changed(trained / "bc_gaussian", tmp_path / "other", [3], {"algo.temperature": 0.7})
    runs, notices = name_variants(load_runs([trained / "bc_gaussian", other])[0])
    assert [run.name for run in runs] == ["bc_gaussian", "bc_gaussian temperature=0.7"]
    assert not notices


def test_methods_that_were_trained_under_different_conditions_are_named(trained, tmp_path):
    other = changed(trained / "vgm2p_chosen", tmp_path / "other", [0], {"net.width": 99})
    manifest = RunFolder(other).read_manifest()
    manifest["config"]["env"]["episode_limit"] = 7
    manifest["environment_versions"]["mujoco"] = "2.0"
    write_json(RunFolder(other).manifest, manifest)
    runs, _ = load_runs([trained / "bc_gaussian", other])
    (line,) = condition_warnings(runs)
    assert "net.width (" in line and "99: vgm2p_chosen" in line
    assert "env.episode_limit (" in line and "7: vgm2p_chosen" in line
    assert "version of mujoco (" in line and "2.0: vgm2p_chosen" in line
    assert not condition_warnings(load_runs([trained / "bc_gaussian", trained / "vgm2p_chosen"])[0])


def test_a_pattern_finds_folders_and_no_files(trained, tmp_path):
    (tmp_path / "bc_gaussian").symlink_to(trained / "bc_gaussian")
    (tmp_path / "bc_gaussian.log").write_text("what the command printed")
    runs, notices = load_runs([tmp_path / "*"])
    assert [run.name for run in runs] == ["bc_gaussian"]
    assert notices == []


def test_a_folder_whose_name_looks_like_a_pattern_is_found(trained, tmp_path):
    shutil.copytree(trained / "bc_gaussian", tmp_path / "a[1]")
    runs, notices = load_runs([tmp_path / "a[1]"])
    assert len(runs) == 1 and not notices


def cut(path, count):
    path.write_bytes(path.read_bytes()[:-count])


def replaced(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f.episodes.unlink(), "lacks the final evaluation"),
        (lambda f: f.log_episodes().truncate(10), "lacks the final evaluation"),
        (lambda f: write_json(f.results, {"return_mean": 1.0}), "another version of vgm2p wrote it"),
        (lambda f: cut(f.episodes, 40), "lacks the final evaluation"),
        (lambda f: replaced(f.episodes, "update", "time"), "damaged"),
        (lambda f: replaced(f.episodes, "\n", "\nx"), "damaged"),
        (lambda f: f.episodes.write_bytes(b"update\xff\n"), "damaged"),
        (lambda f: replaced(f.results, '"dataset_return_mean": ', '"dataset_return_mean": null, "x": '), "is damaged"),
        (lambda f: write_json(f.manifest, f.read_manifest() | {"config": []}), "has no configuration"),
    ],
)
def test_a_damaged_run_is_left_out_and_hides_no_other_run(damage, said, trained, tmp_path):
    damaged = changed(trained / "bc_gaussian", tmp_path / "damaged", [0])
    damage(RunFolder(damaged))
    loaded, notices = load_runs([damaged, trained / "bc_gaussian"])
    runs, repeated = name_variants(loaded)
    assert len(notices) == 1
    assert said in notices[0]
    assert [run.folder for run in runs] == [trained / "bc_gaussian"]
    assert not repeated
    with pytest.raises(ConfigError, match="did you mean 'bc_gaussian'"):
        versus(runs, "bc_gausian")


def test_report_counts_victories_and_scores_where_the_environment_knows_them(trained, tmp_path):
    for name, wins in (("vgm2p_chosen", "1"), ("bc_gaussian", "0")):
        shutil.copytree(trained / name, tmp_path / name)
        log = RunFolder(tmp_path / name).log_episodes()
        rows = [row | {"won": wins, "score": "12.5"} for row in log.rows()]
        log.path.unlink()
        log.append(rows)
        sign(RunFolder(tmp_path / name))
    done = succeeded(program(tmp_path, "report", "vgm2p_chosen", "bc_gaussian", "versus=bc_gaussian"))
    for line in ("| won ", "| score "):
        assert line in done.stdout
    cells = [[cell.strip() for cell in row.split("|")] for row in done.stdout.splitlines()]
    assert [cell[4] for cell in cells if len(cell) > 4 and cell[3] == "won"] == ["-1.00"]
    rows = (tmp_path / "report" / "table.csv").read_text().splitlines()
    certain = [row.split(",")[5:7] for row in rows if ",vgm2p_chosen," in row and ",won,1," in row]
    low, high = wilson(1, 1)
    assert certain == [[f"{low:.6g}", f"{high:.6g}"]] * 4  # ways in which vgm2p_chosen acts
    assert len([row for row in rows if ",score,12.5,,," in row]) == 4 + 1  # bc_gaussian acts in one way


def test_report_leaves_out_folders_without_a_run_and_names_them(trained, tmp_path):
    (tmp_path / "stray").mkdir()
    done = program(tmp_path, "report", str(trained / "vgm2p_chosen"), "stray")
    assert done.returncode == 0
    assert "left out: stray" in done.stdout
