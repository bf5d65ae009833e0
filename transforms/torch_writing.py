"""Writes an exported graph of torch down as a `Program`, which knows nothing of torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from purenn.errors import refusal
from purenn.state import as_numpy_or_jax
from transforms.torch_dtypes import numpy_dtype
from transforms.torch_frames import frames_of, innermost_user_line
from transforms.torch_gradients import NAMESPACE, CustomFunction
from transforms.torch_program import Body, Call, Dim, Input, Program, Ref
from transforms.torch_trees import Structure

# Checks of values and shapes: decided at export, or made by the model before it runs.
CHECKS = frozenset({
    "aten._assert_tensor_metadata.default", "aten._assert_scalar.default", "aten._assert_async.msg",
    "aten._assert_async.default", "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
})  # fmt: skip


class Writer:
    """Writes one graph; ``custom`` are the custom autograd functions in it, ``trace`` exports them."""

    def __init__(self, graph_module: Any, custom: Mapping[str, CustomFunction], trace: Callable[..., Program]):
        self._module, self._custom, self._trace = graph_module, custom, trace
        self._bodies: dict[str, Program] = {}
        self._unwritten: list[str] = []
        self._written: dict[str, Ref] = {}  # buffers that an operator changes without saying so in its schema

    def program(self, exported: Any, module: Any) -> Program:
        """The whole exported program.

        Args:
            exported: torch's ExportedProgram.
            module: the torch module.

        Returns:
            The program.
        """
        names = canonical_names(module)
        signature = exported.graph_signature
        inputs = self._inputs(exported, names)
        self._targets = {given.name: given.target for given in inputs if given.kind == "array"}
        calls = self._calls()
        outputs, mutated = self._outputs(signature, names)
        constants = {
            given.target: _to_numpy(exported.constants[given.target]) for given in inputs if given.kind == "constant"
        }
        return Program(
            inputs, calls, outputs, {**mutated, **self._written}, constants, self._bodies,
            structure_of(exported.call_spec.in_spec), structure_of(exported.call_spec.out_spec),
            tuple(self._unwritten),
        )  # fmt: skip

    def body(self) -> Program:
        """A subgraph of a control-flow operator."""
        placeholders = [node for node in self._module.graph.nodes if node.op == "placeholder"]
        calls = self._calls()
        return Program(
            tuple(Input(node.name, "user") for node in placeholders), calls, self._returned(), bodies=self._bodies
        )

    def _inputs(self, exported: Any, names: Mapping[str, str]) -> tuple[Input, ...]:
        nodes = {node.name: node for node in self._module.graph.nodes if node.op == "placeholder"}
        ranges = exported.range_constraints
        inputs = []
        for spec in exported.graph_signature.input_specs:
            kind, name = spec.kind.name, spec.arg.name
            if kind in ("PARAMETER", "BUFFER"):
                inputs.append(Input(name, "array", names[spec.target]))
            elif kind == "CONSTANT_TENSOR":
                inputs.append(Input(name, "constant", spec.target))
            elif kind == "USER_INPUT":
                inputs.append(_user_input(spec.arg, nodes.get(name), ranges))
            else:
                got = {"input": name, "kind": kind}
                raise refusal("from_torch", "a model may hold tensors only", got, kind=TypeError)
        return tuple(inputs)

    def _calls(self) -> tuple[Call, ...]:
        calls: list[Call] = []
        for node in self._module.graph.nodes:
            if node.op == "call_function" and operator_name(node.target) not in CHECKS:
                calls.extend(self._call(node))
        return tuple(calls)

    def _call(self, node: Any) -> list[Call]:
        op = operator_name(node.target)
        args, kwargs = self._value(node.args), {name: self._value(value) for name, value in node.kwargs.items()}
        if op == "aten.embedding_renorm.default":
            args = [self._value(_undetached(node.args[0])), *args[1:]]
        if op in ("aten.as_strided.default", "aten.as_strided_copy.default"):
            op, args = _in_order(op, node, args)
        if op in self._custom:
            args, op = self._custom_bodies(node, op), "purenn.custom_function"
        call = Call(node.name, op, tuple(args), kwargs, **_origin(node), **_result(node))
        if op == "aten.instance_norm.default" and node.args[3] is not None and node.args[5]:
            return self._instance_norm_update(call)
        return [call]

    def _instance_norm_update(self, call: Call) -> list[Call]:
        """Its schema hides that the running statistics change."""
        place: dict[str, Any] = {
            name: getattr(call, name) for name in ("path", "cls", "source", "code", "frames")
        }  # fmt: skip
        statistics = [self._written.get(self._targets.get(ref.name, ""), ref) for ref in call.args[3:5]]
        args = (*call.args[:3], *statistics, *call.args[6:8])
        update = Call(f"{call.name}_update", "purenn.instance_norm_update", args, {}, **place)
        parts = [
            Call(name, "_operator.getitem", (Ref(update.name), i), {}, **place)
            for i, name in enumerate((call.name, f"{call.name}_mean", f"{call.name}_var"))
        ]
        for ref, part in zip(call.args[3:5], parts[1:], strict=True):
            if ref.name in self._targets:
                self._written[self._targets[ref.name]] = Ref(part.name)
        return [update, *parts]

    def _custom_bodies(self, node: Any, op: str) -> list[Any]:
        function, tensors = self._custom[op], node.args[0]
        examples = [example(tensor.meta["val"]) for tensor in tensors]
        gradients = [example(value) for value in node.meta["val"]]
        name = op.removeprefix(f"{NAMESPACE}.").removesuffix(".default")
        forward = self._custom_body(f"{name}_forward", function.forward, (examples,))
        try:
            backward: Any = self._custom_body(f"{name}_backward", function.backward, (examples, gradients))
        except ValueError as error:  # only who differentiates needs it
            backward = str(error)
        return [forward, backward, self._value(tensors)]

    def _custom_body(self, name: str, fn: Callable[..., Any], given: tuple[Any, ...]) -> Body:
        run = as_module(fn, name.rpartition("_")[2])
        self._bodies[name] = self._trace(run, given, {}, _automatic(given), False)
        return Body(name)

    def _value(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.fx.Node):
            return self._attribute(value) if value.op == "get_attr" else Ref(value.name)
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if isinstance(value, Mapping):
            return {name: self._value(item) for name, item in value.items()}
        if isinstance(value, torch.dtype):
            return numpy_dtype(value)
        if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
            return None
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return value.node.maybe_as_int() if isinstance(value, torch.SymInt) else value.node.hint
        return value

    def _attribute(self, node: Any) -> Body:
        inner = getattr(self._module, node.target)
        if node.target not in self._bodies:
            self._bodies[node.target] = Writer(inner, self._custom, self._trace).body()
        return Body(node.target)

    def _returned(self) -> tuple[Any, ...]:
        (node,) = [node for node in self._module.graph.nodes if node.op == "output"]
        out = self._value(node.args[0])
        return tuple(out) if isinstance(out, (list, tuple)) else (out,)

    def _outputs(self, signature: Any, names: Mapping[str, str]) -> tuple[tuple[Any, ...], dict[str, Ref]]:
        outputs, mutated = [], {}
        for spec, value in zip(signature.output_specs, self._returned(), strict=True):
            kind = spec.kind.name
            if kind == "BUFFER_MUTATION":
                mutated[names[spec.target]] = value
            elif kind == "USER_OUTPUT":
                outputs.append(value)
            elif not (kind == "PARAMETER_MUTATION" and self._renormalises(value)):
                self._unwritten.append(("parameter " if kind == "PARAMETER_MUTATION" else "input ") + spec.target)
        return tuple(outputs), mutated

    def _renormalises(self, value: Ref) -> bool:
        (node,) = [node for node in self._module.graph.nodes if node.name == value.name]
        return operator_name(node.target) == "aten.embedding_renorm.default"


def _in_order(op: str, node: Any, args: list[Any]) -> tuple[str, list[Any]]:
    """as_strided of a view counts its elements as they lie in memory, which the operator has to be told."""
    value = node.args[0].meta["val"]
    if value.is_contiguous():
        return op, args
    order = sorted(range(value.dim()), key=value.stride, reverse=True)
    if not value.permute(order).is_contiguous():
        got = {"shape": tuple(value.shape), "stride": tuple(value.stride())}
        remedy = "Call .contiguous() before it."
        raise refusal("from_torch", "as_strided must be of a tensor without gaps", got, remedy, NotImplementedError)
    offset = args[3] if len(args) > 3 else None
    return "purenn.as_strided", [*args[:3], offset, order]


def _undetached(node: Any) -> Any:
    """The table itself: it is renormalised under no_grad, but looked up with a gradient."""
    while node.op == "call_function" and operator_name(node.target) in ("aten.detach.default", "aten.alias.default"):
        node = node.args[0]
    return node


def operator_name(target: Any) -> str:
    """The name of an operator in the table.

    Args:
        target: of a node: an aten overload, a higher-order operator or a Python function.

    Returns:
        For example ``aten.add.Tensor``, ``cond``, ``_operator.mul``.
    """
    if hasattr(target, "_schema") or not hasattr(target, "__module__") or "higher_order" in type(target).__module__:
        return str(target)
    if type(target).__name__ in ("function", "builtin_function_or_method"):
        return f"{target.__module__}.{target.__name__}"
    return str(target)


def canonical_names(module: Any) -> dict[str, str]:
    """For each name of a parameter or buffer the first name of the same tensor.

    Args:
        module: torch.nn.Module.

    Returns:
        ``{name: first name}``.
    """
    first: dict[int, str] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}


def structure_of(spec: Any) -> Structure:
    """Torch's TreeSpec as a `Structure`.

    Args:
        spec: of arguments or of results.

    Returns:
        The structure.
    """
    if spec.is_leaf():
        return Structure("leaf")
    children = tuple(structure_of(child) for child in spec.children())
    # torch registers the function namedtuple for all of its classes, and keeps the class beside it
    cls = spec.type if isinstance(spec.type, type) else spec.context
    if cls in (tuple, list):
        return Structure(cls.__name__, children)
    if issubclass(cls, dict) and cls.__name__ in ("dict", "OrderedDict", "defaultdict", "immutable_dict"):
        return Structure("dict", children, tuple(_keys(spec)))
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return Structure("named", children, tuple(cls._fields), cls.__name__)
    return Structure("record", children, _names_in(spec.context, len(children)), cls.__name__)


def _keys(spec: Any) -> Any:
    """Of a dict; one with a default for missing keys keeps that before them."""
    return spec.context[1] if spec.type.__name__ == "defaultdict" else spec.context


def _names_in(context: Any, count: int) -> tuple[str, ...]:
    """The names of a registered class's fields, as far as what it keeps of itself tells them."""
    for part in (context, *(context if isinstance(context, (list, tuple)) else ())):
        if isinstance(part, (list, tuple)) and len(part) == count and all(isinstance(name, str) for name in part):
            return tuple(part)
    return tuple(map(str, range(count)))


def _user_input(argument: Any, node: Any, ranges: Mapping[Any, Any]) -> Input:
    import torch

    if type(argument).__name__ == "ConstantArgument":
        return Input(argument.name, "user", fixed=True, value=argument.value)
    value = node.meta["val"]
    if isinstance(value, torch.Tensor):
        dims = tuple(_dim(size, ranges) for size in value.shape)
        return Input(argument.name, "user", dims=dims, dtype=numpy_dtype(value.dtype))
    return Input(argument.name, "user")


def _dim(size: Any, ranges: Mapping[Any, Any]) -> Dim:
    if isinstance(size, int):
        return Dim(size)
    expression = size.node.expr
    if expression.is_number:
        return Dim(int(expression))
    if not expression.is_symbol:
        return Dim()
    bounds = ranges.get(expression)
    if bounds is None:
        return Dim(symbol=str(expression))
    most = int(bounds.upper) if bounds.upper.is_Integer else None
    least = int(bounds.lower) if bounds.lower.is_Integer else 0
    # torch assumes at least 2 where it was not told otherwise, and does not hold callers to it
    return Dim(symbol=str(expression), least=least if least > 2 else 0, most=most)


def _origin(node: Any) -> dict[str, Any]:
    frames = frames_of(node)
    path, cls = (frames[-1].path, frames[-1].cls) if frames else ("", "")
    source, code = innermost_user_line(node)
    return {"path": path, "cls": cls, "source": source, "code": code, "frames": frames}


def _result(node: Any) -> dict[str, Any]:
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return {}
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return {"shape": shape, "dtype": str(value.dtype).removeprefix("torch.")}


def _to_numpy(tensor: Any) -> np.ndarray:
    return np.array(as_numpy_or_jax(tensor))


def example(value: Any) -> Any:
    """A tensor like one that was traced, where a symbol's length is the one it was traced with.

    Args:
        value: a fake tensor.

    Returns:
        Zeros.
    """
    import torch

    sizes = [size if isinstance(size, int) else size.node.hint for size in value.shape]
    return torch.zeros(sizes, dtype=value.dtype)


def as_module(fn: Callable[..., Any], name: str) -> Any:
    """A function as a torch module, to be exported.

    Args:
        fn: of tensors.
        name: ``"forward"`` or ``"backward"`` of a `CustomFunction`.

    Returns:
        torch.nn.Module.
    """
    import torch

    class Run(torch.nn.Module):
        def forward(self, *args: Any) -> Any:
            out = fn(*args)
            return out[1] if name == "forward" else out

    return Run()


def _automatic(given: Any) -> Any:
    """All lengths free, as far as the function leaves them so."""
    import torch

    dims = [[dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO) for tensor in group] for group in given]
    return {"args": tuple(dims)}
