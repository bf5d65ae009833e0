"""scan: like layers in sequence, compiled once."""

from purenn.errors import refusal
from purenn.model import Model, check_model
from purenn.tree import Where
from transforms.found_layers import Separate, find_layers
from transforms.stacked_layers import Apart, Scan


def scan(
    model: Model, n: int | None = None, where: Where | None = None, *, stacked: bool = True, unroll: int = 1
) -> Model:
    """Runs like layers in sequence through one compiled body (``jax.lax.scan``).

    With ``n``, the model is one layer, and the result is n of them: what ``layers.Sequential(*[model] * n)`` is, with
    its names, its initial arrays and its noise. Each layer gets what the one before gave, which must have the shapes
    and dtypes of what it was given; further inputs go to all of them. With ``where``, the layers are found inside the
    model: equal children of one parent (a Sequential, a ModuleList) that it calls one after the other.

    Tracing and compiling take about as long as for one layer; with gradients, for which ``lax.scan`` compiles a second
    loop that reads what the first one keeps, about twice as long, however many layers there are.

    The arrays are kept stacked, ``params["0:12"]["weight"]`` for layers 0 to 11; in a state_dict each layer has its own
    name (see `purenn.layering`). ``stacked=False`` keeps them apart in params as well, for what speaks of single layers
    (learning rates by depth, say); stacking them inside each step then costs a copy of the weights, and most of what
    compiles quickly is lost.

    Args:
        model: any model; one layer with ``n``, the whole with ``where``.
        n: number of layers.
        where: which children (see `purenn.tree`; the paths are those of models, ``"blocks.*"``).
        stacked: whether params and buffers hold the layers stacked.
        unroll: layers in one turn of the compiled loop.

    Returns:
        The model. A layer draws from a key folded from its name, as it does without.

    Errors:
        TypeError for what is no model; ValueError unless exactly one of ``n`` and ``where`` is given, where ``n`` or
        ``unroll`` is not positive, where ``where`` matches nothing, or layers that differ; in a call, where a layer
        gives other shapes or dtypes than it was given.

    >>> import jax, jax.numpy as jnp, purenn, transforms
    >>> from purenn import layers as L
    >>> net = transforms.scan(L.Linear(4, 4), 3)
    >>> params, buffers = net.init(jax.random.key(0))
    >>> params["0:3"]["weight"].shape, list(purenn.state_dict(net, params, buffers))[:3]
    ((3, 4, 4), ['0.weight', '0.bias', '1.weight'])
    """
    check_model("scan", model)
    if (n is None) == (where is None):
        remedy = "scan(layer, 12), or scan(model, where='blocks.*')."
        raise refusal("scan", "either n or where must be given", {"n": n, "where": where}, remedy)
    for name, value in (("n", n), ("unroll", unroll)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise refusal("scan", f"{name} must be a positive integer", {name: value})
    if where is not None:
        found = find_layers(model, where, unroll)
        return found if stacked else Separate(found)
    assert n is not None
    layers = Scan(model, tuple(map(str, range(n))), unroll)
    return layers if stacked else Apart(layers)
