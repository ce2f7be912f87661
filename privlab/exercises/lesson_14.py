"""Exercises of lesson 14: an output policy, a job review by attack, a job with a private answer."""

import contextlib
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd

from ..audit import AuditReport
from ..data import load_hospitals
from ..exercise import Answers, Exercise, Mistake, Wrong, number
from .audited import EPSILONS, LearnersMechanism, Neighbours, audit_answer


def _patients(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw patients of Cleveland, in random order."""
    table = load_hospitals()
    table = table[table["hospital"] == "Cleveland"]
    rows = table.sample(count, random_state=rng)[["age", "sex", "chol", "ill"]]
    return rows.reset_index(drop=True)


# ---- 14.1 --------------------------------------------------------------------------------------


def _verdict(value: Any, what: str) -> bool:
    """Accept True or False."""
    if not isinstance(value, bool | np.bool_):
        seen = "None (is there a `return` line?)" if value is None else f"a {type(value).__name__}"
        raise Wrong(f"{what} should be True or False, but it is {seen}.")
    return bool(value)


_GROUPS = ["all", "men", "women", "under 55", "from 55"]

_Result = dict[str, Any]


def _honest(table: pd.DataFrame, groups: list[str]) -> _Result:
    """Return the result that the hospital and the scientist agreed on."""
    members = {
        "all": table["age"] > 0,
        "men": table["sex"] == "Male",
        "women": table["sex"] == "Female",
        "under 55": table["age"] < 55,
        "from 55": table["age"] >= 55,
    }
    result = {}
    for name in groups:
        chol = table["chol"][members[name]]
        result[name] = {"n": len(chol), "mean": round(float(chol.mean()), 1)}
    return result


def _changed(result: _Result, name: str, **entries: Any) -> _Result:
    return {key: value | entries if key == name else value for key, value in result.items()}


def _attacks(table: pd.DataFrame, rng: np.random.Generator) -> dict[str, tuple[Any, str]]:
    """Return results that leak, by name, each with what to say when it is released."""
    honest = _honest(table, _GROUPS)
    victim = int(rng.integers(len(table)))
    chol = int(table["chol"][victim])
    n, mean = len(table), honest["all"]["mean"]
    rows = table[["age", "chol"]].to_numpy(float).tolist()
    ordered = [_GROUPS[i] for i in [2, 4, 0, 1, 3]]
    small = int(rng.integers(1, 10))
    text = f"{chol:08x}"
    told = f"The scientist reads: patient {victim} has a cholesterol of {chol}."
    return {
        "rows": (rows, f"It is the whole table, a list of rows. {told}"),
        "rows in a group": (
            _changed(honest, "all", mean=rows),
            f"Where a mean should be there are the rows of the table. {told}",
        ),
        "a name": (
            honest | {f"patient {victim}: {chol}": honest["all"]},
            f"A value hides in the name of a group. {told} Names were agreed on before.",
        ),
        "spaces behind a name": (
            {name + " " * (chol if name == "women" else 0): honest[name] for name in honest},
            f"Behind a name stand {chol} spaces. {told} Compare names as they are.",
        ),
        "capitals in a name": (
            {name.upper() if chol % 2 else name.title(): honest[name] for name in honest},
            "Capitals in the names are bits: compare names as they are.",
        ),
        "a longer name": (
            {f"{name} {chol}" if name == "women" else name: honest[name] for name in honest},
            f"A name goes on behind the agreed one. {told} Compare the whole name.",
        ),
        "a name with a prefix": (
            {f"{chol} {name}" if name == "women" else name: honest[name] for name in honest},
            f"A value stands before an agreed name. {told} Compare the whole name.",
        ),
        "spaces within a group": (
            honest | {"men": {"n": honest["men"]["n"], "mean" + " " * chol: 240.0}},
            f"Behind the word mean stand {chol} spaces. {told}",
        ),
        "capitals within a group": (
            honest | {"men": {"N": honest["men"]["n"], "Mean": 240.0}},
            "N and Mean instead of n and mean: two spellings hand out a bit.",
        ),
        "a list in a group": (
            honest | {"men": list(honest["men"].values())},
            "A group is a list, not a dict: two forms hand out a bit.",
        ),
        "a text": (
            json.dumps(honest) + " " * chol,
            f"The result is a text, a dict written out, with {chol} spaces behind it. {told}",
        ),
        "a list of one": ([honest], "The result is a list that holds the dict."),
        "a list of pairs": (
            [list(pair) for pair in honest.items()],
            "The result is a list of pairs, not a dict.",
        ),
        "order": (
            {name: honest[name] for name in ordered},
            "Its order of the names is not the agreed one: five names can be put in 120 orders, "
            "and each can stand for another value of the patient.",
        ),
        "a missing name": (
            {name: value for name, value in honest.items() if name != "men"},
            "A group is missing, and one bit is that: 'men' is there if the patient is ill.",
        ),
        "third entry": (
            _changed(honest, "men", check=chol),
            f"Beside n and mean a group has a third entry. {told}",
        ),
        "text": (
            _changed(honest, "women", mean=text),
            f"A mean is the text {text!r}, which is {chol} in hexadecimal. {told}",
        ),
        "small": (
            _changed(honest, "women", n=small),
            f"A group of {small} is released; fewer than 10 patients are no crowd.",
        ),
        "left out": (
            _changed(honest, "men", n=n - small),
            f"{n - small} of {n} patients are in a group, so only {small} are left out. Subtract "
            f"its total from that of all, and those {small} are alone.",
        ),
        "point of n": (
            _changed(honest, "men", n=honest["men"]["n"] + chol / 1000),
            f"There are digits behind the point of n: a number of people is whole. {told}",
        ),
        "n with a point": (
            _changed(honest, "men", n=float(honest["men"]["n"])),
            f"An n is {float(honest['men']['n'])}, which is no integer: with the point and without "
            "are two spellings, and each group that may choose hands out a bit.",
        ),
        "order in a group": (
            honest | {"men": dict(reversed(honest["men"].items()))},
            "In a group mean comes before n: two orders hand out a bit.",
        ),
        "mean without a point": (
            _changed(honest, "men", mean=int(honest["men"]["mean"])),
            f"A mean is {int(honest['men']['mean'])}, which is no float: with the point and "
            "without are two spellings, a bit for each mean.",
        ),
        "large n": (
            _changed(honest, "men", n=n + 1000 * chol),
            f"Its n says more patients than the hospital has. {told}",
        ),
        "digits": (
            _changed(honest, "all", mean=mean + chol * 1e-9),
            f"The far digits of a mean say {chol}: {mean + chol * 1e-9:.9f}. {told} Let no "
            "more than one decimal pass.",
        ),
        "digits below a tolerance": (
            _changed(honest, "all", mean=mean + chol * 1e-12),
            f"The last digits of a mean say {chol}: it is {chol}e-12 above {mean}. {told} A "
            "tolerance leaves room for it: compare with the rounded mean exactly.",
        ),
        "last bits": (
            _changed(honest, "all", mean=mean + chol * float(np.spacing(mean))),
            f"A mean is {chol} floats above {mean}. {told} Compare exactly.",
        ),
        "last bit": (
            _changed(honest, "all", mean=math.nextafter(mean, 600)),
            f"A mean is the float next to {mean}: a bit of the patient. Compare exactly.",
        ),
        "bounds": (
            _changed(honest, "all", mean=round(1000.0 * chol + mean, 1)),
            f"A mean is far beyond 100 to 600: {1000 * chol + mean:.1f}. {told}",
        ),
        "below": (
            _changed(honest, "all", mean=-float(chol)),
            f"A mean is below zero: {-chol}. {told}",
        ),
        "NaN": (_changed(honest, "all", mean=float("nan")), "A mean is NaN, which is no number."),
        "None": (None, "There is nothing that could be checked: the result is None."),
        "a list of groups": (
            list(honest.values()),
            "The result is a list without names; it should be a dict.",
        ),
        "a group that is a number": (
            honest | {"all": float(chol)},
            f"A group is a number and not n and mean. {told}",
        ),
    }


_POLICY = """
def may_release(result, groups, patients):
    if type(result) is not dict or list(result) != list(groups):
        return False
    for group in result.values():
        if type(group) is not dict or list(group) != ["n", "mean"]:
            return False
        n, mean = group["n"], group["mean"]
        if type(n) is not int or type(mean) is not float:
            return False
        if n < 10 or (n != patients and patients - n < 10):
            return False
        if not 100 <= mean <= 600 or round(mean, 1) != mean:
            return False
    return True
"""


class OutputPolicy(Exercise):
    """Let an agreed form pass and nothing else."""

    label = "14.1"
    title = "An output policy"
    points = 2
    kinds = {"may_release": _verdict}
    hints = (
        "Say what may pass, not what may not. Check the form from the outside in: the type, the "
        "names, the entries, then each number. Return False at the first that does not fit.",
        "`isinstance(result, dict) and list(result) == list(groups)` checks names and order. "
        "`list(group) == ['n', 'mean']` checks the entries. A bool or a text is no number: "
        "`type(n) is int`, `type(mean) is float`.",
        "n: `n >= 10 and (n == patients or patients - n >= 10)`. mean: `100 <= mean <= 600 and "
        "round(mean, 1) == mean`; NaN fails both.",
    )
    reference = _POLICY
    mistakes = tuple(
        Mistake(name, code, says)
        for name, code, says in (
            (
                "everything passes",
                "def may_release(result, groups, patients):\n    return True",
                "the whole table",
            ),
            (
                "nothing passes",
                "def may_release(result, groups, patients):\n    return False",
                "It keeps every rule",
            ),
            *(
                (name, _POLICY.replace(old, new), says)
                for name, old, new, says in (
                    (
                        "names not checked",
                        " or list(result) != list(groups)",
                        "",
                        "hides in the name of a group",
                    ),
                    (
                        "order not checked",
                        "list(result) != list(groups)",
                        "set(result) != set(groups)",
                        "can be put in 120 orders",
                    ),
                    (
                        "names may be missing",
                        "list(result) != list(groups)",
                        "list(result) != [g for g in groups if g in result]",
                        "one bit is that",
                    ),
                    (
                        "more entries",
                        'list(group) != ["n", "mean"]',
                        'not {"n", "mean"} <= set(group)',
                        "a third entry",
                    ),
                    (
                        "order in a group not checked",
                        'list(group) != ["n", "mean"]',
                        'set(group) != {"n", "mean"}',
                        "mean comes before n",
                    ),
                    (
                        "whole means",
                        "type(mean) is not float",
                        "type(mean) not in (int, float)",
                        "a bit for each mean",
                    ),
                    (
                        "a tolerance",
                        "round(mean, 1) != mean",
                        "abs(round(mean, 1) - mean) > 1e-9",
                        "A tolerance leaves room",
                    ),
                    ("small groups", "n < 10 or (", "(", "no crowd"),
                    (
                        "the rest not checked",
                        "n < 10 or (n != patients and patients - n < 10)",
                        "n < 10 or n > patients",
                        "are left out",
                    ),
                    (
                        "ten is refused",
                        "n < 10",
                        "n <= 10",
                        "exactly 10 patients",
                    ),
                    (
                        "n with a fraction",
                        "type(n) is not int",
                        "type(n) not in (int, float)",
                        "behind the point of n",
                    ),
                    (
                        "all digits",
                        " or round(mean, 1) != mean",
                        "",
                        "Let no more than one decimal",
                    ),
                    (
                        "no bounds",
                        "not 100 <= mean <= 600 or round(mean, 1) != mean",
                        "round(mean, 1) != mean",
                        "far beyond 100 to 600",
                    ),
                    (
                        "no types",
                        "type(n) is not int or type(mean) is not float",
                        "False",
                        "stops with TypeError",
                    ),
                )
            ),
        )
    )

    @staticmethod
    def _ask(answers: Answers, result: Any, groups: list[str], patients: int) -> bool:
        try:
            return answers.may_release(result, groups, patients)
        except Wrong as problem:
            given = str(result)[:400]
            raise Wrong(f"{str(problem).rstrip('.')}. It was given the result {given}") from None

    def _refuse(self, answers: Answers, result: Any, patients: int, told: str) -> None:
        if self._ask(answers, result, _GROUPS, patients):
            raise Wrong(f"You release a result that leaks. {told}")

    def _pass(
        self, answers: Answers, result: Any, groups: list[str], patients: int, why: str,
        group: str = "",
    ) -> None:  # fmt: skip
        if not self._ask(answers, result, groups, patients):
            shown = {group: result[group]} if group else result
            raise Wrong(
                f"This is honest, of {patients} patients, and you refuse it: {shown}. {why}"
            )

    def _all(self, answers: Answers, rng: np.random.Generator, tables: int) -> str:
        """Try the attacks on some tables; results that keep the rules pass."""
        for _ in range(tables):
            table = _patients(rng, int(rng.integers(200, 300)))
            honest, patients = _honest(table, _GROUPS), len(table)
            attacks = _attacks(table, rng)
            self._refuse(answers, attacks["rows"][0], patients, attacks["rows"][1])
            self._pass(answers, honest, _GROUPS, patients, "It keeps every rule.")
            for result, told in attacks.values():
                self._refuse(answers, result, patients, told)
            edges = (
                ({"n": 10}, "A group may have exactly 10 patients."),
                ({"n": patients - 10}, "Exactly 10 patients may be left out."),
                ({"mean": 100.0}, "A mean may be at its bound."),
                ({"mean": 600.0}, "A mean may be at its bound."),
            )
            for entries, why in edges:
                changed = _changed(honest, "women", **entries)
                self._pass(answers, changed, _GROUPS, patients, why, "women")
        return (
            f"{len(attacks)} ways to smuggle a patient out were refused, honest means passed; "
            "means can still be differenced."
        )

    def test_policy(self, answers: Answers, rng: np.random.Generator) -> str:
        """Attacks are refused, honest results pass."""
        return self._all(answers, rng, 2)

    def hidden_policy(self, answers: Answers, rng: np.random.Generator) -> None:
        """More tables."""
        self._all(answers, rng, 10)

    def test_forms(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other groups, every group in turn, single values; a hospital of nine."""
        if answers.may_release({"all": {"n": 9, "mean": 240.0}}, ["all"], 9):
            raise Wrong("A hospital of 9 patients is no crowd either: n must be at least 10.")
        table = _patients(rng, 250)
        for groups in (["women", "men"], ["all"], _GROUPS[::-1]):
            self._pass(answers, _honest(table, groups), groups, 250, "Use `groups` as given.")
        if answers.may_release(_honest(table, _GROUPS), ["all"], 250):
            raise Wrong("You release groups that were not agreed on: use `groups` as given.")
        honest = _honest(table, _GROUPS)
        for name in _GROUPS:
            bad = ({"n": 9}, {"n": 241}, {"n": 251}, {"n": -5}, {"n": "100"}, {"n": None},
                   {"n": [100]}, {"n": float("nan")}, {"n": float("inf")}, {"n": 100.5},
                   {"n": 100.0}, {"n": True}, {"mean": 240},
                   {"mean": None}, {"mean": {}}, {"mean": True}, {"mean": 99.9}, {"mean": 600.1},
                   {"mean": float("inf")}, {"mean": 233.25}, {"mean": "240.0"})  # fmt: skip
            for entries in bad:
                told = f"The group {name!r} holds {entries}."
                self._refuse(answers, _changed(honest, name, **entries), 250, told)
            turned = {"mean": 240.0, "n": 100}
            for group in (turned, [], {}, {"n": 100}, {"mean": 240.0}, "240", None):
                self._refuse(answers, honest | {name: group}, 250, f"A group is {group!r}.")


# ---- 14.2 --------------------------------------------------------------------------------------

#: Jobs to review, by name. ``table`` has the columns age, sex, chol and ill.
JOBS = {
    "A": """
def job(table):
    start = table["age"] // 20 * 20
    means = {}
    for age, chol in table.groupby(start)["chol"]:
        if len(chol) >= 10:
            means[f"from {age}"] = round(chol.mean(), 1)
    print("groups:", len(means))
    return means
""",
    "B": """
def job(table):
    chol = table["chol"].to_numpy()
    mean = round(chol.mean(), 2)
    mean += 1e-9 * chol[0]  # against ties
    return {"n": len(chol), "mean": mean}
""",
    "C": """
def job(table):
    chol = table["chol"]
    first, last = chol.iloc[0], chol.iloc[-1]
    print(f"run {int(first):08x} read {len(table)} rows")
    return {"n": len(chol), "mean": round(chol.mean(), 1)}
""",
    "D": """
def job(table):
    chol = table["chol"].to_numpy()
    means = {"with header": chol.mean(), "without": chol[1:].mean()}
    return {"n": len(chol), **means}
""",
    "E": """
def job(table):
    rng = np.random.default_rng(2026)
    noise = rng.laplace(0, 100, len(table))  # strong
    noisy = table["chol"].to_numpy() + noise
    return {"noisy values": noisy.round(2).tolist()}
""",
    "F": """
def job(table):
    order = np.random.default_rng(7).permutation(len(table))
    half = table.iloc[order[len(order) // 2 :]]
    print(f"run {len(half):08x} done")
    return {"n": len(half), "ill": round(half["ill"].mean(), 1)}
""",
}

_LEAKY = "BCDE"


def _run(name: str, table: pd.DataFrame) -> tuple[dict, str]:
    """Run a job of :data:`JOBS`: its result and what it printed."""
    names: dict[str, Any] = {"np": np}
    exec(JOBS[name], names)
    with contextlib.redirect_stdout(io.StringIO()) as log:
        result = names["job"](table)
    return result, log.getvalue()


def _stolen(value: Any, what: str) -> float | None:
    """Accept a number, or None for a job that does not hand out the first patient."""
    return None if value is None else number(value, what)


def _steal(
    digits: str = '(result["mean"] - round(result["mean"], 2)) / 1e-9',
    hexadecimal: str = "int(log.split()[1], 16)",
    means: str = 'n * result["with header"] - (n - 1) * result["without"]',
    noisy: str = "result['noisy values'][0] - np.random.default_rng(2026).laplace(0, 100)",
    other: str = "None",
) -> str:
    """Return an answer to 14.2 with a part replaced."""
    return f"""
import numpy as np

def steal(job, result, log):
    n = result.get("n")
    if job == "B":
        return {digits}
    if job == "C":
        return {hexadecimal}
    if job == "D":
        return {means}
    if job == "E":
        return {noisy}
    return {other}
"""


class FindTheLeak(Exercise):
    """Prove each leak by using it."""

    label = "14.2"
    title = "Find the leak"
    points = 2
    kinds = {"steal": _stolen}
    hints = (
        "Follow the first row: where does chol[0], or a slice that begins or ends beside it, go? "
        "Everything that is printed leaves, too. And what would you have to know to undo noise?",
        "B: what is left of the mean behind the second decimal? C: `int(text, 16)` reads "
        "hexadecimal. D: n times a mean is a total. E: whoever knows the seed can draw the noise.",
        "D: n * result['with header'] − (n − 1) * result['without']. E: the first draw of "
        "np.random.default_rng(2026).laplace(0, 100) is the noise of the first patient. Two jobs "
        "do not hand out the first patient: None.",
    )
    reference = _steal()
    mistakes = (
        Mistake("all jobs pass", _steal("None", "None", "None", "None"), "You let job B pass"),
        Mistake("a scale forgotten", _steal('result["mean"] % 0.01'), "a scale in the job"),
        Mistake(
            "hexadecimal taken for decimal",
            _steal(hexadecimal="int(log.split()[-2])"),
            "the number of rows",
        ),
        Mistake("one job missed", _steal(hexadecimal="None"), "You let job C pass"),
        Mistake(
            "difference of means",
            _steal(means='result["with header"] - result["without"]'),
            "Totals, not means",
        ),
        Mistake(
            "the same n twice",
            _steal(means='n * (result["with header"] - result["without"])'),
            "one patient fewer",
        ),
        Mistake("noise left in", _steal(noisy="result['noisy values'][0]"), "still with its noise"),
        Mistake(
            "all patients averaged",
            _steal(noisy="float(np.mean(result['noisy values']))"),
            "the mean of the noisy values",
        ),
        Mistake(
            "honest means accused",
            _steal(other="next(iter(result.values()))"),
            "Job A does not hand out",
        ),
        Mistake(
            "the other honest job accused",
            _steal(other="int(log.split()[1], 16) if job == 'F' else None"),
            "Job F does not hand out",
        ),
    )

    @staticmethod
    def _why(name: str, got: float, table: pd.DataFrame, result: dict) -> str:
        """Say what a wrong value is, where that can be recognised."""
        n, chol = len(table), table["chol"].to_numpy()
        known: dict[str, list[tuple[float, str]]] = {
            "B": [
                (1e-9 * chol[0], "You found the digits; there is a scale in the job."),
                (result.get("mean", 0), "That is the mean. What stands behind its decimals?"),
            ],
            "C": [(n, "That is the number of rows. Look at the number of the run.")],
            "D": [
                (
                    chol.mean() - chol[1:].mean(),
                    "Totals, not means, can be subtracted: multiply each mean by its n first.",
                ),
                (
                    n * (chol.mean() - chol[1:].mean()),
                    "The second mean is one of one patient fewer: n − 1.",
                ),
            ],
            "E": [
                (result.get("noisy values", [0])[0], "That is the value still with its noise."),
                (np.mean(result.get("noisy values", [0])), "That is the mean of the noisy values."),
            ],
        }
        for value, why in known[name]:
            if np.isclose(got, value, rtol=1e-3, atol=1e-10):
                return why
        return ""

    def _cases(self, answers: Answers, rng: np.random.Generator, tables: int) -> str:
        read = {}
        for _ in range(tables):
            for name in "BCDEAF":
                # A table for each: what one job gave away is of no use for the next.
                table = _patients(rng, int(rng.integers(60, 200)))
                truth = float(table["chol"][0])
                result, log = _run(name, table)
                got = answers.steal(name, result, log)
                if name not in _LEAKY:
                    if got is not None:
                        raise Wrong(
                            f"Job {name} does not hand out the first patient by itself: its result "
                            f"stays nearly the same whoever comes first. You read {got:.4g}, the "
                            f"table says {truth:g}. Return None."
                        )
                    continue
                if got is None:
                    raise Wrong(
                        f"You let job {name} pass. The scientist reads the first patient's "
                        f"cholesterol out of it: {truth:g}. Follow that row through the job."
                    )
                if abs(got - truth) > 0.01:
                    why = self._why(name, got, table, result)
                    raise Wrong(f"Job {name}: the first patient's cholesterol is {truth:g}, you "
                                f"read {got:.6g}. {why}".strip())  # fmt: skip
                read[name] = got
        told = ", ".join(f"{name}: {value:.0f}" for name, value in read.items())
        return f"Your attack read the first patient out of four jobs on {tables} tables ({told})."

    def test_leaks(self, answers: Answers, rng: np.random.Generator) -> str:
        """Read the patient out of each job that leaks."""
        return self._cases(answers, rng, 3)

    def hidden_leaks(self, answers: Answers, rng: np.random.Generator) -> None:
        """More tables."""
        self._cases(answers, rng, 25)


# ---- 14.3 --------------------------------------------------------------------------------------

_LOW, _HIGH, _MISSING = 100.0, 400.0, 250.0

#: Calls behind each measured size of noise. The standard error of a mean of absolute Laplace noise
#: is 1.6 % then, that of its ratio to the standard deviation 0.012, of a correlation 0.016.
_CALLS = 4_000

#: Both sizes together may say that more than ε is spent, or less, by so much: four standard errors
#: of 1.6 % above, five below.
_SPENT = (0.92, 1.065)

#: Samples of an audit of two numbers at each ε.
_SAMPLES = 8_000


def _pair(value: Any, what: str) -> np.ndarray:
    """Accept two finite numbers."""
    if isinstance(value, np.ndarray | tuple | list) and np.ndim(value) == 1 and len(value) == 2:
        parts = ("The mean that `release` returns", "The number of ill that `release` returns")
        return np.array([number(each, part) for each, part in zip(value, parts, strict=True)])
    seen = "None (is there a `return` line?)" if value is None else f"a {type(value).__name__}"
    raise Wrong(f"{what} should be two numbers, the mean and the number of ill, but it is {seen}.")


def _filled(chol: np.ndarray) -> np.ndarray:
    return np.clip(np.where(np.isnan(chol), _MISSING, chol), _LOW, _HIGH)


def _replaced(
    name: str,
    chol: list[float],
    ill: list[int],
    ann: tuple[float, int],
    bob: tuple[float, int],
    first: bool = False,
) -> Neighbours:
    """Ann's record in the data, as the first or the last, and Bob's in its place."""
    pair = tuple(
        (np.array([c, *chol] if first else [*chol, c]), np.array([i, *ill] if first else [*ill, i]))
        for c, i in (ann, bob)
    )
    return Neighbours(*pair, (f"with Ann ({name})", "with Bob in her place"))


_RELEASE_PAIRS = (
    _replaced("alone, from bound to bound", [], [], (400.0, 1), (100.0, 0)),
    _replaced("one of three", [200.0, 300.0], [0, 1], (100.0, 1), (400.0, 0), first=True),
    _replaced("an outlier of a million", [250.0], [1], (1e6, 1), (100.0, 0)),
    _replaced("her value is missing", [400.0], [0], (np.nan, 1), (400.0, 0), first=True),
)
_HIDDEN_RELEASE_PAIRS = (
    _replaced("one of two, below the bounds", [250.0], [0], (-1e6, 0), (400.0, 1), first=True),
    _replaced("one of five, all missing", [np.nan] * 4, [1] * 4, (400.0, 1), (np.nan, 0)),
    _replaced("both values missing", [100.0] * 3, [0] * 3, (np.nan, 1), (np.nan, 0)),
    _replaced("one of eight", [100.0] * 7, [1] * 7, (400.0, 0), (100.0, 1), first=True),
)


class _LearnersRelease(LearnersMechanism):
    """A learner's release, as an array of two numbers."""

    def many(
        self, pair: tuple[Any, Any], choices: list[int], epsilon: float, rng: np.random.Generator
    ) -> list[Any]:
        return [_pair(each, "What `release` returns")
                for each in super().many(pair, choices, epsilon, rng)]  # fmt: skip


def _step(values: np.ndarray) -> float:
    """Return the step of the decimal grid that values are rounded to; 0 for none to 10 decimals."""
    for decimals in range(11):
        rest = values - np.round(values, decimals)
        if np.abs(rest).max() <= 4 * np.spacing(np.abs(values).max()):
            return 10.0**-decimals
    return 0.0


def _spent(
    size: float, sensitivity: float, step: float, whole: bool = False
) -> tuple[float, float]:
    """Return the least and the most ε that noise of a mean size may spend.

    Without rounding both are sensitivity / size. Laplace noise of scale b, rounded to steps of g,
    has a mean size from g / (2 sinh(g / 2b)), where the exact answer is a multiple of g, to
    g / (2 tanh(g / 2b)), where it is half way. That of two-sided geometric noise is 1 / sinh ε.

    Args:
        size: Mean of the absolute noise.
        sensitivity: Of the answer, in the same unit.
        step: What it is rounded to, or 0.
        whole: Whether the exact answer is a multiple of the step, and the noise may be geometric.
    """
    if step == 0:
        return sensitivity / size, sensitivity / size
    per = 2 * sensitivity / step
    rounded = per * np.arcsinh(step / (2 * size))
    if whole:
        return min(float(np.arcsinh(1 / size)), rounded), rounded
    middle = per * np.arctanh(min(step / (2 * size), 0.999))
    return rounded, middle


def _release(
    body: str = "",
    mean: str = "",
    count: str = "",
    fill: str = "",
    scale: str = "300 / n",
    end: str = "[mean, count]",
) -> str:
    """Return an answer to 14.3 with a part replaced."""
    return f"""
import numpy as np

def release(chol, ill, epsilon, rng):
{body}    n = len(chol)
    chol = {fill or "np.clip(np.where(np.isnan(chol), 250, chol), 100, 400)"}
    mean = chol.mean() + {mean or f"rng.laplace(0, {scale} / (epsilon / 2))"}
    count = ill.sum() + {count or "rng.laplace(0, 1 / (epsilon / 2))"}
    return {end}
"""


class PrivateJob(Exercise):
    """Write the core of a job that may be approved: two private statistics."""

    label = "14.3"
    title = "A job that may be approved"
    points = 3
    kinds = {"release": _pair}
    hints = (
        "One patient is replaced: by how much does the number of ill move at most? By how much "
        "does the mean of n values between 100 and 400? Both answers come from the same patients.",
        "First fill missing values with 250, then clip to 100 … 400. The sensitivities are 1 and "
        "300 / n. Each answer gets noise of its own, and half of ε.",
        "chol = np.clip(np.where(np.isnan(chol), 250, chol), 100, 400); mean: chol.mean() + "
        "rng.laplace(0, 300 / n / (epsilon / 2)); count: ill.sum() + rng.laplace(0, 2 / epsilon)",
    )
    reference = _release()
    time_limit = 60
    when_slow = "Use numpy: a pandas Series per call is slow."
    mistakes = (
        Mistake("no noise", _release(mean="0", count="0"), "without any noise"),
        Mistake(
            "noise from a seed of the job",
            _release("    rng = np.random.default_rng(2026)\n"),
            "the same noise in every call",
        ),
        Mistake(
            "ε spent twice",
            _release(mean="rng.laplace(0, 300 / n / epsilon)", count="rng.laplace(0, 1 / epsilon)"),
            "each of the two answers spends all of ε",
        ),
        Mistake(
            "a mean that moves by 1 / n",
            _release(scale="1 / n"),
            "Your mean has too little noise",
        ),
        Mistake(
            "not clipped",
            _release(fill="np.where(np.isnan(chol), 250, chol)"),
            "Clip each value",
        ),
        Mistake(
            "bounds from the data",
            _release(
                fill="np.where(np.isnan(chol), 250, chol)", scale="(chol.max() - chol.min()) / n"
            ),
            "bounds come from the data",
        ),
        Mistake(
            "missing values dropped",
            _release(fill="np.clip(chol[~np.isnan(chol)], 100, 400)"),
            "Without them, you divide by",
        ),
        Mistake(
            "missing values kept",
            _release(fill="np.clip(chol, 100, 400)"),
            "should be a finite number",
        ),
        Mistake(
            "one noise for both",
            _release(
                "    noise = rng.laplace(0, 2 / epsilon)\n", mean="300 / n * noise", count="noise"
            ),
            "the same draw of noise",
        ),
        Mistake(
            "sensitivity of one value",
            _release(scale="300"),
            "noisier than it must be",
        ),
        Mistake(
            "a patient in the far digits",
            _release(end="[round(mean, 1) + 1e-9 * chol[0], count]"),
            "what do they carry?",
        ),
        Mistake(
            "the ill without a value not counted",
            _release("    ill = ill[~np.isnan(chol)]\n"),
            "all of them ill",
        ),
        Mistake(
            "the range of the clipped values",
            _release(scale="(chol.max() - chol.min()) / n"),
            "All patients have 250",
        ),
        Mistake(
            "multiplied by ε",
            _release(mean="rng.laplace(0, 300 / n * epsilon / 2)"),
            "Divide by ε",
        ),
        Mistake(
            "no noise now and then",
            _release(
                "    if rng.random() < 0.02:\n        return [_chol(chol).mean(), ill.sum()]\n"
            ).replace(
                "def release",
                "def _chol(chol):\n"
                "    return np.clip(np.where(np.isnan(chol), 250, chol), 100, 400)\n\n"
                "def release",
            ),
            "the exact answer",
        ),
        Mistake(
            "tails cut",
            _release(
                "    def noise(scale):\n        return scale * np.clip(rng.laplace(), -5, 5)\n",
                mean="noise(600 / n / epsilon)",
                count="noise(2 / epsilon)",
            ),
            "never goes beyond",
        ),
        Mistake(
            "one of a thousand seeds",
            _release("    rng = np.random.default_rng(rng.integers(1000))\n"),
            "seeds repeat",
        ),
        Mistake(
            "normal noise",
            _release(
                mean="rng.normal(0, 300 / n / (epsilon / 2) * 1.2)",
                count="rng.normal(0, 2 / epsilon * 1.2)",
            ),
            "tails are too thin",
        ),
    )

    def test_noise(self, answers: Answers, rng: np.random.Generator) -> str:
        """Both answers are right on average, and vary as Laplace noise of the right size does."""
        return self._check_noise(answers, rng, EPSILONS)

    def _check_noise(
        self, answers: Answers, rng: np.random.Generator, epsilons: tuple[float, ...]
    ) -> str:
        drawn = [(epsilon, *self._draw(answers, rng, epsilon)) for epsilon in epsilons]
        self._check_epsilon(drawn)
        told = []
        for epsilon, outputs, exact, people in drawn:
            self._check_kind(outputs, exact, epsilon)
            self._check_draws(outputs, exact, people, epsilon)
            self._check_size(outputs, exact, people, epsilon)
            self._check_calls(outputs, exact)
            sizes = np.abs(outputs - exact).mean(axis=0)
            told.append(f"{sizes[0]:.1f} mg/dl and {sizes[1]:.1f} patients at ε = {epsilon:g}")
        return f"Mean errors with {people} patients: {'; '.join(told)}."

    def _draw(
        self, answers: Answers, rng: np.random.Generator, epsilon: float
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return outputs, a row a call, the two exact answers, and the number of patients."""
        # Once with all of the lesson's table: an answer may know how long that is.
        count = 303 if epsilon == EPSILONS[0] else int(rng.integers(150, 250))
        table = _patients(rng, count)
        chol, ill = table["chol"].to_numpy(float), table["ill"].to_numpy(int)
        self._check_outlier(answers, chol, ill, epsilon, rng)
        outputs = np.array(answers.sample("release", (chol, ill, epsilon), _CALLS, rng))
        exact = np.array([_filled(chol).mean(), ill.sum()])
        self._check_centre(outputs - exact, exact, epsilon)
        self._check_digits(outputs, epsilon)
        return outputs, exact, len(chol)

    @staticmethod
    def _check_centre(noise: np.ndarray, exact: np.ndarray, epsilon: float) -> None:
        names = ("mean", "number of ill")
        for name, added, right, other in zip(names, noise.T, exact, exact[::-1], strict=True):
            if np.ptp(added) == 0:
                if abs(added[0]) < 1e-6:
                    raise Wrong(f"At ε = {epsilon:g} the {name} is {right:.2f} in all calls, "
                                "without any noise.")  # fmt: skip
                raise Wrong(
                    f"At ε = {epsilon:g} the {name} gets the same noise in every call. Whoever "
                    "knows the seed, and the scientist writes the job, subtracts it. Use `rng`."
                )
            # Rounding moves a mean by 0.5 at most; chance by five standard errors.
            if abs(added.mean()) > 0.51 + 5 * added.std() / np.sqrt(len(added)):
                got = right + added.mean()
                swapped = abs(got - other) < abs(got - right) / 4
                raise Wrong(
                    f"The {name} should be {right:.2f} on average; at ε = {epsilon:g} yours is "
                    f"{got:.2f}."
                    + (" Return [mean, number of ill], in this order." if swapped else "")
                )

    @staticmethod
    def _check_digits(outputs: np.ndarray, epsilon: float) -> None:
        """Far digits vary as noise does, or are zero as rounding makes them."""
        for name, values in zip(("mean", "number"), outputs.T, strict=True):
            smallest = 4 * np.spacing(np.abs(values).max())  # what rounding may leave over
            for decimals in range(11):
                rest = values - np.round(values, decimals)
                if np.ptp(rest) < 10.0 ** -(decimals + 2) and np.abs(rest).max() > smallest:
                    raise Wrong(
                        f"At ε = {epsilon:g}, behind decimal {decimals}: The far digits of your "
                        f"{name} are the same in each call: what do they carry?"
                    )

    @staticmethod
    def _check_epsilon(drawn: list[tuple[float, np.ndarray, np.ndarray, int]]) -> None:
        """A smaller ε has more noise."""
        (low, *first), (high, *last) = drawn[0], drawn[-1]
        sizes = [np.abs(outputs - exact).mean(axis=0) * [people / 300, 1]
                 for outputs, exact, people in (first, last)]  # fmt: skip
        for name, at_low, at_high in zip(("mean", "number of ill"), *sizes, strict=True):
            if at_low < at_high / 1.5:
                raise Wrong(
                    f"The noise of the {name} grows with ε: from ε = {low:g} to {high:g} by a "
                    f"factor of {at_high / at_low:.1f}. A smaller ε promises more and needs more "
                    "noise. Divide by ε, do not multiply."
                )

    @staticmethod
    def _check_calls(outputs: np.ndarray, exact: np.ndarray) -> None:
        """Refuse noise that one call tells about the next; 4,000 calls: 0.1 is at z = 6."""
        noise = outputs - exact
        for column in noise.T:
            if np.ptp(column) and abs(np.corrcoef(column[:-1], column[1:])[0, 1]) > 0.1:
                raise Wrong(
                    "The noise of one call tells that of the next: whoever asks twice takes it "
                    "away. Draw anew each time."
                )

    @staticmethod
    def _check_draws(
        outputs: np.ndarray, exact: np.ndarray, people: int, epsilon: float
    ) -> None:  # fmt: skip
        """Every call has noise, drawn anew, and as far out as Laplace noise goes."""
        noise, names = outputs - exact, ("mean", "number of ill")
        bounds = ((_LOW, _HIGH), (0, people))
        hits = np.zeros(noise.shape, bool)
        for column, (name, ends) in enumerate(zip(names, bounds, strict=True)):
            values, size = outputs[:, column], np.abs(noise[:, column])
            step = _step(values)
            hits[:, column] = size <= max(step / 2, 1e-9)
            if step == 0 and hits[:, column].sum() > 2:
                raise Wrong(
                    f"At ε = {epsilon:g} the {name} is the exact answer, {exact[column]:.2f}, in "
                    f"{hits[:, column].sum()} of {len(values):,} calls: draw noise in each."
                )
            # Of 4,000 right ones 16 are expected beyond. Who cuts answers at public bounds may.
            if size.max() < 5.5 * size.mean() and not {values.min(), values.max()} & set(ends):
                raise Wrong(
                    f"At ε = {epsilon:g} the noise of the {name} never goes beyond "
                    f"{size.max() / size.mean():.1f} times its mean size in {len(values):,} calls; "
                    "Laplace noise does. Where one patient's table can reach and another's "
                    "cannot, the odds are infinite."
                )
        both, apart = hits.all(axis=1).sum(), len(hits) * hits.mean(axis=0).prod()
        if both > apart + 6 * np.sqrt(apart) + 2:
            raise Wrong(
                f"At ε = {epsilon:g} both numbers are the exact answer in {both} of {len(hits):,} "
                f"calls, by chance in {apart:.0f}: draw noise in each."
            )
        pairs = len(np.unique(outputs, axis=0))
        if _step(outputs[:, 0]) == 0 and pairs < 0.975 * len(outputs):
            raise Wrong(
                f"At ε = {epsilon:g} only {pairs:,} of {len(outputs):,} outputs differ: your "
                "seeds repeat, and who tries all of them subtracts the noise. Use `rng` as it is."
            )

    @staticmethod
    def _check_kind(outputs: np.ndarray, exact: np.ndarray, epsilon: float) -> None:
        """Noise of its own for each answer, with tails as Laplace noise has them."""
        noise = outputs - exact
        together = abs(np.corrcoef(noise.T)[0, 1])
        if together > 0.1:
            raise Wrong(
                f"At ε = {epsilon:g} both answers get the same draw of noise, always or at times "
                f"(correlation {together:.2f}): put together, they tell more than each alone. "
                "Draw for each."
            )
        # Mean size over standard deviation: 0.71 for Laplace, 0.80 for normal noise.
        sizes = np.abs(noise).mean(axis=0)
        # Rounding to steps as large as the noise leaves no tails to speak of.
        fine = [_step(each) < size / 2 for each, size in zip(outputs.T, sizes, strict=True)]
        ratios = np.where(fine, sizes / noise.std(axis=0), 0)
        if ratios.max() > 0.775:
            raise Wrong(
                f"The tails are too thin (mean size over standard deviation {ratios.max():.2f}, "
                "Laplace noise has 0.71). One Laplace draw for each answer is enough. Many draws "
                "added up, one a patient, have thin tails, and so has normal noise: far out, the "
                "odds grow without end."
            )

    @staticmethod
    def _check_size(outputs: np.ndarray, exact: np.ndarray, people: int, epsilon: float) -> None:
        """Both scales together spend ε, no more and not much less."""
        sizes, steps = np.abs(outputs - exact).mean(axis=0), [_step(each) for each in outputs.T]
        of_mean = _spent(sizes[0], 300 / people, steps[0])
        of_count = _spent(sizes[1], 1, steps[1], whole=steps[1] == 1)
        least, most = np.add(of_mean, of_count)
        spent_mean, spent_count = of_mean[0], of_count[0]
        told = (
            f"At ε = {epsilon:g} the size of your noise says: the mean spends "
            f"{spent_mean:.2f}, the number of ill {spent_count:.2f}."
        )
        if least > _SPENT[1] * epsilon:
            if abs(least / epsilon - 2) < 0.2 and abs(spent_mean - spent_count) < 0.2 * least:
                raise Wrong(f"{told} So each of the two answers spends all of ε; together that is "
                            "2ε. Divide ε between them.")  # fmt: skip
            if spent_mean > epsilon and spent_count < 0.9 * epsilon:
                raise Wrong(
                    f"{told} Your mean has too little noise. A patient can move it from 100/n to "
                    f"400/n: by 300/{people} = {300 / people:.2f}."
                )
            raise Wrong(f"{told} Together that is more than ε. One patient moves the number of "
                        f"ill by 1, the mean by 300/{people}.")  # fmt: skip
        if most < _SPENT[0] * epsilon:
            raise Wrong(
                f"{told} Private, but noisier than it must be: together they may spend all of ε. "
                f"A patient moves the mean by 300/{people} at most, the number of ill by 1."
            )

    @staticmethod
    def _check_outlier(
        answers: Answers, chol: np.ndarray, ill: np.ndarray, epsilon: float,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """One value of a million counts no more than one at the bound."""
        far = chol.copy()
        far[0] = 1e6
        before, after = (
            np.array(answers.sample("release", (data, ill, epsilon), 300, rng))[:, 0]
            for data in (chol, far)
        )
        told = "Ann's cholesterol, in a wrong unit, is 1,000,000"
        spread, spread_far = (np.subtract(*np.quantile(o, [0.75, 0.25])) for o in (before, after))
        if spread_far > 20 * spread + 1e-9:
            raise Wrong(
                f"{told}: the spread of your mean jumps from {spread:.2g} to {spread_far:.2g}. "
                "Your bounds come from the data, so the size of the noise tells that she is there."
            )
        if np.median(after) > 450:
            raise Wrong(f"{told}: your mean becomes {np.median(after):.0f}. Clip each value to "
                        "100 … 400 before you take the mean.")  # fmt: skip
        same = np.full(len(chol), _MISSING)
        alike = np.array(answers.sample("release", (same, ill, epsilon), 300, rng))[:, 0]
        size, alike = (np.abs(each - np.median(each)).mean() for each in (before, alike))
        if alike < size / 4:
            raise Wrong(
                f"All patients have 250: the mean size of your noise falls from {size:.2g} to "
                f"{alike:.2g}. It comes from the data, and tells of them. Take the range of the "
                "constants, 300."
            )

    def test_missing(self, answers: Answers, rng: np.random.Generator) -> None:
        """Missing values count as 250, and who misses one counts among the ill."""
        ill = _patients(rng, 200)["ill"].to_numpy(int)
        ill[:100] = 1
        # The others are high: a mean without the missing ones is far away.
        chol = np.where(np.arange(200) < 100, np.nan, 340.0)
        outputs = np.array(answers.sample("release", (chol, ill, 1.5), 400, rng))
        got, right = float(np.median(outputs[:, 0])), 295.0
        if abs(got - right) > 2:
            told = (
                f"100 of 200 values are missing, the others 340. With 250 for each missing one "
                f"the mean is {right:g}; yours is {got:.0f}."
            )
            if abs(got - 340) < 5:
                told += (
                    " Without them, you divide by a number that depends on private data: whose "
                    "value is missing changes it, and n is not the n of your sensitivity."
                )
            raise Wrong(told)
        got = float(np.median(outputs[:, 1]))
        if abs(got - ill.sum()) > 10:
            raise Wrong(
                f"100 of 200 values are missing, and all of them ill, with the others {ill.sum()}; "
                f"yours are {got:.0f}. Who misses a value is ill nevertheless: count all of `ill`."
            )

    def test_bounds(self, answers: Answers, rng: np.random.Generator) -> None:
        """All values beyond a bound count as that bound."""
        for value, bound in ((0.0, 100), (-1e6, 100), (420.0, 400), (1e6, 400), (np.inf, 400)):
            chol, ill = np.full(200, value), np.zeros(200, int)
            outputs = np.array(answers.sample("release", (chol, ill, 1.5), 100, rng))
            got = float(np.median(outputs[:, 0]))
            # Noise of scale 2 for the mean: the median of 100 strays by 0.2.
            if abs(got - bound) > 1.5:
                raise Wrong(
                    f"All 200 values are {value:g}: cut to 100 … 400 the mean is {bound}, yours is "
                    f"{got:.0f}. Your noise is for a mean of values from 100 to 400."
                )

    def _audit(self, answers: Answers, pairs: tuple, rng: np.random.Generator) -> str:
        mechanism = _LearnersRelease(
            answers, "release", lambda data, epsilon: (data[0], data[1], epsilon)
        )

        def explain(report: AuditReport) -> str:
            return "One patient is replaced, in both columns at once."

        return audit_answer(mechanism, pairs, rng, explain=explain, samples=_SAMPLES)

    def test_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit both answers together."""
        return self._audit(answers, _RELEASE_PAIRS, rng)

    def hidden_private(self, answers: Answers, rng: np.random.Generator) -> str:
        """Audit further pairs."""
        return self._audit(answers, _HIDDEN_RELEASE_PAIRS, rng)

    def hidden_elsewhere(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other ε, other patients."""
        self._check_noise(answers, rng, (0.2, 0.9, 4.0))


q1 = OutputPolicy()
q2 = FindTheLeak()
q3 = PrivateJob()
EXERCISES = (q1, q2, q3)
