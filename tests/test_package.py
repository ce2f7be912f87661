"""The package as a whole: light to import, pinned, the same everywhere, clean."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "privlab").rglob("*.py"))
HEAVY = {
    *("torch", "opacus", "tensorflow", "tensorflow_privacy", "tensorflow_federated", "jax"),
    *("flwr", "syft", "tenseal", "mpyc", "diffprivlib", "sklearn", "pycanon"),
    *("cryptography", "nacl", "trustme", "requests"),
}


def pins(name: str) -> dict[str, str]:
    """Name and version of each line of a requirement file; any other line is an error."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        text = line.split("#")[0].strip()
        if text:
            match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][\w.]*)", text)
            assert match, f"{name}: not `name==version`: {line}"
            assert match[1] not in found, f"{name}: {match[1]} stands there twice"
            found[match[1]] = match[2]
    return found


# ---------------------------------------------------------------- import


def test_import_is_light() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import privlab;"
        "print(time.perf_counter() - began, *sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.2
    loaded = set(runs[0].stdout.split()[1:])
    assert not loaded & (HEAVY | {"numpy", "pandas", "matplotlib", "IPython", "typer"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    module_level = [
        name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    ]
    assert not {name.split(".")[0] for name in module_level} & HEAVY


# ---------------------------------------------------------------- requirements


@pytest.mark.parametrize("name", ["lab.txt", "tf.txt"])
def test_every_version_is_pinned(name: str) -> None:
    assert len(pins(name)) > 50


def test_direct_dependencies_are_pinned_within_their_bounds() -> None:
    pinned = pins("lab.txt")
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in (line for group in groups for line in group):
        requirement = Requirement(line)
        assert requirement.name in pinned, f"{requirement.name}: run `make lock`"
        assert requirement.specifier.contains(pinned[requirement.name]), line


def test_the_tensorflow_pins_fit_what_notebooks_use() -> None:
    pinned = pins("tf.txt")
    bounds = {each.name: each.specifier for each in map(Requirement, PROJECT["dependencies"])}
    for name in ("numpy", "pandas", "scipy", "matplotlib", "ipython", "tqdm"):
        assert bounds[name].contains(pinned[name]), name


# ---------------------------------------------------------------- the same everywhere


def test_conda_and_binder_get_the_same_environment() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == [
        "python=3.11",
        "pip",
        {"pip": ["-r requirements/lab.txt", "-e ."]},
    ]
    assert os.access(ROOT / "postBuild", os.X_OK)  # Binder runs it as a program
    assert "tools/setup.py tf --kernel-prefix" in (ROOT / "postBuild").read_text()


def test_the_public_repository_runs_the_same_tests() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    assert {"run": "make test"} in job["steps"]
    assert any(step.get("with", {}).get("python-version") == "3.11" for step in job["steps"])


def test_no_file_says_where_packages_come_from() -> None:
    hosts = ("py" + "pi.org", "python" + "hosted.org", "ana" + "conda.org", "index-" + "url=")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes().lower()
            for host in hosts:
                assert host.encode() not in content, f"{name} names {host}"


# ---------------------------------------------------------------- style


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
