"""One task done in every way of the course, and every way attacked: the engine of lesson 20.

The task: tell the ill from the healthy patients of four hospitals. Each way is done M times, every
time with other patients: a fair coin decides for each patient and run who is in. So each run is
attacked with the others as its shadow models, and scored on those who were left out.

Adjacency of every ε: add or remove one patient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from . import anonymity, federated, secagg
from .attacks import linkage, membership
from .data import load_hospitals

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: What a register may hold of a patient beside the name.
QUASI_IDENTIFIERS = ("age", "sex", "hospital", "trestbps", "chol")
#: With fewer runs some patient is likely to be in all shadow models, or in none.
FEWEST = 28
#: Of every (ε, δ): below one in the number of patients.
DELTA = 1e-4


@dataclass(frozen=True)
class Task:
    """The task.

    Attributes:
        table: One row a patient; what was not measured has the public centre of its column.
        X: Features of :func:`privlab.federated.hospital_features`, of shape (n, 10).
        y: 1 for ill, 0 for healthy, of shape (n,).
        hospital: Where each patient is, numbers from 0, of shape (n,).
    """

    table: pd.DataFrame
    X: np.ndarray
    y: np.ndarray
    hospital: np.ndarray

    @property
    def expected(self) -> float:
        """Records that a run is expected to have, as everybody knows: half of the table."""
        return len(self.y) / 2

    def part(self, rows: np.ndarray) -> Task:
        """Return the task with some of the patients."""
        return Task(self.table.iloc[rows], self.X[rows], self.y[rows], self.hospital[rows])


@dataclass(frozen=True)
class Outcome:
    """What M runs of a way give.

    Attributes:
        predicted: Log odds of being ill, of shape (M, n).
        reader: What a reader of the release makes of each patient, of shape (M, n): higher means
            more likely in the run.
        server: The same for the machine that collects the data or the updates.
        epsilon: What the release costs; infinite without a promise.
        epsilon_server: What the server's view costs.
        upload: Bytes that the hospitals send in a run.
    """

    predicted: np.ndarray
    reader: np.ndarray
    server: np.ndarray
    epsilon: float = math.inf
    epsilon_server: float = math.inf
    upload: int = 0


@cache
def load_task() -> Task:
    """Return the task; 920 patients of four hospitals."""
    table = load_hospitals()
    for column, (centre, _) in federated.HOSPITAL_SCALES.items():
        table[column] = table[column].fillna(centre)
    codes = table["hospital"].astype("category").cat.codes.to_numpy(int)
    return Task(table, federated.hospital_features(table), table["ill"].to_numpy(int), codes)


# ---- what is measured ---------------------------------------------------------------------------


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a positive has the higher score.

    Args:
        scores: Of shape (n,).
        positive: Booleans of shape (n,).

    Raises:
        ValueError: All are positive, or none is.
    """
    positive = np.asarray(positive, bool)
    inside, outside = positive.sum(), (~positive).sum()
    if not inside or not outside:
        raise ValueError("positive must hold True and False")
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def auc_bound(epsilon: float, delta: float = DELTA) -> float:
    """Return the largest AUC of any membership inference that (ε, δ) allows.

    The area under :func:`privlab.attacks.membership.tpr_bound`.
    """
    if math.isinf(epsilon):
        return 1.0
    fpr = np.concatenate([[0], np.geomspace(1e-9, 1, 4_000)])
    return float(np.trapezoid(membership.tpr_bound(fpr, epsilon, delta), fpr))


def lira_scores(log_odds: np.ndarray, y: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Attack each of M models by LiRA with the others as shadow models.

    Args:
        log_odds: That a patient is ill, by each model, of shape (M, n).
        y: 1 for ill, of shape (n,).
        members: Booleans of shape (M, n), drawn by independent coins.

    Returns:
        Scores of shape (M, n); NaN with fewer than :data:`FEWEST` runs.
    """
    if len(members) < FEWEST:
        return np.full(members.shape, np.nan)
    logits = np.stack([np.zeros_like(log_odds), log_odds], axis=-1)
    confidences = membership.logit_confidence(logits, y)
    return membership.leave_one_out(confidences, members)


def guess_coins(A: np.ndarray, b: np.ndarray, variance: float) -> np.ndarray:
    """Guess x, fair coins of 0 and 1, from b = A x + noise: the best linear guess.

    Ridge regression about 1/2, with the variance of the noise against that of a coin, 1/4.

    Args:
        A: Of shape (equations, n).
        b: Of shape (equations,), or (equations, M) for M sets of coins.
        variance: Of the noise in each equation, above 0.

    Returns:
        Scores of shape (n,) or (n, M); above 0 means rather 1.
    """
    penalty = 4 * variance
    centred = b - A.sum(axis=1).reshape(-1, *[1] * (b.ndim - 1)) / 2
    if penalty > 1e-6:
        # In the form whose matrix has a row an equation, not a patient.
        return A.T @ np.linalg.solve(A @ A.T + penalty * np.eye(len(A)), centred)
    # That form squares the condition number; with almost exact equations it loses all digits.
    left, sizes, right = np.linalg.svd(A, full_matrices=False)
    return right.T @ ((sizes / (sizes**2 + penalty)) * (left.T @ centred).T).T


def model_scores(task: Task, weights: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Attack M logistic models that were trained without noise: the better of two attacks.

    One is LiRA. The other knows that at the end of training the members' gradients add up to
    almost nothing: eleven linear equations (:func:`guess_coins`); how much is left over, a reader
    learns from models of their own.

    Args:
        task: The task.
        weights: The bias last, of shape (M, 11).
        members: Booleans of shape (M, n).

    Returns:
        Scores of shape (M, n); NaN with fewer than :data:`FEWEST` runs.
    """
    lira = lira_scores(log_odds(weights, task.X), task.y, members)
    if np.isnan(lira).any():
        return lira
    each = _gradients(weights, task.X, task.y, math.inf)
    left_over = float(np.mean(np.einsum("mnp,mn->mp", each, members) ** 2))
    zero = np.zeros(each.shape[-1])
    solved = np.array([guess_coins(one.T, zero, left_over) for one in each])
    return max(lira, solved, key=lambda scores: membership.roc(scores, members).auc)


def measure(task: Task, members: np.ndarray, outcome: Outcome) -> dict[str, float]:
    """Return what counts about a way: use, what attackers find, promise, bytes.

    Args:
        task: The task.
        members: Who was in which run, booleans of shape (M, n).
        outcome: What the runs gave.

    Returns:
        ``utility`` (mean AUC of the prediction on patients that were not in the run), ``spread``
        (its standard deviation from run to run), ``reader`` and ``server`` (AUC of membership
        inference by each), ``reader_tpr`` (true positives at 1 % false ones), ``epsilon_reader``,
        ``epsilon_server``, ``upload`` (bytes). What the reader finds is NaN with fewer than
        :data:`FEWEST` runs.
    """
    pairs = list(zip(members, outcome.predicted, strict=True))
    use = [auc(scores[~inside], task.y[~inside] == 1) for inside, scores in pairs]
    attacked = not np.isnan(outcome.reader).any()
    curve = membership.roc(outcome.reader, members) if attacked else None
    return {
        "utility": float(np.mean(use)),
        "spread": float(np.std(use, ddof=1)),
        "reader": curve.auc if curve else math.nan,
        "reader_tpr": curve.tpr_at(0.01).share if curve else math.nan,
        "server": membership.roc(outcome.server, members).auc,
        "epsilon_reader": outcome.epsilon,
        "epsilon_server": outcome.epsilon_server,
        "upload": outcome.upload,
    }


# ---- the ways: one place -------------------------------------------------------------------------


def _holds(task: Task, members: np.ndarray) -> np.ndarray:
    """Return what someone makes of the patients who holds the exact records: a look-up."""
    columns = np.column_stack([task.X, task.y])
    rows = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
    present = [np.bincount(rows[inside], minlength=rows.max() + 1)[rows] for inside in members]
    return np.array(present, float)


def train_logistic(X: np.ndarray, y: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Fit a logistic regression in each of M runs, by gradient descent on all its records.

    Args:
        X: Features, of shape (n, p), or (M, n, p) where each run has its own.
        y: 0 or 1, of shape (n,).
        members: Who is in which run, booleans of shape (M, n).

    Returns:
        Weights and, last, the bias, of shape (M, p + 1).
    """
    runs = range(len(members))
    X = np.broadcast_to(X, (len(members), *np.shape(X)[-2:]))
    y = np.broadcast_to(y, members.shape)
    parts = [run * members.shape[1] + np.flatnonzero(members[run]) for run in runs]
    clients = federated.make_clients(X.reshape(-1, X.shape[-1]), y.reshape(-1), parts)
    model = federated.Network(features=X.shape[-1])
    start, rng = np.zeros(model.parameters), np.random.default_rng(0)  # nothing is drawn
    return federated.train_locally(model, clients, np.array(runs), start, 200, 0.5, rng)


def log_odds(weights: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return the log odds of being ill, of shape (M, n).

    Args:
        weights: Of M models, the bias last, of shape (M, p + 1).
        X: Features, of shape (n, p).
    """
    return weights[:, :-1] @ X.T + weights[:, -1:]


def _raw_bytes(task: Task) -> int:
    return round(federated.BYTES_PER_NUMBER * task.expected * (task.X.shape[1] + 1))


def raw_table(task: Task, members: np.ndarray, rng: np.random.Generator) -> Outcome:
    """Release the table without names; whoever wants trains on it."""
    predicted, held = (
        log_odds(train_logistic(task.X, task.y, members), task.X),
        _holds(task, members),
    )
    return Outcome(predicted, held, held, upload=_raw_bytes(task))


def k_anonymous_table(
    task: Task, members: np.ndarray, rng: np.random.Generator, k: int = 10
) -> Outcome:
    """Release the table with quasi-identifiers generalised by Mondrian; train on midpoints.

    The reader knows all about a patient, and asks whether there is a row that fits.
    """
    X = np.repeat(task.X[None], len(members), axis=0)
    fits = np.zeros(members.shape)
    names = list(federated.HOSPITAL_FEATURES)
    for run, inside in enumerate(members):
        part = task.table[inside]
        classes = anonymity.mondrian(part, QUASI_IDENTIFIERS, k)
        groups = part.groupby(classes)
        same = np.ones((len(inside), classes.max() + 1), bool)
        for column in ("age", "trestbps", "chol"):
            low, high = (groups[column].agg(way).to_numpy() for way in ("min", "max"))
            value = task.table[column].to_numpy(float)[:, None]
            same &= (low <= value) & (value <= high)
            centre, scale = federated.HOSPITAL_SCALES[column]
            X[run, inside, names.index(column)] = ((low + high)[classes] / 2 - centre) / scale
        # A release says "Female | Male" for a mixed class: half a man.
        male = (part["sex"] == "Male").groupby(classes)
        X[run, inside, names.index("male")] = (male.max().to_numpy()[classes] * 0.5) + (
            male.min().to_numpy()[classes] * 0.5
        )
        for column in ("sex", "hospital"):
            values = groups[column].agg(set)
            same &= np.array([[v in s for s in values] for v in task.table[column]])
        kept = [
            i for i, name in enumerate(names) if name not in ("age", "trestbps", "chol", "male")
        ]
        rest = np.column_stack([task.X[:, kept], task.y])
        rows = np.unique(rest, axis=0, return_inverse=True)[1].reshape(-1)
        found = np.zeros((classes.max() + 1, rows.max() + 1), bool)
        found[classes, rows[inside]] = True
        fits[run] = (same & found[:, rows].T).any(axis=1)
    predicted = log_odds(train_logistic(X, task.y, members), task.X)
    return Outcome(predicted, fits, _holds(task, members), upload=_raw_bytes(task))


def statistics(
    task: Task, members: np.ndarray, rng: np.random.Generator, epsilon: float = 1.0
) -> Outcome:
    """Release noisy counts, ten small tables of diagnosis by value; predict by naive Bayes.

    A patient is counted once in each table, so the sensitivity of all counts together is 10 (L1;
    add or remove one patient). Two-sided geometric noise of that scale, the difference of two
    geometric numbers, gives (ε, 0). The reader solves the counts, linear in who is in, for the
    members (:func:`guess_coins`). The cuts are public. Source of the noise: Arpita Ghosh, Tim
    Roughgarden and Mukund Sundararajan, "Universally Utility-Maximizing Privacy Mechanisms" (2009).
    """
    cells = np.where(task.X[:, 5:] > 0.5, 1, 0)
    cells = np.column_stack([np.digitize(task.X[:, :5], [-1, -0.25, 0.5, 1.25]), cells])
    counted = np.zeros((10, 2, 5, len(task.y)))  # 1 where a patient is counted
    for feature in range(10):
        counted[feature, task.y, cells[:, feature], np.arange(len(task.y))] = 1
    tables = counted @ members.T
    chance = 1 - math.exp(-epsilon / 10) if math.isfinite(epsilon) else 1.0
    noise = [rng.geometric(chance, tables.shape) for _ in range(2)]
    released = tables + noise[0] - noise[1]
    # Two values each for the five yes-or-no columns; the other cells are no question.
    noisy = np.maximum(released, 0) + 1
    noisy[5:, :, 2:] = 0
    shares = noisy / noisy.sum(axis=2, keepdims=True)
    prior = np.log(noisy.sum(axis=(0, 2)))
    predicted = np.repeat((prior[1] - prior[0])[:, None], len(task.y), axis=1)
    for feature in range(10):
        ratio = np.log(shares[feature, 1, :2] if feature >= 5 else shares[feature, 1])
        ratio = ratio - np.log(shares[feature, 0, :2] if feature >= 5 else shares[feature, 0])
        predicted += ratio[cells[:, feature]].T
    asked = np.ones(tables.shape[:3], bool)
    asked[5:, :, 2:] = False
    # Two geometric numbers of success p have variance 2 (1 - p) / p²; exact counts are not quite.
    variance = max(2 * (1 - chance) / chance**2, 1e-2)
    scores = guess_coins(counted[asked], released[asked], variance).T
    return Outcome(predicted, scores, _holds(task, members), epsilon, upload=_raw_bytes(task))


def plain_model(task: Task, members: np.ndarray, rng: np.random.Generator) -> Outcome:
    """Pool the data; release a logistic regression of 11 numbers."""
    weights = train_logistic(task.X, task.y, members)
    scores = model_scores(task, weights, members)
    held = _holds(task, members)
    return Outcome(log_odds(weights, task.X), scores, held, upload=_raw_bytes(task))


def wide_network(
    task: Task, members: np.ndarray, rng: np.random.Generator, steps: int = 120
) -> Outcome:
    """Pool the data; release a network that is larger than they need."""
    import torch
    from torch import nn

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    network = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, 2))
    X, y = torch.tensor(task.X, dtype=torch.float32), torch.tensor(task.y)
    seed = int(rng.integers(2**31))
    trained = membership.train_many(
        network, X, y, members, steps=steps, learning_rate=0.03, seed=seed
    )[steps]
    logits = membership.many_logits(network, trained, X)
    predicted = logits[..., 1] - logits[..., 0]
    scores = lira_scores(predicted, task.y, members)
    return Outcome(predicted, scores, _holds(task, members), upload=_raw_bytes(task))


def dp_sgd(
    task: Task,
    members: np.ndarray,
    rng: np.random.Generator,
    epsilon: float = 1.0,
    max_grad_norm: float = 1.0,
    sample_rate: float = 0.25,
    steps: int = 60,
    learning_rate: float = 2.0,
) -> Outcome:
    """Pool the data; release a logistic regression trained by DP-SGD on Poisson samples."""
    import torch
    from torch import nn

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    network = nn.Sequential(nn.Linear(10, 2))
    X, y = torch.tensor(task.X, dtype=torch.float32), torch.tensor(task.y)
    models = membership.train_many_privately(
        network, X, y, members, sample_rate=sample_rate, steps=steps,
        noise_multiplier=noise_multiplier(epsilon, steps, sample_rate),
        max_grad_norm=max_grad_norm, learning_rate=learning_rate / max_grad_norm,
        seed=int(rng.integers(2**31)),
    )  # fmt: skip
    logits = membership.many_logits(network, models, X)
    predicted = logits[..., 1] - logits[..., 0]
    scores = lira_scores(predicted, task.y, members)
    return Outcome(predicted, scores, _holds(task, members), epsilon, upload=_raw_bytes(task))


@cache
def noise_multiplier(epsilon: float, steps: int, sample_rate: float = 1.0) -> float:
    """Return the noise with which so many steps cost (ε, :data:`DELTA`), by dp-accounting.

    Args:
        epsilon: Above 0; infinite for no noise.
        steps: Gaussian steps, each on a Poisson sample.
        sample_rate: The probability of each record to be part of a step; 1 takes all.

    Raises:
        ValueError: ``epsilon`` is not above 0.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, not {epsilon!r}")
    if math.isinf(epsilon):
        return 0.0
    import dp_accounting as dpa
    from dp_accounting.pld import PLDAccountant

    def event(sigma: float) -> dpa.DpEvent:
        step = dpa.GaussianDpEvent(sigma)
        if sample_rate < 1:
            step = dpa.PoissonSampledDpEvent(sample_rate, step)
        return dpa.SelfComposedDpEvent(step, steps)

    interval = dpa.LowerEndpointAndGuess(0.3, 5.0)
    return float(
        dpa.calibrate_dp_mechanism(
            # Coarser than the default, and still a bound from above.
            lambda: PLDAccountant(value_discretization_interval=1e-3),
            event, epsilon, DELTA, interval, tol=1e-3,
        )
    )  # fmt: skip


def spent(noise: float, steps: int) -> float:
    """Return the ε of so many Gaussian steps on all records, at :data:`DELTA`; infinite without."""
    if not noise:
        return math.inf
    import dp_accounting as dpa
    from dp_accounting.pld import PLDAccountant

    event = dpa.SelfComposedDpEvent(dpa.GaussianDpEvent(noise), steps)
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    return float(accountant.compose(event).get_epsilon(DELTA))


# ---- the ways: four places -----------------------------------------------------------------------


@dataclass(frozen=True)
class Federation:
    """What M federations of four hospitals send, with one step at home a round.

    Attributes:
        weights: The model at the start of each round, and at the end, of shape (T + 1, M, 11).
        seen: What the server sees: the sum of gradients of each hospital, of shape
            (T, M, hospitals, 11), or under masks that of all of them, of shape (T, M, 1, 11).
        noise: The standard deviation of the noise in each of those numbers.
        rounding: That of the error of rounding to fixed-point numbers; 0 for plain numbers.
    """

    weights: np.ndarray
    seen: np.ndarray
    noise: float
    rounding: float = 0.0


def _gradients(weights: np.ndarray, X: np.ndarray, y: np.ndarray, clip: float) -> np.ndarray:
    """Return each patient's gradient in each run, clipped, of shape (M, n, 11)."""
    rows = np.column_stack([X, np.ones(len(X))])
    errors = (1 + np.tanh((weights @ rows.T) / 2)) / 2 - y
    norms = np.abs(errors) * np.linalg.norm(rows, axis=1)
    errors = errors * np.minimum(1, clip / np.maximum(norms, 1e-12))
    return errors[..., None] * rows


def federate(
    task: Task,
    members: np.ndarray,
    rng: np.random.Generator,
    rounds: int = 30,
    learning_rate: float = 2.0,
    max_grad_norm: float = math.inf,
    noise: float = 0.0,
    bits: int | None = None,
) -> Federation:
    """Train M logistic regressions over the hospitals, one step at home a round.

    Each hospital sends the sum of its patients' clipped gradients, with noise of its own; the
    server divides by the expected number of records, which is public.

    Args:
        task: The task.
        members: Who is in which run, booleans of shape (M, n).
        rng: Draws the noise, and the seeds of the masks.
        rounds: How many.
        learning_rate: Of the server.
        max_grad_norm: No patient's gradient is longer; infinite for no limit.
        noise: Standard deviation of each hospital's noise, over ``max_grad_norm``.
        bits: Send fixed-point numbers of so many bits behind the point under pairwise masks
            (:mod:`privlab.secagg`); None sends plain numbers.

    Raises:
        ValueError: There is noise, and no limit that it could be measured by.
    """
    if noise and math.isinf(max_grad_norm):
        raise ValueError("max_grad_norm must be finite where there is noise, not inf")
    hospitals = int(task.hospital.max()) + 1
    homes = np.eye(hospitals)[task.hospital]  # (n, hospitals)
    weights, seen = [np.zeros((len(members), task.X.shape[1] + 1))], []
    scale = noise * max_grad_norm if noise else 0.0
    seeds = None if bits is None else secagg.shared_seeds(hospitals, rng)
    for number in range(rounds):
        each = _gradients(weights[-1], task.X, task.y, max_grad_norm) * members[..., None]
        sent = homes.T @ each + rng.normal(0, scale, (len(members), hospitals, each.shape[-1]))
        if bits is not None:
            sent = mask_sums(sent, seeds, number, bits)[:, None]
        seen.append(sent)
        weights.append(weights[-1] - learning_rate * sent.sum(axis=1) / task.expected)
    parts = 1 if bits is None else hospitals
    # What is rounded to a multiple of d is off by d / √12; the total of all, by more.
    rounding = 0.0 if bits is None else math.sqrt(hospitals / 12) * 2.0**-bits
    return Federation(np.array(weights), np.array(seen), scale * math.sqrt(parts), rounding)


def mask_sums(sums: np.ndarray, seeds: np.ndarray, number: int, bits: int) -> np.ndarray:
    """Add up what hospitals send under pairwise masks, as fixed-point numbers modulo 2³².

    Args:
        sums: Of shape (M, hospitals, P).
        seeds: Of :func:`privlab.secagg.shared_seeds`.
        number: The round.
        bits: Behind the point; a total must stay below 2 to the power of (31 - bits).

    Returns:
        The totals, of shape (M, P).

    Raises:
        ValueError: A total does not fit.
    """
    if np.abs(sums).sum(axis=1).max() * 2.0**bits >= 2**31:
        raise ValueError(f"bits must leave room for the total; {bits!r} are too many")
    fixed = (np.rint(sums * 2.0**bits).astype(np.int64) % 2**32).swapaxes(0, 1)
    hidden = [secagg.mask(each.reshape(-1), h, seeds, number) for h, each in enumerate(fixed)]
    total = np.sum(hidden, axis=0, dtype=np.uint32).view(np.int32)  # the upper half is negative
    return total.reshape(len(sums), -1) / 2.0**bits


def solve_members(task: Task, found: Federation, max_grad_norm: float = math.inf) -> np.ndarray:
    """Attack as the server: find who is in from the sums of all rounds, by least squares.

    The server knows every candidate's record. What a hospital sends is then a linear equation in
    unknowns that are 1 for who is in and 0 for who is not: 11 equations a round
    (:func:`guess_coins`). Plain numbers arrive as 4 bytes each; their rounding limits the attack.

    Args:
        task: The task.
        found: What was sent.
        max_grad_norm: As in the training.

    Returns:
        Scores of shape (M, n).
    """
    hospitals = range(int(task.hospital.max()) + 1)
    groups, seen = [np.flatnonzero(task.hospital == h) for h in hospitals], found.seen
    variance = found.noise**2 + found.rounding**2
    if not found.rounding:
        sent = seen.astype(np.float32)
        seen, steps = sent.astype(float), np.spacing(np.abs(sent)).astype(float)
        variance += np.mean(steps**2) / 12
    if seen.shape[2] == 1:
        groups = [np.arange(len(task.y))]
    scores = np.zeros((seen.shape[1], len(task.y)))
    for run in range(len(scores)):
        each = _gradients(found.weights[:-1, run], task.X, task.y, max_grad_norm)
        for group, rows in enumerate(groups):
            A = each[:, rows].transpose(0, 2, 1).reshape(-1, len(rows))
            scores[run, rows] = guess_coins(A, seen[:, run, group].reshape(-1), variance)
    return scores


def federated_model(
    task: Task,
    members: np.ndarray,
    rng: np.random.Generator,
    rounds: int = 30,
    epsilon: float | None = None,
    masked: bool = False,
    bits: int = 16,
) -> Outcome:
    """Leave the data at the hospitals; release the model that they train together.

    Noise is added by the hospitals. Alone, each adds all of it; under masks, where only the sum is
    seen, each adds a quarter of the variance. (Gaussian noise that is rounded and then added up
    keeps the promise only nearly; Peter Kairouz, Ziyu Liu and Thomas Steinke, "The Distributed
    Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation" (2021), mend that.
    And a hospital can take its own part of the noise away: with :func:`spent`, ε = 1 is 1.18
    towards one hospital of four, 2.21 towards three that collude with the server. Whoever fears c
    colluding ones of n lets each add 1 / (n - c) of the variance.)

    Args:
        task: The task.
        members: Who is in which run, booleans of shape (M, n).
        rng: Draws noise and masks.
        rounds: How many; one step at home each.
        epsilon: What the server may learn of a patient from all that it sees; None for no noise.
        masked: Secure aggregation: the server sees sums over all hospitals alone.
        bits: Of the fixed-point numbers under masks.
    """
    hospitals = int(task.hospital.max()) + 1
    clip, noise = (math.inf, 0.0) if epsilon is None else (1.0, noise_multiplier(epsilon, rounds))
    if masked:
        noise /= math.sqrt(hospitals)
    found = federate(
        task, members, rng, rounds, max_grad_norm=clip, noise=noise, bits=bits if masked else None
    )
    predicted = log_odds(found.weights[-1], task.X)
    if epsilon is None:
        scores = model_scores(task, found.weights[-1], members)
    else:
        scores = lira_scores(predicted, task.y, members)
    upload = rounds * federated.round_bytes(task.X.shape[1] + 1, hospitals)
    if masked:  # each pair agrees on a seed by two public keys of 32 bytes, once
        upload += 32 * hospitals * (hospitals - 1)
    return Outcome(
        predicted,
        scores,
        solve_members(task, found, clip),
        spent(noise * math.sqrt(hospitals), rounds),
        math.inf if epsilon is None else epsilon,
        upload,
    )


def encrypted_answers(task: Task, members: np.ndarray, rng: np.random.Generator) -> Outcome:
    """Pool the data; keep the plain model, and answer clients who send CKKS ciphertexts.

    The reader is such a client: it decrypts the answers. What the encryption hides is the client's
    patient, from the server.
    """
    import tenseal as ts

    weights = train_logistic(task.X, task.y, members)
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40
    columns = [ts.ckks_vector(context, column) for column in task.X.T]
    predicted = []
    for *factors, bias in weights.tolist():
        answer = columns[0] * factors[0]
        for column, factor in zip(columns[1:], factors[1:], strict=True):
            answer = answer + column * factor
        predicted.append((answer + bias).decrypt())
    # Log odds are linear: eleven exact answers give the weights.
    scores = model_scores(task, weights, members)
    upload = _raw_bytes(task) + sum(len(column.serialize()) for column in columns)
    return Outcome(np.array(predicted), scores, _holds(task, members), upload=upload)


#: Every way by its name.
WAYS: dict[str, Callable[..., Outcome]] = {
    "raw table": raw_table,
    "k-anonymous table": k_anonymous_table,
    "DP statistics": statistics,
    "wide network": wide_network,
    "plain model": plain_model,
    "DP-SGD": dp_sgd,
    "federated": federated_model,
    "encrypted answers": encrypted_answers,
}

#: The ways that lesson 20 compares: name → arguments of :func:`try_way`.
EVERY_WAY: dict[str, dict[str, Any]] = {
    "raw table": {"way": "raw table"},
    "10-anonymous table": {"way": "k-anonymous table", "k": 10},
    "wide network": {"way": "wide network"},
    "plain model": {"way": "plain model"},
    "encrypted answers": {"way": "encrypted answers"},
    "DP statistics": {"way": "DP statistics", "epsilon": 1.0},
    "DP-SGD": {"way": "DP-SGD", "epsilon": 1.0},
    "federated": {"way": "federated"},
    "federated, masks": {"way": "federated", "masked": True},
    "federated, DP each": {"way": "federated", "epsilon": 1.0},
    "federated, DP, masks": {"way": "federated", "epsilon": 1.0, "masked": True},
}


def try_way(
    way: str, *, seed: int, runs: int = 32, people: int | None = None, **options: Any
) -> dict[str, float]:
    """Do the task in one way, attack it, and return what counts.

    Args:
        way: A key of :data:`WAYS`.
        seed: Of coins, noise and masks.
        runs: How many runs with other patients, at least 4.
        people: Take so many patients, drawn at random; None takes all.
        options: Of the way, for example ``epsilon`` or ``k``.

    Raises:
        ValueError: There is no such way, or too few runs.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, not {way!r}")
    if runs < 4:
        raise ValueError(f"runs must be at least 4, not {runs!r}")
    task, rng = load_task(), np.random.default_rng(seed)
    if people is not None:
        if not 40 <= people <= len(task.y):
            raise ValueError(f"people must be 40 to {len(task.y)}, not {people!r}")
        task = task.part(np.sort(rng.choice(len(task.y), people, replace=False)))
    members = membership.coin_flips(runs, len(task.y), rng)
    return measure(task, members, WAYS[way](task, members, rng, **options))


# ---- further small tests -------------------------------------------------------------------------


def release_table(*, k: int, seed: int) -> dict[str, float]:
    """Release the whole table, and attack it with a register that holds all quasi-identifiers.

    Args:
        k: Of k-anonymity; 1 changes nothing.
        seed: Of the runs behind ``membership`` and ``use``.

    Returns:
        ``named`` (the share of patients whom linkage names), ``certain`` (the share in a class with
        one diagnosis), ``membership`` (AUC of the reader), ``use`` (AUC of the prediction).
    """
    columns = list(QUASI_IDENTIFIERS)
    table = load_task().table.rename(columns={"id": "person"})
    public = anonymity.generalise(table, columns, anonymity.mondrian(table, columns, k))
    # The register's entries fall into the classes of the release.
    linked = linkage.link(public, public[[*columns, "person"]], columns)
    alone = public.groupby(columns)["ill"].transform("nunique") == 1
    found = try_way("k-anonymous table", k=k, seed=seed, runs=8)
    return {"named": linked.recall, "certain": float(alone.mean()), "membership": found["reader"],
            "use": found["utility"]}  # fmt: skip


def odd_patient() -> tuple[Task, int]:
    """Return the task with one odd patient, and which: of the healthy ones that with the largest ST
    depression, typed with the point in the wrong place.
    """
    task = load_task()
    X = task.X.copy()
    healthy = np.flatnonzero(task.y == 0)
    column = federated.HOSPITAL_FEATURES.index("oldpeak")
    odd = int(healthy[X[healthy, column].argmax()])
    X[odd, column] *= 10
    return Task(task.table, X, task.y, task.hospital), odd


def attack_one(
    task: Task,
    who: int,
    way: Callable[..., Outcome],
    rng: np.random.Generator,
    runs: int = 128,
    **options: Any,
) -> tuple[float, float]:
    """Attack one patient in many models by LiRA, and say how well that goes.

    The first half of the models are the shadow models of all others. (To take each model's
    *others* as its shadow models is no fair test on a single patient: leaving the target out moves
    both means away from it, and guesses come out worse than a coin.)

    Args:
        task: The task.
        who: The patient.
        way: Trains models, as in :data:`WAYS`.
        rng: Draws who is in, and what the way draws.
        runs: Models in all.
        options: Of the way.

    Returns:
        The AUC, and the standard error that an AUC of guesses has.
    """
    members = membership.coin_flips(runs, len(task.y), rng)
    predicted = way(task, members, rng, **options).predicted[:, [who]]
    logits = np.stack([np.zeros_like(predicted), predicted], axis=-1)
    confidences = membership.logit_confidence(logits, task.y[[who]])
    half, inside = runs // 2, members[:, [who]]
    scores = [membership.lira(each, confidences[:half], inside[:half])[0]
              for each in confidences[half:]]  # fmt: skip
    own = inside[half:, 0]
    error = math.sqrt((len(own) + 1) / 12 / own.sum() / (~own).sum())
    return auc(np.array(scores), own), error


def skewed(*, alpha: float, local_steps: int, seed: int, steps: int = 200) -> dict[str, float]:
    """Train over ten clients with Dirichlet labels, and compare with pooled training.

    Args:
        alpha: Small is uneven.
        local_steps: Steps between two rounds.
        seed: Of the split into training and test, and of the partition.
        steps: In all.

    Returns:
        ``excess``: the log loss on test patients above that of pooled training.
    """
    task, rng = load_task(), np.random.default_rng(seed)
    order = rng.permutation(len(task.y))
    train, test = order[: 3 * len(order) // 4], order[3 * len(order) // 4 :]
    X, y = task.X[train], task.y[train]
    apart = federated.dirichlet_partition(y, 10, alpha, rng, min_size=0)
    model, losses = federated.Network(features=X.shape[1]), []
    for parts, rounds in ((apart, steps // local_steps), ([np.arange(len(y))], 1)):
        clients = federated.make_clients(X, y, parts)
        *_, last = federated.fedavg(model, clients, rounds, steps // rounds, 0.5, rng)
        losses.append(model.loss(last.weights, task.X[test], task.y[test]))
    return {"excess": losses[0] - losses[1]}


async def _add(mpc: Any, own: None, size: int) -> None:
    vectors = mpc.input(mpc.SecInt(64).array(np.ones(size, int)))
    await mpc.output(sum(vectors[1:], vectors[0]))


def bytes_a_round(sizes: Sequence[int]) -> pd.DataFrame:
    """Measure what one of four clients sends when vectors are added up, by protection.

    Args:
        sizes: Numbers in a vector.

    Returns:
        Bytes; a column a size; rows ``plain`` (4 bytes a number), ``masks`` (the same, and a public
        key of 32 bytes for each other client), ``MPC`` (MPyC, measured in processes), ``CKKS``
        (TenSEAL's ciphertexts, 4,096 numbers each).
    """
    import pandas as pd
    import tenseal as ts

    from .mpc import run_parties

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40
    piece = len(ts.ckks_vector(context, np.ones(4096)).serialize())
    reports = run_parties(_add, [None] * 4, sizes)
    return pd.DataFrame(
        {
            size: {
                "plain": federated.round_bytes(size, 1),
                "masks": federated.round_bytes(size, 1) + 3 * 32,
                "MPC": np.mean([each.bytes_sent for each in reports if each.case == size]),
                "CKKS": piece * math.ceil(size / 4096),
            }
            for size in sizes
        }
    )


# ---- figures -------------------------------------------------------------------------------------


def draw_luck(runs: pd.DataFrame) -> tuple[Figure, str]:
    """Draw a score of each run against its seed's mean, and the winner of each seed; tell it, too.

    Args:
        runs: With the columns ``setting``, ``seed``, ``few`` and ``lead`` (``few`` less the mean of
            all settings of the seed).
    """
    from . import plots

    fig, (ax,) = plots.figure(width=8, height=3.2)
    mean = runs.groupby("setting")["lead"].mean().sort_values()
    order = mean.index
    place = runs["setting"].map({name: i for i, name in enumerate(order)})
    ax.plot(place, runs["lead"], "o", color=plots.GREY, alpha=0.4, ms=5, label="a run")
    won = runs.groupby("seed")["lead"].idxmax()
    ax.plot(place[won], runs["lead"][won], "D", color=plots.RED, ms=6, label="winner of a seed")
    ax.plot(range(len(order)), mean, "_", color="black", ms=16, mew=2, label="mean of the setting")
    ax.set_xticks(range(len(order)), order, rotation=35, ha="right", fontsize=8)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plots.label(
        ax, "One seed does not find the best", "learning rate, clip", "AUC above the seed's mean"
    )
    left = runs["lead"] - runs["setting"].map(mean)
    own = runs.groupby("setting")["few"].mean()
    alt = (
        f"AUC on 60 patients of {len(order)} settings, {runs['seed'].nunique()} seeds each, above "
        f"the mean of its seed. The means of the settings, {mean.min():+.3f} to {mean.max():+.3f}, "
        f"spread by {mean.std():.3f}; runs spread about them by {left.std():.3f}. "
        f"{runs['setting'][won].nunique()} settings win for some seed. The winners have "
        f"{runs['few'][won].mean():.3f} on average; the same settings over all seeds "
        f"{own[runs['setting'][won]].mean():.3f}."
    )
    return fig, alt


def draw_ways(table: pd.DataFrame, front: pd.Series) -> tuple[Figure, str]:
    """Draw use, attackers and bytes of each way, one row each; return it in words, too.

    Args:
        table: Of :func:`measure`, one row a way, named by the index.
        front: Which rows no other row beats.
    """
    from . import plots

    fig, (use, leak, sent) = plots.figure(columns=3, width=10.5, height=4.2)
    rows = np.arange(len(table))[::-1]
    use.errorbar(table["utility"], rows, xerr=table["spread"], fmt="o", color=plots.BLUE, capsize=3)
    leak.plot(table["reader"], rows, "o", color=plots.ORANGE, ms=8, label="reader")
    leak.plot(table["server"], rows, "s", color=plots.RED, mfc="none", ms=9, mew=2, label="server")
    leak.axvline(0.5, color=plots.GREY, ls=":", lw=1)
    leak.legend(fontsize=8, loc="center", bbox_to_anchor=(0.62, 0.62))
    sent.plot(table["upload"], rows, "^", color=plots.GREEN, ms=7)
    sent.set(xscale="log")
    for ax in (use, leak, sent):
        ax.set_yticks(rows, [])
    names = [("* " if best else "") + name for name, best in front.items()]
    use.set_yticks(rows, names)
    fig.supxlabel("*  no other way is at least as good everywhere, and better somewhere",
                  fontsize=9)  # fmt: skip
    plots.label(use, "Use", "AUC of the prediction, ± 1 sd")
    plots.label(leak, "Attack", "AUC of membership inference")
    plots.label(sent, "Cost", "bytes that all hospitals send")
    told = "; ".join(
        f"{name} {row['utility']:.2f}, {row['reader']:.2f}, {row['server']:.2f}, "
        f"{row['upload']:,.0f}"
        for name, row in table.iterrows()
    )
    alt = (
        "Three panels, a row a way. AUC of the prediction, of the reader's attack, of the "
        f"server's, and bytes: {told}. Not beaten by another: {', '.join(table.index[front])}."
    )
    return fig, alt


def draw_epsilons(
    table: pd.DataFrame, odd: dict[str, tuple[float, float]], plain: float
) -> tuple[Figure, str]:
    """Draw use and attacks over ε, and what ε allows; return it in words, too.

    Args:
        table: With the columns ``name``, ``epsilon`` and those of :func:`measure`.
        odd: Of :func:`attack_one` on one odd patient: ``plain``, and ``DP-SGD`` at ε = 1.
        plain: The utility without a promise.
    """
    from . import plots

    fig, (use, leak) = plots.figure(columns=2, width=11, height=3.4)
    for (name, part), style in zip(table.groupby("name", sort=False), ("o-", "s--", "^:"),
                                   strict=False):  # fmt: skip
        use.errorbar(part["epsilon"], part["utility"], part["spread"], fmt=style, capsize=3,
                     label=name)  # fmt: skip
        leak.plot(part["epsilon"], part["server" if "federated" in name else "reader"], style,
                  label=name)  # fmt: skip
    use.axhline(plain, color="black", ls="--", lw=1)
    use.annotate("no promise", (0.1, plain + 0.005), fontsize=8)
    grid = np.geomspace(0.1, 10, 60)
    leak.plot(grid, [auc_bound(each) for each in grid], color="black", label="most that ε allows")
    leak.errorbar([1], *([each] for each in odd["DP-SGD"]), fmt="*", color=plots.RED, ms=13,
                  capsize=3, label="odd patient, DP-SGD")  # fmt: skip
    leak.axhline(odd["plain"][0], color=plots.RED, ls="--", label="odd patient, no promise")
    for ax in (use, leak):
        ax.set(xscale="log")
    leak.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    plots.label(use, "Use", "ε", "AUC of the prediction, ± 1 sd")
    plots.label(leak, "Attack", "ε", "AUC of membership inference")
    told = "; ".join(
        f"{name} {part['utility'].iloc[0]:.2f} to {part['utility'].iloc[-1]:.2f}"
        for name, part in table.groupby("name", sort=False)
    )
    alt = (
        f"Left: AUC of the prediction from ε = 0.1 to ε = 10: {told}; {plain:.2f} without a "
        "promise. Right: attacks on all patients reach at most "
        f"{max(table['reader'].max(), table['server'][table['name'] != 'DP statistics'].max()):.2f}"
        f"; ε allows {auc_bound(0.1):.2f} at 0.1, {auc_bound(1):.2f} at 1, {auc_bound(10):.2f} at "
        f"10. On one odd patient, {odd['DP-SGD'][0]:.2f} ± {odd['DP-SGD'][1]:.2f} at ε = 1, and "
        f"{odd['plain'][0]:.2f} without a promise."
    )
    return fig, alt


def draw_tests(tests: pd.DataFrame) -> tuple[Figure, str]:
    """Draw use over each parameter that was changed, a panel each; return it in words, too.

    Args:
        tests: With the columns ``parameter``, ``value``, ``utility`` and ``spread``.
    """
    from . import plots

    names = list(dict.fromkeys(tests["parameter"]))
    fig, axes = plots.figure(columns=len(names), width=11, height=2.9)
    for ax, name in zip(axes, names, strict=True):
        part = tests[tests["parameter"] == name]
        places = np.arange(len(part))
        ax.errorbar(places, part["utility"], part["spread"], fmt="o-", capsize=3)
        ax.set_xticks(places, [f"{value:g}" for value in part["value"]], fontsize=8)
        ax.set(xlim=(-0.4, len(part) - 0.6), ylim=(0.55, 0.9))
        for spot in places[part["utility"].isna()]:
            ax.text(spot, 0.57, "failed", rotation=90, ha="center", color=plots.RED, fontsize=8)
        if ax is not axes[0]:
            ax.tick_params(labelleft=False)
        plots.label(ax, name, name)
        ax.set(title="")
    axes[0].set_ylabel("AUC, ± 1 sd")
    told = "; ".join(
        f"{name} "
        + ", ".join(
            f"{row['value']:g}: "
            + ("failed" if math.isnan(row["utility"]) else f"{row['utility']:.2f}")
            for _, row in part.iterrows()
        )
        for name, part in tests[["parameter", "value", "utility"]].groupby("parameter", sort=False)
    )
    return fig, f"Panels of the AUC of the prediction over one parameter each. {told}."


def draw_pitfalls(uneven: pd.DataFrame, sent: pd.DataFrame) -> tuple[Figure, str]:
    """Draw what uneven clients and protection cost; return it in words, too.

    Args:
        uneven: With the columns ``alpha``, ``local_steps``, ``excess`` (log loss above pooled).
        sent: Bytes a client, a row a protection, a column a number of parameters.
    """
    from . import plots

    fig, (left, right) = plots.figure(columns=2, width=10, height=3.4)
    for (alpha, part), style in zip(uneven.groupby("alpha"), ("o-", "s--", "^:"), strict=False):
        found = part.groupby("local_steps")["excess"].agg(["mean", "std"])
        left.errorbar(found.index, found["mean"], found["std"], fmt=style, capsize=3,
                      label=f"α = {alpha:g}")  # fmt: skip
    left.set(xscale="log")
    left.legend()
    plots.label(left, "Uneven clients, 200 steps in all", "local steps a round",
                "log loss above pooled")  # fmt: skip
    for (name, values), style in zip(sent.iterrows(), ("o-", "s--", "^:", "D-."), strict=False):
        # Plain numbers and masks lie on each other but for the smallest vectors.
        size = 10 if name == "plain" else 6
        right.plot(sent.columns, values, style, ms=size, label=str(name))
    right.set(xscale="log", yscale="log")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    plots.label(right, "One round", "parameters of the model", "bytes a client sends")
    cost = uneven.groupby(["alpha", "local_steps"])["excess"].mean().round(3) + 0.0  # no "-0.000"
    few, many = cost.index.levels[1].min(), cost.index.levels[1].max()
    low, high = cost.index.levels[0].min(), cost.index.levels[0].max()
    large = sent.columns[-1]
    told = ", ".join(f"{name} {value:,.0f}" for name, value in sent[large].items())
    alt = (
        f"Left: log loss above pooled training. With {many} local steps {cost[low, many]:.3f} at "
        f"α = {low:g}, {cost[high, many]:.3f} at α = {high:g}; with {few}, {cost[low, few]:.3f}. "
        f"Right: bytes a client sends in a round, for {large:,} parameters: {told}; for "
        f"{sent.columns[0]}, CKKS {sent.loc['CKKS', sent.columns[0]]:,.0f}."
    )
    return fig, alt
