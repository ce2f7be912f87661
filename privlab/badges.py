"""Badges, bootstrap cells and links that name the public repository of the course.

The repository's name stands in one place, ``REPOSITORY`` in ``privlab/course.py``. Everything else
that names it is brought in line from there: badges and bootstrap cells of the notebooks, the lesson
table of the README, links in the documentation, ``CITATION.cff``.
"""

import json
import os
import re
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The texts of a checkout that may name the repository, as patterns below its root.
TEXTS = (
    "*.md",
    "CITATION.cff",
    "pyproject.toml",
    "docs/*.md",
    "data/*.md",
    "tests/benchmarks/*.md",
)

_COURSE = Path("privlab", "course.py")
# A name ends before ".git", before a full stop, or before anything that cannot belong to it.
_END = r"(?=(?:\.git)?\.*(?:[^\w.-]|$))"
_SLUG = rf"([\w.-]+/[\w.-]+?){_END}"
_LESSON = r"[^\s)\"]*notebooks(?:/|%2F)\d\d_\w+\.ipynb"
# What names the course's repository, whatever that is called at the moment.
_OURS = (
    re.compile(rf"mybinder\.org/v2/gh/{_SLUG}/{_LESSON}"),
    re.compile(rf"colab\.research\.google\.com/github/{_SLUG}/{_LESSON}"),
    re.compile(rf"privlab(?:\[[\w,-]+\])? @ git\+https://github\.com/{_SLUG}"),
    re.compile(rf"^repository-code: \"?https://github\.com/{_SLUG}", re.MULTILINE),
)
_CONSTANT = re.compile(r'^(REPOSITORY = )"([^"\n]*)"$', re.MULTILINE)
_TABLE = re.compile(r"(<!-- lessons:.*?-->\n).*?(\n<!-- end of lessons -->)", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """A file that names another repository, or an older lesson table.

    Attributes:
        path: The file.
        text: What it should hold.
        links: How many links of it change.
    """

    path: Path
    text: str
    links: int


def check_slug(repository: str) -> str:
    """Return a repository's name if GitHub allows it.

    Args:
        repository: ``OWNER/NAME``.

    Raises:
        ValueError: It is not of that form.
    """
    owner, _, name = repository.partition("/")
    good_owner = re.fullmatch(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}", owner) and len(owner) <= 39
    good_name = re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) and re.search(r"[A-Za-z0-9_]$", name)
    if not (good_owner and good_name) or name.endswith(".git"):
        raise ValueError(
            f"repository is {repository!r}, but it must be OWNER/NAME as on GitHub, e.g. "
            "ada/privlab: OWNER of up to 39 letters, digits and single hyphens, NAME of up to 100 "
            "letters, digits, '.', '_' and '-' that ends with none of '.', '-' and '.git'"
        )
    return repository


def find_checkout(start: Path) -> Path:
    """Return the root of the checkout that a folder lies in.

    Raises:
        ValueError: The folder lies in no checkout of the course.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if all((folder / part).exists() for part in (_COURSE, "notebooks", "README.md")):
            return folder
    raise ValueError(
        f"{start} is not in a checkout of the course: there is no {_COURSE}, notebooks and "
        "README.md here or above. Go into the clone of your fork and run the command there"
    )


def changes(root: Path, repository: str | None = None) -> list[Change]:
    """Return what has to change so that a whole checkout names one repository.

    Args:
        root: The root of the checkout, see :func:`find_checkout`.
        repository: ``OWNER/NAME``; by default what the checkout's ``privlab/course.py`` says.

    Raises:
        ValueError: ``repository`` is no name of a repository, or ``privlab/course.py`` or
            ``README.md`` have lost the place where it stands.
    """
    course = runpy.run_path(str(root / _COURSE))
    constants = _CONSTANT.findall(_read(root / _COURSE))
    if len(constants) != 1:
        raise ValueError(f'{_COURSE} must have one line REPOSITORY = "OWNER/NAME"')
    repository = check_slug(course["REPOSITORY"] if repository is None else repository)
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    texts = sorted({path for pattern in TEXTS for path in root.glob(pattern)})
    before = {path: _read(path) for path in (root / _COURSE, *texts, *notebooks)}
    names = {course["REPOSITORY"], *_names(before)}

    after = {path: _renamed(path, text, names, repository) for path, text in before.items()}
    after[root / _COURSE] = _CONSTANT.sub(rf'\1"{repository}"', before[root / _COURSE]), 1
    readme, links = after[root / "README.md"]
    if len(_TABLE.findall(readme)) != 1:
        raise ValueError("README.md must have one table between the comments `lessons` and `end`")
    table = course["markdown_table"](repository)
    after[root / "README.md"] = _TABLE.sub(lambda t: t[1] + table + t[2], readme), links
    return [Change(path, *after[path]) for path in before if after[path][0] != before[path]]


def changes_of_notebooks(folder: Path, repository: str) -> list[Change]:
    """Return what has to change in the notebooks of a folder and of the folders in it alone.

    For copies of the notebooks, such as those that ``privlab assign`` makes.

    Raises:
        ValueError: ``repository`` is no name of a repository, or there is no notebook.
    """
    check_slug(repository)
    before = {path: _read(path) for path in sorted(folder.rglob("*.ipynb"))}
    if not before:
        raise ValueError(f"notebooks: there is no notebook in {folder}")
    names = set(_names(before))
    after = {path: _renamed(path, text, names, repository) for path, text in before.items()}
    return [Change(path, *after[path]) for path in before if after[path][0] != before[path]]


def write(planned: list[Change]) -> None:
    """Write changes: every file wholly or not at all, and none if one of them is read-only.

    Raises:
        PermissionError: A file is read-only; nothing was written.
    """
    for change in planned:
        # root may write to every file, but what somebody has locked stays as it is.
        if not change.path.stat().st_mode & 0o222 or not os.access(change.path, os.W_OK):
            raise PermissionError(
                13, "is read-only, so nothing was changed", os.fspath(change.path)
            )
    for change in planned:
        draft = change.path.with_name(change.path.name + ".draft")
        draft.write_bytes(change.text.encode())
        shutil.copymode(change.path, draft)
        os.replace(draft, change.path)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()  # read_text would change the ends of lines
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not in UTF-8") from None


def _names(texts: dict[Path, str]) -> Iterator[str]:
    """Yield what the course's repository is called in badges, bootstrap cells and the citation."""
    for text in texts.values():
        for pattern in _OURS:
            yield from pattern.findall(text)


def _renamed(path: Path, text: str, names: set[str], repository: str) -> tuple[str, int]:
    """Return a file's text with every link to one of ``names`` renamed, and how many changed."""
    others = sorted(map(re.escape, names - {repository}), key=len, reverse=True)
    if not others or path.name == _COURSE.name:
        return text, 0
    hosts = r"(?:github\.com|mybinder\.org/v2/gh|colab\.research\.google\.com/github)"
    link = re.compile(rf"({hosts}/)(?:{'|'.join(others)}){_END}")
    # After `git clone`, one goes into the folder that it has made.
    clone = re.compile(rf"(git clone \S+/{re.escape(repository)}(?:\.git)? && cd )[\w.-]*\w")
    folder = repository.partition("/")[2]
    parts, count = [], 0
    pieces = [(text, False)]
    if path.suffix == ".ipynb":
        try:
            pieces = list(_pieces(text))
        except json.JSONDecodeError:
            raise ValueError(f"{path} is damaged: it is no JSON") from None
    for piece, is_output in pieces:
        if not is_output:
            piece, found = link.subn(rf"\g<1>{repository}", piece)
            piece = clone.sub(rf"\g<1>{folder}", piece)
            count += found
        parts.append(piece)
    return "".join(parts), count


def _pieces(notebook: str) -> Iterator[tuple[str, bool]]:
    """Cut a notebook's file into pieces and say which of them are the outputs of a cell."""
    decoder, start = json.JSONDecoder(), 0
    # Inside a string, the quotation marks of this key would be escaped.
    for key in re.finditer(r'(?<!\\)"outputs":\s*', notebook):
        if key.end() < start:
            continue
        _, end = decoder.raw_decode(notebook, key.end())
        yield notebook[start : key.end()], False
        yield notebook[key.end() : end], True
        start = end
    yield notebook[start:], False
