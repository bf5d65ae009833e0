"""What the transforms of gradients cost: each compiled step against hand-written jax for the same thing.

    python benchmarks/gradients.py

One interleaved run; the time is the median, over rounds, of the ratio within the round. Beside it what XLA made of both
programs (see comparing.py), the equations of both jaxprs, and the lines of code of the file without docstrings,
comments and blanks.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from comparing import compare
from lines import lines

import purenn.functional as F
import stateful as nn
import transforms
from transforms import func

WIDTH, DEPTH, N, MICRO = 64, 8, 64, 8
FOLDER = Path(transforms.__file__).parent
FILES = {
    "value_and_grad": ["gradients"],
    "value_and_grad, a part": ["gradients"],
    "accumulate": ["accumulation", "batching"],
    "per_example_grad": ["per_example", "batching"],
    "hvp": ["curvature"],
    "ntk": ["curvature"],
    "linearize": ["linearizing"],
    "func: vmap of grad of functional_call": [
        "func/calling",
        "func/vectorizing",
        "func/differentiating",
        "func/ordering",
    ],
}


class Mlp(nn.Module):
    """Small enough for the overhead of a call to show."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])

    def forward(self, x):
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return x


def plain(params, x):
    """The same, by hand."""
    for i in range(DEPTH):
        layer = params["layers"][str(i)]
        x = x + jax.nn.relu(x @ layer["weight"].T + layer["bias"])
    return x


def loss(m, x):
    return (m(x) ** 2).mean()


def by_hand(params, x):
    return (plain(params, x) ** 2).mean()


def accumulated(params, x):
    def add(total, part):
        value, grads = jax.value_and_grad(by_hand)(params, part)
        return jax.tree.map(jnp.add, total, grads), value

    parts = x.reshape(N // MICRO, MICRO, WIDTH).swapaxes(0, 1)
    total, values = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
    return values.mean(), jax.tree.map(lambda g: g / MICRO, total)


def part_by_hand(params, x):
    last = str(DEPTH - 1)
    rest = {name: layer for name, layer in params["layers"].items() if name != last}

    def of_last(layer):
        return by_hand({"layers": {**rest, last: layer}}, x)

    return jax.value_and_grad(of_last)(params["layers"][last])


def kernel_by_hand(params, x):
    jacobian = jax.vmap(lambda one: jax.jacrev(lambda p: plain(p, one[None])[0, :4])(params))(x)
    parts = jax.tree.map(lambda j: jnp.einsum("Naf,Maf->NM", *(j.reshape(len(x), 4, -1),) * 2), jacobian)
    return sum(jax.tree.leaves(parts))


def pairs():
    """By name: ours, by hand, and the arguments of both."""
    net, x = Mlp(), jnp.linspace(-1, 1, N * WIDTH).reshape(N, WIDTH)
    params, _ = net.init(jax.random.key(0))
    vector, few = jax.tree.map(jnp.ones_like, params), x[:8]
    head = func_head(net)
    line = transforms.linearize(net)
    moved = jax.tree.map(lambda p: p * 1.01, params)
    flat = dict(net.named_parameters())

    def per_sample(params, one):
        return loss(lambda x: func.functional_call(net, params, x), one[None])

    def ours(transform, **options):
        fn = transform(net, loss, **options)
        return lambda params, *args: fn(params, {}, *args)

    return {
        "value_and_grad": (ours(transforms.value_and_grad), jax.value_and_grad(by_hand), (params, x)),
        "value_and_grad, a part": (
            ours(transforms.value_and_grad, where=f"layers.{DEPTH - 1}.*"), part_by_hand, (params, x)
        ),
        "accumulate": (ours(transforms.accumulate, n=MICRO), accumulated, (params, x)),
        "per_example_grad": (
            ours(transforms.per_example_grad),
            jax.vmap(lambda params, one: jax.value_and_grad(by_hand)(params, one[None]), (None, 0)),
            (params, x),
        ),
        "hvp": (
            ours(transforms.hvp),
            lambda params, v, x: jax.jvp(lambda p: jax.grad(by_hand)(p, x), (params,), (v,)),
            (params, vector, x),
        ),
        "ntk": (lambda params, x: transforms.ntk(head, compute="trace")(params, {}, x), kernel_by_hand, (params, few)),
        "linearize": (
            lambda params, origin, x: line.apply(params, {"origin": origin}, x)[0],
            lambda params, origin, x: sum(
                jax.jvp(lambda p: plain(p, x), (origin,), (jax.tree.map(jnp.subtract, params, origin),))
            ),
            (moved, params, x),
        ),
        "func: vmap of grad of functional_call": (
            func.vmap(func.grad(per_sample), in_dims=(None, 0)),
            jax.vmap(jax.grad(lambda p, one: by_hand(nested(p), one[None])), (None, 0)),
            (flat, x),
        ),
    }  # fmt: skip


def nested(flat):
    layers = {}
    for name, array in flat.items():
        layers.setdefault(name.split(".")[1], {})[name.split(".")[2]] = array
    return {"layers": layers}


def func_head(net):
    """The first four outputs."""

    class Head:
        def init(self, rng):
            return net.init(rng)

        def apply(self, params, buffers, x, rng=None, train=False):
            return net.apply(params, buffers, x)[0][:, :4], buffers

    return Head()


def equations(fn, args) -> int:
    """Of the jaxpr, those inside others too."""

    def counted(jaxpr) -> int:
        inner = [part for eqn in jaxpr.eqns for value in eqn.params.values() for part in _bodies(value)]
        return len(jaxpr.eqns) + sum(map(counted, inner))

    return counted(jax.make_jaxpr(fn)(*args).jaxpr)


def _bodies(value):
    for part in value if isinstance(value, (list, tuple)) else [value]:
        if hasattr(part, "eqns"):
            yield getattr(part, "jaxpr", part)


if __name__ == "__main__":
    for name, (ours, hand, args) in pairs().items():
        count = ", ".join(f"{file} {lines(FOLDER / f'{file}.py')}" for file in FILES[name])
        print(f"{name}: {compare(ours, hand, args)}; "
              f"equations {equations(ours, args)} / {equations(hand, args)}; lines: {count}", flush=True)  # fmt: skip
