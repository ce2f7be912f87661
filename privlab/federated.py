"""Federated learning small enough to read: partitions, local training, FedAvg, byte counts.

All parameters of a model lie in one vector, so that an update, a distance or a correction is plain
arithmetic on vectors. The clients of a round are trained at once: their data are padded to arrays
``(clients, records, features)``, and NumPy multiplies the matrices of all of them in one call.

The loop is a generator, and two hooks change what it does:

- ``direction(gradients, local)`` is the local step: it turns the gradients of the chosen clients,
  of shape (m, P), into the directions they follow. FedProx: ``gradients + mu * (local.weights -
  local.start)``.
- ``server_step(weights, received)`` is the server's: it turns the global model and what arrived
  into the next global model. FedAvg: ``weights + received.mean``.

Source: Brendan McMahan, Eider Moore, Daniel Ramage, Seth Hampson and Blaise Agüera y Arcas,
"Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: A number travels as a 32-bit float.
BYTES_PER_NUMBER = 4

#: How often a Dirichlet partition is drawn again until every client has enough records.
_DRAWS = 1000

# ---- partitions --------------------------------------------------------------------------------


def iid_partition(records: int, clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle the records and deal them out, so that clients differ by chance alone.

    Args:
        records: How many there are.
        clients: How many share them; the sizes differ by one record at most.
        rng: Shuffles.

    Returns:
        For each client the indices of its records, sorted.

    Raises:
        ValueError: ``clients`` is not between 1 and ``records``.
    """
    _integer("records", records, 1)
    _integer("clients", clients, 1, records)
    return [np.sort(part) for part in np.array_split(rng.permutation(records), clients)]


def dirichlet_partition(
    labels: np.ndarray,
    clients: int,
    alpha: float,
    rng: np.random.Generator,
    equal_sizes: bool = False,
    min_size: int = 1,
) -> list[np.ndarray]:
    """Deal records out with a skew of labels that ``alpha`` sets: the smaller, the more skewed.

    Each class is divided among the clients in proportions drawn from a Dirichlet distribution
    (Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni: "Bayesian Nonparametric Federated
    Learning of Neural Networks", ICML 2019). The clients' sizes differ, too. With ``equal_sizes``
    each client draws its own proportions of the classes, around those of all labels, and takes
    equally many records (Hsu, Qi, Brown: "Measuring the Effects of Non-Identical Data Distribution
    for Federated Visual Classification", 2019).

    Args:
        labels: Class of each record, of shape (n,).
        clients: How many, 1 to n.
        alpha: Above 0; at 100 clients are nearly alike, at 0.1 one or two classes make up most of
            what a client holds. It is the
            concentration of each class: with ``equal_sizes``, Hsu and others multiply theirs by
            shares that sum to 1, so that their α is this one times the number of classes.
        rng: Draws.
        equal_sizes: Whether sizes may differ by one record at most.
        min_size: Partitions with a smaller client are drawn again.

    Returns:
        For each client the indices of its records, sorted; each index is in one of them.

    Raises:
        ValueError: An argument is out of range, or 1,000 draws left a client with too few records.
    """
    labels = _labels(labels)
    _integer("clients", clients, 1, len(labels))
    _positive("alpha", alpha)
    _integer("min_size", min_size, 0, len(labels) // clients)
    if equal_sizes:
        return _equal_dirichlet(labels, clients, alpha, rng)
    for _ in range(_DRAWS):
        owner = np.empty(len(labels), int)
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            ends = np.cumsum(rng.dirichlet(np.full(clients, alpha))) * len(members)
            # The last end may miss the number of members by a rounding error.
            position = np.searchsorted(ends, np.arange(len(members)) + 0.5)
            owner[members] = np.minimum(position, clients - 1)
        if np.bincount(owner, minlength=clients).min() >= min_size:
            return [np.flatnonzero(owner == client) for client in range(clients)]
    raise ValueError(
        f"with alpha {alpha:g}, {clients} clients of {len(labels):,} records never all had "
        f"{min_size}: make alpha larger, min_size or clients smaller, or set equal_sizes"
    )


def _equal_dirichlet(
    labels: np.ndarray, clients: int, alpha: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Let one client after the other draw classes by its own proportions, until all is dealt."""
    classes, counts = np.unique(labels, return_counts=True)
    piles = [list(rng.permutation(np.flatnonzero(labels == label))) for label in classes]
    parts = []
    for size in map(len, np.array_split(labels, clients)):
        # A gamma draw of each class, divided by their sum, is a Dirichlet draw. The tiny number
        # keeps a class possible whose share is rounded to nothing.
        share = rng.gamma(alpha * len(classes) * counts / counts.sum()) + 1e-100
        taken: list[int] = []
        while len(taken) < size:
            open_share = share * [bool(pile) for pile in piles]
            pile = piles[rng.choice(len(classes), p=open_share / open_share.sum())]
            taken.append(pile.pop())
        parts.append(np.sort(taken))
    return parts


def natural_partition(groups: Sequence | np.ndarray | pd.Series) -> dict[str, np.ndarray]:
    """Divide records as they came: by hospital, by phone, by writer.

    Args:
        groups: The name of each record's group, of shape (n,).

    Returns:
        For each name, in sorted order, the indices of its records, sorted.

    Raises:
        ValueError: ``groups`` is empty, has another shape, or a name is missing.
    """
    names = _labels(groups, "groups").astype(str)
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def label_skew(labels: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Measure how far the clients' labels are from those of all records.

    It is the total variation distance between a client's and the overall label distribution,
    averaged over clients by their size: the share of a client's records that would have to change
    their label to look like everybody's.

    Args:
        labels: Class of each record, of shape (n,).
        parts: For each client the indices of its records; an empty client does not count.

    Returns:
        0 (all alike) to 1 - 1/classes (each client has one class, the classes are equally large).

    Raises:
        ValueError: No client has a record, a label is missing, or an index is out of range.
    """
    labels = _labels(labels)
    filled = [_indices("parts", part, len(labels)) for part in parts if len(part)]
    if not filled:
        raise ValueError("parts must hold at least one record")
    codes = np.unique(labels, return_inverse=True)[1]
    counts = np.array([np.bincount(codes[part], minlength=codes.max() + 1) for part in filled])
    overall = counts.sum(axis=0) / counts.sum()
    distances = np.abs(counts / counts.sum(axis=1, keepdims=True) - overall).sum(axis=1) / 2
    return float(np.average(distances, weights=counts.sum(axis=1)))


# ---- the hospitals -----------------------------------------------------------------------------

#: Centre and scale of each measured column: round numbers, chosen before anybody looked at a table.
HOSPITAL_SCALES = {
    "age": (50, 10),
    "trestbps": (130, 20),
    "chol": (200, 50),
    "thalach": (150, 20),
    "oldpeak": (0, 1),
}

#: The columns of :func:`hospital_features`; the last five are 0 or 1.
HOSPITAL_FEATURES = (*HOSPITAL_SCALES, "male", "asymptomatic", "exang", "fbs", "ecg")


def hospital_features(table: pd.DataFrame) -> np.ndarray:
    """Turn rows of the heart disease table into numbers, without looking at any other row.

    Means and scales taken from all rows would be computed on data that were to stay apart. So each
    column is shifted and scaled by :data:`HOSPITAL_SCALES`, and a missing value becomes 0: the
    centre, or "no".

    Args:
        table: Rows of ``load_hospitals()``.

    Returns:
        Of shape (rows, 10), in the order of :data:`HOSPITAL_FEATURES`. ``slope``, ``ca`` and
        ``thal`` are left out: three of the hospitals hardly recorded them.
    """
    columns = [(table[name] - centre) / scale for name, (centre, scale) in HOSPITAL_SCALES.items()]
    columns += [
        table["sex"] == "Male",
        table["cp"] == "asymptomatic",
        table["exang"],
        table["fbs"],
        table["restecg"].notna() & (table["restecg"] != "normal"),
    ]
    numbers = [column.astype("Float64").fillna(0).to_numpy(dtype=float) for column in columns]
    return np.column_stack(numbers)


# ---- clients and models ------------------------------------------------------------------------


@dataclass(frozen=True)
class Clients:
    """The data of all clients, padded to the size of the largest; see :func:`make_clients`.

    Attributes:
        X: Features, of shape (K, n, d).
        y: Labels, of shape (K, n).
        sizes: How many of the n records are real, the first ones, of shape (K,).
    """

    X: np.ndarray
    y: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)


def make_clients(X: np.ndarray, y: np.ndarray, parts: Sequence[np.ndarray]) -> Clients:
    """Give each client its records.

    Args:
        X: Features of all records, of shape (N, d).
        y: Labels, whole numbers from 0, of shape (N,).
        parts: For each client the indices of its records; a client may be empty.

    Raises:
        ValueError: A shape does not fit, a number is not finite, an index is out of range or twice
            at one client, or no client has a record.
    """
    X, y = np.asarray(X, float), np.asarray(y)
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ValueError(f"X and y must be of shape (N, d) and (N,), not {X.shape} and {y.shape}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite; fill in missing values first")
    if not np.isfinite(y).all() or (y != y.astype(int)).any() or (y < 0).any():
        raise ValueError("y must hold whole numbers of at least 0")
    sizes = np.array([len(part) for part in parts], int)
    if sizes.sum() == 0:
        raise ValueError("parts must hold at least one record")
    padded = np.zeros((len(parts), sizes.max(), X.shape[1]))
    labels = np.zeros(padded.shape[:2], int)
    for client, part in enumerate(parts):
        part = _indices("parts", part, len(X))
        padded[client, : len(part)], labels[client, : len(part)] = X[part], y[part]
    return Clients(padded, labels, sizes)


class Model(Protocol):
    """What :func:`fedavg` needs of a model; :class:`Network` has it."""

    @property
    def parameters(self) -> int:
        """How many numbers the model consists of: P."""

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Return the weights that training starts from, of shape (P,)."""

    def gradient(
        self, weights: np.ndarray, X: np.ndarray, y: np.ndarray, shares: np.ndarray
    ) -> np.ndarray:
        """Return the gradients of m clients, of shape (m, P)."""


@dataclass(frozen=True)
class Network:
    """Linear model, or a network with one hidden layer (ReLU), for many clients at once.

    Attributes:
        features: How many numbers a record has: d.
        outputs: Classes; 1 is logistic regression, whose labels are 0 and 1.
        hidden: Units of the hidden layer; 0 for none.
    """

    features: int
    outputs: int = 1
    hidden: int = 0

    def __post_init__(self) -> None:
        _integer("features", self.features, 1)
        _integer("outputs", self.outputs, 1)
        _integer("hidden", self.hidden, 0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape of each part of the vector of weights, in order."""
        if not self.hidden:
            return {"weights": (self.features, self.outputs), "bias": (1, self.outputs)}
        return {
            "hidden weights": (self.features, self.hidden),
            "hidden bias": (1, self.hidden),
            "weights": (self.hidden, self.outputs),
            "bias": (1, self.outputs),
        }

    @cached_property
    def layout(self) -> dict[str, slice]:
        """Where in the vector of weights each part lies."""
        ends = np.cumsum([rows * columns for rows, columns in self.shapes.values()]).tolist()
        starts = [0, *ends[:-1]]
        return {
            name: slice(*between) for name, *between in zip(self.shapes, starts, ends, strict=True)
        }

    @property
    def parameters(self) -> int:
        """How many numbers the model consists of: P."""
        return sum(rows * columns for rows, columns in self.shapes.values())

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Return the weights that training starts from, of shape (P,).

        A linear model starts at zero. A hidden layer needs random weights: normal with variance
        2 / inputs (He and others 2015); the biases are zero.
        """
        start = np.zeros(self.parameters)
        if self.hidden:
            for name in ("hidden weights", "weights"):
                rows, columns = self.shapes[name]
                start[self.layout[name]] = rng.normal(0, np.sqrt(2 / rows), rows * columns)
        return start

    def parts(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the matrices in vectors of weights, of shape (…, P), by name."""
        weights = np.asarray(weights, float)
        return {
            name: weights[..., self.layout[name]].reshape(*weights.shape[:-1], *shape)
            for name, shape in self.shapes.items()
        }

    def scores(self, weights: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return the logits of records, of shape (…, n, outputs).

        Args:
            weights: Of shape (…, P): one model, or one for each client.
            X: Records, of shape (…, n, d).
        """
        return self._forward(self.parts(weights), X)[1]

    def predict(self, weights: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return the most likely class of each record, of shape (…, n)."""
        scores = self.scores(weights, X)
        return (scores[..., 0] > 0).astype(int) if self.outputs == 1 else scores.argmax(axis=-1)

    def loss(self, weights: np.ndarray, X: np.ndarray, y: np.ndarray) -> float:
        """Return the mean cross entropy (in nats) of one model on records (n, d), labels (n,).

        Raises:
            ValueError: A label is not a class of the model.
        """
        y = np.asarray(y)
        if y.dtype.kind not in "iufb" or not np.isin(y, range(max(self.outputs, 2))).all():
            raise ValueError(f"y must hold whole numbers from 0 to {max(self.outputs, 2) - 1}")
        scores = self.scores(weights, X)
        if self.outputs == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
        highest = scores.max(axis=-1)
        norm = highest + np.log(np.exp(scores - highest[..., None]).sum(axis=-1))
        right = np.take_along_axis(scores, np.asarray(y, int)[..., None], axis=-1)[..., 0]
        return float((norm - right).mean())

    def gradient(
        self, weights: np.ndarray, X: np.ndarray, y: np.ndarray, shares: np.ndarray
    ) -> np.ndarray:
        """Return the gradient of each client's loss.

        Args:
            weights: One row a client, of shape (m, P).
            X: Records, of shape (m, b, d).
            y: Labels, of shape (m, b).
            shares: What each record counts, of shape (m, b); 1/b each for the mean loss.

        Returns:
            Of shape (m, P).
        """
        parts = self.parts(weights)
        inner, scores = self._forward(parts, X)
        errors = (_probabilities(scores) - self._targets(y)) * shares[..., None]
        found = [inner.swapaxes(-1, -2) @ errors, errors.sum(axis=-2, keepdims=True)]
        if self.hidden:
            back = (errors @ parts["weights"].swapaxes(-1, -2)) * (inner > 0)
            found = [X.swapaxes(-1, -2) @ back, back.sum(axis=-2, keepdims=True), *found]
        return np.concatenate([part.reshape(len(weights), -1) for part in found], axis=1)

    def _forward(self, parts: dict[str, np.ndarray], X: np.ndarray) -> tuple:
        """Return what goes into the last layer, and what comes out of it."""
        inner = X
        if self.hidden:
            inner = np.maximum(X @ parts["hidden weights"] + parts["hidden bias"], 0)
        return inner, inner @ parts["weights"] + parts["bias"]

    def _targets(self, y: np.ndarray) -> np.ndarray:
        if self.outputs == 1:
            return np.asarray(y, float)[..., None]
        return np.eye(self.outputs)[np.asarray(y, int)]


def _probabilities(scores: np.ndarray) -> np.ndarray:
    """Return softmax of the last axis, or the logistic function where it has one entry."""
    if scores.shape[-1] == 1:
        return (1 + np.tanh(scores / 2)) / 2  # never overflows
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


# ---- the loop ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Local:
    """What a client knows in a local step; all chosen clients at once.

    Attributes:
        clients: Which clients these are, of shape (m,).
        start: The weights they started the round from, of shape (m, P).
        weights: Where they are now, of shape (m, P).
        step: The number of the local step, from 0.
    """

    clients: np.ndarray
    start: np.ndarray
    weights: np.ndarray
    step: int


@dataclass(frozen=True)
class Received:
    """What the server sees in a round.

    Attributes:
        number: The round, from 1.
        clients: Who took part, of shape (m,).
        updates: What each sent: its weights after training less those before, of shape (m, P).
        shares: What each counts: its records over those of all who took part, of shape (m,).
    """

    number: int
    clients: np.ndarray
    updates: np.ndarray
    shares: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The weighted mean of the updates, of shape (P,)."""
        return self.shares @ self.updates


@dataclass(frozen=True)
class Round:
    """The state after a round.

    Attributes:
        number: The round, from 1.
        weights: The new global model, of shape (P,).
        received: What the server saw.
        upload: Bytes sent by all clients so far.
        download: Bytes sent to all clients so far.
    """

    number: int
    weights: np.ndarray
    received: Received
    upload: int
    download: int


Direction = Callable[[np.ndarray, Local], np.ndarray]
ServerStep = Callable[[np.ndarray, Received], np.ndarray]


def follow_gradient(gradients: np.ndarray, local: Local) -> np.ndarray:
    """Return the gradients as they are: the local step of FedAvg."""
    return gradients


def add_mean(weights: np.ndarray, received: Received) -> np.ndarray:
    """Add the weighted mean of the updates: the server step of FedAvg."""
    return weights + received.mean


def round_bytes(parameters: int, clients: int, vectors: int = 1) -> int:
    """Return the bytes that travel one way in a round.

    Args:
        parameters: Numbers in the model.
        clients: Who take part.
        vectors: Vectors of that size a client sends or receives; under SCAFFOLD it receives two.

    Raises:
        ValueError: An argument is below 0.
    """
    for name, value in (("parameters", parameters), ("clients", clients), ("vectors", vectors)):
        _integer(name, value, 0)
    return BYTES_PER_NUMBER * parameters * clients * vectors


def train_locally(
    model: Model,
    clients: Clients,
    chosen: np.ndarray,
    start: np.ndarray,
    steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    batch_size: int | None = None,
    direction: Direction = follow_gradient,
) -> np.ndarray:
    """Train the chosen clients, each on its own data, all at once.

    Args:
        model: Computes the gradients.
        clients: The data.
        chosen: Which clients, of shape (m,).
        start: Weights, of shape (P,) for all or (m, P) for each.
        steps: Steps of gradient descent, at least 0.
        learning_rate: Above 0.
        rng: Draws the batches.
        batch_size: Records of a step, drawn with replacement from the client's own; None takes all
            records in every step, so that a step is an epoch.
        direction: The hook of the local step.

    Returns:
        The weights after training, of shape (m, P). A client without records stays at its start.

    Raises:
        ValueError: An argument is out of range.
    """
    _integer("steps", steps, 0)
    _positive("learning_rate", learning_rate)
    if batch_size is not None:
        _integer("batch_size", batch_size, 1)
    chosen = _indices("chosen", chosen, len(clients))
    _fits(model, clients)
    sizes = clients.sizes[chosen]
    start = np.broadcast_to(np.asarray(start, float), (len(chosen), model.parameters))
    weights = start.copy()
    if batch_size is None:
        X, y = clients.X[chosen], clients.y[chosen]
        real = np.arange(X.shape[1]) < sizes[:, None]
        shares = real / np.maximum(sizes, 1)[:, None]
    else:
        shares = np.repeat((sizes > 0)[:, None] / batch_size, batch_size, axis=1)
    for step in range(steps):
        if batch_size is not None:
            drawn = (rng.random((len(chosen), batch_size)) * sizes[:, None]).astype(int)
            X, y = clients.X[chosen[:, None], drawn], clients.y[chosen[:, None], drawn]
        way = model.gradient(weights, X, y, shares)
        shown = weights.view()
        shown.flags.writeable = False  # a hook that changed them would spoil the training
        way = direction(way, Local(chosen, start, shown, step))
        weights = weights - learning_rate * way * (sizes > 0)[:, None]
    return weights


def fedavg(
    model: Model,
    clients: Clients,
    rounds: int,
    local_steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    batch_size: int | None = None,
    participation: float = 1.0,
    weights: np.ndarray | None = None,
    direction: Direction = follow_gradient,
    server_step: ServerStep = add_mean,
    vectors: tuple[int, int] = (1, 1),
) -> Iterator[Round]:
    """Federated averaging: yields the state after each round.

    Args:
        model: For example a :class:`Network`.
        clients: Their data; clients without records are never chosen.
        rounds: How many, at least 1.
        local_steps: Steps of each client in a round, at least 1.
        learning_rate: Of the clients, above 0.
        rng: Chooses clients, draws batches and the initial weights.
        batch_size: As in :func:`train_locally`.
        participation: The share of the clients that takes part in a round, above 0 and at most 1;
            drawn anew for each round, without replacement, at least one.
        weights: What to start from, of shape (P,); by default ``model.initial(rng)``.
        direction: The hook of the local step.
        server_step: The hook of the server.
        vectors: Vectors of the model's size that a client sends and receives in a round; for the
            byte counts alone.

    Raises:
        ValueError: An argument is out of range.
    """
    _integer("rounds", rounds, 1)
    _integer("local_steps", local_steps, 1)
    for each in vectors:
        _integer("vectors", each, 1)
    _positive("learning_rate", learning_rate)
    if batch_size is not None:
        _integer("batch_size", batch_size, 1)
    if not 0 < participation <= 1:
        raise ValueError(f"participation must be above 0 and at most 1, not {participation!r}")
    weights = model.initial(rng) if weights is None else np.array(weights, float)
    if weights.shape != (model.parameters,):
        raise ValueError(f"weights must be of shape ({model.parameters},), not {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError("weights must be finite")
    _fits(model, clients)

    # Arguments are checked at the call; the rounds run when they are asked for.
    def run(weights: np.ndarray) -> Iterator[Round]:
        able = np.flatnonzero(clients.sizes)
        number_chosen = max(1, round(participation * len(able)))
        upload = download = 0
        for number in range(1, rounds + 1):
            chosen = np.sort(rng.choice(able, number_chosen, replace=False))
            local = train_locally(
                model, clients, chosen, weights, local_steps, learning_rate, rng, batch_size,
                direction,
            )  # fmt: skip
            shares = clients.sizes[chosen] / clients.sizes[chosen].sum()
            received = Received(number, chosen, local - weights, shares)
            weights = np.asarray(server_step(weights, received), float)
            if weights.shape != (model.parameters,):
                raise ValueError(
                    f"server_step must return weights of shape ({model.parameters},), not "
                    f"{weights.shape}"
                )
            up, down = (round_bytes(model.parameters, number_chosen, each) for each in vectors)
            upload, download = upload + up, download + down
            yield Round(number, weights, received, upload, download)

    return run(weights)


# ---- checks ------------------------------------------------------------------------------------


def _labels(values: Sequence | np.ndarray | pd.Series, name: str = "labels") -> np.ndarray:
    """Return one label a record; none may be missing."""
    import pandas as pd

    labels = np.asarray(values)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"{name} must be of shape (n,), n at least 1, not {labels.shape}")
    if pd.isna(labels).any():
        raise ValueError(f"{name} has {pd.isna(labels).sum()} missing values")
    return labels


def _indices(name: str, values: Sequence | np.ndarray, records: int) -> np.ndarray:
    """Return whole numbers from 0 to records - 1, each at most once. A mask is none."""
    indices = np.asarray(values)
    if indices.size == 0:
        return np.zeros(0, int)
    right = indices.ndim == 1 and indices.dtype.kind in "iu"
    if not right or indices.min() < 0 or indices.max() >= records:
        raise ValueError(f"{name} must hold indices from 0 to {records - 1}")
    if len(np.unique(indices)) < len(indices):
        raise ValueError(f"{name} holds an index twice")
    return indices


def _fits(model: Model, clients: Clients) -> None:
    """Check that a network has an output for each label."""
    outputs = getattr(model, "outputs", None)
    if outputs is not None and clients.y.max() >= max(outputs, 2):
        raise ValueError(
            f"labels must be from 0 to {max(outputs, 2) - 1} for a model with {outputs} outputs, "
            f"but there is {clients.y.max()}"
        )


def _integer(name: str, value: int, low: int, high: int | None = None) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer, {allowed}, not {value!r}")


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, not {value!r}")
