"""Torch model files, run with nothing changed but what docs/porting.md tables, against torch itself.

For each: the constructor, the printed tree, the names, order and shapes of the state_dict, the initial distributions;
then, with torch's weights, the output in training (nothing dropped) and evaluation, the buffers afterwards, and every
gradient.
"""

import contextlib
import math
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import rewriting
import torch

import stateful as nn
from purenn import tree

MODELS = pathlib.Path(__file__).parent / "models"
KEY = jax.random.key(0)
# XLA spends its time on optimising what runs once
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def x(*shape):
    return lambda rng: rng.standard_normal(shape).astype(np.float32)


def u(*shape):
    return lambda rng: rng.uniform(0.05, 0.95, shape).astype(np.float32)


def i(high, *shape):
    return lambda rng: rng.integers(0, high, shape).astype(np.int32)


def of(*value, dtype=np.int32):
    return lambda rng: np.array(value, dtype)


# file, constructor, inputs
CASES = [
    ("resnet", "resnet_basic()", [x(2, 3, 24, 24)]),
    ("resnet", "resnet_bottleneck(norm_layer=lambda c: nn.GroupNorm(2, c))", [x(2, 3, 16, 16)]),
    ("mnist", "Net()", [x(3, 1, 12, 12)]),
    ("dcgan", "DCGAN()", [x(2, 6, 1, 1)]),
    ("dcgan", "trained_apart()", [x(2, 6, 1, 1)]),
    ("vae", "VAEWithLoss()", [u(3, 24)]),
    ("word_language_model", "RNNModel('LSTM', 11, 6, 6, 2, tie_weights=True)", [i(11, 4, 2)]),
    ("word_language_model", "RNNModel('RNN_RELU', 11, 5, 6, 1, 0.0)", [i(11, 4, 2)]),
    ("super_resolution", "Net(2)", [x(2, 1, 6, 6)]),
    ("transformer_net", "TransformerNet()", [x(1, 3, 12, 12)]),
    ("unet", "UNet(2, 3)", [x(2, 2, 10, 9)]),
    ("unet", "UNet(2, 3, bilinear=True)", [x(2, 2, 10, 9)]),
    ("densenet", "DenseNet()", [x(2, 3, 24, 24)]),
    ("mobilenet", "mobilenet_v2()", [x(2, 3, 16, 16)]),
    ("mobilenet", "mobilenet_v3()", [x(2, 3, 16, 16)]),
    ("efficientnet", "EfficientNet()", [x(2, 3, 16, 16)]),
    ("shufflenet", "ShuffleNet()", [x(2, 3, 16, 16)]),
    ("inception", "Inception()", [x(2, 3, 19, 19)]),
    ("vgg", "vgg_bn()", [x(2, 3, 16, 16)]),
    ("vgg", "vgg_for_features()", [x(2, 3, 8, 8)]),
    ("vit", "VisionTransformer()", [x(2, 3, 8, 8)]),
    ("swin", "swin_layer()", [x(2, 16, 8)]),
    ("gpt", "gpt()", [i(11, 2, 6), i(11, 2, 6)]),
    ("gpt", "gpt(flash=True, bias=False)", [i(11, 2, 6)]),
    ("bert", "BertModel()", [i(13, 2, 7), of([1] * 7, [1] * 5 + [0] * 2, dtype=np.float32)]),
    ("seq2seq_transformer", "make_model()", [i(11, 5, 2), i(11, 4, 2)]),
    ("seq2seq_transformer", "TransformerModel()", [i(11, 5, 2)]),
    ("annotated_transformer", "make_model()", [i(11, 2, 5)]),
    ("lstm_tagger", "LSTMTagger()", [i(12, 3, 5), of(3, 5, 2)]),
    ("gru_seq2seq", "make_model()", [i(9, 2, 4), i(9, 2, 3)]),
    ("char_cnn", "TextCNN()", [i(15, 2, 6)]),
    ("wavenet", "WaveNet()", [x(2, 6, 9)]),
    ("wavenet", "TemporalConvNet()", [x(2, 6, 9)]),
    ("pointnet", "PointNetCls()", [x(3, 3, 7)]),
    ("siamese", "Trained()", [x(3, 1, 6, 6), x(3, 1, 6, 6), of(0, 1, 1, dtype=np.float32)]),
    ("reinforcement", "DQN()", [x(2, 2, 12, 12)]),
    ("reinforcement", "ActorCritic()", [x(3, 4), x(3, 2)]),
    ("reinforcement", "noisy()", [x(3, 4)]),
    ("recommender", "NCF()", [i(7, 5), i(9, 5)]),
    ("recommender", "DLRM_Net()", [x(3, 3), of([0, 2, 3], [0, 1, 3]), i(5, 2, 5)]),
    ("realnvp", "RealNVP()", [x(3, 4)]),
    ("diffusion", "GaussianDiffusion()", [x(2, 3, 8, 8), i(10, 2)]),
    ("mixer", "MLPMixer()", [x(2, 3, 8, 8)]),
    ("mixer", "ConvNeXt()", [x(2, 3, 16, 16)]),
    ("capsnet", "CapsNet()", [x(2, 1, 9, 9)]),
    ("stylegan", "Generator()", [x(2, 6)]),
    ("gcn", "GNN()", [x(4, 5), of([1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1], dtype=np.float32)]),
    ("memory", "MemoryNet()", [x(5, 4)]),
    ("memory", "MoCo()", [x(3, 6), x(3, 6)]),
    ("autoencoder", "ConvAutoencoder()", [u(2, 1, 6, 6)]),
]


# what costs most to compile, or stands beside another of its file, is run by hand
HEAVY = {
    "resnet_bottleneck(norm_layer=lambda c: nn.GroupNorm(2, c))", "trained_apart()", "UNet(2, 3, bilinear=True)",
    "RNNModel('RNN_RELU', 11, 5, 6, 1, 0.0)", "DenseNet()", "mobilenet_v3()", "mobilenet_v2()", "EfficientNet()",
    "ShuffleNet()", "Inception()", "vgg_bn()", "Seq2SeqTransformer()", "gpt(flash=True, bias=False)", "ConvNeXt()",
    "TemporalConvNet()", "TransformerModel()", "GaussianDiffusion()", "noisy()", "PointNetCls()", "CapsNet()",
}  # fmt: skip
PARAMS = [pytest.param(*case, marks=pytest.mark.sweep if case[1] in HEAVY else ()) for case in CASES]


class Still:
    """A namespace in which nothing is dropped and noise is 1/2; what draws must be given a key in training."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        real = getattr(self._module, name)
        if name not in ("dropout", "scaled_dot_product_attention"):
            return real
        return lambda *args, **kwargs: quietly(name, real, args, kwargs)


def quietly(name, real, args, kwargs):
    if name == "dropout":
        training = kwargs.pop("training", args[2] if len(args) > 2 else True)
        if real.__module__.startswith("purenn"):
            assert not training or kwargs["rng"] is not None
        return real(args[0], 0.0, training, **{k: v for k, v in kwargs.items() if k == "rng"})
    return real(*args, **kwargs | {"dropout_p": 0.0})


def half(key, shape, dtype=jnp.float32):
    assert key is not None
    return jnp.full(shape, 0.5, dtype)


def namespace(name, ported):
    """The model file as a module of either world."""
    source = (MODELS / f"{name}.py").read_text()
    module = types.ModuleType(f"{name}_{'ported' if ported else 'torch'}")
    with registered(module):
        exec(compile(rewriting.port(source) if ported else source, name, "exec"), module.__dict__)
    if "F" in module.__dict__:
        module.F = Still(module.F)
    if ported and "jax.random.normal" in rewriting.port(source):
        still = types.SimpleNamespace(**vars(jax) | {"random": types.SimpleNamespace(normal=half)})
        module.jax = still
    return module.__dict__


def draws(name):
    """The key for evaluation: None, but for models that draw then too."""
    return KEY if "torch.randn_like" in (MODELS / f"{name}.py").read_text() else None


@contextlib.contextmanager
def registered(module):
    """Dataclasses look their module up."""
    sys.modules[module.__name__] = module
    yield


def built(name, constructor):
    """The model of both worlds: as it is, with nothing to drop."""
    nn.manual_seed(0)
    torch.manual_seed(0)
    ours = eval(constructor, namespace(name, ported=True) | {"nn": nn})
    theirs = eval(constructor, namespace(name, ported=False) | {"nn": torch.nn})
    return ours, theirs


def drop_nothing(model):
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.0
        if isinstance(module, (nn.RNNBase, torch.nn.RNNBase, nn.MultiheadAttention, torch.nn.MultiheadAttention)):
            module.dropout = 0.0


def check_distributions(ours, theirs):
    for name, value in theirs.items():
        if value.numel() == 1:
            continue  # one number says nothing of a distribution
        a, b = np.asarray(ours[name], np.float64).ravel(), value.double().numpy().ravel()
        assert np.isfinite(a).all(), name
        if np.ptp(b) == 0:
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)
        elif b.size > 3:
            spread = max(a.std(), b.std())
            assert abs(a.mean() - b.mean()) < 6 * spread / math.sqrt(b.size), f"{name}: mean"
            assert abs(math.log(a.std() / b.std())) < 5 / math.sqrt(b.size), f"{name}: deviation"


def weigh(out):
    """A number that depends on all numbers of an output, in either world."""
    total = 0.0
    for leaf in oracle.leaves(out):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
            total = total + (leaf * torch.from_numpy(weights(leaf.shape))).sum()
        elif not isinstance(leaf, torch.Tensor) and jnp.issubdtype(leaf.dtype, jnp.floating):
            total = total + (leaf * weights(leaf.shape)).sum()
    return total


def weights(shape):
    size = math.prod(shape)
    return np.asarray(np.cos(np.arange(size, dtype=np.float32)).reshape(shape) / max(1, size), np.float32)


def run_ours(model, inputs, rng):
    def run(params, buffers):
        def loss(params):
            out, after = model.apply(params, buffers, *inputs, rng=KEY, train=True)
            return weigh(out), (out, after)

        grads, (out, after) = jax.grad(loss, has_aux=True)(params)
        return out, after, grads, model.apply(params, buffers, *inputs, rng=rng)[0]

    params, buffers = model.split()
    out, after, grads, still = jax.jit(run, compiler_options=QUICK)(params, buffers)
    return out, tree.flatten(after), tree.flatten(grads), still


def run_theirs(model, inputs, monkeypatch):
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 0.5))
    inputs = oracle.to_torch(tuple(inputs))
    still = model.eval()(*inputs)
    out = model.train()(*inputs)
    weigh(out).backward()
    # dropping duplicates: a tied parameter has one name in params
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters() if p.requires_grad
    }
    return out, dict(model.named_buffers()), grads, still


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize(("name", "constructor", "shapes"), PARAMS, ids=lambda v: v if isinstance(v, str) else "")
def test_model_file(name, constructor, shapes, monkeypatch):
    ours, theirs = built(name, constructor)
    assert repr(ours) == repr(theirs)
    fresh = ours.state_dict()
    theirs_state = theirs.state_dict()
    assert [(k, tuple(v.shape)) for k, v in fresh.items()] == [(k, tuple(v.shape)) for k, v in theirs_state.items()]
    check_distributions(fresh, theirs_state)

    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in fresh.items()}, strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    drop_nothing(ours)
    drop_nothing(theirs)
    inputs = [make(np.random.default_rng(n)) for n, make in enumerate(shapes)]
    mine, wanted = run_ours(ours, inputs, draws(name)), run_theirs(theirs, inputs, monkeypatch)
    for what, a, b in zip(("training", "buffers", "gradients", "evaluation"), mine, wanted, strict=True):
        if isinstance(b, dict) and what in ("buffers", "gradients"):
            a, b = {k: a[k] for k in b}, b
            frozen = set(mine[1]) - set(wanted[1])
            assert what == "gradients" or frozen == {n for n, p in theirs.named_parameters() if not p.requires_grad}
        oracle.assert_close(as_lists(a), as_lists(b), scale=10, what=f"{what} of {name}")


def as_lists(value):
    """Dicts in the order of their keys, as JAX takes them."""
    if isinstance(value, dict):
        return [as_lists(value[key]) for key in sorted(value)]
    return [as_lists(v) for v in value] if isinstance(value, (tuple, list)) else value
