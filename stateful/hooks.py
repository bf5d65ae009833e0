"""Hooks: functions called before and after forward."""

import itertools
from collections.abc import Callable
from typing import Any, Self

from stateful.node import Node, changed

_hook_ids = itertools.count()


class RemovableHandle:
    """Takes a hook away again.

    Args:
        hooks: the dict that holds it.
        number: its place there.
    """

    def __init__(self, hooks: dict[int, Any], number: int):
        self._hooks, self._number = hooks, number

    def remove(self) -> None:
        """Removes the hook; a second time does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooked(Node):
    """Forward hooks and pre-hooks, as torch has them."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(_forward_hooks={}, _forward_pre_hooks={})

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args)`` before each forward; what it returns replaces the arguments.

        Args:
            hook: the function; with ``with_kwargs`` it takes and returns ``(args, kwargs)``.
            prepend: whether it goes before the others.
            with_kwargs: whether it sees keyword arguments.

        Returns:
            A handle to remove it.
        """
        return self._add_hook(self._forward_pre_hooks, (hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls ``hook(module, args, output)`` after each forward; what it returns replaces the output.

        Args:
            hook: the function; inside jit it runs when the call is traced.
            prepend: whether it goes before the others.
            with_kwargs: whether it sees keyword arguments, ``hook(module, args, kwargs, output)``.
            always_call: whether it is called after an exception too.

        Returns:
            A handle to remove it.
        """
        return self._add_hook(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def _add_hook(self, hooks: dict[int, Any], entry: tuple[Any, ...], prepend: bool) -> RemovableHandle:
        number = next(_hook_ids)
        others = dict(hooks)
        hooks.clear()
        hooks.update({number: entry} | others if prepend else others | {number: entry})
        changed(self)
        return RemovableHandle(hooks, number)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Refuses: there is no backward pass that runs through objects.

        Args:
            hook: not used.
            prepend: not used.

        Errors:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.register_full_backward_hook: gradients come from jax.grad over apply, not through "
            "objects. Wrap the value in a jax.custom_vjp function in forward to look at its gradient."
        )

    register_backward_hook = register_full_backward_hook
    register_full_backward_pre_hook = register_full_backward_hook

    def _run_hooked(self, *args: Any, **kwargs: Any) -> Any:
        """Runs forward between the hooks."""
        for hook, with_kwargs, _ in self._forward_pre_hooks.values():
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out, after = None, list(self._forward_hooks.values())
        try:
            out = self.forward(*args, **kwargs)
            while after:
                hook, with_kwargs, _ = after.pop(0)
                changed = hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
                out = out if changed is None else changed
        except Exception:
            for hook, with_kwargs, always in after:
                if always:
                    hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
            raise
        return out
