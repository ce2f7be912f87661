"""Hand-outs for a class, and the solved notebooks for whoever teaches it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..course import LESSONS
from .notebooks import (
    course_notebook,
    for_nbgrader,
    handed_out,
    private_notebook,
    solve,
    write,
)
from .secret import read_key
from .submissions import Student, read_roster
from .tasks import Task

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: What nbgrader must be told: the starter code above a solution is the stub already.
_NBGRADER_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "privlab"
c.ClearSolutions.code_stub = {"python": ""}
# Tests are seconds of work, not milliseconds.
c.ExecutePreprocessor.timeout = 300
"""


def assign(
    tasks: Sequence[Task],
    out: Path,
    roster: Path | None,
    secret: Path,
    nbgrader: bool = False,
) -> int:
    """Write the notebooks to hand out.

    Args:
        tasks: What to hand out.
        out: The folder; it must not hold anything yet.
        roster: The class, each with a folder of their own; None for one hand-out for all.
        secret: The instructor's key; it is made if it is not there.
        nbgrader: Write sources for nbgrader instead, one folder a task.

    Returns:
        How many notebooks were written.

    Raises:
        ValueError: Something that was given is not what it should be.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {out} is there already and is not empty: name a new folder")
    if secret.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"secret: the key must not lie in {out}, which is handed out")
    if nbgrader:
        if roster:
            raise ValueError("roster: --format nbgrader makes one source for all; leave it out")
        private = [task.key for task in tasks if not task.key.isdecimal()]
        if private:
            raise ValueError(
                f"private: {private[0]} cannot go to nbgrader, whose tests run beside the answers: "
                "grade it with privlab grade"
            )
        sources = [(task, for_nbgrader(task, course_notebook(task))) for task in tasks]
        for task, made in sources:
            write(out / "source" / f"lesson_{task.key}" / task.file, made)
        (out / "nbgrader_config.py").write_text(_NBGRADER_CONFIG, encoding="utf-8")
        return len(tasks)
    students = read_roster(roster) if roster else [Student("")]
    blanks = [(task, _blank(task)) for task in tasks]
    key = read_key(secret)
    for task, blank in blanks:
        for student in students:
            made = handed_out(task, blank, key, student.id)
            write(out / student.id / task.file, made)
    return len(tasks) * len(students)


def _blank(task: Task) -> NotebookNode:
    return course_notebook(task) if task.key.isdecimal() else private_notebook(task)


def solutions(tasks: Sequence[Task], out: Path) -> list[Path]:
    """Write the solved notebooks, executed.

    Returns:
        Where they are.

    Raises:
        ValueError: A notebook does not run through.
    """
    from tqdm import tqdm

    from .execution import ExecutionFailed, execute

    paths = []
    budgets = {lesson.number: lesson.budget for lesson in LESSONS}
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for task in tasks:
        notebook = _blank(task)
        solve(notebook, task.exercises)
        made.append((task, notebook))
    cells = sum(cell.cell_type == "code" for _, notebook in made for cell in notebook.cells)
    with tqdm(total=cells, unit="cell", desc="Executing", smoothing=0) as bar:
        for task, notebook in made:
            try:
                timeout = 2 * budgets.get(task.key, 60)
                execute(notebook, out, timeout, lambda: bar.update())
            except ExecutionFailed as failure:
                raise ValueError(f"{task.file} does not run through: {failure}") from None
            path = out / task.file
            write(path, notebook)
            paths.append(path)
    return paths
