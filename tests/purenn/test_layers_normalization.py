"""What the laws cannot say of the layers that normalise, and of bags of embeddings."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

from purenn import layers as L

KEY = jax.random.key(0)


def test_a_padded_row_starts_at_zero():
    rows = L.EmbeddingBag(5, 3, padding_idx=-1).init(KEY)[0]["weight"]
    assert (rows[4] == 0).all()
    assert (rows == 0).all(1).sum() == 1


def test_bags_are_cut_by_offsets_and_weighted():
    layer = L.EmbeddingBag(7, 3, mode="sum", include_last_offset=True)
    params, buffers = layer.init(KEY)
    index, offsets, w = np.array([1, 2, 4, 5, 4, 3]), np.array([0, 2, 2, 6]), np.linspace(0, 1, 6, dtype=np.float32)
    twin = torch.nn.EmbeddingBag(7, 3, mode="sum", include_last_offset=True)
    twin.load_state_dict({"weight": torch.tensor(np.asarray(params["weight"]))})
    expected = twin(*map(torch.tensor, (index, offsets, w)))
    out, _ = jax.jit(layer.apply)(params, buffers, *map(jnp.asarray, (index, offsets)), per_sample_weights=w)
    assert_close(out, expected)


def test_unused_num_features_may_be_wrong():
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    out, _ = L.InstanceNorm1d(7).apply({}, {}, x)
    assert_close(out, torch.nn.InstanceNorm1d(3)(torch.tensor(x)))


# ------------------------------------------------------------------------------------------------------------ SyncBatchNorm


X = np.random.default_rng(0).standard_normal((8, 3, 5)).astype(np.float32)


def loss(layer):
    def run(params, buffers, x):
        out, after = layer.apply(params, buffers, x, train=True)
        return (out**3).sum(), (out, after)

    return run


@pytest.mark.parametrize("kwargs", [{}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}], ids=str)
def test_statistics_are_those_of_the_batch_along_the_named_axis(kwargs):
    sync, whole = L.SyncBatchNorm(3, axis_name="data", **kwargs), L.BatchNorm1d(3, **kwargs)
    params, buffers = whole.init(KEY)
    grads, (out, after) = jax.grad(loss(whole), (0, 2), has_aux=True)(params, buffers, X)

    def parts(params, buffers, x):
        run = jax.vmap(loss(sync), (None, None, 0), axis_name="data")
        value, aux = run(params, buffers, x.reshape(4, 2, 3, 5))
        return value.sum(), aux

    (gp, gx), (parts_out, parts_after) = jax.jit(jax.grad(parts, (0, 2), has_aux=True))(params, buffers, X)
    assert_close((parts_out.reshape(X.shape), gp, gx), (out, *grads))
    for i in range(4):
        assert_close(jax.tree.map(lambda x, i=i: x[i], parts_after), after)


def test_one_value_a_part_is_enough_and_evaluation_is_not_synchronised():
    sync = L.SyncBatchNorm(3, axis_name=("a", "b"))
    state = sync.init(KEY)
    x = X[:4, :, 0]

    def over(train):
        run = lambda x: sync.apply(*state, x, train=train)  # noqa: E731
        return jax.vmap(jax.vmap(run, axis_name="b"), axis_name="a")(x.reshape(2, 2, 1, 3))

    whole = L.BatchNorm1d(3)
    for train in (True, False):
        assert_close(over(train)[0].reshape(4, 3), whole.apply(*state, x, train=train)[0])
    with pytest.raises(ValueError, match="more than 1 value"):
        sync.apply(*state, x[:1], train=True)


def test_under_shard_map_and_under_jit():
    sync, whole = L.SyncBatchNorm(3, axis_name="data"), L.BatchNorm1d(3)
    state = whole.init(KEY)
    spec = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    run = lambda params, buffers, x: sync.apply(params, buffers, x, train=True)  # noqa: E731
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(spec(), spec(), spec("data")), out_specs=(spec("data"), spec()))
    expected = whole.apply(*state, X, train=True)
    assert_close(jax.jit(sharded)(*state, X), expected)  # the new statistics are known to be the same everywhere
    assert_close(jax.jit(run)(*state, X), expected)


# ------------------------------------------------------------------------------------------------------------ refusals


def call(layer, *shape):
    return layer.apply(*layer.init(KEY), jnp.ones(shape))


@pytest.mark.parametrize(
    ("run", "kind", "words"),
    [
        (lambda: L.GroupNorm(3, 4), ValueError, "GroupNorm: num_channels must be divisible by num_groups, got num_channels=4 and num_groups=3."),
        (lambda: L.GroupNorm(0, 4), ValueError, "GroupNorm: num_channels must be divisible by num_groups, got num_channels=4 and num_groups=0."),
        (lambda: L.InstanceNorm1d(2.5), TypeError, "InstanceNorm1d: num_features must be an integer, got num_features=2.5."),
        (lambda: call(L.InstanceNorm2d(3), 4, 3), ValueError, "InstanceNorm2d: input must be 4-D, or 3-D without a batch, got input.shape=(4, 3)."),
        (lambda: call(L.InstanceNorm1d(3, affine=True), 2, 4, 5), ValueError, "InstanceNorm1d: the channels of input must be num_features with affine=True, got input.shape=(2, 4, 5) and num_features=3."),
        (lambda: L.RMSNorm((3, -1)), ValueError, "RMSNorm: normalized_shape[1] must not be negative, got normalized_shape[1]=-1."),
        (lambda: L.SyncBatchNorm(3, process_group="all"), TypeError, "SyncBatchNorm: process_group must be None, got process_group='str'. Pass axis_name, the name of the axis of shard_map or vmap."),
        (lambda: call(L.SyncBatchNorm(0), 2, 0), ValueError, "SyncBatchNorm: input must be (N, C, *), with channels, got input.shape=(2, 0)."),
        (lambda: call(L.SyncBatchNorm(3), 3), ValueError, "SyncBatchNorm: input must be (N, C, *), with channels, got input.shape=(3,)."),
        (lambda: L.CrossMapLRN2d(0), ValueError, "CrossMapLRN2d: size must be positive, got size=0."),
        (lambda: call(L.CrossMapLRN2d(3), 2, 3, 4), ValueError, "CrossMapLRN2d: input must be 4-D, got input.shape=(2, 3, 4)."),
        (lambda: L.CrossMapLRN2d(3).apply({}, {}, jnp.ones((1, 2, 3, 4), jnp.int32)), TypeError, "CrossMapLRN2d: input must be floating, got input.dtype='int32'."),
        (lambda: L.EmbeddingBag(5, 3, padding_idx=5), ValueError, "EmbeddingBag: padding_idx must be one of the rows, got padding_idx=5 and num_embeddings=5."),
    ],
)  # fmt: skip
def test_refusals(run, kind, words):
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        run()
