"""The one form in which notebooks are committed, so that a diff shows what somebody changed."""

import hashlib
import json
import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"

# The same list holds for nbval's comparison: what it forgives does not belong in the file either.
_SANITIZE = [
    (re.compile(pattern), replacement)
    for pattern, replacement in re.findall(
        r"^regex: (.*)$\n^replace: (.*)$", SANITIZE.read_text(encoding="utf-8"), re.MULTILINE
    )
]

# A bar of tqdm: "Training:  40%|████    | 4/10 [00:01<00:02, 3.9it/s]" or "12it [00:00, 90.1it/s]".
_PROGRESS = re.compile(r"(\d+%\||\d+\S*it ).*\[[\d:?]+(<[\d:?]+)?, .*\]")

# A widget lives in a kernel: a saved one is an error message to whoever opens the file.
_WIDGET = "application/vnd.jupyter.widget-view+json"


def read(path: Path) -> NotebookNode:
    """Read a notebook of format 4; cells without an id get one that depends on the cell alone."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    if raw.get("nbformat") != 4:
        raise ValueError(f"{path.name} is no notebook of format 4")
    raw["nbformat_minor"] = 5
    taken: set[str] = set()
    for cell in raw["cells"]:
        name = cell.get("id")
        if name is None or name in taken:
            text = "".join(cell["source"])
            name = hashlib.sha256(f"{len(taken)} {text}".encode()).hexdigest()[:8]
        cell["id"] = name
        taken.add(name)
    return nbformat.reads(json.dumps(raw), as_version=4)


def dumps(notebook: NotebookNode) -> str:
    """Return the text of the notebook's file, in normal form."""
    return nbformat.writes(normalised(notebook)) + "\n"


def write(path: Path, notebook: NotebookNode) -> bool:
    """Write the notebook in normal form, wholly or not at all; return whether the file changed."""
    text = dumps(notebook)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
    return True


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Return a copy that holds what the lesson says and nothing that a machine left behind."""
    notebook = deepcopy(notebook)
    kernel = notebook.metadata.get("kernelspec", {})
    name = kernel.get("name", "python3")
    language = kernel.get("language", "python")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": kernel.get("display_name", name),
                "language": language,
                "name": name,
            },
            "language_info": {"name": language},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = [_clean(output, cell.execution_count) for output in tidy(cell.outputs)]
    return notebook


def tidy(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Merge a cell's text of each stream into one output, without progress bars.

    The pieces in which text arrives depend on timing, and so do the bars, which belong to whoever
    waits and not to the reader.
    """
    merged: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type == "stream" and output.name in streams:
            streams[output.name].text += output.text
            continue
        output = deepcopy(output)
        if output.output_type == "stream":
            streams[output.name] = output
        merged.append(output)
    if "stderr" in streams:
        streams["stderr"].text = _without_progress(streams["stderr"].text)
    merged = [output for output in merged if output.get("text") != ""]
    # Which of the two streams comes first is a matter of luck.
    slots = [i for i, output in enumerate(merged) if output.output_type == "stream"]
    in_order = sorted((merged[i] for i in slots), key=lambda output: output.name, reverse=True)
    for slot, output in zip(slots, in_order, strict=True):
        merged[slot] = output
    return merged


def sanitised(text: str) -> str:
    """Replace what tests/nbval_sanitize.cfg lists, such as the folder of an installed library."""
    for pattern, replacement in _SANITIZE:
        text = pattern.sub(replacement, text)
    return text


def _without_progress(text: str) -> str:
    """Return what a terminal would still show of the text, less the bars of tqdm."""
    kept = []
    for line in text.split("\n"):
        # Each carriage return starts the line anew; a bar that vanishes leaves blanks.
        shown = next((part for part in reversed(line.split("\r")) if part), "")
        erased = "\r" in line and not shown.strip()
        if not erased and not _PROGRESS.search(shown):
            kept.append(shown)
    return "\n".join(kept)


def _clean(output: NotebookNode, execution_count: int | None) -> NotebookNode:
    if output.output_type == "stream":
        output.text = sanitised(output.text)
    elif output.output_type == "error":
        output.evalue = sanitised(output.evalue)
        output.traceback = [sanitised(line) for line in output.traceback]
    else:
        kept = {k: _clean_data(k, v) for k, v in output.data.items() if k != _WIDGET}
        output.data = nbformat.from_dict(kept)
        if output.output_type == "execute_result":
            output.execution_count = execution_count
    return output


def _clean_data(mime: str, value: Any) -> Any:
    return sanitised(value) if mime.startswith("text/") and isinstance(value, str) else value
