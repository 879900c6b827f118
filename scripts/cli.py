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
from samstar_rl.scripts._shared.interrupt import keeping_the_exit_code, quit_on_interrupt


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
}

#: Of maintainers: training of the shipped networks, artefacts and figures.
DEV_COMMANDS: dict[str, Command] = {
    "pretrain-sam": Command(
        "maintain.pretrain_sam:pretrain_sam",
        "Train the embedded SAM on simulated micrographs and EMPS.",
    ),
    "calibrate-sam": Command(
        "maintain.calibrate_sam:calibrate_sam",
        "Calibrate a trained embedded SAM on EMPS' `tune` frames and pack it.",
    ),
    "evaluate-sam": Command(
        "maintain.evaluate_sam:evaluate_sam", "Judge a SAM on labelled frames."
    ),
    "pretrain-foreground": Command(
        "maintain.pretrain_foreground:pretrain_foreground",
        "Train the network that estimates which pixels belong to particles.",
    ),
    "fit-plausibility": Command(
        "maintain.fit_plausibility:fit_plausibility",
        "Fit the network of the score's term `plausibility`.",
    ),
    "artefacts": Command(
        "maintain.artefacts:artefacts",
        "Rebuild what depends on the embedded SAM: static settings, policies, figures.",
    ),
    "figures": Command("maintain.figures:figures", "Draw the pictures of the README."),
    "simulate-instrument": Command(
        "maintain.simulate_instrument:simulate_instrument",
        "Start the simulator of an instrument's server, to try deploy with.",
    ),
    "contact-sheet": Command(
        "maintain.contact_sheet:contact_sheet",
        "Draw simulated micrographs (left) beside real ones (right).",
    ),
}

#: Former names of commands; calling one says its new name.
MOVED = {
    "pretrain": "dev pretrain-sam",
    "finish-sam": "dev calibrate-sam",
    **{
        name: f"dev {name}"
        for name in (
            "evaluate-sam",
            "pretrain-foreground",
            "fit-plausibility",
            "artefacts",
            "figures",
            "contact-sheet",
        )
    },
}
MISUSED = 2


def build_app(only: Collection[str] | None = None) -> typer.Typer:
    """Assemble the program.

    Parameters
    ----------
    only : collection of str, optional
        Commands to import, those of ``samstar dev`` as ``"dev NAME"``; the others are listed with
        their summaries. All by default.

    Returns
    -------
    typer.Typer
    """
    app = _make_group(
        "samstar",
        "Segment micrographs with SAM, tuned by a score of physics and learned plausibility.",
        epilog="samstar COMMAND --help says more about a command.",
    )
    app.callback()(_options)
    _add_commands(app, COMMANDS, only)
    dev = _make_group("dev", "For maintainers: train the shipped networks, draw the figures.")
    _add_commands(dev, DEV_COMMANDS, only, prefix="dev ")
    app.add_typer(dev, name="dev")
    for old, new in MOVED.items():
        app.command(old, hidden=True, context_settings=_ANYTHING)(_moved(old, new))
    return app


def main() -> None:
    """Run the program."""
    quit_on_interrupt()
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    asked = " ".join(words[:2]) if words[:1] == ["dev"] else "".join(words[:1])
    with keeping_the_exit_code():
        build_app(only=[asked])()


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _make_group(name: str, summary: str, epilog: str | None = None) -> typer.Typer:
    return typer.Typer(
        name=name,
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        epilog=epilog,
    )


def _add_commands(
    app: typer.Typer, commands: dict[str, Command], only: Collection[str] | None, prefix: str = ""
) -> None:
    """Add those of `only` for use, and the others to be listed."""
    for name, command in commands.items():
        asked = only is None or prefix + name in only
        target = command.load() if asked else _summarised(command.summary)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(reporting_errors(target))


def _moved(old: str, new: str) -> Callable[[], None]:
    """Refuse a command's former name."""

    def refuse() -> None:
        typer.echo(f"samstar {old} is now called samstar {new}", err=True)
        raise typer.Exit(MISUSED)

    return refuse


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
    """Segment micrographs with SAM, tuned by a score of physics and learned plausibility."""


def _summarised(summary: str) -> Callable[[], None]:
    """Stand in for a command in the list of commands."""

    def listed() -> None:
        pass

    listed.__doc__ = summary
    return listed


if __name__ == "__main__":
    main()
