"""The case: the patients of four hospitals, and what the consortium agreed on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .. import federated
from ..data import load_hospitals

#: What the consortium agreed on: ε and δ of all releases together, by adding up.
EPSILON, DELTA = 2.0, 1e-5

#: What a round's sum is divided by: public, and so no secret of how many patients train.
PATIENTS = 600

#: For how many patients a row of the planning table must be possible, at least.
CANDIDATES = 5

#: Public bounds of a cholesterol, in mg/dl, written down before anybody looked at a table.
LOW, HIGH = 100.0, 400.0

#: The hospitals, in the order of their numbers.
HOSPITALS = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")


@dataclass(frozen=True)
class Case:
    """The patients of a consortium.

    Attributes:
        rows: One dict a patient: ``name`` (invented), ``age``, ``sex``, ``hospital``, ``chol``
            (mg/dl, None where it was not measured) and ``ill``.
        X: Features and a last column of ones, of shape (n, 11).
        y: Diagnosis, 0 or 1, of shape (n,).
        hospital: Number of the hospital, of shape (n,).
        train: Who is in the training; the others are held out. Booleans of shape (n,).
    """

    rows: list[dict[str, Any]]
    X: np.ndarray
    y: np.ndarray
    hospital: np.ndarray
    train: np.ndarray

    @property
    def cholesterol(self) -> list[float]:
        """The measured values of all patients, in mg/dl."""
        return [row["chol"] for row in self.rows if row["chol"] is not None]


@cache
def make_case(seed: int) -> Case:
    """Draw nine tenths of the patients of the four hospitals, give them names, split them.

    Three quarters of the patients train, the others are held out. Names are invented (Faker's
    lists): the tables of UCI have none.

    Args:
        seed: The same seed makes the same case.
    """
    from faker.providers.person.en_US import Provider

    rng = np.random.default_rng([21, seed])
    table = load_hospitals()
    table = table.iloc[rng.permutation(len(table))[: len(table) * 9 // 10]].reset_index(drop=True)
    firsts = {"Female": list(Provider.first_names_female), "Male": list(Provider.first_names_male)}
    lasts = list(Provider.last_names)
    names = [f"{rng.choice(firsts[sex])} {rng.choice(lasts)}" for sex in table["sex"]]
    rows = [
        {
            "name": name,
            "age": int(age),
            "sex": sex,
            "hospital": hospital,
            "chol": None if np.isnan(chol) else float(chol),
            "ill": bool(ill),
        }
        for name, age, sex, hospital, chol, ill in zip(
            names, *(table[column] for column in ("age", "sex", "hospital", "chol", "ill")),
            strict=True,
        )
    ]  # fmt: skip
    return Case(
        rows,
        np.column_stack([federated.hospital_features(table), np.ones(len(table))]),
        table["ill"].to_numpy(float),
        table["hospital"].map(HOSPITALS.index).to_numpy(int),
        rng.random(len(table)) < 0.75,
    )
