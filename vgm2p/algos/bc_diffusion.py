"""BC(Diffusion): behaviour cloning with a diffusion policy (baseline of VGM2P Table 1, arXiv 2604.08174).

VGM2P gives no details of it. Here it is DDPM (arXiv 2006.11239) on the agent's action, with the network, the inputs and
the treatment of actions of BC(FM). It acts in 10 DDIM steps (arXiv 2010.02502). See docs/algorithms/bc_diffusion.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.flows.diffusion import Schedule
from vgm2p.flows.noise import start_noise, step_noise
from vgm2p.groups import Net, Optim
from vgm2p.nn.policy import Velocity
from vgm2p.types import Acting, Batch, Randomness, Spec, has_choice, per_seed_mean


class BCDiffusion(Algorithm):
    r"""min_theta E || eps_theta(x_k, k, o) - eps ||^2, x_k = sqrt(abar_k) a + sqrt(1 - abar_k) eps, k ~ U{0, ..., K-1}.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the network.
        optim: settings of Adam.
        history: number of steps that an agent sees, including the present step.
        levels: number K of noise levels.
        sampler: `ddim` has no further noise after the start noise; `ddpm` adds noise in every step.
        acting: scale and sharing of the start noise, number of sampling steps (at most K).
    """

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        history: int = 1,
        levels: int = 100,
        sampler: Literal["ddim", "ddpm"] = "ddim",
        acting: Acting = Acting(steps=10),
    ) -> None:
        super().__init__(spec, seeds, history)
        self.schedule, self.sampler = Schedule(levels), sampler
        self.schedule.grid(acting.steps)  # too many steps are refused before training
        self.act_by(acting)
        self.policy = Velocity(len(self.seeds), self.id_dim, spec.action_dim, 0, net)
        self.make_optimiser("policy", [self.policy], optim)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one gradient step on DDPM's simple loss (Eq. 14)."""
        o, action = self.encode(batch.obs, self.past(batch)), self.represent(batch.action)
        loss = self.policy_loss(o, action, key, batch.legal)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, o: Tensor, action: Tensor, key: Randomness, legal: Tensor | None = None) -> Tensor:
        """DDPM Eq. 14 per seed (S,), over rows with a choice: o (S, B, N, O), action vectors, legal (S, B, N, A)."""
        x0 = 2.0 * action - 1.0 if self.spec.discrete else action  # one-hots in {-1, 1}
        level = key.integers("level", tuple(action.shape[1:-1]), self.schedule.levels)
        eps = key.normal("flow_noise", tuple(action.shape[1:])).to(action.dtype)
        x = self.schedule.diffuse(x0, eps, level)
        k = level.unsqueeze(-1).to(action.dtype) / self.schedule.levels
        error, choice = (self.policy(x, k, o, None) - eps).square(), has_choice(legal)
        return per_seed_mean(error, None if choice is None else choice.unsqueeze(-1).expand_as(error))

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Remove the noise step by step. Clip the result (discrete: take the legal argmax)."""
        levels, width = self.schedule.levels, self.spec.action_dim

        def eps_of(x: Tensor, level: int) -> Tensor:
            eps: Tensor = self.policy(x, x.new_full((1,), level / levels), o, None)
            return eps

        def noise_at(level: int) -> Tensor:
            return step_noise(key, o, width, acting, level)

        z = start_noise(key, o, width, acting)
        noise = noise_at if self.sampler == "ddpm" else None
        x = self.schedule.sample(eps_of, z, self.schedule.grid(acting.steps), noise=noise)
        return self.to_env(self.to_action(x, legal))
