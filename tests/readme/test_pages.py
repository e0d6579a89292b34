"""What `python -m tests.readme` finds in the pages, and what it leaves out."""

import pytest

from tests.readme.__main__ import Failed, run_command, words_of
from tests.readme.exceptions import LEFT, RULES, rule_for
from tests.readme.pages import PAGES, Found, found_in, found_in_text


def test_commands_are_found_in_blocks_and_in_lines():
    text = (
        "Type `python -m vgm2p fit` or `algo=x`.\n\n```bash\n# a comment\nls runs  # what is there\nvgm2p fit a=1 \\\n  b=2\n```\n\n"
        "    make docs     # builds\n\n```python\nimport vgm2p\n```\n\n```\nX=1 vgm2p doctor\n| no | command |\n```\n"
    )
    found = [each.text for each in found_in_text("a.md", text)]
    assert found == [
        "python -m vgm2p fit",
        "ls runs",
        "vgm2p fit a=1  b=2",
        "make docs",
        "import vgm2p\n",
        "X=1 vgm2p doctor",
    ]


def test_every_page_is_read_and_there_are_many_commands():
    assert len(PAGES) > 30
    assert sum(len(found_in(page)) for page in PAGES) > 100


def test_every_exception_has_a_reason_and_is_needed():
    texts = [found for page in PAGES for found in found_in(page)]
    shown = [f"{found.page} {found.text}" if found.program else found.text for found in texts]
    used = {rule.pattern for text in shown if (rule := rule_for(text))}
    assert all(len(rule.why) > 10 for rule in RULES)
    assert [rule.pattern for rule in RULES if rule.pattern not in used] == []


def test_a_wrong_command_of_a_page_fails(tmp_path):
    with pytest.raises(Failed, match="no target"):
        run_command(Found("a.md", "make nothing"), None, tmp_path)
    with pytest.raises(Failed, match="no command fitt"):
        run_command(Found("a.md", "vgm2p fitt <words>"), rule_for("vgm2p fitt <words>"), tmp_path)
    with pytest.raises(Failed, match="nosuch"):
        text = "vgm2p fit data=vault experiment=nosuch"
        run_command(Found("a.md", text), rule_for(text), tmp_path)
    with pytest.raises(Failed, match="no command that this script knows"):
        words_of("sed -i x", None)
    assert rule_for("docker run vgm2p fit").how == LEFT
    assert words_of("A=b python -m vgm2p collect policy=[a,b] out=x", None) == (
        {"A": "b"},
        ["collect", "policy=[a,b]", "out=x", "episodes=[2,2]"],
    )
