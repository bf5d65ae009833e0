"""Functions that torch.export cannot take: each is recorded as one operator while a module is exported.

Some look at values (the losses check theirs, the transformer compares its mask), some give shapes that depend on values
(packed sequences), recurrent layers fix the number of steps. As operators of the namespace ``purenn_whole`` they are
what purenn.functional has. ``tensor.data``, which torch.export loses sight of, is ``tensor.detach()``.

A packed sequence stays padded inside: its data are the rows of all steps, those past a sequence's end with it.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from purenn.errors import refusal

NAMESPACE = "purenn_whole"
_SCHEMAS = (
    "ctc_loss(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank, str reduction, "
    "bool zero_infinity) -> Tensor",
    "gaussian_nll_loss(Tensor input, Tensor target, Tensor var, bool full, float eps, str reduction) -> Tensor",
    "pack(Tensor input, Tensor lengths, bool batch_first) -> Tensor",
    "pad_packed(Tensor data, Tensor lengths, bool batch_first, float padding_value, SymInt total_length) -> Tensor",
    "recurrent(str mode, Tensor input, Tensor? lengths, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, "
    "float dropout, bool train, bool bidirectional, bool batch_first) -> Tensor[]",
)
# What may be done to the rows of a packed sequence: what treats each of them alike.
_EACH_ROW = (
    "linear", "dropout", "relu", "gelu", "tanh", "sigmoid", "silu", "elu", "leaky_relu", "layer_norm", "embedding",
    "_to_copy", "clone", "contiguous", "detach", "alias",
)  # fmt: skip
_within: ContextVar[bool] = ContextVar("within", default=False)


@contextlib.contextmanager
def keep_whole() -> Iterator[None]:
    """Records the functions of this module as operators.

    Yields:
        Nothing; within, torch calls them as it calls its own.
    """
    import torch
    from torch.nn.modules import transformer
    from torch.nn.modules.batchnorm import _BatchNorm

    if _within.get():  # a custom autograd function inside is exported by itself
        yield
        return
    library = torch.library.Library(NAMESPACE, "FRAGMENT")
    for schema in _SCHEMAS:
        name = schema.partition("(")[0]
        library.define(schema)
        library.impl(name, _FAKES[name], "CompositeExplicitAutograd")
        torch.library.register_fake(f"{NAMESPACE}::{name}", _FAKES[name], lib=library)
    detect, normalise = transformer._detect_is_causal_mask, _BatchNorm.forward
    # it compares the mask's values, to leave a mask out that says no more than is_causal
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)
    setattr(_BatchNorm, "forward", _normalise(normalise))  # noqa: B010  # a method is replaced
    before = _within.set(True)
    try:
        with _mode():
            yield
    finally:
        _within.reset(before)
        transformer._detect_is_causal_mask = detect
        setattr(_BatchNorm, "forward", normalise)  # noqa: B010
        library._destroy()


def _mode() -> Any:
    """What turns calls of these functions into operators."""
    from torch.overrides import TorchFunctionMode

    handlers = _handlers()

    class Whole(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            handler = handlers.get(func)
            out = NotImplemented if handler is None else handler(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {})) if out is NotImplemented else out

    return Whole()


def _handlers() -> dict[Any, Callable[..., Any]]:
    import torch

    data: Any = torch.Tensor.data
    recurrent = {
        "lstm": torch._VF.lstm,
        "gru": torch._VF.gru,
        "rnn_tanh": torch._VF.rnn_tanh,
        "rnn_relu": torch._VF.rnn_relu,
    }
    return {
        torch.nn.functional.ctc_loss: _ctc_loss,
        torch.nn.functional.gaussian_nll_loss: _gaussian_nll_loss,
        torch._VF._pack_padded_sequence: _pack,
        torch._VF._pad_packed_sequence: _pad_packed,
        **{fn: _recurrent(name) for name, fn in recurrent.items()},
        data.__get__: torch.Tensor.detach,
        data.__set__: _set_data,
    }


def _ops() -> Any:
    import torch

    return getattr(torch.ops, NAMESPACE)


def _normalise(original: Any) -> Any:
    """Batch norm's forward; for the average of all batches (``momentum=None``) torch reads how many there were."""
    import torch

    def forward(self: Any, input: Any) -> Any:
        if self.momentum is not None or not (self.training and self.track_running_stats):
            return original(self, input)
        self._check_input_dim(input)
        self.num_batches_tracked.add_(1)
        var, mean = torch.var_mean(input.detach(), [0, *range(2, input.dim())])
        for running, value in ((self.running_mean, mean), (self.running_var, var)):
            running.add_((value - running) / self.num_batches_tracked)
        return torch.nn.functional.batch_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)

    return forward


def _set_data(self: Any, value: Any) -> Any:
    return self.detach().copy_(value) if self.shape == value.shape else NotImplemented


def _ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    import torch

    lengths = [torch.as_tensor(given) for given in (input_lengths, target_lengths)]
    return _ops().ctc_loss(log_probs, targets, *lengths, blank, reduction, zero_infinity)


def _gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    import torch

    return _ops().gaussian_nll_loss(input, target, torch.as_tensor(var), full, eps, reduction)


class BatchSizes:
    """Stands for the batch sizes of a packed sequence: torch's layers ask it for the batch and the longest length."""

    def __init__(self, lengths: Any, steps: Any):
        self.lengths, self.steps = lengths, steps
        self.device = lengths.device

    def __getitem__(self, step: int) -> Any:
        if step != 0:
            remedy = "Only the first is known before the lengths are."
            raise refusal("from_torch", "batch_sizes must not be read", {"step": step}, remedy, NotImplementedError)
        return self.lengths.shape[0]

    def size(self, axis: int = 0) -> Any:
        """The number of steps."""
        return self.steps

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Lets torch's functions take it where they take a tensor."""
        return NotImplemented


def _pack(input: Any, lengths: Any, batch_first: bool) -> Any:
    return _ops().pack(input, lengths, batch_first), BatchSizes(lengths, input.shape[1 if batch_first else 0])


def _pad_packed(data: Any, sizes: Any, batch_first: bool, padding_value: float, total_length: Any) -> Any:
    return _ops().pad_packed(data, sizes.lengths, batch_first, padding_value, total_length), sizes.lengths


def _recurrent(name: str) -> Callable[..., Any]:
    import torch

    def record(input: Any, second: Any, third: Any, *options: Any) -> Any:
        """Torch's two calls: ``(input, hx, params, ...)``, and ``(data, batch_sizes, hx, params, ...)``."""
        if isinstance(second, BatchSizes):
            lengths, hx, params = second.lengths, third, options[0]
            options = (*options[1:], False)
        elif isinstance(input.shape[1 if options[-1] and input.dim() == 3 else 0], torch.SymInt):
            lengths, hx, params = None, second, third
        else:
            return NotImplemented  # torch's own operator does as well
        hx = list(hx) if isinstance(hx, (list, tuple)) else [hx]
        return tuple(_ops().recurrent(name, input, lengths, hx, list(params), *options))

    return record


def _fake_ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: str,
                   zero_infinity: bool) -> Any:  # fmt: skip
    return log_probs.new_empty(log_probs.shape[1:2] if reduction == "none" else ())


def _fake_gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool, eps: float, reduction: str) -> Any:
    import torch

    shape = torch.broadcast_shapes(input.shape, target.shape)
    return input.new_empty(shape if reduction == "none" else ())


def _fake_pack(input: Any, lengths: Any, batch_first: bool) -> Any:
    return input.new_empty((input.shape[0] * input.shape[1], *input.shape[2:]))


def _fake_pad_packed(data: Any, lengths: Any, batch_first: bool, padding_value: float, total_length: Any) -> Any:
    N = lengths.shape[0]
    axes = (N, total_length) if batch_first else (total_length, N)
    return data.new_empty((*axes, *data.shape[1:]))


def _fake_recurrent(mode: str, input: Any, lengths: Any, hx: Any, params: Any, has_biases: bool, num_layers: int,
                    dropout: float, train: bool, bidirectional: bool, batch_first: bool) -> Any:  # fmt: skip
    width = hx[0].shape[-1] * (1 + bidirectional)
    return [input.new_empty((*input.shape[:-1], width)), *(state.new_empty(state.shape) for state in hx)]


_FAKES: dict[str, Callable[..., Any]] = {
    "ctc_loss": _fake_ctc_loss, "gaussian_nll_loss": _fake_gaussian_nll_loss, "pack": _fake_pack,
    "pad_packed": _fake_pad_packed, "recurrent": _fake_recurrent,
}  # fmt: skip


def check_packed(graph: Any) -> None:
    """Refuses what would read the rows of a packed sequence past the ends of its sequences.

    Args:
        graph: of torch.fx, of operators.

    Errors:
        NotImplementedError that names the operator.
    """
    packed: set[Any] = set()
    for node in graph.nodes:
        touched = packed.intersection(node.all_input_nodes)
        op = str(node.target)
        if op == f"{NAMESPACE}.pack.default" or (touched and _gives_rows(op, node, packed)):
            packed.add(node)
        elif touched and not op.startswith(f"{NAMESPACE}.") and "getitem" not in op:
            got = {"operator": "a result of the model" if node.op == "output" else op}
            remedy = "Call pad_packed_sequence before it."
            rule = "a packed sequence must go through recurrent layers and functions of each step alone"
            raise refusal("from_torch", rule, got, remedy, NotImplementedError)


def _gives_rows(op: str, node: Any, packed: set[Any]) -> bool:
    """Whether a node's result has the rows of a packed sequence too; of a recurrent layer, the first result has."""
    if op == f"{NAMESPACE}.recurrent.default":
        return True
    if "getitem" in op:
        return node.args[1] == 0
    return op.startswith("aten.") and op.split(".")[1] in _EACH_ROW and node.args[0] in packed
