"""docs/layout.md names every column and attribute, and its examples work as they stand."""

import re
from pathlib import Path

from tests.cli.answers import TINY, answer
from vgm2p.datamodules.layout.attributes import JSON, REQUIRED
from vgm2p.datamodules.layout.rules import EPISODE_TYPES, OBSERVED, STEP_TYPES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "layout.md").read_text()
FURTHER = ("actions", "legal_actions", "state", "agent_rewards", "seed", "behaviour", "stored_view", "action_limit")


def test_the_examples_write_and_read_a_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(code, place)
    assert capsys.readouterr().out == "the best episode has 3 steps of 2 agents\n"
    commands = re.findall(r"^    python -m vgm2p (.+)$", PAGE, re.M)
    assert len(commands) == 2
    for command in commands:
        tiny = [*TINY, "algo=bc_gaussian"] if command.startswith("fit") else []
        assert answer([*command.split(), *tiny]) == (0, "")


def test_the_page_names_every_column_and_attribute_with_its_type():
    named = set(re.findall(r"`(\w+)`", "".join(line for line in PAGE.splitlines() if line.startswith("|"))))
    assert {*STEP_TYPES, *EPISODE_TYPES, *OBSERVED, *REQUIRED, *JSON, *FURTHER} <= named
    sizes = {"|u1": "uint8", "<i4": "int32", "<i8": "int64", "<f4": "float32", "<f8": "float64"}
    for name, kind in {**STEP_TYPES, **EPISODE_TYPES}.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert sizes[kind] in row
