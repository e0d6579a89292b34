"""One set of rules for our layout: what the writer refuses, `data check` and `fit` refuse, with the same line."""

import numpy as np
import pytest

from tests.cases.inputs import own
from tests.datamodules.datasets import discrete_columns
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.schema import INCOMPLETE, TERMINAL, TIMEOUT
from vgm2p.datamodules.layout.writing import store, write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.errors import DataError


def steps(name, index, value):
    def change(columns):
        columns.steps[name][index] = value

    return change


def episodes(name, index, value):
    def change(columns):
        columns.episodes[name][index] = value

    return change


def about(**changes):
    def change(columns):
        columns.attributes = {k: v for k, v in {**columns.attributes, **changes}.items() if v is not None}

    return change


def column(name, rule):
    def change(columns):
        columns.steps[name] = rule(columns.steps.get(name, columns.steps["rewards"]))

    return change


def per_agent(columns):
    columns.steps["rewards"] = np.repeat(columns.steps["rewards"][:, None], 6, 1)


def returns_wrong(columns):
    columns.episodes["return"] = columns.episodes["return"][::-1] * 10


def reward_of_a_final(columns):
    columns.steps["rewards"][30] = 5.0
    columns.episodes["return"][0] += 5.0


# what -> (change of `own`, part of the line)
BROKEN = {
    "returns": (returns_wrong, "the return of episode 0 is"),
    "return of NaN": (episodes("return", 2, np.nan), "the return of episode 2 is nan"),
    "return of infinity": (episodes("return", 2, np.inf), "the return of episode 2 is inf"),
    "returns as flags": (lambda c: c.episodes.update({"return": np.zeros(4, bool)}), "'return' is bool"),
    "end marker 9": (episodes("end", 1, 9), "the end of episode 1 is 9"),
    "end against its flag": (episodes("end", 1, TERMINAL), "'terminal' is 0 in row 60, but the end of episode 1 is 0"),
    "incomplete, with a flag": (episodes("end", 1, INCOMPLETE), "'timeout' is 1 in row 60"),
    "flag of 7": (steps("timeout", 29, 7), "'timeout' is 7 in row 29"),
    "flag inside": (steps("terminal", 3, 1), "inside an episode: 'terminal' is 1 in row 3"),
    "has_action of 2": (steps("has_action", 3, 2), "has_action, first in row 3"),
    "t": (steps("t", 3, 9), "first in row 3"),
    "start": (episodes("start", 1, 30), "boundaries"),
    "rows beyond": (episodes("rows", 3, 99), "boundaries"),
    "negative length": (episodes("length", 1, -5), "has_action, first in row 31"),
    "reward of a final observation": (reward_of_a_final, "holds a reward, first in row 30"),
    "limit -5": (about(episode_limit=-5), "'episode_limit' is -5"),
    "limit 0": (about(episode_limit=0), "'episode_limit' is 0"),
    "limit of NaN": (about(episode_limit=np.nan), "'episode_limit' is nan"),
    "limit as text": (about(episode_limit="1000"), "'episode_limit' is '1000'"),
    "limit true": (about(episode_limit=True), "'episode_limit' is True"),
    "longer than the limit": (about(episode_limit=29), "has 30 steps, the attribute episode_limit is 29"),
    "no limit": (about(episode_limit=None), "'episode_limit' is missing"),
    "discrete 2": (about(discrete=2), "'discrete' is 2"),
    "discrete without legal actions": (about(discrete=1), "legal_actions are missing"),
    "no agents": (about(n_agents=0), "'n_agents' is 0"),
    "five agents": (about(n_agents=5), "actions have shape (6, 1) per row"),
    "no JSON": (about(env_kwargs="{a: 1}"), "'env_kwargs' is '{a: 1}', not JSON"),
    "JSON of another kind": (about(env_kwargs="3"), "not a JSON object"),
    "deep JSON": (about(facts="[" * 5000), "not JSON"),
    "facts as list": (about(facts="[]"), "'facts'"),
    "facts that are no numbers": (about(facts='{"episodes": "4"}'), "episodes is '4', not a number"),
    "notices that are no texts": (about(facts='{"notices": [1]}'), "no list of texts"),
    "behaviours without policy": (about(behaviours='[{"noise": 1}]'), "without a policy"),
    "behaviours with a noise of text": (about(behaviours='[{"policy": "a", "noise": "b"}]'), "a noise of 'b'"),
    "behaviours of numbers": (about(behaviours="[1]"), "without a policy"),
    "name of zero bytes": (about(name="a\0b"), "cannot be stored"),
    "name without letters": (about(name=""), "'name' is ''"),
    "half a letter": (about(name="\ud800"), "cannot be stored"),
    "large number": (about(seed=2**70), "too large"),
    "list": (about(seed=[1]), "has type list"),
    "action limit of 0": (about(action_limit=0.0), "'action_limit' is 0.0"),
    "view": (about(stored_view="mine"), "'stored_view' is 'mine'"),
    "big-endian": (column("robot_observation", lambda x: x.astype(">f4")), ">f4, not float32"),
    "double": (column("rewards", lambda x: x.astype("f8")), "float64, not float32"),
    "rewards per agent": (per_agent, "rewards have shape (6) per row"),
    "images": (column("robot_observation", lambda x: np.zeros((*x.shape, 2), "f4")), "shape (17, 2)"),
    "flags as bool": (column("terminal", lambda x: x.astype(bool)), "'terminal' has type bool"),
    "text": (column("note", lambda x: np.full(len(x), "a", "S1")), "'steps/note'"),
    "name of a column": (column("a/b", lambda x: x), "'steps/a/b'"),
    "both observations": (column("observations", lambda x: np.zeros((len(x), 6, 2), "f4")), "both"),
    "legal actions of motors": (column("legal_actions", lambda x: np.ones((len(x), 6, 1), "u1")), "are continuous"),
    "state of NaN": (column("state", lambda x: np.full((len(x), 3), np.nan, "f4")), "'state' holds NaN"),
    "rewards of agents, NaN": (
        column("agent_rewards", lambda x: np.where(np.arange(6) == 4, np.nan, x[:, None]).astype("f4")),
        "'agent_rewards' holds NaN or infinity, first in row 0, agent 4",
    ),
    "action beyond 1": (steps("actions", (5, 2), 1.5), "first in row 5, agent 2"),
    "action of NaN": (steps("actions", (5, 2), np.nan), "first in row 5, agent 2"),
}


def judged(tmp_path, columns, says):
    """The writer, `read`, `data check` and `fit` refuse the dataset with `says`; the writer leaves nothing."""
    with pytest.raises(DataError) as refusal:
        write(tmp_path / "new" / "x.h5", columns)
    assert says in str(refusal.value) and not (tmp_path / "new").exists()
    try:
        store(tmp_path / "x.h5", columns)
    except (UnicodeError, TypeError, OverflowError, ValueError):  # HDF5 cannot hold it
        return
    with pytest.raises(DataError) as refusal:
        read(tmp_path / "x.h5")
    lines = check(tmp_path / "x.h5")
    assert [(name, good) for name, good, _ in lines] == [("file", False)] and lines[0][2] == refusal.value.line
    with pytest.raises(DataError):
        TransitionStore.map([tmp_path / "x.h5"], tmp_path / "cache", "raw_onehot", "auto", "bootstrap", "auto")


def final_rows(columns, end):
    """The rows of the final observations of all episodes that ended in this way."""
    return (columns.episodes["start"] + columns.episodes["length"])[columns.episodes["end"] == end]


FINAL = int(final_rows(discrete_columns(), TIMEOUT)[0])
DISCRETE = {
    "illegal action": (
        lambda c: c.steps["legal_actions"][2, 1].fill(0),
        "1 stored actions are not legal, first in row 2, agent 1",
    ),
    "action 3 of 3": (steps("actions", (2, 1), 3), "actions hold 3, not an index from 0 to 2, first in row 2, agent 1"),
    "action 7 where none is played": (
        steps("actions", (FINAL, 1), 7),
        f"actions hold 7, not an index from 0 to 2, first in row {FINAL}, agent 1",
    ),
    "nothing legal when cut": (
        steps("legal_actions", (FINAL, 1), 0),
        f"a final observation has no legal action, first in row {FINAL}, agent 1",
    ),
    "mask of 2": (steps("legal_actions", (2, 1), 2), "legal_actions hold 2, first in row 2, agent 1"),
    "mask of one agent": (column("legal_actions", lambda x: x[:, :1]), "legal_actions have shape (1, 3)"),
    "two components": (column("actions", lambda x: np.stack([x, x], -1)), "actions have shape (2, 2)"),
    "actions as floats": (column("actions", lambda x: x.astype("f4")), "'actions' has type float32"),
}


@pytest.mark.parametrize(
    ("made", "change", "says"),
    [
        *(pytest.param(own, *case, id=what) for what, case in BROKEN.items()),
        *(pytest.param(discrete_columns, *case, id=f"discrete, {what}") for what, case in DISCRETE.items()),
    ],
)
def test_a_dataset_that_breaks_a_rule_is_refused_everywhere(made, change, says, tmp_path):
    columns = made()
    change(columns)
    judged(tmp_path, columns, says)


def test_nothing_need_be_legal_after_the_end(tmp_path):
    columns = discrete_columns()
    over = final_rows(columns, TERMINAL)
    assert len(over)
    columns.steps["legal_actions"][over] = 0
    write(tmp_path / "x.h5", columns)
    assert check(tmp_path / "x.h5")[0][1]
