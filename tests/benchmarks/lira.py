"""Shadow models: all at once, against a loop.

The likelihood ratio attack (LiRA, Carlini et al. 2022; lesson 08) needs many models, each trained
on its own half of the data. ``privlab.attacks.membership.train_many`` trains them side by side with
``torch.func.vmap``; the loop trains one after the other with ``torch.optim.Adam``. Both train the
same network (one hidden layer of 32) on the same halves of the digits, 100 steps on all records
of a half; their mean accuracies on the records they have not seen must agree within 3 points.

Not measured: convolutional networks, mini-batches, GPUs, and private shadow models (lesson 08
trains those with ``train_many_privately``).
"""

from __future__ import annotations

import sys
import time

import bench
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from privlab.attacks.membership import coin_flips, many_logits, train_many

STEPS, RATE, HIDDEN = 100, 0.01, 32
BASE, LOOP = "privlab (vmap)", "loop of torch.optim.Adam"


def network() -> nn.Sequential:
    """Make the shadow model."""
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def unseen(logits: np.ndarray, y: np.ndarray, members: np.ndarray) -> float:
    """Return the accuracy on the records that a model was not trained on."""
    return float((logits.argmax(axis=-1) == y)[~members].mean())


def main() -> int:
    """Measure and print."""
    started, options = time.perf_counter(), bench.parser(__doc__).parse_args()
    bench.one_thread()
    torch.set_num_threads(1)
    sizes = [2, 4, 8] if options.quick else [4, 16, 64]
    digits, classes = load_digits(return_X_y=True)
    X, y = torch.from_numpy(digits / 16).float(), torch.from_numpy(classes).long()
    flips = coin_flips(sizes[-1], len(y), np.random.default_rng(0))
    steps = 40 if options.quick else STEPS

    def at_once(models: int) -> float:
        members = flips[:models]
        found = train_many(network(), X, y, members, steps=steps, learning_rate=RATE)
        return unseen(many_logits(network(), found[steps], X), classes, members)

    def loop(models: int) -> float:
        members, logits = flips[:models], []
        for number in range(models):
            torch.manual_seed(number)
            one, own = network(), torch.from_numpy(members[number])
            inputs, labels = X[own], y[own]
            optimiser = torch.optim.Adam(one.parameters(), RATE)
            for _ in range(steps):
                optimiser.zero_grad()
                cross_entropy(one(inputs), labels).backward()
                optimiser.step()
            with torch.no_grad():
                logits.append(one(X).numpy())
        return unseen(np.array(logits), classes, members)

    at_once(2), loop(1)  # imports and compilation at first use
    result = bench.race({BASE: at_once, LOOP: loop}, sizes, rounds=2 if options.quick else 5)
    last = sizes[-1]
    apart = abs(result.values[BASE][last] - result.values[LOOP][last])
    assert options.quick or apart < 0.03, apart
    ratio = result.ratio(LOOP, BASE, last)[0]
    bench.finish(
        "lira", __doc__, options, started, ["torch", "scikit-learn"],
        tables=[
            bench.table(
                result, BASE, sizes, "models", lambda n, cpu: f"{bench.short(n / cpu)} models/s",
                {"accuracy": lambda way: f"{result.values[way][last]:.1%}"},
            )
        ],
        sentence=(
            f"With {last} models, the loop takes {bench.short(ratio)} times the CPU time of all at "
            "once on one thread."
        ),
        costs={"": bench.raw(result)},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
