"""A verdict on actions, whatever gives it, and its comparison with the policy's own actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.diagnostics import deviation
from vgm2p.algos.encoding import masked
from vgm2p.errors import ConfigError
from vgm2p.seeds import broadcast
from vgm2p.types import Acting, Spec

Rate = Callable[[Tensor, Tensor], Tensor]
SPREAD_RATE = 0.01  # of the running mean, after the first hundred updates
Baseline = int | Literal["exact"]  # the number of sampled actions, or the expectation over all


class Judging(Algorithm):
    """Base of algorithms that have a verdict on single actions, such as a critic.

    Attributes:
        spread: (S,) running standard deviation of the advantage of stored actions; discrete actions only.
    """

    has_verdict = True

    def __init__(self, spec: Spec, seeds: Sequence[int], history: int = 1) -> None:
        super().__init__(spec, seeds, history)
        self.register_buffer("spread", torch.ones(len(self.seeds)) if spec.discrete else None)
        self.spread: Tensor | None

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return the verdict on action vectors (S, ..., A) at encoded observations (S, ..., O): (S, C, ...).

        C is the number of members, of which the mean counts.
        """
        raise NotImplementedError

    def rate_all(self, o: Tensor) -> Tensor:
        """Return the mean verdict on all discrete actions: (S, ..., O) -> (S, ..., A)."""
        return rate_every(self.rate, o, self.spec.action_dim).mean(1)

    @torch.no_grad()
    def note(self, adv: Tensor, choice: Tensor | None) -> None:
        """Move `spread` towards the deviation of advantages (S, B, N) over the rows that count: at first, the mean."""
        if self.spread is not None:
            rate = (1.0 / (self.clock + 1).to(self.spread.dtype)).clamp(min=SPREAD_RATE)
            self.spread.lerp_(deviation(adv, choice).to(self.spread.dtype), rate)

    def weighed(self, p: Tensor, o: Tensor, legal: Tensor | None, acting: Acting) -> Tensor:
        """Return probabilities in proportion to p exp(beta A / spread), A the verdict; p (S, ..., A) if beta is 0."""
        if acting.beta == 0.0:
            return p
        assert self.spread is not None
        verdict = self.rate_all(o) / broadcast(self.spread.clamp(min=1e-8), p)
        scores = p.clamp(min=torch.finfo(p.dtype).tiny).log() + acting.beta * verdict
        return torch.softmax(masked(scores, legal), dim=-1)


def baseline_of(samples: Baseline, has_probabilities: bool) -> tuple[int, bool]:
    """Return the number of samples, and whether the baseline is exact. Raises ConfigError if it cannot be."""
    if samples != "exact":
        return samples, False
    if not has_probabilities:
        raise ConfigError("algo.baseline_samples=exact needs probabilities of discrete actions (algo.predict=x); use 1")
    return 1, True


def rate_every(rate: Rate, o: Tensor, actions: int) -> Tensor:
    """Return what `rate`, a function of o (S, ..., O) and one-hots, gives every action: (S, C, ..., actions)."""
    every = torch.eye(actions, dtype=o.dtype, device=o.device).expand(*o.shape[:-1], -1, -1)
    return rate(o.unsqueeze(-2).expand(*every.shape[:-1], -1), every)


def against_samples(rate: Rate, o: Tensor, action: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return A = rate(o, a) - V and V = mean_K rate(o, a^), both (S, B, N); the mean over the C members is taken.

    Args:
        rate: the verdict.
        o: (S, B, N, O) encoded observations.
        action: (S, B, N, A) stored actions.
        samples: (S, B, K, N, A) actions a^ of the policy.
    """
    actions = torch.cat([action.unsqueeze(2), samples], dim=2)
    values = rate(o.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)  # (S, C, B, 1 + K, N)
    value = values[:, :, :, 1:].mean(3).mean(1)
    return values[:, :, :, 0].mean(1) - value, value


def against_expectation(every: Tensor, action: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Return A = Q(o, a) - V and V = sum_a p_a Q(o, a), both (S, ...), for the verdicts `every` on all actions.

    All arguments are (S, ..., A); `action` holds one-hots, `p` probabilities.
    """
    chosen = (action * every).sum(-1)
    adv = (p * (chosen.unsqueeze(-1) - every)).sum(-1)  # no difference of large numbers: exact if all Q are equal
    return adv, chosen - adv
