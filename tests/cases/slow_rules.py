"""Slow references for the property tests: the rules of our layout and of a recording, entry by entry, in plain Python.

Each returns what must be read back, or None where the input contradicts itself.
"""

import json
import math

import h5py
import numpy as np

TYPES = {"rewards": "<f4", "terminal": "|u1", "timeout": "|u1", "has_action": "|u1", "t": "<i4"}
EPISODES = {"start": "<i8", "rows": "<i4", "length": "<i4", "return": "<f8", "end": "|u1"}


def near(total: float, size: float, stored: float) -> bool:
    return math.isfinite(stored) and abs(total - stored) <= 1e-3 + 1e-5 * size


def whole(value, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**31


def text(value) -> bool:
    try:
        return isinstance(value, str) and value != "" and "\0" not in value and value.encode() != b""
    except UnicodeEncodeError:
        return False


def holds(value, kind) -> bool:
    try:
        return isinstance(json.loads(value), kind)
    except (TypeError, ValueError):
        return False


def shape_is(array, dtype: str, shape: tuple) -> bool:
    fits = len(array.shape) == len(shape) + 1
    return (
        array.dtype == np.dtype(dtype)
        and fits
        and all(n >= 1 and w in (None, n) for n, w in zip(array.shape[1:], shape, strict=True))
    )


def forms_agree(steps, episodes, about) -> bool:
    """Names, types, shapes and attributes."""
    counts = all(whole(about.get(key), 1) for key in ("n_agents", "action_dim", "episode_limit"))
    if not counts or about.get("discrete") not in (0, 1) or not isinstance(about["discrete"], int):
        return False
    if not all(text(about.get(key)) for key in ("name", "env_id")) or not holds(about.get("env_kwargs"), dict):
        return False
    agents, width, discrete = about["n_agents"], about["action_dim"], bool(about["discrete"])
    wanted = {
        **{name: (dtype, [()]) for name, dtype in TYPES.items()},
        "actions": ("<i2", [(agents,)]) if discrete else ("<f4", [(agents, width)]),
    }
    further = {
        "legal_actions": ("|u1", [(agents, width)]),
        "robot_observation": ("<f4", [(None,)]),
        "observations": ("<f4", [(agents, None)]),
        "state": ("<f4", [(None,), (agents, None)]),
        "agent_rewards": ("<f4", [(agents,)]),
    }
    if ("robot_observation" in steps) == ("observations" in steps) or discrete != ("legal_actions" in steps):
        return False
    if not (set(wanted) <= set(steps) <= {*wanted, *further} and set(episodes) >= set(EPISODES)):
        return False
    for name, array in steps.items():
        dtype, shapes = {**wanted, **further}[name]
        if not any(shape_is(array, dtype, shape) for shape in shapes):
            return False
    if not all(shape_is(episodes[name], dtype, ()) for name, dtype in EPISODES.items()):
        return False
    return all(
        len({len(array) for array in table.values()}) == 1 and len(next(iter(table.values())))
        for table in (steps, episodes)
    )


def dataset_is_sound(steps, episodes, about) -> bool:
    """Whether a dataset in our layout follows every rule."""
    if not forms_agree(steps, episodes, about):
        return False
    total, row = len(steps["t"]), 0
    for array in steps.values():
        if array.dtype.kind == "f" and not all(math.isfinite(x) for x in array.ravel().tolist()):
            return False
    acted = 0
    for e in range(len(episodes["start"])):
        start, rows, length, end = (int(episodes[name][e]) for name in ("start", "rows", "length", "end"))
        if start != row or rows < 1 or rows - length not in (0, 1) or length < 0 or start + rows > total or end > 3:
            return False
        if length > about["episode_limit"]:
            return False
        sums = size = 0.0
        for t in range(rows):
            here, last = start + t, t == length - 1
            sums, size = sums + float(steps["rewards"][here]), size + abs(float(steps["rewards"][here]))
            flags = (int(last and end == 0), int(last and end in (1, 2)))
            if (steps["terminal"][here], steps["timeout"][here]) != flags or steps["t"][here] != t:
                return False
            if steps["has_action"][here] != (t < length) or (t >= length and steps["rewards"][here] != 0):
                return False
            if not action_is_allowed(steps, here, about, t < length, end):
                return False
        if not near(sums, size, float(episodes["return"][e])):
            return False
        row, acted = row + rows, acted + length
    masks = steps.get("legal_actions")
    return row == total and acted > 0 and (masks is None or int(masks.max()) <= 1)


def action_is_allowed(steps, row, about, acting, end) -> bool:
    actions = steps["actions"][row].ravel().tolist()
    if not about["discrete"]:
        return not acting or all(abs(action) <= 1.0 + 1e-6 for action in actions)
    legal = steps["legal_actions"][row].tolist()
    if not all(0 <= action < about["action_dim"] for action in actions):
        return False
    if not acting:
        return end == 0 or all(any(mask) for mask in legal)
    return all(mask[action] for mask, action in zip(legal, actions, strict=True))


def recording_in_our_layout(path):
    """The step columns, the returns and the ends of a recording; None if it contradicts itself."""
    with h5py.File(path) as file:
        x, about = {name: array[...] for name, array in file.items()}, dict(file.attrs)
    names = ("observations", "actions", "rewards", "final_observations", "episode_returns")
    if any(x[name].dtype.kind != "f" for name in names) or x["episode_offsets"].dtype.kind not in "iu":
        return None
    flags = [x["terminations"], x["truncations"]]
    if any(each.dtype.kind not in "bu" or each.shape != x["rewards"].shape or each.max() > 1 for each in flags):
        return None
    offsets, steps, episodes = x["episode_offsets"].tolist(), len(x["rewards"]), len(x["episode_returns"])
    if x["rewards"].ndim != 1 or x["observations"].shape[0] != steps or x["actions"].shape[0] != steps:
        return None
    if (
        len(offsets) != episodes + 1
        or offsets[0] != 0
        or offsets[-1] != steps
        or len(x["final_observations"]) != episodes
    ):
        return None
    if x["final_observations"].shape[1] != x["observations"].shape[1]:
        return None
    agents, own = int(about["n_agents"]), int(about["actions_per_agent"])
    if agents < 1 or own < 1 or x["actions"].shape[1] != agents * own:
        return None
    rows, returns, ends = [], [], []
    for e in range(episodes):
        first, stop = offsets[e], offsets[e + 1]
        if not 1 <= stop - first <= about["max_episode_steps"]:
            return None
        for t in range(first, stop):
            flagged = bool(x["terminations"][t]) or bool(x["truncations"][t])
            values = [*x["observations"][t].tolist(), *x["actions"][t].tolist(), float(x["rewards"][t])]
            if flagged != (t == stop - 1) or not all(abs(value) < 3.4e38 for value in values):
                return None
            if any(abs(action) > 1.0 + 1e-6 for action in x["actions"][t].tolist()):
                return None
            rows.append((x["observations"][t], x["actions"][t].reshape(agents, own), x["rewards"][t], 1))
        if not all(abs(value) < 3.4e38 for value in x["final_observations"][e].tolist()):
            return None
        total = sum(float(x["rewards"][t]) for t in range(first, stop))
        if not near(
            total, sum(abs(float(x["rewards"][t])) for t in range(first, stop)), float(x["episode_returns"][e])
        ):
            return None
        rows.append((x["final_observations"][e], np.zeros((agents, own)), 0.0, 0))
        returns.append(sum(float(np.float32(x["rewards"][t])) for t in range(first, stop)))
        ends.append(0 if x["terminations"][stop - 1] else 1)
    columns = [np.array([row[i] for row in rows]) for i in range(4)]
    return {
        "robot_observation": columns[0].astype("f4"),
        "actions": columns[1].astype("f4"),
        "rewards": columns[2].astype("f4"),
        "has_action": columns[3].astype("u1"),
        "return": np.array(returns),
        "end": np.array(ends),
    }
