"""Can the lessons run here? One sentence at the top of a notebook, and a table on request.

:func:`check_lesson` stands behind ``privlab.start("01")`` in every notebook and must be fast;
:func:`doctor` looks at everything. What is wanted is stated elsewhere and only read here: the
bounds in privlab's own metadata (pyproject.toml), the pins in ``requirements/``, the kernel and
the packages of each lesson in :mod:`privlab.course`.
"""

from __future__ import annotations

import html
import json
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import astuple, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import __version__
from .course import LESSONS, Lesson, lesson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.specifiers import SpecifierSet

#: The names under which Jupyter shows the two kernels.
KERNELS = {"python3": "Python 3 (ipykernel)", "privlab-tf": "privlab (TensorFlow)"}

#: What every notebook uses, whatever its lesson is about.
BASICS = ("numpy", "pandas", "matplotlib", "ipython")

FREE_MEMORY_GB = 2
FREE_DISK_GB = 1


class EnvironmentProblem(RuntimeError):
    """The lesson cannot run here; the message is one sentence that says what to do."""

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone: IPython calls this instead of printing a traceback."""
        return [str(self)]


# ---------------------------------------------------------------- what is here, what is wanted


def _installed(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has_tensorflow() -> bool:
    """Whether this is the kernel of the TensorFlow lessons, or (Colab) one as good."""
    return bool(_installed("tensorflow-cpu") or _installed("tensorflow"))


def _bounds() -> dict[str, SpecifierSet]:
    """Return the versions that privlab's metadata allows for each direct requirement.

    The requirements of ``test`` are left out: no lesson uses them. A privlab that was never
    installed, only found as a folder, states nothing.
    """
    from packaging.requirements import Requirement

    try:
        stated = [Requirement(line) for line in metadata.requires("privlab") or []]
    except metadata.PackageNotFoundError:
        return {}
    return {each.name: each.specifier for each in stated if 'extra == "test"' not in str(each)}


def _text(bounds: SpecifierSet) -> str:
    """Return bounds as people write them, the lower one first."""
    return ", ".join(sorted(map(str, bounds), reverse=True))


def _pins(environment: str) -> dict[str, str]:
    """Return name and version of each line in ``requirements/lab.txt`` or ``tf.txt``."""
    package = Path(__file__).parent
    bundled = package / "_requirements"
    folder = bundled if bundled.is_dir() else package.parent / "requirements"
    text = (folder / f"{environment}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def versions() -> tuple[str, ...]:
    """Return the versions of Python and of all that `make lab` installs, as they are here."""
    found = (f"{name} {_installed(name)}" for name in _pins("lab"))
    return (f"Python {platform.python_version()}", *found)


# ---------------------------------------------------------------- at the top of each notebook


def check_lesson(number: str) -> None:
    """Check that this kernel can run a lesson.

    Args:
        number: The two-digit number of the lesson, e.g. ``"01"``.

    Raises:
        EnvironmentProblem: Something is missing or has the wrong version.
        ValueError: There is no such lesson.
    """
    entry = lesson(number)
    if sys.version_info < (3, 11):  # noqa: UP036 - an older kernel may find privlab as a folder
        problems = [f"it runs Python {sys.version_info[0]}.{sys.version_info[1]}, 3.11 is needed"]
    elif entry.kernel == "privlab-tf" and not _has_tensorflow():
        problems = ["TensorFlow is missing"]
    else:
        problems = _package_problems((*BASICS, *entry.needs))
    if problems:
        raise EnvironmentProblem(
            f"Lesson {number} cannot run in this kernel ({'; '.join(problems)}): {_remedy(entry)}"
        )


def _package_problems(names: Iterable[str]) -> list[str]:
    """Say in a few words what is wrong with each of these distributions; fine ones are silent."""
    bounds = _bounds()
    problems = []
    for name in names:
        found = _installed(name)
        if found is None:
            problems.append(f"{name} is missing")
        elif name in bounds and not bounds[name].contains(found, prereleases=True):
            problems.append(f"{name} {found} is installed, {_text(bounds[name])} is needed")
    return problems


def _remedy(entry: Lesson) -> str:
    """Say what to do about a kernel that cannot run a lesson: the end of a sentence."""
    choose = f'choose the kernel "{KERNELS[entry.kernel]}" (menu Kernel, Change Kernel)'
    if entry.kernel == "privlab-tf":
        if "google.colab" in sys.modules:
            return "open this lesson on Binder, because Colab's Python is too new for it."
        return (
            f"{choose}; if it is not in the list, run `make lab` (on Linux x86-64 with Python "
            "3.11) or open this lesson on Binder."
        )
    if "google.colab" in sys.modules:
        return "run the install cell above, then choose Runtime, Restart session."
    if _has_tensorflow():
        return f"{choose}."
    return "run `make lab` in the folder of the course, then restart the kernel."


# ---------------------------------------------------------------- the doctor


@dataclass(frozen=True)
class Row:
    """One line of the doctor's report.

    Attributes:
        area: Python, kernels, packages, data, machine or grading.
        what: What was looked at.
        found: What is here.
        wanted: What the course was made with or needs.
        status: ``"missing"`` only where a lesson that is ready cannot run without it.
        todo: What to do about it; empty if nothing.
    """

    area: str
    what: str
    found: str
    wanted: str
    status: Literal["ok", "note", "missing"]
    todo: str = ""


HEADINGS = ("area", "what", "found", "wanted", "status", "what to do")


@dataclass(frozen=True, repr=False)
class Report:
    """What the doctor found. Jupyter shows it as a table, ``print`` as aligned text."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every lesson that is ready can run."""
        return all(row.status != "missing" for row in self.rows)

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        if not self.ok:
            return "Something that the lessons need is missing."
        return "The lessons that are there can all run."

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, each thing once, the most urgent first."""
        urgent_first = sorted(self.rows, key=lambda row: row.status != "missing")
        return tuple(dict.fromkeys(row.todo for row in urgent_first if row.todo))

    def __repr__(self) -> str:
        """Return a text table, with what to do below it instead of in a sixth column."""
        lines = [HEADINGS[:-1], *(astuple(row)[:-1] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*table, "", self.verdict, *(f"- {line}" for line in self.advice)])

    def _repr_html_(self) -> str:
        """Return a table without colours of its own: it takes those of the theme."""
        head = "".join(f'<th scope="col">{heading}</th>' for heading in HEADINGS)
        body = "".join(
            "<tr>"
            + "".join(f'<td style="text-align: left">{html.escape(cell)}</td>' for cell in cells)
            + "</tr>"
            for cells in map(astuple, self.rows)
        )
        return (
            f"<table><caption>{html.escape(self.verdict)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def doctor() -> Report:
    """Look at Python, kernels, packages, data files, memory, disk and the sandbox for grading.

    Returns:
        A report whose last line in a notebook cell is shown as a table.
    """
    looks = (
        _python_rows, _kernel_rows, _package_rows, _data_rows, _machine_rows, _grading_rows
    )  # fmt: skip
    return Report(tuple(row for look in looks for row in look()))


def _python_rows() -> Iterable[Row]:
    from packaging.specifiers import SpecifierSet

    found = ".".join(map(str, sys.version_info[:3]))
    stated = metadata.metadata("privlab")["Requires-Python"] if _installed("privlab") else ""
    wanted = SpecifierSet(stated)
    if wanted.contains(found):
        yield Row("Python", "this kernel", found, _text(wanted), "ok")
    else:
        todo = "Run `make lab PYTHON=/path/to/python3.11`."
        yield Row("Python", "this kernel", found, _text(wanted), "missing", todo)


def _kernel_rows() -> Iterable[Row]:
    """Ask each kernel's interpreter, in a process of its own, what is installed in it."""
    pins = _pins("tf")
    tensorflow = ("tensorflow-cpu", "tensorflow-privacy", "tensorflow-federated")
    kernels = {
        "python3": {"privlab": __version__},
        "privlab-tf": {"privlab": __version__, **{name: pins[name] for name in tensorflow}},
    }
    for kernel, wanted in kernels.items():
        lessons = [entry for entry in LESSONS if entry.kernel == kernel]
        status = "missing" if any(entry.ready for entry in lessons) else "note"
        todo = "Run `make lab`."
        if kernel == "privlab-tf":
            numbers = " and ".join(entry.number for entry in lessons)
            todo = (
                f"Lessons {numbers} need the kernel privlab-tf: run `make lab` (on Linux x86-64 "
                "with Python 3.11) or open them on Binder."
            )
        found = _kernel_versions(kernel, tuple(wanted))
        if found is None:
            yield Row("kernels", kernel, "none that starts", "one that starts", status, todo)
            continue
        for name, version in wanted.items():
            cells = ("kernels", f"{kernel}: {name}", found[name] or "nothing", version)
            if found[name] == version:
                yield Row(*cells, "ok")
            else:
                yield Row(*cells, status, todo)


def _kernel_versions(kernel: str, names: tuple[str, ...]) -> dict[str, str | None] | None:
    """Return the versions of distributions as a kernel sees them; None if it does not start."""
    program = _kernel_program(kernel)
    if program is None:
        return None
    code = (
        "import json, sys\n"
        "from importlib import metadata\n"
        "versions = dict.fromkeys(sys.argv[1:])\n"
        "for name in versions:\n"
        "    try: versions[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\n"
        "print(json.dumps(versions))\n"
    )
    try:
        answer = subprocess.run(
            [program, "-c", code, *names], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return json.loads(answer.stdout)


def _kernel_program(kernel: str) -> str | None:
    """Return the interpreter that Jupyter would start for a kernel; None if it knows no such."""
    if kernel == "privlab-tf" and _has_tensorflow():
        return sys.executable  # it is this one; only the other environment has it registered
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return None
    try:
        program = KernelSpecManager().get_kernel_spec(kernel).argv[0]
    except NoSuchKernel:
        return None
    # Jupyter puts its own interpreter in the place of a bare "python".
    return sys.executable if re.fullmatch(r"python[\d.]*", program) else program


def _package_rows() -> Iterable[Row]:
    """Compare what is installed in this kernel with the pins of its environment."""
    pins = _pins("tf" if _has_tensorflow() else "lab")
    needed = {name for entry in LESSONS if entry.ready for name in entry.needs} | set(BASICS)
    for name, bounds in _bounds().items():
        if name not in pins:
            continue
        found = _installed(name)
        # A build label, as in 2.13.0+cpu, says how it was built, not which version it is.
        if found is not None and found.partition("+")[0] == pins[name]:
            yield Row("packages", name, found, pins[name], "ok")
        elif found is not None and bounds.contains(found, prereleases=True):
            todo = f"{name} {found} should work too; `make lab` installs what was tested."
            yield Row("packages", name, found, pins[name], "note", todo)
        else:
            status = "missing" if name in needed else "note"
            yield Row("packages", name, found or "nothing", pins[name], status, "Run `make lab`.")


def _data_rows() -> Iterable[Row]:
    try:
        from .data import verify_all
    except ImportError:  # numpy or pandas is broken: the packages above say more
        yield Row("data", "all files", "cannot be read", "SHA-256", "missing", "Run `make lab`.")
        return
    report = verify_all()
    wrong = {name: problem for name, problem in report.items() if problem}
    if not wrong:
        yield Row("data", f"{len(report)} files", "SHA-256 right", "SHA-256 right", "ok")
    for name, problem in wrong.items():
        yield Row("data", name, "SHA-256 wrong or no file", "SHA-256 right", "missing", problem)


def _machine_rows() -> Iterable[Row]:
    import psutil

    for what, free, wanted in (
        ("free memory", psutil.virtual_memory().available, FREE_MEMORY_GB),
        ("free disk", shutil.disk_usage(".").free, FREE_DISK_GB),
    ):
        enough = free >= wanted * 1e9
        todo = "" if enough else f"Close or delete what you do not need: {what} is scarce."
        found = f"{free / 1e9:.1f} GB"
        yield Row("machine", what, found, f"{wanted} GB", "ok" if enough else "note", todo)


def _grading_rows() -> Iterable[Row]:
    """Look at the sandbox of `privlab grade`, which no lesson needs."""
    try:
        from .grading.sandbox import NoSandbox, check
    except ImportError:  # numpy or pandas is broken: the packages above say more
        return
    wanted = "0.7 or later"
    program = shutil.which("bwrap")
    if program is None:
        todo = 'To grade a class, install bubblewrap: docs/grading.md, "What the sandbox needs".'
        yield Row("grading", "bubblewrap", "nothing", wanted, "note", todo)
        return
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
        version = told.stdout.split()[-1]
    except (OSError, subprocess.SubprocessError, IndexError):
        version = "no version"
    try:
        check()
    except NoSandbox:
        todo = (
            'To grade a class, make bubblewrap start a sandbox: docs/grading.md, "What the sandbox '
            'needs"; `privlab grade` says what is in the way.'
        )
        yield Row("grading", "bubblewrap", f"{version}, starts none", wanted, "note", todo)
    else:
        yield Row("grading", "bubblewrap", f"{version}, starts a sandbox", wanted, "ok")
