"""export: a model as one StableHLO program with its weights beside it; load_exported runs it without its code."""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from purenn.errors import refusal
from purenn.files.arrays import content_of
from purenn.files.atomic import replacing, write_all
from purenn.files.safetensors import open_safetensors, write_safetensors
from purenn.model import Buffers, Model, Params, check_model
from purenn.random import as_key
from purenn.tree import flatten, unflatten
from transforms.porting import FromTorch

PROGRAM, WEIGHTS = "program.stablehlo", "weights.safetensors"


def export(
    model: Model,
    args: Any,
    kwargs: Mapping[str, Any] | None = None,
    *,
    arrays: tuple[Params, Buffers] | None = None,
    rng: Any = None,
    train: bool = False,
    platforms: tuple[str, ...] | None = None,
) -> "Exported":
    """Compiles a model to one StableHLO program that needs neither the model's code nor torch.

    Args:
        model: any model.
        args: example arguments, a tuple; arrays, or ``jax.ShapeDtypeStruct`` with lengths from
            ``jax.export.symbolic_shape`` for those that may vary.
        kwargs: example keyword arguments.
        arrays: ``(params, buffers)``; a model from `from_torch` brings its own.
        rng: an example key where the model draws numbers; each call then takes one.
        train: the mode that is exported.
        platforms: where the program shall run, for example ``("cpu", "cuda")``; None is where it is made.

    Returns:
        A model: ``init`` gives the arrays, ``apply`` runs the program; ``save(folder)`` writes both.

    Errors:
        TypeError for what is no model or no tuple; ValueError where ``arrays`` are wanted; what jax.export raises
        where the program cannot be exported.

    >>> import jax, tempfile, transforms
    >>> from purenn import layers as L
    >>> net, x = L.Linear(3, 2), jax.numpy.ones((5, 3))
    >>> folder = tempfile.mkdtemp()
    >>> transforms.export(net, (x,), arrays=net.init(jax.random.key(0))).save(folder)
    >>> loaded = transforms.load_exported(folder)
    >>> out, _ = loaded.apply(*loaded.init(), x)
    >>> out.shape
    (5, 2)
    """
    check_model("export", model)
    if not isinstance(args, (tuple, list)):
        got = {"type(args)": type(args).__name__}
        raise refusal("export", "args must be a tuple", got, "Write (x,) for one argument.", TypeError)
    if arrays is None and not isinstance(model, FromTorch):
        remedy = "Pass arrays=model.init(rng), or arrays=module.split()."
        raise refusal("export", "arrays must be given, the params and buffers of the model", {"arrays": None}, remedy)
    params, buffers = model.init(jax.random.key(0)) if arrays is None else arrays
    random = rng is not None

    def run(params: Params, buffers: Buffers, args: Any, kwargs: Any, key: Any) -> Any:
        drawn = {"rng": jax.random.wrap_key_data(key)} if random else {}
        return model.apply(params, buffers, *args, train=train, **drawn, **kwargs)

    key = _raw(rng) if random else None
    given = jax.tree.map(_shape, (params, buffers, tuple(args), dict(kwargs or {}), key))
    program = jax.export.export(jax.jit(run), platforms=platforms)(*given)
    return Exported(program, params, buffers, train, random)


@dataclass(frozen=True, eq=False)
class Exported:
    """The model that `export` and `load_exported` give: a program and its arrays, in one mode."""

    program: jax.export.Exported
    params: Params
    buffers: Buffers
    train: bool = False
    random: bool = False

    def init(self, rng: Any = None) -> tuple[Params, Buffers]:
        """Gives the exported arrays.

        Args:
            rng: not used.

        Returns:
            ``(params, buffers)``, fresh arrays.
        """
        del rng
        params, buffers = (
            unflatten({path: jnp.array(x) for path, x in flatten(tree).items()}) for tree in (self.params, self.buffers)
        )
        return params, buffers

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the program.

        Args:
            params: as from `init`.
            buffers: as from `init`, or from the last `apply`.
            *args: as at export.
            rng: PRNG key, where one was given at export.
            train: the mode of the export.
            **kwargs: as at export.

        Returns:
            ``(out, buffers)``.

        Errors:
            ValueError for another mode than that of the export, or a missing key.
        """
        if bool(train) != self.train:
            remedy = f"Export the model once more with train={train}."
            raise refusal("export", f"train must be {self.train}, as at export", {"train": train}, remedy)
        key = _raw(rng) if self.random else None
        return self.program.call(params, buffers, args, kwargs, key)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the program and the weights.

        Args:
            folder: made where it is not there; files of an earlier export in it are replaced, each whole.

        Errors:
            TypeError for an array of a dtype that the safetensors format lacks; OSError where nothing can be written.
        """
        folder = Path(folder)
        arrays = {"params": self.params, "buffers": self.buffers}
        # the file puts the other names of tied arrays last
        notes = {"train": self.train, "random": self.random, "order": json.dumps([*flatten(arrays)])}
        content = content_of("export", arrays, notes)
        _library("flatbuffers")  # jax.export serializes with it
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WEIGHTS) as file:
            write_safetensors(file, content)
        with replacing(folder / PROGRAM) as file:
            write_all(file, bytes(self.program.serialize(vjp_order=1)))


def load_exported(folder: str | os.PathLike[str]) -> Exported:
    """Reads what `Exported.save` wrote; the model's code is not needed, nor torch.

    Args:
        folder: of the files.

    Returns:
        The model. It can be differentiated once.

    Errors:
        ValueError for files that are damaged; FileNotFoundError where there are none.
    """
    _library("flatbuffers")
    folder = Path(folder)
    try:
        with open_safetensors(folder / WEIGHTS) as content:
            order = json.loads(content.scalars["order"])
            flat = {name: jnp.asarray(content.entry(name).read()) for name in order}
            train, random = content.scalars["train"], content.scalars["random"]
        program = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
    except (KeyError, ValueError, TypeError) as error:
        remedy = f"Export it once more: {type(error).__name__}: {error}"
        got = {"folder": str(folder)}
        raise refusal("load_exported", "the folder must hold a whole export", got, remedy) from error
    arrays = unflatten(flat)
    return Exported(program, arrays.get("params", {}), arrays.get("buffers", {}), train, random)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "Install purenn[export]."
        raise refusal("export", f"{name} must be installed", remedy=remedy, kind=ImportError) from error


def _raw(rng: Any) -> jax.Array:
    return jax.random.key_data(as_key("export", rng))


def _shape(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jax.dtypes.canonicalize_dtype(jnp.result_type(leaf)))
