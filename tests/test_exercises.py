"""Every exercise: its reference passes, each mistake is told its own message, nothing raises."""

import importlib
import time

import numpy as np
import pandas as pd
import pytest

from privlab.course import LESSONS
from privlab.exercise import LocalPeer, NotTried, Wrong

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


def fixed_work():
    """CPU seconds of a piece of work, about 0.3 where three seconds were set as the limit."""
    start = time.process_time()
    rng = np.random.default_rng(0)
    for _ in range(60_000):
        np.clip(rng.normal(size=8), -1, 1).sum()
    values = rng.normal(size=200_000)
    for _ in range(10):
        np.sort(values)
        np.exp(values)
    return time.process_time() - start


@pytest.mark.parametrize("exercise", EXERCISES)
def test_reference_is_correct_in_the_notebook_within_three_seconds(exercise):
    check(exercise, exercise.reference)  # data are loaded once
    ratios = []
    # CPU time, as a ratio to work done just before and after: machines differ, and so does one
    # machine from minute to minute. A disturbed measurement is repeated.
    while not ratios or (ratios[-1] >= 10 and len(ratios) < 3):
        before, start = fixed_work(), time.process_time()
        note = check(exercise, exercise.reference)
        taken = time.process_time() - start
        ratios.append(2 * taken / (before + fixed_work()))
        assert note.startswith(f"Exercise {exercise.label} · correct")
    assert min(ratios) < 10


def own_message(exercise, mistake, told):
    others = [other.says for other in exercise.mistakes if other is not mistake]
    return mistake.says in told and not [says for says in others if says in told]


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_mistake_is_told_its_own_message(exercise, mistake):
    results = exercise.run(LocalPeer(answer(mistake.code)), 7)
    problem = next(result.problem for result in results if result.problem)
    assert own_message(exercise, mistake, problem)


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_mistake_is_told_its_own_message_in_the_notebook(exercise, mistake):
    note = check(exercise, mistake.code)
    assert note.startswith(f"Exercise {exercise.label} · not yet")
    assert own_message(exercise, mistake, note)


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


def pseudonymise(expression):
    """An answer that makes each pseudonym by itself, of the number n, its digits p and the key."""
    return f"""
import base64, hashlib, hmac, zlib

def mac(key, n, name="sha256"):
    return hmac.new(key, n.encode(), name).hexdigest()

def h(key):
    return int.from_bytes(hashlib.sha256(key).digest(), "big")

def pseudonymise(numbers, key):
    return [{expression} for n in numbers for p in [int(n[1:])]]
"""


STRONG = {
    "HMAC": "mac(key, n)",
    "HMAC cut to 12": "mac(key, n, 'md5')[:12]",
    "HMAC, decimal": "str(int(mac(key, n), 16))",
    "HMAC, Base64": "base64.b64encode(bytes.fromhex(mac(key, n))).decode()",
    "key first": "hashlib.sha256(key + n.encode()).hexdigest()",
    "keyed BLAKE2b": "hashlib.blake2b(n.encode(), key=key).hexdigest()",
    "with a beginning": "'patient_' + mac(key, n)[:16]",
}
WEAK = {
    "the number itself": "n",
    "XOR with the key's hash": "hex(p ^ h(key))",
    "bytes XOR": "bytes(a ^ b for a, b in zip(n.encode(), h(key).to_bytes(32))).hex()",
    "key and number reversed": "key.hex() + n[::-1]",
    "number in hexadecimal": "hashlib.sha256(key).hexdigest() + format(p, 'x')",
    "multiplied": "str((p + 1) * h(key))",
    "multiplied, with a beginning": "'P' + str((p + 1) * h(key))",
    "multiplied, Base64": "base64.b64encode(((p + 1) * h(key) % 2**256).to_bytes(32)).decode()",
    "affine modulo a prime": "str((p * h(key) + h(key + b'b')) % (2**61 - 1))",
    "CRC-32": "f'{zlib.crc32(key + n.encode()):08x}'",
    "masked hash": "hex(h(n.encode()) ^ h(key))",
    "masked hash, with a beginning": "'P' + hex(h(n.encode()) ^ h(key))",
    "hash plus key": "str(h(n.encode()) + h(key))",
    "plain hash beside the keyed one": "hashlib.sha256(n.encode()).hexdigest() + mac(key, n)",
    "number reversed beside the keyed hash": "n[::-1] + '-' + mac(key, n)",
    "number in Base64 beside it": "base64.b64encode(n.encode()).decode() + '-' + mac(key, n)",
    "256 keys": "mac(bytes([sum(key) % 256]), n)",
    "the key in front": "key.hex() + mac(key, n)",
}


@pytest.mark.parametrize("scheme", STRONG)
def test_strong_pseudonyms_are_accepted(scheme):
    from privlab.exercises.lesson_01 import q2

    assert check(q2, pseudonymise(STRONG[scheme])).startswith("Exercise 1.2 · correct")


@pytest.mark.parametrize("scheme", WEAK)
def test_weak_pseudonyms_are_refused(scheme):
    from privlab.exercises.lesson_01 import q2

    assert check(q2, pseudonymise(WEAK[scheme])).startswith("Exercise 1.2 · not yet")


BY_HAND = """
def anonymise(table):
    degrees = ["Bachelors", "Masters", "Prof-school", "Doctorate"]
    colleges = ["Some-college", "Assoc-voc", "Assoc-acdm"]
    level = {name: "degree" for name in degrees} | {name: "college" for name in colleges}
    coarse = table.assign(
        age=(table["age"] // 20 * 20).astype(str) + "+",
        education=table["education"].map(level).fillna("school"),
        marital_status=table["marital_status"].str.startswith("Married"),
        race=(table["race"] == "White"),
    )
    columns = ["age", "education", "marital_status", "race", "sex"]
    size = coarse.groupby(columns)["sex"].transform("size")
    return coarse[size >= 25]
"""


def test_releases_by_hand_are_accepted_and_leaks_refused():
    from privlab.exercises.lesson_02 import q4

    assert check(q4, BY_HAND).startswith("Exercise 2.4 · correct")
    nonsense = BY_HAND.replace('(table["race"] == "White")', '"Martian"')
    assert check(q4, nonsense).startswith("Exercise 2.4 · not yet")
    for column in ("exact", "id"):
        leak = BY_HAND.replace("return coarse[", f"coarse = coarse.assign({column}=table['age'])\n"
                               "    return coarse[")  # fmt: skip
        assert "did not have" in check(q4, leak)


@pytest.mark.parametrize(
    "coarse",
    [
        "assign(row=range(len(table)))",
        'assign(zip=table["zip"].str[:3], sex="*")',
        'assign(zip=table["zip"].where(table.groupby("zip")["sex"].transform("size") > 12000))',
    ],
)  # fmt: skip
def test_recipes_that_cheat_are_refused(coarse):
    from privlab.exercises.lesson_01 import q3

    code = f"def generalise(table):\n    return table.{coarse}"
    assert check(q3, code).startswith("Exercise 1.3 · not yet")


@pytest.mark.long
def test_the_hints_of_the_release_hold_for_every_student():
    """The recipe that a hint spells out passes whatever rows a student gets."""
    from privlab.exercises.lesson_02 import q4

    peer = LocalPeer(answer(BY_HAND))
    problems = [result.problem for seed in range(60) for result in q4.run(peer, seed)]
    assert problems == [None] * len(problems)


@pytest.mark.parametrize(
    "rows",
    [
        'coarse["sex"] = coarse["sex"].where(size >= 25, "*")',
        'coarse["sex"] = coarse["sex"].where(size >= 25, None)',
    ],
)
def test_single_values_may_be_suppressed(rows):
    from privlab.exercises.lesson_02 import q4

    code = BY_HAND.replace("return coarse[size >= 25]", rows + "\n    return coarse")
    note = check(q4, code)
    assert "does not say" not in note
    assert "could not make sense" not in note


def test_a_hierarchy_of_labels_is_accepted():
    from privlab.exercises.lesson_02 import OwnRelease

    values = pd.Series(["HS-grad", "11th", "HS-grad", "Masters"])
    OwnRelease._check_labels("education", pd.Series(["HS-grad", "school", "school", "*"]), values)
    with pytest.raises(Wrong, match="does not say"):
        OwnRelease._check_labels("education", pd.Series(["a", "a", "b", "b"]), values)
