"""Marking one submission: its code in the sandbox, the tests out here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..exercise import Exercise, NotTried, TimeUp, time_limit
from .program import needed
from .sandbox import Dead, Limits, SandboxPeer
from .submissions import readable

#: Seconds of wall-clock time that one submission may take, unless somebody says otherwise.
BUDGET = 600


@dataclass(frozen=True)
class Mark:
    """What one exercise came to.

    Attributes:
        label: Of the exercise.
        title: Of the exercise.
        points: What was earned.
        out_of: What could be earned.
        outcome: "correct", "not yet", "not tried", "stopped", "not graded" where a test or the
            grader failed itself, "unclear" where nothing that was sent could be told to be an
            answer, or, of an answer in words, "by hand" or "not marked yet".
        message: What the student is told where points are missing, "" otherwise.
        evidence: What the tests that passed have found.
        test: Which test failed, and what it or the grader stumbled over, for the instructor.
        measured: What the tests measured: in words, the value, the limit.
        slow: Whether it was stopped for time, which may be the fault of a busy computer.
    """

    label: str
    title: str
    points: float
    out_of: int
    outcome: str
    message: str = ""
    evidence: tuple[str, ...] = ()
    test: str = ""
    measured: tuple[tuple[str, float, float], ...] = ()
    slow: bool = False


@dataclass(frozen=True)
class Marked:
    """What one submission came to.

    Attributes:
        marks: One an exercise.
        notes: What is odd about the submission, for student and instructor.
        program: Of each exercise the code that was run, for comparing submissions.
        seconds: How long it took.
    """

    marks: tuple[Mark, ...]
    notes: tuple[str, ...] = ()
    program: dict[str, str] = field(default_factory=dict)
    seconds: float = 0

    def updated(self, other: Marked) -> Marked:
        """Return the same with what was marked once more in the place of what it was."""
        again = {mark.label: mark for mark in other.marks}
        return Marked(
            tuple(again.get(mark.label, mark) for mark in self.marks),
            tuple(dict.fromkeys([*self.notes, *other.notes])),
            {**self.program, **other.program},
            round(self.seconds + other.seconds, 2),
        )

    def to_json(self) -> str:
        """Return a text from which :meth:`from_json` makes the same."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Marked:
        """Return what :meth:`to_json` wrote.

        Raises:
            ValueError: The text is something else.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            marks = tuple(
                Mark(
                    **{
                        **mark,
                        "evidence": tuple(mark["evidence"]),
                        "measured": tuple(map(tuple, mark["measured"])),
                    }
                )
                for mark in raw["marks"]
            )
            return cls(marks, tuple(raw["notes"]), dict(raw["program"]), float(raw["seconds"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no marks: {type(error).__name__}: {error}") from None


def mark(
    cells: Sequence[str],
    exercises: Sequence[Exercise],
    seed: int,
    limits: Limits | None = None,
    budget: float = BUDGET,
) -> Marked:
    """Grade the code of one submission, hidden tests included.

    All exercises share a process in the sandbox. Once it ends, or does not even start, each of the
    others gets a process for its own lines alone, as does the one during which it ended: what an
    earlier answer left behind may have been the reason. So a hang, a crash or a bomb costs only the
    exercise that it stands in. What took too long is not tried again: it would once more.

    The exercises divide the time among them as their own limits of time say; what one leaves is
    there for the next ones.

    Args:
        cells: The submission's code, as Python.
        exercises: What to grade.
        seed: Of the tests' data.
        limits: What the code may use.
        budget: Seconds that all of it may take.
    """
    began = time.monotonic()
    limits = limits or Limits()
    limits = replace(limits, seconds=min(limits.seconds, budget))
    names = [name for exercise in exercises for name in exercise.names]
    marks, notes = [], broken_cells(cells)
    with contextlib.ExitStack() as stack:
        shared, hung, together = None, None, needed(cells, names)
        try:
            shared = stack.enter_context(SandboxPeer(together, limits))
            notes += _failed(shared)
        except Dead as dead:
            hung = dead
        for number, exercise in enumerate(exercises):
            share = exercise.time_limit / sum(each.time_limit for each in exercises[number:])
            end = time.monotonic() + share * (began + budget - time.monotonic())
            try:
                alone = needed(cells, exercise.names)
                if hung and hung.cell is not None and alone[hung.cell] == together[hung.cell]:
                    raise hung
                if shared and not shared.dead:
                    try:
                        found = _one(exercise, shared, seed, cells, end)
                        marks.append(_explained(found, shared, alone))
                        continue
                    except Dead as dead:
                        if dead.slow or not marks:
                            raise
                seconds = min(limits.seconds, round(_left(end)))
                with SandboxPeer(alone, replace(limits, seconds=seconds)) as peer:
                    notes += [note for note in _failed(peer) if note not in notes]
                    found = _one(exercise, peer, seed, cells, end)
                    marks.append(_explained(found, peer, alone))
            except Dead as dead:
                told = f"Your code was stopped: {dead}"
                marks.append(_mark(exercise, "stopped", told, slow=dead.slow))
    texts = {
        exercise.label: "\n".join(filter(None, needed(cells, exercise.names)))
        for exercise in exercises
    }
    return Marked(tuple(marks), tuple(notes), texts, round(time.monotonic() - began, 2))


def _failed(peer: SandboxPeer) -> list[str]:
    told = "When your code ran, a statement failed ({})."
    return [readable(told.format(each)) for each in peer.problems]


def _explained(mark: Mark, peer: SandboxPeer, program: Sequence[str]) -> Mark:
    """Say it first where an answer wants a package that grading has not got.

    The notebooks of lessons 09 and 13 have a kernel of their own, with TensorFlow; here it is
    missing, and a student would read of a name that is not defined.
    """
    if mark.outcome in ("not yet", "not tried"):
        code = "\n".join(program)
        for name in re.findall(
            r"No module named '(\w+)", "\n".join([*peer.problems, mark.message])
        ):
            if re.search(rf"\b{name}\b", code):
                why = (
                    f"Your answer imports `{name}`, which grading does not have: write it without."
                )
                return replace(mark, outcome="not yet", message=readable(f"{why} {mark.message}"))
    return mark


def _mark(exercise: Exercise, outcome: str, message: str = "", **more: Any) -> Mark:
    points = exercise.points if outcome == "correct" else 0
    told = readable(message)
    return Mark(exercise.label, exercise.title, points, exercise.points, outcome, told, **more)


def _left(end: float) -> float:
    """Return the seconds until a moment, at least one: a timer of 0 would never ring."""
    return max(end - time.monotonic(), 1)


def _one(
    exercise: Exercise, peer: SandboxPeer, seed: int, cells: Sequence[str], end: float
) -> Mark:
    seconds = _left(end)
    try:
        with time_limit(seconds):
            results = exercise.run(peer, seed, hidden=True)
    except NotTried as missing:
        if told := _unreadable(cells, str(missing)):
            return _mark(exercise, "not yet", told)
        return _mark(exercise, "not tried", f"`{missing}` has no answer.")
    except TimeUp:
        # A question is still open: this process cannot be asked another.
        peer.close()
        told = f"the tests took longer than {seconds:.0f} s. {exercise.when_slow}"
        raise Dead(told, slow=True) from None
    evidence = tuple(readable(str(result.evidence)) for result in results if result.evidence)
    measured = tuple(
        (each.what, each.value, each.limit) for result in results for each in result.measured
    )
    problems = [result for result in results if result.problem]
    if problems and problems[0].error:
        # Perhaps an answer that nobody foresaw, perhaps a mistake in the test: a person decides.
        failed = readable(f"{problems[0].test}: {problems[0].error}")
        told = "A test of this exercise failed on our side; your instructor has been told."
        return _mark(exercise, "not graded", told, evidence=evidence, test=failed)
    if problems or not results:
        told = problems[0] if problems else None
        return _mark(
            exercise,
            "not yet",
            str(told.problem) if told else "There is no test.",
            evidence=evidence,
            test=told.test if told else "",
            measured=measured,
        )
    return _mark(exercise, "correct", evidence=evidence, measured=measured)


def _no_python(code: str) -> str:
    """Say why a cell is no Python, "" if it is."""
    try:
        compile(code, "<cell>", "exec")
    except SyntaxError as error:
        lines = code.split("\n")
        at = (error.lineno or 0) - 1
        # Nobody counts the code cells of a notebook, or sees their numbers: the line itself tells.
        line = lines[at].strip()[:100].replace("`", "'") if 0 <= at < len(lines) else ""
        return f"line {error.lineno}, `{line}`: {error.msg}" if line else error.msg
    except ValueError as error:
        return str(error)
    except (RecursionError, MemoryError):
        return "it is nested too deeply"
    return ""


def broken_cells(cells: Sequence[str]) -> list[str]:
    """Say which cells are no Python; the others are graded."""
    found = ((number, _no_python(code)) for number, code in enumerate(cells, start=1))
    return [readable(f"Code cell {number} was left out: {why}.") for number, why in found if why]


def _unreadable(cells: Sequence[str], name: str) -> str:
    """Say why an answer could not be read, if it stands in a cell that is no Python, "" else."""
    name_there = re.escape(name)
    binds = re.compile(rf"^(?:def|class)\s+{name_there}\b|^{name_there}\s*=", re.MULTILINE)
    for code in cells:
        if binds.search(code) and (why := _no_python(code)):
            return f"`{name}` could not be read: {why}."
    return ""


def fingerprint(cells: Sequence[str], key: bytes, *more: str) -> str:
    """Return what a grade depends on, as one hash: an equal one need not be graded again."""
    digest = hashlib.sha256(key)
    for text in (*cells, "\0", *more):
        digest.update(len(text.encode("utf-8", "replace")).to_bytes(8, "big"))
        digest.update(text.encode("utf-8", "replace"))
    return digest.hexdigest()
