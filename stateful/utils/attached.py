"""Attached: a weight computed from arrays that lie beside it in its module, as torch's older functions have them."""

from dataclasses import dataclass
from typing import Any

from purenn.errors import refusal
from purenn.model import Keys, Leaf
from purenn.random import fold_name
from stateful.computed import Computed
from stateful.module import Module
from stateful.node import changed
from stateful.parameter import BufferCell, Cell, Parameter
from stateful.random import key_of, take_ticket
from transforms.claiming import claim
from transforms.claims import Arrays, Claim
from transforms.parametrization import Parametrization


@dataclass(frozen=True)
class Attached(Computed):
    """The attribute that a parametrization computes from other attributes of the module.

    Args:
        claim: the weight's name, what computes it, and the names of the arrays.
        leaf: declaration of the weight.
    """

    claim: Claim
    leaf: Leaf

    def arrays(self, node: Any) -> Arrays:
        """The arrays by name.

        Args:
            node: the module, or its copy of a call.

        Returns:
            ``{name: array}``.
        """
        values = {name: getattr(node, name) for name in self.claim.leaves()}
        return {name: value.array() if isinstance(value, Cell) else value for name, value in values.items()}

    def read(self, node: Any) -> Any:
        """Computes the weight; buffers stay as they are."""
        return self.claim.compute(self.arrays(node), Keys(None), False)[0]

    def write(self, node: Any, value: Any) -> None:
        """Refuses: torch would forget the value at the next call."""
        del value
        kept = ", ".join(self.claim.leaves())
        name = f"{type(node).__name__}.{self.claim.path}"
        raise RuntimeError(f"{name}: it is computed from {kept}. Assign those, or remove the parametrization first.")

    def start(self, node: Any, rng: Any, params: dict[str, Any], buffers: dict[str, Any]) -> None:
        """Draws the weight as the plain module does, and what it is computed from out of it."""
        del node
        names = self.claim.leaves()
        drawn = {**params, **buffers}
        if not all(name in drawn for name in names):
            return  # shared, and drawn where it comes first
        name = self.claim.path
        weight = self.leaf.draw(fold_name(rng, name))
        kept = self.claim.start(weight, Keys.root(name, rng), exact=False, own=drawn)
        for name, array in kept.items():
            (params if name in params else buffers)[name] = array


def attach(
    op: str, module: Module, name: str, p: Parametrization, kind: type[Attached] = Attached, **more: Any
) -> None:
    """Computes a parameter of a module from arrays beside it.

    Args:
        op: name of the caller.
        module: changed in place.
        name: of the parameter.
        p: pure; its `place` names the arrays.
        kind: class of the attribute.
        **more: for the class.

    Errors:
        ValueError where there is no such parameter. RuntimeError where it is computed already.
    """
    if name in module._computed:
        rule = "a weight must be computed by one of torch's older functions only"
        raise refusal(op, rule, {"name": name}, "Remove the first.", RuntimeError)
    cell = module._parameters.get(name)
    if cell is None:
        names = [each for each, held in module._parameters.items() if held is not None]
        raise refusal(op, "name must be a parameter of the module", {"name": name, "its parameters": names})
    module.require_shapes(op)
    made = claim(op, name, cell.leaf, (p,))
    kept = made.start(cell.array(), Keys.root(op, key_of(take_ticket())), exact=False)
    del module._parameters[name]
    for path, leaf in made.leaves().items():
        if kept[path] is cell.array():
            module._parameters[path] = cell  # the very cell: whoever shares it, shares the raw array
        elif leaf.parameter:
            module._parameters[path] = Parameter(kept[path], requires_grad=cell.requires_grad)
        else:
            held = module._buffers[path] = BufferCell(leaf)
            held.put(kept[path])
    module._computed[name] = kind(made, cell.leaf, **more)
    changed(module)


def detach(op: str, module: Module, name: str, p: type[Parametrization]) -> None:
    """Makes a weight a parameter again, with its present values.

    Args:
        op: name of the caller.
        module: changed in place.
        name: of the weight.
        p: what must compute it.

    Errors:
        ValueError where it does not.
    """
    computed = module._computed.get(name)
    if not (isinstance(computed, Attached) and isinstance(computed.claim.chain[0], p)):
        raise refusal(op, "the weight must be computed by what is removed", {"name": name})
    value = computed.read(module)
    trained = True
    for path in computed.claim.leaves():
        raw = module._parameters.pop(path, None)
        trained = trained and (raw is None or raw.requires_grad)
        module._buffers.pop(path, None)
    del module._computed[name]
    module._parameters[name] = Parameter(value, requires_grad=trained)
    changed(module)
