"""Exercises of lesson 05: reconstruction despite lies, private preprocessing, means by group."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..audit import AuditReport
from ..data import load_adult
from ..exercise import Answers, Exercise, Mistake, Wrong, column, mapping, number
from .audited import LearnersMechanism, Neighbours, audit_answer

# ---- 5.1 -----------------------------------------------------------------------------------------


#: Least squares again and again, each time without the answers that fit worst.
_LEAST_SQUARES = """
import numpy as np

def rebuild_despite_lies(groups, answers):
    kept = np.arange(len(answers))
    for _ in range(20):
        solution, *_ = np.linalg.lstsq(groups[kept], answers[kept], rcond=None)
        off = np.abs(groups @ solution - answers)
        kept = np.argsort(off)[: int(0.7 * len(answers))]
"""


class DespiteLies(Exercise):
    """Rebuild a column from answers of which one in ten is a lie."""

    label = "5.1"
    title = "An office that lies"
    points = 2
    kinds = {"rebuild_despite_lies": column}
    hints = (
        "Nine answers in ten are exact. Solve by least squares once: which answers fit the "
        "solution worst?",
        "Drop the worst answers and solve again, a few times. (Or minimise the sum of absolute "
        "errors in place of squares: scipy.optimize.linprog can.)",
        "kept = all rows; repeat 20 times: solve on the kept rows; off = |groups @ solution - "
        "answers|; kept = the 70 % of rows with the smallest off. At the end, solution > 0.5.",
    )
    reference = _LEAST_SQUARES + "    return (solution > 0.5).astype(int)\n"
    mistakes = (
        Mistake(
            "plain least squares",
            """
import numpy as np

def rebuild_despite_lies(groups, answers):
    solution, *_ = np.linalg.lstsq(groups, answers, rcond=None)
    return (solution > 0.5).astype(int)
""",
            "as many as plain least squares",
        ),
        Mistake(
            "not rounded",
            _LEAST_SQUARES + "    return solution + 1e-3\n",
            "only 0 and 1",
        ),
        Mistake(
            "the answers in place of the people",
            """
def rebuild_despite_lies(groups, answers):
    return (answers > answers.mean()).astype(int)
""",
            "one value for each person",
        ),
        Mistake(
            "the opposite column",
            _LEAST_SQUARES + "    return (solution < 0.5).astype(int)\n",
            "the wrong way round",
        ),
        Mistake(
            "guessing the more frequent value",
            """
import numpy as np

def rebuild_despite_lies(groups, answers):
    return np.zeros(groups.shape[1], dtype=int)
""",
            "the same value for everybody",
        ),
        Mistake(
            "correlation of each person with the answers",
            """
import numpy as np

def rebuild_despite_lies(groups, answers):
    centred = groups - groups.mean(axis=0)
    score = centred.T @ (answers - answers.mean())
    return (score > np.median(score)).astype(int)
""",
            "hardly better than a guess",
        ),
    )
    people, questions = 80, 640

    def _attack(self, answers: Answers, rng: np.random.Generator) -> float:
        """Let the answer attack fresh people; return the share rebuilt."""
        rows = load_adult().sample(self.people, random_state=rng)
        secret = (rows["income"] == ">50K").to_numpy(int)
        groups = rng.integers(0, 2, (self.questions, self.people))
        told = (groups @ secret).astype(float)
        lies = rng.random(self.questions) < 0.1
        told[lies] = rng.integers(0, self.people, lies.sum())
        got = answers.rebuild_despite_lies(groups, told)
        if len(got) != self.people:
            raise Wrong(
                f"Return one value for each person: {self.people}, the columns of `groups`. "
                f"You return {len(got)}."
            )
        if not set(got.tolist()) <= {0, 1}:
            raise Wrong("The column holds only 0 and 1. Round what you solve for, at one half.")
        got = got.to_numpy(int)
        share = float((got == secret).mean())
        if share < 0.99:
            plain, *_ = np.linalg.lstsq(groups, told, rcond=None)
            raise Wrong(self._why(share, got, (plain > 0.5).astype(int), secret))
        return share

    @staticmethod
    def _why(share: float, got: np.ndarray, plain: np.ndarray, secret: np.ndarray) -> str:
        told = f"{share:.0%} of the incomes are right, 99 % are asked for."
        if share < 0.1:
            return f"{told} Turned around, it would be nearly all: 0 and 1 are the wrong way round."
        if len(set(got.tolist())) == 1:
            return f"{told} You say the same value for everybody."
        if (got == plain).mean() > 0.97 or share > 0.9:
            return (
                f"{told} That is about as many as plain least squares gets: "
                f"{(plain == secret).mean():.0%}. Find the lies, and leave them out."
            )
        return f"{told} That is hardly better than a guess. Solve all equations together."

    def test_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """Attack three offices."""
        shares = [self._attack(answers, rng) for _ in range(3)]
        return (
            f"Your attack rebuilt {np.mean(shares):.1%} of {3 * self.people} incomes, although "
            "every tenth answer was a lie."
        )

    def hidden_attack(self, answers: Answers, rng: np.random.Generator) -> None:
        """Attack more."""
        for _ in range(5):
            self._attack(answers, rng)


# ---- what 5.2 and 5.3 share ----------------------------------------------------------------------


def _refuse_constant(outputs: np.ndarray, exact: np.ndarray, what: list[str]) -> None:
    """Refuse numbers without noise, and noise that is always the same.

    Args:
        outputs: Runs × numbers, all on the same data.
        exact: The numbers without noise.
        what: Their names.
    """
    still = outputs.std(axis=0) < 1e-9
    if still.all() and np.allclose(outputs[0], exact, atol=0.05):
        raise Wrong("There is no noise: these are the exact statistics, the same in every run.")
    if still.all():
        raise Wrong(
            "Every run on the same data gives the same numbers: the noise comes from a fixed seed. "
            "Use the `rng` that you are given."
        )
    if still.any():
        named = ", ".join(name for name, each in zip(what, still, strict=True) if each)
        raise Wrong(f"A part is published without noise: {named}.")


# ---- 5.2 -----------------------------------------------------------------------------------------

_BOUNDS = {"age": (17.0, 90.0), "hours": (1.0, 99.0)}
_NUMBERS = ["the mean of the ages", "the sd of the ages", "the mean of the hours",
            "the sd of the hours"]  # fmt: skip


def _prepared(value: Any, what: str) -> list[float]:
    """Accept ``{"age": [mean, sd], "hours": [mean, sd]}``."""
    value = mapping(value, what)
    flat = []
    for name in _BOUNDS:
        if name not in value:
            raise Wrong(f"{what} has no entry {name!r}: return {{'age': [mean, sd], 'hours': …}}.")
        pair = value[name]
        if not isinstance(pair, list | tuple | np.ndarray) or len(pair) != 2:
            raise Wrong(f"{what}, entry {name!r}, should be a list [mean, sd].")
        flat += [number(each, f"{what}, entry {name!r},") for each in pair]
    return flat


def _columns(*people: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    ages, hours = np.array(people, dtype=float).T
    return ages, hours


def _replaced(base: tuple, before: tuple, after: tuple, names: tuple[str, str]) -> Neighbours:
    """Return neighbours: the same people, and one who is replaced."""
    return Neighbours(_columns(*base, before), _columns(*base, after), names)


_PREPARE = """
import numpy as np

def prepare(ages, hours, epsilon, rng):
    released = {}
    for name, values, low, high in [("age", ages, 17, 90), ("hours", hours, 1, 99)]:
        x, middle, half = np.clip(values, low, high), (low + high) / 2, (high - low) / 2
        scale = 4 / (len(x) * epsilon)
        mean = x.mean() + rng.laplace(0, 2 * half * scale)
        square = ((x - middle) ** 2).mean() + rng.laplace(0, half**2 * scale)
        variance = max(square - (mean - middle) ** 2, 1)
        released[name] = [mean, variance**0.5]
    return released
"""


class Prepare(Exercise):
    """Private means and standard deviations for standardising."""

    label = "5.2"
    title = "Prepare without a peek"
    points = 3
    kinds = {"prepare": _prepared}
    hints = (
        "Four numbers are released about the same people. What is left of ε for each of them? And "
        "what must happen to the entries before anything is added up?",
        "Clip to the public bounds. A mean then has the sensitivity (b - a)/n; the mean of "
        "(x - middle)² has ((b - a)/2)²/n. Each gets ε/4.",
        "mean = clipped.mean() + rng.laplace(0, (b - a) / n / (epsilon / 4)); square = the noisy "
        "mean of (x - middle)²; variance = square - (mean - middle)², at least some small number.",
    )
    reference = _PREPARE
    mistakes = (
        Mistake(
            "the exact statistics",
            """
def prepare(ages, hours, epsilon, rng):
    return {"age": [ages.mean(), ages.std()], "hours": [hours.mean(), hours.std()]}
""",
            "There is no noise",
        ),
        Mistake(
            "a fixed seed",
            _PREPARE.replace("    released = {}", "    rng = np.random.default_rng(0)\n"
                              "    released = {}"),
            "from a fixed seed",
        ),
        Mistake(
            "noise on the means alone",
            """
import numpy as np

def prepare(ages, hours, epsilon, rng):
    released = {}
    for name, values, low, high in [("age", ages, 17, 90), ("hours", hours, 1, 99)]:
        x = np.clip(values, low, high)
        mean = x.mean() + rng.laplace(0, (high - low) / len(x) / (epsilon / 2))
        released[name] = [mean, x.std()]
    return released
""",
            "without noise: the sd",
        ),
        Mistake(
            "bounds from the data",
            _PREPARE.replace(
                "        x, middle",
                "        low, high = values.min(), values.max()\n        x, middle",
            ),
            "your bounds come from the data",
        ),
        Mistake(
            "not clipped",
            _PREPARE.replace("np.clip(values, low, high)", "values"),
            "is not clipped",
        ),
        Mistake(
            "clipped after the noise",
            _PREPARE.replace("np.clip(values, low, high)", "values").replace(
                "        released[name] = [mean, variance**0.5]",
                "        mean = np.clip(mean, low, high)\n"
                "        released[name] = [mean, min(variance**0.5, half)]",
            ),
            "clipping comes too late",
        ),
        Mistake(
            "the whole ε for each number",
            _PREPARE.replace("scale = 4 /", "scale = 1 /"),
            "several statistics of the same people",
        ),
        Mistake(
            "far too much noise",
            _PREPARE.replace("scale = 4 / (len(x) * epsilon)", "scale = 4 / (30 * epsilon)"),
            "private, and of no use",
        ),
    )  # fmt: skip
    # So many and so spread out that mean and sd tell all that the noisy means do: no floor is hit.
    base = tuple(zip(np.linspace(17, 90, 300), np.linspace(99, 1, 300), strict=True))

    def test_use(self, answers: Answers, rng: np.random.Generator) -> str:
        """The error for 2,000 people at ε = 1: the median of 200 runs is far from the limits.

        The limits are five times the median error of the reference and more. The median of 200
        runs has a standard error of some 10 %: a right answer fails less than once in 10⁹ runs.
        """
        rows = load_adult().sample(2000, random_state=rng)
        ages, hours = (rows[name].to_numpy(float) for name in ("age", "hours_per_week"))
        exact = np.array([ages.mean(), ages.std(), hours.mean(), hours.std()])
        outputs = np.array(answers.sample("prepare", (ages, hours, 1.0), 200, rng))
        _refuse_constant(outputs, exact, _NUMBERS)
        error = np.median(np.abs(outputs - exact), axis=0)
        limits = np.array([0.8, 0.9, 1.0, 1.2])
        for name, each, limit in zip(_NUMBERS, error, limits, strict=True):
            if each > limit:
                raise Wrong(
                    f"For 2,000 people at ε = 1, {name} is off by {each:.2f} in the middle of 200 "
                    f"runs; {limit} is allowed. If that is the noise, the result is private, and "
                    "of no use: does its scale shrink with n?"
                )
        return f"Median errors at ε = 1, n = 2,000: {', '.join(f'{each:.2f}' for each in error)}."

    def test_bounds(self, answers: Answers, rng: np.random.Generator) -> None:
        """Noise where all people are equal, and no more influence than the bounds allow."""
        equal = np.array(answers.sample("prepare", (*_columns(*[(40, 40)] * 50), 1.0), 40, rng))
        # The sd may lie on its floor in every run; a mean that never moves has no noise.
        if (equal[:, [0, 2]].std(axis=0) < 1e-9).any():
            raise Wrong(
                "Where all people are equal, the noise is gone: your bounds come from the data. "
                "Take the public ones."
            )
        outputs = {
            age: np.array(
                answers.sample("prepare", (*_columns(*[(40, 40)] * 50, (age, 40)), 50.0), 200, rng)
            )
            for age in (90, 1e6)
        }
        means = {age: np.median(each[:, 0]) for age, each in outputs.items()}
        # At ε = 50 the noise of a right answer is far below a year; the means must agree.
        if abs(means[1e6] - means[90]) > 3:
            within = outputs[1e6][:, 0].max() <= 90
            why = (
                "The output is cut to the bounds, but that clipping comes too late: the entry has "
                "done its work by then. Clip the entries first."
                if within
                else "An entry beyond the bounds is not clipped."
            )
            raise Wrong(
                f"One reported age of 1,000,000 among 51 moves the released mean from "
                f"{means[90]:.1f} to {means[1e6]:,.1f}. {why}"
            )

    def test_parts(self, answers: Answers, rng: np.random.Generator) -> str:
        """Add up what the four numbers spend, from the measured noise.

        The mean absolute deviation of 3,000 runs is off by 2 %, the sum of four parts by less; 15 %
        of slack are more than eight standard errors. Noise of another kind than Laplace is left to
        the audit.
        """
        runs = answers.sample("prepare", (*_columns(*self.base), 2.0), 3_000, rng)
        outputs, spent = np.array(runs), 0.0
        step = np.linspace(-1, 1, 101)
        before, after = step[:, None], step[None, :]
        for place, (low, high) in enumerate(_BOUNDS.values()):
            middle, half = (low + high) / 2, (high - low) / 2
            mean, sd = outputs[:, 2 * place], outputs[:, 2 * place + 1]
            square = sd**2 + (mean - middle) ** 2
            noise = [np.abs(each - np.median(each)).mean() for each in (mean, square)]
            # The person who moves mean and mean square together the most, in units of their noise.
            moved = half * np.abs(after - before) / noise[0]
            moved = moved + half**2 * np.abs(after**2 - before**2) / noise[1]
            spent += moved.max() / len(self.base)
        if spent > 1.15 * 2.0:
            raise Wrong(
                f"At ε = 2, the noise of your four numbers adds up to ε = {spent:.1f} for somebody "
                "who is replaced. You release several statistics of the same people: their parts "
                "of ε must add up to ε. And is each sensitivity that of the clipped entries?"
            )
        return (
            f"At ε = 2, the measured noise spends {spent:.2f}; this test allows 15 % more than 2."
        )

    def _audit(
        self, answers: Answers, rng: np.random.Generator, pairs: list[Neighbours], samples: int
    ) -> str:
        mechanism = LearnersMechanism(answers, "prepare", lambda data, epsilon: (*data, epsilon))

        def explain(report: AuditReport) -> str:
            return (
                "You release several statistics of the same people: their parts of ε must add up "
                "to ε. And is each sensitivity that of the clipped entries?"
            )

        # Four numbers hide in each other's noise: at a small ε, an audit of this size sees little.
        epsilons = (0.5, 3.0)
        return audit_answer(
            mechanism, pairs, rng, explain=explain, samples=samples, epsilons=epsilons
        )

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit all four numbers together."""
        told = ("with Ann, 53 years and 50 hours", "with Ben, 90 years and 99 hours, in her place")
        pair = _replaced(self.base, (53.5, 50), (90, 99), told)
        return self._audit(answers, rng, [pair], 12_000)

    def hidden_audit(self, answers: Answers, rng: np.random.Generator) -> None:
        """More pairs: one entry replaced, outliers, people who are all equal, one person."""
        middle = ((53, 50),) * 3
        told = ("with Ann", "with Ben in her place")
        pairs = [
            _replaced(middle, (53, 50), (90, 99), told),
            _replaced(middle, (53, 50), (-1e6, 1e6), told),
            _replaced(self.base, (17, 1), (90, 99), told),
            _replaced((), (17, 1), (90, 99), told),
        ]
        for pair in pairs:
            self._audit(answers, rng, [pair], 8_000)


# ---- 5.3 -----------------------------------------------------------------------------------------


def _means(value: Any, what: str) -> np.ndarray:
    """Accept a list of finite numbers."""
    return np.array([number(each, f"An entry of {what[0].lower() + what[1:]}")
                     for each in column(value, what)])  # fmt: skip


def _plain_means(
    hours: np.ndarray, groups: np.ndarray, size: int, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """Sum and count of each group, half of ε each; hours 1 to 99 around their middle."""
    x = np.clip(hours, 1, 99) - 50
    sums = np.bincount(groups, x, size) + rng.laplace(0, 49 / (epsilon / 2), size)
    counts = np.bincount(groups, minlength=size) + rng.laplace(0, 1 / (epsilon / 2), size)
    return 50 + np.clip(sums / np.maximum(counts, 1), -49, 49)


def _careful_means(
    hours: np.ndarray, groups: np.ndarray, size: int, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """Hours 20 to 60 around 40, and small groups pulled towards 40."""
    x = np.clip(hours, 20, 60) - 40
    scale = 20 / (0.8 * epsilon)
    sums = np.bincount(groups, x, size) + rng.laplace(0, scale, size)
    counts = np.bincount(groups, minlength=size) + rng.laplace(0, 1 / (0.2 * epsilon), size)
    counts = np.maximum(counts, 1)
    # The noise of sum/count has a variance of 2 scale²/count²; the groups' means differ by about 4.
    trust = 16 / (16 + 2 * scale**2 / counts**2)
    return 40 + trust * np.clip(sums / counts, -20, 20)


class GroupMeans(Exercise):
    """Private means by group within one ε."""

    label = "5.3"
    title = "Means by group, one ε"
    points = 4
    kinds = {"group_means": _means}
    hints = (
        "Nobody is in two groups: each group may spend the whole ε (parallel composition). Within "
        "a group, a mean needs a sum and a count: split ε between the two.",
        "Subtract the middle of the bounds before you add up: 98 becomes 49. For a group without "
        "people, divide by at least 1; do not look whether it is empty.",
        "sums = np.bincount(groups, clipped - 50, number) + rng.laplace(0, 49 / (epsilon / 2), "
        "number), counts likewise with 1 / (epsilon / 2). Better: narrower bounds around 40, and "
        "pull small noisy counts towards 40.",
    )
    reference = """
import numpy as np

def group_means(hours, groups, number, epsilon, rng):
    x = np.clip(hours, 20, 60) - 40
    scale = 20 / (0.8 * epsilon)
    sums = np.bincount(groups, x, number) + rng.laplace(0, scale, number)
    counts = np.bincount(groups, minlength=number) + rng.laplace(0, 5 / epsilon, number)
    counts = np.maximum(counts, 1)
    trust = 16 / (16 + 2 * scale**2 / counts**2)
    return 40 + trust * np.clip(sums / counts, -20, 20)
"""
    _template = """
import numpy as np

def group_means(hours, groups, number, epsilon, rng):
    x = np.clip(hours, 1, 99) - 50
    sums = np.bincount(groups, x, number) + rng.laplace(0, 49 / (epsilon / 2), number)
    counts = np.bincount(groups, minlength=number) + rng.laplace(0, 2 / epsilon, number)
    return 50 + np.clip(sums / np.maximum(counts, 1), -49, 49)
"""
    mistakes = (
        Mistake(
            "the exact means",
            """
import numpy as np

def group_means(hours, groups, number, epsilon, rng):
    counts = np.bincount(groups, minlength=number)
    return np.bincount(groups, hours, number) / np.maximum(counts, 1)
""",
            "There is no noise",
        ),
        Mistake(
            "a fixed seed",
            _template.replace("    x =", "    rng = np.random.default_rng(1)\n    x ="),
            "from a fixed seed",
        ),
        Mistake(
            "ε divided among the groups",
            _template.replace("    x =", "    epsilon = epsilon / number\n    x ="),
            "parallel composition",
        ),
        Mistake(
            "not clipped",
            _template.replace("np.clip(hours, 1, 99)", "hours"),
            "One reported week of 1,000,000 hours",
        ),
        Mistake(
            "an empty group is told",
            _template.replace(
                "    return 50 +", "    means = 50 +"
            ).rstrip() + "\n    means[np.bincount(groups, minlength=number) == 0] = 40\n"
            "    return means\n",
            "that betrays its size",
        ),
        Mistake(
            "the exact sizes",
            """
import numpy as np

def group_means(hours, groups, number, epsilon, rng):
    x = np.clip(hours, 1, 99)
    counts = np.maximum(np.bincount(groups, minlength=number), 1)
    means = np.bincount(groups, x, number) / counts
    return means + rng.laplace(0, 98 / counts / epsilon)
""",
            "The size of a group is private, too",
        ),
        Mistake(
            "the whole ε for the sum and for the count",
            _template.replace("49 / (epsilon / 2)", "49 / epsilon").replace("2 / eps", "1 / eps"),
            "sum and count of a group are about the same people",
        ),
    )  # fmt: skip

    @staticmethod
    def _people(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        rows = load_adult().sample(3000, random_state=rng)
        names = sorted(load_adult()["occupation"].unique())
        groups = rows["occupation"].map({name: i for i, name in enumerate(names)}).to_numpy(int)
        return rows["hours_per_week"].to_numpy(float), groups, len(names)

    def test_use(self, answers: Answers, rng: np.random.Generator) -> str:
        """The error over 14 occupations, beside three given solutions.

        The limit is 2.2 times the error of the plain solution. Means of 100 runs over 14 groups
        vary by a few percent, so a plain answer passes in all but one of 10⁶ runs.
        """
        hours, groups, size = self._people(rng)
        sizes = np.bincount(groups, minlength=size)
        exact = np.bincount(groups, hours, size) / np.maximum(sizes, 1)
        outputs = answers.sample("group_means", (hours, groups, size, 1.0), 100, rng)
        if any(len(each) != size for each in outputs):
            raise Wrong(f"Return one mean for each of the {size} groups, in their order.")
        outputs = np.array(outputs)
        there = np.flatnonzero(sizes)  # what becomes of an empty group is another test
        names = [f"group {group}" for group in there]
        _refuse_constant(outputs[:, there], exact[there], names)

        def error(means: Callable[..., np.ndarray], epsilon: float = 1.0) -> float:
            runs = [means(hours, groups, size, epsilon, rng) for _ in range(100)]
            return float(np.abs(np.array(runs) - exact)[:, there].mean())

        careless = error(_plain_means, 1 / size)
        plain, careful = error(_plain_means), error(_careful_means)
        yours = float(np.abs(outputs - exact)[:, there].mean())
        if yours > 2.2 * plain:
            raise Wrong(
                f"The means are off by {yours:.1f} hours, the plain solution by {plain:.1f}, with "
                f"ε divided among the groups {careless:.1f}. The groups are disjoint: use parallel "
                "composition."
            )
        return (
            f"Mean error: yours {yours:.2f} hours; ε divided among the groups {careless:.2f}, "
            f"plain {plain:.2f}, careful {careful:.2f}."
        )

    def test_bounds(self, answers: Answers, rng: np.random.Generator) -> None:
        """No more influence than the bounds allow; an empty group looks like any other."""
        groups = np.zeros(51, dtype=int)
        medians = {}
        for report in (99.0, 1e6):
            hours = np.append(np.full(50, 40.0), report)
            outputs = answers.sample("group_means", (hours, groups, 1, 50.0), 100, rng)
            medians[report] = np.median([each[0] for each in outputs])
        if abs(medians[1e6] - medians[99.0]) > 5:
            raise Wrong(
                f"One reported week of 1,000,000 hours among 51 moves the mean from "
                f"{medians[99.0]:.1f} to {medians[1e6]:,.1f}. Clip the reports first."
            )
        # Groups of 0, 1, … 40 people, who all work 50 hours.
        sizes = np.arange(41)
        groups = np.repeat(sizes, sizes)
        arguments = (np.full(len(groups), 50.0), groups, 41, 0.5)
        outputs = np.array(answers.sample("group_means", arguments, 200, rng))
        for size in range(40):
            always = outputs[0, size]
            # A share of 1 against e^-ε = 61 % at least: 60 of 200 lie nine standard errors below.
            if np.ptp(outputs[:, size]) == 0 and (outputs[:, size + 1] == always).sum() < 60:
                raise Wrong(
                    f"A group of {size} always gets {always:g}, one of {size + 1} hardly ever: "
                    "that betrays its size. Decide by noisy counts, or treat all groups alike."
                )

    @staticmethod
    def _pairs(hidden: bool) -> Iterator[Neighbours]:
        def pair(hours: list[float], ann: float, group: int, size: int) -> Neighbours:
            told = (f"with Ann, {ann:g} hours, in group {group}", "without Ann")
            groups = np.arange(len(hours)) % size
            one = (np.array([*hours, ann]), np.append(groups, group), size)
            return Neighbours(one, (np.array(hours, dtype=float), groups, size), told)

        if not hidden:
            yield pair([1.0, 1.0, 1.0], 99.0, 0, 1)
            yield pair([50.0], 50.0, 0, 1)
        else:
            yield pair([99.0, 99.0, 99.0], 1.0, 0, 1)
            yield pair([], 99.0, 0, 1)
            yield pair([50.0] * 4, 99.0, 1, 2)
            yield pair([1.0] * 6, 1e6, 0, 2)
            yield pair([], -1e6, 2, 3)
            yield pair([60.0] * 3, 20.0, 0, 1)

    def _audit(self, answers: Answers, rng: np.random.Generator, hidden: bool) -> str:
        mechanism = LearnersMechanism(answers, "group_means", lambda data, eps: (*data, eps))

        def explain(report: AuditReport) -> str:
            if self._scale_shows_size(answers, rng):
                return (
                    "The size of a group is private, too: your noise is narrower where a group is "
                    "larger, by exactly its size."
                )
            return (
                "The sum and count of a group are about the same people: their parts of ε must "
                "add up to ε. Is every number that you use noisy, and is the sum's sensitivity "
                "that of the clipped hours?"
            )

        # Sizes show at a small ε: there, the narrower noise of two people against one stands out.
        options = {"explain": explain, "samples": 12_000, "epsilons": (0.1, 0.5, 1.5)}
        told = [
            audit_answer(mechanism, [neighbours], rng, **options)
            for neighbours in self._pairs(hidden)
        ]
        return told[0]

    @staticmethod
    def _scale_shows_size(answers: Answers, rng: np.random.Generator) -> bool:
        """Tell whether the noise on equal hours shrinks with exactly 1/n, from n = 1 to n = 2."""

        def spread(n: int) -> float:
            arguments = (np.full(n, 50.0), np.zeros(n, dtype=int), 1, 1.0)
            runs = answers.sample("group_means", arguments, 2000, rng)
            return float(np.median(np.abs(np.array(runs)[:, 0] - 50)))

        return math.isclose(spread(1) / max(spread(4), 1e-9), 4, rel_tol=0.15)

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit all means together."""
        return self._audit(answers, rng, hidden=False)

    def hidden_audit(self, answers: Answers, rng: np.random.Generator) -> None:
        """More pairs."""
        self._audit(answers, rng, hidden=True)


q1 = DespiteLies()
q2 = Prepare()
q3 = GroupMeans()
EXERCISES = (q1, q2, q3)
