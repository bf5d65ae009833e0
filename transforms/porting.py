"""from_torch: a torch module as a pure model with its weights, which needs torch no longer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from purenn.errors import refusal
from purenn.model import Buffers, Params
from purenn.random import as_key
from purenn.tree import Tree, flatten, reorder, unflatten
from transforms.torch_inputs import bind_inputs, positional_names
from transforms.torch_ops.promotion import canonical
from transforms.torch_program import Program
from transforms.torch_running import run
from transforms.torch_weights import Weight, check_covered, report_narrowing, report_unwritten, weights_of


@dataclass(frozen=True, eq=False)
class FromTorch:
    """The model that `from_torch` gives.

    ``evaluation`` and ``training`` are its two programs; where torch could not export the training mode, ``training``
    is the reason. ``weights`` are its arrays in torch's order, ``ties`` maps further names of a tied array to its
    first. ``positional`` are the names of forward's positional arguments, ``narrowed`` says which arrays lost bits.
    """

    name: str
    evaluation: Program
    training: Program | str
    weights: Mapping[str, Weight]
    ties: Mapping[str, str]
    positional: tuple[str, ...] = ()

    def init(self, rng: Any = None) -> tuple[Params, Buffers]:
        """Gives the torch module's weights.

        Args:
            rng: not used.

        Returns:
            ``(params, buffers)``, fresh arrays under torch's names.
        """
        del rng
        trees: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        for path, weight in self.weights.items():
            trees[0 if weight.trained else 1][path] = weight.array()
        return unflatten(trees[0]), unflatten(trees[1])

    def apply(
        self, params: Params, buffers: Buffers, *args: Any, rng: Any = None, train: bool = False, **kwargs: Any
    ) -> tuple[Any, Buffers]:
        """Runs the model.

        Args:
            params: as from `init`.
            buffers: as from `init`, or from the last `apply`.
            *args: what the torch module's forward takes.
            rng: PRNG key, where the model draws numbers.
            train: whether the training graph runs: dropout draws, BatchNorm statistics move.
            **kwargs: what the torch module's forward takes.

        Returns:
            ``(out, buffers)``; what torch's forward returns, and the buffers afterwards.

        Errors:
            ValueError or TypeError for arguments unlike those of the conversion, arrays that are missing, or
            ``train=True`` where torch could not export the training mode.
        """
        program = self.program(bool(train))
        known = self._arrays(params, buffers)
        arrays = {given.name: known[given.target] for given in program.inputs if given.kind == "array"}
        arrays |= bind_inputs(self.name, program, self.positional, args, kwargs)
        key = None if rng is None else as_key(self.name, rng)
        outputs, mutated = run(program, arrays, key)
        return self._result(program, outputs), self._after(buffers, mutated)

    def program(self, train: bool) -> Program:
        """The graph of one mode.

        Args:
            train: which.

        Returns:
            The program.

        Errors:
            ValueError where torch could not export the training mode.
        """
        if not train:
            return self.evaluation
        if isinstance(self.training, str):
            remedy = f"torch.export said: {self.training}"
            raise refusal(self.name, "train must be False, as torch cannot export the training mode", {"train": True},
                          remedy)  # fmt: skip
        return self.training

    def structure(self) -> Tree:
        """Lists the leaves in the order of torch's state_dict."""
        return unflatten({path: weight.leaf() for path, weight in self.weights.items()})

    @property
    def narrowed(self) -> dict[str, str]:
        """The arrays whose dtype the x64 setting does not allow, with torch's dtype and ours."""
        kinds = {path: (weight.value.dtype, canonical(weight.value.dtype)) for path, weight in self.weights.items()}
        return {path: f"{theirs} -> {ours}" for path, (theirs, ours) in kinds.items() if theirs != ours}

    def __repr__(self) -> str:
        modes = "evaluation and training" if isinstance(self.training, Program) else "evaluation only"
        return f"from_torch({self.name}: {len(self.weights)} arrays, {len(self.evaluation.calls)} operators, {modes})"

    def _arrays(self, params: Params, buffers: Buffers) -> dict[str, Any]:
        known = {**flatten(params), **flatten(buffers)}
        if missing := [path for path in self.weights if path not in known]:
            remedy = "params and buffers come from init, or from a state_dict."
            raise refusal(self.name, "params and buffers must hold every array", {"missing": missing}, remedy)
        return known

    def _result(self, program: Program, outputs: tuple[Any, ...]) -> Any:
        assert program.out is not None
        return program.out.build(iter(outputs))

    def _after(self, buffers: Buffers, mutated: Mapping[str, Any]) -> Buffers:
        if not mutated:
            return buffers
        before = flatten(buffers)
        after = {path: array.astype(before[path].dtype) for path, array in mutated.items() if path in before}
        return reorder(unflatten({**before, **after}), self._order)

    @cached_property
    def _order(self) -> Tree:
        return self.structure()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_order"}


def from_torch(
    module: Any, args: Any, kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None
) -> FromTorch:
    """Makes a torch module a pure model, through torch.export; afterwards torch is needed no longer.

    Both modes are exported: ``apply(train=True)`` runs what the module does in training (dropout draws from ``rng``,
    BatchNorm statistics come back in the buffers), ``train=False`` what it does in evaluation. The module is left as it
    is.

    Args:
        module: torch.nn.Module.
        args: example arguments of its forward, a tuple; torch tensors or arrays. Their shapes are fixed unless
            ``dynamic_shapes`` says otherwise; Python values in them are built in.
        kwargs: example keyword arguments.
        dynamic_shapes: as ``torch.export.export`` takes it; the converted model is polymorphic in the same lengths.

    Returns:
        The model. ``init`` gives the module's weights under their torch names, parameters that do not require
        gradients among the buffers, a tied one once.

    Errors:
        TypeError for what is no torch module or no tuple; NotImplementedError that lists every operator that is not
        covered, with its place in the source; ValueError with what torch said where it cannot export the evaluation
        mode, or where its program gives other numbers than the module for the example arguments.

    Torch:
        A forward that writes into its input gives its result, and the input stays as it is.

    >>> import jax, torch, transforms
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    >>> model = transforms.from_torch(net, (torch.ones(5, 3),))
    >>> params, buffers = model.init()
    >>> out, buffers = model.apply(params, buffers, jax.numpy.ones((5, 3)), train=True)
    >>> out.shape, int(buffers["1"]["num_batches_tracked"])
    ((5, 4), 1)
    """
    _check_arguments(module, args, kwargs)
    from transforms.torch_tracing import as_tensors, trace
    from transforms.torch_writing import canonical_names

    given = as_tensors(tuple(args)), as_tensors(dict(kwargs or {}))
    evaluation = trace(module, *given, dynamic_shapes, train=False)
    training = _training(module, given, dynamic_shapes)
    programs = [program for program in (evaluation, training) if isinstance(program, Program)]
    name = type(module).__name__
    check_covered(name, programs)
    weights = weights_of(module)
    ties = {path: first for path, first in canonical_names(module).items() if path != first}
    report_narrowing(name, weights, programs)
    report_unwritten(name, programs)
    return FromTorch(name, evaluation, training, weights, ties, positional_names(module.forward))


def _training(module: Any, given: tuple[Any, Any], dynamic_shapes: Any) -> Program | str:
    from transforms.torch_tracing import trace

    try:
        return trace(module, *given, dynamic_shapes, train=True)
    except NotImplementedError:
        raise
    except Exception as error:  # whatever it is, the evaluation mode is there; the reason is kept for train=True
        return f"{type(error).__name__}: {error}"


def _check_arguments(module: Any, args: Any, kwargs: Any) -> None:
    if not (hasattr(module, "named_parameters") and hasattr(module, "forward")):
        got = {"type(module)": type(module).__name__}
        raise refusal("from_torch", "module must be a torch.nn.Module", got, kind=TypeError)
    if not isinstance(args, (tuple, list)):
        got = {"type(args)": type(args).__name__}
        raise refusal("from_torch", "args must be a tuple", got, "Write (x,) for one argument.", TypeError)
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise refusal("from_torch", "kwargs must be a dict", {"type(kwargs)": type(kwargs).__name__}, kind=TypeError)
