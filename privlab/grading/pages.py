"""What people read of a grade: a page for each student, a page of the class, answers in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from urllib.parse import quote

from ..exercise import escape, prose
from .grade import Report, Result, frequent_problems
from .marking import Mark
from .markup import Html, number, page, table, track
from .submissions import Student, within
from .tasks import Task
from .words import answer_in_words

#: Students with less than this part of the points are named at the top of the class's page, so many
#: of them at most.
LOW, MOST_NAMED = 0.5, 12

#: So many counts of one exercise are drawn.
MOST_COUNTS = 3

#: So many pairs of answers that look alike are shown side by side.
MOST_SHOWN = 40

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


def _points(earned: float, out_of: float) -> str:
    return f"{number(earned)} of {number(out_of)} point{'s' if out_of != 1 else ''}"


def _people(number: int) -> str:
    return f"{number} student{'s' if number != 1 else ''}"


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
            f'<p>{escape(what)}: <b class="{style}">{value:.3g}</b>, {verdict} {limit:.3g}</p>'
            f"{track(value, top, limit)}"
        )
    return "\n".join(parts)


_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d{1,9})"
#: What an attack has achieved; other counts in what a test says, as a client's size, are no result.
_COUNTED = re.compile(
    rf"\b(?:name[sd]?|read|reads|recovered|rebuilt) {_NUMBER} of (?:the )?{_NUMBER}(?![\w%]|[.,]\d)"
)


def shares(texts: Sequence[str]) -> str:
    """Draw what an attack has achieved, where a test says that it "named 3 of 5,000", for example.

    Args:
        texts: What the tests say; each count is drawn once, the first few.
    """
    found = {}
    for text in texts:
        for some, of in _COUNTED.findall(text):
            part, whole = (int(each.replace(",", "")) for each in (some, of))
            if part <= whole and whole > 1:
                found[f"{some} of {of}"] = part / whole
    return "\n".join(
        f'<p class="quiet">{told} is {share:.1%}</p>{track(share, 1, plain=True)}'
        for told, share in list(found.items())[:MOST_COUNTS]
    )


def _verdict(mark: Mark) -> str:
    _, sign, _ = _SAYS[mark.outcome]
    points = _points(mark.points, mark.out_of)
    if mark.outcome in _OPEN:
        points = f"up to {_points(mark.out_of, mark.out_of).split(' of ')[1]}"
    told = f'<b><span aria-hidden="true">{sign}</span> {says(mark)}</b> · {points}'
    return f'<p class="verdict">{told}</p>'


def _exercise(mark: Mark, question: str = "", answer: str = "") -> str:
    good = _SAYS[mark.outcome][2]
    style = {True: " correct", False: " wrong", None: ""}[good]
    parts = [
        f'<section class="card{style}">',
        f"<h3>{escape(mark.label)} · {escape(mark.title)}</h3>",
        _verdict(mark),
    ]
    if question:
        parts.append(f'<p class="quiet">{prose(question)}</p>')
    if answer:
        parts.append(f'<p class="lead">Your answer</p><p class="told">{escape(answer)}</p>')
    if mark.message:
        lead = {"not yet": "What the test says", "by hand": "Comment"}.get(mark.outcome, "")
        parts.append(f'<p class="lead">{lead}</p>' if lead else "")
        parts.append(f'<p class="told">{prose(mark.message)}</p>')
    if mark.outcome == "stopped":
        parts.append('<p class="quiet">The other exercises were graded without this one.</p>')
    if mark.evidence:
        found = "".join(f"<li>{prose(line)}</li>" for line in mark.evidence)
        lead = "What the tests found" if mark.outcome == "correct" else "What held before that"
        parts.append(f'<p class="lead">{lead}</p><ul>{found}</ul>')
    if mark.measured:
        parts.append(f'<p class="lead">What was measured</p>{bars(mark.measured)}')
    if drawn := shares([mark.message, *mark.evidence]):
        parts.append(f'<p class="lead">What the attack achieved</p>{drawn}')
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
    body = [f"<h1>{escape(name)}</h1>", f'<p class="total">{_points(points, out_of)}</p>']
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
        body.append(f"<h2>{escape(heading(by_key[result.task]))}</h2>")
        if not result.submission:
            unclear = any(mark.outcome == "unclear" for mark in result.marked.marks)
            told = "No notebook for this could be found in what you sent." if unclear else ""
            body.append(f"<p>{told or 'Nothing was sent.'}</p>")
        else:
            shown = within(result.submission.place, student)
            body.append(f'<p class="quiet">Graded: {escape(shown)}</p>')
        if result.marked.notes:
            notes = "".join(f"<li>{prose(note)}</li>" for note in result.marked.notes)
            body.append(f"<p>Please note:</p><ul>{notes}</ul>")
        read = result.submission and not result.submission.problem
        shown = [mark for mark in result.marked.marks if read or mark.outcome == "by hand"]
        questions = {each.label: each for each in by_key[result.task].questions}
        for mark in shown:
            if question := questions.get(mark.label):
                answer = answer_in_words(result.submission, question)
                body.append(_exercise(mark, question.text.strip(), answer))
            else:
                body.append(_exercise(mark))
    return page(f"{name} · privlab", body)


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
            [Html(", ".join(_link(Student(who)) for who in students)), about, text]
            for (about, text), students in grouped.items()
        ]
        head = ["student", "about", "what"]
        body.append(table("Students do not read these", head, rows, {0: "text", 2: "text"}))
    noted = _noted(report)
    if noted:
        body.append("<h2>Noted on submissions</h2>")
        head = ["student", "task", "note"]
        body.append(table("The students read these too", head, noted, {2: "text"}))
    if report.unclear:
        body.append("<h2>Not graded</h2>")
        rows = [
            (each.place, _link(each.student) if each.student else "–", each.why)
            for each in report.unclear
        ]
        head = ["file", "student", "why"]
        body.append(table("Each file and why", head, rows, {0: "text", 2: "text"}))
    return page("The class · privlab", body, "class")


def _noted(report: Report) -> list[tuple[Html, str, str]]:
    """Return student, tasks and text of each note, each once."""
    tasks: dict[tuple[Student, str], list[str]] = {}
    for result in report.results:
        for note in dict.fromkeys(result.marked.notes):
            tasks.setdefault((result.student, note), []).append(result.task)
    return [(_link(who), ", ".join(keys), note) for (who, note), keys in tasks.items()]


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
                f'<pre tabindex="0" role="region" aria-label="{escape(name)}">'
                f"<code>{escape(code)}</code></pre></div>"
            )
        summary = escape(f"{label}: {one} and {other}, {part:.0%} shared")
        shown.append(
            f"<details><summary>{summary}</summary>"
            f'<div class="pair">{"".join(sides)}</div></details>'
        )
    more = len(report.alike) - len(shown)
    return [
        "<p>Names, imports, comments and layout are set aside; answers near the course's own "
        "solution or a listed mistake are left out. A reason to look at both, not a proof.</p>",
        table(
            "Pairs of answers", ["exercise", "student", "student", "shared"], rows, {3: "number"}
        ),
        *shown,
        f"<p>{more} more are not shown.</p>" if more else "",
    ]


def _link(student: Student, text: str = "") -> Html:
    target = quote(f"feedback/{student.id}.html")
    return Html(f'<a href="{target}">{escape(text or student.id)}</a>')


def summary(report: Report) -> str:
    """Say in one line who sent something, and what it came to in the mean."""
    students = by_student(report)
    sent = [results for _, results in students if any(each.submission for each in results)]
    points = [sum(each.points for each in results) for results in sent]
    mean = sum(points) / len(points) if points else 0
    out_of = number(sum(task.out_of for task in report.tasks))
    told = f"{len(sent)} of {_people(len(students))} sent a notebook"
    return f"{told}: {mean:.1f} of {out_of} points in the mean"


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
    body = [f'<p class="total">{summary(report)}</p>']
    if unknown := sum(each.student is None for each in report.unclear):
        files = f"{unknown} files were" if unknown > 1 else "1 file was"
        body.append(f"<p><strong>{files} graded for nobody.</strong> See “Not graded”.</p>")
    if report.unsent:
        missing = ", ".join(report.unsent)
        body.append(f"<p><strong>Nobody sent {escape(missing)}.</strong></p>")
    if report.strange_key:
        body.append(
            "<p><strong>No notebook was handed out with this key.</strong> If you have another, "
            "grade with that one: with this one the tests' data are others.</p>"
        )
    if failed := report.not_graded:
        answers = f"{failed} answers were" if failed > 1 else "1 answer was"
        body.append(
            f"<p><strong>{answers} not graded: a test or the grader failed.</strong> The tables "
            "have no points there. See “For you alone”.</p>"
        )
    waiting = sum(
        mark.outcome == "not marked yet" for _, results in sent
        for result in results for mark in result.marked.marks if result.submission
    )  # fmt: skip
    if waiting:
        answers = f"{waiting} answers in words wait" if waiting > 1 else "1 answer in words waits"
        words = Html('<a href="free_text.html">free_text.html</a>')
        body.append(f"<p>{answers} for your marks: read {words}, fill in free_text.csv.</p>")
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
        body.append(table(caption, head, rows, {1: "name", 3: "text"}))
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


def _waiting(report: Report, label: str) -> int:
    """Return how many answers in words to a question have no points yet."""
    marks = [mark for result in report.results for mark in result.marked.marks]
    return sum(mark.label == label and mark.outcome == "not marked yet" for mark in marks)


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
    return f"<strong>{escape(title)}</strong> ({solved} of {tried} who tried it solved it)"


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
        table("Each student's page is behind the id", head, rows, styles),
        f'<p class="quiet">{escape(legend)}</p>',
    ]


def _signed(mark: Mark) -> Html:
    _, sign, good = _SAYS[mark.outcome]
    if mark.outcome == "by hand":
        return Html(f"<span>{number(mark.points)}</span>")
    style = {True: ' class="correct"', False: ' class="wrong"', None: ""}[good]
    return Html(
        f'<b{style} aria-hidden="true">{sign}</b><span class="hidden">{escape(says(mark))}</span>'
    )


def _how_it_went(report: Report) -> str:
    rows = []
    for task in report.tasks:
        for each in (*task.exercises, *task.questions):
            tried = _tried(report, each.label)
            solved = _full(tried)
            problems = frequent_problems(report, each.label)[:3]
            told = "".join(f"<li>{count} × {prose(_short(text))}</li>" for text, count in problems)
            waiting = _waiting(report, each.label)
            share = f"{solved} of {len(tried)}" if tried else "" if waiting else "nobody tried it"
            bar = track(solved, len(tried)) if tried else ""
            more = []
            if by_hand := [mark.points for mark in tried if mark.outcome == "by hand"]:
                mean = sum(by_hand) / len(by_hand)
                more.append(f"mean {mean:.1f} of {number(each.points)}")
            if waiting:
                more.append(f"{waiting} to be marked")
            sent = [r for r in report.results if r.task == task.key and r.submission]
            skipped = sum(
                mark.label == each.label and mark.outcome == "not tried"
                for result in sent
                for mark in result.marked.marks
            )
            if skipped and (tried or waiting):
                more.append(f"{skipped} did not try")
            bar += f'<span class="quiet">{"<br>".join(more)}</span>' if more else ""
            name = f"{each.label} {each.title}"
            told = f"<ul>{told}</ul>" if told else "–"
            rows.append([name, Html(f"{share}{bar}"), Html(told)])
    head = ["exercise", "full points", "most frequent problems"]
    return table("Full points, of those who tried", head, rows, {0: "name", 2: "text"})


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
            body.append(f"<h2>{escape(question.label)} · {escape(question.title)}</h2>")
            body.append(f'<p class="told">{prose(question.text.strip())}</p>')
            body.append(f'<p class="quiet">At most {number(question.points)} points</p>')
            for result in report.results:
                if result.task != task.key or result.submission is None:
                    continue
                answer = answer_in_words(result.submission, question)
                student = result.student
                name = f"{student.name} ({student.id})" if student.name else student.id
                told = f'<p class="told">{escape(answer)}</p>' if answer else "<p>No answer.</p>"
                body.append(f"<h3>{escape(name)}</h3>\n{told}")
    return page("Answers in words · privlab", body)
