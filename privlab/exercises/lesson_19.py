"""Exercises of lesson 19: a blind score, both sides of a risk, parameters to share by."""

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from scipy.special import expit

from .. import he
from ..exercise import Answers, Exercise, Mistake, Wrong, kind_name, mapping, number
from .hospitals import hospitals

# ---- 19.1 --------------------------------------------------------------------------------------


class _Paillier:
    """A Paillier key pair of the judge: small enough for quick checks, large enough for chance."""

    def __init__(self, bits: int = 1024) -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa

        numbers = rsa.generate_private_key(public_exponent=65537, key_size=bits).private_numbers()
        self.n = numbers.p * numbers.q
        self.square = self.n**2
        self._phi = (numbers.p - 1) * (numbers.q - 1)

    def encrypt(self, m: int, r: int) -> int:
        return (1 + m * self.n) * pow(r, self.n, self.square) % self.square

    def decrypt(self, c: int) -> int:
        m = (pow(c, self._phi, self.square) - 1) // self.n * pow(self._phi, -1, self.n) % self.n
        return m if 2 * m < self.n else m - self.n

    def randomness(self, c: int) -> int:
        """Return the r that made a ciphertext: there is one for each."""
        return pow(c % self.n, pow(self.n, -1, self._phi), self.n)


def _integer(value: Any, what: str) -> int:
    """Accept a Python integer of any size."""
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"{what} should be a ciphertext, an int, but it is {kind_name(value)}.")
    return value


def _related(x: int, y: int, n: int, bound: int = 2**128) -> bool:
    """Say whether x / y modulo n is a fraction of two numbers up to a bound, of either sign.

    By chance that happens once in about n / bound² tries. Euclid's algorithm on n and x / y meets
    all such fractions.
    """
    a, b, s, t = n, x * pow(y, -1, n) % n, 0, 1
    while b > bound:
        a, b, s, t = b, a % b, t, s - a // b * t
    return abs(t) <= bound


@contextmanager
def _known_state() -> Iterator[None]:
    """Seed the generators that everybody shares, and give them back as they were.

    Where the learner's code runs in this process, what it draws from them shows: it comes again.
    """
    before, before_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(19)
    np.random.seed(19)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)  # noqa: NPY002


def _large(rng: np.random.Generator, n: int) -> int:
    return int.from_bytes(rng.bytes(n.bit_length() // 8 + 8), "big") % n


def _scoring(
    start: str = "(1 + bias * n) * pow(r, n, n * n)",
    step: str = "total * pow(c, w, n * n) % (n * n)",
    r: str = "1 + secrets.randbelow(n - 1)",
    result: str = "total % (n * n)",
) -> str:
    """Return an answer to 19.1 with a part replaced."""
    return f"""
import secrets

def score(encrypted, weights, bias, n):
    r = {r}
    total = {start}
    for c, w in zip(encrypted, weights):
        total = {step}
    return {result}
"""


class BlindScore(Exercise):
    """Compute a score on Paillier ciphertexts, freshly randomised."""

    label = "19.1"
    title = "Score without seeing"
    points = 2
    kinds = {"score": _integer}
    hints = (
        "Which operation on ciphertexts multiplies a message by a known integer, and which one "
        "adds two messages? Everything goes modulo n², negative exponents too.",
        "Start with an encryption of the bias, with a new r for each call, and multiply by "
        "pow(c, w, n * n) for every feature.",
        "total = (1 + bias * n) * pow(1 + secrets.randbelow(n - 1), n, n * n); then for each c and "
        "w: total = total * pow(c, w, n * n) % (n * n).",
    )
    reference = _scoring()
    mistakes = (
        Mistake(
            "not randomised again", _scoring("1 + bias * n"), "Two calls give the same ciphertext"
        ),
        Mistake("the bias forgotten", _scoring("pow(r, n, n * n)"), "The bias is missing"),
        Mistake(
            "the bias added to the ciphertext",
            _scoring("pow(r, n, n * n)", result="(total + bias) % (n * n)"),
            "added the bias to the ciphertext",
        ),
        Mistake(
            "ciphertexts added up",
            _scoring("bias", "total + c * w"),
            "multiplied ciphertexts by weights",
        ),
        Mistake(
            "modulo n",
            _scoring("(1 + bias * n) * pow(r, n, n)", "total * pow(c, w, n) % n"),
            "below n",
        ),
        Mistake(
            "weights without a sign",
            _scoring(step="total * pow(c, abs(w), n * n) % (n * n)"),
            "negative weights count as positive",
        ),
        Mistake(
            "weights left out", _scoring(step="total * c % (n * n)"), "weights are missing"
        ),
        Mistake("a small r", _scoring(r="2 + secrets.randbelow(2**64)"), "bits of n's"),
        Mistake(
            "a counter", "count = 0\n" + _scoring(r="next_r(n)") + """
def next_r(n):
    global count
    count += 1
    return pow(3, 5000 + count, n)
""",
            "as a fraction of small numbers",
        ),
        Mistake(
            "a pool",
            "import secrets\npool = [secrets.randbits(1023) for _ in range(8)]\n"
            + _scoring(r="pool.append(pool.pop(0)) or pool[0]"),
            "same randomness",
        ),
        Mistake(
            "weights times a million",
            _scoring("(1 + bias * 10**12 * n) * pow(r, n, n * n)",
                     "total * pow(c, w * 10**6, n * n) % (n * n)"),
            "are integers already",
        ),
        Mistake(
            "noise in the message",
            _scoring("pow(1 + n, r + bias, n * n)"),
            "another message in each call",
        ),
    )  # fmt: skip

    @staticmethod
    def _task(rng: np.random.Generator, features: int) -> tuple[list[int], list[int], int]:
        """Draw features, weights (the first negative, the last 0 if there are three) and a bias."""
        x = [int(v) or 7 for v in rng.integers(-4000, 9000, features)]
        weights = [int(v) or 5 for v in rng.integers(-3000, 3000, features)]
        weights[0] = -abs(weights[0])
        if features > 2:
            weights[-1] = 0
        return x, weights, 1 + int(rng.integers(10**6, 10**9))

    @staticmethod
    def _compare(
        key: _Paillier, c: int, x: list[int], weights: list[int], bias: int, sent: list[int]
    ) -> None:
        wanted = sum(w * v for w, v in zip(weights, x, strict=True)) + bias
        if not 0 < c < key.square:
            raise Wrong("The ciphertext should lie between 0 and n²: take it modulo n².")
        if c < key.n:
            raise Wrong("The ciphertext is below n. Paillier computes modulo n², everywhere.")
        added = sum(w * v for w, v in zip(weights, sent, strict=True))
        if c in {(added + extra) % key.square for extra in (0, bias, 1 + bias * key.n)}:
            raise Wrong(
                "You multiplied ciphertexts by weights and added them up. That does not compute on "
                "the messages: a power multiplies a message, a product adds two."
            )
        found = key.decrypt(c)
        if found == wanted:
            return
        told = f"It decrypts to {found if abs(found) < 10**15 else 'a huge number'}, not {wanted}."
        if found == wanted - bias:
            raise Wrong(f"{told} The bias is missing.")
        scaled = {10**6 * wanted, 10**12 * wanted}
        scaled |= {10**6 * (wanted - bias) + extra * bias for extra in (1, 10**12)}
        if found in scaled:
            raise Wrong(f"{told} The weights are integers already: use them as they come.")
        if found == sum(abs(w) * v for w, v in zip(weights, x, strict=True)) + bias:
            raise Wrong(f"{told} Your negative weights count as positive ones.")
        if found == sum(x) + bias:
            raise Wrong(f"{told} The weights are missing: a power multiplies a message.")
        raise Wrong(
            f"{told} No combination of the features gives that. Products of ciphertexts add "
            "messages, powers multiply them; adding a number to a ciphertext adds nothing to it."
        )

    def _scores(self, answers: Answers, rng: np.random.Generator, features: int) -> str:
        key = _Paillier()
        x, weights, bias = self._task(rng, features)
        sent = [key.encrypt(v, _large(rng, key.n)) for v in x]
        got = [answers.score(sent, weights, bias, key.n) for _ in range(2)]
        if all(key.n < c < key.square for c in got):
            plain = sum(w * v for w, v in zip(weights, x, strict=True))
            if plain in [key.decrypt(got[0] - extra) for extra in (bias, 1 + bias * key.n)]:
                raise Wrong(
                    "You added the bias to the ciphertext, which makes another ciphertext, of who "
                    "knows what. A product of ciphertexts adds: multiply by an encryption of it."
                )
            found = [key.decrypt(c) for c in got]
            if len(set(found)) == 2:
                raise Wrong(
                    "The same arguments decrypt to another message in each call. Randomness "
                    "belongs into r ** n, where decryption removes it, not into the message."
                )
        self._compare(key, got[0], x, weights, bias, sent)
        return f"{features} encrypted features: the score is exact."

    def test_score(self, answers: Answers, rng: np.random.Generator) -> str:
        """Does it decrypt to the score?"""
        return self._scores(answers, rng, 10)

    def test_randomness(self, answers: Answers, rng: np.random.Generator) -> str:
        """The clinic takes r = 1 everywhere, and extracts what the cloud added.

        What cannot be seen: randomness from a generator that somebody can predict, such as one
        that the answer seeds itself, or secret numbers of the answer combined with few others.
        """
        key = _Paillier()
        x, weights, bias = self._task(rng, 3)
        sent = [key.encrypt(v, 1) for v in x]

        def ask(weights: list[int], bias: int) -> int:
            c = answers.score(sent, weights, bias, key.n)
            self._compare(key, c, x, weights, bias, sent)
            return c

        got = [ask(weights, bias) for _ in range(18)]
        if len(set(got)) < 2:
            raise Wrong(
                "Two calls give the same ciphertext. The clinic made the ciphertexts, so it knows "
                "their randomness: it scores guesses of your weights itself, and compares. "
                "Multiply by r ** n with an r of its own in each call."
            )
        for _ in range(4):
            _, others, other = self._task(rng, 3)
            got.append(ask(others, other))
        self._look(key, [key.randomness(c) for c in got])
        again = []
        for _ in range(2):
            with _known_state():
                again.append(key.randomness(ask(weights, bias)))
        if again[0] == again[1]:
            raise Wrong(
                "The judge sets the seed of `random` and of numpy, and your r comes again. Such "
                "generators can be predicted from what they gave before: draw r with `secrets`."
            )
        return (
            f"The judge extracts the randomness of {len(got)} answers: all different, none short "
            "or simply related. Whether your generator can be predicted it cannot see."
        )

    @staticmethod
    def _look(key: _Paillier, drawn: Sequence[int]) -> None:
        """Look for patterns in randomness; uniform numbers show one less than once in 10⁸ times."""
        n, low = key.n, 2**40
        shift = n.bit_length() - 40
        longest = max(drawn).bit_length()
        if longest < n.bit_length() - 4:
            raise Wrong(
                f"In {len(drawn)} calls the new randomness has at most {longest} bits of n's "
                f"{n.bit_length()}: so few values can be tried out. Draw r from all of 1 … n - 1."
            )
        if len(set(drawn)) < len(drawn):
            raise Wrong(
                f"Among {len(drawn)} answers, some with other weights, two have the same "
                "randomness. Draw a new r in each call."
            )
        for what, parts in (
            ("first", [r >> shift for r in drawn]),
            ("last", [r % low for r in drawn]),
        ):
            if len(set(parts)) < len(parts):
                raise Wrong(
                    f"Two answers have randomness with the same {what} 40 bits. Draw all bits of "
                    "r anew in each call."
                )
        pairs = list(itertools.combinations([*drawn, 1], 2))
        if any(_related(r, other, n) for r, other in pairs):
            raise Wrong(
                "The randomness of one answer is that of another, or 1, times a number that can "
                "be written modulo n as a fraction of small numbers: so few can be tried out. "
                "Draw r from all of 1 … n - 1, independently in each call."
            )
        orders = [*pairs, *((other, r) for r, other in pairs)]
        for what, found in (
            ("quotient", {a * pow(b, -1, n) % n for a, b in orders}),
            ("difference", {(a - b) % n for a, b in orders}),
        ):
            if len(found) < len(orders):
                raise Wrong(
                    f"The randomness of your answers follows a rule: two pairs of it have the same "
                    f"{what}. Draw r from all of 1 … n - 1, independently in each call."
                )

    def hidden_cases(self, answers: Answers, rng: np.random.Generator) -> None:
        """One feature; two; a bias below zero; nothing but zeros."""
        for features in (1, 2, 25):
            self._scores(answers, rng, features)
        key = _Paillier()
        sent = [key.encrypt(3, _large(rng, key.n)) for _ in range(3)]
        for weights, bias in (([0, 0, 0], 0), ([1, -1, 2], -(10**9))):
            got = [answers.score(sent, weights, bias, key.n) for _ in range(2)]
            if not any(weights) and got[0] < key.n:
                raise Wrong(
                    "With all weights 0 nothing random is left: a power 0 removes the randomness "
                    "too. Randomise the result."
                )
            self._compare(key, got[0], [3, 3, 3], weights, bias, sent)
            if got[0] == got[1]:
                raise Wrong(f"With weights {weights} two calls give one ciphertext.")


# ---- 19.2 --------------------------------------------------------------------------------------

_MOST_KEYS, _ERROR = 10_000_000, 1e-3
_COUNTS = ("None", "One", "Two", "Three", "Four", "Five", "Six")


def _pair(value: Any, what: str) -> tuple[bytes, bytes]:
    """Accept a pair of serialised contexts."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"{what} should be a tuple (secret, public), but it is {kind_name(value)}.")
    return _bytes(value[0], "secret"), _bytes(value[1], "public")


def _bytes(value: Any, what: str) -> bytes:
    """Accept bytes."""
    if not isinstance(value, bytes):
        raise Wrong(f"{what} should be `bytes`, but it is {kind_name(value)}: call serialize().")
    return value


def _context(data: bytes, name: str) -> Any:
    import tenseal as ts

    try:
        context = ts.context_from(data)
    except Exception as error:
        raise Wrong(f"`{name}` is no context that TenSEAL can load ({error}).") from None
    try:
        usable = context.has_public_key()
    except ValueError:  # symmetric encryption
        usable = False
    if not usable:  # TenSEAL would crash when it encrypts
        raise Wrong(
            f"`{name}` holds no public key: leave save_public_key and the type as they are."
        )
    return context


def _levels(context: Any) -> list[int]:
    """Return the bits of the primes of the levels."""
    import tenseal.sealapi  # noqa: F401 (knows what a prime is)

    primes = context.seal_context().data.key_context_data().parms().coeff_modulus()
    return [prime.bit_count() for prime in primes[1:-1]]


def _encrypted(context: Any, values: np.ndarray) -> bytes:
    import tenseal as ts

    try:
        return ts.ckks_vector(context, values).serialize()
    except Exception as error:
        told = str(error)
        if "scale" in told:
            told += "; set global_scale before you serialise, below the bits of the first prime"
        raise Wrong(f"Your context cannot encrypt a column ({told}).") from None


def _opened(context: Any, data: bytes) -> np.ndarray:
    """Decrypt an answer with the secret context."""
    import tenseal as ts

    try:
        return np.array(ts.ckks_vector_from(context, data).decrypt())
    except Exception as error:
        raise Wrong(
            f"What `serve_risk` returns is no ciphertext of this clinic ({error})."
        ) from None


def _reads(context: Any, data: bytes, wanted: np.ndarray) -> bool:
    """Say whether a context decrypts a ciphertext, which may be another clinic's."""
    try:
        return bool(np.abs(_opened(context, data) - wanted).max() < 1)
    except (Wrong, ValueError):  # another degree or other primes
        return False


@dataclass(frozen=True)
class _Task:
    """Patients and a model: scores reach from -5 to 5, or less far."""

    X: np.ndarray
    weights: list[float]
    bias: float
    cubic: list[float]

    @property
    def scores(self) -> np.ndarray:
        return self.X @ self.weights + self.bias

    @property
    def risks(self) -> np.ndarray:
        return polynomial.polyval(self.scores, self.cubic)


def _sigmoid() -> np.ndarray:
    z = np.linspace(-5, 5, 201)
    return polynomial.polyfit(z, expit(z), 3)


def _task(rng: np.random.Generator, patients: int, features: int = 10) -> _Task:
    """Draw patients of the four hospitals and a model."""
    X, _, _ = hospitals()
    X = X[rng.integers(len(X), size=patients)][:, rng.permutation(10)[:features]]
    weights, bias = rng.normal(size=features), rng.choice([-1, 1]) * rng.uniform(1, 2)
    stretch = 4.9 / np.abs(X @ weights + bias).max()
    cubic = _sigmoid() + np.array([0, 0, 0.005, 0])
    return _Task(X, (stretch * weights).tolist(), float(stretch * bias), cubic.tolist())


_RISK = """
    here = ts.context_from(public)
    z = bias
    for column, w in zip(columns, weights):
        z = ts.ckks_vector_from(here, column) * w + z
    a0, a1, a2, a3 = cubic
    """


def _both(
    bits: str = "[50, 36, 36, 36, 50]",
    scale: str = "context.global_scale = 2**36",
    secret: str = "True",
    public: str = "False",
    risk: str = "(z * z) * (z * a3 + a2) + z * a1 + a0",
    result: str = "risk.serialize()",
    more: str = "",
    before: str = "",
    degree: int = 8192,
    make: str = "",
) -> str:
    """Return an answer to 19.2 with parts replaced."""
    make = make or f"ts.context(ts.SCHEME_TYPE.CKKS, {degree}, coeff_mod_bit_sizes={bits})"
    return f"""
import tenseal as ts
{before}
def keys():
    context = {make}
    {scale}
    {more}
    secret = context.serialize(save_secret_key={secret})
    return secret, context.serialize(save_secret_key={public})

def serve_risk(public, columns, weights, bias, cubic):{_RISK}risk = {risk}
    return {result}
"""


_POOL = """
sizes = [50, 36, 36, 36, 50]
pool = [ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=sizes) for _ in range(4)]
"""


class EncryptedRisk(Exercise):
    """Both sides of an encrypted risk.

    What no check from outside can see: code that keeps the keys it made, and decrypts with them
    where the cloud should not.
    """

    label = "19.2"
    title = "A risk the cloud never sees"
    points = 3
    kinds = {"keys": _pair, "serve_risk": _bytes}
    hints = (
        "Count the products in a row that the answer needs, the weights included: so many levels "
        "must the context have, one prime each between the first and the last. All primes together "
        "have at most 218 bits for N = 8,192.",
        "`[50, 36, 36, 36, 50]` and a scale of 2**36 are enough. Serialise twice: "
        "save_secret_key=True for the clinic, False for the cloud.",
        "With the score z: (z * z) * (z * a3 + a2) + z * a1 + a0 multiplies twice in a row; "
        "z itself is one product. Load columns with ts.ckks_vector_from(ts.context_from(public), "
        "column).",
    )
    reference = _both()
    mistakes = (
        Mistake("the cloud gets the secret key", _both(public="True"), "The cloud decrypts"),
        Mistake("nobody has the secret key", _both(secret="False"), "Nobody can read"),
        Mistake("Galois keys", _both(more="context.generate_galois_keys()"), "Galois keys"),
        Mistake("no scale", _both(scale="pass"), "set global_scale"),
        Mistake(
            "one key pair for ever", _both(before=_POOL, make="pool[0]"), "Six of six calls"
        ),
        Mistake(
            "too few levels",
            _both("[60, 40, 40, 60]", "context.global_scale = 2**40"),
            "Your modulus has too few levels",
        ),
        Mistake(
            "a deep polynomial",
            _both(
                "[50, 32, 32, 32, 32, 38]", "context.global_scale = 2**32",
                risk="z * z * z * a3 + z * z * a2 + z * a1 + a0",
            ),
            "Its modulus has three levels",
        ),
        Mistake(
            "four key pairs in turn",
            _both(before=_POOL, make="pool.append(pool.pop(0)) or pool[0]"),
            "Four of six calls",
        ),
        Mistake(
            "a scale unlike the primes",
            _both(scale="context.global_scale = 2**30"),
            "scale is not that of the levels",
        ),
        Mistake(
            "a small scale",
            _both("[40, 22, 22, 22, 40]", "context.global_scale = 2**22"),
            "too few bits",
        ),
        Mistake(
            "the score alone", _both(risk="z"), "the score z and not the polynomial"
        ),
        Mistake(
            "the square forgotten",
            _both(risk="(z * z) * (z * a3) + z * a1 + a0"),
            "The term a2 z² is missing",
        ),
        Mistake(
            "the bias forgotten",
            _both(risk="((z - bias) * (z - bias)) * ((z - bias) * a3 + a2) + (z - bias) * a1 + a0"),
            "The bias is missing",
        ),
        Mistake(
            "decrypted in the cloud",
            _both(result="bytes(str(risk.decrypt()), 'utf-8')"),
            "must not need one",
        ),
        Mistake(
            "the key kept in a variable",
            _both(
                more="global kept; kept = context",
                result="ts.ckks_vector(kept, ts.ckks_vector_from(kept, risk.serialize())"
                ".decrypt()).serialize()",
            ),
            "that came with the request",
        ),
    )  # fmt: skip

    @staticmethod
    def _serve(
        answers: Answers, public: bytes, secret: Any, task: _Task, other: bool = False
    ) -> tuple[float, int]:
        """Let the learner's cloud answer; return the largest error and the bytes."""
        clinic = _context(public, "public")
        columns = [_encrypted(clinic, column) for column in task.X.T]
        try:
            got = answers.serve_risk(public, columns, task.weights, task.bias, task.cubic)
        except Wrong as wrong:
            told = f"{str(wrong).rstrip('.')}."
            if "secret_key" in told:
                told += " The cloud holds no secret key, and must not need one."
            elif "scale out of bounds" in told and other:
                told += " Its modulus has three levels, and you have more products in a row."
            elif "scale out of bounds" in told:
                told += (
                    " Your modulus has too few levels for the products in a row, or primes "
                    "shorter than the scale."
                )
            elif other and "stops" in told:
                told += " This happens with another clinic's keys."
            raise Wrong(told) from None
        try:
            risks = _opened(secret, got)
        except Wrong as wrong:
            kept = " Compute with the context that came with the request." if other else ""
            raise Wrong(f"{wrong}{kept}") from None
        if len(risks) != len(task.X):
            raise Wrong(f"{len(task.X)} patients were sent, and {len(risks)} numbers came back.")
        error = float(np.abs(risks - task.risks).max())
        if not error < _ERROR:
            EncryptedRisk._explain(risks, task, error, secret)
        return error, len(got)

    @staticmethod
    def _explain(risks: np.ndarray, task: _Task, error: float, secret: Any) -> None:
        """Say which known mistake gives these risks."""
        z, cubic = task.scores, task.cubic
        scale, levels = np.log2(secret.global_scale), _levels(secret)
        told = f"The risks are off by up to {error:.2g}; {_ERROR:g} is allowed."

        def near(values: np.ndarray) -> bool:
            return bool(np.abs(risks - values).max() < 5e-3)

        if near(z):
            raise Wrong(f"{told} They are the score z and not the polynomial of it.")
        if near(polynomial.polyval(z - task.bias, cubic)):
            raise Wrong(f"{told} The bias is missing.")
        if near(polynomial.polyval(z, [*cubic[:2], 0, cubic[3]])):
            raise Wrong(f"{told} The term a2 z² is missing.")
        if near(task.risks - cubic[0]):
            raise Wrong(f"{told} The term a0 is missing.")
        if scale < 30 and all(abs(bits - scale) < 2 for bits in levels):
            raise Wrong(f"{told} A scale of 2^{scale:.0f} has too few bits.")
        if any(abs(bits - scale) >= 2 for bits in levels):
            raise Wrong(
                f"{told} The scale is not that of the levels: 2^{scale:.0f} against primes of "
                f"{levels} bits. After a product TenSEAL divides by a prime, and takes it for the "
                "scale."
            )
        if np.abs(risks).max() < 50:
            raise Wrong(
                f"{told} They look like values of another polynomial, or of other scores: compute "
                "yours on plain numbers first."
            )
        raise Wrong(
            f"{told} Does every value, times the scale, fit the first prime? Or did you compute "
            "with other keys than those in `public`?"
        )

    def test_keys(self, answers: Answers, rng: np.random.Generator) -> str:
        """What the cloud gets; whether the pair works; whether it is new."""
        secret, public = answers.keys()
        clinic, cloud = _context(secret, "secret"), _context(public, "public")
        ages = rng.integers(29, 78, 50).astype(float)
        if cloud.has_secret_key():
            found = _opened(cloud, _encrypted(cloud, ages))
            read = int((np.abs(found - ages) < 0.5).sum())
            swapped = " (Is the order secret, public?)" if not clinic.has_secret_key() else ""
            raise Wrong(
                f"`public` holds the secret key. The cloud decrypts a column of ages: it reads "
                f"{read} of {len(ages)}.{swapped}"
            )
        if not clinic.has_secret_key():
            raise Wrong(
                "`secret` holds no secret key. Nobody can read the answers: save_secret_key=True."
            )
        if len(public) > _MOST_KEYS:
            galois = cloud.has_galois_keys()
            why = (
                "It holds Galois keys: a batch by column needs none." if galois else "A smaller N?"
            )
            raise Wrong(
                f"`public` takes {len(public) / 1e6:.1f} MB, and {_MOST_KEYS // 10**6} MB are "
                f"allowed. {why}"
            )
        if public != cloud.serialize(save_secret_key=False):
            raise Wrong("`public` holds more than a public context. What else is in there?")
        found = _opened(clinic, _encrypted(cloud, ages))
        if not np.abs(found - ages).max() < 0.1:
            raise Wrong("What is encrypted with `public` cannot be decrypted with `secret`.")
        pairs = [(secret, public), *(answers.keys() for _ in range(5))]
        clinics = [_context(one, "secret") for one, _ in pairs]
        same = 0
        for (_, other), owner in zip(pairs, clinics, strict=True):
            sent = _encrypted(_context(other, "public"), ages)
            same += sum(c is not owner and _reads(c, sent, ages) for c in clinics) > 0
        if same:
            raise Wrong(
                f"{_COUNTS[same]} of six calls of `keys` give a key that another call gave too: "
                "every clinic could read the others. Make a new context in each call."
            )
        return f"The cloud gets {len(public) / 1e6:.1f} MB, and no secret key."

    def test_own_keys(self, answers: Answers, rng: np.random.Generator) -> str:
        """The learner's keys, the learner's cloud."""
        secret, public = answers.keys()
        clinic = _context(secret, "secret")
        error, size = self._serve(answers, public, clinic, _task(rng, 300))
        return (
            f"Largest error of 300 risks: {error:.0e}; the answer takes {size / 1e3:.0f} kB. "
            "Whether your code keeps keys between calls the judge cannot see."
        )

    def test_other_clinic(self, answers: Answers, rng: np.random.Generator) -> str:
        """Keys that the learner has never seen."""
        import tenseal as ts

        sizes = [50, 38, 38, 38, 50]
        clinic = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=sizes)
        clinic.global_scale = 2**38
        public = clinic.serialize(save_secret_key=False)
        error, _ = self._serve(answers, public, clinic, _task(rng, 200), other=True)
        return f"Another clinic with keys of its own: error {error:.0e}."

    def hidden_models(self, answers: Answers, rng: np.random.Generator) -> None:
        """Few features, and many patients."""
        secret, public = answers.keys()
        clinic = _context(secret, "secret")
        for patients, features in ((1, 3), (2000, 1)):
            self._serve(answers, public, clinic, _task(rng, patients, features))


# ---- 19.3 --------------------------------------------------------------------------------------

#: The standard's limits at 128 bits of security (ternary secrets): N, bits of the whole modulus.
_LIMITS = {4096: 109, 8192: 218, 16384: 438}
_MOST_BYTES, _MOST_ERROR, _BITS = 1_300, 0.01, 30
#: The error's length differs from key to key: measured with 190 keys in five settings, its standard
#: deviation is 2.5 to 4.5 %. So the noise may be this share of what the judge's own keys ask for.
_TOLERANCE = 0.8
_NAMES = ("poly_modulus_degree", "coeff_mod_bit_sizes", "scale_bits", "noise")


@dataclass(frozen=True)
class _Settings:
    degree: int
    sizes: tuple[int, ...]
    scale: int
    noise: float


def _whole(value: Any, what: str, low: int, high: int) -> int:
    found = number(value, what)
    if found != int(found) or not low <= found <= high:
        raise Wrong(f"{what} should be a whole number from {low} to {high}, not {found:g}.")
    return int(found)


def _settings(value: Any, what: str) -> _Settings:
    """Accept a dict with the four settings, each in its range."""
    value = mapping(value, what)
    if set(value) != set(_NAMES):
        raise Wrong(f"{what} should have the keys {', '.join(_NAMES)}.")
    degree = number(value["poly_modulus_degree"], "poly_modulus_degree")
    if degree not in _LIMITS:
        raise Wrong(f"poly_modulus_degree should be 4096, 8192 or 16384, not {degree:g}.")
    sizes = value["coeff_mod_bit_sizes"]
    if not isinstance(sizes, list | tuple | np.ndarray) or np.ndim(sizes) != 1:
        raise Wrong(f"coeff_mod_bit_sizes should be a list, but it is {kind_name(sizes)}.")
    if not 2 <= len(sizes) <= 20:
        raise Wrong(f"coeff_mod_bit_sizes should be 2 to 20 numbers, but it is {len(sizes)}.")
    bits = tuple(_whole(each, "A number in coeff_mod_bit_sizes", 20, 60) for each in sizes)
    noise = number(value["noise"], "noise")
    if noise < 0:
        raise Wrong(f"noise is a standard deviation, at least 0; it is {noise:g}.")
    return _Settings(int(degree), bits, _whole(value["scale_bits"], "scale_bits", 10, 60), noise)


def _choice(degree: int, sizes: list[int], scale: int, noise: float) -> str:
    return (
        f'settings = {{"poly_modulus_degree": {degree}, "coeff_mod_bit_sizes": {sizes}, '
        f'"scale_bits": {scale}, "noise": {noise}}}\n'
    )


@dataclass(frozen=True)
class _Batches:
    """Two full batches of risks: the same patients, and a model and its opposite."""

    tasks: list[_Task]
    columns: list[Any]
    answers: list[Any]

    @classmethod
    def compute(cls, settings: _Settings) -> "_Batches":
        """Let clinic and cloud compute with new keys; patients and models are always the same.

        TenSEAL divides by a prime where the sum asks for the scale. The cloud knows both, so it
        takes the quotients into the coefficients: what stays is noise.
        """
        import tenseal as ts

        scale = 2.0**settings.scale
        one = _task(np.random.default_rng(193), settings.degree // 2)
        opposite = [-w for w in one.weights]
        tasks = [one, _Task(one.X, opposite, -one.bias, one.cubic)]
        context = ts.context(
            ts.SCHEME_TYPE.CKKS, settings.degree, coeff_mod_bit_sizes=list(settings.sizes)
        )
        context.global_scale = scale
        columns = [ts.ckks_vector(context, column) for column in one.X.T]
        primes = he.rescaling_primes(settings.degree, settings.sizes)
        f, g, h = (prime / scale for prime in primes[:3])
        answers = []
        for task in tasks:
            z = task.bias
            for column, weight in zip(columns, task.weights, strict=True):
                z = column * (weight * f) + z
            a0, a1, a2, a3 = task.cubic
            answers.append((z * z) * (z * (a3 * g * g * h) + a2 * g * h) + z * (a1 * g) + a0)
        return cls(tasks, columns, answers)

    def opened(self) -> np.ndarray:
        """Decrypt both answers: of shape (2, N / 2)."""
        return np.array([answer.decrypt() for answer in self.answers])

    def length(self, got: np.ndarray) -> float:
        """Return the Euclidean length of the error over all slots, the longer of the two."""
        errors = got - [task.risks for task in self.tasks]
        return float(np.linalg.norm(errors, axis=1).max())


def _sound(settings: _Settings) -> None:
    """Refuse settings that are not secure, or with which the risks cannot be computed."""
    total, limit = sum(settings.sizes), _LIMITS[settings.degree]
    if total > limit:
        raise Wrong(
            f"The primes have {total} bits. At N = {settings.degree:,} the standard allows at "
            f"most {limit} bits, the last prime included, for 128 bits of security."
        )
    levels = len(settings.sizes) - 2
    if levels < 3:
        raise Wrong(
            f"Levels: {levels}, one a prime between the first and the last. The score and its "
            "cubic need three."
        )
    if settings.scale > settings.sizes[0] - 2:
        raise Wrong(
            f"A risk near 1 times 2^{settings.scale} does not fit the first prime of "
            f"{settings.sizes[0]} bits, with a bit for the sign."
        )


class Share(Exercise):
    """Choose parameters that leave room for flooding noise."""

    label = "19.3"
    title = "Parameters to share by"
    points = 3
    kinds = {"settings": _settings}
    hints = (
        "Start from the end: 0.01 is what the noise may be, σ is √24 · 2¹⁵ · ‖e‖. So how short "
        "must e be? Measure it with q3.error_length(settings) for a few scales; let the primes of "
        "the levels have as many bits as the scale.",
        "The error halves with each bit of the scale, roughly. All primes together have at most "
        "218 bits at N = 8,192; only the first must be longer than the scale, and the last may be "
        "short here.",
        "N = 8,192, [50, 44, 44, 44, 36], a scale of 44 bits and noise 0.006 pass. Can you do with "
        "fewer bits?",
    )
    reference = _choice(8192, [50, 44, 44, 44, 36], 44, 0.006)
    mistakes = (
        Mistake("the lesson's parameters", _choice(8192, [60, 40, 40, 60], 40, 0.005), "Levels: 2"),
        Mistake(
            "too long for N", _choice(8192, [60, 50, 50, 50, 60], 50, 0.009), "at most 218 bits"
        ),
        Mistake("no noise", _choice(8192, [50, 44, 44, 44, 36], 44, 0), "You add no noise"),
        Mistake(
            "no noise, and a first prime that is hardly longer",
            _choice(8192, [50, 48, 48, 48, 24], 48, 0),
            "is no defence. From two shared batches the judge recovers the key, and reads 100%",
        ),
        Mistake(
            "noise that fits a small scale badly",
            _choice(8192, [50, 40, 40, 40, 48], 40, 0.009),
            "is asked for at this scale",
        ),
        Mistake(
            "noise that drowns the risks",
            _choice(8192, [50, 40, 40, 40, 48], 40, 0.09),
            "What is shared is off by",
        ),
        Mistake(
            "levels that nobody uses",
            _choice(16384, [60, 52, 52, 52, 52, 52, 60], 52, 0.003),
            "bytes a patient, and",
        ),
        Mistake(
            "a scale unlike the primes",
            _choice(16384, [60, 52, 52, 52, 60], 40, 0.005),
            "scale is not that of the levels",
        ),
        Mistake(
            "a short first prime",
            _choice(16384, [50, 52, 52, 52, 60], 52, 0.003),
            "does not fit the first prime",
        ),
    )

    @staticmethod
    def error_length(settings: dict[str, Any]) -> float:
        """Measure the length of the error of a full batch of risks, as exercise 19.3 does.

        Args:
            settings: ``poly_modulus_degree``, ``coeff_mod_bit_sizes`` and ``scale_bits``.

        Returns:
            ‖e‖ over all N / 2 slots, with new keys in each call; between calls it varies by some
            percent. The known factors (prime by scale) are divided out.

        Raises:
            ValueError: A setting is missing or out of range, or TenSEAL refuses them together.
        """
        try:
            found = _settings({"noise": 0, **settings}, "settings")
            _sound(found)
            batches = _Batches.compute(found)
        except Wrong as wrong:
            raise ValueError(str(wrong)) from None
        return batches.length(batches.opened())

    @staticmethod
    def _attack(settings: _Settings, batches: _Batches, shared: np.ndarray) -> float:
        """Recover the key from what is shared; return the share of the ages that it opens."""
        ring = he.Ring(settings.degree, settings.sizes, 2.0**settings.scale)
        try:
            key = he.recover_key(ring, batches.answers, list(shared))
        except ValueError:  # the noise alone is larger than what the first prime can hold
            return 0.0
        c0, c1 = ring.polynomials(batches.columns[0])
        found = ring.decode((c0 + c1 * key) % ring.prime)
        return float((np.abs(found - batches.tasks[0].X[:, 0]) < 0.01).mean())

    def test_share(self, answers: Answers, rng: np.random.Generator) -> str:
        """Security, error, noise and bytes, and the attack on what is shared."""
        settings = answers["settings"]
        _sound(settings)
        slots = settings.degree // 2
        try:
            batches = _Batches.compute(settings)
            got = batches.opened()
            shared = got + rng.normal(0, settings.noise, got.shape)
            read = self._attack(settings, batches, shared)
        except (ValueError, RuntimeError) as error:
            raise Wrong(f"TenSEAL stops with these parameters: {error}.") from None
        sent = sum(len(each.serialize()) for each in [*batches.columns, batches.answers[0]])
        length, size = batches.length(got), sent / slots
        needed = float(np.sqrt(12 * len(got)) * 2 ** (_BITS / 2) * length)
        off = float(np.hypot(length / np.sqrt(slots), settings.noise))
        short = settings.noise < _TOLERANCE * needed
        if settings.noise == 0:
            told = (
                "A first prime that is hardly longer than the scale is no defence. From"
                if settings.sizes[0] < settings.scale + 4
                else "You add no noise. From"
            )
            raise Wrong(
                f"{told} two shared batches the judge recovers the key, and reads {read:.0%} of "
                "the clinic's ages."
            )
        if (short or off > _MOST_ERROR) and set(settings.sizes[1:4]) != {settings.scale}:
            raise Wrong(
                f"Noise of at least {needed:.2g} is needed; yours is {settings.noise:g}. The scale "
                f"is not that of the levels: 2^{settings.scale} against primes of "
                f"{list(settings.sizes[1:-1])} bits. A product is divided by a prime: where that "
                "is longer than the scale, bits behind the point are lost."
            )
        if short:
            raise Wrong(
                f"Noise of {settings.noise:g}, but {needed:.2g} is asked for at this scale: the "
                f"error of CKKS has length {length:.1e} (from key to key it varies by some "
                f"percent). The judge's attack reads {read:.0%} of the ages; a better one may come."
            )
        if off > _MOST_ERROR:
            raise Wrong(
                f"What is shared is off by {off:.2g}, and {_MOST_ERROR:g} is allowed. A larger "
                "scale makes the CKKS error small, so that less noise drowns it."
            )
        if size > _MOST_BYTES:
            raise Wrong(
                f"It takes {size:,.0f} bytes a patient, and {_MOST_BYTES:,} are allowed. Every "
                f"prime travels with every number: are {len(settings.sizes) - 2} levels and "
                f"{sum(settings.sizes)} bits needed?"
            )
        return (
            f"Shared with an error of {off:.2g}; noise {settings.noise:g}, {needed:.2g} was asked "
            f"for ({_TOLERANCE:g} of it is enough); the judge's attack reads {read:.0%} of the "
            f"ages; {size:,.0f} bytes a patient."
        )


q1, q2, q3 = EXERCISES = (BlindScore(), EncryptedRisk(), Share())
