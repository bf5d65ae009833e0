"""Convolutions of purenn against one plain XLA convolution each: trace, compile and run, forward and both gradients.

Run by hand: ``python benchmarks/conv.py [word ...]``; words choose the rows whose name has one of them. Every figure is
a ratio to ``lax.conv_general_dilated`` measured in the same interleaved run, whose own figure stands in milliseconds
beside it. Processor time, best of several rounds; the last column adds the three programs up.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import purenn.functional as F

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    groups: int = 1
    transposed: bool = False

    def purenn(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """The public operation."""
        operation = getattr(F, f"conv_transpose{x.ndim - 2}d" if self.transposed else f"conv{x.ndim - 2}d")
        return operation(x, w, None, self.stride, self.padding, groups=self.groups)

    def plain(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """The same as one XLA convolution."""
        rank = x.ndim - 2
        if not self.transposed:
            pads = [(self.padding, self.padding)] * rank
            return lax.conv_general_dilated(x, w, (self.stride,) * rank, pads, feature_group_count=self.groups)
        flat = (
            w.reshape(self.groups, -1, *w.shape[1:]).swapaxes(1, 2).reshape(-1, len(x[0]) // self.groups, *w.shape[2:])
        )
        pads = [(k - 1 - self.padding,) * 2 for k in w.shape[2:]]
        back = lax.rev(flat, range(2, w.ndim))
        return lax.conv_general_dilated(
            x, back, (1,) * rank, pads, (self.stride,) * rank, feature_group_count=self.groups
        )


ROWS = [
    Row("stem 7x7 s2", (8, 3, 112, 112), (64, 3, 7, 7), 2, 3),
    Row("3x3 C64", (8, 64, 56, 56), (64, 64, 3, 3), 1, 1),
    Row("3x3 s2 C64", (8, 64, 56, 56), (128, 64, 3, 3), 2, 1),
    Row("3x3 C256", (8, 256, 14, 14), (256, 256, 3, 3), 1, 1),
    Row("1x1 C64-256", (8, 64, 56, 56), (256, 64, 1, 1)),
    Row("1x1 C256-64", (8, 256, 56, 56), (64, 256, 1, 1)),
    Row("1x1 s2 C64", (8, 64, 56, 56), (128, 64, 1, 1), 2),
    Row("1d k3 C128", (8, 128, 256), (128, 128, 3), 1, 1),
    Row("1d k1 C128", (8, 128, 256), (256, 128, 1)),
    Row("depthwise 3x3 C128", (8, 128, 28, 28), (128, 1, 3, 3), 1, 1, 128),
    Row("depthwise 3x3 s2 C128", (8, 128, 28, 28), (128, 1, 3, 3), 2, 1, 128),
    Row("depthwise 5x5 C96", (4, 96, 28, 28), (96, 1, 5, 5), 1, 2, 96),
    Row("depthwise 1d k4 C128", (8, 128, 256), (128, 1, 4), 1, 3, 128),
    Row("groups 4 3x3 C128", (8, 128, 28, 28), (128, 32, 3, 3), 1, 1, 4),
    Row("groups 32 3x3 C128", (8, 128, 28, 28), (128, 4, 3, 3), 1, 1, 32),
    Row("3d 3x3x3 C16", (2, 16, 16, 16, 16), (32, 16, 3, 3, 3), 1, 1),
    Row("3d 3x3x3 C32", (2, 32, 16, 16, 16), (32, 32, 3, 3, 3), 1, 1),
    Row("transposed 3x3 C64", (4, 64, 28, 28), (64, 32, 3, 3), 1, 1, 1, True),
    Row("transposed 2x2 s2 C64", (4, 64, 28, 28), (64, 32, 2, 2), 2, 0, 1, True),
    Row("transposed 4x4 s2 C64", (4, 64, 28, 28), (64, 32, 4, 4), 2, 1, 1, True),
    Row("transposed 4x4 s2 groups 4", (4, 64, 28, 28), (64, 8, 4, 4), 2, 1, 4, True),
    Row("transposed 1d k8 s4 C64", (4, 64, 256), (64, 32, 8), 4, 2, 1, True),
    Row("transposed 3d k2 s2 C16", (2, 16, 8, 8, 8), (16, 16, 2, 2, 2), 2, 0, 1, True),
]


def programs(f: Callable) -> dict[str, Callable]:
    """The forward pass and the two gradients, each a program of its own."""
    return {
        "value": lambda x, w, c: f(x, w),
        "d input": lambda x, w, c: jax.vjp(lambda x: f(x, w), x)[1](c)[0],
        "d weight": lambda x, w, c: jax.vjp(lambda w: f(x, w), w)[1](c)[0],
    }


def seconds(call: Callable) -> tuple[float, object]:
    start = time.process_time()
    out = call()
    return time.process_time() - start, out


def stages(program: Callable, arrays: tuple) -> tuple[list[float], Callable]:
    """Time to trace and to compile, and the compiled program."""
    jax.clear_caches()
    trace, traced = seconds(lambda: jax.jit(program).trace(*arrays))
    build, compiled = seconds(lambda: traced.lower().compile())
    return [trace, build], compiled


def measure(row: Row) -> None:
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in (row.x, row.w))
    c = jnp.asarray(rng.standard_normal(jax.eval_shape(row.plain, x, w).shape), jnp.float32)
    np.testing.assert_allclose(row.purenn(x, w), row.plain(x, w), atol=1e-3)
    pairs = zip(programs(row.plain).items(), programs(row.purenn).values(), strict=True)
    total, cells = np.zeros((2, 3)), []
    for (name, plain), ours in pairs:
        (early_plain, run_plain), (early_ours, run_ours) = (stages(p, (x, w, c)) for p in (plain, ours))
        best = [float("inf")] * 2
        for _ in range(ROUNDS + 1):  # the first round warms up, and is never the best
            for i, run in enumerate((run_plain, run_ours)):
                best[i] = min(best[i], seconds(lambda run=run: run(x, w, c).block_until_ready())[0])
        total += [[*early_plain, best[0]], [*early_ours, best[1]]]
        cells.append(f"{name} {best[1] / best[0]:6.3f} ({best[0] * 1e3:8.2f} ms)")
    trace, build, run = total[1] / total[0]
    print(f"{row.name:28}{'  '.join(cells)}  | trace {trace:.2f} compile {build:.2f} run {run:.3f}", flush=True)


if __name__ == "__main__":
    for row in ROWS:
        if not sys.argv[1:] or any(word in row.name for word in sys.argv[1:]):
            measure(row)
