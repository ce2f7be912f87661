"""A second corpus of mechanisms whose privacy is known, by another hand than the first.

The form, the adjacencies and the claims are those of ``audit_corpus``. What is here comes from the
literature and from bugs that people make. Two lists:

* SECOND: correct mechanisms, each with its proof, and buggy ones. A buggy one exceeds its claim at
  ε = 0.5 or 1.5 by a factor of 1.25 at least, with an event of probability 1e-3 at least; its
  ``why`` says how, with the true ε (∞: an output that one data set never gives).
* BLIND: mechanisms that break their promise where no audit of their outputs on the given pairs, at
  this number of samples, is expected to see it; ``why`` names the limit.
"""

import hashlib
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import numpy as np
import pandas as pd
from audit_corpus import (
    ADD,
    ANSWERS,
    BITS,
    COUNTS,
    DELTA,
    MORE,
    OTHER,
    REPLACE,
    SYMBOLS,
    VOTES,
    Case,
    _bars,
    _clip,
    _clip_rows,
    _draw,
    _odds,
    _sigma,
    _symbol,
    _unary,
)
from scipy.optimize import brentq

SECOND: list[Case] = []
BLIND: list[Case] = []


def _into(cases, correct):
    def described(adjacency, pairs, why, **options):
        def register(mechanism):
            name = mechanism.__name__
            cases.append(Case(name, mechanism, adjacency, pairs, correct, why, **options))
            return mechanism

        return register

    return described


correct, buggy, blind = _into(SECOND, True), _into(SECOND, False), _into(BLIND, False)


# ---- bounded and unusual noise -------------------------------------------------------------------

LEVELS = [(0, 1), (5, 6), (10, 9)]  # counts known to lie in 0..10


def _inside(level, scale, rng):
    """Laplace noise, drawn again until the answer lies in 0..10."""
    while not 0 <= (answer := level + rng.laplace(0, scale)) <= 10:
        pass
    return answer


@correct(ANSWERS, LEVELS, "clamping is post-processing of Laplace noise of scale 1/ε")
def level_clamped(data, epsilon, rng):
    return min(max(data + rng.laplace(0, 1 / epsilon), 0), 10)


@cache
def _bounded_scale(epsilon):
    """Solve 1/b + ln(C(1)/C(0)) = ε, where C(q) is the chance that a draw lies in 0..10."""

    def share(level, scale):
        return 1 - (math.exp(-level / scale) + math.exp((level - 10) / scale)) / 2

    def excess(scale):
        return 1 / scale + math.log(share(1, scale) / share(0, scale)) - epsilon

    return brentq(excess, 1 / epsilon, 100 / epsilon) * (1 + 1e-9)


@correct(ANSWERS, LEVELS, "the scale also pays for C(1)/C(0), the largest (Holohan et al. 2020)")
def level_redrawn_wide(data, epsilon, rng):
    return _inside(data, _bounded_scale(epsilon), rng)


@buggy(ANSWERS, LEVELS, "scale 1/ε does not pay for C(1)/C(0): 0.83 at ε 0.5 (Holohan et al. 2020)")
def level_redrawn(data, epsilon, rng):
    return _inside(data, 1 / epsilon, rng)


@buggy(ANSWERS, LEVELS, "redrawn until within 2 of the truth: no answer in (q+1, q+2] without, ∞")
def level_redrawn_until_accurate(data, epsilon, rng):
    while abs(noise := rng.laplace(0, 1 / epsilon)) > 2:
        pass
    return data + noise


def _staircase(epsilon, steps, rng):
    step = 1 / (1 + math.exp(epsilon / 2))
    low = step / (step + (1 - step) * math.exp(-epsilon))
    inside = step * rng.random() if rng.random() < low else step + (1 - step) * rng.random()
    return (steps + inside) * (1 if rng.random() < 0.5 else -1)


@correct(ADD, COUNTS, "the density falls by e^-ε per unit, in steps (Geng and Viswanath 2014)")
def count_staircase(data, epsilon, rng):
    return len(data) + _staircase(epsilon, rng.geometric(-math.expm1(-epsilon)) - 1, rng)


@buggy(ADD, COUNTS, "NumPy's geometric starts at 1: no noise within 1 of 0, ∞")
def count_staircase_hollow(data, epsilon, rng):
    return len(data) + _staircase(epsilon, rng.geometric(-math.expm1(-epsilon)), rng)


@correct(
    ADD, COUNTS, "largest ratio (u/2 + √(1 + u²/4))² = e^ε for a shift of u = 2 sinh(ε/2) widths"
)
def count_cauchy(data, epsilon, rng):
    return len(data) + rng.standard_cauchy() / (2 * math.sinh(epsilon / 2))


@buggy(ADD, COUNTS, "half as wide as Laplace of the claim: 2 asinh(ε), 0.96 at ε 0.5")
def count_cauchy_narrow(data, epsilon, rng):
    return len(data) + rng.standard_cauchy() / (2 * epsilon)


@correct(ADD, COUNTS, "the log density of the logistic law has a slope of ε at most")
def count_logistic(data, epsilon, rng):
    return len(data) + rng.logistic(0, 1 / epsilon)


@buggy(
    ADD, COUNTS, "binomial noise has finite support and Gaussian tails (Agarwal et al. 2018: δ > 0)"
)
def count_binomial_pure(data, epsilon, rng):
    trials = math.ceil(4 / epsilon**2)
    return len(data) + int(rng.binomial(trials, 0.5)) - trials // 2


@correct(ADD, COUNTS, "the outermost unit of the noise holds δ (Geng et al. 2020)", delta=DELTA)
def count_truncated(data, epsilon, rng):
    most = math.log1p(math.expm1(epsilon) / (2 * DELTA)) / epsilon
    while abs(noise := rng.laplace(0, 1 / epsilon)) > most:
        pass
    return len(data) + noise


@buggy(
    ADD, COUNTS, "noise cut at 2/ε and the δ forgotten: the outermost unit gives the record away, ∞"
)
def count_truncated_pure(data, epsilon, rng):
    while abs(noise := rng.laplace(0, 1 / epsilon)) > 2 / epsilon:
        pass
    return len(data) + noise


def _whole_noise(epsilon, rng):
    return int(np.subtract(*rng.geometric(-math.expm1(-epsilon), 2)))


@correct(ADD, COUNTS, "the remainder is post-processing of two-sided geometric noise (Ghosh 2009)")
def count_modulo(data, epsilon, rng):
    return (len(data) + _whole_noise(epsilon, rng)) % 16


@buggy(ADD, COUNTS, "uniform noise of half the modulus hides half only: ∞")
def count_half_masked(data, epsilon, rng):
    return (len(data) + int(rng.integers(8))) % 16


@buggy(ADD, COUNTS, "one-sided noise: the true count itself never comes up with one record more, ∞")
def count_one_sided(data, epsilon, rng):
    return len(data) + int(rng.geometric(-math.expm1(-epsilon))) - 1


@buggy(ADD, COUNTS, "noise from a generator with 256 seeds: 256 answers, others with D′, ∞")
def count_256_seeds(data, epsilon, rng):
    return len(data) + np.random.default_rng(rng.integers(256)).laplace(0, 1 / epsilon)


@cache
def _bell(sigma):
    x = np.arange(-math.ceil(20 * sigma), math.ceil(20 * sigma) + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    return x, weights / weights.sum()


@cache
def _whole_sigma(epsilon):
    def excess(sigma):
        chances = _bell(sigma)[1]
        shifted = np.append(chances[1:], 0)
        return np.maximum(chances - math.exp(epsilon) * shifted, 0).sum() - DELTA

    return brentq(excess, 0.3, 50, xtol=1e-10) * 1.001


def _whole_bell(sigma, rng):
    x, chances = _bell(sigma)
    return int(x[np.searchsorted(np.cumsum(chances), rng.random())])


@correct(ADD, COUNTS, "σ from Σ max(p(x) - e^ε p(x+1), 0) = δ (Canonne et al. 2020)", delta=DELTA)
def count_discrete_gaussian(data, epsilon, rng):
    return len(data) + _whole_bell(_whole_sigma(epsilon), rng)


@buggy(ADD, COUNTS, "σ where σ² belongs: the noise is √σ wide", delta=DELTA)
def count_discrete_gaussian_root(data, epsilon, rng):
    return len(data) + _whole_bell(math.sqrt(_whole_sigma(epsilon)), rng)


@buggy(
    ADD, COUNTS, "σ = 1/ε, the factor √(2 ln(1.25/δ)) forgotten: δ is 0.05 at ε 0.5", delta=DELTA
)
def count_gaussian_as_laplace(data, epsilon, rng):
    return len(data) + rng.normal(0, 1 / epsilon)


# ---- local reports -------------------------------------------------------------------------------

LETTERS = [("a", "b"), ("b", "c")]
HADAMARD = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])


def _hadamard_set(data, sign):
    return np.flatnonzero(HADAMARD["abc".index(data)] == sign)


@correct(REPLACE, LETTERS, "each set holds 2 of 4 outputs: e^ε/(1+e^ε) to 1/(1+e^ε) (Acharya 2019)")
def hadamard_response(data, epsilon, rng):
    sign = 1 if rng.random() < _odds(epsilon) else -1
    return int(_hadamard_set(data, sign)[rng.integers(2)])


@buggy(
    REPLACE,
    LETTERS,
    "lies come from all outputs, also the true ones: ln((1+p)/(1-p)), 1.46 at 0.5",
)
def hadamard_lies_from_all(data, epsilon, rng):
    if rng.random() < _odds(epsilon):
        return int(_hadamard_set(data, 1)[rng.integers(2)])
    return int(rng.integers(4))


def _instant(bits, rng):
    return (rng.random(4) < np.where(bits, 0.75, 0.25)).tolist()


def _permanent(data, epsilon, rng):
    return np.array(_unary(data, _odds(epsilon / 2), 1 - _odds(epsilon / 2), rng))


@correct(REPLACE, SYMBOLS, "two permanent bits, ε/2 each; reports post-process (Erlingsson 2014)")
def rappor(data, epsilon, rng):
    bits = _permanent(data, epsilon, rng)
    return [_instant(bits, rng) for _ in range(3)]


@buggy(REPLACE, SYMBOLS, "permanent bits drawn anew for each of 3 reports: they average out")
def rappor_forgets(data, epsilon, rng):
    return [_permanent(data, epsilon, rng).tolist() for _ in range(3)]


@buggy(
    REPLACE,
    SYMBOLS,
    "f = 1/(1+e^(ε/2)) , a share of lies, taken for one of coin flips: 2.5 at ε 0.5",
)
def rappor_share(data, epsilon, rng):
    keep = 1 - (1 - _odds(epsilon / 2)) / 2
    return _unary(data, keep, 1 - keep, rng)


@buggy(REPLACE, SYMBOLS, "two hash functions set four bits, budgeted for two: 2ε")
def rappor_two_hashes(data, epsilon, rng):
    return [_permanent(data, epsilon, rng).tolist() for _ in range(2)]


def _subset(data, epsilon, rng):
    others = list("abcd".replace(data, ""))
    rng.shuffle(others)
    return [data, others[0]] if rng.random() < _odds(epsilon) else others[:2]


@correct(REPLACE, SYMBOLS, "3 pairs with the truth, 3 without: e^ε to 1 (Ye and Barg 2018)")
def subset_selection(data, epsilon, rng):
    return sorted(_subset(data, epsilon, rng))


@buggy(REPLACE, SYMBOLS, "the truth, when it is there, always comes first: ∞")
def subset_truth_first(data, epsilon, rng):
    return _subset(data, epsilon, rng)


def _hashed(data, table, epsilon, rng):
    bit = (table >> "abcd".index(data)) & 1
    return bit if rng.random() < _odds(epsilon) else 1 - bit


@correct(REPLACE, SYMBOLS, "the hash is drawn without the data, its bit told by coin (Wang 2017)")
def local_hashing(data, epsilon, rng):
    table = int(rng.integers(16))
    return table, _hashed(data, table, epsilon, rng)


@buggy(REPLACE, SYMBOLS, "two hashes, ε each: 2ε where both tell the symbols apart")
def local_hashing_twice(data, epsilon, rng):
    return local_hashing(data, epsilon, rng) + local_hashing(data, epsilon, rng)


@buggy(REPLACE, SYMBOLS, "the number of the hash function is made from the symbol: ∞")
def local_hashing_own_table(data, epsilon, rng):
    table = 4 * int(rng.integers(4)) + "abcd".index(data)
    return table, _hashed(data, table, epsilon, rng)


OPINIONS = [(-1.0, 1.0), (0.2, -0.7), (3.0, 1.0)]  # clipped to [-1, 1]


def _one_bit(value, strength, rng):
    return 1 if rng.random() < (1 + value * strength) / 2 else -1


@correct(REPLACE, OPINIONS, "(1+t)/(1-t) = e^ε for t = tanh(ε/2) (Duchi et al. 2018)")
def one_bit_mean(data, epsilon, rng):
    return _one_bit(*_clip([data], -1, 1), math.tanh(epsilon / 2), rng)


@buggy(REPLACE, OPINIONS, "tanh(ε) for (e^ε-1)/(e^ε+1): 2ε")
def one_bit_mean_tanh(data, epsilon, rng):
    return _one_bit(*_clip([data], -1, 1), math.tanh(epsilon), rng)


@buggy(REPLACE, OPINIONS, "not clipped: 3 answers yes with (1+3t)/2, 1 with (1+t)/2; 1.04 at ε 0.5")
def one_bit_mean_unclipped(data, epsilon, rng):
    return _one_bit(data, math.tanh(epsilon / 2), rng)


def _piecewise(value, epsilon, near, rng):
    most = 1 / math.tanh(epsilon / 4)
    left = (most + 1) / 2 * value - (most - 1) / 2
    if rng.random() < near:
        return left + (most - 1) * rng.random()
    place = (most + 1) * rng.random() - most
    return place if place < left else place + most - 1


@correct(REPLACE, OPINIONS, "densities near and far differ by e^ε (Wang et al. 2019, piecewise)")
def piecewise_mean(data, epsilon, rng):
    return _piecewise(*_clip([data], -1, 1), epsilon, _odds(epsilon / 2), rng)


@buggy(REPLACE, OPINIONS, "near with e^ε/(e^ε+1), its width is for e^(ε/2): 1.5ε")
def piecewise_mean_near(data, epsilon, rng):
    return _piecewise(*_clip([data], -1, 1), epsilon, _odds(epsilon), rng)


@buggy(REPLACE, BITS, "two fair coins whatever the claim: ln 3 (Warner's example)")
def two_coins(data, epsilon, rng):
    return data if rng.random() < 0.5 else int(rng.integers(2))


def _answer(data, epsilon, refuse, rng):
    if rng.random() < refuse:
        return None
    return data if rng.random() < _odds(epsilon) else 1 - data


@correct(REPLACE, BITS, "refusing does not depend on the bit; randomised response else")
def refusal(data, epsilon, rng):
    return _answer(data, epsilon, 0.2, rng)


@buggy(REPLACE, BITS, "only who has something to hide refuses: ∞")
def refusal_tells(data, epsilon, rng):
    return _answer(data, epsilon, 0.2 * data, rng)


# ---- shares, shuffles, samples -------------------------------------------------------------------


def _shares(data, modulus, rng):
    first = int(rng.integers(modulus))
    return first, (data - first) % modulus


@correct(REPLACE, BITS, "one share of two is uniform whatever the bit: ε = 0 (Shamir 1979)")
def one_share(data, epsilon, rng):
    return _shares(data, 7, rng)[1]


@buggy(REPLACE, BITS, "both shares, no noise: their sum modulo 7 is the bit, ∞")
def both_shares(data, epsilon, rng):
    return _shares(data, 7, rng)


@buggy(REPLACE, BITS, "both shares of a wide ring: their sum modulo 2^31 is the bit, ∞")
def both_wide_shares(data, epsilon, rng):
    return _shares(data, 2**31, rng)


@buggy(REPLACE, BITS, "one share, the modulus forgotten: 1 comes up with the bit 1 only, ∞")
def one_share_no_modulus(data, epsilon, rng):
    return data - int(rng.integers(7))


THREE_BITS = [([1, 0, 0], [0, 0, 0]), ([1, 1, 0], [1, 1, 1]), ([0, 1, 1], [1, 1, 1])]


def _told(data, epsilon, rng):
    return [bit if rng.random() < _odds(epsilon) else 1 - bit for bit in data]


@correct(REPLACE, THREE_BITS, "randomised response, then a shuffle, which is post-processing")
def shuffled_bits(data, epsilon, rng):
    told = _told(data, epsilon, rng)
    rng.shuffle(told)
    return told


@buggy(REPLACE, THREE_BITS, "3ε each, for the shuffle; all alike still has e^3ε: none without δ")
def shuffled_bits_amplified(data, epsilon, rng):
    return shuffled_bits(data, 3 * epsilon, rng)


@buggy(REPLACE, THREE_BITS, "1.5ε each, and sent in the order of arrival: 1.5ε")
def shuffle_forgotten(data, epsilon, rng):
    return _told(data, 1.5 * epsilon, rng)


def _half(data, rng):
    return [value for value in data if rng.random() < 0.5]


def _before_half(epsilon):
    return math.log1p(2 * math.expm1(epsilon))


@correct(
    REPLACE, THREE_BITS, "ln(1 + (e^ε' - 1)/2) = ε (Balle, Barthe and Gaboardi 2018, theorem 2)"
)
def half_sampled_sum(data, epsilon, rng):
    return sum(_half(data, rng)) + rng.laplace(0, 1 / _before_half(epsilon))


@buggy(REPLACE, THREE_BITS, "who was drawn is told: ε' = 0.83 at ε 0.5 once the record is in")
def half_sampled_known(data, epsilon, rng):
    drawn = rng.random(3) < 0.5
    return drawn.tolist(), drawn @ data + rng.laplace(0, 1 / _before_half(epsilon))


@buggy(REPLACE, THREE_BITS, "every other record is no random sample: ε' for the first record")
def half_sampled_evenly(data, epsilon, rng):
    return sum(data[::2]) + rng.laplace(0, 1 / _before_half(epsilon))


@correct(REPLACE, OTHER[:2], "ln(1 + (e^ε' - 1)/3) = ε for one record of three")
def random_record_told(data, epsilon, rng):
    grown = 1 + 3 * math.expm1(epsilon)
    return _symbol(data[rng.integers(3)], grown / (grown + 3), rng)


@buggy(REPLACE, OTHER[:2], "a raw record, drawn at random: δ is 1/3")
def random_record(data, epsilon, rng):
    return data[rng.integers(3)]


@buggy(ADD, MORE, "20 draws from shares smoothed by Laplace's rule of 1, which is no Laplace noise")
def smoothed_draws(data, epsilon, rng):
    bars = np.add(_bars(data), 1)
    return rng.multinomial(20, bars / bars.sum()).tolist()


# ---- statistics ----------------------------------------------------------------------------------

SHARES = [([1, 0, 0, 0, 0], [0, 0, 0, 0, 0]), ([1, 1, 1, 0, 0], [1, 1, 0, 0, 0])]


@correct(REPLACE, SHARES, "a variance of n values in [0, 1] moves by (n-1)/n² < 1/n = 1/5")
def variance(data, epsilon, rng):
    return np.var(_clip(data, 0, 1)) + rng.laplace(0, 1 / (5 * epsilon))


@buggy(REPLACE, SHARES, "the standard deviation moves by 0.4, with the noise of the variance: 2ε")
def deviation(data, epsilon, rng):
    return np.std(_clip(data, 0, 1)) + rng.laplace(0, 1 / (5 * epsilon))


ROWS = [([[1, 1], [1, 1]], [[1, 1]]), ([[1, -1]], []), ([[0, 0.5]], [])]


def _products(data):
    rows = np.reshape(np.clip(np.array(data, float), -1, 1), (-1, 2))
    return rows.T @ rows


@correct(ADD, ROWS, "three products, each moves by 1 at most; scale 3/ε")
def products(data, epsilon, rng):
    return _products(data)[[0, 0, 1], [0, 1, 1]] + rng.laplace(0, 3 / epsilon, 3)


@buggy(ADD, ROWS, "three products for two columns; scale 2/ε: 1.5ε")
def products_per_column(data, epsilon, rng):
    return _products(data)[[0, 0, 1], [0, 1, 1]] + rng.laplace(0, 2 / epsilon, 3)


@buggy(ADD, ROWS, "budgeted for three, but fresh noise on both halves of the matrix: 4ε/3")
def products_both_halves(data, epsilon, rng):
    return _products(data) + rng.laplace(0, 3 / epsilon, (2, 2))


@correct(ADD, ROWS, "Σx² and Σxy move by 1 each; scale 2/ε; the slope is post-processing")
def slope(data, epsilon, rng):
    noisy = _products(data)[0] + rng.laplace(0, 2 / epsilon, 2)
    return noisy[1] / noisy[0]


@buggy(ADD, ROWS, "no slope where the true Σx² is 0: ∞")
def slope_or_none(data, epsilon, rng):
    return slope(data, epsilon, rng) if _products(data)[0, 0] > 0 else None


@buggy(ADD, ROWS, "noise on Σxy alone: the spread shows Σx², large in the tails")
def slope_noise_above(data, epsilon, rng):
    below, above = _products(data)[0].tolist()
    return (above + rng.laplace(0, 1 / epsilon)) / (below + 1)


POINTS = [([0.1, 0.9], [0.1]), ([0.1, 0.2, 0.9], [0.2, 0.9]), ([1.0, 0.8], [0.8])]


def _centres(data, count_noise, sum_noise):
    points = np.array(_clip(data, 0, 1))
    groups = points[points < 0.5], points[points >= 0.5]
    counts = [len(group) for group in groups] + count_noise
    return ([group.sum() for group in groups] + sum_noise) / counts


@correct(ADD, POINTS, "one count and one sum move, by 1 at most; scale 2/ε (Blum et al. 2005)")
def k_means_step(data, epsilon, rng):
    return _centres(data, *rng.laplace(0, 2 / epsilon, (2, 2)))


@buggy(ADD, POINTS, "an empty group keeps its old centre: ∞")
def k_means_step_keeps_empty(data, epsilon, rng):
    centres = k_means_step(data, epsilon, rng)
    empty = [not any(point < 0.5 for point in data), not any(point >= 0.5 for point in data)]
    return np.where(empty, [0.25, 0.75], centres)


@buggy(ADD, POINTS, "true counts below: an empty group divides by 0, a larger one spreads less")
def k_means_step_true_counts(data, epsilon, rng):
    with np.errstate(divide="ignore"):
        return _centres(data, np.zeros(2), rng.laplace(0, 1 / epsilon, 2))


RANKS = [([0, 0], [0, 0, 10]), ([3, 5], [3]), ([0, 0, 0], [0, 0, 0, 10])]


def _balance(data, place):
    return abs(sum(value < place for value in data) - sum(value > place for value in data))


@correct(ADD, RANKS, "the balance moves by 1; weights e^(-ε/2 · balance) (Smith 2011)")
def median_by_balance(data, epsilon, rng):
    return _draw([-epsilon / 2 * _balance(data, place) for place in range(11)], rng)


@buggy(ADD, RANKS, "weights e^(-ε · balance), but balances rise and fall: 0.82 at ε 0.5")
def median_unhalved(data, epsilon, rng):
    return _draw([-epsilon * _balance(data, place) for place in range(11)], rng)


@buggy(ADD, RANKS, "a squared utility moves by more than 1: 0.96 at ε 0.5")
def median_squared(data, epsilon, rng):
    return _draw([-epsilon / 2 * _balance(data, place) ** 2 for place in range(11)], rng)


@buggy(ADD, RANKS, "places between the least and the largest value only: ∞")
def median_in_true_range(data, epsilon, rng):
    places = range(min(data), max(data) + 1)
    return places[_draw([-epsilon / 2 * _balance(data, place) for place in places], rng)]


AMOUNTS = [([8, 8], [8]), ([1, 100], [1]), ([3], [])]


def _sum_below_bound(data, bound_epsilon, sum_epsilon, rng):
    scores = [-abs(sum(value > bound for value in data) - 1) for bound in (1, 2, 4, 8)]
    bound = 2 ** _draw([bound_epsilon / 2 * score for score in scores], rng)
    return bound, sum(_clip(data, 0, bound)) + rng.laplace(0, bound / sum_epsilon)


@correct(ADD, AMOUNTS, "ε/2 for the bound (exponential mechanism), ε/2 for the sum below it")
def sum_private_bound(data, epsilon, rng):
    return _sum_below_bound(data, epsilon / 2, epsilon / 2, rng)


@buggy(ADD, AMOUNTS, "ε for the bound and ε for the sum: 0.69 at ε 0.5")
def sum_private_bound_unsplit(data, epsilon, rng):
    return _sum_below_bound(data, epsilon, epsilon, rng)


@buggy(ADD, AMOUNTS, "the bound is the median of the data: sum and spread show it")
def sum_bound_median(data, epsilon, rng):
    bound = float(np.median([1, *data]))
    return sum(_clip(data, 0, bound)) + rng.laplace(0, bound / epsilon)


@buggy(ADD, AMOUNTS, "rounded to the power of ten of the largest value: multiples of 100 tell, ∞")
def sum_grid_from_data(data, epsilon, rng):
    grid = 10 ** (len(str(max(data, default=0))) - 1)
    return grid * round((sum(_clip(data, 0, 8)) + rng.laplace(0, 8 / epsilon)) / grid)


@correct(ADD, AMOUNTS, "noise of scale 8/ε, then a fixed grid, which is post-processing")
def sum_fixed_grid(data, epsilon, rng):
    return 10 * round((sum(_clip(data, 0, 8)) + rng.laplace(0, 8 / epsilon)) / 10)


SMALL_INTEGERS = [([50, 50, 50], [50, 50]), ([50], []), ([7, 90], [7])]


@correct(ADD, SMALL_INTEGERS, "wide integers; a clipped value is 50 at most; scale 50/ε")
def sum_int64(data, epsilon, rng):
    return int(np.sum(_clip(data, 0, 50))) + rng.laplace(0, 50 / epsilon)


@buggy(ADD, SMALL_INTEGERS, "150 overflows to -106: the sum moves by 206, scale 50/ε: 4.1ε")
def sum_int8(data, epsilon, rng):
    return int(np.sum(_clip(data, 0, 50), dtype=np.int8)) + rng.laplace(0, 50 / epsilon)


@correct(REPLACE, SHARES, "five blocks, one moves by 1; their mean by 1/5 (Nissim et al. 2007)")
def sample_and_aggregate(data, epsilon, rng):
    return np.mean(_clip(data, 0, 1)) + rng.laplace(0, 1 / (5 * epsilon))


@buggy(REPLACE, SHARES, "overlapping blocks: one record is the largest of two of them, 2ε")
def aggregate_overlapping(data, epsilon, rng):
    blocks = np.maximum(_clip(data, 0, 1), _clip(np.roll(data, 1), 0, 1))
    return np.mean(blocks) + rng.laplace(0, 1 / (5 * epsilon))


# ---- tables, groups, keys ------------------------------------------------------------------------


@correct(REPLACE, OTHER, "the total is the same for all neighbours; two bars move, scale 2/ε")
def bars_and_total(data, epsilon, rng):
    return [len(data), *(_bars(data) + rng.laplace(0, 2 / epsilon, 3))]


@buggy(ADD, MORE, "the same with a record more or less: the exact total tells, ∞")
def bars_and_total_added(data, epsilon, rng):
    return bars_and_total(data, epsilon, rng)


@buggy(ADD, MORE, "bars corrected to sum to the true total: their sum tells, ∞")
def bars_made_consistent(data, epsilon, rng):
    bars = _bars(data) + rng.laplace(0, 1 / epsilon, 3)
    return bars + (len(data) - bars.sum()) / 3


@correct(ADD, MORE, "a record is in one bar; sums of bars are post-processing")
def running_totals_of_bars(data, epsilon, rng):
    return np.cumsum(_bars(data) + rng.laplace(0, 1 / epsilon, 3))


@buggy(ADD, MORE, "noise of scale 1/ε on each running total, of which an 'a' moves three: 3ε")
def running_totals(data, epsilon, rng):
    return np.cumsum(_bars(data)) + rng.laplace(0, 1 / epsilon, 3)


def _two_levels(data, leaf_epsilon, root_epsilon, rng):
    leaves = _bars(data) + rng.laplace(0, 1 / leaf_epsilon, 3)
    return leaves, len(data) + rng.laplace(0, 1 / root_epsilon)


@correct(ADD, MORE, "ε/2 a level; making leaves agree is post-processing (Hay et al. 2010)")
def tree_consistent(data, epsilon, rng):
    leaves, root = _two_levels(data, epsilon / 2, epsilon / 2, rng)
    return leaves + (root - leaves.sum()) / 4


@buggy(ADD, MORE, "ε for the root and ε/2 for the leaves: 1.5ε")
def tree_budgets_halve(data, epsilon, rng):
    leaves, root = _two_levels(data, epsilon / 2, epsilon, rng)
    return [root, *leaves]


BARE = [("aaab", "aaa"), ("aa", "a"), ("aaaaaab", "aaaaaa")]


def _least(epsilon):
    return 1 + math.log(1 / (2 * DELTA)) / epsilon


def _noisy_keys(data, epsilon, rng):
    return {key: data.count(key) + rng.laplace(0, 1 / epsilon) for key in sorted(set(data))}


@correct(ADD, BARE, "a lone key passes the bar with δ at most (Korolova et al. 2009)", delta=DELTA)
def group_by_stable(data, epsilon, rng):
    groups = _noisy_keys(data, epsilon, rng)
    return {key: count for key, count in groups.items() if count >= _least(epsilon)}


@buggy(ADD, BARE, "all keys that occur: the key of a lone record tells, ∞", delta=DELTA)
def group_by(data, epsilon, rng):
    return _noisy_keys(data, epsilon, rng)


@buggy(ADD, BARE, "the bar is held against true counts, then noise: ∞", delta=DELTA)
def group_by_true_bar(data, epsilon, rng):
    return _noisy_keys([key for key in data if data.count(key) > 1], epsilon, rng)


@buggy(ADD, BARE, "the bar lacks the 1/ε: a lone key passes with 0.02 at ε 0.5", delta=DELTA)
def group_by_low_bar(data, epsilon, rng):
    groups = _noisy_keys(data, epsilon, rng)
    return {key: count for key, count in groups.items() if count >= _least(1)}


BY_SIZE = [("aabbb", "aabb"), ("abb", "ab"), ("c", "")]


@buggy(ADD, BY_SIZE, "groups of fewer than 2 are suppressed, others exact: ∞ (k-anonymity)")
def k_anonymous(data, epsilon, rng):
    return {key: data.count(key) for key in "abc" if data.count(key) >= 2}


@correct(ADD, BY_SIZE, "sorted by the noisy counts: post-processing of noisy bars")
def bars_sorted(data, epsilon, rng):
    noisy = _bars(data) + rng.laplace(0, 1 / epsilon, 3)
    return {"abc"[place]: noisy[place] for place in np.argsort(-noisy).tolist()}


@buggy(ADD, BY_SIZE, "noisy bars, listed in the order of the true counts: ∞")
def bars_sorted_by_truth(data, epsilon, rng):
    order = sorted("abc", key=lambda letter: -data.count(letter))
    return {letter: data.count(letter) + rng.laplace(0, 1 / epsilon) for letter in order}


BASKETS = [(["a", "abc"], ["a"]), (["abc"], []), (["b"], [])]


def _kinds(data):
    return len(set("".join(data)))


@correct(ADD, BASKETS, "a basket adds three kinds at most; scale 3/ε")
def kinds_bounded(data, epsilon, rng):
    return _kinds(basket[:3] for basket in data) + rng.laplace(0, 3 / epsilon)


@buggy(ADD, BASKETS, "noise for one kind a record, but a basket adds three: 3ε")
def kinds_per_item(data, epsilon, rng):
    return _kinds(data) + rng.laplace(0, 1 / epsilon)


# ---- selection -----------------------------------------------------------------------------------

WIDE_VOTES = [
    ([1] + 9 * [0], [0] + 9 * [1]),
    ([1, 1] + 8 * [0], [0, 0] + 8 * [1]),
    (10 * [1], 10 * [0]),
]


def _by_gumbel(data, scale, rng):
    return np.argsort(-(data + rng.gumbel(0, scale, len(data)))).tolist()


@correct(ANSWERS, WIDE_VOTES, "Gumbel noise of scale 2/ε is the exponential mechanism")
def gumbel_max(data, epsilon, rng):
    return _by_gumbel(data, 2 / epsilon, rng)[0]


@buggy(ANSWERS, WIDE_VOTES, "scale 1/ε, but scores rise and fall: 0.90 at ε 0.5")
def gumbel_max_unhalved(data, epsilon, rng):
    return _by_gumbel(data, 1 / epsilon, rng)[0]


@correct(ADD, MORE, "counts only rise with a record: the factor 2 may go (Dwork and Roth 2014)")
def gumbel_max_monotone(data, epsilon, rng):
    return _by_gumbel(_bars(data), 1 / epsilon, rng)[0]


@buggy(ANSWERS, WIDE_VOTES, "one draw for all scores cancels: ∞")
def gumbel_max_one_draw(data, epsilon, rng):
    return int(np.argmax(np.add(data, rng.gumbel(0, 2 / epsilon))))


@correct(ANSWERS, WIDE_VOTES, "two rounds of the exponential mechanism, ε/2 each (Durfee 2019)")
def top_two(data, epsilon, rng):
    return _by_gumbel(data, 4 / epsilon, rng)[:2]


@buggy(ANSWERS, WIDE_VOTES, "two winners for the price of one: 2.5 at ε 1.5")
def top_two_unsplit(data, epsilon, rng):
    return _by_gumbel(data, 2 / epsilon, rng)[:2]


@buggy(ANSWERS, WIDE_VOTES, "the winners are listed by their true scores: ∞")
def top_two_by_truth(data, epsilon, rng):
    return sorted(top_two(data, epsilon, rng), key=lambda place: (-data[place], place))


def _flip(data, places, half, rng):
    best = max(data)
    for place in places:
        if rng.random() < math.exp(half * (data[place] - best)):
            return int(place)
    raise AssertionError("the best is always taken")


@correct(ANSWERS, VOTES, "permute and flip (McKenna and Sheldon 2020, theorem 2)")
def permute_and_flip(data, epsilon, rng):
    return _flip(data, rng.permutation(3), epsilon / 2, rng)


@buggy(ANSWERS, VOTES, "not permuted: what stands behind the best never wins, ∞")
def flip_unpermuted(data, epsilon, rng):
    return _flip(data, range(3), epsilon / 2, rng)


@buggy(ANSWERS, VOTES, "the factor 2 is missing: 0.95 at ε 0.5")
def permute_and_flip_unhalved(data, epsilon, rng):
    return _flip(data, rng.permutation(3), epsilon, rng)


@correct(ANSWERS, VOTES, "winner and noisy gap cost ε, scale 2/ε (Ding et al. 2019, free gap)")
def max_with_gap(data, epsilon, rng):
    noisy = data + rng.laplace(0, 2 / epsilon, 3)
    return int(np.argmax(noisy)), np.diff(np.sort(noisy))[1]


@buggy(ANSWERS, VOTES, "the true gap between the two best noisy ones: ∞")
def max_with_true_gap(data, epsilon, rng):
    order = np.argsort(data + rng.laplace(0, 2 / epsilon, 3))
    return int(order[2]), data[order[2]] - data[order[1]]


@buggy(ADD, COUNTS, "the best of ten runs, ε each: up to 10ε (Liu and Talwar 2019)")
def best_of_ten(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon, 10).max()


@correct(ADD, COUNTS, "best of a geometric number of runs, ε/3 each (Liu and Talwar 2019)")
def best_of_random_number(data, epsilon, rng):
    return len(data) + rng.laplace(0, 3 / epsilon, rng.geometric(0.05)).max()


@buggy(ADD, COUNTS, "best of a geometric number of runs, ε each: 2.5 at ε 1.5")
def best_of_random_number_unsplit(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon, rng.geometric(0.05)).max()


TEACHERS = [("aaaab", "aaabb"), ("aabbc", "aabbb"), ("ccccc", "ccccb")]


@correct(REPLACE, TEACHERS, "two votes move by 1; noisy max, scale 2/ε (Papernot et al. 2017)")
def teachers(data, epsilon, rng):
    return "abc"[int(np.argmax(_bars(data) + rng.laplace(0, 2 / epsilon, 3)))]


@buggy(REPLACE, TEACHERS, "silent unless four teachers truly agree: ∞")
def teachers_if_agreed(data, epsilon, rng):
    return teachers(data, epsilon, rng) if max(_bars(data)) >= 4 else None


LEADS = [("aaab", "aaa"), ("ab", "abb"), ("aaabb", "aabb")]


def _lead(data):
    counts = sorted(_bars(data))
    return max(counts[2] - counts[1] - 1, 0)


def _leader_if(lead, bar, data):
    return "abc"[int(np.argmax(_bars(data)))] if lead > bar else None


# Where neighbours have other leaders, both lead by 1 at most: the lead is 0 and passes with δ.
@correct(ADD, LEADS, "noisy lead above ln(1/2δ)/ε (propose-test-release, Dwork 2009)", delta=DELTA)
def leader_if_stable(data, epsilon, rng):
    lead = _lead(data) + rng.laplace(0, 1 / epsilon)
    return _leader_if(lead, math.log(1 / (2 * DELTA)) / epsilon, data)


@buggy(ADD, LEADS, "the test has no noise: ∞", delta=DELTA)
def leader_true_test(data, epsilon, rng):
    return _leader_if(_lead(data), 1, data)


@buggy(ADD, LEADS, "the bar lacks the 1/ε: other leaders with 0.02 at ε 0.5", delta=DELTA)
def leader_low_bar(data, epsilon, rng):
    lead = _lead(data) + rng.laplace(0, 1 / epsilon)
    return _leader_if(lead, math.log(1 / (2 * DELTA)), data)


# ---- learning ------------------------------------------------------------------------------------

PULLS = [([1.0, 1.0], [-1.0, 1.0]), ([-9.0, 0.0], [9.0, 0.0]), ([0.5, 0.0], [0.0, 0.0])]


def _linear_model(data, noise):
    """Minimise mean(-x w) + 0.1/2 w²: a loss of slope 1 at most; the minimum is mean(x)/0.1."""
    return np.mean(_clip(data, -1, 1)) / 0.1 + noise


@correct(REPLACE, PULLS, "2/(nλ) for λ-strong convexity (Chaudhuri et al. 2011), n = 2, λ = 0.1")
def output_perturbation(data, epsilon, rng):
    return _linear_model(data, rng.laplace(0, 10 / epsilon))


@buggy(REPLACE, PULLS, "λ/2 w² taken for λ w²: 2ε")
def output_perturbation_twice_convex(data, epsilon, rng):
    return _linear_model(data, rng.laplace(0, 5 / epsilon))


@buggy(REPLACE, PULLS, "sensitivity 2/n, as if the minimum were a mean: 10ε")
def output_perturbation_no_lambda(data, epsilon, rng):
    return _linear_model(data, rng.laplace(0, 1 / epsilon))


ONE_PULL = [([1.0], [0.0]), ([1.0], [-1.0])]


def _logistic_model(data, strength, tilt):
    """Minimise Σ ln(1 + e^(-x w)) + strength/2 w² + tilt w, by bisection of the slope."""
    values = _clip(data, -1, 1)

    def slope_at(w):
        return sum(-x / (1 + math.exp(min(x * w, 700))) for x in values) + strength * w + tilt

    reach = (abs(tilt) + len(values)) / strength + 1
    return brentq(slope_at, -reach, reach)


@correct(REPLACE, ONE_PULL, "tilts differ by 2, slopes by 1 + 1/4: ε - ln 1.25 (Chaudhuri 2011)")
def objective_perturbation(data, epsilon, rng):
    return _logistic_model(data, 1, rng.laplace(0, 2 / (epsilon - math.log(1.25))))


@buggy(REPLACE, ONE_PULL, "the change of density by l'' left out, λ small: 1.1 at ε 0.5")
def objective_perturbation_no_jacobian(data, epsilon, rng):
    return _logistic_model(data, 0.1, rng.laplace(0, 2 / epsilon))


E4 = np.eye(4)
GRADIENTS = [
    (np.vstack([E4[0], -9 * E4[0]]), E4[:1]),
    (np.vstack([E4[0], np.ones(4)]), E4[:1]),
    (np.vstack([E4[0], E4[1], -E4[0]]), E4[:2]),
]


def _step(gradient_sum, epsilon, rng):
    return gradient_sum + rng.normal(0, _sigma(epsilon), 4)


@correct(
    ADD, GRADIENTS, "each gradient clipped to 1, σ for sensitivity 1 (Abadi 2016)", delta=DELTA
)
def sgd_step(data, epsilon, rng):
    return _step(_clip_rows(data).sum(axis=0), epsilon, rng)


@buggy(ADD, GRADIENTS, "the batch is clipped, not the gradients: turns from 1 to -1", delta=DELTA)
def sgd_clips_batch(data, epsilon, rng):
    return _step(_clip_rows(data.sum(axis=0, keepdims=True))[0], epsilon, rng)


@buggy(ADD, GRADIENTS, "clipped to 4, noise for 1", delta=DELTA)
def sgd_noise_without_clip(data, epsilon, rng):
    return _step(4 * _clip_rows(data / 4).sum(axis=0), epsilon, rng)


@buggy(ADD, GRADIENTS, "no noise on the bias, the last entry: ∞", delta=DELTA)
def sgd_no_noise_on_bias(data, epsilon, rng):
    total = _clip_rows(data).sum(axis=0)
    return [*_step(total, epsilon, rng)[:3], total[3]]


@buggy(
    ADD, GRADIENTS, "each of two layers is clipped to 1: together √2, 0.76 at ε 0.5", delta=DELTA
)
def sgd_clips_layers(data, epsilon, rng):
    layers = [_clip_rows(data[:, :2]).sum(axis=0), _clip_rows(data[:, 2:]).sum(axis=0)]
    return _step(np.concatenate(layers), epsilon, rng)


@buggy(ADD, GRADIENTS, "sums of two are clipped: one record turns a sum by 2", delta=DELTA)
def sgd_clips_microbatches(data, epsilon, rng):
    sums = np.add.reduceat(data, np.arange(0, len(data), 2))
    return _step(_clip_rows(sums).sum(axis=0), epsilon, rng)


EVEN = [(np.full((2, 4), 0.5), np.full((1, 4), 0.5)), (E4[:1], np.empty((0, 4)))]


def _clip_rows_l1(data):
    return data / np.maximum(1, np.abs(data).sum(axis=1, keepdims=True))


@correct(ADD, EVEN, "an L1 norm of 1 is an L2 norm of 1 at most: Gaussian noise for 1", delta=DELTA)
def gaussian_for_l1(data, epsilon, rng):
    return _step(_clip_rows_l1(data).sum(axis=0), epsilon, rng)


@buggy(ADD, EVEN, "every entry clipped to 1/2, noise for 1/2: the L2 norm is 1", delta=DELTA)
def gaussian_for_one_entry(data, epsilon, rng):
    return np.clip(data, -0.5, 0.5).sum(axis=0) + rng.normal(0, _sigma(epsilon) / 2, 4)


@correct(ADD, EVEN, "rows of L1 norm 1; Laplace noise of scale 1/ε")
def laplace_for_l1(data, epsilon, rng):
    return _clip_rows_l1(data).sum(axis=0) + rng.laplace(0, 1 / epsilon, 4)


@buggy(ADD, EVEN, "rows of L2 norm 1, whose L1 norm is 2: 2ε")
def laplace_for_l2(data, epsilon, rng):
    return _clip_rows(data).sum(axis=0) + rng.laplace(0, 1 / epsilon, 4)


# ---- forms of outputs ----------------------------------------------------------------------------

LONE = [("aaab", "aaac"), ("a", "b")]


@correct(ADD, MORE, "all letters are keys, whatever the data; noisy bars")
def bars_as_series(data, epsilon, rng):
    return pd.Series(_bars(data) + rng.laplace(0, 1 / epsilon, 3), index=list("abc"))


@buggy(REPLACE, LONE, "the keys that occur, as the index of a series: b or c, ∞")
def groups_as_series(data, epsilon, rng):
    return pd.Series(_noisy_keys(data, epsilon / 2, rng))


@correct(ADD, COUNTS, "writing a noisy count as text is post-processing")
def count_as_text(data, epsilon, rng):
    return f"about {len(data) + rng.laplace(0, 1 / epsilon):.6f}"


@buggy(ADD, COUNTS, "the text also names the true number of records: ∞")
def count_as_text_with_truth(data, epsilon, rng):
    return f"{count_as_text(data, epsilon, rng)} (from {len(data)} records)"


@correct(ADD, COUNTS, "another type of number is post-processing")
def count_as_decimal(data, epsilon, rng):
    return Decimal(len(data) + rng.laplace(0, 1 / epsilon))


@buggy(ADD, COUNTS, "half the noise, as a decimal number: 2ε")
def count_as_decimal_narrow(data, epsilon, rng):
    return count_as_decimal(data, 2 * epsilon, rng)


@dataclass
class Answer:
    value: float


@correct(ADD, COUNTS, "an object around a noisy count is post-processing")
def count_as_object(data, epsilon, rng):
    return Answer(len(data) + rng.laplace(0, 1 / epsilon))


@buggy(ADD, COUNTS, "half the noise, within an object: 2ε")
def count_as_object_narrow(data, epsilon, rng):
    return count_as_object(data, 2 * epsilon, rng)


@correct(ADD, MORE, "the spectrum of noisy bars is post-processing")
def spectrum(data, epsilon, rng):
    return np.fft.fft(_bars(data) + rng.laplace(0, 1 / epsilon, 3))


@buggy(ADD, MORE, "noise on the real parts; the imaginary parts are exact, ∞")
def spectrum_real_noise(data, epsilon, rng):
    return np.fft.fft(_bars(data)) + rng.laplace(0, 3 / epsilon, 3)


# ---- noise in common -----------------------------------------------------------------------------


def _count_and_sum(data, count_noise, sum_noise):
    return [len(data) + count_noise, sum(_clip(data, 0, 5)) + 5 * sum_noise]


@correct(ADD, AMOUNTS, "ε/2 for the count and ε/2 for the sum, whose sensitivity is 5")
def count_and_sum(data, epsilon, rng):
    return _count_and_sum(data, *rng.laplace(0, 2 / epsilon, 2))


@buggy(ADD, AMOUNTS, "one draw, times each sensitivity: 5 counts less the sum is exact, ∞")
def count_and_sum_one_draw(data, epsilon, rng):
    return _count_and_sum(data, *2 * [rng.laplace(0, 2 / epsilon)])


APART = [("aac", "aa"), ("aaac", "aaa")]  # the bars of a and c differ


@buggy(ADD, APART, "the first and the last bar share their noise: their difference is exact, ∞")
def bars_with_two_draws(data, epsilon, rng):
    return _bars(data) + rng.laplace(0, 3 / epsilon, 2)[[0, 1, 0]]


# ---- limits --------------------------------------------------------------------------------------

LONG = [(np.append(np.zeros(99), 1), np.zeros(100))]


@blind(ADD, COUNTS, "too rare: the exact count once in 100,000 calls")
def exact_once_in_100_000(data, epsilon, rng):
    return len(data) + (rng.laplace(0, 1 / epsilon) if rng.random() > 1e-5 else 0)


@blind(ADD, COUNTS, "too small: 1.01ε")
def slightly_narrow(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / (1.01 * epsilon))


@blind(ADD, COUNTS, "pair not tried: exact for data that hold 77")
def exact_with_77(data, epsilon, rng):
    return len(data) + (0 if 77 in data else rng.laplace(0, 1 / epsilon))


@blind(ADD, COUNTS, "running time: some 10 µs a record")
def slow_for_many(data, epsilon, rng):
    for _ in data:
        sum(range(500))
    return len(data) + rng.laplace(0, 1 / epsilon)


@blind(ADD, COUNTS, "predictable: who tries all 2^32 seeds knows the noise")
def count_32_bit_seed(data, epsilon, rng):
    return len(data) + np.random.default_rng(rng.integers(2**32)).laplace(0, 1 / epsilon)


@blind(REPLACE, BITS, "too hard to learn: a keyed hash with a nonce, the key known to the attacker")
def hashed_bit(data, epsilon, rng):
    nonce = rng.bytes(8)
    return nonce.hex(), hashlib.sha256(b"known key" + nonce + bytes([data])).hexdigest()


_noises: list[float] = []


@blind(ADD, COUNTS, "memory: every other answer has the noise of the last one, with the other sign")
def count_noise_comes_back(data, epsilon, rng):
    if _noises:
        return len(data) - _noises.pop()
    _noises.append(rng.laplace(0, 1 / epsilon))
    return len(data) + _noises[0]


_log: list[int] = []


@blind(ADD, COUNTS, "another channel: the exact count goes to a log")
def count_logged(data, epsilon, rng):
    _log[:] = [len(data)]
    return len(data) + rng.laplace(0, 1 / epsilon)


@blind(ANSWERS, LONG, "a long output: only the last of 100 entries has no noise")
def last_entry_exact(data, epsilon, rng):
    return data + np.append(rng.laplace(0, 100 / epsilon, 99), 0)


@blind(ADD, COUNTS, "low bits (Mironov 2012): only with floating_point")
def count_low_bits(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon)
