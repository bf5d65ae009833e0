"""What the laws cannot say of losses: edges, warnings, values inside a trace, chunks, and torch over many shapes."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close

import purenn.functional as F
from purenn.checks import checked
from purenn.functional.cross_entropy import LinearCrossEntropyOptions

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
CLASSES = np.array([2, 0, 1, 1])
few = settings(max_examples=12, deadline=None, derandomize=True)


def both(name, *arrays, constants=(), **kwargs):
    """Value and gradients of one call in torch and here, compared."""
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    expected = getattr(TF, name)(*tensors, *map(torch.from_numpy, constants), **kwargs)
    expected.sum().backward()
    call = lambda *xs: getattr(F, name)(*xs, *map(jnp.asarray, constants), **kwargs)  # noqa: E731
    assert_close(call(*map(jnp.asarray, arrays)), expected, what="value")
    where = tuple(range(len(arrays)))
    gradients = jax.grad(lambda *xs: call(*xs).sum(), argnums=where)(*map(jnp.asarray, arrays))
    for mine, tensor in zip(gradients, tensors, strict=True):
        assert_close(mine, tensor.grad, what="gradient")


# Reductions


@pytest.mark.parametrize("name", ["l1_loss", "kl_div", "cross_entropy", "multilabel_soft_margin_loss"])
def test_the_older_reductions_warn_and_mean_what_they_do_in_torch(name):
    target = CLASSES if name == "cross_entropy" else np.abs(Y)
    for average, reduces in itertools.product((None, True, False), repeat=2):
        if average is reduces is None:
            continue
        legacy = {"size_average": average, "reduce": reduces}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(TF, name)(torch.from_numpy(X), torch.from_numpy(target), **legacy)
        with pytest.warns(UserWarning, match=f"{name}: size_average and reduce are deprecated. Pass reduction='"):
            assert_close(getattr(F, name)(jnp.asarray(X), jnp.asarray(target), **legacy), expected)


def test_the_old_name_of_the_mean_warns():
    with pytest.warns(UserWarning, match="mse_loss: reduction='elementwise_mean' is deprecated"):
        assert_close(F.mse_loss(X, Y, reduction="elementwise_mean"), F.mse_loss(X, Y))


@pytest.mark.parametrize("name", ["l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss"])
def test_shapes_that_differ_are_broadcast_with_a_warning(name):
    with pytest.warns(
        UserWarning, match=r"input and target differ in shape, \(4, 3\) and \(3,\), and are broadcast"
    ) as w:
        ours = getattr(F, name)(X, Y[0], reduction="none")
    assert w[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_close(ours, getattr(TF, name)(torch.from_numpy(X), torch.from_numpy(Y[0]), reduction="none"))


def test_the_mean_of_kl_div_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = TF.kl_div(torch.from_numpy(X), torch.from_numpy(np.abs(Y)))
    assert_close(F.kl_div(X, np.abs(Y)), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_sums_in_float32(dtype):
    x = jnp.full(10000, 0.1, dtype)
    assert_close(F.l1_loss(x, 0 * x), np.float32(x[0]), dtype=dtype)
    assert float(F.l1_loss(x, 0 * x, reduction="sum").astype("float32")) == pytest.approx(1000, rel=4e-3)


# Edges


def test_gradients_at_the_edges_are_torchs():
    edges = np.array([0.0, -0.0, 1.0, -1.0, 1e-4], np.float32)
    zeros = np.zeros(5, np.float32)
    for name in ("l1_loss", "huber_loss", "smooth_l1_loss"):
        both(name, edges, zeros, reduction="sum")
    far = np.array([np.inf, -np.inf], np.float32)
    both("huber_loss", far, constants=(zeros[:2],), reduction="none")
    both("smooth_l1_loss", far, constants=(zeros[:2],), reduction="none")


def test_l1_loss_of_complex_numbers():
    x, y = np.array([1j, 1 + 1j, 2 - 1j], np.complex64), np.array([2j, 1 + 1j, 0], np.complex64)
    tensor = torch.from_numpy(x).requires_grad_()
    expected = TF.l1_loss(tensor, torch.from_numpy(y))
    expected.backward()
    value, gradient = jax.value_and_grad(F.l1_loss)(jnp.asarray(x), jnp.asarray(y))
    assert_close(value, expected)
    np.testing.assert_allclose(gradient.conj(), tensor.grad, atol=1e-6)  # the conjugate is what jax calls the gradient


def test_binary_cross_entropy_at_0_and_1():
    p = np.array([0, 0, 1, 1, 0, 1e-30], np.float32)
    y = np.array([0, 1, 0, 1, 0.5, 1], np.float32)
    both("binary_cross_entropy", p, constants=(y,), reduction="none")
    both("binary_cross_entropy", p, y, reduction="none")


def test_binary_cross_entropy_with_infinite_logits():
    x = np.array([np.inf, np.inf, -np.inf, -np.inf, 200], np.float32)
    y = np.array([1, 0, 1, 0, 0.5], np.float32)
    both("binary_cross_entropy_with_logits", x, constants=(y,), reduction="none")


def test_the_clamp_of_a_variance_lets_the_gradient_pass():
    x, y = X[0], Y[0]
    both("gaussian_nll_loss", x, y, np.array([0, 1e-8, 2], np.float32), reduction="none", full=True)
    assert jnp.isnan(jax.jit(F.gaussian_nll_loss)(x, y, jnp.nan * x))


def test_zero_vectors_have_the_gradients_of_torch():
    a = np.array([[0, 0], [0, 0], [1, 2]], np.float32)
    b = np.array([[1, 0], [0, 0], [0, 0]], np.float32)
    both("cosine_embedding_loss", a, b, constants=(np.array([1, -1, 1]),), reduction="none")
    for p in (1.0, 2.0, 3.0, float("inf")):
        both("triplet_margin_loss", a, b, a[::-1].copy(), eps=0.0, p=p, margin=9.0, reduction="none")


def test_where_torch_overflows_or_gives_nan_the_loss_stays_finite():
    value, slope = jax.value_and_grad(lambda x: F.soft_margin_loss(x, jnp.ones(1)))(jnp.array([-200.0]))
    assert (float(value), float(slope[0])) == (200.0, -1.0)
    assert float(jax.grad(lambda y: F.poisson_nll_loss(jnp.ones(()), y, full=True))(0.0)) == -1.0


def test_integers_and_complex_numbers_where_torch_takes_them():
    pair = [torch.tensor([[1, 2], [3, -1]]), torch.tensor([[2, 1], [0, 5]])]
    arrays = [jnp.asarray(x.numpy()) for x in pair]
    signs = torch.tensor([1, -1])
    ours = jnp.asarray(signs.numpy())
    assert_close(F.l1_loss(*arrays, reduction="sum"), TF.l1_loss(*pair, reduction="sum"))
    assert_close(F.poisson_nll_loss(*arrays), TF.poisson_nll_loss(*pair))
    assert_close(F.cosine_embedding_loss(*arrays, ours), TF.cosine_embedding_loss(*pair, signs))
    assert_close(F.margin_ranking_loss(*arrays, arrays[0]), TF.margin_ranking_loss(*pair, pair[0]))
    assert_close(F.triplet_margin_loss(*arrays, arrays[0]), TF.triplet_margin_loss(*pair, pair[0]))
    ours, theirs = (
        f.hinge_embedding_loss(x, s, reduction="none") for f, x, s in [(F, arrays[0], ours), (TF, pair[0], signs)]
    )
    assert_close(ours, theirs)
    assert ours.dtype == "int32"


# Values inside a trace


def test_a_class_out_of_range_is_refused_outside_a_trace_and_nan_inside():
    wrong = jnp.array([0, 3, -1, -100])
    for name in ("cross_entropy", "nll_loss"):
        loss = jax.jit(lambda y, name=name: getattr(F, name)(X, y, reduction="none"))(wrong)
        np.testing.assert_array_equal(jnp.isnan(loss), [False, True, True, False])
        assert loss[3] == 0
        assert jnp.isnan(jax.jit(lambda y, name=name: getattr(F, name)(X, y, weight=jnp.ones(3)))(wrong))
        with pytest.raises(Exception, match=rf"{name}: target must lie in \[0, 3\)"):
            checked(getattr(F, name))(jnp.asarray(X), wrong)
    loss = jax.jit(lambda y: F.multi_margin_loss(X, y, reduction="none"))(wrong)
    np.testing.assert_array_equal(jnp.isnan(loss), [False, True, True, True])
    loss = jax.jit(lambda y: F.multilabel_margin_loss(X, y, reduction="none"))(
        jnp.array([[0, -1, 0], [1, 3, -1], [-1, 0, 9], [-2, 0, 0]])
    )
    np.testing.assert_array_equal(jnp.isnan(loss), [False, True, True, True])


def test_everything_ignored_is_nan_without_a_gradient():
    nothing = jnp.full(4, -100)
    for smoothing in (0.0, 0.1):
        loss = lambda x, e=smoothing: F.cross_entropy(x, nothing, jnp.ones(3), label_smoothing=e)  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(X))
        assert jnp.isnan(value)
        assert not gradient.any()


def test_classes_of_weight_0_are_not_ignored():
    both("cross_entropy", X, constants=(CLASSES, np.zeros(3, np.float32)))


@pytest.mark.parametrize("low", [-np.inf, np.inf])
def test_infinite_logits(low):
    x = np.array([[0, low, 1]] * 2 + [[low] * 3] * 2, np.float32)
    both("cross_entropy", x, constants=(CLASSES,), reduction="none")


# Chunks


def chunked(size):
    return {"options": LinearCrossEntropyOptions(batch_chunk_size=size)}


def shapes_within(jaxpr):
    """The shapes of everything a program computes, the programs inside it included."""
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from shapes_within(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_chunks_never_hold_the_logits_of_the_batch(reduction):
    x, w, y = jnp.ones((64, 8)), jnp.ones((100, 8)), jnp.zeros(64, int)
    for options, held in ((None, True), (LinearCrossEntropyOptions(batch_chunk_size=10), False)):
        loss = lambda x, w: F.linear_cross_entropy(x, w, y, reduction=reduction, options=options).sum()  # noqa: B023, E731
        jaxpr = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(x, w).jaxpr
        assert bool(max(map(np.prod, shapes_within(jaxpr))) >= 64 * 100) is held


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_chunks_have_every_derivative_of_the_whole(reduction):
    w, b, weight = (jnp.asarray(np.random.default_rng(2).uniform(0.1, 1, s).astype(np.float32)) for s in ((5, 3), 5, 5))
    y = jnp.array([0, 4, -100, 2])

    def loss(**options):
        kwargs = {"label_smoothing": 0.1, "reduction": reduction, **options}
        return lambda x, w, b, c: jnp.sin(F.linear_cross_entropy(x, w, y, linear_bias=b, weight=c, **kwargs)).sum()

    whole, parts = loss(), loss(**chunked(3))
    arguments = jnp.asarray(X), w, b, weight
    for derive in (
        lambda f: jax.grad(f, (0, 1, 2, 3)),
        lambda f: jax.grad(f, 1),
        lambda f: jax.jacfwd(f, 2),
        jax.hessian,
    ):
        assert_close(jax.jit(derive(parts))(*arguments), jax.jit(derive(whole))(*arguments))
    batched = arguments[0], jnp.stack([w, -w]), *arguments[2:]
    mapped = lambda f: jax.jit(jax.vmap(jax.grad(f, 1), (None, 0, None, None)))(*batched)  # noqa: E731
    assert_close(mapped(parts), mapped(whole))


def test_chunks_sum_the_gradient_of_half_weights_in_float32():
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s) + 1, "bfloat16") for s in ((512, 8), (4, 8)))
    y = jnp.zeros(512, int)
    loss = lambda w, o: F.linear_cross_entropy(x, w, y, reduction="sum", **o)  # noqa: E731
    whole = jax.grad(loss)(w, {})
    assert_close(jax.grad(loss)(w, chunked(1)), whole, dtype="bfloat16", scale=0.3)  # one rounding is 0.13 of it


def test_chunk_sizes_are_torchs():
    from purenn.functional.cross_entropy import _chunk_size

    for rows, features, classes in itertools.product((1, 7, 300, 4096), (3, 64), (2, 50, 5000)):
        for options in (
            {"chunking_method": "aspect_ratio"},
            {"chunking_method": "aspect_ratio:2"},
            {"chunking_method": None},
            {"batch_chunk_size": 5},
        ):
            theirs = torch.nn.LinearCrossEntropyOptions(**options)._adjust(rows, features, classes, torch.float32)
            ours = _chunk_size("op", LinearCrossEntropyOptions(**options), rows, (classes, features))
            assert ours == theirs.batch_chunk_size, (rows, features, classes, options)


# torch over many shapes


@st.composite
def scored(draw):
    """Logits of any rank, targets that fit them, and options."""
    rest = draw(st.lists(st.integers(0, 3), max_size=3))
    classes = draw(st.integers(1, 5))
    shape = (classes, *rest) if draw(st.booleans()) and not rest else (draw(st.integers(0, 3)), classes, *rest)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    axis = min(len(shape) - 1, 1)
    target = rng.integers(0, classes, shape[:axis] + shape[axis + 1 :])
    ignore_index = draw(st.sampled_from([-100, -1, 0, 1]))
    if ignore_index < 0:
        target = np.where(rng.random(target.shape) < 0.3, ignore_index, target)
    weight = rng.random(classes).astype(np.float32) + 0.1 if draw(st.booleans()) else None
    options = {"reduction": draw(st.sampled_from(["none", "mean", "sum"])), "ignore_index": ignore_index}
    return rng.standard_normal(shape).astype(np.float32), np.asarray(target), weight, options


@few
@given(scored(), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
def test_cross_entropy_equals_torch(call, smoothing, probabilities):
    x, y, weight, options = call
    if probabilities:
        y = np.random.default_rng(0).random(x.shape).astype(np.float32)
        options = {"reduction": options["reduction"]}
    if x.shape == y.shape and not probabilities:
        return  # (1,) against (1,): torch takes the target for probabilities
    constants = (y,) if weight is None else (y, weight)
    both("cross_entropy", x, constants=constants, label_smoothing=smoothing, **options)


@few
@given(scored())
def test_nll_loss_equals_torch(call):
    x, y, weight, options = call
    both("nll_loss", x, constants=(y,) if weight is None else (y, weight), **options)


@st.composite
def sequences(draw):
    """Log-probabilities, targets in either form, lengths that may not fit, and options."""
    steps, batch, classes = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    width = draw(st.integers(0, 3))
    blank = draw(st.integers(0, classes - 1))
    x = np.array(jax.nn.log_softmax(rng.standard_normal((steps, batch, classes)).astype(np.float32)))
    n_steps = rng.integers(0, steps + 1, batch)
    n_labels = rng.integers(0, width + 1, batch)
    targets = (rng.integers(1, classes, (batch, width)) + blank) % classes
    if draw(st.booleans()):
        targets = np.concatenate([row[:n] for row, n in zip(targets, n_labels, strict=True)])
    options = {"reduction": draw(st.sampled_from(["none", "mean", "sum"])), "zero_infinity": draw(st.booleans())}
    return x, targets, n_steps, n_labels, {"blank": blank, **options}


@few
@given(sequences())
def test_ctc_loss_equals_torch(call):
    x, targets, n_steps, n_labels, options = call
    tensor = torch.from_numpy(x).requires_grad_()
    expected = TF.ctc_loss(tensor, *map(torch.from_numpy, (targets, n_steps, n_labels)), **options)
    expected.sum().backward()
    traced = jax.jit(lambda x, *a: jax.vjp(lambda x: F.ctc_loss(x, *a, **options), x))
    value, pull = traced(x, targets, n_steps, n_labels)
    assert_close(value, expected)
    assert_close(pull(jnp.ones_like(value))[0], tensor.grad)
    known = F.ctc_loss(x, jnp.asarray(targets), tuple(n_steps.tolist()), tuple(n_labels.tolist()), **options)
    assert_close(known, expected)


def test_ctc_loss_maps_over_lengths_and_targets():
    rng = np.random.default_rng(0)
    x = jax.nn.log_softmax(jnp.asarray(rng.standard_normal((3, 6, 2, 4)), "float32"))
    targets, n_labels = jnp.asarray(rng.integers(1, 4, (3, 4))), jnp.array([[2, 2], [1, 3], [4, 0]])
    n_steps = jnp.array([[6, 6], [5, 6], [6, 0]])
    slope = jax.value_and_grad(lambda *a: F.ctc_loss(*a, reduction="sum"))
    mapped, single = jax.jit(jax.vmap(slope))(x, targets, n_steps, n_labels), jax.jit(slope)
    for i in range(3):
        value, gradient = single(x[i], targets[i], n_steps[i], n_labels[i])
        assert_close((mapped[0][i], mapped[1][i]), (np.asarray(value), np.asarray(gradient)))


def test_ctc_loss_inside_a_trace_is_nan_where_values_are_wrong():
    x = jnp.zeros((4, 3, 3))
    loss = jax.jit(lambda *a: F.ctc_loss(*a, reduction="none"))
    targets, four, one = jnp.array([[1, 3], [3, 1], [1, 2]]), jnp.full(3, 4), jnp.ones(3, int)
    np.testing.assert_array_equal(jnp.isnan(loss(x, targets, four, one)), [False, True, False])
    np.testing.assert_array_equal(
        jnp.isnan(loss(x, 0 * targets + 1, four + jnp.arange(3) - 1, one)), [False, False, True]
    )
    np.testing.assert_array_equal(jnp.isnan(loss(x, 0 * targets + 1, four, one * 3)), [True, True, True])
    assert jnp.isnan(loss(x, jnp.ones(7, int), four, 2 * one)).all()


def test_ctc_loss_keeps_its_digits_over_long_sequences():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2, 20)) * 5
    targets = rng.integers(1, 20, (2, 40))
    tensor = torch.from_numpy(x).requires_grad_()
    expected = TF.ctc_loss(tensor, torch.from_numpy(targets), (300, 280), (40, 30), reduction="sum")
    expected.backward()
    value, gradient = jax.value_and_grad(lambda x: F.ctc_loss(x, targets, (300, 280), (40, 30), reduction="sum"))(
        jnp.asarray(x, "float32")
    )
    assert_close(value, expected)
    assert_close(gradient, tensor.grad)


def test_ctc_loss_has_a_gradient_at_impossible_classes():
    x = jnp.zeros((3, 1, 3)).at[:, :, 2].set(-jnp.inf)
    gradient = jax.grad(lambda x: F.ctc_loss(x, jnp.array([[1]]), (3,), (1,)))(x)
    assert jnp.isfinite(gradient).all()
    assert not gradient[:, :, 2].any()
