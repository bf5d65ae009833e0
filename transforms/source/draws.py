"""Which keys the draws of a generated function get: those of from_torch, which folds the names of the operators."""

import re
from collections.abc import Iterator
from typing import Any

from purenn.errors import refusal
from transforms.source.modes import DROPOUT
from transforms.source.regions import Region
from transforms.source.text import Expr
from transforms.torch_ops import OPERATORS
from transforms.torch_program import Call

_ATTENTION = "aten.scaled_dot_product_attention.default"
_RECURRENT = ("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
_FLAGGED = {"aten.feature_dropout.default": 2, "aten.alpha_dropout.default": 2,
            "aten.feature_alpha_dropout.default": 2, "aten.dropout.default": 2, "aten.rrelu.default": 3}  # fmt: skip


def draws(call: Call) -> bool:
    """Whether an operator draws numbers, in training at least.

    Args:
        call: in normal form.

    Returns:
        Whether it needs a key.
    """
    if call.op == _ATTENTION:
        p = call.args[4] if len(call.args) > 4 else 0.0
        return isinstance(p, Expr) or p > 0
    if call.op in _RECURRENT:
        return call.args[5] > 0 and call.args[4] > 1 and call.args[6] is not False
    if call.op in _FLAGGED:
        return call.args[_FLAGGED[call.op]] is not False
    return call.op == DROPOUT or (call.op in OPERATORS and OPERATORS[call.op].random)


def always_draws(call: Call) -> bool:
    """Whether an operator draws in evaluation too.

    Args:
        call: in normal form.

    Returns:
        Whether it does.
    """
    if call.op == _ATTENTION:
        return draws(call) and not isinstance(call.args[4], Expr)
    flag = 6 if call.op in _RECURRENT else _FLAGGED.get(call.op)
    if flag is not None:
        return draws(call) and not isinstance(call.args[flag], Expr)
    return draws(call) and call.op != DROPOUT


def base_name(call: Call) -> str:
    """The name of a draw without its number.

    Args:
        call: one that draws.

    Returns:
        What `purenn.random.Keys` is asked with.
    """
    return _parts(call.name)[0]


def left_out(op: str, root: Region) -> list[str]:
    """The names that `purenn.random.Keys` must pass over, so that every draw gets its key.

    Args:
        op: name of the caller.
        root: the model.

    Returns:
        The names.

    Errors:
        NotImplementedError where the two modes count differently.
    """
    training = [call for call in _in_order(root, True) if draws(call)]
    drawn = {call.name.removesuffix("~") for call in training}
    most: dict[str, int] = {}
    for call in training:
        base, number = _parts(call.name)
        most[base] = max(most.get(base, 0), number)
    passed = [name for base, top in most.items() for n in range(top) if (name := _numbered(base, n)) not in drawn]
    for train in (True, False):
        wrong = _misnamed(root, train, set(passed))
        if wrong is not None:
            remedy = "Use from_torch, or draw in both modes alike."
            got = {"draw": wrong.op, "source": wrong.source}
            raise refusal(op, "training and evaluation must draw in one order", got, remedy, NotImplementedError)
    return passed


def _misnamed(root: Region, train: bool, passed: set[str]) -> Call | None:
    """The first draw whose key would not be its own."""
    count: dict[str, int] = {}
    for call in _in_order(root, train):
        if not draws(call):
            continue
        base = base_name(call)
        while (name := _numbered(base, count.get(base, 0))) in passed:
            count[base] = count.get(base, 0) + 1
        count[base] = count.get(base, 0) + 1
        if name != call.name.removesuffix("~") and (train or always_draws(call)):
            return call
    return None


def _in_order(region: Region, train: bool) -> Iterator[Call]:
    """The operators of one mode, in the order in which the text runs them."""
    chosen = region if train or region.other is None else region.other
    for item in chosen.items:
        if isinstance(item, Region):
            yield from _in_order(item, train)
        else:
            yield item


def _parts(name: str) -> tuple[str, int]:
    found: Any = re.fullmatch(r"(.*?)(?:_(\d+))?~?", name)
    return found.group(1), int(found.group(2) or 0)


def _numbered(base: str, n: int) -> str:
    return f"{base}_{n}" if n else base
