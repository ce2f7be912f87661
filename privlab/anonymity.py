"""Anonymity of a table: measuring it, reaching it, and what it costs.

A *quasi-identifier* is a column that an attacker may know from elsewhere (age, ZIP code). Rows
that agree in all quasi-identifiers form an *equivalence class*; the people in it cannot be told
apart. The module measures classes (:func:`k_anonymity`, :func:`uniqueness`, :func:`l_diversity`,
:func:`t_closeness`), makes them (:func:`mondrian`, :func:`generalise`,
:func:`suppress_small_classes`) and tells the price (:func:`information_loss`).

Everywhere, a missing value (NaN, None) is a value of its own: two rows that both lack a value
agree in it. ``DataFrame.groupby`` drops such rows by default and thereby hides unique people.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types

# ------------------------------------------------------------------------------- measuring


def equivalence_classes(table: pd.DataFrame, columns: Sequence[Hashable]) -> np.ndarray:
    """Number the classes of rows that agree in all of some columns.

    Args:
        table: Any table; columns of every type are compared by value.
        columns: The columns to compare, at least one.

    Returns:
        Integers of shape (rows,): equal for rows that agree in all columns, from 0 upwards in
        the order in which the classes first appear.

    Raises:
        ValueError: The table is empty, no column is given, or one is unknown or given twice.
    """
    columns = _checked_columns(table, "columns", columns)
    classes = np.zeros(len(table), dtype=np.int64)
    for column in columns:
        codes, values = pd.factorize(table[column])
        # A missing value has the code -1, a number like any other. Numbering the classes anew for
        # every column keeps the products below rows², far from an overflow.
        classes, _ = pd.factorize(classes * (len(values) + 1) + codes)
    return classes


def k_anonymity(table: pd.DataFrame, quasi_identifiers: Sequence[Hashable]) -> int:
    """Measure k-anonymity: the number of rows in the smallest class.

    Source: Latanya Sweeney, "k-Anonymity: A Model for Protecting Privacy" (2002).

    Args:
        table: One row a person.
        quasi_identifiers: The columns an attacker may know.

    Returns:
        The largest k for which the table is k-anonymous; 1 if someone is unique.

    Raises:
        ValueError: The table is empty, no column is given, or one is unknown or given twice.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    return int(np.bincount(equivalence_classes(table, columns)).min())


def uniqueness(table: pd.DataFrame, columns: Sequence[Hashable]) -> float:
    """Measure the share of rows that no other row agrees with.

    Source: Latanya Sweeney, "Simple Demographics Often Identify People Uniquely" (2000).

    Args:
        table: One row a person.
        columns: The columns an attacker may know.

    Returns:
        A share of the rows, from 0 (nobody is unique) to 1 (everybody is).

    Raises:
        ValueError: The table is empty, no column is given, or one is unknown or given twice.
    """
    sizes = np.bincount(equivalence_classes(table, columns))
    return float((sizes == 1).sum() / len(table))


def l_diversity(
    table: pd.DataFrame,
    quasi_identifiers: Sequence[Hashable],
    sensitive: Hashable,
    kind: Literal["distinct", "entropy"] = "distinct",
) -> int | float:
    """Measure l-diversity: how varied the sensitive values are in the least varied class.

    Source: Ashwin Machanavajjhala, Johannes Gehrke, Daniel Kifer and Muthuramakrishnan
    Venkitasubramaniam, "l-Diversity: Privacy Beyond k-Anonymity" (2007).

    Args:
        table: One row a person.
        quasi_identifiers: The columns an attacker may know.
        sensitive: The column that shall stay secret. A missing value counts as a value.
        kind: ``"distinct"`` counts the different values. ``"entropy"`` is exp(H) with H = -Σ p
            log p, the natural entropy of the class's values: the number of equally frequent
            values that would be as uncertain. pycanon cuts the same number down to a whole one.

    Returns:
        The largest l for which the table is l-diverse: an int for ``"distinct"``, a float of at
        least 1 for ``"entropy"``.

    Raises:
        ValueError: The table is empty, a column is unknown or has both roles, or ``kind`` is
            neither of the two.
    """
    if kind not in ("distinct", "entropy"):
        raise ValueError(f"kind is {kind!r}; choose 'distinct' or 'entropy'.")
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    _check_sensitive(table, columns, sensitive)
    classes = equivalence_classes(table, columns)
    pairs = _count_pairs(classes, equivalence_classes(table, [sensitive]))
    if kind == "distinct":
        return int(np.bincount(pairs.groups).min())
    share = pairs.counts / np.bincount(classes)[pairs.groups]
    return float(np.exp(np.bincount(pairs.groups, -share * np.log(share)).min()))


def t_closeness(
    table: pd.DataFrame, quasi_identifiers: Sequence[Hashable], sensitive: Hashable
) -> float:
    """Measure t-closeness: how far the sensitive values of a class stray from the whole table's.

    The distance is the earth mover's: the least mass times way that turns one distribution into
    the other. Between values without an order every way has length 1. Between ordered values
    (numbers, dates, ordered categories) the way counts the steps from value to value, divided by
    the number of steps from the first value to the last; how far apart two neighbouring numbers
    lie plays no part.

    Source: Ninghui Li, Tiancheng Li and Suresh Venkatasubramanian, "t-Closeness: Privacy Beyond
    k-Anonymity and l-Diversity" (2007).

    Args:
        table: One row a person.
        quasi_identifiers: The columns an attacker may know.
        sensitive: The column that shall stay secret.

    Returns:
        The largest distance of any class, from 0 (all classes look like the table) to 1; the
        smallest t for which the table is t-close.

    Raises:
        ValueError: The table is empty, a column is unknown or has both roles, or a number in
            ``sensitive`` is missing or infinite.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    _check_sensitive(table, columns, sensitive)
    classes = equivalence_classes(table, columns)
    attribute = _Attribute.of(table, sensitive)
    pairs = _count_pairs(classes, attribute.codes)
    overall = np.bincount(attribute.codes)
    return float(_distances(pairs, overall, attribute.ordered, classes.max() + 1).max())


def information_loss(
    table: pd.DataFrame, quasi_identifiers: Sequence[Hashable], classes: np.ndarray
) -> float:
    """Measure what generalising loses: the normalised certainty penalty (NCP).

    A number (or date) costs the range of its class over the range of the table; any other value
    costs the number of different values in its class over that in the table, and nothing if it
    is the only one. The loss is the mean over all cells of the quasi-identifiers.

    Source: Jian Xu, Wei Wang, Jian Pei, Xiaoyuan Wang, Baile Shi and Ada Wai-Chee Fu,
    "Utility-Based Anonymization Using Local Recoding" (2006).

    Args:
        table: The original table, not its release.
        quasi_identifiers: The generalised columns.
        classes: Integers of shape (rows,), from :func:`mondrian`, or from
            :func:`equivalence_classes` of a release with the same rows.

    Returns:
        From 0 (nothing is lost) to 1 (every cell could be any value of its column).

    Raises:
        ValueError: The table is empty, a column is unknown, a number is missing or infinite, or
            ``classes`` is not one integer a row.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    groups = _checked_classes(table, classes)
    sizes = np.bincount(groups)
    attributes = [_Attribute.of(table, column) for column in columns]
    penalties = sum(
        attribute.penalties(_count_pairs(groups, attribute.codes), len(sizes))
        for attribute in attributes
    )
    return float(penalties @ sizes / (len(table) * len(columns)))


# -------------------------------------------------------------------------------- reaching


def mondrian(
    table: pd.DataFrame,
    quasi_identifiers: Sequence[Hashable],
    k: int,
    *,
    sensitive: Hashable | None = None,
    l: int = 1,
    t: float = 1.0,
) -> np.ndarray:
    """Part the rows into classes of at least k that lose little information (Mondrian).

    The whole table starts as one class. Again and again, every class is cut in two along one
    quasi-identifier, as long as both halves keep at least k rows, l different sensitive values
    and t-closeness. The partition is *strict*: equal rows always stay together, so a person's
    class depends on their values alone, not on their place in the table.

    Where LeFevre et al. cut the widest column at its median, this takes, in each column, the cut
    that narrows that column most, and of these the one after which the two halves lose least by
    :func:`information_loss`. Numbers, dates and ordered categories are cut in their order; other
    values stand in the order of their frequency in the class, so that a cut parts the common
    from the rare.

    Source: Kristen LeFevre, David DeWitt and Raghu Ramakrishnan, "Mondrian Multidimensional
    K-Anonymity" (2006).

    Args:
        table: One row a person.
        quasi_identifiers: The columns an attacker may know. Missing values are allowed except in
            numbers and dates.
        k: Smallest number of rows in a class.
        sensitive: The column that ``l`` and ``t`` speak of.
        l: Smallest number of different sensitive values in a class.
        t: Largest distance of a class, as in :func:`t_closeness`; 1 allows any.

    Returns:
        Integers of shape (rows,): the class of each row, numbered from 0 in the order of first
        appearance. The same rows always give the same classes, in whatever order they come.

    Raises:
        ValueError: The table is empty, a column is unknown or has both roles, a number is
            missing or infinite, ``k``, ``l`` or ``t`` is out of range or out of reach, or ``l``
            or ``t`` comes without ``sensitive``.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    rule = _checked_rule(table, columns, k, sensitive, l, t)

    # Equal rows never part, so each set of them is one point with a weight. A table has far fewer
    # points than rows: a million people in Adult's columns are some 15,000 points.
    roles = columns if sensitive is None else [*columns, sensitive]
    point_of_row = equivalence_classes(table, roles)
    row_of_point = np.unique(point_of_row, return_index=True)[1]
    weights = np.bincount(point_of_row)
    attributes = [_Attribute.of(table, column).at(row_of_point) for column in columns]
    rule = rule.at(row_of_point)

    # All classes are cut at once, level by level. The left half of a class keeps its number, the
    # right half takes a new one; the points of a class without a cut leave the loop.
    classes = np.zeros(len(weights), dtype=np.int64)
    uncut = np.arange(len(weights))
    while len(uncut):
        groups = np.unique(classes[uncut], return_inverse=True)[1]
        is_cut, right = _cut_groups(
            groups, weights[uncut], [a.at(uncut) for a in attributes], rule.at(uncut)
        )
        new_numbers = classes.max() + np.cumsum(is_cut)
        moves = is_cut[groups] & right
        classes[uncut[moves]] = new_numbers[groups[moves]]
        uncut = uncut[is_cut[groups]]
    return pd.factorize(classes[point_of_row])[0]


def generalise(
    table: pd.DataFrame, quasi_identifiers: Sequence[Hashable], classes: np.ndarray
) -> pd.DataFrame:
    """Replace each quasi-identifier by what all rows of its class share.

    A number or date becomes the range of the class, ``"25–29"``, or ``"27"`` if there is but
    one. Any other value becomes the sorted values of the class, ``"Bachelors | Masters"``, or
    ``"*"`` if they are all that the table has. Classes that get the same text become one, which
    can only raise k.

    Args:
        table: One row a person.
        quasi_identifiers: The columns to replace.
        classes: Integers of shape (rows,), from :func:`mondrian` for example.

    Returns:
        A copy of the table with the same index, row order and columns, in which the
        quasi-identifiers are text.

    Raises:
        ValueError: The table is empty, a column is unknown, a number is missing or infinite, or
            ``classes`` is not one integer a row.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    groups = _checked_classes(table, classes)
    release = table.copy()
    for column in columns:
        release[column] = _Attribute.of(table, column).texts(groups)[groups]
    return release


def suppress_small_classes(
    table: pd.DataFrame, quasi_identifiers: Sequence[Hashable], k: int
) -> pd.DataFrame:
    """Leave out the rows of all classes that are smaller than k.

    Source: Latanya Sweeney, "Achieving k-Anonymity Privacy Protection Using Generalization and
    Suppression" (2002).

    Args:
        table: One row a person.
        quasi_identifiers: The columns an attacker may know.
        k: Smallest number of rows in a class that stays.

    Returns:
        A copy of the rows that stay, in their order, with their index; none if every class is
        smaller than k.

    Raises:
        ValueError: The table is empty, a column is unknown, or ``k`` is not a whole number from
            1 to the number of rows.
    """
    columns = _checked_columns(table, "quasi_identifiers", quasi_identifiers)
    _check_whole_number("k", k, len(table), "the number of rows")
    classes = equivalence_classes(table, columns)
    return table[np.bincount(classes)[classes] >= k].copy()


# --------------------------------------------------------------------- what all of them use


@dataclass(frozen=True)
class _Pairs:
    """The pairs (group, code) that occur, sorted by group and then by code.

    Attributes:
        groups: Shape (pairs,).
        codes: Shape (pairs,).
        counts: Shape (pairs,): the rows with this pair.
        pair_of_row: Shape (rows,): the place of each row's pair; None in a :meth:`part`.
    """

    groups: np.ndarray
    codes: np.ndarray
    counts: np.ndarray
    pair_of_row: np.ndarray | None = None

    @cached_property
    def first(self) -> np.ndarray:
        """Where each group that occurs begins, shape (groups,)."""
        return np.flatnonzero(np.diff(self.groups, prepend=-1))

    @cached_property
    def last(self) -> np.ndarray:
        """Where each group that occurs ends, shape (groups,)."""
        return np.flatnonzero(np.diff(self.groups, append=-1))

    def part(self, weights: np.ndarray) -> _Pairs:
        """Count the rows anew, with other weights; pairs that are left without weight go."""
        counts = np.bincount(self.pair_of_row, weights)
        occurs = counts > 0
        return _Pairs(self.groups[occurs], self.codes[occurs], counts[occurs])


def _count_pairs(
    groups: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None
) -> _Pairs:
    """Count the rows of each pair (group, code); a row counts ``weights`` times."""
    n_codes = codes.max() + 1
    keys, pair_of_row = np.unique(groups * n_codes + codes, return_inverse=True)
    counts = np.bincount(pair_of_row, weights)
    return _Pairs(keys // n_codes, keys % n_codes, counts, pair_of_row)


def _distances(pairs: _Pairs, overall: np.ndarray, ordered: bool, n_groups: int) -> np.ndarray:
    """Return the earth mover's distance between each group's values and all values.

    Args:
        pairs: Groups 0, 1, 2, … and the codes of their values.
        overall: How often each code occurs in the whole table.
        ordered: Whether the way between two values is their difference in rank, or always 1.
        n_groups: The number of groups; those without rows have the distance 0.
    """
    sizes = np.bincount(pairs.groups, pairs.counts)
    if not ordered:
        # All mass that the group has too much of has to move, each over a way of length 1.
        surplus = pairs.counts / sizes[pairs.groups] - overall[pairs.codes] / overall.sum()
        return np.bincount(pairs.groups, np.maximum(surplus, 0), n_groups).round(12)

    # Over the step from rank i to rank i + 1 moves |Q_i - P_i|, the difference of the cumulated
    # shares of the group and of the table. Q only changes at a value of the group: between two
    # of them it is compared with a stretch of P at once. P rises, so that it lies below Q in the
    # first part of the stretch and above in the rest, and `area` holds its partial sums.
    cumulated = np.cumsum(overall)[:-1] / overall.sum()
    area = np.append(0, np.cumsum(cumulated))
    share = _running_sum(pairs) / sizes[pairs.groups]
    start, stop = pairs.codes, np.roll(pairs.codes, -1)
    stop[pairs.last] = len(cumulated)
    middle = np.clip(np.searchsorted(cumulated, share), start, stop)
    below = share * (middle - start) - (area[middle] - area[start])
    above = (area[stop] - area[middle]) - share * (stop - middle)
    before = np.zeros(len(start))  # up to the first value of a group, where Q is 0
    before[pairs.first] = area[start[pairs.first]]
    moved = np.bincount(pairs.groups, before + below + above, n_groups)
    return (moved / max(len(cumulated), 1)).round(12)


def _running_sum(pairs: _Pairs) -> np.ndarray:
    """Add up the counts of each group from its first pair on; shape (pairs,)."""
    total = np.cumsum(pairs.counts)
    before = (total - pairs.counts)[pairs.first]
    return total - np.repeat(before, pairs.last - pairs.first + 1)


@dataclass(frozen=True)
class _Attribute:
    """A column as codes: the rank of each value among the different values of the table.

    Attributes:
        codes: Shape (rows,), from 0 to len(values) - 1.
        values: The different values, sorted; a missing one is the last.
        numbers: The values as floats, shape (values,); None if they are not numbers or dates.
        ordered: Whether the order of the values has a meaning.
    """

    codes: np.ndarray
    values: pd.Index
    numbers: np.ndarray | None
    ordered: bool

    @classmethod
    def of(cls, table: pd.DataFrame, column: Hashable) -> _Attribute:
        """Code a column of a table."""
        codes, values = pd.factorize(table[column], sort=True)
        dtype = table[column].dtype
        missing = codes < 0
        is_date = types.is_datetime64_any_dtype(dtype)
        if is_date or (types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype)):
            numbers = np.asarray(values.astype("int64") if is_date else values, dtype=float)
            if missing.any() or not np.isfinite(numbers).all():
                raise ValueError(
                    f"column {column!r} has missing or infinite numbers, which lie in no range; "
                    "fill them in, drop their rows, or make categories of the column (pd.cut)."
                )
            return cls(codes, values, numbers, ordered=True)
        if missing.any():
            codes = np.where(missing, len(values), codes)
            values = values.astype(object).append(pd.Index([np.nan], dtype=object))
        return cls(codes, values, None, ordered=getattr(dtype, "ordered", False))

    def at(self, rows: np.ndarray) -> _Attribute:
        """Keep some rows, with the codes that they have in the whole table."""
        return replace(self, codes=self.codes[rows])

    def penalty(self, low: np.ndarray, high: np.ndarray, n_values: np.ndarray) -> np.ndarray:
        """Return the certainty penalty of sets of values, by lowest code, highest code, number."""
        if self.numbers is None:
            return np.where(n_values > 1, n_values / len(self.values), 0.0)
        return (self.numbers[high] - self.numbers[low]) / (np.ptp(self.numbers) or 1.0)

    def penalties(self, pairs: _Pairs, n_groups: int) -> np.ndarray:
        """Return the certainty penalty of the groups 0, 1, 2, …; 0 for a group without rows."""
        first, last = pairs.first, pairs.last
        penalties = np.zeros(n_groups)
        penalties[pairs.groups[first]] = self.penalty(
            pairs.codes[first], pairs.codes[last], last - first + 1
        )
        return penalties

    def texts(self, groups: np.ndarray) -> np.ndarray:
        """Return what the rows of each of the groups 0, 1, 2, … share, as text."""
        pairs = _count_pairs(groups, self.codes)
        first, last = pairs.first, pairs.last
        if self.numbers is not None:
            low, high = self.values[pairs.codes[first]], self.values[pairs.codes[last]]
            return np.array([_range_text(*ends) for ends in zip(low, high, strict=True)], object)
        members = np.array([_text(value) for value in self.values], object)[pairs.codes].tolist()
        slices = zip(first, last + 1, strict=True)
        texts = np.array([" | ".join(members[begin:end]) for begin, end in slices], object)
        texts[(last > first) & (last - first + 1 == len(self.values))] = "*"
        return texts


def _range_text(low: Any, high: Any) -> str:
    """Write a range, or its only value."""
    return _text(low) if low == high else f"{_text(low)}–{_text(high)}"


def _text(value: Any) -> str:
    """Write a value without needless digits: 27 for 27.0, 2026-11-23 for midnight of that day."""
    if isinstance(value, float | np.floating):
        return "NaN" if np.isnan(value) else np.format_float_positional(value, trim="-")
    if isinstance(value, pd.Timestamp):
        return str(value).removesuffix(" 00:00:00")
    return str(value)


# ------------------------------------------------------------------------ one step of Mondrian


@dataclass(frozen=True)
class _Rule:
    """What a class has to keep: k rows, l different sensitive values, and t-closeness.

    Attributes:
        k: Smallest number of rows.
        l: Smallest number of different sensitive values.
        t: Largest distance to the whole table.
        sensitive: The sensitive column; None if l and t demand nothing.
        overall: How often each sensitive value occurs in the whole table.
    """

    k: int
    l: int = 1
    t: float = 1.0
    sensitive: _Attribute | None = None
    overall: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> _Rule:
        """Keep some rows only."""
        return self if self.sensitive is None else replace(self, sensitive=self.sensitive.at(rows))

    def holds(self, sizes: np.ndarray, pairs: _Pairs | None) -> np.ndarray:
        """Return which groups keep the rule.

        Args:
            sizes: Rows in the groups 0, 1, 2, …, shape (groups,).
            pairs: The groups' sensitive values, if the rule has a sensitive column.
        """
        kept = sizes >= self.k
        if self.sensitive is not None:
            kept &= np.bincount(pairs.groups, minlength=len(sizes)) >= self.l
            distances = _distances(pairs, self.overall, self.sensitive.ordered, len(sizes))
            kept &= distances <= self.t
        return kept


def _cut_groups(
    groups: np.ndarray, weights: np.ndarray, attributes: list[_Attribute], rule: _Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Cut each group in two such that both halves keep the rule and lose least information.

    Args:
        groups: Shape (points,): 0, 1, 2, …, none of them empty.
        weights: Shape (points,): the rows that each point stands for.
        attributes: The quasi-identifiers of the points.
        rule: What both halves have to keep.

    Returns:
        Whether there is such a cut, shape (groups,), and which points then lie in the right half,
        shape (points,).
    """
    n_groups = groups.max() + 1
    tallies = [_count_pairs(groups, attribute.codes, weights) for attribute in attributes]
    secrets = None if rule.sensitive is None else _count_pairs(groups, rule.sensitive.codes)

    def loss_of(half: np.ndarray) -> np.ndarray:
        """Return what one half of each group loses, infinite if it breaks the rule."""
        sizes = np.bincount(groups, half)
        penalties = sum(
            attribute.penalties(pairs.part(half), n_groups)
            for attribute, pairs in zip(attributes, tallies, strict=True)
        )
        kept = rule.holds(sizes, None if secrets is None else secrets.part(half))
        return np.where(kept, sizes * penalties, np.inf)

    least_loss = np.full(n_groups, np.inf)
    right = np.zeros(len(groups), dtype=bool)
    for attribute, pairs in zip(attributes, tallies, strict=True):
        candidate = _right_pairs(attribute, pairs, rule.k)[pairs.pair_of_row]
        loss = loss_of(weights * ~candidate) + loss_of(weights * candidate)
        better = loss < least_loss
        least_loss[better] = loss[better]
        right = np.where(better[groups], candidate, right)
    return np.isfinite(least_loss), right


def _right_pairs(attribute: _Attribute, pairs: _Pairs, k: int) -> np.ndarray:
    """Cut each group along one column, and tell which of its values fall into the right half.

    The cut is the one after which this column loses least, of those that leave k rows on both
    sides. A group without such a cut is cut anywhere: one of its halves then breaks the rule.

    Args:
        attribute: The column.
        pairs: How often its values occur in the groups 0, 1, 2, …, none of them empty.
        k: Smallest number of rows in a half.

    Returns:
        Whether a pair falls into the right half of its group, shape (pairs,).
    """
    # Values without an order stand by their frequency in the group, so that a cut parts the common
    # from the rare. On Adult (k = 10) the order of the alphabet loses a third more.
    order = np.arange(len(pairs.codes))
    if not attribute.ordered:
        order = np.lexsort((pairs.codes, -pairs.counts, pairs.groups))
    codes, counts = pairs.codes[order], pairs.counts[order]

    # All cuts at once, one behind each value of a group: `begin` … `here` are the values left of
    # it, `behind` … `end` those right of it.
    begin, end = pairs.first[pairs.groups], pairs.last[pairs.groups]
    here = np.arange(len(codes))
    behind = np.minimum(here + 1, end)
    total = np.cumsum(counts)
    left = total - (total - counts)[begin]
    right = total[end] - total
    loss = left * attribute.penalty(codes[begin], codes[here], here - begin + 1)
    loss += right * attribute.penalty(codes[behind], codes[end], end - here)
    loss[(left < k) | (right < k)] = np.inf

    least = np.minimum.reduceat(loss, pairs.first)[pairs.groups]
    cut = np.minimum.reduceat(np.where(loss == least, here, len(here)), pairs.first)
    is_right = np.empty(len(order), dtype=bool)
    is_right[order] = here > cut[pairs.groups]
    return is_right


# ------------------------------------------------------------------------- checks of the input


def _checked_columns(table: pd.DataFrame, argument: str, columns: Sequence[Hashable]) -> list:
    """Return the columns as a list if the table has rows and each of them once."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"table is a {type(table).__name__}; it must be a pandas DataFrame.")
    if table.empty:
        raise ValueError(f"table is empty (shape {table.shape}); it needs a row and a column.")
    if isinstance(columns, str):
        raise ValueError(f"{argument} is the text {columns!r}; write a list: [{columns!r}].")
    columns = list(columns)
    if not columns:
        raise ValueError(f"{argument} is empty; name at least one column of {list(table)}.")
    for column in columns:
        _check_known(table, argument, column)
    repeated = [column for column in columns if columns.count(column) > 1]
    if repeated:
        raise ValueError(f"{argument} names {repeated[0]!r} twice; name each column once.")
    return columns


def _check_known(table: pd.DataFrame, argument: str, column: Hashable) -> None:
    """Raise unless the table has exactly one column of this name."""
    found = list(table).count(column)
    if found == 0:
        raise ValueError(f"{argument}: there is no column {column!r}; choose from {list(table)}.")
    if found > 1:
        raise ValueError(f"{argument}: the table has {found} columns {column!r}; rename them.")


def _check_sensitive(table: pd.DataFrame, quasi_identifiers: list, sensitive: Hashable) -> None:
    """Raise unless the sensitive column is in the table and no quasi-identifier."""
    _check_known(table, "sensitive", sensitive)
    if sensitive in quasi_identifiers:
        raise ValueError(
            f"sensitive is {sensitive!r}, which is among the quasi_identifiers too; an attacker "
            "either knows a column or wants to learn it: take it out of one of them."
        )


def _check_whole_number(argument: str, number: Any, largest: int, meaning: str) -> None:
    """Raise unless a number is a whole one from 1 to the largest that the table can reach."""
    is_whole = isinstance(number, Integral) and not isinstance(number, bool)
    if not is_whole or not 1 <= number <= largest:
        raise ValueError(
            f"{argument} is {number!r}; it must be a whole number from 1 to {largest}, {meaning}."
        )


def _checked_rule(
    table: pd.DataFrame,
    quasi_identifiers: list,
    k: int,
    sensitive: Hashable | None,
    l: int,
    t: float,
) -> _Rule:
    """Return the rule of a partition if k, l and t are in range and within reach."""
    _check_whole_number("k", k, len(table), "the number of rows")
    if not isinstance(t, Real) or isinstance(t, bool) or not 0 <= t <= 1:
        raise ValueError(f"t is {t!r}; it must be a number from 0 (strictest) to 1 (no limit).")
    if sensitive is None:
        if l != 1 or t != 1:
            raise ValueError(
                f"l = {l!r} and t = {t!r} ask for protection of a sensitive column, but sensitive "
                "is None; name the column, or leave both at 1."
            )
        return _Rule(k)
    _check_sensitive(table, quasi_identifiers, sensitive)
    attribute = _Attribute.of(table, sensitive)
    meaning = f"the number of different values in {sensitive!r}"
    _check_whole_number("l", l, len(attribute.values), meaning)
    return _Rule(k, l, t, attribute, np.bincount(attribute.codes)) if l > 1 or t < 1 else _Rule(k)


def _checked_classes(table: pd.DataFrame, classes: np.ndarray) -> np.ndarray:
    """Return classes renumbered to 0, 1, 2, … if they are one integer a row."""
    classes = np.asarray(classes)
    if classes.shape != (len(table),) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"classes has shape {classes.shape} and type {classes.dtype}; it must be one integer "
            f"for each of the table's {len(table)} rows, as mondrian(table, …) returns it."
        )
    return pd.factorize(classes)[0]
