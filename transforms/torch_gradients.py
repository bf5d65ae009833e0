"""What torch.export would lose of gradients: ``torch.no_grad`` regions, and the backward of custom autograd functions.

Export keeps the values of both and forgets the rest. Here the results of a region without gradients are detached, and
a custom function is recorded as one operator; its forward and its backward are exported by themselves afterwards.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMESPACE = "purenn_autograd"
_numbers = itertools.count()


@dataclass(frozen=True)
class CustomFunction:
    """One call of a torch.autograd.Function: the class, and its arguments with tensors left out."""

    cls: Any
    args: tuple[Any, ...]
    positions: tuple[int, ...]

    def forward(self, tensors: Any) -> tuple[Any, tuple[Any, ...]]:
        """Runs the forward.

        Args:
            tensors: for the places of the tensors among the arguments.

        Returns:
            ``(context, outputs)``.
        """
        args = list(self.args)
        for position, tensor in zip(self.positions, tensors, strict=True):
            args[position] = tensor
        context = Context(len(args))
        if "setup_context" in _defined(self.cls):
            out = self.cls.forward(*args)
            self.cls.setup_context(context, tuple(args), out)
        else:
            out = self.cls.forward(context, *args)
        if context.dirty:
            rule = "a custom autograd function must not write into its inputs (mark_dirty)"
            raise NotImplementedError(f"from_torch: {rule}, got {self.cls.__name__}.")
        return context, tuple(out) if isinstance(out, (list, tuple)) else (out,)

    def backward(self, tensors: Any, gradients: Any) -> tuple[Any, ...]:
        """Runs the forward, then the backward.

        Args:
            tensors: as in `forward`.
            gradients: of the outputs.

        Returns:
            The gradients of the tensors, None for those that have none.
        """
        context, _ = self.forward(tensors)
        found = self.cls.backward(context, *gradients)
        found = found if isinstance(found, (list, tuple)) else (found,)
        return tuple(found[position] for position in self.positions)


class Context:
    """The ``ctx`` of a custom function."""

    def __init__(self, count: int):
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = (True,) * count
        self.dirty: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors."""
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Means nothing here."""

    def mark_dirty(self, *tensors: Any) -> None:
        """Notes that inputs were written into."""
        self.dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Means nothing here: the backward says it."""

    def set_materialize_grads(self, value: bool) -> None:
        """Means nothing here: gradients are always arrays."""


def _defined(cls: Any) -> set[str]:
    """The names that a function's own classes define, torch's base left out."""
    return {name for base in cls.__mro__ if not base.__module__.startswith("torch.") for name in vars(base)}


@contextlib.contextmanager
def keep_gradients() -> Iterator[dict[str, CustomFunction]]:
    """Records custom autograd functions as operators while a module is exported.

    Yields:
        The functions by the names of their operators; filled while the module runs.
    """
    import torch

    recorded: dict[str, CustomFunction] = {}
    original = torch.autograd.Function.__dict__["apply"]
    library = torch.library.Library(NAMESPACE, "FRAGMENT")

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__.startswith("torch.utils.checkpoint"):
            return args[0](*args[2:])  # run_function(*inputs): recomputing is the business of remat
        if cls.__module__.startswith("torch.") or kwargs:
            return original.__get__(None, cls)(*args, **kwargs)
        return _record(recorded, library, cls, args)

    setattr(torch.autograd.Function, "apply", classmethod(apply))  # noqa: B010  # a method is replaced
    try:
        yield recorded
    finally:
        setattr(torch.autograd.Function, "apply", original)  # noqa: B010
        library._destroy()


def _record(recorded: dict[str, CustomFunction], library: Any, cls: Any, args: tuple[Any, ...]) -> Any:
    import torch

    positions = tuple(i for i, arg in enumerate(args) if isinstance(arg, torch.Tensor))
    blank = tuple(None if i in positions else arg for i, arg in enumerate(args))
    function = CustomFunction(cls, blank, positions)
    name = f"{cls.__name__}_{next(_numbers)}"

    def forward(tensors: Any) -> Any:
        return [tensor.clone() for tensor in function.forward(tensors)[1]]

    library.define(f"{name}(Tensor[] tensors) -> Tensor[]")
    library.impl(name, forward, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", forward, lib=library)
    recorded[f"{NAMESPACE}.{name}.default"] = function
    out = getattr(getattr(torch.ops, NAMESPACE), name).default([args[i] for i in positions])
    return tuple(out) if len(out) > 1 else out[0]


def restore_gradients(exported: Any) -> None:
    """Puts regions that ran under ``torch.no_grad`` back in line, their results detached.

    A tensor that such a region writes into stays the same tensor: its gradient is that of its value before.

    Args:
        exported: torch's ExportedProgram, changed in place.
    """
    import torch

    buffers = exported.graph_signature.inputs_to_buffers
    for module in list(exported.graph_module.modules()):
        if isinstance(module, torch.fx.GraphModule):
            while regions := [node for node in module.graph.nodes if _is_region(node)]:
                for region in regions:
                    _inline(module, region, buffers)
            module.recompile()


def _is_region(node: Any) -> bool:
    return node.op == "call_function" and str(node.target) == "wrap_with_set_grad_enabled"


def _inline(module: Any, region: Any, buffers: Any) -> None:
    """Copies the region's graph to where it is called, which keeps what each node knows of the user's source."""
    enabled, body, *args = region.args
    inner = getattr(module, body.target)
    with module.graph.inserting_before(region):
        placeholders = [node for node in inner.graph.nodes if node.op == "placeholder"]
        copies = dict(zip(placeholders, args, strict=True))
        for node in inner.graph.nodes:
            if node.op == "get_attr":
                name = f"{region.name}_{node.target}"
                setattr(module, name, getattr(inner, node.target))
                copies[node] = module.graph.get_attr(name)
        outputs = module.graph.graph_copy(inner.graph, copies)
    for user in list(region.users):
        value = outputs[user.args[1]]
        if not enabled and _is_floating(user.meta.get("val")):
            write = _first_write(value, [arg for arg in args if getattr(arg, "name", "") not in buffers])
            value = (
                _detached(module.graph, user, value) if write is None else _straight(module.graph, user, value, write)
            )
        user.replace_all_uses_with(value)
        module.graph.erase_node(user)
    module.graph.erase_node(region)


def _is_floating(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _detached(graph: Any, user: Any, value: Any) -> Any:
    import torch

    with graph.inserting_before(user):
        node = graph.call_function(torch.ops.aten.detach.default, (value,))
    node.meta = dict(user.meta)
    return node


def _first_write(value: Any, args: list[Any]) -> Any:
    """The node that first writes into an argument which is then the value, or None."""
    while hasattr(value.target, "_schema") and value.target._schema.is_mutable:
        if value.args[0] in args:
            return None if "embedding_renorm" in str(value.target) else value
        value = value.args[0]
    return None


def _straight(graph: Any, user: Any, value: Any, write: Any) -> Any:
    """The value after the writes, with the gradient of the tensor before them: a difference of 0 has it."""
    import torch

    aten, before = torch.ops.aten, write.args[0]
    with graph.inserting_before(write):
        still = graph.call_function(aten.detach.default, (before,))
        nothing = graph.call_function(aten.sub.Tensor, (before, still))
    still.meta, nothing.meta = dict(user.meta), dict(user.meta)
    after = _detached(graph, user, value)
    with graph.inserting_before(user):
        node = graph.call_function(aten.add.Tensor, (after, nothing))
    node.meta = dict(user.meta)
    return node
