"""What each transform of models costs: value and gradient through it, against hand-written jax for the same thing.

    python benchmarks/overhead.py [rounds] [names ...]

One interleaved run. Beside the time stand the instructions of both compiled programs, and the ratios of the FLOPs and
bytes that XLA counts: where those are one, the compiler made the same of both.
"""

import sys

import jax
import jax.numpy as jnp
from comparing import compare

import transforms
from purenn import layers as L

WIDTH, DEPTH, N = 128, 4, 64
KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, N * WIDTH).reshape(N, WIDTH)
WEIGHTS = "*.weight"


def net():
    """Linear layers with tanh between them."""
    return L.Sequential(*[part for _ in range(DEPTH) for part in (L.Linear(WIDTH, WIDTH), jnp.tanh)])


def block():
    return L.Sequential(L.Linear(WIDTH, WIDTH), jnp.tanh)


def linear(x, weight, bias):
    return jnp.tanh(x @ weight.T + bias)


def plain(params, x):
    """The net, by hand."""
    for i in range(DEPTH):
        layer = params[str(2 * i)]
        x = linear(x, layer["weight"], layer["bias"])
    return x


def mean_square(out):
    return (out**2).mean()


def through(weight, bias="bias"):
    """The net with weights that are computed: ``weight(params of the layer, buffers of the layer)``."""

    def forward(params, buffers, x):
        for i in range(DEPTH):
            layer, state = params.get(str(2 * i), {}), buffers.get(str(2 * i), {})
            x = linear(x, weight(layer, state), layer[bias])
        return x, buffers

    return forward


def raw(name):
    return lambda layer, state: layer["parametrizations"]["weight"][name]


def normed(layer, state):
    g, v = raw("original0")(layer, state), raw("original1")(layer, state)
    return v * (g / jnp.sqrt((v * v).sum(1, keepdims=True)))


def unit(v):
    return v / jnp.maximum(jnp.sqrt((v * v).sum()), 1e-12)


def bounded(params, buffers, x):
    """One step of the power method, and the division."""
    after = {}
    for i in range(DEPTH):
        layer, state = params[str(2 * i)], buffers[str(2 * i)]["parametrizations"]["weight"]["0"]
        w = layer["parametrizations"]["weight"]["original"]
        fixed = jax.lax.stop_gradient(w)
        u = unit(fixed @ state["_v"])
        v = unit(fixed.T @ u)
        after[str(2 * i)] = {"parametrizations": {"weight": {"0": {"_u": u, "_v": v}}}}
        x = linear(x, w / (u @ (w @ v)), layer["bias"])
    return x, after


def rotated(layer, state):
    lower = jnp.tril(layer["parametrizations"]["weight"]["original"])
    return state["parametrizations"]["weight"]["0"]["base"] @ jax.scipy.linalg.expm(lower - lower.T)


def corrected(layer, state):
    return state["weight"] + layer["lora_B"]["weight"] @ layer["lora_A"]["weight"]


def from_int8(layer, state):
    return state["weight"].astype(jnp.float32) * state["weight_scale"]


def from_int4(layer, state):
    packed = state["weight_packed"].astype(jnp.int8)
    q = jnp.stack([packed << 4 >> 4, packed >> 4], -1).reshape(WIDTH, -1, 32)
    return (q.astype(jnp.float32) * state["weight_scale"][..., None]).reshape(WIDTH, WIDTH)


def stacked(params, buffers, x):
    def step(x, layer):
        return linear(x, layer["0"]["weight"], layer["0"]["bias"]), None

    return jax.lax.scan(step, x, params[f"0:{DEPTH}"])[0], buffers


def captured(params, buffers, x):
    taken = {}
    for i in range(DEPTH):
        layer = params[str(2 * i)]
        x = linear(x, layer["weight"], layer["bias"])
        taken[str(2 * i + 1)] = x
    return (x, taken), buffers


def patched(params, buffers, values, x):
    """All that comes before the replaced activation goes unused, so that the compiler leaves it out of both."""
    for i in range(DEPTH):
        layer = params[str(2 * i)]
        x = linear(x, layer["weight"], layer["bias"])
        x = values.get(str(2 * i + 1), x)
    return x, buffers


def tied(params, buffers, x):
    weight = params["0"]["weight"]
    for i in range(DEPTH):
        x = linear(x, params["2"]["weight"] if i == 1 else weight if i in (0, 2) else params["6"]["weight"],
                   params[str(2 * i)]["bias"])  # fmt: skip
    return x, buffers


def averaged(params, buffers, x):
    first = buffers["n_averaged"] == 0
    rate = jnp.where(first, 1.0, 1 - jnp.float32(0.99))
    mean = jax.tree.map(lambda m, p: m + rate * (jax.lax.stop_gradient(p) - m), buffers["averaged"], params)
    return plain(params, x), {"averaged": mean, "n_averaged": buffers["n_averaged"] + 1}


def low(params, buffers, x):
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    return plain(half, x.astype(jnp.bfloat16)).astype(jnp.float32), buffers


def frozen(params, buffers, x):
    return plain({**params, **buffers}, x), buffers


def pure(forward):
    return lambda params, buffers, x: (forward(params, x), buffers)


def function(m, x):
    for i in range(DEPTH):
        x = jnp.tanh(m(str(2 * i), L.Linear(x.shape[-1], WIDTH))(x))
    return x


def nested(params, buffers, x):
    """Members of layers in one body, in bfloat16, the first array frozen."""

    def member(params, buffers):
        def step(x, layer):
            weight, bias = (a.astype(jnp.bfloat16) for a in layer)
            return linear(x, weight, bias), None

        arrays = buffers[f"0:{DEPTH}"]["0"]["weight"], params[f"0:{DEPTH}"]["0"]["bias"]
        return jax.lax.scan(step, x.astype(jnp.bfloat16), arrays)[0].astype(jnp.float32)

    return jax.vmap(member)(params, buffers), buffers


# By name: the model, and the same by hand, ``(params, buffers, *inputs) -> (out, buffers)``.
T = transforms
CASES = {
    "ensemble": (lambda: T.ensemble(net(), 4), pure(jax.vmap(plain, (0, None)))),
    "scan": (lambda: T.scan(block(), DEPTH), stacked),
    "scan, found": (lambda: T.scan(L.Sequential(*[block()] * DEPTH), where="*"), stacked),
    "remat": (lambda: T.remat(net()), pure(jax.checkpoint(plain))),
    "capture": (lambda: T.capture(net(), [str(2 * i + 1) for i in range(DEPTH)]), captured),
    "patch": (lambda: T.patch(net()), patched),
    "functionalize": (lambda: T.functionalize(function, X), pure(plain)),
    "freeze": (lambda: T.freeze(net(), ["0.*", "2.*"]), frozen),
    "parametrize": (lambda: T.parametrize(net(), WEIGHTS, jnp.exp), through(lambda *a: jnp.exp(raw("original")(*a)))),
    "weight_norm": (lambda: T.weight_norm(net(), WEIGHTS), through(normed)),
    "spectral_norm": (lambda: T.spectral_norm(net(), WEIGHTS), bounded),
    "orthogonal": (lambda: T.orthogonal(net(), WEIGHTS), through(rotated)),
    "lora": (lambda: T.lora(net(), rank=8), through(corrected)),
    "quantize, 8 bits": (lambda: T.quantize(net()), through(from_int8)),
    "quantize, 4 bits": (lambda: T.quantize(net(), bits=4, group_size=32), through(from_int4)),
    "prune": (
        lambda: T.prune(net(), WEIGHTS, 0.5),
        through(lambda layer, state: state["weight_mask"] * layer["weight_orig"]),
    ),
    "tie": (lambda: T.tie(net(), "0.weight", "4.weight"), tied),
    "ema": (lambda: T.ema(net(), 0.99), averaged),
    "precision, bfloat16": (lambda: T.precision(net()), low),
    "precision, float32": (lambda: T.precision(net(), compute=jnp.float32), pure(plain)),
    "checked, off": (lambda: T.checked(net()), pure(plain)),
    "ensemble(precision(freeze(scan)))": (
        lambda: T.ensemble(T.precision(T.freeze(T.scan(block(), DEPTH), "*.weight")), 4),
        nested,
    ),
}


def by_hand(forward):
    """Value and gradient, as `value_and_grad` gives them."""

    def fn(params, buffers, *inputs):
        def scalar(params):
            out, after = forward(params, buffers, *inputs)
            return mean_square(out[0] if isinstance(out, tuple) else out), (out, after)

        (value, (out, after)), grads = jax.value_and_grad(scalar, has_aux=True)(params)
        return (value, out, after), grads

    return fn


def ours(model):
    def loss(m, *inputs):
        out = m(*inputs)
        return mean_square(out[0] if isinstance(out, tuple) else out), out

    fn = transforms.value_and_grad(model, loss)

    def step(params, buffers, *inputs):
        ((value, out), after), grads = fn(params, buffers, *inputs)
        return (value, out, after), grads

    return step


def inputs_of(name):
    return ({"3": jnp.ones((N, WIDTH))}, X) if name == "patch" else (X,)


def check(name, model, forward, args):
    """Both must compute the same."""
    mine, theirs = (jax.jit(fn)(*args) for fn in (ours(model), by_hand(forward)))
    tolerance = 0.05 if "precision" in name else 1e-3
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        scale = float(jnp.abs(b.astype(jnp.float32)).max()) + 1e-6
        error = float(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).max()) / scale
        assert error < tolerance, (name, error)


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for name in sys.argv[2:] or CASES:
        make, forward = CASES[name]
        model = make()
        args = (*model.init(KEY), *inputs_of(name))
        check(name, model, forward, args)
        print(f"{name}: {compare(ours(model), by_hand(forward), args, rounds=rounds)}", flush=True)
