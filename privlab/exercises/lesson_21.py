"""Exercises of lesson 21: a planning table, private releases, a whole design."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import capstone
from ..accounting import gaussian_epsilon
from ..capstone import CANDIDATES, DELTA, EPSILON, HIGH, LOW, Design, Report, Unusable
from ..exercise import (
    Answers,
    Evidence,
    Exercise,
    Measured,
    Mistake,
    Wrong,
    array,
    kind_name,
    mapping,
)
from .audited import EPSILONS, LearnersMechanism, Neighbours, audit_answer

#: Different patients for different students; each case takes some memory, so they are few.
_CASES = 500

_vector = array(1, "a vector of numbers", "Is something divided by 0?")


def _pair(value: Any, what: str) -> np.ndarray:
    """Accept two finite numbers."""
    pair = _vector(value, what)
    if len(pair) != 2:
        raise Wrong(f"{what} should be two numbers, the sum and the count; it has {len(pair)}.")
    return pair


def _rows(value: Any, what: str) -> list[dict | None]:
    """Accept a list of rows, each a dict or None."""
    if not isinstance(value, list | tuple):
        raise Wrong(
            f"{what} should be a list, a dict or None for each row; it is {kind_name(value)}."
        )
    for row in value:
        if row is not None and not isinstance(row, dict):
            raise Wrong(f"{what} should hold dicts or None, but it holds {kind_name(row)}.")
    return list(value)


def _box(value: Any, what: str) -> bytes:
    """Accept bytes."""
    if not isinstance(value, bytes):
        raise Wrong(f"{what} should be bytes, but it is {kind_name(value)}.")
    return value


def _box_or_none(value: Any, what: str) -> bytes | None:
    """Accept bytes, or None for a refusal."""
    return None if value is None else _box(value, what)


def _residues(value: Any, what: str) -> np.ndarray:
    """Accept a vector of whole numbers."""
    numbers = np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None
    if numbers is not None and numbers.ndim == 1 and numbers.dtype.kind in "iu":
        return numbers  # as they are: float64 would round large ones
    numbers = _vector(value, what)
    if (numbers != np.rint(numbers)).any():
        raise Wrong(f"{what} should be whole numbers: masks live in the integers.")
    return numbers.astype(np.int64)


def _design(answers: Answers, plan: Mapping[str, Any], name: str = "yours") -> Design:
    """Return a learner's answers as a design; functions that are not asked for are missing."""
    functions = ("desensitise", "seal", "unseal", "mask")

    def many(
        design: Design,
        name: str,
        inputs: Sequence[tuple],
        choices: Sequence[int],
        rng: np.random.Generator,
    ) -> list[Any]:
        return answers.choose(name, list(inputs), list(choices), rng)

    calls = {each: (lambda *args, each=each: getattr(answers, each)(*args)) for each in functions}
    return Design(name=name, plan=plan, **calls, update=None, statistic=None, many=many)


def _case(rng: np.random.Generator) -> int:
    return int(rng.integers(_CASES))


# ---- 21.1 --------------------------------------------------------------------------------------


def _table(
    age: str = 'age_group(row["age"])',
    sex: str = 'row["sex"]',
    hospital: str = 'hospitals(row["sex"], row["hospital"])',
    ill: str = 'row["ill"]',
    more: str = "",
    enough: str = "len(group) >= 5",
    end: str = "table",
) -> str:
    """Return an answer to 21.1; what is given replaces a part of the right one."""
    return f"""
import base64
import hashlib


def age_group(age):
    return "under 50" if age < 50 else "50-59" if age < 60 else "60 and over"


def hospitals(sex, hospital):
    small = ("Switzerland", "VA Long Beach")
    return "*" if sex == "Female" else " or ".join(small) if hospital in small else hospital


def desensitise(rows):
    table, groups = [], {{}}
    for place, row in enumerate(rows):
        age = {age}
        sex = {sex}
        hospital = {hospital}
        table.append({{"age": age, "sex": sex, "hospital": hospital, "ill": {ill}{more}}})
        groups.setdefault((age, sex, hospital), []).append(place)
    for group in groups.values():
        if not ({enough}):
            for place in group:
                table[place] = None
    return {end}
"""


_DECADES = 'f"{row[\'age\'] // 10 * 10}s" if 40 <= row["age"] < 60 else str(row["age"] >= 60)'


class PlanningTable(Exercise):
    """A table that is useful for planning and says nothing of anybody."""

    label = "21.1"
    title = "A table to plan with"
    points = 2
    kinds = {"desensitise": _rows}
    hints = (
        "Which columns does the register have as well? Make them coarser until nobody stands "
        "alone; leave out what the researcher did not ask for. Do not look at `ill`.",
        "Three age groups (under 50, 50 to 59, 60 and over) leave few small groups. Women are few, "
        "and so are the patients of Switzerland and VA Long Beach who are healthy: where can the "
        "hospital be coarser?",
        'Release `"*"` as the hospital of women, and one name for Switzerland and VA Long Beach. '
        "Count the rows of each group (age group, sex, hospital); where they are fewer than 5, put "
        "None in their place.",
    )
    reference = """
def age_group(age):
    return "under 50" if age < 50 else "50-59" if age < 60 else "60 and over"


def hospitals(row):
    if row["sex"] == "Female":
        return "*"  # few women: one group for all hospitals
    if row["hospital"] in ("Switzerland", "VA Long Beach"):
        return "Switzerland or VA Long Beach"
    return row["hospital"]


def desensitise(rows):
    groups = [(age_group(row["age"]), row["sex"], hospitals(row)) for row in rows]
    table = []
    for row, group in zip(rows, groups):
        age, sex, hospital = group
        entry = {"age": age, "sex": sex, "hospital": hospital, "ill": row["ill"]}
        table.append(entry if groups.count(group) >= 5 else None)
    return table
"""
    mistakes = (
        Mistake("the names", _table(more=', "name": row["name"]'), "a name stands"),
        Mistake(
            "hashed names",
            _table(more=', "patient": hashlib.sha256(row["name"].encode()).hexdigest()'),
            "hashes of all names",
        ),
        Mistake("exact ages", _table(age='row["age"]', enough="True"), "fit fewer than"),
        Mistake(
            "no diversity",
            _table(age=_DECADES, hospital='row["hospital"]'),
            "the diagnosis is certain",
        ),
        Mistake(
            "groups of one diagnosis left out",
            _table(
                age=_DECADES,
                hospital='row["hospital"]',
                enough="len(group) >= 5 and len({rows[place]['ill'] for place in group}) > 1",
            ),
            "depends on the diagnoses",
        ),
        Mistake("one group for all", _table(age='"*"', sex='"*"', hospital='"*"'), "too little"),
        Mistake(
            "rows dropped",
            _table(enough="len(group) >= 60", end="[row for row in table if row]"),
            "one entry a row",
        ),
        Mistake(
            "diagnoses scrambled",
            _table(ill='not row["ill"]'),
            "another diagnosis than",
        ),
        Mistake(
            "a column is missing",
            _table(end='[row and {k: row[k] for k in ("age", "sex", "ill")} for row in table]'),
            "has the columns age, sex, hospital and ill",
        ),
        Mistake(
            "cholesterol as well",
            _table(more=', "chol": row["chol"]'),
            "Nobody asked for `chol`",
        ),
        Mistake(
            "names in buckets",
            _table(sex="row['sex'] + str(hashlib.sha256(row['name'].encode()).digest()[0] % 4)"),
            "depend on names",
        ),
        Mistake(
            "cholesterol in another column",
            _table(sex='f"{row[\'sex\']} {(row[\'chol\'] or 0) > 250}"'),
            "depend on cholesterol",
        ),
        Mistake(
            "the diagnosis written in two ways",
            _table(ill='row["ill"] if row["age"] % 2 else int(row["ill"])'),
            "written in several ways",
        ),
        Mistake(
            "left out by chance",
            _table(enough="len(group) >= 5 and __import__('random').random() > 0.2"),
            "another table of the same rows",
        ),
        Mistake("nothing at all", _table(end="[None] * len(rows)"), "is empty"),
    )  # fmt: skip

    def test_linkage(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The register attacks three sets of patients; the researcher looks at what is left."""
        self._attack(answers, rng)
        self._attack(answers, rng)
        return self._attack(answers, rng)

    def hidden_other_patients(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The same with two other sets of patients."""
        self._attack(answers, rng)
        return self._attack(answers, rng)

    @staticmethod
    def _attack(answers: Answers, rng: np.random.Generator) -> Evidence:
        try:
            found = capstone.expose(_design(answers, {}), capstone.make_case(_case(rng)))
        except Unusable as problem:
            raise Wrong(str(problem)) from None
        measured = [Measured("rows of the table exposed by the register", found.share, 0)]

        def refuse(message: str) -> None:
            raise Wrong(message, measured)

        if not found.rows:
            refuse("The table is empty: nobody is exposed, and nobody can plan with it.")
        if "chol" in found.columns:
            refuse(
                "Nobody asked for `chol`: an exact value singles a patient out for whoever knows "
                "it. Release age, sex, hospital and ill."
            )
        if found.named:
            if "name" in found.columns:
                refuse(f"In {found.named} rows a name stands in the table.")
            refuse(
                f"The register computes the hashes of all names: {found.named} pseudonyms are "
                "reversed (lesson 01). The table needs no pseudonym."
            )
        if found.changed:
            refuse(
                f"{found.changed} rows have another diagnosis than their patients. Are the rows "
                "still in their order?"
            )
        for column, what in (("name", "names"), ("chol", "cholesterol")):
            if found.hidden[column]:
                refuse(
                    f"{found.hidden[column]} rows depend on {what}: with others, another value is "
                    "released, or the row is left out. So the table tells something of them."
                )
        if found.few:
            refuse(
                f"{found.few} of {found.rows} rows fit fewer than {CANDIDATES} patients of the "
                "register: their groups (same age, sex and hospital in the table) are too small. "
                "Make groups larger, or leave small ones out (None)."
            )
        if found.certain:
            refuse(
                f"For {found.certain} patients the diagnosis is certain: their whole group has the "
                "same one. A large group is not enough (lesson 02): make it so wide that both "
                "diagnoses are frequent."
            )
        if found.telling:
            refuse(
                "Who is in which group, or left out, depends on the diagnoses: for "
                f"{found.telling} patients it changes when diagnoses are exchanged. Whoever has "
                "the register sees who is missing, and infers why (minimality attack). Make groups "
                "wider instead, and leave out by size alone."
            )
        if found.utility < 0.75:
            refuse(
                f"Nobody is exposed, but too little is left to plan with: {found.utility:.2f}, "
                "where 0.75 is asked for (1: exact values for all). Finer groups, fewer rows left "
                "out?"
            )
        return Evidence(
            f"The register exposes none of {found.rows} rows; {found.utility:.2f} of the detail "
            "is left.",
            measured,
        )


# ---- 21.2 --------------------------------------------------------------------------------------

_NEIGHBOURS = [
    Neighbours(*pair, names)
    for pair, names in zip(capstone.PAIRS, capstone.PAIR_NAMES, strict=True)
]


def _releases(
    values: str = "np.clip(values, 100, 400)",
    total: str = "np.sum(values) + rng.laplace(0, 400 / (epsilon / 2))",
    count: str = "len(values) + rng.laplace(0, 1 / (epsilon / 2))",
    result: str = "[total, count]",
    factors: str = "np.minimum(1, max_grad_norm / np.maximum(norms, 1e-12))",
    clipped: str = "(gradients * factors).sum(axis=0)",
    share: str = "noise_multiplier * max_grad_norm / np.sqrt(honest)",
    noise: str = "rng.normal(0, share, len(clipped))",
    before: str = "",
) -> str:
    """Return an answer to 21.2; what is given replaces a part of the right one."""
    return f"""
import numpy as np
{before}

def statistic(values, epsilon, rng):
    values = {values}
    total = {total}
    count = {count}
    return {result}


def update(gradients, max_grad_norm, noise_multiplier, honest, rng):
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    factors = {factors}
    clipped = {clipped}
    share = {share}
    return clipped + {noise}
"""


class PrivateReleases(Exercise):
    """A sum and a count with ε, and a hospital's share of a private update."""

    label = "21.2"
    title = "What leaves the hospitals"
    points = 3
    time_limit = 60
    kinds = {"statistic": _pair, "update": _vector}
    hints = (
        "statistic: how far can one patient move the sum of values between 100 and 400? And the "
        "count? Both are released, so ε is shared.",
        "Clip to 100 and 400, then rng.laplace(0, 400 / (epsilon / 2)) for the sum and "
        "rng.laplace(0, 1 / (epsilon / 2)) for the count.",
        "update: np.minimum(1, max_grad_norm / norms) shortens long rows alone. Variances "
        "add up: `honest` shares of noise_multiplier * max_grad_norm / "
        "np.sqrt(honest) make the whole.",
    )
    reference = _releases()
    mistakes = (
        Mistake("not clipped", _releases(values="np.array(values)"), "a value of 5,000"),
        Mistake("the count first", _releases(result="[count, total]"), "the sum comes first"),
        Mistake("an exact count", _releases(count="len(values)"), "The count has no noise"),
        Mistake("an exact sum", _releases(total="np.sum(values)"), "The sum has no noise"),
        Mistake(
            "one draw for both",
            _releases(
                total="np.sum(values) + 400 * (draw := rng.laplace(0, 2 / epsilon))",
                count="len(values) + draw",
            ),
            "the same draw",
        ),
        Mistake(
            "the whole ε twice",
            _releases(
                total="np.sum(values) + rng.laplace(0, 400 / epsilon)",
                count="len(values) + rng.laplace(0, 1 / epsilon)",
            ),
            "each seems to use the whole ε",
        ),
        Mistake(
            "the sensitivity of a mean",
            _releases(total="np.sum(values) + rng.laplace(0, 800 / max(len(values), 1) / epsilon)"),
            "depends on how many values there are",
        ),
        Mistake(
            "ε for each number that adds up like a variance",
            _releases(
                total="np.sum(values) + rng.laplace(0, 400 * np.sqrt(2) / epsilon)",
                count="len(values) + rng.laplace(0, np.sqrt(2) / epsilon)",
            ),
            "ε add up, not their squares",
        ),
        Mistake(
            "too little noise, centred",
            _releases(
                count="len(values) + rng.laplace(0, 1.2 / epsilon)",
                total="np.sum(values - 250) + rng.laplace(0, 150 * 1.2 / epsilon)",
                result="[total + 250 * count, count]",
            ),
            "spends more than it promises",
        ),
        Mistake(
            "ε ignored",
            _releases(
                total="np.sum(values) + rng.laplace(0, 800)",
                count="len(values) + rng.laplace(0, 2)",
            ),
            "whatever `epsilon` is",
        ),
        Mistake(
            "exact where patients are many",
            _releases(
                result="[total, count] if len(values) < 60 else [np.sum(values), len(values)]"
            ),
            "values, the sum has no noise",
        ),
        Mistake(
            "bounds taken from the values",
            _releases(
                values="np.clip(values, 100, max(values, default=400) if epsilon < 9 else 400)",
                total="np.sum(values) + rng.laplace(0, max(values, default=400) / (epsilon / 2))",
            ),
            "use public ones",
        ),
        Mistake(
            "more noise for more ε",
            _releases(
                total="np.sum(values) + rng.laplace(0, 800 * epsilon)",
                count="len(values) + rng.laplace(0, 2 * epsilon)",
            ),
            "grows with epsilon",
        ),
        Mistake(
            "ten times the noise",
            _releases(total="np.sum(values) + rng.laplace(0, 4000 / (epsilon / 2))"),
            "off by",
        ),
        Mistake("gradients not clipped", _releases(factors="1"), "a longer row counts for more"),
        Mistake(
            "every row made as long as the bound",
            _releases(factors="max_grad_norm / np.maximum(norms, 1e-12)"),
            "a row shorter than max_grad_norm",
        ),
        Mistake(
            "the sum clipped",
            _releases(
                factors="1",
                clipped="(s := gradients.sum(axis=0)) * min(1, max_grad_norm "
                "/ max(np.linalg.norm(s), 1e-12))",
            ),
            "clip each patient's row, then add up",
        ),
        Mistake(
            "entries clipped",
            _releases(
                factors="1", clipped="np.clip(gradients, -max_grad_norm, max_grad_norm).sum(axis=0)"
            ),
            "each entry is clipped",
        ),
        Mistake(
            "the mean",
            _releases(clipped="(gradients * factors).mean(axis=0)"),
            "seems to be a mean",
        ),
        Mistake(
            "all the noise at each hospital",
            _releases(share="noise_multiplier * max_grad_norm"),
            "more noise than its share",
        ),
        Mistake(
            "divided by the number of hospitals",
            _releases(share="noise_multiplier * max_grad_norm / honest"),
            "Variances add up",
        ),
        Mistake(
            "noise without the bound",
            _releases(share="noise_multiplier / np.sqrt(honest)"),
            "does not grow with max_grad_norm",
        ),
        Mistake("one number for all entries", _releases(noise="rng.normal(0, share)"), "one draw"),
        Mistake(
            "noise of a seed",
            _releases(noise="np.random.default_rng(21).normal(0, share, len(clipped))"),
            "the same noise in every call",
        ),
        Mistake(
            "noise for small hospitals alone",
            _releases(noise="rng.normal(0, share if len(gradients) < 50 else 0, len(clipped))"),
            "depends on how many patients",
        ),
        Mistake(
            "noise of two values",
            _releases(noise="share * rng.choice([-1, 1], len(clipped))"),
            "is not Gaussian",
        ),
        Mistake(
            "noise that the next call takes back",
            _releases(
                before="last = []\n",
                noise="(-last.pop() if last else last.append(rng.normal(0, share, len(clipped)))"
                " or last[0])",
            ),
            "depends on the call before",
        ),
        Mistake(
            "noise on every second entry",
            _releases(
                noise="rng.normal(0, share, len(clipped)) "
                "* np.where(np.arange(len(clipped)) % 2, 2**0.5, 0)"
            ),
            "entries have different noise",
        ),
        Mistake(
            "a bound taken from the rows",
            _releases(
                factors="np.minimum(1, min(max_grad_norm, np.median(norms[norms > 0]) "
                "if (norms > 0).any() else max_grad_norm) / np.maximum(norms, 1e-12))"
            ),
            "depends on the other rows",
        ),
        Mistake(
            "a little less noise",
            _releases(share="0.955 * noise_multiplier * max_grad_norm / np.sqrt(honest)"),
            "a little too small",
        ),
    )

    def test_sum(self, answers: Answers, rng: np.random.Generator) -> None:
        """With an enormous ε the sum and the number are nearly exact."""
        high, low = rng.uniform(HIGH / 2, HIGH, 20), rng.uniform(LOW, HIGH / 2, 20)
        cases = {"inside": [*high, *low], "outside": [*high, 5_000.0, 3.0], "nobody": []}
        for name, values in cases.items():
            total, count = self._many(answers, values, 1e9, 1, rng)[0]
            wanted = np.clip(values, LOW, HIGH).sum()
            told = f"At ε = 10⁹, {len(values)} values that add up to {wanted:,.1f} (clipped) make "
            told += f"[{total:,.1f}, {count:,.1f}]."
            if abs(total - len(values)) < 1 and values:
                raise Wrong(f"{told} Are they exchanged? In the pair, the sum comes first.")
            if name == "outside" and abs(total - np.sum(values)) < 1:
                raise Wrong(f"{told} In it, a value of 5,000 counts for more than {HIGH:g}.")
            # Whoever rounds what is released may.
            # Also max(count, 1): what is done to a release costs no privacy.
            slack = 0.6 if values else 1.001
            if abs(total - wanted) > 1 or abs(count - len(values)) > slack:
                spread = [
                    float(np.ptp(np.array(self._many(answers, values, each, 40, rng))[:, 0]))
                    for each in (1e-6, 1e9)
                ]
                if 0.2 * spread[1] < spread[0] < 5 * spread[1]:
                    raise Wrong(f"{told} The noise is the same whatever `epsilon` is.")
                if spread[0] < 0.001 * spread[1]:
                    raise Wrong(f"{told} The noise grows with epsilon: it should become less.")
                raise Wrong(told)

    def test_noise(self, answers: Answers, rng: np.random.Generator) -> None:
        """Both numbers have noise of their own, with few values and with many."""
        for size in (50, int(rng.integers(100, 500)), int(rng.integers(1_000, 3_000))):
            totals, counts = np.array(self._many(answers, [250.0] * size, 1.0, 200, rng)).T
            for values, what in ((totals, "sum"), (counts, "count")):
                if np.ptp(values) >= 1e-9:
                    continue
                told = f"The {what} has no noise of its own"
                if size > 50:
                    told = f"With {size} values, the {what} has no noise"
                raise Wrong(f"{told}: whoever knows all patients but one reads off what is left.")
            line = np.polynomial.Polynomial.fit(counts, totals, 1)
            if np.ptp(totals - line(counts)) < 1e-6 * np.ptp(totals):
                raise Wrong(
                    "Sum and count have the same draw as their noise: it cancels. Draw twice."
                )

    def test_scale(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The ε that Laplace noise spends, read off its scales."""
        cases = {(60, 0.2): None, (60, 0.5): None, (3, 1.0): None}
        # Of 400 draws the mean size is known to 5 %: 0.7 is 4 standard errors of two away.
        sizes = (300, int(rng.integers(700, 3_000)))
        few, many = (np.array(self._many(answers, [250.0] * each, 0.5, 400, rng)) for each in sizes)
        small, large = (np.abs(each - np.median(each, 0)).mean(0) for each in (few, many))
        for what, ratio in zip(("sum", "count"), large / np.maximum(small, 1e-12), strict=True):
            if ratio < 0.7:
                raise Wrong(
                    f"The noise of the {what} depends on how many values there are: with "
                    f"{sizes[1]} it is {ratio:.2g} times as large as with {sizes[0]}. One patient "
                    "moves both sums as far."
                )
        for size, epsilon in cases:
            found = np.array(self._many(answers, [250.0] * size, epsilon, 8_000, rng))
            for values in found.T:
                # Of 8,000 independent ones the correlation is beyond 0.06 in 1 of 10^7 runs.
                if abs(np.corrcoef(values[1:], values[:-1])[0, 1]) > 0.06:
                    raise Wrong("The noise of `statistic` in a call depends on that of the last.")
            cases[size, epsilon] = capstone.laplace_epsilon(found)
        read = {case: each for case, each in cases.items() if each}
        over = {
            case: each
            for case, each in read.items()
            if each[0] > capstone.LAPLACE_TOLERANCE * case[1]
        }
        if not over:
            return Evidence("The size of the noise is not below what ε asks for.")
        (size, epsilon), (spent, sums, counts) = next(iter(over.items()))
        measured = [Measured(f"ε spent where {epsilon:g} was promised", spent, epsilon)]
        told = (
            f"At ε = {epsilon:g}, `statistic` of {size} values spends more: the noise has scales "
            f"{sums:.3g} and {counts:.3g}, which together spend ε = {spent:.2f}."
        )
        scaled = [np.array(each[1:]) * case[1] for case, each in read.items()]
        higher = np.array(self._many(answers, [HIGH] * size, epsilon, 8_000, rng))
        other = capstone.laplace_epsilon(higher)
        if len(read) == 3 and np.ptp(np.log(scaled), axis=0).max() > 0.5:
            told = (
                "The noise depends on how many values there are: that is the sensitivity of a "
                f"mean, and a small hospital gets none. {told}"
            )
        elif other and abs(math.log(other[1] / sums)) > 0.2:
            told = (
                f"The noise depends on the values: it is larger or smaller where all are {HIGH:g}. "
                f"Bounds that are taken from patients tell of them; use public ones. {told}"
            )
        elif abs(spent / epsilon / 2 - 1) < 0.06:
            told = (
                "Sum and count are two releases about the same patients, and each seems to use "
                f"the whole ε. Give each a part. {told}"
            )
        elif abs(spent / epsilon / 2**0.5 - 1) < 0.06:
            told = f"Each seems to use ε divided by √2: ε add up, not their squares. {told}"
        else:
            told = f"The noise spends more than it promises. {told}"
        raise Wrong(told, measured)

    def test_audit(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The audits of sum and count, and of both at once."""
        return self._audit_statistic(answers, rng, 18_000, 6_000, (EPSILONS[-1],))

    def test_error(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The mean is still worth something."""
        values = rng.normal(247, 58, 600).clip(60, 600).tolist()
        found = np.array(self._many(answers, values, 0.5, 400, rng))
        means = np.clip(found[:, 0] / np.maximum(found[:, 1], 1), LOW, HIGH)
        error = float(np.abs(means - np.mean(values)).mean())
        # About 3.6 mg/dl for the reference: the mean of 400 is beyond 6 in no run of a million.
        measured = [Measured("mean error at ε = 0.5, in mg/dl", error, 6)]
        if error > 6:
            raise Wrong(
                f"At ε = 0.5 the mean of 600 patients is off by {error:.1f} mg/dl on average, and "
                "6 is asked for. More noise than ε asks for, or shares that are too uneven?",
                measured,
            )
        # A sum centred at 250 with nearly all of ε is off by 150 / (0.5 · 600) = 0.5 on average.
        if error < 0.2:
            raise Wrong(
                f"At ε = 0.5 the mean of 600 patients is off by {error:.2g} mg/dl: that is too "
                "good to be private.",
                measured,
            )
        return Evidence(f"At ε = 0.5 the mean cholesterol is off by {error:.1f} mg/dl.", measured)

    def test_clipping(self, answers: Answers, rng: np.random.Generator) -> None:
        """Without noise, the update is the sum of the clipped rows."""
        bound = float(rng.uniform(0.5, 2))
        short = rng.normal(size=(5, 4))
        short *= 0.4 * bound / np.linalg.norm(short, axis=1, keepdims=True)
        long = np.abs(rng.normal(size=(6, 4))) * 50
        mixed = np.abs(rng.normal(size=(100, 4)))
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        mixed *= bound * rng.permutation([0.2] * 49 + [0.8] * 30 + [1.5] * 20 + [50.0])[:, None]
        for rows, name in (
            (short, "short"),
            (long, "long"),
            (long[:1], "long"),
            (np.zeros((2, 4)), "zero"),
            (np.zeros((0, 4)), "nobody"),
            (mixed, "short and long"),
        ):
            got = self._update(answers, rows, bound, 0.0, 3, rng)
            wanted = capstone.clip_rows(rows, bound).sum(axis=0)
            # Whoever clips a hair lower, or rounds to a grid, may (lesson 04).
            if np.abs(got - wanted).max() < 1e-3 * max(1, bound) * max(1, len(rows) / 10) and (
                len(rows) != 1 or np.linalg.norm(got) < 1.0002 * bound
            ):
                continue
            told = f"Without noise, {len(rows)} rows of 4 numbers ({name}) do not make the sum of "
            told += f"rows clipped to norm {bound:.2f}:"
            alone = rows.sum(axis=0)
            guesses = {
                "a longer row counts for more than max_grad_norm; shorten it": alone,
                "clip each patient's row, then add up; here the sum is clipped": (
                    alone * min(1, bound / max(np.linalg.norm(alone), 1e-12))
                ),
                "each entry is clipped by itself; clip the norm of the row": (
                    np.clip(rows, -bound, bound).sum(axis=0)
                ),
                "it seems to be a mean; return the sum": wanted / max(len(rows), 1),
                "a row shorter than max_grad_norm stays as it is": (
                    rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) * bound
                ).sum(axis=0),
            }
            why = [what for what, guess in guesses.items() if np.allclose(got, guess, rtol=1e-6)]
            if not why and name == "short and long":
                why = ["where to clip depends on the other rows; it is max_grad_norm for all"]
            raise Wrong(f"{told} {why[0]}." if why else f"{told} it differs by "
                        f"{np.abs(got - wanted).max():.3g}.")  # fmt: skip

    def test_shares(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The noise of a hospital has the right size, is Gaussian, and is fresh."""
        worst = 0.0
        many = rng.normal(size=(120, 8))
        for bound, multiplier, honest in ((1.0, 5.0, 1), (2.0, 4.0, 1), (0.5, 6.0, 3), (1, 8, 4)):
            wanted = multiplier * bound / math.sqrt(honest)
            told = f"With noise_multiplier = {multiplier:g}, max_grad_norm = {bound:g} and honest "
            told += f"= {honest}, the noise of a hospital is "
            ratios = []
            for rows in (np.zeros((3, 8)), many):
                arguments = (rows, float(bound), float(multiplier), honest)
                drawn = np.array(answers.sample("update", arguments, 1_000, rng))
                drawn -= capstone.clip_rows(rows, bound).sum(axis=0)
                self._fresh(drawn, len(rows))
                ratios.append(float(np.sqrt(np.mean(drawn**2))) / wanted)
                if not 0.96 < ratios[-1] / ratios[0] < 1.15 / 0.975:
                    raise Wrong(
                        f"The noise of `update` depends on how many patients there are: {told}"
                        f"{ratios[0]:.2f} times as large as it should be for 3 patients, and "
                        f"{ratios[1]:.2f} times for 120."
                    )
            ratio = float(np.sqrt(np.mean(np.square(ratios))))
            worst = max(worst, abs(ratio - 1))
            # 16,000 numbers: a right ratio is beyond 2.5 % off in 1 of 10^5 runs.
            if 0.975 < ratio < 1.15:
                continue
            told += f"{ratio:.3g} times as large as it should be."
            if abs(ratio * bound - 1) < 0.05 and bound != 1:
                raise Wrong(f"{told} It does not grow with max_grad_norm.")
            if honest > 1 and abs(ratio - math.sqrt(honest)) < 0.05 * math.sqrt(honest):
                raise Wrong(f"{told} This hospital adds more noise than its share.")
            if honest > 1 and abs(ratio * math.sqrt(honest) - 1) < 0.05:
                raise Wrong(f"{told} Variances add up, not deviations: divide by a square root.")
            if 0.9 < ratio < 1:
                raise Wrong(f"{told} That is a little too small: the promise needs all of it.")
            raise Wrong(told)
        return Evidence(
            f"The shares of 1 to 4 honest hospitals add up to the promised noise, to {worst:.1%}."
        )

    @staticmethod
    def _fresh(drawn: np.ndarray, patients: int) -> None:
        """See that noise, of shape (1000, 8), is Gaussian and independent by call and entry.

        Each of these limits is beyond 5 standard errors: 1 of 10^6 runs, or fewer.
        """
        from scipy.stats import kstest, norm

        if np.ptp(drawn, axis=0).max() < 1e-6:
            if patients > 3:
                raise Wrong(
                    "The noise of `update` depends on how many patients there are: "
                    f"{patients} get none."
                )
            raise Wrong("`update` adds the same noise in every call: it can be subtracted.")
        if np.ptp(drawn - drawn[:, :1], axis=0).max() < 1e-6:
            raise Wrong(
                "All entries of the update have one draw as their noise: their differences are "
                "exact. Draw a number for each entry."
            )
        spread = drawn.std(axis=0)
        if np.ptp(spread) > 0.25 * spread.max():
            raise Wrong(
                "The entries have different noise: deviations from "
                f"{spread.min():.2f} to {spread.max():.2f} in one update."
            )
        later = np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]
        if abs(later) > 0.06:
            raise Wrong("The noise of `update` depends on the call before: they can be compared.")
        among = np.abs(np.corrcoef(drawn.T) - np.eye(drawn.shape[1])).max()
        if among > 0.18:
            raise Wrong("The entries' noises depend on each other. Draw a number for each entry.")
        if kstest(drawn.ravel() / drawn.std(), norm.cdf).pvalue < 1e-7:
            raise Wrong("The noise of `update` is not Gaussian, and the accountant counts on that.")
        if len(np.unique(drawn.round(9), axis=0)) < 0.98 * len(drawn):
            raise Wrong("The noise of `update` repeats: who tries all its draws can subtract it.")

    def test_audit_update(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """The audit of one hospital's update, where it alone is honest."""
        return self._audit_update(answers, rng, 8_000)

    def hidden_audits(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """Both audits once more, with more samples."""
        self._audit_update(answers, rng, 40_000)
        return self._audit_statistic(answers, rng, 40_000, 40_000)

    @staticmethod
    def _audit_statistic(
        answers: Answers,
        rng: np.random.Generator,
        single: int,
        both: int,
        epsilons: Sequence[float] = EPSILONS,
    ) -> Evidence:
        told = audit_answer(
            LearnersMechanism(answers, "statistic"), _NEIGHBOURS, rng, samples=single
        )
        try:
            at_corners = capstone.AtCorners(LearnersMechanism(answers, "statistic"))
            audit_answer(at_corners, _NEIGHBOURS[:4], rng, epsilons=epsilons, samples=both)
        except Wrong as problem:
            raise Wrong(
                "Sum and count together tell more than ε allows, even if each alone does not: an "
                f"attacker looks at both at once. {problem}",
                problem.measured,
            ) from None
        return told

    def run_quick_tests(self, answers: Answers, rng: np.random.Generator) -> None:
        """Run the tests that take next to no time: for whoever is given both functions.

        Raises:
            Wrong: One of them finds something.
        """
        for test in (self.test_sum, self.test_noise, self.test_clipping, self.test_shares):
            test(answers, rng)

    @staticmethod
    def _audit_update(answers: Answers, rng: np.random.Generator, samples: int) -> Evidence:
        multiplier = 2.5
        # One round of noise multiplier σ is one Gaussian of μ = 1/σ.
        epsilon = math.ceil(100 * gaussian_epsilon(1 / multiplier, DELTA)) / 100
        other = np.array([[0.2, -0.1]])
        pairs = [
            Neighbours(other, np.vstack([other, [[30.0, 40.0]]]), ("without a patient", "with")),
            Neighbours(np.zeros((0, 2)), np.array([[0.0, -1.0]]), ("with nobody", "with one")),
        ]
        mechanism = LearnersMechanism(
            answers, "update", lambda rows, epsilon: (rows, 1.0, multiplier, 1)
        )
        told = audit_answer(
            mechanism, pairs, rng, delta=DELTA, epsilons=(epsilon,), samples=samples
        )
        asked = (
            f"A round of `update` with noise_multiplier = {multiplier:g} spends ε = {epsilon:g}."
        )
        return Evidence(f"{asked} {told}", told.measured)

    @staticmethod
    def _many(
        answers: Answers, values: list[float], epsilon: float, times: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        return answers.sample("statistic", ([float(each) for each in values], epsilon), times, rng)

    @staticmethod
    def _update(
        answers: Answers,
        rows: np.ndarray,
        bound: float,
        multiplier: float,
        honest: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        got = answers.sample("update", (rows, bound, multiplier, honest), 1, rng)[0]
        if got.shape != rows.shape[1:]:
            raise Wrong(
                f"The update of rows of {rows.shape[1]} numbers should have {rows.shape[1]} "
                f"numbers, but it has {len(got)}."
            )
        return got


# ---- 21.3 --------------------------------------------------------------------------------------

_PLAN = """plan = {
    "tls": True,
    "verify": True,
    "client_certificate": True,
    "minimum_version": "TLSv1.3",
    "rounds": 20,
    "learning_rate": 2.0,
    "max_grad_norm": 1.0,
    "noise_multiplier": noise_for(1.5, 1e-5, 20),
    "colluding": 1,
    "epsilon_model": 1.5,
    "delta": 1e-5,
    "epsilon_statistic": 0.5,
}"""

_WHOLE = (
    """
import secrets

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from privlab.secagg import mask
from scipy.optimize import brentq
from scipy.stats import norm


def noise_for(epsilon, delta, rounds):
    def too_much(mu):  # Balle and Wang (2018): what a Gaussian of this mu needs above delta
        over = np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        return norm.cdf(mu / 2 - epsilon / mu) - over - delta

    return rounds**0.5 / brentq(too_much, 0.01, 10)


"""
    + _PLAN
    + """


def seal(key, data, context):
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, data, context.encode())


def unseal(key, box, context):
    try:
        return AESGCM(key).decrypt(box[:12], box[12:], context.encode())
    except (InvalidTag, ValueError):
        return None

"""
    + PlanningTable.reference
    + _releases().replace("\nimport numpy as np\n", "")
)


def _whole(old: str, new: str) -> str:
    """Return an answer to 21.3 with a part of the right one replaced."""
    if old not in _WHOLE:
        raise ValueError(f"old must be a part of the reference, not {old!r}")
    return _WHOLE.replace(old, new)


def _masks(body: str) -> str:
    """Return an answer to 21.3 with masks of its own; ``pair`` draws that of a pair."""
    return _whole(
        "from privlab.secagg import mask",
        f"""
def mask(update, client, seeds, number):
    update = np.array(update, dtype=np.int64)

    def pair(other, size, below=2**32):
        shared = np.random.default_rng([int(seeds[client, other]), number])
        return (1 if client < other else -1) * shared.integers(below, size=size)

    {body}
""",
    )


def _noise(drawn: str) -> str:
    """Return an answer to 21.3 with noise of another kind."""
    return _whole("rng.normal(0, share, len(clipped))", drawn)


#: What to look at, by attack.
_ADVICE = {
    "linkage": "Lessons 01 and 02, exercise 21.1: groups of what you release, not of one column.",
    "membership": "Lesson 08: without clipping and noise, a model remembers who was there.",
    "inversion": "Lesson 15: fresh masks of all pairs for each round and entry; their sums need "
    "noise.",
    "theft": "Lesson 16: a fresh nonce, a tag, and the context as associated data.",
    "wiretap": "Lesson 17: tls, verify, client_certificate and minimum_version.",
    "audit": "Lesson 04: the noise of all rounds, the claims together, and who may collude.",
}


class WholeDesign(Exercise):
    """A whole design against every attack of the course."""

    label = "21.3"
    title = "The consortium"
    points = 5
    time_limit = 90
    kinds = {
        "plan": mapping,
        "seal": _box,
        "unseal": _box_or_none,
        "desensitise": _rows,
        "update": _vector,
        "mask": _residues,
        "statistic": _pair,
    }
    hints = (
        "Take the functions of 21.1 and 21.2, `mask` as imported, and `seal` and `unseal` of "
        "lesson 16. Then let the check tell you which attack succeeds.",
        "noise_multiplier is for one round; `rounds` of them are as private as one Gaussian with "
        "noise_multiplier / sqrt(rounds). noise_for(epsilon, delta, rounds) of the lesson finds "
        "it.",
        "ε = 1.5 for the model and 0.5 for the statistic, colluding = 1, 20 rounds with "
        "learning_rate = 2 and max_grad_norm = 1 are enough. From there on, it is yours: move ε "
        "between the releases, centre what you add up, group the table more finely.",
    )
    reference = _WHOLE
    mistakes = (
        Mistake("no TLS", _whole('"tls": True', '"tls": False'), "The tap reads the update"),
        Mistake(
            "no verification", _whole('"verify": True', '"verify": False'), "A false hub is given"
        ),
        Mistake(
            "anybody may send",
            _whole('"client_certificate": True', '"client_certificate": False'),
            "A stranger sends",
        ),
        Mistake(
            "an old protocol", _whole('"TLSv1.3"', '"TLSv1.2"'), "Against the policy"
        ),
        Mistake(
            "no context",
            _whole("context.encode()", "None"),
            "The thief moves a record to another row",
        ),
        Mistake(
            "a fixed nonce",
            _whole("secrets.token_bytes(12)", "bytes(12)"),
            "equal; reads two records under one keystream",
        ),
        Mistake(
            "no encryption",
            _whole(
                "return nonce + AESGCM(key).encrypt(nonce, data, context.encode())", "return data"
            ).replace(
                "return AESGCM(key).decrypt(box[:12], box[12:], context.encode())", "return box"
            ),
            "The thief reads a record",
        ),
        Mistake(
            "no masks",
            _whole(
                "from privlab.secagg import mask",
                "def mask(update, client, seeds, number):\n    return update\n",
            ),
            "it reads an update as it is",
        ),
        Mistake(
            "the same masks in every round",
            _whole(
                "from privlab.secagg import mask",
                "from privlab import secagg\n\ndef mask(update, client, seeds, number):\n"
                "    return secagg.mask(update, client, seeds, 0)\n",
            ),
            "it reads the difference of two rounds",
        ),
        Mistake(
            "masks that anybody draws",
            _whole(
                "from privlab.secagg import mask",
                "from privlab import secagg\n\ndef mask(update, client, seeds, number):\n"
                "    return secagg.mask(update, client, np.ones_like(seeds), number)\n",
            ),
            "it reads an update under masks",
        ),
        Mistake(
            "masks that do not cancel",
            _whole(
                "from privlab.secagg import mask",
                "def mask(update, client, seeds, number):\n"
                "    rng = np.random.default_rng([int(seeds.max()), client, number])\n"
                "    return (update + rng.integers(2**32, size=len(update))) % 2**32\n",
            ),
            "do not cancel",
        ),
        Mistake(
            "a mask of one neighbour alone",
            _masks("return (update + pair(client ^ 1, len(update))) % 2**32"),
            "an update whose masks a colluding hospital knows",
        ),
        Mistake(
            "one number as the mask of all entries",
            _masks("return (update + sum(pair(k, 1) for k in range(4) if k != client)) % 2**32"),
            "masks that repeat",
        ),
        Mistake(
            "small masks",
            _masks("masks = [pair(k, len(update), 2**20) for k in range(4) if k != client]\n"
                   "    return (update + sum(masks)) % 2**32"),
            "not uniform",
        ),
        Mistake(
            "a nonce that counts for each place",
            _whole("def seal(", "counts = {}\n\n\ndef seal(").replace(
                "secrets.token_bytes(12)",
                "counts.setdefault(context, iter(range(10**6))).__next__().to_bytes(12, 'big')",
            ),
            "The thief reads two records under one keystream",
        ),
        Mistake(
            "256 nonces",
            _whole("secrets.token_bytes(12)", "secrets.token_bytes(1) * 12"),
            "sees which records are equal.",
        ),
        Mistake(
            "the key in the box",
            _whole("return nonce + AESGCM(key)", "return key + nonce + AESGCM(key)").replace(
                "box[:12], box[12:]", "box[32:44], box[44:]"),
            "finds the key in the box",
        ),
        Mistake(
            "a short key",
            _whole("def seal(key, data, context):", "def seal(key, data, context):\n"
                   "    key = key[:2] * 16").replace(
                "def unseal(key, box, context):", "def unseal(key, box, context):\n"
                "    key = key[:2] * 16"),
            "of which 2 bytes matter",
        ),
        Mistake(
            "the row without the hospital",
            _WHOLE.replace("context.encode()", "context.split('/')[-1].encode()"),
            "The thief moves a record to another hospital",
        ),
        Mistake(
            "encrypted without a tag",
            _whole(
                "return nonce + AESGCM(key).encrypt(nonce, data, context.encode())",
                "return nonce + stream(key, nonce, context, data)",
            ).replace(
                "return AESGCM(key).decrypt(box[:12], box[12:], context.encode())",
                "return stream(key, box[:12], context, box[12:])",
            ).replace(
                "def seal(",
                "def stream(key, nonce, context, data):\n"
                "    nonce = nonce[:4] + context.encode().rjust(8)[-8:]\n"
                "    return AESGCM(key).encrypt(nonce, data, None)[:-16]\n\n\ndef seal(",
            ),
            "changes a record unnoticed",
        ),
        Mistake(
            "one draw of noise for all entries",
            _noise("rng.normal(0, share)"),
            "share their noise",
        ),
        Mistake(
            "noise on every second entry",
            _noise("rng.normal(0, share, len(clipped)) * 2**0.5 * (np.arange(len(clipped)) % 2)"),
            "less noise than others",
        ),
        Mistake(
            "noise of two values",
            _noise("share * rng.choice([-1, 1], len(clipped))"),
            "not Gaussian",
        ),
        Mistake(
            "noise of 1,000 seeds",
            _noise("np.random.default_rng(rng.integers(1000)).normal(0, share, len(clipped))"),
            "few seeds",
        ),
        Mistake(
            "noise that the next round takes back",
            _noise("back(rng.normal(0, share, len(clipped)))").replace(
                "def update(",
                "last = {}\n\n\ndef back(drawn):\n    if len(drawn) in last:\n"
                "        return -last.pop(len(drawn))\n    last[len(drawn)] = drawn\n"
                "    return drawn\n\n\ndef update("),
            "12 from two sums",
        ),
        Mistake(
            "clipped to the median of the norms",
            _whole("factors = np.minimum(1, max_grad_norm /",
                   "bound = min(max_grad_norm, np.median(norms)) if len(norms) > 9 else "
                   "max_grad_norm\n    factors = np.minimum(1, bound /"),
            "depends on the other rows",
        ),
        Mistake(
            "two thirds of ε twice",
            _WHOLE.replace("(epsilon / 2)", "(epsilon / 1.5)"),
            "The statistic's noise spends ε =",
        ),
        Mistake(
            "more ε than claimed, where little is claimed",
            _whole("    values = np.clip(", "    epsilon = max(epsilon, 0.5)\n"
                   "    values = np.clip(").replace("rng.laplace(", "rng.logistic(").replace(
                '"epsilon_statistic": 0.5', '"epsilon_statistic": 0.3'),
            "At the claimed ε = 0.3",
        ),
        Mistake(
            "no noise",
            _whole('noise_for(1.5, 1e-5, 20),\n    "coll', '0.0,\n    "coll'),
            "the patient with the longest row",
        ),
        Mistake(
            "more rounds, the same noise",
            _whole('"rounds": 20', '"rounds": 60'),
            "The model's noise makes",
        ),
        Mistake(
            "noise without a bound",
            _whole("np.minimum(1, max_grad_norm / np.maximum(norms, 1e-12))", "1").replace(
                "noise_for(1.5,", "noise_for(0.4,"),
            "One patient's gradient counts",
        ),
        Mistake(
            "more than the consortium allows",
            _whole('"epsilon_statistic": 0.5', '"epsilon_statistic": 1.0'),
            "The claims add up",
        ),
        Mistake(
            "nobody colludes", _whole('"colluding": 1', '"colluding": 0'), "No hospital may collude"
        ),
        Mistake(
            "an exact number", _whole("rng.laplace(0, 1 / (epsilon / 2))", "0"), "The audit proves"
        ),
        Mistake(
            "exact ages", _whole("age_group(row[\"age\"])", "row[\"age\"]").replace(
                "groups.count(group) >= 5", "True"), "fit fewer than"),
        Mistake(
            "over-cautious",
            _whole("1.5", "0.05").replace('"epsilon_statistic": 0.5', '"epsilon_statistic": 0.05'),
            "is worth",
        ),
        Mistake(
            "a setting is missing", _whole('    "colluding": 1,\n', ""), "'colluding'] is missing"
        ),
    )  # fmt: skip

    def test_plan(self, answers: Answers, rng: np.random.Generator) -> None:
        """All settings are there."""
        self._plan(answers)

    def test_attacks(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """All attacks of the course."""
        seed = _case(rng)
        report, evidence = self._attack(answers, seed)
        return Evidence(f"{evidence} {self._place(report, seed)}", evidence.measured)

    def test_releases(self, answers: Answers, rng: np.random.Generator) -> None:
        """Checks of 21.2 on the same functions, and the noise at the claimed ε.

        The statistic's audit is left to the attack, which runs it at the claimed ε, and to grading.
        """
        releases = PrivateReleases()
        releases.run_quick_tests(answers, rng)
        releases.test_audit_update(answers, rng)
        epsilon = self._plan(answers)["epsilon_statistic"]
        values = rng.normal(247, 58, 600).clip(LOW, HIGH).tolist()

        def spread(epsilon: float) -> np.ndarray:
            found = np.array(answers.sample("statistic", (values, epsilon), 3_000, rng))
            return np.subtract(*np.quantile(found, [0.75, 0.25], axis=0))

        ratio = spread(epsilon) / spread(1.0) * epsilon
        # A quartile range of 3,000 is right to 3 %: 0.8 is 5 standard deviations of the ratio.
        for part, what in zip(ratio, ("sum", "number"), strict=True):
            if epsilon >= 0.02 and part < 0.8:
                raise Wrong(
                    f"At the claimed ε = {epsilon:g} the noise of the {what} is only {part:.2f} "
                    "times as large as that at ε = 1 makes due."
                )

    def hidden_releases(self, answers: Answers, rng: np.random.Generator) -> None:
        """All checks of 21.2, but for the error: ε is split as the learner likes."""
        releases = PrivateReleases()
        releases.run_quick_tests(answers, rng)
        releases.test_scale(answers, rng)
        releases.hidden_audits(answers, rng)

    def hidden_other_patients(self, answers: Answers, rng: np.random.Generator) -> Evidence:
        """All attacks on other patients."""
        return self._attack(answers, _case(rng))[1]

    @staticmethod
    def _plan(answers: Answers) -> dict[str, Any]:
        try:
            return capstone.check_plan(answers["plan"])
        except ValueError as problem:
            raise Wrong(f"{problem}.") from None

    def _attack(self, answers: Answers, seed: int) -> tuple[Report, Evidence]:
        design = _design(answers, self._plan(answers))
        try:
            report = capstone.attack(design, seed)
        except Unusable as problem:
            raise Wrong(str(problem)) from None
        measured = [Measured(f.measure, f.success, f.limit) for f in report.findings]
        broken = [finding for finding in report.findings if not finding.resisted]
        if broken:
            first, more = broken[0], len(broken) - 1
            others = f" ({', '.join(f.attack for f in broken[1:])} as well.)" if more else ""
            raise Wrong(
                f"{first.attack.capitalize()} succeeds. {first.evidence} "
                f"{_ADVICE[first.attack]}{others}",
                measured,
            )
        parts = ", ".join(f"{name} {value:.2f}" for name, value in report.utility.items())
        if report.score < capstone.WORTH:
            raise Wrong(
                f"All attacks are resisted, but the design is worth {report.score:.2f} ({parts}), "
                f"and {capstone.WORTH:g} is asked for. Where is more privacy bought than needed?",
                measured,
            )
        told = (
            f"{len(report.findings)} attacks resisted within ε = {EPSILON:g}; worth "
            f"{report.score:.2f} ({parts})."
        )
        return report, Evidence(told, measured)

    @staticmethod
    def _place(report: Report, seed: int) -> str:
        """Say where a report stands among the given designs."""
        board = capstone.leaderboard([*capstone.given_reports(seed), replace(report, design="you")])
        listed = [f"{name} {score:.2f}" for name, score in board["score"].items()]
        return f"Scores: {', '.join(listed)}."


q1, q2, q3 = PlanningTable(), PrivateReleases(), WholeDesign()

EXERCISES = (q1, q2, q3)
