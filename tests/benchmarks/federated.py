"""Federated averaging: a loop, Flower and TensorFlow Federated train the same.

One network (2,410 parameters) learns the digits, divided evenly among 10, 100 or 1,000 clients;
each takes five steps on all its records a round. *From scratch* is the loop of lesson 10
(``privlab.federated``: all clients in one call of NumPy). Flower 1.41 runs its own FedAvg twice: on
the grid of lesson 12 (``privlab.flower.LocalGrid``, in this process), and in its simulation in Ray,
whose start of some 30 seconds is spread over its rounds. TensorFlow Federated 0.87 compiles
before the race.

All start from the same weights and must end at the same, up to the 32 bits that Flower and TFF
compute with: the benchmark fails otherwise. With 1,000 clients a client has one or two records, and
only two rounds are run. A rate is that of CPU time, whatever the number of processes.

Why Flower costs what it does: it makes two messages for each client and round, copies and measures
each, and adds them up; Ray also moves each between processes. That pays off where a client computes
for seconds, or sits on another machine.

Not measured: clients that compute for long (there all ways are alike), networks, secure
aggregation, several cores, the same at partial participation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import bench
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from privlab import federated, flower

STEPS, RATE, SEED = 5, 0.3, 0
MODEL = federated.Network(features=64, outputs=10, hidden=32)
BASE, LOCAL, RAY, TFF = "from scratch", "Flower, in this process", "Flower, Ray", "TFF"


@cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and test records and classes."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=SEED, stratify=y)
    return X, y, X_test, y_test


@cache
def task(clients: int) -> tuple[federated.Clients, np.ndarray, list[np.ndarray]]:
    """Return the clients' data, the initial weights, and who has which records."""
    X, y, *_ = digits()
    rng = np.random.default_rng(SEED)
    parts = federated.iid_partition(len(y), clients, rng)
    return federated.make_clients(X, y, parts), MODEL.initial(rng), parts


def train(clients: federated.Clients, message: Any, context: Any) -> Any:
    """Train one client: the ClientApp's function."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    number = np.array([context.node_config["partition-id"]])
    start = message.content["arrays"].to_numpy_ndarrays()[0]
    rng = np.random.default_rng(SEED)  # nothing is drawn: full batches
    weights = federated.train_locally(MODEL, clients, number, start, STEPS, RATE, rng)[0]
    size = MetricRecord({"num-examples": int(clients.sizes[number[0]])})
    arrays = ArrayRecord([weights.astype(np.float32)])
    return Message(RecordDict({"arrays": arrays, "metrics": size}), reply_to=message)


def coordinate(start: np.ndarray, clients: int, result: Path, grid: Any, context: Any) -> None:
    """Run FedAvg: the ServerApp's function."""
    from flwr.app import ArrayRecord
    from flwr.serverapp.strategy import FedAvg

    everybody = {"min_train_nodes": clients, "min_available_nodes": clients}
    strategy = FedAvg(fraction_evaluate=0.0, **everybody)
    arrays = ArrayRecord([start.astype(np.float32)])
    done = strategy.start(grid, arrays, context.run_config["rounds"])
    np.save(result, done.arrays.to_numpy_ndarrays()[0])


def with_flower(run: Callable[..., Any], rounds: dict[int, int], clients: int) -> np.ndarray:
    """Run the app with ``flower.run`` or ``flower.simulate``."""
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    data, start, _ = task(clients)
    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(partial(train, data))
    with tempfile.TemporaryDirectory(prefix="privlab-") as folder:
        result = Path(folder, "weights.npy")
        server_app.main()(partial(coordinate, start, len(data), result))
        run(server_app, client_app, [{}] * len(data), {"rounds": rounds[clients]})
        return np.load(result)


def loop(rounds: dict[int, int], clients: int) -> np.ndarray:
    """Run FedAvg with privlab.federated."""
    data, start, _ = task(clients)
    rng = np.random.default_rng(SEED)
    for each in federated.fedavg(
        MODEL, data, rounds[clients], STEPS, RATE, rng, weights=start
    ):  # fmt: skip
        last = each
    return last.weights


def with_tff(peer: bench.Peer, folder: Path, rounds: int | dict, clients: int) -> np.ndarray:
    """Let TFF train; the data travel through a file."""
    X, y, *_ = digits()
    _, start, parts = task(clients)
    file = folder / f"{clients}.npz"
    if not file.exists():
        owner = np.empty(len(y), int)
        for number, records in enumerate(parts):
            owner[records] = number
        weights = {name.replace(" ", "_"): each for name, each in MODEL.parts(start).items()}
        np.savez(file, X=X, y=y, owner=owner, **weights)
    number = rounds if isinstance(rounds, int) else rounds[clients]
    answer = peer.ask(file=str(file), rounds=number, steps=STEPS, rate=RATE)
    return np.array(answer["weights"])


def main() -> int:
    """Measure and print."""
    started, parser = time.perf_counter(), bench.parser(__doc__)
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out (it takes minutes)")
    options = parser.parse_args()
    bench.one_thread()
    import flwr.serverapp.strategy  # noqa: F401 - so that no way pays for the import

    sizes = [2, 4, 8] if options.quick else [10, 100, 1_000]
    rounds = dict(zip(sizes, (2, 2, 2) if options.quick else (20, 20, 2), strict=True))
    ways = {BASE: partial(loop, rounds), LOCAL: partial(with_flower, flower.run, rounds)}
    skipped = {}
    if options.no_ray or options.quick:
        skipped[RAY] = "left out by an option"
    else:
        ways[RAY] = partial(with_flower, flower.simulate, rounds)
    peer = bench.Peer(bench.tensorflow_python, "tff_peer.py")
    with tempfile.TemporaryDirectory(prefix="privlab-") as name:
        folder = Path(name)
        try:
            peer.warm_up(ready=True)
            with_tff(peer, folder, 1, sizes[0])
            ways[TFF] = partial(with_tff, peer, folder, rounds)
        except bench.Skip as reason:
            skipped[TFF] = str(reason)
        for way in (BASE, LOCAL):
            ways[way](sizes[0])
        result = bench.race(ways, sizes, 1 if options.quick else 3)
        peer.close()
    for way in result.costs:
        result.divide(way, rounds)
    apart = 0.0
    for values in result.values.values():
        for size, weights in values.items():
            apart = max(apart, np.abs(weights - result.values[BASE][size]).max())
    assert apart < 1e-3, apart
    _, _, X_test, y_test = digits()
    middle = sizes[1]

    def accuracy(way: str) -> str:
        guesses = MODEL.predict(result.values[way][middle], X_test)
        return f"{np.mean(guesses == y_test):.1%}"

    ratios = [
        f"{way} takes {bench.short(result.ratio(way, BASE, max(by_size))[0])} times the CPU time "
        f"of the loop with {max(by_size):,} clients{', its start included' if way == RAY else ''}"
        for way, by_size in result.costs.items()
        if way != BASE and by_size
    ]
    bench.finish(
        "federated", __doc__, options, started, ["numpy", "flwr", "ray"],
        tables=[
            bench.table(
                result, BASE, sizes, "clients",
                lambda _, cpu: f"{bench.short(1 / cpu)} rounds/s",
                {f"accuracy ({middle:,} clients, {rounds[middle]} rounds)": accuracy},
            )
        ],
        sentence=(
            f"{'; '.join(ratios)}. All reach the same weights up to {apart:.0e}."
        ),
        skipped={**skipped, **result.skipped},
        costs={"": bench.raw(result)},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
