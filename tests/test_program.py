"""Which lines of a submission its answers need."""

import ast
import importlib
import json
import time

import pytest
from nbform import ROOT

from privlab.course import LESSONS
from privlab.exercise import LocalPeer
from privlab.grading.program import needed, python


def kept(names, *cells):
    """The kept lines of all cells, without the empty ones."""
    text = "\n".join(needed(list(cells), names.split()))
    return [line for line in text.split("\n") if line.strip()]


KEPT = {
    "a function alone": (["def f(x): return x"], ["def f(x): return x"]),
    "not what stands beside it": (
        [
            "import torch",
            "import numpy as np",
            "model = torch.t()",
            "def f(x): return np.sum(x)",
        ],
        ["import numpy as np", "def f(x): return np.sum(x)"],
    ),
    "a parameter is no global": (
        ["table = load()", "def f(table): return [row for row in table]"],
        ["def f(table): return [row for row in table]"],
    ),
    "what a function calls, also if it comes later": (
        ["def f(x): return g(x)", "def g(x): return h * x", "h = 2", "k = 3"],
        ["def f(x): return g(x)", "def g(x): return h * x", "h = 2"],
    ),
    "the last definition": (
        ["def f(x): return 1", "def f(x): return 2"],
        ["def f(x): return 2"],
    ),
    "starter code below the answer": (
        ["def f(x): return 1", "def f(x):\n    return ...  # your code here"],
        ["def f(x): return 1"],
    ),
    "starter code alone": (["def f(x):\n    return ..."], ["def f(x):", "    return ..."]),
    "changed after it was made": (
        ["d = {}", "d['a'] = 1", "d.update(b=2)", "e = {}", "def f(): return d"],
        ["d = {}", "d['a'] = 1", "d.update(b=2)", "def f(): return d"],
    ),
    "what the change reads": (
        ["k = 1", "d = []", "d.append(k)", "def f(): return d"],
        ["k = 1", "d = []", "d.append(k)", "def f(): return d"],
    ),
    "an earlier value is needed": (
        ["a = 1", "a = a + 1", "a += b", "b = 3", "def f(): return a"],
        ["a = 1", "a = a + 1", "a += b", "def f(): return a"],
    ),
    "a loop may not bind": (
        ["a = 0", "for i in []:\n    a = i", "def f(): return a"],
        ["a = 0", "for i in []:", "    a = i", "def f(): return a"],
    ),
    "one of two in a with": (
        ["import warnings", "with warnings.catch_warnings():\n    a = 1", "def f(): return a"],
        ["import warnings", "with warnings.catch_warnings():", "    a = 1", "def f(): return a"],
    ),
    "a decorator and a default": (
        ["import functools", "k = 1", "@functools.cache\ndef f(x=k): return x"],
        ["import functools", "k = 1", "@functools.cache", "def f(x=k): return x"],
    ),
    "a class and its base": (
        ["class A: pass", "class B(A):\n    y = z", "z = 1", "def f(): return B()"],
        ["class A: pass", "class B(A):", "    y = z", "def f(): return B()"],
    ),
    "a comprehension reads at once": (
        ["a = [1]", "b = [x for x in a]", "a = [2]", "def f(): return b"],
        ["a = [1]", "b = [x for x in a]", "def f(): return b"],
    ),
    "a global that a function changes": (
        ["n = 0", "def count():\n    global n\n    n += 1", "def f(): count()"],
        ["n = 0", "def count():", "    global n", "    n += 1", "def f(): count()"],
    ),
    "a lambda": (["k = 1", "f = lambda x: x + k", "k = 2"], ["f = lambda x: x + k", "k = 2"]),
    "an annotated variable": (["v: dict = {}"], ["v: dict = {}"]),
    "a built-in name redefined": (
        ["def sum(x): return 0", "def f(x): return sum(x)"],
        ["def sum(x): return 0", "def f(x): return sum(x)"],
    ),
    "from x import *": (
        ["from math import *", "def f(x): return sqrt(x)"],
        ["from math import *", "def f(x): return sqrt(x)"],
    ),
    "unpacked": (["a, v = 1, 2", "b = 1"], ["a, v = 1, 2"]),
    "a cell that cannot be parsed": (["def g(:", "def f(): return 1"], ["def f(): return 1"]),
    "a cell that cannot be compiled": (
        ["def g(x, x): return 1", "def f(): return 1"],
        ["def f(): return 1"],
    ),
    "an attribute of a name of its own": (
        ["c = 1", "c.x = 2", "def f():\n    c = {}\n    c.x = 3"],
        ["def f():", "    c = {}", "    c.x = 3"],
    ),
    "a long sum": (["f = " + "1+" * 600 + "1"], ["f = " + "1+" * 600 + "1"]),
    "two in a line": (["ä = 1; k = 2; f = lambda: k", "l = 3"], ["ä = 1; k = 2; f = lambda: k"]),
    "changed in a loop": (
        ["d = []", "for i in range(3):\n    d.append(i)", "def f(): return d"],
        ["d = []", "for i in range(3):", "    d.append(i)", "def f(): return d"],
    ),
    "changed in a comprehension": (
        ["d = []", "[d.append(i) for i in range(3)]", "def f(): return d"],
        ["d = []", "[d.append(i) for i in range(3)]", "def f(): return d"],
    ),
    "changed by whoever gets it": (
        ["import random", "d = [1, 2]", "random.shuffle(d)", "print(d)", "def f(): return d"],
        ["import random", "d = [1, 2]", "random.shuffle(d)", "def f(): return d"],
    ),
    "changed while something else is made of it": (
        ["d = [1, 2]", "last = d.pop()", "def f(): return d"],
        ["d = [1, 2]", "last = d.pop()", "def f(): return d"],
    ),
    "a name that is only annotated": (
        ["def f(): return 1", "f: int"],
        ["def f(): return 1"],
    ),
    "deleted": (["a = 1", "del a", "def f(): return a"], ["a = 1", "del a", "def f(): return a"]),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    cells, lines = KEPT[name]
    assert kept("f v", *cells) == lines


@pytest.mark.parametrize(
    "code",
    [
        "%x\n" * 20_000,
        " " * 100_000 + "x",
        "a" * 100_000,
        "'\\'" * 30_000,
        "a = 0\n" + "a += 1\n" * 8_000 + "f = a",
        "a0 = 0\n" + "".join(f"a{i} = a{i - 1}\n" for i in range(1, 8_000)) + "f = a7999",
        "f = " + "-" * 50_000 + "1",
        "f = a" + ".a" * 50_000,
        "(" * 50_000,
        "f = " + "[" * 150 + "]" * 150,
        "x = '\ud800'",
        "x = '\0'",
    ],
    ids=lambda code: ascii(code[:8]),
)
def test_code_made_to_be_slow(code):
    began = time.process_time()
    needed([python(code)], ["f"])
    assert time.process_time() - began < 5


def test_lines_stay_where_they_were():
    cell = "import numpy as np\nx = 1\n\n\ndef f():\n    return np\n"
    assert needed([cell], ["f"]) == ["import numpy as np\n\n\n\ndef f():\n    return np"]


@pytest.mark.parametrize(
    ("source", "want"),
    [
        ("%pip install x", "pass"),
        ("!ls", "pass"),
        ("files = !ls", "pass"),
        ("!pip install \\\n  x \\\n  y\nz = 1", "pass\n\n\nz = 1"),
        ("%%bash\nls", ""),
        ("  %%time\n  x = 1", "pass\nx = 1"),
        ("%%capture out\nx = 1", "pass\nx = 1"),
        ("%%timeit\nx = 1", ""),
        ("\n  x = 1\n  if x:\n    y = 1\n", "x = 1\nif x:\n  y = 1\n"),
        ("x?", "pass"),
        ("??x.y", "pass"),
        ("if True:  # Colab\n    %pip install x\nx = 1", "if True:  # Colab\n    pass\nx = 1"),
        ("x = 7 \\\n  % 3", "x = 7 \\\n  % 3"),
        ("x = (7\n  % 3)", "x = (7\n  % 3)"),
        ("y = x != 1", "y = x != 1"),
        ("\ufeffx = 1\r\ny = 2\rz = 3", "x = 1\ny = 2\nz = 3"),
        ("t = '''\n!ls\n'''", "t = '''\n!ls\n'''"),
        ("t = '\\'' + \"(\" # (\n!ls", "t = '\\'' + \"(\" # (\npass"),
        ('t = """a\'\'\' \\""" (\n%x\n"""\n%x', 't = """a\'\'\' \\""" (\n%x\n"""\npass'),
        ("f(')', [1,\n%x\n])\n%x", "f(')', [1,\n%x\n])\npass"),
    ],
)
def test_python(source, want):
    assert python(source) == want


@pytest.mark.parametrize(
    "exercise",
    [
        pytest.param(exercise, id=exercise.label)
        for lesson in LESSONS
        if lesson.ready
        for exercise in importlib.import_module(
            f"privlab.exercises.lesson_{lesson.number}"
        ).EXERCISES
    ],
)
def test_an_answer_needs_its_own_lines_alone(exercise):
    """Of each lesson with the reference in its place, the reference is kept, and it runs."""
    number = exercise.label.split(".")[0].zfill(2)
    (lesson,) = [lesson for lesson in LESSONS if lesson.number == number]
    page = json.loads((ROOT / "notebooks" / lesson.file).read_text())
    cells = ["".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "code"]
    names = exercise.names
    (place,) = [i for i, c in enumerate(cells) if "..." in c and f"{names[0]}" in c
                and ("def " + names[0] in c or names[0] + " = " in c)]  # fmt: skip
    cells[place] = exercise.reference
    cells = [python(cell) for cell in cells]
    for cell in cells:
        ast.parse(cell)
    lines = [line for text in needed(cells, names) for line in text.split("\n") if line.strip()]
    own = [line for line in exercise.reference.split("\n") if line.strip()]
    assert len(lines) <= len(own)
    namespace = {}
    exec("\n".join(needed(cells, names)), namespace)
    assert set(names) <= set(LocalPeer(namespace).namespace)
