"""find_nonfinite: the first module whose output, or the gradient of it, is not finite."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import Interceptor, Paths, Run, intercepted
from purenn.model import Buffers, Model, Params, bind, check_model
from purenn.recording import Recording
from purenn.tree import flatten
from transforms.gradient_probes import Probing, Survey, events, is_floating


class NonFinite(NamedTuple):
    """Where the first numbers are that are not finite; printed, it says so."""

    path: str  # of the module or param, "" for the model as a whole
    what: str  # "param", "output", "loss", "output gradient", "input gradient", "param gradient"
    numbers: int  # how many of them are not finite

    def __str__(self) -> str:
        name = self.path or "the model"
        said = {
            "param": f"{name} itself",
            "loss": "the loss, of finite outputs",
            "output gradient": f"the gradient of the output of {name}",
            "input gradient": f"the gradient of the inputs of {name}, of a finite one of its output",
            "param gradient": f"the gradient of {name}",
        }.get(self.what, f"the output of {name}")
        return f"{said} ({self.numbers} numbers)"


def find_nonfinite(
    model: Model,
    params: Params,
    buffers: Buffers,
    *args: Any,
    loss: Callable[..., Any] | None = None,
    rng: Any = None,
    train: bool = False,
    **kwargs: Any,
) -> NonFinite | None:
    """Finds where a model leaves the finite numbers: the first module forward, or else backward.

    Forward, it is the innermost module whose output is not finite and that ended first. Backward, modules are passed in
    reverse, and the first is named whose output, inputs or params have a gradient that is not finite.

    Args:
        model: any model.
        params: its params; they are looked at first.
        buffers: its buffers.
        *args: inputs, or the batch of the loss.
        loss: ``loss(m, *args) -> value`` or ``-> (value, metrics)``, as in `value_and_grad`; None takes the sum of
            the outputs.
        rng: PRNG key, where the model draws numbers.
        train: training or evaluation.
        **kwargs: inputs.

    Returns:
        What was found; None where all is finite. In layers that share one compiled body, the layer.

    Errors:
        TypeError for what is no model.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> net = L.Sequential(L.Linear(3, 2), jnp.log, L.Linear(2, 1))
    >>> print(transforms.find_nonfinite(net, *net.init(jax.random.key(0)), -jnp.ones((1, 3)) * 1e3))
    the output of 1 (2 numbers)
    """
    check_model("find_nonfinite", model)
    for path, array in flatten(params).items():
        if wrong := int(_wrong(array)):
            return NonFinite(path, "param", wrong)

    def value(params: Params, interceptor: Interceptor, rest: Any) -> Any:
        buffers, rng, args, kwargs = rest
        with intercepted(interceptor):
            m = bind(model, params, buffers, rng, train)
            out = _total(m(*args, **kwargs)) if loss is None else loss(m, *args, **kwargs)
        return out[0] if isinstance(out, tuple) else out

    rest = buffers, rng, args, kwargs
    return _forward(value, params, rest) or _backward(value, params, rest)


Value = Callable[[Params, Interceptor, Any], Any]


def _forward(value: Value, params: Params, rest: Any) -> NonFinite | None:
    try:
        calls, last = _recorded(value, params, rest)
    except jax.errors.UnexpectedTracerError:  # a loop of the model's own, out of which no record comes
        calls, last = _told(value, params, rest)
    for path, wrong in calls:
        if wrong:
            return NonFinite(path, "output", wrong)
    return NonFinite("", "loss", last) if last else None


def _recorded(value: Value, params: Params, rest: Any) -> tuple[list[tuple[str, int]], int]:
    """How many numbers of each output are not finite, in the order of the calls, and of the loss."""
    names: list[Paths] = []

    def run(arrays: Any) -> tuple[list[Any], Any]:
        record = Recording(lambda paths, args, kwargs, out: _wrong(out))
        result = value(arrays[0], record, arrays[1])
        names[:] = record.calls
        return list(record.calls.values()), _wrong(result)

    counts, last = _jitted(run, (params, rest))
    pairs = zip(names, counts, strict=True)
    return [(paths[0], sum(int(np.sum(count)) for count in calls)) for paths, calls in pairs], int(last)


def _told(value: Value, params: Params, rest: Any) -> tuple[list[tuple[str, int]], int]:
    """The same, by word to the host, in the order in which it comes: a loop goes round before it goes on.

    The first layer stands for those that share its body.
    """
    told: dict[str, int] = {}

    class Telling(Interceptor):
        def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            out = run(*args, **kwargs)
            jax.debug.callback(partial(hear, paths[0]), _wrong(out))
            return out

    def hear(path: str, wrong: Any) -> None:
        if wrong:
            told[path] = told.get(path, 0) + int(wrong)

    last = int(_jitted(lambda arrays: _wrong(value(arrays[0], Telling(), arrays[1])), (params, rest)))
    jax.effects_barrier()
    return list(told.items()), last


def _backward(value: Value, params: Params, rest: Any) -> NonFinite | None:
    survey = Survey({})
    jax.eval_shape(lambda params: value(params, survey, rest), params)
    probes = {key: jnp.zeros((*site.sizes, 2), jnp.float32) for key, site in survey.sites.items()}

    def run(arrays: Any) -> Any:
        params, probes, rest = arrays
        grads, found = jax.grad(lambda params, probes: value(params, Probing(probes), rest), (0, 1))(params, probes)
        return {path: _wrong(grad) for path, grad in flatten(grads).items()}, found

    grads, found = _jitted(run, (params, probes, rest))
    found_events = [event for key, site in survey.sites.items() for event in events(key[0], site, found[key], grads)]
    for _, path, what, wrong in sorted(found_events, key=lambda event: event[0], reverse=True):
        if wrong:
            return NonFinite(path, what, wrong)
    # params of no module that was called: those that a transform computes weights from
    return next((NonFinite(path, "param gradient", int(wrong)) for path, wrong in grads.items() if wrong), None)


def _jitted(run: Callable[[Any], Any], arrays: Any) -> Any:
    """``run(arrays)``, compiled; flags and strings among the inputs stay what they are."""
    leaves, tree = jax.tree.flatten(arrays)
    given = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))}

    def compiled(given: dict[int, Any]) -> Any:
        return run(jax.tree.unflatten(tree, [given.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return jax.device_get(jax.jit(compiled)(given))


def _wrong(tree: Any) -> jax.Array:
    """How many numbers in a tree are not finite."""
    return sum(
        (jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if is_floating(leaf)), jnp.zeros((), int)
    )


def _total(out: Any) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(out) if is_floating(leaf)]
    return sum((jnp.sum(jnp.real(leaf).astype(jnp.float32)) for leaf in leaves), jnp.zeros(()))
