"""Learning an event: a set of outputs that comes up more often with one data set than the other.

A *score* gives every output a number; an event is "score of at least t" or "score below t". Scores
are single features, the log-likelihood ratio of the cell that a feature's value lies in, and a
joint score of several features. What is learnt here is only a guess: the auditor tests it on fresh
samples, so nothing in this module can cause a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from .bounds import NOTHING, epsilon_lower
from .outputs import KIND, MISSING, WHOLE, Features, Table, features, number

#: Where a feature without frequent values is cut into cells: fine in the tails.
TAIL = np.array([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02])
CUTS = np.concatenate([TAIL, np.linspace(0.04, 0.96, 24), 1 - TAIL[::-1]])

MOST_ATOMS = 400  # frequent values with a cell of their own
MOST_COLUMNS = 32  # columns of the outputs that are looked at
MOST_FEATURES = 20  # features that are looked at closely
FEWEST = 4  # outputs in an event
RARE = 0.01  # the share of outputs in an event that is called rare
SIMPLER = 0.03  # the epsilon that a simpler kind of score may cost
COSTLIEST = 6 * SIMPLER  # the most that :func:`_worth` takes off

Piece = tuple[float, float]


@dataclass(frozen=True)
class Partition:
    """Cells of a line: frequent values (atoms) on their own, the rest between edges."""

    atoms: np.ndarray
    edges: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, only_atoms: bool = False) -> Partition:
        """Cut the line where some values call for it."""
        distinct, counts = np.unique(values, return_counts=True)
        frequent = counts >= max(6, 2e-4 * len(values))
        if frequent.sum() > MOST_ATOMS:
            frequent[np.argsort(-counts)[MOST_ATOMS:]] = False
        rest = np.repeat(distinct[~frequent], counts[~frequent])  # sorted
        edges = np.empty(0)
        if len(rest) > 30 and not only_atoms:
            # np.quantile would take most of the time of an audit's first rounds.
            low, part = np.divmod(CUTS * (len(rest) - 1), 1)
            below, above = rest[low.astype(int)], rest[low.astype(int) + 1]
            step = above - below
            # From the nearer end, as NumPy does: where both agree, the edge is that very value.
            edges = np.unique(np.where(part < 0.5, below + part * step, above - (1 - part) * step))
        return cls(distinct[frequent], edges)

    @property
    def size(self) -> int:
        """The number of cells."""
        return len(self.atoms) + len(self.edges) + 1

    def cells(self, values: np.ndarray) -> np.ndarray:
        """Number the cells of some values: first the atoms, then what lies between the edges."""
        cells = len(self.atoms) + np.searchsorted(self.edges, values)
        if len(self.atoms):
            nearest = np.minimum(np.searchsorted(self.atoms, values), len(self.atoms) - 1)
            cells = np.where(self.atoms[nearest] == values, nearest, cells)
        return cells

    def pieces(self, chosen: np.ndarray) -> list[Piece]:
        """Turn chosen cells into atoms (v, v) and intervals (low, high), neighbours merged."""
        pieces = [(value, value) for value in self.atoms[chosen[: len(self.atoms)]]]
        if pieces and not len(self.edges):
            return pieces  # the last cell is for values not seen before
        ends = np.concatenate([[-np.inf], self.edges, [np.inf]])
        between = np.concatenate([[False], chosen[len(self.atoms) :], [False]]).astype(int)
        starts = np.flatnonzero(np.diff(between) == 1)
        stops = np.flatnonzero(np.diff(between) == -1)
        return pieces + [(ends[i], ends[j]) for i, j in zip(starts, stops, strict=True)]


class Score(Protocol):
    """Gives outputs a number."""

    name: str

    def __call__(self, columns: Features) -> np.ndarray:
        """Compute the numbers."""

    def values(self, columns: Features) -> np.ndarray:
        """Compute what a figure shows."""

    def pieces(self, threshold: float, above: bool) -> list[Piece]:
        """Find which of those values belong to an event."""


@dataclass(frozen=True)
class Value:
    """The value of a feature itself."""

    name: str

    def __call__(self, columns: Features) -> np.ndarray:
        """Compute the scores."""
        return columns[self.name]

    values = __call__

    def pieces(self, threshold: float, above: bool) -> list[Piece]:
        """List the values in an event."""
        return [(threshold, np.inf) if above else (-np.inf, threshold)]


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood ratio of the cell that the value of a feature lies in."""

    name: str
    partition: Partition
    log_ratios: np.ndarray

    @classmethod
    def fit(cls, name: str, values: np.ndarray, first: np.ndarray) -> Likelihood:
        """Count how often the cells come up with the first data set and with the second."""
        partition = Partition.fit(values, only_atoms=name.endswith(KIND))
        cells = partition.cells(values)
        ones = np.bincount(cells, first, partition.size) + 0.5
        twos = np.bincount(cells, 1 - first, partition.size) + 0.5
        return cls(name, partition, np.log(ones / twos))

    def __call__(self, columns: Features) -> np.ndarray:
        """Compute the scores."""
        return self.log_ratios[self.partition.cells(columns[self.name])]

    def values(self, columns: Features) -> np.ndarray:
        """Return the values that lie in the cells."""
        return columns[self.name]

    def pieces(self, threshold: float, above: bool) -> list[Piece]:
        """List the values in an event."""
        chosen = self.log_ratios >= threshold
        return self.partition.pieces(chosen if above else ~chosen)


@dataclass(frozen=True)
class Joint:
    """A weighted sum of several log-likelihood ratios (ridge regression on the data set)."""

    parts: Sequence[Likelihood]
    weights: np.ndarray
    name: str = "a learnt score of the whole output"

    @property
    def heaviest(self) -> list[str]:
        """The features that move the score most, the heaviest first."""
        reach = [np.ptp(part.log_ratios) for part in self.parts] * np.abs(self.weights)
        return [self.parts[position].name for position in np.argsort(-reach)]

    @classmethod
    def fit(cls, parts: Sequence[Likelihood], columns: Features, first: np.ndarray) -> Joint:
        """Weigh the parts so that the sum tells the data sets apart."""
        ratios = np.stack([part(columns) for part in parts], axis=1)
        centred = ratios - ratios.mean(axis=0)
        spread = np.diag(centred.var(axis=0) + 1e-9)
        gram = centred.T @ centred + 0.01 * len(first) * spread
        return cls(parts, np.linalg.solve(gram, centred.T @ (first - first.mean())))

    def __call__(self, columns: Features) -> np.ndarray:
        """Compute the scores."""
        parts = zip(self.parts, self.weights, strict=True)
        return np.sum([weight * part(columns) for part, weight in parts], axis=0)

    values = __call__
    pieces = Value.pieces


@dataclass(frozen=True)
class Event:
    """Outputs whose score is at least (or below) a threshold.

    Attributes:
        names: The columns of the outputs that the features are computed from.
        score: Gives an output a number.
        threshold: Where the event begins or ends.
        above: Whether the event is "at least" the threshold; otherwise it is "below".
        favours: The data set with which it comes up more often: 0 (first) or 1 (second).
        promise: The epsilon it hopes to prove.
    """

    names: Sequence[str]
    score: Score
    threshold: float
    above: bool
    favours: int
    promise: float

    def happens(self, columns: Features) -> np.ndarray:
        """Tell for each output whether it is in the event."""
        scores = self.score(columns)
        return scores >= self.threshold if self.above else scores < self.threshold

    @property
    def pieces(self) -> list[Piece]:
        """The values that belong to the event."""
        return self.score.pieces(self.threshold, self.above)

    def describe(self, kinds: dict[float, str], example: str) -> str:
        """Say in plain words which outputs are meant; ``example`` is one of them."""
        name = self.score.name
        if name.endswith(KIND):
            listed = [kinds.get(low, "a rare kind") for low, high in self.pieces if low == high]
            listed = listed or ["of a rare kind"]
            return f"{_thing(name.removesuffix(KIND))} that is {_listing(listed)}"
        if name == WHOLE:
            number = len(self.pieces)
            return f"an output {'with' if number == 1 else f'like one of {number}, say'} {example}"
        if isinstance(self.score, Joint):
            name = f"{name} (above all {' and '.join(self.score.heaviest[:2])})"
        return f"{_thing(name)} {_ranges(self.pieces)}"


def _thing(name: str) -> str:
    return "an output" if name == "output" else name


def _listing(parts: Sequence[str], more: str = "one of {} more", most: int = 4) -> str:
    """Join parts by commas and "or"; of many, only count the last."""
    if len(parts) > most:
        parts = [*parts[: most - 1], more.format(len(parts) - most + 1)]
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _ranges(pieces: Sequence[Piece]) -> str:
    """Say where values lie: single values first, then ranges."""
    values = [low for low, high in pieces if low == high != MISSING]
    parts = [f"of exactly {_listing([number(value) for value in values])}"] if values else []
    parts += ["that is missing" for low, high in pieces if low == high == MISSING]
    parts += [_range(piece) for piece in pieces if piece[0] != piece[1]]
    return _listing(parts, "in {} more ranges") or "of no known value"


def _range(piece: Piece) -> str:
    low, high = piece
    if np.isinf(high):
        return "that is no frequent value" if np.isinf(low) else f"of at least {number(low)}"
    return f"below {number(high)}" if np.isinf(low) else f"from {number(low)} to {number(high)}"


# ---- the search --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What an event is wanted for: the test that it will face.

    Attributes:
        alpha: The probability of a false alarm that the test may spend on one event.
        delta: The δ of the claim.
        runs: The number of fresh samples of the test.
    """

    alpha: float
    delta: float
    runs: int


def learn(
    table: Table, first: np.ndarray, goal: Goal, floating_point: bool, rng: np.random.Generator
) -> list[Event]:
    """Learn up to three events from samples of one pair.

    Scores are fitted on one half of the samples; the thresholds are chosen on the other half by
    three criteria: the bound that this half proves by itself (cautious), the bound to expect from
    the test (hopeful), and the hopeful best among events that are rare.

    Args:
        table: The outputs.
        first: 1 where the first data set was used, 0 where it was the second.
        goal: What the events are wanted for.
        floating_point: Look at the lowest bits of the numbers.
        rng: Splits the samples into halves.

    Returns:
        The events, the most promising first; at least one.
    """
    names = _choose_columns(table, first)
    columns = features(table, names, floating_point)
    order = rng.permutation(len(first))
    fit, rest = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    fitted = {name: values[fit] for name, values in columns.items()}
    parts = _fit_parts(fitted, first[fit])
    held_out = {name: values[rest] for name, values in columns.items()}
    scores = list(_scores(parts, fitted, first[fit]))
    return _choose_events(_thresholds(scores, names, held_out, first[rest], goal))


def _choose_columns(table: Table, first: np.ndarray) -> list[str]:
    """Take all columns, or those whose means differ most if there are too many."""
    names = list(table.columns)
    if len(names) <= MOST_COLUMNS:
        return names
    ones = first > 0

    def difference(name: str) -> float:
        values = np.clip(table[name], -1e100, 1e100)
        spread = values.std() or 1.0
        return -abs(values[ones].mean() - values[~ones].mean()) / spread

    chosen = set(sorted(names, key=difference)[:MOST_COLUMNS])
    return [name for name in names if name in chosen]


def _fit_parts(columns: Features, first: np.ndarray) -> list[Likelihood]:
    """Fit the features; of many, only those that tell most at first sight."""
    names = list(columns)
    if len(names) > MOST_FEATURES:
        few = slice(0, 8_000)
        known = {
            name: _information(Likelihood.fit(name, columns[name][few], first[few]), columns, few)
            for name in names
        }
        names = sorted(names, key=known.__getitem__, reverse=True)[:MOST_FEATURES]
    parts = [Likelihood.fit(name, columns[name], first) for name in names]
    # One atom and a cell for the rest is a constant: it tells nothing, unless there is no other.
    return [part for part in parts if part.partition.size > 2] or parts[:1]


def _information(part: Likelihood, columns: Features, few: slice) -> float:
    """Measure how far a feature tells the data sets apart, less what chance alone would give."""
    ratios = part(columns={part.name: columns[part.name][few]})
    return float(np.mean(ratios**2)) - 4 * part.partition.size / len(ratios)


def _scores(parts: Sequence[Likelihood], columns: Features, first: np.ndarray) -> Iterator[Score]:
    for part in parts:
        yield part
        ordered = not part.name.endswith(KIND) and part.name != WHOLE and part.partition.size > 3
        if ordered and columns[part.name].min() > MISSING:
            yield Value(part.name)
    if len(parts) > 2:
        yield Joint.fit(parts, columns, first)


def _thresholds(
    scores: Sequence[Score], names: Sequence[str], columns: Features, first: np.ndarray, goal: Goal
) -> Iterator[list[Event]]:
    """Yield, for each criterion, the events among which :func:`_choose_events` may choose.

    They are the best event of every score, on either side of a threshold and in favour of either
    data set, if it promises at most :data:`COSTLIEST` less than the best of all.
    """
    cuts = [_cuts(score(columns), first) for score in scores]
    thresholds, above, ones = map(np.concatenate, zip(*cuts, strict=True))
    owner = np.repeat(np.arange(len(scores)), [len(cut[0]) for cut in cuts])
    size, all_ones = len(first), first.sum()
    # Four events a threshold: at least it or below it, in favour of the first data set or the
    # second. Those of all scores are weighed at once.
    total = np.stack([above] * 2 + [size - above] * 2)
    firsts = np.stack([ones, all_ones - ones])
    favoured = np.stack([firsts[0], total[0] - firsts[0], firsts[1], total[2] - firsts[1]])
    runs = np.broadcast_to([[all_ones], [size - all_ones]] * 2, total.shape)
    enough = (total >= FEWEST) & (2 * favoured >= total)
    kinds, positions = np.nonzero(enough)
    groups = 4 * owner[positions] + kinds
    for bounds in _promises(favoured[enough], total[enough], runs[enough], size, goal):
        order = np.lexsort((-bounds, groups))
        best = order[np.unique(groups[order], return_index=True)[1]]
        most = bounds.max()  # never of nothing: the whole line is an event
        # Where no event promises anything, one is as good as another.
        best = best[bounds[best] >= most - COSTLIEST] if most > NOTHING else best[:1]
        yield [
            Event(
                names,
                scores[owner[positions[place]]],
                float(thresholds[positions[place]]),
                bool(kinds[place] < 2),
                int(kinds[place] % 2),
                float(bounds[place]),
            )
            for place in best
        ]


def _cuts(scores: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds, how many scores reach each, and how many of those of the first data."""
    order = np.argsort(-scores)
    scores, ones = scores[order], np.cumsum(first[order])
    last = _few(np.flatnonzero(np.append(scores[1:] != scores[:-1], True)))
    return scores[last], last + 1.0, ones[last]


def _promises(
    hits: np.ndarray, total: np.ndarray, runs: np.ndarray, size: int, goal: Goal
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Guess how much epsilon events will prove: cautiously, hopefully, and only if rare."""
    more = max(goal.runs / size, 1.0)
    shrunk = total / (total + 0.7)
    hopeful = epsilon_lower(hits * more * shrunk, total * more, runs * more, goal.alpha, goal.delta)
    cautious = epsilon_lower(hits, total, runs, max(goal.alpha, 1e-3), goal.delta)
    return cautious, hopeful, np.where(total < RARE * size, hopeful, NOTHING)


def _few(positions: np.ndarray, most: int = 100) -> np.ndarray:
    """Thin out many positions; those near both ends stay dense."""
    if len(positions) <= most:
        return positions
    return positions[_dense_near_ends(len(positions))]


@lru_cache
def _dense_near_ends(size: int) -> np.ndarray:
    near = np.geomspace(1, size, 40).astype(int)
    even = np.linspace(0, size - 1, 40).astype(int)
    return np.unique(np.concatenate([near - 1, size - near, even]))


def _choose_events(criteria: Iterable[list[Event]]) -> list[Event]:
    """Choose by each criterion among events that are nearly as good: a simple one is preferred."""
    chosen: dict[tuple, Event] = {}
    for events in criteria:
        event = max(events, key=_worth)
        if event.promise > NOTHING or not chosen:
            chosen[event.score.name, event.threshold, event.above, event.favours] = event
    return list(chosen.values())


def _worth(event: Event) -> float:
    score = event.score
    if score.name.endswith(KIND):
        return event.promise
    complexity = {Value: 0, Likelihood: 1, Joint: 3}[type(score)] + (score.name not in event.names)
    # Many ranges are hard to read.
    complexity += min(len(event.pieces) // 3, 2)
    return event.promise - SIMPLER * complexity
