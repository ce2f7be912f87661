"""Run all benchmarks and write the page: ``make bench``.

    python tests/benchmarks/run.py [--quick] [subject …]

Results are stored in tests/benchmarks/results, one file a subject; the page is written from them,
so one subject can be measured again alone. With ``--quick``, nothing is stored: results and page
go to a folder for temporary files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench

#: In the order of the page.
SUBJECTS = (
    "auditor",
    "anonymity",
    "fashion_mnist",
    "dp_sgd",
    "lira",
    "federated",
    "secure",
    "grading",
)

RESULTS = bench.HERE / "results"

INTRODUCTION = """\
# Benchmarks

This page is made by `make bench` (some subjects: `make bench BENCH="lira secure"`; tiny sizes, \
nothing stored: `BENCH=--quick`). It is not part of `make test`: what stands here took \
{minutes:.0f} minutes.

How to read it. Ways to do the same work run in turns in one run, each round in another order. A \
cell shows the median CPU time (user and system, of the process and of all it started; wall times \
are in the stored results, since the machine may be busy) or a rate computed from it. × 8 means: \
8 times the CPU time of the way in bold. This is the median of the ratios of the rounds, so it may \
differ from the quotient of two cells; in brackets, the lowest and the highest of them. A way that \
took more than 15 CPU seconds in its first round runs once, and is compared with the median of the \
way in bold. (In the grading, everything runs once.) "Grows like n^1.0" is a straight line fitted \
to the logarithms of size and time, fixed costs included: where those dominate (the start of a \
process, for example), it is near n^0 and says nothing about larger sizes. Numerical libraries are \
told to use one thread. Programs that start processes of their own (Ray, TensorFlow Federated, \
MPyC, the graders) may still use more than one core; their CPU times are added up. \
(pytest-benchmark times one function in one process; here whole programs take turns, some in \
environments of their own.) Peers that are no dependency of the \
course get a virtual environment of their own below `.venv/peers`.
"""


def page(results: list[dict]) -> str:
    """Write the page from the results."""
    introduction = INTRODUCTION.format(minutes=sum(result["minutes"] for result in results))
    return "\n".join([introduction, *(bench.section(result) for result in results)])


def stored(folder: Path) -> list[dict]:
    """Read the results that are there, in the order of the page."""
    paths = (folder / f"{subject}.json" for subject in SUBJECTS)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def main() -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="subject", help=", ".join(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing is stored")
    parser.add_argument("--page-only", action="store_true", help="write the page, measure nothing")
    options = parser.parse_args()
    unknown = set(options.subjects) - set(SUBJECTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SUBJECTS)}")
    folder, target = RESULTS, bench.HERE / "README.md"
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix="privlab-bench-"))
        target = folder / "README.md"
    failed, started = [], time.perf_counter()
    for subject in () if options.page_only else options.subjects or SUBJECTS:
        command = [sys.executable, str(bench.HERE / f"{subject}.py")]
        command += ["--json", str(folder / f"{subject}.json")]
        command += ["--quick"] if options.quick else []
        code = subprocess.run(command).returncode
        if code == bench.CANNOT_RUN:
            print(f"{subject} cannot run here: its last stored result stays", file=sys.stderr)
        elif code:
            failed.append(subject)
    target.write_text(page(stored(folder)), encoding="utf-8")
    print(f"{target}: {(time.perf_counter() - started) / 60:.1f} minutes")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
