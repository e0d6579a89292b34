"""The files of tested packages: pip reads several at once, and two pins of one package contradict each other."""

from collections import Counter

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import ROOT


def pinned():
    """Return the packages that the files pin, one entry per pin."""
    lines = [line for path in ROOT.glob("constraints*.txt") for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_each_package_has_one_pin():
    counts = Counter(canonicalize_name(pin.name) for pin in pinned())
    assert {"torch", "jax", "pysc2"} <= counts.keys()
    assert [name for name, count in counts.items() if count > 1] == []


def test_each_pin_names_one_version():
    assert [str(pin) for pin in pinned() if [each.operator for each in pin.specifier] != ["=="]] == []
