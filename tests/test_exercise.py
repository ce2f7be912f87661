"""The frame of an exercise: plain data, messages, time limits, rendering."""

import time

import numpy as np
import pandas as pd
import pytest

from privlab.exercise import (
    Answers,
    Exercise,
    LocalPeer,
    Note,
    NotTried,
    Wrong,
    array,
    column,
    mapping,
    number,
    prose,
    table,
)
from privlab.exercises.audited import LearnersMechanism, Neighbours, audit_answer
from privlab.wire import NotPlain, pack, unpack


class Double(Exercise):
    """Double a number."""

    label = "9.1"
    title = "Double"
    kinds = {"double": number}
    hints = ("Think.", "Multiply by two.")
    reference = "def double(x):\n    return 2 * x"
    mistakes = ()

    def test_two(self, answers, rng):
        if answers.double(2) != 4:
            raise Wrong("twice two is four")
        return "doubled"

    def hidden_random(self, answers, rng):
        x = int(rng.integers(100))
        if answers.double(x) != 2 * x:
            raise Wrong("hidden")


exercise = Double()


def check(code):
    namespace = {"exercise": exercise}
    exec(compile(code, "<answer>", "exec"), namespace)
    exec("note = exercise.check()", namespace)
    return namespace["note"]


def test_correct_shows_the_evidence():
    assert repr(check(Double.reference)) == "Exercise 9.1 · correct\ndoubled"


def test_what_is_printed_is_shown_only_with_a_wrong_answer(capsys):
    note = check("def double(x):\n    print('x is', x)\n    return x")
    assert repr(note).splitlines() == [
        "Exercise 9.1 · not yet",
        "twice two is four",
        "Your code printed:",
        "x is 2",
    ]
    assert capsys.readouterr().out == ""


def test_hidden_tests_run_only_in_grading():
    peer = LocalPeer({"double": lambda x: 4})
    assert [result.problem for result in exercise.run(peer)] == [None]
    assert [result.problem for result in exercise.run(peer, hidden=True)] == [None, "hidden"]


def test_an_endless_loop_is_stopped(monkeypatch):
    monkeypatch.setattr(Double, "time_limit", 0.3)
    start = time.monotonic()
    note = check("def double(x):\n    while True:\n        try:\n            x += 1\n"
                 "        except Exception:\n            pass")  # fmt: skip
    assert "endless loop" in repr(note)
    assert time.monotonic() - start < 5


def test_an_interrupt_is_no_traceback():
    note = check("def double(x):\n    raise KeyboardInterrupt")
    assert "was stopped" in repr(note)


def test_an_error_is_told_in_one_line():
    note = check("def double(x):\n    return x.missing")
    assert "AttributeError: 'int' object has no attribute 'missing'" in repr(note)
    assert "Traceback" not in repr(note)
    assert "takes" in repr(check("def double():\n    return 1"))


def test_an_error_in_a_test_is_no_traceback():
    class Broken(Double):
        def test_two(self, answers, rng):
            raise ZeroDivisionError("oops")

    namespace = {"exercise": Broken(), "double": lambda x: x}
    exec("note = exercise.check()", namespace)
    assert "could not make sense" in repr(namespace["note"])


def test_html_escapes_and_uses_no_colour_of_its_own():
    html = Note("a < b", ("<script>",), "x < y")._repr_html_()
    assert "<script>" not in html
    assert "a &lt; b" in html
    assert "#" not in html


def test_what_stands_in_backticks_is_code():
    html = Note("A", ("`f(<b>)` is `a < b`, and 3` is not",))._repr_html_()
    assert "<div><code>f(&lt;b&gt;)</code> is <code>a &lt; b</code>, and 3` is not</div>" in html
    assert prose("one `two\nthree` four") == "one `two\nthree` four"
    assert prose("half of a pair: \ud83d") == "half of a pair: ?"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (number, [1, 2.5, np.float32(3), np.array([4]), [5]], [None, "1", True, [1, 2], np.nan]),
        (column, [[1, 2], (1,), np.arange(3), pd.Series(["a"])], [None, 3, "a", np.eye(2), [None]]),
        (table, [pd.DataFrame({"x": [1]})], [None, [1], pd.DataFrame(), pd.DataFrame({"x": []})]),
        (mapping, [{}, {"a": 1}], [None, [1], "a"]),
        (array(1, "a vector"), [[1, 2.5], np.arange(3), [np.nan]], [None, 1, "a", [[1]], [True]]),
        (array(1, "a vector", "Why?"), [[1, 2.5]], [[1, np.nan], [np.inf]]),
        (array(2, "a matrix"), [[], np.array([]), [[1, 2]]], [None, [1], [[1], [1, 2]], [["a"]]]),
    ],
)  # fmt: skip
def test_kinds(kind, good, bad):
    for value in good:
        kind(value, "It")
    for value in bad:
        with pytest.raises(Wrong, match="It "):
            kind(value, "It")


PLAIN = [
    None, True, 3, -2.5, float("inf"), "ε", b"\x00key", [1, [2]], (1, "a"), {"a": [1]}, {1: 2},
    {1, 2}, np.arange(6).reshape(2, 3), np.float64(2.5), np.array([True, False]),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_cross_unchanged(value):
    import json

    back = unpack(json.loads(json.dumps(pack(value))))
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value
        assert isinstance(value, np.generic) or type(back) is type(value)


def test_tables_cross_with_index_dates_and_missing_values():
    value = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [1.5, np.nan, 2.0],
            "text": ["a", "b", "ε"],
            "gaps": ["a", None, "c"],
            "day": pd.to_datetime(["2000-01-01", "2001-02-03", "1999-12-31"]),
            "maybe": pd.array([True, None, False], dtype="boolean"),
        },
        index=[5, 3, 9],
    )
    back = unpack(pack(value))
    assert list(back.index) == [5, 3, 9]
    assert list(back.columns) == list(value.columns)
    for name in ("n", "x", "text", "day"):
        pd.testing.assert_series_equal(back[name], value[name])
    assert list(back["gaps"].isna()) == [False, True, False]
    assert list(back["maybe"]) == [True, None, False]


def test_groups_made_by_pandas_cross_as_text():
    groups = pd.cut(pd.Series([1, 20, 35]), [0, 10, 40])
    assert list(unpack(pack(groups))) == ["(0, 10]", "(10, 40]", "(10, 40]"]
    assert unpack(pack(groups.astype("category"))).iloc[0] == "(0, 10]"
    assert unpack(pack(pd.Series(["a", "b"], dtype="category"))).tolist() == ["a", "b"]


def test_values_in_other_clothes_cross():
    from collections import OrderedDict
    from decimal import Decimal
    from fractions import Fraction

    assert unpack(pack(frozenset({1, 2}))) == {1, 2}
    assert unpack(pack(OrderedDict(a=1))) == {"a": 1}
    assert unpack(pack([Decimal("0.5"), Fraction(1, 4)])) == [0.5, 0.25]
    assert list(unpack(pack(pd.Index(["a", "b"])))) == ["a", "b"]
    assert list(unpack(pack(pd.Series(["a", "b", "a"]).unique()))) == ["a", "b"]


def test_what_is_printed_without_end_is_bounded():
    peer = LocalPeer({"double": lambda x: [print("x" * 100) for _ in range(100_000)] and 4})
    assert exercise.run(peer)[0].problem is None
    assert len(peer.printed.getvalue()) < 20_000


def test_a_copy_crosses_not_the_object():
    value = np.zeros(3)
    back = unpack(pack(value))
    back[0] = 1
    assert value[0] == 0


def nested(depth):
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    "value",
    [object(), len, (x for x in "a"), type("F", (float,), {})(1), nested(20), [object()],
     np.array([object()]), pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[1]])],
)  # fmt: skip
def test_other_values_are_refused(value):
    with pytest.raises(NotPlain):
        pack(value)


@pytest.mark.parametrize(
    "packed",
    [
        {"$unknown": 1},
        {"$array": {"dtype": "O", "shape": [1], "bytes": "AAAAAAAAAAA="}},
        {"$array": {"dtype": "<f8", "shape": [10**9], "bytes": "AA=="}},
        {"$array": {"dtype": "<f8", "shape": [-1], "bytes": "!!"}},
        {"$float": "evil"},
        {"$table": [["a", {}]], "index": {}},
        {},
    ],
)
def test_malformed_packed_values_are_refused(packed):
    with pytest.raises(NotPlain):
        unpack(packed)


# ---- random functions ----------------------------------------------------------------------------


def sampled(function, inputs=(([1, 2], 0.5), ([1], 0.5)), choices=(0, 1, 1)):
    return LocalPeer({"f": function}).sample("f", list(inputs), list(choices), seed=3)


def test_a_random_function_is_called_once_for_each_choice():
    seen = []

    def f(data, epsilon, rng):
        seen.append(rng)
        data.append(0)  # spoils its own copy only
        return len(data) + epsilon

    assert sampled(f) == [3.5, 2.5, 2.5]
    assert len(set(map(id, seen))) == 1
    assert isinstance(seen[0], np.random.Generator)


def test_a_seed_gives_the_same_sample():
    def f(data, epsilon, rng):
        return rng.random()

    assert sampled(f) == sampled(f)


@pytest.mark.parametrize(
    "output",
    [1, 2.5, True, np.int64(3), 10**400, "text", None, [1.0, 2], (1, "a"), {"a": [1]}],
    ids=repr,
)
def test_outputs_of_a_sample_come_as_they_are(output):
    assert sampled(lambda data, epsilon, rng: output) == [output] * 3


@pytest.mark.parametrize("shapes", [[2, 2, 2], [1, 2, 3], [0, 1, 0]], ids=str)
def test_vectors_of_a_sample_come_as_arrays(shapes):
    queue = list(shapes)
    got = sampled(lambda data, epsilon, rng: np.ones(queue.pop(0)))
    assert [each.shape[0] for each in got] == shapes


def test_a_sample_with_an_error_or_without_an_answer():
    with pytest.raises(Wrong, match="stops with ZeroDivisionError"):
        sampled(lambda data, epsilon, rng: 1 / 0)
    with pytest.raises(NotTried):
        sampled(lambda data, epsilon, rng: ...)
    with pytest.raises(NotTried):
        LocalPeer({}).sample("f", [()], [0], 0)
    with pytest.raises(Wrong, match="should be a function"):
        sampled(3)
    with pytest.raises(Wrong, match="can be checked"):
        sampled(lambda data, epsilon, rng: object())


# ---- audited answers -----------------------------------------------------------------------------

NEIGHBOURS = [Neighbours([1] * 5, [1] * 4, ("with Ann", "without Ann"))]


def audited(function):
    answers = Answers(LocalPeer({"f": function}), {"f": number})
    mechanism = LearnersMechanism(answers, "f")
    return audit_answer(
        mechanism, NEIGHBOURS, np.random.default_rng(0), explain=lambda report: "Why?"
    )


def test_a_right_answer_is_released_with_evidence():
    evidence = audited(lambda data, epsilon, rng: len(data) + rng.laplace(0, 1 / epsilon))
    assert "no violation" in evidence
    assert "at ε = 1.5 it proved ε ≥ 1." in evidence


@pytest.mark.parametrize(("factor", "power"), [(1, 1), (1, -2), (0.5, -1)])
def test_a_wrong_answer_is_convicted_in_words(factor, power):
    with pytest.raises(Wrong, match=r"(?s)with Ann .* without Ann: that takes ε ≥ .* Why\?"):
        audited(lambda data, epsilon, rng: len(data) + rng.laplace(0, factor * epsilon**power))
