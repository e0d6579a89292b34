"""Without jaxmarl, SMAX reports this before training. Everything else works without it."""

import re

from tests.run import zygote
from tests.run.runs import environment

HIDDEN = "import sys; sys.modules['jax'] = None"


def test_fit_names_the_command_that_installs_it(tmp_path):
    done = zygote.run(["fit", "experiment=smax_3m"], tmp_path, environment(), tmp_path, HIDDEN)
    assert (done.returncode, done.stdout) == (66, "")
    assert re.search(r"run `make .*install-smax.*` \(docs/smax.md\); evaluate=none", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("manifest.json"))
