"""Each lesson with every exercise solved: it runs through, and every check says so."""

import ast
import importlib
from types import SimpleNamespace

import nbform
import pytest
from nbmake import code, notebook, result

from privlab.course import LESSONS
from privlab.grading.execution import execute


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
