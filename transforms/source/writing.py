"""Writes the body of one function: a statement for every line of the user's source, with that line's names."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transforms.source.draws import base_name, draws
from transforms.source.layout import Layout
from transforms.source.modes import BATCH_NORM, DROPOUT, Normal
from transforms.source.naming import Names, plain
from transforms.source.regions import WRITE, Region, outputs_of, owns, references_of
from transforms.source.statements import Statement
from transforms.source.tables import SPELLINGS
from transforms.source.text import Expr, array_text, called, python
from transforms.torch_program import Call, Ref, references

_WIDE = 90  # letters of an expression that is not made longer
_LINE = 104  # letters of a statement, after which its operands become statements of their own
_LONG = 20  # letters of an operand that is worth a name


@dataclass
class Written:
    """The text of a body: statements and results, and what the function must be given for it."""

    lines: list[str]
    results: list[str]
    random: bool = False
    trains: bool = False
    stateful: bool = False
    writes: bool = False


class Context:
    """What is known of the whole model: its arrays, constants, branches and the kinds of its values.

    ``refused`` collects what has no spelling.
    """

    def __init__(self, program: Normal, trained: dict[str, bool], refused: list[Call] | None = None):
        self.arrays, self.constants, self.kinds, self.trained = (
            program.arrays, program.constants, program.kinds, trained
        )  # fmt: skip
        self.bodies = program.bodies
        self.refused: list[Call] = [] if refused is None else refused

    def array(self, name: str, path: str) -> Expr | None:
        """How a function of a submodule reads an array.

        Args:
            name: of the value.
            path: of the submodule.

        Returns:
            The expression; None where the array is not the submodule's own.
        """
        target = self.arrays.get(name)
        if target is None or not owns(path, target):
            return None
        keys = target[len(path) + 1 if path else 0 :].split(".")
        root = "params" if self.trained[target] else "buffers"
        return Expr(root + "".join(f'["{key}"]' for key in keys), *self.kinds[name])

    def whole(self, path: str) -> list[str]:
        """The names of all arrays below a path."""
        return [target[len(path) + 1 :] for target in self.trained if target.startswith(f"{path}.")]


class Writer:
    """Writes one body; ``given`` are the names of the values that it gets."""

    def __init__(self, context: Context, region: Region, given: dict[str, str]):
        self.context, self.region = context, region
        self.items = region.items
        self.end = len(self.items)
        self.known = {name: Expr(text, *context.kinds.get(name, (None, None))) for name, text in given.items()}
        self.written = Written([], [])
        layout = Layout(region)
        self.uses, self.statements, self.folded = layout.uses, layout.statements, layout.folded
        self.is_repeated = layout.is_repeated
        self.source_names = {*given.values(), *(name for made in self.statements if made for name in made.targets)}
        functions = {item.function.name for item in self.items if isinstance(item, Region) and item.function}
        self.names = Names(layout.last, frozenset(functions))
        for name, text in given.items():
            self.names.fix(name, text)

    def run(self) -> Written:
        """Writes all statements."""
        for n, item in enumerate(self.items):
            if isinstance(item, Region):
                self._region(n, item)
            elif item.op == WRITE:
                self._write(item)
            elif item.op == "_operator.getitem" and item.name in self.known:
                continue
            else:
                self._call(n, item)
        self._shorter(self.end, self._result(), self._result)
        self.written.results = [self._result()] if self.region.outputs or self.region.result is not None else []
        return self.written

    def _result(self) -> str:
        if self.region.result is not None:
            return python(self.read(self.region.result))
        return ", ".join(python(self.read(Ref(name))) for name in self.region.outputs)

    def read(self, value: Any) -> Any:
        """An argument with expressions for values."""
        if isinstance(value, Ref):
            return self._value(value.name)
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.read, value))
        if isinstance(value, Mapping):
            return {name: self.read(item) for name, item in value.items()}
        return value

    def _value(self, name: str) -> Expr:
        if name in self.known:
            return self.known[name]
        if (own := self.context.array(name, self.region.path)) is not None:
            self.written.stateful |= own.text.startswith("buffers")
            return own
        return Expr(array_text(self.context.constants[name]) or "None", *self.context.kinds[name])

    def _bind(self, name: str, wanted: str, n: int) -> str:
        taken = self.names.take(name, wanted, n)
        self.known[name] = Expr(taken, *self.context.kinds.get(name, (None, None)))
        return taken

    def _wanted(self, n: int, value: str) -> str:
        """The name that the source has for a value, or one that is needed no longer, or one after the operator."""
        made = self.statements[n]
        targets = made.targets if made else ()
        kept = [m for m in self._kept_of(made) if m not in self.folded] if made else []
        if len(targets) == 1 and (n == max(kept, default=-1) or self.is_repeated(n)):
            return targets[0]
        item = self.items[n]
        if isinstance(item, Call) and item.op == "_operator.getitem" and item.args[1] < len(targets):
            return targets[item.args[1]]
        if len(kept) == len(targets) and n in kept:
            return targets[kept.index(n)]
        if (name := self._reusable(n)) is not None and name in self.source_names:
            return name
        return targets[0] if len(targets) == 1 and self.names.is_free(targets[0], n) else plain(value)

    def _reusable(self, n: int) -> str | None:
        """The name of the first operand, if that is used for the last time."""
        for name in references_of(self.items[n]):
            known = self.known.get(name)
            if known and known.text.isidentifier() and known.dtype is not None:
                return known.text if self.names.is_free(known.text, n) else None
        return None

    def _kept_of(self, made: Statement) -> list[int]:
        return [m for m, other in enumerate(self.statements) if other and other.key == made.key]

    def _call(self, n: int, call: Call) -> None:
        text = self.spell(call)
        kind = self.context.kinds.get(call.name, (None, None))
        if parts := self._parts(call):
            self._unpack(n, call, text, parts)
        elif n in self.folded and (len(text) <= _WIDE or kind[1] is None):
            self.known[call.name] = Expr(text, *kind)
        else:
            text = self._shorter(n, text, lambda: self.spell(call))
            self.written.lines.append(f"{self._bind(call.name, self._wanted(n, call.name), n)} = {text}")

    def _shorter(self, n: int, text: str, again: Callable[[], str]) -> str:
        """A text for one line: operands that are expressions become statements, the longest first."""
        while len(text) > _LINE:
            long = [name for name in self._operands(n) if len(self.known[name].text) > _LONG]
            if not long:
                break
            name = max(long, key=lambda name: len(self.known[name].text))
            self._name_operand(name, n, text)
            text = again()
        return text

    def _operands(self, n: int) -> list[str]:
        names = references_of(self.items[n]) if n < self.end else self.region.outputs
        return [name for name in names if name in self.known and not self.known[name].text.isidentifier()]

    def _own_name(self, text: str, whole: str, n: int) -> str | None:
        """A name of the source that stands in an expression, and nowhere else from here on."""
        for name in dict.fromkeys(re.findall(r"\b[A-Za-z_]\w*\b", text)):
            inside, all_ = (len(re.findall(rf"\b{name}\b", part)) for part in (text, whole))
            if (
                name in self.source_names
                and self.names.is_held(name)
                and self.names.is_free(name, n)
                and inside == all_
            ):
                return name
        return None

    def _name_operand(self, name: str, n: int, whole: str) -> None:
        text = self.known[name].text
        if (own := self._own_name(text, whole, n)) is not None:
            self.names.fix(name, own)
            self.known[name] = Expr(own, *self.context.kinds.get(name, (None, None)))
            self.written.lines.append(f"{own} = {text}")
            return
        made = next((m for m, item in enumerate(self.items) if name in outputs_of(item)), n)
        line = self.statements[made]
        targets = line.targets if line else ()
        wanted = targets[0] if len(targets) == 1 and self.names.is_free(targets[0], made) else plain(name)
        self.written.lines.append(f"{self._bind(name, wanted, n - 1)} = {text}")

    def _parts(self, call: Call) -> dict[int, list[str]]:
        """The results of an operator that gives several, if more than one of them is used: their values."""
        parts: dict[int, list[str]] = {}
        for m in self.uses.get(call.name, []):
            item = self.items[m] if m < self.end else None
            if not isinstance(item, Call) or item.op != "_operator.getitem":
                return {}
            parts.setdefault(item.args[1], []).append(item.name)
        return parts if len(parts) > 1 and self._arity(call) else {}

    def _arity(self, call: Call) -> int:
        if call.op == COND:
            return len(self.context.bodies[call.args[1].name].outputs)
        arity = SPELLINGS[call.op].arity if call.op in SPELLINGS else 0
        return arity if isinstance(arity, int) else arity(*self.read(call.args))

    def _unpack(self, n: int, call: Call, text: str, parts: dict[int, list[str]]) -> None:
        """Names for the results that are used, as the source has them."""
        arity, made = self._arity(call), self.statements[n]
        targets = made.targets if made and len(made.targets) in (arity, len(parts)) else ()
        names = ["_"] * arity
        for k, (index, values) in enumerate(sorted(parts.items())):
            wanted = targets[index if len(targets) == arity else k] if targets else f"{plain(call.name)}{index}"
            names[index] = self._bind(values[0], wanted, n)
            for other in values[1:]:
                self.known[other] = self.known[values[0]]
        self.written.lines.append(f"{', '.join(names)} = {text}")

    def spell(self, call: Call) -> str:
        """An operator as an expression."""
        args, kwargs = self.read(call.args), {name: self.read(value) for name, value in call.kwargs.items()}
        if call.op == BATCH_NORM:
            return self._batch_norm(call, args)
        if call.op == COND:
            return self._cond(args)
        spelling = SPELLINGS.get(call.op)
        if spelling is None:
            self.context.refused.append(call)
            return "None"
        if spelling.out:
            kwargs["out"] = Expr("", *self.context.kinds.get(call.name, (None, None)))
        if spelling.random:
            drawing = draws(call)
            self.written.random |= drawing
            kwargs["rng"] = Expr(f'keys("{base_name(call)}")') if drawing else None
        self.written.trains |= call.op == DROPOUT or any(
            isinstance(arg, Expr) and arg.text.endswith(("train", "if train else 0.0")) for arg in call.args
        )
        text = spelling.fn(*args, **{name: value for name, value in kwargs.items() if name not in _PLACES})
        if text is None:
            self.context.refused.append(call)
            return "None"
        return self._starred(text)

    def _batch_norm(self, call: Call, args: list[Any]) -> str:
        mean = args[3].text.removesuffix('["running_mean"]')
        own = mean.replace("buffers", "params", 1) if call.args[1] is not None else "{}"
        options = {"momentum": args[5]} if args[5] != 0.1 else {}
        options |= {"eps": args[6]} if args[6] != 1e-5 else {}
        self.written.trains = self.written.stateful = self.written.writes = True
        return called("batch_norm", Expr(own), Expr(mean), args[0], Expr("train"), **options)

    def _cond(self, args: list[Any]) -> str:
        """Torch.cond: its branches as lambdas, or as functions where they have statements."""
        predicate = args[0] if args[0].shape == () else Expr(called("jnp.reshape", args[0], Expr("()")))
        branches = [Expr(self._branch(body.name, given)) for body, given in zip(args[1:3], _BRANCHES, strict=True)]
        return called("jax.lax.cond", predicate, *branches, *args[3])

    def _branch(self, name: str, title: str) -> str:
        body = self.context.bodies[name]
        region = Region(self.region.path, self.region.cls, self.region.times, (), list(body.calls))
        region.outputs, region.result = list(references(list(body.outputs))), tuple(body.outputs)
        parameters = {value: f"x{k}" if k else "x" for k, value in enumerate(body.users)}
        writer = Writer(Context(body, {}, self.context.refused), region, parameters)
        written = writer.run()
        self.context.refused += [call for call in region.items if isinstance(call, Call) and draws(call)]
        head, result = ", ".join(parameters.values()), written.results[0]
        if not written.lines:
            return f"lambda {head}: {result}"
        lines = [f"def {title}({head}):", *(f"    {line}" for line in [*written.lines, f"return {result}"])]
        self.written.lines.append("\n".join(lines))
        return title

    def _starred(self, text: str) -> str:
        """``**params["fc"]`` for a weight and a bias that are all there is."""
        found = re.search(r', (params(?:\["\w+"\])+)\["weight"\], \1\["bias"\]', text)
        if not found or not re.match(r"F\.(linear|conv|layer_norm|group_norm)", text):
            return text
        path = ".".join(filter(None, [self.region.path, *re.findall(r'\["(\w+)"\]', found.group(1))]))
        if sorted(self.context.whole(path)) != ["bias", "weight"]:
            return text
        return f"{text[: found.start()]}{text[found.end() : -1]}, **{found.group(1)})"

    def _region(self, n: int, region: Region) -> None:
        """A call of the function of a submodule."""
        function = region.function
        for flag in ("trains", "random", "stateful", "writes"):
            setattr(self.written, flag, getattr(self.written, flag) or getattr(function, flag))
        self._begin_loop(n, region)
        text = self._called(region)
        if n in self.folded and len(text) <= _WIDE:
            self.known[region.outputs[0]] = Expr(text, *self.context.kinds.get(region.outputs[0], (None, None)))
            return
        text = self._shorter(n, text, lambda: self._called(region))
        self.written.lines.append(f"{', '.join(self._bound(n, region))} = {text}" if region.outputs else text)

    def _called(self, region: Region) -> str:
        function = region.function
        rest = region.path[len(self.region.path) + 1 if self.region.path else 0 :]
        keys = "".join(f'["{key}"]' for key in rest.split("."))
        args = [Expr(f"params{keys}")] if function.has_params else []
        args += [Expr(f"buffers{keys}")] if function.stateful else []
        args += [self.read(Ref(name)) for name in region.given]
        args += [Expr("train")] if function.trains else []
        args += [Expr("keys")] if function.random else []
        return called(function.name, *args, **{name: Expr(value) for name, value in region.literals.items()})

    def _begin_loop(self, n: int, region: Region) -> None:
        """``y = x`` before calls in a row that go on from each other, as in ``for layer in layers: y = layer(y)``."""
        made = self.statements[n]
        if not made or len(made.targets) != 1 or not self._goes_on(n) or (n and self._goes_on(n - 1)):
            return
        first = self.known.get(region.given[0])
        target = made.targets[0]
        if first and first.text.isidentifier() and first.text != target and self.names.is_free(target, n):
            self.written.lines.append(f"{target} = {first.text}")
            self.known[region.given[0]] = Expr(target, first.shape, first.dtype)

    def _goes_on(self, n: int) -> bool:
        """Whether the next item is another call of the same kind, of what this one gives."""
        item, after = self.items[n], self.items[n + 1] if n + 1 < self.end else None
        return (
            isinstance(item, Region) and isinstance(after, Region) and self.is_repeated(n) and len(item.outputs) == 1
            and self.is_repeated(n + 1) and item.function is after.function and after.given[:1] == item.outputs
            and bool(item.given) and self.statements[n] == self.statements[n + 1]
        )  # fmt: skip

    def _bound(self, n: int, region: Region) -> Iterator[str]:
        made = self.statements[n]
        for k, name in enumerate(region.outputs):
            several = len(region.outputs) > 1
            if several and made and len(made.targets) == len(region.outputs):
                yield self._bind(name, made.targets[k], n)
            elif several:
                yield self._bind(name, plain(name), n)
            else:
                yield self._bind(name, self._wanted(n, name), n)

    def _write(self, call: Call) -> None:
        target, value = call.args
        path = target[len(self.region.path) + 1 if self.region.path else 0 :]
        keys = "".join(f'["{key}"]' for key in path.split("."))
        self.written.stateful = self.written.writes = True
        self.written.lines.append(f"buffers{keys} = {python(self.read(value))}")


COND = "cond"
_BRANCHES = ("if_true", "if_false")
_PLACES = ("device", "pin_memory", "layout", "memory_format", "non_blocking", "generator")
