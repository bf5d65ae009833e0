"""Applies the tables of docs/porting.md to the source of a torch model.

A row ``| `x.size(d)` | `x.shape[d]` |`` is a rule on the syntax tree: letters match expressions, ``*s`` what is left of
the arguments. What the tables cannot say of statements (imports, writing into an array) is here, as the page says it.
"""

import ast
import copy
import pathlib
import re

GUIDE = pathlib.Path(__file__).parents[2] / "docs/porting.md"
MODULES = {"torch", "nn", "F", "jnp", "jax", "np", "math", "init", "copy"}
# methods that keep their name, whose torch keywords are renamed
METHODS = {"mean", "sum", "max", "min", "prod", "std", "var", "any", "all", "argmax", "argmin", "cumsum", "squeeze"}


def rows(section):
    """Pairs of cells in one ``### section`` of the guide."""
    text = GUIDE.read_text().split(f"### {section}\n")[1].split("\n#")[0]
    return re.findall(r"^\| `([^`]*)` \| `?([^`|]*?)`? \|$", text, re.MULTILINE)


SECTIONS = "Modules", "Random numbers", "Shapes", "Arithmetic", "Reductions and choices", "New arrays, dtypes, places"
RULES = [(ast.parse(a, mode="eval").body, b) for section in SECTIONS for a, b in rows(section)]
KEYWORDS = {a.partition("=")[0]: b.partition("=")[0] or None for a, b in rows("Arguments")}


def match(pattern, node, found, extra):
    """Whether a node fits; fills ``found`` with what the letters stand for, ``extra`` with other keywords."""
    if isinstance(pattern, ast.Name) and len(pattern.id) == 1 and pattern.id.islower():
        if isinstance(node, ast.Name) and node.id in (*MODULES, "self"):
            return False
        same = ast.dump(found.setdefault(pattern.id, node)) == ast.dump(node)
        return same and not isinstance(node, ast.Starred)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Call):
        return match(pattern.func, node.func, found, extra) and match_arguments(pattern, node, found, extra)
    fields = [field for field in pattern._fields if field != "ctx"]
    return all(match_field(getattr(pattern, f), getattr(node, f), found, extra) for f in fields)


def match_field(pattern, node, found, extra):
    if isinstance(pattern, list):
        pairs = zip(pattern, node, strict=False)
        return len(pattern) == len(node) and all(match(p, n, found, extra) for p, n in pairs)
    return match(pattern, node, found, extra) if isinstance(pattern, ast.AST) else pattern == node


def match_arguments(pattern, node, found, extra):
    fixed = [p for p in pattern.args if not isinstance(p, ast.Starred)]
    rest = node.args[len(fixed) :]
    if len(node.args) < len(fixed) or (len(fixed) == len(pattern.args) and rest):
        return False
    if len(fixed) < len(pattern.args):
        found["*" + pattern.args[-1].value.id] = rest
    given = {k.arg: k for k in node.keywords}
    wanted = {k.arg: k.value for k in pattern.keywords}
    if not wanted.keys() <= given.keys():
        return False
    extra += [k for name, k in given.items() if name not in wanted]
    matched = all(match(value, given[name].value, found, extra) for name, value in wanted.items())
    return matched and all(match(p, n, found, extra) for p, n in zip(fixed, node.args, strict=False))


class Fill(ast.NodeTransformer):
    """Puts what was found into a replacement; an expression that stands there twice is computed once."""

    def __init__(self, found, text):
        self.found, self.seen = found, set()
        names = [n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)]
        self.twice = {name for name in names if names.count(name) > 1}

    def visit_Call(self, node):
        node.func, args = self.visit(node.func), []  # as it is evaluated
        for arg in node.args:
            star = isinstance(arg, ast.Starred) and isinstance(arg.value, ast.Name) and "*" + arg.value.id in self.found
            args += self.found["*" + arg.value.id] if star else [self.visit(arg)]
        node.args = args
        node.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return node

    def visit_Name(self, node):
        several = self.found.get("*" + node.id)
        if several is not None:
            return several[0] if len(several) == 1 else ast.Tuple(copy.deepcopy(several), ast.Load())
        value = self.found.get(node.id)
        if value is None:
            return node
        if node.id not in self.twice or isinstance(value, (ast.Name, ast.Attribute, ast.Constant, ast.UnaryOp)):
            return copy.deepcopy(value)
        name = ast.Name(f"once_{node.id}_{value.lineno}", ast.Load())
        if node.id in self.seen:
            return name
        self.seen.add(node.id)
        return ast.NamedExpr(ast.Name(name.id, ast.Store()), copy.deepcopy(value))


class Names(ast.NodeTransformer):
    """``torch.nn.functional.relu`` and ``torch.nn.Linear`` become ``F.relu`` and ``nn.Linear``."""

    def visit_Attribute(self, node):
        self.generic_visit(node)
        short = {"torch.nn": "nn", "nn.functional": "F"}.get(ast.unparse(node))
        return ast.copy_location(ast.Name(short, ast.Load()), node) if short else node


class Port(ast.NodeTransformer):
    """The whole change, from the outside in."""

    def visit(self, node):
        for pattern, text in RULES if isinstance(node, ast.expr) else []:
            found, extra = {}, []
            if match(pattern, node, found, extra):
                found = {
                    k: [self.visit(x) for x in v] if isinstance(v, list) else self.visit(v) for k, v in found.items()
                }
                new = Fill(found, text).visit(ast.parse(text, mode="eval").body)
                if extra:
                    assert isinstance(new, ast.Call), (text, [k.arg for k in extra])
                    new.keywords += [ast.keyword(k.arg, self.visit(k.value)) for k in extra]
                return ast.copy_location(rename(new) if isinstance(new, ast.Call) else new, node)
        return super().visit(node)

    def visit_Call(self, node):
        self.generic_visit(node)
        return rename(node)

    def visit_Import(self, node):
        names = [(translated(a.name), a.asname) for a in node.names if a.name != "torch"]
        return [ast.Import([ast.alias(name, asname)]) for name, asname in names]

    def visit_ImportFrom(self, node):
        if not node.module.startswith("torch"):
            return node
        names = [alias for alias in node.names if (node.module, alias.name) != ("torch", "nn")]
        return [ast.ImportFrom(*moved(node.module, alias), 0) for alias in names]

    def visit_With(self, node):
        self.generic_visit(node)
        return node.body if "torch.no_grad" in ast.unparse(node.items[0]) else node

    def visit_FunctionDef(self, node):
        made = [n for n in ast.walk(node) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        arrays = {n.targets[0].id for n in made if re.match(r"torch\.|\w+\.(permute|view)\(", ast.unparse(n.value))}
        node.decorator_list = [d for d in node.decorator_list if "no_grad" not in ast.unparse(d)]
        self.generic_visit(node)
        node.body = [Writes(arrays).visit(statement) for statement in node.body]
        return node


def moved(module, alias):
    """Where a name is imported from."""
    name = alias.asname or alias.name
    special = {
        "torch.nn.functional": ("purenn", "functional"),
        "torch.Tensor": ("jax", "Array"),
        "torch.einsum": ("jax.numpy", "einsum"),
    }
    found = special.get(f"{module}.{alias.name}")
    if found is None:
        return translated(module), [ast.alias(alias.name, alias.asname)]
    return found[0], [ast.alias(found[1], name)]


class Writes(ast.NodeTransformer):
    """``x[i] = v`` becomes ``x = x.at[i].set(v)``, ``x[i] += v`` becomes ``x = x.at[i].add(v)``."""

    def __init__(self, arrays):
        self.arrays = arrays

    def write(self, target, verb, value):
        name, whole = ast.unparse(target.value), ast.unparse(target)
        return ast.parse(f"{name} = {name}.at{whole[len(name) :]}.{verb}({ast.unparse(value)})").body[0]

    def is_array(self, target):
        return (
            isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id in self.arrays
        )

    def visit_Assign(self, node):
        return self.write(node.targets[0], "set", node.value) if self.is_array(node.targets[0]) else node

    def visit_AugAssign(self, node):
        verbs = {ast.Add: "add", ast.Mult: "multiply"}
        return self.write(node.target, verbs[type(node.op)], node.value) if self.is_array(node.target) else node


def rename(call):
    """torch's argument names to numpy's, but for F and nn and what the model calls its own."""
    base = ast.unparse(call.func)
    root, _, last = base.partition(".")[0], "", base.rpartition(".")[2]
    method = last in METHODS and root not in ("F", "nn") and not re.match(r"self\.\w+$", base)
    if root in ("jnp", "jax") or method:
        named = [(KEYWORDS.get(k.arg, k.arg), k.value) for k in call.keywords]
        call.keywords = [ast.keyword(name, value) for name, value in named if name is not None]
        call.args = [tupled(a) if last in METHODS else a for a in call.args]
    return call


def tupled(node):
    return ast.Tuple(node.elts, ast.Load()) if isinstance(node, ast.List) else node


def translated(module):
    """The module of purenn that has what a module of torch has."""
    module = module.replace("torch.nn.functional", "purenn.functional").replace("torch.nn.parameter", "stateful")
    return re.sub(r"^torch\.nn\b", "stateful", module)


HEADER = """import jax
import jax.numpy as jnp
import stateful as nn
import purenn.functional as F
"""


def port(source):
    """The source of the same model for purenn."""
    tree = Port().visit(Names().visit(ast.parse(source)))
    return HEADER + ast.unparse(ast.fix_missing_locations(tree))
