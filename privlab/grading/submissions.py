"""What students really send: notebooks in folders and zip files, whole, renamed or broken.

:func:`collect` finds every notebook below a folder or in a zip file, says whose it is and which
lesson it answers, and reads its code. Nothing that stands in a submission is trusted: the files of
each sender are read in a process of its own, in memory and within bounds, links are not followed,
and what cannot be read becomes a line for the report that costs nobody else anything.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import io
import json
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..course import LESSONS
from .children import in_children
from .program import python
from .tables import read_rows

#: The largest notebook that is read, in bytes, and the most code in it, or answers in words, in
#: characters; the course's own stay below 1.5 MB and 40,000 characters.
MAX_NOTEBOOK, MAX_CODE = 20_000_000, 500_000
#: The most that is read of one sender's files, unpacked ones as well, in bytes, and the most
#: notebooks in one zip file.
MAX_UNPACKED, MAX_IN_ZIP = 100_000_000, 5_000
#: The largest zip file of everybody's work, and the longest list of what is in any, in bytes: for
#: each file it has some 100, of which Python makes 800.
MAX_OF_ALL, MAX_LIST = 10_000_000_000, 5_000_000
#: What reading one sender's files may take: seconds, and bytes of memory.
SECONDS, MEMORY = 60, 512 << 20
#: How many files that are no notebooks are named for one student.
MAX_OTHERS = 10

#: How the name of a notebook ends; browsers and mail programs add to it.
NOTEBOOK = (".ipynb", ".ipynb.txt", ".ipynb.json")


#: What stands above an answer in words, in its Markdown cell.
_ANSWER = re.compile(r"\s*<!--\s*answer\s+([\w.]+)\s*-->")


#: The stamp in the cell that starts a lesson; it survives where only the cells are copied.
_STARTED = re.compile(
    r"""privlab\.start\([^()]{0,99}?\bassignment\s*=\s*["']([^"'\n]{1,300})["']"""
)

#: The name of a lesson's file, in whatever a student has made of it.
_COURSE_FILE = re.compile("|".join(f"{lesson.number}_{lesson.slug}" for lesson in LESSONS), re.I)

#: The heading above a question in words.
_QUESTION = re.compile(r"\s*#+\s*Question\s+([\w.]+)\s+·")


#: What Moodle and Canvas make of whoever has sent something, in "Download all submissions": a name
#: and a number, which the student cannot choose. Of Moodle a folder (with nothing at its end since
#: 4.1) or, without folders, the beginning of a file's name; of Canvas always the latter.
MOODLE = re.compile(r"(?P<name>[^/]*?)_(?P<number>\d+)_assignsubmission_file(?:_|$)")
_CANVAS = re.compile(r"(?P<name>[^\W\d_][^\W_]*)(?:_LATE)?_(?P<number>\d+)_\d{3,}_", re.I)


class Unreadable(ValueError):
    """Something that was sent cannot be read; the message says why."""


class NoNotebook(Unreadable):
    """A file is not even named like a notebook or a zip file."""

    def __init__(self) -> None:
        super().__init__("it is no notebook (.ipynb) and no zip file")


def readable(text: str, longest: int = 2_000) -> str:
    """Return what a page can show of a text that comes from a student.

    Halves of characters, which no file can hold, control characters and those that turn the
    direction of writing are replaced.
    """
    shown = "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}"
        for each in text[:longest]
    )
    return shown + "…" if len(text) > longest else shown


# ---- the class ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Student:
    """One line of the roster."""

    id: str
    name: str = ""
    email: str = ""


#: What each column of a roster is called by people, Moodle and Canvas, in lower case; what Canvas
#: calls "ID" is a number of its own.
_COLUMNS = {
    "id": ("sis user id", "id", "id number"),
    "name": ("name", "full name", "student"),
    "first": ("first name",),
    "last": ("last name", "surname"),
    "email": ("email", "email address"),
}


def read_roster(path: Path) -> list[Student]:
    """Read the class list: a CSV file with a column ``id`` and, if wanted, ``name`` and ``email``.

    Moodle's own names of columns are understood as well: ``ID number``, ``First name`` and ``Last
    name`` or ``Surname``, ``Email address``; and so is what Canvas's gradebook exports, with the
    ``SIS User ID`` as id. See :func:`privlab.grading.tables.read_rows` for what may separate
    columns.

    Raises:
        ValueError: The file is no such list; the message names the line.
    """
    rows = read_rows(path, "roster")
    given = {column.strip().lower(): column for column in rows.columns}
    columns = {
        key: next((given[name] for name in names if name in given), None)
        for key, names in _COLUMNS.items()
    }
    if columns["id"] is None:
        raise ValueError(
            f"roster: {path.name} needs a column 'id' or 'ID number' (and may have 'name' and "
            f"'email'); it has {', '.join(map(repr, given)) or 'no columns'}: rename them"
        )
    canvas = "sis user id" in given
    students: dict[str, Student] = {}
    for number, row in rows.lines:
        found = {key: row[column] if column else "" for key, column in columns.items()}
        name = found["name"] or f"{found['first']} {found['last']}".strip()
        # Lines of the gradebook that are nobody's: the highest points, and the view as a student.
        nobody = canvas and name in ("Points Possible", "Student, Test")
        if not any(found.values()) or nobody:
            continue
        if canvas:
            name = " ".join(reversed(name.split(", ", 1)))
        student = Student(found["id"], name, found["email"])
        if not student.id:
            who = name or student.email
            raise ValueError(
                f"roster: {who} has no {columns['id']!r} in line {number} of {path.name}; every "
                "student needs one"
            )
        # The id becomes the name of a file, and part of what seeds the exercises.
        if not re.fullmatch(r"[\w.@+-]{1,64}", student.id) or student.id.startswith("."):
            raise ValueError(
                f"roster: line {number} of {path.name} has the id {student.id!r}; allowed are "
                "letters, digits and . _ - + @, 1 to 64 of them, not beginning with a dot"
            )
        if student.id.casefold() in students:
            raise ValueError(f"roster: the id {student.id!r} stands twice in {path.name}")
        students[student.id.casefold()] = student
    if not students:
        raise ValueError(f"roster: {path.name} has no students")
    return list(students.values())


@functools.lru_cache(maxsize=10_000)
def _plain(text: str) -> str:
    """Return a text as words of a to z and 0 to 9, for comparing names."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", letters.replace("_", " ")))


@dataclass(frozen=True)
class Named:
    """What a path says about whose a file is.

    Attributes:
        students: Whom the outermost part that names somebody names: more than one, if they share
            that name.
        folder: The path up to that part, "" if there is none.
        platform: Whether Moodle or Canvas has written that part: then it is somebody's, even if the
            roster does not have that name, and what is further in is what the student has named.
    """

    students: tuple[Student, ...] = ()
    folder: str = ""
    platform: bool = False


def named(place: str, roster: Sequence[Student]) -> Named:
    """Say whose a file is, by its path: the id, or the whole name, in a part of it.

    Args:
        place: A path with ``/``; the outermost part that names somebody counts: what is further
            in, the student has named.
        roster: Whom to look for.
    """
    parts, roster = PurePosixPath(place).parts, tuple(roster)
    for number, part in enumerate(parts):
        platform = MOODLE.match(part) or _CANVAS.match(part)
        # The platform's number is nobody's id, and "Ada Marsh Bell" is not Ada Marsh.
        found = _people(platform["name"], roster, True) if platform else _people(part, roster)
        if found or platform:
            own = f"{platform['name']}_{platform['number']}" if platform else part
            return Named(found, "/".join([*parts[:number], own]), bool(platform))
    return Named()


@functools.lru_cache(maxsize=10_000)
def _people(text: str, roster: tuple[Student, ...], exactly: bool = False) -> tuple[Student, ...]:
    """Return who is named in a part of a path; ``exactly`` if that is a name and nothing else."""
    # The course's own file names are nobody's: "01_reidentification.ipynb" is not student 01.
    words = _plain(_COURSE_FILE.sub(" ", text)).split()
    spaced, joined = f" {' '.join(words)} ", "".join(words)
    by_id = [s for s in roster if f" {_plain(s.id)} " in spaced]
    by_name = []
    for student in roster:
        names = _plain(student.name).split()
        # Jan van der Berg is "vanderbergjan" to Canvas.
        turned = {"".join(names[i:] + names[:i]) for i in range(len(names))}
        if exactly:
            found = joined in turned
        else:
            found = len(names) > 1 and (
                f" {' '.join(names)} " in spaced or (bool(words) and words[0] in turned)
            )
        if found:
            by_name.append(student)
    # "Ada Marsh Bell" holds the name of Ada Marsh.
    longest = max((len(_plain(student.name)) for student in by_name), default=0)
    by_name = [student for student in by_name if len(_plain(student.name)) == longest]
    return tuple({student.id: student for student in (*by_id, *by_name)}.values())


def owner(place: str, roster: Sequence[Student]) -> Student | None:
    """Return whom :func:`named` finds, None if that is nobody or more than one."""
    found = named(place, roster).students
    return found[0] if len(found) == 1 else None


def within(place: str, student: Student) -> str:
    """Return of a path what its sender may read: what lies in their own folder.

    The folders around it may be named after others.
    """
    parts = PurePosixPath(place).parts
    for number, part in enumerate(parts):
        platform = MOODLE.match(part) or _CANVAS.match(part)
        if platform or _people(part, (student,)):
            inside = [part[platform.end() :]] if platform else []
            return "/".join(filter(None, [*inside, *parts[number + 1 :]])) or part
    return parts[-1] if parts else ""


# ---- a submission ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submission:
    """One notebook that was sent.

    Attributes:
        place: Where it was found, for people: a path with ``/``.
        lesson: Two digits, or "" if it cannot be told.
        student: Whose it is by its path, or None if that does not tell.
        cells: The code of its cells, as Python.
        named: What its path says.
        assignment: The stamp that the hand-out wrote into the notebook's metadata.
        started: Those in cells that start a lesson, where the hand-out wrote it as well.
        words: Answers in words, by the label of the question.
        when: Seconds since 1970: of two submissions the later counts.
        problem: Why it cannot be read, or "".
        other: Whether it is a file of another kind, of which only the name is known.
    """

    place: str
    lesson: str = ""
    student: Student | None = None
    cells: tuple[str, ...] = ()
    named: Named = Named()
    assignment: str = ""
    started: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    when: float = 0
    problem: str = ""
    other: bool = False

    @property
    def stamp(self) -> str:
        """The stamp of the notebook, "" if it has none."""
        return self.assignment or next(iter(self.started), "")


def read_notebook(raw: bytes, place: str = "", private: Sequence[str] = ()) -> Submission:
    """Read a notebook that comes from outside; whose it is remains open.

    Args:
        raw: The file.
        place: Where it was found.
        private: Names of an instructor's own tasks.

    Raises:
        Unreadable: It is no notebook.
    """
    if not raw.strip():
        raise Unreadable("the file is empty")
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("the file is no text in UTF-8") from None
    try:
        page = json.loads(text)
        if not isinstance(page, dict) or not {"cells", "worksheets"} & set(page):
            raise Unreadable("the file is no notebook: it has no cells")
        cells = _cells(page)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("the file is no notebook: it is nested too deeply") from None
    except MemoryError:
        raise Unreadable("reading it takes too much memory") from None
    except Exception as error:
        raise Unreadable(
            f"the file is no notebook ({type(error).__name__}: {error})"[:200]
        ) from None
    metadata = page.get("metadata")
    own = metadata.get("privlab") if isinstance(metadata, dict) else None
    own = own if isinstance(own, dict) else {}
    code = [source for kind, source in cells if kind == "code"]
    words = _words(cells)
    for what, texts in (("code", code), ("answers in words", words.values())):
        if (size := sum(map(len, texts))) > MAX_CODE:
            raise Unreadable(f"it holds {size:,} characters of {what}; up to {MAX_CODE:,} are read")
    assignment = own.get("assignment")
    text = "\n".join(source for _, source in cells)
    task = own.get("task")
    return Submission(
        place,
        task if task in private else which_lesson(text, place, private),
        cells=tuple(map(python, code)),
        assignment=assignment if isinstance(assignment, str) else "",
        started=tuple(dict.fromkeys(_STARTED.findall("\n".join(code)))),
        words=words,
    )


def _cells(page: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return kind and text of a notebook's cells; what else is in them is not looked at.

    Before format 4 (of 2015) they are on sheets, code is ``input``, and headings are of a kind.
    """
    sheets = [page] if "cells" in page else page["worksheets"]
    made = []
    for cell in (cell for sheet in sheets for cell in sheet["cells"]):
        source = cell.get("source", cell.get("input", ""))
        lines = source if isinstance(source, list) else [source]
        text = "".join(line for line in lines if isinstance(line, str))
        if cell.get("cell_type") == "heading":
            text = f"{'#' * min(int(cell.get('level', 1)), 6)} {text}"
        # JSON can hold halves of characters, which no file can.
        made.append((str(cell.get("cell_type")), text.encode("utf-8", "replace").decode()))
    return made


def _words(cells: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the answers in words: what is in the cell for it, and in those that follow.

    The mark of that cell cannot be seen in a rendered notebook, and is soon lost: then what stands
    between the question and the next is its answer, in whatever kind of cell.
    """
    words: dict[str, list[str]] = {}
    label = None
    for _, source in cells:
        if asked := _QUESTION.match(source):
            label = asked[1]
            words.setdefault(label, [])
        elif marked := _ANSWER.match(source):
            label = marked[1]
            words.setdefault(label, []).append(source[marked.end() :])
        elif re.match(r"\s*#+\s*Exercise\b", source):
            label = None
        elif label is not None:
            words[label].append(source)
    return {label: "\n\n".join(parts).strip() for label, parts in words.items()}


def which_lesson(text: str, place: str, private: Sequence[str] = ()) -> str:
    """Return the number of the lesson that a notebook answers, "" if it cannot be told.

    Args:
        text: All its cells.
        place: Its path: a renamed file is known by its text, a gutted one by its name.
        private: Names of an instructor's own tasks; a file is known by its name.
    """
    known = {lesson.number for lesson in LESSONS}
    started = re.findall(r"""privlab\.start\(\s*["'](\d\d)["']""", text)
    imported = re.findall(r"privlab\.exercises\.lesson_(\d\d)", text)
    headed = re.findall(r"^#\s*(\d\d)\s*·", text, re.MULTILINE)
    name = PurePosixPath(place).name.lower()
    slugs = [lesson.number for lesson in LESSONS if lesson.slug in name]
    own = [key for key in private if key.lower() in name]
    for numbers in (started, imported, headed, slugs, own):
        found = set(numbers) & (known | set(private))
        if len(found) == 1:
            return found.pop()
    return ""


def collect(
    folder: Path, roster: Sequence[Student] | None = None, private: Sequence[str] = ()
) -> list[Submission]:
    """Read all notebooks below a folder, or in a zip file, in the order of their paths.

    Of other files the names are told, of each student's the first few.

    Args:
        folder: A folder (of folders, notebooks and zip files), a zip file or a notebook.
        roster: Whom they can be from. Without it each path's first folder, or a lone file's name,
            is somebody.
        private: Names of an instructor's own tasks.

    Raises:
        ValueError: There is no such folder or file.
    """
    from tqdm import tqdm

    if not folder.exists():
        raise ValueError(f"submissions: there is no {folder}")
    # A zip file that holds everybody's work is named after nobody.
    everybodys = folder.is_file() and folder.suffix.lower() == ".zip"
    whose = functools.partial(_whose, roster=roster, everybodys=everybodys)
    files = list(_files(folder, whose))
    senders: dict[object, list[tuple[int, _File]]] = defaultdict(list)
    found: dict[int, list[Submission]] = {}
    for number, file in enumerate(files):
        if file.problem:
            found[number] = [_submission(file.place, file.when, file.problem, whose, private)]
            continue
        student, says = whose(file.place)
        # What is nobody's, as far as its name tells, is told apart by its folder.
        sender = student or says.folder or PurePosixPath(file.place).parts[:2]
        senders[sender].append((number, file))
    # The small first: they are not lost should reading the large break off.
    todo = [sorted(each, key=lambda pair: pair[1].size) for each in senders.values()]
    with tqdm(total=len(todo), unit="sender", desc="Reading", delay=2, miniters=0) as bar:
        for sent, message in in_children(
            todo,
            functools.partial(_read, whose=whose, private=private),
            seconds=lambda _: SECONDS,
            memory=MEMORY,
            jobs=os.cpu_count() or 1,
            waiting=lambda: bar.update(0),
        ):
            if message:
                number, found[number] = message
                continue
            for number, file in sent:
                if number not in found:
                    why = Unreadable("reading what its sender has sent took too long or broke off")
                    found[number] = [_submission(file.place, file.when, why, whose, private)]
            bar.update()
    others: Counter[object] = Counter()
    made = []
    for _, each in sorted(found.items()):
        for sent in each:
            if sent.other:
                # A lone file of another kind is named after nobody.
                if roster is None and sent.place.count("/") <= everybodys:
                    sent = replace(sent, student=None)
                mine = sent.student or PurePosixPath(sent.place).parts[:2]
                others[mine] += 1
                if others[mine] > MAX_OTHERS:
                    continue
            made.append(sent)
    return made


#: Says of a path whose it is, if it tells, and what it says.
_Whose = Callable[[str], tuple[Student | None, Named]]


def _whose(
    place: str, roster: Sequence[Student] | None, everybodys: bool
) -> tuple[Student | None, Named]:
    """Say whose a file is; ``everybodys`` if all lies in a zip file of everybody's work."""
    around, _, inner = place.partition("/") if everybodys else ("", "", place)
    says = named(inner, roster or ())
    if around and says.folder:
        says = replace(says, folder=f"{around}/{says.folder}")
    if roster is not None:
        return (says.students[0] if len(says.students) == 1 else None), says
    if not inner:  # the zip file itself
        return None, says
    first = PurePosixPath(inner).parts[0]
    stem = re.sub(r"\.ipynb(\.\w+)?$|\.\w+$", "", first, flags=re.IGNORECASE)
    return Student(re.sub(r"[^\w.@+-]+", "_", stem)[:64].lstrip(".") or "_"), says


@dataclass(frozen=True)
class _File:
    """What may hold notebooks: a file, or one in the zip file of everybody's work.

    Attributes:
        place: Its path.
        when: Seconds since 1970.
        size: Bytes, as far as its directory tells.
        load: Reads it: at most so many bytes and one more.
        problem: Why it is not to be read.
    """

    place: str
    when: float = 0
    size: int = 0
    load: Callable[[int], bytes] | None = None
    problem: Unreadable | None = None


def _files(folder: Path, whose: _Whose) -> Iterator[_File]:
    """Find all that may hold notebooks; other files come as a problem, with their path alone."""
    if folder.is_file():
        paths, base = [folder], folder.parent
    else:
        paths, base = sorted(folder.rglob("*")), folder
        grades = [each for each in (base, *base.iterdir()) if _holds_grades(each)]
        paths = [path for path in paths if not any(map(path.is_relative_to, grades))]
    for path in paths:
        place = path.relative_to(base).as_posix()
        if _is_clutter(place):
            continue
        if not path.name.lower().endswith((*NOTEBOOK, ".zip")):
            if not path.is_dir():
                yield _File(place, problem=NoNotebook())
            continue
        try:
            # A link could name any file of the grader's computer.
            inside = not any(p.is_symlink() for p in [path, *path.parents] if base in p.parents)
            if not inside or not path.is_file():
                yield _File(place, problem=Unreadable("it is a link or no file"))
                continue
            info = path.stat()
        except OSError as error:
            yield _File(place, problem=Unreadable(f"it cannot be read ({error.strerror})"))
            continue
        student, says = whose(place)
        # A zip file of nobody's is the platform's: it holds what everybody sent.
        if place.lower().endswith(".zip") and not (student or says.platform):
            yield from _everybodys(place, path, info, whose)
        else:
            yield _File(place, info.st_mtime, info.st_size, functools.partial(_load, path))


def _load(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most + 1)


def _everybodys(place: str, path: Path, info: os.stat_result, whose: _Whose) -> Iterator[_File]:
    """Find what may hold notebooks in the zip file of everybody's work."""
    try:
        if info.st_size > MAX_OF_ALL:
            raise _too_large(info.st_size, MAX_OF_ALL)
        with path.open("rb") as file, _opened(file) as archive:
            wanted, others = _listed(archive, place)
    except Exception as error:
        yield _File(place, info.st_mtime, problem=_problem(error))
        return
    for name, _ in others:
        yield _File(name, problem=NoNotebook())
    for name, entry in wanted:
        when = info.st_mtime
        student, says = whose(name)
        # What lies further in, or names nobody, may be a sender's own, with dates as they please.
        if "/" not in place and (student or says.folder):
            when = 0.0
            with contextlib.suppress(ValueError, OverflowError):
                when = datetime.datetime(*entry.date_time).timestamp()
        load = functools.partial(_load_entry, path, archive, entry)
        yield _File(name, when, entry.file_size, load)


def _load_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    # Opened again: processes that share an open file move each other's place in it.
    with path.open("rb") as archive.fp:
        return _unpacked(archive, entry, most)


# ---- one sender's files, in a process of its own -----------------------------------------------


def _read(
    sent: Sequence[tuple[int, _File]], whose: _Whose, private: Sequence[str]
) -> Iterator[tuple[int, list[Submission]]]:
    """Yield the number of each file and what was found in it."""
    gc.disable()  # looking for cycles in JSON, which has none, takes longer than reading it
    room = _Room()
    for number, file in sent:
        # A sender may send a zip file in a zip file.
        contents = _contents(file.place, file.size, file.load, room, deeper=2)
        yield (
            number,
            [_submission(place, file.when, raw, whose, private) for place, raw in contents],
        )


def _submission(
    place: str, when: float, raw: bytes | Unreadable, whose: _Whose, private: Sequence[str]
) -> Submission:
    other, problem = isinstance(raw, NoNotebook), ""
    if isinstance(raw, Unreadable):
        problem = str(raw)
    else:
        try:
            sent = read_notebook(raw, place, private)
        except Exception as error:
            problem = str(_problem(error))
    if problem:
        lesson = "" if other else which_lesson("", place, private)
        sent = Submission(place, lesson, problem=problem, other=other)
    student, says = whose(place)
    # Not every name of a file is text.
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in place)
    return replace(sent, place=shown, student=student, named=says, when=when)


class _Room:
    """How much may still be read of what one sender has sent."""

    def __init__(self) -> None:
        self._left = MAX_UNPACKED

    def read(self, load: Callable[[int], bytes], size: int, limit: int) -> bytes:
        """Read a file of up to ``limit`` bytes; its ``size`` may be a lie."""
        left = self._left
        raw = load(min(limit, left))
        self._left -= min(len(raw), left)
        if len(raw) > left:
            raise Unreadable(f"with it, more than {MAX_UNPACKED / 1e6:.0f} MB were sent")
        if len(raw) > limit:
            raise _too_large(max(len(raw), size), limit)
        return raw


def _contents(
    place: str, size: int, load: Callable[[int], bytes], room: _Room, deeper: int
) -> Iterator[tuple[str, bytes | Unreadable]]:
    """Yield path and contents of a notebook, or of those in a zip file; of it so many levels.

    Nothing is written, whatever the names in it say.
    """
    try:
        if not place.lower().endswith(".zip"):
            yield place, room.read(load, size, MAX_NOTEBOOK)
            return
        if not deeper:
            raise Unreadable(
                "a zip file in a zip file in a zip file: unpack it once and grade again"
            )
        with _opened(io.BytesIO(room.read(load, size, MAX_UNPACKED))) as archive:
            wanted, others = _listed(archive, place)
            for name, _ in others[:MAX_IN_ZIP]:
                yield name, NoNotebook()
            if len(wanted) > MAX_IN_ZIP:
                raise Unreadable(f"the zip file holds {len(wanted):,} notebooks")
            for name, entry in wanted:
                unpack = functools.partial(_unpacked, archive, entry)
                yield from _contents(name, entry.file_size, unpack, room, deeper - 1)
    except Exception as error:
        yield place, _problem(error)


def _holds_grades(folder: Path) -> bool:
    """Whether ``privlab grade`` has written a folder: then nobody has sent it."""
    return (
        (folder / "results").is_dir()
        and (folder / "feedback").is_dir()
        and all((folder / name).is_file() for name in ("class.html", "grades.csv"))
    )


def _is_clutter(place: str) -> bool:
    """Whether a file is one that a program, not the student, has put there."""
    parts = PurePosixPath(place).parts
    # The last is what nbgrader writes beside what it has collected.
    known = ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini", "timestamp.txt")
    return any(part.startswith(".") or part in known for part in parts)


def _too_large(size: int, limit: int) -> Unreadable:
    told = f"it has {size / 1e6:,.0f} MB; up to {limit / 1e6:,.0f} MB are read"
    return Unreadable(f"{told} (clear outputs)" if limit == MAX_NOTEBOOK else told)


def _problem(error: Exception) -> Unreadable:
    """Say what went wrong; what a broken zip file makes zipfile raise is not documented."""
    if isinstance(error, Unreadable):
        return error
    told = type(error).__name__
    if isinstance(error, MemoryError):
        told = "it takes too much memory"
    elif isinstance(error, OSError):
        told = error.strerror or told
    elif "password" in str(error):
        told = "it has a password"
    return Unreadable(f"it cannot be read ({told})")


# ---- zip files ---------------------------------------------------------------------------------


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip file, unless the list of what is in it is long: that alone takes time and memory.

    How many there are, the end of a zip file may say wrongly; how long the list is, zipfile takes
    from there.
    """
    end = zipfile._EndRecData(file)
    if end and end[zipfile._ECD_SIZE] > MAX_LIST:
        raise Unreadable("the zip file holds too many files: leave out what is no notebook")
    return zipfile.ZipFile(file)


def _listed(
    archive: zipfile.ZipFile, place: str
) -> tuple[list[tuple[str, zipfile.ZipInfo]], list[tuple[str, zipfile.ZipInfo]]]:
    """Return path and entry of what may hold notebooks, and of all else, in order."""
    wanted, others = [], []
    for entry in archive.infolist():
        name = _safe(_decoded(entry))
        if not entry.is_dir() and not _is_clutter(name):
            known = name.lower().endswith((*NOTEBOOK, ".zip"))
            (wanted if known else others).append((f"{place}/{name}", entry))
    for each in (wanted, others):
        each.sort(key=lambda pair: pair[0])
    return wanted, others


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Unpack a file of a zip file: at most so many bytes and one more."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise Unreadable("it is a link or no file")
    # Of other kinds Python unpacks a piece at a time, and a piece of 4 kB may come to gigabytes.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable("it is compressed in an unusual way: make an ordinary zip file of it")
    with archive.open(entry) as file:
        return file.read(most + 1)


def _decoded(entry: zipfile.ZipInfo) -> str:
    """Return a name in a zip file; some programs write UTF-8 without the flag that says so."""
    if not entry.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            return entry.filename.encode("cp437").decode("utf-8")
    return entry.filename


def _safe(name: str) -> str:
    """Return a path in a zip file without its ``..``, drive and root, for people to read."""
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("..", "/", ".")]
    return "/".join(parts) or "nameless"
