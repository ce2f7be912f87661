"""The model: federated training with clipping, noise and masks, and its noise as measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import kstest, rankdata

from ..accounting import gaussian_epsilon
from .case import HOSPITALS, PATIENTS, Case, make_case
from .design import Design, Unusable, guarded, numbers

_SCALE = 2**16  # fixed point of what is masked: 16 bits before the point, 16 behind
_MODULUS = 2**32


def gradients(weights: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of logistic regression's loss for each patient, of shape (n, d)."""
    return (expit(X @ weights) - y)[:, None] * X


def encode(update: np.ndarray) -> np.ndarray:
    """Write an update as integers modulo 2³², with 16 bits behind the point."""
    return np.rint(np.asarray(update) * _SCALE).astype(np.int64) % _MODULUS


def decode(total: np.ndarray) -> np.ndarray:
    """Read what :func:`encode` wrote: the upper half stands for numbers below zero."""
    signed = (np.asarray(total, dtype=np.int64) + _MODULUS // 2) % _MODULUS - _MODULUS // 2
    return signed / _SCALE


def updates_of(
    design: Design,
    parts: Sequence[np.ndarray],
    rng: np.random.Generator,
    noise_multiplier: float | None = None,
    honest: int | None = None,
    times: int = 1,
) -> np.ndarray:
    """Call a design's update ``times`` times on each of some gradients; shape (calls, d)."""
    plan = design.plan
    if noise_multiplier is None:
        noise_multiplier = plan["noise_multiplier"]
    honest = honest or len(HOSPITALS) - plan["colluding"]
    inputs = [(part, plan["max_grad_norm"], noise_multiplier, honest) for part in parts]
    choices = [number for number in range(len(parts)) for _ in range(times)]
    made = guarded("update", lambda: list(design.many(design, "update", inputs, choices, rng)))
    vectors = [numbers(each, parts[0].shape[1]) for each in made]
    if any(vector is None for vector in vectors):
        raise Unusable(
            f"`update` must return {parts[0].shape[1]} finite numbers, as many as a gradient has."
        )
    return np.array(vectors)


def known_seeds(seeds: np.ndarray, who: Sequence[int]) -> np.ndarray:
    """Return the seeds of the pairs in which one of some hospitals is; 0 for other pairs."""
    known = np.zeros_like(seeds)
    for client in who:
        known[client], known[:, client] = seeds[client], seeds[:, client]
    return known


def message(
    design: Design, update: np.ndarray, client: int, seeds: np.ndarray, number: int
) -> np.ndarray:
    """Return what a hospital sends: its update, encoded and masked.

    Args:
        design: Its ``mask`` is called.
        update: Of shape (d,).
        client: Which hospital this is, from 0.
        seeds: Of all pairs. The hospital gets those of its own pairs; the others are 0.
        number: The round.

    Returns:
        Integers modulo 2³², of shape (d,).
    """
    own = known_seeds(seeds, (client,))
    sent = guarded("mask", lambda: design.mask(encode(update), client, own, number))
    sent = np.asarray(sent)
    if (
        sent.shape != np.shape(update)
        or sent.dtype.kind not in "iuf"
        or not np.isfinite(sent).all()
    ):
        raise Unusable(
            f"`mask` must return {len(update)} whole numbers, as many as the update has."
        )
    # Masks modulo 2⁶⁴ are right as well, and would not fit into int64.
    whole = sent.astype(np.uint64 if sent.dtype.kind == "u" else np.int64)
    return (whole & (_MODULUS - 1)).astype(np.int64)


def train(design: Design, case: Case, rng: np.random.Generator) -> np.ndarray:
    """Train the model as a design does it: federated, clipped, noised and masked as it says.

    Args:
        design: Its ``update`` and ``mask`` are called once a hospital and round.
        case: The patients; only those with ``train``.
        rng: Draws the noise and the seeds of the masks.

    Returns:
        The released weights, of shape (11,).

    Raises:
        Unusable: The masks do not cancel, or a function returns what it should not.
    """
    from ..secagg import shared_seeds

    plan = design.plan
    seeds = shared_seeds(len(HOSPITALS), rng)
    members = [case.train & (case.hospital == k) for k in range(len(HOSPITALS))]
    weights = np.zeros(case.X.shape[1])
    for number in range(plan["rounds"]):
        parts = [gradients(weights, case.X[who], case.y[who]) for who in members]
        made = updates_of(design, parts, rng)
        sent = [message(design, u, k, seeds, number) for k, u in enumerate(made)]
        total = np.sum(sent, axis=0) % _MODULUS
        if not np.array_equal(total, np.sum([encode(u) for u in made], axis=0) % _MODULUS):
            raise Unusable(
                "`mask`: the masks of the four hospitals do not cancel in the sum. (A hospital "
                "has the seeds of its own pairs; the others are 0.)"
            )
        weights = weights - plan["learning_rate"] * decode(total) / PATIENTS
    return weights


def simulate(
    case: Case,
    plan: Mapping[str, Any],
    sigma: float,
    clipped: bool,
    models: int,
    rng: np.random.Generator,
    without: int | None = None,
) -> np.ndarray:
    """Train many models at once, in the clear: the same arithmetic as :func:`train`.

    Args: see :func:`simulated_rounds`.

    Returns:
        Weights of shape (models, 11).
    """
    *_, (weights, _, _) = simulated_rounds(case, plan, sigma, clipped, models, rng, without)
    return weights


def simulated_rounds(
    case: Case,
    plan: Mapping[str, Any],
    sigma: float,
    clipped: bool,
    models: int,
    rng: np.random.Generator,
    without: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Train many models at once, round by round.

    Args:
        case: The patients.
        plan: Rounds, learning rate and clipping bound.
        sigma: Standard deviation of the noise in the sum of a round.
        clipped: Whether each patient's gradient is clipped.
        models: How many.
        rng: Draws the noise.
        without: Leave this patient out of the training.

    Yields:
        For each round the weights after and before it, and its noise, each of shape (models, 11).
    """
    who = case.train.copy()
    if without is not None:
        who[without] = False
    X, y = case.X[who], case.y[who]
    norms = np.linalg.norm(X, axis=1)
    weights = np.zeros((models, X.shape[1]))
    for _ in range(plan["rounds"]):
        residuals = expit(weights @ X.T) - y
        if clipped:
            bound = plan["max_grad_norm"] / norms
            residuals = np.clip(residuals, -bound, bound)
        noise = sigma * rng.standard_normal(weights.shape)
        before = weights
        weights = before - plan["learning_rate"] * (residuals @ X + noise) / PATIENTS
        yield weights, before, noise


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean area under the ROC curve of some models' scores, of shape (models, n)."""
    ranks = rankdata(scores, axis=1)
    ill = labels > 0.5
    above = ranks[:, ill].sum(axis=1) - ill.sum() * (ill.sum() + 1) / 2
    return float((above / (ill.sum() * (~ill).sum())).mean())


def area_under_curve(weights: np.ndarray, case: Case) -> dict[str, float]:
    """Return the mean AUC of models on held-out patients.

    Args:
        weights: Of shape (models, 11).
        case: The patients; those without ``train`` are held out.

    Returns:
        For ``"all"``, and for each hospital with at least five held-out patients of each diagnosis.
    """
    groups = {"all": ~case.train}
    groups |= {name: ~case.train & (case.hospital == k) for k, name in enumerate(HOSPITALS)}
    return {
        name: _auc(weights @ case.X[who].T, case.y[who])
        for name, who in groups.items()
        if min(case.y[who].sum(), (1 - case.y[who]).sum()) >= 5
    }


@cache
def best_auc(seed: int) -> float:
    """Return the AUC without any privacy, which the models are measured by."""
    case = make_case(seed)
    plan = {"rounds": 300, "learning_rate": 1.0}
    rng = np.random.default_rng(0)
    return area_under_curve(simulate(case, plan, 0, False, 1, rng), case)["all"]


@dataclass(frozen=True)
class Noise:
    """What a design's ``update`` does, as it was measured.

    Attributes:
        clipped: Whether no patient's gradient counts for more than ``max_grad_norm``.
        share: Standard deviation of the noise that one hospital adds.
        sigma: That of the honest hospitals' noise together.
        epsilon: The model's ε at the plan's δ: exact for noise of this deviation, which is an
            estimate.
        accused: The same with 2 % more noise, for what chance does to the estimate: no right
            design is accused of more than it claims.
        problem: Why the noise promises nothing, whatever its deviation; empty if it does.
    """

    clipped: bool
    share: float
    sigma: float
    epsilon: float
    accused: float
    problem: str = ""


def _fault(drawn: np.ndarray) -> str:
    """Say what is wrong with some draws of noise of shape (calls, d), or nothing.

    With 2,000 calls or more. Right noise is accused in fewer than 1 of 10,000 runs: a correlation
    of 0.15 is 6.7 standard deviations, a deviation 12 % below the mean 7, and the test of
    Kolmogorov and Smirnov is wrong once in a million.
    """
    share = drawn.std()
    if share < 1e-6:
        return ""  # no noise at all: the deviation says it
    if drawn.std(axis=0).min() < 0.88 * share:
        return "some entries of an update have less noise than others"
    together = np.corrcoef(drawn.T) - np.eye(drawn.shape[1])
    if np.abs(together).max() > 0.15:
        return "entries of an update share their noise: their difference has none"
    following = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in drawn.T]
    if np.abs(following).max() > 0.15:
        return "the noise of a round depends on that of the round before"
    different = np.unique(drawn, axis=0)
    if kstest(different.ravel() / share, "norm").pvalue < 1e-6:
        return "the noise is not Gaussian"
    if len(different) < len(drawn):
        return "draws of the noise come again: it has few seeds"
    return ""


def measure_noise(design: Design, rng: np.random.Generator) -> Noise:
    """Measure clipping and noise of a design's ``update``, and compute the model's ε from them.

    T rounds of Gaussian noise σ on a sum to which a patient adds a vector of norm C at most are
    together as private as one Gaussian of μ = √T · C / σ (add or remove one patient; Jinshuo Dong,
    Aaron Roth and Weijie Su, "Gaussian differential privacy", 2022), whose ε at δ is exact (Balle
    and Wang 2018). The deviation is measured twice, on 16,000 numbers or more, and the smaller one
    is taken; 2 % more is beyond chance in less than 1 of 1,000 runs.
    """
    plan = design.plan
    bound = plan["max_grad_norm"]
    large = np.full((3, 8), 1e6)
    small = np.eye(8)[:2] * bound / 2
    # One more patient must not change how the others are clipped: rows of all lengths together.
    mixed = rng.normal(size=(120, 8))
    mixed *= bound * rng.choice([0.3, 0.8, 5.0], (120, 1)) / np.linalg.norm(mixed, axis=1)[:, None]
    parts = [large, small, mixed]
    sums = updates_of(design, parts, rng, noise_multiplier=0.0)
    # Whoever rounds to a grid may: what is sent is rounded anyway.
    if not np.allclose(sums[1], small.sum(axis=0), atol=1e-3 * bound):
        raise Unusable("`update` without noise is not the sum of rows that need no clipping.")
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    wanted = (mixed * np.minimum(1, bound / norms)).sum(axis=0)
    clipped = bool(np.linalg.norm(sums[0]) <= 3 * bound * (1 + 1e-3))
    drawn = updates_of(design, [np.zeros((1, 8))], rng, times=2_000)
    # Once more on rows as a hospital has them: noise must not depend on what it is added to.
    again = updates_of(design, [rng.normal(size=(120, 11))], rng, times=2_000)
    again = again - again.mean(axis=0)
    share = float(min(np.sqrt(np.mean(drawn**2)), np.sqrt(np.mean(again**2))))
    problem = _fault(drawn) or _fault(again)
    if clipped and np.abs(sums[2] - wanted).max() > 0.05 * bound:
        problem = "how a row is clipped depends on the other rows"
    sigma = share * math.sqrt(len(HOSPITALS) - plan["colluding"])
    if not clipped or problem or sigma < 1e-6 or plan["delta"] == 0:
        return Noise(clipped, share, sigma, math.inf, math.inf, problem)
    mu = math.sqrt(plan["rounds"]) * bound / sigma
    found, accused = (gaussian_epsilon(each, plan["delta"]) for each in (mu, mu / 1.02))
    return Noise(clipped, share, sigma, found, accused)
