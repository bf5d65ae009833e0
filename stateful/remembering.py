"""Remembering: arrays carried out of a module and back in, moved, cast, frozen."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.layering import assembled, named_arrays, named_leaves
from purenn.model import Buffers, Params
from purenn.state import match
from purenn.tree import flatten
from stateful.node import changed
from stateful.parameter import Cell, Parameter
from stateful.state_hooks import StateHooks
from stateful.walking import is_trained


class IncompatibleKeys(tuple[list[str], list[str]]):
    """What `Module.load_state_dict` with ``strict=False`` did not find a use for, or a value for."""

    def __new__(cls, missing_keys: list[str], unexpected_keys: list[str]) -> Self:
        """Holds both lists, as a pair."""
        return super().__new__(cls, (missing_keys, unexpected_keys))

    @property
    def missing_keys(self) -> list[str]:
        """Names of the module that the state_dict lacks."""
        return self[0]

    @property
    def unexpected_keys(self) -> list[str]:
        """Names of the state_dict that the module lacks."""
        return self[1]

    def __repr__(self) -> str:
        if not (self[0] or self[1]):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"


class Remembering(StateHooks):
    """Arrays in and out of the object."""

    def split(self) -> tuple[Params, Buffers]:
        """Carries the arrays out; what does not exist yet is drawn.

        Returns:
            ``(params, buffers)``, nested dicts; frozen parameters are among the buffers.
        """
        self.require_shapes("split")
        return self._trees(self._read)

    def update(self, params: Params | None = None, buffers: Buffers | None = None) -> Self:
        """Carries arrays back in: the inverse of `split`.

        The arrays are kept, not copied: a training step that takes the memory of its state takes them away as well.
        Carry them in when training is over, or train with ``donate=False``.

        Args:
            params: all of the params, or None to leave them.
            buffers: all of the buffers, or None to leave them.

        Returns:
            This module.

        Errors:
            ValueError for names or shapes that do not fit, TypeError for tracers; nothing has been changed then.
        """
        self.require_shapes("update")
        name = f"{type(self).__name__}.update"
        cells = dict(self._named_cells())
        changes: list[tuple[Cell, jax.Array]] = []
        for which, tree, trained in (("params", params, True), ("buffers", buffers, False)):
            if tree is None:
                continue
            wanted = {path for path, cell in cells.items() if is_trained(cell) is trained}
            given = flatten(tree)
            if wanted != set(given):
                got = {"missing": sorted(wanted - set(given)), "unknown": sorted(set(given) - wanted)}
                raise refusal(name, f"{which} must hold the module's names", got)
            changes += [(cells[path], cells[path].fitting(path, value)) for path, value in given.items()]
        for cell, value in changes:
            cell.put(value)
        return self

    def structure(self) -> dict[str, Any]:
        """Lists the leaves in torch's order; see `purenn.structure`."""
        self.require_shapes("structure")
        tree: dict[str, Any] = {}
        for path, cell in self._named_cells():
            *parents, last = path.split(".")
            node = tree
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = cell.leaf
        return tree

    def state_dict(
        self, destination: dict[str, Any] | None = None, *, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, jax.Array]:
        """Flattens the arrays, in torch's names and order; tied ones stand under each of their names.

        Args:
            destination: a dict to add to.
            prefix: put before every name.
            keep_vars: accepted for torch's sake.

        Returns:
            ``{dotted path: array}``, without the buffers that are not persistent.
        """
        self._announce(prefix, keep_vars)
        state = {} if destination is None else destination
        cells = dict(self._named_cells(duplicates=True))
        leaves = {path: cell.leaf for path, cell in cells.items()}
        arrays = {path: self._read(cell) for path, cell in cells.items() if cell.leaf.persistent}
        state.update({prefix + name: array for name, array in named_arrays(arrays, leaves).items()})
        return self._finished(state, prefix)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes the arrays of a state_dict; what torch saved loads as it is.

        Args:
            state_dict: ``{dotted path: array}``; numpy and jax arrays and torch tensors, cast to the module's dtypes.
            strict: whether missing and unexpected names are errors.
            assign: accepted for torch's sake: arrays do not change in place, so there is only one way to take one.

        Returns:
            ``IncompatibleKeys(missing_keys, unexpected_keys)``.

        Errors:
            TypeError for what is no dict; ValueError that lists every missing, unexpected and mis-shaped name at once;
            nothing has been changed then.
        """
        del assign
        if not isinstance(state_dict, Mapping):
            got, remedy = {"type(state_dict)": type(state_dict).__name__}, "nn.load_into(module, path) reads a file."
            raise refusal(f"{type(self).__name__}.load_state_dict", "state_dict must be a dict", got, remedy, TypeError)
        state_dict = self._edited(state_dict, strict)
        undo: list[Callable[[], None]] = []
        try:
            for prefix, module in self.named_modules(remove_duplicate=False):
                if (forget := module._learn_from(state_dict, prefix)) is not None:
                    undo.append(forget)
            if hooks := self._loaded_hooks():
                return self._load_and_tell(state_dict, strict, hooks, undo)
            return self._load(state_dict, strict)
        except Exception:
            for forget in undo:
                forget()
            raise

    def _load_and_tell(
        self, state: Mapping[str, Any], strict: bool, hooks: list[Any], undo: list[Callable[[], None]]
    ) -> IncompatibleKeys:
        """Loads, and asks the hooks before it finds missing and unexpected names wrong."""
        for _, cell in self._named_cells():
            undo.append(partial(cell.__dict__.update, dict(cell.__dict__)))
        result = self._load(state, strict=False)
        for module, hook in hooks:
            hook(module, result)
        if strict and (result.missing_keys or result.unexpected_keys):
            got = {"missing": result.missing_keys, "unexpected": result.unexpected_keys}
            rule = "the state_dict must have the module's names"
            raise refusal(f"{type(self).__name__}.load_state_dict", rule, got, "Nothing was changed.")
        return result

    def _learn_from(self, state: Mapping[str, Any], prefix: str) -> Callable[[], None] | None:
        """Takes the shapes that a lazy module waits for, where they are there; gives what takes it back."""
        del state, prefix
        return None

    def _load(self, state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
        cells = dict(self._named_cells(duplicates=True))
        names: dict[int, list[str]] = {}
        for path, cell in cells.items():
            names.setdefault(id(cell), []).append(path)
        # a file may hold a tied array under one of its names only
        given = dict(state_dict)
        for paths in names.values():
            present = [path for path in paths if path in given]
            for path in paths if present else []:
                given.setdefault(path, given[present[0]])
        leaves = {path: cell.leaf for path, cell in cells.items()}
        named, missing, unexpected = match(type(self).__name__, named_leaves(leaves), given, strict)
        arrays = assembled(named, leaves, lambda path: cells[path].array())
        _refuse_contradictions(names.values(), arrays)
        for path, value in arrays.items():
            cells[path].put(value)
        return IncompatibleKeys(missing, unexpected)

    def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self:
        """Moves the arrays, or casts the floating ones; promises are kept in the new place and dtype.

        Args:
            *args: a dtype, a ``jax.Device``, a sharding, or a platform's name such as ``"cpu"`` or ``"gpu:1"``.
            device: the place, by name.
            dtype: the dtype, by name.

        Returns:
            This module.

        Errors:
            TypeError: an argument is none of these, or the dtype is not floating.
        """
        for arg in args:
            if isinstance(arg, (jax.Device, jax.sharding.Sharding)) or _is_platform(arg):
                device = arg
            else:
                dtype = arg
        if dtype is not None:
            try:
                floating = jnp.issubdtype(dtype, jnp.inexact)
            except TypeError:
                floating = False
            if not floating:
                got = {"the argument": dtype}
                rule = "the argument must be a floating dtype, a device or a sharding"
                remedy = "They are jax's: jnp.float32, 'gpu:0'."
                raise refusal(f"{type(self).__name__}.to", rule, got, remedy, TypeError)
        place = _device(device) if isinstance(device, str) else device
        for _, cell in self._named_cells():
            if dtype is not None:
                cell.cast(dtype)
            if place is not None:
                cell.place(place)
        changed(self)
        return self

    def float(self) -> Self:
        """Casts floating arrays to float32; returns this module."""
        return self.to(jnp.float32)

    def double(self) -> Self:
        """Casts floating arrays to float64 where x64 is enabled; returns this module."""
        return self.to(jnp.float64)

    def half(self) -> Self:
        """Casts floating arrays to float16; returns this module."""
        return self.to(jnp.float16)

    def bfloat16(self) -> Self:
        """Casts floating arrays to bfloat16; returns this module."""
        return self.to(jnp.bfloat16)

    def type(self, dst_type: Any) -> Self:
        """Casts floating arrays; see `to`.

        Args:
            dst_type: floating dtype.

        Returns:
            This module.
        """
        return self.to(dst_type)

    def cpu(self) -> Self:
        """Moves the arrays to the host; returns this module."""
        return self.to("cpu")

    def cuda(self, device: int | None = None) -> Self:
        """Moves the arrays to a GPU.

        Args:
            device: its number.

        Returns:
            This module.
        """
        return self.to(f"gpu:{device or 0}")

    def train(self, mode: bool = True) -> Self:
        """Sets training or evaluation, for object calls and ``apply(train=None)``.

        Args:
            mode: True for training.

        Returns:
            This module.

        Errors:
            ValueError: ``mode`` is no boolean.
        """
        if not isinstance(mode, bool):
            raise refusal(f"{type(self).__name__}.train", "mode must be a boolean", {"mode": mode})
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Sets evaluation; returns this module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or thaws: a frozen parameter moves to the buffers, with the same name in the state_dict.

        Args:
            requires_grad: False to freeze.

        Returns:
            This module.
        """
        for _, cell in self._named_cells():
            if isinstance(cell, Parameter):
                cell.requires_grad = requires_grad
        changed(self)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Does nothing: gradients are values that ``jax.grad`` returns, never kept in a module.

        Args:
            set_to_none: accepted for torch's sake.
        """


def _refuse_contradictions(names: Iterable[list[str]], arrays: Mapping[str, jax.Array]) -> None:
    for paths in names:
        values = [arrays[path] for path in paths if path in arrays]
        if any(value is not values[0] and not bool(jnp.array_equal(value, values[0])) for value in values[1:]):
            rule = "names of one tied array must hold the same values"
            raise refusal("load_state_dict", rule, {"names": paths}, "Nothing was changed.")


def _is_platform(value: Any) -> bool:
    return isinstance(value, str) and value.split(":")[0] in ("cpu", "gpu", "cuda", "rocm", "tpu")


def _device(name: str) -> jax.Device:
    platform, _, number = name.partition(":")
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        found = ", ".join(map(str, jax.devices()))
        raise refusal("to", "the device must exist", {"device": name}, f"jax finds: {found}.") from error
