"""What a training really costs: the accountants of graders and of the capstone.

``dp-accounting`` is imported inside the functions: most lessons do without it.
"""

from __future__ import annotations

import copy
import math
from functools import cache, lru_cache
from typing import Any

from scipy.optimize import brentq
from scipy.stats import norm

#: Parts of a training: noise multiplier, sample rate, number of steps.
History = tuple[tuple[float, float, int], ...]


@cache
def sampled_epsilon(history: History, delta: float) -> float:
    """Return an upper bound on ε of Gaussian steps on Poisson samples, by dp-accounting's PLD.

    Adjacency: add or remove one record.

    Args:
        history: Noise multiplier, sample rate and number of the steps of each part.
        delta: The δ of the promise.
    """
    return float(_accountant(history).get_epsilon(delta))


@lru_cache(maxsize=64)
def _accountant(history: History) -> Any:
    """Return the accountant of some parts; those of all but the last are put together once."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    if not history:
        # Ten times coarser than the default: a bound all the same, looser by less than 0.1 %.
        return PLDAccountant(value_discretization_interval=1e-3)
    *before, (noise_multiplier, sample_rate, steps) = history
    accountant = copy.deepcopy(_accountant(tuple(before)))
    step = dp_event.GaussianDpEvent(noise_multiplier)
    accountant.compose(dp_event.PoissonSampledDpEvent(sample_rate, step), steps)
    return accountant


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the exact δ of N(0, 1) against N(μ, 1) at ε.

    Source: Borja Balle and Yu-Xiang Wang, "Improving the Gaussian Mechanism for Differential
    Privacy" (2018), theorem 8. T steps of noise multiplier σ on all records have μ = √T / σ.
    """
    ahead, behind = norm.logcdf(mu / 2 - epsilon / mu), norm.logcdf(-mu / 2 - epsilon / mu)
    return math.exp(ahead) - math.exp(epsilon + behind)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest ε at which N(0, 1) against N(μ, 1) needs no more than δ."""
    if gaussian_delta(mu, 0) <= delta:
        return 0.0
    return float(brentq(lambda e: gaussian_delta(mu, e) - delta, 0, mu * mu + 20 * mu))


@cache
def gaussian_sigma(epsilon: float, delta: float, steps: int = 1) -> float:
    """Return the noise multiplier with which some Gaussian steps on all records cost (ε, δ)."""
    mu = brentq(lambda mu: gaussian_delta(mu, epsilon) - delta, 1e-3, 20)
    return float(math.sqrt(steps) / mu)
