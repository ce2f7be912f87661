"""The table at the end of a run."""

from types import SimpleNamespace

from nbtable import Table


def report(nodeid, seconds, outcome="passed", when="call", **properties):
    return SimpleNamespace(
        nodeid=nodeid,
        duration=seconds,
        failed=outcome == "failed",
        when=when,
        user_properties=list(properties.items()),
    )


def solved(file, seconds, outcome="passed"):
    name = f"tests/test_solved.py::test_solved[{file}]"
    return report(name, seconds, outcome, **{"solved notebook": file})


def test_every_result():
    cells = {"fine": 2, "slow": 1, "cut": 2, "left": 1, "bad": 2, "unsolved": 1, "crash": 1}
    ids = [f"n/{name}.ipynb::Cell {i + 1}" for name, count in cells.items() for i in range(count)]
    table = Table()
    for _ in range(2):  # as two workers do
        table.pytest_xdist_node_collection_finished(
            [*ids, "tests/test_x.py::test_x[n/y.ipynb::Cell 1]"]
        )
    for made in (
        report("n/fine.ipynb::Cell 1", 1.5, when="setup", kernel="python3"),
        report("n/fine.ipynb::Cell 1", 2.5, kernel="python3"),
        report("n/fine.ipynb::Cell 2", 3, kernel="python3"),
        solved("fine.ipynb", 8),
        report("n/slow.ipynb::Cell 1", 61, kernel="python3"),
        report("n/cut.ipynb::Cell 1", 1, kernel="python3"),
        report("n/bad.ipynb::Cell 1", 1, "failed", kernel="python3"),
        report("n/bad.ipynb::Cell 2", 0, "skipped", kernel="python3"),
        report("n/unsolved.ipynb::Cell 1", 1, kernel="python3"),
        solved("unsolved.ipynb", 2, "failed"),
        report("n/crash.ipynb::Cell 1", 0, "failed", when="???"),
        report("tests/test_x.py::test_x", 9),
    ):
        table.pytest_runtest_logreport(made)
    assert (
        "\n".join(table.lines())
        == """\
notebook        kernel   cells  seconds  budget  solved s  result
bad.ipynb       python3      2      1.0      60         -  FAILED cell 1
crash.ipynb                  1        -      60         -  FAILED cell 1
cut.ipynb       python3      2      1.0      60         -  stopped after cell 1
fine.ipynb      python3      2      7.0      60       8.0  ok
left.ipynb                   1        -      60         -  not run
slow.ipynb      python3      1     61.0      60         -  slow
unsolved.ipynb  python3      1      1.0      60       2.0  FAILED when solved
together 81.0 s: 71.0 s as committed, 10.0 s solved"""
    )


def test_budget_is_that_of_the_lesson():
    table = Table()
    table.add(["notebooks/09_tensorflow_privacy.ipynb::Cell 1"])
    table.pytest_runtest_logreport(report("notebooks/09_tensorflow_privacy.ipynb::Cell 1", 80))
    _, row, _ = table.lines()
    assert row.split()[-3:] == ["90", "-", "ok"]
