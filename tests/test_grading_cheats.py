"""No submission of the corpus gains a point that it did not earn, and none harms anybody.

Honest answers in odd forms get all their points; see ``grading_corpus.py`` for what there is.
"""

import contextlib
import csv
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest
from grading_corpus import (
    AUDITED,
    CHEATS,
    COMPUTES,
    ENDS,
    EXERCISES,
    GENTLE,
    LESSON,
    ODDITIES,
    PROTOCOL,
    Entry,
    Noisy,
    Total,
    Width,
    notebook,
    q1,
    q2,
    q3,
    sent,
)

from privlab.exercise import Exercise, Wrong
from privlab.grading.grade import grade
from privlab.grading.marking import Marked, mark
from privlab.grading.notebooks import defined_names
from privlab.grading.program import python
from privlab.grading.report import write_report
from privlab.grading.sandbox import Limits
from privlab.grading.secret import stamp
from privlab.grading.submissions import Student, collect
from privlab.grading.tasks import Task

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed (apt install bubblewrap)"
)

SEED = 20_251


def ids(entry: Entry) -> str:
    return entry.name


def graded(entry: Entry) -> Marked:
    """Grade an entry in a process of its own, with an honest answer to one exercise more."""
    tasks = [q3, q2] if entry.exercise == q3.label else [q1, q2]
    return mark([python(cell) for cell in entry.cells()], tasks, SEED, Limits(**entry.limits))


def in_one_process(entries: Sequence[Entry]) -> dict[str, object]:
    """Grade entries as the answers to as many exercises of one notebook."""
    cells, tasks = [], []
    for number, entry in enumerate(entries):
        text = "\0".join(python(cell) for cell in (*entry.before, entry.code, *entry.after))
        names = {"total", "Q"}
        for cell in text.split("\0"):
            with contextlib.suppress(SyntaxError):
                names |= set(defined_names(cell))
        for name in names:
            text = re.sub(rf"(?<![\w.']){name}\b(?!=)", f"{name}_{number}", text)
        cells += text.split("\0")
        tasks.append(Total(f"total_{number}"))
    marked = mark([*cells, Width.reference], [*tasks, q2], SEED, Limits(seconds=60))
    *marks, last = marked.marks
    assert last.points == q2.points
    return {entry.name: each for entry, each in zip(entries, marks, strict=True)}


@pytest.fixture(scope="class")
def canaries(tmp_path_factory):
    """What must not be reached: a file, a variable, and sockets that note who calls."""
    folder = tmp_path_factory.mktemp("canary")
    file = folder / "canary"
    file.write_text("secret")
    calls, name = [], f"privlab-canary-{os.getpid()}"
    unix, path = (socket.socket(socket.AF_UNIX) for _ in range(2))
    unix.bind(f"\0{name}")
    path.bind(str(folder / "s"))
    inet = socket.create_server(("127.0.0.1", 0))
    for each in (unix, path, inet):
        each.listen()
        each.settimeout(0.2)
    over = threading.Event()

    def listen(server):
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                calls.append(server.accept())

    threads = [threading.Thread(target=listen, args=(each,)) for each in (unix, path, inet)]
    for thread in threads:
        thread.start()
    os.environ["CANARY"] = "secret"

    def placed(text):
        text = text.replace("/tmp/privlab-canary.sock", str(folder / "s"))
        text = text.replace("/tmp/privlab-canary", str(file)).replace("privlab-canary", name)
        return text.replace("47113", str(inet.getsockname()[1]))

    yield placed, calls
    del os.environ["CANARY"]
    over.set()
    for thread in threads:
        thread.join()
    for each in (unix, path, inet):
        each.close()


def nothing_is_left(mark: str = "no such mark") -> None:
    """No process of a sandbox is there any more, none of ours and none that bears a mark."""
    mine = {process.pid for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            assert mark not in line
            assert process.info["pid"] not in mine or "bwrap" not in line


@pytest.fixture(scope="class")
def cheats(canaries):
    placed, calls = canaries
    gentle, single = (
        [replace(each, code=placed(each.code)) for each in entries]
        for entries in (GENTLE, (*ENDS, *PROTOCOL, *AUDITED))
    )
    with ThreadPoolExecutor(6) as pool:
        together = pool.submit(in_one_process, gentle)
        alone = dict(zip((each.name for each in single), pool.map(graded, single), strict=True))
    assert not calls
    nothing_is_left(placed("time.sleep(47113)"))
    return together.result(), alone


class TestCheats:
    """All are graded once, side by side; each test then looks at one."""

    def test_there_are_many(self):
        assert len({each.name for each in CHEATS}) == len(CHEATS) >= 45

    @pytest.mark.parametrize("entry", GENTLE, ids=ids)
    def test_a_value_or_a_trick_earns_nothing(self, cheats, entry):
        found = cheats[0][entry.name]
        assert found.points == entry.earns, found
        assert "BREACH" not in found.message
        assert entry.told in found.message
        assert len(found.message) < 3_000
        found.message.encode()

    @pytest.mark.parametrize("entry", [*ENDS, *PROTOCOL, *AUDITED], ids=ids)
    def test_an_attack_earns_nothing_and_costs_only_itself(self, cheats, entry):
        attacked, honest = cheats[1][entry.name].marks
        assert attacked.points == entry.earns, attacked
        assert "BREACH" not in attacked.message
        assert entry.told in attacked.message, attacked.message
        assert honest.points == q2.points, honest
        seconds = Limits(**entry.limits).seconds
        # Both exercises together may start twice and wait twice; the rest is a busy computer.
        assert cheats[1][entry.name].seconds < 3 * min(seconds, 10) + 30


@pytest.fixture(scope="class")
def oddities():
    return in_one_process([each for each in ODDITIES if not each.limits])


class TestOddities:
    """What is right is paid in full, in whatever form it comes."""

    @pytest.mark.parametrize("entry", [each for each in ODDITIES if not each.limits], ids=ids)
    def test_together(self, oddities, entry):
        assert oddities[entry.name].points == q1.points, oddities[entry.name]

    @pytest.mark.parametrize("entry", [each for each in ODDITIES if each.limits], ids=ids)
    def test_alone(self, entry):
        marked = graded(entry)
        assert [each.points for each in marked.marks] == [2, 1], marked


def test_each_reference_is_right():
    marked = mark([each.reference for each in EXERCISES], EXERCISES, SEED)
    assert [each.points for each in marked.marks] == [2, 1, 3]
    assert not marked.notes
    marked = mark([each.stub for each in EXERCISES], EXERCISES, SEED)
    assert {each.outcome for each in marked.marks} == {"not tried"}


def test_who_works_beside_one_that_computes_without_end_keeps_all_points():
    """In many processes, which would otherwise share the computer among themselves."""
    greedy = replace(COMPUTES, limits={"cpu": 30})
    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(graded, greedy)
        while len(psutil.Process().children(recursive=True)) < 20:
            assert not beside.done()
            time.sleep(0.1)
        honest = pool.submit(mark, [each.reference for each in EXERCISES], EXERCISES, SEED)
        while not honest.running():
            time.sleep(0.01)
        assert not beside.done()
        assert [each.points for each in honest.result().marks] == [2, 1, 3]
        attacked, _ = beside.result().marks
    assert attacked.points == 0
    assert COMPUTES.told in attacked.message
    nothing_is_left()


def test_tests_that_hang_end_in_time():
    """What an answer returns may keep a test busy: the test is stopped, not the grading."""

    class Endless(Exercise):
        label, title, kinds = "0.4", "Endless", {"f": lambda value, what: value}
        hints, reference, mistakes, time_limit = (), "", (), 0.01

        def test_all(self, answers, rng):
            while answers.f():
                pass
            raise Wrong("no")

    code = ["def f(): return 1", Width.reference]
    marked = mark(code, [Endless(), q2], SEED, budget=300)
    assert [each.outcome for each in marked.marks] == ["stopped", "correct"]
    assert "the tests took longer than 1 s" in marked.marks[0].message
    nothing_is_left()


def test_a_grade_is_the_same_again():
    cells = [Total.reference, Width.reference.replace("min", "sum"), Noisy.reference]
    one, other = (replace(mark(cells, EXERCISES, SEED), seconds=0) for _ in range(2))
    assert one == other
    assert [each.points for each in one.marks] == [2, 0, 3]


def test_files_that_cheat(tmp_path):
    """A class in which all but one send hostile files, graded as a whole, pages and tables too."""
    key = bytes(32)
    entries = sent(stamp(key, LESSON, "victim"))
    roster = [Student("victim", "Vic Tim")]
    for number, each in enumerate(entries):
        # The names of people are hostile as well.
        name = ("<script>alert(1)</script>", '=HYPERLINK("http://x.example")', "@SUM(1)")[
            number % 3
        ]
        roster.append(Student(f"s{number:02}", name, "+49 <x@example.org>"))
        for path, body in each.files.items():
            file = tmp_path / "sent" / f"s{number:02}" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.symlink_to(body) if isinstance(body, str) else file.write_bytes(body)
    honest = tmp_path / "sent" / "victim" / "a.ipynb"
    honest.parent.mkdir()
    honest.write_bytes(notebook(*(each.reference for each in (q1, q2))))
    os.utime(honest, (0, 0))  # whatever the others claim to be of theirs is later
    before = set(tmp_path.rglob("*"))

    task = Task(LESSON, "A synthetic task", (q1, q2), (), "a.ipynb")
    found = collect(tmp_path / "sent", roster)
    report = grade(found, [task], roster, key, tmp_path / "out", limits=Limits(seconds=30))
    write_report(report, tmp_path / "out")

    results = {result.student.id: result for result in report.results}
    assert [each.points for each in results["victim"].marked.marks] == [2, 1]
    for number, each in enumerate(entries):
        marked = results[f"s{number:02}"].marked
        assert tuple(mark.points for mark in marked.marks) == each.earns, (each.name, marked)
        told = [*marked.notes, *(file.why for file in report.unclear)]
        told = " ".join([*told, *(remark.text for remark in report.remarks)])
        assert each.noted in told, (each.name, marked)
    written = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") for path in written)
    pages = list((tmp_path / "out").rglob("*.html"))
    assert len(pages) == len(roster) + 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script>alert|<img|\x1b", text), page
    for table in (tmp_path / "out").glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in set("=+@")]
