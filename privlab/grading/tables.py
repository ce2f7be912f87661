"""Tables for spreadsheets: read as these save them, written as these read them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rows:
    """A table as it was read.

    Attributes:
        columns: Their names, as they stand in the first line.
        lines: Of each line its number in the file and its cells by column.
        separator: What stands between two columns.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[int, dict[str, str]], ...]
    separator: str


def read_rows(path: Path, what: str) -> Rows:
    """Read a CSV file: comma, semicolon or tab between columns, UTF-8 or UTF-16.

    Args:
        path: The file.
        what: What it is, for the message: the name of the option.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{what}: {path.name} cannot be read ({error.strerror})") from None
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        # Guessing another character set would turn some names into others.
        raise ValueError(
            f"{what}: {path.name} cannot be read, as it is not saved as UTF-8 (in Excel: Save As, "
            "CSV UTF-8; in LibreOffice: character set UTF-8)"
        ) from None
    text = text.removeprefix("\ufeff")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    try:
        columns = tuple(name or "" for name in reader.fieldnames or ())
        lines = [
            (reader.line_num, {name or "": str(cell or "").strip() for name, cell in row.items()})
            for row in reader
        ]
    except csv.Error as error:
        raise ValueError(f"{what}: {path.name} is no table ({error})") from None
    return Rows(columns, tuple(lines), separator)


def write_rows(
    path: Path, head: Sequence[str], rows: Sequence[Sequence[object]], separator: str = ","
) -> None:
    """Write a CSV file, wholly or not at all; one that holds the same already is left alone.

    It begins with a byte order mark: without it Excel misreads every letter that is not English.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(head)
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    raw = text.getvalue().encode("utf-8-sig", "replace")
    if path.exists() and path.read_bytes() == raw:
        return
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(raw)
    os.replace(draft, path)


def _harmless(cell: object) -> object:
    """Keep spreadsheets from taking a student's text for a formula."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + cell
    return cell
