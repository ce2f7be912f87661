"""Exercises of lesson 03: randomised response, a noisy count and histogram, a private mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..audit import AuditReport
from ..data import load_adult
from ..exercise import Answers, Exercise, Mistake, Wrong, mapping, number
from .audited import EPSILONS, SAMPLES, LearnersMechanism, Neighbours, audit_answer

#: Calls behind each measured share or scale. A share is then within 0.04 of the truth, a mean of
#: absolute Laplace noise within 8 %, each at five standard errors: missed once in 1.7 million.
CALLS = 4_000

#: How much more noise than Laplace's is forgiven. Rounding down costs 18 % at ε = 1.5.
MOST_NOISE = 1.3

#: How much less noise than that of the best mechanism, whose 4,000 calls are 12 % below what is
#: expected once in two million times.
LEAST_NOISE = 0.88


# ---- 3.1 ---------------------------------------------------------------------------------------


def _bit(value: Any, what: str) -> int:
    """Accept 0, 1, True or False."""
    if not isinstance(value, bool | np.bool_):
        value = number(value, what)
        if value not in (0, 1):
            raise Wrong(f"{what} should be one bit, 0 or 1, but it is {value:.3g}.")
    return int(value)


def _truth_probability(epsilon: float) -> float:
    return float(1 / (1 + np.exp(-epsilon)))


class RandomisedResponse(Exercise):
    """Lie just often enough for ε, and correct for the lies."""

    label = "3.1"
    title = "Randomised response for any ε"
    kinds = {"respond": _bit, "estimate": number}
    hints = (
        "p = np.exp(epsilon) / (1 + np.exp(epsilon)). `rng.random() < p` happens with probability "
        "p. What is the opposite of a bit?",
        "Of a share s of yes, the answers show s·p + (1 − s)·(1 − p). Which s fits the share that "
        "you see?",
        "respond: return truth if rng.random() < p else 1 - truth. estimate: "
        "(np.mean(answers) - (1 - p)) / (2 * p - 1), with the same p.",
    )
    reference = """
import numpy as np

def respond(truth, epsilon, rng):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return truth if rng.random() < p else 1 - truth

def estimate(answers, epsilon):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return (np.mean(answers) - (1 - p)) / (2 * p - 1)
"""
    _respond = """
import numpy as np

def respond(truth, epsilon, rng):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return truth if rng.random() < p else 1 - truth
"""
    _estimate = """
def estimate(answers, epsilon):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return (np.mean(answers) - (1 - p)) / (2 * p - 1)
"""
    mistakes = (
        Mistake(
            "always the truth",
            """
import numpy as np

def respond(truth, epsilon, rng):
    return truth
"""
            + _estimate,
            "always tells the truth",
        ),
        Mistake(
            "a coin in place of a lie",
            """
import numpy as np

def respond(truth, epsilon, rng):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return truth if rng.random() < p else int(rng.random() < 0.5)
"""
            + _estimate,
            "a fair coin tells the truth half of the time",
        ),
        Mistake(
            "only a yes is protected",
            """
import numpy as np

def respond(truth, epsilon, rng):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return 1 if truth and rng.random() < p else 0
"""
            + _estimate,
            "treats the two truths differently",
        ),
        Mistake(
            "noise from a fixed seed",
            """
import numpy as np

def respond(truth, epsilon, rng):
    rng = np.random.default_rng(42)
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return truth if rng.random() < p else 1 - truth
"""
            + _estimate,
            "says the opposite of the truth every time",
        ),
        Mistake(
            "truth and lie swapped",
            """
import numpy as np

def respond(truth, epsilon, rng):
    p = 1 / (1 + np.exp(epsilon))
    return truth if rng.random() < p else 1 - truth
"""
            + _estimate,
            "lies more often than",
        ),
        Mistake(
            "half the budget",
            """
import numpy as np

def respond(truth, epsilon, rng):
    p = np.exp(epsilon / 2) / (1 + np.exp(epsilon / 2))
    return truth if rng.random() < p else 1 - truth
"""
            + _estimate,
            "lies more than it must",
        ),
        Mistake(
            "share of yes without correction",
            _respond
            + """
def estimate(answers, epsilon):
    return np.mean(answers)
""",
            "without a correction",
        ),
        Mistake(
            "not stretched",
            _respond
            + """
def estimate(answers, epsilon):
    p = np.exp(epsilon) / (1 + np.exp(epsilon))
    return np.mean(answers) - (1 - p)
""",
            "divide by 2p − 1",
        ),
    )

    def _rates(
        self, answers: Answers, rng: np.random.Generator, epsilons: Sequence[float] = EPSILONS
    ) -> dict[float, tuple[float, float]]:
        """Measure how often a yes is answered truly, and how often a no."""
        rates = {}
        for epsilon in epsilons:
            yes = np.mean(answers.sample("respond", (1, epsilon), CALLS, rng))
            no = 1 - np.mean(answers.sample("respond", (0, epsilon), CALLS, rng))
            if (yes, no) in ((1, 0), (0, 1)):
                word = "yes" if yes else "no"
                raise Wrong(f"`respond` says {word} {2 * CALLS:,} times, whatever the truth is: "
                            "private, but nothing can be learnt from it.")  # fmt: skip
            rates[epsilon] = (float(yes), float(no))
        return rates

    @staticmethod
    def _why(yes: float, no: float, epsilon: float) -> str:
        """Say what may be wrong, of the shares of true answers."""
        p = _truth_probability(epsilon)
        if yes == no == 1:
            return "It always tells the truth. Or does it make the same random numbers each time?"
        if yes == no == 0:
            return (f"It says the opposite of the truth every time (ε = {epsilon:g}), which says "
                    "as much as the truth. Draw from the `rng` that you are given, not from one "
                    "with a fixed seed.")  # fmt: skip
        if abs(yes - no) > 0.08:
            return (
                f"It treats the two truths differently: a yes is answered truly in {yes:.0%} of "
                f"the cases, a no in {no:.0%}. Both must be {p:.1%}."
            )
        told = f"It tells the truth in {(yes + no) / 2:.1%} of the cases; ε allows {p:.1%}."
        if abs((yes + no) / 2 - (1 + p) / 2) < 0.03:
            return (
                f"{told} Do you toss a fair coin where you should lie? Then a fair coin tells the "
                "truth half of the time. Answer the opposite instead."
            )
        return told

    def test_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit an answer: a yes against a no."""
        rates = self._rates(answers, rng)
        pairs = [Neighbours(1, 0, ("with a truth of yes", "with a truth of no"))]
        return audit_answer(
            LearnersMechanism(answers, "respond"),
            pairs,
            rng,
            explain=lambda report: self._why(*rates[report.epsilon], report.epsilon),
        )

    def test_honest(self, answers: Answers, rng: np.random.Generator) -> None:
        """Lie no more than ε asks for."""
        self._compare_rates(self._rates(answers, rng))

    @staticmethod
    def _compare_rates(rates: dict[float, tuple[float, float]]) -> None:
        for epsilon, shares in rates.items():
            p = _truth_probability(epsilon)
            for truth, share in zip(("yes", "no"), shares, strict=True):
                # CALLS answers: five standard errors are 0.04 at most.
                if abs(share - p) <= 0.04:
                    continue
                told = (
                    f"At ε = {epsilon:g} a {truth} should be answered truly in {p:.1%} of the "
                    f"cases; here it is in {share:.1%}."
                )
                if share < 0.45:
                    raise Wrong(f"{told} It lies more often than it tells the truth. Which of the "
                                "two has the probability p?")  # fmt: skip
                if share < p:
                    raise Wrong(f"{told} It lies more than it must: private, but the estimate gets "
                                "worse. Look at the formula of p.")  # fmt: skip
                raise Wrong(f"{told} Look at the formula of p.")

    def _compare_estimate(
        self, answers: Answers, truth: np.ndarray, epsilon: float, rng: np.random.Generator
    ) -> None:
        p = _truth_probability(epsilon)
        given = np.where(rng.random(len(truth)) < p, truth, 1 - truth)
        seen = given.mean()
        right = (seen - (1 - p)) / (2 * p - 1)
        got = answers.estimate(given, epsilon)
        # Clipping to 0 … 1 and rounding to two digits is post-processing.
        if min(abs(got - right), abs(got - np.clip(right, 0, 1))) <= 0.0051:
            return
        told = (
            f"Of {len(given):,} randomised answers, {seen:.1%} are yes at ε = {epsilon:g}. That "
            f"points to {np.clip(right, 0, 1):.1%} of the people; you say {got:.1%}."
        )
        for value, why in (
            (seen, "That is the share of yes among the answers, without a correction for lies."),
            (seen - (1 - p), "The lies 1 − p are gone, but the scale is still that of the answers: "
                             "divide by 2p − 1."),
            (seen / (2 * p - 1), "Before you divide, subtract the share 1 − p."),
            (seen / p, "Dividing by p forgets the people whose no became a yes."),
            (1 - right, "That is the share of no."),
            (100 * right, "Return a share, not a percentage."),
            (len(given) * right, "Return a share, not a number of people."),
            (2 * (seen - 0.25), "That is the correction for the two coins. Here, p depends on ε."),
        ):  # fmt: skip
            if abs(got - value) < 1e-6 * max(1, abs(value)):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)

    def test_estimate(self, answers: Answers, rng: np.random.Generator) -> None:
        """Estimate from answers that were randomised correctly."""
        for epsilon in EPSILONS:
            for share in (0.1, 0.4, 0.9):
                truth = (np.arange(5_000) < share * 5_000).astype(int)
                self._compare_estimate(answers, truth, epsilon, rng)

    def test_survey(self, answers: Answers, rng: np.random.Generator) -> str:
        """Ask people of Adult."""
        people = load_adult().sample(5_000, random_state=rng)
        truth, epsilon = int((people["income"] == ">50K").sum()), 1.5
        given = answers.sample("respond", (1, epsilon), truth, rng)
        given += answers.sample("respond", (0, epsilon), len(people) - truth, rng)
        got, share = answers.estimate(np.array(given), epsilon), truth / len(people)
        p = _truth_probability(epsilon)
        error = np.sqrt(p * (1 - p) / len(people)) / (2 * p - 1)
        # Five standard errors, and the rounding that the test before forgives.
        if abs(got - share) > 5 * error + 0.0051:
            raise Wrong(f"Of 5,000 people {share:.1%} earn more than 50,000 dollars; your survey "
                        f"says {got:.1%}. Do `respond` and `estimate` use the same p?")  # fmt: skip
        return (
            f"Of 5,000 people {share:.1%} earn more than 50,000 dollars. Your survey at ε = 1.5 "
            f"says {got:.1%}, with a standard error of {error:.1%}."
        )

    def hidden_other_epsilons(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other ε, few answers, all alike."""
        self._compare_rates(self._rates(answers, rng, (0.1, 1.0, 3.0)))
        for epsilon in (0.1, 1.0, 3.0):
            for truth in (np.ones(1, int), np.zeros(40, int), rng.integers(2, size=3_000)):
                self._compare_estimate(answers, truth, epsilon, rng)


# ---- 3.2 ---------------------------------------------------------------------------------------


def _noise_told(deviation: Mapping[float, float]) -> str:
    """Say what noise may be behind its mean absolute size, which should be 1/ε, at each ε."""
    ratios = np.array([deviation[epsilon] * epsilon for epsilon in EPSILONS])
    epsilons = np.array(EPSILONS)
    measured = ", ".join(f"{deviation[e]:.2f} at ε = {e:g}" for e in EPSILONS)
    asked = ", ".join(f"{1 / e:.2f}" for e in EPSILONS)
    told = f"The mean size of your noise is {measured}; Laplace noise of scale 1/ε has {asked}."
    for wrong, why in (
        (epsilons**2, "That is a scale of ε: less noise for more privacy. Divide by ε."),
        (np.sqrt(epsilons), "That is a scale of 1/√ε. Divide by ε itself."),
        (1 / epsilons, "That is a scale of 1/ε². Divide by ε itself."),
        (epsilons, "It is the same for every ε."),
        (np.sqrt(2 / np.pi) * np.ones(2), "That is 0.8 times the noise that is asked for. Is it "
                                          "normal noise? Its tails are too thin for pure ε: far "
                                          "from the truth, the odds grow without end."),
    ):  # fmt: skip
        if np.allclose(ratios, wrong, rtol=0.09):
            return f"{told} {why}"
    if np.allclose(ratios, 1, rtol=0.15):
        return f"{told} The size is right. Is it Laplace noise, fresh and alike for all data?"
    if abs(ratios[0] - ratios[1]) < 0.16 * ratios.max():
        return f"{told} That is {ratios.mean():.1f} times the noise that is asked for."
    return told


#: What every pair of exercise 3.2 counts: the values above it.
_THRESHOLD = 50.0


def _ann(name: str, values: Sequence[float], ann: float) -> Neighbours:
    """Ann's value in the data, and not."""
    pair = (np.array([*values, ann]), np.array(values, dtype=float))
    return Neighbours(*pair, (f"with Ann ({name})", "without her"))


_COUNT_PAIRS = (
    _ann("alone, above the threshold", [], 60.0),
    _ann("one of six, above it", [20.0, 60.0, 30.0, 70.0, 50.0], 80.0),
    _ann("one of eight, all above it", [51.0] * 7, 51.0),
    _ann("an outlier of a million", [20.0, 60.0, 70.0], 1e6),
    _ann("below the threshold", [60.0, 70.0], 20.0),
)
_HIDDEN_COUNT_PAIRS = (
    _ann("an outlier of minus a million", [60.0, 70.0, 40.0], -1e6),
    _ann("alone, below the threshold", [], 20.0),
    _ann("one of forty", [40.0, 60.0] * 20, 55.0),
    _ann("just above the threshold", [50.0] * 9, 50.000001),
)


class NoisyCount(Exercise):
    """Count with Laplace noise."""

    label = "3.2"
    title = "A noisy count"
    kinds = {"noisy_count": number}
    hints = (
        "First the exact count. By how much does it change at most if one person is added or "
        "removed?",
        "By 1: the sensitivity. The scale of Laplace noise is sensitivity / epsilon.",
        "return np.sum(values > threshold) + rng.laplace(0, 1 / epsilon)",
    )
    reference = """
import numpy as np

def noisy_count(values, threshold, epsilon, rng):
    return np.sum(values > threshold) + rng.laplace(0, 1 / epsilon)
"""
    mistakes = tuple(
        Mistake(
            name,
            f"import numpy as np\n\ndef noisy_count(values, threshold, epsilon, rng):\n{body}\n",
            says,
        )
        for name, body, says in (
            ("no noise", "    return int(np.sum(values > threshold))", "without any noise"),
            (
                "values at the threshold are counted",
                "    return np.sum(values >= threshold) + rng.laplace(0, 1 / epsilon)",
                "exactly at the threshold",
            ),
            (
                "the scale is ε",
                "    return np.sum(values > threshold) + rng.laplace(0, epsilon)",
                "less noise for more privacy",
            ),
            (
                "half the noise",
                "    return np.sum(values > threshold) + rng.laplace(0, 0.5 / epsilon)",
                "0.5 times the noise",
            ),
            (
                "the square root of the budget",
                "    return np.sum(values > threshold) + rng.laplace(0, 1 / np.sqrt(epsilon))",
                "1/√ε",
            ),
            (
                "noise from a fixed seed",
                "    rng = np.random.default_rng(7)\n"
                "    return np.sum(values > threshold) + rng.laplace(0, 1 / epsilon)",
                "the same noise every time",
            ),
            (
                "noise in one direction only",
                "    return np.sum(values > threshold) + abs(rng.laplace(0, 1 / epsilon))",
                "never below",
            ),
            (
                "twice the noise",
                "    return np.sum(values > threshold) + rng.laplace(0, 2 / epsilon)",
                "private, but noisier than necessary",
            ),
        )
    )

    @staticmethod
    def _people(rng: np.random.Generator) -> np.ndarray:
        """Return ages, some of them exactly at the threshold."""
        ages = load_adult()["age"].sample(400, random_state=rng).to_numpy(float)
        return np.append(ages, [_THRESHOLD] * 25)

    def _noise(self, answers: Answers, rng: np.random.Generator) -> dict[float, np.ndarray]:
        """Return what is added to the exact count, at each ε; refuse what is no noisy count."""
        values = self._people(rng)
        noise = {}
        for epsilon in EPSILONS:
            outputs = answers.sample("noisy_count", (values, _THRESHOLD, epsilon), CALLS, rng)
            noise[epsilon] = np.array(outputs) - np.sum(values > _THRESHOLD)
            self._check_centre(values, noise[epsilon], epsilon)
        return noise

    @staticmethod
    def _check_centre(values: np.ndarray, noise: np.ndarray, epsilon: float) -> None:
        exact, middle = int(np.sum(values > _THRESHOLD)), float(np.mean(noise))
        told = (
            f"Of {len(values)} ages {exact} exceed {_THRESHOLD:g}. At ε = {epsilon:g}, {CALLS:,} "
            f"answers are {exact + middle:.1f} on average."
        )
        # Rounding down moves the mean by 0.5; chance moves it by five standard errors at most.
        if abs(middle) > 0.55 + 5 * np.std(noise) / np.sqrt(CALLS):
            for value, why in (
                (np.sum(values >= _THRESHOLD), "Those exactly at the threshold do not exceed it."),
                (np.sum(values < _THRESHOLD), "That is how many are below the threshold."),
                (np.sum(values <= _THRESHOLD), "That is how many do not exceed it."),
                (np.mean(values > _THRESHOLD), "Return a number of people, not a share."),
            ):
                if abs(exact + middle - value) < 0.75:
                    raise Wrong(f"{told} {why}")
            if 0 <= np.min(noise) < 1 and abs(middle * epsilon - 1) < 0.3:
                raise Wrong(f"{told} None is ever below the exact count, as noise in one direction "
                            "is: an answer never below the truth rules smaller counts "
                            "out.")  # fmt: skip
            if np.ptp(noise):
                raise Wrong(f"{told} Noise should be 0 on average.")
        if not np.ptp(noise):
            if middle:
                raise Wrong(
                    f"{told} They are all equal: the same noise every time, which is subtracted "
                    "as soon as one count is known. Draw it from `rng` at each call."
                )
            raise Wrong(f"{told} All are the exact count, without any noise. Two such answers, "
                        "with and without Ann, tell her apart with certainty.")  # fmt: skip

    def test_count(self, answers: Answers, rng: np.random.Generator) -> None:
        """The noise is there, and 0 on average."""
        self._noise(answers, rng)

    def _audit(
        self, answers: Answers, pairs: Sequence[Neighbours], rng: np.random.Generator
    ) -> str:
        sizes = _sizes(self._noise(answers, rng))
        mechanism = LearnersMechanism(
            answers, "noisy_count", lambda values, epsilon: (values, _THRESHOLD, epsilon)
        )
        told = audit_answer(mechanism, pairs, rng, explain=lambda report: _noise_told(sizes))
        _check_size(sizes, "One person moves a count by 1.")
        errors = ", ".join(f"{size:.2f} at ε = {epsilon:g}" for epsilon, size in sizes.items())
        return f"{told} Mean error: {errors}."

    def test_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit the count; no more noise than needed."""
        return self._audit(answers, _COUNT_PAIRS, rng)

    def hidden_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit further pairs."""
        return self._audit(answers, _HIDDEN_COUNT_PAIRS, rng)

    def hidden_elsewhere(self, answers: Answers, rng: np.random.Generator) -> None:
        """Another threshold, more people, another ε: the same kind of noise."""
        people, threshold = int(rng.integers(1_000, 3_000)), float(rng.integers(25, 45))
        values = load_adult()["age"].sample(people, random_state=rng).to_numpy(float)
        epsilon = float(rng.uniform(0.2, 0.4))
        outputs = answers.sample("noisy_count", (values, threshold, epsilon), CALLS, rng)
        _check_elsewhere(np.array(outputs) - np.sum(values > threshold), epsilon)


def _check_elsewhere(added: np.ndarray, epsilon: float) -> None:
    """Refuse noise that is not what a count needs at a small ε, within five standard errors."""
    size, middle = float(np.abs(added).mean()), float(added.mean())
    error = 5 / np.sqrt(len(added)) / epsilon  # Laplace noise: |noise| deviates by 1/ε
    if abs(middle) > 0.55 + 1.5 * error or not 1 / epsilon - error - 0.1 < size < 1.5 / epsilon:
        raise Wrong(
            f"On other data, at ε = {epsilon:.2f}, what you add is {middle:.1f} on average, and "
            f"{size:.2f} in size; 0 and {1 / epsilon:.2f} are right. Use the arguments that you "
            "are given, whatever they are, and the same noise for few and many people."
        )


def _sizes(noise: Mapping[float, np.ndarray]) -> dict[float, float]:
    """Return the mean absolute size of the noise at each ε."""
    return {epsilon: float(np.abs(added).mean()) for epsilon, added in noise.items()}


def _check_size(sizes: Mapping[float, float], why: str) -> None:
    """Refuse noise that is larger than needed, or so small that the audit must have missed it.

    The geometric mechanism has the least expected error of all ε-DP counts, 1 / sinh ε (Ghosh,
    Roughgarden and Sundararajan, "Universally Utility-Maximizing Privacy Mechanisms", 2009). An
    audit misses a factor of 1.4 once in twenty times.
    """
    for epsilon, size in sizes.items():
        # A mean size is within 8 % of what is expected: see CALLS.
        if size * np.sinh(epsilon) < LEAST_NOISE:
            raise Wrong(f"The noise is too small, though the audit missed it. {_noise_told(sizes)}")
    if any(size * epsilon > MOST_NOISE for epsilon, size in sizes.items()):
        raise Wrong(f"This is private, but noisier than necessary. {_noise_told(sizes)} {why}")


# ---- 3.3 ---------------------------------------------------------------------------------------

_BINS = ["school", "high school", "college", "degree", "doctorate"]


def _counts(value: Any, what: str) -> dict | list:
    """Accept a dict of numbers, or a list, tuple, array or column of numbers in order."""
    if isinstance(value, pd.Series):
        # Of value_counts: the index says the bins. Otherwise the order does.
        texts = all(isinstance(name, str) for name in value.index)
        value = value.to_dict() if texts else value.tolist()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [number(each, f"Entry {i} of what `noisy_histogram` returns")
                for i, each in enumerate(value)]  # fmt: skip
    if not isinstance(value, dict):
        raise Wrong(f"{what} should be a dict with a number for each bin, or a list in the order "
                    f"of the bins, but it is a {type(value).__name__}.")  # fmt: skip
    mapping(value, what)
    return {name: number(each, f"The count of {str(name)[:20]!r}") for name, each in value.items()}


def _vector(output: dict | list, values: Sequence[str]) -> list[float]:
    """Return the counts in the order of the bins; refuse a histogram of other bins."""
    told = f"For values without any {_absent(values)!r}" if _absent(values) else "Here"
    if isinstance(output, dict):
        missing = [name for name in _BINS if name not in output]
        strange = [str(name)[:20] for name in output if name not in _BINS]
        if missing:
            raise Wrong(
                f"{told} your histogram has no bin {missing[0]!r}. The bin appears as soon as one "
                "person is in it: that is a proof, whatever the noise. Release all public bins."
            )
        if strange:
            raise Wrong(f"{told} your histogram has a bin {strange[0]!r}, which is not public.")
        return [output[name] for name in _BINS]
    if len(output) != len(_BINS):
        raise Wrong(f"{told} your histogram has {len(output)} counts for {len(_BINS)} bins. The "
                    "length must not depend on the data: release all public bins.")  # fmt: skip
    return list(output)


def _absent(values: Sequence[str]) -> str | None:
    return next((name for name in _BINS if name not in values), None)


class _LearnersHistogram(LearnersMechanism):
    """A learner's histogram, as the list of its counts."""

    def many(
        self, pair: tuple[Any, Any], choices: list[int], epsilon: float, rng: np.random.Generator
    ) -> list[Any]:
        outputs = super().many(pair, choices, epsilon, rng)
        what = "What `noisy_histogram` returns"
        return [np.array(_vector(_counts(each, what), pair[choice]))
                for each, choice in zip(outputs, choices, strict=True)]  # fmt: skip


class _OrderOfBins(LearnersMechanism):
    """The order in which a learner's histogram names the bins: it is an output, too."""

    def many(
        self, pair: tuple[Any, Any], choices: list[int], epsilon: float, rng: np.random.Generator
    ) -> list[Any]:
        outputs = super().many(pair, choices, epsilon, rng)
        return [", ".join(map(str, _names(each))) for each in outputs]


def _names(output: Any) -> list:
    """Return the names of the bins in the order given; of a list, none."""
    if isinstance(output, pd.Series):
        return output.index.tolist()
    return list(output) if isinstance(output, dict) else []


def _joins(name: str, others: Sequence[str], ann: str) -> Neighbours:
    pair = ([*others, ann], list(others))
    return Neighbours(*pair, (f"with Ann ({name})", "without her"))


_HISTOGRAM_PAIRS = (
    _joins("alone", [], "degree"),
    _joins("the first in her bin", ["school"] * 3 + ["college"] * 2, "doctorate"),
    _joins("all alike", ["school"] * 6, "school"),
    _joins("every bin in use", _BINS * 4, "college"),
)
_HIDDEN_HISTOGRAM_PAIRS = (
    _joins("the first in the first bin", ["degree"] * 5, "school"),
    _joins("the last bin", _BINS * 2 + ["doctorate"] * 9, "doctorate"),
    _joins("one of two", ["high school"], "high school"),
)


class NoisyHistogram(Exercise):
    """Release all public bins, each with noise of its own."""

    label = "3.3"
    title = "A noisy histogram"
    points = 2
    kinds = {"noisy_histogram": _counts}
    #: A learner's pandas takes 0.7 ms a call: 18,000 calls stay well below the time limit.
    samples = 8_000
    hints = (
        "Go through `bins`, not through the values: which bins would a reader see if nobody were "
        "in the last one?",
        "Ann is in one bin. Added or removed, she moves that count by 1 and no other. Each count "
        "gets noise of its own, of scale 1/ε.",
        "{name: values.count(name) + rng.laplace(0, 1 / epsilon) for name in bins}",
    )
    reference = """
def noisy_histogram(values, bins, epsilon, rng):
    return {name: values.count(name) + rng.laplace(0, 1 / epsilon) for name in bins}
"""
    mistakes = tuple(
        Mistake(
            name,
            f"import numpy as np\n\ndef noisy_histogram(values, bins, epsilon, rng):\n{body}\n",
            says,
        )
        for name, body, says in (
            (
                "the most frequent bin first",
                "    order = sorted(bins, key=lambda name: -values.count(name))\n"
                "    return {b: values.count(b) + rng.laplace(0, 1 / epsilon) for b in order}",
                "The order of your bins",
            ),
            (
                "only the bins that occur",
                "    return {b: values.count(b) + rng.laplace(0, 1 / epsilon)"
                " for b in sorted(set(values))}",
                "appears as soon as one",
            ),
            (
                "no noise on empty bins",
                "    counts = {b: values.count(b) for b in bins}\n"
                "    return {b: n + rng.laplace(0, 1 / epsilon) if n else 0"
                " for b, n in counts.items()}",
                "empty bin",
            ),
            (
                "no noise",
                "    return [values.count(b) for b in bins]",
                "without any noise",
            ),
            (
                "one noise for all bins",
                "    noise = rng.laplace(0, 1 / epsilon)\n"
                "    return [values.count(b) + noise for b in bins]",
                "All bins get the same noise",
            ),
            (
                "the scale is ε",
                "    return [values.count(b) + rng.laplace(0, epsilon) for b in bins]",
                "less noise for more privacy",
            ),
            (
                "half the noise",
                "    return [values.count(b) + rng.laplace(0, 0.5 / epsilon) for b in bins]",
                "0.5 times the noise",
            ),
            (
                "ε divided among the bins",
                "    return [values.count(b) + rng.laplace(0, len(bins) / epsilon) for b in bins]",
                "is in one bin only",
            ),
            (
                "the sensitivity of replacing",
                "    return [values.count(b) + rng.laplace(0, 2 / epsilon) for b in bins]",
                "if one record is replaced",
            ),
        )
    )

    def _noise(self, answers: Answers, rng: np.random.Generator) -> dict[float, np.ndarray]:
        """Return the noise of four full bins, a row a call; refuse what is no noisy histogram."""
        # Large counts: clipping at 0 does not show. The last bin is empty.
        values = [name for name in _BINS[:-1] for _ in range(int(rng.integers(60, 90)))]
        exact = np.array([values.count(name) for name in _BINS])
        noise = {}
        for epsilon in EPSILONS:
            outputs = answers.sample("noisy_histogram", (values, _BINS, epsilon), CALLS // 4, rng)
            added = np.array([_vector(each, values) for each in outputs]) - exact
            noise[epsilon] = added[:, :-1]
            self._check_noise(added, exact, epsilon)
        return noise

    @staticmethod
    def _check_noise(added: np.ndarray, exact: np.ndarray, epsilon: float) -> None:
        middle = added[:, :-1].mean(axis=0)
        for name, column, shift in zip(_BINS[:-1], added.T[:-1], middle, strict=True):
            if np.ptp(column) == 0:
                how = "with the same noise" if shift else "without any noise"
                raise Wrong(f"At ε = {epsilon:g} the count of {name!r} is the same in "
                            f"{len(added):,} calls, {how}. Draw fresh noise at each "
                            "call.")  # fmt: skip
        # Rounding down moves a mean by 0.5; chance moves it by five standard errors at most.
        if (np.abs(middle) > 0.55 + 5 * added[:, :-1].std(axis=0) / np.sqrt(len(added))).any():
            worst = int(np.abs(middle).argmax())
            raise Wrong(
                f"{exact[worst]} values are {_BINS[worst]!r}; at ε = {epsilon:g} your histogram "
                f"says {abs(exact[worst] + middle[worst]):.1f} on average of {len(added):,} calls. "
                "Is the order that of `bins`? Is the noise 0 on average?"
            )
        if np.ptp(added[:, -1]) == 0:
            raise Wrong(
                f"Nobody is {_BINS[-1]!r}, and at ε = {epsilon:g} you say {added[0, -1]:g} in all "
                f"of {len(added):,} calls. With one person the count is noisy: an empty bin that "
                "never varies gives away that nobody is in it."
            )
        # Bins with noise of their own: a correlation beyond 0.2 is over eight standard errors.
        if np.abs(np.corrcoef(added[:, :-1].T) - np.eye(len(_BINS) - 1)).max() > 0.8:
            raise Wrong(
                f"All bins get the same noise (ε = {epsilon:g}): subtract two counts and it is "
                "gone. Draw noise for each bin."
            )

    def test_bins(self, answers: Answers, rng: np.random.Generator) -> None:
        """All public bins, for any values."""
        for values in ([], ["degree"], _BINS * 3):
            for output in answers.sample("noisy_histogram", (values, _BINS, 1.0), 3, rng):
                _vector(output, values)

    def _audit(
        self, answers: Answers, pairs: Sequence[Neighbours], rng: np.random.Generator
    ) -> str:
        sizes = _sizes(self._noise(answers, rng))
        mechanism = _LearnersHistogram(
            answers, "noisy_histogram", lambda values, epsilon: (values, _BINS, epsilon)
        )
        told = audit_answer(
            mechanism, pairs, rng, explain=lambda report: _noise_told(sizes), samples=self.samples
        )
        twice = abs(np.mean([size * epsilon for epsilon, size in sizes.items()]) - 2) < 0.2
        _check_size(
            sizes,
            "2/ε is needed if one record is replaced; here one is added or removed."
            if twice
            else "Ann is in one bin only: each bin may use the whole ε.",
        )
        errors = ", ".join(f"{size:.2f} at ε = {epsilon:g}" for epsilon, size in sizes.items())
        return f"{told} Mean error of a bin: {errors}."

    def test_order(self, answers: Answers, rng: np.random.Generator) -> None:
        """Audit the order of the bins by itself."""
        mechanism = _OrderOfBins(
            answers, "noisy_histogram", lambda values, epsilon: (values, _BINS, epsilon)
        )
        told = (
            "The order of your bins depends on the true counts, and it is an output, too. Keep "
            "the order of `bins`, or sort by the noisy counts."
        )
        options = {"explain": lambda report: told, "samples": 6_000}
        audit_answer(mechanism, _HISTOGRAM_PAIRS[:1], rng, **options)
        audit_answer(mechanism, [_joins("alone", [], _BINS[-1])], rng, **options)

    def test_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit the histogram; each bin has noise of its own, no more than needed."""
        return self._audit(answers, _HISTOGRAM_PAIRS, rng)

    def hidden_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit further pairs."""
        return self._audit(answers, _HIDDEN_HISTOGRAM_PAIRS, rng)

    def hidden_elsewhere(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other bins, with many people, few and none; another ε."""
        bins, counts = ["red", "green", "blue", "black"], [0, 3, 40, 300]
        values = [name for name, count in zip(bins, counts, strict=True) for _ in range(count)]
        epsilon = float(rng.uniform(0.2, 0.4))
        outputs = answers.sample("noisy_histogram", (values, bins, epsilon), CALLS, rng)
        for place, (name, count) in enumerate(zip(bins, counts, strict=True)):
            if any(isinstance(each, dict) and set(each) != set(bins) for each in outputs):
                raise Wrong(f"The bins are {', '.join(bins)} here; take them from `bins`.")
            got = [each[name] if isinstance(each, dict) else each[place] for each in outputs]
            _check_elsewhere(np.array(got) - count, epsilon)


# ---- 3.4 ---------------------------------------------------------------------------------------


def _one_more(
    name: str, others: Sequence[float], ann: float, low: float = -10.0, high: float = 10.0
) -> Neighbours:
    pair = (np.array([*others, ann]), np.array(others, dtype=float))
    names = (f"with Ann ({name})", "without her")
    return Neighbours((pair[0], low, high), (pair[1], low, high), names)


# A high sum goes with a small number of records where Ann is at the lower bound: there a mean that
# spends ε twice shows most. Bounds on both sides of 0 make that so for every way to write the sum.
_MEAN_PAIRS = (
    _one_more("alone, at the upper bound", [], 10.0),
    _one_more("at the lower bound, four at the upper", [10.0] * 4, -10.0),
    _one_more("one of two, at the lower bound", [-10.0], -10.0),
    _one_more("one of three, all at the upper bound", [10.0, 10.0], 10.0),
    _one_more("an outlier beside two others", [-10.0, 0.0], 1e6),
    _one_more("alone, bounds 0 to 100", [], 100.0, 0.0, 100.0),
)
_HIDDEN_MEAN_PAIRS = (
    _one_more("alone, at the lower bound", [], -10.0),
    _one_more("an outlier far below, alone", [], -1e6),
    _one_more("at the upper bound, three at the lower", [-10.0] * 3, 10.0),
    _one_more("one of six, all at the lower bound", [-10.0] * 5, -10.0),
    _one_more("alone, bounds 17 to 90", [], 17.0, 17.0, 90.0),
)

_FAR_PAIRS = (
    _one_more("alone, bounds 90 to 100", [], 100.0, 90.0, 100.0),
    _one_more("alone, bounds −100 to 10", [], -100.0, -100.0, 10.0),
)

_LOW, _HIGH = 17.0, 90.0  # the public bounds of an age in Adult


def _given_means(
    values: np.ndarray, epsilon: float, rng: np.random.Generator, times: int = 20_000
) -> dict[str, np.ndarray]:
    """Return many private means by each of three given solutions."""
    n, half, middle = len(values), epsilon / 2, (_LOW + _HIGH) / 2

    def noise(scale: float) -> np.ndarray:
        return rng.laplace(0, scale, times)

    careless = np.clip(values.mean() + noise((_HIGH - _LOW) / epsilon), _LOW, _HIGH)
    plain = (values.sum() + noise(_HIGH / half)) / np.maximum(n + noise(1 / half), 1)
    centred = (values - middle).sum() + noise((_HIGH - _LOW) / 2 / half)
    centred = middle + centred / np.maximum(n + noise(1 / half), 1)
    return {"careless": careless, "plain": plain, "centred": centred}


def _rmse(means: Sequence[float], truth: float) -> float:
    return float(np.sqrt(np.mean((np.asarray(means) - truth) ** 2)))


class NoisyMean(Exercise):
    """Release a mean when the number of records is private, too; open-ended."""

    label = "3.4"
    title = "A private mean"
    points = 3
    kinds = {"noisy_mean": number}
    #: How much worse than the plain solution an answer may be: with 1,500 calls five standard
    #: errors of a root mean square are 15 %.
    most, calls, people = 1.25, 1_500, 600
    hints = (
        "Clip the values to low … high first. A mean is a sum divided by a count, and both depend "
        "on Ann. Two noisy answers of ε/2 cost ε together.",
        "The clipped sum moves by max(|low|, |high|) at most, the count by 1. Give noise to each, "
        "and divide by max(noisy count, 1): then an empty set needs no special case.",
        "Sum value − middle instead of value, with middle = (low + high) / 2: that moves by "
        "(high − low) / 2 only. The mean is middle + noisy sum / noisy count.",
    )
    reference = """
import numpy as np

def noisy_mean(values, low, high, epsilon, rng):
    middle, half = (low + high) / 2, (high - low) / 2
    total = np.sum(np.clip(values, low, high) - middle)
    noisy_total = total + rng.laplace(0, half / (epsilon / 2))
    noisy_n = len(values) + rng.laplace(0, 1 / (epsilon / 2))
    return float(np.clip(middle + noisy_total / max(noisy_n, 1), low, high))
"""
    mistakes = tuple(
        Mistake(
            name,
            "import numpy as np\n\ndef noisy_mean(values, low, high, epsilon, rng):\n"
            f"    largest = max(abs(low), abs(high))\n{body}\n",
            says,
        )
        for name, body, says in (
            (
                "the sensitivity of replace",
                "    values = np.clip(values, low, high)\n"
                "    total = np.sum(values) + rng.laplace(0, (high - low) / (epsilon / 2))\n"
                "    n = max(len(values) + rng.laplace(0, 2 / epsilon), 1)\n"
                "    return np.clip(total / n, low, high)",
                "high − low is for replace",
            ),
            (
                "not defined for nobody",
                "    return np.mean(np.clip(values, low, high)) + rng.laplace(0, high / epsilon)",
                "finite number",
            ),
            (
                "the mean without noise",
                "    return np.clip(values, low, high).mean() if len(values) else low",
                "never varies",
            ),
            (
                "values not clipped",
                "    total = np.sum(values) + rng.laplace(0, largest / (epsilon / 2))\n"
                "    return total / max(len(values) + rng.laplace(0, 2 / epsilon), 1)",
                "Clip each value",
            ),
            (
                "clipped after the noise",
                "    total = np.sum(values) + rng.laplace(0, largest / (epsilon / 2))\n"
                "    n = max(len(values) + rng.laplace(0, 2 / epsilon), 1)\n"
                "    return np.clip(total / n, low, high)",
                "clipped after the noise",
            ),
            (
                "bounds from the data",
                "    if len(values) == 0:\n"
                "        return low + rng.laplace(0, largest / epsilon)\n"
                "    largest = np.abs(values).max()\n"
                "    total = np.sum(values) + rng.laplace(0, largest / (epsilon / 2))\n"
                "    return total / max(len(values) + rng.laplace(0, 2 / epsilon), 1)",
                "bounds come from the data",
            ),
            (
                "n without noise",
                "    n = max(len(values), 1)\n"
                "    return np.clip(values, low, high).sum() / n"
                " + rng.laplace(0, (high - low) / n / epsilon)",
                "how many records there are",
            ),
            (
                "ε spent twice",
                "    total = np.clip(values, low, high).sum() + rng.laplace(0, largest / epsilon)\n"
                "    return total / max(len(values) + rng.laplace(0, 1 / epsilon), 1)",
                "half of the noise",
            ),
            (
                "noise as if one record were everything",
                "    mean = np.clip(values, low, high).mean() if len(values) else low\n"
                "    return np.clip(mean + rng.laplace(0, (high - low) / epsilon), low, high)",
                "Private, but",
            ),
        )
    )

    def test_survives(self, answers: Answers, rng: np.random.Generator) -> None:
        """Empty, one record, many records: always a finite number; of many, one that varies."""
        for values in ([], [25.0], [25.0] * 50):
            args = (np.array(values), _LOW, _HIGH, 1.0)
            outputs = answers.sample("noisy_mean", args, 200, rng)
            # With few records, an answer may be "too few to say" nearly always.
            if len(values) == 50 and np.ptp(outputs) == 0:
                raise Wrong(
                    f"With 50 records of 25 each your mean is {outputs[0]:.4g} in all of 200 "
                    "calls. An answer that never varies either tells about the data, or nothing."
                )

    def test_outlier(self, answers: Answers, rng: np.random.Generator) -> None:
        """One value far beyond the bounds counts no more than one at the bound."""
        values = np.full(20, 30.0)
        far = np.array([*values, 1e9])
        before, after = (
            np.array(answers.sample("noisy_mean", (data, _LOW, _HIGH, 1.5), 400, rng))
            for data in (values, far)
        )
        spread, spread_far = (np.subtract(*np.quantile(o, [0.75, 0.25])) for o in (before, after))
        told = "Ann, with a value of 1,000,000,000, joins 20 people whose bounds are 17 and 90"
        if spread_far > max(100 * spread, 0.4 * abs(np.median(after))):
            raise Wrong(
                f"{told}: the spread of your answers jumps from {spread:.2g} to {spread_far:.2g}. "
                "Your bounds come from the data, so the size of the noise tells that she is there. "
                "Use low and high."
            )
        if np.median(after) > 1e4:
            raise Wrong(f"{told}: your mean goes to {np.median(after):.3g}. Clip each value to "
                        "low … high before you add it.")  # fmt: skip
        # Clipped first, she moves the mean by 3 years; at the bound in 90 % of the calls is far.
        at_bound = np.mean(after >= _HIGH - 1e-9)
        if at_bound > 0.9 and np.mean(before >= _HIGH - 1e-9) < 0.5:
            raise Wrong(
                f"{told}: {at_bound:.0%} of your answers are {_HIGH:g} now. They are clipped after "
                "the noise, when it is too late; clip the values first."
            )

    @staticmethod
    def _diagnosis(answers: Answers, rng: np.random.Generator) -> str:
        """Say which noise is missing: of a mean of 1,000 records, all 0 or all 9."""
        errors = {}
        for value in (0.0, 9.0):
            args = (np.full(1_000, value), -10.0, 10.0, 1.5)
            errors[value] = _rmse(answers.sample("noisy_mean", args, CALLS, rng), value)
        both = "The sum and the number of records are both private; their ε add up."
        # Noise of n moves the mean of nines and not that of zeros: by 35 % where ε is halved.
        if errors[9.0] < 1.1 * errors[0.0]:
            return f"Your answer tells how many records there are: n has no noise. {both}"
        plain = np.sqrt(2) * 10 / (1.5 / 2) / 1_000
        if abs(errors[0.0] / plain - 0.5) < 0.06:
            return (
                "This is half of the noise of two answers with ε/2 each. Is ε spent twice, or the "
                f"sensitivity halved? {both}"
            )
        return both

    def _audit(
        self,
        answers: Answers,
        pairs: Sequence[Neighbours],
        rng: np.random.Generator,
        samples: int = SAMPLES,
    ) -> str:
        mechanism = LearnersMechanism(answers, "noisy_mean", lambda data, epsilon: (*data, epsilon))

        def explain(report: AuditReport) -> str:
            return self._diagnosis(answers, rng)

        return audit_answer(mechanism, pairs, rng, explain=explain, samples=samples)

    def test_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit the mean."""
        # Among other pairs the one that shows most is missed now and then, by itself hardly.
        self._audit(answers, _MEAN_PAIRS[1:2], rng)
        return self._audit(answers, _MEAN_PAIRS, rng, samples=20_000)

    def test_sensitivity(self, answers: Answers, rng: np.random.Generator) -> None:
        """Audit where the largest |value| is far from high − low."""
        told = (
            "Under add/remove, a sum of clipped values moves by max(|low|, |high|); high − low is "
            "for replace, and half of it for the sum of value − middle."
        )
        mechanism = LearnersMechanism(answers, "noisy_mean", lambda data, epsilon: (*data, epsilon))
        for pair in _FAR_PAIRS:
            audit_answer(mechanism, [pair], rng, explain=lambda report: told, samples=10_000)

    def test_useful(self, answers: Answers, rng: np.random.Generator) -> str:
        """Compare the error with three given solutions."""
        return self._compare(answers, rng, self.people)

    def _compare(self, answers: Answers, rng: np.random.Generator, people: int) -> str:
        ages = load_adult()["age"].sample(people, random_state=rng).to_numpy(float)
        told = []
        for epsilon in EPSILONS:
            means = answers.sample("noisy_mean", (ages, _LOW, _HIGH, epsilon), self.calls, rng)
            error = _rmse(means, ages.mean())
            given = {name: _rmse(outputs, ages.mean())
                     for name, outputs in _given_means(ages, epsilon, rng).items()}  # fmt: skip
            others = ", ".join(f"{name} {value:.2f}" for name, value in given.items())
            if error < 0.4 * given["centred"]:
                raise Wrong(
                    f"The mean age of {people} people at ε = {epsilon:g} is off by {error:.2f} "
                    f"years ({others}): smaller than any private answer known here. Is there noise "
                    "with so many people, too?"
                )
            if error > self.most * given["plain"]:
                raise Wrong(
                    f"Private, but the mean age of {people} people at ε = {epsilon:g} is off by "
                    f"{error:.2f} years (root mean square), with a mean of {np.mean(means):.1f} "
                    f"instead of {ages.mean():.1f}. Three given solutions: {others}. Reach the "
                    "plain one: a noisy sum over a noisy count, each with half of ε."
                )
            told.append(f"at ε = {epsilon:g} {error:.2f} years ({others})")
        return f"Error of the mean age of {people} people: {'; '.join(told)}."

    def hidden_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit further pairs."""
        return self._audit(answers, _HIDDEN_MEAN_PAIRS, rng)

    def hidden_useful(self, answers: Answers, rng: np.random.Generator) -> None:
        """More people."""
        self._compare(answers, rng, 3_000)


q1 = RandomisedResponse()
q2 = NoisyCount()
q3 = NoisyHistogram()
q4 = NoisyMean()
EXERCISES = (q1, q2, q3, q4)
