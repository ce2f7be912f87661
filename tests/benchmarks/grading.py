"""Grading a class: against nbgrader and otter-grader.

Invented students answer the exercises of lesson 01, three in five answers right, one in five a
typical mistake, one in five missing. ``privlab grade`` takes them from the folder to marks, pages
and tables, with the hidden tests, each answer in a sandbox. nbgrader 0.9.6 (``autograde``, the
class in one run) and otter-grader 7.0.0 (``otter run``, one notebook at a time) grade the first few
of the same notebooks with the same tests. Their points must agree with privlab's; where they do
not, the sentence below says so. Everything runs once.

The peers run the whole lesson for each student; ``privlab grade`` runs the lines that the answers
need, two students at a time. What is left are the tests themselves: a lesson whose answers are
audited with tens of thousands of calls takes longer.

Not measured: Docker images of otter-grader (they add to its time), feedback pages of the peers,
lessons with long tests (``--lesson 03``). What a cheat earns from each is another page:
``grading_cheats.py`` makes the table in [docs/grading_cheats.md](../../docs/grading_cheats.md).
"""

from __future__ import annotations

import json
import site
import sys
import tempfile
import time
from functools import cached_property, partial
from pathlib import Path

import bench
import nbformat
import numpy as np
from nbgrader_course import ROOT, Course, answered, sandboxed

from privlab.exercise import Exercise
from privlab.grading.grade import grade
from privlab.grading.notebooks import course_notebook, for_nbgrader, stub_cells, write
from privlab.grading.report import write_report
from privlab.grading.submissions import Student, collect
from privlab.grading.tasks import Task, lesson_task

BASE, NBGRADER, OTTER = "privlab grade", "nbgrader autograde", "otter run"
PATIENCE = 1_800  # seconds

#: A test of otter-grader's, which calls the same tests as nbgrader's cells do.
_OTTER_TEST = """\
OK_FORMAT = True
code = ">>> {name}.require()\\n>>> {name}.require(hidden=True)"
case = {{"code": code, "hidden": False, "locked": False}}
suite = {{"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}}
test = {{"name": "{name}", "points": {points}, "suites": [suite]}}
"""


def answers(task: Task, rng: np.random.Generator) -> list[tuple[Exercise, str]]:
    """Return what one student writes: three in five answers are right, one in five is missing."""
    chosen = []
    for exercise in task.exercises:
        draw = rng.random()
        if draw < 0.6:
            chosen.append((exercise, exercise.reference))
        elif draw < 0.8:
            mistake = exercise.mistakes[rng.integers(len(exercise.mistakes))]
            chosen.append((exercise, mistake.code))
    return chosen


class Class:
    """A class of invented students; each way grades the first few, and returns points by student.

    Args:
        task: What they answer.
        students: How many there are.
    """

    def __init__(self, task: Task, students: int) -> None:
        rng = np.random.default_rng(0)
        self._task = task
        self._work = {f"s{number:03}": answers(task, rng) for number in range(students)}
        self._folder = tempfile.TemporaryDirectory()
        self._courses: dict[int, Course] = {}

    def close(self) -> None:
        """Delete what was made for the peers."""
        self._folder.cleanup()

    def prepare_nbgrader(self, sizes: list[int]) -> None:
        """Make what the peers make once for an assignment: it is not part of the race."""
        python = bench.peer_python("nbgrader")
        for number in sizes:
            folder = Path(self._folder.name, f"nbgrader-{number}")
            folder.mkdir()
            course = Course(folder, python, self._task, course_notebook(self._task))
            for student, chosen in self.first(number).items():
                course.submit(student, answered(course.release, chosen))
            self._courses[number] = course

    @cached_property
    def _otter(self) -> Path:
        return bench.peer_python("otter")

    @cached_property
    def _autograder(self) -> bytes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "tests").mkdir()
            for place, exercise in enumerate(self._task.exercises, start=1):
                text = _OTTER_TEST.format(name=f"q{place}", points=exercise.points)
                (folder / "tests" / f"q{place}.py").write_text(text)
            self._run_otter(folder, "generate", "-t", "tests", "-o", "autograder.zip")
            return (folder / "autograder.zip").read_bytes()

    def prepare_otter(self) -> None:
        """Make the archive of tests."""
        assert self._autograder

    def first(self, number: int) -> dict[str, list[tuple[Exercise, str]]]:
        """Return what the first few students wrote."""
        return dict(list(self._work.items())[:number])

    def by_privlab(self, number: int) -> dict[str, float]:
        """Grade with privlab."""
        with tempfile.TemporaryDirectory() as name:
            folder, roster = Path(name), [Student(student) for student in self.first(number)]
            for student, chosen in self.first(number).items():
                notebook = course_notebook(self._task)
                cells = {
                    each.label: cell for each, cell in stub_cells(notebook, self._task.exercises)
                }
                for exercise, code in chosen:
                    cells[exercise.label].source = code
                write(folder / "sent" / student / self._task.file, notebook)
            found = collect(folder / "sent", roster)
            report = grade(found, [self._task], roster, bytes(32), folder / "grades")
            write_report(report, folder / "grades")
        return {result.student.id: result.points for result in report.results}

    def by_nbgrader(self, number: int) -> dict[str, float]:
        """Grade with nbgrader, all in one run; once for each number."""
        course = self._courses.pop(number)
        if not course.autograde(list(self.first(number)), patience=PATIENCE):
            raise RuntimeError("nbgrader could not grade all submissions")
        return {student: sum(points.values()) for student, points in course.scores().items()}

    def by_otter(self, number: int) -> dict[str, float]:
        """Grade with otter-grader, one after the other."""
        source = for_nbgrader(self._task, course_notebook(self._task))
        found = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "autograder.zip").write_bytes(self._autograder)
            for student, chosen in self.first(number).items():
                write(folder / "work.ipynb", _without_tests(source, self._task, chosen))
                self._run_otter(folder, "run", "-a", "autograder.zip", "-o", ".", "work.ipynb")
                results = json.loads((folder / "results.json").read_text())["tests"]
                found[student] = sum(each.get("score", 0.0) for each in results)
        return found

    def _run_otter(self, folder: Path, *arguments: str) -> None:
        # What the answers import is in the environment that runs this; otter-grader's own packages
        # come before it.
        own = next((self._otter.parent.parent / "lib").glob("python3*")) / "site-packages"
        more = {"PYTHONPATH": ":".join(map(str, (ROOT, own, *site.getsitepackages())))}
        done = sandboxed(self._otter, folder, PATIENCE, "-m", "otter", *arguments, more=more)
        if done.returncode:
            raise RuntimeError(f"otter {arguments[0]}: {done.stdout[-1000:]}{done.stderr[-2000:]}")


def _without_tests(
    source: nbformat.NotebookNode, task: Task, chosen: list[tuple[Exercise, str]]
) -> nbformat.NotebookNode:
    """Return a notebook with answers, without the cells that check them."""
    made = answered(source, chosen)
    kept = []
    for cell in made.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("grade"):
            continue
        if marks.get("solution") and "### BEGIN SOLUTION" in cell.source:
            cell.source = cell.source.partition("### BEGIN SOLUTION")[0]  # not answered: the stub
        kept.append(cell)
    made.cells = kept
    return made


def main() -> int:
    """Measure and print."""
    started, parser = time.perf_counter(), bench.parser(__doc__)
    parser.add_argument("--lesson", default="01", help="default: 01; audited ones take longer")
    options = parser.parse_args()
    bench.one_thread()
    sizes = [1, 2] if options.quick else [1, 2, 4, 30]
    # The peers at three sizes, too: the fourth would take them an hour.
    most = {NBGRADER: sizes[-2], OTTER: sizes[-2]}
    task = lesson_task(options.lesson)
    group = Class(task, sizes[-1])
    ways, skipped = {BASE: group.by_privlab}, {}
    some = [size for size in sizes if size <= most[NBGRADER]]
    for way, peer, prepare in (
        (NBGRADER, group.by_nbgrader, partial(group.prepare_nbgrader, some)),
        (OTTER, group.by_otter, group.prepare_otter),
    ):
        try:
            prepare()
            ways[way] = peer
        except bench.Skip as reason:
            skipped[way] = str(reason)
    result = bench.race(ways, sizes, 1, most=most)
    group.close()
    apart = []
    for way, values in result.values.items():
        for size, points in values.items():
            ours = result.values[BASE][size]
            apart += [
                f"{student} has {ours[student]:g} points, {points.get(student, 0):g} by {way}"
                for student in ours
                if points.get(student, 0) != ours[student]
            ]

    shared = min(max(by_size) for by_size in result.costs.values() if by_size)

    def wall(way: str) -> str:
        return f"{60 * shared / result.costs[way][shared][0].wall:.1f}"

    ratios = [
        f"{way} takes {bench.short(result.ratio(way, BASE, max(by_size))[0])} times the CPU time "
        f"with {max(by_size)} students"
        for way, by_size in result.costs.items()
        if way != BASE and by_size
    ]
    bench.finish(
        "grading", __doc__, options, started, ["nbformat", "ipykernel"],
        tables=[
            bench.table(
                result, BASE, sizes, "students",
                lambda size, cpu: f"{bench.short(60 * size / cpu)} a CPU minute",
                {f"a minute of wall time ({shared} students)": wall},
            )
        ],
        sentence=f"{'; '.join(ratios) or 'No peer ran'}. "
        + (f"Points differ: {'; '.join(dict.fromkeys(apart))}." if apart else "All points agree."),
        skipped={**skipped, **result.skipped},
        costs={"": bench.raw(result)},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
