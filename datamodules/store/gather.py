"""Make a batch from rows of a dataset. The same code serves rows in memory and rows on disk."""

from __future__ import annotations

import torch
from torch import Tensor

from vgm2p.datamodules.store.rows import RowSource
from vgm2p.datamodules.store.table import PER_TRANSITION, TransitionTable
from vgm2p.types import Batch, Needs


def gather(source: RowSource, table: TransitionTable, index: Tensor, needs: Needs) -> Batch:
    """Return the transitions `index` (..., S, B) as a batch with the fields in `needs`.

    Call `table.provide(needs, gamma)` first. Nothing here waits for the device.
    """
    pair = table.take("rows", index)  # (..., S, B, 2): the row and its successor
    make = _with_window if needs.ahead else _with_past
    batch = make(source, table, pair, table.take("scalars", index), needs)
    row, following = pair.unbind(-1)
    if "next_action" in needs.fields:
        batch.valid = table.take("valid_with_next_action", index)
        if batch.next_action is None:
            batch.next_action = source.actions(following)
    if "state" in needs.fields:
        batch.state = source.states(row)
    if "next_state" in needs.fields:
        batch.next_state = source.states(following)
    for name in PER_TRANSITION & needs.fields:
        setattr(batch, name, table.take(name, index))
    return batch


def _with_past(source: RowSource, table: TransitionTable, pair: Tensor, scalars: Tensor, needs: Needs) -> Batch:
    """Return a batch with the `history` - 1 steps before each row."""
    row, (reward, bootstrap, valid) = pair[..., 0], scalars.unbind(-1)
    obs, next_obs = source.observations(pair).unbind(-3)
    batch = Batch(obs, source.actions(row), reward, next_obs, bootstrap, valid)
    if source.spec.discrete:
        batch.legal, batch.next_legal = source.legal(pair).unbind(-3)
    if needs.history > 1:
        back = torch.arange(needs.history - 1, 0, -1, device=row.device)  # oldest first
        before = (row.unsqueeze(-1) - back).clamp(min=0)
        batch.past_obs, batch.past_action = source.observations(before), source.actions(before)
        batch.past_seen = (table.take("t", row).unsqueeze(-1) >= back).to(reward.dtype)
    return batch


def _with_window(source: RowSource, table: TransitionTable, pair: Tensor, scalars: Tensor, needs: Needs) -> Batch:
    """Return a batch with windows of L = history + ahead steps. A row and its successor are taken from its window."""
    row, (reward, bootstrap, valid) = pair[..., 0], scalars.unbind(-1)
    axis, now = row.dim(), needs.history - 1
    offset = torch.arange(-now, needs.ahead + 1, device=row.device)
    t, left = (table.take(name, row).unsqueeze(-1) for name in ("t", "left"))
    inside = torch.maximum(torch.minimum(offset, left), -t)
    window = row.unsqueeze(-1) + inside  # (..., S, B, L)
    obs, action = source.observations(window), source.actions(window)
    done = table.take("has_action", window)
    action = action.masked_fill(~done.view(*done.shape, *(1 for _ in action.shape[done.dim() :])), 0)
    batch = Batch(obs.select(axis, now), action.select(axis, now), reward, obs.select(axis, now + 1), bootstrap, valid)
    batch.next_action = action.select(axis, now + 1)
    batch.window_obs, batch.window_action = obs, action
    batch.window_real = (offset == inside).to(reward.dtype)
    if source.spec.discrete:
        batch.window_legal = legal = source.legal(window)
        batch.legal, batch.next_legal = legal.select(axis, now), legal.select(axis, now + 1)
    return batch
