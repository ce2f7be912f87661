"""A learner's code in a process of its own, shut in by bubblewrap.

Inside there is no network, no file of this machine but Python, the package without its exercises,
and the course's data; everything is read-only but two small folders in memory. Limits hold for the
code and all it starts: memory, processes, threads, files, CPU, time. The tests of an exercise run
outside and ask through a pipe (:class:`SandboxPeer`); only plain data cross it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..data import data_dir
from ..exercise import NotTried, Wrong, listed
from ..wire import NotPlain, pack, unpack
from .syscalls import rules

PACKAGE = Path(__file__).resolve().parent.parent

#: Folders of this machine that can be read inside, beside those of the system.
VISIBLE = frozenset({Path(sys.prefix), Path(sys.base_prefix), PACKAGE, data_dir()})

#: Settings of installers, which may hold passwords: what lies there is not seen inside.
_SETTINGS = frozenset(
    Path(prefix, name)
    for prefix in (sys.prefix, sys.base_prefix)
    for name in ("pip.conf", ".condarc")
)

#: Seconds between two looks at what the processes inside use.
_PULSE = 0.1

#: So few connections hold too little to look at each, which is slow.
_FEW = 16

#: Seconds that Python may take to start inside.
_START = 60

#: Seconds to wait for processes that were killed.
_PATIENCE = 10

#: CPU seconds more until the kernel ends a process: we come first, and say why.
_GRACE = 5

#: Where Linux tells whether AppArmor keeps bubblewrap from its work, as on Ubuntu.
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


class NoSandbox(RuntimeError):
    """Code cannot be shut in here; the message says what to do."""


class Dead(BaseException):
    """The process inside is gone or was ended; the message says why, for the learner.

    No plain ``Exception``: a test that expects one of those must not swallow it.

    Args:
        why: The reason.
        slow: Whether it took too long: it would again.
        cell: The number of the cell that alone took too long, counted from 0.
    """

    def __init__(self, why: str, slow: bool = False, cell: int | None = None):
        super().__init__(why)
        self.slow, self.cell = slow, cell


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    Attributes:
        seconds: Wall-clock time of all cells together, and of each question.
        cpu: CPU seconds, all processes inside together.
        memory: Bytes, all processes inside together.
        processes: How many.
        threads: How many, of all processes inside together.
        descriptors: How many files, pipes and sockets may be open, of all processes together.
        disk: Bytes in each of the two folders that can be written to.
        files: How many, in both together: even empty ones take memory.
        reply: Bytes of one answer, as JSON.
        protected: False runs the code as the user who grades, with all that they can read, change
            and send: for a machine that is thrown away afterwards. The time limits, the limits of
            memory and processes, and the judge outside the process remain.
    """

    seconds: float = 60
    cpu: int = 120
    memory: int = 3 << 30
    processes: int = 32
    threads: int = 256
    descriptors: int = 1_000
    disk: int = 64 << 20
    files: int = 20_000
    reply: int = 16 << 20
    protected: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "protected":
                if not isinstance(value, bool):
                    raise ValueError(f"protected must be True or False, not {value!r}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} must be a number above 0, not {value!r}")


def command(limits: Limits) -> list[str]:
    """Return bubblewrap's command line, up to the program that is to run inside.

    Raises:
        NoSandbox: There is no bubblewrap, or it does not work here.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise NoSandbox(
            "Submissions are run in a sandbox, and bubblewrap is not installed. On Debian and "
            "Ubuntu: sudo apt install bubblewrap; on Fedora: sudo dnf install bubblewrap. It must "
            "be version 0.7 or later (Debian 12, Ubuntu 24.04). macOS has none: grade in a Linux "
            "container or virtual machine. (On a machine that is thrown away afterwards, "
            "--unprotected does without.)"
        )
    options = [
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--clearenv"),
        *("--ro-bind", "/usr", "/usr", "--dev", "/dev", "--proc", "/proc"),
        # Where root grades, the kernel's settings below it would obey: they are root's own files.
        *("--remount-ro", "/proc"),
        # What is mapped from /dev/zero, shared, is memory that stands in nobody's account.
        *("--ro-bind", "/dev/null", "/dev/zero"),
        *("--size", str(limits.disk), "--tmpfs", "/dev/shm"),
        # Terminals are counted for the whole machine.
        *("--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts", "--remount-ro", "/dev"),
        *("--size", str(limits.disk), "--tmpfs", "/tmp", "--dir", "/box"),
    ]
    for path in ("/lib", "/lib64", "/bin"):
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            options += ["--ro-bind", path, path]
    if os.path.exists("/etc/ld.so.cache"):
        options += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    # Where the course itself lies below /tmp, the folders above it must not be writable, either.
    above = {
        str(Path(*path.parts[:3]))
        for path in VISIBLE
        if path.parts[:2] == ("/", "tmp") and len(path.parts) > 3
    } - set(map(str, VISIBLE))
    for folder in sorted(above):
        options += ["--tmpfs", folder]
    for path in sorted(VISIBLE, key=lambda path: len(path.parts)):
        options += ["--ro-bind", str(path), str(path)]
    for path in sorted(_SETTINGS):
        if path.is_file() and not path.is_symlink():
            options += ["--ro-bind", "/dev/null", str(path)]
    covered = [str(PACKAGE / "exercises"), str(PACKAGE / "grading")]
    for folder in covered:
        options += ["--tmpfs", folder]
    worker = [PACKAGE / "grading" / name for name in ("__init__.py", "worker.py")]
    for path in worker:
        options += ["--ro-bind", str(path), str(path)]
    for folder in (*covered, *sorted(above)):
        options += ["--remount-ro", folder]
    for name, value in _environment("/tmp").items():
        options += ["--setenv", name, value]
    return [bwrap, *options, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def _environment(home: str) -> dict[str, str]:
    """Return the variables that a submission sees, and no others."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PACKAGE.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        # One thread each: submissions are graded side by side.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _start(limits: Limits, home: str, *program: str, **pipes: int) -> subprocess.Popen[bytes]:
    """Start a Python program inside; ``home`` is where it works if it is not shut in."""
    if not limits.protected:
        return subprocess.Popen(
            [sys.executable, *program],
            env=_environment(home),
            cwd=home,
            start_new_session=True,
            **pipes,
        )
    start = command(limits)
    with tempfile.TemporaryFile() as file:
        try:
            file.write(rules())
        except ValueError as problem:
            raise NoSandbox(f"The sandbox cannot filter system calls here: {problem}.") from None
        file.seek(0)
        start[-1:-1] = ["--seccomp", str(file.fileno())]
        return subprocess.Popen(
            [*start, sys.executable, *program],
            pass_fds=[file.fileno()],
            env={},
            start_new_session=True,
            **pipes,
        )


def keep_out(what: str, path: Path) -> None:
    """Raise ``ValueError`` if students' code could read a file or a folder."""
    for folder in (*VISIBLE, Path("/usr")):
        if path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{what}: {path} lies in {folder}, which students' code can read: work in another "
                "folder"
            )


@functools.cache
def check() -> None:
    """Raise NoSandbox where code cannot be shut in."""
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    tried = _start(
        Limits(), "/tmp", "-c", "import privlab.wire", stdin=nothing, stdout=nothing, stderr=pipe
    )
    told = tried.communicate()[1].decode(errors="replace").strip()
    if tried.returncode:
        raise NoSandbox(_why_not(told[-300:]))


def _why_not(told: str) -> str:
    """Say why nothing runs inside, from the end of what was written on standard error."""
    lines = told.splitlines() or ["it says nothing"]
    if not lines[-1].startswith("bwrap: "):
        return (
            f"In the sandbox the course does not start: {lines[-1]}. Code inside can read the "
            f"system's own folders and {', '.join(sorted(map(str, VISIBLE)))}. Packages in other "
            "places, such as ~/.local, are not there: install them into the course's environment."
        )
    why = f"bubblewrap does not work here: {lines[-1]}."
    if "--size" in told:  # not known before, and refused to one that runs as root
        return f"{why} It must be 0.7 or later (Debian 12, Ubuntu 24.04), and not setuid."
    if _APPARMOR.is_file() and _APPARMOR.read_text().strip() == "1":
        why += (
            " AppArmor keeps programs from making user namespaces, as on Ubuntu since 23.10: "
            "docs/grading.md tells how to allow it to bubblewrap alone. Until the next start, this "
            "allows it to all: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0."
        )
    return (
        f"{why} Inside a container it needs user namespaces as well (for Docker: --security-opt "
        "seccomp=unconfined --security-opt systempaths=unconfined)."
    )


class SandboxPeer:
    """Calls a learner's functions in a sandbox, as :class:`privlab.exercise.LocalPeer` does here.

    Use it in a ``with`` statement. When the process inside dies, each further call raises
    :class:`Dead` with the reason: make a new one for the next exercise.

    Args:
        cells: Python code, run one after the other; one that fails does not stop the next.
        limits: What the code may use.

    Attributes:
        problems: Which cells failed and why, as the code inside tells it.
        dead: Why the process inside is gone, or None.

    Raises:
        Dead: The cells ended the process, or used more than they may.
        NoSandbox: Code cannot be shut in here.
    """

    def __init__(self, cells: Sequence[str], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        if self._limits.protected:
            check()
        self._home = tempfile.TemporaryDirectory(prefix="privlab-", ignore_cleanup_errors=True)
        self.dead: str | None = None
        self._number = 0
        self._rest = bytearray()
        self._process = _start(
            self._limits,
            self._home.name,
            *("-m", "privlab.grading.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(stream.fileno(), False)
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, daemon=True)
        self._guard.start()
        inside = {
            "CPU": int(self._limits.cpu) + _GRACE,
            "FSIZE": self._limits.disk,
            "NOFILE": 256,
            "CORE": 0,
            # Where whoever grades may work with sound, their processes could take a whole core.
            "RTPRIO": 0,
            "MSGQUEUE": 0,
            "DATA": self._limits.memory,
        }
        if self._limits.protected and _counted_inside():
            # Above what _watch allows: it comes first, and says why. Not even this holds for root.
            inside["NPROC"] = self._limits.processes + self._limits.threads
        self.problems = []
        try:
            # Until here no line of the submission has run: a busy computer is not its fault.
            self._exchange({"limits": inside}, time.monotonic() + _START)
            deadline = time.monotonic() + self._limits.seconds
            for number, code in enumerate(cells):
                if code:
                    self._run(number, code, deadline)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SandboxPeer:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def call(self, name: str, args: tuple | None, kwargs: dict) -> Any:
        """Call a function of the learner (``args=None`` reads a variable)."""
        args = None if args is None else pack(tuple(args))
        kwargs = {"$dict": [[key, pack(value)] for key, value in kwargs.items()]}
        return self._value(name, do="call", args=args, kwargs=kwargs)

    def sample(self, name: str, inputs: list[tuple], choices: list[int], seed: int) -> list[Any]:
        """Call a random function of the learner once for each choice among some inputs."""
        outputs = self._value(
            name,
            do="sample",
            inputs=pack([tuple(args) for args in inputs]),
            choices=[int(choice) for choice in choices],
            seed=seed,
        )
        # The process inside need not be honest about how many there are, or about anything else.
        try:
            return listed(outputs, len(choices))
        except (TypeError, ValueError, KeyError):
            raise Wrong(f"What `{name}` gives cannot be read.") from None

    def close(self) -> None:
        """End everything inside; return when it is gone."""
        self._end("it was closed.")
        self._guard.join()
        # Not before: a pipe's number may be another file's as soon as it is closed.
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._home.cleanup()

    # ---- asking

    def _run(self, number: int, code: str, deadline: float) -> None:
        began = time.monotonic()
        try:
            answer = self._exchange({"do": "cell", "cell": number, "code": code}, deadline)
        except Dead as dead:
            if dead.slow and time.monotonic() - began > 0.9 * self._limits.seconds:
                dead.cell = number
            raise
        if answer.get("problem"):
            self.problems.append(str(answer["problem"])[:400])

    def _value(self, name: str, **question: Any) -> Any:
        answer = self._exchange({"name": name, **question})
        if "value" in answer:
            try:
                return unpack(answer["value"])
            except NotPlain as problem:
                raise Wrong(f"`{name}` gives {problem}.") from None
        if "not_tried" in answer:
            raise NotTried(name)
        raise Wrong(str(answer.get("wrong"))[:1000])

    def _exchange(self, question: dict[str, Any], deadline: float | None = None) -> dict[str, Any]:
        """Ask and wait for the answer; whatever else comes is the end of the process."""
        if self.dead:
            raise Dead(self.dead)
        slow = False
        deadline = deadline or time.monotonic() + self._limits.seconds
        line = json.dumps(question).encode() + b"\n"
        try:
            self._send(line, deadline)
            answer = json.loads(self._line(deadline))
        except TimeoutError:
            slow = True
            self._end(f"it took longer than {self._limits.seconds:g} s. Does a loop never end?")
        except (BrokenPipeError, EOFError):
            self._end("it ended its own process.")
        except (ValueError, RecursionError):
            self._end("its process gave what is no answer.")
        else:
            if isinstance(answer, dict) and answer.get("number") == self._number:
                self._number += 1
                return answer
            self._end("its process gave what is no answer.")
        raise Dead(self.dead or "it is gone.", slow)

    def _send(self, data: bytes, deadline: float) -> None:
        pipe = self._process.stdin.fileno()
        view = memoryview(data)
        while view:
            self._wait(pipe, "write", deadline)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(pipe, view[: 1 << 16]) :]

    def _line(self, deadline: float) -> bytes:
        pipe = self._process.stdout.fileno()
        parts, size = [bytes(self._rest)], len(self._rest)
        self._rest.clear()
        while True:
            # Only what is new is searched: a long answer arrives in many pieces.
            end = parts[-1].find(b"\n")
            if end >= 0:
                self._rest += parts[-1][end + 1 :]
                parts[-1] = parts[-1][:end]
                return b"".join(parts)
            if size > self._limits.reply:
                self._end(f"it returned more than {self._limits.reply >> 20} MB.")
                raise EOFError
            self._wait(pipe, "read", deadline)
            with contextlib.suppress(BlockingIOError):
                part = os.read(pipe, 1 << 20)
                if not part:
                    raise EOFError
                parts.append(part)
                size += len(part)

    @staticmethod
    def _wait(pipe: int, direction: str, deadline: float) -> None:
        left = deadline - time.monotonic()
        lists = ([pipe], []) if direction == "read" else ([], [pipe])
        if left <= 0 or not any(select.select(*lists, [], left)):
            raise TimeoutError

    # ---- watching

    def _watch(self) -> None:
        """End everything inside once it uses more than it may, counted over all processes."""
        try:
            top = psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            return
        spent: dict[psutil.Process, float] = {}
        while not self._over.wait(_PULSE):
            try:
                inside = top.children(recursive=True)
            except psutil.NoSuchProcess:
                return
            if not self._limits.protected:
                inside.insert(0, top)
            if why := self._too_much(inside, spent):
                self._end(why)
                return

    def _too_much(self, inside: list[psutil.Process], spent: dict[psutil.Process, float]) -> str:
        """Say what the processes inside use too much of, "" if nothing.

        Args:
            inside: All processes.
            spent: CPU seconds of each, ended ones too; brought up to date.
        """
        limits = self._limits
        if len(inside) > limits.processes:
            return f"it started more than {limits.processes} processes."
        used = threads = descriptors = 0
        cpu = 0.0
        for process in inside:
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                times = process.cpu_times()
                spent[process] = times.user + times.system
                cpu += sum(times[:4])  # with ended children
                threads += process.num_threads()
                shows = _living(process)
                used += shows.memory_info().rss
                try:
                    descriptors += shows.num_fds()
                except psutil.AccessDenied:
                    # As it is once a process has ended, or if its program must not be read.
                    if limits.protected and psutil.Process(shows.pid).memory_info().vms:
                        return "it hid what it has open."
        # Ended children count with their parent, unless it ignores that they end.
        if max(cpu, sum(spent.values())) > limits.cpu:
            return f"it used more than {limits.cpu:g} s of computing time, all processes together."
        if threads > limits.threads:
            return f"it started more than {limits.threads} threads."
        if descriptors > limits.descriptors:
            return f"it opened more than {limits.descriptors:,} files and sockets."
        if limits.protected:
            # What waits in connections stands in nobody's account, and is the same seen from each
            # process.
            used += sum(map(_queued, inside[:1]))
        if used > limits.memory:
            return f"it used more than {limits.memory / 2**30:.1f} GB of memory."
        # The first process inside sets the others' folders up before it starts them.
        if limits.protected and sum(map(_files, inside[1:2])) > limits.files:
            return f"it wrote more than {limits.files:,} files."
        return ""

    def _end(self, why: str) -> None:
        """End everything inside, for a reason; only the first reason counts."""
        self.dead = self.dead or why
        self._over.set()
        inside = []
        with contextlib.suppress(psutil.NoSuchProcess):
            inside = psutil.Process(self._process.pid).children(not self._limits.protected)
        # The first process inside dies with bubblewrap's own, and all others with that one. What
        # hangs in the kernel does not, and must not hold up the class.
        patience = time.monotonic() + _PATIENCE
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        for process in inside:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not self._limits.protected:
                    process.kill()
                while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < patience:
                    time.sleep(0.01)


def _counted_inside() -> bool:
    """Whether the kernel counts processes for each user namespace: of those inside alone."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 14)


def _living(process: psutil.Process) -> psutil.Process:
    """Return what shows a process's memory and files: a thread of it, once the first has ended."""
    if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() > 1:
        for thread in process.threads():
            with contextlib.suppress(psutil.NoSuchProcess):
                other = psutil.Process(thread.id)
                if other.memory_info().vms:
                    return other
    return process


def _queued(process: psutil.Process) -> int:
    """Return how many bytes wait in a network namespace's connections, 0 if these are few."""
    count = 0
    for kind, sockets in (("tcp", "sockstat"), ("tcp6", "sockstat6")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            there = Path(f"/proc/{process.pid}/net/{sockets}").read_text()
            if int(there.split(f"{kind.upper()}: inuse ")[1].split()[0]) <= _FEW:
                continue
            for line in Path(f"/proc/{process.pid}/net/{kind}").read_text().splitlines()[1:]:
                sent, received = line.split()[4].split(":")
                count += int(sent, 16) + int(received, 16)
    return count


def _files(process: psutil.Process) -> int:
    """Return how many files there are in the two folders that a process inside can write to."""
    count = 0
    for folder in ("tmp", "dev/shm"):
        with contextlib.suppress(OSError):
            room = os.statvfs(f"/proc/{process.pid}/root/{folder}")
            count += room.f_files - room.f_ffree
    return count
