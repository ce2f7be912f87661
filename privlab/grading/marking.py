"""Marking one submission: its code in the sandbox, the tests out here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..exercise import Exercise, NotTried, TimeUp, time_limit
from .program import needed
from .sandbox import Dead, Limits, SandboxPeer
from .submissions import readable


@dataclass(frozen=True)
class Mark:
    """What one exercise came to.

    Attributes:
        label: Of the exercise.
        title: Of the exercise.
        points: What was earned.
        out_of: What could be earned.
        outcome: "correct", "not yet", "not tried", "stopped", "not graded" where a test failed
            itself, "unclear" where nothing that was sent could be told to be an answer, or, of an
            answer in words, "by hand" or "not marked yet".
        message: What the student is told where points are missing, "" otherwise.
        evidence: What the tests that passed have found.
        test: Which test failed, and what it stumbled over itself, for the instructor.
        measured: What the tests measured: in words, the value, the limit.
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
    cells: Sequence[str], exercises: Sequence[Exercise], seed: int, limits: Limits | None = None
) -> Marked:
    """Grade the code of one submission, hidden tests included.

    All exercises share a process in the sandbox. Once it ends, or does not even start, each of the
    others gets a process for its own lines alone, as does the one during which it ended: what an
    earlier answer left behind may have been the reason. So a hang, a crash or a bomb costs only the
    exercise that it stands in. What took too long is not tried again: it would once more.

    Args:
        cells: The submission's code, as Python.
        exercises: What to grade.
        seed: Of the tests' data.
        limits: What the code may use.
    """
    began = time.monotonic()
    names = [name for exercise in exercises for name in exercise.names]
    marks, notes = [], broken_cells(cells)
    with contextlib.ExitStack() as stack:
        shared, hung, together = None, None, needed(cells, names)
        try:
            shared = stack.enter_context(SandboxPeer(together, limits))
            notes += _failed(shared)
        except Dead as dead:
            hung = dead
        for exercise in exercises:
            try:
                alone = needed(cells, exercise.names)
                if hung and hung.cell is not None and alone[hung.cell] == together[hung.cell]:
                    raise hung
                if shared and not shared.dead:
                    try:
                        marks.append(_one(exercise, shared, seed, cells))
                        continue
                    except Dead as dead:
                        if dead.slow or not marks:
                            raise
                with SandboxPeer(alone, limits) as peer:
                    notes += [note for note in _failed(peer) if note not in notes]
                    marks.append(_one(exercise, peer, seed, cells))
            except Dead as dead:
                marks.append(_mark(exercise, "stopped", f"Your code was stopped: {dead}"))
    texts = {
        exercise.label: "\n".join(filter(None, needed(cells, exercise.names)))
        for exercise in exercises
    }
    return Marked(tuple(marks), tuple(notes), texts, round(time.monotonic() - began, 2))


def _failed(peer: SandboxPeer) -> list[str]:
    told = "When your code ran, a statement failed ({})."
    return [readable(told.format(each)) for each in peer.problems]


def _mark(exercise: Exercise, outcome: str, message: str = "", **more: Any) -> Mark:
    points = exercise.points if outcome == "correct" else 0
    told = readable(message)
    return Mark(exercise.label, exercise.title, points, exercise.points, outcome, told, **more)


def _one(exercise: Exercise, peer: SandboxPeer, seed: int, cells: Sequence[str]) -> Mark:
    # A last resort: grading runs more tests than the notebook does, on a computer that has more to
    # do; code that hangs is stopped sooner, by the sandbox.
    seconds = 10 * exercise.time_limit
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
        told = f"the tests took longer than {seconds:g} s. {exercise.when_slow}"
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
