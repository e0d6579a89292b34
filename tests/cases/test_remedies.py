"""Every remedy that a message names exists: commands, keys, make targets, pages, files and extras."""

import ast
import re
from importlib.metadata import metadata

import pytest
import yaml

from tests.house import ROOT, SOURCES
from vgm2p.cli import COMMANDS
from vgm2p.config.sweeps.ray_tasks import KEYS as RAY_KEYS
from vgm2p.config.sweeps.search import keys as search_keys
from vgm2p.config.words import ACTIONS

ERRORS = re.compile(r"(Error|MissingInput|Diverged|OutOfMemory|Doubt|Unplayable|Unsound)$")
TOLD = {"say", "warn_once"}  # functions that print a line
GROUPS = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]
HYDRA = {"hydra.launcher", "hydra/launcher"}
HYDRA |= {f"hydra.launcher.{key}" for key in RAY_KEYS} | {f"hydra.sweeper.{key}" for key in search_keys()}
NO_KEY = {"key", "shape"}  # left of `=` in text: a placeholder, and a word of `bench`
NO_KEY |= {"overwrite", "render_mode", "data_format"}  # arguments of `vgm2p.write_dataset`, gymnasium, Minari


def texts(tree):
    """Yield the texts of all messages of a file: strings in exceptions and printed lines, `{}` for what is filled in."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).split(".")[-1]
        if ERRORS.search(name) or name in TOLD:
            for part in (*node.args, *(word.value for word in node.keywords)):
                yield from strings(part)


def strings(node):
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def constants(tree):
    """Yield every other text of a file that names a command or a page."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


MESSAGES = sorted({(path.name, text) for path in SOURCES for text in texts(ast.parse(path.read_text()))})
ANYTHING = sorted({(path.name, text) for path in SOURCES for text in constants(ast.parse(path.read_text()))})


def leaves(node, where):
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        yield f"{where}{key}"
        yield from leaves(value, f"{where}{key}.")


def known_keys():
    """Return the dotted keys of all commands, from the yaml files."""
    found = {*GROUPS, *HYDRA}
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.relative_to(ROOT / "conf").parts[0] if path.parent != ROOT / "conf" else ""
        content = yaml.safe_load(path.read_text()) or {}
        at = "algo." if group == "tuned" else f"{group}." if group not in ("", "experiment", "protocol") else ""
        found |= set(leaves(content, at))
    return found


def named(pattern, found=MESSAGES):
    return sorted({(file, match) for file, text in found for match in re.findall(pattern, text)})


def test_the_messages_are_found():
    assert len(MESSAGES) > 300
    assert any("did you mean" in text for _, text in ANYTHING)


def test_every_command_exists():
    words = named(r"\bvgm2p ([a-z]+)\b", ANYTHING)
    assert len(words) > 10
    prose = {
        "is",
        "has",
        "and",
        "in",
        "at",
        "wrote",
        "reads",
        "writes",
        "needs",
        "version",
        "knows",
        "cannot",
        "or",
        "policy",
    }
    prose |= {"unpickles"}
    assert [(file, word) for file, word in words if word not in COMMANDS and word not in prose] == []
    actions = named(r"\bvgm2p data ([a-z]+)\b", ANYTHING)
    assert [(file, word) for file, word in actions if word not in ACTIONS] == []


def test_every_key_exists():
    keys = named(r"(?<![\w.{}/$-])([a-z][a-z_]*(?:\.[a-z_]+)*)=(?!=)")
    known = known_keys()
    assert len(keys) > 60
    missing = [(file, key) for file, key in keys if key not in known and key not in NO_KEY]
    assert missing == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named_targets = named(r"`make ([^`]+)`", ANYTHING)
    assert named_targets
    words = [(file, word) for file, line in named_targets for word in line.split() if "=" not in word]
    assert [(file, word) for file, word in words if word not in targets] == []


def test_every_page_and_file_exists():
    pages = named(r"\b((?:docs|conf|tests|tools)/[\w./-]*[\w/])", ANYTHING)
    assert len(pages) > 10
    assert [(file, page) for file, page in pages if not (ROOT / page).exists()] == []
    files = named(r"\b([\w-]*constraints[\w-]*\.txt)", ANYTHING)
    assert files
    assert [(file, name) for file, name in files if not (ROOT / name).exists()] == []


def test_every_extra_exists():
    extras = named(r"([\w.-]+)\[([\w,]+)\]'", [(f, t) for f, t in ANYTHING if "pip install" in t])
    for file, (package, extra) in extras:
        name = "vgm2p" if package == "." else package
        provided = metadata(name).get_all("Provides-Extra") or []
        assert set(extra.split(",")) <= set(provided), (file, package, extra)


@pytest.mark.parametrize("line", ["run `vgm2p fiit`", "set data.bach=3", "run `make tset`", "see docs/nothing.md"])
def test_the_patterns_see_a_remedy_that_does_not_exist(line):
    found = [("x", line)]
    words = [*named(r"\bvgm2p ([a-z]+)\b", found), *named(r"([a-z]+\.[a-z]+)=", found), *named(r"`make (\w+)`", found)]
    words += named(r"(docs/[\w.]+)", found)
    known = {*COMMANDS, *known_keys()}
    assert [word for _, word in words if word not in known and not (ROOT / word).exists()]
