"""What does a cheat earn, from privlab and from nbgrader? Writes docs/grading_cheats.md.

    python tests/benchmarks/grading_cheats.py --nbgrader /path/to/python

``--nbgrader`` names a Python in which nbgrader 0.9.6 is installed. Answers that would fill the
memory, the disk or the process table, or kill the grader, are not run in it. All of it takes about
15 minutes; ``--only`` takes the submissions whose name holds a text (``""``: none of the answers),
the other rows stay. tests/test_cheats_table.py compares the page with the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from grading_corpus import CHEATS, EXERCISES, LESSON, ODDITIES, Entry, Sent, notebook, q1, q2, sent
from nbgrader_course import ROOT, Course, answered

from privlab.grading.grade import grade
from privlab.grading.marking import mark
from privlab.grading.program import python
from privlab.grading.sandbox import Limits
from privlab.grading.secret import stamp
from privlab.grading.submissions import Student, collect
from privlab.grading.tasks import Task

PAGE = ROOT / "docs" / "grading_cheats.md"
SEED = 20_251
POINTS = {each.label: each.points for each in EXERCISES}
#: Sent by somebody honest, on whom others try to draw.
HONEST = notebook(q1.reference, q2.reference)


def handed_out() -> nbformat.NotebookNode:
    """Return the synthetic task as a course's notebook."""
    cells = [new_code_cell("from grading_corpus import q1, q2, q3")]
    for number, each in enumerate(EXERCISES, start=1):
        cells.append(new_code_cell(each.stub, metadata={"tags": ["answer"]}))
        cells.append(new_code_cell(f"q{number}.check()"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def submitted(release: nbformat.NotebookNode, entry: Entry) -> nbformat.NotebookNode:
    """Return a release with the answers and the other cells of an entry."""
    made = answered(
        release,
        [
            (each, entry.code if each.label == entry.exercise else each.reference)
            for each in EXERCISES
        ],
    )
    made.cells[1:1] = [new_code_cell(code) for code in entry.before]
    made.cells += [new_code_cell(code) for code in entry.after]
    return made


def by_privlab(entry: Entry) -> dict[str, float]:
    """Return the points by label."""
    cells = [python(cell) for cell in entry.cells()]
    marked = mark(cells, EXERCISES, SEED, Limits(**entry.limits))
    return {each.label: each.points for each in marked.marks}


def by_nbgrader(entries: dict[str, Entry], folder: Path, nbgrader: Path) -> dict[str, dict]:
    """Return the points by student and label; whoever could not be graded is missing."""
    task = Task("00", "Cheats", EXERCISES, (), "cheats.ipynb")
    course = Course(folder, nbgrader, task, handed_out(), timeout=20)
    course.submit("stub", course.release)
    for student, entry in entries.items():
        course.submit(student, submitted(course.release, entry))
    for student in tqdm(["stub", *entries], desc="nbgrader", unit="notebook"):
        course.autograde([student])
    return course.scores()


def told(points: dict[str, float] | None, entry: Entry) -> str:
    """Say what an entry earned, and what its honest part lost."""
    if points is None:
        return "ungraded"
    honest = sum(out_of for label, out_of in POINTS.items() if label != entry.exercise)
    lost = honest - sum(value for label, value in points.items() if label != entry.exercise)
    own, out_of = points[entry.exercise], POINTS[entry.exercise]
    text = f"**{own:g} of {out_of}**" if own > entry.earns else f"{own:g} of {out_of}"
    return text + (f", {lost:g} of {honest} honest points lost" if lost else "")


# ---- what is in files rather than in code ------------------------------------------------------


def put(folder: Path, files: Mapping[str, bytes | str]) -> None:
    """Write what a student sent; a text is where a link leads."""
    for path, body in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(body) if isinstance(body, str) else file.write_bytes(body)


def files_by_privlab(entries: Sequence[Sent], key: bytes, folder: Path) -> list[tuple]:
    """Collect and grade a class; return each one's points and what the report says of it."""
    roster = [Student("victim", "Vic Tim")]
    put(folder / "sent" / "victim", {"a.ipynb": HONEST})
    os.utime(folder / "sent" / "victim" / "a.ipynb", (0, 0))  # what others claim to be is later
    for number, each in enumerate(entries):
        roster.append(Student(f"s{number:03}", f"Student {number}"))
        put(folder / "sent" / roster[-1].id, each.files)
    task = Task(LESSON, "A synthetic task", (q1, q2), (), "a.ipynb")
    found = collect(folder / "sent", roster)
    report = grade(found, [task], roster, key, folder / "out", limits=Limits(seconds=30))
    points = {each.student.id: [m.points for m in each.marked.marks] for each in report.results}
    if points["victim"] != [q1.points, q2.points]:
        raise RuntimeError(f"somebody honest lost points: {points['victim']}")
    earned = []
    for number, result in enumerate(report.results[1:]):
        said = [*result.marked.notes, *(each.why for each in report.unclear)]
        said += [each.text for each in report.remarks]
        noted = entries[number].noted
        told = next((each for each in said if noted and noted in each), "")
        earned.append((points[result.student.id], told))
    return earned


def resent(release: nbformat.NotebookNode, page: dict) -> str:
    """Put code, outputs and metadata of a student's notebook into a release; return its JSON."""
    cells = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    code: dict[str, list[str]] = {"width": [], "total": []}
    for cell in cells:
        code["width" if "def width" in cell["source"] else "total"].append(cell["source"])
    made = answered(release, [(q1, "\n".join(code["total"])), (q2, "\n".join(code["width"]))])
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.metadata.update(cells[0]["metadata"])
            cell.outputs = cells[0]["outputs"]
    made.metadata.update(page["metadata"])
    return json.dumps(made)


def files_by_nbgrader(entries: Sequence[Sent], folder: Path, nbgrader: Path) -> list[dict | None]:
    """Return the points by label; empty without a grade, None where there is nothing to send."""
    task = Task(LESSON, "Cheats", EXERCISES, (), "a.ipynb")
    course = Course(folder, nbgrader, task, handed_out(), timeout=20)
    found: list[dict | None] = []
    submissions = [Sent("victim", {"a.ipynb": HONEST}), *entries]
    students = ["victim", *(f"s{number:03}" for number in range(len(entries)))]
    for student, each in zip(students, submissions, strict=True):
        body = each.files.get(task.file)
        if len(each.files) == 1 and body is not None:
            if isinstance(body, str):
                body = f"../../{body.split('/')[-2]}/work/{task.file}"
            else:
                body = resent(course.release, json.loads(body)).encode()
            put(folder / "submitted" / student / "work", {task.file: body})
            course.autograde([student])
    scores = course.scores()
    for student in students[1:]:
        there = (folder / "submitted" / student).is_dir()
        found.append(scores.get(student, {}) if there else None)
    return found


def earned(points: Sequence[float], entry: Sent) -> str:
    """Say what a student earned in both exercises."""
    text = " and ".join(
        f"{own:g} of {each.points}" for own, each in zip(points, (q1, q2), strict=True)
    )
    # Whoever sends it tries to get the first; where the second is paid, it was answered rightly.
    return f"**{text}**" if points[0] > entry.earns[0] else text


def plain(text: str) -> str:
    """Return a text as it can stand in a table of Markdown."""
    return re.sub(r"([|<>*_`\\])", r"\\\1", " ".join(text.split()))


# ---- the page ----------------------------------------------------------------------------------


def rows_of(page: str, kind: str) -> dict[str, str]:
    """Return the rows of one of the page's tables by the name of the submission."""
    table = re.search(rf"<!-- {kind}:.*?-->\n(.*?)\n<!-- end of {kind} -->", page, re.DOTALL)[1]
    rows = [line for line in table.split("\n")[2:] if line.startswith("| ")]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def put_rows(page: str, kind: str, rows: Sequence[str]) -> str:
    """Return the page with other rows in one of its tables, and their count below."""
    ours, theirs = (sum("**" in row.split(" | ")[column] for row in rows) for column in (1, 2))
    count = f"{len(rows)} submissions: {ours} paid by privlab, {theirs} paid by nbgrader"
    count += f", {sum(row.split(' | ')[2] == 'ungraded' for row in rows)} ungraded by nbgrader."
    table = re.compile(rf"(<!-- {kind}:.*?-->\n.*?\n.*?\n).*?(\n<!-- end of {kind} -->)", re.DOTALL)
    return table.sub(lambda it: it[1] + "\n".join([*rows, "", count]) + it[2], page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nbgrader", type=Path, required=True, help="a Python with nbgrader 0.9.6")
    parser.add_argument("--only", help="those whose name holds this text; the other rows stay")
    options = parser.parse_args()
    nbgrader = options.nbgrader.absolute()  # not resolved: a venv's Python is a link
    page = PAGE.read_text(encoding="utf-8")
    known = rows_of(page, "answers") if options.only is not None else {}
    corpus = (*CHEATS, *ODDITIES)
    entries = [
        each
        for each in corpus
        if each.name not in known or (options.only and options.only in each.name)
    ]
    theirs: dict[str, dict] = {}
    send = {f"s{number:03}": each for number, each in enumerate(entries) if not each.harms}
    if send:
        with tempfile.TemporaryDirectory() as folder:
            theirs = by_nbgrader(send, Path(folder), nbgrader)
        if any(theirs["stub"].values()):
            print(f"nbgrader pays for the untouched hand-out: {theirs['stub']}", file=sys.stderr)
    for number, entry in enumerate(tqdm(entries, desc="privlab", unit="notebook")):
        own = told(by_privlab(entry), entry)
        other = (
            f"not run: {entry.harms}" if entry.harms else told(theirs.get(f"s{number:03}"), entry)
        )
        known[entry.name] = f"| {entry.name} | {own} | {other} | {entry.why} |"
    page = put_rows(page, "answers", [known[each.name] for each in corpus])
    PAGE.write_text(page, encoding="utf-8")  # minutes of work: the files may still fail

    key = bytes(32)
    files, rows = sent(stamp(key, LESSON, "victim")), []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        ours = files_by_privlab(files, key, Path(folder))
        peers = files_by_nbgrader(files, Path(other), nbgrader)
    for entry, (points, says), peer in zip(files, ours, peers, strict=True):
        own = earned(points, entry)
        theirs_told = "–" if peer is None else "ungraded"
        if peer:
            theirs_told = earned([peer[q1.label], peer[q2.label]], entry)
        rows.append(f"| {entry.name} | {own} | {theirs_told} | {plain(says) or '–'} |")
    page = put_rows(page, "files", rows)
    PAGE.write_text(page, encoding="utf-8")
    paid = [row for row in (*known.values(), *rows) if "**" in row.split(" | ")[1]]
    print("\n".join([*paid, f"{len(entries)} answers and {len(files)} files were graded."]))
    return 1 if paid else 0


if __name__ == "__main__":
    sys.exit(main())
