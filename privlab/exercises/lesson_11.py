"""Exercises of lesson 11: who is missing, FedProx with stragglers, skewed clients on a budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache, lru_cache
from math import comb
from typing import Any

import numpy as np

from .. import federated
from ..exercise import Answers, Exercise, Mistake, Wrong, array, mapping, number
from .hospitals import hospitals

# ---- 11.1 --------------------------------------------------------------------------------------


def _drawn_without(holders: np.ndarray, clients: int, chosen: int) -> np.ndarray:
    """Return how likely a draw without replacement holds none of the holders."""
    return np.array([comb(clients - int(h), chosen) / comb(clients, chosen) for h in holders])


def _answer_11_1(
    holders: str = "(histograms > 0).sum(axis=0)",
    chance: str = "comb(able - h, chosen) / comb(able, chosen)",
    able: str = "int((histograms.sum(axis=1) > 0).sum())",
    after: str = "np.array(found)",
) -> str:
    """Return an answer to 11.1 with a part replaced."""
    return f"""
from math import comb
import numpy as np

def missing(histograms, chosen):
    histograms = np.array(histograms)
    able = {able}
    found = []
    for h in {holders}:
        h = int(h)
        found.append({chance})
    return {after}
"""


class Missing(Exercise):
    """Say how often a class is missing from a round."""

    label = "11.1"
    title = "Who is missing?"
    kinds = {
        "missing": array(1, "a vector: one probability a class", "Is something divided by zero?")
    }
    hints = (
        "How many records a client has of a class does not matter, only whether it has any. Count "
        "for each class the clients that hold it.",
        "With K clients, h of them holders: in how many ways can the round be drawn from all K, "
        "and in how many from the K − h others? Clients without any record are not among the K.",
        "comb(K - h, chosen) / comb(K, chosen), with comb from the module math and "
        "h = (histograms > 0).sum(axis=0).",
    )
    reference = _answer_11_1()
    mistakes = (
        Mistake(
            "with replacement",
            _answer_11_1(chance="(1 - h / able) ** chosen"),
            "as if a client could be drawn twice",
        ),
        Mistake(
            "the opposite",
            _answer_11_1(chance="1 - comb(able - h, chosen) / comb(able, chosen)"),
            "that the class is there",
        ),
        Mistake(
            "somebody lacks it",
            _answer_11_1(chance="1 - comb(h, chosen) / comb(able, chosen)"),
            "at least one of the drawn clients lacks",
        ),
        Mistake(
            "records drawn",
            _answer_11_1(
                holders="histograms.sum(axis=0)", chance="(1 - h / histograms.sum()) ** chosen"
            ),
            "Clients are drawn, not records",
        ),
        Mistake(
            "one client", _answer_11_1(chance="1 - h / able"), "for a round of a single client"
        ),
        Mistake(
            "all at once",
            _answer_11_1(after="np.full(len(found), 1 - np.prod(1 - np.array(found)))"),
            "same number for all classes",
        ),
        Mistake(
            "majority only",
            _answer_11_1(
                holders="np.bincount(histograms.argmax(axis=1), minlength=histograms.shape[1])"
            ),
            "only where it is the most frequent",
        ),
        Mistake(
            "a vector of clients",
            _answer_11_1(holders="(histograms > 0).sum(axis=1)"),
            "transposed",
        ),
        Mistake("empty clients drawn", _answer_11_1(able="len(histograms)"), "never drawn"),
        Mistake(
            "simulated",
            """
import numpy as np

def missing(histograms, chosen):
    rng = np.random.default_rng(0)
    able = np.flatnonzero(histograms.sum(axis=1))
    rounds = [histograms[rng.choice(able, chosen, replace=False)].sum(axis=0) == 0
              for _ in range(2000)]
    return np.mean(rounds, axis=0)
""",
            "near the exact",
        ),
    )

    @staticmethod
    def _histograms(rng: np.random.Generator, clients: int, empty: int = 0) -> np.ndarray:
        """Let clients lack classes, each class for a reason of its own."""
        while True:
            counts = rng.integers(1, 40, (clients, 6)) * (rng.random((clients, 6)) < 0.45)
            counts[rng.permutation(clients)[:empty]] = 0
            holders = (counts > 0).sum(axis=0)
            enough = (counts.sum(axis=1) > 0).sum() == clients - empty
            # Different numbers of holders; some classes can be missing, and none has no holder.
            if enough and holders.min() >= 1 and len(np.unique(holders)) >= 3:
                return counts

    @staticmethod
    def _check(answers: Answers, counts: np.ndarray, chosen: int) -> np.ndarray:
        got = answers.missing(counts, chosen)
        able, holders = int((counts.sum(axis=1) > 0).sum()), (counts > 0).sum(axis=0)
        wanted = _drawn_without(holders, able, chosen)
        told = (
            f"There are {len(counts)} clients and {counts.shape[1]} classes. Your vector has "
            f"{len(got)} entries."
        )
        if len(got) == len(counts) != len(wanted):
            raise Wrong(f"{told} Is something transposed? One probability a class.")
        if len(got) != len(wanted):
            raise Wrong(told)
        if np.allclose(got, wanted, rtol=1e-6, atol=1e-9):
            return wanted
        worst = int(np.abs(got - wanted).argmax())
        told = (
            f"Of {len(counts)} clients ({able} with records), {holders[worst]} hold class {worst}, "
            f"and {chosen} take part. It is missing with probability {wanted[worst]:.4f}; you say "
            f"{got[worst]:.4f}."
        )
        common = np.bincount(counts.argmax(axis=1), minlength=counts.shape[1])
        there = 1 - _drawn_without(able - holders, able, chosen)
        explained = (
            ((1 - holders / able) ** chosen, "You draw as if a client could be drawn twice."),
            (1 - wanted, "That is how likely it is that the class is there."),
            (there, "That is how likely at least one of the drawn clients lacks the class."),
            (
                (1 - counts.sum(axis=0) / counts.sum()) ** chosen,
                "Clients are drawn, not records: it only matters whether a client has any.",
            ),
            (1 - holders / able, "That is right for a round of a single client."),
            (
                _drawn_without((counts > 1).sum(axis=0), able, chosen),
                "A client holds a class if it has one record of it; you ask for more.",
            ),
            (
                (1 - chosen / able) ** holders,
                "You let each client decide by itself whether it takes part. Just as many as are "
                "asked for are drawn.",
            ),
            (
                _drawn_without(common, able, chosen),
                "You count a client as a holder of a class only where it is the most frequent "
                "one. One record is enough.",
            ),
            (
                _drawn_without(holders, len(counts), chosen),
                "Clients without any record are never drawn: they must not count.",
            ),
        )
        for value, why in explained:
            if np.allclose(got, value, rtol=1e-6, atol=1e-9):
                raise Wrong(f"{told} {why}")
        if np.ptp(got) < 1e-12:
            raise Wrong(f"{told} You give the same number for all classes.")
        if np.abs(got - wanted).max() < 0.05:
            raise Wrong(f"{told} That is near the exact value, but not exact: count the draws.")
        raise Wrong(told)

    def test_probability(self, answers: Answers, rng: np.random.Generator) -> None:
        """All clients have records."""
        for clients, chosen in ((12, 4), (9, 3)):
            self._check(answers, self._histograms(rng, clients), chosen)

    def test_empty(self, answers: Answers, rng: np.random.Generator) -> None:
        """Some clients have none."""
        self._check(answers, self._histograms(rng, 12, empty=3), 4)

    def test_loop(self, answers: Answers, rng: np.random.Generator) -> str:
        """Count in the real loop."""
        counts = self._histograms(rng, 10)
        labels = np.concatenate([np.repeat(np.arange(6), row) for row in counts])
        parts = np.split(np.arange(len(labels)), np.cumsum(counts.sum(axis=1))[:-1])
        clients = federated.make_clients(np.zeros((len(labels), 1)), labels, parts)
        run = federated.fedavg(
            federated.Network(1, 6), clients, 500, 1, 0.1, rng, batch_size=1, participation=0.3
        )
        absent = np.array([counts[each.received.clients].sum(axis=0) == 0 for each in run])
        said = self._check(answers, counts, 3)
        worst = int(said.argmax())
        return (
            f"In 500 rounds of the loop, class {worst} was missing {absent[:, worst].sum()} times; "
            f"you said {500 * said[worst]:.0f}."
        )

    def hidden_cases(self, answers: Answers, rng: np.random.Generator) -> None:
        """Everybody takes part; one takes part; everybody holds it; nobody does."""
        counts = self._histograms(rng, 8)
        counts[:, 0], counts[:, 1] = 3, 0
        for chosen in (1, 3, 7, 8):
            self._check(answers, counts, chosen)
        self._check(answers, self._histograms(rng, 16, empty=3), 5)


# ---- 11.2 --------------------------------------------------------------------------------------


def _direction(
    gradients: np.ndarray, weights: np.ndarray, start: np.ndarray, step: int, work: np.ndarray,
    mu: float,
) -> np.ndarray:  # fmt: skip
    """Return the direction that exercise 11.2 asks for."""
    return (gradients + mu * (weights - start)) * (step < work)[:, None]


def _answer_11_2(
    way: str = "gradients + mu * (weights - start)",
    going: str = "(step < work)[:, None]",
    result: str = "way * going",
    before: str = "",
) -> str:
    """Return an answer to 11.2 with a part replaced."""
    return f"""
import numpy as np
{before}
def direction(gradients, weights, start, step, work, mu):
    way = {way}
    going = {going}
    return {result}
"""


_REMEMBERS = """
seen = {}

def one_step_before(weights, start, step):
    last = seen.get("last", start) if step else start
    seen["last"] = weights
    return last
"""


class Leash(Exercise):
    """Write FedProx's direction, for clients that do different amounts of work."""

    label = "11.2"
    title = "FedProx with stragglers"
    points = 2
    kinds = {
        "direction": array(
            2, "an array: a row a client, a column a parameter", "No argument holds any."
        )
    }
    hints = (
        "Two parts: the gradient of the local loss with the proximal term; and then rows of zeros "
        "for the clients that have done their work.",
        "The gradient of μ/2 · ‖w − start‖² is μ (w − start), for each client its own row. Steps "
        "count from 0: whoever manages 3 steps moves in steps 0, 1 and 2.",
        "(gradients + mu * (weights - start)) * (step < work)[:, None]",
    )
    reference = _answer_11_2()
    mistakes = (
        Mistake(
            "wrong sign", _answer_11_2("gradients - mu * (weights - start)"), "pushed away from"
        ),
        Mistake("no leash", _answer_11_2("gradients"), "μ changes nothing"),
        Mistake("weight decay", _answer_11_2("gradients + mu * weights"), "towards zero"),
        Mistake(
            "towards the others",
            _answer_11_2("gradients + mu * (weights - weights.mean(axis=0))"),
            "mean of the clients' present weights",
        ),
        Mistake(
            "towards the step before",
            _answer_11_2(
                "gradients + mu * (weights - one_step_before(weights, start, step))",
                before=_REMEMBERS,
            ),
            "where the client was one step ago",
        ),
        Mistake(
            "the loss itself",
            _answer_11_2("gradients + mu / 2 * ((weights - start) ** 2).sum(axis=1)[:, None]"),
            "the term itself, not its gradient",
        ),
        Mistake(
            "added up over clients",
            _answer_11_2("gradients + mu * (weights - start).sum(axis=0)"),
            "added up over the clients",
        ),
        Mistake(
            "length one",
            _answer_11_2(
                "gradients + mu * (weights - start) / np.linalg.norm(weights - start, axis=1, "
                "keepdims=True).clip(1e-12)"
            ),
            "the same strength at any distance",
        ),
        Mistake(
            "the square forgotten",
            _answer_11_2(
                "gradients + mu / 2 * (weights - start) / np.linalg.norm(weights - start, axis=1, "
                "keepdims=True).clip(1e-12)"
            ),
            "The square is forgotten",
        ),
        Mistake(
            "stronger with each step",
            _answer_11_2("gradients + mu * step * (weights - start)"),
            "grows with the number of the step",
        ),
        Mistake("a factor 2", _answer_11_2("gradients + 2 * mu * (weights - start)"), "twice"),
        Mistake(
            "the gradient lost", _answer_11_2("mu * (weights - start)"), "gradient of the data"
        ),
        Mistake("nobody stops", _answer_11_2(result="way"), "have done their work, and still"),
        Mistake(
            "one step more", _answer_11_2(going="(step <= work)[:, None]"), "one step too many"
        ),
        Mistake(
            "pulled back",
            _answer_11_2(result="gradients * going + mu * (weights - start)"),
            "pulled back to the start",
        ),
    )

    @staticmethod
    def _compare(got: np.ndarray, arguments: tuple, before: np.ndarray | None = None) -> None:
        """Raise ``Wrong`` with the reason, where there is a known one."""
        gradients, weights, start, step, work, mu = arguments
        if got.shape != gradients.shape:
            raise Wrong(
                f"The gradients have shape {gradients.shape}, what you return {got.shape}: a row "
                "a client."
            )
        wanted = _direction(*arguments)
        # As exact as 32-bit floats are, in which an answer may compute.
        exact = max(1e-8, 1e-5 * float(np.abs(wanted).max()))
        same = lambda value: np.allclose(got, value, rtol=1e-5, atol=exact)  # noqa: E731
        if same(wanted):
            return
        apart, going = weights - start, (step < work)[:, None]
        lengths = np.linalg.norm(apart, axis=1, keepdims=True).clip(1e-12)
        ways = [
            (-apart, "Clients are pushed away from the start, not held: the sign."),
            (0 * apart, "μ changes nothing. Where is the proximal term?"),
            (weights, "You pull towards zero; the leash is fixed at the start of the round."),
            (
                weights - weights.mean(axis=0),
                "You pull towards the mean of the clients' present weights, which no client "
                "knows. The leash is fixed at the start of the round.",
            ),
            (
                (apart**2).sum(axis=1, keepdims=True) / 2,
                "You add the term itself, not its gradient.",
            ),
            (
                apart.sum(axis=0),
                "The distances are added up over the clients; each has a leash of its own.",
            ),
            (
                apart / lengths / 2,
                "The square is forgotten: you take the gradient of μ/2 · ‖w − start‖.",
            ),
            (apart / lengths, "You pull with the same strength at any distance: why the length?"),
            (apart / 2, "You pull half as hard: the derivative of the square brings a 2."),
            (2 * apart, "You pull twice as hard: the term is μ/2 · ‖w − start‖²."),
        ]
        if step > 1:  # before the factor 2, which step 2 would look like
            told = "Your pull grows with the number of the step; it depends on the distance alone."
            ways.insert(0, (step * apart, told))
        if before is not None:
            ways.append(
                (
                    weights - before,
                    "You pull towards where the client was one step ago. The leash is fixed at the "
                    "start of the round.",
                )
            )
        for way, why in ways:
            if same((gradients + mu * way) * going):
                raise Wrong(f"With μ = {mu:g}, in step {step}: {why}")
        if same(-(gradients + mu * apart) * going):
            raise Wrong("The sign: the loop subtracts what you return, as it does a gradient.")
        if same(gradients + mu * apart * going):
            raise Wrong("Clients that have done their work must stand still: no gradient either.")
        if same(mu * apart * going):
            raise Wrong("The gradient of the data is lost: clients learn nothing.")
        case = f"In step {step}, with work {work.tolist()}"
        free = gradients + mu * apart
        if same(free):
            raise Wrong(f"{case}, some clients have done their work, and still move.")
        if same(free * (step <= work)[:, None]):
            raise Wrong(f"{case}, clients take one step too many: steps count from 0.")
        if same(gradients * going + mu * apart):
            raise Wrong(
                f"{case}, clients that have done their work are pulled back to the start; they "
                "should stand still."
            )
        worst = int(np.abs(got - wanted).max(axis=1).argmax())
        shown = lambda rows: (np.round(rows[worst, :3], 5) + 0.0).tolist()  # noqa: E731, no -0.0
        raise Wrong(
            f"{case} and μ = {mu:g}, the direction of client {worst} should start with "
            f"{shown(wanted)}; yours starts with {shown(got)}."
        )

    def _steps(
        self, answers: Answers, rng: np.random.Generator, work: np.ndarray, mu: float
    ) -> None:
        """Follow clients over four steps from a common start."""
        start = np.tile(rng.normal(size=5), (len(work), 1))
        weights, before = start, None
        for step in range(4):
            gradients = rng.normal(size=start.shape)
            arguments = (gradients, weights, start, step, work, mu)
            self._compare(answers.direction(*arguments), arguments, before)
            before = weights
            weights = weights - 0.3 * _direction(*arguments)

    def test_leash(self, answers: Answers, rng: np.random.Generator) -> None:
        """Everybody works all the time."""
        self._steps(answers, rng, np.full(4, 10), float(rng.uniform(0.3, 1.5)))

    def test_stragglers(self, answers: Answers, rng: np.random.Generator) -> None:
        """Clients stop one after the other, and one does nothing."""
        work, mu = rng.permutation([0, 1, 2, 3, 9]), float(rng.uniform(0.3, 1.5))
        # First a step in which some clients are done for long, and one just now.
        for step in (3, 1, 0, 2):
            gradients, weights, start = rng.normal(size=(3, len(work), 4))
            start[:] = start[0]  # one global model
            arguments = (gradients, weights, start, step, work, mu)
            self._compare(answers.direction(*arguments), arguments)

    def test_drift(self, answers: Answers, rng: np.random.Generator) -> str:
        """Measure in the real loop, on the hospitals, how far clients drift."""
        work = rng.permutation([5, 20, 30, 40])
        drifts = {}
        for mu in (0.0, 0.3, 3.0):
            got = self._drift(lambda *a: answers.direction(*a), work, mu)
            wanted = self._drift(_direction, work, mu)
            if not np.isclose(got, wanted, rtol=1e-4):
                raise Wrong(
                    f"In the loop, with μ = {mu:g}, the hospitals drift {got:.3f} a round; with "
                    f"the proximal term it is {wanted:.3f}. Does your function depend on earlier "
                    "calls, or on the number of the step in another way?"
                )
            drifts[mu] = got
        told = ", ".join(f"{drift:.3f} at μ = {mu:g}" for mu, drift in drifts.items())
        return f"In your loop the hospitals drift {told}, with {work.tolist()} steps of work."

    @staticmethod
    def _drift(direction: Callable[..., np.ndarray], work: np.ndarray, mu: float) -> float:
        """Return the mean length of an update over three rounds."""

        def hook(gradients: np.ndarray, local: federated.Local) -> np.ndarray:
            of_each = work[local.clients]
            return direction(gradients, local.weights, local.start, local.step, of_each, mu)

        run = federated.fedavg(
            federated.Network(10), federated.make_clients(*hospitals()), 3, 40, 0.3,
            np.random.default_rng(0),
            direction=hook,
        )  # fmt: skip
        return float(np.mean([np.linalg.norm(each.received.updates, axis=1) for each in run]))

    def hidden_cases(self, answers: Answers, rng: np.random.Generator) -> None:
        """One client; no leash; a tight one."""
        for work, mu in ((np.array([2]), 1.0), (np.array([1, 4]), 0.0), (np.arange(6), 50.0)):
            self._steps(answers, rng, work, mu)


# ---- 11.3 --------------------------------------------------------------------------------------

_BYTES, _MOST_STEPS = 2_000_000, 50
_OWN = {"fedavg": None, "fedprox": "mu", "fedadam": "server_rate", "scaffold": None}
_MODEL = federated.Network(features=64, outputs=10, hidden=32)
_CLIENTS, _SHARE, _ALPHA, _BATCH = 10, 0.3, 0.1, 16


#: Deals of clients on which settings are compared, and how many of them come first: settings that
#: are far behind there are told so soon.
_DEALS, _FIRST, _FAR = 24, 4, 0.05

#: The last rounds, whose accuracies are averaged: it jumps from round to round.
_LAST = 5

#: By how much an answer has to beat tuned FedAvg, on the same clients. Over 72 deals, the reference
#: is ahead of it by 4.5 points, which spread by 2.7 from deal to deal: for a student, who gets 24,
#: z = 4.4. FedAdam (34 rounds, 40 steps, 0.4, 0.03) is ahead by 2.9, spread 2.7. FedAvg itself with
#: 50 steps is by 0.3, spread 3.0: luck lifts it over the two points with z = 2.9.
_AHEAD = 0.02
_FEDAVG = {"method": "fedavg", "rounds": 34, "local_steps": 30, "learning_rate": 0.4}


def _settings(value: Any, what: str) -> dict[str, Any]:
    """Accept a dict of a method and its settings, each in its range."""
    given = mapping(value, what)
    method = given.get("method")
    if not isinstance(method, str) or method not in _OWN:
        raise Wrong(f"The method in {what} must be one of {', '.join(_OWN)}.")
    own = _OWN[method]
    names = ["rounds", "local_steps", "learning_rate", *([own] if own else [])]
    lacking = [name for name in names if name not in given]
    if lacking:
        raise Wrong(f"There is no value for {', '.join(lacking)} in {what}.")
    unknown = set(given) - {"method", *names}
    if unknown:
        raise Wrong(
            f"{method} has no {', '.join(sorted(map(str, unknown)))}: {what} should hold method, "
            f"{', '.join(names)}."
        )
    numbers = {name: number(given[name], f"{name} in {what}") for name in names}
    rounds, steps = numbers["rounds"], numbers["local_steps"]
    if rounds != int(rounds) or steps != int(steps) or min(rounds, steps) < 1:
        raise Wrong(
            f"rounds is {rounds:g} and local_steps is {steps:g}; both must be whole numbers, at "
            "least 1."
        )
    if steps > _MOST_STEPS:
        raise Wrong(f"local_steps is {steps:g}; more than {_MOST_STEPS} are not allowed.")
    for name in names[2:]:
        if not 0 <= numbers[name] <= 10 or (numbers[name] == 0 and name != "mu"):
            low = "at least 0" if name == "mu" else "above 0"
            raise Wrong(f"{name} is {numbers[name]:g}; it must be {low} and at most 10.")
    sent = rounds * _per_round(method)
    if sent > _BYTES:
        twice = " Under SCAFFOLD two vectors come down." if method == "scaffold" else ""
        raise Wrong(
            f"{rounds:g} rounds of {method} are {sent:,.0f} bytes; the line carries {_BYTES:,}."
            f"{twice}"
        )
    return {"method": method} | numbers | {"rounds": int(rounds), "local_steps": int(steps)}


def _per_round(method: str) -> int:
    """Return the bytes of a round, up and down."""
    chosen = round(_SHARE * _CLIENTS)
    vectors = 3 if method == "scaffold" else 2  # up and down
    return federated.round_bytes(_MODEL.parameters, chosen, vectors)


def _hooks(settings: dict[str, Any], clients: federated.Clients) -> dict[str, Any]:
    """Return the hooks of a method, as the lesson writes them."""
    own = np.zeros((len(clients), _MODEL.parameters))
    shares = clients.sizes / clients.sizes.sum()
    scale = settings["local_steps"] * settings["learning_rate"]
    moments = np.zeros((2, _MODEL.parameters))

    def proximal(gradients: np.ndarray, local: federated.Local) -> np.ndarray:
        return gradients + settings["mu"] * (local.weights - local.start)

    def adam(weights: np.ndarray, received: federated.Received) -> np.ndarray:
        moments[0] = 0.9 * moments[0] + 0.1 * received.mean
        moments[1] = 0.99 * moments[1] + 0.01 * received.mean**2
        return weights + settings["server_rate"] * moments[0] / (np.sqrt(moments[1]) + 1e-3)

    def corrected(gradients: np.ndarray, local: federated.Local) -> np.ndarray:
        return gradients - own[local.clients] + shares @ own

    def controls(weights: np.ndarray, received: federated.Received) -> np.ndarray:
        own[received.clients] -= shares @ own + received.updates / scale
        return weights + received.mean

    return {
        "fedavg": {},
        "fedprox": {"direction": proximal},
        "fedadam": {"server_step": adam},
        "scaffold": {"direction": corrected, "server_step": controls},
    }[settings["method"]]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


@lru_cache(maxsize=1)
def _deals(seed: int) -> list[tuple[federated.Clients, np.ndarray]]:
    """Return for each deal the clients, and the test images' rows."""
    X, y = _digits()
    rng, made = np.random.default_rng(seed), []
    for _ in range(_DEALS):
        rows = rng.permutation(len(y))
        train, test = rows[450:], rows[:450]
        parts = federated.dirichlet_partition(y[train], _CLIENTS, _ALPHA, rng, equal_sizes=True)
        made.append((federated.make_clients(X[train], y[train], parts), test))
    return made


def _accuracies(seed: int, settings: dict[str, Any], first: int, end: int) -> list[float]:
    """Return for deals ``first`` to ``end - 1`` the mean accuracy over the last rounds."""
    X, y = _digits()
    found = []
    for number_of, (clients, test) in enumerate(_deals(seed)[first:end], first):
        # Rates that explode give NaN, which classifies nearly everything wrong.
        with np.errstate(all="ignore"):
            run = federated.fedavg(
                _MODEL, clients, settings["rounds"], settings["local_steps"],
                settings["learning_rate"], np.random.default_rng([seed, number_of]), _BATCH,
                _SHARE, **_hooks(settings, clients),
            )  # fmt: skip
            last = np.array([each.weights for each in deque(run, _LAST)])
            found.append(float(np.mean(_MODEL.predict(last, X[test]) == y[test])))
    return found


@cache
def _plain(seed: int, first: int, end: int) -> list[float]:
    """Return what tuned FedAvg reaches; who checks again does not wait for it again."""
    return _accuracies(seed, _FEDAVG, first, end)


def _answer_11_3(method: str, rounds: float, steps: float, rate: float, **own: float) -> str:
    given = {"method": method, "rounds": rounds, "local_steps": steps, "learning_rate": rate}
    return f"settings = {given | own}"


class Budget(Exercise):
    """Learn from skewed clients within a budget of bytes; open-ended."""

    label = "11.3"
    title = "Skewed clients, two megabytes"
    points = 3
    kinds = {"settings": _settings}
    hints = (
        "Use up the bytes: how many rounds do they buy? SCAFFOLD gets two thirds of the others'.",
        "FedAvg forgets who is absent. FedAdam smooths at the server, SCAFFOLD corrects at home. "
        "Two points are more than a better rate for FedAvg brings, and for FedAdam a near thing.",
        "SCAFFOLD: 23 rounds, 30 local steps, a learning rate of 0.3.",
    )
    reference = _answer_11_3("scaffold", 23, 30, 0.3)
    time_limit = 60
    mistakes = (
        Mistake("a method unknown", _answer_11_3("adam", 30, 20, 0.4), "must be one of"),
        Mistake("no server rate", _answer_11_3("fedadam", 30, 20, 0.4), "no value for server_rate"),
        Mistake("over budget", _answer_11_3("fedavg", 60, 20, 0.4), "rounds of fedavg are"),
        Mistake(
            "one vector counted", _answer_11_3("scaffold", 34, 20, 0.2), "two vectors come down"
        ),
        Mistake(
            "another method's setting",
            _answer_11_3("fedavg", 30, 20, 0.4, mu=0.1),
            "fedavg has no mu",
        ),
        Mistake("half a round", _answer_11_3("fedavg", 30.5, 20, 0.4), "whole numbers"),
        Mistake("all night", _answer_11_3("fedavg", 30, 500, 0.4), "are not allowed"),
        Mistake("no learning rate", _answer_11_3("fedavg", 30, 20, 0), "it must be above 0"),
        Mistake("one step at home", _answer_11_3("fedavg", 34, 1, 0.3), "30 local steps would"),
        Mistake("rates that explode", _answer_11_3("fedavg", 34, 30, 4), "a tenth of the learning"),
        Mistake("bytes left over", _answer_11_3("fedavg", 6, 30, 0.4), "all 34 rounds would"),
        Mistake(
            "Adam's rate from elsewhere",
            _answer_11_3("fedadam", 34, 30, 0.4, server_rate=1),
            "a server_rate of 0.03",
        ),
        Mistake(
            "a leash too short", _answer_11_3("fedprox", 34, 30, 0.3, mu=3), "a small mu would"
        ),
    )

    def test_accuracy(self, answers: Answers, rng: np.random.Generator) -> str:
        """Train on many deals, each with clients, batches and a start of its own."""
        settings, seed = answers["settings"], int(rng.integers(2**31))
        ours, plain = [], []
        for first, end in ((0, _FIRST), (_FIRST, _DEALS)):
            ours += _accuracies(seed, settings, first, end)
            plain += _plain(seed, first, end)
            got, wanted = float(np.mean(ours)), float(np.mean(plain))
            if got < wanted - _FAR:
                break
        sent = settings["rounds"] * _per_round(settings["method"])
        told = (
            f"With {sent:,} bytes, {settings['method']} reaches an accuracy of {got:.1%} on "
            f"{len(ours)} deals; tuned FedAvg has {wanted:.1%} on the same clients"
        )
        if got < wanted + _AHEAD:
            advice = self._why(seed, settings, got - wanted)
            raise Wrong(f"{told}: beat that by {100 * _AHEAD:g} points. {advice}")
        return f"{told}."

    @staticmethod
    def _why(seed: int, settings: dict[str, Any], gain: float) -> str:
        """Try what could be better, on two deals, so that a wrong answer is told soon."""
        method = "Try another method, or more work at home; see what won in the comparison above."
        if settings["method"] in ("fedavg", "fedprox") and gain > -_AHEAD:
            return method  # nothing that is left to tune brings two points
        most = _BYTES // _per_round(settings["method"])
        tried = {
            "a tenth of the learning rate": {"learning_rate": settings["learning_rate"] / 10},
            "three times the learning rate": {"learning_rate": 3 * settings["learning_rate"]},
            f"all {most} rounds": {"rounds": most},
            "30 local steps": {"local_steps": max(30, settings["local_steps"])},
        }
        if settings["method"] == "fedadam":
            tried["a server_rate of 0.03"] = {"server_rate": 0.03}
        if settings["method"] == "fedprox":
            tried["a small mu"] = {"mu": 0.01}
        accuracy = lambda each: float(np.mean(_accuracies(seed, settings | each, 0, 2)))  # noqa: E731
        got, better = accuracy({}), {name: accuracy(each) for name, each in tried.items()}
        best = max(better, key=lambda name: better[name])
        if better[best] > got + _AHEAD:
            return (
                f"For example, on two of them {best} would raise {got:.1%} to {better[best]:.1%}."
            )
        return method


q1 = Missing()
q2 = Leash()
q3 = Budget()
EXERCISES = (q1, q2, q3)
