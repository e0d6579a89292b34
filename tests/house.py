"""The program as syntax trees: its files, their names, what they import. For the tests of its structure."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


def functions_in(nodes: Iterable[ast.AST]) -> list[ast.FunctionDef]:
    """Return all functions and methods below syntax nodes."""
    return [node for top in nodes for node in ast.walk(top) if isinstance(node, ast.FunctionDef)]
