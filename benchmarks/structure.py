"""What the structural transforms cost: compile time of scan, ensembles, frozen backbones, capture and patch.

    python benchmarks/structure.py

Ratios within one interleaved run; compile time is processor time, fresh of each program.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from comparing import turns

import purenn
import purenn.functional as F
import transforms
from purenn import layers as L

KEY = jax.random.key(0)
WIDTH, LAYERS = 64, 48
block = L.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
x = jax.random.normal(KEY, (4, 32, WIDTH))


def loss_of(out):
    return (out**2).mean()


def by_hand(params, buffers, x):
    """The layers under ``lax.scan`` of jax itself: the floor."""
    layers = params[f"0:{LAYERS}"]
    return jax.lax.scan(lambda x, layer: (block.apply(layer, {}, x)[0], None), x, layers)[0], buffers


def programs():
    """By name: the function of value or of value and gradient, and shapes of the arrays."""
    one, found = L.Sequential(block), transforms.scan(L.Sequential(*[block] * LAYERS), where="*")
    models = {"one layer": one, "scan": transforms.scan(block, LAYERS), "scan, found": found}
    applies = {name: (model.apply, jax.eval_shape(model.init, KEY)) for name, model in models.items()}
    applies["lax.scan by hand"] = by_hand, applies["scan"][1]
    for name, (apply, shapes) in applies.items():

        def forward(params, buffers, x, apply=apply):
            return loss_of(apply(params, buffers, x)[0])

        yield name, "forward", forward, shapes
        yield name, "value and gradient", jax.value_and_grad(forward), shapes


def compiling(fn, shapes) -> tuple[float, float, float]:
    """Processor time to trace, to lower and to compile, with nothing known from before."""
    jax.clear_caches()
    times = [time.process_time()]
    traced = jax.jit(lambda *args: fn(*args)).trace(*shapes, x)
    times.append(time.process_time())
    lowered = traced.lower()
    times.append(time.process_time())
    lowered.compile()
    times.append(time.process_time())
    return times[1] - times[0], times[2] - times[1], times[3] - times[2]


def scans() -> None:
    """48 layers in one body: trace and compile, and the numbers, against one layer and unrolled ones."""
    cases = list(programs())
    taken = {(name, what): [] for name, what, _, _ in cases}
    for _ in range(3):
        for name, what, fn, shapes in cases:
            taken[name, what].append(compiling(fn, shapes))
    for (name, what), times in taken.items():
        ratios = [sum(mine) / sum(one) for mine, one in zip(times, taken["one layer", what], strict=True)]
        trace, lower, build = (statistics.median(part) for part in zip(*times, strict=True))
        print(
            f"{LAYERS} layers, {name}, {what}: {statistics.median(ratios):.2f} of one layer "
            f"(trace {trace:.2f} s, lower {lower:.2f} s, compile {build:.2f} s)"
        )
    with jax.enable_x64(True):
        wide = x.astype(jnp.float64)
        unrolled = L.Sequential(*[block] * 12)
        params, buffers = unrolled.init(KEY)
        params = purenn.tree.cast(params, jnp.float64)
        stacked = transforms.scan(block, 12)
        theirs = purenn.load_state_dict(stacked, purenn.state_dict(unrolled, params, buffers))
        theirs = purenn.tree.cast(theirs[0], jnp.float64), theirs[1]
        a, _ = jax.jit(unrolled.apply)(params, buffers, wide)
        b, _ = jax.jit(stacked.apply)(*theirs, wide)
        print(f"scan against unrolled: largest difference {float(jnp.abs(a - b).max() / jnp.abs(a).max()):.1e}")


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


def mlp(width=256):
    return L.Sequential(L.Linear(64, width), F.relu, L.Linear(width, width), F.relu, L.Linear(width, 10))


BATCH = jnp.ones((128, 64)), jnp.zeros(128, jnp.int32)


def ensembles() -> None:
    """A step of eight members at once, against eight steps."""
    plain = transforms.train_step(mlp(), loss, optax.adam(1e-3), donate=False)
    both = transforms.train_step(
        transforms.ensemble(mlp(), 8),
        lambda m, batch: jax.vmap(F.cross_entropy, (0, None))(m(batch[0]), batch[1]).sum(),
        optax.adam(1e-3),
        donate=False,
    )
    states, state = [plain.init(jax.random.key(i)) for i in range(8)], both.init(KEY)

    def together():
        return both.step(state, BATCH)

    def apart():
        return [plain.step(one, BATCH) for one in states]

    print(f"step of ensemble(model, 8): {turns(together, apart, 30, 1):.2f} of eight separate steps")


def flops(fn, *args) -> float:
    return jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]


def frozen() -> None:
    """The step of a frozen backbone, behind clipping too, against forward and backward of the head."""
    model = transforms.freeze(mlp(), ["0.*", "2.*"])
    params, buffers = model.init(KEY)
    # everything is an argument: XLA would compute what it knows
    forward = flops(lambda p, b, batch: loss(purenn.bind(model, p, b), batch), params, buffers, BATCH)
    head = lambda p, h, y: F.cross_entropy(F.linear(h, p["4"]["weight"], p["4"]["bias"]), y)  # noqa: E731
    inputs = params, jnp.ones((128, 256)), BATCH[1]
    bound = forward + flops(jax.grad(head), *inputs) - flops(head, *inputs)
    for name, optimizer in {
        "adam": optax.adam(1e-3),
        "clipped adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
    }.items():
        trainer = transforms.train_step(model, loss, optimizer, donate=False)
        state = trainer.init(KEY)
        cost = trainer.step.lower(state, BATCH).compile().cost_analysis()["flops"]
        moments = purenn.tree.count([leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim])
        print(
            f"frozen backbone, {name}: {cost / bound:.3f} of forward and backward of the head; "
            f"{moments} numbers of optimizer state for {purenn.tree.count(params)} trained"
        )


def captures() -> None:
    """Off, nothing is added; a patch of an activation with itself changes no bit."""
    model = mlp()
    params, buffers = model.init(KEY)
    plain = str(jax.make_jaxpr(model.apply)(params, buffers, BATCH[0]))
    capture = transforms.capture(model, "2")
    with_it = jax.make_jaxpr(capture.apply)(params, buffers, BATCH[0])
    again = str(jax.make_jaxpr(model.apply)(params, buffers, BATCH[0]))
    (out, taken), _ = jax.jit(capture.apply)(params, buffers, BATCH[0])
    patched, _ = jax.jit(transforms.patch(model).apply)(params, buffers, taken, BATCH[0])
    more = len(with_it.eqns) - len(jax.make_jaxpr(model.apply)(params, buffers, BATCH[0]).eqns)
    print(f"capture off: jaxpr {'identical' if plain == again else 'DIFFERS'}; on: {more} equations more")
    print(f"patch of an activation with itself: {'bit-equal' if np.array_equal(out, patched) else 'DIFFERS'}")


def times() -> None:
    """Steps through transforms against the plain step of the same mathematics."""
    plain = transforms.train_step(mlp(), loss, optax.adam(1e-3), donate=False)
    state = plain.init(KEY)
    for name, model in {
        "remat(everything_saveable)": transforms.remat(mlp(), "everything_saveable"),
        "precision(float32)": transforms.precision(mlp(), compute=jnp.float32),
    }.items():
        other = transforms.train_step(model, loss, optax.adam(1e-3), donate=False)
        its = other.init(KEY)
        ratio = turns(
            lambda other=other, its=its: other.step(its, BATCH),
            lambda: plain.step(state, BATCH),
        )
        print(f"step with {name}: {ratio:.2f} of the plain step")


if __name__ == "__main__":
    for part in (scans, ensembles, frozen, captures, times):
        part()
