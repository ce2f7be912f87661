"""Grading a class: whose submission counts, what it came to, which answers look alike."""

from __future__ import annotations

import ast
import contextlib
import ctypes
import inspect
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .. import __version__
from . import sandbox
from .marking import Mark, Marked, fingerprint, mark
from .notebooks import PLACEHOLDER
from .program import needed
from .sandbox import Limits
from .secret import read_stamp, seed
from .submissions import Student, Submission
from .tasks import Question, Task

#: Answers that share this part of their pieces are told to the instructor, and only those long
#: enough that two people would hardly write the same.
ALIKE, SHORTEST = 0.9, 40


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
        unclear: Submissions that could not be graded, each with the reason.
        alike: Label of the exercise, two students' ids, and how much their answers share.
    """

    tasks: Sequence[Task]
    results: list[Result]
    unclear: list[tuple[str, str]] = field(default_factory=list)
    alike: list[tuple[str, str, str, float]] = field(default_factory=list)


# ---- who sent what -----------------------------------------------------------------------------


def sort_out(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    roster: Sequence[Student] | None,
    key: bytes,
) -> tuple[dict[tuple[str, str], Submission], dict[tuple[str, str], list[str]], list]:
    """Find the submission that counts of each student for each task: the latest.

    Args:
        submissions: All that was found.
        tasks: What is graded.
        roster: The class; None if whoever sent something is in it.
        key: The instructor's, for the stamps in the notebooks.

    Returns:
        The submission by student's id and task; notes on it, likewise; and for each submission that
        belongs to nobody or to no task its place and why.
    """
    keys = {task.key for task in tasks}
    by_id = {student.id.casefold(): student for student in roster or ()}
    found: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    notes: dict[tuple[str, str], list[str]] = defaultdict(list)
    unclear = []
    for sent in submissions:
        stamped = read_stamp(key, sent.assignment) if sent.assignment else None
        lesson = sent.lesson or (stamped[0] if stamped else "")
        student = sent.student
        if student is None and stamped:
            student = by_id.get(stamped[1].casefold())
        if lesson not in keys:
            about = f"lesson {lesson}" if lesson else "no lesson that can be told"
            why = sent.problem or f"it belongs to {about}; graded are {', '.join(sorted(keys))}"
            unclear.append((sent.place, why))
            continue
        if student and stamped and student.id.isdecimal():
            meant = by_id.get(stamped[1].casefold())
            if meant and meant != student:
                # "lesson (2).ipynb" need not be from student 2, nor be whose stamp it bears.
                told = f"its name says {student.id}, its stamp {meant.id}: rename it"
                unclear.append((sent.place, told))
                continue
        if student is None:
            told = "nobody in the roster is named by its folder, file name or stamp"
            unclear.append((sent.place, told if roster is not None else "it has no name"))
            continue
        mine = (student.id, lesson)
        found[mine].append(replace(sent, student=student, lesson=lesson))
        if sent.assignment and stamped is None:
            notes[mine].append("The stamp in the notebook's metadata is not one of this course's.")
        elif stamped and stamped[1] and stamped[1].casefold() != student.id.casefold():
            notes[mine].append(f"This notebook was handed out to {stamped[1]}.")
    counted = {}
    for mine, sent in found.items():
        # Whatever can be read beats what cannot; then the later; then "x-2" beats "x-1" and "x".
        best = max(sent, key=lambda each: (not each.problem, each.when, _version(each), each.place))
        counted[mine] = best
        for other in sent:
            if other is not best:
                why = "it cannot be read" if other.problem else "there is a later one"
                notes[mine].append(f"Not counted, as {why}: {other.place}")
    return counted, notes, unclear


def _version(sent: Submission) -> int:
    """Return the number that an LMS or a browser has put at the end of a file's name."""
    found = re.search(r"[-_ (](\d{1,3})\)?\.\w+$", sent.place)
    return int(found[1]) if found else 0


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
    marks_by_hand: Mapping[tuple[str, str], tuple[float, str]] | None = None,
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
        marks_by_hand: Points and comment by student's id and question's label.
        progress: Called with how many submissions are done, and how many there are.

    Raises:
        NoSandbox: Code cannot be shut in here.
        ValueError: The key is not the one of these notebooks.
    """
    limits = limits or Limits()
    if limits.protected:
        sandbox.check()
    stamped = [each for each in submissions if each.assignment]
    if len(stamped) > 2 and not any(read_stamp(key, each.assignment) for each in stamped):
        raise ValueError(
            f"secret: none of the {len(stamped)} notebooks was handed out with this key: name the "
            "one that privlab assign has made"
        )
    counted, notes, unclear = sort_out(submissions, tasks, roster, key)
    by_key = {task.key: task for task in tasks}
    sources = {task.key: _source(task) for task in tasks}
    jobs_todo, done = [], {}
    for (who, task_key), sent in counted.items():
        task = by_key[task_key]
        if sent.problem:
            told = f"The notebook could not be read: {sent.problem}."
            done[who, task_key] = _none(task, "not tried", "", (told,))
            continue
        about = (task.key, who, __version__, sources[task_key], repr(limits))
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
    students = list(roster) if roster is not None else _students(counted)
    results = []
    for student in students:
        for task in tasks:
            mine = (student.id, task.key)
            sent = counted.get(mine)
            marked = done.get(mine) or _none(task, "not tried", "", ())
            marked = replace(marked, notes=(*notes.get(mine, ()), *marked.notes))
            marked = _with_questions(marked, task, student, sent, marks_by_hand or {})
            results.append(Result(student, task.key, sent, marked))
    return Report(tasks, results, unclear, alike(results, tasks))


def _students(counted: Mapping[tuple[str, str], Submission]) -> list[Student]:
    return list({sent.student.id: sent.student for sent in counted.values()}.values())


def _none(task: Task, outcome: str, message: str, notes: Sequence[str]) -> Marked:
    marks = tuple(
        Mark(each.label, each.title, 0, each.points, outcome, message) for each in task.exercises
    )
    return Marked(marks, tuple(notes))


def _source(task: Task) -> str:
    """Return what tells whether a task's tests have changed: their modules and the package."""
    package = Path(__file__).resolve().parent.parent
    files = set(package.rglob("*.py")) - set((package / "exercises").glob("lesson_*.py"))
    files |= {Path(inspect.getfile(type(each))).resolve() for each in task.exercises}
    return "\0".join(path.read_text(encoding="utf-8") for path in sorted(files))


def answer_in_words(submission: Submission | None, question: Question) -> str:
    """Return what a student wrote to a question, "" where there is nothing."""
    answer = submission.words.get(question.label, "").strip() if submission else ""
    return "" if answer == PLACEHOLDER else answer


def _with_questions(
    marked: Marked,
    task: Task,
    student: Student,
    submission: Submission | None,
    by_hand: Mapping[tuple[str, str], tuple[float, str]],
) -> Marked:
    def one(question: Question) -> Mark:
        points, comment, outcome = 0, "", "not tried"
        if given := by_hand.get((student.id.casefold(), question.label)):
            (points, comment), outcome = given, "by hand"
        elif answer_in_words(submission, question):
            outcome = "not marked yet"
        return Mark(question.label, question.title, points, question.points, outcome, comment)

    return replace(marked, marks=(*marked.marks, *map(one, task.questions)))


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


# ---- answers that look alike -------------------------------------------------------------------


def alike(results: Sequence[Result], tasks: Sequence[Task]) -> list[tuple[str, str, str, float]]:
    """Find answers that are nearly the same once names, comments and layout are set aside.

    Names are replaced by the order of their first use; what remains is compared by its runs of five
    tokens (Jaccard index), as in Schleimer, Wilkerson and Aiken (2003) without their sampling. The
    reference and the mistakes that many make are public, so answers near those are left out, and so
    is starter code; short answers say nothing.

    Returns:
        Label, two ids, and the part that is shared, the most alike first.
    """
    found = []
    for task in tasks:
        for exercise in task.exercises:
            public = [exercise.reference, *(mistake.code for mistake in exercise.mistakes)]
            known = [_pieces("\n".join(needed([code], exercise.names))) for code in public]
            answers = []
            for result in results:
                if result.task != task.key or exercise.label not in _tried(result):
                    continue
                pieces = _pieces(result.marked.program.get(exercise.label, ""))
                if pieces.total() >= SHORTEST and not any(
                    _shared(pieces, each) >= ALIKE for each in known
                ):
                    answers.append((result.student.id, pieces))
            for index, (one, pieces) in enumerate(answers):
                for other, theirs in answers[index + 1 :]:
                    # Of very different lengths they cannot share that much.
                    short, long = sorted((pieces.total(), theirs.total()))
                    if short >= ALIKE * long and (part := _shared(pieces, theirs)) >= ALIKE:
                        found.append((exercise.label, one, other, round(part, 2)))
    return sorted(found, key=lambda each: -each[3])


def _tried(result: Result) -> set[str]:
    return {mark.label for mark in result.marked.marks if mark.outcome != "not tried"}


def _pieces(code: str) -> Counter[tuple[str, ...]]:
    """Return the runs of five tokens of a program, names numbered by their first use."""
    numbers: dict[str, str] = {}
    tokens = []
    try:
        code = ast.unparse(ast.parse(code))  # one layout, no comments
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.NAME:
                tokens.append(numbers.setdefault(token.string, f"n{len(numbers)}"))
            elif token.string.strip():
                tokens.append(token.string)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        tokens = re.findall(r"\w+|\S", code)
    return Counter(tuple(tokens[i : i + 5]) for i in range(len(tokens) - 4))


def _shared(one: Counter, other: Counter) -> float:
    """Return the size of what two collections share over that of both together."""
    common = (one & other).total()
    both = one.total() + other.total() - common
    return common / both if both else 0.0


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
