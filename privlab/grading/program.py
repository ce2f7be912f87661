"""The part of a submission that its answers need.

A lesson's notebook trains models, starts servers and draws; an answer needs a few lines of it. Of
all statements at the top level of the cells, :func:`needed` keeps those that the answers depend on,
found by the names that statements bind, change and read. The rest is not run: grading a class takes
seconds, and a lesson cell that fails costs nobody a point.

What cannot be seen in the text (``globals()["f"] = …``, ``exec``) is missed: such an answer counts
as not tried.
"""

import ast
import bisect
import builtins
import functools
import operator
import re
import symtable
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})
#: Calls of these show something: they change nothing that an answer needs.
_SHOWING = frozenset({"print", "display", "plt", "plots", "ax", "axes", "fig"})
#: These bind their names whatever happens; a loop or an ``if`` may not.
_CERTAIN = (*_FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def python(source: str) -> str:
    """Return a cell's code as Python: magics and shell commands do nothing.

    IPython would turn them into calls; nothing that grading needs comes from them. A cell in
    another language becomes empty; one that is only timed stays.
    """
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if source.lstrip().startswith("%%") and not re.match(r"\s*%%(time|capture|prun)\b", source):
        return ""
    # As IPython does: what is pasted with an indentation loses it.
    indent = source[: len(source) - len(source.lstrip(" \t"))]
    lines = [line.removeprefix(indent) for line in source.split("\n")]
    kept, quote, depth, continued, dropped = [], "", 0, False, False
    for line in lines:
        if dropped:  # the rest of a shell command on several lines
            kept.append("")
            dropped = line.endswith("\\")
            continue
        magic = re.match(r"(\s*)(?:[\w.,][\w.,\s]*=\s*)?[%!](?=[\w\s%!])", line)
        help_asked = re.fullmatch(r"\s*(\?{1,2}[\w.]+|[\w.]+\?{1,2})\s*", line)
        # In the middle of a statement ``%`` is the remainder, or stands in a text.
        if not (quote or depth or continued) and (magic or help_asked):
            # Inside a block something has to stand there.
            kept.append(line[: len(line) - len(line.lstrip())] + "pass")
            dropped = line.endswith("\\")
        else:
            kept.append(line)
            quote, depth, continued = _open_after(line, quote, depth)
    return "\n".join(kept)


_PIECES = re.compile(r"""#.*|'''|\"\"\"|'(?:\\.|[^'\\])*'?|"(?:\\.|[^"\\])*"?|[(\[{]|[)\]}]|\\$""")


def _open_after(line: str, quote: str, depth: int) -> tuple[str, int, bool]:
    """Say what is still open after a line: a long text, how many brackets, the line itself.

    Parsing would tell as well, but takes a time that grows with the square of a cell's length.
    """
    place, continued = 0, False
    while found := (re.compile(rf"\\.|{quote}") if quote else _PIECES).search(line, place):
        place, piece = found.end(), found[0]
        if quote:
            quote = "" if piece == quote else quote
        elif piece in ("'''", '"""'):
            quote = piece
        elif piece in "([{":
            depth += 1
        elif piece in ")]}":
            depth = max(depth - 1, 0)
        else:
            continued = piece == "\\"
    return quote, depth, continued


@dataclass
class _Statement:
    """A statement at the top level, and what it does to names."""

    cell: int
    lines: range
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)  # read when a function is called
    calls: set[str] = field(default_factory=set)  # what a call may change
    certain: bool = False
    lasting: bool = False
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


def _text(node: ast.stmt, first: int, lines: Sequence[bytes]) -> str:
    """Return a statement as it was written; one that begins a line with others stands alone."""
    part = list(lines[first - 1 : node.end_lineno])
    part[-1] = part[-1][: node.end_col_offset]
    part[0] = part[0][node.col_offset if first == node.lineno else 0 :]
    return b"\n".join(part).decode()


def _read(node: ast.stmt, cell: int, lines: Sequence[bytes]) -> _Statement:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    found = _Statement(cell, range(first, (node.end_lineno or first) + 1))
    found.certain = isinstance(node, _CERTAIN)
    found.stub = _is_stub(node)
    found.lasting = isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef, *_FUNCTIONS))
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        found.everything = True
    else:
        _scope(symtable.symtable(_text(node, first, lines), "<statement>", "exec"), found)
    for part in ast.walk(node):
        # What is assigned to may be an entry or an attribute: table["x"] = …, del words[0]. In a
        # function it may belong to a name of its own, which is none of those that are read here.
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            found.changes |= {_root(part)} & (found.reads | found.late)
        # What a method is called on may be changed by it, wherever: words.append(…), model.eval().
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            found.calls |= {_root(part.func)} & found.reads
        # And so may what a function gets, if nobody wants its result: shuffle(words), train(model).
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            call = part.value
            if _root(call.func) not in _SHOWING:
                given = [*call.args, *(each.value for each in call.keywords)]
                found.calls |= {_root(each) for each in given} & found.reads
    if isinstance(node, ast.AnnAssign) and node.value is None:
        found.binds.clear()  # "words: list" says something about a name and gives it no value
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


@functools.lru_cache(maxsize=2)
def _statements(cells: tuple[str, ...]) -> tuple[_Statement, ...]:
    found: list[_Statement] = []
    for number, code in enumerate(cells):
        try:
            lines = code.encode().split(b"\n")
            found += [_read(node, number, lines) for node in ast.parse(code).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # the cell is told to be broken by who runs it
    # Modules, functions and classes: what is done with them leaves them as they are.
    lasting = {name for each in found if each.lasting for name in each.binds} | set(dir(builtins))
    for each in found:
        each.changes |= each.calls - lasting
    return tuple(found)


def needed(cells: Sequence[str], names: Iterable[str]) -> list[str]:
    """Keep of each cell what some names need; the rest becomes empty lines.

    Args:
        cells: Python code, in the order in which it would run.
        names: What the tests of an exercise ask for. Of several definitions the last counts, but
            starter code only if there is nothing else.

    Returns:
        As many texts as cells, with the lines where they were.
    """
    statements = list(_statements(tuple(cells)))
    for name in names:
        real = [s for s in statements if name in s.binds and not s.stub]
        if real:
            statements = [s for s in statements if not (s.stub and name in s.binds)]
    kept = {index for index, statement in enumerate(statements) if statement.everything}
    # Where each name is bound or changed, the last place first.
    places: dict[str, list[int]] = defaultdict(list)
    for index in reversed(range(len(statements))):
        for name in statements[index].binds | statements[index].changes:
            places[name].append(index)
    # Names to look for, and before which statement: the last where a function reads them later.
    end = len(statements)
    todo = [(name, end) for name in names]
    for index in kept:
        todo += [(name, index) for name in statements[index].reads]
    seen = set()
    while todo:
        name, before = todo.pop()
        where = places[name]
        for index in where[bisect.bisect_right(where, -before, key=operator.neg) :]:
            if (name, index) in seen:
                break  # and whatever is before it
            seen.add((name, index))
            statement = statements[index]
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
