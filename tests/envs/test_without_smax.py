"""Without jaxmarl, SMAX says so before anything is trained; everything else works (this very suite)."""

import subprocess
import sys

from tests.run.runs import environment

HIDDEN = "import sys; sys.modules['jax'] = None; from vgm2p.cli import main; sys.exit(main(sys.argv[1:]))"


def test_fit_names_the_command_that_installs_it(tmp_path):
    words = [sys.executable, "-c", HIDDEN, "fit", "experiment=smax_3m"]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (66, "")
    assert "make install-smax" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("manifest.json"))
