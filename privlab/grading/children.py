"""Work on what others have sent, in processes of its own: what stops one stops nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import TypeVar

import psutil

T = TypeVar("T")
M = TypeVar("M")


def in_children(
    todo: Iterable[T],
    work: Callable[[T], Iterable[M]],
    *,
    seconds: Callable[[T], float],
    memory: int,
    jobs: int,
    waiting: Callable[[], object] = lambda: None,
) -> Iterator[tuple[T, M | None]]:
    """Do each piece of work in a child process, some at a time.

    Args:
        todo: The pieces.
        work: What is done with each; what it yields comes here as soon as it is there.
        seconds: How long one may take; then its process is ended.
        memory: Bytes that its process may use beyond those that it starts with.
        jobs: How many are done at a time.
        waiting: Called about once a second.

    Yields:
        A piece and a thing that the work on it has yielded; and the piece and None once there will
        be no more, whether it was done or broke off.
    """
    context = multiprocessing.get_context("fork")
    pieces = iter(todo)
    running: dict[Connection, tuple[T, multiprocessing.process.BaseProcess, float]] = {}
    try:
        while True:
            for piece in itertools.islice(pieces, jobs - len(running)):
                ours, theirs = context.Pipe(duplex=False)
                given = (work, piece, memory, theirs, os.getpid())
                child = context.Process(target=_work, args=given)
                child.start()
                theirs.close()
                running[ours] = (piece, child, time.monotonic() + seconds(piece))
            if not running:
                return
            for _, child, end in running.values():
                if time.monotonic() > end:
                    child.kill()
            for ready in wait(list(running), timeout=1):
                piece, child, _ = running[ready]
                try:
                    message = ready.recv()
                except (EOFError, OSError):
                    message = None
                    del running[ready]
                    ready.close()
                    child.join()
                yield piece, message
            waiting()
    finally:
        for pipe, (_, child, _) in running.items():
            child.kill()
            child.join()
            pipe.close()


def _work(
    work: Callable[[T], Iterable[M]], piece: T, memory: int, pipe: Connection, parent: int
) -> None:
    # Ctrl-C reaches all processes of a terminal: the one that started this one decides. Should that
    # one be killed, this one goes with it (PR_SET_PDEATHSIG).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import resource

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        room = psutil.Process().memory_info().data + memory
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    if os.getppid() != parent:
        return
    # Who is out of memory can do no more than end: that there is no message tells.
    with (
        contextlib.suppress(MemoryError),
        open(os.devnull, "w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        for message in work(piece):
            pipe.send(message)
