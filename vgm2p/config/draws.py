"""How a run draws its steps: what its algorithm asks for takes the place of `data.sampling=auto`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vgm2p.errors import ConfigError

if TYPE_CHECKING:  # torch is slow to import
    from vgm2p.algos.contract import Algorithm


OWN = ("algo=", "algo.", "label=", "out=", "protocol=", "resume=", "tuned=")  # words of one algorithm, or of one run


def draws_of(data: Mapping[str, Any], algorithm_type: type[Algorithm], discrete: bool | None) -> dict[str, Any]:
    """Return the node `data` with the `sampling` and `ess` that a run has: manifests hold these.

    `sampling=auto` stays if the algorithm asks for one draw with discrete and for another one with continuous actions,
    and `discrete`, the kind of the task, is None.

    Raises ConfigError if `ess` has no effect.
    """
    sampling, ess = data.get("sampling", "uniform"), data.get("ess")
    asked = {algorithm_type.draws(kind) for kind in ((True, False) if discrete is None else (discrete,))}
    draws = asked.pop() if len(asked) == 1 else None
    if sampling == "auto" and draws == "uniform" and ess is not None:
        raise ConfigError(
            f"data.ess={ess} has no effect: this algorithm draws all steps alike; add data.sampling=return"
        )
    if sampling == "auto" and draws is not None:
        sampling = draws
    if sampling == "return" == draws and ess is None:
        ess = "auto"
    return {**data, "sampling": sampling, "ess": ess} if "sampling" in data else dict(data)


def for_others(words: Sequence[str]) -> list[str]:
    """Return the words of a run that also suit other algorithms: `data.ess` only if `data.sampling` was typed, too."""
    bare = [word.lstrip("+~") for word in words]
    own = OWN if any(word.startswith("data.sampling=") for word in bare) else (*OWN, "data.ess=")
    return [word for word, key in zip(words, bare, strict=True) if not key.startswith(own)]
