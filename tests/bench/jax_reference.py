"""VGM2P's update in JAX (jit, float32, donated state), driven by `vgm2p bench step` over standard input and output.

    python jax_reference.py <problem.npz> <settings.json>

First it runs the updates whose data and noise stand in the problem, from the weights there, and prints their losses; then
every line `run <n>` on standard input runs n updates with data drawn on the device, and prints the CPU milliseconds per
update. Critics without LayerNorm, Adam by hand: nothing but jax and numpy is needed.
"""

import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np


def mlp(params, x):
    for weight, bias in params[:-1]:
        x = jax.nn.gelu(x @ weight.T + bias, approximate=True)
    weight, bias = params[-1]
    return x @ weight.T + bias


def u_net(params, x, r, k, oid, c):
    return mlp(params, jnp.concatenate([x, r, k, oid, jax.nn.one_hot(c, 2)], -1))


def q_net(params, oid, action):
    return mlp(params, jnp.concatenate([oid, action], -1))[..., 0]


def adam(grads, state, params, lr):
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, grads)
    v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, grads)

    def step(p, a, b):
        return p - lr * (a / (1 - 0.9**t)) / (jnp.sqrt(b / (1 - 0.999**t)) + 1e-8)

    return jax.tree.map(step, params, m, v), (m, v, t)


def make_update(settings):
    gamma, tau, omega, lr = (settings[name] for name in ("gamma", "tau", "omega", "lr"))
    discrete, agents, width = settings["discrete"], settings["agents"], settings["action_dim"]

    def sample(policy, z, oid, legal):
        time_ = jnp.zeros_like(z[..., :1])
        a = z - u_net(policy, z, time_, time_ + 1, oid, jnp.ones(z.shape[:-1], jnp.int32))
        if not discrete:
            return jnp.clip(a, -1, 1)
        return jax.nn.one_hot(jnp.argmax(jnp.where(legal, a, -jnp.inf), -1), width)

    def encode(obs):
        return jnp.concatenate([obs, jnp.broadcast_to(jnp.eye(agents), (*obs.shape[:-1], agents))], -1)

    def update(state, batch, noise):
        policy, critic, target, policy_state, critic_state = state
        oid, next_oid = encode(batch["obs"]), encode(batch["next_obs"])
        action = jax.nn.one_hot(batch["action"], width) if discrete else batch["action"]
        legal, next_legal = batch.get("legal"), batch.get("next_legal")
        next_q = q_net(target, next_oid, sample(policy, noise["z"][:, 0], next_oid, next_legal)).mean(-1)
        wanted = batch["reward"] + gamma * batch["bootstrap"] * next_q

        def critic_loss(params):
            return jnp.mean((q_net(params, oid, action).mean(-1) - wanted) ** 2)

        q_loss, grads = jax.value_and_grad(critic_loss)(critic)
        critic, critic_state = adam(grads, critic_state, critic, lr)
        baseline = sample(policy, noise["z"][:, 1], oid, legal)
        c = (q_net(critic, oid, action) >= q_net(critic, oid, baseline)).astype(jnp.int32)
        k, r = noise["times"].max(-1, keepdims=True), noise["times"].min(-1, keepdims=True)
        x, v = (1 - k) * action + k * noise["eps"], noise["eps"] - action
        v = omega * v + (1 - omega) * u_net(policy, x, k, k, oid, jnp.ones_like(c))

        def policy_loss(params):
            u, dudk = jax.jvp(lambda *a: u_net(params, *a, oid, c), (x, r, k), (v, jnp.zeros_like(r), jnp.ones_like(k)))
            return jnp.mean((u - jax.lax.stop_gradient(v - (k - r) * dudk)) ** 2)

        p_loss, grads = jax.value_and_grad(policy_loss)(policy)
        policy, policy_state = adam(grads, policy_state, policy, lr)
        target = jax.tree.map(lambda a, b: a + tau * (b - a), target, critic)
        return (policy, critic, target, policy_state, critic_state), (q_loss, p_loss)

    return update


def initial(problem, name):
    count = len([key for key in problem if key.startswith(f"{name}/weight")])
    return [(jnp.array(problem[f"{name}/weight{i}"]), jnp.array(problem[f"{name}/bias{i}"])) for i in range(count)]


def moments(params):
    return jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)


def main(problem_path, settings_path):
    problem = dict(np.load(problem_path))
    with open(settings_path) as file:
        settings = json.load(file)
    policy, critic = initial(problem, "policy"), initial(problem, "critic")
    state = (policy, critic, jax.tree.map(jnp.array, critic), moments(policy), moments(critic))
    update = make_update(settings)
    fixed, losses = jax.jit(update), []
    for i in range(settings["checks"]):
        batch = {key.split("/")[2]: jnp.array(v) for key, v in problem.items() if key.startswith(f"{i}/batch/")}
        noise = {key.split("/")[2]: jnp.array(v) for key, v in problem.items() if key.startswith(f"{i}/noise/")}
        state, found = fixed(state, batch, noise)
        losses.append([float(x) for x in found])
    print(json.dumps(losses), flush=True)

    data = {key.split("/")[1]: jnp.array(v) for key, v in problem.items() if key.startswith("data/")}
    rows, size = len(data["reward"]) - 1, settings["batch"]
    shape = (size, settings["agents"], settings["action_dim"])

    def drawn(state, key):
        key, *keys = jax.random.split(key, 5)
        row = jax.random.randint(keys[0], (size,), 0, rows)
        batch = {name: data[name][row] for name in ("obs", "action", "reward", "bootstrap")}
        batch["next_obs"] = data["obs"][row + 1]
        if settings["discrete"]:
            batch["legal"], batch["next_legal"] = data["legal"][row], data["legal"][row + 1]
        noise = {
            "z": jax.random.normal(keys[1], (size, 2, *shape[1:])),
            "times": jax.random.uniform(keys[2], (*shape[:-1], 2)),
            "eps": jax.random.normal(keys[3], shape),
        }
        return update(state, batch, noise)[0], key

    step, key = jax.jit(drawn, donate_argnums=0), jax.random.key(0)
    for line in sys.stdin:
        count = int(line.split()[1])
        began, wall = time.process_time(), time.perf_counter()
        for _ in range(count):
            state, key = step(state, key)
        jax.block_until_ready(state)
        print(1e3 * (time.process_time() - began) / count, 1e3 * (time.perf_counter() - wall) / count, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
