"""Exercises of lesson 13: the rank of a PIN, one phone's influence, a plan within a budget."""

import itertools
import math
from functools import cache
from typing import Any

import numpy as np

from .. import keyboard
from ..accounting import gaussian_sigma, sampled_epsilon
from ..audit import AuditReport
from ..exercise import Answers, Exercise, Mistake, Wrong, array, mapping, number
from .audited import LearnersMechanism, Neighbours, audit_answer


def _changed(code: str, name: str, says: str, *changes: tuple[str, str]) -> Mistake:
    """Make a mistake of a right answer by some changes."""
    for old, new in changes:
        if old not in code:
            raise ValueError(f"the answer does not hold {old!r}")
        code = code.replace(old, new)
    return Mistake(name, code, says)


# ---- 13.1 --------------------------------------------------------------------------------------


def _sequences(tables: list[np.ndarray]) -> np.ndarray:
    """Return the log-probability of each PIN, of shape (10,) * digits."""
    total = np.zeros(tables[-1].shape)
    for table in tables:
        total = total + table.reshape(table.shape + (1,) * (total.ndim - table.ndim))
    return total


_RANK = """
import numpy as np

def rank(tables, pin):
    digits = len(pin)
    total = np.zeros((10,) * digits)
    for known, table in enumerate(tables):
        total += np.reshape(table, (10,) * (known + 1) + (1,) * (digits - known - 1))
    return int((total >= total[tuple(pin)]).sum())

def exposure(tables, pin):
    return len(pin) * np.log2(10) - np.log2(rank(tables, pin))
"""
_AT_LEAST = "(total >= total[tuple(pin)]).sum()"
_EXPOSURE = "len(pin) * np.log2(10) - np.log2(rank(tables, pin))"


class Rank(Exercise):
    """Rank and exposure of a PIN from the model's tables."""

    label = "13.1"
    title = "How exposed is a PIN?"
    points = 2
    kinds = {"rank": number, "exposure": number}
    hints = (
        "How likely is a whole PIN? P(4) · P(9 after 4) · P(2 after 4 9) …; logarithms add up. "
        "Compute that for every PIN, then count.",
        "A table for k digits has k axes. Reshape it to (10,) * k + (1,) * (digits - k) and NumPy "
        "adds it to all PINs that begin so.",
        "rank: int((total >= total[tuple(pin)]).sum()). exposure: digits · log2(10) - log2(rank).",
    )
    reference = _RANK
    mistakes = (
        _changed(
            _RANK, "the last digit alone", "last table alone",
            ("        total += np.reshape", "        total = np.reshape"),
        ),
        _changed(
            _RANK, "ties left out", "just as likely",
            (_AT_LEAST, "(total > total[tuple(pin)]).sum() + 1"),
        ),
        _changed(
            _RANK, "the PIN itself not counted", "at least 1",
            (_AT_LEAST, "(total > total[tuple(pin)]).sum()"), ("np.log2(rank(tables, pin))",
            "np.log2(max(rank(tables, pin), 1))"),
        ),
        _changed(
            _RANK, "the least likely first", "the least likely",
            (_AT_LEAST, "(total <= total[tuple(pin)]).sum()"),
        ),
        _changed(
            _RANK, "digit by digit", "product of the ranks",
            ("    return int(" + _AT_LEAST + ")",
             "    found = 1\n    for known, table in enumerate(tables):\n"
             "        row = np.asarray(table)[tuple(pin[:known])]\n"
             "        found *= int((row >= row[pin[known]]).sum())\n    return found"),
        ),
        _changed(
            _RANK, "logarithms multiplied", "multiply logarithms",
            ("np.zeros((10,) * digits)", "np.ones((10,) * digits)"), ("total +=", "total *="),
        ),
        _changed(
            _RANK, "natural logarithm", "in bits", ("np.log2(10)", "np.log(10)"),
            ("np.log2(rank", "np.log(rank"),
        ),
        _changed(
            _RANK, "always four digits", "four digits", ("len(pin) * np.log2(10)", "np.log2(10000)")
        ),
        _changed(
            _RANK, "logarithm of the rank", "grows with the rank",
            (_EXPOSURE, "np.log2(rank(tables, pin))"),
        ),
    )  # fmt: skip

    @staticmethod
    def _tables(rng: np.random.Generator, digits: int) -> list[np.ndarray]:
        """Draw tables as a model makes them: the ten digits share part of the probability."""
        tables = []
        for known in range(digits):
            scores = rng.normal(0, 1.5, (10,) * (known + 1))
            others = rng.uniform(1, 30, (10,) * known + (1,))
            tables.append(scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True) + others))
        return tables

    def test_rank(self, answers: Answers, rng: np.random.Generator) -> str:
        """Likely and unlikely PINs of two to four digits."""
        self._many(answers, rng, 5)
        return "The ranks of 15 PINs are right, ties among them."

    def test_exposure(self, answers: Answers, rng: np.random.Generator) -> str:
        """Exposure, in bits."""
        for digits in (4, 3, 2):
            tables = self._tables(rng, digits)
            total = _sequences(tables)
            # A likely PIN: there, one guess more or less shows.
            place = int(rng.integers(1, 6))
            order = np.argsort(-total, axis=None)
            pin = [int(d) for d in np.unravel_index(order[place - 1], total.shape)]
            wanted = digits * math.log2(10) - math.log2(place)
            got = answers.exposure(tables, pin)
            if abs(got - wanted) < 1e-6:
                continue
            told = f"Rank {place} of {10**digits:,}: the exposure is {wanted:.3f}, not {got:.3f}."
            if abs(got - wanted * math.log(2)) < 1e-6:
                raise Wrong(f"{told} It is measured in bits: log2.")
            if abs(got - math.log2(place)) < 1e-6:
                raise Wrong(f"{told} Yours grows with the rank: a safe PIN would look exposed.")
            if abs(got - wanted - (4 - digits) * math.log2(10)) < 1e-6:
                raise Wrong(f"{told} Not every PIN has four digits.")
            raise Wrong(told)
        return "Exposure is right for PINs of two, three and four digits."

    def hidden_rank(self, answers: Answers, rng: np.random.Generator) -> None:
        """More PINs."""
        self._many(answers, rng, 15)

    def _many(self, answers: Answers, rng: np.random.Generator, times: int) -> None:
        cases = []
        for digits in (3, 2, 4):
            for turn in range(times):
                tables = self._tables(rng, digits)
                if turn == times - 1:  # all equal
                    tables = [np.full_like(table, -2.5) for table in tables]
                    pin = [int(d) for d in rng.integers(10, size=digits)]
                elif turn == times - 2:
                    pin = self._tie(tables, rng, first=digits == 2)
                else:
                    # From the likeliest to the least likely.
                    place = int(turn * (10**digits - 1) / max(times - 3, 1))
                    order = np.argsort(-_sequences(tables), axis=None)
                    pin = [int(d) for d in np.unravel_index(order[place], (10,) * digits)]
                cases.append((answers.rank(tables, pin), tables, pin))
        self._judge(cases)

    @staticmethod
    def _tie(tables: list[np.ndarray], rng: np.random.Generator, first: bool) -> list[int]:
        """Let PINs that differ in one digit be just as likely, in place; return one of them."""
        digits = len(tables)
        pin = [int(d) for d in rng.integers(10, size=digits)]
        low, middle, high = sorted(int(d) for d in rng.choice(10, 3, replace=False))
        if first:
            for table in tables:  # whatever follows, it follows all three alike
                table[[low, high]] = table[middle]
            pin[0] = high
        else:
            own = tables[-1][tuple(pin[:-1])]
            own[[low, high]] = own[middle]
            pin[-1] = low
        return pin

    @staticmethod
    def _predictions(tables: list[np.ndarray], pin: list[int]) -> list[tuple[int, str]]:
        """Return what typical mistakes would answer, and what to say to them."""
        total, own = _sequences(tables), tuple(pin)
        product, by_digit = np.ones(total.shape), 1
        for known, table in enumerate(tables):
            product = product * table.reshape(table.shape + (1,) * (total.ndim - table.ndim))
            row = table[own[:known]]
            by_digit *= int((row >= row[own[known]]).sum())
        last = np.broadcast_to(tables[-1], total.shape)
        return [
            ((total > total[own]).sum(), "A rank is at least 1: the PIN itself counts."),
            ((total > total[own]).sum() + 1, "PINs that are just as likely count as tried before "
             "it."),
            ((total <= total[own]).sum(), "You count the least likely first."),
            (by_digit, "You take the product of the ranks of its digits. A PIN with an unlikely "
             "first digit can still be likely as a whole."),
            ((last >= last[own]).sum(), "You look at the last table alone; the digits before it "
             "have a probability, too."),
            ((product >= product[own]).sum(), "You multiply logarithms: they add up."),
        ]  # fmt: skip

    @classmethod
    def _judge(cls, cases: list[tuple[float, list[np.ndarray], list[int]]]) -> None:
        wrong = None
        for got, tables, pin in cases:
            total = _sequences(tables)
            wanted = int((total >= total[tuple(pin)]).sum())
            if got != wanted and wrong is None:
                wrong = (
                    f"The rank of {pin} is {wanted:,}, not {got:,g}.",
                    f"How many of the {total.size:,} PINs are at least as likely?",
                )
        if wrong is None:
            return
        # A mistake explains all answers, or it is a coincidence.
        predicted = [cls._predictions(tables, pin) for _, tables, pin in cases]
        for each in zip(*predicted, strict=True):
            if all(value == got for (value, _), (got, _, _) in zip(each, cases, strict=True)):
                raise Wrong(f"{wrong[0]} {each[0][1]}")
        raise Wrong(" ".join(wrong))


# ---- 13.2 --------------------------------------------------------------------------------------

#: The δ of the audits: large, so that they see much in few samples.
_DELTA = 0.01
_SAMPLES = 8_000
_LOOK = (
    "Is something divided by the length of an update of zeros, or by the number of phones, or is "
    "it the mean of no messages?"
)

_PRIVATE_MEAN = """
import numpy as np

def private_mean(phones, clip, noise_multiplier, expected_phones, rng):
    parameters = phones[0].shape[1]
    total = np.zeros(parameters)
    for messages in phones:
        update = messages.sum(axis=0)
        norm = np.linalg.norm(update)
        total += update * min(1, clip / max(norm, 1e-12))
    noise = rng.normal(0, noise_multiplier * clip, parameters)
    return (total + noise) / expected_phones
"""


def _shrink(vector: np.ndarray, clip: float) -> np.ndarray:
    return vector * min(1, clip / max(float(np.linalg.norm(vector)), 1e-300))


class PrivateMean(Exercise):
    """Clip by phone, add noise, divide by the expected number; measured and audited."""

    label = "13.2"
    title = "One phone, one bounded update"
    points = 3
    kinds = {"private_mean": array(1, "a vector: one number a parameter", _LOOK)}
    hints = (
        "What must be bounded is all that one phone contributes. Add up its messages first; how "
        "long is that sum? Only then look at the next phone.",
        "update * min(1, clip / norm) for each phone (keep the norm off zero), then one sum over "
        "phones. The noise belongs to this sum: one draw a parameter, standard deviation "
        "noise_multiplier * clip.",
        "Divide sum and noise by expected_phones, a constant: len(phones) tells who was there. A "
        "phone without messages adds zeros, and counts for nothing.",
    )
    reference = _PRIVATE_MEAN
    mistakes = (
        _changed(
            _PRIVATE_MEAN, "each message clipped", "each message by itself",
            ("update = messages.sum(axis=0)",
             "sizes = np.linalg.norm(messages, axis=1, keepdims=True)\n"
             "        update = (messages * np.minimum(1, clip / np.maximum(sizes, 1e-12))).sum(0)"),
            ("total += update * min(1, clip / max(norm, 1e-12))", "total += update"),
        ),
        _changed(
            _PRIVATE_MEAN, "each message clipped, then averaged", "the mean of its clipped",
            ("update = messages.sum(axis=0)",
             "sizes = np.linalg.norm(messages, axis=1, keepdims=True)\n"
             "        update = (messages * np.minimum(1, clip / np.maximum(sizes, 1e-12))).sum(0)"
             "\n        update = update / max(len(messages), 1)"),
        ),
        _changed(
            _PRIVATE_MEAN, "clipped after adding up all phones", "the sum of all phones",
            ("total += update * min(1, clip / max(norm, 1e-12))", "total += update"),
            ("    noise =",
             "    total *= min(1, clip / max(np.linalg.norm(total), 1e-12))\n    noise ="),
        ),
        _changed(
            _PRIVATE_MEAN, "divided by the phones present", "how many phones are there",
            ("/ expected_phones", "/ len(phones)"),
        ),
        _changed(
            _PRIVATE_MEAN, "no clipping", "Nothing is clipped",
            ("min(1, clip / max(norm, 1e-12))", "1.0"),
        ),
        _changed(
            _PRIVATE_MEAN, "entry by entry", "entry by entry",
            ("total += update * min(1, clip / max(norm, 1e-12))",
             "total += np.clip(update, -clip, clip)"),
        ),
        _changed(
            _PRIVATE_MEAN, "weighted by messages", "number of its messages",
            ("total += update *", "total += len(messages) * update *"),
        ),
        _changed(
            _PRIVATE_MEAN, "the mean of the messages clipped", "the mean of its messages",
            ("messages.sum(axis=0)", "messages.sum(axis=0) / max(len(messages), 1)"),
        ),
        _changed(
            _PRIVATE_MEAN, "short updates stretched", "shorter than clip",
            ("min(1, clip / max(norm, 1e-12))", "(clip / max(norm, 1e-12))"),
        ),
        _changed(
            _PRIVATE_MEAN, "not divided", "is not divided by expected_phones",
            (" / expected_phones", ""),
        ),
        _changed(
            _PRIVATE_MEAN, "noise without the clip", "clip is missing",
            ("noise_multiplier * clip", "noise_multiplier"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise not divided", "the noise is not divided",
            ("(total + noise) / expected_phones", "total / expected_phones + noise"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise by each phone", "every phone adds noise",
            ("noise_multiplier * clip, parameters)",
             "noise_multiplier * clip, (len(phones), parameters)).sum(axis=0)"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise divided by the root", "square root",
            ("noise_multiplier * clip,", "noise_multiplier * clip / len(phones) ** 0.5,"),
        ),
        _changed(
            _PRIVATE_MEAN, "no noise", "gives the sum away exactly",
            ("+ noise", ""),
        ),
        _changed(
            _PRIVATE_MEAN, "a seed of its own", "the same in every call",
            ("rng.normal", "np.random.default_rng(0).normal"),
        ),
        _changed(
            _PRIVATE_MEAN, "one draw for all parameters", "one and the same number",
            ("noise_multiplier * clip, parameters", "noise_multiplier * clip"),
        ),
        _changed(
            _PRIVATE_MEAN, "division by zero", "NaN",
            ("min(1, clip / max(norm, 1e-12))", "np.minimum(norm, clip) / norm"),
        ),
        _changed(
            _PRIVATE_MEAN, "uniform noise", "not Gaussian",
            ("rng.normal(0, noise_multiplier * clip, parameters)",
             "rng.uniform(-1, 1, parameters) * noise_multiplier * clip * 3 ** 0.5"),
        ),
        _changed(
            _PRIVATE_MEAN, "each message clipped, then the phone", "clip twice",
            ("update = messages.sum(axis=0)",
             "sizes = np.linalg.norm(messages, axis=1, keepdims=True)\n"
             "        update = (messages * np.minimum(1, clip / np.maximum(sizes, 1e-12))).sum(0)"),
        ),
        _changed(
            _PRIVATE_MEAN, "one message needs no clip", "a single message",
            ("min(1, clip / max(norm, 1e-12))",
             "(min(1, clip / max(norm, 1e-12)) if len(messages) > 1 else 1)"),
        ),
        _changed(
            _PRIVATE_MEAN, "a norm of all messages", "all numbers of its messages",
            ("np.linalg.norm(update)", "np.linalg.norm(messages)"),
        ),
        _changed(
            _PRIVATE_MEAN, "sum of absolute values", "sum of absolute values",
            ("np.linalg.norm(update)", "np.abs(update).sum()"),
        ),
        _changed(
            _PRIVATE_MEAN, "largest entry", "largest entry",
            ("np.linalg.norm(update)", "np.abs(update).max()"),
        ),
        _changed(
            _PRIVATE_MEAN, "long updates dropped", "left out",
            ("min(1, clip / max(norm, 1e-12))", "(norm <= clip)"),
        ),
        _changed(
            _PRIVATE_MEAN, "divided by phones with messages", "phones with messages",
            ("/ expected_phones", "/ max(1, sum(len(each) > 0 for each in phones))"),
        ),
        _changed(
            _PRIVATE_MEAN, "a whole number of phones", "an average",
            ("/ expected_phones", "/ int(expected_phones)"),
        ),
        _changed(
            _PRIVATE_MEAN, "the first phones only", "only the first",
            ("for messages in phones:", "for messages in phones[: int(expected_phones)]:"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise where somebody typed", "nobody typed that word",
            ("(total + noise)", "(total + (total != 0) * noise)"),
        ),
        _changed(
            _PRIVATE_MEAN, "no noise in an empty round", "nothing to hide",
            ("    noise =", "    if not np.any(total):\n        return total\n    noise ="),
        ),
        _changed(
            _PRIVATE_MEAN, "noise as long as the longest update", "depends on the phones",
            ("total = np.zeros(parameters)", "total, longest = np.zeros(parameters), 0"),
            ("        total +=",
             "        longest = max(longest, min(norm, clip))\n        total +="),
            ("noise_multiplier * clip", "noise_multiplier * longest"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise now and then left out", "calls there is no noise",
            ("    return", "    noise = noise * (rng.random() > 0.03)\n    return"),
        ),
        _changed(
            _PRIVATE_MEAN, "noise from a thousand seeds", "noise comes again",
            ("rng.normal", "np.random.default_rng(rng.integers(1000)).normal"),
        ),
        _changed(
            _PRIVATE_MEAN, "one draw with two signs", "tells that of another",
            ("    return", "    noise[1] = -noise[0]\n    return"),
        ),
        _changed(
            _PRIVATE_MEAN, "unequal noise", "Parameter",
            ("    return", "    noise = noise * np.linspace(1.15, 0.82, parameters)\n    return"),
        ),
        _changed(
            _PRIVATE_MEAN, "tails cut off", "tails",
            ("    return", "    most = 3.2 * noise_multiplier * clip\n"
             "    noise = np.clip(noise, -most, most)\n    return"),
        ),
        _changed(
            _PRIVATE_MEAN, "a variance as scale", "a variance stands",
            ("noise_multiplier * clip,", "(noise_multiplier * clip) ** 2,"),
        ),
        _changed(
            _PRIVATE_MEAN, "another generator", "the same `rng`",
            ("rng.normal", "np.random.normal"),
        ),
        _changed(
            _PRIVATE_MEAN, "arrays changed in place", "the arrays it is given",
            ("    return", "    for messages in phones:\n        messages[:] = 0\n    return"),
        ),
    )  # fmt: skip

    @staticmethod
    def _phones(rng: np.random.Generator) -> list[np.ndarray]:
        """Make phones whose sums are short, near the clip and far beyond it; two have no update.

        The messages of a phone point roughly one way, phones do not: all mistakes differ.
        """
        phones, ways = [], []
        for size, length in ((4, 0.05), (3, 0.6), (2, 3.0), (7, 2.0), (5, 20.0), (1, 9.0)):
            way = rng.normal(size=3)
            ways.append(way / np.linalg.norm(way))
            phones.append(length * (ways[-1] + rng.normal(0, 0.2, (size, 3))))
        # One long message and two short ones: clipped before and after the mean, they differ much.
        # The direction of the second phone: so the two do not make up for each other.
        phones.append(np.array([[12.0], [0.1], [0.1]]) * ways[1])
        # One long message one way and six short ones another way: clipped twice, the six win.
        side = np.cross(ways[0], ways[1])
        side /= np.linalg.norm(side)
        phones.append(np.vstack([20 * ways[0], *[1.5 * side] * 6]))
        phones.insert(2, np.zeros((0, 3)))
        phones.insert(4, np.zeros((2, 3)))
        return phones

    def test_mean(self, answers: Answers, rng: np.random.Generator) -> str:
        """Compare the mean without noise, for several rounds."""
        # Of the expected number just the half is odd: who rounds it, divides by another one.
        rounds = [(self._phones(rng), clip, 0.0, 5.5) for clip in (1.7, 1.7, 0.4, 4.0)]
        found = []
        for arguments in rounds:
            twice = self._runs(answers, arguments, 2, rng)
            if not np.allclose(twice[0], twice[1], atol=1e-9):
                raise Wrong(
                    "With noise_multiplier = 0, two calls with the same phones differ. Does your "
                    "function change the arrays it is given (`messages *= …`)? Or is there noise?"
                )
            found.append(twice[0])
        predicted = [self._predictions(phones, clip, n) for phones, clip, _, n in rounds]
        rights = [each[0][0] for each in predicted]
        for right, each in zip(rights, found, strict=True):
            if np.allclose(right, each, rtol=1e-5, atol=1e-5):  # single precision is fine
                continue
            told = (
                f"Without noise your result is {np.round(each, 3).tolist()}; it should be "
                f"{np.round(right, 3).tolist()}."
            )
            # A mistake explains all results, or it is a coincidence.
            for guess in zip(*predicted, strict=True):
                pairs = zip(guess, found, strict=True)
                if all(np.allclose(value, got, atol=1e-5) for (value, _), got in pairs):
                    raise Wrong(f"{told} {guess[0][1]}")
            raise Wrong(told)
        return f"Without noise the mean of {len(rounds)} rounds is right."

    @staticmethod
    def _predictions(
        phones: list[np.ndarray], clip: float, expected: float
    ) -> list[tuple[np.ndarray, str]]:
        """Return the right mean, then those of typical mistakes, and what to say to them."""

        def scaled(length: Any) -> np.ndarray:
            return sum(
                each.sum(axis=0) * min(1, clip / max(float(length(each)), 1e-12)) for each in phones
            )

        updates = [each.sum(axis=0) for each in phones]
        clipped = [_shrink(update, clip) for update in updates]
        sizes = [len(each) for each in phones]
        means = [update / max(size, 1) for update, size in zip(updates, sizes, strict=True)]
        single = [sum((_shrink(m, clip) for m in each), np.zeros(3)) for each in phones]
        right = sum(clipped)
        lengthened = sum(each * clip / max(np.linalg.norm(each), 1e-12) for each in updates)
        whole = "expected_phones is an average and need not be whole: divide by it as it is."
        return [
            (right / expected, ""),
            (sum(updates) / expected, "Nothing is clipped: one phone can move it anywhere."),
            (sum(single) / expected, "You clip each message by itself. A phone with 20 messages "
             "then moves the sum by 20 clips: that protects a message, not a person."),
            (sum(u / max(s, 1) for u, s in zip(single, sizes, strict=True)) / expected, "You take "
             "the mean of its clipped messages. Add up a phone's messages, then clip once."),
            (sum(_shrink(each, clip) for each in single) / expected, "You clip twice: each "
             "message, then the phone. That is private, but the first clip only distorts: clip "
             "the sum alone."),
            (_shrink(sum(updates), clip) / expected, "You clip the sum of all phones: one phone "
             "can turn all of it around. Clip before you add phones up."),
            (right / len(phones), "You divide by how many phones are there. That number changes "
             "with the person to be hidden, and with it everybody's share. Divide by "
             "expected_phones."),
            (right / sum(size > 0 for size in sizes), "You divide by the number of phones with "
             "messages: it changes with the person to be hidden. Divide by expected_phones."),
            (right, "The result is not divided by expected_phones."),
            (right / int(expected), whole),
            (right / math.ceil(expected), whole),
            (sum(clipped[: int(expected)]) / expected, "You take only the first phones. All that "
             "were drawn count."),
            (sum(np.clip(each, -clip, clip) for each in updates) / expected, "You clip entry by "
             "entry: d entries can still be √d clips long together."),
            (sum(s * c for s, c in zip(sizes, clipped, strict=True)) / expected, "You weight a "
             "phone by the number of its messages, after clipping: it moves the sum by that many "
             "clips."),
            (sum(_shrink(each, clip) for each in means) / expected, "You clip the mean of its "
             "messages. Here a phone's update is their sum."),
            (lengthened / expected, "An update shorter than clip stays as it is."),
            (sum(u if s == 1 else c for u, c, s in zip(updates, clipped, sizes, strict=True))
             / expected, "A phone with a single message is not clipped: one message can be long."),
            (scaled(np.linalg.norm) / expected, "You divide by the length of all numbers of its "
             "messages together. What must be short is their sum."),
            (scaled(lambda each: np.abs(each.sum(axis=0)).sum()) / expected, "You measure an "
             "update by the sum of absolute values. Its length is √(Σ entry²)."),
            (scaled(lambda each: np.abs(each.sum(axis=0)).max()) / expected, "You measure an "
             "update by its largest entry. Its length is √(Σ entry²)."),
            (sum(u for u in updates if np.linalg.norm(u) <= clip) / expected, "A phone whose "
             "update is too long is left out. Shorten it to clip."),
        ]  # fmt: skip

    @staticmethod
    def _runs(
        answers: Answers, arguments: tuple, times: int, rng: np.random.Generator
    ) -> np.ndarray:
        outputs = answers.sample("private_mean", arguments, times, rng)
        lengths = {len(output) for output in outputs}
        if lengths != {3}:
            raise Wrong(f"There are 3 parameters, but your mean has {max(lengths)} entries.")
        return np.array(outputs)

    def test_noise(self, answers: Answers, rng: np.random.Generator) -> str:
        """Measure the noise of one round."""
        phones, clip, sigma, expected = arguments = (self._phones(rng), 1.7, 1.3, 5.5)
        right, scale = self._predictions(phones, clip, expected)[0][0], sigma * clip / expected
        seed = int(rng.integers(2**32))
        twice = [self._runs(answers, arguments, 5, np.random.default_rng(seed)) for _ in (1, 2)]
        noise = twice[0] - right
        if np.abs(noise).max() < 1e-9:
            raise Wrong("There is no noise in it: the result gives the sum away exactly.")
        if np.ptp(noise, axis=0).max() < 1e-9:
            raise Wrong("Your noise is the same in every call: draw it from the `rng` given.")
        if not np.array_equal(*twice):
            raise Wrong(
                "Two calls with the same `rng`, in the same state, gave different noise: draw all "
                "of it from that generator."
            )
        noise = self._runs(answers, arguments, _SAMPLES, rng) - right
        # Noise common to all entries: their differences stand still.
        if np.ptp(noise, axis=1).max() < 1e-6 * scale:
            raise Wrong(
                "The noise is one and the same number for all parameters: the difference of "
                "two entries shows it. Draw one number for each."
            )
        if none := int((np.abs(noise) < 1e-9).all(axis=1).sum()):
            raise Wrong(f"In {none} of {_SAMPLES:,} calls there is no noise.")
        # Rounded to 5 decimals, 98.6 % differ; in single precision all do.
        if len(np.unique(np.round(noise * arguments[3], 9))) < 0.995 * noise.size:
            rows = len(np.unique(noise, axis=0))
            if rows >= 0.999 * _SAMPLES:
                raise Wrong(
                    "The noise is rounded: the digits behind it are those of the sum itself. Leave "
                    "the noise as it is drawn."
                )
        if len(np.unique(noise, axis=0)) < 0.999 * _SAMPLES:
            raise Wrong(
                "The same noise comes again and again: who knows the few possible draws takes "
                "them off."
            )
        # Independent entries have a correlation of 0 ± 0.011: 0.07 is z = 6.
        if np.abs(np.corrcoef(noise.T) - np.eye(3)).max() > 0.07:
            raise Wrong("The noise of one parameter tells that of another. Draw one for each.")
        self._check_noise(noise, scale, clip, sigma, expected, len(phones))
        return (
            f"Measured noise: standard deviation {noise.std():.3f}, promised {scale:.3f} "
            "(noise_multiplier · clip / expected_phones)."
        )

    @staticmethod
    def _check_noise(
        noise: np.ndarray, scale: float, clip: float, sigma: float, expected: float, phones: int
    ) -> None:
        ratio = float(np.sqrt((noise**2).mean()) / scale)
        factors = {
            1 / clip: "clip is missing: a phone moves the sum by that, so the noise grows with it",
            clip: "clip is in it twice",
            expected: "the noise is not divided; divide the noisy sum as a whole",
            1 / expected: "the noise is divided twice",
            math.sqrt(phones): "every phone adds noise; once for the sum is enough",
            1 / math.sqrt(phones): "it is divided by the square root of the number of phones, as "
            "if it averaged out",
            sigma: "noise_multiplier is in it twice",
            1 / sigma: "noise_multiplier is missing",
            sigma * clip: "a variance stands where a standard deviation belongs",
            1 / math.sqrt(sigma * clip): "a root too much: noise_multiplier · clip is a standard "
            "deviation already",
        }
        # 24,000 draws measure it to 0.46 %: 2.5 % are z = 5.5.
        if abs(ratio - 1) > 0.025:
            told = f"The noise has standard deviation {ratio * scale:.3f}, promised {scale:.3f}"
            factor = min(factors, key=lambda f: abs(math.log(f / ratio)))
            near = abs(math.log(factor / ratio)) < 0.025
            why = factors[factor] if near else "too little" if ratio < 1 else "more than needed"
            raise Wrong(f"{told}: {why}.")
        # 8,000 draws measure one entry to 0.8 %: 4.5 % are z = 5.7.
        entries = np.sqrt((noise**2).mean(axis=0)) / scale
        worst = int(np.abs(entries - 1).argmax())
        if abs(entries[worst] - 1) > 0.045:
            raise Wrong(
                f"Parameter {worst} has {entries[worst]:.2f} times the noise promised; each must "
                "have the same."
            )
        # z = 6 in one of three entries: a chance of 6e-9.
        if np.abs(noise.mean(axis=0)).max() > 6 * scale / math.sqrt(len(noise)):
            raise Wrong("The noise is not zero on average.")
        kurtosis = float((noise**4).mean() / (noise**2).mean() ** 2)
        # 24,000 Gaussian draws give 3 ± 0.03; a uniform has 1.8, Laplace 6.
        if abs(kurtosis - 3) > 0.25:
            raise Wrong("The size of the noise is right, but it is not Gaussian noise as a whole.")
        # 28 of 24,000 Gaussian draws lie beyond 3.25: fewer than 8 in one case of a million.
        if (np.abs(noise) > 3.25 * scale).sum() < 8:
            raise Wrong(
                "The tails of the noise are cut off: beyond 3.25 standard deviations there is next "
                "to nothing. The Gaussian promise needs them."
            )

    def test_noise_everywhere(self, answers: Answers, rng: np.random.Generator) -> str:
        """The noise must not depend on the phones: not in any round, not for any parameter."""
        clip, sigma, expected = 0.8, 1.1, 2.5
        scale = sigma * clip / expected
        way = np.array([[0.3, -0.2, 0.1]])
        rounds = {
            "one parameter is touched": [np.array([[-0.2, 0.0, 0.0]]), np.zeros((0, 3))],
            "nobody typed": [np.zeros((0, 3))],
            "the updates add up to zero": [way, -way],
            "all updates are short": [way / 10, way / 20],
            "fifty phones take part": [way * k / 50 for k in range(50)],
            "one phone has 200 messages": [np.tile(way / 100, (200, 1)), np.tile(way, (200, 1))],
            "all updates are long": [90 * way, np.array([[50.0, 5, 0]]), np.array([[0, 20.0, 70]])],
        }
        for name, phones in rounds.items():
            right = sum(_shrink(each.sum(axis=0), clip) for each in phones) / expected
            noise = self._runs(answers, (phones, clip, sigma, expected), 400, rng) - right
            none = (np.abs(noise) < 1e-9).all(axis=0)
            if none.all():
                raise Wrong(
                    f"There is no noise in a round in which {name}. That there was nothing to hide "
                    "is what it tells."
                )
            if none.any():
                raise Wrong(
                    "A parameter without noise shows that nobody typed that word: the others "
                    "cannot hide it."
                )
            # 1,200 draws measure it to 2 %: 12 % are z = 5.9.
            ratio = float(np.sqrt((noise**2).mean()) / scale)
            if abs(ratio - 1) > 0.12:
                raise Wrong(
                    f"In a round in which {name}, the noise is {ratio:.2f} times what it is "
                    "promised. Its size depends on the phones, and so tells of them."
                )
        return "The noise is the same in rounds that differ."

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit: neighbours differ in one phone, which has many messages."""
        return self._audit(answers, rng, (0.5, 1.5))

    def hidden_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit with another clip."""
        return self._audit(answers, rng, (1.0,), clip=2.5)

    @staticmethod
    def _audit(
        answers: Answers, rng: np.random.Generator, epsilons: tuple[float, ...], clip: float = 0.4
    ) -> str:
        small = [np.array([[-0.1 * clip, 0.05 * clip]]), np.array([[-0.2 * clip, 0.0]] * 2)]
        loud = np.array([[0.9 * clip, 0.0]] * 20)
        cancel = np.array([[60.0, 0.0]] * 3 + [[-55.0, 0.0]] * 3)
        first, other = [np.array([[-0.2 * clip, 0.0]])], np.array([[0.0, 0.9 * clip]] * 20)
        empty = [np.zeros((0, 2))]
        full = [np.array([[-clip, 0.0]] * 9)] * 3
        pairs = [
            Neighbours([*small, loud], small, ("with a phone of 20 messages", "without it")),
            Neighbours([*full, loud], full, ("with it, all others opposed", "without it")),
            Neighbours([*small, cancel], small, ("with messages that half cancel", "without them")),
            Neighbours([*first, other], first, ("with the only one who typed a word", "without")),
            Neighbours([*empty, loud], empty, ("with the only phone that typed", "without it")),
        ]
        mechanism = LearnersMechanism(
            answers, "private_mean",
            lambda phones, epsilon: (phones, clip, gaussian_sigma(epsilon, _DELTA), 3),
        )  # fmt: skip

        def explain(report: AuditReport) -> str:
            return "One phone, with all its messages, may move the sum by clip and no more."

        return audit_answer(
            mechanism, pairs, rng, explain=explain, delta=_DELTA, epsilons=epsilons,
            samples=_SAMPLES,
        )  # fmt: skip


# ---- 13.3 --------------------------------------------------------------------------------------

_PHONES, _BUDGET, _TARGET, _PLAN_DELTA, _LEAST = 800, 2_400, 1.0, 1e-4, 0.42
_KEYS = ("noise_multiplier", "rounds", "expected_phones", "clip")


def _plan(value: Any, what: str) -> tuple[float, int, float, float]:
    """Accept a dict of the four settings, each in its range."""
    given = mapping(value, what)
    missing = [key for key in _KEYS if key not in given]
    if missing:
        raise Wrong(f"There is no value for {', '.join(missing)} in {what}.")
    noise, rounds, phones, clip = (number(given[key], f"{key} in {what}") for key in _KEYS)
    if rounds != int(rounds) or rounds < 1:
        raise Wrong(f"rounds is {rounds:g}; it must be a whole number, at least 1.")
    if not 1 <= phones <= _PHONES:
        raise Wrong(
            f"expected_phones is {phones:g}; it is a number of phones, at least 1, not a rate, and "
            f"there are {_PHONES} phones."
        )
    if rounds * phones > _BUDGET:
        raise Wrong(
            f"{rounds:g} rounds with {phones:g} phones are {rounds * phones:,.0f} updates; "
            f"{_BUDGET:,} may be uploaded."
        )
    if noise < 0.3:
        raise Wrong(f"noise_multiplier is {noise:g}: below 0.3 no plan keeps the promise.")
    if noise > 50 or not 0.01 <= clip <= 100:
        raise Wrong("noise_multiplier must be at most 50, and clip from 0.01 to 100.")
    return noise, int(rounds), phones, clip


@cache
def _typed() -> tuple[keyboard.Phones, list[str]]:
    """Return the phones to train on, and messages of others to test with."""
    typed = keyboard.type_messages(1_000, 20, np.random.default_rng(13))
    return keyboard.make_phones(typed[:_PHONES]), list(itertools.chain(*typed[_PHONES:]))


def _train(plan: tuple[float, int, float, float], rng: np.random.Generator) -> float:
    """Return the accuracy of one private training (as in the lesson), 0 if it overflows."""
    noise, rounds, expected, clip = plan
    phones, test = _typed()
    weights = keyboard.initial(rng)
    speed = np.zeros_like(weights)
    for _ in range(rounds):
        chosen = np.flatnonzero(rng.random(_PHONES) < expected / _PHONES)
        sent = keyboard.updates(weights, phones, chosen, 1.5, 10)
        scale = np.minimum(1, clip / np.maximum(np.linalg.norm(sent, axis=1), 1e-12))
        total = scale @ sent + rng.normal(0, noise * clip, len(weights))
        speed = 0.9 * speed + total / expected
        weights = (weights + speed).astype("float32")
        if not np.isfinite(weights).all():  # the noise of a wild plan
            return 0.0
    return keyboard.accuracy(weights, test)


def _answer_13_3(noise: float, rounds: float, phones: float, clip: float) -> str:
    return f"plan = {dict(zip(_KEYS, (noise, rounds, phones, clip), strict=True))}"


class Plan(Exercise):
    """Choose noise, rounds, sampling and clip within a budget; open-ended."""

    label = "13.3"
    title = "The best keyboard for ε = 1"
    points = 3
    kinds = {"plan": _plan}
    hints = (
        "What does ε depend on? Not on the clip. Start from a plan of the lesson and ask the "
        "accountant.",
        "The noise in the mean is noise_multiplier · clip / expected_phones. 2,400 updates can be "
        "many rounds with few phones, or few rounds with many.",
        "Rounds and phones of the lesson are not bad. Search for the smallest noise_multiplier "
        "whose ε is at most 1; with so much noise, another clip is better: try shorter ones.",
    )
    reference = _answer_13_3(1.58, 60, 40, 0.2)
    mistakes = (
        Mistake("a setting left out", 'plan = {"rounds": 60, "clip": 0.5}', "There is no value"),
        Mistake("too many uploads", _answer_13_3(1.0, 100, 40, 0.5), "may be uploaded"),
        Mistake("half a round", _answer_13_3(1.0, 7.5, 40, 0.5), "a whole number"),
        Mistake("more phones than there are", _answer_13_3(1.0, 1, 2000, 0.5), "there are 800"),
        Mistake("hardly any noise", _answer_13_3(0.05, 60, 40, 0.5), "below 0.3"),
        Mistake("over the budget", _answer_13_3(0.6, 60, 40, 0.5), "more than 1"),
        Mistake("the lesson's plan", _answer_13_3(1.0, 60, 40, 0.5), "the lesson's plan"),
        Mistake(
            "all phones in every round", _answer_13_3(1.0, 3, 800, 0.5), "amplifies nothing"
        ),
        Mistake("too few rounds", _answer_13_3(2.0, 3, 100, 0.25), "the speed of learning"),
        Mistake("the lesson's clip", _answer_13_3(1.58, 60, 40, 0.5), "the noise in"),
    )  # fmt: skip

    def test_plan(self, answers: Answers, rng: np.random.Generator) -> str:
        """Account for the plan, and train with it, three times if it looks promising."""
        noise, rounds, phones, clip = plan = answers["plan"]
        epsilon = sampled_epsilon(((noise, phones / _PHONES, rounds),), _PLAN_DELTA)
        if epsilon > _TARGET:
            told = f"Your plan costs ε = {np.ceil(epsilon * 1000) / 1000:.3f} at δ = 10⁻⁴"
            if (noise, rounds, phones) == (1, 60, 40):
                raise Wrong(f"{told}: this is the lesson's plan, which was not made for ε = 1.")
            if phones == _PHONES:
                raise Wrong(f"{told}: with all phones in every round, sampling amplifies nothing.")
            raise Wrong(f"{told}, more than {_TARGET:g}.")
        got = _train(plan, rng)
        if got > _LEAST - 0.05:  # one training in a hundred goes badly: the median does not
            got = float(np.median([got, _train(plan, rng), _train(plan, rng)]))
        if got < _LEAST:
            told = (
                f"ε = {epsilon:.2f} holds, but next-word accuracy is {got:.1%}; reach {_LEAST:.0%}."
            )
            each = noise * clip / phones
            if each * rounds**0.5 > 0.07:
                why = (
                    f"Look at the noise in a parameter of the mean: {each:.3f} a round "
                    f"(noise_multiplier · clip / expected_phones), {each * rounds**0.5:.2f} over "
                    "all rounds (√rounds times). A shorter clip, or more phones in fewer rounds?"
                )
            else:
                many = "1 round" if rounds == 1 else f"{rounds} rounds"
                why = f"{many}, each at most clip long: what limits the speed of learning?"
            raise Wrong(f"{told} {why}")
        return (
            f"ε = {epsilon:.2f} for a phone with all its messages, {rounds * phones:,.0f} updates, "
            f"next-word accuracy {got:.1%}."
        )


q1 = Rank()
q2 = PrivateMean()
q3 = Plan()
EXERCISES = (q1, q2, q3)
