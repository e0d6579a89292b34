r"""A judge of realised returns: what the recorded team got, and what each agent's action had to do with it.

V(s) is the mean of the recorded returns from a state on. delta_t = r_t + gamma V(s_t+1) - V(s_t) tells how much better
than usual a step went (generalised advantage with lambda = 0: Schulman et al. 2016, Eq. 10). A(o^i, a^i), a function of
one agent's observation and action, is the regression of delta: the agent's effect. No network learns from its own
predictions: V learns from recorded rewards alone, A from V. docs/algorithms/vgm2p_realised.md derives the losses.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.diagnostics import correlation, deviation
from vgm2p.algos.stages import JudgeSettings, stage
from vgm2p.groups import Net, Optim
from vgm2p.nn.value import ActionValues, Critic, Value
from vgm2p.types import Batch, Spec, Survey, has_choice, per_seed_mean

Info = dict[str, Tensor]
OUTCOME = frozenset(("return_to_go", "return_seen"))


class RealisedJudge(nn.Module):
    """V(s) and A(o^i, a^i), with their optimisers `value` and `effect` in `algorithm`.

    V sees the global state. Where none is recorded, or every observation holds all of it (robots), V sees the joint
    observation. V is used in training only, so execution stays decentralised.

    With `halves`, there are two pairs of V and A. Each pair learns from one half of the episodes (`Batch.fold`) and
    judges the other half, so that no verdict comes from networks that learnt from its episode.

    Args:
        algorithm: the algorithm that the judge is for. Its `needs` must contain `fields(spec, halves)`.
        net: size of the networks, but for `settings.depth`.
        optim: how they are optimised. If the learning rate decays, that of a network reaches 0 at the end of its stage,
            or, without a stage, at the end of the run.
        settings: further settings.
        halves: whether each half of the episodes is judged by networks that learn from the other.
    """

    def __init__(
        self, algorithm: Algorithm, net: Net, optim: Optim, settings: JudgeSettings, halves: bool = False
    ) -> None:
        super().__init__()
        self.halves = halves
        spec, seeds = algorithm.spec, len(algorithm.seeds)
        self.settings, self.sees_state = settings, sees_state(spec)
        size = replace(net, depth=settings.depth or net.depth)
        width = spec.state_dim if self.sees_state and spec.state_dim else spec.n_agents * spec.obs_dim
        self.value = Value(seeds, width, size, settings.layer_norm, 2 if halves else None)
        kind = ActionValues if spec.discrete else Critic
        members = 2 if halves else 1
        self.effect = kind(seeds, members, algorithm.id_dim, spec.action_dim, size, settings.layer_norm)
        learning = replace(optim, lr=settings.lr or optim.lr)
        algorithm.make_optimiser("value", [self.value], stage(learning, 0, settings.value_updates))
        steps = stage(learning, settings.value_updates, settings.effect_updates)
        algorithm.make_optimiser("effect", [self.effect], steps)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.centre: Tensor
        self.scale: Tensor

    def survey(self, survey: Survey) -> None:
        """Store mean and standard deviation of the returns, in which V is learnt."""
        centre, scale = survey.return_moments()
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def learn(self, algorithm: Algorithm, batch: Batch, o: Tensor, usual: Tensor | None = None) -> tuple[Tensor, Info]:
        """Take a step of V, then one of A, each if its turn has come. Return A(o, a) (S, B, N) from before its step.

        With `halves`, this A has not learnt from the row's episode.
        """
        clock, own = algorithm.clock, self.settings
        value_loss, value_info = self.value_loss(algorithm, batch)
        algorithm.minimise("value", value_loss, clock < own.value_updates if own.value_updates else None)
        effect_loss, effect, effect_info = self.effect_loss(algorithm, batch, o, usual)
        due = (clock >= own.value_updates) & ((clock < own.updates) if own.effect_updates else True)
        algorithm.minimise("effect", effect_loss, due)
        return effect, value_info | effect_info

    # --- V -----------------------------------------------------------------------------------------------------------
    def value_loss(self, algorithm: Algorithm, batch: Batch) -> tuple[Tensor, Info]:
        """Return the mean of seen^2 (G - V(s))^2 (S,), in units of the deviation of G, and the explained variance of V.

        With `halves`, the explained variance is that of the V that has not learnt from the episode.

        `seen` G is the sum of the recorded rewards. If the episode was cut, this is the square of (recorded sum -
        seen V(s)): V predicts what was recorded. A return of which little was recorded counts little.
        """
        assert batch.return_to_go is not None, "the batch lacks a field of `needs`"
        assert batch.return_seen is not None, "the batch lacks a field of `needs`"
        target, weight = (batch.return_to_go - self.centre) / self.scale, batch.return_seen.square()
        v = self.scaled(self.inputs(algorithm, batch.obs, batch.state))
        loss = per_seed_mean(weight * (target - self.learning(v, batch)).square())
        missed = per_seed_mean(weight * (target - self.unseen(v.detach(), batch)).square())
        total = per_seed_mean(weight)
        mean = (per_seed_mean(weight * target) / total).unsqueeze(-1)
        variance = per_seed_mean(weight * (target - mean).square())
        explained = 1.0 - missed / variance.clamp(min=torch.finfo(variance.dtype).tiny)
        return loss, {"value_loss": loss.detach(), "value_explained": explained}

    def scaled(self, x: Tensor) -> Tensor:
        """Return (V - centre) / scale for x (S, B, D); for x (S, B, N, D), the mean over the agents: (S, M, B).

        M, the number of networks, is 2 with `halves`, else 1.
        """
        v: Tensor = self.value(x)
        v = v if self.halves else v.unsqueeze(1)
        return v.mean(-1) if v.dim() > 3 else v

    def learning(self, x: Tensor, batch: Batch) -> Tensor:
        """Return x (S, M, B, ...) of the network that learns from each row: (S, B, ...)."""
        return self._of(x, batch, 0)

    def unseen(self, x: Tensor, batch: Batch) -> Tensor:
        """Return x (S, M, B, ...) of the network that learns from the other half of the episodes: (S, B, ...)."""
        return self._of(x, batch, 1)

    def _of(self, x: Tensor, batch: Batch, other: int) -> Tensor:
        if not self.halves:
            return x[:, 0]
        assert batch.fold is not None, "the batch lacks a field of `needs`"
        second = (batch.fold == 1 - other).reshape(*batch.fold.shape, *[1] * (x.dim() - 3))
        return torch.where(second, x[:, 1], x[:, 0])

    def inputs(self, algorithm: Algorithm, obs: Tensor, state: Tensor | None) -> Tensor:
        """Return what V sees: the state (S, B, D) or (S, B, N, D), or the joint observation (S, B, N * O)."""
        if self.sees_state:
            assert state is not None, "the batch lacks a field of `needs`"
            return state
        return algorithm.joint(obs)

    @torch.no_grad()
    def residuals(self, algorithm: Algorithm, batch: Batch) -> Tensor:
        """Return delta = r + gamma * bootstrap * V(s') - V(s) of each network V: (S, M, B)."""
        now, following = (
            self.centre + self.scale * self.scaled(self.inputs(algorithm, obs, state))
            for obs, state in ((batch.obs, batch.state), (batch.next_obs, batch.next_state))
        )
        reward, discount = batch.reward.unsqueeze(1), algorithm.gamma * batch.bootstrap.unsqueeze(1)
        return reward + discount * following - now

    def deviations(self, residuals: Tensor, batch: Batch) -> Tensor:
        """Return the standard deviation of residuals (S, M, B) over the rows that each network learns: (S, M, 1)."""
        networks = torch.arange(residuals.shape[1], device=residuals.device).unsqueeze(-1)
        rows = (batch.valid > 0).unsqueeze(1).expand_as(residuals)
        if self.halves:
            assert batch.fold is not None, "the batch lacks a field of `needs`"
            rows = rows & (batch.fold.unsqueeze(1) == networks)
        found = deviation(residuals.flatten(0, 1), rows.flatten(0, 1))
        return found.reshape(*residuals.shape[:2], 1).clamp(min=1e-8)

    # --- A -----------------------------------------------------------------------------------------------------------
    def effect_loss(
        self, algorithm: Algorithm, batch: Batch, o: Tensor, usual: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Info]:
        """Return the mean of (A(o^i, a^i) - delta)^2 over rows with a choice and a successor (S,), and A (S, B, N).

        delta is divided by its standard deviation in the batch. With `halves`, loss and gradient are those of the
        networks that learn from the row; the A that is returned, and its correlation with delta, those of the others.
        This A is that of the stored action minus that of `usual` (S, B, N, A), an action or probabilities, if given.
        """
        every = self.rate(o, algorithm.represent(batch.action))
        effect, verdict = self.learning(every, batch), self.verdict(algorithm, batch, o, usual)
        residuals = self.residuals(algorithm, batch)
        choice, valid = has_choice(batch.legal), (batch.valid > 0).unsqueeze(-1).expand_as(effect)
        rows = valid if choice is None else valid & choice
        delta = self.learning(residuals / self.deviations(residuals, batch), batch)
        loss = per_seed_mean((effect - delta.unsqueeze(-1)).square(), rows)
        known = correlation(verdict, self.unseen(residuals, batch).unsqueeze(-1).expand_as(verdict), rows)
        return loss, verdict, {"effect_loss": loss.detach(), "effect_correlation": known}

    @torch.no_grad()
    def verdict(self, algorithm: Algorithm, batch: Batch, o: Tensor, usual: Tensor | None = None) -> Tensor:
        """Return A(o, a) of stored actions, minus A(o, usual) if given (S, B, N), by the unseen networks."""
        found = self.rate(o, algorithm.represent(batch.action))
        return self.unseen(found if usual is None else found - self.rate(o, usual), batch)

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return A(o, a) of each network for action vectors (S, ..., A): (S, M, ...).

        For probabilities of discrete actions, this is the expectation.
        """
        if isinstance(self.effect, ActionValues):
            every: Tensor = self.effect(o)
            return (every * action.unsqueeze(1)).sum(-1)
        effect: Tensor = self.effect(o, action)
        return effect


def sees_state(spec: Spec) -> bool:
    """Return whether V sees the recorded state. Robots' observations hold it, and are standardised."""
    return spec.state_dim is not None and not spec.has_agent_id


def fields(spec: Spec, halves: bool = False) -> frozenset[str]:
    """Return the fields of a batch that a `RealisedJudge` reads."""
    states = {"state", "next_state"} if sees_state(spec) else set()
    return OUTCOME | states | ({"fold"} if halves else set())
