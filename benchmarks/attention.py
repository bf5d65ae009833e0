"""Attention's spellings against the plain one: trace, compile, run and memory, in one interleaved run.

Run by hand: ``python benchmarks/attention.py [repeats]``. Processor time, so that neighbours disturb it little; every
number is a ratio to "xla", the spelling that forms the scores, forward and gradient together; its own row has
milliseconds and MiB.
"""

import sys
import time

import jax
import jax.numpy as jnp

import purenn.functional as F

COLUMNS = ("trace", "compile", "run", "memory")
SPELLINGS = ("xla", "chunked")
SHAPES = [(1, 8, 256, 64), (1, 8, 512, 64), (1, 8, 1024, 64), (1, 8, 2048, 64), (1, 2, 4096, 64)]  # N, H, L, E


def step(implementation, is_causal):
    def loss(q, k, v):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal, implementation=implementation)
        return (out * jnp.cos(out)).sum()

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))


def seconds(call):
    start = time.process_time()
    result = jax.block_until_ready(call())
    return result, time.process_time() - start


def measure(shape, is_causal, repeats):
    arrays = [jax.random.normal(jax.random.key(n), shape) for n in range(3)]
    figures = {name: {"trace": [], "compile": [], "run": []} for name in SPELLINGS}
    programs = {}
    for _ in range(3):
        for name in SPELLINGS:
            jax.clear_caches()
            lowered, trace = seconds(lambda name=name: step(name, is_causal).lower(*arrays))
            programs[name], build = seconds(lowered.compile)
            figures[name]["trace"].append(1e3 * trace)
            figures[name]["compile"].append(1e3 * build)
    for _ in range(repeats):
        for name in SPELLINGS:
            figures[name]["run"].append(1e3 * seconds(lambda name=name: programs[name](*arrays))[1])
    best = {name: {what: min(times) for what, times in row.items()} for name, row in figures.items()}
    for name, program in programs.items():
        best[name]["memory"] = program.memory_analysis().temp_size_in_bytes / 2**20
    return best


def main(repeats):
    print(f"{'shape':22} {'causal':6} {'spelling':8}" + "".join(f"{what:>9}" for what in COLUMNS))
    for shape in SHAPES:
        for is_causal in (False, True):
            best = measure(shape, is_causal, repeats)
            plain = best["xla"]
            for name, row in best.items():
                unit = dict.fromkeys(plain, 1.0) if row is plain else plain
                figures = "".join(f"{row[what] / unit[what]:9.2f}" for what in COLUMNS)
                print(f"{shape!s:22} {is_causal!s:6} {name:8}{figures}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
