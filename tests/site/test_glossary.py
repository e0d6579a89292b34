"""The glossary has every column that a run writes and every mark of the tables; troubleshooting has every exit code."""

import re

import pytest

from tests.algos.test_contract import NAMES, VARIANTS, node_of
from tests.house import ROOT
from tests.run.runs import SMALL, run, succeeded
from tests.support import continuous_spec, discrete_spec, random_batch
from vgm2p.config.build import algorithm_class, build_algorithm
from vgm2p.envs.smac_slots import NUMBERS
from vgm2p.report.panels import PANELS
from vgm2p.report.runs import load_runs
from vgm2p.report.tables import as_csv, table
from vgm2p.rng import UpdateKey
from vgm2p.run.folder import RunFolder
from vgm2p.run.ways import TITLES

REFERENCES = ("random policy", "dataset mean", "dataset mean (recorder's scale)")
PAGE = (ROOT / "docs" / "glossary.md").read_text()


def section(title):
    """The names in the first column of the tables of a section. `<x>` and `*` stand for a part of a name."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    rows = re.findall(r"^\| (.*?) \| ", text, re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)} | set(re.findall(r"`(\w+_\*)`", text))


def unknown(names, title):
    patterns = [re.sub(r"<\w+>|\*", r"\\w+", name) for name in section(title)]
    return sorted(name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns))


def diagnostics(words, spec):
    algorithm = build_algorithm(node_of(words), spec, [0])
    key = UpdateKey([0])
    batch = random_batch(spec, 1, needs=algorithm.needs)
    return set(algorithm.step(batch, key.at(0)))


@pytest.mark.parametrize("name", NAMES)
def test_the_glossary_has_every_diagnostic_of_an_algorithm(name):
    cls = algorithm_class(node_of(name))
    found = set()
    for kind, make in (("continuous", continuous_spec), ("discrete", discrete_spec)):
        if getattr(cls, f"supports_{kind}"):
            spec = make(state_dim=4 if cls.needs_state else None)
            found |= diagnostics(name, spec)
            if variant := VARIANTS.get((name, kind)):
                found |= diagnostics(f"{name} {variant}", spec)
    assert found
    assert unknown(found, "metrics.csv") == []


def test_the_glossary_has_every_panel_of_the_picture():
    assert unknown({name for panel in PANELS for name in panel.columns}, "metrics.csv") == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glossary") / "run"
    succeeded(run(folder, algo="bc_meanflow", **SMALL))
    return folder


def test_the_glossary_has_every_column_and_entry_of_a_real_run(runs):
    folder = RunFolder(runs)
    assert unknown(folder.log_metrics().rows()[0], "metrics.csv") == []
    assert unknown(folder.log_episodes().rows()[0], "episodes.csv") == []
    assert unknown(NUMBERS, "episodes.csv") == []
    results = folder.read_results()
    assert unknown({*results, *results["by_act_noise"][0]}, "results.json") == []
    found, _ = load_runs([runs])
    assert unknown(as_csv(found).splitlines()[0].split(","), "table.csv") == []


def test_the_glossary_has_every_mark_of_the_tables(runs):
    found, _ = load_runs([runs])
    notes = table(found).splitlines()[-1]
    marks = {*re.findall(r"; ([^\w\s]) ", notes), "!", "x", "(source)", "(centralised)", *REFERENCES}
    assert {"<", "*"} <= marks
    assert marks <= section("Marks of the tables")
    assert set(TITLES.values()) <= {*section("Marks of the tables")}


def test_every_exit_code_has_a_section_of_troubleshooting():
    codes = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.M)
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    titles = re.findall(r"^## .*\((?:exit code )?(\d+)[^)]*\)$", page, re.M)
    assert titles[0] == "2"
    assert set(codes) - {"0"} <= {*titles}


def test_messages_of_troubleshooting_are_those_of_the_program():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    source = " ".join(
        path.read_text() for name in ("vgm2p", "datamodules", "callbacks") for path in (ROOT / name).rglob("*.py")
    )
    known = re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", source))
    quoted = [text for row in re.findall(r"^\| (`.*?) \| ", page, re.M) for text in re.findall(r"`([^`]+)`", row)]
    parts = [part.strip() for text in quoted for part in re.split(r"\.\.\.|'[^']*'|\d+", text) if len(part.strip()) > 3]
    assert len(parts) > 30
    assert [part for part in parts if part not in known] == []
