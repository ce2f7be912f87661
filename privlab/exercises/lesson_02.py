"""Exercises of lesson 02: k, homogeneity, the intersection attack, a release of one's own."""

import re
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ..anonymity import (
    equivalence_classes,
    information_loss,
    mondrian,
    t_closeness,
)
from ..data import load_adult
from ..exercise import Answers, Exercise, Mistake, Wrong, number, table


class SmallestClass(Exercise):
    """Measure k."""

    label = "2.1"
    title = "Measure k"
    kinds = {"smallest_class": number}
    hints = (
        "Rows that look the same in the quasi-identifiers form a class. How large is each class?",
        "groupby(quasi_identifiers).size() gives the sizes. Which rows does groupby leave out?",
        "table.groupby(quasi_identifiers, dropna=False, observed=True).size().min()",
    )
    reference = """
def smallest_class(table, quasi_identifiers):
    return table.groupby(quasi_identifiers, dropna=False, observed=True).size().min()
"""
    mistakes = (
        Mistake(
            "the number of classes",
            """
def smallest_class(table, quasi_identifiers):
    return len(table.groupby(quasi_identifiers, dropna=False, observed=True))
""",
            "how many classes",
        ),
        Mistake(
            "the mean size",
            """
def smallest_class(table, quasi_identifiers):
    return table.groupby(quasi_identifiers, dropna=False, observed=True).size().mean()
""",
            "the mean size",
        ),
        Mistake(
            "the largest class",
            """
def smallest_class(table, quasi_identifiers):
    return table.groupby(quasi_identifiers, dropna=False, observed=True).size().max()
""",
            "the largest class",
        ),
        Mistake(
            "rows with missing values dropped",
            """
def smallest_class(table, quasi_identifiers):
    return table.groupby(quasi_identifiers, observed=True).size().min()
""",
            "missing value",
        ),
        Mistake(
            "columns one at a time",
            """
def smallest_class(table, quasi_identifiers):
    return min(table[c].value_counts(dropna=False).min() for c in quasi_identifiers)
""",
            "one column at a time",
        ),
        Mistake(
            "all columns instead of the quasi-identifiers",
            """
def smallest_class(table, quasi_identifiers):
    return table.groupby(list(table.columns), dropna=False).size().min()
""",
            "only the quasi-identifiers",
        ),
    )

    def _compare(self, answers: Answers, people: pd.DataFrame, columns: list[str]) -> None:
        got = answers.smallest_class(people, columns)
        sizes = people.groupby(columns, dropna=False, observed=True).size()
        if got == sizes.min():
            return
        told = f"The smallest class of this table has {sizes.min()} rows; you say {got:g}."
        single = min(people[name].value_counts(dropna=False).min() for name in columns)
        explained = (
            (sizes.max(), "That is the largest class."),
            (len(sizes), "That is how many classes there are."),
            (sizes.mean(), "That is the mean size; k is what even the smallest class keeps."),
            (
                people.groupby(columns, observed=True).size().min(),
                "groupby leaves out the rows with a missing value, unless dropna=False.",
            ),
            (single, "You count one column at a time; the attacker uses all of them together."),
            (
                people.groupby(list(people.columns), dropna=False, observed=True).size().min(),
                "You group by all columns; use only the quasi-identifiers.",
            ),
            *(
                (
                    people.groupby(columns, dropna=False, observed=True)[name].count().min(),
                    "count() leaves out missing values; size() does not.",
                )
                for name in people.columns
            ),
        )
        for value, why in explained:
            if np.isclose(got, value):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)

    @staticmethod
    def _people(rng: np.random.Generator, gaps: bool) -> pd.DataFrame:
        """Return a table whose sizes, means and counts all differ."""
        sizes = {("20s", "F"): 9, ("20s", "M"): 14, ("30s", "F"): 8, ("30s", "M"): 21}
        if gaps:
            sizes |= {(None, "M"): 3, (None, "F"): 5}
        rows = [cell for cell, size in sizes.items() for _ in range(size + int(rng.integers(2)))]
        people = pd.DataFrame(rows, columns=["age", "sex"])
        people["visit"] = np.arange(len(people)) // 2  # no quasi-identifier, and with gaps
        people.loc[people.index % 3 == 0, "visit"] = None
        return people.sample(frac=1, random_state=rng).reset_index(drop=True)

    def test_table(self, answers: Answers, rng: np.random.Generator) -> None:
        """A small table."""
        self._compare(answers, self._people(rng, gaps=False), ["age", "sex"])

    def test_missing(self, answers: Answers, rng: np.random.Generator) -> str:
        """The smallest class is one with a missing value."""
        people = self._people(rng, gaps=True)
        self._compare(answers, people, ["age", "sex"])
        sizes = [people.groupby(["age", "sex"], dropna=drop).size().min() for drop in (False, True)]
        return f"Counting missing values, k is {sizes[0]}; leaving them out, it seems {sizes[1]}."

    def hidden_adult(self, answers: Answers, rng: np.random.Generator) -> None:
        """Real rows."""
        people = load_adult().sample(2000, random_state=rng)
        for columns in (["sex"], ["sex", "race"], ["education", "sex", "race"]):
            self._compare(answers, people, columns)


class NearlyCertain(Exercise):
    """Count the people whose class nearly gives their sensitive value away."""

    label = "2.2"
    title = "Nearly certain"
    kinds = {"exposed_share": number}
    hints = (
        "You know in which class your victim is, and guess its most frequent value. How often is "
        "that right?",
        "In each class: values.value_counts(normalize=True).iloc[0] is the share of the most "
        "frequent value. transform gives it to each of the people.",
        "groups = release.groupby(quasi_identifiers, dropna=False)[sensitive]; then groups."
        "transform(lambda values: values.value_counts(normalize=True).iloc[0]) >= certainty",
    )
    reference = """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, dropna=False, observed=True)[sensitive]
    best_guess = groups.transform(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess >= certainty).mean()
"""
    mistakes = (
        Mistake(
            "classes counted instead of people",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, dropna=False, observed=True)[sensitive]
    best_guess = groups.agg(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess >= certainty).mean()
""",
            "share of the classes",
        ),
        Mistake(
            "only classes with a single value",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, dropna=False, observed=True)[sensitive]
    return (groups.transform("nunique") == 1).mean()
""",
            "whose value is certain",
        ),
        Mistake(
            "the opposite",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, dropna=False, observed=True)[sensitive]
    best_guess = groups.transform(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess < certainty).mean()
""",
            "the attack does not reach",
        ),
        Mistake(
            "the sensitive value as one of the keys",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    keys = [*quasi_identifiers, sensitive]
    groups = release.groupby(keys, dropna=False, observed=True)[sensitive]
    best_guess = groups.transform(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess >= certainty).mean()
""",
            "does not know the sensitive value",
        ),
        Mistake(
            "missing values dropped",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, observed=True)[sensitive]
    best_guess = groups.transform(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess >= certainty).mean()
""",
            "dropna=False",
        ),
        Mistake(
            "a number of people, not a share",
            """
def exposed_share(release, quasi_identifiers, sensitive, certainty):
    groups = release.groupby(quasi_identifiers, dropna=False, observed=True)[sensitive]
    best_guess = groups.transform(lambda values: values.value_counts(normalize=True).iloc[0])
    return (best_guess >= certainty).sum()
""",
            "between 0 and 1",
        ),
    )

    def test_release(self, answers: Answers, rng: np.random.Generator) -> str:
        """A release of Adult by age group, education and sex, with gaps."""
        people = load_adult().sample(3000, random_state=rng).reset_index(drop=True)
        people["age"] = (people["age"] // 10 * 10).astype(str)
        people["education"] = people["education"].where(rng.random(len(people)) > 0.1)
        columns = ["age", "education", "sex"]
        shares = []
        for sensitive, certainty in (("income", 0.9), ("relationship", 0.8), ("income", 1.0)):
            release = people[[*columns, sensitive]]
            got = answers.exposed_share(release, columns, sensitive, certainty)
            shares.append(self._compare(got, release, columns, sensitive, certainty))
        return (
            f"In this check's table, the income of {shares[2]:.0%} is certain, and for "
            f"{shares[0]:.0%} the attacker's guess is right at least nine times in ten."
        )

    @staticmethod
    def _compare(
        got: float, release: pd.DataFrame, columns: list[str], sensitive: str, certainty: float
    ) -> float:
        def top(values: pd.Series) -> float:
            return values.value_counts(normalize=True).iloc[0]

        groups = release.groupby(columns, dropna=False)[sensitive]
        best_guess = groups.transform(top)
        right = float((best_guess >= certainty).mean())
        if np.isclose(got, right):
            return right
        if not 0 <= got <= 1:
            raise Wrong(f"A share lies between 0 and 1, but you return {got:,.0f}.")
        told = (
            f"For `{sensitive}` at certainty {certainty}, {right:.1%} of these people are exposed; "
            f"you say {got:.1%}."
        )
        known = release.groupby(columns)[sensitive].transform(top)
        explained = (
            (
                (groups.agg(top) >= certainty).mean(),
                "That is the share of the classes; count the people in them.",
            ),
            ((groups.transform("nunique") == 1).mean(), "That is those whose value is certain."),
            ((best_guess > certainty).mean(), "At least means >=, not >."),
            (1 - right, "That is the share whom the attack does not reach."),
            (
                (known >= certainty).mean(),
                "groupby leaves out the rows with a missing value, unless dropna=False.",
            ),
            (
                1.0,
                "Is the sensitive value among your keys? The attacker does not know the sensitive "
                "value yet.",
            ),
        )
        for value, why in explained:
            if np.isclose(got, value):
                raise Wrong(f"{told} {why}")
        raise Wrong(told)


def _values(value: Any, what: str) -> set:
    """Accept a set, list, array or column of values."""
    if isinstance(value, pd.Series | np.ndarray):
        value = value.tolist()
    if isinstance(value, str | dict | pd.DataFrame) or not isinstance(value, Collection):
        raise Wrong(f"{what} should be a set of values, for example {{'Sales', 'Tech-support'}}.")
    try:
        return set(value)
    except TypeError:
        raise Wrong(f"{what} should be a set of texts, but it holds other things.") from None


class Intersection(Exercise):
    """Intersect two k-anonymous releases."""

    label = "2.3"
    title = "Two releases, one victim"
    kinds = {"possible_values": _values}
    hints = (
        "What does the first release alone allow? The values in the victim's class.",
        "Your victim is in both releases, so the value must be in both classes.",
        "set(values in class_a) & set(values in class_b)",
    )
    reference = """
def possible_values(release_a, class_a, release_b, class_b):
    a = release_a[release_a["class"] == class_a]
    b = release_b[release_b["class"] == class_b]
    return set(a["occupation"]) & set(b["occupation"])
"""
    mistakes = (
        Mistake(
            "union",
            """
def possible_values(release_a, class_a, release_b, class_b):
    a = release_a[release_a["class"] == class_a]
    b = release_b[release_b["class"] == class_b]
    return set(a["occupation"]) | set(b["occupation"])
""",
            "must be in both",
        ),
        Mistake(
            "only the first release",
            """
def possible_values(release_a, class_a, release_b, class_b):
    return set(release_a[release_a["class"] == class_a]["occupation"])
""",
            "first release alone",
        ),
        Mistake(
            "all values that both releases have anywhere",
            """
def possible_values(release_a, class_a, release_b, class_b):
    return set(release_a["occupation"]) & set(release_b["occupation"])
""",
            "in the victim's class",
        ),
        Mistake(
            "rows joined by class number",
            """
def possible_values(release_a, class_a, release_b, class_b):
    both = release_a.merge(release_b, on=["class", "occupation"])
    return set(both[both["class"] == class_a]["occupation"])
""",
            "have nothing to do with each other",
        ),
    )

    def test_victims(self, answers: Answers, rng: np.random.Generator) -> str:
        """Attack people of Adult in two releases."""
        people = load_adult().sample(1500, random_state=rng).reset_index(drop=True)
        releases = []
        for columns in (["age", "race"], ["education", "hours_per_week"]):
            classes = mondrian(people, columns, k=10)
            shuffled = rng.permutation(classes.max() + 1)
            releases.append(pd.DataFrame({"class": shuffled[classes], **people[["occupation"]]}))
        one, two = releases
        everywhere = set(one["occupation"])
        alone, left = [], []
        for victim in rng.permutation(len(people)):
            a, b = int(one["class"][victim]), int(two["class"][victim])
            in_a = set(one["occupation"][one["class"] == a])
            in_b = set(two["occupation"][two["class"] == b])
            same_number = in_a & set(two["occupation"][two["class"] == a])
            # Victims on whom the typical mistakes give different answers.
            answers_differ = {
                frozenset(s) for s in (in_a & in_b, in_a, in_b, in_a | in_b, same_number)
            }
            if len(answers_differ) < 5 or everywhere in (in_a, in_b, in_a | in_b):
                continue
            # The row order of the releases tells nothing.
            first = one.sample(frac=1, random_state=rng).reset_index(drop=True)
            second = two.sample(frac=1, random_state=rng).reset_index(drop=True)
            got = answers.possible_values(first, a, second, b)
            if got != in_a & in_b:
                raise Wrong(self._why(got, in_a, in_b, same_number, everywhere))
            alone.append(len(in_a))
            left.append(len(got))
            if len(left) == 15:
                break
        return (
            f"Possible occupations left for a victim: {np.mean(alone):.1f} after one release, "
            f"{np.mean(left):.1f} after two."
        )

    @staticmethod
    def _why(got: set, in_a: set, in_b: set, same_number: set, everywhere: set) -> str:
        told = f"For one victim {len(in_a & in_b)} values are possible; you say {len(got)}."
        if not got:
            return (
                f"{told} Do not match rows of the two releases by index: their order says nothing. "
                "And `value in column` looks at the index, not at the values."
            )
        if got == in_a | in_b:
            return f"{told} That is every value of either class; the victim's must be in both."
        if got in (in_a, in_b):
            which = "first" if got == in_a else "second"
            return f"{told} That is what the {which} release alone allows."
        if got == same_number:
            return (
                f"{told} Classes of the same number in the two releases have nothing to do with "
                "each other."
            )
        if got == everywhere:
            return f"{told} Look only at the rows in the victim's class of each release."
        extra, missing = sorted(map(str, got - (in_a & in_b))), sorted((in_a & in_b) - got)
        return f"{told} Wrongly among them: {extra or 'none'}; missing: {missing or 'none'}."


_COLUMNS = ["age", "education", "marital_status", "race", "sex"]


class OwnRelease(Exercise):
    """Publish a table that keeps k, l and t, and still says something; open-ended."""

    label = "2.4"
    title = "Your own release"
    points = 3
    kinds = {"anonymise": table}
    hints = (
        "Start with one column: ages in groups of 20 years. Rare values make small classes, and "
        "small classes have odd occupations.",
        "By hand: ages // 20, three levels of education, married or not, white or other. Then "
        "leave out the rows of classes below 25: small classes are what breaks t.",
        "Or let Mondrian cut: mondrian(table, columns, k=10, sensitive='occupation', l=3, t=0.6), "
        "then generalise(table, columns, classes).",
    )
    reference = """
from privlab.anonymity import generalise, mondrian

def anonymise(table):
    columns = ["age", "education", "marital_status", "race", "sex"]
    classes = mondrian(table, columns, k=10, sensitive="occupation", l=3, t=0.6)
    return generalise(table, columns, classes)
"""
    mistakes = (
        Mistake(
            "the original table",
            """
def anonymise(table):
    return table
""",
            "still the original",
        ),
        Mistake(
            "only the age is grouped",
            """
def anonymise(table):
    return table.assign(age=table["age"] // 10 * 10)
""",
            "smallest class has size",
        ),
        Mistake(
            "an almost empty table",
            """
def anonymise(table):
    return table.head(100)
""",
            "rows are gone",
        ),
        Mistake(
            "everything suppressed",
            """
def anonymise(table):
    return table.assign(age="*", education="*", marital_status="*", race="*", sex="*")
""",
            "information is lost",
        ),
        Mistake(
            "k without l",
            """
from privlab.anonymity import generalise, mondrian

def anonymise(table):
    columns = ["age", "education", "marital_status", "race", "sex"]
    return generalise(table, columns, mondrian(table, columns, k=10))
""",
            "different occupations",
        ),
        Mistake(
            "k and l without t",
            """
from privlab.anonymity import generalise, mondrian

def anonymise(table):
    columns = ["age", "education", "marital_status", "race", "sex"]
    classes = mondrian(table, columns, k=10, sensitive="occupation", l=3)
    return generalise(table, columns, classes)
""",
            "the occupations are far",
        ),
        Mistake(
            "the sensitive column removed",
            """
def anonymise(table):
    return table[["sex"]]
""",
            "has no column `occupation`",
        ),
        Mistake(
            "exact values beside the coarse ones",
            """
from privlab.anonymity import generalise, mondrian

def anonymise(table):
    columns = ["age", "education", "marital_status", "race", "sex"]
    classes = mondrian(table, columns, k=10, sensitive="occupation", l=3, t=0.6)
    return generalise(table, columns, classes).assign(exact_age=table["age"])
""",
            "columns that the table did not have",
        ),
        Mistake(
            "the number of the class instead of its values",
            """
from privlab.anonymity import mondrian

def anonymise(table):
    columns = ["age", "education", "marital_status", "race", "sex"]
    classes = mondrian(table, columns, k=10, sensitive="occupation", l=3, t=0.6)
    return table.assign(**{c: [f"class {n}" for n in classes] for c in columns})
""",
            "does not say",
        ),
    )
    k, l, t, most_suppressed, most_lost = 10, 3, 0.7, 0.08, 0.4

    def test_release(self, answers: Answers, rng: np.random.Generator) -> str:
        """Measure k, l and t, and what is left."""
        original = load_adult().sample(8000, random_state=rng)[[*_COLUMNS, "occupation"]]
        release = answers.anonymise(original)
        self._check_form(release, original)
        columns = [name for name in _COLUMNS if name in release.columns]
        text = _labels(release)
        rows = original.loc[release.index]
        suppressed = 1 - len(release) / len(original)
        if suppressed > self.most_suppressed:
            raise Wrong(f"{suppressed:.1%} of the rows are gone; at most 8 % may be left out.")
        if columns == _COLUMNS and text[columns].equals(rows[columns].astype(str)):
            raise Wrong("This is still the original table.")
        classes = equivalence_classes(text, columns)
        sizes = np.bincount(classes)
        if sizes.min() < self.k:
            raise Wrong(
                f"The smallest class has size {sizes.min()}, {self.k} is asked for: "
                f"{self._example(text, columns, classes, int(sizes.argmin()))}. "
                f"{int((sizes < self.k).sum()):,} classes are too small."
            )
        losses = self._losses(text, rows)
        lost = suppressed + (1 - suppressed) * float(np.mean(list(losses.values())))
        if lost > self.most_lost:
            each = ", ".join(f"{name} {loss:.0%}" for name, loss in losses.items())
            raise Wrong(
                f"k is reached, but {lost:.0%} of the information is lost (NCP); at most "
                f"{self.most_lost:.0%} may be. Column by column: {each}."
            )
        variety = text["occupation"].groupby(classes).nunique()
        if variety.min() < self.l:
            raise Wrong(
                f"k is {sizes.min()}, but a class has only {variety.min()} different occupations, "
                f"{self.l} are asked for: "
                f"{self._example(text, columns, classes, int(variety.argmin()))}."
            )
        distance = t_closeness(text, columns, "occupation")
        if distance > self.t + 1e-9:
            raise Wrong(
                f"k is {sizes.min()} and l is {variety.min()}, but in one class the occupations "
                f"are far from those of the whole release: t is {distance:.3f}, at most {self.t} "
                "is asked for. Small classes are the usual reason."
            )
        ours = mondrian(original, _COLUMNS, self.k, sensitive="occupation", l=self.l, t=self.t)
        return (
            f"k = {sizes.min()}, l = {variety.min()}, t = {distance:.2f}; {suppressed:.1%} of the "
            f"rows left out, {lost:.1%} of the information lost (Mondrian: "
            f"{information_loss(original, _COLUMNS, ours):.1%}; by hand, 28 % is good)."
        )

    @staticmethod
    def _example(text: pd.DataFrame, columns: list[str], classes: np.ndarray, number: int) -> str:
        """Return what the rows of one class say."""
        return ", ".join(text[columns].iloc[int(np.argmax(classes == number))])

    @staticmethod
    def _losses(text: pd.DataFrame, rows: pd.DataFrame) -> dict[str, float]:
        """Return the information lost in each column by what the release says.

        A label stands for all original values that it replaces; a column that is gone says nothing.
        """
        return {
            name: information_loss(rows, [name], equivalence_classes(text, [name]))
            if name in text.columns
            else 1.0
            for name in _COLUMNS
        }

    @staticmethod
    def _check_form(release: pd.DataFrame, original: pd.DataFrame) -> None:
        if "occupation" not in release.columns:
            raise Wrong("Your release has no column `occupation`: it is what the study is about.")
        if not any(name in release.columns for name in _COLUMNS):
            raise Wrong(f"Your release has none of the columns {', '.join(_COLUMNS)}.")
        new = [name for name in release.columns if name not in original.columns]
        if new:
            raise Wrong(f"Your release has columns that the table did not have: {', '.join(new)}.")
        if release.index.has_duplicates or not release.index.isin(original.index).all():
            raise Wrong("Keep the table's index, so that rows can be compared with the original.")
        rows = original.loc[release.index]
        if not release["occupation"].eq(rows["occupation"]).all():
            raise Wrong(
                "The occupations do not fit the original rows. Was the column changed, or the "
                "index (reset_index, sorted values)?"
            )
        labels = _labels(release)
        for name in _COLUMNS:
            if name in release.columns:
                OwnRelease._check_labels(name, labels[name], rows[name])

    @staticmethod
    def _check_labels(name: str, labels: pd.Series, values: pd.Series) -> None:
        """Refuse labels from which nobody can tell which values they stand for.

        A label is fine if it names the row's own value ("HS-grad | 11th", "30–39"), if it is "*",
        or if the labels of a value form a hierarchy: what one stands for is part of what the other
        stands for. One label a value, wherever it stands, is the simplest hierarchy.
        """
        pairs = pd.DataFrame({"value": values, "label": labels}).drop_duplicates()
        pairs = pairs[(pairs["label"] != "*")]
        stands_for = pairs.groupby("label")["value"].agg(set)
        for value, given in pairs.groupby("value")["label"]:
            sets = sorted((stands_for[label] for label in given), key=len)
            if all(small <= large for small, large in pairwise(sets)):
                continue
            for label in given:
                if isinstance(value, str):
                    told = value in re.split(r" \| |, ?", label)
                else:
                    bounds = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", label)]
                    told = 0 < len(bounds) <= 2 and bounds[0] <= value <= bounds[-1]
                if not told:
                    raise Wrong(
                        f"In `{name}` the label {label!r} does not say that it stands for "
                        f"{value!r}. Give each value always the same label, or write what the "
                        "class holds, as privlab's generalise does."
                    )


def _labels(release: pd.DataFrame) -> pd.DataFrame:
    """Return a release as texts; a missing value says as much as "*"."""
    return release.astype(object).where(release.notna(), "*").astype(str)


q1 = SmallestClass()
q2 = NearlyCertain()
q3 = Intersection()
q4 = OwnRelease()
EXERCISES = (q1, q2, q3, q4)
