"""How large epsilon must be, given how often an event came up: exact, one-sided bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

#: The bound where an event tells nothing.
NOTHING = -np.inf

#: For δ > 0: the part of alpha that goes to the bound on the event's probability.
PROBABILITY_PART = 0.1


def share_lower(hits: ArrayLike, trials: ArrayLike, alpha: float) -> np.ndarray:
    """Bound the probability of a hit from below (exact, one-sided).

    Source: C. J. Clopper and E. S. Pearson, "The Use of Confidence or Fiducial Limits Illustrated
    in the Case of the Binomial" (1934).

    Args:
        hits: How many trials were hits.
        trials: How many trials there were.
        alpha: The probability that the bound may lie above the truth.

    Returns:
        The lower bounds, 0 where there was no hit.
    """
    hits, trials = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    bound = betaincinv(np.maximum(hits, 1e-9), np.maximum(trials - hits, 0) + 1.0, alpha)
    return np.where(hits > 0, bound, 0.0)


def epsilon_lower(
    hits: ArrayLike, total: ArrayLike, runs: ArrayLike, alpha: float, delta: float = 0.0
) -> np.ndarray:
    """Bound epsilon from below: how much more often an event comes up with one data set.

    Every run flips a fair coin for its data set. Let an event have the probability p with the
    favoured data set and q with the other. Given that the event came up, the favoured data set was
    used with probability s = p / (p + q), so among ``total`` runs that hit the event the number of
    favoured ones is binomial with share s.

    Pure DP (δ = 0) demands p ≤ e^ε q, that is s / (1 - s) ≤ e^ε. One lower bound on s is enough.

    (ε, δ)-DP demands p ≤ e^ε q + δ, that is p / q · (p - δ) / p ≤ e^ε. The first factor is again
    s / (1 - s), the second grows with p; so a lower bound on s (with nine tenths of alpha) and one
    on p (with one tenth, from the runs with the favoured data set) together bound ε. Both hold
    at once with probability 1 - alpha at least.

    Args:
        hits: Runs with the favoured data set that hit the event.
        total: All runs that hit the event.
        runs: All runs with the favoured data set.
        alpha: The probability that the bound may lie above the true epsilon.
        delta: The δ of the claim.

    Returns:
        The lower bounds, minus infinity where the event tells nothing.
    """
    share = share_lower(hits, total, alpha * (1 - PROBABILITY_PART) if delta else alpha)
    with np.errstate(divide="ignore"):
        bound = np.log(share) - np.log1p(-share)
        if delta:
            probability = share_lower(hits, runs, alpha * PROBABILITY_PART)
            kept = 1 - delta / np.maximum(probability, 1e-300)
            bound = bound + np.log(np.maximum(kept, 0))
    return np.where(np.isnan(bound), NOTHING, bound)
