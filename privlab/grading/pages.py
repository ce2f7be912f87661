"""What people read of a grade: a page a student, a page of the class, tables for the LMS.

Pages are single files without scripts, readable in light and dark, by keyboard and by screen
readers. Whatever a student wrote is escaped.
"""

from __future__ import annotations

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from .grade import Report, Result, frequent_problems
from .marking import Mark
from .submissions import Student
from .tasks import Task

_STYLE = """
:root { color-scheme: light dark; --line: #6b7280; --good: #00694d; --bad: #a33c00; }
@media (prefers-color-scheme: dark) { :root { --line: #9ca3af; --good: #35c69b; --bad: #ff9b61; } }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .4rem 0; } ul { margin: .4rem 0; padding-left: 1.3rem; }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0;
  text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; }
.correct { color: var(--good); font-weight: 600; } .wrong { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; display: block; }
.told { border-left: 4px solid var(--bad); padding-left: .8rem; overflow-wrap: anywhere; }
"""


def _escape(text: object) -> str:
    return html.escape(str(text))


def _number(value: float) -> str:
    """Return points without needless decimals."""
    return f"{value:g}"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _row(cells: Sequence[object], kind: str = "td", numbers: Sequence[int] = ()) -> str:
    """Return a row of a table; cells are escaped, those in ``numbers`` stand at the right."""
    made = []
    for place, cell in enumerate(cells):
        attributes = ' scope="col"' if kind == "th" else ""
        if place in numbers:
            attributes += ' class="number"'
        made.append(f"<{kind}{attributes}>{_escape(cell)}</{kind}>")
    return f"<tr>{''.join(made)}</tr>"


def _table(
    caption: str, head: Sequence[object], rows: Sequence[Sequence[object]], numbers: Sequence[int]
) -> str:
    body = "\n".join(_row(row, numbers=numbers) for row in rows)
    name = _escape(caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table><caption>{name}</caption>\n<thead>{_row(head, 'th', numbers)}</thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


# ---- a student's page --------------------------------------------------------------------------


def bars(measured: Sequence[tuple[str, float, float]]) -> str:
    """Draw what was measured against what is allowed, as SVG: a bar and a mark for the limit."""
    width, row, left = 640, 44, 8
    top = max([limit for _, _, limit in measured] + [value for _, value, _ in measured]) * 1.1 or 1
    room = width - 2 * left - 150
    parts, told = [], []
    for place, (what, value, limit) in enumerate(measured):
        y = place * row
        bar, line = left + room * value / top, left + room * limit / top
        over = value > limit
        told.append(f"{what}: {value:.3g}, limit {limit:.3g}")
        colour = "var(--bad)" if over else "var(--good)"
        parts.append(
            f'<text x="{left}" y="{y + 14}" font-size="13" fill="currentColor">{_escape(what)}'
            f'</text><rect x="{left}" y="{y + 20}" width="{max(bar - left, 1):.1f}" height="12" '
            f'fill="{colour}"/><line x1="{line:.1f}" x2="{line:.1f}" y1="{y + 16}" y2="{y + 36}" '
            f'stroke="currentColor" stroke-width="2"/>'
            f'<text x="{max(bar, line) + 8:.1f}" y="{y + 31}" font-size="13" fill="currentColor">'
            f"{value:.3g}{' over' if over else ' within'} {limit:.3g}</text>"
        )
    description = "; ".join(told)
    return (
        f'<svg viewBox="0 0 {width} {row * len(measured)}" role="img" '
        f'aria-label="Measured against the limit. {_escape(description)}">{"".join(parts)}</svg>'
    )


_SAYS = {
    "correct": "correct",
    "not yet": "not yet",
    "not tried": "not tried",
    "stopped": "stopped",
    "by hand": "marked by hand",
    "not marked yet": "not marked yet",
}


def _exercise(mark: Mark) -> str:
    style = "correct" if mark.outcome in ("correct", "by hand") else "wrong"
    parts = [
        f"<h3>{_escape(mark.label)} · {_escape(mark.title)}</h3>",
        f'<p><span class="{style}">{_SAYS[mark.outcome]}</span>, {_number(mark.points)} of '
        f"{mark.out_of} point{'s' if mark.out_of != 1 else ''}</p>",
    ]
    if mark.message:
        parts.append(f'<p class="told">{_escape(mark.message)}</p>')
    if mark.evidence:
        found = "".join(f"<li>{_escape(line)}</li>" for line in mark.evidence)
        lead = "What the tests found" if mark.outcome == "correct" else "What held"
        parts.append(f"<p>{lead}:</p><ul>{found}</ul>")
    if mark.measured:
        parts.append(bars(mark.measured))
    return "\n".join(parts)


def student_page(student: Student, results: Sequence[Result], tasks: Sequence[Task]) -> str:
    """Return the page that a student gets back.

    Args:
        student: Who.
        results: Theirs alone, one a task.
        tasks: What was graded.
    """
    points = sum(result.points for result in results)
    out_of = sum(task.out_of for task in tasks)
    name = student.name or student.id
    body = [
        f"<h1>{_escape(name)}</h1>",
        f"<p><strong>{_number(points)} of {out_of} points</strong></p>",
    ]
    by_key = {task.key: task for task in tasks}
    for result in results:
        task = by_key[result.task]
        body.append(f"<h2>{_escape(_heading(task))}</h2>")
        if result.submission:
            body.append(f"<p>Graded: {_escape(result.submission.place)}</p>")
        if result.marked.notes:
            notes = "".join(f"<li>{_escape(note)}</li>" for note in result.marked.notes)
            body.append(f"<p>Noted:</p><ul>{notes}</ul>")
        body += [_exercise(mark) for mark in result.marked.marks]
    return _page(f"{name} · privlab", "\n".join(body))


def _heading(task: Task) -> str:
    return f"{task.key} · {task.title}" if task.key.isdecimal() else task.title


# ---- the class's page --------------------------------------------------------------------------


def class_page(report: Report) -> str:
    """Return the instructor's page: who has how many points, what was hard, what needs a look."""
    students = _by_student(report)
    body = ["<h1>The class</h1>"]
    rows = []
    for student, results in students:
        cells = [student.id, student.name, *(_number(result.points) for result in results)]
        rows.append([*cells, _number(sum(result.points for result in results))])
    head = ["id", "name", *(f"{t.key} (of {t.out_of})" for t in report.tasks), "all"]
    body.append(_table("Points", head, rows, range(2, len(head))))
    body.append("<h2>Exercises</h2>")
    rows = []
    for task in report.tasks:
        for each in (*task.exercises, *task.questions):
            marks = [m for r in report.results for m in r.marked.marks if m.label == each.label]
            tried = [m for m in marks if m.outcome not in ("not tried", "not marked yet")]
            solved = sum(m.points == m.out_of for m in tried)
            problems = frequent_problems(report, each.label)[:3]
            told = " | ".join(f"{count} × {_short(text)}" for text, count in problems)
            rows.append([each.label, each.title, len(tried), solved, told or "–"])
    head = ["", "exercise", "tried", "full points", "most frequent problems"]
    body.append(_table("How each exercise went", head, rows, (2, 3)))
    if report.alike:
        body.append("<h2>Answers that look alike</h2>")
        body.append(
            "<p>Names, comments and layout are set aside; what is near the course's own solution "
            "is left out. A reason to look, not a proof.</p>"
        )
        rows = [(label, one, other, f"{part:.0%}") for label, one, other, part in report.alike]
        body.append(_table("Pairs", ["exercise", "student", "student", "shared"], rows, (3,)))
    noted = [
        (result.student.id, result.task, note)
        for result in report.results
        for note in result.marked.notes
    ]
    if noted:
        body.append("<h2>Noted on submissions</h2>")
        body.append(_table("Notes", ["student", "task", "note"], noted, ()))
    if report.unclear:
        body.append("<h2>Not graded</h2>")
        body.append(_table("Files", ["file", "why"], report.unclear, ()))
    return _page("The class · privlab", "\n".join(body))


def _short(text: str, longest: int = 140) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _by_student(report: Report) -> list[tuple[Student, list[Result]]]:
    found: dict[str, tuple[Student, list[Result]]] = {}
    for result in report.results:
        found.setdefault(result.student.id, (result.student, []))[1].append(result)
    return list(found.values())


# ---- answers in words --------------------------------------------------------------------------


def words_page(report: Report) -> str:
    """Return a page with all answers in words, question by question, for marking by hand."""
    body = ["<h1>Answers in words</h1>", "<p>Write points into free_text.csv.</p>"]
    for task in report.tasks:
        for question in task.questions:
            body.append(f"<h2>{_escape(question.label)} · {_escape(question.title)}</h2>")
            body.append(f"<p>{_escape(question.text)}</p><p>At most {question.points} points.</p>")
            for result in report.results:
                if result.task != task.key or result.submission is None:
                    continue
                answer = result.submission.words.get(question.label, "")
                name = result.student.name or result.student.id
                body.append(f"<h3>{_escape(name)}</h3>")
                body.append(f"<p>{_escape(answer).replace(chr(10), '<br>') or '(no answer)'}</p>")
    return _page("Answers in words · privlab", "\n".join(body))


def read_marks(path: Path, tasks: Sequence[Task]) -> dict[tuple[str, str], tuple[float, str]]:
    """Read points given by hand: the columns ``student``, ``question``, ``points``, ``comment``.

    Returns:
        Points and comment by the student's id in lower case and the question's label; lines without
        points are left out.

    Raises:
        ValueError: A line names no question of the tasks, or no number from 0 to its points.
    """
    allowed = {each.label: each.points for task in tasks for each in task.questions}
    try:
        text = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"marks: {path.name} cannot be read ({error})") from None
    rows = csv.DictReader(text)
    if not {"student", "question", "points"} <= set(rows.fieldnames or ()):
        raise ValueError(f"marks: {path.name} needs the columns student, question and points")
    marks = {}
    for number, row in enumerate(rows, start=2):
        given = (row["points"] or "").strip()
        if not given:
            continue
        where = f"marks: line {number} of {path.name}"
        label = (row["question"] or "").strip()
        if label not in allowed:
            raise ValueError(f"{where} names the question {label!r}; there are {list(allowed)}")
        try:
            points = float(given)
        except ValueError:
            points = -1.0
        if not 0 <= points <= allowed[label]:
            raise ValueError(f"{where}: points must be 0 to {allowed[label]}, not {given!r}")
        who = (row["student"] or "").strip().casefold()
        marks[who, label] = (points, (row.get("comment") or "").strip())
    return marks


# ---- everything into a folder ------------------------------------------------------------------


def _csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([[_harmless(cell) for cell in row] for row in rows])


def _harmless(cell: object) -> object:
    """Keep spreadsheets from taking a student's text for a formula."""
    if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell[:1]:
        return "'" + cell
    return cell


def write_report(report: Report, out: Path, canvas: Mapping[str, str] | None = None) -> None:
    """Write all pages and tables into a folder.

    ``grades.csv`` has everything; ``moodle.csv`` and ``canvas.csv`` have what these import;
    ``class.html`` is for the instructor, ``feedback/<id>.html`` for each student.

    Args:
        report: What the class came to.
        out: The folder; it is made.
        canvas: Nothing, or the name of the column in Canvas by task; without it the title is used.
    """
    (out / "feedback").mkdir(parents=True, exist_ok=True)
    labels = [e.label for t in report.tasks for e in (*t.exercises, *t.questions)]
    students = _by_student(report)
    rows, moodle, for_canvas = [], [], []
    for student, results in students:
        page = student_page(student, results, report.tasks)
        (out / "feedback" / f"{student.id}.html").write_text(page, encoding="utf-8")
        marks = {mark.label: mark for result in results for mark in result.marked.marks}
        total = sum(result.points for result in results)
        notes = " ".join(note for result in results for note in result.marked.notes)
        told = [f"{label}: {_SAYS[marks[label].outcome]}" for label in labels]
        points = [_number(marks[label].points) for label in labels]
        rows.append([student.id, student.name, student.email, *points, _number(total), notes])
        moodle.append([student.id, student.email, _number(total), "; ".join(told)])
        by_task = [_number(result.points) for result in results]
        for_canvas.append([student.name or student.id, "", student.id, "", "", *by_task])
    out_of = sum(task.out_of for task in report.tasks)
    head = ["id", "name", "email", *labels, f"points of {out_of}", "notes"]
    _csv(out / "grades.csv", head, rows)
    _csv(out / "moodle.csv", ["ID number", "Email address", "Grade", "Feedback comments"], moodle)
    columns = [(canvas or {}).get(task.key, _heading(task)) for task in report.tasks]
    identity = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    possible = ["    Points Possible", "", "", "", "", *(task.out_of for task in report.tasks)]
    _csv(out / "canvas.csv", [*identity, *columns], [possible, *for_canvas])
    (out / "class.html").write_text(class_page(report), encoding="utf-8")
    questions = [(task, each) for task in report.tasks for each in task.questions]
    if questions:
        (out / "free_text.html").write_text(words_page(report), encoding="utf-8")
        blank = [
            [student.id, question.label, "", ""]
            for _, question in questions
            for student, _ in students
        ]
        if not (out / "free_text.csv").exists():  # it may hold marks already
            _csv(out / "free_text.csv", ["student", "question", "points", "comment"], blank)
