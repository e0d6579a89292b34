"""Random vaults are converted to exactly what a slow reading of their arrays gives, or refused where it refuses."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings

from tests.datamodules.vaults.random_vaults import ArrayVault, cases
from tests.datamodules.vaults.slow_reference import Expected, expected
from tests.datamodules.vaults.vault_writer import write_vault
from vgm2p.datamodules.layout.checks import check
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.published import VaultFolder
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.errors import DataError

FEW = settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=300, derandomize=False, print_blob=True)


def converted(case, folder: Path):
    """Convert a case, from memory or from the files of a vault. Raises DataError."""
    if not case.stored:
        target = folder / "cache" / "x.h5"
        target.parent.mkdir()
        Converter(ArrayVault(case), target, None, declared=case.declared).run()
        return target
    write_vault(folder / "random.vlt" / "Good", case.arrays)
    source = VaultFolder(
        str(folder / "random.vlt" / "Good"), str(folder / "cache"), lambda line: None, **asdict(case.declared)
    )
    return source.resolve()[0]


def compare(path: Path, wanted: Expected):
    """Every column, episode, attribute and fact is the wanted one; the other readers accept the file."""
    found = read(path, verify="full")
    for name, values in wanted.steps.items():
        assert found.steps[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found.steps[name], values, err_msg=name)
    assert found.steps.keys() == wanted.steps.keys() | {"has_action"} and found.steps["has_action"].all()
    assert (found.episodes["length"].tolist(), found.episodes["end"].tolist()) == (wanted.length, wanted.end)
    np.testing.assert_allclose(found.episodes["return"], wanted.returns, rtol=1e-12)
    assert {name: found.attributes[name] for name in wanted.attributes} == wanted.attributes
    facts = json.loads(found.attributes["facts"])
    assert facts["partly_flagged_rows"] == wanted.partly
    assert facts.get("clipped_share") == (None if wanted.clipped_share is None else pytest.approx(wanted.clipped_share))
    assert [line for line in check(path) if not line[1] and line[0] != "state"] == []
    TransitionStore.load([path], view="native", timeouts="terminal").close()


def judge(case):
    """Compare one conversion with the slow reading."""
    with tempfile.TemporaryDirectory() as name:
        folder, wanted = Path(name), expected(case)
        event("converted" if isinstance(wanted, Expected) else f"refused, {case.defect}")
        if isinstance(wanted, Expected):
            compare(converted(case, folder), wanted)
            return
        with pytest.raises(DataError) as caught:
            converted(case, folder)
        assert wanted.row is None or f"row {wanted.row}" in caught.value.line
        assert len(caught.value.line) <= 200
        assert [path for path in folder.glob("cache/**/*") if path.is_file() and path.suffix != ".lock"] == []


@FEW
@given(cases())
def test_random_vaults(case):
    judge(case)


@pytest.mark.slow
@MANY
@given(cases())
def test_many_random_vaults(case):
    judge(case)
