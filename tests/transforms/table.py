"""The table of transforms: one entry for each, and the models it is tried on (the laws: test_transform_laws.py).

An entry says how the result relates to *plain* models, those that one would write without the transform. An ensemble of
two stands for two of them; a scan of n layers for one `Sequential`; most stand for the one model that they were given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)), jnp.float32)
WIDTH = 4
State = dict[str, Any]


def forward(m, x):
    return m.head(m.drop(F.relu(m.norm(m.body(x)))))


def pure(width=WIDTH):
    """What every transform is tried on: weights, running statistics, noise; what comes out can go in again."""
    body, head = L.Linear(width, width), L.Linear(width, width)
    return purenn.compose(forward, body=body, norm=L.BatchNorm1d(width), drop=L.Dropout(0.25), head=head)


class Net(nn.Module):
    """The same model as a class."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.body = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(width, width)

    def forward(self, x):
        return forward(self, x)


class Opaque:
    """The same model, without any base class."""

    def init(self, rng):
        return pure().init(rng)

    def apply(self, params, buffers, x, rng=None, train=False):
        return pure().apply(params, buffers, x, rng=rng, train=train)


MODELS = {"pure": pure, "module": Net, "opaque": Opaque}
NAMES = [
    *("body.weight", "body.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    *("norm.num_batches_tracked", "head.weight", "head.bias"),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A transform, and what it promises.

    Attributes:
        name: of the function in `transforms`.
        wrap: the transform with options that do something; of any of `MODELS`, and of what another entry gives.
        plain: from the model that ``wrap`` takes to the plain one that the result stands for.
        export: from the state_dict of the result to those of the plain models.
        gather: from the state_dicts of the plain models back.
        section: whether ``gather`` gives what is exported as the same, up to rounding, but draws arrays of its own.
        outs: from the output of the result to those of the plain models.
        keys: from the key of the result to those of the plain models, in init and in apply.
        numbers: whether outputs, buffers and gradients are those of the plain models, up to rounding.
        same: the transform with options by which the result *is* the plain model, bit for bit; None where ``why_not``
            says why there are none. It has the same ``export``, ``outs`` and ``keys``.
        same_plain: from the model that ``same`` takes to the plain one that the result is.
        nothing: the transform with a ``where`` that matches nothing; None where it takes none.
        commutes: whether it can be applied before or after any other that says so, with the same numbers.
    """

    name: str
    wrap: Callable[[Any], Any]
    plain: Callable[[Any], Any] = lambda model: model
    export: Callable[[State], list[State]] = lambda state: [state]
    gather: Callable[[Sequence[State]], State] = lambda states: dict(states[0])
    section: bool = False
    outs: Callable[[Any], list[Any]] = lambda out: [out]
    keys: Callable[[Any, int], list[Any]] = lambda key, count: [key]
    numbers: bool = True
    same: Callable[[Any], Any] | None = None
    same_plain: Callable[[Any], Any] = lambda model: model
    why_not: str = ""
    nothing: Callable[[Any], Any] | None = None
    commutes: bool = True
    models: tuple[str, ...] = tuple(MODELS)


def stack(states: Sequence[State]) -> State:
    return tree.flatten(tree.stack([tree.unflatten(state) for state in states]))


def unstack(state: State) -> list[State]:
    return [tree.flatten(one) for one in tree.unstack(tree.unflatten(state))]


class Doubled(transforms.Parametrization):
    """Twice the raw array: exact in both directions."""

    def forward(self, m, x):
        return 2 * x

    def right_inverse(self, m, weight):
        return weight / 2

    def __eq__(self, other):
        return type(other) is type(self)

    def __hash__(self):
        return 1


def unchanged(weight):
    return weight


def names(model):
    return set(tree.flatten(purenn.structure(model)))


def rewritten(name, wrap, same=None, **promises):
    """The entry of a transform that `merge` undoes: arrays are exported by it, and gathered by ``from_plain``."""
    bases = [pure, lambda: purenn.compose(unchanged, body=L.Linear(WIDTH, WIDTH), norm=L.LayerNorm(WIDTH))]

    def export(state):
        models = [make(base()) for base in bases for make in (wrap, same) if make]
        model = next(model for model in models if names(model) == set(state))
        return [purenn.state_dict(*transforms.merge(model, *purenn.load_state_dict(model, state)))]

    def gather(states):
        plain = next(base() for base in bases if names(base()) == set(states[0]))
        model = wrap(plain)
        return purenn.state_dict(model, *model.from_plain(*purenn.load_state_dict(plain, states[0]), KEY))

    return Case(name, wrap, export=export, gather=gather, same=same, commutes=False, **promises)


def itself(h):
    return h


@dataclass(frozen=True)
class Patching:
    """`patch`, given the same values in each call."""

    model: Any
    values: tuple[tuple[str, Callable[[Any], Any]], ...]

    def init(self, rng):
        return self.model.init(rng)

    def structure(self):
        return purenn.structure(self.model)

    def apply(self, params, buffers, x, **mode):
        return self.model.apply(params, buffers, dict(self.values), x, **mode)


CASES = [
    Case(
        "ensemble",
        lambda model: transforms.ensemble(model, 2),
        export=unstack,
        gather=stack,
        outs=list,
        keys=lambda key, count: [jax.random.fold_in(key, i) for i in range(count)],
        same=lambda model: transforms.ensemble(model, 1),
    ),
    Case(
        "freeze",
        lambda model: transforms.freeze(model, ["body.*", "norm.weight"]),
        same=lambda model: transforms.freeze(model, "*"),
        nothing=lambda model: transforms.freeze(model, "tail.*"),
    ),
    Case(
        "scan",
        lambda model: transforms.scan(model, 3),
        plain=lambda model: L.Sequential(*[model] * 3),
        same=lambda model: transforms.scan(model, 1),
        same_plain=lambda model: L.Sequential(model),
        commutes=False,  # with what leaves the names of the leaves alone only: test_scan.py
    ),
    rewritten(
        "parametrize",
        lambda model: transforms.parametrize(model, ["body.weight", "norm.bias"], Doubled()),
        lambda model: transforms.parametrize(model, "body.weight", unchanged),
        nothing=lambda model: transforms.parametrize(model, "tail.*", Doubled()),
    ),
    rewritten(
        "weight_norm",
        lambda model: transforms.weight_norm(model, "body.weight"),
        why_not="w = g v / |v| is rounded",
        nothing=lambda model: transforms.weight_norm(model, "tail.*"),
        section=True,
    ),
    rewritten(
        "spectral_norm",
        lambda model: transforms.spectral_norm(model, "body.weight"),
        why_not="the weight is divided by its norm",
        nothing=lambda model: transforms.spectral_norm(model, "tail.*"),
        numbers=False,  # a call in training moves the vectors first
        section=True,
    ),
    rewritten(
        "orthogonal",
        lambda model: transforms.orthogonal(model, "body.weight"),
        why_not="the weight is made orthogonal",
        nothing=lambda model: transforms.orthogonal(model, "tail.*"),
        section=True,
    ),
    rewritten(
        "lora",
        lambda model: transforms.lora(model, "body.weight", rank=2),
        lambda model: transforms.lora(model, rank=0),
        nothing=lambda model: transforms.lora(model, "tail.*"),
        section=True,
    ),
    rewritten(
        "quantize",
        lambda model: transforms.quantize(model, "body.weight", bits=4, group_size=2),
        why_not="the weight is rounded to integers",
        nothing=lambda model: transforms.quantize(model, "tail.*"),
        section=True,
    ),
    rewritten(
        "prune",
        lambda model: transforms.prune(model, "body.weight", 0.5, dim=0),
        lambda model: transforms.prune(model, "body.weight", 0),
        nothing=lambda model: transforms.prune(model, "tail.*", 0.5),
        section=True,
    ),
    rewritten(
        "tie", lambda model: transforms.tie(model, "body.bias", "norm.bias"), why_not="two arrays become one"
    ),
    rewritten(
        "ema", lambda model: transforms.ema(model, 0.9), lambda model: transforms.ema(model, 0.0)
    ),
    Case(
        "capture",
        lambda model: transforms.capture(model, "*"),
        outs=lambda out: [out[0]],
        same=lambda model: transforms.capture(model, ["body", "head"]),
        commutes=False,  # its output has another structure
    ),
    Case(
        "patch",
        lambda model: Patching(transforms.patch(model), ()),
        same=lambda model: Patching(transforms.patch(model), (("body", itself), ("head", itself))),
        commutes=False,  # it takes one more input
    ),
    Case(
        "linearize",
        transforms.linearize,
        export=lambda state: [{name: array for name, array in state.items() if not name.startswith("origin.")}],
        gather=lambda states: {**states[0], **{f"origin.{name}": states[0][name] for name in NAMES[:4] + NAMES[-2:]}},
        same=transforms.linearize,  # what init gives is the expansion there
        commutes=False,  # the expansion of a rewritten weight is another one
    ),
    Case(
        "precision",
        lambda model: transforms.precision(model, jnp.float32, output=jnp.bfloat16),
        same=lambda model: transforms.precision(model, jnp.float32),
        nothing=lambda model: transforms.precision(model, where="tail.*"),
        numbers=False,  # its output is rounded; computing in less, and nesting of that, is in test_precision.py
    ),
    Case("checked", lambda model: transforms.checked(model, unused=False), same=transforms.checked),
    Case("remat", transforms.remat, same=lambda model: transforms.remat(model, "everything_saveable")),
]  # fmt: skip

# What `transforms` exports that is no transform of a model into a model, or is one with tests of its own.
ELSEWHERE: set[str] = set()
