"""What runs inside the sandbox: a learner's code, and nothing that judges it.

Lines of JSON come in on standard input and go out on standard output, one answer a question, with
the question's number. Values travel in the form of :mod:`privlab.wire`. Whoever asks trusts
nothing that comes back: the learner's code lives in this process and can write what it likes, which
gives it no more than returning what it likes. Expected values, references and tests never get here.

``python -m privlab.grading.worker`` starts it; :mod:`privlab.grading.sandbox` is who does.
"""

import ast
import codeop
import importlib.abc
import importlib.machinery
import json
import linecache
import os
import resource
import sys
import types
from collections.abc import Mapping
from typing import Any, ClassVar, TextIO

from ..exercise import LocalPeer, NotTried, Wrong
from ..wire import pack, unpack


class _Blank(types.ModuleType):
    """Stands for the course's exercises: what a notebook does with them has no effect here."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Blank(name)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None


class _BlankFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports ``privlab.exercises`` and all below it as blanks."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "privlab.exercises" or name.startswith("privlab.exercises."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Blank(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Shell:
    """What the cells see as ``get_ipython()``: magics and shell commands do nothing."""

    user_ns: ClassVar[dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def run_cell(number: int, code: str, namespace: dict[str, Any]) -> str:
    """Run the code of a cell; one that fails does not stop the next.

    The cell holds what several answers need, and an import that fails may be another's: what
    follows it is run.

    Returns:
        The cell's number and why it failed, "" if it did not.
    """
    name = f"<cell {number}>"
    # So that a message can quote the line that failed.
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    compiled, problem = codeop.Compile(), ""  # it keeps to a cell's `from __future__`
    try:
        for statement in ast.parse(code, name).body:
            try:
                exec(compiled(ast.Module([statement], []), name, "exec"), namespace)
            except ImportError as error:
                if not isinstance(statement, ast.Import | ast.ImportFrom):
                    raise
                problem = problem or f"cell {number}: {type(error).__name__}: {error}"[:300]
    except BaseException as error:
        return f"cell {number}: {type(error).__name__}: {error}"[:300]
    return problem


def _limit(limits: Mapping[str, int]) -> None:
    """Set resource limits that this process and its children cannot raise again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:  # not every system has all
            resource.setrlimit(kind, (value, value))


def _answer(peer: LocalPeer, question: dict[str, Any]) -> dict[str, Any]:
    try:
        if question["do"] == "call":
            value = peer.call(
                question["name"], unpack(question["args"]), unpack(question["kwargs"])
            )
        else:
            value = peer.sampled(
                question["name"], unpack(question["inputs"]), question["choices"], question["seed"]
            )
        return {"value": pack(value)}
    except NotTried as missing:
        return {"not_tried": str(missing)}
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    except BaseException as error:
        return {"wrong": f"`{question['name']}` stops with {type(error).__name__}"}


def serve(questions: TextIO, answers: TextIO) -> None:
    """Read the limits, run the cells, and answer until nobody asks any more."""

    def send(number: int, **answer: Any) -> None:
        try:
            line = json.dumps({"number": number, **answer})
        except ValueError:  # Python writes no number of more than 4,300 digits
            line = json.dumps({"number": number, "wrong": "The answer is too large a number."})
        print(line, file=answers, flush=True)

    order = json.loads(questions.readline())
    sys.meta_path.insert(0, _BlankFinder())
    namespace: dict[str, Any] = {"__name__": "__main__", "get_ipython": _Shell}
    _limit(order["limits"])
    os.nice(10)  # whoever judges, and watches, comes first
    send(0)
    peer = LocalPeer(namespace)
    for number, line in enumerate(questions, start=1):
        question = json.loads(line)
        if question["do"] == "cell":
            problem = run_cell(question["cell"], question["code"], namespace)
            send(number, problem=problem)
        else:
            send(number, **_answer(peer, question))


def main() -> None:
    """Keep the two pipes for ourselves, so that what the learner prints goes nowhere."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    # Nothing is imported from the folder that the code runs in.
    sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd())]
    serve(questions, answers)


if __name__ == "__main__":
    main()
