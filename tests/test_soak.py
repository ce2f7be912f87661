"""tools/soak.py: it goes on where it was, forgets no failure, and says what it knows."""

import json

import pytest
import soak
from nbformat import write
from nbmake import code, notebook, printed
from soak import Outcome, Soak, Target

from privlab.course import LESSONS
from privlab.exercise import Exercise, Mistake, Wrong, number


class Doubling(Exercise):
    """A small exercise: double a number."""

    label, title = "0.9", "Doubling"
    kinds = {"double": number}
    hints = ("Add it to itself.",)
    reference = "def double(x):\n    return x + x"
    mistakes = (Mistake("square", "def double(x):\n    return x * x", "twice"),)

    def test_two(self, answers, rng):
        if answers.double(2) != 4:
            raise Wrong("It should be twice the number.")

    def hidden_any(self, answers, rng):
        x = int(rng.integers(3, 100))
        if answers.double(x) != 2 * x:
            raise Wrong("It should be twice any number.")


class Counted:
    """Counts its runs; some of them fail."""

    def __init__(self, name, calls, fails=()):
        self.name, self.calls, self.fails = name, calls, fails

    def __call__(self):
        self.calls.append(self.name)
        failed = self.calls.count(self.name) in self.fails
        return Outcome("it broke" if failed else None, seed=41 + len(self.calls))


def lines(file):
    found = [json.loads(text) for text in file.read_text().splitlines() if text]
    return [line for line in found if "soak" not in line]


# ---- what is run, and what is kept ---------------------------------------------------------------


def test_goes_on_where_it_was(tmp_path):
    calls, file = [], tmp_path / "new" / "results.jsonl"
    targets = [Target(name, "same", Counted(name, calls)) for name in "ab"]
    Soak(targets, file, times=3).run()
    assert sorted(calls) == list("aaabbb")
    assert set(calls[:2]) == set("ab")  # each once before any twice
    again = Soak(targets, file, times=5)
    assert again.missing(5) == 4
    again.run()
    assert sorted(calls) == list("aaaaabbbbb")
    Soak(targets, file, times=5).run()
    assert len(calls) == len(lines(file)) == 10


def test_other_versions_do_not_count(tmp_path):
    calls, file = [], tmp_path / "results.jsonl"
    Soak([Target("a", "old", Counted("a", calls, fails=(1,)))], file, times=2).run()
    newer = Soak([Target("a", "new", Counted("a", calls))], file, times=2)
    assert (newer.missing(2), newer.older["a"].runs, newer.failed) == (2, 2, 0)
    newer.run()
    assert (len(calls), newer.failed) == (4, 0)
    assert "a, older: seed 42: it broke" in newer.table()


def test_failures_are_kept(tmp_path, capsys):
    calls, file = [], tmp_path / "results.jsonl"
    targets = [Target("a", "same", Counted("a", calls, fails=(2, 3)))]
    Soak(targets, file, times=4).run()
    assert [line["problem"] for line in lines(file)] == [None, "it broke", "it broke", None]
    later = Soak(targets, file, times=4)
    assert later.failed == 2
    table = "\n".join(later.table())
    assert "a: seed 43: it broke" in table
    assert "90.24%" in table  # 2 of 4: Clopper and Pearson (1934)


def test_half_a_line_is_no_result(tmp_path):
    calls, file = [], tmp_path / "results.jsonl"
    targets = [Target("a", "same", Counted("a", calls))]
    Soak(targets, file, times=1).run()
    with file.open("a") as out:
        out.write('{"name": "a", "fingerp')
    Soak(targets, file, times=2).run()
    assert len(calls) == 2
    assert Soak(targets, file, times=2).missing(2) == 0


def test_stops_in_time_and_with_two_at_a_time(tmp_path):
    calls, file = [], tmp_path / "results.jsonl"
    targets = [Target(name, "same", Counted(name, calls)) for name in "abc"]
    Soak(targets, file, times=100, minutes=0).run()
    assert calls == []
    Soak(targets, file, times=12, jobs=2).run()
    assert sorted(calls) == sorted("abc" * 12)
    assert len(lines(file)) == 36


def test_what_is_kept_counts_on_another_machine(tmp_path):
    calls, kept, page = [], tmp_path / "soak.json", tmp_path / "page.md"

    def soaked(file, times, fingerprint="same"):
        targets = [Target("a", fingerprint, Counted("a", calls, fails=(2,)))]
        known = json.loads(kept.read_text())["exercises"] if kept.exists() else None
        return Soak(targets, tmp_path / file, times, kept=known)

    first = soaked("here.jsonl", 3)
    first.run()
    for again in (first, soaked("here.jsonl", 3)):  # kept twice, and read, it counts once
        soak.keep({"exercises": again}, kept, page)
        assert "| a | 3 | 1 | 86.46% |" in page.read_text()  # 1 of 3: 1 - BetaInv(0.05; 2, 2)
        assert "- `a: seed 43: it broke`" in page.read_text()

    there = soaked("there.jsonl", 5)
    assert (there.missing(5), there.failed) == (2, 1)
    there.run()
    soak.keep({"exercises": there}, kept, page)
    assert soaked("here.jsonl", 5).missing(5) == soaked("new.jsonl", 5).missing(5) == 0

    changed = soaked("there.jsonl", 5, "new")
    assert (changed.missing(5), changed.older["a"].runs, changed.failed) == (5, 5, 0)
    soak.keep({"exercises": changed}, kept, page)
    assert "- `a, older: seed 43: it broke`" in page.read_text()
    assert soaked("new.jsonl", 5).missing(5) == 0  # and back again


def test_a_file_without_a_name_is_kept_once(tmp_path):
    targets, file = [Target("a", "same", Counted("a", []))], tmp_path / "file.jsonl"
    kept, page = tmp_path / "kept.json", tmp_path / "page.md"
    Soak(targets, file, 2).run()
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(file)))
    for _ in range(2):
        soak.keep({"exercises": Soak(targets, file, 2)}, kept, page)
    (held,) = json.loads(kept.read_text())["exercises"].values()
    assert held["a"]["same"]["runs"] == 2


def test_a_page_is_not_made_by_what_failed(tmp_path):
    target = Target("a", "same", lambda: Outcome("one\n\n# two `three` | <b>"))
    broken = Soak([target], tmp_path / "file.jsonl", 1)
    broken.run()
    soak.write_page(tmp_path / "page.md", {"exercises": broken})
    assert "- `a: one # two 'three' | <b>`\n" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("runs", [20, 100, 1_000])
def test_rule_of_three(runs):
    """Hanley and Lippman-Hand (1983): without a failure, at most about 3 in n."""
    assert soak.most(runs, 0) == pytest.approx(1 - 0.05 ** (1 / runs))
    assert 0.9 * 3 / runs < soak.most(runs, 0) < 3 / runs
    assert soak.most(runs, 1) > soak.most(runs, 0)
    assert soak.most(0, 0) == 1
    assert soak.most(runs, runs) == 1


# ---- what a result depends on --------------------------------------------------------------------


def names(modules):
    return {file.relative_to(soak.ROOT / "privlab").as_posix() for file in soak.sources(modules)}


def test_sources_are_those_of_the_lesson():
    found = names(["privlab.exercises.lesson_03"])
    assert {"exercises/lesson_03.py", "exercises/audited.py", "exercise.py", "wire.py"} <= found
    assert {"audit/__init__.py", "audit/auditor.py", "audit/bounds.py"} <= found
    assert not found & {"flower.py", "keyboard.py", "exercises/lesson_04.py"}


def test_fingerprints_follow_what_they_are_of(tmp_path):
    modules, file = ["privlab.audit.bounds"], tmp_path / "file"
    file.write_text("1")
    first = soak.fingerprint(modules, file)
    assert first == soak.fingerprint(modules, file)
    file.write_text("2")
    changed = soak.fingerprint(modules, file)
    more = soak.fingerprint([*modules, "privlab.wire"], file)
    library = soak.fingerprint([*modules, "sklearn.svm"], file)
    assert len({first, changed, more, library}) == 4


def test_pins_are_those_of_the_imported_libraries():
    found = soak.pins(["numpy.random", "sklearn", "privlab.wire"])
    named = {pin.partition("==")[0] for pin in found.splitlines()}
    assert named == {"numpy", "scikit-learn"}


def test_all_lessons_have_targets(tmp_path):
    ready = [lesson for lesson in LESSONS if lesson.ready]
    notebooks = soak.notebook_targets([], tmp_path)
    assert [target.name for target in notebooks] == [lesson.file for lesson in ready]
    assert len({target.fingerprint for target in notebooks}) == len(ready)
    labels = [target.name for target in soak.exercise_targets(["03", "04"])]
    assert {label.partition(".")[0] for label in labels} == {"3", "4"}


# ---- exercises and notebooks ---------------------------------------------------------------------


def test_a_reference_is_judged_with_a_fresh_seed_and_hidden_tests():
    first, second = (soak.run_exercise(Doubling()) for _ in range(2))
    assert first.problem is second.problem is None
    assert first.seed != second.seed  # equal once in 2⁴⁸

    class Square(Doubling):
        reference = Doubling.mistakes[0].code

    # test_ and hidden_ are looked up in the class itself, as of real exercises.
    Square.test_two, Square.hidden_any = Doubling.test_two, Doubling.hidden_any
    outcome = soak.run_exercise(Square())
    assert outcome.problem == "hidden_any: It should be twice any number."


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("def double(x):\n    return ...", "not tried: double"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def double(x):\n    while True: pass", "took more than 1 s"),
    ],
)
def test_nothing_ends_a_soak(reference, told):
    exercise = Doubling()
    exercise.reference, exercise.time_limit = reference, 1 / soak.PATIENCE
    assert soak.run_exercise(exercise).problem == told


def test_a_notebook_that_fails_leaves_its_output(tmp_path):
    folder = tmp_path / "failures"
    for cell, good in [(code("print(6 * 7)", printed("42\n")), True), (code("1 / 0"), False)]:
        path = tmp_path / "90_small.ipynb"
        write(notebook(code("pass"), cell), path)
        target = soak.notebook_target(path, "python3", folder)
        outcome = target.run()
        assert (outcome.problem is None) == good
        assert folder.exists() != good
    (kept,) = folder.iterdir()
    assert outcome.problem == f"Cell 2; all of it: {kept.name}"
    assert "ZeroDivisionError" in kept.read_text()


# ---- the command line ----------------------------------------------------------------------------


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(soak, "KEPT", tmp_path / "soak.json")
    monkeypatch.setattr(soak, "PAGE", tmp_path / "page.md")
    command = ["--exercises", "00", "--folder", str(tmp_path)]
    assert soak.main([*command, "--minutes", "0"]) == 0
    assert "2,000 runs are missing to 1,000 each" in capsys.readouterr().out
    for _ in range(2):
        assert soak.main([*command, "--times", "1"]) == 0
    results = lines(tmp_path / "exercises.jsonl")
    assert sorted(line["name"] for line in results) == ["0.1", "0.2"]
    assert not (tmp_path / "notebooks.jsonl").exists()

    with (tmp_path / "exercises.jsonl").open("a") as out:
        out.write(json.dumps(results[0] | {"problem": "wrong", "seed": 7}) + "\n")
    capsys.readouterr()
    assert soak.main([*command, "--minutes", "0"]) == 1
    assert f"{results[0]['name']}: seed 7: wrong" in capsys.readouterr().out

    assert soak.main(["--keep", "--folder", str(tmp_path)]) == 0
    assert f"- `{results[0]['name']}: seed 7: wrong`" in (tmp_path / "page.md").read_text()
    assert soak.main([*command[:2], "--folder", str(tmp_path / "new"), "--times", "1"]) == 1
    assert not lines(tmp_path / "new" / "exercises.jsonl")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--exercises", "99"], "'99' is none of 00 01"),
        (["--notebooks", "3"], "'3' is none of 00 01"),
        (["--times", "0"], "'0' is no whole number from 1 up"),
        (["--times", "many"], "'many' is no whole number"),
        (["--minutes", "-1"], "'-1' is no number from 0 up"),
        (["--minutes", "nan"], "'nan' is no number"),
        (["--hours", "1"], "unrecognized arguments"),
        (["--keep", "--times", "3"], "--keep takes over all that is there"),
        (["--notebooks", "--keep"], "--keep takes over all that is there"),
    ],
)
def test_bad_options(options, told, capsys):
    with pytest.raises(SystemExit) as stop:
        soak.main(options)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
