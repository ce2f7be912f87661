"""Everything that grading a class writes for people: pages, tables, what a platform takes."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .grade import Report, Result
from .pages import by_student, class_page, heading, number, says, student_page, words_page
from .senders import Remark
from .submissions import MOODLE
from .tables import write_rows
from .words import Marks, answer_in_words, write_marks


def write_report(report: Report, out: Path, marks: Marks | None = None) -> None:
    """Write all pages and tables into a folder.

    ``grades.csv`` has everything; ``moodle.csv`` and ``canvas.csv`` have what these import;
    ``class.html`` is for the instructor, ``feedback/<id>.html`` for each student, ``feedback.zip``
    for Moodle. Pages of students who are not in the class any more are removed.

    Args:
        report: What the class came to.
        out: The folder; it is made.
        marks: Points given by hand, as they were read.
    """
    folder = out / "feedback"
    folder.mkdir(parents=True, exist_ok=True)
    students = by_student(report)
    pages = {}
    for student, results in students:
        page = student_page(student, results, report.tasks)
        pages[student.id] = page
        (folder / f"{student.id}.html").write_text(page, encoding="utf-8")
    for path in folder.glob("*.html"):
        if path.stem not in pages:
            path.unlink()
    _tables(report, out)
    folders, left_out = _folders_of_moodle(report)
    _for_moodle(out / "feedback.zip", folders, pages)
    told = "Two folders of Moodle's lead to this student: feedback.zip has the page for neither."
    remarks = [Remark(student, "feedback.zip", told) for student in left_out]
    report = replace(report, remarks=[*report.remarks, *remarks])
    (out / "class.html").write_text(class_page(report), encoding="utf-8")
    if any(task.questions for task in report.tasks):
        (out / "free_text.html").write_text(words_page(report), encoding="utf-8")
        sent = {(each.student.id, each.task): each.submission for each in report.results}
        answers = [
            (student, question, answer_in_words(sent[student.id, task.key], question))
            for task in report.tasks
            for question in task.questions
            for student, _ in students
        ]
        write_marks(out / "free_text.csv", answers, marks or Marks())


def _tables(report: Report, out: Path) -> None:
    """Write the tables of points.

    Where nothing was sent platforms get no points, not 0. What could not be graded, and each sum
    that lacks it, has no points anywhere.
    """
    labels = [e.label for t in report.tasks for e in (*t.exercises, *t.questions)]
    rows, moodle, canvas = [], [], []
    for student, results in by_student(report):
        marks = {mark.label: mark for result in results for mark in result.marked.marks}
        notes = [note for result in results for note in result.marked.notes]
        notes += [each.text for each in report.remarks if each.student == student.id]
        noted = "; ".join(note.rstrip(".") for note in dict.fromkeys(notes))
        told = "; ".join(f"{label}: {says(marks[label])}" for label in labels)
        none = ("not graded", "unclear")
        points = ["" if marks[e].outcome in none else number(marks[e].points) for e in labels]
        whole = not any(map(_lacks, results))
        total = number(sum(result.points for result in results)) if whole else ""
        rows.append([student.id, student.name, student.email, *points, total, noted])
        by_task = [
            number(result.points) if _sent(result) and not _lacks(result) else ""
            for result in results
        ]
        grade = [total, told] if any(map(_sent, results)) else ["", ""]
        moodle.append([student.id, student.email, *by_task, *grade])
        canvas.append([student.name or student.id, "", student.id, "", "", *by_task])
    out_of = sum(task.out_of for task in report.tasks)
    head = ["id", "name", "email", *labels, f"points of {number(out_of)}", "notes"]
    write_rows(out / "grades.csv", head, rows)
    titles = [heading(task) for task in report.tasks]
    head = ["ID number", "Email address", *titles, "Grade", "Feedback comments"]
    write_rows(out / "moodle.csv", head, moodle)
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles]
    possible = ["    Points Possible", "", "", "", "", *(task.out_of for task in report.tasks)]
    write_rows(out / "canvas.csv", head, [possible, *canvas])


def _sent(result: Result) -> bool:
    """Whether there is something that points can be given for."""
    by_hand = any(mark.outcome == "by hand" for mark in result.marked.marks)
    return result.submission is not None or by_hand


def _lacks(result: Result) -> bool:
    """Whether an answer could not be graded through no fault of its own."""
    return any(mark.outcome == "not graded" for mark in result.marked.marks)


def _folders_of_moodle(report: Report) -> tuple[dict[str, str], list[str]]:
    """Return whose page goes into which of Moodle's folders, and whose into none.

    Moodle knows a participant by the number in the name of a folder, as it stood in the download;
    numbers of another assignment it passes over. Where it is not certain that a folder is a
    student's, nobody's page goes there.
    """
    places = [
        (each.student.id, each.submission.place) for each in report.results if each.submission
    ]
    places += [(each.student.id, each.place) for each in report.unclear if each.student]
    whose: dict[str, set[str]] = defaultdict(set)
    # In one download a student has one folder.
    theirs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for student, place in places:
        around = ""
        for part in place.split("/"):
            if found := MOODLE.match(part):
                folder = found[0].removesuffix("_")
                whose[folder].add(student)
                theirs[student, around].add(folder)
                break
            around += f"{part}/"
    doubtful = {student for (student, _), folders in theirs.items() if len(folders) > 1}
    doubtful |= {each for students in whose.values() if len(students) > 1 for each in students}
    certain = {
        folder: student
        for folder, students in whose.items()
        for student in students
        if student not in doubtful
    }
    return certain, sorted(doubtful)


def _for_moodle(path: Path, folders: Mapping[str, str], pages: Mapping[str, str]) -> None:
    """Write the pages as Moodle's "Upload multiple feedback files in a zip" takes them."""
    path.unlink(missing_ok=True)
    if folders:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for folder, student in sorted(folders.items()):
                # The same date each time: what has not changed is the same file.
                entry = zipfile.ZipInfo(f"{folder}_/feedback.html")
                archive.writestr(entry, pages[student], zipfile.ZIP_DEFLATED)
