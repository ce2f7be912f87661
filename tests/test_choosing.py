"""The engine of lesson 20: its parts agree with the tools that the course teaches."""

import math

import numpy as np
import pandas as pd
import pytest

from privlab import choosing, federated, secagg
from privlab.accounting import gaussian_sigma
from privlab.attacks import membership
from privlab.mpc import fit_logistic

TASK = choosing.load_task()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def members(rng):
    return membership.coin_flips(3, len(TASK.y), rng)


def test_federate_is_fedavg_with_one_step(rng, members):
    found = choosing.federate(TASK, members, rng, rounds=5, learning_rate=0.7)
    for run, inside in enumerate(members):
        parts = [np.flatnonzero(inside & (TASK.hospital == h)) for h in range(4)]
        clients = federated.make_clients(TASK.X, TASK.y, parts)
        # FedAvg divides by the true number of records, federate by the public one.
        rate = 0.7 * inside.sum() / TASK.expected
        *_, last = federated.fedavg(
            federated.Network(features=10), clients, 5, 1, rate, rng, weights=np.zeros(11)
        )
        assert np.allclose(found.weights[-1, run], last.weights)


def test_clipping_bounds_what_one_patient_changes(rng, members):
    other = members.copy()
    other[:, 17] ^= True
    options = {"rounds": 1, "max_grad_norm": 0.5}
    one, two = (choosing.federate(TASK, each, rng, **options).seen for each in (members, other))
    change = np.linalg.norm((one - two).reshape(3, -1), axis=1)
    assert (change <= 0.5 + 1e-9).all()
    assert (change > 0).all()


def test_masks_change_nothing_but_the_view(rng, members):
    plain = choosing.federate(TASK, members, rng, rounds=6)
    masked = choosing.federate(TASK, members, rng, rounds=6, bits=20)
    assert masked.seen.shape == (6, 3, 1, 11)
    assert np.allclose(masked.weights, plain.weights, atol=1e-5)
    assert np.allclose(masked.seen[:, :, 0], plain.seen.sum(axis=2), atol=1e-3)


def test_mask_sums_adds_negative_numbers_and_refuses_what_does_not_fit(rng):
    sums, seeds = rng.normal(0, 50, (2, 4, 11)), secagg.shared_seeds(4, rng)
    got = choosing.mask_sums(sums, seeds, 3, 12)
    assert np.abs(got - sums.sum(axis=1)).max() <= 4 / 2**13
    with pytest.raises(ValueError, match="bits must leave room"):
        choosing.mask_sums(sums, seeds, 3, 28)


@pytest.mark.parametrize(("bits", "parts"), [(None, 1), (16, 4)])
def test_the_noise_is_what_is_said(members, bits, parts):
    rng = np.random.default_rng(1)
    many = np.repeat(members[:1], 800, axis=0)
    options = {"rounds": 1, "max_grad_norm": 2.0, "bits": bits}
    quiet = choosing.federate(TASK, many, rng, **options).seen
    found = choosing.federate(TASK, many, rng, noise=3.0, **options)
    # At least 8,800 numbers: the deviation spreads by less than 0.8 %.
    assert np.std(found.seen - quiet) == pytest.approx(found.noise, rel=0.04)
    assert found.noise == pytest.approx(6 * math.sqrt(parts))


def test_the_server_reads_members_from_exact_sums(rng):
    members = membership.coin_flips(4, len(TASK.y), rng)
    found = choosing.federate(TASK, members, rng)
    scores = choosing.solve_members(TASK, found)
    assert membership.roc(scores, members).auc > 0.93
    masked = choosing.federate(TASK, members, rng, bits=16)
    scores = choosing.solve_members(TASK, masked)
    assert 0.65 < membership.roc(scores, members).auc < 0.8
    noisy = choosing.federate(TASK, members, rng, max_grad_norm=1.0, noise=1_000.0)
    scores = choosing.solve_members(TASK, noisy, 1.0)
    # 3,680 coins: the AUC of guesses spreads by 0.0095.
    assert abs(membership.roc(scores, members).auc - 0.5) < 0.04


def test_guess_coins_agrees_in_both_forms_and_finds_exact_coins(rng):
    coins = (rng.random((30, 3)) < 0.5).astype(float)
    A = rng.normal(size=(40, 30))
    for x in (coins, coins[:, 0]):
        assert np.array_equal(choosing.guess_coins(A, A @ x, 1e-12) > 0, x > 0.5)
    wide = rng.normal(size=(9, 30))
    b = wide @ coins[:, 0]
    below, above = (choosing.guess_coins(wide, b, 2.5e-7 * f) for f in (0.999, 1.001))
    assert np.allclose(below, above, atol=1e-6)


def test_the_noise_of_rounding_is_what_is_said(rng, members):
    masked = choosing.federate(TASK, members, rng, rounds=1, bits=4)
    assert choosing.federate(TASK, members, rng, rounds=1).rounding == 0
    sums = rng.normal(0, 9, (4_000, 4, 11))
    seeds = secagg.shared_seeds(4, rng)
    off = choosing.mask_sums(sums, seeds, 0, 4) - sums.sum(axis=1)
    # 44,000 numbers: the deviation spreads by 0.3 %.
    assert off.std() == pytest.approx(masked.rounding, rel=0.03)


def test_noise_needs_a_limit(rng, members):
    with pytest.raises(ValueError, match="max_grad_norm must be finite"):
        choosing.federate(TASK, members, rng, noise=1.0)


def test_the_reader_of_counts_solves_them(rng):
    members = membership.coin_flips(32, len(TASK.y), rng)
    found = {
        epsilon: membership.roc(
            choosing.statistics(TASK, members, rng, epsilon=epsilon).reader, members
        ).auc
        for epsilon in (1.0, 10.0)
    }
    # 29,440 coins: the AUC of guesses spreads by 0.0034.
    assert 0.53 < found[1.0] < choosing.auc_bound(1.0, 0.0)
    assert 0.6 < found[10.0] < 0.66


def test_one_patient_is_attacked_without_bias():
    """An attack on noise: AUC of a coin on average. With each other's shadows it would be 0.43."""
    rng = np.random.default_rng(3)

    def noise(task, members, rng):
        return choosing.Outcome(rng.normal(size=members.shape), members * 0.0, members * 0.0)

    found = [choosing.attack_one(TASK, 5, noise, rng, runs=128) for _ in range(200)]
    areas, errors = np.array(found).T
    # 200 areas, each with a deviation of 0.073: their mean spreads by 0.0052.
    assert abs(areas.mean() - 0.5) < 0.02
    assert areas.std() == pytest.approx(errors.mean(), rel=0.25)


def test_hospitals_that_collude_take_noise_away():
    noise = choosing.noise_multiplier(1.0, 30)
    left = [choosing.spent(noise * math.sqrt(part), 30) for part in (1, 3 / 4, 1 / 2, 1 / 4)]
    # Closed form of the Gaussian mechanism (Balle and Wang 2018).
    assert left == pytest.approx([1.0, 1.18, 1.48, 2.21], abs=0.01)


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0])
def test_noise_multiplier_agrees_with_the_closed_formula(epsilon):
    exact = gaussian_sigma(epsilon, choosing.DELTA, 30)
    assert choosing.noise_multiplier(epsilon, 30) == pytest.approx(exact, rel=0.01)
    assert choosing.spent(exact, 30) == pytest.approx(epsilon, rel=0.01)


def test_noise_multiplier_and_spent_at_the_ends():
    assert choosing.noise_multiplier(math.inf, 30) == 0
    assert math.isinf(choosing.spent(0.0, 30))
    for epsilon in (0, -1, math.nan):
        with pytest.raises(ValueError, match="epsilon must be above 0"):
            choosing.noise_multiplier(epsilon, 30)


def test_auc_counts_pairs(rng):
    scores, positive = rng.integers(0, 5, 40), rng.random(40) < 0.4
    a, b = scores[positive][:, None], scores[~positive]
    assert choosing.auc(scores, positive) == pytest.approx(((a > b) + 0.5 * (a == b)).mean())
    with pytest.raises(ValueError, match="positive must hold"):
        choosing.auc(scores, np.ones(40, bool))


def test_auc_bound_is_that_of_randomised_response():
    # For pure ε the best ROC curve has one corner, at 1 / (1 + exp ε).
    for epsilon in (0.1, 1.0, 4.0):
        corner = 1 / (1 + math.exp(epsilon))
        assert choosing.auc_bound(epsilon, 0.0) == pytest.approx(1 - corner, abs=1e-3)
    assert choosing.auc_bound(math.inf) == 1


def test_train_logistic_is_the_one_of_lesson_18_in_each_run(members):
    found = choosing.train_logistic(TASK.X, TASK.y, members)
    rows = np.column_stack([TASK.X, np.ones(len(TASK.X))])
    for weights, inside in zip(found, members, strict=True):
        alone = fit_logistic(rows[inside], TASK.y[inside], steps=200, rate=0.5)
        assert np.allclose(weights, alone)


def test_statistics_without_noise_are_naive_bayes_and_noise_spoils_them(rng, members):
    exact = choosing.statistics(TASK, members, rng, epsilon=math.inf).predicted
    tiny = choosing.statistics(TASK, members, rng, epsilon=1e6).predicted
    noisy = choosing.statistics(TASK, members, rng, epsilon=0.1).predicted
    assert np.allclose(exact, tiny)
    assert np.abs(exact - noisy).max() > 0.5
    assert min(choosing.auc(row, TASK.y == 1) for row in exact) > 0.8


def test_encrypted_answers_are_those_of_the_plain_model(rng, members):
    pytest.importorskip("tenseal")
    one = choosing.plain_model(TASK, members, rng)
    other = choosing.encrypted_answers(TASK, members, rng)
    assert np.abs(one.predicted - other.predicted).max() < 1e-4
    assert other.upload > 100 * one.upload


def test_a_k_anonymous_table_is_found_by_who_knows_the_rest(rng):
    members = membership.coin_flips(4, len(TASK.y), rng)
    for k, least in ((1, 0.99), (10, 0.93)):
        fits = choosing.k_anonymous_table(TASK, members, rng, k=k).reader
        assert fits[members].all()  # whoever is in fits their own row
        assert membership.roc(fits, members).auc > least


def test_every_way_gives_what_counts():
    for way in choosing.WAYS:
        found = choosing.try_way(way, seed=1, runs=4)
        assert 0.5 < found["utility"] < 1
        # Tables and counts are attacked without shadow models.
        assert math.isnan(found["reader"]) == ("table" not in way and way != "DP statistics")
        assert found["upload"] > 0


def test_the_reader_is_attacked_with_enough_runs():
    found = choosing.try_way("plain model", seed=2)
    assert 0.53 < found["reader"] < 0.56
    assert choosing.try_way("plain model", seed=2) == found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"way": "magic"}, "way must be one of raw table"),
        ({"way": "federated", "runs": 3}, "runs must be at least 4"),
        ({"way": "federated", "people": 10}, "people must be 40 to 920"),
    ],
)
def test_try_way_refuses(options, told):
    with pytest.raises(ValueError, match=told):
        choosing.try_way(**options, seed=0)


def test_linkage_names_whoever_is_unique_and_nobody_under_k():
    raw, hidden = (choosing.release_table(k=k, seed=0) for k in (1, 5))
    assert raw["named"] > 0.9
    assert hidden["named"] == 0
    assert raw["certain"] > hidden["certain"] > 0


def test_skew_costs_more_with_many_local_steps():
    pairs = [(100, 1), (0.1, 1), (0.1, 100)]
    found = [choosing.skewed(alpha=a, local_steps=s, seed=0)["excess"] for a, s in pairs]
    assert np.abs(found[:2]).max() < 0.005 < found[2]


def test_the_odd_patient_is_healthy_and_alone_in_being_odd():
    task, odd = choosing.odd_patient()
    assert task.y[odd] == 0
    changed = np.flatnonzero((task.X != TASK.X).any(axis=1))
    assert changed.tolist() == [odd]
    assert pd.Series(task.X[:, 4]).idxmax() == odd
