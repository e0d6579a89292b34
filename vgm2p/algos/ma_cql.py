"""MA-CQL: Q-learning with a conservative penalty for several agents, discrete or continuous actions.

The penalty lowers the values of all actions and raises those of the stored actions (CQL, arXiv 2006.04779, Eq. 4). For
discrete actions, it is computed exactly, over the legal actions. For continuous actions, it is estimated from sampled
candidates, and a deterministic policy maximises the critic, as in the code of OMAR and OG-MARL. Our choices and their
sources: docs/algorithms/ma_cql.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vgm2p.algos.conservative import candidates, joint_actions, legal_penalty, rate, sampled_penalty
from vgm2p.algos.diagnostics import SATURATED, on_bounds
from vgm2p.algos.parts import value_at
from vgm2p.algos.value_learner import Info, ValueLearner
from vgm2p.errors import ConfigError
from vgm2p.nn.held import held
from vgm2p.nn.mixing import Monotonic
from vgm2p.types import Batch, Randomness, per_seed_mean

L2 = 1e-3  # weight of the squared actions in the policy's loss [OMAR and OG-MARL: 1e-3]


@dataclass(frozen=True)
class Conservatism:
    """Settings of the penalty; the node `cql` of the configuration.

    Attributes:
        weight: lambda; None: 3 for discrete actions, 5 for continuous ones [OG-MARL].
        samples: for continuous actions: number K of candidates of each of the three kinds [OMAR, OG-MARL: 10].
        sigma: standard deviation of the noise around the policy's actions [OMAR, OG-MARL: 0.2].
        temperature: temperature of the log-sum-exp [CQL: 1].
        joint_samples: with `mixer: qmix`: number of random joint actions [OG-MARL: 20].
    """

    weight: float | None = None
    samples: int = 10
    sigma: float = 0.2
    temperature: float = 1.0
    joint_samples: int = 20


class MACQL(ValueLearner):
    """Critic: 0.5 TD + lambda mean_e penalty(Q_e); policy, for continuous actions: max Q(o, pi(o)).

    Every argument is a key of `conf/algo/ma_cql.yaml`; the yaml gives its meaning and source. Raises ConfigError if
    settings contradict each other or the task.
    """

    def __init__(
        self,
        *task: Any,
        cql: Conservatism = Conservatism(),
        mixer: Literal["sum", "mean", "independent", "qmix"] = "sum",
        rating: Literal["min", "first"] = "min",
        **of_a_value_learner: Any,
    ) -> None:
        self.monotonic = mixer == "qmix"
        super().__init__(*task, mixer="sum" if mixer == "qmix" else mixer, **of_a_value_learner)
        self.cql, self.rating = cql, rating
        self.weight = cql.weight if cql.weight is not None else 3.0 if self.spec.discrete else 5.0
        self.share = 1.0 / self.spec.n_agents if mixer == "mean" else 1.0  # weight w of an agent's value in the team's

    @classmethod
    def unread(cls, discrete: bool) -> tuple[str, ...]:
        """Return what only sampled penalties need, or what only QMIX's need."""
        return ("cql.samples", "cql.sigma", "cql.temperature", "rating") if discrete else ("cql.joint_samples",)

    def penalty(
        self, batch: Batch, o: Tensor, next_o: Tensor, q: Tensor, every: Tensor | None, key: Randomness
    ) -> Tensor:
        """Return lambda mean [log sum exp Q - Q(o, a)] per seed (S,), of the team's Q, or of each agent's own Q.

        With `sum` and `mean`, the team's log-sum-exp is the sum of the log-sum-exps of the agents' terms w Q^i.
        """
        if every is not None and self.mixing is not None:
            gap = self.joint_gap(self.mixing, batch, every, key)
        elif every is not None:
            gap = legal_penalty(self.share * every, self.share * q, batch.legal)
        else:
            drawn, log_density = self.candidates(o, next_o, key)
            gap = sampled_penalty(
                self.share * rate(self.critic, o, drawn), self.share * q, log_density, self.cql.temperature
            )
        return self.weight * per_seed_mean(gap if self.mixer == "independent" else gap.sum(-1))

    @torch.no_grad()
    def candidates(self, o: Tensor, next_o: Tensor, key: Randomness) -> tuple[Tensor, Tensor]:
        """Return candidates (S, B, 3 K, N, A) and their log densities (S, B, 3 K, N)."""
        return candidates(self.policy(o), self.policy(next_o), self.cql.samples, self.cql.sigma, key)

    def joint_gap(self, mixing: nn.Module, batch: Batch, every: Tensor, key: Randomness) -> Tensor:
        """Return log sum_k exp Q_tot(o, a_k) - Q_tot(o, a): (S, C, B, 1).

        The a_k are random legal joint actions, and the stored joint action.
        """
        assert batch.legal is not None, "discrete actions come with their legal ones"
        drawn = joint_actions(batch.action, batch.legal, self.cql.joint_samples, key)  # (S, B, K + 1, N)
        rows = every.unsqueeze(3).expand(-1, -1, -1, drawn.shape[2], -1, -1)
        q_tot: Tensor = mixing(value_at(rows, drawn), self.joint(batch.obs))  # (S, C, B, K + 1)
        return (q_tot.logsumexp(-1) - q_tot[..., -1]).unsqueeze(-1)

    # --- the learnt mixer ----------------------------------------------------------------------------------------
    def make_mixing(self) -> nn.Module | None:
        """Return QMIX's mixer for `mixer: qmix`, else None. Its state is the joint observation."""
        if not self.monotonic:
            return None
        if not self.spec.discrete:
            raise ConfigError("algo.mixer=qmix is for discrete actions; use sum, mean or independent")
        return Monotonic(len(self.seeds), self.spec.n_agents * self.spec.obs_dim, self.spec.n_agents)

    def team(self, batch: Batch, q: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        """With QMIX, return Q_tot of the stored actions (S, C, B, 1) and of the next actions (S, B, 1)."""
        if self.mixing is None or self.target_mixing is None:
            return q, following
        q_tot: Tensor = self.mixing(q.unsqueeze(3), self.joint(batch.obs))
        with torch.no_grad():
            next_tot: Tensor = self.target_mixing(following[:, None, :, None], self.joint(batch.next_obs))
        return q_tot, next_tot.squeeze(1)

    # --- the policy of continuous actions ------------------------------------------------------------------------
    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return -mean Q(o, pi(o)) + 1e-3 mean pi(o)^2 per seed (S,)."""
        action = self.policy(o)
        loss = L2 * per_seed_mean(action.square()) - per_seed_mean(self.rated(o, action))
        return loss, on_bounds(action.detach(), False, SATURATED)

    def rated(self, o: Tensor, action: Tensor) -> Tensor:
        """Return the values (S, B, ..., N) of generated actions. The critic's weights get no gradient."""
        with held(self.critic):
            q: Tensor = self.critic(o, action, 0 if self.rating == "first" else None)
        return q.amin(1) if self.rating == "min" else q
