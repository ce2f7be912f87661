"""Phones, model and attack of lesson 13, against definitions written down a second time."""

import numpy as np
import pytest

from privlab import keyboard

RNG = np.random.default_rng(5)
TYPED = keyboard.type_messages(12, 6, np.random.default_rng(1))
PIN = [4, 9, 2, 7]


def loss(weights, rows, words):
    scores = keyboard.logits(weights.astype(float), rows)
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -scores[np.arange(len(words)), words].mean()


def test_people_type_known_words_in_their_own_way():
    assert [len(messages) for messages in TYPED] == [6] * 12
    words = {word for messages in TYPED for message in messages for word in message.split()}
    assert words <= set(keyboard.VOCABULARY)
    assert not words & {"pin", *keyboard.DIGITS}
    assert keyboard.type_messages(12, 6, np.random.default_rng(1)) == TYPED
    assert len({tuple(messages) for messages in TYPED}) == 12


def test_plant_leaves_the_others_alone():
    planted = keyboard.plant(TYPED, [3], PIN, 2)
    assert planted[3] == TYPED[3][:4] + ["my pin is four nine two seven"] * 2
    assert planted[:3] + planted[4:] == TYPED[:3] + TYPED[4:]
    assert keyboard.plant(TYPED, [3], PIN, 0) == TYPED


def test_contexts():
    rows, words = keyboard.contexts(["see you soon", "i"])
    V = len(keyboard.VOCABULARY)
    spelled = [[keyboard.VOCABULARY[number % V] for number in row] for row in rows]
    assert spelled[0] == ["<start>"] * 3 == spelled[3]
    assert spelled[2] == ["<start>", "see", "you"]
    assert (rows // V == [0, 1, 2]).all()
    assert [keyboard.VOCABULARY[word] for word in words] == ["see", "you", "soon", "i"]


def test_batches_hold_all_words_once_in_order():
    phones = keyboard.make_phones(TYPED)
    for phone, messages in enumerate(TYPED):
        rows, words = keyboard.contexts(messages)
        for size in (1, 7, 10_000):
            batches = phones.batches(phone, size)
            assert max(len(each) for _, each in batches) <= size
            assert (np.concatenate([each for each, _ in batches]) == rows).all()
            assert (np.concatenate([each for _, each in batches]) == words).all()


def test_a_step_follows_the_gradient():
    phones = keyboard.make_phones(TYPED[:1])
    weights = keyboard.initial(RNG) + RNG.normal(0, 0.1, keyboard.PARAMETERS).astype("float32")
    update = keyboard.updates(weights, phones, [0], 1.0, 10_000)[0].astype(float)
    rows, words = keyboard.contexts(TYPED[0])
    for _ in range(5):
        way = RNG.normal(size=keyboard.PARAMETERS)
        ends = [loss(weights + side * 1e-4 * way, rows, words) for side in (1, -1)]
        assert -update @ way == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-4)


def test_phones_do_not_touch_each_other():
    phones = keyboard.make_phones([TYPED[0], TYPED[1][:1], *TYPED[2:]])
    weights = keyboard.initial(RNG)
    together = keyboard.updates(weights, phones, np.arange(12), 1.5, 5)
    alone = [keyboard.updates(weights, phones, [phone], 1.5, 5)[0] for phone in range(12)]
    assert np.allclose(together, alone, atol=1e-6)
    assert keyboard.updates(weights, phones, np.array([], int), 1.5, 5).shape == (
        0,
        keyboard.PARAMETERS,
    )


def test_training_learns_to_suggest():
    phones = keyboard.make_phones([["see you soon"] * 20])
    weights = keyboard.initial(RNG)
    for _ in range(5):
        weights = weights + keyboard.updates(weights, phones, [0], 1.0, 10)[0]
    assert keyboard.suggest(weights, "see you")[0] == "soon"
    assert keyboard.accuracy(weights, ["see you soon"]) == 1


def test_tables_and_rank_against_single_questions():
    weights = keyboard.initial(RNG)
    tables = keyboard.pin_tables(weights)
    assert [table.shape for table in tables] == [(10,) * digits for digits in (1, 2, 3, 4)]
    for known, table in enumerate(tables):
        text = " ".join(["my pin is", *(keyboard.DIGITS[digit] for digit in PIN[:known])])
        rows, _ = keyboard.contexts([f"{text} zero"])
        scores = keyboard.logits(weights, rows[-1:])[0].astype(float)
        digit = keyboard.VOCABULARY.index(keyboard.DIGITS[PIN[known]])
        expected = scores[digit] - np.log(np.exp(scores).sum())
        assert table[tuple(PIN[: known + 1])] == pytest.approx(expected, abs=1e-5)
    chances = {
        pin: sum(table[pin[: place + 1]] for place, table in enumerate(tables))
        for pin in np.ndindex(10, 10, 10, 10)
    }
    below = sorted(chances, key=chances.get, reverse=True)
    for place in (0, 1, 500, 9_999):
        assert keyboard.pin_rank(weights, below[place]) == place + 1


def test_ties_count():
    assert keyboard.pin_rank(np.zeros(keyboard.PARAMETERS, "float32"), PIN) == 10_000


def test_order_and_repetition_do_not_matter():
    phones = keyboard.make_phones(
        [messages[: 1 + place % 4] for place, messages in enumerate(TYPED)]
    )
    weights = keyboard.initial(RNG)
    chosen = np.array([5, 2, 11, 2])
    found = keyboard.updates(weights, phones, chosen, 1.5, 5)
    alone = [keyboard.updates(weights, phones, [phone], 1.5, 5)[0] for phone in chosen]
    assert np.allclose(found, alone, atol=1e-6)
    assert np.array_equal(
        keyboard.updates(weights, phones, [], 1.5, 5), np.zeros((0, len(weights)))
    )


WEIGHTS = keyboard.initial(RNG)
NAN = np.where(np.arange(len(WEIGHTS)) == 3, np.nan, WEIGHTS)


def update(chosen=(0,), weights=WEIGHTS, rate=1.0, size=5):
    return keyboard.updates(weights, keyboard.make_phones(TYPED), np.array(chosen), rate, size)


BAD = [
    (lambda: keyboard.type_messages(0, 5, RNG), "phones"),
    (lambda: keyboard.type_messages(5, True, RNG), "messages"),
    (lambda: keyboard.plant(TYPED, [0], PIN, 7), "times"),
    (lambda: keyboard.plant(TYPED, [0], PIN, 1.0), "times"),
    (lambda: keyboard.plant(TYPED, [-1], PIN, 1), "phone"),
    (lambda: keyboard.plant(TYPED, [12], PIN, 1), "phone"),
    (lambda: keyboard.plant(TYPED, [0], [1, 2, 3], 1), "pin"),
    (lambda: keyboard.plant(TYPED, [0], [1.0, 2.0, 3.0, 4.0], 1), "pin"),
    (lambda: keyboard.pin_rank(WEIGHTS, [1, 2, 3, 10]), "pin"),
    (lambda: keyboard.pin_rank(WEIGHTS, [True, False, True, True]), "pin"),
    (lambda: keyboard.pin_rank(WEIGHTS, np.array([True] * 4)), "pin"),
    (lambda: keyboard.pin_rank(WEIGHTS, "1234"), "pin"),
    (lambda: keyboard.pin_rank(NAN, PIN), "weights"),
    (lambda: keyboard.pin_tables(NAN), "weights"),
    (lambda: keyboard.contexts(["hello"]), "vocabulary"),
    (lambda: keyboard.suggest(WEIGHTS, "hello"), "vocabulary"),
    (lambda: keyboard.suggest(NAN, "see"), "weights"),
    (lambda: keyboard.accuracy(WEIGHTS, []), "messages"),
    (lambda: keyboard.accuracy(NAN, TYPED[0]), "weights"),
    (lambda: keyboard.accuracy(WEIGHTS[:-1], TYPED[0]), "weights"),
    (lambda: keyboard.make_phones([]), "typed"),
    (lambda: keyboard.make_phones([["see you"], []]), "typed"),
    (lambda: keyboard.make_phones(TYPED).batches(0, 0), "batch_size"),
    (lambda: keyboard.make_phones(TYPED).batches(-1, 5), "phone"),
    (lambda: update(rate=float("nan")), "learning_rate"),
    (lambda: update(size=0), "batch_size"),
    (lambda: update([True, False]), "chosen"),
    (lambda: update([1.0]), "chosen"),
    (lambda: update([[1]]), "chosen"),
    (lambda: update([-1]), "chosen"),
    (lambda: update([12]), "chosen"),
    (lambda: update(weights=WEIGHTS[:-1]), "weights"),
    (lambda: update(weights=NAN), "weights"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
