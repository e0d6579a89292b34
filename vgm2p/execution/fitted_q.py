"""Fitted Q evaluation (FQE) of a policy of several agents: critics that learn what it is worth, from data alone.

FQE: Le, Voloshin and Yue 2019 (arXiv 1903.08738). Members trained on resampled episodes: Hao et al. 2021 (arXiv
2102.03607). The level of the values is solved apart from their shape: reward centring, Naik et al. 2024 (arXiv
2405.09999).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from vgm2p.algos.encoding import Encoding
from vgm2p.algos.parts import MIXERS
from vgm2p.groups import Net, Optim
from vgm2p.nn.optim import Follower, SeedAdam
from vgm2p.nn.value import Critic
from vgm2p.seeds import initialise
from vgm2p.types import Batch, Spec, per_seed_mean

LEVEL = 0.005  # rate of the running means behind the level: noise of a batch's mean counts 1 / (1 - gamma) times in it
TINY = torch.finfo(torch.float32).tiny


class FittedQ(Encoding):
    r"""C critics per seed; member c is fitted to its own target, on its own sample of the episodes.

    The team's value is the mean over the agents, Q_c = b_c + mean_i f_c^i(o^i, a^i). A member minimises
    E w_c (Q_c(o, a) - [r + gamma m Qbar_c(o', pi(o'))])^2. m is 0 where no value follows, w_c counts how often the
    member's sample has the episode. The target network fbar follows f. No gradient reaches the policy.

    The level b_c is no parameter of the networks: it is the number that makes the mean residual zero,
    b_c = E w_c [r + gamma m fbar' - f] / E w_c [1 - gamma m], from running means. A network with a target that follows
    would need 1 / (tau (1 - gamma)) updates to reach this level; the fixed point is the same.

    Args:
        spec: the task.
        seeds: of the critics, one per seed of the policy.
        history: steps that a critic sees, as the policy.
        members: critics per seed.
        net: size of a critic.
        optim: its optimiser.
        gamma: discount, below 1.
        tau: rate per update of the target network.
        scale: factor of the rewards inside; values are returned on the scale of the data.
        moments: (O,) mean and deviation by which observations are standardised.
        device: where to compute.

    Attributes:
        alive: (S,) bool, False for a seed whose loss was not finite: it learns no more.
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        history: int,
        members: int,
        net: Net,
        optim: Optim,
        gamma: float,
        tau: float,
        scale: float = 1.0,
        moments: tuple[Tensor, Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(spec, seeds, history)
        self.gamma, self.tau, self.scale = gamma, tau, scale
        if moments is not None:
            self.set_statistics(*moments)
        self.critic = Critic(len(self.seeds), members, self.id_dim, spec.action_dim, net)
        initialise([self.critic], self.seeds, "estimate")
        with torch.no_grad():
            for parameter in self.critic.mlp.output.parameters():
                parameter.zero_()
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.to(device)
        self.optimiser = SeedAdam(self.critic.parameters(), optim)
        self.target = Follower(self.target_critic, self.optimiser)
        self.alive = torch.ones(len(self.seeds), dtype=torch.bool, device=device)
        self._missing, self._open = (torch.zeros(len(self.seeds), members, device=device) for _ in range(2))

    @property
    def level(self) -> Tensor:
        """b_c of every member: (S, C)."""
        return self._missing / self._open.clamp(min=TINY)

    def update(self, batch: Batch, next_action: Tensor, weight: Tensor) -> Tensor:
        """Do one step of all critics; return the loss (S,).

        Args:
            batch: transitions (S, B, ...).
            next_action: the policy's action at `batch.next_obs`, (S, B, N, A) or (S, B, N).
            weight: (S, C, B) how often each member's sample holds the row's episode.
        """
        o, next_o = self.encode_pair(batch)
        reward = self.scale * batch.reward.unsqueeze(1)  # (S, 1, B)
        discount = self.gamma * batch.bootstrap.unsqueeze(1)
        with torch.no_grad():
            next_f = discount.unsqueeze(-1) * self.target_critic(next_o, self.represent(next_action))
        f = self.critic(o, self.represent(batch.action))  # (S, C, B, N)
        weight = weight * batch.valid.unsqueeze(1)
        residual = MIXERS["mean"](f, reward, next_f)  # (S, C, B)
        level = self._solve(weight, residual.detach(), 1.0 - discount)
        residual = residual + (1.0 - discount) * level.unsqueeze(-1)
        weight = weight / weight.mean(-1, keepdim=True).clamp(min=TINY)
        loss = per_seed_mean(weight * residual.square())
        self.alive &= torch.isfinite(loss.detach())
        self.optimiser.minimise(loss, self.alive)
        self.target.follow(self.tau)
        return loss.detach()

    def _solve(self, weight: Tensor, residual: Tensor, open_: Tensor) -> Tensor:
        """Add a batch to the running means and return b_c (S, C).

        Args:
            weight: (S, C, B) of the rows.
            residual: (S, C, B) f - (r + gamma m fbar').
            open_: (S, 1, B) 1 - gamma m.
        """
        self._missing.lerp_(-(weight * residual).mean(-1), LEVEL)
        self._open.lerp_((weight * open_).mean(-1), LEVEL)
        return self.level

    @torch.no_grad()
    def values(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the team's value of first steps, the mean over the policy's draws: (S, C, E).

        Args:
            obs: (E, N, O) first observations.
            action: (S, E, K, N, A) or (S, E, K, N) what the policy does there, K draws.
        """
        past = None if self.history == 1 else obs.new_zeros(*obs.shape[:-1], (self.history - 1) * self.frame_dim)
        o = self.encode(obs, past)[None, :, None].expand(*action.shape[:4], -1)
        f: Tensor = self.critic(o, self.represent(action))  # (S, C, E, K, N)
        return (f.mean((-1, -2)) + self.level.unsqueeze(-1)) / self.scale
