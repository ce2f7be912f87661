"""Each guard: a broken notebook that only it can see, and the healthy twin of every one."""

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import nbform
import pytest
from nbguard import Scheduling
from nbmake import code, error, notebook, printed, result

IGNORED = ("nbval-ignore-output",)
UNKNOWN = "UsageError: Line magic function `%nosuch` not found.\n"
MISSING = "Couldn't find program: 'nosuch'\n"
BOOM = "import threading\n\ndef boom():\n    raise ValueError('boom')\n"
LATE_KILL = "import threading\n\nthreading.Timer(0.3, os.kill, [os.getpid(), 9]).start()"
# nbval would wait for this one for ever: it survives the interrupt, and it goes on printing.
STUBBORN = """
import time
while True:
    try:
        while True:
            print("on and on")
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
"""

# Name: the cells, the number of the one that fails, and what is said about it.
BROKEN = {
    "raises_nothing": (
        [code("1 + 1", result("2"), tags=["raises-exception"])],
        (1, "is tagged raises-exception, but raised nothing"),
    ),
    "unknown_magic": ([code("%nosuch", printed(UNKNOWN, "stderr"))], (1, UNKNOWN.strip())),
    "shell": (
        [code("pass"), code("!exit 3\n!true"), code("pass"), code("pass")],
        (2, "the shell command 'exit 3' failed with exit code 3"),
    ),
    "captured": ([code("x = !exit 3")], (1, "the shell command 'exit 3' failed with exit code 3")),
    "pip": ([code("%pip --nosuch", tags=IGNORED)], (1, "-m pip --nosuch' failed with exit code 2")),
    "script": ([code("%%bash\nexit 3")], (1, "returned non-zero exit status 3")),
    "no_program": ([code("%%script nosuch\n1", printed(MISSING))], (1, MISSING.strip())),
    "thread": (
        [code(f"{BOOM}\nthread = threading.Thread(target=boom)\nthread.start()", tags=IGNORED)],
        (1, "an exception in the thread Thread-"),
    ),
    "late_thread": (
        [code(f"{BOOM}\nthreading.Timer(0.7, boom).start()", tags=IGNORED)],
        (1, "ValueError: boom"),
    ),
    "exit": ([code("import os\nos._exit(0)"), code("pass")], (1, "the kernel died")),
    "killed": (
        [code("import os"), code(LATE_KILL), code("import time\ntime.sleep(60)"), code("pass")],
        (3, "the kernel died"),
    ),
    "long_cell": (
        [code("import time\ntime.sleep(60)")],
        (1, "Timeout of 8 seconds exceeded executing cell"),
    ),
    "long_notebook": (
        [code(STUBBORN)],
        (1, "the notebook takes more than 15 s, 0.25 times its budget"),
    ),
    "not_run": ([code("pass"), code("pass")], (2, "its execution count is None and not 2")),
    "out_of_order": ([code("pass"), code("pass")], (2, "its execution count is 7 and not 2")),
}  # fmt: skip

HEALTHY = notebook(
    code("1 / 0", error("ZeroDivisionError", "division by zero"), tags=["raises-exception"]),
    code("%precision 2\n1 / 3", result("0.33")),
    code("!true\n!exit 0"),
    code("x = !echo out; echo err >&2\nx", result("['out', 'err']")),
    code("%pip --version", tags=IGNORED),
    code("%%bash\necho here", printed("here\n")),
    # A guard between IPython and the caller would hide the caller's variables.
    code("def say(cmd):\n    !echo {cmd}\n\nsay('word')", printed("word\r\n")),
    code("import sys\nimport threading\n\nthreading.Thread(target=sys.exit).start()"),
    code("threading.Timer(0.5, print).start()"),
    code("from tqdm import tqdm\n\nfor _ in tqdm(range(3)):\n    pass"),
    code("import os\n'_guard' in globals(), 'IPYTHONDIR' in os.environ", result("(False, False)")),
)


def run(folder, *options):
    """Run pytest on a folder with the settings of the project."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", f"--rootdir={folder}", folder),
        *("-p", "no:cacheprovider", "--color=no", f"--junitxml={folder / 'report.xml'}", *options),
    ]
    return subprocess.run(
        command,
        cwd=nbform.ROOT,
        env=outer | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    ).stdout


def outcomes(folder):
    """What became of each cell: (notebook, number) to the outcome and what was said."""
    cells = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        key = (case.get("classname").split(".")[-2], int(case.get("name").split()[1]))
        outcome = next(iter(case.iterfind("*[@message]")), None)
        cells[key] = ("passed", "") if outcome is None else (outcome.tag, _words(outcome))
    return cells


def _words(element):
    return " ".join(f"{element.get('message')} {element.text}".split())


def table(output):
    """The lines below pytest's closing line, the title's first."""
    lines = output.splitlines()
    closing = max(i for i, line in enumerate(lines) if re.match(r"=+ .*\bin \d.* =+$", line))
    return [line.split(maxsplit=6) for line in lines[closing + 1 :] if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    for name, (cells, _) in BROKEN.items():
        made = notebook(*cells)
        if name in ("not_run", "out_of_order"):
            made.cells[1].execution_count = None if name == "not_run" else 7
        nbform.write(folder / f"{name}.ipynb", made)
    return folder


@pytest.fixture(scope="module")
def output(folder):
    (folder / "hasty.py").write_text("import nbguard\n\nnbguard.LIMIT = 0.25\n")
    return run(folder, "-n2", "-p", "hasty", "--nbval-cell-timeout=8")


@pytest.mark.long
class TestBroken:
    @pytest.mark.parametrize("name", BROKEN)
    def test_fails_with_a_message(self, folder, output, name):
        cells, (number, message) = BROKEN[name]
        found = {key: value for key, value in outcomes(folder).items() if key[0] == name}
        for before in range(1, number):
            assert found.pop((name, before)) == ("passed", "")
        outcome, said = found.pop((name, number))
        assert outcome == "failure"
        assert message in said
        for _ in range(number, len(cells)):
            _, (outcome, said) = found.popitem()
            assert outcome == "skipped"
            assert f"not run: cell {number} failed" in said
        assert not found

    def test_table(self, output):
        title, *rows, total = table(output)
        assert title[0] == "notebook"
        assert total[0] == "together"
        results = {row[0].removesuffix(".ipynb"): row[-1].strip() for row in rows}
        assert results == {name: f"FAILED cell {BROKEN[name][1][0]}" for name in sorted(BROKEN)}


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("notebooks/01_x.ipynb::Cell 7", "notebooks/01_x.ipynb"),
        ("tests/test_x.py::TestX::test_y[a::b]", "tests/test_x.py::TestX"),
        ("tests/test_x.py::test_y[a::b]", "tests/test_x.py::test_y[a::b]"),
        ("tests/test_x.py::test_y", "tests/test_x.py::test_y"),
    ],
)
def test_what_one_worker_runs(nodeid, scope):
    assert Scheduling._split_scope(None, nodeid) == scope


@pytest.mark.long
def test_healthy(tmp_path):
    nbform.write(tmp_path / "healthy.ipynb", HEALTHY)
    output = run(tmp_path, "-n0")
    assert f"{len(HEALTHY.cells)} passed in " in output, output
    _, row, _ = table(output)
    assert row[:3] == ["healthy.ipynb", "python3", str(len(HEALTHY.cells))]
    assert row[4:] == ["60", "-", "ok"]
