"""Batches: from arrays in memory, and from any iterable, with a position that can be saved and found again.

A position is a small JSON value. `batches` knows its own, as grain's iterators do (``get_state``, ``set_state``); any
other iterable is asked for a fresh iterator and goes past what was seen, so it must give the same batches again.
"""

import base64
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from purenn.errors import refusal
from purenn.random import as_key
from purenn.state import as_numpy_or_jax


def batches(
    arrays: Any, size: int, rng: Any = None, epochs: int | None = None, *, drop_last: bool | None = None
) -> "Batches":
    """Cuts arrays into batches, in a new random order each epoch, from a position that can be saved.

    Args:
        arrays: pytree of arrays, each ``(N, ...)``; they stay where they are, a batch is a copy of its rows.
        size: rows of a batch.
        rng: PRNG key of the orders; None keeps the order of the arrays.
        epochs: how often all rows are seen; None goes on without end.
        drop_last: whether rows that do not fill a batch are left out of an epoch; None leaves them out where rows are
            shuffled, so that every batch has one shape.

    Returns:
        An iterable of pytrees like ``arrays``, each leaf ``(size, ...)``; it starts anew each time it is iterated.

    Errors:
        TypeError for what holds no arrays; ValueError for lengths that differ, or a size that does not fit.

    >>> import jax, numpy as np, stateful as nn
    >>> [x.tolist() for x in nn.batches(np.arange(5), 2, epochs=1)]
    [[0, 1], [2, 3], [4]]
    >>> data = iter(nn.batches(np.arange(6), 2, jax.random.key(0)))
    >>> first, position = next(data), data.get_state()
    >>> position
    {'epoch': 0, 'batch': 1}
    """
    arrays = jax.tree.map(_in_memory, arrays)
    lengths = {len(leaf) for leaf in jax.tree.leaves(arrays)}
    if len(lengths) != 1:
        raise refusal("batches", "arrays must have one first axis", {"its lengths": sorted(lengths)})
    (rows,) = lengths
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= rows:
        raise refusal("batches", f"size must be an integer from 1 to {rows}, the rows there are", {"size": size})
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0):
        raise refusal("batches", "epochs must be None or an integer that is not negative", {"epochs": epochs})
    words = None if rng is None else np.asarray(jax.random.key_data(as_key("batches", rng)))
    return Batches(arrays, rows, int(size), words, epochs, rng is not None if drop_last is None else drop_last)


def _in_memory(leaf: Any) -> Any:
    array = as_numpy_or_jax(leaf)
    if not hasattr(array, "shape") or array.shape == () or array.dtype == object:
        got = {"type": type(leaf).__name__}
        raise refusal("batches", "arrays must be arrays with a first axis", got, kind=TypeError)
    return array


class Batches:
    """What `batches` gives: arrays, cut into batches each time it is iterated."""

    def __init__(self, arrays: Any, rows: int, size: int, words: np.ndarray | None, epochs: int | None, drop: bool):
        self._arrays, self._rows, self._size, self._words = arrays, rows, size, words
        self.epochs = epochs
        self.per_epoch = rows // size if drop else math.ceil(rows / size)

    def __iter__(self) -> "BatchIterator":
        return BatchIterator(self)

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("batches: there is no length without epochs=. One epoch has .per_epoch batches.")
        return self.epochs * self.per_epoch

    def order(self, epoch: int) -> np.ndarray | None:
        """The rows in the order of an epoch; None where they stay in place."""
        if self._words is None:
            return None
        # RandomState's streams are frozen by numpy's policy, so that a run resumes under another numpy
        return np.random.RandomState([*self._words, epoch]).permutation(self._rows)

    def take(self, order: np.ndarray | None, batch: int) -> Any:
        """One batch of an epoch."""
        rows = slice(batch * self._size, (batch + 1) * self._size)
        chosen = rows if order is None else order[rows]
        return jax.tree.map(lambda leaf: leaf[chosen], self._arrays)


class BatchIterator:
    """The position within `Batches`."""

    def __init__(self, source: Batches):
        self._source, self._epoch, self._batch = source, 0, 0
        self._order: tuple[int, Any] = (-1, None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        source = self._source
        if self._batch >= source.per_epoch:
            self._epoch, self._batch = self._epoch + 1, 0
        if source.epochs is not None and self._epoch >= source.epochs:
            raise StopIteration
        if self._order[0] != self._epoch:
            self._order = self._epoch, source.order(self._epoch)
        self._batch += 1
        return source.take(self._order[1], self._batch - 1)

    def get_state(self) -> dict[str, int]:
        """The position, as JSON has it."""
        return {"epoch": self._epoch, "batch": self._batch}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position.

        Args:
            state: from `get_state`, of batches cut alike.

        Errors:
            ValueError for a position that these batches do not have.
        """
        epoch, batch = state["epoch"], state["batch"]
        if not 0 <= batch <= self._source.per_epoch:
            rule = f"a position must lie within an epoch of {self._source.per_epoch} batches"
            raise refusal("batches", rule, {"state": state}, "Cut the arrays as they were cut when it was saved.")
        self._epoch, self._batch = epoch, batch


def check_batches(op: str, source: Any) -> None:
    """Refuses what is no iterable of batches, and what is one batch.

    Args:
        op: name of the caller, for errors.
        source: from the user.

    Errors:
        TypeError for them.
    """
    arrays = isinstance(source, tuple) and all(hasattr(part, "shape") for part in source)
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, str)) or hasattr(source, "shape") or arrays:
        got = {"type(batches)": type(source).__name__}
        remedy = "Cut arrays into batches with nn.batches(arrays, size)."
        raise refusal(op, "batches must be an iterable of batches, not arrays", got, remedy, TypeError)


def check_finite(op: str, source: Any) -> None:
    """Refuses batches to evaluate on that never end.

    Args:
        op: name of the caller, for errors.
        source: from the user.

    Errors:
        ValueError for `batches` without ``epochs``; as `check_batches`.
    """
    check_batches(op, source)
    if isinstance(source, Batches) and source.epochs is None:
        remedy = "nn.batches(arrays, size, epochs=1) ends."
        raise refusal(op, "batches to evaluate on must end", {"epochs": None}, remedy)


class Feed:
    """The batches of a training run: counted over epochs, with a position, moved to the devices ahead of time.

    Args:
        source: any iterable of batches.
        passes: how often it is iterated; None is without end.
        sharding: where batches go; None is the default device.
        ahead: how many batches are moved before they are asked for.
    """

    def __init__(self, source: Iterable[Any], passes: int | None = 1, sharding: Any = None, ahead: int = 2):
        check_batches("fit", source)
        self._source, self._limit, self._sharding, self._ahead = source, passes, sharding, ahead
        self._iterator = iter(source)
        self._passes, self._taken = 0, 0
        self._waiting: deque[tuple[Any, Any]] = deque()
        self._position = self._here()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next batch, on its devices."""
        while len(self._waiting) <= self._ahead and (batch := self._pull()) is not _END:
            self._waiting.append((place(batch, self._sharding), self._here()))
        if not self._waiting:
            raise StopIteration
        batch, self._position = self._waiting.popleft()
        return batch

    def get_state(self) -> dict[str, Any]:
        """The position after the batches that were given out; those that wait count as not seen."""
        return self._position

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position.

        Args:
            state: from `get_state`, of the same source.

        Errors:
            ValueError where the source ends before it.
        """
        self._waiting.clear()
        self._iterator, self._passes, self._taken = iter(self._source), state["passes"], state["taken"]
        if "iterator" in state:
            self._iterator.set_state(_decoded(state["iterator"]))  # type: ignore[attr-defined]
        else:
            for _ in range(self._taken):
                if next(self._iterator, _END) is _END:
                    rule = "batches must give again what they gave before the run stopped"
                    raise refusal("fit", rule, {"batches seen": self._taken}, "Its position has get_state/set_state.")
        self._position = state

    def _pull(self) -> Any:
        batch = next(self._iterator, _END)
        if batch is _END and (self._limit is None or self._passes + 1 < self._limit):
            self._iterator, self._passes, self._taken = iter(self._source), self._passes + 1, 0
            batch = next(self._iterator, _END)  # nothing again: a source that can be iterated once
        self._taken += batch is not _END
        return batch

    def _here(self) -> dict[str, Any]:
        state = {"passes": self._passes, "taken": self._taken}
        if hasattr(self._iterator, "get_state") and hasattr(self._iterator, "set_state"):
            state["iterator"] = _encoded(self._iterator.get_state())
        return state


_END: Any = object()


def _encoded(state: Any) -> Any:
    return {"base64": base64.b64encode(state).decode()} if isinstance(state, bytes) else state


def _decoded(state: Any) -> Any:
    return base64.b64decode(state["base64"]) if isinstance(state, dict) and [*state] == ["base64"] else state


def place(batch: Any, sharding: Any = None) -> Any:
    """Moves a batch to its devices.

    Args:
        batch: pytree of arrays; torch tensors are taken too.
        sharding: a device or a sharding for every leaf, or a pytree of them; None is the default device.

    Returns:
        The same pytree of jax arrays.

    Errors:
        ValueError for 64-bit integers that do not fit where x64 is off: nothing is narrowed to other values.
    """
    batch = jax.tree.map(_fitting, batch)
    return jax.device_put(batch) if sharding is None else jax.device_put(batch, sharding)


def _fitting(leaf: Any) -> Any:
    array = as_numpy_or_jax(leaf)
    narrow = jax.dtypes.canonicalize_dtype(array.dtype)
    if isinstance(array, np.ndarray) and array.dtype != narrow and jnp.issubdtype(narrow, jnp.integer) and array.size:
        bounds = jnp.iinfo(narrow)
        if array.min() < bounds.min or array.max() > bounds.max:
            got = {"dtype": str(array.dtype), "its largest": int(array.max()), "its smallest": int(array.min())}
            remedy = 'Set jax.config.update("jax_enable_x64", True), or make the numbers smaller.'
            raise refusal("batch", f"integers must fit in {narrow}", got, remedy)
    return array


def examples_of(batch: Any) -> int:
    """Counts the examples of a batch.

    Args:
        batch: pytree of arrays.

    Returns:
        The length of the first axis of its first leaf; 1 where there is none.
    """
    shapes: list[Any] = [leaf.shape for leaf in jax.tree.leaves(batch)]
    return shapes[0][0] if shapes and shapes[0] else 1
