"""Exercises of lesson 04: a ledger that refuses, a budget well split, one release within one ε."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from ..audit import AuditReport
from ..data import load_adult
from ..exercise import Answers, Exercise, Mistake, Wrong, number
from .audited import LearnersMechanism, Neighbours, audit_answer

# ---- 4.1 ---------------------------------------------------------------------------------------

Ledger = dict[str, Any]


def _ledger(value: Any, what: str) -> Ledger:
    if not isinstance(value, dict) or not {"budget", "spent"} <= set(value):
        raise Wrong(f"{what} should hold a ledger: a dict with the keys 'budget' and 'spent'.")
    spent = value["spent"]
    plain = isinstance(spent, list | tuple | np.ndarray) and np.ndim(spent) == 1
    entries = list(spent) if plain else [None]
    numbers = (int, float, np.integer, np.floating)
    if any(isinstance(e, bool) or not isinstance(e, numbers) for e in entries):
        raise Wrong(f"In the ledger of {what}, 'spent' should be a list of numbers.")
    budget = number(value["budget"], f"The 'budget' of {what}")
    return {"budget": budget, "spent": [float(entry) for entry in entries]}


def _step(value: Any, what: str) -> tuple[bool, Ledger]:
    """Accept a pair of a bool and a ledger."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"{what} should be a pair: granted, ledger.")
    granted, ledger = value
    if not isinstance(granted, bool | np.bool_):
        raise Wrong(f"The first part of {what} should be True or False.")
    return bool(granted), _ledger(ledger, what)


def _steps(value: Any, what: str) -> list[tuple[bool, Ledger]]:
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of pairs; leave that function as it was given.")
    return [_step(each, what) for each in value]


_HISTORY = """

def history(ledger, epsilons):  # given: every step of a day
    steps = []
    for epsilon in epsilons:
        granted, ledger = charge(ledger, epsilon)
        steps.append((granted, ledger))
    return steps
"""


class RefusingLedger(Exercise):
    """Keep a ledger that refuses the query that would overdraw."""

    label = "4.1"
    title = "A ledger that refuses"
    points = 2
    kinds = {"charge": _step, "history": _steps}
    hints = (
        "Refuse first: what is no finite number above 0, then what does not fit. Only what is left "
        "is granted. `0 < epsilon < math.inf` is False for NaN, too.",
        "Add up everything spent and the new ε, and compare with the budget plus 1e-9. Compare the "
        "total, not what is left: then the billionth is forgiven once and not for every query.",
        'Granted: return True, {**ledger, "spent": [*ledger["spent"], epsilon]}. That builds a new '
        "dict with a new list. Refused: return False, ledger.",
    )
    reference = (
        """
import math

def charge(ledger, epsilon):
    if not 0 < epsilon < math.inf:  # False for NaN, too
        return False, ledger
    spent = [*ledger["spent"], epsilon]
    if math.fsum(spent) > ledger["budget"] + 1e-9:
        return False, ledger
    return True, {**ledger, "spent": spent}
"""
        + _HISTORY
    )
    mistakes = tuple(
        Mistake(name, code + _HISTORY, says)
        for name, code, says in (
            (
                "the first query is always granted",
                """
import math

def charge(ledger, epsilon):
    spent = ledger["spent"]
    if not (math.isfinite(epsilon) and epsilon > 0):
        return False, ledger
    if spent and math.fsum([*spent, epsilon]) > ledger["budget"] + 1e-9:
        return False, ledger
    return True, {**ledger, "spent": [*spent, epsilon]}
""",
                "more than the whole budget",
            ),
            (
                "a refused query is charged",
                """
def charge(ledger, epsilon):
    fits = epsilon > 0 and sum(ledger["spent"]) + epsilon <= ledger["budget"] + 1e-9
    return fits, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "and still paid",
            ),
            (
                "each query by itself",
                """
def charge(ledger, epsilon):
    if not 0 < epsilon <= ledger["budget"]:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "what was spent before counts",
            ),
            (
                "the last crumb is refused",
                """
def charge(ledger, epsilon):
    if not 0 < epsilon or not sum(ledger["spent"]) + epsilon < ledger["budget"]:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "uses the budget up exactly",
            ),
            (
                "no room for rounding errors",
                """
def charge(ledger, epsilon):
    if not 0 < epsilon or sum(ledger["spent"]) + epsilon > ledger["budget"]:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "dust of floating point",
            ),
            (
                "too much room",
                """
import numpy as np

def charge(ledger, epsilon):
    total = sum(ledger["spent"]) + epsilon
    fits = total <= ledger["budget"] or np.isclose(total, ledger["budget"])
    if not 0 < epsilon or not fits:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "a millionth too much",
            ),
            (
                "a refund",
                """
def charge(ledger, epsilon):
    if sum(ledger["spent"]) + epsilon <= ledger["budget"] + 1e-9:
        return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
    return False, ledger
""",
                "a refund",
            ),
            (
                "NaN slips through",
                """
def charge(ledger, epsilon):
    if epsilon <= 0 or sum(ledger["spent"]) + epsilon > ledger["budget"] + 1e-9:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "False whatever you compare it with",
            ),
            (
                "the old ledger is changed",
                """
def charge(ledger, epsilon):
    if not 0 < epsilon or sum(ledger["spent"]) + epsilon > ledger["budget"] + 1e-9:
        return False, ledger
    ledger["spent"].append(epsilon)
    return True, ledger
""",
                "rewrites history",
            ),
            (
                "the tolerance is given to every query anew",
                """
def charge(ledger, epsilon):
    left = max(ledger["budget"] - sum(ledger["spent"]), 0)
    if not 0 < epsilon <= left + 1e-9:
        return False, ledger
    return True, {**ledger, "spent": ledger["spent"] + [epsilon]}
""",
                "one tiny query after the other",
            ),
        )
    )

    def _expect(
        self, answers: Answers, ledger: Ledger, epsilon: float, granted: bool, why: str
    ) -> Ledger:
        """Charge once; ``why`` is told if the verdict is the wrong one."""
        got, after = answers.charge(ledger, epsilon)
        told = (
            f"Budget {ledger['budget']:g}, spent {_amounts(ledger['spent'])}, and a query of "
            f"{epsilon:.10g}"
        )
        if got != granted:
            raise Wrong(f"{told}: you {'grant' if got else 'refuse'} it. {why}")
        if after["budget"] != ledger["budget"]:
            raise Wrong(f"{told}: afterwards the budget is {after['budget']:g}. The budget stays; "
                        "what was granted goes into 'spent'.")  # fmt: skip
        before, now = ledger["spent"], after["spent"]
        if not granted and now != before:
            raise Wrong(f"{told}: refused, but 'spent' is now {_amounts(now)}. Whoever asked got "
                        "no answer, and still paid.")  # fmt: skip
        if granted and sorted(now) != sorted([*before, epsilon]):
            raise Wrong(f"{told}: granted, and 'spent' is now {_amounts(now)}. It should hold what "
                        "it held before and the new ε as it was asked.")  # fmt: skip
        return after

    def _budget(self, answers: Answers, rng: np.random.Generator, budget: float) -> None:
        self._expect(answers, {"budget": budget, "spent": []}, 1.5 * budget, False,
                     "Nothing was spent yet, but it is more than the whole budget.")  # fmt: skip
        # Parts of 1/64: sums without rounding errors.
        first, second = (budget * int(part) / 64 for part in rng.integers([12, 40], [24, 50]))
        ledger = self._expect(answers, {"budget": budget, "spent": []}, first, True,
                              "Nothing was spent yet, and it fits.")  # fmt: skip
        ledger = self._expect(answers, ledger, budget - first - budget / 32, True,
                              "Together they are below the budget.")  # fmt: skip
        self._expect(answers, ledger, second, False,
                     "That overdraws: what was spent before counts.")  # fmt: skip
        self._expect(answers, ledger, budget / 32, True,
                     "It fits: a query may be one that uses the budget up exactly.")  # fmt: skip

    def test_budget(self, answers: Answers, rng: np.random.Generator) -> None:
        """Grant what fits, refuse what does not, charge only what was granted."""
        self._budget(answers, rng, 1.0)

    def test_rounding(self, answers: Answers, rng: np.random.Generator) -> str:
        """Ten times 0.1 fits into 1.0; a millionth too much does not."""
        for budget, part, times in ((0.3, 0.1, 3), (1.0, 0.1, 10), (0.7, 0.1, 7), (2.1, 0.7, 3)):
            ledger = {"budget": budget, "spent": []}
            for _ in range(times):
                total = sum(ledger["spent"]) + part
                why = (
                    f"{times} times {part} fits into {budget}, but Python adds it up to {total!r}: "
                    "forgive a billionth, the dust of floating point."
                )
                ledger = self._expect(answers, ledger, part, True, why)
        for over, name in ((0.05, "5 % of the budget"), (1e-3, "a thousandth"),
                           (1e-6, "a millionth")):  # fmt: skip
            self._expect(answers, {"budget": 1.0, "spent": [0.25, 0.5]}, 0.25 + over, False,
                         f"That is {name} too much. Only a billionth may be forgiven.")  # fmt: skip
        self._expect(answers, {"budget": 1.0, "spent": [0.25, 0.5]}, 0.25 - 1e-6, True, "It fits.")
        return "Three times 0.1 fits into 0.3, and a millionth too much is refused."

    def test_strange_amounts(self, answers: Answers, rng: np.random.Generator) -> str:
        """Refuse what is no finite number above 0."""
        ledger = {"budget": 1.0, "spent": [0.5, 0.25]}
        for epsilon, why in (
            (-0.5, "That is a refund: the next query may be larger than the budget allows, though "
                   "nothing that was published was taken back."),
            (math.nan, "Each comparison with NaN is False whatever you compare it with; and once "
                       "it is in the sum, no later query is refused."),
            (math.inf, "No budget has room for that."),
            (-math.inf, "No ε is below 0."),
            (0.0, "An ε of 0 is no query: its noise would be infinite."),
        ):  # fmt: skip
            self._expect(answers, ledger, epsilon, False, why)
        return "A negative ε, NaN, infinity and 0 are refused."

    def test_history(self, answers: Answers, rng: np.random.Generator) -> str:
        """Every ledger along the way stays as it was."""
        amounts = [0.25, 0.5, 0.5, 0.125, 0.25]
        steps = answers.history({"budget": 1.0, "spent": []}, amounts)
        wanted = [[0.25], [0.25, 0.5], [0.25, 0.5], [0.25, 0.5, 0.125], [0.25, 0.5, 0.125]]
        found = [ledger["spent"] for _, ledger in steps]
        if len(found) == len(wanted) and found != wanted and found[0] == found[-1]:
            raise Wrong(
                f"After a day of five queries, the ledger kept from the first step holds "
                f"{_amounts(found[0])} instead of {_amounts(wanted[0])}: `charge` changes the list "
                "that it was given, which rewrites history. Build a new list."
            )
        if found != wanted:
            raise Wrong(f"A day of queries {_amounts(amounts)} should leave the ledgers {wanted}, "
                        f"but `history` gives {found}.")  # fmt: skip
        return "Five queries left five ledgers, each as it was at its time."

    def test_tiny(self, answers: Answers, rng: np.random.Generator) -> str:
        """Hundreds of tiny queries do not add up to more than the budget."""
        for spent, tiny, most in ((1 - 1e-6, 1e-7, 10), (1.0, 5e-10, 2)):
            steps = answers.history({"budget": 1.0, "spent": [spent]}, [tiny] * 40)
            granted = sum(step[0] for step in steps)
            # One more than fits: which sum is rounded how is left open.
            if granted > most + 1:
                raise Wrong(
                    f"With {spent:.10g} of 1 spent, an attacker asks 40 queries of {tiny:g} and is "
                    f"granted {granted}; {most} fit. Going on like this, one tiny query after the "
                    "other, the budget never ends. Compare the total with the budget."
                )
            if granted < most - 1 and spent < 1:
                raise Wrong(f"With {spent:.10g} of 1 spent, {most} queries of {tiny:g} fit; you "
                            f"grant {granted}.")  # fmt: skip
        return "Tiny queries are refused once the budget is used up."

    def hidden_budgets(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other budgets."""
        for budget in (0.125, 4.0, float(rng.integers(2, 9))):
            self._budget(answers, rng, budget)


def _amounts(spent: Sequence[float]) -> str:
    """Write amounts as a list that stays short."""
    shown = [f"{each:.10g}" for each in spent[:8]] + ["…"] * (len(spent) > 8)
    return f"[{', '.join(shown)}]"


# ---- 4.2 ---------------------------------------------------------------------------------------


def _parts(value: Any, what: str) -> list[float]:
    """Accept a list, a tuple, an array or a column of finite numbers."""
    if isinstance(value, pd.Series | np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple) or not value:
        raise Wrong(f"{what} should be a list of numbers, one ε for each query.")
    return [number(each, f"Entry {i} of {what[0].lower() + what[1:]}")
            for i, each in enumerate(value)]  # fmt: skip


class BestSplit(Exercise):
    """Split ε over queries of different sensitivities for the least total error."""

    label = "4.2"
    title = "Split the budget"
    kinds = {"split": _parts}
    hints = (
        "A query of sensitivity Δ that gets ε has an expected absolute error of Δ/ε. Try two "
        "queries, Δ = 1 and Δ = 100, ε = 1, with pen and paper or a grid of values.",
        "At the best split it does not matter which query gets the next crumb of ε: the slopes "
        "Δᵢ/εᵢ² are all the same. What does that say about εᵢ?",
        "εᵢ is proportional to the square root of Δᵢ: roots = np.sqrt(sensitivities), then "
        "epsilon * roots / roots.sum().",
    )
    reference = """
import numpy as np

def split(sensitivities, epsilon):
    roots = np.sqrt(sensitivities)
    return epsilon * roots / roots.sum()
"""
    mistakes = (
        Mistake(
            "equal parts",
            """
def split(sensitivities, epsilon):
    return [epsilon / len(sensitivities)] * len(sensitivities)
""",
            "Equal parts",
        ),
        Mistake(
            "the whole ε for each",
            """
def split(sensitivities, epsilon):
    return [epsilon] * len(sensitivities)
""",
            "Each query gets the whole ε",
        ),
        Mistake(
            "proportional to the sensitivity",
            """
def split(sensitivities, epsilon):
    return [epsilon * s / sum(sensitivities) for s in sensitivities]
""",
            "in proportion to their sensitivities",
        ),
        Mistake(
            "the most for the least sensitive",
            """
def split(sensitivities, epsilon):
    inverse = [1 / s for s in sensitivities]
    return [epsilon * i / sum(inverse) for i in inverse]
""",
            "the wrong way round",
        ),
        Mistake(
            "the least sum of variances",
            """
import numpy as np

def split(sensitivities, epsilon):
    weights = np.asarray(sensitivities) ** (2 / 3)
    return epsilon * weights / weights.sum()
""",
            "sum of the variances",
        ),
        Mistake(
            "shares of 1 instead of ε",
            """
import numpy as np

def split(sensitivities, epsilon):
    roots = np.sqrt(sensitivities)
    return roots / roots.sum()
""",
            "add up to 1, whatever ε is",
        ),
        Mistake(
            "squares add up to ε squared",
            """
import numpy as np

def split(sensitivities, epsilon):
    roots = np.sqrt(sensitivities)
    return epsilon * roots / np.sqrt((roots**2).sum())
""",
            "squares add up",
        ),
        Mistake(
            "in order of size",
            """
import numpy as np

def split(sensitivities, epsilon):
    roots = np.sqrt(sorted(sensitivities))
    return epsilon * roots / roots.sum()
""",
            "in the order of the queries",
        ),
    )

    #: How far from the least error an answer may be: a numeric optimiser's is near enough.
    most = 1.01

    def _compare(self, answers: Answers, sensitivities: list[float], epsilon: float) -> float:
        """Check one split; return how much smaller its error is than that of equal parts."""
        parts = np.array(answers.split(sensitivities, epsilon))
        deltas = np.array(sensitivities)
        told = f"Sensitivities {_amounts(sensitivities)}, ε = {epsilon:g}, your split " + _amounts(
            [float(f"{part:.4g}") for part in parts]
        )
        if len(parts) != len(deltas):
            raise Wrong(f"{told}: {len(deltas)} queries need {len(deltas)} parts.")
        if (parts <= 0).any():
            raise Wrong(f"{told}: each query needs an ε above 0.")
        total = parts.sum()
        if total > epsilon * (1 + 1e-6):
            raise Wrong(f"{told}: together they spend {total:.4g}, which overdraws. "
                        f"{self._why_overspent(parts, epsilon)}".strip())  # fmt: skip
        error, least = (deltas / parts).sum(), np.sqrt(deltas).sum() ** 2 / epsilon
        if error > self.most * least:
            why = self._why_more(parts, deltas, epsilon)
            raise Wrong(f"{told}: the total error is {error:.4g}, but {least:.4g} is possible. "
                        f"{why}".strip())  # fmt: skip
        return float(len(deltas) * deltas.sum() / epsilon / error)

    @staticmethod
    def _why_overspent(parts: np.ndarray, epsilon: float) -> str:
        if np.allclose(parts, epsilon):
            return "Each query gets the whole ε, and the answers together cost the sum."
        if np.isclose(parts.sum(), 1):
            return "The parts add up to 1, whatever ε is."
        if np.isclose((parts**2).sum(), epsilon**2):
            return "Their squares add up to ε², but for Laplace answers the parts add up."
        return ""

    @staticmethod
    def _why_more(parts: np.ndarray, deltas: np.ndarray, epsilon: float) -> str:
        shares = parts / parts.sum()
        if parts.sum() < 0.99 * epsilon:
            one = "The parts add up to 1, whatever ε is. " if np.isclose(parts.sum(), 1) else ""
            return f"{one}You leave {epsilon - parts.sum():.3g} of the budget unused."

        def like(weights: np.ndarray) -> bool:
            return np.allclose(shares, weights / weights.sum(), rtol=1e-3)

        for weights, why in (
            (np.ones_like(deltas), "Equal parts give the noisiest query no more than the others."),
            (deltas, "You share in proportion to their sensitivities: equal errors for all, and "
                     "nothing gained in the sum over equal parts. Something in between is better."),
            (1 / deltas, "That is the wrong way round: a more sensitive query needs more."),
            (deltas ** (2 / 3), "This split has the least sum of the variances; asked for is the "
                                "least sum of the expected absolute errors, Δᵢ/εᵢ."),
        ):  # fmt: skip
            if like(weights):
                return why
        if np.allclose(np.sort(shares), np.sort(np.sqrt(deltas)) / np.sqrt(deltas).sum()):
            return "These are the right parts, but return them in the order of the queries."
        return ""

    def test_splits(self, answers: Answers, rng: np.random.Generator) -> str:
        """Three queries, at two ε."""
        low, middle, high = (float(d) for d in rng.integers([1, 6, 80], [4, 12, 120]))
        gains = [self._compare(answers, [high, low, middle], epsilon) for epsilon in (1.5, 0.5)]
        return (
            f"For sensitivities {high:g}, {low:g} and {middle:g} your split spends ε, no more; "
            f"equal parts would err {gains[0]:.2f} times as much."
        )

    def hidden_splits(self, answers: Answers, rng: np.random.Generator) -> None:
        """One query, equal queries, many queries, far apart."""
        cases = [[3.0], [2.0] * 4, [0.01, 10.0], [*rng.uniform(0.5, 50, 12).round(2).tolist()]]
        for sensitivities in cases:
            self._compare(answers, sensitivities, float(rng.uniform(0.2, 3)))


# ---- 4.3 ---------------------------------------------------------------------------------------

_GROUPS = 4
_KEYS = ("high_earners", "mean_hours", "education")


def _released(value: Any, what: str) -> list[float]:
    """Accept a dict with the three statistics; return its six numbers."""
    if not isinstance(value, dict) or any(key not in value for key in _KEYS):
        raise Wrong(f"{what} should be a dict with the keys {', '.join(_KEYS)}.")
    extra = [str(key)[:20] for key in value if key not in _KEYS]
    if extra:
        raise Wrong(f"{what} has more keys than the three: {', '.join(extra[:5])}.")
    groups = value["education"]
    if isinstance(groups, pd.Series | np.ndarray):
        groups = groups.tolist()
    if isinstance(groups, dict):
        groups = [groups.get(group) for group in range(_GROUPS)] if len(groups) == _GROUPS else None
    if not isinstance(groups, list | tuple) or len(groups) != _GROUPS:
        raise Wrong(f"The 'education' of {what[0].lower() + what[1:]} should be {_GROUPS} counts, "
                    "one for each of the groups 0 to 3, also where nobody is in it.")  # fmt: skip
    return [
        number(value["high_earners"], "Your 'high_earners'"),
        number(value["mean_hours"], "Your 'mean_hours'"),
        *(number(each, f"Group {group} of your 'education'") for group, each in enumerate(groups)),
    ]


def _table(*people: tuple[float, int, int], base: int = 0) -> dict[str, np.ndarray]:
    """Return people (hours, high earner, education) as columns, after ``base`` ordinary ones."""
    ordinary = [(40.0, i % 2, i % _GROUPS) for i in range(base)]
    rows = np.array([*ordinary, *people]).reshape(-1, 3)
    return {"hours": rows[:, 0], "high": rows[:, 1].astype(int),
            "education": rows[:, 2].astype(int)}  # fmt: skip


def _joins(name: str, *people: tuple[float, int, int], base: int = 0) -> Neighbours:
    """Two tables that differ in the last of the people."""
    pair = (_table(*people, base=base), _table(*people[:-1], base=base))
    return Neighbours(*pair, (f"with {name}", "without them"))


_PAIRS = (
    _joins("one person in a table that is else empty", (80.0, 1, 0)),
    _joins("a high earner of 80 hours among eight", (80.0, 1, 0), base=7),
    _joins("a second person, without any hours", (80.0, 0, 3), (0.0, 1, 3)),
    _joins("somebody who reports 1,000 hours among eight", (1000.0, 0, 1), base=7),
)
_HIDDEN_PAIRS = (
    _joins("somebody who reports -1,000 hours among five", (-1000.0, 1, 1), base=4),
    _joins("a third person like two others", *[(60.0, 1, 2)] * 3),
    _joins("one person without any hours, the table else empty", (0.0, 0, 2)),
    _joins("the first person of group 3 among 40", *[(45.0, 0, 1)] * 39, (20.0, 1, 3)),
)


@cache
def _people() -> pd.DataFrame:
    adult = load_adult()
    return pd.DataFrame(
        {
            "hours": adult["hours_per_week"].astype(float),
            "high": (adult["income"] == ">50K").astype(int),
            # No diploma, high school, college without a degree, degree.
            "education": np.digitize(adult["education_num"], [9, 10, 13]),
        }
    )


def _error(released: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weighted error of each release: an hour of the mean counts as 25 people."""
    return np.abs(released - truth) @ np.array([1.0, 25.0, 1.0, 1.0, 1.0, 1.0])


def _given_solutions(
    table: dict[str, np.ndarray], epsilon: float, rng: np.random.Generator, times: int
) -> dict[str, np.ndarray]:
    """Release often by three given solutions; six numbers a row."""
    hours = np.clip(table["hours"], 0, 80)
    count, people = table["high"].sum(), len(hours)
    groups = np.bincount(table["education"], minlength=_GROUPS)

    def laplace(scale: float, columns: int = 1) -> np.ndarray:
        return rng.laplace(0, scale, (times, columns))

    def release(
        parts: tuple[float, float], mean: np.ndarray, histogram: np.ndarray | None = None
    ) -> np.ndarray:
        histogram = groups + laplace(1 / parts[1], _GROUPS) if histogram is None else histogram
        return np.hstack([count + laplace(1 / parts[0]), mean, histogram])

    third, quarter, half = epsilon / 3, epsilon / 4, epsilon / 2
    total = hours.sum()
    careless = (total + laplace(160 / third)) / np.maximum(people + laplace(2 / third), 1)
    thirds, halves = groups + laplace(1 / third, _GROUPS), groups + laplace(1 / half, _GROUPS)
    plain = (total + laplace(80 / third)) / np.maximum(thirds.sum(axis=1, keepdims=True), 1)
    centred = (hours - 40).sum() + laplace(40 / quarter)
    centred = 40 + centred / np.maximum(halves.sum(axis=1, keepdims=True), 1)
    return {
        "careless": release((third, third), careless),
        "plain": release((third, third), plain, thirds),
        "better": release((quarter, half), centred, halves),
    }


class OneRelease(Exercise):
    """Release three statistics within one ε; open-ended."""

    label = "4.3"
    title = "Three statistics, one ε"
    points = 3
    kinds = {"release": _released}
    hints = (
        "The count moves by 1 at most and the histogram in one group by 1. Clip the hours to a "
        "range that you choose without looking, 0 to 80 say: then their sum moves by 80 at most. "
        "The three parts of ε add up to ε.",
        "The number of people is private, too. You need not pay for it: the noisy histogram adds "
        "up to it. Divide by max(that, 1).",
        "Sum hours − 40 instead of hours: clipped to 0 to 80 it moves by 40 only, and an error of "
        "the number of people hardly matters. Then split ε as in exercise 4.2: the histogram has "
        "four errors, so it gets half.",
    )
    reference = """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 4 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 2 / epsilon, 4)
    over = np.clip(table["hours"], 0, 80).sum() - 40 * len(table["hours"])
    over += rng.laplace(0, 40 * 4 / epsilon)
    mean = 40 + over / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
"""
    mistakes = (
        Mistake(
            "the whole ε for each",
            """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 1 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 1 / epsilon, 4)
    hours = np.clip(table["hours"], 0, 80).sum() + rng.laplace(0, 80 / epsilon)
    mean = hours / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "are three answers",
        ),
        Mistake(
            "a histogram without noise",
            """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 2 / epsilon)
    groups = np.bincount(table["education"], minlength=4)
    hours = np.clip(table["hours"], 0, 80).sum() + rng.laplace(0, 80 * 2 / epsilon)
    mean = hours / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "has no noise",
        ),
        Mistake(
            "noise from a fixed seed",
            """
import numpy as np

def release(table, epsilon, rng):
    rng = np.random.default_rng(42)
    count = table["high"].sum() + rng.laplace(0, 3 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 3 / epsilon, 4)
    hours = np.clip(table["hours"], 0, 80).sum() + rng.laplace(0, 80 * 3 / epsilon)
    mean = hours / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "fixed seed",
        ),
        Mistake(
            "one noise for all groups",
            """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 3 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 3 / epsilon)
    hours = np.clip(table["hours"], 0, 80).sum() + rng.laplace(0, 80 * 3 / epsilon)
    mean = hours / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "subtract two groups",
        ),
        Mistake(
            "hours not clipped",
            """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 3 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 3 / epsilon, 4)
    hours = table["hours"].sum() + rng.laplace(0, 80 * 3 / epsilon)
    mean = np.clip(hours / max(groups.sum(), 1), 0, 80)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "before you add them up",
        ),
        Mistake(
            "the exact number of people",
            """
import numpy as np

def release(table, epsilon, rng):
    n = len(table["hours"])
    count = table["high"].sum() + rng.laplace(0, 3 / epsilon)
    groups = np.bincount(table["education"], minlength=4) + rng.laplace(0, 3 / epsilon, 4)
    mean = np.clip(table["hours"], 0, 80).sum() / max(n, 1)
    mean += rng.laplace(0, 80 / max(n, 1) * 3 / epsilon)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "number of people is private",
        ),
        Mistake(
            "a group that nobody is in is left out",
            """
import numpy as np

def release(table, epsilon, rng):
    count = table["high"].sum() + rng.laplace(0, 3 / epsilon)
    values, groups = np.unique(table["education"], return_counts=True)
    groups = groups + rng.laplace(0, 3 / epsilon, len(groups))
    hours = np.clip(table["hours"], 0, 80).sum() + rng.laplace(0, 80 * 3 / epsilon)
    mean = hours / max(groups.sum(), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "also where nobody is in it",
        ),
        Mistake(
            "each group pays",
            """
import numpy as np

def release(table, epsilon, rng):
    part = epsilon / 6
    count = table["high"].sum() + rng.laplace(0, 1 / part)
    groups = [(table["education"] == g).sum() + rng.laplace(0, 1 / part) for g in range(4)]
    hours = np.clip(table["hours"], 0, 168).sum() + rng.laplace(0, 168 / part)
    mean = hours / max(sum(groups), 1)
    return {"high_earners": count, "mean_hours": mean, "education": groups}
""",
            "but so noisy",
        ),
    )

    # Further apart than usual: at 0.2 an ε in the wrong place shows, at 3 a total that is too
    # large, though three answers hide it in one another's noise.
    epsilons, samples, many_samples = (0.2, 3.0), 16_000, 60_000

    def _sample(
        self,
        answers: Answers,
        table: dict[str, np.ndarray],
        epsilon: float,
        times: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        return np.array(answers.sample("release", (table, epsilon), times, rng))

    def test_noise(self, answers: Answers, rng: np.random.Generator) -> None:
        """Every number is there, for any table, and has noise of its own."""
        for table in (_table(), _table((40.0, 1, 2)), _table(base=200)):
            released = self._sample(answers, table, 0.5, 40, rng)
        # The last table has 200 people, half of them high earners, 50 in each group.
        truth = np.array([100, 40, 50, 50, 50, 50])
        names = ["'high_earners'", "'mean_hours'", *(f"group {g}" for g in range(_GROUPS))]
        spread = np.ptp(released, axis=0)
        for name, width, first, true in zip(names, spread, released[0], truth, strict=True):
            if width == 0 and np.isclose(first, true):
                raise Wrong(f"Your {name} has no noise: it is {first:g} in each of 40 calls, the "
                            "exact answer.")  # fmt: skip
            if width == 0:
                raise Wrong(
                    f"Your {name} is {first:.4g} in each of 40 calls: noise from a fixed seed can "
                    "be computed and taken off. Use the rng that you are given."
                )
        for one in range(2, 2 + _GROUPS):
            for other in range(2, one):
                if np.ptp(released[:, one] - released[:, other]) < 1e-6:
                    raise Wrong(
                        f"The noise of {names[one]} and {names[other]} is the same: subtract two "
                        "groups and it is gone. rng.laplace(0, scale, 4) draws four."
                    )

    def test_outlier(self, answers: Answers, rng: np.random.Generator) -> None:
        """One extreme report hardly moves the mean."""
        # Among 200, a person clipped to 168 hours (a whole week) moves the mean by less than 1.
        # The noise of a mean that passes below is far below 100 hours, the median's a sixth of it.
        for hours in (1e6, -1e6):
            usual, moved = (
                float(np.median(self._sample(answers, table, 1.0, 40, rng)[:, 1]))
                for table in (_table(base=200), _table((hours, 0, 0), base=200))
            )
            if abs(moved - usual) > 35:
                raise Wrong(
                    f"Somebody reports {hours:,.0f} hours among 200 people, and your 'mean_hours' "
                    f"goes from about {usual:,.0f} to {moved:,.0f}: one person decides it, and no "
                    "noise hides that. Clip each person's hours before you add them up."
                )

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """The release as a whole, within ε."""
        return self._audit(answers, _PAIRS, rng)

    def _audit(
        self,
        answers: Answers,
        pairs: Sequence[Neighbours],
        rng: np.random.Generator,
        **options: Any,
    ) -> str:
        # An answer within ε is accused once in 5,000 checks at most (audited.CONFIDENCE).
        options = {"epsilons": self.epsilons, "samples": self.samples} | options
        mechanism = LearnersMechanism(answers, "release")

        def explain(report: AuditReport) -> str:
            return self._explain(report, answers, rng)

        return audit_answer(mechanism, pairs, rng, explain=explain, **options)

    def _explain(self, report: AuditReport, answers: Answers, rng: np.random.Generator) -> str:
        """Say what the measured noise tells."""
        released = self._sample(answers, _table(base=200), report.epsilon, 400, rng)
        scale = np.abs(released - np.median(released, axis=0)).mean(axis=0)
        # Laplace noise of scale b deviates by b on average, the geometric one by 1 / sinh(ε).
        counts = released[:, [0, 2, 3, 4, 5]]
        spent = np.arcsinh(1 / scale) if (counts == counts.round()).all() else 1 / scale
        count, groups = spent[0], spent[2:].max()
        if count + groups > 1.15 * report.epsilon:
            return (
                f"The count, the mean and the histogram are three answers, and their ε add up. "
                f"By its noise your count spends about {count:.2f} of {report.epsilon:g}, the "
                f"histogram {groups:.2f}, and the mean comes on top."
            )
        if report.event.startswith("output['mean_hours']") or "'mean_hours'" in report.event:
            return (
                "It is the mean that tells. The number of people is private as well: a mean over "
                "the exact number moves, and its noise changes, when somebody joins. Divide a "
                "noisy sum by a noisy number. The sum moves by the largest |hours| that your "
                "clipping leaves."
            )
        return (
            "Do the three parts add up to ε, and is the noise of the sum as wide as the largest "
            "|value| that your clipping leaves? Is a small or empty table treated in another way?"
        )

    def test_error(self, answers: Answers, rng: np.random.Generator) -> str:
        """Weighted error on 1,000 people of Adult beside three given solutions."""
        people = _people().sample(1000, random_state=rng)
        table = {name: people[name].to_numpy() for name in people}
        truth = np.array([table["high"].sum(), table["hours"].mean(),
                          *np.bincount(table["education"], minlength=_GROUPS)])  # fmt: skip
        given = {
            name: _error(released, truth).mean()
            for name, released in _given_solutions(table, 1.0, rng, 4000).items()
        }
        # The mean of 300 errors has a standard error of 5 % of it: an answer like the careless one
        # stays within 1.3 times with more than 5 standard errors.
        yours = _error(self._sample(answers, table, 1.0, 300, rng), truth).mean()
        beside = ", ".join(f"{name} {error:.1f}" for name, error in given.items())
        if yours < 0.4 * given["better"]:
            raise Wrong(
                f"On 1,000 people your weighted error is {yours:.1f} ({beside}): smaller than any "
                "private answer known here. Is there noise in a table of this size, too?"
            )
        if yours > 1.3 * given["careless"]:
            raise Wrong(
                f"Private, as far as the audit can tell, but so noisy that it is of little use: on "
                f"1,000 people of Adult at ε = 1 your weighted error is {yours:.1f} ({beside}). "
                "What does each of the three need? Disjoint groups share one ε, and a narrower "
                "range of hours needs less noise."
            )
        return f"Weighted error at ε = 1: yours {yours:.1f}; {beside}."

    def hidden_pairs(self, answers: Answers, rng: np.random.Generator) -> str:
        """Further pairs."""
        return self._audit(answers, _HIDDEN_PAIRS, rng)

    def hidden_small_excess(self, answers: Answers, rng: np.random.Generator) -> str:
        """A longer look at one pair: a total ε that is a quarter too large."""
        pairs = [_joins("a high earner of 80 hours among 201", (80.0, 1, 0), base=200)]
        return self._audit(answers, pairs, rng, epsilons=(3.0,), samples=self.many_samples)


q1 = RefusingLedger()
q2 = BestSplit()
q3 = OneRelease()
EXERCISES = (q1, q2, q3)
