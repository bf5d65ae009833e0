"""What the options of train_step cost: each compiled step against hand-written jax for the same thing.

    python benchmarks/training.py

One interleaved run; the time is the median, over rounds, of the ratio within the round. Beside it what XLA made of both
programs (see comparing.py).
"""

import sys

import jax
import jax.numpy as jnp
import optax
from comparing import Steps, programs, turns

import purenn
import purenn.functional as F
import transforms
from purenn import layers as L

WIDTH, DEPTH, N = 128, 6, 128
X, Y = jnp.ones((N, WIDTH)), jnp.zeros(N, jnp.int32)


def forward(m, x):
    for layer in m.body:
        x = x + F.relu(layer(x))
    return m.head(x)


def net():
    body = L.Sequential(*[L.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
    return purenn.compose(forward, body=body, head=L.Linear(WIDTH, 10))


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def plain(params, x):
    """The same, by hand."""
    for i in range(DEPTH):
        layer = params["body"][str(i)]
        x = x + jax.nn.relu(x @ layer["weight"].T + layer["bias"])
    return x @ params["head"]["weight"].T + params["head"]["bias"]


def value(params, batch):
    return F.cross_entropy(plain(params, batch[0]), batch[1])


def half(dtype):
    def fn(params, batch):
        params = jax.tree.map(lambda a: a.astype(dtype), params)
        return F.cross_entropy(plain(params, batch[0].astype(dtype)).astype(jnp.float32), batch[1])

    return fn


def update(optimizer, params, opt_state, grads):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def simple(optimizer, value=value):
    def step(state, batch):
        params, opt_state = state
        out, grads = jax.value_and_grad(value)(params, batch)
        return update(optimizer, params, opt_state, grads), out

    params, _ = net().init(jax.random.key(0))
    return step, (params, optimizer.init(params))


def scaled(optimizer):
    """Dynamic loss scaling."""
    fn = half(jnp.float16)

    def step(state, batch):
        params, opt_state, scale, good = state
        out, grads = jax.value_and_grad(lambda p: fn(p, batch) * scale)(params)
        grads = jax.tree.map(lambda g: g / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), update(optimizer, params, opt_state, grads),
                           (params, opt_state))  # fmt: skip
        grows = good + 1 >= 2000
        next_scale = jnp.where(finite, jnp.where(grows, scale * 2, scale), scale / 2)
        return (*new, next_scale, jnp.where(finite & ~grows, good + 1, 0)), out / scale

    params, _ = net().init(jax.random.key(0))
    return step, (params, optimizer.init(params), jnp.float32(2.0**16), jnp.int32(0))


def averaged(optimizer):
    def step(state, batch):
        params, opt_state, mean = state
        out, grads = jax.value_and_grad(value)(params, batch)
        params, opt_state = update(optimizer, params, opt_state, grads)
        return (params, opt_state, jax.tree.map(lambda m, p: m + 0.01 * (p - m), mean, params)), out

    params, _ = net().init(jax.random.key(0))
    return step, (params, optimizer.init(params), jax.tree.map(jnp.copy, params))


def accumulated(optimizer):
    def step(state, batch):
        params, opt_state = state
        parts = jax.tree.map(lambda a: a.reshape(N // 4, 4, *a.shape[1:]).swapaxes(0, 1), batch)

        def add(total, part):
            out, grads = jax.value_and_grad(value)(params, part)
            return jax.tree.map(jnp.add, total, grads), out

        grads, outs = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return update(optimizer, params, opt_state, jax.tree.map(lambda g: g / 4, grads)), outs.mean()

    params, _ = net().init(jax.random.key(0))
    return step, (params, optimizer.init(params))


def frozen(optimizer):
    def step(state, batch):
        (head, opt_state), body = state
        out, grads = jax.value_and_grad(lambda h: value({"body": body, "head": h}, batch))(head)
        return (update(optimizer, head, opt_state, grads), body), out

    params, _ = net().init(jax.random.key(0))
    return step, ((params["head"], optimizer.init(params["head"])), params["body"])


def groups(optimizer):
    del optimizer
    by_hand = optax.partition(
        {"a": optax.adamw(1e-3, weight_decay=0.0), "b": optax.adamw(1e-3)},
        lambda params: jax.tree.map(lambda a: "a" if a.ndim == 1 else "b", params),
    )
    return simple(by_hand)


ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
GROUPS = transforms.param_groups({"*.bias": optax.adamw(1e-3, weight_decay=0.0)}, rest=optax.adamw(1e-3))
CASES = {
    "train_step": (transforms.train_step(net(), loss, ADAM), simple(ADAM)),
    "precision bfloat16": (
        transforms.train_step(net(), loss, ADAM, precision=jnp.bfloat16),
        simple(ADAM, half(jnp.bfloat16)),
    ),
    "precision float16, scaled": (transforms.train_step(net(), loss, ADAM, precision=jnp.float16), scaled(ADAM)),
    "ema": (transforms.train_step(net(), loss, ADAM, ema=0.99), averaged(ADAM)),
    "accumulate": (transforms.train_step(net(), loss, ADAM, accumulate=4), accumulated(ADAM)),
    "freeze": (transforms.train_step(transforms.freeze(net(), "body.*"), loss, ADAM), frozen(ADAM)),
    "param_groups": (transforms.train_step(net(), loss, GROUPS), groups(ADAM)),
    "checked, off": (transforms.train_step(transforms.checked(net()), loss, ADAM), simple(ADAM)),
}


def compared(trainer, by_hand, rounds: int, inner: int = 5) -> tuple[float, str]:
    """Median ratio of time to the step by hand, and what the compiler made of both."""
    hand, state = by_hand
    pairs = [(trainer.step, trainer.init(jax.random.key(0))), (jax.jit(hand, donate_argnums=0), state)]
    compiled = [step.lower(state, (X, Y)).compile() for step, state in pairs]
    ratio = turns(*[Steps(step, state, (X, Y)) for step, state in pairs], rounds, inner)
    assert trainer.step._cache_size() == 1, "traced again"
    return ratio, programs(compiled)


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for name, case in CASES.items():
        times, made = compared(*case, rounds)
        print(f"{name}: time {times:.3f}, {made}", flush=True)
