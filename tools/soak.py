"""Run every notebook and every checker many times over: ``make soak`` runs this, not CI.

``--notebooks`` runs notebooks as ``make test`` does, each in fresh kernels, two at a time.
``--exercises`` lets every exercise judge its own reference, each time with a fresh seed and with
the tests that are kept for grading. Without either, both. What came out is appended to files in
``.soak``, so that a soak may be stopped at any time and goes on where it was; results count as long
as the notebook or exercise, what of privlab it imports, and the versions of the libraries that
these import are the same. ``--keep`` takes what is in ``.soak`` over into a file of the project and
writes docs/reliability.md: a soak of days may be done on several machines, one after the other.
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from tqdm import tqdm

# Several BLAS threads each on few cores wait for each other; set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from privlab.audit.bounds import share_lower
from privlab.course import LESSONS
from privlab.exercise import Exercise, LocalPeer, NotTried, TimeUp, time_limit

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".soak"
#: What is known from other machines and earlier days, and the page that tells it.
KEPT, PAGE = ROOT / "tests" / "soak.json", ROOT / "docs" / "reliability.md"

#: How often, where nothing else is asked for.
TIMES = {"notebooks": 20, "exercises": 1000}
#: Everything is brought to the first number of runs, then to the next: a soak that is stopped
#: early knows something of all.
STAGES = (1, 10, 100)
#: An exercise that takes so many times its time limit counts as failed.
PATIENCE = 10
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Outcome:
    """What came out of one run.

    Attributes:
        problem: What went wrong; None where nothing did.
        seed: What the run's data were drawn from, if anything.
    """

    problem: str | None
    seed: int | None = None


@dataclass(frozen=True)
class Target:
    """Something to run many times.

    Attributes:
        name: A notebook's file name or an exercise's label.
        fingerprint: Of all that its outcome depends on; results of another one do not count.
        run: Runs it once.
    """

    name: str
    fingerprint: str
    run: Callable[[], Outcome]


# ---- what a result depends on ------------------------------------------------------------------


def _imported(source: str, package: str) -> Iterator[str]:
    """Yield the names of modules that a source imports, or may import, from privlab."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _file(module: str) -> Path | None:
    """Return the file of a module of privlab, None if there is none."""
    if module.partition(".")[0] != "privlab":
        return None
    path = ROOT.joinpath(*module.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


@cache
def _imports(file: Path) -> frozenset[str]:
    """Return the names of modules that a file of privlab imports."""
    module = list(file.relative_to(ROOT).with_suffix("").parts)
    return frozenset(_imported(file.read_text(encoding="utf-8"), ".".join(module[:-1])))


def sources(modules: Iterable[str]) -> list[Path]:
    """Return the files of privlab that modules need, imports of imports included, sorted."""
    found: set[Path] = set()
    waiting = set(filter(None, map(_file, modules)))
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= set(filter(None, map(_file, _imports(file)))) - found
    return sorted(found)


def pins(modules: Iterable[str]) -> str:
    """Return the pinned versions of the libraries that modules belong to, one a line."""
    names = {
        name.lower().replace("_", "-")
        for module in modules
        for name in _distributions().get(module.partition(".")[0], ())
    }
    lines = (ROOT / "requirements" / "lab.txt").read_text(encoding="utf-8").splitlines()
    pinned = (line.split()[0] for line in lines if "==" in line)
    return "\n".join(pin for pin in pinned if pin.partition("==")[0] in names)


_distributions = cache(packages_distributions)


def fingerprint(modules: Iterable[str], *files: Path) -> str:
    """Return a hash of files, of privlab's files that modules need, and of libraries' versions."""
    modules = set(modules)
    needed = sources(modules)
    total = hashlib.sha256(pins(modules.union(*map(_imports, needed))).encode())
    for file in (*files, *needed):
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]


# ---- notebooks ---------------------------------------------------------------------------------


def run_notebook(path: Path, folder: Path) -> Outcome:
    """Run a notebook through strict nbval; keep what pytest said in a folder if it fails."""
    # The settings of `make test`, wherever the notebook lies.
    settings = ["-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *settings, "-n0", "-q", str(path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return Outcome(None)
    if "!! KeyboardInterrupt !!" in done.stdout:  # somebody stopped it; the notebook did not fail
        raise KeyboardInterrupt
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{path.stem}-{time.time_ns()}.txt"
    kept.write_text(done.stdout + done.stderr, encoding="utf-8")
    failed = re.findall(r"^(?:FAILED|ERROR) .*?::(.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    what = failed[0] if failed else f"pytest ended with status {done.returncode}"
    return Outcome(f"{what}; all of it: {kept.name}")


def notebook_target(path: Path, kernel: str, folder: Path) -> Target:
    """Describe a notebook to run; what failing runs said is kept in a folder."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # Lines for IPython or the shell are no Python.
    python = re.sub(r"^(\s*)[%!].*$", r"\1pass", "\n".join(code), flags=re.MULTILINE)
    more = [ROOT / "requirements" / "tf.txt"] if kernel == "privlab-tf" else []
    made = fingerprint(_imported(python, ""), path, *more)
    return Target(path.name, made, lambda: run_notebook(path, folder))


def notebook_targets(numbers: list[str], folder: Path) -> list[Target]:
    """Describe the notebooks with some numbers; all that are ready where there is none."""
    return [
        notebook_target(ROOT / "notebooks" / lesson.file, lesson.kernel, folder)
        for lesson in LESSONS
        if lesson.ready and (not numbers or lesson.number in numbers)
    ]


# ---- exercises ---------------------------------------------------------------------------------


def run_exercise(exercise: Exercise) -> Outcome:
    """Let an exercise judge its reference once, with a fresh seed, hidden tests included."""
    seed = secrets.randbelow(2**48)  # as large as those of students
    namespace: dict[str, Any] = {}
    try:
        with time_limit(PATIENCE * exercise.time_limit):
            exec(compile(exercise.reference, "<reference>", "exec"), namespace)
            results = exercise.run(LocalPeer(namespace), seed, hidden=True)
    except TimeUp:
        return Outcome(f"took more than {PATIENCE * exercise.time_limit:g} s", seed)
    except NotTried as missing:
        return Outcome(f"not tried: {missing}", seed)
    except Exception as error:  # nothing that a check does may end a soak
        return Outcome(f"{type(error).__name__}: {error}", seed)
    problems = (f"{each.test}: {each.problem}" for each in results if each.problem)
    return Outcome(next(problems, None) if results else "no test ran", seed)


def exercise_target(exercise: Exercise) -> Target:
    """Describe an exercise to run."""
    made = fingerprint([type(exercise).__module__, *_imported(exercise.reference, "")])
    return Target(exercise.label, made, lambda: run_exercise(exercise))


def exercise_targets(numbers: list[str]) -> list[Target]:
    """Describe the exercises of lessons with some numbers; of all where there is none."""
    return [
        exercise_target(exercise)
        for lesson in LESSONS
        if lesson.ready and (not numbers or lesson.number in numbers)
        for exercise in _exercises(lesson.number)
    ]


def _exercises(number: str) -> list[Exercise]:
    return importlib.import_module(f"privlab.exercises.lesson_{number}").EXERCISES


# ---- running, and what is known so far ---------------------------------------------------------


@dataclass
class Tally:
    """What is known of one target: runs, those that failed, seconds in all, the first problem."""

    runs: int = 0
    failed: int = 0
    seconds: float = 0
    first: str = ""

    def add(self, line: dict) -> None:
        """Count one result."""
        self.runs += 1
        self.seconds += line["seconds"]
        if line["problem"] is not None:
            self.failed += 1
            seed = "" if line["seed"] is None else f"seed {line['seed']}: "
            self.first = self.first or f"{seed}{line['problem']}"

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.runs + other.runs,
            self.failed + other.failed,
            self.seconds + other.seconds,
            self.first or other.first,
        )

    @property
    def mean(self) -> float:
        """Seconds of a run; 0 where there was none."""
        return self.seconds / self.runs if self.runs else 0


def most(runs: int, failed: int) -> float:
    """Bound the failure rate from above with 95 % confidence (exact, one-sided).

    Without a failure it is close to 3 / runs, the rule of three. Source: Clopper and Pearson
    (1934), by :func:`privlab.audit.bounds.share_lower`.
    """
    return 1 - float(share_lower(runs - failed, runs, 1 - CONFIDENCE)) if runs else 1.0


Held = dict[str, dict[str, Tally]]


def _by_fingerprint() -> Held:
    return defaultdict(lambda: defaultdict(Tally))


def _tallies(held: Mapping[str, Any]) -> Held:
    """Read what is kept of one file."""
    return {
        name: {key: Tally(**tally) for key, tally in by_fingerprint.items()}
        for name, by_fingerprint in held.items()
    }


class Soak:
    """Runs targets in stages and keeps the results in a file, one line of JSON each.

    Args:
        targets: What to run.
        file: Where results are kept; those of the same fingerprint count.
        times: How often each target runs, earlier results included.
        minutes: No run starts later than this; None for no limit.
        jobs: How many run at a time.
        kept: What is kept with the project: of each file its name, and of each target and
            fingerprint in it what a :class:`Tally` says.
    """

    def __init__(
        self,
        targets: list[Target],
        file: Path,
        times: int,
        minutes: float | None = None,
        jobs: int = 1,
        kept: Mapping[str, Any] | None = None,
    ):
        self.targets, self.file, self.times, self.jobs = targets, file, times, jobs
        self.end = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.older: dict[str, Tally] = defaultdict(Tally)
        #: The file's own name for itself, and what it holds: wherever it is, it counts once.
        self.id, self.own = "", _by_fingerprint()
        self._lock = threading.Lock()
        for line in self._lines():
            if "soak" in line:
                self.id = line["soak"]
            else:
                self.own[line["name"]][line["fingerprint"]].add(line)
        others = [_tallies(held) for name, held in (kept or {}).items() if name != self.id]
        current = {target.name: target.fingerprint for target in targets}
        for held in (self.own, *others):
            for name, by_fingerprint in held.items():
                for fingerprint, tally in by_fingerprint.items():
                    same = fingerprint == current.get(name)
                    (self.tallies if same else self.older)[name] += tally

    def _lines(self) -> Iterator[dict]:
        if self.file.exists():
            for text in self.file.read_text(encoding="utf-8").splitlines():
                try:
                    yield json.loads(text)
                except json.JSONDecodeError:  # a machine that stopped left half a line
                    continue

    def sign(self) -> None:
        """Give the file a name of its own, if it has none."""
        if not self.id:
            self.id = secrets.token_hex(8)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(f"\n{json.dumps({'soak': self.id})}\n")

    def missing(self, goal: int) -> int:
        """Return how many runs are left until each target has some number of them."""
        return sum(max(0, goal - self.tallies[target.name].runs) for target in self.targets)

    def run(self) -> None:
        """Run what is missing: stage by stage, in each stage the quickest first."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.sign()
        with (
            self.file.open("a", encoding="utf-8") as out,
            tqdm(total=self.missing(self.times), unit="run", smoothing=0) as bar,
        ):
            if self.file.stat().st_size:
                out.write("\n")  # ends half a line; an empty one is no result

            def once(target: Target) -> None:
                if time.monotonic() > self.end:
                    return
                start = time.monotonic()
                outcome = target.run()
                line = {
                    "name": target.name,
                    "fingerprint": target.fingerprint,
                    "seconds": round(time.monotonic() - start, 3),
                    "seed": outcome.seed,
                    "problem": outcome.problem,
                }
                with self._lock:
                    self.tallies[target.name].add(line)
                    self.own[target.name][target.fingerprint].add(line)
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
                    out.flush()
                    bar.update()
                    if outcome.problem is not None:
                        bar.write(f"{target.name} failed: {self.tallies[target.name].first}")

            for stage in [*(stage for stage in STAGES if stage < self.times), self.times]:
                quickest = sorted(self.targets, key=lambda each: self.tallies[each.name].mean)
                todo = [
                    target
                    for target in quickest
                    for _ in range(stage - self.tallies[target.name].runs)
                ]
                if self.jobs == 1:  # in this thread: a time limit needs it
                    for target in todo:
                        once(target)
                else:  # no `with`: it would wait for them all when somebody stops the soak
                    list(ThreadPoolExecutor(self.jobs).map(once, todo))

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return sum(tally.failed for tally in self.tallies.values())

    def rows(self) -> list[tuple[str, ...]]:
        """Return a summary, a head first; older results are those of other fingerprints."""
        rows = [("", "runs", "failed", "rate at most", "mean s", "older", "failed")]
        total, older = Tally(), Tally()
        for target in self.targets:
            known, before = self.tallies[target.name], self.older[target.name]
            rows.append(self._row(target.name, known, before))
            total += known
            older += before
        return [*rows, self._row("together", total, older)]

    def table(self) -> Iterator[str]:
        """Yield the lines of a summary."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *numbers in rows:
            texts = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
            yield "  ".join([name.ljust(widths[0]), *texts])
        yield from self.remarks()

    def remarks(self) -> Iterator[str]:
        """Yield what failed, and what is missing."""
        for tallies, when in ((self.tallies, ""), (self.older, ", older")):
            for target in self.targets:
                if tallies[target.name].first:
                    yield f"{target.name}{when}: {tallies[target.name].first}"
        yield (
            f"{self.missing(self.times):,} runs are missing to {self.times:,} each; "
            f"bounds hold with {CONFIDENCE:.0%} confidence."
        )

    @staticmethod
    def _row(name: str, known: Tally, older: Tally) -> tuple[str, ...]:
        bound = f"{most(known.runs, known.failed):.2%}"
        counts = (f"{known.runs:,}", f"{known.failed:,}", bound, f"{known.mean:.2f}")
        return name, *counts, f"{older.runs:,}", f"{older.failed:,}"


# ---- what the project keeps ----------------------------------------------------------------------

INTRODUCTION = """\
# What runs again and again

This page is made by `make soak SOAK=--keep`. `make soak` runs every notebook as `make test` does, \
in a fresh kernel. And it lets every exercise judge its own reference, each time with a fresh seed \
and with the tests that are kept for grading. A run counts as long as the notebook or the \
exercise, what of privlab it imports and the versions of its libraries are the same; those from \
before a change stand in the last two columns. "Rate at most" bounds from above, with 95 % \
confidence, how often a run fails (Clopper and Pearson 1934); without a failure it is about 3 in \
as many runs.
"""


def write_page(page: Path, soaks: Mapping[str, Soak]) -> None:
    """Write what is known as a page."""
    parts = [INTRODUCTION]
    for kind, soak in soaks.items():
        head, *rows = soak.rows()
        lines = [head, ("---", *["--:"] * (len(head) - 1)), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        # What a failed run said is anything.
        *failures, missing = (" ".join(remark.split()) for remark in soak.remarks())
        told = "".join(f"- `{failure.replace('`', chr(39))}`\n" for failure in failures)
        parts.append(f"## {kind.capitalize()}\n\n{table}\n\n{told}{missing}\n")
    page.write_text("\n".join(parts), encoding="utf-8")


def keep(soaks: Mapping[str, Soak], file: Path, page: Path) -> None:
    """Take the results over into the project's file and page; once more changes nothing."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for kind, soak in soaks.items():
        if soak.own:
            soak.sign()
            kept.setdefault(kind, {})[soak.id] = {
                name: {
                    key: asdict(tally) | {"seconds": round(tally.seconds, 1)}
                    for key, tally in by_fingerprint.items()
                }
                for name, by_fingerprint in soak.own.items()
            }
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(file)
    write_page(page, soaks)


# ---- the command line --------------------------------------------------------------------------


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")
    return value


def _lesson(text: str) -> str:
    ready = [lesson.number for lesson in LESSONS if lesson.ready]
    if text not in ready:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {' '.join(ready)}")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 if a run that counts has failed, now or earlier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in TIMES:
        parser.add_argument(
            f"--{kind}", nargs="*", type=_lesson, metavar="NN", help=f"{kind}; of all lessons: none"
        )
    parser.add_argument(
        "--times", type=_positive, help="runs of each (default: notebooks 20, exercises 1,000)"
    )
    parser.add_argument(
        "--minutes", type=_minutes, metavar="M", help="start nothing after M minutes; 0: only tell"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the results (.soak)")
    parser.add_argument(
        "--keep", action="store_true", help="run nothing: take the results over into the project"
    )
    options = parser.parse_args(arguments)
    asked = {kind: getattr(options, kind) for kind in TIMES}
    if options.keep and (options.times, options.minutes, *asked.values()) != (None,) * 4:
        parser.error("--keep takes over all that is there: of the others it goes with --folder")
    if not any(numbers is not None for numbers in asked.values()):
        asked = {kind: [] for kind in TIMES}
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    start, soaks = time.monotonic(), {}
    for kind, numbers in asked.items():
        if numbers is None:
            continue
        left = options.minutes
        if left is not None:
            left = max(0.0, left - (time.monotonic() - start) / 60)
        notebooks = kind == "notebooks"
        soak = soaks[kind] = Soak(
            notebook_targets(numbers, options.folder / "failures")
            if notebooks
            else exercise_targets(numbers),
            options.folder / f"{kind}.jsonl",
            options.times or TIMES[kind],
            left,
            jobs=2 if notebooks else 1,
            kept=kept.get(kind),
        )
        try:
            if options.minutes != 0 and not options.keep:
                soak.run()
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on", *soak.table(), sep="\n", flush=True)
            os._exit(130)  # at once; kernels notice that they are alone and end, too
        print(f"\n{kind}", *soak.table(), sep="\n")
    if options.keep:
        keep(soaks, KEPT, PAGE)
        return 0
    return 1 if any(soak.failed for soak in soaks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
