"""Inside TenSEAL's ciphertexts: what goes in comes out, and the attack reads what it should."""

import numpy as np
import pytest
import tenseal as ts

from privlab import he
from privlab.exercises.lesson_19 import q3

DEGREE, SIZES, SCALE = 4096, [36, 30, 36], 2**30


@pytest.fixture(scope="module")
def ring():
    return he.Ring(DEGREE, SIZES, SCALE)


@pytest.fixture(scope="module")
def context():
    made = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=SIZES)
    made.global_scale = SCALE
    return made


def test_encode_and_decode_are_inverse(ring):
    values = np.random.default_rng(0).normal(size=DEGREE // 2)
    polynomial = ring.encode(values)
    assert polynomial.shape == (DEGREE,)
    assert all(0 <= number < ring.prime for number in polynomial)
    assert np.abs(ring.decode(polynomial) - values).max() < 1e-6


def test_polynomials_add_as_ciphertexts_do(ring, context):
    x, y = (ts.ckks_vector(context, [value] * 8) for value in (1.0, 2.5))
    both = zip(ring.polynomials(x), ring.polynomials(y), ring.polynomials(x + y), strict=True)
    for one, other, total in both:
        assert np.array_equal((one + other) % ring.prime, total)


@pytest.mark.parametrize("weight", [None, 0.7])  # a fresh ciphertext, and one a level lower
def test_the_key_comes_out_of_exact_results_alone(ring, context, weight):
    rng = np.random.default_rng(1)
    secret = ts.ckks_vector(context, rng.normal(size=DEGREE // 2))
    answers = [ts.ckks_vector(context, rng.normal(size=DEGREE // 2)) for _ in range(2)]
    answers = [answer if weight is None else answer * weight for answer in answers]
    exact = [np.array(answer.decrypt()) for answer in answers]

    def error(shared):
        key = he.recover_key(ring, answers, shared)
        c0, c1 = ring.polynomials(secret)
        return np.abs(ring.decode((c0 + c1 * key) % ring.prime) - secret.decrypt()).max()

    assert error(exact) < 1e-6
    assert error([values.round(3) for values in exact]) > 1
    assert error([values + rng.normal(0, 1e-3, len(values)) for values in exact]) > 1


@pytest.mark.parametrize("again", ["the same", "a sum"])
def test_dependent_answers_are_refused(ring, context, again):
    answer = ts.ckks_vector(context, np.ones(DEGREE // 2))
    other = answer if again == "the same" else answer + answer
    with pytest.raises(ValueError, match="not independent"):
        he.recover_key(ring, [answer, other], [np.ones(DEGREE // 2), np.ones(DEGREE // 2)])


@pytest.mark.parametrize(
    ("degree", "sizes", "scale", "told"),
    [
        (4096, [40, 30, 40], 2**30, "110 bits"),
        (-1, SIZES, SCALE, "degree must be one of"),
        (4096.5, SIZES, SCALE, "degree must be one of"),
        (DEGREE, [70, 30], SCALE, "bit_sizes"),
        (DEGREE, [], SCALE, "bit_sizes"),
        (DEGREE, SIZES, 0, "scale must be"),
        (DEGREE, SIZES, float("nan"), "scale must be"),
        (DEGREE, SIZES, float("inf"), "scale must be"),
    ],
)
def test_bad_parameters_are_refused(degree, sizes, scale, told):
    with pytest.raises(ValueError, match=told):
        he.Ring(degree, sizes, scale)


def test_products_divided_by_their_primes_are_exact_but_for_noise():
    sizes, scale = [45, 35, 32, 32, 45], 2**32  # primes of another size: a factor of 8
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=sizes)
    context.global_scale = scale
    first, second, third = he.rescaling_primes(8192, sizes)
    assert [prime.bit_length() for prime in (first, second, third)] == [32, 32, 35]
    x = ts.ckks_vector(context, [1.5] * 4096)
    product = (x * x) * (x * 1.0)
    told = np.array(product.decrypt())
    factor = (first / scale) ** 2 * second / scale
    noise = np.abs(told * factor - 1.5**3).max()
    assert noise < 1e-4
    assert abs(told[0] - 1.5**3) > 5 * noise
    with pytest.raises(ValueError, match="bit_sizes"):
        he.rescaling_primes(8192, [70, 40])


def test_foreign_or_long_vectors_are_refused(ring, context, capfd):
    other = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    other.global_scale = 2**40
    with pytest.raises(ValueError, match="does not belong to this ring"):
        ring.polynomials(ts.ckks_vector(other, [1.0]))
    with pytest.raises(ValueError, match="one ciphertext, but it is 2"):
        ring.polynomials(ts.ckks_vector(context, [1.0] * (DEGREE // 2 + 1)))


def test_bad_polynomials_and_values_are_refused(ring):
    for polynomial in (
        np.zeros(3, dtype=object),
        np.full(DEGREE, ring.prime),
        -np.ones(DEGREE),
        np.full(DEGREE, 0.5),
    ):
        with pytest.raises(ValueError, match="4096 integers"):
            ring.decode(polynomial)
    with pytest.raises(ValueError, match="2048"):
        ring.encode(np.zeros(DEGREE // 2 + 1))
    for values in ("12", ["1", "2"], np.zeros((2, 2)), 1.0, [1j]):
        with pytest.raises(ValueError, match="numbers in one row"):
            ring.encode(values)
    with pytest.raises(ValueError, match="below 32"):
        ring.encode([1e9])
    with pytest.raises(ValueError, match="below 32"):
        ring.encode([float("nan")])
    with pytest.raises(ValueError, match="two vectors of 2048"):
        he.recover_key(ring, [], [])


def test_the_error_halves_with_each_bit_of_the_scale():
    settings = {"poly_modulus_degree": 8192}
    lengths = [
        q3.error_length(
            settings | {"coeff_mod_bit_sizes": [50, *3 * [bits], 30], "scale_bits": bits}
        )
        for bits in (40, 44)
    ]
    assert 10 < lengths[0] / lengths[1] < 25  # 2 ** 4, give or take what keys do


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"coeff_mod_bit_sizes": [60, 50, 50, 50, 60]}, "at most 218 bits"),
        ({"coeff_mod_bit_sizes": [60, 40, 40, 60]}, "Levels: 2"),
        ({"scale_bits": None}, "scale_bits"),
        ({"scale": 40}, "should have the keys"),
    ],
)
def test_error_length_refuses_what_the_exercise_refuses(change, told):
    good = {"poly_modulus_degree": 8192, "coeff_mod_bit_sizes": [50, 44, 44, 44, 30]}
    with pytest.raises(ValueError, match=told):
        q3.error_length(good | {"scale_bits": 44} | change)
