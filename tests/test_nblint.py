"""Each rule for notebooks: a page that breaks only it, and one that breaks none."""

import nbform
import nblint
import pytest
from nbmake import code, error, figure, notebook, printed, result, text

from privlab.course import LESSONS, REPOSITORY

FILE = "01_reidentification.ipynb"
BINDER = f"https://mybinder.org/v2/gh/{REPOSITORY}/HEAD?urlpath=lab/tree/notebooks"
COLAB = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks"
ALT = "A line that falls from left to right: the larger k, the fewer rows are unique."
START = 'import privlab\n\nprivlab.start("01")'
STUB = "def share(table):\n    return ...  # your code here"


def clean():
    return [
        text(f"# 01 · Re-identification\n\n[![Binder](https://x.org/b.svg)]({BINDER}/{FILE})"),
        code(START, tags=["bootstrap"]),
        text("## The *attack*\n\nSee [above](#The-attack) and [a file](there.txt)."),
        code("plots.show(fig)", figure(ALT)),
        text("```\n# no heading\n[no link](nowhere)\n```\n\n### Exercise"),
        code(STUB, tags=["answer"]),
        code("q1.check()", result("Exercise 1.1 · not tried yet")),
        code("1 / 0", error("ZeroDivisionError", "no"), tags=["raises-exception"]),
        code("warn()", printed("UserWarning: mind", "stderr"), tags=["shows-warning"]),
    ]


def put(*cells):
    """Add cells at the end."""
    return lambda page: page.extend(cells)


def change(index, **values):
    """Change a cell: its source, or its tags."""

    def apply(page):
        if "tags" in values:
            page[index].metadata["tags"] = values["tags"]
        page[index].source = values.get("source", page[index].source)

    return apply


SHELLS = ("!ls", "x = !ls", "%pip install x", "%%bash\nls", "%%script sh\nls", "!!ls", "%sx ls")
DEBRIS = (
    "[<matplotlib.lines.Line2D at 0x7f2b8c0d1e10>]",
    "<__main__.Model object at 0x7f2b8c0d1e10>",
    "Text(0.5, 1.0, 'Title')",
    "<Axes: title={'center': 'Title'}>",
)
PATHS = ("/home/ada/x.csv", "/tmp/x.csv", "/Users/ada/x", str(nbform.ROOT), r"C:\Users\ada")

# Rule: what breaks it, and a part of what is said about it.
BROKEN = {
    "figures_have_alternatives": [
        (put(code("draw()", figure("A line."))), "cell 7: a figure has no text alternative"),
        (put(code("draw()", figure(ALT, "<Figure size 640x480 with 1 Axes>"))), "is not its text"),
    ],
    "images_have_alternatives": [
        (put(text("![](there.txt)")), "text after cell 6: the image there.txt has no"),
        (put(text('<img src="there.txt">')), "has no text alternative"),
    ],
    "headings_form_an_outline": [
        (put(text("## Part\n\n#### Detail")), "the heading 'Detail' skips from level 2 to 4"),
        (put(text("# Another title")), "there must be one level-1 heading, in the first cell"),
    ],
    "title_is_that_of_the_course": [
        (
            change(0, source="# 1: Attack"),
            "text before cell 1: the title is '1: Attack', but the course calls it '01 · Re-id",
        )
    ],
    "cells_fit_a_screen": [(put(code("pass\n" * 26)), "26 lines of code are more than 25")],
    "outputs_are_for_readers": [
        (put(code("x", output)), "which is for programmers")
        for debris in DEBRIS
        for output in (result(debris), printed(debris))
    ],
    "warnings_are_meant": [
        (put(code("x", printed("FutureWarning: y\n", "stderr"))), "writes to stderr ('FutureWarn")
    ],
    "errors_are_meant": [
        (put(code("x", error("KeyError", "x"))), "raises and is not tagged"),
        (put(code("x", tags=["raises-exception"])), "is tagged raises-exception and shows no"),
    ],
    "no_absolute_path": [
        *((put(code(f"open(r'{path}')")), "names the absolute path") for path in PATHS),
        (put(code("x", printed("in /root/x"))), "cell 7: names the absolute path /root/x"),
        (put(text("It is in `/tmp/x`.")), "text after cell 6: names the absolute path /tmp/x"),
    ],
    "shell_stays_in_the_bootstrap": [
        (put(code(source)), "calls a shell or an installer outside") for source in SHELLS
    ],
    "bootstrap_comes_first": [
        (change(1, tags=[]), "the first code cell is not tagged bootstrap"),
        (change(1, source='privlab.start("02")'), 'does not call privlab.start("01")'),
        (put(code("x", tags=["bootstrap"])), "is tagged bootstrap, but it is not the first"),
    ],
    "kernel_is_that_of_the_lesson": [(None, "names the kernel 'other', but the lesson's is")],
    "repository_is_ours": [
        (put(text(f"[x]({COLAB}/02_k_anonymity.ipynb)")), f"does not open notebooks/{FILE}"),
        (put(text(f"[x]({BINDER}%2F00_start_here.ipynb)")), f"does not open notebooks/{FILE}"),
        (
            put(text(f"[x](https://github.com/{REPOSITORY}/blob/main/notebooks/00_x.ipynb)")),
            f"does not open notebooks/{FILE}",
        ),
        (
            put(code("# git+https://github.com/somebody/privlab")),
            f"is not in the repository {REPOSITORY}",
        ),
    ],
    "links_lead_somewhere": [
        (put(text("[x](02_nowhere.ipynb)")), "the link 02_nowhere.ipynb leads nowhere"),
        (put(text("[x](#the-attack)")), f"the link #the-attack names no heading of {FILE}"),
        (put(text("[x](/there.txt)")), "the link /there.txt leads nowhere"),
        (put(text("<a href='nowhere.md'>x</a>")), "the link nowhere.md leads nowhere"),
    ],
    "sizes_are_moderate": [
        (put(code("x", printed("x" * 200_001))), "an output is larger than 200,000 bytes"),
        (put(text("x" * 1_500_001)), "the file is larger than 1,500,000 bytes"),
    ],
    "cells_ran_in_order": [(None, "cell 2: its execution count is None and not 2")],
    "file_is_in_normal_form": [(None, "is not in normal form")],
    "tags_are_known": [
        (put(code("x", tags=["nbval-skip"])), "the tag 'nbval-skip' is none of answer,"),
        (put(code("# NBVAL_IGNORE_OUTPUT\nx")), "steers nbval by a comment"),
    ],
    "answers_are_checked": [
        (put(code(STUB)), "must have both the tag answer and the marker"),
        (put(code("x = 1", tags=["answer"])), "must have both the tag answer and the marker"),
        (put(code(STUB, tags=["answer"])), "the next code cell does not call .check()"),
    ],
}
CASES = [
    pytest.param(rule, *case, id=f"{rule}-{number}")
    for rule, cases in BROKEN.items()
    for number, case in enumerate(cases, 1)
]
NOTEBOOKS = sorted(nbform.NOTEBOOKS.glob("*.ipynb"))


def write(folder, cells, kernel="python3"):
    (folder / "there.txt").touch()
    path = folder / FILE
    nbform.write(path, notebook(*cells, kernel=kernel))
    return path


def test_every_rule_is_broken_here():
    assert {rule.__name__ for rule in nblint.RULES} == set(BROKEN)


def test_clean_page(tmp_path):
    assert nblint.check(write(tmp_path, clean())) == []


@pytest.mark.parametrize(("rule", "change", "sentence"), CASES)
def test_broken_page(tmp_path, rule, change, sentence):
    page = clean()
    kernel = "other" if rule == "kernel_is_that_of_the_lesson" else "python3"
    if change:
        change(page)
    path = write(tmp_path, page, kernel)
    if rule == "cells_ran_in_order":
        made = nbform.read(path)
        made.cells[3].execution_count = None
        nbform.write(path, made)
    if rule == "file_is_in_normal_form":
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    (finding,) = nblint.check(path)
    assert sentence in str(finding)
    assert str(finding).startswith(f"{FILE}: ")
    assert finding.rule == rule


def test_course_and_folder_agree(tmp_path):
    (tmp_path / "99_stray.ipynb").touch()
    found = [str(finding) for finding in nblint.check_course(tmp_path)]
    ready = [lesson.file for lesson in LESSONS if lesson.ready]
    assert found[:-1] == [
        f"{file}: is ready in privlab/course.py, but there is no such file" for file in ready
    ]
    assert found[-1] == "99_stray.ipynb: is no lesson of privlab/course.py that is ready"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in NOTEBOOKS])
def test_notebook(path):
    assert "\n".join(map(str, nblint.check(path))) == ""


def test_course():
    assert "\n".join(map(str, nblint.check_course(nbform.NOTEBOOKS))) == ""
