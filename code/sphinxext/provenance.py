"""On which task, and over how many seeds, what a cell shows was computed.

Nobody has to write it down, because the code says it. A task is what is
taken from `atrous.experiments.tasks`. Seeds are what `over_seeds` is given,
or what a variable called `seed` runs through. A name carries the origin of
all that it was made from, from cell to cell.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

TASKS = frozenset({"mosaics", "shapes", "far_cue", "silhouettes"})
# What an expression for seeds may consist of, such as range(2 * len(SEEDS)).
PLAIN = (
    ast.BinOp,
    ast.Call,
    ast.Constant,
    ast.Name,
    ast.Slice,
    ast.Subscript,
    ast.Tuple,
    ast.expr_context,
    ast.operator,
)
KNOWN = {"__builtins__": {}, "len": len, "range": range}


@dataclass(frozen=True)
class Origin:
    """Names of tasks, and numbers of seeds."""

    tasks: frozenset[str] = frozenset()
    seeds: frozenset[int] = frozenset()

    def __or__(self, other: "Origin") -> "Origin":
        return Origin(self.tasks | other.tasks, self.seeds | other.seeds)


NOWHERE = Origin()


def stored(*nodes: ast.AST) -> set[str]:
    """Names that are assigned anywhere in some code."""
    return {
        one.id
        for node in nodes
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }


def own(statement: ast.stmt) -> set[str]:
    """Names to which a statement gives a meaning before it uses them.

    Those of loops, of comprehensions, of arguments, and all that a block
    assigns.
    """
    names = stored(statement) if hasattr(statement, "body") else set()
    for node in ast.walk(statement):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.comprehension):
            names |= stored(node.target)
    return names


def extended(statement: ast.stmt) -> set[str]:
    """Names of what a statement adds to, as in `rows.append(...)`."""
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            node = node.value.func
        elif not isinstance(getattr(node, "ctx", None), ast.Store):
            continue
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names


def assigned(statement: ast.stmt) -> set[str]:
    """Names that later cells may use; loops leave theirs behind by chance."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    loops = [n.target for n in ast.walk(statement) if isinstance(n, ast.For)]
    comprehended = own(statement) - stored(statement)
    return stored(statement) - stored(*loops) - comprehended - {"_"}


class Tracer:
    """Follows names through the cells of a notebook."""

    def __init__(self):
        self.origins, self.values, self.imported = {}, {}, set()

    def read(self, source: str) -> Origin:
        """Read the next cell; return the origin of its last statement.

        A cell that is no plain Python has none.
        """
        try:
            statements = ast.parse(source).body
        except SyntaxError:
            return NOWHERE
        found = NOWHERE
        for statement in statements:
            found = self.origin(statement)
            self.remember(statement, found)
        return found

    def origin(self, statement: ast.stmt) -> Origin:
        """The origin of what a statement computes."""
        inside, found = own(statement), NOWHERE
        for node in ast.walk(statement):
            found |= Origin(seeds=frozenset(self.seeds(node)))
            if isinstance(node, ast.Attribute):
                task = ast.unparse(node).removeprefix("tasks.")
                found |= Origin(tasks=TASKS & {task})
            elif isinstance(node, ast.Name) and node.id not in inside:
                read = isinstance(node.ctx, ast.Load)
                found |= self.origins.get(node.id, NOWHERE) if read else found
        return found

    def seeds(self, node: ast.AST) -> Iterator[int]:
        """How many seeds a call or a loop takes, if it takes any."""
        if isinstance(node, ast.For | ast.comprehension):
            given = node.iter if ast.unparse(node.target) == "seed" else None
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            given = node.args[1] if name == "over_seeds" else None
        else:
            given = None
        if given is not None and (found := self.value(given)) is not None:
            yield len(found)

    def value(self, node: ast.expr) -> object:
        """The value of a plain expression, or None."""
        if not all(isinstance(one, PLAIN) for one in ast.walk(node)):
            return None
        code = compile(ast.Expression(node), "<cell>", "eval")
        try:
            return eval(code, KNOWN, self.values)
        except Exception:  # a name that is not known here
            return None

    def remember(self, statement: ast.stmt, found: Origin) -> None:
        """Keep what a statement says of its names."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names = (one.asname or one.name for one in statement.names)
            self.imported |= {name.partition(".")[0] for name in names}
        for name in extended(statement) - self.imported:
            self.origins[name] = self.origins.get(name, NOWHERE) | found
        for name in assigned(statement):
            self.origins[name] = found
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            for one, what in pairs:
                if isinstance(one, ast.Name):
                    self.values[one.id] = self.value(what)
