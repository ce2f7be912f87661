"""tools/setup.py, tools/lab.py and the Makefile: real runs in a tiny copy of the checkout.

The copy asks for no packages and brings its own build backend, so nothing is fetched; its path
has a space in it, and its environments are real ones.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent

# Builds an editable wheel of the scratch package. While a file `wait` lies in the checkout it
# holds the installation up, so that a test can interrupt it at a known place.
BACKEND = """
import time, zipfile
from pathlib import Path

METADATA = "Metadata-Version: 2.1\\nName: privlab\\nVersion: 0.1.0\\n"

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    Path("building").touch()
    while Path("wait").exists():
        time.sleep(0.05)
    info = "privlab-0.1.0.dist-info/"
    with zipfile.ZipFile(Path(wheel_directory, "privlab-0.1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("privlab.pth", str(Path.cwd()))
        wheel.writestr(info + "METADATA", METADATA)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "privlab-0.1.0-py3-none-any.whl"
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "privlab"
version = "0.1.0"
"""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = load("setup")
lab = load("lab")
has_tensorflow = setup.no_tensorflow(sys.version_info, *(os.uname()[i] for i in (0, 4))) is None


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    for folder in ("tools", "requirements", "privlab"):
        (root / folder).mkdir(parents=True)
    for file in ("Makefile", "tools/setup.py"):
        shutil.copy(ROOT / file, root / file)
    (root / "requirements/lab.txt").write_text("# nothing\n")
    (root / "requirements/tf.txt").write_text("# nothing\n")
    (root / "privlab/__init__.py").touch()
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(PYPROJECT)
    return root


def run(checkout: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `make` or a script of the checkout to its end."""
    # `make test` must not hand its own options to the `make` that is tested.
    own = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS", name)}
    return subprocess.run(
        command,
        cwd=checkout,
        env={**own, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def start(checkout: Path) -> subprocess.Popen[str]:
    """Start a set-up and return while pip is in the middle of its last command."""
    (checkout / "wait").touch()
    (checkout / "building").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "tools/setup.py", "lab"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: (checkout / "building").exists())
    return process


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# ---------------------------------------------------------------- making, and making again


def test_make_repeat_change_and_move(checkout: Path, tmp_path: Path) -> None:
    # What would break a virtual environment: a false pip, a target elsewhere, another venv.
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/pip.py").write_text("raise SystemExit('the wrong pip')")
    harmful = {
        "PYTHONPATH": str(tmp_path / "junk"),
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_USER": "1",
        "VIRTUAL_ENV": str(tmp_path / "nowhere"),
        "CONDA_PREFIX": str(tmp_path / "nowhere"),
    }
    made = run(checkout, "make", "setup-lab", f"PYTHON={sys.executable}", **harmful)
    assert made.returncode == 0, made.stdout + made.stderr
    assert re.search(r"^lab │ +\d+ s  ready$", made.stdout, re.MULTILINE)
    assert not (tmp_path / "target").exists()

    folder = checkout / ".venv/lab"
    ask = "from importlib.metadata import version as v; import privlab; print(v('privlab'))"
    assert run(tmp_path, str(folder / "bin/python"), "-c", ask).stdout == "0.1.0\n"

    # The second time nothing is done, and soon.
    log = (checkout / ".venv/lab.log").stat().st_mtime_ns
    began = time.monotonic()
    assert run(checkout, "make", "setup-lab", f"PYTHON={sys.executable}").returncode == 0
    assert time.monotonic() - began < 2
    assert (checkout / ".venv/lab.log").stat().st_mtime_ns == log

    # Other requirements go into the environment that is there.
    sentinel = folder / "sentinel"
    sentinel.touch()
    (checkout / "requirements/lab.txt").write_text("# nothing else\n")
    assert run(checkout, sys.executable, "tools/setup.py", "lab").returncode == 0
    assert sentinel.exists()
    assert (checkout / ".venv/lab.log").stat().st_mtime_ns > log

    # An environment cannot be moved: it is made anew.
    moved = checkout.rename(tmp_path / "moved")
    assert run(moved, sys.executable, "tools/setup.py", "lab").returncode == 0
    folder = moved / ".venv/lab"
    assert not (folder / "sentinel").exists()
    assert run(tmp_path, str(folder / "bin/python"), "-c", ask).stdout == "0.1.0\n"

    # A failure takes the stamp away.
    (moved / "requirements/lab.txt").write_text("./no-such-folder\n")
    failed = run(moved, sys.executable, "tools/setup.py", "lab")
    assert failed.returncode == 2
    assert "no-such-folder" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (folder / setup.STAMP).exists()


@pytest.mark.skipif(not has_tensorflow, reason="Python 3.11 on Linux x86-64 only")
def test_both_environments_and_the_kernel(checkout: Path, tmp_path: Path) -> None:
    assert run(checkout, sys.executable, "tools/setup.py", "all").returncode == 0
    file = checkout / ".venv/lab/share/jupyter/kernels/privlab-tf/kernel.json"
    spec = json.loads(file.read_text())
    assert spec["display_name"] == "privlab (TensorFlow)"
    assert spec["argv"][0] == str(checkout / ".venv/tf/bin/python")
    assert spec["env"] == {"TF_CPP_MIN_LOG_LEVEL": "3"}

    # The kernel comes back by itself, and goes where Binder wants it.
    file.unlink()
    assert run(checkout, sys.executable, "tools/setup.py", "lab").returncode == 0
    assert file.exists()
    other = tmp_path / "prefix"
    postbuild = shutil.copy(ROOT / "postBuild", checkout / "postBuild")
    (other / "bin").mkdir(parents=True)
    (other / "bin/python").symlink_to(sys.executable)
    done = run(tmp_path, postbuild, NB_PYTHON_PREFIX=str(other))
    assert done.returncode == 0, done.stderr
    assert (other / "share/jupyter/kernels/privlab-tf/kernel.json").exists()


def test_interrupted_then_repaired(checkout: Path) -> None:
    process = start(checkout)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "Run the same command again" in output
    assert "Traceback" not in output
    assert not [line for line in processes() if str(checkout) in line], "pip is still at work"

    # kill -9 leaves pip at work; the next set-up waits for its end before it deletes anything.
    process = start(checkout)
    process.kill()
    process.communicate()
    (checkout / ".venv/lab/sentinel").touch()
    second = subprocess.Popen(
        [sys.executable, "tools/setup.py", "lab"], cwd=checkout, stdout=subprocess.PIPE, text=True
    )
    assert "waiting for its end" in second.stdout.readline()
    assert (checkout / ".venv/lab/sentinel").exists()
    (checkout / "wait").unlink()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert (checkout / ".venv/lab" / setup.STAMP).exists()
    assert not (checkout / ".venv/lab/sentinel").exists()


def processes() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


# ---------------------------------------------------------------- what can be wrong


def test_without_network(checkout: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/simple"
    (checkout / "requirements/lab.txt").write_text("idna==3.20\n")
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": closed, "PIP_RETRIES": "1"}
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        env[name] = ""
    failed = run(checkout, sys.executable, "tools/setup.py", "lab", **env)
    assert failed.returncode == 2
    assert "could not be fetched from the internet" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_python_versions() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    for minor in range(6, 20):
        allowed = SpecifierSet(requires).contains(f"3.{minor}.0")
        assert (setup.wrong_python((3, minor, 0)) is None) == allowed, minor
    assert "3.10.13 is too old" in setup.wrong_python((3, 10, 13))
    assert "3.14.0 is too new" in setup.wrong_python((3, 14, 0))
    assert "make lab PYTHON=/path/to/python3.11" in setup.wrong_python((3, 8, 1))


def other_pythons() -> Iterator[str]:
    """Interpreters that are too old, as far as there are some."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for minor in range(6, 11):
        on_path = shutil.which(f"python3.{minor}")
        installed = sorted(pyenv.glob(f"3.{minor}.*/bin/python"))
        for path in [*installed, *([on_path] if on_path else [])]:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                subprocess.run([path, "-c", ""], check=True, capture_output=True)
                yield str(path)
                break


def test_an_old_python_gets_a_sentence(checkout: Path) -> None:
    found = list(other_pythons())
    if not found:
        pytest.skip("no old Python on this computer")
    for python in found:
        failed = run(checkout, "make", "lab", f"PYTHON={python}")
        assert failed.returncode == 2
        assert "is too old for this course" in failed.stderr
        assert "Traceback" not in failed.stderr
    assert not (checkout / ".venv").exists()


def test_no_python_at_all(checkout: Path) -> None:
    failed = run(checkout, "make", "lab", "PYTHON=")
    assert failed.returncode == 2
    assert "No Python was found" in failed.stderr


def test_where_tensorflow_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.no_tensorflow((3, 11), "Linux", "x86_64") is None
    assert "PYTHON=/path/to/python3.11" in setup.no_tensorflow((3, 12), "Linux", "x86_64")
    for other in (("Darwin", "arm64"), ("Linux", "aarch64")):
        assert "Binder" in setup.no_tensorflow((3, 11), *other)

    monkeypatch.setattr(setup.platform, "machine", lambda: "aarch64")
    assert setup.main(["tf"]) == 2
    asked = []
    monkeypatch.setattr(setup, "set_up", lambda environments, prefix: asked.extend(environments))
    assert setup.main(["all"]) == 0
    assert asked == [setup.LAB]
    assert "Lessons 09 and 13 need" in capsys.readouterr().out


def test_full_disk() -> None:
    setup.check_space([setup.LAB], free=3 * 10**9, cuda=False)
    setup.check_space([setup.TF], free=3 * 10**9, cuda=True)
    setup.check_space([], free=0, cuda=True)
    with pytest.raises(setup.SetupProblem, match=r"5\.8 GB, 2\.0 GB are free.*make lab-only") as no:
        setup.check_space([setup.LAB, setup.TF], free=2 * 10**9, cuda=False)
    assert "CPU builds" not in str(no.value)
    with pytest.raises(setup.SetupProblem, match=r"6\.8 GB, 3\.0 GB .* CPU builds \(README") as no:
        setup.check_space([setup.LAB], free=3 * 10**9, cuda=True)
    assert "lab-only" not in str(no.value)


def test_where_pytorch_brings_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup.brings_cuda("Linux", "global.timeout='60'\n")
    assert setup.brings_cuda("Linux", ":env:.find-links=''\n")
    assert not setup.brings_cuda("Linux", "global.find-links='/builds'\n")
    assert not setup.brings_cuda("Darwin", "")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://builds.example/cpu")  # pip itself is asked
    assert not setup.brings_cuda("Linux")


def test_the_readme_tells_the_disk_that_setup_asks_for() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    both, lab_only, cuda = re.search(
        r"([\d.]+) GB of disk \(`make lab-only`: ([\d.]+) GB\), on Linux about (\d) GB more", text
    ).groups()
    assert float(cuda) == setup.CUDA
    assert re.findall(r"about (\d) GB more", text) == [cuda, cuda]
    assert f"**How much disk?** {both} GB, as said above" in text
    # What is asked for beyond these is room for pip's downloads, half a gigabyte each.
    assert 0.4 <= setup.LAB.gigabytes - float(lab_only) <= 0.6
    assert 0.4 <= setup.LAB.gigabytes + setup.TF.gigabytes - float(both) <= 1.2


def test_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(setup.SetupProblem, match=r"apt install python3\.\d+-venv"):
        setup.check_tools()


@pytest.mark.parametrize("number", [setup.errno.EROFS, setup.errno.EACCES])
def test_a_folder_that_cannot_be_written(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(setup, "set_up", refuse)
    assert setup.main(["lab"]) == 2
    assert "folder of your own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "disk became full"),
        ("connection broken by 'NewConnectionError(...)'", "from the internet"),
        ("[Errno 13] Permission denied: 'x'", "who owns this folder"),
        ("ERROR: No matching distribution found for torch==9", "not published for Python 3."),
        ("because ensurepip is not available", "-venv"),
        ("something new", "The install failed"),
    ],
)
def test_causes(output: str, sentence: str) -> None:
    assert sentence in setup.cause(output)


# ---------------------------------------------------------------- the Makefile and JupyterLab


def test_help_names_every_target() -> None:
    text = run(ROOT, "make").stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    for target in set(phony.split()) - {"help", "python-there", "setup-all", "setup-lab"}:
        assert f"make {target} " in text


def test_when_a_browser_can_be_opened() -> None:
    display = {"DISPLAY": ":0"}
    assert lab.has_browser(display, "linux", in_container=False)
    assert lab.has_browser({"WAYLAND_DISPLAY": "wayland-0"}, "linux", in_container=False)
    assert lab.has_browser({}, "darwin", in_container=False)
    assert not lab.has_browser({}, "linux", in_container=False)
    assert not lab.has_browser(display, "linux", in_container=True)
    assert not lab.has_browser({"SSH_CONNECTION": "…", **display}, "linux", in_container=False)


def test_jupyterlab_command() -> None:
    assert "--allow-root" in lab.command(browser=True, root=True, extra=[])
    person = lab.command(browser=True, root=False, extra=["--ip=0.0.0.0"])
    assert "--allow-root" not in person
    assert "--no-browser" not in person
    assert person[-1] == "--ip=0.0.0.0"
    assert "--no-browser" in lab.command(browser=False, root=False, extra=[])


def test_the_printed_address_opens_the_first_notebook(tmp_path: Path) -> None:
    clean = {f"JUPYTER_{name}_DIR": str(tmp_path) for name in ("CONFIG", "DATA", "RUNTIME")}
    without_display = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with subprocess.Popen(
        [sys.executable, ROOT / "tools/lab.py", "--ServerApp.port=18888"],
        env={**os.environ, **clean, **without_display},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            address = next(
                found[0]
                for line in server.stdout
                if (found := re.search(r"http://localhost\S+token=\w+", line))
            )
            assert f'"treePath": "{lab.FIRST}"' in fetch(address)
            parts = urllib.parse.urlsplit(address)
            asked = f"http://{parts.netloc}/api/contents/{lab.FIRST}?content=0&{parts.query}"
            assert json.loads(fetch(asked))["type"] == "notebook"
        finally:
            server.kill()


def fetch(address: str) -> str:
    """Fetch a page; the server prints its address a moment before it listens."""
    page = None

    def fetched() -> bool:
        nonlocal page
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            page = urllib.request.urlopen(address, timeout=10).read().decode()
        return page is not None

    wait_for(fetched, seconds=20)
    return page
