"""Exercises of lesson 10: read a patient, aggregate, partition, the most out of some bytes."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import beta, kstest

from .. import federated
from ..data import load_hospitals
from ..exercise import Answers, Exercise, Mistake, Wrong, array, kind_name, mapping, number
from .hospitals import hospitals

# NaN passes, so that a test can say where it comes from.
_vector = array(1, "a vector of numbers")


# ---- 10.1 --------------------------------------------------------------------------------------


def _reading(value: Any, what: str) -> tuple[np.ndarray, float]:
    """Accept a pair: a record and a degree."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"{what} should be a tuple (record, degree), but it is {kind_name(value)}.")
    return _vector(value[0], f"The record that {what[5:]}"), number(value[1], "The degree")


def _attack(
    record: str = "weights_update[:, c] / bias_update[c]", degree: str = "int(bias_update.argmax())"
) -> str:
    """Return an answer to 10.1 with a part replaced."""
    return f"""
import numpy as np

def reconstruct(weights_update, bias_update):
    c = np.abs(bias_update).argmax()
    return {record}, {degree}
"""


class ReadPatient(Exercise):
    """Read the record of a patient from an update."""

    label = "10.1"
    title = "Read a patient from an update"
    kinds = {"reconstruct": _reading}
    hints = (
        "In column c of the weights and in entry c of the bias stands the same number, once times "
        "the record and once by itself.",
        "Divide a column by its entry of the bias. Which column is safe to divide by? And for "
        "which degree does the bias go up?",
        "c = np.abs(bias_update).argmax(); the record is weights_update[:, c] / bias_update[c]; "
        "the degree is bias_update.argmax(), as y is the only one with p − 1 < 0.",
    )
    reference = _attack()
    mistakes = (
        Mistake("not divided", _attack("weights_update[:, c]"), "a multiple of the record"),
        Mistake(
            "divided the wrong way round",
            _attack("bias_update[c] / weights_update[:, c]"),
            "upside down",
        ),
        Mistake(
            "all degrees added up",
            _attack("weights_update.sum(axis=1) / bias_update.sum()"),
            "add up to zero",
        ),
        Mistake(
            "always the first degree",
            _attack("weights_update[:, 0] / bias_update[0]"),
            "always divide by the same entry",
        ),
        Mistake(
            "the mean of all quotients",
            _attack("(weights_update / bias_update).mean(axis=1)"),
            "spoils a mean",
        ),
        Mistake(
            "the mean of all that are not zero",
            _attack(
                "np.mean([weights_update[:, k] / bias_update[k] for k in range(5) "
                "if bias_update[k]], axis=0)"
            ),
            "rounding noise",
        ),
        Mistake("a row", _attack("weights_update[c] / bias_update[c]"), "columns of degrees"),
        Mistake("lowest bias", _attack(degree="int(bias_update.argmin())"), "went down most"),
        Mistake("degree missing", _attack(degree="0"), "The record is right, but"),
        Mistake(
            "largest change of the bias",
            _attack(degree="int(np.abs(bias_update).argmax())"),
            "moved most, up or down",
        ),
    )

    def _cases(
        self,
        answers: Answers,
        rng: np.random.Generator,
        patients: int,
        silent: tuple[int, ...],
        level: float = -500,
    ) -> str:
        """Let patients train; of the degrees in ``silent``, the update is zero or nearly so."""
        (X, *_), degrees = hospitals(), load_hospitals()["num"].to_numpy(int)
        rows = rng.permutation(np.flatnonzero(~np.isin(degrees, silent)))[:patients]
        for row in rows:
            weights, bias = rng.normal(0, 0.3, (10, 5)), rng.normal(0, 0.3, 5)
            bias[list(silent)] = level  # such a degree seems impossible: p is 0 at -500
            before = np.vstack([weights, bias])
            after, x = before, np.append(X[row], 1)
            for _ in range(int(rng.integers(1, 6))):
                scores = x @ after
                p = np.exp(scores - scores.max())
                after = after - 0.1 * np.outer(x, p / p.sum() - np.eye(5)[degrees[row]])
            update = (after - before).astype(np.float32)
            got, degree = answers.reconstruct(update[:-1], update[-1])
            self._compare(got, degree, update, X[row], int(degrees[row]))
        row = rows[-1]
        return (
            f"Your attack read {len(rows)} of {len(rows)} patients. The last one is "
            f"{50 + 10 * got[0]:.0f} years old, with a degree of {degree:.0f}; the table says "
            f"{50 + 10 * X[row][0]:.0f} and {degrees[row]}."
        )

    @staticmethod
    def _compare(
        got: np.ndarray, degree: float, update: np.ndarray, record: np.ndarray, truth: int
    ) -> None:
        if got.shape != record.shape:
            raise Wrong(
                f"The record has {len(record)} features, yours {len(got)}. weights_update has rows "
                "of features and columns of degrees."
            )
        if not np.allclose(got, record, atol=1e-3):
            columns, bias = update[:-1], update[-1]
            told = (
                f"The record starts with {np.round(record[:3], 2).tolist()}, you read "
                f"{np.round(got[:3], 2).tolist()}."
            )
            with np.errstate(all="ignore"):
                quotients = columns / bias
                several = (
                    quotients.mean(axis=1),
                    "One of your quotients is by an entry of zero, and a single NaN spoils a mean. "
                    "One quotient is enough: which is the safest?",
                )
                single = [
                    (
                        quotients[:, c],
                        "You always divide by the same entry of the bias. Here it is zero: the "
                        "model was sure about that degree. Choose one that moved.",
                    )
                    for c in np.flatnonzero(bias == 0)
                ]
                explained = [
                    (
                        columns.sum(axis=1) / bias.sum(),
                        "Over all degrees the errors p − [y = c] add up to zero: you divide two "
                        "rounding errors. Take one degree.",
                    ),
                    # Both give NaN; where the first entry moved, an answer with NaN used several.
                    *([] if bias.all() else [several, *single] if bias[0] else [*single, several]),
                    (-record, "The sign is wrong."),
                    *((bias[c] / columns[:, c], "It is upside down.") for c in range(5)),
                ]
                for value, why in explained:
                    if np.allclose(got, value, rtol=1e-3, equal_nan=True):
                        raise Wrong(f"{told} {why}")
                scale = got @ record / (record @ record)
            if 0 < np.abs(bias).min() < 1e-9 * np.abs(bias).max():
                raise Wrong(
                    f"{told} An entry of the bias has hardly moved, and its quotient is rounding "
                    "noise. Which entry is the safest?"
                )
            if abs(scale) > 1e-3 and np.allclose(got, scale * record, atol=1e-5 + 1e-3 * scale):
                raise Wrong(
                    f"{told} What you read is a multiple of the record ({scale:.2g} times). Which "
                    "number in the update is that factor?"
                )
            if not np.isfinite(got).all():
                raise Wrong(f"{told} Is something divided by an entry of zero?")
            raise Wrong(told)
        if degree != truth:
            told = f"You read the record. Its degree is {truth}, and you say {degree:g}"
            sizes = np.abs(update[-1])
            if sizes[truth] >= 0.999 * sizes.max() and np.isclose(sizes[int(degree)], sizes[truth]):
                raise Wrong(
                    f"{told}. Two entries of the bias moved equally far: look for the one that "
                    "moved most, up or down, and you may take the one that fell."
                )
            if degree == int(update[-1].argmin()):
                raise Wrong(
                    f"{told}: that bias went down most. A step makes the true degree more likely."
                )
            raise Wrong(f"The record is right, but the degree is {truth}, not {degree:g}.")

    def test_patients(self, answers: Answers, rng: np.random.Generator) -> None:
        """All entries move."""
        self._cases(answers, rng, 15, ())

    def test_zeros(self, answers: Answers, rng: np.random.Generator) -> str:
        """Some entries do not move: first the last ones, then others."""
        self._cases(answers, rng, 10, (3, 4))
        self._cases(answers, rng, 10, (2, 3, 4))
        self._cases(answers, rng, 10, (1, 4), level=-29)
        return self._cases(answers, rng, 25, (0, 2))

    def hidden_zeros(self, answers: Answers, rng: np.random.Generator) -> None:
        """Each entry in turn, and all but two."""
        for silent in ((0,), (1,), (2,), (3,), (4,), (2, 3, 4), (0, 1, 4)):
            self._cases(answers, rng, 10, silent)


# ---- 10.2 --------------------------------------------------------------------------------------


def _shortened(updates: np.ndarray, longest: float, order: float = 2) -> np.ndarray:
    lengths = np.linalg.norm(updates, order, axis=1, keepdims=True)
    return updates * np.minimum(1, longest / np.maximum(lengths, 1e-300))


def _survivors(updates: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.isfinite(updates).all(axis=1) & (sizes > 0)


def _aggregate(updates: np.ndarray, sizes: np.ndarray, longest: float, most: int) -> np.ndarray:
    """Aggregate as exercise 10.2 asks for."""
    kept = _survivors(updates, sizes)
    if not kept.any():
        return np.zeros(updates.shape[1])
    weights = np.minimum(sizes[kept], most)
    return np.average(_shortened(updates[kept], longest), axis=0, weights=weights)


def _answer_10_2(
    kept: str = "np.isfinite(updates).all(axis=1) & (sizes > 0)",
    short: str = "updates * np.minimum(1, longest / np.maximum(lengths, 1e-12))",
    mean: str = "sizes @ short / sizes.sum()",
    empty: str = "    if not kept.any():\n        return np.zeros(updates.shape[1])\n",
    weights: str = "np.minimum(sizes[kept], most)",
) -> str:
    """Return an answer to 10.2 with a part replaced."""
    return f"""
import numpy as np

def aggregate(updates, sizes, longest, most):
    updates, sizes = np.array(updates, float), np.array(sizes, float)
    kept = {kept}
{empty}    updates, sizes = updates[kept], {weights}
    lengths = np.linalg.norm(updates, axis=1, keepdims=True)
    short = {short}
    return {mean}
"""


class Aggregate(Exercise):
    """Average updates, and survive what clients send."""

    label = "10.2"
    title = "An average that survives"
    points = 2
    kinds = {"aggregate": _vector}
    hints = (
        "First decide who counts at all; then shorten updates and cap sizes; then average. And do "
        "not forget the case that nobody is left.",
        "kept = np.isfinite(updates).all(axis=1) & (sizes > 0) says who counts: index both arrays "
        "by it. NaN times 0 is NaN, so weights of 0 are not enough.",
        "lengths = np.linalg.norm(updates, axis=1, keepdims=True); short = updates * "
        "np.minimum(1, longest / np.maximum(lengths, 1e-12)); np.average(short, axis=0, "
        "weights=np.minimum(sizes, most))",
    )
    reference = _answer_10_2()
    mistakes = (
        Mistake("all the same", _answer_10_2(mean="short.mean(axis=0)"), "counts the same"),
        Mistake("not divided", _answer_10_2(mean="sizes @ short"), "the sum of the weighted"),
        Mistake(
            "NaN stays",
            _answer_10_2(kept="sizes > 0"),
            "One update with NaN or infinity in it",
        ),
        Mistake(
            "NaN taken for zero",
            _answer_10_2(kept="sizes > 0").replace(
                "    kept", "    updates[~np.isfinite(updates).all(axis=1)] = 0\n    kept"
            ),
            "Its records still count",
        ),
        Mistake(
            "NaN left out entry by entry",
            _answer_10_2(kept="sizes > 0").replace(
                "    kept", "    updates[~np.isfinite(updates)] = 0\n    kept"
            ),
            "the rest of that update",
        ),
        Mistake(
            "empty clients get one record",
            _answer_10_2(
                kept="np.isfinite(updates).all(axis=1)",
                mean="np.average(short, axis=0, weights=np.maximum(sizes, 1))",
            ),
            "has no records",
        ),
        Mistake("nobody left", _answer_10_2(empty=""), "nobody is left"),
        Mistake("nothing is shortened", _answer_10_2(short="updates"), "not shortened at all"),
        Mistake(
            "each entry",
            _answer_10_2(short="np.clip(updates, -longest, longest)"),
            "each entry by itself",
        ),
        Mistake(
            "the mean is shortened",
            _answer_10_2(short="updates").replace(
                "return sizes @ short / sizes.sum()",
                "m = sizes @ short / sizes.sum()\n"
                "    return m * min(1, longest / max(np.linalg.norm(m), 1e-12))",
            ),
            "shorten the mean",
        ),
        Mistake(
            "long ones thrown out",
            _answer_10_2(
                short="updates",
                kept="np.isfinite(updates).all(axis=1) & (sizes > 0) & "
                "(np.linalg.norm(updates, axis=1) <= longest)",
            ),
            "leave out the long update",
        ),
        Mistake("claims are believed", _answer_10_2(weights="sizes[kept]"), "claims a million"),
        Mistake(
            "big claims thrown out",
            _answer_10_2(kept="np.isfinite(updates).all(axis=1) & (sizes > 0) & (sizes <= most)"),
            "leave out the client with the large claim",
        ),
        Mistake(
            "divided by no length",
            _answer_10_2(short="updates * np.minimum(lengths, longest) / lengths"),
            "An update of zeros",
        ),
        Mistake(
            "all made equally long",
            _answer_10_2(short="updates * longest / np.maximum(lengths, 1e-12)"),
            "short updates are lengthened",
        ),
    )

    def _check(
        self,
        answers: Answers,
        updates: np.ndarray,
        sizes: np.ndarray,
        longest: float,
        why: Callable[[np.ndarray], str | None],
        case: str,
        most: int = 1000,
    ) -> np.ndarray:
        got = answers.aggregate(updates, sizes, longest, most)
        wanted = _aggregate(updates, sizes, longest, most)
        if got.shape != wanted.shape:
            raise Wrong(f"There are {len(wanted)} parameters, but your mean has {len(got)}.")
        # Single precision is fine.
        size = max(float(np.abs(wanted).max()), 1e-6)
        same = lambda value: np.allclose(got, value, atol=1e-4 * size)  # noqa: E731
        if same(wanted):
            return got
        told = (
            f"{case}, your mean is {np.round(got[:3], 3).tolist()}…; it should be "
            f"{np.round(wanted[:3], 3).tolist()}…."
        )
        raise Wrong(f"{told} {why(same) or ''}".strip())

    @staticmethod
    def _honest(rng: np.random.Generator, clients: int = 6) -> tuple[np.ndarray, np.ndarray]:
        updates = rng.normal(0.3, 0.2, (clients, 5))
        return updates, rng.permutation(np.geomspace(3, 400, clients).astype(int))

    def test_weights(self, answers: Answers, rng: np.random.Generator) -> None:
        """Honest clients, all shorter than the limit."""
        updates, sizes = self._honest(rng)

        def why(same: Callable) -> str | None:
            explained = (
                (updates.mean(axis=0), "A client with 3 records counts the same as one with 400."),
                (
                    sizes @ updates,
                    "That is the sum of the weighted updates: divide by all records.",
                ),
                (np.median(updates, axis=0), "That is the median, not the weighted mean."),
                (
                    np.average(
                        _shortened(updates, 0) + self._normed(updates), axis=0, weights=sizes
                    )
                    * 50,
                    "The short updates are lengthened; they should stay as they are.",
                ),
            )
            return next((text for value, text in explained if same(value)), None)

        self._check(answers, updates, sizes, 50.0, why, "With six honest clients")

    @staticmethod
    def _normed(updates: np.ndarray) -> np.ndarray:
        return updates / np.linalg.norm(updates, axis=1, keepdims=True)

    def test_empty(self, answers: Answers, rng: np.random.Generator) -> None:
        """Clients without records, which send nonsense; and nobody else."""
        updates, sizes = self._honest(rng)
        updates[1], sizes[1], updates[4], sizes[4] = [7, -9, 8, 6, 5], 0, 0, 0

        def why(same: Callable) -> str:
            if same(np.zeros(5)):
                return "You give up as soon as one client is empty; four others are left."
            return "A client that has no records has changed the mean: its weight is zero."

        self._check(answers, updates, sizes, 50.0, why, "With two empty clients")

        def nobody(_: Callable) -> str:
            return "All are empty: nobody is left, so the model should stay where it is."

        self._check(answers, updates, np.zeros(6, int), 50.0, nobody, "Without any records")

    def test_broken(self, answers: Answers, rng: np.random.Generator) -> None:
        """NaN in one entry, infinity, an empty client with NaN."""
        updates, sizes = self._honest(rng)
        updates[2, 1], sizes[2] = np.nan, 150
        others = np.arange(6) != 2

        def why(same: Callable) -> str | None:
            zeroed, holes = updates * 1, np.nan_to_num(updates)
            zeroed[2] = 0
            by_entry = np.ma.average(np.ma.masked_invalid(updates), axis=0, weights=sizes)
            part = (
                "You drop single entries, but keep the rest of that update: what is broken in "
                "one place is not to be trusted in another."
            )
            explained = (
                (
                    np.average(zeroed, axis=0, weights=sizes),
                    "Its records still count, so everybody else's pull is weakened. Leave them "
                    "out of the total, too.",
                ),
                (np.average(holes, axis=0, weights=sizes), part),
                (np.asarray(by_entry), part),
                (updates[others].mean(axis=0), "Here each counts the same; weigh by records."),
                (updates * np.nan, ""),
            )
            return next((text for value, text in explained if same(value)), None)

        def nan(_: Callable) -> str:
            return "One update with NaN or infinity in it is enough to ruin the model."

        got = answers.aggregate(updates, sizes, 50.0, 1000)
        explain = why if np.isfinite(got).all() else nan
        self._check(answers, updates, sizes, 50.0, explain, "With a NaN in one update")
        for value in (np.inf, -np.inf):
            updates[2, 1] = value
            got = answers.aggregate(updates, sizes, 50.0, 1000)
            explain = why if np.isfinite(got).all() else nan
            self._check(answers, updates, sizes, 50.0, explain, f"With {value} in one update")
        updates[2], sizes[2] = np.nan, 0

        def zero_times(_: Callable) -> str:
            return "The empty client sent NaN, and 0 · NaN is NaN: leave it out before you weigh."

        self._check(answers, updates, sizes, 50.0, zero_times, "With NaN from an empty client")

        def nobody(_: Callable) -> str:
            return "Everybody with records sent NaN: nobody is left, so the model should not move."

        for broken in (sizes > 0, sizes >= 0):
            updates[broken] = np.nan
            self._check(answers, updates, sizes, 50.0, nobody, "With nothing but broken updates")

    def test_long(self, answers: Answers, rng: np.random.Generator) -> None:
        """One long update; the limit cuts no other."""
        updates, sizes = self._honest(rng)
        updates[3], sizes[3] = rng.normal(size=5) * 100, 120
        longest = 2.5
        kept = np.arange(6) != 3

        def why(same: Callable) -> str | None:
            plain = np.average(updates, axis=0, weights=sizes)
            explained = (
                (plain, "The long update is not shortened at all."),
                (
                    np.average(np.clip(updates, -longest, longest), axis=0, weights=sizes),
                    "You clip each entry by itself; shorten the vector as a whole.",
                ),
                (
                    _shortened(plain[None], longest)[0],
                    "You shorten the mean, when the long update has already set its direction. "
                    "Shorten each update.",
                ),
                (
                    np.average(updates[kept], axis=0, weights=sizes[kept]),
                    "You leave out the long update; it should be shortened, and count.",
                ),
                (
                    np.average(self._normed(updates) * longest, axis=0, weights=sizes),
                    "The short updates are lengthened; they should stay as they are.",
                ),
                (
                    np.average(_shortened(updates, longest, 1), axis=0, weights=sizes),
                    "You measure by the sum of absolute values; take the Euclidean length.",
                ),
                (
                    np.average(_shortened(updates, longest, np.inf), axis=0, weights=sizes),
                    "You measure by the largest entry; take the Euclidean length.",
                ),
                (
                    _shortened(updates * (sizes / sizes.sum())[:, None], longest).sum(axis=0),
                    "You shorten the weighted update; shorten what the client sent.",
                ),
            )
            return next((text for value, text in explained if same(value)), None)

        self._check(
            answers, updates, sizes, longest, why, "With one update 200 long and the limit 2.5"
        )

    def test_zero_update(self, answers: Answers, rng: np.random.Generator) -> None:
        """A client that learnt nothing counts, and moves nothing."""
        updates, sizes = self._honest(rng)
        updates[2] = 0

        def why(_: Callable) -> str:
            return "An update of zeros has length 0: do you divide by it?"

        self._check(answers, updates, sizes, 50.0, why, "With a client whose update is all zeros")

    def test_claim(self, answers: Answers, rng: np.random.Generator) -> None:
        """One client claims a million records."""
        updates, sizes = self._honest(rng)
        sizes[4], most = 1_000_000, 120
        others = np.arange(6) != 4
        capped = np.minimum(sizes, most)

        def why(same: Callable) -> str | None:
            explained = (
                (
                    np.average(updates, axis=0, weights=sizes),
                    "One claims a million records, and the model is its own: cap every size at "
                    "`most`.",
                ),
                (
                    np.average(updates[others], axis=0, weights=capped[others]),
                    "You leave out the client with the large claim; it should count as `most`.",
                ),
                (
                    np.average(updates[sizes <= most], axis=0, weights=sizes[sizes <= most]),
                    "You leave out the client with the large claim, and everybody else above "
                    "`most`; they should count as `most`.",
                ),
                (
                    np.average(updates, axis=0, weights=np.maximum(sizes, most)),
                    "Is it the smaller of the claim and `most` that should count?",
                ),
                (
                    capped @ updates / sizes.sum(),
                    "You cap the weights, but divide by all that was claimed.",
                ),
            )
            return next((text for value, text in explained if same(value)), None)

        self._check(answers, updates, sizes, 50.0, why, "With a claim of a million records", most)

    def test_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """How far can a poisoned client pull?"""
        updates, sizes = self._honest(rng, 20)
        longest, pull = 2.0, []
        honest = self._check(answers, updates, sizes, longest, lambda _: None, "With 20 clients")
        small = int(sizes.argmin())
        for power in (1, 3, 9, 15):
            updates[small] = -(10.0**power)
            case = f"With a poisoned update of size 1e{power}"
            poisoned = self._check(answers, updates, sizes, longest, lambda _: None, case)
            pull.append(np.linalg.norm(poisoned - honest))
        plain = 1e3 * np.sqrt(5) * sizes[small] / sizes.sum()
        return (
            f"A client with {sizes[small]} of {sizes.sum():,} records moved your mean by "
            f"{max(pull):.4f} at most; one of size 1,000 would move the plain mean by {plain:,.0f}."
        )

    def hidden_cases(self, answers: Answers, rng: np.random.Generator) -> None:
        """Mixed cases: single clients, zeros, broken and long ones at once."""
        nothing = lambda _: None  # noqa: E731
        for _ in range(25):
            clients = int(rng.integers(1, 12))
            updates = rng.normal(size=(clients, 3)) * 10 ** rng.uniform(-3, 3, (clients, 1))
            sizes = rng.integers(0, 50, clients) * (rng.random(clients) < 0.8)
            updates[rng.random(clients) < 0.2] *= np.array([np.nan, 1, 1])
            updates[rng.random(clients) < 0.1] = 0
            longest = float(10 ** rng.uniform(-2, 2))
            most = int(rng.integers(1, 60))
            self._check(answers, updates, sizes, longest, nothing, "In a mixed case", most)


# ---- 10.3 --------------------------------------------------------------------------------------


def _parts(value: Any, what: str) -> list[np.ndarray]:
    """Accept a list of arrays of indices; an empty one may be of any type."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "iu":
        value = list(value)  # equal sizes
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of arrays of indices, but it is {kind_name(value)}.")
    parts = []
    for part in value:
        array = np.asarray(part) if isinstance(part, list | tuple | np.ndarray) else np.array(None)
        if array.size == 0 and array.ndim == 1:
            array = np.zeros(0, int)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise Wrong(
                f"{what} should hold one array of whole numbers a client, but there is "
                + (f"an array of {array.dtype}." if array.ndim == 1 else f"{kind_name(part)}.")
            )
        parts.append(array.astype(int))
    return parts


def _answer_10_3(
    body: str, before: str = "    parts = [[] for _ in range(clients)]\n", loop: bool = True
) -> str:
    head = "    for label in np.unique(labels):\n" if loop else ""
    return (
        f"\nimport numpy as np\n\ndef partition(labels, clients, alpha, rng):\n{before}{head}"
        f"{body}    return parts\n"
    )


_MEMBERS = "        members = rng.permutation(np.flatnonzero(labels == label))\n"
_SHARES = "        shares = rng.dirichlet([alpha] * clients)\n"
_CUTS = "        cuts = (np.cumsum(shares)[:-1] * len(members)).astype(int)\n"
_DEAL = """        for client, some in enumerate(np.split(members, cuts)):
            parts[client].extend(some.tolist())
"""


class Partition(Exercise):
    """Deal records out with a given skew."""

    label = "10.3"
    title = "A partition with a given skew"
    points = 2
    kinds = {"partition": _parts}
    hints = (
        "Take one class after the other: np.flatnonzero(labels == label) has its records. Shuffle "
        "them, and cut them into as many pieces as there are clients.",
        "shares = rng.dirichlet([alpha] * clients), one share a client, says how long the pieces "
        "are. np.split cuts at positions: the running sums of the shares, times the number of "
        "records. The last sum cuts nothing off.",
        "cuts = (np.cumsum(shares)[:-1] * len(members)).astype(int); then for client, some in "
        "enumerate(np.split(members, cuts)): parts[client].extend(some)",
    )
    reference = _answer_10_3(_MEMBERS + _SHARES + _CUTS + _DEAL)
    mistakes = (
        Mistake(
            "even, whatever alpha",
            _answer_10_3(
                "    parts = np.array_split(rng.permutation(len(labels)), clients)\n", "", False
            ),
            "as even as chance",
        ),
        Mistake(
            "one draw for all classes",
            _answer_10_3(
                _MEMBERS + _CUTS + _DEAL,
                "    parts = [[] for _ in range(clients)]\n"
                "    shares = rng.dirichlet([alpha] * clients)\n",
            ),
            "The sizes are uneven, the labels are not",
        ),
        Mistake(
            "upside down",
            _answer_10_3(_MEMBERS + _SHARES.replace("alpha", "1 / alpha") + _CUTS + _DEAL),
            "the wrong way round",
        ),
        Mistake(
            "one class a client",
            _answer_10_3(
                "    parts = np.array_split(np.argsort(labels), clients)\n"
                "    parts = [parts[k] for k in rng.permutation(clients)]\n",
                "",
                False,
            ),
            "whatever alpha is",
        ),
        Mistake(
            "rounded down",
            _answer_10_3(
                _MEMBERS
                + _SHARES
                + """        for client, share in enumerate(shares):
            size = int(share * len(members))
            parts[client].extend(members[:size].tolist())
            members = members[size:] if client == 0 else members[size:]
"""
            ).replace("int(share * len(members))", "int(share * np.sum(labels == label))"),
            "belong to nobody",
        ),
        Mistake(
            "with replacement",
            _answer_10_3(
                _MEMBERS
                + _SHARES
                + """        for client, size in enumerate(rng.multinomial(len(members), shares)):
            parts[client].extend(rng.choice(members, size).tolist())
"""
            ),
            "more than once",
        ),
        Mistake(
            "remainders to the last client",
            _answer_10_3(
                _MEMBERS
                + _SHARES
                + """        cuts = np.cumsum((shares * len(members)).astype(int))[:-1]
"""
                + _DEAL
            ),
            "all remainders",
        ),
        Mistake(
            "half of alpha",
            _answer_10_3(_MEMBERS + _SHARES.replace("alpha", "alpha / 2") + _CUTS + _DEAL),
            "Is it [alpha] * clients",
        ),
        Mistake(
            "a fixed seed",
            _answer_10_3(
                _MEMBERS + _SHARES + _CUTS + _DEAL,
                "    rng = np.random.default_rng(0)\n    parts = [[] for _ in range(clients)]\n",
            ),
            "the same in every call",
        ),
        Mistake(
            "another generator",
            _answer_10_3(_MEMBERS + _SHARES + _CUTS + _DEAL).replace("rng.", "np.random."),
            "draw from another generator",
        ),
        Mistake(
            "a class forgotten",
            _answer_10_3(
                "    for label in range(labels.max()):\n" + _MEMBERS + _SHARES + _CUTS + _DEAL,
                loop=False,
            ),
            "all records of class",
        ),
        Mistake(
            "not shuffled",
            _answer_10_3(_MEMBERS.replace("rng.permutation", "") + _SHARES + _CUTS + _DEAL),
            "in the order of the table",
        ),
        Mistake(
            "one shuffle for all times",
            _answer_10_3(
                _MEMBERS.replace("rng.permutation", "np.random.default_rng(0).permutation")
                + _SHARES
                + _CUTS
                + _DEAL
            ),
            "the same records end up together",
        ),
        Mistake(
            "an owner for each record",
            _answer_10_3(
                _MEMBERS
                + _SHARES
                + """        owners = rng.choice(clients, size=len(members), p=shares)
        for client in range(clients):
            parts[client].extend(members[owners == client].tolist())
"""
            ),
            "an owner for each record",
        ),
        Mistake(
            "the records themselves",
            _answer_10_3(_MEMBERS + _SHARES + _CUTS + _DEAL).replace(
                "return parts", "return [labels[part] if part else [] for part in parts]"
            ),
            "labels, not indices",
        ),
    )
    #: Mean skew of the reference at alpha 100, 1 and 0.1 is 0.04, 0.33 and 0.65; one draw spreads
    #: by 0.04 or less, the mean of 30 by 0.008.
    bounds = {100.0: (0.0, 0.09), 1.0: (0.29, 0.37), 0.1: (0.60, 0.70)}

    @staticmethod
    def _draw(
        answers: Answers, labels: np.ndarray, clients: int, alpha: float, times: int,
        rng: np.random.Generator,
    ) -> list[list[np.ndarray]]:  # fmt: skip
        drawn = answers.sample("partition", (labels, clients, alpha), times, rng)
        for parts in drawn:
            if len(parts) != clients:
                raise Wrong(f"There are {clients} clients, but your list has {len(parts)} entries.")
            owned = np.concatenate(parts)
            if (
                len(owned) == len(labels)
                and np.isin(owned, labels).all()
                and (np.bincount(owned) == np.bincount(labels)[: owned.max() + 1]).all()
            ):
                raise Wrong("You return labels, not indices: where do the records stand?")
            if len(owned) and not 0 <= owned.min() <= owned.max() < len(labels):
                raise Wrong(
                    f"There is an index of {owned.max() if owned.min() >= 0 else owned.min()}; "
                    f"the {len(labels)} records have 0 to {len(labels) - 1}."
                )
            times_owned = np.bincount(owned, minlength=len(labels))
            if (times_owned > 1).any():
                raise Wrong(
                    f"{(times_owned > 1).sum()} of {len(labels)} records are dealt out more than "
                    "once: no client may have another's."
                )
            lost = np.unique(labels[times_owned == 0])
            if len(lost) and not np.isin(labels[times_owned > 0], lost).any():
                raise Wrong(
                    f"Nobody has any of all records of class {', '.join(map(str, lost))}: deal "
                    "out every class, whatever its number is."
                )
            if len(lost):
                raise Wrong(
                    f"{(times_owned == 0).sum()} of {len(labels)} records belong to nobody. Are "
                    "sizes rounded down? Cut at positions instead."
                )
        return drawn

    def test_partition(self, answers: Answers, rng: np.random.Generator) -> None:
        """Each record goes to one client, and each call deals anew."""
        labels = rng.permutation(np.repeat(np.arange(10), rng.integers(30, 70, 10)))
        for alpha in (100.0, 0.3):
            first, second = self._draw(answers, labels, 7, alpha, 2, rng)
            if all(set(a) == set(b) for a, b in zip(first, second, strict=True)):
                raise Wrong("Your partition is the same in every call: draw from the given `rng`.")
            again = int(rng.integers(2**31))
            one, other = (
                self._draw(answers, labels, 7, alpha, 1, np.random.default_rng(again))[0]
                for _ in range(2)
            )
            if any(set(a) != set(b) for a, b in zip(one, other, strict=True)):
                raise Wrong(
                    "With the same seed your partition differs: you draw from another generator "
                    "than `rng`, and nobody can repeat the experiment."
                )

    def test_skew(self, answers: Answers, rng: np.random.Generator) -> str:
        """The skew that ten classes and ten clients have at three values of alpha."""
        labels = rng.permutation(np.repeat(np.arange(10), 60))
        drawn = {alpha: self._draw(answers, labels, 10, alpha, 30, rng) for alpha in self.bounds}
        skews = {
            alpha: float(np.mean([federated.label_skew(labels, parts) for parts in found]))
            for alpha, found in drawn.items()
        }
        self._explain(skews, [len(part) for parts in drawn[0.1] for part in parts])
        # Rounding down all cuts gives the first client 55 of 600 on average, the last one 65.
        sizes = np.mean([[len(part) for part in parts] for parts in drawn[100.0]], axis=0)
        if abs(sizes - 60).max() > 12:
            client = int(abs(sizes - 60).argmax())
            raise Wrong(
                f"At α = 100, client {client} gets {sizes[client]:.0f} of 600 records on average, "
                "where 60 are fair. Does somebody get all remainders?"
            )
        told = ", ".join(f"{skew:.2f} at α = {alpha:g}" for alpha, skew in skews.items())
        return f"The skew of your partitions is {told}."

    def _explain(self, skews: dict[float, float], sizes: list[int]) -> None:
        told = ", ".join(f"{skew:.2f} at α = {alpha:g}" for alpha, skew in skews.items())
        even, strong = skews[100.0], skews[0.1]
        told = f"The skew of your partitions is {told}"
        if strong < 0.35 and np.std(sizes) > 1.2 * np.mean(sizes) and even < 0.3:
            raise Wrong(
                f"{told}. The sizes are uneven, the labels are not: all classes are divided alike. "
                "Draw proportions for each class."
            )
        if even > strong + 0.1:
            raise Wrong(f"{told}: the wrong way round. A small α is for a strong skew.")
        if strong - even < 0.1:
            how = "as even as chance makes it" if even < 0.3 else "the same, whatever alpha is"
            raise Wrong(f"{told}: {how}. Where does alpha come in?")
        if 0.12 < even < 0.19 and 0.3 < skews[1.0] < 0.4:
            raise Wrong(
                f"{told}. At α = 100 chance is added: do you draw an owner for each record? Cut "
                "each class at its shares instead."
            )
        for alpha, (low, high) in self.bounds.items():
            if not low <= skews[alpha] <= high:
                much = "little" if skews[alpha] < low else "much"
                raise Wrong(
                    f"{told}. At α = {alpha:g} that is too {much}: from {low:g} to {high:g} is "
                    "expected. Is it [alpha] * clients that goes into the Dirichlet, for each "
                    "class?"
                )

    def test_shares(self, answers: Answers, rng: np.random.Generator) -> None:
        """The shares of two clients in two classes: each Beta(α, α), and independent."""
        labels = np.repeat([0, 1], 1_000)
        for alpha in (0.3, 3.0):
            drawn = self._draw(answers, labels, 2, alpha, 200, rng)
            shares = np.array([[np.mean(parts[0] < 1_000), 0] for parts in drawn])
            for row, parts in zip(shares, drawn, strict=True):
                row[:] = np.bincount(labels[parts[0]], minlength=2) / 1_000
            # A right answer fails one of these four tests in 5,000 checks.
            p = [kstest(column, beta(alpha, alpha).cdf).pvalue for column in shares.T]
            if min(p) < 1e-4:
                raise Wrong(
                    f"For two clients at α = {alpha:g}, the first one's share of a class should "
                    f"follow a Dirichlet distribution; in 200 draws its standard deviation is "
                    f"{shares.std():.2f}, and {beta(alpha, alpha).std():.2f} is expected."
                )
            tied = np.corrcoef(shares.T)[0, 1]
            if abs(tied) > 0.3:  # z = 4
                raise Wrong(
                    f"The shares in one class tell those in another (correlation {tied:.2f}): draw "
                    "anew for each class."
                )

    def test_order(self, answers: Answers, rng: np.random.Generator) -> None:
        """Two clients share a class, and neither has blocks of it."""
        together, owners = [], []
        for parts in self._draw(answers, np.zeros(200, int), 2, 100.0, 10, rng):
            owner = np.zeros(200, int)
            owner[parts[1]] = 1
            together.append(np.mean(owner[1:] == owner[:-1]))
            owners.append(owner)
        # A half is expected, and the mean of ten spreads by 0.011.
        if np.mean(together) > 0.6:
            raise Wrong(
                "Each client gets its records of a class in the order of the table, and that "
                "order may mean something: shuffle them."
            )
        alike = np.corrcoef(owners)[np.triu_indices(10, 1)]
        # Between independent shuffles it spreads by 0.07; the mean of 45 pairs by 0.011.
        if abs(alike.mean()) > 0.1:
            raise Wrong(
                "In every call the same records end up together: shuffle them by `rng`, anew each "
                "time."
            )

    def test_corners(self, answers: Answers, rng: np.random.Generator) -> None:
        """One client; more clients than records of a class; labels with gaps; tiny alpha."""
        for labels, clients, alpha in (
            (rng.integers(3, size=50), 1, 1.0),
            (np.array([0, 0, 5, 5, 5, 9]), 4, 1.0),
            (rng.integers(2, size=300) * 7, 25, 0.02),
        ):
            self._draw(answers, labels, clients, alpha, 3, rng)


# ---- 10.4 --------------------------------------------------------------------------------------

_BYTES, _MOST_STEPS, _HIGHEST_RATE, _EXCESS, _SPLITS = 2_000, 200, 10, 0.05, 24
_KEYS = ("rounds", "local_steps", "learning_rate")
_MODEL = federated.Network(features=10)
_PER_ROUND = 2 * federated.round_bytes(_MODEL.parameters, clients=4)


def _settings(value: Any, what: str) -> tuple[int, int, float]:
    """Accept a dict of the three settings, each in its range."""
    given = mapping(value, what)
    missing = [key for key in _KEYS if key not in given]
    if missing:
        raise Wrong(f"There is no value for {', '.join(missing)} in {what}.")
    rounds, steps, rate = (number(given[key], f"{key} in {what}") for key in _KEYS)
    if rounds != int(rounds) or steps != int(steps) or min(rounds, steps) < 1:
        raise Wrong(
            f"rounds is {rounds:g} and local_steps is {steps:g}; both must be whole numbers, at "
            "least 1."
        )
    if steps > _MOST_STEPS:
        raise Wrong(f"local_steps is {steps:g}; more than {_MOST_STEPS} are not allowed.")
    if not 0 < rate <= _HIGHEST_RATE:
        raise Wrong(f"learning_rate is {rate:g}; it must be above 0 and at most {_HIGHEST_RATE}.")
    if rounds * _PER_ROUND > _BYTES:
        raise Wrong(
            f"{rounds:g} rounds at {_PER_ROUND} bytes are {rounds * _PER_ROUND:,.0f} bytes; the "
            f"line carries {_BYTES:,}."
        )
    return int(rounds), int(steps), rate


def _answer_10_4(rounds: float, steps: float, rate: float) -> str:
    return f"settings = {dict(zip(_KEYS, (rounds, steps, rate), strict=True))}"


@cache
def _splits(seed: int) -> list[tuple[federated.Clients, federated.Clients, list[np.ndarray]]]:
    """Return for each split the clients, the pooled table, and each hospital's test patients."""
    X, y, parts = hospitals()
    rng, made = np.random.default_rng(seed), []
    for _ in range(_SPLITS):
        train: list[np.ndarray] = []
        for part in parts:
            # Half of the ill and half of the healthy patients.
            groups = [rng.permutation(part[y[part] == label]) for label in (0, 1)]
            train.append(np.concatenate([group[: len(group) // 2] for group in groups]))
        test = [np.setdiff1d(part, own) for part, own in zip(parts, train, strict=True)]
        whole = federated.make_clients(X, y, [np.concatenate(train)])
        made.append((federated.make_clients(X, y, train), whole, test))
    return made


@cache
def _loss(seed: int, settings: tuple[int, int, float], pooled: bool = False) -> float:
    """Return the mean cross entropy on the test patients, over the splits."""
    X, y, _ = hospitals()
    rng = np.random.default_rng(0)  # nothing is drawn: full batches, all clients
    found = []
    for apart, whole, test in _splits(seed):
        *_, last = federated.fedavg(_MODEL, whole if pooled else apart, *settings, rng)
        rows = np.concatenate(test)
        found.append(_MODEL.loss(last.weights, X[rows], y[rows]))
    return float(np.mean(found))


class MostOfBytes(Exercise):
    """Choose settings within a budget of bytes; open-ended."""

    label = "10.4"
    title = "The most out of 2,000 bytes"
    points = 3
    kinds = {"settings": _settings}
    hints = (
        "How many rounds can you afford? Then the work must be done at home.",
        "Steps times learning rate is how far a client goes in a round. Too short, and the rounds "
        "are over before the model is good; too long, and clients drift, or the steps overshoot.",
        "Five rounds. Try 50 to 150 local steps, and a learning rate below 1.",
    )
    reference = _answer_10_4(5, 100, 0.3)
    mistakes = (
        Mistake("a setting left out", 'settings = {"rounds": 5, "local_steps": 10}', "no value"),
        Mistake("over budget", _answer_10_4(40, 10, 0.3), "the line carries"),
        Mistake("half a round", _answer_10_4(2.5, 10, 0.3), "whole numbers"),
        Mistake("all night", _answer_10_4(1, 5000, 0.3), "are not allowed"),
        Mistake("no learning rate", _answer_10_4(5, 10, 0), "it must be above 0"),
        Mistake("one step at home", _answer_10_4(5, 1, 0.3), "do more in a round"),
        Mistake("one round", _answer_10_4(1, 200, 0.3), "more rounds"),
        Mistake("the most of everything", _answer_10_4(5, 200, 10), "do less in a round"),
    )

    def test_loss(self, answers: Answers, rng: np.random.Generator) -> str:
        """Train on 24 splits, and compare with pooled training on the same ones."""
        settings, seed = answers["settings"], int(rng.integers(2**31))
        rounds, _, rate = settings
        got, pooled = _loss(seed, settings), _loss(seed, (1, 900, 0.3), pooled=True)
        told = (
            f"With {rounds * _PER_ROUND:,} bytes the loss on test patients is {got:.3f}, "
            f"{got / pooled - 1:.1%} above pooled training"
        )
        # Only the splits are random, and both sides are measured on the same ones: the excess of
        # the reference is 2.3 % and spreads by 0.46, so the limit is at z = 5.8.
        if got > (1 + _EXCESS) * pooled:
            raise Wrong(f"{told}; {_EXCESS:.0%} are allowed. {self._why(seed, settings, got)}")
        single = _loss(seed, (rounds, 1, rate))
        return f"{told}. With one local step in the same rounds it would be {single:.3f}."

    @staticmethod
    def _why(seed: int, settings: tuple[int, int, float], got: float) -> str:
        """Try neighbours of the settings, and tell which way leads down."""
        rounds, steps, rate = settings
        ways = {
            "use more rounds": (_BYTES // _PER_ROUND, steps, rate),
            "let clients do more in a round: more steps, or longer ones": (
                rounds, min(_MOST_STEPS, 4 * steps), min(_HIGHEST_RATE, 2 * rate),
            ),
            "let clients do less in a round: fewer steps, or shorter ones": (
                rounds, max(1, steps // 4), rate / 4,
            ),
        }  # fmt: skip
        losses = {name: _loss(seed, each) for name, each in ways.items()}
        best = min(losses, key=lambda name: losses[name])
        if losses[best] < 0.998 * got:
            return f"It gets better if you {best}."
        return "Change more than one setting at a time: rounds, work at home, learning rate."


q1 = ReadPatient()
q2 = Aggregate()
q3 = Partition()
q4 = MostOfBytes()
EXERCISES = (q1, q2, q3, q4)
