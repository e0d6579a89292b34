"""Random vaults: every form of flags, types, layouts, legal actions and bounds, with at most one defect."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.vault import Leaf

DEFECTS = ("flag", "reward", "action", "legal", "illegal", "observation", "overflow", "padding", "state", "stuck")
WHOLE = ("i1", "u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8")
REAL = ("f2", "f4", "f8")


@dataclass
class Case:
    """A vault, what is declared about it, and how it is read: slabs of `slab` rows, or from a `stored` vault."""

    arrays: dict[str, np.ndarray]
    declared: Declared
    slab: int
    stored: bool
    defect: str | None = None
    notes: dict = field(default_factory=dict)


class ArrayVault:
    """A vault in memory, with the interface of `Vault`."""

    version, again, repair = 1.2, "copy the vault again", "correct the vault"

    def __init__(self, case: Case) -> None:
        self.arrays, self.slab = case.arrays, case.slab
        self.folder = Path("/random.vlt/Good")
        self.rows = len(case.arrays["actions"])
        self.bytes = sum(array.nbytes for array in case.arrays.values())
        self.leaves = {name: Leaf(name, array.shape[1:], array.dtype) for name, array in case.arrays.items()}

    def slabs(self, name):
        for start in range(0, self.rows, self.slab):
            yield start, self.arrays[name][start : start + self.slab]


@st.composite
def cases(draw):
    """A random `Case`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pick = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    agents, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    layout = pick("native", "native", "delimiter_row", "auto")
    delimited = layout != "native" and pick(True, True, False)
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=7))
    tail = draw(st.integers(0, 3))
    if delimited and pick(True, False):
        lengths[draw(st.integers(0, len(lengths) - 1))] = 0  # an episode of a delimiter row alone
    spans = np.array(lengths) + int(delimited)
    ends, rows = np.cumsum(spans) - 1, int(spans.sum()) + tail
    arrays = {
        "observations": (rng.integers(-64, 65, (rows, agents, width)) / 16).astype(pick("f2", "f4", "f8", "i1", "i8")),
        "rewards": rewards(rng, pick, rows, agents),
        **actions(rng, pick, rows, agents),
    }
    if pick(True, False):
        arrays["infos.state"] = rng.normal(size=pick((rows, 3), (rows, agents, 2))).astype(pick("f4", "f8"))
    if delimited or pick(True, False, False):
        for name in ("actions", "rewards"):
            arrays[name][ends] = 0
        if "infos.legals" in arrays and not delimited:
            arrays["infos.legals"][ends, :, 0] = 1
    arrays |= flags(rng, pick, rows, agents, ends)
    longest = max(max(lengths), 1)
    declared = Declared(
        layout,
        pick(None, None, longest, longest, longest + 3, longest + 3, max(1, longest - 1)),
        discrete=pick(*[None] * 6, True, False),
        action_scale=pick(None, None, 2.0, 0.25),
        clip=pick(False, True),
    )
    case = Case(arrays, declared, draw(st.integers(1, rows)), pick(*[False] * 9, True))
    return spoil(rng, case, pick(*[None] * 8, *DEFECTS))


def rewards(rng, pick, rows, agents):
    kind = pick("shared", "one", "no axis", "own")
    values = rng.integers(0, 64, (rows, agents if kind == "own" else 1))
    if kind == "shared":
        values = np.repeat(values, agents, 1)
    values = values[:, 0] if kind == "no axis" else values
    dtype = pick("f4", "f4", "f8", "u1", "i4")
    return (values / 16 if dtype.startswith("f") else values).astype(dtype)


def actions(rng, pick, rows, agents):
    if pick("discrete", "continuous") == "continuous":
        width, size = pick(None, 1, 2), pick(0.5, 1.0, 1.0, 4.0)
        values = rng.uniform(-1, 1, (rows, agents, width or 1)) * size
        values[rng.random(values.shape) < 0.2] = 1.0
        if pick(True, False):
            values.reshape(-1)[rng.integers(values.size)] = -1.5
        found = {"actions": (values if width else values[..., 0]).astype(pick(*REAL))}
        return found | ({"infos.legals": np.ones((rows, agents, 2), "f4")} if pick(*[False] * 4, True) else {})
    count = pick(1, 2, 5)
    legal = rng.random((rows, agents, count)) < 0.6
    legal[..., -1] = True
    chosen = np.where(legal, rng.random(legal.shape), -1).argmax(-1)
    chosen = chosen[..., None] if pick(True, False) else chosen
    dtype = pick(*WHOLE, *(["?"] if count < 3 else []))
    return {"actions": chosen.astype(dtype), "infos.legals": legal.astype(pick("f4", "?", "u1", "f8"))}


def flags(rng, pick, rows, agents, ends):
    """Both kinds of flags or one of them, per agent or in one column; some rows carry flags of some agents only."""
    columns, chosen = pick(agents, agents, 1), pick("both", "both", "terminals", "truncations", "none set")
    terminal = np.zeros((2, rows, columns), bool)
    if chosen != "none set":
        which = rng.integers(0, 3, (len(ends), columns)) if pick(True, False) else rng.integers(0, 2, (len(ends), 1))
        which = np.broadcast_to(which, (len(ends), columns))  # 0: terminated, 1: truncated, 2: both
        if chosen != "both":
            which = np.full_like(which, int(chosen == "truncations"))
        terminal[0, ends], terminal[1, ends] = which != 1, which != 0
    if columns > 1 and pick(True, False):
        for row in rng.integers(0, rows, 3):
            terminal[int(chosen == "truncations"), row, rng.integers(columns)] = True
    form, dtype = pick("plain", "last axis", "no axis"), pick("f4", "?", "u1", "f8")
    found = {}
    for name, values in zip(("terminals", "truncations"), terminal, strict=True):
        if chosen not in ("terminals", "truncations") or chosen == name:
            values = values[..., None] if form == "last axis" else values
            found[name] = (values[:, 0] if form == "no axis" and columns == 1 else values).astype(dtype)
    return found


def spoil(rng, case, defect):
    """Put one defect into a vault, where its arrays can hold it."""
    arrays, rows = case.arrays, len(case.arrays["actions"])
    row, real = int(rng.integers(rows)), lambda name: name in arrays and arrays[name].dtype.kind == "f"
    flag = "terminals" if "terminals" in arrays else "truncations"
    last = lambda name, value: arrays[name][row].reshape(-1).__setitem__(-1, value)  # noqa: E731
    if defect == "flag" and real(flag):
        arrays[flag] = arrays[flag].copy()
        arrays[flag][row] = rng.choice([np.nan, 0.5, -1.0, 2.0])
    elif defect == "reward" and real("rewards"):
        arrays["rewards"][row] = rng.choice([np.nan, np.inf, *([1e39] if arrays["rewards"].dtype == "f8" else [])])
    elif defect == "action" and real("actions"):
        last("actions", rng.choice([np.nan, np.inf, 7.0, -1.0, 0.5]))
    elif defect == "action" and arrays["actions"].dtype.kind in "iu":
        top = np.iinfo(arrays["actions"].dtype).max
        last("actions", rng.choice([7, min(top, 1 << 16)]))
    elif defect == "legal" and real("infos.legals"):
        last("infos.legals", rng.choice([np.nan, 2.0, 0.25]))
    elif defect in ("illegal", "stuck") and "infos.legals" in arrays:
        arrays["infos.legals"][row, 0, slice(None) if defect == "stuck" else 0] = 0
    elif defect == "overflow" and arrays["observations"].dtype == "f8":
        last("observations", rng.choice([1e39, -1e300]))
    elif defect == "observation" and real("observations"):
        last("observations", rng.choice([np.nan, np.inf, -np.inf]))
    elif defect == "padding" and real("observations"):
        arrays["observations"][row if rng.random() < 0.3 else slice(None), -1, -1] = -np.inf
    elif defect == "state" and real("infos.state"):
        last("infos.state", rng.choice([np.nan, np.inf]))
    case.defect = defect
    return case
