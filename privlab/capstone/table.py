"""The planning table, and the attack that links it to a register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .case import CANDIDATES, Case
from .design import Design, Unusable, guarded
from .report import Finding

_COLUMNS = ("name", "patient", "age", "sex", "hospital", "chol", "ill")
#: What the researcher needs.
PLANNED = ("age", "sex", "hospital", "ill")


def _released(design: Design, rows: list[dict]) -> list[Mapping | None]:
    """Return the table, one entry a patient."""
    table = guarded("desensitise", lambda: design.desensitise([dict(row) for row in rows]))
    if not isinstance(table, list | tuple) or len(table) != len(rows):
        raise Unusable("`desensitise` must return a list with one entry a row (None: left out).")
    first = next((row for row in table if row is not None), {})
    for row in table:
        if row is None:
            continue
        if not isinstance(row, Mapping):
            raise Unusable(f"`desensitise`: a row is a dict or None, not a {type(row).__name__}.")
        missing = set(PLANNED) - set(row)
        unknown = set(row) - set(_COLUMNS)
        if missing or unknown or set(row) != set(first):
            raise Unusable(
                "`desensitise`: every row has the columns age, sex, hospital and ill; one has "
                f"{sorted(map(str, row))}."
            )
    return list(table)


def _group(row: Mapping | None) -> tuple | None:
    """Return what a released row shows beside the diagnosis, also by types and order of columns."""
    if row is None:
        return None
    columns = [column for column in row if column not in ("name", "patient")]
    return (*columns, *(repr(row[column]) for column in columns if column != "ill"))


def _open(case: Case, kept: list[Mapping], owners: np.ndarray, column: str) -> np.ndarray:
    """Return how much each released value leaves open, from 0 (exact) to 1 (anything).

    An age that was released for the ages 41 and 48 is read as "41 to 48".
    """
    known = np.array([row[column] for row in case.rows])
    if column != "age":
        known = np.unique(known, return_inverse=True)[1]
    values, loss = np.array([repr(row[column]) for row in kept]), np.zeros(len(kept))
    for value in np.unique(values):
        rows = np.flatnonzero(values == value)
        seen = np.unique(known[owners[rows]])
        whole = np.ptp(known) if column == "age" else len(np.unique(known)) - 1
        loss[rows] = (np.ptp(seen) if column == "age" else len(seen) - 1) / whole
    return loss


def _differences(first: list, second: list) -> int:
    return sum(one != two for one, two in zip(first, second, strict=True))


def _dependence(design: Design, case: Case, table: list[Mapping | None]) -> tuple[int, dict]:
    """Make the table again of changed patients, and count what changes in it.

    Who knows how a table is made learns from every choice that looks at a secret, also from the
    choice of whom to leave out (Raymond Wong and others, "Minimality attack in privacy preserving
    data publishing", 2007). A choice that does not change with the secret tells nothing of it.

    Returns:
        Patients whose group, or whose being left out, depends on diagnoses; and, by column, the
        rows that depend on names or on cholesterol.
    """
    rng, groups = np.random.default_rng(0), [_group(row) for row in table]

    def again(column: str, values: list) -> list[Mapping | None]:
        changed = zip(case.rows, values, strict=True)
        return _released(design, [row | {column: value} for row, value in changed])

    def exchanged(column: str) -> list:
        return [case.rows[place][column] for place in rng.permutation(len(case.rows))]

    # Exchanged at random, turned round, and of one kind: groups of one diagnosis come and go.
    diagnoses = [
        exchanged("ill"),
        [not row["ill"] for row in case.rows],
        [True] * len(case.rows),
        [False] * len(case.rows),
    ]
    changes = (
        _differences(groups, [_group(row) for row in again("ill", values)]) for values in diagnoses
    )
    telling = next(filter(None, changes), 0)

    def planned(made: list[Mapping | None]) -> list[tuple | None]:
        # A released name or cholesterol is counted by itself.
        return [
            row and (*(c for c in row if c in PLANNED), *(repr(row[c]) for c in PLANNED))
            for row in made
        ]

    hidden = {
        column: _differences(planned(table), planned(again(column, exchanged(column))))
        for column in ("name", "chol")
    }
    depends = telling or any(hidden.values())
    if depends and planned(_released(design, case.rows)) != planned(table):
        raise Unusable(
            "`desensitise` makes another table of the same rows each time: groups and gaps must "
            "not depend on chance, or nobody can check what they tell."
        )
    return telling, hidden


@dataclass(frozen=True)
class Exposure:
    """What a register tells about the rows of a planning table.

    A *group* are the rows that look alike but for the diagnosis.

    Attributes:
        columns: The columns of the table.
        rows: Patients in it.
        named: Rows whose name stands in the table, or whose pseudonym a usual hash makes.
        few: Rows in groups of fewer than :data:`CANDIDATES`.
        certain: Patients whose whole group has their diagnosis.
        telling: Patients whose group, or whose being left out, depends on diagnoses.
        hidden: Rows that change with ``"name"`` or ``"chol"`` of the patients, by column.
        changed: Rows with another diagnosis than the patient's.
        share: Part of the rows exposed in any of these ways.
        utility: 1 minus the mean of what the values leave open, from 0 to 1.
    """

    columns: tuple[str, ...] = ()
    rows: int = 0
    named: int = 0
    few: int = 0
    certain: int = 0
    telling: int = 0
    hidden: Mapping[str, int] = field(default_factory=dict)
    changed: int = 0
    share: float = 0.0
    utility: float = 0.0


def expose(design: Design, case: Case) -> Exposure:
    """Link a design's planning table to a register of all patients: name, age, sex, hospital.

    The attacker knows how the table is made, so the group of every patient of the register. If the
    table has cholesterol, the attacker knows that as well. The utility is after Vijay Iyengar,
    "Transforming data to satisfy privacy constraints" (2002), over age, sex and hospital; a row
    that is left out, or has another diagnosis, counts as worthless.

    Raises:
        Unusable: ``desensitise`` does not return a table, or each time another one.
    """
    from ..attacks.linkage import dictionary_attack

    table = _released(design, case.rows)
    owners = np.flatnonzero([row is not None for row in table])
    kept = [table[owner] for owner in owners]
    if not kept:
        return Exposure()
    names, named = [case.rows[owner]["name"] for owner in owners], 0
    for column in {"name", "patient"} & set(kept[0]):
        pseudonyms = [str(row[column]) for row in kept]
        found = dictionary_attack(pseudonyms, names, {row["name"] for row in case.rows})
        named = max(named, found.reversed)
    if "patient" in kept[0] and not named:
        raise Unusable("`desensitise`: the researcher needs no pseudonym; leave `patient` out.")
    if len({repr(row["ill"]) for row in kept}) > 2:
        raise Unusable("`desensitise`: `ill` is written in several ways; the way tells something.")
    ill = np.array([case.rows[owner]["ill"] for owner in owners])
    # True, 1 and "True" are the same diagnosis.
    written = {True: ("True", "1", "1.0"), False: ("False", "0", "0.0")}
    diagnoses = zip(kept, ill.tolist(), strict=True)
    right = np.array([str(row["ill"]) in written[each] for row, each in diagnoses])
    labels = {group: number for number, group in enumerate(dict.fromkeys(map(_group, kept)))}
    mine = np.array([labels[_group(row)] for row in kept])
    sizes, sick = np.bincount(mine)[mine], np.bincount(mine, ill)[mine]
    few = sizes < CANDIDATES
    certain = ((sick == 0) | (sick == sizes)) & right
    telling, hidden = _dependence(design, case, table)
    losses = [_open(case, kept, owners, column) for column in ("age", "sex", "hospital")]
    exposed = (float((few | certain).mean()), named / len(kept))
    depends = max(telling, *hidden.values()) / len(case.rows)
    return Exposure(
        tuple(kept[0]),
        len(kept),
        named,
        int(few.sum()),
        int(certain.sum()),
        telling,
        hidden,
        int((~right).sum()),
        max(*exposed, depends),
        float(((1 - np.mean(losses, axis=0)) * right).sum() / len(case.rows)),
    )


def linkage_attack(design: Design, case: Case) -> tuple[Finding, float]:
    """Attack the planning table with a register; see :class:`Exposure`.

    Sources: Latanya Sweeney, "k-anonymity: a model for protecting privacy" (2002); Ashwin
    Machanavajjhala and others, "l-diversity: privacy beyond k-anonymity" (2007); Raymond Wong and
    others, "Minimality attack in privacy preserving data publishing" (2007).

    Returns:
        The finding, and the utility of the table.
    """
    found = expose(design, case)
    told = (
        f"Of {found.rows} rows, {found.named} give a name away, {found.few} fit fewer than "
        f"{CANDIDATES} patients, and for {found.certain} patients the diagnosis is certain."
    )
    if found.telling:
        told += f" Who is left out or grouped depends on diagnoses, for {found.telling} patients."
    for column, number in found.hidden.items():
        told += f" {number} rows hide something of `{column}`." if number else ""
    return Finding("linkage", found.share, 0.0, "share of rows exposed", told), found.utility
