"""The sweep runner: what is run, what is kept, what is told; and Pareto fronts."""

import itertools
import json
import math
import multiprocessing
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

from privlab.experiments import fingerprint, pareto, settings_of, sweep

CALLS = []
GRID = {"epsilon": [0.5, 1.0], "clip": [1, 2]}


@pytest.fixture(autouse=True)
def _forget():
    CALLS.clear()


def product(epsilon, clip, seed):
    CALLS.append((epsilon, clip, seed))
    return {"value": epsilon * clip + seed}


def test_all_settings_and_seeds_are_run_in_order():
    table = sweep(product, GRID, seeds=2, progress=False)
    wanted = list(itertools.product((0.5, 1.0), (1, 2), (0, 1)))
    assert wanted == CALLS
    assert list(table.columns) == [
        "epsilon", "clip", "seed", "value", "seconds", "cached", "error",
    ]  # fmt: skip
    assert (table["value"] == table["epsilon"] * table["clip"] + table["seed"]).all()
    assert not table["cached"].any()
    assert (table["error"] == "").all()
    assert (table["seconds"] >= 0).all()


def test_second_call_runs_nothing_and_gives_the_same_table(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    first = sweep(product, GRID, seeds=[3, 5], cache=path, progress=False)
    assert len(CALLS) == 8
    second = sweep(product, GRID, seeds=[3, 5], cache=path, progress=False)
    assert len(CALLS) == 8
    assert second["cached"].all()
    pd.testing.assert_frame_equal(first.drop(columns="cached"), second.drop(columns="cached"))


def test_a_wider_grid_runs_only_what_is_new(tmp_path):
    path = tmp_path / "runs.jsonl"
    sweep(product, GRID, cache=path, progress=False)
    table = sweep(product, {"clip": [2, 3], "epsilon": [1.0]}, seeds=2, cache=path, progress=False)
    assert CALLS[4:] == [(1.0, 2, 1), (1.0, 3, 0), (1.0, 3, 1)]
    assert table["cached"].tolist() == [True, False, False, False]


def test_a_list_of_settings_may_have_different_parameters():
    def either(seed, k=None, epsilon=None):
        return {"value": k or epsilon}

    table = sweep(either, [{"k": 5}, {"epsilon": 0.5}], progress=False)
    assert table["value"].tolist() == [5, 0.5]
    assert table["k"].isna().tolist() == [False, True]


def test_an_interrupted_sweep_continues_where_it_stopped(tmp_path):
    path, stop = tmp_path / "runs.jsonl", [True]

    def interrupted(epsilon, clip, seed):
        CALLS.append((epsilon, clip))
        if stop[0] and len(CALLS) == 3:
            raise KeyboardInterrupt
        return {"value": epsilon}

    with pytest.raises(KeyboardInterrupt):
        sweep(interrupted, GRID, cache=path, progress=False)
    assert len(path.read_text().splitlines()) == 2
    stop[0] = False
    table = sweep(interrupted, GRID, cache=path, progress=False)
    assert CALLS == [(0.5, 1), (0.5, 2), (1.0, 1), (1.0, 1), (1.0, 2)]
    assert table["cached"].tolist() == [True, True, False, False]


def test_a_changed_function_or_version_is_run_again(tmp_path):
    path = tmp_path / "runs.jsonl"

    def define(source):
        file = tmp_path / f"module_{len(list(tmp_path.glob('module_*')))}.py"
        file.write_text(source)
        namespace = {}
        exec(compile(source, str(file), "exec"), namespace)
        return namespace["f"]

    one = define("def f(x, seed):\n    return {'y': x}\n")
    two = define("def f(x, seed):\n    return {'y': 2 * x}\n")
    same = define("def f(x, seed):\n    return {'y': x}\n")
    for function, version, value, cached in [
        (one, "", 3, False), (two, "", 6, False), (same, "", 3, True), (one, "2", 3, False),
    ]:  # fmt: skip
        table = sweep(function, {"x": [3]}, cache=path, version=version, progress=False)
        assert (table["y"][0], table["cached"][0]) == (value, cached)


def test_fingerprint_sees_defaults_and_what_partial_binds():
    def make(default):
        def f(x, seed, extra=default):
            return {"y": x}

        return f

    marks = {fingerprint(make(1)), fingerprint(make(2)), fingerprint(partial(make(1), extra=2))}
    assert len(marks) == 3
    assert fingerprint(make(1)) == fingerprint(make(1))
    with pytest.raises(ValueError, match="function must be written in Python"):
        fingerprint(len)


def test_a_broken_line_is_dropped_and_said(tmp_path):
    path = tmp_path / "runs.jsonl"
    sweep(product, GRID, cache=path, progress=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])  # the last line, cut off in the middle
    with pytest.warns(UserWarning, match=r"runs.jsonl: 1 line cannot be read"):
        table = sweep(product, GRID, cache=path, progress=False)
    assert table["cached"].tolist() == [True, True, True, False]
    assert table["value"].tolist() == [0.5, 1.0, 1.0, 2.0]
    with pytest.warns(UserWarning, match="1 line cannot"):
        assert sweep(product, GRID, cache=path, progress=False)["cached"].all()


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[]", b"3", b'{"key": 1}', b'{"key":"a","results":1}']
)
def test_whatever_stands_in_the_file_does_no_harm(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert len(sweep(product, GRID, cache=path, progress=False)) == 4


def test_an_error_is_recorded_told_and_tried_again(tmp_path):
    path, fail = tmp_path / "runs.jsonl", [True]

    def shaky(x, seed):
        CALLS.append(x)
        if fail[0] and x == 2:
            raise RuntimeError("no luck")
        return {"y": x}

    with pytest.warns(UserWarning, match=r"1 of 3 runs failed.*'x': 2.*RuntimeError: no luck"):
        table = sweep(shaky, {"x": [1, 2, 3]}, cache=path, progress=False)
    assert table["error"].tolist() == ["", "RuntimeError: no luck", ""]
    assert table["y"].isna().tolist() == [False, True, False]
    fail[0] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = sweep(shaky, {"x": [1, 2, 3]}, cache=path, progress=False)
    assert CALLS == [1, 2, 3, 2]
    assert table["y"].tolist() == [1, 2, 3]


def test_all_runs_may_fail():
    def broken(x, seed):
        raise KeyError("x")

    with pytest.warns(UserWarning, match="2 of 2 runs failed"):
        table = sweep(broken, {"x": [1, 2]}, progress=False)
    assert table["error"].str.startswith("KeyError").all()


def test_nan_infinity_none_and_numpy_numbers_survive_the_cache(tmp_path):
    def odd(seed):
        return {"nan": math.nan, "inf": np.float64("inf"), "none": None, "yes": np.bool_(True),
                "name": "DP-SGD", "count": np.int64(3)}  # fmt: skip

    path = tmp_path / "runs.jsonl"
    for _ in range(2):
        row = sweep(odd, [{}], cache=path, progress=False).iloc[0]
        assert math.isnan(row["nan"])
        assert row["inf"] == math.inf
        assert row["none"] is None
        assert (row["yes"], row["name"], row["count"]) == (True, "DP-SGD", 3)
    assert row["cached"]


def _many(path, number):
    def noted(x, seed):
        return {"y": "z" * 3_000}

    sweep(noted, {"x": list(range(number * 50, number * 50 + 50))}, cache=path, progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_processes_may_share_a_cache(tmp_path):
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_many, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({entry["key"] for entry in entries}) == len(entries) == 200


def test_the_progress_bar_counts_what_is_missing(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    sweep(product, GRID, cache=path)
    assert "/4" in capsys.readouterr().err
    sweep(product, GRID, cache=path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({}, "at least one setting"),
        ([], "at least one setting"),
        ({"x": []}, "at least one setting"),
        ({"x": 3}, r"grid\['x'\] must be a list"),
        ({"x": "abc"}, r"grid\['x'\] must be a list"),
        ({"x": [object()]}, r"grid\['x'\] must hold numbers"),
        ({"x": [math.nan]}, "must hold finite numbers"),
        ({"seed": [1]}, "must not set"),
        ([{"x": 1}, {"x": 1}], "each setting once"),
        ({"x": [1, 1]}, "each setting once"),
    ],
)
def test_a_bad_grid_is_refused(grid, told):
    with pytest.raises(ValueError, match=told):
        settings_of(grid)


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], "12", 1.5, [0.5], True, None])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        sweep(product, GRID, seeds=seeds, progress=False)
    assert not CALLS


@pytest.mark.parametrize("result", [None, 3, {"x": 1}, {"seed": 1}, {"error": 1}, {1: 2},
                                    {"y": [1, 2]}, {"y": object()}])  # fmt: skip
def test_a_bad_result_is_refused(result):
    def bad(x, seed):
        return result

    with pytest.raises(ValueError, match="function must"):
        sweep(bad, {"x": [1]}, progress=False)


def dominated_by_hand(points):
    """All pairs, written another way."""
    return [
        any(
            all(b >= a for a, b in zip(p, q, strict=True))
            and any(b > a for a, b in zip(p, q, strict=True))
            for q in points
        )
        for p in points
    ]


def test_pareto_agrees_with_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.integers(0, 5, (int(rng.integers(1, 30)), 3))
        table = pd.DataFrame(points * [1, 1, -1], columns=["a", "b", "cost"])
        front = pareto(table, maximise=["a", "b"], minimise=["cost"])
        assert front.tolist() == [not each for each in dominated_by_hand(points.tolist())]


def test_pareto_keeps_ties_and_leaves_out_nan():
    table = pd.DataFrame(
        {"auc": [0.9, 0.9, 0.8, math.nan, 1.0], "cost": [2, 2, 3, 0, math.nan]}, index=list("abcde")
    )
    front = pareto(table, maximise=["auc"], minimise=["cost"])
    assert front.to_dict() == {"a": True, "b": True, "c": False, "d": False, "e": False}
    assert pareto(table.iloc[:0], ["auc"]).tolist() == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "at least one column"),
        ({"maximise": "auc"}, "must be lists"),
        ({"maximise": ["acc"]}, "no column 'acc'"),
        ({"maximise": ["auc"], "minimise": ["auc"]}, "name a column once"),
        ({"maximise": ["name"]}, "must hold numbers"),
    ],
)
def test_pareto_refuses(options, told):
    table = pd.DataFrame({"auc": [0.5], "name": ["x"]})
    with pytest.raises(ValueError, match=told):
        pareto(table, **options)
