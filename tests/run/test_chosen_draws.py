"""A run goes on with the draws with which it began, or not at all."""

import json

from tests.cli.answers import TINY, answer
from vgm2p.datamodules.store import effective_size


def test_a_run_whose_draws_were_chosen_anew_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(effective_size, "UPDATES", 5)
    words = ["fit", *TINY, "algo=bc_mse", "data.sampling=return", "data.ess=auto", "evaluate=none"]
    words += [f"out={tmp_path / 'run'}", f"data.cache={tmp_path / 'cache'}"]
    assert answer(words) == (0, "")
    (kept,) = (tmp_path / "cache").glob("ess-*.json")
    errors = kept.read_text()
    chosen = effective_size.Choice(tuple(json.loads(errors)["errors"])).ess
    other = 1.0 if chosen < 1.0 else 0.02
    changed = [1.0 if ess == other else 2.0 for ess in effective_size.CANDIDATES]
    kept.write_text(json.dumps({"errors": changed}))
    code, line = answer([*words, "updates=6"])
    assert code == 65
    assert "was trained with an effective sample size of" in line
    assert "data.ess=auto now chooses" in line
    kept.write_text(errors)
    assert answer([*words, "updates=6"]) == (0, "")
    kept.unlink()  # it is chosen again, equal to the last digit
    assert answer([*words, "updates=8"]) == (0, "")
    assert kept.read_text() == errors
