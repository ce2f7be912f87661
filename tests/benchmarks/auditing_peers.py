"""Two published black-box audits, re-implemented from their papers: neither installs any more.

* StatDP: Zeyu Ding, Yuxin Wang, Guanhong Wang, Danfeng Zhang and Daniel Kifer, "Detecting
  Violations of Differential Privacy" (CCS 2018).
* DP-Sniper: Benjamin Bichsel, Samuel Steffen, Ilija Bogunovic and Martin Vechev, "DP-Sniper:
  Black-Box Discovery of Differential Privacy Violations using Classifiers" (S&P 2021).

Both get what :func:`privlab.audit.audit` gets: the same mechanisms and pairs, the same number of
calls, the same probability α of a false alarm. Half of the calls choose a pair, a direction and an
event, a quarter of them (of all calls) with each data set of the chosen pair test it once, on fresh
samples. Outputs become columns of numbers by privlab's own encoder: the papers know numbers and
lists of numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import beta, binom, hypergeom
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privlab.audit.outputs import Encoder, Raised

Event = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """What an audit found, and how often it called the mechanism."""

    violates: bool
    samples: int


class _Caller:
    """Calls a mechanism and encodes what it returns, always in the same columns."""

    def __init__(self, mechanism: Callable, epsilon: float, rng: np.random.Generator) -> None:
        self._mechanism, self._epsilon, self._rng = mechanism, epsilon, rng
        self._encoder, self._names, self.calls = Encoder(), None, 0

    def __call__(self, data: Any, times: int) -> list[Any]:
        self.calls += times
        outputs = []
        for _ in range(times):
            given = data.copy() if hasattr(data, "copy") else data
            try:
                outputs.append(self._mechanism(given, self._epsilon, self._rng))
            except Exception as problem:  # an exception is an output
                outputs.append(Raised(type(problem).__name__))
        return outputs

    def encode(self, outputs: Sequence[Any]) -> np.ndarray:
        """Return the columns of the first batch, of shape (n, columns); always finite."""
        table = self._encoder(outputs)
        if self._names is None:
            self._names = list(table.columns)
        columns = np.column_stack([table[name] for name in self._names])
        return np.clip(np.nan_to_num(columns, nan=-1e9), -1e9, 1e9)


# ---- StatDP --------------------------------------------------------------------------------------


def _p_value(first: int, second: int, n: int, epsilon: float, rng: np.random.Generator) -> float:
    """Test P[D ∈ E] ≤ e^ε · P[D′ ∈ E] (algorithm 2 of the paper).

    The first count is thinned by e^-ε; then the hypothesis says that it is no more likely than the
    second, which Fisher's exact test decides. The paper averages over the thinning.
    """
    thinned = binom.rvs(first, np.exp(-epsilon), size=200, random_state=rng)
    p = hypergeom.sf(thinned - 1, 2 * n, n, np.minimum(thinned + second, 2 * n))
    return float(p.mean())


def _events(columns: np.ndarray) -> Iterator[Event]:
    """Go through the paper's search space: half-lines and single values of simple statistics."""
    statistics: list[Callable[[np.ndarray], np.ndarray]] = [
        (lambda values, n=n: values[:, n]) for n in range(columns.shape[1])
    ]
    if columns.shape[1] > 1:
        statistics += [partial(each, axis=1) for each in (np.sum, np.max, np.min)]
    for statistic in statistics:
        values = statistic(columns)
        seen, counts = np.unique(values, return_counts=True)
        for value in seen[counts > 0.001 * len(values)][:50]:
            yield lambda found, of=statistic, value=value: of(found) == value
        for threshold in np.unique(np.quantile(values, np.linspace(0.02, 0.98, 25))):
            yield lambda found, of=statistic, at=threshold: of(found) <= at
            yield lambda found, of=statistic, at=threshold: of(found) > at
    # Pairs of discrete entries, as for the outputs of sparse vectors.
    discrete = [n for n in range(columns.shape[1]) if len(np.unique(columns[:, n])) <= 4][:6]
    for a, b in combinations(discrete, 2):
        for x in np.unique(columns[:, a]):
            for y in np.unique(columns[:, b]):
                yield lambda found, a=a, b=b, x=x, y=y: (found[:, a] == x) & (found[:, b] == y)


def statdp(
    mechanism: Callable,
    pairs: Sequence[tuple[Any, Any]],
    epsilon: float,
    samples: int,
    alpha: float,
    rng: np.random.Generator,
) -> Verdict:
    """Audit as StatDP does: the event with the smallest p-value, then one test on fresh samples."""
    call, best = _Caller(mechanism, epsilon, rng), None
    n = samples // 4 // len(pairs)
    for pair in pairs:
        outputs = [call(data, n) for data in pair]
        columns = call.encode(outputs[0] + outputs[1])
        for event in _events(columns):
            happens = event(columns)
            counts = int(happens[:n].sum()), int(happens[n:].sum())
            if sum(counts) < 0.001 * n * np.exp(epsilon):
                continue  # the paper's rule against rare events
            for order in (0, 1):
                if counts[order] * np.exp(-epsilon) <= counts[1 - order]:
                    continue  # the p-value is about a half or more
                p = _p_value(counts[order], counts[1 - order], n, epsilon, rng)
                if best is None or p < best[0]:
                    best = p, pair[order], pair[1 - order], event
    if best is None:
        return Verdict(False, call.calls)
    _, first, second, event = best
    n = samples // 4
    counts = [int(event(call.encode(call(data, n))).sum()) for data in (first, second)]
    return Verdict(_p_value(*counts, n, epsilon, rng) < alpha, call.calls)


# ---- DP-Sniper -----------------------------------------------------------------------------------


def _power(first: int, second: int, n: int, alpha: float, smallest: float) -> float:
    """Bound log P[D ∈ E] / P[D′ ∈ E] from below by two Clopper-Pearson bounds of α / 2 each."""
    low = beta.ppf(alpha / 2, first, n - first + 1) if first else 0.0
    high = beta.ppf(1 - alpha / 2, second + 1, n - second) if second < n else 1.0
    return float(np.log(max(low, smallest) / max(high, smallest)))


def dp_sniper(
    mechanism: Callable,
    pairs: Sequence[tuple[Any, Any]],
    epsilon: float,
    samples: int,
    alpha: float,
    rng: np.random.Generator,
    smallest: float = 0.01,
) -> Verdict:
    """Audit as DP-Sniper does: a logistic regression tells D from D′; its surest outputs are E.

    The threshold (with ties broken at random) is the one that gives E the probability
    ``smallest`` (c in the paper) under D′.
    """
    call, best = _Caller(mechanism, epsilon, rng), None
    n = samples // 4 // len(pairs)
    for pair in pairs:
        outputs = [call(data, n) for data in pair]
        columns, labels = call.encode(outputs[0] + outputs[1]), np.repeat([1, 0], n)
        if (columns == columns[0]).all():
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, labels)
        scores = model.decision_function(columns)
        for sign, first, second in ((1, *pair), (-1, *reversed(pair))):
            own, other = (scores[:n], scores[n:]) if sign == 1 else (scores[n:], scores[:n])
            threshold = np.sort(sign * other)[-max(1, round(smallest * n))]
            above, at = (sign * other > threshold).mean(), (sign * other == threshold).mean()
            tie = min(1.0, max(0.0, (smallest - above) / at)) if at else 0.0
            hit = (sign * own > threshold).mean() + tie * (sign * own == threshold).mean()
            power = np.log(max(hit, smallest) / smallest)
            if best is None or power > best[0]:
                best = power, first, second, model, sign, threshold, tie
    if best is None:
        return Verdict(False, call.calls)
    _, first, second, model, sign, threshold, tie = best
    n, counts = samples // 4, []
    for data in (first, second):
        scores = sign * model.decision_function(call.encode(call(data, n)))
        happens = (scores > threshold) | ((scores == threshold) & (rng.random(n) < tie))
        counts.append(int(happens.sum()))
    return Verdict(_power(*counts, n, alpha, smallest) > epsilon, call.calls)
