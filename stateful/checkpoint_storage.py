"""Tensors as torch's files describe them: a dtype, and a view with strides into the bytes of a storage."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from purenn.files.dtypes import BY_NAME
from purenn.files.error import CheckpointError, broken
from purenn.files.header import MAX_RANK
from stateful.checkpoint_pickle import Call, Global, Persistent

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "",
}  # fmt: skip
TYPES = {
    **{name: name for name in BY_NAME if not name.startswith(("int2", "int4", "uint2", "uint4", "float4"))},
    "float4_e2m1fn_x2": "float4_e2m1fn", "double": "float64", "float": "float32", "half": "float16", "long": "int64",
    "int": "int32", "short": "int16",
}  # fmt: skip
_F4 = np.dtype(ml_dtypes.float4_e2m1fn)


@dataclass(frozen=True)
class Storage:
    """Bytes of a file that tensors are views of."""

    key: str
    count: int  # of elements
    dtype: str  # empty: bytes


@dataclass(frozen=True)
class View:
    """A tensor."""

    storage: Storage
    dtype: np.dtype
    offset: int  # in elements, like the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conj: bool = False
    neg: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of an element; of a pair, where two share a byte."""
        return self.dtype.itemsize

    @property
    def span(self) -> int:
        """Elements of the storage from the first to the last one."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape in numbers, where torch counts pairs."""
        if self.dtype != _F4:
            return self.shape
        return (*self.shape[:-1], 2 * self.shape[-1]) if self.shape else (2,)

    def of(self, raw: np.ndarray) -> np.ndarray:
        """The numbers, from the bytes of the span."""
        kind = np.dtype(np.uint8) if self.dtype == _F4 else self.dtype
        steps = [stride * kind.itemsize for stride in self.strides]
        array: np.ndarray = np.ndarray(self.shape, kind, raw.data, 0, steps)
        array = np.ascontiguousarray(array).reshape(self.shape)
        if self.dtype == _F4:
            pairs = np.stack([array & 15, array >> 4], -1)
            return pairs.view(_F4).reshape(self.full_shape)
        array = np.conj(array) if self.conj else array
        return -array if self.neg else array


class Tensors:
    """What the notes of a pickle mean: tensors, and the few other things that torch's checkpoints hold."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path
        self.storages: dict[str, Storage] = {}
        self._dtypes: dict[str, np.dtype] = {}

    def value(self, node: Any) -> Any:
        """Reads a node.

        Args:
            node: as `read_pickle` gives it; no container.

        Returns:
            A `View`, or a Python scalar or tuple.

        Errors:
            CheckpointError for what no checkpoint holds.
        """
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, Global):
            if node.name.removeprefix("torch.") in TYPES:
                return node.name
            raise self._refused(node.name)
        if isinstance(node, Persistent):
            raise broken(self.path, "a storage must be part of a tensor", {"id": node.id})
        if isinstance(node, bytes):
            raise broken(self.path, "a value must be a tensor, a number or a string", {"value": node})
        return node

    def _call(self, call: Call) -> Any:
        name = call.function.name
        if name not in _CALLS:
            raise self._refused(name)
        try:
            return _CALLS[name](self, *call.args)
        except CheckpointError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            raise broken(self.path, "a tensor must be written as torch does", {name: call.args}) from error

    def _refused(self, name: str) -> Exception:
        remedy = "Nothing in a file is ever run. Save a state_dict: tensors, numbers, strings, dicts and lists."
        return broken(self.path, "the file must hold tensors and plain values only", {"found": name}, remedy)

    def view(self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, metadata: Any = None) -> View:
        """Checks a tensor.

        Args:
            storage: its persistent id.
            offset: in elements.
            shape: sizes.
            strides: in elements.
            dtype: by name; empty for that of the storage.
            metadata: whether it is conjugated or negated.

        Returns:
            The view.

        Errors:
            CheckpointError where it reaches beyond its storage.
        """
        stored = self._storage(storage)
        shape, strides = self._sizes(shape), self._sizes(strides)
        kind = BY_NAME[dtype or stored.dtype]
        flags = metadata if isinstance(metadata, dict) else {}
        view = View(stored, kind, offset, shape, strides, bool(flags.get("conj")), bool(flags.get("neg")))
        size = stored.count * (BY_NAME[stored.dtype].itemsize if stored.dtype else 1)
        if len(shape) != len(strides) or type(offset) is not int or offset < 0 or len(shape) > MAX_RANK:
            raise broken(self.path, "a tensor must have sizes and strides", {"shape": shape, "strides": strides})
        if view.span and (offset + view.span) * kind.itemsize > size:
            got = {"offset": offset, "shape": shape, "strides": strides, "its bytes": size}
            raise broken(self.path, "a tensor must lie within its storage", got)
        if self._dtypes.setdefault(stored.key, kind) != kind:
            got = {"storage": stored.key, "dtypes": [str(self._dtypes[stored.key]), str(kind)]}
            raise broken(self.path, "a storage must have one dtype", got)
        return view

    def _sizes(self, sizes: Any) -> tuple[int, ...]:
        if isinstance(sizes, Call) and sizes.function.name == "torch.Size":
            (sizes,) = sizes.args
        if not isinstance(sizes, (tuple, list)) or not all(type(size) is int and 0 <= size < 2**48 for size in sizes):
            raise broken(self.path, "sizes and strides must be natural numbers", {"sizes": sizes})
        return tuple(sizes)

    def _storage(self, node: Any) -> Storage:
        tag, kind, key, _, count, *rest = node.id
        name = kind.name.rpartition(".")[2]
        known = kind.name.split(".")[0] == "torch" and name in STORAGES
        if tag != "storage" or not known or not isinstance(key, str) or type(count) is not int or count < 0:
            raise broken(self.path, "a storage must be of a known kind", {"storage": kind.name, "key": key})
        if any(part is not None for part in rest):
            raise broken(self.path, "a storage must be no view of another", {"key": key})
        storage = Storage(key, count, STORAGES[name])
        if self.storages.setdefault(key, storage) != storage:
            raise broken(self.path, "a storage must have one dtype and one size", {"key": key})
        return storage


def _v2(
    self: Tensors, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any = False, hooks: Any = None,
    metadata: Any = None,
) -> View:  # fmt: skip
    del grad, hooks
    return self.view(storage, offset, shape, strides, "", metadata)


def _v3(
    self: Tensors, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> View:  # fmt: skip
    del grad, hooks
    return self.view(storage, offset, shape, strides, TYPES[dtype.name.removeprefix("torch.")], metadata)


def _parameter(self: Tensors, data: Any, grad: Any, hooks: Any, state: Any = None) -> Any:
    del grad, hooks, state
    return self.value(data)


def _from_type(self: Tensors, function: Any, kind: Any, args: Any, state: Any) -> Any:
    del state
    if kind.name not in ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"):
        raise self._refused(kind.name)
    return self.value(Call(function, args))


def _size(self: Tensors, sizes: Any) -> Any:
    return self._sizes(sizes)


def _device(self: Tensors, *parts: Any) -> str:
    del self
    return ":".join(str(part) for part in parts if isinstance(part, (str, int)))


_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _v2,
    "torch._utils._rebuild_tensor_v2": _v2,
    "torch._utils._rebuild_tensor_v3": _v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "torch.device": _device,
}
