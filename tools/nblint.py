"""The rules that every notebook of the course keeps, one function each.

A rule takes a :class:`Page` and yields what breaks it. To add one, write the function and put
``@rule`` above it.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import nbform
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from privlab.course import LESSONS, REPOSITORY, Lesson

MARKER = "# your code here"
SHORTEST_ALTERNATIVE = 40  # characters
LONGEST_CELL = 25  # lines
LARGEST_OUTPUT = 200_000  # bytes
LARGEST_FILE = 1_500_000

# A tag that is spelled wrong would switch a check off without a word. `nbval-skip` is left out on
# purpose: what is never run is never right.
TAGS = {
    "answer": "the stub of an exercise",
    "bootstrap": "the first cell, the only one that may install something",
    "nbval-ignore-output": "depends on time, chance or the machine; an assert guards it",
    "raises-exception": "goes wrong, and should",
    "shows-warning": "writes to stderr, and the reader should see it",
}


@dataclass(frozen=True)
class Finding:
    """A broken rule: its name, the file, the place in it if there is one, and a sentence."""

    rule: str
    file: str
    place: str
    sentence: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.file, self.place, self.sentence)))


@dataclass
class Cell:
    """A cell and how a reader finds it: code cells are counted as in ``In [7]``."""

    node: NotebookNode
    place: str

    @property
    def source(self) -> str:
        """What was typed into the cell."""
        return self.node.source

    @property
    def tags(self) -> list[str]:
        """The tags of the cell."""
        return self.node.metadata.get("tags", [])

    @cached_property
    def python(self) -> str:
        """The source with ``!`` and ``%`` translated into the calls that IPython makes of them."""
        return TransformerManager().transform_cell(self.source)

    @cached_property
    def calls(self) -> list[ast.Call]:
        """All calls in the cell; none where the cell is no Python, which shows when it runs."""
        try:
            tree = ast.parse(self.python)
        except SyntaxError:
            return []
        return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]

    @property
    def texts(self) -> Iterator[str]:
        """What the outputs say in text of any kind, images left out."""
        for output in self.node.get("outputs", []):
            yield output.get("text", "")
            yield "\n".join(output.get("traceback", []))
            for mime, value in output.get("data", {}).items():
                if mime.startswith("text/"):
                    yield value


class Page:
    """A notebook as the rules see it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.notebook = nbform.read(path)
        self.lesson: Lesson | None = next((it for it in LESSONS if it.file == path.name), None)
        self.cells: list[Cell] = []
        count = 0
        for node in self.notebook.cells:
            count += node.cell_type == "code"
            after = f"text after cell {count}" if count else "text before cell 1"
            self.cells.append(Cell(node, f"cell {count}" if node.cell_type == "code" else after))

    @property
    def code(self) -> list[Cell]:
        """The code cells."""
        return [cell for cell in self.cells if cell.node.cell_type == "code"]

    @property
    def prose(self) -> list[Cell]:
        """The text cells."""
        return [cell for cell in self.cells if cell.node.cell_type == "markdown"]


#: What a rule yields: the place (a cell, or None for the file as a whole) and a sentence.
Broken = Iterator[tuple[Cell | None, str]]
RULES: list[Callable[[Page], Broken]] = []


def rule(function: Callable[[Page], Broken]) -> Callable[[Page], Broken]:
    """Register a rule."""
    RULES.append(function)
    return function


def check(path: Path) -> list[Finding]:
    """Return everything that breaks a rule in one notebook."""
    page = Page(path)
    return [
        Finding(function.__name__, path.name, cell.place if cell else "", sentence)
        for function in RULES
        for cell, sentence in function(page)
    ]


def check_course(folder: Path) -> list[Finding]:
    """Return where the folder and the list of ready lessons in privlab.course disagree."""
    files = {path.name for path in folder.glob("*.ipynb")}
    ready = {lesson.file for lesson in LESSONS if lesson.ready}
    missing = "is ready in privlab/course.py, but there is no such file"
    stray = "is no lesson of privlab/course.py that is ready"
    differences = [(ready - files, missing), (files - ready, stray)]
    return [
        Finding("check_course", name, "", sentence)
        for names, sentence in differences
        for name in sorted(names)
    ]


# ---- what the reader sees ----------------------------------------------------------------------


@rule
def figures_have_alternatives(page: Page) -> Broken:
    """A figure says in words what it shows, to screen readers and to nbval alike."""
    for cell in page.code:
        for output in cell.node.outputs:
            data = output.get("data", {})
            image = next((mime for mime in data if mime.startswith("image/")), None)
            if image is None:
                continue
            metadata = output.metadata
            alt = metadata.get(image, {}).get("alt") or metadata.get("alt", "")
            if len(alt) < SHORTEST_ALTERNATIVE:
                yield cell, f"a figure has no text alternative of {SHORTEST_ALTERNATIVE} characters"
            elif data.get("text/plain") != alt:
                yield cell, "the text/plain of a figure is not its text alternative"


@rule
def images_have_alternatives(page: Page) -> Broken:
    """An image in a text has an alternative, too."""
    for cell in page.prose:
        text = _without_code(cell.source)
        for target in re.findall(r"!\[\s*\]\(([^)]*)\)", text):
            yield cell, f"the image {target} has no text alternative"
        for tag in re.findall(r"<img\b[^>]*>", text):
            if not re.search(r"\balt\s*=\s*(\"[^\"]+\"|'[^']+')", tag):
                yield cell, f"{tag} has no text alternative"


@rule
def headings_form_an_outline(page: Page) -> Broken:
    """One title, in the first cell, and no level is left out below it."""
    headings = [(cell, *heading) for cell in page.prose for heading in _headings(cell.source)]
    titles = [cell for cell, level, _ in headings if level == 1]
    if len(titles) != 1 or titles[0] is not page.cells[0]:
        yield None, "there must be one level-1 heading, in the first cell"
    before = 1
    for cell, level, text in headings:
        if level > before + 1:
            yield cell, f"the heading {text!r} skips from level {before} to {level}"
        before = level


@rule
def title_is_that_of_the_course(page: Page) -> Broken:
    """The title is number and title of the lesson."""
    if page.lesson is None or not page.cells:
        return
    wanted = f"{page.lesson.number} · {page.lesson.title}"
    titles = [text for level, text in _headings(page.cells[0].source) if level == 1]
    if titles and titles[0] != wanted:
        yield page.cells[0], f"the title is {titles[0]!r}, but the course calls it {wanted!r}"


@rule
def cells_fit_a_screen(page: Page) -> Broken:
    """Code is read on one screen."""
    for cell in page.code:
        lines = len(cell.source.splitlines())
        if lines > LONGEST_CELL:
            yield cell, f"{lines} lines of code are more than {LONGEST_CELL}"


@rule
def outputs_are_for_readers(page: Page) -> Broken:
    """No line left from debugging, such as the name of a matplotlib object or an address."""
    leftover = re.compile(
        r"<(?:matplotlib|Figure size|Axes|function|bound method)\b|\bText\([\d.]+, "
        r"|\bat 0x[0-9a-fA-F]{6,}"
    )
    for cell in page.code:
        for output in cell.node.outputs:
            data = output.get("data", {})
            text = output.get("text") or data.get("text/plain", "")
            if "image/png" not in data and (found := leftover.search(text)):
                yield cell, f"the output shows {found.group()!r}, which is for programmers"


@rule
def warnings_are_meant(page: Page) -> Broken:
    """What goes to stderr looks like an error to a learner."""
    for cell in page.code:
        for output in cell.node.outputs:
            if output.get("name") == "stderr" and "shows-warning" not in cell.tags:
                line = output.text.strip().partition("\n")[0]
                yield cell, f"writes to stderr ({line!r}) and is not tagged shows-warning"


@rule
def errors_are_meant(page: Page) -> Broken:
    """A cell raises if and only if it is tagged so."""
    for cell in page.code:
        raised = any(output.output_type == "error" for output in cell.node.outputs)
        if raised and "raises-exception" not in cell.tags:
            yield cell, "raises and is not tagged raises-exception"
        if "raises-exception" in cell.tags and not raised:
            yield cell, "is tagged raises-exception and shows no error"


# ---- what works on another computer ------------------------------------------------------------


@rule
def no_absolute_path(page: Page) -> Broken:
    """A path of the author's computer says nothing to a reader."""
    home = re.escape(str(Path.home()))
    root = re.escape(str(nbform.ROOT))
    path = re.compile(
        rf"(?<![\w.:/-])(?:(?:/home/|/root/|/Users/|/tmp/|{home}/|{root}\b)[^\s\"'`)]*"
        r"|[A-Z]:\\{1,2}(?:Users|Windows|Program Files|Temp)\b)"
    )
    for cell in page.cells:
        for text in (cell.source, *cell.texts):
            if found := path.search(text):
                yield cell, f"names the absolute path {found.group()}"


@rule
def shell_stays_in_the_bootstrap(page: Page) -> Broken:
    """Only the first cell calls a shell or an installer, and only where privlab is missing."""
    shells = re.compile(
        r"get_ipython\(\)\.(?:system\(|getoutput\("
        r"|run_(?:line|cell)_magic\('(?:pip|conda|mamba|uv|system|sx|!|bash|sh|script|cmd)')"
    )
    for cell in page.code:
        if "bootstrap" not in cell.tags and shells.search(cell.python):
            yield cell, "calls a shell or an installer outside the bootstrap cell"


@rule
def bootstrap_comes_first(page: Page) -> Broken:
    """The first code cell starts the lesson, and no other one is tagged bootstrap."""
    if not page.code or "bootstrap" not in page.code[0].tags:
        yield None, "the first code cell is not tagged bootstrap"
        return
    number = page.lesson.number if page.lesson else page.path.name[:2]
    if f"privlab.start({number!r})" not in map(ast.unparse, page.code[0].calls):
        yield page.code[0], f'does not call privlab.start("{number}")'
    for cell in page.code[1:]:
        if "bootstrap" in cell.tags:
            yield cell, "is tagged bootstrap, but it is not the first code cell"


@rule
def kernel_is_that_of_the_lesson(page: Page) -> Broken:
    """The notebook names the kernel of its lesson."""
    name = page.notebook.metadata.get("kernelspec", {}).get("name")
    if page.lesson and name != page.lesson.kernel:
        yield None, f"names the kernel {name!r}, but the lesson's is {page.lesson.kernel!r}"


@rule
def repository_is_ours(page: Page) -> Broken:
    """Badges and links open this very notebook in the course's repository."""
    ours = re.compile(rf"(?:^|/){re.escape(REPOSITORY)}(?![\w-])")
    namesake = re.compile(rf"[^/]+/{re.escape(REPOSITORY.split('/')[1])}(?![\w-])")
    own = f"notebooks/{page.path.name}"
    for cell in page.cells:
        for host, path in re.findall(r"https?://([^/\s]+)/([^\s)\"'>]+)", unquote(cell.source)):
            opens = host in ("mybinder.org", "colab.research.google.com")
            names_us = host == "github.com" and namesake.match(path)
            if path.endswith(".svg") or not (opens or names_us):
                continue
            if not ours.search(path):
                yield cell, f"the link to {host}/{path} is not in the repository {REPOSITORY}"
            elif own not in path and (opens or ".ipynb" in path):
                yield cell, f"the link to {host}/{path} does not open {own}"


@rule
def links_lead_somewhere(page: Page) -> Broken:
    """A relative link names a file that is there, and an anchor a heading of it."""
    for cell in page.prose:
        text = _without_code(cell.source)
        targets = re.findall(r"\]\(<?([^)\s>]+)", text)
        targets += re.findall(r"\b(?:href|src)\s*=\s*[\"']([^\"']+)", text)
        for target in targets:
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            file = page.path.parent / name if name else page.path
            if target.startswith("/") or not file.exists():
                yield cell, f"the link {target} leads nowhere"
            elif anchor and anchor not in _anchors(file):
                yield cell, f"the link {target} names no heading of {file.name}"


# ---- what stays small, checked and in order ----------------------------------------------------


@rule
def sizes_are_moderate(page: Page) -> Broken:
    """GitHub shows the notebook, and a diff of it can be read."""
    if len(page.text.encode()) > LARGEST_FILE:
        yield None, f"the file is larger than {LARGEST_FILE:,} bytes"
    for cell in page.code:
        if any(len(json.dumps(output)) > LARGEST_OUTPUT for output in cell.node.outputs):
            yield cell, f"an output is larger than {LARGEST_OUTPUT:,} bytes"


@rule
def cells_ran_in_order(page: Page) -> Broken:
    """The committed outputs come from one run from top to bottom."""
    for number, cell in enumerate(page.code, 1):
        count = cell.node.execution_count
        if count != number:
            yield cell, f"its execution count is {count} and not {number}: run the whole notebook"
            return


@rule
def file_is_in_normal_form(page: Page) -> Broken:
    """The file looks as the tool writes it, so that a diff shows changes alone."""
    if page.text != nbform.dumps(page.notebook):
        yield None, "is not in normal form: run `make notebooks`"


@rule
def tags_are_known(page: Page) -> Broken:
    """A tag has a meaning here, and what nbval should do is said in tags alone."""
    for cell in page.cells:
        for tag in cell.tags:
            if tag not in TAGS:
                yield cell, f"the tag {tag!r} is none of {', '.join(TAGS)}"
    for cell in page.code:
        if re.search(r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source, re.MULTILINE):
            yield cell, "steers nbval by a comment; use a tag"


@rule
def answers_are_checked(page: Page) -> Broken:
    """The stub of an exercise says where to write, and the next code cell checks it."""
    for cell, after in zip(page.code, [*page.code[1:], None], strict=True):
        stub = MARKER in cell.source
        if stub != ("answer" in cell.tags):
            yield cell, f"must have both the tag answer and the marker {MARKER!r}, or neither"
        elif stub and not (after and any(_method(call) == "check" for call in after.calls)):
            yield cell, "is an answer, but the next code cell does not call .check()"


# ---- helpers -----------------------------------------------------------------------------------


_BLOCK = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _without_code(markdown: str) -> str:
    """Return the text without code blocks and code in a line, where nothing is a link."""
    return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", markdown))


def _headings(markdown: str) -> list[tuple[int, str]]:
    """Return level and text of each heading."""
    found = re.findall(r"^(#{1,6})\s+(.*?)\s*#*$", _BLOCK.sub("", markdown), re.MULTILINE)
    return [(len(marks), text) for marks, text in found]


def _anchors(file: Path) -> set[str]:
    """Return the anchors that JupyterLab and GitHub give the headings of a notebook."""
    if file.suffix != ".ipynb":
        return set()
    texts = [
        text
        for cell in nbform.read(file).cells
        if cell.cell_type == "markdown"
        for _, text in _headings(cell.source)
    ]
    return {re.sub(r"[*_`]", "", text).replace(" ", "-") for text in texts}
