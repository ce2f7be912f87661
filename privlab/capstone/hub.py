"""Attacks on the training: who was in it, and what the hub reads off updates and their sums."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import kstest, norm

from ..accounting import gaussian_sigma
from .case import DELTA, EPSILON, HOSPITALS, Case
from .design import Design
from .model import (
    Noise,
    area_under_curve,
    decode,
    gradients,
    known_seeds,
    message,
    simulate,
    simulated_rounds,
    updates_of,
)
from .report import Finding


def membership_attack(
    case: Case,
    plan: Mapping[str, Any],
    noise: Noise,
    rng: np.random.Generator,
    trainings: int = 1_000,
) -> Finding:
    """Tell from the sums of all rounds whether one patient was in the training.

    The attacker is the hub: it sees the model and the sum of each round, and knows every other
    patient, the plan, and the noise of the colluding hospitals, which it subtracts. What is left
    of a sum is noise, or noise and the target's gradient: the likelihood ratio of the two, over
    all rounds, is the best test there is (Neyman and Pearson 1933). The target is the patient with
    the longest row.

    The limit is what a Gaussian of the consortium's ε and δ allows, and four standard deviations
    of chance. Noise a little too small is not found so: the audit finds it.

    Args:
        case: The patients.
        plan: Settings, see :func:`privlab.capstone.check_plan`.
        noise: As it was measured; it is drawn, ``update`` is not called.
        rng: Draws the noise of the trainings.
        trainings: How many are attacked of each kind.
    """
    from ..attacks.membership import roc

    lengths = np.linalg.norm(case.X, axis=1)
    target = int(np.argmax(lengths * case.train))
    bound = plan["max_grad_norm"] / lengths[target] if noise.clipped else np.inf

    def scores(member: bool) -> np.ndarray:
        score = np.zeros(trainings)
        without = None if member else target
        arguments = (case, plan, noise.sigma, noise.clipped, trainings, rng, without)
        for _, weights, drawn in simulated_rounds(*arguments):
            residuals = expit(weights @ case.X[target]) - case.y[target]
            gradient = np.clip(residuals, -bound, bound)[:, None] * case.X[target]
            left = drawn + gradient if member else drawn
            score += (left * gradient).sum(axis=1) - (gradient**2).sum(axis=1) / 2
        return score

    found = np.concatenate([scores(True), scores(False)])
    rate = roc(found, np.repeat([True, False], trainings)).tpr_at(0.05).share
    mu = 1 / gaussian_sigma(EPSILON, DELTA)
    allowed = float(norm.cdf(norm.ppf(0.05) + mu))
    # The threshold is estimated as well; a change of false alarms counts this much.
    slope = float(norm.pdf(norm.ppf(allowed)) / norm.pdf(norm.ppf(0.05)))
    chance = np.sqrt((allowed * (1 - allowed) + slope**2 * 0.05 * 0.95) / trainings)
    limit = float(allowed + 4 * chance)
    told = (
        f"At 5 % false alarms, the hub finds the patient with the longest row in {rate:.0%} of "
        f"{trainings} trainings; ε = {EPSILON:g} allows {allowed:.0%}, with chance {limit:.0%}."
    )
    return Finding("membership", rate, limit, "member found, at 5 % false alarms", told)


def price(
    case: Case,
    plan: Mapping[str, Any],
    noise_multiplier: float,
    rng: np.random.Generator,
    trainings: int = 2_000,
) -> tuple[float, float]:
    """Return what noise costs and what it prevents, where one of four hospitals colludes.

    Args:
        case: The patients.
        plan: Rounds, learning rate and clipping bound.
        noise_multiplier: That of the three honest hospitals together.
        rng: Draws the noise.
        trainings: How many are attacked of each kind.

    Returns:
        AUC on held-out patients, with the shares of all four; and how often
        :func:`membership_attack` finds its target at 5 % false alarms.
    """
    sigma = noise_multiplier * plan["max_grad_norm"]
    share = sigma / math.sqrt(len(HOSPITALS) - 1)
    models = simulate(case, plan, share * math.sqrt(len(HOSPITALS)), True, 60, rng)
    measured = Noise(True, share, sigma, math.nan, math.nan)
    found = membership_attack(case, plan, measured, rng, trainings).success
    return area_under_curve(models, case)["all"], found


def _mask_faults(design: Design, width: int, seeds: np.ndarray, rng: np.random.Generator) -> list:
    """Say what is wrong with a design's masks of zeros, for a hub with colluding hospitals."""
    zeros, faults = np.zeros(width), []
    masks = np.array([message(design, zeros, 0, seeds, number) for number in range(60)])
    # 660 numbers of 32 bits: two are equal by chance in 5 of 100,000 runs.
    if len(np.unique(masks)) < masks.size:
        faults.append("what stands under masks that repeat (in other entries or other rounds)")
    elif kstest(masks.ravel() / 2**32, "uniform").pvalue < 1e-6:
        faults.append("what stands under masks that are not uniform modulo 2³²")
    # With three colluding hospitals the fourth's noise is enough by itself.
    colluding = min(max(design.plan["colluding"], 1), 2)
    for victim in range(len(HOSPITALS)):
        sent = message(design, zeros, victim, seeds, 7)
        others = [k for k in range(len(HOSPITALS)) if k != victim]
        for known in itertools.combinations(others, colluding):
            # A message takes the victim's own seeds: hide those that nobody told.
            guess = message(design, zeros, victim, known_seeds(seeds, known), 7)
            if (guess == sent).any():
                faults.append("an update whose masks a colluding hospital knows")
                return faults
    return faults


def inversion_attack(design: Design, case: Case, rng: np.random.Generator) -> Finding:
    """Read a patient's row off what the hospitals send, as a curious hub.

    The hub sends the same model twice, before and after one more patient has come: the difference
    of the two updates is that patient's gradient, which is their row times a number (Le Trieu
    Phong and others, "Privacy-preserving deep learning via additively homomorphic encryption",
    2018). It reads what a hospital sends as it is, as the difference of two rounds, with masks
    from seeds of its own and with the seeds of colluding hospitals. And it always has the sums:
    their difference is the patient's gradient and the noise, whatever the masks.
    """
    from ..attacks.inversion import dense_input
    from ..secagg import shared_seeds

    weights, rebuilt, read = np.zeros(case.X.shape[1]), Counter(), Counter()
    clients = range(len(HOSPITALS))
    seeds, own = shared_seeds(len(HOSPITALS), rng), shared_seeds(len(HOSPITALS), rng)
    targets = rng.choice(np.flatnonzero(case.train), 12, replace=False)
    for target in targets:
        client = int(case.hospital[target])
        after = case.train
        before = after & (np.arange(len(after)) != target)
        members = [who & (case.hospital == k) for who in (before, after) for k in clients]
        parts = [gradients(weights, case.X[who], case.y[who]) for who in members]
        both = updates_of(design, parts, rng).reshape(2, len(HOSPITALS), -1)
        sent = np.array(
            [[message(design, u, k, seeds, number) for k, u in enumerate(updates)]
             for number, updates in enumerate(both)]
        )  # fmt: skip
        updates = both[:, client]
        masks = [message(design, 0 * updates[0], client, own, number) for number in (0, 1)]
        unmasked = sent[:, client] - masks
        step = updates[1] - updates[0]
        seen = {
            "an update as it is": (sent[1, client], updates[1]),
            "the difference of two rounds": (sent[1, client] - sent[0, client], step),
            "an update under masks that it draws itself": (unmasked[1], updates[1]),
        }
        for way, (guess, truth) in seen.items():
            # An entry is enough.
            read[way] += bool(np.abs(decode(guess) - truth).min() < 0.01)
        differences = {
            "the messages": (sent[1, client] - sent[0, client], unmasked[1] - unmasked[0]),
            "two sums": (sent[1].sum(axis=0) - sent[0].sum(axis=0),),
        }
        for source, guesses in differences.items():
            for guess in map(decode, guesses):
                if guess[-1] == 0:
                    continue  # nobody came
                row = np.ravel(dense_input(guess[None, :-1], guess[-1:]))
                if np.abs(row - case.X[target, :-1]).max() < 0.5:
                    rebuilt[source] += 1
                    break
    ways = [way for way, count in read.items() if count]
    faults = _mask_faults(design, len(weights), seeds, rng)
    if not ways:
        ways = faults
    told = f"it reads {'; '.join(ways)}." if ways else "it reads no single update."
    rows = "; ".join(f"{rebuilt[source]} from {source}" for source in differences)
    told = f"Of {len(targets)} patients the hub rebuilds {rows}; {told}"
    share = max(*rebuilt.values(), *read.values(), 0) / len(targets)
    share = 1.0 if faults else share
    return Finding("inversion", share, 0.0, "share of updates or rows read", told)
