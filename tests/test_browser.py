"""A learner's way through a lesson, in a real Chromium and a real JupyterLab."""

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager

import nbform
import pytest
from browser import AXE, Browser, needs_axe, needs_chromium

from privlab.exercises.lesson_03 import EXERCISES

LESSON = "03_differential_privacy.ipynb"
OTHER = "04_privacy_budget.ipynb"  # its panel has two sliders
SECONDS = 300  # for a busy computer; an idle one takes a tenth of that

# What a learner has set once: no questions about news, no look for updates.
SETTINGS = {"fetchNews": "false", "checkForUpdates": False}

CODE = "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell')]"
OUTPUTS = "[...document.querySelectorAll('.jp-Notebook .jp-OutputArea-output')]"


@contextmanager
def jupyterlab(folder):
    """Start JupyterLab, which sees no settings of whoever runs this; yields its address."""
    token = secrets.token_hex(16)
    runtime = folder / "runtime"
    places = {
        "IPYTHONDIR": folder / "ipython",
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
    }
    chosen = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    chosen.parent.mkdir(parents=True)
    chosen.write_text(json.dumps(SETTINGS))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0"),
                *("--allow-root", "--ip=127.0.0.1", f"--IdentityProvider.token={token}"),
                f"--ServerApp.root_dir={folder / 'lessons'}",
            ],
            env=os.environ | {name: str(place) for name, place in places.items()},
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 120
        while not (found := list(runtime.glob("jpserver-*.json"))):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        port = json.loads(found[0].read_text())["port"]
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Learner:
    """Somebody at work in the lesson.

    Attributes:
        page: The tab with JupyterLab.
        file: The notebook's file.
        pictures: A folder for screenshots, which pytest keeps for a while.
    """

    def __init__(self, page, file, pictures):
        self.page, self.file, self.pictures = page, file, pictures

    def cell(self, text):
        """The expression for the code cell that holds a text."""
        return f"{CODE}.find(cell => cell.textContent.includes({json.dumps(text)}))"

    def choose(self, menu, entry):
        """Choose an entry of the menu bar."""
        item = "[...document.querySelectorAll('.lm-{}')].find(it => it.textContent.{})"
        self.page.click(item.format("MenuBar-item", f"trim() == '{menu}'"))
        shown = item.format("Menu-item", f"startsWith('{entry}')")
        self.page.wait(f"!!{shown}")
        self.page.click(shown)

    def command(self, name):
        """Run a command from the palette."""
        self.page.press("c", modifiers=2 + 8, code=67)
        self.page.wait("document.activeElement.matches('.lm-CommandPalette-input')")
        self.page.write(name)
        first = "document.querySelector('.lm-CommandPalette-item.lm-mod-active')"
        self.page.wait(f"{first}?.textContent.includes({json.dumps(name)})")
        self.page.press("Enter", code=13)

    def wait_for_kernel(self):
        """Wait until no cell is at work or waits for its turn."""
        self.page.wait(
            f"{CODE}.every(cell => /\\[\\d+\\]/.test("
            "cell.querySelector('.jp-InputArea-prompt').textContent))",
            SECONDS,
        )

    def outputs(self, text):
        """What stands below the code cell that holds a text."""
        return self.page.run(f"{self.cell(text)}.querySelector('.jp-OutputArea').textContent")

    def show(self, text, name):
        """Bring a cell's output into view and take a picture."""
        for _ in range(2):  # cells on the way get their true height only when they are seen
            self.page.run(f"{self.cell(text)}.scrollIntoView({{block: 'center'}})")
            time.sleep(0.3)
        self.page.picture(self.pictures / f"{name}.png")

    def saved(self):
        """Save and read the file."""
        before = self.file.stat().st_mtime_ns
        self.page.press("s", modifiers=2, code=83)
        end = time.monotonic() + 30
        while self.file.stat().st_mtime_ns == before:
            assert time.monotonic() < end, "Ctrl-S does not save"
            time.sleep(0.2)
        time.sleep(0.5)
        return nbform.read(self.file)

    def move(self, slider):
        """Move one of the panel's sliders to the right; picture and words follow."""
        panel = self.cell("panels.panel(")
        status = f"{panel}.querySelector('[role=status]')"
        before = self.page.wait(f"{status}?.textContent")
        # A bar that was drawn and erased on stderr would leave an empty pink line.
        assert self.page.run(f"{panel}.querySelectorAll('[data-mime-type*=stderr]').length") == 0
        self.page.run(f"{panel}.querySelectorAll('[role=slider]')[{slider}].focus()")
        self.page.press("ArrowRight", code=39)
        self.page.wait(f"{status}.textContent != {json.dumps(before)}", 20)
        after = self.page.run(f"{status}.textContent")
        assert self.page.run(f"{status}.parentElement.querySelector('img').alt") == after
        self.show("panels.panel(", f"slider_{slider}")

    def nothing_breaks(self):
        """No cell has failed, and nothing on the page."""
        errors = f"{OUTPUTS}.filter(it => it.dataset.mimeType?.includes('error')).length"
        assert self.page.run(errors) == 0
        self.no_dialog()

    def no_dialog(self):
        """Nothing stands in the way, no script of the page has failed, no error in its console."""
        told = "[...document.querySelectorAll('.jp-Dialog')].map(it => it.textContent)"
        assert self.page.run(told) == []
        assert self.page.problems == []


@pytest.fixture(scope="class")
def learner(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("jupyterlab")
    name = request.cls.lesson
    file = folder / "lessons" / name
    file.parent.mkdir()
    lesson = nbform.read(nbform.NOTEBOOKS / name)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None  # what is seen later was made here
    nbform.write(file, lesson)
    with jupyterlab(folder) as address, Browser(folder / "profile") as browser:
        page = browser.open(address.format(name))
        page.wait(f"{CODE}.length == {sum(c.cell_type == 'code' for c in lesson.cells)}", 120)
        kernel = "document.querySelector('.jp-Notebook-ExecutionIndicator')"
        page.wait(f"{kernel}?.dataset.status == 'idle'", 120)
        someone = Learner(page, file, folder)
        someone.choose("Run", "Run All Cells")
        someone.wait_for_kernel()
        yield someone
        someone.no_dialog()


@needs_chromium
@pytest.mark.long
class TestLesson:
    """In this order: a learner opens the lesson, runs it, and answers an exercise."""

    lesson = LESSON

    def test_it_runs_and_nothing_breaks(self, learner):
        learner.nothing_breaks()
        learner.show("q1.check()", "not_tried")

    def test_each_figure_is_there_in_words_too(self, learner):
        committed = nbform.read(nbform.NOTEBOOKS / LESSON)
        made = learner.saved()

        def figures(notebook):
            outputs = [it for cell in notebook.cells for it in cell.get("outputs", [])]
            found = [it for it in outputs if "image/png" in it.get("data", {})]
            return [it.metadata["image/png"]["alt"] for it in found]

        alts = figures(made)
        assert len(alts) == len(figures(committed)) > 0
        assert all(len(alt) >= 40 for alt in alts)
        shown = learner.page.run(
            f"{OUTPUTS}.map(it => it.querySelector('.jp-RenderedImage img') ?? "
            "it.querySelector(':scope > img')).filter(Boolean).map(it => it.naturalWidth)"
        )
        assert len(shown) == len(alts)
        assert min(shown) > 300
        # JupyterLab shows pictures without their text; the line below each holds it.
        words = learner.page.run(
            f"{OUTPUTS}.map(it => it.querySelector('details')).filter(Boolean)"
            ".map(it => it.textContent.replace('The figure in words', ''))"
        )
        assert words == alts

    def test_a_stub_is_not_tried_yet(self, learner):
        for number, exercise in enumerate(EXERCISES, 1):
            told = learner.outputs(f"q{number}.check()")
            assert f"Exercise {exercise.label} · not tried yet" in told

    def test_an_answer_is_typed_and_checked(self, learner):
        page, exercise = learner.page, EXERCISES[0]
        page.click(f"{learner.cell(f'def {exercise.names[0]}(')}.querySelector('.cm-content')")
        page.press("a", modifiers=2, code=65)
        page.press("Backspace", code=8)
        page.write(exercise.reference.strip())
        page.press("Enter", modifiers=8, code=13)  # runs it and goes to the next cell: the check
        page.press("Enter", modifiers=8, code=13)
        page.wait(
            f"{learner.cell('q1.check()')}.querySelector('.jp-OutputArea').textContent"
            f".includes('Exercise {exercise.label} · correct')",
            SECONDS,
        )
        learner.wait_for_kernel()
        learner.show("q1.check()", "correct")
        typed = [cell.source for cell in learner.saved().cells]
        assert exercise.reference.strip() in typed

    def test_a_slider_moves(self, learner):
        learner.move(0)

    @needs_axe
    @pytest.mark.parametrize("theme", ["Dark", "Light"])
    def test_outputs_are_readable_in_both_themes(self, learner, theme):
        page = learner.page
        learner.command(f"Use Theme: JupyterLab {theme}")
        light = "true" if theme == "Light" else "false"
        page.wait(f"document.body.dataset.jpThemeLight == '{light}'")
        for text in ("q1.check()", "panels.panel("):
            learner.show(text, f"{theme}_{text.strip('.()')}".lower())
        learner.show(EXERCISES[1].names[0], f"{theme}_code".lower())
        page.run(AXE + "; 0")
        # The boxes of the checks, tables, words below the figures; sliders are tested elsewhere.
        pale = page.run(
            "axe.run({include: [['.jp-RenderedHTMLCommon.jp-OutputArea-output']]},"
            "{runOnly: ['color-contrast']}).then(found => found.violations.flatMap("
            "each => each.nodes.map(node => node.failureSummary + node.html)))"
        )
        assert pale == []
        learner.no_dialog()


@needs_chromium
@pytest.mark.long
class TestOtherLesson:
    """One more lesson, whose panel has two sliders."""

    lesson = OTHER

    def test_it_runs_and_both_sliders_move(self, learner):
        learner.nothing_breaks()
        for slider in (0, 1):
            learner.move(slider)
        learner.no_dialog()


@needs_chromium
def test_problems_of_a_page_are_noted(tmp_path):
    """Else an empty list of problems would show nothing."""
    page = tmp_path / "page.html"
    page.write_text(
        "<script>console.log('fine'); console.error('wrong', 3); throw new Error('worse')</script>"
        "<img src='missing.png'><img src='https://badges.example/a.svg'>"
    )
    with Browser(tmp_path / "profile") as browser:
        tab = browser.open(page.as_uri())
        tab.wait("Array.from(document.images).every(it => it.complete)")
        end = time.monotonic() + 30
        while len(tab.problems) < 3 and time.monotonic() < end:
            tab.run("0")  # what has happened since comes with the answer
        error, missing, written = sorted(tab.problems)
    assert error.startswith("Error: worse")
    assert "missing.png" in missing
    assert written == "wrong 3"
