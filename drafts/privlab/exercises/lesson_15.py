"""Exercises of lesson 15: an image from a gradient, masks that cancel, sums by user, a defence."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy.stats import chi2

from .. import federated
from ..attacks import inversion
from ..audit import AuditReport
from ..data import load_fashion
from ..exercise import Answers, Exercise, Kind, Mistake, Wrong, mapping, number
from .audited import LearnersMechanism, Neighbours, audit_answer
from .accounting import gaussian_sigma
from .lesson_06 import DELTA, SAMPLES


@cache
def _clothes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fashion-MNIST with 14 × 14 pixels, from 0 to 1, as rows: X, y, test X, test y."""
    fashion = load_fashion()

    def small(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255

    return small(fashion.X_train), fashion.y_train, small(fashion.X_test), fashion.y_test


def _vector(words: str, whole: bool = False) -> Kind:
    """Return a kind: vectors of finite numbers, or of whole numbers."""

    def kind(value: Any, what: str) -> np.ndarray:
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            array = np.array(None)
        if array.dtype.kind not in "iuf" or array.ndim != 1 or array.size == 0:
            raise Wrong(f"{what} should be {words}, but it is {_seen(value)}.")
        if not np.isfinite(array).all():
            raise Wrong(f"{what} holds NaN or infinity. Is something divided by zero?")
        if whole and (array != np.floor(array)).any():
            raise Wrong(f"{what} should hold whole numbers: masks live in the integers.")
        return array if whole else array.astype(float)

    return kind


def _seen(value: Any) -> str:
    if value is None:
        return "None (is there a `return` line?)"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} ({value.dtype})"
    return f"a {type(value).__name__}"


# ---- 15.1 --------------------------------------------------------------------------------------

_RECONSTRUCT = "import numpy as np\n\ndef reconstruct(weight_gradient, bias_gradient):\n"


class ReadImage(Exercise):
    """Rebuild an image from the gradient of a dense layer."""

    label = "15.1"
    title = "An image from a noisy gradient"
    kinds = {"reconstruct": _vector("a vector, one number a pixel")}
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
        for _ in range(5):
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
        # Weights |b|, or its signs, come within 1.3; one row alone at 2.5 or more.
        if ratio > 1.6:
            raise Wrong(
                f"With a little noise your pixels are off by {np.mean(errors):.3f}; least squares "
                f"over all units is off by {np.mean(best):.3f}."
            )
        return (
            f"With noise on every number, a pixel is off by {np.mean(errors):.3f}; least squares "
            f"makes {np.mean(best):.3f}."
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
_MASK = "import numpy as np\n\ndef mask(update, client, seeds):\n"


def _masking(
    loop: str = "range(len(seeds))",
    skip: str = "other == client",
    stream: str = "np.random.default_rng(seeds[client, other]).integers(2**32, size=len(update))",
    add: str = "total + stream if client < other else total - stream",
    end: str = "total % 2**32",
) -> str:
    """Return an answer to exercise 15.2; what is given replaces a part of the right one."""
    return (
        _MASK
        + f"""    total = np.array(update, dtype=np.int64)
    for other in {loop}:
        if {skip}:
            continue
        stream = {stream}
        total = {add}
    return {end}
"""
    )


class Masks(Exercise):
    """Hide updates behind masks that cancel in the sum."""

    label = "15.2"
    title = "Masks that cancel"
    points = 2
    kinds = {"mask": _vector("a vector of whole numbers", whole=True)}
    hints = (
        "Two clients who share a seed can draw the same random vector. One adds it, the other "
        "subtracts it. How do they agree who does which, without a word?",
        "np.random.default_rng(seeds[client, other]).integers(2**32, size=len(update)) is a vector "
        "that only these two know. Add it if client < other, else subtract it; skip yourself.",
        "Start with total = np.array(update, dtype=np.int64); for every other client add or "
        "subtract the stream; return total % 2**32.",
    )
    reference = _masking()
    mistakes = (
        Mistake(
            "everybody adds", _masking(add="total + stream"), "both clients of a pair add"
        ),
        Mistake("no remainder", _masking(end="total"), "outside 0 to"),
        Mistake(
            "small masks",
            _masking(stream="np.random.default_rng(seeds[client, other])"
                     ".integers(1000, size=len(update))"),
            "not spread over all of",
        ),
        Mistake(
            "one number for all entries",
            _masking(stream="np.random.default_rng(seeds[client, other]).integers(2**32)"),
            "the same mask in every entry",
        ),
        Mistake("the client alone", _masking(
            stream="np.random.default_rng(seeds[client, client]).integers(2**32, size=len(update))"
        ), "does not depend on the seed it shares"),
        Mistake(
            "everybody's seed",
            _masking(stream="np.random.default_rng(15).integers(2**32, size=len(update))"),
            "whatever the seeds are",
        ),
        Mistake(
            "itself as well",
            _masking(skip="False"),
            "with itself",
        ),
        Mistake("no mask", _MASK + "    return np.array(update) % 2**32\n", "as it is"),
        Mistake(
            "exclusive or",
            _masking(add="total ^ stream"),
            "exclusive or",
        ),
        Mistake(
            "half the range",
            _masking(stream="np.random.default_rng(seeds[client, other])"
                     ".integers(2**32, size=len(update)) // 2 * 2"),
            "lowest bit",
        ),
    )  # fmt: skip

    @staticmethod
    def _seeds(clients: int, rng: np.random.Generator) -> np.ndarray:
        upper = np.triu(rng.integers(1, 2**31, (clients, clients)))
        return upper + np.triu(upper, 1).T

    @staticmethod
    def _masked(answers: Answers, update: np.ndarray, client: int, seeds: np.ndarray) -> np.ndarray:
        got = answers.mask(update, client, seeds)
        if len(got) != len(update):
            raise Wrong(f"The update has {len(update)} entries, the masked one {len(got)}.")
        if got.min() < 0 or got.max() >= _MODULUS:
            raise Wrong(
                f"The masked update holds {got.max() if got.max() >= _MODULUS else got.min()}, "
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
        if not np.array_equal(step, signs):
            return (
                f"{told} One more in the update is not one more in what is sent. Is it an "
                "exclusive or? Masks must be added and subtracted."
            )
        if clients == 2 and np.array_equal(masks[0], masks[1]):
            return f"{told} The masks are equal: both clients of a pair add, or both subtract."
        return f"{told} For each pair, one must add what the other subtracts."

    def test_pairs(self, answers: Answers, rng: np.random.Generator) -> str:
        """Every seed of a client changes what it sends; those of others do not."""
        clients = 5
        seeds, update = self._seeds(clients, rng), rng.integers(_MODULUS, size=40)
        for client in range(clients):
            sent = self._masked(answers, update, client, seeds)
            if np.array_equal(self._masked(answers, update, client, seeds + 1), sent):
                raise Wrong(
                    f"Client {client} draws the same mask whatever the seeds are, so the server "
                    "can draw it as well."
                )
            for other in set(range(clients)) - {client}:
                changed = seeds.copy()
                changed[client, other] = changed[other, client] = seeds[client, other] + 1
                if np.mean(self._masked(answers, update, client, changed) == sent) > 0.2:
                    raise Wrong(
                        f"Of 5 clients, what client {client} sends is the same whatever seed it "
                        f"shares with client {other}. Without a mask for every pair, the others "
                        "can team up with the server."
                    )
        return "Every shared seed counts: to unmask a client, all others must team up."

    def test_view(self, answers: Answers, rng: np.random.Generator) -> str:
        """What the server sees of one client: uniform, whatever the update."""
        entries, clients = 4_000, 3
        views = {}
        inputs = {
            "zeros": np.zeros(entries, int),
            "rising numbers": np.arange(entries),
            "2**32 - 1": np.full(entries, _MODULUS - 1),
        }
        worst = 1.0
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
            f"in 0 … 2**32 - 1 (smallest p-value {worst:.3f})."
        )

    @staticmethod
    def _uniform(seen: np.ndarray, name: str) -> float:
        """Test highest and lowest bits; 36 tests at 1e-6 accuse a right answer once in 27,000."""
        worst = 1.0
        for shift, bits, where in ((24, 6, ""), (0, 1, "lowest"), (0, 6, ""), (31, 1, "highest")):
            if bits == 6 and shift:
                shift = 26
            counts = np.bincount((seen >> shift) % 2**bits, minlength=2**bits)
            expected = len(seen) / 2**bits
            p = float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 2**bits - 1))
            worst = min(worst, p)
            if p < 1e-6:
                told = f"What the server sees of an update of {name} is not uniform:"
                if where == "lowest" and shift == 0:
                    raise Wrong(
                        f"{told} {counts[1] / len(seen):.0%} of the lowest bits are 1. Draw from "
                        "all of 0 … 2**32 - 1."
                    )
                spread = f"half of the numbers lie between {np.quantile(seen, 0.25):.3g} and "
                raise Wrong(
                    f"{told} {spread}{np.quantile(seen, 0.75):.3g}. The masks are not spread over "
                    "all of 0 … 2**32 - 1."
                )
        return worst

    def hidden_edges(self, answers: Answers, rng: np.random.Generator) -> None:
        """More clients, an update of one entry, the same seeds for another update."""
        seeds = self._seeds(12, rng)
        updates = rng.integers(_MODULUS, size=(12, 1))
        sent = sum(self._masked(answers, updates[k], k, seeds) for k in range(12))
        if not np.array_equal(sent % _MODULUS, updates.sum(axis=0) % _MODULUS):
            raise Wrong("With 12 clients and one entry the masks do not cancel.")


# ---- 15.3 --------------------------------------------------------------------------------------

_SUM = "import numpy as np\n\ndef private_sum(updates, max_norm, noise_multiplier, rng):\n"
_TOTALS = "    totals = np.array([user.sum(axis=0) for user in updates])\n"
_CUT = """    norms = np.linalg.norm(totals, axis=1, keepdims=True)
    clipped = totals * np.minimum(1, max_norm / np.maximum(norms, 1e-12))
"""
_NOISE = "    noise = rng.normal(0, noise_multiplier * max_norm, totals.shape[1])\n"


def _cut(rows: np.ndarray, bound: float) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, bound / np.maximum(lengths, 1e-300))


class UserSum(Exercise):
    """A noisy sum in which each user counts for a bounded amount."""

    label = "15.3"
    title = "Clip the user, not the record"
    points = 2
    kinds = {"private_sum": _vector("a vector, one number a parameter")}
    hints = (
        "Whom does the promise protect? Ask how far the sum can move when all rows of one user "
        "appear at once.",
        "Add up each user's rows first, then clip that total to max_norm, then add the totals up, "
        "then add the noise: once, for each parameter.",
        "totals = np.array([user.sum(axis=0) for user in updates]); clip the rows of totals; "
        "return clipped.sum(axis=0) + rng.normal(0, noise_multiplier * max_norm, "
        "totals.shape[1])",
    )
    reference = _SUM + _TOTALS + _CUT + _NOISE + "    return clipped.sum(axis=0) + noise\n"
    mistakes = tuple(
        Mistake(name, _SUM + body, says)
        for name, body, says in (
            (
                "each record is clipped",
                "    totals = np.vstack(updates)\n"
                + _CUT
                + _NOISE
                + "    return clipped.sum(axis=0) + noise\n",
                "clip each record",
            ),
            (
                "nothing is clipped",
                _TOTALS + _NOISE + "    return totals.sum(axis=0) + noise\n",
                "Nothing is clipped",
            ),
            (
                "the sum is clipped",
                _TOTALS
                + """    total = totals.sum(axis=0)
    total = total * min(1, max_norm / max(np.linalg.norm(total), 1e-12))
"""
                + _NOISE
                + "    return total + noise\n",
                "clip the sum of all users",
            ),
            ("no noise", _TOTALS + _CUT + "    return clipped.sum(axis=0)\n", "no noise in it"),
            (
                "noise from a fixed seed",
                _TOTALS
                + _CUT
                + "    rng = np.random.default_rng(15)\n"
                + _NOISE
                + "    return clipped.sum(axis=0) + noise\n",
                "same in every call",
            ),
            (
                "noise without the bound",
                _TOTALS
                + _CUT
                + "    noise = rng.normal(0, noise_multiplier, totals.shape[1])\n"
                + "    return clipped.sum(axis=0) + noise\n",
                "max_norm is missing",
            ),
            (
                "one noise for all parameters",
                _TOTALS
                + _CUT
                + "    noise = rng.normal(0, noise_multiplier * max_norm)\n"
                + "    return clipped.sum(axis=0) + noise\n",
                "one and the same number",
            ),
            (
                "noise of each user",
                _TOTALS
                + _CUT
                + "    noise = rng.normal(0, noise_multiplier * max_norm, totals.shape)\n"
                + "    return (clipped + noise).sum(axis=0)\n",
                "every user adds the whole noise",
            ),
            (
                "a share that is too small",
                _TOTALS
                + _CUT
                + "    share = noise_multiplier * max_norm / len(totals)\n"
                + "    return (clipped + rng.normal(0, share, totals.shape)).sum(axis=0)\n",
                "variances add",
            ),
            (
                "the mean of the users",
                _TOTALS
                + _CUT
                + _NOISE
                + "    return (clipped.sum(axis=0) + noise) / len(totals)\n",
                "how many users",
            ),
        )
    )

    def _runs(
        self, answers: Answers, arguments: tuple, times: int, rng: np.random.Generator
    ) -> np.ndarray:
        outputs = answers.sample("private_sum", arguments, times, rng)
        size = arguments[0][0].shape[1]
        lengths = {len(output) for output in outputs}
        if lengths != {size}:
            raise Wrong(f"There are {size} parameters, but your sum has {max(lengths)} entries.")
        return np.array(outputs)

    @staticmethod
    def _users(rng: np.random.Generator, bound: float) -> list[np.ndarray]:
        """Users with 0 to 12 rows: nobody, within the bound, beyond it, many short rows."""
        users = [np.zeros((0, 3)), rng.normal(0, 0.1 * bound, (1, 3))]
        users.append(rng.normal(0, 3 * bound, (4, 3)))
        for rows in (5, 12):
            users.append(np.full((rows, 3), 0.4 * bound) * rng.choice([-1, 1], 3))
        return users

    def test_sum(self, answers: Answers, rng: np.random.Generator) -> str:
        """Mean and noise of the sum, for users with none, one and many records."""
        bound, sigma = 2.5, 1.4
        users = self._users(rng, bound)
        runs = self._runs(answers, (users, bound, sigma), 2_000, rng)
        totals = np.array([user.sum(axis=0) for user in users])
        spread = runs.std(axis=0)
        if spread.max() < 1e-9:
            if np.allclose(runs[0], _cut(totals, bound).sum(axis=0)):
                raise Wrong("The sum has no noise in it: it is exact.")
            raise Wrong("The sum is the same in every call: anybody can take the noise away.")
        noise = runs - runs.mean(axis=0)
        if np.ptp(noise, axis=1).std() < 1e-6 * spread.max():
            raise Wrong(
                "The noise is one and the same number for all parameters: a difference of two "
                "parameters is free of it."
            )
        self._check_mean(runs, users, totals, bound)
        self._check_scale(runs, bound, sigma, len(users))
        kurtosis = float((noise**4).mean() / (noise**2).mean() ** 2)
        # 6,000 Gaussian draws give 3 ± 0.06: 0.4 are z = 6.
        if abs(kurtosis - 3) > 0.4:
            raise Wrong(
                f"The noise is not Gaussian (its kurtosis is {kurtosis:.1f}, a Gaussian has 3)."
            )
        return (
            f"Five users with up to 12 records: noise {spread.mean():.2f}, promised "
            f"{sigma * bound:.2f} (σ times max_norm)."
        )

    @staticmethod
    def _check_mean(
        runs: np.ndarray, users: list[np.ndarray], totals: np.ndarray, bound: float
    ) -> None:
        # z = 6 in one of three entries: a chance of 6e-9.
        error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
        mean, right = runs.mean(axis=0), _cut(totals, bound).sum(axis=0)
        if (np.abs(mean - right) <= 6 * error).all():
            return
        means = np.array([user.sum(axis=0) / max(len(user), 1) for user in users])
        lengths = np.maximum(np.linalg.norm(totals, axis=1, keepdims=True), 1e-12)
        explained = (
            (
                _cut(np.vstack(users), bound).sum(axis=0),
                "You clip each record: a user with twelve of them moves the sum by up to twelve "
                "times max_norm. Add up the user's rows first.",
            ),
            (totals.sum(axis=0), "Nothing is clipped."),
            (
                _cut(totals.sum(axis=0)[None], bound)[0],
                "You clip the sum of all users: an opposing one can turn it around.",
            ),
            (
                right / len(users),
                "You divide by the number of users: the result tells how many users there are, and "
                "a sum was asked for.",
            ),
            (_cut(means, bound).sum(axis=0), "You take each user's mean; the total was asked for."),
            (
                np.clip(totals, -bound, bound).sum(axis=0),
                "You clip entry by entry; take the length of the user's total.",
            ),
            (
                (totals / lengths * bound).sum(axis=0),
                "Short totals are lengthened; they should stay as they are.",
            ),
        )
        told = (
            f"On average your sum is {np.round(mean, 2).tolist()}; that of the clipped users is "
            f"{np.round(right, 2).tolist()}."
        )
        distance, why = min((np.abs((mean - value) / error).max(), why) for value, why in explained)
        raise Wrong(f"{told} {why}" if distance <= 6 else told)

    @staticmethod
    def _check_scale(runs: np.ndarray, bound: float, sigma: float, users: int) -> None:
        scale = sigma * bound
        ratio = float(np.sqrt(runs.var(axis=0, ddof=1).mean()) / scale)
        # 6,000 draws measure it to 0.9 %: 6 % are z = 6.
        if abs(ratio - 1) <= 0.06:
            return
        factors = {
            1 / bound: "max_norm is missing: one user moves the sum by that much",
            np.sqrt(users): "every user adds the whole noise; once is enough",
            1 / np.sqrt(users): "if every user adds a share of 1/n, variances add: the sum has "
            "1/√n of what it should have",
            bound: "max_norm is in it twice",
            0.5: "that is half of it",
            np.sqrt(2): "is it Laplace noise?",
            2.0: "that is twice as much as needed",
            np.sqrt(scale): "the variance stands where the standard deviation belongs",
            1 / np.sqrt(scale): "the standard deviation stands where the variance belongs",
        }
        told = (
            f"The noise has a standard deviation of {ratio * scale:.3f}, the promise needs "
            f"{scale:.3f} (noise_multiplier × max_norm)"
        )
        factor = min(factors, key=lambda f: abs(np.log(f / ratio)))
        close = abs(np.log(factor / ratio)) < 0.04
        raise Wrong(f"{told}: {factors[factor]}." if close else f"{told}.")

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Add or remove a user: with one record, with fifty, opposing, oversized, without any."""
        nobody = np.zeros((0, 2))
        small = [np.array([[0.1, 0.1]] * 3), np.array([[-0.2, 0.0]])]
        pairs = [
            self._pair([nobody], [[4.0, 0]], 4.0, "for a user at the bound"),
            self._pair(small, [[0.5, 0.3]] * 50, 0.7, "for a user with fifty records"),
            self._pair([np.array([[-8.0, 0]])], [[100.0, 0]], 3.0, "for two opposing users"),
            self._pair(small, [[1e6, -1e6]], 0.05, "for an oversized record"),
            self._pair([np.full((2, 2), 9.0)] * 4, nobody, 1.0, "for a user without records"),
        ]
        return self._audit(answers, pairs, rng)

    def hidden_audit(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other sizes each time; records of one user that cancel but for the last."""
        bound = float(np.exp(rng.uniform(-3, 3)))
        many = [rng.normal(0, bound, (int(rng.integers(1, 6)), 4)) for _ in range(40)]
        swing = [[bound * 30, 0, 0, 0], [-bound * 30, 0, 0, 0], [bound, 0, 0, 0]]
        pairs = [
            self._pair(many, swing, bound, "for records that cancel"),
            self._pair(many, [[0.3 * bound] * 4] * 200, bound, "for two hundred records"),
        ]
        self._audit(answers, pairs, rng)

    @staticmethod
    def _pair(others: list, user: Any, bound: float, name: str) -> Neighbours:
        one = np.array(user, dtype=float)
        return Neighbours(
            ([*others, one], bound), (list(others), bound), (f"{name}, with them", "without")
        )

    @staticmethod
    def _audit(answers: Answers, pairs: list[Neighbours], rng: np.random.Generator) -> str:
        def arguments(data: tuple, epsilon: float) -> tuple:
            users, bound = data
            return users, bound, gaussian_sigma(epsilon)

        def explain(report: AuditReport) -> str:
            return "One user moves your sum by more than the noise hides."

        mechanism = LearnersMechanism(answers, "private_sum", arguments)
        return audit_answer(mechanism, pairs, rng, delta=DELTA, samples=SAMPLES, explain=explain)


# ---- 15.4 --------------------------------------------------------------------------------------

#: The federation that 15.4 defends.
CLIENTS, ROUNDS, LEARNING_RATE, TARGET_DELTA = 100, 20, 0.3, 1e-5

#: What the defence must reach: test accuracy, and ε of all rounds (add or remove a client). The
#: reference reaches 72 % with a standard deviation of 1.5 points over students: z = 4, 3e-5.
FLOOR, MOST_EPSILON = 0.66, 8.0

_LIMITS = {
    "batch_size": (1, 40, True),
    "local_steps": (1, 10, True),
    "max_norm": (1e-3, 100, False),
    "noise_multiplier": (0, 1000, False),
}


def epsilon_of(noise_multiplier: float, rounds: int = ROUNDS, delta: float = TARGET_DELTA) -> float:
    """Return ε of some rounds of Gaussian noise on the sum; one client added or removed.

    Rounds compose to one Gaussian step of σ / √rounds; its ε is that of Balle and Wang (2018).
    """
    if noise_multiplier == 0:
        return float("inf")
    low, high = 0.0, 1e14
    for _ in range(200):
        middle = (low + high) / 2
        if gaussian_delta(noise_multiplier / np.sqrt(rounds), middle) > delta:
            low = middle
        else:
            high = middle
    return high


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """Return δ of one Gaussian step with sensitivity 1 at ε (Balle and Wang 2018)."""
    from scipy.special import log_ndtr

    half, shift = 1 / (2 * sigma), epsilon * sigma
    first, second = log_ndtr(half - shift), epsilon + log_ndtr(-half - shift)
    return float(-np.exp(first) * np.expm1(min(second - first, 0.0)))


def _clip_and_sum(
    updates: np.ndarray, max_norm: float, noise_multiplier: float, rng: np.random.Generator
) -> np.ndarray:
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

    label = "15.4"
    title = "Defend a hundred clients"
    points = 3
    kinds = {"settings": _settings}
    hints = (
        "Start with what the attack cannot get around: ε. Which noise_multiplier gives ε = 8 over "
        "20 rounds? They compose to one step of σ / √20.",
        "The noise in the mean update is σ × max_norm / 100 a parameter. Make the updates worth "
        "it: many images and some local steps. Then try max_norm 0.3, 1 and 3.",
        'A start: {"batch_size": 20, "local_steps": 5, "max_norm": 1, "noise_multiplier": 3}',
    )
    reference = _defence(20, 5, 1.0, 3.0)
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
        Mistake("noise drowns the model", _defence(40, 5, 1.0, 60.0), "noise of one parameter"),
        Mistake("a generous clip", _defence(40, 5, 15.0, 3.0), "longer than any update"),
        Mistake("a tight clip", _defence(40, 5, 0.01, 3.0), "hardly moves"),
        Mistake("one image a client", _defence(1, 1, 1.0, 3.0), "too few images or steps"),
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
        units = 256
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
            raise Wrong(
                f"Your noise stops this attack, and promises ε = {epsilon:,.0f} over {ROUNDS} "
                f"rounds. A better attack may come: ε must be {MOST_EPSILON:g} at most "
                f"(δ = {TARGET_DELTA:g}, one client added or removed)."
            )
        return f"Over {ROUNDS} rounds ε = {epsilon:.2f} at δ = {TARGET_DELTA:g}, for each client."

    def test_utility(self, answers: Answers, rng: np.random.Generator) -> str:
        """Accuracy on test images; runs of one setting differ by a point or so."""
        settings = answers["settings"]
        accuracy, longest = self._train(settings, rng)
        if accuracy >= FLOOR:
            return f"Accuracy {accuracy:.1%}, and {FLOOR:.0%} was asked for. Can ε be smaller?"
        told = f"Private, but the accuracy is {accuracy:.1%}; {FLOOR:.0%} is asked for."
        bound, noise = settings["max_norm"], settings["noise_multiplier"]
        if bound > 2 * longest:
            raise Wrong(
                f"{told} Your max_norm of {bound:g} is longer than any update of the first round "
                f"({longest:.2f}): nothing is clipped, and the noise grows with it."
            )
        if bound < 0.1 * longest:
            raise Wrong(
                f"{told} At max_norm {bound:g} the model hardly moves in {ROUNDS} rounds: updates "
                f"are up to {longest:.2f} long."
            )
        if epsilon_of(noise) < 2:
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


q1, q2, q3, q4 = EXERCISES = (ReadImage(), Masks(), UserSum(), Defend())
