"""Slow references in float64: one row at a time, plain formulas, without the program's own flow or mixing code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def plain_mlp(mlp, x, s=0, member=None):
    """Apply network s (and member) of a stacked MLP to one vector."""
    pick = (s,) if member is None else (s, member)
    h = x
    for i, layer in enumerate(mlp.hidden):
        z = layer.weight[pick] @ h + layer.bias[pick]
        h = F.relu(z) if mlp.shape.activation == "relu" else F.gelu(z, approximate="tanh")
        if len(mlp.norms):
            norm = mlp.norms[i]
            h = F.layer_norm(h, h.shape, norm.weight[pick], norm.bias[pick], norm.eps)
    return mlp.output.weight[pick] @ h + mlp.output.bias[pick]


def encode(algorithm, obs, agent):
    x = (obs - algorithm.obs_mean) / algorithm.obs_std
    if algorithm.spec.has_agent_id:
        return x
    identity = torch.zeros(algorithm.spec.n_agents, dtype=x.dtype)
    identity[agent] = 1.0
    return torch.cat([x, identity])


def one_hot(index, count, dtype):
    row = torch.zeros(count, dtype=dtype)
    row[int(index)] = 1.0
    return row


def vector(algorithm, action):
    if not algorithm.spec.discrete:
        return action
    return one_hot(action, algorithm.spec.action_dim, algorithm.obs_mean.dtype)


def rows(batch):
    _, B, N = batch.obs.shape[:3]
    return [(b, i) for b in range(B) for i in range(N)]


def choices(batch):
    """The rows with more than one legal action."""
    return [(b, i) for b, i in rows(batch) if batch.legal is None or batch.legal[0, b, i].sum() > 1]


def meanflow_row(algorithm, a, eps, k, r, oid, c, velocity, s=0, member=None):
    """|| u - (v - (k - r) du/dk) ||^2 / A for one row, derivative by torch.func.jvp of the plain network."""
    tail = [oid] if c is None else [oid, c]

    def u(x, r, k):
        return plain_mlp(algorithm.policy.mlp, torch.cat([x, r, k, *tail]), s, member)

    x = (1 - k) * a + k * eps
    value, derivative = torch.func.jvp(u, (x, r, k), (velocity, torch.zeros_like(r), torch.ones_like(k)))
    target = (velocity - (k - r) * derivative).detach()
    return ((value - target) ** 2).mean()


def gaussian_nll(action, head):
    total = 0.0
    A = len(action)
    for j in range(A):
        mean, log_std = head[j], head[A + j].clamp(-5.0, 2.0)
        total = total + 0.5 * ((action[j] - mean) / log_std.exp()) ** 2 + log_std + 0.5 * math.log(2 * math.pi)
    return total / A


def td_reference(q, reward, following, bootstrap, valid, gamma, mixer, loss=lambda residual: residual**2):
    """Eq. 13 with loops: q (C, B, N), following (B, N)."""
    C, B, N = q.shape
    total, count = 0.0, 0.0
    for b in range(B):
        count += float(valid[b])
        for e in range(C):
            y = [gamma * bootstrap[b] * following[b, i] for i in range(N)]
            if mixer == "independent":
                square = sum(loss(q[e, b, i] - reward[b] - y[i]) for i in range(N)) / N
            elif mixer == "literal":
                square = loss(sum(q[e, b, i] - reward[b] - y[i] for i in range(N)))
            else:
                scale = 1.0 / N if mixer == "mean" else 1.0
                square = loss(scale * sum(q[e, b]) - reward[b] - scale * sum(y))
            total = total + valid[b] * square / C
    return total / count
