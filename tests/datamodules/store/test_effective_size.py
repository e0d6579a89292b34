"""`ess: auto`: as many episodes as behave like the best ones."""

import math

import numpy as np
import pytest
import torch

from tests.datamodules.datasets import discrete_columns, store_of
from tests.support import small_columns
from vgm2p.config.build import make_data
from vgm2p.config.compose import composed
from vgm2p.datamodules.layout.sampling import by_return
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.store import effective_size
from vgm2p.datamodules.store.transitions import TransitionStore

EPISODES, LENGTH = 40, 30


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(effective_size, "UPDATES", 300)
    monkeypatch.setattr(effective_size, "PROBES", 1024)


def recorded(behaviour, noise=0.3, discrete=False):
    """Episodes with returns 0, 1, 2, ...; `behaviour(rank, observation)` is the mean action of both agents.

    `rank` is 1 for the best episode, 0 for the worst.
    """
    columns = small_columns(0, [LENGTH] * EPISODES)
    rng = np.random.default_rng(5)
    rank = np.repeat(np.arange(EPISODES) / (EPISODES - 1), columns.episodes["rows"])
    mean = behaviour(rank, columns.steps["robot_observation"][:, 0])
    acting = columns.steps["has_action"].astype(bool)
    wanted = mean[:, None] + noise * rng.normal(size=(len(mean), 2))
    if discrete:
        columns.steps["actions"] = ((wanted > 0) * acting[:, None]).astype(np.int16)
        columns.steps["legal_actions"] = np.ones((len(mean), 2, 2), np.uint8)
        columns.attributes |= {"discrete": 1, "action_dim": 2}
    else:
        columns.steps["actions"] = (wanted.clip(-1, 1) * acting[:, None])[..., None].astype(np.float32)
    columns.steps["rewards"] = (rank * acting).astype(np.float32)
    columns.episodes["return"][:] = np.arange(EPISODES)
    columns.attributes["content_sha256"] = "some data"
    return TransitionStore.hold(columns, "raw_onehot", "auto", "bootstrap")


def alike(rank, seen):
    return 0.5 * np.tanh(seen)


def opposite(rank, seen):
    """The best quarter does the opposite of the others."""
    return np.where(rank > 0.75, 0.5, -0.5) * np.tanh(3 * seen)


def drifting(rank, seen):
    return (rank - 0.5) * np.tanh(3 * seen)


@pytest.mark.parametrize("discrete", [False, True])
def test_where_all_episodes_behave_alike_a_clone_learns_from_most_of_them(discrete):
    choice = effective_size.choose(recorded(alike, discrete=discrete))
    assert choice.ess >= 0.5
    assert choice.errors[-1] > 1.05 * choice.errors[0]  # few episodes: it learns their noise


@pytest.mark.parametrize("discrete", [False, True])
def test_where_the_best_episodes_behave_differently_the_others_are_left_out(discrete):
    choice = effective_size.choose(recorded(opposite, noise=0.1, discrete=discrete))
    assert choice.ess <= 0.2
    assert choice.errors[0] > 1.5 * min(choice.errors)


def test_the_faster_behaviour_changes_the_smaller_is_the_size():
    slow, fast = (
        effective_size.choose(recorded(lambda rank, seen, f=f: f * drifting(rank, seen), noise=0.1)) for f in (0.1, 2.0)
    )
    assert fast.ess < slow.ess


def test_the_errors_are_those_of_the_best_episodes_in_steps_that_no_clone_learns(monkeypatch):
    """A clone of zeros has the mean square of these actions as its error."""
    store = recorded(opposite)
    monkeypatch.setattr(effective_size, "PROBES", 65536)
    monkeypatch.setattr(effective_size, "UPDATES", 1)
    monkeypatch.setattr(effective_size.BCSquaredError, "mean", lambda self, o: torch.zeros(*o.shape[:-1], 1))
    monkeypatch.setattr(effective_size.BCSquaredError, "update", lambda self, batch, key: {})
    choice = effective_size.choose(store)
    held = effective_size.held_out(store)
    weight = np.repeat(by_return(store.dataset, 0.02).probabilities, LENGTH) * held
    actions = store.rows.actions(store.table.columns["rows"][:, 0]).numpy()
    wanted = np.average((actions**2).mean((1, 2)), weights=weight)
    assert choice.errors == pytest.approx([wanted] * 6, rel=0.02)


def test_every_fifth_part_of_an_episode_is_held_out():
    store = recorded(alike)
    held = effective_size.held_out(store).reshape(EPISODES, LENGTH)
    assert held.mean() == pytest.approx(0.2, abs=0.01)
    assert (held.any(1) & ~held.all(1)).all()
    parts = held.reshape(EPISODES, LENGTH // 2, 2)  # parts of ceil(30 / 20) steps
    assert np.array_equal(parts[..., 0], parts[..., 1])


def test_data_with_nothing_to_compare_have_the_usual_size():
    store = TransitionStore.hold(small_columns(0, [1]), "raw_onehot", "auto", "bootstrap")
    assert effective_size.choose(store) == effective_size.Choice(())


def test_the_store_draws_with_the_size_that_was_chosen():
    store = recorded(opposite, noise=0.1)
    store.draw_by_return("auto")
    assert store.sampling.ess == pytest.approx(by_return(store.dataset, effective_size.choose(store).ess).ess)


def test_rows_on_disk_have_the_same_choice_as_rows_in_memory(tmp_path):
    columns = discrete_columns()
    write(tmp_path / "x.h5", columns)
    mapped = TransitionStore.map(
        [tmp_path / "x.h5"],
        tmp_path / "cache",
        "raw_onehot",
        "auto",
        "bootstrap",
        "never",
    )
    assert effective_size.choose(mapped) == effective_size.choose(store_of(tmp_path, columns))
    mapped.close()


def test_the_choice_is_kept_for_the_same_data_only(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(
        effective_size, "choose", lambda store: made.append(1) or effective_size.Choice((2.0, 2.0, 2.0, 2.0, 1.0, 1.0))
    )
    one, other = recorded(alike), recorded(opposite)
    assert effective_size.kept_choice(one, tmp_path).ess == 0.05
    assert effective_size.kept_choice(one, tmp_path).ess == 0.05
    assert len(made) == 1
    (file,) = tmp_path.glob("ess-*.json")
    assert capsys.readouterr().out.count("effective sample size 0.05") == 2
    nested, huge = "[" * 100_000, '{"errors": [1, 1, 1, 1, 1, 1%s]}' % ("0" * 400)
    wrong = ("", "{", '{"errors": 3}', '{"errors": [1, 2]}', '{"errors": [1, 1, 1, 1, 1, NaN]}', "[]", nested, huge)
    for damage in (*wrong, '{"errors": "123456"}'):
        file.write_text(damage)
        assert effective_size.kept_choice(one, tmp_path).ess == 0.05
    assert len(made) == 10
    one.dataset.attributes["content_sha256"] = "other data"
    effective_size.kept_choice(one, tmp_path)
    assert len(made) == 11
    assert len(list(tmp_path.glob("ess-*.json"))) == 2
    effective_size.kept_choice(other, None)
    assert len(made) == 12


def test_equal_draws_have_equal_errors_and_take_all_steps():
    store = recorded(alike)
    store.dataset.episodes["return"][:] = 3.0
    choice = effective_size.choose(store)
    assert len(set(choice.errors)) == 1
    assert choice.ess == 1.0


def test_errors_that_are_not_finite_choose_nothing(monkeypatch):
    monkeypatch.setattr(effective_size, "clones", lambda store, edges: None)
    monkeypatch.setattr(effective_size, "errors_of", lambda store, clone, edges: [math.inf] * 6)
    assert effective_size.choose(recorded(alike)) == effective_size.Choice(())


def test_a_choice_that_cannot_be_kept_is_used_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(effective_size, "choose", lambda store: effective_size.Choice((1.0,) * 6))
    (tmp_path / "file").write_text("")
    assert effective_size.kept_choice(recorded(alike), tmp_path / "file").ess == 1.0
    assert "not kept for the next run" in capsys.readouterr().out


def test_the_key_of_the_data_module_chooses_and_keeps_the_choice(tmp_path):
    words = ["experiment=quickstart", "data.sampling=return", "data.ess=auto", f"data.cache={tmp_path}"]
    data = make_data(composed("fit", words)["data"])
    assert data.store.sampling.ess == pytest.approx(
        by_return(data.store.dataset, effective_size.choose(data.store).ess).ess, rel=1e-6
    )
    assert len(list(tmp_path.glob("ess-*.json"))) == 1


@pytest.mark.parametrize(
    ("errors", "ess"),
    [
        ((1.009, 1.0, 1.2, 1.3, 1.4, 1.5), 1.0),
        ((1.011, 1.0, 1.2, 1.3, 1.4, 1.5), 0.5),
        ((2.0, 1.5, 1.2, 1.1, 1.005, 1.0), 0.05),
        ((2.0, 1.5, 1.2, 1.1, 1.05, 1.0), 0.02),
    ],
)
def test_of_sizes_that_are_equally_good_it_takes_the_most_data(errors, ess, monkeypatch):
    monkeypatch.setattr(effective_size, "clones", lambda store, edges: None)
    monkeypatch.setattr(effective_size, "errors_of", lambda store, clone, edges: list(errors))
    choice = effective_size.choose(recorded(alike))
    assert choice == effective_size.Choice(errors)
    assert choice.ess == ess
    assert choice.line.startswith(f"draws        effective sample size {ess:g}: ")
