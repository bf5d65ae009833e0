"""param_groups: one optimizer made of several, each for the params that its ``where`` chooses."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from purenn.errors import refusal
from purenn.model import Params
from purenn.tree import Tree, Where, flatten, selected, unflatten

Groups = Mapping[Any, Any] | Sequence[Any]

_REST = "rest"  # the label of what no group has chosen; the others are numbers


def param_groups(
    groups: Groups,
    optimizer: Callable[..., optax.GradientTransformation] | None = None,
    *,
    rest: optax.GradientTransformation | None = None,
    **defaults: Any,
) -> optax.GradientTransformationExtraArgs:
    """Gives groups of params their own optimizers, or their own options of one.

    Clipping by the global norm goes around it, ``optax.chain(optax.clip_by_global_norm(1.0), param_groups(...))``:
    inside a group it would see that group alone.

    Args:
        groups: ``{where: optimizer}``, or ``[(where, optimizer), ...]``, or torch's list of dicts, whose entry
            ``"params"`` is a ``where`` and whose other entries are options, as in the example. A ``where`` is as in
            `purenn.tree`: a glob on the dotted path, several in a tuple or list, or a predicate; ``"rest"`` is what
            no other group chooses.
        optimizer: with options, the function that makes the optimizer of each group, such as ``optax.adamw``.
        rest: the optimizer of what no group chooses; a group ``"rest"`` by another name.
        **defaults: with options, those that a group does not give itself.

    Returns:
        One optimizer, over ``optax.partition``. Its params are nested dicts.

    Errors:
        TypeError for a group or an optimizer that is none, and for unknown options; in ``init``, ValueError where a
        param is in no group or in two, or a ``where`` matches nothing, naming it.

    >>> import optax, transforms
    >>> optimizer = transforms.param_groups(
    ...     [{"params": ("*.bias", "*norm*"), "weight_decay": 0.0}, {"params": "rest"}], optax.adamw, learning_rate=1e-3
    ... )

    Torch:
        The list of dicts that ``torch.optim`` takes, differs in that ``"params"`` says which by their names.
    """
    wheres, optimizers = _read(groups, optimizer, defaults)
    if rest is not None:
        wheres, optimizers = [*wheres, _REST], [*optimizers, rest]
    keys = [_REST if isinstance(where, str) and where == _REST else str(i) for i, where in enumerate(wheres)]
    if keys.count(_REST) > 1:
        raise refusal("param_groups", "one group must be the rest, at most", {"groups": wheres})
    for where, made in zip(wheres, optimizers, strict=True):
        if not isinstance(made, optax.GradientTransformation):
            got = {"where": where, "its type": type(made).__name__}
            raise refusal("param_groups", "each group must have optax's optimizer", got, "optax.adam(1e-3)", TypeError)
    chosen = {key: where for key, where in zip(keys, wheres, strict=True) if key != _REST}
    return optax.partition(dict(zip(keys, optimizers, strict=True)), lambda params: _labels(params, chosen, keys))


def _labels(params: Params, wheres: Mapping[str, Where], keys: Sequence[str]) -> Tree:
    """The label of each param's group, in the tree of the params."""
    found: dict[str, str] = {}
    for key, where in wheres.items():
        for path in selected(params, where, "param_groups"):
            if path in found:
                got = {"param": path, "groups": (wheres[found[path]], where)}
                raise refusal("param_groups", "a param must be in one group", got, "Let their globs not overlap.")
            found[path] = key
    paths = list(flatten(params))
    left = [path for path in paths if path not in found]
    if left and _REST not in keys:
        remedy = "Give the others an optimizer with rest=, or a group 'rest'."
        raise refusal("param_groups", "each param must be in a group", {"in none": left}, remedy)
    return unflatten({path: found.get(path, _REST) for path in paths})


def _read(groups: Groups, optimizer: Any, defaults: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The wheres and the optimizers."""
    pairs = list(groups.items()) if isinstance(groups, Mapping) else list(groups)
    if optimizer is not None:
        made = [_from_options(group, optimizer, defaults) for group in pairs]
        return [where for where, _ in made], [one for _, one in made]
    if defaults:
        raise refusal("param_groups", "options must come with the optimizer's function", {"options": [*defaults]},
                      "param_groups(groups, optax.adamw, learning_rate=1e-3)", TypeError)  # fmt: skip
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            rule = "a group must be a pair (where, optimizer)"
            remedy = "Dicts of options want the optimizer's function: param_groups(groups, optax.adamw)."
            raise refusal("param_groups", rule, {"group": pair}, remedy, TypeError)
    return [where for where, _ in pairs], [one for _, one in pairs]


def _from_options(group: Any, optimizer: Any, defaults: Mapping[str, Any]) -> tuple[Any, Any]:
    if not isinstance(group, Mapping) or "params" not in group:
        rule = "with an optimizer's function, a group must be a dict with the entry 'params'"
        raise refusal("param_groups", rule, {"group": group}, kind=TypeError)
    if isinstance(optimizer, optax.GradientTransformation) or not callable(optimizer):
        got = {"type(optimizer)": type(optimizer).__name__}
        raise refusal("param_groups", "optimizer must be a function", got, "optax.adamw, uncalled.", TypeError)
    options = {**defaults, **{name: value for name, value in group.items() if name != "params"}}
    known = inspect.signature(optimizer).parameters
    fixed = all(parameter.kind is not parameter.VAR_KEYWORD for parameter in known.values())
    if fixed and (unknown := [name for name in options if name not in known]):
        names = {"unknown": unknown, "known": [*known]}
        raise refusal("param_groups", "options must be those of the optimizer", names, kind=TypeError)
    return group["params"], optimizer(**options)
