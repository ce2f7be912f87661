"""Code in the sandbox answers like code outside, sees nothing, harms nothing, leaves nothing."""

import os
import re
import shutil
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from privlab.exercise import Exercise, LocalPeer, NotTried, Wrong, number
from privlab.grading import sandbox
from privlab.grading.marking import mark
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
@pytest.mark.parametrize(
    "output",
    [
        *("0.5 + i", "i", "i > 3", "np.float64(i)", "np.arange(3) * i", "str(i)", "[i, 2.5]"),
        *("{'a': i, 'b': 2}", "{'a': 1.5, 3: float('inf')}", "{'a': np.float64(i)}", "{}"),
        *("{'a': i, 'b': 2.5}", "{'a': 10**30}", "{i: 1}", "{'a': True}", "{'a': 'text'}"),
        *("{'a': np.int64(i), 'b': np.int64(1)}", "{'a': [i]}", "{('a', 1): i}"),
        *("{'a': [np.float64(i), 2], 'b': np.arange(3) / 7}", "(i, 'a', [True, (i, [i])])"),
        *("[np.float32(i), [i] * 70]", "[2**63 + i, -i, [2**70]]", "[np.zeros(i)]", "[[], {}]"),
        *("[1 if i else 1.5, i]", "[np.zeros((2, 0)), np.zeros((2, 2), dtype=bool), None]"),
        *("[[[[[[[[[[[i]]]]]]]]]]]", "{[1, True, 1.0][i % 3]: 'a'}"),
        *("{'a': [i, 2**64], 'b': 2**63 - i}",),
    ],
)
def test_many_outputs_are_the_same_inside_and_outside(output):
    """However they cross: packed into arrays or one by one."""
    code = f"import numpy as np\ndef f(i, rng):\n    return {output}"
    namespace = {}
    exec(code, namespace)
    asked = ("f", [(i,) for i in range(6)], [0, 5, 3, 3, 1, 4, 2], 7)
    outside = LocalPeer(namespace).sample(*asked)
    with SandboxPeer([code]) as peer:
        found = peer.sample(*asked)
    assert repr(found) == repr(outside)
    # And what a dict holds is what calling once would give.
    one = LocalPeer(namespace).call("f", (0, None), {})
    if isinstance(one, dict):
        assert repr(found[0]) == repr(one)
        assert [type(each) for each in found[0].values()] == [type(each) for each in one.values()]


@works
@pytest.mark.parametrize(
    "value",
    [
        *("3", "{}", "{'values': 3}", "{'values': [1, 2], 'plain': True}", "[1]", "'ab'"),
        *("np.zeros((10**9, 0))", "{'values': np.zeros((10**9, 0)), 'plain': True}"),
        *("{'values': np.zeros((2, 0)), 'plain': True}", "{'values': np.zeros(3), 'plain': True}"),
        *("{'columns': np.zeros((300, 2, 0)), 'tuple': True}", "pd.Series([1, 2])"),
        *("{'columns': [np.zeros((2, 0))] * 3, 'tuple': True}", "pd.DataFrame(index=range(2))"),
        *("{'columns': 3, 'tuple': True}", "{'columns': [], 'tuple': True}", "{1, 2}"),
        *("{'columns': [[1, 2]]}", "{'values': 'ab', 'plain': True}", "{'columns': []}"),
        *("{'columns': [[1, 2]], 'keys': [[]]}", "{'columns': [[1, 2]], 'keys': 'ab'}"),
        *("{'columns': [[1, 2], [3]], 'tuple': False}", "{'columns': [None], 'tuple': False}"),
    ],
)
def test_forged_samples(value):
    code = f"""
import numpy as np, pandas as pd
from privlab.grading import worker
worker.LocalPeer.sampled = lambda *_: {value}
import __main__
__main__.LocalPeer.sampled = lambda *_: {value}
def f(rng): return 1
"""
    with SandboxPeer([code]) as peer, pytest.raises(Wrong, match="cannot be read"):
        peer.sample("f", [()], [0, 0], 1)


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


SYSTEM = """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if library.syscall(*map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "refused")
"""


@works
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize(
    "code",
    [
        "call(64, 0, 32_000, 0o1600)",  # semget: 2 MB that stand in nobody's account, each time
        "context = ctypes.c_ulong(0)\ncall(206, 9, ctypes.addressof(context))",  # io_setup
        "call(9, 0, 1 << 21, 3, 0x40022, -1, 0)",  # mmap of a huge page
        "call(157, 4, 0, 0, 0, 0)",  # prctl: hide what is open
        "import socket\nsocket.socket(40, socket.SOCK_STREAM)",  # vsock: to a machine's host
        "import socket\nsocket.socket(38, socket.SOCK_SEQPACKET)",  # the kernel's ciphers
        "import socket\nsocket.socket(2, socket.SOCK_STREAM, 262)",  # TCP that stands in no list
        "os.openpty()",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    ],
)
def test_what_no_limit_would_count_is_refused(code):
    with SandboxPeer([SYSTEM, code]) as peer:
        (problem,) = peer.problems
    assert re.search("Error: .*(Errno 1|Errno 2|Errno 22)|refused", problem), problem


@works
def test_no_session_of_its_own():
    """A session has its own share of the processors: many would have most of them."""
    code = "import os\ngroup = os.getsid(0)\nos.setsid()\nassert os.getsid(0) == group"
    with SandboxPeer([code]) as peer:
        assert peer.problems == []


@works
def test_ordinary_sockets_and_settings_work():
    code = """
import asyncio, ctypes, socket
def f():
    one, other = socket.socketpair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000_000)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setblocking(False)
    sent = 0
    try:
        while True: sent += one.send(bytes(10_000))
    except BlockingIOError: pass
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ctypes.CDLL(None).prctl(15, b"named", 0, 0, 0)
    async def later(): return 5
    return [sent, asyncio.run(later())]
"""
    sent, five = inside(code)
    assert five == 5
    assert 0 < sent < 1_000_000  # the system's default, not what was asked for


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
        (HANGS, "longer than 5 s. Does a loop never end"),
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
        (
            "import os, socket, time\n"
            "def f():\n"
            "    for _ in range(3): os.fork()\n"
            "    pairs = [socket.socketpair() for _ in range(100)]\n"
            "    time.sleep(60)",
            "more than 1,000 files and sockets",
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
@pytest.mark.parametrize("kept", ["kept += [client, server.accept()]", "client.close()"])
def test_what_waits_in_connections_counts_as_memory(kept):
    """Even where nobody has them open any more."""
    code = f"""
import socket, time
def f():
    server = socket.create_server(("127.0.0.1", 0), backlog=100)
    kept = []
    for _ in range(90):
        client = socket.create_connection(server.getsockname())
        client.setblocking(False)
        try:
            while True: client.send(bytes(1 << 20))
        except BlockingIOError: pass
        {kept}
    time.sleep(60)
"""
    told = pytest.raises(Dead, match=r"more than 0\.2 GB of memory")
    # The process alone takes less: it is the connections that are too much.
    with SandboxPeer([code], Limits(memory=230 << 20, seconds=30)) as peer, told:
        peer.call("f", (), {})


SPINS = """
import os, signal, time
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def f():
    {before}
    for _ in range(99):
        if not os.fork():
            spin({seconds})
            os._exit(0)
        {after}
    time.sleep(60)
"""


@works
@pytest.mark.parametrize(
    ("before", "seconds", "after"),
    [
        ("pass", 99, "if _ > 8: time.sleep(60)"),  # all at once
        ("pass", 0.4, "os.wait()"),  # one after the other
        ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", 0.4, "time.sleep(0.4)"),  # uncounted
    ],
)
def test_computing_time_is_counted_over_all_processes(before, seconds, after):
    code = SPINS.format(before=before, seconds=seconds, after=after)
    told = pytest.raises(Dead, match="more than 8 s of computing time, all processes together")
    with SandboxPeer([code], Limits(cpu=8)) as peer, told:
        peer.call("f", (), {})


@works
def test_one_process_alone_is_told_as_well():
    told = pytest.raises(Dead, match="more than 6 s of computing time")
    with SandboxPeer(["def f():\n    while True: pass"], Limits(cpu=6)) as peer, told:
        peer.call("f", (), {})


#: As root the kernel allows both.
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="for root there is no such limit")


@works
@as_user
def test_the_kernel_bounds_processes_between_two_looks(monkeypatch):
    monkeypatch.setattr(sandbox, "_PULSE", 3600)
    code = """
import os, time
def f():
    for made in range(500):
        try:
            if not os.fork(): time.sleep(3600)
        except BlockingIOError:
            return made
"""
    assert 10 < inside(code, processes=10, threads=30) < 40


@works
@as_user
def test_nothing_hides_what_it_has_open():
    code = """
import os, shutil, time
def f():
    shutil.copy("/bin/sleep", "/tmp/s")
    os.chmod("/tmp/s", 0o111)
    if not os.fork(): os.execv("/tmp/s", ["s", "60"])
    time.sleep(60)
"""
    with SandboxPeer([code]) as peer, pytest.raises(Dead, match="hid what it has open"):
        peer.call("f", (), {})


@works
def test_processes_that_come_and_go_hide_nothing():
    """One that has ended shows nothing, either: that is no fault."""
    code = """
import os, threading, time
def f():
    for _ in range(400):
        if not os.fork():
            threading.Thread(target=time.sleep, args=(0.003,)).start()
            os._exit(0) if _ % 2 else time.sleep(0.003)
            os._exit(0)
        if _ % 20 == 19:
            time.sleep(0.05)  # until then they are dead and not yet gone
            for _ in range(20): os.wait()
    return 1
"""
    assert inside(code) == 1


@works
def test_libraries_get_their_threads():
    code = """
import threadpoolctl, numpy as np, torch
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
x = np.ones((300, 300))
def product(n): return float((x @ x).sum())
def f():
    torch.set_num_threads(8)
    threadpoolctl.threadpool_limits(8)
    y = torch.ones(600, 600)
    got = [float((y @ y).sum()) / 8, product(0)]
    with ThreadPoolExecutor(16) as pool: got += pool.map(product, range(32))
    with ProcessPoolExecutor(4) as pool: got += pool.map(abs, [2.7e7] * 8)
    return got
"""
    assert inside(code, seconds=120) == pytest.approx([2.7e7] * 42)


@works
def test_it_leaves_the_processor_to_whoever_judges():
    code = "import os\ndef f():\n    return os.getpriority(os.PRIO_PROCESS, 0)"
    assert inside(code) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    with SandboxPeer(["import os\nos.nice(-1)"]) as peer:
        assert "PermissionError" in peer.problems[0]


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


@works
def test_passwords_of_installers_are_not_seen(tmp_path, monkeypatch):
    secret, other = tmp_path / "pip.conf", tmp_path / "other"
    for file in (secret, other):
        file.write_text("password")
    monkeypatch.setattr(sandbox, "VISIBLE", sandbox.VISIBLE | {tmp_path})
    monkeypatch.setattr(sandbox, "_SETTINGS", {secret, tmp_path / "not there"})
    read = "def f(path):\n    try: return open(path).read()\n    except PermissionError: return ''"
    assert inside(read, str(other)) == "password"
    assert inside(read, str(secret)) == ""


@works
def test_a_course_that_does_not_start_inside_is_not_bubblewraps_fault(monkeypatch):
    monkeypatch.setattr(sandbox, "VISIBLE", sandbox.VISIBLE - {sandbox.PACKAGE})
    sandbox.check.cache_clear()
    with pytest.raises(NoSandbox, match=r"does not start: .*No module named.*install them") as told:
        SandboxPeer(["x = 1"])
    assert "bubblewrap" not in str(told.value)


@pytest.mark.parametrize(
    ("told", "setting", "told_so", "not_so"),
    [
        ("bwrap: Unknown option --size", "1", "0.7 or later", "AppArmor"),
        ("bwrap: setting up uid map: Permission denied", "1", "AppArmor", "0.7"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "0", "Docker", "AppArmor"),
        ("bwrap: Creating new namespace failed", None, "Docker", "AppArmor"),
        ("ImportError: no numpy", "1", "does not start: ImportError: no numpy", "AppArmor"),
        ("", "0", "it says nothing", "AppArmor"),
    ],
)
def test_why_nothing_runs(told, setting, told_so, not_so, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_APPARMOR", tmp_path / "setting")
    if setting:
        (tmp_path / "setting").write_text(setting + "\n")
    why = sandbox._why_not(told)
    assert told_so in why
    assert not_so not in why


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


@works
@pytest.mark.parametrize("where", ["in a function", "in a cell"])
def test_an_endless_loop_costs_its_time_once(where, monkeypatch):
    ends, end = [], SandboxPeer._end
    monkeypatch.setattr(
        SandboxPeer, "_end", lambda peer, why: (ends.append(peer.dead or why), end(peer, why))
    )

    class Last(Exercise):
        label, title, kinds, when_slow = "0.2", "Last", {"g": number}, ""
        hints, reference, mistakes = (), "", ()

        def test_all(self, answers, rng):
            if answers.g() != 2:
                raise Wrong("not 2")

    class First(Last):
        label, title, kinds = "0.1", "First", {"f": number}

        def test_all(self, answers, rng):
            if answers.f() != 1:
                raise Wrong("not 1")

    class Other(First):
        label, kinds = "0.3", {"h": number}

        def test_all(self, answers, rng):
            answers.h()

    loop = "def g():\n    while True: pass"
    if where == "in a cell":
        loop = "def g(): return 2\nwhile True:\n    g = g"
    cells = ["def f(): return 1", loop, "def h(): return 3"]
    marked = mark(cells, [First(), Last(), Other()], 1, Limits(seconds=8))
    assert [each.outcome for each in marked.marks] == ["correct", "stopped", "correct"]
    assert "longer than 8 s" in marked.marks[1].message
    closed = [why for why in ends if "longer" not in why]
    assert len(closed) == (2 if where == "in a cell" else 1)
    # Once when it happened, once when what was left of it was cleared away.
    assert len(ends) - len(closed) == 2


def test_what_hangs_in_the_kernel_does_not_hold_up_the_class(monkeypatch):
    """A killed process that does not end is left to the system after a while."""
    monkeypatch.setattr(sandbox, "_PATIENCE", 0.3)
    peer = SandboxPeer(["def f(): return 1"], Limits(protected=False))
    process = peer._process

    class Stuck:
        status = staticmethod(lambda: psutil.STATUS_DISK_SLEEP)
        kill = staticmethod(lambda: None)
        children = staticmethod(lambda recursive=False: [Stuck])
        memory_info = num_threads = staticmethod(
            lambda: (_ for _ in ()).throw(psutil.NoSuchProcess(1))
        )

    monkeypatch.setattr(sandbox.psutil, "Process", lambda pid: Stuck)
    monkeypatch.setattr(process, "kill", lambda: None)
    began = time.monotonic()
    peer.close()
    assert time.monotonic() - began < 5
    monkeypatch.undo()
    process.kill()
    process.wait(10)


def test_protected_is_yes_or_no():
    with pytest.raises(ValueError, match="protected must be True or False"):
        Limits(protected=1)


def test_what_students_could_read_is_refused(tmp_path):
    sandbox.keep_out("secret", tmp_path / "key")
    for folder in (sandbox.PACKAGE, sandbox.PACKAGE.parent / "data"):
        with pytest.raises(ValueError, match=r"secret: .* which students' code can read"):
            sandbox.keep_out("secret", folder / "key")
