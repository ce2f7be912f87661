"""Every exercise: its reference passes, each mistake is told its own message, nothing raises."""

import importlib
import time

import numpy as np
import pandas as pd
import pytest

from privlab.course import LESSONS
from privlab.exercise import LocalPeer, NotTried

EXERCISES = [
    pytest.param(exercise, id=exercise.label)
    for lesson in LESSONS
    if lesson.ready
    for exercise in importlib.import_module(f"privlab.exercises.lesson_{lesson.number}").EXERCISES
]
MISTAKES = [
    pytest.param(parameter.values[0], mistake, id=f"{parameter.id}-{mistake.name}")
    for parameter in EXERCISES
    for mistake in parameter.values[0].mistakes
]


def answer(code):
    namespace = {}
    exec(compile(code, "<answer>", "exec"), namespace)
    return namespace


def check(exercise, code):
    """Run the check as a notebook does, with the answer as the caller's names."""
    namespace = answer(code) | {"exercise": exercise}
    exec("note = exercise.check()", namespace)
    return repr(namespace["note"])


class Trick(float):
    """Claims to be equal to everything."""

    __hash__ = None

    def __eq__(self, other):
        return True


def endless(*args, **kwargs):
    return endless(*args, **kwargs)


def printing(*args, **kwargs):
    print("seen", *range(1000), sep="\n")
    return 1


def mutating(*args, **kwargs):
    for value in args:
        if isinstance(value, pd.DataFrame):
            value.iloc[:, 0] = None
        elif isinstance(value, list):
            value.clear()
    return args[0] if args else None


def leaving(*args, **kwargs):
    raise SystemExit


def failing(*args, **kwargs):
    raise KeyError("zip")


WRONG_VALUES = {
    "None": None,
    "text": "privacy",
    "nan": float("nan"),
    "infinity": float("inf"),
    "bool": True,
    "list of None": [None] * 3,
    "matrix": np.ones((3, 3)),
    "complex": 1j,
    "function": len,
    "object": object(),
    "empty table": pd.DataFrame(),
    "table of NaN": pd.DataFrame({"x": [np.nan] * 3}),
    "table with twin columns": pd.DataFrame([[1, 2]], columns=["x", "x"]),
    "dict": {1: {2: {}}},
    "equals everything": Trick(0),
    "generator": (n for n in range(3)),
}
WRONG_CALLS = [endless, printing, mutating, leaving, failing]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_form(exercise):
    assert len(exercise.mistakes) >= 3
    assert len(exercise.hints) >= 2
    told = [mistake.says for mistake in exercise.mistakes]
    assert len(set(told)) == len(told)
    for name in exercise.names:
        assert name in exercise.reference


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("seed", [0, 1, 20261123])
def test_reference_passes(exercise, seed):
    results = exercise.run(LocalPeer(answer(exercise.reference)), seed, hidden=True)
    assert results
    assert [result.problem for result in results] == [None] * len(results)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_reference_is_correct_in_the_notebook_within_three_seconds(exercise):
    check(exercise, exercise.reference)  # data are loaded once
    start = time.process_time()
    note = check(exercise, exercise.reference)
    assert note.startswith(f"Exercise {exercise.label} · correct")
    # CPU time, so that a busy machine does not fail a fast check.
    assert time.process_time() - start < 3


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
@pytest.mark.parametrize("seed", [0, 7])
def test_mistake_is_told_its_own_message(exercise, mistake, seed):
    results = exercise.run(LocalPeer(answer(mistake.code)), seed)
    problem = next(result.problem for result in results if result.problem)
    assert mistake.says in problem
    others = [other.says for other in exercise.mistakes if other is not mistake]
    assert not [says for says in others if says in problem]
    assert check(exercise, mistake.code).startswith(f"Exercise {exercise.label} · not yet")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_untouched_stub_is_not_tried_yet(exercise):
    name = exercise.names[0]
    functions = f"def {name}(" in exercise.reference
    stub = f"def {name}(*args):\n    return ..." if functions else f"{name} = ..."
    assert check(exercise, stub).startswith(f"Exercise {exercise.label} · not tried yet")
    assert check(exercise, "").startswith(f"Exercise {exercise.label} · not tried yet")
    with pytest.raises(NotTried):
        exercise.run(LocalPeer({}))


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("value", WRONG_VALUES)
def test_wrong_value_gets_a_message(exercise, value):
    for given in (WRONG_VALUES[value], lambda *args, **kwargs: WRONG_VALUES[value]):
        namespace = dict.fromkeys(exercise.names, given) | {"exercise": exercise}
        exec("note = exercise.check()", namespace)
        note = repr(namespace["note"])
        assert note.startswith(f"Exercise {exercise.label} · not yet")
        assert "could not make sense" not in note
        assert len(note) < 1500


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("function", WRONG_CALLS)
def test_wrong_behaviour_gets_a_message(exercise, function, capsys):
    namespace = dict.fromkeys(exercise.names, function) | {"exercise": exercise}
    exec("note = exercise.check()", namespace)
    note = repr(namespace["note"])
    assert note.startswith(f"Exercise {exercise.label} · not yet")
    assert "could not make sense" not in note
    assert len(note) < 2500
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("exercise", EXERCISES)
def test_hints_come_one_after_the_other(exercise):
    fresh = type(exercise)()
    total = len(exercise.hints)
    shown = [repr(fresh.hint()) for _ in range(total + 1)]
    assert [f"hint {min(n, total)} of {total}" in text for n, text in enumerate(shown, 1)] == [
        True
    ] * (total + 1)
    assert repr(fresh.hint(1)) == shown[0]
    assert "not 99" in repr(fresh.hint(99))
    assert exercise.reference.strip() in repr(exercise.solution())
    assert "<pre>" in exercise.solution()._repr_html_()
