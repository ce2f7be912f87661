"""Attacks on tables without names: linking them to a register, and reversing pseudonyms."""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class LinkageReport:
    """What a linkage attack achieved.

    Attributes:
        targets: Records attacked.
        claims: Records for which exactly one person of the register fits: the attacker names them.
        correct: Claims that name the right person.
    """

    targets: int
    claims: int
    correct: int

    @property
    def precision(self) -> float:
        """Share of the claims that are right (0 where nothing is claimed)."""
        return self.correct / self.claims if self.claims else 0.0

    @property
    def recall(self) -> float:
        """Share of all attacked records that are named rightly."""
        return self.correct / self.targets

    def __str__(self) -> str:
        named = self.claims / self.targets
        return (
            f"{self.claims:,} of {self.targets:,} records named ({named:.1%}), "
            f"{self.correct:,} of them rightly: "
            f"precision {self.precision:.1%}, recall {self.recall:.1%}"
        )


def link(
    released: pd.DataFrame, register: pd.DataFrame, on: Sequence[str], person: str = "person"
) -> LinkageReport:
    """Link a table without names to a register of names, and count what is right.

    The attacker names a record when exactly one entry of the register has the same values in the
    columns ``on``. The column ``person`` is the truth that only the referee knows: it is never
    used to link.

    Args:
        released: The attacked table, with the columns ``on`` and ``person``.
        register: What the attacker holds, with the same columns.
        on: The columns to link by.
        person: The column that identifies a person in both tables.

    Raises:
        ValueError: A column is missing, ``on`` is empty or holds ``person``, or a table is empty.
    """
    on = list(on)
    if not on or person in on:
        raise ValueError(f"on must name at least one column and not {person!r}, got {on}")
    for name, table in (("released", released), ("register", register)):
        missing = [column for column in [*on, person] if column not in table.columns]
        if missing:
            raise ValueError(f"{name} has no column {missing}; it has {list(table.columns)}")
        if table.empty:
            raise ValueError(f"{name} has no rows")
    alone = register.drop_duplicates(on, keep=False)
    claims = released[[*on, person]].merge(
        alone[[*on, person]], on=on, suffixes=("_true", "_claimed")
    )
    correct = int((claims[f"{person}_true"] == claims[f"{person}_claimed"]).sum())
    return LinkageReport(len(released), len(claims), correct)


def _hash(name: str) -> Callable[[str], str]:
    return lambda text: hashlib.new(name, text.encode()).hexdigest()


#: What an attacker tries first on a column of pseudonyms: functions anybody can compute.
USUAL_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "the identifier itself": str,
    "the identifier reversed": lambda text: text[::-1],
    "Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "CRC-32": lambda text: f"{zlib.crc32(text.encode()):08x}",
    **{
        label: _hash(name)
        for label, name in {
            "MD5": "md5",
            "SHA-1": "sha1",
            "SHA-256": "sha256",
            "SHA-512": "sha512",
            "SHA3-256": "sha3_256",
            "BLAKE2b": "blake2b",
        }.items()
    },
}


@dataclass(frozen=True)
class DictionaryReport:
    """What a dictionary attack achieved.

    Attributes:
        function: The function that reversed the most pseudonyms, or ``None``.
        reversed: How many pseudonyms it reversed to the right identifier.
        targets: Pseudonyms attacked.
    """

    function: str | None
    reversed: int
    targets: int

    def __str__(self) -> str:
        if not self.reversed:
            return f"none of {self.targets:,} pseudonyms reversed"
        share = self.reversed / self.targets
        return f"{self.reversed:,} of {self.targets:,} ({share:.1%}) reversed with {self.function}"


def dictionary_attack(
    pseudonyms: Sequence[str],
    identifiers: Sequence[str],
    candidates: Iterable[str],
    functions: dict[str, Callable[[str], str]] = USUAL_FUNCTIONS,
) -> DictionaryReport:
    """Try to reverse pseudonyms by computing those of every possible identifier.

    A pseudonym also counts as reversed when it is only the beginning (8 characters or more) of
    what a function gives, because many systems cut their hashes.

    Args:
        pseudonyms: The released column.
        identifiers: The true identifiers in the same order; only the referee knows them.
        candidates: Every identifier there can be.
        functions: What to try, by name.

    Raises:
        ValueError: The two columns differ in length or are empty.
    """
    pseudonyms = [str(pseudonym) for pseudonym in pseudonyms]
    identifiers = [str(identifier) for identifier in identifiers]
    if not pseudonyms or len(pseudonyms) != len(identifiers):
        raise ValueError(
            "pseudonyms and identifiers must be equally long and not empty, "
            f"got {len(pseudonyms)} and {len(identifiers)}"
        )
    candidates = [str(candidate) for candidate in candidates]
    lengths = {len(pseudonym) for pseudonym in pseudonyms if len(pseudonym) >= 8}
    best = DictionaryReport(None, 0, len(pseudonyms))
    for name, function in functions.items():
        images = [function(candidate) for candidate in candidates]
        table = dict(zip(images, candidates, strict=True))
        for length in lengths - {len(images[0])}:
            table |= {image[:length]: c for image, c in zip(images, candidates, strict=True)}
        hits = sum(
            table.get(p.lower(), table.get(p)) == i
            for p, i in zip(pseudonyms, identifiers, strict=True)
        )
        if hits > best.reversed:
            best = DictionaryReport(name, hits, len(pseudonyms))
    return best
