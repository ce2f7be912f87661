"""The capstone: four hospitals, a researcher, six attacks, and what a design is worth.

A :class:`Design` is a plan (settings and claims) and six functions of plain data. :func:`attack`
runs every attack of the course against it and measures what is left for the researcher. The same
code attacks the designs of lesson 21 and those of its learners.

Unit of privacy: one patient, who has one row at one hospital. Adjacency: add or remove one patient.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from .backup import theft_attack
from .cable import wiretap_attack
from .case import CANDIDATES, DELTA, EPSILON, HIGH, HOSPITALS, LOW, PATIENTS, Case, make_case
from .design import Design, Unusable, check_plan
from .given import (
    age_group,
    clip_rows,
    coarse_table,
    diverse_table,
    given_designs,
    grouped_table,
    hashed_names,
    private_total,
    private_update,
    raw_table,
    seal_ecb,
    unseal_ecb,
)
from .hub import inversion_attack, membership_attack, price
from .model import (
    Noise,
    area_under_curve,
    best_auc,
    decode,
    encode,
    gradients,
    measure_noise,
    simulate,
    train,
)
from .report import ATTACKS, WORTH, Finding, Report, document, draw_leaderboard, leaderboard
from .statistic import (
    LAPLACE_TOLERANCE,
    PAIR_NAMES,
    PAIRS,
    WORTHLESS,
    AtCorners,
    audit_attack,
    corners,
    laplace_epsilon,
    statistic_error,
)
from .table import Exposure, expose, linkage_attack

__all__ = [
    "ATTACKS",
    "CANDIDATES",
    "DELTA",
    "EPSILON",
    "HIGH",
    "HOSPITALS",
    "LAPLACE_TOLERANCE",
    "LOW",
    "PAIRS",
    "PAIR_NAMES",
    "PATIENTS",
    "WORTH",
    "WORTHLESS",
    "AtCorners",
    "Case",
    "Design",
    "Exposure",
    "Finding",
    "Noise",
    "Report",
    "Unusable",
    "age_group",
    "area_under_curve",
    "attack",
    "audit_attack",
    "check_plan",
    "clip_rows",
    "coarse_table",
    "corners",
    "decode",
    "diverse_table",
    "document",
    "draw_leaderboard",
    "encode",
    "expose",
    "given_designs",
    "given_reports",
    "gradients",
    "grouped_table",
    "hashed_names",
    "inversion_attack",
    "laplace_epsilon",
    "leaderboard",
    "linkage_attack",
    "make_case",
    "measure_noise",
    "membership_attack",
    "price",
    "private_total",
    "private_update",
    "raw_table",
    "seal_ecb",
    "simulate",
    "statistic_error",
    "theft_attack",
    "train",
    "unseal_ecb",
    "wiretap_attack",
]  # fmt: skip


def attack(design: Design, seed: int = 0) -> Report:
    """Run every attack against a design, and measure what it is worth.

    Args:
        design: The design; its plan is checked first.
        seed: Of the patients, the targets and the noise.

    Raises:
        ValueError: The plan is not complete.
        Unusable: A part of the design does not do its work (a ``ValueError``, too).
    """
    plan = check_plan(design.plan)
    case, rng = make_case(seed), np.random.default_rng([21, 1, seed])
    linkage, table = linkage_attack(design, case)
    theft = theft_attack(design, rng)
    wiretap = wiretap_attack(plan, rng)
    noise = measure_noise(design, rng)
    released = train(design, case, rng)
    inversion = inversion_attack(design, case, rng)
    membership = membership_attack(case, plan, noise, rng)
    audited = audit_attack(design, noise, rng)
    # All four hospitals add noise: that of the colluding ones costs utility as well.
    spread = noise.share * math.sqrt(len(HOSPITALS))
    models = simulate(case, plan, spread, noise.clipped, 60, rng)
    # The model that was really released counts like one of the others.
    auc = area_under_curve(np.vstack([models, released]), case)
    error = statistic_error(design, case, rng)
    utility = {
        "table": table,
        "model": float(np.clip((auc["all"] - 0.5) / (best_auc(seed) - 0.5), 0, 1)),
        "statistic": float(np.clip(1 - error / WORTHLESS, 0, 1)),
    }
    findings = (linkage, membership, inversion, theft, wiretap, audited)
    return Report(design.name, findings, utility, auc, error, noise.epsilon)


@cache
def given_reports(seed: int = 0) -> tuple[Report, ...]:
    """Return what the attacks find of the five given designs."""
    return tuple(attack(design, seed) for design in given_designs())
