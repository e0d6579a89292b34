"""VGM2P's update in plain PyTorch: nn.Sequential, `torch.func.jvp`, one forward pass per use, Adam tensor by tensor.

`bench step` compares the product with it. It was written from Algorithm 1, independently of the product: both must have
equal losses before anything is timed. One seed.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vgm2p.algos.vgm2p import VGM2P
from vgm2p.nn.mlp import MLP
from vgm2p.types import Batch, Randomness


def network(in_dim: int, out_dim: int, width: int, depth: int, layer_norm: bool = False) -> nn.Sequential:
    """Return Dense -> GELU (-> LayerNorm), `depth` times, then Dense."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(in_dim, width), nn.GELU(approximate="tanh")]
        layers += [nn.LayerNorm(width, eps=1e-6)] if layer_norm else []
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def copy_weights(stacked: MLP, plain: nn.Sequential, index: tuple[int, ...]) -> None:
    """Copy the weights of one seed (and member) into a plain network."""
    dense = [layer for layer in plain if isinstance(layer, nn.Linear)]
    norms = [layer for layer in plain if isinstance(layer, nn.LayerNorm)]
    pairs = [*zip([*stacked.hidden, stacked.output], dense, strict=True), *zip(stacked.norms, norms, strict=True)]
    for source, target in pairs:
        target.weight.data.copy_(source.weight[index])  # type: ignore[operator]
        target.bias.data.copy_(source.bias[index])  # type: ignore[operator]


class Reference:
    """Same network sizes, hyper-parameters, data and noise as a given one-seed VGM2P with its default switches.

    Args:
        product: the algorithm whose weights and settings are copied.
        width: hidden units.
        depth: hidden layers.
        lr: Adam's learning rate.
    """

    def __init__(self, product: VGM2P, width: int, depth: int, lr: float) -> None:
        self.spec, self.gamma, self.tau, self.omega = product.spec, product.gamma, product.tau, product.omega
        device, A, O = product.obs_mean.device, product.spec.action_dim, product.id_dim  # noqa: E741
        members, normed = product.critic.mlp.lead[1], len(product.critic.mlp.norms) > 0
        self.policy = network(A + 2 + O + 2, A, width, depth).to(device)
        self.critics = nn.ModuleList(network(O + A, 1, width, depth, normed) for _ in range(members)).to(device)
        copy_weights(product.policy.mlp, self.policy, (0,))  # type: ignore[arg-type]
        for m, critic in enumerate(self.critics):
            copy_weights(product.critic.mlp, critic, (0, m))  # type: ignore[arg-type]
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr, foreach=False)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), lr, foreach=False)

    def u(self, x: Tensor, r: Tensor, k: Tensor, o: Tensor, c: Tensor) -> Tensor:
        """Average velocity."""
        condition = F.one_hot(c, 2).to(x.dtype)
        return self.policy(torch.cat([x, r, k, o, condition], dim=-1))  # type: ignore[no-any-return]

    def q(self, critics: nn.ModuleList, o: Tensor, action: Tensor) -> Tensor:
        """Values of all members, (C, B, N)."""
        return torch.stack([critic(torch.cat([o, action], dim=-1)).squeeze(-1) for critic in critics])

    def sample(self, z: Tensor, o: Tensor, legal: Tensor | None) -> Tensor:
        """One step under c = 1, then clip, or the one-hot of the legal argmax."""
        times = torch.zeros_like(z[..., :1])
        a = z - self.u(z, times, times + 1.0, o, torch.ones_like(times[..., 0], dtype=torch.int64))
        if legal is None:
            return a.clamp(-1.0, 1.0)
        return F.one_hot(a.masked_fill(~legal, -torch.inf).argmax(-1), a.shape[-1]).to(a.dtype)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Do one gradient step on a batch with leading axes (1, B)."""
        identity = torch.eye(self.spec.n_agents, device=batch.obs.device).expand(*batch.obs.shape[1:-1], -1)
        o = torch.cat([batch.obs[0], identity], dim=-1)
        next_oid = torch.cat([batch.next_obs[0], identity], dim=-1)
        action = batch.action[0]
        if self.spec.discrete:
            action = F.one_hot(action, self.spec.action_dim).float()
        legal = None if batch.legal is None else batch.legal[0]
        next_legal = None if batch.next_legal is None else batch.next_legal[0]
        z = key.normal("imagine", (action.shape[0], 2, *action.shape[1:]))[0]
        q_loss = self._critic_step(batch, o, action, next_oid, next_legal, z[:, 0])
        with torch.no_grad():
            baseline = self.sample(z[:, 1], o, legal)
            advantage = self.q(self.critics, o, action).mean(0) - self.q(self.critics, o, baseline).mean(0)
            c = (advantage >= 0).long()
        policy_loss = self._policy_step(o, action, c, key)
        with torch.no_grad():
            for target, online in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                target.mul_(1.0 - self.tau).add_(online, alpha=self.tau)
        return {"critic_loss": q_loss, "policy_loss": policy_loss}

    def _critic_step(
        self, batch: Batch, o: Tensor, action: Tensor, next_oid: Tensor, next_legal: Tensor | None, z: Tensor
    ) -> Tensor:
        with torch.no_grad():
            next_q = self.q(self.targets, next_oid, self.sample(z, next_oid, next_legal)).mean(0)
            target = batch.reward[0] + self.gamma * batch.bootstrap[0] * next_q.mean(-1)
        loss = (self.q(self.critics, o, action).mean(-1) - target).square().mean()
        self.critic_adam.zero_grad()
        torch.autograd.backward(loss)
        self.critic_adam.step()
        return loss.detach()

    def _policy_step(self, o: Tensor, action: Tensor, c: Tensor, key: Randomness) -> Tensor:
        shape = action.shape
        drawn = key.uniform("times", (*shape[:-1], 2))[0]
        k, r = drawn.max(-1, keepdim=True).values, drawn.min(-1, keepdim=True).values
        eps = key.normal("flow_noise", tuple(shape))[0]
        x, v = (1 - k) * action + k * eps, eps - action
        with torch.no_grad():
            v = self.omega * v + (1 - self.omega) * self.u(x, k, k, o, torch.ones_like(c))
        u, dudk = torch.func.jvp(  # type: ignore[misc]
            lambda x_, r_, k_: self.u(x_, r_, k_, o, c), (x, r, k), (v, torch.zeros_like(r), torch.ones_like(k))
        )
        loss: Tensor = (u - (v - (k - r) * dudk).detach()).square().mean()
        self.policy_adam.zero_grad()
        torch.autograd.backward(loss)
        self.policy_adam.step()
        return loss.detach()
