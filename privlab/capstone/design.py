"""A design: settings, claims, and six functions of plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..exercise import NotTried, Wrong

_SETTINGS: dict[str, tuple[type | tuple[type, ...], Callable[[Any], bool], str]] = {
    "tls": (bool, lambda value: True, "True or False"),
    "verify": (bool, lambda value: True, "True or False"),
    "client_certificate": (bool, lambda value: True, "True or False"),
    "minimum_version": (
        str,
        lambda value: value in ("TLSv1.2", "TLSv1.3"),
        "'TLSv1.2' or 'TLSv1.3'",
    ),
    "rounds": (int, lambda value: 1 <= value <= 60, "a whole number from 1 to 60"),
    "learning_rate": ((int, float), lambda value: 0 < value <= 100, "above 0, at most 100"),
    "max_grad_norm": ((int, float), lambda value: 0 < value <= 10, "above 0, at most 10"),
    "noise_multiplier": ((int, float), lambda value: 0 <= value <= 500, "from 0 to 500"),
    "colluding": (int, lambda value: 0 <= value <= 3, "a whole number from 0 to 3"),
    "epsilon_model": ((int, float), lambda value: value > 0, "above 0 (inf: no promise)"),
    "delta": ((int, float), lambda value: 0 <= value < 1, "at least 0, below 1"),
    "epsilon_statistic": ((int, float), lambda value: value > 0, "above 0 (inf: no promise)"),
}


class Unusable(ValueError):
    """A design does not do its work, attacked or not; the message says which part and why."""


def _loop(
    design: Design, name: str, inputs: Sequence[tuple], choices: Sequence[int], rng: Any
) -> list[Any]:
    function = getattr(design, name)
    return [function(*inputs[choice], rng) for choice in choices]


@dataclass(frozen=True)
class Design:
    """How a consortium works: settings, claims, and six functions.

    Attributes:
        name: A few words.
        plan: Settings and claims, see :func:`check_plan`.
        desensitise: ``(rows)``: the table that the researcher plans with, a dict for each row in
            the same order with ``age``, ``sex``, ``hospital`` and ``ill``, or None for a row that
            is left out.
        seal: ``(key, data, context)``: encrypts bytes with a key of 32 bytes, for a place.
        unseal: ``(key, box, context)``: the bytes, or None (or an exception) for a refusal.
        update: ``(gradients, max_grad_norm, noise_multiplier, honest, rng)``: one row a patient
            in, a vector out: what a hospital tells of its patients in a round. ``honest``: among
            how many hospitals the noise is shared.
        mask: ``(update, client, seeds, number)``, as :func:`privlab.secagg.mask`; a hospital gets
            the seeds of its own pairs, and 0 for the others.
        statistic: ``(values, epsilon, rng)``: noisy sum and noisy count of the cholesterol values;
            the mean is computed from them.
        many: ``(design, name, inputs, choices, rng)``: calls a random function once a choice.
    """

    name: str
    plan: Mapping[str, Any]
    desensitise: Callable[[list[dict]], list[dict | None]]
    seal: Callable[[bytes, bytes, str], bytes]
    unseal: Callable[[bytes, bytes, str], bytes | None]
    update: Callable[..., np.ndarray]
    mask: Callable[..., np.ndarray]
    statistic: Callable[..., Sequence[float]]
    many: Callable[..., Sequence[Any]] = _loop


def check_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan that has every setting, each in its range.

    Settings: ``tls``, ``verify``, ``client_certificate``, ``minimum_version``, ``rounds``,
    ``learning_rate``, ``max_grad_norm``, ``noise_multiplier`` (of the sum of the honest hospitals'
    noise), ``colluding`` (hospitals that may pass on what they know). Claims: ``epsilon_model`` and
    ``delta`` of the model, ``epsilon_statistic`` of the statistic.

    Raises:
        ValueError: A setting is missing, unknown or out of range.
    """
    for name in plan:
        if name not in _SETTINGS:
            raise ValueError(f"plan has an unknown setting {name!r}; it has {list(_SETTINGS)}")
    checked = {}
    for name, (kind, allowed, words) in _SETTINGS.items():
        if name not in plan:
            raise ValueError(f"plan[{name!r}] is missing: it must be {words}")
        value = plan[name]
        value = value.item() if isinstance(value, np.generic) else value
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right or not allowed(value):
            raise ValueError(f"plan[{name!r}] must be {words}, not {value!r}")
        checked[name] = value
    return checked


def guarded(what: str, run: Callable[[], Any]) -> Any:
    """Say which part of a design does not work; what already says so passes."""
    try:
        return run()
    except (Unusable, NotTried, Wrong):  # the last two where a learner's answer is attacked
        raise
    except Exception as error:
        raise Unusable(f"`{what}` stops with {type(error).__name__}: {error}") from error


def numbers(value: Any, count: int) -> np.ndarray | None:
    """Return a value as a vector of so many finite numbers, or None where it is something else."""
    try:
        vector = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return vector if vector.shape == (count,) and np.isfinite(vector).all() else None
