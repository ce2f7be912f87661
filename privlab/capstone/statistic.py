"""The statistic and the claims: an audit, an accountant, a sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..audit import Batched, audit
from .case import DELTA, EPSILON, HIGH, LOW, Case
from .design import Design, Unusable, guarded, numbers
from .model import Noise
from .report import Finding

#: The mean absolute error, in mg/dl, at which the statistic is worth nothing.
WORTHLESS = 10.0

#: How much more than promised :func:`laplace_epsilon` may read: six standard errors.
LAPLACE_TOLERANCE = 1.06


def corners(outputs: Sequence[Any], pair: tuple[Any, Any], epsilon: float) -> np.ndarray | None:
    """Say how far releases lie beyond corners: in sum *and* count at once.

    Two halves of ε spend the whole only where both numbers speak for the same data set. An event of
    one number shows a half; "sum at least s and count at least c" shows both. The corners are those
    of the two data sets, for the sum and for the sum of what exceeds 250.

    Args:
        outputs: Sum and count, n releases.
        pair: The two data sets; the second has one value more.
        epsilon: The promised one, which scales.

    Returns:
        Numbers of shape (n, 4), above 0 beyond a corner; None where outputs are no pairs.
    """
    try:
        totals, counts = np.array(outputs, dtype=float).T
    except ValueError:
        return None
    columns = []
    for centre in (0.0, (LOW + HIGH) / 2):
        less, more = (float((np.clip(values, LOW, HIGH) - centre).sum()) for values in pair)
        sign = 1 if more > less else -1
        sums = sign * (totals - centre * counts)
        columns += [
            np.minimum((sums - sign * more) / HIGH, counts - len(pair[1])) * epsilon,
            np.minimum((sign * less - sums) / HIGH, len(pair[0]) - counts) * epsilon,
        ]
    return np.column_stack(columns)


def laplace_epsilon(outputs: np.ndarray) -> tuple[float, float, float] | None:
    """Read ε off the noise of many releases of the same values, if it is Laplace noise.

    Whoever adds up what exceeds a centre m, with noise, and adds m times the noisy count, releases
    the same as those two noisy numbers. The regression of sums on counts finds m; by the scales s
    and t of the two, the release spends max(400 - m, |100 - m|) / s + 1 / t (Laplace mechanism and
    composition; Dwork and others, 2006).

    Args:
        outputs: Sum and count, of shape (n, 2).

    Returns:
        ε, s and t; None where the noise is of another kind, or of two numbers that depend on each
        other. 8,000 releases tell ε to 1 %.
    """
    from scipy.stats import kstest, laplace

    totals, counts = outputs.T
    if (counts == np.rint(counts)).all():  # whole counts: fill the gaps
        counts = counts + np.random.default_rng(0).uniform(-0.5, 0.5, len(counts))
    centre = np.cov(totals, counts)[0, 1] / max(counts.var(), 1e-12)
    parts = [values - np.median(values) for values in (totals - centre * counts, counts)]
    scales = [float(np.abs(part).mean()) for part in parts]
    if min(scales) < 1e-9 or abs(np.corrcoef(*np.abs(parts))[0, 1]) > 0.06:
        return None
    if any(kstest(part / scale, laplace.cdf).pvalue < 1e-3
           for part, scale in zip(parts, scales, strict=True)):  # fmt: skip
        return None
    reach = max(abs(HIGH - centre), abs(LOW - centre))
    return reach / scales[0] + 1 / scales[1], *scales


class _Statistic:
    """A design's statistic as a mechanism for :func:`privlab.audit.audit`."""

    def __init__(self, design: Design) -> None:
        self.design = design

    def many(
        self,
        pair: tuple[Any, Any],
        choices: list[int],
        epsilon: float,
        rng: np.random.Generator,
    ) -> list[Any]:
        """Call it once for each choice."""
        inputs = [(list(values), epsilon) for values in pair]
        return list(
            guarded(
                "statistic",
                lambda: self.design.many(self.design, "statistic", inputs, choices, rng),
            )
        )


class AtCorners:
    """A statistic seen by how far sum and count are beyond a corner at once.

    Args:
        mechanism: It gives pairs of sum and count; :func:`privlab.audit.audit` can call it.
    """

    def __init__(self, mechanism: Batched) -> None:
        self.mechanism = mechanism

    def many(
        self,
        pair: tuple[Any, Any],
        choices: list[int],
        epsilon: float,
        rng: np.random.Generator,
    ) -> list[Any]:
        """Call it once for each choice."""
        outputs = self.mechanism.many(pair, choices, epsilon, rng)
        beyond = corners(outputs, pair, epsilon)
        return outputs if beyond is None else list(beyond)


#: Patients without and with one more: at a bound, far beyond it, the first of all; and where bounds
#: or noise are taken from the patients, or are forgotten where they are many.
PAIRS = (
    ([250.0] * 3, [250.0] * 3 + [HIGH]),
    ([LOW] * 4, [LOW] * 4 + [5_000.0]),
    ([HIGH] * 2, [HIGH] * 2 + [LOW]),
    ([], [HIGH]),
    ([250.0] * 200, [250.0] * 200 + [HIGH]),
    ([250.0] * 60, [HIGH] + [250.0] * 60),
    ([150.0] * 99 + [HIGH], [150.0] * 99 + [HIGH] * 2),
    ([LOW] * 20 + [HIGH] * 2, [LOW] * 20 + [HIGH] * 3),
    ([LOW] * 10, [LOW] * 10 + [HIGH]),
)

#: How the report of an audit speaks of them.
PAIR_NAMES = (
    ("without the patient at the upper bound", "with that patient"),
    ("without the patient far above the bound", "with that patient"),
    ("without the patient at the lower bound", "with that patient"),
    ("with nobody", "with the first patient"),
    ("without the patient at the upper bound, among 200", "with that patient"),
    ("without the first of 61 patients", "with that patient"),
    ("with one patient far from 99 others", "with two"),
    ("with two patients far from 20 others", "with three"),
    ("with nobody but the lowest", "with one patient at the upper bound"),
)


def audit_attack(
    design: Design, noise: Noise, rng: np.random.Generator, samples: int = 20_000
) -> Finding:
    """Audit the statistic, compute the model's ε from its measured noise, add up the claims.

    Args:
        design: The design.
        noise: Of its model, see :func:`measure_noise`.
        rng: The audit's generator.
        samples: How often the statistic is called, and a quarter as often again. The audit accuses
            a right one in fewer than 1 of 5,000 runs.
    """
    plan = design.plan
    claimed = {"model": plan["epsilon_model"], "statistic": plan["epsilon_statistic"]}
    total = sum(claimed.values())
    parts = {f"the claims add up to ε = {total:.3g}, δ = {plan['delta']:.0e}": total / EPSILON}
    if plan["delta"] > DELTA:
        parts[f"the claimed δ is {plan['delta']:.0e}, {DELTA:.0e} is allowed"] = (
            plan["delta"] / DELTA
        )
    if plan["colluding"] < 1:
        parts["no hospital may collude, where one must be allowed to"] = math.inf
    told = f"the model's noise makes ε = {noise.epsilon:.3g}, claimed is {claimed['model']:.3g}"
    if noise.problem:
        told = f"no ε for the model: {noise.problem}"
    if not noise.clipped:
        told = "one patient's gradient counts for more than max_grad_norm: no noise covers that"
    # The model's own claim, without the 2 % that its measurement is granted.
    parts[told] = noise.accused / claimed["model"] if math.isfinite(claimed["model"]) else math.inf
    epsilon = claimed["statistic"]
    if math.isfinite(epsilon):
        single = _Statistic(design)
        # By single numbers and, with the first pairs, by both at once.
        proofs = [
            audit(
                mechanism, list(PAIRS[:last]), epsilon, samples=each,
                confidence=1 - 1e-4, rng=rng, names=list(PAIR_NAMES[:last]),
            ).epsilon_lower
            for mechanism, last, each in (
                (single, len(PAIRS), samples), (AtCorners(single), 4, samples // 4)
            )
        ]  # fmt: skip
        told = f"the audit proves ε ≥ {max(proofs):.2f} of the statistic"
        parts[f"{told}, claimed is {epsilon:.3g}"] = max(proofs) / epsilon
        values = [(LOW + HIGH) / 2] * 300
        outputs = single.many((values, values), [0] * 8_000, epsilon, rng)
        pairs = [numbers(each, 2) for each in outputs]
        read = None if any(pair is None for pair in pairs) else laplace_epsilon(np.array(pairs))
        # 1 % is the standard error.
        if read and read[0] > LAPLACE_TOLERANCE * epsilon:
            told = f"the statistic's noise spends ε = {read[0]:.3g}"
            parts[f"{told}, claimed is {epsilon:.3g}"] = read[0] / epsilon
    else:
        parts["the statistic promises nothing"] = math.inf
    # 1.9 and 0.1 may add up to a last bit more than 2.
    parts = {what: ratio if ratio > 1 + 1e-9 else min(ratio, 1.0) for what, ratio in parts.items()}
    broken = [what for what, ratio in parts.items() if ratio > 1]
    told = "; ".join(broken or parts)
    told = f"{told[0].upper()}{told[1:]}."
    # A picture needs a number: what is without bound counts as a hundred times too much.
    worst = min(max(parts.values()), 100.0)
    return Finding("audit", worst, 1.0, "ε found / ε allowed", told)


def statistic_error(
    design: Design, case: Case, rng: np.random.Generator, times: int = 400
) -> float:
    """Return the mean absolute error of the mean cholesterol, in mg/dl.

    It is the larger one of two: for the patients, and for the same with values lower by a fifth. A
    mean that somebody knew before and wrote into the code is worth nothing.
    """
    sets = [case.cholesterol, [0.8 * value for value in case.cholesterol]]
    inputs = [(values, design.plan["epsilon_statistic"]) for values in sets]
    choices = [0] * times + [1] * times
    found = guarded("statistic", lambda: design.many(design, "statistic", inputs, choices, rng))
    pairs = [numbers(each, 2) for each in found]
    if any(pair is None for pair in pairs):
        raise Unusable("`statistic` must return two finite numbers: sum (mg/dl) and count.")
    totals, counts = np.array(pairs).T
    means = np.clip(totals / np.maximum(counts, 1), LOW, HIGH)
    errors = np.abs(means.reshape(2, times) - [[np.mean(values)] for values in sets])
    return float(errors.mean(axis=1).max())
