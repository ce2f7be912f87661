"""Parties as processes: what they compute, what is counted, and what happens when one fails."""

import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from privlab import mpc, processes
from privlab.mpc import Report, cost_table, fit_logistic, run_parties, told_apart, watch


async def total(mpc, own):
    secint = mpc.SecInt(32)
    return int(await mpc.output(mpc.sum(mpc.input(secint(own["value"])))))


async def work(mpc, own, case):
    what, size = case
    x, y = mpc.input(mpc.SecInt(32).array(np.full(size, own)))[:2]
    z = x * y if what == "product" else x + y
    return np.array(await mpc.output(z), int)


async def failing(mpc, own):
    if own:
        raise ValueError("no such column")
    return int(await mpc.output(mpc.input(mpc.SecInt(32)(1), senders=1)))


async def leaving(mpc, own):
    import sys

    if own:
        sys.exit(0)
    return int(await mpc.output(mpc.input(mpc.SecInt(32)(1), senders=1)))


async def vanishing(mpc, own):
    import os

    if own:
        os._exit(0)
    return int(await mpc.output(mpc.input(mpc.SecInt(32)(1), senders=1)))


async def killed(mpc, own):
    import os
    import signal

    if own:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(await mpc.output(mpc.input(mpc.SecInt(32)(1), senders=1)))


async def stuck(mpc, own):
    import asyncio

    print("waiting for ever", flush=True)
    await asyncio.sleep(600)


def children():
    return psutil.Process().children(recursive=True)


def test_a_sum_among_three_processes():
    before = children()
    reports = run_parties(total, [{"value": value} for value in (5, -7, 100)])
    assert [report.party for report in reports] == [0, 1, 2]
    assert [report.result for report in reports] == [98, 98, 98]
    # Two shares of 8 bytes to the others, one of the result to t = 1; 12 bytes more a message.
    assert [report.bytes_sent for report in reports] == [3 * (8 + 12)] * 3
    assert [report.messages for report in reports] == [3, 3, 3]
    assert children() == before


def test_cases_delays_and_rounds():
    cases = [("sum", 2), ("product", 2), ("sum", 500)]
    reports = run_parties(work, [3, 4, 0], cases, delays=iter((0, 0.2)), repeats=2)
    assert len(reports) == 3 * 3 * 2 * 2
    for report in reports:
        wanted = 12 if report.case[0] == "product" else 7
        assert np.array_equal(report.result, np.full(report.case[1], wanted))
    cost = cost_table(reports)
    # A delay cannot be overtaken; a busy machine would have to lose 0.15 s in both repetitions.
    assert cost["rounds"].to_dict() == {
        ("sum", 2): 2, ("product", 2): 3, ("sum", 500): 2,
    }  # fmt: skip
    assert cost["kB a party"].iloc[2] > 3 * cost["kB a party"].iloc[0]
    assert list(cost.index) == cases


def test_a_threshold_of_none_of_two():
    reports = run_parties(total, [{"value": 1}, {"value": 2}], threshold=0)
    assert [report.result for report in reports] == [3, 3]


def test_a_party_that_fails_is_named_and_nothing_is_left():
    before = children()
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"(?s)party 1 ended.*no such column"):
        run_parties(failing, [0, 1, 0], timeout=120)
    assert time.monotonic() - start < 60
    assert children() == before


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (leaving, r"(?s)party 1 ended.*SystemExit"),
        (vanishing, "party 1 ended before its program"),
        (killed, "party 1 ended with code -9"),
    ],
)
def test_a_party_that_leaves_is_named(program, message):
    with pytest.raises(RuntimeError, match=message):
        run_parties(program, [0, 1, 0], timeout=60)


def test_parties_that_hang_are_ended():
    before = children()
    with pytest.raises(TimeoutError, match="waiting for ever"):
        run_parties(stuck, [0, 0], threshold=0, timeout=8)
    assert children() == before


def test_a_port_that_is_taken_is_tried_again(monkeypatch):
    tried = []
    free = processes.Processes.free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def port():  # party 1 listens, party 0 does not
            tried.append(taken.getsockname()[1] if len(tried) == 1 else free())
            return tried[-1]

        monkeypatch.setattr(processes.Processes, "free_port", staticmethod(port))
        reports = run_parties(total, [{"value": value} for value in (1, 2)], threshold=0)
    assert [report.result for report in reports] == [3, 3]
    assert len(tried) == 4


def not_async(mpc, own):
    return 1


async def too_many(mpc, own, case, more):
    return 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": [1]}, "inputs must be of 2 parties or more"),
        ({"threshold": 2}, "threshold must be at least 0 and below half of 3"),
        ({"threshold": -1}, "threshold"),
        ({"delays": (0, -1)}, "delays"),
        ({"threshold": True}, "threshold"),
        ({"delays": ()}, "delays"),
        ({"delays": (float("nan"),)}, "delays"),
        ({"cases": ()}, "cases must be at least one"),
        ({"timeout": 0}, "timeout"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 1.5}, "repeats"),
        ({"program": not_async}, "async def"),
        ({"program": too_many}, "program must take"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"program": total, "inputs": [1, 2, 3]} | change
    with pytest.raises(ValueError, match=message):
        run_parties(**arguments)


def test_a_program_without_source_is_refused():
    namespace = {}
    exec("async def program(mpc, own):\n    return 1", namespace)
    with pytest.raises(ValueError, match="cell or a file"):
        run_parties(namespace["program"], [1, 2, 3])


def report(delay, seconds, repeat=0, party=0, case=("sum", 1)):
    return Report(party, case, delay, repeat, None, 500, 3, seconds)


def test_cost_of_the_slowest_party_in_the_fastest_repetition():
    reports = [
        report(0.0, 0.010), report(0.0, 0.020, party=1), report(0.0, 0.5, repeat=1),
        report(0.1, 0.250), report(0.1, 0.230, party=1), report(0.1, 0.9, repeat=1),
    ]  # fmt: skip
    (row,) = cost_table(reports).to_dict("records")
    assert row == pytest.approx({"kB a party": 0.5, "ms": 20, "rounds": 2})
    with pytest.raises(ValueError, match="one other"):
        cost_table([*reports, report(0.3, 0.65)])


@pytest.mark.parametrize(
    ("delays", "rounds"), [(1.95, 2), (2.0, 2), (2.7, 2), (2.95, 3), (11.99, 12)]
)
def test_rounds_are_whole_delays(delays, rounds):
    (row,) = cost_table([report(0, 0.01), report(0.2, 0.2 * delays)]).to_dict("records")
    assert row["rounds"] == rounds


@pytest.mark.parametrize(("alone", "delays"), [(0.01, 2.8), (0.11, 2.6)])
def test_rounds_are_not_guessed(alone, delays):
    with pytest.raises(ValueError, match="too short to count the rounds of 'sum'"):
        cost_table([report(0, alone, case="sum"), report(0.2, 0.2 * delays, case="sum")])


def test_cost_of_cases_of_any_kind():
    alone = cost_table([report(0.0, 0.01, case=None)])
    assert alone.to_dict("records") == [pytest.approx({"kB a party": 0.5, "ms": 10})]
    with pytest.raises(ValueError, match="hashable"):
        cost_table([report(0.0, 0.01, case={"size": 3})])


def test_views_of_one_and_of_two_servers():
    seen = watch(lambda secret, parties: [secret, 2, 9], {"a": 6, "b": 1}, times=4)
    assert {name: view.tolist() for name, view in seen.items()} == {
        "a": [[6, 2]] * 4, "b": [[1, 2]] * 4,
    }  # fmt: skip
    assert told_apart(seen, 1, 100) == told_apart(seen, 2, 100) == 1
    assert told_apart(seen, 2, 5) == 0.5  # 8 and 3 modulo 5
    with pytest.raises(ValueError, match="two secrets"):
        told_apart({"one": np.ones((3, 2))}, 1, 7)
    with pytest.raises(ValueError, match="servers"):
        told_apart(seen, 3, 7)


def test_the_best_limit_is_tried_on_other_views():
    rng = np.random.default_rng(1)
    large, small = (rng.normal(mean, 1, (20_000, 2)) for mean in (21, 20))
    # One tells with probability Phi(0.5), the sum of two with Phi(1 / sqrt(2)).
    assert told_apart({"a": large, "b": small}, 1, 1000) == pytest.approx(0.691, abs=0.015)
    assert told_apart({"a": large, "b": small}, 2, 1000) == pytest.approx(0.760, abs=0.015)
    assert told_apart({"a": large, "b": large}, 1, 1000) == pytest.approx(0.5, abs=0.001)


def test_logistic_regression_finds_the_weights():
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=5000), np.ones(5000)])
    y = (rng.random(5000) < 1 / (1 + np.exp(-X @ [2, -1]))).astype(float)
    assert fit_logistic(X, y) == pytest.approx([2, -1], abs=0.2)


def test_figures_have_a_panel_each():
    seen = watch(lambda secret, parties: [secret, 0, 0], {"a": 6, "b": 1}, times=4)
    for figure in (mpc.draw_views(seen, 7), mpc.draw_views(seen, 7, most=5)):
        assert len(figure.axes) == 2
    cases = [("sum", 10), ("sum", 100), ("compare", 10)]
    cost = cost_table([report(delay, 2 * delay, case=case) for case in cases for delay in (0, 0.1)])
    left, right = mpc.draw_costs({3: cost.iloc[:2], 5: cost.iloc[:2]}, cost).axes
    assert [line.get_label() for line in left.lines] == [
        "sum, 3 parties", "sum, 5 parties", "in the clear",
    ]  # fmt: skip
    assert [text.get_text() for text in right.texts] == [" 2 rounds"] * 3


def test_the_package_stays_light():
    source = Path(mpc.__file__).read_text()
    assert "\nimport mpyc" not in source
    assert "\nfrom mpyc" not in source
