"""Outputs of any kind as columns of numbers.

An output becomes one number in each of some columns, named like the Python expression that reads
it: ``output``, ``output[2]``, ``output['age']``. Where there is no number, the column holds
:data:`MISSING`, and the column with the suffix :data:`KIND` a code that tells what is there
instead (None, NaN, a text, an exception, ...; 0 stands for a number). What an output becomes
depends on that output alone, never on the others: an event that was learnt from some outputs means
the same for others.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from itertools import combinations, pairwise
from numbers import Number
from typing import Any

import numpy as np

# Powers of two: rounding leaves them as they are.
MISSING = -(2.0**1000)
LARGEST = 2.0**990
KIND = " kind"
WHOLE = "the whole output"

#: At most so many entries of outputs are looked at; those seen first.
MOST_ENTRIES = 64

#: Entries of outputs with this many at most are compared pair by pair, others with the next.
FEW_ENTRIES = 6

NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
SEQUENCES = (list, tuple, np.ndarray)
NUMBER_IN_TEXT = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass
class Raised:
    """An exception that the mechanism raised: it is an output, too."""

    name: str


@dataclass
class Table:
    """Outputs as columns of equal length; a column that is not there holds its default."""

    columns: dict[str, np.ndarray]
    rows: int

    def __getitem__(self, name: str) -> np.ndarray:
        column = self.columns.get(name)
        return np.full(self.rows, _default(name)) if column is None else column

    def describe(self, row: int, names: Sequence[str], kinds: dict[float, str]) -> str:
        """Write an output as what its entries are: "output[0] = 1, output[1] = 2"."""
        parts = []
        for name in number_columns(names):
            value, kind = self[name][row], self[name + KIND][row]
            if value > MISSING:
                parts.append(f"{name} = {number(value)}")
            elif kind:  # neither a number nor absent
                parts.append(f"{name} is {kinds.get(kind, 'of a rare kind')}")
        return ", ".join(parts[:8] + ["…"] * (len(parts) > 8)) or "no entries"

    @classmethod
    def join(cls, tables: Sequence[Table]) -> Table:
        """Put tables below each other."""
        names = dict.fromkeys(name for table in tables for name in table.columns)
        columns = {name: np.concatenate([table[name] for table in tables]) for name in names}
        return cls(columns, sum(table.rows for table in tables))


class Encoder:
    """Turns outputs into tables.

    Attributes:
        kinds: What the codes in the columns of kinds mean.
    """

    def __init__(self) -> None:
        self.kinds = {0.0: "a number"}
        self._entries: set[str] = set()

    def __call__(self, outputs: Sequence[Any]) -> Table:
        """Encode some outputs, one row each."""
        return Table(self._encode(outputs, "output"), len(outputs))

    def _encode(self, outputs: Sequence[Any], name: str) -> dict[str, np.ndarray]:
        types = set(map(type, outputs))
        if types == {str} and len(distinct := list(dict.fromkeys(outputs))) < len(outputs):
            places = {text: place for place, text in enumerate(distinct)}
            rows = [places[text] for text in outputs]
            return {key: column[rows] for key, column in self._encode(distinct, name).items()}
        if not all(issubclass(each, (*NUMBERS, list, tuple, dict)) for each in types):
            outputs = [_plain(output) for output in outputs]
            types = set(map(type, outputs))
        if all(issubclass(each, NUMBERS) for each in types):
            return self._numbers(outputs, name)
        if all(issubclass(each, SEQUENCES) for each in types):
            return self._sequences(outputs, name)
        if all(issubclass(each, dict) for each in types):
            return self._dicts(outputs, name)
        return self._mixture(outputs, name)

    def _numbers(self, outputs: Sequence[Any], name: str) -> dict[str, np.ndarray]:
        values = _to_floats(outputs)
        lacking = np.isnan(values)
        columns = {name: np.where(lacking, MISSING, np.clip(values, -LARGEST, LARGEST))}
        if lacking.any():
            columns[name + KIND] = np.where(lacking, self._code("NaN"), 0.0)
        return columns

    def _sequences(self, outputs: Sequence[Any], name: str) -> dict[str, np.ndarray]:
        outputs = [each if getattr(each, "ndim", 1) else np.atleast_1d(each) for each in outputs]
        lengths = np.fromiter(map(len, outputs), dtype=float, count=len(outputs))
        columns = {
            name + KIND: np.full(len(outputs), self._code("a list")),
            f"the length of {name}": lengths,
        }
        matrix = _to_matrix(outputs) if lengths.min() == lengths.max() else None
        for position in range(int(lengths.max())):
            entry = f"{name}[{position}]"
            if not self._admit(entry):
                break
            if matrix is not None:
                columns |= self._numbers(matrix[:, position], entry)
            else:
                rows = np.flatnonzero(lengths > position)
                part = self._encode([outputs[row][position] for row in rows], entry)
                _place(columns, part, rows, len(outputs))
        return columns

    def _dicts(self, outputs: Sequence[dict], name: str) -> dict[str, np.ndarray]:
        rows: dict[Any, list[int]] = {}
        for row, output in enumerate(outputs):
            for key in output:
                rows.setdefault(key, []).append(row)
        shapes = [", ".join(map(repr, output)) for output in outputs]
        codes = {
            shape: (self._code(f"a dict with the keys {_keys(output)}"), self._code(shape))
            for shape, output in dict(zip(shapes, outputs, strict=True)).items()
        }
        kinds, orders = np.array([codes[shape] for shape in shapes]).T
        columns = {name + KIND: kinds, f"the order of the keys of {name}{KIND}": orders}
        for key in sorted(rows, key=lambda key: (-len(rows[key]), repr(key))):  # frequent first
            entry = f"{name}[{key!r}]"
            if self._admit(entry):
                part = self._encode([outputs[row][key] for row in rows[key]], entry)
                _place(columns, part, np.array(rows[key]), len(outputs))
        return columns

    def _mixture(self, outputs: Sequence[Any], name: str) -> dict[str, np.ndarray]:
        """Encode numbers, lists and dicts apart; all else is told by its kind alone."""
        groups: dict[str, list[int]] = {}
        codes = np.zeros(len(outputs))
        for row, output in enumerate(outputs):
            group = _group(output)
            if group:
                groups.setdefault(group, []).append(row)
            else:
                codes[row] = self._code(_text(output))
        columns = {name: np.full(len(outputs), MISSING), name + KIND: codes}
        for group, rows in groups.items():
            part = [np.asarray(outputs[i]) if group == "array" else outputs[i] for i in rows]
            _place(columns, self._encode(part, name), np.array(rows), len(outputs))
        return columns

    def _admit(self, entry: str) -> bool:
        """Tell whether an entry is looked at; once it is, it always is."""
        if len(self._entries) < MOST_ENTRIES:
            self._entries.add(entry)
        return entry in self._entries

    def _code(self, kind: str) -> float:
        code = 1.0 + zlib.crc32(kind.encode(errors="replace"))
        if len(self.kinds) < 10_000:
            self.kinds.setdefault(code, kind[:80])
        return code


def _plain(output: Any) -> Any:
    """Turn an object into the numbers, lists and dicts that it shows to its reader."""
    if isinstance(output, np.ndarray):
        complex_ = output.dtype.kind == "c"
        return np.concatenate([output.real.ravel(), output.imag.ravel()]) if complex_ else output
    if isinstance(output, complex | np.complexfloating):
        return [float(output.real), float(output.imag)]
    if isinstance(output, Number) and not isinstance(output, NUMBERS):  # a fraction, a decimal
        return float(output)
    if isinstance(output, str):
        numbers = [float(each) for each in NUMBER_IN_TEXT.findall(output)]
        return {NUMBER_IN_TEXT.sub("#", output): numbers} if numbers else output
    if hasattr(output, "to_dict") and hasattr(output, "index"):  # a series or a table of pandas
        return output.to_dict()
    if is_dataclass(output) and not isinstance(output, Raised | type):
        return vars(output)
    return output


def _default(name: str) -> float:
    return 0.0 if name.endswith(KIND) else MISSING


def _place(
    columns: dict[str, np.ndarray],
    part: dict[str, np.ndarray],
    rows: np.ndarray,
    size: int,
) -> None:
    """Write the columns of some rows among those of all rows."""
    for name, values in part.items():
        if name not in columns:
            columns[name] = np.full(size, _default(name))
        columns[name][rows] = values


def _to_floats(outputs: Sequence[Any]) -> np.ndarray:
    try:
        return np.array(outputs, dtype=float)
    except OverflowError:  # an integer beyond the floats
        return np.array([float(np.clip(each, -(10**300), 10**300)) for each in outputs])


def _to_matrix(outputs: Sequence[Any]) -> np.ndarray | None:
    """Stack vectors of numbers; None where an entry is something else."""
    try:
        matrix = np.array(outputs)
    except (ValueError, OverflowError):
        return None
    return matrix if matrix.ndim == 2 and matrix.dtype.kind in "biuf" else None


def _group(output: Any) -> str:
    """Name the way an output is encoded; empty where it is a category."""
    if isinstance(output, NUMBERS):
        return "number"
    if isinstance(output, SEQUENCES):
        return "list"
    if isinstance(output, dict):
        return "dict"
    return "array" if hasattr(output, "__array__") else ""


def _text(output: Any) -> str:
    if isinstance(output, Raised):
        return f"the exception {output.name}"
    if isinstance(output, set | frozenset):
        return f"the set {_keys(output)}"
    try:
        return repr(output)
    except Exception:
        return f"a {type(output).__name__}"


def _keys(output: Any) -> str:
    return ", ".join(sorted(map(repr, output))) or "(none)"


# ---- features: what is looked at ---------------------------------------------------------------

Features = dict[str, np.ndarray]


def number(value: float) -> str:
    """Write a number as a reader expects it: whole ones in full, others with five digits."""
    if abs(value) >= LARGEST:
        return "infinity" if value > 0 else "-infinity"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.5g}"


def number_columns(names: Sequence[str]) -> list[str]:
    """Select the columns that hold entries, not kinds or lengths."""
    return [name for name in names if not name.endswith(KIND) and not name.startswith("the ")]


def features(table: Table, names: Sequence[str], floating_point: bool = False) -> Features:
    """Compute what is looked at from chosen columns of a table.

    Beside the columns themselves: fractional parts (noise that is whole where it should not be),
    differences (noise that is shared), sums and extremes, and a code of the whole output.

    Args:
        table: The outputs.
        names: The columns to use, as fixed when the event was learnt.
        floating_point: Look at the lowest bits of the numbers.

    Returns:
        One column of numbers for each feature, by its name.
    """
    exact = {name: table[name] for name in names}
    entries = number_columns(names)
    result = {
        name: values if name.endswith(KIND) else _rounded(values) for name, values in exact.items()
    }
    for name in entries:
        result[f"the fractional part of {name}"] = _fraction(result[name])
    if floating_point:
        for name in entries:
            bit, exponent = _lowest_bit(exact[name]), np.frexp(exact[name])[1]
            result[f"the exponent of the lowest bit of {name}"] = bit
            result[f"the lowest bit and the size of {name}"] = bit * 4096.0 + exponent
    if len(entries) > 1:
        result |= _comparisons(result, entries)
        result |= _summaries(np.stack([result[name] for name in entries], axis=1))
    if len(names) > 1:
        result[WHOLE] = _fingerprint(result, names)
    return result


def _rounded(values: np.ndarray) -> np.ndarray:
    """Keep 40 bits: ordinary noise leaks in the last ones, which is a matter of its own."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(mantissa, 40)), exponent - 40)


def _fraction(values: np.ndarray) -> np.ndarray:
    return np.where(values > MISSING, np.round(values - np.floor(values), 5) % 1.0, MISSING)


def _lowest_bit(values: np.ndarray) -> np.ndarray:
    """Find the exponent of the lowest set bit: the grid on which a float was computed.

    Adding noise to 0 and to 1 reaches different floats; the grid tells which.

    Source: Ilya Mironov, "On Significance of the Least Significant Bits for Differential Privacy"
    (2012).
    """
    mantissa, exponent = np.frexp(np.where(values == 0, 1.0, values))
    digits = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    return np.frexp((digits & -digits).astype(float))[1] - 1.0 + exponent - 53


def _comparisons(columns: Features, entries: Sequence[str]) -> Features:
    result = {}
    few = len(entries) <= FEW_ENTRIES
    for before, after in combinations(entries, 2) if few else pairwise(entries):
        there = (columns[before] > MISSING) & (columns[after] > MISSING)
        difference = np.round(columns[after] - columns[before], 5)
        result[f"{after} − {before}"] = np.where(there, difference, MISSING)
    return result


def _summaries(entries: np.ndarray) -> Features:
    there = entries > MISSING
    summaries: dict[str, Callable[[], np.ndarray]] = {
        "the sum of the entries": lambda: np.where(there, entries, 0).sum(axis=1),
        "the largest entry": lambda: entries.max(axis=1),
        "the smallest entry": lambda: np.where(there, entries, LARGEST).min(axis=1),
        "the position of the largest entry": lambda: entries.argmax(axis=1),
        "the number of entries equal to the first": lambda: (entries == entries[:, :1]).sum(axis=1),
        "the number of positive entries": lambda: (entries > 0).sum(axis=1),
    }
    return {name: np.asarray(compute(), dtype=float) for name, compute in summaries.items()}


def _fingerprint(columns: Features, names: Sequence[str]) -> np.ndarray:
    """Add up all columns with odd weights: outputs that are equal get the same number."""
    total = np.zeros(len(columns[names[0]]))
    for name in names:
        weight = 1 + zlib.crc32(name.encode()) / 2**32
        values = columns[name] % 1e6 if name.endswith(KIND) else columns[name]
        total += weight * np.where(values > MISSING, np.clip(values, -1e9, 1e9), -987.65)
    return np.round(total, 5)
