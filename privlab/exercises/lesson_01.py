"""Exercises of lesson 01: uniqueness, pseudonyms, generalisation, a guessed column."""

from functools import cache

import numpy as np
import pandas as pd

from ..anonymity import equivalence_classes
from ..attacks.linkage import dictionary_attack, link
from ..data import load_adult, load_zip_populations
from ..exercise import Answers, Exercise, Mistake, Wrong, column, number, table
from ..people import ages, hospital_table, make_town, voter_list


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
        self._compare(answers, people, ["zip", "age", "sex"])

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
            "the key changes nothing",
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
            "two different pseudonyms",
        ),
        Mistake(
            "the key added to the number",
            """
def pseudonymise(patient_numbers, key):
    shift = int.from_bytes(key, "big")
    return [str(int(number[1:]) + shift) for number in patient_numbers]
""",
            "One patient who knows",
        ),
        Mistake(
            "the number kept beside the hash",
            """
import hmac

def pseudonymise(patient_numbers, key):
    return [n + "-" + hmac.new(key, n.encode(), "sha256").hexdigest() for n in patient_numbers]
""",
            "still stands in",
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
        numbers, domain = self._numbers(rng)
        key = rng.bytes(32)
        first = answers.pseudonymise(numbers, key)
        if len(first) != len(numbers):
            raise Wrong(f"{len(numbers):,} numbers went in, {len(first):,} pseudonyms came out.")
        again = answers.pseudonymise(numbers, key)
        if list(first) != list(again) or len(set(zip(numbers, first, strict=True))) > len(
            set(numbers)
        ):
            raise Wrong(
                "The same patient gets two different pseudonyms: visits can no longer be "
                "put together."
            )
        everybody = answers.pseudonymise(domain, key)
        if everybody.nunique() < len(domain):
            lost = len(domain) - everybody.nunique()
            raise Wrong(
                f"{lost:,} of {len(domain):,} patients share a pseudonym with somebody "
                "else: keep more of the digits."
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
        """An attacker who has the code, but another key, learns nothing."""
        numbers, domain = self._numbers(rng)
        pseudonyms = set(answers.pseudonymise(numbers, rng.bytes(32)))
        if pseudonyms & set(answers.pseudonymise(domain, rng.bytes(32))):
            raise Wrong(
                "The attacker runs your code with a key of his own and finds the same "
                "pseudonyms: the key changes nothing, or too little."
            )

    def test_insider(self, answers: Answers, rng: np.random.Generator) -> None:
        """A patient who knows his own number and pseudonym does not learn the others."""
        numbers, _ = self._numbers(rng)
        pseudonyms = answers.pseudonymise(numbers, rng.bytes(32))
        plain = np.array([int(number[1:]) for number in numbers], dtype=object)
        for base in (10, 16):
            try:
                values = np.array([int(str(p), base) for p in pseudonyms], dtype=object)
            except ValueError:
                continue
            if len(set(values - plain)) == 1 or len(set(values ^ plain)) == 1:
                raise Wrong(
                    "One patient who knows his own number works out your key by one "
                    "subtraction, and with it all other numbers."
                )


@cache
def _cambridge(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return patients and voters of a town as large as Cambridge, Massachusetts."""
    rng = np.random.default_rng(seed)
    sizes = load_zip_populations().set_index("zip")["population"]
    town = make_town(sizes.loc["02138":"02142"].to_dict(), rng)
    return hospital_table(town, 5000, rng), voter_list(town, rng)


_OPEN = ["zip", "sex", "birth_date"]


class Generalise(Exercise):
    """Coarsen three columns until the linkage attack fails, and no further."""

    label = "1.3"
    title = "Coarser, but still useful"
    points = 2
    kinds = {"generalise": table}
    hints = (
        "Which of the three columns has the most different values? Start there.",
        "An analyst needs an age, hardly a birth date: birth_date.dt.year gives the year.",
        "Twenty-year groups: year // 20 * 20. Keep the sex, and ask yourself who needs the ZIP.",
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
            "nothing to learn",
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
            "rows came out",
        ),
    )

    def test_recipe(self, answers: Answers, rng: np.random.Generator) -> None:
        """Each row is coarsened by itself."""
        patients, _ = _cambridge(int(rng.integers(2)))
        few = patients[_OPEN].sample(200, random_state=rng).reset_index(drop=True)
        whole = answers.generalise(few)
        if len(whole) != len(few):
            raise Wrong(
                f"{len(few)} rows went in, {len(whole)} rows came out. Coarsen the values; "
                "leave no patient out."
            )
        half = answers.generalise(few.iloc[:100])
        first = whole.iloc[:100].astype(str).reset_index(drop=True)
        if not first.equals(half.astype(str).reset_index(drop=True)):
            raise Wrong(
                "What you make of a row depends on the other rows of the table (quantiles? "
                "ranks? random numbers?). Use fixed groups."
            )

    def test_attack_and_use(self, answers: Answers, rng: np.random.Generator) -> str:
        """The linkage attack fails, and an analyst can still work."""
        patients, voters = _cambridge(int(rng.integers(2)))
        coarse = answers.generalise(patients[_OPEN])
        # The attacker knows the recipe (Kerckhoffs): the same is done to the voter list.
        register = answers.generalise(voters[_OPEN])
        columns = list(coarse.columns)
        text = {name: coarse[name].astype(str).to_numpy() for name in columns}
        released = pd.DataFrame({**text, "person": patients["person"].to_numpy()})
        known = pd.DataFrame({name: register[name].astype(str).to_numpy() for name in columns})
        report = link(released, known.assign(person=voters["person"].to_numpy()), columns)
        if report.recall > 0.005:
            raise Wrong(self._why(coarse, report.recall))
        wide, mixed = self._width(coarse, patients)
        if wide > 0.1 or mixed > 0.1:
            raise Wrong(
                "The attack fails, but there is nothing to learn from the table either: "
                f"{wide:.0%} of the patients are in groups whose ages span more than 20 years, "
                f"and {mixed:.0%} in groups that mix the sexes. Allowed are 10 % each."
            )
        return (
            f"The linkage attack names {report.correct} of {report.targets:,} patients rightly "
            f"({report.recall:.1%}); ages within 20 years for {1 - wide:.0%} of them."
        )

    @staticmethod
    def _why(coarse: pd.DataFrame, recall: float) -> str:
        told = (
            f"The linkage attack still names {recall:.1%} of the patients rightly (0.5 % allowed)."
        )
        values = coarse.astype(str).nunique()
        finest = values.idxmax()
        lengths = coarse[finest].astype(str).str.len()
        if lengths.min() == lengths.max() >= 16 and values[finest] > 1000:
            return (
                f"{told} `{finest}` looks like a hash. The hash of a value is as unique as the "
                "value, and the attacker hashes the voter list too."
            )
        if values[finest] > 2000:
            return f"{told} `{finest}` alone still has {values[finest]:,} different values."
        combinations = len(coarse.drop_duplicates())
        return (
            f"{told} Together the columns make {combinations:,} combinations for "
            f"{len(coarse):,} patients."
        )

    @staticmethod
    def _width(coarse: pd.DataFrame, patients: pd.DataFrame) -> tuple[float, float]:
        """Return the shares of patients in groups of too many ages, and of both sexes."""
        text = coarse.astype(str)
        groups = pd.Series(equivalence_classes(text, list(text.columns)))
        age = ages(patients["birth_date"]).reset_index(drop=True).groupby(groups)
        sexes = patients["sex"].reset_index(drop=True).groupby(groups)
        wide = (age.transform("max") - age.transform("min")) > 20
        return float(wide.mean()), float((sexes.transform("nunique") > 1).mean())


class GuessSex(Exercise):
    """Guess a removed column from those that were left; open-ended."""

    label = "1.4"
    title = "The column that was removed"
    points = 2
    kinds = {"guess_sex": column}
    hints = (
        "Look at adult.groupby('relationship')['sex'].value_counts(): which words give it away?",
        "Husbands are men and wives are women. For the others, look at the occupation.",
        "Female: wives, the unmarried with children ('Unmarried'), and those of the rest who work "
        "in offices, service, sales or schools. Male: everybody else.",
    )
    reference = """
def guess_sex(table):
    mostly_women = ["Adm-clerical", "Other-service", "Priv-house-serv", "Prof-specialty",
                    "Tech-support", "Sales"]
    female = table["relationship"].isin(["Wife", "Unmarried"])
    female |= (table["relationship"] != "Husband") & table["occupation"].isin(mostly_women)
    return female.map({True: "Female", False: "Male"})
"""
    mistakes = (
        Mistake(
            "the same guess for everybody",
            """
def guess_sex(table):
    return ["Male"] * len(table)
""",
            "the same guess for everybody",
        ),
        Mistake(
            "letters instead of the column's words",
            """
def guess_sex(table):
    return table["relationship"].map(lambda r: "M" if r == "Husband" else "F")
""",
            "there is also",
        ),
        Mistake(
            "only wives are women",
            """
def guess_sex(table):
    return table["relationship"].map(lambda r: "Female" if r == "Wife" else "Male")
""",
            "find only",
        ),
        Mistake(
            "everybody but husbands is a woman",
            """
def guess_sex(table):
    return table["relationship"].map(lambda r: "Male" if r == "Husband" else "Female")
""",
            "take many men for women",
        ),
        Mistake(
            "only some rows",
            """
def guess_sex(table):
    married = table[table["relationship"].isin(["Husband", "Wife"])]
    return married["relationship"].map({"Husband": "Male", "Wife": "Female"})
""",
            "a guess for each",
        ),
    )
    #: Balanced accuracy to reach; 0.5 is blind guessing.
    floor = 0.82

    def test_guess(self, answers: Answers, rng: np.random.Generator) -> str:
        """Guess the sex of people whose column was removed."""
        people = load_adult().sample(12_000, random_state=rng).reset_index(drop=True)
        truth = people["sex"].to_numpy()
        guess = answers.guess_sex(people.drop(columns="sex")).to_numpy()
        if len(guess) != len(truth):
            raise Wrong(f"Give a guess for each of the {len(truth):,} rows, not {len(guess):,}.")
        others = sorted({str(value) for value in guess} - {"Female", "Male"})
        if others:
            raise Wrong(f"Guess with the texts 'Female' and 'Male'; there is also {others[0]!r}.")
        women = (guess[truth == "Female"] == "Female").mean()
        men = (guess[truth == "Male"] == "Male").mean()
        score = (women + men) / 2
        told = f"Balanced accuracy {score:.3f} (to reach: {self.floor})."
        if len(set(guess)) == 1:
            raise Wrong(
                f"{told} It is the same guess for everybody: right for one sex, wrong for "
                "the other."
            )
        if score < self.floor:
            weaker = (
                f"You find only {women:.0%} of the women"
                if women < men
                else f"You take many men for women: only {men:.0%} of them are found"
            )
            raise Wrong(f"{told} {weaker}.")
        return f"{told} A column that was never released, guessed from those that were."


q1 = UniqueShare()
q2 = Pseudonyms()
q3 = Generalise()
q4 = GuessSex()
EXERCISES = (q1, q2, q3, q4)
