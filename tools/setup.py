"""Make the environments of the course: ``python tools/setup.py lab``, ``tf`` or ``all``.

``lab`` is JupyterLab and what the lessons import. ``tf`` is a second Jupyter kernel, privlab-tf,
for the two TensorFlow lessons (09 and 13): its libraries need versions that cannot live beside
the others. Both are virtual environments in ``.venv``; nothing outside this folder changes.

A stamp in each environment, written last, says what it was made from. An environment with the
right stamp is left alone, one without a stamp was interrupted and is made again.

The standard library is enough to run this file, and it parses on Python 3.6, so that an old
Python gets a sentence and not a syntax error: hence the annotations in quotes.
"""

import argparse
import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venv"
OLDEST = (3, 11)
HEARTBEAT = 5  # seconds between two lines of progress
STAMP = "privlab.stamp"
KERNEL = "privlab-tf"

# What the caller's shell may hold and what would lead pip or Python past the new environment.
HARMFUL = re.compile(
    r"PYTHON(HOME|PATH|STARTUP|USERBASE|EXECUTABLE)|VIRTUAL_ENV.*|__PYVENV_LAUNCHER__|CONDA_.*"
    r"|PIP_(USER|TARGET|PREFIX|ROOT|PYTHON|NO_DEPS|REQUIREMENT|DRY_RUN|LOG)"
)


class Environment(NamedTuple):
    """What makes one environment different from the other."""

    name: str
    newest: "tuple[int, int]"  # Python
    options: "tuple[str, ...]"  # of the pip install that reads the requirement file
    gigabytes: float  # free space to ask for: the folder (2.3 and 2.5) and pip's downloads

    @property
    def folder(self) -> Path:
        """The virtual environment."""
        return VENVS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def requirements(self) -> Path:
        """The pins it is made from."""
        return ROOT / "requirements" / (self.name + ".txt")

    @property
    def log(self) -> Path:
        """Everything pip said, of the last time only."""
        return VENVS / (self.name + ".log")


LAB = Environment("lab", (3, 13), (), 2.8)
TF = Environment("tf", (3, 11), ("--no-deps",), 3.0)
CUDA = 4.0  # gigabytes more of the lab environment, where PyTorch comes with CUDA


class SetupProblem(Exception):
    """What went wrong and what to do, in one paragraph; shown without a traceback."""


def say(text: str) -> None:
    """Print at once, also when make's output goes into a file."""
    print(text, flush=True)


# ---------------------------------------------------------------- what this computer can run


def wrong_python(version: "tuple[int, ...]") -> "str | None":
    """Say what is wrong with a version of Python, or return None.

    Args:
        version: ``sys.version_info``, or its first two or three numbers.
    """
    if OLDEST <= tuple(version[:2]) <= LAB.newest:
        return None
    return (
        "Python {} is too {} for this course: it needs Python 3.11, 3.12 or 3.13 (3.11 for all "
        "lessons). If you have one, name it: make lab PYTHON=/path/to/python3.11".format(
            ".".join(map(str, version[:3])), "old" if tuple(version[:2]) < OLDEST else "new"
        )
    )


def no_tensorflow(version: "tuple[int, ...]", system: str, machine: str) -> "str | None":
    """Say why the tf environment cannot be had here, or return None if it can.

    Args:
        version: ``sys.version_info``, or its first two numbers.
        system: What ``platform.system()`` says.
        machine: What ``platform.machine()`` says.
    """
    right_system = system == "Linux" and machine in ("x86_64", "AMD64")
    if right_system and tuple(version[:2]) == TF.newest:
        return None
    return (
        f"Lessons 09 and 13 need TensorFlow Federated, which exists for Python 3.11 on Linux "
        f"x86-64 only (this is Python {version[0]}.{version[1]} on {system} {machine}): run "
        f"these two on Binder, their badges are in README.md"
        + (", or use make lab PYTHON=/path/to/python3.11." if right_system else ".")
    )


def check_tools() -> None:
    """Raise SetupProblem if this Python cannot make virtual environments."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            version = "{}.{}".format(*sys.version_info)
            raise SetupProblem(
                f"This Python {version} comes without its module {module}, so it cannot make "
                f"virtual environments. On Debian and Ubuntu run: sudo apt install "
                f"python{version}-venv. Then run the same command again."
            )


def brings_cuda(system: str, settings: "str | None" = None) -> bool:
    """Say whether pip will take the build of PyTorch that comes with CUDA.

    It is what the public index has for Linux, on every processor: there the package asks for CUDA's
    packages. PyTorch's CPU builds come from a second place, and win: 2.13.0+cpu is newer for pip
    than 2.13.0.

    Args:
        system: What ``platform.system()`` says.
        settings: What ``pip config list`` says: of pip's files and of the shell's variables.
    """
    if settings is None:
        command = [sys.executable, "-m", "pip", "config", "list"]
        settings = subprocess.run(command, capture_output=True, text=True).stdout
    pairs = (line.partition("=") for line in settings.splitlines())
    given = {name.rpartition(".")[2] for name, _, value in pairs if value.strip("'\"")}
    return system == "Linux" and given.isdisjoint({"extra-index-url", "find-links"})


def check_space(environments: "list[Environment]", free: int, cuda: bool) -> None:
    """Raise SetupProblem if the environments would not fit.

    Args:
        environments: Those that must be made from nothing.
        free: Bytes left on the disk.
        cuda: Whether PyTorch comes with CUDA.
    """
    cuda = cuda and LAB in environments
    needed = sum(environment.gigabytes for environment in environments) + CUDA * cuda
    if free < needed * 1e9:
        ways = ["Make room"]
        if cuda:
            ways.append(
                f"or save {CUDA:.0f} GB with PyTorch's CPU builds (README.md, How much disk?)"
            )
        if TF in environments:
            ways.append(
                f"or leave out lessons 09 and 13 ({TF.gigabytes:.1f} GB) with make lab-only"
            )
        raise SetupProblem(
            f"The disk is too full: the environments need about {needed:.1f} GB, "
            f"{free / 1e9:.1f} GB are free. {', '.join(ways)}. Then run the command again."
        )


# ---------------------------------------------------------------- which environment is ready


def stamp(environment: Environment) -> str:
    """Return two hashes: what the folder depends on, and what is installed in it.

    An environment cannot be moved and cannot change its Python; either makes a new one
    necessary. Other packages can be installed into the old one.
    """
    folder = "{}.{} ".format(*sys.version_info).encode() + os.fsencode(str(ROOT))
    contents = environment.requirements.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    return "".join(hashlib.sha256(part).hexdigest() + "\n" for part in (folder, contents))


def state(environment: Environment) -> str:
    """Return ``"ready"``, ``"stale"`` (install again) or ``"new"`` (make from nothing)."""
    try:
        found = (environment.folder / STAMP).read_text().split()
    except OSError:
        return "new"
    wanted = stamp(environment).split()
    if found[:1] != wanted[:1] or not runs(environment.python):
        return "new"
    return "ready" if found == wanted else "stale"


def runs(python: Path) -> bool:
    """Whether an interpreter starts and has pip: the Python it came from may be gone."""
    try:
        subprocess.run(
            [str(python), "-c", "import pip"],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


# ---------------------------------------------------------------- installing


def clean_environment() -> "dict[str, str]":
    """Return this process's environment without what would break a virtual environment."""
    kept = {name: value for name, value in os.environ.items() if not HARMFUL.fullmatch(name)}
    return {
        **kept,
        "PIP_USER": "0",  # also against `user = true` in the person's pip.conf
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


class Install:
    """One environment in the making: commands that run one after the other.

    Nothing waits in here, so that two of these can run at the same time.
    """

    def __init__(self, environment: Environment, remake: bool, lock: int) -> None:
        self.environment = environment
        self.lock = lock
        self.process: subprocess.Popen[bytes] | None = None
        self.started = time.monotonic()
        self.problem: str | None = None
        pip = [str(environment.python), "-m", "pip", "install"]
        self.commands = [
            pip + list(environment.options) + ["-r", str(environment.requirements)],
            [*pip, "--no-deps", "-e", str(ROOT)],
        ]
        if remake:
            # A Python that runs in a virtual environment, perhaps in the one to be deleted,
            # knows the Python behind it under this name.
            base = getattr(sys, "_base_executable", sys.executable)
            self.commands[:0] = [
                ["rm", "-rf", str(environment.folder)],
                [base, "-m", "venv", str(environment.folder)],
            ]

    def begin(self) -> None:
        """Empty the log and take away the stamp, before anything is changed."""
        self.environment.log.write_bytes(b"")
        with contextlib.suppress(FileNotFoundError):
            (self.environment.folder / STAMP).unlink()

    def advance(self) -> bool:
        """Start the next command if the last one is done; return whether more is to come."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return True
            self.process = None
            if code != 0:
                self.problem = explain(self.environment, self.output())
                return False
        if not self.commands:
            return False
        with self.environment.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.commands.pop(0),
                cwd=str(ROOT),
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # one group, so that stop() reaches what pip starts
                # If this process is killed, the lock stays with pip until that is done too.
                pass_fds=(self.lock,),
            )
        return True

    def finish(self) -> None:
        """Write the stamp: last, and whole or not at all."""
        draft = self.environment.folder / (STAMP + ".new")
        draft.write_text(stamp(self.environment))
        os.replace(str(draft), str(self.environment.folder / STAMP))

    def stop(self) -> None:
        """End the command that is running, if any, with everything it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def output(self) -> str:
        """Return what the commands said so far."""
        return self.environment.log.read_text(encoding="utf-8", errors="replace")

    def report(self, text: str) -> None:
        """Print one line of progress."""
        seconds = time.monotonic() - self.started
        say(f"{self.environment.name:<3} │ {seconds:3.0f} s  {text}")

    def progress(self) -> str:
        """Say how far it is, from pip's own words and from what lies in the folder."""
        lines = self.environment.requirements.read_text(encoding="utf-8").splitlines()
        total = sum(1 for line in lines if re.match(r"[A-Za-z0-9]", line))
        output = self.output()
        if "Installing collected packages" in output:
            done = len(list(self.environment.folder.glob("lib/python3*/site-packages/*.dist-info")))
            return f"installing packages: {min(done, total)} of {total}"
        done = len(re.findall(r"^Collecting ", output, re.MULTILINE))
        if done:
            return f"fetching packages: {min(done, total)} of {total}"
        return "preparing"


def run(installs: "list[Install]") -> None:
    """Run the installs side by side to their end and write their stamps."""
    try:
        for install in installs:
            install.begin()
        running = list(installs)
        beat = time.monotonic()
        while running:
            for install in list(running):
                if install.advance():
                    continue
                running.remove(install)
                if install.problem is None:
                    install.finish()
                install.report("failed" if install.problem else "ready")
            if time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                for install in running:
                    install.report(install.progress())
            time.sleep(0.1)
    finally:
        for install in installs:
            install.stop()
    problems = [install.problem for install in installs if install.problem]
    if problems:
        raise SetupProblem("\n\n".join(problems))


def explain(environment: Environment, output: str) -> str:
    """Say what a failed install means, after the end of its output."""
    tail = "\n".join("  " + line for line in output.splitlines()[-12:])
    where = f"All that was said stands in .venv/{environment.log.name}."
    return f"The end of the output ({environment.name}):\n{tail}\n\n{cause(output)} {where}"


def cause(output: str) -> str:
    """Name the cause of a failure that pip's output gives away."""
    again = "run the same command again."
    if re.search(r"No space left on device|Errno 28\b|Disk quota exceeded", output):
        return "The disk became full. Make room, then " + again
    if re.search(
        r"NewConnectionError|ConnectTimeout|ReadTimeout|ConnectionResetError|ProxyError|SSLError"
        r"|NameResolutionError|Temporary failure in name resolution|Network is unreachable"
        r"|Connection refused|connection broken by|IncompleteRead",
        output,
    ):
        return (
            "The packages could not be fetched from the internet. Check the connection (behind a "
            "proxy set HTTPS_PROXY), then " + again
        )
    if "ensurepip is not available" in output:
        return (
            "Python's module ensurepip is missing: on Debian and Ubuntu run sudo apt install "
            "python{}.{}-venv, then ".format(*sys.version_info)
            + again
        )
    if re.search(r"Permission denied|Read-only file system", output):
        return "A file could not be written: check who owns this folder, then " + again
    if "No matching distribution found" in output:
        return (
            "A version that requirements/ names is not published for Python {}.{}.{} on this "
            "system. Try the newest Python 3.11: make lab PYTHON=/path/to/python3.11.".format(
                *sys.version_info
            )
        )
    return "The install failed. If it was by chance, " + again


# ---------------------------------------------------------------- the second kernel


def register_kernel(prefix: Path) -> None:
    """Make the tf environment known to the Jupyter that lives in a prefix.

    Not part of the stamp but looked at every time: the prefix can be made again without tf.
    """
    spec = {
        "argv": [
            str(TF.python),
            "-Xfrozen_modules=off",  # as ipykernel does it: JupyterLab's debugger wants it
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
        ],
        "display_name": "privlab (TensorFlow)",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {"TF_CPP_MIN_LOG_LEVEL": "3"},  # or TensorFlow's start floods the notebook
    }
    text = json.dumps(spec, indent=1) + "\n"
    file = prefix / "share" / "jupyter" / "kernels" / KERNEL / "kernel.json"
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


# ---------------------------------------------------------------- all together


@contextlib.contextmanager
def locked() -> "Iterator[int]":
    """Keep a second set-up in this folder waiting; yields the lock's file descriptor."""
    import fcntl  # not on Windows, where main() has already said so

    VENVS.mkdir(exist_ok=True)
    with (VENVS / "setup.lock").open("w") as file:
        waited = 0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % HEARTBEAT == 0:
                    say("Another set-up is still at work in this folder: waiting for its end.")
                waited += 1
                time.sleep(1)
        yield file.fileno()


def set_up(environments: "list[Environment]", kernel_prefix: Path) -> None:
    """Bring the environments up to date and register the second kernel."""
    with locked() as lock:
        states = {environment: state(environment) for environment in environments}
        todo = [environment for environment in environments if states[environment] != "ready"]
        if todo:
            check_tools()
            check_space(
                # What an interrupted set-up left behind is deleted first: it makes room.
                [environment for environment in todo if not environment.folder.exists()],
                shutil.disk_usage(str(VENVS)).free,
                brings_cuda(platform.system()),
            )
            names = " and ".join(environment.name for environment in todo)
            say(f"Setting up {names} in .venv: one to three minutes, once.")
            run([Install(each, states[each] == "new", lock) for each in todo])
        if state(TF) == "ready" and (kernel_prefix != LAB.folder or LAB.folder.exists()):
            register_kernel(kernel_prefix)


def main(arguments: "list[str] | None" = None) -> int:
    """Run the command line; returns the exit code, 2 for everything that is explained."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0].replace("``", ""))
    parser.add_argument("what", choices=["lab", "tf", "all"])
    parser.add_argument(
        "--kernel-prefix",
        type=Path,
        default=LAB.folder,
        help="where the kernel privlab-tf is registered (default: the lab environment)",
    )
    options = parser.parse_args(arguments)
    try:
        if os.name != "posix":
            raise SetupProblem("On Windows, run the course in WSL (wsl --install) or on Binder.")
        problem = wrong_python(sys.version_info)
        if problem:
            raise SetupProblem(problem)
        sys.stdout.reconfigure(errors="replace")  # "│" must not fail on an old terminal
        environments = {"lab": [LAB], "tf": [TF], "all": [LAB, TF]}[options.what]
        problem = no_tensorflow(sys.version_info, platform.system(), platform.machine())
        if problem and TF in environments:
            if options.what == "tf":
                raise SetupProblem(problem)
            say("Note: " + problem)
            environments.remove(TF)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
                signal.signal(number, signal.default_int_handler)
        set_up(environments, options.kernel_prefix)
    except SetupProblem as stop:
        print(f"\n{stop}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nStopped. Run the same command again: it repairs what is half done.", file=sys.stderr
        )
        return 2
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        what = "the disk is full" if error.errno == errno.ENOSPC else "it may not be written"
        print(
            f"\nThe folder .venv of this checkout cannot be changed: {what}. Move the checkout to "
            f"a folder of your own (or delete .venv if another user made it), then run the same "
            f"command again.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
