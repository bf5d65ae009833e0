"""Modules without arrays: signatures, options that change, and what the mechanism refuses."""

import copy
import inspect
import pickle
from dataclasses import KW_ONLY, InitVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracle import assert_close

import stateful as nn
from stateful.functional_module import Functional


def family(base):
    for cls in base.__subclasses__():
        yield from family(cls)
        if cls.__module__.startswith("stateful.") and not cls.__name__.startswith("_"):
            yield cls


CLASSES = sorted(set(family(Functional)), key=lambda cls: cls.__name__)
X = jnp.asarray([[-2.0, -0.3, 0.4, 3.0]])


def parameters(cls):
    return [
        (p.name, p.default, p.kind)
        for p in inspect.signature(cls).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_signature_is_torchs_and_every_class_is_exported(cls):
    assert parameters(cls) == parameters(getattr(torch.nn, cls.__name__))
    assert getattr(nn, cls.__name__) is cls
    assert not set(inspect.signature(cls).parameters) & set(vars(cls))  # no default hides an attribute


def test_the_signature_law_can_fail():
    class ELU(Functional, function="elu"):
        inplace: bool = False
        alpha: float = 1.0

    assert parameters(ELU) != parameters(torch.nn.ELU)


@pytest.mark.parametrize(
    ("name", "args", "change"),
    [
        ("LeakyReLU", (0.2,), {"negative_slope": 0.5}), ("ELU", (), {"alpha": 2.0}), ("CELU", (2.0,), {"alpha": 0.5}),
        ("Threshold", (0.1, 20.0), {"threshold": -1.0, "value": 3.0}), ("Hardtanh", (), {"min_val": -0.1}),
        ("ReLU6", (), {"max_val": 2.0, "inplace": True}), ("GELU", (), {"approximate": "tanh"}),
        ("Softmax", (0,), {"dim": 1}), ("LogSoftmax", (0,), {"dim": -1}), ("Softmin", (0,), {"dim": 1}),
        ("GLU", (), {"dim": 1}), ("Hardshrink", (), {"lambd": 0.1}), ("Softshrink", (), {"lambd": 1.0}),
        ("Softplus", (), {"beta": 2.0, "threshold": 1.0}), ("SiLU", (), {"inplace": True}),
        ("Mish", (True,), {"inplace": False}), ("ReLU", (), {"inplace": True}), ("SELU", (True,), {}),
        ("Hardsigmoid", (True,), {}), ("Hardswish", (True,), {}), ("RReLU", (0.1, 0.3, True), {"upper": 0.5}),
        ("PReLU", (), {}), ("Sigmoid", (), {}), ("Tanh", (), {}), ("LogSigmoid", (), {}), ("Softsign", (), {}),
        ("Tanhshrink", (), {}), ("Flatten", (0,), {"end_dim": 0}),
        ("Unflatten", (1, (2, 2)), {"unflattened_size": (4, 1)}),
    ],
    ids=str,
)  # fmt: skip
def test_options_can_be_read_and_changed_as_in_torch(name, args, change):
    ours, theirs = getattr(nn, name)(*args).eval(), getattr(torch.nn, name)(*args).eval()
    x = torch.tensor(np.asarray(X))
    for options in ({}, change):
        for key, value in options.items():
            assert getattr(ours, key) == getattr(theirs, key)
            setattr(ours, key, value)
            setattr(theirs, key, value)
        assert repr(ours) == repr(theirs)
        expected = theirs(x.clone())
        twins = ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), nn.jit(ours)
        for call in (*twins, jax.jit(lambda x: ours.apply(*ours.split(), x)[0])):
            assert_close(call(X), expected, what=name)


def test_a_class_may_be_subclassed():
    class Scaled(nn.ELU):
        factor: float = 2.0  # no argument of the constructor: it names no function

        def __init__(self, alpha):
            super().__init__(alpha)
            self.fc = nn.Linear(4, 4)

        def forward(self, input):
            return self.factor * super().forward(self.fc(input))

    net = Scaled(0.5)
    np.testing.assert_allclose(net(X), 2 * nn.functional.elu(net.fc(X), 0.5), rtol=1e-6)
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
    assert repr(net).startswith("Scaled(\n  alpha=0.5\n  (fc): Linear(")
    assert isinstance(nn.ReLU6(), nn.Hardtanh)


def test_all_that_a_class_statement_can_say():
    class Loss(Functional, function="triplet_margin_with_distance_loss", prints="margin={margin}", swap=True):
        _: KW_ONLY
        distance_function: object = None
        margin: float = 1.0
        legacy: InitVar[str] = "no"

        def __post_init__(self, legacy):
            self.register_buffer("seen", jnp.zeros(()))
            self.margin = 2.0 if legacy == "yes" else self.margin

    distance = nn.PairwiseDistance(1.0)
    loss = Loss(distance_function=distance, legacy="yes")  # a module as an option is a child
    assert repr(loss) == "Loss(\n  margin=2.0\n  (distance_function): PairwiseDistance()\n)"
    assert list(loss.state_dict()) == ["seen"]
    a, b, c = (jnp.full((2, 3), value) for value in (0.0, 1.0, 1.5))
    np.testing.assert_allclose(loss(a, b, c), 2 + 3 - 1.5, rtol=1e-5)
    np.testing.assert_allclose(loss(a, b, c, margin=0.5), 0.5 + 3 - 1.5, rtol=1e-5)
    loss.distance_function.norm = 2.0
    np.testing.assert_allclose(loss(a, b, c), 2 + 3**0.5 * 0.5, rtol=1e-5)


def test_a_field_must_be_an_argument_of_the_function():
    with pytest.raises(
        TypeError, match=r"^Wrong: fields must be arguments of elu, got unknown=\['alhpa', 'mode'\] and"
    ):

        class Wrong(Functional, function="elu", mode="x"):
            alhpa: float = 1.0

    with pytest.raises(TypeError, match="unexpected keyword argument 'slope'"):
        nn.LeakyReLU(slope=0.1)
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        nn.Tanh(1)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: nn.Hardtanh(1.0, 1.0),
            ValueError,
            r"^Hardtanh: max_val must be greater than min_val, got min_val=1\.0",
        ),
        (lambda: nn.Softmax2d()(X), ValueError, r"^Softmax2d: input must be 3-D or 4-D, got input\.shape=\(1, 4\)\."),
        (lambda: nn.DataParallel(nn.Linear(2, 2)), NotImplementedError, r"^DataParallel: .* jax\.device_put\(x, "),
        (lambda: nn.PixelShuffle(0)(jnp.ones((1, 4, 2, 2))), ValueError, "^pixel_shuffle: "),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_hardtanh_takes_its_old_names():
    with pytest.warns(FutureWarning, match=r"Hardtanh: max_value is now called max_val\.") as caught:
        module = nn.Hardtanh(max_value=2.0)
    assert (module.min_val, module.max_val) == (-1.0, 2.0)
    assert caught[0].filename == __file__


def test_what_the_database_lacks():
    x, y = (np.random.default_rng(i).standard_normal((2, 3, 4)).astype(np.float32) for i in (0, 1))
    for name, args in (("CosineSimilarity", (2, 0.5)), ("PairwiseDistance", (1.0, 0.1, True))):
        ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
        assert repr(ours) == repr(theirs)
        assert_close(ours(x, y), theirs(torch.tensor(x), torch.tensor(y)))
    for name, args, shape in (
        ("ChannelShuffle", (2,), (1, 4, 3)), ("PixelShuffle", (2,), (1, 8, 2, 3)),
        ("PixelUnshuffle", (2,), (1, 2, 4, 6)),
        ("Fold", ((4, 5), 2), (1, 8, 12)), ("Unfold", ((2, 3), 2, 1, 1), (1, 2, 5, 6)), ("Softmax2d", (), (2, 3, 4, 5)),
        ("Flatten", (), (2, 3, 4)), ("Unflatten", (1, (3, -1)), (2, 6, 2)), ("ReLU6", (), (3, 3)),
    ):  # fmt: skip
        x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
        ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
        assert repr(ours) == repr(theirs)
        assert_close(jax.vmap(ours)(jnp.asarray(x)[None])[0], theirs(torch.tensor(x)), what=name)


def test_transposed_convolution_restores_a_size():
    down, up = nn.Conv2d(1, 4, 3, 2, 1), nn.ConvTranspose2d(4, 1, 3, 2, 1)
    x = jnp.ones((2, 1, 12, 11))
    assert up(down(x), output_size=x.shape).shape == x.shape
    assert up.apply(*up.split(), down(x), output_size=(12, 11))[0].shape == x.shape
    assert repr(up) == repr(torch.nn.ConvTranspose2d(4, 1, 3, 2, 1))
    assert (up.transposed, down.transposed) == (True, False)
    full = {"output_padding": 1, "groups": 2, "dilation": 3, "stride": 2, "bias": False}
    assert repr(nn.ConvTranspose1d(4, 2, 3, **full)) == repr(torch.nn.ConvTranspose1d(4, 2, 3, **full))
