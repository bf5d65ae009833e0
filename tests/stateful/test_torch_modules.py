"""torch's own module database, run against stateful: outputs, gradients, buffers, names, printed form and refusals."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close, leaves
from torch.testing._internal.common_modules import module_db

import stateful as nn

CLASSES = {info.module_cls: info for info in module_db}
COVERED = [info for cls, info in CLASSES.items() if hasattr(nn, cls.__name__)]
# Factors on the tolerance: torch's own gradient in float32 is 7e-5 from that in float64, ours 2e-6.
ROUGH = {"CTCLoss": 10.0}
QUICK = 10  # samples of each class and mode in the quick law
COSTLY = dict.fromkeys(["Transformer", "TransformerEncoder", "TransformerDecoder"], 3)  # a program takes seconds
COSTLY |= dict.fromkeys(["TransformerEncoderLayer", "TransformerDecoderLayer"], 4)
ids = lambda info: info.module_cls.__name__  # noqa: E731
pytestmark = pytest.mark.usefixtures("quick_compilation")


def convert(x):
    """A torch argument as ours."""
    if isinstance(x, torch.Tensor):
        return jnp.asarray(x.detach().resolve_conj().numpy())
    if isinstance(x, torch.dtype):
        return jnp.dtype(str(x).removeprefix("torch."))
    if isinstance(x, torch.nn.Module):
        ours = build(type(x), inspect_arguments(x))
        ours.load_state_dict(x.state_dict())
        return ours
    if isinstance(x, (list, tuple)):
        return type(x)(map(convert, x))
    if isinstance(x, dict):
        return {key: convert(value) for key, value in x.items()}
    if inspect.isroutine(x):
        return getattr(nn.functional, x.__name__)
    return x


def inspect_arguments(module):
    """The constructor arguments of a module that keeps them as attributes (a loss, a norm)."""
    if isinstance(module, torch.nn.TransformerEncoderLayer):
        attention, hidden = module.self_attn, module.linear1
        return {
            "d_model": attention.embed_dim, "nhead": attention.num_heads, "dim_feedforward": hidden.out_features,
            "dropout": module.dropout.p, "activation": module.activation, "layer_norm_eps": module.norm1.eps,
            "batch_first": attention.batch_first, "norm_first": module.norm_first, "bias": hidden.bias is not None,
        }  # fmt: skip
    names = inspect.signature(type(module).__init__).parameters
    return {n: getattr(module, n) for n in names if n not in ("self", "device", "dtype", "bias") and hasattr(module, n)}


def build(cls, kwargs, args=()):
    kwargs = {key: value for key, value in kwargs.items() if key != "device"}
    return getattr(nn, cls.__name__)(*convert(list(args)), **{key: convert(value) for key, value in kwargs.items()})


def inputs(info, training):
    torch.manual_seed(0)  # the same numbers whatever ran before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(
            info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=True, training=training)
        )


def is_floating(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point() and x.requires_grad


def compiled(step, given, programs):
    """The step as a program; what lowers to the same text, as most modules do in both modes, is compiled once."""
    lowered = jax.jit(step).lower(*given)
    text = lowered.as_text()
    if text not in programs:
        programs[text] = lowered.compile()
    return programs[text]


def run(info, sample, training, programs=None):
    """One sample in both worlds: forward, gradients of parameters and inputs, buffers afterwards."""
    made, given = sample.constructor_input, sample.forward_input
    for key, value in made.kwargs.items():
        if isinstance(value, torch.Tensor) and value.dtype == torch.float64:  # FractionalMaxPool's samples
            made.kwargs[key] = value.float()
    if given is not None:  # one tensor may stand in two places: each gets a gradient of its own
        given.args = [x.detach().clone().requires_grad_() if is_floating(x) else x for x in given.args]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = info.module_cls(*made.args, **made.kwargs).train(training)
    ours = build(info.module_cls, made.kwargs, made.args).train(training)
    if given is None:
        return
    args, kwargs = convert(list(given.args)), convert(dict(given.kwargs))
    lazy = "Lazy" in info.module_cls.__name__
    if lazy:
        theirs(*given.args, **given.kwargs)
        ours(*args, **kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(*given.args, **given.kwargs)
    params, buffers = ours.split()
    where = [i for i, x in enumerate(given.args) if is_floating(x)]

    arrays, others = [args[i] for i in where], {i: x for i, x in enumerate(args) if isinstance(x, jax.Array)}

    def call(params, arrays, others):
        full = [others.get(i, x) for i, x in enumerate(args)]
        for i, x in zip(where, arrays, strict=True):
            full[i] = x
        return ours.apply(params, buffers, *full, train=training, **kwargs)

    outputs = [x for x in leaves(expected) if isinstance(x, torch.Tensor) and x.requires_grad]
    weights = [np.cos(np.arange(x.numel())).reshape(x.shape).astype(np.float32) for x in outputs]

    def scalar(params, arrays, others):
        out, after = call(params, arrays, others)
        floating = [x for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)]
        return sum((x * w).sum() for x, w in zip(floating, weights, strict=False)), (out, after)

    # one program for outputs, buffers and gradients: compiling is most of the time
    step = jax.grad(scalar, argnums=(0, 1), has_aux=True) if outputs else lambda *given: (None, call(*given))
    step_arguments = params, arrays, others
    gradients, (out, after) = compiled(step, step_arguments, {} if programs is None else programs)(*step_arguments)
    assert_close(out, expected, what="output")
    state = theirs.state_dict()
    for path, value in nn.module.flatten(after).items():
        if path in state:
            assert_close(
                value, state[path].to(torch.float32) if value.dtype == jnp.float32 else state[path].int(), what=path
            )
    if outputs:
        named = dict(theirs.named_parameters())
        wanted = [*named.values(), *(given.args[i] for i in where)]
        twins = torch.autograd.grad(outputs, wanted, list(map(torch.from_numpy, weights)), allow_unused=True)
        mine = [*(nn.module.flatten(gradients[0])[name] for name in named), *gradients[1]]
        scale = ROUGH.get(info.module_cls.__name__, 1.0)
        for name, x, y in zip([*named, *map(str, where)], mine, twins, strict=True):
            assert_close(x, torch.zeros(x.shape) if y is None else y, scale=scale, what=f"gradient of {name}")


def check(info, count=None):
    """Samples of both modes; of all of them, or about so many that are spread over them."""
    failures, programs = [], {}
    for training in (True, False):
        every = inputs(info, training)
        for n, sample in enumerate(every[:: max(1, len(every) // count)] if count else every):
            try:
                run(info, sample, training, programs)
            except Exception as error:
                made = sample.constructor_input
                where = f"sample {n} {sample.desc}, training={training}"
                failures.append(f"{where}: {made.args} {made.kwargs}\n    {error!r:.500}")
    assert not failures, f"{len(failures)} fail\n" + "\n".join(failures[:15])


@pytest.mark.parametrize("info", COVERED, ids=ids)
def test_a_spread_of_samples(info):
    check(info, COSTLY.get(info.module_cls.__name__, QUICK))


@pytest.mark.sweep
@pytest.mark.parametrize("info", COVERED, ids=ids)
def test_all_samples(info):
    check(info)


@pytest.mark.parametrize("info", [info for info in COVERED if info.module_error_inputs_func], ids=ids)
def test_refusals(info):
    accepted = []
    options = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": False}
    for n, wrong in enumerate(info.module_error_inputs_func(info, **options)):
        made, given = wrong.module_error_input.constructor_input, wrong.module_error_input.forward_input
        try:
            with jax.enable_x64(True):  # some give float64, which is otherwise taken as float32
                module = build(info.module_cls, made.kwargs, made.args)
                if given is not None:
                    module(*convert(list(given.args)), **convert(dict(given.kwargs)))
        except (ValueError, TypeError, IndexError, NotImplementedError):
            continue
        accepted.append(f"{n}: {wrong.error_regex}")
    assert not accepted, accepted
