"""Hooks around state_dicts: functions called before and after one is made or loaded."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from purenn.errors import refusal
from stateful.hooks import RemovableHandle
from stateful.walking import Walking

_numbers = itertools.count()


class StateHooks(Walking):
    """torch's hooks of `state_dict` and `load_state_dict`; ``local_metadata`` is an empty dict."""

    def _hooks_of(self, kind: str) -> dict[int, Callable[..., Any]]:
        return self.__dict__.setdefault("_state_hooks", {}).setdefault(kind, {})

    def _hook(self, kind: str, hook: Callable[..., Any]) -> RemovableHandle:
        hooks, number = self._hooks_of(kind), next(_numbers)
        hooks[number] = hook
        return RemovableHandle(hooks, number)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, prefix, keep_vars)`` before a state_dict is made.

        Args:
            hook: the function.

        Returns:
            A handle to remove it.
        """
        return self._hook("before saving", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, state_dict, prefix, local_metadata)`` on the state_dict, which it may edit.

        Args:
            hook: the function; what it returns, if anything, replaces the state_dict.

        Returns:
            A handle to remove it.
        """
        return self._hook("after saving", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls a hook before anything is loaded; it may edit the state_dict, a copy: rename old keys, say.

        Args:
            hook: ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                error_msgs)``; what it adds to ``error_msgs`` refuses the state_dict.

        Returns:
            A handle to remove it.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """Adds a hook; ``with_module`` says whether the module is its first argument."""
        return self._hook("before loading", hook if with_module else _Without(hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls ``hook(module, incompatible_keys)`` once all is loaded; emptying its lists avoids a strict error.

        Args:
            hook: the function.

        Returns:
            A handle to remove it.
        """
        return self._hook("after loading", hook)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Edits the state_dict for this module, before anything is loaded; a subclass may do so too.

        Unlike torch's it puts nothing in: that happens for all modules at once, or not at all.
        """
        arguments = state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        for hook in list(self._hooks_of("before loading").values()):
            hook(self, *arguments)

    def _edited(self, state_dict: Any, strict: bool) -> dict[str, Any]:
        """A copy of a state_dict, as the hooks of all modules leave it."""
        state, errors = dict(state_dict), list[str]()
        for path, module in list(self.named_modules(remove_duplicate=False)):
            module._load_from_state_dict(state, f"{path}." if path else "", {}, strict, [], [], errors)
        if errors:
            rule = "hooks must accept the state_dict"
            raise refusal(f"{type(self).__name__}.load_state_dict", rule, {"errors": errors}, "Nothing was changed.")
        return state

    def _announce(self, prefix: str, keep_vars: bool) -> None:
        for path, module in list(self.named_modules(remove_duplicate=False)):
            for hook in module._hooks_of("before saving").values():
                hook(module, prefix + path + "." * bool(path), keep_vars)

    def _finished(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """The state_dict as the hooks of all modules, children first, leave it."""
        for path, module in _children_first(self):
            for hook in module._hooks_of("after saving").values():
                result = hook(module, state, prefix + path + "." * bool(path), {})
                state = state if result is None else result
        return state

    def _loaded_hooks(self) -> list[tuple[Any, Callable[..., Any]]]:
        return [(m, hook) for _, m in _children_first(self) for hook in m._hooks_of("after loading").values()]


def _children_first(module: Walking) -> Iterable[tuple[str, Any]]:
    walked = list(module.named_modules(remove_duplicate=False))
    return sorted(walked, key=lambda item: -item[0].count(".") - bool(item[0]))


class _Without:
    """A hook that does not want the module."""

    def __init__(self, hook: Callable[..., Any]):
        self._hook = hook

    def __call__(self, module: Any, *args: Any) -> None:
        del module
        self._hook(*args)
