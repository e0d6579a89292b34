"""The networks of a planner: the noise in windows of observations, and the action between two observations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgm2p.groups import Net
from vgm2p.nn.mlp import MLP
from vgm2p.nn.unet import Numbers, UNet, UNetSize


class PlanNetworks(nn.Module):
    """eps(x, k, R) and g(o, o').

    Args:
        seeds: number of seeds S.
        agents: number of agents N.
        dim: width D of an encoded observation.
        actions: width A of an action, or number of actions.
        size: size of the noise model.
        inverse: size of the inverse model g.
        attention: whether agents attend to one another in the noise model.
        weighted: whether agent i's noise is multiplied by a learnt w_i / sum_j w_j (WConcat of DoF), w = 1 at first.
    """

    def __init__(
        self,
        seeds: int,
        agents: int,
        dim: int,
        actions: int,
        size: UNetSize,
        inverse: Net,
        attention: bool,
        weighted: bool,
    ) -> None:
        super().__init__()
        self.unet = UNet(seeds, dim, size, attention)
        self.weight = Numbers(seeds, (agents,), 1.0) if weighted else None
        self.inverse = MLP((seeds,), 2 * dim, actions, inverse)

    def noise(self, x: Tensor, level: Tensor, total: Tensor, keep: Tensor) -> Tensor:
        """Return the noise (S, B, L, N, D) in x; arguments as in `UNet.forward`."""
        eps: Tensor = self.unet(x, level, total, keep)
        if self.weight is None:
            return eps
        w = self.weight.value
        return eps * (w / w.sum(-1, keepdim=True))[:, None, None, :, None]

    def guided(self, x: Tensor, level: int, total: Tensor, weight: float) -> Tensor:
        """Return eps_0 + weight (eps_R - eps_0), eps_0 without the return, in one pass over a doubled batch.

        Args:
            x: (S, B, L, N, D).
            level: noise level of all rows.
            total: (S, B, N) return R, as a share of its scale.
            weight: 1 needs no doubled batch.
        """
        known = torch.ones_like(total)
        if weight == 1.0:
            return self.noise(x, x.new_full(x.shape[:2], level), total, known)
        x, total, keep = (torch.cat(pair, 1) for pair in ((x, x), (total, total), (known, torch.zeros_like(known))))
        eps = self.noise(x, x.new_full(x.shape[:2], level), total, keep)
        with_return, without = torch.unflatten(eps, 1, (2, -1)).unbind(1)
        return without + weight * (with_return - without)

    def action(self, now: Tensor, following: Tensor) -> Tensor:
        """Return scores or normalised actions (S, ..., A) between two encoded observations (S, ..., D)."""
        found: Tensor = self.inverse(torch.cat([now, following], -1))
        return found
