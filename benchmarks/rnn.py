"""Recurrent networks against a plain scan: trace, compile, run and memory, in one interleaved run.

Run by hand: ``python benchmarks/rnn.py [repeats]``. Processor time, so that neighbours disturb it little; every number
is a ratio to "plain", a scan whose step multiplies by both weights, forward and gradient of the weights together; its
own row has milliseconds and MiB.
"hoisted" takes the input's product out of the scan; "purenn" takes the weights' gradients out as well.
"""

import sys
import time

import jax
import jax.numpy as jnp

import purenn.functional as F

COLUMNS = ("trace", "compile", "run", "memory")
SHAPES = [(64, 1, 256), (64, 8, 64), (64, 32, 128), (64, 32, 256), (32, 64, 512)]  # L, N, H


def gates_to_state(gates, c):
    i, f, g, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def scan(inputs, gates, w_hh, shape):
    def step(state, x):
        h, c = gates_to_state(gates(x) + state[0] @ w_hh.T, state[1])
        return (h, c), h

    return jax.lax.scan(step, (jnp.zeros(shape), jnp.zeros(shape)), inputs)[1]


def plain(x, w_ih, w_hh, b_ih, b_hh):
    return scan(x, lambda x: x @ w_ih.T + b_ih + b_hh, w_hh, x.shape[1:])


def hoisted(x, w_ih, w_hh, b_ih, b_hh):
    return scan(x @ w_ih.T + b_ih + b_hh, lambda x: x, w_hh, x.shape[1:])


def ours(x, *weights):
    return F.lstm(x, None, weights, True, 1, 0.0, True, False, False)[0]


SPELLINGS = {"plain": plain, "hoisted": hoisted, "purenn": ours}


def step(network):
    return jax.jit(jax.value_and_grad(lambda weights, x: (network(x, *weights) ** 2).sum()))


def seconds(call):
    start = time.process_time()
    result = jax.block_until_ready(call())
    return result, time.process_time() - start


def measure(L, N, H, repeats):
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(4 * H, H), (4 * H, H), (4 * H,), (4 * H,)]
    weights = tuple(0.1 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False))
    x = jax.random.normal(keys[-1], (L, N, H))
    figures = {name: {"trace": [], "compile": [], "run": []} for name in SPELLINGS}
    programs = {}
    for _ in range(3):
        for name, network in SPELLINGS.items():
            jax.clear_caches()
            lowered, trace = seconds(lambda network=network: step(network).lower(weights, x))
            programs[name], build = seconds(lowered.compile)
            figures[name]["trace"].append(1e3 * trace)
            figures[name]["compile"].append(1e3 * build)
    for _ in range(repeats):
        for name, program in programs.items():
            figures[name]["run"].append(1e3 * seconds(lambda program=program: program(weights, x))[1])
    best = {name: {what: min(times) for what, times in row.items()} for name, row in figures.items()}
    for name, program in programs.items():
        best[name]["memory"] = program.memory_analysis().temp_size_in_bytes / 2**20
    return best


def main(repeats):
    print(f"{'L, N, H':16} {'spelling':8}" + "".join(f"{what:>9}" for what in COLUMNS))
    for shape in SHAPES:
        best = measure(*shape, repeats)
        for name, row in best.items():
            unit = dict.fromkeys(row, 1.0) if name == "plain" else best["plain"]
            figures = "".join(f"{row[what] / unit[what]:9.2f}" for what in COLUMNS)
            print(f"{shape!s:16} {name:8}{figures}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
