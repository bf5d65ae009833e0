"""What objects cost: the jitted train step of a Module against hand-written jax on a nested dict.

    python benchmarks/objects.py

One interleaved run; the figure is the median, over rounds, of the ratio within the round.
"""

import jax
import jax.numpy as jnp
import optax
from comparing import Steps, turns

import purenn.functional as F
import stateful as nn
import transforms


class Mlp(nn.Module):
    """``leaves / 2`` linear layers, small, so that dispatch dominates."""

    def __init__(self, leaves: int, width: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(leaves // 2)])

    def forward(self, x):
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return x


def plain(params, x):
    """The same, by hand."""
    layers = params["layers"]
    for i in range(len(layers)):
        x = x + jax.nn.relu(x @ layers[str(i)]["weight"].T + layers[str(i)]["bias"])
    return x


def steps(leaves: int, width: int):
    """Both steps with their first states, and a batch."""
    net, optimizer, batch = Mlp(leaves, width), optax.adam(1e-3), jnp.ones((8, width))
    trainer = transforms.train_step(net, lambda m, x: (m(x) ** 2).mean(), optimizer)

    def by_hand(state, x):
        params, opt_state, count = state
        value, grads = jax.value_and_grad(lambda p: (plain(p, x) ** 2).mean())(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, count + 1), {"loss": value}

    params, _ = net.init(jax.random.key(0))
    hand = params, optimizer.init(params), jnp.zeros((), jnp.int32)
    return (trainer.step, trainer.init(jax.random.key(0))), (jax.jit(by_hand, donate_argnums=0), hand), batch


def compared(leaves: int, width: int = 16, rounds: int = 60, inner: int = 10) -> float:
    """Median ratio of module to hand-written, over interleaved rounds."""
    ours, hand, batch = steps(leaves, width)
    ratio = turns(Steps(*ours, batch), Steps(*hand, batch), rounds, inner)
    assert ours[0]._cache_size() == 1, "traced again"
    return ratio


def equations(leaves: int, width: int = 16) -> tuple[int, int]:
    """Equations of the jaxpr of apply, and of the function by hand."""
    net, x = Mlp(leaves, width), jnp.ones((8, width))
    params, buffers = net.init(jax.random.key(0))

    def functional(params, x):
        layers = params["layers"]
        for i in range(len(layers)):
            x = x + F.relu(F.linear(x, layers[str(i)]["weight"], layers[str(i)]["bias"]))
        return x

    ours = jax.make_jaxpr(lambda p, x: net.apply(p, buffers, x, rng=jax.random.key(1), train=True)[0])(params, x)
    # the key made from 1 is an equation of this call, not of the module
    extra = len(jax.make_jaxpr(lambda: jax.random.key(1))().eqns)
    return len(ours.eqns) - extra, len(jax.make_jaxpr(functional)(params, x).eqns)


if __name__ == "__main__":
    for leaves in (100, 400):
        print(f"{leaves} leaves: step, Module / by hand = {compared(leaves):.3f}; equations {equations(leaves)}")
