"""Conservative penalties: log-sum-exp of Q over all actions, minus Q of the stored action (CQL(H), Eq. 4).

CQL: Kumar et al., arXiv 2006.04779. If the team's value is the sum of the agents' values, its log-sum-exp over joint
actions is the sum of the agents' log-sum-exps. Therefore each agent's penalty is computed separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vgm2p.algos.encoding import masked
from vgm2p.types import Randomness


def legal_penalty(q: Tensor, chosen: Tensor, legal: Tensor | None) -> Tensor:
    """Return log sum_a exp Q(o, a) - Q(o, a_data) over legal a: (S, C, B, N). With one legal action it is exactly 0.

    Args:
        q: (S, C, B, N, A) values of all actions.
        chosen: (S, C, B, N) values of the stored actions, which are legal.
        legal: (S, B, N, A) bool; None: all actions are legal.
    """
    return masked(q, None if legal is None else legal.unsqueeze(1)).logsumexp(-1) - chosen


def sampled_penalty(values: Tensor, chosen: Tensor, log_density: Tensor, temperature: float = 1.0) -> Tensor:
    """Return T log sum_k exp((Q(o, a_k) - log p(a_k)) / T) - Q(o, a_data), by importance sampling: (S, C, B, N).

    The number K of candidates only adds a constant, which has no gradient.

    Args:
        values: (S, C, B, K, N) values of the candidates.
        chosen: (S, C, B, N) values of the stored actions.
        log_density: (S, B, K, N) log densities log p of the candidates.
        temperature: T; 1 in CQL.
    """
    corrected = (values - log_density.unsqueeze(1)) / temperature
    return temperature * corrected.logsumexp(3) - chosen


def candidates(now: Tensor, following: Tensor, samples: int, sigma: float, key: Randomness) -> tuple[Tensor, Tensor]:
    """Draw candidates for `sampled_penalty`: uniform ones, and ones around the policy's actions at o and at o'.

    The density is that of the Gaussian before the clipping to [-1, 1], so it has a small error at the bounds.

    Args:
        now: (S, B, N, A) actions of the policy at o, without gradient.
        following: (S, B, N, A) actions of the policy at o'; they are used as candidates at o.
        samples: number of candidates of each of the three kinds.
        sigma: standard deviation of the Gaussian noise.
        key: random numbers of this update.

    Returns:
        Actions (S, B, 3 * samples, N, A) and their log densities (S, B, 3 * samples, N).
    """
    _, rows, agents, width = now.shape
    shape = (rows, samples, agents, width)
    uniform = 2.0 * key.uniform("cql_uniform", shape).to(now.dtype) - 1.0
    actions, log_density = [uniform], [torch.full_like(uniform[..., 0], -width * math.log(2.0))]
    for purpose, mean in (("cql_now", now), ("cql_next", following)):
        z = key.normal(purpose, shape).to(now.dtype)
        actions.append((mean.unsqueeze(2) + sigma * z).clamp(-1.0, 1.0))
        log_density.append(-0.5 * z.square().sum(-1) - width * (math.log(sigma) + 0.5 * math.log(2.0 * math.pi)))
    return torch.cat(actions, 2), torch.cat(log_density, 2)


def rate(critic: Callable[[Tensor, Tensor], Tensor], o: Tensor, actions: Tensor) -> Tensor:
    """Return the critic's values (S, C, B, K, N) of K actions (S, B, K, N, A) per observation o (S, B, N, id_dim)."""
    return critic(o.unsqueeze(2).expand(*actions.shape[:-1], -1), actions)


def joint_actions(action: Tensor, legal: Tensor, samples: int, key: Randomness) -> Tensor:
    """Draw joint actions: each agent draws uniformly from its legal actions. The stored joint action comes last.

    Args:
        action: (S, B, N) indices of the stored actions.
        legal: (S, B, N, A) bool.
        samples: number K of random joint actions.
        key: random numbers of this update.

    Returns:
        Indices (S, B, K + 1, N).
    """
    _, rows, agents, count = legal.shape
    scores = key.uniform("cql_joint", (rows, samples, agents, count))
    drawn = scores.masked_fill(~legal.unsqueeze(2), -1.0).argmax(-1)
    return torch.cat([drawn, action.unsqueeze(2)], 2)
