"""The part of a submission that its answers need.

A lesson's notebook trains models, starts servers and draws; an answer needs a few lines of it. Of
all statements at the top level of the cells, :func:`needed` keeps those that the answers depend on,
found by the names that statements bind, change and read. The rest is not run: grading a class takes
seconds, and a lesson cell that fails costs nobody a point.

What cannot be seen in the text (``globals()["f"] = …``, ``exec``) is missed: such an answer counts
as not tried.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_BUILT_IN = frozenset(dir(builtins))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})
#: These bind their names whatever happens; a loop or an ``if`` may not.
_CERTAIN = (*_FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def python(source: str) -> str:
    """Return a cell's code as Python: magics and shell commands become empty lines.

    IPython would turn them into calls; nothing that grading needs comes from them.
    """
    if source.lstrip().startswith("%%"):
        return ""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").split("\n")
    kept = []
    for line in lines:
        magic = re.match(r"(\s*)(?:[\w.,\s]+=\s*)?[%!](?=[\w\s%!])", line)
        help_asked = re.fullmatch(r"\s*(\?{1,2}[\w.]+|[\w.]+\?{1,2})\s*", line)
        # Inside a block something has to stand there.
        if (magic and _is_statement(kept)) or help_asked:
            kept.append(line[: len(line) - len(line.lstrip())] + "pass")
        else:
            kept.append(line)
    return "\n".join(kept)


def _is_statement(before: Sequence[str]) -> bool:
    """Whether the next line starts a statement: ``%`` in the middle of one is the remainder."""
    if not before:
        return True
    text = "\n".join(before)
    try:
        ast.parse(text)
    except SyntaxError as error:
        # A block whose first line is still to come may hold a magic.
        return "expected an indented block" in str(error)
    return True


@dataclass
class _Statement:
    """A statement at the top level, and what it does to names."""

    cell: int
    lines: range
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)  # read when a function is called
    certain: bool = False
    everything: bool = False  # from x import *
    stub: bool = False


def _is_stub(node: ast.stmt) -> bool:
    """Whether this is starter code: a function or a variable whose value is ``...``."""
    if isinstance(node, _FUNCTIONS):
        last = node.body[-1]
        return isinstance(last, ast.Return) and _is_ellipsis(last.value)
    return isinstance(node, ast.Assign) and _is_ellipsis(node.value)


def _is_ellipsis(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _root(node: ast.expr) -> str | None:
    """Return the name at the beginning of ``a.b[0].c``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _read(node: ast.stmt, cell: int) -> _Statement:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    found = _Statement(cell, range(first, (node.end_lineno or first) + 1))
    found.certain = isinstance(node, _CERTAIN)
    found.stub = _is_stub(node)
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        found.everything = True
    else:
        _scope(symtable.symtable(ast.unparse(node), "<statement>", "exec"), found)
    for part in ast.walk(node):
        # What is assigned to may be an entry or an attribute: table["x"] = …, del words[0].
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            found.changes |= {_root(part)} - {None}
    # What a method is called on may be changed by it: words.append(…), model.eval().
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        changed = _root(node.value.func) if isinstance(node.value.func, ast.Attribute) else None
        found.changes |= {changed} - {None}
    return found


def _scope(table: symtable.SymbolTable, found: _Statement, late: bool = False) -> None:
    """Note what a block and those inside it bind and read of the names at the top level."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if not top and not symbol.is_global():
            continue
        if symbol.is_referenced():
            (found.late if late else found.reads).add(symbol.get_name())
        if symbol.is_assigned() or symbol.is_imported():
            # A function may change a global name, whenever it is called.
            (found.binds if top else found.changes).add(symbol.get_name())
    for inner in table.get_children():
        # The body of a function waits for a call; that of a class or a comprehension does not.
        at_once = inner.get_type() == "class" or inner.get_name() in _COMPREHENSIONS
        _scope(inner, found, late or not at_once)


def _statements(cells: Sequence[str]) -> Iterator[_Statement]:
    for number, code in enumerate(cells):
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # the cell is told to be broken by who runs it
        for node in tree.body:
            yield _read(node, number)


def needed(cells: Sequence[str], names: Iterable[str]) -> list[str]:
    """Keep of each cell what some names need; the rest becomes empty lines.

    Args:
        cells: Python code, in the order in which it would run.
        names: What the tests of an exercise ask for. Of several definitions the last counts, but
            starter code only if there is nothing else.

    Returns:
        As many texts as cells, with the lines where they were.
    """
    statements = list(_statements(cells))
    for name in names:
        real = [s for s in statements if name in s.binds and not s.stub]
        if real:
            statements = [s for s in statements if not (s.stub and name in s.binds)]
    kept = {index for index, statement in enumerate(statements) if statement.everything}
    # Names to look for, and before which statement: None where a function reads them later.
    end = len(statements)
    todo = [(name, end) for name in names]
    for index in kept:
        todo += [(name, index) for name in statements[index].reads]
    seen = set()
    while todo:
        name, before = todo.pop()
        if (name, before) in seen or (
            name in _BUILT_IN and not any(name in s.binds for s in statements)
        ):
            continue
        seen.add((name, before))
        for index in range(before - 1, -1, -1):
            statement = statements[index]
            if name not in statement.binds | statement.changes:
                continue
            kept.add(index)
            todo += [(read, index) for read in statement.reads | statement.changes]
            todo += [(read, end) for read in statement.late]
            if name in statement.binds and statement.certain:
                break
    lines: list[set[int]] = [set() for _ in cells]
    for index in kept:
        lines[statements[index].cell].update(statements[index].lines)
    return [
        "\n".join(
            line if number in keep else "" for number, line in enumerate(code.split("\n"), start=1)
        ).rstrip()
        for code, keep in zip(cells, lines, strict=True)
    ]
