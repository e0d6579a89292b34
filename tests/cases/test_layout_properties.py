"""Random datasets and recordings, sound and contradicting ones, against slow references (hypothesis)."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases.inputs import recording
from tests.cases.slow_rules import dataset_is_sound, recording_in_our_layout
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.episodes import Episodes
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import Columns
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recorded import convert
from vgm2p.errors import MAX_LINE, DataError

NUMBERS = [0, 1, 2, 3, 5, -1, 255, 0.5, -1.0, 1.5, np.nan, np.inf, -np.inf, 1e30, 1e300]
TYPES = ["<f4", ">f4", "<f8", "<i4", "|u1", "<i2", "|b1"]
VALUES = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.booleans(),
    st.sampled_from(["{}", "[]", "3", "{"]),
)


@st.composite
def datasets(draw) -> Columns:
    """A sound dataset: 1 to 4 episodes of 0 to 4 steps, of any kind that the layout can hold."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any))
    finals = draw(st.booleans()) or 0 in lengths
    table = Episodes(np.array(lengths), np.array([draw(st.integers(0, 3)) for _ in lengths]), finals)
    agents, width, discrete = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.booleans())
    n, total = sum(lengths), table.total
    steps = {"rewards": table.spread(rng.normal(size=n).astype("f4") * draw(st.sampled_from([0, 1, 1e6])))}
    if discrete:
        legal = rng.random((total, agents, width)) < 0.6
        legal[..., 0] = True
        played = np.where(legal, rng.random(legal.shape), -1).argmax(-1).astype("i2")
        steps |= {"legal_actions": legal.astype("u1"), "actions": played}
    else:
        steps["actions"] = table.spread(rng.uniform(-1, 1, (n, agents, width)).astype("f4"))
    if draw(st.booleans()):
        steps["robot_observation"] = rng.normal(size=(total, draw(st.integers(1, 3)))).astype("f4")
    else:
        steps["observations"] = rng.normal(size=(total, agents, 2)).astype("f4")
    if draw(st.booleans()):
        steps["state"] = rng.normal(size=draw(st.sampled_from([(total, 3), (total, agents, 3)]))).astype("f4")
    if draw(st.booleans()):
        steps["agent_rewards"] = rng.normal(size=(total, agents)).astype("f4")
    task = {
        "n_agents": agents,
        "action_dim": width,
        "discrete": int(discrete),
        "episode_limit": draw(st.integers(4, 9)),
    }
    words = {"name": draw(st.sampled_from(["x", "ä ö", "{}"])), "env_id": "toy", "env_kwargs": '{"a": 1}'}
    return table.columns(steps, {**task, **words})


def damage(draw, tables: list[dict], about: dict) -> None:
    """Change one thing: an entry, a type, a row, an axis, a column or an attribute."""
    what = draw(st.sampled_from(["nothing", "entry", "entry", "entry", "type", "row", "axis", "gone", "attribute"]))
    table = draw(st.sampled_from(tables))
    name = draw(st.sampled_from(sorted(table)))
    array = table[name]
    if what == "entry" and array.size:
        value = draw(st.sampled_from(NUMBERS))
        if array.dtype.kind != "f":
            value = int(value) if np.isfinite(value) and abs(value) < 256 else 7
            value = max(value, 0) if array.dtype.kind in "ub" else min(value, np.iinfo(array.dtype).max)
        with np.errstate(over="ignore"):
            array.reshape(-1)[draw(st.integers(0, array.size - 1))] = value
    elif what == "type":
        with np.errstate(all="ignore"):
            table[name] = array.astype(draw(st.sampled_from(TYPES)))
    elif what == "row":
        table[name] = array[:-1]
    elif what == "axis":
        table[name] = array[:, None]
    elif what == "gone":
        del table[name]
    elif what == "attribute":
        about[draw(st.sampled_from(sorted(about)))] = draw(VALUES)


def one_line(error: DataError) -> None:
    assert len(error.line) <= MAX_LINE and "\n" not in error.line


def try_to_write(data) -> None:
    columns = data.draw(datasets())
    damage(data.draw, [columns.steps, columns.episodes], columns.attributes)
    sound = dataset_is_sound(columns.steps, columns.episodes, columns.attributes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        if not sound:
            with pytest.raises(DataError) as refusal:
                write(path, columns)
            one_line(refusal.value)
            assert not list(path.parent.iterdir())
            return
        write(path, columns)
        found = read(path, verify="full")
        assert all(good for _, good, _ in check(path))
    assert [name for name, _ in found.arrays()] == [name for name, _ in columns.arrays()]
    for (name, mine), (_, theirs) in zip(columns.arrays(), found.arrays(), strict=True):
        assert mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist(), name
    assert {key: found.attributes[key] for key in columns.attributes} == columns.attributes


def try_to_convert(data) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    agents, own, width = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    offsets, dtype = np.cumsum([0, *lengths]), draw(st.sampled_from(["<f4", "<f8", ">f4", "<f2"]))
    steps, fell = int(offsets[-1]), np.array([draw(st.booleans()) for _ in lengths])
    arrays = {
        "observations": rng.normal(size=(steps, width)).astype(dtype),
        "actions": rng.uniform(-1, 1, (steps, agents * own)).astype("<f4"),
        "rewards": rng.normal(size=steps).astype(dtype),
        "terminations": np.isin(np.arange(steps), offsets[1:][fell] - 1),
        "truncations": np.isin(np.arange(steps), offsets[1:][~fell] - 1),
        "final_observations": rng.normal(size=(len(lengths), width)).astype(dtype),
        "episode_offsets": offsets,
    }
    arrays["episode_returns"] = np.add.reduceat(arrays["rewards"].astype("f8"), offsets[:-1])
    changed, about = dict(arrays), {}
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(arrays)))
        one = {name: arrays[name].copy()}
        damage(draw, [one], {"n_agents": 0})
        changed[name] = one.get(name)
    if draw(st.integers(0, 5)) == 0:
        about["n_agents"] = draw(st.integers(-1, 4))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "x.hdf5", Path(folder) / "x.h5"
        more = {"n_agents": agents, "actions_per_agent": own, "max_episode_steps": draw(st.integers(3, 5)), **about}
        fixed = {"episode_seeds": np.arange(len(lengths)), "episode_behaviours": np.zeros(len(lengths), "i1")}
        recording(source, attributes=more, episode_ids=None, episode_lengths=None, **fixed, **changed)
        wanted = None if any(array is None for array in changed.values()) else wanted_of(source)
        if wanted is None:
            with pytest.raises(DataError) as refusal:
                convert(source, target)
            one_line(refusal.value)
            assert not target.exists()
            return
        convert(source, target)
        found = read(target, verify="full")
    for name in ("robot_observation", "actions", "rewards", "has_action"):
        assert found.steps[name].tolist() == wanted[name].tolist(), name
    np.testing.assert_allclose(found.episodes["return"], wanted["return"], rtol=1e-12, atol=1e-12)
    assert found.episodes["end"].tolist() == wanted["end"].tolist()


def wanted_of(source: Path):
    """What the slow reference reads. An array whose axes are not those of a recording is a contradiction."""
    try:
        return recording_in_our_layout(source)
    except (IndexError, TypeError, ValueError, AttributeError):
        return None


FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)
MANY = settings(max_examples=300, deadline=None, database=None, print_blob=True)


@FEW
@given(st.data())
def test_the_writer_against_the_slow_rules(data):
    try_to_write(data)


@FEW
@given(st.data())
def test_recordings_against_the_slow_rules(data):
    try_to_convert(data)


@pytest.mark.slow
@MANY
@given(st.data())
def test_300_datasets_against_the_slow_rules(data):
    try_to_write(data)


@pytest.mark.slow
@MANY
@given(st.data())
def test_300_recordings_against_the_slow_rules(data):
    try_to_convert(data)
