"""Run the lessons as Colab would: ``make colab``, or for some of them ``make colab NB="03 04"``.

A fresh environment gets the versions that Colab ships with. Then each lesson is copied alone into
an empty folder, without the repository, and executed from top to bottom: its own bootstrap cell
installs privlab and what the lesson needs. **One thing differs from Colab**: the bootstrap cell's
``git+https://github.com/...`` is replaced by an archive of this checkout, so that the run tests
what is here and not what is published. Before each lesson privlab is uninstalled, so that the
bootstrap cell is at work each time; what other lessons installed stays.

It prints for each lesson what the installation and the rest took, the memory that the kernel and
its processes filled at most (a free machine on Binder has 2 GB), and which packages the bootstrap
cell replaced: some of them are what Colab itself is built on, and it must leave those alone. The
first run needs 6 GB of disk: PyTorch comes with CUDA, as it does on Colab.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbform
import psutil

from privlab.course import LESSONS, REPOSITORY, Lesson
from privlab.grading.execution import ExecutionFailed, execute

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = f"git+https://github.com/{REPOSITORY}"
KERNEL = "privlab-colab"

#: What Colab ships with, as far as the lessons touch it: after the lists of installed packages in
#: Google's repository googlecolab/backend-info (2025); PyTorch is the course's own pin.
SHIPPED = {
    "attrs": "25.1.0",
    "cryptography": "44.0.1",
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
    "ipywidgets": "7.7.1",
    "matplotlib": "3.10.0",
    "numpy": "2.0.2",
    "packaging": "24.2",
    "pandas": "2.2.2",
    "protobuf": "5.29.3",
    "psutil": "5.9.5",
    "pydantic": "2.10.6",
    "requests": "2.32.3",
    "rich": "13.9.4",
    "scikit-learn": "1.6.1",
    "scipy": "1.13.1",
    "torch": "2.13.0",
    "tornado": "6.4.2",
    "tqdm": "4.67.1",
    "typer": "0.15.1",
}

#: Colab's notebook page and kernel are built on these: a bootstrap cell must leave them alone.
#: (The page speaks ipywidgets 7.) Of requests, which Colab pins as well, Flower needs a newer one.
UNTOUCHABLE = ("ipykernel", "ipython", "ipywidgets", "pandas", "tornado")


def archive(path: Path) -> None:
    """Pack the files that git knows or would add, as a download from GitHub holds them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    with tarfile.open(path, "w:gz") as file:
        for name in sorted(filter(None, listed.stdout.split("\0"))):
            if (ROOT / name).exists():
                file.add(ROOT / name, arcname=f"privlab/{name}")


def make_environment(folder: Path, python: str) -> Path:
    """Make an environment with what Colab ships with, unless it is there; return its Python."""
    program = folder / "bin" / "python"
    stamp = folder / "colab.json"
    if stamp.exists() and json.loads(stamp.read_text()) == SHIPPED:
        return program
    print(f"Making an environment like Colab's in {folder}: some minutes, once.", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    pins = [f"{name}=={version}" for name, version in SHIPPED.items()]
    subprocess.run([program, "-m", "pip", "install", "--quiet", *pins], check=True)
    stamp.write_text(json.dumps(SHIPPED))
    return program


def versions(python: Path) -> dict[str, str]:
    """Return name and version of each distribution that is installed."""
    done = subprocess.run(
        [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {each["name"].lower(): each["version"] for each in json.loads(done.stdout)}


@contextmanager
def only_kernel(python: Path) -> Iterator[None]:
    """Let Jupyter know the environment's kernel, and start it without this process's settings."""
    before = os.environ.copy()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "kernels" / KERNEL
        place.mkdir(parents=True)
        command = [str(python), "-Xfrozen_modules=off", "-m", "ipykernel_launcher"]
        command += ["-f", "{connection_file}"]
        spec = {"argv": command, "display_name": KERNEL, "language": "python"}
        (place / "kernel.json").write_text(json.dumps(spec))
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            os.environ.pop(name, None)
        os.environ["JUPYTER_PATH"] = folder
        os.environ["PATH"] = f"{python.parent}{os.pathsep}{before['PATH']}"
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class Memory:
    """Measures twice a second what the processes below this one fill; ``peak`` in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Measure once, now."""
        filled = 0
        for process in psutil.Process().children(recursive=True):
            try:
                more = process.memory_full_info()
            except psutil.Error:  # it has ended
                continue
            # Pages that several processes share are counted once (Linux knows).
            filled += getattr(more, "pss", more.rss)
        self.peak = max(self.peak, filled)

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.look()


def run_lesson(lesson: Lesson, source: str, kernel: str, keep: Path | None = None) -> dict:
    """Execute a lesson alone in an empty folder.

    Args:
        lesson: Which one.
        source: What stands in the place of the published address in its bootstrap cell.
        kernel: The name of the kernel.
        keep: A folder that gets the executed notebook.

    Returns:
        ``install`` and ``run`` in seconds, ``memory`` in bytes, ``problem`` (empty if all is well).
    """
    notebook = nbform.read(nbform.NOTEBOOKS / lesson.file)
    cells = [cell for cell in notebook.cells if "bootstrap" in cell.metadata.get("tags", [])]
    assert len(cells) == 1, lesson.file
    assert PUBLISHED in cells[0].source, lesson.file
    cells[0].source = cells[0].source.replace(PUBLISHED, source)
    notebook.metadata.kernelspec.name = kernel
    start, ends, problem = time.monotonic(), [], ""
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        (Path(folder) / lesson.file).write_text(nbform.dumps(notebook), encoding="utf-8")
        try:
            execute(notebook, Path(folder), 900, lambda: ends.append(time.monotonic()))
        except ExecutionFailed as failure:
            problem = str(failure)
    end = time.monotonic()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / lesson.file).write_text(nbform.dumps(notebook), encoding="utf-8")
    installed = ends[0] if ends else end
    return {
        "install": installed - start,
        "run": end - installed,
        "memory": memory.peak,
        "problem": problem,
    }


def main() -> int:
    """Run the command line; returns 1 where a lesson fails or harms Colab."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].replace("``", ""))
    parser.add_argument("lessons", nargs="*", help="two-digit numbers; all by default")
    parser.add_argument("--python", default="python3.12", help="the Python that Colab has")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv" / "colab")
    parser.add_argument("--keep", type=Path, help="a folder for the executed notebooks")
    options = parser.parse_args()
    if shutil.which(options.python) is None:
        parser.error(f"{options.python} is not here: name yours with --python")
    ready = [each for each in LESSONS if each.ready and each.kernel == "python3"]
    chosen = [each for each in ready if not options.lessons or each.number in options.lessons]
    unknown = set(options.lessons) - {each.number for each in chosen}
    if unknown:
        parser.error(f"no lesson of the lab kernel: {', '.join(sorted(unknown))}")
    python = make_environment(options.folder.resolve(), options.python)
    good = True
    print("lesson  install      run   memory  result", flush=True)
    with tempfile.TemporaryDirectory() as folder, only_kernel(python):
        packed = Path(folder) / "privlab.tar.gz"
        archive(packed)
        for lesson in chosen:
            subprocess.run(
                [python, "-m", "pip", "uninstall", "--quiet", "--yes", "privlab"], check=True
            )
            before = versions(python)
            done = run_lesson(lesson, packed.as_uri(), KERNEL, options.keep)
            after = versions(python)
            replaced = [
                f"{name} {old} → {after.get(name, 'nothing')}"
                for name, old in before.items()
                if after.get(name) != old
            ]
            harm = [each for each in replaced if each.split()[0] in UNTOUCHABLE]
            result = "passed"
            if done["problem"] or harm:
                good, result = False, "FAILED"
            notes = "; ".join(replaced)
            print(
                f"{lesson.number:6}  {done['install']:5.0f} s  {done['run']:5.0f} s  "
                f"{done['memory'] / 1e9:4.1f} GB  {result}"
                + (f" (replaced: {notes})" if notes else ""),
                flush=True,
            )
            if done["problem"]:
                print(re.sub(r"^", "    ", done["problem"], flags=re.MULTILINE), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
