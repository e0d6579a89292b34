r"""Planners: a diffusion model of the agents' next observations, and an inverse model that turns them into actions.

MADiff (arXiv 2305.17330) lets the agents attend to one another. MADiff-C plans for all agents from all observations.
In MADiff-D, every agent plans for all from its own observations. DoF (ICLR 2025) factorises the noise: every agent
plans for itself. A plan is generated for a target return. Steps 1 to 6 are those of docs/algorithms/madiff_d.md.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vgm2p.algos.goal import Goal, GoalSettings
from vgm2p.algos.parts import log_softmax_at
from vgm2p.algos.windows import Given, Views, Windowed, given, refuse_length
from vgm2p.flows.diffusion import Schedule
from vgm2p.flows.head import allowed
from vgm2p.groups import Net, Optim
from vgm2p.nn.cdf import KNOTS, Cdf
from vgm2p.nn.plan import PlanNetworks
from vgm2p.nn.unet import UNetSize
from vgm2p.types import Acting, Batch, Needs, Randomness, Seen, Spec, Survey, per_seed_mean

STEPS = {True: (21, 4), False: (19, 10)}  # discrete (SMAC) or not (robots): history and horizon [MADiff's code]


class Planner(Windowed):
    r"""min 0.5 E || eps_hat(x_k, k, R) - eps ||^2 + 0.5 E || g(o_t, o_{t+1}) - a_t ||^2 (discrete: cross-entropy).

    Args:
        spec: the task.
        seeds: training seeds.
        attention: whether agents attend to one another in the noise model (MADiff).
        visible: whose observations a plan knows: `all` agents', or only those of `one`, the agent that plans.
        weighted: whether the agents' noise has learnt weights (WConcat of DoF).
        net: size of the noise model.
        inverse: size of the inverse model.
        optim: settings of Adam.
        history: steps of past and present that a plan knows; None: 21 for discrete actions, 19 for others.
        horizon: steps of a plan, from the present on; None: 4 for discrete actions, 10 for others.
        gamma: discount of the returns.
        ema: rate of the averaged networks, which act.
        goal: the return to aim at.
        levels: number of noise levels.
        sampler: `ddim`, or `ddpm` with fresh noise in every step.
        spacing: levels of the sampling steps (`Schedule.grid`).
        acting: scale and sharing of the start noise, number of sampling steps.
    """

    fits = "plan_loss"

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        attention: bool = True,
        visible: Literal["all", "one"] = "one",
        weighted: bool = False,
        net: UNetSize = UNetSize(),
        inverse: Net = Net(256, 2, "relu"),
        optim: Optim = Optim(),
        history: int | None = None,
        horizon: int | None = None,
        gamma: float = 0.99,
        ema: float = 0.9995,
        goal: GoalSettings = GoalSettings(),
        levels: int = 200,
        sampler: Literal["ddim", "ddpm"] = "ddim",
        spacing: Literal["leading", "trailing"] = "leading",
        acting: Acting = Acting(noise=0.5, steps=15),
    ) -> None:
        usual = STEPS[spec.discrete]
        super().__init__(spec, seeds, history or usual[0])
        self.needs = Needs(frozenset({"return_to_go"}), self.history, (horizon or usual[1]) - 1)
        self.now = self.history - 1  # position of the present in a window
        refuse_length(self.history, self.needs.ahead, net.shrinks)
        self.views = Views(visible == "one", spec.n_agents)
        self.decentralised = (self.views.one or not attention) and not goal.rtg
        self.gamma, self.ema = gamma, ema
        self.goal = Goal(goal, gamma)
        self.sampler, self.spacing, self.schedule = sampler, spacing, Schedule(levels)
        self.schedule.grid(acting.steps)  # refuses more steps than levels
        self.act_by(acting)
        dim = self.encode(torch.zeros(spec.n_agents, spec.obs_dim)).shape[-1]
        self.obs_cdf, self.action_cdf = Cdf(dim), None if spec.discrete else Cdf(spec.action_dim)
        widths = (len(self.seeds), spec.n_agents, dim, spec.action_dim)
        self.online = PlanNetworks(*widths, net, inverse, attention, weighted)
        optimiser = self.make_optimiser("planner", [self.online], optim)
        self.averaged = copy.deepcopy(self.online)
        self.follower = self.follow(self.averaged, optimiser)

    def survey(self, survey: Survey) -> None:
        """Store the distribution of every feature, and the scale of the returns."""
        super().survey(survey)
        quantiles = survey.obs_quantiles(KNOTS)
        self.obs_cdf.fit(F.pad(quantiles, (0, 0, 0, len(self.obs_cdf.knots) - len(quantiles))))  # one-hots stay
        if self.action_cdf is not None and survey.action_quantiles is not None:
            self.action_cdf.fit(survey.action_quantiles(KNOTS))
        self.goal.fit(survey)

    def describe(self, obs: Tensor) -> Tensor:
        """Return observations (..., N, O) with the agent's one-hot, every feature in [-1, 1]: (..., N, D)."""
        x: Tensor = self.obs_cdf(self.encode(obs))
        return x

    # --- training ----------------------------------------------------------------------------------------------------
    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one gradient step on both models, then move the averaged networks."""
        assert batch.window_obs is not None
        assert batch.return_to_go is not None
        window = self.describe(batch.window_obs)
        known = given(window, self.views.drawn(window, key), self.now)
        plan_loss = self.plan_loss(window, known, batch.return_to_go / self.goal.scale, key)
        inverse_loss = self.inverse_loss(batch, window, known.free)
        self.minimise("planner", 0.5 * (plan_loss + inverse_loss))
        plain = (1.0 / (self.clock + 1)).to(window.dtype)  # at first, the average of all updates so far
        self.follower.follow(plain.clamp(min=1.0 - self.ema))
        return {"plan_loss": plan_loss.detach(), "inverse_loss": inverse_loss.detach()}

    def plan_loss(self, window: Tensor, known: Given, total: Tensor, key: Randomness) -> Tensor:
        """Steps 3 and 4: error of the noise in the steps that are generated (S,), for returns `total` (S, B)."""
        B, _, N, _ = window.shape[1:]
        level = key.integers("level", (B,), self.schedule.levels)
        eps = key.normal("noise", tuple(window.shape[1:])).to(window.dtype)
        x = known.impose(self.schedule.diffuse(window, eps, level))
        keep = (key.uniform("keep", (B, N)) >= self.goal.settings.dropout).to(window.dtype)
        eps_hat = self.online.noise(x, level.to(window.dtype), total.unsqueeze(-1).expand_as(keep), keep)
        free = known.free.unsqueeze(-1)
        return per_seed_mean((free * (eps_hat - eps).square()).sum((2, 3)) / free.sum((2, 3)))

    def inverse_loss(self, batch: Batch, window: Tensor, free: Tensor) -> Tensor:
        """Step 5: error of the actions (S,) between neighbouring stored observations, the second of which is free."""
        assert batch.window_real is not None
        assert batch.window_action is not None
        first = max(self.now - 1, 0)  # no earlier pair counts
        before, after = slice(first, -1), slice(first + 1, None)
        real = batch.window_real[:, :, before] * batch.window_real[:, :, after]
        weight = free[:, :, after] * real.unsqueeze(-1)
        found, action = self.online.action(window[:, :, before], window[:, :, after]), batch.window_action[:, :, before]
        if self.action_cdf is None:
            assert batch.window_legal is not None
            legal = batch.window_legal[:, :, before]  # `allowed` is finite where a padded step holds an illegal action
            error = -log_softmax_at(allowed(found, legal), action)
        else:
            error = (found - self.action_cdf(action)).square().mean(-1)
        return (weight * error).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1.0)

    # --- execution ---------------------------------------------------------------------------------------------------
    def act(self, seen: Seen, memory: Any, key: Randomness, acting: Acting | None = None) -> tuple[Tensor, Any]:
        """Plan anew in every step, and do the action that leads to the plan's next observation.

        The memory holds the encoded observations of the last steps (S, E, history - 1, N, D), at first copies of the
        first one, and the return that is left (S, E). An episode that has ended for all seeds is not planned.
        """
        now = self.describe(seen.obs)
        if memory is None:
            past, share = now.unsqueeze(2).expand(-1, -1, self.now, -1, -1), self.goal.first(now[:, :, 0, 0])
        else:
            past, share = memory[0], self.goal.left(memory[1], seen.reward)
        known = torch.cat([past, now.unsqueeze(2)], 2)
        on = slice(None) if seen.active is None else seen.active.amax(0)
        following = self.plan(known, share, on, key, acting or self.acting or Acting())
        x = now.new_zeros(*now.shape[:-1], self.spec.action_dim)
        x[:, on] = self.averaged.action(now[:, on], following)
        if self.action_cdf is not None:
            x = self.action_cdf.inverse(x)
        return self.to_env(self.to_action(x, seen.legal)), (known[:, :, 1:], share)

    def plan(self, known: Tensor, share: Tensor, on: Any, key: Randomness, acting: Acting) -> Tensor:
        """Return the observations (S, E', N, D) that the agents plan for the next step.

        `known` (S, E, history, N, D) are the observations up to the present one, `share` (S, E) the return that is
        left, and `on` is the index of the E' episodes that still run.
        """
        window = self.views.spread(F.pad(known[:, on], (0, 0, 0, 0, 0, self.needs.ahead)))
        fixed = given(window, self.views.visible(window), self.now)
        total = self.views.spread(share[:, on]).unsqueeze(-1).expand(*window.shape[:2], self.spec.n_agents)

        def model(x: Tensor, level: int) -> Tensor:
            return self.averaged.guided(fixed.impose(x), level, total, self.goal.settings.guidance)

        def noise(purpose: str) -> Tensor:
            return self.views.noise(key, purpose, window, known.shape[1], acting.shared)[:, on].flatten(1, 2)

        grid = self.schedule.grid(acting.steps, self.spacing)
        more = (lambda level: noise(f"level {level}")) if self.sampler == "ddpm" else None
        x = self.schedule.sample(model, acting.noise * noise("plan"), grid, noise=more)
        return self.views.own(fixed.impose(x)[:, :, self.now + 1])
