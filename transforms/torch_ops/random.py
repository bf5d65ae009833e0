"""Random numbers: torch's distributions, drawn by JAX from the key of the call. Each operator has a key of its own."""

from typing import Any

import jax
import jax.numpy as jnp

import purenn.functional as F
from purenn.functional.dropout import check_rng
from transforms.torch_ops.promotion import as_dtype, canonical, default_float, length, lengths, long
from transforms.torch_ops.registry import register_op


@register_op("aten.dropout.default", random=True)
def _dropout(input: Any, p: float, train: bool, *, rng: Any) -> Any:  # torch's name
    return F.dropout(input, p, train, rng=rng)


@register_op("aten.native_dropout.default", random=True)
def _native_dropout(input: Any, p: float, train: bool | None, *, rng: Any) -> Any:  # torch's name
    if train is False or p == 0:
        return input, jnp.ones(input.shape, bool)
    kept = F.dropout(jnp.ones(input.shape, input.dtype), p, True, rng=rng)
    return jnp.where(kept != 0, input * kept, 0), kept != 0


@register_op("aten.feature_dropout.default", random=True)
def _feature_dropout(input: Any, p: float, train: bool, *, rng: Any) -> Any:  # torch's name
    mask = F.dropout(jnp.ones((*input.shape[:2], *[1] * (input.ndim - 2)), input.dtype), p, train, rng=rng)
    return input * mask


@register_op("aten.alpha_dropout.default", random=True)
def _alpha_dropout(input: Any, p: float, train: bool, *, rng: Any) -> Any:  # torch's name
    return F.alpha_dropout(input, p, train, rng=rng)


@register_op("aten.feature_alpha_dropout.default", random=True)
def _feature_alpha_dropout(input: Any, p: float, train: bool, *, rng: Any) -> Any:  # torch's name
    return F.feature_alpha_dropout(input, p, train, rng=rng)


def _draw(op: str, rng: Any, fn: Any, shape: Any, dtype: Any) -> Any:
    dtype = default_float() if dtype is None else canonical(dtype)
    return fn(check_rng(op, rng), shape, dtype)


@register_op("aten.rand.default", random=True)
def _rand(size: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _draw("rand", rng, jax.random.uniform, lengths(size), dtype)


@register_op("aten.rand_like.default", random=True)
def _rand_like(self: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _draw("rand_like", rng, jax.random.uniform, self.shape, dtype or self.dtype)


@register_op("aten.randn.default", random=True)
def _randn(size: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _draw("randn", rng, jax.random.normal, lengths(size), dtype)


@register_op("aten.randn_like.default", random=True)
def _randn_like(self: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _draw("randn_like", rng, jax.random.normal, self.shape, dtype or self.dtype)


def _integers(op: str, rng: Any, low: Any, high: Any, shape: Any, dtype: Any) -> Any:
    dtype = long() if dtype is None else canonical(dtype)
    floating = jnp.issubdtype(dtype, jnp.floating)
    drawn = jax.random.randint(check_rng(op, rng), shape, length(low), length(high), long() if floating else dtype)
    return drawn.astype(dtype)


@register_op("aten.randint.default", random=True)
def _randint(high: Any, size: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _integers("randint", rng, 0, high, lengths(size), dtype)


@register_op("aten.randint.low", random=True)
def _randint_low(low: Any, high: Any, size: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _integers("randint", rng, low, high, lengths(size), dtype)


@register_op("aten.randint_like.default", random=True)
def _randint_like(self: Any, high: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _integers("randint_like", rng, 0, high, self.shape, dtype or self.dtype)


@register_op("aten.randint_like.low_dtype", random=True)
def _randint_like_low(self: Any, low: Any, high: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return _integers("randint_like", rng, low, high, self.shape, dtype or self.dtype)


@register_op("aten.randperm.default", random=True)
def _randperm(n: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    permuted = jax.random.permutation(check_rng("randperm", rng), length(n))
    return permuted.astype(long() if dtype is None else canonical(dtype))


@register_op("aten.bernoulli.default", random=True)
def _bernoulli(self: Any, *, generator: Any = None, rng: Any) -> Any:
    return jax.random.bernoulli(check_rng("bernoulli", rng), self).astype(self.dtype)


@register_op("aten.bernoulli.p", "aten.bernoulli.Tensor", random=True)
def _bernoulli_p(self: Any, p: Any, *, generator: Any = None, rng: Any) -> Any:
    return jax.random.bernoulli(check_rng("bernoulli", rng), p, self.shape).astype(self.dtype)


@register_op("aten.normal.float_float", random=True)
def _normal_numbers(mean: float, std: float, size: Any, *, dtype: Any = None, rng: Any, **kwargs: Any) -> Any:
    return mean + std * _draw("normal", rng, jax.random.normal, lengths(size), dtype)


@register_op("aten.normal.Tensor_float", "aten.normal.float_Tensor", "aten.normal.Tensor_Tensor", random=True)
def _normal_arrays(mean: Any, std: Any = 1.0, *, generator: Any = None, rng: Any) -> Any:
    like = mean if hasattr(mean, "dtype") else std
    shape = jnp.broadcast_shapes(jnp.shape(mean), jnp.shape(std))
    z = jax.random.normal(check_rng("normal", rng), shape, like.dtype)
    return as_dtype(mean, like.dtype) + as_dtype(std, like.dtype) * z


@register_op("aten.normal_functional.default", random=True)
def _normal(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None, rng: Any) -> Any:
    return mean + std * jax.random.normal(check_rng("normal", rng), self.shape, self.dtype)


@register_op("aten.uniform.default", random=True)
def _uniform(self: Any, *bounds: float, generator: Any = None, rng: Any, **named: float) -> Any:
    low, high = (*bounds, *[named.get("from", 0.0), named.get("to", 1.0)][len(bounds) :])
    return jax.random.uniform(check_rng("uniform", rng), self.shape, self.dtype, low, high)


@register_op("aten.exponential.default", random=True)
def _exponential(self: Any, lambd: float = 1.0, *, generator: Any = None, rng: Any) -> Any:
    return jax.random.exponential(check_rng("exponential", rng), self.shape, self.dtype) / lambd


@register_op("aten.cauchy.default", random=True)
def _cauchy(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None, rng: Any) -> Any:
    return median + sigma * jax.random.cauchy(check_rng("cauchy", rng), self.shape, self.dtype)


@register_op("aten.log_normal.default", random=True)
def _log_normal(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None, rng: Any) -> Any:
    return jnp.exp(mean + std * jax.random.normal(check_rng("log_normal", rng), self.shape, self.dtype))


@register_op("aten.geometric.default", random=True)
def _geometric(self: Any, p: float, *, generator: Any = None, rng: Any) -> Any:
    return jax.random.geometric(check_rng("geometric", rng), p, self.shape).astype(self.dtype)


@register_op("aten.poisson.default", random=True)
def _poisson(self: Any, generator: Any = None, *, rng: Any) -> Any:
    return jax.random.poisson(check_rng("poisson", rng), self).astype(self.dtype)


@register_op("aten.multinomial.default", random=True)
def _multinomial(self: Any, num_samples: Any, replacement: bool = False, *, generator: Any = None, rng: Any) -> Any:
    key, count = check_rng("multinomial", rng), length(num_samples)
    logits = jnp.log(self)
    if replacement:
        drawn = jax.random.categorical(key, logits[..., None, :], -1, (*self.shape[:-1], count))
    else:  # the largest of perturbed logits are a draw without replacement
        drawn = jax.lax.top_k(logits + jax.random.gumbel(key, logits.shape, logits.dtype), count)[1]
    return drawn.astype(long())
