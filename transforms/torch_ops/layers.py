"""Convolution, normalisation, attention, recurrence, embedding: whole, as purenn.functional has them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenn.functional as F
from purenn.errors import refusal
from transforms.torch_ops.registry import register_op

for _n, _conv, _transposed in (
    (1, F.conv1d, F.conv_transpose1d),
    (2, F.conv2d, F.conv_transpose2d),
    (3, F.conv3d, F.conv_transpose3d),
):
    register_op(f"aten.conv{_n}d.default", f"aten.conv{_n}d.padding")(_conv)
    register_op(f"aten.conv_transpose{_n}d.{'default' if _n == 1 else 'input'}")(_transposed)
register_op("aten.conv_tbc.default")(F.conv_tbc)


@register_op("aten.convolution.default", "aten._convolution.default", "aten._convolution.deprecated")
def _convolution(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, *hints: Any,
) -> Any:  # fmt: skip
    rank = weight.ndim - 3
    if transposed:
        fn = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank]
        return fn(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[rank](input, weight, bias, stride, padding, dilation, groups)


@register_op("aten._weight_norm.default")
def _weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    return F.weight_norm(v, g, dim)


@register_op("aten._weight_norm_interface.default")
def _weight_norm_interface(v: Any, g: Any, dim: int = 0) -> Any:
    return F.weight_norm(v, g, dim), g


def _moments(x: Any, eps: float) -> tuple[Any, Any]:
    """Mean and inverse deviation over all axes but the second, which torch keeps for its backward."""
    axes = (0, *range(2, x.ndim))
    return jnp.mean(x, axes), jax.lax.rsqrt(jnp.var(x, axes) + eps)


@register_op("aten.batch_norm.default")
def _batch_norm(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float,
    cudnn_enabled: bool = False,
) -> Any:  # fmt: skip
    mean, var = (None, None) if training else (mean, var)
    return F.batch_norm(input, mean, var, weight, bias, training, momentum, eps)


@register_op("aten._native_batch_norm_legit_no_training.default")
def _batch_norm_evaluation(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> Any:  # fmt: skip
    out = F.batch_norm(input, mean, var, weight, bias, False, momentum, eps)
    return out, jnp.zeros((0,), out.dtype), jnp.zeros((0,), out.dtype)


@register_op("aten._native_batch_norm_legit_functional.default")
def _batch_norm_functional(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> Any:  # fmt: skip
    if not training:
        return (*_batch_norm_evaluation(input, weight, bias, mean, var, momentum, eps), mean, var)
    out, (mean, var) = F.batch_norm_update(input, mean, var, weight, bias, momentum, eps)
    return (out, *_moments(input, eps), mean, var)


@register_op("aten._native_batch_norm_legit.no_stats")
def _batch_norm_no_stats(
    input: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,  # torch's name
) -> Any:
    return (F.batch_norm(input, None, None, weight, bias, training, momentum, eps), *_moments(input, eps))


@register_op("aten.native_batch_norm.default")
def _native_batch_norm(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> Any:  # fmt: skip
    return (_batch_norm(input, weight, bias, mean, var, training, momentum, eps), *_moments(input, eps))


@register_op("aten.instance_norm.default")
def _instance_norm(
    input: Any, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, momentum: float,
    eps: float, cudnn_enabled: bool = False,
) -> Any:  # fmt: skip
    mean, var = (None, None) if use_input_stats else (mean, var)
    return F.instance_norm(input, mean, var, weight, bias, use_input_stats, momentum, eps)


@register_op("purenn.instance_norm_update")
def _instance_norm_update(
    input: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    momentum: float,
    eps: float,  # torch's name
) -> Any:
    out, (mean, var) = F.instance_norm_update(input, mean, var, weight, bias, momentum, eps)
    return out, mean, var


@register_op("aten.layer_norm.default")
def _layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:  # fmt: skip
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


@register_op("aten.native_layer_norm.default")
def _native_layer_norm(input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    mean = jnp.mean(input, axes, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.var(input, axes, keepdims=True) + eps)
    return F.layer_norm(input, normalized_shape, weight, bias, eps), mean, inverse


@register_op("aten.group_norm.default")
def _group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,  # torch's name
    cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    return F.group_norm(input, num_groups, weight, bias, eps)


@register_op("aten.native_group_norm.default")
def _native_group_norm(
    input: Any,
    weight: Any,
    bias: Any,
    N: Any,
    C: Any,
    HxW: Any,
    group: int,
    eps: float,  # torch's name
) -> Any:
    rows = input.reshape(input.shape[0], group, -1)
    inverse = jax.lax.rsqrt(jnp.var(rows, -1) + eps)
    return F.group_norm(input, group, weight, bias, eps), jnp.mean(rows, -1), inverse


register_op("aten.rms_norm.default")(F.rms_norm)


@register_op("aten._fused_rms_norm.default")
def _fused_rms_norm(input: Any, normalized_shape: Any, weight: Any, eps: float | None) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    eps_used = jnp.finfo(input.dtype).eps if eps is None else eps
    inverse = jax.lax.rsqrt(jnp.mean(input * input, axes, keepdims=True) + eps_used)
    return F.rms_norm(input, normalized_shape, weight, eps), inverse


@register_op("aten.scaled_dot_product_attention.default", random=True)
def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False, rng: Any,
) -> Any:  # fmt: skip
    options = {"scale": scale, "enable_gqa": enable_gqa, "rng": rng}
    return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **options)


def _recurrent(fn: Callable[..., Any]) -> Callable[..., Any]:
    def recurrent(
        input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool, *, rng: Any,
    ) -> Any:  # fmt: skip
        hx = tuple(hx) if isinstance(hx, list) else hx
        return fn(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first, rng=rng)

    return recurrent


register_op("aten.lstm.input", random=True)(_recurrent(F.lstm))
register_op("aten.gru.input", random=True)(_recurrent(F.gru))
register_op("aten.rnn_tanh.input", random=True)(_recurrent(F.rnn_tanh))
register_op("aten.rnn_relu.input", random=True)(_recurrent(F.rnn_relu))

_NETWORKS: dict[str, Callable[..., Any]] = {
    "lstm": F.lstm, "gru": F.gru, "rnn_tanh": F.rnn_tanh, "rnn_relu": F.rnn_relu
}  # fmt: skip


@register_op("purenn_whole.recurrent.default", random=True)
def _recurrent_whole(
    mode: str, input: Any, lengths: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool, *, rng: Any,
) -> Any:  # fmt: skip
    """Any recurrent layer; with ``lengths``, ``input`` are the rows of a packed sequence."""
    x = input if lengths is None else input.reshape(-1, lengths.shape[0], input.shape[-1])
    state = tuple(hx) if mode == "lstm" else hx[0]
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
    out, *last = _NETWORKS[mode](x, state, params, *options, lengths=lengths, rng=rng)
    return [out if lengths is None else out.reshape(-1, out.shape[-1]), *last]


@register_op("purenn_whole.pack.default")
def _pack(input: Any, lengths: Any, batch_first: bool) -> Any:  # torch's name
    x = input.swapaxes(0, 1) if batch_first else input  # (L, N, *)
    return x.reshape(-1, *x.shape[2:])


@register_op("purenn_whole.pad_packed.default")
def _pad_packed(data: Any, lengths: Any, batch_first: bool, padding_value: float, total_length: Any) -> Any:
    x = data.reshape(-1, lengths.shape[0], *data.shape[1:])  # (L, N, *)
    x = jnp.pad(x, [(0, total_length - x.shape[0]), *[(0, 0)] * (x.ndim - 1)])
    valid = jnp.arange(total_length)[:, None] < lengths
    x = jnp.where(valid.reshape(*valid.shape, *[1] * (x.ndim - 2)), x, jnp.asarray(padding_value, x.dtype))
    return x.swapaxes(0, 1) if batch_first else x


register_op("aten.gru_cell.default")(F.gru_cell)
register_op("aten.rnn_tanh_cell.default")(F.rnn_tanh_cell)
register_op("aten.rnn_relu_cell.default")(F.rnn_relu_cell)


@register_op("aten.lstm_cell.default")
def _lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    return F.lstm_cell(input, tuple(hx), w_ih, w_hh, b_ih, b_hh)


@register_op("aten.embedding.default")
def _embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    padding = None if padding_idx < 0 else padding_idx
    return F.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq)


@register_op("aten.embedding_renorm.default")
def _embedding_renorm(self: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    @jax.custom_jvp
    def renormalised(weight: Any) -> Any:
        rows = F.embedding(indices.reshape(-1), weight, max_norm=max_norm, norm_type=norm_type)
        return weight.at[indices.reshape(-1)].set(rows)

    # torch renormalises in place, without a gradient: that of the rows is that of the table
    renormalised.defjvp(lambda primals, tangents: (renormalised(*primals), tangents[0]))
    return renormalised(self)


@register_op("aten.embedding_bag.default", "aten.embedding_bag.padding_idx")
def _embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    out = F.embedding_bag(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], False,
        per_sample_weights, include_last_offset, padding_idx,
    )  # fmt: skip
    empty = jnp.zeros((0,), indices.dtype)
    return out, empty, empty, empty  # what torch keeps for its backward


@register_op("aten.one_hot.default")
def _one_hot(self: Any, num_classes: int = -1) -> Any:
    return F.one_hot(self, num_classes)


@register_op("purenn.custom_function")
def _custom_function(forward: Any, backward: Any, tensors: Any) -> Any:
    """A torch.autograd.Function: both of its sides are programs, or torch's reason why the second is none."""

    @jax.custom_vjp
    def call(*tensors: Any) -> Any:
        return list(forward(*tensors))

    def keep(*tensors: Any) -> Any:
        return call(*tensors), tensors

    def pull(tensors: Any, gradients: Any) -> Any:
        if isinstance(backward, str):
            rule = "the backward of a custom function must be one that torch.export takes"
            raise refusal("from_torch", rule, remedy=backward)
        found = backward(*tensors, *gradients)
        return tuple(_gradient(x, g) for x, g in zip(tensors, found, strict=True))

    call.defvjp(keep, pull)
    return call(*tensors)


def _gradient(x: Any, gradient: Any) -> Any:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return np.zeros(x.shape, jax.dtypes.float0)
    if gradient is None:
        return jnp.zeros_like(x)
    if gradient.shape != x.shape:
        rule = "the backward of a custom function must give a gradient of the input's shape"
        raise refusal("from_torch", rule, {"gradient.shape": gradient.shape, "input.shape": x.shape})
    return gradient.astype(x.dtype)
