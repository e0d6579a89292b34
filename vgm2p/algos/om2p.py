"""OM2P: offline multi-agent mean-flow policy (arXiv 2508.06269), for continuous actions.

Every agent has a MeanFlow policy u(a_k, r, k, o) and a critic of its own. The policy clones the data by the MeanFlow
loss, and its one-step action maximises Q. No derivative of the network is needed: du/dk is a difference of two passes.
docs/algorithms/om2p.md tells where paper and code of the authors differ, and what we chose.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from vgm2p.algos.diagnostics import on_bounds
from vgm2p.algos.parts import CriticSettings, unit_size
from vgm2p.algos.value_learner import Info, ValueLearner
from vgm2p.errors import ConfigError
from vgm2p.flows.meanflow import BackwardDifference, cloning_loss, meanflow_sample
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.held import held
from vgm2p.nn.policy import AverageVelocity
from vgm2p.nn.value import Critic
from vgm2p.types import Acting, Batch, Randomness, per_seed_mean

LEAST_DELTA = 1e-6  # below it, k - delta equals k in float32 for most k, and the difference is 0


class OM2P(ValueLearner):
    r"""Policy: min || u - sg[v - (k - r) du/dk] ||^2 - q_weight Q^i(o^i, a), a = z - u(z, 0, 1, o^i); own Q per agent.

    Every argument is a key of `conf/algo/om2p.yaml`; the yaml gives its meaning and source. Other arguments are those
    of `ValueLearner`. Raises ConfigError for an `fd_delta` that float32 cannot resolve.
    """

    supports_discrete = False
    fits = "flow_loss"
    policy: AverageVelocity  # type: ignore[assignment]

    def __init__(
        self,
        *task: Any,
        mixer: Literal["sum", "mean", "independent"] = "independent",
        share_parameters: bool = False,
        q_weight: float = 1.0,
        normalise_q: bool = True,
        derivative: Literal["fd", "jvp"] = "fd",
        fd_delta: float = 1e-2,
        times: Times = Times(),
        acting: Acting = Acting(),
        **of_the_learner: Any,
    ) -> None:
        if not LEAST_DELTA <= fd_delta <= 1.0:
            raise ConfigError(f"algo.fd_delta must lie between {LEAST_DELTA:g} and 1, got {fd_delta:g}; use 0.01")
        self.share_parameters = share_parameters
        super().__init__(*task, mixer=mixer, **of_the_learner)
        self.q_weight, self.normalise_q, self.times = q_weight, normalise_q, times.suited(self.head)
        self.derivative, self.fd_delta = derivative, fd_delta
        self.act_by(acting)

    @property
    def owners(self) -> int | None:
        """Number of agents that have networks of their own; None: all agents share them."""
        return None if self.share_parameters else self.spec.n_agents

    def make_critic(self, net: Net, critic: CriticSettings) -> Critic:
        """Return Q^i(o^i, a^i)."""
        size, seeds, actions = replace(net, depth=critic.depth or net.depth), len(self.seeds), self.spec.action_dim
        return Critic(seeds, critic.members, self.id_dim, actions, size, critic.layer_norm, self.owners)

    def make_policy(self, net: Net, optim: Optim) -> None:
        """Make u^i(a_k, r, k, o^i). There is no target policy."""
        self.policy = AverageVelocity(len(self.seeds), self.id_dim, self.spec.action_dim, 0, net, self.owners)
        self.make_optimiser("policy", [self.policy], optim)

    def sample(self, o: Tensor, z: Tensor, steps: int = 1) -> Tensor:
        """a = clip(z - u(z, 0, 1, o)) (S, ..., N, A) for noise z; with more steps as in MeanFlow."""
        return meanflow_sample(self.policy, z, o, None, steps).clamp(-1.0, 1.0)

    def following(self, batch: Batch, next_o: Tensor, key: Randomness) -> Tensor:
        """Return mean_e Qbar_e^i(o', a') (S, B, N) of the policy's actions a'."""
        z = start_noise(key, next_o, self.spec.action_dim, Acting(), purpose="next_noise")
        q: Tensor = self.target_critic(next_o, self.sample(next_o, z))
        return q.mean(1)

    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return the MeanFlow loss + q_weight L_q (S,), and its parts."""
        net = self.policy if self.derivative == "jvp" else BackwardDifference(self.policy, self.fd_delta)
        flow_loss, u = cloning_loss(net, batch.action, o, self.times, key)
        action = self.sample(o, start_noise(key, o, self.spec.action_dim, Acting(), purpose="policy_noise"))
        q_loss = self.q_loss(o, action)
        info = {"flow_loss": flow_loss.detach(), "q_loss": q_loss.detach(), "u_abs": per_seed_mean(u.abs())}
        return flow_loss + self.q_weight * q_loss, info | on_bounds(action.detach(), False)

    def q_loss(self, o: Tensor, action: Tensor) -> Tensor:
        """L_q = -mean_{b,i} Q^i, Q^i the mean of the members; each agent's Q^i divided by sg(mean_b |Q^i|): (S,)."""
        with held(self.critic):
            q = self.critic(o, action).mean(1)  # (S, B, N)
        return -per_seed_mean(unit_size(q) if self.normalise_q else q)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Map noise to an action in one pass."""
        return self.sample(o, start_noise(key, o, self.spec.action_dim, acting), acting.steps)
