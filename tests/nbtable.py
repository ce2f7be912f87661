"""Prints what each notebook took, as the last lines of a pytest run.

A notebook of tests/nbguard.py is known by the ids of its cells. A test that executes a notebook in
another way reports it by ``record_property("solved notebook", file name)``.
"""

from collections import defaultdict
from dataclasses import dataclass

import pytest
from nbguard import budget

HEADER = ("notebook", "kernel", "cells", "seconds", "budget", "solved s", "result")


def notebook_of(nodeid):
    """The name of the notebook that a cell's id starts with, or nothing."""
    file = nodeid.partition("::")[0]
    return file.rpartition("/")[2] if file.endswith(".ipynb") else ""


@dataclass
class Row:
    """What is known of one notebook."""

    kernel: str = ""
    cells: int = 0
    done: int = 0
    seconds: float = 0
    solved: float = 0
    failed: str = ""

    def result(self, budget):
        if self.failed:
            return f"FAILED {self.failed}"
        if self.done < self.cells:
            return f"stopped after cell {self.done}" if self.done else "not run"
        return "slow" if max(self.seconds, self.solved) > budget else "ok"


class Table:
    """Gathers reports in the process that prints, be it alone or over workers."""

    def __init__(self):
        self.rows = defaultdict(Row)

    def pytest_collection_finish(self, session):
        self.add([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        if not self.rows:  # each worker collects the same
            self.add(ids)

    def add(self, ids):
        for name in filter(None, map(notebook_of, ids)):
            self.rows[name].cells += 1

    def pytest_runtest_logreport(self, report):
        properties = dict(report.user_properties)
        if name := notebook_of(report.nodeid):
            row = self.rows[name]
            row.kernel = properties.get("kernel", row.kernel)
            row.seconds += report.duration
            row.done += report.when == "call"
            if report.failed and not row.failed:
                row.failed = report.nodeid.rpartition("::")[2].lower()
        elif report.when == "call" and "solved notebook" in properties:
            row = self.rows[properties["solved notebook"]]
            row.solved = report.duration
            if report.failed and not row.failed:
                row.failed = "when solved"

    def lines(self):
        table = [HEADER]
        for name, row in sorted(self.rows.items()):
            seconds, solved = (f"{time:.1f}" if time else "-" for time in (row.seconds, row.solved))
            allowed = budget(name)
            numbers = (str(row.cells), seconds, str(allowed), solved)
            table.append((name, row.kernel, *numbers, row.result(allowed)))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for name, kernel, *numbers, result in table:
            texts = [name.ljust(widths[0]), kernel.ljust(widths[1])]
            texts += [text.rjust(width) for text, width in zip(numbers, widths[2:-1], strict=True)]
            yield "  ".join([*texts, result])
        seconds = sum(row.seconds for row in self.rows.values())
        solved = sum(row.solved for row in self.rows.values())
        both = f"{seconds:.1f} s as committed, {solved:.1f} s solved"
        yield f"together {seconds + solved:.1f} s: {both}"

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        terminal = config.pluginmanager.getplugin("terminalreporter")
        if terminal and self.rows:
            for line in ("", *self.lines()):
                terminal.write_line(line)


def pytest_configure(config):
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Table())
