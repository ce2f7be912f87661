"""All of Fashion-MNIST at ε = 3.

Lesson 07's kind of model (a linear layer on features that need no data, trained by DP-SGD) learns
all 60,000 images and is judged by the 10,000 test images. δ = 1e-5, adjacency: add or remove one
image; their number is treated as public. The data are the four original files, for example those of
the Debian package ``dataset-fashion-mnist`` (another folder: ``make bench-fashion FASHION=…``).

What makes the difference:

- Full batches: 100 steps on all images are one Gaussian mechanism, whose ε is known exactly.
- Features of length 1: then the noise in a score does not depend on how many features there are, and 2,900 cost no more noise than 400.
- 2,000 random half-linear functions of lesson 07's 900 features. On held-out training images they bring 0.3 points.

What limits it: the last row is the same training without noise. What to hold against it: the
settings were found on the training images (50,000 to train, 10,000 to judge: ``--validate``; some
30 tries), and those tries are not in ε. The published figures have the same gap. The standard error
of an accuracy near 90 % on 10,000 images is 0.3 points: what differs by less is level.
DPSUR's ε is disputed: its accounting overlooks that selective release changes the sampling
probability (Huang and Xie, "Revisiting Privacy Amplification by Subsampling in Selective Release
DPSGD", 2026).

Not measured: the published methods themselves (their figures are cited, not run), other ε, networks.
"""  # noqa: E501 - a list of the page

from __future__ import annotations

import gzip
import math
import sys
import time
import warnings
from pathlib import Path

import bench
import numpy as np
import torch
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from opacus.accountants import PRVAccountant
from tqdm import tqdm

from privlab.accounting import gaussian_epsilon, gaussian_sigma
from privlab.features import fixed_features, train_linear
from privlab.networks import fashion_tensors

EPSILON, DELTA = 3.0, 1e-5
STEPS, MAX_GRAD_NORM, LEARNING_RATE, MOMENTUM = 100, 1.0, 60.0, 0.9
RUNS = 3

#: Test accuracy at ε = 3, δ = 1e-5: handcrafted features by Florian Tramèr and Dan Boneh,
#: "Differentially Private Learning Needs Better Features (or Much More Data)" (2021), as in the
#: main table of its repository; the others by Jie Fu et al., "DPSUR: Accelerating Differentially
#: Private Stochastic Gradient Descent Using Selective Update and Release" (2024), table 2.
PUBLISHED = {
    "DP-SGD (Abadi et al. 2016), as run by Fu et al. (2024)": 0.8472,
    "tempered sigmoids (Papernot et al. 2021), as listed by Fu et al.": 0.8629,
    "a CNN on handcrafted features (Tramèr and Boneh 2021)": 0.890,
    "a linear model on handcrafted features (Tramèr and Boneh 2021)": 0.897,
    "DPSUR (Fu et al. 2024)": 0.8971,
}


def read_idx(path: Path) -> np.ndarray:
    """Read a file of the format that MNIST introduced: sizes in front, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def load(folder: Path, part: str) -> tuple[torch.Tensor, np.ndarray]:
    """Return images of shape (N, 1, 28, 28), from -1 to 1, and their classes."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    classes = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return torch.from_numpy(images / np.float32(127.5) - 1)[:, None], classes.astype(np.int64)


def features(images: torch.Tensor) -> np.ndarray:
    """Return lesson 07's features and 2,000 random half-linear functions of them, length 1.

    They let the linear layer see more of the image than lesson 07's do, and still need no data.
    """
    fixed = fixed_features(images, 900)
    directions = torch.randn(900, 2000, generator=torch.Generator().manual_seed(1))
    parts = []
    for some in fixed.split(5000):
        # A standard normal number, cut off below 0, is 1 / sqrt(2 π) on average.
        random = (some @ directions).relu() - 1 / math.sqrt(2 * math.pi)
        random /= random.norm(dim=1, keepdim=True)
        parts.append(torch.cat([some, random], dim=1) / math.sqrt(2))
    return torch.cat(parts).numpy()


def epsilons(sigma: float) -> dict[str, float]:
    """Return ε by a closed form and by the accountants of two other libraries."""
    pld, prv = PLDAccountant(), PRVAccountant()
    pld.compose(SelfComposedDpEvent(GaussianDpEvent(sigma), STEPS))
    prv.history = [(sigma, 1.0, STEPS)]
    with warnings.catch_warnings():
        # Opacus takes the logarithm of 0 on the way when nothing is sampled; the result is right.
        warnings.simplefilter("ignore")
        by_prv = float(prv.get_epsilon(delta=DELTA))
    return {
        "closed form": gaussian_epsilon(math.sqrt(STEPS) / sigma, DELTA),
        "dp-accounting PLD": pld.get_epsilon(DELTA),
        "Opacus PRV (an upper bound, 0.01 of error allowed)": by_prv,
    }


def course_images() -> tuple[torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]:
    """Return the course's part of the data, 2,000 images to train and 1,000 to test."""
    X, y, X_test, y_test = fashion_tensors()
    return X[:2_000], y[:2_000].numpy(), X_test[:1_000], y_test[:1_000].numpy()


def main() -> int:
    """Measure and print."""
    started, parser = time.perf_counter(), bench.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument(
        "--validate", action="store_true", help="train on 50,000 images, judge on 10,000 others"
    )
    options = parser.parse_args()
    if not options.quick and not options.folder.is_dir():
        print(
            f"{options.folder} is missing: install the Debian package dataset-fashion-mnist, or "
            "name the folder of the four original files with --folder.",
            file=sys.stderr,
        )
        return bench.CANNOT_RUN
    if options.quick:
        X, y, X_test, y_test = course_images()
    else:
        X, y = load(options.folder, "train")
        X_test, y_test = load(options.folder, "t10k")
    if options.validate:
        X, y, X_test, y_test = X[:50_000], y[:50_000], X[50_000:], y[50_000:]
    F, F_test = features(X), features(X_test)

    # One part in a million of room for the rounding of the accountants. All steps together are one
    # Gaussian mechanism.
    sigma = gaussian_sigma(EPSILON * (1 - 1e-6), DELTA, STEPS)
    spent = epsilons(sigma)
    assert max(spent["closed form"], spent["dp-accounting PLD"]) <= EPSILON + 1e-3
    assert max(spent.values()) - min(spent.values()) < 0.02

    def accuracy(noise_multiplier: float, seed: int) -> float:
        weights = train_linear(
            F, y, noise_multiplier, 1.0, STEPS, MAX_GRAD_NORM, LEARNING_RATE, MOMENTUM,
            np.random.default_rng(seed),
        )  # fmt: skip
        return float(np.mean(np.argmax(F_test @ weights, axis=1) == y_test))

    seeds = range(1 if options.quick else RUNS)
    found = [accuracy(sigma, seed) for seed in tqdm(seeds, desc="training", leave=False)]
    mean, noiseless = float(np.mean(found)), accuracy(0.0, 0)
    rows = [[f"{name}, cited", f"{value:.2%}", "3"] for name, value in PUBLISHED.items()]
    each = ", ".join(f"{value:.2%}" for value in found)
    budgets = ", ".join(f"{value:.3f} {name}" for name, value in spent.items())
    rows.append([f"**this**, mean of {len(found)}", f"**{mean:.2%}** ({each})", budgets])
    rows.append(["the same without noise", f"{noiseless:.2%}", "∞"])
    error = math.sqrt(mean * (1 - mean) / len(y_test))
    above = sum(mean - value > error for value in PUBLISHED.values())
    level = sum(abs(mean - value) <= error for value in PUBLISHED.values())
    bench.finish(
        "fashion_mnist", __doc__, options, started, ["torch", "dp-accounting", "opacus"],
        tables=[{"head": ["", "test accuracy", "ε"], "rows": rows}],
        sentence=(
            f"{mean:.2%} on {len(X_test):,} images at ε = {EPSILON:g} (noise multiplier "
            f"{sigma:.3f}, {STEPS} steps): above {above} of {len(PUBLISHED)} published figures by "
            f"more than the standard error of {100 * error:.1f} points, and level with {level}."
        ),
    )  # fmt: skip
    return 0 if above + level == len(PUBLISHED) or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
