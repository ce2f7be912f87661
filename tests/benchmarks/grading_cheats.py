"""What does a cheat earn, from ``privlab grade`` and from nbgrader? Writes the table as Markdown.

    python tests/benchmarks/grading_cheats.py --nbgrader /path/to/python --out table.md

``--nbgrader`` names a Python in which nbgrader 0.9.6 is installed; without it that column is left
out. Entries that would fill the memory, the disk or the process table, or kill the grader, are not
run in it. With it, it takes about 12 minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from grading_corpus import CHEATS, EXERCISES, ODDITIES, Entry
from nbgrader_course import Course, answered

from privlab.grading.marking import mark
from privlab.grading.program import python
from privlab.grading.sandbox import Limits
from privlab.grading.tasks import Task

SEED = 20_251
POINTS = {each.label: each.points for each in EXERCISES}


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nbgrader", type=Path, help="a Python with nbgrader 0.9.6")
    parser.add_argument("--out", type=Path, help="a file; default: standard output")
    parser.add_argument("--only", default="", help="entries whose name holds this text")
    options = parser.parse_args()
    entries = [each for each in (*CHEATS, *ODDITIES) if options.only in each.name]
    ours = [by_privlab(each) for each in tqdm(entries, desc="privlab", unit="notebook")]
    theirs: dict[str, dict] = {}
    if options.nbgrader:
        sent = {f"s{number:03}": each for number, each in enumerate(entries) if not each.harms}
        with tempfile.TemporaryDirectory() as folder:
            theirs = by_nbgrader(sent, Path(folder), options.nbgrader)
        if any(theirs["stub"].values()):
            print(f"nbgrader pays for the untouched hand-out: {theirs['stub']}", file=sys.stderr)
    lines = ["| submission | `privlab grade` | nbgrader 0.9.6 | why privlab does not pay |"]
    lines += ["|---|---|---|---|"]
    count: Counter[str] = Counter()
    for number, (entry, points) in enumerate(zip(entries, ours, strict=True)):
        own = told(points, entry)
        if not options.nbgrader:
            other = "–"
        elif entry.harms:
            other = f"not run: {entry.harms}"
        else:
            other = told(theirs.get(f"s{number:03}"), entry)
        count["paid by privlab"] += own.startswith("**")
        count["paid by nbgrader"] += other.startswith("**")
        count["ungraded by nbgrader"] += other == "ungraded"
        lines.append(f"| {entry.name} | {own} | {other} | {entry.why} |")
    lines += ["", f"{len(entries)} submissions: " + ", ".join(f"{v} {k}" for k, v in count.items())]
    table = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(table, encoding="utf-8")
    print(table if not options.out else lines[-1])
    return 1 if count["paid by privlab"] else 0


if __name__ == "__main__":
    sys.exit(main())
