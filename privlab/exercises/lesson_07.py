"""Exercises of lesson 07: steps that are left, a valid network, private training of your own."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..accounting import History, sampled_epsilon
from ..data import load_fashion
from ..exercise import Answers, Exercise, Mistake, Wrong, number

# ---- 7.1 ---------------------------------------------------------------------------------------


def _steps_left(
    spent: str = "",
    grid: str = "pld.PLDAccountant(value_discretization_interval=3e-3)",
    most: str = "low",
    empty: str = "if spent(0) > epsilon:\n        return 0",
) -> str:
    """Return an answer that searches by halves, with some parts changed."""
    return f"""
import dp_accounting as dpa
from dp_accounting import pld, rdp

def steps_left(history, noise_multiplier, sample_rate, epsilon, delta):
    def spent(steps):
        accountant = {grid}
        parts = [*history, (noise_multiplier, sample_rate, steps)]
        {spent}
        for noise, rate, number in parts:
            step = dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise))
            if number:
                accountant.compose(step, number)
        return accountant.get_epsilon(delta)

    {empty}
    low, high = 0, 2**11
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if spent(middle) <= epsilon else (low, middle)
    return {most}
"""


class StepsLeft(Exercise):
    """Find how many steps of a plan fit into what a history leaves of the budget."""

    label = "7.1"
    title = "How many steps are left?"
    points = 2
    kinds = {"steps_left": number}
    hints = (
        "Put the new steps behind the history as one more entry, and ask an accountant what all "
        "of it costs. Parts of a budget do not simply add up: the accountant has to see all.",
        "ε grows with the number of steps. So search by halves: keep a number that fits and one "
        "that does not, and try the middle.",
        "First ask whether the history alone is over the budget: then 0 are left. "
        "value_discretization_interval=1e-3 makes the PLD accountant ten times faster.",
    )
    reference = _steps_left().replace("        \n", "")
    mistakes = (
        Mistake("history ignored", _steps_left("parts = parts[-1:]"), "nothing had been spent"),
        Mistake("last entry only", _steps_left("parts = parts[-2:]"), "only the last entry"),
        Mistake(
            "budgets subtracted",
            _steps_left("parts = parts[-1:] if steps else parts").replace(
                "low, high = 0", "epsilon -= spent(0)\n    low, high = 0"
            ),
            "ε of parts does not simply add up",
        ),
        Mistake(
            "sampling forgotten",
            _steps_left("parts[-1] = (noise_multiplier, 1.0, steps)"),
            "every record in every step",
        ),
        Mistake("RDP accountant", _steps_left(grid="rdp.RdpAccountant()"), "RDP accountant allows"),
        Mistake(
            "the steps already taken are counted",
            _steps_left(most="low + sum(number for _, _, number in history)"),
            "already been taken",
        ),
        Mistake("an empty budget forgotten", _steps_left(most="max(low, 1)", empty=""), "is left"),
        Mistake(
            "one δ for all", _steps_left().replace("get_epsilon(delta)", "get_epsilon(1e-5)"),
            "at another δ",
        ),
    )  # fmt: skip
    time_limit = 120
    when_slow = (
        "Search by halves, not step by step, and let the accountant use a coarser grid (hint 3)."
    )
    #: ε may be over by what two grids of one accountant differ; 4 % of the steps may be wasted.
    slack, waste = 1e-3, 0.04

    def test_a_plan_goes_on(self, answers: Answers, rng: np.random.Generator) -> str:
        """The lesson's training, stopped half way and taken up with other batches."""
        return self._case(answers, ((1.47, 0.05, 150),), 1.6, 0.06, 3.0, 1e-5)

    def test_parts_of_many_kinds(self, answers: Answers, rng: np.random.Generator) -> str:
        """Two parts with other noise, other batches and another δ."""
        return self._case(answers, *self._draw(rng))

    def test_nothing_left(self, answers: Answers, rng: np.random.Generator) -> str:
        """A history that is over the budget already."""
        steps = answers.steps_left([(1.0, 0.1, 200)], 2.0, 0.1, 2.0, 1e-5)
        if steps != 0:
            raise Wrong(
                "After 200 steps with noise 1 at sample rate 0.1, more than ε = 2 is spent. "
                f"Nothing is left: 0 steps, not {steps:g}."
            )
        return "Nothing is left of a budget that is spent."

    def hidden_more_parts(self, answers: Answers, rng: np.random.Generator) -> str:
        """More histories."""
        return " ".join(self._case(answers, *self._draw(rng)) for _ in range(3))

    @staticmethod
    def _draw(rng: np.random.Generator) -> tuple[History, float, float, float, float]:
        """Return a history that spends about half, a plan, ε and δ."""
        first = (float(rng.choice([1.2, 1.3])), 0.03, int(rng.integers(40, 50)))
        second = (float(rng.choice([2.8, 3.2])), 0.1, int(rng.integers(120, 140)))
        plan = float(rng.choice([1.1, 1.2])), float(rng.choice([0.02, 0.025]))
        return (first, second), *plan, float(rng.choice([2.6, 2.8])), 1e-6

    def _case(
        self, answers: Answers, history: History, noise: float, rate: float, epsilon: float,
        delta: float,
    ) -> str:  # fmt: skip
        given = [tuple(part) for part in history]
        steps = answers.steps_left(given, noise, rate, epsilon, delta)
        told = (
            f"After {list(history)}, with noise {noise:g} at sample rate {rate:g}, ε = "
            f"{epsilon:g} and δ = {delta:g}, you allow {steps:g} more steps."
        )
        if steps < 0 or steps != int(steps):
            raise Wrong(f"{told} Steps are whole numbers of at least 0.")

        def with_more(number: int) -> float:
            return sampled_epsilon((*history, (noise, rate, number)), delta)

        spent = math.inf if steps > _MOST else with_more(int(steps)) if steps else 0.0
        # If so many fitted, more than the waste that is allowed would be left.
        more = math.floor((min(steps, _MOST) + 1) / (1 - self.waste)) + 1
        if spent <= epsilon * (1 + self.slack) and with_more(more) > epsilon:
            return f"{steps:g} steps after {len(history)} parts: PLD confirms ε = {spent:.3f}."
        most = _most(history, noise, rate, epsilon, delta)
        if steps > 50 * most:
            spent = math.inf
        if spent > epsilon:
            cost = f"That costs ε = {spent:.4f}" if spent < math.inf else "That is far too many"
        else:
            cost = f"That spends ε = {spent:.4f} only: {most} would fit"
        raise Wrong(f"{told} {cost}. {self._why(steps, history, noise, rate, epsilon, delta)}")

    @staticmethod
    def _why(
        steps: float, history: History, noise: float, rate: float, epsilon: float, delta: float
    ) -> str:
        """Say what an answer comes from, where some usual mistake gives the same number."""
        from opacus.accountants import RDPAccountant

        def near(other: float) -> bool:
            return abs(steps - other) <= 0.006 * other + 1

        def rdp(steps: int) -> float:
            accountant = RDPAccountant()
            accountant.history = [*history, (noise, rate, steps)]
            return accountant.get_epsilon(delta)

        taken = sum(part[2] for part in history)
        if near(_most((), noise, rate, epsilon, delta)):
            return "It is right if nothing had been spent before."
        if near(_most(history, noise, rate, epsilon, delta) + taken):
            return "Leave out the steps that have already been taken."
        if near(_most(history[-1:], noise, rate, epsilon, delta)):
            return "It is right if only the last entry had been spent; each entry counts."
        if near(_most((), noise, rate, epsilon - sampled_epsilon(history, delta), delta)):
            return "It is what fits into the difference; but ε of parts does not simply add up."
        if near(_most(history, noise, 1.0, epsilon, delta)):
            return "It is right for every record in every step; sampling spares you most of that."
        if delta != 1e-5 and near(_most(history, noise, rate, epsilon, 1e-5)):
            return "It is right at another δ, 1e-05."
        if steps and abs(rdp(int(steps)) / epsilon - 1) < 0.02:
            return "It is what the looser RDP accountant allows."
        return (
            "Put history and new steps into one accountant, and search for the last step that "
            "fits, one by one in the end."
        )


#: More steps than any budget of this exercise has room for.
_MOST = 2**13


@cache
def _most(history: History, noise: float, rate: float, epsilon: float, delta: float) -> int:
    """Return the largest number of steps that fit into a budget."""
    if history and sampled_epsilon(history, delta) > epsilon:
        return 0
    low, high = 0, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        fits = sampled_epsilon((*history, (noise, rate, middle)), delta) <= epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


# ---- 7.2 ---------------------------------------------------------------------------------------

Layers = list[tuple[str, dict[str, Any]]]

#: What may stand for a layer that normalises: within one record, or (wrongly) across records.
_WITHIN = ("GroupNorm", "LayerNorm", "RMSNorm", "InstanceNorm1d", "InstanceNorm2d")
_NORMALISE = {*_WITHIN, "BatchNorm1d", "BatchNorm2d"}


def _layers(value: Any, what: str) -> Layers:
    """Accept a list of pairs: the name of a layer, and a dict of its arguments."""
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of layers, each a pair: name, arguments.")
    for each in value:
        if not isinstance(each, list | tuple) or len(each) != 2:
            raise Wrong(f"{what} should hold pairs: the name of a layer, a dict of arguments.")
        name, arguments = each
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise Wrong(f"{what} should hold, for each layer, its name and a dict of arguments.")
        if not all(isinstance(key, str) for key in arguments):
            raise Wrong(f"{what} should give names to the arguments of {name}.")
    return [(name, dict(arguments)) for name, arguments in value]


_ALL_KINDS = """
import math

def make_valid(layers):
    valid = []
    for name, arguments in layers:
        if name.startswith("BatchNorm"):
            channels = arguments["num_features"]
            name = "GroupNorm"
            arguments = {"num_groups": math.gcd(channels, 4), "num_channels": channels}
        elif name.startswith("InstanceNorm"):
            arguments = {**arguments, "track_running_stats": False}
        valid.append((name, arguments))
    return valid
"""


class MakeValid(Exercise):
    """Replace every layer that mixes records or keeps statistics of them."""

    label = "7.2"
    title = "A network without gossip"
    points = 2
    kinds = {"make_valid": _layers}
    hints = (
        "Which layers compute something over the whole batch, or remember it? Their names start "
        "with BatchNorm or InstanceNorm; how many parameters they have does not matter.",
        'BatchNorm of C features becomes ("GroupNorm", {"num_groups": g, "num_channels": C}); g '
        "must divide C, and after a linear layer each group needs more than one feature.",
        "math.gcd(C, 4) is a good g, if C is more than 4. An InstanceNorm looks at one image "
        "alone, but may keep running statistics: set its track_running_stats to False.",
    )
    reference = _ALL_KINDS
    mistakes = (
        Mistake(
            "the layers are left out",
            """
def make_valid(layers):
    return [(n, a) for n, a in layers if not n.startswith(("BatchNorm", "InstanceNorm"))]
""",
            "one layer for each layer",
        ),
        Mistake(
            "nothing changed",
            "\ndef make_valid(layers):\n    return layers\n",
            "of the 7 others change",
        ),
        Mistake(
            "BatchNorm1d forgotten",
            _ALL_KINDS.replace('startswith("BatchNorm")', 'startswith("BatchNorm2d")'),
            "BatchNorm1d mixes",
        ),
        Mistake(
            "only layers with parameters",
            _ALL_KINDS.replace(
                'if name.startswith("BatchNorm"):',
                'if name.startswith("BatchNorm") and arguments.get("affine", True):',
            ),
            "has no parameters",
        ),
        Mistake(
            "BatchNorm without running statistics",
            """
def make_valid(layers):
    return [
        (n, {**a, "track_running_stats": False}) if "Norm" in n else (n, a) for n, a in layers
    ]
""",
            "those of the batch all the same",
        ),
        Mistake(
            "InstanceNorm keeps its statistics",
            _ALL_KINDS.replace('"track_running_stats": False', '"track_running_stats": True'),
            "keeps running statistics",
        ),
        Mistake(
            "always 32 groups",
            _ALL_KINDS.replace("math.gcd(channels, 4)", "32"),
            "cannot be built",
        ),
        Mistake(
            "a group for each feature",
            _ALL_KINDS.replace("math.gcd(channels, 4)", "channels"),
            "whatever the image",
        ),
        Mistake(
            "other layers changed",
            _ALL_KINDS.replace("valid.append((name, arguments))", 'valid.append(("Tanh", {}))'),
            "was fine as it was",
        ),
    )

    def test_networks(self, answers: Answers, rng: np.random.Generator) -> str:
        """Swap one image and look at the outputs of the others."""
        return self._try(answers, rng, 3)

    def hidden_more_networks(self, answers: Answers, rng: np.random.Generator) -> str:
        """Try more networks."""
        return self._try(answers, rng, 10)

    def _try(self, answers: Answers, rng: np.random.Generator, times: int) -> str:
        for _ in range(times):
            layers = self._draw(rng)
            self._judge(answers.make_valid(layers), layers, int(rng.integers(2**31)))
        return (
            f"{times} networks: swapping one image changed no output but its own, nothing keeps "
            "running statistics, and Opacus accepts them."
        )

    @staticmethod
    def _draw(rng: np.random.Generator) -> Layers:
        """Return a network with each of the four troublemakers; 12 and 20 are no multiples of 8."""
        first, second = (int(each) for each in rng.choice([12, 20, 24, 36], 2))
        hidden = int(rng.choice([12, 20, 28]))
        size = second * 4
        return [
            ("Conv2d", {"in_channels": 1, "out_channels": first, "kernel_size": 8, "stride": 4}),
            ("BatchNorm2d", {"num_features": first}),
            ("Tanh", {}),
            ("Conv2d", {"in_channels": first, "out_channels": second, "kernel_size": 3}),
            ("BatchNorm2d", {"num_features": second, "affine": False}),
            ("Tanh", {}),
            ("InstanceNorm2d", {"num_features": second, "track_running_stats": True}),
            ("MaxPool2d", {"kernel_size": 2}),
            ("Flatten", {}),
            ("Linear", {"in_features": size, "out_features": hidden}),
            ("BatchNorm1d", {"num_features": hidden}),
            ("Tanh", {}),
            ("Linear", {"in_features": hidden, "out_features": 10}),
        ]

    def _judge(self, valid: Layers, layers: Layers, seed: int) -> None:
        import torch
        from opacus.validators import ModuleValidator

        if len(valid) != len(layers):
            raise Wrong(
                f"The network has {len(layers)} layers, yours {len(valid)}. Return one layer for "
                "each layer: it should go on normalising."
            )
        for (name, arguments), (before, given) in zip(valid, layers, strict=True):
            if before not in _NORMALISE and (name, arguments) != (before, given):
                raise Wrong(f"{before} was fine as it was, yours says {name[:40]} {arguments}.")
            if before in _NORMALISE and name not in _NORMALISE:
                raise Wrong(
                    f"{before} became {name[:40]}; a layer that goes on normalising should stand "
                    f"there: one of {', '.join(_WITHIN)}."
                )
            if name in _NORMALISE and not all(map(_small, arguments.values())):
                raise Wrong(
                    f"The arguments of {name} should be bools, numbers below 10,000, or short "
                    "lists of whole numbers."
                )
        network = self._build(valid)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            images = torch.randn(8, 1, 28, 28)
            swapped = torch.cat([torch.randn(1, 1, 28, 28), images[1:]])
            try:
                changed = (network(images) - network(swapped)).abs().amax(dim=1) > 1e-4
            except Exception as error:
                raise Wrong(f"Your network stops at an image: {error}"[:300]) from None
        if changed[1:].any() or any(name.startswith("BatchNorm") for name, _ in valid):
            self._name_the_mixer(valid, int(changed[1:].sum()))
        for name, arguments in valid:
            if name.startswith("InstanceNorm") and arguments.get("track_running_stats"):
                raise Wrong(
                    f"{name} keeps running statistics of all images. They end up in the model "
                    "without any noise."
                )
        if not changed[0]:
            raise Wrong(
                "Your network says the same whatever the image. After a linear layer, a group of "
                "one feature is normalised to 0: make fewer groups."
            )
        errors = ModuleValidator.validate(network.train(), strict=False)
        if errors:
            raise Wrong(f"Opacus refuses your network: {str(errors[0])[:200]}")

    @staticmethod
    def _build(layers: Layers) -> Any:
        from torch import nn

        built = []
        for position, (name, arguments) in enumerate(layers):
            try:
                built.append(getattr(nn, name)(**arguments))
            except Exception as error:
                told = f"{type(error).__name__}: {error}"[:200]
                raise Wrong(f"Layer {position}, {name}, cannot be built: {told}") from None
        return nn.Sequential(*built)

    @staticmethod
    def _name_the_mixer(valid: Layers, others: int) -> None:
        """Say which layer makes images meet."""
        told = f"Swap one image of 8, and the outputs of {others} others change."
        mixers = [layer for layer in valid if layer[0].startswith("BatchNorm")]
        if not mixers:
            raise Wrong(f"{told} Some layer looks at more than one image.")
        name, arguments = mixers[0]
        if arguments.get("track_running_stats") is False:
            why = "without running statistics it takes those of the batch all the same."
        elif not arguments.get("affine", True):
            why = (
                "it has no parameters, so Opacus overlooks it, but it mixes images like any other."
            )
        elif name == "BatchNorm1d":
            why = "BatchNorm1d mixes records just as BatchNorm2d does."
        else:
            told = f"Swap one image of 8, and the outputs of {others} of the 7 others change."
            why = "it subtracts the mean of the whole batch."
        raise Wrong(f"{told} {name} {arguments} is still there: {why}")


def _small(value: Any) -> bool:
    """Whether an argument of a layer is a modest number, or a shape (LayerNorm takes one)."""
    if isinstance(value, list | tuple):
        whole = all(type(each) is int and each > 0 for each in value)
        return whole and 0 < len(value) <= 4 and math.prod(value) < 100_000
    return isinstance(value, bool) or (isinstance(value, int | float) and 0 <= value < 10_000)


# ---- 7.3 ---------------------------------------------------------------------------------------


@cache
def _features() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return 100 fixed features of 6,000 training images, their classes; the same of the test."""
    import torch

    from ..features import fixed_features

    fashion, n = load_fashion(), 6000
    images = np.concatenate([fashion.X_train[:n], fashion.X_test])
    scaled = torch.from_numpy(images).float()[:, None] / 127.5 - 1
    X = fixed_features(scaled, dimensions=100, orientations=4).numpy()
    classes = (fashion.y_train[:n].astype(np.int64), fashion.y_test.astype(np.int64))
    return X[:n], classes[0], X[n:], classes[1]


def _trained(value: Any, what: str) -> tuple[np.ndarray, History]:
    """Accept a dict with `weights` and `history`."""
    if not isinstance(value, dict) or not {"weights", "history"} <= set(value):
        raise Wrong(f"{what} should be a dict with the keys 'weights' and 'history'.")
    weights, steps = value["weights"], value["history"]
    if not isinstance(weights, np.ndarray) or weights.dtype.kind not in "fiu":
        raise Wrong(
            f"{what} should have a numeric array as its 'weights'. Of a tensor, take "
            ".detach().numpy()."
        )
    if weights.ndim != 2 or weights.shape[1] != 10:
        raise Wrong(
            f"{what} should have 'weights' of shape (features, 10); their shape is "
            f"{weights.shape}. (A layer of PyTorch holds the transpose.)"
        )
    form = f"{what} should have as its 'history' a list of (noise_multiplier, sample_rate, steps)"
    if not isinstance(steps, list | tuple) or not 1 <= len(steps) <= 50:
        raise Wrong(f"{form}, with 1 to 50 entries.")
    history = []
    for entry in steps:
        if not isinstance(entry, list | tuple) or len(entry) != 3:
            raise Wrong(f"{form}; one entry is {str(entry)[:60]}.")
        noise, rate, count = (number(each, "Each entry of the 'history'") for each in entry)
        if not 0.2 <= noise <= 1000 or not 0 < rate <= 1 or count not in range(1, 100_001):
            raise Wrong(
                f"{form}: noise from 0.2 to 1,000, rate above 0 up to 1, steps 1 to 100,000; one "
                f"entry is {noise:g}, {rate:g}, {count:g}."
            )
        history.append((noise, rate, int(count)))
    return weights.astype(float), tuple(history)


@dataclass(frozen=True)
class _Sizes:
    """How many records and directions of each kind the canary runs have."""

    ordinary: int = 1800
    anchored: int = 160
    alone: int = 40
    outliers: int = 12
    crowds: int = 60
    in_crowd: int = 4
    unused: int = 80
    jitter: int = 10

    @property
    def canaries(self) -> int:
        """Directions that a canary or a crowd of canaries has for itself."""
        return self.anchored + self.alone + self.outliers + self.crowds

    @property
    def directions(self) -> int:
        """All directions: classes, jitter of the ordinary records, canaries, unused ones."""
        return 10 + self.jitter + self.canaries + self.unused


_SIZES = _Sizes()

#: How much of an anchored canary lies along another class; the rest is its own direction.
_ALONG = 0.45


@dataclass(frozen=True)
class _Canaries:
    """Records in which every canary has a direction of its own.

    Ordinary records lie along their class's direction, a little, and in random directions. An
    *anchored* canary lies in its own direction and a little along that of another class than its
    label says: so it stays misclassified, and its gradient stays as long as a gradient can be
    (√2), whatever the training learns of it. Half of a *crowd* of canaries points one way and half
    the other: they cancel on average, and what chance leaves of them shows how batches are drawn.
    """

    X: np.ndarray
    y: np.ndarray
    labels: np.ndarray
    anchors: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Canaries":
        """Draw records in their own coordinates; nobody else's data are needed for it."""
        n, along, share = _SIZES, _ALONG, 0.35
        # Few classes are learnt faster: then canaries stay misclassified from the start.
        common = rng.permutation(10)[:3]
        classes = rng.choice(common, n.ordinary)
        ordinary = np.zeros((n.ordinary, n.directions))
        ordinary[np.arange(n.ordinary), classes] = share
        jitter = rng.normal(size=(n.ordinary, n.jitter))
        jitter *= math.sqrt(1 - share**2) / np.linalg.norm(jitter, axis=1, keepdims=True)
        ordinary[:, 10 : 10 + n.jitter] = jitter
        anchors = rng.choice(common, n.canaries)
        labels = (anchors + rng.integers(1, 10, n.canaries)) % 10
        each, own = np.arange(n.canaries), 10 + n.jitter + np.arange(n.canaries)
        canaries = np.zeros((n.canaries, n.directions))
        canaries[each, anchors], canaries[each, own] = along, math.sqrt(1 - along**2)
        alone = slice(n.anchored, n.anchored + n.alone)
        canaries[alone, :10] = 0
        canaries[alone] /= math.sqrt(1 - along**2)
        canaries[n.anchored + n.alone : -n.crowds] *= 5
        crowd, ways = canaries[-n.crowds :], np.where(np.arange(n.directions) < 10, 1, -1)
        crowds = [crowd * (ways if member % 2 else 1) for member in range(n.in_crowd)]
        members = np.tile(labels[-n.crowds :], n.in_crowd)
        X = np.vstack([ordinary, canaries[: -n.crowds], *crowds]).astype(np.float32)
        y = np.r_[classes, labels[: -n.crowds], members]
        order = rng.permutation(len(X))
        return cls(X[order], y[order], labels, anchors)

    def rows(self, weights: np.ndarray) -> np.ndarray:
        """Return the canaries' rows of weights, classes in the order: label, anchor, the rest."""
        own = weights[10 + _SIZES.jitter :][: _SIZES.canaries]
        order = [
            [label, anchor, *(c for c in range(10) if c not in (label, anchor))]
            for label, anchor in zip(self.labels, self.anchors, strict=True)
        ]
        return np.take_along_axis(own - own.mean(axis=1, keepdims=True), np.array(order), axis=1)


@dataclass(frozen=True)
class _Run:
    """What one training made of the canaries; rows and noise in units of the noise's size."""

    history: History
    noise: np.ndarray
    size: float
    rows: np.ndarray

    @property
    def limit(self) -> float:
        """How far a canary can stand out of the noise on average, by the history."""
        # By the Cauchy-Schwarz inequality: no order of learning rates, momentum or averages
        # lifts it further. Of a clipped gradient, a canary's own direction gets its share alone.
        most = sum(steps * (rate / noise) ** 2 for noise, rate, steps in self.history)
        return math.sqrt((1 - _ALONG**2) * most)


#: Finds the noise with PLD: tighter than RDP, and on this grid much faster.
_NOISE_FOR = """
from functools import cache

import dp_accounting as dpa
from dp_accounting import pld

@cache
def noise_for(epsilon, delta, rate, steps):
    def event(noise):
        step = dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise))
        return dpa.SelfComposedDpEvent(step, steps)

    def accountant():
        return pld.PLDAccountant(value_discretization_interval=2e-2)

    bracket = dpa.ExplicitBracketInterval(0.3, 30)
    return dpa.calibrate_dp_mechanism(accountant, event, epsilon, delta, bracket, tol=1e-3)
"""

#: How an answer by hand makes the batches of a step.
_POISSON = "torch.rand(len(X), generator=rng) < q"


def _by_hand(
    noise: str = "s * C", clip: str = "C / norms.clamp(min=C)", batch: str = _POISSON, **more: str
) -> str:
    """Return an answer with a loop of its own, with some parts changed."""
    parts = {
        "seed": "seed", "budget": "epsilon", "lr": "90", "C": "0.1", "rows": "X",
        "shape": "W.shape", "history": "(s, q, steps)", "once": "",
    } | more  # fmt: skip
    return f"""
import torch
{_NOISE_FOR}
def train(X, y, epsilon, delta, seed):
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed({parts["seed"]})
    q, steps, C = 0.25, 40, {parts["C"]}
    s = noise_for({parts["budget"]}, delta, q, steps)
    X, Y, B = torch.tensor({parts["rows"]}), torch.eye(10)[torch.tensor(y)], q * len(X)
    W = V = torch.zeros(X.shape[1], 10)
    {parts["once"]}
    for step in range(steps):
        chosen = {batch}
        R = (X[chosen] @ W).softmax(dim=1) - Y[chosen]
        norms = R.norm(dim=1) * X[chosen].norm(dim=1)
        R = R * ({clip})[:, None]
        V = 0.9 * V + (X[chosen].T @ R + {noise} * torch.randn({parts["shape"]}, generator=rng)) / B
        W = W - {parts["lr"]} * V
    return {{"weights": W.numpy(), "history": [{parts["history"]}]}}
"""


#: Each row is shortened to length 1, in NumPy.
_UNIT_ROWS = "X / ((X**2).sum(axis=1, keepdims=True) ** 0.5).clip(1)"


class OwnTraining(Exercise):
    """Train a private model within ε = 2; open-ended, attacked by canaries."""

    label = "7.3"
    title = "Train within ε = 2"
    points = 3
    kinds = {"train": _trained}
    hints = (
        "Take the lesson's linear model on features as your model. Few, large batches suit it: a "
        "sample rate of 0.25 and 40 steps, for example.",
        "make_private_with_epsilon(…, target_epsilon=epsilon, target_delta=delta, epochs=10, "
        "max_grad_norm=0.1), on SGD with a learning rate of 90 and momentum 0.9.",
        "The weights are network._module.weight.detach().numpy().T, and the history is "
        "engine.accountant.history.",
    )
    reference = f"""
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
{_NOISE_FOR}
def train(X, y, epsilon, delta, seed):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))
    network = nn.Linear(X.shape[1], 10, bias=False)
    nn.init.zeros_(network.weight)
    engine = PrivacyEngine(accountant="rdp")
    network, optimizer, loader = engine.make_private(
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=90.0, momentum=0.9),
        data_loader=DataLoader(data, batch_size=-(-len(data) // 4)),  # 4 of them
        noise_multiplier=noise_for(epsilon, delta, 0.25, 40),
        max_grad_norm=0.1,
    )
    for _ in range(10):
        for features, classes in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(features), classes).backward()
            optimizer.step()
    weights = network._module.weight.detach().numpy().T
    return {{"weights": weights, "history": engine.accountant.history}}
"""
    mistakes = (
        Mistake("no history", _by_hand().replace('"history"', '"steps"'), "with the keys"),
        Mistake("transposed", _by_hand().replace("W.numpy()", "W.numpy().T"), "transpose"),
        Mistake("a list", _by_hand().replace("W.numpy()", "W.tolist()"), "as its 'weights'"),
        Mistake(
            "a tensor", _by_hand().replace("W.numpy()", "W"), "takes NumPy arrays"
        ),
        Mistake("ε spent twice", _by_hand(budget="2 * epsilon"), "spends more than"),
        Mistake("ε not looked at", _by_hand(budget="2.0"), "does not follow"),
        Mistake("no noise", _by_hand(noise="0"), "no noise at all"),
        Mistake("noise from a fixed seed", _by_hand(seed="0"), "same noise for two seeds"),
        Mistake("one noise for all classes", _by_hand(shape="(len(W), 1)"), "for each weight"),
        Mistake(
            "noise in one weight of 20",
            _by_hand(
                once="some = 20**0.5 * (torch.rand(W.shape, generator=rng) < 0.05)",
                noise="some * s * C",
            ),
            "most weights get",
        ),
        Mistake(
            "noise on rare features only",
            _by_hand(noise="((X != 0).sum(dim=0) <= 5)[:, None] * s * C"),
            "turned around",
        ),
        Mistake("half the noise", _by_hand(noise="s * C / 2"), "times as far out of the noise"),
        Mistake(
            "noise divided by the batch twice", _by_hand(noise="s * C / B"), "hardly any noise"
        ),
        Mistake("no clipping", _by_hand(clip="torch.ones(len(R))"), "clipped one by one"),
        Mistake(
            "rows clipped, not gradients",
            _by_hand(clip="torch.ones(len(R))", C="1.0", lr="10", rows=_UNIT_ROWS),
            "up to √2 long",
        ),
        Mistake(
            "shuffled batches",
            _by_hand(
                once="order = torch.arange(len(X))",
                batch="(order := order if step % 4 else torch.randperm(len(X), generator=rng))"
                ".tensor_split(4)[step % 4]",
            ),
            "by its own coin",
        ),
        Mistake(
            "half of the steps in the history",
            _by_hand(history="(s, q, steps // 2)", lr="90"),
            "a little further",
        ),
        Mistake(
            "the history of another training",
            _by_hand(
                once="claim, s, q, steps = (s, q, steps), s / 9.2, q / 20.6, 200; B = q * len(X)",
                history="claim",
            ),
            "scatter too much",
        ),
        Mistake("too small a learning rate", _by_hand(lr="0.01"), "right on only"),
    )  # fmt: skip
    time_limit = 120
    when_slow = (
        'Finding the noise takes longest: look for it with accountant="rdp", or take fewer steps.'
    )
    epsilon, large, delta, floor = 2.0, 40.0, 1e-5, 0.80
    #: How many standard errors a right answer is granted: one side of 3.5 is 1 in 4,000.
    z = 3.5

    def test_the_form(self, answers: Answers, rng: np.random.Generator) -> None:
        """Train on a few random records: what is not tried, or no dict, shows at once."""
        X = rng.normal(size=(400, 5)).astype(np.float32)
        self._train(answers, X, rng.integers(0, 10, 400), self.epsilon, rng)

    def test_the_claim_and_the_accuracy(self, answers: Answers, rng: np.random.Generator) -> str:
        """Run the accountant on the claim, and the model on images it has not seen."""
        X, y, X_test, y_test = _features()
        chosen = rng.choice(len(X), 5000, replace=False)
        weights, history = self._train(answers, X[chosen], y[chosen], self.epsilon, rng)
        if not np.isfinite(weights).all():
            raise Wrong("Your training diverges: some weights are NaN or infinite.")
        right = float(np.mean(np.argmax(X_test @ weights, axis=1) == y_test))
        # The reference: 81.9 %, and 0.44 points from run to run: the floor is four of these below.
        if right < self.floor:
            raise Wrong(
                f"Your model is right on only {right:.2%} of new images; {self.floor:.0%} is asked "
                "for. Look at the learning rate, the clipping norm and the size of the batches."
            )
        spent = sampled_epsilon(history, self.delta)
        return (
            f"Your claim costs ε = {spent:.2f} at δ = {self.delta:g} (PLD accountant); the model "
            f"is right on {right:.1%} of 2,000 new images."
        )

    def test_canaries(self, answers: Answers, rng: np.random.Generator) -> str:
        """Train on canaries at ε = 2 and 40, and look how far they stand out of the noise."""
        # At ε = 40 the noise is small: the sampling shows beside it, and a noise that is a third
        # too small, in a few hundred canaries. The third run turns all records around, so that
        # no feature is rare; a training that looks at gradients alone does not notice.
        canaries, turned = _Canaries.draw(rng), _Canaries.draw(rng)
        D = _SIZES.directions
        columns = np.eye(D)[:, rng.permutation(D)]
        turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
        small = self._run(answers, canaries, columns, self.epsilon, rng)
        large = self._run(answers, canaries, columns, self.large, rng)
        self._judge_noise(small, large)
        around = self._run(answers, turned, turn, self.large, rng, before=large.size)
        self._judge_heights([large, around], self.large)
        seen = self._judge_heights([small], self.epsilon, along=large)
        self._judge_sampling([large, around])
        return seen

    def _train(
        self,
        answers: Answers,
        X: np.ndarray,
        y: np.ndarray,
        epsilon: float,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, History]:
        """Return the weights and the history, if the history keeps within ε."""
        seed = int(rng.integers(2**31))
        try:
            weights, history = answers.train(X, y, epsilon, self.delta, seed)
        except Wrong as wrong:
            if "Tensor" in str(wrong):
                raise Wrong(
                    f"{wrong} The grader takes NumPy arrays: .detach().numpy() makes one."
                ) from None
            raise
        if weights.shape[0] != X.shape[1]:
            raise Wrong(
                f"The weights have {weights.shape[0]} rows, but the records have {X.shape[1]} "
                "features."
            )
        spent = sampled_epsilon(history, self.delta)
        # The grid of the accountant and that of an answer may differ by so much.
        if spent > epsilon * (1 + 1e-3):
            raise Wrong(
                f"By your own history, the training spends more than it may: ε = {spent:.3f}, and "
                f"ε = {epsilon:g} is allowed (δ = {self.delta:g})."
            )
        if epsilon == self.large and spent < epsilon / 2:
            raise Wrong(
                f"Called with ε = {epsilon:g}, your training spends ε = {spent:.2f}: it does not "
                "follow `epsilon`. Find the noise inside the function."
            )
        return weights, history

    def _run(
        self,
        answers: Answers,
        canaries: _Canaries,
        turn: np.ndarray,
        epsilon: float,
        rng: np.random.Generator,
        before: float = 0.0,
    ) -> _Run:
        X = (canaries.X @ turn).astype(np.float32)
        weights, history = self._train(answers, X, canaries.y, epsilon, rng)
        if not np.isfinite(weights).all():
            raise Wrong(
                "With some records whose features are 5 times as large, your training diverges "
                "(NaN or infinite weights). Are gradients clipped one by one, and is the largest "
                "logit subtracted before np.exp?"
            )
        weights = turn @ weights  # back to the coordinates of the canaries
        noise, rows = weights[-_SIZES.unused :], canaries.rows(weights)
        # What all classes share moves no guess; a tenth of honest noise is of that kind.
        apart = noise - noise.mean(axis=1, keepdims=True)
        size = math.sqrt(np.mean(apart**2) / 0.9)
        # Two spreads of 800 values: the standard error of their ratio is 3.5 %.
        if size < 0.8 * before:
            raise Wrong(
                "The grader has turned around all records, so that no feature is rare. Now your "
                f"noise is {size / before:.2f} times what it was. Add it to each weight, whatever "
                "the features look like."
            )
        if size <= 1e-4 * max(float(np.abs(rows).max()), 1e-9):
            if np.abs(noise).max() > 100 * size:
                raise Wrong(_SHARED)
            raise Wrong(
                "The weights in directions that no record has are all the same: there is no noise "
                "at all in your training."
            )
        return _Run(history, noise / size, size, rows / size)

    def _judge_noise(self, first: _Run, second: _Run) -> None:
        """Look at the noise of two runs on the same records, in directions that none has."""
        # The standard error of a kurtosis of 900 normal values is 0.16.
        if max(float(np.mean(run.noise**4)) / np.mean(run.noise**2) ** 2
               for run in (first, second)) > 4.5:  # fmt: skip
            raise Wrong(
                "A few weights get nearly all of your noise, most weights get next to nothing, and "
                "show what they have learnt. Add normal noise of one size to all weights."
            )
        spreads = np.array([run.noise.std(axis=0) for run in (first, second)])
        both = np.hstack([first.noise, second.noise])
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        alike = np.abs(np.triu(both @ both.T, 1)).max()
        # Honest: each of 20 spreads within 7 % (one standard error) of 1; two rows of 20 numbers
        # agree to 0.95 in fewer than one of 10**5 checks, among all the pairs.
        if (spreads < 0.6).any() or alike > 0.95:
            raise Wrong(_SHARED)
        # Of two independent runs, about ± 0.03 (one standard error of 900 pairs).
        if abs(np.corrcoef(first.noise.ravel(), second.noise.ravel())[0, 1]) > 0.2:
            raise Wrong(
                "Your training draws the same noise for two seeds. Who knows the noise takes it "
                "off again: make the generator of `seed`."
            )

    def _judge_heights(self, runs: list[_Run], epsilon: float, along: _Run | None = None) -> str:
        """Compare how far canaries stand out of the noise with what the history allows."""
        n, limit = _SIZES, max(run.limit for run in runs)
        rows = np.vstack([run.rows[: n.anchored] for run in runs])
        way = _direction(along.rows[: n.anchored] if along else rows)
        heights = rows @ way
        seen = float(heights.mean())
        # The standard errors of the mean and of the size of the noise.
        values = 9 * n.unused * len(runs)
        error = math.sqrt(float(heights.var()) / len(heights) + limit**2 / (2 * values))
        refused = limit + self.z * error
        alone = np.vstack([run.rows[n.anchored : n.anchored + n.alone] for run in runs])
        alone = float((alone @ _ALONE).mean())
        outliers = np.vstack([run.rows[n.anchored + n.alone : -n.crowds] for run in runs]) @ way
        far = float(outliers.mean())
        wide = 5 * max(float(outliers.std()), 1.0) / math.sqrt(len(outliers))
        found = (
            f"At ε = {epsilon:g}, {len(heights)} canaries stand {seen:.2f} standard deviations out "
            f"of the noise on average; by your history it may be {limit:.2f}, refused is above "
            f"{refused:.2f}"
        )
        # Clipped, a large record moves the model no further than an ordinary one.
        if far > limit + wide and far > 1.5 * seen:
            raise Wrong(
                f"A record with features 5 times as large stands {far:.1f} standard deviations out "
                f"of the noise, an ordinary one {seen:.2f}. Are gradients clipped one by one?"
            )
        if seen <= refused:
            return found + "."
        times = seen / limit
        if times > 10:
            raise Wrong(
                f"{found}. There is hardly any noise. It belongs to the sum of the gradients; "
                "divide it by the batch once, together with that sum."
            )
        if alone < limit / math.sqrt(1 - _ALONG**2) and times < 1.5:
            raise Wrong(
                f"{found}. Only those stand out that stay misclassified. The gradient of a record "
                "of length 1 is up to √2 long: clip gradients, not features."
            )
        if times > 1.5:
            raise Wrong(
                f"{found}. That is {times:.1f} times as far out of the noise as your history "
                "allows: is the noise half of what it says, and scaled by the clipping norm?"
            )
        raise Wrong(
            f"{found}. They stand a little further out than they may: the noise is smaller, or the "
            "steps are more, than the history says."
        )

    def _judge_sampling(self, runs: list[_Run]) -> None:
        """Ask whether each record joins each batch by its own coin."""
        # A canary is drawn more often in one run, more rarely in another. That adds to the variance
        # of its height: at least what follows from the mean height (by Cauchy and Schwarz again),
        # at most what follows from noise and rate; to a crowd's, as many times that as it has
        # members. Who shuffles takes each record equally often.
        n, history = _SIZES, runs[0].history
        chance = sum(
            steps * rate / (1 - rate) if rate < 1 else math.inf for _, rate, steps in history
        )
        most = max(rate * (1 - rate) / noise**2 for noise, rate, _ in history) * (1 - _ALONG**2)
        rows = np.vstack([run.rows[: n.anchored] for run in runs])
        way = _direction(rows)
        heights = rows @ way
        crowds = np.vstack([run.rows[-n.crowds :] for run in runs]) @ way
        least = float(heights.mean()) ** 2 / chance

        def added(supposed: float) -> tuple[float, float]:
            """Return what was added, and the standard error if it is ``supposed``."""
            crowd = n.in_crowd
            return _weighted(
                [
                    (float(heights.var()) - 1, 1 + supposed, len(heights)),
                    (
                        (float(np.mean(crowds**2)) - 1) / crowd,
                        (1 + crowd * supposed) / crowd,
                        len(crowds),
                    ),
                ]
            )

        # Honest answers add the least and a little more (1.12 ± 0.2 times), shuffled batches add
        # nothing. Below 0.02 there is nothing to see, beside the noise.
        found, error = added(least)
        refused = 0.7 * least - 3 * error
        if least >= 0.02 and found < refused:
            raise Wrong(
                f"The canaries scatter too little: {max(found / least, 0):.2f} of what Poisson "
                f"sampling adds to their variance, refused is below {refused / least:.2f}. Are "
                "your batches shuffled? Let each record join each batch by its own coin, as the "
                "accountant assumes."
            )
        # Canaries differ a little in how they are learnt, which adds to the variance as well.
        found, error = added(most)
        refused = 1.2 * most + 0.05 + self.z * error
        if found > refused:
            raise Wrong(
                f"The canaries scatter too much: sampling adds {found:.2f} to the variance of the "
                f"noise; by your history it may be {most:.2f}, refused is above {refused:.2f}. Did "
                "another training make this history, with less noise at a smaller sample rate?"
            )


_SHARED = (
    "Your noise is not drawn for each weight by itself: weights share some of it, and their "
    "differences show the gradients. Draw an array of the shape of the weights."
)

#: Where a canary without an anchor moves its row: its label against all others.
_ALONE = np.r_[0.9, np.full(9, -0.1)] / math.sqrt(0.9)


def _direction(rows: np.ndarray) -> np.ndarray:
    """Return the direction in which rows point on average."""
    mean = rows.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _weighted(estimates: list[tuple[float, float, int]]) -> tuple[float, float]:
    """Return the best mean of variances (value, size, number of draws), and its standard error."""
    weights = np.array([count / (2 * size**2) for _, size, count in estimates])
    values = np.array([value for value, _, _ in estimates])
    return float(values @ weights / weights.sum()), float(1 / math.sqrt(weights.sum()))


q1 = StepsLeft()
q2 = MakeValid()
q3 = OwnTraining()
EXERCISES = (q1, q2, q3)
