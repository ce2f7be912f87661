"""The normal form of notebooks, and the tool that executes and writes them."""

import json
import sys

import nbform
import pytest
from nbmake import code, error, figure, notebook, printed, text

import notebooks
from privlab.grading.execution import ExecutionFailed, execute

BAR = "Rounds: 100%|██████████| 10/10 [00:01<00:00,  9.30it/s]"


def stderr(content):
    tidied = nbform.tidy([printed(content, "stderr")])
    return tidied[0].text if tidied else None


class TestNormalForm:
    def test_leaves_no_trace_of_a_machine(self):
        made = notebook(text("# Title"), code("1", figure("x"), tags=["answer"]))
        made.metadata["widgets"] = {"state": {}}
        made.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
        made.metadata["kernelspec"]["env"] = {}
        made.cells[0].metadata["collapsed"] = True
        made.cells[1].metadata |= {"execution": {"start": "now"}, "scrolled": True}
        form = nbform.normalised(made)
        assert form.metadata == {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
        assert form.cells[0].metadata == {}
        assert form.cells[1].metadata == {"tags": ["answer"]}
        assert "widgets" in made.metadata  # the argument is left alone

    def test_file_is_stable(self, tmp_path):
        path = tmp_path / "x.ipynb"
        made = notebook(text("# Ein Maß · ε"), code("x", printed("b", "stderr"), printed("a")))
        assert nbform.write(path, made)
        first = path.read_text(encoding="utf-8")
        assert not nbform.write(path, nbform.read(path))
        assert path.read_text(encoding="utf-8") == first
        assert first.startswith('{\n "cells": [')
        assert first.endswith("}\n")
        assert "# Ein Maß · ε" in first
        assert [*tmp_path.iterdir()] == [path]

    def test_missing_ids_depend_on_the_cell(self, tmp_path):
        path = tmp_path / "x.ipynb"
        raw = notebook(text("same"), text("same"), code("1"))
        raw.nbformat_minor = 4
        for cell in raw.cells:
            del cell["id"]
        path.write_text(json.dumps(raw), encoding="utf-8")
        ids = [cell.id for cell in nbform.read(path).cells]
        assert len(set(ids)) == 3
        assert ids == [cell.id for cell in nbform.read(path).cells]

    def test_other_formats_are_refused(self, tmp_path):
        (tmp_path / "x.ipynb").write_text('{"nbformat": 3}')
        with pytest.raises(ValueError, match=r"x\.ipynb is no notebook of format 4"):
            nbform.read(tmp_path / "x.ipynb")

    def test_streams_are_merged_stdout_first(self):
        pieces = [printed("e1\n", "stderr"), printed("o1\n"), figure("x"), printed("o2\n")]
        merged = nbform.tidy([*pieces, printed("e2\n", "stderr")])
        assert [output.get("text") for output in merged] == ["o1\no2\n", "e1\ne2\n", None]

    @pytest.mark.parametrize(
        ("content", "kept"),
        [
            (f"\r{BAR}\n", None),
            (f"\rRounds:   0%|          | 0/10 [00:00<?, ?it/s]\r{BAR}", None),
            (f"\r{BAR}\r{' ' * 60}\r", None),
            ("\r3.20kit [00:01, 9.30it/s]\n", None),
            (f"{BAR}\nUserWarning: mind\n", "UserWarning: mind\n"),
            ("  50%| is a share, not a bar\n", "  50%| is a share, not a bar\n"),
            ("draft\rfinal\n", "final\n"),
            ("\n", "\n"),
        ],
    )
    def test_progress_bars_vanish(self, content, kept):
        assert stderr(content) == kept

    @pytest.mark.parametrize(
        ("content", "kept"),
        [
            ("/tmp/ipykernel_12/345.py:3: UserWarning", "cell.py:3: UserWarning"),
            ("File ~/a/privlab/privlab/data.py:2", "File .../privlab/data.py:2"),
            ("\x1b[32m/a/lib/python3.11/site-packages/x.py:1", "\x1b[32m.../site-packages/x.py:1"),
            ("/usr/lib/python3.11/threading.py:9", ".../python3.11/threading.py:9"),
            ("https://x.org/y/privlab/data.py", "https://x.org/y/privlab/data.py"),
        ],
    )
    def test_paths_are_sanitised(self, content, kept):
        failed = error("KeyError", "x")
        failed.traceback = [content]
        form = nbform.normalised(notebook(code("x", printed(content), failed)))
        assert form.cells[0].outputs[0].text == kept
        assert form.cells[0].outputs[1].traceback == [kept]


def test_find(tmp_path, monkeypatch):
    monkeypatch.setattr(nbform, "NOTEBOOKS", tmp_path)
    for name in ("01_a.ipynb", "02_b.ipynb"):
        (tmp_path / name).touch()
    assert notebooks.find([]) == [tmp_path / "01_a.ipynb", tmp_path / "02_b.ipynb"]
    assert notebooks.find(["02"]) == [tmp_path / "02_b.ipynb"]
    assert notebooks.find([str(tmp_path / "01_a.ipynb")]) == [tmp_path / "01_a.ipynb"]
    for wrong in ("03", "nowhere.ipynb"):
        with pytest.raises(FileNotFoundError, match=wrong):
            notebooks.find([wrong])


@pytest.mark.long
def test_run_writes_what_ran_through(tmp_path, capsys):
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    fine = notebook(
        code("import sys\n\nprint('out')\nprint('err', file=sys.stderr)\n1"),
        code("1 / 0", tags=["raises-exception"]),
        code("from pathlib import Path\n\nPath('there.txt').exists()"),
    )
    nbform.write(good, fine)
    nbform.write(bad, notebook(code("1"), text("# Title"), code("1 / 0"), code("2")))
    before = bad.read_text(encoding="utf-8")
    (tmp_path / "there.txt").touch()

    assert not notebooks.run([good, bad], cell_timeout=60, jobs=2)

    assert bad.read_text(encoding="utf-8") == before
    said = capsys.readouterr().out
    assert "bad.ipynb: cell 2: ZeroDivisionError: division by zero" in said
    assert "good.ipynb: " in said
    cells = nbform.read(good).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert [output.get("text") for output in cells[0].outputs] == ["out\n", "err\n", None]
    assert cells[1].outputs[0].ename == "ZeroDivisionError"
    assert cells[2].outputs[0].data["text/plain"] == "True"

    assert notebooks.run([good], cell_timeout=60, jobs=2)
    assert ", unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import time\ntime.sleep(60)", "cell 2 takes more than 5 s"),
        ("import os\nos._exit(0)", "cell 2: its kernel died"),
    ],
)
def test_execute_says_what_went_wrong(tmp_path, source, message):
    with pytest.raises(ExecutionFailed, match=message):
        execute(notebook(code("1"), code(source)), tmp_path, cell_timeout=5)


def test_execute_names_a_missing_kernel(tmp_path):
    with pytest.raises(ExecutionFailed, match="the kernel nowhere is not installed"):
        execute(notebook(code("1"), kernel="nowhere"), tmp_path, cell_timeout=2)


def test_lint_says_so(tmp_path, monkeypatch, capsys):
    path = tmp_path / "01_x.ipynb"
    nbform.write(path, notebook(code("1")))
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "lint", str(path)])
    with pytest.raises(SystemExit) as end:
        notebooks.main()
    assert end.value.code
    assert "01_x.ipynb: the first code cell is not tagged bootstrap\n" in capsys.readouterr().out
