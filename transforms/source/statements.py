"""The statements of the user's source: which names a line assigns, and which arguments its function has."""

import ast
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Statement:
    """A statement that a line belongs to; ``targets`` are the names it assigns, none where it assigns to no names."""

    key: tuple[str, int]
    targets: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # of the function around it, self left out
    names: frozenset[str] = frozenset()  # that it reads


def statement(source: str, code: str) -> Statement | None:
    """Finds the statement of a line.

    Args:
        source: ``file:line``, or empty.
        code: the text of the line, for files that cannot be read.

    Returns:
        The innermost statement around the line; None for no line.
    """
    file, _, number = source.rpartition(":")
    if not file or not number.isdigit():
        return None
    found = _statements(file).get(int(number))
    return found or Statement((file, int(number)), _targets_of(code))


@lru_cache(maxsize=64)
def _statements(file: str) -> dict[int, Statement]:
    lines = linecache.getlines(file)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return {}
    found: dict[int, Statement] = {}
    for node, arguments in _in_functions(tree, ()):
        body = getattr(node, "body", None)
        end = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        names = frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
        made = Statement((file, node.lineno), _targets(node), arguments, names)
        found.update(dict.fromkeys(range(node.lineno, max(end, node.lineno) + 1), made))
    return found


def _in_functions(node: ast.AST, arguments: tuple[str, ...]) -> Iterator[tuple[ast.stmt, tuple[str, ...]]]:
    """Every statement, the outer ones first, with the arguments of the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = child.args
            named = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            yield from _in_functions(child, tuple(name for name in named if name not in ("self", "cls")))
        elif isinstance(child, ast.stmt):
            if not isinstance(child, ast.ClassDef):
                yield child, arguments
            yield from _in_functions(child, arguments)


def _targets_of(code: str) -> tuple[str, ...]:
    try:
        (node,) = ast.parse(code.strip()).body
    except (SyntaxError, ValueError):
        return ()
    return _targets(node)


def _targets(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement assigns, none where one of its targets is no name."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return _names(node.targets[0])
    if isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        return _names(node.target)
    return ()


def _names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, (ast.Tuple, ast.List)):
        parts = [_names(item) for item in target.elts]
        return tuple(name for part in parts for name in part) if all(parts) else ()
    return ()
