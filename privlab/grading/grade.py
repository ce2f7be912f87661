"""Grading a class: what each submission came to, and which answers look alike."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import __version__
from ..environment import versions
from ..exercise import Exercise
from . import sandbox
from .children import in_children
from .likeness import alike
from .marking import BUDGET, Mark, Marked, fingerprint, mark
from .sandbox import Limits
from .secret import read_stamp, seed
from .senders import Remark, Sorted, Unclear, sort_out
from .submissions import Student, Submission, within
from .tasks import Task, sources
from .words import Marks, answer_in_words

#: Bytes that the tests of a submission may use, beside as many as the submission.
TESTS = 2 << 30

#: Seconds beyond its own time that a submission has before its process is ended.
GRACE = 120


@dataclass(frozen=True)
class Result:
    """What one student's submission for one task came to."""

    student: Student
    task: str
    submission: Submission | None
    marked: Marked

    @property
    def points(self) -> float:
        """All points earned."""
        return sum(mark.points for mark in self.marked.marks)


@dataclass
class Report:
    """What a class came to.

    Attributes:
        tasks: What was graded.
        results: One a student and task, in the order of the roster.
        unclear: Files that could not be graded.
        alike: Label of the exercise, two students' ids, and how much their answers share.
        remarks: What students do not see.
        strange_key: Notebooks bear stamps, and none was made with the key.
    """

    tasks: Sequence[Task]
    results: list[Result]
    unclear: list[Unclear] = field(default_factory=list)
    alike: list[tuple[str, str, str, float]] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    strange_key: bool = False

    @property
    def not_graded(self) -> int:
        """How many answers could not be graded, as a test or the grader itself failed."""
        marks = [mark for result in self.results for mark in result.marked.marks]
        return sum(mark.outcome == "not graded" for mark in marks)

    @property
    def unsent(self) -> list[str]:
        """The tasks that nobody sent."""
        sent = {result.task for result in self.results if result.submission}
        return [task.key for task in self.tasks if task.key not in sent]


# ---- grading -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    student: Student
    task: Task
    submission: Submission
    seed: int
    store: Path
    fingerprint: str
    budget: float
    exercises: Sequence[Exercise]


def grade(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    roster: Sequence[Student] | None,
    key: bytes,
    out: Path,
    *,
    limits: Limits | None = None,
    budget: float = BUDGET,
    jobs: int | None = None,
    marks_by_hand: Marks | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Grade a class. What was graded before, and has not changed since, is not graded again.

    What was stopped for time is tried once more, alone, after the others. That counts for good only
    if the computer had nothing else to do then, and what failed on our side never does: the next
    run grades it again.

    Args:
        submissions: All that was found.
        tasks: What to grade.
        roster: The class; None if whoever sent something is in it.
        key: The instructor's: the same key gives each student the same tests again.
        out: Where results are kept, below ``results/``.
        limits: What a submission may use.
        budget: Seconds that grading one submission may take.
        jobs: How many are graded at a time; None for one a processor.
        marks_by_hand: Points that somebody gave for answers in words.
        progress: Called with how many submissions are done, and how many there are.

    Raises:
        NoSandbox: Code cannot be shut in here.
        ValueError: The key is not the one of these notebooks, or the folder holds the grades of
            something else.
    """
    limits = limits or Limits()
    marks_by_hand = marks_by_hand or Marks()
    if limits.protected:
        sandbox.check()
    _keep_apart(out, tasks)
    stamped = [each for each in submissions if each.stamp]
    strange_key = bool(stamped) and not any(read_stamp(key, each.stamp) for each in stamped)
    if strange_key and len(stamped) > 2:
        raise ValueError(
            f"secret: none of the {len(stamped)} notebooks was handed out with this key: name the "
            "one that privlab assign has made"
        )
    who_sent = sort_out(submissions, tasks, roster, key)
    counted = who_sent.counted
    by_key = {task.key: task for task in tasks}
    texts = {task.key: _source(task) for task in tasks}
    here = versions()
    jobs_todo, done = [], {}
    for (who, task_key), sent in counted.items():
        task = by_key[task_key]
        if sent.problem:
            told = f"The notebook could not be read: {sent.problem}."
            done[who, task_key] = _none(task.exercises, "not tried", notes=(told,))
            continue
        about = (task.key, who, __version__, texts[task_key], repr(limits), repr(budget), *here)
        job = _Job(
            sent.student,
            task,
            sent,
            seed(key, "grading", task.key, who),
            out / "results" / task.key / f"{who}.json",
            fingerprint(sent.cells, key, *about),
            budget,
            task.exercises,
        )
        before = _stored(job)
        if before is None:
            jobs_todo.append(job)
        else:
            done[who, task_key] = before
    progress(len(done), len(counted))
    for job, marked in _graded(jobs_todo, limits, jobs or os.cpu_count() or 1):
        done[job.student.id, job.task.key] = marked
        progress(len(done), len(counted))
    unclear: dict[str, list[Unclear]] = defaultdict(list)
    for each in who_sent.unclear:
        if each.student:
            unclear[each.student.id].append(each)
    students = list(roster) if roster is not None else _students(who_sent)
    results, programs = [], {}
    remarks = [*who_sent.remarks]
    for student in students:
        for task in tasks:
            mine = (student.id, task.key)
            sent = counted.get(mine)
            if mine in done:
                marked = done[mine]
            elif files := unclear[student.id]:
                told = [f"Not graded: {within(each.place, student)}: {each.why}." for each in files]
                marked = _none(task.exercises, "unclear", notes=told)
            else:
                marked = _none(task.exercises, "not tried")
            for each in marked.marks:
                if each.outcome == "not graded":
                    remarks.append(Remark(student.id, each.label, f"Not graded: {each.test}"))
                elif each.outcome not in ("not tried", "unclear"):
                    programs[student.id, each.label] = marked.program.get(each.label, "")
            marked = replace(marked, notes=(*who_sent.notes.get(mine, ()), *marked.notes))
            by_hand, stale = _by_hand(task, student, sent, marks_by_hand)
            marked = replace(marked, marks=(*marked.marks, *by_hand))
            remarks += [Remark(student.id, label, told) for label, told in stale]
            results.append(Result(student, task.key, sent, marked))
    files = list(who_sent.unclear)
    if marks_by_hand.path:
        files += [Unclear(marks_by_hand.path.name, why) for why in marks_by_hand.strangers]
    return Report(tasks, results, files, alike(programs, tasks), remarks, strange_key)


def _students(who_sent: Sorted) -> list[Student]:
    sent = [each.student for each in (*who_sent.counted.values(), *who_sent.unclear)]
    return list({student.id: student for student in sent if student}.values())


def _keep_apart(out: Path, tasks: Sequence[Task]) -> None:
    """Raise ``ValueError`` if a folder holds grades of something that is not graded now.

    Its pages and tables would be written over.
    """
    keys = {task.key for task in tasks}
    results = out / "results"
    before = {path.name for path in results.iterdir() if path.is_dir()} if results.is_dir() else ()
    if left := sorted(set(before) - keys):
        raise ValueError(
            f"out: {out} holds the grades of {', '.join(left)}: grade the same again "
            f"({', '.join(sorted({*before, *keys}))}), or name another folder"
        )


def _none(
    exercises: Sequence[Exercise], outcome: str, *, notes: Sequence[str] = (), **more: str
) -> Marked:
    marks = [Mark(each.label, each.title, 0, each.points, outcome, **more) for each in exercises]
    return Marked(tuple(marks), tuple(notes))


def _source(task: Task) -> str:
    """Return what tells whether a task's tests have changed: their modules and the package."""
    package = Path(__file__).resolve().parent.parent
    files = set(package.rglob("*.py")) - set((package / "exercises").glob("lesson_*.py"))
    files |= sources(task)
    return "\0".join(path.read_text(encoding="utf-8") for path in sorted(files))


def _by_hand(
    task: Task, student: Student, submission: Submission | None, marks: Marks
) -> tuple[list[Mark], list[tuple[str, str]]]:
    """Return what the questions came to, and what was not applied of the marks: label and why."""
    made, stale = [], []
    for question in task.questions:
        answer = answer_in_words(submission, question)
        given, changed = marks.of(student, question, answer)
        points, comment, outcome = 0, "", "not marked yet" if answer else "not tried"
        if given and given.points is not None:
            points, comment, outcome = given.points, given.comment, "by hand"
        elif changed:
            told = "The answer is not the one that was marked: the mark was not applied."
            stale.append((question.label, told))
        elif marks.only_commented(student, question, answer):
            told = "A comment without points: the student does not see it before there are points."
            stale.append((question.label, told))
        made.append(Mark(question.label, question.title, points, question.points, outcome, comment))
    return made, stale


def _stored(job: _Job) -> Marked | None:
    """Return what a submission came to, if it was graded before as it is now."""
    try:
        raw = json.loads(job.store.read_text(encoding="utf-8"))
        if raw["fingerprint"] == job.fingerprint:
            return Marked.from_json(json.dumps(raw["marked"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no result, or half of one: grade again
    return None


def _store(job: _Job, marked: Marked) -> None:
    """Keep a result, wholly or not at all; none that lacks a mark which we owe."""
    if any(each.outcome == "not graded" for each in marked.marks):
        return
    job.store.parent.mkdir(parents=True, exist_ok=True)
    kept = {"fingerprint": job.fingerprint, "marked": json.loads(marked.to_json())}
    draft = job.store.with_suffix(".draft")
    draft.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    os.replace(draft, job.store)


def _graded(todo: Sequence[_Job], limits: Limits, jobs: int) -> Iterator[tuple[_Job, Marked]]:
    """Grade each submission, those that were too slow once more; keep and yield what they came to.

    Of the slow ones the exercises that were stopped for time, with their part of the time.
    """
    slow = []
    for job, marked in _in_parallel(todo, limits, jobs):
        if any(each.slow for each in marked.marks):
            slow.append((job, marked))
        else:
            _store(job, marked)
            yield job, marked
    for job, before in slow:
        stopped = {each.label for each in before.marks if each.slow}
        again = [each for each in job.exercises if each.label in stopped]
        part = sum(each.time_limit for each in again) / sum(
            each.time_limit for each in job.exercises
        )
        alone = replace(job, exercises=again, budget=part * job.budget)
        ((_, after),) = _in_parallel([alone], limits, 1)
        marked = before.updated(after)
        if not (any(each.slow for each in after.marks) and _busy()):
            _store(job, marked)
        yield job, marked


def _busy() -> bool:
    """Whether more has run in the last minute than there are processors."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def _in_parallel(todo: Sequence[_Job], limits: Limits, jobs: int) -> Iterator[tuple[_Job, Marked]]:
    """Grade each submission in a process of its own, some at a time; yield what is done.

    A process of its own, because the tests work on what a submission returns: one that makes a test
    hang or crash costs its own grade, not the run. The tests have their own limits of time; what
    gets round them (computing in C does) is ended here. A few bytes can say that there are a
    thousand million rows: what a test makes of what a submission returns has an end, too.
    """

    def work(job: _Job) -> Iterator[Marked]:
        try:
            yield mark(job.submission.cells, job.exercises, job.seed, limits, job.budget)
        except Exception as error:
            yield _failed(job, f"{type(error).__name__}: {error}"[:300])

    made: dict[Path, Marked] = {}
    for job, marked in in_children(
        todo,
        work,
        seconds=lambda job: job.budget + GRACE,
        memory=limits.memory + TESTS,
        jobs=jobs,
    ):
        if marked is not None:
            made[job.store] = marked
            continue
        why = f"the process that graded it has died, or took longer than {job.budget + GRACE:g} s"
        yield job, made.pop(job.store, None) or _failed(job, why)


def _failed(job: _Job, why: str) -> Marked:
    """Return what is told where the grading itself went wrong; it is tried again the next time."""
    told = "Grading this failed on our side; your instructor has been told."
    return _none(job.exercises, "not graded", message=told, test=why)


# ---- the class at a glance ---------------------------------------------------------------------


def frequent_problems(report: Report, label: str) -> list[tuple[str, int]]:
    """Return what students were told about an exercise and how many, the most frequent first.

    Messages that differ only in their numbers count as the same.
    """
    told: dict[str, list[str]] = defaultdict(list)
    for result in report.results:
        for each in result.marked.marks:
            if each.label == label and each.outcome in ("not yet", "stopped"):
                told[re.sub(r"-?[\d.,]*\d(e[+-]?\d+)?|\s+", "#", each.message)].append(each.message)
    return sorted(
        ((messages[0], len(messages)) for messages in told.values()), key=lambda pair: -pair[1]
    )
