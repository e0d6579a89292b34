"""The three task sizes of the benchmark, with synthetic data: nothing is downloaded, no simulator is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vgm2p.types import Batch, Needs, Randomness, Spec

ROWS = 20_000
PLAIN = Needs()


@dataclass(frozen=True)
class Shape:
    """A task: agents, width of an observation without agent id, actions."""

    agents: int
    obs: int
    actions: int
    discrete: bool

    @property
    def spec(self) -> Spec:
        """The task of this size."""
        return Spec(self.agents, self.obs, self.actions, self.discrete, None, 100, "native", "synthetic")


SHAPES = {
    "hc": Shape(6, 17, 1, False),  # 6-agent HalfCheetah: 17 + one-hot of 6 = 23
    "3m": Shape(3, 39, 9, True),  # SMAC 3m
    "t10": Shape(10, 152, 16, True),  # SMACv2 terran 10 against 10
}


class SyntheticData:
    """A resident dataset of random transitions; `draw` gathers a batch as the real one does."""

    def __init__(self, spec: Spec, rows: int = ROWS, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        self.spec = spec
        columns = {
            "obs": torch.randn(rows + 1, spec.n_agents, spec.obs_dim, generator=generator),
            "action": torch.rand(rows + 1, spec.n_agents, spec.action_dim, generator=generator) * 2 - 1,
            "reward": torch.randn(rows + 1, generator=generator),
            "bootstrap": (torch.rand(rows + 1, generator=generator) > 0.01).float(),
        }
        if spec.discrete:
            columns["legal"] = torch.rand(rows + 1, spec.n_agents, spec.action_dim, generator=generator) > 0.3
            columns["legal"][..., :2] = True  # a choice everywhere: the references have no rule for rows without one
            columns["action"] = columns["action"].masked_fill(~columns["legal"], -2.0).argmax(-1)
        self.columns = {name: column.to(device) for name, column in columns.items()}
        self.rows = rows

    def draw(self, key: Randomness, batch_size: int, needs: Needs = PLAIN) -> Batch:
        """Return a batch with leading axes (S, B); of `needs`, nothing is filled."""
        row = key.integers("batch", (batch_size,), self.rows)
        at = self.columns
        batch = Batch(
            obs=at["obs"][row],
            action=at["action"][row],
            reward=at["reward"][row],
            next_obs=at["obs"][row + 1],
            bootstrap=at["bootstrap"][row],
            valid=torch.ones_like(at["reward"][row]),
        )
        if self.spec.discrete:
            batch.legal, batch.next_legal = at["legal"][row], at["legal"][row + 1]
        return batch
