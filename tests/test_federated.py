"""Federated learning: equal to centralised training, partitions that are partitions, bytes."""

import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from privlab import federated as fl
from privlab.data import load_hospitals

RNG = np.random.default_rng(10)
X = RNG.normal(size=(90, 4))
Y = (X @ [1, -2, 0.5, 0] + RNG.normal(size=90) > 0).astype(int)
Y3 = RNG.integers(3, size=90)
PARTS = [np.arange(5), np.arange(5, 40), np.array([], int), np.arange(40, 90)]
NETWORKS = [fl.Network(4), fl.Network(4, 3), fl.Network(4, 1, 6), fl.Network(4, 3, 6)]


def rng(seed=0):
    return np.random.default_rng(seed)


def labels_for(network):
    return Y if network.outputs == 1 else Y3


def last(rounds):
    return list(rounds)[-1]


# ---- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradient_is_the_slope_of_the_loss(network):
    y = labels_for(network)
    weights = network.initial(rng()) + 0.1
    found = network.gradient(weights[None], X[None], y[None], np.full((1, 90), 1 / 90))[0]
    steps = 1e-6 * np.eye(network.parameters)
    slopes = [
        (network.loss(weights + step, X, y) - network.loss(weights - step, X, y)) / 2e-6
        for step in steps
    ]
    assert np.allclose(found, slopes, atol=1e-7)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_network_agrees_with_torch(network):
    import torch

    weights = network.initial(rng()) + 0.1
    parts = {name: torch.tensor(part) for name, part in network.parts(weights).items()}
    inner = torch.tensor(X)
    if network.hidden:
        inner = torch.relu(inner @ parts["hidden weights"] + parts["hidden bias"])
    scores = inner @ parts["weights"] + parts["bias"]
    y = torch.tensor(labels_for(network))
    if network.outputs == 1:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], y.double())
    else:
        loss = torch.nn.functional.cross_entropy(scores, y)
    assert np.allclose(network.scores(weights, X), scores.numpy())
    assert network.loss(weights, X, y.numpy()) == pytest.approx(loss.item())


def test_parts_and_layout_cover_the_vector():
    network = fl.Network(64, 10, 32)
    assert network.parameters == 64 * 32 + 32 + 32 * 10 + 10
    covered = np.concatenate([np.arange(network.parameters)[s] for s in network.layout.values()])
    assert (covered == np.arange(network.parameters)).all()
    assert network.parts(np.zeros((7, network.parameters)))["weights"].shape == (7, 32, 10)


def test_large_scores_do_not_overflow():
    huge = np.full(5, 1e4)
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(fl.Network(4).loss(huge, X, Y))
        gradient = fl.Network(4).gradient(huge[None], X[None], Y[None], np.full((1, 90), 1 / 90))
    assert np.isfinite(gradient).all()


# ---- the loop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_one_full_batch_step_equals_centralised_training(network):
    y = labels_for(network)
    start = network.initial(rng())
    federated = last(
        fl.fedavg(network, fl.make_clients(X, y, PARTS), 25, 1, 0.3, rng(), weights=start)
    )
    weights = start
    for _ in range(25):
        weights = (
            weights
            - 0.3 * network.gradient(weights[None], X[None], y[None], np.full((1, 90), 1 / 90))[0]
        )
    assert np.abs(federated.weights - weights).max() < 1e-12


def test_centralised_limit_is_that_of_scikit_learn():
    clients = fl.make_clients(X, Y, PARTS)
    found = last(fl.fedavg(fl.Network(4), clients, 3000, 1, 1.0, rng())).weights
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, Y)
    assert np.allclose(found, [*peer.coef_[0], *peer.intercept_], atol=1e-4)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_all_at_once_equals_one_after_the_other(batch_size):
    network = fl.Network(4, 3, 5)
    clients = fl.make_clients(X, Y3, PARTS)
    start = network.initial(rng())
    together = fl.train_locally(network, clients, np.arange(4), start, 6, 0.2, rng(3), batch_size)
    draws = rng(3)
    drawn = [draws.random((4, batch_size or 1)) for _ in range(6)]
    for client, part in enumerate(PARTS):
        weights = start
        for draw in drawn if len(part) else []:
            rows = part
            if batch_size:
                rows = part[(draw[client] * len(part)).astype(int)]
            share = np.full((1, len(rows)), 1 / len(rows))
            gradient = network.gradient(weights[None], X[rows][None], Y3[rows][None], share)
            weights = weights - 0.2 * gradient[0]
        assert np.allclose(together[client], weights, atol=1e-12)


def test_what_the_server_receives():
    clients = fl.make_clients(X, Y, PARTS)
    network = fl.Network(4)
    first, second = fl.fedavg(network, clients, 2, 3, 0.1, rng())
    assert (first.number, second.number) == (1, 2)
    assert first.received.clients.tolist() == [0, 1, 3]  # the empty client is never chosen
    assert np.allclose(first.received.shares, [5 / 90, 35 / 90, 50 / 90])
    own = fl.train_locally(network, clients, np.array([3]), np.zeros(5), 3, 0.1, rng())
    assert np.allclose(first.received.updates[2], own[0])
    assert np.allclose(second.weights, first.weights + second.received.mean)


def test_participation_draws_clients_anew():
    clients = fl.make_clients(X, Y, np.array_split(np.arange(90), 10))
    rounds = list(fl.fedavg(fl.Network(4), clients, 40, 1, 0.1, rng(), participation=0.3))
    chosen = [tuple(each.received.clients) for each in rounds]
    assert {len(set(each)) for each in chosen} == {3}
    assert len(set(chosen)) > 20
    assert set(np.concatenate(chosen)) == set(range(10))
    few = next(fl.fedavg(fl.Network(4), clients, 1, 1, 0.1, rng(), participation=0.01))
    assert len(few.received.clients) == 1


def test_bytes_counted_by_hand():
    clients = fl.make_clients(X, Y3, np.array_split(np.arange(90), 10))
    # 4 features, 6 hidden units, 3 classes: 24 + 6 + 18 + 3 = 51 numbers of 4 bytes.
    done = last(fl.fedavg(fl.Network(4, 3, 6), clients, 7, 1, 0.1, rng(), participation=0.5))
    assert done.upload == done.download == 7 * 5 * 51 * 4
    twice = last(fl.fedavg(fl.Network(4, 3), clients, 2, 1, 0.1, rng(), vectors=(1, 2)))
    assert (twice.upload, twice.download) == (2 * 10 * 15 * 4, 2 * 10 * 15 * 4 * 2)
    assert fl.round_bytes(51, 5) == 1020


def test_same_seed_same_run():
    clients = fl.make_clients(X, Y3, PARTS)
    runs = [
        last(fl.fedavg(fl.Network(4, 3, 5), clients, 3, 4, 0.1, rng(7), 8)).weights
        for _ in range(2)
    ]
    assert (runs[0] == runs[1]).all()


# ---- what lesson 11 builds on the hooks ---------------------------------------------------------


def test_proximal_term_shortens_the_updates():
    clients = fl.make_clients(X, Y, PARTS)
    lengths = []
    for mu in (0, 0.1, 1, 10):
        prox = lambda g, local, mu=mu: g + mu * (local.weights - local.start)  # noqa: E731
        done = next(fl.fedavg(fl.Network(4), clients, 1, 30, 0.05, rng(), direction=prox))
        lengths.append(np.linalg.norm(done.received.updates))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 3 * lengths[-1]


def test_scaffold_finds_the_pooled_optimum_where_fedavg_does_not():
    order = np.argsort(Y + 0.1 * X[:, 0])  # nearly one class a client
    clients = fl.make_clients(X, Y, np.array_split(order, 5))
    network, steps, rate = fl.Network(4), 20, 0.3
    control, controls = np.zeros(5), np.zeros((5, 5))

    def corrected(gradients, local):
        return gradients + control - controls[local.clients]

    def update_controls(weights, received):
        nonlocal control
        here = received.clients
        new = controls[here] - control - received.updates / (steps * rate)
        control = control + (new - controls[here]).sum(axis=0) / len(clients)
        controls[here] = new
        return weights + received.mean

    hooks = {"direction": corrected, "server_step": update_controls, "vectors": (1, 2)}
    plain = last(fl.fedavg(network, clients, 300, steps, rate, rng())).weights
    scaffold = last(fl.fedavg(network, clients, 300, steps, rate, rng(), **hooks)).weights
    best = last(
        fl.fedavg(network, fl.make_clients(X, Y, [np.arange(90)]), 4000, 1, 1.0, rng())
    ).weights
    excess = [network.loss(w, X, Y) - network.loss(best, X, Y) for w in (plain, scaffold)]
    assert excess[1] < 0.1 * excess[0]


def test_server_optimiser_and_fine_tuning():
    clients = fl.make_clients(X, Y, PARTS)
    network = fl.Network(4)
    moments = np.zeros((2, 5))

    def adam(weights, received):
        moments[0] = 0.9 * moments[0] + 0.1 * received.mean
        moments[1] = 0.99 * moments[1] + 0.01 * received.mean**2
        return weights + 0.1 * moments[0] / (np.sqrt(moments[1]) + 1e-3)

    done = last(fl.fedavg(network, clients, 30, 5, 0.1, rng(), server_step=adam))
    assert network.loss(done.weights, X, Y) < 0.5
    own = fl.train_locally(network, clients, np.array([1]), done.weights, 50, 0.3, rng())[0]
    assert network.loss(own, X[5:40], Y[5:40]) < network.loss(done.weights, X[5:40], Y[5:40])


# ---- partitions ---------------------------------------------------------------------------------

LABELS = RNG.integers(10, size=1200)
MAKERS = {
    "iid": lambda r: fl.iid_partition(1200, 7, r),
    "dirichlet": lambda r: fl.dirichlet_partition(LABELS, 7, 0.3, r),
    "equal sizes": lambda r: fl.dirichlet_partition(LABELS, 7, 0.3, r, equal_sizes=True),
    "one client": lambda r: fl.dirichlet_partition(LABELS, 1, 0.3, r),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_partitions_are_partitions(maker):
    parts = MAKERS[maker](rng())
    assert np.sort(np.concatenate(parts)).tolist() == list(range(1200))
    assert all(len(part) >= 1 and (np.diff(part) > 0).all() for part in parts)
    again, other = MAKERS[maker](rng()), MAKERS[maker](rng(1))
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert maker == "one client" or any(
        a.tolist() != b.tolist() for a, b in zip(parts, other, strict=True)
    )
    if maker in ("iid", "equal sizes"):
        assert np.ptp([len(part) for part in parts]) <= 1


@pytest.mark.parametrize("equal_sizes", [False, True])
def test_skew_falls_with_alpha(equal_sizes):
    means = []
    for alpha in (0.05, 0.3, 1, 10, 1000):
        parts = [
            fl.dirichlet_partition(LABELS, 10, alpha, rng(seed), equal_sizes, min_size=0)
            for seed in range(8)
        ]
        means.append(np.mean([fl.label_skew(LABELS, each) for each in parts]))
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.6
    assert means[-1] < 0.2


def test_proportions_have_the_moments_of_a_dirichlet():
    # One class, 4 clients: the shares have mean 1/4 and variance 3/16 / (4 alpha + 1).
    labels = np.zeros(4000, int)
    shares = np.array(
        [
            [len(part) / 4000 for part in fl.dirichlet_partition(labels, 4, 0.5, rng(s), False, 0)]
            for s in range(600)
        ]
    )
    assert np.allclose(shares.mean(axis=0), 0.25, atol=0.05)
    assert np.allclose(shares.var(axis=0), 3 / 16 / 3, atol=0.012)


def test_tiny_alpha_is_no_problem():
    for equal_sizes in (False, True):
        parts = fl.dirichlet_partition(LABELS, 5, 1e-4, rng(), equal_sizes, min_size=0)
        assert sum(map(len, parts)) == 1200


def test_min_size_is_kept_or_refused():
    parts = fl.dirichlet_partition(LABELS, 10, 0.2, rng(), min_size=20)
    assert min(map(len, parts)) >= 20
    with pytest.raises(ValueError, match="make alpha larger"):
        fl.dirichlet_partition(LABELS, 100, 0.01, rng())


def test_label_skew_by_hand():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    assert fl.label_skew(labels, [[0, 1, 2, 3], [4, 5, 6, 7]]) == 0.5
    assert fl.label_skew(labels, [[0, 1, 4, 5], [2, 3, 6, 7], []]) == 0
    # Sizes 6 and 2: distributions (4/6, 2/6) and (0, 1), distances 1/6 and 1/2.
    assert fl.label_skew(labels, [[0, 1, 2, 3, 4, 5], [6, 7]]) == pytest.approx(0.25)


def test_natural_partition_is_by_name():
    table = load_hospitals()
    parts = fl.natural_partition(table["hospital"])
    sizes = {"Cleveland": 303, "Hungary": 294, "Switzerland": 123, "VA Long Beach": 200}
    assert {name: len(part) for name, part in parts.items()} == sizes
    assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(920))


# ---- the hospitals ------------------------------------------------------------------------------


def test_hospital_features_look_at_one_row_alone():
    table = load_hospitals()
    whole = fl.hospital_features(table)
    assert whole.shape == (920, len(fl.HOSPITAL_FEATURES))
    assert np.isfinite(whole).all()
    assert np.abs(whole).max() < 10
    rows = [0, 400, 919]
    single = [fl.hospital_features(table.iloc[[row]])[0] for row in rows]
    assert np.array_equal(whole[rows], single)
    # Missing is 0; an age of 60 is one scale above 50.
    switzerland = (table["hospital"] == "Switzerland").to_numpy()
    assert (whole[switzerland, fl.HOSPITAL_FEATURES.index("chol")] == 0).all()
    assert (whole[(table["age"] == 60).to_numpy(), 0] == 1).all()
    missing = table.iloc[:3].copy()
    missing["exang"] = None
    assert (fl.hospital_features(missing)[:, 7] == 0).all()


# ---- bad input, speed ---------------------------------------------------------------------------

CLIENTS = fl.make_clients(X, Y, PARTS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fl.iid_partition(0, 1, rng()), "records must be an integer, at least 1"),
        (lambda: fl.iid_partition(5, 6, rng()), "clients must be an integer, from 1 to 5"),
        (lambda: fl.iid_partition(5, True, rng()), "clients must be an integer"),
        (lambda: fl.dirichlet_partition([], 1, 1, rng()), r"labels must be of shape \(n,\)"),
        (lambda: fl.dirichlet_partition(Y, 0, 1, rng()), "clients must be an integer, from 1"),
        (lambda: fl.dirichlet_partition(Y, 3, 0, rng()), "alpha must be a finite number above 0"),
        (lambda: fl.dirichlet_partition(Y, 3, np.nan, rng()), "alpha must be a finite number"),
        (lambda: fl.dirichlet_partition(Y, 3, 1, rng(), min_size=31), "min_size .* from 0 to 30"),
        (lambda: fl.natural_partition([]), r"groups must be of shape \(n,\)"),
        (lambda: fl.label_skew(Y, [[], []]), "parts must hold at least one record"),
        (lambda: fl.make_clients(X, Y[:3], PARTS), "X and y must be of shape"),
        (lambda: fl.make_clients(X * np.nan, Y, PARTS), "X must be finite"),
        (lambda: fl.make_clients(X, Y - 1, PARTS), "y must hold whole numbers"),
        (lambda: fl.make_clients(X, Y * np.nan, PARTS), "whole numbers of at least 0"),
        (lambda: fl.make_clients(X, Y, [[]]), "hold at least one record"),
        (lambda: fl.make_clients(X, Y, [[90]]), "parts must hold indices from 0 to 89"),
        (lambda: fl.make_clients(X, Y, [[-1]]), "parts must hold indices"),
        (lambda: fl.Network(0), "features must be an integer, at least 1"),
        (lambda: fl.Network(3, 0), "outputs must be an integer, at least 1"),
        (lambda: fl.Network(3, 1, -1), "hidden must be an integer, at least 0"),
        (lambda: fl.round_bytes(-1, 1), "parameters must be an integer, at least 0"),
        (lambda: fl.fedavg(fl.Network(4), CLIENTS, 0, 1, 1, rng()), "rounds must be"),
        (lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 0, 1, rng()), "local_steps must be"),
        (lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 1, -1, rng()), "learning_rate must be"),
        (lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 1, 1, rng(), 0), "batch_size must be"),
        (
            lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 1, 1, rng(), participation=1.5),
            "participation must be above 0 and at most 1",
        ),
        (
            lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 1, 1, rng(), weights=np.zeros(4)),
            r"weights must be of shape \(5,\)",
        ),
        (lambda: fl.dirichlet_partition([0, np.nan], 1, 1, rng()), "labels has 1 missing"),
        (lambda: fl.natural_partition(["a", None]), "groups has 1 missing"),
        (lambda: fl.label_skew(Y, [np.arange(90) < 5]), "hold indices from 0 to 89"),
        (lambda: fl.label_skew(Y, [[-1]]), "must hold indices from 0 to 89"),
        (lambda: fl.label_skew(Y * np.nan, PARTS), "labels has 90 missing"),
        (lambda: fl.make_clients(X, Y, [np.arange(90) < 5]), "indices from 0 to 89"),
        (lambda: fl.make_clients(X, Y, [[0.7]]), "parts must hold indices from 0"),
        (lambda: fl.make_clients(X, Y, [[3, 3]]), "parts holds an index twice"),
        (lambda: fl.Network(4).loss(np.zeros(5), X, Y - 1), "y must hold whole numbers from 0"),
        (
            lambda: fl.fedavg(fl.Network(4), fl.make_clients(X, Y * 0 + 4, PARTS), 1, 1, 1, rng()),
            "labels must be from 0 to 1 for a model with 1 outputs, but there is 4",
        ),
        (
            lambda: fl.fedavg(fl.Network(4), CLIENTS, 1, 1, 1, rng(), weights=np.full(5, np.nan)),
            "weights must be finite",
        ),
        (
            lambda: last(
                fl.fedavg(fl.Network(4), CLIENTS, 1, 1, 1, rng(), server_step=lambda w, r: 0.0)
            ),
            r"server_step must return weights of shape \(5,\)",
        ),
        (
            lambda: fl.train_locally(fl.Network(4), CLIENTS, [-1], np.zeros(5), 1, 1, rng()),
            "chosen must hold indices",
        ),
        (
            lambda: fl.train_locally(fl.Network(4), CLIENTS, [0], np.zeros(5), -1, 1, rng()),
            "steps must be an integer, at least 0",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_hundred_clients_on_digits():
    X, y = load_digits(return_X_y=True)
    X, order = X / 16, rng().permutation(len(y))
    train, test = order[:1347], order[1347:]
    parts = fl.iid_partition(1347, 100, rng())
    clients, network = fl.make_clients(X[train], y[train], parts), fl.Network(64, 10, 32)
    start = time.process_time()
    done = last(fl.fedavg(network, clients, 20, 20, 0.1, rng(), batch_size=16))
    # It takes about one second.
    assert time.process_time() - start < 10
    assert (network.predict(done.weights, X[test]) == y[test]).mean() > 0.85
