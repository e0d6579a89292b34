"""An example of a user's planner: a convolution over time predicts each agent's observations, given a target return.

It reads windows (two steps of the past, two of the future) and the return-to-go; it acts towards a fixed target return,
which it takes from the data. An inverse model turns the present and the predicted observation into an action.
"""

import torch
import torch.nn.functional as F
from torch import nn

from vgm2p.algos.contract import Algorithm
from vgm2p.groups import Net, Optim
from vgm2p.nn.attention import Attention
from vgm2p.nn.conv import Conv, GroupNorm, fold, unfold
from vgm2p.nn.mlp import MLP
from vgm2p.types import Needs, per_seed_mean


class Temporal(nn.Module):
    """Two convolutions along the window; rows (S, R, channels, L)."""

    def __init__(self, seeds, inputs, outputs, width):
        super().__init__()
        self.seeds = seeds
        self.first, self.norm = Conv(seeds, inputs, width, 5), GroupNorm(seeds, width)
        self.last = Conv(seeds, width, outputs, 5)

    def forward(self, x):
        return unfold(self.last(F.mish(self.norm(self.first(fold(x))))), self.seeds)


class Planner(Algorithm):
    """Loss: error of the predicted future observations, and of the inverse model's actions."""

    needs = Needs(frozenset({"return_to_go"}), history=3, ahead=2)
    fits = "plan_loss"
    gamma = 0.99

    def __init__(self, spec, seeds, *, width: int = 16, net: Net = Net(), optim: Optim = Optim()):
        super().__init__(spec, seeds, history=self.needs.history)
        S, self.past = len(self.seeds), self.needs.history - 1
        self.temporal = Temporal(S, spec.obs_dim + 2, spec.obs_dim, width)  # observation, known or not, return
        self.inverse = MLP((S,), 2 * spec.obs_dim, spec.action_dim, net)
        self.make_optimiser("planner", [self.temporal, self.inverse, *self.more()], optim)
        self.register_buffer("target", torch.ones(()))

    def more(self):
        return ()

    def survey(self, survey):
        super().survey(survey)
        self.target.copy_(survey.return_quantile(0.99))

    def plan(self, known, total):
        """Return the window (..., L, N, O) for its known part (..., history, N, O) and a return per row (...)."""
        unknown = known.new_zeros(*known.shape[:-3], self.needs.ahead, *known.shape[-2:])
        x = torch.cat([known, unknown], -3).transpose(-3, -2)  # (S, B, N, L, O)
        seen = (torch.arange(x.shape[-2], device=x.device) <= self.past).to(x.dtype)
        flags = torch.stack(torch.broadcast_tensors(seen, (total / self.target)[..., None, None]), -1)
        rows = torch.cat([x, flags.expand(*x.shape[:-1], 2)], -1).flatten(1, 2).transpose(-1, -2)
        return self.together(self.temporal(rows).transpose(-1, -2).unflatten(1, x.shape[1:3]).transpose(-3, -2))

    def together(self, window):
        """Every agent plans alone."""
        return window

    def update(self, batch, key):
        window = (batch.window_obs - self.obs_mean) / self.obs_std  # (S, B, L, N, O)
        real = batch.window_real[:, :, self.past + 1 :, None]
        future = self.plan(window[:, :, : self.past + 1], batch.return_to_go)[:, :, self.past + 1 :]
        plan_loss = per_seed_mean(real * (future - window[:, :, self.past + 1 :]).square().mean(-1))
        made = self.inverse(torch.cat([window[:, :, self.past], window[:, :, self.past + 1]], -1))
        done = self.represent(batch.action)
        inverse_loss = per_seed_mean(real[:, :, 0] * (made - done).square().mean(-1))
        self.minimise("planner", plan_loss + inverse_loss)
        return {"plan_loss": plan_loss.detach(), "inverse_loss": inverse_loss.detach()}

    def act(self, seen, memory, key, acting=None):
        now = ((seen.obs - self.obs_mean) / self.obs_std).unsqueeze(2)  # (S, E, 1, N, O)
        known = now.expand(-1, -1, self.past + 1, -1, -1) if memory is None else torch.cat([memory[:, :, 1:], now], 2)
        total = self.target.expand(known.shape[:2])
        following = self.plan(known, total)[:, :, self.past + 1]
        x = self.to_action(self.inverse(torch.cat([known[:, :, -1], following], -1)), seen.legal)
        return self.to_env(x), known

    def amend(self, memory, action):
        """Nothing that was done is remembered."""
        return memory


class JointPlanner(Planner):
    """The agents' plans look at one another: a centralised controller."""

    decentralised = False

    def more(self):
        self.attention = Attention(len(self.seeds), self.spec.obs_dim, heads=2, head_dim=4)
        return (self.attention,)

    def together(self, window):
        """Let the agents' plans (S, B, L, N, O) meet, step by step."""
        return window + self.attention(window.flatten(1, 2)).unflatten(1, window.shape[1:3])
