"""Figures with sliders, each below a static figure of some of its positions.

A live notebook shows the sliders. Everybody else (GitHub, print, nbval, the notebook as it is
committed) sees the static figure and one line of text: what a panel displays holds that line beside
the widget, and the normal form of the course's notebooks drops the widget (``tools/nbform.py``).
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from . import plots

#: Draws a position on the axes that it gets, and returns a sentence that says what can be seen.
Draw = Callable[..., str]

#: All positions are drawn beforehand: so many take a few seconds, if ``draw`` is quick.
MOST_POSITIONS = 60

_WIDGET = "application/vnd.jupyter.widget-view+json"


def panel(draw: Draw, *, stills: int = 3, **sliders: Sequence) -> None:
    """Show a figure that sliders move, below a static figure of some of its positions.

    Each slider starts in the middle.

    Args:
        draw: ``draw(axes, **values)`` draws on empty axes. It takes one value for each slider, and
            returns a sentence of at least 40 characters: the numbers that the figure shows there.
        stills: How many positions of the first slider the static figure shows side by side, spread
            from end to end; 0 where the lesson has such a figure already. The other sliders stand
            in the middle.
        sliders: For each slider its name and its positions, at least two different ones, such as
            ``epsilon=[0.1, 1, 10]``.

    Raises:
        ValueError: There is no slider; one has fewer than two positions, or one of them twice;
            they have more than ``MOST_POSITIONS`` together; ``stills`` is neither 0 nor between 2
            and the number of positions of the first slider; or ``draw`` returns no such sentence.
    """
    figure = Panel(draw, **sliders)
    figure.show_stills(stills)
    figure.show()


class Panel:
    """A figure and the positions it can be moved to.

    :meth:`show` draws every position before a slider appears: then it moves at once, however long
    ``draw`` takes, and what cannot be drawn raises in the cell, where a learner sees it.

    Args:
        draw: As in :func:`panel`.
        sliders: As in :func:`panel`.

    Attributes:
        positions: For each slider its positions.
        start: For each slider the position in the middle.
    """

    def __init__(self, draw: Draw, **sliders: Sequence) -> None:
        self._draw = draw
        self._drawn: dict[tuple, tuple[bytes, str]] = {}
        self.positions = {name: list(values) for name, values in sliders.items()}
        if not self.positions:
            raise ValueError("panel needs a slider, such as epsilon=[0.1, 1, 10]; got none")
        for name, values in self.positions.items():
            if len(values) < 2 or any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"{name} must be at least two different positions; got {values!r}")
        number = prod(map(len, self.positions.values()))
        if number > MOST_POSITIONS:
            raise ValueError(
                f"the sliders must have at most {MOST_POSITIONS} positions together; got {number}"
            )
        self.start = {name: each[len(each) // 2] for name, each in self.positions.items()}

    def at(self, **values: Any) -> tuple[bytes, str]:
        """Return a position.

        Args:
            values: For each slider one of its positions.

        Returns:
            The figure as a PNG file, and the sentence that says what it shows.

        Raises:
            ValueError: A slider is missing or unknown, or has no such position.
        """
        if values.keys() != self.positions.keys():
            raise ValueError(f"the sliders are {list(self.positions)}; got {list(values)}")
        for name, value in values.items():
            if value not in self.positions[name]:
                raise ValueError(f"{name} must be one of {self.positions[name]}; got {value!r}")
        place = tuple(values[name] for name in self.positions)
        if place not in self._drawn:
            self._drawn[place] = self._picture(place)
        return self._drawn[place]

    def show_stills(self, number: int) -> None:
        """Show ``number`` positions of the first slider side by side; nothing for 0.

        Raises:
            ValueError: ``number`` is neither 0 nor between 2 and the number of positions.
        """
        name, positions = next(iter(self.positions.items()))
        if number == 0:
            return
        if not 2 <= number <= len(positions):
            raise ValueError(
                f"stills must be 0 or between 2 and the {len(positions)} positions of {name}; "
                f"got {number!r}"
            )
        places = [round(i * (len(positions) - 1) / (number - 1)) for i in range(number)]
        fig, axes = plots.figure(columns=number, width=3.6 * number, height=3.2)
        sentences = [
            self._sentence(each, self.start | {name: positions[place]})
            for each, place in zip(axes, places, strict=True)
        ]
        plots.show(fig, " ".join(sentences))

    def show(self) -> None:
        """Draw every position, and show the sliders where a notebook can, else a line of text."""
        from IPython.display import display

        places = [
            dict(zip(self.positions, place, strict=True))
            for place in product(*self.positions.values())
        ]
        self.at(**places[0])  # nothing is shown where not even this one can be drawn
        sliders = "sliders" if len(self.positions) > 1 else "slider"
        try:
            import ipywidgets
        except ImportError:
            words = f"Install ipywidgets, and run this again, to move the {sliders}."
            display({"text/plain": words}, raw=True)
            return
        # The bar stands where the sliders will: text of tqdm would leave an empty line behind.
        bar = ipywidgets.IntProgress(max=len(places), description="drawing")
        box = ipywidgets.VBox([bar])
        shown = {
            "text/plain": f"Run this cell in JupyterLab to move the {sliders}.",
            _WIDGET: {"version_major": 2, "version_minor": 0, "model_id": box.model_id},
        }
        display(shown, raw=True)
        for place in places:
            self.at(**place)
            bar.value += 1
        box.children = self.controls()

    def controls(self) -> list[Any]:
        """Return the sliders and, last, the figure that they move, as widgets of ipywidgets.

        The arrow keys move a slider that has the focus.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        import ipywidgets

        sliders = {
            name: ipywidgets.SelectionSlider(
                description=name.replace("_", " "),
                options=[(_text(value), value) for value in values],
                value=self.start[name],
                continuous_update=False,
                style={"description_width": "initial"},
                layout={"width": "32em"},
            )
            for name, values in self.positions.items()
        }
        figure = ipywidgets.HTML(self.page(**self.start))

        def redraw(change: Any) -> None:
            figure.value = self.page(**{name: slider.value for name, slider in sliders.items()})

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        return [*sliders.values(), figure]

    def page(self, **values: Any) -> str:
        """Return a position as HTML: its sentence, and the figure with it as text alternative."""
        figure, sentence = self.at(**values)
        words, data = html.escape(sentence), base64.b64encode(figure).decode()
        image = f'<img alt="{words}" src="data:image/png;base64,{data}" style="max-width: 100%">'
        return f'<p role="status">{words}</p>{image}'

    def _picture(self, values: tuple) -> tuple[bytes, str]:
        fig, (axes,) = plots.figure(width=6.5)
        sentence = self._sentence(axes, dict(zip(self.positions, values, strict=True)))
        return plots.png(fig), sentence

    def _sentence(self, axes: Axes, values: dict[str, Any]) -> str:
        """Draw on the axes and return the sentence; close the figure where that fails."""
        try:
            sentence = " ".join(str(self._draw(axes, **values)).split())
            if len(sentence) < 40:
                raise ValueError(
                    "draw must return what the figure shows, in at least 40 characters; "
                    f"got {sentence!r}"
                )
        except BaseException:
            plt.close(axes.figure)
            raise
        return sentence


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"
