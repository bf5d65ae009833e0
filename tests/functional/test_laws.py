"""Laws that hold for every public operation of purenn.functional, over the tables of the `cases_*` files."""

import importlib
import inspect
import pathlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from oracle import Case, assert_close, leaves, to_torch

import purenn.functional as F

CASES: list[Case] = [
    case
    for path in sorted(pathlib.Path(__file__).parent.glob("cases_*.py"))
    for case in importlib.import_module(path.stem).CASES
]
VALUES = [case for case in CASES if not case.seeded]


def over(applies, always=None):
    """A law over the cases it applies to; a flag that takes a case out stands in its table, with the reason.

    Values and gradients are compared with torch's in every case, always. The other laws are about how an operation is
    made, not about its options: they always take ``always`` cases of each name, and the rest in the sweep.
    """
    cases, seen = [], Counter()
    for case in filter(applies, VALUES):
        seen[case.name] += 1
        in_sweep = always is not None and seen[case.name] > always
        cases.append(pytest.param(case, marks=[pytest.mark.sweep] if in_sweep else []))
    return pytest.mark.parametrize("case", cases, ids=str)


each = over(lambda case: True)


def ours(case: Case):
    return getattr(F, case.name)


def theirs(case: Case):
    return case.torch_fn or getattr(TF, case.name)


def floating(args: tuple) -> list[int]:
    """Positions of the floating arrays among the positional arguments."""
    return [i for i, x in enumerate(args) if isinstance(x, np.ndarray) and jnp.issubdtype(x.dtype, jnp.floating)]


def weighted_sum(out):
    """A scalar that depends on every number of the result, differently."""
    total = 0.0
    for x in leaves(out):
        if isinstance(x, torch.Tensor):
            if x.is_floating_point():
                total = total + (x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape)).sum()
        elif jnp.issubdtype(x.dtype, jnp.floating):
            total = total + (x * np.cos(np.arange(x.size)).astype(x.dtype).reshape(x.shape)).sum()
    return total


def on(case: Case, args: tuple, kwargs: dict, indices: list[int]):
    """The operation as a function of the arrays at `indices` alone."""

    def call(*arrays):
        full = list(args)
        for i, array in zip(indices, arrays, strict=True):
            full[i] = array
        return ours(case)(*full, **kwargs)

    return call


def as_jax(tree):
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, tree, is_leaf=lambda x: x is None)


def compiled(case: Case, f):
    """The function as one program, which is much quicker than operation by operation; law 2 says that it is equal."""
    return jax.jit(f) if case.jit else f


@each
def test_value_and_gradient_equal_torch(case):
    args, kwargs = case.numpy()
    expected_args = to_torch(args, requires_grad=case.grad)
    expected = theirs(case)(*expected_args, **to_torch(kwargs))
    indices = floating(args)
    f, xs = on(case, as_jax(args), as_jax(kwargs), indices), [jnp.asarray(args[i]) for i in indices]
    if not (case.grad and indices):
        assert_close(compiled(case, f)(*xs), expected, scale=case.scale, what="value")
        return

    def scalar(*xs):
        out = f(*xs)
        return weighted_sum(out), out

    gradients, out = compiled(case, jax.grad(scalar, argnums=tuple(range(len(xs))), has_aux=True))(*xs)
    assert_close(out, expected, scale=case.scale, what="value")
    weighted_sum(expected).backward()
    for i, gradient in zip(indices, gradients, strict=True):
        theirs_i = expected_args[i].grad
        theirs_i = torch.zeros_like(expected_args[i]) if theirs_i is None else theirs_i
        assert_close(gradient, theirs_i, scale=case.scale, what=f"gradient of argument {i}")


@over(lambda case: case.jit, always=2)
def test_jit_equals_eager_and_traces_once(case):
    args, kwargs = case.numpy()
    indices = [i for i, x in enumerate(args) if isinstance(x, np.ndarray)]
    traces = []

    def call(*arrays):
        traces.append(1)
        return on(case, args, as_jax(kwargs), indices)(*arrays)

    arrays = [jnp.asarray(args[i]) for i in indices]
    jitted = jax.jit(call)
    first, second = jitted(*arrays), jitted(*arrays)
    assert len(traces) == 1
    assert_close(first, jax.tree.map(np.asarray, second), what="second call")
    assert_close(first, jax.tree.map(np.asarray, ours(case)(*as_jax(args), **as_jax(kwargs))), scale=case.scale)


@over(lambda case: case.vmap and case.jit, always=2)
def test_vmap_equals_the_batch(case):
    args, kwargs = case.numpy()
    arrays = [i for i, x in enumerate(args) if isinstance(x, np.ndarray)]
    indices = list(case.batch) if case.batch is not None else arrays[:1]
    f = on(case, as_jax(args), as_jax(kwargs), indices)
    single = [jnp.asarray(args[i]) for i in indices]
    other = [x[::-1] if x.ndim else x for x in single]
    batched = jax.jit(jax.vmap(f))(*[jnp.stack(pair) for pair in zip(single, other, strict=True)])
    one = jax.jit(f)
    for n, xs in enumerate((single, other)):
        member = jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), batched)
        assert_close(member, jax.tree.map(np.asarray, one(*xs)), scale=case.scale, what=f"member {n}")


@over(lambda case: case.grad and floating(case.numpy()[0]), always=2)
def test_forward_mode_agrees_with_reverse_mode(case):
    with jax.enable_x64(True):  # so that what differs is not rounding
        forward, reverse = both_modes(case)
    assert_close(forward, np.asarray(reverse), dtype="float64", scale=1e-3)  # the largest error is 8.7e-15


def both_modes(case):
    """The derivative along one direction, pushed forward and pulled back."""
    args, kwargs = case.numpy("float64")
    indices = floating(args)
    f = on(case, as_jax(args), as_jax(kwargs), indices)
    xs = tuple(jnp.asarray(args[i]) for i in indices)
    tangents = tuple(jnp.cos(jnp.arange(x.size, dtype=x.dtype) * 0.7).reshape(x.shape) for x in xs)
    scalar = lambda *xs: jnp.asarray(weighted_sum(f(*xs)))  # noqa: E731

    def both(xs, tangents):
        gradients = jax.grad(scalar, argnums=tuple(range(len(xs))))(*xs)
        reverse = sum(jnp.vdot(g, v) for g, v in zip(gradients, tangents, strict=True))
        return jax.jvp(scalar, xs, tangents)[1], reverse

    return compiled(case, both)(xs, tangents)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@over(lambda case: case.half and floating(case.numpy()[0]), always=2)
def test_half_precision_keeps_its_dtype(case, dtype):
    args, kwargs = case.numpy(dtype)
    expected = theirs(case)(*to_torch(args), **to_torch(kwargs))
    indices = floating(args)
    result = compiled(case, on(case, as_jax(args), as_jax(kwargs), indices))(*[jnp.asarray(args[i]) for i in indices])
    for x, y in zip(leaves(result), leaves(expected), strict=True):
        if y.is_floating_point():
            assert str(x.dtype) == str(y.dtype).removeprefix("torch.")
    assert_close(result, expected, dtype=dtype, scale=case.scale)


def test_signatures_are_torchs():
    for name in sorted({case.name for case in CASES if hasattr(TF, case.name)}):
        mine = inspect.signature(getattr(F, name)).parameters
        try:
            torchs = inspect.signature(getattr(TF, name)).parameters
        except (ValueError, TypeError):
            continue  # a builtin without a signature; its family's tests name its arguments
        if all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in torchs.values()):
            continue  # behind boolean_dispatch
        positional = [p for p in mine if mine[p].kind is not inspect.Parameter.KEYWORD_ONLY and p != "_stacklevel"]
        expected = [p for p in torchs if torchs[p].kind is not inspect.Parameter.KEYWORD_ONLY and p != "_stacklevel"]
        assert positional == expected, name
        for p in expected:
            default = torchs[p].default
            default = jnp.dtype(str(default).removeprefix("torch.")) if isinstance(default, torch.dtype) else default
            assert mine[p].default == default, f"{name}({p}=)"


def test_every_exported_name_has_a_case():
    assert set(F.__all__) <= {case.name for case in CASES}


def test_a_wrong_operation_breaks_the_law(monkeypatch):
    case = next(case for case in VALUES if case.name == "softplus")
    monkeypatch.setattr(F, "softplus", lambda x, beta=1, threshold=20: jax.nn.softplus(x) * 1.001)
    with pytest.raises(AssertionError):
        test_value_and_gradient_equal_torch(case)


def test_every_torch_name_exists():
    left_out = {
        "Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor", "assert_int_or_pair",
        "boolean_dispatch", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
        "has_torch_function_variadic",
    }  # fmt: skip
    names = {n for n in dir(TF) if not n.startswith("_") and callable(getattr(TF, n))} - left_out
    missing = names - set(F.__all__)
    assert not missing, f"{len(missing)} of {len(names)}: {sorted(missing)}"
