"""Audits of a learner's mechanism: what the exercises on differential privacy have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..audit import AuditReport, Batched, audit
from ..exercise import Answers, Evidence, Measured, Wrong

#: One ε below 1 and one above: at ε = 1, a scale of ε or of 1/ε² equals the right one.
EPSILONS = (0.5, 1.5)

#: Calls of the mechanism for each ε; a factor of 1.25 in ε shows in about 25,000 of them.
SAMPLES = 40_000

#: An audit accuses a right answer less than once in 10,000 times, two of them in 5,000.
CONFIDENCE = 1 - 1e-4


@dataclass(frozen=True)
class Neighbours:
    """Two neighbouring data sets, and how to speak of them: ``("with Ann", "without Ann")``."""

    first: Any
    second: Any
    names: tuple[str, str]


class LearnersMechanism:
    """A learner's function as a mechanism that :func:`privlab.audit.audit` can call.

    Args:
        answers: The learner's functions.
        name: The function; its last argument is the generator.
        arguments: Makes its other arguments of the data and ε.
    """

    def __init__(
        self,
        answers: Answers,
        name: str,
        arguments: Callable[[Any, float], tuple] = lambda data, epsilon: (data, epsilon),
    ):
        self.answers, self.name, self.arguments = answers, name, arguments

    def many(
        self,
        pair: tuple[Any, Any],
        choices: list[int],
        epsilon: float,
        rng: np.random.Generator,
    ) -> list[Any]:
        """Call the function once for each choice among two data sets."""
        inputs = [self.arguments(data, epsilon) for data in pair]
        return self.answers.choose(self.name, inputs, choices, rng)


def audit_answer(
    mechanism: Batched,
    neighbours: Sequence[Neighbours],
    rng: np.random.Generator,
    *,
    explain: Callable[[AuditReport], str] = lambda report: "",
    delta: float = 0.0,
    epsilons: Sequence[float] = EPSILONS,
    samples: int = SAMPLES,
) -> str:
    """Audit a learner's mechanism at several ε.

    Args:
        mechanism: The learner's function.
        neighbours: The pairs of data sets to try.
        rng: The test's generator.
        explain: Adds to the proof what the mistake may be.
        delta: The δ of the claim.
        epsilons: The ε of the claims.
        samples: Calls for each ε.

    Returns:
        The evidence, one sentence.

    Raises:
        Wrong: The mechanism breaks a claim; the message holds the proof.
    """
    pairs = [(each.first, each.second) for each in neighbours]
    names = [each.names for each in neighbours]
    options = {"delta": delta, "samples": samples, "confidence": CONFIDENCE, "names": names}
    proved, measured = [], []
    for epsilon in epsilons:
        report = audit(mechanism, pairs, epsilon, rng=rng, **options)
        what = f"ε that the audit proved, where ε = {epsilon:g} was promised"
        measured.append(Measured(what, float(report.epsilon_lower), float(epsilon)))
        if report.violates:
            told = " ".join(["The audit:", report.sentences[0], explain(report)]).strip()
            raise Wrong(told, measured)
        bound = f"ε ≥ {report.epsilon_lower:.2f}" if report.epsilon_lower >= 0.01 else "nothing"
        proved.append(f"at ε = {epsilon:g} it proved {bound}")
    where = f"{len(pairs)} pairs" if len(pairs) > 1 else "one pair"
    told = f"The audit found no violation in {samples:,} runs each on {where}: {', '.join(proved)}."
    return Evidence(told, measured)
