"""What people read of a grade: a page for each student, a page of the class, answers in words.

Pages are single files without scripts, readable in light and dark, on a phone and on paper, by
keyboard and by screen readers. Whatever a student wrote is escaped.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from .grade import Report, Result, frequent_problems
from .marking import Mark
from .submissions import Student
from .tasks import Task
from .words import answer_in_words

#: Students with less than this part of the points are named at the top of the class's page, so many
#: of them at most.
LOW, MOST_NAMED = 0.5, 12

#: So many counts of one exercise are drawn.
MOST_COUNTS = 3

#: So many pairs of answers that look alike are shown side by side.
MOST_SHOWN = 40

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #f4f5f7;
  --line: #c9ced6; --quiet: #57606a; --good: #006b4f; --bad: #9c3a00; --link: #0b57b0; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --text: #e6e8eb; --soft: #20252b;
  --line: #434b55; --quiet: #a8b1bc; --good: #43d3a6; --bad: #ffa06b; --link: #8ab8ff; } }
body { font: 1rem/1.55 system-ui, sans-serif; background: var(--back); color: var(--text);
  max-width: 48rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
body.class { max-width: 72rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 0 0 .2rem; }
p { margin: .4rem 0; } ul { margin: .3rem 0; padding-left: 1.3rem; }
a { color: var(--link); } code { font-size: .92em; }
.total { font-size: 1.25rem; font-weight: 600; } .quiet { color: var(--quiet); }
.card { border: 1px solid var(--line); border-left: 5px solid var(--quiet); border-radius: 4px;
  padding: .8rem 1rem; margin: .9rem 0; }
.card.correct { border-left-color: var(--good); } .card.wrong { border-left-color: var(--bad); }
.verdict { margin-top: 0; } .lead { margin-top: .7rem; color: var(--quiet); font-size: .92rem; }
.correct .verdict b, b.correct { color: var(--good); }
.wrong .verdict b, b.wrong { color: var(--bad); }
.told { background: var(--soft); border-radius: 4px; padding: .5rem .8rem;
  overflow-wrap: anywhere; white-space: pre-line; }
.track { position: relative; height: .8rem; background: var(--soft); border-radius: 2px;
  margin: .25rem 0 .7rem; box-shadow: inset 0 0 0 1px var(--line); max-width: 34rem; }
.track i { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 2px;
  background: var(--good); }
.track.over i { background: var(--bad); }
.track.plain i { background: var(--quiet); }
.track s { position: absolute; top: -.25rem; bottom: -.25rem; width: 2px;
  background: var(--text); }
.wide { overflow-x: auto; position: relative; }
table { border-collapse: collapse; margin: .4rem 0; font-size: .95rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: .2rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .9rem .3rem 0; text-align: left;
  vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.name { min-width: 7rem; overflow-wrap: anywhere; }
td.text { min-width: 16rem; overflow-wrap: anywhere; }
td.mark, th.mark { text-align: center; padding-right: .6rem; padding-left: .3rem; }
td .track { width: 7rem; margin: .35rem 0; }
.pair { display: grid; gap: 0 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
.pair > div { min-width: 0; }
pre { background: var(--soft); border-radius: 4px; padding: .5rem .8rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.4; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
@media print { .card { break-inside: avoid; } }
"""

#: Of each outcome what it is called, its sign and whether it is good (None: neither).
_SAYS: dict[str, tuple[str, str, bool | None]] = {
    "correct": ("correct", "✓", True),
    "not yet": ("not yet", "✗", False),
    "stopped": ("stopped", "!", False),
    "not tried": ("not tried", "–", None),
    "by hand": ("marked by hand", "✎", None),
    "not marked yet": ("not marked yet", "?", None),
    "not graded": ("not graded", "○", None),
    "unclear": ("could not be read", "□", None),
}

#: With these the points may still change.
_OPEN = ("not marked yet", "not graded", "unclear")


def says(mark: Mark) -> str:
    """Return what an outcome is called."""
    return _SAYS[mark.outcome][0]


def _escape(text: object) -> str:
    # Halves of surrogate pairs, which JSON and file names can hold, cannot be written.
    return html.escape(str(text).encode("utf-8", "replace").decode())


def _prose(text: str) -> str:
    """Return a text for people as HTML: what stands in backticks is code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _escape(text))


def number(value: float) -> str:
    """Return points without needless decimals."""
    return f"{value:g}"


def _points(earned: float, out_of: float) -> str:
    return f"{number(earned)} of {number(out_of)} point{'s' if out_of != 1 else ''}"


def _people(number: int) -> str:
    return f"{number} student{'s' if number != 1 else ''}"


def _page(title: str, body: Sequence[str], style: str = "") -> str:
    attribute = f' class="{style}"' if style else ""
    text = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Without it a browser asks a server for a picture.
        '<link rel="icon" href="data:,">\n'
        f"<title>{_escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body{attribute}>\n<main>\n{text}\n</main>\n</body>\n</html>\n"
    )


class _Html(str):
    """HTML that is not escaped again."""


def _cell(cell: object, kind: str, style: str = "") -> str:
    scope = ' scope="col"' if kind == "th" else ""
    style = f' class="{style}"' if style else ""
    return f"<{kind}{scope}{style}>{cell if isinstance(cell, _Html) else _escape(cell)}</{kind}>"


def _table(
    caption: str,
    head: Sequence[object],
    rows: Sequence[Sequence[object]],
    styles: Mapping[int, str] | None = None,
) -> str:
    """Return a table; ``styles`` has the class of a column by its place."""
    styles = styles or {}

    def row(cells: Sequence[object], kind: str) -> str:
        made = (_cell(cell, kind, styles.get(place, "")) for place, cell in enumerate(cells))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    name = _escape(caption)
    # Whoever has no mouse can scroll it sideways once it has the focus.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table><caption>{name}</caption>\n<thead>{row(head, 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _track(value: float, top: float, limit: float | None = None, plain: bool = False) -> _Html:
    """Draw a bar, and a line where the limit is. What it shows stands beside it in words.

    A plain one is neither good nor bad.
    """

    def percent(of: float) -> str:
        return f"{100 * min(max(of / top, 0), 1) if top > 0 else 0:.1f}%"

    over = " over" if limit is not None and value > limit else " plain" if plain else ""
    line = "" if limit is None else f'<s style="left:{percent(limit)}"></s>'
    return _Html(
        f'<div class="track{over}" aria-hidden="true"><i style="width:{percent(value)}"></i>'
        f"{line}</div>"
    )


# ---- a student's page --------------------------------------------------------------------------


def bars(measured: Sequence[tuple[str, float, float]]) -> str:
    """Draw what was measured against what is allowed: in words, and a bar with a line at the limit.

    Args:
        measured: What it is, the value and the limit; bars share one scale.
    """
    finite = [x for _, value, limit in measured for x in (value, limit) if math.isfinite(x)]
    top = 1.15 * max(finite, default=1.0)
    parts = []
    for what, value, limit in measured:
        verdict = "over the limit of" if value > limit else "within the limit of"
        style = "wrong" if value > limit else "correct"
        parts.append(
            f'<p>{_escape(what)}: <b class="{style}">{value:.3g}</b>, {verdict} {limit:.3g}</p>'
            f"{_track(value, top, limit)}"
        )
    return "\n".join(parts)


_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d{1,9})"
_COUNTED = re.compile(rf"(?<![\w.,]){_NUMBER} of (?:the )?{_NUMBER}(?![\w%]|[.,]\d)")


def shares(texts: Sequence[str]) -> str:
    """Draw what was counted, where a test says "3 of 5,000": whom an attack named, for example.

    Args:
        texts: What the tests say; each count is drawn once, the first few.
    """
    found = {}
    for text in texts:
        for some, of in _COUNTED.findall(text):
            part, whole = (int(each.replace(",", "")) for each in (some, of))
            if 0 <= part <= whole and whole > 1:
                found[f"{some} of {of}"] = part / whole
    return "\n".join(
        f'<p class="quiet">{told} is {share:.1%}</p>{_track(share, 1, plain=True)}'
        for told, share in list(found.items())[:MOST_COUNTS]
    )


def _verdict(mark: Mark) -> str:
    _, sign, _ = _SAYS[mark.outcome]
    points = _points(mark.points, mark.out_of)
    if mark.outcome in _OPEN:
        points = f"up to {_points(mark.out_of, mark.out_of).split(' of ')[1]}"
    told = f'<b><span aria-hidden="true">{sign}</span> {says(mark)}</b> · {points}'
    return f'<p class="verdict">{told}</p>'


def _exercise(mark: Mark) -> str:
    good = _SAYS[mark.outcome][2]
    style = {True: " correct", False: " wrong", None: ""}[good]
    parts = [
        f'<section class="card{style}">',
        f"<h3>{_escape(mark.label)} · {_escape(mark.title)}</h3>",
        _verdict(mark),
    ]
    if mark.message:
        lead = {"not yet": "What the test says", "by hand": "Comment"}.get(mark.outcome, "")
        parts.append(f'<p class="lead">{lead}</p>' if lead else "")
        parts.append(f'<p class="told">{_prose(mark.message)}</p>')
    if mark.outcome == "stopped":
        parts.append('<p class="quiet">The other exercises were graded without this one.</p>')
    if mark.evidence:
        found = "".join(f"<li>{_prose(line)}</li>" for line in mark.evidence)
        lead = "What the tests found" if mark.outcome == "correct" else "What held before that"
        parts.append(f'<p class="lead">{lead}</p><ul>{found}</ul>')
    if mark.measured:
        parts.append(f'<p class="lead">What was measured</p>{bars(mark.measured)}')
    if drawn := shares([mark.message, *mark.evidence]):
        parts.append(f'<p class="lead">What was counted</p>{drawn}')
    return "\n".join(filter(None, [*parts, "</section>"]))


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
    marks = [mark for result in results for mark in result.marked.marks]
    body = [f"<h1>{_escape(name)}</h1>", f'<p class="total">{_points(points, out_of)}</p>']
    waiting = sum(mark.out_of for mark in marks if mark.outcome == "not marked yet")
    if waiting:
        body.append(f"<p>{_points(waiting, waiting).split(' of ')[1]} not marked yet.</p>")
    if any(mark.outcome == "not yet" for mark in marks):
        body.append(
            '<p class="quiet">Your answers were tested as in the notebook, on other data and with '
            "some more cases. So an answer can hold there and fail here.</p>"
        )
    by_key = {task.key: task for task in tasks}
    for result in results:
        body.append(f"<h2>{_escape(heading(by_key[result.task]))}</h2>")
        if not result.submission:
            unclear = any(mark.outcome == "unclear" for mark in result.marked.marks)
            told = "No notebook for this could be found in what you sent." if unclear else ""
            body.append(f"<p>{told or 'Nothing was sent.'}</p>")
        else:
            body.append(f'<p class="quiet">Graded: {_escape(result.submission.place)}</p>')
        if result.marked.notes:
            notes = "".join(f"<li>{_prose(note)}</li>" for note in result.marked.notes)
            body.append(f"<p>Please note:</p><ul>{notes}</ul>")
        read = result.submission and not result.submission.problem
        shown = [mark for mark in result.marked.marks if read or mark.outcome == "by hand"]
        body += map(_exercise, shown)
    return _page(f"{name} · privlab", body)


def heading(task: Task) -> str:
    """Return what a task is called."""
    return f"{task.key} · {task.title}" if task.key.isdecimal() else task.title


# ---- the class's page --------------------------------------------------------------------------


def class_page(report: Report) -> str:
    """Return the instructor's page: who needs help, what was hard, what needs a look."""
    students = by_student(report)
    body = ["<h1>The class</h1>", *_at_a_glance(report, students), *_all_points(report, students)]
    body += ["<h2>Exercises</h2>", _how_it_went(report)]
    if report.alike:
        body += ["<h2>Answers that look alike</h2>", *_pairs(report)]
    if report.remarks:
        body.append("<h2>For you alone</h2>")
        grouped: dict[tuple[str, str], list[str]] = {}
        for each in report.remarks:
            grouped.setdefault((each.about, each.text), []).append(each.student)
        rows = [
            [_Html(", ".join(_link(Student(who)) for who in students)), about, text]
            for (about, text), students in grouped.items()
        ]
        head = ["student", "about", "what"]
        body.append(_table("Students do not read these", head, rows, {0: "text", 2: "text"}))
    noted = [
        (_link(result.student), result.task, note)
        for result in report.results
        for note in result.marked.notes
    ]
    if noted:
        body.append("<h2>Noted on submissions</h2>")
        head = ["student", "task", "note"]
        body.append(_table("The students read these too", head, noted, {2: "text"}))
    if report.unclear:
        body.append("<h2>Not graded</h2>")
        rows = [
            (each.place, _link(each.student) if each.student else "–", each.why)
            for each in report.unclear
        ]
        head = ["file", "student", "why"]
        body.append(_table("Each file and why", head, rows, {0: "text", 2: "text"}))
    return _page("The class · privlab", body, "class")


def _pairs(report: Report) -> list[str]:
    """Return the answers that look alike: a table, and each pair side by side."""
    results = {(result.student.id, result.task): result for result in report.results}
    tasks = {each.label: task.key for task in report.tasks for each in task.exercises}
    rows, shown = [], []
    for label, one, other, part in report.alike:
        pair = [results[who, tasks[label]] for who in (one, other)]
        links = [_link(result.student) for result in pair]
        rows.append((label, *links, f"{part:.0%}"))
        if len(shown) == MOST_SHOWN:
            continue
        sides = []
        for result in pair:
            code = re.sub(r"\n{3,}", "\n\n", result.marked.program.get(label, "").strip("\n"))
            name = f"Answer of {result.student.id} to {label}"
            sides.append(
                f"<div><p>{_link(result.student, result.student.name)}</p>"
                # Whoever has no mouse can scroll it sideways once it has the focus.
                f'<pre tabindex="0" role="region" aria-label="{_escape(name)}">'
                f"<code>{_escape(code)}</code></pre></div>"
            )
        summary = _escape(f"{label}: {one} and {other}, {part:.0%} shared")
        shown.append(
            f"<details><summary>{summary}</summary>"
            f'<div class="pair">{"".join(sides)}</div></details>'
        )
    more = len(report.alike) - len(shown)
    return [
        "<p>Names, comments and layout are set aside; answers near the course's own solution "
        "or a listed mistake are left out. A reason to look at both, not a proof.</p>",
        _table(
            "Pairs of answers", ["exercise", "student", "student", "shared"], rows, {3: "number"}
        ),
        *shown,
        f"<p>{more} more are not shown.</p>" if more else "",
    ]


def _link(student: Student, text: str = "") -> _Html:
    target = quote(f"feedback/{student.id}.html")
    return _Html(f'<a href="{target}">{_escape(text or student.id)}</a>')


def _at_a_glance(report: Report, students: Sequence[tuple[Student, list[Result]]]) -> list[str]:
    """Return what an instructor wants to know first."""
    sent = [(who, results) for who, results in students if any(r.submission for r in results)]
    others = [(who, results) for who, results in students if not any(r.submission for r in results)]
    silent, lost = [], []
    for who, results in others:
        outcomes = {mark.outcome for result in results for mark in result.marked.marks}
        (lost if "unclear" in outcomes else silent).append(who)
    out_of = sum(task.out_of for task in report.tasks)
    points = {who.id: sum(result.points for result in results) for who, results in sent}
    mean = sum(points.values()) / len(points) if points else 0
    body = [
        f'<p class="total">{len(sent)} of {_people(len(students))} sent a notebook: {mean:.1f} '
        f"of {number(out_of)} points in the mean</p>"
    ]
    if report.unsent:
        missing = ", ".join(report.unsent)
        body.append(f"<p><strong>Nobody sent {_escape(missing)}.</strong></p>")
    failed = sum(
        mark.outcome == "not graded" for result in report.results for mark in result.marked.marks
    )
    if failed:
        answers = f"{failed} answers were" if failed > 1 else "1 answer was"
        body.append(
            f"<p><strong>{answers} not graded: a test failed.</strong> See “For you alone”.</p>"
        )
    waiting = sum(
        mark.outcome == "not marked yet" for _, results in sent
        for result in results for mark in result.marked.marks if result.submission
    )  # fmt: skip
    if waiting:
        answers = f"{waiting} answers in words wait" if waiting > 1 else "1 answer in words waits"
        page = _Html('<a href="free_text.html">free_text.html</a>')
        body.append(f"<p>{answers} for your marks: read {page}, fill in free_text.csv.</p>")
    if hard := _hardest(report):
        body.append(f"<p>Hardest: {hard}</p>")
    low = []
    for who, results in sent:
        marks = [mark for result in results for mark in result.marked.marks]
        possible = sum(mark.out_of for mark in marks if mark.outcome not in _OPEN)
        if points[who.id] < LOW * possible:
            low.append((points[who.id], who, results))
    low.sort(key=lambda each: each[0])
    if low:
        body.append("<h2>Who may need help</h2>")
        rows = [
            [_link(who), who.name, f"{number(earned)} of {number(out_of)}", _lacks(results)]
            for earned, who, results in low[:MOST_NAMED]
        ]
        more = f", and {len(low) - MOST_NAMED} more" if len(low) > MOST_NAMED else ""
        caption = f"Less than half of the points{more}"
        head = ["id", "name", "points", "what is missing"]
        body.append(_table(caption, head, rows, {1: "name", 3: "text"}))
    if lost:
        names = ", ".join(_link(who, who.name) for who in lost)
        body.append(
            f"<p>Sent files, but no notebook that could be told to be for this: {names}</p>"
        )
    if silent:
        names = ", ".join(_link(who, who.name) for who in silent)
        body.append(f"<p>Nothing sent: {names}</p>")
    return body


def _lacks(results: Sequence[Result]) -> str:
    problems = [each for each in results if each.submission and each.submission.problem]
    told = [f"could not be read: {each.task}" for each in problems]
    marks = [mark for each in results if each not in problems for mark in each.marked.marks]
    for outcome in ("stopped", "not yet", "not tried"):
        labels = [mark.label for mark in marks if mark.outcome == outcome]
        if labels:
            told.append(f"{outcome}: {', '.join(labels)}")
    return "; ".join(told)


def _tried(report: Report, label: str) -> list[Mark]:
    marks = [mark for result in report.results for mark in result.marked.marks]
    left_out = ("not tried", *_OPEN)
    return [mark for mark in marks if mark.label == label and mark.outcome not in left_out]


def _full(marks: Sequence[Mark]) -> int:
    return sum(mark.points == mark.out_of for mark in marks)


def _hardest(report: Report) -> str:
    """Name the exercise that the smallest part of those who tried it solved, unless all did."""
    found = []
    for task in report.tasks:
        for each in task.exercises:
            tried = _tried(report, each.label)
            if tried and _full(tried) < len(tried):
                found.append((_full(tried) / len(tried), each, len(tried), _full(tried)))
    if not found:
        return ""
    _, each, tried, solved = min(found, key=lambda one: one[0])
    title = f"{each.label} {each.title}"
    return f"<strong>{_escape(title)}</strong> ({solved} of {tried} who tried it solved it)"


def _all_points(report: Report, students: Sequence[tuple[Student, list[Result]]]) -> list[str]:
    """Return the table of all students and exercises."""
    labels = [e.label for task in report.tasks for e in (*task.exercises, *task.questions)]
    rows = []
    for student, results in students:
        marks = {mark.label: mark for result in results for mark in result.marked.marks}
        total = number(sum(result.points for result in results))
        cells = [_signed(marks[label]) for label in labels]
        rows.append([_link(student), student.name, total, *cells])
    out_of = number(sum(task.out_of for task in report.tasks))
    head = ["id", "name", f"of {out_of}", *labels]
    styles = {1: "name", 2: "number"} | dict.fromkeys(range(3, len(head)), "mark")
    shown = {mark.outcome for result in report.results for mark in result.marked.marks}
    legend = ", ".join(f"{sign} {name}" for key, (name, sign, _) in _SAYS.items() if key in shown)
    legend = legend.replace("✎ marked by hand", "a number: marked by hand")
    return [
        "<h2>Points</h2>",
        _table("Each student's page is behind the id", head, rows, styles),
        f'<p class="quiet">{_escape(legend)}</p>',
    ]


def _signed(mark: Mark) -> _Html:
    _, sign, good = _SAYS[mark.outcome]
    if mark.outcome == "by hand":
        return _Html(f"<span>{number(mark.points)}</span>")
    style = {True: ' class="correct"', False: ' class="wrong"', None: ""}[good]
    return _Html(
        f'<b{style} aria-hidden="true">{sign}</b><span class="hidden">{_escape(says(mark))}</span>'
    )


def _how_it_went(report: Report) -> str:
    rows = []
    for task in report.tasks:
        for each in (*task.exercises, *task.questions):
            tried = _tried(report, each.label)
            solved = _full(tried)
            problems = frequent_problems(report, each.label)[:3]
            told = "".join(f"<li>{count} × {_prose(_short(text))}</li>" for text, count in problems)
            share = f"{solved} of {len(tried)}" if tried else "nobody tried it"
            bar = _track(solved, len(tried)) if tried else ""
            sent = [r for r in report.results if r.task == task.key and r.submission]
            skipped = sum(
                mark.label == each.label and mark.outcome == "not tried"
                for result in sent
                for mark in result.marked.marks
            )
            if skipped and tried:
                bar += f'<span class="quiet">{skipped} did not try</span>'
            name = f"{each.label} {each.title}"
            told = f"<ul>{told}</ul>" if told else "–"
            rows.append([name, _Html(f"{share}{bar}"), _Html(told)])
    head = ["exercise", "full points", "most frequent problems"]
    return _table("Full points, of those who tried", head, rows, {0: "name", 2: "text"})


def _short(text: str, longest: int = 200) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def by_student(report: Report) -> list[tuple[Student, list[Result]]]:
    """Return each student with their results."""
    found: dict[str, tuple[Student, list[Result]]] = {}
    for result in report.results:
        found.setdefault(result.student.id, (result.student, []))[1].append(result)
    return list(found.values())


# ---- answers in words --------------------------------------------------------------------------


def words_page(report: Report) -> str:
    """Return a page with all answers in words, question by question, for marking by hand."""
    body = [
        "<h1>Answers in words</h1>",
        "<p>Write points and, if you like, a comment into free_text.csv, and grade again.</p>",
    ]
    for task in report.tasks:
        for question in task.questions:
            body.append(f"<h2>{_escape(question.label)} · {_escape(question.title)}</h2>")
            body.append(f'<p class="told">{_prose(question.text.strip())}</p>')
            body.append(f'<p class="quiet">At most {number(question.points)} points</p>')
            for result in report.results:
                if result.task != task.key or result.submission is None:
                    continue
                answer = answer_in_words(result.submission, question)
                student = result.student
                name = f"{student.name} ({student.id})" if student.name else student.id
                told = f'<p class="told">{_escape(answer)}</p>' if answer else "<p>No answer.</p>"
                body.append(f"<h3>{_escape(name)}</h3>\n{told}")
    return _page("Answers in words · privlab", body)
