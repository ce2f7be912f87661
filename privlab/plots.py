"""One look for all figures: readable, safe for colour-blind readers, each with a text alternative.

Importing this module sets matplotlib's defaults. Colours are those of Okabe and Ito (2008).
"""

import html
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)

mpl.rcParams.update(
    {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "figure.facecolor": "white",
        "font.size": 10,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "lines.linewidth": 2,
    }
)


def figure(columns: int = 1, width: float = 7.5, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """Make a figure with ``columns`` panels side by side; sizes in inches.

    Returns:
        The figure and a list of its axes, also where there is only one.
    """
    fig, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False)
    return fig, list(axes[0])


def bar_labels(axes: Axes, form: str = "{:.1%}") -> None:
    """Write the value at the end of each bar of ``axes``."""
    for container in axes.containers:
        axes.bar_label(container, fmt=form, padding=3, fontsize=9)


def heat_map(
    table: pd.DataFrame, form: str = "{:.2f}", low: float = 0.0, high: float = 1.0
) -> tuple[Figure, Axes]:
    """Draw a table of numbers as coloured cells, each with its value written in it.

    Args:
        table: Numbers; the index names the rows, the columns the columns. NaN stays empty.
        form: How a value is written.
        low: The value of the darkest colour.
        high: The value of the brightest colour.
    """
    rows, columns = table.shape
    fig, ax = plt.subplots(figsize=(2 + 0.5 * columns, 1.4 + 0.38 * rows))
    ax.imshow(table, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(table.to_numpy(dtype=float)):
        if not np.isnan(value):
            bright = (value - low) / (high - low) > 0.6
            ax.text(column, row, form.format(value), ha="center", va="center", fontsize=9,
                    color="black" if bright else "white")  # fmt: skip
    ax.set_yticks(range(rows), table.index)
    ax.set_xticks(range(columns), table.columns, rotation=40, ha="right")
    ax.grid(False)
    return fig, ax


def label(axes: Axes, title: str, xlabel: str, ylabel: str = "") -> None:
    """Write the title of a panel and what its axes measure, with units."""
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)


def percent(axis: Axis) -> None:
    """Write the ticks of an axis whose values are shares as percentages."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def draw_table(axes: Axes, table: pd.DataFrame, longest: int = 18) -> None:
    """Write a few rows of a table into a panel, without its index.

    Args:
        axes: The panel; its own axes are hidden.
        table: The rows to write.
        longest: Characters of a cell; the rest of a longer text becomes "…".
    """
    texts = [[str(value) for value in row] for row in table.to_numpy()]
    short = [[t if len(t) <= longest else t[: longest - 1] + "…" for t in row] for row in texts]
    axes.axis("off")
    written = axes.table(
        short, colLabels=list(table.columns), cellLoc="left", colLoc="left", bbox=(0, 0, 1, 1)
    )
    written.auto_set_font_size(False)
    written.set_fontsize(8)
    written.auto_set_column_width(range(len(table.columns)))
    for (row, _), cell in written.get_celld().items():
        cell.set(edgecolor="#DDDDDD", facecolor="#EEF4FA" if row == 0 else "white")


def png(fig: Figure) -> bytes:
    """Return the figure as a PNG file and close it; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # No creation date or version in the file.
    fig.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()


def show(fig: Figure, alt: str) -> None:
    """Show a figure in the notebook together with its text alternative.

    The picture carries ``alt`` as its alternative text, and a line below unfolds it, because
    JupyterLab shows pictures without theirs.

    Args:
        fig: The figure; it is closed afterwards.
        alt: What the figure shows, in one to three sentences: a reader who does not see it should
            learn the same.

    Raises:
        ValueError: ``alt`` is shorter than 40 characters.
    """
    from IPython.display import display

    alt = " ".join(alt.split())
    if len(alt) < 40:
        raise ValueError(
            f"alt must say what the figure shows, in at least 40 characters; got {alt!r}"
        )
    metadata = {"image/png": {"alt": alt}}
    display({"image/png": png(fig), "text/plain": alt}, metadata=metadata, raw=True)
    unfold = f"<details><summary>The figure in words</summary>{html.escape(alt)}</details>"
    display({"text/html": unfold, "text/plain": "(The figure in words is above.)"}, raw=True)


def draw_threat_models() -> tuple[Figure, Axes]:
    """Draw the way of the data from people to the public, and the four places of an attacker."""
    fig, ax = plt.subplots(figsize=(9, 3.2))
    ax.set(xlim=(0, 100), ylim=(0, 40))
    ax.axis("off")
    boxes = {
        "people": (8, "people"),
        "holder": (31, "data holders\n(hospitals, phones)"),
        "server": (60, "server that\nlearns a model"),
        "public": (90, "published table,\nmodel, statistic"),
    }
    half = 9
    for x, label in boxes.values():
        ax.text(
            x, 26, label, ha="center", va="center", fontsize=10,
            bbox={"boxstyle": "round,pad=0.6", "facecolor": "#EEF4FA", "edgecolor": BLUE},
        )  # fmt: skip
    centres = [x for x, _ in boxes.values()]
    starts = [centres[0] + 5, centres[1] + half + 1, centres[2] + half - 1]
    ends = [centres[1] - half - 1, centres[2] - half + 1, centres[3] - half - 1]
    for start, end in zip(starts, ends, strict=True):
        ax.annotate(
            "", (end, 26), (start, 26), arrowprops={"arrowstyle": "->", "color": GREY, "lw": 2}
        )
    # The release of a table needs no server at all.
    ax.annotate(
        "", (centres[3], 31), (centres[1], 31),
        arrowprops={
            "arrowstyle": "->", "color": GREY, "lw": 1.5, "connectionstyle": "arc3,rad=-0.25",
        },
    )  # fmt: skip
    attackers = (
        (46, "4  the wire and the disk", "sees traffic, backups"),
        (60, "3  the server", "sees every update"),
        (82, "1  the reader of a table", "links it to other tables"),
        (90, "2  the user of a model or statistic", "sees as many answers as they like"),
    )
    rows = (4, 13, 13, 4)
    targets = (46, 60, 86, 94)
    # A disk is at the data holders'.
    ax.annotate("", (33, 21), (42, 7), arrowprops={"arrowstyle": "->", "color": RED, "lw": 1.5})
    for (x, name, sees), y, target in zip(attackers, rows, targets, strict=True):
        ax.annotate(
            f"{name}\n{sees}", (target, 24.5 if target == 46 else 21), (x, y),
            ha="center", va="center", fontsize=9, color="black",
            arrowprops={"arrowstyle": "->", "color": RED, "lw": 1.5},
            bbox={"boxstyle": "round,pad=0.3", "facecolor": "#FDF1EA", "edgecolor": RED},
        )  # fmt: skip
    return fig, ax
