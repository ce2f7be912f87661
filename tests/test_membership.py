"""Membership inference: each formula against an oracle, the attacks on cases made to measure."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import binom, binomtest, mannwhitneyu, norm
from torch import nn

from privlab.attacks import membership as ms
from privlab.exercise import LocalPeer
from privlab.exercises import lesson_08

LOGITS = np.random.default_rng(0).normal(size=(3, 5, 4))
LABELS = np.array([0, 1, 2, 3, 0])


# ---- scores -------------------------------------------------------------------------------------


def test_loss_scores_are_log_probabilities():
    wanted = log_softmax(LOGITS, axis=-1)[:, np.arange(5), LABELS]
    assert np.allclose(ms.loss_scores(LOGITS, LABELS), wanted)
    assert np.allclose(ms.loss_scores(LOGITS[1], LABELS), wanted[1])


def test_logit_confidence_is_the_logit_of_the_probability():
    p = np.exp(ms.loss_scores(LOGITS, LABELS))
    assert np.allclose(ms.logit_confidence(LOGITS, LABELS), np.log(p / (1 - p)))


def test_logit_confidence_is_exact_where_the_probability_rounds_to_one():
    # p = 1 - e^-80 is 1 in floating point.
    logits = np.array([[80.0, 0.0], [-1000.0, 1000.0]])
    assert np.allclose(ms.logit_confidence(logits, np.array([0, 0])), [80, -2000])


@pytest.mark.parametrize("function", [ms.loss_scores, ms.logit_confidence])
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros(4), np.zeros(4, int), r"logits must be finite, of shape \(…, n, classes\)"),
        (np.zeros((4, 1)), np.zeros(4, int), "logits must be finite"),
        (np.full((4, 2), np.nan), np.zeros(4, int), "logits must be finite"),
        (np.zeros((4, 2)), np.zeros(3, int), "labels must be 4 integers"),
        (np.zeros((4, 2)), np.zeros(4), "labels must be 4 integers"),
        (np.zeros((4, 2)), np.full(4, 2), "labels must lie between 0 and 1"),
        (np.zeros((4, 2)), np.full(4, -1), "labels must lie between 0 and 1"),
    ],
)
def test_scores_refuse_bad_input(function, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        function(logits, labels)


# ---- LiRA ---------------------------------------------------------------------------------------


def shadow_data(rng, models=400, records=300, gap=1.5, spread=0.8):
    """Confidences with known distributions: normal around means of each record's own."""
    members = ms.coin_flips(models, records, rng)
    means = rng.normal(2, 3, size=records)
    return means + gap * members + spread * rng.normal(size=members.shape), members, means


def lira_by_loops(target, shadows, members, each):
    """The same formula, record by record."""
    inside = [shadows[members[:, i], i] for i in range(len(target))]
    outside = [shadows[~members[:, i], i] for i in range(len(target))]

    def spread(groups, i):
        if each:
            return groups[i].std(ddof=1)
        squares = sum(((g - g.mean()) ** 2).sum() for g in groups)
        return math.sqrt(squares / sum(len(g) - 1 for g in groups))

    return np.array(
        [
            norm.logpdf(target[i], inside[i].mean(), spread(inside, i))
            - norm.logpdf(target[i], outside[i].mean(), spread(outside, i))
            for i in range(len(target))
        ]
    )


@pytest.mark.parametrize("each", [False, True])
def test_lira_is_its_formula(each):
    shadows, members, _ = shadow_data(np.random.default_rng(1), models=30, records=12)
    got = ms.lira(shadows[0], shadows[1:], members[1:], variance_of_each=each)
    assert np.allclose(got, lira_by_loops(shadows[0], shadows[1:], members[1:], each))


def test_lira_approaches_the_true_likelihood_ratio():
    rng = np.random.default_rng(2)
    shadows, members, means = shadow_data(rng, models=4000, records=50)
    target = means + rng.normal(size=50)
    truth = norm.logpdf(target, means + 1.5, 0.8) - norm.logpdf(target, means, 0.8)
    # Standard errors: of a mean 0.8 / √2000 = 0.018, of the slope 1.5 / 0.64 that multiplies it.
    assert np.abs(ms.lira(target, shadows, members) - truth).max() < 0.35


def test_lira_offline_counts_standard_deviations_above_models_without_the_record():
    shadows, members, _ = shadow_data(np.random.default_rng(3), models=20, records=10)
    got = ms.lira(shadows[0], shadows[1:], members[1:], online=False, variance_of_each=True)
    for i in range(10):
        outside = shadows[1:, i][~members[1:, i]]
        assert np.isclose(got[i], (shadows[0, i] - outside.mean()) / outside.std(ddof=1))


def test_lira_does_what_theory_says():
    shadows, members, _ = shadow_data(np.random.default_rng(4), models=100)
    scores = ms.leave_one_out(shadows, members)
    curve = ms.roc(scores, members)
    # Two normal distributions 1.5 / 0.8 standard deviations apart; 30,000 scores, means estimated
    # from 50 models each: the AUC is within 0.01 of theory (its standard error is 0.0015).
    assert abs(curve.auc - norm.cdf(1.5 / 0.8 / math.sqrt(2))) < 0.012
    wanted = norm.sf(norm.isf(0.01) - 1.5 / 0.8)
    assert abs(curve.tpr_at(0.01).share - wanted) < 0.03
    # The confidence alone does not know which record is easy.
    assert ms.roc(shadows, members).auc < 0.7


def test_no_leak_gives_an_auc_of_one_half():
    shadows, members, _ = shadow_data(np.random.default_rng(5), models=64, gap=0.0)
    curve = ms.roc(ms.leave_one_out(shadows, members), members)
    # 9,600 members and others: standard error sqrt(2 / 9600 / 12) = 0.0042; 5 of them: 6e-7.
    assert abs(curve.auc - 0.5) < 5 * 0.0042


def test_a_perfect_leak_is_found():
    shadows, members, _ = shadow_data(np.random.default_rng(6), models=64, gap=100.0)
    curve = ms.roc(ms.leave_one_out(shadows, members), members)
    assert (curve.auc, curve.tpr_at(0).share) == (1, 1)


def test_leave_one_out_gives_each_model_to_the_attack_once():
    confidences, members = (
        np.arange(12.0).reshape(3, 4),
        ms.coin_flips(3, 4, np.random.default_rng()),
    )
    seen = []

    def attack(target, shadows, inside):
        seen.append((target, shadows, inside))
        return target

    assert np.array_equal(ms.leave_one_out(confidences, members, attack), confidences)
    assert [len(shadows) for _, shadows, _ in seen] == [2, 2, 2]
    assert np.array_equal(seen[1][1], confidences[[0, 2]])
    assert np.array_equal(seen[1][2], members[[0, 2]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.zeros((2, 3))}, "target must be one confidence a record"),
        ({"target": np.full(3, np.inf)}, "target must be finite"),
        ({"shadows": np.zeros((4, 2))}, r"shadows must be of shape \(models, 3\), not \(4, 2\)"),
        ({"shadows": np.full((4, 3), np.nan)}, "shadows must be finite"),
        ({"members": np.zeros((4, 3))}, r"members must be booleans of shape \(4, 3\)"),
        ({"members": np.zeros((3, 4), bool)}, r"members must be booleans of shape \(4, 3\)"),
        ({"members": np.zeros((4, 3), bool)}, "a model without it and one with it"),
        ({"members": np.ones((4, 3), bool)}, "a model without it and one with it"),
        ({"members": np.ones((4, 3), bool), "online": False}, "a model without it; train more"),
    ],
)
def test_lira_refuses_bad_input(changes, message):
    members = np.array([[True] * 3, [False] * 3] * 2)
    arguments = {"target": np.zeros(3), "shadows": np.zeros((4, 3)), "members": members} | changes
    with pytest.raises(ValueError, match=message):
        ms.lira(**arguments)


@pytest.mark.parametrize(
    ("confidences", "members", "message"),
    [
        (np.zeros(3), np.zeros(3, bool), r"confidences must be of shape \(M, n\)"),
        (np.zeros((1, 3)), np.zeros((1, 3), bool), "M of at least 2"),
        (np.zeros((2, 3)), np.zeros((2, 2), bool), r"members must be of shape \(2, 3\)"),
    ],
)
def test_leave_one_out_refuses_bad_input(confidences, members, message):
    with pytest.raises(ValueError, match=message):
        ms.leave_one_out(confidences, members)


# ---- how well an attack does --------------------------------------------------------------------


@pytest.mark.parametrize("digits", [1, 12])  # with many equal scores, and without
def test_roc_holds_what_every_threshold_achieves(digits):
    rng = np.random.default_rng(7)
    members = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + members, digits)
    curve = ms.roc(scores, members)
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert len(curve.thresholds) == 1 + len(np.unique(scores))
    for threshold, fpr, tpr in zip(curve.thresholds, curve.fpr, curve.tpr, strict=True):
        called = scores >= threshold
        assert (fpr, tpr) == (called[~members].mean(), called[members].mean())
    pairs = mannwhitneyu(scores[members], scores[~members]).statistic
    assert np.isclose(curve.auc, pairs / members.sum() / (~members).sum())
    assert (curve.members, curve.non_members) == (members.sum(), (~members).sum())


def test_tpr_at_is_the_best_threshold_within_the_price():
    rng = np.random.default_rng(8)
    members = rng.random(400) < 0.5
    scores = np.round(rng.normal(size=400) + members, 1)
    curve = ms.roc(scores.reshape(20, 20), members.reshape(20, 20))
    for fpr in (0, 0.01, 0.1, 0.29, 0.77, 1):
        best = max(
            (scores[members] >= t).mean()
            for t in [np.inf, *scores]
            if (scores[~members] >= t).sum() <= fpr * (~members).sum() + 1e-9
        )
        assert curve.tpr_at(fpr).share == best


def test_threshold_at_calls_whom_tpr_at_counts():
    rng = np.random.default_rng(8)
    members = rng.random(400) < 0.5
    scores = np.round(rng.normal(size=400) + members, 1)
    curve = ms.roc(scores, members)
    for fpr in (0, 0.01, 0.1, 0.29, 1):
        called = scores >= curve.threshold_at(fpr)
        assert called[members].mean() == curve.tpr_at(fpr).share
        assert called[~members].mean() <= fpr


def test_tpr_at_a_share_that_floats_cannot_hold():
    # 0.29 * 100 is 28.999999999999996: 29 false positives are allowed all the same.
    scores, members = np.arange(200.0), np.arange(200) % 2 == 1
    assert ms.roc(scores, members).tpr_at(0.29).share == 0.3


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (7, 7), (1, 1), (3, 50), (640, 64_000)])
def test_rates_have_exact_intervals(hits, trials):
    got = ms.rate(hits, trials, confidence=0.9)
    wanted = binomtest(hits, trials).proportion_ci(0.9, method="exact")
    assert np.allclose((got.share, got.low, got.high), (hits / trials, wanted.low, wanted.high))


def test_a_rate_is_written_in_percent():
    assert str(ms.rate(30, 100)) == "30.0% (21.2% to 40.0%)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ms.rate(1, 0), "trials must be at least 1, not 0"),
        (lambda: ms.rate(3, 2), "hits must lie between 0 and trials, 2, not 3"),
        (lambda: ms.rate(-1, 2), "hits must lie between 0 and trials"),
        (lambda: ms.rate(1, 2, confidence=1), "confidence must lie between 0 and 1, not 1"),
        (lambda: ms.roc([1.0, 2.0], [1, 0]), "members must be booleans"),
        (lambda: ms.roc([1.0], [True, False]), "of the shape of scores"),
        (lambda: ms.roc([np.nan, 2.0], [True, False]), "scores must not be NaN"),
        (lambda: ms.roc([1.0, 2.0], [True, True]), "members and non-members"),
        (lambda: ms.roc([1.0, 2.0], [False, False]), "must hold members and non"),
        (lambda: ms.roc([1.0, 2.0], [False, True]).tpr_at(1.1), "fpr must lie between 0 and 1"),
        (lambda: ms.roc([1.0, 2.0], [False, True]).threshold_at(-1), "fpr must lie between 0"),
        (lambda: ms.coin_flips(0, 3, np.random.default_rng()), "models must be at least 1"),
        (lambda: ms.coin_flips(3, 0, np.random.default_rng()), "records must be at least 1"),
    ],
)
def test_rates_refuse_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- what a promise says ------------------------------------------------------------------------

FPR = np.linspace(0, 1, 2001)


def best_attack(fpr, epsilon, delta):
    """The best randomised attack on the mechanism that spends all of (ε, δ): tried one by one."""
    yes = (1 - delta) * math.exp(epsilon) / (1 + math.exp(epsilon))
    member = np.array([delta, yes, 1 - delta - yes, 0])
    other = member[::-1]
    calls = [np.array([bool(b & 1 << i) for i in range(4)]) for b in range(16)]
    points = {(float(other[c].sum()), float(member[c].sum())) for c in calls}
    # Between two deterministic attacks a coin decides.
    return max(
        t0 + (t1 - t0) * (fpr - f0) / (f1 - f0) if f1 > f0 else max(t0, t1)
        for f0, t0 in points
        for f1, t1 in points
        if f0 <= fpr <= f1
    )


@pytest.mark.parametrize("epsilon", [0, 0.5, 2, 8])
@pytest.mark.parametrize("delta", [0, 0.05, 0.6])
def test_tpr_bound_is_reached_and_never_passed(epsilon, delta):
    bound = ms.tpr_bound(FPR, epsilon, delta)
    attacks = [best_attack(f, epsilon, delta) for f in FPR[::40]]
    assert np.allclose(bound[::40], attacks, atol=1e-9)


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.2, 1, 4])
def test_tpr_bound_holds_for_the_gaussian_mechanism_and_touches_it(mu, epsilon):
    # Its exact δ (Balle and Wang 2018) and its exact trade-off (Dong, Roth and Su 2022).
    delta = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    at = norm.cdf(-mu / 2 - epsilon / mu)  # where the two curves touch
    for fpr, gap in ((FPR[1:-1], None), (np.array([at]), 0)):
        reached = norm.cdf(norm.ppf(fpr) + mu)
        bound = ms.tpr_bound(fpr, epsilon, delta)
        assert (reached <= bound + 1e-12).all()
        assert gap is None or np.allclose(reached, bound, atol=1e-9)


def test_tpr_bound_of_huge_epsilon_and_of_numbers():
    assert ms.tpr_bound(0.3, 1e6) == 1
    assert ms.tpr_bound(0, 1.0) == 0
    assert np.isclose(ms.tpr_bound(0.01, 1.0, 1e-5), math.e * 0.01 + 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 1.0), "fpr must lie between 0 and 1"),
        ((np.nan, 1.0), "fpr must lie between 0 and 1"),
        ((0.5, -1.0), "epsilon must be at least 0, not -1.0"),
        ((0.5, math.nan), "epsilon must be at least 0"),
        ((0.5, 1.0, 2.0), "delta must lie between 0 and 1, not 2.0"),
    ],
)
def test_tpr_bound_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ms.tpr_bound(*arguments)


def test_bounds_of_all_pairs_are_the_trade_off_of_the_gaussian_mechanism():
    """Lesson 08 takes the least bound over a grid of ε."""
    mu = 1.5
    grid = np.linspace(0, 12, 241)
    upper, lower = norm.cdf(mu / 2 - grid[1:] / mu), norm.cdf(-mu / 2 - grid[1:] / mu)
    deltas = np.append(2 * norm.cdf(mu / 2) - 1, upper - np.exp(grid[1:]) * lower)
    bounds = [ms.tpr_bound(FPR, e, d) for e, d in zip(grid, deltas, strict=True)]
    exact = norm.cdf(norm.ppf(FPR) + mu)
    assert (np.min(bounds, axis=0) >= exact - 1e-12).all()
    assert np.allclose(np.min(bounds, axis=0)[1:], exact[1:], atol=1e-3)


# ---- one run ------------------------------------------------------------------------------------


def p_value_by_loops(v, r, m, epsilon, delta):
    """The theorem of Steinke, Nasr and Jagielski, term by term."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    worst = max((sum(mass[max(v - i, 0) : v]) / i for i in range(1, m + 1)), default=0)
    return min(sum(mass[v:]) + 2 * m * delta * worst, 1)


@pytest.mark.parametrize("epsilon", [0, 0.7, 3])
@pytest.mark.parametrize("delta", [0, 1e-3, 0.2])
def test_one_run_p_value_is_the_theorem(epsilon, delta):
    for m, r in ((12, 12), (20, 9), (5, 1), (4, 0)):
        for v in range(r + 1):
            got = ms.one_run_p_value(v, r, m, epsilon, delta)
            assert np.isclose(got, p_value_by_loops(v, r, m, epsilon, delta), atol=1e-12)


@pytest.mark.parametrize(
    ("correct", "guesses", "canaries", "delta", "published"),
    [
        (75, 100, 1000, 1e-4, 0.673),  # Appendix D of the paper
        (1439, 1510, 100_000, 1e-5, 2.675),  # Section 7, cut off and not rounded
    ],
)
def test_one_run_epsilon_is_that_of_the_paper(correct, guesses, canaries, delta, published):
    assert abs(ms.one_run_epsilon(correct, guesses, canaries, delta) - published) < 1e-3


@pytest.mark.parametrize("epsilon", [0.3, 1, 4])
@pytest.mark.parametrize("delta", [0, 0.01, 0.1])
def test_one_run_holds_for_mechanisms_that_spend_the_budget(epsilon, delta):
    m = 30
    share = 1 / (1 + math.exp(-epsilon))
    for v in range(m + 1):
        bound = ms.one_run_p_value(v, m, m, epsilon, delta)
        # Everything is given away at once with probability δ, else each coin by randomised
        # response; or each coin is given away by itself.
        at_once = delta + (1 - delta) * binom.sf(v - 1, m, share)
        each = binom.sf(v - 1, m, delta + (1 - delta) * share)
        assert max(at_once, each) <= bound + 1e-12


def test_one_run_epsilon_accuses_randomised_response_rarely_enough():
    rng, epsilon = np.random.default_rng(9), 1.0
    correct = rng.binomial(200, 1 / (1 + math.exp(-epsilon)), size=2000)
    bounds = {v: ms.one_run_epsilon(v, 200, 500) for v in set(correct.tolist())}
    above = np.mean([bounds[v] > epsilon for v in correct.tolist()])
    # At most 5 % may lie above the truth; 2,000 runs, 4 standard errors of 0.5 %.
    assert above < 0.05 + 4 * 0.005
    assert np.median([bounds[v] for v in correct.tolist()]) > 0.6


def test_one_run_epsilon_of_guesses_that_say_nothing():
    assert ms.one_run_epsilon(50, 100, 100) == 0
    assert ms.one_run_epsilon(0, 0, 10) == 0
    # All of n right: (e^ε / (1 + e^ε))^n = 0.05.
    share = 0.05 ** (1 / 400)
    assert np.isclose(ms.one_run_epsilon(400, 400, 2000), math.log(share / (1 - share)), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, -1, 5), "guesses must be at least 0, not -1"),
        ((3, 2, 5), "correct must lie between 0 and guesses, 2"),
        ((-1, 2, 5), "correct must lie between 0 and guesses"),
        ((1, 6, 5), "canaries must be at least 6"),
        ((0, 0, 0), "canaries must be at least 1"),
        ((1, 2, 5, -0.1), "delta must lie between 0 and 1, not -0.1"),
        ((1, 2, 5, 0.0, 1.0), "confidence must lie between 0 and 1, not 1.0"),
    ],
)
def test_one_run_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ms.one_run_epsilon(*arguments)


def test_one_run_p_value_refuses_a_negative_epsilon():
    with pytest.raises(ValueError, match="epsilon must be at least 0"):
        ms.one_run_p_value(1, 2, 5, -0.1)


# ---- the exercises ------------------------------------------------------------------------------

REMEMBERS = """
seen = {}

def lira_scores(target, shadows, members):
    seen.update(zip((row.tobytes() for row in shadows), members))
    return 2.0 * seen.get(target.tobytes(), target > 0) + 1e-3 * target
"""


def told(exercise, code):
    """What the learner is told: the last test's problem, None where the answer passes."""
    namespace = {}
    exec(code, namespace)
    return exercise.run(LocalPeer(namespace))[-1].problem


def test_a_function_that_remembers_earlier_calls_is_refused():
    assert "must not know what an earlier one was given" in told(lesson_08.q2, REMEMBERS)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("default_rng(seed)", "default_rng(seed % 4)", "the same, or nearly"),
        ("2.0\n", "1.0\n", "hides too little"),
        ("return W", "return __import__('torch').tensor(W)", "call .numpy()"),
        (
            "return W",
            "return W * (1 + 0.001 * np.random.default_rng(seed + 1).normal(size=W.shape))",
            None,
        ),
    ],
)
def test_changes_of_the_open_exercise_s_reference(old, new, says):
    assert old in lesson_08.q4.reference
    problem = told(lesson_08.q4, lesson_08.q4.reference.replace(old, new))
    assert problem is None if says is None else says in problem


def test_noise_of_one_seed_is_not_hidden_by_a_jitter():
    code = lesson_08.q4.reference.replace("default_rng(seed)", "default_rng(0)")
    jitter = "return W * (1 + 0.001 * np.random.default_rng(seed).normal(size=W.shape))"
    assert "the same, or nearly" in told(lesson_08.q4, code.replace("return W", jitter))


def test_the_reference_of_the_open_exercise_keeps_its_promise():
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    q4 = lesson_08.q4
    assert "sample_rate, max_grad_norm, noise_multiplier = 0.5, 0.5, 2.0" in q4.reference
    assert "range(40)" in q4.reference
    assert "ε = 8.3 at δ = 1e-5" in q4.reference
    step = dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(2.0))
    assert 8.3 < PLDAccountant().compose(step, 40).get_epsilon(1e-5) < 8.35


# ---- many models at once ------------------------------------------------------------------------

NETWORK = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
X = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(2))
MEMBERS = ms.coin_flips(4, 40, np.random.default_rng(3))


def single(models, number):
    """One of the models as an ordinary network."""
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    network.load_state_dict({name: value[number] for name, value in models.items()})
    return network


def untrained(seed=5):
    return ms.train_many(NETWORK, X, Y, MEMBERS, steps=1, learning_rate=1e-30, seed=seed)[1]


def close(models, number, network):
    return all(
        torch.allclose(models[name][number], value, atol=2e-5)
        for name, value in network.state_dict().items()
    )


def test_initial_weights_are_those_of_pytorch():
    models = ms.train_many(
        nn.Sequential(nn.Linear(100, 50)),
        torch.zeros(4, 100), torch.zeros(4, dtype=torch.long),
        ms.coin_flips(20, 4, np.random.default_rng(0)),
        steps=1, learning_rate=1e-30,
    )[1]  # fmt: skip
    layer = nn.Linear(100, 50)
    for name, value in layer.state_dict().items():
        drawn = models[f"0.{name}"]
        assert drawn.shape == (20, *value.shape)
        assert drawn.abs().max() <= 0.1  # 1 / √100
        # Uniform: the standard deviation is 0.1 / √3; 1,000 values or more, 5 % and more of it.
        assert abs(drawn.std().item() / (0.1 / math.sqrt(3)) - 1) < 0.06
        assert abs(value.abs().max().item() - 0.1) < 0.02


def test_train_many_does_what_a_loop_over_adam_does():
    found = ms.train_many(
        NETWORK, X, Y, MEMBERS, steps=25, learning_rate=0.03, snapshots=(10,), seed=5
    )
    assert sorted(found) == [10, 25]
    for number in range(len(MEMBERS)):
        network, chosen = single(untrained(), number), torch.from_numpy(MEMBERS[number])
        optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
        for step in range(1, 26):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(X[chosen]), Y[chosen]).backward()
            optimiser.step()
            if step in found:
                assert close(found[step], number, network)


def private(members=MEMBERS, **changes):
    settings = {
        "noise_multiplier": 0.0, "sample_rate": 1.0, "steps": 8, "max_grad_norm": 0.4,
        "learning_rate": 0.5, "seed": 5,
    }  # fmt: skip
    return ms.train_many_privately(NETWORK, X, Y, members, **(settings | changes))


def test_private_training_clips_each_record():
    models, start = private(), untrained()
    for number in range(len(MEMBERS)):
        network, chosen = single(start, number), np.flatnonzero(MEMBERS[number])
        parameters = list(network.parameters())
        for _ in range(8):
            total = [torch.zeros_like(each) for each in parameters]
            for record in chosen:
                loss = nn.functional.cross_entropy(network(X[[record]]), Y[[record]])
                gradients = torch.autograd.grad(loss, parameters)
                norm_of_all = math.sqrt(sum(g.square().sum().item() for g in gradients))
                for sum_, gradient in zip(total, gradients, strict=True):
                    sum_ += gradient * min(1, 0.4 / norm_of_all)
            with torch.no_grad():
                for each, sum_ in zip(parameters, total, strict=True):
                    each -= 0.5 * sum_ / 20  # half of the 40 records are expected
        assert close(models, number, network)


def test_private_training_adds_the_noise_that_it_says():
    nobody = np.zeros((300, 40), bool)
    models = private(nobody, noise_multiplier=1.5, sample_rate=0.25)
    start = private(nobody, noise_multiplier=0.0, sample_rate=0.25)
    # 8 steps of learning rate 0.5 on noise of 1.5 * 0.4, over an expected batch of 5.
    wanted = math.sqrt(8) * 0.5 * 1.5 * 0.4 / 5
    for name, value in models.items():
        moved = value - start[name]
        error = wanted / math.sqrt(2 * moved.numel())
        assert abs(moved.std().item() - wanted) < 5 * error


def test_private_training_samples_members_alone():
    # One step without noise: a bias of the last layer moves by the sum of what was sampled.
    members = np.zeros((2000, 40), bool)
    members[:, 7] = True
    bias = "4.bias"
    start = private(members, steps=1, learning_rate=1e-30, sample_rate=0.3)
    moved = (private(members, steps=1, sample_rate=0.3)[bias] - start[bias]).abs().sum(dim=1) > 0
    # Sampled in 30 % of the models; standard error 1 %.
    assert abs(moved.float().mean().item() - 0.3) < 5 * 0.0103


@pytest.mark.parametrize("claimed_noise", [1.0, 2.0])
def test_private_training_keeps_its_promise(claimed_noise):
    """Audit 40,000 models, half of them with a canary; a claim of twice the noise is refuted."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    step = dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(claimed_noise))
    epsilon = PLDAccountant().compose(step, 4).get_epsilon(0.01)
    # The canary is alone in having the last feature; small steps leave its gradient as it is.
    inputs, labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 50]]), torch.tensor([0, 1, 0])
    members = np.ones((40_000, 3), bool)
    members[::2, 2] = False

    def canary(noise, steps, rate):
        models = ms.train_many_privately(
            nn.Sequential(nn.Linear(3, 2)), inputs, labels, members, noise_multiplier=noise,
            sample_rate=0.5, steps=steps, max_grad_norm=1.0, learning_rate=rate,
        )  # fmt: skip
        return (models["0.weight"][:, 0, 2] - models["0.weight"][:, 1, 2]).numpy()

    start = canary(0.0, 1, 1e-30)
    # Where the initial weights put the canary into the wrong class, its gradient is clipped to 1.
    wrong = start < -0.1
    scores, inside = (canary(1.0, 4, 1e-3) - start)[wrong], members[wrong, 2]
    half = len(scores) // 2
    curve = ms.roc(scores[:half], inside[:half])
    threshold = curve.thresholds[np.searchsorted(curve.fpr, 0.02)]
    called, inside = scores[half:] >= threshold, inside[half:]
    # Both bounds hold at once with probability 1 - 2e-5.
    hits = ms.rate(int(called[inside].sum()), int(inside.sum()), 1 - 2e-5)
    alarms = ms.rate(int(called[~inside].sum()), int((~inside).sum()), 1 - 2e-5)
    proved = math.log((hits.low - 0.01) / alarms.high)
    assert proved > 1.3  # the attack is a good one
    assert (proved > epsilon) == (claimed_noise == 2.0)


def test_many_logits_are_those_of_each_model():
    models = untrained()
    logits = ms.many_logits(NETWORK, models, X)
    assert logits.shape == (4, 40, 3)
    for number in range(4):
        alone = single(models, number)(X).detach().numpy()
        assert np.allclose(logits[number], alone, atol=1e-5)


def test_seeds_decide():
    first, same, other = private(noise_multiplier=1.0), private(noise_multiplier=1.0), private(
        noise_multiplier=1.0, seed=6
    )  # fmt: skip
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_the_global_generator_stays_as_it_was():
    state = torch.random.get_rng_state()
    private(noise_multiplier=1.0)
    untrained()
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))}, "network must hold"),
        ({"network": nn.Sequential(nn.Linear(6, 3, bias=False))}, "network must hold"),
        ({"network": nn.Sequential(nn.Tanh())}, "network must hold"),
        ({"X": X[:, :5]}, r"X must be of shape \(n, 6\), not \(40, 5\)"),
        ({"y": Y[:5]}, r"y must be of shape \(40,\), not \(5,\)"),
        ({"members": MEMBERS[:, :5]}, r"members must be an array of booleans of shape \(M, 40\)"),
        ({"members": MEMBERS.astype(int)}, "members must be an array of booleans"),
        ({"members": MEMBERS[:0]}, "members must be an array of booleans"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"snapshots": (3,)}, "snapshots must lie between 1 and 2"),
        ({"snapshots": (0,)}, "snapshots must lie between 1 and 2"),
    ],
)
def test_train_many_refuses_bad_input(changes, message):
    arguments = {
        "network": NETWORK, "X": X, "y": Y, "members": MEMBERS, "steps": 2, "learning_rate": 0.1,
    } | changes  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ms.train_many(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_multiplier": -1.0}, "noise_multiplier must be at least 0: -1.0"),
        ({"sample_rate": 0.0}, "sample_rate must be above 0 and at most 1, not 0.0"),
        ({"sample_rate": 1.1}, "sample_rate must be above 0 and at most 1, not 1.1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, not 0.0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
    ],
)
def test_private_training_refuses_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        private(**changes)
