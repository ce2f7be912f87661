"""Exercises of lesson 07: noise for a budget, a valid network, private training of your own."""

import math
from functools import cache
from typing import Any

import numpy as np

from ..data import load_fashion
from ..exercise import Answers, Exercise, Mistake, Wrong, number

History = tuple[tuple[float, float, int], ...]


@cache
def _epsilon(history: History, delta: float) -> float:
    """Return ε of steps (noise multiplier, sample rate, number) by the PLD accountant."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for noise_multiplier, sample_rate, steps in history:
        step = dp_event.GaussianDpEvent(noise_multiplier)
        accountant.compose(dp_event.PoissonSampledDpEvent(sample_rate, step), steps)
    return float(accountant.get_epsilon(delta))


def _rough_epsilon(history: History, delta: float) -> float:
    """Return an upper bound on ε by RDP: fast, and possible for any noise."""
    from dp_accounting import dp_event
    from dp_accounting.rdp import RdpAccountant

    # Whole orders alone: fractional ones may fail to converge, and complain on stderr.
    accountant = RdpAccountant(orders=[*range(2, 65), 128, 256, 512])
    for noise_multiplier, sample_rate, steps in history:
        step = dp_event.GaussianDpEvent(noise_multiplier)
        accountant.compose(dp_event.PoissonSampledDpEvent(sample_rate, step), steps)
    return float(accountant.get_epsilon(delta))


# ---- 7.1 ---------------------------------------------------------------------------------------


def _noise_for(body: str) -> str:
    return f"""
import math
from opacus.accountants.utils import get_noise_multiplier

def noise_for(epsilon, delta, sample_rate, steps):
    {body}
"""


def _by_opacus(**changes: str) -> str:
    """Return the call of Opacus with some arguments changed."""
    values = {"sample_rate": "sample_rate", "steps": "steps", "accountant": '"prv"'} | changes
    rest = ", ".join(f"{name}={value}" for name, value in values.items() if value)
    return f"get_noise_multiplier(target_epsilon=epsilon, target_delta=delta, {rest})"


class NoiseFor(Exercise):
    """Find the noise multiplier that a budget asks for."""

    label = "7.1"
    title = "Noise for a budget"
    points = 2
    kinds = {"noise_for": number}
    hints = (
        "You need not write an accountant. `make_private_with_epsilon` does this search somewhere; "
        "look into opacus.accountants.utils.",
        "get_noise_multiplier takes target_epsilon, target_delta, sample_rate and either epochs or "
        "steps. Here you have steps.",
        'It uses the RDP accountant unless told otherwise: accountant="prv" needs less noise for '
        "the same promise.",
    )
    reference = _noise_for("return " + _by_opacus())
    mistakes = (
        Mistake(
            "the classic formula of one Gaussian",
            _noise_for("return math.sqrt(2 * math.log(1.25 / delta)) / epsilon"),
            "formula for one single Gaussian",
        ),
        Mistake(
            "noise for one step",
            _noise_for("return " + _by_opacus(steps="1")),
            "enough for one step",
        ),
        Mistake(
            "epochs taken for steps",
            _noise_for("return " + _by_opacus(steps="round(steps * sample_rate)")),
            "number of epochs",
        ),
        Mistake(
            "steps taken for epochs",
            _noise_for("return " + _by_opacus(steps="", epochs="steps")),
            "as if they were epochs",
        ),
        Mistake(
            "sampling forgotten",
            _noise_for("return " + _by_opacus(sample_rate="1.0")),
            "every record in every step",
        ),
        Mistake(
            "RDP accountant",
            _noise_for("return " + _by_opacus(accountant="")),
            "RDP accountant asks for",
        ),
        Mistake(
            "GDP accountant",
            _noise_for("return " + _by_opacus(accountant='"gdp"')),
            "approximation and no bound",
        ),
        Mistake(
            "half the noise",
            _noise_for(f"return {_by_opacus()} / 2"),
            "half of what is needed",
        ),
        Mistake(
            "twice the noise, to be safe",
            _noise_for(f"return {_by_opacus()} * 2"),
            "accuracy for nothing",
        ),
    )
    #: Noise above what PLD asks for. The PRV accountant of Opacus stays within 2 %, RDP above 5 %.
    most = 1.03

    def test_the_common_task(self, answers: Answers, rng: np.random.Generator) -> str:
        """Run the accountant again on the task of the lesson."""
        return self._case(answers, 3.0, 1e-5, 0.05, 300)

    def test_another_task(self, answers: Answers, rng: np.random.Generator) -> str:
        """Run it on a task that is drawn."""
        return self._case(answers, *self._draw(rng))

    def hidden_more_tasks(self, answers: Answers, rng: np.random.Generator) -> str:
        """Run it on more tasks."""
        return " ".join(self._case(answers, *self._draw(rng)) for _ in range(3))

    @staticmethod
    def _draw(rng: np.random.Generator) -> tuple[float, float, float, int]:
        """Return ε, δ, sample rate and steps."""
        batches, epochs = int(rng.integers(8, 100)), int(rng.integers(5, 25))
        epsilon, delta = rng.choice([2.0, 2.5, 4.0, 5.0]), rng.choice([1e-5, 1e-6])
        return float(epsilon), float(delta), 1 / batches, batches * epochs

    def _case(self, answers: Answers, epsilon: float, delta: float, rate: float, steps: int) -> str:
        noise = answers.noise_for(epsilon, delta, rate, steps)
        case = f"For ε = {epsilon:g}, δ = {delta:g}, sample rate {rate:.3g} and {steps:,} steps"
        told = f"{case}, you ask for a noise multiplier of {noise:.4g}."
        if noise <= 0:
            raise Wrong(f"{told} It is a standard deviation in units of max_grad_norm: above 0.")
        if noise < 0.2:
            raise Wrong(f"{told} That hides next to nothing: even one step needs more.")
        # Where PLD would take long, the coarser bound tells as much.
        spent = _rough_epsilon(((noise, rate, steps),), delta)
        exact = epsilon / 2 < spent < 3 * epsilon
        if exact:
            spent = _epsilon(((noise, rate, steps),), delta)
        if spent > epsilon * (1 + 1e-4):
            reason = self._why_too_little(noise, epsilon, delta, rate, steps)
            raise Wrong(f"{told} The accountant says ε = {spent:.4g}: more than allowed. {reason}")
        less = noise / self.most
        tight = exact and _epsilon(((less, rate, steps),), delta) > epsilon
        if not tight:
            reason = self._why_too_much(noise, epsilon, delta, rate, steps)
            raise Wrong(
                f"{told} The promise holds, with ε = {spent:.4g}, but more than 3 % of the noise "
                f"is not needed. {reason}"
            )
        return f"{case}, noise {noise:.3f}: a second accountant (PLD) confirms ε = {spent:.3f}."

    @staticmethod
    def _why_too_little(noise: float, epsilon: float, delta: float, rate: float, steps: int) -> str:
        def hits(noise: float, steps: float) -> bool:
            history = ((noise, rate, max(round(steps), 1)),)
            if not 0.3 < noise < 100:
                return False
            return abs(_epsilon(history, delta) / epsilon - 1) < 0.03

        from opacus.accountants import GaussianAccountant

        gaussian = GaussianAccountant()
        gaussian.history = [(noise, rate, steps)]
        if _is_classic(noise, epsilon, delta):
            return _CLASSIC
        if abs(gaussian.get_epsilon(delta) / epsilon - 1) < 0.01:
            return "The GDP accountant says otherwise, but it is an approximation and no bound."
        if hits(noise, 1):
            return "It would be enough for one step. Every step spends again."
        if hits(noise, steps * rate):
            return f"It would do for {steps * rate:.0f} steps, which is the number of epochs."
        if hits(2 * noise, steps):
            return "It is half of what is needed."
        return "More steps, a higher sample rate and a smaller ε all need more noise."

    @staticmethod
    def _why_too_much(noise: float, epsilon: float, delta: float, rate: float, steps: int) -> str:
        def needs(rate: float, steps: int, tolerance: float) -> bool:
            spent = _rough_epsilon(((noise, rate, steps),), delta)
            return abs(spent / epsilon - 1) < tolerance

        if _is_classic(noise, epsilon, delta):
            return _CLASSIC
        # Wide tolerances: PRV asks for up to 15 % less ε than RDP.
        if needs(rate, steps, 0.015):
            return 'It is what the RDP accountant asks for; accountant="prv" is tighter.'
        if needs(1.0, steps, 0.2):
            return "It would cover every record in every step. Sampling spares you most of that."
        if needs(rate, round(steps / rate), 0.2):
            return "It counts the steps as if they were epochs."
        return "Too much noise costs accuracy for nothing."


_CLASSIC = (
    "It is the formula for one single Gaussian release, which knows neither the steps nor the "
    "sampling."
)


def _is_classic(noise: float, epsilon: float, delta: float) -> bool:
    return abs(noise * epsilon / math.sqrt(2 * math.log(1.25 / delta)) - 1) < 0.01


# ---- 7.2 ---------------------------------------------------------------------------------------

Layers = list[tuple[str, dict[str, Any]]]

#: What may stand for a layer that normalises: within one record, or (wrongly) across records.
_NORMALISE = {
    *("GroupNorm", "LayerNorm", "InstanceNorm1d", "InstanceNorm2d"),
    *("BatchNorm1d", "BatchNorm2d"),
}


def _layers(value: Any, what: str) -> Layers:
    """Accept a list of pairs: the name of a layer, and a dict of its arguments."""
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of layers, each a pair: name, arguments.")
    for each in value:
        if not isinstance(each, list | tuple) or len(each) != 2:
            raise Wrong(f"{what} should hold pairs: the name of a layer, a dict of arguments.")
        name, arguments = each
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise Wrong(f"In {what} a layer should be a name and a dict of arguments.")
        if not all(isinstance(key, str) for key in arguments):
            raise Wrong(f"In {what} the arguments of {name} should have names.")
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
        "math.gcd(C, 4) is a good g. An InstanceNorm looks at one image alone, but may keep "
        "running statistics: set its track_running_stats to False.",
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
                    f"{before} became {name[:40]}; one of {', '.join(sorted(_NORMALISE))} should "
                    "stand there."
                )
            if name in _NORMALISE and not all(map(_small, arguments.values())):
                raise Wrong(f"The arguments of {name} should be numbers below 10,000 or bools.")
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
    """Whether an argument of a layer is a modest number."""
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
        raise Wrong(f"{what} should have a numeric array as its 'weights'.")
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
        if not 0.3 <= noise <= 1000 or not 0 < rate <= 1 or count not in range(1, 100_001):
            raise Wrong(
                f"{form}: noise from 0.3 to 1,000, rate above 0 up to 1, steps 1 to 100,000; one "
                f"entry is {noise:g}, {rate:g}, {count:g}."
            )
        history.append((noise, rate, int(count)))
    return weights.astype(float), tuple(history)


def _by_hand(noise: str = "s * C", clip: str = "C / norms.clamp(min=C)", **changes: str) -> str:
    """Return an answer with a loop of its own, with some parts changed."""
    parts = {"seed": "seed", "budget": "epsilon", "lr": "60"} | changes
    return f"""
import torch
from opacus.accountants.utils import get_noise_multiplier

def train(X, y, epsilon, delta, seed):
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed({parts["seed"]})
    q, steps, C = 0.25, 40, 0.1
    s = get_noise_multiplier(
        target_epsilon={parts["budget"]}, target_delta=delta, sample_rate=q, steps=steps
    )
    X, Y, B = torch.tensor(X), torch.eye(10)[torch.tensor(y)], q * len(X)
    W = V = torch.zeros(X.shape[1], 10)
    for _ in range(steps):
        chosen = torch.rand(len(X), generator=rng) < q
        R = (X[chosen] @ W).softmax(dim=1) - Y[chosen]
        norms = R.norm(dim=1) * X[chosen].norm(dim=1)
        R = R * ({clip})[:, None]
        V = 0.9 * V + (X[chosen].T @ R + {noise} * torch.randn(W.shape, generator=rng)) / B
        W = W - {parts["lr"]} * V
    return {{"weights": W.numpy(), "history": [(s, q, steps)]}}
"""


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
        "max_grad_norm=0.1) on SGD with a learning rate of 60 and momentum 0.9.",
        "The weights are network._module.weight.detach().numpy().T, and the history is "
        "engine.accountant.history.",
    )
    reference = """
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def train(X, y, epsilon, delta, seed):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))
    network = nn.Linear(X.shape[1], 10, bias=False)
    nn.init.zeros_(network.weight)
    engine = PrivacyEngine(accountant="rdp")  # faster than "prv", a little more noise
    network, optimizer, loader = engine.make_private_with_epsilon(
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=60.0, momentum=0.9),
        data_loader=DataLoader(data, batch_size=len(data) // 4),
        target_epsilon=epsilon,
        target_delta=delta,
        epochs=10,
        max_grad_norm=0.1,
    )
    for _ in range(10):
        for features, classes in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(features), classes).backward()
            optimizer.step()
    weights = network._module.weight.detach().numpy().T
    return {"weights": weights, "history": engine.accountant.history}
"""
    mistakes = (
        Mistake("no history", _by_hand().replace('"history"', '"steps"'), "with the keys"),
        Mistake("transposed", _by_hand().replace("W.numpy()", "W.numpy().T"), "transpose"),
        Mistake("ε spent twice", _by_hand(budget="2 * epsilon"), "spends more than"),
        Mistake("no noise", _by_hand(noise="0"), "no noise at all"),
        Mistake("noise from a fixed seed", _by_hand(seed="0"), "same noise for two seeds"),
        Mistake("half the noise", _by_hand(noise="s * C / 2"), "times as far out of the noise"),
        Mistake(
            "noise divided by the batch twice", _by_hand(noise="s * C / B"), "hardly any noise"
        ),
        Mistake("no clipping", _by_hand(clip="torch.ones(len(R))"), "clipped one by one"),
        Mistake("too small a learning rate", _by_hand(lr="0.01"), "right on only"),
    )
    epsilon, delta, floor = 2.0, 1e-5, 0.77
    #: Canaries: in the data, kept out of them, and in the data with features 5 times as large.
    inside, outside, outliers = 400, 200, 40

    def test_the_form(self, answers: Answers, rng: np.random.Generator) -> None:
        """Train on a few random records: what is not tried, or no dict, shows at once."""
        X = rng.normal(size=(400, 5)).astype(np.float32)
        self._train(answers, X, rng.integers(0, 10, 400), rng)

    def test_the_claim_and_the_accuracy(self, answers: Answers, rng: np.random.Generator) -> str:
        """Run the accountant on the claim, and the model on images it has not seen."""
        X, y, X_test, y_test = _features()
        chosen = rng.choice(len(X), 5000, replace=False)
        weights, _, spent = self._train(answers, X[chosen], y[chosen], rng)
        if not np.isfinite(weights).all():
            raise Wrong("Your training diverges: some weights are NaN or infinite.")
        right = float(np.mean(np.argmax(X_test @ weights, axis=1) == y_test))
        if right < self.floor:
            raise Wrong(
                f"Your model is right on only {right:.1%} of new images; {self.floor:.0%} is asked "
                "for. Look at the learning rate, the clipping norm and the size of the batches."
            )
        return (
            f"Your claim costs ε = {spent:.2f} at δ = {self.delta:g} (PLD accountant); the model "
            f"is right on {right:.1%} of 2,000 new images."
        )

    def test_canaries(self, answers: Answers, rng: np.random.Generator) -> str:
        """Train twice on canaries, and look how far they stand out of the noise."""
        # A canary is alone in having its feature, so it moves a row of weights that else holds
        # noise alone. By the Cauchy-Schwarz inequality, no order of learning rates, momentum or
        # averages lifts it further above the noise than sqrt(sum of steps * (rate / noise)**2).
        canaries = self._canaries(rng)
        runs = [self._canary_run(answers, canaries, rng) for _ in range(2)]
        noise = np.array([run["noise"] for run in runs])
        moved = max(np.abs(run["inside"]).max() for run in runs)
        # The spread over features, in the direction of each class.
        spreads = noise.std(axis=1)
        if (spreads <= 1e-6 * max(moved, 1e-9)).all():
            raise Wrong(
                "The weights of features that no record has are all the same: there is no noise "
                "at all in your training, or one value for all of them."
            )
        spread = np.sqrt(np.mean(noise**2, axis=(1, 2)))
        # Honest noise: each of the 20 spreads within 5 % (one standard error) of its run's.
        if (spreads < 0.6 * spread[:, None]).any():
            raise Wrong(
                "Your noise is not drawn for each weight by itself: weights share some of it, and "
                "their differences show the gradients. Draw an array of the shape of the weights."
            )
        # Of two independent runs, about ± 0.022 (one standard error of 2,000 pairs).
        if abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) > 0.2:
            raise Wrong(
                "Your training draws the same noise for two seeds. Who knows the noise takes it "
                "off again: make the generator of `seed`."
            )
        heights = [run["inside"] / each for run, each in zip(runs, spread, strict=True)]
        outliers = [run["outliers"] / each for run, each in zip(runs, spread, strict=True)]
        seen, far = float(np.mean(heights)), float(np.mean(outliers))
        # Five standard errors, and 3 % for the spread itself: a right answer fails in fewer than
        # one of 100,000 runs.
        slack = 5 / math.sqrt(np.size(heights)) * max(float(np.std(heights)), 1.0)
        bound = max(run["bound"] for run in runs)
        wide = 5 / math.sqrt(np.size(outliers)) * max(float(np.std(outliers[0])), 1.0)
        # Clipped, a large record moves the model no further than an ordinary one.
        if far > 1.03 * bound + wide and far > seen + wide:
            raise Wrong(
                f"A record with features 5 times as large stands {far:.1f} standard deviations "
                f"out of the noise, an ordinary one {seen:.2f}. Are gradients clipped one by one?"
            )
        if seen > 1.03 * bound + slack:
            times = seen / bound
            found = (
                f"{len(heights[0])} records stand {seen:.2f} standard deviations out of the noise "
                f"on average; by your history it would be {bound:.2f} at most"
            )
            if times > 10:
                raise Wrong(
                    f"{found}. There is hardly any noise. It belongs to the sum of the gradients; "
                    "divide it by the batch once, together with that sum."
                )
            raise Wrong(
                f"{found}. That is {times:.1f} times as far out of the noise as your history "
                "allows: the noise is smaller, or the steps are more, than it says."
            )
        return (
            f"{2 * self.inside} canaries stand {seen:.2f} standard deviations out of the noise on "
            f"average; by your history it may be {bound:.2f}."
        )

    def _train(
        self, answers: Answers, X: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, History, float]:
        """Return the weights, the history, and the ε that this claims."""
        seed = int(rng.integers(2**31))
        weights, history = answers.train(X, y, self.epsilon, self.delta, seed)
        if weights.shape[0] != X.shape[1]:
            raise Wrong(
                f"The weights have {weights.shape[0]} rows, but the records have {X.shape[1]} "
                "features."
            )
        spent = _rough_epsilon(history, self.delta)
        if spent < 3 * self.epsilon:  # beyond, PLD would take long
            spent = _epsilon(history, self.delta)
        if spent > self.epsilon * (1 + 1e-4):
            raise Wrong(
                f"By your own history, the training spends more than it may: ε = {spent:.3f}, and "
                f"ε = {self.epsilon:g} is allowed (δ = {self.delta:g})."
            )
        return weights, history, spent

    def _canaries(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return 600 records, and canaries with a feature each that nobody else has."""
        X, y, _, _ = _features()
        some = rng.choice(len(X), 600, replace=False)
        present = self.inside + self.outliers
        columns = X.shape[1] + rng.permutation(present + self.outside)
        records = np.zeros((600 + present, X.shape[1] + len(columns)), np.float32)
        records[:600, : X.shape[1]] = X[some]
        sizes = np.r_[np.ones(self.inside), np.full(self.outliers, 5.0)]
        records[600 + np.arange(present), columns[:present]] = sizes
        classes = np.r_[y[some], rng.integers(0, 10, present)]
        order = rng.permutation(len(records))
        return {"X": records[order], "y": classes[order], "columns": columns,
                "classes": classes[600:]}  # fmt: skip

    def _canary_run(
        self, answers: Answers, canaries: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        weights, history, _ = self._train(answers, canaries["X"], canaries["y"], rng)
        if not np.isfinite(weights).all():
            raise Wrong(
                "With some records whose features are 5 times as large, your training diverges "
                "(NaN or infinite weights). Are gradients clipped one by one, and is the largest "
                "logit subtracted before np.exp?"
            )
        rows, present = weights[canaries["columns"]], len(canaries["classes"])
        # A record moves its row of weights along (its class minus all the others), of length 1.
        along = (np.eye(10) - 0.1) / math.sqrt(0.9)
        height = np.sum(rows[:present] * along[canaries["classes"]], axis=1)
        bound = math.sqrt(sum(steps * (rate / noise) ** 2 for noise, rate, steps in history))
        return {
            "inside": height[: self.inside],
            "outliers": height[self.inside :],
            "noise": rows[present:] @ along,
            "bound": bound,
        }


q1 = NoiseFor()
q2 = MakeValid()
q3 = OwnTraining()
EXERCISES = (q1, q2, q3)
