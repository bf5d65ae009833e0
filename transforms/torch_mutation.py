"""Which exported graphs write into tensors: only those need torch's second pass, which makes them functional.

The pass runs the whole graph once more through torch's tracer and takes longer than the export itself. Most models
write into nothing, or only into what a layer has just made (``relu_`` after a convolution, ``+=`` on its result),
which is the plain operator and needs no pass.
"""

from typing import Any

# In place operators that are plain ones on a tensor of their own.
_IN_PLACE = (
    "relu.default", "relu6.default", "hardtanh.default", "silu.default", "hardswish.default", "hardsigmoid.default",
    "leaky_relu.default", "elu.default", "sigmoid.default", "tanh.default", "clamp.default", "add.Tensor", "sub.Tensor",
    "mul.Tensor", "div.Tensor", "masked_fill.Scalar", "detach.default",
)  # fmt: skip
# Operators whose result shares memory with nothing, whatever their arguments are.
_FRESH = {f"aten.{name}" for name in _IN_PLACE if name != "detach.default"} | {
    f"aten.{name}"
    for name in (
        "linear.default", "conv1d.default", "conv2d.default", "conv3d.default", "conv_transpose1d.default",
        "conv_transpose2d.input", "conv_transpose3d.input", "conv1d.padding", "conv2d.padding", "conv3d.padding",
        "batch_norm.default", "layer_norm.default", "group_norm.default", "rms_norm.default", "instance_norm.default",
        "rsub.Scalar", "neg.default", "matmul.default", "bmm.default", "mm.default", "addmm.default", "baddbmm.default",
        "gelu.default", "softmax.int", "exp.default", "sqrt.default", "rsqrt.default", "pow.Tensor_Scalar", "mean.dim",
        "sum.dim_IntList", "embedding.default", "where.self", "cat.default", "stack.default", "clone.default",
        "zeros.default", "ones.default", "full.default", "zeros_like.default", "ones_like.default", "full_like.default",
        "arange.default", "arange.start", "arange.start_step", "lift_fresh_copy.default", "max_pool2d.default",
        "avg_pool2d.default", "adaptive_avg_pool2d.default", "scaled_dot_product_attention.default",
    )
}  # fmt: skip


def make_plain(exported: Any) -> bool:
    """Takes the writes out of a graph, as far as they are plain to see.

    Args:
        exported: torch's ExportedProgram, not yet functional; changed in place, and right either way.

    Returns:
        Whether the graph writes into nothing now.
    """
    module = exported.graph_module
    for node in list(module.graph.nodes):
        if _is_plain_write(node):
            _replace(exported, node)
    module.recompile()
    return not any(map(_may_write, module.graph.nodes))


def drop_idle_dropout(exported: Any) -> None:
    """Takes dropout that does nothing out where its input or result is written into.

    It hands its input on, so both are one tensor; torch's pass, which only sees an operator, takes them for two.

    Args:
        exported: torch's ExportedProgram, not yet functional; changed in place.
    """
    nodes = list(exported.graph_module.graph.nodes)
    written = {_base(node.args[0]) for node in nodes if _is_write(node)}
    for node in nodes:
        if _is_idle_dropout(node) and _base(node) in written:
            node.replace_all_uses_with(node.args[0])
            exported.graph_signature.replace_all_uses(node.name, node.args[0].name)
            node.graph.erase_node(node)
    exported.graph_module.recompile()


def _is_write(node: Any) -> bool:
    return node.op == "call_function" and hasattr(node.target, "_schema") and node.target._schema.is_mutable


def _is_idle_dropout(node: Any) -> bool:
    names = ("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
    return str(node.target) in names and (not node.args[2] or node.args[1] == 0)


def _base(node: Any) -> Any:
    """The tensor whose memory a view shows."""
    while node.op == "call_function" and (_is_idle_dropout(node) or _is_part(node)):
        node = node.args[0]
    return node


def _is_part(node: Any) -> bool:
    if not hasattr(node.target, "_schema"):
        return str(node.target) == "<built-in function getitem>"
    returns = node.target._schema.returns
    return bool(returns and returns[0].alias_info is not None) and hasattr(node.args[0], "op")


def _may_write(node: Any) -> bool:
    """Also in a subgraph, or without its schema saying so."""
    import torch

    if node.op != "call_function":
        return node.op not in ("placeholder", "output")
    hidden = str(node.target) == "aten.batch_norm.default" and node.args[5]
    return bool(hidden) or _is_write(node) or isinstance(node.target, torch._ops.HigherOrderOperator)


def _is_plain_write(node: Any) -> bool:
    """Whether a write changes only its own result: a fresh tensor that nothing else has a view of."""
    if node.op != "call_function" or _plain_name(node) not in _IN_PLACE:
        return False
    written = node.args[0]
    before = [user for user in written.users if user < node]
    alone = all(str(user.target) in _FRESH for user in before)
    return str(written.target) in _FRESH and alone and all(_keeps(written, other) for other in node.args[1:])


def _plain_name(node: Any) -> str:
    name, _, overload = str(node.target).removeprefix("aten.").partition(".")
    return f"{name[:-1]}.{overload}" if name.endswith("_") else ""


def _keeps(written: Any, other: Any) -> bool:
    """Whether the plain operator has the dtype and the shape of what was written into."""
    import torch

    value = getattr(other, "meta", {}).get("val")
    if not isinstance(value, torch.Tensor):
        return True
    own = written.meta["val"]
    if value.dtype not in (own.dtype, torch.bool):
        return False
    if [*map(str, value.shape)] == [*map(str, own.shape)]:
        return True
    fixed = all(isinstance(size, int) for size in (*value.shape, *own.shape))
    return fixed and torch.broadcast_shapes(value.shape, own.shape) == own.shape


def _replace(exported: Any, node: Any) -> None:
    import torch

    name, overload = _plain_name(node).split(".")
    written, graph = node.args[0], node.graph
    with graph.inserting_before(node):
        plain = graph.call_function(getattr(getattr(torch.ops.aten, name), overload), node.args, node.kwargs)
    plain.meta = dict(node.meta)
    for old in (node, written):
        old.replace_all_uses_with(plain, delete_user_cb=lambda user: user > plain)
        exported.graph_signature.replace_all_uses(old.name, plain.name)
    graph.erase_node(node)
