"""Small tests before use: sweeps that continue where they stopped, and what is worth choosing.

A sweep calls a function for each setting of a grid and each seed, and keeps every result at once as
one line of JSON. Called again, it takes what is there and runs only what is missing.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import os
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

if TYPE_CHECKING:
    import pandas as pd

#: Columns that a sweep adds to the parameters and the results.
OWN_COLUMNS = ("seed", "seconds", "cached", "error")


def fingerprint(function: Callable[..., Any], version: str = "") -> str:
    """Return a short text that changes when the function does.

    It is made of the source of the function, its default values, what ``functools.partial`` has
    bound, and ``version``. It does not see into what the function calls, nor global names that it
    reads: count up ``version`` when those change.

    Args:
        function: Defined in a file or a notebook, or a ``functools.partial`` of such a function.
        version: Anything that you change by hand.

    Raises:
        ValueError: The function has no source (a builtin, for example).
    """
    bound: list[Any] = []
    while isinstance(function, partial):
        bound.append([function.args, sorted(function.keywords.items())])
        function = function.func
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise ValueError(
            f"function must be written in Python, with its source at hand, not {function!r}"
        ) from None
    defaults = [getattr(function, name, None) for name in ("__defaults__", "__kwdefaults__")]
    text = repr([source, defaults, bound, version])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_of(
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the settings of a grid: all combinations of its values, or the list as it is given.

    Args:
        grid: Name → values, or a list of settings (name → value).

    Raises:
        ValueError: The grid is empty or holds no values, a setting comes twice, or a value is not
            a number, text, True, False, None, or a list of those.
    """
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
                raise ValueError(f"grid[{name!r}] must be a list of values, not {values!r}")
        combined = itertools.product(*grid.values())
        settings = [dict(zip(grid, values, strict=True)) for values in combined] if grid else []
    else:
        settings = [dict(setting) for setting in grid]
    if not settings:
        raise ValueError(f"grid must hold at least one setting, not {grid!r}")
    settings = [{name: _plain(name, value) for name, value in each.items()} for each in settings]
    for setting in settings:
        taken = [name for name in setting if name in OWN_COLUMNS]
        if taken:
            raise ValueError(f"grid must not set {taken}: a sweep has columns of that name")
    seen = [_text(setting) for setting in settings]
    twice = next((text for text in seen if seen.count(text) > 1), None)
    if twice is not None:
        raise ValueError(f"grid must hold each setting once, but {twice} comes more often")
    return settings


def sweep(
    function: Callable[..., Mapping[str, Any]],
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
    *,
    seeds: int | Sequence[int] = 1,
    cache: str | Path | None = None,
    version: str = "",
    progress: bool = True,
) -> pd.DataFrame:
    """Call a function for each setting and each seed; what a cache holds is not run again.

    A result goes to the cache the moment it is there, as one line that is appended in a single
    write: an interrupted sweep loses one run at most, and several processes may share a file. A
    result counts as known if the parameters, the seed and the :func:`fingerprint` of the function
    are the same. A line that cannot be read, as after a power cut, is left out, with a warning. An
    exception in one run stands in the table, in the column ``error``; it is not kept, so that the
    next call tries again.

    Args:
        function: Called as ``function(**setting, seed=seed)``; returns name → number, text, True,
            False or None.
        grid: As in :func:`settings_of`.
        seeds: How many (0, 1, …), or which.
        cache: A file, or None to keep nothing. Its folder is made.
        version: Part of the fingerprint.
        progress: Show a bar.

    Returns:
        One row a run, in the order of the settings, then of the seeds: the parameters, ``seed``,
        the results, ``seconds`` (of the run itself, also if it comes from the cache), ``cached``
        and ``error`` (empty text where all went well).

    Raises:
        ValueError: An argument is out of range, or the function returns anything else.
    """
    import pandas as pd

    settings, mark, own_seeds = settings_of(grid), fingerprint(function, version), _seeds(seeds)
    path = None if cache is None else Path(cache)
    known = {} if path is None else _read(path)
    keys = [
        (setting, seed, _text({"fingerprint": mark, "seed": seed, "setting": setting}))
        for setting in settings
        for seed in own_seeds
    ]
    rows: list[dict[str, Any]] = []
    missing = sum(key not in known for *_, key in keys)
    with tqdm(total=missing, leave=False, disable=not progress or not missing) as bar:
        for setting, seed, key in keys:
            row = {**setting, "seed": seed}
            if key in known:
                rows.append({**row, **known[key], "cached": True, "error": ""})
                continue
            start = time.perf_counter()
            try:
                returned = function(**setting, seed=seed)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                rows.append({**row, "cached": False, "error": told})
            else:
                found = _checked(returned, setting)
                found["seconds"] = time.perf_counter() - start
                if path is not None:
                    _append(path, key, found)
                rows.append({**row, **found, "cached": False, "error": ""})
            bar.update()
    failed = [row for row in rows if row["error"]]
    if failed:
        first = {name: value for name, value in failed[0].items() if name not in OWN_COLUMNS[1:]}
        warnings.warn(
            f"{len(failed)} of {len(rows)} runs failed, the first with {first}: "
            f"{failed[0]['error']}",
            stacklevel=2,
        )
    table = pd.DataFrame(rows)
    last = [name for name in OWN_COLUMNS[1:] if name in table.columns]
    return table[[name for name in table.columns if name not in last] + last]


def pareto(
    table: pd.DataFrame, maximise: Sequence[str] = (), minimise: Sequence[str] = ()
) -> pd.Series:
    """Say which rows are worth choosing: no other is at least as good in all and better in one.

    Rows that are equal in all columns stay or go together. A row with a missing value is never
    chosen and beats nobody.

    Args:
        table: One row a choice.
        maximise: Columns in which more is better.
        minimise: Columns in which less is better.

    Returns:
        Booleans with the index of the table.

    Raises:
        ValueError: No column is named, one is unknown, named twice, or holds no numbers.
    """
    import pandas as pd

    columns = [*maximise, *minimise]
    if isinstance(maximise, str) or isinstance(minimise, str) or not columns:
        raise ValueError("maximise and minimise must be lists that name at least one column")
    if len(set(columns)) < len(columns):
        raise ValueError(f"maximise and minimise must name a column once, not {columns}")
    for column in columns:
        if column not in table.columns:
            raise ValueError(f"table has no column {column!r}; it has {list(table.columns)}")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"the column {column!r} must hold numbers")
    signs = np.array([1.0] * len(maximise) + [-1.0] * len(minimise))
    gains = table[columns].to_numpy(dtype=float, na_value=np.nan) * signs
    whole = ~np.isnan(gains).any(axis=1)
    chosen = whole.copy()
    for row in np.flatnonzero(whole):
        others = gains[whole]
        better = (others >= gains[row]).all(axis=1) & (others > gains[row]).any(axis=1)
        chosen[row] = not better.any()
    return pd.Series(chosen, index=table.index)


# ---- the cache ---------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return key → results of all lines that can be read."""
    if not path.exists():
        return {}
    known, broken = {}, 0
    for line in path.read_bytes().split(b"\n"):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
            known[str(entry["key"])] = dict(entry["results"])
        except (ValueError, KeyError, TypeError):
            broken += 1
    if broken:
        warnings.warn(
            f"{path.name}: {broken} line{'s' * (broken > 1)} cannot be read; those runs are done "
            "again",
            stacklevel=3,
        )
    return known


def _append(path: Path, key: str, results: dict[str, Any]) -> None:
    """Add one line; a half line that somebody left before it is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (_text({"key": key, "results": results}) + "\n").encode()
    mode = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    handle = os.open(path, mode, 0o644)
    try:
        size = os.lseek(handle, 0, os.SEEK_END)
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        # One write under O_APPEND: lines of several processes never mix on a local disk.
        os.write(handle, line)
    finally:
        os.close(handle)


# ---- checks ------------------------------------------------------------------------------------


def _plain(name: str, value: Any) -> Any:
    """Return a value of a setting as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"grid[{name!r}] must hold finite numbers, not {value!r}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"grid[{name!r}] must hold numbers, text, True, False or None, not {value!r}")


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, Integral) and not isinstance(seeds, bool):
        found = list(range(int(seeds)))
    elif isinstance(seeds, Sequence | np.ndarray | Iterator) and not isinstance(seeds, str):
        found = list(seeds)
    else:
        found = []
    whole = all(isinstance(seed, Integral) and not isinstance(seed, bool) for seed in found)
    if not found or not whole or len(set(found)) < len(found):
        raise ValueError(f"seeds must be a number from 1 or different whole numbers, not {seeds!r}")
    return [int(seed) for seed in found]


def _checked(returned: Any, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the function returned, as JSON has it."""
    if not isinstance(returned, Mapping):
        raise ValueError(f"function must return a dict of numbers, not {returned!r}")
    found = {}
    for name, value in returned.items():
        if not isinstance(name, str) or name in setting or name in OWN_COLUMNS:
            raise ValueError(
                f"function must name its results by text that is no parameter and none of "
                f"{', '.join(OWN_COLUMNS)}, not {name!r}"
            )
        if isinstance(value, np.generic):
            value = value.item()
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"function must return numbers, but {name!r} is {value!r}")
        found[name] = value
    return found
