"""A live run as `samstar deploy` shows and ends it: signals, progress, exit codes, sinks."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from samstar_rl.scripts._shared.command import report_error
from samstar_rl.scripts._shared.interrupt import QUIT
from samstar_rl.streaming.access import TOKEN_VARIABLE, is_loopback, new_token
from samstar_rl.streaming.runner import RunError, Runner, WriteError

if TYPE_CHECKING:
    from samstar_rl.streaming.counters import Counters, Counts
    from samstar_rl.streaming.output_folder import OutputFolder

RUN_BROKE = 3
CANNOT_WRITE = 4
# of the drive, or of what this user may store on it
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def summary(counters: Counters) -> dict[str, Any]:
    """What became of the frames, and how fast."""
    counts = counters.counts
    return {
        "received": counts.received,
        "done": counts.done,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "latency_ms": {f"p{p}": counters.latency_ms(p) for p in (50, 90, 99)},
    }


def describe(counts: Counts) -> str:
    """The counts in words."""
    return (
        f"{counts.received} frames received, {counts.done} done, {counts.dropped} dropped, "
        f"{counts.failed} failed"
    )


def run(runner: Runner[Any], folder: OutputFolder) -> None:
    """Run, showing the counts, until the end or a signal; write down what came of it."""
    try:
        with counts_shown(runner), stopping_on_signals(runner):
            runner.run()
    except RunError as error:
        report_error(error)
        with suppress(OSError):  # the disk may be what ended the run
            folder.run.write_results(summary(runner.counters))
        raise typer.Exit(CANNOT_WRITE if isinstance(error, WriteError) else RUN_BROKE) from error
    folder.run.write_results(summary(runner.counters))


@contextmanager
def full_disk_noticed() -> Iterator[None]:
    """Outside of the loop, too, a full disk has its own exit code: it is no bad input."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        report_error(error)
        raise typer.Exit(CANNOT_WRITE) from error


@contextmanager
def counts_shown(runner: Runner[Any]) -> Iterator[None]:
    """Show the counts, and what went wrong last until a frame is done, in one line."""
    folding = Column(no_wrap=False, overflow="fold")  # a fault's hint stands at its end
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False, table_column=folding),
        TimeElapsedColumn(),
        console=Console(stderr=True, soft_wrap=True),
    )  # fmt: skip

    def show(counts: Counts) -> None:
        fault = runner.last_fault
        words = describe(counts) + (f"; last fault: {fault}" if fault else "")
        progress.update(line, description=words)

    with progress:
        line = progress.add_task("waiting for the first frame", total=None)
        runner.on_progress = show
        yield


@contextmanager
def stopping_on_signals(runner: Runner[Any]) -> Iterator[None]:
    """The first signal asks the runner to stop, the second ends the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(QUIT)  # results are complete or absent at any moment
        asked.append(number)
        runner.request_stop()
        words = b"finishing the frame in work" if runner.in_work else b"stopping"
        with suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, b"\n" + words + b"; Ctrl-C again quits at once\n")

    asked: list[int] = []
    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def make_token(host: str) -> str | None:
    """What is demanded of browsers and readers, shown once if nobody has set it."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is None and not is_loopback(host):
        token = new_token()
        typer.echo(f"token: {token}", err=True)
    return token
