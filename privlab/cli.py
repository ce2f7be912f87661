"""The command ``privlab``: what is done outside the notebooks.

Each command imports what it needs when it runs, so that ``privlab --help`` comes at once.
"""

from typing import Annotated

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
    """Check this computer: Python, kernels, packages, data files, memory and disk.

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
