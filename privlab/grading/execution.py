"""Execute a notebook from a fresh kernel."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode


class ExecutionFailed(Exception):
    """The notebook did not run through; the message says which cell it was, and why."""


def execute(
    notebook: NotebookNode,
    folder: Path,
    cell_timeout: int,
    on_cell: Callable[[], None] = lambda: None,
) -> None:
    """Execute the notebook in place, from the first to the last cell.

    Args:
        notebook: The notebook; its outputs are replaced.
        folder: Where its code runs.
        cell_timeout: Seconds a cell may take.
        on_cell: Called after each code cell.

    Raises:
        ExecutionFailed: A cell raised, took too long or ended its kernel, or there is no kernel.
    """
    begun = 0

    def begin(cell: NotebookNode, cell_index: int) -> None:
        nonlocal begun
        begun += 1

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # An empty profile: the outputs must not depend on the settings of whoever runs this.
    with tempfile.TemporaryDirectory(prefix="privlab-") as profile:
        client = NotebookClient(
            notebook,
            timeout=cell_timeout,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(folder)}},
            coalesce_streams=True,
            record_timing=False,
            store_widget_state=False,
            on_cell_execute=begin,
            on_cell_executed=lambda **_: on_cell(),
        )
        try:
            client.execute(env=os.environ | {"IPYTHONDIR": profile})
        except CellExecutionError as error:
            reason = f"{error.ename}: {error.evalue}\n{error.traceback}"
            raise ExecutionFailed(f"cell {begun}: {reason}") from error
        except CellTimeoutError as error:
            raise ExecutionFailed(f"cell {begun} takes more than {cell_timeout} s") from error
        except DeadKernelError as error:
            raise ExecutionFailed(f"cell {begun}: its kernel died") from error
        except NoSuchKernel as error:
            raise ExecutionFailed(f"the kernel {error.name} is not installed") from error
