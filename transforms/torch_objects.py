"""Objects of classes that torch does not know, among the arguments and results of a model.

A Hugging Face cache or a distribution holds tensors, but torch.export takes and gives only containers that it knows.
While a module is exported, the classes it meets are known by their attributes: those that hold tensors are children,
the others stay as they are. In the converted model such an object is a `Record` of its attributes.
"""

import contextlib
import enum
import types
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def known_objects(module: Any, examples: Any) -> Iterator[None]:
    """Makes torch know the classes of a module's arguments and results.

    Args:
        module: torch.nn.Module.
        examples: its arguments.

    Yields:
        Nothing; afterwards torch knows what it knew before.
    """
    import torch

    registered: list[Any] = []

    def note(module: Any, args: Any, out: Any) -> None:
        _register(out, registered)

    _register(examples, registered)
    handle = module.register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()
        for cls in registered:
            torch.utils._pytree._deregister_pytree_node(cls)


def _register(value: Any, registered: list[Any]) -> None:
    """Every class in a nest that is unknown and holds tensors."""
    import torch

    known = torch.utils._pytree.SUPPORTED_NODES
    for leaf in torch.utils._pytree.tree_leaves(value):
        if _is_object(leaf) and _holds_tensors(leaf):
            if type(leaf) not in known:
                _make_known(type(leaf))
                registered.append(type(leaf))
            _register([part for part in vars(leaf).values() if _holds_tensors(part)], registered)


def _make_known(cls: Any) -> None:
    import torch

    torch.utils._pytree._private_register_pytree_node(
        cls, _flatten, lambda children, context: _build(cls, children, context),
        serialized_type_name=f"purenn.{cls.__module__}.{cls.__qualname__}", flatten_with_keys_fn=_with_keys,
    )  # fmt: skip


def _is_object(value: Any) -> bool:
    import torch

    plain = (torch.Tensor, torch.nn.Module, type, types.FunctionType, types.MethodType, types.ModuleType, enum.Enum)
    return hasattr(value, "__dict__") and not isinstance(value, plain) and type(value).__module__ != "torch"


def _holds_tensors(value: Any, within: tuple[int, ...] = ()) -> bool:
    import torch

    if id(value) in within:
        return False
    if isinstance(value, (list, tuple)):
        parts: Any = value
    elif isinstance(value, dict):
        parts = value.values()
    else:
        parts = vars(value).values() if _is_object(value) else ()
    inside = (*within, id(value))
    return isinstance(value, torch.Tensor) or any(_holds_tensors(part, inside) for part in parts)


def _flatten(value: Any) -> tuple[list[Any], Any]:
    """Its attributes that hold tensors, their names, and the other attributes."""
    names = [name for name, part in vars(value).items() if _holds_tensors(part)]
    rest = {name: part for name, part in vars(value).items() if name not in names}
    return [vars(value)[name] for name in names], (names, rest)


def _with_keys(value: Any) -> tuple[list[Any], Any]:
    import torch

    children, context = _flatten(value)
    keys = map(torch.utils._pytree.GetAttrKey, context[0])
    return list(zip(keys, children, strict=True)), context


def _build(cls: Any, children: Any, context: Any) -> Any:
    names, rest = context
    value = cls.__new__(cls)
    vars(value).update(rest | dict(zip(names, children, strict=True)))
    return value
