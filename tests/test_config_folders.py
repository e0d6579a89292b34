"""The folder of a run that has data of the user and no experiment is named after the data."""

import pytest

from vgm2p.cli import main
from vgm2p.config.compose import experiment_of

OWN = "mine/runs of may.h5"


@pytest.mark.parametrize(
    ("words", "data", "expected"),
    [
        ([], {"name": "bundled_6halfcheetah"}, "quickstart"),
        (["data.batch_size=8", "data.best_share=0.5"], {"name": "bundled_6halfcheetah"}, "quickstart"),
        (["data=files"], {"name": "files", "source": {"paths": [OWN]}}, "runs_of_may"),
        (["data=files"], {"name": "files", "source": {"paths": ["a.h5", "b/c.h5"]}}, "a+c"),
        (["data=files", "data.name=robot"], {"name": "robot", "source": {"paths": [OWN]}}, "robot"),
        (["data=files", "experiment=quickstart"], {"name": "files", "source": {"paths": [OWN]}}, "quickstart"),
        (["data=vault"], {"name": "vault", "source": {"path": "/x/2s3z/Good"}}, "Good"),
        (
            ["data=published"],
            {"name": "omiga/mamujoco/2ant/Expert", "source": {"id": "x"}},
            "omiga_mamujoco_2ant_Expert",
        ),
        (["data=smax_3m"], {"name": "smax_3m_mixed", "source": {"paths": ["data/x.h5"]}}, "smax_3m_mixed"),
        (["data=recorded_3hopper_medium"], {"name": "recorded_3hopper_medium"}, "recorded_3hopper_medium_quickstart"),
        (["data=files"], {"name": "files", "source": {"paths": ["../...h5"]}}, "own"),
        (["data=files"], {"name": "files", "source": {"paths": [f"{90 * 'n'}.h5"]}}, 60 * "n"),
    ],
)
def test_the_experiment_of_own_data(words, data, expected):
    chosen = next((word.partition("=")[2] for word in words if word.startswith("data=")), "bundled_6halfcheetah")
    assert experiment_of({"experiment": "quickstart", "data": chosen}, words, data) == expected


def test_the_run_folder_is_named_after_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "data=files", "data.source.paths=[mine.h5]", "--cfg", "job", "--resolve"]) == 0
    assert "\nout: runs/mine/vgm2p_plus/s0x1-" in capsys.readouterr().out
