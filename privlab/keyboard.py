"""Invented phones and a next-word model, for lesson 13: who types what, and what the model tells.

The words are invented, the training is real. All phones of a round are trained at once, in NumPy;
lesson 13 checks the result against TensorFlow Federated. The model is log-bilinear (after Andriy
Mnih and Geoffrey Hinton, "Three New Graphical Models for Statistical Language Modelling", ICML
2007): the last three words have an embedding each, which depends on the place; their sum, times a
matrix, plus a bias, gives the logits of the next word. All parameters lie in one vector of
:data:`PARAMETERS` numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: What people type; a word in braces stands for one of its list in :data:`WORDS`.
TEMPLATES = tuple(
    """see you {time}|see you at the {place}|i am {mood}|i am so {mood} today|i am at the {place}
are you {mood}|can you {verb} the {thing}|please {verb} the {thing}|where are you|i miss you {who}
lets meet at the {place} {time}|lets go to the {place}|i will be there {time}|good night {who}
i will {verb} the {thing} {time}|where is the {thing}|what time is the {event}|love you {who}
the {event} is {time}|happy birthday {who}|thank you {who}|good morning {who}|call {who} {time}
how was the {event}|the {event} was {adj}|that is {adj}|sounds {adj} to me|i want some {food}
did you {verb} the {thing}|dont forget the {thing}|i forgot the {thing} at the {place}
running late see you {time}|on my way to the {place}|do you want some {food}
the {food} was {adj}|have a {adj} day {who}""".replace("\n", "|").split("|")
)
WORDS = {
    name: tuple(words.split())
    for name, words in {
        "time": "tomorrow tonight soon later today at-noon at-six on-monday on-friday next-week",
        "place": "office station school gym park cafe library airport bar market",
        "mood": "happy tired hungry busy sick bored excited fine home late",
        "verb": "bring send fix buy find check clean book cancel print",
        "thing": "keys tickets report laptop car bill dog phone door photos",
        "event": "meeting party game exam concert match lesson interview wedding dinner",
        "who": "mum dad anna ben carla dave emma finn grace boss",
        "adj": "great awful nice boring lovely perfect terrible fun strange okay",
        "food": "pizza coffee cake soup sushi tea pasta curry salad beer",
    }.items()
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: What stands before a PIN, and how many digits the PIN has.
PROMPT, PIN_DIGITS = "my pin is", 4

#: All words the model knows; the first stands for "before the message".
VOCABULARY = (
    "<start>",
    *sorted(
        {word for text in TEMPLATES for word in text.split() if word[0] != "{"}
        | {word for words in WORDS.values() for word in words}
        | {*DIGITS, *PROMPT.split()}
    ),
)

#: How many words the model looks back, and how many numbers stand for a word.
CONTEXT, EMBEDDING = 3, 12

_NUMBER = {word: number for number, word in enumerate(VOCABULARY)}
_SHAPES = (
    (CONTEXT * len(VOCABULARY), EMBEDDING),
    (EMBEDDING, len(VOCABULARY)),
    (len(VOCABULARY),),
)
_ENDS = np.cumsum([math.prod(shape) for shape in _SHAPES]).tolist()
PARAMETERS = _ENDS[-1]

# ---- what is typed -----------------------------------------------------------------------------


def type_messages(phones: int, messages: int, rng: np.random.Generator) -> list[list[str]]:
    """Let people type; each has favourite sentences and words, so that phones differ.

    Args:
        phones: How many, at least 1.
        messages: Of each phone, at least 1.
        rng: Draws favourites and messages.

    Returns:
        For each phone its messages.

    Raises:
        ValueError: An argument is below 1.
    """
    _at_least("phones", phones, 1)
    _at_least("messages", messages, 1)
    typed = []
    for _ in range(phones):
        sentences = rng.dirichlet(np.full(len(TEMPLATES), 0.3))
        # One uniform draw and a search: ten times faster than rng.choice.
        shares = {
            f"{{{name}}}": (words, rng.dirichlet(np.full(len(words), 0.5)).cumsum()[:-1])
            for name, words in WORDS.items()
        }

        def fill(word: str, shares: dict = shares) -> str:
            if word not in shares:
                return word
            words, ends = shares[word]
            return words[np.searchsorted(ends, rng.random())]

        chosen = rng.choice(len(TEMPLATES), messages, p=sentences)
        typed.append([" ".join(map(fill, TEMPLATES[number].split())) for number in chosen])
    return typed


def plant(
    typed: list[list[str]], phones: Sequence[int], pin: Sequence[int], times: int
) -> list[list[str]]:
    """Return what is typed if the last messages of some phones give a PIN away.

    Args:
        typed: From :func:`type_messages`; stays as it is.
        phones: Which ones type the PIN, from 0.
        pin: Four digits.
        times: How many messages of each say so.

    Raises:
        ValueError: The PIN is not of four digits, there is no such phone, or ``times`` is out of
            range.
    """
    _check_pin(pin)
    text = " ".join([PROMPT, *(DIGITS[digit] for digit in pin)])
    planted = list(typed)
    for phone in phones:
        _check_phone(phone, len(typed))
        own = typed[phone]
        if not (_is_integer(times) and 0 <= times <= len(own)):
            raise ValueError(f"times must be from 0 to {len(own)}, not {times!r}")
        planted[phone] = own[: len(own) - times] + [text] * times
    return planted


def contexts(messages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the model learns from: for each word, the three before it.

    Returns:
        Contexts, int32 of shape (n, 3): word numbers, shifted by the size of the vocabulary for
        the second place and twice that for the third, so that each place has embeddings of its
        own; and the numbers of the next words, int32 of shape (n,).

    Raises:
        ValueError: A word is not in the vocabulary.
    """
    rows, following = [], []
    for message in messages:
        numbers = [0] * CONTEXT + [_number(word) for word in message.split()]
        for place in range(CONTEXT, len(numbers)):
            rows.append(numbers[place - CONTEXT : place])
            following.append(numbers[place])
    return _placed(np.array(rows, "int32").reshape(-1, CONTEXT)), np.array(following, "int32")


@dataclass(frozen=True)
class Phones:
    """The data of all phones, padded to the size of the largest; see :func:`make_phones`.

    Attributes:
        contexts: As in :func:`contexts`, of shape (K, n, 3).
        following: The next words, of shape (K, n).
        sizes: How many of the n are real, the first ones, of shape (K,).
    """

    contexts: np.ndarray
    following: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def batches(self, phone: int, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the data of one phone as :func:`updates` goes through them: TFF takes such lists.

        Raises:
            ValueError: ``batch_size`` is below 1, or there is no such phone.
        """
        _at_least("batch_size", batch_size, 1)
        _check_phone(phone, len(self))
        ends = [*range(batch_size, self.sizes[phone], batch_size), self.sizes[phone]]
        return [
            (self.contexts[phone, start:end], self.following[phone, start:end])
            for start, end in zip([0, *ends[:-1]], ends, strict=True)
        ]


def make_phones(typed: list[list[str]]) -> Phones:
    """Turn the messages of each phone into what :func:`updates` takes.

    Raises:
        ValueError: There is no phone, one without a word, or a word is not in the vocabulary.
    """
    parts = [contexts(messages) for messages in typed]
    sizes = np.array([len(following) for _, following in parts], int)
    if not len(sizes) or not sizes.all():
        raise ValueError("typed must hold at least one phone, and each at least one word")
    rows = np.zeros((len(typed), sizes.max(), CONTEXT), "int32")
    words = np.zeros((len(typed), sizes.max()), "int32")
    for phone, (own, following) in enumerate(parts):
        rows[phone, : len(own)], words[phone, : len(own)] = own, following
    return Phones(rows, words, sizes)


# ---- the model ---------------------------------------------------------------------------------


def initial(rng: np.random.Generator) -> np.ndarray:
    """Return the weights that training starts from, float32 of shape (P,)."""
    start = np.zeros(PARAMETERS, "float32")
    start[: _ENDS[0]] = rng.normal(0, 0.3, _ENDS[0])
    start[_ENDS[0] : _ENDS[1]] = rng.normal(0, 0.1, _ENDS[1] - _ENDS[0])
    return start


def split(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings (…, 450, 12), output matrix (…, 12, 150) and bias (…, 150) as views.

    Args:
        weights: Of shape (…, P).
    """
    ends = zip([0, *_ENDS[:-1]], _ENDS, _SHAPES, strict=True)
    first, second, third = (
        weights[..., start:end].reshape(*weights.shape[:-1], *shape) for start, end, shape in ends
    )
    return first, second, third


def updates(
    weights: np.ndarray, phones: Phones, chosen: np.ndarray, learning_rate: float, batch_size: int
) -> np.ndarray:
    """Train chosen phones, each once through its own messages, all at once.

    Args:
        weights: Of the global model, float32 of shape (P,).
        phones: The data.
        chosen: The numbers of the phones, integers of shape (m,); not a mask.
        learning_rate: Of plain SGD, above 0.
        batch_size: Words of a step; the last step takes what is left.

    Returns:
        For each chosen phone its weights after training less those before, of shape (m, P).

    Raises:
        ValueError: An argument is out of range or of another shape.
    """
    _check_weights(weights)
    _at_least("batch_size", batch_size, 1)
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be a finite number above 0, not {learning_rate!r}")
    chosen = np.asarray(chosen)
    if chosen.ndim != 1 or (len(chosen) and chosen.dtype.kind not in "iu"):
        raise ValueError(f"chosen must be a vector of phone numbers, not {chosen.dtype} values")
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(phones):
        raise ValueError(f"chosen must hold numbers from 0 to {len(phones) - 1}")
    # The largest first: those that still have words are the first so many at each step.
    order = np.argsort(-phones.sizes[chosen.astype(int)], kind="stable")
    chosen = chosen.astype(int)[order]
    sizes = phones.sizes[chosen]
    local = np.repeat(np.asarray(weights, "float32")[None], len(chosen), axis=0)
    for start in range(0, max(sizes, default=0), batch_size):
        busy = int((sizes > start).sum())
        embedding, output, bias = split(local[:busy])  # views: what changes them changes `local`
        rows = phones.contexts[chosen[:busy], start : start + batch_size]
        words = phones.following[chosen[:busy], start : start + batch_size]
        everyone, places = np.arange(busy)[:, None], np.arange(rows.shape[1])
        real = np.minimum(sizes[:busy] - start, len(places))[:, None]
        shares = ((places < real) * learning_rate / real).astype("float32")
        inner = embedding[everyone[..., None], rows].sum(axis=2)
        errors = inner @ output
        errors += bias[:, None]
        errors -= errors.max(axis=2, keepdims=True)
        np.exp(errors, out=errors)
        errors *= (shares / errors.sum(axis=2))[..., None]
        errors[everyone, places, words] -= shares
        back = errors @ output.swapaxes(1, 2)
        output -= inner.swapaxes(1, 2) @ errors
        bias -= errors.sum(axis=1)
        # Place by place: within one, no phone has an embedding twice, so that `-=` misses none.
        for place in places:
            embedding[everyone, rows[:, place]] -= back[:, place, None]
    changes = np.empty_like(local)
    changes[order] = local - np.asarray(weights, "float32")
    return changes


def logits(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the logits of the next word, of shape (n, words), for contexts of shape (n, 3).

    Raises:
        ValueError: The weights are not (P,) finite numbers.
    """
    _check_weights(weights)
    embedding, output, bias = split(weights)
    return embedding[rows].sum(axis=1) @ output + bias


def accuracy(weights: np.ndarray, messages: Sequence[str]) -> float:
    """Return how often the likeliest next word is the one that was typed.

    Args:
        weights: Of shape (P,).
        messages: At least one word in all.

    Raises:
        ValueError: There is no word, one that is not in the vocabulary, or the weights are not
            (P,) finite numbers.
    """
    rows, words = contexts(messages)
    if not len(words):
        raise ValueError("messages must hold at least one word")
    return float((logits(weights, rows).argmax(axis=1) == words).mean())


def suggest(weights: np.ndarray, text: str) -> list[str]:
    """Return the three likeliest next words, as a keyboard would show them.

    Raises:
        ValueError: A word is not in the vocabulary, or the weights are not (P,) finite numbers.
    """
    numbers = ([0] * CONTEXT + [_number(word) for word in text.split()])[-CONTEXT:]
    scores = logits(weights, _placed(np.array([numbers], "int32")))[0]
    return [VOCABULARY[number] for number in np.argsort(-scores)[:3]]


# ---- the attack --------------------------------------------------------------------------------


def pin_tables(weights: np.ndarray) -> list[np.ndarray]:
    """Return what the model says about each digit after "my pin is" and the digits before it.

    Returns:
        Four arrays of log-probabilities (nats), of shapes (10,), (10, 10), (10, 10, 10) and
        (10, 10, 10, 10): ``tables[2][4, 9, 2]`` is that of 2 after "my pin is four nine".

    Raises:
        ValueError: The weights are not (P,) finite numbers.
    """
    before = [_number(word) for word in PROMPT.split()]
    digits = [_number(word) for word in DIGITS]
    tables = []
    for known in range(PIN_DIGITS):
        rows = [
            [*before, *(digits[digit] for digit in begun)][-CONTEXT:]
            for begun in itertools.product(range(10), repeat=known)
        ]
        scores = logits(weights, _placed(np.array(rows, "int32"))).astype(float)
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        tables.append(scores[:, digits].reshape((10,) * (known + 1)))
    return tables


def pin_rank(weights: np.ndarray, pin: Sequence[int]) -> int:
    """Return how many PINs the model finds at least as likely as this one: 1 to 10,000.

    Whoever tries PINs in the model's order needs no more guesses than that. Source: Nicholas
    Carlini, Chang Liu, Úlfar Erlingsson, Jernej Kos and Dawn Song, "The Secret Sharer: Evaluating
    and Testing Unintended Memorization in Neural Networks" (USENIX Security 2019).

    Raises:
        ValueError: The PIN is not of four digits, or the weights are not (P,) finite numbers.
    """
    _check_pin(pin)
    total = np.zeros((10,) * PIN_DIGITS)
    for table in pin_tables(weights):
        total += table.reshape(table.shape + (1,) * (PIN_DIGITS - table.ndim))
    return int((total >= total[tuple(pin)]).sum())


# ---- checks ------------------------------------------------------------------------------------


def _placed(rows: np.ndarray) -> np.ndarray:
    """Shift word numbers (n, 3) by place."""
    return rows + np.arange(CONTEXT, dtype="int32") * len(VOCABULARY)


def _number(word: str) -> int:
    if word not in _NUMBER:
        raise ValueError(f"{word!r} is not in the vocabulary")
    return _NUMBER[word]


def _check_pin(pin: Sequence[int]) -> None:
    if len(pin) != PIN_DIGITS or not all(_is_integer(each) and 0 <= each <= 9 for each in pin):
        raise ValueError(f"pin must be {PIN_DIGITS} digits from 0 to 9, not {pin!r}")


def _check_phone(phone: int, phones: int) -> None:
    if not (_is_integer(phone) and 0 <= phone < phones):
        raise ValueError(f"a phone must be a number from 0 to {phones - 1}, not {phone!r}")


def _check_weights(weights: np.ndarray) -> None:
    if np.shape(weights) != (PARAMETERS,) or not np.isfinite(weights).all():
        raise ValueError(f"weights must be {PARAMETERS} finite numbers")


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _at_least(name: str, value: int, low: int) -> None:
    if not _is_integer(value) or value < low:
        raise ValueError(f"{name} must be an integer, at least {low}, not {value!r}")
