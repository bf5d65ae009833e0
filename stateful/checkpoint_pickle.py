"""A reader of pickles that runs nothing: it builds dicts, lists, tuples, numbers and strings, and names the rest.

Where a pickle asks for a global, it gets its name; where it asks for a call, a note of what was to be called with what;
where it asks for a persistent object, a note of its id. What these mean, if anything, is for the caller to say.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAX_STEPS = 3_000_000  # instructions; a model of a hundred thousand arrays takes as many
_KEYS = (str, int, float, bool, type(None))  # what may be a key: hashing a tuple of tuples can take for ever


class PickleError(Exception):
    """A pickle that is damaged, or asks for what is not done."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function."""

    name: str


@dataclass
class Call:
    """A call that was asked for, and not made."""

    function: Global
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Persistent:
    """The id of an object that is stored elsewhere."""

    id: Any


class _Mark:
    pass


@dataclass
class _Machine:
    """The stack machine of the pickle format, without the instructions that give power."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        """Takes the top of the stack."""
        if not self.stack or self.stack[-1] is _Mark:
            raise PickleError("the stack is empty")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """Looks at the top of the stack."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PickleError(f"there is no {kind.__name__} on the stack")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        """Takes all above the last mark, and the mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _Mark:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise PickleError("there is no mark")

    def put(self, index: int) -> None:
        """Remembers the top of the stack."""
        if not self.stack or self.stack[-1] is _Mark:
            raise PickleError("the stack is empty")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Pushes what was remembered."""
        if index not in self.memo:
            raise PickleError(f"nothing was remembered as {index}")
        self.stack.append(self.memo[index])

    def set_items(self, items: list[Any]) -> None:
        """Fills the dict on top."""
        target = self.top(dict)
        if len(items) % 2:
            raise PickleError("a key has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in _KEYS:
                raise PickleError(f"a key is a {type(key).__name__}")
            target[key] = value

    def global_(self, name: str) -> None:
        """Names a global."""
        self.stack.append(Global(name))

    def stack_global(self) -> None:
        """Names a global whose parts are on the stack."""
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("the name of a global is no string")
        self.global_(f"{module}.{name}")

    def reduce(self) -> None:
        """Notes a call; one makes an empty dict."""
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise PickleError("what is called is no global")
        if function.name == "collections.OrderedDict" and args in ((), ([],)):
            self.stack.append({})
        else:
            self.stack.append(Call(function, args))

    def build(self) -> None:
        """Passes over the one attribute of a state_dict, the versions of its layers."""
        state = self.pop()
        self.top(dict)
        if not isinstance(state, dict) or set(state) != {"_metadata"}:
            raise PickleError("a dict has attributes")


def _pushes(value: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, arg: machine.stack.append(value(arg))


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def run(machine: _Machine, arg: Any) -> None:
        del arg
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return run


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _filled(machine: _Machine, kind: type) -> None:
    items = machine.pop_to_mark()
    machine.stack.append(kind())
    if kind is list:
        _append(machine, items)
    else:
        machine.set_items(items)


_SAME = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_DO: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_SAME, _pushes(lambda arg: arg)),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, arg: None),
    "MARK": _pushes(lambda _: _Mark),
    "NONE": _pushes(lambda _: None),
    "NEWTRUE": _pushes(lambda _: True),
    "NEWFALSE": _pushes(lambda _: False),
    "EMPTY_TUPLE": _pushes(lambda _: ()),
    "EMPTY_LIST": _pushes(lambda _: []),
    "EMPTY_DICT": _pushes(lambda _: {}),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda machine, _: _filled(machine, list),
    "DICT": lambda machine, _: _filled(machine, dict),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, arg: machine.global_(arg.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.stack_global(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.stack.append(Persistent(machine.pop())),
    "PUT": lambda machine, arg: machine.put(arg),
    "BINPUT": lambda machine, arg: machine.put(arg),
    "LONG_BINPUT": lambda machine, arg: machine.put(arg),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "GET": lambda machine, arg: machine.get(arg),
    "BINGET": lambda machine, arg: machine.get(arg),
    "LONG_BINGET": lambda machine, arg: machine.get(arg),
}


def read_pickle(file: BinaryIO) -> Any:
    """Reads one pickle.

    Args:
        file: open for reading; it is left behind the pickle.

    Returns:
        Dicts, lists, tuples, numbers, strings, bytes, None, `Global`, `Call` and `Persistent`.

    Raises:
        PickleError: the pickle is damaged, too long, or asks for what is not done.
    """
    machine = _Machine()
    try:
        for step, (opcode, arg, _) in enumerate(pickletools.genops(file)):
            if opcode.name == "STOP":
                break
            if opcode.name not in _DO or step > MAX_STEPS:
                raise PickleError(f"it has the instruction {opcode.name} at step {step}")
            _DO[opcode.name](machine, arg)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
        raise PickleError(str(error)) from error
    if len(machine.stack) != 1 or machine.stack[0] is _Mark:
        raise PickleError("it does not leave one object")
    return machine.stack[0]
