"""privlab: a course in which every promise of privacy is attacked, measured and graded.

The notebooks in ``notebooks/`` teach; this package holds what would only distract there: loading
data, drawing, attacking a second time, checking exercises.
"""

__version__ = "0.1.0"


def start(lesson: str) -> None:
    """Check that this kernel can run a lesson; every notebook calls it once, at its top.

    Args:
        lesson: The two-digit number of the lesson, e.g. ``"01"``.

    Raises:
        EnvironmentProblem: Something the lesson needs is missing or too old. The message is one
            sentence that says what to do; Jupyter shows it without a traceback.
    """
    from .environment import check_lesson

    check_lesson(lesson)
