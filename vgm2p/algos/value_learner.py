"""`ValueLearner`: Q-learning on stored transitions, for MA-TD3BC, MA-BCQ, MA-CQL, OMAR, MAC-Flow and OM2P.

All agents share one critic Q^i(o^i, a^i); in OM2P each has its own. The target is r + gamma Qbar^i(o'^i, a'^i), mixed
over the agents. An algorithm overrides hooks: the actions a' that a target may use, a penalty on the critic, the
policy's loss.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.diagnostics import q_levels
from vgm2p.algos.encoding import masked
from vgm2p.algos.parts import CriticSettings, td_loss, value_at
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import Deterministic
from vgm2p.nn.value import ActionValues, Critic
from vgm2p.types import Acting, Batch, Randomness, Spec

Info = dict[str, Tensor]


class ValueLearner(Algorithm):
    r"""min mean_e (mix_i Q_e^i(o^i, a^i) - [r + gamma mix_i Qbar^i(o'^i, a'^i)])^2, with a' as follows.

    Discrete actions: the critic gives the values of all actions. The mean of the online critic's members chooses a'
    among the allowed actions, and the mean of the target critic's members rates it (double DQN). Continuous actions:
    a' = pibar(o') of a target policy tanh(f(o)), rated by the smallest value of the target critic's members (TD3).

    A subclass writes `policy_loss` if it has an optimiser named `policy`; with continuous actions it always has one.
    The other hooks have defaults: `allowed`, `next_action`, `following`, `penalty`, `team`, `execute`, and those that
    make the networks: `make_critic`, `make_mixing`, `make_policy`.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the networks.
        optim: settings of Adam; the critic's learning rate does not decay.
        critic: settings of the critic.
        history: number of steps that an agent sees, including the present step.
        gamma: discount per step.
        mixer: the value in a TD residual: the `sum` of the agents' values (VDN), their `mean`, or each agent's own
            value (`independent`).
    """

    fits = "critic_loss"
    delay: int = 1  # the policy and the targets change in every `delay`-th update
    huber: bool = False  # whether Huber's loss takes the place of the squared TD residual
    policy: Deterministic
    target_policy: Deterministic

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        critic: CriticSettings = CriticSettings(),
        history: int = 1,
        gamma: float = 0.995,
        mixer: Literal["sum", "mean", "independent"] = "sum",
    ) -> None:
        super().__init__(spec, seeds, history)
        self.gamma, self.mixer, self.tau, self.reward_scale = gamma, mixer, critic.tau, critic.reward_scale
        self.critic, self.mixing = self.make_critic(net, critic), self.make_mixing()
        values = nn.ModuleList([self.critic, *([] if self.mixing is None else [self.mixing])])
        online = self.make_optimiser("critic", values, replace(optim, decay_updates=None))
        targets = copy.deepcopy(values)
        self.target_critic, self.target_mixing = targets[0], targets[1] if self.mixing is not None else None
        self.targets = [self.follow(targets, online)]
        self.make_policy(net, optim.in_every(self.delay))

    def make_critic(self, net: Net, critic: CriticSettings) -> nn.Module:
        """Return Q(o, .) of all discrete actions, or Q(o, a)."""
        size = replace(net, depth=critic.depth or net.depth)
        kind = ActionValues if self.spec.discrete else Critic
        return kind(len(self.seeds), critic.members, self.id_dim, self.spec.action_dim, size, critic.layer_norm)

    def make_policy(self, net: Net, optim: Optim) -> None:
        """Make the policy, its target and its optimiser `policy`; nothing for discrete actions: Q alone chooses.

        `optim.decay_updates` counts the steps of the policy.
        """
        if self.spec.discrete:
            return
        self.policy = Deterministic(len(self.seeds), self.id_dim, self.spec.action_dim, net)
        actor = self.make_optimiser("policy", [self.policy], optim)
        self.target_policy = copy.deepcopy(self.policy)
        self.targets.append(self.follow(self.target_policy, actor))

    # --- one update --------------------------------------------------------------------------------------------------
    def update(self, batch: Batch, key: Randomness) -> Info:
        """Take a step of the critic. In every `delay`-th update, also take steps of the policy and the targets."""
        o, next_o = self.encode_pair(batch)
        critic_loss, info = self.critic_loss(batch, o, next_o, key)
        self.minimise("critic", critic_loss)
        due = self.every(self.delay)
        if "policy" in self.optimisers:
            policy_loss, policy_info = self.policy_loss(batch, o, key)
            self.minimise("policy", policy_loss, due)
            info |= {"policy_loss": policy_loss.detach()} | policy_info
        for target in self.targets:
            target.follow(self.tau * due.to(o.dtype))
        return info

    def critic_loss(self, batch: Batch, o: Tensor, next_o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return the TD loss, or 0.5 TD loss + penalty if there is a penalty: (S,). No illegal action enters it."""
        with torch.no_grad():
            following = self.following(batch, next_o, key)
        every = self.critic(o) if self.spec.discrete else None
        q = self.critic(o, batch.action) if every is None else value_at(every, batch.action)
        loss, info = self.td_loss(batch, q, following)
        penalty = self.penalty(batch, o, next_o, q, every, key)
        if penalty is not None:
            info |= {"td_loss": loss.detach(), "penalty": penalty.detach()}
            loss = 0.5 * loss + penalty
        return loss, {"critic_loss": loss.detach()} | info

    def td_loss(self, batch: Batch, q: Tensor, following: Tensor) -> tuple[Tensor, Info]:
        """Return the loss (S,) of the TD residual of q (S, C, B, N) and the values `following` (S, B, N) of o'."""
        q, following = self.team(batch, q, following)
        reward, discount = self.reward_scale * batch.reward, self.gamma * batch.bootstrap
        mixer = self.mixer if self.mixing is None else "sum"  # a learnt mixer has returned one column
        loss = td_loss(q, reward, discount.unsqueeze(-1) * following, batch.valid, mixer, self.huber)
        return loss, q_levels(q.detach(), mixer, reward, discount, batch.valid)

    # --- hooks -------------------------------------------------------------------------------------------------------
    def following(self, batch: Batch, next_o: Tensor, key: Randomness) -> Tensor:
        """Return Qbar^i(o'^i, a'^i): (S, B, N)."""
        if not self.spec.discrete:
            smallest: Tensor = self.target_critic(next_o, self.next_action(next_o, key)).amin(1)
            return smallest
        rated = masked(self.critic(next_o).mean(1), self.allowed(next_o, batch.next_legal))
        return value_at(self.target_critic(next_o), rated.argmax(-1)).mean(1)

    def next_action(self, next_o: Tensor, key: Randomness) -> Tensor:
        """Return the continuous actions a' of the target: pibar(o') (S, B, N, A)."""
        action: Tensor = self.target_policy(next_o)
        return action

    def allowed(self, o: Tensor, legal: Tensor | None) -> Tensor | None:
        """Return which discrete actions a target may use: (S, ..., N, A) bool, here the legal ones."""
        return legal

    def penalty(
        self, batch: Batch, o: Tensor, next_o: Tensor, q: Tensor, every: Tensor | None, key: Randomness
    ) -> Tensor | None:
        """Return the weighted penalty (S,) that is added to 0.5 TD loss; None: the critic's loss is the TD loss.

        Args:
            batch: the batch; only actions in its `legal` may enter.
            o: (S, B, N, id_dim) encoded observations.
            next_o: (S, B, N, id_dim) encoded observations of the next step.
            q: (S, C, B, N) values of the stored actions, with gradient.
            every: (S, C, B, N, A) values of all actions, with gradient; None for continuous actions.
            key: random numbers of this update.
        """
        return None

    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """Return the loss (S,) of the optimiser `policy`, after the critic's step, and diagnostics."""
        raise NotImplementedError

    def make_mixing(self) -> nn.Module | None:
        """Return a learnt mixer, which trains with the critic and has a target `target_mixing`. None: a fixed mixer."""
        return None

    def team(self, batch: Batch, q: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values that the TD residual uses: q (S, C, B, n) and following (S, B, n).

        Here they are the agents' own values, n = N. With a learnt mixer they are the team's values, n = 1: q from
        `mixing`, and following from `target_mixing` without gradient.
        """
        return q, following

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Return the policy's action; discrete: the legal action with the highest mean value over the members."""
        if not self.spec.discrete:
            action: Tensor = self.policy(o)
            return action
        return masked(self.critic(o).mean(1), legal).argmax(-1)
