"""Mechanisms whose privacy is known: correct ones, each with a proof sketch, and buggy twins.

Every mechanism is a function ``(data, epsilon, rng)`` that claims (epsilon, delta)-DP for every
epsilon; the tests claim 0.5 and 1.5. Neighbours are made in one of three ways:

* add/remove: one record more or less;
* replace: one record changed;
* answers: the data are answers to counting queries, each of which may change by 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

ADD, REPLACE, ANSWERS = "add/remove", "replace", "answers"


@dataclass(frozen=True)
class Case:
    name: str
    mechanism: Callable
    adjacency: str
    pairs: list[tuple[Any, Any]]
    correct: bool
    why: str
    delta: float = 0.0
    floating_point: bool = False
    epsilons: tuple[float, ...] = (0.5, 1.5)


CASES: list[Case] = []


def _add(correct, adjacency, pairs, why, **options):
    def register(mechanism):
        name = mechanism.__name__
        CASES.append(Case(name, mechanism, adjacency, pairs, correct, why, **options))
        return mechanism

    return register


def correct(adjacency, pairs, why, **options):
    """Register a mechanism that keeps its promise; ``why`` is the proof in one line."""
    return _add(True, adjacency, pairs, why, **options)


def buggy(adjacency, pairs, why, **options):
    """Register a mechanism that breaks its promise."""
    return _add(False, adjacency, pairs, why, **options)


# ---- counts --------------------------------------------------------------------------------------

COUNTS = [([1] * 10, [1] * 9), ([1], []), ([1, 1, 1], [1, 1])]


@correct(ADD, COUNTS, "the count changes by 1 at most; Laplace noise of scale 1/ε")
def count_laplace(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon)


@buggy(ADD, COUNTS, "no noise")
def count_exact(data, epsilon, rng):
    return len(data)


@buggy(ADD, COUNTS, "the same noise every time")
def count_reseeded(data, epsilon, rng):
    return len(data) + np.random.default_rng(0).laplace(0, 1 / epsilon)


@buggy(ADD, COUNTS, "the noise is a function of the data")
def count_noise_from_data(data, epsilon, rng):
    return len(data) + np.random.default_rng(len(data)).laplace(0, 1 / epsilon)


@buggy(ADD, COUNTS, "the scale is ε, not 1/ε: too little noise below 1")
def count_scale_epsilon(data, epsilon, rng):
    return len(data) + rng.laplace(0, epsilon)


@buggy(ADD, COUNTS, "the scale is 1/ε²: too little noise above 1")
def count_scale_squared(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon**2)


@buggy(ADD, COUNTS, "half the noise")
def count_half_noise(data, epsilon, rng):
    return len(data) + rng.laplace(0, 0.5 / epsilon)


@buggy(ADD, COUNTS, "noise with one sign: values below the count never come up")
def count_positive_noise(data, epsilon, rng):
    return len(data) + abs(rng.laplace(0, 1 / epsilon))


@buggy(ADD, COUNTS, "bounded noise: the ends of its range tell the data sets apart")
def count_uniform(data, epsilon, rng):
    return len(data) + rng.uniform(-2 / epsilon, 2 / epsilon)


@buggy(ADD, COUNTS, "Gaussian noise of standard deviation 1/ε is not pure ε-DP")
def count_gaussian(data, epsilon, rng):
    return len(data) + rng.normal(0, 1 / epsilon)


@correct(ADD, COUNTS, "rounding and clamping the Laplace count is post-processing")
def count_rounded(data, epsilon, rng):
    return max(0, round(len(data) + rng.laplace(0, 1 / epsilon)))


@buggy(ADD, COUNTS, "drawing again until the count is positive: how often depends on the data")
def count_redrawn(data, epsilon, rng):
    while True:
        answer = len(data) + rng.laplace(0, 1 / epsilon)
        if answer >= 0:
            return answer


@correct(ADD, COUNTS, "hiding small noisy counts is post-processing")
def count_none_if_noisy_is_small(data, epsilon, rng):
    answer = len(data) + rng.laplace(0, 1 / epsilon)
    return answer if answer >= 3 else None


@buggy(ADD, COUNTS, "whether the count is hidden depends on the true count")
def count_none_if_true_is_small(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon) if len(data) >= 3 else None


@buggy(ADD, COUNTS, "the empty data set raises an exception")
def count_fails_on_empty(data, epsilon, rng):
    return len(data) * data[0] + rng.laplace(0, 1 / epsilon)


@buggy(ADD, COUNTS, "the true count, once in a hundred calls")
def count_sometimes_exact(data, epsilon, rng):
    return len(data) + (rng.laplace(0, 1 / epsilon) if rng.random() > 0.01 else 0)


@correct(ADD, COUNTS, "P(x)/P(x+1) of the two-sided geometric with ratio e^-ε is e^ε at most")
def count_geometric(data, epsilon, rng):
    p = 1 - math.exp(-epsilon)
    return len(data) + int(rng.geometric(p)) - int(rng.geometric(p))


@buggy(ADD, COUNTS, "p = ε, the first-order approximation of 1 - e^-ε")
def count_geometric_wrong(data, epsilon, rng):
    p = min(epsilon, 0.99)
    return len(data) + int(rng.geometric(p)) - int(rng.geometric(p))


@correct(ADD, COUNTS, "noise on the grid 0.01: integer counts stay on it, cells shift whole")
def count_noise_on_grid(data, epsilon, rng):
    return round(len(data) + round(rng.laplace(0, 1 / epsilon), 2), 2)


@buggy(ADD, [([0.3, 0.4], [0.3])], "whole noise on a sum that is not: its fraction shows")
def sum_whole_noise(data, epsilon, rng):
    return sum(data) + round(rng.laplace(0, 1 / epsilon))


# ---- composition ---------------------------------------------------------------------------------


@correct(ADD, COUNTS, "three answers of ε/3 each compose to ε")
def three_counts_split(data, epsilon, rng):
    return len(data) + rng.laplace(0, 3 / epsilon, 3)


@buggy(ADD, COUNTS, "three answers of ε each compose to 3ε")
def three_counts_unsplit(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon, 3)


@correct(ADD, COUNTS, "the mean of four answers of ε/4 each is post-processing of ε")
def average_split(data, epsilon, rng):
    return float((len(data) + rng.laplace(0, 4 / epsilon, 4)).mean())


@buggy(ADD, COUNTS, "the mean of four answers of ε each")
def average_unsplit(data, epsilon, rng):
    return float((len(data) + rng.laplace(0, 1 / epsilon, 4)).mean())


@buggy(ADD, COUNTS, "two answers share their noise: the difference is exact")
def count_and_sum_shared_noise(data, epsilon, rng):
    noise = rng.laplace(0, 2 / epsilon)
    return {"count": len(data) + noise, "twice": 2 * len(data) + noise}


@correct(ADD, COUNTS, "count and sum of ones with ε/2 and fresh noise each compose to ε")
def count_and_sum_fresh_noise(data, epsilon, rng):
    noise = rng.laplace(0, 2 / epsilon, 2)
    return {"count": len(data) + noise[0], "sum": sum(data) + noise[1]}


def _sampled(data, rng, rate=0.1):
    return sum(rng.random() < rate for _ in data)


@correct(ADD, COUNTS, "sampling at rate q: ln(1 + q(e^ε' - 1)) = ε (Balle, Barthe, Gaboardi 2018)")
def sampled_count(data, epsilon, rng):
    inner = math.log1p(math.expm1(epsilon) / 0.1)
    return _sampled(data, rng) + rng.laplace(0, 1 / inner)


@buggy(ADD, COUNTS, "amplification taken as ε' = ε/q, which holds for small ε' only")
def sampled_count_linear(data, epsilon, rng):
    return _sampled(data, rng) + rng.laplace(0, 0.1 / epsilon)


# ---- sums and means ------------------------------------------------------------------------------

SUMS = [([3, 100], [3]), ([1, 2, -70], [1, 2]), ([9, -70], [9]), ([5], []), ([0, 0], [0])]
SWAPS = [([5, 1, 1], [-5, 1, 1]), ([100, 0], [-100, 0]), ([0], [2])]
NANS = [([1, 2, math.nan], [1, 2]), ([5], [])]


def _clip(data, low, high):
    return [min(max(value, low), high) for value in data]


@correct(ADD, SUMS, "a clipped value is 5 at most in size; Laplace of scale 5/ε")
def sum_clipped(data, epsilon, rng):
    return sum(_clip(data, -5, 5)) + rng.laplace(0, 5 / epsilon)


@buggy(ADD, SUMS, "values are not clipped")
def sum_unclipped(data, epsilon, rng):
    return sum(data) + rng.laplace(0, 5 / epsilon)


@buggy(ADD, SUMS, "only clipped from above")
def sum_clipped_above(data, epsilon, rng):
    return sum(min(value, 5) for value in data) + rng.laplace(0, 5 / epsilon)


@buggy(ADD, SUMS, "the clipping bound is taken from the data")
def sum_bound_from_data(data, epsilon, rng):
    bound = max(map(abs, data), default=1) or 1
    return sum(data) + rng.laplace(0, bound / epsilon)


@buggy(ADD, SUMS, "the sum is clipped, not the values: it moves by 10")
def sum_clipped_late(data, epsilon, rng):
    return min(max(sum(data), -5), 5) + rng.laplace(0, 5 / epsilon)


@correct(REPLACE, SWAPS, "replacing a value in [-5, 5] moves the sum by 10 at most")
def sum_replace(data, epsilon, rng):
    return sum(_clip(data, -5, 5)) + rng.laplace(0, 10 / epsilon)


@buggy(REPLACE, SWAPS, "the sensitivity of add/remove, used for replace")
def sum_replace_half(data, epsilon, rng):
    return sum(_clip(data, -5, 5)) + rng.laplace(0, 5 / epsilon)


@correct(ADD, NANS, "NaN becomes 0 before clipping; then as sum_clipped")
def sum_nan_is_zero(data, epsilon, rng):
    known = [0 if value != value else value for value in data]
    return sum(_clip(known, -5, 5)) + rng.laplace(0, 5 / epsilon)


@buggy(ADD, NANS, "NaN goes through the clipping and betrays its record")
def sum_nan_passes(data, epsilon, rng):
    return float(np.sum(np.clip(data, -5, 5))) + rng.laplace(0, 5 / epsilon)


MEAN_SWAPS = [([1, 0, 0, 0, 0], [0, 0, 0, 0, 0]), ([9, 1], [-9, 1]), ([0], [1])]
MEANS = [([1, 0, 0, 0, 0], [0, 0, 0, 0]), ([1, 1], [1]), ([0, 0], [0]), ([1, 0], [0])]


@correct(REPLACE, MEAN_SWAPS, "n is public; a replaced value in [0, 1] moves the mean by 1/n")
def mean_known_n(data, epsilon, rng):
    return sum(_clip(data, 0, 1)) / len(data) + rng.laplace(0, 1 / (len(data) * epsilon))


@buggy(ADD, MEANS, "n is not public under add/remove, but the scale shows it")
def mean_scale_shows_n(data, epsilon, rng):
    return sum(_clip(data, 0, 1)) / len(data) + rng.laplace(0, 1 / (len(data) * epsilon))


@correct(ADD, MEANS, "sum and count with ε/2 each; the ratio is post-processing")
def mean_unknown_n(data, epsilon, rng):
    total = sum(_clip(data, 0, 1)) + rng.laplace(0, 2 / epsilon)
    return total / max(1.0, len(data) + rng.laplace(0, 2 / epsilon))


@buggy(ADD, MEANS, "sum and count with ε each")
def mean_parts_unsplit(data, epsilon, rng):
    total = sum(_clip(data, 0, 1)) + rng.laplace(0, 1 / epsilon)
    return total, len(data) + rng.laplace(0, 1 / epsilon)


@buggy(ADD, MEANS, "the noisy sum is divided by the true count")
def mean_true_count(data, epsilon, rng):
    return (sum(_clip(data, 0, 1)) + rng.laplace(0, 1 / epsilon)) / len(data)


# ---- histograms ----------------------------------------------------------------------------------

MORE = [("aab", "aa"), ("abc", "ab"), ("a", "")]
OTHER = [("aab", "aac"), ("abc", "abb"), ("a", "b")]


def _bars(data):
    return [data.count(letter) for letter in "abc"]


@correct(ADD, MORE, "a record changes one bar by 1; Laplace of scale 1/ε on all bars")
def histogram(data, epsilon, rng):
    return _bars(data) + rng.laplace(0, 1 / epsilon, 3)


@buggy(ADD, MORE, "all bars share their noise")
def histogram_shared_noise(data, epsilon, rng):
    noise = rng.laplace(0, 1 / epsilon)
    return [bar + noise for bar in _bars(data)]


@correct(REPLACE, OTHER, "a replaced record changes two bars by 1; scale 2/ε")
def histogram_replace(data, epsilon, rng):
    return _bars(data) + rng.laplace(0, 2 / epsilon, 3)


@buggy(REPLACE, OTHER, "the sensitivity of add/remove, used for replace")
def histogram_replace_half(data, epsilon, rng):
    return _bars(data) + rng.laplace(0, 1 / epsilon, 3)


@correct(
    ADD, MORE, "noise on every letter of a public list; dropping noisy bars is post-processing"
)
def histogram_dropped_if_noisy_is_small(data, epsilon, rng):
    noisy = {letter: data.count(letter) + rng.laplace(0, 1 / epsilon) for letter in "abc"}
    return {letter: bar for letter, bar in noisy.items() if bar > 1}


@buggy(ADD, MORE, "only letters that occur are released")
def histogram_of_what_occurs(data, epsilon, rng):
    return {each: data.count(each) + rng.laplace(0, 1 / epsilon) for each in sorted(set(data))}


@correct(
    ADD, MORE, "a lone record gets through with ½e^(-ε(T-1)) = δ; else as histogram", delta=0.01
)
def histogram_stability(data, epsilon, rng):
    threshold = 1 + math.log(1 / (2 * 0.01)) / epsilon
    noisy = {each: data.count(each) + rng.laplace(0, 1 / epsilon) for each in sorted(set(data))}
    return {letter: bar for letter, bar in noisy.items() if bar > threshold}


@buggy(
    ADD, MORE, "the threshold forgets δ: a lone record gets through half of the time", delta=0.01
)
def histogram_stability_low(data, epsilon, rng):
    noisy = {each: data.count(each) + rng.laplace(0, 1 / epsilon) for each in sorted(set(data))}
    return {letter: bar for letter, bar in noisy.items() if bar > 1}


# ---- selection -----------------------------------------------------------------------------------

VOTES = [([1, 0, 0], [0, 1, 1]), ([1, 1, 1], [0, 0, 0]), ([2, 1, 1], [1, 2, 1])]


@correct(ANSWERS, VOTES, "report noisy max with Laplace 2/ε (Dwork and Roth 2014)")
def noisy_max_laplace(data, epsilon, rng):
    return int(np.argmax(data + rng.laplace(0, 2 / epsilon, 3)))


@correct(ANSWERS, VOTES, "noise Exp(2/ε): permute-and-flip (Ding et al. 2021)")
def noisy_max_exponential(data, epsilon, rng):
    return int(np.argmax(data + rng.exponential(2 / epsilon, 3)))


@buggy(ANSWERS, VOTES, "the scale misses the factor 2: answers move both ways")
def noisy_max_half_noise(data, epsilon, rng):
    return int(np.argmax(data + rng.exponential(1 / epsilon, 3)))


@buggy(ANSWERS, VOTES, "the noisy maximum itself is released")
def noisy_max_value(data, epsilon, rng):
    return float(np.max(data + rng.laplace(0, 2 / epsilon, 3)))


@buggy(ANSWERS, VOTES, "the noisy maximum, with noise of one sign")
def noisy_max_value_exponential(data, epsilon, rng):
    noisy = data + rng.exponential(2 / epsilon, 3)
    return int(np.argmax(noisy)), float(np.max(noisy))


@correct(ANSWERS, VOTES, "ε/2 for the position, ε/2 for the value with fresh noise")
def noisy_max_fresh_value(data, epsilon, rng):
    winner = int(np.argmax(data + rng.laplace(0, 4 / epsilon, 3)))
    return winner, data[winner] + rng.laplace(0, 2 / epsilon)


def _draw(scores, rng):
    weights = np.cumsum([math.exp(score) for score in scores])
    return int(np.searchsorted(weights, rng.random() * weights[-1]))


@correct(ANSWERS, VOTES, "exponential mechanism, weights e^(εu/2) (McSherry and Talwar 2007)")
def exponential_mechanism(data, epsilon, rng):
    return "abc"[_draw([epsilon * vote / 2 for vote in data], rng)]


@buggy(ANSWERS, VOTES, "weights e^(εu): the factor ½ is forgotten")
def exponential_mechanism_no_half(data, epsilon, rng):
    return "abc"[_draw([epsilon * vote for vote in data], rng)]


# ---- sparse vector: the six variants of Lyu, Su and Li (2017) ------------------------------------

STREAMS = [
    ([0] * 8 + [1], [1] * 8 + [0]),
    ([0] * 8, [1] * 4 + [-1] * 4),
    ([1, 1, 1, 0, 0], [0, 0, 0, 1, 1]),
    ([0, 1], [1, 0]),
]


def _sparse_vector(data, rng, threshold_scale, noise_scale, most, values=False, redraw=False):
    bar = rng.laplace(0, threshold_scale)
    noisy = data + (rng.laplace(0, noise_scale, len(data)) if noise_scale else np.zeros(len(data)))
    answers, above = [], 0
    for value in noisy.tolist():
        answers.append((value if values else True) if value >= bar else False)
        if value >= bar:
            above += 1
            if above == most:
                break
            if redraw:
                bar = rng.laplace(0, threshold_scale)
    return answers


@correct(ANSWERS, STREAMS, "algorithm 1: ε/2 for the threshold, 2c/(ε/2) for the answers, c = 2")
def sparse_vector_1(data, epsilon, rng):
    return _sparse_vector(data, rng, 2 / epsilon, 8 / epsilon, 2)


@correct(ANSWERS, STREAMS, "algorithm 2 (Dwork and Roth 2014): as 1, with a fresh threshold")
def sparse_vector_2(data, epsilon, rng):
    return _sparse_vector(data, rng, 4 / epsilon, 8 / epsilon, 2, redraw=True)


@buggy(ANSWERS, STREAMS, "algorithm 3 (Roth 2011) releases the noisy answer above the threshold")
def sparse_vector_3(data, epsilon, rng):
    return _sparse_vector(data, rng, 2 / epsilon, 2 / epsilon, 1, values=True)


@buggy(
    ANSWERS, STREAMS, "algorithm 4 (Lee and Clifton 2014): the noise ignores c; 13/4 ε for c = 2"
)
def sparse_vector_4(data, epsilon, rng):
    return _sparse_vector(data, rng, 4 / epsilon, 4 / (3 * epsilon), 2)


@buggy(ANSWERS, STREAMS, "algorithm 5 (Stoddard et al. 2014): no noise on the answers")
def sparse_vector_5(data, epsilon, rng):
    return _sparse_vector(data, rng, 2 / epsilon, 0, len(data))


@buggy(ANSWERS, STREAMS, "algorithm 6 (Chen et al. 2015): no limit on the answers above")
def sparse_vector_6(data, epsilon, rng):
    return _sparse_vector(data, rng, 2 / epsilon, 2 / epsilon, len(data))


# ---- local: randomised response ------------------------------------------------------------------

BITS = [(0, 1)]
SYMBOLS = [("a", "b"), ("c", "d")]


def _odds(epsilon):
    return math.exp(epsilon) / (1 + math.exp(epsilon))


@correct(REPLACE, BITS, "true with e^ε/(1+e^ε): the ratio is e^ε exactly (Warner 1965)")
def randomised_response(data, epsilon, rng):
    return data if rng.random() < _odds(epsilon) else 1 - data


@buggy(REPLACE, BITS, "when not true, the answer is a coin: true half of those times, too")
def randomised_response_coin(data, epsilon, rng):
    return data if rng.random() < _odds(epsilon) else int(rng.integers(2))


@buggy(REPLACE, BITS, "always 3/4, whatever ε: that is ln 3")
def randomised_response_three_quarters(data, epsilon, rng):
    return data if rng.random() < 0.75 else 1 - data


@buggy(REPLACE, BITS, "only 'yes' is randomised")
def randomised_response_one_sided(data, epsilon, rng):
    return bool(data and rng.random() < _odds(epsilon))


def _symbol(data, truth, rng):
    if rng.random() < truth:
        return data
    return "abcd".replace(data, "")[int(rng.random() * 3)]


@correct(REPLACE, SYMBOLS, "true with e^ε/(e^ε+k-1), each other with 1/(e^ε+k-1)")
def k_randomised_response(data, epsilon, rng):
    return _symbol(data, math.exp(epsilon) / (math.exp(epsilon) + 3), rng)


@buggy(REPLACE, SYMBOLS, "the formula of two answers, used for four: 3e^ε")
def k_randomised_response_binary(data, epsilon, rng):
    return _symbol(data, _odds(epsilon), rng)


def _unary(data, keep, lie, rng):
    chances = np.full(4, lie)
    chances["abcd".index(data)] = keep
    return (rng.random(4) < chances).tolist()


@correct(REPLACE, SYMBOLS, "two bits differ, ε/2 each (symmetric; Wang et al. 2017)")
def unary_encoding(data, epsilon, rng):
    return _unary(data, _odds(epsilon / 2), 1 - _odds(epsilon / 2), rng)


@buggy(REPLACE, SYMBOLS, "ε for each bit, but two bits differ")
def unary_encoding_unsplit(data, epsilon, rng):
    return _unary(data, _odds(epsilon), 1 - _odds(epsilon), rng)


@correct(REPLACE, SYMBOLS, "optimised: p(1-q)/((1-p)q) = e^ε for p = ½, q = 1/(1+e^ε)")
def unary_encoding_optimised(data, epsilon, rng):
    return _unary(data, 0.5, 1 - _odds(epsilon), rng)


@buggy(REPLACE, SYMBOLS, "zeros are never flipped")
def unary_encoding_zeros(data, epsilon, rng):
    return _unary(data, 0.5, 0.0, rng)


# ---- Gaussian vectors ----------------------------------------------------------------------------

DELTA = 1e-3
UNIT = np.eye(4)[:1]
VECTORS = [
    (np.vstack([UNIT, UNIT]), UNIT),
    (np.vstack([UNIT, 0 * UNIT, np.ones((1, 4))]), np.vstack([UNIT, 0 * UNIT])),
    (np.vstack([9 * UNIT, -9 * UNIT * 2]), 9 * UNIT),
    (UNIT, np.empty((0, 4))),
]
VECTOR_SWAPS = [(np.vstack([UNIT, UNIT]), np.vstack([-UNIT, UNIT])), (3 * UNIT, -np.ones((1, 4)))]


@cache
def _sigma(epsilon, delta=DELTA):
    """The exact noise for sensitivity 1; Balle and Wang (2018), theorem 8."""

    def excess(sigma):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return ndtr(a - b) - math.exp(epsilon) * ndtr(-a - b) - delta

    # A hair above the root: the claim must hold, not nearly hold.
    return brentq(excess, 0.05, 1_000, xtol=1e-12) * (1 + 1e-9)


def _clip_rows(data):
    return data / np.maximum(1, np.sqrt((data**2).sum(axis=1, keepdims=True)))


@correct(ADD, VECTORS, "rows of norm 1 at most; analytic Gaussian noise", delta=DELTA)
def gaussian_sum(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, _sigma(epsilon), 4)


@buggy(ADD, VECTORS, "half the noise", delta=DELTA)
def gaussian_half_noise(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, _sigma(epsilon) / 2, 4)


@buggy(ADD, VECTORS, "rows are not clipped", delta=DELTA)
def gaussian_unclipped(data, epsilon, rng):
    return data.sum(axis=0) + rng.normal(0, _sigma(epsilon), 4)


@buggy(ADD, VECTORS, "every entry is clipped, not the norm: it may be 2", delta=DELTA)
def gaussian_clipped_by_entry(data, epsilon, rng):
    return np.clip(data, -1, 1).sum(axis=0) + rng.normal(0, _sigma(epsilon), 4)


@buggy(ADD, VECTORS, "the sum is clipped, not the rows: it moves by 2", delta=DELTA)
def gaussian_clipped_late(data, epsilon, rng):
    total = data.sum(axis=0)
    norm = max(1.0, math.sqrt(total @ total))
    return total / norm + rng.normal(0, _sigma(epsilon), 4)


@buggy(ADD, VECTORS, "all entries share their noise", delta=DELTA)
def gaussian_shared_noise(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, _sigma(epsilon))


@buggy(ADD, VECTORS, "σ was taken for the variance: the standard deviation is √σ", delta=DELTA)
def gaussian_root(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, math.sqrt(_sigma(epsilon)), 4)


@correct(REPLACE, VECTOR_SWAPS, "replacing a row moves the sum by 2 at most; 2σ", delta=DELTA)
def gaussian_replace(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, 2 * _sigma(epsilon), 4)


@buggy(REPLACE, VECTOR_SWAPS, "the sensitivity of add/remove, used for replace", delta=DELTA)
def gaussian_replace_half(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.normal(0, _sigma(epsilon), 4)


# ---- prefix sums ---------------------------------------------------------------------------------

EVENTS = [
    (np.array([1, 0, 0, 0, 0, 0, 0, 0]), np.zeros(8, int)),
    (np.array([1, 1, 0, 1, 0, 1, 1, 1]), np.array([1, 1, 0, 1, 0, 1, 1, 0])),
]


@correct(REPLACE, EVENTS, "one bit moves up to 8 prefix sums by 1; scale 8/ε")
def prefix_sums(data, epsilon, rng):
    return np.cumsum(data) + rng.laplace(0, 8 / epsilon, 8)


@buggy(REPLACE, EVENTS, "every prefix sum gets the whole ε")
def prefix_sums_unsplit(data, epsilon, rng):
    return np.cumsum(data) + rng.laplace(0, 1 / epsilon, 8)


@correct(REPLACE, EVENTS, "noisy bits, ε for the one that changed; adding up is post-processing")
def prefix_sums_of_noisy_bits(data, epsilon, rng):
    return np.cumsum(data + rng.laplace(0, 1 / epsilon, 8))


def _tree(data):
    levels = [data, data.reshape(4, 2).sum(1), data.reshape(2, 4).sum(1), data.sum(keepdims=True)]
    return np.concatenate(levels)


@correct(REPLACE, EVENTS, "a bit is in 4 nodes; scale 4/ε (Chan, Shi and Song 2011)")
def binary_tree(data, epsilon, rng):
    return _tree(data) + rng.laplace(0, 4 / epsilon, 15)


@buggy(REPLACE, EVENTS, "every level gets the whole ε")
def binary_tree_unsplit(data, epsilon, rng):
    return _tree(data) + rng.laplace(0, 1 / epsilon, 15)


@buggy(REPLACE, EVENTS, "log2(8) = 3 levels, but there are 4")
def binary_tree_off_by_one(data, epsilon, rng):
    return _tree(data) + rng.laplace(0, 3 / epsilon, 15)


# ---- median --------------------------------------------------------------------------------------

AGES = [
    ([0, 0, 10, 10, 10], [0, 0, 0, 10, 10]),
    ([0, 0, 0, 10, 10], [0, 0, 0, 0, 10]),
    ([5, 5, 5, 5, 10], [5, 5, 5, 5, 0]),
]
AGES_MORE = [([0, 0, 10, 10, 10], [0, 0, 10, 10]), ([0, 10, 10], [10, 10]), ([7], [])]


@correct(ADD, AGES_MORE, "u = -|below - above| moves by 1 at most; exponential mechanism")
def median_exponential(data, epsilon, rng):
    scores = [-abs(sum(a < x for a in data) - sum(a > x for a in data)) for x in range(0, 11, 2)]
    return 2 * _draw([epsilon * score / 2 for score in scores], rng)


@buggy(REPLACE, AGES, "the sensitivity of a mean (10/n) on a median, which may jump by 10")
def median_sensitivity_of_mean(data, epsilon, rng):
    return sorted(data)[2] + rng.laplace(0, 10 / (5 * epsilon))


@buggy(REPLACE, AGES, "the local sensitivity tells what the data are")
def median_local_sensitivity(data, epsilon, rng):
    values = sorted(data)
    local = max(values[3] - values[2], values[2] - values[1])
    return values[2] + rng.laplace(0, max(local, 0.1) / epsilon)


@cache
def _smooth_sensitivity(values, beta):
    padded = dict(enumerate(values))

    def at(position):
        return 0 if position < 0 else padded.get(position, 10)

    return max(
        math.exp(-k * beta) * max(at(2 + t) - at(2 + t - k - 1) for t in range(k + 2))
        for k in range(6)
    )


@correct(REPLACE, AGES, "Cauchy noise of 6S/ε, S the ε/6-smooth sensitivity (Nissim et al. 2007)")
def median_smooth(data, epsilon, rng):
    values = tuple(sorted(data))
    scale = 6 * _smooth_sensitivity(values, epsilon / 6) / epsilon
    return values[2] + scale * rng.standard_cauchy()


@buggy(REPLACE, AGES, "a maximum with the sensitivity of a count")
def maximum_as_count(data, epsilon, rng):
    return max(data) + rng.laplace(0, 1 / epsilon)


# ---- floating point (Mironov 2012) ---------------------------------------------------------------


@buggy(ADD, COUNTS, "the lowest bits show the count", floating_point=True)
def floating_laplace(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon)


@correct(ADD, COUNTS, "integers have no lowest bits that differ; as count_geometric",
         floating_point=True)  # fmt: skip
def floating_geometric(data, epsilon, rng):
    return count_geometric(data, epsilon, rng)


@correct(ADD, COUNTS, "rounding to 1/16 hides the bits; what is left is below 1e-12",
         floating_point=True)  # fmt: skip
def floating_rounded(data, epsilon, rng):
    return round((len(data) + rng.laplace(0, 1 / epsilon)) * 16) / 16
