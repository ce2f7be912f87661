"""Write the detection table of docs/auditor.md: ``make audit-table`` runs this.

Every mechanism of the two corpora in tests/ is audited at its claims, up to the first violation,
with the default settings of the audit and a fixed seed.
"""

import platform
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import scipy
from tqdm import tqdm

from privlab.audit import AuditReport, audit

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "auditor.md"
START = "(make audit-table), checked by tests/test_audit_table.py -->\n"
END = "<!-- end of detection"

sys.path.insert(0, str(ROOT / "tests"))
from audit_corpus import CASES, Case  # noqa: E402
from audit_corpus_second import BLIND, SECOND  # noqa: E402

CORPORA = {"First corpus": CASES, "Second corpus, by another hand": SECOND}


def examine(case: Case) -> AuditReport:
    """Audit a mechanism at each ε that it claims, up to the first violation."""
    for epsilon in case.epsilons:
        report = audit(
            case.mechanism,
            case.pairs,
            epsilon,
            delta=case.delta,
            floating_point=case.floating_point,
            rng=1,
        )
        if report.violates:
            break
    return report


def row(case: Case, report: AuditReport) -> str:
    """Write one line of the table."""
    claim = f"{report.epsilon:g}" + (f", δ = {case.delta:g}" if case.delta else "")
    cells = (
        f"`{case.name}`",
        case.why,
        case.adjacency,
        "correct" if case.correct else "buggy",
        claim,
        f"{np.floor(report.epsilon_lower * 100) / 100:.2f}",
        "**violation**" if report.violates else "none found",
        f"{report.samples:,}",
        f"{report.seconds:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def section(title: str, cases: list[Case]) -> Iterator[str]:
    """Audit one corpus and write what came out."""
    reports = [examine(case) for case in tqdm(cases, desc=title)]
    both = list(zip(cases, reports, strict=True))
    caught = [report for case, report in both if not case.correct and report.violates]
    released = sum(case.correct and not report.violates for case, report in both)
    correct = sum(case.correct for case in cases)
    yield (
        f"**{title}.** {len(caught)} of {len(cases) - correct} buggy mechanisms convicted "
        f"(median {median(report.seconds for report in caught):.2f} s, "
        f"{median(report.samples for report in caught):,.0f} samples), "
        f"{released} of {correct} correct ones released.\n"
    )
    yield "| mechanism | why | neighbours | is | claims ε | proved ε ≥ | verdict | samples | s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    yield from (row(case, report) for case, report in both)
    yield ""


def blind_spots() -> list[str]:
    """List the mechanisms that break their promise where the audit cannot see it."""
    return [
        "**Blind spots.** These break their promise, and the audit is not expected to notice.\n",
        *(f"- `{case.name}`: {case.why}" for case in BLIND),
        "",
    ]


def main() -> None:
    """Put a new table in the place of the old one."""
    lines = [
        "\n## Detection\n",
        "Claims are tried in the order 0.5, 1.5 up to the first violation; a released mechanism "
        f"shows the last. Default settings, {date.today():%B %Y}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}.\n",
    ]
    for title, cases in CORPORA.items():
        lines += section(title, cases)
    lines += blind_spots()
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + "\n".join(lines) + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
