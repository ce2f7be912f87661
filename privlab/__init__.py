"""privlab: a course in which every promise of privacy is attacked, measured and graded.

The notebooks in ``notebooks/`` teach; this package holds what would only distract there: loading
data, drawing, attacking a second time, checking exercises.
"""

__version__ = "0.1.0"


def start(lesson: str, assignment: str | None = None) -> None:
    """Check that this kernel can run a lesson; every notebook calls it once, at its top.

    Args:
        lesson: The two-digit number of the lesson, e.g. ``"01"``.
        assignment: The stamp of a notebook that was handed out to somebody: its exercises are
            then checked on data of their own.

    Raises:
        ValueError: The stamp is damaged.
        EnvironmentProblem: Something the lesson needs is missing or too old. The message is one
            sentence that says what to do; Jupyter shows it without a traceback.
    """
    from .environment import check_lesson

    check_lesson(lesson)
    if assignment is not None:
        from .exercise import use_seed

        parts = assignment.split(":")
        if len(parts) != 4 or not parts[2].isdecimal():
            raise ValueError(
                f"assignment is damaged: {assignment!r}. Take this line from your own copy again"
            )
        use_seed(int(parts[2]))
