"""functional_call and stack_module_state: a module as a function of its state_dict."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax

from purenn.errors import refusal
from purenn.layering import assembled, names
from purenn.model import Buffers, Leaf, Model, Params, bind, check_model, structure
from purenn.tree import combine, flatten, stack, unflatten


@runtime_checkable
class Holding(Protocol):
    """A model that remembers arrays of its own, as a Module does."""

    def split(self) -> tuple[Params, Buffers]:
        """Carries the arrays out."""
        ...

    def state_dict(self) -> dict[str, jax.Array]:
        """Lists the arrays, tied ones under each of their names."""
        ...


def functional_call(
    module: Model,
    parameter_and_buffer_dicts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
    rng: Any = None,
    train: bool | None = None,
) -> Any:
    """Runs a model with other arrays than its own.

    Args:
        module: a Module, or any model.
        parameter_and_buffer_dicts: ``{dotted path: array}``, a nested dict of arrays, or several of them, such as
            ``(params, buffers)``. A Module takes what is not given from itself; a model has nothing to take.
        args: the input, or a tuple of inputs.
        kwargs: inputs by name.
        tie_weights: whether an array that is given under one of its tied names goes to all of them; it must.
        strict: whether the names must be those of the model; where not, others are ignored, as torch ignores them.
        rng: PRNG key, where numbers are drawn.
        train: the mode; None leaves a Module each submodule's own, and means evaluation for other models.

    Returns:
        The output.

    Errors:
        TypeError for what is no model, or no dict; ValueError for a name in two dicts, names that are missing, tied
        names with two arrays or with ``tie_weights=False``, and in training for buffers that change: they would be
        lost.

    Torch:
        ``torch.func.functional_call``, differs in that a call that changes buffers is refused, where torch writes into
        those that it was given; ``rng`` and ``train`` are added.

    >>> import jax.numpy as jnp
    >>> from purenn import layers as L
    >>> functional_call(L.Linear(2, 1), {"weight": jnp.ones((1, 2)), "bias": jnp.ones(1)}, jnp.ones(2))
    Array([3.], dtype=float32)
    """
    check_model("functional_call", module)
    given = _merged(parameter_and_buffer_dicts)
    leaves = flatten(structure(module))
    if (others := _unknown(leaves, given)) and isinstance(module, Holding):
        given = _untied(module, given, others, tie_weights)
    arrays = _completed(module, leaves, given, strict)
    params = unflatten({path: arrays[path] for path, leaf in leaves.items() if leaf.trainable})
    buffers = unflatten({path: arrays[path] for path, leaf in leaves.items() if not leaf.trainable})
    bound = bind(module, params, buffers, rng, train)  # type: ignore[arg-type]
    inputs = () if args is None else args if isinstance(args, tuple) else (args,)
    out = bound(*inputs, **(kwargs or {}))
    if bound.training:
        _refuse_loss(buffers, bound.buffers)
    return out


def stack_module_state(models: Sequence[Model]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Stacks the arrays of Modules of one kind, for `vmap` over `functional_call`.

    Args:
        models: Modules of one class, in one mode, with the same names and shapes; at least one.

    Returns:
        ``(params, buffers)``, flat dicts with dotted names; each array is ``(len(models), *shape)``.

    Errors:
        ValueError where there is none, or where they differ; TypeError for models that hold no arrays.

    Torch:
        ``torch.func.stack_module_state``, identical; frozen parameters are among the buffers.
    """
    models = list(models)
    if not models:
        raise refusal("stack_module_state", "models must not be empty", {"len(models)": 0})
    holding = [model for model in models if isinstance(model, Holding)]
    if len(holding) < len(models):
        remedy = "Other models hold none: stack what init gave with purenn.tree.stack."
        got = {"their types": sorted({type(model).__name__ for model in models})}
        raise refusal("stack_module_state", "models must hold arrays, as Modules do", got, remedy, TypeError)
    kinds = sorted({type(model).__name__ for model in models})
    if len({type(model) for model in models}) > 1:
        raise refusal("stack_module_state", "models must be of one class", {"their classes": kinds})
    if len({getattr(model, "training", None) for model in models}) > 1:
        remedy = "Call train() or eval() on all of them."
        raise refusal("stack_module_state", "models must be in one mode", {"training": "both"}, remedy)
    trees = [model.split() for model in holding]
    params, buffers = (flatten(stack([tree[which] for tree in trees])) for which in (0, 1))
    return params, buffers


def _merged(dicts: Any) -> dict[str, Any]:
    several = [dicts] if isinstance(dicts, Mapping) else dicts
    if not isinstance(several, (list, tuple)) or not all(isinstance(part, Mapping) for part in several):
        rule = "parameter_and_buffer_dicts must be a dict of arrays, or a tuple of dicts"
        kinds = type(dicts).__name__
        raise refusal("functional_call", rule, {"its type": kinds}, "For example (params, buffers).", TypeError)
    flats = [_flat(part, "") for part in several]
    every = [name for flat in flats for name in flat]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise refusal("functional_call", "no name may stand in two dicts", {"names": twice})
    return {name: array for flat in flats for name, array in flat.items()}


def _flat(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Flat and nested alike: names may hold dots already."""
    flat: dict[str, Any] = {}
    for name, child in tree.items():
        flat.update(_flat(child, f"{prefix}{name}.") if isinstance(child, Mapping) else {f"{prefix}{name}": child})
    return flat


def _untied(module: Holding, given: dict[str, Any], others: list[str], tie_weights: bool) -> dict[str, Any]:
    """Puts what is given under a second name of a tied array under its first."""
    state = module.state_dict()
    first: dict[int, str] = {}
    for name, array in state.items():
        first.setdefault(id(array), name)
    aliases = {name: first[id(state[name])] for name in others if name in state}
    if aliases and not tie_weights:
        got = {"tie_weights": False, "tied names": sorted(aliases)}
        raise refusal("functional_call", "tied arrays must stay tied", got, "Tie copies of the modules apart instead.")
    for name, target in aliases.items():
        if given.get(target, given[name]) is not given[name]:
            rule = "tied names must be given one and the same array"
            raise refusal("functional_call", rule, {"names": [target, name]}, "Give one of them.")
    return {aliases.get(name, name): array for name, array in given.items()}


def _unknown(leaves: Mapping[str, Leaf], given: Mapping[str, Any]) -> list[str]:
    """What is neither a path of the model nor a name of its state_dict, where like layers are stacked."""
    known = names(leaves)
    return [name for name in given if name not in leaves and name not in known]


def _completed(module: Model, leaves: Mapping[str, Leaf], given: dict[str, Any], strict: bool) -> dict[str, Any]:
    """Every array by its path: as given, then as the module has it."""
    missing = [name for name, (path, _) in names(leaves).items() if path not in given and name not in given]
    unexpected = _unknown(leaves, given)
    if strict and (missing or unexpected):
        got = {"missing": missing, "unexpected": unexpected}
        raise refusal("functional_call", "with strict=True the names must be those of the model", got)
    own: dict[str, Any] = {}
    if missing and isinstance(module, Holding):
        own = flatten(combine(*module.split()))
    elif missing:
        rule = "the dicts must hold every array of a model that holds none"
        raise refusal("functional_call", rule, {"missing": missing, "unexpected": unexpected})
    return {
        **own,
        **assembled(given, leaves, own.__getitem__),
        **{path: given[path] for path in leaves if path in given},
    }


def _refuse_loss(before: Buffers, after: Buffers) -> None:
    old, new = flatten(before), flatten(after)
    if changed := [path for path, array in new.items() if old.get(path) is not array]:
        remedy = "Use module.apply(params, buffers, *args, train=True), which returns them, or evaluate."
        raise refusal("functional_call", "buffers must stay as they are", {"changed": changed}, remedy)
