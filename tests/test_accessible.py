"""The lessons for people who do not see them as their authors do.

Each lesson is exported to HTML, as JupyterLab's menu does, and axe-core looks for what hinders
people. What comes from the template of nbconvert and not from the course is left out, by name.
"""

import ast
import json
import re

import nbform
import pytest
from browser import AXE, Browser, needs_axe, needs_chromium

from privlab import plots
from privlab.course import LESSONS
from privlab.exercise import Note

#: Parts of an exported page that belong to nbconvert, each with why they are left out.
OF_NBCONVERT = {
    # The colours of Python's keywords and numbers are Pygments' (4.2:1 on grey where 4.5:1 is
    # asked for). Colour says nothing there that the text does not.
    ".highlight": "syntax colours",
    # "In [3]:" in pale grey (2.2:1): the order of the cells says the same.
    ".jp-InputPrompt": "the number of a cell",
    ".jp-OutputPrompt": "the number of a cell",
    # The syntax colours of IPython's tracebacks, on pink.
    '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]': "tracebacks",
}

#: nbconvert's "lab" template does not know the text alternative that a picture carries. This is
#: what it writes instead; the course has the words in a line of their own below each figure.
NO_ALT = "No description has been provided for this image"

#: Pages that are looked at in the dark theme, too: tables, boxes of exercises, figures.
DARK = ("00", "03", "16")

PAGES = [(lesson, "light") for lesson in LESSONS if lesson.ready]
PAGES += [(lesson, "dark") for lesson in LESSONS if lesson.ready and lesson.number in DARK]

LOOK = """
axe.run({exclude: EXCLUDED.map(each => [each])}, {
  resultTypes: ["violations"], preload: false,
}).then(found => ({
  wrong: found.violations.flatMap(each => each.nodes.map(
    node => `${each.id} (${each.impact}): ${node.failureSummary} ${node.html.slice(0, 200)}`)),
  checked: found.testEngine.name,
  // A figure, and what its reader finds next.
  figures: [...document.querySelectorAll(".jp-RenderedImage img")].map(image => {
    const next = image.closest(".jp-OutputArea-child").nextElementSibling;
    return [image.alt, next?.querySelector("details")?.textContent.trim() ?? ""];
  }),
  bare: [...document.querySelectorAll("table")].filter(
    table => !table.querySelector("th")).map(table => table.outerHTML.slice(0, 200)),
}))
""".replace("EXCLUDED", json.dumps(list(OF_NBCONVERT)))


def export(path, theme):
    """Return a notebook as JupyterLab exports it to HTML."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", theme=theme)
    name = {"metadata": {"name": path.stem}}
    return exporter.from_notebook_node(nbform.read(path), name)[0]


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """One tab of one browser for all pages."""
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser.open("about:blank#")


def look(tab, html, folder):
    """Load a page and return what axe-core finds there."""
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    tab.go(path.as_uri())
    tab.run(AXE + "; 0")
    return tab.run(LOOK)


@needs_chromium
@needs_axe
@pytest.mark.parametrize(
    ("lesson", "theme"),
    [pytest.param(*page, id=f"{page[0].file}-{page[1]}") for page in PAGES],
)
def test_lessons_are_accessible(tab, tmp_path, lesson, theme):
    path = nbform.NOTEBOOKS / lesson.file
    found = look(tab, export(path, theme), tmp_path)
    assert found["checked"] == "axe-core"
    assert found["wrong"] == []
    assert found["bare"] == []
    outputs = [it for cell in nbform.read(path).cells for it in cell.get("outputs", [])]
    alts = [
        output.metadata["image/png"]["alt"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    assert found["figures"] == [[NO_ALT, f"The figure in words{alt}"] for alt in alts]


@needs_chromium
@needs_axe
def test_the_browser_would_tell(tab, tmp_path):
    """What is wrong with a lesson is found, also beside what is left out."""
    bad = (
        "<html><head><title>x</title></head><body><div class='highlight' style='color:#999'>a</div>"
        "<h1>One</h1><h3>Three</h3><p style='color:#999'>pale</p><img src='data:,'>"
        "<table><tr><td>1</td></tr></table></body></html>"
    )
    found = look(tab, bad, tmp_path)
    rules = {line.split()[0] for line in found["wrong"]}
    assert {"html-has-lang", "heading-order", "color-contrast", "image-alt"} <= rules
    assert sum("color-contrast" in line for line in found["wrong"]) == 1  # not the code
    assert len(found["bare"]) == 1


# ---------------------------------------------------------------- without a browser


def luminance(colour):
    """Relative luminance of "#RRGGBB" (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_of_known_colours():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # as WebAIM states it


#: These two are too pale for WCAG's 3:1 (1.4.11) on white. They stay: the colours of Okabe and Ito
#: are told apart by people with any colour vision *because* they differ in lightness, and WCAG
#: makes an exception for what is there in another form, too. It is: in words, below each figure.
#: Nothing is written in them (see the next test).
PALE = {"ORANGE", "SKY"}


def test_colours_of_figures():
    names = ("BLUE", "ORANGE", "GREEN", "RED", "PURPLE", "SKY", "GREY")
    assert [getattr(plots, name) for name in names] == list(plots.COLOURS)
    pale = {name for name in names if contrast(getattr(plots, name), "#FFFFFF") < 3}
    assert pale == PALE
    assert contrast(plots.GREY, "#FFFFFF") >= 4.5  # text


def sources():
    """Every piece of code of the course that may draw, with where it is from."""
    for path in sorted((nbform.ROOT / "privlab").rglob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted(nbform.NOTEBOOKS.glob("*.ipynb")):
        for cell in nbform.read(path).cells:
            if cell.cell_type == "code":
                yield path.name, re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M)


def written_pale(source):
    """The calls that write text in one of the pale colours."""
    writes = {
        "text",
        "annotate",
        "set_title",
        "set_xlabel",
        "set_ylabel",
        "tick_params",
        "suptitle",
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in writes:
            for keyword in node.keywords:
                colour = ast.unparse(keyword.value)
                if keyword.arg in ("color", "c", "labelcolor") and colour.split(".")[-1] in PALE:
                    yield ast.unparse(node)


def test_nothing_is_written_in_a_pale_colour():
    assert list(written_pale("ax.text(0, 1, 'a', color=plots.SKY)")) != []
    found = [f"{name}: {call}" for name, source in sources() for call in written_pale(source)]
    assert found == []


def test_the_box_of_a_check_takes_the_colours_of_the_theme():
    """Readable in any theme; and the verdict is a word, not a colour."""
    html = Note("Exercise 1.2 · not yet", ("Why",), "x = 1")._repr_html_()
    colours = re.findall(r"(?:color|background)[\w-]*:\s*([^;\"]+)|solid (\w+)", html)
    assert {one or other for one, other in colours} == {"currentColor"}
    assert "not yet" in html
