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
from stateful.trainer_guard import guarded


def net():
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def timed(fn) -> float:
    start = time.perf_counter()
    jax.block_until_ready(fn())
    return time.perf_counter() - start


def guard(rounds: int = 40) -> None:
    """A donating step with and without the guard."""
    batch = jnp.ones((128, 512)), jnp.zeros(128, jnp.int32)
    pair = transforms.train_step(net(), loss, optax.adam(1e-3))
    steps = {"plain": pair.step, "guarded": jax.jit(guarded(pair.step), donate_argnums=0)}
    states = {name: pair.init(jax.random.key(0)) for name in steps}

    def advance(name):
        states[name], metrics = steps[name](states[name], batch)
        return metrics

    times = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name in steps:
            took = timed(lambda name=name: advance(name))
            if turn >= 2:
                times[name].append(took)
    ratios = [g / p for g, p in zip(times["guarded"], times["plain"], strict=True)]
    fastest = min(times["guarded"]) / min(times["plain"])
    print(
        f"guarded step: {statistics.median(ratios):.3f} of the plain one, {fastest:.3f} of the fastest rounds "
        f"(a step takes {1e3 * statistics.median(times['plain']):.1f} ms)"
    )


def saving(rounds: int = 7, count: int = 150, size: int = 250_000) -> None:
    """How long `save` holds the loop, against a copy of the same arrays."""
    state = {f"w{i}": jnp.full((size,), float(i)) for i in range(count)}
    host = [np.asarray(leaf) for leaf in state.values()]
    with tempfile.TemporaryDirectory() as folder, nn.Checkpointer(folder, keep_last=1) as run:
        ratios = []
        for step in range(rounds):
            copied = timed(lambda: [leaf.copy() for leaf in host])
            ratios.append(timed(lambda step=step: run.save(state, step)) / copied)
            run.wait()
    held = statistics.median(ratios)
    print(f"asynchronous save of {4 * size * count / 1e6:.0f} MB: holds the loop for {held:.2f} of a copy")


if __name__ == "__main__":
    guard()
    saving()
