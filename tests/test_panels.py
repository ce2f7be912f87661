"""Panels: every position is drawn, sliders move in a live kernel, and a saved notebook has none."""

import ast
import sys
import time
from itertools import product

import matplotlib.pyplot as plt
import nbform
import nbformat
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

from privlab import panels, plots

LESSONS = {
    "02_k_anonymity": {"k"},
    "03_differential_privacy": {"epsilon"},
    "04_privacy_budget": {"answers", "delta"},
    "06_dp_sgd_from_scratch": {"max_grad_norm"},
    "11_uneven_clients": {"alpha"},
    "17_encryption_in_transit": {"multiple_of"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
HINT = "Run this cell in JupyterLab to move the slider"

SETUP = """
from privlab import panels
def line(ax, slope):
    ax.plot([0, 1], [0, slope])
    return f"A line from the origin that rises to {slope} at the right end."
"""


def line(axes, slope, start=0):
    axes.plot([0, 1], [start, slope])
    return f"A line that rises from {start} at the left <end>\n   to {slope} at the right."


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as a list of mime bundles."""
    import IPython.display

    bundles = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: bundles.append(data))
    return bundles


class TestPanel:
    def test_every_position_is_drawn_before_it_is_asked_for(self, shown):
        drawn = []

        def noting(axes, slope, start):
            drawn.append((slope, start))
            return line(axes, slope, start)

        panel = panels.Panel(noting, slope=[1, 2, 3], start=[0, 5])
        panel.show()
        assert drawn == list(product([1, 2, 3], [0, 5]))
        for slope, start in drawn[:]:
            figure, sentence = panel.at(slope=slope, start=start)
            assert figure.startswith(b"\x89PNG")
            assert sentence == line(plt.figure().gca(), slope, start).replace("\n  ", "")
        assert len(drawn) == 6
        plt.close("all")

    def test_positions_differ(self):
        panel = panels.Panel(line, slope=[1, 2])
        assert panel.at(slope=1)[0] != panel.at(slope=2)[0]

    def test_no_figure_stays_open(self, shown):
        before = plt.get_fignums()
        panels.Panel(line, slope=[1, 2]).show()
        with pytest.raises(ZeroDivisionError):
            panels.Panel(lambda axes, slope: 1 / slope, slope=[0, 1]).show()
        assert plt.get_fignums() == before

    def test_an_error_at_the_last_end_comes_through(self, shown):
        def fails_late(axes, slope):
            return line(axes, slope) if slope < 3 else line(axes, 1 / 0)

        with pytest.raises(ZeroDivisionError):
            panels.Panel(fails_late, slope=[1, 2, 3]).show()

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ({"slope": 3}, r"slope must be one of \[1, 2\]; got 3"),
            ({"slope": "1"}, "slope must be one of"),
            ({}, "the sliders are"),
            ({"slope": 1, "other": 1}, "the sliders are"),
        ],
    )
    def test_values_outside_are_refused(self, values, named):
        panel = panels.Panel(line, slope=[1, 2])
        for ask in (panel.at, panel.page):
            with pytest.raises(ValueError, match=named):
                ask(**values)

    @pytest.mark.parametrize(
        ("sliders", "named"),
        [
            ({}, "needs a slider"),
            ({"slope": [1]}, r"slope must be at least two different positions; got \[1\]"),
            ({"slope": [1, 2, 1]}, "slope must be at least two different positions"),
            ({"slope": range(10), "start": range(7)}, "at most 60 positions together; got 70"),
            ({"slope": [1, 2], "stills": 3}, "stills must be 0 or between 2 and the 2 positions"),
            ({"slope": [1, 2], "stills": 1}, "stills must be 0 or between 2"),
        ],
    )
    def test_bad_sliders_are_refused(self, shown, sliders, named):
        with pytest.raises(ValueError, match=named):
            panels.panel(line, **sliders)
        assert shown == []

    @pytest.mark.parametrize("words", [None, "short", " " * 60])
    def test_a_position_without_words_is_refused(self, shown, words):
        with pytest.raises(ValueError, match="draw must return what the figure shows"):
            panels.panel(lambda axes, slope: words, slope=[1, 2], stills=0)
        assert shown == []

    def test_the_page_says_the_position_in_words(self):
        page = panels.Panel(line, slope=[1, 2]).page(slope=2)
        words = "A line that rises from 0 at the left &lt;end&gt; to 2 at the right."
        assert f'<p role="status">{words}</p>' in page
        assert f'<img alt="{words}" src="data:image/png;base64,' in page

    def test_a_slider_redraws_at_once(self):
        sliders, figure = _parts(panels.Panel(line, slope=list(range(1, 21))))
        start = time.process_time()
        for slope in range(1, 21):
            sliders[0].value = slope
            assert f"to {slope} at the right" in figure.value
        # A lesson allows 0.3 s a move.
        assert (time.process_time() - start) / 20 < 0.3

    def test_two_sliders_move_one_figure(self):
        panel = panels.Panel(line, slope=[1, 2, 3], start=[10, 20])
        sliders, figure = _parts(panel)
        assert [each.description for each in sliders] == ["slope", "start"]
        assert "from 20" in figure.value
        assert "to 2 at" in figure.value
        sliders[1].value, sliders[0].value = 10, 3
        assert "from 10" in figure.value
        assert "to 3 at" in figure.value
        assert not any(each.continuous_update for each in sliders)

    def test_labels_are_written_for_readers(self):
        panel = panels.Panel(line, slope=[0.1, 1000])
        (slider,), _ = _parts(panel)
        assert [label for label, _ in slider.options] == ["0.1", "1,000"]

    def test_stills_go_from_end_to_end(self, shown):
        panels.panel(line, slope=[1, 2, 3, 4, 5], start=[7, 8, 9])
        picture, _, live = shown
        assert picture["image/png"].startswith(b"\x89PNG")
        rises = [f"rises from 8 at the left <end> to {slope}" for slope in (1, 3, 5)]
        assert all(words in picture["text/plain"] for words in rises)
        assert live["text/plain"] == f"{HINT}s."

    def test_without_stills_only_the_sliders_are_shown(self, shown):
        panels.panel(line, stills=0, slope=[1, 2])
        (live,) = shown
        assert live["text/plain"] == f"{HINT}."
        assert live.keys() == {"text/plain", WIDGET}

    def test_without_ipywidgets_a_line_stands_in_its_place(self, shown, monkeypatch):
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        panels.panel(line, slope=[1, 2], stills=2)
        picture, _, words = shown
        assert "image/png" in picture
        assert words == {
            "text/plain": "Install ipywidgets, and run this again, to move the slider."
        }


def test_a_table_on_axes_shortens_long_texts():
    table = pd.DataFrame({"age": [23], "education": ["Preschool | 1st-4th | 7th-8th"]})
    fig, (axes,) = plots.figure()
    plots.draw_table(axes, table, longest=12)
    (written,) = axes.tables
    texts = [cell.get_text().get_text() for _, cell in sorted(written.get_celld().items())]
    assert texts == ["age", "education", "23", "Preschool |…"]
    assert plots.png(fig).startswith(b"\x89PNG")
    assert fig.number not in plt.get_fignums()


class TestKernel:
    def test_a_front_end_gets_the_sliders_and_moves_them(self):
        manager, client = start_new_kernel(extra_arguments=["--log-level=ERROR"])
        try:
            seen = _run(client, client.execute(f"{SETUP}panels.panel(line, slope=[1, 2, 3])"))
            opened = {
                message["content"]["comm_id"]: message["content"]["data"]["state"]
                for message in seen
                if message["msg_type"] == "comm_open"
            }
            data = [m["content"]["data"] for m in seen if m["msg_type"] == "display_data"]
            assert data[-1][WIDGET]["model_id"] in opened
            # JupyterLab keeps an empty pink line for text to stderr that was erased again.
            assert not [message for message in seen if message["msg_type"] == "stream"]
            boxes = [
                message["content"]["data"]["state"]["children"]
                for message in seen
                if message["msg_type"] == "comm_msg"
                and message["content"]["comm_id"] == data[-1][WIDGET]["model_id"]
            ]
            names = [opened[child.removeprefix("IPY_MODEL_")] for child in boxes[-1]]
            assert [each["_model_name"] for each in names] == ["SelectionSliderModel", "HTMLModel"]
            models = {state["_model_name"]: name for name, state in opened.items()}
            assert opened[models["SelectionSliderModel"]]["_options_labels"] == ["1", "2", "3"]

            # What a browser sends when the slider is moved to its right end.
            content = {
                "comm_id": models["SelectionSliderModel"],
                "data": {"method": "update", "state": {"index": 2}, "buffer_paths": []},
            }
            message = client.session.msg("comm_msg", content)
            client.shell_channel.send(message)
            answers = _run(client, message["header"]["msg_id"])
            states = [
                answer["content"]["data"]["state"]
                for answer in answers
                if answer["msg_type"] == "comm_msg"
                and answer["content"]["comm_id"] == models["HTMLModel"]
            ]
            assert 'alt="A line from the origin that rises to 3' in states[-1]["value"]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def test_the_saved_notebook_holds_no_widget(self, tmp_path):
        from privlab.grading.execution import execute

        code = f"{SETUP}panels.panel(line, slope=[1, 2, 3])"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        execute(notebook, tmp_path, cell_timeout=60)
        (cell,) = notebook.cells
        assert any(WIDGET in output.get("data", {}) for output in cell.outputs)
        saved = nbform.dumps(notebook)
        assert "widget" not in saved
        assert f"{HINT}." in saved
        assert "rises to 3" in saved


class TestLessons:
    @pytest.mark.parametrize("name", LESSONS)
    def test_the_lesson_has_its_panel(self, name):
        notebook = nbform.read(nbform.NOTEBOOKS / f"{name}.ipynb")
        cells = [cell for cell in notebook.cells if "panels.panel(" in cell.source]
        (cell,) = cells
        (call,) = [
            node
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "panels.panel"
        ]
        given = {keyword.arg for keyword in call.keywords}
        assert given - {"stills"} == LESSONS[name]
        assert "text/plain" in cell.outputs[-1].data
        assert cell.outputs[-1].data["text/plain"].startswith(HINT)
        assert all(WIDGET not in output.data for output in cell.outputs)
        # A still figure: of the panel's, or the lesson's own just before it.
        before = notebook.cells[notebook.cells.index(cell) - 1]
        shows = cell if "stills" not in given else before
        assert any("image/png" in output.get("data", {}) for output in shows.outputs)


def _parts(panel):
    """The sliders of a panel, and the figure below them."""
    *sliders, figure = panel.controls()
    return sliders, figure


def _run(client, msg_id):
    """What the kernel says until it has dealt with a message."""
    seen = []
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        seen.append(message)
        content = message["content"]
        assert message["msg_type"] != "error", content
        if message["msg_type"] == "status" and content["execution_state"] == "idle":
            return seen
