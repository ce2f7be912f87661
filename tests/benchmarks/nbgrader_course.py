"""A course of nbgrader's in a folder, for comparisons: release, submit, autograde, read the scores.

nbgrader runs what students sent unprotected, so it is itself put into bubblewrap here, without
network. The notebooks' kernel is the Python that runs this.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import nbformat

from privlab.exercise import Exercise
from privlab.grading.notebooks import for_nbgrader, write
from privlab.grading.tasks import Task

ROOT = Path(__file__).resolve().parent.parent.parent

#: Seconds after which nbgrader itself counts as hanging, for each submission.
PATIENCE = 180

_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "privlab"
c.ClearSolutions.code_stub = {{"python": ""}}
c.ExecutePreprocessor.timeout = {timeout}
"""

#: What nbgrader's own Python is asked at last.
_SCORES = """\
import json, sys
from nbgrader.api import Gradebook
scores = {}
with Gradebook(sys.argv[1]) as book:
    for sent in book.assignment_submissions("work"):
        scores[sent.student.id] = {g.name: g.score for n in sent.notebooks for g in n.grades}
print(json.dumps(scores))
"""


def cell_id(kind: str, label: str) -> str:
    """Return what :func:`privlab.grading.notebooks.for_nbgrader` calls a cell.

    Args:
        kind: ``"answer"`` or ``"test"``.
        label: Of the exercise.
    """
    return f"{kind}-{label.replace('.', '_')}"


def sandboxed(
    python: Path,
    folder: Path,
    patience: float,
    *arguments: str,
    more: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a Python of a venv in bubblewrap: no network, and one folder that it may write to.

    Args:
        python: Of the venv.
        folder: The one folder; kernels are looked for in ``jupyter`` below it.
        patience: Seconds after which it is ended.
        *arguments: Of Python.
        more: Further environment variables.
    """
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }
    folders = [str(folder), str(python.parent.parent)]
    command = [
        *("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"),
        *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        # Whatever of these lies in /tmp is hidden now.
        *("--bind", folders[0], folders[0], "--ro-bind", folders[1], folders[1]),
        *("--ro-bind", sys.prefix, sys.prefix, "--ro-bind", str(ROOT), str(ROOT)),
        *("--chdir", folders[0], "--", str(python), *arguments),
    ]
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"longer than {patience} s")


class Course:
    """One assignment, from its source to the scores.

    Args:
        folder: An empty one, which nbgrader may write to.
        python: A Python with nbgrader 0.9.6.
        task: What is graded.
        notebook: Of the task, as the course has it.
        timeout: Seconds that a cell may take.

    Attributes:
        release: The notebook as students get it.

    Raises:
        RuntimeError: nbgrader cannot make the assignment.
    """

    def __init__(
        self,
        folder: Path,
        python: Path,
        task: Task,
        notebook: nbformat.NotebookNode,
        timeout: int = 300,
    ) -> None:
        self._folder, self._python, self._task = folder, python, task
        write(folder / "source" / "work" / task.file, for_nbgrader(task, notebook))
        (folder / "nbgrader_config.py").write_text(_CONFIG.format(timeout=timeout))
        kernel = folder / "jupyter" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        done = self._run(PATIENCE, "-m", "nbgrader", "generate_assignment", "work")
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        self.release = nbformat.read(folder / "release" / "work" / task.file, as_version=4)

    def _run(self, patience: float, *arguments: str) -> subprocess.CompletedProcess[str]:
        return sandboxed(self._python, self._folder, patience, *arguments)

    def submit(self, student: str, notebook: nbformat.NotebookNode) -> None:
        """Put a student's notebook where nbgrader collects it."""
        write(self._folder / "submitted" / student / "work" / self._task.file, notebook)

    def autograde(self, students: Sequence[str], patience: float = PATIENCE) -> bool:
        """Grade some students, all in one run where they are several; say whether all went well."""
        each = ["--student", students[0]] if len(students) == 1 else []
        done = self._run(patience, "-m", "nbgrader", "autograde", "work", *each)
        if done.returncode and len(students) == 1:
            # Half a grade may stand in the gradebook; students do not get it.
            shutil.rmtree(self._folder / "autograded" / students[0], ignore_errors=True)
        return not done.returncode

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the points by student and label; whoever could not be graded is missing."""
        done = self._run(PATIENCE, "-c", _SCORES, f"sqlite:///{self._folder}/gradebook.db")
        labels = [each.label for each in self._task.exercises]
        return {
            student: {label: grades[cell_id("test", label)] for label in labels}
            for student, grades in json.loads(done.stdout).items()
            if (self._folder / "autograded" / student).is_dir()
        }


def answered(
    release: nbformat.NotebookNode, answers: Sequence[tuple[Exercise, str]]
) -> nbformat.NotebookNode:
    """Return a release with answers in the place of the starter code."""
    made = nbformat.from_dict(release)
    for cell in made.cells:
        for exercise, code in answers:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == cell_id(
                "answer", exercise.label
            ):
                cell.source = code
    return made
