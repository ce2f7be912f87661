"""Notebooks as they are handed out, and as they look solved."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from ..exercise import Exercise
from .secret import stamp
from .tasks import Task

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Where the course's notebooks are: beside the package, in a checkout.
NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"

#: What stands where an answer in words goes.
PLACEHOLDER = "Write your answer here."

_START = re.compile(r"""privlab\.start\((["']\d\d["'])\)""")


def course_notebook(task: Task) -> NotebookNode:
    """Read a lesson's notebook.

    Raises:
        ValueError: This is no checkout: the notebooks are not part of the installed package.
    """
    import nbformat

    path = NOTEBOOKS / task.file
    if not path.exists():
        raise ValueError(
            f"there is no {task.file} beside the package: hand-outs are made in a checkout "
            "of the course (git clone), not from an installed package"
        )
    return nbformat.read(path, as_version=4)


def defined_names(source: str) -> Iterator[str]:
    """Yield the functions and variables that a cell defines at its top level."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        for target in getattr(node, "targets", []):
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def stub_cells(
    notebook: NotebookNode, exercises: Sequence[Exercise]
) -> list[tuple[Exercise, NotebookNode]]:
    """Return each exercise with the cell that its answer goes into.

    Raises:
        ValueError: A cell tagged ``answer`` belongs to no exercise, or an exercise has no cell.
    """
    stubs = [cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])]
    pairs = []
    for exercise in exercises:
        name = exercise.names[0]
        found = [cell for cell in stubs if name in defined_names(cell.source)]
        if len(found) != 1:
            raise ValueError(f"{len(found)} stubs define {name} of exercise {exercise.label}")
        pairs.append((exercise, found[0]))
        stubs.remove(found[0])
    if stubs:
        raise ValueError(f"no exercise belongs to the stub\n{stubs[0].source}")
    return pairs


def solve(notebook: NotebookNode, exercises: Sequence[Exercise]) -> None:
    """Put each exercise's reference in the place of its stub.

    Raises:
        ValueError: Stubs and exercises do not match.
    """
    for exercise, cell in stub_cells(notebook, exercises):
        cell.source = exercise.reference.strip()


def private_notebook(task: Task) -> NotebookNode:
    """Make the notebook of an instructor's own task: texts and stubs, nothing that checks them."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    cells = [new_markdown_cell(f"# {task.title}\n\n{task.text}".strip())]
    for exercise in task.exercises:
        points = f"{exercise.points} point{'s' if exercise.points != 1 else ''}"
        cells += [
            new_markdown_cell(
                f"## Exercise {exercise.label} · {exercise.title}\n\n{exercise.task.strip()}\n\n"
                f"({points})"
            ),
            new_code_cell(exercise.stub.strip(), metadata={"tags": ["answer"]}),
        ]
    for question in task.questions:
        points = f"{question.points} point{'s' if question.points != 1 else ''}"
        cells += [
            new_markdown_cell(
                f"## Question {question.label} · {question.title}\n\n{question.text.strip()}\n\n"
                f"({points})"
            ),
            new_markdown_cell(f"<!-- answer {question.label} -->\n\n{PLACEHOLDER}"),
        ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same notebook each time it is made
    return notebook


def handed_out(task: Task, notebook: NotebookNode, key: bytes, student: str) -> NotebookNode:
    """Return the notebook for one student: with a stamp, and with checks on data of their own.

    Args:
        task: What the notebook holds.
        notebook: As for everybody.
        key: The instructor's.
        student: Their id; "" for a notebook that is for nobody in particular.
    """
    made = deepcopy(notebook)
    proof = stamp(key, task.key, student)
    made.metadata["privlab"] = {"task": task.key, "assignment": proof}
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.source = _START.sub(rf'privlab.start(\1, assignment="{proof}")', cell.source)
    return made


def for_nbgrader(task: Task, notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as a source that ``nbgrader generate_assignment`` takes.

    Answers become solution cells; each check becomes a test cell that calls the same tests, the
    hidden ones below nbgrader's own mark.
    """
    made = deepcopy(notebook)
    for cell in made.cells:
        cell.metadata.pop("nbgrader", None)
    by_check = {}
    for number, (exercise, cell) in enumerate(stub_cells(made, task.exercises), start=1):
        stub = cell.source
        cell.source = f"{stub}\n### BEGIN SOLUTION\n{exercise.reference.strip()}\n### END SOLUTION"
        cell.metadata["nbgrader"] = _nbgrader(f"answer-{exercise.label}", solution=True)
        by_check[f"q{number}.check()"] = exercise
    for cell in made.cells:
        exercise = by_check.pop(cell.source.strip(), None)
        if exercise is None:
            continue
        name = cell.source.split(".")[0]
        cell.source = (
            f"{name}.require()\n### BEGIN HIDDEN TESTS\n{name}.require(hidden=True)\n"
            "### END HIDDEN TESTS"
        )
        cell.metadata["nbgrader"] = _nbgrader(
            f"test-{exercise.label}", grade=True, locked=True, points=exercise.points
        )
        cell.outputs, cell.execution_count = [], None
    if by_check:
        raise ValueError(f"{task.file} has no cell with {next(iter(by_check))} alone")
    return made


def _nbgrader(name: str, **more: object) -> dict[str, object]:
    return {
        "grade_id": name.replace(".", "_"),  # nbgrader takes letters, digits, _ and - alone
        "schema_version": 3,
        "grade": False,
        "solution": False,
        "locked": False,
        "task": False,
        **more,
    }


def write(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook, and the folder that it goes into."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
