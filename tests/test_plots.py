"""Figures carry a text alternative and come out the same twice."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from privlab import plots

ALT = "A line that rises from one to three, drawn to test the text alternative."


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as a list of (data, metadata)."""
    import IPython.display

    calls = []

    def display(data, metadata=None, raw=False):
        calls.append((data, metadata))

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


def draw():
    fig, (ax,) = plots.figure()
    ax.plot([1, 2, 3])
    return fig


def test_show_gives_picture_and_words(shown):
    fig = draw()
    plots.show(fig, ALT)
    (picture, metadata), (words, _) = shown
    assert picture["image/png"].startswith(b"\x89PNG")
    assert picture["text/plain"] == ALT == metadata["image/png"]["alt"]
    assert ALT in words["text/html"]
    assert fig.number not in plt.get_fignums()


def test_the_same_figure_gives_the_same_bytes(shown):
    plots.show(draw(), ALT)
    plots.show(draw(), ALT)
    assert shown[0][0]["image/png"] == shown[2][0]["image/png"]


def test_line_breaks_in_the_words_are_folded(shown):
    plots.show(draw(), ALT.replace(" ", "\n  "))
    assert shown[0][0]["text/plain"] == ALT


@pytest.mark.parametrize("alt", ["", "plot", " " * 60])
def test_a_hollow_alternative_is_refused(alt):
    with pytest.raises(ValueError, match="alt must say"):
        plots.show(draw(), alt)


def test_panels_and_bar_labels():
    fig, axes = plots.figure(columns=3)
    assert len(axes) == 3
    axes[0].bar(["a", "b"], [0.25, 0.5])
    plots.bar_labels(axes[0])
    assert [text.get_text() for text in axes[0].texts] == ["25.0%", "50.0%"]
    plt.close(fig)


def test_threat_models_name_all_four():
    fig, ax = plots.draw_threat_models()
    text = " ".join(label.get_text() for label in ax.texts)
    assert all(f"{number}  the" in text for number in (1, 2, 3, 4))
    plt.close(fig)


def test_a_heat_map_writes_every_value_but_nan():
    table = pd.DataFrame([[0.1, np.nan], [0.9, 1.0]], index=["a", "b"], columns=["x", "y"])
    fig, ax = plots.heat_map(table, "{:.0%}")
    assert [text.get_text() for text in ax.texts] == ["10%", "90%", "100%"]
    # Readable on dark and on bright cells.
    assert [text.get_color() for text in ax.texts] == ["white", "black", "black"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]
    plots.label(ax, "title", "across", "down")
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == (
        "title",
        "across",
        "down",
    )
    plt.close(fig)


def test_shares_are_written_as_percentages():
    fig, (ax,) = plots.figure()
    ax.set_xlim(0, 0.5)
    plots.percent(ax.xaxis)
    assert ax.xaxis.get_major_formatter()(0.25) == "25%"
    plt.close(fig)
