"""Exercises of lesson 01: uniqueness, pseudonyms, generalisation, a guessed column."""

import base64
import contextlib
from functools import cache
from itertools import takewhile

import numpy as np
import pandas as pd

from ..anonymity import equivalence_classes
from ..attacks.linkage import dictionary_attack, link
from ..data import load_adult, load_zip_populations
from ..exercise import Answers, Exercise, Mistake, Wrong, column, number, table
from ..people import ages, hospital_table, make_town, voter_list

_OPEN = ["zip", "sex", "birth_date"]


@cache
def _cambridge(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return a town as large as Cambridge, Massachusetts, its patients and its voters."""
    rng = np.random.default_rng(seed)
    sizes = load_zip_populations().set_index("zip")["population"]
    town = make_town(sizes.loc["02138":"02142"].to_dict(), rng)
    return town, hospital_table(town, 5000, rng), voter_list(town, rng)


class UniqueShare(Exercise):
    """Measure how many people are alone with their values."""

    label = "1.1"
    title = "How many are alone?"
    kinds = {"unique_share": number}
    hints = (
        "Ask of each row: does any other row have the same values in these columns?",
        "DataFrame.duplicated(columns, keep=False) marks every row that has a twin.",
        "You want the share of rows without that mark: the mean of the opposite.",
    )
    reference = """
def unique_share(table, columns):
    return (~table.duplicated(columns, keep=False)).mean()
"""
    mistakes = (
        Mistake(
            "counts combinations",
            """
def unique_share(table, columns):
    return len(table[columns].drop_duplicates()) / len(table)
""",
            "how many different combinations",
        ),
        Mistake(
            "share of the combinations instead of the people",
            """
def unique_share(table, columns):
    sizes = table.groupby(columns, dropna=False).size()
    return (sizes == 1).mean()
""",
            "not by the number of combinations",
        ),
        Mistake(
            "the opposite",
            """
def unique_share(table, columns):
    return table.duplicated(columns, keep=False).mean()
""",
            "who are not alone",
        ),
        Mistake(
            "missing values dropped",
            """
def unique_share(table, columns):
    sizes = table.groupby(columns).size()
    return (sizes == 1).sum() / len(table)
""",
            "rows with a missing value",
        ),
        Mistake(
            "all columns instead of the given ones",
            """
def unique_share(table, columns):
    return (~table.duplicated(keep=False)).mean()
""",
            "all columns",
        ),
        Mistake(
            "a number of people, not a share",
            """
def unique_share(table, columns):
    return (~table.duplicated(columns, keep=False)).sum()
""",
            "between 0 and 1",
        ),
    )

    def _compare(self, answers: Answers, people: pd.DataFrame, columns: list[str]) -> None:
        got = answers.unique_share(people, columns)
        right = (~people.duplicated(columns, keep=False)).mean()
        if np.isclose(got, right):
            return
        told = f"On a table of {len(people)} people, {right:.1%} are alone; you say {got:.1%}."
        sizes = people.groupby(columns, dropna=False).size()
        known = people.dropna(subset=columns).groupby(columns).size()
        explained = (
            (
                len(sizes) / len(people),
                "That is how many different combinations there are: one "
                "that ten people share counts once, and so does a person alone.",
            ),
            (
                (sizes == 1).mean(),
                "Divide by the number of people, not by the number of combinations.",
            ),
            (1 - right, "That is the share of those who are not alone."),
            (
                (known == 1).sum() / len(people),
                "You lose rows with a missing value: groupby leaves them out unless dropna=False.",
            ),
            (
                (~people.duplicated(keep=False)).mean(),
                "You compare all columns, not only the given ones.",
            ),
        )
        if got > 1:
            raise Wrong(f"A share lies between 0 and 1, but you return {got:,.0f}.")
        for value, why in explained:
            if np.isclose(got, value):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)

    def _people(self, rng: np.random.Generator, rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "zip": rng.choice([f"021{n:02d}" for n in range(12)], rows),
                "age": rng.integers(18, 60, rows),
                "sex": rng.choice(["Female", "Male"], rows),
                "visit": rng.integers(1, 10**6, rows),
            }
        )

    def test_small(self, answers: Answers, rng: np.random.Generator) -> None:
        """Five people, two of them alone."""
        people = pd.DataFrame(
            {"zip": list("AAABC"), "age": [30, 30, 41, 41, 41], "visit": [1, 2, 3, 4, 5]}
        )
        self._compare(answers, people, ["zip", "age"])

    def test_town(self, answers: Answers, rng: np.random.Generator) -> None:
        """A random town."""
        self._compare(answers, self._people(rng, 800), ["zip", "age", "sex"])

    def test_missing(self, answers: Answers, rng: np.random.Generator) -> None:
        """A missing value is a value too: a person who has none may be alone with that."""
        people = self._people(rng, 800).astype({"age": float})
        # Twelve people on 24 combinations of ZIP code and sex: some are alone with their gap.
        people.loc[rng.choice(800, 12, replace=False), "age"] = np.nan
        people.loc[rng.choice(800, 12, replace=False), "zip"] = None
        self._compare(answers, people, ["zip", "age", "sex"])

    def test_cambridge(self, answers: Answers, rng: np.random.Generator) -> str:
        """The lesson's town."""
        town, _, _ = _cambridge(0)
        quarter = town[town["zip"] == "02140"]
        self._compare(answers, quarter[_OPEN], _OPEN)
        share = (~town.duplicated(_OPEN, keep=False)).mean()
        return f"In a town like the lesson's, {share:.1%} are alone with ZIP, sex and birth date."

    def hidden_towns(self, answers: Answers, rng: np.random.Generator) -> None:
        """More towns."""
        for rows in (1, 2, 50, 3000):
            self._compare(answers, self._people(rng, rows), ["zip", "age"])


class Pseudonyms(Exercise):
    """Replace identifiers so that a dictionary does not reverse them."""

    label = "1.2"
    title = "Pseudonyms that survive a dictionary"
    points = 2
    kinds = {"pseudonymise": column}
    hints = (
        "Anybody can compute a hash. What do you have that the attacker has not?",
        "The standard way to mix a key into a hash is HMAC: hmac.new(key, message, 'sha256').",
        "hmac.new(key, number.encode(), 'sha256').hexdigest() for each number, all of its digits.",
    )
    reference = """
import hmac

def pseudonymise(patient_numbers, key):
    return [hmac.new(key, number.encode(), "sha256").hexdigest() for number in patient_numbers]
"""
    mistakes = (
        Mistake(
            "a plain hash",
            """
import hashlib

def pseudonymise(patient_numbers, key):
    return [hashlib.sha256(number.encode()).hexdigest() for number in patient_numbers]
""",
            "reversed with SHA-256",
        ),
        Mistake(
            "a salt in the code, the key unused",
            """
import hashlib

def pseudonymise(patient_numbers, key):
    return [hashlib.sha256(b"pepper" + number.encode()).hexdigest() for number in patient_numbers]
""",
            "changes nothing",
        ),
        Mistake(
            "cut too short",
            """
import hmac

def pseudonymise(patient_numbers, key):
    return [hmac.new(key, n.encode(), "sha256").hexdigest()[:4] for n in patient_numbers]
""",
            "share a pseudonym",
        ),
        Mistake(
            "new random tokens at each call",
            """
import secrets

def pseudonymise(patient_numbers, key):
    return [secrets.token_hex(16) for number in patient_numbers]
""",
            "in one table",
        ),
        Mistake(
            "a token list made anew in each call",
            """
import secrets

def pseudonymise(patient_numbers, key):
    tokens = {number: secrets.token_hex(16) for number in patient_numbers}
    return [tokens[number] for number in patient_numbers]
""",
            "in two calls",
        ),
        Mistake(
            "Python's own hash()",
            """
def pseudonymise(patient_numbers, key):
    return [str(hash((number, key))) for number in patient_numbers]
""",
            "each time Python is started",
        ),
        Mistake(
            "numbered by appearance",
            """
def pseudonymise(patient_numbers, key):
    codes = {}
    return [codes.setdefault(n, f"{key.hex()[:32]}-{len(codes)}") for n in patient_numbers]
""",
            "which other patients",
        ),
        Mistake(
            "the key added to the number",
            """
def pseudonymise(patient_numbers, key):
    shift = int.from_bytes(key, "big")
    return [str(int(number[1:]) + shift) for number in patient_numbers]
""",
            "grow evenly",
        ),
        Mistake(
            "only the first byte of the key",
            """
import hmac

def pseudonymise(patient_numbers, key):
    return [hmac.new(key[:1], n.encode(), "sha256").hexdigest() for n in patient_numbers]
""",
            "makes no difference",
        ),
        Mistake(
            "the key published in front",
            """
import hmac

def pseudonymise(patient_numbers, key):
    return [key.hex() + hmac.new(key, n.encode(), "sha256").hexdigest() for n in patient_numbers]
""",
            "for all to read.",
        ),
    )

    @staticmethod
    def _numbers(rng: np.random.Generator) -> tuple[list[str], list[str]]:
        """Return patient numbers with repetitions, and every number there can be."""
        domain = [f"P{n:05d}" for n in range(20_000)]
        chosen = rng.choice(len(domain), 3000, replace=True)
        return [domain[n] for n in chosen], domain

    def test_consistent(self, answers: Answers, rng: np.random.Generator) -> None:
        """The same patient gets the same pseudonym, different patients different ones."""
        numbers, _ = self._numbers(rng)
        key = rng.bytes(32)
        first = answers.pseudonymise(numbers, key)
        if any(isinstance(pseudonym, bytes) for pseudonym in first):
            raise Wrong("Return texts, not bytes: hexdigest() instead of digest().")
        if len(first) != len(numbers):
            raise Wrong(f"{len(numbers):,} numbers went in, {len(first):,} pseudonyms came out.")
        if len(set(zip(numbers, first, strict=True))) > len(set(numbers)):
            raise Wrong(
                "The same patient gets different pseudonyms in one table: their visits can no "
                "longer be put together."
            )
        if list(first) != list(answers.pseudonymise(numbers, key)):
            raise Wrong(
                "The same patient gets different pseudonyms in two calls: next month's table will "
                "not fit. Derive the pseudonym from the number and the key alone."
            )
        text_key = key.hex()
        hashes = {
            str(hash(keyed))
            for n in numbers[:50]
            for keyed in ((n, key), (key, n), n + text_key, text_key + n, n + str(key))
        }
        if hashes & {str(pseudonym) for pseudonym in first}:
            raise Wrong(
                "Python's hash() gives other values each time Python is started: next month's "
                "table will not fit. Take a hash from hashlib or hmac."
            )
        by_number = dict(zip(numbers, first, strict=True))
        others = sorted(set(numbers))[::-3]
        if list(answers.pseudonymise(others, key)) != [by_number[number] for number in others]:
            raise Wrong(
                "A patient's pseudonym depends on which other patients are in the table, or on "
                "their order: next month's table will not fit."
            )
        everybody = answers.pseudonymise([f"P{n:05d}" for n in range(100_000)], key)
        lost = len(everybody) - everybody.nunique()
        if lost:
            raise Wrong(
                f"{lost:,} of {len(everybody):,} patients share a pseudonym with somebody else: "
                "keep more of the digits."
            )

    def test_dictionary(self, answers: Answers, rng: np.random.Generator) -> str:
        """An attacker without the key tries every patient number."""
        numbers, domain = self._numbers(rng)
        pseudonyms = answers.pseudonymise(numbers, rng.bytes(32))
        kept = sum(n[1:] in str(p) for n, p in zip(numbers, pseudonyms, strict=True))
        # Five digits turn up in 64 random hexadecimal ones by chance less than once in 10,000.
        if kept > len(numbers) / 2:
            raise Wrong("The patient number still stands in the pseudonym, for all to read.")
        report = dictionary_attack(pseudonyms, numbers, domain)
        if report.reversed > len(numbers) / 100:
            raise Wrong(f"The dictionary attack wins: {report}. It needs no key.")
        return f"Dictionary attack: {report}."

    def test_key(self, answers: Answers, rng: np.random.Generator) -> None:
        """An attacker who has the code and guesses at the key learns nothing."""
        numbers = self._numbers(rng)[0][:200]
        key = rng.bytes(32)
        true = answers.pseudonymise(numbers, key).astype(str).tolist()
        other = answers.pseudonymise(numbers, rng.bytes(32)).astype(str).tolist()
        if sum(a == b for a, b in zip(true, other, strict=True)) > 2:
            raise Wrong(
                "The attacker runs your code with another key and finds the same pseudonyms: the "
                "key changes nothing, or too little. Does your function use its argument `key`?"
            )
        one = numbers[:1]
        for position in range(len(key)):
            flipped = bytearray(key)
            flipped[position] ^= 255
            if answers.pseudonymise(one, bytes(flipped)).astype(str).iloc[0] == true[0]:
                raise Wrong(
                    f"Byte {position} of the key makes no difference. Use all of it: part of the "
                    "key is quickly tried out."
                )
        # Whoever passed the test for collisions has 100,000 pseudonyms or more: among 300 draws
        # more than ten equal ones come up less than once in a million checks. A key boiled down
        # to one byte gives 256 at most, and about 180 different ones.
        tried = {str(answers.pseudonymise(one, rng.bytes(32)).iloc[0]) for _ in range(300)}
        if len(tried) < 290:
            raise Wrong(
                f"300 different keys give only {len(tried)} different pseudonyms: your code boils "
                "the key down to a few that are quickly tried out."
            )

    def test_insider(self, answers: Answers, rng: np.random.Generator) -> None:
        """Patients who know their own number and pseudonym do not learn the others."""
        # Neighbours in pairs: only the last bit of the last digit differs.
        even = 2 * rng.choice(10_000, 200, replace=False)
        numbers = [f"P{n:05d}" for n in np.column_stack([even, even + 1]).ravel()]
        texts = [
            answers.pseudonymise(numbers, rng.bytes(32)).astype(str).tolist() for _ in range(2)
        ]
        texts = _without_common_beginning(*texts)
        first, second = (_as_numbers(text) for text in texts)
        if first and second:
            pairs = list(zip(first[::2], first[1::2], strict=True))
            both = list(zip(first, second, strict=True))
            constant = [
                {b - a for a, b in pairs},
                {a ^ b for a, b in pairs},
                {b - a for a, b in both},
                {a ^ b for a, b in both},
                {a * second[1] - b * first[1] for a, b in both},
            ]
            if min(map(len, constant)) < len(pairs) / 4:
                raise Wrong(
                    "The pseudonyms grow evenly with the numbers, or with the key. One patient who "
                    "knows their own number works out the rest with a subtraction, a division or "
                    "an XOR."
                )
        if _common_beginning(texts[0]) >= 2:
            raise Wrong(
                "All pseudonyms begin with the same characters, and with others under another key: "
                "a part of the key stands there, for all to read."
            )
        if np.mean([_share_a_part(a, b) for a, b in zip(*texts, strict=True)]) > 0.5:
            raise Wrong(
                "A part of each pseudonym stays the same under another key: without any key the "
                "attacker looks up that part in a dictionary."
            )
        alike = np.mean(
            [
                np.mean([a == b for a, b in zip(one, two, strict=False)] or [0])
                for one, two in zip(texts[0][::2], texts[0][1::2], strict=True)
            ]
        )
        # Random digits agree in one place in ten, random hexadecimal ones in one in sixteen.
        if alike > 0.25:
            raise Wrong(
                f"The pseudonyms of neighbouring numbers are alike in {alike:.0%} of their "
                "characters: they give away which numbers are close to each other."
            )


def _common_beginning(texts: list[str]) -> int:
    """Return how many characters all texts begin with."""
    # If the first and the last in the order of the alphabet agree so far, so do all others.
    pairs = zip(min(texts), max(texts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _without_common_beginning(*tables: list[str]) -> list[list[str]]:
    """Cut off the characters that all pseudonyms begin with, such as "patient-"."""
    length = _common_beginning([text for table in tables for text in table])
    return [[text[length:] for text in table] for table in tables]


def _share_a_part(one: str, two: str, length: int = 5) -> bool:
    parts = {one[i : i + length] for i in range(len(one) - length + 1)}
    return any(two[i : i + length] in parts for i in range(len(two) - length + 1))


def _as_numbers(texts: list[str]) -> list[int] | None:
    """Read pseudonyms as decimal, hexadecimal or Base64 numbers, if all of them are."""
    readers = (
        int,
        lambda text: int(text, 16),
        lambda text: int.from_bytes(base64.b64decode(text, validate=True)),
    )
    for reader in readers:
        with contextlib.suppress(ValueError):
            return [reader(text) for text in texts]
    return None


class Generalise(Exercise):
    """Coarsen three columns until the linkage attack fails, and no further."""

    label = "1.3"
    title = "Coarser, but still useful"
    points = 2
    kinds = {"generalise": table}
    hints = (
        "Which of the three columns has the most different values? Start there.",
        "An analyst needs an age, hardly a birth date: birth_date.dt.year gives the year.",
        "Ten-year groups: year // 10 * 10. Keep the sex, and cut the ZIP: table['zip'].str[:3].",
    )
    reference = """
def generalise(table):
    coarse = table[["sex"]].copy()
    coarse["born_from"] = table["birth_date"].dt.year // 10 * 10
    coarse["zip"] = table["zip"].str[:3]
    return coarse
"""
    mistakes = (
        Mistake(
            "only the ZIP code is dropped",
            """
def generalise(table):
    return table[["sex", "birth_date"]]
""",
            "alone still has",
        ),
        Mistake(
            "month and year of birth beside the full ZIP code",
            """
def generalise(table):
    coarse = table[["zip", "sex"]].copy()
    coarse["born"] = table["birth_date"].dt.strftime("%Y-%m")
    return coarse
""",
            "Together",
        ),
        Mistake(
            "values hashed instead of coarsened",
            """
import hashlib

def generalise(table):
    def hide(value):
        return hashlib.sha256(str(value).encode()).hexdigest()
    return table.assign(birth_date=table["birth_date"].map(hide), zip=table["zip"].map(hide))
""",
            "as unique as the value",
        ),
        Mistake(
            "everything removed",
            """
def generalise(table):
    return table.assign(zip="*", sex="*", birth_date="*")
""",
            "little to learn",
        ),
        Mistake(
            "age groups from the table's own quantiles",
            """
import pandas as pd

def generalise(table):
    groups = pd.qcut(table["birth_date"].dt.year, 8, labels=False, duplicates="drop")
    return pd.DataFrame({"sex": table["sex"], "age_group": groups})
""",
            "depends on the other rows",
        ),
        Mistake(
            "rows left out",
            """
def generalise(table):
    coarse = table[["sex"]].assign(born_from=table["birth_date"].dt.year // 10 * 10)
    return coarse.drop_duplicates()
""",
            "leave no patient out",
        ),
        Mistake(
            "year of birth beside the full ZIP code",
            """
def generalise(table):
    return table[["zip", "sex"]].assign(year=table["birth_date"].dt.year)
""",
            "a better list",
        ),
        Mistake(
            "rows shuffled",
            """
def generalise(table):
    coarse = table[["sex"]].assign(born_from=table["birth_date"].dt.year // 10 * 10)
    return coarse.sample(frac=1)
""",
            "another order",
        ),
    )
    #: Inhabitants that one must look like, and the share of the town that may look like fewer.
    crowd, outside_crowd = 100, 0.01

    def test_recipe(self, answers: Answers, rng: np.random.Generator) -> None:
        """Each row is coarsened by itself."""
        town, _, _ = _cambridge(int(rng.integers(2)))
        few = town[_OPEN].sample(200, random_state=rng).reset_index(drop=True)
        whole = answers.generalise(few)
        if len(whole) != len(few):
            raise Wrong(
                f"{len(few)} rows went in, {len(whole)} rows came out. Coarsen the values; leave "
                "no patient out."
            )
        if not whole.index.equals(few.index):
            raise Wrong("The rows came out in another order: keep it, and the index, as it is.")
        # The same rows in another order and without the others.
        for rows in (list(range(150, 20, -1)), [3], [77], [150]):
            again = answers.generalise(few.iloc[rows].reset_index(drop=True))
            self._same(again, whole.iloc[rows])

    @staticmethod
    def _same(one: pd.DataFrame, two: pd.DataFrame) -> None:
        """Compare values, whatever their types: 1940 is 1940.0."""
        a, b = (frame.astype(object).where(frame.notna(), "*").to_numpy() for frame in (one, two))
        if a.shape != b.shape or not (a == b).all():
            raise Wrong(
                "What you make of a row depends on the other rows of the table (quantiles? sizes "
                "of groups? row numbers? random numbers?). Use fixed groups."
            )

    def test_attack_and_use(self, answers: Answers, rng: np.random.Generator) -> str:
        """The linkage attack fails, also with a complete register, and an analyst can work."""
        town, patients, voters = _cambridge(int(rng.integers(2)))
        # The attacker knows the recipe (Kerckhoffs): the same is done to patients and voters.
        coarse = answers.generalise(town[_OPEN])
        if len(coarse) != len(town):
            raise Wrong(f"{len(town):,} rows went in, {len(coarse):,} came out: leave nobody out.")
        rows = rng.choice(len(town), 100, replace=False)
        self._same(answers.generalise(town[_OPEN].iloc[rows]), coarse.iloc[rows])
        coarse = coarse.astype(object).where(coarse.notna(), "*").astype(str)
        look = equivalence_classes(coarse, list(coarse.columns))
        released, register = (
            pd.DataFrame({"look": look[table["person"]], "person": table["person"]})
            for table in (patients, voters)
        )
        report = link(released, register, ["look"])
        if report.recall > 0.005:
            raise Wrong(self._why(coarse, report.recall))
        exposed = (np.bincount(look)[look] < self.crowd).mean()
        if exposed > self.outside_crowd:
            raise Wrong(
                f"The voter list names {report.correct or 'none'} of the patients. But "
                f"{exposed:.1%} of the town look like fewer than {self.crowd} of its people (1 % "
                "allowed): an attacker with a better list, or with one more column, will find them."
            )
        wide, mixed = self._width(look, town)
        if wide > 0.1 or mixed > 0.1:
            raise Wrong(
                f"The attack fails, but there is little to learn from the table: {wide:.0%} of "
                f"the people are in groups whose ages span more than 20 years, and {mixed:.0%} in "
                "groups that mix the sexes. Allowed are 10 % each."
            )
        return (
            f"The linkage attack names {report.correct} of {report.targets:,} patients rightly; "
            f"{1 - exposed:.1%} of the town hide in a crowd of {self.crowd} or more, and ages stay "
            f"within 20 years for {1 - wide:.0%}."
        )

    @staticmethod
    def _why(coarse: pd.DataFrame, recall: float) -> str:
        told = (
            f"The linkage attack still names {recall:.1%} of the patients rightly (0.5 % allowed)."
        )
        values = coarse.nunique()
        finest = values.idxmax()
        if values[finest] > 1000 and coarse[finest].str.fullmatch("[0-9a-f]{16,}").all():
            return (
                f"{told} `{finest}` looks like a hash. The hash of a value is as unique as the "
                "value, and the attacker hashes the voter list too."
            )
        if values[finest] > 2000:
            return f"{told} `{finest}` alone still has {values[finest]:,} different values."
        combinations = len(coarse.drop_duplicates())
        return (
            f"{told} Together the columns make {combinations:,} combinations for "
            f"{len(coarse):,} people."
        )

    @staticmethod
    def _width(look: np.ndarray, town: pd.DataFrame) -> tuple[float, float]:
        """Return the shares of people in groups of too many ages, and of both sexes."""
        age = ages(town["birth_date"]).groupby(look)
        wide = (age.transform("max") - age.transform("min")) > 20
        mixed = town["sex"].groupby(look).transform("nunique") > 1
        return float(wide.mean()), float(mixed.mean())


class GuessMarried(Exercise):
    """Guess what two removed columns said from those that were left; open-ended."""

    label = "1.4"
    title = "The columns that were removed"
    points = 2
    kinds = {"guess_married": column}
    hints = (
        "Look at known.groupby('sex')['marital_status'].value_counts(normalize=True), and at the "
        "same by age group and by income.",
        "Young people are seldom married; among those who earn more than 50,000 dollars most are.",
        "Guess married for men from 28 on, and for everybody who earns more than 50,000 dollars. "
        "Or train the lesson's model on `known`.",
    )
    reference = """
def guess_married(table):
    return ((table["sex"] == "Male") & (table["age"] >= 28)) | (table["income"] == ">50K")
"""
    mistakes = (
        Mistake(
            "the same guess for everybody",
            """
def guess_married(table):
    return [False] * len(table)
""",
            "the same guess for everybody",
        ),
        Mistake(
            "texts instead of True and False",
            """
def guess_married(table):
    return table["sex"].map({"Male": "married", "Female": "single"})
""",
            "Return True for married",
        ),
        Mistake(
            "only the sex",
            """
def guess_married(table):
    return table["sex"] == "Male"
""",
            "only the sex",
        ),
        Mistake(
            "only the income",
            """
def guess_married(table):
    return table["income"] == ">50K"
""",
            "only the income",
        ),
        Mistake(
            "only some rows",
            """
def guess_married(table):
    return (table[table["age"] > 30]["sex"] == "Male")
""",
            "a guess for each",
        ),
        Mistake(
            "looked up instead of guessed",
            """
from privlab.data import load_adult

def guess_married(table):
    keys = [c for c in table.columns if c != "fnlwgt"]
    adult = load_adult()
    adult["married"] = adult["marital_status"] == "Married-civ-spouse"
    known = adult.groupby(keys)["married"].mean()
    return table.join(known, on=keys)["married"].fillna(0) > 0.5
""",
            "linkage",
        ),
    )
    #: Balanced accuracy to reach (0.5 is blind guessing), and what no honest guess reaches.
    floor, suspicious = 0.76, 0.86

    def test_guess(self, answers: Answers, rng: np.random.Generator) -> str:
        """Guess for the rows that the lesson holds back."""
        adult = load_adult()
        # The quarter that lesson 01 calls `attacked`.
        attacked = adult.drop(adult.sample(frac=0.75, random_state=1).index)
        people = attacked.sample(frac=1, random_state=rng).reset_index(drop=True)
        # The statistical weights say nothing about a person, but would help to look one up.
        people["fnlwgt"] = rng.permutation(people["fnlwgt"])
        truth = (people["marital_status"] == "Married-civ-spouse").to_numpy()
        shown = people.drop(columns=["marital_status", "relationship"])
        guess = answers.guess_married(shown)
        if len(guess) == len(truth) and set(guess.index) == set(shown.index):
            guess = guess.sort_index()  # put together from parts, say of men and women
        guess = guess.to_numpy()
        if len(guess) != len(truth):
            raise Wrong(f"Give a guess for each of the {len(truth):,} rows, not {len(guess):,}.")
        others = [value for value in set(guess.tolist()) if value not in (True, False)]
        if others:
            raise Wrong(f"Return True for married and False for not, instead of {others[0]!r}.")
        guess = guess.astype(bool)
        found, spared = guess[truth].mean(), (~guess[~truth]).mean()
        score = (found + spared) / 2
        told = f"Balanced accuracy {score:.3f} (to reach: {self.floor})."
        if guess.all() or not guess.any():
            raise Wrong(f"{told} It is the same guess for everybody.")
        if score > self.suspicious:
            raise Wrong(
                f"{told} That is linkage: you look the people up in Adult, where the removed "
                "columns still stand. Guess from what the other columns say."
            )
        if score < self.floor:
            raise Wrong(f"{told} {self._weaker(guess, shown, found, spared)}")
        return f"{told} Neither column was released; those that were say so much about them."

    @staticmethod
    def _weaker(guess: np.ndarray, shown: pd.DataFrame, found: float, spared: float) -> str:
        for name, value in (("sex", "Male"), ("income", ">50K")):
            if ((shown[name] == value).to_numpy() == guess).all():
                return f"You use only the {name}; add what the other columns say, the age for one."
        if found < spared:
            return f"You find only {found:.0%} of the married."
        return f"You take many others for married: {1 - spared:.0%} of them."


q1 = UniqueShare()
q2 = Pseudonyms()
q3 = Generalise()
q4 = GuessMarried()
EXERCISES = (q1, q2, q3, q4)
