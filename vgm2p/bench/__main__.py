"""`python -m vgm2p bench <what> [key=value ...]`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vgm2p.errors import ConfigError, nearest

WHAT = ("step", "loop", "rollout", "act", "data", "gpu")


def main(words: Sequence[str]) -> None:
    """Run one benchmark. Raises ConfigError for an unknown one, MissingInput where a package is absent."""
    what = words[0] if words else ""
    if what not in WHAT:
        raise ConfigError(f"bench has {', '.join(WHAT)}, got '{what}'{nearest(what, WHAT)}")
    importlib.import_module(f"vgm2p.bench.{what}").main(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
