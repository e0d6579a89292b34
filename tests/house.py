"""The program's files as syntax trees, with their names and imports, for the tests of its structure."""

from __future__ import annotations

import ast
import contextlib
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = ("game._controller",)  # private attributes of other packages, which tests of these replace
LINKED = ("datamodules", "callbacks")  # folders of the repository that Python sees in vgm2p/, as links


def files_below(folder: Path) -> list[Path]:
    """Return the Python files below a folder; links are not followed."""
    return sorted(path for path in folder.rglob("*.py") if not any(part.is_symlink() for part in path.parents))


SOURCES = [path for name in ("vgm2p", *LINKED) for path in files_below(ROOT / name)]
TOOLS = files_below(ROOT / "tools")
TESTS = files_below(ROOT / "tests")


def name_of(path: Path) -> str:
    """Return the module of a file as Python imports it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("vgm2p", *parts) if parts[0] in LINKED else parts)


MODULES = {name_of(path).removesuffix(".__init__"): path for path in (*SOURCES, *TOOLS)}


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Return the modules that a file imports, inside functions as well unless `top_only`."""
    tree = tree_of(path)
    found: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            parts = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= parts or {str(node.module)}
    return found


def import_graph() -> dict[str, set[str]]:
    """Return module -> modules of ours that it imports; the package `vgm2p` itself left out."""
    return {name: (imports(path) & MODULES.keys()) - {"vgm2p"} for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return `a -> b -> a` for every import circle that a depth-first walk meets."""
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found


def private_patches(tree: ast.AST) -> list[str]:
    """Return the texts that name something private in calls such as `monkeypatch.setattr("a._b", ...)`."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    texts = (
        word.value
        for call in calls
        if call.func.attr in ("setattr", "delattr", "patch")
        for word in call.args[:2]
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    )
    named = [text for text in texts if any(part.startswith("_") and part[:2] != "__" for part in text.split("."))]
    return named + [name for code in _programs(tree) for name in _replaced(code)]


def _programs(tree: ast.AST) -> list[ast.AST]:
    """Return a module, and the programs that it holds as texts."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    found = [tree]
    for text in (text for text in texts if "=" in text):
        with contextlib.suppress(SyntaxError, ValueError):
            found.append(ast.parse(text))
    return found


def _replaced(code: ast.AST) -> list[str]:
    """Return the private attributes of other objects that a program assigns."""
    targets = (target for node in ast.walk(code) if isinstance(node, ast.Assign) for target in node.targets)
    private = (
        ast.unparse(target)
        for target in targets
        if isinstance(target, ast.Attribute) and target.attr.startswith("_") and not target.attr.endswith("_")
    )
    return [name for name in private if name not in FOREIGN and not name.startswith("self.")]


def _checks(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Raise):
        return node.exc is not None and "AssertionError" in ast.unparse(node.exc)
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return called in ("pytest.raises", "pytest.warns", "pytest.fail") or ".testing.assert" in called


def functions_that_check() -> set[str]:
    """Return the names of functions and classes of the tests that assert something, themselves or by what they call."""
    found: set[str] = set()
    calls: dict[str, set[str]] = {}
    for node in (node for path in TESTS for node in ast.walk(tree_of(path))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = list(ast.walk(node))
            found |= {node.name} if any(map(_checks, inner)) else set()
            called = {ast.unparse(call.func).split(".")[-1] for call in inner if isinstance(call, ast.Call)}
            calls.setdefault(node.name, set()).update(called)
    while more := {name for name, called in calls.items() if name not in found and called & found}:
        found |= more
    return found


def unused_names() -> list[str]:
    """Return `module.name` of functions, classes and constants of modules that nobody names again.

    Programs, tools, yaml files and what strangers add (tests/strangers) count.
    """
    used: Counter[str] = Counter()
    texts = [path.read_text() for path in (ROOT / "conf").rglob("*.yaml")] + [(ROOT / "pyproject.toml").read_text()]
    for path in (*SOURCES, *TOOLS, *(ROOT / "tests/strangers").glob("[!t]*.py")):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used[node.id] += 1
            elif isinstance(node, ast.Attribute):
                used[node.attr] += 1
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    for text in texts:
        used.update(re.findall(r"\w+", text))
    found = []
    for name, path in MODULES.items():
        for node in tree_of(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            found += [f"{name}.{each}" for each in names if not used[each] and each[:2] != "__"]
    return found
