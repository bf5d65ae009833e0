"""The calls of both sides, by path: what went into each submodule and what came out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn.calling import Interceptor, Paths, Run, intercepted
from purenn.recording import Recording
from purenn.tree import flatten
from transforms.porting import FromTorch
from transforms.torch_program import Program

_DROPS = {f"aten.{name}.default" for name in ("dropout", "native_dropout", "feature_dropout", "alpha_dropout",
                                              "feature_alpha_dropout")}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of a submodule: ``out`` and ``inputs`` are lists of numpy arrays."""

    path: str
    number: int  # of the calls of this path, this one's
    inputs: list[np.ndarray]
    out: list[np.ndarray]
    given: Any = None  # torch's own (args, kwargs), for experiments


@dataclass
class Trace:
    """The calls of one forward, in the order in which they ended."""

    calls: list[Call] = field(default_factory=list)
    buffers: dict[str, Any] = field(default_factory=dict)
    module: Any = None
    dropouts: frozenset[str] = frozenset()
    drawing: frozenset[str] = frozenset()  # those that drop something

    def find(self, call: Call) -> Call | None:
        """The call of the same place."""
        return next((mine for mine in self.calls if (mine.path, mine.number) == (call.path, call.number)), None)

    def add(self, path: str, inputs: Any, out: Any, given: Any = None) -> None:
        """Takes a call down."""
        number = sum(call.path == path for call in self.calls)
        self.calls.append(Call(path, number, arrays(inputs), arrays(out), given))


def arrays(tree: Any) -> list[np.ndarray]:
    """The arrays of a pytree of jax's or torch's, as numpy's; float64 where they are floating.

    Args:
        tree: any; torch's output classes are dicts.

    Returns:
        In order, None left out.
    """
    return [_numpy(leaf) for leaf in jax.tree.leaves(_plain(tree)) if hasattr(leaf, "dtype")]


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict) or hasattr(tree, "items"):
        return [_plain(value) for value in tree.values()]
    if isinstance(tree, (tuple, list)):
        return [_plain(value) for value in tree]
    return tree


def _numpy(leaf: Any) -> np.ndarray:
    if hasattr(leaf, "detach"):
        leaf = leaf.detach()
        leaf = (leaf.double() if leaf.is_floating_point() else leaf).cpu().resolve_conj().numpy().copy()
    return np.asarray(leaf, np.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else np.asarray(leaf)


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest of torch's numbers.

    Args:
        ours: an array or a list of them.
        theirs: likewise.

    Returns:
        0 or more; inf where shapes, numbers of arrays or places of NaN differ.
    """
    ours, theirs = ([x] if not isinstance(x, list) else x for x in (ours, theirs))
    if len(ours) != len(theirs):
        return float("inf")
    return max((_difference(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True)), default=0.0)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = (x[np.isfinite(x)].astype(np.complex128 if np.iscomplexobj(x) else np.float64) for x in (a, b))
    if not a.size:
        return 0.0
    return float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))


def torch_tree(tree: Any) -> Any:
    """Inputs as torch tensors, floating ones in float64.

    Args:
        tree: of tensors, arrays and other things.

    Returns:
        The same tree.
    """
    import torch

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, (jax.Array, np.ndarray)):
            leaf = torch.from_numpy(np.array(leaf))
        return leaf.double() if hasattr(leaf, "detach") and leaf.is_floating_point() else leaf

    return jax.tree.map(convert, tree, is_leaf=lambda leaf: leaf is None)


def torch_trace(module: Any, inputs: Any, train: bool) -> Trace:
    """Runs a torch module and takes down every call in it.

    Args:
        module: torch's; its mode and buffers change.
        inputs: ``(args, kwargs)``.
        train: the mode; modules of dropout stay in evaluation.

    Returns:
        The calls.
    """
    import torch

    trace = Trace(module=module.train(train))
    names = {child: name for name, child in module.named_modules()}
    drop = {name: child.p for child, name in names.items() if isinstance(child, torch.nn.modules.dropout._DropoutNd)}
    trace.dropouts = frozenset(drop)
    trace.drawing = frozenset(name for name, p in drop.items() if p)
    for child, name in names.items():
        if name in drop:
            child.eval()
        child.register_forward_hook(_hook(trace, name), with_kwargs=True)
    args, kwargs = inputs
    with torch.no_grad():
        module(*args, **kwargs)
    return trace


def _hook(trace: Trace, name: str) -> Callable[..., None]:
    def hook(module: Any, args: Any, kwargs: Any, out: Any) -> None:
        del module
        trace.add(name, (args, kwargs), out, (args, kwargs))

    return hook


class _Undropped(Interceptor):
    """Passes over dropout modules, as torch's are passed over."""

    def __init__(self, places: frozenset[str]):
        self.places = places

    def call(self, paths: Paths, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Gives a dropout's input as its output."""
        return args[0] if set(paths) <= self.places else run(*args, **kwargs)


def without_dropout(model: Any, places: frozenset[str]) -> tuple[Any, frozenset[str]]:
    """A converted model whose modules of dropout pass their input on; it has no modules that could be passed over.

    Args:
        model: any.
        places: the paths of torch's modules of dropout.

    Returns:
        The model, and the paths that are passed over; none in a model that was not converted.
    """
    if not isinstance(model, FromTorch) or not isinstance(model.training, Program):
        return model, frozenset()
    passed = {call.name: call.path for call in model.training.calls if call.path in places and call.op in _DROPS}
    calls = tuple(
        replace(call, args=(call.args[0], 0.0, *call.args[2:])) if call.name in passed else call
        for call in model.training.calls
    )
    return replace(model, training=replace(model.training, calls=calls)), frozenset(passed.values())


def our_trace(model: Any, trees: tuple[Any, Any], inputs: Any, train: bool, dropouts: frozenset[str]) -> Trace:
    """Runs a model and takes down every call in it.

    Args:
        model: any.
        trees: params and buffers.
        inputs: torch's ``(args, kwargs)``.
        train: the mode.
        dropouts: paths of modules that pass their input on.

    Returns:
        The calls.
    """
    args, kwargs = jax.tree.map(lambda leaf: jnp.asarray(_numpy(leaf)) if hasattr(leaf, "detach") else leaf, inputs,
                                is_leaf=lambda leaf: leaf is None)  # fmt: skip
    record = Recording(lambda paths, args, kwargs, out: ((args, kwargs), out))
    with intercepted(record), intercepted(_Undropped(dropouts)):
        out, buffers = model.apply(*trees, *args, rng=jax.random.key(0), train=train, **kwargs)
    trace = Trace(buffers=flatten(buffers))
    for paths, calls in record.calls.items():
        for given, result in calls:
            for path in paths:
                trace.add(path, given, result)
    if not any(call.path == "" for call in trace.calls):
        trace.add("", (args, kwargs), out)
    return trace


def scalar(run: Callable[..., Any], inputs: Any) -> Any:
    """A number that depends on every number of an output, differently.

    Args:
        run: a torch module, or a function of jax arrays.
        inputs: ``(args, kwargs)``.

    Returns:
        A scalar tensor or array.
    """
    args, kwargs = inputs
    leaves = [leaf for leaf in jax.tree.leaves(_plain(run(*args, **kwargs))) if hasattr(leaf, "dtype")]
    total: Any = 0.0
    for leaf in leaves:
        if hasattr(leaf, "detach"):
            import torch

            if leaf.is_floating_point():
                total = total + (leaf * torch.cos(torch.arange(leaf.numel()).double()).reshape(leaf.shape)).sum()
        elif jnp.issubdtype(leaf.dtype, jnp.floating):
            total = total + (leaf * jnp.cos(jnp.arange(leaf.size, dtype=jnp.float64)).reshape(leaf.shape)).sum()
    return total
