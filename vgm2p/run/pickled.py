"""Looks through the pickle of a checkpoint before torch reads it: a few bytes could ask for any amount of memory."""

from __future__ import annotations

import pickletools
import re
from pathlib import Path
from typing import Any

import torch

from vgm2p.errors import DataError
from vgm2p.io.text import name as shown

ZIP = b"PK\x03\x04"  # begins every file of torch.save; torch reads other files in an older format
EMPTY = "collections OrderedDict"  # called without arguments: it would make a list of an endless tensor
CALLED = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch device")
VALUE = re.compile(r"torch (\w+Storage|bool|complex\d+|bfloat16|float\d+|u?int\d+)")  # nobody can call these


def refuse_calls(path: Path) -> None:
    """Check that a checkpoint holds tensors of its own bytes and plain containers, and nothing that makes more.

    The pickle is taken from torch's own reader, since two readers of an archive may find two pickles in it.

    Raises:
        DataError: if it does not.
        Exception: of many types, if it is no file of torch.save.
    """
    with open(path, "rb") as file:
        if file.read(len(ZIP)) != ZIP:
            raise DataError(f"{path}: not a checkpoint; use another checkpoint of the run")
    found = _foreign(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl"))
    if found:
        raise DataError(f"{path}: cannot be read as a checkpoint (it calls {shown(found)}); use one that you trust")


def _foreign(pickle: bytes) -> str | None:
    """Return the name of something in a pickle that `torch.save` does not write for tensors and plain containers."""
    stack: list[Any] = []  # of each value: its name, if it is a global; (), if it is the empty tuple; else None
    outer: list[list[Any]] = []  # the values before each mark
    memo: dict[Any, Any] = {}
    given: Any  # the argument that stands after an operation
    for code, given, _ in pickletools.genops(pickle):
        called = stack[-2:] if code.name == "REDUCE" else [EMPTY, ()]
        if called != [EMPTY, ()] and called[0] not in CALLED:
            return str(called[0])
        taken = len(code.stack_before)
        if pickletools.markobject in code.stack_before:
            stack, taken = outer.pop(), code.stack_before.index(pickletools.markobject)
        if len(stack) < taken:
            raise IndexError(f"{code.name} takes more than there is")
        del stack[len(stack) - taken :]
        if code.name == "MARK":
            outer.append(stack)
            stack = []
        elif code.name in ("BINPUT", "LONG_BINPUT"):
            memo[given] = stack[-1]
        elif code.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[given])
        elif code.name == "GLOBAL":
            if given not in (EMPTY, *CALLED) and not VALUE.fullmatch(given):
                return str(given)
            stack.append(given)
        else:
            stack += [() if code.name == "EMPTY_TUPLE" else None] * len(code.stack_after)
    return None
