"""The command ``privlab``: what is done outside the notebooks.

Each command imports what it needs when it runs, so that ``privlab --help`` comes at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from . import __version__

app = typer.Typer(
    name="privlab",
    help="A course in which every promise of privacy is attacked, measured and graded.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"privlab {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command()
def doctor() -> None:
    """Check this computer: Python, kernels, packages, data files, memory, disk and sandbox.

    Ends with code 1 if something is missing that a lesson needs.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .environment import doctor as examine

    report = examine()
    table = Table("area", "what", "found", "wanted", "status")
    for row in report.rows:
        table.add_row(*map(escape, (row.area, row.what, row.found, row.wanted, row.status)))
    console = Console()
    console.print(table)
    console.print(report.verdict)
    for line in report.advice:
        console.print(f"- {line}", markup=False)
    raise typer.Exit(0 if report.ok else 1)


# ---- the instructor's side ---------------------------------------------------------------------

_Tasks = Annotated[
    list[str] | None,
    typer.Argument(help="Numbers of lessons, e.g. 03 05.", show_default=False),
]
_Private = Annotated[
    list[Path] | None,
    typer.Option(
        "--private",
        help="A Python file with exercises of your own; can be given several times.",
        show_default=False,
    ),
]
_Roster = Annotated[
    Path | None,
    typer.Option("--roster", help="The class: a CSV file with the columns id, name, email."),
]
_Secret = Annotated[
    Path,
    typer.Option(
        "--secret",
        help="Your key: it makes each student's data. Made if it is not there; keep it to "
        "yourself, and use the same one for assign and grade.",
    ),
]
_KEY = Path("privlab-secret.key")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what a person can mend into one sentence and exit code 2."""
    from .grading.sandbox import NoSandbox

    try:
        yield
    except (ValueError, NoSandbox) as problem:
        _stop(str(problem))
    except OSError as problem:
        _stop(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))


def _stop(message: str) -> NoReturn:
    typer.echo(f"privlab: {message.rstrip('.')}.", err=True)
    raise typer.Exit(2)


def _tasks(lessons: list[str] | None, private: list[Path] | None) -> list:
    """Return the tasks that were asked for, each once."""
    from .grading.tasks import check_distinct, lesson_task, private_task

    numbers = dict.fromkeys(number.zfill(2) for number in lessons or [])
    tasks = [lesson_task(number) for number in numbers]
    tasks += [private_task(path) for path in dict.fromkeys(private or [])]
    if not tasks:
        raise ValueError("name at least one lesson, e.g. 03, or --private my_exercises.py")
    check_distinct(tasks)
    return tasks


def _keep_apart(submissions: Path, out: Path) -> None:
    """Raise ``ValueError`` if grades would lie among submissions, or these among grades."""
    sent, made = submissions.resolve(), out.resolve()
    if made.is_relative_to(sent) or (sent.is_dir() and sent.is_relative_to(made)):
        raise ValueError(
            f"out: grades in {out} and submissions in {submissions} would lie among each other: "
            "name a folder beside the submissions"
        )


@app.command()
def assign(
    lessons: _Tasks = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("handout"),
    roster: _Roster = None,
    no_roster: Annotated[
        bool, typer.Option("--no-roster", help="One hand-out for everybody.")
    ] = False,
    private: _Private = None,
    secret: _Secret = _KEY,
    form: Annotated[
        str, typer.Option("--format", help="privlab, or nbgrader: a source folder for nbgrader.")
    ] = "privlab",
) -> None:
    """Make the notebooks to hand out: one folder a student, with data of their own.

    The folder must be new. Each notebook's metadata say for whom it was made, in a form that only
    your key can make. Data depend on key and id alone: whoever joins later gets a hand-out from a
    roster of the new ones, with the same key.
    """
    from .grading.handout import assign as hand_out

    with _explained():
        if form not in ("privlab", "nbgrader"):
            raise ValueError(f"--format must be privlab or nbgrader, not {form!r}")
        if form == "privlab" and (roster is None) != no_roster:
            raise ValueError("give either --roster roster.csv or --no-roster")
        made = hand_out(_tasks(lessons, private), out, roster, secret, form == "nbgrader")
    key = f" Key: {secret}." if form == "privlab" else ""
    typer.echo(f"{made} notebook{'s' if made != 1 else ''} in {out}.{key}")


@app.command()
def grade(
    submissions: Annotated[
        Path,
        typer.Argument(help="A folder or a zip file, as the LMS gives it.", show_default=False),
    ],
    lessons: Annotated[
        list[str] | None,
        typer.Option(
            "--lesson", help="A lesson to grade; several times. Default: all that is found."
        ),
    ] = None,
    private: _Private = None,
    roster: _Roster = None,
    out: Annotated[Path, typer.Option("--out", help="The folder for grades.")] = Path("grades"),
    secret: _Secret = _KEY,
    marks: Annotated[
        Path | None,
        typer.Option(
            "--marks",
            help="Points given by hand; default: free_text.csv in the folder for grades.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Submissions at a time; default: one a processor."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", min=1, max=86_400, help="What one call of a student's code may take."
        ),
    ] = 60,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            min=1,
            max=86_400,
            help="Seconds that grading one submission may take, tests included.",
        ),
    ] = 600,
    unprotected: Annotated[
        bool,
        typer.Option(
            "--unprotected",
            help="Run students' code without the sandbox, as yourself: it can read, change and "
            "send what you can. Only on a machine that you throw away.",
        ),
    ] = False,
    memory: Annotated[
        float,
        typer.Option("--memory", min=0.1, max=1_000, help="GB that a student's code may use."),
    ] = 3,
) -> None:
    """Grade a class: every exercise is attacked, on data that the students have not seen.

    Students' code runs in a sandbox (bubblewrap), the tests outside it. What was graded before and
    has not changed is not graded again, so a run that was stopped can go on.
    """
    from tqdm import tqdm

    from .course import LESSONS
    from .grading.grade import grade as grade_class
    from .grading.pages import summary
    from .grading.report import write_report
    from .grading.sandbox import Limits, keep_out
    from .grading.secret import read_key
    from .grading.submissions import collect, read_roster
    from .grading.words import Marks, read_marks

    with _explained():
        _keep_apart(submissions, out)
        students = read_roster(roster) if roster else None
        limits = Limits(seconds=seconds, memory=int(memory * 2**30), protected=not unprotected)
        sent = collect(submissions, students, [path.stem for path in private or []])
        ready = {lesson.number for lesson in LESSONS if lesson.ready}
        lessons_sent = sorted({each.lesson for each in sent} & ready)
        if all(each.other for each in sent):
            raise ValueError(f"submissions: there is no notebook and no zip file in {submissions}")
        if not (lessons or lessons_sent or private):
            raise ValueError("submissions: no notebook could be told to belong to a lesson")
        tasks = _tasks(lessons or ([] if private else lessons_sent), private)
        if marks is None and any(task.questions for task in tasks):
            marks = found if (found := out / "free_text.csv").exists() else None
        by_hand = read_marks(marks, tasks, students) if marks else Marks()
        if not secret.exists() and any(each.stamp for each in sent):
            raise ValueError(
                f"secret: there is no {secret}, and the notebooks were handed out with a key: name "
                "the one that privlab assign has made"
            )
        own = {"secret": [secret], "out": [out], "private": private or []}
        own |= {"submissions": [submissions], "roster": [roster], "marks": [marks]}
        for what, paths in ({} if unprotected else own).items():
            for path in filter(None, paths):
                keep_out(what, path)
        key = read_key(secret)
        try:
            with tqdm(unit="notebook", desc="Grading", smoothing=0) as bar:

                def show(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                report = grade_class(
                    sent,
                    tasks,
                    students,
                    key,
                    out,
                    limits=limits,
                    budget=budget,
                    jobs=jobs,
                    marks_by_hand=by_hand,
                    progress=show,
                )
        except KeyboardInterrupt:
            typer.echo("Stopped. Run the same command again: what is graded is kept.", err=True)
            raise typer.Exit(130) from None
        write_report(report, out, by_hand)
    typer.echo(f"{summary(report)} ({', '.join(task.key for task in tasks)}).")
    if report.unsent:
        missing, others = ", ".join(report.unsent), sorted({*lessons_sent} - {*report.unsent})
        theirs = f"; sent were {', '.join(others)}" if others else ""
        typer.echo(f"Nobody {'' if roster is None else 'in the roster '}sent {missing}{theirs}.")
    if report.strange_key:
        typer.echo(
            f"No notebook was handed out with the key {secret}. If you have another, grade with "
            "that one: with this one the tests' data are others."
        )
    if failed := report.not_graded:
        answers = f"{failed} answers were" if failed > 1 else "1 answer was"
        typer.echo(f"{answers} not graded, as a test or the grader failed: see class.html.")
    reasons: dict[str, list[str]] = {}
    for each in report.unclear:
        reasons.setdefault(each.why, []).append(each.place)
    for why, places in reasons.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        typer.echo(f"Not graded: {places[0]}{more}: {why}.")
    typer.echo(f"Open {out / 'class.html'}; each student's page is in {out / 'feedback'}.")


@app.command()
def solutions(
    lessons: _Tasks = None,
    private: _Private = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("solutions"),
) -> None:
    """Write solved notebooks, executed: not for students.

    Solutions that lie in the folder already are replaced.
    """
    from .grading.handout import solutions as solved

    with _explained():
        paths = solved(_tasks(lessons, private), out)
    for path in paths:
        typer.echo(path)


# ---- a fork of the course ----------------------------------------------------------------------


@app.command()
def badges(
    repository: Annotated[
        str | None,
        typer.Option(
            "--repo",
            metavar="OWNER/NAME",
            help="The repository on GitHub. Default: what privlab/course.py says.",
            show_default=False,
        ),
    ] = None,
    notebooks: Annotated[
        Path | None,
        typer.Option(
            "--notebooks",
            help="Only the notebooks in this folder, such as copies that you hand out.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; end with code 1 if something would change."),
    ] = False,
) -> None:
    """Point badges, bootstrap cells and links at a fork, and write the README's lesson table.

    Run it inside the checkout. Outputs and form of the notebooks stay as they are.
    """
    from . import badges as links
    from .course import REPOSITORY

    with _explained():
        if notebooks is None:
            root = links.find_checkout(Path.cwd())
            planned = links.changes(root, repository)
        else:
            root = notebooks
            planned = links.changes_of_notebooks(
                notebooks, REPOSITORY if repository is None else repository
            )
        if not check:
            links.write(planned)
    for change in planned:
        what = f"{change.links} link{'s' if change.links != 1 else ''}"
        what = what if change.links else "the lesson table"
        typer.echo(f"{change.path.relative_to(root)}: {what}")
    if not planned:
        typer.echo("Nothing to change.")
    else:
        files = f"{len(planned)} file{'s' if len(planned) != 1 else ''}"
        typer.echo(f"{files} to change." if check else f"{files} changed.")
    raise typer.Exit(1 if check and planned else 0)
