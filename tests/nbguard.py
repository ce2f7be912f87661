"""Closes the blind spots of nbval: a pytest plugin for strict runs (``--nbval``).

nbval runs the cells of a notebook and compares what they print. This plugin puts its own classes
in the place of nbval's, which fail a notebook where nbval would see nothing; each guard is shown by
a broken notebook in tests/test_nbguard.py. After the first failure, the rest of a notebook does
not run. Cells are counted from 1, as a reader sees them in ``In [7]``.
"""

import os
import re
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from queue import Empty
from unittest import mock

import nbform
import nbval.plugin
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile
from xdist.scheduler import LoadScopeScheduling

from privlab.course import LESSONS

# Workers and kernels inherit it: several BLAS threads each on few cores wait for each other, and
# their waiting counts as CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

LIMIT = 5  # times the budget; a slow notebook is reported, one that takes this long fails
THREADS = 2  # seconds that a thread may live on after the last cell

# What IPython prints where it should raise.
MISUSE = re.compile(r"^(UsageError: .*|Couldn't find program: .*)$", re.MULTILINE)


def budget(file):
    """The seconds that a notebook may take before the table calls it slow."""
    return next((lesson.budget for lesson in LESSONS if lesson.file == file), 60)


class KernelLost(Exception):
    """There is nothing more to expect from the kernel; the message says why."""


class WatchedKernel(RunningKernel):
    """A kernel whose death and whose time limit are noticed within a second."""

    def __init__(self, *args, limit, **kwargs):
        self.limit = limit
        self.start = time.monotonic()
        super().__init__(*args, **kwargs)

    def get_message(self, stream, timeout=None):
        give_up = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            if time.monotonic() - self.start > self.limit:
                times = f"{LIMIT} times its budget"
                raise KernelLost(f"the notebook takes more than {self.limit:g} s, {times}")
            try:
                return super().get_message(stream, timeout=1)
            except Empty:
                self.check()
                if time.monotonic() > give_up:
                    raise

    def check(self):
        if not self.is_alive():
            raise KernelLost("the kernel died")

    def settle(self):
        """Wait until the threads that cells have started end, or some seconds are over."""
        code = f"get_ipython().nbguard_settle({THREADS})"
        self.await_reply(self.kc.execute(code, silent=True, store_history=False))


class GuardedNotebook(IPyNbFile):
    """A notebook in a kernel that keeps a list of incidents."""

    failed = None

    def setup(self):
        self.profile = tempfile.TemporaryDirectory(prefix="nbguard-")
        startup = Path(self.profile.name, "profile_default", "startup")
        startup.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("nbguard_kernel.py"), startup)
        kernel = partial(WatchedKernel, limit=LIMIT * budget(self.path.name))
        with (
            mock.patch.dict(os.environ, IPYTHONDIR=self.profile.name),
            mock.patch.object(nbval.plugin, "RunningKernel", kernel),
        ):
            super().setup()

    @property
    def incidents(self):
        file = Path(self.profile.name, "incidents")
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def collect(self):
        cells = list(super().collect())
        for number, cell in enumerate(cells, 1):
            yield GuardedCell.from_parent(
                self,
                name=f"Cell {number}",
                cell_num=number,
                cell=cell.cell,
                options=cell.options,
                last=number == len(cells),
            )

    def teardown(self):
        if hasattr(self.kernel, "km"):  # nbval deletes it where it stopped the kernel itself
            self.kernel.stop()
        self.profile.cleanup()


class GuardedCell(IPyNbCell):
    """A cell that also fails for what nbval does not see."""

    def __init__(self, *, last, **kwargs):
        super().__init__(**kwargs)
        self.last = last
        kernel = self.parent.nb.metadata.get("kernelspec", {})
        self.user_properties.append(("kernel", kernel.get("name", "?")))

    def reportinfo(self):
        return self.path, 0, self.name

    def runtest(self):
        count = self.cell.execution_count
        if count != self.cell_num:
            self.raise_cell_error(f"its execution count is {count} and not {self.cell_num}")
        kernel = self.parent.kernel
        try:
            kernel.check()
            super().runtest()
            if self.last:
                kernel.settle()
        except KernelLost as lost:
            self.raise_cell_error(str(lost))
        outputs = self.test_outputs
        if self.options["check_exception"] and not any(o.output_type == "error" for o in outputs):
            self.raise_cell_error("is tagged raises-exception, but raised nothing")
        printed = "".join(output.get("text", "") for output in outputs)
        if problems := MISUSE.findall(printed) + self.parent.incidents:
            self.raise_cell_error("; ".join(problems))

    def compare_outputs(self, test, ref, skip_compare=None):
        return super().compare_outputs(nbform.tidy(test), nbform.tidy(ref), skip_compare)


class Scheduling(LoadScopeScheduling):
    """One worker runs a notebook, and one a class of tests; other tests go to whoever is free.

    Not by the mark xdist_group: pytest-xdist 3.8 does not see it under pytest 9.2 (its issue 1386).
    """

    def _split_scope(self, nodeid):
        scope, _, _ = nodeid.partition("[")[0].rpartition("::")
        return scope if scope.endswith(".ipynb") or "::" in scope else nodeid


def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    return [
        GuardedNotebook.from_parent(parent, path=file_path)
        if isinstance(collector, IPyNbFile)
        else collector
        for collector in (yield)
    ]


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes long, so it starts before the other tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What takes long comes first, so that no worker waits at the end for another."""

    def rank(item):
        if isinstance(item, GuardedCell):
            return 0
        return 1 if item.get_closest_marker("long") else 2

    items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if isinstance(item, GuardedCell) and item.parent.failed:
        pytest.skip(f"not run: cell {item.parent.failed} failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if isinstance(item, GuardedCell) and report.failed:
        item.parent.failed = item.cell_num
    return report
