"""`privlab badges`: one place names the repository, and everything else follows it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbform
import nbformat
import pytest
from typer.testing import CliRunner

from privlab import badges
from privlab.cli import app
from privlab.course import REPOSITORY, binder_url, lesson

FORK = "ada-l/my.course"
COPIED = ("privlab", "notebooks", "docs", "data", "tools", "tests")


def state(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["badges", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is committed, and the current folder."""
    root = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.draft")
    for folder in COPIED:
        shutil.copytree(nbform.ROOT / folder, root / folder, ignore=ignored)
    for path in nbform.ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, root / path.name)
    monkeypatch.chdir(root)
    return root


def test_the_checkout_names_one_repository() -> None:
    planned = badges.changes(nbform.ROOT)
    assert not planned, f"run `privlab badges`: {[str(change.path) for change in planned]}"


def test_to_a_fork_and_back(checkout: Path) -> None:
    original = state(checkout)
    code, told = run("--repo", FORK)
    assert code == 0
    notebooks = sorted(path.name for path in (checkout / "notebooks").glob("*.ipynb"))
    for name in ("privlab/course.py", "README.md", "CITATION.cff"):
        assert re.search(rf"^{re.escape(name)}: \d+ links?$", told, re.MULTILINE)
    for name in notebooks:
        assert re.search(rf"^notebooks/{name}: [23] links$", told, re.MULTILINE)
    # Nothing but the name has changed: put back by hand, each file is the old one.
    folder = (REPOSITORY.split("/")[1], FORK.split("/")[1])
    for path in checkout.rglob("*"):
        if path.suffix in (".md", ".ipynb", ".cff") or path.name == "course.py":
            text = path.read_bytes()
            assert REPOSITORY.encode() not in text, path
            text = text.replace(FORK.encode(), REPOSITORY.encode())
            text = text.replace(f"&& cd {folder[1]}".encode(), f"&& cd {folder[0]}".encode())
            name = str(path.relative_to(checkout))
            assert hashlib.sha256(text).hexdigest() == original[name], name
    renamed = state(checkout)
    assert run("--repo", FORK) == (0, "Nothing to change.\n")
    assert run() == (0, "Nothing to change.\n")  # what course.py says now
    assert state(checkout) == renamed
    assert run("--repo", REPOSITORY)[0] == 0
    assert state(checkout) == original


def test_the_fork_passes_the_lint(checkout: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, "tools/notebooks.py", "lint"]

    def lint(*numbers: str) -> tuple[int, str]:
        done = subprocess.run([*program, *numbers], env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    # tests/test_nblint.py makes sure that there is nothing to find here.
    found = lint()
    assert run("--repo", FORK)[0] == 0
    assert lint() == found
    # The lint does look at the name: with the old one in a notebook it complains.
    path = checkout / "notebooks" / lesson("03").file
    path.write_text(path.read_text("utf-8").replace(FORK, REPOSITORY), "utf-8")
    code, told = lint("03")
    assert code == 1
    assert f"is not in the repository {FORK}" in told


def test_check_changes_nothing(checkout: Path) -> None:
    original = state(checkout)
    assert run("--check") == (0, "Nothing to change.\n")
    code, told = run("--repo", FORK, "--check")
    assert code == 1
    assert re.search(r"^\d+ files to change\.$", told, re.MULTILINE)
    assert state(checkout) == original


def test_after_a_merge_from_upstream(checkout: Path) -> None:
    """The fork has its name, and notebooks come in that still have the course's."""
    name = lesson("07").file
    upstream = (checkout / "notebooks" / name).read_bytes()
    run("--repo", FORK)
    (checkout / "notebooks" / name).write_bytes(upstream)
    assert run("--check") == (1, f"notebooks/{name}: 3 links\n1 file to change.\n")
    assert run()[0] == 0
    assert (checkout / "notebooks" / name).read_bytes() == upstream.replace(
        REPOSITORY.encode(), FORK.encode()
    )


def test_the_table_follows_the_list_of_lessons(checkout: Path) -> None:
    course = checkout / "privlab" / "course.py"
    course.write_text(
        course.read_text("utf-8").replace('"Re-identification"', '"Linking"'), "utf-8"
    )
    assert run("--check") == (1, "README.md: the lesson table\n1 file to change.\n")
    assert run()[0] == 0
    assert "| 01 | [Linking](notebooks/" in (checkout / "README.md").read_text("utf-8")


def test_links_to_others_and_outputs_stay(checkout: Path) -> None:
    path = checkout / "notebooks" / lesson("06").file
    notebook = nbform.read(path)
    near = [f"https://github.com/{REPOSITORY}{end}" for end in ("-fork/x", "2/x", ".other/x")]
    others = [*near, "https://github.com/pytorch/opacus", f"https://example.org/{REPOSITORY}"]
    notebook.cells[0].source += "\n\n" + " ".join(others)
    printed = f"see https://github.com/{REPOSITORY}."
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text=printed)]
    code.source += f'\n# "outputs": [https://github.com/{REPOSITORY}]'
    nbform.write(path, notebook)
    assert run("--repo", FORK)[0] == 0
    after = nbform.read(path)
    assert after.cells[0].source.endswith(" ".join(others))
    (first, *_) = (cell for cell in after.cells if cell.cell_type == "code")
    assert first.outputs[0].text == printed
    assert first.source.endswith(f'# "outputs": [https://github.com/{FORK}]')
    assert path.read_text("utf-8") == nbform.dumps(after)


def test_line_ends_and_modes_stay(checkout: Path) -> None:
    path = checkout / "docs" / "windows.md"
    path.write_bytes(f"one\r\nhttps://github.com/{REPOSITORY}.git.\r\n".encode())
    path.chmod(0o640)
    assert run("--repo", FORK)[0] == 0
    assert path.read_bytes() == f"one\r\nhttps://github.com/{FORK}.git.\r\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640


def test_copies_that_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a checkout, in folders of students, whatever the copies are called."""
    monkeypatch.chdir(tmp_path)
    for student in ("ada", "ben"):
        (tmp_path / "handout" / student).mkdir(parents=True)
        source = nbform.NOTEBOOKS / lesson("03").file
        shutil.copy2(source, tmp_path / "handout" / student / "03 copy.ipynb")
    (tmp_path / "handout" / "README.md").write_text(f"https://github.com/{REPOSITORY}")
    code, told = run("--repo", FORK, "--notebooks", "handout")
    assert (code, told.splitlines()[-1]) == (0, "2 files changed.")
    text = (tmp_path / "handout" / "ben" / "03 copy.ipynb").read_text("utf-8")
    assert binder_url(lesson("03"), FORK) in text
    assert REPOSITORY not in text
    assert REPOSITORY in (tmp_path / "handout" / "README.md").read_text()
    (tmp_path / "none").mkdir()
    assert run("--repo", FORK, "--notebooks", "none") == (
        2, "privlab: notebooks: there is no notebook in none.\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"outputs": [https://github.com/%s' % REPOSITORY.encode(), "is damaged: it is no JSON"),
        (b"\xff", "is not in UTF-8"),
    ],
)
def test_a_damaged_notebook_is_named(content: bytes, message: str, checkout: Path) -> None:
    path = checkout / "notebooks" / "99_damaged.ipynb"
    path.write_bytes(content)
    original = state(checkout)
    assert run("--repo", FORK) == (2, f"privlab: {path} {message}.\n")
    assert state(checkout) == original


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "privlab",
        "a/b/c",
        "/privlab",
        "ada/",
        "-ada/x",
        "ada-/x",
        "a--b/x",
        "a_b/x",
        "a" * 40 + "/x",
        "ada/" + "x" * 101,
        "ada/x.git",
        "ada/..",
        "ada/x y",
        "ada/x\n",
        "ada/été",
        "https://github.com/ada/x",
        '"/x',
    ],
)
def test_bad_names(slug: str, checkout: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"repository is {slug!r}, but it must be")):
        badges.check_slug(slug)
    original = state(checkout)
    code, told = run("--repo", slug)
    assert code == 2
    assert "it must be OWNER/NAME" in told
    assert state(checkout) == original


@pytest.mark.parametrize("slug", ["a/b", "a" * 39 + "/x", "1-2-3/.github", "Ada/My_course-2.0"])
def test_good_names(slug: str) -> None:
    assert badges.check_slug(slug) == slug


def test_only_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = run("--repo", FORK)
    assert code == 2
    assert "is not in a checkout of the course" in told


def test_from_a_folder_of_the_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout / "notebooks")
    assert run("--check") == (0, "Nothing to change.\n")


def test_a_read_only_file_stops_it_before_it_begins(checkout: Path) -> None:
    path = checkout / "notebooks" / lesson("19").file
    path.chmod(0o444)
    original = state(checkout)
    code, told = run("--repo", FORK)
    assert code == 2
    assert told == f"privlab: {path}: is read-only, so nothing was changed.\n"
    assert state(checkout) == original


@pytest.mark.parametrize(
    ("name", "old", "message"),
    [
        ("privlab/course.py", f'REPOSITORY = "{REPOSITORY}"', "must have one line REPOSITORY"),
        ("README.md", "<!-- end of lessons -->", "README.md must have one table"),
    ],
)
def test_a_lost_place_is_named(name: str, old: str, message: str, checkout: Path) -> None:
    path = checkout / name
    new = f'REPOSITORY = ("{REPOSITORY}")' if "course" in name else ""
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    code, told = run("--repo", FORK)
    assert code == 2
    assert message in told


def test_notebooks_are_cut_into_pieces_without_loss() -> None:
    for path in sorted(nbform.NOTEBOOKS.glob("*.ipynb")):
        text = path.read_text("utf-8")
        pieces = list(badges._pieces(text))
        assert "".join(piece for piece, _ in pieces) == text
        outputs = [json.loads(piece) for piece, is_output in pieces if is_output]
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        assert outputs == [cell["outputs"] for cell in cells]
