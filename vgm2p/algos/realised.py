r"""A judge of realised returns: what the recorded team got, and what each agent's action had to do with it.

V(s) is the mean of the recorded returns from a state on. delta_t = r_t + gamma V(s_t+1) - V(s_t) tells how much better
than usual a step went (generalised advantage with lambda = 0: Schulman et al. 2016, Eq. 10). A(o^i, a^i), a function of
one agent's observation and action, is the regression of delta: the agent's effect. No network learns from its own
predictions: V learns from recorded rewards alone, A from V. docs/algorithms/vgm2p_realised.md derives the losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.diagnostics import correlation, deviation
from vgm2p.errors import ConfigError
from vgm2p.groups import Net, Optim
from vgm2p.nn.value import ActionValues, Critic, Value
from vgm2p.types import Batch, Spec, Survey, has_choice, per_seed_mean

Info = dict[str, Tensor]
OUTCOME = frozenset(("return_to_go", "return_seen"))
LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class JudgeSettings:
    """Settings of the judge.

    Attributes:
        depth: number of hidden layers of V and A; None: as many as the policy has.
        layer_norm: whether a LayerNorm follows every hidden layer.
        lr: learning rate of V and A; None: that of the policy.
        value_updates: number of updates at the start in which V alone learns; 0: V learns in every update.
        effect_updates: number of updates after these in which A alone learns; 0: A learns in every update after these.
    """

    depth: int | None = None
    layer_norm: bool = True
    lr: float | None = None
    value_updates: int = field(default=0, metadata={"least": 0})
    effect_updates: int = field(default=0, metadata={"least": 0})

    @property
    def updates(self) -> int:
        """Number of updates before the policy learns."""
        return self.value_updates + self.effect_updates


class RealisedJudge(nn.Module):
    """V(s) and A(o^i, a^i), with their optimisers `value` and `effect` in `algorithm`.

    V sees the global state. Where none is recorded, or every observation holds all of it (robots), V sees the joint
    observation. V is used in training only, so execution stays decentralised.

    Args:
        algorithm: the algorithm that the judge is for. Its `needs` must contain `fields(spec)`.
        net: size of the networks, but for `settings.depth`.
        optim: how they are optimised. If the learning rate decays, that of a network reaches 0 at the end of its stage,
            or, without a stage, at the end of the run.
        settings: further settings.
    """

    def __init__(self, algorithm: Algorithm, net: Net, optim: Optim, settings: JudgeSettings) -> None:
        super().__init__()
        spec, seeds = algorithm.spec, len(algorithm.seeds)
        self.settings, self.sees_state = settings, sees_state(spec)
        size = replace(net, depth=settings.depth or net.depth)
        width = spec.state_dim if self.sees_state and spec.state_dim else spec.n_agents * spec.obs_dim
        self.value = Value(seeds, width, size, settings.layer_norm)
        kind = ActionValues if spec.discrete else Critic
        self.effect = kind(seeds, 1, algorithm.id_dim, spec.action_dim, size, settings.layer_norm)
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

    def learn(self, algorithm: Algorithm, batch: Batch, o: Tensor) -> tuple[Tensor, Info]:
        """Take a step of V, then one of A, each if its turn has come. Return A(o, a) (S, B, N) from before its step."""
        clock, own = algorithm.clock, self.settings
        value_loss, value_info = self.value_loss(algorithm, batch)
        algorithm.minimise("value", value_loss, clock < own.value_updates if own.value_updates else None)
        effect_loss, effect, effect_info = self.effect_loss(algorithm, batch, o)
        due = (clock >= own.value_updates) & ((clock < own.updates) if own.effect_updates else True)
        algorithm.minimise("effect", effect_loss, due)
        return effect, value_info | effect_info

    # --- V -----------------------------------------------------------------------------------------------------------
    def value_loss(self, algorithm: Algorithm, batch: Batch) -> tuple[Tensor, Info]:
        """Return the mean of seen^2 (G - V(s))^2 (S,), in units of the deviation of G, and the explained variance of V.

        `seen` G is the sum of the recorded rewards. If the episode was cut, this is the square of (recorded sum -
        seen V(s)): V predicts what was recorded. A return of which little was recorded counts little.
        """
        assert batch.return_to_go is not None, "the batch lacks a field of `needs`"
        assert batch.return_seen is not None, "the batch lacks a field of `needs`"
        target, weight = (batch.return_to_go - self.centre) / self.scale, batch.return_seen.square()
        error = target - self.scaled(self.inputs(algorithm, batch.obs, batch.state))
        loss = per_seed_mean(weight * error.square())
        total = per_seed_mean(weight)
        mean = (per_seed_mean(weight * target) / total).unsqueeze(-1)
        variance = per_seed_mean(weight * (target - mean).square())
        explained = 1.0 - loss.detach() / variance.clamp(min=torch.finfo(variance.dtype).tiny)
        return loss, {"value_loss": loss.detach(), "value_explained": explained}

    def scaled(self, x: Tensor) -> Tensor:
        """Return (V - centre) / scale for x (S, B, D); for x (S, B, N, D), the mean over the agents: (S, B)."""
        v: Tensor = self.value(x)
        return v.mean(-1) if v.dim() > 2 else v

    def inputs(self, algorithm: Algorithm, obs: Tensor, state: Tensor | None) -> Tensor:
        """Return what V sees: the state (S, B, D) or (S, B, N, D), or the joint observation (S, B, N * O)."""
        if self.sees_state:
            assert state is not None, "the batch lacks a field of `needs`"
            return state
        return algorithm.joint(obs)

    @torch.no_grad()
    def residual(self, algorithm: Algorithm, batch: Batch) -> Tensor:
        """Return delta = r + gamma * bootstrap * V(s') - V(s) over its standard deviation in the batch: (S, B).

        A batch with one valid row has the deviation 0. It is at least `LEAST_SPREAD` of the mean size of delta.
        """
        now, following = (
            self.centre + self.scale * self.scaled(self.inputs(algorithm, obs, state))
            for obs, state in ((batch.obs, batch.state), (batch.next_obs, batch.next_state))
        )
        delta = batch.reward + algorithm.gamma * batch.bootstrap * following - now
        spread = deviation(delta, batch.valid > 0)
        least = LEAST_SPREAD * per_seed_mean(delta.abs(), batch.valid > 0)
        return delta / spread.maximum(least).clamp(min=1e-8).unsqueeze(-1)

    # --- A -----------------------------------------------------------------------------------------------------------
    def effect_loss(self, algorithm: Algorithm, batch: Batch, o: Tensor) -> tuple[Tensor, Tensor, Info]:
        """Return the mean of (A(o^i, a^i) - delta)^2 over rows with a choice and a successor (S,), and A (S, B, N)."""
        effect = self.rate(o, algorithm.represent(batch.action))[:, 0]
        delta = self.residual(algorithm, batch).unsqueeze(-1).expand_as(effect)
        choice, valid = has_choice(batch.legal), (batch.valid > 0).unsqueeze(-1).expand_as(effect)
        rows = valid if choice is None else valid & choice
        loss = per_seed_mean((effect - delta).square(), rows)
        known = correlation(effect.detach(), delta, rows)
        return loss, effect.detach(), {"effect_loss": loss.detach(), "effect_correlation": known}

    def rate(self, o: Tensor, action: Tensor) -> Tensor:
        """Return A(o, a) for action vectors (S, ..., A): (S, 1, ...)."""
        if isinstance(self.effect, ActionValues):
            every: Tensor = self.effect(o)
            return (every * action.unsqueeze(1)).sum(-1)
        effect: Tensor = self.effect(o, action)
        return effect


def sees_state(spec: Spec) -> bool:
    """Return whether V sees the recorded state. Robots' observations hold it, and are standardised."""
    return spec.state_dim is not None and not spec.has_agent_id


def fields(spec: Spec) -> frozenset[str]:
    """Return the fields of a batch that a `RealisedJudge` reads."""
    return OUTCOME | {"state", "next_state"} if sees_state(spec) else OUTCOME


def stage(optim: Optim, start: int, updates: int = 0) -> Optim:
    """Return the settings of a network that learns from update `start` on: in `updates` updates, or, if 0, to the last.

    A learning rate that decays reaches 0 at the end. Raises ConfigError if it would have decayed before the start.
    """
    if not isinstance(optim.decay_updates, int):
        return optim
    if optim.decay_updates <= start + updates:
        raise ConfigError(
            f"algo.judge: stages of {start + updates} updates leave none for the policy: it learns nothing in "
            f"them, and its rate is 0 after {optim.decay_updates}; make value_updates and effect_updates smaller"
        )
    return replace(optim, decay_updates=updates or optim.decay_updates - start)
