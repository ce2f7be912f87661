"""The tables of docs/grading_cheats.md are those of the corpus, and privlab pays for no cheat."""

import re
from pathlib import Path

import pytest
from grading_corpus import CHEATS, EXERCISES, ODDITIES, q1, q2, sent

PAGE = (Path(__file__).parent.parent / "docs" / "grading_cheats.md").read_text(encoding="utf-8")
ANSWERS = (*CHEATS, *ODDITIES)
FILES = sent("a stamp")
POINTS = {each.label: each.points for each in EXERCISES}
AGAIN = 'run `tests/benchmarks/grading_cheats.py --nbgrader PYTHON --only ""`'


def table(kind):
    """The cells of each row, and the line below the rows."""
    text = re.search(rf"<!-- {kind}:.*?-->\n(.*?)\n<!-- end of {kind} -->", PAGE, re.DOTALL)[1]
    *rows, empty, count = text.split("\n")[2:]
    assert not empty
    return [row[2:-2].split(" | ") for row in rows], count


@pytest.mark.parametrize(("kind", "entries"), [("answers", ANSWERS), ("files", FILES)])
def test_a_table_lists_the_corpus_and_counts_right(kind, entries):
    rows, count = table(kind)
    assert [row[0] for row in rows] == [each.name for each in entries], AGAIN
    assert {len(row) for row in rows} == {4}
    ours, theirs = (sum("**" in row[column] for row in rows) for column in (1, 2))
    ungraded = sum(row[2] == "ungraded" for row in rows)
    assert ours == 0
    told = (len(rows), ours, theirs, ungraded)
    assert tuple(map(int, re.findall(r"\d+(?= )", count))) == told, count


def test_answers_have_the_points_and_reasons_of_the_corpus():
    for (name, ours, theirs, why), entry in zip(table("answers")[0], ANSWERS, strict=True):
        assert ours == f"{entry.earns} of {POINTS[entry.exercise]}", name
        assert why == entry.why, name
        assert (theirs == f"not run: {entry.harms}") == bool(entry.harms), name


def test_files_have_the_points_and_remarks_of_the_corpus():
    for (name, ours, _, says), entry in zip(table("files")[0], FILES, strict=True):
        first, second = entry.earns
        assert ours == f"{first} of {q1.points} and {second} of {q2.points}", name
        assert entry.noted in says.replace("\\", ""), name
