"""Execute and check the notebooks of the course.

``python tools/notebooks.py run`` executes them and writes them back in normal form;
``python tools/notebooks.py lint`` says where they break a rule of the course. Both take files or
lesson numbers, and all notebooks when none is given.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbform
import nblint
from nbformat import NotebookNode
from tqdm import tqdm

from privlab.grading.execution import ExecutionFailed, execute


def find(targets: list[str]) -> list[Path]:
    """Return the notebooks that files or two-digit numbers stand for; all if none is given."""
    if not targets:
        return sorted(nbform.NOTEBOOKS.glob("*.ipynb"))
    found = []
    for target in targets:
        named = target.endswith(".ipynb")
        paths = [Path(target)] if named else sorted(nbform.NOTEBOOKS.glob(f"{target}_*.ipynb"))
        if not paths or not paths[0].exists():
            raise FileNotFoundError(f"there is no notebook {target}")
        found += paths
    return found


def run(paths: list[Path], cell_timeout: int, jobs: int) -> bool:
    """Execute notebooks and write back those that run through; return whether all did."""
    notebooks = [nbform.read(path) for path in paths]
    cells = sum(cell.cell_type == "code" for notebook in notebooks for cell in notebook.cells)
    pool = ThreadPoolExecutor(jobs)
    with tqdm(total=cells, unit="cell", smoothing=0) as bar:

        def one(path: Path, notebook: NotebookNode) -> bool:
            start = time.monotonic()
            try:
                execute(notebook, path.parent, cell_timeout, bar.update)
            except ExecutionFailed as failure:
                bar.write(f"{path.name}: {failure}; not written")
                return False
            state = "written" if nbform.write(path, notebook) else "unchanged"
            bar.write(f"{path.name}: {time.monotonic() - start:.1f} s, {state}")
            return True

        try:
            return all(list(pool.map(one, paths, notebooks)))
        except KeyboardInterrupt:
            os._exit(130)  # at once; the kernels notice that they are alone and end, too


def lint(paths: list[Path], whole_course: bool) -> bool:
    """Print every finding; return whether there was none."""
    findings = [finding for path in paths for finding in nblint.check(path)]
    if whole_course:
        findings += nblint.check_course(nbform.NOTEBOOKS)
    for finding in findings:
        print(finding)
    return not findings


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="execute and write back in normal form")
    runner.add_argument("--cell-timeout", type=int, default=90, metavar="SECONDS")
    runner.add_argument("--jobs", type=int, default=2, help="notebooks at a time (default: 2)")
    linter = commands.add_parser("lint", help="say where a rule of the course is broken")
    for command in (runner, linter):
        command.add_argument("targets", nargs="*", help="files or two-digit numbers")
    options = parser.parse_args()
    try:
        paths = find(options.targets)
    except FileNotFoundError as error:
        parser.error(str(error))
    if options.command == "run":
        good = run(paths, options.cell_timeout, options.jobs)
    else:
        good = lint(paths, whole_course=not options.targets)
    sys.exit(not good)


if __name__ == "__main__":
    main()
