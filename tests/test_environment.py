"""privlab/environment.py: the sentence at the top of a notebook, and the doctor."""

import json
import os
import re
import shutil
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client import kernelspec

import privlab
from privlab import data, environment
from privlab.course import LESSONS
from privlab.environment import EnvironmentProblem, Report, Row, check_lesson, doctor, versions
from privlab.grading import sandbox

ROOT = Path(__file__).resolve().parent.parent
READY_HERE = [entry for entry in LESSONS if entry.ready and entry.kernel == "python3"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions to pretend; what is not named is what it is."""
    pretended: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        found = pretended.get(name, "")
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found or real(name)

    monkeypatch.setattr(metadata, "version", version)
    return pretended


def sentence(number: str) -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        check_lesson(number)
    text = str(caught.value)
    assert text.startswith(f"Lesson {number} cannot run in this kernel (")
    assert text.endswith(".")
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- check_lesson


@pytest.mark.parametrize("entry", READY_HERE, ids=lambda entry: entry.number)
def test_ready_lessons_can_start_here_and_at_once(entry) -> None:
    privlab.start(entry.number)
    best = min(timed(check_lesson, entry.number) for _ in range(5))
    assert best < 0.1


def timed(function, *arguments) -> float:
    began = time.process_time()
    function(*arguments)
    return time.process_time() - began


def test_unknown_lesson() -> None:
    with pytest.raises(ValueError, match="00 to 21"):
        check_lesson("99")


def test_missing_and_wrong_packages_in_one_sentence(installed) -> None:
    installed.update({"faker": None, "scikit-learn": "1.2.2", "pandas": "4.1"})
    text = sentence("01")
    assert "faker is missing" in text
    assert "scikit-learn 1.2.2 is installed, >=1.6, <1.8 is needed" in text
    assert "pandas 4.1 is installed" in text
    assert "run `make lab`" in text


def test_what_only_the_command_line_needs_is_not_asked_for(installed) -> None:
    installed.update(dict.fromkeys(("typer", "rich")))  # so it is in the kernel privlab-tf
    check_lesson("01")


def test_too_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert "it runs Python 3.10, 3.11 is needed" in sentence("00")


def test_tensorflow_lesson_in_another_kernel() -> None:
    text = sentence("09")
    assert 'choose the kernel "privlab (TensorFlow)"' in text
    assert "`make lab` (on Linux x86-64 with Python 3.11)" in text
    assert "Binder" in text


def test_other_lesson_in_the_tensorflow_kernel(installed) -> None:
    installed.update({"tensorflow-cpu": "2.14.1", "faker": None})
    assert 'choose the kernel "Python 3 (ipykernel)"' in sentence("01")
    check_lesson("09")


def test_on_colab(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed["faker"] = None
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert "restart session" in sentence("01").lower()


def test_jupyter_shows_the_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    shell.run_cell("import privlab; privlab.start('09')")
    shown = "".join(capsys.readouterr())
    assert shown.strip().startswith("Lesson 09 cannot run in this kernel")
    assert len(shown.strip().splitlines()) == 1


# ---------------------------------------------------------------- doctor


@pytest.fixture(scope="module")
def report() -> Report:
    return doctor()


def rows(report: Report, area: str, what: str = "") -> list[Row]:
    return [row for row in report.rows if row.area == area and row.what.startswith(what)]


def test_the_tested_environment_is_healthy(report: Report) -> None:
    assert report.ok, report
    areas = {"Python", "kernels", "packages", "data", "machine", "grading"}
    assert {row.area for row in report.rows} == areas
    assert all(row.status == "ok" for row in rows(report, "packages")), report
    assert all(row.todo for row in report.rows if row.status != "ok")


def test_report_says_nothing_about_this_computers_folders(report: Report) -> None:
    for shown in (repr(report), report._repr_html_()):
        assert not re.search(r"(?<![<\w-])/\w+/", shown)
        assert str(ROOT) not in shown


def test_text_table_is_aligned() -> None:
    report = Report(
        (
            Row("packages", "a", "1", "1", "ok"),
            Row("kernels", "long name", "", "2", "note", "Do this."),
            Row("data", "c", "none", "3", "missing", "Do that first."),
        )
    )
    assert repr(report).splitlines() == [
        "area      what       found  wanted  status",
        "packages  a          1      1       ok",
        "kernels   long name         2       note",
        "data      c          none   3       missing",
        "",
        "Something that the lessons need is missing.",
        "- Do that first.",
        "- Do this.",
    ]
    assert not report.ok
    assert Report(report.rows[:2]).ok


def test_html_table_is_sound_and_without_colours(report: Report) -> None:
    strange = Report((*report.rows, Row("data", "<b>", "&", "", "missing", "x < y")))
    page = strange._repr_html_()
    assert "<b>" not in page
    assert "color" not in page
    assert page.count('<th scope="col">') == 6

    opened: list[str] = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Balanced().feed(page)
    assert opened == []


def test_packages_against_pins_and_bounds(installed) -> None:
    installed.update({"pandas": "3.0.0", "scikit-learn": "1.9.0", "faker": None, "rich": None})
    installed["jupyterlab"] = None
    report = doctor()
    assert not report.ok
    found = {row.what: row for row in rows(report, "packages")}
    assert (found["pandas"].status, found["pandas"].found) == ("note", "3.0.0")
    assert found["scikit-learn"].status == "missing"
    assert (found["faker"].status, found["faker"].found) == ("missing", "nothing")
    # No lesson needs these two: Colab has no JupyterLab, the TensorFlow kernel no command line.
    assert found["rich"].status == found["jupyterlab"].status == "note"
    assert found["numpy"].status == "ok"


def test_damaged_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "verify_all", lambda: {"a.csv": None, "b.csv": "b.csv is damaged."})
    report = doctor()
    assert [row.what for row in rows(report, "data")] == ["b.csv"]
    assert not report.ok
    assert "b.csv is damaged." in report.advice


def test_scarce_memory_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "FREE_MEMORY_GB", 10**6)
    report = doctor()
    assert report.ok
    assert [row.status for row in rows(report, "machine")] == ["note", "ok"]


BROKEN = "echo bubblewrap 0.6.1; [ $1 = --version ] || { echo /no/such >&2; exit 1; }"
STRANGE = "exit 1"


@pytest.mark.parametrize(
    ("program", "found", "todo"),
    [
        (None, "nothing", "install bubblewrap"),
        (BROKEN, "0.6.1, starts none", "`privlab grade` says what is in the way"),
        (STRANGE, "no version, starts none", "`privlab grade` says what is in the way"),
    ],
)
def test_a_sandbox_that_does_not_start_is_a_note(
    program: str | None, found: str, todo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program:
        path = tmp_path / "bwrap"
        path.write_text(f"#!/bin/sh\n{program}\n")
        os.chmod(path, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if program else str(tmp_path))
    sandbox.check.cache_clear()
    try:
        (row,) = environment._grading_rows()
    finally:
        sandbox.check.cache_clear()
    assert (row.status, row.found, row.wanted) == ("note", found, "0.7 or later")
    assert todo in row.todo
    assert "such" not in row.todo


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_sandbox_that_starts(report: Report) -> None:
    (row,) = rows(report, "grading", "bubblewrap")
    assert row.status == "ok"
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?, starts a sandbox", row.found)


def test_versions_are_of_what_is_here(installed) -> None:
    before = versions()
    assert before[0] == f"Python {'.'.join(map(str, sys.version_info[:3]))}"
    assert f"numpy {metadata.version('numpy')}" in before
    installed.update({"numpy": "9.9", "torch": None})
    assert len(set(versions()) - set(before)) == 2


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Register a false privlab-tf with a given command, or none."""

    def register(*argv: str) -> None:
        class Manager:
            def get_kernel_spec(self, name: str):
                if name == "python3":
                    return kernelspec.KernelSpec(argv=["python3"])
                if not argv:
                    raise kernelspec.NoSuchKernel(name)
                return kernelspec.KernelSpec(argv=list(argv))

        monkeypatch.setattr(kernelspec, "KernelSpecManager", Manager)

    return register


@pytest.mark.parametrize("ready", [False, True])
def test_missing_kernel_matters_once_a_lesson_needs_it(
    ready: bool, kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        environment,
        "LESSONS",
        [replace(entry, ready=ready and entry.number == "09") for entry in LESSONS],
    )
    for argv in ((), ("/nowhere/bin/python",), ("/bin/false",)):
        kernel(*argv)
        report = doctor()
        (row,) = rows(report, "kernels", "privlab-tf")
        assert (row.status, row.found) == ("missing" if ready else "note", "none that starts")
        assert "Lessons 09 and 13 need the kernel privlab-tf" in row.todo
        assert report.ok != ready
        assert "nowhere" not in repr(report)


def test_kernel_reports_its_versions(kernel, tmp_path: Path) -> None:
    wanted = environment._pins("tf")
    versions = {
        "privlab": privlab.__version__,
        "tensorflow-cpu": wanted["tensorflow-cpu"],
        "tensorflow-privacy": "0.8.0",
        "tensorflow-federated": None,
    }
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    os.chmod(program, 0o755)
    kernel(str(program))
    found = {row.what.split(": ")[1]: row for row in rows(doctor(), "kernels", "privlab-tf")}
    assert [row.status == "ok" for row in found.values()] == [True, True, False, False]
    assert found["tensorflow-privacy"].found == "0.8.0"
    assert found["tensorflow-federated"].found == "nothing"


def test_outside_a_checkout_pins_come_from_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_requirements").mkdir()
    (tmp_path / "_requirements/lab.txt").write_text("# x\nsome-thing==1.0.post1  # via y\n")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert environment._pins("lab") == {"some-thing": "1.0.post1"}
