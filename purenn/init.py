"""Every initializer of torch.nn.init, as ``fn(rng, shape, dtype=float32, **options)``.

Arrays do not change in place, so an initializer returns what torch's writes. Each has torch's spelling with the
trailing underscore too. A constant one takes ``rng`` and does not look at it. Called as torch's,
``normal_(weight, 0, 1)`` on a parameter of a `stateful.Module`, it is that parameter's initializer from now on.
"""

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from purenn.checks import is_traced
from purenn.errors import check_sizes, dtype_of, refusal
from purenn.random import as_key, draw, fold_name

P = ParamSpec("P")

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


# Finds what keeps an array and can draw it anew, an object with ``promise(initializer, **options)`` and ``array()``;
# None where nothing does. stateful.node, which knows parameters, sets it.
keeper: Callable[[Any], Any] | None = None


def _initializer(fn: Callable[P, jax.Array]) -> Callable[P, jax.Array]:
    """Takes torch's call as well, a parameter in the place of the key; any other array there is refused."""
    signature = inspect.signature(fn)
    generator = inspect.Parameter("generator", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    in_torch = signature.replace(parameters=[*list(signature.parameters.values())[3:], generator])

    @functools.wraps(fn)
    def initializer(*args: P.args, **kwargs: P.kwargs) -> jax.Array:
        rng: Any = args[0] if args else None
        if keeper is not None and (kept := keeper(rng)) is not None:
            options = in_torch.bind(*args[1:], **kwargs).arguments
            if options.pop("generator", None) is not None:
                remedy = "Modules draw from nn.manual_seed, pure initializers from rng."
                raise refusal(fn.__name__, "generator must be None", {"generator": "a generator"}, remedy)
            return kept.promise(initializer, **options) if rng is kept else kept.promise(initializer, **options).array()
        if _is_weight(rng):
            name = fn.__name__
            remedy = f"Arrays do not change in place: write layer.weight = init.{name}(rng, layer.weight.shape)."
            raise refusal(name, "rng must be a PRNG key", {"rng.dtype": str(rng.dtype)}, remedy, TypeError)
        return fn(*args, **kwargs)

    return initializer


def _is_weight(rng: Any) -> bool:
    dtype = getattr(rng, "dtype", None)
    return hasattr(rng, "detach") or (dtype is not None and jnp.issubdtype(dtype, jnp.inexact))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Recommends the factor by which a nonlinearity asks the weights before it to be larger.

    Args:
        nonlinearity: ``"linear"``, ``"conv1d"`` ... ``"conv_transpose3d"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``,
            ``"leaky_relu"`` or ``"selu"``.
        param: the negative slope of ``"leaky_relu"``; None means 0.01.

    Returns:
        The gain.

    Errors:
        ValueError for another name, or a slope that is no number.

    Torch:
        ``torch.nn.init.calculate_gain``, identical.
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise refusal("calculate_gain", "param must be a number", {"param": param})
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity not in gains:
        raise refusal(
            "calculate_gain",
            "nonlinearity must be one torch knows",
            {"nonlinearity": nonlinearity},
            f"Choose one of {', '.join((*_LINEAR, 'sigmoid', 'leaky_relu', *gains))}.",
        )
    return gains[nonlinearity]


@_initializer
def uniform(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, a: float = 0.0, b: float = 1.0) -> jax.Array:
    """Draws from U(a, b).

    Args:
        rng: PRNG key.
        shape: of the result.
        dtype: of the result, floating.
        a: lower bound.
        b: upper bound.

    Returns:
        An array of ``shape`` and ``dtype``.

    Torch:
        ``torch.nn.init.uniform_``, the same distribution.
    """
    rng, shape, dtype = _canonical("uniform", rng, shape, dtype)
    return draw("uniform", rng, shape, dtype, b - a, a)


@_initializer
def normal(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, mean: float = 0.0, std: float = 1.0) -> jax.Array:
    """Draws from N(mean, std²).

    Args:
        rng: PRNG key.
        shape: of the result.
        dtype: of the result, floating.
        mean: of the distribution.
        std: standard deviation.

    Returns:
        An array of ``shape`` and ``dtype``.

    Torch:
        ``torch.nn.init.normal_``, the same distribution.
    """
    rng, shape, dtype = _canonical("normal", rng, shape, dtype)
    return draw("normal", rng, shape, dtype, std, mean)


@_initializer
def trunc_normal(
    rng: Any,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
) -> jax.Array:
    """Draws from N(mean, std²) conditioned on [a, b]; the bounds are values, not standard deviations.

    Args:
        rng: PRNG key.
        shape: of the result.
        dtype: of the result, floating.
        mean: of the distribution before truncation.
        std: standard deviation before truncation.
        a: smallest value.
        b: largest value.

    Returns:
        An array of ``shape`` and ``dtype``.

    Errors:
        TypeError for a complex dtype, which has no order.

    Torch:
        ``torch.nn.init.trunc_normal_``, the same distribution.
    """
    rng, shape, dtype = _canonical("trunc_normal", rng, shape, dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise refusal("trunc_normal", "dtype must be real", {"dtype": str(dtype)}, kind=TypeError)
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("trunc_normal: mean is more than 2 std from [a, b]; few numbers can represent it.", stacklevel=3)
    x = draw("truncated_normal", rng, shape, dtype, std, mean, ((a - mean) / std, (b - mean) / std))
    return jnp.clip(x, a, b)


@_initializer
def constant(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, val: float = 0.0) -> jax.Array:
    """Fills with one value.

    Args:
        rng: not looked at, may be None.
        shape: of the result.
        dtype: of the result.
        val: the value.

    Returns:
        An array of ``shape`` and ``dtype``.

    Torch:
        ``torch.nn.init.constant_``, identical.
    """
    return _filled("constant", rng, shape, dtype, val)


@_initializer
def ones(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Fills with ones.

    Args:
        rng: not looked at, may be None.
        shape: of the result.
        dtype: of the result.

    Returns:
        An array of ``shape`` and ``dtype``.

    Torch:
        ``torch.nn.init.ones_``, identical.
    """
    return _filled("ones", rng, shape, dtype, 1)


@_initializer
def zeros(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Fills with zeros.

    Args:
        rng: not looked at, may be None.
        shape: of the result.
        dtype: of the result.

    Returns:
        An array of ``shape`` and ``dtype``.

    Torch:
        ``torch.nn.init.zeros_``, identical.
    """
    return _filled("zeros", rng, shape, dtype, 0)


@_initializer
def eye(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Makes the 2-D identity, cut or padded with zeros to ``shape``.

    Args:
        rng: not looked at, may be None.
        shape: two numbers.
        dtype: of the result.

    Returns:
        An array of ``shape`` and ``dtype``.

    Errors:
        ValueError unless ``shape`` has two numbers.

    Torch:
        ``torch.nn.init.eye_``, identical.
    """
    del rng
    shape = _shape("eye", shape)
    if len(shape) != 2:
        raise refusal("eye", "shape must have 2 numbers", {"shape": shape})
    return jnp.asarray(np.eye(*shape, dtype=dtype_of("eye", dtype)))


@_initializer
def dirac(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, groups: int = 1) -> jax.Array:
    """Makes a convolution weight that passes each input channel through, as far as channels go.

    Args:
        rng: not looked at, may be None.
        shape: ``(out_channels, in_channels, *kernel_size)``, with a kernel of 1 to 3 axes.
        dtype: of the result.
        groups: of the convolution; the output channels of each start anew.

    Returns:
        An array of ``shape`` and ``dtype``.

    Errors:
        ValueError for another number of axes, or output channels that groups do not divide.

    Torch:
        ``torch.nn.init.dirac_``, identical.
    """
    del rng
    shape = _shape("dirac", shape)
    if len(shape) not in (3, 4, 5):
        raise refusal("dirac", "shape must have 3, 4 or 5 numbers", {"shape": shape})
    if groups < 1 or shape[0] % groups:
        raise refusal("dirac", "groups must divide shape[0]", {"shape": shape, "groups": groups})
    weight = np.zeros(shape, dtype_of("dirac", dtype))
    per_group = shape[0] // groups
    diagonal = np.arange(min(per_group, shape[1]))
    center: Any = [size // 2 for size in shape[2:]]
    for group in range(groups):
        weight[group * per_group + diagonal, diagonal, *center] = 1
    return jnp.asarray(weight)


@_initializer
def xavier_uniform(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, gain: float = 1.0) -> jax.Array:
    """Draws from U(-a, a) with ``a = gain √(6 / (fan_in + fan_out))``.

    Args:
        rng: PRNG key.
        shape: ``(out, in, *kernel)``, at least two numbers.
        dtype: of the result, floating.
        gain: factor.

    Returns:
        An array of ``shape`` and ``dtype``.

    Source:
        Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Torch:
        ``torch.nn.init.xavier_uniform_``, the same distribution.
    """
    a = math.sqrt(3.0) * _xavier_std("xavier_uniform", shape, gain)
    return uniform(rng, shape, dtype, -a, a)


@_initializer
def xavier_normal(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, gain: float = 1.0) -> jax.Array:
    """Draws from N(0, std²) with ``std = gain √(2 / (fan_in + fan_out))``.

    Args:
        rng: PRNG key.
        shape: ``(out, in, *kernel)``, at least two numbers.
        dtype: of the result, floating.
        gain: factor.

    Returns:
        An array of ``shape`` and ``dtype``.

    Source:
        Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Torch:
        ``torch.nn.init.xavier_normal_``, the same distribution.
    """
    return normal(rng, shape, dtype, 0.0, _xavier_std("xavier_normal", shape, gain))


@_initializer
def kaiming_uniform(
    rng: Any,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> jax.Array:
    """Draws from U(-b, b) with ``b = gain √(3 / fan)``.

    Args:
        rng: PRNG key.
        shape: ``(out, in, *kernel)``, at least two numbers.
        dtype: of the result, floating.
        a: negative slope of the leaky relu behind the layer.
        mode: ``"fan_in"`` keeps the variance of activations, ``"fan_out"`` that of gradients.
        nonlinearity: see `calculate_gain`.

    Returns:
        An array of ``shape`` and ``dtype``.

    Source:
        He et al., "Delving deep into rectifiers", 2015.

    Torch:
        ``torch.nn.init.kaiming_uniform_``, the same distribution.
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform", shape, a, mode, nonlinearity)
    return uniform(rng, shape, dtype, -bound, bound)


@_initializer
def kaiming_normal(
    rng: Any,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> jax.Array:
    """Draws from N(0, std²) with ``std = gain / √fan``.

    Args:
        rng: PRNG key.
        shape: ``(out, in, *kernel)``, at least two numbers.
        dtype: of the result, floating.
        a: negative slope of the leaky relu behind the layer.
        mode: ``"fan_in"`` keeps the variance of activations, ``"fan_out"`` that of gradients.
        nonlinearity: see `calculate_gain`.

    Returns:
        An array of ``shape`` and ``dtype``.

    Source:
        He et al., "Delving deep into rectifiers", 2015.

    Torch:
        ``torch.nn.init.kaiming_normal_``, the same distribution.
    """
    return normal(rng, shape, dtype, 0.0, _kaiming_std("kaiming_normal", shape, a, mode, nonlinearity))


@_initializer
def orthogonal(rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, gain: float = 1) -> jax.Array:
    """Draws a (semi) orthogonal matrix, uniformly; trailing axes are flattened.

    Args:
        rng: PRNG key.
        shape: at least two numbers; rows ``shape[0]``, columns the rest.
        dtype: of the result, floating.
        gain: factor.

    Returns:
        An array of ``shape`` and ``dtype``.

    Errors:
        ValueError for fewer than two numbers.

    Source:
        Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2013;
        Mezzadri, "How to generate random matrices from the classical compact groups", 2006, for the signs.

    Torch:
        ``torch.nn.init.orthogonal_``, the same distribution.
    """
    rng, shape, dtype = _canonical("orthogonal", rng, shape, dtype)
    if len(shape) < 2:
        raise refusal("orthogonal", "shape must have at least 2 numbers", {"shape": shape})
    if 0 in shape:
        return zeros(None, shape, dtype)
    rows, columns = shape[0], math.prod(shape[1:])
    working = jnp.promote_types(dtype, jnp.float32)
    tall = draw("normal", rng, (max(rows, columns), min(rows, columns)), working)
    q, r = jnp.linalg.qr(tall)
    q = q * jnp.sign(jnp.diagonal(r))
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


@_initializer
def sparse(
    rng: Any, shape: Sequence[int], dtype: Any = jnp.float32, sparsity: float = 0.1, std: float = 0.01
) -> jax.Array:
    """Draws a matrix from N(0, std²), in each column a fraction of it zero.

    Args:
        rng: PRNG key.
        shape: two numbers.
        dtype: of the result, floating.
        sparsity: fraction of each column that is zero, rounded up.
        std: standard deviation of the rest.

    Returns:
        An array of ``shape`` and ``dtype``.

    Errors:
        ValueError unless ``shape`` has two numbers.

    Source:
        Martens, "Deep learning via Hessian-free optimization", 2010.

    Torch:
        ``torch.nn.init.sparse_``, the same distribution; torch has no default for ``sparsity``.
    """
    rng, shape, dtype = _canonical("sparse", rng, shape, dtype)
    if len(shape) != 2:
        raise refusal("sparse", "shape must have 2 numbers", {"shape": shape})
    zero_rows = math.ceil(sparsity * shape[0])
    weight = draw("normal", fold_name(rng, "normal"), shape, dtype, std)
    # the rank of independent uniform numbers is a uniform permutation, in each column another
    rank = jnp.argsort(jnp.argsort(draw("uniform", fold_name(rng, "rows"), shape, jnp.float32), axis=0), axis=0)
    return jnp.where(rank < zero_rows, 0, weight)


def _shape(op: str, shape: Any) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else shape
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise refusal(op, "shape must be a sequence of integers", {"type(shape)": type(shape).__name__}, kind=TypeError)
    check_sizes(op, **{f"shape[{i}]": size for i, size in enumerate(shape)})
    return tuple(map(int, shape))


def _filled(op: str, rng: Any, shape: Any, dtype: Any, val: Any) -> jax.Array:
    shape, dtype = _shape(op, shape), dtype_of(op, dtype)
    if is_traced(rng):  # a broadcast in the program, in place of an array in it
        return jnp.full(shape, val, dtype)
    return jnp.asarray(np.full(shape, val, dtype))


def _canonical(op: str, rng: Any, shape: Any, dtype: Any) -> tuple[jax.Array, tuple[int, ...], Any]:
    dtype = dtype_of(op, dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise refusal(op, "dtype must be floating or complex", {"dtype": str(dtype)}, kind=TypeError)
    return as_key(op, rng), _shape(op, shape), dtype


def _fans(op: str, shape: Any) -> tuple[int, int]:
    shape = _shape(op, shape)
    if len(shape) < 2:
        raise refusal(op, "shape must have at least 2 numbers to have a fan in and a fan out", {"shape": shape})
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _xavier_std(op: str, shape: Any, gain: float) -> float:
    fans = sum(_fans(op, shape))
    return gain * math.sqrt(2.0 / fans) if fans else 0.0  # without fans there are no numbers to draw


def _kaiming_std(op: str, shape: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise refusal(op, "mode must be 'fan_in' or 'fan_out'", {"mode": mode})
    fan = _fans(op, shape)[mode == "fan_out"]
    # an empty weight has no fan and no numbers to draw
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


uniform_, normal_, trunc_normal_, constant_ = uniform, normal, trunc_normal, constant
ones_, zeros_, eye_, dirac_ = ones, zeros, eye, dirac
xavier_uniform_, xavier_normal_ = xavier_uniform, xavier_normal
kaiming_uniform_, kaiming_normal_ = kaiming_uniform, kaiming_normal
orthogonal_, sparse_ = orthogonal, sparse

__all__ = [
    "calculate_gain",
    *(
        name + underscore
        for name in (
            "uniform", "normal", "trunc_normal", "constant", "ones", "zeros", "eye", "dirac", "xavier_uniform",
            "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "sparse",
        )
        for underscore in ("", "_")
    ),
]  # fmt: skip
