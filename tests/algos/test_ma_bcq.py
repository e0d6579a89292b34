"""MA-BCQ: losses against a slow float64 reference; no influence of illegal or excluded actions; thresholds."""

import math

import pytest
import torch

from tests.algos import reference as ref
from tests.algos.cases import F64, SPECS, close, make
from tests.support import random_batch
from vgm2p.algos.ma_bcq import MABCQ
from vgm2p.algos.parts import CriticSettings
from vgm2p.errors import ConfigError
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Seen

SPEC = SPECS["discrete"]


def shifted(**options):
    """An algorithm whose target critic differs from the online one."""
    algorithm = make(MABCQ, "discrete", gamma=0.9, **options)
    with torch.no_grad():
        for p in algorithm.target_critic.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=F64))
    return algorithm


def values(algorithm, critic, obs, agent):
    """The values of all actions by every member: a list of (A,)."""
    members = algorithm.critic.mlp.lead[1]
    return [ref.plain_mlp(critic.mlp, ref.encode(algorithm, obs, agent), 0, e) for e in range(members)]


def huber(residual):
    return 0.5 * residual**2 if abs(residual) < 1.0 else abs(residual) - 0.5


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("loss", [None, huber])
@pytest.mark.parametrize(("mixer", "threshold"), [("sum", 0.3), ("mean", 0.8), ("independent", 0.0), ("sum", 1.0)])
def test_critic_loss(mixer, threshold, loss, members, source):
    algorithm = shifted(mixer=mixer, threshold=threshold, critic=CriticSettings(members), huber=loss is huber)
    batch = random_batch(SPEC, source=source, dtype=F64)
    found, _ = algorithm.critic_loss(batch, *algorithm.encode_pair(batch), UpdateKey([0]))
    q, following = torch.zeros(members, 8, 3, dtype=F64), torch.zeros(8, 3, dtype=F64)
    for b, i in ref.rows(batch):
        for e, rated in enumerate(values(algorithm, algorithm.critic, batch.obs[0, b, i], i)):
            q[e, b, i] = rated[batch.action[0, b, i]]
        following[b, i] = next_value(algorithm, batch.next_obs[0, b, i], batch.next_legal[0, b, i], i, threshold)
    parts = (q, batch.reward[0], following, batch.bootstrap[0], batch.valid[0], 0.9, mixer)
    close(found, ref.td_reference(*parts, **({} if loss is None else {"loss": loss})))


def next_value(algorithm, obs, legal, agent, threshold):
    """Qbar(a*), a* = argmax Q over the actions with G(a) >= threshold max G, G renormalised over the legal ones."""
    weight = ref.plain_mlp(algorithm.behaviour, ref.encode(algorithm, obs, agent)).exp() * legal
    often = weight / weight.sum()
    kept = [a for a in range(len(legal)) if legal[a] and often[a] / often.max() >= threshold]
    online, target = (sum(values(algorithm, each, obs, agent)) for each in (algorithm.critic, algorithm.target_critic))
    return target[max(kept, key=lambda a: online[a].item())] / algorithm.critic.mlp.lead[1]


@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("penalty", [0.0, 0.25])
def test_clone_loss_and_share_of_kept_actions(penalty, source):
    algorithm = make(MABCQ, "discrete", threshold=0.7, logit_penalty=penalty)
    batch = random_batch(SPEC, source=source, dtype=F64)
    loss, info = algorithm.policy_loss(batch, algorithm.encode(batch.obs), UpdateKey([0]))
    total = kept = possible = squares = 0.0
    for b, i in ref.rows(batch):
        legal = batch.legal[0, b, i]
        logits = ref.plain_mlp(algorithm.behaviour, ref.encode(algorithm, batch.obs[0, b, i], i))
        squares += logits[legal].square().sum()
        weight = logits.exp() * legal
        total -= (weight[batch.action[0, b, i]] / weight.sum()).log()
        kept, possible = kept + float((weight >= 0.7 * weight.max()).sum()), possible + float(legal.sum())
    close(loss, total / len(ref.rows(batch)) + penalty * squares / possible)
    close(info["kept"], kept / possible)
    assert 0.0 < kept < possible


def poison(network, legal, filling):
    """Give the network's illegal outputs another value; `legal` holds pairs of encoded observations and masks."""
    real = network.forward

    def forward(o):
        mask = next(allowed for seen, allowed in legal if seen is o)
        y = real(o)
        return torch.where(mask if y.dim() == 4 else mask.unsqueeze(1), y, filling)

    network.forward = forward


@pytest.mark.parametrize("filling", [1e6, -1e6, math.nan])
def test_values_of_illegal_actions_enter_nothing(filling):
    algorithm, batch = shifted(threshold=0.3, logit_penalty=0.25), random_batch(SPEC, dtype=F64)
    o, next_o = algorithm.encode_pair(batch)
    before = [algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))[0], algorithm.policy_loss(batch, o, None)[0]]
    for network in (algorithm.critic, algorithm.target_critic, algorithm.behaviour):
        poison(network, ((o, batch.legal), (next_o, batch.next_legal)), filling)
    after = [algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))[0], algorithm.policy_loss(batch, o, None)[0]]
    assert torch.equal(torch.stack(before), torch.stack(after))
    sum(after).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters() if p.grad is not None)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_dead_agents_keep_their_one_legal_action(threshold):
    """The second agent is dead: no-op, action 0, is all it can do. It is kept, chosen and rated."""
    algorithm, batch = shifted(threshold=threshold), random_batch(SPEC, dtype=F64)
    only = torch.zeros_like(batch.legal[:, :, 1])
    only[..., 0] = True
    for legal in (batch.legal, batch.next_legal):
        legal[:, :, 1] = only
    batch.action[:, :, 1] = 0
    o, next_o = algorithm.encode_pair(batch)
    assert torch.equal(algorithm.allowed(o, batch.legal)[:, :, 1], only)
    following = algorithm.following(batch, next_o, UpdateKey([0]))
    assert torch.equal(following[:, :, 1], algorithm.target_critic(next_o)[:, 0, :, 1, 0])
    action, _ = algorithm.act(Seen(batch.obs, batch.legal), None, ActKey([0], 0, range(8)))
    assert not action[:, :, 1].any()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_a_row_without_a_legal_action_keeps_none_and_leaves_the_loss_finite(threshold):
    """What a store fills in where nothing follows."""
    algorithm, batch = shifted(threshold=threshold), random_batch(SPEC, dtype=F64)
    batch.next_legal[:, 0], batch.bootstrap[:, 0] = False, 0.0
    o, next_o = algorithm.encode_pair(batch)
    assert not algorithm.allowed(next_o, batch.next_legal)[:, 0].any()
    assert torch.isfinite(algorithm.critic_loss(batch, o, next_o, UpdateKey([0]))[0]).all()


@pytest.mark.parametrize("masked", [True, False])
def test_it_acts_among_the_kept_actions_or_among_all_legal_ones(masked):
    algorithm, batch = shifted(threshold=0.9, mask_at_eval=masked), random_batch(SPEC, rows=64, dtype=F64)
    o = algorithm.encode(batch.obs)
    action, _ = algorithm.act(Seen(batch.obs, batch.legal), None, ActKey([0], 0, range(64)))
    allowed = algorithm.allowed(o, batch.legal) if masked else batch.legal
    q = algorithm.critic(o)[:, 0].masked_fill(~allowed, -math.inf)
    assert torch.equal(action, q.argmax(-1))
    assert allowed.gather(-1, action.unsqueeze(-1)).all()


def test_the_clone_and_the_critic_learn_from_their_own_losses_only():
    algorithm, batch = shifted(), random_batch(SPEC, dtype=F64)
    algorithm.policy_loss(batch, algorithm.encode(batch.obs), None)[0].sum().backward()
    assert all(p.grad is None for p in algorithm.critic.parameters())
    algorithm.zero_grad(set_to_none=True)
    algorithm.critic_loss(batch, *algorithm.encode_pair(batch), UpdateKey([0]))[0].sum().backward()
    assert all(p.grad is None for p in (*algorithm.behaviour.parameters(), *algorithm.target_critic.parameters()))
    assert all(p.grad is not None for p in algorithm.critic.parameters())


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_outside_0_and_1_is_refused(threshold):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        make(MABCQ, "discrete", threshold=threshold)
