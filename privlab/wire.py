"""The plain data that pass between a learner's answer and the tests of an exercise.

A test never touches a learner's object: every argument and every result is taken apart into
numbers, text, lists, dicts, arrays and tables, and put together again on the other side. So an
answer cannot mutate the test's data, and an object that claims to equal everything is refused.
Nothing is ever pickled: the packed form is plain JSON, safe to read from a process that is not
trusted.
"""

import base64
import math
from collections import OrderedDict, defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

_NUMERIC = set("biuf")
_MAX_DEPTH = 12


class NotPlain(TypeError):
    """A value that does not consist of numbers, text, lists, dicts, arrays and tables."""


def pack(value: Any, depth: int = 0) -> Any:
    """Take a value apart into what JSON can hold; ``NotPlain`` says what does not fit."""
    if depth > _MAX_DEPTH:
        raise NotPlain(f"a value nested more than {_MAX_DEPTH} levels deep")
    # Exact types: a subclass of float may have an __eq__ of its own.
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if type(value) is bytes:
        return {"$bytes": _text(value)}
    if type(value) in (list, tuple):
        body = [pack(item, depth + 1) for item in value]
        return body if type(value) is list else {"$tuple": body}
    if type(value) in (set, frozenset):
        return {"$set": [pack(item, depth + 1) for item in sorted(value, key=repr)]}
    if type(value) in (dict, OrderedDict, defaultdict):
        return {"$dict": [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in value.items()]}
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return _pack_array(np.asarray(value))
    if type(value) is pd.DataFrame:
        if not all(type(name) is str for name in value.columns) or value.columns.has_duplicates:
            raise NotPlain("a table whose column names are not all different texts")
        columns = [[name, _pack_column(value[name])] for name in value.columns]
        return {"$table": columns, "index": _pack_column(value.index.to_series())}
    if type(value) is pd.Series:
        name = value.name if type(value.name) is str else None
        index = _pack_column(value.index.to_series())
        return {"$series": _pack_column(value), "name": name, "index": index}
    if type(value) in (Fraction, Decimal):
        return float(value)
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return pack(pd.Series(value), depth)
    if isinstance(value, pd.Timestamp | pd.Interval | pd.Period | pd.Timedelta):
        return str(value)
    if value is pd.NA or value is pd.NaT:
        return None
    raise NotPlain(f"a {type(value).__name__}")


def unpack(packed: Any) -> Any:
    """Put a packed value together again.

    Raises:
        NotPlain: The packed form is malformed; it may come from a process that is not trusted.
    """
    if isinstance(packed, list):
        return [unpack(item) for item in packed]
    if not isinstance(packed, dict):
        return packed
    try:
        return _unpack_tagged(packed)
    except NotPlain:
        raise
    except Exception as error:
        raise NotPlain(f"a malformed value ({type(error).__name__})") from None


def _unpack_tagged(packed: dict[str, Any]) -> Any:
    tag = next(iter(packed))
    body = packed[tag]
    if tag == "$float":
        return float(body)
    if tag == "$bytes":
        return base64.b64decode(body, validate=True)
    if tag == "$tuple":
        return tuple(unpack(item) for item in body)
    if tag == "$set":
        return {unpack(item) for item in body}
    if tag == "$dict":
        return {unpack(key): unpack(item) for key, item in body}
    if tag == "$array":
        dtype = np.dtype(body["dtype"])
        if dtype.kind not in _NUMERIC:
            raise NotPlain("an array that is not numeric")
        array = np.frombuffer(base64.b64decode(body["bytes"], validate=True), dtype)
        array = array.reshape([int(size) for size in body["shape"]]).copy()
        return array if array.shape else array[()]
    if tag == "$series":
        return pd.Series(_unpack_column(body, packed["index"]), name=packed["name"])
    if tag == "$table":
        index = pd.Index(_unpack_column(packed["index"]))
        columns = {str(name): _unpack_column(column) for name, column in body}
        return pd.DataFrame({n: c.set_axis(index) for n, c in columns.items()}, index=index)
    raise NotPlain(f"an unknown tag {tag!r}")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _pack_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind not in _NUMERIC:
        return {"$tuple": [pack(item, 1) for item in array.tolist()]} if array.ndim == 1 else _no()
    array = np.ascontiguousarray(array).reshape(array.shape)
    return {
        "$array": {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "bytes": _text(array.tobytes()),
        }
    }


def _no() -> Any:
    raise NotPlain("an array that is neither numeric nor a row of plain values")


def _pack_column(column: pd.Series) -> dict[str, Any]:
    """Pack one column: numbers and dates as arrays, everything else value by value."""
    if column.dtype.kind == "M":
        stamps = column.to_numpy(dtype=column.dtype if column.dt.tz is None else "datetime64[ns]")
        unit = np.datetime_data(stamps.dtype)[0]
        return {"dates": _pack_array(stamps.view("int64")), "unit": unit}
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in _NUMERIC:
        return {"numbers": _pack_array(column.to_numpy())}
    missing = column.isna().to_numpy()
    values = column.astype(object).tolist()
    return {"values": [None if m else pack(v, 1) for v, m in zip(values, missing, strict=True)]}


def _unpack_column(packed: dict[str, Any], index: dict[str, Any] | None = None) -> pd.Series:
    if "dates" in packed:
        unit = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}[packed["unit"]]
        column = pd.Series(unpack(packed["dates"]).view(f"datetime64[{unit}]"))
    elif "numbers" in packed:
        column = pd.Series(unpack(packed["numbers"]))
    else:
        values = [unpack(item) for item in packed["values"]]
        # Text keeps the dtype that pandas gives to text, as in the course's own tables.
        text = all(isinstance(value, str) for value in values) and values
        column = pd.Series(values) if text else pd.Series(values, dtype=object)
    return column if index is None else column.set_axis(pd.Index(_unpack_column(index)))
