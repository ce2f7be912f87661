"""How long does it take to grade a class? ``make bench-grading``.

30 students answer the four exercises of a lesson, some rightly, some with a typical mistake, some
not at all. ``privlab grade`` grades them all, from the folder to pages and tables. nbgrader grades
the first few of the same submissions with the same tests, and its time is given for all of them;
both run in the same minutes on the same computer, so the ratio says more than the seconds.

    python tests/benchmarks/grading.py --nbgrader /path/to/python

``--nbgrader`` names a Python in which nbgrader 0.9.6 is installed; without it privlab is timed
alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nbgrader_course import Course, answered

from privlab.exercise import Exercise
from privlab.grading.grade import Report, grade
from privlab.grading.notebooks import course_notebook, stub_cells, write
from privlab.grading.pages import write_report
from privlab.grading.submissions import Student, collect
from privlab.grading.tasks import Task, lesson_task


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


def by_privlab(task: Task, work: dict[str, list], folder: Path) -> tuple[float, Report]:
    """Grade the whole class; return the seconds, and what it came to."""
    for student, chosen in work.items():
        notebook = course_notebook(task)
        cells = {each.label: cell for each, cell in stub_cells(notebook, task.exercises)}
        for exercise, code in chosen:
            cells[exercise.label].source = code
        write(folder / "sent" / student / task.file, notebook)
    began = time.monotonic()
    roster = [Student(student) for student in work]
    found = collect(folder / "sent", roster)
    report = grade(found, [task], roster, bytes(32), folder / "grades")
    write_report(report, folder / "grades")
    return time.monotonic() - began, report


def by_nbgrader(
    task: Task, work: dict[str, list], folder: Path, nbgrader: Path
) -> tuple[float, dict[str, dict[str, float]]]:
    """Grade some of the class in one run; return the seconds, and the points."""
    course = Course(folder, nbgrader, task, course_notebook(task))
    for student, chosen in work.items():
        course.submit(student, answered(course.release, chosen))
    began = time.monotonic()
    if not course.autograde(list(work), patience=3_600):
        raise RuntimeError("nbgrader could not grade all submissions")
    return time.monotonic() - began, course.scores()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nbgrader", type=Path, help="a Python with nbgrader 0.9.6")
    parser.add_argument("--lesson", default="01", help="default: 01; audited ones take longer")
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--some", type=int, default=6, help="how many of them nbgrader grades")
    options = parser.parse_args()
    if options.students < 1 or options.some < 2:
        parser.error("at least one student, of whom nbgrader grades at least two")
    task = lesson_task(options.lesson)
    rng = np.random.default_rng(0)
    work = {f"s{number:03}": answers(task, rng) for number in range(options.students)}
    with tempfile.TemporaryDirectory() as folder:
        seconds, report = by_privlab(task, work, Path(folder))
    each = seconds / len(work)
    print(f"{len(work)} students, {len(task.exercises)} exercises of lesson {task.key}")
    print(f"privlab grade: {seconds:.0f} s, {each:.1f} s a submission")
    if options.nbgrader:
        some = dict(list(work.items())[: options.some])
        with tempfile.TemporaryDirectory() as folder:
            theirs, scores = by_nbgrader(task, some, Path(folder), options.nbgrader)
        one = theirs / len(some)
        print(f"nbgrader: {theirs:.0f} s for {len(some)} of them, {one:.1f} s a submission")
        print(f"nbgrader takes {one / each:.1f} times as long")
        points = {result.student.id: result.points for result in report.results}
        for student, by_label in scores.items():
            if sum(by_label.values()) != points[student]:
                print(f"{student}: {points[student]:g} points, {by_label} from nbgrader")
    return 0


if __name__ == "__main__":
    sys.exit(main())
