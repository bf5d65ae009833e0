"""summary: what a model is made of, module by module, and what a call costs; nothing is drawn, run or allocated."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from purenn.errors import refusal
from purenn.layering import named_leaves
from purenn.model import Function, Layer, Leaf, Model, check_model, structure
from purenn.tree import count, flatten, nbytes, unflatten
from transforms.call_costs import Call, shape_of, traced_calls
from transforms.scanning import Scan
from transforms.summary_table import Row, Summary


def summary(
    model: Model, *inputs: Any, rng: Any = None, train: bool = False, depth: int | None = None, **kwargs: Any
) -> Summary:
    """Describes a model by its modules: outputs, sizes, and what a call costs.

    Args:
        model: any model.
        *inputs: of a call: arrays, or their shapes and dtypes (``jax.ShapeDtypeStruct``); what is neither is passed on.
        rng: PRNG key, where the call draws numbers; only that there is one matters, and in training there always is.
        train: training or evaluation.
        depth: how deep the printed table goes, None all the way.
        **kwargs: inputs by name.

    Returns:
        The summary. FLOPs are XLA's count, before it optimizes the program: an addition is one, a product of matrices
        two for each pair. Layers that share one compiled body share its FLOPs evenly.

    Errors:
        TypeError for what is no model; ValueError for a negative depth.

    >>> import jax, jax.numpy as jnp, transforms
    >>> from purenn import layers as L
    >>> report = transforms.summary(L.Sequential(L.Linear(3, 4), jnp.tanh), jax.ShapeDtypeStruct((5, 3), jnp.float32))
    >>> [(row.path, row.kind, row.output.shape, row.params, int(row.flops)) for row in report.rows]
    [('', 'Sequential', (5, 4), 16, 140), ('0', 'Linear', (5, 4), 16, 140), ('1', 'tanh', (5, 4), 0, 0)]
    """
    check_model("summary", model)
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise refusal("summary", "depth must be a number of levels or None", {"depth": depth})
    leaves: dict[str, Leaf] = flatten(structure(model))
    params, buffers = (
        unflatten({path: shape_of(leaf) for path, leaf in leaves.items() if leaf.trainable is trained})
        for trained in (True, False)
    )
    random = train or rng is not None
    calls, flops, saved = traced_calls(model, params, buffers, inputs, kwargs, random, train)
    named = named_leaves(leaves)
    rows = [_row(model, path, named, calls, flops) for path in _paths(named, calls)]
    return Summary(tuple(rows), nbytes(params), nbytes(buffers), saved, depth)


def _paths(leaves: Mapping[str, Leaf], calls: list[Call]) -> list[str]:
    """The modules that were called, or hold arrays: parents first, then by their first call."""
    first: dict[str, int] = {}
    places = [(call.path, call.number) for call in sorted(calls, key=lambda call: call.number)]
    places += [(path.rpartition(".")[0], len(calls)) for path in leaves]
    for path, number in places:
        for place in _ancestry(path):
            first.setdefault(place, number)
    children: dict[str, list[str]] = {}
    for path in sorted(first, key=lambda path: first[path]):
        children.setdefault(path.rpartition(".")[0], []).append(path)

    def walk(path: str) -> Iterator[str]:
        yield path
        for child in children.get(path, []):
            yield from walk(child)

    return [*walk("")]


def _row(model: Model, path: str, leaves: Mapping[str, Leaf], calls: list[Call], flops: Mapping[int, float]) -> Row:
    def within(other: str) -> bool:
        return not path or other == path or other.startswith(f"{path}.")

    own = [call for call in calls if call.path == path]
    inner = [call for call in calls if within(call.path)]
    held = [leaf for place, leaf in leaves.items() if within(place)]
    counted = sum(flops.get(call.number, 0.0) * call.share for call in inner)
    return Row(
        path,
        kind(model, path),
        own[0].output if own else None,
        len(own),
        count([shape_of(leaf) for leaf in held if leaf.trainable]),
        count([shape_of(leaf) for leaf in held if not leaf.trainable]),
        counted if path else counted + flops.get(-1, 0.0),
        sum(dict(array for call in inner for array in call.held).values()),
    )


def _ancestry(path: str) -> list[str]:
    """'a', 'a.b' and 'a.b.c' of 'a.b.c'."""
    parts = path.split(".") if path else []
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


@runtime_checkable
class _Walkable(Protocol):
    """A module, which finds its parts itself."""

    def get_submodule(self, target: str) -> Any: ...


@runtime_checkable
class _Around(Protocol):
    """A transform, which has the paths of its model."""

    model: Any


def kind(model: Any, path: str) -> str:
    """Names what is at a path of a model.

    Args:
        model: any model.
        path: dotted, empty for the model itself.

    Returns:
        The name of its class, or of the function that it is; empty where the model does not say.
    """
    found = _part(model, path.split(".") if path else [])
    if isinstance(found, Function):
        return getattr(found.fn, "__name__", type(found.fn).__name__)
    return "" if found is None else type(found).__name__


def _part(model: Any, names: list[str]) -> Any:
    if not names:
        return model
    if isinstance(model, Layer):
        return _part(model.children().get(names[0]), names[1:])
    if isinstance(model, _Walkable):
        try:
            return model.get_submodule(".".join(names))
        except AttributeError:
            return None
    if isinstance(model, Scan) and names[0] in model.names:
        return _part(model.model, names[1:])
    return _part(model.model, names) if isinstance(model, _Around) else None
