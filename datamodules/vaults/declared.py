"""What the user or the catalogue declares about a vault. What nobody declares is inferred, and the user is told."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.errors import ConfigError

LAYOUTS = ("native", "delimiter_row", "auto")


@dataclass(frozen=True)
class Declared:
    """What is known about a vault before it is read.

    Attributes:
        layout: `native`; `delimiter_row`: each episode ends with an extra row of zeros that carries the end flag and
            is no step; `auto`: `delimiter_row` if the rows prove it, else `native`.
        episode_limit: number of steps after which the task ends an episode. None: the longest episode.
        env_id: the task, as an environment of ours names it (`Spec.env_id`). None: no environment.
        discrete: whether actions are indices. None: integers are, and floats beside legal actions.
        action_scale: stored actions are divided by this number, to lie in [-1, 1]. None: they are taken as stored.
        clip: whether any share of the actions may lie outside [-1, 1]. Training clips them.

    Raises:
        ConfigError: for a layout that does not exist, and for a number that cannot be a scale.
    """

    layout: str = "native"
    episode_limit: int | None = None
    env_id: str | None = None
    discrete: bool | None = None
    action_scale: float | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout must be {' or '.join(LAYOUTS)}, got {self.layout!r}")
        if self.action_scale is not None and not 0 < self.action_scale < math.inf:
            raise ConfigError(f"action_scale must be a finite number above 0, got {self.action_scale!r}")
        if self.episode_limit is not None and self.episode_limit < 1:
            raise ConfigError(f"episode_limit must be a whole number from 1, got {self.episode_limit!r}")
        if self.env_id is not None and not (self.env_id and self.env_id.isprintable()):
            raise ConfigError(f"env_id must be a name of printable characters, got {self.env_id!r}")

    @property
    def words(self) -> str:
        """The values that are not the defaults, as one text. It tells conversions of one vault apart."""
        default = asdict(Declared())
        return json.dumps({key: value for key, value in asdict(self).items() if value != default[key]}, sort_keys=True)


def declared_by(entry: Entry) -> Declared:
    """Return what an entry of the catalogue declares. Published actions beyond [-1, 1] are clipped, as by OG-MARL."""
    return Declared(entry.layout, entry.episode_limit, entry.env_id, entry.discrete, clip=True)
