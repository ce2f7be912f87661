"""The README and the lesson list say the same, and every link in them resolves."""

import re
from pathlib import Path

import pytest

from privlab import course

ROOT = Path(__file__).parent.parent
TEXTS = ["README.md", "data/README.md", "docs/auditor.md"]


def test_the_lesson_table_is_the_courses():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- lessons:.*?-->\n(.*)\n<!-- end of lessons -->", text, re.DOTALL)
    assert table[1] == course.markdown_table()


def test_there_are_all_22_lessons_and_those_not_there_are_marked():
    assert [entry.number for entry in course.LESSONS] == [f"{n:02d}" for n in range(22)]
    rows = course.markdown_table().splitlines()
    for entry in course.LESSONS:
        (row,) = [row for row in rows if row.startswith(f"| {entry.number} |")]
        assert entry.ready == (ROOT / "notebooks" / entry.file).is_file()
        assert ("not there yet" in row) == (not entry.ready)


@pytest.mark.parametrize("name", TEXTS)
def test_links_to_files_resolve(name):
    path = ROOT / name
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_an_unknown_lesson_is_named():
    assert course.lesson("01").slug == "reidentification"
    with pytest.raises(ValueError, match=r"'22'.*00 to 21"):
        course.lesson("22")


@pytest.mark.parametrize("entry", [e for e in course.LESSONS if e.ready], ids=lambda e: e.number)
def test_a_lesson_and_the_table_name_the_same_time(entry):
    text = (ROOT / "notebooks" / entry.file).read_text(encoding="utf-8")
    assert f"**Time:** {entry.minutes} minutes" in text
