"""What works in threads of this process for the time of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Background:
    """A base for it: closed at the end of the block, where failures in its threads are told.

    The first of them is raised there or, if the block itself raises, noted on that.
    """

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if self._errors:
            if problem is None:
                raise self._errors[0]
            problem.add_note(f"{type(self).__name__} failed, too: {self._errors[0]!r}")

    def close(self) -> None:
        """Stop, and return when nothing is left of it."""
        raise NotImplementedError
