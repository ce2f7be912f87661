"""What an audit found, in words and as a figure."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .outputs import KIND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDINALS = ("first", "second")


@dataclass(frozen=True)
class Evidence:
    """The outputs of the test, by the feature that decides about the event.

    Attributes:
        name: The feature.
        values: Its value for each output.
        first: 1 where the first data set was used, 0 where it was the second.
        pieces: The values in the event: (low, high), or (v, v) for a single value.
        kinds: What codes mean, where the feature is a kind.
    """

    name: str
    values: np.ndarray
    first: np.ndarray
    pieces: list[tuple[float, float]]
    kinds: dict[float, str]


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit.

    Attributes:
        violates: Whether the mechanism breaks the claim (with the stated confidence).
        epsilon_lower: A lower bound on the true epsilon; with the stated confidence it is not
            above the truth. 0 where nothing was found.
        epsilon: The claimed epsilon.
        delta: The claimed delta.
        confidence: The probability, at least, that the bound holds.
        samples: How many times the mechanism was called.
        seconds: How long the audit took.
        event: The outputs that prove the bound, in plain words.
        counts: How often the event came up with the first data set and with the second.
        runs: How often each of the two was used in the test of the event.
        pair: The position of the pair of data sets in the list, from 0.
        direction: The data set with which the event comes up more often.
        names: How the two data sets are spoken of.
    """

    violates: bool
    epsilon_lower: float
    epsilon: float
    delta: float
    confidence: float
    samples: int
    seconds: float
    event: str
    counts: tuple[int, int]
    runs: tuple[int, int]
    pair: int
    direction: str
    names: tuple[str, str]
    evidence: Evidence = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """The finding in a few words."""
        if self.violates:
            return f"Violation: ε is at least {self._proved}, claimed {self.epsilon:g}"
        return f"No violation found with {self.samples:,} samples"

    @property
    def sentences(self) -> list[str]:
        """The finding in whole sentences."""
        one, two = (f"{count:,} times in {runs:,} runs" for count, runs in
                    zip(self.counts, self.runs, strict=True))  # fmt: skip
        # The name of an entry, output[0], stays as it is in Python.
        code = self.event.startswith("output")
        event = self.event if code else self.event[0].upper() + self.event[1:]
        loose = f" (with δ = {self.delta:g})" if self.delta else ""
        claim = f"you claimed {self.epsilon:g}{loose}"
        ending = f"that takes ε ≥ {self._proved}, {claim}."
        if not self.violates:
            ending = f"that proves no more than ε ≥ {self._proved}; {claim}."
        return [
            f"{event} came up {one} {self.names[0]} and {two} {self.names[1]}: {ending}",
            f"{self.samples:,} samples in {self.seconds:.2f} s; confidence {self.confidence:.10g}.",
        ]

    @property
    def _proved(self) -> str:
        # Cut, not rounded: 1.0996 does not prove 1.1.
        return f"{np.floor(self.epsilon_lower * 1000) / 1000:g}"

    def __repr__(self) -> str:
        return "\n".join([self.title, *self.sentences])

    def _repr_html_(self) -> str:
        # No colour but that of the theme: readable in light and dark, no meaning by colour alone.
        body = "".join(f"<div>{html.escape(line)}</div>" for line in self.sentences)
        style = "border-left: 4px solid currentColor; padding: 0.3em 0.8em; margin: 0.3em 0"
        return f'<div style="{style}"><strong>{html.escape(self.title)}</strong>{body}</div>'

    def figure(self) -> tuple[Figure, str]:
        """Draw the outputs with both data sets, the event shaded.

        Returns:
            The figure and its text alternative, as :func:`privlab.plots.show` takes them.
        """
        from privlab import plots

        fig, (axes,) = plots.figure()
        if self.evidence.name.endswith(KIND):
            self._draw_bars(axes)
        else:
            self._draw_histogram(axes)
        axes.legend()
        plots.label(axes, self.title, self.evidence.name.removesuffix(KIND), "outputs")
        kind = "Bars" if self.evidence.name.endswith(KIND) else "Histograms"
        return fig, f"{kind} of the outputs with both data sets. {' '.join(self.sentences)}"

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        ones = self.evidence.first > 0
        return self.evidence.values[ones], self.evidence.values[~ones]

    def _draw_histogram(self, axes: Axes) -> None:
        values = self.evidence.values
        bins = np.histogram_bin_edges(np.clip(values, *_range(values)), 50)
        for values, name, line in zip(self._split(), self.names, ("-", "--"), strict=True):
            clipped = np.clip(values, bins[0], bins[-1])
            axes.hist(clipped, bins, histtype="step", linestyle=line, linewidth=2,
                      label=name)  # fmt: skip
        width = bins[1] - bins[0]
        for low, high in self.evidence.pieces[:50]:
            low, high = (low - width / 2, high + width / 2) if low == high else (low, high)
            low, high = max(low, bins[0] - width), min(high, bins[-1] + width)
            if low < high:
                axes.axvspan(low, high, facecolor="none", edgecolor="grey", hatch="///", alpha=0.5)
        axes.fill_between([], [], facecolor="none", edgecolor="grey", hatch="///", label="event")

    def _draw_bars(self, axes: Axes) -> None:
        codes, counts = np.unique(self.evidence.values, return_counts=True)
        codes = codes[np.argsort(-counts)][:10]
        inside = {low for low, _ in self.evidence.pieces}
        places = np.arange(len(codes))
        for shift, values, name, hatch in zip(
            (-0.2, 0.2), self._split(), self.names, ("", ".."), strict=True
        ):
            heights = [(values == code).sum() for code in codes]
            axes.bar(places + shift, heights, 0.4, hatch=hatch, label=name)
        names = [self.evidence.kinds.get(code, "something else")[:16] for code in codes]
        marked = [f"{name}\n(event)" if code in inside else name for code, name in
                  zip(codes, names, strict=True)]  # fmt: skip
        axes.set_xticks(places, marked)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Leave out the last thousandths, which would squeeze all else."""
    plain = values[np.abs(values) < 1e290]
    if not len(plain):
        return 0.0, 1.0
    low, high = np.quantile(plain, [0.001, 0.999])
    return (float(low), float(high)) if low < high else (float(low) - 1, float(high) + 1)
