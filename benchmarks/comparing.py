"""Two programs for the same thing, side by side: what they take, and what the compiler made of them.

Time is noisy; what XLA compiled is not. Where both have the same instructions, the rest of a ratio is noise.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax


class Comparison(NamedTuple):
    """Ours against the one by hand."""

    time: float  # median over rounds of the ratio within the round
    programs: str

    def __str__(self) -> str:
        return f"time {self.time:.3f}, {self.programs}"


def compare(
    ours: Callable[..., Any],
    hand: Callable[..., Any],
    args: tuple[Any, ...],
    hand_args: tuple[Any, ...] | None = None,
    rounds: int = 40,
    inner: int = 5,
) -> Comparison:
    """Compiles both and lets them take turns.

    Args:
        ours: a function; jitted here.
        hand: another one.
        args: for ours.
        hand_args: for the one by hand, where they differ.
        rounds: how many turns.
        inner: calls in one turn.

    Returns:
        What ours takes, against the other.
    """
    pairs = [(jax.jit(ours), args), (jax.jit(hand), args if hand_args is None else hand_args)]
    compiled = [program.lower(*given).compile() for program, given in pairs]
    ratio = turns(*[lambda program=program, given=given: program(*given) for program, given in pairs], rounds, inner)
    assert pairs[0][0]._cache_size() == 1, "traced again"
    return Comparison(ratio, programs(compiled))


def turns(ours: Callable[[], Any], hand: Callable[[], Any], rounds: int = 40, inner: int = 5) -> float:
    """Lets two calls take turns, first one and then the other ahead.

    Args:
        ours: a call; gives arrays that are waited for.
        hand: another one.
        rounds: how many turns.
        inner: calls in one turn.

    Returns:
        The median, over rounds, of what ours takes against the other in the same round.
    """
    ratios = []
    for n in range(rounds + 3):  # three to warm up
        times = [0.0, 0.0]
        for which in (0, 1) if n % 2 else (1, 0):
            start = time.perf_counter()
            for _ in range(inner):
                out = (ours, hand)[which]()
            jax.block_until_ready(out)
            times[which] = time.perf_counter() - start
        if n >= 3:
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


class Steps:
    """A training step that goes on from its own state, for `turns`.

    Args:
        step: ``(state, batch) -> (state, metrics)``.
        state: the first.
        batch: the same each time.
    """

    def __init__(self, step: Callable[..., Any], state: Any, batch: Any):
        self.step, self.state, self.batch = step, state, batch

    def __call__(self) -> Any:
        self.state, metrics = self.step(self.state, self.batch)
        return self.state, metrics


def programs(compiled: Sequence[Any]) -> str:
    """Says what XLA made of ours and of the other: instructions, and the ratios of FLOPs and bytes that it counts."""
    ours, hand = map(instructions, compiled)
    costs = [program.cost_analysis() for program in compiled]
    flops, moved = (_share(costs, name) for name in ("flops", "bytes accessed"))
    return f"instructions {ours} / {hand} = {ours / hand:.3f}, FLOPs {flops:.3f}, bytes {moved:.3f}"


def instructions(compiled: Any) -> int:
    """Counts what is in an optimised program; what only names or regroups arrays does no work, and is left out."""
    names = ("parameter(", "get-tuple-element(", "tuple(", "bitcast(", "constant(")
    lines = [line.partition(" = ")[2] for line in compiled.as_text().splitlines() if " = " in line]
    return sum(not any(f" {name}" in line for name in names) for line in lines)


def _share(costs: Sequence[Any], name: str) -> float:
    ours, hand = (cost.get(name, 0.0) for cost in costs)
    return ours / hand if hand else 1.0
