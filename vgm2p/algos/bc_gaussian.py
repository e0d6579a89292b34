"""BC(Gaussian): behaviour cloning by maximum likelihood (VGM2P Sec. 5, first baseline).

Continuous actions: N(mu(o), sigma(o)^2), with log sigma clamped to [-5, 2]; the policy acts by the mean. Discrete
actions: a categorical distribution over the legal actions, in the loss and when acting. Network size, optimiser and
number of updates are those of VGM2P.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from vgm2p.algos.contract import Algorithm
from vgm2p.algos.encoding import drawn, masked
from vgm2p.algos.parts import gaussian_nll, log_softmax_at
from vgm2p.groups import Net, Optim
from vgm2p.nn.mlp import MLP
from vgm2p.nn.policy import LOG_STD_MAX, LOG_STD_MIN
from vgm2p.types import Acting, Batch, Randomness, Spec, has_choice, per_seed_mean


class BCGaussian(Algorithm):
    r"""min_theta E[-log pi_theta(a^i | o^i)], with parameters that all agents share.

    Args:
        spec: the task.
        seeds: training seeds.
        net: size of the network.
        optim: settings of Adam.
        history: number of steps that an agent sees, including the present step.
        decode: for discrete actions: `argmax` removes the data's exploration noise, `sample` reproduces it.
    """

    starts_from_noise = False

    def __init__(
        self,
        spec: Spec,
        seeds: Sequence[int],
        *,
        net: Net = Net(),
        optim: Optim = Optim(),
        history: int = 1,
        decode: Literal["argmax", "sample"] = "argmax",
    ) -> None:
        super().__init__(spec, seeds, history)
        if spec.discrete:
            self.has_probabilities = True
            self.act_by(Acting(noise=0.0, sample=decode == "sample"))
        outputs = spec.action_dim if spec.discrete else 2 * spec.action_dim
        self.policy = MLP((len(self.seeds),), self.id_dim, outputs, net)
        self.make_optimiser("policy", [self.policy], optim)

    @classmethod
    def unread(cls, discrete: bool) -> tuple[str, ...]:
        """Return `decode` for continuous actions, whose policy acts by the mean."""
        return () if discrete else ("decode",)

    def update(self, batch: Batch, key: Randomness) -> dict[str, Tensor]:
        """Take one maximum-likelihood step."""
        loss = self.policy_loss(batch)
        self.minimise("policy", loss)
        return {"policy_loss": loss.detach()}

    def policy_loss(self, batch: Batch) -> Tensor:
        """Return the negative log-likelihood per seed (S,); for discrete actions, of rows with a choice."""
        head = self.policy(self.encode(batch.obs, self.past(batch)))
        if self.spec.discrete:
            log_likelihood = log_softmax_at(masked(head, batch.legal), batch.action)
            return per_seed_mean(-log_likelihood, has_choice(batch.legal))
        mean, log_std = self.gaussian(head)
        return per_seed_mean(gaussian_nll(batch.action, mean, log_std))

    def gaussian(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """Split network output (..., 2A) into the mean and the clamped log standard deviation."""
        mean, log_std = head.chunk(2, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def execute(self, o: Tensor, legal: Tensor | None, key: Randomness, acting: Acting) -> Tensor:
        """Return the clipped mean; discrete: the most likely legal action, or a sample (Gumbel-max trick)."""
        head = self.policy(o)
        if not self.spec.discrete:
            return self.to_action(self.gaussian(head)[0], None)
        return drawn(head, legal, key, "act") if acting.sample else masked(head, legal).argmax(-1)
