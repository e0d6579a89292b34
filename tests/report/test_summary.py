"""The commands that a finished run prints."""

import sys
from pathlib import Path

from vgm2p.report.summary import this_python


def test_a_command_starts_the_python_that_runs(monkeypatch, tmp_path):
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert this_python() == sys.executable
    monkeypatch.chdir(folder.parent)
    assert this_python() == f"{folder.name}/{Path(sys.executable).name}"
    (tmp_path / "python").symlink_to("/bin/true")
    (tmp_path / "python").chmod(0o755)
    assert this_python() != "python"
    monkeypatch.setenv("PATH", str(folder))
    assert this_python() == "python"
