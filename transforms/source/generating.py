"""to_source: a torch model as a file of readable Python that needs jax and purenn alone."""

from collections.abc import Mapping
from typing import Any

from purenn.errors import refusal
from transforms.porting import FromTorch, from_torch
from transforms.source.aligning import Aligner
from transforms.source.arguments import Arguments
from transforms.source.modes import Normal, normal
from transforms.source.naming import plain
from transforms.source.printing import file_text, formatted
from transforms.source.regions import Region, regions_of
from transforms.source.text import array_text
from transforms.source.writing import Context
from transforms.torch_program import Program


def to_source(
    model: Any, args: Any = None, kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None
) -> str:
    """Writes a torch model as Python that reads like it: pure functions on params, by the names of the torch source.

    Args:
        model: torch.nn.Module, or what `from_torch` made of one.
        args: example arguments of a torch module's forward, a tuple.
        kwargs: example keyword arguments.
        dynamic_shapes: as `from_torch` takes it.

    Returns:
        The text of a module with ``apply(params, buffers, ..., rng=None, train=False)``, which computes what the
        `from_torch` model's ``apply`` does, one function for each class of submodules, and ``load(path)``.

    Errors:
        TypeError for what did not come from torch; NotImplementedError that lists every operator that has no spelling,
        with its place in the source, and other things that cannot be written; RuntimeError where ruff is missing; what
        `from_torch` raises.

    >>> import torch, transforms
    >>> print(transforms.to_source(torch.nn.Linear(3, 2), (torch.ones(1, 3),)))  # doctest: +ELLIPSIS
    \"\"\"Linear in JAX: ``params, buffers = load(path)``, then ``apply(params, buffers, ...)``.\"\"\"
    <BLANKLINE>
    import purenn
    import purenn.functional as F
    ...
    """
    converted = _converted(model, args, kwargs, dynamic_shapes)
    training, evaluation, note = _programs(converted)
    root = _tree(converted, training, "" if note else "training")
    if not note:
        Aligner(training, evaluation).run(root, _tree(converted, evaluation, ""))
    merged = _merged(training, evaluation)
    trained = {path: weight.trained for path, weight in converted.weights.items()}
    program = converted.evaluation if note else converted.program(True)
    arguments = Arguments(program, converted.positional, training.users)
    context = Context(merged, trained)
    text = file_text(converted, root, context, arguments, note)
    check_spelled(converted.name, context)
    return formatted(text)


def _converted(model: Any, args: Any, kwargs: Any, dynamic_shapes: Any) -> FromTorch:
    if isinstance(model, FromTorch):
        return model
    if not any(base.__module__.startswith("torch.nn.") for base in type(model).__mro__):
        got = {"type(model)": type(model).__name__}
        remedy = "A model of purenn is pure functions already."
        raise refusal("to_source", "model must be a torch module or one that came from from_torch", got, remedy,
                      TypeError)  # fmt: skip
    return from_torch(model, () if args is None else args, kwargs, dynamic_shapes=dynamic_shapes)


def _programs(model: FromTorch) -> tuple[Normal, Normal, str]:
    arrays = {path: weight.value for path, weight in model.weights.items()}
    if isinstance(model.training, str):
        note = f"{model.name}: train must be False, torch could not export the training mode."
        program = normal(model.evaluation, arrays)
        return program, program, note
    training = normal(model.training, arrays)
    return training, normal(model.evaluation, arrays, training), ""


def _tree(model: FromTorch, program: Normal, mode: str) -> Region:
    source: Program = model.program(True) if mode else model.evaluation
    assert source.out is not None
    return regions_of(program, model.name, source.out)


def _merged(training: Normal, evaluation: Normal) -> Normal:
    return Normal(
        [], (), {}, {**evaluation.arrays, **training.arrays}, {**evaluation.constants, **training.constants},
        training.users, {**evaluation.bodies, **training.bodies}, {**evaluation.kinds, **training.kinds},
    )  # fmt: skip


def check_spelled(name: str, context: Context) -> None:
    """Refuses what could not be written, all at once.

    Args:
        name: of the model.
        context: after the text has been written.

    Errors:
        NotImplementedError with every such operator and the lines of the source that call it.
    """
    places: dict[str, dict[str, None]] = {}
    for call in context.refused:
        where = f"{call.source}  {call.code}".strip() or "a place that torch does not name"
        places.setdefault(call.op, {})[f"{where}  (in {call.path})" if call.path else where] = None
    for key, value in context.constants.items():
        if array_text(value) is None:
            remedy = f"{plain(key)}: make it a buffer with register_buffer"
            places.setdefault(f"a constant of {value.size} numbers", {})[remedy] = None
    if places:
        lines = [f"    {op}\n" + "\n".join(f"        {where}" for where in places[op]) for op in places]
        rule = f"every operator must have a spelling, {name} has {len(places)} without"
        error = refusal("to_source", rule, kind=NotImplementedError)
        error.args = (f"{error}\n" + "\n".join(lines),)
        raise error
