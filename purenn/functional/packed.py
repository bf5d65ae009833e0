"""Sequences of unequal length as one array: padded, with their lengths, and packed to whoever asks for that.

torch packs: it sorts the sequences by length and lays the first steps of all of them behind each other, then the
second steps of those that have one, and so on. The number of steps would then be a shape that depends on values, which
no compiled program can have. So a `PackedSequence` here keeps the padded array, and shows torch's fields on demand.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purenn import checks
from purenn.errors import as_array, refusal
from purenn.functional.rnn import pad_sequence, unpad_sequence


@jax.tree_util.register_pytree_node_class
class PackedSequence:
    """N sequences of unequal length; what `pack_padded_sequence` and `pack_sequence` give, and recurrent layers take.

    Args:
        data: ``(steps, *)``, the packed steps of all sequences.
        batch_sizes: number of sequences that have a first step, a second one, ...; not traced.
        sorted_indices: ``(N,)``, the sequences by falling length; None: they are in that order.
        unsorted_indices: ``(N,)``, the inverse of ``sorted_indices``, which it follows from.

    Torch:
        ``torch.nn.utils.rnn.PackedSequence``; it keeps ``padded`` (L, N, *) and ``lengths`` (N,), so that it can pass
        through jit, where ``data`` and ``batch_sizes`` can be read only if ``lengths`` are no tracer.
    """

    padded: jax.Array
    lengths: Any
    is_sorted: bool

    def __init__(self, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None):
        del unsorted_indices
        if batch_sizes is None:
            data, batch_sizes = data
        data, sizes = as_array("PackedSequence", "data", data), _values("PackedSequence", "batch_sizes", batch_sizes)
        if sizes.ndim != 1 or sizes.sum() != len(data) or (np.diff(sizes) > 0).any():
            got = {"batch_sizes": sizes.tolist(), "data.shape": data.shape}
            raise refusal("PackedSequence", "batch_sizes must fall and sum to the length of data", got)
        lengths = (np.arange(sizes.max(initial=0))[None] < sizes[:, None]).sum(0)
        order = None if sorted_indices is None else _values("PackedSequence", "sorted_indices", sorted_indices)
        if order is not None:
            lengths[order] = lengths.copy()
        step, sequence = _positions(lengths)
        empty = jnp.zeros((len(sizes), len(lengths), *data.shape[1:]), data.dtype)
        self._set(empty.at[step, sequence].set(data), lengths.astype(np.int32), order is None)

    def _set(self, padded: Any, lengths: Any, is_sorted: bool) -> None:
        self.padded, self.lengths, self.is_sorted = padded, lengths, is_sorted

    @classmethod
    def of(cls, padded: Any, lengths: Any, is_sorted: bool = False) -> "PackedSequence":
        """Takes padded sequences.

        Args:
            padded: ``(L, N, *)``, filled up at the end.
            lengths: ``(N,)``, integers from 1 to L.
            is_sorted: whether the lengths fall, so that there are no ``sorted_indices``.

        Returns:
            The sequences.
        """
        packed = object.__new__(cls)
        packed._set(padded, lengths, is_sorted)
        return packed

    def with_padded(self, padded: jax.Array) -> "PackedSequence":
        """Replaces the numbers.

        Args:
            padded: ``(L, N, *)``, as `padded` but for what follows N.

        Returns:
            Sequences of the same lengths.
        """
        return type(self).of(padded, self.lengths, self.is_sorted)

    @property
    def data(self) -> jax.Array:
        """The packed steps, ``(steps, *)``."""
        return self.padded[_positions(_values("PackedSequence.data", "lengths", self.lengths))]

    @property
    def batch_sizes(self) -> np.ndarray:
        """Number of sequences that have a first step, a second one, ..., ``(max(lengths),)``."""
        lengths = _values("PackedSequence.batch_sizes", "lengths", self.lengths)
        return (np.arange(lengths.max(initial=0))[:, None] < lengths).sum(1)

    @property
    def sorted_indices(self) -> np.ndarray | None:
        """The sequences by falling length, ``(N,)``; None where they came so."""
        lengths = _values("PackedSequence.sorted_indices", "lengths", self.lengths)
        return None if self.is_sorted else _falling(lengths)

    @property
    def unsorted_indices(self) -> np.ndarray | None:
        """The inverse of ``sorted_indices``."""
        order = self.sorted_indices
        return None if order is None else np.argsort(order, kind="stable")

    def __iter__(self) -> Iterator[Any]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __repr__(self) -> str:
        shape, dtype = tuple(self.padded.shape), self.padded.dtype
        return f"PackedSequence(padded={dtype}{list(shape)}, lengths={self.lengths})"

    def tree_flatten(self) -> tuple[tuple[Any, Any], bool]:
        """The arrays; the numbers for jax."""
        return (self.padded, self.lengths), self.is_sorted

    @classmethod
    def tree_unflatten(cls, is_sorted: bool, arrays: Any) -> "PackedSequence":
        """Inverse of `tree_flatten`."""
        padded, lengths = arrays
        return cls.of(padded, lengths, is_sorted)


def _values(op: str, name: str, value: Any) -> np.ndarray:
    if checks.is_traced(value):
        remedy = "Pass them as static values, or read padded and lengths."
        raise refusal(op, f"{name} must have values when traced", {name: "a tracer"}, remedy)
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise refusal(op, f"{name} must be integers", {f"{name}.dtype": str(array.dtype)}, kind=TypeError)
    return array


def _falling(lengths: np.ndarray) -> np.ndarray:
    return np.argsort(-lengths.astype(np.int64), kind="stable")


def _positions(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the packed steps lie in the padded array: (step, sequence)."""
    order = _falling(lengths)
    step, rank = np.nonzero(np.arange(lengths.max(initial=0))[:, None] < lengths[order])
    return step, order[rank]


def pack_padded_sequence(
    input: jax.Array, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Takes padded sequences with their lengths.

    Args:
        input: ``(L, N, *)``, or ``(N, L, *)`` with ``batch_first``; filled up at the end.
        lengths: ``(N,)``, integers from 1 to L.
        batch_first: whether the batch is the first axis.
        enforce_sorted: whether the lengths fall; otherwise the sequences are sorted wherever torch's order shows.

    Returns:
        The sequences; what follows the longest is cut off, if the lengths have values.

    Errors:
        TypeError: the lengths are no integers.
        ValueError: the shapes do not fit, a length is not from 1 to L, or the lengths do not fall.

    Torch:
        ``torch.nn.utils.rnn.pack_padded_sequence``, differs in that the result stays padded inside.
    """
    op = "pack_padded_sequence"
    x = as_array(op, "input", input)
    if x.ndim < 2:
        raise refusal(op, "input must be at least 2-D", {"input.shape": x.shape})
    x = x.swapaxes(0, 1) if batch_first else x
    if not checks.is_traced(lengths):
        lengths = _values(op, "lengths", lengths).astype(np.int32)
    if lengths.shape != x.shape[1:2]:
        raise refusal(op, "lengths must be (N,)", {"lengths.shape": lengths.shape, "N": x.shape[1]})
    if checks.is_traced(lengths):
        return PackedSequence.of(x, lengths, enforce_sorted)
    if len(lengths) == 0 or lengths.min() < 1 or lengths.max() > len(x):
        raise refusal(op, f"lengths must lie in [1, {len(x)}]", {"lengths": lengths.tolist()})
    if enforce_sorted and (np.diff(lengths) > 0).any():
        raise refusal(op, "lengths must fall", {"lengths": lengths.tolist()}, "Pass enforce_sorted=False.")
    return PackedSequence.of(x[: lengths.max()], lengths, enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[jax.Array, Any]:
    """Gives sequences back as a padded array and their lengths.

    Args:
        sequence: the sequences.
        batch_first: gives ``(N, L, *)``.
        padding_value: what follows the end of a sequence.
        total_length: L; the longest length by default.

    Returns:
        ``(L, N, *)`` and the lengths ``(N,)``.

    Errors:
        ValueError: ``total_length`` is less than L.

    Torch:
        ``torch.nn.utils.rnn.pad_packed_sequence``, identical.
    """
    x, lengths = sequence.padded, sequence.lengths
    L = len(x)
    if total_length is not None and total_length < L:
        got = {"total_length": total_length, "L": L}
        raise refusal("pad_packed_sequence", "total_length must not be less than the longest length", got)
    valid = jnp.arange(L)[:, None] < jnp.asarray(lengths)
    x = jnp.where(valid.reshape(*valid.shape, *[1] * (x.ndim - 2)), x, padding_value).astype(x.dtype)
    more = [(0, (total_length or L) - L), *[(0, 0)] * (x.ndim - 1)]
    x = jnp.pad(x, more, constant_values=padding_value)
    return x.swapaxes(0, 1) if batch_first else x, lengths


def pack_sequence(sequences: Sequence[jax.Array], enforce_sorted: bool = True) -> PackedSequence:
    """Takes sequences.

    Args:
        sequences: N arrays ``(L_n, *)``.
        enforce_sorted: whether the lengths fall.

    Returns:
        The sequences as one object.

    Torch:
        ``torch.nn.utils.rnn.pack_sequence``, identical.
    """
    sequences = list(sequences)
    padded = pad_sequence(sequences)
    return pack_padded_sequence(padded, np.array([len(x) for x in sequences]), enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[jax.Array]:
    """Gives sequences back as a list.

    Args:
        packed_sequences: the sequences; their lengths must have values.

    Returns:
        N arrays ``(lengths[n], *)``.

    Torch:
        ``torch.nn.utils.rnn.unpack_sequence``, identical.
    """
    return unpad_sequence(packed_sequences.padded, packed_sequences.lengths)


def invert_permutation(permutation: Any) -> Any:
    """Inverts a permutation.

    Args:
        permutation: ``(N,)``, or None.

    Returns:
        ``(N,)`` with ``out[permutation[n]] = n``, or None.

    Torch:
        ``torch.nn.utils.rnn.invert_permutation``, identical.
    """
    return None if permutation is None else jnp.argsort(jnp.asarray(permutation))
