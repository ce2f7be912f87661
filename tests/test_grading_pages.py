"""The pages of a grade in a real browser: no message in its console, readable for everybody."""

import html
import json
import re
import subprocess
from dataclasses import replace
from urllib.parse import unquote

import pytest
from browser import AXE, CHROMIUM, needs_axe, needs_chromium

from privlab.grading.grade import Remark, Report, Result, Unclear
from privlab.grading.marking import Mark, Marked
from privlab.grading.pages import MOST_COUNTS, bars, class_page, shares
from privlab.grading.report import write_report
from privlab.grading.submissions import Student, Submission
from privlab.grading.tasks import Question, Task, lesson_task

EVIL = '<script>console.error("inside")</script>&"\''
HARMLESS = html.escape(EVIL)
OVER = (
    ("ε that the audit proved, where ε = 0.5 was promised", 0.4312, 0.5),
    ("ε that the audit proved, where ε = 1.5 was promised", 2.8114, 1.5),
)
WITHIN = tuple((what, value / 2, limit) for what, value, limit in OVER)


def example():
    """A class with every outcome, and with whatever a student can put into a page."""
    essay = Task(
        "essay",
        "A release of our own",
        (),
        (
            Question("essay.1", "Who attacks?", "Name **one** attacker. Use `k`.", 2),
            Question("essay.2", "What is left?", "And what would you do?", 3),
        ),
        "essay.ipynb",
    )
    tasks = [lesson_task("03"), essay]
    exercises = tasks[0].exercises
    proof = (
        "The audit: An output of no came up 1,204 times in 5,012 runs with Ann and 301 times in "
        "4,988 runs without Ann: that takes ε ≥ 1.2, you claimed 0.5."
    )

    def marks(*outcomes):
        for each, (outcome, more) in zip(exercises, outcomes, strict=True):
            points = each.points if outcome == "correct" else 0
            yield Mark(each.label, each.title, points, each.points, outcome, **more)

    def words(*given):
        for question, points in zip(essay.questions, given, strict=True):
            if points is None:
                outcome, points, told = "not marked yet", 0, ""
            else:
                outcome, told = "by hand", "Well argued. And of whom?\nSee lesson 02."
            yield Mark(question.label, question.title, points, question.points, outcome, told)

    def sent(student, lesson, **more):
        place = f"moodle.zip/{student.name}_4711_assignsubmission_file_/{lesson}.ipynb"
        answers = {"essay.1": f"The insurer {EVIL}.\n\nSecond paragraph.", "essay.2": ""}
        return Submission(place, lesson, student, words=answers, **more)

    yes = (
        "correct",
        {"evidence": ("The attack named 3 of 5,000.", "More `evidence`."), "measured": WITHIN},
    )
    no = ("not yet", {"message": proof, "measured": OVER, "test": "test_audit",
                      "evidence": ("The values have the right shape.",)})  # fmt: skip
    stopped = ("stopped", {"message": "Your code was stopped: it took longer than 60 s."})
    failed = ("not graded", {"message": "A test failed on our side.", "test": "test_x: KeyError"})
    untried = ("not tried", {"message": "`clipped_mean` has no answer."})
    long = ("not yet", {"message": f"`f` stops with ValueError: {EVIL} {'x' * 400} {'long ' * 60}"})
    outcomes = {
        "s001": ((yes, yes, yes, yes), (2, 3)),
        "s002": ((yes, no, stopped, untried), (0.5, None)),
        "s003": ((no, long, long, long), (None, None)),
        "s004": ((yes, yes, no, failed), (1, 0)),
    }
    students = [
        Student("s001", "Ada Marsh", "ada@x.example"),
        Student("s002", f"Bo {EVIL}"),
        Student("s003", "Wolfeschlegelsteinhausenbergerdorff" * 2),
        Student("s004"),
        Student("s005", "Cy Silent"),
        Student("s006", "Di Broken"),
    ]
    results = []
    for student in students:
        some, given = outcomes.get(student.id, ((untried,) * 4, (None, None)))
        silent = student.id not in outcomes
        problem = "the file is empty" if student.id == "s006" else ""
        notes = ("Code cell 3, line 7 was left out: '(' was never closed.",)
        notes = notes if student.id == "s003" else ()
        notes = ("The notebook could not be read: the file is empty.",) if problem else notes
        by_hand = words(*given)
        if silent:
            by_hand = [replace(mark, outcome="not tried") for mark in by_hand]
        code = {"3.2": f"def f(x):\n    return {EVIL!r}  # {'long ' * 40}"}
        for task, made in ((tasks[0], marks(*some)), (essay, by_hand)):
            submission = (
                None if silent and not problem else sent(student, task.key, problem=problem)
            )
            results.append(Result(student, task.key, submission, Marked(tuple(made), notes, code)))
    unclear = [Unclear("all.zip/unknown.ipynb", f"nobody is named {EVIL}")]
    remarks = [Remark("s004", "3.4", f"Not graded: test_x: KeyError: {EVIL}")]
    return Report(tasks, results, unclear, [("3.2", "s001", "s004", 0.97)], remarks, True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("grades")
    write_report(example(), out)
    # A class in which all is well, and one that has sent nothing.
    report = example()
    well = Report(report.tasks[:1], report.results[:1])
    (out / "well.html").write_text(class_page(well), encoding="utf-8")
    silent = [replace(result, submission=None) for result in report.results[-2:]]
    (out / "silent.html").write_text(class_page(Report(report.tasks, silent)), encoding="utf-8")
    return out


# ---------------------------------------------------------------- what the pages say


def test_what_a_student_wrote_is_text(pages):
    found = sorted(pages.rglob("*.html"))
    assert len(found) == 10
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert not re.search(r"(src|href)=\"?(https?:)?//", text)  # one file, from nowhere else
    for name in ("class.html", "free_text.html", "feedback/s002.html", "feedback/s003.html"):
        assert HARMLESS in (pages / name).read_text(encoding="utf-8")


def test_a_student_reads_what_happened(pages):
    text = {path.stem: path.read_text(encoding="utf-8") for path in pages.glob("feedback/*")}
    assert "12 of 12 points" in text["s001"]
    assert "within the limit of 1.5" in text["s001"]
    assert "tested as in the notebook" not in text["s001"]
    bo = text["s002"]
    assert "over the limit of 1.5" in bo
    assert "What the test says" in bo
    assert "1,204 times in 5,012 runs" in bo
    assert "What held before that" in bo
    assert "<code>clipped_mean</code> has no answer." in bo
    assert "it took longer than 60 s." in bo
    assert "up to 3 points" in bo
    assert "3 points not marked yet" in bo
    assert "test_audit" not in bo  # for the instructor's eyes
    assert "Code cell 3, line 7 was left out" in text["s003"]
    # To an answer in words the question and the answer, even before it has points.
    for name in ("s001", "s003"):
        assert f"The insurer {HARMLESS}.\n\nSecond paragraph." in text[name]
        assert "Use <code>k</code>." in text[name]
    assert "Graded: 03.ipynb" in bo
    assert text["s005"].count("Nothing was sent.") == 2
    assert "the file is empty" in text["s006"]
    for name in ("s005", "s006"):
        assert "<section" not in text[name]  # said once, not for each exercise
    # No page holds another student's name.
    assert not any("Ada" in page for name, page in text.items() if name != "s001")


def test_an_instructor_sees_at_once_who_needs_help(pages):
    text = (pages / "class.html").read_text(encoding="utf-8")
    top = text[: text.index("<h2>Points</h2>")]
    assert "5 of 6 students sent a notebook" in top
    assert "Who may need help" in top
    assert top.index(">s003<") < top.index(">s002<")
    assert ">s001<" not in top
    assert "not yet: 3.1, 3.2, 3.3, 3.4" in top
    assert re.search(r"Nothing sent: <a href=\"feedback/s005.html\">Cy Silent", top)
    assert "Hardest: <strong>3.3 A noisy histogram</strong> (1 of 4 who" in top
    assert "free_text.html" in top
    assert "1 of 2" in text
    assert "2 did not try" in text  # 3.4: two with a stub, one whose notebook cannot be read
    assert "mean 1.2 of 2<br>1 to be marked" in text  # 2, 0.5, 1 and one without points
    assert "1 × The audit: An output of no" in text
    assert "97%" in text
    assert text.count("Code cell 3, line 7 was left out") == 1  # of two tasks, once
    # Both answers, side by side; nobody but the instructor reads of it.
    pair = text[text.index("<details>") : text.index("</details>")]
    assert pair.count(f"return {html.escape(repr(EVIL))}") == 2
    assert all(f'<a href="feedback/{who}.html">' in pair for who in ("s001", "s004"))
    assert "1 answer was not graded" in text
    assert "test_x: KeyError" in text[text.index("For you alone") :]
    assert not any("KeyError" in path.read_text() for path in pages.glob("feedback/*.html"))
    assert 'href="feedback/s002.html"' in text
    assert "could not be read: the file is empty" in text
    well = (pages / "well.html").read_text(encoding="utf-8")
    assert "No notebook was handed out with this key" in top
    assert "handed out with this key" not in well
    assert "Who may need help" not in well
    assert "Hardest" not in well
    assert "0 of 2 students sent a notebook" not in well


def test_words_are_collected(pages):
    text = (pages / "free_text.html").read_text(encoding="utf-8")
    assert f"The insurer {HARMLESS}.\n\nSecond paragraph." in text
    assert "No answer." in text
    assert "At most 3 points" in text


def test_bars_of_strange_numbers():
    text = bars([("a", float("inf"), 1.0), ("b", 0.0, 0.0), ("c", 0.0, float("inf"))])
    assert "nan" not in text
    assert text.count('class="track') == 3


def test_what_an_attack_counted_is_drawn():
    told = "The attack names 1,250 of 5,000 targets; 3 of 5 are unique. It named 1,250 of 5,000."
    drawn = shares([told, "The server read 3 of the 4 images."])
    assert re.findall(">(\\S+ of \\S+) is ([0-9.]+%)", drawn) == [
        ("1,250 of 5,000", "25.0%"),
        ("3 of 4", "75.0%"),
    ]
    assert re.findall("width:([0-9.]+%)", drawn) == ["25.0%", "75.0%"]
    for text in (
        "It names 5 of 4",
        "It names 1 of 1",
        "It names 0.5 of 2",
        "It names 2 of 3.5",
        "It names 2 of 30%",
        "It names x2 of 3",
        "It names " + "9" * 40 + " of 9",
        "A client with 3 of 1,742 records moved your mean.",
    ):
        assert shares([text]) == ""
    assert "0 of 7 is 0.0%" in shares(["It names 0 of 7."])  # a defence that holds is seen, too
    many = shares([f"It names {i} of 100" for i in range(20)])
    assert many.count('class="track') == MOST_COUNTS


# ---------------------------------------------------------------- in a browser

_TELL = """
function tell(made) {
  document.body.textContent = "RESULT" + encodeURIComponent(JSON.stringify(made)) + "END";
}
"""
_RUN_AXE = """
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
axe.run(document, {runOnly: rules}).then(found => tell({
  wrong: found.violations.flatMap(each => each.nodes.map(node =>
    [each.id, node.failureSummary, node.html.slice(0, 200)].join(" "))),
  held: found.passes.map(each => each.id),
}));
"""


def browse(page, folder, *options):
    """Load a page; return what its script tells and the lines of the console."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"),
            *("--virtual-time-budget=60000", "--dump-dom", *options),
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search("RESULT(.*?)END", done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unquote(found[1])), console


def with_script(text, *scripts):
    made = "".join(f"<script>{each}</script>" for each in scripts)
    return text.replace("</body>", made + "</body>")


def axe_says(text, folder, *options):
    axe = AXE.replace("</script", "<\\/script")
    return browse(with_script(text, axe, _TELL, _RUN_AXE), folder, *options)


@needs_chromium
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["class.html", "free_text.html", "feedback/s002.html", "feedback/s003.html"]
)
def test_accessible_and_silent(pages, tmp_path, name, scheme):
    text = (pages / name).read_text(encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    made, console = axe_says(text, tmp_path, *dark)
    assert made["wrong"] == []
    assert console == []
    assert {"color-contrast", "html-has-lang", "document-title"} <= set(made["held"])


@needs_chromium
@needs_axe
def test_the_browser_would_tell(tmp_path):
    """What is wrong with a page is found, and what its scripts say is heard."""
    text = "<html><body><p style='color:#999'>pale</p><img src='data:,'></body></html>"
    made, console = axe_says(text.replace("<p", "<script>console.log('x')</script><p"), tmp_path)
    told = " ".join(made["wrong"])
    assert all(rule in told for rule in ("color-contrast", "image-alt", "html-has-lang"))
    assert len(console) == 1


@needs_chromium
def test_nothing_sticks_out_on_a_phone(pages, tmp_path):
    """At 320 px, as WCAG 2.1 asks (1.4.10); only tables scroll by themselves."""
    names = ["class.html", "free_text.html", "feedback/s002.html", "feedback/s003.html"]
    texts = [html.escape((pages / name).read_text(encoding="utf-8")) for name in names]
    frames = [f'<iframe width="320" height="900" srcdoc="{text}"></iframe>' for text in texts]
    tell = """
    window.onload = () => tell([...document.querySelectorAll("iframe")].map(
      frame => frame.contentDocument.documentElement.scrollWidth));
    """
    page = f"<!doctype html><html><body>{''.join(frames)}</body></html>"
    made, console = browse(with_script(page, _TELL, tell), tmp_path)
    assert len(made) == len(names)
    assert max(made) <= 320
    assert console == []
