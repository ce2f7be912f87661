"""What can be handed out and graded: the exercises of a lesson, or an instructor's own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..course import LESSONS
from ..exercise import Exercise


@dataclass(frozen=True)
class Question:
    """A question that is answered in words and marked by a person.

    Attributes:
        label: Task and number, e.g. ``"essay.1"``; letters, digits, dots and underscores.
        title: A few words.
        text: The question, Markdown.
        points: What it counts at most.
    """

    label: str
    title: str
    text: str
    points: int = 1


@dataclass(frozen=True)
class Task:
    """One notebook's worth of exercises.

    Attributes:
        key: A lesson's two digits, or the name of an instructor's file without ``.py``.
        title: Its heading.
        exercises: Graded by their tests.
        questions: Marked by hand.
        file: The notebook's name in a hand-out.
        text: What stands above the exercises of an instructor's own notebook, Markdown.
    """

    key: str
    title: str
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...]
    file: str
    text: str = ""

    @property
    def out_of(self) -> int:
        """The points of all exercises and questions."""
        return sum(each.points for each in (*self.exercises, *self.questions))


def lesson_task(number: str) -> Task:
    """Return the task of a lesson.

    Raises:
        ValueError: There is no such lesson, or it is not there yet.
    """
    ready = {lesson.number: lesson for lesson in LESSONS if lesson.ready}
    if number not in ready:
        raise ValueError(f"there is no lesson {number!r}; there are {', '.join(ready)}")
    lesson = ready[number]
    module = importlib.import_module(f"privlab.exercises.lesson_{number}")
    return Task(number, lesson.title, tuple(module.EXERCISES), (), lesson.file)


def private_task(path: Path) -> Task:
    """Return the task in an instructor's own file.

    The file is a Python module with a docstring (the notebook's heading and introduction) and with
    ``EXERCISES``, a list of :class:`privlab.exercise.Exercise` objects that have a ``task`` (the
    text above the answer) and a ``stub`` (the answer cell as handed out), or ``QUESTIONS``, a list
    of :class:`Question`, or both.

    Raises:
        ValueError: The file is no such module; the message says what is missing.
    """
    where = f"private: {path.name}"
    if not path.is_file() or path.suffix != ".py":
        raise ValueError(f"private: there is no Python file {path}")
    key = path.stem
    if not re.fullmatch(r"[A-Za-z_]\w{0,40}", key):
        raise ValueError(f"{where} must be named like a variable, for example my_exercises.py")
    spec = importlib.util.spec_from_file_location(f"privlab_private_{key}", path)
    module = importlib.util.module_from_spec(spec)
    # Data classes and `inspect` look a class's module up there.
    sys.modules[spec.name] = module
    # It may import what lies beside it; the course's and the system's own names come first.
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where} cannot be run: {type(error).__name__}: {error}") from error
    given = {name: getattr(module, name, ()) for name in ("EXERCISES", "QUESTIONS")}
    for name, each in given.items():
        if not isinstance(each, list | tuple):
            raise ValueError(f"{where}: {name} must be a list, not a {type(each).__name__}")
    exercises, questions = map(tuple, given.values())
    if not exercises and not questions:
        raise ValueError(f"{where} has neither EXERCISES nor QUESTIONS")
    for each in exercises:
        if not isinstance(each, Exercise):
            raise ValueError(f"{where}: EXERCISES must hold exercises, not a {type(each).__name__}")
        for attribute in ("label", "title", "kinds", "hints", "reference", "mistakes"):
            if not hasattr(each, attribute):
                raise ValueError(f"{where}: {type(each).__name__} has no {attribute}")
        for attribute in ("task", "stub"):
            if not getattr(each, attribute):
                raise ValueError(f"{where}: exercise {each.label} has no {attribute}")
    for each in questions:
        if not isinstance(each, Question):
            raise ValueError(f"{where}: QUESTIONS must hold questions, not a {type(each).__name__}")
    labels = [each.label for each in (*exercises, *questions)]
    for label in labels:
        if not re.fullmatch(r"[\w.]{1,40}", label):
            raise ValueError(f"{where}: the label {label!r} must be letters, digits, dots and _")
    if len(set(labels)) < len(labels):
        raise ValueError(f"{where}: two exercises or questions have the same label")
    title, _, text = (module.__doc__ or key).strip().partition("\n")
    return Task(key, title.strip(), exercises, questions, f"{key}.ipynb", text.strip())


def sources(task: Task) -> set[Path]:
    """Return the files that hold a task's tests, with those that an instructor's file imports.

    Of those they import, the ones that lie in the same folder or below it.
    """
    found: set[Path] = set()
    todo = {Path(inspect.getfile(type(each))).resolve() for each in task.exercises}
    folders = set() if task.key.isdecimal() else {path.parent for path in todo}
    while todo:
        path = todo.pop()
        found.add(path)
        if folders:
            todo |= _imported(path, folders) - found
    return found


def _imported(path: Path, folders: set[Path]) -> set[Path]:
    """Return the files in some folders that a Python file may import, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names |= {base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)}
    # A relative import begins at the file's own folder.
    places = [base / name.replace(".", "/") for name in names for base in {*folders, path.parent}]
    files = [each for place in places for each in (Path(f"{place}.py"), place / "__init__.py")]
    return {each.resolve() for each in files if each.is_file()}


def check_distinct(tasks: Sequence[Task]) -> None:
    """Make sure that tasks can be graded together.

    Raises:
        ValueError: Two have the same name, or an exercise or question of the same label.
    """
    keys = [task.key for task in tasks]
    labels = [each.label for task in tasks for each in (*task.exercises, *task.questions)]
    for what, names in (("tasks have the name", keys), ("exercises have the label", labels)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"private: two {what} {twice[0]!r}; rename one")
