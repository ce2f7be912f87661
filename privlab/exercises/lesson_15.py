"""Exercises of lesson 15: an image from a gradient, masks that cancel, a defence."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import chi2

from .. import federated
from ..accounting import gaussian_epsilon
from ..attacks import inversion
from ..data import load_fashion
from ..exercise import Answers, Exercise, Mistake, Wrong, array, mapping, number


@cache
def _clothes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fashion-MNIST with 14 × 14 pixels, from 0 to 1, as rows: X, y, test X, test y."""
    fashion = load_fashion()

    def small(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255

    return small(fashion.X_train), fashion.y_train, small(fashion.X_test), fashion.y_test


def _masked_update(value: Any, what: str) -> np.ndarray:
    """Accept a vector of whole numbers."""
    found = array(1, "a vector of whole numbers", "Masks live in the integers.")(value, what)
    if found.size == 0:
        raise Wrong(f"{what} is empty; it should have one number for each of the update.")
    if (found != np.floor(found)).any():
        raise Wrong(f"{what} should hold whole numbers: masks live in the integers.")
    return found


# ---- 15.1 --------------------------------------------------------------------------------------

_RECONSTRUCT = "import numpy as np\n\ndef reconstruct(weight_gradient, bias_gradient):\n"


class ReadImage(Exercise):
    """Rebuild an image from the gradient of a dense layer."""

    label = "15.1"
    title = "An image from a noisy gradient"
    kinds = {
        "reconstruct": array(1, "a vector, one number a pixel", "Is something divided by zero?")
    }
    hints = (
        "Each unit gives an equation, row = bias gradient × image. Units at rest say 0 = 0, and a "
        "unit with a tiny bias gradient says little. How do you let the loud ones speak loudest?",
        "It is a regression without intercept: the rows on the bias gradient. For one pixel, the "
        "least squares slope of y on b is sum(b * y) / sum(b * b).",
        "return bias_gradient @ weight_gradient / (bias_gradient @ bias_gradient)",
    )
    reference = (
        _RECONSTRUCT
        + "    return bias_gradient @ weight_gradient / (bias_gradient @ bias_gradient)\n"
    )
    mistakes = tuple(
        Mistake(name, _RECONSTRUCT + body, says)
        for name, body, says in (
            (
                "the first unit",
                "    return weight_gradient[0] / (bias_gradient[0] or 1e-12)\n",
                "The first unit may be at rest",
            ),
            (
                "all quotients, dead units too",
                """    with np.errstate(all="ignore"):
        return (weight_gradient / bias_gradient[:, None]).mean(axis=0)
""",
                "NaN or infinity",
            ),
            (
                "the mean of the quotients",
                """    active = bias_gradient != 0
    return (weight_gradient[active] / bias_gradient[active, None]).mean(axis=0)
""",
                "each active unit counts the same",
            ),
            (
                "the loudest unit alone",
                """    loudest = np.abs(bias_gradient).argmax()
    return weight_gradient[loudest] / bias_gradient[loudest]
""",
                "the loudest unit alone",
            ),
            (
                "sum over sum",
                "    return weight_gradient.sum(axis=0) / bias_gradient.sum()\n",
                "cancel each other",
            ),
            (
                "stretched to 0…1",
                """    row = bias_gradient @ weight_gradient
    return (row - row.min()) / np.ptp(row)
""",
                "brightness is not",
            ),
            (
                "a row without division",
                "    return weight_gradient[np.abs(bias_gradient).argmax()]\n",
                "not divided",
            ),
            (
                "one number a unit",
                "    return weight_gradient.mean(axis=1)\n",
                "one number a unit",
            ),
        )
    )

    @staticmethod
    def _gradient(
        image: np.ndarray, rng: np.random.Generator, scale: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first layer's gradient of a network with 64 ReLU units; the first is at rest."""
        active = rng.random(64) < 0.5
        active[0] = False
        bias = scale * rng.normal(0, 0.1, 64) * active
        return np.outer(bias, image), bias

    @staticmethod
    def _read(answers: Answers, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        got = answers.reconstruct(weights, bias)
        if len(got) == weights.shape[1]:
            return got
        if len(got) == len(bias):
            raise Wrong(
                f"You return one number a unit ({len(bias)}). The image has one a pixel: "
                f"{weights.shape[1]}, as a row of weight_gradient has."
            )
        raise Wrong(f"The image has {weights.shape[1]} pixels; you return {len(got)} numbers.")

    def _exact(self, answers: Answers, image: np.ndarray, weights: Any, bias: Any) -> None:
        got = self._read(answers, weights, bias)
        if np.allclose(got, image, atol=1e-4):
            return
        told = f"A pixel is off by {np.abs(got - image).max():.2g} (pixels range from 0 to 1)."
        if not got.any():
            raise Wrong(
                f"{told} The first unit may be at rest: its gradient is 0, and so is yours."
            )
        # The image but for factor and offset: a line through the two explains it.
        centred = got - got.mean()
        if np.ptp(image) and centred @ centred > 0:
            alike = np.corrcoef(got, image)[0, 1]
            if alike > 0.9999 and abs(got.min()) < 1e-9 and abs(got.max() - 1) < 1e-9:
                raise Wrong(
                    f"{told} The pattern is right, the brightness is not: do not stretch it to "
                    "0…1; the division gives the pixels as they are."
                )
            if abs(alike) > 0.9999:
                raise Wrong(
                    f"{told} It is a multiple of the image, not divided by the right number: a row "
                    "is the unit's bias gradient times the image."
                )
        raise Wrong(told)

    def test_exact(self, answers: Answers, rng: np.random.Generator) -> None:
        """Gradients as they are, clipped and as an update; half the units are at rest."""
        for scale in (1.0, -0.05, 1e-4):  # the gradient, an update, a clipped gradient
            image = _clothes()[0][rng.integers(10_000)] * 0.8 + 0.1
            self._exact(answers, image, *self._gradient(image, rng, scale))

    def test_noise(self, answers: Answers, rng: np.random.Generator) -> str:
        """A client adds a little noise to every number; compare with least squares."""
        errors, best = [], []
        for _ in range(20):
            image = _clothes()[0][rng.integers(10_000)]
            weights, bias = self._gradient(image, rng)
            # The active units alone: ReLU units at rest are easy to tell without noise.
            weights += rng.normal(0, 0.01, weights.shape) * (bias != 0)[:, None]
            bias += rng.normal(0, 1e-5, bias.shape) * (bias != 0)
            got = self._read(answers, weights, bias)
            wanted = inversion.dense_input(weights, bias)
            # Pixels may be cut to 0…1: that only helps.
            errors.append(np.sqrt(((got - image) ** 2).mean()))
            best.append(np.sqrt(((wanted - image) ** 2).mean()))
            self._explain_noise(got, weights, bias)
        ratio = float(np.sqrt(np.square(errors).mean() / np.square(best).mean()))
        # Weighing by the sign of b alone is off by 1.25 times.
        if ratio > 1.15:
            raise Wrong(
                f"With a little noise your pixels are off by {np.mean(errors):.3f}; least squares "
                f"over all units is off by {np.mean(best):.3f}."
            )
        return (
            f"With noise on the rows of active units, a pixel is off by {np.mean(errors):.3f}; "
            f"least squares makes {np.mean(best):.3f}."
        )

    @staticmethod
    def _explain_noise(got: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> None:
        active = bias != 0
        quotients = weights[active] / bias[active, None]
        loudest = np.abs(bias[active]).argmax()
        explained = (
            (
                quotients[loudest],
                "You read the loudest unit alone. The others hold the same image under other "
                "noise: use them as well.",
            ),
            (
                quotients.mean(axis=0),
                "In your mean each active unit counts the same, and the quotient of one with a "
                "tiny bias gradient is nothing but noise.",
            ),
            (
                weights.sum(axis=0) / bias.sum(),
                "In a sum, bias gradients above and below zero cancel each other, and the noise "
                "does not.",
            ),
        )
        for value, why in explained:
            if np.allclose(got, value, atol=1e-9) or np.allclose(got, value.clip(0, 1), atol=1e-9):
                off = np.sqrt(((got - inversion.dense_input(weights, bias)) ** 2).mean())
                raise Wrong(f"Exact gradients: right. With a little noise, {off:.3f} off. {why}")

    def hidden_edges(self, answers: Answers, rng: np.random.Generator) -> None:
        """One active unit alone, the last; a single unit; a black image."""
        image = rng.random(30)
        for units, place in ((5, 4), (1, 0)):
            bias = np.zeros(units)
            bias[place] = -0.02
            self._exact(answers, image, np.outer(bias, image), bias)
        bias = rng.normal(size=8)
        if np.abs(self._read(answers, np.zeros((8, 30)), bias)).max() > 1e-9:
            raise Wrong("A gradient of zeros comes from a black image.")


# ---- 15.2 --------------------------------------------------------------------------------------

_MODULUS = 2**32
_MASK = "import numpy as np\n\ndef mask(update, client, seeds, number):\n"
_GENERATOR = "np.random.default_rng([seeds[client, other], number])"


def _masking(
    skip: str = "other == client",
    generator: str = _GENERATOR,
    draw: str = ".integers(2**32, size=len(update))",
    add: str = "total + stream if client < other else total - stream",
    start: str = "np.array(update, dtype=np.int64)",
    end: str = "total % 2**32",
) -> str:
    """Return an answer to exercise 15.2; what is given replaces a part of the right one."""
    return (
        _MASK
        + f"""    total = {start}
    for other in range(len(seeds)):
        if {skip}:
            continue
        stream = {generator}{draw}
        total = {add}
    return {end}
"""
    )


class Masks(Exercise):
    """Hide updates behind masks that cancel in the sum."""

    label = "15.2"
    title = "Masks that cancel"
    points = 2
    kinds = {"mask": _masked_update}
    hints = (
        "Two clients who share a seed can draw the same random vector. One adds it, the other "
        "subtracts it. How do they agree who does which, without a word?",
        "stream = np.random.default_rng([seeds[client, other], number]).integers(2**32, "
        "size=len(update)) is a vector that only these two know. Add it if client < other, else "
        "subtract it; skip yourself.",
        "Start with total = np.array(update, dtype=np.int64); for every other client add or "
        "subtract the stream; return total % 2**32.",
    )
    reference = _masking()
    mistakes = (
        Mistake("everybody adds", _masking(add="total + stream"), "both clients of a pair add"),
        Mistake("no remainder", _masking(end="total"), "outside 0 to"),
        Mistake("small masks", _masking(draw=".integers(1000, size=len(update))"), "spread over"),
        Mistake(
            "one number for all entries",
            _masking(draw=".integers(2**32)"),
            "the same mask in every entry",
        ),
        Mistake(
            "the client alone",
            _masking(generator=_GENERATOR.replace("other", "client")),
            "does not depend on the seed it shares",
        ),
        Mistake(
            "everybody's seed",
            _masking(generator="np.random.default_rng([15, number])"),
            "whatever the seeds are",
        ),
        Mistake(
            "the round forgotten",
            _masking(generator="np.random.default_rng(seeds[client, other])"),
            "the same masks in two rounds",
        ),
        Mistake("itself as well", _masking(skip="False"), "with itself"),
        Mistake("no mask", _MASK + "    return np.array(update) % 2**32\n", "as it is"),
        Mistake("exclusive or", _masking(add="total ^ stream"), "exclusive or"),
        Mistake(
            "encoded once more",
            _masking(start="np.array(update, dtype=np.int64) * 2**20"),
            "integers already",
        ),
        Mistake(
            "half the range",
            _masking(draw=".integers(2**32, size=len(update)) // 2 * 2"),
            "lowest bit",
        ),
        Mistake(
            "neighbours only",
            _masking(skip="(client - other) % len(seeds) not in (1, len(seeds) - 1)"),
            "without a mask of their own",
        ),
        Mistake(
            "seeds cut short",
            _masking(generator="np.random.default_rng([seeds[client, other] % 1000, number])"),
            "can try out all of them",
        ),
    )

    @staticmethod
    def _seeds(clients: int, rng: np.random.Generator) -> np.ndarray:
        upper = np.triu(rng.integers(1, 2**62, (clients, clients)))
        return upper + np.triu(upper, 1).T

    @staticmethod
    def _masked(
        answers: Answers, update: np.ndarray, client: int, seeds: np.ndarray, number: int = 1
    ) -> np.ndarray:
        got = answers.mask(update, client, seeds, number)
        if len(got) != len(update):
            raise Wrong(f"The update has {len(update)} entries, the masked one {len(got)}.")
        if got.min() < 0 or got.max() >= _MODULUS:
            raise Wrong(
                f"The masked update holds {got.max() if got.max() >= _MODULUS else got.min():.0f}, "
                "outside 0 to 2**32 - 1: its size tells of what is inside. Take the remainder "
                "modulo 2**32 at the end."
            )
        return got.astype(np.int64)

    def test_sum(self, answers: Answers, rng: np.random.Generator) -> str:
        """The server adds up what it gets, for 2, 3 and 7 clients."""
        for clients in (2, 3, 7):
            seeds = self._seeds(clients, rng)
            updates = rng.integers(_MODULUS, size=(clients, 50))
            sent = np.stack([self._masked(answers, updates[k], k, seeds) for k in range(clients)])
            if np.array_equal(sent[0], updates[0]):
                raise Wrong("The server gets the update as it is: nothing is masked.")
            if np.array_equal(sent.sum(axis=0) % _MODULUS, updates.sum(axis=0) % _MODULUS):
                continue
            raise Wrong(self._why(answers, clients, seeds, updates, sent))
        return "The masks of 2, 3 and 7 clients cancel: the server's sum is exact."

    def _why(
        self,
        answers: Answers,
        clients: int,
        seeds: np.ndarray,
        updates: np.ndarray,
        sent: np.ndarray,
    ) -> str:
        told = f"The sum of the masked updates of {clients} clients is not that of the updates."
        masks = (sent - updates) % _MODULUS
        if not np.array_equal(self._masked(answers, updates[0], 0, seeds), sent[0]):
            return f"{told} One client masks the same update differently in a second call."
        other = seeds.copy()
        other[0, 1] = other[1, 0] = seeds[0, 1] + 1
        if np.array_equal(self._masked(answers, updates[0], 0, other), sent[0]):
            other = seeds + 1
            if np.array_equal(self._masked(answers, updates[0], 0, other), sent[0]):
                return f"{told} Client 0 draws the same mask whatever the seeds are."
            return (
                f"{told} What client 0 sends does not depend on the seed it shares with client 1."
            )
        alone = seeds.copy()
        np.fill_diagonal(alone, np.diag(seeds) + 1)
        if not np.array_equal(self._masked(answers, updates[0], 0, alone), sent[0]):
            return f"{told} Client 0 also draws a mask with itself, which nobody takes away."
        flipped = self._masked(answers, updates[0] ^ 1, 0, seeds)
        step = (flipped - sent[0]) % _MODULUS
        signs = np.where(updates[0] & 1, _MODULUS - 1, 1)
        if np.array_equal(step, signs * 2**20 % _MODULUS):
            return f"{told} The update holds integers already: leave encode out."
        if not np.array_equal(step, signs):
            return (
                f"{told} One more in the update is not one more in what is sent. Is it an "
                "exclusive or? Masks must be added and subtracted."
            )
        if clients == 2 and np.array_equal(masks[0], masks[1]):
            return f"{told} The masks are equal: both clients of a pair add, or both subtract."
        return f"{told} For each pair, one must add what the other subtracts."

    def test_view(self, answers: Answers, rng: np.random.Generator) -> str:
        """What the server sees of one client: uniform, whatever the update."""
        entries, clients = 4_000, 3
        views = {}
        inputs = {
            "zeros": np.zeros(entries, int),
            "rising numbers": np.arange(entries),
            "2**32 - 1": np.full(entries, _MODULUS - 1),
        }
        worst, seeds = 1.0, self._seeds(clients, rng)
        one, other = (self._masked(answers, inputs["zeros"], 0, seeds + k) for k in (0, 1))
        if np.array_equal(one, other):
            raise Wrong(
                "Client 0 draws the same mask whatever the seeds are, so the server can draw it "
                "as well."
            )
        for name, update in inputs.items():
            for client in range(clients):
                seen = self._masked(answers, update, client, self._seeds(clients, rng))
                views[name, client] = seen
                if np.ptp((seen - update) % _MODULUS) == 0:
                    raise Wrong(
                        "It is the same mask in every entry: differences between entries pass "
                        "through. Draw one number for each (size=len(update))."
                    )
                worst = min(worst, self._uniform(seen, name))
        return (
            f"{len(views)} views of the server, of three very different updates, all look uniform "
            f"in 0 … 2**32 - 1 (smallest p-value of 36 tests: {worst:.1g}; about 0.03 is usual)."
        )

    def test_pairs(self, answers: Answers, rng: np.random.Generator) -> str:
        """Every seed of a client brings a full mask; those of others bring none."""
        clients, update = 5, np.zeros(2_000, int)
        seeds = self._seeds(clients, rng)
        for client in range(clients):
            sent = self._masked(answers, update, client, seeds)
            for other in set(range(clients)) - {client}:
                changed = seeds.copy()
                changed[client, other] = changed[other, client] = rng.integers(1, 2**62)
                step = (self._masked(answers, update, client, changed) - sent) % _MODULUS
                told = (
                    f"Of 5 clients, what client {client} sends hardly depends on the seed it "
                    f"shares with client {other}: "
                )
                # A right answer has a zero or six equal numbers here once in 10,000 checks.
                if (step == 0).any():
                    raise Wrong(
                        f"{told}{(step == 0).mean():.0%} of the entries are without a mask of "
                        "their own, so the others can team up with the server."
                    )
                if len(np.unique(step)) < 1_995:
                    raise Wrong(f"{told}entries have too few values, which can be tried out.")
                self._uniform(step, "zeros, less what it sees under another seed,")
        foreign = seeds.copy()
        foreign[2, 3] = foreign[3, 2] = rng.integers(1, 2**62)
        before, after = (self._masked(answers, update, 0, each) for each in (seeds, foreign))
        if (before != after).any():
            raise Wrong(
                "What client 0 sends depends on the seed of clients 2 and 3, which it does not "
                "hold."
            )
        return "Every shared seed counts: to unmask a client, all others must team up."

    def test_seeds(self, answers: Answers, rng: np.random.Generator) -> None:
        """Three thousand seeds give as many masks; each bit of a seed counts, in every round."""
        views = {
            tuple(self._masked(answers, np.zeros(3, int), 0, np.array([[0, seed], [seed, 0]])))
            for seed in rng.integers(1, 2**62, 3_000)
        }
        if len(views) < 3_000:
            raise Wrong(
                f"3,000 seeds give {len(views):,} masks only: a server that knows your code can "
                "try out all of them. Use the whole seed, not a part of it."
            )
        for number_of_round in (0, 1, 3):
            for bit in range(62):
                seed = int(rng.integers(1, 2**62))
                one, other = (
                    self._masked(
                        answers, np.zeros(3, int), 0, np.array([[0, s], [s, 0]]), number_of_round
                    )
                    for s in (seed, seed ^ (1 << bit))
                )
                if np.array_equal(one, other):
                    raise Wrong(
                        f"In round {number_of_round} two seeds that differ in bit {bit} of 62 give "
                        "the same mask: a server that knows your code can try out all that remain. "
                        "Use the whole seed, in every round."
                    )

    def test_rounds(self, answers: Answers, rng: np.random.Generator) -> str:
        """Ten rounds with the same seeds: no two masks have to do with each other."""
        seeds, update = self._seeds(2, rng), np.zeros(1_000, int)
        masks = {
            n: self._masked(answers, update, 0, seeds, n) for n in (0, 1, 2, 3, 4, 6, 7, 12, 13)
        }
        others = self._seeds(2, rng)
        steps = [
            self._masked(answers, update, 0, each, 1) - self._masked(answers, update, 0, each, 0)
            for each in (seeds, others)
        ]
        if steps[0].any() and np.array_equal(steps[0] % _MODULUS, steps[1] % _MODULUS):
            raise Wrong(
                "What you add by round does not depend on the seeds, so the server can take "
                "it away."
            )
        factors = np.arange(1, 15)
        for (first, one), (second, other) in combinations(masks.items(), 2):
            told = f"The masks of rounds {first} and {second}"
            if np.mean(one == other) > 0.01:
                raise Wrong(
                    f"{told} are the same masks in two rounds: the server subtracts one message "
                    "from the other and reads how the update has changed. A mask is good for one "
                    "message; draw by seed and round."
                )
            # Equal numbers anywhere: the same stream, moved or in another order.
            multiples = [(factors[:, None] * each % _MODULUS) for each in (one, other)]
            tied = (multiples[0][:, None] == multiples[1]).mean(axis=2).max()
            if np.isin(one, other).mean() > 0.02 or tied > 0.02:
                raise Wrong(
                    f"{told} are made of the same numbers, moved, reordered or multiplied: the "
                    "server finds out how. Start a new stream from seed and round."
                )
        for number_of_round in (1, 13):
            step = (masks[number_of_round] - masks[0]) % _MODULUS
            self._uniform(step, "zeros, less that of another round,")
        return "Ten rounds have masks of their own."

    @staticmethod
    def _uniform(seen: np.ndarray, name: str) -> float:
        """Test each byte; 128 tests at 1e-6 accuse a right answer once in 7,800 checks."""
        worst = 1.0
        for shift in (0, 8, 16, 24):
            counts = np.bincount((seen >> shift) % 256, minlength=256)
            expected = len(seen) / 256
            p = float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))
            worst = min(worst, p)
            if p >= 1e-6:
                continue
            told = f"What the server sees of an update of {name} is not uniform:"
            odd = (seen & 1).mean()
            if not 0.4 < odd < 0.6:
                raise Wrong(
                    f"{told} {odd:.0%} of the lowest bits are 1. Draw from all of 0 … 2**32 - 1."
                )
            raise Wrong(
                f"{told} half of the numbers lie between {np.quantile(seen, 0.25):.3g} and "
                f"{np.quantile(seen, 0.75):.3g}, and byte {shift // 8 + 1} of 4 has values that "
                "are too frequent. The masks are not spread over all of 0 … 2**32 - 1."
            )
        return worst

    def hidden_edges(self, answers: Answers, rng: np.random.Generator) -> None:
        """More clients, an update of one entry."""
        seeds = self._seeds(12, rng)
        updates = rng.integers(_MODULUS, size=(12, 1))
        sent = sum(self._masked(answers, updates[k], k, seeds) for k in range(12))
        if not np.array_equal(sent % _MODULUS, updates.sum(axis=0) % _MODULUS):
            raise Wrong("With 12 clients and one entry the masks do not cancel.")


# ---- 15.3 --------------------------------------------------------------------------------------

#: The federation that 15.3 defends.
CLIENTS, ROUNDS, LEARNING_RATE, TARGET_DELTA = 100, 20, 0.3, 1e-5

#: What the defence must reach: test accuracy, and ε of all rounds (one client's update replaced by
#: zeros). The reference reaches 72 % and spreads by 1.4 points over students: z = 4.9.
FLOOR, MOST_EPSILON = 0.65, 4.0

_LIMITS = {
    "batch_size": (1, 40, True),
    "local_steps": (1, 10, True),
    "max_norm": (1e-3, 100, False),
    "noise_multiplier": (0, 1000, False),
}


def epsilon_of(noise_multiplier: float, rounds: int = ROUNDS, delta: float = TARGET_DELTA) -> float:
    """Return ε of some rounds of Gaussian noise on the sum; one client's update zeroed out.

    Rounds compose to one Gaussian step of σ / √rounds.
    """
    if noise_multiplier == 0:
        return float("inf")
    return gaussian_epsilon(np.sqrt(rounds) / noise_multiplier, delta)


def _cut(rows: np.ndarray, bound: float) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, bound / np.maximum(lengths, 1e-300))


def _clip_and_sum(
    updates: np.ndarray, max_norm: float, noise_multiplier: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the sum of clipped updates with everybody's shares of the noise, drawn at once."""
    noise = rng.normal(0, noise_multiplier * max_norm, updates.shape[1])
    return _cut(updates, max_norm).sum(axis=0) + noise


def _settings(value: Any, what: str) -> dict:
    """Accept a dict with the four settings, each in its range."""
    value = mapping(value, what)
    if set(value) != set(_LIMITS):
        raise Wrong(f"{what} should have the keys {', '.join(_LIMITS)}.")
    found = {}
    for name, (low, high, whole) in _LIMITS.items():
        found[name] = number(value[name], name)
        if not low <= found[name] <= high or (whole and found[name] != int(found[name])):
            kind = "a whole number" if whole else "a number"
            raise Wrong(f"{name} should be {kind} from {low:g} to {high:g}, not {found[name]:g}.")
        if whole:
            found[name] = int(found[name])
    return found


def _defence(batch: int, steps: int, norm: float, noise: float) -> str:
    return (
        f'settings = {{"batch_size": {batch}, "local_steps": {steps}, "max_norm": {norm}, '
        f'"noise_multiplier": {noise}}}\n'
    )


class Defend(Exercise):
    """Choose what stops the attack and leaves a model."""

    label = "15.3"
    time_limit = 60
    title = "Defend a hundred clients"
    points = 3
    kinds = {"settings": _settings}
    hints = (
        "Start with what the attack cannot get around: ε. Which noise_multiplier gives ε = 4 over "
        "20 rounds? They compose to one step of σ / √20.",
        "The noise in the mean update is σ × max_norm / 100 a parameter. Make the updates worth "
        "it: many images and local steps. Then try max_norm 0.1, 0.3 and 1.",
        'ε = 4 needs a noise_multiplier of about 5. With "batch_size": 40 and "local_steps": 10 '
        "the updates point the same way, and survive it.",
    )
    reference = _defence(25, 10, 1.0, 5.0)
    mistakes = (
        Mistake("no noise", _defence(1, 1, 1.0, 0.0), "of 100 images"),
        Mistake(
            "batch and steps instead of noise",
            _defence(40, 10, 1.0, 0.0),
            "the next server sends more bins",
        ),
        Mistake(
            "just enough against this attack", _defence(40, 5, 1.0, 0.1), "stops this attack, and"
        ),
        Mistake("the lesson's own values", _defence(20, 5, 1.0, 3.0), "The promise is near"),
        Mistake("noise drowns the model", _defence(40, 5, 1.0, 60.0), "noise of one parameter"),
        Mistake("a generous clip", _defence(40, 5, 15.0, 6.0), "longer than any update"),
        Mistake("a tight clip", _defence(40, 5, 0.01, 6.0), "hardly moves"),
        Mistake("one image a client", _defence(1, 1, 1.0, 6.0), "too few images or steps"),
    )

    @staticmethod
    def _clients(images: int, rng: np.random.Generator) -> tuple[federated.Clients, np.ndarray]:
        X, y, _, _ = _clothes()
        # The second half is public: the server sets its thresholds by it.
        chosen = rng.permutation(5_000)[: CLIENTS * images].reshape(CLIENTS, images)
        return federated.make_clients(X, y, list(chosen)), X[chosen.ravel()].reshape(-1, 14, 14)

    def _attack(self, settings: dict, rng: np.random.Generator) -> tuple[int, int]:
        """A server sends an imprint layer, and reads the noisy sum of all updates.

        Returns:
            How many of the clients' images it reads, and how many they have. Read is what is as
            near as 30 dB to the original; no unrelated image is.
        """
        units = 128
        X, *_ = _clothes()
        model = federated.Network(196, 10, units)
        weights, biases = inversion.imprint_layer(X[5_000:], units)
        start, at = np.zeros(model.parameters), model.layout
        start[at["hidden weights"]], start[at["hidden bias"]] = weights.T.ravel(), biases
        start[at["weights"]] = np.tile(rng.normal(0, 10 / units, 10), units)
        clients, images = self._clients(settings["batch_size"], rng)
        sent = federated.train_locally(
            model, clients, np.arange(CLIENTS), start, settings["local_steps"], LEARNING_RATE, rng
        )
        total = _clip_and_sum(sent - start, settings["max_norm"], settings["noise_multiplier"], rng)
        layer = total[at["hidden weights"]].reshape(196, units).T
        guesses = inversion.read_imprint(layer, total[at["hidden bias"]], smallest=1e-4)
        # All distances at once: |a - b|² = |a|² - 2ab + |b|².
        originals, guesses = images.reshape(-1, 196), guesses.clip(0, 1)
        squares = (originals**2).sum(axis=1)[:, None] + (guesses**2).sum(axis=1)
        nearest = (squares - 2 * originals @ guesses.T).min(axis=1) / 196
        return int((nearest < 1e-3).sum()), len(images)

    def _train(self, settings: dict, rng: np.random.Generator) -> tuple[float, float]:
        """Train twenty rounds with honest parties.

        Returns:
            Test accuracy, and the longest update of the first round.
        """
        _, _, X_test, y_test = _clothes()
        model, longest = federated.Network(196, 10, hidden=32), []
        clients, _ = self._clients(settings["batch_size"], rng)

        def add_private_mean(weights: np.ndarray, got: federated.Received) -> np.ndarray:
            longest.append(np.linalg.norm(got.updates, axis=1).max())
            bound, noise = settings["max_norm"], settings["noise_multiplier"]
            return weights + _clip_and_sum(got.updates, bound, noise, rng) / CLIENTS

        *_, last = federated.fedavg(
            model, clients, ROUNDS, settings["local_steps"], LEARNING_RATE, rng,
            server_step=add_private_mean,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            accuracy = float((model.predict(last.weights, X_test) == y_test).mean())
        return accuracy, longest[0]

    def test_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """The imprint attack on the sum of all clients."""
        settings = answers["settings"]
        read, images = self._attack(settings, rng)
        if read:
            raise Wrong(
                f"The server reads {read} of {images:,} images out of the sum of 100 clients."
            )
        return f"The server's imprint layer reads none of {images:,} images out of the sum."

    def test_promise(self, answers: Answers, rng: np.random.Generator) -> str:
        """ε of twenty rounds."""
        epsilon = epsilon_of(answers["settings"]["noise_multiplier"])
        if np.isinf(epsilon):
            raise Wrong(
                "This attack read nothing: there are more images than bins. But without noise "
                "nothing is promised (ε = ∞), and the next server sends more bins."
            )
        if epsilon > MOST_EPSILON:
            told = f"ε = {epsilon:,.3g} over {ROUNDS} rounds (δ = {TARGET_DELTA:g})"
            if epsilon > 20:
                raise Wrong(
                    f"Your noise stops this attack, and promises nothing: {told}. A better attack "
                    f"may come; {MOST_EPSILON:g} is allowed."
                )
            raise Wrong(f"The promise is near: {told}, and {MOST_EPSILON:g} is allowed.")
        return f"Over {ROUNDS} rounds ε = {epsilon:.2f} at δ = {TARGET_DELTA:g}, for each client."

    def test_utility(self, answers: Answers, rng: np.random.Generator) -> str:
        """Accuracy on test images; runs of one setting differ by a point or so."""
        settings = answers["settings"]
        accuracy, longest = self._train(settings, rng)
        if accuracy >= FLOOR:
            return f"Accuracy {accuracy:.1%}, and {FLOOR:.0%} was asked for. Can ε be smaller?"
        told = f"Private, but the accuracy is {accuracy:.1%}; {FLOOR:.0%} is asked for."
        bound, noise = settings["max_norm"], settings["noise_multiplier"]
        if bound > longest:
            raise Wrong(
                f"{told} Your max_norm of {bound:g} is longer than any update of the first round "
                f"({longest:.2f}): nothing is clipped, and the noise grows with it."
            )
        if bound < 0.1 * longest:
            raise Wrong(
                f"{told} At max_norm {bound:g} the model hardly moves in {ROUNDS} rounds: updates "
                f"are up to {longest:.2f} long."
            )
        if epsilon_of(noise) < 1:
            raise Wrong(
                f"{told} In the mean update, the noise of one parameter is "
                f"{noise * bound / CLIENTS:.2g}. Your ε = {epsilon_of(noise):.2f} is far below "
                f"{MOST_EPSILON:g}."
            )
        raise Wrong(f"{told} Are there too few images or steps to learn from, or too much noise?")

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other clients, other noise; a point of slack."""
        settings = answers["settings"]
        read, images = self._attack(settings, rng)
        if read:
            raise Wrong(f"On other clients, the server reads {read} of {images:,} images.")
        accuracy, _ = self._train(settings, rng)
        if accuracy < FLOOR - 0.02:
            raise Wrong(f"On other clients the accuracy is {accuracy:.1%}.")


q1, q2, q3 = EXERCISES = (ReadImage(), Masks(), Defend())
