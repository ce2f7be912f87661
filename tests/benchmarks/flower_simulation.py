"""100 clients × 20 rounds on the digits: the loop of lesson 10, Flower here, Flower in Ray.

``python tests/benchmarks/flower_simulation.py`` trains the same model on the same partition with
``privlab.federated``, with Flower's FedAvg on ``privlab.flower.LocalGrid``, and with the same app
in Flower's simulation (Ray), and prints wall time, CPU time and the ratios. All three take full
batches, so that they must reach the same weights; the exit code is 1 where they do not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from privlab import federated, flower

STEPS, RATE, SEED = 5, 0.3, 0
MODEL = federated.Network(features=64, outputs=10, hidden=32)


@dataclass
class Cost:
    """Seconds that something took: wall time, and CPU time of this process and its children."""

    wall: float = 0.0
    cpu: float = 0.0


def cpu_by_process() -> dict[int, float]:
    """Return the CPU seconds of this process and of each living descendant."""
    found = {}
    for process in (me := psutil.Process(), *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what the body takes; processes that end meanwhile count as last seen."""
    cost, seen, done = Cost(), cpu_by_process(), threading.Event()
    before, start = dict(seen), time.perf_counter()

    def watch() -> None:
        while not done.wait(0.5):
            seen.update(cpu_by_process())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield cost
    finally:
        done.set()
        watcher.join()
        seen.update(cpu_by_process())
        cost.wall = time.perf_counter() - start
        cost.cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in seen.items())


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
    with tqdm(total=context.run_config["rounds"], leave=False, desc="rounds") as bar:
        done = strategy.start(
            grid,
            arrays,
            context.run_config["rounds"],
            evaluate_fn=lambda number, _: bar.update(number > 0) and None,
        )
    np.save(result, done.arrays.to_numpy_ndarrays()[0])


def apps(data: federated.Clients, start: np.ndarray, result: Path) -> tuple[Any, Any]:
    """Return ServerApp and ClientApp."""
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(partial(train, data))
    server_app.main()(partial(coordinate, start, len(data), result))
    return server_app, client_app


def loop(data: federated.Clients, start: np.ndarray, rounds: int) -> np.ndarray:
    """Run FedAvg with privlab.federated."""
    rng = np.random.default_rng(SEED)
    run = federated.fedavg(MODEL, data, rounds, STEPS, RATE, rng, weights=start)
    for each in tqdm(run, total=rounds, leave=False, desc="rounds"):
        last = each
    return last.weights


def with_flower(
    run: Callable[..., Any], data: federated.Clients, start: np.ndarray, rounds: int
) -> np.ndarray:
    """Run the app with ``flower.run`` or ``flower.simulate``."""
    with tempfile.TemporaryDirectory(prefix="privlab-") as folder:
        result = Path(folder, "weights.npy")
        server_app, client_app = apps(data, start, result)
        run(server_app, client_app, [{}] * len(data), {"rounds": rounds})
        return np.load(result)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=100, help="default: 100")
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out (it takes minutes)")
    asked = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=SEED, stratify=y)
    rng = np.random.default_rng(SEED)
    parts = federated.iid_partition(len(y), asked.clients, rng)
    data, start = federated.make_clients(X, y, parts), MODEL.initial(rng)
    ways: dict[str, Callable[..., np.ndarray]] = {
        "from scratch": loop,
        "Flower, in this process": partial(with_flower, flower.run),
    }
    if not asked.no_ray:
        ways["Flower, Ray"] = partial(with_flower, flower.simulate)

    print(f"{asked.clients} clients × {asked.rounds} rounds, {MODEL.parameters:,} parameters")
    import flwr.serverapp.strategy  # noqa: F401 - so that no way pays for the import

    costs, weights = {}, {}
    for name, way in ways.items():
        with measured() as costs[name]:
            weights[name] = way(data, start, asked.rounds)
        accuracy = np.mean(MODEL.predict(weights[name], X_test) == y_test)
        cost, first = costs[name], costs["from scratch"]
        print(
            f"{name:24} wall {cost.wall:7.2f} s ({cost.wall / first.wall:5.1f} ×)   "
            f"CPU {cost.cpu:7.2f} s ({cost.cpu / first.cpu:5.1f} ×)   accuracy {accuracy:.3f}",
            flush=True,
        )
    apart = max(np.abs(each - weights["from scratch"]).max() for each in weights.values())
    print(f"the weights differ by {apart:.0e} at most")
    return 0 if apart < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
