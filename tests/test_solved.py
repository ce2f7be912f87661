"""Each lesson with every exercise solved: it runs through, and every check says so.

Only what answers can change is run, and what that needs, as far as the names in the code tell; the
rest of a notebook comes out as it is committed, which nbval sees to. `privlab solutions` runs all.
"""

import ast
import importlib
from types import SimpleNamespace

import nbform
import pytest
from nbmake import code, notebook, result

from privlab.course import LESSONS
from privlab.grading.execution import execute
from privlab.grading.program import needed, python


def defined_names(source):
    """The functions and variables that a cell defines at its top level."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        for target in getattr(node, "targets", []):
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def solve(notebook, exercises):
    """Replace each stub by the reference."""
    stubs = [cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])]
    for exercise in exercises:
        name = exercise.names[0]
        found = [cell for cell in stubs if name in defined_names(cell.source)]
        assert len(found) == 1, f"{len(found)} stubs define {name} of exercise {exercise.label}"
        found[0].source = exercise.reference
        stubs.remove(found[0])
    assert not stubs, f"no exercise belongs to the stub\n{stubs[0].source}"


def names(nodes, kind):
    """The names that nodes load or store, wherever in them."""
    every = [node for each in nodes for node in ast.walk(each) if isinstance(node, ast.Name)]
    return {node.id for node in every if isinstance(node.ctx, kind)}


def reads(text):
    """The names that a cell takes from cells before it."""
    found, bound = set(), set()
    for statement in ast.parse(text).body:
        own = {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
        for scope in ast.walk(statement):  # functions and comprehensions have names of their own
            if isinstance(scope, ast.FunctionDef):
                own |= names(scope.body, ast.Store)
            elif isinstance(scope, ast.comprehension):
                own |= names([scope.target], ast.Store)
        found |= names([statement], ast.Load) - own - bound
        bound |= set(defined_names(ast.unparse(statement)))
    return found


def shorten(notebook, starts=frozenset({"bootstrap", "answer"})):
    """Leave out of a solved notebook what no answer changes and nothing that is left needs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    texts = [python(cell.source) for cell in cells]
    kept, answered = [set() for _ in cells], set()
    for number, (cell, text) in enumerate(zip(cells, texts, strict=True)):
        begins = starts & set(cell.metadata.get("tags", []))
        if not (begins or ".check()" in text or answered & reads(text)):
            answered -= set(defined_names(text))
            continue
        if begins != {"bootstrap"}:
            answered |= set(defined_names(text))
        for each, part in enumerate(needed(texts[: number + 1], reads(text))):
            kept[each] |= {at for at, line in enumerate(part.split("\n")) if line.strip()}
        kept[number] |= set(range(text.count("\n") + 1))
    for cell, text, lines in zip(cells, texts, kept, strict=True):
        for node in ast.parse(text).body:  # a later import of the same name comes too late
            if isinstance(node, ast.Import | ast.ImportFrom):
                lines |= set(range(node.lineno - 1, node.end_lineno))
        all_lines = enumerate(text.split("\n"))
        cell.source = "\n".join(line if at in lines else "" for at, line in all_lines).rstrip()


def verdicts(notebook, exercise):
    """What the notebook says to the exercise's checks: the first line of each."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    texts = [output.data.get("text/plain", "") for output in outputs if "data" in output]
    start = f"Exercise {exercise.label} ·"
    return [text.partition("\n")[0] for text in texts if text.startswith(start)]


def assert_correct(notebook, exercises):
    for exercise in exercises:
        found = verdicts(notebook, exercise)
        assert found, f"nothing checks exercise {exercise.label}"
        for verdict in found:
            assert verdict.startswith(f"Exercise {exercise.label} · correct")


@pytest.mark.long
@pytest.mark.parametrize("lesson", [pytest.param(it, id=it.file) for it in LESSONS if it.ready])
def test_solved(lesson, record_property):
    record_property("solved notebook", lesson.file)
    exercises = importlib.import_module(f"privlab.exercises.lesson_{lesson.number}").EXERCISES
    made = nbform.read(nbform.NOTEBOOKS / lesson.file)
    solve(made, exercises)
    shorten(made)
    execute(made, nbform.NOTEBOOKS, cell_timeout=lesson.budget)
    assert_correct(made, exercises)


# ---- the test itself must be able to fail ------------------------------------------------------

FIRST = SimpleNamespace(label="9.1", names=("double", "half"), reference="double = half = abs")
SECOND = SimpleNamespace(label="9.10", names=("limit",), reference="limit = 3")
STUBS = {
    "def double(x):\n    return ...\n\ndef half(x):\n    return ...": ["double", "half"],
    "a, limit = ..., ...": ["a", "limit"],
}


def stubs():
    return notebook(*(code(source, tags=["answer"]) for source in STUBS), code("limit = 4"))


def test_names_of_a_stub():
    assert {source: list(defined_names(source)) for source in STUBS} == STUBS


def test_each_stub_is_replaced():
    made = stubs()
    solve(made, (SECOND, FIRST))
    assert [cell.source for cell in made.cells] == [FIRST.reference, SECOND.reference, "limit = 4"]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("y = x + 1\nz = y", {"x"}),
        ("x = x + 1", {"x"}),
        ("def f(a, b=c):\n    e = a + d\n    return e", {"c", "d"}),
        ("[i + k for i, j in many]", {"k", "many"}),
        ("a.b[c] += d", {"a", "c", "d"}),
    ],
)
def test_names_that_a_cell_reads(text, taken):
    assert reads(text) == taken


def test_what_no_answer_changes_is_left_out():
    made = notebook(
        code("import slow, privlab\nprivlab.start()", tags=["bootstrap"]),
        code("base = 2\nother = slow.train()"),
        code("double = lambda x: base * x", tags=["answer"]),
        code("q1.check()"),
        code("found = double(3)\nother.show()"),
        code("%matplotlib inline\nother.draw()\nbase = 3"),
        code("found = other\nprint(found)"),
        code("print(base)"),
    )
    shorten(made)
    assert [cell.source for cell in made.cells] == [
        "import slow, privlab\nprivlab.start()",
        "base = 2\nother = slow.train()",
        "double = lambda x: base * x",
        "q1.check()",
        "found = double(3)\nother.show()",
        "",
        "",
        "",
    ]
    made.cells[4].source = "print(7)"
    shorten(made)
    assert [cell.source for cell in made.cells[1:5]] == [
        "base = 2", "double = lambda x: base * x", "q1.check()", ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("exercises", "message"),
    [
        ((FIRST,), "no exercise belongs to the stub"),
        ((FIRST, SECOND, SECOND), "0 stubs define limit of exercise 9.10"),
    ],
)
def test_stubs_and_exercises_must_match(exercises, message):
    with pytest.raises(AssertionError, match=message):
        solve(stubs(), exercises)


@pytest.mark.parametrize(
    ("texts", "good"),
    [
        (["Exercise 9.1 · correct\nfine", "Exercise 9.10 · correct (2 points)"], True),
        (["Exercise 9.1 · not yet", "Exercise 9.10 · correct"], False),
        (["Exercise 9.1 · correct", "Exercise 9.1 · not tried yet"], False),
        (["Exercise 9.10 · correct"], False),
        ([], False),
    ],
)
def test_every_check_must_say_correct(texts, good):
    made = notebook(code("check()", *map(result, texts)))
    if good:
        assert_correct(made, (FIRST, SECOND))
    else:
        with pytest.raises(AssertionError):
            assert_correct(made, (FIRST, SECOND))
