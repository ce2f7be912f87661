"""What students really send: notebooks in folders and zip files, whole, renamed or broken.

:func:`collect` finds every notebook below a folder or in a zip file, says whose it is and which
lesson it answers, and reads its code. Nothing that stands in a submission is trusted: zip files are
read in memory and within bounds, links are not followed, and what cannot be read becomes a line for
the report that costs nobody else anything.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import json
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..course import LESSONS
from .program import python
from .tables import read_rows

#: The largest notebook that is read, in bytes, and the most code in it, in characters; the course's
#: own stay below 1.5 MB and 40,000 characters.
MAX_NOTEBOOK, MAX_CODE = 20_000_000, 500_000
#: The most that is unpacked of zip files for one student, in bytes, and of notebooks in one file.
MAX_UNPACKED, MAX_IN_ZIP = 100_000_000, 5_000
#: How many files that are no notebooks are named for one student.
MAX_OTHERS = 10

#: How the name of a notebook ends; browsers and mail programs add to it.
NOTEBOOK = (".ipynb", ".ipynb.txt", ".ipynb.json")


#: What stands above an answer in words, in its Markdown cell.
_ANSWER = re.compile(r"\s*<!--\s*answer\s+([\w.]+)\s*-->")


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
    parts = PurePosixPath(place).parts
    for number, part in enumerate(parts):
        platform = MOODLE.match(part) or _CANVAS.match(part)
        # The platform's number is nobody's id, and "Ada Marsh Bell" is not Ada Marsh.
        found = _people(platform["name"], roster, True) if platform else _people(part, roster)
        if found or platform:
            own = f"{platform['name']}_{platform['number']}" if platform else part
            return Named(tuple(found), "/".join([*parts[:number], own]), bool(platform))
    return Named()


def _people(text: str, roster: Sequence[Student], exactly: bool = False) -> list[Student]:
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
    return list({student.id: student for student in (*by_id, *by_name)}.values())


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
        if platform or _people(part, [student]):
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
        assignment: What the hand-out wrote into the notebook's metadata.
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
    words: Mapping[str, str] = field(default_factory=dict)
    when: float = 0
    problem: str = ""
    other: bool = False


def read_notebook(raw: bytes, place: str = "", private: Sequence[str] = ()) -> Submission:
    """Read a notebook that comes from outside; whose it is remains open.

    Args:
        raw: The file.
        place: Where it was found.
        private: Names of an instructor's own tasks.

    Raises:
        Unreadable: It is no notebook.
    """
    import nbformat

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
        # Old formats are converted; what is missing or too much is not complained about.
        page.setdefault("metadata", {})
        page.setdefault("nbformat", 4)
        page.setdefault("nbformat_minor", 4)
        page = nbformat.convert(nbformat.from_dict(page), 4)
        cells = [(str(cell.get("cell_type")), cell.get("source", "")) for cell in page["cells"]]
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("the file is no notebook: it is nested too deeply") from None
    except Exception as error:
        raise Unreadable(
            f"the file is no notebook ({type(error).__name__}: {error})"[:200]
        ) from None
    cells = [
        (kind, "".join(map(str, source)) if isinstance(source, list) else str(source))
        for kind, source in cells
    ]
    metadata = page["metadata"] if isinstance(page["metadata"], dict) else {}
    own = metadata.get("privlab")
    assignment = str(own.get("assignment", "")) if isinstance(own, dict) else ""
    # JSON can hold halves of characters, which no file can.
    cells = [(kind, source.encode("utf-8", "replace").decode()) for kind, source in cells]
    size = sum(len(source) for kind, source in cells if kind == "code")
    if size > MAX_CODE:
        raise Unreadable(f"it holds {size:,} characters of code; up to {MAX_CODE:,} are read")
    code = tuple(python(source) for kind, source in cells if kind == "code")
    task = own.get("task") if isinstance(own, dict) else None
    text = "\n".join(source for _, source in cells)
    lesson = task if task in private else which_lesson(text, place, private)
    return Submission(place, lesson, cells=code, assignment=assignment, words=_words(cells))


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
    if not folder.exists():
        raise ValueError(f"submissions: there is no {folder}")
    # A zip file that holds everybody's work is named after nobody.
    everybodys = folder.is_file() and folder.suffix.lower() == ".zip"
    found = []
    others: Counter[object] = Counter()
    for place, when, raw in _files(folder, _Room(roster)):
        around, _, inner = place.partition("/") if everybodys else ("", "", place)
        student, says = _whose(inner, roster), named(inner, roster or ())
        if around:
            says = replace(says, folder=f"{around}/{says.folder}" if says.folder else "")
        if isinstance(raw, NoNotebook):
            if roster is None and place.count("/") <= everybodys:
                student = None  # a lone file of another kind is named after nobody
            mine = student or PurePosixPath(place).parts[:2]
            others[mine] += 1
            if others[mine] > MAX_OTHERS:
                continue
        try:
            if isinstance(raw, Unreadable):
                raise raw
            sent = read_notebook(raw, place, private)
        except Unreadable as problem:
            other = isinstance(problem, NoNotebook)
            lesson = "" if other else which_lesson("", place, private)
            sent = Submission(place, lesson, problem=str(problem), other=other)
        # Not every name of a file is text.
        shown = "".join(
            each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in place
        )
        found.append(replace(sent, place=shown, student=student, named=says, when=when))
    return found


class _Room:
    """How much may still be unpacked for each student, so that a zip bomb costs nobody else."""

    def __init__(self, roster: Sequence[Student] | None) -> None:
        self._roster = roster
        self._left: dict[object, int] = {}

    def _who(self, place: str) -> object:
        # What is nobody's, as far as its name tells, is counted by its folder.
        return _whose(place, self._roster) or PurePosixPath(place).parts[:2]

    def is_nobodys(self, place: str) -> bool:
        """Whether a path does not tell who has sent what is there."""
        return _whose(place, self._roster) is None

    def left(self, place: str) -> int:
        """Return how many bytes may still be unpacked for whoever sent this."""
        return self._left.get(self._who(place), MAX_UNPACKED)

    def take(self, place: str, size: int) -> None:
        """Note that so many bytes were unpacked."""
        self._left[self._who(place)] = self.left(place) - size


def _whose(place: str, roster: Sequence[Student] | None) -> Student | None:
    if roster is not None:
        return owner(place, roster)
    if not place:  # the zip file itself
        return None
    first = PurePosixPath(place).parts[0]
    stem = re.sub(r"\.ipynb(\.\w+)?$|\.\w+$", "", first, flags=re.IGNORECASE)
    return Student(re.sub(r"[^\w.@+-]+", "_", stem)[:64].lstrip(".") or "_")


def _files(folder: Path, room: _Room) -> Iterator[tuple[str, float, bytes | Unreadable]]:
    """Yield path, time and contents of all notebooks, those in zip files as well.

    Other files come as an error, with their path alone.
    """
    if folder.is_file():
        paths, base = [folder], folder.parent
    else:
        paths, base = sorted(folder.rglob("*")), folder
        grades = [each for each in (base, *base.iterdir()) if _holds_grades(each)]
        paths = [path for path in paths if not any(map(path.is_relative_to, grades))]
    for path in paths:
        place = path.relative_to(base).as_posix()
        ending = path.suffix.lower()
        if _is_clutter(place):
            continue
        if not path.name.lower().endswith((*NOTEBOOK, ".zip")):
            if not path.is_dir():
                yield place, 0, NoNotebook()
            continue
        try:
            # A link could name any file of the grader's computer.
            inside = not any(p.is_symlink() for p in [path, *path.parents] if base in p.parents)
            if not inside or not path.is_file():
                yield place, 0, Unreadable("it is a link or no file")
                continue
            info = path.stat()
            if ending == ".zip":
                # A student may send a zip file in a zip file; the platform's is around it.
                deeper = 1 + (folder.is_file() or room.is_nobodys(place))
                yield from _unzip(place, path, room, deeper, info.st_mtime)
            elif info.st_size > MAX_NOTEBOOK:
                yield place, info.st_mtime, _too_large(info.st_size)
            else:
                yield place, info.st_mtime, path.read_bytes()
        except OSError as error:
            yield place, 0, Unreadable(f"it cannot be read ({error.strerror})")


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


def _too_large(size: int) -> Unreadable:
    return Unreadable(
        f"it has {size / 1e6:,.0f} MB; up to {MAX_NOTEBOOK / 1e6:.0f} MB are read (clear outputs)"
    )


def _unzip(
    place: str, source: Path | io.BytesIO, room: _Room, deeper: int, when: float
) -> Iterator[tuple[str, float, bytes | Unreadable]]:
    """Read the notebooks of a zip file in memory; nothing is written, whatever their names say.

    Of those in it, so many levels ``deeper`` are read as well.
    """
    outermost = isinstance(source, Path)
    try:
        with zipfile.ZipFile(source) as archive:
            entries = sorted(
                ((_safe(_decoded(entry)), entry) for entry in archive.infolist()),
                key=lambda pair: pair[0],
            )
            wanted, others = [], []
            for name, entry in entries:
                if not entry.is_dir() and not _is_clutter(name):
                    known = name.lower().endswith((*NOTEBOOK, ".zip"))
                    (wanted if known else others).append((f"{place}/{name}", entry))
            for name, _ in others[:MAX_IN_ZIP]:
                yield name, when, NoNotebook()
            if len(wanted) > MAX_IN_ZIP:
                raise Unreadable(f"the zip file holds {len(wanted):,} notebooks")
            for name, entry in wanted:
                if outermost:  # the LMS's own; what is further in, the student has dated
                    with contextlib.suppress(ValueError, OverflowError):
                        when = datetime.datetime(*entry.date_time).timestamp()
                if stat.S_ISLNK(entry.external_attr >> 16):
                    yield name, when, Unreadable("it is a link or no file")
                    continue
                is_zip = name.lower().endswith(".zip")
                limit = MAX_UNPACKED if is_zip else MAX_NOTEBOOK
                # The size in the directory may be a lie: one byte more than allowed is asked for.
                with archive.open(entry) as file:
                    left = room.left(name)
                    raw = file.read(min(limit, left) + 1)
                room.take(name, min(len(raw), left))
                if len(raw) > left:
                    told = f"with it, more than {MAX_UNPACKED / 1e6:.0f} MB were sent"
                    yield name, when, Unreadable(told)
                elif len(raw) > limit:
                    yield name, when, _too_large(max(len(raw), entry.file_size))
                elif not is_zip:
                    yield name, when, raw
                elif not deeper:
                    told = "a zip file in a zip file in a zip file: unpack it once and grade again"
                    yield name, when, Unreadable(told)
                else:
                    yield from _unzip(name, io.BytesIO(raw), room, deeper - 1, when)
    except Unreadable as problem:
        yield place, when, problem
    except Exception as error:  # what a broken zip file makes zipfile raise is not documented
        told = "it has a password" if "password" in str(error) else f"{type(error).__name__}"
        yield place, when, Unreadable(f"the zip file cannot be read ({told})")


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
