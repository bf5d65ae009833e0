"""Elementwise nonlinearities, gates, and the softmax family.

Where a formula has pieces, each is a select on the input itself: values and gradients at the joints, at infinity and
at NaN are then those of the piece that torch takes there. A branch that is not taken sees 0, so that no infinity of
its own reaches the gradient. Formulas of several roundings are computed in float32 for half precisions.
"""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from purenn.checks import is_traced
from purenn.errors import as_array, check_same_dtype, refusal
from purenn.functional.dropout import check_rng

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def relu(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Keeps what is positive: ``max(0, x)``; its gradient at 0 is 0.

    Args:
        input: any shape; integers are taken too.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is boolean or complex.

    Torch:
        ``torch.nn.functional.relu``, identical.
    """
    del inplace
    return _threshold("relu", input, 0, 0)


def relu_(input: jax.Array) -> jax.Array:
    """Returns ``relu(input)``; JAX arrays do not change in place.

    Args:
        input: any shape.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.relu_``, differs in that ``input`` stays as it is.
    """
    return relu(input)


def threshold(input: jax.Array, threshold: float, value: float, inplace: bool = False) -> jax.Array:
    """Replaces what is small: ``x`` where ``x > threshold``, else ``value``; its gradient at the threshold is 0.

    Args:
        input: any shape; integers are taken too, and truncate ``threshold`` and ``value``.
        threshold: the largest number that is replaced.
        value: what replaces it.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is boolean or complex.

    Torch:
        ``torch.nn.functional.threshold``, identical.
    """
    del inplace
    return _threshold("threshold", input, threshold, value)


def threshold_(input: jax.Array, threshold: float, value: float) -> jax.Array:
    """Returns ``threshold(input, threshold, value)``; JAX arrays do not change in place.

    Args:
        input: any shape.
        threshold: the largest number that is replaced.
        value: what replaces it.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.threshold_``, differs in that ``input`` stays as it is.
    """
    return _threshold("threshold_", input, threshold, value)


def hardtanh(input: jax.Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> jax.Array:
    """Clips to an interval: ``min(max(x, min_val), max_val)``; its gradient at the bounds is 0.

    Args:
        input: any shape; integers are taken too, and truncate the bounds.
        min_val: lower bound.
        max_val: upper bound.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is boolean or complex, or unsigned with a negative bound.
        ValueError: ``min_val > max_val``.

    Torch:
        ``torch.nn.functional.hardtanh``, identical.
    """
    del inplace
    return _clip("hardtanh", input, min_val, max_val)


def hardtanh_(input: jax.Array, min_val: float = -1.0, max_val: float = 1.0) -> jax.Array:
    """Returns ``hardtanh(input, min_val, max_val)``; JAX arrays do not change in place.

    Args:
        input: any shape.
        min_val: lower bound.
        max_val: upper bound.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.hardtanh_``, differs in that ``input`` stays as it is, and that bounds in the wrong
        order are refused here too.
    """
    return _clip("hardtanh_", input, min_val, max_val)


def relu6(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Clips to [0, 6]: ``min(max(0, x), 6)``; its gradient at 0 and 6 is 0.

    Args:
        input: any shape; integers are taken too.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is boolean or complex.

    Torch:
        ``torch.nn.functional.relu6``, identical.
    """
    del inplace
    return _clip("relu6", input, 0, 6)


def elu(input: jax.Array, alpha: float = 1.0, inplace: bool = False) -> jax.Array:
    """Bends below zero towards ``-alpha``: ``x`` where ``x > 0``, else ``alpha (exp(x) - 1)``.

    Clevert et al., Fast and accurate deep network learning by exponential linear units, 2016.

    Args:
        input: any shape, floating.
        alpha: depth of the floor, and the slope at 0.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.elu``, identical.
    """
    del inplace
    return _elu(_floating("elu", input), alpha)


def elu_(input: jax.Array, alpha: float = 1.0) -> jax.Array:
    """Returns ``elu(input, alpha)``; JAX arrays do not change in place.

    Args:
        input: any shape, floating.
        alpha: depth of the floor, and the slope at 0.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.elu_``, differs in that ``input`` stays as it is.
    """
    return _elu(_floating("elu_", input), alpha)


def selu(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Scales elu so that mean 0 and variance 1 persist: ``s x`` where ``x > 0``, else ``s α (exp(x) - 1)``.

    Klambauer et al., Self-normalizing neural networks, 2017: s = 1.0507..., α = 1.6732...

    Args:
        input: any shape, floating.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.selu``, identical.
    """
    del inplace
    return _elu(_floating("selu", input), _SELU_ALPHA, scale=_SELU_SCALE)


def selu_(input: jax.Array) -> jax.Array:
    """Returns ``selu(input)``; JAX arrays do not change in place.

    Args:
        input: any shape, floating.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.selu_``, differs in that ``input`` stays as it is.
    """
    return selu(input)


def celu(input: jax.Array, alpha: float = 1.0, inplace: bool = False) -> jax.Array:
    """Bends below zero with slope 1 at it: ``x`` where ``x > 0``, else ``alpha (exp(x / alpha) - 1)``.

    Barron, Continuously differentiable exponential linear units, 2017.

    Args:
        input: any shape, floating.
        alpha: depth of the floor, not 0.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.
        ValueError: ``alpha`` is 0.

    Torch:
        ``torch.nn.functional.celu``, identical.
    """
    del inplace
    return _celu("celu", input, alpha)


def celu_(input: jax.Array, alpha: float = 1.0) -> jax.Array:
    """Returns ``celu(input, alpha)``; JAX arrays do not change in place.

    Args:
        input: any shape, floating.
        alpha: depth of the floor, not 0.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.celu_``, differs in that ``input`` stays as it is.
    """
    return _celu("celu_", input, alpha)


def leaky_relu(input: jax.Array, negative_slope: float = 0.01, inplace: bool = False) -> jax.Array:
    """Lets a little through below zero: ``x`` where ``x > 0``, else ``negative_slope x``.

    Args:
        input: any shape, floating.
        negative_slope: the slope up to and at 0.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.leaky_relu``, identical.
    """
    del inplace
    return _leaky(_floating("leaky_relu", input), negative_slope)


def leaky_relu_(input: jax.Array, negative_slope: float = 0.01) -> jax.Array:
    """Returns ``leaky_relu(input, negative_slope)``; JAX arrays do not change in place.

    Args:
        input: any shape, floating.
        negative_slope: the slope up to and at 0.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.leaky_relu_``, differs in that ``input`` stays as it is.
    """
    return _leaky(_floating("leaky_relu_", input), negative_slope)


def prelu(input: jax.Array, weight: jax.Array) -> jax.Array:
    """Learns the slope below zero: ``x`` where ``x > 0``, else ``weight x``.

    He et al., Delving deep into rectifiers, 2015.

    Args:
        input: ``(N, C, *)``, or any shape with a single weight; floating.
        weight: ``(C,)``, ``(1,)`` or ``()``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating, or the dtypes differ.
        ValueError: ``weight`` has neither one value nor one for each channel.

    Torch:
        ``torch.nn.functional.prelu``, identical.
    """
    x, w = _floating("prelu", input), as_array("prelu", "weight", weight)
    check_same_dtype("prelu", input=x, weight=w)
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.ndim > 1 or w.size not in (1, channels) or (w.size != 1 and x.ndim == 0):
        raise refusal(
            "prelu",
            "weight must be (C,) or (1,)",
            {"weight.shape": w.shape, "input.shape": x.shape},
            "An input with channels is (N, C, *).",
        )
    if w.size != 1:
        w = w.reshape(-1, *(1,) * (x.ndim - 2))  # (C,) -> (C, 1, ..., 1), along axis 1 of x
    elif w.ndim:
        w = w.reshape(())
    return _leaky(x, w)


def rrelu(
    input: jax.Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Draws the slope below zero: ``x`` where ``x > 0``, else ``a x`` with ``a`` uniform in ``[lower, upper)``.

    Without training ``a`` is ``(lower + upper) / 2``. Xu et al., Empirical evaluation of rectified activations, 2015.

    Args:
        input: any shape, floating.
        lower: least slope, finite.
        upper: largest slope, finite.
        training: whether slopes are drawn, one for each number.
        inplace: accepted for torch's sake; arrays do not change in place.
        rng: PRNG key; needed when ``training``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating; ``rng`` is no key.
        ValueError: the bounds are not finite or in the wrong order; ``rng`` is missing.

    Torch:
        ``torch.nn.functional.rrelu``, differs in ``rng``.
    """
    del inplace
    return _rrelu("rrelu", input, lower, upper, training, rng)


def rrelu_(
    input: jax.Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    *,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Returns ``rrelu(input, lower, upper, training)``; JAX arrays do not change in place.

    Args:
        input: any shape, floating.
        lower: least slope, finite.
        upper: largest slope, finite.
        training: whether slopes are drawn, one for each number.
        rng: PRNG key; needed when ``training``.

    Returns:
        The shape and dtype of ``input``.

    Torch:
        ``torch.nn.functional.rrelu_``, differs in ``rng``, and in that ``input`` stays as it is.
    """
    return _rrelu("rrelu_", input, lower, upper, training, rng)


def glu(input: jax.Array, dim: int = -1) -> jax.Array:
    """Gates one half by the other: ``a σ(b)``, ``a`` and ``b`` the halves of the input along ``dim``.

    Dauphin et al., Language modeling with gated convolutional networks, 2017.

    Args:
        input: ``(*, 2n, *)``, floating.
        dim: the axis to halve.

    Returns:
        ``(*, n, *)``, in the dtype of ``input``.

    Errors:
        IndexError: ``input`` has no axis ``dim``.
        TypeError: ``input`` is not floating, ``dim`` is no integer.
        ValueError: ``input`` is a scalar, or the axis has an odd length.

    Torch:
        ``torch.nn.functional.glu``, identical.
    """
    x = _floating("glu", input)
    if x.ndim == 0:
        raise refusal("glu", "input must have an axis to halve", {"input.shape": ()})
    axis = _axis("glu", x, dim)
    if x.shape[axis] % 2:
        raise refusal("glu", "the halved axis must have an even length", {"input.shape": x.shape, "dim": dim})
    a, b = jnp.split(x, 2, axis)
    return a * jax.nn.sigmoid(b)


def gelu(input: jax.Array, *, approximate: str = "none") -> jax.Array:
    """Weighs by the normal distribution: ``x Φ(x)``, or with tanh ``x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2``.

    Hendrycks and Gimpel, Gaussian error linear units, 2016. ``jax.nn.gelu`` approximates unless told otherwise;
    this does not.

    Args:
        input: any shape, floating.
        approximate: ``"none"`` or ``"tanh"``.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.
        ValueError: ``approximate`` is neither of the two.

    Torch:
        ``torch.nn.functional.gelu``, identical; at +inf, where some of torch's kernels give NaN, this is inf.
    """
    if approximate not in ("none", "tanh"):
        raise refusal("gelu", "approximate must be 'none' or 'tanh'", {"approximate": approximate})
    input = _floating("gelu", input)
    x = _widen(input)
    if approximate == "none":
        y = 0.5 * x * jax.lax.erfc(-x / math.sqrt(2))
    else:
        y = 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return y.astype(input.dtype)


def logsigmoid(input: jax.Array) -> jax.Array:
    """Takes the logarithm of the sigmoid: ``-log(1 + exp(-x))``.

    Args:
        input: any shape, floating.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.logsigmoid``, identical.
    """
    x = _floating("logsigmoid", input)
    return (-jnp.logaddexp(-_widen(x), 0)).astype(x.dtype)


def softplus(input: jax.Array, beta: float = 1, threshold: float = 20) -> jax.Array:
    """Smooths relu: ``log(1 + exp(beta x)) / beta``, the identity where ``beta x > threshold``.

    Args:
        input: any shape, floating.
        beta: sharpness.
        threshold: above it the identity is used.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.softplus``, identical; a threshold beyond the range of exp does not overflow.
    """
    input = _floating("softplus", input)
    x = _widen(input)
    linear = x * beta > threshold
    y = jnp.where(linear, x, jnp.logaddexp(jnp.where(linear, 0, x * beta), 0) / beta)
    return y.astype(input.dtype)


def hardshrink(input: jax.Array, lambd: float = 0.5) -> jax.Array:
    """Zeroes what is small: ``x`` where ``|x| > lambd``, else 0.

    Args:
        input: any shape, floating.
        lambd: the largest magnitude that becomes 0.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.hardshrink``, identical.
    """
    x = _floating("hardshrink", input)
    return jnp.where(jnp.abs(x) <= lambd, 0, x)


def softshrink(input: jax.Array, lambd: float = 0.5) -> jax.Array:
    """Moves everything towards 0 by ``lambd``, and what is nearer to 0: ``x - lambd sign(x)`` where ``|x| > lambd``.

    Args:
        input: any shape, floating.
        lambd: by how much; finite, not negative.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.
        ValueError: ``lambd`` is negative or not finite.

    Torch:
        ``torch.nn.functional.softshrink``, identical.
    """
    x = _floating("softshrink", input)
    if not is_traced(lambd) and not 0 <= lambd < math.inf:
        raise refusal("softshrink", "lambd must be finite and not negative", {"lambd": lambd})
    return jnp.where(jnp.abs(x) <= lambd, 0, x - lambd * jnp.sign(x))


def tanhshrink(input: jax.Array) -> jax.Array:
    """Takes what tanh leaves: ``x - tanh(x)``.

    Args:
        input: any shape; integers and complex numbers are taken too.

    Returns:
        The shape of ``input`` in its dtype, float32 for integers.

    Errors:
        TypeError: ``input`` is boolean.

    Torch:
        ``torch.nn.functional.tanhshrink``, identical.
    """
    x = _promoted(_not_boolean("tanhshrink", input))
    return x - jnp.tanh(x)


def softsign(input: jax.Array) -> jax.Array:
    """Saturates slowly: ``x / (1 + |x|)``.

    Args:
        input: any shape; integers and complex numbers are taken too.

    Returns:
        The shape of ``input`` in its dtype, float32 for integers.

    Errors:
        TypeError: ``input`` is boolean.

    Torch:
        ``torch.nn.functional.softsign``, identical; ``1 + |x|`` does not wrap around for small integers.
    """
    x = _promoted(_not_boolean("softsign", input))
    return x / (1 + jnp.abs(x))


def hardsigmoid(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Draws the sigmoid with a ruler: ``min(max(x + 3, 0), 6) / 6``; its gradient at -3 and 3 is 0.

    Args:
        input: any shape, floating.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.hardsigmoid``, identical.
    """
    del inplace
    x = _floating("hardsigmoid", input)
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, (x + 3) / 6))


def hardswish(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Draws silu with a ruler: ``x min(max(x + 3, 0), 6) / 6``; its gradient is 0 at -3 and 1 at 3.

    Howard et al., Searching for MobileNetV3, 2019.

    Args:
        input: any shape, floating.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.hardswish``, identical.
    """
    del inplace
    x = _floating("hardswish", input)
    middle = jnp.where((x > -3) & (x < 3), x, 0)
    # 0 x is 0, and NaN at -inf, as the product is
    return jnp.where(x <= -3, 0 * x, jnp.where(x < 3, middle * (middle + 3) / 6, x))


def silu(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Gates by its own sigmoid: ``x σ(x)``.

    Elfwing et al., Sigmoid-weighted linear units for neural network function approximation, 2018.

    Args:
        input: any shape, floating or complex.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is an integer or boolean.

    Torch:
        ``torch.nn.functional.silu``, identical.
    """
    del inplace
    x = _floating("silu", input, or_complex=True)
    return x * jax.nn.sigmoid(x)


def mish(input: jax.Array, inplace: bool = False) -> jax.Array:
    """Gates by the tanh of softplus: ``x tanh(log(1 + exp(x)))``.

    Misra, Mish: a self regularized non-monotonic activation function, 2020.

    Args:
        input: any shape, floating.
        inplace: accepted for torch's sake; arrays do not change in place.

    Returns:
        The shape and dtype of ``input``.

    Errors:
        TypeError: ``input`` is not floating.

    Torch:
        ``torch.nn.functional.mish``, identical.
    """
    del inplace
    input = _floating("mish", input)
    x = _widen(input)
    return (x * jnp.tanh(jnp.logaddexp(x, 0))).astype(input.dtype)


def tanh(input: jax.Array) -> jax.Array:
    """Takes the hyperbolic tangent: ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Args:
        input: any shape; integers, booleans and complex numbers are taken too.

    Returns:
        The shape of ``input`` in its dtype, float32 for integers and booleans.

    Torch:
        ``torch.nn.functional.tanh``, identical.
    """
    return jnp.tanh(_promoted(as_array("tanh", "input", input)))


def sigmoid(input: jax.Array) -> jax.Array:
    """Takes the logistic function: ``1 / (1 + exp(-x))``.

    Args:
        input: any shape; integers, booleans and complex numbers are taken too.

    Returns:
        The shape of ``input`` in its dtype, float32 for integers and booleans.

    Torch:
        ``torch.nn.functional.sigmoid``, identical.
    """
    return jax.nn.sigmoid(_promoted(as_array("sigmoid", "input", input)))


def softmax(
    input: jax.Array, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> jax.Array:
    """Makes a distribution along ``dim``: ``exp(xᵢ) / Σⱼ exp(xⱼ)``.

    Args:
        input: any shape; floating, or of any kind when ``dtype`` is given.
        dim: the axis that sums to 1; None takes 0 for ranks 0, 1 and 3, else 1, and warns.
        _stacklevel: how many calls up that warning points.
        dtype: floating; ``input`` is cast to it first, a complex one as its real part. float64 is float32 unless x64
            is enabled.

    Returns:
        The shape of ``input``, in ``dtype`` or its own; the sum is taken in float32 at least.

    Errors:
        IndexError: ``input`` has no axis ``dim``.
        TypeError: what is summed is not floating; ``dim`` is no integer; ``dtype`` is no dtype.

    Torch:
        ``torch.nn.functional.softmax``, identical but for torch's warning that a cast drops imaginary parts.
    """
    x, axis = _softmax_input("softmax", input, dim, _stacklevel, dtype)
    return _along(jax.nn.softmax, x, axis)


def softmin(
    input: jax.Array, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> jax.Array:
    """Makes a distribution that favours the small: ``exp(-xᵢ) / Σⱼ exp(-xⱼ)``.

    Args:
        input: any shape; floating, or of any kind but boolean when ``dtype`` is given.
        dim: the axis that sums to 1; None as in `softmax`.
        _stacklevel: as in `softmax`.
        dtype: as in `softmax`.

    Returns:
        The shape of ``input``, in ``dtype`` or its own; the sum is taken in float32 at least.

    Errors:
        IndexError: ``input`` has no axis ``dim``.
        TypeError: as `softmax`, or ``input`` is boolean.

    Torch:
        ``torch.nn.functional.softmin``, as `softmax`.
    """
    x, axis = _softmax_input("softmin", -_not_boolean("softmin", input), dim, _stacklevel, dtype)
    return _along(jax.nn.softmax, x, axis)


def log_softmax(
    input: jax.Array, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> jax.Array:
    """Takes the logarithm of softmax without underflow: ``xᵢ - log Σⱼ exp(xⱼ)``.

    Args:
        input: any shape; floating, or of any kind when ``dtype`` is given.
        dim: the axis of the sum; None as in `softmax`.
        _stacklevel: as in `softmax`.
        dtype: as in `softmax`.

    Returns:
        The shape of ``input``, in ``dtype`` or its own; the sum is taken in float32 at least.

    Errors:
        IndexError: ``input`` has no axis ``dim``.
        TypeError: as `softmax`.

    Torch:
        ``torch.nn.functional.log_softmax``, as `softmax`.
    """
    x, axis = _softmax_input("log_softmax", input, dim, _stacklevel, dtype)
    return _along(jax.nn.log_softmax, x, axis)


def gumbel_softmax(
    logits: jax.Array,
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    rng: jax.Array | None = None,
) -> jax.Array:
    """Samples a category softly: ``softmax((logits + g) / tau)`` with ``g`` of the standard Gumbel distribution.

    With ``hard`` the value is the one-hot of the largest entry, and the gradient that of the soft sample. Jang et
    al., Categorical reparameterization with Gumbel-softmax, 2017.

    Args:
        logits: any shape, floating; log probabilities up to a constant.
        tau: temperature.
        hard: whether the value is one-hot.
        eps: has no effect, as in torch; another value than the default warns.
        dim: the axis of the categories.
        rng: PRNG key.

    Returns:
        The shape and dtype of ``logits``.

    Errors:
        IndexError: ``logits`` has no axis ``dim``, or ``hard`` and that axis is empty.
        TypeError: ``logits`` is not floating; ``dim`` is no integer; ``rng`` is no key.
        ValueError: ``rng`` is missing.

    Torch:
        ``torch.nn.functional.gumbel_softmax``, differs in ``rng``.
    """
    if eps != 1e-10:
        warnings.warn("gumbel_softmax: eps has no effect.", UserWarning, stacklevel=2)
    x = _floating("gumbel_softmax", logits, "logits")
    axis = _axis("gumbel_softmax", x, dim, "logits")
    shape, dtype = x.shape, x.dtype
    x = jnp.atleast_1d(_widen(x))  # a scalar is one category
    g = jax.random.gumbel(check_rng("gumbel_softmax", rng), x.shape, x.dtype)
    y = _along(jax.nn.softmax, (x + g) / tau, axis)
    if hard:
        if x.shape[axis] == 0:
            got = {"logits.shape": shape, "dim": dim}
            raise refusal("gumbel_softmax", "hard needs at least one category", got, kind=IndexError)
        one_hot = jax.nn.one_hot(y.argmax(axis), x.shape[axis], dtype=x.dtype, axis=axis)
        y = jax.lax.stop_gradient(one_hot - y) + y
    return y.reshape(shape).astype(dtype)


def _threshold(op: str, input: Any, threshold: float, value: float) -> jax.Array:
    x = _ordered(op, input)
    return jnp.where(x <= _like(x, threshold), _like(x, value), x)


def _clip(op: str, input: Any, low: float, high: float) -> jax.Array:
    x = _ordered(op, input)
    if not is_traced(low, high):
        if low > high:
            raise refusal(op, "min_val must not exceed max_val", {"min_val": low, "max_val": high})
        if jnp.issubdtype(x.dtype, jnp.unsignedinteger) and min(int(low), int(high)) < 0:
            got = {"min_val": low, "max_val": high, "input.dtype": str(x.dtype)}
            raise refusal(op, "bounds of unsigned integers must not be negative", got, kind=TypeError)
    bottom, top = _like(x, low), _like(x, high)
    # jnp.clip would halve the gradient at the bounds
    return jnp.where(x <= bottom, bottom, jnp.where(x >= top, top, x))


def _elu(x: jax.Array, alpha: float, scale: float = 1, rate: float = 1) -> jax.Array:
    negative = x <= 0
    return jnp.where(negative, (scale * alpha) * jnp.expm1(rate * jnp.where(negative, x, 0)), scale * x)


def _celu(op: str, input: Any, alpha: float) -> jax.Array:
    x = _floating(op, input)
    if not is_traced(alpha) and alpha == 0:
        raise refusal(op, "alpha must not be 0", {"alpha": alpha})
    return _elu(x, alpha, rate=1 / alpha)


def _leaky(x: jax.Array, slope: Any) -> jax.Array:
    positive = x > 0
    return jnp.where(positive, x, slope * jnp.where(positive, 0, x))


def _rrelu(op: str, input: Any, lower: float, upper: float, training: bool, rng: Any) -> jax.Array:
    x = _floating(op, input)
    if not is_traced(lower, upper) and not -math.inf < lower <= upper < math.inf:
        raise refusal(op, "lower and upper must be finite and in this order", {"lower": lower, "upper": upper})
    if not training:
        return _leaky(x, (lower + upper) / 2)
    rng = check_rng(op, rng, " when training")
    return _leaky(x, jax.random.uniform(rng, x.shape, jnp.float32, lower, upper).astype(x.dtype))


def _softmax_input(op: str, input: Any, dim: int | None, stacklevel: int, dtype: Any) -> tuple[jax.Array, int]:
    x = as_array(op, "input", input)
    if dtype is not None:
        x = x.real.astype(_floating_dtype(op, dtype))
    x = _floating(op, x)
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1
        text = f"{op}: dim is not given, {dim} is taken for an input of shape {x.shape}. Pass dim={dim}."
        warnings.warn(text, UserWarning, stacklevel=stacklevel)
    return x, _axis(op, x, dim)


def _along(reduce: Any, x: jax.Array, axis: int) -> jax.Array:
    """Softmax or its logarithm, in float32 at least; a scalar is an axis of length 1."""
    return reduce(jnp.atleast_1d(_widen(x)), axis=axis).reshape(x.shape).astype(x.dtype)


def _floating_dtype(op: str, dtype: Any) -> Any:
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise refusal(op, "dtype must be a floating dtype", {"dtype": dtype}, "Pass jnp.float32.", TypeError)
    return jax.dtypes.canonicalize_dtype(found)  # float64 becomes float32 unless x64 is enabled


def _axis(op: str, x: jax.Array, dim: Any, argument: str = "input") -> int:
    """``dim`` as an axis of ``x``, counted from 0; a scalar has one."""
    if isinstance(dim, (bool, np.bool_)) or not isinstance(dim, (int, np.integer)):
        raise refusal(op, "dim must be an integer", {"dim": dim}, kind=TypeError)
    ndim = max(x.ndim, 1)
    if not -ndim <= dim < ndim:
        got = {"dim": dim, f"{argument}.shape": x.shape}
        raise refusal(op, f"dim must lie in [{-ndim}, {ndim - 1}]", got, kind=IndexError)
    return int(dim) % ndim


def _floating(op: str, input: Any, argument: str = "input", or_complex: bool = False) -> jax.Array:
    """``input`` as an array of real numbers, or complex ones where the operation has a formula for them."""
    x = as_array(op, argument, input)
    if not jnp.issubdtype(x.dtype, jnp.inexact if or_complex else jnp.floating):
        got = {f"{argument}.dtype": str(x.dtype)}
        raise refusal(op, f"{argument} must be floating", got, "Cast it with .astype(jnp.float32).", TypeError)
    return x


def _not_boolean(op: str, input: Any) -> jax.Array:
    x = as_array(op, "input", input)
    if x.dtype == bool:
        raise refusal(op, "input must not be boolean", remedy="Cast it with .astype(jnp.float32).", kind=TypeError)
    return x


def _ordered(op: str, input: Any) -> jax.Array:
    """``input`` as floating numbers or integers: what can be compared."""
    x = _not_boolean(op, input)
    if jnp.iscomplexobj(x):
        raise refusal(op, "input must be real", {"input.dtype": str(x.dtype)}, "Pass its .real part.", TypeError)
    return x


def _promoted(x: jax.Array) -> jax.Array:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _widen(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _like(x: jax.Array, value: Any) -> jax.Array:
    """``value`` in the dtype of ``x``; integers truncate."""
    return jnp.asarray(value).astype(x.dtype)
