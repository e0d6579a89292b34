"""The data and the game of two agents that must agree."""

import numpy as np
import yaml

from tools.conventions import AGENTS, EPISODES, STEPS, Agree, episodes, main
from vgm2p.datamodules.layout.reading import read


def test_each_episode_has_one_convention_and_both_are_equally_frequent_and_good():
    found = episodes()
    signs = np.array([np.sign(one["action"].mean()) for one in found])
    assert len(found) == EPISODES and signs.sum() == 0.0
    gained = np.array([one["reward"].sum() for one in found])
    assert gained.mean() > 0.99 * STEPS and abs(gained[signs > 0].mean() - gained[signs < 0].mean()) < 0.1


def test_nothing_that_an_agent_sees_tells_the_convention():
    seen = np.array([one["obs"][:, :, 0].mean() for one in episodes()])
    convention = np.arange(EPISODES) % 2
    assert abs(seen[convention == 1].mean() - seen[convention == 0].mean()) < 4 * 2 / np.sqrt(EPISODES * 2 * STEPS)


def test_the_game_pays_for_equal_signs_alone():
    game = Agree()
    game.reset(0)
    for left, right, reward in ((0.1, 0.9, 1.0), (-0.1, -0.9, 1.0), (0.1, -0.1, 0.0)):
        _, rewards, _, _, _ = game.step(dict(zip(AGENTS, ([left], [right]), strict=True)))
        assert set(rewards.values()) == {reward}


def test_the_files_are_those_that_the_program_reads(tmp_path):
    main(tmp_path)
    columns = read(tmp_path / "agree.h5")
    assert columns.attributes["env_id"] == "agree" and columns.episodes["length"].tolist() == [STEPS] * EPISODES
    node = yaml.safe_load((tmp_path / "conf" / "env" / "agree.yaml").read_text())
    assert (node["episode_limit"], node["env_kwargs"], node["view"]) == (STEPS, {}, "${data.view}")
    assert "class Agree" in (tmp_path / "agree.py").read_text()
