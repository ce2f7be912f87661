"""Attacks that ask whether a record was in the training set, and what a promise says of them.

Scores are arrays in which *higher means more likely a member*. The attacks need the outputs of a
model alone. Shadow models, which they learn from, are trained many at a time; PyTorch is imported
inside those functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betaincinv, logsumexp
from scipy.stats import binom, norm
from tqdm import tqdm

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Sequential

#: The parameters of M models of one kind: name → tensor whose first dimension is M.
Models = dict[str, "Tensor"]


def _require(right: bool, message: str) -> None:
    if not right:
        raise ValueError(message)


# ---- scores -------------------------------------------------------------------------------------


def _own_logit(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return all logits as floats, and where those of the labels stand."""
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    _require(
        logits.ndim >= 2 and logits.shape[-1] >= 2 and np.isfinite(logits).all(),
        f"logits must be finite, of shape (…, n, classes), not of shape {logits.shape}",
    )
    _require(
        labels.shape == logits.shape[-2:-1] and labels.dtype.kind in "iu",
        f"labels must be {logits.shape[-2]} integers, one a record, not of shape {labels.shape}",
    )
    _require(
        bool(((labels >= 0) & (labels < logits.shape[-1])).all()),
        f"labels must lie between 0 and {logits.shape[-1] - 1}",
    )
    own = np.arange(logits.shape[-1]) == labels[:, None]
    return logits, np.broadcast_to(own, logits.shape)


def loss_scores(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Score each record by its negative loss: the simplest attack.

    Source: Samuel Yeom, Irene Giacomelli, Matt Fredrikson and Somesh Jha, "Privacy Risk in Machine
    Learning: Analyzing the Connection to Overfitting" (2018).

    Args:
        logits: Of one or several models, of shape (…, n, classes).
        labels: Integers from 0, of shape (n,).

    Returns:
        The logarithm of the probability that the model gives the label, of shape (…, n).

    Raises:
        ValueError: Shapes do not fit, or values are out of range.
    """
    logits, own = _own_logit(logits, labels)
    right = logits[own].reshape(logits.shape[:-1])
    return right - logsumexp(logits, axis=-1)


def logit_confidence(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Return log(p / (1 - p)) of the probability p that the model gives each record's label.

    On this scale, confidences of many models are about normally distributed. Source: Nicholas
    Carlini, Steve Chien, Milad Nasr, Shuang Song, Andreas Terzis and Florian Tramèr, "Membership
    Inference Attacks From First Principles" (2022).

    Args:
        logits: Of one or several models, of shape (…, n, classes).
        labels: Integers from 0, of shape (n,).

    Returns:
        The confidences, of shape (…, n).

    Raises:
        ValueError: Shapes do not fit, or values are out of range.
    """
    logits, own = _own_logit(logits, labels)
    right = logits[own].reshape(logits.shape[:-1])
    # log(1 - p) from the other classes: it stays exact where p is nearly 1.
    return right - logsumexp(np.where(own, -np.inf, logits), axis=-1)


def _shadows(
    target: ArrayLike, shadows: ArrayLike, members: ArrayLike, both: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, shadows = np.asarray(target, dtype=float), np.asarray(shadows, dtype=float)
    members = np.asarray(members)
    _require(target.ndim == 1 and target.size > 0, "target must be one confidence a record")
    _require(
        shadows.ndim == 2 and shadows.shape[1] == len(target),
        f"shadows must be of shape (models, {len(target)}), not {shadows.shape}",
    )
    _require(
        members.shape == shadows.shape and members.dtype == bool,
        f"members must be booleans of shape {shadows.shape}",
    )
    _require(bool(np.isfinite(target).all()), "target must be finite")
    _require(bool(np.isfinite(shadows).all()), "shadows must be finite")
    _require(
        bool((~members).any(axis=0).all() and (not both or members.any(axis=0).all())),
        "members must have, for each record, a model without it"
        + (" and one with it; train more models" if both else "; train more models"),
    )
    return target, shadows, members


def _fit(
    shadows: np.ndarray, chosen: np.ndarray, each: bool
) -> tuple[np.ndarray, np.ndarray | float]:
    """Return mean and standard deviation of the chosen models' confidences for each record."""
    count = chosen.sum(axis=0)
    mean = np.sum(shadows * chosen, axis=0) / count
    squares = np.sum((shadows - mean) ** 2 * chosen, axis=0)
    # Each record's mean uses up one degree of freedom.
    freedom = (np.maximum(count - 1, 1), max(int((count - 1).sum()), 1))[not each]
    deviation = np.sqrt((squares if each else squares.sum()) / freedom)
    return mean, np.maximum(deviation, 1e-9)


def lira(
    target: ArrayLike,
    shadows: ArrayLike,
    members: ArrayLike,
    *,
    online: bool = True,
    variance_of_each: bool = False,
) -> np.ndarray:
    """Score records by LiRA, the likelihood ratio attack.

    Online, the score is the logarithm of how much more likely the target's confidence is among
    models trained with the record than among models without: two normal distributions a record.
    Offline, only models without the record are used: how many standard deviations the target's
    confidence lies above theirs. Source: Carlini et al. (2022), as above.

    Args:
        target: Confidences of the attacked model (:func:`logit_confidence`), of shape (n,).
        shadows: Those of the shadow models, of shape (M, n).
        members: Which records each shadow model was trained with, booleans of shape (M, n).
        online: Whether to use the models with the record, too.
        variance_of_each: Estimate a variance for each record. Take it with several hundred
            models; with few, one variance for all records (the default) attacks better.

    Returns:
        Scores of shape (n,).

    Raises:
        ValueError: Shapes do not fit, or a record is in all shadow models or in none.
    """
    target, shadows, members = _shadows(target, shadows, members, both=online)
    mean_out, deviation_out = _fit(shadows, ~members, variance_of_each)
    if not online:
        return (target - mean_out) / deviation_out
    mean_in, deviation_in = _fit(shadows, members, variance_of_each)
    return norm.logpdf(target, mean_in, deviation_in) - norm.logpdf(target, mean_out, deviation_out)


def leave_one_out(
    confidences: ArrayLike,
    members: ArrayLike,
    attack: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = lira,
) -> np.ndarray:
    """Attack each of M models with the others as its shadow models.

    Args:
        confidences: Of shape (M, n).
        members: Booleans of shape (M, n), drawn by independent coins. With halves of exactly equal
            size, the other models' masks would give away that of the attacked one.
        attack: Called with target, shadows and their members; returns n scores.

    Returns:
        Scores of shape (M, n), to be compared with ``members``.

    Raises:
        ValueError: Shapes do not fit.
    """
    confidences, members = np.asarray(confidences, dtype=float), np.asarray(members)
    _require(
        confidences.ndim == 2 and len(confidences) >= 2,
        f"confidences must be of shape (M, n) with M of at least 2, not {confidences.shape}",
    )
    _require(members.shape == confidences.shape, f"members must be of shape {confidences.shape}")
    others = ~np.eye(len(members), dtype=bool)
    return np.stack(
        [
            attack(confidences[m], confidences[others[m]], members[others[m]])
            for m in range(len(members))
        ]
    )


# ---- how well an attack does --------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A measured share with its exact confidence interval (Clopper and Pearson 1934).

    The interval takes the trials as independent of each other, and the threshold as given. Rates
    over many models that learn the same records are not: their intervals are several times wider.

    Attributes:
        share: Hits over trials.
        low: The lower end.
        high: The upper end.
    """

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.low:.1%} to {self.high:.1%})"


def rate(hits: int, trials: int, confidence: float = 0.95) -> Rate:
    """Return the share of hits, with a two-sided exact confidence interval.

    Raises:
        ValueError: An argument is out of range.
    """
    _require(trials >= 1, f"trials must be at least 1, not {trials!r}")
    _require(0 <= hits <= trials, f"hits must lie between 0 and trials, {trials}, not {hits!r}")
    _require(0 < confidence < 1, f"confidence must lie between 0 and 1, not {confidence!r}")
    tail = (1 - confidence) / 2
    low = betaincinv(hits, trials - hits + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, trials - hits, 1 - tail) if hits < trials else 1.0
    return Rate(hits / trials, float(low), float(high))


@dataclass(frozen=True)
class Roc:
    """The receiver operating characteristic: what each threshold of an attack achieves.

    The first point is (0, 0): nobody is called a member. Then come all thresholds at which
    "score ≥ threshold" can change, from high to low; records with equal scores come together.

    Attributes:
        thresholds: Of shape (points,); the first is infinite.
        fpr: False positive rate: the share of non-members that are called members.
        tpr: True positive rate: the share of members that are called members.
        members: How many members were scored.
        non_members: How many others.
    """

    thresholds: np.ndarray
    fpr: np.ndarray
    tpr: np.ndarray
    members: int
    non_members: int

    @property
    def auc(self) -> float:
        """The area under the curve: 0.5 tells nothing, 1 all."""
        return float(np.trapezoid(self.tpr, self.fpr))

    def tpr_at(self, fpr: float, confidence: float = 0.95) -> Rate:
        """Return the true positive rate of the best threshold within a false positive rate.

        Raises:
            ValueError: ``fpr`` or ``confidence`` does not lie between 0 and 1.
        """
        return rate(round(self.tpr[self._last(fpr)] * self.members), self.members, confidence)

    def threshold_at(self, fpr: float) -> float:
        """Return the best threshold within a false positive rate: scores from it on are called.

        Raises:
            ValueError: ``fpr`` does not lie between 0 and 1.
        """
        return float(self.thresholds[self._last(fpr)])

    def _last(self, fpr: float) -> int:
        """Return the number of the last point within a false positive rate."""
        _require(0 <= fpr <= 1, f"fpr must lie between 0 and 1, not {fpr!r}")
        # A share such as 0.01 of 300 records, 3, may be off by the last bit of a float.
        return int(np.flatnonzero(self.fpr * self.non_members <= fpr * self.non_members + 1e-9)[-1])


def roc(scores: ArrayLike, members: ArrayLike) -> Roc:
    """Compare scores with the truth at every threshold.

    Args:
        scores: Higher means more likely a member; of any shape.
        members: Booleans of the same shape.

    Raises:
        ValueError: Shapes differ, scores are NaN, or there are no members or nobody else.
    """
    scores, members = np.asarray(scores, dtype=float), np.asarray(members)
    _require(
        members.shape == scores.shape and members.dtype == bool,
        f"members must be booleans of the shape of scores, {scores.shape}",
    )
    _require(not np.isnan(scores).any(), "scores must not be NaN")
    _require(bool(members.any() and not members.all()), "members must hold members and non-members")
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, truth = scores.ravel()[order], members.ravel()[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits, alarms = np.cumsum(truth)[last], np.cumsum(~truth)[last]
    inside, outside = int(truth.sum()), int((~truth).sum())
    return Roc(
        np.append(np.inf, ranked[last]),
        np.append(0, alarms) / outside,
        np.append(0, hits) / inside,
        inside,
        outside,
    )


# ---- what a promise says ------------------------------------------------------------------------


def tpr_bound(fpr: ArrayLike, epsilon: float, delta: float = 0.0) -> np.ndarray:
    """Bound the true positive rate of every attack on an (ε, δ)-private mechanism.

    "Member" and "non-member" are the two neighbouring data sets of the promise. Exchanging their
    roles gives the second line: TPR ≤ e^ε FPR + δ and TPR ≤ 1 - e^-ε (1 - δ - FPR). Sources: Larry
    Wasserman and Shuheng Zhou, "A Statistical Framework for Differential Privacy" (2010); Peter
    Kairouz, Sewoong Oh and Pramod Viswanath, "The Composition Theorem for Differential Privacy"
    (2015). A training keeps a promise for each ε, with a δ of its own: the least of their bounds
    holds.

    Args:
        fpr: False positive rates.
        epsilon: The ε of the promise.
        delta: Its δ.

    Returns:
        The largest possible true positive rates, of the shape of ``fpr``.

    Raises:
        ValueError: ``fpr``, ``epsilon`` or ``delta`` is out of range.
    """
    fpr = np.asarray(fpr, dtype=float)
    _require(bool(((fpr >= 0) & (fpr <= 1)).all()), "fpr must lie between 0 and 1")
    _promise(epsilon, delta)
    odds = math.exp(min(epsilon, 700.0))
    return np.minimum(np.minimum(odds * fpr + delta, 1 - (1 - delta - fpr) / odds), 1.0)


def _promise(epsilon: float, delta: float) -> None:
    _require(epsilon >= 0, f"epsilon must be at least 0, not {epsilon!r}")
    _require(0 <= delta <= 1, f"delta must lie between 0 and 1, not {delta!r}")


def one_run_p_value(
    correct: int, guesses: int, canaries: int, epsilon: float, delta: float = 0.0
) -> float:
    """Bound the probability to guess so much about one run of an (ε, δ)-private mechanism.

    Each of ``canaries`` records is included in the data by a fair coin of its own. The auditor sees
    the output, guesses the coins of some canaries, and abstains for the others. With
    W ~ Binomial(guesses, e^ε / (1 + e^ε)), the probability of at least v correct guesses is at most

        P[W ≥ v] + 2 · canaries · δ · max over i ≥ 1 of P[v - i ≤ W < v] / i.

    Source: Thomas Steinke, Milad Nasr and Matthew Jagielski, "Privacy Auditing with One (1)
    Training Run" (2023), Section 5 (approximate differential privacy) and the code of Appendix D;
    the numbers printed there are reproduced in the tests. Adjacency: add or remove one record.

    Args:
        correct: Right guesses, v.
        guesses: All guesses; how many has to be settled before looking at the coins.
        canaries: Guesses and abstentions.
        epsilon: The ε of the promise.
        delta: Its δ.

    Returns:
        The bound: where it is small, the promise is hardly true.

    Raises:
        ValueError: An argument is out of range.
    """
    _require(guesses >= 0, f"guesses must be at least 0, not {guesses!r}")
    _require(
        0 <= correct <= guesses, f"correct must lie between 0 and guesses, {guesses}: {correct!r}"
    )
    _require(canaries >= max(guesses, 1), f"canaries must be at least {max(guesses, 1)}")
    _promise(epsilon, delta)
    share = 1 / (1 + math.exp(-epsilon))
    value = float(binom.sf(correct - 1, guesses, share))
    if delta and correct:
        just_below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, share))
        value += 2 * canaries * delta * float(np.max(just_below / np.arange(1, correct + 1)))
    return min(value, 1.0)


def one_run_epsilon(
    correct: int, guesses: int, canaries: int, delta: float = 0.0, confidence: float = 0.95
) -> float:
    """Bound ε from below by the guesses about one run: the audit of Steinke et al. (2023).

    Args:
        correct: Right guesses.
        guesses: All guesses; how many has to be settled before looking at the coins.
        canaries: Guesses and abstentions.
        delta: The δ of the promise.
        confidence: The probability that the bound is true.

    Returns:
        The largest ε that the guesses refute, 0 where they refute none.

    Raises:
        ValueError: An argument is out of range.
    """
    _require(0 < confidence < 1, f"confidence must lie between 0 and 1, not {confidence!r}")

    def excess(epsilon: float) -> float:
        value = one_run_p_value(correct, guesses, canaries, epsilon, delta)
        return value - (1 - confidence)

    if excess(0.0) >= 0:
        return 0.0
    # Nobody is right more often than always: at ε = 50 no number of guesses refutes anything.
    return float(brentq(excess, 0.0, 50.0, xtol=1e-6))


# ---- many models at once ------------------------------------------------------------------------


def coin_flips(models: int, records: int, rng: np.random.Generator) -> np.ndarray:
    """Draw who is in the training set of each model: a fair coin for each model and record.

    Returns:
        Booleans of shape (models, records).

    Raises:
        ValueError: A number is below 1.
    """
    _require(models >= 1, f"models must be at least 1, not {models!r}")
    _require(records >= 1, f"records must be at least 1, not {records!r}")
    return rng.random((models, records)) < 0.5


def train_many(
    network: Sequential,
    X: Tensor,
    y: Tensor,
    members: np.ndarray,
    *,
    steps: int,
    learning_rate: float,
    snapshots: Sequence[int] = (),
    seed: int = 0,
    progress: str = "",
) -> dict[int, Models]:
    """Train M networks of one kind at once, each on its own records, by Adam on all of them.

    It does what a loop over ``torch.optim.Adam`` steps does with the mean loss of the members as
    one batch; ``torch.func.vmap`` runs the M loops side by side, in large matrix products.

    Args:
        network: Linear layers and activations between them; only their kind and size are used.
            Each model starts anew, with the random weights that PyTorch gives linear layers.
        X: Inputs, of shape (n, features).
        y: Classes, of shape (n,).
        members: Booleans of shape (M, n): the records of each model.
        steps: How many.
        learning_rate: Of Adam.
        snapshots: Steps after which the parameters are kept, too.
        seed: Of the initial weights.
        progress: Show a bar with this name.

    Returns:
        Step → parameters, each of shape (M, …), for all snapshots and for the last step.

    Raises:
        ValueError: An argument is out of range.
    """
    import torch

    models, _ = _start(network, X, y, members, steps, learning_rate, seed)
    kept = {*snapshots, steps}
    _require(all(1 <= s <= steps for s in kept), f"snapshots must lie between 1 and {steps}")
    chosen, present = _padded(torch.from_numpy(members))
    inputs, labels = X[chosen], y[chosen]
    shares = present / present.sum(dim=1, keepdim=True).clamp(min=1)
    gradients = torch.func.vmap(_gradients_of(network, None))
    means = {name: torch.zeros_like(value) for name, value in models.items()}
    squares = {name: torch.zeros_like(value) for name, value in models.items()}
    found: dict[int, Models] = {}
    for step in _bar(steps, progress):
        for name, gradient in gradients(models, inputs, labels, shares).items():
            means[name].lerp_(gradient, 0.1)
            squares[name].lerp_(gradient**2, 0.001)
            mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
            models[name] -= learning_rate * mean / (square.sqrt() + 1e-8)
        if step in kept:
            found[step] = {name: value.clone() for name, value in models.items()}
    return found


def train_many_privately(
    network: Sequential,
    X: Tensor,
    y: Tensor,
    members: np.ndarray,
    *,
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    max_grad_norm: float,
    learning_rate: float,
    seed: int = 0,
    progress: str = "",
) -> Models:
    """Train M networks of one kind at once by DP-SGD, each on its own records.

    A shadow model of a private model: Poisson samples of the members, each record's gradient
    clipped to ``max_grad_norm``, Gaussian noise, plain SGD on the sum over the expected batch. The
    expected batch takes half of the n records as members. Of the gradient of a linear layer, an
    outer product, only the norm is computed for each record (Ian Goodfellow, "Efficient
    Per-Example Gradient Computations", 2015). Each model costs what an accountant says of the
    Gaussian mechanism on Poisson samples (adjacency: add or remove one record); all M together
    cost what the accountant says of M times the steps, so this is for attackers and for
    measurements.

    Args:
        network: As in :func:`train_many`.
        X: Inputs, of shape (n, features).
        y: Classes, of shape (n,).
        members: Booleans of shape (M, n): the records of each model.
        noise_multiplier: Standard deviation of the noise over ``max_grad_norm``.
        sample_rate: The probability of each member to be part of a step.
        steps: How many.
        max_grad_norm: No record's gradient is longer.
        learning_rate: Of SGD.
        seed: Of initial weights, samples and noise.
        progress: Show a bar with this name.

    Returns:
        The parameters, each of shape (M, …).

    Raises:
        ValueError: An argument is out of range.
    """
    import torch

    models, generator = _start(network, X, y, members, steps, learning_rate, seed)
    _require(noise_multiplier >= 0, f"noise_multiplier must be at least 0: {noise_multiplier!r}")
    _require(max_grad_norm > 0, f"max_grad_norm must be above 0, not {max_grad_norm!r}")
    _require(
        0 < sample_rate <= 1, f"sample_rate must be above 0 and at most 1, not {sample_rate!r}"
    )
    gradients = torch.func.vmap(_gradients_of(network, max_grad_norm))
    everybody, batch = torch.from_numpy(members), sample_rate * members.shape[1] / 2
    for _ in _bar(steps, progress):
        drawn = torch.rand(members.shape, generator=generator) < sample_rate
        chosen, present = _padded(everybody & drawn)
        for name, total in gradients(models, X[chosen], y[chosen], present).items():
            noise = torch.randn(total.shape, generator=generator)
            models[name] -= (
                learning_rate / batch * (total + noise_multiplier * max_grad_norm * noise)
            )
    return models


def many_logits(network: Sequential, models: Models, X: Tensor) -> np.ndarray:
    """Return the logits of M models for n inputs, of shape (M, n, classes).

    Args:
        network: What was given to :func:`train_many`.
        models: What it returned (one snapshot).
        X: Inputs, of shape (n, features).
    """
    import torch

    forward = torch.func.vmap(lambda parameters: _forward(network, parameters, X)[0])
    with torch.no_grad():
        return forward(models).numpy()


def _bar(steps: int, name: str) -> tqdm:
    return tqdm(range(1, steps + 1), desc=name, leave=False, disable=not name)


def _forward(
    network: Sequential, parameters: Models, X: Tensor, taps: Models | None = None
) -> tuple[Tensor, Models]:
    """Run one model; return its outputs, and what goes into each linear layer.

    ``taps`` are zeros that are added to what comes out of the linear layers: the gradient for them
    is how each record pulls at each unit.
    """
    from torch import nn

    inputs, value = {}, X
    for name, layer in network.named_children():
        if isinstance(layer, nn.Linear):
            inputs[name] = value
            value = value @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]
            if taps is not None:
                value = value + taps[name]
        else:
            value = layer(value)
    return value, inputs


def _gradients_of(
    network: Sequential, clip: float | None
) -> Callable[[Models, Tensor, Tensor, Tensor], Models]:
    """Return what sums the gradients of one model's records, each clipped and weighted."""
    import torch
    from torch.nn import functional

    outputs = {
        name: layer.out_features
        for name, layer in network.named_children()
        if hasattr(layer, "out_features")
    }

    def gradients(parameters: Models, X: Tensor, y: Tensor, weights: Tensor) -> Models:
        taps = {name: torch.zeros(len(X), size) for name, size in outputs.items()}
        logits, pull_back, inputs = torch.func.vjp(
            lambda taps: _forward(network, parameters, X, taps), taps, has_aux=True
        )
        # The gradient of the cross-entropy for the logits, softmax - one-hot, is written out:
        # log_softmax and its derivative are slow for few classes.
        shares = (logits - logits.amax(dim=1, keepdim=True)).exp()
        shares = shares / shares.sum(dim=1, keepdim=True)
        errors = shares - functional.one_hot(y, logits.shape[1])
        if clip is None:
            errors = errors * weights[:, None]  # smaller than the pulls, which it scales as well
        pulls = pull_back(errors)[0]
        if clip is not None:
            # The gradient of a record is pull · (input, 1)ᵀ: its norm is a product of norms.
            squares = [
                (inputs[name].square().sum(1) + 1) * pulls[name].square().sum(1) for name in outputs
            ]
            norms = torch.stack(squares).sum(0).sqrt()
            factors = weights * (clip / norms.clamp(min=clip))
            pulls = {name: pull * factors[:, None] for name, pull in pulls.items()}
        total = {}
        for name, pull in pulls.items():
            total |= {f"{name}.weight": pull.T @ inputs[name], f"{name}.bias": pull.sum(0)}
        return total

    return gradients


def _padded(members: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of each row's members, filled up to equal length, and which are real."""
    import torch

    longest = int(members.sum(dim=1).max().clamp(min=1))
    chosen = torch.argsort(~members, dim=1, stable=True)[:, :longest]
    return chosen, members.gather(1, chosen).float()


def _start(
    network: Sequential,
    X: Tensor,
    y: Tensor,
    members: np.ndarray,
    steps: int,
    learning_rate: float,
    seed: int,
) -> tuple[Models, Generator]:
    """Check what both kinds of training need; return initial weights and a generator."""
    import torch
    from torch import nn

    elementwise = (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity)
    layers = dict(network.named_children())
    _require(
        all(isinstance(each, (nn.Linear, *elementwise)) for each in layers.values())
        and any(isinstance(each, nn.Linear) for each in layers.values())
        and all(each.bias is not None for each in layers.values() if isinstance(each, nn.Linear)),
        "network must hold linear layers with a bias, and activations, alone",
    )
    width = next(each.in_features for each in layers.values() if isinstance(each, nn.Linear))
    _require(
        X.ndim == 2 and X.shape[1] == width and len(X) > 0,
        f"X must be of shape (n, {width}), not {tuple(X.shape)}",
    )
    _require(y.shape == X.shape[:1], f"y must be of shape ({len(X)},), not {tuple(y.shape)}")
    _require(
        isinstance(members, np.ndarray)
        and members.dtype == bool
        and members.ndim == 2
        and members.shape[1] == len(X)
        and len(members) > 0,
        f"members must be an array of booleans of shape (M, {len(X)})",
    )
    _require(steps >= 1, f"steps must be at least 1, not {steps!r}")
    _require(learning_rate > 0, f"learning_rate must be above 0, not {learning_rate!r}")
    generator, models = torch.Generator().manual_seed(seed), {}
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            reach = 1 / math.sqrt(layer.in_features)
            for part, shape in (("weight", layer.weight.shape), ("bias", layer.bias.shape)):
                drawn = torch.rand(len(members), *shape, generator=generator)
                models[f"{name}.{part}"] = (2 * drawn - 1) * reach
    return models, generator
