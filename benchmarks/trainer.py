"""What the guard of a Trainer's step costs, and how long an asynchronous save holds the loop.

    python benchmarks/trainer.py

One interleaved run; figures are medians, over rounds, of the ratio within the round.
"""

import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenn.functional as F
import stateful as nn
import transforms


def net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(512, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )  # fmt: skip


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def timed(fn) -> tuple[float, float]:
    """Wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(fn())
    return time.perf_counter() - wall, time.process_time() - cpu


def guard(width: int, size: int, optimizer, rounds: int = 40) -> None:
    """A donating step with and without ``skip_nonfinite``."""
    batch = jnp.ones((size, 512)), jnp.zeros(size, jnp.int32)
    pairs = {skips: transforms.train_step(net(width), loss, optimizer, skip_nonfinite=skips) for skips in (False, True)}
    states = {skips: pair.init(jax.random.key(0)) for skips, pair in pairs.items()}

    def advance(skips):
        states[skips], metrics = pairs[skips].step(states[skips], batch)
        return states[skips], metrics

    times = {skips: [] for skips in pairs}
    for turn in range(rounds + 2):
        for skips in pairs if turn % 2 else reversed(pairs):
            took = timed(lambda skips=skips: advance(skips))
            if turn >= 2:
                times[skips].append(took)
    ratios = [[g / p for g, p in zip(*pair, strict=True)] for pair in zip(times[True], times[False], strict=True)]
    wall, cpu = (statistics.median(kind) for kind in zip(*ratios, strict=True))
    least = min(cpu for _, cpu in times[True]) / min(cpu for _, cpu in times[False])
    numbers = sum(leaf.size for leaf in jax.tree.leaves(states[True].params))
    print(
        f"guarded step, {numbers / 1e6:.1f}M params, batch {size}: {wall:.3f} of the plain one by wall time, "
        f"{cpu:.3f} by processor time, {least:.3f} of the least processor times "
        f"(a step takes {1e3 * statistics.median(wall for wall, _ in times[False]):.1f} ms)"
    )


def saving(rounds: int = 7, count: int = 150, size: int = 250_000) -> None:
    """How long `save` holds the loop, against a copy of the same arrays."""
    state = {f"w{i}": jnp.full((size,), float(i)) for i in range(count)}
    host = [np.asarray(leaf) for leaf in state.values()]
    with tempfile.TemporaryDirectory() as folder, nn.Checkpointer(folder, keep_last=1) as run:
        ratios = []
        for step in range(rounds):
            copied = timed(lambda: [leaf.copy() for leaf in host])[0]
            ratios.append(timed(lambda step=step: run.save(state, step))[0] / copied)
            run.wait()
    held = statistics.median(ratios)
    print(f"asynchronous save of {4 * size * count / 1e6:.0f} MB: holds the loop for {held:.2f} of a copy")


if __name__ == "__main__":
    guard(1024, 128, optax.adam(1e-3))  # the optimizer is the larger part of the step
    guard(1024, 2048, optax.adam(1e-3))
    guard(256, 128, optax.sgd(0.1, momentum=0.9))
    guard(2048, 512, optax.adamw(1e-3))
    saving()
