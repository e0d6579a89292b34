"""Which ways to act an algorithm supports."""

from __future__ import annotations

from dataclasses import replace

from vgm2p.errors import ConfigError
from vgm2p.types import Acting


def supported(acting: Acting, rates_candidates: bool, has_probabilities: bool, has_verdict: bool) -> Acting:
    """Return a default way to act as it is carried out: without noise if `beta` is above 0, with noise 1 for `sample`.

    Raises ConfigError if an algorithm with these abilities (`algos.contract.Algorithm`) does not support it.
    """
    if acting.best_of != 1 and not rates_candidates:
        raise ConfigError("algo.acting.best_of needs a critic that rates candidates; use 1, or algo=vgm2p_chosen")
    if acting.sample and not has_probabilities:
        raise ConfigError("algo.acting.sample needs probabilities of discrete actions (algo.predict=x); use false")
    if acting.sample and acting.best_of != 1:
        raise ConfigError("algo.acting.sample draws one action: set algo.acting.best_of=1")
    if acting.beta > 0.0 and not (has_probabilities and has_verdict):
        raise ConfigError("algo.acting.beta needs a verdict and probabilities of discrete actions; use 0")
    if acting.beta > 0.0 and (acting.best_of != 1 or acting.sample):
        raise ConfigError("algo.acting.beta weighs all actions: set algo.acting.best_of=1 algo.acting.sample=false")
    if acting.shared and (acting.noise != 1.0 or acting.sample or acting.beta > 0.0):
        needs = "algo.acting.noise=1 algo.acting.sample=false algo.acting.beta=0"
        raise ConfigError(f"algo.acting.shared=true needs {needs}")
    return replace(acting, noise=0.0 if acting.beta > 0.0 else 1.0 if acting.sample else acting.noise)
