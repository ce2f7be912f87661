"""Code in the sandbox answers like code outside, sees nothing, harms nothing, leaves nothing."""

import os
import shutil
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from privlab.exercise import Exercise, LocalPeer, NotTried, Wrong, number
from privlab.grading import sandbox
from privlab.grading.sandbox import Dead, Limits, NoSandbox, SandboxPeer
from privlab.grading.syscalls import rules

works = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed (apt install bubblewrap)"
)


def inside(code, *args, **limits):
    """Run a cell and call its f."""
    with SandboxPeer([code], Limits(**limits)) as peer:
        assert not peer.problems, peer.problems
        return peer.call("f", args, {})


def left():
    """Processes that a worker has left behind."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "privlab.grading.worker" in (process.info["cmdline"] or [])
        and str(os.getpid()) == str(process.ppid())
    ]


# ---------------------------------------------------------------- answers as outside


@works
@pytest.mark.parametrize(
    "value",
    [
        *(1, 2.5, "ε", b"\0\1", None, [1, [2]], (1, 2), {"a": {1: 2}}, 2**100, float("inf")),
        *(np.arange(6.0).reshape(2, 3), pd.DataFrame({"x": [1, 2], "y": ["a", None]})),
    ],
    ids=str,
)
def test_values_come_back_as_they_went(value):
    got = inside("def f(x):\n    return x", value)
    if isinstance(value, np.ndarray | pd.DataFrame):
        as_in_the_notebook = LocalPeer({"f": lambda x: x}).call("f", (value,), {})
        pd.testing.assert_frame_equal(pd.DataFrame(got), pd.DataFrame(as_in_the_notebook))
    else:
        assert (got, type(got)) == (value, type(value))


@works
def test_an_exercise_runs_in_the_sandbox_as_in_the_notebook():
    class Doubled(Exercise):
        label, title, kinds = "0.9", "Doubled", {"f": number, "g": number, "v": number}
        hints, reference, mistakes = (), "", ()

        def test_all(self, answers, rng):
            noisy = answers.sample("g", (3,), 400, rng)
            assert abs(np.mean(noisy) - 3) < 0.25  # five standard deviations
            if answers.f(3, more=answers["v"]) != 16:
                raise Wrong("not twice")
            return "twice"

    right = "v = 10\ndef f(x, more): return 2 * x + more\ndef g(x, rng): return rng.normal(x)"
    with SandboxPeer([right]) as peer:
        (result,) = Doubled().run(peer, hidden=True)
    namespace = {}
    exec(right, namespace)
    assert [result] == Doubled().run(LocalPeer(namespace), hidden=True)
    assert result.evidence == "twice"
    with SandboxPeer([right.replace("2 *", "3 *")]) as peer:
        assert Doubled().run(peer)[0].problem == "not twice"
    with SandboxPeer(["def f(x, more): return ..."]) as peer, pytest.raises(NotTried):
        peer.call("f", (3,), {"more": 1})
    with SandboxPeer([""]) as peer, pytest.raises(NotTried):
        peer.call("f", (3,), {})


@works
def test_a_cell_that_fails_costs_only_itself():
    cells = ["def f(x): return x", "1 / 0", "def f(x:", "def g(x): return 2 * x"]
    with SandboxPeer(cells) as peer:
        assert [each.split(":")[0] for each in peer.problems] == ["cell 1", "cell 2"]
        assert (peer.call("f", (1,), {}), peer.call("g", (1,), {})) == (1, 2)


@works
def test_an_error_is_told_with_its_line():
    with SandboxPeer(["def f(x):\n    return 1 / x"]) as peer:
        with pytest.raises(Wrong, match=r"ZeroDivisionError.*line 2: return 1 / x"):
            peer.call("f", (0,), {})
        assert peer.call("f", (1,), {}) == 1  # and the next question is answered


# ---------------------------------------------------------------- nothing to see


@works
def test_no_reference_no_test_no_file_no_variable_of_ours(tmp_path, monkeypatch):
    (tmp_path / "seed.txt").write_text("7")
    monkeypatch.setenv("SECRET", "x")
    code = """
import os, pathlib
import privlab.exercises.lesson_03 as tasks
from privlab.exercises.lesson_04 import q1
import privlab
here = pathlib.Path(privlab.__file__).parent
def f(path):
    q1.check()
    return {
        "exercises": os.listdir(here / "exercises"),
        "grading": sorted(os.listdir(here / "grading")),
        "reference": str(getattr(tasks, "REFERENCE", "")),
        "there": os.path.exists(path),
        "home": [str(p) for p in pathlib.Path("/root").glob("*")] if os.path.isdir("/root") else [],
        "secret": os.environ.get("SECRET"),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    }
"""
    seen = inside(code, str(tmp_path / "seed.txt"))
    assert seen["exercises"] == []
    assert seen["grading"] == ["__init__.py", "worker.py"]
    assert not seen["there"]
    assert seen["secret"] is None
    assert seen["processes"] <= 3
    # Python itself may live there, and nothing else is seen.
    assert all(any(path.is_relative_to(home) for path in sandbox.VISIBLE) for home in seen["home"])


@works
@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_connection(('1.1.1.1', 80), 2)",
        "import privlab\nopen(privlab.__file__, 'a')",
        "open('/usr/x', 'w')",
        "open('/etc/passwd')",
        "import os\nos.mount",
        "import os\nos.setuid(0)",
        "import os\nos.memfd_create('x')",
        "import mmap\nmmap.mmap(-1, 4096)",
        "import mmap, os\nmmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096)",
        "open('/proc/sys/kernel/core_pattern', 'a')",
        "open('/proc/self/oom_score_adj', 'a')",
        "import privlab\nopen(privlab.__path__[0] + '/exercises/x', 'a')",
        "import privlab\nopen(privlab.__path__[0] + '/grading/x', 'a')",
        "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "open('/tmp/x', 'wb').write(bytes(200_000_000))",
        "for i in range(9):\n    open(f'/tmp/{i}', 'wb').write(bytes(20_000_000))",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (999, 999))",
    ],
)
def test_forbidden(code):
    with SandboxPeer([code]) as peer:
        assert len(peer.problems) == 1


# ---------------------------------------------------------------- nothing to break

HANGS = """
def f():
    while True:
        try:
            while True: pass
        except BaseException: pass
"""
WRITES = """
import os
def f():
    for pipe in range(3, 9):
        try: os.write(pipe, {text})
        except OSError: pass
"""


@works
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\ndef f(): os._exit(0)", "ended its own process"),
        ("import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGKILL)", "ended its own"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "ended its own process"),
        (HANGS, "longer than 5 s"),
        ("import time\ndef f(): time.sleep(99)", "longer than 5 s"),
        ("import os\ndef f():\n    while True: os.fork()", "more than 32 processes"),
        (
            "import threading, time\nthreading.stack_size(65536)\n"
            "def f():\n    while True:\n"
            "        threading.Thread(target=time.sleep, args=(9,)).start()\n"
            "        time.sleep(0.001)",  # slow enough for us to count before the system refuses
            "more than 256 threads",
        ),
        (
            "def f():\n    for i in range(10**9): open(f'/tmp/{i}', 'w').close()",
            "more than 20,000 files",
        ),
        ("def f(): return 'x' * 50_000_000", "more than 16 MB"),
        # What the learner's code writes into the pipe itself ends in no more than a lost question.
        (WRITES.format(text=r"b'{}\n' * 9"), "no answer"),
        (WRITES.format(text=r"b'[' * 60_000 + b'\n'"), "no answer"),
        (WRITES.format(text="b'no end of line'"), "no answer"),
    ],
)  # fmt: skip
def test_what_ends_the_process(code, why):
    began = time.monotonic()
    with SandboxPeer([code], Limits(seconds=5)) as peer:
        with pytest.raises(Dead, match=why):
            peer.call("f", (), {})
        with pytest.raises(Dead, match=why):  # and it stays dead
            peer.call("f", (), {})
    assert time.monotonic() - began < 60
    assert not left()


@works
def test_memory_is_counted_over_all_processes():
    code = """
import os, time
def f():
    for _ in range(6):
        if not os.fork():
            block = bytearray(100 << 20)
            block[::4096] = b"x" * len(block[::4096])
            time.sleep(60)
    time.sleep(60)
"""
    told = pytest.raises(Dead, match=r"more than 0\.4 GB of memory")
    with SandboxPeer([code], Limits(memory=400 << 20, seconds=30)) as peer, told:
        peer.call("f", (), {})


@works
def test_one_process_alone_gets_a_memory_error():
    with SandboxPeer(["x = bytearray(10**11)"], Limits(memory=400 << 20)) as peer:
        assert "MemoryError" in peer.problems[0]


@works
def test_children_end_with_it():
    code = """
import subprocess, sys
def f():
    later = "import time; time.sleep(4711)"
    subprocess.Popen([sys.executable, "-c", later], start_new_session=True)
    return 1
"""
    assert inside(code) == 1
    assert not [p for p in psutil.process_iter(["cmdline"]) if "4711" in str(p.info["cmdline"])]


@works
@pytest.mark.parametrize(
    "value",
    ["[[]] * 3 and __import__('functools').reduce(lambda a, _: [a], range(5000), 0)",
     "type('Evil', (float,), {'__eq__': lambda *a: True})(1)", "lambda: 1", "f"],
)  # fmt: skip
def test_values_that_are_not_plain(value):
    with SandboxPeer([f"def f(): return {value}"]) as peer, pytest.raises(Wrong):
        peer.call("f", (), {})


@works
def test_a_forged_value_is_no_more_than_a_returned_one():
    """The pipe carries packed values: one that is malformed is a wrong answer."""
    forge = """
import json, os, privlab.grading.worker as worker
worker.pack = lambda value: {"$array": {"dtype": "O", "shape": [1], "bytes": "AAAA"}}
import sys
sys.modules["__main__"].__dict__["pack"] = worker.pack
def f(): return 1
"""
    with SandboxPeer([forge]) as peer, pytest.raises(Wrong):
        peer.call("f", (), {})


# ---------------------------------------------------------------- unhappy paths of our own


@pytest.mark.parametrize(
    "field", ["seconds", "cpu", "memory", "processes", "threads", "disk", "files", "reply"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), "9", None, True])
def test_limits_say_what_is_wrong(field, value):
    with pytest.raises(ValueError, match=f"{field} must be a number above 0"):
        Limits(**{field: value})


def test_without_bubblewrap(monkeypatch):
    monkeypatch.setenv("PATH", "")
    sandbox.check.cache_clear()
    with pytest.raises(NoSandbox, match="apt install bubblewrap"):
        SandboxPeer(["x = 1"])


def test_the_filter_of_another_machine(monkeypatch):
    assert len(rules("aarch64")) == len(rules("x86_64"))
    with pytest.raises(ValueError, match="machine must be one of x86_64, aarch64, not 'm68k'"):
        rules("m68k")
    if shutil.which("bwrap"):
        monkeypatch.setattr("platform.machine", lambda: "m68k")
        sandbox.check.cache_clear()
        with pytest.raises(NoSandbox, match="filter system calls"):
            SandboxPeer(["x = 1"])


# ---------------------------------------------------------------- without a sandbox


def test_unprotected_code_is_still_judged_from_outside(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # no bubblewrap
    monkeypatch.setenv("SECRET", "x")
    code = """
import os, subprocess, sys
def f():
    later = "import time; time.sleep(4712)"
    subprocess.Popen([sys.executable, "-c", later], start_new_session=True)
    open("left.txt", "w").close()
    return [os.getcwd(), os.environ.get("SECRET")]
def g():
    while True: pass
"""
    with SandboxPeer([code], Limits(protected=False, seconds=8)) as peer:
        folder, secret = peer.call("f", (), {})
        assert os.path.exists(os.path.join(folder, "left.txt"))
        assert secret is None
        with pytest.raises(Dead, match="longer than 8 s"):
            peer.call("g", (), {})
    assert not os.path.exists(folder)
    assert not [p for p in psutil.process_iter(["cmdline"]) if "4712" in str(p.info["cmdline"])]


def test_protected_is_yes_or_no():
    with pytest.raises(ValueError, match="protected must be True or False"):
        Limits(protected=1)


def test_what_students_could_read_is_refused(tmp_path):
    sandbox.keep_out("secret", tmp_path / "key")
    for folder in (sandbox.PACKAGE, sandbox.PACKAGE.parent / "data"):
        with pytest.raises(ValueError, match=r"secret: .* which students' code can read"):
            sandbox.keep_out("secret", folder / "key")
