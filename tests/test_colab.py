"""What can be known about Colab without Colab; ``make colab`` runs the lessons as it would."""

import subprocess
import sys
import tarfile
import tomllib

import colab
import nbform
import pytest
from packaging.requirements import Requirement

from privlab.course import LESSONS
from privlab.environment import EnvironmentProblem, check_lesson

READY = [lesson for lesson in LESSONS if lesson.ready]
PROJECT = tomllib.loads((nbform.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def on_colab():
    """What privlab and the extras of the bootstrap cells ask for."""
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"]]
    for name in ("lessons", "flower", "pysyft", "encryption"):
        asked += extras[name]
    return [Requirement(line) for line in asked]


def test_colab_keeps_what_it_is_built_on():
    """Where the version that Colab has is good enough, pip leaves it alone."""
    asked = {each.name: each.specifier for each in on_colab()}
    checked = [name for name in colab.UNTOUCHABLE if name in asked]
    assert {"ipython", "ipywidgets", "pandas"} <= set(checked)
    for name in checked:
        assert asked[name].contains(colab.SHIPPED[name]), f"{name}{asked[name]}"


def test_what_is_loaded_before_the_install_stays():
    """numpy, scipy and the like: an exchange of those would need a restart of the session."""
    for each in on_colab():
        if each.name in ("numpy", "scipy", "matplotlib", "scikit-learn", "torch", "psutil", "tqdm"):
            assert each.specifier.contains(colab.SHIPPED[each.name]), str(each)


@pytest.mark.parametrize("lesson", READY, ids=lambda lesson: lesson.file)
def test_the_address_in_the_bootstrap_cell_can_be_replaced(lesson):
    cells = nbform.read(nbform.NOTEBOOKS / lesson.file).cells
    (cell,) = [cell for cell in cells if "bootstrap" in cell.metadata.get("tags", [])]
    assert cell.source.count(colab.PUBLISHED) == 1


def test_the_archive_is_what_pip_can_install(tmp_path):
    if subprocess.run(["git", "status"], cwd=nbform.ROOT, capture_output=True).returncode != 0:
        pytest.skip("not a git checkout")
    colab.archive(tmp_path / "privlab.tar.gz")
    with tarfile.open(tmp_path / "privlab.tar.gz") as file:
        names = set(file.getnames())
    assert {
        "privlab/pyproject.toml",
        "privlab/privlab/__init__.py",
        "privlab/data/README.md",
        "privlab/requirements/lab.txt",
    } <= names
    assert not any("/.venv/" in name or name.endswith(".pyc") for name in names)


def test_memory_of_processes_is_measured():
    fill = "import time; held = b'x' * 200_000_000; print(); time.sleep(60)"
    with colab.Memory() as memory:
        child = subprocess.Popen([sys.executable, "-c", fill], stdout=subprocess.PIPE)
        child.stdout.readline()
        memory.look()
        child.kill()
        child.wait()
        child.stdout.close()
    assert 200e6 < memory.peak < 400e6


@pytest.mark.parametrize(
    "number", [lesson.number for lesson in READY if lesson.kernel != "python3"]
)
def test_a_lesson_that_colab_cannot_run_says_so(number, monkeypatch):
    (lesson,) = [each for each in READY if each.number == number]
    first = nbform.read(nbform.NOTEBOOKS / lesson.file).cells[0].source
    assert "Binder" in first.partition("**Time:**")[2]
    assert "Colab's Python is too new" in first.partition("**Time:**")[2]
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    with pytest.raises(EnvironmentProblem) as problem:
        check_lesson(lesson.number)
    assert str(problem.value).endswith(
        "open this lesson on Binder, because Colab's Python is too new for it."
    )
