"""Normaliser by the empirical distribution: every feature becomes uniform on [-1, 1] [MADiff's code: CDFNormalizer]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 1024


class Cdf(nn.Module):
    """y = 2 F(x) - 1 per feature, F the share of the data up to x, linear between the values that the data have.

    A feature without spread passes unchanged; before `fit`, all do. The buffers hold the state, so a checkpoint has it.

    Args:
        dims: number of features D.
        knots: number of quantiles that stand for the data.
    """

    def __init__(self, dims: int, knots: int = KNOTS) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(dims, knots))
        self.register_buffer("ranks", torch.zeros(dims, knots))
        self.knots: Tensor
        self.ranks: Tensor

    def fit(self, quantiles: Tensor) -> None:
        """Take quantiles from 0 to 1 of every feature: (D, K), ascending."""
        self.knots.copy_(quantiles)
        last = torch.searchsorted(self.knots, self.knots, right=True) - 1  # of equal knots, the last has their share
        self.ranks.copy_(last / (self.knots.shape[1] - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (..., D) to [-1, 1]; values outside the data count as their smallest or largest."""
        inside = self.clipped(x)
        at = position(self.knots, columns(inside), right=True)
        return self.unless_constant(2.0 * self.between(inside, at, self.knots, self.ranks) - 1.0, x)

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (..., D) back to features within the range of the data."""
        share = ((y + 1.0) / 2.0).clamp(0.0, 1.0)
        at = position(self.ranks, columns(share))
        return self.unless_constant(self.between(share, at, self.ranks, self.knots), y)

    def clipped(self, x: Tensor) -> Tensor:
        """Clip features (..., D) to the range of the data."""
        return torch.maximum(torch.minimum(x, self.knots[:, -1]), self.knots[:, 0])

    def between(self, x: Tensor, at: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return target at x (..., D), linear between the entries at - 1 and at; `at` is (D, number of rows)."""
        most = source.shape[1] - 1
        low, high = (at - 1).clamp(0, most), at.clamp(0, most)
        (x0, y0), (x1, y1) = (
            [table.gather(1, index).movedim(0, -1).view_as(x) for table in (source, target)] for index in (low, high)
        )
        width = x1 - x0  # 0 only at the ends, where y1 = y0
        share = (x - x0) / torch.where(width > 0, width, 1.0)
        return y0 + share.clamp(0.0, 1.0) * (y1 - y0)

    def unless_constant(self, y: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D), and x in the place of features without spread."""
        return torch.where(self.knots[:, 0] < self.knots[:, -1], y, x)


def columns(x: Tensor) -> Tensor:
    """Return x (..., D) as contiguous columns (D, number of rows), as `searchsorted` reads them."""
    return x.flatten(0, -2).t().contiguous()


def position(table: Tensor, x: Tensor, right: bool = False) -> Tensor:
    """Return the number of entries of the ascending table (D, K) below x (D, R): (D, R); `right`: also equal ones."""
    if torch.compiler.is_exporting():  # ONNX cannot search
        entries, values = table.unsqueeze(1), x.unsqueeze(-1)
        return (entries <= values if right else entries < values).sum(-1)
    return torch.searchsorted(table, x, right=right)
