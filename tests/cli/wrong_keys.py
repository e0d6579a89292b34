"""Wrong values of keys of every type, for every command. Each line names the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.answers import TINY, Wrong

Prepare = Callable[[Path], list[str]]


def fit(*words: str) -> Prepare:
    return lambda scratch: ["fit", *TINY, f"out={scratch / 'run'}", *words]


def command(*words: str) -> Prepare:
    return lambda scratch: list(words)


COUNTS = ("0", "-3", "1.5", "many", "true", "null", "[2]", "inf", "nan", "1e-3", "''")  # wrong for a number from 1
RATES = ("0", "-1", "fast", "true", "null", "[1]", "inf", "nan")  # wrong for a number above 0
SWITCHES = ("2", "maybe", "null", "[true]", "1.0")  # wrong for true or false
NAMES = ("3", "nobody", "[a]", "true")  # wrong for one of some words
SWITCHED = ("algo.expectile", "algo.critic.tau", "algo.acting.best_of")  # keys of vgm2p_chosen
# command -> the words before, key -> wrong values
FIT = {
    "updates": COUNTS[1:],
    "eval_every": COUNTS,
    "eval_episodes": COUNTS[:6],
    "checkpoint_every": COUNTS[:4],
    "checkpoint_keep": COUNTS[:4],
    "log_every": COUNTS[:5],
    "block_updates": COUNTS[:5],
    "seeds": COUNTS[1:7],
    "seed": ("-1", "1.5", "x", "true", "[1]", "nan"),
    "net.width": COUNTS[1:6],
    "net.depth": ("-1", "0.5", "deep"),
    "net.activation": NAMES,
    "optim.lr": RATES,
    "optim.clip_norm": RATES[:3],
    "optim.decay_updates": COUNTS[:4],
    "data.batch_size": COUNTS[1:7],
    "data.best_share": ("2", "-0.5", "half", "nan"),
    "data.sampling": ("often", "3", "true"),
    "data.ess": ("0", "2", "half", "nan"),
    "data.obs_norm": ("maybe", "3"),
    "data.verify": NAMES[:2],
    "data.timeouts": NAMES[:2],
    "data.max_resident": ("-1", "4XB", "[1]"),
    "algo.omega": ("strong", "true", "nan", "inf"),
    "algo.expectile": ("0", "1", "2", "half", "nan"),
    "algo.history": COUNTS[:5],
    "algo.gamma": ("2", "-1", "x", "nan"),
    "algo.acting.noise": ("-1", "loud", "nan"),
    "algo.acting.best_of": COUNTS[:4],
    "algo.critic.tau": ("0", "2", "soft"),
    "trainer.threads": COUNTS[:4],
    "trainer.precision": ("16", "double"),
    "trainer.accelerator": ("tpu", "3"),
    "trainer.tf32": SWITCHES[:3],
    "eval_async": SWITCHES[:2],
    "eval_precision": NAMES[:2],
    "evaluate": ("yes", "3"),
    "eval_acting": ("[loud]", "[-1]", "[nan]", "3"),
    "compare": ("3", "[nobody]"),
    "callbacks.progress.seconds": ("-1", "often", "[1]"),
}
OTHERS = {
    "evaluate run=/no": {
        "episodes": COUNTS[:6],
        "act_noise": ("loud", "-1", "nan"),
        "video": SWITCHES[:3],
        "replay": SWITCHES[:2],
        "device": ("tpu", "0"),
        "workers": COUNTS[:4],
        "timeout": ("0", "-1", "soon", "nan"),
    },
    "collect out=x.h5": {
        "episodes": COUNTS[:6],
        "noise": ("-1", "loud", "nan", "inf"),
        "first_episode": ("-1", "0.5", "x"),
        "out": ("x.txt", "''"),
        "data.view": ("omega", "3"),
        "env": ("nowhere", "3"),
        "env.n_agents": ("0", "many", "4"),
        "env.episode_limit": COUNTS[:4],
    },
    "estimate run=/no": {
        "gamma": ("1", "2", "-1", "x", "nan"),
        "share": ("0", "1", "2", "half"),
        "critics": COUNTS[:4],
        "updates": ("1", "0", "x"),
        "batch": COUNTS[:3],
        "draws": COUNTS[:3],
        "lr": RATES[:4],
        "tau": ("0", "2", "x"),
        "seed": ("-1", "x"),
        "net.width": COUNTS[:3],
        "device": ("tpu",),
    },
    "report runs": {"acting": NAMES[:2]},
    "data convert x.vlt": {
        "layout": ("other", "3"),
        "episode_limit": COUNTS[:4],
        "discrete": ("maybe", "3"),
        "action_scale": ("0", "-1", "x"),
    },
}
KEYS = [
    Wrong(
        "network that no memory holds",
        fit("net.width=3000000", "net.depth=2"),
        71,
        "lower seeds, data.batch_size, net.width",
    ),
    *(
        Wrong(f"data.ess={value} without draws", fit("algo=bc_flow", f"data.ess={value}"), 2, "data.ess")
        for value in ("0.2", "auto")
    ),
    *(
        Wrong(f"fit {key}={value}", fit(*["algo=vgm2p_chosen"] * (key in SWITCHED), f"{key}={value}"), 2, key)
        for key, values in FIT.items()
        for value in values
    ),
    *(
        Wrong(f"{start.split()[0]} {key}={value}", command(*start.split(), f"{key}={value}"), 2, key)
        for start, table in OTHERS.items()
        for key, values in table.items()
        for value in values
    ),
]
