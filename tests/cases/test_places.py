"""Full disks and MuJoCo's surroundings: a line that names file and bytes, nothing half written, no stray file."""

import errno
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from tests.run.runs import program
from tests.strangers.line_world import LineWorld
from vgm2p.errors import StorageError
from vgm2p.execution.rollout import RandomActor
from vgm2p.execution.video import record
from vgm2p.io.faults import as_user_error
from vgm2p.io.files import write_atomic
from vgm2p.run.csv_log import CsvLog

HOPPER = ["collect", "env=mamujoco/3hopper", "data.view=raw_onehot", "policy=random", "episodes=1", "out=h.h5"]


@contextmanager
def files_of_at_most(size):
    """Limit the size of files: writing beyond it fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Drawn(LineWorld):
    """Draws noise, which no film makes small."""

    def render(self, index=0):
        return np.random.default_rng(int(self.t[index])).integers(0, 255, (240, 320, 3), np.uint8)


def test_a_film_on_a_full_disk_is_an_error_and_no_file(tmp_path):
    env = Drawn()
    film = tmp_path / "film.mp4"
    assert record(RandomActor(env.spec), env, film, 0, [0]) == 8
    whole = film.stat().st_size
    film.unlink()
    for size in (whole // 3, whole - 10):
        with (
            files_of_at_most(size),
            pytest.raises(StorageError, match=r"film.mp4: ffmpeg .* bytes free, more than \d+"),
        ):
            record(RandomActor(env.spec), env, film, 0, [0])
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file_and_the_bytes(tmp_path):
    path, log = tmp_path / "results.json", CsvLog(tmp_path / "episodes.csv")
    path.write_text("before")
    with files_of_at_most(1000):
        with pytest.raises(OSError, match=r"results\.json") as error:
            write_atomic(path, "x" * 5000)
        assert error.value.errno == errno.EFBIG
        line = as_user_error(error.value).line
        assert f"{path}: File too large (" in line
        assert "bytes free, 5000 bytes needed); free space" in line
        assert as_user_error(error.value).exit_code == 74
        with pytest.raises(OSError, match=r"episodes\.csv") as error:
            log.append([{"update": n, "text": "x" * 100} for n in range(20)])
        assert " bytes needed" in as_user_error(error.value).line
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("backend", ["wrong", "osmesa"])
def test_a_backend_that_cannot_be_loaded_stops_nothing_that_draws_nothing(tmp_path, backend):
    done = program(tmp_path, *HOPPER, MUJOCO_GL=backend)
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stdout.splitlines() if line.startswith("note")]
    if backend == "wrong":
        assert len(notes) == 1
    for note in notes:  # a machine that has OSMesa needs none
        assert f"MUJOCO_GL={backend} cannot be loaded" in note
        assert note.endswith("is ignored; unset MUJOCO_GL")


def test_doctor_says_how_to_mend_the_backend(tmp_path):
    done = program(tmp_path, "doctor", MUJOCO_GL="wrong")
    line = next(line for line in done.stdout.splitlines() if "rendering" in line)
    assert "unset MUJOCO_GL" in line or "install libegl1" in line


@pytest.mark.parametrize("env", ["robotics/6halfcheetah", "mamujoco/3hopper"])
def test_mujoco_leaves_no_log_and_prints_no_warning(tmp_path, env):
    view = "native" if env.startswith("robotics") else "raw_onehot"
    pytest.importorskip("gymnasium_robotics")
    words = ["collect", f"env={env}", f"data.view={view}", "policy=random", "episodes=1", "out=y.h5"]
    done = program(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["y.h5"]
