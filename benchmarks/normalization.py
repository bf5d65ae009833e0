"""What layer_norm's own tangent rule saves: instructions, compile time and run time of a train step, by ratio.

    python benchmarks/normalization.py [layers] [width] [batch] [length]

A GPT-like stack (layer norm, attention, layer norm, feed-forward) is trained one step with three spellings of the
same normalisation. All of them are measured in turn, round by round, so that the machine's mood hits them alike; the
least of each counts, over that of `purenn.functional.layer_norm`.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp

import purenn.functional as F

ROUNDS = 7


def two_pass(x, shape, weight, bias, eps=1e-5):
    """Mean, then variance, differentiated as they stand."""
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + eps) * weight + bias


def fast_variance(x, shape, weight, bias, eps=1e-5):
    """Var[x] as E[x²] - E[x]², differentiated as it stands."""
    mean, square = x.mean(-1, keepdims=True), jnp.square(x).mean(-1, keepdims=True)
    var = jnp.maximum(0, square - jnp.square(mean))
    return (x - mean) * jax.lax.rsqrt(var + eps) * weight + bias


def init(rng, layers, width):
    """Parameters of the stack: one dict a layer, weights as (out, in)."""

    def block(key):
        keys = jax.random.split(key, 4)
        shapes = {
            "qkv": (3 * width, width),
            "out": (width, width),
            "up": (4 * width, width),
            "down": (width, 4 * width),
        }
        weights = {n: 0.02 * jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
        norms = {n: {"weight": jnp.ones(width), "bias": jnp.zeros(width)} for n in ("norm1", "norm2")}
        return {**weights, **norms}

    return [block(key) for key in jax.random.split(rng, layers)]


def attention(x, qkv, out):
    """Causal self-attention with heads of 64."""
    n, length, width = x.shape
    q, k, v = jnp.split((x @ qkv.T).reshape(n, length, width // 64 * 3, 64), 3, axis=2)
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / 8
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v).reshape(x.shape) @ out.T


def step(norm, params, x):
    """One step of gradient descent on the stack."""

    def loss(params):
        y, shape = x, x.shape[-1:]
        for p in params:
            y = y + attention(norm(y, shape, **p["norm1"]), p["qkv"], p["out"])
            y = y + jax.nn.gelu(norm(y, shape, **p["norm2"]) @ p["up"].T) @ p["down"].T
        return jnp.square(y).mean()

    return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))


def compiled(norm, params, x):
    """The compiled step, and the seconds that XLA took."""
    jax.clear_caches()
    lowered = jax.jit(functools.partial(step, norm)).lower(params, x)
    start = time.perf_counter()
    program = lowered.compile()
    return program, time.perf_counter() - start


def run(program, params, x):
    """Seconds of one step."""
    start = time.perf_counter()
    jax.block_until_ready(program(params, x))
    return time.perf_counter() - start


def main(layers=12, width=256, batch=4, length=128):
    """Prints one line a spelling."""
    params = init(jax.random.key(0), layers, width)
    x = jax.random.normal(jax.random.key(1), (batch, length, width))
    norms = {"purenn": F.layer_norm, "two passes": two_pass, "fast variance": fast_variance}
    compiles, runs, programs = {n: [] for n in norms}, {n: [] for n in norms}, {}
    for _ in range(3):
        for name, norm in norms.items():
            programs[name], seconds = compiled(norm, params, x)
            compiles[name].append(seconds)
    for _ in range(ROUNDS):
        for name, program in programs.items():
            runs[name].append(run(program, params, x))
    print(f"{jax.default_backend()}, {layers} layers, width {width}, batch {batch}, length {length}")
    print(f"{'':14} {'instructions':>12} {'compile':>8} {'step':>6} {'temporary':>10}   (purenn = 1)")
    for name, program in programs.items():
        count = program.as_text().count(" = ")
        temporary = program.memory_analysis().temp_size_in_bytes
        figures = [count, min(compiles[name]), min(runs[name]), temporary]
        if name == "purenn":
            ours = figures
            print(f"{name:14} {count:12} {figures[1]:7.2f}s {figures[2] * 1e3:4.0f}ms {temporary / 2**20:7.0f}MiB")
        else:
            ratios = [a / b for a, b in zip(figures, ours, strict=True)]
            print(f"{name:14} {count:12} {ratios[1]:8.2f} {ratios[2]:6.2f} {ratios[3]:10.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
