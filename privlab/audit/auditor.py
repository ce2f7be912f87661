"""The audit: rounds of growing size, each learns an event and tests it once on fresh samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from .bounds import epsilon_lower
from .events import Event, Goal, learn
from .outputs import KIND, Encoder, Raised, Table, features
from .report import ORDINALS, AuditReport, Evidence

Mechanism = Callable[[Any, float, np.random.Generator], Any]
Pair = tuple[Any, Any]


class Batched(Protocol):
    """A mechanism that answers many calls at once: where a call by itself costs time.

    :func:`audit` uses the method ``many`` of a mechanism wherever there is one.
    """

    def many(
        self, pair: Pair, choices: list[int], epsilon: float, rng: np.random.Generator
    ) -> Sequence[Any]:
        """Return one output for each choice, which names a data set of the pair: 0 or 1."""


FIRST_ROUND = 1_000  # samples
GROWTH = 4  # how many times larger the next round is
LOOK = 250  # samples of every pair before the first round
CHUNK = 8_192  # outputs that are held in memory as they came
TESTED = 0.6  # the part of a round that tests; the rest looks at further pairs


def audit(
    mechanism: Mechanism,
    pairs: Sequence[Pair],
    epsilon: float,
    *,
    delta: float = 0.0,
    samples: int = 200_000,
    confidence: float = 0.999,
    rng: np.random.Generator | int | None = None,
    floating_point: bool = False,
    names: Sequence[tuple[str, str]] | None = None,
) -> AuditReport:
    """Look for proof that a mechanism is less private than claimed.

    The audit works in rounds of growing size. Each round learns up to three events from the samples
    of earlier rounds: it looks at all pairs, takes the most promising and guesses which outputs
    come up too often with one of its two data sets. Then it draws fresh samples, each with a data
    set chosen by a fair coin, and tests every guess once, by the exact bound of
    :func:`privlab.audit.bounds.epsilon_lower`. It stops at the first violation.

    Why false alarms are rare: the events of a round are fixed before its fresh samples are drawn,
    so each bound fails with the probability given to it, at most, whatever was seen before. With
    alpha = 1 - ``confidence``, R rounds and E events a round, every bound gets alpha / (R · E). By
    the union bound *all* bounds of all rounds hold with probability ``confidence`` at least. When
    all hold, so does their maximum after any number of rounds, and it does not matter which rule
    stops the audit.

    The calls must be independent. A mechanism that keeps its noise from call to call is judged by
    what it does over many calls, even if a single one keeps the promise.

    No audit can show that a mechanism keeps its promise. Not found are violations on pairs that
    are not given or at an ε that is not tried, those of a few percent in ε, in events of a
    probability below about 1e-4, in entries beyond the 64th of a long output, in running time,
    and in a generator that can be predicted.

    Sources: Ding et al., "Detecting Violations of Differential Privacy" (2018); Bichsel et al.,
    "DP-Sniper" (2021); Jagielski, Ullman and Oprea, "Auditing Differentially Private Machine
    Learning" (2020); Clopper and Pearson (1934); Mironov (2012) for ``floating_point``.

    Args:
        mechanism: Called as ``mechanism(data, epsilon, rng)``. May return anything; an exception
            that it raises is an output, too. Data that have a method ``copy`` (lists, dicts, sets,
            arrays, tables) are given as (shallow) copies. May be :class:`Batched`.
        pairs: Neighbouring data sets, (D, D′) each. Both directions are tried.
        epsilon: The claimed ε.
        delta: The claimed δ.
        samples: How often the mechanism may be called, at least 500 times a pair.
        confidence: The probability, at least, that a mechanism that keeps its promise is not
            accused, and that the bound on ε is valid.
        rng: A generator or a seed, for an audit that comes out the same again.
        floating_point: Look also at the lowest bits of the numbers. They betray nearly every
            mechanism that adds floating-point noise, also ``rng.laplace``.
        names: How the report speaks of the data sets of each pair, for example
            ``[("with Ann", "without Ann")]``.

    Returns:
        The bound, the event that proves it, and what it took.

    Raises:
        ValueError: An argument is outside its range; the message names both.
    """
    _check(mechanism, pairs, epsilon, delta, samples, confidence, names)
    start = time.perf_counter()
    search = _Search(mechanism, pairs, epsilon, rng, floating_point)
    for pair in range(len(pairs)):
        search.explore(pair, LOOK)
    rounds = _rounds(samples - search.used)
    alpha, best, candidates = (1 - confidence) / len(rounds), None, list(range(len(pairs)))
    for number, size in enumerate(rounds, start=1):
        last = number == len(rounds)
        tested = size if last or len(candidates) == 1 else round(TESTED * size)
        goal = Goal(alpha / 3, delta, tested)
        learnt = {pair: search.learn(pair, goal) for pair in candidates}
        candidates.sort(key=lambda pair: -max(event.promise for event in learnt[pair]))
        findings = search.test(candidates[0], learnt[candidates[0]], tested, alpha, delta)
        best = max([*findings, *([best] if best else [])], key=lambda finding: finding.bound)
        if best.bound > epsilon:
            break
        if tested < size:
            candidates = _narrow_down(candidates, search)
            for pair in candidates[1:]:
                search.explore(pair, (size - tested) // (len(candidates) - 1))
    named = names[best.pair] if names else _names(best.pair, len(pairs))
    return _report(best, search, named, delta, confidence, time.perf_counter() - start)


@dataclass(frozen=True)
class _Finding:
    """An event, tested: how often it came up with the first and second data set."""

    event: Event
    pair: int
    bound: float
    counts: tuple[int, int]
    runs: tuple[int, int]
    values: np.ndarray
    first: np.ndarray
    example: str


class _Search:
    """Draws samples of all pairs and remembers them; learns events and tests them."""

    def __init__(
        self,
        mechanism: Mechanism,
        pairs: Sequence[Pair],
        epsilon: float,
        rng: np.random.Generator | int | None,
        floating_point: bool,
    ):
        seeds = np.random.default_rng(rng).integers(2**63, size=(2, 4))
        # The coins come from a generator that the mechanism never sees.
        self.coins, self.noise = (np.random.default_rng(seed) for seed in seeds)
        self.mechanism, self.pairs, self.epsilon = mechanism, pairs, epsilon
        self.floating_point = floating_point
        self.encoder = Encoder()
        self.tables: list[list[Table]] = [[] for _ in pairs]
        self.firsts: list[list[np.ndarray]] = [[] for _ in pairs]
        self.used = 0

    def sizes(self, pair: int) -> int:
        """Count the samples of a pair."""
        return sum(table.rows for table in self.tables[pair])

    def explore(self, pair: int, size: int) -> tuple[Table, np.ndarray]:
        """Draw and remember samples of a pair, each with a data set chosen by a fair coin."""
        coins = self.coins.integers(2, size=size)
        parts = [coins[start : start + CHUNK] for start in range(0, size, CHUNK)]
        table = Table.join([self.encoder(self._call(pair, part.tolist())) for part in parts])
        first = 1.0 - coins
        self.tables[pair].append(table)
        self.firsts[pair].append(first)
        self.used += size
        return table, first

    def _call(self, pair: int, coins: list[int]) -> list[Any]:
        mechanism, epsilon, rng = self.mechanism, self.epsilon, self.noise
        if hasattr(mechanism, "many"):
            return mechanism.many(self.pairs[pair], coins, epsilon, rng)
        # A mechanism that sorts or clips in place must not spoil the data of the next call.
        fresh = [_copier(data) for data in self.pairs[pair]]
        outputs = []
        for coin in coins:
            try:
                outputs.append(mechanism(fresh[coin](), epsilon, rng))
            except Exception as error:
                outputs.append(Raised(type(error).__name__))
        return outputs

    def learn(self, pair: int, goal: Goal) -> list[Event]:
        """Learn events from all samples of a pair."""
        # The parts are joined once: the next round finds them as one.
        self.tables[pair] = [Table.join(self.tables[pair])]
        self.firsts[pair] = [np.concatenate(self.firsts[pair])]
        (table,), (first,) = self.tables[pair], self.firsts[pair]
        return learn(table, first, goal, self.floating_point, self.coins)

    def test(
        self, pair: int, events: Sequence[Event], size: int, alpha: float, delta: float
    ) -> list[_Finding]:
        """Test events on fresh samples; the bounds hold together with probability 1 - alpha."""
        table, first = self.explore(pair, size)
        columns = features(table, events[0].names, self.floating_point)
        runs = (int(first.sum()), int(size - first.sum()))
        findings = []
        for event in events:
            hit = event.happens(columns)
            ones = int(first[hit].sum())
            counts = (ones, int(hit.sum()) - ones)
            bound = float(
                epsilon_lower(
                    counts[event.favours],
                    sum(counts),
                    runs[event.favours],
                    alpha / len(events),
                    delta,
                )
            )
            values = event.score.values(columns)
            example = table.describe(int(np.argmax(hit)), event.names, self.encoder.kinds)
            findings.append(_Finding(event, pair, bound, counts, runs, values, first, example))
        return findings


def _copier(data: Any) -> Callable[[], Any]:
    return data.copy if callable(getattr(data, "copy", None)) else lambda: data


def _names(pair: int, pairs: int) -> tuple[str, str]:
    where = f" of pair {pair}" if pairs > 1 else ""
    return f"with the first data set{where}", f"with the second data set{where}"


def _rounds(samples: int) -> list[int]:
    """Split samples into rounds of growing size; the last takes what is left."""
    sizes, size = [], FIRST_ROUND
    while sum(sizes) + size <= samples:
        sizes.append(size)
        size *= GROWTH
    left = samples - sum(sizes)
    if not sizes or left > sizes[-1] // 2:
        return [*sizes, left]
    return [*sizes[:-1], sizes[-1] + left]


def _narrow_down(candidates: list[int], search: _Search) -> list[int]:
    """Drop the less promising half of the pairs once enough was seen of them."""
    if min(search.sizes(pair) for pair in candidates) < 1_500:
        return candidates
    return candidates[: max(2, (len(candidates) + 1) // 2)]


def _report(
    finding: _Finding,
    search: _Search,
    names: tuple[str, str],
    delta: float,
    confidence: float,
    seconds: float,
) -> AuditReport:
    event, kinds = finding.event, search.encoder.kinds
    name = event.score.name
    evidence = Evidence(
        name, finding.values, finding.first, event.pieces, kinds if name.endswith(KIND) else {}
    )
    return AuditReport(
        violates=finding.bound > search.epsilon,
        epsilon_lower=max(finding.bound, 0.0),
        epsilon=search.epsilon,
        delta=delta,
        confidence=confidence,
        samples=search.used,
        seconds=seconds,
        event=event.describe(kinds, finding.example),
        counts=finding.counts,
        runs=finding.runs,
        pair=finding.pair,
        direction=ORDINALS[event.favours],
        names=names,
        evidence=evidence,
    )


def _check(
    mechanism: Any,
    pairs: Any,
    epsilon: Any,
    delta: Any,
    samples: Any,
    confidence: Any,
    names: Any,
) -> None:
    """Say which argument is outside its range."""
    if not callable(mechanism) and not hasattr(mechanism, "many"):
        raise ValueError(f"mechanism is {mechanism!r}; it must be a function (data, epsilon, rng).")
    if not isinstance(pairs, list | tuple) or not pairs:
        raise ValueError("pairs must be a list of at least one pair of neighbouring data sets.")
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("pairs must hold tuples of two data sets, (D, D_prime) each.")
    if not _is_number(epsilon) or not 0 < epsilon < np.inf:
        raise ValueError(f"epsilon is {epsilon!r}; it must be a finite number above 0.")
    if not _is_number(delta) or not 0 <= delta < 1:
        raise ValueError(f"delta is {delta!r}; it must be at least 0 and below 1.")
    if not _is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must be above 0 and below 1.")
    least = 2 * LOOK * max(len(pairs), 2)
    if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < least:
        raise ValueError(f"samples is {samples!r}; it must be a whole number of at least {least:,} "
                         f"for {len(pairs)} pairs.")  # fmt: skip
    if names is not None and [len(each) for each in names] != [2] * len(pairs):
        raise ValueError(f"names is {names!r}; it must hold two texts for each of the "
                         f"{len(pairs)} pairs.")  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
