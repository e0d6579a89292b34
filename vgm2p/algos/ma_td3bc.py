"""MA-TD3BC: TD3+BC (Fujimoto and Gu, arXiv 2106.06860) for a team, with the agents' values summed (VDN).

As in TD3 (arXiv 1802.09477), there are two critics, targets are smoothed, and the policy learns in every second update.
The policy maximises Q and stays near the stored actions. Our choices and their sources: docs/algorithms/ma_td3bc.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vgm2p.algos.diagnostics import SATURATED, on_bounds
from vgm2p.algos.value_learner import Info, ValueLearner
from vgm2p.nn.held import held
from vgm2p.types import Batch, Randomness, per_seed_mean


class MATD3BC(ValueLearner):
    r"""Policy: min mean_i (pi(o^i) - a^i)^2 - lambda mean_i Q_1^i(o^i, pi(o^i)), lambda = alpha / mean |Q_1|.

    Every argument is a key of `conf/algo/ma_td3bc.yaml`; the yaml gives its meaning and source. Other arguments are
    those of `ValueLearner`.
    """

    supports_discrete = False

    def __init__(
        self,
        *task: Any,
        alpha: float = 2.5,
        noise: float = 0.2,
        noise_clip: float = 0.5,
        delay: int = 2,
        **of_the_learner: Any,
    ) -> None:
        self.delay = delay  # before the optimisers are made: the policy's rate depends on it
        super().__init__(*task, **of_the_learner)
        self.alpha, self.noise, self.noise_clip = alpha, noise, noise_clip

    def next_action(self, next_o: Tensor, key: Randomness) -> Tensor:
        """a' = clip(pibar(o') + clip(eps, -c, c), -1, 1), eps ~ N(0, noise^2) (TD3 Sec. 5.3): (S, B, N, A)."""
        action: Tensor = self.target_policy(next_o)
        eps = self.noise * key.normal("smoothing", tuple(action.shape[1:])).to(action.dtype)
        return (action + eps.clamp(-self.noise_clip, self.noise_clip)).clamp(-1.0, 1.0)

    def policy_loss(self, batch: Batch, o: Tensor, key: Randomness) -> tuple[Tensor, Info]:
        """- lambda Q_1(o, pi(o)) + (pi(o) - a)^2 (TD3+BC Sec. 5), a mean over rows and agents: (S,), and diagnostics.

        No gradient passes through lambda. Otherwise lambda Q would be constant if Q has the same sign in all rows.
        """
        action = self.policy(o)
        with held(self.critic):
            q = self.critic(o, action, member=0)  # (S, B, N)
        size = per_seed_mean(q.detach().abs())
        q_weight = self.alpha / size.clamp(min=torch.finfo(size.dtype).tiny)
        clone = per_seed_mean((action - batch.action).square())
        info = {"clone_loss": clone.detach(), "q_weight": q_weight} | on_bounds(action.detach(), False, SATURATED)
        return clone - q_weight * per_seed_mean(q), info
