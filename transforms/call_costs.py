"""What the calls inside a model put out and cost: one trace, of which nothing is run or allocated."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import Paths, Run, intercepted
from purenn.model import bind
from purenn.recording import Recording
from transforms.counting import flops_by_call, marked


class Call(NamedTuple):
    """What is known of one call after tracing."""

    path: str
    number: int  # shared by the layers that share a compiled body
    share: float  # of what that body costs
    output: Any
    held: tuple[tuple[Any, int], ...]  # identity and bytes of each array it put out; none where others were called


class _Numbers:
    """Counts calls, also those in a region that is recorded apart."""

    def __init__(self) -> None:
        self.next = 0
        self.alive: list[Any] = []  # keeps identities from being used again

    def take(self) -> int:
        self.next += 1
        return self.next - 1


class _Watching(Recording):
    """Keeps the outputs of calls, and marks the equations of each."""

    def __init__(self, numbers: _Numbers):
        super().__init__(lambda paths, args, kwargs, out: None)
        self.numbers = numbers
        self.seen: list[Call] = []

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the child in a scope of its own."""
        number = self.numbers.take()
        with marked(number):
            out = run(*args, **kwargs)
        innermost = self.numbers.next == number + 1
        self.numbers.alive.append(out)
        ids = [id(leaf) for leaf in jax.tree.leaves(out) if is_array(leaf)] if innermost else []
        self.calls.setdefault(paths, []).append({"number": number, "out": out, "ids": ids})
        return out

    def inside(self, given: Any, base: Paths, names: Any) -> "_Watching":
        """Records apart what is inside a region, with numbers of the same series."""
        del given, base, names
        return _Watching(self.numbers)

    def close(self) -> None:
        """Keeps shapes in the place of the arrays, while these are there."""
        places = [(path, call) for paths, kept in self.calls.items() for call in kept for path in paths]
        copies = Counter(call["number"] for _, call in places)
        done: Counter[int] = Counter()
        for path, call in places:
            number, arrays = call["number"], [leaf for leaf in jax.tree.leaves(call["out"]) if is_array(leaf)]
            held = [((own, done[number]), _size(x)) for own, x in zip(call["ids"], arrays, strict=False)]
            output = jax.tree.map(lambda x: shape_of(x) if is_array(x) else x, call["out"])
            self.seen.append(Call(path, number, 1 / copies[number], output, tuple(held)))
            done[number] += 1


def is_array(leaf: Any) -> bool:
    """Whether a leaf has a shape and a dtype.

    Args:
        leaf: anything.

    Returns:
        True for arrays and ``jax.ShapeDtypeStruct``.
    """
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Takes the shape and dtype of an array, or of the declaration of one.

    Args:
        leaf: what has both.

    Returns:
        The two.
    """
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def traced_calls(
    model: Any, params: Any, buffers: Any, inputs: Any, kwargs: Any, random: bool, train: bool
) -> tuple[list[Call], dict[int, float], int]:
    """Traces a call of a model, and once more with its derivative.

    Args:
        model: any model.
        params: their shapes.
        buffers: their shapes.
        inputs: arrays, or their shapes; what is neither is passed on.
        kwargs: the same by name.
        random: whether the call has a key.
        train: training or evaluation.

    Returns:
        ``(calls, flops, saved)``: the calls inside the model, the FLOPs by their numbers (-1 is what is in none), and
        the bytes that the forward pass keeps for the backward pass.
    """
    leaves, tree = jax.tree.flatten((inputs, kwargs))
    shapes = {i: shape_of(leaf) for i, leaf in enumerate(leaves) if is_array(leaf)}
    key = jax.eval_shape(jax.random.key, 0) if random else None
    watching = _Watching(_Numbers())

    def run(params: Any, buffers: Any, arrays: dict[int, Any], rng: Any) -> Any:
        inputs, kwargs = jax.tree.unflatten(tree, [arrays.get(i, leaf) for i, leaf in enumerate(leaves)])
        return bind(model, params, buffers, rng, train)(*inputs, **kwargs)

    def watched(*args: Any) -> Any:
        with intercepted(watching):
            out = run(*args)
        watching.close()
        return jax.tree.map(lambda leaf: leaf if is_array(leaf) else None, out)

    jaxpr = jax.make_jaxpr(watched)(params, buffers, shapes, key)
    return watching.seen, flops_by_call(jaxpr), _saved_bytes(run, params, buffers, shapes, key)


def _saved_bytes(run: Callable[..., Any], params: Any, *rest: Any) -> int:
    """The bytes that the backward pass reads, without the params."""
    sizes: list[int] = []

    def differentiated(params: Any, *rest: Any) -> Any:
        def floating(params: Any) -> Any:
            out = jax.tree.leaves(run(params, *rest))
            return [leaf for leaf in out if is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)]

        _, pull = jax.vjp(floating, params)
        own = {id(leaf) for leaf in jax.tree.leaves(params)}
        kept = {id(leaf): leaf for leaf in jax.tree.leaves(pull) if is_array(leaf) and id(leaf) not in own}
        sizes.append(sum(map(_size, kept.values())))

    jax.eval_shape(differentiated, params, *rest)
    return sizes[0]
