"""Submissions that cheat, attack or are merely odd, and what each must earn.

All answer one small synthetic task: ``total`` (2 points, one of its tests hidden), ``width`` (1
point) and, where the entry says so, ``noisy`` (3 points, audited). Each entry is the answer cell of
one exercise, with cells before and after it; the answers to the others are honest and must be paid.
An entry that gets hold of what it must not see raises ``BREACH``.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from privlab.exercise import Answers, Exercise, Wrong, number
from privlab.exercises.audited import LearnersMechanism, Neighbours, audit_answer


class Total(Exercise):
    """k times the sum of all squares."""

    label, title, points = "0.1", "A weighted sum of squares", 2
    kinds = {"total": number}
    hints, mistakes = ("k * …",), ()
    reference = "def total(values, k):\n    return k * sum(v * v for v in values)"
    stub = "def total(values, k):\n    return ...  # your code here"
    task = "k times the sum of the squares of all values."
    time_limit = 10

    def __init__(self, name: str = "total") -> None:
        super().__init__()
        self.kinds = {name: number}
        self.label = f"0.1{name.removeprefix('total')}"

    def _compare(self, answers: Answers, values: list[float], k: int) -> None:
        (name,) = self.kinds
        got = getattr(answers, name)(values, k)
        if not np.isclose(got, k * sum(v * v for v in values), rtol=1e-9, atol=0):
            raise Wrong(f"For {len(values)} values and k = {k} it is {got:.6g}.")

    def test_a_few(self, answers: Answers, rng: np.random.Generator) -> str:
        for k in (1, 2, 7):
            self._compare(answers, rng.normal(5, 1, 5).round(3).tolist(), k)
        return "right for three short lists"

    def hidden_many(self, answers: Answers, rng: np.random.Generator) -> str:
        for k in rng.integers(3, 90, 4).tolist():
            self._compare(answers, rng.normal(0, 9, 500).tolist(), k)
        return "right for four long lists"


class Width(Exercise):
    """The largest value minus the smallest."""

    label, title, points = "0.2", "The width of a list", 1
    kinds = {"width": number}
    hints, mistakes = ("max, min",), ()
    reference = "def width(values):\n    return max(values) - min(values)"
    stub = "def width(values):\n    return ...  # your code here"
    task = "The largest value minus the smallest."
    time_limit = 3

    def test_some(self, answers: Answers, rng: np.random.Generator) -> str:
        for size in (1, 4, 50):
            values = rng.normal(0, 3, size).tolist()
            if not np.isclose(answers.width(values), np.ptp(values)):
                raise Wrong("The width is another.")
        return "right for three lists"


class Noisy(Exercise):
    """A count with Laplace noise, audited at ε = 1."""

    label, title, points = "0.3", "A noisy count", 3
    kinds = {"noisy": number}
    hints, mistakes = ("rng.laplace",), ()
    reference = (
        "def noisy(values, epsilon, rng):\n    return len(values) + rng.laplace(0, 1 / epsilon)"
    )
    stub = "def noisy(values, epsilon, rng):\n    return ...  # your code here"
    task = "The number of values with Laplace noise."
    time_limit = 10

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        pair = Neighbours([1] * 10, [1] * 11, ("10 people", "11 people"))
        made = LearnersMechanism(answers, "noisy")
        return audit_answer(made, [pair], rng, epsilons=(1.0,), samples=3_000)

    def hidden_useful(self, answers: Answers, rng: np.random.Generator) -> None:
        for size in (10, 200):
            outputs = answers.sample("noisy", ([1] * size, 1.0), 400, rng)
            if abs(np.mean(outputs) - size) > 0.5:
                raise Wrong("On average it is not the count.")


q1, q2, q3 = Total(), Width(), Noisy()
EXERCISES: tuple[Exercise, ...] = (q1, q2, q3)


@dataclass(frozen=True)
class Entry:
    """One kind of submission.

    Attributes:
        name: What it tries.
        code: The answer cell of the exercise that it attacks.
        why: What stops it.
        earns: Points of that exercise; the honest rest is paid in any case.
        exercise: Its label.
        before: Cells before the answer.
        after: Cells after the last check.
        told: A part of the message, where it matters.
        limits: Of :class:`privlab.grading.sandbox.Limits`, where they are not the usual ones.
        harms: What it would do without a sandbox, where it is too much for a comparison.
    """

    name: str
    code: str
    why: str
    earns: int = 0
    exercise: str = "0.1"
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    told: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    harms: str = ""

    def cells(self) -> list[str]:
        """All code cells, the honest answers to the other exercises among them."""
        honest = {each.label: each.reference for each in EXERCISES}
        answers = [*self.before]
        for label, reference in honest.items():
            answers.append(self.code if label == self.exercise else reference)
        return [*answers, *self.after]


def _returns(value: str, *lines: str) -> str:
    """Make an answer cell: some lines, then a ``total`` that returns a value."""
    return "\n".join([*lines, "def total(values, k):", f"    return {value}"])


def _does(*body: str, lines: Sequence[str] = ()) -> str:
    """Make an answer cell: some lines, then a ``total`` with a body, wrong at last."""
    return "\n".join([*lines, "def total(values, k):", *(f"    {each}" for each in body),
                      "    return -1"])  # fmt: skip


PLAIN = "only plain data cross, by their exact type"
OUTSIDE = "what judges is in another process"
BLANK = "there is nothing of it in the sandbox"
CLOSED = "the sandbox has no way to it"
LIMIT = "a limit ends the process; the other exercises get a new one"

VALUES = [
    Entry("an object that equals everything", _returns(
        "Same()", "class Same:", "    def __eq__(self, other): return True",
        "    __lt__ = __gt__ = __le__ = __ge__ = __eq__", "    def __float__(self): return 1.0",
        "    def __sub__(self, other): return 0", "    __rsub__ = __sub__"), PLAIN),
    Entry("a subclass of float that equals everything", _returns(
        "Same(1)", "class Same(float):", "    def __eq__(self, other): return True",
        "    def __sub__(self, other): return 0.0", "    __rsub__ = __sub__",
        "    __hash__ = float.__hash__"), PLAIN),
    Entry("a subclass of int that claims to be int", _returns(
        "Same(1)", "class Same(int):", "    __class__ = property(lambda self: int)",
        "    def __eq__(self, other): return True", "    __hash__ = int.__hash__"), PLAIN),
    Entry("a subclass of an array", _returns(
        "np.zeros(1).view(Same)", "import numpy as np", "class Same(np.ndarray):",
        "    def __array_ufunc__(self, *a, **k): return np.array([True])",
        "    def __array_function__(self, *a, **k): return True"), PLAIN),
    Entry("subclasses of dict and str", _returns(
        "[D(), S()]", "class D(dict):", "    def __missing__(self, key): return 1",
        "class S(str):", "    def __eq__(self, other): return True",
        "    __hash__ = str.__hash__"), PLAIN),
    Entry("a mock", _returns("MagicMock()", "from unittest.mock import MagicMock"), PLAIN),
    Entry("a number that becomes right when it is read", _returns(
        "Late()", "class Late:", "    def __array__(self, *a, **k):",
        "        raise SystemExit", "    def __float__(self): return float('nan')"), PLAIN),
    Entry("NaN and infinity", _returns("float('nan') if k == 1 else float('inf')"),
          "a kind asks for finite numbers", told="finite"),
    Entry("an array of one NaN", _returns("np.array([np.nan])", "import numpy as np"),
          "a kind asks for finite numbers", told="finite"),
    Entry("a huge number", _returns("10**400"), "it is no float", told="too large"),
    Entry("a number too long to write down", _returns("10**5000"),
          "Python refuses to write it; the process stays", told="too large a number"),
    Entry("a complex number", _returns("complex(1, 1)"), PLAIN),
    Entry("a value nested too deeply", _does(
        "x = []", "for _ in range(10_000): x = [x]", "return x"), PLAIN, told="nested"),
    Entry("a list that holds itself", _does("x = []", "x.append(x)", "return x"), PLAIN),
    Entry("a generator without an end", _returns(
        "itertools.count()", "import itertools"), PLAIN),
    Entry("a pickle that runs a command", _returns(
        "Bad()", "import os", "class Bad:",
        "    def __reduce__(self): return (os.system, ('touch /tmp/bad',))"),
        "nothing is unpickled"),
    Entry("the starter code", _returns("..."), "it is told from an answer"),
    Entry("raises what the grader raises", _does(
        "raise NotTried('width')", lines=["from privlab.exercise import NotTried, TimeUp, Wrong"]),
        OUTSIDE),
    Entry("raises the grader's own end of time", _does(
        "raise TimeUp", lines=["from privlab.exercise import TimeUp"]), OUTSIDE),
    Entry("an exception with an endless text", _does(
        "raise E", lines=["class E(BaseException):",
                          "    def __str__(self): return 'x' * 5_000_000"]),
        "messages are cut"),
    Entry("an exception that is no text", _does("raise ValueError('\\ud800\\x00\\x1b[31m')"),
          "messages are made readable"),
    Entry("HTML in a message", _does("raise ValueError('<script>alert(1)</script>')"),
          "pages escape what they show", told="<script>"),
    Entry("memorises its calls", _does(
        "calls.append((values, k))", "if len(calls) > 3: return sum(v * v for v in values)",
        "return -1", lines=["calls = []"]), "each call has other data"),
    Entry("counts its calls and is right at first", _does(
        "calls.append(k)", "if len(calls) <= 3: return k * sum(v * v for v in values)",
        lines=["calls = []"]), "the hidden test comes later"),
    Entry("is right for the data of the visible test alone", _does(
        "if len(values) == 5 and k in (1, 2, 7): return k * sum(v * v for v in values)"),
        "the hidden test has others", told="500 values"),
    Entry("learned the notebook's data by heart", _does(
        "for case, answer in known:", "    if case == values: return answer",
        lines=["import numpy as np, zlib",
               "rng = np.random.default_rng([0, zlib.crc32(b'0.1/test_a_few')])", "known = []",
               "for k in (1, 2, 7):", "    case = rng.normal(5, 1, 5).round(3).tolist()",
               "    known.append((case, k * sum(v * v for v in case)))",
               "rng = np.random.default_rng([0, zlib.crc32(b'0.1/hidden_many')])",
               "for k in rng.integers(3, 90, 4).tolist():",
               "    case = rng.normal(0, 9, 500).tolist()",
               "    known.append((case, k * sum(v * v for v in case)))"]),
        "grading has a seed of its own"),
    Entry("guesses the random state", _does(
        "return float(np.random.random())", lines=["import numpy as np", "np.random.seed(0)"]),
        OUTSIDE),
]  # fmt: skip

HELPERS = [
    Entry("replaces the checking helper", _returns(
        "0", "import privlab.exercise as e", "e.Exercise.run = lambda *a, **k: []",
        "e.Exercise.require = lambda *a, **k: None", "e.number = lambda value, what: value"),
        OUTSIDE),
    Entry("replaces Wrong by an exception that is none", _returns(
        "0", "import privlab.exercise as e", "class Nothing(BaseException):",
        "    def __new__(cls, *a, **k): return StopIteration()", "e.Wrong = Nothing"), OUTSIDE),
    Entry("replaces numpy.isclose and numpy.testing", _returns(
        "0", "import numpy as np", "np.isclose = np.allclose = lambda *a, **k: True",
        "np.testing.assert_allclose = lambda *a, **k: None"), OUTSIDE),
    Entry("replaces the check in the notebook", _returns("0"), OUTSIDE, before=(
        "try:\n    from grading_corpus import q1\n    type(q1).require = lambda *a, **k: None\n"
        "except ImportError: pass",)),
    Entry("takes asserts out of the syntax tree", _returns("0"), OUTSIDE, before=(
        "import ast\nclass Strip(ast.NodeTransformer):\n"
        "    def visit_Expr(self, node):\n"
        "        return ast.Pass() if 'require' in ast.dump(node) else node\n"
        "get_ipython().ast_transformers.append(Strip())",)),
    Entry("transforms the input of later cells", _returns("0"), OUTSIDE, before=(
        "get_ipython().input_transformers_post.append(\n"
        "    lambda lines: ['pass\\n'] if any('require' in l for l in lines) else lines)",)),
    Entry("replaces how cells are run", _returns("0"), OUTSIDE, before=(
        "from IPython.core.interactiveshell import ExecutionResult\n"
        "async def nothing(*a, **k):\n"
        "    result = ExecutionResult(None)\n    result.execution_count = 1\n    return result\n"
        "type(get_ipython()).run_cell_async = nothing",)),
    Entry("swallows exceptions by a handler", _returns("0"), OUTSIDE, before=(
        "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)",)),
    Entry("changes the test's variables through its frame", _does(
        "frame = sys._getframe()", "while frame:",
        "    if frame.f_code.co_name == '_compare':", "        frame.f_locals['k'] = 0",
        "        to_fast(ctypes.py_object(frame), 0)", "    frame = frame.f_back", "return 0",
        lines=["import ctypes, sys", "to_fast = ctypes.pythonapi.PyFrame_LocalsToFast"]), OUTSIDE),
    Entry("runs the reference of the exercise itself", _returns("0") + (
        "\ntry:\n    from grading_corpus import q1\n    exec(q1.reference, globals())\n"
        "except ImportError: pass"), BLANK),
    Entry("a file privlab.py beside the notebook", _returns("0"), OUTSIDE, before=(
        "import sys, types\nfake = types.ModuleType('grading_corpus')\n"
        "class Q:\n    require = check = lambda self, *a, **k: None\n"
        "fake.q1 = fake.q2 = fake.q3 = Q()\nsys.modules['grading_corpus'] = fake\nq1 = Q()",)),
    Entry("redefined after the check", _returns("0"), "the last definition counts, run anew",
          after=("def total(values, k):\n    return -2",)),
    Entry("right, then wrong further down", Total.reference, "the last definition counts",
          after=("def total(values, k):\n    return -2",)),
    Entry("looks for the tests in memory", _does(
        "found = [o for o in gc.get_objects() if type(o).__name__ in ('Total', 'Noisy')]",
        "found += [m for m in sys.modules if m.startswith('grading_corpus')]",
        "if found: raise Exception(f'BREACH {found}')", lines=["import gc, sys"]), BLANK),
    Entry("imports references", _does(
        "text = inspect.getsource(importlib.import_module('privlab.exercises.lesson_03'))",
        "raise Exception('BREACH ' + text[:200])", lines=["import importlib, inspect"]), BLANK),
    Entry("reloads the exercises without the finder", _does(
        "sys.meta_path[:] = [f for f in sys.meta_path if 'Blank' not in type(f).__name__]",
        "for name in [n for n in sys.modules if 'exercises' in n]: del sys.modules[name]",
        "import privlab.exercises.lesson_03 as tasks",
        "raise Exception(f'BREACH {tasks.EXERCISES[0].reference}')", lines=["import sys"]), BLANK),
    Entry("reads references and tests on disk", _does(
        "here = pathlib.Path(privlab.__file__).parent",
        "found = [str(p) for p in here.rglob('lesson_*')] + list(here.glob('grading/m*'))",
        "found += list(here.parent.glob('tests/*')) + list(here.parent.glob('notebooks/*'))",
        "if found: raise Exception(f'BREACH {found}')", lines=["import pathlib, privlab"]), CLOSED),
    Entry("walks the frames", _does(
        "frame = sys._getframe()", "while frame:",
        "    for name in ('expected', 'seed', 'exercise', 'results', 'rng'):",
        "        if name in frame.f_locals: raise Exception(f'BREACH {name}')",
        "    frame = frame.f_back", lines=["import sys"]), BLANK),
    Entry("reads environment and command lines of all processes", _does(
        "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):",
        "    try: text = open(path, 'rb').read().decode(errors='replace')",
        "    except OSError: continue",
        "    if re.search('CANARY|pytest|secret', text): raise Exception(f'BREACH {text}')",
        "if 'CANARY' in str(os.environ): raise Exception('BREACH')",
        lines=["import glob, os, re"]), CLOSED),
    Entry("follows its descriptors", _does(
        "for path in os.listdir('/proc/self/fd'):",
        "    try: there = os.readlink(f'/proc/self/fd/{path}')",
        "    except OSError: continue",
        "    if there.startswith('/') and not there.startswith(('/dev/', '/proc/', '/tmp')):",
        "        raise Exception(f'BREACH {there}')", lines=["import os"]), CLOSED),
    Entry("reads files of the computer", _does(
        "for path in ('/etc/passwd', '/etc/shadow', '/etc/hostname', '/root/.ssh', '/home',",
        "             '/var', '/sys', '/run', '/mnt', '/proc/kcore', '/proc/kmsg', CANARY):",
        "    try: there = os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(9)",
        "    except OSError: continue",
        "    if there: raise Exception(f'BREACH {path}')",
        lines=["import os", "CANARY = '/tmp/privlab-canary'"]), CLOSED),
    Entry("writes where Python starts", _does(
        "places = [p for p in sys.path if p] + [sys.prefix, sys.base_prefix, '/usr/lib', '/etc',",
        "          '/', '/dev', '/proc/sys/kernel', os.path.dirname(privlab.__file__),",
        "          os.path.dirname(privlab.__file__) + '/exercises', '/box']",
        "for folder in places:", "    for name in ('sitecustomize.py', 'x.pth', 'core_pattern'):",
        "        try: open(os.path.join(folder, name), 'a').close()",
        "        except OSError: continue",
        "        raise Exception(f'BREACH {folder}')", lines=["import os, sys, privlab"]), CLOSED,
        harms="writes into Python's folders"),
    Entry("calls the network", _does(
        "for kind, place in TRIES:",
        "    try:",
        "        with socket.socket(*kind) as s:",
        "            s.settimeout(1)",
        "            s.connect(place)",
        "            s.send(b'x')",
        "    except OSError: continue",
        "    raise Exception(f'BREACH {place}')",
        lines=["import socket as socket", "A, U, S, D = socket.AF_INET, socket.AF_UNIX, "
               "socket.SOCK_STREAM, socket.SOCK_DGRAM",
               "TRIES = [((A, S), ('1.1.1.1', 53)), ((A, D), ('1.1.1.1', 53)),",
               "         ((A, S), ('127.0.0.1', 47113)), ((U, S), b'\\0privlab-canary'),",
               "         ((U, S), '/tmp/privlab-canary.sock'), ((U, D), '/dev/log'),",
               "         ((U, S), '/run/dbus/system_bus_socket')]"]), CLOSED),
    Entry("asks for more rights", _does(
        "c = ctypes.CDLL(None, use_errno=True)",
        "call = lambda *a: c.syscall(*a) if platform.machine() == 'x86_64' else -1",
        "tries = {'setuid': lambda: c.setuid(0), 'chroot': lambda: c.chroot(b'/tmp'),",
        "  'mount': lambda: c.mount(b'x', b'/tmp', b'tmpfs', 0, 0),",
        "  'userns': lambda: c.unshare(0x10000000),",
        "  'clone': lambda: call(56, 0x10000000, 0, 0, 0, 0),",
        "  'ptrace': lambda: c.ptrace(16, 1, 0, 0),",
        "  'keyring': lambda: call(250, 0, -3, 0),",
        "  'memfd': lambda: c.memfd_create(b'x', 0), 'shm': lambda: c.shmget(0, 9, 0o1600),",
        "  'clock': lambda: c.clock_settime(0, bytes(16)),",
        "  'nice': lambda: c.setpriority(0, 0, -5), 'hostname': lambda: c.sethostname(b'x', 1),",
        "  'uring': lambda: call(425, 1, bytes(120)),",
        "  'bpf': lambda: call(321, 0, bytes(99), 99),",
        "  'module': lambda: call(175, 0, 0, 0), 'reboot': lambda: c.reboot(0x89ABCDEF)}",
        "for name, do in tries.items():",
        "    if do() != -1:",
        "        raise Exception(f'BREACH {name}')",
        lines=["import ctypes, platform"]), "no rights, no capabilities, filtered system calls",
        harms="mounts, sets the clock"),
    Entry("lifts its own limits", _does(
        "for name in ('CPU', 'FSIZE', 'DATA', 'NOFILE', 'CORE'):",
        "    which = getattr(resource, 'RLIMIT_' + name)",
        "    soft, hard = resource.getrlimit(which)",
        "    try: resource.setrlimit(which, (hard + 1, hard + 1))",
        "    except (ValueError, OSError): continue",
        "    raise Exception(f'BREACH {name}')", lines=["import resource"]),
        "hard limits can only be lowered"),
    Entry("signals to its parent, to process 1 and to all", _does(
        "for pid in (os.getppid(), 1):", "    for number in (1, 2, 9, 15, 19):",
        "        try: os.kill(pid, number)", "        except OSError: pass",
        lines=["import os"]), "a process space of its own", harms="kills the grader"),
    Entry("makes a graded notebook of its own", _returns(
        "0", "import pathlib", "for name in ('grades.csv', 'results.json', 'gradebook.db'):",
        "    pathlib.Path('/tmp', name).write_text('student,points\\nme,100\\n')"),
        "results are written outside"),
    Entry("forges a result message", _returns("0"), OUTSIDE, before=(
        "shell = get_ipython()\ndef forge(*a, **k):\n    return None\n"
        "shell.showtraceback = forge",)),
]  # fmt: skip

_SHORT = {"seconds": 4}
_DOES_NOT_END = "import time\ntime.sleep(3600)"

COMPUTES = Entry("computes in many processes, each in a session of its own", _does(
    "for _ in range(20):", "    if not os.fork():", "        os.setsid()",
    "        while True: pass", "time.sleep(3600)", lines=["import os, time"]), LIMIT,
    told="computing time", limits={"cpu": 10}, harms="takes all processors")  # fmt: skip

ENDS = [
    Entry("os._exit", _does("os._exit(0)", lines=["import os"]), LIMIT, told="ended its own"),
    Entry("SystemExit", _does("raise SystemExit(0)"), "it is an answer like any other",
          told="ends the program"),
    Entry("SystemExit while the cell runs", _returns("0") + "\nraise SystemExit",
          "the cell ends, not the run"),
    Entry("kills itself", _does("os.kill(os.getpid(), 9)", lines=["import os"]), LIMIT,
          told="ended its own"),
    Entry("kills all it can", _does("os.kill(-1, 9)", lines=["import os"]), LIMIT,
          told="-1", harms="kills everything"),
    Entry("crashes the interpreter", _does("ctypes.string_at(0)", lines=["import ctypes"]), LIMIT,
          told="ended its own"),
    Entry("stops itself", _does("os.kill(os.getpid(), 19)", lines=["import os"]), LIMIT,
          told="longer than", limits=_SHORT),
    Entry("an endless loop", _does("while True: pass"), LIMIT, told="longer than", limits=_SHORT),
    Entry("a loop that ignores interrupts", _does(
        "for n in (2, 14, 15): signal.signal(n, signal.SIG_IGN)", "while True:",
        "    try:", "        while True: pass", "    except BaseException: pass",
        lines=["import signal"]), LIMIT, told="longer than", limits=_SHORT),
    Entry("sleeps", _does("time.sleep(3600)", lines=["import time"]), LIMIT, told="longer than",
          limits=_SHORT),
    Entry("a deadlock", _does("lock.acquire()", "lock.acquire()", lines=[
        "import threading", "lock = threading.Lock()"]), LIMIT, told="longer than", limits=_SHORT),
    Entry("a number that takes for ever", _does("return 7 ** 7 ** 10"), LIMIT,
          told="longer than", limits=_SHORT),
    Entry("hangs while the cells run", "import time\nwhile True: time.sleep(1)\n" + _returns("0"),
          LIMIT, before=("import time\nwhile True:\n    total = 1\n    time.sleep(1)",),
          limits=_SHORT),
    Entry("hangs when its answer is deleted or the process ends", _does(
        "return H()", lines=["import atexit, time", "class H:",
                             "    def __del__(self): time.sleep(3600)",
                             "atexit.register(time.sleep, 3600)"]), LIMIT, limits=_SHORT),
    Entry("hangs when its answer is taken apart", _returns(
        "H(1)", "import numpy as np, time", "class H(np.float64):",
        "    def __array__(self, *a, **k): time.sleep(3600)"), LIMIT, limits=_SHORT),
    Entry("memory: a list", _does("x = []", "while True: x.append(bytearray(10_000_000))"),
          LIMIT, told="emory", limits={"memory": 400 << 20}, harms="fills the memory"),
    Entry("memory: an array", _does("return float(np.ones(10**10).sum())",
          lines=["import numpy as np"]), LIMIT, told="emory", limits={"memory": 400 << 20},
          harms="fills the memory"),
    Entry("memory: shared, in children, in files without a name", _does(
        "got = 0", "for make in (lambda: mmap.mmap(-1, 1 << 28), lambda: os.memfd_create('x')):",
        "    try: make()", "    except OSError: got += 1", "if got < 2: raise Exception('BREACH')",
        "while True:", "    if not os.fork():", "        x = bytearray(1 << 26)",
        "        x[::4096] = b'x' * len(x[::4096])", "        time.sleep(60)",
        "    time.sleep(0.05)", lines=["import mmap, os, time"]), LIMIT, told="of memory",
        limits={"memory": 400 << 20}, harms="fills the memory"),
    Entry("memory: behind a first thread that has ended", _does(
        "for _ in range(4):", "    if not os.fork():",
        "        threading.Thread(target=fill).start()",
        "        ctypes.CDLL(None).syscall(END)", "time.sleep(60)", lines=[
            "import ctypes, os, platform, threading, time",
            "END = 60 if platform.machine() == 'x86_64' else 93", "def fill():",
            "    time.sleep(1)", "    x = bytearray(b'x') * (1 << 27)", "    time.sleep(60)"]),
        LIMIT, told="of memory", limits={"memory": 400 << 20, "seconds": 30},
        harms="fills the memory"),
    Entry("memory: unpacks a small bomb", _does(
        "return len(gzip.decompress(gzip.compress(bytes(1 << 24)) * 300))", lines=["import gzip"]),
        LIMIT, told="emory", limits={"memory": 400 << 20}, harms="fills the memory"),
    Entry("disk: large, sparse and very many files", _does(
        "for folder in ('/tmp', '/dev/shm'):", "    try:", "        for i in range(99):",
        "            open(f'{folder}/{i}', 'wb').write(bytes(1 << 20))",
        "        raise Exception('BREACH full')", "    except OSError: pass",
        "try: os.truncate(os.open('/tmp/s', os.O_CREAT | os.O_RDWR), 1 << 40)",
        "except OSError: pass", "else: raise Exception('BREACH sparse')",
        "for i in range(10**9): open(f'/dev/shm/{i}x', 'w').close()",
        lines=["import os, signal", "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"]), LIMIT,
        told="files", limits={"disk": 32 << 20}, harms="fills the disk"),
    Entry("a fork bomb", _does("while True: os.fork()", lines=["import os"]), LIMIT,
          told="processes", harms="fills the process table"),
    COMPUTES,
    Entry("a bomb of threads", _does(
        "while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        lines=["import threading, time", "threading.stack_size(65536)"]), LIMIT, told="thread",
        harms="fills the process table"),
    Entry("leaves a bomb for the next exercise", _does(
        "threading.Thread(target=bomb, daemon=True).start()", lines=[
            "import os, threading, time", "def bomb():", "    time.sleep(0.01)",
            "    while True: os.fork()"]),
        "whoever is hit by what another left gets a process of its own",
        harms="fills the process table"),
    Entry("opens all descriptors", _does(
        "x = [os.open('/dev/null', 0) for _ in range(9999)]", lines=["import os"]),
        "at most 256", told="Too many open files"),
    Entry("opens files in programs that must not be read", _does(
        "shutil.copy('/bin/sleep', '/tmp/s')", "os.chmod('/tmp/s', 0o111)",
        "for n in range(20, 220): os.dup2(0, n)", "for _ in range(6):",
        "    if not os.fork(): os.execv('/tmp/s', ['s', '60'])", "time.sleep(60)",
        lines=["import os, shutil, time"]), LIMIT, told="open", harms="opens all descriptors"),
    Entry("leaves processes behind", _does(
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(47113)'],",
        "                 start_new_session=True)", lines=["import subprocess, sys"]),
        "they end with process 1"),
]  # fmt: skip

_PIPES = "for pipe in range(3, 12):\n    try: os.write(pipe, {})\n    except OSError: pass"


def _writes(text: str) -> str:
    return _does(*_PIPES.format(text).split("\n"), lines=["import os"])


PROTOCOL = [
    Entry("writes forged replies", _writes(
        "b''.join(b'{\"number\": %d, \"value\": 1}\\n' % i for i in range(50))"),
        "a reply is no more than a value"),
    Entry("writes half a line", _writes("b'{\"number\": 1, '"), LIMIT, told="no answer"),
    Entry("writes bytes that are no text", _writes("b'\\xff\\xfe\\x00\\n' * 9"), LIMIT,
          told="no answer"),
    Entry("writes NaN, huge and nested JSON", _writes(
        "b'{\"number\": 1, \"value\": [NaN, ' + b'9' * 4000 + b'[' * 90 + b']' * 90 + b']}\\n'"),
        "no number, no list of plain values"),
    Entry("writes JSON nested without end", _writes("b'[' * 60_000 + b'\\n'"), LIMIT,
          told="no answer"),
    Entry("writes what is not tried and what is wrong as it likes", _writes(
        "b'{\"number\": 1, \"not_tried\": \"' + b'x' * 50_000 + b'\"}\\n'"), OUTSIDE),
    Entry("a reply without an end", _does("return 'x' * 50_000_000"), LIMIT, told="more than 4 MB",
          limits={"reply": 4 << 20}),
    Entry("a reply that unfolds", _returns("[[]] * 900_000"), "a number is asked for",
          limits={"reply": 4 << 20}),
    Entry("closes its pipes", _does("os.closerange(3, 99)", "time.sleep(60)",
          lines=["import os, time"]), LIMIT, told="longer than", limits=_SHORT),
    Entry("replaces the worker's own functions", _returns(
        "0", "import sys", "import privlab.exercise as e, privlab.wire as w",
        "main = sys.modules['__main__']", "evil = lambda value: {'$array': {'dtype': 'O', "
        "'shape': [1], 'bytes': 'AAAA'}}", "w.pack = main.pack = e.pack = evil",
        "e.LocalPeer.call = lambda *a, **k: 1"), OUTSIDE),
    Entry("an array whose shape is a lie", _returns(
        "0", "import sys", "main = sys.modules['__main__']",
        "main.pack = lambda value: {'$array': {'dtype': '<f8', 'shape': [0, 10**15], "
        "'bytes': ''}}"), "a number is asked for"),
]  # fmt: skip

AUDITED = [
    Entry("no noise", "def noisy(values, epsilon, rng):\n    return len(values)",
          "the audit", exercise="0.3", told="audit"),
    Entry("noise for the first calls alone",
          "calls = []\ndef noisy(values, epsilon, rng):\n    calls.append(1)\n"
          "    noise = rng.laplace(0, 1 / epsilon)\n"
          "    return len(values) + (noise if len(calls) < 200 else 0)",
          "the audit looks at all calls", exercise="0.3", told="audit"),
    Entry("the seed betrays the noise",
          "def noisy(values, epsilon, rng):\n"
          "    return len(values) + type(rng)(type(rng.bit_generator)(7)).laplace(0, 1 / epsilon)",
          "the audit", exercise="0.3", told="audit"),
    Entry("one number for all", "def noisy(values, epsilon, rng):\n    return 10.0",
          "a test of use", exercise="0.3", told="On average"),
    Entry("remembers its inputs",
          "seen = {}\ndef noisy(values, epsilon, rng):\n"
          "    return seen.setdefault(len(values), len(values) + rng.laplace(0, 1 / epsilon))",
          "the audit", exercise="0.3", told="audit"),
]  # fmt: skip

#: These end nothing and wait for nothing: they may run in one process.
GENTLE = (*VALUES, *HELPERS)
CHEATS = (*VALUES, *HELPERS, *ENDS, *PROTOCOL, *AUDITED)

_RIGHT = "    return k * sum(v * v for v in values)"
_TOTAL = f"def total(values, k):\n{_RIGHT}"


def _odd(name: str, code: str, **more: object) -> Entry:
    return Entry(name, code, "it is right", earns=2, **more)


#: Honest answers in the forms in which they come; each must get full points.
ODDITIES = (
    _odd("as in the solution", Total.reference),
    _odd("noisy on standard error", "import sys\n" + _TOTAL.replace(
        "):\n", "):\n    print('!' * 999, file=sys.stderr)\n")),
    _odd("prints 10 MB", _TOTAL.replace("):\n", "):\n    print('x' * 10_000_000)\n"),
         limits={"seconds": 20}),
    _odd("copied cell", _TOTAL, after=(_TOTAL,)),
    _odd("defined twice, the second is right", "def total(values, k): return 0\n" + _TOTAL),
    _odd("the starter code further down", _TOTAL, after=(Total.stub,)),
    _odd("magics", "%matplotlib inline\n" + _TOTAL + "\n!ls\n%pip install x"),
    _odd("timed", "%%time\n" + _TOTAL),
    _odd("pasted with an indentation", "    def total(values, k):\n    " + _RIGHT),
    _odd("a helper in another cell", "def total(values, k): return k * square_sum(values)",
         before=("import numpy as np\ndef square_sum(x): return float(np.square(x).sum())",)),
    _odd("a helper further down", "def total(values, k): return k * squares(values)",
         after=("squares = lambda x: sum(v ** 2 for v in x)",)),
    _odd("cells that fail", _TOTAL, before=("1 / 0", "def broken(:", "import nothing_like_that")),
    _odd("a cell with two arguments of one name", _TOTAL, before=("def f(x, x): return x",)),
    _odd("warnings", "import warnings\n" + _TOTAL.replace(
        "):\n", "):\n    warnings.warn('hm', DeprecationWarning)\n")),
    _odd("type hints, a decorator, a cache",
         "import functools\nfrom collections.abc import Sequence\n"
         "def tupled(f):\n    @functools.wraps(f)\n"
         "    def inner(values, k): return f(tuple(values), k)\n    return inner\n"
         "@tupled\n@functools.lru_cache(maxsize=None)\n"
         "def total(values: Sequence[float], k: 'int') -> float:\n" + _RIGHT),
    _odd("a lambda", "total = lambda values, k: k * sum(v * v for v in values)"),
    _odd("a class with __call__", "class T:\n    def __call__(self, values, k):\n    " + _RIGHT
         + "\ntotal = T()"),
    _odd("a partial", "import functools, operator\n"
         "def weighted(power, values, k): return k * sum(v ** power for v in values)\n"
         "total = functools.partial(weighted, 2)"),
    _odd("global state", "calls = 0\ndef total(values, k):\n    global calls\n    calls += 1\n"
         + _RIGHT),
    _odd("changes its argument", "def total(values, k):\n"
         "    for i in range(len(values)): values[i] **= 2\n    return k * sum(values)"),
    _odd("numpy scalar", "import numpy as np\n"
         "def total(values, k): return np.float64(k) * np.sum(np.square(values))"),
    _odd("array of one number", "import numpy as np\n"
         "def total(values, k): return np.array([k * np.sum(np.square(values))])"),
    _odd("a very long expression", "def total(values, k):\n    x = " + "0 + " * 900 + "k\n"
         "    return x * sum(v * v for v in values)"),
    _odd("recursion", "import sys\nsys.setrecursionlimit(5000)\n"
         "def squares(x): return 0 if not x else x[0] ** 2 + squares(x[1:])\n"
         "def total(values, k): return k * squares(list(values))"),
    _odd("threads and processes of its own",
         "from concurrent.futures import ThreadPoolExecutor\n"
         "def total(values, k):\n    with ThreadPoolExecutor(4) as pool:\n"
         "        return k * sum(pool.map(lambda v: v * v, values))"),
    _odd("a file of its own", "import json, pathlib\ndef total(values, k):\n"
         "    file = pathlib.Path('mine.json')\n    file.write_text(json.dumps(values))\n"
         "    return k * sum(v * v for v in json.loads(file.read_text()))"),
    _odd("scikit-learn and torch inside", "def total(values, k):\n    import torch\n"
         "    from sklearn.metrics import mean_squared_error\n"
         "    x = torch.tensor(values, dtype=torch.float64).numpy()\n"
         "    return k * len(x) * mean_squared_error(x, 0 * x)", limits={"seconds": 60}),
)  # fmt: skip


# ---- what is in files rather than in code ------------------------------------------------------

LESSON = "00"
WRONG = "def total(values, k):\n    return -1"


def notebook(
    *code: str,
    metadata: Mapping[str, object] | None = None,
    of_cells: Mapping[str, object] | None = None,
    outputs: Sequence[Mapping[str, object]] = (),
) -> bytes:
    """Make a notebook's file: a heading, then cells of code, all with the same extras."""
    cells: list[dict[str, object]] = [
        {"cell_type": "markdown", "metadata": {}, "source": f"# {LESSON} · A synthetic task"}
    ]
    for source in code:
        cells.append({"cell_type": "code", "metadata": dict(of_cells or {}), "source": source,
                      "outputs": list(outputs), "execution_count": 7})  # fmt: skip
    page = {"cells": cells, "metadata": dict(metadata or {}), "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(page).encode()


def zipped(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Make a zip file; a link has a name and where it leads."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        for name, target in (links or {}).items():
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, target)
    return made.getvalue()


@dataclass(frozen=True)
class Sent:
    """What one student sent.

    Attributes:
        name: What it tries.
        files: Contents by path in the student's folder; a text is where a link leads.
        earns: Points of ``total`` and of ``width``.
        noted: A part of what is noted on it.
    """

    name: str
    files: Mapping[str, bytes | str]
    earns: tuple[int, int] = (0, 1)
    noted: str = ""


_WIDTH = Width.reference
_MIXED = notebook(WRONG, _WIDTH)
_RIGHT_PAGE = notebook(Total.reference, _WIDTH)
_SAYS = {"output_type": "execute_result", "execution_count": 7, "metadata": {},
         "data": {"text/plain": "0.1 · correct", "text/html": "<b>2 of 2 points</b>"}}  # fmt: skip


def sent(stamp_of_another: str) -> tuple[Sent, ...]:
    """Return what the class sent; the student ``victim`` is honest."""
    graded = {"nbgrader": {"grade": True, "grade_id": "test-0_1", "points": 100, "score": 100,
                           "schema_version": 3, "solution": False, "locked": False}}  # fmt: skip
    own = {"task": LESSON, "points": 100, "score": 3, "seed": 0}
    return (
        Sent("forged outputs", {"a.ipynb": notebook(WRONG, _WIDTH, outputs=[_SAYS])}),
        Sent("points in the cells' metadata",
             {"a.ipynb": notebook(WRONG, _WIDTH, of_cells=graded, metadata=graded)}),
        Sent("points in the notebook's metadata", {"a.ipynb": notebook(
            WRONG, _WIDTH, metadata={"privlab": {**own, "assignment": "00:me:1:00"}})},
            noted="not one of this course's"),
        Sent("metadata of another kind", {"a.ipynb": notebook(
            WRONG, _WIDTH, metadata={"privlab": [own], "kernelspec": 3, "language_info": None})}),
        Sent("the stamp of another student", {"a.ipynb": notebook(
            WRONG, _WIDTH, metadata={"privlab": {**own, "assignment": stamp_of_another}})},
            noted="was handed out to victim"),
        Sent("two answers, the last is wrong",
             {"a.ipynb": notebook(Total.reference, WRONG, _WIDTH)}),
        Sent("two answers, the last is right",
             {"a.ipynb": notebook(WRONG, Total.reference, _WIDTH)}, earns=(2, 1)),
        Sent("two notebooks", {"a.ipynb": _RIGHT_PAGE, "b.ipynb": _MIXED}, noted="later one"),
        Sent("a link to another's folder", {"a.ipynb": "../victim/a.ipynb"}, earns=(0, 0),
             noted="a link"),
        Sent("a link in a zip file", {"a.zip": zipped(
            {"b.ipynb": _MIXED}, {"a.ipynb": "/etc/passwd"}), }, noted="a link"),
        Sent("another's folder in a zip file", {"a.zip": zipped(
            {"victim/z.ipynb": _MIXED, "../victim/zz.ipynb": _MIXED,
             "/victim.ipynb": _MIXED})}, noted="later one"),
        Sent("a zip bomb", {"a.zip": zipped(
            {f"{n}.ipynb": bytes(10 << 20) for n in range(12)} | {"z.ipynb": _MIXED})},
            earns=(0, 0), noted="100 MB"),
        Sent("zip files in zip files", {"a.zip": zipped(
            {"b.zip": zipped({"c.zip": zipped({"d.ipynb": _RIGHT_PAGE})}), "a.ipynb": _MIXED})},
            noted="zip file in a zip file"),
        Sent("a huge file", {"00_start_here.ipynb": b" " * 20_000_001}, earns=(0, 0),
             noted="20 MB"),
        Sent("a huge program", {"a.ipynb": notebook("x = 1\n" * 99_999, _WIDTH)}, earns=(0, 0),
             noted=""),
        Sent("magics without end", {"a.ipynb": notebook(WRONG, "%x\n" * 30_000, _WIDTH)}),
        Sent("HTML in a file's name", {"<img src=x onerror=alert(1)>.ipynb": _MIXED}),
        Sent("a name that is no text", {"\udcff\x1b]0;x.ipynb": _MIXED}),
        Sent("HTML and colours in what it raises", {"a.ipynb": notebook(
            "def total(values, k):\n    raise ValueError('</p><script>alert(1)</script>\\x1b[2J"
            "\\ud800')", _WIDTH)}),
    )  # fmt: skip
