"""The detection table of docs/auditor.md is that of the corpora, and nothing in it is wrong."""

import re
from pathlib import Path

import pytest
from audit_table import CORPORA

PAGE = (Path(__file__).parent.parent / "docs" / "auditor.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
CASES = [case for cases in CORPORA.values() for case in cases]


def test_the_table_lists_every_mechanism():
    assert [name for name, _ in ROWS] == [case.name for case in CASES], "run `make audit-table`"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict_is_right(case):
    cells = dict(ROWS)[case.name].split(" | ")
    why, adjacency, kind, claim, proved, verdict = cells[:6]
    assert (why, adjacency) == (case.why, case.adjacency), "run `make audit-table`"
    assert kind == ("correct" if case.correct else "buggy")
    assert verdict == ("none found" if case.correct else "**violation**")
    # Cut to two digits, a proof just above the claim may show the claim itself.
    epsilon = float(claim.partition(",")[0])
    assert float(proved) <= epsilon if case.correct else float(proved) >= epsilon


def test_the_number_of_mechanisms_is_told_right():
    root = Path(__file__).parent.parent
    for name in ("README.md", "notebooks/03_differential_privacy.ipynb"):
        assert f"what it caught of {len(CASES)} mechanisms" in (root / name).read_text("utf-8")
