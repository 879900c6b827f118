"""Work spread over processes or a cluster by dask.distributed: results in order, none lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from samstar_rl.errors import MissingExtraError, SamstarError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How often an item is tried anew on another worker after the one that had it died.
RETRIES_AFTER_DEATH = 5
#: Items handed out ahead of the one waited for, a worker.
AHEAD = 3

# Dask has workers give memory back at once. SAM's tensors of some MB would then be mapped anew each
# time they are needed, which takes longer than computing them.
_ENVIRON = "distributed.nanny.pre-spawn-environ"
_MEMORY = {
    f"{_ENVIRON}.MALLOC_TRIM_THRESHOLD_": 512 << 20,
    f"{_ENVIRON}.MALLOC_MMAP_THRESHOLD_": 32 << 20,
}


class WorkersError(SamstarError):
    """Workers were asked for in a way that cannot be."""


@contextmanager
def open_client(workers: int | None, scheduler: str | None) -> Iterator[Client | None]:
    """Open a client of a cluster on this machine or of a scheduler elsewhere.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine to start, of one thread each.
    scheduler : str, optional
        Address of a scheduler that runs already.

    Yields
    ------
    Client or None
        None if neither is given: the work is then done here.

    Raises
    ------
    WorkersError
        If both are given, or nothing answers at the address.
    ImportError
        If dask.distributed is not installed, naming the extra.
    """
    if workers is None and scheduler is None:
        yield None
        return
    if workers is not None and scheduler is not None:
        raise WorkersError("give either --workers or --scheduler, not both")
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError("work by --workers or --scheduler", "dask", "dask") from error
    with ExitStack() as stack:
        # what a scheduler elsewhere allows was set where it was started
        settings = {"distributed.scheduler.allowed-failures": RETRIES_AFTER_DEATH}
        stack.enter_context(dask.config.set(settings | _MEMORY))
        if scheduler is None:
            address: Any = stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
                )
            )
        else:
            address = scheduler
        try:
            client = stack.enter_context(Client(address, timeout="10s"))
        except (OSError, ValueError) as error:
            raise WorkersError(
                f"no dask scheduler answers at {scheduler}: expected tcp://HOST:PORT of a running "
                f"one ({error})"
            ) from error
        yield client


def spread(
    client: Client | None,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    on_loss: Callable[[Item, WorkersError], Result] | None = None,
) -> Iterator[Result]:
    """Apply a function to items, here or by workers; results come in the order of the items.

    An item whose worker dies goes to another one. Items are taken only a few ahead of the result
    that is waited for, so that a long stack never lies in memory as a whole.

    Parameters
    ----------
    client : Client or None
        None applies the function here.
    function : callable
        Of a module; its results are the same wherever it runs.
    items : iterable
    on_loss : callable, optional
        Gives the result of an item with which every worker died that tried it; by default such
        an item ends the work with an error.

    Yields
    ------
    Result

    Raises
    ------
    WorkersError
        If every worker died that tried an item, and `on_loss` is not given.
    """
    if client is None:
        yield from map(function, items)
        return
    waiting: deque[tuple[Item, Any]] = deque()
    for item in items:
        # pure=False: two equal items are still two
        waiting.append((item, client.submit(function, item, pure=False)))
        if len(waiting) >= AHEAD * max(1, len(client.nthreads())):
            yield _result_of(*waiting.popleft(), on_loss)
    while waiting:
        yield _result_of(*waiting.popleft(), on_loss)


def _result_of(
    item: Item, future: Any, on_loss: Callable[[Item, WorkersError], Result] | None
) -> Result:
    from distributed import KilledWorker

    try:
        result: Result = future.result()
    except KilledWorker as error:
        lost = WorkersError(
            f"{error.allowed_failures + 1} workers died, one after the other, with the same work "
            "in hand: most often their memory is too small; take fewer workers on a machine, or "
            "give them more"
        )
        if on_loss is None:
            raise lost from error
        return on_loss(item, lost)
    return result
