"""Splitting the streams of a bank into those to learn from and those to validate on."""

from __future__ import annotations

from collections.abc import Sequence

from samstar_rl.errors import SamstarError

VALIDATION_SHARE = 0.2


def split_streams(
    streams: Sequence[range], share: float = VALIDATION_SHARE
) -> tuple[tuple[range, ...], tuple[range, ...]]:
    """Split streams into those to train on and those to validate on, spread evenly among them.

    A bank of several kinds of stream, one after the other, is validated on all of them. A single
    stream is cut in time.

    Parameters
    ----------
    streams : sequence of range
    share : float
        Of the streams, or of the single stream's frames, that validates; at least one does.

    Returns
    -------
    training, validation : tuple of range

    Raises
    ------
    SamstarError
        If there is only one frame.
    """
    if len(streams) > 1:
        count = max(1, round(share * len(streams)))
        # of as many groups the last one each
        last = {(k + 1) * len(streams) // count - 1 for k in range(count)}
        training = tuple(stream for k, stream in enumerate(streams) if k not in last)
        return training, tuple(streams[k] for k in sorted(last))
    (stream,) = streams
    count = max(1, round(share * len(stream)))
    if len(stream) < 2:
        raise SamstarError("one frame cannot be split into training and validation: give more")
    return (stream[:-count],), (stream[-count:],)
