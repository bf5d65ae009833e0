"""torch.nn.utils.skip_init, and what else need not be done here."""

from typing import Any

from purenn.errors import refusal
from stateful.module import Module


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """Constructs a module without drawing its arrays, which is how every module is constructed here.

    Args:
        module_cls: a class of modules.
        *args: for its constructor.
        **kwargs: for its constructor.

    Returns:
        The module. Arrays that are assigned or loaded before anybody looks at them are never drawn.

    Errors:
        TypeError: it is no such class.

    Torch:
        ``torch.nn.utils.skip_init``, differs in that arrays looked at are drawn, not left to chance; the class needs
        no ``device``.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        got = {"module_cls": module_cls}
        raise refusal("skip_init", "module_cls must be a class of modules", got, kind=TypeError)
    return module_cls(*args, **kwargs)


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Does nothing: how an array lies in memory is the compiler's choice.

    Args:
        module: any.
        memory_format: not used.

    Returns:
        The module.
    """
    del memory_format
    return module


convert_conv3d_weight_memory_format = convert_conv2d_weight_memory_format
