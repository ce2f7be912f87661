"""Exercises of lesson 09: microbatches, the ε that holds, a training plan of one's own."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ..accounting import gaussian_epsilon, sampled_epsilon
from ..data import load_fashion
from ..exercise import Answers, Exercise, Mistake, Wrong, array, number

# ---- the grader's own accountant ---------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A DP-SGD training run, in the words of TF Privacy's statement.

    Attributes:
        n: Images in all.
        batch_size: Images a batch; with Poisson sampling, on average.
        epochs: Passes over the data.
        noise_multiplier: Standard deviation of the noise over the clip.
        delta: The δ of the promise.
        sampling: ``"poisson"`` or ``"shuffled"`` (each image once an epoch).
        microbatch_size: Images whose gradients are averaged before they are clipped.
    """

    n: int
    batch_size: int
    epochs: int
    noise_multiplier: float
    delta: float
    sampling: str
    microbatch_size: int = 1

    @property
    def arguments(self) -> tuple:
        """The arguments of the learner's function."""
        return tuple(vars(self).values())

    @property
    def steps(self) -> int:
        """Steps of the whole training; a part of a step is one."""
        return math.ceil(self.epochs * self.n / self.batch_size - 1e-9)


@cache
def _epsilon(run: Run, accountant: str = "pld") -> float:
    """Return the ε of a run.

    Adjacency: one image is taken out; its place stays empty, all others keep their batches and
    microbatches.

    Args:
        run: The run.
        accountant: ``"pld"``, within a thousandth of the truth, or ``"rdp"``, a looser bound.
    """
    import dp_accounting
    from dp_accounting import rdp

    # An image turns the mean of its microbatch around: from one end of the ball to the other.
    sensitivity = 1 if run.microbatch_size == 1 else 2
    noise = run.noise_multiplier / sensitivity
    poisson = run.sampling == "poisson"
    rate, times = (run.batch_size / run.n, run.steps) if poisson else (1.0, run.epochs)
    if accountant == "pld":
        if poisson:
            return sampled_epsilon(((noise, rate, times),), run.delta)
        return gaussian_epsilon(math.sqrt(times) / noise, run.delta)  # exact
    # Whole orders alone keep RDP from logging about those that do not converge.
    ledger = rdp.RdpAccountant([*range(2, 64), 128, 256, 512])
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    ledger.compose(event, times)
    return float(ledger.get_epsilon(run.delta))


def _clt_epsilon(run: Run) -> float:
    """Return the ε of the central limit approximation ("GDP"), which is no bound."""
    steps = run.epochs * run.n / run.batch_size
    exponent = min(1 / run.noise_multiplier**2, 500)
    mu = run.batch_size / run.n * math.sqrt(steps * math.expm1(exponent))
    return gaussian_epsilon(mu, run.delta)


def _changed(name: str, old: str, new: str, says: str, code: str) -> Mistake:
    """Make a mistake of a right answer by one change."""
    if old not in code:
        raise ValueError(f"the answer does not hold {old!r}")
    return Mistake(name, code.replace(old, new), says)


# ---- 9.1 ---------------------------------------------------------------------------------------


def _shrink(rows: np.ndarray, bound: float) -> np.ndarray:
    """Return the rows with lengths cut to ``bound``."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, bound / np.maximum(lengths, 1e-300))


def _clipped_sum(gradients: np.ndarray, num_microbatches: int, bound: float) -> np.ndarray:
    """Return what TF Privacy adds its noise to."""
    groups = gradients.reshape(num_microbatches, -1, gradients.shape[1])
    return _shrink(groups.mean(axis=1), bound).sum(axis=0)


_MICRO = """
import numpy as np

def clipped_sum(gradients, num_microbatches, max_grad_norm):
    groups = gradients.reshape(num_microbatches, -1, gradients.shape[1])
    means = groups.mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    clipped = means * np.minimum(1, max_grad_norm / np.maximum(lengths, 1e-12))
    return clipped.sum(axis=0)

def largest_change(batch_size, num_microbatches, max_grad_norm):
    return max_grad_norm if num_microbatches == batch_size else 2 * max_grad_norm
"""
_CHANGE = "return max_grad_norm if num_microbatches == batch_size else 2 * max_grad_norm"


class Microbatches(Exercise):
    """Clip the means of microbatches, and say what one image can still change."""

    label = "9.1"
    title = "What a microbatch bounds"
    points = 2
    kinds = {
        "clipped_sum": array(
            1, "one row of numbers, (parameters,)", "What happens to a gradient of zeros?"
        ),
        "largest_change": number,
    }
    hints = (
        "Three steps: average within each microbatch, clip each mean, add up. For the second "
        "function think of eight neighbours that all pull one way, and one image that pulls the "
        "other way a hundred times harder.",
        "gradients.reshape(num_microbatches, -1, gradients.shape[1]).mean(axis=1) gives the means. "
        "A clipped mean lies in a ball of radius max_grad_norm; how far apart can two points of "
        "it be? And if the microbatch is the image alone, one of the two is zero.",
        "largest_change: max_grad_norm if num_microbatches == batch_size, else 2 * max_grad_norm.",
    )
    reference = _MICRO
    mistakes = (
        _changed(
            "each gradient clipped, then averaged",
            "groups = gradients.reshape(",
            "size = np.linalg.norm(gradients, axis=1, keepdims=True)\n"
            "    gradients = gradients * np.minimum(1, max_grad_norm / np.maximum(size, 1e-12))\n"
            "    groups = gradients.reshape(",
            "before the mean is taken",
            _MICRO,
        ),
        _changed(
            "the mean over the microbatches",
            "return clipped.sum(axis=0)",
            "return clipped.mean(axis=0)",
            "divided by the number of microbatches",
            _MICRO,
        ),
        _changed(
            "sums instead of means",
            "groups.mean(axis=1)",
            "groups.sum(axis=1)",
            "the sum of a microbatch",
            _MICRO,
        ),
        _changed(
            "short means stretched",
            "np.minimum(1, max_grad_norm / np.maximum(lengths, 1e-12))",
            "(max_grad_norm / np.maximum(lengths, 1e-12))",
            "stays as it is",
            _MICRO,
        ),
        _changed(
            "the total clipped once more",
            "return clipped.sum(axis=0)",
            "total = clipped.sum(axis=0)\n"
            "    return total * min(1, max_grad_norm / max(np.linalg.norm(total), 1e-12))",
            "a second time",
            _MICRO,
        ),
        _changed(
            "every k-th row in a microbatch",
            "groups = gradients.reshape(num_microbatches, -1, gradients.shape[1])",
            "groups = np.stack([gradients[i::num_microbatches] for i in range(num_microbatches)])",
            "consecutive rows",
            _MICRO,
        ),
        _changed(
            "the number of microbatches taken for their size",
            "gradients.reshape(num_microbatches, -1, gradients.shape[1])",
            "gradients.reshape(-1, num_microbatches, gradients.shape[1])",
            "how many microbatches there are",
            _MICRO,
        ),
        _changed(
            "no clipping",
            "np.minimum(1, max_grad_norm / np.maximum(lengths, 1e-12))",
            "1.0",
            "Nothing is clipped",
            _MICRO,
        ),
        _changed("the clip itself", _CHANGE, "return max_grad_norm", "moved the sum", _MICRO),
        _changed(
            "always twice the clip",
            _CHANGE,
            "return 2 * max_grad_norm",
            "is alone in its microbatch",
            _MICRO,
        ),
        _changed(
            "the clip shared by the microbatch",
            _CHANGE,
            "return max_grad_norm * num_microbatches / batch_size",
            "no protection is shared",
            _MICRO,
        ),
        _changed(
            "the clip for each of the microbatch",
            _CHANGE,
            "return max_grad_norm * batch_size / num_microbatches",
            "does not grow with the microbatch",
            _MICRO,
        ),
    )

    def _compare(self, answers: Answers, gradients: np.ndarray, k: int, bound: float) -> None:
        got = answers.clipped_sum(gradients, k, bound)
        wanted = _clipped_sum(gradients, k, bound)
        if got.shape != wanted.shape:
            raise Wrong(
                f"What `clipped_sum` returns has {got.size} entries; a gradient has {wanted.size}."
            )
        if np.allclose(got, wanted, rtol=1e-5, atol=1e-8):
            return
        groups = gradients.reshape(k, -1, gradients.shape[1])
        means = groups.mean(axis=1)
        swapped = gradients.reshape(-1, k, gradients.shape[1]).mean(axis=1)
        strided = np.stack([gradients[i::k] for i in range(k)]).mean(axis=1)
        lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        explained = (
            (means.sum(axis=0), "Nothing is clipped."),
            (wanted / k, "Yours is divided by the number of microbatches; the noise is added "
             "to the sum, and the division comes later."),
            (_shrink(wanted[None], bound)[0], "Yours is clipped a second time, as a whole. That "
             "bounds the batch, and the noise drowns it."),
            (_clipped_sum(_shrink(gradients, bound), k, bound), "You clip each gradient before "
             "the mean is taken. TF Privacy averages first: that is what makes it cheap, and "
             "what doubles the influence."),
            (_shrink(groups.sum(axis=1), bound).sum(axis=0), "You clip the sum of a microbatch; "
             "TF Privacy clips its mean."),
            ((means * bound / lengths).sum(axis=0), "A mean shorter than max_grad_norm stays as it "
             "is."),
            (_shrink(strided, bound).sum(axis=0), "A microbatch is made of consecutive rows: the "
             "first batch / num_microbatches rows, then the next."),
            (_shrink(swapped, bound).sum(axis=0), "Your microbatches hold num_microbatches rows; "
             "that is how many microbatches there are."),
            (np.clip(means, -bound, bound).sum(axis=0), "You clip each entry; the length of the "
             "whole vector counts."),
        )  # fmt: skip
        told = (
            f"{len(gradients)} gradients in {k} microbatches, max_grad_norm {bound:g}: the sum "
            f"should be {_short(wanted)}, yours is {_short(got)}."
        )
        for value, why in explained:
            if np.allclose(got, value, rtol=1e-5, atol=1e-8):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)

    @staticmethod
    def _gradients(rng: np.random.Generator, rows: int, bound: float) -> np.ndarray:
        """Make gradients that are first tiny, then below the clip, then beyond it.

        They point roughly one way. So one microbatch has a mean far below the clip, one a mean
        below it and a sum beyond it, and one a mean beyond it: the typical mistakes all differ.
        """
        directions = rng.normal(size=(rows, 3)) * 0.3 + [1.0, 0.5, 0.0]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        scales = np.repeat([0.02, 0.7, 3.0], math.ceil(rows / 3))[:rows]
        return directions * (bound * scales * rng.uniform(0.8, 1.2, rows))[:, None]

    def test_sum(self, answers: Answers, rng: np.random.Generator) -> None:
        """Gradients of all lengths, in microbatches of every size."""
        for k in (3, 6, 12, 1):
            self._compare(answers, self._gradients(rng, 12, 1.0), k, 1.0)
        self._compare(answers, self._gradients(rng, 20, 0.3), 5, 0.3)
        self._compare(answers, np.zeros((4, 2)), 2, 1.0)

    def test_change(self, answers: Answers, rng: np.random.Generator) -> str:
        """One image against its neighbours: how far does the sum move when it is taken out?"""
        for batch, k in ((12, 12), (12, 6), (12, 3), (40, 5), (8, 1)):
            bound = round(rng.uniform(0.4, 2.5), 1)
            promised = answers.largest_change(batch, k, bound)
            moved = self._attack(answers, batch, k, bound)
            self._judge(promised, moved, batch, k, bound)
        return (
            "An outlier moved the sum by the clip where it was alone in its microbatch, and by "
            "twice the clip everywhere else. Your bound held each time, and none was too large."
        )

    def hidden_change(self, answers: Answers, rng: np.random.Generator) -> None:
        """All small batches and some large ones, each cut at random; gradients as before."""
        for batch in (*range(1, 33), *rng.integers(33, 400, 8).tolist()):
            k = int(rng.choice([size for size in range(1, batch + 1) if batch % size == 0]))
            bound = round(rng.uniform(0.1, 4.0), 2)
            self._compare(answers, self._gradients(rng, batch, bound), k, bound)
            promised = answers.largest_change(batch, k, bound)
            self._judge(promised, self._attack(answers, batch, k, bound), batch, k, bound)

    @staticmethod
    def _attack(answers: Answers, batch: int, k: int, bound: float) -> float:
        """Return how far the learner's own sum moves in the worst case."""
        gradients = np.tile([-1e3 * bound, 0.0], (batch, 1))
        gradients[0] = [1e6 * bound * batch, 0.0]
        without = gradients.copy()
        without[0] = 0
        sums = [answers.clipped_sum(each, k, bound) for each in (gradients, without)]
        return float(np.linalg.norm(sums[0] - sums[1]))

    @staticmethod
    def _judge(promised: float, moved: float, batch: int, k: int, bound: float) -> None:
        if np.isclose(promised, moved, rtol=1e-6):
            return
        told = (
            f"{batch} gradients in {k} microbatches, max_grad_norm {bound:g}: you say that one "
            f"image changes the sum by at most {promised:g}."
        )
        size = batch // k
        if promised < moved:
            why = f"Taken out, an outlier moved the sum by {moved:g}: the noise is too small."
            if size > 1 and np.isclose(promised, bound / size):
                why = (
                    f"Taken out, an outlier changed it by {moved:g}. A gradient long enough fills "
                    "the mean by itself, so no protection is shared."
                )
            raise Wrong(f"{told} {why}")
        why = f"No gradient changes it by more than {moved:g}: you would add needless noise."
        if size == 1:
            why += " The image is alone in its microbatch: with it a vector up to the clip, without"
            why += " it zero."
        elif np.isclose(promised, bound * size):
            why += " The mean is clipped as one, so its share does not grow with the microbatch."
        raise Wrong(f"{told} {why}")


def _short(vector: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in vector[:4]) + "]"


# ---- 9.2 ---------------------------------------------------------------------------------------

_HONEST = """
import math

import dp_accounting
from dp_accounting import pld

def honest_epsilon(
    n, batch_size, epochs, noise_multiplier, delta, sampling, microbatch_size
):
    sensitivity = 1 if microbatch_size == 1 else 2
    event = dp_accounting.GaussianDpEvent(noise_multiplier / sensitivity)
    times = epochs
    if sampling == "poisson":
        event = dp_accounting.PoissonSampledDpEvent(batch_size / n, event)
        times = math.ceil(epochs * n / batch_size)
    accountant = pld.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(dp_accounting.SelfComposedDpEvent(event, times))
    return accountant.get_epsilon(delta)
"""

_CLT = """
import math

from scipy.optimize import brentq
from scipy.stats import norm

def honest_epsilon(
    n, batch_size, epochs, noise_multiplier, delta, sampling, microbatch_size
):
    sigma = noise_multiplier / (1 if microbatch_size == 1 else 2)
    steps = epochs * n / batch_size
    mu = math.sqrt(epochs) / sigma
    if sampling == "poisson":
        mu = batch_size / n * math.sqrt(steps * math.expm1(1 / sigma**2))
    def excess(e):
        return norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - delta
    return brentq(excess, 0, 100)
"""


class HonestEpsilon(Exercise):
    """Say which ε holds for a training run."""

    label = "9.2"
    title = "The ε that holds"
    points = 2
    kinds = {"honest_epsilon": number}
    hints = (
        "Which of the statement's two lines holds depends on how the batches are drawn. And what "
        "one image can change depends on whether its gradient is clipped by itself.",
        "Poisson: epochs · n / batch_size steps, rounded up, each a PoissonSampledDpEvent around a "
        "GaussianDpEvent. Shuffled: one GaussianDpEvent an epoch. Microbatches of two or more "
        "images: half the noise multiplier.",
        "accountant = pld.PLDAccountant(value_discretization_interval=1e-3); "
        "accountant.compose(SelfComposedDpEvent(event, times)); "
        "return accountant.get_epsilon(delta). For shuffled batches, event is the GaussianDpEvent "
        "and times is epochs.",
    )
    reference = _HONEST
    mistakes = (
        _changed(
            "Poisson accounting for shuffled batches",
            'if sampling == "poisson":',
            "if True:",
            "assumes Poisson sampling",
            _HONEST,
        ),
        _changed(
            "no amplification for Poisson batches",
            'if sampling == "poisson":',
            "if False:",
            "is true, but needlessly large",
            _HONEST,
        ),
        _changed(
            "every step at full price",
            "event = dp_accounting.PoissonSampledDpEvent(batch_size / n, event)",
            "pass",
            "as if each image took part in every step",
            _HONEST,
        ),
        _changed(
            "microbatches ignored",
            "1 if microbatch_size == 1 else 2",
            "1",
            "by twice the clip",
            _HONEST,
        ),
        _changed(
            "the default of the statement",
            "1 if microbatch_size == 1 else 2",
            "2",
            "halve the noise multiplier, though",
            _HONEST,
        ),
        _changed(
            "the noise divided by the size of a microbatch",
            "1 if microbatch_size == 1 else 2",
            "microbatch_size",
            "however large the microbatch",
            _HONEST,
        ),
        _changed(
            "one epoch only",
            "times = math.ceil(epochs * n / batch_size)",
            "times = math.ceil(n / batch_size)",
            "That is one epoch",
            _HONEST,
        ),
        _changed(
            "the steps rounded down",
            "math.ceil(epochs * n / batch_size)",
            "epochs * (n // batch_size)",
            "rounded down",
            _HONEST,
        ),
        _changed(
            "epochs taken for steps",
            "times = math.ceil(epochs * n / batch_size)",
            "times = epochs",
            "as many steps as there are epochs",
            _HONEST,
        ),
        _changed(
            "a δ of one's own", "get_epsilon(delta)", "get_epsilon(1e-5)", "another δ", _HONEST
        ),
        Mistake("an approximation that is no bound", _CLT, "central limit"),
    )
    #: RDP, the loosest accountant in use, stays below this on the runs of the tests.
    most = 1.2

    def _compare(self, answers: Answers, run: Run) -> float:
        """Check one run; return the answer."""
        got = answers.honest_epsilon(*run.arguments)
        truth = _epsilon(run)
        # What PLD gives on a finer grid is smaller by 3 in 10,000 at most.
        if 0.999 * truth <= got <= self.most * truth:
            return got
        told = (
            f"{run.n:,} images, {run.batch_size} a batch, {run.epochs} epochs, noise multiplier "
            f"{run.noise_multiplier:g}, δ = {run.delta:g}, {run.sampling}, microbatches of "
            f"{run.microbatch_size}: you say ε = {got:.3f}"
        )
        if got < truth:
            verdict = f"The promise does not hold: it takes {truth:.3f}."
        else:
            verdict = f"It holds, but {truth:.3f} is enough."
        raise Wrong(f"{told}. {verdict} {self._why(got, run)}".strip())

    @staticmethod
    def _why(got: float, run: Run) -> str:
        """Name the mistake that leads to a wrong answer."""
        n, batch = run.n, run.batch_size
        shuffled = run.sampling == "shuffled"
        single = run.microbatch_size == 1
        price = replace(run, sampling="shuffled", epochs=run.steps)
        other = replace(run, sampling="poisson" if shuffled else "shuffled")
        narrow = replace(run, noise_multiplier=run.noise_multiplier * 2 / run.microbatch_size)
        whole = math.floor(run.epochs * n / batch)
        candidates: tuple[tuple[bool, Run, str], ...] = (
            (
                not shuffled and got < _epsilon(run) and 0 < whole < run.steps,
                replace(run, epochs=whole * batch / n),
                f"Is your number of steps rounded down? {whole} batches leave a rest, and that is "
                "a step, too.",
            ),
            (
                shuffled,
                other,
                "Your number assumes Poisson sampling. In shuffled batches each image takes part "
                "once in every epoch, which is one Gaussian mechanism an epoch.",
            ),
            (
                not shuffled,
                other,
                "That is the statement's first line: it is true, but needlessly large. With "
                "Poisson sampling an attacker does not know who took part in a step.",
            ),
            (
                not shuffled,
                price,
                "You count as if each image took part in every step; it does with probability "
                f"{batch / n:g}.",
            ),
            (
                not single,
                replace(run, microbatch_size=1),
                "Gradients were averaged before they were clipped. One image can then turn the "
                "mean of its microbatch around and move the sum by twice the clip.",
            ),
            (
                single,
                replace(run, microbatch_size=2),
                "You halve the noise multiplier, though each gradient is clipped by itself and the "
                "place of the image stays empty. (The statement does so unless it is told "
                "used_microbatching=False.)",
            ),
            (
                not single,
                narrow,
                "You divide the noise by the size of the microbatch; one image moves the sum by "
                "two clips at most, however large the microbatch.",
            ),
            (not shuffled, replace(run, epochs=1), f"That is one epoch; there are {run.epochs}."),
            (
                not shuffled,
                replace(run, epochs=run.epochs * batch / n),
                "You count as many steps as there are epochs; an epoch has n / batch_size steps.",
            ),
            *(
                (True, replace(run, delta=delta), f"That would be right for another δ: {delta:g}.")
                for delta in (1e-5, 1e-6, 1e-4, 1 / n)
                if delta != run.delta
            ),
        )
        for possible, mistaken, why in candidates:
            if possible and _fits(got, mistaken):
                return why
        if not shuffled and abs(got / max(_clt_epsilon(run), 1e-9) - 1) < 0.01:
            return (
                "That is what the central limit theorem (the GDP accountant) gives, an "
                "approximation that may lie below the truth. Use PLD or RDP."
            )
        return (
            "What is one step, how often does it happen, and is the image in it for sure or by "
            "chance?"
        )

    def test_poisson(self, answers: Answers, rng: np.random.Generator) -> str:
        """Poisson samples, each gradient clipped by itself."""
        for run in (
            Run(10_000, 500, 15, round(rng.uniform(1.3, 1.6), 2), 1e-5, "poisson"),
            Run(10_000, 300, 4, round(rng.uniform(1.5, 1.7), 2), 1e-4, "poisson"),
            Run(1_500, 75, 20, round(rng.uniform(0.85, 0.95), 2), 1e-4, "poisson"),
        ):
            got = self._compare(answers, run)
        return f"Poisson sampling: ε = {got:.2f} with δ = {run.delta:g} holds."

    def test_shuffled(self, answers: Answers, rng: np.random.Generator) -> str:
        """Shuffled batches, as fit makes them."""
        run = Run(10_000, 500, 15, round(rng.uniform(1.3, 1.6), 2), 1e-5, "shuffled")
        got = self._compare(answers, run)
        poisson = _epsilon(replace(run, sampling="poisson"))
        return f"Shuffled: ε = {got:.2f}; the Poisson line would have said {poisson:.2f}."

    def test_microbatches(self, answers: Answers, rng: np.random.Generator) -> str:
        """Gradients averaged before they are clipped."""
        for sampling in ("poisson", "shuffled"):
            sigma = round(rng.uniform(2.6, 3.2), 2)
            got = self._compare(answers, Run(20_000, 400, 10, sigma, 1e-6, sampling, 8))
        return f"Microbatches of 8: ε = {got:.2f} takes the doubled sensitivity into account."

    def hidden_runs(self, answers: Answers, rng: np.random.Generator) -> None:
        """More of each."""
        for sampling in ("poisson", "shuffled"):
            for size in (1, 2, 5):
                sigma = round(rng.uniform(1.8, 2.4), 2)
                self._compare(answers, Run(6_000, 300, 12, sigma, 1e-5, sampling, size))
        self._compare(answers, Run(1_000, 1_000, 3, 1.5, 1e-5, "shuffled"))


def _fits(got: float, mistaken: Run) -> bool:
    """Whether a number is the ε of a run, by one accountant or another."""
    if mistaken.noise_multiplier < 0.15:  # ε in the hundreds: not worth an accountant's minutes
        return False
    # Only numbers: fewer steps than one are none.
    if mistaken.sampling == "poisson" and mistaken.epochs * mistaken.n < mistaken.batch_size:
        return False
    return any(abs(got / _epsilon(mistaken, name) - 1) < 0.01 for name in ("pld", "rdp"))


# ---- 9.3 ---------------------------------------------------------------------------------------

#: What every plan is trained with, and the promise it must keep (one image becomes an empty place).
_N, _EPSILON, _DELTA = 10_000, 3.0, 1e-5
#: The test accuracy asked for. The reference reaches 80.9 % with a standard deviation of half a
#: point, and the mean of two runs is graded: it fails less than once in a million times.
_ENOUGH = 0.79
_RANGES = {
    "batch_size": (20, 10_000),
    "epochs": (1, 40),
    "noise_multiplier": (0.3, 100),
    "learning_rate": (0.001, 100),
}
_MOST_STEPS = 2_000


@dataclass(frozen=True)
class Plan:
    """A learner's plan, checked for form."""

    sampling: str
    batch_size: int
    epochs: int
    noise_multiplier: float
    learning_rate: float

    @property
    def run(self) -> Run:
        """The plan as the accountant sees it."""
        noise = self.noise_multiplier
        return Run(_N, self.batch_size, self.epochs, noise, _DELTA, self.sampling)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.run.steps


def _plan(value: Any, what: str) -> Plan:
    """Accept a dict with the five entries of a plan."""
    names = ("sampling", *_RANGES)
    if not isinstance(value, dict):
        raise Wrong(f"{what} should be a dict with the keys {', '.join(names)}.")
    missing = [name for name in names if value.get(name, ...) is ...]
    if missing:
        raise Wrong(f"{what} has no value for {', '.join(missing)}.")
    extra = [str(name)[:30] for name in value if name not in names]
    if extra:
        raise Wrong(f"{what} has keys that no plan has: {', '.join(extra)}.")
    if value["sampling"] not in ("poisson", "shuffled"):
        raise Wrong(f"{what}: sampling is 'poisson' or 'shuffled'.")
    numbers = {}
    for name, (low, high) in _RANGES.items():
        numbers[name] = number(value[name], f"{name} in {what}")
        if not low <= numbers[name] <= high:
            raise Wrong(f"{name} is {numbers[name]:g}; a plan may have {low:g} to {high:,}.")
        if name in ("batch_size", "epochs"):
            if numbers[name] != int(numbers[name]):
                raise Wrong(f"{name} should be a whole number, but it is {numbers[name]:g}.")
            numbers[name] = int(numbers[name])
    plan = Plan(value["sampling"], **numbers)
    if plan.steps > _MOST_STEPS:
        raise Wrong(
            f"epochs · {_N:,} / batch_size gives {plan.steps:,} steps; this check has time for "
            f"{_MOST_STEPS:,}."
        )
    return plan


@cache
def _images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images shrunk to 14 × 14, as rows of 197 numbers (one is the bias), and classes."""
    fashion = load_fashion()

    def rows(images: np.ndarray) -> np.ndarray:
        shrunk = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
        flat = shrunk.reshape(len(images), -1) / 127.5 - 1
        return np.hstack([flat, np.ones((len(flat), 1))]).astype("float32")

    return rows(fashion.X_train), fashion.y_train.astype(int), rows(fashion.X_test), fashion.y_test


def _batches(plan: Plan, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of each batch."""
    if plan.sampling == "poisson":
        for _ in range(plan.steps):
            yield np.flatnonzero(rng.random(_N) < plan.batch_size / _N)
        return
    for _ in range(plan.epochs):
        order = rng.permutation(_N)
        for start in range(0, _N, plan.batch_size):
            yield order[start : start + plan.batch_size]


def _train(plan: Plan, rng: np.random.Generator) -> float:
    """Train a linear softmax model by DP-SGD with clip 1; return its accuracy on the test images.

    The gradient of an image is the product of its error and its pixels, and so is its length: the
    gradients of all images need never be written out.
    """
    X, y, X_test, y_test = _images()
    weights = np.zeros((X.shape[1], 10), dtype="float32")
    lengths, classes = np.linalg.norm(X, axis=1), np.eye(10, dtype="float32")[y]
    for batch in _batches(plan, rng):
        total = rng.normal(0, plan.noise_multiplier, weights.shape)
        for rows in _pieces(batch):
            logits = X[rows] @ weights
            errors = np.exp(logits - logits.max(axis=1, keepdims=True))
            errors = errors / errors.sum(axis=1, keepdims=True) - classes[rows]
            norms = np.linalg.norm(errors, axis=1) * lengths[rows]
            errors *= np.minimum(1, 1 / np.maximum(norms, 1e-12))[:, None]
            total += X[rows].T @ errors
        weights -= (plan.learning_rate / plan.batch_size * total).astype("float32")
    return float(((X_test @ weights).argmax(axis=1) == y_test).mean())


def _pieces(batch: np.ndarray) -> list[np.ndarray]:
    """Cut a batch into pieces so small that NumPy multiplies each in one thread.

    More threads are no faster here, and on a busy machine they wait for each other.
    """
    return np.split(batch, range(100, len(batch), 100)) if len(batch) else []


def _accuracy(plan: Plan, rng: np.random.Generator) -> float:
    """Return the mean of two trainings."""
    return float(np.mean([_train(plan, rng) for _ in range(2)]))


_PLAN = """
plan = {
    "sampling": "poisson",
    "batch_size": 500,
    "epochs": 15,
    "noise_multiplier": 1.47,
    "learning_rate": 4,
}
"""


class OwnPlan(Exercise):
    """Plan a training run that keeps ε ≤ 3 honestly and still learns; open-ended."""

    label = "9.3"
    title = "Your own plan"
    points = 3
    kinds = {"plan": _plan}
    hints = (
        "First the promise: honest_epsilon of exercise 9.2 says what a plan costs. Which way of "
        "sampling lets you do with less noise?",
        "Then the learning: the noise of a step is the same for any batch size, so larger "
        "batches outvote it. A few hundred steps, and a learning rate between 2 and 6.",
        "Poisson, batches of 500, 15 epochs: then ε = 3 takes a noise multiplier of about 1.47.",
    )
    reference = _PLAN
    mistakes = (
        _changed("the noise of a tutorial", "1.47", "1.1", "More noise, or fewer steps", _PLAN),
        _changed(
            "the Poisson ε for shuffled batches",
            '"poisson"',
            '"shuffled"',
            "once in every epoch",
            _PLAN,
        ),
        _changed("a timid plan", "1.47", "30", "is left of the budget", _PLAN),
        _changed("a single step", '500,\n    "epochs": 15', '10000,\n    "epochs": 1',
                 "only 1 step", _PLAN.replace("1.47", "1.8")),
        _changed("small steps", '"learning_rate": 4', '"learning_rate": 0.05',
                 "learning rate is too small", _PLAN),
        _changed("wild steps", '"learning_rate": 4', '"learning_rate": 80',
                 "learning rate is too large", _PLAN),
        _changed(
            "shuffled, paid for honestly",
            '"sampling": "poisson"',
            '"sampling": "shuffled"',
            "Poisson sampling would need",
            _PLAN.replace("1.47", "5.7"),
        ),
        _changed("no noise", "1.47", "0", "noise_multiplier is 0", _PLAN),
        _changed("no word on sampling", '    "sampling": "poisson",\n', "", "no value for", _PLAN),
    )  # fmt: skip

    def test_plan(self, answers: Answers, rng: np.random.Generator) -> str:
        """Account for the plan, then train with it."""
        plan = answers["plan"]
        epsilon = _epsilon(plan.run)
        if epsilon > _EPSILON:
            raise Wrong(self._too_much(plan, epsilon))
        accuracy = _accuracy(plan, rng)
        if accuracy < _ENOUGH:
            raise Wrong(self._too_little(plan, epsilon, accuracy, rng))
        return (
            f"ε = {epsilon:.2f} holds at δ = {_DELTA:g}, and the model reaches {accuracy:.1%} on "
            f"the test images. (Without noise about 81 %; shuffled plans of the same ε reach 75 to "
            "79 %.)"
        )

    @staticmethod
    def _too_much(plan: Plan, epsilon: float) -> str:
        told = f"The ε that holds for your plan is {epsilon:.3f}; at most {_EPSILON:g} is asked."
        if plan.sampling == "shuffled":
            poisson = _epsilon(replace(plan.run, sampling="poisson"))
            return (
                f"{told} You shuffle, so each image takes part once in every epoch: that is "
                f"{plan.epochs} Gaussian mechanisms. (For Poisson samples it would be "
                f"{poisson:.2f}.)"
            )
        return f"{told} More noise, or fewer steps, or a smaller share of the images in each."

    @staticmethod
    def _too_little(plan: Plan, epsilon: float, accuracy: float, rng: np.random.Generator) -> str:
        told = (
            f"ε = {epsilon:.2f} holds, but the model reaches only {accuracy:.1%} on the test "
            f"images; {_ENOUGH:.1%} is asked for."
        )
        if plan.sampling == "shuffled":
            noise = _noise(lambda sigma: _epsilon(replace(plan.run, sampling="poisson",
                                                          noise_multiplier=sigma)))  # fmt: skip
            return (
                f"{told} For the same batches and epochs, Poisson sampling would need a noise "
                f"multiplier of {noise:.2f} instead of {plan.noise_multiplier:g}."
            )
        if epsilon < 0.6 * _EPSILON:
            return f"{told} More than a third is left of the budget: less noise, or more steps."
        if plan.steps < 40:
            steps = "only 1 step" if plan.steps == 1 else f"only {plan.steps} steps"
            return f"{told} Your plan has {steps}. Smaller batches, or more epochs (and more noise)"
        for rate, word in ((4, "small"), (4, "large"), (2, "large")):
            wrong_way = (
                rate <= plan.learning_rate if word == "small" else rate >= plan.learning_rate
            )
            if not wrong_way and _train(replace(plan, learning_rate=rate), rng) >= _ENOUGH:
                return f"{told} The learning rate is too {word}: with {rate} the plan works."
        return f"{told} Larger batches outvote the noise; try them with some 15 epochs."


def _noise(epsilon_of: Callable[[float], float]) -> float:
    """Return the smallest noise multiplier that keeps ε, to 0.02."""
    low, high = 0.3, 100.0
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon_of(middle) <= _EPSILON else (middle, high)
    return high


q1 = Microbatches()
q2 = HonestEpsilon()
q3 = OwnPlan()
EXERCISES = (q1, q2, q3)
