"""Exercises: one class holds the names to define, hints, solution, typical mistakes and tests.

A test is a method that starts with ``test_`` (runs in the notebook and in grading) or ``hidden_``
(grading only). It gets the learner's functions and a seeded generator, raises :class:`Wrong` with
what the learner should be told, or returns one line of evidence ("the attack named 3 of 5,000
patients"). The same tests run in the notebook and in grading.
"""

import contextlib
import html
import io
import linecache
import math
import os
import re
import signal
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .wire import NotPlain, pack, unpack


@dataclass(frozen=True)
class Measured:
    """Something that a test measured and that has a limit: drawn in the report of a grade.

    Attributes:
        what: A few words, with the unit.
        value: What was found, at least 0.
        limit: What is allowed at most.
    """

    what: str
    value: float
    limit: float


class Wrong(AssertionError):
    """The answer is wrong; the message is shown to the learner.

    Args:
        message: What the learner should be told.
        measured: What was measured so far.
    """

    def __init__(self, message: str, measured: Sequence[Measured] = ()):
        super().__init__(message)
        self.measured = tuple(measured)


class Evidence(str):
    """One line of evidence of a test, with what it measured.

    Args:
        text: The line.
        measured: What was measured.
    """

    measured: tuple[Measured, ...]

    def __new__(cls, text: str, measured: Sequence[Measured] = ()) -> "Evidence":
        """Make a text that carries measurements."""
        made = super().__new__(cls, text)
        made.measured = tuple(measured)
        return made


class NotTried(Exception):
    """The learner has not written an answer yet."""


class TimeUp(BaseException):
    """The check took too long; a learner's ``except Exception`` cannot swallow it."""


@dataclass(frozen=True)
class Mistake:
    """A typical mistake.

    Attributes:
        name: What is wrong, in a few words.
        code: A whole answer cell that makes the mistake.
        says: A part of what the learner is told; no other mistake of the exercise is told the same.
    """

    name: str
    code: str
    says: str


def escape(text: object) -> str:
    """Return a text as HTML that shows it as it is."""
    # Halves of surrogate pairs, which JSON and file names can hold, cannot be written.
    return html.escape(str(text).encode("utf-8", "replace").decode())


def prose(text: object) -> str:
    """Return a text for people as HTML: what stands in backticks is code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))


@dataclass(frozen=True)
class Note:
    """What ``check``, ``hint`` and ``solution`` show, as text and as HTML."""

    title: str
    lines: tuple[str, ...] = ()
    code: str = ""

    def __repr__(self) -> str:
        return "\n".join([self.title, *self.lines, *([self.code] if self.code else [])])

    def _repr_html_(self) -> str:
        # No colour but that of the theme: readable in light and dark, no meaning by colour alone.
        body = "".join(f"<div>{prose(line)}</div>" for line in self.lines)
        code = f"<pre><code>{escape(self.code)}</code></pre>" if self.code else ""
        style = "border-left: 4px solid currentColor; padding: 0.3em 0.8em; margin: 0.3em 0"
        return f'<div style="{style}"><strong>{prose(self.title)}</strong>{body}{code}</div>'


# ---- what a learner's function must return ---------------------------------------------------

Kind = Callable[[Any, str], Any]


def kind_name(value: Any) -> str:
    """Say in a few words what a value is, for the message that it should be something else."""
    if value is None:
        return "None (is there a `return` line?)"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} with {len(value)} entries"
    names = {
        "DataFrame": "a table",
        "Series": "a column (Series)",
        "str": "text",
        "int": "a number",
    }
    return names.get(type(value).__name__, f"a {type(value).__name__}")


def number(value: Any, what: str) -> float:
    """Accept one finite number; also an array or a list that holds just one."""
    if type(value) in (float, np.float64) and math.isfinite(value):
        return float(value)  # audits ask a hundred thousand times
    if isinstance(value, bool | str) or value is None or np.size(value) != 1:
        raise Wrong(f"{what} should be a number, but it is {kind_name(value)}.")
    try:
        value = float(np.asarray(value).reshape(()))
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be a number, but it is {kind_name(value)}.") from None
    except OverflowError:
        raise Wrong(f"{what} is too large a number.") from None
    if not np.isfinite(value):
        raise Wrong(f"{what} should be a finite number, but it is {value}.")
    return value


def column(value: Any, what: str) -> pd.Series:
    """Accept a Series, a list, a tuple or a one-dimensional array without missing values."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        value = pd.Series(value)
    if not isinstance(value, pd.Series):
        raise Wrong(f"{what} should be a list or a column, but it is {kind_name(value)}.")
    if value.isna().any():
        raise Wrong(f"{what} has {int(value.isna().sum()):,} missing values (NaN).")
    return value


def array(dimensions: int, form: str, not_finite: str | None = None) -> Kind:
    """Make a kind that accepts arrays of numbers, and lists that are such an array.

    No rows at all, ``[]`` or ``np.array([])``, stand for a two-dimensional array without rows.

    Args:
        dimensions: How many the array has.
        form: What it should be, in words, as in "a vector: one number a parameter".
        not_finite: What to look at where a value is NaN or infinite. Without it such values pass,
            and a test of the exercise has to judge them.
    """

    def kind(value: Any, what: str) -> np.ndarray:
        try:
            values = np.asarray(value)
        except ValueError:  # rows of several lengths
            values = np.array(None)
        if dimensions == 2 and values.shape == (0,):
            return np.zeros((0, 0))
        if values.dtype.kind not in "iuf" or values.ndim != dimensions:
            raise Wrong(f"{what} should be {form}, but it is {kind_name(value)}.")
        if not_finite is not None and not np.isfinite(values).all():
            raise Wrong(f"{what} holds NaN or infinity. {not_finite}")
        return values.astype(float)

    return kind


def table(value: Any, what: str) -> pd.DataFrame:
    """Accept a DataFrame that has rows and columns."""
    if not isinstance(value, pd.DataFrame):
        raise Wrong(f"{what} should be a table (DataFrame), but it is {kind_name(value)}.")
    if value.shape[0] == 0 or value.shape[1] == 0:
        raise Wrong(f"{what} is a table without {'rows' if value.shape[1] else 'columns'}.")
    return value


def mapping(value: Any, what: str) -> dict:
    """Accept a dict."""
    if not isinstance(value, dict):
        raise Wrong(f"{what} should be a dict, but it is {kind_name(value)}.")
    return value


# ---- calling the learner's code ----------------------------------------------------------------


class _Printed(io.StringIO):
    """Keeps the beginning of what is printed, however much that is."""

    def write(self, text: str) -> int:
        if self.tell() < 10_000:
            super().write(text)
        return len(text)


@dataclass
class LocalPeer:
    """Calls the learner's functions in this process, through the plain data of the wire.

    Attributes:
        namespace: Where the learner's names live.
        printed: What the learner's code printed during the check.
    """

    namespace: Mapping[str, Any]
    printed: io.StringIO = field(default_factory=_Printed)

    def call(self, name: str, args: tuple | None, kwargs: dict) -> Any:
        """Call a function of the learner (``args=None`` reads a variable)."""
        value = self._value(name)
        if args is not None:
            args = unpack(pack(tuple(args)))
            kwargs = {key: unpack(pack(item)) for key, item in kwargs.items()}
            function = self._function(name)
            value = self._guarded(name, lambda: function(*args, **kwargs))
            if value is ... or value is NotImplemented:
                raise NotTried(name)
        return self._plain(name, value)

    def sample(self, name: str, inputs: list[tuple], choices: list[int], seed: int) -> list[Any]:
        """Call a random function of the learner once for each choice among some inputs.

        Each call gets copies of the input's arguments and, as its last argument, one generator
        that is made here of ``seed``: generators do not cross the wire.
        """
        return listed(self.sampled(name, inputs, choices, seed), len(choices))

    def sampled(self, name: str, inputs: list[tuple], choices: list[int], seed: int) -> Any:
        """Do as :meth:`sample`, but return what :func:`listed` makes the list of outputs of."""
        function, rng = self._function(name), np.random.default_rng(seed)
        fresh = [[_copier(each) for each in unpack(pack(args))] for args in inputs]

        def outputs() -> Iterator[Any]:
            for choice in choices:
                output = function(*(copy() for copy in fresh[choice]), rng)
                if output is ... or output is NotImplemented:
                    raise NotImplementedError
                yield output

        found = self._guarded(name, lambda: list(outputs()))
        with contextlib.suppress(Exception):
            return unpack(pack(_compact(found)))
        return self._plain(name, found)  # it says what cannot cross

    def _value(self, name: str) -> Any:
        value = self.namespace.get(name, ...)
        if value is ...:
            raise NotTried(name)
        return value

    def _function(self, name: str) -> Callable:
        value = self._value(name)
        if not callable(value):
            raise Wrong(f"`{name}` should be a function, but it is {kind_name(value)}.")
        return value

    @staticmethod
    def _plain(name: str, value: Any) -> Any:
        """Return a learner's value as plain data."""
        try:
            return unpack(pack(value))
        except NotPlain as problem:
            raise Wrong(f"`{name}` gives {problem}; numbers, text, lists, dicts, arrays and "
                        "tables can be checked.") from None  # fmt: skip
        except Exception as error:
            raise Wrong(f"What `{name}` gives cannot be read ({type(error).__name__}).") from None

    def _guarded(self, name: str, run: Callable[[], Any]) -> Any:
        """Run the learner's code; whatever it does becomes a message."""
        try:
            with (
                contextlib.redirect_stdout(self.printed),
                contextlib.redirect_stderr(self.printed),
            ):
                return run()
        except NotImplementedError:
            raise NotTried(name) from None
        except RecursionError:
            raise Wrong(f"`{name}` calls itself without end.") from None
        except (KeyboardInterrupt, TimeUp):
            raise
        except SystemExit:
            raise Wrong(f"`{name}` ends the program: remove exit() or quit().") from None
        except BaseException as error:
            raise Wrong(f"`{name}` stops with {_describe(error)}") from None


def _copier(value: Any) -> Callable[[], Any]:
    """Return what makes copies of an argument, so that no call sees what another did to it."""
    return value.copy if callable(getattr(value, "copy", None)) else lambda: value


#: Of lists, tuples and dicts so many entries become columns, of those in them as well, and no
#: deeper.
_FEW, _LEVELS = 64, 2


def _compact(outputs: list[Any], level: int = 0) -> Any:
    """Put outputs of one form into columns: they cross the wire ten to a hundred times as fast.

    Returns:
        An array if all are numbers, or all are vectors of one length. For lists or tuples of one
        length, and for dicts of the same keys, a dict with a column for each entry. Else the
        outputs as they are. :func:`listed` makes the outputs of it again.
    """
    kinds = set(map(type, outputs))
    numbers = all(kind in (bool, int, float) or issubclass(kind, np.number) for kind in kinds)
    array = _joined(outputs) if numbers or kinds == {np.ndarray} else None
    if array is not None and (not level or _same(outputs, kinds, array)):
        return {"values": array, "plain": kinds <= {bool, int, float}} if level else array
    containers = kinds in ({list}, {tuple}, {dict}) and 0 < len(outputs[0]) <= _FEW
    if level == _LEVELS or not containers:
        return outputs
    if kinds == {dict}:
        form = {"keys": list(outputs[0])}
        alike = len({tuple((type(key), key) for key in output) for output in outputs}) == 1
    else:
        form, alike = {"tuple": kinds == {tuple}}, len(set(map(len, outputs))) == 1
    if not alike:
        return outputs
    rows = map(dict.values, outputs) if kinds == {dict} else outputs
    columns = [_compact(list(column), level + 1) for column in zip(*rows, strict=True)]
    return form | {"columns": columns}


def _joined(outputs: list[Any]) -> np.ndarray | None:
    """Return numbers, or vectors of one length, as one array; None if that cannot be."""
    with contextlib.suppress(ValueError, OverflowError):
        array = np.array(outputs)
        return array if array.dtype.kind in "biuf" else None
    return None


def _same(outputs: list[Any], kinds: set[type], array: np.ndarray) -> bool:
    """Tell whether an array holds exactly what the outputs are, and something of each."""
    types = {each.dtype for each in outputs} if kinds == {np.ndarray} else kinds
    return len(types) == 1 and array.size > 0 and (types != {int} or array.dtype.kind in "iu")


def listed(outputs: Any, number: int) -> list[Any]:
    """Make a list of outputs of the form in which they cross the wire.

    Args:
        outputs: That form; it may come from a process that is not trusted.
        number: How many outputs there should be.

    Raises:
        ValueError: There is another number of them.
        TypeError, KeyError: They are in no such form.
    """
    if isinstance(outputs, dict) and "columns" in outputs:
        columns = outputs["columns"]
        # Nothing but lists, and arrays with entries, has sent as many outputs as it makes.
        if not isinstance(columns, list) or not all(isinstance(c, list | dict) for c in columns):
            raise TypeError("columns are lists, or packed")
        rows = list(zip(*(listed(each, number) for each in columns), strict=True))
        if "keys" in outputs:
            rows = [dict(zip(outputs["keys"], row, strict=True)) for row in rows]
        elif not outputs["tuple"]:
            rows = list(map(list, rows))
        if len(rows) != number:
            raise ValueError(f"{len(rows)} outputs where {number} were asked for")
        return rows
    packed = isinstance(outputs, dict)
    rows = outputs["values"] if packed else outputs
    if not isinstance(rows, np.ndarray if packed else list | np.ndarray):
        raise TypeError("outputs are a list, or an array")
    # Before they are listed: rows without entries take no room while they are an array.
    if len(rows) != number or (packed and rows.size < number):
        raise ValueError(f"{len(rows)} outputs where {number} were asked for")
    return rows.tolist() if packed and outputs["plain"] else list(rows)


def _describe(error: BaseException) -> str:
    """Say in one line what an exception was and in which line of the learner's code."""
    try:
        message = str(error)
    except Exception:
        message = ""
    text = f"{type(error).__name__}: {message}"[:300]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        # A cell's code lives in linecache under a name that is not a file's.
        if "ipykernel" in frame.filename or frame.filename.startswith("<"):
            source = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{text} (line {frame.lineno}: {source})" if source else text
    return text


class Answers:
    """What a test sees of the learner: ``answers.f(x)`` calls, ``answers["v"]`` reads."""

    def __init__(self, peer: Any, kinds: Mapping[str, Kind]):
        self._peer, self._kinds = peer, kinds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._kinds:
            raise AttributeError(name)
        kind = self._kinds[name]
        return lambda *args, **kwargs: kind(
            self._peer.call(name, args, kwargs), f"What `{name}` returns"
        )

    def sample(self, name: str, args: tuple, times: int, rng: np.random.Generator) -> list[Any]:
        """Call a random function of the learner many times with the same arguments.

        The function gets a generator as one more argument, the last. Each output is of the kind
        that the exercise asks for.
        """
        outputs = self.choose(name, [args], [0] * times, rng)
        return [self._kinds[name](output, f"What `{name}` returns") for output in outputs]

    def choose(
        self, name: str, inputs: list[tuple], choices: list[int], rng: np.random.Generator
    ) -> list[Any]:
        """Call a random function once for each choice among some inputs; outputs as they come."""
        return self._peer.sample(name, inputs, choices, int(rng.integers(2**63)))

    def __getitem__(self, name: str) -> Any:
        return self._kinds[name](self._peer.call(name, None, {}), f"`{name}`")


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeUp` after some seconds, where the system can (not in a thread)."""
    possible = hasattr(signal, "setitimer") and (
        threading.current_thread() is threading.main_thread()
    )
    if not possible:
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- the exercise ------------------------------------------------------------------------------

_seed = 0


def use_seed(seed: int) -> None:
    """Let all checks in this process draw their data from a seed; 0 is what a lesson comes with."""
    global _seed
    _seed = seed


@dataclass(frozen=True)
class Result:
    """The outcome of one test.

    Attributes:
        test: Its name.
        problem: What the learner is told, ``None`` where it passed.
        evidence: What it found.
        measured: What it measured.
        error: What the test itself stumbled over, for whoever wrote it, "" if it did not.
    """

    test: str
    problem: str | None
    evidence: str | None
    measured: tuple[Measured, ...] = ()
    error: str = ""


class Exercise:
    """One exercise; a subclass fills in the attributes and adds tests.

    Attributes:
        label: Lesson and number, e.g. ``"1.2"``.
        title: A few words.
        points: What it counts in grading.
        kinds: The names the learner must define, and the kind of value each must give.
        hints: From a nudge to nearly the answer.
        reference: A whole answer cell that is right.
        mistakes: Typical mistakes, each told its own message.
        time_limit: A check gives up after this many seconds.
        when_slow: What the learner is told then.
        task: What is asked, Markdown; a lesson's notebook has it already, an instructor's own
            exercise needs it.
        stub: The answer cell as handed out, likewise.
    """

    label: str
    title: str
    points: int = 1
    kinds: Mapping[str, Kind]
    hints: tuple[str, ...]
    reference: str
    mistakes: tuple[Mistake, ...]
    time_limit: float = 30
    when_slow: str = (
        "Is there an endless loop? (Train a model in a cell above, not in the function.)"
    )
    task: str = ""
    stub: str = ""

    def __init__(self) -> None:
        self._hints_shown = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The names the learner must define."""
        return tuple(self.kinds)

    def run(self, peer: Any, seed: int = 0, hidden: bool = False) -> list[Result]:
        """Run the tests against a peer up to the first that fails; for notebook and grading alike.

        Args:
            peer: Where the learner's code runs: has ``call`` and ``sample``, as :class:`LocalPeer`.
            seed: The student's seed: the tests' data depend on it.
            hidden: Also run the tests that are kept for grading.

        Raises:
            NotTried: A name is not defined, or is still the starter code.
        """
        results = []
        prefixes = ("test_", "hidden_") if hidden else ("test_",)
        # In the order in which the class defines them: the simplest comes first.
        tests = [name for name in vars(type(self)) if name.startswith(prefixes)]
        for name in tests:
            entropy = [seed, zlib.crc32(f"{self.label}/{name}".encode())]
            test = getattr(self, name)
            try:
                evidence = test(Answers(peer, self.kinds), np.random.default_rng(entropy))
                measured = getattr(evidence, "measured", ())
                results.append(Result(name, None, evidence, measured))
            except Wrong as wrong:
                # Later tests build on what earlier ones made sure of.
                results.append(Result(name, str(wrong), None, wrong.measured))
                break
            except NotTried:
                raise
            except Exception as error:
                # A test that did not foresee an answer: say so without a traceback.
                told = "The check could not make sense of this answer"
                told = f"{told} ({type(error).__name__}: {error})."
                results.append(Result(name, told, None, error=self._where(error)))
                break
        return results

    def _where(self, error: BaseException) -> str:
        """Say what an exception in a test was, and in which line of the exercise's file."""
        text = f"{type(error).__name__}: {error}"[:300]
        own = sys.modules[type(self).__module__].__dict__.get("__file__")
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename == own:
                return f"{text} ({os.path.basename(own)}, line {frame.lineno})"
        return text

    def check(self, seed: int | None = None) -> Note:
        """Check the answer that stands in the notebook; never raises at the learner.

        Args:
            seed: Of the tests' data; None for the notebook's own.
        """
        namespace = _caller_namespace(sys._getframe(1))
        seed = _seed if seed is None else seed
        peer = LocalPeer(namespace)
        heading = f"Exercise {self.label}"
        try:
            with time_limit(self.time_limit):
                results = self.run(peer, seed)
        except NotTried as missing:
            if str(missing) in namespace and callable(namespace[str(missing)]):
                advice = (
                    f"`{missing}` is the starter code. Replace its `...` and run the cell again."
                )
            else:
                advice = (
                    f"`{missing}` has no value yet. Write it into the cell above and run that cell."
                )
            return Note(f"{heading} · not tried yet", (advice,))
        except (TimeUp, KeyboardInterrupt) as stop:
            slow = isinstance(stop, TimeUp)
            reason = f"took longer than {self.time_limit:g} s" if slow else "was stopped"
            return Note(f"{heading} · not yet", (f"The check {reason}. {self.when_slow}",))
        problems = [result.problem for result in results if result.problem]
        if not problems:
            evidence = tuple(result.evidence for result in results if result.evidence)
            return Note(f"{heading} · correct", evidence)
        printed = peer.printed.getvalue().strip().splitlines()[:8]
        lines = [problems[0]]
        if printed:
            lines += ["Your code printed:", *(line[:200] for line in printed)]
        return Note(f"{heading} · not yet", tuple(lines))

    def require(self, seed: int | None = None, hidden: bool = False) -> None:
        """Raise if the answer that stands in the notebook is not right.

        For graders that run a notebook's cells and look for exceptions, such as nbgrader.

        Args:
            seed: Of the tests' data; None for the notebook's own.
            hidden: Also run the tests that are kept for grading.

        Raises:
            Wrong: The answer is wrong, missing, or takes too long.
        """
        peer = LocalPeer(_caller_namespace(sys._getframe(1)))
        try:
            with time_limit(self.time_limit):
                results = self.run(peer, _seed if seed is None else seed, hidden)
        except NotTried as missing:
            raise Wrong(f"`{missing}` has no answer yet.") from None
        except TimeUp:
            raise Wrong(f"The check took longer than {self.time_limit:g} s.") from None
        for result in results:
            if result.problem:
                raise Wrong(result.problem)

    def hint(self, number: int | None = None) -> Note:
        """Show a hint: the next one, or the one with a number from 1."""
        total = len(self.hints)
        if number is None:
            number = min(self._hints_shown + 1, total)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= total:
            return Note(f"Exercise {self.label} has the hints 1 to {total}, not {number!r}.")
        self._hints_shown = number
        more = "Run hint() again for more." if number < total else "This was the last hint."
        return Note(f"Exercise {self.label} · hint {number} of {total}",
                    (self.hints[number - 1], more))  # fmt: skip

    def solution(self) -> Note:
        """Show one solution."""
        return Note(f"Exercise {self.label} · one solution", code=self.reference.strip())


def _caller_namespace(frame: Any) -> Mapping[str, Any]:
    """Return the notebook's names, or those of the caller outside a notebook."""
    with contextlib.suppress(ImportError):
        from IPython import get_ipython

        shell = get_ipython()
        if shell is not None:
            return shell.user_ns
    return frame.f_globals
