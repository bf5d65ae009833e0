"""Laws over the table of torch operators: value, gradient, dtype, jit and vmap equal torch's own operator."""

import builtins
import functools
import math
import operator

import cases_torch_ops as table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import Case, assert_close, to_torch

from transforms.torch_ops import OPERATORS, register_op

CHUNK = 24  # cases whose programs are compiled as one
each = pytest.mark.parametrize("case", table.CASES, ids=str)


def theirs(name):
    """torch's operator of this name."""
    found = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def drawn(case, dtype=None):
    """The arguments as numpy arrays."""
    args, kwargs = Case(str(case), case.args, case.kwargs, label=str(case)).numpy(dtype)
    return args, kwargs


def as_torch(tree):
    """As torch takes them: dtypes are its own, indices long."""
    converted = to_torch(tree)
    is_dtype = lambda x: isinstance(x, np.dtype)  # noqa: E731
    return jax.tree.map(
        lambda x: getattr(torch, x.name) if is_dtype(x) else x, converted, is_leaf=lambda x: x is None or is_dtype(x)
    )


def split(case, dtype=None):
    """The arrays of a call, and a function that puts others in their place."""
    flat, tree = jax.tree.flatten(drawn(case, dtype), is_leaf=lambda x: x is None or isinstance(x, np.dtype))
    places = [i for i, x in enumerate(flat) if isinstance(x, np.ndarray)]

    def put(arrays):
        full = list(flat)
        for i, array in zip(places, arrays, strict=True):
            full[i] = array
        return jax.tree.unflatten(tree, full)

    return [flat[i] for i in places], put


def results(case, out):
    """The results that are compared, as a list."""
    out = list(out) if isinstance(out, (list, tuple)) else [out]
    return [x for i, x in enumerate(out) if (case.outputs is None or i in case.outputs) and x is not None]


def total(outs):
    """A number that depends on every result."""
    amount = 0.0
    for x in outs:
        if isinstance(x, torch.Tensor):
            if x.is_floating_point() or x.is_complex():
                x = x.real * 2 + x.imag * 3 if x.is_complex() else x
                amount = amount + (x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape)).sum()
        elif jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact):
            x = x.real * 2 + x.imag * 3 if jnp.iscomplexobj(x) else x
            amount = amount + (x * np.cos(np.arange(x.size)).astype(x.dtype).reshape(x.shape)).sum()
    return amount


def ours(case, put):
    """The mapped function of the arrays."""

    def call(arrays):
        args, kwargs = put(arrays)
        return results(case, OPERATORS[case.name].fn(*args, **kwargs, **({"rng": None} if random(case) else {})))

    return call


def random(case):
    return OPERATORS[case.name].random


def smooth(arrays):
    return [i for i, x in enumerate(arrays) if x.dtype.kind == "f" and x.dtype.itemsize > 2]


def work(case):
    """(arrays) -> value, gradients."""
    arrays, put = split(case)
    call, over = ours(case, put), smooth(arrays)[: case.slopes]

    def program(arrays):
        arrays = list(map(jnp.asarray, arrays))

        def scalar(chosen):
            full = list(arrays)
            for i, x in zip(over, chosen, strict=True):
                full[i] = x
            out = call(full)
            return total(out), out

        if case.grad and over:
            gradients, out = jax.grad(scalar, has_aux=True)([arrays[i] for i in over])
        else:
            gradients, out = [], call(arrays)
        return out, gradients

    return arrays, program


@functools.cache
def computed(chunk):
    """Results, or the error, of all cases of a chunk, from one compiled program."""
    cases = table.CASES[chunk * CHUNK : (chunk + 1) * CHUNK]
    given = [work(case) for case in cases]
    errors = {}

    def everything(all_arrays):
        found = []
        for case, (_, program), arrays in zip(cases, given, all_arrays, strict=True):
            try:
                found.append(program(arrays))
            except Exception as error:
                errors[case] = error
                found.append(None)
        return found

    found = jax.jit(everything)([arrays for arrays, _ in given])
    return dict(zip(cases, found, strict=True)), errors


def found(case):
    values, errors = computed(table.CASES.index(case) // CHUNK)
    if case in errors:
        raise errors[case]
    return values[case]


def expected(case):
    """torch's results, and the gradients of the floating arrays."""
    arrays, put = split(case)
    over = smooth(arrays)[: case.slopes] if case.grad else []
    tensors = [as_torch(x) for x in arrays]
    for i in over:
        tensors[i].requires_grad_()
    args, kwargs = put(tensors)
    out = results(case, theirs(case.name)(*as_torch(args), **as_torch(kwargs)))
    out = [x.resolve_neg() if isinstance(x, torch.Tensor) else x for x in out]
    amount = total(out) if over else None
    if isinstance(amount, torch.Tensor) and amount.requires_grad:
        amount.backward()
    zero = lambda i: torch.zeros_like(tensors[i])  # noqa: E731
    return out, [zero(i) if tensors[i].grad is None else tensors[i].grad for i in over]


def dtype_of(x):
    """Of a tensor, as the x64 setting has it."""
    name = (
        str(x.dtype).removeprefix("torch.")
        if isinstance(x, torch.Tensor)
        else str(getattr(x, "dtype", None) or jnp.asarray(x).dtype)
    )
    return {"int64": "int32", "float64": "float32", "complex128": "complex64"}.get(name, name)


@each
def test_value_gradient_and_dtype_equal_torch(case):
    (out, gradients), (wanted, slopes) = found(case), expected(case)
    assert len(out) == len(wanted)
    tolerance = "float16" if any(dtype_of(x) == "float16" for x in wanted) else "float32"
    assert_close(out, wanted, tolerance, case.scale, "value")
    assert [dtype_of(x) for x in out] == [dtype_of(x) for x in wanted]
    assert_close(gradients, slopes, tolerance, case.scale * 2, "gradient")


def batched(case):
    arrays, put = split(case)
    if not arrays:
        return
    out, _ = found(case)
    batch = jax.jit(jax.vmap(ours(case, put)))([jnp.stack([x, x]) for x in map(jnp.asarray, arrays)])
    for one, both in zip(out, batch, strict=True):
        assert_close([both[0], both[1]], [np.asarray(one)] * 2, "float32", case.scale * 2, "vmap")


BATCHED = [case for case in table.CASES if case.vmap]


@pytest.mark.parametrize("case", BATCHED[::16], ids=str)
def test_vmap_equals_the_batch(case):
    batched(case)


@pytest.mark.sweep
@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_vmap_equals_the_batch_everywhere(case):
    batched(case)


HALVES = [case for case in table.CASES if case.half and any(x.dtype.kind == "f" for x in split(case)[0])]


@pytest.mark.parametrize("case", HALVES, ids=str)
def test_bfloat16_gives_torchs_dtype(case):
    arrays, put = split(case, "bfloat16")
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    tracked = {}

    def call(arrays):
        tracked["out"] = ours(case, put)(arrays)
        return [jnp.asarray(x) for x in tracked["out"]]

    out = jax.eval_shape(call, shapes)
    args, kwargs = put([as_torch(x) for x in arrays])
    try:
        wanted = results(case, theirs(case.name)(*as_torch(args), **as_torch(kwargs)))
    except (RuntimeError, NotImplementedError):
        return  # torch has no such kernel for bfloat16
    assert [dtype_of(x) for x in out] == [dtype_of(x) for x in wanted]


def test_eager_equals_jit_on_a_few():
    for case in table.CASES[::40]:
        arrays, put = split(case)
        assert_close(ours(case, put)(list(map(jnp.asarray, arrays))), list(map(np.asarray, found(case)[0])))


def test_every_mapped_operator_is_in_a_table():
    """All that is registered is tried: here, in the table without arrays, in that of random numbers, or in a model."""
    tried = {case.name for case in table.CASES} | set(table.WITHOUT_ARRAYS) | set(table.RANDOM) | set(table.IN_MODELS)
    assert sorted(set(OPERATORS) - tried) == []
    assert sorted(tried - set(OPERATORS)) == []


@pytest.mark.parametrize(("name", "args", "kwargs"), [(n, *call) for n, call in table.WITHOUT_ARRAYS.items()])
def test_operators_without_arrays_equal_torch(name, args, kwargs):
    python = name.startswith(("_operator", "torch.", "math.", "builtins."))
    if python:
        module = {"_operator": operator, "torch": torch, "math": math, "builtins": builtins}[name.split(".")[0]]
        wanted = getattr(module, name.split(".", 1)[1])(*args, **kwargs)
        assert OPERATORS[name].fn(*args, **kwargs) == wanted
        return
    wanted = theirs(name)(*as_torch(args), **as_torch(kwargs))
    out = OPERATORS[name].fn(*args, **kwargs)
    assert_close(out, wanted)
    assert dtype_of(out) == dtype_of(wanted)


@pytest.mark.parametrize("name", table.RANDOM)
def test_random_operators_draw_from_the_key(name):
    args, kwargs, mean, spread = table.RANDOM[name]
    arrays = jax.tree.map(lambda x: jnp.full(x.shape, x.value, x.dtype) if isinstance(x, table.Full) else x, args)
    one, again, other = (
        jax.tree.leaves(OPERATORS[name].fn(*arrays, **kwargs, rng=jax.random.key(seed)))[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.any(np.asarray(one) != np.asarray(other))
    numbers = np.asarray(one, np.float64)
    if mean is not None:
        assert abs(numbers.mean() - mean) < 5 * max(spread, 1e-3) / np.sqrt(numbers.size)
        assert abs(numbers.std() - spread) < 0.1 * max(spread, 0.1)
    with pytest.raises(ValueError, match="rng must be given"):
        OPERATORS[name].fn(*arrays, **kwargs, rng=None)


def test_a_size_that_depends_on_values_is_refused_inside_jit():
    narrow = OPERATORS["aten.narrow.default"].fn
    assert narrow(jnp.arange(5), 0, 1, jnp.asarray(3)).shape == (3,)
    with pytest.raises(ValueError, match="from_torch: a size must not depend on values inside jit"):
        jax.jit(lambda x, n: narrow(x, 0, 1, n))(jnp.arange(5), 3)


@pytest.mark.parametrize(
    ("name", "args", "rule"),
    [
        ("aten.nonzero.default", (), "nonzero: the places of what is not zero must be known"),
        ("aten.where.default", (), "where: the places of what is not zero must be known"),
        ("aten.masked_select.default", (jnp.ones(3, bool),), "index: a mask that picks rows must be known"),
    ],
)
def test_what_values_decide_runs_outside_jit_alone(name, args, rule):
    fn, x = OPERATORS[name].fn, jnp.asarray([0.0, 1.0, 2.0])
    jax.tree.leaves(fn(x, *args))
    with pytest.raises(ValueError, match=rule):
        jax.jit(fn)(x, *args)


@pytest.mark.parametrize("name", ["aten.unique_consecutive.default", "aten._unique2.default"])
def test_unique_equals_torch(name):
    x = np.asarray([1, 1, 2, 2, 1, 3], np.int32)
    flags = (True, True) if "consecutive" in name else (True, True, True)
    assert_close(OPERATORS[name].fn(jnp.asarray(x), *flags), theirs(name)(torch.from_numpy(x), *flags))


def test_an_integer_with_a_negative_exponent_is_refused():
    with pytest.raises(ValueError, match="pow: integers must not have a negative exponent, got exponent=-1"):
        OPERATORS["aten.pow.Tensor_Scalar"].fn(jnp.asarray([2]), -1)


def test_unsupported_options_are_refused():
    x = jnp.eye(2)
    with pytest.raises(NotImplementedError, match=r"linalg.pinv: atol must be 0, got atol=1"):
        OPERATORS["aten.linalg_pinv.atol_rtol_float"].fn(x, atol=1)
    with pytest.raises(NotImplementedError, match=r"linalg.lu_solve: left must be True and adjoint False"):
        OPERATORS["aten.linalg_lu_solve.default"].fn(x, jnp.arange(2), x, adjoint=True)


def test_register_op_refuses_what_is_no_name_or_function():
    with pytest.raises(TypeError, match="register_op: a name must be a string, got names=\\(3,\\)"):
        register_op(3)
    with pytest.raises(TypeError, match="register_op: fn must be a function, got type\\(fn\\)='int'"):
        register_op("mine.op.default")(3)


def test_lu_solve_undoes_lu_factor():
    a, b = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), jnp.asarray([[1.0], [2.0]])
    lu, pivots = OPERATORS["aten.linalg_lu_factor.default"].fn(a)
    np.testing.assert_allclose(a @ OPERATORS["aten.linalg_lu_solve.default"].fn(lu, pivots, b), b, rtol=1e-5)
