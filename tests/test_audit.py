"""The auditor convicts what breaks its promise, and nothing else."""

import math
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from audit_corpus import CASES
from audit_corpus_second import SECOND
from scipy.stats import binom

from privlab.audit import AuditReport, audit
from privlab.audit.bounds import epsilon_lower, share_lower
from privlab.audit.outputs import Encoder, Raised, Table

ONES = [([1] * 10, [1] * 9)]
BITS = [(0, 1)]


def laplace_count(data, epsilon, rng):
    return len(data) + rng.laplace(0, 1 / epsilon)


def exact_count(data, epsilon, rng):
    return len(data)


def randomised_response(data, epsilon, rng):
    return data if rng.random() < 1 / (1 + math.exp(-epsilon)) else 1 - data


# ---- the corpus ----------------------------------------------------------------------------------


def run(case, **options):
    """Audit at an ε below 1 and one above, up to the first violation."""
    options |= {"delta": case.delta, "floating_point": case.floating_point, "rng": 1}
    for epsilon in case.epsilons:
        report = audit(case.mechanism, case.pairs, epsilon, **options)
        if report.violates:
            break
    return report


def cases(correct):
    both = [*CASES, *SECOND]
    return [pytest.param(case, id=case.name) for case in both if case.correct == correct]


def test_corpus_is_large_and_has_no_name_twice():
    assert len(CASES) >= 60
    assert len({case.name for case in [*CASES, *SECOND]}) == len(CASES) + len(SECOND)


@pytest.mark.long
@pytest.mark.parametrize("case", cases(correct=False))
def test_buggy_mechanism_is_convicted(case):
    report = run(case)
    assert report.violates, report
    assert report.epsilon_lower > report.epsilon


# Some 90 mechanisms at two ε, each accused with 5e-6 at most: below 1e-3 in all, whatever the seed.
@pytest.mark.long
@pytest.mark.parametrize("case", cases(correct=True))
def test_correct_mechanism_is_released(case):
    report = run(case, samples=10_000, confidence=1 - 5e-6)
    assert not report.violates, report


# ---- the guarantee -------------------------------------------------------------------------------

# With 1,000 runs each at the default confidence, the number of false alarms is at most binomial
# (1000, 1/1000). More than 6 come up with a probability below 1e-4 in each of the two tests.
RUNS, MOST_ALARMS = 1_000, 6


def test_chance_of_failing_by_luck():
    assert binom.sf(MOST_ALARMS, RUNS, 1e-3) < 1e-4


@pytest.mark.long
@pytest.mark.parametrize(
    ("mechanism", "pairs", "epsilon"),
    [(randomised_response, BITS, 0.5), (laplace_count, ONES, 1.5)],
    ids=["randomised response", "Laplace count"],
)
def test_false_alarms_are_rare(mechanism, pairs, epsilon):
    reports = [audit(mechanism, pairs, epsilon, samples=2_000, rng=seed) for seed in range(RUNS)]
    assert sum(report.violates for report in reports) <= MOST_ALARMS


@pytest.mark.long
def test_bound_is_below_the_truth():
    # At confidence 0.9, so that an error would show: 300 runs, 30 failures allowed on average; 55
    # or more come up with a probability below 1e-5. The claim is far above the truth: no run stops
    # early.
    def half_claimed(data, epsilon, rng):
        return randomised_response(data, epsilon / 2, rng)

    bounds = [
        audit(half_claimed, BITS, 2.0, samples=3_000, confidence=0.9, rng=seed).epsilon_lower
        for seed in range(300)
    ]
    assert binom.sf(54, 300, 0.1) < 1e-5
    assert sum(bound > 1.0 for bound in bounds) < 55
    assert np.median(bounds) > 0.7


def test_bound_is_never_above_the_truth_with_high_confidence():
    # 100 runs, each wrong with 1e-6 at most: the test fails by luck with 1e-4 at most.
    options = {"samples": 3_000, "confidence": 1 - 1e-6}
    reports = [audit(randomised_response, BITS, 1.0, rng=seed, **options) for seed in range(100)]
    assert all(report.epsilon_lower <= 1.0 for report in reports)


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_share_is_bounded_exactly(alpha):
    # Clopper and Pearson: at the bound, as many hits or more have the probability alpha.
    bound = share_lower(37, 50, alpha)
    assert binom.sf(36, 50, bound) == pytest.approx(alpha)
    assert share_lower(0, 50, alpha) == 0


@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.1])
def test_bound_on_epsilon_is_near_the_truth_with_many_samples(delta):
    p, q, runs = 0.4, 0.1, 10**8
    bound = epsilon_lower(p * runs, (p + q) * runs, runs, 1e-3, delta)
    exact = math.log((p - delta) / q)
    assert exact - 0.002 < bound < exact


def test_event_less_likely_than_delta_proves_nothing():
    assert epsilon_lower(10, 10, 100_000, 1e-3, delta=0.01) == -np.inf
    assert epsilon_lower(0, 10, 100, 1e-3) == -np.inf


def test_coverage_with_delta_is_exact_arithmetic():
    # All outcomes of 60 coins: the bound is above the truth with a probability of alpha at most.
    p, q, delta, alpha, n = 0.5, 0.2, 0.05, 0.05, 60
    truth = math.log((p - delta) / q)
    wrong = 0.0
    for runs in range(n + 1):
        hits, others = np.meshgrid(np.arange(runs + 1), np.arange(n - runs + 1), indexing="ij")
        above = epsilon_lower(hits, hits + others, runs, alpha, delta) > truth
        chance = binom.pmf(hits, runs, p) * binom.pmf(others, n - runs, q)
        wrong += binom.pmf(runs, n, 0.5) * chance[above].sum()
    assert wrong <= alpha


# ---- speed ---------------------------------------------------------------------------------------


def test_gross_bug_is_convicted_at_once():
    report = audit(exact_count, ONES, 0.5, rng=0)
    assert report.violates
    assert report.samples < 3_000
    assert report.seconds < 0.5 * 5  # a busy machine is slower


@pytest.mark.long
def test_clean_count_is_released_in_time():
    start = time.process_time()
    report = audit(laplace_count, ONES, 0.5, rng=0)
    assert not report.violates
    assert report.samples == 200_000
    assert time.process_time() - start < 3 * 2
    assert report.epsilon_lower > 0.4


# ---- kinds of outputs ----------------------------------------------------------------------------

# What a mechanism returns for 0 and for 1; it lies once in ten calls.
KINDS = {
    "integers": (3, 4),
    "floats": (0.25, 0.75),
    "booleans": (False, True),
    "texts": ("yes", "no"),
    "None and a number": (None, 1.0),
    "NaN and a number": (math.nan, 1.0),
    "infinity and a number": (math.inf, 1.0),
    "huge integers": (10**400, 5),
    "tuples": ((1, 2.5), (1, 3.5)),
    "arrays": (np.array([1.0, 2.0]), np.array([2.0, 1.0])),
    "matrices": (np.eye(2), np.ones((2, 2))),
    "scalars of NumPy": (np.float64(1), np.array(2)),
    "lists of two lengths": ([1], [1, 1]),
    "empty lists": ([], [0]),
    "texts in lists": (["a", 1], ["b", 1]),
    "dicts with other values": ({"a": 1, "b": 2}, {"a": 1, "b": 3}),
    "dicts with other keys": ({"a": 1}, {"b": 1}),
    "nested": ({"a": [1, None]}, {"a": [1, "x"]}),
    "sets": ({1, 2}, {1, 3}),
    "bytes": (b"a", b"b"),
    "texts with numbers": ("sum 1.5", "sum 2.5"),
    "decimals": (Decimal("1.5"), Decimal("2.5")),
    "fractions": (Fraction(1, 3), Fraction(2, 3)),
    "complex numbers": (1 + 2j, 1 + 3j),
    "complex arrays": (np.array([1 + 2j, 0]), np.array([1 + 3j, 0])),
    "columns": (pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2], ["b", "a"])),
    "tables": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    "orders of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "dataclasses": (Raised("a"), SimpleNamespace(a=1)),
    "exceptions": (KeyError("a"), IndexError("a")),
    "an exception and a number": (KeyError("a"), 1),
    "a list and a number": ([1.0], 1.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_output_is_understood(kind):
    def mechanism(data, epsilon, rng):
        output = KINDS[kind][data if rng.random() < 0.9 else 1 - data]
        if isinstance(output, Exception):
            raise output
        return output

    report = audit(mechanism, BITS, 0.5, samples=20_000, rng=0)
    assert report.violates, report
    assert report.epsilon_lower < math.log(9)  # the truth
    assert not audit(mechanism, BITS, 2.3, samples=20_000, rng=0).violates


@pytest.mark.parametrize("output", [None, 0, "text", [], {}, [1, 2], math.nan])
def test_constant_output_is_no_violation(output):
    report = audit(lambda data, epsilon, rng: output, BITS, 0.5, samples=2_000, rng=0)
    assert not report.violates
    assert 0 <= report.epsilon_lower < 0.2


def test_an_output_becomes_the_same_in_any_company():
    values = [1, 2.5, True, None, math.nan, "a", [1, 2], [1, 2, 3], [1, "b"], (3,), {"a": 1}]
    values += [{"a": None, "b": [1]}, Raised("KeyError"), np.array([1.0, 2.0]), np.float64(3), []]
    encode = Encoder()
    together = encode(values)
    for row, value in enumerate(values):
        alone = encode([value, value])
        for name in together.columns.keys() | alone.columns.keys():
            assert together[name][row] == alone[name][0], (name, value)


def test_tables_are_joined_with_defaults():
    encode = Encoder()
    table = Table.join([encode([1.0, 2.0]), encode([None])])
    assert table.rows == 3
    assert table["output"][:2].tolist() == [1, 2]
    assert table["output kind"][:2].tolist() == [0, 0]


def test_long_vectors_are_cut():
    encode = Encoder()
    assert len(encode([np.zeros(1_000)] * 3).columns) < 70


@pytest.mark.filterwarnings("error")
def test_many_different_keys_are_cut():
    def mechanism(data, epsilon, rng):
        return {int(key): [0, None] for key in rng.integers(1_000, size=5)} | {"a": [data]}

    assert audit(mechanism, BITS, 0.5, samples=3_000, rng=0).violates


def test_exception_is_told_by_its_type():
    def mechanism(data, epsilon, rng):
        return 1 / len(data)

    report = audit(mechanism, [([1], [])], 1.0, rng=0)
    assert report.violates
    assert "the exception ZeroDivisionError" in report.event or "of exactly 1" in report.event


def test_data_changed_in_place_are_fresh_in_the_next_call():
    def mechanism(data, epsilon, rng):
        data.append(0)
        return len(data) - 1 + rng.laplace(0, 1 / epsilon)

    data = [1, 2]
    assert not audit(mechanism, [(data, [1])], 0.5, samples=3_000, rng=0).violates
    assert data == [1, 2]


def test_interrupts_are_not_outputs():
    def mechanism(data, epsilon, rng):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(mechanism, BITS, 1.0)


def test_floating_point_is_looked_at_on_request_only():
    # 0 + noise keeps bits that 1 + noise has lost. (9 and 10 lie on the same grid: no help.)
    pairs, options = [([1], [])], {"samples": 20_000, "rng": 0}
    assert not audit(laplace_count, pairs, 0.5, **options).violates
    report = audit(laplace_count, pairs, 0.5, floating_point=True, **options)
    assert report.violates
    assert "lowest bit" in report.event


# ---- pairs ---------------------------------------------------------------------------------------


def test_the_pair_with_the_violation_is_found_and_named():
    pairs = [([1], [1])] * 7 + ONES + [([2], [2])] * 4
    report = audit(lambda data, epsilon, rng: sum(data) + rng.normal(), pairs, 0.3, rng=0)
    assert report.violates
    assert report.pair == 7


def test_the_data_sets_are_called_by_their_names():
    names = [("with Ann", "without Ann")]
    report = audit(exact_count, ONES, 0.5, rng=0, names=names)
    assert " runs with Ann and " in repr(report)
    assert " runs without Ann: that takes" in repr(report)
    figure, alt = report.figure()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()][:2] == [*names[0]]
    assert "without Ann" in alt
    plt.close(figure)


def test_a_batched_mechanism_is_called_once_for_many_outputs():
    class Count:
        calls = 0

        def many(self, pair, choices, epsilon, rng):
            self.calls += 1
            sizes = np.array([len(pair[choice]) for choice in choices])
            return sizes + rng.laplace(0, 1 / epsilon, len(choices))

    count = Count()
    assert not audit(count, ONES, 0.5, samples=50_000, rng=0).violates
    assert count.calls < 30


def test_a_mechanism_of_tables_gets_copies():
    def mechanism(data, epsilon, rng):
        data["age"] = data["age"].clip(0, 100)
        return data["age"].sum() + rng.laplace(0, 100 / epsilon)

    pairs = [(pd.DataFrame({"age": [300.0, 50.0]}), pd.DataFrame({"age": [50.0]}))]
    assert not audit(mechanism, pairs, 1.0, samples=1_000, rng=0).violates
    assert pairs[0][0]["age"].max() == 300


@pytest.mark.parametrize("answer", [0, 1])
def test_both_directions_are_tried(answer):
    # Only 1 in 20 outputs of one data set betrays it.
    def mechanism(data, epsilon, rng):
        return "odd" if data == answer and rng.random() < 0.05 else "even"

    report = audit(mechanism, BITS, 1.0, rng=0)
    assert report.violates
    assert report.direction == ("first", "second")[answer]
    assert report.event == "an output that is 'odd'"


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("mechanism", 3, "a function"),
        ("pairs", [], "at least one pair"),
        ("pairs", None, "at least one pair"),
        ("pairs", [(1, 2, 3)], "tuples of two"),
        ("pairs", [[1, 2]], "tuples of two"),
        ("epsilon", 0, "above 0"),
        ("epsilon", -1, "above 0"),
        ("epsilon", math.nan, "above 0"),
        ("epsilon", math.inf, "finite"),
        ("epsilon", "1", "number"),
        ("epsilon", True, "number"),
        ("delta", -0.1, "at least 0 and below 1"),
        ("delta", 1, "at least 0 and below 1"),
        ("delta", math.nan, "at least 0 and below 1"),
        ("confidence", 0, "above 0 and below 1"),
        ("confidence", 1, "above 0 and below 1"),
        ("confidence", math.nan, "above 0 and below 1"),
        ("samples", 999, "at least 1,000"),
        ("samples", 2_000.5, "whole number"),
        ("samples", True, "whole number"),
        ("names", [], "two texts for each of the 1 pairs"),
        ("names", [("a",)], "two texts"),
    ],
)
def test_bad_input_is_named(argument, value, allowed):
    arguments = {"mechanism": laplace_count, "pairs": ONES, "epsilon": 1.0} | {argument: value}
    with pytest.raises(ValueError, match=f"(?s)^{argument} .*{allowed}"):
        audit(**arguments)


# ---- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guilty():
    return audit(exact_count, ONES, 0.5, rng=0)


@pytest.fixture(scope="module")
def released():
    return audit(laplace_count, ONES, 0.5, samples=5_000, rng=0)


def test_report_says_what_was_found(guilty):
    text = repr(guilty)
    assert text.startswith("Violation: ε is at least ")
    assert "came up" in text
    assert "you claimed 0.5" in text
    assert min(guilty.counts) == 0
    assert f"{max(guilty.counts):,} times in {max(guilty.counts):,} runs" in text


def test_report_never_says_private(released):
    figure, alt = released.figure()
    plt.close(figure)
    text = repr(released) + released._repr_html_() + alt
    assert "No violation found with 5,000 samples" in text
    assert "private" not in text
    assert f"ε ≥ {released.epsilon_lower + 0.001:.3f}" not in text


def test_report_is_html_without_colours(guilty):
    page = guilty._repr_html_()
    assert page.count("<div") == page.count("</div>")
    assert "currentColor" in page
    assert "#" not in page
    assert "background" not in page


def test_report_escapes_what_the_mechanism_returned():
    def mechanism(data, epsilon, rng):
        return "<script>" if data else "<b>"

    page = audit(mechanism, BITS, 0.5, rng=0)._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page


@pytest.mark.parametrize("kind", KINDS)
def test_figure_has_a_text_alternative(kind):
    def mechanism(data, epsilon, rng):
        output = KINDS[kind][data if rng.random() < 0.9 else 1 - data]
        if isinstance(output, Exception):
            raise output
        return output

    report = audit(mechanism, BITS, 1.0, samples=2_000, rng=0)
    figure, alt = report.figure()
    (axes,) = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert axes.get_legend()
    assert report.title in axes.get_title(loc="left")
    assert len(alt) > 40
    figure.canvas.draw()
    plt.close(figure)


def test_event_is_shaded(released):
    figure, _ = released.figure()
    (axes,) = figure.axes
    assert any(patch.get_hatch() for patch in axes.patches)
    plt.close(figure)


# ---- the same again ------------------------------------------------------------------------------


def test_a_seed_gives_the_same_audit():
    def outcome(rng):
        report = audit(laplace_count, ONES, 0.5, samples=5_000, rng=rng)
        assert isinstance(report, AuditReport)
        return report.epsilon_lower, report.counts, report.event, report.samples

    assert outcome(3) == outcome(3) == outcome(np.random.default_rng(3))
    assert outcome(3) != outcome(4)


def test_samples_are_not_exceeded():
    for samples in (1_000, 1_777, 9_999):
        assert audit(laplace_count, ONES, 0.5, samples=samples, rng=0).samples <= samples


# ---- memory --------------------------------------------------------------------------------------

GREEDY = """
import re
from pathlib import Path
import numpy as np
from privlab.audit import audit

def vector(data, epsilon, rng):
    return data + rng.laplace(0, 1 / epsilon, 64)

assert not audit(vector, [(np.eye(64)[0], np.zeros(64))], 0.5, rng=0).violates
# Not getrusage: its maximum takes that of the process which started this one along.
kilobytes = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]
print(int(kilobytes) // 1024)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_500_megabytes():
    done = subprocess.run([sys.executable, "-c", GREEDY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500
