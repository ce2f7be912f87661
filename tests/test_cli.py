"""The command `privlab`, as a person types it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import privlab
from privlab import environment
from privlab.cli import app
from privlab.environment import Report, Row


def test_the_installed_command(tmp_path: Path) -> None:
    """The real program, from another folder."""
    program = Path(sys.executable).with_name("privlab")
    done = subprocess.run([program, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"privlab {privlab.__version__}\n")


def test_help_helps() -> None:
    for arguments in ([], ["--help"]):
        result = CliRunner().invoke(app, arguments)
        assert "attacked, measured and graded" in result.output
        assert re.search(r"doctor +Check this computer", result.output)
    assert "Ends with code 1" in CliRunner().invoke(app, ["doctor", "--help"]).output


def test_unknown_command() -> None:
    result = CliRunner().invoke(app, ["doktor"])
    assert result.exit_code == 2
    assert "doktor" in result.output


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("note", 0), ("missing", 1)])
def test_doctor(status: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = "" if status == "ok" else "Do [this] first."
    row = Row("packages", "pandas", "1.0", "[2.0]", status, todo)
    monkeypatch.setattr(environment, "doctor", lambda: Report((row,)))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    assert re.search(rf"packages +. +pandas +. +1\.0 +. +\[2\.0\] +. +{status}", result.output)
    assert ("- Do [this] first." in result.output) == bool(todo)
