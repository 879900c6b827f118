"""How every command ends: results, or one clear message and the exit code 2."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from samstar_rl.errors import MissingExtraError, SamstarError
from samstar_rl.scripts._shared.interrupt import keeping_the_exit_code, quit_on_interrupt

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT = 2
python_format = warnings.formatwarning
DEBUG_VARIABLE = "SAMSTAR_DEBUG"


def reporting_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that a user can cause into one message on stderr and the exit code 2.

    These are `SamstarError`, `OSError` and missing extras. Everything else is a mistake of this
    program and passes: Python shows its traceback and ends with the exit code 1. With SAMSTAR_DEBUG
    set in the environment all pass, with their traceback.

    Parameters
    ----------
    function : callable
        A command: parses nothing, calls one importable function.

    Returns
    -------
    callable
        With the same signature.
    """

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        warnings.formatwarning = _format_warning
        try:
            return function(*args, **kwargs)
        except (SamstarError, OSError, MissingExtraError) as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            report_error(error)
            raise typer.Exit(BAD_INPUT) from error

    return command


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Say in one line what this program warns its users of; others' warnings stay as they are."""
    here, place = Path(__file__).parents[2], Path(filename)
    ours = place.is_relative_to(here) and "site-packages" not in place.relative_to(here).parts
    if ours and issubclass(category, UserWarning):
        return f"Note: {message}\n"
    return python_format(message, category, filename, lineno, line)


def report_error(error: Exception) -> None:
    """Print what was wrong, without a traceback."""
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror}"
    console = Console(stderr=True, soft_wrap=True)
    console.print("[bold red]Error:[/]", end=" ")
    console.print(message, markup=False, highlight=False)


def make_progress() -> Progress:
    """Make a progress bar that counts, estimates the time left, and leaves stdout to results."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, soft_wrap=True),
    )


def run_command(function: Callable[..., object]) -> None:
    """Run one command as a program of its own: the last line of each script.

    ``python scripts/X.py ...`` does what ``samstar X ...`` does.
    """
    quit_on_interrupt()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(reporting_errors(function))
    with keeping_the_exit_code():
        app(prog_name=os.path.basename(sys.argv[0]))
