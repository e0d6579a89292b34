"""OMAR: offline multi-agent RL with actor rectification (Pan et al., arXiv 2111.11188), for continuous actions.

The critic is that of MA-CQL, with one TD target per agent. Gradients of Q can lead the policy to a bad local optimum.
Therefore a search without gradients looks for a better action, and the policy also moves towards this action. Our
choices and their sources: docs/algorithms/omar.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vgm2p.algos.diagnostics import SATURATED, on_bounds
from vgm2p.algos.ma_cql import L2, MACQL
from vgm2p.algos.value_learner import Info
from vgm2p.errors import ConfigError
from vgm2p.types import Batch, Randomness, per_seed_mean


@dataclass(frozen=True)
class Search:
    """Settings of the search for a better action; the node `search` of the configuration.

    Attributes:
        kind: `cem`: the cross-entropy method [code of OMAR]; `uniform`: the best of the same number of uniform draws.
        iterations: number of rounds of the search [code of OMAR: 2; OG-MARL: 3].
        samples: number M of draws in a round [code of OMAR: 20; OG-MARL: 10].
        elites: number E of best draws, from which the next Gaussian is computed [code of OMAR: 5; OG-MARL: 10].
        sigma: standard deviation of the first Gaussian, which has mean 0 [both: 2].
    """

    kind: Literal["cem", "uniform"] = "cem"
    iterations: int = 2
    samples: int = 20
    elites: int = 5
    sigma: float = 2.0

    def __post_init__(self) -> None:
        """Raise ConfigError for fewer than 2 elites, which have no standard deviation, or more elites than draws."""
        if not 2 <= self.elites <= self.samples:
            raise ConfigError(
                f"algo.search.elites must lie between 2 and algo.search.samples ({self.samples}), got {self.elites}"
            )


class OMAR(MACQL):
    """Policy: c mean (pi(o) - a^)^2 - (1 - c) mean Q(o, pi(o)); a^ is the better of pi(o) and the searched action.

    Every argument is a key of `conf/algo/omar.yaml`; the yaml gives its meaning and source. With c = 0 it is MA-CQL.
    """

    supports_discrete = False

    def __init__(
        self,
        *task: Any,
        c: float = 0.7,
        search: Search = Search(),
        mixer: Literal["sum", "mean", "independent"] = "independent",
        rating: Literal["min", "first"] = "first",
        **of_ma_cql: Any,
    ) -> None:
        super().__init__(*task, mixer=mixer, rating=rating, **of_ma_cql)
        if not 0.0 <= c <= 1.0:
            raise ConfigError(f"algo.c must lie between 0 and 1, got {c}")
        self.c, self.search = c, search

    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return c mean (pi - a^)^2 - (1 - c) mean Q(o, pi) + 1e-3 mean pi^2 per seed (S,)."""
        action = self.policy(o)
        better, info = self.rectify(o, action.detach(), key)
        mimic, climb = per_seed_mean((action - better).square()), per_seed_mean(self.rated(o, action))
        loss = L2 * per_seed_mean(action.square()) - (1.0 - self.c) * climb + self.c * mimic
        return loss, info | on_bounds(action.detach(), False, SATURATED)

    @torch.no_grad()
    def rectify(self, o: Tensor, action: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return a^ (S, B, N, A): the searched action if its Q is higher, else the policy's; and diagnostics."""
        found, value = self.narrowed(o, key) if self.search.kind == "cem" else self.best_uniform(o, key)
        wins = value > self.rated(o, action)
        better = torch.where(wins.unsqueeze(-1), found, action)
        return better, {
            "search_wins": per_seed_mean(wins.to(action.dtype)),
            "search_distance": per_seed_mean((better - action).abs()),
        }

    def narrowed(self, o: Tensor, key: Randomness) -> tuple[Tensor, Tensor]:
        """Search by the cross-entropy method: return the best action (S, B, N, A) of the last pool, and its value.

        A pool contains M clipped draws of N(mu, s^2), and the elites of the previous pool. Its E best actions are the
        next elites. Their mean and standard deviation are the next mu and s.
        """
        shape = (o.shape[1], self.search.samples, self.spec.n_agents, self.spec.action_dim)
        mean, deviation = o.new_zeros(()), o.new_full((), self.search.sigma)
        pool, values = o.new_zeros(*o.shape[:2], 0, *shape[2:]), o.new_zeros(*o.shape[:2], 0, shape[2])
        for number in range(self.search.iterations):
            drawn = (mean + deviation * key.normal(f"search_{number}", shape).to(o.dtype)).clamp(-1.0, 1.0)
            pool, values = torch.cat([drawn, pool], 2), torch.cat([self.rated_all(o, drawn), values], 2)
            values, best = values.topk(self.search.elites, 2)  # (S, B, E, N), best first
            pool = pool.gather(2, best.unsqueeze(-1).expand(*best.shape, shape[-1]))
            mean, deviation = pool.mean(2, keepdim=True), pool.std(2, keepdim=True) + 1e-10
        return pool[:, :, 0], values[:, :, 0]

    def best_uniform(self, o: Tensor, key: Randomness) -> tuple[Tensor, Tensor]:
        """Return the best of `iterations` * `samples` uniform draws (S, B, N, A), and its value (S, B, N)."""
        draws = self.search.iterations * self.search.samples
        shape = (o.shape[1], draws, self.spec.n_agents, self.spec.action_dim)
        drawn = 2.0 * key.uniform("search_uniform", shape).to(o.dtype) - 1.0
        values, best = self.rated_all(o, drawn).max(2, keepdim=True)
        return drawn.gather(2, best.unsqueeze(-1).expand(*best.shape, drawn.shape[-1]))[:, :, 0], values[:, :, 0]

    def rated_all(self, o: Tensor, actions: Tensor) -> Tensor:
        """Return the values (S, B, K, N) of K actions (S, B, K, N, A) per observation."""
        return self.rated(o.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)
