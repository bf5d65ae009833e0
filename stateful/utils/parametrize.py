"""torch.nn.utils.parametrize: weights of a module that are computed from other weights, at each read.

The module's own array becomes an attribute that is computed; the arrays it comes from live in a child,
``parametrizations.weight``. A parametrization is a module with ``forward``, and ``right_inverse`` where weights shall
be given to it; a pure one, such as ``transforms.SpectralNorm()``, is adapted.
"""

from typing import Any

from purenn.errors import refusal
from purenn.model import Leaf
from stateful.container import ModuleDict
from stateful.module import Module
from stateful.node import changed
from stateful.parameter import BufferCell, Parameter
from stateful.utils.parametrization_list import Adapted, Listed, ParametrizationList, cached, check_kept, inverse
from transforms.parametrization import Parametrization

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]


def _as_module(parametrization: Any, leaf: Leaf) -> Module:
    if isinstance(parametrization, Module):
        return parametrization
    if isinstance(parametrization, Parametrization):
        pure = parametrization.fit(leaf)
        cls = Module._adapters.get(type(pure), Adapted)
        module = cls.__new__(cls)
        Module.__init__(module, pure)
        return module
    got = {"type": type(parametrization).__name__}
    remedy = "Subclass nn.Module, with a forward."
    raise refusal("register_parametrization", "parametrization must be a module", got, remedy, TypeError)


def register_parametrization(module: Module, tensor_name: str, parametrization: Any, *, unsafe: bool = False) -> Module:
    """Computes a weight of a module by a parametrization, at each read.

    Args:
        module: the module; changed in place.
        tensor_name: name of a parameter or buffer. One that is parametrised already is computed by both in turn.
        parametrization: a module, or a pure ``transforms.Parametrization``.
        unsafe: whether the shape or dtype may change.

    Returns:
        The module.

    Errors:
        ValueError: there is no such array, or its shape or dtype would change.
        TypeError: the parametrization is no module.

    Torch:
        ``torch.nn.utils.parametrize.register_parametrization``, differs in that the module keeps its class, and can be
        pickled.
    """
    op = "register_parametrization"
    if is_parametrized(module, tensor_name):
        plist = module.parametrizations[tensor_name]
        _append(plist, _as_module(parametrization, plist.leaf), getattr(module, tensor_name), unsafe)
        changed(module)
        return module
    cell = {**module._buffers, **module._parameters}.get(tensor_name)
    if cell is None:
        names = [name for name, _ in module._cells()]
        rule = "tensor_name must be a parameter or buffer of the module"
        raise refusal(op, rule, {"tensor_name": tensor_name, "its names": names})
    module.require_shapes(op)
    p = _as_module(parametrization, cell.leaf)
    p.train(module.training)
    plist = ParametrizationList([p], cell, unsafe).train(module.training)
    kind = module._parameters if tensor_name in module._parameters else module._buffers
    del kind[tensor_name]
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = plist
    module._computed[tensor_name] = Listed(tensor_name)
    changed(module)
    return module


def _append(plist: ParametrizationList, p: Any, weight: Any, unsafe: bool) -> None:
    p.train(plist.training)
    plist.append(p)
    try:
        plist._call("_begin_last", (weight,), {})
        if not unsafe:
            value = p(weight)
            check_kept("register_parametrization", weight, value)
            raw = inverse(p, value)
            check_kept("register_parametrization: right_inverse", weight, raw)
    except Exception:
        plist.pop(-1)
        raise
    plist.unsafe = plist.unsafe or unsafe


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a weight of a module is parametrised.

    Args:
        module: the module.
        tensor_name: name of the weight; None asks for any.

    Returns:
        The answer.
    """
    held = module._modules.get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes a parametrised weight an array again.

    Args:
        module: the module; changed in place.
        tensor_name: name of the weight.
        leave_parametrized: whether it keeps the values that are computed now; else those of ``original``.

    Returns:
        The module.

    Errors:
        ValueError: the weight is not parametrised, or comes from several arrays and shall be left without.
    """
    if not is_parametrized(module, tensor_name):
        raise refusal("remove_parametrizations", "the weight must be parametrised", {"tensor_name": tensor_name})
    plist = module.parametrizations[tensor_name]
    cell = plist._own_cell(plist.raw_names[0])
    if not (plist.is_tensor or leave_parametrized):
        rule = "leave_parametrized must be True for a weight that comes from several arrays"
        raise refusal("remove_parametrizations", rule, {"leave_parametrized": False})
    if leave_parametrized:
        value = getattr(module, tensor_name)
        if not plist.is_tensor:
            cell = (
                Parameter(value, requires_grad=cell.requires_grad)
                if isinstance(cell, Parameter)
                else BufferCell.holding(value, cell.leaf.persistent)
            )
        else:
            cell.put(cell.fitting(tensor_name, value))
    del module._computed[tensor_name]
    del module.parametrizations[tensor_name]
    (module._parameters if isinstance(cell, Parameter) else module._buffers)[tensor_name] = cell
    if not is_parametrized(module):
        del module.parametrizations
    changed(module)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module, which parametrizations do not change here.

    Args:
        module: the module.

    Returns:
        ``type(module)``.
    """
    return type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Gives a module the parametrizations of another, and the arrays they compute from.

    Args:
        from_module: parametrised; else nothing happens.
        to_module: changed in place; a weight that it lacks is made.
        tensor_name: name of the weight; None takes all that are parametrised.

    Returns:
        ``to_module``.
    """
    if not is_parametrized(from_module):
        return to_module
    for name in [tensor_name] if tensor_name is not None else list(from_module.parametrizations):
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for p in source:
            register_parametrization(to_module, name, p)
        target = to_module.parametrizations[name]
        for raw in source.raw_names:
            kind = "_parameters" if raw in source._parameters else "_buffers"
            getattr(target, kind)[raw] = getattr(source, kind)[raw]
        changed(to_module)
    return to_module
