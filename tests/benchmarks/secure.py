"""Computing on hidden numbers: sharing, MPC and homomorphic encryption, against the plain sum.

Two tasks. A *secure mean*: four hospitals add up vectors of whole numbers that nobody else may see.
Pairwise masks are those of ``privlab.secagg`` (Bonawitz et al. 2017), MPyC 0.11 runs three
processes that compute on shares (``privlab.mpc``), TenSEAL 0.3.18 adds CKKS ciphertexts. *Encrypted
inference*: a logistic regression for ten features scores patients, by TenSEAL (one ciphertext a
feature, as in lesson 19) and by MPyC (one party holds the model, another the patients). All answers
are compared with the plain ones.

The ways do not do quite the same. Masks hide the terms of a sum, nothing else; here their keys come
free, from a dealer before the race, the masks from NumPy's generator, and nobody drops out. In the
inference, TenSEAL's weights are plain numbers; MPyC hides the model, too.

CPU time of MPyC is that of all its parties, their start included: a second or so each, which does
not grow. TenSEAL's keys are made before. The plain computation is repeated many times and divided.

Not measured: networks with delay (lesson 18 has that: MPyC waits once a round), bytes (lessons 18
and 19 count them), parties that lie, other schemes (Paillier, SPDZ), several threads.
"""

from __future__ import annotations

import sys
import time

import bench
import numpy as np
import tenseal as ts

from privlab.mpc import run_parties
from privlab.secagg import mask, shared_seeds

PARTIES, FEATURES = 4, 10
PLAIN, MASKS, MPYC, CKKS = "plain", "masks (privlab.secagg)", "MPyC, 3 parties", "TenSEAL (CKKS)"
REPEATS = 2_000  # of the plain computation: one alone is too short to be timed


async def sum_on_shares(mpc, own):
    """Add up what the parties hold: MPyC's program."""
    shares = mpc.input(mpc.SecInt(48).array(np.array(own)))
    total = sum(shares[1:], shares[0])
    return [int(each) for each in await mpc.output(total)]


async def scores_on_shares(mpc, own):
    """Score the patients of party 1 by the model of party 0: MPyC's program."""
    number = mpc.SecFxp(64, 24).array
    w = mpc.input(number(own["w"], integral=False), senders=0)
    X = mpc.input(number(own["X"], integral=False), senders=1)
    found = await mpc.output(X @ w, receivers=1)
    return None if found is None else np.array(found, float)


def context() -> ts.Context:
    """Make keys as lesson 19 does."""
    made = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    made.global_scale = 2**40
    return made


def parts(values: np.ndarray) -> list[np.ndarray]:
    """Cut a vector into what fits into a ciphertext: 4,096 numbers."""
    return [values[first : first + 4096] for first in range(0, len(values), 4096)]


class Mean:
    """The secure mean; ``size`` is the length of the vectors."""

    def __init__(self, keys: ts.Context, rng: np.random.Generator, longest: int) -> None:
        self._keys, self._updates = keys, rng.integers(0, 10_000, (PARTIES, longest))
        self._seeds = shared_seeds(PARTIES, rng)

    def check(self, found: np.ndarray, size: int) -> None:
        """Compare with the plain sum."""
        assert np.abs(found - self._updates[:, :size].sum(axis=0)).max() < 0.1

    def plain(self, size: int) -> None:
        updates = self._updates[:, :size]
        for _ in range(REPEATS):
            total = updates.sum(axis=0)
        self.check(total, size)

    def masks(self, size: int) -> None:
        sent = [mask(self._updates[i, :size], i, self._seeds, 0) for i in range(PARTIES)]
        self.check(np.sum(sent, axis=0, dtype=np.uint32).astype(float), size)

    def mpyc(self, size: int) -> float:
        """Return the wall time of the protocol alone."""
        # Three parties hold what four hospitals sent them: one of them has two updates to add.
        own = [*self._updates[:2, :size].tolist(), self._updates[2:, :size].sum(axis=0).tolist()]
        reports = run_parties(sum_on_shares, own, timeout=600)
        self.check(np.array(reports[0].result), size)
        return max(report.seconds for report in reports)

    def ckks(self, size: int) -> None:
        totals = []
        for number, _ in enumerate(parts(self._updates[0, :size])):
            sent = [ts.ckks_vector(self._keys, parts(u[:size])[number]) for u in self._updates]
            totals += sum(sent[1:], sent[0]).decrypt()
        self.check(np.array(totals), size)


class Inference:
    """Encrypted inference; ``size`` counts the patients."""

    def __init__(self, keys: ts.Context, rng: np.random.Generator, most: int) -> None:
        self._keys, self._X = keys, rng.normal(size=(most, FEATURES))
        self._w = rng.normal(size=FEATURES)

    def check(self, found: np.ndarray, size: int) -> None:
        """Compare with the plain scores."""
        assert np.abs(found - self._X[:size] @ self._w).max() < 1e-3

    def plain(self, size: int) -> None:
        X = self._X[:size]
        for _ in range(REPEATS):
            scores = X @ self._w
        self.check(scores, size)

    def mpyc(self, size: int) -> float:
        """Return the wall time of the protocol alone."""
        X, w = self._X[:size], self._w
        blank = {"w": 0 * w, "X": 0 * X}
        own = [blank | {"w": w}, blank | {"X": X}, blank]
        reports = run_parties(scores_on_shares, own, timeout=600)
        self.check(reports[1].result, size)
        return max(report.seconds for report in reports)

    def ckks(self, size: int) -> None:
        scores = []
        for some in parts(self._X[:size]):
            sent = [ts.ckks_vector(self._keys, column) for column in some.T]
            total = sent[0] * self._w[0]
            for column, weight in zip(sent[1:], self._w[1:], strict=True):
                total = total + column * weight
            scores += total.decrypt()
        self.check(np.array(scores), size)


def compare(task: Mean | Inference, ways: dict, sizes: list[int], rounds: int) -> bench.Race:
    """Race, and divide the plain computation by its repeats."""
    result = bench.race({PLAIN: task.plain, **ways}, sizes, rounds)
    result.divide(PLAIN, dict.fromkeys(sizes, REPEATS))
    return result


def micro(_: int, cpu: float) -> str:
    """Write CPU seconds, short ones in microseconds."""
    return f"{bench.short(cpu * 1e6)} µs" if cpu < 1e-3 else f"{bench.short(cpu)} s"


def main() -> int:
    """Measure and print."""
    started, options = time.perf_counter(), bench.parser(__doc__).parse_args()
    bench.one_thread()
    rng, keys = np.random.default_rng(0), context()
    sizes = [10, 30, 100] if options.quick else [100, 1_000, 10_000]
    rounds = 1 if options.quick else 3
    mean, inference = Mean(keys, rng, sizes[-1]), Inference(keys, rng, sizes[-1])
    for each in (mean.ckks, inference.ckks, mean.masks):  # what is set up at first use
        each(10)
    sums = compare(
        mean, {MASKS: mean.masks, CKKS: mean.ckks, MPYC: mean.mpyc}, sizes, rounds
    )  # fmt: skip
    scores = compare(inference, {CKKS: inference.ckks, MPYC: inference.mpyc}, sizes, rounds)
    last = sizes[-1]

    def costs(result: bench.Race) -> str:
        """Say what the ways cost, the cheapest first."""
        order = sorted(set(result.costs) - {PLAIN}, key=lambda way: result.cpu(way, last))
        times = (f"{bench.short(result.ratio(way, PLAIN, last)[0])} by {way}" for way in order)
        return f"{'; '.join(times)}; the cheapest is {order[0]}"

    bench.finish(
        "secure", __doc__, options, started, ["numpy", "mpyc", "tenseal", "gmpy2"],
        tables=[
            {**bench.table(sums, PLAIN, sizes, "numbers", micro),
             "caption": f"Secure mean of {PARTIES} vectors:"},
            {**bench.table(scores, PLAIN, sizes, "patients", micro),
             "caption": f"Encrypted inference, {FEATURES} features:"},
        ],
        sentence=(
            f"Hiding the terms of a sum of {last:,} numbers costs this many times the "
            f"plain sum: {costs(sums)}. Scoring {last:,} hidden patients costs this many times the "
            f"plain product: {costs(scores)}. MPyC's protocol alone took "
            f"{bench.short(sums.values[MPYC][last])} s and {bench.short(scores.values[MPYC][last])}"
            " s of wall time at the largest sizes."
        ),
        costs={"mean": bench.raw(sums), "inference": bench.raw(scores)},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
