"""Answers that look alike: whose code is nearly the same once names and layout are set aside."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence

from .program import needed
from .tasks import Task

#: Answers that share this part of their pieces are told to the instructor, and only those long
#: enough that two people would hardly write the same.
ALIKE, SHORTEST = 0.9, 40


def alike(
    programs: Mapping[tuple[str, str], str], tasks: Sequence[Task]
) -> list[tuple[str, str, str, float]]:
    """Find answers that are nearly the same once names, comments and layout are set aside.

    Names are replaced by the order of their first use and imports left out; what remains is
    compared by its runs of five tokens (Jaccard index), as in Schleimer, Wilkerson and Aiken (2003)
    without their sampling. The reference and the mistakes that many make are public, so answers
    near those are left out, and so is starter code; short answers say nothing.

    Args:
        programs: The code of each answer, by student's id and exercise's label.
        tasks: What is graded.

    Returns:
        Label, two ids, and the part that is shared, the most alike first.
    """
    found = []
    for task in tasks:
        for exercise in task.exercises:
            public = [exercise.reference, *(mistake.code for mistake in exercise.mistakes)]
            known = [_pieces("\n".join(needed([code], exercise.names))) for code in public]
            answers = []
            for (student, label), code in programs.items():
                if label != exercise.label:
                    continue
                pieces = _pieces(code)
                if pieces.total() >= SHORTEST and not any(
                    _shared(pieces, each) >= ALIKE for each in known
                ):
                    answers.append((student, pieces))
            for index, (one, pieces) in enumerate(answers):
                for other, theirs in answers[index + 1 :]:
                    # Of very different lengths they cannot share that much.
                    short, long = sorted((pieces.total(), theirs.total()))
                    if short >= ALIKE * long and (part := _shared(pieces, theirs)) >= ALIKE:
                        found.append((exercise.label, one, other, round(part, 2)))
    return sorted(found, key=lambda each: -each[3])


def _pieces(code: str) -> Counter[tuple[str, ...]]:
    """Return the runs of five tokens of a program, names numbered by their first use.

    In each statement anew, and without imports: these may stand in any order, and twice.
    """
    tokens = []
    try:
        for node in ast.parse(code).body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                tokens += _tokens(ast.unparse(node))  # one layout, no comments
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        tokens = re.findall(r"\w+|\S", code)
    return Counter(tuple(tokens[i : i + 5]) for i in range(len(tokens) - 4))


def _tokens(code: str) -> list[str]:
    numbers: dict[str, str] = {}
    return [
        numbers.setdefault(token.string, f"n{len(numbers)}")
        if token.type == tokenize.NAME
        else token.string
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.string.strip()
    ]


def _shared(one: Counter, other: Counter) -> float:
    """Return the size of what two collections share over that of both together."""
    common = (one & other).total()
    both = one.total() + other.total() - common
    return common / both if both else 0.0
