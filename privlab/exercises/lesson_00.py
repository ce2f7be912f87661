"""Exercises of lesson 00: a first attack, and the four threat models."""

import numpy as np

from ..data import load_hospitals
from ..exercise import Answers, Exercise, Mistake, Wrong, mapping, number


class Newcomer(Exercise):
    """Recover one value from two published averages."""

    label = "0.1"
    title = "The newcomer's value"
    kinds = {"newcomer_value": number}
    hints = (
        "An average hides a sum. What do you get when you multiply an average by its count?",
        "The sum of tomorrow is the sum of today plus the newcomer's value.",
        "Sum after: count_after * mean_after. Sum before: count_before * mean_before. Subtract.",
    )
    reference = """
def newcomer_value(count_before, mean_before, count_after, mean_after):
    return count_after * mean_after - count_before * mean_before
"""
    mistakes = (
        Mistake(
            "difference of the averages",
            """
def newcomer_value(count_before, mean_before, count_after, mean_after):
    return mean_after - mean_before
""",
            "how far the average moved",
        ),
        Mistake(
            "the same count twice",
            """
def newcomer_value(count_before, mean_before, count_after, mean_after):
    return count_after * (mean_after - mean_before)
""",
            "one patient fewer",
        ),
        Mistake(
            "before minus after",
            """
def newcomer_value(count_before, mean_before, count_after, mean_after):
    return count_before * mean_before - count_after * mean_after
""",
            "the wrong way round",
        ),
        Mistake(
            "printed instead of returned",
            """
def newcomer_value(count_before, mean_before, count_after, mean_after):
    print(count_after * mean_after - count_before * mean_before)
""",
            "`return` line",
        ),
    )

    def _attack(self, answers: Answers, rng: np.random.Generator, rounds: int) -> str:
        """Let the answer attack real patients of four hospitals."""
        tables = load_hospitals().dropna(subset=["chol"])
        for _ in range(rounds):
            patients = tables.sample(int(rng.integers(5, 300)), random_state=rng)["chol"].to_numpy()
            n0, n1 = len(patients) - 1, len(patients)
            # Published with three decimals: together the two sums are off by less than 0.5 mg/dl.
            m0, m1 = round(patients[:-1].mean(), 3), round(patients.mean(), 3)
            got = answers.newcomer_value(n0, m0, n1, m1)
            if abs(got - patients[-1]) < 0.5:
                continue
            told = f"The newcomer has {patients[-1]:.0f} mg/dl, your attack says {got:.1f}."
            if np.isclose(got, m1 - m0):
                raise Wrong(f"{told} That is how far the average moved; the sums moved further.")
            if np.isclose(got, n1 * (m1 - m0)):
                raise Wrong(f"{told} Mind the counts: before, there was one patient fewer.")
            if np.isclose(got, n0 * m0 - n1 * m1):
                raise Wrong(f"{told} You subtract the wrong way round.")
            if abs(got - patients[-1]) < 2:
                raise Wrong(
                    f"{told} Almost: which count belongs to which average? And do not round."
                )
            raise Wrong(told)
        return f"Your attack recovered {rounds} of {rounds} patients, to the nearest mg/dl."

    def test_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """Attack a few patients."""
        return self._attack(answers, rng, 20)

    def hidden_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """Attack many."""
        return self._attack(answers, rng, 200)


_SCENES = {
    "voters": (1, "the paper holds a published table and links it to another one"),
    "quiz": (2, "he has only the model's answers, no table"),
    "update": (3, "the company runs the server, and the server receives every update"),
    "cafe": (4, "she sits on the wire between a phone and its server"),
    "backup": (
        4,
        "what lies on a disk is like what goes over a wire: whoever holds it can read it",
    ),
}


class WhoSeesWhat(Exercise):
    """Match scenes to threat models."""

    label = "0.2"
    title = "Who sees what?"
    kinds = {"threat_model": mapping}
    hints = (
        "Ask for each scene: what exactly does the attacker hold in the hand?",
        "A table → 1. Answers of a model → 2. The updates of clients → 3. Traffic or a disk → 4.",
    )
    reference = """
threat_model = {"voters": 1, "quiz": 2, "update": 3, "cafe": 4, "backup": 4}
"""
    mistakes = (
        Mistake(
            "a published table taken for a model",
            'threat_model = {"voters": 2, "quiz": 2, "update": 3, "cafe": 4, "backup": 4}',
            "links it to another",
        ),
        Mistake(
            "the user of a model taken for the server",
            'threat_model = {"voters": 1, "quiz": 3, "update": 3, "cafe": 4, "backup": 4}',
            "only the model's answers",
        ),
        Mistake(
            "the server taken for the wire",
            'threat_model = {"voters": 1, "quiz": 2, "update": 4, "cafe": 4, "backup": 4}',
            "the server receives every update",
        ),
        Mistake(
            "a backup taken for a published table",
            'threat_model = {"voters": 1, "quiz": 2, "update": 3, "cafe": 4, "backup": 1}',
            "whoever holds it can read it",
        ),
        Mistake(
            "a scene left out",
            'threat_model = {"voters": 1, "quiz": 2, "update": 3, "cafe": 4}',
            "There is no answer for",
        ),
    )

    def test_scenes(self, answers: Answers, rng: np.random.Generator) -> str:
        """Compare each scene."""
        given = answers["threat_model"]
        missing = [scene for scene in _SCENES if given.get(scene, ...) is ...]
        if missing:
            raise Wrong(f"There is no answer for {', '.join(missing)}: give each a number, 1 to 4.")
        for scene, (right, why) in _SCENES.items():
            if given[scene] not in (1, 2, 3, 4):
                raise Wrong(f"{scene!r} needs one of the numbers 1, 2, 3 and 4, without quotes.")
            if given[scene] != right:
                raise Wrong(f"Think again about {scene!r}: {why}.")
        return "Right. Each of the four needs a defence of its own."


q1 = Newcomer()
q2 = WhoSeesWhat()
EXERCISES = (q1, q2)
