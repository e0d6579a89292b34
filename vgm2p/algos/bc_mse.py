"""BC(MSE): behaviour cloning by squared error. The policy learns the mean action of the data, and has no randomness.

It is our control for the generative clones, and is not in the paper's tables: where its return is as high as theirs, a
model of the whole distribution has not helped. It is the regression of TD3+BC (arXiv 2106.06860) without the critic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.groups import Net, Optim
from vgm2p.nn.mlp import MLP
from vgm2p.types import Acting, Batch, Randomness, Spec, per_seed_mean


class BCSquaredError(Algorithm):
    r"""min_theta E[(mu_theta(o^i) - a^i)^2], with parameters that all agents share; continuous actions.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the network.
        optim: settings of Adam.
        history: number of steps that an agent sees, including the present step.
        output: `linear`: mu is the network's output, clipped when it acts; `tanh`: the tanh of it.
    """

    supports_discrete = False
    starts_from_noise = False

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        history: int = 1,
        output: Literal["linear", "tanh"] = "linear",
    ) -> None:
        super().__init__(spec, seeds, history)
        self.bounded = output == "tanh"
        self.policy = MLP((len(self.seeds),), self.id_dim, spec.action_dim, net)
        self.make_optimiser("policy", [self.policy], optim)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one gradient step."""
        loss = self.policy_loss(batch)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, batch: Batch) -> Tensor:
        """Return the squared error per seed (S,), a mean over rows, agents and components."""
        mean = self.mean(self.encode(batch.obs, self.past(batch)))
        return per_seed_mean((mean - batch.action).square())

    def mean(self, o: Tensor) -> Tensor:
        """Return mu (S, ..., N, A) of encoded observations; with a linear output, it may lie beyond [-1, 1]."""
        y: Tensor = self.policy(o)
        return torch.tanh(y) if self.bounded else y

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Return the clipped mean."""
        return self.to_action(self.mean(o), None)
