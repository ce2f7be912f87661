"""Exercises of lesson 18: additive shares, a mean from Shamir's shares, a power on a budget."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import chi2

from ..exercise import (
    Answers,
    Evidence,
    Exercise,
    Kind,
    Measured,
    Mistake,
    Wrong,
    kind_name,
    number,
)

#: A prime; the lesson's Q.
_Q = 2**61 - 1

#: Another, of more bits than the lesson's.
_LARGE = 2**127 - 1

#: A right answer fails one of these tests with this probability; a check makes some 4,000 of them.
_RARE = 1e-8


# ---- what the tests share ----------------------------------------------------------------------


def _integer(value: Any, what: str) -> int:
    """Accept one whole number of any size; never a float, which holds 53 bits."""
    if isinstance(value, np.ndarray) and value.shape == (1,) and value.dtype.kind in "iu":
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        made = "a float" if isinstance(value, float | np.floating) else kind_name(value)
        raise Wrong(f"{what} should be an integer (Python's int), but it is {made}.")
    return int(value)


def _residue(value: int, modulus: int, what: str) -> int:
    """Accept what lies on the circle."""
    if not 0 <= value < modulus:
        raise Wrong(
            f"{what} is {value}, outside 0 to modulus - 1: its size tells of what is inside. Take "
            "the remainder modulo the modulus."
        )
    return value


def _sequence(value: Any, what: str, of: str) -> list[Any]:
    """Accept a list, a tuple or an array."""
    if isinstance(value, np.ndarray) and value.ndim >= 1:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of {of}, but it is {kind_name(value)}.")
    return list(value)


def _shares(value: Any, what: str) -> list[int]:
    """Accept a list of whole numbers."""
    return [_integer(each, f"An entry of {what[0].lower()}{what[1:]}")
            for each in _sequence(value, what, "integers")]  # fmt: skip


def _pairs(first: str, second: str) -> Kind:
    """Make a kind that accepts a list of pairs of whole numbers, or a dict of them."""

    def kind(value: Any, what: str) -> list[tuple[int, int]]:
        pairs = list(value.items()) if isinstance(value, dict) else _sequence(value, what, "pairs")
        found = []
        for pair in pairs:
            pair = _sequence(pair, f"An entry of {what[0].lower()}{what[1:]}", "two integers")
            if len(pair) != 2:
                raise Wrong(
                    f"{what} should be a list of pairs ({first}, {second}), but one entry has "
                    f"{len(pair)}."
                )
            names = (f"A {first} in {what[0].lower()}{what[1:]}", f"A {second} in it")
            found.append((_integer(pair[0], names[0]), _integer(pair[1], names[1])))
        return found

    return kind


@lru_cache
def _critical(size: int) -> float:
    return float(chi2.isf(_RARE, size - 1))


def _unequal(cells: Sequence[int], size: int) -> bool:
    """Whether the chi-square test says that ``size`` cells are not equally likely."""
    counts = np.bincount(np.asarray(cells, dtype=np.int64), minlength=size)
    expected = len(cells) / size
    return float(((counts - expected) ** 2 / expected).sum()) > _critical(size)


def _signed(value: int, modulus: int) -> int:
    return value - modulus if 2 * value >= modulus else value


def _written(modulus: int) -> str:
    """Write a modulus near a power of two as such."""
    for power in (61, 64, 127, 128):
        if 0 <= 2**power - modulus <= 1:
            return f"2^{power}" + (" - 1" if modulus < 2**power else "")
    return str(modulus)


def _not_predictable(draw: Callable[[], Any]) -> None:
    """Refuse draws from Python's `random`.

    It sees that of this process alone; in grading the answer runs in another, and passes here.
    """
    state, drawn = random.getstate(), []
    try:
        for _ in range(2):
            random.seed(1)
            drawn.append(draw())
    finally:
        random.setstate(state)
    if drawn[0] == drawn[1]:
        raise Wrong(
            "What is drawn comes from Python's `random`: it is predictable after 624 outputs. Use "
            "`secrets`."
        )


def _deal_additive(secret: int, parties: int, modulus: int, rng: np.random.Generator) -> list[int]:
    """Return additive shares, of the test's own randomness."""
    drawn = [_below(modulus, rng) for _ in range(parties - 1)]
    return [*drawn, (secret - sum(drawn)) % modulus]


def _below(bound: int, rng: np.random.Generator) -> int:
    """Return an integer of any size below a bound; 64 bits too many make it nearly uniform."""
    return int.from_bytes(rng.bytes(8 + (bound.bit_length() + 7) // 8)) % bound


def _uneven(values: Sequence[int], modulus: int) -> str | None:
    """Test whether integers of a large modulus are spread evenly; say where they are not."""
    for place in (1, 2, 3, 4):
        if _unequal([16**place * value // modulus % 16 for value in values], 16):
            return "their sizes"
    # Four bits at a time. The upper ones are left out: the modulus is no power of 2.
    for place in range(0, modulus.bit_length() - 12, 4):
        if _unequal([(value >> place) % 16 for value in values], 16):
            return f"the bits from {place} to {place + 3}"
    return None


def _repeating(values: Sequence[int], modulus: int) -> bool:
    """Whether numbers drawn one after the other differ from their predecessors by a rule."""
    for lag in (1, 2, 3):
        steps = [(b - a) % modulus for a, b in zip(values, values[lag:], strict=False)]
        if len(set(steps)) < 0.9 * len(steps) or _uneven(steps, modulus):
            return True
    return False


# ---- 18.1 --------------------------------------------------------------------------------------


def _additive(
    encode: str = "round(value * scale) % modulus",
    draw: str = "[secrets.randbelow(modulus) for _ in range(parties - 1)]",
    result: str = "[*drawn, (x - sum(drawn)) % modulus]",
    total: str = "sum(shares) % modulus",
    decode: str = "(total if 2 * total < modulus else total - modulus) / scale",
    start: str = "",
) -> str:
    """Return an answer to 18.1; what is given replaces a part of the right one."""
    return f"""
import random, secrets

def split(value, parties, modulus, scale):
    {start}
    x = {encode}
    drawn = {draw}
    return {result}

def join(shares, modulus, scale):
    total = {total}
    return {decode}
"""


class AdditiveShares(Exercise):
    """Share numbers with decimals and signs."""

    label = "18.1"
    title = "Shares of any number"
    kinds = {"split": _shares, "join": number}
    hints = (
        "First make an integer modulo `modulus` of the value. Which of the shares can you draw "
        "before you look at it?",
        "x = round(value * scale) % modulus; draw parties - 1 shares with "
        "secrets.randbelow(modulus); the last one is what is missing, modulo `modulus`.",
        "join: total = sum(shares) % modulus; subtract modulus if total is in the upper half; "
        "divide by scale.",
    )
    reference = """
import secrets


def split(value, parties, modulus, scale):
    drawn = [secrets.randbelow(modulus) for _ in range(parties - 1)]
    return [*drawn, (round(value * scale) - sum(drawn)) % modulus]


def join(shares, modulus, scale):
    total = sum(shares) % modulus
    if 2 * total >= modulus:
        total -= modulus
    return total / scale
"""
    mistakes = (
        Mistake("no remainder", _additive(result="[*drawn, x - sum(drawn)]"), "outside 0 to"),
        Mistake(
            "small masks",
            _additive(draw="[secrets.randbelow(min(1000, modulus)) for _ in range(parties - 1)]"),
            "far below the modulus",
        ),
        Mistake(
            "one random number for all",
            _additive(draw="[secrets.randbelow(modulus)] * (parties - 1)"),
            "is the same number in every split",
        ),
        Mistake(
            "seeded by the value",
            _additive(
                start="random.seed(value)",
                draw="[random.randrange(modulus) for _ in range(parties - 1)]",
            ),
            "the same shares again",
        ),
        Mistake(
            "the secret to the last",
            _additive(result="[*drawn[:-1], -sum(drawn[:-1]) % modulus, x]"),
            "as it is",
        ),
        Mistake(
            "zero left out",
            _additive(draw="[1 + secrets.randbelow(modulus - 1) for _ in range(parties - 1)]"),
            "never",
        ),
        Mistake(
            "floats",
            _additive(draw="[random.uniform(0, modulus) for _ in range(parties - 1)]"),
            "but it is a float",
        ),
        Mistake("signs forgotten", _additive(decode="total / scale"), "upper half"),
        Mistake(
            "scale forgotten in join",
            _additive(decode="total if 2 * total < modulus else total - modulus"),
            "divide by scale",
        ),
        Mistake(
            "scale forgotten in split", _additive("round(value) % modulus"), "multiply by scale"
        ),
        Mistake("sum not reduced", _additive(total="sum(shares)"), "goes round the circle"),
        Mistake(
            "some numbers twice as likely",
            _additive(
                draw="[secrets.randbits(modulus.bit_length()) % modulus "
                "for _ in range(parties - 1)]"
            ),
            "look at their sizes",
        ),
        Mistake(
            "a share too many",
            _additive(draw="[secrets.randbelow(modulus) for _ in range(parties)]"),
            "parties get",
        ),
        Mistake("cut off", _additive("int(value * scale) % modulus"), "Round to the nearest"),
        Mistake(
            "the lesson's Q",
            _additive(
                draw="[secrets.randbelow(2**61 - 1) for _ in range(parties - 1)]",
                result="[*drawn, (x - sum(drawn)) % (2**61 - 1)]",
            ),
            "use `modulus`",
        ),
        Mistake(
            "from Python's random",
            _additive(draw="[random.randrange(modulus) for _ in range(parties - 1)]"),
            "predictable after",
        ),
        Mistake(
            "masks used for two values",
            """
import secrets

calls, kept = [0], {}

def split(value, parties, modulus, scale):
    calls[0] += 1
    if calls[0] % 2 or (parties, modulus) not in kept:
        kept[parties, modulus] = [secrets.randbelow(modulus) for _ in range(parties - 1)]
    drawn = kept[parties, modulus]
    return [*drawn, (round(value * scale) - sum(drawn)) % modulus]

def join(shares, modulus, scale):
    total = sum(shares) % modulus
    return (total if 2 * total < modulus else total - modulus) / scale
""",
            "also for another value",
        ),
    )

    @staticmethod
    def _split(answers: Answers, value: float, parties: int, modulus: int, scale: int) -> list[int]:
        got = answers.split(value, parties, modulus, scale)
        if len(got) != parties:
            raise Wrong(f"{parties} parties get {len(got)} shares.")
        return [_residue(share, modulus, f"Share {k}") for k, share in enumerate(got, 1)]

    def _exact(
        self, answers: Answers, modulus: int, scale: int, parties: int, rng: np.random.Generator
    ) -> None:
        # As large as fits, and the double holds it exactly.
        largest = min(modulus // 2 - 1, 2**50) // 4 / scale
        first, *more = rng.uniform(0.1, 1, 4) * largest
        for value in (float(first), *(-each for each in map(float, more)), 0.0, -1.0, 1 / scale):
            x = round(value * scale)
            shares = self._split(answers, value, parties, modulus, scale)
            self._explain_split(sum(shares), modulus, value, scale)
            dealt = _deal_additive(x % modulus, parties, modulus, rng)
            # Their sum goes round the circle, twice where it can.
            while x >= 0 and sum(dealt) < min(parties - 1, 2) * modulus:
                dealt = _deal_additive(x % modulus, parties, modulus, rng)
            self._explain_join(answers, dealt, x, modulus, scale)
            other = self._split(answers, -value / 2, parties, modulus, scale)
            added = [(a + b) % modulus for a, b in zip(shares, other, strict=True)]
            total = _signed(sum(added) % modulus, modulus)
            if abs(total - (x + round(-value / 2 * scale))) > 2:
                raise Wrong(f"Shares of {value:g} and {-value / 2:g} do not add up.")
            self._explain_join(answers, added, total, modulus, scale)

    @staticmethod
    def _explain_split(raw: int, modulus: int, value: float, scale: int) -> None:
        got, exact = _signed(raw % modulus, modulus), Fraction(value) * scale
        # A double has 53 bits: round(value * scale) may miss what is just beyond the half.
        if abs(got - exact) <= 0.5 + abs(exact) / 2**52:
            return
        told = f"Modulo {_written(modulus)}, the shares of {value:.12g} stand for the integer {got}"
        told += f"; it should be {round(exact)}."
        if abs(got - exact) <= 1:
            raise Wrong(f"{told} Round to the nearest integer.")
        if scale > 1 and abs(got - value) <= 1:
            raise Wrong(f"{told} In split, multiply by scale before you round.")
        if modulus != _Q and abs(_signed(raw % _Q, _Q) - exact) <= 1:
            raise Wrong(f"{told} They add up modulo 2^61 - 1, the lesson's Q: use `modulus`.")
        raise Wrong(told)

    @staticmethod
    def _explain_join(
        answers: Answers, shares: list[int], x: int, modulus: int, scale: int
    ) -> None:
        got, wanted = answers.join(shares, modulus, scale), x / scale
        if abs(got - wanted) <= 1e-12 * abs(wanted):
            return
        told = f"Modulo {_written(modulus)}, join makes {got:.12g} of shares of {wanted:.12g}."
        raw = sum(shares)
        explained = (
            (x, "You have to divide by scale at the end."),
            ((x % modulus) / scale, "The upper half stands for numbers below zero."),
            (_signed(raw, modulus) / scale, "A sum of shares goes round the circle: % modulus."),
            (raw / scale, "A sum of shares goes round the circle: % modulus."),
            (_signed(raw % _Q, _Q) / scale, "Is it modulo the lesson's Q? Use `modulus`."),
        )
        for guess, why in explained:
            if np.isclose(got, guess, rtol=1e-9, atol=0):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)

    def test_exact(self, answers: Answers, rng: np.random.Generator) -> None:
        """Values with decimals and signs; shares that are added."""
        for modulus, scale, parties in ((_Q, 2**20, 3), (2**64, 1000, 5), (2**31 - 1, 16, 2)):
            self._exact(answers, modulus, scale, parties, rng)

    def test_spread(self, answers: Answers, rng: np.random.Generator) -> None:
        """Large moduli: each share, and sums of two, are spread over the whole circle."""
        some = float(rng.integers(1, 10**6))
        for modulus, value, other, times in (
            (_Q, 0.0, some, 250),
            (_Q, some, -some, 250),
            (_LARGE, -1.0, 1.0, 250),
            (3 * 2**126, some, 0.0, 1000),  # where randbits(128) % modulus is not uniform
        ):
            # In turns: masks may be used again for another value.
            every = [self._split(answers, each, 3, modulus, 2**10)
                     for _ in range(times) for each in (value, other)]  # fmt: skip
            rows = every[::2]
            x = round(value * 2**10) % modulus
            for k in range(3):
                seen = [row[k] for row in rows]
                if set(seen) == {x}:
                    raise Wrong(f"Party {k + 1} gets the secret {value:g} as it is.")
                if len(set(seen)) > 1 and max(seen) < modulus // 1000:
                    raise Wrong(
                        f"In {times} splits the largest share of party {k + 1} is {max(seen)}, "
                        "far below the modulus. Draw from the whole circle."
                    )
                if len(set(seen)) < 0.96 * times:
                    raise Wrong(
                        f"Splitting {value:g} again gives party {k + 1} the same shares again. "
                        "What is drawn must not depend on the value, and must be fresh."
                    )
            for i, j in combinations(range(3), 2):
                self._pair(rows, (i, j), modulus, value)
            for k in range(3):
                seen = [row[k] for row in every]
                if len(set(seen)) < 0.96 * len(seen) or _repeating(seen, modulus):
                    raise Wrong(
                        f"What party {k + 1} gets follows from what it got before, also for "
                        "another value. Draw each share anew."
                    )
        _not_predictable(lambda: self._split(answers, 1.0, 3, _Q, 16))

    @staticmethod
    def _pair(rows: list[list[int]], pair: tuple[int, int], modulus: int, value: float) -> None:
        """Test what two parties see together."""
        first, second = ([row[k] for row in rows] for k in pair)
        for a, b in ((1, 0), (0, 1), (1, 1), (1, -1), (1, 2), (2, 1)):
            mixed = [(a * x + b * y) % modulus for x, y in zip(first, second, strict=True)]
            terms = [(factor, f"share {k + 1}") for factor, k in zip((a, b), pair, strict=True)]
            name = " + ".join(
                share if factor == 1 else f"({factor}) · {share}"
                for factor, share in terms
                if factor
            )
            name = name[0].upper() + name[1:]
            if len(set(mixed)) < len(mixed) / 2:
                raise Wrong(
                    f"{name} is the same number in every split of {value:g}: together the two "
                    "parties learn something. Draw each share anew."
                )
            if where := _uneven(mixed, modulus):
                raise Wrong(f"{name} is not uniform for the secret {value:g}: look at {where}.")

    def test_together(self, answers: Answers, rng: np.random.Generator) -> str:
        """Small circles, where what all but one see together can be counted completely."""
        rounds = self._counted(answers, ((7, 3, 0), (7, 3, 1), (7, 3, -1), (8, 2, 4), (3, 4, 1)))
        return (
            f"All parties but one, together: in {rounds} splits each, what they see is uniform, "
            "whatever the secret."
        )

    def _counted(
        self, answers: Answers, cases: Sequence[tuple[int, int, int]], rounds: int = 1000
    ) -> int:
        """Count what all but one see, for each modulus, number of parties and value."""
        for modulus, parties, value in cases:
            rows = [self._split(answers, float(value), parties, modulus, 1) for _ in range(rounds)]
            for left_out in range(parties):
                seen = [tuple(row[:left_out] + row[left_out + 1 :]) for row in rows]
                cells = [sum(s * modulus**k for k, s in enumerate(view)) for view in seen]
                if not _unequal(cells, modulus ** (parties - 1)):
                    continue
                most, times = Counter(seen).most_common(1)[0]
                told = (
                    f"Modulo {modulus}, all parties but party {left_out + 1} together see "
                    f"{most} in {times} of {rounds} splits of {value}, "
                )
                single = Counter(view[0] for view in seen)
                if missing := set(range(modulus)) - set(single):
                    raise Wrong(told + f"and the first of them never sees {min(missing)}. Each "
                                "share must take every value from 0 to modulus - 1.")  # fmt: skip
                raise Wrong(
                    told + f"too often: uniform would be {rounds / modulus ** (parties - 1):.0f}."
                )
        return rounds

    def hidden_edges(self, answers: Answers, rng: np.random.Generator) -> None:
        """More parties and bits; values at the ends of the range; another large circle."""
        modulus = _below(2**64, rng) + 2**64
        for parties in (2, 5, 8):
            value = float(rng.integers(-1000, 1000))
            rows = [self._split(answers, value, parties, modulus, 2**16) for _ in range(300)]
            pairs = list(combinations(range(parties), 2)) if parties > 2 else []  # two know all
            for pair in rng.permutation(pairs)[:6].tolist():
                self._pair(rows, (pair[0], pair[1]), modulus, value)
            if where := _uneven([row[0] for row in rows], modulus):
                raise Wrong(f"Modulo {modulus}, a share is not uniform: look at {where}.")
        self._counted(answers, ((3, 5, 1), (2, 6, 0), (2, 8, 0)))
        self._exact(answers, _LARGE, 2**24, 8, rng)
        for modulus in (101, 2**128):
            x = (modulus - 1) // 2 if modulus < 2**50 else 2**40
            for value in (x, -x):
                got = self._split(answers, float(value), 4, modulus, 1)
                if _signed(sum(got) % modulus, modulus) != value:
                    raise Wrong(f"Modulo {modulus}, the shares of {value} do not add up.")
                self._explain_join(
                    answers, _deal_additive(value % modulus, 4, modulus, rng), value, modulus, 1
                )


# ---- 18.2 --------------------------------------------------------------------------------------


def _lagrange(points: Sequence[tuple[int, int]], prime: int) -> list[int]:
    """Return the coefficients of the polynomial through points, the constant one first."""
    total = [0] * len(points)
    for x, y in points:
        row, scale = [1], 1
        for other, _ in points:
            if other != x:
                row = [(b - other * a) % prime for a, b in zip([*row, 0], [0, *row], strict=True)]
                scale = scale * (x - other) % prime
        factor = y * pow(scale, -1, prime)
        total = [(a + factor * b) % prime for a, b in zip(total, row, strict=True)]
    return total


def _shamir(
    coefficients: str = "[secret] + [secrets.randbelow(prime) for _ in range(threshold)]",
    numbers: str = "range(1, parties + 1)",
    inverse: str = "pow(x - other, -1, prime)",
    where: str = "x, y in points",
    mean: str = "total / scale / at_zero(counts, prime)",
    sign: str = "if 2 * total >= prime:\n        total -= prime",
    value: str = "sum(a * pow(x, k, prime) for k, a in enumerate(c)) % prime",
) -> str:
    """Return an answer to 18.2; what is given replaces a part of the right one."""
    return f"""
import secrets


def deal(secret, threshold, parties, prime):
    c = {coefficients}
    return [(x, {value})
            for x in {numbers}]


def at_zero(points, prime):
    total = 0
    for {where}:
        for other, _ in points:
            if other != x:
                y = y * -other * {inverse} % prime
        total += y
    return total % prime


def mean_from(sums, counts, prime, scale):
    total = at_zero(sums, prime)
    {sign}
    return {mean}
"""


class SurvivingMean(Exercise):
    """Shamir's shares, and a mean from those who are left."""

    label = "18.2"
    title = "A mean that survives"
    points = 2
    kinds = {"deal": _pairs("x", "y"), "mean_from": number}
    hints = (
        "A polynomial of degree `threshold`, the secret at 0, uniform coefficients. mean_from "
        "finds f(0) of two polynomials: which x are there, now that some parties are gone?",
        "f(0) is the sum over the points of y times the product of -other / (x - other); dividing "
        "is multiplying by pow(x - other, -1, prime). It is the lesson's at_zero, for pairs and "
        "modulo `prime`.",
        "total = f(0) of sums, minus prime if it is in the upper half; then divide by scale and by "
        "f(0) of counts, as ordinary numbers.",
    )
    reference = _shamir()
    mistakes = (
        Mistake("x from 0", _shamir(numbers="range(parties)"), "x = 0"),
        Mistake(
            "one degree too few",
            _shamir("[secret] + [secrets.randbelow(prime) for _ in range(threshold - 1)]"),
            "With threshold 1, 1 of 3",
        ),
        Mistake(
            "one degree too many",
            _shamir("[secret] + [secrets.randbelow(prime) for _ in range(threshold + 1)]"),
            "do not find the secret",
        ),
        Mistake(
            "small coefficients",
            _shamir("[secret] + [secrets.randbelow(min(1000, prime)) for _ in range(threshold)]"),
            "not spread over",
        ),
        Mistake(
            "the same coefficient",
            _shamir("[secret] + [secrets.randbelow(prime)] * threshold"),
            "tied to each other",
        ),
        Mistake(
            "top coefficient never 0",
            _shamir("[secret] + [1 + secrets.randbelow(prime - 1) for _ in range(threshold)]"),
            "a value that is impossible",
        ),
        Mistake(
            "fixed coefficients",
            _shamir("[secret] + [k + 12345 for k in range(threshold)]"),
            "the same points again",
        ),
        Mistake(
            "three random coefficients at most",
            _shamir(
                "[secret] + [secrets.randbelow(prime) for _ in range(min(threshold, 3))] "
                "+ [7] * (threshold - 3)"
            ),
            "is always one of a few numbers",
        ),
        Mistake(
            "no remainder",
            _shamir(value="sum(a * x**k for k, a in enumerate(c))"),
            "outside 0 to",
        ),
        Mistake(
            "divided as ordinary numbers",
            _shamir(inverse="1 / (x - other)").replace("total % prime", "round(total) % prime"),
            "is not the mean",
        ),
        Mistake(
            "numbered from 1",
            _shamir(where="x, (_, y) in enumerate(points, 1)").replace(
                "for other, _ in points", "for other in range(1, len(points) + 1)"
            ),
            "Party 1 is gone",
        ),
        Mistake(
            "the lesson's Q in deal",
            _shamir("[secret] + [secrets.randbelow(2**61 - 1) for _ in range(threshold)]"),
            "almost the secret",
        ),
        Mistake(
            "the lesson's Q in mean_from",
            _shamir(inverse="pow(x - other, -1, 2**61 - 1)")
            .replace("-1, 2**61 - 1) % prime", "-1, 2**61 - 1) % (2**61 - 1)")
            .replace("return total % prime", "return total % (2**61 - 1)"),
            "the lesson's Q here",
        ),
        Mistake(
            "from Python's random",
            _shamir("[secret] + [random.randrange(prime) for _ in range(threshold)]").replace(
                "import secrets", "import random"
            ),
            "predictable after",
        ),
        Mistake(
            "of degree 3 at most",
            _shamir("[secret] + [secrets.randbelow(prime) for _ in range(min(threshold, 3))]"),
            "With threshold 5, 5 of 8",
        ),
        Mistake(
            "three points read",
            _shamir(mean="total / scale / at_zero(counts[:3], prime)"),
            "not all points",
        ),
        Mistake(
            "divided by //",
            _shamir(mean="total // at_zero(counts, prime) / scale"),
            "behind the point",
        ),
        Mistake("signs forgotten", _shamir(sign="pass"), "below zero"),
        Mistake("scale forgotten", _shamir(mean="total / at_zero(counts, prime)"), "by scale"),
        Mistake(
            "scaled twice",
            _shamir(mean="(total / scale) / (at_zero(counts, prime) * scale)"),
            "is not scaled",
        ),
        Mistake(
            "shares divided by shares",
            """
import secrets

def deal(secret, threshold, parties, prime):
    c = [secret] + [secrets.randbelow(prime) for _ in range(threshold)]
    return [(x, sum(a * pow(x, k, prime) for k, a in enumerate(c)) % prime)
            for x in range(1, parties + 1)]

def mean_from(sums, counts, prime, scale):
    return sum(s / c for (_, s), (_, c) in zip(sums, counts)) / len(sums) / scale
""",
            "a quotient of shares",
        ),
    )

    @staticmethod
    def _deal(
        answers: Answers, secret: int, threshold: int, parties: int, prime: int
    ) -> list[tuple[int, int]]:
        got = answers.deal(secret, threshold, parties, prime)
        if len(got) != parties:
            raise Wrong(f"{parties} parties get {len(got)} pairs.")
        for x, y in got:
            _residue(y, prime, f"The y of x = {x}")
            if x % prime == 0:
                raise Wrong("A party gets the point x = 0: its y is the secret.")
        if len({x % prime for x, _ in got}) < parties:
            raise Wrong(f"Two parties have the same x: {[x for x, _ in got]}.")
        return got

    def test_opening(self, answers: Answers, rng: np.random.Generator) -> None:
        """threshold + 1 points find the secret, and threshold points do not; points add up."""
        for threshold, parties, prime in (
            (1, 3, _Q), (2, 4, _Q), (3, 7, 2**31 - 1), (5, 8, _Q), (2, 5, 101),
        ):  # fmt: skip
            secret, other = (_below(prime, rng) for _ in range(2))
            for _ in range(20 if prime < 1000 else 1):
                points = self._deal(answers, secret, threshold, parties, prime)
                for group in list(combinations(points, threshold + 1))[:20]:
                    if _lagrange(group, prime)[0] != secret:
                        more = combinations(points, min(parties, threshold + 2))
                        found = [_lagrange(each, prime)[0] == secret for each in more]
                        raise Wrong(
                            f"With threshold {threshold}, {threshold + 1} of {parties} parties do "
                            "not find the secret"
                            + (f", {threshold + 2} do." if all(found) else ".")
                        )
            if prime > 1000 and threshold > 0:
                groups = list(combinations(points, threshold))
                if any(_lagrange(group, prime)[0] == secret for group in groups):
                    raise Wrong(
                        f"With threshold {threshold}, {threshold} of {parties} parties already "
                        "find the secret. How many points fix a polynomial?"
                    )
            more = self._deal(answers, other, threshold, parties, prime)
            if [x for x, _ in more] != [x for x, _ in points]:
                raise Wrong("Two secrets are dealt at different x, so their shares do not add.")

    def test_coefficients(self, answers: Answers, rng: np.random.Generator) -> None:
        """Large primes: what is drawn is fresh, uniform, and nothing is tied to anything."""
        some = int(rng.integers(1, 10**6))
        for prime, secret, other in ((_Q, 0, some), (_Q, some, -some % _Q), (_LARGE, some, 0)):
            self._spread(answers, secret, other, prime)
        _not_predictable(lambda: self._deal(answers, some, 2, 3, _Q))

    def _spread(self, answers: Answers, secret: int, other: int, prime: int) -> None:
        threshold, parties, times = 6, 8, 150
        # In turns: coefficients may be used again for another secret.
        every = []
        for each in (secret, other) * times:
            points = self._deal(answers, each, threshold, parties, prime)
            every.append(_lagrange(points, prime)[1 : threshold + 1])
        columns = list(zip(*every[::2], strict=True))
        fixed = [k for k, column in enumerate(columns, 1) if len(set(column)) < 100]
        if len(fixed) == threshold:
            raise Wrong(
                f"Dealing {secret} again gives the same points again. Draw the coefficients "
                "anew for each secret."
            )
        if fixed:
            raise Wrong(
                f"The coefficient of x^{fixed[0]} is always one of a few numbers: then fewer "
                "parties than you promise have the secret. Draw every one anew."
            )
        for k, column in enumerate(columns, 1):
            if prime > 2**100 and max(column) < 2**66:
                raise Wrong(
                    f"Modulo {_written(prime)}, no coefficient of x^{k} is above "
                    f"{max(column):.2g}: one share is almost the secret. Draw below `prime`, not "
                    "below the lesson's Q."
                )
            if where := _uneven(column, prime):
                raise Wrong(
                    f"Modulo {_written(prime)}, the coefficient of x^{k} is not spread over 0 … "
                    f"prime - 1: look at {where}; the largest of {times} is {max(column)}."
                )
        for k, column in enumerate(zip(*every, strict=True), 1):
            if len(set(column)) < 0.96 * len(column) or _repeating(column, prime):
                raise Wrong(
                    f"The coefficient of x^{k} follows from the one drawn before. Draw each "
                    "anew, for each secret."
                )
        for i, j in combinations(range(threshold), 2):
            for factor in (1, -1, 2):
                mixed = [(row[i] + factor * row[j]) % prime for row in every]
                if _uneven(mixed, prime):
                    raise Wrong(
                        f"The coefficients of x^{i + 1} and x^{j + 1} are tied to each other. "
                        "Draw each by itself."
                    )

    def test_few(self, answers: Answers, rng: np.random.Generator) -> str:
        """A small prime, where what `threshold` parties see can be counted completely."""
        for threshold, parties, prime, times, values in (
            (1, 3, 7, 200, (0, 3, 6)),
            (2, 4, 7, 800, (0, 5)),
            (3, 4, 5, 1500, (2,)),
        ):
            for secret in values:
                rows = [self._deal(answers, secret, threshold, parties, prime)
                        for _ in range(times)]  # fmt: skip
                for group in combinations(range(parties), threshold):
                    cells = [
                        sum(row[party][1] * prime**k for k, party in enumerate(group))
                        for row in rows
                    ]
                    if _unequal(cells, prime**threshold):
                        seen = len(set(cells))
                        raise Wrong(
                            f"Modulo {prime}, the secret is {secret} and {threshold} of {parties} "
                            f"parties pool their shares: in {times} deals they see {seen} of "
                            f"{prime**threshold} possible views, not all equally often. A view "
                            "that does not appear tells them of a value that is impossible."
                        )
        # What two see is a pair: a pair that depends on one number alone comes again and again.
        times = 500
        for prime in (101, 10_007):
            rows = [self._deal(answers, 3, 2, 3, prime) for _ in range(times)]
            for i, j in combinations(range(3), 2):
                again = times - len({(row[i][1], row[j][1]) for row in rows})
                if again > 4 + 1.3 * (times / prime) ** 2:
                    raise Wrong(
                        f"Modulo {prime}, two parties see the same pair of shares again in {again} "
                        f"of {times} deals: the coefficients are tied to each other by a formula."
                    )
        return "Threshold parties together see every view equally often, whatever the secret."

    @staticmethod
    def _mean(
        answers: Answers,
        total: int,
        count: int,
        there: list[int],
        threshold: int,
        prime: int,
        scale: int,
        rng: np.random.Generator,
    ) -> None:
        polynomials = [
            [secret % prime, *(_below(prime, rng) for _ in range(threshold))]
            for secret in (total, count)
        ]
        sums, counts = (
            [(x, sum(a * pow(x, k, prime) for k, a in enumerate(c)) % prime) for x in there]
            for c in polynomials
        )
        got, wanted = answers.mean_from(sums, counts, prime, scale), total / scale / count
        if np.isclose(got, wanted, rtol=1e-12, atol=1e-15):
            return
        told = (
            f"Modulo {_written(prime)}, from parties {there}, your mean is {got:.12g}; it should "
            f"be {wanted:.12g}."
        )

        def numbered(points: list[tuple[int, int]]) -> int:
            return _lagrange([(k, y) for k, (_, y) in enumerate(points, 1)], prime)[0]

        wrapped = numbered(counts)
        lesson = [_lagrange(points, _Q)[0] for points in (sums, counts)]
        few = [_lagrange(points[:3], prime)[0] for points in (sums, counts)]
        explained = (
            (total / count, "Divide the total by scale."),
            (total / scale / (count * scale), "The count is a whole number: it is not scaled."),
            (total // count / scale, "`//` drops what is behind the point."),
            (total % prime / scale / count, "A total in the upper half is below zero."),
            (
                sum(s / c for (_, s), (_, c) in zip(sums, counts, strict=True) if c)
                / len(there) / scale,
                "It is a quotient of shares; find the two secrets first, then divide.",
            ),
            (
                _signed(numbered(sums), prime) / scale / wrapped if wrapped else None,
                "Party 1 is gone: take each x from its pair, not from its place in the list.",
            ),
            *((total / scale / lesson[1], "Do you use the lesson's Q here? Use `prime`.")
              for total in (lesson[0], _signed(lesson[0], _Q), total) if lesson[1]),
            *((total / scale / few[1], "You use not all points.")
              for total in (_signed(few[0], prime), total) if few[1]),
        )  # fmt: skip
        for guess, why in explained:
            if guess is not None and np.isclose(got, guess, rtol=1e-9, atol=0):
                raise Wrong(f"{told} {why}")
        raise Wrong(f"{told} It is not the mean. Is every division modulo the prime, by pow(…, -1, "
                    "prime), until the two secrets are known?")  # fmt: skip

    def test_mean(self, answers: Answers, rng: np.random.Generator) -> str:
        """All there, some missing, in any order; a total below zero."""
        scale = 2**16
        for there, threshold, sign, prime in (
            ([1, 2, 3, 4], 2, 1, _Q),
            ([1, 2, 3], 2, -1, _Q),
            ([2, 3, 4], 2, 1, _Q),
            ([5, 2, 4], 1, -1, _Q),
            ([4, 1], 1, 1, _LARGE),
            ([1, 3, 4], 2, -1, _LARGE),
            ([6, 1, 3, 5, 2], 4, 1, _Q),
        ):
            total = sign * int(rng.integers(10**9, 10**12))
            count = int(rng.integers(200, 2000))
            self._mean(answers, total, count, there, threshold, prime, scale, rng)
        return "With party 1 gone, three of four hospitals still find the mean."

    def hidden_mean_and_deal(self, answers: Answers, rng: np.random.Generator) -> None:
        """The learner's own shares, added up by hospitals, some of which fail; a total of 0."""
        for prime, scale in ((_Q, 1000), (_LARGE, 2**40)):
            totals, sizes = rng.integers(-(10**9), 10**9, 5).tolist(), rng.integers(1, 500, 5)
            added = []
            for values in (totals, sizes.tolist()):
                dealt = [self._deal(answers, v % prime, 2, 5, prime) for v in values]
                rows = zip(*dealt, strict=True)
                added.append([(row[0][0], sum(y for _, y in row) % prime) for row in rows])
            got = answers.mean_from(added[0][2:], added[1][2:], prime, scale)
            wanted = sum(totals) / scale / int(sizes.sum())
            if not np.isclose(got, wanted, rtol=1e-12, atol=1e-15):
                raise Wrong(
                    f"Five hospitals, two fail: the mean is {wanted:.12g}, yours {got:.12g}."
                )
        self._mean(answers, 0, 7, [3, 1, 9], 2, _Q, 2**16, rng)


# ---- 18.3 --------------------------------------------------------------------------------------


def _power(
    sent: str = "(x - powers[0]) % modulus",
    once: str = "d**k",
    when: str = "party == 0",
    term: str = "comb(k, j) * a * d ** (k - j)",
    plan: str = "[(r, 2 ** (bits // used + (r < bits % used))) for r in range(used)]",
) -> str:
    """Return an answer to 18.3; what is given replaces a part of the right one."""
    return f"""
from math import comb


def plan(e, rounds):
    bits = e.bit_length() - 1  # e = 2 ** bits
    used = min(rounds, bits)
    return {plan}


def announce(x, powers, modulus):
    return {sent}


def finish(party, powers, d, modulus):
    k = len(powers)
    z = {once} if {when} else 0
    for j, a in enumerate(powers, 1):
        z += {term}
    return z % modulus
"""


class Power(Exercise):
    """Raise a shared number to a power: few rounds, few numbers dealt, nothing told."""

    label = "18.3"
    title = "A power on a budget"
    points = 2
    kinds = {"plan": _pairs("mask", "k"), "announce": _integer, "finish": _integer}
    hints = (
        "As in the lesson, d = x - a may be seen by all. (a + d)² = a² + 2 d a + d²: of the first "
        "two terms each party has a share, and the third is public. Who adds it? And (a + d)^k?",
        "The binomial theorem: (a + d)^k is the sum over j = 0 … k of comb(k, j) · a^j · d^(k-j) "
        "(math.comb). The term j = 0 is public: party 0 alone adds it.",
        "Each round needs a mask of its own. Powers of powers multiply: 64 = 8 · 8 = 4 · 4 · 4. "
        "Which factors have the smallest sum? Nearly equal ones, never 1.",
        "e = 2**bits. With r = min(rounds, bits) rounds, each takes 2**(bits // r), and the first "
        "bits % r rounds twice that.",
    )
    reference = _power()
    mistakes = (
        Mistake("everybody adds d^k", _power(when="True"), "times instead of once"),
        Mistake("the share itself", _power("x", "0"), "x itself"),
        Mistake("no binomial coefficients", _power(term="a * d ** (k - j)"), "comb(k, j)"),
        Mistake(
            "each raises its share",
            _power(once="(d + powers[0]) ** k", when="True", term="0"),
            "by themselves",
        ),
        Mistake("nobody adds d^k", _power(when="False"), "is missing"),
        Mistake("the sign", _power("(x + powers[0]) % modulus"), "but you announce x + a"),
        Mistake("no remainder in announce", _power("x - powers[0]"), "What `announce` returns is"),
        Mistake(
            "no remainder in finish",
            _power().replace("return z % modulus", "return z"),
            "What `finish` returns is",
        ),
        Mistake(
            "masked with the last power",
            _power("(x - powers[-1]) % modulus"),
            "Let a alone",
        ),
        Mistake(
            "twice the mask",
            _power("(x - 2 * powers[0]) % modulus", term="comb(k, j) * a * 2**j * d ** (k - j)"),
            "does not hide x",
        ),
        Mistake(
            "x with noise",
            _power("(x - powers[0] % 1000) % modulus"),
            "What all parties see is not uniform",
        ),
        Mistake(
            "one mask for all rounds",
            _power(plan="[(0, 2 ** (bits // used + (r < bits % used))) for r in range(used)]"),
            "the same mask",
        ),
        Mistake("all in one round", _power(plan="[(0, e)]"), "for 64 numbers"),
        Mistake("always squares", _power(plan="[(r, 2) for r in range(bits)]"), "are allowed"),
        Mistake(
            "as large as possible first",
            _power(plan="[(0, e // 2 ** (used - 1))] + [(r, 2) for r in range(1, used)]"),
            "for 34 numbers",
        ),
        Mistake(
            "exponents that add up",
            _power(plan="[(r, e // used + (r < e % used)) for r in range(used)]"),
            "they multiply",
        ),
    )

    @staticmethod
    def _planned(answers: Answers, e: int, rounds: int) -> list[tuple[int, int]]:
        """Return a plan that leads to the power in the rounds there are."""
        plan, told = answers.plan(e, rounds), f"plan({e}, {rounds})"
        if not 1 <= len(plan) <= rounds:
            raise Wrong(f"{told} has {len(plan)} rounds; 1 to {rounds} are allowed.")
        powers = [k for _, k in plan]
        if min(powers) < 1 or max(powers) > e:
            raise Wrong(f"{told} has the powers {powers}; each should be from 1 to {e}.")
        if math.prod(powers) != e:
            why = " Powers of a power do not add up, they multiply." if sum(powers) == e else ""
            raise Wrong(f"{told} has the powers {powers}: that makes x^{math.prod(powers)}.{why}")
        return plan

    @staticmethod
    def _announced(answers: Answers, x: int, powers: list[int], modulus: int) -> int:
        return _residue(answers.announce(x, powers, modulus), modulus, "What `announce` returns")

    def _rule(
        self, answers: Answers, k: int, modulus: int, rng: np.random.Generator
    ) -> tuple[int, int, int]:
        """Return the factors of x and a in what is announced, and the constant.

        The tests announce by this rule: an answer that remembers the x that it was shown, and
        computes with that, gets numbers it was never shown. Where the factor of a is invertible,
        what is announced is uniform for every x.
        """
        constant = self._announced(answers, 0, [0] * k, modulus)
        of_x = self._announced(answers, 1, [0] * k, modulus) - constant
        of_powers = [
            self._announced(answers, 0, [int(i == j) for i in range(k)], modulus) - constant
            for j in range(k)
        ]
        for _ in range(5):
            x, *powers = (_below(modulus, rng) for _ in range(k + 1))
            wanted = of_x * x + sum(f * a for f, a in zip(of_powers, powers, strict=True))
            if self._announced(answers, x, powers, modulus) != (wanted + constant) % modulus:
                raise Wrong(
                    "What `announce` returns should be a sum of multiples of x and a, the same "
                    "for the same x and a: else what all announce does not add up."
                )
        if any(factor % modulus for factor in of_powers[1:]):
            raise Wrong("Powers of a are not uniform as a is, nor is what they mask. Let a alone, "
                        "powers[0], hide x.")  # fmt: skip
        if math.gcd(of_powers[0], modulus) != 1:
            raise Wrong(
                f"Modulo {_written(modulus)}, {_signed(of_powers[0] % modulus, modulus)} · a does "
                "not hide x: it does not take every value, so some values of x become impossible."
            )
        return of_x, of_powers[0], constant

    def _run(
        self,
        answers: Answers,
        x: int,
        plan: list[tuple[int, int]],
        parties: int,
        modulus: int,
        rng: np.random.Generator,
    ) -> None:
        """Run the protocol, and look at the sum of the shares after each round."""
        for _, k in plan:
            of_x, of_a, constant = self._rule(answers, k, modulus, rng)
            a = _below(modulus, rng)
            d = (of_x * x + of_a * a + parties * constant) % modulus
            columns = [_deal_additive(pow(a, j, modulus), parties, modulus, rng)
                       for j in range(1, k + 1)]  # fmt: skip
            got = sum(
                _residue(
                    answers.finish(party, list(row), d, modulus), modulus, "What `finish` returns"
                )
                for party, row in enumerate(zip(*columns, strict=True))
            )
            self._explain(x, k, parties, modulus, d, got % modulus, a)
            x = pow(x, k, modulus)

    @staticmethod
    def _explain(x: int, k: int, parties: int, modulus: int, d: int, got: int, a: int) -> None:
        wanted = pow(x, k, modulus)
        if got == wanted:
            return
        told = (
            f"{parties} parties, modulo {_written(modulus)}: the shares add up to {got}; {x}^{k} "
            f"should be {wanted}."
        )
        if d == (x + a) % modulus:
            raise Wrong(f"{told} Your formula is for d = x - a, but you announce x + a.")
        public = pow(d, k, modulus)
        plain = sum(pow(a, j, modulus) * pow(d, k - j, modulus) for j in range(k + 1))
        explained = (
            (wanted + (parties - 1) * public, f"d^{k} is added {parties} times instead of once."),
            (wanted - public, f"d^{k} is missing: one party adds it."),
            (plain, f"(a + d)^{k} has the factors comb(k, j)."),
            (plain - public, f"(a + d)^{k} has the factors comb(k, j), and the term d^{k}."),
            (wanted - pow(a, k, modulus), f"a^{k} does not appear: it is the last of powers."),
        )
        for guess, why in explained:
            if got == guess % modulus:
                raise Wrong(f"{told} {why}")
        raise Wrong(f"{told} Powers of shares do not add up by themselves: multiply out (a + d)^k; "
                    "you have shares of a, …, a^k, and d is public.")  # fmt: skip

    def _see(
        self,
        answers: Answers,
        x: int,
        plan: list[tuple[int, int]],
        parties: int,
        modulus: int,
        rng: np.random.Generator,
    ) -> list[list[int]]:
        """Return what each party announces in each round; shares and masks are the test's own."""
        masks = {mask: _below(modulus, rng) for mask, _ in plan}
        rounds = []
        for mask, k in plan:
            columns = [_deal_additive(pow(masks[mask], j, modulus), parties, modulus, rng)
                       for j in range(1, k + 1)]  # fmt: skip
            mine = zip(_deal_additive(x, parties, modulus, rng), zip(*columns, strict=True),
                       strict=True)  # fmt: skip
            rounds.append([self._announced(answers, xi, list(row), modulus) for xi, row in mine])
            x = pow(x, k, modulus)
        return rounds

    def test_sent(self, answers: Answers, rng: np.random.Generator) -> None:
        """What everybody sees in a round: uniform, whatever x is."""
        draws = 320
        for x in (0, int(rng.integers(1, 10**6)), _Q - 1):
            rows = [self._see(answers, x, [(0, 2)], 3, _Q, rng)[0] for _ in range(draws)]
            totals = [sum(row) % _Q for row in rows]
            if set(totals) == {x}:
                raise Wrong("What the parties announce adds up to x itself, and all see it.")
            for name, seen in (
                ("The sum of what is announced", totals),
                ("What one party announces", [row[0] for row in rows]),
                ("What two announce", [(row[0] + row[1]) % _Q for row in rows]),
            ):
                if len(set(seen)) < draws / 2 or _uneven(seen, _Q):
                    quarters = np.quantile(np.array(seen, float), (0.25, 0.75))
                    raise Wrong(
                        f"What all parties see is not uniform. {name}: half of {draws} values lie "
                        f"between {quarters[0]:.3g} and {quarters[1]:.3g}, for x = {x}."
                    )

    def test_power(self, answers: Answers, rng: np.random.Generator) -> str:
        """The power, with two to five parties, few rounds or many, several moduli."""
        for e, rounds, parties, modulus in (
            (2, 1, 3, _Q),
            (16, 1, 5, 2**31 - 1),
            (64, 2, 2, 2**64),
            (64, 3, 4, 30_030),
        ):
            plan = self._planned(answers, e, rounds)
            for _ in range(2):
                x = int(rng.integers(2, 30_000))
                self._run(answers, x, plan, parties, modulus, rng)
        # The only factors of a that are invertible whatever the modulus is are 1 and -1.
        factor = abs(_signed(self._rule(answers, 2, _Q, rng)[1] % _Q, _Q))
        if factor > 1:
            self._rule(answers, 2, factor, rng)
        return "The shares add up to the power, with two to five parties."

    def test_rounds(self, answers: Answers, rng: np.random.Generator) -> str:
        """A small circle, where what all see in both rounds together can be counted completely."""
        plan, times = self._planned(answers, 16, 2), 600
        size = 5 ** len(plan)
        for x in (0, 2, 3):
            views = []
            for _ in range(times):
                sent = self._see(answers, x, plan, 2, 5, rng)
                views.append(tuple(sum(row) % 5 for row in sent))
            if _unequal([sum(d * 5**r for r, d in enumerate(view)) for view in views], size):
                self._masks(16, 2, plan)
                view, seen = Counter(views).most_common(1)[0]
                raise Wrong(
                    f"What all parties see is not uniform: modulo 5, for x = {x}, they see {view} "
                    f"in {seen} of {times} runs; it should be about {times // size}."
                )
        return f"What all see in {times} runs, over all rounds, is uniform, whatever x is."

    @staticmethod
    def _masks(e: int, rounds: int, plan: list[tuple[int, int]]) -> None:
        """Refuse a mask that hides two numbers."""
        before: dict[int, tuple[int, int]] = {}
        reached = 1
        for place, (mask, k) in enumerate(plan, 1):
            if mask in before:
                first, power = before[mask]
                low = f"x^{power}" if power > 1 else "x"
                raise Wrong(
                    f"plan({e}, {rounds}) uses the same mask in rounds {first} and {place}. All "
                    f"see both d: their difference is x^{reached} - {low}, with no mask. "
                    "Whoever knows that solves for x."
                )
            before[mask] = place, reached
            reached *= k

    def _dealt(
        self, answers: Answers, e: int, rounds: int, measured: Sequence[Measured] = ()
    ) -> Measured:
        """Count the numbers dealt; refuse more than needed."""
        plan = self._planned(answers, e, rounds)
        self._masks(e, rounds, plan)
        dealt, bits = sum(k for _, k in plan), e.bit_length() - 1
        used = min(rounds, bits)  # 2^b > 2^(b - 1) + 1: equal steps are the cheapest
        least = sum(2 ** ((bits + r) // used) for r in range(used))
        found = Measured(f"numbers dealt for x^{e}, {rounds} rounds", dealt, least)
        if dealt > least:
            raise Wrong(
                f"plan({e}, {rounds}) asks the dealer for {dealt} numbers: "
                f"{' + '.join(str(k) for _, k in plan)}. It can be done with {least}.",
                (*measured, found),
            )
        return found

    def test_budget(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """As few numbers dealt as possible, in the rounds there are."""
        measured: list[Measured] = []
        for rounds in (1, 2, 3, 6):
            measured.append(self._dealt(answers, 64, rounds, measured))
        numbers = ", ".join(f"{found.value:.0f}" for found in measured)
        return Evidence(f"x^64 in 1, 2, 3, 6 rounds: {numbers} numbers dealt.", measured)

    def hidden_edges(self, answers: Answers, rng: np.random.Generator) -> None:
        """x below zero, 0, and large moduli; other powers."""
        for e, rounds, parties, modulus in ((4, 1, 3, _LARGE), (32, 2, 7, _Q), (8, 2, 2, 11)):
            plan = self._planned(answers, e, rounds)
            for x in (0, 1, modulus - 3, modulus // 2):
                self._run(answers, x, plan, parties, modulus, rng)
        for e in (2, 4, 8, 16, 32, 128, 256):
            for rounds in (1, 2, 3, 4, 5):
                self._dealt(answers, e, rounds)
        self._dealt(answers, 2 ** int(rng.integers(9, 13)), 3)


q1, q2, q3 = EXERCISES = (AdditiveShares(), SurvivingMean(), Power())
