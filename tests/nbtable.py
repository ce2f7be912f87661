"""Prints what each notebook took, as the last lines of a pytest run.

A notebook of tests/nbguard.py is known by the ids of its cells. A test that executes a notebook in
another way reports it by ``record_property("solved notebook", file name)``.
"""

from collections import defaultdict
from dataclasses import dataclass

import pytest
from nbguard import budget

HEADER = ("notebook", "kernel", "cells", "seconds", "budget", "result", "solved s")


@dataclass
class Row:
    """What is known of one notebook."""

    kernel: str = ""
    cells: int = 0
    done: int = 0
    seconds: float = 0.0
    failed: str = ""

    def result(self, budget):
        if self.failed:
            return f"FAILED {self.failed}"
        if self.done < self.cells:
            return f"stopped after cell {self.done}" if self.done else "not run"
        return "slow" if self.seconds > budget else "ok"


class Table:
    """Gathers reports in the process that prints, be it alone or over workers."""

    def __init__(self):
        self.rows = defaultdict(Row)
        self.solved = {}

    def pytest_collection_finish(self, session):
        self.add([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        if not self.rows:  # each worker collects the same
            self.add(ids)

    def add(self, ids):
        for file in (nodeid.split("::")[0] for nodeid in ids):
            if file.endswith(".ipynb"):
                self.rows[file].cells += 1

    def pytest_runtest_logreport(self, report):
        file, _, name = report.nodeid.partition("::")
        properties = dict(report.user_properties)
        if file in self.rows:
            row = self.rows[file]
            row.kernel = properties["kernel"]
            row.seconds += report.duration
            row.done += report.when == "call"
            if report.failed and not row.failed:
                row.failed = name.lower()
        elif report.when == "call" and "solved notebook" in properties:
            seconds = f"{report.duration:.1f}{' FAILED' * report.failed}"
            self.solved[properties["solved notebook"]] = seconds

    def lines(self):
        table = [HEADER]
        for file, row in sorted(self.rows.items()):
            name = file.rsplit("/", 1)[-1]
            seconds, allowed = f"{row.seconds:.1f}", budget(name)
            result, solved = row.result(allowed), self.solved.pop(name, "")
            table.append((name, row.kernel, str(row.cells), seconds, str(allowed), result, solved))
        for name, solved in sorted(self.solved.items()):
            table.append((name, "", "", "", str(budget(name)), "not run", solved))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            cells = (
                text.rjust(width) if title in ("cells", "seconds", "budget", "solved s")
                else text.ljust(width)
                for text, width, title in zip(line, widths, HEADER, strict=True)
            )  # fmt: skip
            yield "  ".join(cells).rstrip()
        yield f"notebooks together: {sum(row.seconds for row in self.rows.values()):.1f} s"

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        terminal = config.pluginmanager.getplugin("terminalreporter")
        if terminal and (self.rows or self.solved):
            for line in ("", *self.lines()):
                terminal.write_line(line)


def pytest_configure(config):
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Table())
