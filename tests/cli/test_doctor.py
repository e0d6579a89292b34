"""`doctor` reports no failure on this machine, and leaves nothing behind if a check fails half-way."""

import pytest
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

from tests.run.runs import program
from vgm2p.commands.doctor import Doubt, checks


def test_doctor_reports_no_failure_on_this_machine(tmp_path):
    done = program(tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "digest cb05512c99cb verified" in done.stdout


def test_another_build_of_starcraft_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    probe = next(probe for name, _, probe in checks(str(tmp_path)) if name == "starcraft ii")
    for build in (69232, 75689):
        path = tmp_path / f"Versions/Base{build}/SC2_x64"
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        if build == 69232:
            with pytest.raises(Doubt, match=r"build 69232 .*, not 75689 \(4.10\)"):
                probe()
    assert probe().startswith("build 75689 in")


def broken(*_, **__):
    raise OSError("broken on purpose")


@pytest.mark.parametrize(
    ("check", "part", "method"),
    [
        ("mujoco", HalfCheetahEnv, "reset"),
        ("mujoco", HalfCheetahEnv, "step"),
        ("rendering", HalfCheetahEnv, "reset"),
        ("rendering", OffScreenViewer, "render"),
    ],
)
def test_a_robot_that_fails_half_way_is_released(check, part, method, monkeypatch, tmp_path):
    released, release = [], HalfCheetahEnv.close
    monkeypatch.setattr(HalfCheetahEnv, "close", lambda robot: released.append(robot) or release(robot))
    monkeypatch.setattr(part, method, broken)
    probe = next(probe for name, _, probe in checks(str(tmp_path)) if name == check)
    with pytest.raises(Exception, match="broken on purpose"):
        probe()
    assert len(released) == 1
