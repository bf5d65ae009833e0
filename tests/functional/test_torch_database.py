"""torch's own operator database, run against purenn.functional: every sample, forward and gradient, every refusal.

The quick law takes a spread of each operator's samples; `-m sweep` takes them all.
"""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close, leaves
from torch.testing._internal.common_methods_invocations import op_db

import purenn.functional as F

PREFIX = "nn.functional."
OPS = [op for op in op_db if op.name.startswith(PREFIX) or op.name in ("softmax", "log_softmax", "sigmoid", "tanh")]
QUICK = 12  # samples of each operator in the quick law
# These draw numbers, each library its own; laws of their own stand in the tests of their family.
RANDOM = {
    "dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu",
    "fractional_max_pool2d", "fractional_max_pool3d", "multi_head_attention_forward",
}  # fmt: skip


def convert(x):
    """A torch argument as ours: tensors as arrays, dtypes as jax's."""
    if isinstance(x, torch.Tensor):
        y = x.detach()
        if y.dtype == torch.bfloat16:
            return jnp.asarray(y.float().numpy(), jnp.bfloat16)
        return jnp.asarray(y.resolve_conj().numpy())
    if isinstance(x, torch.nn.PairwiseDistance):
        return F.pairwise_distance
    if isinstance(x, torch.dtype):
        return jnp.dtype(str(x).removeprefix("torch."))
    if isinstance(x, (list, tuple)):
        return type(x)(map(convert, x))
    return {k: convert(w) for k, w in x.items()} if isinstance(x, dict) else x


def is_differentiable(x):
    return isinstance(x, torch.Tensor) and x.requires_grad and x.is_floating_point()


# layer_norm of one element: the gradient of its weight is 0, torch leaves -2.4e-5. ctc_loss: against float64, torch's
# float32 gradient is 7.6e-5 off and ours 2.1e-6.
NOISE = {"layer_norm": 3.0, "ctc_loss": 10.0}


def pure(name):
    """The operation; where it refuses to write statistics and names its twin, the first result of the twin."""
    f, twin = getattr(F, name), getattr(F, f"{name}_update", None)
    if twin is None:
        return f

    def call(*args, **kwargs):
        try:
            return f(*args, **kwargs)
        except ValueError as error:
            if f"{name}_update" not in str(error):
                raise
        given = inspect.signature(f).bind(*args, **kwargs).arguments
        return twin(**{k: given[k] for k in inspect.signature(twin).parameters if k in given})[0]

    return call


def arguments(op, sample):
    """The positional arguments; torch's entries for embeddings take the weight before the input."""
    args = [sample.input, *sample.args]
    swapped = op.name.removeprefix(PREFIX) in ("embedding", "embedding_bag")
    return [args[1], args[0], *args[2:]] if swapped else args


def run(op, sample):
    """Forward and gradients of one sample, in both worlds."""
    name = op.name.removeprefix(PREFIX)
    f = pure(name)
    args = arguments(op, sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = op.op(sample.input, *sample.args, **sample.kwargs)
    where = [i for i, x in enumerate(args) if is_differentiable(x)]
    keys = [k for k, x in sample.kwargs.items() if is_differentiable(x)]

    def call(arrays, named):
        full = [convert(x) for x in args]
        for i, x in zip(where, arrays, strict=True):
            full[i] = x
        return f(*full, **{**{k: convert(x) for k, x in sample.kwargs.items()}, **named})

    arrays, named = [convert(args[i]) for i in where], {k: convert(sample.kwargs[k]) for k in keys}
    outputs = [x for x in leaves(expected) if isinstance(x, torch.Tensor) and x.requires_grad]
    if not outputs or not (where or keys):
        assert_close(call(arrays, named), expected, what="value")
        return
    weights = [np.cos(np.arange(x.numel())).reshape(x.shape).astype(np.float32) for x in outputs]
    torch_grads = torch.autograd.grad(
        outputs,
        [args[i] for i in where] + [sample.kwargs[k] for k in keys],
        [torch.from_numpy(w) for w in weights],
        allow_unused=True,
    )

    def scalar(arrays, named):
        out = call(arrays, named)
        floating = [x for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)]
        return sum((x * w).sum() for x, w in zip(floating, weights, strict=True)), out

    (ours_a, ours_k), out = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(arrays, named)
    assert_close(out, expected, what="value")
    for x, y in zip([*ours_a, *(ours_k[k] for k in keys)], torch_grads, strict=True):
        assert_close(x, torch.zeros(x.shape) if y is None else y, scale=NOISE.get(name, 1.0), what="gradient")


def samples(op):
    torch.manual_seed(0)  # the same numbers whatever ran before
    # without TF32 or fast paths; requires_grad as the operator allows
    dtypes = [dtype for dtype in (torch.float32, torch.complex64, torch.int64) if dtype in op.dtypes]
    dtype = dtypes[0] if dtypes else torch.float32
    every = op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd and dtype.is_floating_point)
    return [sample for sample in every if not sample.kwargs.get("dropout_p")]  # what draws numbers has its own laws


def check(op, chosen):
    failures = []
    for n, sample in enumerate(chosen):
        try:
            run(op, sample)
        except Exception as error:
            failures.append(f"sample {n}: {sample.summary() if hasattr(sample, 'summary') else sample}\n    {error!r}")
    assert not failures, f"{len(failures)} of {len(chosen)} fail\n" + "\n".join(failures[:20])


DETERMINISTIC = [op for op in OPS if op.name.removeprefix(PREFIX) not in RANDOM]
ids = lambda op: f"{op.name.removeprefix(PREFIX)}-{op.variant_test_name}".strip("-")  # noqa: E731


@pytest.mark.parametrize("op", DETERMINISTIC, ids=ids)
def test_a_spread_of_samples(op):
    every = samples(op)
    check(op, every[:: max(1, len(every) // QUICK)])


@pytest.mark.sweep
@pytest.mark.parametrize("op", DETERMINISTIC, ids=ids)
def test_all_samples(op):
    check(op, samples(op))


@pytest.mark.parametrize("op", [op for op in OPS if op.error_inputs_func], ids=ids)
def test_refusals(op):
    accepted = []
    for n, wrong in enumerate(op.error_inputs("cpu")):
        sample = wrong.sample_input
        args = convert(arguments(op, sample))
        try:
            getattr(F, op.name.removeprefix(PREFIX))(*args, **convert(sample.kwargs))
        except (ValueError, TypeError, IndexError, NotImplementedError) as error:
            if not str(error).startswith(op.name.removeprefix(PREFIX)):
                accepted.append(f"{n}: refused, not in our words: {error!r}")
            continue
        accepted.append(f"{n}: {wrong.error_regex}")
    assert not accepted, accepted
