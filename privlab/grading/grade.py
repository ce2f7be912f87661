"""Grading a class: what each submission came to, and which answers look alike."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from .. import __version__
from . import sandbox
from .likeness import alike
from .marking import Mark, Marked, fingerprint, mark
from .sandbox import Limits
from .secret import read_stamp, seed
from .senders import Remark, Sorted, Unclear, sort_out
from .submissions import Student, Submission, within
from .tasks import Task, sources
from .words import Marks, answer_in_words

#: Bytes that the tests of a submission may use, beside as many as the submission.
TESTS = 2 << 30


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
    """

    tasks: Sequence[Task]
    results: list[Result]
    unclear: list[Unclear] = field(default_factory=list)
    alike: list[tuple[str, str, str, float]] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

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


def grade(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    roster: Sequence[Student] | None,
    key: bytes,
    out: Path,
    *,
    limits: Limits | None = None,
    jobs: int | None = None,
    marks_by_hand: Marks | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Grade a class. What was graded before, and has not changed since, is not graded again.

    Args:
        submissions: All that was found.
        tasks: What to grade.
        roster: The class; None if whoever sent something is in it.
        key: The instructor's: the same key gives each student the same tests again.
        out: Where results are kept, below ``results/``.
        limits: What a submission may use.
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
    stamped = [each for each in submissions if each.assignment]
    if len(stamped) > 2 and not any(read_stamp(key, each.assignment) for each in stamped):
        raise ValueError(
            f"secret: none of the {len(stamped)} notebooks was handed out with this key: name the "
            "one that privlab assign has made"
        )
    who_sent = sort_out(submissions, tasks, roster, key)
    counted = who_sent.counted
    by_key = {task.key: task for task in tasks}
    texts = {task.key: _source(task) for task in tasks}
    jobs_todo, done = [], {}
    for (who, task_key), sent in counted.items():
        task = by_key[task_key]
        if sent.problem:
            told = f"The notebook could not be read: {sent.problem}."
            done[who, task_key] = _none(task, "not tried", "", (told,))
            continue
        about = (task.key, who, __version__, texts[task_key], repr(limits))
        job = _Job(
            sent.student,
            task,
            sent,
            seed(key, "grading", task.key, who),
            out / "results" / task.key / f"{who}.json",
            fingerprint(sent.cells, key, *about),
        )
        before = _stored(job)
        if before is None:
            jobs_todo.append(job)
        else:
            done[who, task_key] = before
    progress(len(done), len(counted))
    for job, marked in _in_parallel(jobs_todo, limits, jobs or os.cpu_count() or 1):
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
                marked = _none(task, "unclear", "", told)
            else:
                marked = _none(task, "not tried", "", ())
            for each in marked.marks:
                if each.outcome == "not graded":
                    remarks.append(Remark(student.id, each.label, f"A test failed: {each.test}"))
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
    return Report(tasks, results, files, alike(programs, tasks), remarks)


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


def _none(task: Task, outcome: str, message: str, notes: Sequence[str]) -> Marked:
    marks = tuple(
        Mark(each.label, each.title, 0, each.points, outcome, message) for each in task.exercises
    )
    return Marked(marks, tuple(notes))


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
    """Keep a result, wholly or not at all."""
    job.store.parent.mkdir(parents=True, exist_ok=True)
    kept = {"fingerprint": job.fingerprint, "marked": json.loads(marked.to_json())}
    draft = job.store.with_suffix(".draft")
    draft.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    os.replace(draft, job.store)


def _in_parallel(todo: Sequence[_Job], limits: Limits, jobs: int) -> Iterator[tuple[_Job, Marked]]:
    """Grade each submission in a process of its own, some at a time; yield what is done.

    A process of its own, because the tests work on what a submission returns: one that makes a test
    hang or crash costs its own grade, not the run. The tests have their own limits of time; what
    gets round them (computing in C does) is ended here.
    """
    context = multiprocessing.get_context("fork")
    waiting, running = list(reversed(todo)), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                job = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, limits, theirs, os.getpid()))
                process.start()
                theirs.close()
                longest = sum(
                    10 * each.time_limit + 2 * limits.seconds for each in job.task.exercises
                )
                running[ours] = (job, process, time.monotonic() + longest)
            for _, process, end in running.values():
                if time.monotonic() > end:
                    process.kill()
            for ready in wait(list(running), timeout=10):
                job, process, _ = running.pop(ready)
                marked = _received(ready, job)
                process.join()
                yield job, marked
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join()


def _work(job: _Job, limits: Limits, pipe: Connection, parent: int) -> None:
    """Grade one submission and send what it came to; what it prints goes nowhere."""
    # Ctrl-C reaches all processes of a terminal: the one that started this one decides. Should that
    # one be killed, this one goes with it (PR_SET_PDEATHSIG), and so does the sandbox.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        # A few bytes can say that there are a thousand million rows: what a test makes of what a
        # submission returns has an end, too.
        room = psutil.Process().memory_info().data + limits.memory + TESTS
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    if os.getppid() != parent:
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            marked = mark(job.submission.cells, job.task.exercises, job.seed, limits)
        except Exception as error:
            marked = _failed(job, f"{type(error).__name__}: {error}"[:300])
        else:
            _store(job, marked)
    pipe.send(marked.to_json())


def _received(pipe: Connection, job: _Job) -> Marked:
    try:
        return Marked.from_json(pipe.recv())
    except (EOFError, OSError):
        return _failed(job, "the process that graded it has died")
    finally:
        pipe.close()


def _failed(job: _Job, why: str) -> Marked:
    """Return what is told where the grading itself went wrong; it is tried again the next time."""
    note = f"Grading this submission failed on our side ({why}). Please tell your instructor."
    return _none(job.task, "stopped", "This was not graded.", (note,))


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
