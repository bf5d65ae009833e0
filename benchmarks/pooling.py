"""What max_pool2d and avg_pool2d save over the plain `lax.reduce_window`, forward and backward, by ratio.

    python benchmarks/pooling.py

Both spellings are measured in turn, round by round, so that the machine's mood hits them alike; the figure is the
median over rounds of the time of purenn.functional over that of the plain spelling: below 1 is faster. The input is
relu's, full of ties.
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax

import purenn.functional as F

ROUNDS = 15
SHAPES = {
    "2x2, stride 2": ((8, 64, 56, 56), 2, 2, 0),
    "3x3, stride 2, padding 1": ((8, 64, 112, 112), 3, 2, 1),
    "3x3, stride 1, padding 1": ((8, 64, 28, 28), 3, 1, 1),
    "5x5, stride 1, padding 2": ((4, 128, 20, 20), 5, 1, 2),
    "13x13, stride 1, padding 6": ((2, 64, 20, 20), 13, 1, 6),
    "7x7, all": ((32, 512, 7, 7), 7, 7, 0),
}


def plain(x, initial, reducer, kernel, stride, padding):
    """Both axes in one window, differentiated by XLA's own rule."""
    pads = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return lax.reduce_window(x, initial, reducer, (1, 1, kernel, kernel), (1, 1, stride, stride), pads)


def plain_max(x, *window):
    """Maxima."""
    return plain(x, -jnp.inf, lax.max, *window)


def plain_avg(x, kernel, *window):
    """Averages, padding counted."""
    return plain(x, 0.0, lax.add, kernel, *window) / kernel**2


def timed(fn, *args):
    """Seconds of one call."""
    start = time.perf_counter()
    jax.block_until_ready(fn(*args))
    return time.perf_counter() - start


def ratios(ours, theirs, shape, *window):
    """Forward and gradient, ours over theirs."""
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), shape))
    weights = jax.random.normal(jax.random.key(1), theirs(x, *window).shape)
    found = []
    for make in (forward, backward):
        pair = [make(functools.partial(lambda f, x: f(x, *window), f)) for f in (ours, theirs)]
        for fn in pair:
            timed(fn, x, weights)
        rounds = [[timed(fn, x, weights) for fn in pair] for _ in range(ROUNDS)]
        found.append(statistics.median(a / b for a, b in rounds))
    return found


def forward(fn):
    """The value alone."""
    return jax.jit(lambda x, weights: fn(x))


def backward(fn):
    """The gradient, with numbers for its cotangent that the compiler cannot know."""
    return jax.jit(jax.grad(lambda x, weights: (fn(x) * weights).sum()))


def main():
    """Prints one line for each operation and shape."""
    print(f"{jax.devices()[0].device_kind}: time over lax.reduce_window's    forward  gradient")
    for name, ours, theirs in (("max_pool2d", F.max_pool2d, plain_max), ("avg_pool2d", F.avg_pool2d, plain_avg)):
        for label, (shape, *window) in SHAPES.items():
            value, gradient = ratios(ours, theirs, shape, *window)
            print(f"{name:11} {label:28} {'x'.join(map(str, shape)):15} {value:6.2f} {gradient:9.2f}", flush=True)


if __name__ == "__main__":
    main()
