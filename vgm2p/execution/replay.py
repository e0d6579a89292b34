"""What a policy would do in the recorded situations: its actions at every row of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.rng import UpdateKey
from vgm2p.types import Acting, Seen

SLOTS = 512  # episodes that are walked through together

OnStep = Callable[[int, int], None]  # steps that are done, and their total


def replay(
    algorithm: Algorithm,
    store: TransitionStore,
    key: UpdateKey,
    draws: int,
    acting: Acting | None = None,
    on_step: OnStep = lambda done, total: None,
) -> Tensor:
    """Return the actions that a policy draws at every row of a dataset, final observations included.

    Args:
        algorithm: the policy, S seeds.
        store: the dataset, R rows.
        key: random numbers; each call of the policy has an index of its own.
        draws: K actions per row.
        acting: a way to act other than the policy's own.
        on_step: called with the steps done and their total; it may raise to end the work.

    Returns:
        (S, R, K, N, A) float32 in [-1, 1], or (S, R, K, N) int16, on the policy's device.
    """
    spec, device = algorithm.spec, algorithm.obs_mean.device
    S, R, N = len(algorithm.seeds), len(store.dataset.steps["t"]), spec.n_agents
    table = torch.zeros(
        (S, R, draws, N) if spec.discrete else (S, R, draws, N, spec.action_dim),
        dtype=torch.int16 if spec.discrete else torch.float32,
        device=device,
    )
    for rows, drawn in acts(algorithm, store, key, draws, acting, on_step):
        table.index_copy_(1, torch.from_numpy(rows).to(device), drawn.to(table.dtype))
    return table


def acts(
    algorithm: Algorithm,
    store: TransitionStore,
    key: UpdateKey,
    draws: int,
    acting: Acting | None = None,
    on_step: OnStep = lambda done, total: None,
    episodes: NDArray[np.int64] | None = None,
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield numbers of rows (R',) and the actions that a policy draws there, (S, R', K, N, A) or (S, R', K, N).

    Episodes are walked through from their first row, so that policies of every kind of memory can act. What an agent
    remembers is what was recorded: the data's action takes the place of its own.

    Args: as `replay`, and `episodes`: numbers of the episodes to walk through; None: all.
    """
    S, device = len(algorithm.seeds), algorithm.obs_mean.device
    walks = list(_walks(store, episodes))
    total, done = sum(int(rows.max()) for _, rows in walks), 0
    for start, rows in walks:
        memory = None
        for t in range(int(rows.max())):
            on_step(done, total)
            seen = _seen(store, start, rows, t, S, device)
            with torch.inference_mode():
                actions, after = [], None
                for k in range(draws):
                    action, later = algorithm.act(seen, memory, key.at(done * draws + k), acting)
                    actions.append(action)
                    after = later if k == 0 else after
                recorded = store.rows.actions(_rows(store, start, rows, t)).to(device)
                memory = algorithm.amend(after, recorded.expand(S, *recorded.shape))
            here = np.flatnonzero(rows > t)
            yield start[here] + t, torch.stack(actions, 2).clone()[:, torch.from_numpy(here).to(device)]
            done += 1
    on_step(total, total)


def _walks(
    store: TransitionStore, episodes: NDArray[np.int64] | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield first row and number of rows of up to SLOTS episodes; long ones together, so that few wait for the end."""
    table = store.dataset.episodes
    start, rows = (
        (table[name] if episodes is None else table[name][episodes]).astype(np.int64) for name in ("start", "rows")
    )
    order = np.argsort(-rows, kind="stable")
    order = order[rows[order] > 0]
    for first in range(0, len(order), SLOTS):
        chosen = order[first : first + SLOTS]
        yield start[chosen], rows[chosen]


def _rows(store: TransitionStore, start: NDArray[np.int64], rows: NDArray[np.int64], t: int) -> Tensor:
    """Return row t of every episode, the last one where it has ended: (E,)."""
    return torch.from_numpy(start + np.minimum(t, rows - 1)).to(store.rows.device)


def _seen(
    store: TransitionStore, start: NDArray[np.int64], rows: NDArray[np.int64], t: int, seeds: int, device: torch.device
) -> Seen:
    """Return what agents saw at step t, with the reward of the step before: (S, E, ...)."""
    now = _rows(store, start, rows, t)
    reward = np.zeros(len(start), np.float32)
    if t:
        reward = store.dataset.steps["rewards"][start + np.minimum(t, rows - 1) - 1].astype(np.float32)
    legal = store.rows.legal(now).to(device)[None] if store.spec.discrete else None
    active = torch.from_numpy(rows > t)[None].to(device)
    obs = store.rows.observations(now).to(device)[None]
    return Seen(obs, legal, torch.from_numpy(reward)[None].to(device), active).expand(seeds)
