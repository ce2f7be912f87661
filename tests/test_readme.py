"""The README and the lesson list say the same, and every link of the documentation resolves."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from grading_corpus import CHEATS

from privlab import course

ROOT = Path(__file__).parent.parent
TEXTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "data/*.md", "tests/benchmarks/*.md")
    for path in ROOT.glob(pattern)
)


def prose(path):
    """The text of a Markdown file without code, where nothing is a link."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def links(path):
    """The targets of the links and images that lead to no other host."""
    found = re.findall(r"\]\(<?([^)\s>]+)", prose(path))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path):
    """The anchors that GitHub gives to the headings of a Markdown file."""
    headings = re.findall(r"^#+\s+(.*?)\s*#*$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_lesson_table_is_the_courses():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- lessons:.*?-->\n(.*)\n<!-- end of lessons -->", text, re.DOTALL)
    assert table[1] == course.markdown_table(), "run `privlab badges`"


def test_lessons_are_numbered_in_the_order_of_the_parts():
    numbers = [entry.number for entry in course.LESSONS]
    assert numbers == [f"{n:02d}" for n in range(len(numbers))]
    assert len(numbers) >= 22
    parts = [entry.part for entry in course.LESSONS]
    assert parts == sorted(parts)
    assert set(parts) == set(course.PARTS)


def test_each_lesson_has_its_row_and_badges():
    rows = course.markdown_table().splitlines()
    for entry in course.LESSONS:
        (row,) = [row for row in rows if row.startswith(f"| {entry.number} |")]
        assert row.count("|") == rows[0].count("|")
        assert entry.ready == (ROOT / "notebooks" / entry.file).is_file()
        assert ("not there yet" in row) == (not entry.ready)
        assert (course.binder_url(entry) in row) == entry.ready
        usual = entry.kernel == "python3"
        assert (course.colab_url(entry) in row) == (entry.ready and usual)
        assert (f"`{entry.kernel}`" in row) == (not usual)


@pytest.mark.parametrize("entry", [e for e in course.LESSONS if e.ready], ids=lambda e: e.number)
def test_a_notebook_has_the_badges_of_the_table(entry):
    text = (ROOT / "notebooks" / entry.file).read_text(encoding="utf-8")
    assert course.badges(entry) in text


@pytest.mark.parametrize("name", TEXTS)
def test_links_resolve(name):
    path = ROOT / name
    wrong = []
    for target in links(path):
        file, _, anchor = unquote(target).partition("#")
        goal = path.parent / file if file else path
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            wrong.append(target)
    assert not wrong


def test_links_are_found():
    """The README has some of each kind, so that an empty list shows a fault of this file."""
    found = links(ROOT / "README.md")
    assert {"CONTRIBUTING.md", "docs/idea.png", "#licence", "docs/grading.md"} <= set(found)
    assert "licence" in anchors(ROOT / "README.md")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_commands_of_make_exist(name):
    """Each `make x` that a text names is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / name).read_text("utf-8"), re.M))
    assert len(named) >= 4
    for target in named:
        assert re.search(rf"^(?:[\w-]+ )*{target}(?: [\w-]+)*:", makefile, re.MULTILINE), target


def test_make_help_lists_what_there_is():
    """All targets but the steps that others take first, and `help` itself."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    listed = set(re.findall(r"echo 'make ([a-z-]+) ", makefile))
    assert targets - listed == {"help", "python-there", "setup-all"}
    assert listed <= targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_commands_of_privlab_exist(name):
    from typer.main import get_command

    from privlab.cli import app

    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:\.venv/lab/bin/)?privlab ([a-z]+)", text))
    assert named
    assert named <= set(get_command(app).commands)


def test_paths_in_the_contributors_guide_exist():
    """What stands there as code and looks like a path of the repository is one."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = r"(?:privlab|tests|tools|docs|data|notebooks|requirements)/"
    named = set(re.findall(rf"`({folders}[\w./-]*)`", text))
    named -= {"privlab/exercises/lesson_22.py"}  # what the reader is to write
    assert len(named) >= 10
    assert not [each for each in named if not (ROOT / each).exists()]


def test_the_number_of_cheats_is_told_right():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"shows what {len(CHEATS)} ways of cheating earn" in text


def test_the_version_is_the_same_everywhere():
    from privlab import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r'^version: "(.*)"$', citation, re.MULTILINE)[1] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_names_the_repository():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["repository-code"] == f"https://github.com/{course.REPOSITORY}"
    assert citation["authors"] == [{"name": "The privlab authors"}]


def test_an_unknown_lesson_is_named():
    assert course.lesson("01").slug == "reidentification"
    last = course.LESSONS[-1].number
    with pytest.raises(ValueError, match=rf"'99'.*00 to {last}"):
        course.lesson("99")


@pytest.mark.parametrize("entry", [e for e in course.LESSONS if e.ready], ids=lambda e: e.number)
def test_a_lesson_and_the_table_name_the_same_time(entry):
    text = (ROOT / "notebooks" / entry.file).read_text(encoding="utf-8")
    assert f"**Time:** {entry.minutes} minutes" in text
