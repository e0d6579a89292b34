"""The agents' memory, compared with a loop through the episodes, and tested on a task that needs memory."""

import numpy as np
import pytest
import torch

from tests.algos.test_contract import node_of
from tests.corridor import Corridor, Guide, recorded
from tests.support import continuous_spec, discrete_spec, random_batch, small_columns
from vgm2p.commands.collect import Behaviour
from vgm2p.config.build import build_algorithm
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.store.transitions import TransitionStore
from vgm2p.execution.rollout import rollout
from vgm2p.rng import ActKey, UpdateKey
from vgm2p.types import Needs, Seen

P = 2


@pytest.mark.parametrize("spec", [continuous_spec(), discrete_spec()], ids=["continuous", "discrete"])
def test_networks_get_the_steps_of_the_same_episode_concatenated(spec):
    algorithm = build_algorithm(node_of("bc_meanflow history=3"), spec, [0]).double()
    algorithm.set_statistics(torch.arange(5.0), torch.full((5,), 2.0))
    batch = random_batch(spec, dtype=torch.float64)
    oid, next_oid = algorithm.encode_pair(batch)

    def frame(obs, action):
        vector = torch.eye(spec.action_dim, dtype=torch.float64)[action] if spec.discrete else action
        return torch.cat([(obs - torch.arange(5.0)) / 2.0, vector])

    for b in range(8):
        for i in range(3):
            frames = [frame(batch.past_obs[0, b, p, i], batch.past_action[0, b, p, i]) for p in range(P)]
            frames = [f if seen else torch.zeros_like(f) for f, seen in zip(frames, batch.past_seen[0, b], strict=True)]
            frames.append(frame(batch.obs[0, b, i], batch.action[0, b, i]))
            now = (batch.obs[0, b, i] - torch.arange(5.0)) / 2.0
            then = (batch.next_obs[0, b, i] - torch.arange(5.0)) / 2.0
            identity = torch.eye(3, dtype=torch.float64)[i]
            assert torch.equal(oid[0, b, i], torch.cat([*frames[:-1], now, identity]))
            assert torch.equal(next_oid[0, b, i], torch.cat([*frames[1:], then, identity]))


def test_the_memory_does_not_repeat_the_agents_one_hot():
    spec = continuous_spec(n_agents=2, obs_dim=6)
    inside = type(spec)(**{**spec.to_dict(), "view": "raw_onehot"})
    algorithm = build_algorithm(node_of("bc_meanflow history=3"), inside, [0])
    assert algorithm.id_dim == 6 + 2 * (4 + 2)
    batch = random_batch(inside)
    oid, _ = algorithm.encode_pair(batch)
    torch.testing.assert_close(oid[..., -6:], batch.obs)


def test_acting_and_training_have_the_same_memory():
    """The memory of `act` along an episode equals the stack that a batch of the same steps gives."""
    spec = discrete_spec()
    algorithm = build_algorithm(node_of("bc_gaussian history=3"), spec, [0])
    g = torch.Generator().manual_seed(1)
    obs = torch.randn(1, 1, 6, 3, 5, generator=g)  # (S, E, T, N, O)
    memory, actions, seen = None, [], []
    for t in range(6):
        seen.append(memory)
        action, memory = algorithm.act(Seen(obs[:, :, t]), memory, ActKey([0], 0, [0]).at(t))
        actions.append(action)
    for t in range(1, 6):
        batch = random_batch(spec, rows=1)
        earlier = [max(t - 2, 0), t - 1]
        batch.past_obs = obs[:, :, earlier]
        batch.past_action = torch.stack([actions[e] for e in earlier], 2)
        batch.past_seen = torch.tensor([[[float(t >= 2), 1.0]]])
        assert torch.equal(algorithm.past(batch), seen[t]), t


def test_batches_hold_the_steps_before_and_never_another_episode(tmp_path):
    columns = small_columns()
    write(tmp_path / "x.h5", columns)
    store = TransitionStore.load([tmp_path / "x.h5"], obs_norm="none")
    key = UpdateKey([0, 1]).at(4)
    batch = store.draw(key, 100, Needs(history=4))
    plain = store.draw(key.at(4), 100)
    assert torch.equal(batch.obs, plain.obs)
    assert plain.past_obs is None
    rows = np.flatnonzero(columns.steps["has_action"])[key.at(4).integers("batch", (100,), len(store.table))]
    begun = 0
    for s in range(2):
        for b in range(100):
            row, age = rows[s, b], columns.steps["t"][rows[s, b]]
            assert batch.past_seen[s, b].tolist() == [float(age >= back) for back in (3, 2, 1)]
            for p, back in enumerate((3, 2, 1)):
                if age >= back:
                    begun += 1
                    assert torch.equal(
                        batch.past_obs[s, b, p, 0, :3], torch.from_numpy(columns.steps["robot_observation"][row - back])
                    )
                    assert torch.equal(
                        batch.past_action[s, b, p], torch.from_numpy(columns.steps["actions"][row - back])
                    )
    assert 100 < begun < 600


def test_collecting_policies_remember_what_was_done_not_what_they_chose():
    spec = discrete_spec()
    algorithm = build_algorithm(node_of("bc_gaussian history=3"), spec, [0])
    key, obs = ActKey([0], 0, [0, 1]), torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    chosen, _ = algorithm.act(Seen(obs), None, key)
    done, memory = Behaviour(algorithm, 1, 1.0, spec).act(Seen(obs), None, key)
    assert not torch.equal(chosen, done)
    assert torch.equal(memory[..., -spec.action_dim :].argmax(-1), done)


def walk(algo, env, actor, updates, tmp_path, history):
    """Train on recorded episodes of `actor`; return the mean reward of 200 episodes (0.5 = turning at random)."""
    write(tmp_path / "x.h5", recorded(env, actor, 300))
    store = TransitionStore.load([tmp_path / "x.h5"], view="native", obs_norm="none", timeouts="terminal")
    words = f"{algo} history={history} net.width=48 net.depth=2 optim.lr=2e-3"
    algorithm = build_algorithm(node_of(words), env.spec, [0])
    store.provide(algorithm.needs, algorithm.gamma)
    key = UpdateKey([0])
    for update in range(updates):
        algorithm.step(store.draw(key.at(update), 64, algorithm.needs), key)
    episodes = rollout(algorithm, env, updates, [0], 200)
    return float(np.mean([episode.return_ for episode in episodes]))


CLONING = [
    ("bc_gaussian", True, "cue"),
    ("bc_flow", True, "cue"),
    ("bc_meanflow", True, "cue"),
    ("bc_meanflow", False, "cue"),
    ("bc_gaussian decode=sample", True, "echo"),
    ("bc_meanflow", True, "echo"),
]


@pytest.mark.parametrize(("algo", "discrete", "task"), CLONING)
def test_cloning_needs_memory_in_the_corridor(algo, discrete, task, tmp_path):
    env = Corridor(discrete, task)
    guide = Guide(env.spec, task)
    assert walk(algo, env, guide, 400, tmp_path, history=4) > 0.95
    assert walk(algo, env, guide, 400, tmp_path, history=1) < 0.65


@pytest.mark.parametrize(
    ("algo", "discrete"),
    [
        ("vgm2p", True),
        pytest.param("vgm2p_fm", True, marks=pytest.mark.slow),
        pytest.param("vgm2p_chosen critic.reward_scale=1", False, marks=pytest.mark.slow),
        pytest.param("ma_bcq", True, marks=pytest.mark.slow),
        pytest.param("ma_td3bc critic.tau=0.05", False, marks=pytest.mark.slow),
    ],
)
def test_values_improve_on_data_that_ignore_the_cue(algo, discrete, tmp_path):
    """The data turn at random: critic and policy must both remember the cue to do better than 0.5."""
    env = Corridor(discrete, "cue")
    lost = Guide(env.spec, "cue", lost=True)
    assert walk(algo, env, lost, 600, tmp_path, history=4) > 0.85
    assert walk(algo, env, lost, 600, tmp_path, history=1) < 0.65
