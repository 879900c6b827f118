"""The program ``samstar``: one command a file of this folder."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from samstar_rl.scripts._shared.command import reporting_errors


@dataclass(frozen=True)
class Command:
    """Where a command lives. Its module is imported when it is called, not before.

    Parameters
    ----------
    target : str
        ``module:function`` under `samstar_rl.scripts`; a `typer.Typer` in place of the function
        holds commands of its own.
    summary : str
        The first line of its help, repeated here so that ``samstar --help`` imports nothing.
    """

    target: str
    summary: str

    def load(self) -> Any:
        """Import the module and return the function or the Typer."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(f"samstar_rl.scripts.{module}"), attribute)


COMMANDS: dict[str, Command] = {
    "demo": Command("demo:demo", "Simulate, train, compare all tuners: a table and a report."),
    "segment": Command("segment:segment", "Segment images and write labels, tables and pictures."),
    "deploy": Command("deploy:deploy", "Run beside a microscope: segment frames as they come."),
    "tune": Command("tune:tune", "Search the one choice of settings that serves frames best."),
    "train": Command("train:train", "Train a policy that sets the generator for each frame."),
    "benchmark": Command("benchmark:benchmark", "Compare tuners on the same unseen frames."),
    "ablate": Command("ablate:ablate", "Find out which blocks of the observation a policy needs."),
    "headroom": Command("headroom:headroom", "Measure where adapting pays, before any training."),
    "bank": Command("bank:app", "Build banks of frames and proposals, and say what is in them."),
    "validate": Command(
        "validate:validate", "Test whether a task's score stands in for ground truth."
    ),
    "task": Command("task:app", "Write a task from an image, and see what the score sees."),
    "evaluate-sam": Command(
        "evaluate_sam:evaluate_sam",
        "Judge a SAM on labelled frames.",
    ),
    "pretrain": Command(
        "pretrain:pretrain",
        "Train the embedded SAM on simulated micrographs and EMPS.",
    ),
    "finish-sam": Command(
        "finish_sam:finish_sam",
        "Calibrate a trained embedded SAM on EMPS' `tune` frames and pack it.",
    ),
    "pretrain-foreground": Command(
        "pretrain_foreground:pretrain_foreground",
        "Train the network that estimates which pixels belong to particles.",
    ),
    "fit-plausibility": Command(
        "fit_plausibility:fit_plausibility",
        "Fit the network of the score's term `plausibility`.",
    ),
    "artefacts": Command(
        "artefacts:artefacts",
        "Rebuild what depends on the embedded SAM: static settings, policies, figures.",
    ),
    "figures": Command(
        "figures:figures",
        "Draw the pictures of the README.",
    ),
    "contact-sheet": Command(
        "contact_sheet:contact_sheet",
        "Draw simulated micrographs (left) beside real ones (right).",
    ),
}


def build_app(only: Collection[str] | None = None) -> typer.Typer:
    """Assemble the program.

    Parameters
    ----------
    only : collection of str, optional
        Commands to import; the others are listed with their summaries. All by default.

    Returns
    -------
    typer.Typer
    """
    app = typer.Typer(
        name="samstar",
        help="Segment micrographs with Segment Anything, tuned by the physics of the sample.",
        epilog="samstar COMMAND --help says more about a command.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        target = command.load() if only is None or name in only else _summarised(command.summary)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(reporting_errors(target))
    return app


def main() -> None:
    """Run the program."""
    asked = next((word for word in sys.argv[1:] if word in COMMANDS), None)
    build_app(only=[asked] if asked else [])()


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"samstar {importlib.metadata.version('samstar-rl')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and end."
        ),
    ] = False,
) -> None:
    """Segment micrographs with Segment Anything, tuned by the physics of the sample."""


def _summarised(summary: str) -> Callable[[], None]:
    """Stand in for a command in the list of commands."""

    def listed() -> None:
        pass

    listed.__doc__ = summary
    return listed


if __name__ == "__main__":
    main()
