"""Spellings of layers, pooling, interpolation, losses and random numbers: the functions of purenn.functional."""

from collections.abc import Callable
from typing import Any

from transforms.source.modes import DROPOUT
from transforms.source.spelling import spelled
from transforms.source.text import Expr, called, dtype_text, operand, python, shortened
from transforms.torch_ops.losses import REDUCTIONS


def _given(**options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, each given as ``(value, default)``."""
    short = {name: (shortened(value), default) for name, (value, default) in options.items()}
    return {name: value for name, (value, default) in short.items() if python(value) != python(default)}


def _bias(bias: Any) -> list[Any]:
    return [] if bias is None else [bias]


@spelled("aten.linear.default")
def _linear(input: Expr, weight: Expr, bias: Any = None) -> str:  # torch's name
    return called("F.linear", input, weight, *_bias(bias))


@spelled("aten.bilinear.default")
def _bilinear(input1: Expr, input2: Expr, weight: Expr, bias: Any = None) -> str:
    return called("F.bilinear", input1, input2, weight, *_bias(bias))


def _convolution(fn: str) -> Callable[..., str]:
    def text(
        input: Expr, weight: Expr, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> str:  # fmt: skip
        options = _given(stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1), groups=(groups, 1))
        return called(fn, input, weight, *_bias(bias), **options)

    return text


def _transposed(fn: str) -> Callable[..., str]:
    def text(
        input: Expr, weight: Expr, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> str:  # fmt: skip
        options = _given(
            stride=(stride, 1), padding=(padding, 0), output_padding=(output_padding, 0), groups=(groups, 1),
            dilation=(dilation, 1),
        )  # fmt: skip
        return called(fn, input, weight, *_bias(bias), **options)

    return text


for _n in (1, 2, 3):
    spelled(f"aten.conv{_n}d.default", f"aten.conv{_n}d.padding")(_convolution(f"F.conv{_n}d"))
    spelled(f"aten.conv_transpose{_n}d.{'default' if _n == 1 else 'input'}")(_transposed(f"F.conv_transpose{_n}d"))


@spelled("aten._native_batch_norm_legit_no_training.default")
def _batch_norm(
    input: Expr, weight: Any, bias: Any, mean: Expr, var: Expr, momentum: float, eps: float
) -> str:  # fmt: skip
    return called("F.batch_norm", input, mean, var, weight, bias, **_given(eps=(eps, 1e-5)))


@spelled("aten.batch_norm.default")
def _whole_batch_norm(
    input: Expr, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *hints: Any
) -> str | None:
    if mean is not None:
        return None
    return called("F.batch_norm", input, None, None, weight, bias, training, **_given(eps=(eps, 1e-5)))


@spelled("aten._native_batch_norm_legit.no_stats", arity=3)
def _batch_norm_no_stats(
    input: Expr, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> str:  # fmt: skip
    text = called("F.batch_norm", input, None, None, weight, bias, training, **_given(eps=(eps, 1e-5)))
    return f"({text}, None, None)"


@spelled("aten.layer_norm.default")
def _layer_norm(
    input: Expr, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *hints: Any
) -> str:
    arrays = [weight, bias] if bias is not None else _bias(weight)
    return called("F.layer_norm", input, tuple(normalized_shape), *arrays, **_given(eps=(eps, 1e-5)))


@spelled("aten.group_norm.default")
def _group_norm(
    input: Expr, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *hints: Any
) -> str:
    arrays = [weight, bias] if bias is not None else _bias(weight)
    return called("F.group_norm", input, num_groups, *arrays, **_given(eps=(eps, 1e-5)))


@spelled("aten.instance_norm.default")
def _instance_norm(
    input: Expr, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, momentum: float, eps: float,
    *hints: Any,
) -> str:  # fmt: skip
    mean, var = (None, None) if use_input_stats else (mean, var)
    options = _given(weight=(weight, None), bias=(bias, None), use_input_stats=(use_input_stats, True), eps=(eps, 1e-5))
    return called("F.instance_norm", input, *([] if mean is None else [mean, var]), **options)


@spelled("aten.rms_norm.default")
def _rms_norm(input: Expr, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> str:
    return called("F.rms_norm", input, tuple(normalized_shape), *_bias(weight), **_given(eps=(eps, None)))


@spelled("aten.scaled_dot_product_attention.default", random=True)
def _attention(
    query: Expr, key: Any, value: Expr, attn_mask: Any = None, dropout_p: Any = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False, rng: Any = None,
) -> str:  # fmt: skip
    options = _given(
        attn_mask=(attn_mask, None), dropout_p=(dropout_p, 0.0), is_causal=(is_causal, False), scale=(scale, None),
        enable_gqa=(enable_gqa, False), rng=(rng, None),
    )  # fmt: skip
    return called("F.scaled_dot_product_attention", query, key, value, **options)


def _recurrent(fn: str) -> Callable[..., str]:
    def text(
        input: Expr, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: Any,
        bidirectional: bool, batch_first: bool, *, rng: Any = None,
    ) -> str:  # fmt: skip
        states = hx if isinstance(hx, (list, tuple)) else [hx]
        first = None if all(state.text.startswith("jnp.zeros(") for state in states) else hx
        arrays = _weights(params)
        options = {} if rng is None else {"rng": rng}
        train = train if rng is not None else False
        return called(fn, input, first, arrays, has_biases, num_layers, dropout, train, bidirectional, batch_first,
                      **options)  # fmt: skip

    return text


def _weights(params: Any) -> Any:
    """All arrays of a submodule by a helper, where they are all its own."""
    owners = {array.text.rpartition("[")[0] for array in params}
    names = {array.text.rpartition("[")[2] for array in params}
    if len(owners) == 1 and len(names) == len(params):
        (owner,) = owners
        return Expr(f"weights({owner})")
    return Expr(f"[{', '.join(map(python, params))}]")


for _op in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
    spelled(f"aten.{_op}.input", random=True, arity=3 if _op == "lstm" else 2)(_recurrent(f"F.{_op}"))


def _cell(fn: str) -> Callable[..., str]:
    def text(input: Expr, hx: Any, w_ih: Expr, w_hh: Expr, b_ih: Any = None, b_hh: Any = None) -> str:
        return called(fn, input, hx, w_ih, w_hh, *_bias(b_ih), *_bias(b_hh))

    return text


for _op in ("gru_cell", "rnn_tanh_cell", "rnn_relu_cell"):
    spelled(f"aten.{_op}.default")(_cell(f"F.{_op}"))
spelled("aten.lstm_cell.default", arity=2)(_cell("F.lstm_cell"))


@spelled("aten.embedding.default")
def _embedding(
    weight: Expr, indices: Expr, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> str:
    options = _given(padding_idx=(padding_idx, -1), scale_grad_by_freq=(scale_grad_by_freq, False))
    return called("F.embedding", indices, weight, **options)


@spelled("aten.one_hot.default")
def _one_hot(self: Expr, num_classes: int = -1) -> str:
    return called("F.one_hot", self, *([] if num_classes == -1 else [num_classes]))


def _pooled(fn: str) -> Callable[..., str]:
    def text(self: Expr, kernel_size: Any, stride: Any = (), *options: Any, **kwargs: Any) -> str:
        kernel, stride = shortened(kernel_size), shortened(stride or kernel_size)
        rest = [shortened(option) for option in options]
        if stride == kernel and not rest and not kwargs:
            return called(fn, self, kernel)
        return called(fn, self, kernel, stride, *rest, **kwargs)

    return text


for _n in (1, 2, 3):
    spelled(f"aten.avg_pool{_n}d.default")(_pooled(f"F.avg_pool{_n}d"))
    spelled(f"aten.max_pool{_n}d.default")(_pooled(f"F.max_pool{_n}d"))
    spelled(f"aten.max_pool{_n}d_with_indices.default", arity=2)(_pooled(f"F.max_pool{_n}d_with_indices"))


def _adaptive(fn: str) -> Callable[..., str]:
    return lambda self, output_size: called(fn, self, shortened(output_size))


for _n in (1, 2, 3):
    spelled(f"aten.adaptive_avg_pool{_n}d.default")(_adaptive(f"F.adaptive_avg_pool{_n}d"))
    spelled(f"aten.adaptive_max_pool{_n}d.default", arity=2)(_adaptive(f"F.adaptive_max_pool{_n}d_with_indices"))


def _resized(mode: str, aligned: bool, antialias: bool = False) -> Callable[..., str | None]:
    def text(input: Expr, output_size: Any = None, *options: Any, **named: Any) -> str | None:
        values = dict(zip(("align_corners", "scale_factors") if aligned else ("scale_factors",), options, strict=False))
        values |= named
        size = None if output_size is None else shortened(tuple(output_size))
        factors = None if size is not None else shortened(values.get("scale_factors"))
        more = _given(
            size=(size, None), scale_factor=(factors, None), mode=(mode, "nearest"),
            align_corners=(values.get("align_corners", False), False), antialias=(antialias, False),
        )  # fmt: skip
        return called("F.interpolate", input, **more)

    return text


for _n in (1, 2, 3):
    spelled(f"aten.upsample_nearest{_n}d.vec")(_resized("nearest", False))
    spelled(f"aten._upsample_nearest_exact{_n}d.vec")(_resized("nearest-exact", False))
for _name, _mode, _smooth in (
    ("upsample_linear1d", "linear", False), ("upsample_bilinear2d", "bilinear", False),
    ("upsample_trilinear3d", "trilinear", False), ("upsample_bicubic2d", "bicubic", False),
    ("_upsample_bilinear2d_aa", "bilinear", True), ("_upsample_bicubic2d_aa", "bicubic", True),
):  # fmt: skip
    spelled(f"aten.{_name}.vec")(_resized(_mode, True, _smooth))


@spelled("aten.grid_sampler.default", "aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def _grid_sampler(
    input: Expr, grid: Expr, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> str:  # fmt: skip
    mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    padding = ("zeros", "border", "reflection")[padding_mode]
    return called("F.grid_sample", input, grid, mode, padding, align_corners)


@spelled("aten.affine_grid_generator.default")
def _affine_grid(theta: Expr, size: Any, align_corners: bool) -> str:
    return called("F.affine_grid", theta, tuple(size), align_corners)


@spelled("aten.im2col.default")
def _im2col(self: Expr, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> str:
    return called("F.unfold", self, *map(shortened, (kernel_size, dilation, padding, stride)))


@spelled("aten.col2im.default")
def _col2im(self: Expr, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> str:
    return called("F.fold", self, tuple(output_size), *map(shortened, (kernel_size, dilation, padding, stride)))


for _name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
    spelled(f"aten.{_name}.default")(lambda self, n, fn=f"F.{_name}": called(fn, self, n))
spelled("aten.cosine_similarity.default")(lambda *args: called("F.cosine_similarity", *args))
spelled("aten.pairwise_distance.default")(lambda *args: called("F.pairwise_distance", *args))


def _padded(mode: str) -> Callable[..., str]:
    return lambda self, padding: called("F.pad", self, tuple(padding), mode)


for _n in (1, 2, 3):
    spelled(f"aten.reflection_pad{_n}d.default")(_padded("reflect"))
    spelled(f"aten.replication_pad{_n}d.default")(_padded("replicate"))


def _loss(fn: str, *names: str) -> Callable[..., str]:
    def text(*args: Any, **kwargs: Any) -> str:
        options = dict(zip(names, args[2:], strict=False)) | kwargs
        reduction = REDUCTIONS[options.pop("reduction", 1)]
        options = {name: value for name, value in options.items() if value is not None}
        return called(fn, *args[:2], **options, **_given(reduction=(reduction, "mean")))

    return text


for _name, _fn, _options in (
    ("mse_loss", "mse_loss", "reduction"), ("l1_loss", "l1_loss", "reduction"),
    ("smooth_l1_loss", "smooth_l1_loss", "reduction beta"), ("huber_loss", "huber_loss", "reduction delta"),
    ("kl_div", "kl_div", "reduction log_target"),
    ("binary_cross_entropy", "binary_cross_entropy", "weight reduction"),
    ("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits", "weight pos_weight reduction"),
    ("cross_entropy_loss", "cross_entropy", "weight reduction ignore_index label_smoothing"),
    ("nll_loss_nd", "nll_loss", "weight reduction ignore_index"),
    ("nll_loss", "nll_loss", "weight reduction ignore_index"),
):  # fmt: skip
    spelled(f"aten.{_name}.default")(_loss(f"F.{_fn}", *_options.split()))


@spelled(DROPOUT, random=True)
def _dropout(input: Expr, p: float, *, rng: Any = None) -> str:  # torch's name
    return called("F.dropout", input, p, Expr("train"), rng=rng)


def _flagged(fn: str) -> Callable[..., str]:
    def text(input: Expr, p: float, train: Any, *, rng: Any = None) -> str:  # torch's name
        return called(fn, input, p, train, rng=rng)

    return text


spelled("aten.dropout.default", random=True)(_flagged("F.dropout"))
spelled("aten.alpha_dropout.default", random=True)(_flagged("F.alpha_dropout"))
spelled("aten.feature_alpha_dropout.default", random=True)(_flagged("F.feature_alpha_dropout"))


@spelled("aten.feature_dropout.default", random=True)
def _feature_dropout(input: Expr, p: float, train: Any, *, rng: Any = None) -> str | None:  # torch's name
    if not input.text.isidentifier() or input.shape is None:
        return None
    shape = f"(*{input.text}.shape[:2], {', '.join('1' * (input.ndim - 2))})"
    mask = called("F.dropout", Expr(f"jnp.ones({shape}, {input.text}.dtype)"), p, train, rng=rng)
    return f"{input.text} * {mask}"


def _drawn(fn: str) -> Callable[..., str]:
    def text(self: Expr, *, dtype: Any = None, out: Expr, rng: Any, **kwargs: Any) -> str:
        return f"{fn}({_required(rng)}, {operand(self)}.shape, {dtype_text(out.dtype)})"

    return text


def _drawn_of_size(fn: str) -> Callable[..., str]:
    def text(size: Any, *, dtype: Any = None, out: Expr, rng: Any, **kwargs: Any) -> str:
        kind = f", {dtype_text(out.dtype)}" if out.dtype != "float32" else ""
        return f"{fn}({_required(rng)}, {python(tuple(size))}{kind})"

    return text


def _required(rng: Expr) -> str:
    return rng.text.replace("keys(", "keys.required(", 1)


for _name, _fn in (("rand", "jax.random.uniform"), ("randn", "jax.random.normal")):
    spelled(f"aten.{_name}_like.default", random=True, out=True)(_drawn(_fn))
    spelled(f"aten.{_name}.default", random=True, out=True)(_drawn_of_size(_fn))


@spelled("aten.bernoulli.p", random=True)
def _bernoulli_p(self: Expr, p: Any, *, rng: Any, **kwargs: Any) -> str | None:
    if isinstance(p, Expr):
        return None
    shape = f"{operand(self)}.shape"
    return f"jax.random.bernoulli({_required(rng)}, {p}, {shape}).astype({dtype_text(self.dtype)})"


@spelled("aten.bernoulli.default", random=True)
def _bernoulli(self: Expr, *, rng: Any, **kwargs: Any) -> str:
    return f"jax.random.bernoulli({_required(rng)}, {python(self)}).astype({dtype_text(self.dtype)})"


@spelled("aten.normal_functional.default", random=True)
def _normal(self: Expr, mean: float = 0.0, std: float = 1.0, *, rng: Any, **kwargs: Any) -> str:
    shape = f"{operand(self)}.shape, {dtype_text(self.dtype)}"
    return f"{operand(mean)} + {operand(std)} * jax.random.normal({_required(rng)}, {shape})"


@spelled("aten.uniform.default", random=True)
def _uniform(self: Expr, low: Any = 0.0, high: Any = 1.0, *, rng: Any, **kwargs: Any) -> str:
    low, high = kwargs.get("from", low), kwargs.get("to", high)
    return f"jax.random.uniform({_required(rng)}, {operand(self)}.shape, {dtype_text(self.dtype)}, {low}, {high})"


@spelled("aten.exponential.default", random=True)
def _exponential(self: Expr, lambd: float = 1.0, *, rng: Any, **kwargs: Any) -> str:
    shape = f"{operand(self)}.shape, {dtype_text(self.dtype)}"
    return f"jax.random.exponential({_required(rng)}, {shape}) / {lambd}"


@spelled("aten.unfold.default")
def _unfold(self: Expr, dimension: int, size: int, step: int) -> str | None:
    assert self.shape is not None
    if not self.ndim or not isinstance(self.shape[dimension], int):
        return None
    dimension %= self.ndim
    count = (self.shape[dimension] - size) // step + 1
    starts = f"jnp.arange({count})[:, None]" + (f" * {step}" if step != 1 else "")
    taken = called("jnp.take", self, Expr(f"{starts} + jnp.arange({size})"), dimension)
    return f"jnp.moveaxis({taken}, {dimension + 1}, -1)"


@spelled("aten._weight_norm.default")
def _weight_norm(v: Expr, g: Expr, dim: int = 0) -> str:
    return called("F.weight_norm", v, g, dim)
