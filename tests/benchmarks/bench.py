"""What all benchmarks share: costs, races in one run, growth, peers in venvs, results.

A benchmark is a script with a subject: ``python tests/benchmarks/<subject>.py [--quick] [--json
FILE]``. It lets several ways do the same work at several sizes, in turns in one run, so that
whatever else the machine does hits all of them; what counts is the ratio of CPU times (user and
system, of this process and of the processes it started). Its docstring is the handwritten part of
its section of the page: a title, paragraphs, and what is *not measured* as the last one.
``run.py`` runs them all and writes the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

#: Programs that are no dependency of the course: each gets a venv of its own on demand.
PEERS = {
    "anonymity": ("anjana==1.2.3", "anonypy==0.2.1"),
    "nbgrader": ("nbgrader==0.9.6", "ipykernel==7.4.0"),
    "otter": ("otter-grader==7.0.0", "ipykernel==7.4.0"),
}

#: One thread everywhere: with more, a busy machine would be what is measured.
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
}


#: Exit code of a script that cannot run here, for want of data.
CANNOT_RUN = 3


class Skip(Exception):
    """A way cannot run here; the message says why."""


# ---- costs ---------------------------------------------------------------------------------------


@dataclass
class Cost:
    """Seconds that something took: wall time, and CPU time of this process and its children."""

    wall: float = 0.0
    cpu: float = 0.0


def _cpu_of_children() -> dict[int, float]:
    """Return the CPU seconds of each living descendant, its own ended children included."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        ended = getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
        found[process.pid] = times.user + times.system + ended
    return found


def _cpu_of_ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what the body takes.

    Children that live on are read from the system; children that end meanwhile count by what the
    system says of ended ones, or as last seen, whichever is more.
    """
    cost, before, done = Cost(), _cpu_of_children(), threading.Event()
    seen = dict(before)

    def watch() -> None:
        while not done.wait(1):
            seen.update(_cpu_of_children())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    ended, own, start = _cpu_of_ended(), time.process_time(), time.perf_counter()
    try:
        yield cost
    finally:
        cost.wall = time.perf_counter() - start
        own = time.process_time() - own
        done.set()
        watcher.join()
        living = _cpu_of_children()
        seen.update(living)
        used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in seen.items()}
        last_seen = sum(seconds for pid, seconds in used.items() if pid not in living)
        alive = sum(seconds for pid, seconds in used.items() if pid in living)
        cost.cpu = own + alive + max(last_seen, _cpu_of_ended() - ended)


# ---- races ---------------------------------------------------------------------------------------


@dataclass
class Race:
    """What came of a race.

    Attributes:
        costs: Way → size → what each round took.
        values: Way → size → what the way returned in its last round.
        skipped: Way → why it did not run (from some size on).
    """

    costs: dict[str, dict[Any, list[Cost]]] = field(default_factory=dict)
    values: dict[str, dict[Any, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def cpu(self, way: str, size: Any) -> float:
        """Return the median CPU time."""
        return median(cost.cpu for cost in self.costs[way][size])

    def ratio(self, way: str, base: str, size: Any) -> tuple[float, float, float]:
        """Return median, lowest and highest ratio of CPU times, each of two runs of one round.

        Where one of the two ran once and the other more often, it is the ratio of the medians.
        """
        costs, firsts = self.costs[way][size], self.costs[base][size]
        if len(costs) != len(firsts):
            return (self.cpu(way, size) / self.cpu(base, size),) * 3
        ratios = [cost.cpu / first.cpu for cost, first in zip(costs, firsts, strict=True)]
        return median(ratios), min(ratios), max(ratios)

    def divide(self, way: str, repeats: Mapping[Any, int]) -> None:
        """Divide the costs of a way that did its work several times, by size."""
        for size, costs in self.costs[way].items():
            for cost in costs:
                cost.cpu, cost.wall = cost.cpu / repeats[size], cost.wall / repeats[size]

    def exponent(self, way: str, sizes: Sequence[float] | None = None) -> float | None:
        """Return p where the CPU time grows like size to the power of p; None for one size."""
        known = list(self.costs.get(way, {})) if sizes is None else sizes
        return growth(known, [self.cpu(way, size) for size in known])


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Fit a power law: the slope of a straight line through the logarithms."""
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def race(
    ways: Mapping[str, Callable[[Any], Any]],
    sizes: Sequence[Any],
    rounds: int = 3,
    patience: float = 15.0,
    most: Mapping[str, Any] | None = None,
) -> Race:
    """Let ways do the same work, in turns, round by round; each round starts with another way.

    Args:
        ways: Name → function of a size.
        sizes: What they are called with, from small to large.
        rounds: How often, at most.
        patience: A way that took more CPU seconds in its first round is not run again.
        most: Way → the largest size that it is run with, where others go further.
    """
    result, most = Race({way: {} for way in ways}, {way: {} for way in ways}), most or {}
    bar = tqdm(total=len(ways) * len(sizes) * rounds, leave=False)
    for size in sizes:
        for number in range(rounds):
            order = list(ways)
            for way in order[number % len(order) :] + order[: number % len(order)]:
                bar.update()
                bar.set_description(f"{way}, {size}")
                costs = result.costs[way].get(size, [])
                if way in result.skipped or (costs and costs[0].cpu > patience):
                    continue
                if way in most and size > most[way]:
                    continue
                try:
                    with measured() as cost:
                        value = ways[way](size)
                except Skip as reason:
                    result.skipped[way] = str(reason)
                    continue
                result.values[way][size] = value
                result.costs[way].setdefault(size, []).append(cost)
    bar.close()
    for way, by_size in most.items():
        if way in ways and way not in result.skipped and by_size < sizes[-1]:
            result.skipped[way] = f"not run above {by_size:,}: it takes too long"
    return result


# ---- tables --------------------------------------------------------------------------------------


def short(number: float) -> str:
    """Write a number with three digits."""
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:#.2g}".rstrip(".") if abs(number) < 1 else f"{number:.3g}"


def seconds(_: Any, cpu: float) -> str:
    """Write CPU seconds: the default of :func:`table`."""
    return f"{short(cpu)} s"


def table(
    result: Race,
    base: str,
    sizes: Sequence[Any],
    unit: str,
    cell: Callable[[Any, float], str] = seconds,
    extra: Mapping[str, Callable[[str], str]] | None = None,
) -> dict:
    """Make a table: one row a way, one column a size, the ratio to ``base``, and the growth.

    Args:
        result: Of :func:`race`.
        base: The way that ratios speak of.
        sizes: The columns.
        unit: What sizes count, for example ``"rows"``.
        cell: Writes what a CPU time means at a size.
        extra: Title of a further column → its text for a way.
    """
    units = (f"{size:,} {unit.removesuffix('s') if size == 1 else unit}" for size in sizes)
    head = ["", *units, "grows like", *(extra or {})]
    rows = []
    for way, by_size in result.costs.items():
        if not by_size:
            continue
        row = [f"**{way}**" if way == base else way]
        for size in sizes:
            if size not in by_size:
                row.append("–")
                continue
            text = cell(size, result.cpu(way, size))
            if way != base:
                middle, low, high = result.ratio(way, base, size)
                spread = f" ({short(low)} to {short(high)})" if low < high else ""
                text += f", × {short(middle)}{spread}"
            row.append(text)
        power = result.exponent(way)
        row.append("–" if power is None else f"n^{power:.2f}")
        rows.append(row + [each(way) for each in (extra or {}).values()])
    return {"head": head, "rows": rows}


def raw(result: Race) -> dict:
    """Return all costs as plain data, for the stored result."""
    return {
        way: {
            str(size): [[float(f"{c.cpu:.4g}"), float(f"{c.wall:.4g}")] for c in costs]
            for size, costs in by_size.items()
        }
        for way, by_size in result.costs.items()
    }


# ---- peers ---------------------------------------------------------------------------------------


def peer_python(name: str) -> Path:
    """Return the Python of a peer's venv, which is made where it is missing.

    Raises:
        Skip: It cannot be installed.
    """
    folder = ROOT / ".venv" / "peers" / name
    python, ready = folder / "bin" / "python", folder / "ready.txt"
    pins = "\n".join(PEERS[name])
    if ready.is_file() and ready.read_text() == pins and python.exists():
        return python
    print(f"installing {', '.join(PEERS[name])} …", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *PEERS[name]],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise Skip(f"cannot be installed here: {(lines or ['venv failed'])[-1]}")
    ready.write_text(pins)
    return python


def tensorflow_python() -> Path:
    """Return the Python of the TensorFlow kernel.

    Raises:
        Skip: It is not installed.
    """
    python = ROOT / ".venv" / "tf" / "bin" / "python"
    if not python.exists():
        raise Skip("the TensorFlow kernel is missing (`make lab` installs it)")
    return python


class Peer:
    """A program in another Python that answers questions; ``peers/serve.py`` is its side.

    It starts with the first question, so imports are paid by :meth:`warm_up` and not by a race.

    Args:
        python: Finds the Python; may raise :class:`Skip`.
        script: Its file in ``peers``.
    """

    def __init__(self, python: Callable[[], Path], script: str) -> None:
        self._find, self._script = python, script
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives until close()

    def warm_up(self, **question: Any) -> None:
        """Start it and ask a first question, whose answer is thrown away."""
        if self._process is None:
            command = [str(self._find()), str(HERE / "peers" / self._script)]
            environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                text=True, env=environment,
            )  # fmt: skip
        self.ask(**question)

    def ask(self, **question: Any) -> dict:
        """Return the answer to a question, both of them JSON.

        Raises:
            Skip: It is not running, because :meth:`warm_up` failed.
            RuntimeError: It failed; the message shows the last that it printed.
        """
        if self._process is None:
            raise Skip("not started")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self._script} failed:\n{self._errors.read()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stdin.close()  # the end of its questions
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        self._errors.close()


# ---- a script, from its arguments to its result ------------------------------------------------


def one_thread() -> None:
    """Start this script again with one thread for all libraries, if it has not been."""
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks share."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    made.add_argument("--json", type=Path, help="where to write the result")
    return made


def machine() -> str:
    """Describe the machine in a few words."""
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores of {name}, {memory:.0f} GB of memory"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of some packages; those that are missing are left out."""
    found = {"Python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def finish(
    subject: str,
    doc: str,
    options: argparse.Namespace,
    started: float,
    packages: Sequence[str],
    *,
    tables: Sequence[dict],
    sentence: str,
    skipped: Mapping[str, str] | None = None,
    costs: Mapping[str, dict] | None = None,
) -> None:
    """Print the section of a benchmark, and write its result as JSON if asked.

    Args:
        subject: The name of the script.
        doc: Its docstring.
        options: The parsed arguments.
        started: ``time.perf_counter()`` at its start.
        packages: Whose versions matter.
        tables: Of :func:`table`, or of the same form.
        sentence: What the tables mean, in one computed sentence.
        skipped: Way → why it is missing.
        costs: Of :func:`raw`, by table.
    """
    title, *paragraphs = (
        " ".join(block.split()) if not block.lstrip().startswith("- ") else block.strip()
        for block in doc.strip().split("\n\n")
    )
    result = {
        "subject": subject,
        "title": title.rstrip("."),
        "paragraphs": paragraphs,
        "date": date.today().isoformat(),
        "machine": machine(),
        "load": round(psutil.getloadavg()[0], 1),
        "versions": versions(packages),
        "quick": options.quick,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "tables": list(tables),
        "sentence": sentence,
        "skipped": dict(skipped or {}),
        "costs": dict(costs or {}),
    }
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        options.json.write_text(text, encoding="utf-8")
    print(section(result))


# ---- the page ------------------------------------------------------------------------------------


def section(result: dict) -> str:
    """Write the section of one result as Markdown."""
    *about, last = result["paragraphs"]
    if not last.startswith("Not measured:"):
        raise ValueError(f"the docstring of {result['subject']} must end with 'Not measured:'")
    missing = last.removeprefix("Not measured:").strip()
    lines = [f"## {result['title']}", ""]
    for paragraph in about:
        lines += [paragraph.replace("``", "`"), ""]
    for each in result["tables"]:
        if each.get("caption"):
            lines += [each["caption"], ""]
        lines.append("| " + " | ".join(each["head"]) + " |")
        lines.append("|" + "---|" * len(each["head"]))
        lines += ["| " + " | ".join(row) + " |" for row in each["rows"]] + [""]
    lines += [f"**What it means.** {result['sentence']}", ""]
    if result["skipped"]:
        reasons = "; ".join(f"{way} ({why})" for way, why in result["skipped"].items())
        lines += [f"**Left out.** {reasons}.", ""]
    lines += [f"**Not measured.** {missing[0].upper()}{missing[1:]}", ""]
    used = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    size = "tiny sizes" if result["quick"] else "full sizes"
    busy = "" if result["load"] is None else f", load {result['load']:g} at the end"
    lines.append(
        f"*{result['date']}, {result['machine']}{busy}, {used}; "
        f"{size}, {result['minutes']:g} minutes: `tests/benchmarks/{result['subject']}.py`."
        + (f" {result['origin']}" if result.get("origin") else "")
        + "*"
    )
    return "\n".join(lines).replace("``", "`") + "\n"
