"""The linkage and dictionary attacks count what is right, and refuse what makes no sense."""

import hashlib
import hmac

import pandas as pd
import pytest

from privlab.attacks.linkage import USUAL_FUNCTIONS, dictionary_attack, link

RELEASED = pd.DataFrame(
    {"zip": ["1", "1", "2", "3"], "age": [30, 40, 30, 50], "person": [0, 1, 2, 3]}
)
REGISTER = pd.DataFrame(
    {
        "zip": ["1", "1", "1", "2", "9"],
        "age": [30, 40, 40, 30, 50],
        "person": [0, 1, 7, 8, 3],
    }
)


def test_link_names_only_where_one_entry_fits_and_counts_the_right_ones():
    report = link(RELEASED, REGISTER, ["zip", "age"])
    # Person 0 is named rightly; 1 has a twin in the register; 2 is taken for 8; 3 has moved.
    assert (report.targets, report.claims, report.correct) == (4, 2, 1)
    assert report.precision == 0.5
    assert report.recall == 0.25
    assert "2 of 4 records named (50.0%), 1 of them rightly" in str(report)


def test_link_without_a_claim():
    report = link(RELEASED, REGISTER.assign(zip="0"), ["zip", "age"])
    assert (report.claims, report.precision, report.recall) == (0, 0.0, 0.0)


def test_two_records_may_claim_the_same_entry():
    twice = pd.concat([RELEASED.iloc[[0]], RELEASED.iloc[[0]].assign(person=5)])
    report = link(twice, REGISTER, ["zip", "age"])
    assert (report.claims, report.correct) == (2, 1)


@pytest.mark.parametrize(
    ("released", "register", "on"),
    [
        (RELEASED, REGISTER, []),
        (RELEASED, REGISTER, ["person"]),
        (RELEASED, REGISTER, ["income"]),
        (RELEASED.drop(columns="person"), REGISTER, ["zip"]),
        (RELEASED, REGISTER.drop(columns="zip"), ["zip"]),
        (RELEASED.iloc[:0], REGISTER, ["zip"]),
        (RELEASED, REGISTER.iloc[:0], ["zip"]),
    ],
)
def test_link_refuses_bad_input(released, register, on):
    with pytest.raises(ValueError, match=r"on|released|register"):
        link(released, register, on)


DOMAIN = [f"P{n:04d}" for n in range(3000)]
IDENTIFIERS = DOMAIN[:50]


@pytest.mark.parametrize("name", USUAL_FUNCTIONS)
def test_every_usual_function_is_reversed(name):
    pseudonyms = [USUAL_FUNCTIONS[name](identifier) for identifier in IDENTIFIERS]
    report = dictionary_attack(pseudonyms, IDENTIFIERS, DOMAIN)
    assert (report.reversed, report.targets) == (50, 50)
    assert report.function == name


def test_a_cut_or_upper_case_hash_is_reversed():
    full = [hashlib.sha256(identifier.encode()).hexdigest() for identifier in IDENTIFIERS]
    for pseudonyms in ([p[:12] for p in full], [p.upper() for p in full]):
        assert dictionary_attack(pseudonyms, IDENTIFIERS, DOMAIN).reversed == 50


def test_keyed_hashes_and_tokens_are_not_reversed():
    keyed = [hmac.new(b"secret", i.encode(), "sha256").hexdigest() for i in IDENTIFIERS]
    report = dictionary_attack(keyed, IDENTIFIERS, DOMAIN)
    assert report.reversed == 0
    assert str(report) == "none of 50 pseudonyms reversed"


def test_a_known_salt_helps_the_attacker():
    salted = [hashlib.sha256(b"salt" + i.encode()).hexdigest() for i in IDENTIFIERS]
    assert dictionary_attack(salted, IDENTIFIERS, DOMAIN).reversed == 0
    known = {"salted": lambda text: hashlib.sha256(b"salt" + text.encode()).hexdigest()}
    assert dictionary_attack(salted, IDENTIFIERS, DOMAIN, known).reversed == 50


@pytest.mark.parametrize(("pseudonyms", "identifiers"), [([], []), (["a"], ["b", "c"])])
def test_dictionary_attack_refuses_bad_input(pseudonyms, identifiers):
    with pytest.raises(ValueError, match="equally long and not empty"):
        dictionary_attack(pseudonyms, identifiers, DOMAIN)
