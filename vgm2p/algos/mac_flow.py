"""MAC-Flow: multi-agent coordination via flow matching (arXiv 2511.05005).

A teacher v(a_k, k, o) clones the data by flow matching. A student mu(o, z) turns noise z into an action in one network
pass. It copies what the teacher makes of the same noise in several Euler steps, and it maximises Q. Only the student
acts. Steps 1 to 6 are those of docs/algorithms/mac_flow.md, which also says where paper and code of the authors differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from vgm2p.algos.diagnostics import on_bounds
from vgm2p.algos.encoding import drawn, masked
from vgm2p.algos.parts import CriticSettings, log_softmax_at, unit_size
from vgm2p.algos.value_learner import Info, ValueLearner
from vgm2p.algos.verdict import rate_every
from vgm2p.errors import ConfigError
from vgm2p.flows.flow_matching import cloning_loss, euler_sample
from vgm2p.flows.head import Predict
from vgm2p.flows.noise import start_noise
from vgm2p.flows.path import Times
from vgm2p.groups import Net, Optim
from vgm2p.nn.held import held
from vgm2p.nn.mlp import MLP
from vgm2p.nn.policy import Velocity
from vgm2p.nn.value import Critic
from vgm2p.types import Acting, Batch, Randomness, per_seed_mean


class MACFlow(ValueLearner):
    r"""Critic: min (mean_i Q^i - [r + gamma mean_i Qbar^i(o', a')])^2; policy: min L_bc + alpha L_distill + L_q.

    Every argument is a key of `conf/algo/mac_flow.yaml`; the yaml gives its meaning and source. Other arguments are
    those of `ValueLearner`. Raises ConfigError if settings contradict each other or the task.
    """

    fits = "bc_loss"

    def __init__(
        self,
        *task: Any,
        mixer: Literal["sum", "mean", "independent"] = "mean",
        alpha: float | None = None,
        normalise_q: bool | None = None,
        value_gradient: Literal["straight_through", "expected", "none"] = "straight_through",
        teacher_steps: int = 10,
        times: Times = Times(),
        predict: Predict | None = "v",
        acting: Acting = Acting(),
        **of_the_learner: Any,
    ) -> None:
        super().__init__(*task, mixer=mixer, **of_the_learner)
        discrete = self.spec.discrete
        if value_gradient == "expected" and not discrete:
            raise ConfigError("algo.value_gradient=expected is for discrete actions; use straight_through or none")
        if acting.steps != 1:
            raise ConfigError(f"algo.acting.steps={acting.steps}: the student acts in one pass; use algo.teacher_steps")
        self.alpha, self.normalise_q = self.by_kind(alpha, 1.0, 3.0), self.by_kind(normalise_q, True, False)
        self.value_gradient, self.teacher_steps = value_gradient, teacher_steps
        self.times = self.predict_by(predict, times)
        self.has_probabilities = discrete  # those of the student
        self.teacher.head = self.head
        self.act_by(acting)

    def make_critic(self, net: Net, critic: CriticSettings) -> Critic:
        """Return Q(o, a) of action vectors a; discrete actions are one-hots."""
        size = replace(net, depth=critic.depth or net.depth)
        return Critic(len(self.seeds), critic.members, self.id_dim, self.spec.action_dim, size, critic.layer_norm)

    def make_policy(self, net: Net, optim: Optim) -> None:
        """Make teacher and student, with one optimiser."""
        seeds, actions = len(self.seeds), self.spec.action_dim
        self.teacher = Velocity(seeds, self.id_dim, actions, 0, net)
        self.student = MLP((seeds,), self.id_dim + actions, actions, net)
        self.make_optimiser("policy", [self.teacher, self.student], optim)

    def mu(self, o: Tensor, z: Tensor) -> Tensor:
        """mu(o, z): an action vector, or logits of the discrete actions, from noise z (S, ..., A): (S, ..., A)."""
        vector: Tensor = self.student(torch.cat([o, z], dim=-1))
        return vector

    # --- the critic --------------------------------------------------------------------------------------------------
    def critic_loss(self, batch: Batch, o: Tensor, next_o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Step 1: (mean_i Q_e^i(o, a) - y)^2, the mean over members e and rows with a target: (S,)."""
        with torch.no_grad():
            following = self.following(batch, next_o, key)
        loss, info = self.td_loss(batch, self.critic(o, self.represent(batch.action)), following)
        return loss, {"critic_loss": loss.detach()} | info

    def following(self, batch: Batch, next_o: Tensor, key: Randomness) -> Tensor:
        """Return mean_e Qbar_e^i(o', a') (S, B, N) of the student's action a'; there is no target policy."""
        z = start_noise(key, next_o, self.spec.action_dim, Acting(), purpose="next_noise")
        q: Tensor = self.target_critic(next_o, self.to_action(self.mu(next_o, z), batch.next_legal))
        return q.mean(1)

    # --- teacher and student -----------------------------------------------------------------------------------------
    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Step 5: L_bc + alpha L_distill + L_q (S,), and its parts."""
        bc = cloning_loss(self.teacher, self.represent(batch.action), o, self.times, key, batch.legal)  # step 2
        z = start_noise(key, o, self.spec.action_dim, Acting(), purpose="student_noise")
        mu = self.mu(o, z)
        distill = self.distill_loss(mu, self.taught(o, z, batch.legal), batch.legal)
        loss, info = bc + self.alpha * distill, {"bc_loss": bc.detach(), "distill_loss": distill.detach()}
        if self.value_gradient != "none":
            q_loss = self.q_loss(o, mu, batch.legal)
            loss, info["q_loss"] = loss + q_loss, q_loss.detach()
        return loss, info | on_bounds(mu.detach(), self.spec.discrete)

    @torch.no_grad()
    def taught(self, o: Tensor, z: Tensor, legal: Tensor | None) -> Tensor:
        """Return a_T, what the teacher's Euler steps make of z: (S, B, N, A), or (S, B, N) if discrete."""
        return self.to_env(self.to_action(euler_sample(self.teacher, z, o, None, self.teacher_steps, legal), legal))

    def distill_loss(self, mu: Tensor, taught: Tensor, legal: Tensor | None) -> Tensor:
        """Step 3: mean (mu - a_T)^2; discrete: -mean log softmax(mu)[a_T] over the legal actions: (S,)."""
        if self.spec.discrete:
            return -per_seed_mean(log_softmax_at(masked(mu, legal), taught))
        return per_seed_mean((mu - taught).square())

    def q_loss(self, o: Tensor, mu: Tensor, legal: Tensor | None) -> Tensor:
        """Step 4: -mean_b Q with Q = mean_{e,i} Q_e^i(o, a), divided by sg(mean_b |Q|) if `normalise_q`: (S,)."""
        with held(self.critic):
            q = self.rated(o, mu, legal).mean(-1)
        return -per_seed_mean(unit_size(q) if self.normalise_q else q)

    def rated(self, o: Tensor, mu: Tensor, legal: Tensor | None) -> Tensor:
        """Return mean_e Q_e^i(o, a) (S, B, N) of the student's action, with a gradient for mu.

        Continuous actions: a = clip(mu). Discrete actions: a is the legal argmax, and its gradient is that of
        p = softmax(mu) (`straight_through`); or the result is sum_a p_a Q^i(o, a) (`expected`).
        """
        if not self.spec.discrete:
            q: Tensor = self.critic(o, mu.clamp(-1.0, 1.0))
            return q.mean(1)
        p = torch.softmax(masked(mu, legal), dim=-1)
        if self.value_gradient == "straight_through":
            q = self.critic(o, self.to_action(mu, legal) + (p - p.detach()))
            return q.mean(1)
        return (p * rate_every(self.critic, o, p.shape[-1]).mean(1)).sum(-1)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Map noise to an action in one pass: clip(mu(o, z)), discrete: the legal argmax."""
        mu = self.mu(o, start_noise(key, o, self.spec.action_dim, acting))
        return drawn(mu, legal, key, "choice") if acting.sample else self.to_env(self.to_action(mu, legal))
