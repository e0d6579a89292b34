"""Inputs and outputs of the networks: observations with memory and the agent's one-hot, actions as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vgm2p.nn.fast.kernels import one_hot
from vgm2p.types import Acting, Batch, Randomness, Spec


class Encoding(nn.Module):
    """Base of `Algorithm`: encodes observations, actions and memory for one task (docs/algorithms/history.md).

    Args:
        spec: the task.
        seeds: training seeds.
        history: number H of steps that an agent sees, including the present step. Networks get the present observation
            and the H - 1 observations and actions before it, concatenated. 1 means no memory.
    """

    remembers_actions: ClassVar[bool] = True  # whether a memory holds actions, too

    def __init__(self, spec: Spec, seeds: Sequence[int], history: int) -> None:
        super().__init__()
        self.spec, self.seeds, self.history = spec, tuple(seeds), history
        self.register_buffer("obs_mean", torch.zeros(spec.obs_dim))
        self.register_buffer("obs_std", torch.ones(spec.obs_dim))
        self.obs_mean: Tensor
        self.obs_std: Tensor

    @property
    def id_dim(self) -> int:
        """Width of an encoded observation: memory, observation, and the agent's one-hot."""
        identity = 0 if self.spec.has_agent_id else self.spec.n_agents
        return (self.history - 1) * self.frame_dim + self.spec.obs_dim + identity

    @property
    def frame_dim(self) -> int:
        """Width of one remembered step: the observation without the agent's one-hot, and the action vector."""
        return self.spec.obs_dim - (self.spec.n_agents if self.spec.has_agent_id else 0) + self.spec.action_dim

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation (O,) by which observations are standardised. Checkpoints hold them."""
        self.obs_mean.copy_(mean)
        self.obs_std.copy_(std)

    def encode(self, obs: Tensor, past: Tensor | None = None) -> Tensor:
        """Concatenate past (..., N, P * frame_dim), standardised obs (..., N, O) and the agent's one-hot.

        The one-hot is added only if the view has none. Returns (..., N, id_dim).
        """
        x = (obs - self.obs_mean) / self.obs_std
        parts = [x] if past is None else [past, x]
        if not self.spec.has_agent_id:
            parts.append(torch.eye(self.spec.n_agents, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], -1))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else x

    def joint(self, obs: Tensor) -> Tensor:
        """Concatenate the standardised observations of all agents: (S, ..., N, O) -> (S, ..., N * O)."""
        return ((obs - self.obs_mean) / self.obs_std).flatten(-2)

    def past(self, batch: Batch) -> Tensor | None:
        """Return the memory at `batch.obs`, oldest step first: (S, B, N, P * frame_dim); None if history = 1."""
        if self.history == 1:
            return None
        assert batch.past_obs is not None, "the batch was drawn without history"
        assert batch.past_action is not None
        assert batch.past_seen is not None
        memory: Tensor = self.recall(batch.obs, batch.past_obs, batch.past_action, batch.past_seen)
        return memory

    def recall(self, obs: Tensor, past_obs: Tensor, past_action: Tensor, past_seen: Tensor) -> Any:
        """Return the memory that `act` has at `obs` (S, B, N, O) after the P = history - 1 steps before it.

        Args:
            obs: the present observations; a memory of another kind than this one may need them.
            past_obs: (S, B, P, N, O), oldest first.
            past_action: (S, B, P, N, A) or (S, B, P, N), the actions at `past_obs`.
            past_seen: (S, B, P), 0 before the start of the episode, else 1.
        """
        frames = self._frame(past_obs, past_action) * past_seen[..., None, None]
        return frames.transpose(2, 3).flatten(3)

    def advance(self, past: Tensor | None, obs: Tensor, action: Tensor) -> Tensor | None:
        """Return the memory one step later: the oldest step is dropped, (obs, action) is appended."""
        if past is None:
            return None
        return torch.cat([past[..., self.frame_dim :], self._frame(obs, action)], dim=-1)

    def amend(self, memory: Tensor | None, action: Tensor) -> Tensor | None:
        """Replace the last action in the memory, if the executed action is not what `act` returned (exploration)."""
        if memory is None:
            return None
        return torch.cat([memory[..., : -self.spec.action_dim], self.represent(action)], dim=-1)

    def _frame(self, obs: Tensor, action: Tensor) -> Tensor:
        seen = ((obs - self.obs_mean) / self.obs_std)[..., : self.frame_dim - self.spec.action_dim]
        return torch.cat([seen, self.represent(action)], dim=-1)

    def encode_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the encoded o and o' of a batch, each with its past: (S, B, N, id_dim)."""
        past = self.past(batch)
        return self.encode(batch.obs, past), self.encode(batch.next_obs, self.advance(past, batch.obs, batch.action))

    def represent(self, action: Tensor) -> Tensor:
        """Return actions as vectors (..., N, A): continuous ones unchanged, indices (..., N) as one-hots in {0, 1}."""
        if not self.spec.discrete:
            return action
        return one_hot(action, self.spec.action_dim, self.obs_mean.dtype)

    def to_action(self, x: Tensor, legal: Tensor | None) -> Tensor:
        """Turn a generated vector (..., A) into an action vector: clip to [-1, 1], or one-hot of the legal argmax."""
        if not self.spec.discrete:
            return x.clamp(-1.0, 1.0)
        return one_hot(masked(x, legal).argmax(-1), x.shape[-1], x.dtype)

    def decide(self, x: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Turn a generated vector (..., A) into an environment action: `to_action`, as `to_env` gives it.

        With `acting.sample`, x holds probabilities of discrete actions, and the action is drawn from them.
        """
        if acting.sample:
            return drawn(x.clamp(min=0.0).log(), legal, key, "choice")
        return self.to_env(self.to_action(x, legal))

    def to_env(self, x: Tensor) -> Tensor:
        """Turn action vectors (..., A) into environment actions: unchanged if continuous, indices (...) if discrete."""
        return x.argmax(-1) if self.spec.discrete else x


def drawn(log_p: Tensor, legal: Tensor | None, key: Randomness, purpose: str) -> Tensor:
    """Draw indices (S, ...) of legal actions from logits or log probabilities (S, ..., A), by the Gumbel-max trick."""
    uniform = key.uniform(purpose, tuple(log_p.shape[1:])).to(log_p.dtype)
    return masked(log_p - torch.log(-torch.log(uniform.clamp(1e-12, 1.0 - 1e-7))), legal).argmax(-1)


def masked(x: Tensor, legal: Tensor | None) -> Tensor:
    """Return scores (..., A) with -inf for illegal actions."""
    return x if legal is None else x.masked_fill(~legal, -torch.inf)
