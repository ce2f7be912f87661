"""Each lesson with every exercise solved: it runs through, and every check says so."""

import ast
import importlib

import nbform
import pytest
from nbexec import execute

from privlab.course import LESSONS


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


def shown(notebook):
    """The text of everything that the notebook displays."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [output.data.get("text/plain", "") for output in outputs if "data" in output]


@pytest.mark.long
@pytest.mark.parametrize("lesson", [pytest.param(it, id=it.file) for it in LESSONS if it.ready])
def test_solved(lesson, record_property):
    record_property("solved notebook", lesson.file)
    exercises = importlib.import_module(f"privlab.exercises.lesson_{lesson.number}").EXERCISES
    notebook = nbform.read(nbform.NOTEBOOKS / lesson.file)
    solve(notebook, exercises)
    execute(notebook, nbform.NOTEBOOKS, cell_timeout=lesson.budget)
    texts = shown(notebook)
    for exercise in exercises:
        told = [text for text in texts if text.startswith(f"Exercise {exercise.label} ·")]
        assert told, f"nothing checks exercise {exercise.label}"
        wrong = [t for t in told if not t.startswith(f"Exercise {exercise.label} · correct")]
        assert not wrong, wrong[0]
