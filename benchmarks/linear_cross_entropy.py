"""Memory and time of linear_cross_entropy, in chunks, against the logits of the whole batch.

Run by hand: ``python benchmarks/linear_cross_entropy.py [rows features classes]``. Both spellings are measured in turn
in one run, value and gradients of input and weight; the times are the best of several rounds, on the clock and of the
processor (on a CPU that is shared, only the latter says much); the memory is what the compiled program needs beside
its arguments and results.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import purenn.functional as F
from purenn.functional.cross_entropy import LinearCrossEntropyOptions

ROUNDS = 7


def compiled(options, dtype, rows, features, classes):
    def loss(x, w, y):
        return F.linear_cross_entropy(x, w, y, options=options)

    shapes = [((rows, features), dtype), ((classes, features), dtype), ((rows,), jnp.int32)]
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return step.lower(*[jax.ShapeDtypeStruct(*shape) for shape in shapes]).compile()


def main(rows=2048, features=256, classes=16384):
    rng = np.random.default_rng(0)
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.asarray(rng.standard_normal((rows, features)), dtype)
        w = jnp.asarray(rng.standard_normal((classes, features)) / features**0.5, dtype)
        y = jnp.asarray(rng.integers(0, classes, rows), jnp.int32)
        steps = {
            name: compiled(options, dtype, rows, features, classes)
            for name, options in {
                "whole": None,
                "aspect_ratio": LinearCrossEntropyOptions(chunking_method="aspect_ratio"),
                "auto": LinearCrossEntropyOptions(),
            }.items()
        }
        seconds = {name: [] for name in steps}
        for _ in range(ROUNDS + 1):
            for name, step in steps.items():
                clock, processor = time.perf_counter(), time.process_time()
                jax.block_until_ready(step(x, w, y))
                seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
        whole = float(steps["whole"](x, w, y)[0])
        print(f"{jnp.dtype(dtype).name}: {rows} rows, {features} features, {classes} classes, {jax.default_backend()}")
        for name, step in steps.items():
            memory = step.memory_analysis().temp_size_in_bytes / 2**20
            apart = abs(float(step(x, w, y)[0]) - whole) / whole
            clock, processor = np.min(seconds[name][1:], 0)
            print(f"  {name:13}{memory:8.0f} MiB {clock:8.3f} s {processor:8.3f} s   differs by {apart:.1e}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
