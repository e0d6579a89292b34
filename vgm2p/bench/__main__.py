"""`python -m vgm2p bench <what> [key=value ...]`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vgm2p.errors import ConfigError, nearest
from vgm2p.io.text import say

ASK = ("--help", "-h")
WHAT = ("step", "loop", "rollout", "act", "data", "gpu")


def main(words: Sequence[str]) -> None:
    """Run one benchmark, or print its keys with their defaults.

    Raises ConfigError for an unknown one, MissingInput where a package is absent.
    """
    what = words[0] if words else ""
    if what in ASK:
        say(f"bench {'|'.join(WHAT)} [key=value ...]; `vgm2p bench step --help` has the keys of one")
        return
    if what not in WHAT:
        raise ConfigError(f"bench has {', '.join(WHAT)}, got '{what}'{nearest(what, WHAT)}")
    benchmark = importlib.import_module(f"vgm2p.bench.{what}")
    defaults = benchmark.DEFAULTS
    if set(ASK) & set(words):
        shown = {key: ",".join(value) if isinstance(value, list) else value for key, value in defaults.items()}
        say("\n".join(f"{key}={value}" for key, value in shown.items()))
        return
    benchmark.main(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
