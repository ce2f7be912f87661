"""Processes that end with the notebook that started them, also if its kernel is killed.

A notebook that starts servers must not leave any behind: not when a cell fails, not when its kernel
is killed. A kernel that is killed cannot clean up, so another process does. :class:`Processes`
starts this file as a **watchdog** that owns a temporary folder and starts everything else. A pipe
leads from the kernel to the watchdog, and the system closes it when the kernel is gone. Then the
watchdog ends all its descendants, removes the folder, and ends. If the watchdog itself is killed
(SIGKILL), nobody can clean up: on Linux the system then kills the processes that it has started
itself, but not those that these have started, and the folder stays.

Over the pipe go lines of JSON, one answer for each question. The watchdog is in a session of its
own: what Jupyter does to the kernel's process group does not reach it. Linux and macOS.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

#: Seconds a process gets between the request to end and its end.
GRACE = 3

#: Linux: orphans among the descendants become children of the caller (``man 2 prctl``).
_PR_SET_CHILD_SUBREAPER = 36

#: Linux: the signal that the caller gets when its parent ends (``man 2 prctl``).
_PR_SET_PDEATHSIG = 1


_libc = ctypes.CDLL(None)  # loaded here: between fork and exec is no place for it


class Processes:
    """A temporary folder and the processes that work in it.

    Use it in a ``with`` statement, or call :meth:`close`; if neither happens, the watchdog cleans
    up when the kernel ends.

    Args:
        environment: Variables that the processes see beside those of the kernel; ``{folder}`` in a
            value stands for the temporary folder.

    Attributes:
        folder: The temporary folder, readable by its owner alone. Processes run in it, their
            temporary files lie in it, and each writes what it prints to ``<name>.log``.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._watchdog = subprocess.Popen(
            [sys.executable, __file__, json.dumps(dict(environment or {}))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self.folder = Path(self._receive()["folder"])

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def start(self, name: str, *command: object) -> None:
        """Start a process.

        Args:
            name: What to call it; a name can be used again.
            command: Program and arguments. A program without a folder is looked for beside the
                Python of the kernel first.

        Raises:
            ValueError: A process of that name is running, or there is no such program.
        """
        if "/" in name or not name:
            raise ValueError(f"name must be a file name without folders, not {name!r}")
        self._ask(do="start", name=name, command=[str(part) for part in command])

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of a process, minus the signal that ended it, None if it runs."""
        return self._ask(do="poll", name=name)["code"]

    def kill(self, name: str) -> None:
        """End a process and all it has started, without a chance to say goodbye (SIGKILL)."""
        self._ask(do="kill", name=name)

    def log(self, name: str) -> str:
        """Return what a process has printed so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def call(self, name: str, *command: object, timeout: float = 120) -> str:
        """Run a process to its end.

        Returns:
            What it printed.

        Raises:
            TimeoutError: It took longer than ``timeout`` seconds; it is killed.
            RuntimeError: Its exit code is not 0; the message is what it printed.
        """
        self.start(name, *command)
        if code := self.wait(name, timeout):
            raise RuntimeError(f"{name} ended with exit code {code}:\n{self.log(name)}")
        return self.log(name)

    def wait(self, name: str, timeout: float = 120) -> int:
        """Wait until a process ends; return its exit code.

        Raises:
            TimeoutError: It took longer than ``timeout`` seconds; it is killed.
        """
        end = time.monotonic() + timeout
        while (code := self.exit_code(name)) is None:
            if time.monotonic() > end:
                self.kill(name)
                raise TimeoutError(f"{name} took more than {timeout:g} s:\n{self.log(name)}")
            time.sleep(0.05)
        return code

    def wait_for(self, name: str, text: str, times: int = 1, timeout: float = 120) -> None:
        """Wait until a process has printed a text some times.

        Raises:
            TimeoutError: It did not within ``timeout`` seconds.
            RuntimeError: It ended before.
        """
        end = time.monotonic() + timeout
        while self.log(name).count(text) < times:
            ended = self.exit_code(name) is not None  # before the last look into the log
            if ended and self.log(name).count(text) < times:
                raise RuntimeError(f"{name} ended without {text!r}:\n{self.log(name)}")
            if time.monotonic() > end:
                raise TimeoutError(f"no {text!r} in {timeout:g} s:\n{self.log(name)}")
            time.sleep(0.05)

    @staticmethod
    def free_port() -> int:
        """Return a port on which nobody listens on this machine."""
        with socket.socket() as end:
            end.bind(("127.0.0.1", 0))
            return int(end.getsockname()[1])

    @staticmethod
    def listens(port: int) -> bool:
        """Whether somebody listens on a port of this machine."""
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def wait_for_port(self, name: str, port: int, timeout: float = 120) -> None:
        """Wait until a process listens on a port.

        Raises:
            TimeoutError: It does not within ``timeout`` seconds.
            RuntimeError: It ended.
        """
        end = time.monotonic() + timeout
        while not self.listens(port):
            if self.exit_code(name) is not None:
                raise RuntimeError(f"{name} has ended:\n{self.log(name)}")
            if time.monotonic() > end:
                raise TimeoutError(f"{name} is silent:\n{self.log(name)}")
            time.sleep(0.1)

    def close(self) -> None:
        """End all processes and remove the folder; return when both are gone."""
        if self._watchdog.stdin and not self._watchdog.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
        self._watchdog.wait()
        if self._watchdog.stdout:
            self._watchdog.stdout.close()

    def _ask(self, **question: object) -> dict:
        if self._watchdog.stdin is None or self._watchdog.stdin.closed:
            raise ValueError("the processes have ended: make new ones")
        self._watchdog.stdin.write(json.dumps(question) + "\n")
        self._watchdog.stdin.flush()
        answer = self._receive()
        if "problem" in answer:
            raise ValueError(answer["problem"])
        return answer

    def _receive(self) -> dict:
        line = self._watchdog.stdout.readline() if self._watchdog.stdout else ""
        if not line:
            raise RuntimeError("the watchdog has ended, and all processes with it")
        return json.loads(line)


# ---- the watchdog ------------------------------------------------------------------------------


class _Watchdog:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.started: dict[str, subprocess.Popen] = {}
        (folder / "tmp").mkdir()
        given = {name: value.format(folder=folder) for name, value in environment.items()}
        # The programs of this environment first, also for what the programs start themselves.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.environment = {**os.environ, "PATH": path, "TMPDIR": str(folder / "tmp"), **given}

    def answer(self, question: dict) -> dict:
        name = question["name"]
        if question["do"] == "start":
            return self._start(name, question["command"])
        if name not in self.started:
            return {"problem": f"no process is called {name!r}"}
        if question["do"] == "kill" and self.started[name].poll() is None:
            family = psutil.Process(self.started[name].pid).children(recursive=True)
            self.started[name].kill()
            self.started[name].wait()
            _end(family, grace=0)
        return {"code": self.started[name].poll()}

    def _start(self, name: str, command: list[str]) -> dict:
        if name in self.started and self.started[name].poll() is None:
            return {"problem": f"{name!r} is running already"}
        program = shutil.which(command[0], path=self.environment["PATH"])
        if program is None:
            return {"problem": f"there is no program {command[0]!r}"}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                [program, *command[1:]],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        return {}

    def clean_up(self) -> None:
        _end(psutil.Process().children(recursive=True), GRACE)
        # On Linux, whoever was started meanwhile or has lost its parent is a descendant still.
        while left := psutil.Process().children(recursive=True):
            _end(left, grace=0)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end(processes: list[psutil.Process], grace: float) -> None:
    """Ask processes to end, and kill those that have not after ``grace`` seconds."""
    if grace:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, processes = psutil.wait_procs(processes, timeout=grace)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE)


def _end_with_parent() -> None:
    """In a process just started: be killed when the watchdog is."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch() -> None:
    """Answer questions until the pipe closes or the kernel is gone; then clean up."""
    kernel = os.getppid()
    for request in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, lambda *_: sys.exit())
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watchdog = _Watchdog(Path(tempfile.mkdtemp(prefix="privlab-")), json.loads(sys.argv[1]))
    try:
        _say({"folder": str(watchdog.folder)})
        # A process of the kernel may have inherited the pipe, which then stays open: look at the
        # parent as well.
        while os.getppid() == kernel:
            if select.select([sys.stdin], [], [], 1)[0]:
                # One question at a time: the kernel waits for the answer before it asks again.
                line = sys.stdin.readline()
                if not line:
                    break
                _say(watchdog.answer(json.loads(line)))
    except BrokenPipeError:
        pass
    finally:
        for request in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(request, signal.SIG_IGN)
        watchdog.clean_up()
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()


def _say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


# ---- for processes that a library starts by itself -----------------------------------------------

#: The variable that tells the processes started after :func:`end_with_me` from all others.
_FAMILY = "PRIVLAB_FAMILY"
_family_watchdogs: list[subprocess.Popen] = []


def end_with_me() -> None:
    """Let what is started from now on end when this process ends, however it ends.

    For libraries that start processes by themselves and leave them behind, as TensorFlow Federated
    does. They are told by a variable of their environment, which they inherit: a watchdog waits for
    the end of this process and then ends all that have it. A second call changes nothing. Linux and
    macOS.
    """
    if _family_watchdogs:
        return
    family = secrets.token_hex(16)
    command = "from privlab.processes import _end_family; _end_family()"
    _family_watchdogs.append(
        subprocess.Popen(
            [sys.executable, "-c", command, family],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )
    os.environ[_FAMILY] = family  # the watchdog itself is older, and does not have it


def _end_family() -> None:
    """Wait until the parent is gone; then end all processes with its variable."""
    parent = os.getppid()
    while os.getppid() == parent and not select.select([sys.stdin], [], [], 1)[0]:
        pass
    family = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # of another user, or gone meanwhile
            if process.environ().get(_FAMILY) == sys.argv[1]:
                family.append(process)
    _end(family, GRACE)


if __name__ == "__main__":
    _watch()
