"""What the conversion of a vault must give, read row by row from its arrays: slow and simple."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from tests.datamodules.vaults.random_vaults import Case

TERMINAL, TIMEOUT, TRUNCATION, INCOMPLETE = range(4)
LARGEST = float(np.finfo(np.float32).max)


class Refused(Exception):
    """The vault must be refused. `row` is the row that the message must name, where one number is the cause."""

    def __init__(self, row: int | None = None) -> None:
        self.row = row


@dataclass
class Expected:
    """The converted dataset: rows of the vault that are steps, columns, episodes, facts."""

    steps: dict[str, np.ndarray]
    length: list[int]
    end: list[int]
    returns: list[float]
    attributes: dict
    clipped_share: float | None
    partly: int


def expected(case: Case) -> Expected | Refused:
    """Return the dataset that `case` must become, or why it must be refused."""
    try:
        return _expected(case)
    except Refused as refusal:
        return refusal


def _expected(case: Case) -> Expected:
    arrays, declared = case.arrays, case.declared
    discrete = kind_of(arrays, declared.discrete)
    rows, agents = arrays["observations"].shape[:2]
    judge_all(arrays, rows)
    ends, partly, cut = ends_of(arrays, rows, agents, declared)
    delimited = not cut and is_delimited(arrays, rows, ends, declared)
    begins = [0] + [end + 1 for end in ends[:-1]]
    length = [end - begin + (not delimited) for begin, end in zip(begins, ends, strict=True)]
    tail = rows - ends[-1] - 1
    limit = declared.episode_limit or max(*length, tail)
    if max(*length, tail) > limit or not any(length):
        raise Refused
    end = [
        TIMEOUT if cut else end_of(arrays, row, agents, steps, limit) for row, steps in zip(ends, length, strict=True)
    ]
    kept = [row for row in range(rows) if not (delimited and row in ends)]
    pairs = [(steps, kind) for steps, kind in zip(length, end, strict=True) if steps]
    pairs += [(tail, INCOMPLETE)] if tail else []
    steps, share = columns_of(arrays, kept, agents, discrete, declared)
    starts = np.cumsum([0] + [steps for steps, _ in pairs])
    returns = [math.fsum(steps["rewards"][a:b].tolist()) for a, b in itertools.pairwise(starts)]
    steps["t"] = np.concatenate([np.arange(count) for count, _ in pairs]).astype(np.int32)
    for name, kinds in (("terminal", (TERMINAL,)), ("timeout", (TIMEOUT, TRUNCATION))):
        steps[name] = np.zeros(len(kept), np.uint8)
        for stop, (_, kind) in zip(starts[1:], pairs, strict=True):
            steps[name][stop - 1] = kind in kinds
    width = arrays["infos.legals"].shape[2] if discrete else steps["actions"].shape[2]
    attributes = {
        "n_agents": agents,
        "discrete": int(discrete),
        "action_dim": width,
        "episode_limit": limit,
        "layout": "delimiter_row" if delimited else "native",
    }
    return Expected(steps, *map(list, zip(*pairs, strict=True)), returns, attributes, share, partly)


def kind_of(arrays, declared):
    """Return whether actions are indices. Raises Refused where declaration, type and legal actions disagree."""
    actions, legal = arrays["actions"], "infos.legals" in arrays
    whole, single = actions.dtype.kind in "iub", actions.shape[2:] in ((), (1,))
    if declared is False and whole:
        raise Refused
    if declared is False or not (whole or legal or declared):
        return False
    if not legal or not single:
        raise Refused
    return True


def flagged(arrays, name, row, agent):
    if name not in arrays:
        return False
    values = arrays[name][row].reshape(-1).tolist()
    return values[agent if len(values) > 1 else 0] != 0


def judge_all(arrays, rows):
    """Raise Refused for the first flag or reward that no row may hold."""
    for name in ("terminals", "truncations", "rewards"):
        for row in range(rows) if name in arrays else ():
            for value in arrays[name][row].reshape(-1).tolist():
                if abs(value) > LARGEST or value != value if name == "rewards" else value not in (0, 1):
                    raise Refused(row)


def ends_of(arrays, rows, agents, declared):
    """Return (last rows, number of rows in which only some agents end, whether they follow from the limit)."""
    ends, partly = [], 0
    for row in range(rows):
        marks = [
            flagged(arrays, "terminals", row, agent) or flagged(arrays, "truncations", row, agent)
            for agent in range(agents)
        ]
        ends += [row] if all(marks) else []
        partly += any(marks) and not all(marks)
    if ends:
        return ends, partly, False
    limit = declared.episode_limit
    if limit is None or declared.layout == "delimiter_row" or limit > rows:
        raise Refused
    return list(range(limit - 1, rows, limit)), partly, True


def is_delimited(arrays, rows, ends, declared):
    """Return whether the last rows are no steps. Raises Refused where rows and declaration disagree."""
    idle = all((arrays[name][row] == 0).all() for name in ("actions", "rewards") for row in ends)
    longest = max(end - begin for begin, end in zip([-1, *ends[:-1]], ends, strict=True))
    limit = declared.episode_limit
    if declared.layout == "delimiter_row" and not idle:
        raise Refused
    return declared.layout == "delimiter_row" or (
        declared.layout == "auto" and idle and limit is not None and longest == limit + 1
    )


def end_of(arrays, row, agents, length, limit):
    terminal = [flagged(arrays, "terminals", row, agent) for agent in range(agents)]
    truncation = [flagged(arrays, "truncations", row, agent) for agent in range(agents)]
    if all(truncation) or not all(terminal):
        return TRUNCATION
    return TIMEOUT if length == limit else TERMINAL


def columns_of(arrays, kept, agents, discrete, declared):
    """Return the step columns, and the share of clipped actions. Raises Refused for the first number that is wrong."""
    steps, share = {}, None
    if discrete:
        steps["actions"], steps["legal_actions"] = choices_of(arrays, kept, agents)
    else:
        values = arrays["actions"].reshape(len(arrays["actions"]), agents, -1)[kept].astype(np.float64)
        if declared.action_scale is not None:
            values = values / declared.action_scale
        refuse_unless_finite(values, kept)
        steps["actions"] = values.astype(np.float32)
        share = float(np.mean([abs(value) > 1.00001 for value in values.reshape(-1).tolist()]))
        if share > 0.01 and not declared.clip:
            raise Refused
    steps["observations"] = observations_of(arrays["observations"][kept].astype(np.float64), kept)
    if "infos.state" in arrays:
        refuse_unless_finite(arrays["infos.state"][kept].astype(np.float64), kept)
        steps["state"] = arrays["infos.state"][kept].astype(np.float32)
    paid = arrays["rewards"].reshape(len(arrays["rewards"]), -1).astype(np.float64)
    shared = all(max(row) - min(row) <= 1e-6 for row in paid.tolist())
    steps["rewards"] = np.array([sum(paid[row]) / len(paid[row]) for row in kept]).astype(np.float32)
    if not shared:
        steps["agent_rewards"] = paid[kept].astype(np.float32)
    return steps, share


def refuse_unless_finite(values, kept):
    for row, line in zip(kept, values, strict=True):
        if not all(abs(value) <= LARGEST for value in line.reshape(-1).tolist()):
            raise Refused(row)


def observations_of(values, kept):
    padding = values[0] == -np.inf
    for row, line in zip(kept, values, strict=True):
        if ((line == -np.inf) != padding).any():
            raise Refused(row)
    values = np.where(padding, 0.0, values)
    refuse_unless_finite(values, kept)
    return values.astype(np.float32)


def choices_of(arrays, kept, agents):
    """Return indices and legal actions. Where an agent has no legal action, action 0 is legal."""
    chosen, legal = [], []
    count = arrays["infos.legals"].shape[2]
    for row in kept:
        for value in arrays["actions"][row].reshape(-1).tolist():
            if value not in range(count):
                raise Refused(row)
        chosen.append([int(value) for value in arrays["actions"][row].reshape(-1).tolist()])
    for row in kept:
        legal.append([[float(value) for value in line] for line in arrays["infos.legals"][row].tolist()])
        for agent in range(agents):
            if any(value not in (0.0, 1.0) for value in legal[-1][agent]):
                raise Refused(row)
            if not any(legal[-1][agent]):
                legal[-1][agent][0] = 1.0
    for row, actions, masks in zip(kept, chosen, legal, strict=True):
        if not all(mask[action] for mask, action in zip(masks, actions, strict=True)):
            raise Refused(row)
    return np.array(chosen, np.int16), np.array(legal).astype(np.uint8)
