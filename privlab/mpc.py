"""MPyC between real processes of this machine: start the parties, feed them, measure them.

MPyC (Berry Schoenmakers) starts its runtime when it is imported, from the arguments of the command
line: each party is a process of its own. :func:`run_parties` starts one for each input with this
file as the program; nothing outlives the notebook (see :mod:`privlab.processes`). A party reads its
own input alone. All of them run as the same user on one machine: that shows how the protocol works,
and protects nobody.

MPyC's sockets would listen on all networks of the machine; here they listen on 127.0.0.1 alone. The
channels are plain TCP.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import math
import os
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .processes import Processes
from .wire import pack, unpack

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

#: What a party runs: gets MPyC's runtime, the party's own input and one of the cases.
Program = Callable[..., Coroutine[Any, Any, Any]]

_HOST = "127.0.0.1"
_FAILED = 3  # a party's exit code where the program itself fails
_TAKEN = "address already in use"  # what a party prints that cannot listen
_GRACE = 2  # seconds to find out which party failed first
_ATTEMPTS = 3  # somebody else may take a free port before the party does


@dataclass(frozen=True)
class Report:
    """What one party says of one run of the program.

    Attributes:
        party: Number of the party, from 0.
        case: The case, as it was given.
        delay: Seconds that each message was held back.
        repeat: Number of the repetition, from 0.
        result: What the program returned at this party.
        bytes_sent: What the party sent, as MPyC counts: payload and 12 bytes a message.
        messages: How many messages it sent.
        seconds: Wall time, from when all parties were ready to this party's result.
    """

    party: int
    case: Any
    delay: float
    repeat: int
    result: Any
    bytes_sent: int
    messages: int
    seconds: float


def run_parties(
    program: Program,
    inputs: Sequence[Any],
    cases: Sequence[Any] = (None,),
    delays: Sequence[float] = (0.0,),
    repeats: int = 1,
    threshold: int | None = None,
    timeout: float = 60,
) -> list[Report]:
    """Run an MPyC program with one process a party, on this machine.

    Args:
        program: ``async def program(mpc, own)``, or ``program(mpc, own, case)`` where there are
            cases. Its source is sent to the parties: it sees ``np`` (NumPy) and its arguments, and
            imports what else it needs.
        inputs: What each party alone gets as ``own``: numbers, text, lists, dicts, arrays.
        cases: What the program runs for, one after the other.
        delays: Seconds that each message is held back before it is sent, for every case. Nothing is
            held back that a party sends after its program has returned: every party must wait for
            the last output.
        repeats: How often each case runs with each delay.
        threshold: How many parties may pool their shares and learn nothing, below half of all;
            MPyC's default is (parties - 1) // 2.
        timeout: Seconds until everything is ended, start of the processes included; where a port
            was taken and the parties are started again, all attempts together.

    Returns:
        One report for each party, case, delay and repetition.

    Raises:
        ValueError: An argument is out of range, or there is no source of the program.
        RuntimeError: A party failed or ended early; the message shows what it printed.
        TimeoutError: It took too long; the message shows what each party printed.
    """
    inputs, cases, delays = list(inputs), list(cases), list(delays)
    parties = len(inputs)
    if parties < 2:
        raise ValueError(f"inputs must be of 2 parties or more, not of {parties}")
    whole = isinstance(threshold, int) and not isinstance(threshold, bool)
    if threshold is not None and not (whole and 0 <= threshold < parties / 2):
        raise ValueError(
            f"threshold must be at least 0 and below half of {parties} parties, a whole number, "
            f"not {threshold!r}"
        )
    if not cases:
        raise ValueError("cases must be at least one, not none")
    if not delays or not all(0 <= delay < math.inf for delay in delays):  # refuses NaN as well
        raise ValueError(f"delays must be seconds, at least 0, not {delays!r}")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be a whole number, at least 1, not {repeats!r}")
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be seconds, above 0, not {timeout!r}")
    job = {
        "program": _source(program),
        "cases": pack(cases),
        "delays": delays,
        "repeats": repeats,
        "given": len(inspect.signature(program).parameters),
    }
    if job["given"] not in (2, 3):
        raise ValueError("program must take (mpc, own) or (mpc, own, case)")
    options = [] if threshold is None else [f"-T{threshold}"]
    end = time.monotonic() + timeout
    for attempt in range(_ATTEMPTS):
        try:
            found = _run_once(job, inputs, options, end)
            break
        except RuntimeError as problem:
            if _TAKEN not in str(problem) or attempt == _ATTEMPTS - 1:
                raise
    return [
        Report(party, cases[entry.pop("case")], **entry)
        for party, entries in enumerate(found)
        for entry in entries
    ]


def _source(program: Program) -> str:
    """Return the text of the program, which must be a coroutine function of a cell or a file."""
    if not inspect.iscoroutinefunction(program):
        raise ValueError(f"program must be a function made by async def, not {program!r}")
    try:
        text = textwrap.dedent(inspect.getsource(program))
    except OSError:
        raise ValueError("program must come from a cell or a file") from None
    return ast.unparse(ast.parse(text)) + f"\n\nprogram = {program.__name__}\n"


def _run_once(job: dict, inputs: Sequence[Any], options: list[str], end: float) -> list[list]:
    """Start the parties; return what each reports before ``end``, a time of the monotonic clock."""
    start = time.monotonic()
    # One thread a party: many parties share few cores.
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # The same event loop everywhere, whatever else is installed.
    settings |= {"MPYC_NOUVLOOP": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    with Processes(settings) as machine:
        (machine.folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        ports: list[int] = []
        while len(ports) < len(inputs):
            ports = list(dict.fromkeys([*ports, machine.free_port()]))  # each once
        addresses = [f"-P{_HOST}:{port}" for port in ports]
        names = [f"party {number}" for number in range(len(inputs))]
        for number, (name, own) in enumerate(zip(names, inputs, strict=True)):
            mine = json.dumps(pack(own))
            (machine.folder / f"{name}.json").write_text(mine, encoding="utf-8")
            machine.start(name, sys.executable, "-m", "privlab.mpc", f"{name}.json",
                          *addresses, f"-I{number}", "--no-log", *options)  # fmt: skip
        waiting = list(names)
        while waiting:
            codes = {name: machine.exit_code(name) for name in waiting}
            if any(codes.values()) or _left(machine, codes):
                # The others wait for the one that failed or left: they are ended with the folder.
                raise RuntimeError(_blame(machine, names))
            waiting = [name for name, code in codes.items() if code is None]
            if waiting and time.monotonic() > end:
                logs = "\n".join(f"{name}: {machine.log(name)[-2000:]}" for name in names)
                raise TimeoutError(f"the parties took more than {end - start:.0f} s:\n{logs}")
            time.sleep(0.02)
        texts = [_report_file(machine, name).read_text(encoding="utf-8") for name in names]
        return [unpack(json.loads(text)) for text in texts]


def _report_file(machine: Processes, name: str) -> Path:
    return machine.folder / f"{name}.report"


def _left(machine: Processes, codes: Mapping[str, int | None]) -> list[str]:
    """Return which parties ended without an error and without a report."""
    ended = [name for name, code in codes.items() if code == 0]
    return [name for name in ended if not _report_file(machine, name).exists()]


def _blame(machine: Processes, names: list[str]) -> str:
    """Say which party failed or left; those who lose the connection to it fail as well."""
    end = time.monotonic() + _GRACE
    while True:
        codes = {name: machine.exit_code(name) for name in names}
        left = _left(machine, codes)
        guilty = [name for name in names if codes[name] == _FAILED or name in left]
        if guilty or time.monotonic() > end:
            # Next are those that a signal ended, then those that could not listen.
            failed = sorted(
                (name for name in names if codes[name]),
                key=lambda name: (codes[name] > 0, _TAKEN not in machine.log(name)),
            )
            name = (guilty or failed)[0]
            how = "before its program did" if name in left else f"with code {codes[name]}"
            return f"{name} ended {how}:\n{machine.log(name)[-4000:]}"
        time.sleep(0.05)


# ---- what a lesson shows ---------------------------------------------------------------------


def cost_table(reports: Sequence[Report]) -> pd.DataFrame:
    """Return what each case costs, from runs with no delay and, for the rounds, one long delay.

    The rounds are the longest chain of messages each of which waits for the one before. Each adds
    one delay to the wall time, however many messages travel beside it. So the rounds are the whole
    delays until the result, as long as all else takes less than nine tenths of a delay (the last
    tenth is for a result at a party that started later than the others). Times are those of the
    slowest party in the fastest repetition.

    Args:
        reports: Of :func:`run_parties` with the delay 0 alone, or with 0 and another.

    Returns:
        A row a case, in the order of the cases: ``kB a party`` (mean over parties), ``ms`` without
        delay, and with two delays ``rounds``, a whole number.

    Raises:
        ValueError: The delays are others, or too short to count rounds by; a case cannot be a label
            (is not hashable).
    """
    import pandas as pd

    delays = sorted({report.delay for report in reports})
    if len(delays) not in (1, 2) or delays[0] != 0:
        raise ValueError(f"reports must have the delay 0 alone or with one other, not {delays}")
    slowest: dict[tuple, float] = {}
    sent: dict[Any, list[int]] = {}
    for report in reports:
        try:
            sent.setdefault(report.case, []).append(report.bytes_sent)
        except TypeError:
            raise ValueError(f"cases must be hashable, not {report.case!r}") from None
        run = (report.case, report.delay, report.repeat)
        slowest[run] = max(slowest.get(run, 0), report.seconds)
    rows = []
    for case, counted in sent.items():
        seconds = [min(taken for run, taken in slowest.items() if run[:2] == (case, delay))
                   for delay in delays]  # fmt: skip
        row = {"kB a party": sum(counted) / len(counted) / 1000, "ms": 1000 * seconds[0]}
        if len(delays) == 2:
            waited = seconds[1] / delays[1]
            row["rounds"] = math.floor(waited + 0.1)
            if seconds[0] > delays[1] / 2 or waited - row["rounds"] > 0.75:
                raise ValueError(
                    f"the delay {delays[1]:g} s is too short to count the rounds of {case!r}: it "
                    f"took {seconds[0]:.2g} s without a delay and {waited:.2f} delays with it"
                )
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(list(sent)))


def watch(
    split: Callable[[int, int], Sequence[float]], secrets: Mapping[str, int], times: int = 3000
) -> dict[str, np.ndarray]:
    """Split secrets among three servers, again and again; look with two of them.

    Args:
        split: Gets a secret and 3; returns the shares, below 2⁶².
        secrets: The secrets by name.
        times: How often each secret is split.

    Returns:
        For each name what the first two servers see, of shape (times, 2).
    """
    import numpy as np

    return {
        name: np.array([split(secret, 3)[:2] for _ in range(times)])
        for name, secret in secrets.items()
    }


def told_apart(views: Mapping[str, np.ndarray], servers: int, modulus: int) -> float:
    """Return how often a view of one of two secrets is told from one of the other.

    The attacker adds up what the servers see. Above a limit the guess is the first secret. The
    limit that is best for every other view is tried on the rest.

    Args:
        views: Of two secrets as :func:`watch` returns them; the first secret is the larger.
        servers: 1 or 2 servers, who pool what they see.
        modulus: Of the sum, below 2⁶³.

    Raises:
        ValueError: There are not two secrets, or ``servers`` is another number.
    """
    import numpy as np

    if len(views) != 2:
        raise ValueError(f"views must be of two secrets, not of {len(views)}")
    if servers not in (1, 2):
        raise ValueError(f"servers must be 1 or 2, not {servers!r}")
    large, small = (view[:, :servers].sum(axis=1) % modulus for view in views.values())

    def right(limits: np.ndarray, start: int) -> np.ndarray:
        """Return how often the guess is right with each limit."""
        above, below = np.sort(large[start::2]), np.sort(small[start::2])
        hits = 1 - np.searchsorted(above, limits, "right") / len(above)
        return (hits + np.searchsorted(below, limits, "right") / len(below)) / 2

    limits = np.concatenate([large[::2], small[::2]])
    best = limits[[np.argmax(right(limits, 0))]]
    return float(right(best, 1)[0])


def draw_views(views: Mapping[str, np.ndarray], modulus: int, most: float | None = None) -> Figure:
    """Draw what one server sees of several secrets, and what two see together.

    Args:
        views: As :func:`watch` returns them.
        modulus: Of the sums.
        most: Where the horizontal axis ends; None for the whole circle, in units of the modulus.
    """
    import numpy as np

    from . import plots

    fig, axes = plots.figure(columns=2, width=10, height=3)
    unit, written = (1, "") if most else (modulus, " / Q")
    for servers, ax in enumerate(axes, 1):
        for (name, each), style in zip(views.items(), ("-", "--"), strict=False):
            seen = each[:, :servers].sum(axis=1) % modulus / unit
            edges = np.linspace(0, (most or modulus) / unit, 33)
            ax.hist(seen, edges, histtype="step", lw=2, ls=style, label=name)
        title = "1 of 3 servers" if servers == 1 else "2 of 3 servers together"
        what = "share" if servers == 1 else "sum of the shares"
        plots.label(ax, title, f"{what} seen{written}", "splits")
        ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
        ax.legend(loc="upper right", ncols=2)
    return fig


def fit_logistic(X: np.ndarray, y: np.ndarray, steps: int = 500, rate: float = 0.3) -> np.ndarray:
    """Fit a logistic regression by gradient descent.

    Args:
        X: Features, of shape (n, p); a column of ones where there is an intercept.
        y: 0 or 1, of shape (n,).
        steps: How many.
        rate: How far each step goes.

    Returns:
        The p weights.
    """
    import numpy as np
    from scipy.special import expit

    w = np.zeros(X.shape[1])
    for _ in range(steps):
        w -= rate * X.T @ (expit(X @ w) - y) / len(y)
    return w


def draw_costs(sent: Mapping[int, pd.DataFrame], cost: pd.DataFrame, trip: float = 50) -> Figure:
    """Draw bytes over the size of the input, and the time of operations at one round trip.

    Args:
        sent: For a number of parties what :func:`cost_table` returns; a case is a pair of an
            operation's name and the numbers in the vector.
        cost: The same, with rounds.
        trip: The round trip, in milliseconds; a round takes half of it.
    """
    from . import plots

    fig, (left, right) = plots.figure(columns=2, width=11)
    names = dict.fromkeys(what for rows in sent.values() for what, _ in rows.index)
    colours = dict(zip(names, (plots.BLUE, plots.ORANGE, plots.GREEN), strict=False))
    for what, colour in colours.items():
        for (parties, rows), style in zip(sent.items(), ("o-", "s--", "^:"), strict=False):
            kilobytes = rows.loc[what, "kB a party"]
            numbers = list(kilobytes.index)
            left.plot(numbers, kilobytes, style, color=colour, label=f"{what}, {parties} parties")
    plain = [number * 8 / 1000 for number in numbers]
    left.plot(numbers, plain, color="black", ls=":", label="in the clear")
    left.set(xscale="log", yscale="log")
    left.set_xticks(numbers, [f"{number:,}" for number in numbers])
    left.minorticks_off()
    left.legend(loc="upper left", fontsize=9)
    plots.label(left, "Bytes on the wire", "numbers in the vector", "kB that a party sends")

    places, waiting = range(len(cost)), cost["rounds"] * trip / 2
    shown = [colours.get(what, plots.GREY) for what, _ in cost.index]
    right.barh(places, cost["ms"], color="black", height=0.6)
    right.barh(places, waiting, left=cost["ms"], color=shown, height=0.6)
    for place, rounds, end in zip(places, cost["rounds"], cost["ms"] + waiting, strict=True):
        right.text(end, place, f" {rounds} rounds", va="center", fontsize=9)
    right.set_yticks(places, [f"{what}, {number:,} numbers" for what, number in cost.index])
    right.set_xlim(0, 1.25 * (cost["ms"] + waiting).max())
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    title = f"A round trip of {trip:g} ms (black: no delay)"
    plots.label(right, title, "time (ms)")
    return fig


# ---- a party -------------------------------------------------------------------------------------


def _party() -> None:
    """Run the job of the folder as the party that the command line names."""
    import numpy as np
    from mpyc import asyncoro
    from mpyc.runtime import mpc

    own_file = Path(sys.argv[1])  # MPyC has taken its own arguments away
    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    own = unpack(json.loads(own_file.read_text(encoding="utf-8")))
    namespace: dict[str, Any] = {"np": np}
    exec(compile(job["program"], "program", "exec"), namespace)
    loop, delay, messages = asyncio.get_event_loop(), 0.0, 0
    send, create_server = asyncoro.MessageExchanger.send, loop.create_server

    def delayed_send(self: Any, label: int, payload: bytes) -> None:
        nonlocal messages
        messages += 1
        if delay:
            loop.call_later(delay, send, self, label, payload)
        else:
            send(self, label, payload)

    asyncoro.MessageExchanger.send = delayed_send
    loop.create_server = lambda *args, **options: create_server(*args, host=_HOST, **options)

    def bytes_sent() -> int:
        return sum(p.protocol.nbytes_sent for p in mpc.parties if p.pid != mpc.pid)

    async def measure(case: Any, seconds: float) -> dict[str, Any]:
        nonlocal delay
        await mpc.transfer(None)  # all are ready
        delay = seconds
        sent, counted, start = bytes_sent(), messages, time.perf_counter()
        try:
            result = await namespace["program"](*(mpc, own, case)[: job["given"]])
        except (Exception, SystemExit):
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(_FAILED)  # no farewell, in which the exception would get lost
        taken = time.perf_counter() - start
        counted = messages - counted
        await asyncio.sleep(1.5 * delay)  # what is held back goes out
        delay = 0.0
        return {"result": result, "bytes_sent": bytes_sent() - sent, "messages": counted,
                "seconds": taken}  # fmt: skip

    async def main() -> None:
        entries = []
        async with mpc:
            for number, case in enumerate(unpack(job["cases"])):
                for seconds in job["delays"]:
                    for repeat in range(job["repeats"]):
                        found = await measure(case, seconds)
                        entries.append(
                            {"case": number, "delay": seconds, "repeat": repeat, **found}
                        )
        text = json.dumps(pack(entries))
        own_file.with_suffix(".report").write_text(text, encoding="utf-8")

    mpc.run(main())


if __name__ == "__main__":
    _party()
