"""Who sent what: whose each notebook is, and which of several counts.

A folder's or file's name tells who has sent a notebook. The stamp in it tells for whom it was made,
and that is somebody else where students share. So a stamp counts only where no name does, never
against one, and not if two senders bear the same. Whoever takes it away, or only a part of it,
loses nothing by that; the instructor is told.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .secret import read_stamp
from .submissions import Student, Submission, within
from .tasks import Task


@dataclass(frozen=True)
class Unclear:
    """A file that could not be graded.

    Attributes:
        place: Where it was found.
        why: Why it could not be.
        student: Whose it is, if that is known and it may have been meant for what is graded.
    """

    place: str
    why: str
    student: Student | None = None


@dataclass(frozen=True)
class Remark:
    """Something for the instructor alone.

    Attributes:
        student: The id of the student it is about.
        about: A task or an exercise.
        text: What there is to say.
    """

    student: str
    about: str
    text: str


@dataclass
class Sorted:
    """Who sent what.

    Attributes:
        counted: The submission that counts, by student's id and task.
        notes: What is odd about it, likewise, for the student as well.
        unclear: Files that could not be told to be somebody's for a task.
        remarks: What is odd, for the instructor alone.
    """

    counted: dict[tuple[str, str], Submission] = field(default_factory=dict)
    notes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    unclear: list[Unclear] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def sort_out(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    roster: Sequence[Student] | None,
    key: bytes,
) -> Sorted:
    """Find the submission that counts of each student for each task: the latest.

    Args:
        submissions: All that was found.
        tasks: What is graded.
        roster: The class; None if whoever sent something is in it.
        key: The instructor's, for the stamps in the notebooks.
    """
    keys = {task.key for task in tasks}
    by_id = {student.id.casefold(): student for student in roster or ()}
    made = Sorted()
    found: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    stamped_alone: list[Submission] = []
    for sent in submissions:
        stamped = read_stamp(key, sent.stamp)
        lesson = sent.lesson or (stamped[0] if stamped else "")
        student = sent.student
        if lesson not in keys:
            about = f"lesson {lesson}" if lesson else "no lesson that can be told"
            why = sent.problem or f"it belongs to {about}; graded are {', '.join(sorted(keys))}"
            # What belongs to another lesson was not meant for these.
            made.unclear.append(Unclear(sent.place, why, None if lesson else student))
            continue
        meant = by_id.get(stamped[1].casefold()) if stamped else None
        doubtful = student and student.id.isdecimal() and not sent.named.platform
        if doubtful and meant and meant != student:
            # "lesson (2).ipynb" need not be from student 2, nor be whose stamp it bears.
            why = "its name and its stamp name two students: rename it"
            made.unclear.append(Unclear(sent.place, why, student))
            told = f"{sent.place}: its name says {student.id}, its stamp {meant.id}"
            made.remarks.append(Remark(student.id, lesson, told))
        elif student:
            found[student.id, lesson].append(replace(sent, lesson=lesson))
        elif meant:
            stamped_alone.append(replace(sent, student=meant, lesson=lesson))
        else:
            why = (
                "nobody in the roster is named by its folder, file name or stamp: put it into a "
                "folder named with the student's id, and grade again"
            )
            why = why if roster is not None else "it has no name"
            made.unclear.append(Unclear(sent.place, why))
    _without_namesakes(found, made)
    around = _around(submissions)
    for sent, why in _doubted(stamped_alone, found, around):
        mine = (sent.student.id, sent.lesson)
        if why:
            made.unclear.append(Unclear(sent.place, why))
            made.remarks.append(Remark(*mine, f"{sent.place} was not graded: {why}"))
        else:
            found[mine].append(sent)
            told = f"{sent.place}: only its stamp tells whose it is"
            made.remarks.append(Remark(*mine, told))
    for mine, sent in found.items():
        _count(mine, sent, key, made)
    stamped = {lesson for (_, lesson), each in made.counted.items() if read_stamp(key, each.stamp)}
    for mine, each in made.counted.items():
        if mine[1] in stamped and not each.stamp and not each.problem:
            told = f"{each.place} has no stamp, which others have for this"
            made.remarks.append(Remark(*mine, told))
    return made


def _count(mine: tuple[str, str], sent: Sequence[Submission], key: bytes, made: Sorted) -> None:
    """Note which of one student's submissions for a task counts, and what is odd about them."""

    def depth(each: Submission) -> int:
        # What the student's own folder holds beats a file that names them somewhere in another.
        return 0 if each.named.platform else each.named.folder.count("/")

    # Whatever can be read beats what cannot; then the later; then "x-2" beats "x-1" and "x".
    best = max(
        sent,
        key=lambda each: (-depth(each), not each.problem, each.when, _version(each), each.place),
    )
    made.counted[mine] = best
    notes = []
    for each in sent:
        shown = within(each.place, each.student)
        if depth(each) > depth(best):
            told = f"{each.place} names this student, but lies further in than {best.place}"
            made.remarks.append(Remark(*mine, f"{told}, which was counted"))
        elif each is not best:
            why = "it cannot be read" if each.problem else "there is a later one"
            notes.append(f"Not counted, as {why}: {shown}")
        made.remarks += [Remark(*mine, f"{each.place}: {told}") for told in _altered(each, key)]
        stamped = read_stamp(key, each.stamp)
        if each.stamp and stamped is None:
            notes.append("The stamp in the notebook is not one of this course's.")
        elif stamped and stamped[1] and stamped[1].casefold() != mine[0].casefold():
            notes.append("This notebook was handed out to somebody else.")
            told = f"{each.place} was handed out to {stamped[1]}"
            made.remarks.append(Remark(*mine, told))
    if notes:
        made.notes[mine] += dict.fromkeys(notes)


def _altered(sent: Submission, key: bytes) -> Iterator[str]:
    """Say what is odd about a notebook's stamps: there is one in its metadata and in a cell."""

    def shown(proof: str) -> str:
        stamped = read_stamp(key, proof)
        return f"{stamped[1] or 'everybody'}, {stamped[0]}" if stamped else "not this course's"

    others = [proof for proof in sent.started if proof != sent.stamp]
    if sent.started and not sent.assignment:
        yield "its stamp is in a cell alone, no longer in its metadata"
    if others:
        told = "; ".join(dict.fromkeys(map(shown, others)))
        yield f"a cell has another stamp ({told}) than the notebook ({shown(sent.stamp)})"
    stamped = read_stamp(key, sent.stamp)
    if stamped and stamped[0] != sent.lesson:
        yield f"it answers {sent.lesson}, but its stamp is one for {stamped[0]}"


def _version(sent: Submission) -> int:
    """Return the number that an LMS or a browser has put at the end of a file's name."""
    found = re.search(r"[-_ (](\d{1,3})\)?(\.\w+)+$", sent.place)
    return int(found[1]) if found else 0


def _without_namesakes(found: dict[tuple[str, str], list[Submission]], made: Sorted) -> None:
    """Take away what two senders of one platform's download sent, if the roster has but one."""
    for mine, sent in list(found.items()):
        senders = defaultdict(set)
        for each in sent:
            if each.named.platform:
                # In another assignment Moodle gives the same student another number.
                folder, _, own = each.named.folder.rpartition("/")
                senders[folder].add(own)
        if any(len(own) > 1 for own in senders.values()):
            why = f"two senders are named like {mine[0]}: rename each one's folder with their id"
            for each in found.pop(mine):
                made.unclear.append(Unclear(each.place, why))
                made.remarks.append(Remark(*mine, f"{each.place} was not graded: {why}"))


def _around(submissions: Sequence[Submission]) -> str:
    """Return the folder in which everything lies, "" if that is the one that was named."""
    folders = [os.path.dirname(each.place) for each in submissions]
    return os.path.commonpath(folders) if folders else ""


def _sender(sent: Submission, around: str) -> str:
    """Return the folder of whoever sent something; "" for a file in none."""
    if sent.named.platform:
        return sent.named.folder
    folder, slash, _ = sent.place.removeprefix(f"{around}/").partition("/")
    return folder if slash else ""


def _doubted(
    stamped_alone: Sequence[Submission],
    found: dict[tuple[str, str], list[Submission]],
    around: str,
) -> list[tuple[Submission, str]]:
    """Say of submissions that only a stamp assigns to somebody why that may be wrong, or "".

    Args:
        stamped_alone: They, with the student and lesson of the stamp.
        found: What names assign.
        around: The folder in which everything lies.
    """
    by_name = [each for sent in found.values() for each in sent]
    people, senders, files = defaultdict(set), defaultdict(set), defaultdict(int)
    for each in (*by_name, *stamped_alone):
        sender = _sender(each, around)
        people[sender].add(each.student.id)
        senders[each.student.id].add(sender)
        if not sender:
            files[each.student.id, each.lesson] += 1
    made = []
    for each in stamped_alone:
        sender, who = _sender(each, around), each.student
        why = ""
        if each.named.platform and who not in each.named.students:
            why = (
                f"its stamp says {who.id}, but its sender's name is not theirs: put that name into "
                "the roster"
            )
        elif sender and len(people[sender]) > 1:
            why = f"its stamp says {who.id}, but its folder holds work of others, too"
        elif len(senders[who.id]) > 1 or files[who.id, each.lesson] > 1:
            why = f"its stamp says {who.id}, and so does other work that was sent from elsewhere"
        if why:
            why += "; or put it into a folder named with the id of whoever sent it"
        made.append((each, why))
    return made
