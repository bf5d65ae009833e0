"""Bilinear and nearest resampling against jax.image.resize and torch, forward and gradient, in one interleaved run.

Run by hand: ``python benchmarks/interpolate.py [repetitions]``. Times are the least of all repetitions, in ms.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

import purenn.functional as F

SHAPES = [((8, 16, 32, 32), (64, 64)), ((2, 32, 128, 128), (256, 256)), ((1, 3, 512, 512), (1024, 1024))]
SHAPES += [((2, 21, 65, 65), (513, 513)), ((2, 32, 128, 128), (100, 100))]


def calls(shape, size, mode):
    """Forward and gradient of each library, as functions of nothing that wait for their result."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal(shape).astype("float32"), rng.standard_normal(shape[:2] + size).astype("float32")
    ours = lambda x: F.interpolate(x, size, mode=mode)  # noqa: E731
    # full precision, as ours: on accelerators its products are rounded otherwise
    full = jax.lax.Precision.HIGHEST
    resize = lambda x: jax.image.resize(x, shape[:2] + size, mode, antialias=False, precision=full)  # noqa: E731
    timed = {}
    for name, f in {"purenn": ours, "jax.image": resize}.items():
        forward, gradient = jax.jit(f), jax.jit(lambda x, w, f=f: jax.vjp(f, x)[1](w)[0])
        a, w = jnp.asarray(x), jnp.asarray(weight)
        timed[name] = lambda forward=forward, a=a: forward(a).block_until_ready()
        timed[name + " gradient"] = lambda gradient=gradient, a=a, w=w: gradient(a, w).block_until_ready()
    tensor = torch.from_numpy(x).requires_grad_()
    out, w = torch.nn.functional.interpolate(tensor, size, mode=mode), torch.from_numpy(weight)
    timed["torch"] = lambda: torch.nn.functional.interpolate(tensor.detach(), size, mode=mode)
    timed["torch gradient"] = lambda: torch.autograd.grad(out, tensor, w, retain_graph=True)
    return timed


def main(repetitions):
    torch.set_num_threads(1)
    for mode in ("bilinear", "nearest"):
        for shape, size in SHAPES:
            timed, best = calls(shape, size, mode), {}
            for repetition in range(repetitions + 1):
                for name, call in timed.items():
                    start = time.perf_counter()
                    call()
                    if repetition:  # the first one compiles
                        best[name] = min(best.get(name, np.inf), time.perf_counter() - start)
            print(mode, shape, size, {name: round(1e3 * t, 2) for name, t in best.items()}, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
