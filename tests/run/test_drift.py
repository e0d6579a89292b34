"""Warnings about a policy that drifts away from the data although its losses are finite."""

import csv

import pytest

from tests.run.runs import program, succeeded
from vgm2p.training.drift import LARGEST_VELOCITY, signs
from vgm2p.training.logs import means_of_sound


@pytest.mark.parametrize(
    ("means", "says"),
    [
        ({"c1_fraction": [0.4, 0.01]}, "class 1 has 1.0% of the actions"),
        ({"clipped": [0.4, 1.0]}, "100.0% of the generated action components lie on the bounds"),
        ({"u_abs": [1.0, 5e4]}, "the mean size of the average velocity is 5e+04"),
    ],
)
def test_each_sign_is_of_its_seed(means, says):
    assert signs(means, 0) == []
    (found,) = signs(means, 1)
    assert found.startswith(says)


def test_a_seed_is_warned_of_once(tmp_path):
    words = ("algo=vgm2p", "algo.omega=1e5", "optim.lr=0.1", "updates=250", "log_every=50", "evaluate=none")
    done = succeeded(program(tmp_path, "fit", *words, "net.width=16", "net.depth=1", "data.batch_size=16", "out=steep"))
    sizes = [float(row["u_abs"]) for row in csv.DictReader((tmp_path / "steep" / "metrics.csv").open())]
    assert sum(size > LARGEST_VELOCITY for size in sizes) > 1  # two logs or more, one warning
    assert done.stdout.count("warning      seed 0, update") == 1


def test_shown_means_leave_out_seeds_that_broke():
    broken, odd = float("nan"), float("inf")
    assert means_of_sound({"loss": [1.0, broken, 3.0], "u": [5.0, 100.0, 7.0]}) == {"loss": 2.0, "u": 6.0}
    assert means_of_sound({"loss": [odd, odd]}) == {"loss": odd}
