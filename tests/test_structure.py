"""The structure of the program: allowed imports, no waiting for the device in training, sizes of files, docstrings."""

import ast
import re
from pathlib import Path

import pytest

from tests.house import (
    LINKED,
    ROOT,
    SOURCES,
    TESTS,
    TOOLS,
    circles,
    functions_that_check,
    import_graph,
    imports,
    name_of,
    private_patches,
    tree_of,
    unused_names,
)

# low to high (docs/architecture.md); a module imports from its own room or a lower floor, inside functions as well
FLOORS = [
    {"types", "groups", "errors", "signals", "io", "rng", "seeds", "data"},
    {"flows", "nn"},
    {"envs"},
    {"algos"},
    {"run"},
    {"datamodules"},
    {"config"},
    {"report"},
    {"execution"},
    {"export"},
    {"training"},
    {"callbacks"},
    {"bench"},
    {"commands"},
    {"sweeps"},
    {"api"},
    {"cli", "__main__"},
]


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "vgm2p" and len(parts) > 1 else None


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def test_every_room_has_a_floor():
    rooms = {room(name_of(path)) for path in SOURCES} - {None, "__init__"}
    assert rooms <= set().union(*FLOORS)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_downwards(path):
    mine = room(name_of(path))
    if mine in (None, "__init__"):
        return
    for module in imports(path):
        other = room(module)
        if other and other != mine:
            assert floor(other) <= floor(mine), f"{name_of(path)} imports {module}"


def test_nobody_imports_our_folders_by_their_bare_names():
    bare = {*LINKED, "conf"}
    everything = [*SOURCES, *TESTS, *TOOLS]
    assert [name_of(path) for path in everything if {m.split(".")[0] for m in imports(path)} & bare] == []


def test_the_package_imports_neither_tools_nor_tests():
    assert [name_of(path) for path in SOURCES if {m.split(".")[0] for m in imports(path)} & {"tools", "tests"}] == []
    assert [name_of(path) for path in TOOLS if "tests" in {m.split(".")[0] for m in imports(path)}] == []


def test_there_are_no_import_circles():
    assert circles(import_graph()) == []


def test_the_check_for_circles_sees_them():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"d"}}
    assert circles(graph) == ["a -> b -> c -> a", "d -> d"]
    assert import_graph()["tools.results.robots_page"] >= {"tools.results.robots_text", "vgm2p.report.tables"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_frameworks_stay_in_their_rooms(path):
    name, tops = name_of(path), {module.split(".")[0] for module in imports(path)}
    mine = room(name)
    if mine in ("algos", "nn", "flows", "envs", "rng", "seeds", "types", "groups", "errors", "report"):
        assert not tops & {"lightning", "hydra", "omegaconf"}
    if mine in ("algos", "nn", "flows"):
        assert not tops & {"pathlib", "os", "h5py", "logging", "gymnasium"}
        assert not {m for m in imports(path) if m.startswith(("vgm2p.envs", "vgm2p.io", "vgm2p.datamodules"))}
    simulators = {module.split(".")[0] for module in imports(path, top_only=True)}
    assert not simulators & {"mujoco", "gymnasium", "gymnasium_robotics", "smacv2", "jaxmarl"}


# what a training step runs: every function of these rooms and files
TRAINING = [
    *sorted((ROOT / "vgm2p/algos").glob("*.py")),
    *sorted((ROOT / "vgm2p/nn").rglob("*.py")),
    *sorted((ROOT / "vgm2p/flows").glob("*.py")),
    ROOT / "vgm2p/seeds.py",
]
SYNCS = {"item", "cpu", "tolist", "numpy", "nonzero", "any", "all"}


def waits(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in SYNCS:
            found.append(f"line {node.lineno}: .{node.func.attr}()")
        if isinstance(node.func, ast.Name) and node.func.id in ("float", "bool", "int"):
            found.append(f"line {node.lineno}: {node.func.id}()")
    return found


@pytest.mark.parametrize("path", TRAINING, ids=name_of)
def test_no_training_code_waits_for_the_device(path):
    assert waits(ast.parse(path.read_text())) == []


def functions(path: Path, *names: str) -> ast.Module:
    tree = ast.parse(path.read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    assert {node.name for node in found} == set(names)
    return ast.Module(found, [])


def test_block_draw_and_keys_do_not_wait_either():
    assert waits(functions(ROOT / "vgm2p/training/module.py", "training_step", "_update", "_draw", "add")) == []
    for file in ("gather", "resident", "rows"):
        assert waits(ast.parse((ROOT / f"datamodules/store/{file}.py").read_text())) == []
    assert waits(functions(ROOT / "datamodules/store/transitions.py", "draw", "_prefetching", "_numbers")) == []
    assert waits(functions(ROOT / "datamodules/store/table.py", "take", "drawn", "numbers")) == []
    assert waits(functions(ROOT / "datamodules/store/prefetch.py", "take")) == []
    assert waits(functions(ROOT / "vgm2p/rng.py", "_numbers", "_read", "at", "_from_here", "new", "fill")) == []


def test_the_check_for_waiting_sees_what_it_should():
    bad = "x = loss.item()\ny = float(loss)\nz = mask.any()\nw = t.cpu().numpy()"
    assert len(waits(ast.parse(bad))) == 5


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= (200 if "algos" in path.parts else 300)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_files_of_tests_are_short():
    assert [name_of(path) for path in (*TESTS, *TOOLS) if len(path.read_text().splitlines()) > 300] == []


def test_few_modules_lie_in_the_roots():
    assert len(list((ROOT / "vgm2p").glob("*.py"))) <= 9
    assert len(list((ROOT / "datamodules").glob("*.py"))) <= 2


def test_almost_no_line_is_excluded_from_formatting():
    text = "\n".join(path.read_text() for path in (*SOURCES, *TESTS, *TOOLS))
    assert len(re.findall(r"#\s*fmt:\s*(?:skip|off)", text)) <= 10


def subscripts(tree: ast.AST) -> list[str]:
    """Return `config["key"]`, `self.config["key"]`, `cfg["key"]` and the like, as they stand in the code."""
    found = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            last = ast.unparse(node.value).split(".")[-1]
            found += [ast.unparse(node)] if last.lower().endswith(("config", "cfg")) else []
    return found


def test_the_configuration_is_read_by_attributes():
    inside = {name_of(path) for path in SOURCES if room(name_of(path)) == "config"}
    assert [name_of(path) for path in SOURCES if subscripts(tree_of(path)) and name_of(path) not in inside] == []


def test_everything_that_is_defined_is_used():
    assert unused_names() == []


def test_every_test_checks_something():
    checks = functions_that_check()
    tests = [
        (name_of(path), node.name)
        for path in TESTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and path.name.startswith("test_")
    ]
    assert len(tests) > 300
    assert [name for name in tests if name[1] not in checks] == []


def test_no_test_replaces_a_private_name():
    assert [(name_of(path), text) for path in TESTS for text in private_patches(tree_of(path))] == []


def test_the_checks_of_tests_see_what_they_should():
    tree = ast.parse("monkeypatch.setattr('a.b._c', 1)\nmonkeypatch.setattr(d, '_e', 1)\nmonkeypatch.setattr('a.b', 1)")
    assert private_patches(tree) == ["a.b._c", "_e"]
    name = "_b"  # a text that holds the whole assignment would be found here, too
    tree = ast.parse(f"a.{name} = 1\nself.{name} = 2\na._target_ = 3\nPROGRAM = 'import a\\na.B.{name} = 3'")
    assert private_patches(tree) == ["a._b", "a.B._b"]
    assert (
        len(subscripts(ast.parse("config['a'] + self.config['b']['c'] + run.config.a + of_config['d'] + row['e']")))
        == 3
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_what_is_public_is_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    assert ast.get_docstring(inner), f"{node.name}.{inner.name}"
