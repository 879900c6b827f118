"""The program ``samstar``: one command a file of this folder."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from samstar_rl.scripts._shared.command import reporting_errors
from samstar_rl.scripts._shared.interrupt import keeping_the_exit_code, quit_on_interrupt

#: name -> ``module:function`` under `samstar_rl.scripts`; a `typer.Typer` in place of the function
#: holds commands of its own. A module is imported when its command is called, not before.
COMMANDS = {
    "demo": "demo:demo",
    "segment": "segment:segment",
    "deploy": "deploy:deploy",
    "tune": "tune:tune",
    "train": "train:train",
    "benchmark": "benchmark:benchmark",
    "ablate": "ablate:ablate",
    "headroom": "headroom:headroom",
    "bank": "bank:app",
    "validate": "validate:validate",
    "task": "task:app",
}
#: Of maintainers: training of the shipped networks, artefacts and figures.
DEV_COMMANDS = {
    "pretrain-sam": "maintain.pretrain_sam:pretrain_sam",
    "calibrate-sam": "maintain.calibrate_sam:calibrate_sam",
    "evaluate-sam": "maintain.evaluate_sam:evaluate_sam",
    "pretrain-foreground": "maintain.pretrain_foreground:pretrain_foreground",
    "fit-plausibility": "maintain.fit_plausibility:fit_plausibility",
    "artefacts": "maintain.artefacts:artefacts",
    "figures": "maintain.figures:figures",
    "simulate-instrument": "maintain.simulate_instrument:simulate_instrument",
    "contact-sheet": "maintain.contact_sheet:contact_sheet",
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


def load(target: str) -> Any:
    """Import a command's module and return its function or Typer."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(f"samstar_rl.scripts.{module}"), attribute)


def summary_of(target: str) -> str:
    """The first line of a command's help, read from its file without importing it."""
    module, _, name = target.partition(":")
    file = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    described = next((one for one in functions if one.name == name), tree)
    return (ast.get_docstring(described) or "").partition("\n")[0]


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
    app: typer.Typer, commands: dict[str, str], only: Collection[str] | None, prefix: str = ""
) -> None:
    """Add those of `only` for use, and the others to be listed."""
    for name, command in commands.items():
        asked = only is None or prefix + name in only
        target = load(command) if asked else _summarised(summary_of(command))
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
