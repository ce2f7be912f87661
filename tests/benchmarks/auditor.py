"""The auditor: against StatDP and DP-Sniper, on the same mechanisms.

Mechanisms with known bugs, and correct ones, are audited at ε = 0.5 and then 1.5 (adjacency: as
each claims it) until one proves a violation, with an α of 0.001 for each audit. StatDP (Ding et al.
2018) and DP-Sniper (Bichsel et al. 2021) do not install from the package index:
``auditing_peers.py`` has them anew, from the papers, with the same calls, pairs and α. So the times
are those of these short versions, not of the authors' programs. All are judged at budgets far below
theirs: the papers use 500,000 and more than 10 million calls.

The mechanisms are every fourth of both corpora of the tests that claims pure ε-DP and no
floating-point safety. The first corpus and the auditor had one author; the second is by another
hand ([docs/auditor.md](../../docs/auditor.md) has all of them).

On a buggy mechanism, privlab alone stops as soon as it has a proof. The peers make all their calls,
so their ratio grows with the budget. On a correct mechanism there is nothing to find: privlab makes
all calls, since each sharpens the bound on ε that it reports, and so does DP-Sniper, but for a few.
What costs privlab more there is that it learns events from all outputs: it looks at more features.
StatDP stops after half of its calls where its rules leave no event to test, and reports no bound.

Detection was measured once: the rounds repeat the same seeds. "No difference" below means that a
sign test over the mechanisms, against privlab, has a p-value of 0.05 or more.

Not measured: (ε, δ) claims (neither paper has them), search for inputs (StatDP and DP-Sniper make
their own neighbours by patterns), DP-Sniper's neural network, bugs that need more calls.
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial
from statistics import median

import bench
import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(bench.ROOT / "tests"))
from audit_corpus import CASES, Case
from audit_corpus_second import SECOND
from auditing_peers import Verdict, dp_sniper, statdp

from privlab.audit import audit

BASE, ALPHA = "privlab", 0.001


def by_privlab(case: Case, epsilon: float, samples: int, rng: np.random.Generator) -> Verdict:
    """Audit with privlab."""
    report = audit(
        case.mechanism, case.pairs, epsilon, samples=samples, confidence=1 - ALPHA, rng=rng
    )
    return Verdict(report.violates, report.samples)


def by_peer(peer, case: Case, epsilon: float, samples: int, rng: np.random.Generator) -> Verdict:
    """Audit with one of the peers."""
    return peer(case.mechanism, case.pairs, epsilon, samples, ALPHA, rng)


def examine(way, cases: list[Case], samples: int) -> list[Verdict]:
    """Audit each case at each ε that it claims, up to the first violation."""
    verdicts = []
    for number, case in enumerate(cases):
        calls = 0
        for epsilon in case.epsilons:
            found = way(case, epsilon, samples, np.random.default_rng([number, samples]))
            calls += found.samples
            if found.violates:
                break
        verdicts.append(Verdict(found.violates, calls))
    return verdicts


def main() -> int:
    """Measure and print."""
    started, options = time.perf_counter(), bench.parser(__doc__).parse_args()
    bench.one_thread()
    warnings.filterwarnings("ignore", module="sklearn")
    fit = [case for case in (*CASES, *SECOND) if not case.delta and not case.floating_point]
    buggy = [case for case in fit if not case.correct][:: 20 if options.quick else 4]
    correct = [case for case in fit if case.correct][:: 20 if options.quick else 4]
    sizes = [8_000, 12_000, 16_000] if options.quick else [8_000, 30_000, 100_000]
    ways = {
        BASE: by_privlab,
        "StatDP": partial(by_peer, statdp),
        "DP-Sniper": partial(by_peer, dp_sniper),
    }
    hunt, calm = (
        bench.race(
            {name: partial(examine, way, cases) for name, way in ways.items()},
            sizes,
            1 if options.quick else 2,
        )
        for cases in (buggy, correct)
    )

    def caught(way: str, size: int) -> int:
        return sum(verdict.violates for verdict in hunt.values[way][size])

    def detection(way: str, size: int) -> str:
        pairs = [
            (ours.violates, theirs.violates)
            for ours, theirs in zip(hunt.values[BASE][size], hunt.values[way][size], strict=True)
        ]
        won, lost = pairs.count((True, False)), pairs.count((False, True))
        same = won == lost or binomtest(won, won + lost).pvalue >= 0.05
        note = " (no difference)" if same and way != BASE else ""
        return f"{way} {caught(way, size)}{note}"

    def span(result: bench.Race, way: str) -> str:
        ratios = [result.ratio(way, BASE, size)[0] for size in sizes]
        return f"{bench.short(min(ratios))} to {bench.short(max(ratios))} times ({way})"

    peers, rows = list(ways)[1:], []
    for way in ways:
        for size in sizes:
            verdicts, false = hunt.values[way][size], calm.values[way][size]
            calls = median(verdict.samples for verdict in verdicts)
            idle = sum(verdict.samples for verdict in false) / len(correct)
            rows.append([
                f"**{way}**" if way == BASE else way, f"{size:,}",
                f"{caught(way, size)} of {len(buggy)}",
                f"{sum(verdict.violates for verdict in false)} of {len(correct)}",
                f"{calls:,.0f}", f"{bench.short(hunt.cpu(way, size) / len(buggy))} s",
                f"{idle:,.0f}", f"{bench.short(calm.cpu(way, size) / len(correct))} s",
            ])  # fmt: skip
    found = {
        "caption": "Detection; median calls and mean CPU time of a buggy mechanism, mean calls and "
                   "CPU time of a correct one, both claims together:",
        "head": ["", "calls at most, an audit", "bugs found", "false alarms", "calls, buggy",
                 "CPU time", "calls, correct", "CPU time"],
        "rows": rows,
    }  # fmt: skip
    each = partial(bench.table, base=BASE, sizes=sizes, unit="calls")
    bench.finish(
        "auditor", __doc__, options, started, ["numpy", "scipy", "scikit-learn"],
        tables=[
            found,
            {**each(hunt), "caption": f"CPU time for all {len(buggy)} buggy mechanisms:"},
            {**each(calm), "caption": f"CPU time for all {len(correct)} correct ones:"},
        ],
        sentence=(
            f"Of {len(buggy)} bugs, "
            + "; ".join(
                f"with up to {size:,} calls, these were found: "
                + ", ".join(detection(way, size) for way in ways)
                for size in (sizes[0], sizes[-1])
            )
            + f". Over the budgets from {sizes[0]:,} to {sizes[-1]:,} calls, the peers take "
            + " and ".join(span(hunt, way) for way in peers)
            + " the CPU time of privlab on buggy mechanisms, and "
            + " and ".join(span(calm, way) for way in peers)
            + " on correct ones."
        ),
        costs={"buggy": bench.raw(hunt), "correct": bench.raw(calm)},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
