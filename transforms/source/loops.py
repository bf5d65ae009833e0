"""Statements that repeat, but for numbers that count up, become a loop."""

import re
from dataclasses import dataclass

_NUMBER = re.compile(r'\["([A-Za-z_]*)(\d+)"\]|(?<![\w."])(\d+)(?![\w.])')
_LONGEST = 8  # statements of one round


@dataclass(frozen=True)
class _Line:
    """A statement in pieces: the text around its numbers, their values, and the keys that they are part of."""

    pieces: tuple[str, ...]
    keys: tuple[str | None, ...]
    numbers: tuple[int, ...]

    @property
    def shape(self) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
        """What is equal in every round."""
        return self.pieces, self.keys


def folded(lines: list[str]) -> list[str]:
    """Writes runs of like statements as loops.

    Args:
        lines: statements, one a line.

    Returns:
        The statements, fewer where there are loops.
    """
    parsed = [_parsed(line) for line in lines]
    done: list[str] = []
    at = 0
    while at < len(lines):
        period, rounds = _best(parsed, at)
        if rounds > 1:
            done += _loop(parsed[at : at + period * rounds], period, rounds)
        else:
            done.append(lines[at])
        at += period * rounds
    return done


def _parsed(line: str) -> _Line:
    pieces, keys, numbers, end = [], [], [], 0
    for found in _NUMBER.finditer(line):
        pieces.append(line[end : found.start()])
        keys.append(found.group(1))
        numbers.append(int(found.group(2) or found.group(3)))
        end = found.end()
    return _Line((*pieces, line[end:]), tuple(keys), tuple(numbers))


def _best(lines: list[_Line], at: int) -> tuple[int, int]:
    """The period and the number of rounds that save most, ``(1, 1)`` where none does."""
    best, saved = (1, 1), 0
    for period in range(1, _LONGEST + 1):
        rounds = _rounds(lines, at, period)
        if rounds > 1 and (rounds - 1) * period - 1 + _counts(lines[at : at + 2 * period], period) > saved:
            best, saved = (period, rounds), (rounds - 1) * period
    return best


def _rounds(lines: list[_Line], at: int, period: int) -> int:
    rounds = 1
    while at + (rounds + 1) * period <= len(lines):
        now = at + rounds * period
        if any(not _follows(lines[at + t], lines[at + period + t], lines[now + t], rounds) for t in range(period)):
            break
        rounds += 1
    return rounds if any("=" in line.pieces[0] for line in lines[at : at + period]) else 1


def _follows(first: _Line, second: _Line, line: _Line, rounds: int) -> bool:
    steps = zip(first.numbers, second.numbers, line.numbers, strict=False)
    return first.shape == second.shape == line.shape and all(a + rounds * (b - a) == c for a, b, c in steps)


def _counts(lines: list[_Line], period: int) -> int:
    """1 where a key counts up: there the loop says something, even if it saves nothing."""
    pairs = zip(lines[:period], lines[period:], strict=True)
    return int(any(
        key is not None and a != b
        for first, second in pairs
        for key, a, b in zip(first.keys, first.numbers, second.numbers, strict=True)
    ))  # fmt: skip


def _loop(lines: list[_Line], period: int, rounds: int) -> list[str]:
    starts = [
        (a, b - a) for t in range(period) for a, b in zip(lines[t].numbers, lines[period + t].numbers, strict=True)
    ]
    origin = next((a for a, step in starts if step == 1), 0)
    body = [_in_loop(lines[t], lines[period + t], origin) for t in range(period)]
    variable = "i" if any(step for _, step in starts) else "_"
    bounds = f"{origin}, {origin + rounds}" if origin else f"{rounds}"
    return [f"for {variable} in range({bounds}):", *(f"    {line}" for line in body)]


def _in_loop(first: _Line, second: _Line, origin: int) -> str:
    text = first.pieces[0]
    for key, a, b, piece in zip(first.keys, first.numbers, second.numbers, first.pieces[1:], strict=True):
        text += _number(key, a, b - a, origin) + piece
    return text


def _number(key: str | None, start: int, step: int, origin: int) -> str:
    if step == 0:
        return f"{start}" if key is None else f'["{key}{start}"]'
    factor = "i" if step == 1 else f"{step} * i"
    rest = start - step * origin
    value = factor if rest == 0 else f"{factor} {'+' if rest > 0 else '-'} {abs(rest)}"
    if key is None:
        return value if rest == 0 and step == 1 else f"({value})"
    return f"[str({value})]" if not key else f'[f"{key}{{{value}}}"]'
