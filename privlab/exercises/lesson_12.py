"""Exercises of lesson 12: liars among ten, clipping at user level, certificates."""

import datetime
import re
import ssl
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import rankdata

from .. import deployment, federated, flower
from ..audit import audit
from ..data import load_hospitals
from ..exercise import Answers, Exercise, Mistake, Wrong, mapping, number
from .accounting import gaussian_sigma
from .audited import CONFIDENCE


def _seen(value: Any) -> str:
    if value is None:
        return "None (is there a `return` line?)"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} with {len(value)} entries"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"


# ---- 12.1 --------------------------------------------------------------------------------------

#: The options of each strategy, and the lowest value of each.
_OPTIONS: dict[str, dict[str, float]] = {
    "FedAvg": {},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0},
    "Krum": {"num_malicious_nodes": 0},
    "MultiKrum": {"num_malicious_nodes": 0, "num_nodes_to_select": 1},
}
_ROUNDS, _STEPS, _RATE, _SHORTFALL = 8, 10, 0.3, 0.1
_MODEL = federated.Network(features=10)

#: What liars send instead of their update; the more others there are, the louder.
_LIES = {
    "the opposite of its update, much longer": lambda update, clients: -3 * clients * update,
    "its update, and 5 more on every number": lambda update, clients: update + 5,
}


def _strategy(value: Any, what: str) -> tuple[str, dict[str, float]]:
    """Accept a dict with the name of a strategy and its options."""
    given = dict(mapping(value, what))
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in _OPTIONS:
        raise Wrong(f'"name" in {what} should be one of {", ".join(_OPTIONS)}, not {name!r}.')
    unknown = [key for key in given if key not in _OPTIONS[name]]
    if unknown:
        has = ", ".join(_OPTIONS[name]) or "none"
        raise Wrong(f"{name} has no option {unknown[0]!r}; it has: {has}.")
    missing = [key for key in _OPTIONS[name] if key not in given]
    if missing:
        raise Wrong(f"{name} needs a value for {missing[0]!r}: Flower's default expects no liar.")
    options = {key: number(each, f"{key} in {what}") for key, each in given.items()}
    for key, each in options.items():
        if each < _OPTIONS[name][key] or (key == "beta" and each >= 0.5):
            raise Wrong(f"{key} is {each:g}: out of its range.")
        if key != "beta":
            if each != int(each):
                raise Wrong(f"{key} is {each:g}; it must be a whole number.")
            options[key] = int(each)
    return name, options


@cache
def _hospitals() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Features, diagnosis, and the rows of each hospital."""
    table = load_hospitals()
    parts = list(federated.natural_partition(table["hospital"]).values())
    return federated.hospital_features(table), table["ill"].to_numpy(int), parts


def _wards(clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide the hospitals into wards, in an order of chance."""
    _, _, parts = _hospitals()
    sizes = np.array([len(part) for part in parts])
    wards = np.maximum(1, np.floor(clients * sizes / sizes.sum()).astype(int))
    while wards.sum() < clients:
        wards[np.argmax(sizes / wards)] += 1
    made = [
        ward
        for part, number in zip(parts, wards, strict=True)
        for ward in np.array_split(rng.permutation(part), number)
    ]
    return [made[place] for place in rng.permutation(clients)]


def _mean_auc(weights: np.ndarray) -> float:
    """Return how often an ill patient scores higher than a healthy one; mean over hospitals."""
    X, y, parts = _hospitals()
    found = []
    for rows in parts:
        ill = int(y[rows].sum())
        ranks = rankdata(_MODEL.scores(weights, X[rows])[:, 0])[y[rows] == 1]
        found.append((ranks.sum() - ill * (ill + 1) / 2) / (ill * (len(rows) - ill)))
    return float(np.mean(found))


def _trained(
    wards: list[np.ndarray], strategy: tuple[str, dict], liars: list[int], lie: Any = None
) -> float:
    """Train with one of Flower's strategies and return the mean AUC."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp import strategy as strategies
    from flwr.serverapp.exception import AggregationError

    X, y, _ = _hospitals()
    name, options = strategy
    flower.LocalGrid(lambda *_: None, [{}])  # messages need a run to belong to
    rule = getattr(strategies, name)(**options)
    clients = federated.make_clients(X, y, wards)

    def step(weights: np.ndarray, received: federated.Received) -> np.ndarray:
        replies = []
        for client, update in zip(received.clients, received.updates, strict=True):
            sent = weights + (lie(update, len(wards)) if client in liars else update)
            size = MetricRecord({"num-examples": int(clients.sizes[client])})
            content = {"arrays": ArrayRecord([sent.astype(np.float32)]), "metrics": size}
            replies.append(Message(RecordDict(content), int(client) + 2, "train"))
        rule.current_arrays = ArrayRecord([weights.astype(np.float32)])
        arrays, _ = rule.aggregate_train(received.number, replies)
        return arrays.to_numpy_ndarrays()[0].astype(float)

    rng = np.random.default_rng(0)  # nothing is drawn: full batches, all clients
    try:
        *_, last = federated.fedavg(
            _MODEL, clients, _ROUNDS, _STEPS, _RATE, rng, server_step=step
        )  # fmt: skip
    except (AggregationError, ValueError, IndexError) as error:
        raise Wrong(f"Flower's {name} stops with these options: {error}") from None
    return _mean_auc(last.weights)


def _answer_12_1(value: str, before: str = "") -> str:
    return f"def configure(clients, liars):\n{before}    return {value}\n"


class LiarsAmongTen(Exercise):
    """Choose and configure one of Flower's robust strategies; open-ended."""

    label = "12.1"
    title = "Liars among ten"
    points = 2
    kinds = {"configure": _strategy}
    hints = (
        "Which strategy looks at single values, and which at whole models? Each has an option that "
        "says how many are not to be trusted.",
        "FedTrimmedAvg cuts int(beta * clients) values at each end: that has to be `liars` at "
        "least. int() rounds down.",
        "MultiKrum keeps the num_nodes_to_select models that lie closest to their neighbours, and "
        "averages them by records: how many honest ones are there?",
    )
    reference = _answer_12_1(
        '{"name": "MultiKrum", "num_malicious_nodes": liars, '
        '"num_nodes_to_select": clients - liars}'
    )
    mistakes = (
        Mistake("no defence", _answer_12_1('{"name": "FedAvg"}'), "FedAvg trusts everybody"),
        Mistake(
            "ten per cent whatever happens",
            _answer_12_1('{"name": "FedTrimmedAvg", "beta": 0.1}'),
            "at each end, and 3 lie",
        ),
        Mistake(
            "five per cent of ten",
            _answer_12_1('{"name": "FedTrimmedAvg", "beta": 0.05}'),
            "cuts int(0.05 · 10) = 0",
        ),
        Mistake(
            "rounded down",
            _answer_12_1('{"name": "FedTrimmedAvg", "beta": liars / clients}'),
            "is cut of 49 at each end",
        ),
        Mistake(
            "one is thrown out",
            _answer_12_1(
                '{"name": "MultiKrum", "num_malicious_nodes": liars, '
                '"num_nodes_to_select": clients - 1}'
            ),
            "so a liar is among them",
        ),
        Mistake(
            "all selected",
            _answer_12_1(
                '{"name": "MultiKrum", "num_malicious_nodes": liars, '
                '"num_nodes_to_select": clients}'
            ),
            "keeps all of them",
        ),
        Mistake(
            "an option forgotten",
            _answer_12_1('{"name": "MultiKrum", "num_malicious_nodes": liars}'),
            "default expects no liar",
        ),
        Mistake(
            "another's option",
            _answer_12_1('{"name": "FedMedian", "beta": 0.2}'),
            "has no option",
        ),
        Mistake(
            "half is cut",
            _answer_12_1('{"name": "FedTrimmedAvg", "beta": 0.5}'),
            "out of its range",
        ),
    )

    def _attacked(
        self, answers: Answers, clients: int, liars: int, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Return the mean AUC without liars, and the worst with them."""
        strategy = answers.configure(clients, liars)
        wards = _wards(clients, rng)
        lying = [int(client) for client in rng.choice(clients, liars, replace=False)]
        honest = [ward for client, ward in enumerate(wards) if client not in lying]
        best = _trained(honest, ("FedAvg", {}), [])
        worst = 1.0
        for what, lie in _LIES.items():
            found = _trained(wards, strategy, lying, lie)
            # 300 draws: the shortfall of the robust strategies has a mean of 0.02 or less and a
            # spread of 0.017, that of an answer that lets a liar in is 0.2 or more.
            if found < best - _SHORTFALL:
                told = f"{liars} of {clients} " + ("lie: each sends" if liars > 1 else "lies:")
                raise Wrong(f"{told} {what}. The mean AUC falls from {best:.2f} to {found:.2f}. "
                            f"{self._why(strategy, clients, liars)}".strip())  # fmt: skip
            worst = min(worst, found)
        return best, worst

    @staticmethod
    def _why(strategy: tuple[str, dict], clients: int, liars: int) -> str:
        name, options = strategy
        if name == "FedAvg":
            return "FedAvg trusts everybody."
        if name == "FedTrimmedAvg":
            beta = options["beta"]
            cut = int(beta * clients)
            if cut < liars and np.isclose(beta * clients, liars):
                return (
                    f"beta · clients is {beta * clients!r}, and int() makes {cut} of it: nothing "
                    f"is cut of {clients} at each end: liars / clients is just too little."
                )
            if cut == 0:
                return f"FedTrimmedAvg cuts int({beta:g} · {clients}) = 0 values: nothing."
            if cut < liars:
                return f"FedTrimmedAvg cuts {cut} at each end, and {liars} lie."
        if name == "MultiKrum":
            kept = options["num_nodes_to_select"]
            if kept >= clients:
                return f"num_nodes_to_select = {kept} keeps all of them."
            if kept > clients - liars:
                return (f"It keeps {kept}, and only {clients - liars} are honest, so a liar is "
                        "among them.")  # fmt: skip
        return ""

    def test_one(self, answers: Answers, rng: np.random.Generator) -> str:
        """One of ten lies."""
        best, worst = self._attacked(answers, 10, 1, rng)
        return f"One of ten lies: mean AUC {worst:.3f}, the honest nine alone {best:.3f}."

    def test_three(self, answers: Answers, rng: np.random.Generator) -> str:
        """Three of ten lie."""
        best, worst = self._attacked(answers, 10, 3, rng)
        return f"Three of ten lie: mean AUC {worst:.3f}, the honest seven alone {best:.3f}."

    def test_rounding(self, answers: Answers, rng: np.random.Generator) -> None:
        """One of 49: 1 / 49 * 49 is below 1."""
        self._attacked(answers, 49, 1, rng)

    def hidden_liars(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other numbers."""
        for clients, liars in ((14, 2), (12, 4), (9, 1)):
            self._attacked(answers, clients, liars, rng)


# ---- 12.2 --------------------------------------------------------------------------------------


def _layers(value: Any, what: str) -> list[np.ndarray]:
    """Accept a list of arrays; NaN passes, so that a test can say where it comes from."""
    if not isinstance(value, list | tuple) or not value:
        raise Wrong(f"{what} should be a list of arrays, one a layer, but it is {_seen(value)}.")
    layers = []
    for layer in value:
        try:
            array = np.asarray(layer)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "iuf":
            raise Wrong(f"{what} should hold arrays of numbers, but there is {_seen(layer)}.")
        layers.append(array.astype(float))
    return layers


def _flat(layers: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([layer.ravel() for layer in layers])


def _answer_12_2(
    length: str = "np.sqrt(sum(np.sum(layer**2) for layer in update))",
    scale: str = "min(1.0, clipping_norm / max(length, 1e-12))",
    sent: str = "[b + scale * u for b, u in zip(before, update)]",
    broken: str = "    if not np.isfinite(length):\n        return before\n",
    update: str = "[np.asarray(a, float) - b for b, a in zip(before, after)]",
) -> str:
    """Return an answer to 12.2 with a part replaced."""
    return f"""
import numpy as np

def clip_update(before, after, clipping_norm):
    update = {update}
    length = {length}
{broken}    scale = {scale}
    return {sent}
"""


class ClipUpdate(Exercise):
    """Clip what a hospital sends; the influence on the sum is measured."""

    label = "12.2"
    title = "One hospital, one bounded voice"
    points = 2
    kinds = {"clip_update": _layers}
    hints = (
        "What is to be short is the update, after less before: all layers together are one long "
        "vector.",
        "length = np.sqrt(sum(np.sum(u**2) for u in update)); scale the whole update by the same "
        "number, min(1, clipping_norm / length), and add `before` again.",
        "A length of 0 is no reason to divide by 0. And if the length is not finite, send `before`:"
        " min(1, nan) helps nobody.",
    )
    reference = _answer_12_2()
    mistakes = (
        Mistake("nothing clipped", _answer_12_2(scale="1.0"), "is not clipped at all"),
        Mistake(
            "each layer by itself",
            _answer_12_2(
                sent="[b + min(1, clipping_norm / max(np.linalg.norm(u), 1e-12)) * u "
                "for b, u in zip(before, update)]"
            ),
            "each layer by itself",
        ),
        Mistake(
            "each number by itself",
            _answer_12_2(
                sent="[b + np.clip(u, -clipping_norm, clipping_norm) "
                "for b, u in zip(before, update)]"
            ),
            "each number by itself",
        ),
        Mistake(
            "the model instead of the update",
            _answer_12_2(
                update="[np.asarray(a, float) for a in after]", sent="[scale * u for u in update]"
            ),
            "clip the model",
        ),
        Mistake(
            "the update is sent", _answer_12_2(sent="[scale * u for u in update]"), "without the"
        ),
        Mistake(
            "short ones made longer",
            _answer_12_2(scale="clipping_norm / max(length, 1e-12)"),
            "made longer",
        ),
        Mistake(
            "the sum of the layers' lengths",
            _answer_12_2(length="sum(np.linalg.norm(layer) for layer in update)"),
            "add up the lengths",
        ),
        Mistake(
            "the square of the length",
            _answer_12_2(length="sum(np.sum(layer**2) for layer in update)"),
            "the square root",
        ),
        Mistake("NaN goes through", _answer_12_2(broken=""), "NaN or infinity"),
        Mistake(
            "NaN made zero",
            _answer_12_2(
                update="[np.nan_to_num(np.asarray(a, float) - b, posinf=0, neginf=0) "
                "for b, a in zip(before, after)]"
            ),
            "the rest of a broken",
        ),
        Mistake(
            "divided by zero",
            _answer_12_2(scale="min(clipping_norm, length) / length"),
            "learnt nothing",
        ),
    )

    @staticmethod
    def _model(rng: np.random.Generator) -> list[np.ndarray]:
        """A model of two to four layers of several shapes; no layer is all there is."""
        inner = rng.integers(2, 7, rng.integers(1, 3))
        sizes = [int(rng.integers(3, 9)), *map(int, inner), int(rng.integers(2, 5))]
        shapes: list[tuple[int, ...]] = []
        for rows, columns in pairwise(sizes):
            shapes += [(rows, columns), (columns,)]
        return [rng.normal(0, 1, shape) for shape in shapes]

    def _sent(
        self, answers: Answers, before: list[np.ndarray], update: list[np.ndarray], norm: float
    ) -> np.ndarray:
        """Return what the server sees of an update, as one vector."""
        after = [b + u for b, u in zip(before, update, strict=True)]
        got = answers.clip_update(before, after, norm)
        shapes = [layer.shape for layer in before]
        if [layer.shape for layer in got] != shapes:
            raise Wrong(f"The layers have the shapes {shapes}; what you send has "
                        f"{[layer.shape for layer in got]}.")  # fmt: skip
        return _flat(got) - _flat(before)

    def test_update(self, answers: Answers, rng: np.random.Generator) -> None:
        """A short update stays as it is; a long one gets the length, not another direction."""
        for _ in range(6):
            before, norm = self._model(rng), float(rng.uniform(0.5, 3))
            update = [rng.normal(0, rng.uniform(0.3, 2), layer.shape) for layer in before]
            size = np.linalg.norm(_flat(update))
            for factor in (40, 0.3, 0.9, 1.5):
                moved = [layer * factor * norm / size for layer in update]
                self._compare(self._sent(answers, before, moved, norm), before, moved, norm)
        still = self._sent(answers, before, [0 * layer for layer in before], norm)
        if not np.allclose(still, 0, atol=1e-9):
            raise Wrong("A hospital that learnt nothing (its update is 0) should send `before`.")

    @staticmethod
    def _compare(
        got: np.ndarray, before: list[np.ndarray], update: list[np.ndarray], norm: float
    ) -> None:
        flat, start = _flat(update), _flat(before)
        size = np.linalg.norm(flat)
        wanted = flat * min(1, norm / size)
        if np.allclose(got, wanted, atol=1e-6):
            return
        after = start + flat
        lengths = np.array([np.linalg.norm(layer) for layer in update])
        each = _flat([u * min(1, norm / n) for u, n in zip(update, lengths, strict=True)])
        told = f"An update of length {size:.2f}, with a clipping norm of {norm:.2f}: "
        explained = [
            (wanted - start, "you send the update without the model: add `before` again."),
            (flat, "it is not clipped at all."),
            (each, "you clip each layer by itself. Together they are longer: take one length for "
             "all of them."),
            (np.clip(flat, -norm, norm), "you clip each number by itself, and the direction "
             "changes."),
            (after * min(1, norm / np.linalg.norm(after)) - start, "you clip the model, not what "
             "has changed."),
            (flat * norm / size, "a short update is made longer."),
            (flat * min(1, norm / lengths.sum()), "you add up the lengths of the layers; the "
             "length of all is the root of the sum of their squares."),
            (flat * min(1, norm / size**2), "the length is the square root of the sum."),
        ]  # fmt: skip
        for value, why in explained:
            if np.allclose(got, value, atol=1e-6):
                raise Wrong(told + why)
        raise Wrong(f"{told}what you send has moved by {np.linalg.norm(got):.2f}, and that is not "
                    "the update scaled to fit.")  # fmt: skip

    def test_influence(self, answers: Answers, rng: np.random.Generator) -> str:
        """Add one hospital, whatever it sends: how far does the sum move?"""
        before, norm = self._model(rng), float(rng.uniform(0.5, 3))
        worst = 0.0
        for scale in (1.0, 1e3, 1e9, 1e200, np.nan, np.inf):
            update = [rng.normal(0, 1, layer.shape) for layer in before]
            if np.isfinite(scale):
                update = [layer * scale for layer in update]
            else:
                update[int(rng.integers(len(update)))].flat[0] = scale
            got = self._sent(answers, before, update, norm)
            if not np.isfinite(got).all():
                raise Wrong(f"A hospital sends NaN or infinity (its model: {scale:g}), and the sum "
                            "of all hospitals is gone.")  # fmt: skip
            if not np.isfinite(scale) and not np.allclose(got, 0, atol=1e-9):
                raise Wrong("You send the rest of a broken update: where a number is NaN or "
                            "infinite, send `before`.")  # fmt: skip
            worst = max(worst, float(np.linalg.norm(got)))
        if worst > norm * (1 + 1e-6):
            raise Wrong(f"One hospital moves the sum by {worst:.3g}; {norm:.3g} is allowed.")
        return f"Whatever one hospital sends, the sum moves by {worst / norm:.3f} clipping norms."

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> str:
        """Noise for ε = 1 on the sum: does the audit find more with the worst hospital?"""
        epsilon, delta = 1.0, 1e-3
        before, norm = self._model(rng), 1.0
        updates = [[rng.normal(0, 1, layer.shape) for layer in before] for _ in range(4)]
        updates[0] = [1e4 * layer for layer in updates[0]]
        sent = np.array([self._sent(answers, before, update, norm) for update in updates])
        direction = sent[0] / max(np.linalg.norm(sent[0]), 1e-12)
        sigma = norm * gaussian_sigma(epsilon, delta)

        def mechanism(members: list[int], epsilon: float, rng: np.random.Generator) -> float:
            # The noise of a vector, looked at along the direction that tells most.
            return float(sent[members].sum(axis=0) @ direction + rng.normal(0, sigma))

        report = audit(
            mechanism, [([0, 1, 2, 3], [1, 2, 3])], epsilon, delta=delta, samples=20_000,
            confidence=CONFIDENCE, rng=rng, names=[("with the hospital", "without it")],
        )  # fmt: skip
        if report.violates:
            raise Wrong(f"The audit: {report.sentences[0]}")
        return (
            f"With noise for ε = {epsilon:g}, δ = {delta:g} (add or remove one hospital) on the "
            f"sum, the audit proved ε ≥ {report.epsilon_lower:.2f}: no violation."
        )

    def hidden_influence(self, answers: Answers, rng: np.random.Generator) -> None:
        """Many models; whole numbers; one layer."""
        for _ in range(10):
            before, norm = self._model(rng), float(10 ** rng.uniform(-2, 2))
            update = [norm * rng.normal(0, 1, layer.shape) for layer in before]
            self._compare(self._sent(answers, before, update, norm), before, update, norm)
        whole = [np.arange(6).reshape(2, 3)]
        update = [np.full((2, 3), 4)]
        self._compare(self._sent(answers, whole, update, 2.0), whole, update, 2.0)


# ---- 12.3 --------------------------------------------------------------------------------------


def _texts(value: Any, what: str) -> tuple[str, str, str]:
    """Accept three PEM texts: two certificates and a key."""
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise Wrong(f"{what} should be a tuple (ca, certificate, key), but it is {_seen(value)}.")
    kinds = ("CERTIFICATE", "CERTIFICATE", "PRIVATE KEY")
    for name, kind, text in zip(("ca", "certificate", "key"), kinds, value, strict=True):
        if not isinstance(text, str):
            raise Wrong(f"{name} in {what} should be text, but it is {_seen(text)}: decode() it.")
        if not re.search(rf"-----BEGIN [A-Z ]*{kind}-----", text):
            raise Wrong(f"{name} in {what} is no PEM text with BEGIN … {kind}.")
    return value[0], value[1], value[2]


def _keys(text: str) -> list[Any]:
    """Return the private keys in a PEM text."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    blocks = re.findall(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.+?)-----END", text, re.DOTALL)
    keys = []
    for kind, body in blocks:
        pem = f"-----BEGIN {kind}-----{body}-----END {kind}-----\n"
        try:
            keys.append(load_pem_private_key(pem.encode(), None))
        except TypeError:
            raise Wrong("The key has a password, and the SuperLink cannot ask for it.") from None
        except ValueError as error:
            raise Wrong(f"The key cannot be read ({error}).") from None
    return keys


def _certificate(text: str, name: str) -> Any:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise Wrong(f"{name} cannot be read ({error}).") from None


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _shake(certificate: str, key: str, ca: str, host: str) -> str | None:
    """Shake hands; what goes wrong on the server's side is the answer's fault."""
    try:
        return deployment.handshake(certificate, key, ca, host)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Wrong(
                "The server cannot start: the key does not belong to the certificate. The server "
                "needs its own key, not the CA's."
            ) from None
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            raise Wrong(f"TLS refuses so weak a key or hash ({error.reason}).") from None
        raise Wrong(f"TLS does not start with these texts ({error.reason or error}).") from None


def _answer_12_3(**parts: str) -> str:
    """Return an answer to 12.3 with parts replaced."""
    given = {
        "key": "ec.generate_private_key(ec.SECP256R1())",
        "ca_key": "ec.generate_private_key(ec.SECP256R1())",
        "name": "san(hosts)",
        "is_ca": "False",
        "end": "start + datetime.timedelta(days=days)",
        "ca": "pem(certify(ca_key, True))",
        "certificate": "pem(certify(key, False, names))",
        "out": "text(key)",
        "start": "datetime.datetime.fromisoformat(start)",
        "password": "serialization.NoEncryption()",
        "basic": "x509.BasicConstraints(ca, None)",
        **parts,
    }
    return f"""
import datetime
import ipaddress
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PEM = serialization.Encoding.PEM

def entry(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

def san(hosts):
    return x509.SubjectAlternativeName([entry(host) for host in hosts])

def common_name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

def pem(certificate):
    return certificate.public_bytes(PEM).decode()

def text(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(PEM, form, {given["password"]}).decode()

def certificates(hosts, start, days):
    start = {given["start"]}
    ca_key = {given["ca_key"]}
    key = {given["key"]}

    def certify(key, ca, names=None):
        builder = x509.CertificateBuilder(
            issuer_name=common_name("my CA"),
            subject_name=common_name("my CA" if ca else hosts[0]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=start,
            not_valid_after={given["end"]},
        ).add_extension({given["basic"]}, critical=True)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    names = {given["name"]}
    return {given["ca"]}, {given["certificate"]}, {given["out"]}
"""


class SuperLinkCertificates(Exercise):
    """Make a CA and a server certificate; checked by real TLS handshakes."""

    label = "12.3"
    title = "Certificates for a SuperLink"
    points = 3
    kinds = {"certificates": _texts}
    hints = (
        "Two key pairs: one of the CA, one of the server. The CA signs its own certificate and "
        "the server's. Its private key is not among what you return.",
        "x509.CertificateBuilder(issuer, subject, public_key, serial, start, end), then "
        ".add_extension(x509.BasicConstraints(ca=…, path_length=None), critical=True), then "
        ".sign(ca_key, hashes.SHA256()). The server's has another extension: "
        "x509.SubjectAlternativeName([...]).",
        "A host name is x509.DNSName(host), an address x509.IPAddress(ipaddress.ip_address(host)). "
        "Only the CA has ca=True. key.private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption()).",
    )
    reference = _answer_12_3()
    mistakes = (
        Mistake(
            "the host as common name alone",
            _answer_12_3(certificate="pem(certify(key, False))"),
            "has no subject alternative name",
        ),
        Mistake(
            "an address as a name",
            _answer_12_3(name="x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts])"),
            "an IP address is no DNS name",
        ),
        Mistake(
            "the first host alone",
            _answer_12_3(name="san(hosts[:1])"),
            "should be trusted, but the client says",
        ),
        Mistake(
            "localhost as well",
            _answer_12_3(name="san([*hosts, 'localhost'])"),
            "can pretend to be 'localhost'",
        ),
        Mistake(
            "a wildcard",
            _answer_12_3(name="san([*hosts, *('*.' + h for h in hosts if h[-1].isalpha())])"),
            "can pretend to be a stranger's name",
        ),
        Mistake(
            "the server is a CA, too",
            _answer_12_3(basic="x509.BasicConstraints(True, None)"),
            "forged a certificate",
        ),
        Mistake(
            "signed by itself",
            _answer_12_3(ca="pem(certify(key, True, names))", ca_key="key", key="0").replace(
                "    ca_key = key\n    key = 0\n",
                "    ca_key = key = ec.generate_private_key(ec.SECP256R1())\n",
            ),
            "are the same key",
        ),
        Mistake(
            "the CA's key on the server",
            _answer_12_3(out="text(key) + text(ca_key)"),
            "the private key of the CA",
        ),
        Mistake("the CA's key as the server's", _answer_12_3(out="text(ca_key)"), "cannot start"),
        Mistake(
            "one CA for everybody",
            _answer_12_3(ca_key="ec.derive_private_key(2**200 + 12, ec.SECP256R1())"),
            "the same CA key in every call",
        ),
        Mistake(
            "one server key for everybody",
            _answer_12_3(key="ec.derive_private_key(2**200 + 12, ec.SECP256R1())"),
            "the same server key in every call",
        ),
        Mistake("ten years", _answer_12_3(end="start + datetime.timedelta(3650)"), "is over, and"),
        Mistake(
            "from now on",
            _answer_12_3(start="datetime.datetime.now(datetime.UTC)"),
            "begins in one hour only",
        ),
        Mistake(
            "a weak key",
            _answer_12_3(key="rsa.generate_private_key(public_exponent=65537, key_size=1024)"),
            "so weak a key",
        ),
        Mistake(
            "a password",
            _answer_12_3(password="serialization.BestAvailableEncryption(b'secret')"),
            "has a password",
        ),
        Mistake("bytes", _answer_12_3(out="text(key).encode()"), "decode() it"),
    )

    @staticmethod
    def _hosts(rng: np.random.Generator) -> list[str]:
        """Two names and an address, in an order of chance but a name first."""
        words = ["".join(map(chr, rng.integers(97, 123, 8))) for _ in range(3)]
        address = f"10.{rng.integers(256)}.{rng.integers(256)}.{rng.integers(1, 255)}"
        rest = [f"{words[1]}.{words[2]}.example", address]
        return [f"{words[0]}.example", *(rest if rng.random() < 0.5 else rest[::-1])]

    @staticmethod
    def _time(hours: float) -> str:
        """A time from now, as the answer gets it."""
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        return (now + datetime.timedelta(hours=hours)).isoformat()

    def _made(
        self, answers: Answers, hosts: list[str], hours: float = -1, days: int = 30
    ) -> tuple[str, str, str]:
        made = answers.certificates(hosts, self._time(hours), days)
        for text in made[:2]:
            if _keys(text):
                raise Wrong("A private key stands beside a certificate that everybody gets.")
        _keys(made[2])
        return made

    def _trusted(self, made: tuple[str, str, str], hosts: list[str]) -> None:
        ca, certificate, key = made
        for host in hosts:
            refused = _shake(certificate, key, ca, host)
            if refused:
                self._explain(certificate, host, refused)

    @staticmethod
    def _explain(certificate: str, host: str, refused: str) -> None:
        from cryptography import x509

        told = f"The server is {host!r} and should be trusted, but the client says: {refused}"
        try:
            names = _certificate(certificate, "certificate").extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        except x509.ExtensionNotFound:
            raise Wrong(
                f"For {host!r} the client says: {refused} Your certificate has no subject "
                "alternative name, and clients no longer look at the common name."
            ) from None
        if host in names.value.get_values_for_type(x509.DNSName) and host[-1].isdigit():
            raise Wrong(f"For {host!r} the client says: {refused} To TLS, an IP address is no "
                        "DNS name: it is an entry of another type.")  # fmt: skip
        raise Wrong(told)

    def test_hosts(self, answers: Answers, rng: np.random.Generator) -> str:
        """Each host is trusted; nobody else is."""
        hosts = self._hosts(rng)
        made = self._made(answers, hosts)
        ca, certificate, key = made
        self._trusted(made, hosts)
        strangers = {
            f"www.{hosts[0]}": "a stranger's name",
            f"{hosts[0]}.evil.example": "a name of an attacker's domain",
            "evil.example": "a name it never had",
            "localhost": "'localhost'",
            "10.0.0.0": "an address it never had",
        }
        for host, what in strangers.items():
            if _shake(certificate, key, ca, host) is None:
                raise Wrong(f"This server can pretend to be {what}: {host!r} is trusted as well.")
        return (
            f"{len(hosts)} hosts are trusted, {len(strangers)} wrong names refused, all by real "
            "TLS handshakes."
        )

    def test_authority(self, answers: Answers, rng: np.random.Generator) -> str:
        """The server cannot do what only the CA may; each call makes new keys."""
        hosts = self._hosts(rng)
        ca, certificate, key = self._made(answers, hosts)
        other_ca, other_certificate, other_key = self._made(answers, hosts)
        authority = _public(_certificate(ca, "ca").public_key())
        held = [_public(each.public_key()) for each in _keys(key)]
        if _public(_certificate(certificate, "certificate").public_key()) == authority:
            raise Wrong(
                "CA and server are the same key: whoever breaks into the server can certify "
                "whatever they like."
            )
        if authority in held:
            raise Wrong("On the server lies the private key of the CA: it is not to leave yours.")
        if _public(_certificate(other_ca, "ca").public_key()) == authority:
            raise Wrong("It is the same CA key in every call: everybody who runs it has that key.")
        if _shake(other_certificate, other_key, ca, hosts[0]) is None:
            raise Wrong("A client that trusts one of your CAs trusts the server of another one.")
        if set(held) & {_public(each.public_key()) for each in _keys(other_key)}:
            raise Wrong("It is the same server key in every call: draw a new one.")
        self._forge(ca, certificate, key)
        return "An unknown CA was refused, and so was a certificate that the server itself signed."

    @staticmethod
    def _forge(ca: str, certificate: str, key: str) -> None:
        """With the server's key, certify another host."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        signer, mine = _keys(key)[0], ec.generate_private_key(ec.SECP256R1())
        server = _certificate(certificate, "certificate")
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "forged")])
        now = datetime.datetime.now(datetime.UTC)
        plain = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        forged = (
            x509.CertificateBuilder(
                issuer_name=server.subject,
                subject_name=name,
                public_key=mine.public_key(),
                serial_number=x509.random_serial_number(),
                not_valid_before=now - datetime.timedelta(minutes=5),
                not_valid_after=now + datetime.timedelta(days=1),
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False)
            .add_extension(x509.BasicConstraints(False, None), True)
            .sign(signer, None if plain else hashes.SHA256())
        )
        chain = forged.public_bytes(Encoding.PEM).decode() + certificate
        private = mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        if _shake(chain, private, ca, "bank.example") is None:
            raise Wrong(
                "With the server's key the check forged a certificate for 'bank.example', and the "
                "client trusts it: the server's certificate says that it is a CA."
            )

    def test_days(self, answers: Answers, rng: np.random.Generator) -> str:
        """Valid from start to start + days, not an hour longer."""
        hosts, days = self._hosts(rng), int(rng.integers(10, 90))
        early = self._made(answers, hosts, 1, days)
        if _shake(early[1], early[2], early[0], hosts[0]) is None:
            raise Wrong("The time of this certificate begins in one hour only, and it is trusted.")
        self._trusted(self._made(answers, hosts, 1 - 24 * days, days), hosts)
        late = self._made(answers, hosts, -1 - 24 * days, days)
        if _shake(late[1], late[2], late[0], hosts[0]) is None:
            raise Wrong(f"The time of this certificate ({days} days) is over, and it is trusted.")
        return "Refused an hour before its time and an hour after, trusted an hour before its end."

    def hidden_hosts(self, answers: Answers, rng: np.random.Generator) -> None:
        """One host; an IPv6 address; many hosts; the leaf's own dates; a long time."""
        for hosts in (["a.example"], ["::1", "b.example"], [f"n{i}.example" for i in range(30)]):
            made = self._made(answers, hosts, days=1)
            self._trusted(made, hosts)
            leaf = _certificate(made[1], "certificate")
            length = leaf.not_valid_after_utc - leaf.not_valid_before_utc
            if abs(length - datetime.timedelta(days=1)) > datetime.timedelta(minutes=10):
                raise Wrong(f"The server's own certificate is valid for {length}, not for a day.")
        ca, certificate, key = self._made(answers, ["c.example"], days=3000)
        if _shake(certificate, key, ca, "a.example") is None:
            raise Wrong("A server can pretend to be a host of another call.")


q1 = LiarsAmongTen()
q2 = ClipUpdate()
q3 = SuperLinkCertificates()
EXERCISES = (q1, q2, q3)
