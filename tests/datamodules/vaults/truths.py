"""The genuine vaults among the test data, their ground truth, and their conversion."""

import json
from pathlib import Path

from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.datamodules.vaults.convert import Converter
from vgm2p.datamodules.vaults.vault import Vault

ROOT = Path(__file__).parents[2] / "data" / "vaults" / "fixture"
ENDS = {"terminal": 0, "time_limit": 1, "truncation": 2, "incomplete": 3}
TRUTHS = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.truth.json"))


def entry_for(truth, path, **changes):
    scenario, uid = path.name.split(".")[:2]
    facts = {
        "id": f"fixture/{path.parent.name}/{scenario}/{uid}",
        "source": "fixture",
        "env": path.parent.name,
        "scenario": scenario,
        "uid": uid,
        "hub_path": "x.zip",
        "n_agents": truth["n_agents"],
        "action_kind": "discrete" if truth["discrete"] else "continuous",
        "episode_limit": truth["episode_limit"],
        "layout": truth["layout"],
        "obs_dim": truth["obs_dim"],
        "obs_preprocessed": "z-scored over its own entries" if truth["layout"] == "delimiter_row" else None,
    }
    return Entry(**{**facts, **changes})


def converted(path, target, say=lambda line: None, **changes):
    truth = json.loads((ROOT / path).read_text())
    scenario, uid = path.name.split(".")[:2]
    vault = Vault(ROOT / path.parent / f"{scenario}.vlt" / uid)
    digest = Converter(vault, target, entry_for(truth, path, **changes), say).run()
    return truth, digest, read(target, verify="full")
