"""A class from hand-out to pages and tables, as an instructor types it."""

import csv
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbform import ROOT
from typer.main import get_command
from typer.testing import CliRunner

import privlab
from privlab import exercise
from privlab.cli import app
from privlab.course import LESSONS
from privlab.environment import versions
from privlab.exercise import LocalPeer, Wrong
from privlab.exercises import lesson_00, lesson_01, lesson_09
from privlab.grading import grade as grading
from privlab.grading import sandbox, tasks
from privlab.grading.grade import Report, Result, alike, frequent_problems
from privlab.grading.handout import assign
from privlab.grading.marking import BUDGET, Mark, Marked, mark
from privlab.grading.report import write_report
from privlab.grading.sandbox import Limits
from privlab.grading.secret import read_key, read_stamp, seed, stamp
from privlab.grading.senders import Unclear, sort_out
from privlab.grading.submissions import Student, Submission, named
from privlab.grading.tasks import Question, Task, lesson_task, private_task
from privlab.grading.words import digest, read_marks

works = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed (apt install bubblewrap)"
)

ROSTER = """id,name,email
ada,Ada Marsh,ada@x.example
bo,Bo Åkesson,
cy,Cy,
di,Di,
ed,Ed,
flo,Flo Silent,
"""
TASKS = ["--lesson", "00", "--lesson", "01", "--private", "my_exercises.py"]


def guides_example():
    """The private exercises that the instructor's guide shows."""
    guide = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    (found,) = re.findall("```python\n(.*?)```", guide, re.S)
    return found


def run(*arguments):
    """Type a command; it must go well."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a class list and a private task."""
    monkeypatch.chdir(tmp_path)
    Path("roster.csv").write_text(ROSTER, encoding="utf-8")
    Path("my_exercises.py").write_text(guides_example(), encoding="utf-8")
    return tmp_path


# ---------------------------------------------------------------- handing out


def test_each_student_gets_a_folder(here):
    out = run("assign", "00", "01", "--private", "my_exercises.py", "--roster", "roster.csv")
    assert "18 notebooks in handout" in out
    files = sorted(path.name for path in Path("handout/ada").iterdir())
    assert files == ["00_start_here.ipynb", "01_reidentification.ipynb", "my_exercises.ipynb"]
    key = read_key(Path("privlab-secret.key"))
    assert os.stat("privlab-secret.key").st_mode & 0o077 == 0
    texts = {}
    for path in Path("handout").rglob("*.ipynb"):
        text = texts[path] = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        proof = notebook.metadata["privlab"]["assignment"]
        assert read_stamp(key, proof) == (notebook.metadata["privlab"]["task"], path.parent.name)
        started = [cell.source for cell in notebook.cells if "privlab.start(" in cell.source]
        if path.name != "my_exercises.ipynb":
            assert f'assignment="{proof}"' in started[0]
    # The private task's answer and tests stay here.
    own = texts[Path("handout/ada/my_exercises.ipynb")]
    assert "Who stands out?" in own
    assert "Whom would you ask?" in own
    assert not re.search("Counter|hidden|geometric|count people", own)
    # Everybody has data of their own, and the same when it is made again.
    assert len(set(texts.values())) == 18
    again = run("assign", "00", "--roster", "roster.csv", "--out", "again")
    assert "6 notebooks" in again
    path = Path("again/ada/00_start_here.ipynb")
    assert path.read_text(encoding="utf-8") == texts[Path("handout/ada/00_start_here.ipynb")]


def test_one_handout_for_all(here):
    assert "1 notebook in all" in run("assign", "0", "--no-roster", "--out", "all")
    (path,) = Path("all").rglob("*.ipynb")
    proof = nbformat.read(path, as_version=4).metadata["privlab"]["assignment"]
    assert read_stamp(read_key(Path("privlab-secret.key")), proof) == ("00", "")


def test_a_stamp_is_made_by_the_key_alone():
    key, other = bytes(32), bytes(31) + b"\1"
    made = stamp(key, "01", "ada")
    assert read_stamp(key, made) == ("01", "ada")
    assert read_stamp(other, made) is None
    for altered in (
        made.replace("ada", "bob"),
        made.replace("01:", "02:"),
        made[:-1] + ("0" if made[-1] != "0" else "1"),
        "01:ada",
        "",
        "ε:ε:ε:ε",
        "\ud800:\ud800:1:\ud800",
    ):
        assert read_stamp(key, altered) is None
    # Whoever fits an answer to the notebook's data has not seen the grade's.
    assert seed(key, "notebook", "01", "ada") != seed(key, "grading", "01", "ada")
    assert len({seed(key, "grading", "01", f"s{i}") for i in range(1000)}) == 1000


@pytest.mark.parametrize("lesson", [each.number for each in LESSONS if each.ready])
def test_a_source_for_nbgrader(lesson, tmp_path):
    task = lesson_task(lesson)
    assign([task], tmp_path / "course", None, tmp_path / "key", nbgrader=True)
    assert "ClearSolutions" in (tmp_path / "course" / "nbgrader_config.py").read_text()
    (path,) = (tmp_path / "course" / "source").rglob("*.ipynb")
    assert path.parent.name == f"lesson_{lesson}"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    ids = [cell.metadata["nbgrader"]["grade_id"] for cell in marked]
    assert len(set(ids)) == len(ids) == 2 * len(task.exercises)
    assert all(re.fullmatch(r"[\w-]+", each) for each in ids)
    tests = [cell for cell in marked if cell.metadata["nbgrader"]["grade"]]
    assert sum(cell.metadata["nbgrader"]["points"] for cell in tests) == task.out_of
    assert all("require(hidden=True)\n### END HIDDEN TESTS" in cell.source for cell in tests)
    answers = [cell for cell in marked if cell.metadata["nbgrader"]["solution"]]
    for each, cell in zip(task.exercises, answers, strict=True):
        # What nbgrader leaves of it for students is the stub.
        left = re.sub("### BEGIN SOLUTION.*### END SOLUTION", "", cell.source, flags=re.S)
        assert "..." in left
        assert each.reference.strip() in cell.source
        assert each.reference.strip() not in left


# ---------------------------------------------------------------- a class


def fill(path, answers, to=None, **changes):
    """Write answers into the stubs of a notebook, by the first name that they define."""
    notebook = nbformat.read(path, as_version=4)
    stubs = [cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])]
    for name, code in answers.items():
        (cell,) = [cell for cell in stubs if re.search(rf"\b{name}\b", cell.source)]
        cell.source = code
    for cell in notebook.cells:
        for old, new in changes.get("replace", {}).items():
            cell.source = cell.source.replace(old, new)
    for source in changes.get("more", ()):
        notebook.cells.append(nbformat.v4.new_code_cell(source))
    if "stamp" in changes:
        notebook.metadata["privlab"]["assignment"] = changes["stamp"]
    to = Path(to or path)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(nbformat.writes(notebook), encoding="utf-8")


def references(exercises):
    return {each.names[0]: each.reference for each in exercises}


OWN = """
def share_rare(rows, k):
    seen = {}
    for row in rows:
        if row in seen:
            seen[row] = seen[row] + 1
        else:
            seen[row] = 1
    few = 0
    for row in rows:
        if seen[row] < k:
            few = few + 1
    return few / len(rows)
"""
COPY = """
# I have counted
def share_rare(table, least):
    numbers = dict()
    for person in table:
        if person in numbers:
            numbers[person] = numbers[person] + 1
        else:
            numbers[person] = 1

    small = 0   # so far
    for person in table:
        if numbers[person] < least: small = small + 1
    return small / len(table)
""".replace("dict()", "{}")


def send():
    """Fill in and send what six students might; flo sends nothing."""
    zero, one = references(lesson_00.EXERCISES), references(lesson_01.EXERCISES)
    mine = private_task(Path("my_exercises.py")).exercises[0]
    words = {"replace": {"Write your answer here.": "The insurer: it <b>knows</b> ages."}}
    fill("handout/ada/00_start_here.ipynb", zero, "sent/ada/00_start_here.ipynb")
    fill("handout/ada/01_reidentification.ipynb", one, "sent/ada/01_reidentification.ipynb")
    fill("handout/ada/my_exercises.ipynb", references([mine]), "sent/ada/mine.ipynb", **words)
    # Moodle's folder, a mistake, a broken cell, an exercise in a notebook of somebody else's.
    bo = "sent/Bo Åkesson_4711_assignsubmission_file_"
    slip = zero | {"newcomer_value": lesson_00.q1.mistakes[0].code}
    fill("handout/bo/00_start_here.ipynb", slip, f"{bo}/00.ipynb", more=["x = (1", "%matplotlib"])
    fill("handout/bo/my_exercises.ipynb", {"share_rare": OWN}, f"{bo}/my_exercises.ipynb")
    # Half finished and zipped; the private task is bo's notebook.
    half = {"newcomer_value": zero["newcomer_value"]}
    fill("handout/cy/00_start_here.ipynb", half, "tmp/lesson (1).ipynb")
    fill("handout/bo/my_exercises.ipynb", {"share_rare": COPY}, "tmp/my_exercises.ipynb")
    with zipfile.ZipFile("sent/cy_hand-in.zip", "w") as archive:
        for path in Path("tmp").iterdir():
            archive.write(path, path.name)
    # Untouched; with a stamp that is none.
    fill("handout/di/00_start_here.ipynb", {}, "sent/di/notebook.ipynb")
    damaged = "my_exercises:di:5:" + "0" * 32
    wrong = {"share_rare": mine.mistakes[0].code}
    fill("handout/di/my_exercises.ipynb", wrong, "sent/di/my_exercises.ipynb", stamp=damaged)
    # One cell is no Python; a file is empty; nobody is known.
    broken = zero | {"newcomer_value": "def newcomer_value(a, b, c, d:\n    return d"}
    fill("handout/ed/00_start_here.ipynb", broken, "sent/ed/00_start_here.ipynb")
    Path("sent/ed/my_exercises.ipynb").write_text("")
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", "sent/unknown.ipynb")


def recorded(monkeypatch):
    """Let grading note what it would grade anew, and skip that."""
    todo = []
    monkeypatch.setattr(
        grading, "_in_parallel", lambda jobs, limits, number: todo.extend(jobs) or iter(())
    )
    return todo


def grade(*more):
    return run("grade", "sent", *TASKS, "--roster", "roster.csv", "--jobs", "2", *more)


@pytest.fixture(scope="module")
def term(tmp_path_factory):
    folder = tmp_path_factory.mktemp("term")
    (folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    (folder / "my_exercises.py").write_text(guides_example(), encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("assign", "00", "01", "--private", "my_exercises.py", "--roster", "roster.csv")
        send()
        printed = grade()
    finally:
        os.chdir(before)
    return SimpleNamespace(folder=folder, printed=printed)


@works
def test_a_package_that_grading_lacks_is_told_and_costs_only_its_answer():
    """Lessons 09 and 13 have TensorFlow in their notebooks; one answer uses it, one does not."""
    q1, q2, _ = lesson_09.EXERCISES
    imports = "import tensorflow as tf\nimport dp_accounting as dpa"
    clipped = """
def clipped_sum(gradients, num_microbatches, max_grad_norm):
    return tf.clip_by_norm(gradients, max_grad_norm).numpy()

def largest_change(batch_size, num_microbatches, max_grad_norm):
    return 2 * max_grad_norm
"""
    other = q2.reference.replace("\nimport dp_accounting\n", "\n").replace("dp_accounting.", "dpa.")
    first, second = mark([imports, clipped, other], [q1, q2], 1).marks
    assert first.outcome == "not yet"
    assert first.message.startswith("Your answer imports `tensorflow`, which grading does not have")
    assert second.points == q2.points


@works
class TestAClass:
    """In the order in which a term goes."""

    @pytest.fixture(autouse=True)
    def there(self, term, monkeypatch):
        monkeypatch.chdir(term.folder)

    def test_points(self):
        rows = {row["id"]: row for row in table(Path("grades/grades.csv"))}
        assert list(rows) == ["ada", "bo", "cy", "di", "ed", "flo"]
        got = {who: [row[label] for label in ("0.1", "0.2", "1.1", "1.2", "1.3", "1.4", "mine.1")]
               for who, row in rows.items()}  # fmt: skip
        nothing = ["0"] * 4
        assert got == {
            "ada": ["1", "1", *(str(each.points) for each in lesson_01.EXERCISES), "2"],
            "bo": ["0", "1", *nothing, "2"],
            "cy": ["1", "0", *nothing, "2"],
            "di": ["0", "0", *nothing, "0"],
            "ed": ["0", "1", *nothing, "0"],
            "flo": ["0", "0", *nothing, "0"],
        }
        assert (rows["ada"]["name"], rows["ada"]["email"]) == ("Ada Marsh", "ada@x.example")
        assert rows["ada"]["points of 14"] == "11"
        assert rows["bo"]["points of 14"] == "3"

    def test_tables_for_platforms(self):
        moodle = {row["ID number"]: row for row in table(Path("grades/moodle.csv"))}
        assert moodle["ada"]["Grade"] == "11"
        assert moodle["bo"]["00 · Start here"] == "1"
        assert "0.1: not yet; 0.2: correct; 1.1: not tried" in moodle["bo"]["Feedback comments"]
        canvas = table(Path("grades/canvas.csv"))
        assert canvas[0]["Student"] == "    Points Possible"
        assert (canvas[0]["00 · Start here"], canvas[0]["Who stands out?"]) == ("2", "5")
        assert canvas[1]["SIS User ID"] == "ada"
        assert canvas[2]["00 · Start here"] == "1"

    def test_oddities_are_noted(self, term):
        notes = {row["id"]: row["notes"] for row in table(Path("grades/grades.csv"))}
        assert notes["ada"] == notes["flo"] == ""
        assert re.search(
            r"Code cell \d+ was left out: line 1, `x = \(1`: '\(' was never closed", notes["bo"]
        )
        assert "handed out to bo" in notes["cy"]
        assert "not one of this course's" in notes["di"]
        assert "was left out" in notes["ed"]
        assert notes["ed"].count("could not be read: the file is empty") == 1
        assert "Not graded: unknown.ipynb: nobody in the roster" in term.printed
        assert (
            "5 of 6 students sent a notebook: 3.6 of 14 points in the mean (00, 01" in term.printed
        )

    def test_each_student_has_a_page(self):
        pages = {path.stem: path.read_text(encoding="utf-8")
                 for path in Path("grades/feedback").glob("*.html")}  # fmt: skip
        assert set(pages) == {"ada", "bo", "cy", "di", "ed", "flo"}
        assert "Your attack recovered 200 of 200 patients" in pages["ada"]
        assert "11 of 14 points" in pages["ada"]
        assert "how far the average moved" in pages["bo"]
        assert "Ada" not in pages["bo"]
        assert "You count kinds of rows; count people." in pages["di"]
        # Whoever has tried and slipped is told so where they look for it.
        told = "<code>newcomer_value</code> could not be read: line 1, <code>def newcomer_value("
        assert told in pages["ed"]
        assert "newcomer_value</code> has no answer" not in pages["ed"]
        # The question and the student's own answer.
        assert "Who would attack this table, and why?" in pages["ada"]
        assert "The insurer: it &lt;b&gt;knows&lt;/b&gt; ages." in pages["ada"]
        assert pages["flo"].count("Nothing was sent.") == 3
        # Nobody is shown what is for the instructor.
        assert not any("alike" in page for page in pages.values())

    def test_the_class_at_a_glance(self):
        page = Path("grades/class.html").read_text(encoding="utf-8")
        assert "5 of 6 students sent a notebook" in page
        assert 'Nothing sent: <a href="feedback/flo.html">Flo Silent' in page
        pairs = page[page.index("Answers that look alike") : page.index("For you alone")]
        link = '<td><a href="feedback/{0}.html">{0}</a></td>'
        assert pairs.count(f"<td>mine.1</td>{link.format('bo')}{link.format('cy')}") == 1
        assert "ada" not in pairs
        # Both answers side by side, as they were run.
        assert re.search(r"<pre[^>]*><code>[^<]*share_rare\(rows, k\)", pairs)
        assert re.search(r"<pre[^>]*><code>[^<]*share_rare\(table, least\)", pairs)
        assert "unknown.ipynb" in page
        assert "1 file was graded for nobody." in page
        assert "1 to be marked" in page
        assert "cy_hand-in.zip/my_exercises.ipynb was handed out to bo" in page

    def test_what_was_graded_is_kept(self, monkeypatch):
        kept = {path: path.read_bytes() for path in Path("grades").rglob("*") if path.is_file()}
        todo = recorded(monkeypatch)
        grade()
        assert todo == []
        after = {path: path.read_bytes() for path in Path("grades").rglob("*") if path.is_file()}
        assert after == kept

    def test_what_has_changed_is_graded_again(self, monkeypatch):
        todo = recorded(monkeypatch)
        path = Path("sent/ed/00_start_here.ipynb")
        before = path.read_bytes()
        fill(path, {}, more=["y = 1"])
        grade("--out", "grades")
        assert [(job.student.id, job.task.key) for job in todo] == [("ed", "00")]
        path.write_bytes(before)
        # Another limit, other libraries, another task's source: all of it.
        for options in (["--seconds", "59"], ["--budget", "599"]):
            todo.clear()
            grade(*options)
            assert len(todo) == 10
        with monkeypatch.context() as other:
            other.setattr(grading, "versions", lambda: (*versions()[:-1], "torch 9.9"))
            todo.clear()
            grade()
            assert len(todo) == 10
        todo.clear()
        with Path("my_exercises.py").open("a") as file:
            file.write("# changed\n")
        grade()
        assert {job.task.key for job in todo} == {"my_exercises"}
        Path("my_exercises.py").write_text(guides_example(), encoding="utf-8")

    def test_a_grade_can_be_repeated(self):
        """Another run of the same, without what was kept: the same marks, bit by bit."""
        options = ["--private", "my_exercises.py", "--roster", "roster.csv", "--out", "second"]
        run("grade", "sent", *options)
        for path in Path("second/results").rglob("*.json"):
            pair = [json.loads((Path(base) / path.relative_to("second")).read_text())
                    for base in ("second", "grades")]  # fmt: skip
            for each in pair:
                del each["marked"]["seconds"]
            assert pair[0] == pair[1]

    def test_marks_by_hand(self, monkeypatch):
        words = Path("grades/free_text.html").read_text(encoding="utf-8")
        assert "The insurer: it &lt;b&gt;knows&lt;/b&gt; ages." in words
        assert words.count("No answer.") == 4  # flo sent nothing
        path, page = Path("grades/free_text.csv"), Path("grades/feedback/ada.html")
        rows = table(path)
        assert [row["student"] for row in rows] == ["ada", "bo", "cy", "di", "ed", "flo"]
        assert (rows[0]["name"], rows[0]["status"]) == ("Ada Marsh", "to be marked")
        assert rows[1]["status"] == "no answer"
        # A comment alone is none of the student's.
        text = path.read_text(encoding="utf-8-sig")
        path.write_text(text.replace("mine.2,,,to be", "mine.2,,Well,to be"), encoding="utf-8")
        grade()
        assert "A comment without points" in Path("grades/class.html").read_text(encoding="utf-8")
        assert "Well" not in page.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        # As a German spreadsheet writes it.
        text = path.read_text(encoding="utf-8-sig").replace(",", ";")
        text = text.replace("mine.2;;;to be", 'mine.2;2,5;"Good;\nvery";to be')
        path.write_text(text, encoding="utf-8")
        assert "3 points not marked yet" in page.read_text(encoding="utf-8")
        grade()
        (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
        assert (ada["mine.2"], ada["points of 14"]) == ("2.5", "13.5")
        assert "Good;\nvery" in page.read_text(encoding="utf-8")
        # The table stays as the spreadsheet reads it.
        assert "mine.2;2,5;" in (marked := path.read_text(encoding="utf-8-sig"))
        grade()
        assert path.read_text(encoding="utf-8-sig") == marked

    def test_a_mark_counts_for_the_answer_that_was_marked(self):
        mine, path = Path("sent/ada/mine.ipynb"), Path("grades/free_text.csv")
        before = mine.read_bytes()
        fill(mine, {}, replace={"The insurer:": "The landlord:"})
        grade()
        (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
        assert (ada["mine.2"], ada["points of 14"]) == ("0", "11")
        assert "3 points not marked yet" in Path("grades/feedback/ada.html").read_text()
        assert "the mark was not applied" in Path("grades/class.html").read_text()
        text = path.read_text(encoding="utf-8-sig")
        old, new = [line for line in re.split(r"\n(?=\w+;)", text) if line.startswith("ada;")]
        assert ("2,5" in old, "an earlier answer" in old) == (True, True)
        assert "to be marked" in new
        # Marked anew, in the line for the new answer.
        path.write_text(text.replace("mine.2;;;to be", "mine.2;1;;to be"), encoding="utf-8")
        grade()
        (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
        assert ada["mine.2"] == "1"
        # Whoever goes back to the earlier answer has its mark again.
        mine.write_bytes(before)
        grade()
        (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
        assert ada["mine.2"] == "2.5"

    def test_students_come_and_go(self):
        """Whoever comes later gets a line, whoever leaves keeps theirs, and stops nothing."""
        new = [line for line in ROSTER.splitlines() if not line.startswith("ada,")]
        Path("roster.csv").write_text("\n".join([*new, "gil,Gil,"]), encoding="utf-8")
        printed = grade()
        text = Path("grades/free_text.csv").read_text(encoding="utf-8-sig")
        assert re.search(r"\ngil;Gil;mine.2;;;no answer;none", text)
        assert re.search(r'\nada;Ada Marsh;mine.2;2,5;"Good;\r?\nvery";not in the class', text)
        assert re.search(r"free_text.csv: line \d+ names 'ada', who is not in the roster", printed)
        # No page of hers is left that could be sent by mistake.
        assert not Path("grades/feedback/ada.html").exists()
        assert Path("grades/feedback/gil.html").exists()
        Path("roster.csv").write_text(ROSTER, encoding="utf-8")
        grade()
        (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
        assert ada["mine.2"] == "2.5"

    def test_marks_without_digits_count_for_any_answer(self):
        Path("m.csv").write_bytes("student,question,points,comment\nAda,mine.2,3,Näh\n".encode())
        printed = grade("--marks", "m.csv", "--out", "marked")
        assert "roster" not in printed.replace("nobody in the roster", "")
        (ada,) = [row for row in table(Path("marked/grades.csv")) if row["id"] == "ada"]
        assert ada["mine.2"] == "3"
        (line, *_) = table(Path("marked/free_text.csv"))
        assert (line["points"], line["comment"], line["status"]) == ("3", "Näh", "marked")
        assert line["answer"].startswith("x")

    def test_feedback_as_moodle_takes_it(self):
        with zipfile.ZipFile("grades/feedback.zip") as archive:
            (name,) = archive.namelist()
            page = archive.read(name)
        # Moodle reads name, number, kind and source off the first part of the path.
        folder, file = name.split("/")
        assert folder.split("_", 4)[1:4] == ["4711", "assignsubmission", "file"]
        assert file == "feedback.html"
        assert page == Path("grades/feedback/bo.html").read_bytes()

    def test_grades_of_two_assignments_are_kept_apart(self):
        command = ["grade", "sent", "--lesson", "00", "--roster", "roster.csv"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "out: grades holds the grades of 01, my_exercises" in done.stderr


@works
def test_the_guides_own_exercises(here):
    """Solved, they get all points; the listed mistake is told its own message."""
    (mine,) = (task := private_task(Path("my_exercises.py"))).exercises
    assert [each.label for each in task.questions] == ["mine.2"]
    for code, says in [(mine.reference, None)] + [(m.code, m.says) for m in mine.mistakes]:
        namespace = {}
        exec(code, namespace)
        for number in range(3):
            results = mine.run(LocalPeer(namespace), number, hidden=True)
            problems = [result.problem for result in results if result.problem]
            assert bool(problems) == bool(says)
            assert not says or says in problems[0]
    run("solutions", "--private", "my_exercises.py", "--out", "solved")
    out = run("grade", "solved", "--private", "my_exercises.py", "--out", "trial")
    assert "1 of 1 student sent a notebook: 2.0 of 5 points in the mean (my_exercises)" in out


def test_the_guides_commands_exist():
    guide = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?:^|`)privlab ((?:assign|grade|solutions) [^`\n#]*)", guide, re.M)
    assert len(lines) >= 8
    for name, *arguments in map(str.split, lines):
        command = get_command(app).commands[name]
        command.make_context(name, arguments).close()


# ---------------------------------------------------------------- stopping and going on

SLOW = "import time\ndef newcomer_value(a, b, c, d):\n    time.sleep(100)\n"


def alive(processes):
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.1)


@works
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped(here, monkeypatch, way):
    """What is done is kept, nothing is left running, and the next run takes up the rest."""
    run("assign", "00", "--roster", "roster.csv")
    answers = references(lesson_00.EXERCISES)
    fill("handout/ada/00_start_here.ipynb", answers, "sent/ada.ipynb")
    for who in ("bo", "cy"):
        fill(f"handout/{who}/00_start_here.ipynb", {"newcomer_value": SLOW}, f"sent/{who}.ipynb")
    program = Path(sys.executable).with_name("privlab")
    command = [program, "grade", "sent", "--roster", "roster.csv", "--jobs", "1"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    top = psutil.Process(running.pid)
    try:
        within(60, Path("grades/results/00/ada.json").exists)
        # The second is being graded: its process, bubblewrap, and what runs in it.
        within(60, lambda: len(top.children(recursive=True)) >= 3)
        inside = top.children(recursive=True)
        os.killpg(running.pid, way)
        _, errors = running.communicate(timeout=30)
    finally:
        running.kill()
    within(10, lambda: not alive(inside))
    if way == signal.SIGINT:
        assert running.returncode == 130
        assert "Run the same command again: what is graded is kept." in errors
        assert "Traceback" not in errors
    assert not Path("grades/grades.csv").exists()
    todo = recorded(monkeypatch)
    run("grade", "sent", "--roster", "roster.csv")
    assert [job.student.id for job in todo] == ["bo", "cy"]
    (ada,) = [row for row in table(Path("grades/grades.csv")) if row["id"] == "ada"]
    assert ada["0.1"] == "1"


@works
def test_slow_calls_have_an_end():
    """Each call is within its limit; together they may take the exercise's share of the time."""
    wait = "    import time\n    time.sleep(5)\n"
    first, second = lesson_00.EXERCISES
    answer = re.sub(r"(def newcomer_value\(.*?\).*?:\n)", rf"\1{wait}", first.reference)
    assert wait in answer
    began = time.monotonic()
    marked = mark([answer, second.reference], [first, second], 1, Limits(), 40)
    assert [each.outcome for each in marked.marks] == ["stopped", "correct"]
    assert [each.slow for each in marked.marks] == [True, False]
    assert int(re.search(r"took longer than (\d+) s", marked.marks[0].message)[1]) <= 20
    # A minute more for a computer that has more to do.
    assert time.monotonic() - began < 100


class TestTooSlow:
    """What is stopped for time is tried once more, alone; kept only where that proves something."""

    @pytest.fixture(autouse=True)
    def there(self, here, monkeypatch):
        run("assign", "00", "--roster", "roster.csv")
        for who in ("ada", "bo", "cy"):
            fill("handout/ada/00_start_here.ipynb", {}, f"sent/{who}.ipynb", more=[f"me = '{who}'"])
        self.runs, self.load = [], 0.0
        monkeypatch.setattr(grading.os, "getloadavg", lambda: (self.load, 0, 0))
        monkeypatch.setattr(grading, "_in_parallel", self.in_parallel)

    def in_parallel(self, todo, limits, jobs):
        """Let ada's second exercise take too long the first times."""
        for job in todo:
            who = job.student.id
            self.runs.append((who, [each.label for each in job.exercises], len(todo), job.budget))
            fast = who != "ada" or self.too_slow <= 0
            self.too_slow -= who == "ada"
            yield (
                job,
                Marked(
                    tuple(
                        Mark(e.label, e.title, e.points, e.points, "correct")
                        if fast or e.label == "0.1"
                        else Mark(e.label, e.title, 0, e.points, "stopped", slow=True)
                        for e in job.exercises
                    )
                ),
            )

    def grade(self, too_slow):
        self.too_slow = too_slow
        self.runs.clear()
        run("grade", "sent", "--roster", "roster.csv", "--budget", "100")
        (ada, *_) = table(Path("grades/grades.csv"))
        return ada["points of 2"]

    def test_a_neighbour_costs_nothing(self):
        assert self.grade(too_slow=1) == "2"
        # After the others, and only what was stopped, with its part of the time.
        assert self.runs == [
            *((who, ["0.1", "0.2"], 3, 100) for who in ("ada", "bo", "cy")),
            ("ada", ["0.2"], 1, 50),
        ]
        assert self.grade(too_slow=0) == "2"
        assert self.runs == []

    def test_slow_alone_is_slow(self):
        assert self.grade(too_slow=2) == "1"
        assert self.grade(too_slow=0) == "1"
        assert self.runs == []

    def test_a_busy_computer_is_no_proof(self):
        self.load = 1 + os.cpu_count()
        assert self.grade(too_slow=2) == "1"
        assert self.grade(too_slow=0) == "2"
        assert self.runs == [("ada", ["0.1", "0.2"], 1, 100)]


@works
def test_text_that_cannot_be_written(here):
    """Halves of surrogate pairs in code, words, stamp and file name cost nobody anything."""
    run("assign", "--private", "my_exercises.py", "--roster", "roster.csv")
    (mine,) = private_task(Path("my_exercises.py")).exercises
    code = mine.reference + "\nx = '<half>'\n"
    words = {"Write your answer here.": "An <half>."}
    changes = {"replace": words, "stamp": "<half>:ada:1:<half>", "more": ["y = '<half>'"]}
    fill("handout/ada/my_exercises.ipynb", {"share_rare": code}, "sent/ada.ipynb", **changes)
    path = Path("sent/ada.ipynb")
    path.write_text(path.read_text().replace("<half>", "\\ud800"))
    shutil.copy(path, os.fsencode("sent/") + b"\xff.ipynb")
    out = run("grade", "sent", "--private", "my_exercises.py", "--roster", "roster.csv")
    assert re.search(r"Not graded: \S+: nobody in the roster", out), out
    (ada, *_) = table(Path("grades/grades.csv"))
    assert ada["mine.1"] == "2"
    assert "An ?." in Path("grades/free_text.html").read_text(encoding="utf-8")


@works
@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_grader_that_fails_costs_one_grade(here, monkeypatch, how):
    """Where the tests themselves go wrong, others are graded, and this one again the next time."""

    def broken(cells, exercises, number, limits, budget):
        if "stumble" not in "".join(cells):
            made = (Mark(e.label, e.title, e.points, e.points, "correct") for e in exercises)
            return Marked(tuple(made))
        if how == "dies":
            os._exit(3)
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(grading, "mark", broken)
    run("assign", "00", "--roster", "roster.csv")
    fill("handout/ada/00_start_here.ipynb", {}, "sent/ada.ipynb", more=["stumble = 1"])
    fill("handout/bo/00_start_here.ipynb", {}, "sent/bo.ipynb")
    printed = run("grade", "sent", "--roster", "roster.csv")
    rows = {row["id"]: row for row in table(Path("grades/grades.csv"))}
    assert [rows["ada"][each] for each in ("0.1", "0.2", "points of 2")] == ["", "", ""]
    assert rows["bo"]["points of 2"] == "2"
    for name in ("moodle.csv", "canvas.csv"):
        ada, bo = table(Path("grades", name))[-len(rows) :][:2]
        columns = {"00 · Start here", "Grade"} & set(ada)
        assert [(ada[each], bo[each]) for each in columns] == [("", "2")] * len(columns)
    why = "ZeroDivisionError: oh" if how == "raises" else "the process that graded it has died"
    assert f"Not graded: {why}" in rows["ada"]["notes"]
    page = Path("grades/class.html").read_text(encoding="utf-8")
    assert "2 answers were not graded, as a test or the grader failed" in printed
    assert "2 answers were not graded: a test or the grader failed" in page
    assert why in page[page.index("For you alone") :]
    # Nobody blames the student, who reads no more than that it was not their fault.
    assert "Who may need help" not in page
    ada = Path("grades/feedback/ada.html").read_text(encoding="utf-8")
    assert ada.count("failed on our side; your instructor has been told") == 2
    assert "up to 1 point" in ada
    assert "stopped" not in ada
    assert why not in ada
    assert not Path("grades/results/00/ada.json").exists()
    todo = recorded(monkeypatch)
    run("grade", "sent", "--roster", "roster.csv")
    assert [job.student.id for job in todo] == ["ada"]


@works
def test_a_test_that_fails_is_told_to_whoever_wrote_it(here):
    """A mistake in an instructor's own test costs no points and is not blamed on the student."""
    body = guides_example().replace("if abs(got - right) > 1e-9:", "if got / (k - 5) > 9:")
    Path("my_exercises.py").write_text(body, encoding="utf-8")
    (mine,) = private_task(Path("my_exercises.py")).exercises
    run("assign", "--private", "my_exercises.py", "--roster", "roster.csv")
    fill("handout/ada/my_exercises.ipynb", references([mine]), "sent/ada.ipynb")
    fill("handout/bo/my_exercises.ipynb", {}, "sent/bo.ipynb")
    command = ["grade", "sent", "--private", "my_exercises.py", "--roster", "roster.csv"]
    printed = run(*command)
    assert "1 answer was not graded, as a test or the grader failed" in printed
    line = 1 + body[: body.index("if got /")].count("\n")
    told = f"test_some: ZeroDivisionError: float division by zero (my_exercises.py, line {line})"
    page = Path("grades/class.html").read_text(encoding="utf-8")
    assert f"Not graded: {told}" in page[page.index("For you alone") :]
    assert "1 answer was not graded" in page
    ada = Path("grades/feedback/ada.html").read_text(encoding="utf-8")
    assert "failed on our side" in ada
    assert "ZeroDivision" not in ada
    assert "up to 2 points" in ada
    rows = {row["id"]: row["mine.1"] for row in table(Path("grades/grades.csv"))}
    assert (rows["ada"], rows["bo"]) == ("", "0")
    # Nor is a sum that lacks it told to a platform.
    for name in ("grades.csv", "moodle.csv"):
        sums = {row.get("id") or row.get("ID number"): row.get("points of 5", row.get("Grade"))
                for row in table(Path("grades", name))}  # fmt: skip
        assert (sums["ada"], sums["bo"]) == ("", "0")
    assert [row["Who stands out?"] for row in table(Path("grades/canvas.csv"))[1:3]] == ["", "0"]
    # Mended, it is graded without more ado.
    Path("my_exercises.py").write_text(guides_example(), encoding="utf-8")
    run(*command)
    assert table(Path("grades/grades.csv"))[0]["mine.1"] == "2"


@works
@pytest.mark.parametrize("stamped", [1, 2, 3])
def test_a_wrong_key_is_told(here, stamped):
    """With a few stamped notebooks it may be a student's doing; with more it cannot be."""
    run("assign", "00", "--roster", "roster.csv")
    for who in ["ada", "bo", "cy"][:stamped]:
        fill(f"handout/{who}/00_start_here.ipynb", {}, f"sent/{who}.ipynb")
    Path("other.key").write_bytes(Path("privlab-secret.key").read_bytes())
    command = ["grade", "sent", "--roster", "roster.csv", "--secret", "other.key"]
    assert "No notebook was handed out" not in run(*command)
    assert "No notebook was handed out" not in Path("grades/class.html").read_text()
    assign([lesson_task("00")], Path("else"), Path("roster.csv"), Path("new.key"))
    done = CliRunner().invoke(app, [*command[:-1], "new.key"])
    if stamped > 2:
        assert done.exit_code == 2
        assert "none of the 3 notebooks was handed out with this key" in done.stderr
    else:
        assert done.exit_code == 0
        assert "No notebook was handed out with the key new.key." in done.output
        assert "No notebook was handed out with this key." in Path("grades/class.html").read_text()


@works
def test_a_small_answer_that_a_test_makes_much_of(here, monkeypatch):
    """A thousand million rows without columns are a few bytes, until a test lists them."""
    monkeypatch.setattr(grading, "TESTS", 100 << 20)
    body = guides_example().replace('{"share_rare": number}', '{"share_rare": array(2, "a table")}')
    body = body.replace("import Answers,", "import Answers, array,")
    body = body.replace("if abs(got - right) > 1e-9:", "if len(got.tolist()) == k:")
    Path("my_exercises.py").write_text(body, encoding="utf-8")
    run("assign", "--private", "my_exercises.py", "--roster", "roster.csv")
    code = "import numpy as np\ndef share_rare(rows, k):\n    return np.zeros((10**9, 0))"
    fill("handout/ada/my_exercises.ipynb", {"share_rare": code}, "sent/ada.ipynb")
    options = ["--private", "my_exercises.py", "--roster", "roster.csv", "--memory", "0.5"]
    run("grade", "sent", *options)
    assert "MemoryError" in Path("grades/class.html").read_text(encoding="utf-8")


def test_what_a_private_file_imports_is_part_of_it(here):
    Path("kit").mkdir()
    Path("kit/__init__.py").write_text("")
    Path("kit/sizes.py").write_text("from .deep import ROWS\n")
    Path("kit/deep.py").write_text("ROWS = 200\n")
    Path("helper.py").write_text("def unused(): pass\n")
    body = guides_example().replace("import numpy", "from kit import sizes\nimport numpy")
    Path("my_exercises.py").write_text(body.replace("(200, 2)", "(sizes.ROWS, 2)"))
    before, folders = set(sys.modules), list(sys.path)
    try:
        task = private_task(Path("my_exercises.py"))
        found = {path.relative_to(Path.cwd()).as_posix() for path in tasks.sources(task)}
    finally:
        sys.path[:] = folders
        for name in set(sys.modules) - before:
            del sys.modules[name]
    assert found == {"my_exercises.py", "kit/__init__.py", "kit/sizes.py", "kit/deep.py"}


# ---------------------------------------------------------------- who sent what


@works
def test_whoever_sent_something_did_not_send_nothing(here):
    """A wrong kind of file, a broken notebook: told to both, and to no platform as 0."""
    run("assign", "00", "--roster", "roster.csv")
    answers = references(lesson_00.EXERCISES)
    fill("handout/ada/00_start_here.ipynb", answers, "sent/ada/00_start_here.ipynb.txt")
    for name, body in {
        "bo/my answer.pdf": b"%PDF",
        "cy/x.ipynb": b"{broken",
        "di.py": b"x",
    }.items():
        path = Path("sent", name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    Path("sent/ada/extra.txt").write_text("x")
    printed = run("grade", "sent", "--lesson", "00", "--lesson", "01", "--roster", "roster.csv")
    assert "Nobody in the roster sent 01; sent were 00." in printed
    page = {
        path.stem: path.read_text(encoding="utf-8") for path in Path("grades/feedback").iterdir()
    }
    why = "it is no notebook (.ipynb) and no zip file."
    assert f"Not graded: my answer.pdf: {why}" in page["bo"]
    assert "Not graded: x.ipynb: the file is no notebook" in page["cy"]
    assert f"di.py: {why}" in page["di"]
    assert {who for who in page if "Nothing was sent" in page[who]} == {"ed", "flo"}
    text = Path("grades/class.html").read_text(encoding="utf-8")
    assert "1 of 6 students sent a notebook" in text
    assert "Nobody sent 01." in text
    assert re.search("no notebook that could be told to be for this: .*Bo .*Cy.*Di", text)
    assert "ada/extra.txt" in text
    for name, column in (("moodle.csv", "Grade"), ("canvas.csv", "00 · Start here")):
        assert [row[column] for row in table(Path("grades", name))[-6:]] == ["2", *[""] * 5]


def test_the_latest_that_can_be_read_counts():
    task, key = lesson_task("00"), bytes(32)
    ada, bo = Student("ada"), Student("bo")
    sent = [
        Submission("1/old.ipynb", "00", ada, when=1),
        Submission("2/new.ipynb", "00", ada, when=2),
        Submission("3/broken.ipynb", "00", ada, when=3, problem="the file is empty"),
        Submission("4/x.ipynb", "07", ada),
        Submission("5/y.ipynb", "", bo),
        Submission("6/z.ipynb", "00", None, assignment=stamp(key, "00", "BO")),
        Submission("7/w.ipynb", "", None, assignment=stamp(bytes(31) + b"1", "00", "bo")),
    ]
    found = sort_out(sent, [task], [ada, bo], key)
    assert {mine: each.place for mine, each in found.counted.items()} == {
        ("ada", "00"): "2/new.ipynb",
        ("bo", "00"): "6/z.ipynb",
    }
    told = " ".join(found.notes["ada", "00"])
    assert "later one: old.ipynb" in told
    assert "read: broken.ipynb" in told
    # What belongs to another lesson is nothing that the student has to care about here.
    assert [(each.place, each.student) for each in found.unclear] == [
        ("4/x.ipynb", None),
        ("5/y.ipynb", bo),
        ("7/w.ipynb", None),
    ]
    assert "lesson 07; graded are 00" in found.unclear[0].why


KEY = bytes(32)
NAMED = [Student("s001", "Ada Marsh"), Student("s002", "Bo Åkesson"), Student("s003", "Cem Öz")]
BARE = [replace(student, name="") for student in NAMED]
ADA, BO, CEM = (f"{each.name}_{i}_assignsubmission_file_" for i, each in enumerate(NAMED, 1001))


def sorted_out(sent, roster):
    """Sort out notebooks of lesson 00: of each place whose stamp is in it, and perhaps when."""
    made = []
    for place, (who, *when) in sent.items():
        says = named(place, roster)
        student = says.students[0] if len(says.students) == 1 else None
        proof = stamp(KEY, "00", who) if who else ""
        made.append(Submission(place, "00", student, named=says, assignment=proof, when=sum(when)))
    found = sort_out(made, [lesson_task("00")], roster, KEY)
    counted = {who: each.place for (who, _), each in found.counted.items()}
    return counted, {each.place: each for each in found.unclear}, found


@pytest.mark.parametrize("later", ["ada", "cem"])
@pytest.mark.parametrize("roster", [NAMED, BARE])
@pytest.mark.parametrize("folders", [(ADA, CEM), ("marshada_7_1234_", "özcem_8_1235_")])
def test_a_stamp_never_beats_the_name_of_a_platform(later, roster, folders):
    """Cem hands in what was handed out to Ada."""
    ada, cem = (f"{folder}{'/' * (folder == each)}a.ipynb"
                for folder, each in zip(folders, (ADA, CEM), strict=True))  # fmt: skip
    sent = {ada: ("s001", later == "ada"), cem: ("s001", later == "cem")}
    counted, unclear, found = sorted_out(sent, roster)
    told = " ".join(each.text for each in found.remarks)
    if roster is NAMED:
        assert counted == {"s001": ada, "s003": cem}
        assert not unclear
        assert f"{cem} was handed out to s001" in told
    else:
        assert counted == {}
        assert set(unclear) == {ada, cem}
        assert "put that name into the roster" in unclear[cem].why
        assert told.count("was not graded") == 2
    # What a student reads names no other.
    assert not any(
        "Ada" in note or "Cem" in note for notes in found.notes.values() for note in notes
    )


@pytest.mark.parametrize("roster", [NAMED[:2], BARE[:2]])
def test_a_sender_who_is_in_no_roster_is_nobody_in_it(roster):
    """Whatever their stamp and the names they give to what is in their folder."""
    for inside, who in (("a.ipynb", "s001"), ("s001.ipynb", ""), ("Ada Marsh/x.ipynb", "s001")):
        counted, unclear, _ = sorted_out({f"{CEM}/{inside}": (who,)}, roster)
        assert counted == {}
        assert [each.student for each in unclear.values()] == [None]


def test_where_nobody_is_named_a_stamp_counts_and_is_told():
    sent = {"all/x.ipynb": ("s001",), "all/y (2).ipynb": ("s002",), "all/s003.ipynb": ("s003",)}
    counted, unclear, found = sorted_out(sent, BARE)
    assert counted == dict(zip(("s001", "s002", "s003"), sent, strict=True))
    assert not unclear
    assert [(each.student, "only its stamp" in each.text) for each in found.remarks] == [
        ("s001", True),
        ("s002", True),
    ]
    # In folders that name nobody, too, as long as each holds the work of one.
    sent = {"first/x.ipynb": ("s001",), "first/y.ipynb": ("s001", 1), "second/z.ipynb": ("s002",)}
    assert sorted_out(sent, BARE)[0] == {"s001": "first/y.ipynb", "s002": "second/z.ipynb"}


@pytest.mark.parametrize(
    ("assignment", "started", "told"),
    [
        ("s001", ["s001"], ""),
        ("s001", [], ""),
        ("", [], "has no stamp, which others have for this"),
        ("", ["s001"], "its stamp is in a cell alone, no longer in its metadata"),
        ("", ["s002"], "was handed out to s002"),
        ("s001", ["s002"], "a cell has another stamp (s002, 00) than the notebook (s001, 00)"),
        ("s001", ["nobody"], "a cell has another stamp (not this course's)"),
        ("s001", ["s001", ""], "a cell has another stamp (everybody, 00)"),
        ("other lesson", [], "it answers 00, but its stamp is one for 03"),
    ],
)
def test_what_is_odd_about_a_stamp_is_told_and_costs_nothing(assignment, started, told):
    proofs = {who: stamp(KEY, "00", who) for who in ("s001", "s002", "")}
    proofs |= {"other lesson": stamp(KEY, "03", "s001"), "nobody": "00:s001:1:00"}
    ada, bo = BARE[:2]
    mine = Submission(
        "s001/a.ipynb",
        "00",
        ada,
        assignment=assignment and proofs[assignment],
        started=tuple(proofs[who] for who in started),
    )
    other = Submission("s002/b.ipynb", "00", bo, assignment=proofs["s002"])
    found = sort_out([mine, other], [lesson_task("00")], BARE, KEY)
    assert found.counted == {("s001", "00"): mine, ("s002", "00"): other}
    assert {each.student for each in found.remarks} == ({"s001"} if told else set())
    assert told in " ".join(each.text for each in found.remarks)
    # Where nobody has a stamp, none is missed.
    found = sort_out([mine], [lesson_task("00")], BARE, KEY)
    assert not any("which others have" in each.text for each in found.remarks)


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        # Two files, or two folders, with the same stamp: nothing tells whose it is.
        ({"x.ipynb": ("s001",), "y.ipynb": ("s001", 1)}, {}),
        ({"first/x.ipynb": ("s001",), "second/x.ipynb": ("s001", 1)}, {}),
        # One of them is named: that one.
        ({"s001.ipynb": ("s001",), "y.ipynb": ("s001", 1)}, {"s001": "s001.ipynb"}),
        ({"s001/x.ipynb": ("",), "2/y.ipynb": ("s001", 1)}, {"s001": "s001/x.ipynb"}),
        # Two students' stamps in one folder.
        ({"1/x.ipynb": ("s001",), "1/y.ipynb": ("s002",), "s003.ipynb": ("",)},
         {"s003": "s003.ipynb"}),
        # A folder of somebody else's in which a file is named after Ada.
        ({"s001/x.ipynb": ("",), "Dee/s001.ipynb": ("", 1)}, {"s001": "s001/x.ipynb"}),
    ],
)  # fmt: skip
def test_doubtful_stamps(sent, counts):
    counted, unclear, found = sorted_out(sent, BARE)
    assert counted == counts
    assert len(found.remarks) == len(sent) - len(counts)  # the instructor is told of each
    for each in unclear.values():
        assert each.student is None
        assert "put it into a folder named with the id" in each.why


def test_two_of_the_same_name():
    """If both are in the roster the stamp tells; else nobody's answers take another's place."""
    other = ADA.replace("1001", "1009")
    sent = {f"{ADA}/x.ipynb": ("s001",), f"{other}/x.ipynb": ("s009", 1)}
    counted, _, _ = sorted_out(sent, [*NAMED, Student("s009", "Ada Marsh")])
    assert counted == {"s001": f"{ADA}/x.ipynb", "s009": f"{other}/x.ipynb"}
    counted, unclear, found = sorted_out(sent, NAMED)
    assert counted == {}
    assert all("two senders are named like s001" in each.why for each in unclear.values())
    assert len(found.remarks) == 2
    # In another assignment Moodle gives the same student another number.
    sent = {f"a.zip/{ADA}/x.ipynb": ("s001",), f"b.zip/{other}/x.ipynb": ("s001", 1)}
    assert sorted_out(sent, NAMED)[0] == {"s001": f"b.zip/{other}/x.ipynb"}


@works
def test_a_friends_notebook_takes_nobodys_place(here):
    """Cem hands in Ada's untouched notebook, later than she does; Eve sends only a PDF."""
    Path("r.csv").write_text("id,name\ns001,Ada Marsh\ns003,Cem Öz\ns005,Eve Poe\n")
    run("assign", "00", "--roster", "r.csv")
    eve = "Eve Poe_1005_assignsubmission_file_"
    answers = references(lesson_00.EXERCISES)
    fill("handout/s001/00_start_here.ipynb", answers, f"sent/{ADA}/a.ipynb")
    fill("handout/s001/00_start_here.ipynb", {}, f"sent/{CEM}/b.ipynb")
    Path("sent", eve).mkdir()
    Path("sent", eve, "c.pdf").write_bytes(b"%PDF")
    os.utime(f"sent/{ADA}/a.ipynb", (1, 1))
    run("grade", "sent", "--lesson", "0", "--roster", "r.csv")
    rows = {row["id"]: row for row in table(Path("grades/grades.csv"))}
    assert [rows[who]["points of 2"] for who in ("s001", "s003", "s005")] == ["2", "0", "0"]
    assert "Not counted" not in rows["s001"]["notes"]
    assert f"{CEM}/b.ipynb was handed out to s001" in rows["s003"]["notes"]
    assert rows["s005"]["notes"].count("c.pdf") == 1  # not once for each task
    with zipfile.ZipFile("grades/feedback.zip") as archive:
        pages = {name.split("_")[0]: archive.read(name).decode() for name in archive.namelist()}
    # Each page in its own student's folder, also of whoever sent nothing that can be read.
    names = ("Ada Marsh", "Cem Öz", "Eve Poe")
    assert set(pages) == set(names)
    for name in names:
        assert [other in pages[name] for other in names] == [other == name for other in names]
    # Without names in the roster: nobody's points are lost to another, and the reason is told.
    Path("r.csv").write_text("id\ns001\ns003\ns005\n")
    printed = run("grade", "sent", "--lesson", "0", "--roster", "r.csv", "--out", "bare")
    assert "put that name into the roster" in printed
    assert not Path("bare/feedback.zip").exists()
    assert not any("Cem" in path.read_text() for path in Path("bare/feedback").iterdir())


def test_no_page_goes_into_a_folder_that_may_be_anothers(tmp_path):
    student, task = Student("s001"), Task("t", "T", (), (Question("t.1", "Q", "?"),), "t.ipynb")
    marked = Marked((Mark("t.1", "Q", 0, 1, "not tried"),))
    sent = Submission(f"{ADA}/x.ipynb", "t", student)
    unclear = [Unclear(f"{CEM}/x.pdf", "it is no notebook", student)]
    write_report(Report([task], [Result(student, "t", sent, marked)], unclear), tmp_path)
    assert not (tmp_path / "feedback.zip").exists()
    assert "feedback.zip has the page for neither" in (tmp_path / "class.html").read_text()


@pytest.mark.parametrize(
    ("sent", "out"), [("sent", "sent"), ("sent", "sent/grades"), ("sent/ada", "sent"), (".", "g")]
)
def test_grades_do_not_lie_among_submissions(here, sent, out):
    assign([lesson_task("00")], Path("sent"), Path("roster.csv"), Path("privlab-secret.key"))
    before = sorted(Path().rglob("*"))
    done = CliRunner().invoke(app, ["grade", sent, "--lesson", "00", "--out", out])
    assert done.exit_code == 2
    assert "name a folder beside the submissions" in done.stderr
    assert sorted(Path().rglob("*")) == before


def results(*messages):
    for number, message in enumerate(messages):
        marked = Marked((Mark("1.1", "A title", 0, 1, "not yet", message),))
        yield Result(Student(f"s{number}"), "01", None, marked)


def test_messages_that_differ_in_numbers_are_one():
    told = ["-1.5 of 20 rows", "3 of 1,000 rows", "2e-05 of 7 rows", "no rows", "no rows", "x"]
    report = Report([], list(results(*told)))
    assert frequent_problems(report, "1.1") == [("-1.5 of 20 rows", 3), ("no rows", 2), ("x", 1)]
    assert frequent_problems(report, "1.2") == []


def test_public_and_short_answers_are_not_alike():
    task = lesson_task("01")
    generalise = task.exercises[2]
    codes = [generalise.reference, *(mistake.code for mistake in generalise.mistakes)]
    for code in (*codes, "", "def generalise(:", "def generalise(table):\n    return table"):
        assert alike({("s0", "1.3"): code, ("s1", "1.3"): code}, [task]) == []
    long = "def generalise(table):\n" + "".join(
        f"    table = table.drop(columns=[{i}]) if {i} in table else table.copy()\n"
        for i in range(9)
    )
    pair = {("s0", "1.3"): long, ("s1", "1.3"): long}
    assert alike(pair, [task]) == [("1.3", "s0", "s1", 1)]


def test_an_import_more_hides_no_likeness(here):
    """A later cell imports the same again: the import then stands behind the function."""
    task = lesson_task("10")
    later = "\nimport numpy as np\n"
    for each in task.exercises[:2]:
        codes = (each.reference, each.reference + later)
        pair = {(f"s{i}", each.label): code for i, code in enumerate(codes)}
        assert alike(pair, [task]) == []
    own = "import math\n" + OWN.replace("len(rows)", "math.fsum([1 for row in rows])")
    moved = COPY.replace("len(table)", "math.fsum([1 for person in table])") + "\nimport math\n"
    task = private_task(Path("my_exercises.py"))
    ((_, one, other, part),) = alike({("s0", "mine.1"): own, ("s1", "mine.1"): moved}, [task])
    assert (one, other, part) == ("s0", "s1", 1)


def test_no_cell_is_a_formula(tmp_path):
    student = Student("+s1", '=HYPERLINK("http://x")', "@x")
    task = Task("t", "T", (), (Question("t.1", "Q", "?"),), "t.ipynb")
    marked = Marked((Mark("t.1", "Q", 0, 1, "not tried"),), ("-note",))
    write_report(Report([task], [Result(student, "t", None, marked)]), tmp_path)
    for path in tmp_path.glob("*.csv"):
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # Excel asks for it
        for row in csv.reader(path.open(encoding="utf-8-sig")):
            assert not any(cell[:1] in "=+-@" for cell in row if cell)
    # And the id that was made harmless is still known.
    path = tmp_path / "free_text.csv"
    path.write_bytes(path.read_bytes().replace(b"t.1,,", b"t.1,1,"))
    marks = read_marks(path, [task], [student])
    (line,) = marks.lines["+s1", "t.1"]
    assert (line.student, line.points, line.answer) == ("+s1", 1.0, digest(""))
    assert marks.strangers == []


# ---------------------------------------------------------------- the notebook's own checks


@pytest.fixture
def no_seed():
    yield
    exercise.use_seed(0)


def test_a_handed_out_notebook_is_checked_on_its_own_data(no_seed, monkeypatch):
    seen = []

    def look(self, answers, rng):
        seen.append(rng.integers(2**40))
        return "fine"

    monkeypatch.setattr(lesson_00.Newcomer, "test_attack", look)
    for assignment in (None, stamp(bytes(32), "00", "ada"), stamp(bytes(32), "00", "bo")):
        privlab.start("00", assignment=assignment)
        assert "correct" in lesson_00.q1.check().title
        lesson_00.q1.require()
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) == 3
    for damaged in ("00:ada:5", "00:ada:x:00", ""):
        with pytest.raises(ValueError, match="is damaged"):
            privlab.start("00", assignment=damaged)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda a, b, c, d: c * d - a * b, None),
        (lambda a, b, c, d: d - b, "how far the average moved"),
        (lambda a, b, c, d: ..., "has no answer"),
        (lambda a, b, c, d: time.sleep(5), "longer than"),
    ],
)
def test_require(answer, told, monkeypatch):
    monkeypatch.setitem(globals(), "newcomer_value", answer)
    monkeypatch.setattr(lesson_00.Newcomer, "time_limit", 1)
    if told is None:
        lesson_00.q1.require(hidden=True)
    else:
        with pytest.raises(Wrong, match=told):
            lesson_00.q1.require(hidden=True)


def test_what_an_audit_measured_reaches_the_mark():
    (audited,) = importlib.import_module("privlab.exercises.lesson_03").EXERCISES[:1]
    for code, holds in ((audited.reference, True), (audited.mistakes[0].code, False)):
        namespace = {}
        exec(code, namespace)
        found = audited.run(LocalPeer(namespace), 1)
        measured = [each for result in found for each in result.measured]
        assert measured
        assert all(each.value <= each.limit for each in measured) == holds


@pytest.mark.parametrize(
    "folder", ["Ada Marsh_7_assignsubmission_file", "Ada_7_assignsubmission_file_"]
)
@pytest.mark.parametrize("form", ["moodle.zip/{}/03.ipynb", "{}/a/b.ipynb", "m.zip/{}x.ipynb"])
def test_folders_of_moodle(folder, form, tmp_path):
    """As Moodle names them since 4.1, before that, and without a folder for each student."""
    ada, task = Student("ada"), Task("t", "T", (), (Question("t.1", "Q", "?"),), "t.ipynb")
    marked = Marked((Mark("t.1", "Q", 0, 1, "not tried"),))
    if form.endswith("}x.ipynb"):
        folder = folder.removesuffix("_") + "_"
    sent = Submission(form.format(folder), "t", ada)
    write_report(Report([task], [Result(ada, "t", sent, marked)]), tmp_path)
    with zipfile.ZipFile(tmp_path / "feedback.zip") as archive:
        assert archive.namelist() == [f"{folder.removesuffix('_')}_/feedback.html"]
    # Another platform's names: Moodle could not take it.
    sent = Submission("ada_7/x.ipynb", "t", ada)
    write_report(Report([task], [Result(ada, "t", sent, marked)]), tmp_path)
    assert not (tmp_path / "feedback.zip").exists()


# ---------------------------------------------------------------- what is wrong with a command


def broken_private(body):
    Path("broken.py").write_text(body)
    return ["assign", "--no-roster", "--private", "broken.py"]


def written(name, body):
    Path(name).write_bytes(body)
    return name


EXAMPLE = "from privlab.exercise import Exercise\nfrom privlab.grading.tasks import Question\n"
GRADE = ("grade", "sent", "--lesson", "00", "--roster", "roster.csv")
BAD = {
    "no lesson": (lambda: ["assign", "--no-roster"], "name at least one lesson"),
    "no such lesson": (lambda: ["assign", "99", "--no-roster"], "there is no lesson '99'"),
    "no class": (lambda: ["assign", "00"], "either --roster roster.csv or --no-roster"),
    "two classes": (
        lambda: ["assign", "00", "--roster", "roster.csv", "--no-roster"],
        "either --roster roster.csv or --no-roster",
    ),
    "no such form": (
        lambda: ["assign", "00", "--no-roster", "--format", "otter"],
        "must be privlab or nbgrader, not 'otter'",
    ),
    "nbgrader and a class": (
        lambda: ["assign", "00", "--format", "nbgrader", "--roster", "roster.csv"],
        "makes one source for all",
    ),
    "nbgrader and a private task": (
        lambda: ["assign", "--format", "nbgrader", "--private", "my_exercises.py"],
        "my_exercises cannot go to nbgrader",
    ),
    "out is not empty": (
        lambda: ["assign", "00", "--no-roster", "--out", "full"],
        "out: full is there already and is not empty",
    ),
    "out is a file": (
        lambda: ["assign", "00", "--no-roster", "--out", "roster.csv"],
        "roster.csv is there already",
    ),
    "the key in the hand-out": (
        lambda: ["assign", "00", "--no-roster", "--secret", "handout/key"],
        "the key must not lie in handout",
    ),
    "the key is none": (
        lambda: ["assign", "00", "--no-roster", "--secret", "roster.csv"],
        "roster.csv is no key",
    ),
    "the key is a folder": (
        lambda: ["assign", "00", "--no-roster", "--secret", "full"],
        "full: Is a directory",
    ),
    "no such roster": (
        lambda: ["assign", "00", "--roster", "nobody.csv"],
        "roster: nobody.csv cannot be read",
    ),
    "a bad roster": (
        lambda: ["assign", "00", "--roster", written("r.csv", b"id\n../x\n")],
        "line 2 of r.csv has the id '../x'",
    ),
    "no private file": (
        lambda: ["assign", "--no-roster", "--private", "../nothing.py"],
        "there is no Python file ../nothing.py",
    ),
    "a private file of a strange name": (
        lambda: ["assign", "--no-roster", "--private", written("my-task.py", b"")],
        "must be named like a variable",
    ),
    "a private file that fails": (
        lambda: broken_private("1 / 0"),
        "broken.py cannot be run: ZeroDivisionError",
    ),
    "a private file that ends": (
        lambda: broken_private("raise SystemExit(0)"),
        "broken.py cannot be run: SystemExit",
    ),
    "a private file that is no Python": (
        lambda: broken_private("def f(:"),
        "broken.py cannot be run: SyntaxError",
    ),
    "a private file with nothing": (
        lambda: broken_private("x = 1"),
        "has neither EXERCISES nor QUESTIONS",
    ),
    "a private file with a class": (
        lambda: broken_private(EXAMPLE + "EXERCISES = [Exercise]"),
        "must hold exercises, not a type",
    ),
    "a private file with one exercise": (
        lambda: broken_private(EXAMPLE + "EXERCISES = Exercise()"),
        "EXERCISES must be a list",
    ),
    "a private exercise that lacks much": (
        lambda: broken_private(EXAMPLE + "class A(Exercise): pass\nEXERCISES = [A()]"),
        "A has no label",
    ),
    "a private exercise without a stub": (
        lambda: broken_private(guides_example().replace("    stub = ", "    stab = ")),
        "exercise mine.1 has no stub",
    ),
    "a private question that is none": (
        lambda: broken_private("QUESTIONS = ['why?']"),
        "must hold questions, not a str",
    ),
    "a private label": (
        lambda: broken_private(EXAMPLE + "QUESTIONS = [Question('a b', '', '')]"),
        "the label 'a b' must be",
    ),
    "a private label twice": (
        lambda: broken_private(EXAMPLE + "QUESTIONS = 2 * [Question('a', '', '')]"),
        "the same label",
    ),
    "a label of a lesson's": (
        lambda: ["assign", "00", *broken_private(
            EXAMPLE + "QUESTIONS = [Question('0.1', '', '')]")[1:]],
        "the label '0.1'",
    ),
    "one private task twice": (
        lambda: ["assign", "--no-roster", "--private", "my_exercises.py",
                 "--private", "./full/my_exercises.py"],
        "the name 'my_exercises'",
    ),
    "no submissions": (lambda: ["grade", "../nothing", "--lesson", "00"], "there is no ../nothing"),
    "empty submissions": (lambda: ["grade", "empty", "--lesson", "00"], "no notebook and no zip"),
    "no lesson to be told": (lambda: ["grade", "strange"], "could be told to belong to a lesson"),
    "another key": (
        lambda: [*GRADE, "--secret", "other.key"],
        "there is no other.key, and the notebooks were handed out with a key",
    ),
    "no such marks": (lambda: [*GRADE, "--marks", "m.csv"], "marks: m.csv cannot be read"),
    "marks without columns": (
        lambda: [*GRADE, "--marks", "roster.csv"],
        "needs the columns student, question and points",
    ),
    "too many points": (
        lambda: [*GRADE, "--private", "my_exercises.py", "--marks",
                 written("m.csv", b"student,question,points\nada,mine.2,4\n")],
        "line 2 of m.csv: points must be 0 to 3, not '4'",
    ),
    "no points": (
        lambda: [*GRADE, "--private", "my_exercises.py", "--marks",
                 written("m.csv", b"student,question,points\nada,mine.2,nan\n")],
        "points must be 0 to 3, not 'nan'",
    ),
    "marks for no question": (
        lambda: [*GRADE, "--marks", written("m.csv", b"student,question,points\nada,mine.2,1\n")],
        "names the question 'mine.2'; there are none",
    ),
    "marks in another character set": (
        lambda: [*GRADE, "--private", "my_exercises.py", "--marks",
                 written("m.csv", "student,question,points\nÅsa,mine.2,1\n".encode("cp1252"))],
        "m.csv cannot be read, as it is not saved as UTF-8 (in Excel: Save As, CSV UTF-8;",
    ),
    "only other files": (
        lambda: ["grade", str(Path(written("empty/x.pdf", b"%PDF")).parent), "--lesson", "00"],
        "no notebook and no zip",
    ),
    "marks twice": (
        lambda: [*GRADE, "--private", "my_exercises.py", "--marks",
                 written("m.csv", b"student,question,points\nada,mine.2,1\nAda,mine.2,2\n")],
        "a second time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_command_says_what_is_wrong(name, here):
    for folder in ("full", "empty", "strange"):
        Path(folder).mkdir()
    shutil.copy("my_exercises.py", "full")
    Path("strange/x.ipynb").write_text('{"cells": [], "nbformat": 4}')
    task = lesson_task("00")
    assign([task], Path("sent"), Path("roster.csv"), Path("privlab-secret.key"))
    command, told = BAD[name]
    done = CliRunner().invoke(app, command())
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("privlab: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert not Path("grades").exists()


@pytest.mark.parametrize("what", ["submissions", "roster", "marks"])
def test_what_students_code_could_read_is_refused(what, here, monkeypatch):
    """Where submissions lie in the environment, say, a classmate's answers could be returned."""
    Path("open").mkdir()
    monkeypatch.setattr(sandbox, "VISIBLE", {here / "open"})
    assign([lesson_task("00")], Path("sent"), Path("roster.csv"), Path("privlab-secret.key"))
    Path("marks.csv").write_text("student,question,points\n")
    paths = {"submissions": "sent", "roster": "roster.csv", "marks": "marks.csv"}
    shutil.move(paths[what], "open")
    paths[what] = f"open/{paths[what]}"
    command = ["grade", paths["submissions"], "--lesson", "00", "--roster", paths["roster"]]
    done = CliRunner().invoke(app, [*command, "--marks", paths["marks"]])
    assert done.exit_code == 2
    assert f"{what}: {paths[what]} lies in" in done.stderr


def test_the_commands_budget_is_the_packages():
    options = {each.name: each for each in get_command(app).commands["grade"].params}
    assert options["budget"].default == BUDGET
    guide = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    assert f"{BUDGET / 60:g} minutes" in guide


@pytest.mark.parametrize("option", ["--memory", "--seconds", "--budget", "--jobs"])
@pytest.mark.parametrize("value", ["0", "-1", "inf", "much"])
def test_limits_that_are_none(option, value, here):
    done = CliRunner().invoke(app, ["grade", ".", option, value])
    assert done.exit_code == 2
    assert option in done.output


def test_without_bubblewrap(here, monkeypatch):
    sandbox.check.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assign([lesson_task("00")], Path("sent"), Path("roster.csv"), Path("privlab-secret.key"))
    try:
        done = CliRunner().invoke(app, GRADE)
    finally:
        sandbox.check.cache_clear()
    assert done.exit_code == 2
    assert "sudo apt install bubblewrap" in done.stderr
    assert "Traceback" not in done.output


def test_a_folder_that_cannot_be_written(here):
    Path("grades").write_text("a file")
    assign([lesson_task("00")], Path("sent"), Path("roster.csv"), Path("privlab-secret.key"))
    done = CliRunner().invoke(app, ["solutions", "00", "--out", "grades"])
    assert done.exit_code == 2
    assert done.stderr == "privlab: grades: File exists.\n"
