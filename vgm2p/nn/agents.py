"""Networks that agents do not share: one multilayer perceptron per agent, computed together."""

from __future__ import annotations

from torch import Tensor

from vgm2p.groups import Net
from vgm2p.nn.mlp import MLP


class PerAgent(MLP):
    """An `MLP` per agent: rows (S, ..., N, in) of agent i go through the networks of agent i.

    Inputs and outputs have the shapes of an `MLP` that all agents share. So a policy or a critic works with either. The
    parameters are (S, N, ...), or (S, N * C, ...) with C members: those of agent 0 first.

    Args:
        lead: (S,) or (S, C), as in `MLP`.
        agents: number N of agents.
        in_dim: width of the input.
        out_dim: width of the output.
        net: size of the networks.
        layer_norm: whether a LayerNorm follows every hidden layer.
    """

    def __init__(
        self, lead: tuple[int, ...], agents: int, in_dim: int, out_dim: int, net: Net, layer_norm: bool = False
    ) -> None:
        members = lead[1] if len(lead) > 1 else 1
        super().__init__((lead[0], agents * members), in_dim, out_dim, net, layer_norm)
        self.lead, self.members, self.agents = lead, members, agents

    def _rows(self, x: Tensor) -> Tensor:
        """Make a group of rows of each agent: (S, ..., N, in) -> (S * N, R, in)."""
        return x.movedim(-2, 1).reshape(x.shape[0] * self.agents, -1, x.shape[-1])

    def _leave(self, y: Tensor, x: Tensor, member: int | None = None) -> Tensor:
        lead = self.lead if member is None else self.lead[:1]
        return y.reshape(lead[0], self.agents, *lead[1:], *x.shape[1:-2], y.shape[-1]).movedim(1, -2)


def network(
    lead: tuple[int, ...], agents: int | None, in_dim: int, out_dim: int, net: Net, layer_norm: bool = False
) -> MLP:
    """Return an `MLP` that all agents share, or, if `agents` is their number, one per agent (`PerAgent`)."""
    if agents is None:
        return MLP(lead, in_dim, out_dim, net, layer_norm)
    return PerAgent(lead, agents, in_dim, out_dim, net, layer_norm)
