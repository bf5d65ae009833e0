"""torch as the oracle: the same call in both worlds, compared.

A `Case` names a public function, its arguments and what of it can be tested. Arrays are written as `t(...)`, drawn
once per case from the case's own name; both worlds get the same numbers.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

# Largest difference allowed, relative to the scale of the expected result (its largest magnitude, at least 1).
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass(frozen=True)
class T:
    """An array to be drawn: a standard normal, or what `kind` says."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: str = "normal"  # normal | uniform (0..1) | positive (0.1..) | int | bool | probs | logprobs | zeros | ones
    low: int = 0
    high: int = 10
    value: Any = None  # literal contents, for kind="value"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The numbers, as numpy."""
        x = rng.standard_normal(self.shape)
        match self.kind:
            case "normal":
                return x.astype(self.dtype)
            case "uniform":
                return rng.uniform(0.05, 0.95, self.shape).astype(self.dtype)
            case "positive":
                return (np.abs(x) + 0.1).astype(self.dtype)
            case "int":
                return rng.integers(self.low, self.high, self.shape).astype(self.dtype)
            case "bool":
                return rng.integers(0, 2, self.shape).astype(bool)
            case "probs":
                return (np.exp(x) / np.exp(x).sum(-1, keepdims=True)).astype(self.dtype)
            case "logprobs":
                return np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True)).astype(self.dtype)
            case "zeros" | "ones":
                return np.full(self.shape, float(self.kind == "ones")).astype(self.dtype)
            case "value":
                return np.asarray(self.value, self.dtype)
        raise AssertionError(self.kind)


def t(*shape: int, dtype: str = "float32", kind: str = "normal", low: int = 0, high: int = 10) -> T:
    """A floating array of this shape (see `T.kind`)."""
    return T(shape, dtype, kind, low, high)


def ints(*shape: int, low: int = 0, high: int = 10, dtype: str = "int32") -> T:
    """An integer array with values in [low, high)."""
    return T(shape, dtype, "int", low, high)


def v(value: Any, dtype: str = "float32") -> T:
    """An array with these very contents."""
    return T(np.shape(value), dtype, "value", value=value)


@dataclass(frozen=True)
class Case:
    """One call of one public function, to be made in both worlds.

    `name` is looked up in `purenn.functional` and in `torch.nn.functional` unless `torch_fn` gives the oracle (a
    function of torch tensors). `seeded` functions draw numbers: value laws do not apply, they have laws of their own.
    """

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    torch_fn: Callable | None = None
    seeded: bool = False
    grad: bool = True  # compare gradients of every floating array argument
    batch: tuple[int, ...] | None = None  # indices of the positional arrays to vmap over (None: the first one)
    vmap: bool = True
    jit: bool = True  # False where torch decides by value (one_hot(num_classes=-1))
    half: bool = True  # float16 and bfloat16 keep their dtype and agree
    scale: float = 1.0  # multiplies TOLERANCE; the measured error stands in a comment beside it
    label: str = ""

    def __str__(self) -> str:
        kwargs = ",".join(f"{k}={_short(w)}" for k, w in self.kwargs.items())
        return self.label or f"{self.name}({','.join(map(_short, self.args))}{';' + kwargs if kwargs else ''})"

    def numpy(self, dtype: str | None = None) -> tuple[tuple, dict]:
        """The arguments with numpy arrays; floating ones in `dtype` when given."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))

        def make(leaf: Any) -> Any:
            if not isinstance(leaf, T):
                return leaf
            x = leaf.draw(rng)
            # rounded to the asked dtype once, so that both worlds start from the same numbers
            return x if dtype is None or x.dtype.kind != "f" else np.asarray(jnp.asarray(x, dtype))

        is_leaf = lambda x: isinstance(x, T) or x is None  # noqa: E731
        return jax.tree.map(make, self.args, is_leaf=is_leaf), jax.tree.map(make, self.kwargs, is_leaf=is_leaf)


def _short(value: Any) -> str:
    if isinstance(value, T):
        dtype = "" if value.dtype == "float32" else value.dtype
        return f"{'x'.join(map(str, value.shape)) or 'scalar'}{dtype}"
    return getattr(value, "__name__", str(value)).replace(" ", "")


def to_torch(tree: Any, requires_grad: bool = False) -> Any:
    """Numpy arrays of a tree as torch tensors (int32 as int64: torch wants long indices)."""

    def convert(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        if x.dtype == jnp.bfloat16:
            out = torch.from_numpy(x.astype(np.float32)).to(torch.bfloat16)
        elif x.dtype == np.int32:
            out = torch.from_numpy(x.astype(np.int64))
        else:
            out = torch.from_numpy(np.array(x))
        return out.requires_grad_() if requires_grad and out.is_floating_point() else out

    return jax.tree.map(convert, tree, is_leaf=lambda x: x is None)


def to_numpy(x: Any) -> np.ndarray:
    """A tensor or an array as numpy; half precisions as float32."""
    if isinstance(x, torch.Tensor):
        x = x.detach()
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).resolve_conj().numpy()
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype in (jnp.bfloat16, np.float16) else x


def leaves(out: Any) -> list:
    """The arrays of a result, None left out, in order."""
    return jax.tree.leaves(out, is_leaf=lambda x: isinstance(x, torch.Tensor))


def assert_close(ours: Any, theirs: Any, dtype: str = "float32", scale: float = 1.0, what: str = "") -> float:
    """Equal structure, shapes and numbers to TOLERANCE; NaN equals NaN, inf equals inf. Returns the largest error."""
    a, b = leaves(ours), leaves(theirs)
    assert len(a) == len(b), f"{what}: {len(a)} results, torch has {len(b)}"
    worst = 0.0
    for x, y in zip(map(to_numpy, a), map(to_numpy, b), strict=True):
        assert x.shape == y.shape, f"{what}: shape {x.shape}, torch has {y.shape}"
        if y.dtype.kind in "iub":
            np.testing.assert_array_equal(x, y, err_msg=what)
            continue
        finite = np.isfinite(y)
        np.testing.assert_array_equal(np.isfinite(x), finite, err_msg=f"{what}: finiteness")
        np.testing.assert_array_equal(x[~finite], y[~finite], err_msg=f"{what}: non-finite values")
        if finite.any():
            size = max(1.0, float(np.abs(y[finite]).max()))
            error = float(np.abs(x[finite] - y[finite]).max()) / size
            assert error <= TOLERANCE[dtype] * scale, f"{what}: error {error:.2e} of the scale {size:.3g}"
            worst = max(worst, error)
    return worst
