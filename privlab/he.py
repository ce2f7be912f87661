"""Inside TenSEAL's ciphertexts: its primes, and polynomials as numbers, for attacks on results.

TenSEAL hands out vectors; an attacker looks at the polynomials below them. SEAL keeps a polynomial
of degree below N as its values at the N roots of X^N + 1, modulo each prime (number-theoretic
transform): sums and products then go entry by entry.
"""

import math
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tenseal as ts

_DEGREES = (1024, 2048, 4096, 8192, 16384, 32768)  # those of the standard, which SEAL checks


def rescaling_primes(degree: int, bit_sizes: Sequence[int]) -> list[int]:
    """Return the primes that a ciphertext is divided by, product by product.

    TenSEAL takes each for the scale Δ. So the first product comes out Δ / (first of these) times
    too large, whatever the noise.

    Args:
        degree: N, ``poly_modulus_degree`` of the context.
        bit_sizes: ``coeff_mod_bit_sizes`` of the context, in bits.

    Returns:
        All primes but the first and the last, the one that is used first at the start.

    Raises:
        ValueError: SEAL has no primes of these sizes for this degree.
    """
    return [prime.value() for prime in _primes(degree, bit_sizes)[-2:0:-1]]


def _primes(degree: int, bit_sizes: Sequence[int]) -> list[Any]:
    """Choose the primes as TenSEAL does: the same ones for the same sizes."""
    import tenseal.sealapi as seal

    if degree not in _DEGREES:
        raise ValueError(f"degree must be one of {_DEGREES}, not {degree}")
    if len(bit_sizes) < 2:
        raise ValueError(f"bit_sizes must be at least 2 numbers, not {list(bit_sizes)}")
    try:
        return seal.CoeffModulus.Create(int(degree), [int(bits) for bits in bit_sizes])
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"bit_sizes {list(bit_sizes)} for degree {degree}: {error}") from None


class Ring:
    """The polynomials behind a CKKS context, modulo the first prime of its modulus.

    A message stays below the first prime, so that this prime alone is enough to read it, whatever
    the level of its ciphertext.

    Attributes:
        degree: N, the number of coefficients; N / 2 values fit.
        prime: The first prime.
        scale: Δ, by which values are multiplied before they are rounded to integers.
    """

    def __init__(self, degree: int, bit_sizes: Sequence[int], scale: float):
        """Set up what encodes and decodes; it holds no key.

        Args:
            degree: N, ``poly_modulus_degree`` of the context: a power of two, 1,024 to 32,768.
            bit_sizes: ``coeff_mod_bit_sizes`` of the context, in bits.
            scale: Δ, ``global_scale`` of the context, above 0. TenSEAL keeps it at every level.
                Another scale goes unseen: it is no part of the polynomials, and values come out
                wrong by the quotient.

        Raises:
            ValueError: The degree or the scale is out of range, SEAL finds no primes of these
                sizes, or N and they promise less than 128 bits of security.
        """
        import tenseal.sealapi as seal

        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"scale must be a finite number above 0, not {scale}")
        primes = _primes(degree, bit_sizes)
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(degree)
        parameters.set_coeff_modulus(primes)
        self._seal = seal
        self._context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self._context.parameters_set():
            raise ValueError(
                f"degree {degree} with {sum(bit_sizes)} bits in bit_sizes: "
                f"{self._context.parameters_error_message()}"
            )
        self._encoder = seal.CKKSEncoder(self._context)
        self.degree = degree
        self.scale = float(scale)
        self.prime = primes[0].value()

    def polynomials(self, vector: "ts.CKKSVector") -> tuple[np.ndarray, np.ndarray]:
        """Return (c0, c1) of a ciphertext, which decrypts to c0 + c1 · s.

        Args:
            vector: A vector of a context with this degree and these bit sizes, in one ciphertext.

        Returns:
            Two arrays of N Python integers. Entry i and entry N - 1 - i belong to complex
            conjugates, as SEAL orders the roots.

        Raises:
            ValueError: The vector has several ciphertexts, or does not belong to this ring.
        """
        parts = vector.ciphertext()
        if len(parts) != 1:
            raise ValueError(f"vector must be one ciphertext, but it is {len(parts)}")
        opened = self._seal.Ciphertext()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ciphertext"
            parts[0].save(str(file))
            try:
                opened.load(self._context, str(file))
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"vector does not belong to this ring: {error}") from None
        if opened.size() != 2:
            raise ValueError(f"vector must consist of 2 polynomials, not of {opened.size()}")
        numbers, step = opened.dyn_array(), opened.coeff_modulus_size() * self.degree
        c0, c1 = (
            np.array([numbers.at(start + i) for i in range(self.degree)], dtype=object)
            for start in (0, step)
        )
        return c0, c1

    def encode(self, values: Sequence[float]) -> np.ndarray:
        """Return the polynomial whose slots hold some values: N Python integers.

        Args:
            values: At most N / 2 numbers.

        Raises:
            ValueError: These are no numbers in one row, too many, or too large for the first
                prime.
        """
        numbers = np.asarray(values)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
            raise ValueError("values must be numbers in one row")
        if len(numbers) > self.degree // 2:
            raise ValueError(
                f"values must be at most {self.degree // 2} numbers, not {len(numbers)}"
            )
        plain = self._seal.Plaintext()
        level = self._context.last_parms_id()
        try:
            self._encoder.encode([float(v) for v in numbers], level, self.scale, plain)
        except ValueError as error:
            limit = self.prime / self.scale / 2
            raise ValueError(
                f"the coefficients of these values must stay below {limit:.3g} ({error})"
            ) from None
        return np.array([plain[i] for i in range(self.degree)], dtype=object)

    def decode(self, polynomial: np.ndarray) -> np.ndarray:
        """Return the values in the slots of a polynomial.

        Args:
            polynomial: N integers from 0 to below the first prime, as :meth:`encode` gives them.

        Returns:
            Of shape (N / 2,).

        Raises:
            ValueError: There are not N integers in this range.
        """
        if len(polynomial) != self.degree or not all(
            isinstance(p, int | np.integer) and 0 <= p < self.prime for p in polynomial
        ):
            raise ValueError(f"polynomial must be {self.degree} integers from 0 to below the prime")
        # SEAL's Python binding cannot set the numbers of a plaintext, but it can load one: two
        # nested blocks of 16 bytes header and body, without compression (SEAL 4, "serialization").
        numbers = np.array([int(p) for p in polynomial], dtype="<u8").tobytes()
        body = struct.pack("<4Q", *self._context.last_parms_id())
        body += struct.pack("<Qd", self.degree, self.scale)
        plain = self._seal.Plaintext()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "plaintext"
            plain.save(str(file))
            version = file.read_bytes()[3:5]  # SEAL loads what has its own version alone
            body += _block(struct.pack("<Q", self.degree) + numbers, version)
            file.write_bytes(_block(body, version))
            plain.load(self._context, str(file))
        return np.array(self._encoder.decode_double(plain))


def _block(body: bytes, version: bytes) -> bytes:
    """Put SEAL's header before some bytes: magic, its length, version, no compression, length."""
    return struct.pack("<HB2sBHQ", 0xA15E, 16, version, 0, 0, 16 + len(body)) + body


def recover_key(ring: Ring, answers: Sequence[Any], shared: Sequence[np.ndarray]) -> np.ndarray:
    """Recover the secret key from two ciphertexts and the values that they decrypt to.

    The attack of B. Li and D. Micciancio (2021), "On the security of homomorphic encryption on
    approximate numbers". SEAL shows the real parts of the slots, so that one vector gives half as
    many equations as the key has entries: m + conj(m) = 2 · (what is shown). Two give all of them.

    Args:
        ring: The ring of the ciphertexts.
        answers: Two ciphertexts, ``ts.CKKSVector``.
        shared: What each of them decrypts to, all N / 2 values.

    Returns:
        The key as N integers, of use with :meth:`Ring.decode`: a ciphertext (c0, c1) is read as
        (c0 + c1 · key) % ring.prime. It is right only where the shared values are exact.

    Raises:
        ValueError: There are not two vectors of N / 2 values, the values are too large for the
            first prime, or the answers are not independent (one of them twice, or a multiple).
    """
    if len(answers) != 2 or [len(values) for values in shared] != [ring.degree // 2] * 2:
        raise ValueError(f"answers and shared must be two vectors of {ring.degree // 2} values")
    sides, factors = [], []
    for answer, values in zip(answers, shared, strict=True):
        c0, c1 = ring.polynomials(answer)
        twice = 2 * np.asarray(values, float)
        # A constant c is c · Δ at every root: encoded apart, it takes no room in the first prime.
        middle = int(np.round(twice.mean()))
        constant = middle * int(ring.scale)
        sides.append(ring.encode(twice - middle) + constant - c0 - c0[::-1])
        factors.append(c1)
    (t, u), (a, b) = sides, factors
    # Two equations for an entry of the key and its conjugate; Cramer's rule.
    determinant = a * b[::-1] - b * a[::-1]
    try:
        inverse = np.array([pow(int(d), -1, ring.prime) for d in determinant], dtype=object)
    except ValueError:  # a determinant is 0
        raise ValueError(
            "answers are not independent: two equations, but one and the same"
        ) from None
    return (t * b[::-1] - u * a[::-1]) * inverse % ring.prime
