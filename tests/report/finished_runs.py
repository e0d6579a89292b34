"""Writes folders of finished runs, like those of `fit`, with returns that a test chooses."""

import json
from statistics import fmean

from tools.results.cells import settings
from vgm2p.run.folder import RunFolder, write_json
from vgm2p.run.marks import final_marks

UPDATES = 10_000
SEEDS, EPISODES = 5, 20


def sign(folder):
    """Write the marks of a run's logs into its results, as if the run had written these logs."""
    write_json(folder.results, folder.read_results() | {"logs": final_marks(folder)})


def row_cells(text, start):
    """Return the cells of the first table row of a text that starts so."""
    return cells_of(next(line for line in text.splitlines() if line.startswith(f"| {start}")))


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def write_run(runs, experiment, row, ways, outcome, changes=None, logged=None, seeds=SEEDS, updates=UPDATES):
    """Write the folder of a cell.

    ways: the ways to act of its last evaluation. outcome: (way, seed, episode) -> return and won ("" for nothing to win).
    changes: dotted key of the configuration -> another value. logged: columns of metrics.csv, in addition to a loss.
    seeds, updates: how many it has.
    """
    folder = RunFolder(runs / experiment / row.label)
    (folder.path / "plots").mkdir(parents=True)
    (folder.path / "plots" / "learning.png").write_bytes(b"a picture")
    config = json.loads(json.dumps(settings(experiment, row)))
    named = [word.removeprefix("algo=") for word in row.overrides if word.startswith("algo=")]
    config["algo_name"] = named[-1] if named else row.label
    for key, value in (changes or {}).items():
        *groups, name = key.split(".")
        node = config
        for group in groups:
            node = node[group]
        assert name in node
        node[name] = value
    manifest = {
        "format": 1,
        "config": config,
        "git": {"commit": "0123456789abcdef"},
        "device": "cpu",
        "versions": {"torch": "2.13.0"},
        "environment_versions": {"simulator": "1.0"},
        "data": {"episodes": 3, "transitions": 30, "digest": "d" * 64},
    }
    write_json(folder.manifest, manifest)
    write_json(folder.timing, {"sessions": [{"total_seconds": 1800.0}, {"total_seconds": 1800.0}]})
    own = ways[0] if isinstance(ways[0], str | None) else config["algo"]["acting"]["noise"]
    results = {
        "experiment": experiment,
        "algorithm": row.label,
        "seeds": list(range(seeds)),
        "updates": updates,
        "act_noise": own,
        "data_digest": "d" * 64,
        "return_mean": fmean(outcome(own, seed, episode)[0] for seed in range(seeds) for episode in range(EPISODES)),
        "dataset_return_mean": 140.0,
        "dataset_return_ci95": [130, 150],
        "random_return_mean": -1.0,
        "random_return_ci95": [-2, 0],
        "diverged_seeds": [],
    }
    write_json(folder.results, results)
    rows = []
    for way, seed, episode in ((w, s, e) for w in ways for s in range(seeds) for e in range(EPISODES)):
        returned, won = outcome(way, seed, episode)
        end = {"return": returned, "length": 9, "terminated": 1, "won": won, "faults": 0}
        named = "" if way is None else way
        rows.append({"update": updates, "seed": seed, "episode": episode, "act_noise": named, **end})
    folder.log_episodes().append(rows)
    last = {"policy_loss": 1.0, **(logged or {})}
    folder.log_metrics().append([{"update": updates, "seed": seed, **last} for seed in range(seeds)])
