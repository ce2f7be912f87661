"""Five designs to compare with, from careless to over-cautious."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..accounting import gaussian_sigma
from .case import CANDIDATES, DELTA, HIGH, LOW
from .design import Design
from .table import PLANNED


def age_group(age: int, width: int, low: int, high: int) -> str:
    """Return the group of an age: ``width`` years, open below ``low`` and from ``high`` on.

    Example:
        ``age_group(47, 10, 40, 70)`` is ``"40-49"``.
    """
    if age < low:
        return f"under {low}"
    if age >= high:
        return f"{high} and over"
    start = low + (age - low) // width * width
    return f"{start}-{min(start + width, high) - 1}"


def clip_rows(rows: np.ndarray, max_grad_norm: float) -> np.ndarray:
    """Shorten each row that is longer than a bound to it, of shape (n, d) as the rows."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, max_grad_norm / np.maximum(norms, 1e-12))


def private_update(
    rows: np.ndarray,
    max_grad_norm: float,
    noise_multiplier: float,
    honest: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the sum of clipped rows and a share of noise: ``honest`` shares are enough.

    The shares are independent Gaussians: their variances add up to (noise_multiplier ·
    max_grad_norm)² (Cynthia Dwork and others, "Our data, ourselves", 2006).
    """
    share = noise_multiplier * max_grad_norm / math.sqrt(honest)
    return clip_rows(rows, max_grad_norm).sum(axis=0) + rng.normal(0, share, rows.shape[1])


def private_total(values: Sequence[float], epsilon: float, rng: np.random.Generator) -> list[float]:
    """Return the sum of values within :data:`LOW` and :data:`HIGH`, and their number, with ε.

    Adjacency: add or remove one value. Half of ε goes to the sum, of sensitivity :data:`HIGH`, half
    to the number, of sensitivity 1 (Laplace mechanism; Cynthia Dwork and others, "Calibrating noise
    to sensitivity in private data analysis", 2006).
    """
    total = np.clip(values, LOW, HIGH).sum() + rng.laplace(0, HIGH / (epsilon / 2))
    return [float(total), len(values) + rng.laplace(0, 1 / (epsilon / 2))]


def seal_gcm(key: bytes, data: bytes, context: str) -> bytes:
    """Seal bytes with AES-GCM for a place; the box is nonce, ciphertext and tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, data, context.encode())


def unseal_gcm(key: bytes, box: bytes, context: str) -> bytes | None:
    """Open what :func:`seal_gcm` sealed for this place; None where key, place or box is wrong."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(box[:12], box[12:], context.encode())
    except (InvalidTag, ValueError):
        return None


def _ecb(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.ECB())


def seal_ecb(key: bytes, data: bytes, context: str) -> bytes:
    """Encrypt block by block, as nobody should: equal blocks stay equal, no change is noticed."""
    from cryptography.hazmat.primitives.padding import PKCS7

    padder, encryptor = PKCS7(128).padder(), _ecb(key).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def unseal_ecb(key: bytes, box: bytes, context: str) -> bytes:
    """Decrypt what :func:`seal_ecb` encrypted, or what somebody made of it."""
    from cryptography.hazmat.primitives.padding import PKCS7

    unpadder, decryptor = PKCS7(128).unpadder(), _ecb(key).decryptor()
    plain = decryptor.update(box) + decryptor.finalize()
    return unpadder.update(plain) + unpadder.finalize()


def _sum_rows(rows: np.ndarray, *ignored: Any) -> np.ndarray:
    return rows.sum(axis=0)


def _unmasked(update: np.ndarray, *ignored: Any) -> np.ndarray:
    return update


def _exact_total(values: Sequence[float], *ignored: Any) -> list[float]:
    return [float(np.sum(values)), float(len(values))]


def raw_table(rows: list[dict]) -> list[dict | None]:
    """Return the columns of the planning table as they are, with the names."""
    return [{column: row[column] for column in ("name", *PLANNED)} for row in rows]


def hashed_names(rows: list[dict]) -> list[dict | None]:
    """Return the table with a SHA-256 hash for each name."""
    return [
        {"patient": hashlib.sha256(row["name"].encode()).hexdigest()}
        | {column: row[column] for column in PLANNED}
        for row in rows
    ]


def coarse_table(rows: list[dict]) -> list[dict | None]:
    """Return ten-year age groups, sex and diagnosis, without the hospital."""
    return [
        {
            "age": age_group(row["age"], 10, 40, 60),
            "sex": row["sex"],
            "hospital": "*",
            "ill": row["ill"],
        }
        for row in rows
    ]


def diverse_table(rows: list[dict]) -> list[dict | None]:
    """Return ten-year age groups with sex and hospital, without groups of one diagnosis.

    Groups of fewer than :data:`CANDIDATES` are left out as well. It looks safe, but a register
    shows who is missing: of a larger group that is missing, everybody has the same diagnosis.
    """
    table = [dict(row, hospital=full["hospital"])
             for row, full in zip(coarse_table(rows), rows, strict=True)]  # fmt: skip
    groups: dict[tuple, list[bool]] = {}
    for row in table:
        groups.setdefault((row["age"], row["sex"], row["hospital"]), []).append(row["ill"])
    kept = {key for key, ill in groups.items() if len(ill) >= CANDIDATES and len(set(ill)) > 1}
    return [row if (row["age"], row["sex"], row["hospital"]) in kept else None for row in table]


def grouped_table(rows: list[dict]) -> list[dict | None]:
    """Return three age groups with sex and hospital, coarser where patients are few.

    Women's hospitals are left open, men of the two smaller hospitals are one group. No choice looks
    at a diagnosis; groups of fewer than :data:`CANDIDATES` are left out.
    """
    merged = ("Switzerland", "VA Long Beach")
    table = []
    for row in rows:
        hospital = " or ".join(merged) if row["hospital"] in merged else row["hospital"]
        if row["sex"] == "Female":
            hospital = "*"
        age = age_group(row["age"], 10, 50, 60)
        table.append({"age": age, "sex": row["sex"], "hospital": hospital, "ill": row["ill"]})
    sizes = Counter((row["age"], row["sex"], row["hospital"]) for row in table)
    return [
        row if sizes[row["age"], row["sex"], row["hospital"]] >= CANDIDATES else None
        for row in table
    ]


def empty_table(rows: list[dict]) -> list[dict | None]:
    """Return nothing of anybody."""
    return [None] * len(rows)


def given_designs() -> list[Design]:
    """Return the five designs that a learner's is compared with, from careless to over-cautious."""
    from ..secagg import mask

    rounds = 20
    plan = {
        "tls": True,
        "verify": True,
        "client_certificate": True,
        "minimum_version": "TLSv1.3",
        "rounds": rounds,
        "learning_rate": 2.0,
        "max_grad_norm": 1.0,
        "noise_multiplier": 0.0,
        "colluding": 1,
        "epsilon_model": math.inf,
        "delta": DELTA,
        "epsilon_statistic": math.inf,
    }
    off = {"verify": False, "client_certificate": False, "minimum_version": "TLSv1.2"}
    sealed = (seal_gcm, unseal_gcm)

    def private(epsilon_model: float, epsilon_statistic: float) -> dict[str, Any]:
        return plan | {
            "epsilon_model": epsilon_model,
            "epsilon_statistic": epsilon_statistic,
            "noise_multiplier": gaussian_sigma(epsilon_model, DELTA, rounds),
        }

    return [
        Design(
            "careless", plan | off | {"tls": False}, raw_table, lambda key, data, context: data,
            lambda key, box, context: box, _sum_rows, _unmasked, _exact_total,
        ),
        Design(
            "names removed", plan, hashed_names, seal_ecb, unseal_ecb, _sum_rows, _unmasked,
            _exact_total,
        ),
        Design(
            "locked, not private", plan, coarse_table, *sealed, _sum_rows, mask, _exact_total
        ),
        Design(
            "balanced", private(1.5, 0.5), grouped_table, *sealed, private_update, mask,
            private_total,
        ),
        Design(
            "over-cautious", private(0.05, 0.05), empty_table, *sealed, private_update, mask,
            private_total,
        ),
    ]  # fmt: skip
