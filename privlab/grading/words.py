"""Answers in words, and the points that a person gives for them.

The table of marks holds beside each mark a few digits that stand for the answer it was given for.
A mark counts for that answer alone: whoever hands in another one is marked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .notebooks import PLACEHOLDER
from .submissions import Student, Submission
from .tables import read_rows, write_rows
from .tasks import Question, Task

COLUMNS = ("student", "name", "question", "points", "comment", "status", "answer")


def answer_in_words(submission: Submission | None, question: Question) -> str:
    """Return what a student wrote to a question, "" where there is nothing."""
    answer = submission.words.get(question.label, "").strip() if submission else ""
    return answer.removeprefix(PLACEHOLDER).strip()


def digest(answer: str) -> str:
    """Return a few digits that stand for an answer; spaces and line ends do not count."""
    if not answer:
        return "none"
    words = " ".join(answer.split()).encode("utf-8", "replace")
    # A spreadsheet would take digits alone, or "12e34", for a number.
    return "x" + hashlib.sha256(words).hexdigest()[:11]


@dataclass(frozen=True)
class Given:
    """One line of the table of marks.

    Attributes:
        student: Their id.
        question: Its label.
        points: What was given, or None.
        comment: For the student.
        answer: The :func:`digest` of the answer that was marked, "" if the table does not say.
        name: The student's, for whoever reads the table.
    """

    student: str
    question: str
    points: float | None = None
    comment: str = ""
    answer: str = ""
    name: str = ""


@dataclass(frozen=True)
class Marks:
    """Points given by hand.

    Attributes:
        lines: By the student's id in lower case and the question's label.
        path: Where they were read.
        separator: What stands between columns there.
        strangers: What is odd about lines, which count for nobody.
    """

    lines: Mapping[tuple[str, str], Sequence[Given]] = field(default_factory=dict)
    path: Path | None = None
    separator: str = ","
    strangers: Sequence[str] = ()

    def of(self, student: Student, question: Question, answer: str) -> tuple[Given | None, bool]:
        """Find the mark for an answer.

        Returns:
            The mark, or None; and whether there is one for another answer of the same student.
        """
        lines = self.lines.get((student.id.casefold(), question.label), ())
        marked = [line for line in lines if line.points is not None]
        for wanted in (digest(answer), ""):
            for line in marked:
                if line.answer == wanted:
                    return line, False
        return None, bool(marked)

    def only_commented(self, student: Student, question: Question, answer: str) -> bool:
        """Whether a comment, but no points, was written to an answer."""
        lines = self.lines.get((student.id.casefold(), question.label), ())
        return any(
            line.points is None and line.comment and line.answer in (digest(answer), "")
            for line in lines
        )


def read_marks(path: Path, tasks: Sequence[Task], roster: Sequence[Student] | None = None) -> Marks:
    """Read points given by hand: the columns ``student``, ``question``, ``points``, ``comment``.

    As spreadsheets write it: comma, semicolon or tab between columns, ``1.5`` or ``1,5``. A line
    whose column ``answer`` is empty counts for whatever the student has answered.

    Args:
        path: The file.
        tasks: With the questions.
        roster: The class; None if anybody may be named. A line for somebody else counts for nobody
            and is kept: students leave.

    Raises:
        ValueError: A line names no question of the tasks, or no number from 0 to its points, or
            there are two for the same answer.
    """
    allowed = {each.label: each.points for task in tasks for each in task.questions}
    known = {student.id.casefold() for student in roster or ()}
    rows = read_rows(path, "marks")
    if not {"student", "question", "points"} <= set(rows.columns):
        raise ValueError(f"marks: {path.name} needs the columns student, question and points")
    marks: dict[tuple[str, str], list[Given]] = {}
    strangers = []
    for number, row in rows.lines:
        points, comment = row["points"], row.get("comment", "")
        if not (points or comment):
            continue
        where = f"marks: line {number} of {path.name}"
        label = row["question"]
        if label not in allowed:
            raise ValueError(
                f"{where} names the question {label!r}; there are {', '.join(allowed) or 'none'}"
            )
        # What keeps spreadsheets from seeing a formula stands before it.
        who = row["student"].removeprefix("'")
        value = _number(points)
        if points and not (value is not None and 0 <= value <= allowed[label]):
            raise ValueError(f"{where}: points must be 0 to {allowed[label]}, not {points!r}")
        line = Given(who, label, value, comment, row.get("answer", ""), row.get("name", ""))
        mine = marks.setdefault((who.casefold(), label), [])
        if any(line.answer == other.answer for other in mine):
            raise ValueError(f"{where} gives {who!r} points for {label} a second time")
        mine.append(line)
        if roster is not None and who.casefold() not in known:
            strangers.append(f"line {number} names {who!r}, who is not in the roster")
    return Marks(marks, path, rows.separator, strangers)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def write_marks(
    path: Path,
    answers: Sequence[tuple[Student, Question, str]],
    marks: Marks,
) -> None:
    """Write the table of marks: a line for each answer, with the points that it has.

    What was written for earlier answers, and for students who have left, stays. A table that was
    not read, because the marks stand elsewhere, is left alone.

    Args:
        path: The table.
        answers: Each student's to each question, "" where there is none.
        marks: What was read.
    """
    if path.exists() and not (marks.path and marks.path.resolve() == path.resolve()):
        return
    left = {key: list(lines) for key, lines in marks.lines.items()}
    rows = []

    def write(line: Given, status: str) -> None:
        points = "" if line.points is None else f"{line.points:g}"
        if marks.separator == ";":
            points = points.replace(".", ",")
        rows.append(
            (line.student, line.name, line.question, points, line.comment, status, line.answer)
        )

    for student, question, answer in answers:
        now = digest(answer)
        lines = left.pop((student.id.casefold(), question.label), [])
        mine = [line for line in lines if line.answer in (now, "")]
        mine.sort(key=lambda line: (line.points is None, line.answer == ""))
        for line in lines:
            if line not in mine:
                write(replace(line, student=student.id, name=student.name), "an earlier answer")
        blank = Given(student.id, question.label)
        line = replace((mine or [blank])[0], student=student.id, name=student.name, answer=now)
        marked = line.points is not None
        write(line, "marked" if marked else "to be marked" if answer else "no answer")
    for lines in left.values():
        for line in lines:
            write(line, "not in the class")
    write_rows(path, COLUMNS, rows, marks.separator)
