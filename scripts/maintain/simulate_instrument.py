"""Start the simulator of an instrument's server, to try `samstar deploy` with."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

import typer

from samstar_rl.scripts._shared.command import run_command


def simulate_instrument(
    kind: Annotated[
        Literal["asyncroscopy", "tango", "dtmicroscope", "pva"],
        typer.Argument(help="Which instrument's server; tango is asyncroscopy of today."),
    ],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where it listens; 0 takes a free one.")
    ] = 0,
    preset: Annotated[
        str, typer.Option("--preset", help="The specimen: a preset of sim: sources.")
    ] = "particles",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="How long a scan takes.")
    ] = 0.5,
    version: Annotated[
        int, typer.Option("--version", min=2, max=3, help="Of asyncroscopy, for tango.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the specimen.")] = 0,
) -> None:
    """Start the simulator of an instrument's server, to try deploy with.

    It listens on this machine only, says with which source `samstar deploy` opens it, and runs
    until Ctrl-C.
    """
    with make_simulator(
        kind, port=port, preset=preset, seconds=seconds, version=version, seed=seed
    ) as simulator:
        for name, value in getattr(simulator, "conf", {}).items():
            if name.startswith("EPICS_PVA_"):
                typer.echo(f"export {name}={value}")
        typer.echo(f"samstar deploy --source '{simulator.source}' -o out")
        asked = threading.Event()  # what the simulator has started ends with it
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: asked.set())
        while not asked.wait(0.5):
            pass


def make_simulator(
    kind: str, *, port: int, preset: str, seconds: float, version: int, seed: int
) -> AbstractContextManager[Any]:
    """Make the simulator of a kind.

    Parameters
    ----------
    kind : {"asyncroscopy", "tango", "dtmicroscope", "pva"}
    port : int
        0 takes a free one; pva always does.
    preset : str
        Of the specimen.
    seconds : float
        How long a scan takes, or from one published image to the next.
    version : {2, 3}
        Of asyncroscopy, for "tango".
    seed : int
        Of the specimen.

    Returns
    -------
    context manager
        With the attribute ``source``.

    Raises
    ------
    SourceError
        If a library is missing, naming the extra.
    """
    from samstar_rl.sources.instruments.specimen import Specimen

    specimen = Specimen(preset, seed=seed)
    if kind == "asyncroscopy":
        from samstar_rl.sources.instruments.asyncroscopy_sim import AsyncroscopySimulator

        return AsyncroscopySimulator(specimen, port=port, seconds=seconds)
    if kind == "tango":
        from samstar_rl.sources.instruments.tango_sim import Behaviour, TangoSimulator

        behaviour = Behaviour(version=version, seconds=seconds, preset=preset, seed=seed)
        return TangoSimulator(behaviour, port=port)
    if kind == "dtmicroscope":
        from samstar_rl.sources.instruments.dtmicroscope_sim import DTMicroscopeSimulator

        return DTMicroscopeSimulator(specimen, port=port)
    from samstar_rl.sources.instruments.pva_sim import PvaSimulator

    return PvaSimulator(specimen, fps=1 / max(seconds, 0.01))


if __name__ == "__main__":
    run_command(simulate_instrument)
